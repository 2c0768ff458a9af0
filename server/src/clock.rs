//! The session's media clock: which audio sample is due at an instant. RTP timelines, sender reports and latency
//! figures all come from here. It never asks the time itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Samples a second of the master clock.
pub const SAMPLE_RATE: u32 = 24_000;

/// Media time since the session was made, in samples at [`SAMPLE_RATE`]. Sound is paced by it, so it and the count of
/// samples played never part: what a source delivers late is silence, what it delivers early waits.
#[derive(Debug)]
pub struct MediaClock {
    epoch: Instant,
    /// The newest sample handed on, for those who want to know how far sound has come.
    played: AtomicU64,
}

impl MediaClock {
    pub fn new(epoch: Instant) -> Self {
        Self { epoch, played: AtomicU64::new(0) }
    }

    /// The sample that is due at `now`, with its fraction.
    pub fn samples_at(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.epoch).as_secs_f64() * f64::from(SAMPLE_RATE)
    }

    /// When `sample` is due.
    pub fn instant_of(&self, sample: u64) -> Instant {
        self.epoch + Duration::from_secs_f64(sample as f64 / f64::from(SAMPLE_RATE))
    }

    pub fn set_played(&self, sample: u64) {
        self.played.store(sample, Ordering::Relaxed);
    }

    pub fn played(&self) -> u64 {
        self.played.load(Ordering::Relaxed)
    }
}

/// A media position as an RTP timestamp of a stream at `rate_hz`, wrapping as RTP does.
pub fn rtp_timestamp(samples: f64, rate_hz: u32, offset: u32) -> u32 {
    let ticks = samples * f64::from(rate_hz) / f64::from(SAMPLE_RATE);
    offset.wrapping_add(ticks.round() as u64 as u32)
}

/// The media position of an RTP timestamp: of all that it may stand for, the one nearest to `near`. `None` before the start.
pub fn media_sample(timestamp: u32, rate_hz: u32, offset: u32, near: u64) -> Option<u64> {
    let expected = rtp_timestamp(near as f64, rate_hz, offset);
    let ahead = f64::from(timestamp.wrapping_sub(expected) as i32) * f64::from(SAMPLE_RATE) / f64::from(rate_hz);
    near.checked_add_signed(ahead.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_streams_of_a_day_long_session_show_the_same_instant() {
        let clock = MediaClock::new(Instant::now());
        for sample in [0_u64, 800, 24_000 * 86_400 * 3 + 800] {
            let at = clock.instant_of(sample);
            assert!((clock.samples_at(at) - sample as f64).abs() < 0.01);
            let audio = rtp_timestamp(sample as f64, 48_000, 7).wrapping_sub(7);
            let video = rtp_timestamp(sample as f64, 90_000, u32::MAX).wrapping_sub(u32::MAX);
            assert_eq!(audio, (sample * 2) as u32);
            assert_eq!(video, (sample * 15 / 4) as u32);
        }
    }

    #[test]
    fn a_timestamp_tells_its_sample_however_often_it_has_wrapped() {
        for sample in [0_u64, 801, 24_000 * 86_400 * 3 + 807] {
            let timestamp = rtp_timestamp(sample as f64, 90_000, 4_000_000_000);
            for near in [sample + 30_000, sample.saturating_sub(30_000)] {
                assert_eq!(media_sample(timestamp, 90_000, 4_000_000_000, near), Some(sample));
            }
        }
        assert_eq!(media_sample(0, 90_000, 90_000, 0), None);
    }
}
