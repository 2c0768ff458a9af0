//! The denoiser's network, recorded as plans: the same list of operations, name by name, as
//! `training/odori_training/renderer_model.py`. Must not run anything.
//!
//! W working size, G = W / 4 patches a side, P = (W / 16)^2 positions of the coarsest level, D condition width.
//! Channels C0, C1, C2 belong to grids of G, G / 2 and G / 4.

use odori_kernels::PlanError;
use odori_kernels::plan::{Act, Buf, BufKind, ConvShape, HeadShape, LinearShape, Op, Param, Plan, Step};
use serde::Deserialize;

use super::{PATCH, Precision};
use crate::avatar::FACING;
use crate::unet::Unet;

/// Keypoints of the skeleton.
pub const KEYPOINTS: usize = 24;
/// Channels of the keypoint maps: confidence, then depth.
pub const MAPS: usize = 2 * KEYPOINTS;
/// Motion steps of the token window: 8 steps of two 30 Hz frames.
pub const TOKEN_STEPS: usize = 8;
/// Tokens of a motion step: five parts, two residual levels.
pub const TOKEN_SLOTS: usize = 10;

/// The `config` entry of the weights file.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub struct DenoiserConfig {
    pub patch: usize,
    pub channels: [usize; 3],
    pub groups: usize,
    pub heads: usize,
    pub cond: usize,
    pub token_dim: usize,
    /// Ids below this are codes; this one means "no token".
    pub codes: usize,
    pub time_dim: usize,
    /// Frames of the temporal attention, the present one among them.
    pub ring: usize,
    /// Width of the keypoint maps' Gaussians, in patches.
    pub keypoint_sigma: f32,
    /// Metres of depth that count as one in the depth maps.
    pub depth_scale: f32,
    /// Numbers of `DenoiseInput::facing`.
    pub facing: usize,
    /// Working pixels a side that share a vector of the flow.
    pub flow_cell: usize,
    /// Farthest that the warp is moved, in patches.
    pub flow_limit: f32,
    /// Spread of the noise that is added to the warp at t = 1.
    pub noise: f32,
    /// Corrections smaller than this are left out, so that what is right stays untouched.
    pub dead_zone: f32,
    /// A change of alpha below this is not believed.
    pub unsure: f32,
    /// A change of alpha above this is believed wholly.
    pub sure: f32,
}

impl DenoiserConfig {
    /// Why the network cannot be built from this, if it cannot.
    pub fn problem(&self) -> Option<String> {
        let bounded = |name: &str, v: usize, lo: usize, hi: usize| (v < lo || v > hi).then(|| format!("{name} is {v}, expected {lo} to {hi}"));
        for (i, &c) in self.channels.iter().enumerate() {
            let p = bounded(&format!("channels[{i}]"), c, 8, 1024);
            if p.is_some() {
                return p;
            }
            if self.groups == 0 || self.heads == 0 || !c.is_multiple_of(self.groups) {
                return Some(format!("{c} channels do not divide into {} groups", self.groups));
            }
        }
        if !self.channels[2].is_multiple_of(self.heads) {
            return Some(format!("{} channels do not divide into {} heads", self.channels[2], self.heads));
        }
        if self.patch != PATCH {
            return Some(format!("patch is {}, expected {PATCH}", self.patch));
        }
        if !matches!(self.flow_cell, 1 | 2 | 4) {
            return Some(format!("flow_cell is {}, expected 1, 2 or 4", self.flow_cell));
        }
        if !(self.time_dim.is_multiple_of(2) && self.keypoint_sigma > 0.0 && self.keypoint_sigma.is_finite()) {
            return Some("time_dim must be even and keypoint_sigma positive".into());
        }
        if self.facing != FACING {
            return Some(format!("facing is {}, expected {FACING}", self.facing));
        }
        if !(0.01..=10.0).contains(&self.depth_scale) || !(0.0..=32.0).contains(&self.flow_limit) {
            return Some(format!("depth_scale {} or flow_limit {} is out of bounds", self.depth_scale, self.flow_limit));
        }
        if !(0.0..=4.0).contains(&self.noise) || !(0.0..0.5).contains(&self.dead_zone) {
            return Some(format!("noise {} or dead_zone {} is out of bounds", self.noise, self.dead_zone));
        }
        if !((0.0..1.0).contains(&self.unsure) && self.sure > self.unsure && self.sure <= 1.0) {
            return Some(format!("unsure {} and sure {} are not in order", self.unsure, self.sure));
        }
        bounded("cond", self.cond, 1, 4096)
            .or_else(|| bounded("token_dim", self.token_dim, 1, 512))
            .or_else(|| bounded("codes", self.codes, 1, 65535))
            .or_else(|| bounded("time_dim", self.time_dim, 2, 256))
            .or_else(|| bounded("ring", self.ring, 1, 64))
    }
}

