//! The few-step denoiser: corrects the puppet's picture, in 1, 2 or 4 steps, at a working size of 128, 192 or 256.
//!
//! It sees the warped reference, its validity, where the keypoints are and how sure, the last 16 frames of pose
//! tokens, which way the body faces, the avatar's reference picture, and its own earlier frames. It moves the warp by a
//! flow and corrects it: it gives premultiplied RGBA, the flow, and a mask that tells where the full-size warp, moved
//! alike, may lend its detail. It must not draw, and must not know the full-size picture.
//!
//! After X-Dancer (AdaIN from pose tokens), X-Dyna (the Dynamics-Adapter) and Self-Forcing (a ring of own frames);
//! see `training/RENDERER.md`.

mod conditions;
mod doubt;
mod head;
mod network;
#[cfg(test)]
mod tests;

use conditions::Belief;
use head::SmoothHead;
use network::{ReferencePlan, StepPlan};
use crate::avatar::FACING;
use odori_kernels::plan::Buf;
use odori_kernels::{Backend, Executor, PlanError, Weights, noise};

pub use conditions::{Keypoint, enlarge};
pub use doubt::Doubt;
pub use network::{DenoiserConfig, KEYPOINTS, TOKEN_SLOTS, TOKEN_STEPS};

/// Working sizes that the weights are made for.
pub const SIZES: [usize; 3] = [128, 192, 256];
/// How exactly the network is computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Precision {
    /// f32, as the training code does.
    Full,
    /// In what the processor multiplies fastest: all layers in bf16 where it has AMX, else the convolutions of the blocks in eight bits where it
    /// has VNNI, else as `Full`. What is shown live; see `models/denoiser.md` for what that costs.
    #[default]
    Short,
}

/// Steps that are too many to be live.
pub const MANY_STEPS: u32 = 16;
/// Side of the patches that the network sees, working pixels.
pub const PATCH: usize = 4;

/// A gap of more frames than this makes the denoiser forget its earlier frames.
const LONGEST_GAP_FRAMES: u64 = 6;

