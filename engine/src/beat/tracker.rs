//! The engine's own beat tracker: network, filter, clock and bar, one hop at a time.
//!
//! `step` is causal and allocates nothing. It must not see audio, only feature hops.

use odori_kernels::{Backend, Weights};

use super::bar::Bar;
use super::clock::{Clock, wrap};
use super::network::{BeatError, BeatNetwork, HOPS_PER_STEP};
use super::pointer::Pointer;
use super::{ANNOUNCE_AHEAD_S, BEATS_PER_BAR, BeatState, LEAST_CONFIDENCE, PredictedBeat, RATE};
use crate::features::{HOP_FLOATS, HOPS_PER_SECOND};

/// Smoothed probability of music below which nothing is followed.
const MUSIC: f32 = 0.5;
/// Smoothed sharpness of the network's own idea of the phase: at the first nothing is followed, at the second all of it.
const VAGUE: f32 = 0.15;
const CLEAR: f32 = 0.5;

/// One stream's tracker.
pub struct BeatTracker {
    network: BeatNetwork,
    pointer: Pointer,
    clock: Clock,
    bar: Bar,
    /// Smoothed probability of music.
    music: f32,
    /// Smoothed length of the mean vector of the network's phase: 0 for any, 1 for one.
    clear: f32,
    confidence: f32,
    now_samples: u64,
    /// Count of the last beat told.
    told: i64,
    told_time: f64,
    predicted: Option<PredictedBeat>,
    last_tap: Option<f64>,
}

impl BeatTracker {
    /// # Errors
    /// Names the setting or the tensor of the weights that does not fit.
    pub fn new(backend: &Backend, weights: &Weights) -> Result<Self, BeatError> {
        Ok(Self {
            network: BeatNetwork::new(backend, weights)?,
            pointer: Pointer::new(),
            clock: Clock::default(),
            bar: Bar::default(),
            music: 0.0,
            clear: 0.0,
            confidence: 0.0,
            now_samples: 0,
            told: i64::MIN,
            told_time: f64::NEG_INFINITY,
            predicted: None,
            last_tap: None,
        })
    }

    /// Another stream begins: forget this one.
    pub fn reset(&mut self) {
        self.network.reset();
        self.pointer.reset();
        (self.clock, self.bar) = (Clock::default(), Bar::default());
        (self.music, self.clear, self.confidence, self.now_samples) = (0.0, 0.0, 0.0, 0);
        (self.told, self.told_time, self.predicted, self.last_tap) = (i64::MIN, f64::NEG_INFINITY, None, None);
    }

    /// One feature hop; `now_samples` is the count of samples that have arrived with it.
    pub fn step(&mut self, hop: &[f32; HOP_FLOATS], now_samples: u64) -> BeatState {
        self.now_samples = now_samples;
        self.clock.advance(1.0 / HOPS_PER_SECOND);
        if let Some(heard) = self.network.step(hop) {
            self.pointer.step(heard);
            let reading = self.pointer.reading();
            self.music += (heard.music - self.music) / 15.0;
            self.clear += (heard.clearness() - self.clear) / 30.0;
            let clear = ((self.clear - VAGUE) / (CLEAR - VAGUE)).clamp(0.0, 1.0);
            let belief = reading.sharpness * clear * ((self.music - MUSIC) / (1.0 - MUSIC)).max(0.0);
            let jumps = self.clock.jumps;
            self.clock.correct(HOPS_PER_STEP as f64 / HOPS_PER_SECOND, reading.bpm, reading.phase, f64::from(belief));
            if self.clock.jumps != jumps {
                self.bar.forget();
            }
            let agrees = 1.0 - 2.0 * wrap(reading.phase - self.clock.beats).abs() as f32;
            let target = if self.clock.running { (belief * agrees).clamp(0.0, 1.0) } else { 0.0 };
            // Trust grows within a second and fades within two.
            self.confidence += (target - self.confidence) / if target > self.confidence { 22.0 } else { 60.0 };
            self.bar.step(heard, self.clock.beats);
        }
        self.announce();
        self.state()
    }

    /// The state at the newest sample.
    pub fn state(&self) -> BeatState {
        let beat_phase = self.clock.beats.rem_euclid(1.0) as f32;
        let bar_phase = self.bar.phase(self.clock.beats) as f32;
        BeatState {
            bpm: self.clock.bpm as f32,
            beat_phase: if beat_phase >= 1.0 { 0.0 } else { beat_phase },
            bar_phase: if bar_phase >= 1.0 { 0.0 } else { bar_phase },
            beats_per_bar: BEATS_PER_BAR,
            confidence: self.confidence,
            at_samples: self.now_samples,
        }
    }

    /// The state at any instant: tempo held, usually asked about the near future.
    pub fn state_at(&self, samples: u64) -> BeatState {
        self.state().at(samples)
    }

    /// What the motion model is told about that instant.
    pub fn conditioning_at(&self, samples: u64) -> [f32; 8] {
        self.state_at(samples).conditioning()
    }

    /// The beat announced by the last `step`, once.
    pub fn take_predicted(&mut self) -> Option<PredictedBeat> {
        self.predicted.take()
    }

    /// Moves the clock on by a fraction of a beat (negative: back), as a person's correction.
    pub fn nudge(&mut self, beats: f32) {
        if beats.is_finite() {
            self.clock.beats += f64::from(beats.clamp(-0.5, 0.5));
        }
    }

    /// A person taps on the beat at `samples`: phase at once, tempo from two taps 0.28 to 1.1 s apart.
    pub fn tap(&mut self, samples: u64) {
        let time = samples as f64 / RATE;
        if let Some(before) = self.last_tap
            && (0.28..1.1).contains(&(time - before))
        {
            self.clock.bpm = 60.0 / (time - before);
        }
        self.last_tap = Some(time);
        let beats_then = self.clock.beats + (time - self.now_samples as f64 / RATE) * self.clock.bpm / 60.0;
        self.clock.beats -= wrap(beats_then);
        self.clock.running = true;
        self.confidence = self.confidence.max(0.5);
    }

    /// The next downbeat is at the beat nearest to `samples`.
    pub fn tap_downbeat(&mut self, samples: u64) {
        let beats = self.clock.beats + (samples as f64 - self.now_samples as f64) / RATE * self.clock.bpm / 60.0;
        self.bar.set_downbeat(beats.round() as i64);
    }

    fn announce(&mut self) {
        self.predicted = None;
        let now = self.now_samples as f64 / RATE;
        let next = self.clock.beats.floor() + 1.0;
        let period_s = 60.0 / self.clock.bpm;
        let time = now + (next - self.clock.beats) * period_s;
        if time - now > ANNOUNCE_AHEAD_S || next as i64 <= self.told || time < self.told_time + 0.5 * period_s {
            return;
        }
        (self.told, self.told_time) = (next as i64, time);
        if self.confidence >= LEAST_CONFIDENCE {
            self.predicted = Some(PredictedBeat {
                time,
                predicted_at: now,
                downbeat: self.bar.is_downbeat(next as i64),
                bpm: self.clock.bpm as f32,
                confidence: self.confidence,
            });
        }
    }
}
