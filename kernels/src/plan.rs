//! The plan: a network recorded once as a list of operations, which every backend executes unchanged.
//!
//! A model is built here when it is loaded (`PlanBuilder`), checked whole, and handed to an `Executor`.
//! Running it writes inputs, runs the list, and reads outputs; nothing is allocated then.
//! This file must not compute anything and must not know any backend.
//!
//! Axis letters: H height, W width, C channels (always last, NHWC with N = 1), M rows, K reduced, N produced,
//! T ring length, S sinks, V vocabulary. All buffers are f32; token ids are stored as exact f32 integers.

use crate::PlanError;

/// An activation buffer of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Buf(pub u32);

/// A weight tensor of a plan, named as in the safetensors file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Weight(pub u32);

/// A 32-bit word given at every run: a step counter, a seed, or the bits of an f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Param(pub u32);

/// What happens to a buffer between runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BufKind {
    /// May be overwritten by anything once its last reader has run.
    Transient,
    /// Written by the caller or read by it; its contents stay until written again.
    External,
    /// Kept from run to run (a KV ring); zeroed by `reset`.
    State,
}

#[derive(Clone, Debug)]
pub struct BufInfo {
    pub name: String,
    /// Length in f32 elements.
    pub len: usize,
    pub kind: BufKind,
}

#[derive(Clone, Debug)]
pub struct WeightInfo {
    pub name: String,
    /// As stored: convolutions (C_out, C_in, k, k), linear layers (N, K), tables (rows, D), vectors (C).
    pub dims: Vec<usize>,
}

/// Applied element by element: `None` is the identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    None,
    /// x * sigmoid(x)
    Silu,
    /// Gaussian error linear unit, tanh form.
    Gelu,
    Sigmoid,
    Tanh,
}

/// A float known when the plan is built, or given at each run as the bits of an f32.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar {
    Const(f32),
    Param(Param),
}

/// A counter known when the plan is built, or given at each run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Step {
    Const(u32),
    Param(Param),
}

/// Square convolution, k of 1 or 3, stride 1 or 2, zero padding k / 2.
/// Output height is `h.div_ceil(stride)`, width likewise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvShape {
    pub h: usize,
    pub w: usize,
    pub c_in: usize,
    pub c_out: usize,
    pub k: usize,
    pub stride: usize,
}

impl ConvShape {
    pub fn h_out(&self) -> usize {
        self.h.div_ceil(self.stride)
    }
    pub fn w_out(&self) -> usize {
        self.w.div_ceil(self.stride)
    }
    pub fn x_len(&self) -> usize {
        self.h * self.w * self.c_in
    }
    pub fn y_len(&self) -> usize {
        self.h_out() * self.w_out() * self.c_out
    }
    /// Floating point operations, a multiply and an add counted as two.
    pub fn flops(&self) -> usize {
        2 * self.y_len() * self.c_in * self.k * self.k
    }
}

/// `y (M, N) = x (M, K) * w (N, K) transposed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinearShape {
    pub m: usize,
    pub k: usize,
    pub n: usize,
}

/// `heads * dim` is the width of every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeadShape {
    pub heads: usize,
    pub dim: usize,
}

impl HeadShape {
    pub fn width(&self) -> usize {
        self.heads * self.dim
    }
}