/// Why a denoiser cannot be made or stepped.
#[derive(Debug, thiserror::Error)]
pub enum DenoiserError {
    #[error("the denoiser works at 128, 192 or 256 pixels, not {0}")]
    Size(usize),
    #[error("the denoiser's weights carry no readable config: {0}")]
    Config(String),
    #[error("denoiser: {0}")]
    Plan(#[from] PlanError),
    #[error("{what} has {found} values, expected {expected}")]
    Length { what: &'static str, found: usize, expected: usize },
    #[error("{0} denoise steps: only 1, 2 or 4 are trained")]
    Steps(u32),
    #[error("no reference picture has been set")]
    NoReference,
}

/// What the denoiser sees of one frame; W is the working size.
#[derive(Clone, Copy, Debug)]
pub struct DenoiseInput<'a> {
    /// (W, W, 4) premultiplied RGBA in 0..1, the puppet box filtered to W.
    pub warp: &'a [f32],
    /// (W, W) in 0..1
    pub validity: &'a [f32],
    pub keypoints: &'a [Keypoint; KEYPOINTS],
    /// Which way hips, chest and head face: `PuppetFrame::facing`.
    pub facing: &'a [f32; FACING],
    /// Pose tokens of the newest motion steps, oldest first; the last is that of this frame. More than
    /// `TOKEN_STEPS` are cut at the front; fewer, or none, count as unknown.
    pub tokens: &'a [[u16; TOKEN_SLOTS]],
    /// (G, G), G = W / 4, in 0..1: how much of each patch is the head, which moves as one piece. Empty: every patch
    /// moves by itself.
    pub head: &'a [f32],
}

/// The denoised frame. Made once and reused.
#[derive(Clone, Debug, Default)]
pub struct DenoiseOutput {
    /// (W, W, 4) premultiplied RGBA in 0..1.
    pub rgba: Vec<f32>,
    /// (W, W) in 0..1: how much of the full-size warp's detail to add.
    pub mask: Vec<f32>,
    /// (W, W, 4): the warp moved by the flow, which `rgba` corrects.
    pub moved: Vec<f32>,
    /// (W, W, 2): what is shown at p comes from p + flow(p); x and y in working pixels.
    pub flow: Vec<f32>,
}

/// The denoiser of one session. `step` allocates nothing once `out` has been used.
pub struct Denoiser {
    size: usize,
    cfg: DenoiserConfig,
    reference: ReferencePlan,
    reference_run: Executor,
    net: StepPlan,
    run: Executor,
    has_reference: bool,
    /// Frames since the last reset: the ring's counter.
    frame: u32,
    last_index: Option<u64>,
    /// (W, W, 4), gaussian, of `noise_seed`: the same for every frame, so that it cannot flicker.
    noise: Vec<f32>,
    noise_seed: Option<u32>,
    /// (W, W, 4), the noisy warp, then ever less noisy pictures.
    x: Vec<f32>,
    /// (cells, cells, 2): the flow, and how many of its cells a side
    flow: Vec<f32>,
    cells: usize,
    /// (W, W, 4), the output before this one; zeros after a reset.
    previous: Vec<f32>,
    /// What the network reads and gives, where that is not this process's memory: (G, G, ...). Else empty.
    patches: Vec<f32>,
    given: Vec<f32>,
    bells: Vec<f32>,
    time: Vec<f32>,
    features: Vec<f32>,
    head: SmoothHead,
    /// (cells, cells), the head's and the figure's share of each cell.
    cover: Vec<f32>,
    alpha: Vec<f32>,
}

impl Denoiser {
    /// Records the network for pictures of `size` pixels and loads it on `backend`.
    ///
    /// # Errors
    /// A size that is not one of [`SIZES`], weights without a config, a tensor that is missing or misshapen.
    pub fn new(backend: &Backend, weights: &Weights, size: usize) -> Result<Self, DenoiserError> {
        Self::with_precision(backend, weights, size, Precision::Full)
    }

    /// The same, computed less exactly where that is faster.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_precision(backend: &Backend, weights: &Weights, size: usize, precision: Precision) -> Result<Self, DenoiserError> {
        if !SIZES.contains(&size) {
            return Err(DenoiserError::Size(size));
        }
        let json = weights.config_json().ok_or_else(|| DenoiserError::Config("there is none".into()))?;
        let cfg: DenoiserConfig = serde_json::from_str(json).map_err(|e| DenoiserError::Config(e.to_string()))?;
        if let Some(problem) = cfg.problem() {
            return Err(DenoiserError::Config(problem));
        }
        let reference = network::reference_plan(&cfg, size)?;
        let net = network::step_plan(&cfg, size, precision)?;
        let reference_run = Executor::new(backend, &reference.plan, weights)?;
        let run = Executor::new(backend, &net.plan, weights)?;
        let grid = size / cfg.patch;
        let cells = size / cfg.flow_cell;
        let positions = (grid / 4) * (grid / 4);
        let elsewhere = |len| if matches!(backend, Backend::Gpu(_)) { vec![0.0; len] } else { Vec::new() };
        Ok(Self {
            size,
            reference,
            reference_run,
            net,
            run,
            has_reference: false,
            frame: 0,
            last_index: None,
            noise: vec![0.0; size * size * 4],
            noise_seed: None,
            x: vec![0.0; size * size * 4],
            flow: vec![0.0; cells * cells * 2],
            cells,
            previous: vec![0.0; size * size * 4],
            patches: elsewhere(grid * grid * network::PATCH_INPUTS),
            given: elsewhere(size * size * 4),
            bells: vec![0.0; (grid + 2) * KEYPOINTS],
            time: vec![0.0; cfg.time_dim],
            features: vec![0.0; positions * cfg.channels[2]],
            head: SmoothHead::new(cells),
            cover: vec![0.0; cells * cells],
            alpha: vec![0.0; cells * cells],
            cfg,
        })
    }

