//! What a viewer may change of the dance while it runs: names, ranges, and what a text asks for. The API, the cues of
//! `odori render` and the pages all mean the same by it.

use odori_engine::dance::Pace;
use odori_engine::prompt::Wish;
use serde::Serialize;

use crate::live::{DanceSettings, ReadPrompt};

/// Longest text, in characters.
pub const MOST_PROMPT_CHARS: usize = 200;

/// Changes that were asked for; what is not spoken of stays.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DanceChange {
    pub seed: Option<u32>,
    pub style: Option<u32>,
    pub energy: Option<f32>,
    pub hands: Option<f32>,
    pub head: Option<f32>,
    pub footwork: Option<f32>,
    pub facing: Option<f32>,
    pub pace: Option<Pace>,
    pub prompt: Option<String>,
}

/// A text that was given, and what of it was not understood.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PromptView {
    pub text: String,
    pub unknown: Vec<String>,
}

fn within(value: f32, (low, high): (f32, f32), what: &str) -> Result<f32, String> {
    if (low..=high).contains(&value) { Ok(value) } else { Err(format!("{what} must be from {low} to {high}")) }
}

impl DanceChange {
    /// Applies it, the text first, so that what is said outright counts. Gives how the text was understood.
    ///
    /// # Errors
    /// Says what is out of range; `dance` may then be half changed.
    pub fn apply(&self, dance: &mut DanceSettings, styles: &[String], read: Option<&ReadPrompt<'_>>) -> Result<Option<PromptView>, String> {
        let prompt = self.prompt.as_ref().map(|text| wish(text, dance, styles, read)).transpose()?;
        if let Some(style) = self.style {
            if style as usize >= styles.len().max(1) {
                return Err("style must be the index of one of the session's styles".into());
            }
            dance.style = style;
        }
        let part = (-1.0, 1.0);
        for (wish, value, range, what) in [
            (self.energy, &mut dance.energy, (0.0, 1.0), "energy"),
            (self.hands, &mut dance.hands, part, "hands"),
            (self.head, &mut dance.head, part, "head"),
            (self.footwork, &mut dance.footwork, part, "footwork"),
            (self.facing, &mut dance.facing, (-90.0, 90.0), "facing"),
        ] {
            if let Some(wish) = wish {
                *value = within(wish, range, what)?;
            }
        }
        dance.pace = self.pace.unwrap_or(dance.pace);
        dance.seed = self.seed.unwrap_or(dance.seed);
        Ok(prompt)
    }
}

/// A text is a whole wish: parts and pace that it does not speak of go back to how they are danced.
fn wish(text: &str, dance: &mut DanceSettings, styles: &[String], read: Option<&ReadPrompt<'_>>) -> Result<PromptView, String> {
    if text.chars().count() > MOST_PROMPT_CHARS {
        return Err(format!("a prompt has at most {MOST_PROMPT_CHARS} characters"));
    }
    let read = read.ok_or("this engine reads no prompts")?;
    let Wish { energy, hands, head, footwork, style, pace, unknown } = read(text);
    dance.energy = energy.unwrap_or(dance.energy);
    dance.hands = hands.unwrap_or(0.0);
    dance.head = head.unwrap_or(0.0);
    dance.footwork = footwork.unwrap_or(0.0);
    dance.pace = pace.unwrap_or_default();
    if let Some(n) = style.and_then(|s| styles.iter().position(|t| *t == s)) {
        dance.style = n as u32;
    }
    Ok(PromptView { text: text.to_owned(), unknown })
}

/// Changes at a second of the song, written `SECONDS:NAME=VALUE,...`.
#[derive(Clone, Debug, PartialEq)]
pub struct Cue {
    pub at_s: f64,
    pub change: DanceChange,
}

impl std::str::FromStr for Cue {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let how = "write it as SECONDS:NAME=VALUE,..., for example 12.5:energy=1,footwork=0.8";
        let (at, rest) = text.split_once(':').ok_or(how)?;
        let at_s = at.trim().parse().ok().filter(|s| (0.0..=7200.0).contains(s)).ok_or(how)?;
        let mut change = DanceChange::default();
        for pair in rest.split(',') {
            let (name, value) = pair.split_once('=').ok_or(how)?;
            let number = || value.trim().parse::<f32>().map_err(|_| format!("{name} is a number; {how}"));
            let whole = || value.trim().parse::<u32>().map_err(|_| format!("{name} is a whole number; {how}"));
            match name.trim() {
                "seed" => change.seed = Some(whole()?),
                "style" => change.style = Some(whole()?),
                "energy" => change.energy = Some(number()?),
                "hands" => change.hands = Some(number()?),
                "head" => change.head = Some(number()?),
                "footwork" => change.footwork = Some(number()?),
                "facing" => change.facing = Some(number()?),
                "pace" => change.pace = Some(pace(value.trim())?),
                "prompt" => change.prompt = Some(value.to_owned()),
                other => return Err(format!("{other:?} is none of seed, style, energy, hands, head, footwork, facing, pace, prompt")),
            }
        }
        Ok(Cue { at_s, change })
    }
}

/// # Errors
/// If there is no such pace.
pub fn pace(text: &str) -> Result<Pace, String> {
    Pace::ALL.into_iter().find(|p| p.name() == text).ok_or_else(|| "pace is half, normal or double".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Wish {
        Wish { energy: Some(0.3), hands: Some(0.8), style: Some("salsa".into()), unknown: vec![text.into()], ..Wish::default() }
    }

    #[test]
    fn what_is_said_outright_counts_more_than_the_text() {
        let styles = ["free".to_owned(), "salsa".to_owned()];
        let mut dance = DanceSettings { footwork: 0.5, ..DanceSettings::default() };
        let change = DanceChange { prompt: Some("hm".into()), energy: Some(0.9), ..DanceChange::default() };
        let view = change.apply(&mut dance, &styles, Some(&read)).unwrap().unwrap();
        assert_eq!((dance.energy, dance.hands, dance.style, dance.footwork), (0.9, 0.8, 1, 0.0));
        assert_eq!(view.unknown, ["hm"]);
    }

    #[test]
    fn values_out_of_range_are_named() {
        let fault = |change: DanceChange| change.apply(&mut DanceSettings::default(), &[], None).unwrap_err();
        assert!(fault(DanceChange { head: Some(2.0), ..DanceChange::default() }).contains("head"));
        assert!(fault(DanceChange { energy: Some(f32::NAN), ..DanceChange::default() }).contains("energy"));
        assert!(fault(DanceChange { prompt: Some("x".repeat(201)), ..DanceChange::default() }).contains("200"));
    }

    #[test]
    fn cues_are_read() {
        let cue: Cue = "12.5:energy=1,pace=half,facing=-30".parse().unwrap();
        assert_eq!((cue.at_s, cue.change.energy, cue.change.pace, cue.change.facing), (12.5, Some(1.0), Some(Pace::Half), Some(-30.0)));
        for bad in ["energy=1", "x:energy=1", "3:colour=1", "3:energy=much", "3"] {
            assert!(bad.parse::<Cue>().is_err(), "{bad}");
        }
    }
}
