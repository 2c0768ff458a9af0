//! A plan's operations with everything looked up: offsets into the arena, packed weights, scratch places.
//!
//! Made once when a plan is loaded. This file must not run anything.

use std::sync::Arc;

use super::attention::AttentionPlan;
#[cfg(target_arch = "x86_64")]
use super::{amx, eight_bit};
use super::level::Level;
use super::pack::{self, Form, Line, Packed, as_floats, lines};
use crate::layout::{Access, Layout, accesses};
use crate::plan::{Act, Buf, BufKind, ConvShape, HeadShape, LinearShape, Op, Plan, Scalar, Step, Weight};
use crate::{PlanError, Weights};

/// Offset of a buffer in the arena, in elements.
pub type At = usize;

pub enum CpuStep {
    Layer { x: At, residual: Option<At>, y: At, shape: ConvShape, act: Act, packed: Arc<Packed> },
    #[cfg(target_arch = "x86_64")]
    EightBitLayer { x: At, residual: Option<At>, y: At, shape: ConvShape, family: &'static eight_bit::Family, packed: Arc<Packed> },
    #[cfg(target_arch = "x86_64")]
    TileLayer { x: At, residual: Option<At>, y: At, shape: ConvShape, act: Act, packed: Arc<Packed>, laid: bool },
    /// `gain` then `bias`, 2c. With `tiles` the result is nobody's but that layer's, and goes where that will look for it.
    GroupNorm { x: At, gain_bias: Vec<f32>, scale_shift: Option<At>, y: At, hw: usize, c: usize, groups: usize, act: Act, tiles: Option<ConvShape> },
    RmsNorm { x: At, gain: Vec<f32>, y: At, m: usize, d: usize },
    Attention { q: At, k: At, v: At, y: At, plan: AttentionPlan },
    RingWrite { x: At, ring: At, t: usize, width: usize, step: Step },
    RingAttention { q: At, ring_k: At, ring_v: At, sinks: Option<(At, At)>, y: At, t: usize, s: usize, shape: HeadShape, step: Step, alibi: bool },
    Embed { ids: At, table: Arc<[f32]>, row_stride: usize, y: At, m: usize, d: usize, accumulate: bool },
    /// `codes`: blocks of one vector of codes, (d, LANES) each.
    VqNearest { x: At, codes: Vec<Line>, ids: At, m: usize, d: usize, v: usize },
    Sample { logits: At, ids: At, v: usize, temperature: Scalar, top_p: Scalar, seed: Step, step: Step, slot: u32 },
    Noise { y: At, len: usize, seed: Step, step: Step },
    Axpby { a: Scalar, x: At, b: Scalar, z: At, y: At, len: usize, act: Act },
    GruCell { gates_x: At, gates_h: At, h: At, n: usize },
    /// Runs of `len` elements: `outer` times `inner`, with their steps in x and y. Copies, concatenations and all reshapes.
    Move { x: At, y: At, outer: usize, x_outer: usize, y_outer: usize, inner: usize, x_inner: usize, y_inner: usize, len: usize },
}

/// How much scratch the steps need, in elements.
#[derive(Default)]
pub struct ScratchSizes {
    /// Shared by all threads during one step.
    pub shared: usize,
    /// For each thread.
    pub thread: usize,
    /// Classes to sort.
    pub classes: usize,
    /// Zeros for pixels outside the picture.
    pub zeros: usize,
    /// Bytes for layers in eight bits or bf16.
    pub bytes: usize,
}

/// Rows of partial sums that one GroupNorm may make.
pub const NORM_CUTS: usize = 16;

pub fn steps(level: Level, plan: &Plan, layout: &Layout, weights: &Weights) -> Result<(Vec<CpuStep>, ScratchSizes), PlanError> {
    let mut build = Builder { level, plan, layout, weights, sizes: ScratchSizes::default(), out: Vec::new() };
    for (i, op) in plan.ops.iter().enumerate() {
        build.op(op, i)?;
    }
    Ok((build.out, build.sizes))
}

struct Builder<'a> {
    level: Level,
    plan: &'a Plan,
    layout: &'a Layout,
    weights: &'a Weights,
    sizes: ScratchSizes,
    out: Vec<CpuStep>,
}