    /// The working size W in pixels.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Encodes the avatar's picture, premultiplied RGBA (W, W, 4) in 0..1, and forgets earlier frames. The picture is
    /// `Avatar::reference` fitted into the square: its longer side is W, centred, box filtered.
    ///
    /// # Errors
    /// A picture of another size.
    pub fn set_reference(&mut self, rgba: &[f32]) -> Result<(), DenoiserError> {
        length("the reference picture", rgba.len(), self.size * self.size * 4)?;
        self.reference_run.write(self.reference.image, rgba);
        self.reference_run.run(&[]);
        for (from, to) in [(self.reference.keys, self.net.reference_keys), (self.reference.values, self.net.reference_values)] {
            self.reference_run.read(from, &mut self.features);
            self.run.write(to, &self.features);
        }
        self.has_reference = true;
        self.reset();
        Ok(())
    }

    /// Forgets earlier frames. The reference stays.
    pub fn reset(&mut self) {
        self.run.reset();
        self.previous.fill(0.0);
        self.frame = 0;
        self.last_index = None;
    }

    /// Denoises one frame in 1, 2 or 4 steps, or in [`MANY_STEPS`], which the few are judged by. The same inputs since the last reset give the same picture.
    ///
    /// `frame_index` counts 30 Hz frames; frames may be left out, but a gap of more than a fifth of a second, or a
    /// step back, counts as a new scene. `seed` chooses the noise.
    ///
    /// # Errors
    /// Inputs of another size, another number of steps, no reference.
    pub fn step(&mut self, input: DenoiseInput<'_>, steps: u32, seed: u32, frame_index: u64, out: &mut DenoiseOutput) -> Result<(), DenoiserError> {
        let pixels = self.size * self.size;
        length("the warp", input.warp.len(), pixels * 4)?;
        length("the validity", input.validity.len(), pixels)?;
        if !matches!(steps, 1 | 2 | 4 | MANY_STEPS) {
            return Err(DenoiserError::Steps(steps));
        }
        if !self.has_reference {
            return Err(DenoiserError::NoReference);
        }
        if self.last_index.is_some_and(|last| frame_index <= last || frame_index - last > LONGEST_GAP_FRAMES) {
            self.reset();
        }
        self.last_index = Some(frame_index);
        if self.noise_seed != Some(seed) {
            for (lane, v) in self.noise.iter_mut().enumerate() {
                *v = noise::gaussian(seed, 0, lane as u32) as f32;
            }
            self.noise_seed = Some(seed);
        }

        let grid = self.size / self.cfg.patch;
        for ((x, warp), noise) in self.x.iter_mut().zip(input.warp).zip(&self.noise) {
            *x = warp + self.cfg.noise * noise;
        }
        if !input.head.is_empty() {
            length("the head's cover", input.head.len(), grid * grid)?;
            conditions::enlarge(input.head, grid, self.cells, &mut self.cover);
            conditions::cell_alpha(input.warp, self.size, self.cfg.flow_cell, &mut self.alpha);
        }
        let to = self.run.in_place(self.net.patches).unwrap_or(&mut self.patches);
        conditions::to_patches(input.warp, 4, PATCH, to, network::WARP);
        conditions::to_patches(&self.previous, 4, PATCH, to, network::PREVIOUS);
        conditions::to_patches(input.validity, 1, PATCH, to, network::VALIDITY);
        conditions::keypoint_maps(input.keypoints, grid, (self.cfg.keypoint_sigma, self.cfg.depth_scale), &mut self.bells, to, network::KEYPOINT_MAPS);
        self.run.write(self.net.ids, &self.window(input.tokens));
        self.run.write(self.net.facing, &input.facing.map(|v| if v.is_finite() { v.clamp(-1.0, 1.0) } else { 0.0 }));
        out.rgba.resize(pixels * 4, 0.0);
        out.mask.resize(pixels, 0.0);
        out.moved.resize(pixels * 4, 0.0);
        out.flow.resize(pixels * 2, 0.0);
        let limit = self.cfg.flow_limit * (self.cells / grid) as f32;
        for s in 0..steps {
            let t = conditions::step_time(s, steps);
            conditions::time_features(t, &mut self.time);
            self.run.write(self.net.time, &self.time);
            match self.run.in_place(self.net.patches) {
                Some(to) => conditions::to_patches(&self.x, 4, PATCH, to, network::X),
                None => {
                    conditions::to_patches(&self.x, 4, PATCH, &mut self.patches, network::X);
                    self.run.write(self.net.patches, &self.patches);
                }
            }
            self.run.run(&[self.frame]);
            let copy = |to: &mut [f32], from: &[f32]| to.copy_from_slice(from);
            conditions::from_patches(given(&mut self.run, self.net.flow, &mut self.given, 2 * self.cells * self.cells), 2, self.cells / grid, &mut self.flow, copy);
            if !input.head.is_empty() {
                self.head.apply(&self.cover, &self.alpha, self.cells, &mut self.flow);
            }
            conditions::displace(input.warp, self.size, &self.flow, self.cells, limit, &mut out.moved, &mut out.flow);
            out.rgba.copy_from_slice(&out.moved);
            let delta = given(&mut self.run, self.net.delta, &mut self.given, 4 * pixels);
            conditions::from_patches(delta, 4, PATCH, &mut out.rgba, |to, from| to.iter_mut().zip(from).for_each(|(to, from)| *to += from));
            let keep = conditions::step_time(s + 1, steps) / t;
            if keep > 0.0 {
                for (x0, x) in out.rgba.iter().zip(&mut self.x) {
                    *x = keep * *x + (1.0 - keep) * *x0;
                }
            }
        }
        self.frame = self.frame.wrapping_add(1);
        let mask = given(&mut self.run, self.net.mask, &mut self.given, pixels);
        conditions::from_patches(mask, 1, PATCH, &mut out.mask, |to, from| to.copy_from_slice(from));
        let belief = Belief { dead_zone: self.cfg.dead_zone, unsure: self.cfg.unsure, sure: self.cfg.sure };
        conditions::settle(&mut out.rgba, &out.moved, belief);
        self.previous.copy_from_slice(&out.rgba);
        Ok(())
    }

