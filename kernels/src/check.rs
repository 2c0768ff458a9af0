//! Holds a recorded plan to its own shapes before any backend sees it.
//!
//! After `check` every executor may index without further thought: lengths, weight shapes, ranges of constants
//! and aliasing have been settled. This file must not compute anything and must not know any backend.

use crate::PlanError;
use crate::layout::{Access, accesses};
use crate::plan::{Buf, BufKind, ConvShape, HeadShape, LinearShape, Op, Plan, Scalar, Step, Weight};

/// The longest buffer, in elements (1 GiB).
pub const MAX_BUF_LEN: usize = 1 << 28;
/// The most classes `Sample` may draw from: the noise lane of class i is `slot * 65536 + i`.
pub const MAX_CLASSES: usize = 1 << 16;
/// Ids are f32 integers; they are exact below this.
const MAX_EXACT_ID: usize = 1 << 24;

/// Checks that every buffer, weight and parameter an operation names exists and fits.
///
/// # Errors
/// Names the operation and what does not fit.
pub fn check(plan: &Plan) -> Result<(), PlanError> {
    for b in &plan.bufs {
        if b.len == 0 || b.len > MAX_BUF_LEN {
            return Err(PlanError::Buffer { name: b.name.clone(), reason: format!("length {} is not in 1..={MAX_BUF_LEN}", b.len) });
        }
    }
    for w in &plan.weights {
        let len = product(&w.dims);
        if len.is_none_or(|n| n == 0 || n > MAX_BUF_LEN) {
            return Err(PlanError::Buffer { name: w.name.clone(), reason: format!("weight shape {:?} is empty or too large", w.dims) });
        }
    }
    for (i, op) in plan.ops.iter().enumerate() {
        check_op(plan, op).map_err(|reason| PlanError::Shape { op: i, kind: kind(op), reason })?;
    }
    check_order(plan)
}

/// A transient buffer holds nothing until an operation writes it.
fn check_order(plan: &Plan) -> Result<(), PlanError> {
    let mut written = vec![false; plan.bufs.len()];
    for (i, op) in plan.ops.iter().enumerate() {
        let mut fault = None;
        accesses(op, |buf, access| {
            let info = &plan.bufs[buf.0 as usize];
            if access != Access::Write && info.kind == BufKind::Transient && !written[buf.0 as usize] {
                fault.get_or_insert_with(|| format!("reads transient buffer {} before anything has written it; make it External or State", info.name));
            }
        });
        if let Some(reason) = fault {
            return Err(PlanError::Shape { op: i, kind: kind(op), reason });
        }
        accesses(op, |buf, access| {
            if access != Access::Read {
                written[buf.0 as usize] = true;
            }
        });
    }
    Ok(())
}

/// The operation's name, for errors and reports.
pub fn kind(op: &Op) -> &'static str {
    match op {
        Op::Conv2d { .. } => "Conv2d",
        Op::Linear { .. } => "Linear",
        Op::GroupNorm { .. } => "GroupNorm",
        Op::RmsNorm { .. } => "RmsNorm",
        Op::Attention { .. } => "Attention",
        Op::RingWrite { .. } => "RingWrite",
        Op::RingAttention { .. } => "RingAttention",
        Op::Embed { .. } => "Embed",
        Op::VqNearest { .. } => "VqNearest",
        Op::Sample { .. } => "Sample",
        Op::Noise { .. } => "Noise",
        Op::Copy { .. } => "Copy",
        Op::Axpby { .. } => "Axpby",
        Op::GruCell { .. } => "GruCell",
        Op::Concat { .. } => "Concat",
        Op::Upsample2x { .. } => "Upsample2x",
        Op::SpaceToDepth { .. } => "SpaceToDepth",
        Op::DepthToSpace { .. } => "DepthToSpace",
    }
}

fn product(dims: &[usize]) -> Option<usize> {
    dims.iter().try_fold(1usize, |a, &d| a.checked_mul(d))
}

type Fit = Result<(), String>;

/// One operation held against the plan's tables.
struct Checker<'a> {
    plan: &'a Plan,
}

