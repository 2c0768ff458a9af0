//! The pose transformer: music and beat phase go in, fifteen times a second, and two poses come out.
//!
//! Knows no sound and no picture. After X-Dancer (arXiv 2502.17414); `network` records the arithmetic.

mod config;
mod network;

use odori_kernels::{Backend, Executor, PlanError, Weights};

pub use config::{FRAMES_PER_STEP, MotionConfig, PARTS, TokenizerConfig};
use network::{Network, Ports, merge_weights};

use crate::pose::{FRAME_DIM, Pose};

/// Four feature hops of 80 mel bands and the onset strength.
pub const MUSIC_DIM: usize = 4 * 81;
/// See [`crate::beat`]: the beat's conditioning vector.
pub const BEAT_DIM: usize = 8;

#[derive(Debug, thiserror::Error)]
pub enum MotionError {
    #[error("the {model} weights cannot be used: {reason}; fetch or train them again")]
    Config { model: &'static str, reason: String },
    #[error("tensor {name} should be {want:?}, {}; the file does not match this version of the engine",
        got.as_ref().map_or("but is missing".to_owned(), |g| format!("but is {g:?}")))]
    Tensor { name: String, want: Vec<usize>, got: Option<Vec<usize>> },
    #[error(transparent)]
    Weights(#[from] odori_kernels::WeightsError),
    #[error(transparent)]
    Plan(#[from] PlanError),
}

/// How far the dance is taken from one of no style towards the style that is asked for: 1 is what the model makes of it by itself.
/// As measured best on held-out songs; see `models/motion.md`.
const GUIDANCE: f32 = 3.5;
/// Share of the way to the mean of its style's dances that the memory of what was danced goes in a step, four times as fast as it takes in what
/// is danced: or a dance drifts out of its style within a quarter of a minute.
const ANCHOR: f32 = 1.0 / 30.0;
/// The style that is none.
pub const FREE: u32 = 0;

/// How the next move is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Sampling {
    /// 0 takes the likeliest code; 1 draws as trained.
    pub temperature: f32,
    /// Share of the probability that takes part, above 0 to 1.
    pub top_p: f32,
    pub seed: u32,
}

impl Default for Sampling {
    /// As measured best on held-out songs; see `models/motion.md`.
    fn default() -> Self {
        Sampling { temperature: 0.75, top_p: 0.9, seed: 1 }
    }
}

/// What one step hears and is told.
#[derive(Clone, Copy, Debug)]
pub struct StepInput<'a> {
    /// The four newest feature hops, oldest first.
    pub music: &'a [f32; MUSIC_DIM],
    /// Beat phase at the time the step will be seen.
    pub beat: [f32; BEAT_DIM],
    /// 0 calm to 1 wild.
    pub energy: f32,
    pub style: u32,
    pub sampling: Sampling,
}

/// The transformer with its KV ring, ready to step.
pub struct MotionModel {
    exec: Executor,
    ports: Ports,
    cfg: MotionConfig,
    mean: Vec<f32>,
    std: Vec<f32>,
    steps: u32,
    tokens: Vec<f32>,
    frames: Vec<f32>,
    /// (G) style of every stream.
    styles: Vec<f32>,
    /// By style: where its dances begin; none for those that have no such place.
    beginnings: Vec<Option<Beginning>>,
    /// The style whose mean the plan holds, if any.
    anchored: u32,
    pub version: String,
}

/// Out of dances of a style: single steps, and what they come to in the mean.
struct Beginning {
    /// (K, Q) tokens.
    tokens: Vec<f32>,
    /// (Q * L) codes.
    mean: Vec<f32>,
}

/// Frames over which the end of the loop of standing becomes its beginning: 1.5 s.
const SEAM_FRAMES: usize = 45;
/// How often each pose of that loop is drawn half-way to the mean of its neighbours: together a Gaussian of 80 ms.
const SMOOTH_PASSES: usize = 12;

/// A dancer standing and breathing: the loop of tokens in `idle`, decoded to 30 Hz poses.
///
/// # Errors
/// Names the tensor or the setting that does not fit.
pub fn idle_poses(backend: &Backend, motion: &Weights, tokenizer: &Weights, idle: &Weights) -> Result<Vec<Pose>, MotionError> {
    let mut model = MotionModel::build(backend, motion.clone(), tokenizer, 1, true)?;
    let slots = model.cfg.slots;
    let tokens = match idle.get("tokens") {
        Some((&[_, q], data)) if q == slots && !data.is_empty() => data.to_vec(),
        other => return Err(MotionError::Tensor { name: "tokens".into(), want: vec![240, slots], got: other.map(|(d, _)| d.to_vec()) }),
    };
    let input = StepInput { music: &[0.0; MUSIC_DIM], beat: [0.0; BEAT_DIM], energy: 0.0, style: 0, sampling: Sampling::default() };
    let mut poses = Vec::with_capacity(tokens.len() / slots * FRAMES_PER_STEP);
    for step in tokens.chunks_exact(slots) {
        model.exec.write(model.ports.forced, step);
        poses.extend(model.step(&input));
    }
    Ok(round_and_round(&poses))
}

