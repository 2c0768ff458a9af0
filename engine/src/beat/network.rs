//! The beat network: two feature hops go in, thirty times a second; out comes what it believes of the position in the
//! bar, of the tempo, and of there being music at all. The twin of `training/odori_training/beat_model.py`.
//!
//! A network alone, it knows no clock: [`super::tracker`] makes one of its beliefs. Axis letters: D width, H hidden.

use odori_kernels::plan::{Act, Buf, BufKind, LinearShape, Op, Plan, PlanBuilder};
use odori_kernels::{Backend, Executor, PlanError, Weights};
use serde::Deserialize;

use crate::features::{HOP_FLOATS, MEL_BANDS};

/// Feature hops to a step.
pub const HOPS_PER_STEP: usize = 2;
/// Places in a bar of four beats that it tells apart.
pub const POSITIONS: usize = super::BEATS_PER_BAR as usize * PLACES;
/// Places to a beat.
pub const PLACES: usize = 16;
/// Tempo classes, even in the logarithm.
pub const TEMPI: usize = 48;
const SLOWEST_BPM: f64 = 55.0;
const FASTEST_BPM: f64 = 200.0;
/// Hops between the spectra whose rise is an input, and its factor.
const RISE_LAG: usize = 2;
const RISE: f32 = 4.0;
const HOP_INPUTS: usize = HOP_FLOATS + MEL_BANDS;
const INPUTS: usize = HOPS_PER_STEP * HOP_INPUTS;
const OUTPUTS: usize = POSITIONS + TEMPI + 1;

/// Beats a minute of a tempo class, or between two.
pub fn tempo_of(class: f64) -> f64 {
    SLOWEST_BPM * (FASTEST_BPM / SLOWEST_BPM).powf(class / (TEMPI - 1) as f64)
}

/// The class, with its fraction, of a tempo.
pub fn class_of(bpm: f64) -> f64 {
    (bpm / SLOWEST_BPM).ln() / (FASTEST_BPM / SLOWEST_BPM).ln() * (TEMPI - 1) as f64
}

