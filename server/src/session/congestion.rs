//! What a narrow path does to the picture: its bitrate follows the estimate, and where that is too little for so many
//! pixels, the picture is made smaller, then rarer. Decides only; the encoder's thread does it.

use std::time::{Duration, Instant};

/// Fewer bits for a pixel than this give mush: a dancer over a plain ground at the codec's coarsest.
const LEAST_BITS: f64 = 0.05;
/// More than is needed, for so long, before the picture grows again.
const MARGIN: f64 = 1.5;
const CALM: Duration = Duration::from_secs(4);

/// What of the picture is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// Half as wide and half as high.
    pub halve: bool,
    /// One of so many pictures.
    pub every: u64,
}

/// From the whole to the least.
const SHAPES: [Shape; 3] = [Shape { halve: false, every: 1 }, Shape { halve: true, every: 1 }, Shape { halve: true, every: 2 }];

impl Shape {
    /// Its share of the pixels of the whole.
    fn share(self) -> f64 {
        (if self.halve { 0.25 } else { 1.0 }) / self.every as f64
    }
}

/// One variant's, from picture to picture.
#[derive(Debug, Default)]
pub struct Shaper {
    at: usize,
    roomy_since: Option<Instant>,
}

impl Shaper {
    /// The shape for a target of so many bits a second and a whole picture of so many pixels a second.
    pub fn step(&mut self, now: Instant, target_bps: u32, pixels: f64) -> Shape {
        let fits = |shape: Shape, margin: f64| f64::from(target_bps) >= pixels * shape.share() * LEAST_BITS * margin;
        while self.at + 1 < SHAPES.len() && !fits(SHAPES[self.at], 1.0) {
            self.at += 1;
            self.roomy_since = None;
        }
        if self.at > 0 && fits(SHAPES[self.at - 1], MARGIN) {
            if now.saturating_duration_since(*self.roomy_since.get_or_insert(now)) >= CALM {
                self.at -= 1;
                self.roomy_since = None;
            }
        } else {
            self.roomy_since = None;
        }
        SHAPES[self.at]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PIXELS: f64 = 512.0 * 512.0 * 30.0;

    #[test]
    fn a_narrow_path_gets_a_smaller_picture_at_once_and_the_whole_again_after_a_calm_while() {
        let start = Instant::now();
        let mut shaper = Shaper::default();
        let mut at = |s: f64, bps| shaper.step(start + Duration::from_secs_f64(s), bps, PIXELS);
        assert_eq!(at(0.0, 2_000_000), SHAPES[0]);
        assert_eq!(at(0.1, 300_000), SHAPES[1]);
        assert_eq!(at(0.2, 90_000), SHAPES[2]);
        assert_eq!(at(0.3, 1_000_000), SHAPES[2]);
        assert_eq!(at(4.4, 1_000_000), SHAPES[1]);
        assert_eq!(at(8.5, 1_000_000), SHAPES[1], "the calm is counted anew");
        assert_eq!(at(12.6, 1_000_000), SHAPES[0]);
    }

    #[test]
    fn a_path_on_the_edge_does_not_make_it_swing() {
        let start = Instant::now();
        let mut shaper = Shaper::default();
        let shapes: Vec<_> = (0..3000u32)
            .map(|n| shaper.step(start + Duration::from_millis(u64::from(n) * 33), 380_000 + (n % 7) * 20_000, PIXELS))
            .collect();
        assert!(shapes.windows(2).filter(|w| w[0] != w[1]).count() <= 1);
    }
}