/// One operation. Unless it says otherwise, `y` must not be one of the inputs.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// `y (H', W', C_out) = act(conv(x (H, W, C_in), w) + b) + residual`. `residual` may be `y` itself (accumulate).
    Conv2d { x: Buf, w: Weight, b: Option<Weight>, residual: Option<Buf>, y: Buf, shape: ConvShape, act: Act },
    /// `y (M, N) = act(x (M, K) w^T + b) + residual`. `residual` may be `y` itself (accumulate).
    Linear { x: Buf, w: Weight, b: Option<Weight>, residual: Option<Buf>, y: Buf, shape: LinearShape, act: Act },
    /// Group normalisation with AdaIN: per group of `c / groups` channels over all positions,
    /// `y (HW, C) = act((x - mean) / sqrt(var + 1e-5) * (gain_c + scale_c) + bias_c + shift_c)`,
    /// `scale_shift` holds C scales then C shifts. `y` may be `x`.
    GroupNorm { x: Buf, gain: Weight, bias: Weight, scale_shift: Option<Buf>, y: Buf, hw: usize, c: usize, groups: usize, act: Act },
    /// `y (M, D) = x / sqrt(mean(x^2) + 1e-6) * gain`, row by row. `y` may be `x`.
    RmsNorm { x: Buf, gain: Weight, y: Buf, m: usize, d: usize },
    /// Softmax attention of every query over every key: q (tq, heads*dim), k and v (tk, heads*dim), scale 1/sqrt(dim).
    Attention { q: Buf, k: Buf, v: Buf, y: Buf, tq: usize, tk: usize, shape: HeadShape },
    /// Copies `x` (width) into row `step % t` of `ring` (t, width).
    RingWrite { x: Buf, ring: Buf, t: usize, width: usize, step: Step },
    /// Decode attention of one query over a ring that already holds row `step`, plus `s` sink rows:
    /// rows `max(0, step + 1 - t) ..= step` take part; score = q.k / sqrt(dim) - slope_h * (step - row),
    /// with slope_h = 2^(-8 (h + 1) / heads) if `alibi`, else 0; sinks have no distance term.
    RingAttention { q: Buf, ring_k: Buf, ring_v: Buf, sinks: Option<(Buf, Buf)>, y: Buf, t: usize, s: usize, shape: HeadShape, step: Step, alibi: bool },
    /// `y[m] (D) (+)= table[ids[ids_offset + m] + m * row_stride]` for m rows; adds to `y` if `accumulate`.
    /// An id outside the table is clamped.
    Embed { ids: Buf, ids_offset: usize, table: Weight, row_stride: usize, y: Buf, m: usize, d: usize, accumulate: bool },
    /// `ids[ids_offset + m] = argmin_v |x[m] - codebook[v]|^2`, the smaller index on a tie.
    VqNearest { x: Buf, codebook: Weight, ids: Buf, ids_offset: usize, m: usize, d: usize, v: usize },
    /// Draws one id from `logits (V)` into `ids[ids_offset]`; see `crate::noise` for the exact definition.
    /// p = softmax(logits / temperature); class i takes part if the p of all classes before it
    /// (larger p, or equal p and smaller index) sum to less than top_p; the winner is the largest
    /// logits_i / temperature + gumbel(seed, step, slot * 65536 + i). Temperature 0 is the argmax.
    Sample { logits: Buf, ids: Buf, ids_offset: usize, v: usize, temperature: Scalar, top_p: Scalar, seed: Step, step: Step, slot: u32 },
    /// `y[i] = gaussian(seed, step, i)`; see `crate::noise`.
    Noise { y: Buf, len: usize, seed: Step, step: Step },
    /// Copies `len` elements.
    Copy { x: Buf, x_offset: usize, y: Buf, y_offset: usize, len: usize },
    /// `y[i] = act(a * x[i] + b * z[i])`. `y` may be `x` or `z`.
    Axpby { a: Scalar, x: Buf, b: Scalar, z: Buf, y: Buf, len: usize, act: Act },
    /// One step of a gated recurrent unit (Cho et al. 2014, in PyTorch's order of the gates): from `gates_x` (3 n) of the input and
    /// `gates_h` (3 n) of the state, `r = sigmoid(x_r + h_r)`, `u = sigmoid(x_u + h_u)`, `h = (1 - u) tanh(x_n + r h_n) + u h`,
    /// in place in `h (n)`.
    GruCell { gates_x: Buf, gates_h: Buf, h: Buf, n: usize },
    /// Channels of `xs` side by side: `y (HW, sum C)`.
    Concat { xs: Vec<(Buf, usize)>, y: Buf, hw: usize },
    /// Nearest: `y (2H, 2W, C)`.
    Upsample2x { x: Buf, y: Buf, h: usize, w: usize, c: usize },
    /// `x (H, W, C)` to `y (H/r, W/r, r*r*C)`, channel index `(dy * r + dx) * C + c`.
    SpaceToDepth { x: Buf, y: Buf, h: usize, w: usize, c: usize, r: usize },
    /// The inverse: `x (H, W, r*r*C)` to `y (H*r, W*r, C)`.
    DepthToSpace { x: Buf, y: Buf, h: usize, w: usize, c: usize, r: usize },
}