impl Builder<'_> {
    fn at(&self, b: Buf) -> At {
        self.layout.offsets[b.0 as usize]
    }

    fn weight(&self, w: Weight) -> Result<&[f32], PlanError> {
        self.weights.resolve(&self.plan.weights[w.0 as usize])
    }

    #[expect(clippy::too_many_arguments, reason = "the operation's own fields")]
    fn layer(&mut self, x: Buf, w: Weight, b: Option<Weight>, residual: Option<Buf>, y: Buf, shape: ConvShape, act: Act, op: usize) -> Result<(), PlanError> {
        let bias = b.map(|b| self.weight(b)).transpose()?;
        let shape = flattened(shape);
        let nv = best_nv(self.level, shape);
        let few = shape.h_out() * shape.w_out() <= 8;
        let name = |w: Weight| self.plan.weights[w.0 as usize].name.clone();
        let layer = pack::Layer {
            level: self.level,
            weight: name(w),
            bias: b.map(name),
            n: shape.c_out,
            c_in: shape.c_in,
            taps: shape.k * shape.k,
            max_nv: nv,
            form: if few { Form::Half } else { Form::Full },
        };
        #[cfg(target_arch = "x86_64")]
        if self.on_tiles(shape) {
            let laid = op.checked_sub(1).is_some_and(|before| self.left_for(before, x, shape));
            let packed = self.weights.packed().get(pack::Layer { max_nv: amx::max_nv(shape.c_out), form: Form::Tiles, ..layer }, self.weight(w)?, bias);
            self.sizes.bytes = self.sizes.bytes.max(2 * amx::scratch(shape));
            self.out.push(CpuStep::TileLayer { x: self.at(x), residual: residual.map(|r| self.at(r)), y: self.at(y), shape, act, packed, laid });
            return Ok(());
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(family) = eight_bit::Family::beside(self.level).filter(|f| self.plan.eight_bit.contains(&op) && f.fits(shape, act)) {
            let packed = self.weights.packed().get(pack::Layer { form: Form::EightBit, ..layer }, self.weight(w)?, bias);
            self.sizes.bytes = self.sizes.bytes.max(eight_bit::scratch(shape));
            self.out.push(CpuStep::EightBitLayer { x: self.at(x), residual: residual.map(|r| self.at(r)), y: self.at(y), shape, family, packed });
            return Ok(());
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = op;
        let packed = self.weights.packed().get(layer, self.weight(w)?, bias);
        self.sizes.zeros = self.sizes.zeros.max(shape.c_in);
        let step = CpuStep::Layer { x: self.at(x), residual: residual.map(|r| self.at(r)), y: self.at(y), shape, act, packed };
        self.out.push(step);
        Ok(())
    }

    /// Whether a layer of this shape is one for the tile unit.
    #[cfg(target_arch = "x86_64")]
    fn on_tiles(&self, shape: ConvShape) -> bool {
        self.plan.sixteen_bit && amx::present(self.level) && amx::fits(shape)
    }

    /// Whether operation `before` leaves `x` laid out as a layer of this shape wants it: another layer that read it, or the norm that made it.
    #[cfg(target_arch = "x86_64")]
    fn left_for(&self, before: usize, x: Buf, shape: ConvShape) -> bool {
        match self.plan.ops[before] {
            Op::GroupNorm { y, .. } => y == x && self.only_for_tiles(before, x).is_some(),
            ref op => layer_of(op).is_some_and(|(read, other)| read == x && self.on_tiles(other) && amx::laid_alike(shape, other)),
        }
    }

    /// The first of the layers right behind operation `at`, which writes `y`, if they are on tiles, want it laid out alike, and nobody else reads it.
    #[cfg(target_arch = "x86_64")]
    fn only_for_tiles(&self, at: usize, y: Buf) -> Option<ConvShape> {
        let ops = &self.plan.ops;
        let (_, first) = layer_of(ops.get(at + 1)?)?;
        let layers = ops[at + 1..].iter().map_while(layer_of).take_while(|&(x, shape)| x == y && self.on_tiles(shape) && amx::laid_alike(shape, first)).count();
        let mut uses = [0; 2];
        for op in ops {
            accesses(op, |buf, access| uses[usize::from(access == Access::Read)] += usize::from(buf == y));
        }
        (layers > 0 && self.plan.bufs[y.0 as usize].kind == BufKind::Transient && uses == [1, layers]).then_some(first)
    }

    fn op(&mut self, op: &Op, i: usize) -> Result<(), PlanError> {
        let step = match *op {
            Op::Conv2d { x, w, b, residual, y, shape, act } => return self.layer(x, w, b, residual, y, shape, act, i),
            Op::Linear { x, w, b, residual, y, shape, act } => return self.layer(x, w, b, residual, y, as_conv(shape), act, i),
            Op::GroupNorm { x, gain, bias, scale_shift, y, hw, c, groups, act } => {
                let mut gain_bias = self.weight(gain)?.to_vec();
                gain_bias.extend_from_slice(self.weight(bias)?);
                self.sizes.shared = self.sizes.shared.max(2 * c * (NORM_CUTS + 1));
                #[cfg(target_arch = "x86_64")]
                let tiles = self.only_for_tiles(i, y);
                #[cfg(not(target_arch = "x86_64"))]
                let tiles = None;
                CpuStep::GroupNorm { x: self.at(x), gain_bias, scale_shift: scale_shift.map(|s| self.at(s)), y: self.at(y), hw, c, groups, act, tiles }
            }
            Op::RmsNorm { x, gain, y, m, d } => CpuStep::RmsNorm { x: self.at(x), gain: self.weight(gain)?.to_vec(), y: self.at(y), m, d },
            Op::Attention { q, k, v, y, tq, tk, shape } => {
                let plan = AttentionPlan::new(self.level.table(), tq, tk, shape);
                self.sizes.shared = self.sizes.shared.max(plan.shared_len());
                self.sizes.thread = self.sizes.thread.max(plan.thread_len());
                CpuStep::Attention { q: self.at(q), k: self.at(k), v: self.at(v), y: self.at(y), plan }
            }
            Op::RingWrite { x, ring, t, width, step } => CpuStep::RingWrite { x: self.at(x), ring: self.at(ring), t, width, step },
            Op::RingAttention { q, ring_k, ring_v, sinks, y, t, s, shape, step, alibi } => {
                self.sizes.thread = self.sizes.thread.max(s + t);
                let sinks = sinks.map(|(k, v)| (self.at(k), self.at(v)));
                CpuStep::RingAttention { q: self.at(q), ring_k: self.at(ring_k), ring_v: self.at(ring_v), sinks, y: self.at(y), t, s, shape, step, alibi }
            }
            Op::Embed { ids, ids_offset, table, row_stride, y, m, d, accumulate } => {
                let table = self.weights.resolve_shared(&self.plan.weights[table.0 as usize])?;
                CpuStep::Embed { ids: self.at(ids) + ids_offset, table, row_stride, y: self.at(y), m, d, accumulate }
            }
            Op::VqNearest { x, codebook, ids, ids_offset, m, d, v } => {
                let lanes = self.level.lanes();
                let vectors = v.div_ceil(lanes);
                self.sizes.thread = self.sizes.thread.max(vectors * lanes);
                let mut codes = lines(vectors * d * lanes);
                let flat = as_floats(&mut codes);
                for (code, row) in self.weight(codebook)?.chunks_exact(d).enumerate() {
                    for (i, &value) in row.iter().enumerate() {
                        flat[(code / lanes * d + i) * lanes + code % lanes] = value;
                    }
                }
                CpuStep::VqNearest { x: self.at(x), codes, ids: self.at(ids) + ids_offset, m, d, v }
            }
            Op::Sample { logits, ids, ids_offset, v, temperature, top_p, seed, step, slot } => {
                self.sizes.classes = self.sizes.classes.max(v);
                CpuStep::Sample { logits: self.at(logits), ids: self.at(ids) + ids_offset, v, temperature, top_p, seed, step, slot }
            }
            Op::Noise { y, len, seed, step } => CpuStep::Noise { y: self.at(y), len, seed, step },
            Op::Copy { x, x_offset, y, y_offset, len } => one_move(self.at(x) + x_offset, self.at(y) + y_offset, 1, 0, 0, len),
            Op::Axpby { a, x, b, z, y, len, act } => CpuStep::Axpby { a, x: self.at(x), b, z: self.at(z), y: self.at(y), len, act },
            Op::GruCell { gates_x, gates_h, h, n } => CpuStep::GruCell { gates_x: self.at(gates_x), gates_h: self.at(gates_h), h: self.at(h), n },
            Op::Concat { ref xs, y, hw } => {
                let total: usize = xs.iter().map(|&(_, c)| c).sum();
                let mut before = 0;
                for &(x, c) in xs {
                    self.out.push(one_move(self.at(x), self.at(y) + before, hw, c, total, c));
                    before += c;
                }
                return Ok(());
            }
            Op::Upsample2x { x, y, h, w, c } => {
                for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                    let y = self.at(y) + (dy * 2 * w + dx) * c;
                    self.out.push(CpuStep::Move { x: self.at(x), y, outer: h, x_outer: w * c, y_outer: 4 * w * c, inner: w, x_inner: c, y_inner: 2 * c, len: c });
                }
                return Ok(());
            }
            Op::SpaceToDepth { x, y, h, w, c, r } => {
                for dy in 0..r {
                    let (x, y) = (self.at(x) + dy * w * c, self.at(y) + dy * r * c);
                    self.out.push(CpuStep::Move { x, y, outer: h / r, x_outer: r * w * c, y_outer: w * r * c, inner: w / r, x_inner: r * c, y_inner: r * r * c, len: r * c });
                }
                return Ok(());
            }
            Op::DepthToSpace { x, y, h, w, c, r } => {
                for dy in 0..r {
                    let (x, y) = (self.at(x) + dy * r * c, self.at(y) + dy * w * r * c);
                    self.out.push(CpuStep::Move { x, y, outer: h, x_outer: w * r * r * c, y_outer: r * w * r * c, inner: w, x_inner: r * r * c, y_inner: r * c, len: r * c });
                }
                return Ok(());
            }
        };
        self.out.push(step);
        Ok(())
    }
}

