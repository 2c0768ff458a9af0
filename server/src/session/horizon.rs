//! How far ahead of the sound the dance is made, so that a beat is seen when it is heard. Decides from what viewers
//! measure; knows no clock and no network.
//!
//! Sound that is in the room at once (microphone, tab, WHIP, standard input) is heard when it comes in, and the picture
//! later by its whole way: the dance is made ahead by all of it. A file's sound reaches the viewer with the picture, and
//! what counts is how much of it the viewer's two buffers differ.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Beyond this a beat is too far to be foretold, and the viewer is too far to care.
const MOST: Duration = Duration::from_millis(250);
/// Share of the way to what is measured that one report moves it, and the most it moves: a dance must not jump.
const SHARE: f32 = 0.15;
const STEP_MS: f32 = 10.0;
/// The first reports find a horizon that nothing is built upon yet.
const FIRST: u32 = 4;
const FIRST_SHARE: f32 = 0.5;

/// What is known of the way from sound to sight, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Way {
    /// Sound in to packet out, and packet out to screen.
    Room { engine_ms: f32, viewer_ms: f32 },
    /// How far the picture that is seen lies before the sound that is heard, in media time.
    Together { skew_ms: f32 },
}

impl Way {
    /// By how much a beat would be seen late if the dance were not made ahead; negative is early.
    pub fn late_ms(self) -> f32 {
        match self {
            Way::Room { engine_ms, viewer_ms } => engine_ms + viewer_ms,
            Way::Together { skew_ms } => -skew_ms,
        }
    }
}

/// The horizon in force; read by the dancer for every block.
#[derive(Debug, Default)]
pub struct Horizon {
    us: AtomicU32,
    reports: AtomicU32,
}

impl Horizon {
    pub fn get(&self) -> Duration {
        Duration::from_micros(u64::from(self.us.load(Ordering::Relaxed)))
    }

    /// Another source, or nobody who says anything: nothing is known.
    pub fn forget(&self) {
        self.us.store(0, Ordering::Relaxed);
        self.reports.store(0, Ordering::Relaxed);
    }

    /// Takes a measurement in; gives by how much a beat is still seen late, in milliseconds.
    pub fn follow(&self, way: Way) -> f32 {
        let now_ms = self.us.load(Ordering::Relaxed) as f32 / 1000.0;
        let offset_ms = way.late_ms() - now_ms;
        if !offset_ms.is_finite() {
            return 0.0;
        }
        let wanted_ms = way.late_ms().clamp(0.0, MOST.as_secs_f32() * 1000.0);
        let step_ms = if self.reports.fetch_add(1, Ordering::Relaxed) < FIRST {
            (wanted_ms - now_ms) * FIRST_SHARE
        } else {
            ((wanted_ms - now_ms) * SHARE).clamp(-STEP_MS, STEP_MS)
        };
        self.us.store(((now_ms + step_ms) * 1000.0) as u32, Ordering::Relaxed);
        offset_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(horizon: &Horizon) -> f32 {
        horizon.get().as_secs_f32() * 1000.0
    }

    #[test]
    fn sound_in_the_room_is_danced_to_ahead_by_the_whole_way() {
        let horizon = Horizon::default();
        assert_eq!(ms(&horizon), 0.0);
        let way = Way::Room { engine_ms: 55.0, viewer_ms: 25.0 };
        assert_eq!(horizon.follow(way), 80.0);
        for _ in 0..30 {
            horizon.follow(way);
        }
        assert!((ms(&horizon) - 80.0).abs() < 1.0, "{}", ms(&horizon));
        assert!(horizon.follow(way).abs() < 1.0, "nothing is left");
        horizon.forget();
        assert_eq!(ms(&horizon), 0.0);
    }

    #[test]
    fn sound_that_comes_with_the_picture_counts_by_its_skew() {
        let horizon = Horizon::default();
        for _ in 0..40 {
            horizon.follow(Way::Together { skew_ms: -18.0 });
        }
        assert!((ms(&horizon) - 18.0).abs() < 1.0);
        for _ in 0..60 {
            horizon.follow(Way::Together { skew_ms: 15.0 });
        }
        assert!(ms(&horizon) < 1.0, "a picture that is early already is not made earlier");
    }

    #[test]
    fn one_wild_report_moves_it_little_and_nothing_beyond_the_most() {
        let horizon = Horizon::default();
        for _ in 0..20 {
            horizon.follow(Way::Room { engine_ms: 50.0, viewer_ms: 20.0 });
        }
        let before = ms(&horizon);
        horizon.follow(Way::Room { engine_ms: 50.0, viewer_ms: 5000.0 });
        assert!(ms(&horizon) - before <= STEP_MS + 0.01);
        for _ in 0..200 {
            horizon.follow(Way::Room { engine_ms: 50.0, viewer_ms: 5000.0 });
        }
        assert!(ms(&horizon) <= 250.0);
        horizon.follow(Way::Room { engine_ms: f32::NAN, viewer_ms: 0.0 });
        assert!(ms(&horizon) > 240.0);
    }
}