impl Checker<'_> {
    fn info(&self, role: &str, buf: Buf) -> Result<(&str, usize), String> {
        let b = self.plan.bufs.get(buf.0 as usize).ok_or_else(|| format!("{role} names buffer {} of {}", buf.0, self.plan.bufs.len()))?;
        Ok((&b.name, b.len))
    }

    /// The buffer holds exactly `dims`.
    fn exact(&self, role: &str, buf: Buf, dims: &[usize]) -> Fit {
        let (name, len) = self.info(role, buf)?;
        match product(dims) {
            Some(need) if need == len && need > 0 => Ok(()),
            _ => Err(format!("{role} ({name}) holds {len} elements, its shape is {dims:?}")),
        }
    }

    /// The buffer holds `dims` after `offset` elements, or more.
    fn room(&self, role: &str, buf: Buf, offset: usize, dims: &[usize]) -> Fit {
        let (name, len) = self.info(role, buf)?;
        match product(dims).and_then(|n| n.checked_add(offset)) {
            Some(need) if need <= len && need > offset => Ok(()),
            _ => Err(format!("{role} ({name}) holds {len} elements, needed are {dims:?} after {offset}")),
        }
    }

    fn weight(&self, role: &str, weight: Weight, dims: &[usize]) -> Fit {
        let w = self.weight_info(role, weight)?;
        if w.1 == dims { Ok(()) } else { Err(format!("{role} ({}) has shape {:?}, needed is {dims:?}", w.0, w.1)) }
    }

    fn weight_info(&self, role: &str, weight: Weight) -> Result<(&str, &[usize]), String> {
        let w = self.plan.weights.get(weight.0 as usize).ok_or_else(|| format!("{role} names weight {} of {}", weight.0, self.plan.weights.len()))?;
        Ok((&w.name, &w.dims))
    }

    fn table(&self, role: &str, weight: Weight, d: usize) -> Result<usize, String> {
        let (name, dims) = self.weight_info(role, weight)?;
        let rows = product(dims).unwrap_or(0) / d.max(1);
        if dims.len() < 2 || dims.last() != Some(&d) || rows == 0 {
            return Err(format!("{role} ({name}) has shape {dims:?}, needed are rows of {d}"));
        }
        if rows > MAX_EXACT_ID {
            return Err(format!("{role} ({name}) has {rows} rows; ids are exact below {MAX_EXACT_ID}"));
        }
        Ok(rows)
    }

    fn bias(&self, bias: Option<Weight>, n: usize) -> Fit {
        bias.map_or(Ok(()), |b| self.weight("bias", b, &[n]))
    }

    fn step(&self, role: &str, step: Step) -> Fit {
        match step {
            Step::Param(p) if p.0 as usize >= self.plan.params.len() => Err(format!("{role} names parameter {} of {}", p.0, self.plan.params.len())),
            _ => Ok(()),
        }
    }

    fn scalar(&self, role: &str, scalar: Scalar) -> Fit {
        match scalar {
            Scalar::Const(v) if !v.is_finite() => Err(format!("{role} is {v}")),
            Scalar::Const(_) => Ok(()),
            Scalar::Param(p) => self.step(role, Step::Param(p)),
        }
    }
}

fn apart(y: Buf, role: &str, x: Buf) -> Fit {
    if x == y { Err(format!("y must not be {role}")) } else { Ok(()) }
}

fn heads(shape: HeadShape) -> Result<usize, String> {
    match shape.heads.checked_mul(shape.dim) {
        Some(w) if w > 0 => Ok(w),
        _ => Err(format!("{} heads of {} are nothing", shape.heads, shape.dim)),
    }
}

