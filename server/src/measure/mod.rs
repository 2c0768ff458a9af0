//! The latency instrument: what the stages of a frame are, and lock-free places to record what they cost.
//!
//! A frame's id is its place on the media clock, so that every stage knows it without being told: the dancer by the
//! sound, the encoder by the picture, the viewer by the RTP timestamp. Recording is an atomic store or two: no lock, no
//! allocation. Reading, which is rare, sorts and allocates as it likes. Nothing here decides anything.

mod histogram;
mod meters;
mod recent;
mod trace;

use std::time::{Duration, Instant};

pub use histogram::Histogram;
pub use meters::{Cause, Meters};
pub use recent::{Gauge, Percentiles, Recent, Smooth};
pub use trace::{LONGEST, Slot, Trace};

use crate::clock::SAMPLE_RATE;

/// A frame's number on the media clock, thirty a second.
pub fn frame_id(sample: u64) -> u64 {
    sample / u64::from(SAMPLE_RATE / 30)
}

/// The stages of a frame, in the order of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    /// Sound waits for its place on the clock.
    Capture,
    /// The frame's sound is complete and waits for the dancer.
    Queue,
    Features,
    Beat,
    Motion,
    Puppet,
    Denoise,
    Compose,
    /// Colour conversion and codec, for all variants.
    Encode,
    /// From encoded to the last packet out.
    Send,
    /// Network, the viewer's buffer, decoder and screen, as the viewer reports them.
    Display,
}

impl Stage {
    pub const COUNT: usize = 11;
    pub const ALL: [Stage; Self::COUNT] = [
        Stage::Capture,
        Stage::Queue,
        Stage::Features,
        Stage::Beat,
        Stage::Motion,
        Stage::Puppet,
        Stage::Denoise,
        Stage::Compose,
        Stage::Encode,
        Stage::Send,
        Stage::Display,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Capture => "capture",
            Stage::Queue => "queue",
            Stage::Features => "features",
            Stage::Beat => "beat",
            Stage::Motion => "motion",
            Stage::Puppet => "puppet",
            Stage::Denoise => "denoise",
            Stage::Compose => "compose",
            Stage::Encode => "encode",
            Stage::Send => "send",
            Stage::Display => "display",
        }
    }
}

/// When a stage began for a frame, and what it cost.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Span {
    pub stage: Stage,
    pub began: Instant,
    pub cost: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_are_listed_in_the_order_of_their_numbers() {
        assert!(Stage::ALL.iter().enumerate().all(|(i, s)| *s as usize == i));
    }
}