/// A recorded network. Built only by `PlanBuilder`, so its buffers, lengths and weights are consistent.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub bufs: Vec<BufInfo>,
    pub weights: Vec<WeightInfo>,
    pub params: Vec<String>,
    pub ops: Vec<Op>,
    /// Convolutions and linear layers bear inputs and weights of bf16. A family runs them so where that is faster, or as they are.
    pub sixteen_bit: bool,
    /// Indices of convolutions that bear inputs and weights of eight bits. A family runs them so where that is faster, or as they are.
    pub eight_bit: Vec<usize>,
}

/// Records a plan. Methods that take shapes check lengths at `finish`.
#[derive(Default)]
pub struct PlanBuilder {
    plan: Plan,
}

impl PlanBuilder {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn buf(&mut self, name: impl Into<String>, len: usize, kind: BufKind) -> Buf {
        self.plan.bufs.push(BufInfo { name: name.into(), len, kind });
        Buf(self.plan.bufs.len() as u32 - 1)
    }

    /// A transient buffer.
    pub fn tmp(&mut self, len: usize) -> Buf {
        let name = format!("t{}", self.plan.bufs.len());
        self.buf(name, len, BufKind::Transient)
    }

    /// Names a tensor of the weights file; the same name gives the same weight.
    pub fn weight(&mut self, name: impl Into<String>, dims: &[usize]) -> Weight {
        let name = name.into();
        if let Some(i) = self.plan.weights.iter().position(|w| w.name == name && w.dims == dims) {
            return Weight(i as u32);
        }
        self.plan.weights.push(WeightInfo { name, dims: dims.to_vec() });
        Weight(self.plan.weights.len() as u32 - 1)
    }

    pub fn param(&mut self, name: impl Into<String>) -> Param {
        self.plan.params.push(name.into());
        Param(self.plan.params.len() as u32 - 1)
    }

    pub fn op(&mut self, op: Op) {
        self.plan.ops.push(op);
    }

    /// All layers bear inputs and weights of bf16.
    pub fn bears_sixteen_bits(&mut self) {
        self.plan.sixteen_bit = true;
    }

    /// The last operation bears inputs and weights of eight bits.
    pub fn bears_eight_bits(&mut self) {
        self.plan.eight_bit.extend(self.plan.ops.len().checked_sub(1));
    }

    /// Convolution with bias, named `{name}.weight` and `{name}.bias`, into a new transient buffer.
    pub fn conv(&mut self, name: &str, x: Buf, shape: ConvShape, act: Act, residual: Option<Buf>) -> Buf {
        let w = self.weight(format!("{name}.weight"), &[shape.c_out, shape.c_in, shape.k, shape.k]);
        let b = Some(self.weight(format!("{name}.bias"), &[shape.c_out]));
        let y = self.tmp(shape.y_len());
        self.op(Op::Conv2d { x, w, b, residual, y, shape, act });
        y
    }

    /// Linear layer, named `{name}.weight` and, if `bias`, `{name}.bias`, into a new transient buffer.
    pub fn linear(&mut self, name: &str, x: Buf, shape: LinearShape, bias: bool, act: Act, residual: Option<Buf>) -> Buf {
        let w = self.weight(format!("{name}.weight"), &[shape.n, shape.k]);
        let b = bias.then(|| self.weight(format!("{name}.bias"), &[shape.n]));
        let y = self.tmp(shape.m * shape.n);
        self.op(Op::Linear { x, w, b, residual, y, shape, act });
        y
    }

    /// Checks every operation against its buffers and weights.
    ///
    /// # Errors
    /// Names the operation and what does not fit.
    pub fn finish(self) -> Result<Plan, PlanError> {
        crate::check::check(&self.plan)?;
        Ok(self.plan)
    }
}
