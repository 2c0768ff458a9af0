//! Hears at once when music stops, and when it begins out of silence.
//!
//! A stop is a hush longer than this music's own gaps: the rests between the hits of a sparse beat are learnt, so that the
//! dancer does not freeze in each of them. Levels only; what the silence means is for the dancer.

use crate::features::HOPS_PER_SECOND;

/// Root mean square below which a hop is silence: about -50 dB.
const SILENCE: f32 = 0.003;
/// So much under what was loud of late is a hush, though not silence: -28 dB.
const HUSH_SHARE: f32 = 0.04;
/// Hops in which the memory of the loud fades to a third.
const LOUD_HOPS: f32 = 1.5 * HOPS_PER_SECOND as f32;
/// Hops of hush that are a stop in music that has no gaps: 50 ms.
const FIRST_HOPS: f32 = 3.0;
/// A stop is longer than the music's gaps by this factor.
const LONGER: f32 = 1.25;
/// Hops in which the memory of the longest gap fades to a third.
const GAP_HOPS: f32 = 8.0 * HOPS_PER_SECOND as f32;
/// Silence of this length lets the dancer come to rest; shorter ones are part of the music.
const REST_HOPS: u32 = 24;
/// Silence of this length makes sound after it a beginning: 0.8 s, longer than between the hits of a slow beat.
const BEGIN_HOPS: u32 = 48;

#[derive(Clone, Debug)]
pub struct Hush {
    silent_hops: u32,
    quiet_hops: u32,
    loud: f32,
    /// The longest gap of late, hops.
    gap: f32,
}

impl Default for Hush {
    /// Nothing was heard yet: at rest.
    fn default() -> Self {
        Hush { silent_hops: BEGIN_HOPS, quiet_hops: BEGIN_HOPS, loud: 0.0, gap: 0.0 }
    }
}

impl Hush {
    /// Hears a hop of this root mean square; says whether music begins with it, out of long silence.
    pub fn hear(&mut self, rms: f32) -> bool {
        let long = self.silent_hops >= BEGIN_HOPS;
        self.silent_hops = if rms < SILENCE { self.silent_hops.saturating_add(1) } else { 0 };
        self.gap *= 1.0 - 1.0 / GAP_HOPS;
        if rms < SILENCE.max(HUSH_SHARE * self.loud) {
            self.quiet_hops = self.quiet_hops.saturating_add(1);
        } else {
            if self.quiet_hops < REST_HOPS {
                self.gap = self.gap.max(self.quiet_hops as f32);
            }
            self.quiet_hops = 0;
        }
        self.loud = rms.max(self.loud * (1.0 - 1.0 / LOUD_HOPS));
        if long {
            self.gap = 0.0;
        }
        long && self.silent_hops == 0
    }

    /// Whether the music has just stopped: nobody moves on.
    pub fn stopped(&self) -> bool {
        self.quiet_hops as f32 >= (FIRST_HOPS + LONGER * self.gap).min(REST_HOPS as f32)
    }

    /// Whether there has been nothing to dance to for so long that the dancer rests.
    pub fn resting(&self) -> bool {
        self.silent_hops >= REST_HOPS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hops until the stop is noticed, and how often one was noticed in 10 s of this music before it.
    fn stop_after(music: impl Fn(u32) -> f32) -> (u32, u32) {
        let mut hush = Hush::default();
        let mut falsely = 0;
        for n in 0..600 {
            hush.hear(music(n));
            falsely += u32::from(n > 120 && hush.stopped());
        }
        let noticed = (1..60).find(|_| {
            hush.hear(0.0);
            hush.stopped()
        });
        (noticed.expect("a stop is noticed"), falsely)
    }

    #[test]
    fn dense_music_that_stops_is_noticed_in_three_hops() {
        assert_eq!(stop_after(|n| if n % 30 == 0 { 0.5 } else { 0.08 }), (3, 0));
    }

    #[test]
    fn the_gaps_of_a_sparse_beat_are_not_taken_for_stops() {
        // A hit of 133 ms twice a second.
        let (noticed, falsely) = stop_after(|n| if n % 30 < 8 { 0.4 } else { 0.0 });
        assert_eq!(falsely, 0);
        assert!(noticed <= 24);
    }

    #[test]
    fn a_drop_to_little_is_a_stop_and_the_little_is_music_again_after_a_while() {
        let mut hush = Hush::default();
        (0..300).for_each(|_| _ = hush.hear(0.4));
        let heard: Vec<bool> = (0..240)
            .map(|_| {
                hush.hear(0.008);
                hush.stopped()
            })
            .collect();
        assert!(heard[5] && !heard[239] && !hush.resting());
    }

    #[test]
    fn music_begins_once_and_only_out_of_long_silence() {
        let mut hush = Hush::default();
        assert!(hush.resting() && hush.hear(0.1) && !hush.hear(0.1));
        (0..BEGIN_HOPS - 1).for_each(|_| _ = hush.hear(0.0));
        assert!(!hush.hear(0.1), "a gap is part of the music");
        (0..BEGIN_HOPS).for_each(|_| assert!(!hush.hear(0.0)));
        assert!(hush.hear(0.1));
    }
}
