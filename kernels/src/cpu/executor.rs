//! Runs a plan on the CPU: walks the steps, hands each to its kernel, shares large ones out to the pool.
//!
//! All memory is set aside in `new`; `run` allocates nothing. This file must not contain arithmetic of its own beyond
//! joining the partial sums of a norm.

use super::attention::AttentionPtrs;
#[cfg(target_arch = "x86_64")]
use super::{amx, eight_bit};
use super::gemm::Layer;
use super::level::{Level, Table};
use super::pack::{Line, as_floats, lines};
use super::pool::Pool;
use super::rows::RingArgs;
use super::sample::sample;
use super::steps::{CpuStep, NORM_CUTS, ScratchSizes, steps};
use crate::executor::{scalar_value, step_value};
use crate::layout::Layout;
use crate::plan::{Act, Buf, BufInfo, BufKind, ConvShape, Plan};
use crate::{PlanError, Weights};

/// Elements below which moving or mapping data is not worth a second thread.
const PARALLEL_ELEMENTS: usize = 64 * 1024;

/// A plan loaded for the CPU.
pub struct CpuExecutor {
    pool: Pool,
    table: &'static Table,
    level: Level,
    bufs: Vec<BufInfo>,
    layout: Layout,
    params: usize,
    steps: Vec<CpuStep>,
    arena: Vec<Line>,
    shared: Vec<Line>,
    threads: Vec<Line>,
    thread_len: usize,
    zeros: Vec<f32>,
    bytes: Vec<Line>,
    order: Vec<(f64, u32)>,
}

/// A pointer that may cross threads: items of a job use it apart from each other.
#[derive(Clone, Copy)]
struct Ptr(*mut f32);
// SAFETY: see above; every use states its part.
unsafe impl Send for Ptr {}
// SAFETY: as for Send.
unsafe impl Sync for Ptr {}

impl Ptr {
    fn at(self, offset: usize) -> *mut f32 {
        self.0.wrapping_add(offset)
    }
}

impl CpuExecutor {
    /// Loads a plan at the best level of this machine.
    ///
    /// # Errors
    /// A plan that does not hold together; a weight that is missing or misshapen, by name.
    pub fn new(pool: &Pool, plan: &Plan, weights: &Weights) -> Result<Self, PlanError> {
        Self::with_level(pool, Level::best(), plan, weights)
    }

    /// Loads a plan at one of `Level::present()`.
    ///
    /// # Errors
    /// As `new`.
    pub fn with_level(pool: &Pool, level: Level, plan: &Plan, weights: &Weights) -> Result<Self, PlanError> {
        crate::check::check(plan)?;
        let layout = Layout::new(plan, 16);
        let (steps, sizes) = steps(level, plan, &layout, weights)?;
        let ScratchSizes { shared, thread, classes, zeros, bytes } = sizes;
        let thread_len = thread.div_ceil(16) * 16;
        Ok(Self {
            pool: pool.clone(),
            table: level.table(),
            level,
            bufs: plan.bufs.clone(),
            params: plan.params.len(),
            steps,
            arena: lines(layout.len),
            layout,
            shared: lines(shared),
            threads: lines(thread_len * pool.threads()),
            thread_len,
            zeros: vec![0.0; zeros],
            bytes: lines(bytes.div_ceil(4)),
            order: vec![(0.0, 0); classes],
        })
    }

    pub fn level(&self) -> Level {
        self.level
    }

    fn range(&self, buf: Buf, what: &str) -> std::ops::Range<usize> {
        let i = buf.0 as usize;
        assert!(self.layout.kept[i], "{what} buffer {}, which is transient and read by a later operation: make it External", self.bufs[i].name);
        self.layout.offsets[i]..self.layout.offsets[i] + self.bufs[i].len
    }

    /// Fills a whole buffer.
    ///
    /// # Panics
    /// If `data` is not as long as the buffer, or the buffer is transient.
    pub fn write(&mut self, buf: Buf, data: &[f32]) {
        let info = &self.bufs[buf.0 as usize];
        assert_eq!(data.len(), info.len, "length of buffer {}", info.name);
        self.write_at(buf, 0, data);
    }

    /// Overwrites `data.len()` elements from `offset` on.
    ///
    /// # Panics
    /// If they do not lie in the buffer, or the buffer is transient.
    pub fn write_at(&mut self, buf: Buf, offset: usize, data: &[f32]) {
        let range = self.range(buf, "writing");
        as_floats(&mut self.arena)[range][offset..offset + data.len()].copy_from_slice(data);
    }

    /// Copies the front of a buffer out.
    ///
    /// # Panics
    /// If `out` is longer than the buffer, or a later operation may have overwritten it.
    pub fn read(&mut self, buf: Buf, out: &mut [f32]) {
        out.copy_from_slice(&self.slice(buf)[..out.len()]);
    }