/// The reference encoder: run once per avatar.
pub struct ReferencePlan {
    pub plan: Plan,
    /// (W, W, 4) premultiplied RGBA
    pub image: Buf,
    /// (P, C2)
    pub keys: Buf,
    /// (P, C2)
    pub values: Buf,
}

/// One denoise step. Pictures go in and come out as patches of r = 4 pixels a side, value (dy * r + dx) * C + c of a patch, for the host
/// has them in hand anyway (`conditions::to_patches`).
pub struct StepPlan {
    pub plan: Plan,
    /// (G, G, `PATCH_INPUTS`): side by side from [`X`], [`WARP`], [`PREVIOUS`], [`VALIDITY`] and [`KEYPOINT_MAPS`] on
    pub patches: Buf,
    /// `TOKEN_STEPS * TOKEN_SLOTS` ids, oldest step first
    pub ids: Buf,
    /// (time_dim)
    pub time: Buf,
    /// (P, C2) each
    pub reference_keys: Buf,
    pub reference_values: Buf,
    /// (G, G, 4 r^2): what to add to the moved warp
    pub delta: Buf,
    /// (G, G, 2 (r / cell)^2): where the moved warp comes from, x and y in cells
    pub flow: Buf,
    /// (18)
    pub facing: Buf,
    /// (G, G, r^2), 0..1
    pub mask: Buf,
}

/// Where the inputs of a patch begin: the noisy warp, then ever less noisy pictures, and three more.
pub const X: usize = 0;
const PP: usize = PATCH * PATCH;
pub const WARP: usize = 4 * PP;
pub const PREVIOUS: usize = 8 * PP;
pub const VALIDITY: usize = 12 * PP;
pub const KEYPOINT_MAPS: usize = 13 * PP;
pub const PATCH_INPUTS: usize = KEYPOINT_MAPS + MAPS;

struct Recorder<'a> {
    net: Unet,
    cfg: &'a DenoiserConfig,
}

impl std::ops::Deref for Recorder<'_> {
    type Target = Unet;

    fn deref(&self) -> &Unet {
        &self.net
    }
}

impl std::ops::DerefMut for Recorder<'_> {
    fn deref_mut(&mut self) -> &mut Unet {
        &mut self.net
    }
}

impl<'a> Recorder<'a> {
    fn new(cfg: &'a DenoiserConfig) -> Self {
        Recorder { net: Unet::new(cfg.groups, cfg.patch), cfg }
    }

    fn square(&mut self, name: &str, x: Buf, m: usize, c: usize, residual: Option<Buf>) -> Buf {
        self.b.linear(name, x, LinearShape { m, k: c, n: c }, true, Act::None, residual)
    }