fn check_op(plan: &Plan, op: &Op) -> Fit {
    let c = Checker { plan };
    match *op {
        Op::Conv2d { x, w, b, residual, y, shape, .. } => {
            let ConvShape { h, w: wide, c_in, c_out, k, stride } = shape;
            if !matches!(k, 1 | 3) || !matches!(stride, 1 | 2) {
                return Err(format!("kernel {k} stride {stride}; only 1 or 3, and 1 or 2, exist"));
            }
            c.exact("x", x, &[h, wide, c_in])?;
            c.weight("w", w, &[c_out, c_in, k, k])?;
            c.bias(b, c_out)?;
            c.exact("y", y, &[shape.h_out(), shape.w_out(), c_out])?;
            if let Some(r) = residual {
                c.exact("residual", r, &[shape.h_out(), shape.w_out(), c_out])?;
            }
            apart(y, "x", x)
        }
        Op::Linear { x, w, b, residual, y, shape, .. } => {
            let LinearShape { m, k, n } = shape;
            c.room("x", x, 0, &[m, k])?;
            c.weight("w", w, &[n, k])?;
            c.bias(b, n)?;
            c.room("y", y, 0, &[m, n])?;
            if let Some(r) = residual {
                c.room("residual", r, 0, &[m, n])?;
            }
            apart(y, "x", x)
        }
        Op::GroupNorm { x, gain, bias, scale_shift, y, hw, c: ch, groups, .. } => {
            if groups == 0 || ch % groups != 0 {
                return Err(format!("{ch} channels do not divide into {groups} groups"));
            }
            c.exact("x", x, &[hw, ch])?;
            c.exact("y", y, &[hw, ch])?;
            c.weight("gain", gain, &[ch])?;
            c.weight("bias", bias, &[ch])?;
            if let Some(s) = scale_shift {
                c.room("scale_shift", s, 0, &[2, ch])?;
                apart(y, "scale_shift", s)?;
            }
            Ok(())
        }
        Op::RmsNorm { x, gain, y, m, d } => {
            c.room("x", x, 0, &[m, d])?;
            c.weight("gain", gain, &[d])?;
            c.room("y", y, 0, &[m, d])
        }
        Op::Attention { q, k, v, y, tq, tk, shape } => {
            let width = heads(shape)?;
            c.room("q", q, 0, &[tq, width])?;
            c.room("k", k, 0, &[tk, width])?;
            c.room("v", v, 0, &[tk, width])?;
            c.room("y", y, 0, &[tq, width])?;
            apart(y, "q", q)?;
            apart(y, "k", k)?;
            apart(y, "v", v)
        }
        Op::RingWrite { x, ring, t, width, step } => {
            c.room("x", x, 0, &[width])?;
            c.exact("ring", ring, &[t, width])?;
            c.step("step", step)?;
            apart(ring, "x", x)
        }
        Op::RingAttention { q, ring_k, ring_v, sinks, y, t, s, shape, step, .. } => {
            let width = heads(shape)?;
            c.room("q", q, 0, &[width])?;
            c.exact("ring_k", ring_k, &[t, width])?;
            c.exact("ring_v", ring_v, &[t, width])?;
            c.room("y", y, 0, &[width])?;
            c.step("step", step)?;
            match sinks {
                Some((sk, sv)) if s > 0 => {
                    c.room("sink keys", sk, 0, &[s, width])?;
                    c.room("sink values", sv, 0, &[s, width])?;
                    apart(y, "the sink keys", sk)?;
                    apart(y, "the sink values", sv)?;
                }
                None if s == 0 => {}
                _ => return Err(format!("{s} sink rows with sinks {}", if sinks.is_some() { "given" } else { "missing" })),
            }
            apart(y, "q", q)?;
            apart(y, "ring_k", ring_k)?;
            apart(y, "ring_v", ring_v)
        }
        Op::Embed { ids, ids_offset, table, row_stride, y, m, d, .. } => {
            c.room("ids", ids, ids_offset, &[m])?;
            c.table("table", table, d)?;
            if row_stride > MAX_EXACT_ID {
                return Err(format!("row stride {row_stride}"));
            }
            c.room("y", y, 0, &[m, d])?;
            apart(y, "ids", ids)
        }
        Op::VqNearest { x, codebook, ids, ids_offset, m, d, v } => {
            c.room("x", x, 0, &[m, d])?;
            if c.table("codebook", codebook, d)? != v {
                return Err(format!("the codebook does not have {v} rows"));
            }
            c.room("ids", ids, ids_offset, &[m])?;
            apart(ids, "x", x)
        }
        Op::Sample { logits, ids, ids_offset, v, temperature, top_p, seed, step, slot } => {
            if v > MAX_CLASSES || slot >= 1 << 16 {
                return Err(format!("{v} classes in slot {slot}; at most {MAX_CLASSES} classes and 65536 slots"));
            }
            c.room("logits", logits, 0, &[v])?;
            c.room("ids", ids, ids_offset, &[1])?;
            c.scalar("temperature", temperature)?;
            c.scalar("top_p", top_p)?;
            c.step("seed", seed)?;
            c.step("step", step)?;
            apart(ids, "logits", logits)
        }
        Op::Noise { y, len, seed, step } => {
            c.room("y", y, 0, &[len])?;
            c.step("seed", seed)?;
            c.step("step", step)
        }
        Op::Copy { x, x_offset, y, y_offset, len } => {
            c.room("x", x, x_offset, &[len])?;
            c.room("y", y, y_offset, &[len])?;
            if x == y && x_offset.abs_diff(y_offset) < len {
                return Err("source and destination overlap".into());
            }
            Ok(())
        }
        Op::Axpby { a, x, b, z, y, len, .. } => {
            c.scalar("a", a)?;
            c.scalar("b", b)?;
            c.room("x", x, 0, &[len])?;
            c.room("z", z, 0, &[len])?;
            c.room("y", y, 0, &[len])
        }
        Op::GruCell { gates_x, gates_h, h, n } => {
            c.exact("gates_x", gates_x, &[3, n])?;
            c.exact("gates_h", gates_h, &[3, n])?;
            c.exact("h", h, &[n])?;
            apart(h, "gates_x", gates_x)?;
            apart(h, "gates_h", gates_h)
        }
        Op::Concat { ref xs, y, hw } => {
            if xs.is_empty() || xs.len() > 32 {
                return Err(format!("{} inputs; 1 to 32 are possible", xs.len()));
            }
            let mut sum = 0usize;
            for &(x, ch) in xs {
                c.exact("x", x, &[hw, ch])?;
                apart(y, "x", x)?;
                sum = sum.saturating_add(ch);
            }
            c.exact("y", y, &[hw, sum])
        }
        Op::Upsample2x { x, y, h, w, c: ch } => {
            c.exact("x", x, &[h, w, ch])?;
            c.exact("y", y, &[2, 2, h, w, ch])?;
            apart(y, "x", x)
        }
        Op::SpaceToDepth { x, y, h, w, c: ch, r } => {
            if r == 0 || h % r != 0 || w % r != 0 {
                return Err(format!("{h}x{w} does not divide into blocks of {r}"));
            }
            c.exact("x", x, &[h, w, ch])?;
            c.exact("y", y, &[h, w, ch])?;
            apart(y, "x", x)
        }
        Op::DepthToSpace { x, y, h, w, c: ch, r } => {
            if r == 0 {
                return Err("blocks of 0".into());
            }
            c.exact("x", x, &[h, w, r, r, ch])?;
            c.exact("y", y, &[h, w, r, r, ch])?;
            apart(y, "x", x)
        }
    }
}
