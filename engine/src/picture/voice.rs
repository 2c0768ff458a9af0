//! Hears how strongly something sings, for the mouth: what rises above its own average where voices lie.
//!
//! It does not know a voice from a lead; what carries the tune moves the mouth.

use crate::features::{HOP_FLOATS, HOPS_PER_SECOND};

/// Mel bands of some 300 to 3,400 Hz.
const BANDS: std::ops::Range<usize> = 8..50;
/// Hops of the averages of now and of a while, and of the memory of the strongest.
const NOW_HOPS: f32 = 0.05 * HOPS_PER_SECOND as f32;
const WHILE_HOPS: f32 = 1.2 * HOPS_PER_SECOND as f32;
const MEMORY_HOPS: f32 = 8.0 * HOPS_PER_SECOND as f32;
/// A rise that counts as strong where there was no stronger one.
const RISE: f32 = 0.06;

#[derive(Clone, Debug, Default)]
pub(super) struct Voice {
    now: f32,
    usual: f32,
    strongest: f32,
}

impl Voice {
    /// A hop of the sound's features.
    pub fn hear(&mut self, hop: &[f32; HOP_FLOATS]) {
        let level = hop[BANDS].iter().sum::<f32>() / BANDS.len() as f32;
        self.now += (level - self.now) / NOW_HOPS;
        self.usual += (level - self.usual) / WHILE_HOPS;
        self.strongest = (self.strongest * (1.0 - 1.0 / MEMORY_HOPS)).max(self.now - self.usual);
    }

    /// 0 nothing to 1 as strongly as of late.
    pub fn strength(&self) -> f32 {
        ((self.now - self.usual) / self.strongest.max(RISE)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syllables_are_heard_and_a_steady_sound_is_not() {
        let mut voice = Voice::default();
        let mut heard = |level: f32, hops: usize| {
            let mut hop = [0.0; HOP_FLOATS];
            hop[BANDS].fill(level);
            (0..hops).for_each(|_| voice.hear(&hop));
            voice.strength()
        };
        for round in 0..10 {
            let (sung, between) = (heard(0.7, 10), heard(0.3, 14));
            // It first hears how loud it is.
            assert!(sung > 0.5 && (between < 0.1 || round < 3), "{sung} {between}");
        }
        let steady = heard(0.6, 600);
        assert!(steady < 0.1, "{steady}");
    }
}