/// Poses that can be played round and round: the end goes over into the beginning, and what trembles from step to step is
/// taken out, for one who stands moves slowly. Shorter than what was given by [`SEAM_FRAMES`].
fn round_and_round(poses: &[Pose]) -> Vec<Pose> {
    let seam = SEAM_FRAMES.min(poses.len() / 2);
    let length = poses.len() - seam;
    let mut round = poses[..length].to_vec();
    for (n, pose) in round.iter_mut().enumerate().take(seam) {
        let u = n as f32 / seam as f32;
        *pose = poses[length + n].lerp(&poses[n], u * u * (3.0 - 2.0 * u));
    }
    for _ in 0..SMOOTH_PASSES {
        let beside = |n: usize| round[(n + length - 1) % length].lerp(&round[(n + 1) % length], 0.5);
        round = (0..length).map(|n| round[n].lerp(&beside(n), 0.5)).collect();
    }
    round
}

/// The motion weights with the beginnings of every style's dances, where `idle` has them.
///
/// # Errors
/// If they cannot be taken in; whether they fit the model is seen when that is built.
pub fn with_beginnings(mut motion: Weights, idle: &Weights) -> Result<Weights, MotionError> {
    if let Some((dims, tokens)) = idle.get("beginnings") {
        motion.insert("beginnings", dims, tokens.to_vec())?;
    }
    Ok(motion)
}

/// Names of the styles that the weights were trained on, in the order of their numbers; one, unnamed, if the file
/// does not say.
pub fn style_names(weights: &Weights) -> Vec<String> {
    weights.metadata("styles").and_then(|json| serde_json::from_str(json).ok()).unwrap_or_else(|| vec!["any".into()])
}

impl MotionModel {
    /// Builds the model from its two weights files, already read and checked for finiteness.
    ///
    /// # Errors
    /// Names the tensor or the setting that does not fit.
    pub fn new(backend: &Backend, motion: Weights, tokenizer: &Weights) -> Result<Self, MotionError> {
        Self::build(backend, motion, tokenizer, 2, false)
    }

    fn build(backend: &Backend, motion: Weights, tokenizer: &Weights, streams: usize, forced: bool) -> Result<Self, MotionError> {
        let cfg = MotionConfig::from_weights(&motion)?;
        let tok = TokenizerConfig::from_weights(tokenizer)?;
        if cfg.slots != PARTS * tok.residual || cfg.codes != tok.codes || cfg.latent != tok.latent {
            return Err(MotionError::Config {
                model: "motion",
                reason: "it was trained with another tokenizer".into(),
            });
        }
        let vector = |name: &str| match tokenizer.get(name) {
            Some((&[FRAME_DIM], data)) => Ok(data.to_vec()),
            other => Err(MotionError::Tensor {
                name: name.into(),
                want: vec![FRAME_DIM],
                got: other.map(|(d, _)| d.to_vec()),
            }),
        };
        let (mean, std) = (vector("mean")?, vector("std")?);
        let version = motion.metadata("version").unwrap_or("unversioned").to_owned();
        let beginnings = beginnings(&cfg, &motion)?;
        let weights = merge_weights(&cfg, &tok, motion, tokenizer)?;
        let Network { plan, ports } = Network::record(&cfg, &tok, streams, forced)?;
        let mut exec = Executor::new(backend, &plan, &weights)?;
        let slots: Vec<f32> = (0..cfg.slots).map(|i| i as f32).collect();
        exec.write(ports.slot_ids, &slots);
        let mut model = MotionModel {
            exec,
            ports,
            mean,
            std,
            steps: 0,
            tokens: vec![0.0; cfg.slots],
            frames: vec![0.0; FRAMES_PER_STEP * FRAME_DIM],
            styles: vec![FREE as f32; streams],
            beginnings,
            anchored: u32::MAX,
            cfg,
            version,
        };
        model.reset();
        Ok(model)
    }

    pub fn config(&self) -> &MotionConfig {
        &self.cfg
    }

    /// The mean of what it was trained on: how the dancer stands before the first step.
    pub fn rest_pose(&self) -> Pose {
        Pose::from_features(self.mean.as_slice().try_into().expect("the mean has a frame's length"))
    }