    /// The newest `TOKEN_STEPS` steps as ids, "no token" where there are fewer.
    fn window(&self, tokens: &[[u16; TOKEN_SLOTS]]) -> [f32; TOKEN_STEPS * TOKEN_SLOTS] {
        let mut ids = [self.cfg.codes as f32; TOKEN_STEPS * TOKEN_SLOTS];
        let newest = &tokens[tokens.len().saturating_sub(TOKEN_STEPS)..];
        let first = TOKEN_STEPS - newest.len();
        for (row, step) in newest.iter().enumerate() {
            for (slot, &id) in step.iter().enumerate() {
                ids[(first + row) * TOKEN_SLOTS + slot] = f32::from(id.min(self.cfg.codes as u16));
            }
        }
        ids
    }
}

/// The first `len` values of an output, where they lie or copied to `to`.
fn given<'a>(run: &'a mut Executor, buf: Buf, to: &'a mut [f32], len: usize) -> &'a [f32] {
    if matches!(run, Executor::Gpu(_)) {
        run.read(buf, &mut to[..len]);
        return &to[..len];
    }
    run.in_place(buf).map_or(&[], |values| &values[..len])
}

fn length(what: &'static str, found: usize, expected: usize) -> Result<(), DenoiserError> {
    if found == expected { Ok(()) } else { Err(DenoiserError::Length { what, found, expected }) }
}