#[derive(Debug, thiserror::Error)]
pub enum BeatError {
    #[error("the beat weights cannot be used: {0}; fetch or train them again")]
    Config(String),
    #[error(transparent)]
    Plan(#[from] PlanError),
}

#[derive(Clone, Copy, Debug, Deserialize)]
struct Config {
    width: usize,
    hidden: usize,
}

/// What the network believes at one step; probabilities.
#[derive(Clone, Debug, PartialEq)]
pub struct Belief {
    /// Where in the bar the end of the newest hop is; place 0 is the downbeat. Sums to 1.
    pub position: [f32; POSITIONS],
    /// Sums to 1.
    pub tempo: [f32; TEMPI],
    /// That there is music.
    pub music: f32,
}

impl Default for Belief {
    fn default() -> Self {
        Belief { position: [1.0 / POSITIONS as f32; POSITIONS], tempo: [1.0 / TEMPI as f32; TEMPI], music: 0.0 }
    }
}

impl Belief {
    /// How sharp its idea of the beat's phase is: the length of the mean vector, 0 to 1.
    pub fn clearness(&self) -> f32 {
        let (mut x, mut y) = (0.0, 0.0);
        for (place, p) in self.position.iter().enumerate() {
            let (sin, cos) = (std::f32::consts::TAU * place as f32 / PLACES as f32).sin_cos();
            (x, y) = (x + p * cos, y + p * sin);
        }
        x.hypot(y)
    }
}

/// The network with its state, ready to step.
pub struct BeatNetwork {
    exec: Executor,
    x: Buf,
    y: Buf,
    input: [f32; INPUTS],
    output: [f32; OUTPUTS],
    past: [[f32; MEL_BANDS]; RISE_LAG],
    hops: usize,
    belief: Belief,
}

fn record(c: Config) -> Result<(Plan, Buf, Buf), PlanError> {
    let b = &mut PlanBuilder::new();
    let x = b.buf("x", INPUTS, BufKind::External);
    let mut h = b.linear("enter", x, LinearShape { m: 1, k: INPUTS, n: c.width }, true, Act::Silu, None); // (1, D)
    let mut width = c.width;
    let mut states = Vec::new();
    for name in ["gru1", "gru2"] {
        let state = b.buf(format!("{name}.h"), c.hidden, BufKind::State);
        let gates_x = b.linear(&format!("{name}.input"), h, LinearShape { m: 1, k: width, n: 3 * c.hidden }, true, Act::None, None);
        let gates_h = b.linear(&format!("{name}.state"), state, LinearShape { m: 1, k: c.hidden, n: 3 * c.hidden }, true, Act::None, None);
        b.op(Op::GruCell { gates_x, gates_h, h: state, n: c.hidden });
        (h, width) = (state, c.hidden);
        states.push((state, c.hidden));
    }
    let both = b.tmp(2 * c.hidden);
    b.op(Op::Concat { xs: states, y: both, hw: 1 });
    let last = b.linear("leave", both, LinearShape { m: 1, k: 2 * c.hidden, n: OUTPUTS }, true, Act::None, None);
    let y = b.buf("y", OUTPUTS, BufKind::External);
    b.op(Op::Copy { x: last, x_offset: 0, y, y_offset: 0, len: OUTPUTS });
    Ok((std::mem::take(b).finish()?, x, y))
}

fn softmax(logits: &[f32], out: &mut [f32]) {
    let top = logits.iter().copied().fold(f32::MIN, f32::max);
    let mut sum = 0.0;
    for (o, l) in out.iter_mut().zip(logits) {
        *o = (l - top).exp();
        sum += *o;
    }
    out.iter_mut().for_each(|o| *o /= sum);
}

impl BeatNetwork {
    /// # Errors
    /// Names the setting or the tensor that does not fit.
    pub fn new(backend: &Backend, weights: &Weights) -> Result<Self, BeatError> {
        let text = weights.metadata("config").ok_or_else(|| BeatError::Config("the file names no config".into()))?;
        let config: Config = serde_json::from_str(text).map_err(|e| BeatError::Config(format!("its config is not understood: {e}")))?;
        if !(1..=1024).contains(&config.width) || !(1..=1024).contains(&config.hidden) {
            return Err(BeatError::Config(format!("width {} and hidden {}; 1 to 1024 are possible", config.width, config.hidden)));
        }
        let (plan, x, y) = record(config)?;
        let exec = Executor::new(backend, &plan, weights)?;
        let mut network = BeatNetwork {
            exec,
            x,
            y,
            input: [0.0; INPUTS],
            output: [0.0; OUTPUTS],
            past: [[0.0; MEL_BANDS]; RISE_LAG],
            hops: 0,
            belief: Belief::default(),
        };
        network.reset();
        Ok(network)
    }

    /// Another stream begins.
    pub fn reset(&mut self) {
        self.exec.reset();
        self.past = [[0.0; MEL_BANDS]; RISE_LAG];
        self.hops = 0;
        self.belief = Belief::default();
    }

    /// One feature hop; every second one gives a new belief. Values that are not finite count as silence.
    pub fn step(&mut self, hop: &[f32; HOP_FLOATS]) -> Option<&Belief> {
        let half = self.hops % HOPS_PER_STEP;
        let input = &mut self.input[half * HOP_INPUTS..][..HOP_INPUTS];
        let (plain, rise) = input.split_at_mut(HOP_FLOATS);
        for (p, h) in plain.iter_mut().zip(hop) {
            // Log-mels and flux are never negative, and 16 is beyond full scale.
            *p = if h.is_finite() { h.clamp(0.0, 16.0) } else { 0.0 };
        }
        let before = self.past[RISE_LAG - 1];
        for ((r, p), b) in rise.iter_mut().zip(&*plain).zip(before) {
            *r = RISE * (p - b).max(0.0);
        }
        self.past.rotate_right(1);
        self.past[0].copy_from_slice(&plain[..MEL_BANDS]);
        self.hops += 1;
        if half + 1 < HOPS_PER_STEP {
            return None;
        }
        self.exec.write(self.x, &self.input);
        self.exec.run(&[]);
        self.exec.read(self.y, &mut self.output);
        let (position, rest) = self.output.split_at(POSITIONS);
        softmax(position, &mut self.belief.position);
        softmax(&rest[..TEMPI], &mut self.belief.tempo);
        self.belief.music = 1.0 / (1.0 + (-rest[TEMPI]).exp());
        Some(&self.belief)
    }
}