    /// The condition vector (D) from the token window, the time and the facing.
    fn condition(&mut self, ids: Buf, time: Buf, facing: Buf) -> Buf {
        let cfg = self.cfg;
        let table = self.b.weight("tokens.weight", &[TOKEN_SLOTS * (cfg.codes + 1), cfg.token_dim]);
        let width = TOKEN_SLOTS * cfg.token_dim;
        let mut parts = Vec::new();
        for step in 0..TOKEN_STEPS {
            let y = self.b.tmp(width);
            self.b.op(Op::Embed { ids, ids_offset: step * TOKEN_SLOTS, table, row_stride: cfg.codes + 1, y, m: TOKEN_SLOTS, d: cfg.token_dim, accumulate: false });
            parts.push((y, width));
        }
        let tokens = self.concat(parts, 1);
        let (h, k) = self.concat(vec![tokens, (time, cfg.time_dim), (facing, cfg.facing)], 1);
        let h = self.b.linear("cond1", h, LinearShape { m: 1, k, n: cfg.cond }, true, Act::Silu, None);
        self.b.linear("cond2", h, LinearShape { m: 1, k: cfg.cond, n: cfg.cond }, true, Act::Silu, None)
    }

    /// Self-attention, and its two residuals: over the reference, and over this model's last frames.
    fn attention(&mut self, x: Buf, grid: usize, reference: (Buf, Buf), frame: Param) -> Buf {
        let (p, c, heads, ring) = (grid * grid, self.cfg.channels[2], self.cfg.heads, self.cfg.ring);
        let shape = HeadShape { heads, dim: c / heads };
        let y = self.norm("attention.norm", x, grid, c, None, Act::None);
        let [q, k, v, ref_q, time_q, time_k, time_v] =
            ["q", "k", "v", "ref_q", "time_q", "time_k", "time_v"].map(|n| self.square(&format!("attention.{n}"), y, p, c, None));

        let own = self.b.tmp(p * c);
        self.b.op(Op::Attention { q, k, v, y: own, tq: p, tk: p, shape });
        let h = self.square("attention.out", own, p, c, Some(x));

        let from_reference = self.b.tmp(p * c);
        self.b.op(Op::Attention { q: ref_q, k: reference.0, v: reference.1, y: from_reference, tq: p, tk: p, shape });
        let h = self.square("attention.ref_out", from_reference, p, c, Some(h));

        // Every position attends over its own past: positions are heads of one ring row (P * C).
        let step = Step::Param(frame);
        let width = p * c;
        let ring_k = self.b.buf("ring_k", ring * width, BufKind::State);
        let ring_v = self.b.buf("ring_v", ring * width, BufKind::State);
        self.b.op(Op::RingWrite { x: time_k, ring: ring_k, t: ring, width, step });
        self.b.op(Op::RingWrite { x: time_v, ring: ring_v, t: ring, width, step });
        let past = self.b.tmp(width);
        let positions = HeadShape { heads: p * heads, dim: c / heads };
        self.b.op(Op::RingAttention { q: time_q, ring_k, ring_v, sinks: None, y: past, t: ring, s: 0, shape: positions, step, alibi: false });
        self.square("attention.time_out", past, p, c, Some(h))
    }
}

/// Records the reference encoder for pictures of `size` (W) pixels.
pub fn reference_plan(cfg: &DenoiserConfig, size: usize) -> Result<ReferencePlan, PlanError> {
    let [c0, c1, c2] = cfg.channels;
    let (g, pp) = (size / cfg.patch, cfg.patch * cfg.patch);
    let mut r = Recorder::new(cfg);
    let image = r.b.buf("image", size * size * 4, BufKind::External);
    let h = r.space_to_depth(image, size, 4);
    let h = r.conv("reference.stem", h, g, (4 * pp, c0), (1, 1), None);
    let h = r.block("reference.block0", h, g, c0);
    let h = r.conv("reference.down0", h, g, (c0, c1), (3, 2), None);
    let h = r.block("reference.block1", h, g / 2, c1);
    let h = r.conv("reference.down1", h, g / 2, (c1, c2), (3, 2), None);
    let h = r.block("reference.block2", h, g / 4, c2);
    let h = r.norm("reference.norm", h, g / 4, c2, None, Act::None);
    let p = (g / 4) * (g / 4);
    let mut project = |name: &str, out: &str| {
        let y = r.b.buf(out, p * c2, BufKind::External);
        let w = r.b.weight(format!("{name}.weight"), &[c2, c2]);
        let bias = Some(r.b.weight(format!("{name}.bias"), &[c2]));
        r.b.op(Op::Linear { x: h, w, b: bias, residual: None, y, shape: LinearShape { m: p, k: c2, n: c2 }, act: Act::None });
        y
    };
    let keys = project("reference.k", "keys");
    let values = project("reference.v", "values");
    Ok(ReferencePlan { plan: r.net.b.finish()?, image, keys, values })
}

