//! Hears how full the music is, so that the dance holds back in a break and lets go at a drop.
//!
//! Fullness is bass and onsets over the last half second, against the fullest that the song has been of late. A number,
//! not a judgement of form: it must not wait to be sure.

use crate::features::{HOP_FLOATS, HOPS_PER_SECOND, MEL_BANDS};

/// Mel bands under some 200 Hz.
const BASS_BANDS: usize = 7;
/// Hops of the averages of now.
const NOW_HOPS: f32 = 0.45 * HOPS_PER_SECOND as f32;
/// Hops after which the memory of the fullest has faded to a third.
const MEMORY_HOPS: f32 = 24.0 * HOPS_PER_SECOND as f32;
/// Share of the energy that is left where there is neither bass nor onset.
const LEAST: f32 = 0.4;
/// Fullness against the fullest under which the dance is held back as far as it goes, and over which not at all.
const EMPTY: f32 = 0.3;
const FULL: f32 = 0.75;
/// What a drop adds, and hops until a third of it is left.
const DROP: f32 = 0.2;
const DROP_HOPS: f32 = 3.0 * HOPS_PER_SECOND as f32;

#[derive(Clone, Debug, Default)]
pub struct Mood {
    bass: f32,
    onsets: f32,
    fullest_bass: f32,
    fullest_onsets: f32,
    /// 0 held back to 1 free.
    free: f32,
    drop: f32,
}

impl Mood {
    pub fn hear(&mut self, hop: &[f32; HOP_FLOATS]) {
        let bass = hop[..BASS_BANDS].iter().sum::<f32>() / BASS_BANDS as f32;
        self.bass += (bass - self.bass) / NOW_HOPS;
        self.onsets += (hop[MEL_BANDS] - self.onsets) / NOW_HOPS;
        let fade = 1.0 - 1.0 / MEMORY_HOPS;
        self.fullest_bass = (self.fullest_bass * fade).max(self.bass);
        self.fullest_onsets = (self.fullest_onsets * fade).max(self.onsets);
        let share = |now: f32, fullest: f32| if fullest > 1e-4 { now / fullest } else { 1.0 };
        let fullness = 0.5 * share(self.bass, self.fullest_bass) + 0.5 * share(self.onsets, self.fullest_onsets);
        let free = ((fullness - EMPTY) / (FULL - EMPTY)).clamp(0.0, 1.0);
        // Up at once, down over a second: a drop is a surprise, a break is noticed.
        let before = self.free;
        self.free = if free > self.free { free } else { self.free + (free - self.free) / HOPS_PER_SECOND as f32 };
        self.drop = (self.drop * (1.0 - 1.0 / DROP_HOPS)).max(DROP * ((self.free - before) * 4.0).clamp(0.0, 1.0));
    }

    /// The energy to dance at, of the energy that was asked for.
    pub fn energy(&self, asked: f32) -> f32 {
        (asked * (LEAST + (1.0 - LEAST) * self.free + self.drop)).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hops(mood: &mut Mood, seconds: f32, bass: f32, onset: f32) -> f32 {
        let mut hop = [0.0; HOP_FLOATS];
        hop[..BASS_BANDS].fill(bass);
        for i in 0..(seconds * 60.0) as usize {
            hop[MEL_BANDS] = if i % 30 == 0 { onset * 10.0 } else { 0.0 };
            mood.hear(&hop);
        }
        mood.energy(0.7)
    }

    #[test]
    fn a_break_holds_back_and_a_drop_lets_go_at_once() {
        let mut mood = Mood::default();
        let groove = hops(&mut mood, 20.0, 0.8, 0.3);
        let pause = hops(&mut mood, 6.0, 0.1, 0.02);
        let drop = hops(&mut mood, 0.6, 0.8, 0.3);
        assert!(groove > 0.6, "{groove}");
        assert!(pause < 0.4, "{pause}");
        assert!(drop > groove * 0.95, "{drop} after {groove}");
    }
}