    /// Forgets everything danced so far.
    pub fn reset(&mut self) {
        self.exec.reset();
        self.tokens.fill(self.cfg.codes as f32); // the start code
        self.exec.write(self.ports.tokens, &self.tokens);
        self.steps = 0;
    }

    /// Forgets everything danced so far and begins as dances of the style do, where the weights say how.
    pub fn begin(&mut self, style: u32, seed: u32) {
        self.reset();
        let Some(Some(beginning)) = self.beginnings.get(style as usize) else { return };
        let q = self.cfg.slots;
        let [drawn, ..] = odori_kernels::noise::pcg3d(seed, 0, style);
        let at = drawn as usize % (beginning.tokens.len() / q) * q;
        self.exec.write(self.ports.tokens, &beginning.tokens[at..at + q]);
        self.exec.write(self.ports.motion_mean, &beginning.mean);
    }

    /// Dances one step: two poses at 30 Hz. Allocates nothing.
    pub fn step(&mut self, input: &StepInput<'_>) -> [Pose; FRAMES_PER_STEP] {
        self.run(input);
        self.exec.read(self.ports.tokens, &mut self.tokens);
        self.exec.read(self.ports.frames, &mut self.frames);
        for (i, x) in self.frames.iter_mut().enumerate() {
            *x = *x * self.std[i % FRAME_DIM] + self.mean[i % FRAME_DIM];
        }
        std::array::from_fn(|f| {
            let features = self.frames[f * FRAME_DIM..][..FRAME_DIM].try_into().expect("two whole frames");
            Pose::from_features(features)
        })
    }

    /// The tokens of the last step, (slots) exact integers: part-major, residual depth minor.
    pub fn tokens(&self) -> &[f32] {
        &self.tokens
    }

    fn run(&mut self, input: &StepInput<'_>) {
        let mut beat = [0.0; BEAT_DIM + 1];
        beat[..BEAT_DIM].copy_from_slice(&input.beat);
        beat[BEAT_DIM] = input.energy.clamp(0.0, 1.0);
        self.exec.write(self.ports.music, input.music);
        self.exec.write(self.ports.beat, &beat);
        self.styles[0] = (input.style as usize).min(self.cfg.styles - 1) as f32;
        self.exec.write(self.ports.style, &self.styles);
        let Sampling { temperature, top_p, seed } = input.sampling;
        let mut anchor = 0.0;
        if let Some(Some(beginning)) = self.beginnings.get(input.style as usize) {
            if std::mem::replace(&mut self.anchored, input.style) != input.style {
                self.exec.write(self.ports.anchor, &beginning.mean);
            }
            anchor = ANCHOR;
        }
        let floats = [temperature.max(0.0), top_p.clamp(0.01, 1.0), GUIDANCE, 1.0 - GUIDANCE, anchor, 1.0 - anchor].map(f32::to_bits);
        self.exec.run(&[self.steps, seed, floats[0], floats[1], floats[2], floats[3], floats[4], floats[5]]);
        self.steps = self.steps.wrapping_add(1);
    }
}

/// The beginnings in `beginnings (styles, K, Q)`, if the weights have some: a style that has none holds the start code.
fn beginnings(cfg: &MotionConfig, motion: &Weights) -> Result<Vec<Option<Beginning>>, MotionError> {
    let (q, latent) = (cfg.slots, cfg.latent);
    let Some((dims, tokens)) = motion.get("beginnings") else { return Ok(Vec::new()) };
    let (&[styles, steps, slots], Some((_, codes))) = (dims, motion.get("codes")) else {
        return Err(MotionError::Tensor { name: "beginnings".into(), want: vec![cfg.styles, 64, q], got: Some(dims.to_vec()) });
    };
    let fits = styles == cfg.styles && steps > 0 && slots == q && codes.len() == q * (cfg.codes + 1) * latent && tokens.iter().all(|t| (0.0..=cfg.codes as f32).contains(t));
    if !fits {
        return Err(MotionError::Tensor { name: "beginnings".into(), want: vec![cfg.styles, 64, q], got: Some(dims.to_vec()) });
    }
    let of_style = |tokens: &[f32]| {
        if tokens.iter().any(|t| *t as usize == cfg.codes) {
            return None;
        }
        let mut mean = vec![0.0; q * latent];
        for step in tokens.chunks_exact(q) {
            for (slot, token) in step.iter().enumerate() {
                let code = &codes[(slot * (cfg.codes + 1) + *token as usize) * latent..][..latent];
                mean[slot * latent..][..latent].iter_mut().zip(code).for_each(|(m, c)| *m += c / steps as f32);
            }
        }
        Some(Beginning { tokens: tokens.to_vec(), mean })
    };
    Ok(tokens.chunks_exact(steps * q).map(of_style).collect())
}

#[cfg(test)]
mod tests;
