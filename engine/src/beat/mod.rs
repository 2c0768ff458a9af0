//! Tempo, beat and bar phase, predicted ahead.
//!
//! [`tracker::BeatTracker`] is the engine's own: [`network`], a small recurrent network, says what it believes of the
//! position in the bar; [`pointer`] is a Bayesian filter over tempo and phase (the bar pointer of Whiteley et al. 2006
//! on the state space of Krebs et al. 2015, one beat long), [`clock`] turns its posterior into a smooth clock that can be
//! asked about the future, and [`bar`] finds the downbeat. [`aubio`] is the well-known alternative, behind its cargo
//! feature.
//!
//! It must not look ahead, read a clock, or know what the beats are for. Time is the sample counter at 24 kHz.

pub mod bar;
pub mod clock;
pub mod network;

pub mod pointer;
pub mod tracker;

#[cfg(feature = "aubio")]
pub mod aubio;

pub use network::BeatError;
pub use tracker::BeatTracker;

#[cfg(feature = "aubio")]
pub use aubio::AubioTempo;

use odori_kernels::{Backend, Weights};

use crate::features::HOP_FLOATS;

/// Samples per second of the counter that times are told in.
pub const RATE: f64 = 24_000.0;
/// Below this confidence there is no beat to dance to.
pub const LEAST_CONFIDENCE: f32 = 0.05;
/// Beats in a bar; other metres are not told apart yet.
pub const BEATS_PER_BAR: u32 = 4;
/// A beat is announced once the clock expects it within this time: the engine's own latency budget, so that a
/// frame made on hearing the announcement can still show the beat in time.
pub const ANNOUNCE_AHEAD_S: f64 = 0.050;

/// Where the music stands, at one instant.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BeatState {
    /// Beats per minute.
    pub bpm: f32,
    /// 0 at a beat, towards 1 before the next.
    pub beat_phase: f32,
    /// 0 at a downbeat, towards 1 before the next.
    pub bar_phase: f32,
    pub beats_per_bar: u32,
    /// 0 (nothing to follow) to 1.
    pub confidence: f32,
    /// The instant, in samples at 24 kHz.
    pub at_samples: u64,
}

impl Default for BeatState {
    fn default() -> Self {
        Self {
            bpm: 120.0,
            beat_phase: 0.0,
            bar_phase: 0.0,
            beats_per_bar: BEATS_PER_BAR,
            confidence: 0.0,
            at_samples: 0,
        }
    }
}

impl BeatState {
    /// The same music at another instant, tempo held.
    pub fn at(&self, samples: u64) -> Self {
        let beats = (samples as f64 - self.at_samples as f64) / RATE * f64::from(self.bpm) / 60.0;
        let beat = (f64::from(self.beat_phase) + beats).rem_euclid(1.0);
        let bar = (f64::from(self.bar_phase) + beats / f64::from(self.beats_per_bar)).rem_euclid(1.0);
        // A phase just under 1 may round up to it.
        let wrap = |p: f64| if p as f32 >= 1.0 { 0.0 } else { p as f32 };
        Self { beat_phase: wrap(beat), bar_phase: wrap(bar), at_samples: samples, ..*self }
    }

    /// What the motion model is told: sine and cosine of beat, bar and half-beat phase, bpm / 120, confidence.
    /// All zeros when there is no beat to follow.
    pub fn conditioning(&self) -> [f32; 8] {
        if self.confidence < LEAST_CONFIDENCE {
            return [0.0; 8];
        }
        let turn = |p: f32| (std::f32::consts::TAU * p).sin_cos();
        let ((s, c), (bs, bc), (ds, dc)) = (turn(self.beat_phase), turn(self.bar_phase), turn(2.0 * self.beat_phase));
        [s, c, bs, bc, ds, dc, self.bpm / 120.0, self.confidence]
    }
}

/// A beat told before it sounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PredictedBeat {
    /// When it will sound: seconds of media time.
    pub time: f64,
    /// Media time of the newest sample known when it was told; never after `time`.
    pub predicted_at: f64,
    pub downbeat: bool,
    pub bpm: f32,
    pub confidence: f32,
}

/// The tracker in use.
pub enum BeatSource {
    Own(Box<BeatTracker>),
    #[cfg(feature = "aubio")]
    Aubio(Box<AubioTempo>),
}

impl BeatSource {
    /// The engine's own tracker: it measures better than the alternatives, see `models/beat.md`.
    ///
    /// # Errors
    /// Names the setting or the tensor of the weights that does not fit.
    pub fn own(backend: &Backend, weights: &Weights) -> Result<Self, BeatError> {
        Ok(BeatSource::Own(Box::new(BeatTracker::new(backend, weights)?)))
    }

    /// Another stream begins: forget this one.
    pub fn reset(&mut self) {
        match self {
            BeatSource::Own(tracker) => tracker.reset(),
            #[cfg(feature = "aubio")]
            BeatSource::Aubio(tracker) => tracker.reset(),
        }
    }

    /// One hop: its features, the 400 samples that it added, and the samples that have arrived in all.
    #[cfg_attr(not(feature = "aubio"), allow(unused_variables))]
    pub fn step(&mut self, hop: &[f32; HOP_FLOATS], audio: &[f32], now_samples: u64) -> BeatState {
        match self {
            BeatSource::Own(tracker) => tracker.step(hop, now_samples),
            #[cfg(feature = "aubio")]
            BeatSource::Aubio(tracker) => tracker.step(audio, now_samples),
        }
    }

    /// The state at any instant, past or (more usefully) to come.
    pub fn state_at(&self, samples: u64) -> BeatState {
        match self {
            BeatSource::Own(tracker) => tracker.state_at(samples),
            #[cfg(feature = "aubio")]
            BeatSource::Aubio(tracker) => tracker.state_at(samples),
        }
    }

    /// [`BeatState::conditioning`] at any instant.
    pub fn conditioning_at(&self, samples: u64) -> [f32; 8] {
        self.state_at(samples).conditioning()
    }

    /// The beat announced by the last step, if it announced one.
    pub fn take_predicted(&mut self) -> Option<PredictedBeat> {
        match self {
            BeatSource::Own(tracker) => tracker.take_predicted(),
            #[cfg(feature = "aubio")]
            BeatSource::Aubio(tracker) => tracker.take_predicted(),
        }
    }

    /// Shifts the beat by a fraction of a beat (positive: later in the music's phase, so the beat comes sooner).
    pub fn nudge(&mut self, beats: f32) {
        match self {
            BeatSource::Own(tracker) => tracker.nudge(beats),
            #[cfg(feature = "aubio")]
            BeatSource::Aubio(tracker) => tracker.nudge(beats),
        }
    }
}

#[cfg(test)]
mod tests;
