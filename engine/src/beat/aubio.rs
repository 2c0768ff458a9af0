//! aubio's tempo tracker behind the same face as the engine's own, as baseline and alternative. GPL-3.0.
//!
//! It must be fed audio, not features, and reports beats after they sounded; between them its clock runs on.

use aubio_rs::{OnsetMode, Tempo};

use super::{ANNOUNCE_AHEAD_S, BEATS_PER_BAR, BeatState, LEAST_CONFIDENCE, PredictedBeat, RATE};

const WINDOW: usize = 512;
const HOP: usize = 100;

/// aubio's `tempo` with the default onset function.
pub struct AubioTempo {
    tempo: Tempo,
    pending: Vec<f32>,
    fed_samples: u64,
    now_samples: u64,
    bpm: f64,
    /// Media time of the last beat it reported, in seconds, and the count of beats until then.
    last_beat: f64,
    beats: i64,
    confidence: f32,
    nudge_beats: f64,
    told_time: f64,
    predicted: Option<PredictedBeat>,
}

// SAFETY: the object behind `Tempo` is plain memory owned by it alone; aubio ties it to no thread, and `&mut self`
// keeps its use exclusive.
unsafe impl Send for AubioTempo {}

impl AubioTempo {
    /// `None` if aubio cannot be set up.
    pub fn new() -> Option<Self> {
        let tempo = Tempo::new(OnsetMode::SpecFlux, WINDOW, HOP, RATE as u32).ok()?;
        Some(Self {
            tempo,
            pending: Vec::with_capacity(HOP),
            fed_samples: 0,
            now_samples: 0,
            bpm: 120.0,
            last_beat: f64::NEG_INFINITY,
            beats: 0,
            confidence: 0.0,
            nudge_beats: 0.0,
            told_time: f64::NEG_INFINITY,
            predicted: None,
        })
    }

    /// Another stream begins. If aubio cannot be set up again, the old one goes on.
    pub fn reset(&mut self) {
        if let Some(new) = Self::new() {
            *self = new;
        }
    }

    /// The newest mono samples at 24 kHz; `now_samples` have arrived in all.
    pub fn step(&mut self, audio: &[f32], now_samples: u64) -> BeatState {
        for x in audio {
            self.pending.push(*x);
            if self.pending.len() == HOP {
                self.fed_samples += HOP as u64;
                if self.tempo.do_result(&self.pending[..]).is_ok_and(|beat| beat > 0.0) {
                    self.last_beat = self.tempo.get_last() as f64 / RATE;
                    self.beats += 1;
                    self.bpm = f64::from(self.tempo.get_bpm()).clamp(30.0, 300.0);
                    self.confidence = self.tempo.get_confidence().clamp(0.0, 1.0).max(LEAST_CONFIDENCE);
                }
                self.pending.clear();
            }
        }
        self.now_samples = now_samples;
        // A beat overdue by two seconds: there is nothing to follow.
        if now_samples as f64 / RATE - self.last_beat > 2.0 {
            self.confidence *= 0.98;
        }
        self.announce();
        self.state()
    }

    /// The state at the newest sample.
    pub fn state(&self) -> BeatState {
        let mut state = BeatState { bpm: self.bpm as f32, confidence: self.confidence, at_samples: 0, ..BeatState::default() };
        if self.last_beat.is_finite() {
            let beats = self.beats_now();
            state.beat_phase = (beats.rem_euclid(1.0) as f32).min(0.999_999);
            state.bar_phase =
                ((beats / f64::from(BEATS_PER_BAR)).rem_euclid(1.0) as f32).min(0.999_999);
        }
        state.at_samples = self.now_samples;
        state
    }

    fn beats_now(&self) -> f64 {
        let since = self.now_samples as f64 / RATE - self.last_beat;
        self.beats as f64 + since * self.bpm / 60.0 + self.nudge_beats
    }

    /// The state at any instant, tempo held.
    pub fn state_at(&self, samples: u64) -> BeatState {
        self.state().at(samples)
    }

    /// The beat announced by the last step, once.
    pub fn take_predicted(&mut self) -> Option<PredictedBeat> {
        self.predicted.take()
    }

    /// Moves the clock on by a fraction of a beat.
    pub fn nudge(&mut self, beats: f32) {
        if beats.is_finite() {
            self.nudge_beats += f64::from(beats);
        }
    }

    fn announce(&mut self) {
        self.predicted = None;
        if !self.last_beat.is_finite() || self.confidence < LEAST_CONFIDENCE {
            return;
        }
        let now = self.now_samples as f64 / RATE;
        let beats = self.beats_now();
        let next = beats.floor() + 1.0;
        let period_s = 60.0 / self.bpm;
        let time = now + (next - beats) * period_s;
        if time - now <= ANNOUNCE_AHEAD_S && time > self.told_time + 0.5 * period_s {
            self.told_time = time;
            self.predicted = Some(PredictedBeat {
                time,
                predicted_at: now,
                downbeat: (next as i64).rem_euclid(i64::from(BEATS_PER_BAR)) == 0,
                bpm: self.bpm as f32,
                confidence: self.confidence,
            });
        }
    }
}