/// Records one denoise step for pictures of `size` (W) pixels.
pub fn step_plan(cfg: &DenoiserConfig, size: usize, precision: Precision) -> Result<StepPlan, PlanError> {
    let [c0, c1, c2] = cfg.channels;
    let (g, pp) = (size / cfg.patch, cfg.patch * cfg.patch);
    let p = (g / 4) * (g / 4);
    let mut r = Recorder::new(cfg);
    if precision == Precision::Short {
        r.net.eight_bit = true;
        r.b.bears_sixteen_bits();
    }
    let mut external = |name: &str, len: usize| r.b.buf(name, len, BufKind::External);
    let patches = external("patches", g * g * PATCH_INPUTS);
    let ids = external("ids", TOKEN_STEPS * TOKEN_SLOTS);
    let time = external("time", cfg.time_dim);
    let reference_keys = external("reference_keys", p * c2);
    let reference_values = external("reference_values", p * c2);
    let delta = external("delta", g * g * 4 * pp);
    let mask = external("mask", g * g * pp);
    let facing = external("facing", cfg.facing);
    let cells = cfg.patch / cfg.flow_cell;
    let flow = external("flow", g * g * cells * cells * 2);
    let frame = r.b.param("frame");

    r.net.cond = Some((r.condition(ids, time, facing), cfg.cond));

    let h = r.conv("stem", patches, g, (PATCH_INPUTS, c0), (1, 1), None);
    let h0 = r.block("enc0", h, g, c0); // (G, G, C0)
    let h = r.rough_conv("down0", h0, g, (c0, c1), (3, 2), None);
    let h1 = r.block("enc1", h, g / 2, c1); // (G/2, G/2, C1)
    let h = r.rough_conv("down1", h1, g / 2, (c1, c2), (3, 2), None);
    let h = r.block("mid0", h, g / 4, c2); // (G/4, G/4, C2)
    let h = r.attention(h, g / 4, (reference_keys, reference_values), frame);
    let h = r.block("mid1", h, g / 4, c2);
    let h = r.up("up1", h, g / 4, (c2, c1), h1);
    let h = r.block("dec1a", h, g / 2, c1);
    let h = r.block("dec1b", h, g / 2, c1);
    let h = r.up("up0", h, g / 2, (c1, c0), h0);
    let h = r.block("dec0a", h, g, c0);
    let h = r.block("dec0b", h, g, c0);
    let h = r.norm("head_norm", h, g, c0, None, Act::Silu);

    // Side by side, for they read the same.
    for (name, c_out, y, act) in [("rgba", 4 * pp, delta, Act::None), ("mask", pp, mask, Act::Sigmoid), ("flow", 2 * cells * cells, flow, Act::None)] {
        let w = r.b.weight(format!("{name}.weight"), &[c_out, c0, 3, 3]);
        let b = Some(r.b.weight(format!("{name}.bias"), &[c_out]));
        r.b.op(Op::Conv2d { x: h, w, b, residual: None, y, shape: ConvShape { h: g, w: g, c_in: c0, c_out, k: 3, stride: 1 }, act });
        if name == "rgba" && precision == Precision::Short {
            r.b.bears_eight_bits();
        }
    }

    let plan = r.net.b.finish()?;
    Ok(StepPlan { plan, patches, ids, time, reference_keys, reference_values, delta, flow, facing, mask })
}