/// A pointwise convolution has no rows to speak of: one long row cuts better.
fn flattened(shape: ConvShape) -> ConvShape {
    if shape.k == 1 && shape.stride == 1 { ConvShape { h: 1, w: shape.h * shape.w, ..shape } } else { shape }
}

fn as_conv(LinearShape { m, k, n }: LinearShape) -> ConvShape {
    ConvShape { h: 1, w: m, c_in: k, c_out: n, k: 1, stride: 1 }
}

/// What a convolution or a linear layer reads, and its shape.
#[cfg(target_arch = "x86_64")]
fn layer_of(op: &Op) -> Option<(Buf, ConvShape)> {
    match *op {
        Op::Conv2d { x, shape, .. } => Some((x, flattened(shape))),
        Op::Linear { x, shape, .. } => Some((x, as_conv(shape))),
        _ => None,
    }
}

fn one_move(x: At, y: At, inner: usize, x_inner: usize, y_inner: usize, len: usize) -> CpuStep {
    CpuStep::Move { x, y, outer: 1, x_outer: 0, y_outer: 0, inner, x_inner, y_inner, len }
}

/// Vectors per block for which the tiles of this shape waste least: counts the busier of the multiply-add and the load ports.
fn best_nv(level: Level, shape: ConvShape) -> usize {
    let table = level.table();
    let vectors = shape.c_out.div_ceil(table.lanes);
    let cost = |max_nv: usize| -> usize {
        super::pack::blocks(shape.c_out, table.lanes, max_nv, 0)
            .iter()
            .map(|b| {
                let cuts = shape.w_out().div_ceil(table.pixels[b.nv - 1]);
                let p = shape.w_out().div_ceil(cuts);
                // Two of each a cycle; 8 sums in flight hide the latency of 4 cycles.
                cuts * (p * b.nv).max(p + b.nv).max(8)
            })
            .sum()
    };
    (1..=4.min(vectors)).min_by_key(|&nv| (cost(nv), usize::from(nv != table.conv_nv))).unwrap_or(1)
}
