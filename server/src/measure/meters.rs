//! What the server counts over all its sessions since it started: what `/metrics` shows.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use odori_engine::ladder::Rung;

use super::Stage;
use super::histogram::{DURATIONS, Histogram, OFFSETS, SHARES};
use crate::media::video::VideoCodec;

/// Why something was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The dancer was behind its sound: the picture was not drawn.
    PictureLate,
    /// A newer picture came before the encoder took it.
    PictureOvertaken,
    /// A viewer's lane was full.
    PictureViewer,
    /// A viewer's lane of sound packets was full.
    SoundPacketViewer,
}

impl Cause {
    pub const ALL: [Cause; 4] = [Cause::PictureLate, Cause::PictureOvertaken, Cause::PictureViewer, Cause::SoundPacketViewer];

    /// What was dropped, and the cause, as labels.
    pub fn names(self) -> (&'static str, &'static str) {
        match self {
            Cause::PictureLate => ("picture", "late"),
            Cause::PictureOvertaken => ("picture", "overtaken"),
            Cause::PictureViewer => ("picture", "slow-viewer"),
            Cause::SoundPacketViewer => ("sound-packet", "slow-viewer"),
        }
    }
}

/// See the module. Counts only grow.
#[derive(Debug)]
pub struct Meters {
    pub stages: [Histogram; Stage::COUNT],
    /// Sound in to the last packet of the frame out.
    pub end_to_end: Histogram,
    /// Sound in to the picture on the viewer's screen.
    pub seen: Histogram,
    frames: [AtomicU64; Rung::ALL.len()],
    pub deadline_misses: AtomicU64,
    drops: [AtomicU64; Cause::ALL.len()],
    /// Samples at 24 kHz that came too fast, and that were not danced to in time.
    pub sound_early: AtomicU64,
    pub sound_undanced: AtomicU64,
    /// How much later than the picture of the same media time the sound is heard.
    pub skew: Histogram,
    /// How much later a beat is seen than heard, so far as it is latency: what the dance was not made ahead.
    pub beat_offset: Histogram,
    encoded_bytes: [AtomicU64; 2],
    pub round_trip: Histogram,
    pub jitter: Histogram,
    pub loss: Histogram,
    pub refused: AtomicU64,
}

impl Default for Meters {
    fn default() -> Self {
        Self {
            stages: std::array::from_fn(|_| Histogram::new(DURATIONS)),
            end_to_end: Histogram::new(DURATIONS),
            seen: Histogram::new(DURATIONS),
            frames: Default::default(),
            deadline_misses: AtomicU64::new(0),
            drops: Default::default(),
            sound_early: AtomicU64::new(0),
            sound_undanced: AtomicU64::new(0),
            skew: Histogram::new(OFFSETS),
            beat_offset: Histogram::new(OFFSETS),
            encoded_bytes: Default::default(),
            round_trip: Histogram::new(DURATIONS),
            jitter: Histogram::new(DURATIONS),
            loss: Histogram::new(SHARES),
            refused: AtomicU64::new(0),
        }
    }
}

impl Meters {
    pub fn stage(&self, stage: Stage, cost: Duration) {
        self.stages[stage as usize].record_duration(cost);
    }

    /// A picture was made on this rung.
    pub fn frame(&self, rung: Rung) {
        self.frames[rung as usize].fetch_add(1, Ordering::Relaxed);
    }

    pub fn frames(&self, rung: Rung) -> u64 {
        self.frames[rung as usize].load(Ordering::Relaxed)
    }

    pub fn give_up(&self, cause: Cause, count: u64) {
        self.drops[cause as usize].fetch_add(count, Ordering::Relaxed);
    }

    pub fn dropped(&self, cause: Cause) -> u64 {
        self.drops[cause as usize].load(Ordering::Relaxed)
    }

    pub fn encoded(&self, codec: VideoCodec, bytes: usize) {
        self.encoded_bytes[codec as usize].fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub fn encoded_bytes(&self, codec: VideoCodec) -> u64 {
        self.encoded_bytes[codec as usize].load(Ordering::Relaxed)
    }
}
