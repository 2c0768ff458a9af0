//! What a dancer dances that may dance as it likes: every style in turn, another one every few bars.
//!
//! Told no style, the model dances the mean of what it has seen, half of which is one style. A dancer at a party does not.

use odori_kernels::noise::pcg3d;

use crate::motion::FREE;

/// Bars that a style is danced for: a phrase.
const PHRASE_BARS: u32 = 4;
/// What is danced to no music is nothing to choose.
const RESTING: &str = "calm";

#[derive(Clone, Debug)]
pub struct Repertoire {
    /// Numbers of the styles that there are to choose from.
    styles: Vec<u32>,
    /// What is danced, and since which bar.
    style: u32,
    since: u32,
    /// How often one was chosen.
    chosen: u32,
    /// What of this round was chosen already, a bit a style.
    danced: u64,
}

impl Repertoire {
    /// `names` are the model's, in the order of their numbers.
    pub fn new(names: &[String]) -> Self {
        let styles = (0..).zip(names).filter(|(n, name)| *n != FREE && *n < u64::BITS && *name != RESTING).map(|(n, _)| n).collect();
        Repertoire { styles, style: FREE, since: 0, chosen: 0, danced: 0 }
    }

    /// The style of the next step, where `asked` is what the viewer wants and `bars` have gone by. It changes with the bar, and not
    /// while there is no beat to follow.
    pub fn style(&mut self, asked: u32, bars: u32, followed: bool, seed: u32) -> u32 {
        if asked != FREE {
            (self.style, self.since) = (asked, bars);
            return asked;
        }
        let over = bars.wrapping_sub(self.since) >= PHRASE_BARS;
        if followed && (over || self.style == FREE) {
            self.choose(seed);
            self.since = bars;
        }
        self.style
    }

    /// One that was not danced in this round, and not the one that is.
    fn choose(&mut self, seed: u32) {
        let left = |danced: u64, style: u32| styles_but(&self.styles, style).filter(move |s| danced >> s & 1 == 0);
        if left(self.danced, self.style).next().is_none() {
            self.danced = 0;
        }
        let count = left(self.danced, self.style).count();
        let [drawn, ..] = pcg3d(seed, self.chosen, u32::from(b's'));
        let Some(style) = left(self.danced, self.style).nth(drawn as usize % count.max(1)) else { return };
        self.style = style;
        self.danced |= 1 << style;
        self.chosen = self.chosen.wrapping_add(1);
    }
}

fn styles_but(styles: &[u32], style: u32) -> impl Iterator<Item = u32> + '_ {
    styles.iter().copied().filter(move |s| *s != style)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn repertoire() -> Repertoire {
        Repertoire::new(&["free", "modern", "salsa", "indian", "calm", "club"].map(String::from))
    }

    #[test]
    fn every_style_comes_once_a_round_for_a_phrase_each() {
        for seed in 0..50 {
            let mut repertoire = repertoire();
            let danced: Vec<u32> = (0..64 * 8).map(|step| repertoire.style(FREE, step / 8, true, seed)).collect();
            let phrases: Vec<&[u32]> = danced.chunks(8 * PHRASE_BARS as usize).collect();
            assert!(phrases.iter().all(|p| p.iter().all(|s| *s == p[0])), "a style lasts a phrase");
            assert!(phrases.windows(2).all(|p| p[0][0] != p[1][0]), "then it is another one");
            let mut first: Vec<u32> = phrases[..4].iter().map(|p| p[0]).collect();
            first.sort_unstable();
            assert_eq!(first, [1, 2, 3, 5]);
        }
    }

    #[test]
    fn what_is_asked_for_is_danced_and_given_a_phrase_before_another_one() {
        let mut repertoire = repertoire();
        assert!((0..20).all(|bar| repertoire.style(2, bar, true, 1) == 2));
        assert!((20..23).all(|bar| repertoire.style(FREE, bar, true, 1) == 2));
        assert_ne!(repertoire.style(FREE, 23, true, 1), 2);
    }

    #[test]
    fn nothing_is_chosen_before_there_is_a_beat_and_a_model_of_no_styles_is_not_told_one() {
        let mut repertoire = repertoire();
        assert!((0..20).all(|bar| repertoire.style(FREE, bar, false, 1) == FREE));
        assert_ne!(repertoire.style(FREE, 20, true, 1), FREE);
        let mut none = Repertoire::new(&["any".to_owned()]);
        assert!((0..20).all(|bar| none.style(FREE, bar, true, 1) == FREE));
    }
}