    /// A buffer in place.
    ///
    /// # Panics
    /// If a later operation may have overwritten it.
    pub fn slice(&mut self, buf: Buf) -> &[f32] {
        let range = self.range(buf, "reading");
        &as_floats(&mut self.arena)[range]
    }

    /// A buffer in place, to be written.
    ///
    /// # Panics
    /// If the buffer is transient and read by a later operation.
    pub fn slice_mut(&mut self, buf: Buf) -> &mut [f32] {
        let range = self.range(buf, "using");
        &mut as_floats(&mut self.arena)[range]
    }

    /// Zeroes the State buffers.
    pub fn reset(&mut self) {
        let arena = as_floats(&mut self.arena);
        for (info, &at) in self.bufs.iter().zip(&self.layout.offsets) {
            if info.kind == BufKind::State {
                arena[at..at + info.len].fill(0.0);
            }
        }
    }

    /// Runs every operation; `params` holds one word per parameter of the plan.
    ///
    /// # Panics
    /// If the number of parameters is not that of the plan.
    pub fn run(&mut self, params: &[u32]) {
        assert_eq!(params.len(), self.params, "one word per parameter");
        let mut run = Run {
            pool: &self.pool,
            table: self.table,
            arena: Ptr(self.arena.as_mut_ptr().cast()),
            shared: Ptr(self.shared.as_mut_ptr().cast()),
            threads: Ptr(self.threads.as_mut_ptr().cast()),
            thread_len: self.thread_len,
            zeros: self.zeros.as_ptr(),
            bytes: Ptr(self.bytes.as_mut_ptr().cast()),
            order: &mut self.order,
            params,
        };
        for step in &self.steps {
            run.step(step);
        }
    }
}

/// One run's view of the executor.
struct Run<'a> {
    pool: &'a Pool,
    table: &'static Table,
    arena: Ptr,
    shared: Ptr,
    threads: Ptr,
    thread_len: usize,
    zeros: *const f32,
    bytes: Ptr,
    order: &'a mut [(f64, u32)],
    params: &'a [u32],
}

