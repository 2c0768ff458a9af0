//! Onset evidence: how much a hop sounds like the start of something, in units that do not depend on loudness.
//!
//! Flux of three regions of the mel (kick, body, hats) is divided by its own running level and loses its running
//! mean, so that steady noise gives nothing and music gives peaks of about 1 to 3. It must not know tempo.

use crate::features::{HOP_FLOATS, MEL_BANDS, MEL_SCALE};

/// Hops between the two spectra that are compared (as for the flux feature).
const LAG: usize = 2;
/// First band after each region: up to about 200 Hz, 1.5 kHz, 11 kHz.
const REGIONS: [std::ops::Range<usize>; 3] = [0..6, 6..34, 34..MEL_BANDS];
const WEIGHTS: [f32; 3] = [0.45, 0.30, 0.25];
/// A flux below this (in natural logarithms of power, mean over bands) is not music.
const FLOOR: f32 = 0.03;
/// Share of the newest hop in the running mean and level: about 3 s.
const FORGET: f32 = 1.0 / 180.0;

/// Streaming onset evidence.
#[derive(Clone, Debug)]
pub struct Onset {
    past: [[f32; MEL_BANDS]; LAG],
    mean: [f32; 3],
    square: [f32; 3],
    hops: u32,
}

/// What one hop says.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evidence {
    /// Mean-free, about -0.6 between onsets and 1 to 3 on them.
    pub onset: f32,
    /// The same for the lowest region alone: kicks and bass.
    pub low: f32,
    /// The same for the highest region alone: hats and cymbals.
    pub high: f32,
    /// 0 in silence or steady sound, 1 where there are onsets that stand out.
    pub activity: f32,
}

impl Default for Onset {
    fn default() -> Self {
        Self { past: [[0.0; MEL_BANDS]; LAG], mean: [0.0; 3], square: [0.0; 3], hops: 0 }
    }
}

impl Onset {
    /// One feature hop in, its evidence out.
    pub fn step(&mut self, hop: &[f32; HOP_FLOATS]) -> Evidence {
        let before = self.past[LAG - 1];
        let mut flux = [0.0_f32; 3];
        for (f, region) in flux.iter_mut().zip(REGIONS) {
            let bands = region.len() as f32;
            for b in region {
                let near = before[b.saturating_sub(1)..(b + 2).min(MEL_BANDS)].iter().copied().fold(0.0, f32::max);
                *f += (hop[b] - near).max(0.0) / (MEL_SCALE * bands);
            }
        }
        self.past.rotate_right(1);
        self.past[0].copy_from_slice(&hop[..MEL_BANDS]);

        // At first the mean is over what there was.
        self.hops = self.hops.saturating_add(1);
        let share = FORGET.max(1.0 / self.hops as f32);
        let mut z = [0.0; 3];
        let mut activity = 0.0_f32;
        for i in 0..3 {
            self.mean[i] += share * (flux[i] - self.mean[i]);
            self.square[i] += share * (flux[i] * flux[i] - self.square[i]);
            let level = self.square[i].sqrt();
            // Peaky flux has a level well above its mean; steady noise has both alike.
            let spread = (self.square[i] - self.mean[i] * self.mean[i]).max(0.0).sqrt();
            z[i] = ((flux[i] - self.mean[i]) / (level + FLOOR)).clamp(-1.0, 3.0);
            activity = activity.max((spread / (level + FLOOR) - 0.25).max(0.0));
        }
        let onset = z.iter().zip(WEIGHTS).map(|(z, w)| z * w).sum();
        Evidence { onset, low: z[0], high: z[2], activity: (activity * 2.5).min(1.0) }
    }
}
