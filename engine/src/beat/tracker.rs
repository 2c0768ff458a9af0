//! The engine's own beat tracker: evidence, filter, clock and bar, one hop at a time.
//!
//! `step` is causal and allocates nothing. What it says about now already has the latency of its own evidence
//! taken off. It must not see audio, only feature hops.

use super::bar::Bar;
use super::clock::{Clock, wrap};
use super::onset::Onset;
use super::pointer::Pointer;
use super::{ANNOUNCE_AHEAD_S, BEATS_PER_BAR, BeatState, LEAST_CONFIDENCE, PredictedBeat, RATE};
use crate::features::{HOP_FLOATS, HOPS_PER_SECOND};

/// Onset evidence comes this long after the sound, because the window must fill: measured on clicks and drums by
/// `examples/beats.rs`, such that the median lag of predicted beats is zero.
const EVIDENCE_LATENCY_S: f64 = 0.028;
/// Evidence that is kept to see whether it repeats: about 8.5 s.
const HISTORY: usize = 512;

/// One stream's tracker.
pub struct BeatTracker {
    onset: Onset,
    pointer: Pointer,
    clock: Clock,
    bar: Bar,
    history: [f32; HISTORY],
    hops: usize,
    /// Smoothed onset activity, 0..1: falls in silence.
    activity: f32,
    /// The strongest recent onset, fading within seconds.
    recent: f32,
    confidence: f32,
    now_samples: u64,
    /// Count of the last beat told.
    told: i64,
    told_time: f64,
    predicted: Option<PredictedBeat>,
    last_tap: Option<f64>,
    /// When sound was first heard, and whether the bar has been told.
    began: Option<f64>,
    bar_begun: bool,
}

impl Default for BeatTracker {
    fn default() -> Self {
        Self::new()
    }
}

impl BeatTracker {
    pub fn new() -> Self {
        Self {
            onset: Onset::default(),
            pointer: Pointer::new(),
            clock: Clock::default(),
            bar: Bar::default(),
            history: [0.0; HISTORY],
            hops: 0,
            activity: 0.0,
            recent: 0.0,
            confidence: 0.0,
            now_samples: 0,
            told: i64::MIN,
            told_time: f64::NEG_INFINITY,
            predicted: None,
            last_tap: None,
            began: None,
            bar_begun: false,
        }
    }

    /// Another stream begins: forget this one.
    pub fn reset(&mut self) {
        *self = Self::new();
    }

    /// One feature hop; `now_samples` is the count of samples that have arrived with it.
    pub fn step(&mut self, hop: &[f32; HOP_FLOATS], now_samples: u64) -> BeatState {
        let seconds = 1.0 / HOPS_PER_SECOND;
        let evidence = self.onset.step(hop);
        self.now_samples = now_samples;
        self.history[self.hops % HISTORY] = evidence.onset;
        self.hops += 1;
        // Where nothing has sounded for a few seconds there is nothing to follow, however regular it was.
        self.recent = (self.recent * 0.99).max(evidence.onset.min(1.0));
        let alive = evidence.activity * (1.5 * self.recent).min(1.0);
        self.activity += (alive - self.activity) / 30.0;

        self.pointer.step(evidence.onset * evidence.activity.max(0.2));
        let reading = self.pointer.reading();
        let belief = reading.sharpness * self.activity;
        let phase = reading.phase + EVIDENCE_LATENCY_S * reading.bpm / 60.0;
        let jumps = self.clock.jumps;
        self.clock.step(seconds, reading.bpm, phase, f64::from(belief));
        if self.clock.jumps != jumps {
            self.bar.forget();
        }

        let agrees = 1.0 - 2.0 * wrap(phase - self.clock.beats).abs() as f32;
        let target = if self.clock.running {
            (belief * agrees * self.repeats()).clamp(0.0, 1.0)
        } else {
            0.0
        };
        // Trust grows within a second and fades within two.
        self.confidence += (target - self.confidence) / if target > self.confidence { 45.0 } else { 120.0 };

        self.begin_bar(evidence.onset);
        let heard_beats = self.clock.beats - EVIDENCE_LATENCY_S * self.clock.bpm / 60.0;
        self.bar.step(hop, evidence.low, evidence.high, heard_beats);
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

    /// Music usually begins on a downbeat: once the beat is known, the bar is counted from the first sound.
    fn begin_bar(&mut self, onset: f32) {
        let now = self.now_samples as f64 / RATE;
        if self.began.is_none() && onset > 0.3 {
            self.began = Some(now - EVIDENCE_LATENCY_S);
        }
        if let Some(began) = self.began
            && !self.bar_begun
            && self.confidence > 0.25
        {
            self.bar_begun = true;
            let beats_then = self.clock.beats - (now - began) * self.clock.bpm / 60.0;
            self.bar.begin(beats_then.round() as i64);
        }
    }

    /// How well the evidence of the last seconds repeats after one, two and four beats: 0..1.
    fn repeats(&self) -> f32 {
        let hops_per_beat = 60.0 * HOPS_PER_SECOND / self.clock.bpm;
        let kept = self.hops.min(HISTORY);
        let at = |back: usize| self.history[(self.hops - 1 - back) % HISTORY];
        let energy: f32 = (0..kept).map(|i| at(i) * at(i)).sum::<f32>() / kept.max(1) as f32;
        let mut best = 0.0_f32;
        for beats in [1.0, 2.0, 4.0] {
            let lag = (beats * hops_per_beat).round() as usize;
            for lag in lag.saturating_sub(1)..=lag + 1 {
                if lag * 2 < kept {
                    let sum: f32 = (0..kept - lag).map(|i| at(i) * at(i + lag)).sum();
                    best = best.max(sum / (kept - lag) as f32 / (energy + 1e-3));
                }
            }
        }
        ((best - 0.12) / 0.35).clamp(0.0, 1.0)
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