impl Run<'_> {
    // SAFETY (all kernel calls below): `check` held every operation to its buffers and `Layout` gave buffers that are alive
    // together places apart, so the pointers are valid for the shapes and outputs overlap inputs only where the
    // operation allows it; the level was found on this machine.
    fn step(&mut self, step: &CpuStep) {
        let a = self.arena;
        match *step {
            CpuStep::Layer { x, residual, y, shape, act, ref packed } => {
                let residual = residual.map_or(std::ptr::null(), |r| a.at(r).cast_const());
                let layer = Layer { table: self.table, packed, shape, act, x: a.at(x), residual, y: a.at(y), zeros: self.zeros };
                // SAFETY: see above.
                unsafe { layer.run(self.pool) };
            }
            #[cfg(target_arch = "x86_64")]
            CpuStep::EightBitLayer { x, residual, y, shape, family, ref packed } => {
                let residual = residual.map_or(std::ptr::null(), |r| a.at(r).cast_const());
                let layer = eight_bit::Layer { family, packed, shape, x: a.at(x), residual, y: a.at(y), scratch: self.bytes.0.cast() };
                // SAFETY: see above; the step was made where the instructions are present and the shape fits.
                unsafe { layer.run(self.pool) };
            }
            #[cfg(target_arch = "x86_64")]
            CpuStep::TileLayer { x, residual, y, shape, act, ref packed, laid } => {
                let residual = residual.map_or(std::ptr::null(), |r| a.at(r).cast_const());
                let layer = amx::Layer { packed, shape, act, x: a.at(x), residual, y: a.at(y), scratch: self.bytes.0.cast(), laid };
                // SAFETY: as above.
                unsafe { layer.run(self.pool) };
            }
            CpuStep::GroupNorm { x, ref gain_bias, scale_shift, y, hw, c, groups, act, tiles } => {
                self.group_norm(x, gain_bias, scale_shift, y, hw, c, groups, act, tiles);
            }
            CpuStep::RmsNorm { x, ref gain, y, m, d } => {
                // SAFETY: see above.
                unsafe { (self.table.rms_norm)(a.at(x), gain.as_ptr(), a.at(y), m, d) };
            }
            CpuStep::Attention { q, k, v, y, ref plan } => {
                let ptrs = AttentionPtrs {
                    q: a.at(q),
                    k: a.at(k),
                    v: a.at(v),
                    y: a.at(y),
                    shared: self.shared.0,
                    scores: self.threads.0,
                    thread_len: self.thread_len,
                    zeros: self.zeros,
                };
                // SAFETY: see above.
                unsafe { plan.run(self.table, self.pool, ptrs) };
            }
            CpuStep::RingWrite { x, ring, t, width, step } => {
                let row = step_value(step, self.params) as usize % t;
                // SAFETY: see above.
                unsafe { std::ptr::copy_nonoverlapping(a.at(x), a.at(ring + row * width), width) };
            }
            CpuStep::RingAttention { q, ring_k, ring_v, sinks, y, t, s, shape, step, alibi } => {
                let sink = |i: Option<usize>| i.map_or(std::ptr::null(), |at| a.at(at).cast_const());
                let args = RingArgs {
                    q: a.at(q),
                    ring_k: a.at(ring_k),
                    ring_v: a.at(ring_v),
                    sink_k: sink(sinks.map(|s| s.0)),
                    sink_v: sink(sinks.map(|s| s.1)),
                    y: a.at(y),
                    scores: self.threads.0,
                    t,
                    s,
                    heads: shape.heads,
                    dim: shape.dim,
                    step: step_value(step, self.params) as usize,
                    alibi,
                };
                // SAFETY: see above.
                unsafe { (self.table.ring_attention)(&args) };
            }
            CpuStep::Embed { ids, ref table, row_stride, y, m, d, accumulate } => {
                let rows = (table.len() / d) as i64;
                for i in 0..m {
                    // SAFETY: see above.
                    let id = unsafe { *a.at(ids + i) } as i64;
                    let row = (id + (i * row_stride) as i64).clamp(0, rows - 1) as usize;
                    let from = table[row * d..][..d].as_ptr();
                    let to = a.at(y + i * d);
                    // SAFETY: see above.
                    unsafe {
                        if accumulate {
                            (self.table.axpby)(1.0, to, 1.0, from, to, d, Act::None);
                        } else {
                            std::ptr::copy_nonoverlapping(from, to, d);
                        }
                    }
                }
            }
            CpuStep::VqNearest { x, ref codes, ids, m, d, v } => {
                let out = self.threads.0;
                for i in 0..m {
                    // SAFETY: see above; scratch has room for whole vectors of distances.
                    let distances = unsafe {
                        (self.table.distances)(a.at(x + i * d), codes.as_ptr().cast(), d, v.div_ceil(self.table.lanes), out);
                        std::slice::from_raw_parts(out, v)
                    };
                    let best = (1..v).fold(0, |best, c| if distances[c] < distances[best] { c } else { best });
                    // SAFETY: see above.
                    unsafe { *a.at(ids + i) = best as f32 };
                }
            }
            CpuStep::Sample { logits, ids, v, temperature, top_p, seed, step, slot } => {
                // SAFETY: see above.
                let logits = unsafe { std::slice::from_raw_parts(a.at(logits), v) };
                let p = self.params;
                let id = sample(logits, self.order, scalar_value(temperature, p), scalar_value(top_p, p), step_value(seed, p), step_value(step, p), slot);
                // SAFETY: see above.
                unsafe { *a.at(ids) = id as f32 };
            }
            CpuStep::Noise { y, len, seed, step } => {
                let (seed, step, table) = (step_value(seed, self.params), step_value(step, self.params), self.table);
                self.ranges(len, 8, |from, n| {
                    // SAFETY: see above; ranges are apart.
                    unsafe { (table.gaussians)(a.at(y + from), n, seed, step, from as u32) };
                });
            }
            CpuStep::Axpby { a: fa, x, b: fb, z, y, len, act } => {
                let (fa, fb, table) = (scalar_value(fa, self.params), scalar_value(fb, self.params), self.table);
                self.ranges(len, 1, |from, n| {
                    // SAFETY: see above; ranges are apart.
                    unsafe { (table.axpby)(fa, a.at(x + from), fb, a.at(z + from), a.at(y + from), n, act) };
                });
            }
            CpuStep::GruCell { gates_x, gates_h, h, n } => {
                // SAFETY: see above. A cell is too small to share out.
                unsafe { (self.table.gru_cell)(a.at(gates_x), a.at(gates_h), a.at(h), n) };
            }
            CpuStep::Move { x, y, outer, x_outer, y_outer, inner, x_inner, y_inner, len } => {
                let table = self.table;
                let row = |o: usize| {
                    // SAFETY: see above; rows are apart.
                    unsafe { (table.copy_rows)(a.at(x + o * x_outer), x_inner, a.at(y + o * y_outer), y_inner, inner, len) };
                };
                if outer * inner * len < PARALLEL_ELEMENTS || outer == 1 || self.pool.threads() == 1 {
                    (0..outer).for_each(row);
                } else {
                    let cuts = (self.pool.threads() * 2).min(outer);
                    self.pool.run(cuts, &|_, i| (outer * i / cuts..outer * (i + 1) / cuts).for_each(row));
                }
            }
        }
    }

    /// Calls `f(from, n)` over parts of `0..len`, on the pool if `len * cost` is large.
    fn ranges(&self, len: usize, cost: usize, f: impl Fn(usize, usize) + Sync) {
        if len * cost < PARALLEL_ELEMENTS || self.pool.threads() == 1 {
            return f(0, len);
        }
        let cuts = self.pool.threads() * 2;
        let part = len.div_ceil(cuts).div_ceil(16) * 16;
        self.pool.run(len.div_ceil(part), &|_, i| f(i * part, part.min(len - i * part)));
    }

    #[expect(clippy::too_many_arguments, reason = "the operation's own fields")]
    fn group_norm(&self, x: usize, gain_bias: &[f32], scale_shift: Option<usize>, y: usize, hw: usize, c: usize, groups: usize, act: Act, tiles: Option<ConvShape>) {
        let (a, shared, table) = (self.arena, self.shared, self.table);
        let cuts = if hw * c < PARALLEL_ELEMENTS / 2 || self.pool.threads() == 1 { hw.div_ceil(1024) } else { self.pool.threads() * 2 };
        let cuts = cuts.clamp(1, NORM_CUTS.min(hw));
        let rows = |i: usize| (hw * i / cuts, hw * (i + 1) / cuts);
        let each = |f: &(dyn Fn(usize, usize) + Sync)| {
            if hw * c < PARALLEL_ELEMENTS / 2 { (0..cuts).for_each(|i| f(0, i)) } else { self.pool.run(cuts, f) }
        };
        // Scratch: sums of each cut (cuts, 2c), then the multiplier and the addend of every channel (2c).
        each(&|_, i| {
            let (r0, r1) = rows(i);
            // SAFETY: see `step`; each cut has sums of its own.
            unsafe { (table.channel_sums)(a.at(x + r0 * c), a.at(x), r1 - r0, c, shared.at(i * 2 * c)) };
        });
        // SAFETY: the scratch was sized for this, and no other thread holds it now; `scale_shift` is 2c long.
        let (sums, mul_add, first, ss) = unsafe {
            (
                std::slice::from_raw_parts(shared.0, cuts * 2 * c),
                std::slice::from_raw_parts_mut(shared.at(cuts * 2 * c), 2 * c),
                std::slice::from_raw_parts(a.at(x), c),
                scale_shift.map(|s| std::slice::from_raw_parts(a.at(s), 2 * c)),
            )
        };
        let per = c / groups;
        for g in 0..groups {
            let channel = |ch: usize| {
                let total = |row: usize| (0..cuts).map(|i| f64::from(sums[i * 2 * c + row + ch])).sum::<f64>();
                let (s, q) = (total(0), total(c));
                (f64::from(first[ch]) + s / hw as f64, q - s * s / hw as f64)
            };
            let mean = (g * per..(g + 1) * per).map(|ch| channel(ch).0).sum::<f64>() / per as f64;
            let squares: f64 = (g * per..(g + 1) * per)
                .map(|ch| {
                    let (m, q) = channel(ch);
                    q + hw as f64 * (m - mean) * (m - mean)
                })
                .sum();
            let inverse = 1.0 / (squares.max(0.0) / (hw * per) as f64 + 1e-5).sqrt();
            for ch in g * per..(g + 1) * per {
                let gain = f64::from(gain_bias[ch]) + ss.map_or(0.0, |s| f64::from(s[ch]));
                let bias = f64::from(gain_bias[c + ch]) + ss.map_or(0.0, |s| f64::from(s[c + ch]));
                mul_add[ch] = (gain * inverse) as f32;
                mul_add[c + ch] = (bias - mean * gain * inverse) as f32;
            }
        }
        #[cfg(target_arch = "x86_64")]
        if let Some(shape) = tiles {
            let input = amx::Input::new(shape, a.at(x), self.bytes.0.cast());
            let norm = amx::Normed { mul: shared.at(cuts * 2 * c), add: shared.at(cuts * 2 * c + c), act };
            // The same cuts, at whole rows.
            return each(&|_, i| {
                // SAFETY: see `step`; cuts write rows apart from each other, and the scratch is the next step's.
                unsafe { input.part(cuts, i, Some(norm)) };
            });
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = tiles;
        each(&|_, i| {
            let (r0, r1) = rows(i);
            let (mul, add) = (shared.at(cuts * 2 * c), shared.at(cuts * 2 * c + c));
            // SAFETY: see `step`; cuts write rows apart from each other.
            unsafe { (table.scale_rows)(a.at(x + r0 * c), a.at(y + r0 * c), r1 - r0, c, mul, add, act) };
        });
    }
}
