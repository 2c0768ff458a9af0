//! Who reads and writes which buffer, and where each buffer lies in one arena.
//!
//! Transient buffers share memory once their last reader has run; External and State buffers keep their own.
//! This file must not compute anything and must not know any backend.

use crate::plan::{Buf, BufKind, Op, Plan};

/// How an operation touches a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    /// Reads what was there, then writes (a residual that is also the output, a ring).
    Both,
}

/// Calls `visit` for every buffer that `op` names; one buffer may come up more than once.
pub fn accesses(op: &Op, mut visit: impl FnMut(Buf, Access)) {
    use Access::{Both, Read, Write};
    match *op {
        Op::Conv2d { x, residual, y, .. } | Op::Linear { x, residual, y, .. } => {
            visit(x, Read);
            if let Some(r) = residual {
                visit(r, Read);
            }
            visit(y, Write);
        }
        Op::GroupNorm { x, scale_shift, y, .. } => {
            visit(x, Read);
            if let Some(s) = scale_shift {
                visit(s, Read);
            }
            visit(y, Write);
        }
        Op::RmsNorm { x, y, .. } => {
            visit(x, Read);
            visit(y, Write);
        }
        Op::Attention { q, k, v, y, .. } => {
            visit(q, Read);
            visit(k, Read);
            visit(v, Read);
            visit(y, Write);
        }
        Op::RingWrite { x, ring, .. } => {
            visit(x, Read);
            visit(ring, Write);
        }
        Op::RingAttention { q, ring_k, ring_v, sinks, y, .. } => {
            visit(q, Read);
            visit(ring_k, Read);
            visit(ring_v, Read);
            if let Some((sk, sv)) = sinks {
                visit(sk, Read);
                visit(sv, Read);
            }
            visit(y, Write);
        }
        Op::Embed { ids, y, accumulate, .. } => {
            visit(ids, Read);
            visit(y, if accumulate { Both } else { Write });
        }
        Op::VqNearest { x, ids, .. } => {
            visit(x, Read);
            visit(ids, Write);
        }
        Op::Sample { logits, ids, .. } => {
            visit(logits, Read);
            visit(ids, Write);
        }
        Op::Noise { y, .. } => visit(y, Write),
        Op::Copy { x, y, .. } | Op::Upsample2x { x, y, .. } | Op::SpaceToDepth { x, y, .. } | Op::DepthToSpace { x, y, .. } => {
            visit(x, Read);
            visit(y, Write);
        }
        Op::Axpby { x, z, y, .. } => {
            visit(x, Read);
            visit(z, Read);
            visit(y, Write);
        }
        Op::GruCell { gates_x, gates_h, h, .. } => {
            visit(gates_x, Read);
            visit(gates_h, Read);
            visit(h, Both);
        }
        Op::Concat { ref xs, y, .. } => {
            for &(x, _) in xs {
                visit(x, Read);
            }
            visit(y, Write);
        }
    }
}

/// Where every buffer lies in one arena of f32.
#[derive(Clone, Debug)]
pub struct Layout {
    /// First element of each buffer, a multiple of the alignment.
    pub offsets: Vec<usize>,
    /// Elements in all.
    pub len: usize,
    /// Buffers whose contents outlive the run: External, State, and transients that no operation reads.
    pub kept: Vec<bool>,
}

impl Layout {
    /// Packs the buffers of a checked plan; `align` is in elements.
    pub fn new(plan: &Plan, align: usize) -> Self {
        let n = plan.bufs.len();
        let mut first = vec![usize::MAX; n];
        let mut last = vec![0usize; n];
        let mut kept: Vec<bool> = plan.bufs.iter().map(|b| b.kind != BufKind::Transient).collect();
        let mut read_after_write = vec![false; n];
        for (i, op) in plan.ops.iter().enumerate() {
            accesses(op, |buf, access| {
                let b = buf.0 as usize;
                first[b] = first[b].min(i);
                last[b] = i;
                read_after_write[b] = access != Access::Write;
            });
        }
        for b in 0..n {
            kept[b] |= !read_after_write[b];
        }
        let round = |len: usize| len.div_ceil(align) * align;
        let mut offsets = vec![0; n];
        let mut len = 0;
        for b in 0..n {
            if kept[b] {
                offsets[b] = len;
                len += round(plan.bufs[b].len);
            }
        }
        // Transients, longest first, each at the lowest place that no transient alive at the same time holds.
        let mut order: Vec<usize> = (0..n).filter(|&b| !kept[b]).collect();
        order.sort_by_key(|&b| (std::cmp::Reverse(plan.bufs[b].len), b));
        let base = len;
        let mut placed: Vec<usize> = Vec::new();
        for b in order {
            let size = round(plan.bufs[b].len);
            let mut busy: Vec<(usize, usize)> = placed
                .iter()
                .filter(|&&o| first[o] <= last[b] && first[b] <= last[o])
                .map(|&o| (offsets[o], offsets[o] + round(plan.bufs[o].len)))
                .collect();
            busy.sort_unstable();
            let mut at = base;
            for (from, to) in busy {
                if at + size <= from {
                    break;
                }
                at = at.max(to);
            }
            offsets[b] = at;
            len = len.max(at + size);
            placed.push(b);
        }
        Self { offsets, len, kept }
    }
}
