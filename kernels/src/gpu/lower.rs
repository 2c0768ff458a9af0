//! A plan's operations as launches: which kernel, how many units, which buffers. Weights are uploaded here.
//!
//! Done once when a plan is loaded; a launch only fills in this run's parameters. The only file that launches kernels.

use cubecl::prelude::*;
use cubecl::server::Handle;

use super::device::{Device, Tiling};
use super::math::act_code;
use super::{attention, conv, norm, rearrange, sample};
use crate::executor::{scalar_value, step_value};
use crate::plan::{Act, Buf, ConvShape, LinearShape, Op, Plan, Scalar, Step, Weight};
use crate::{PlanError, Weights};

/// One kernel launch, waiting for its parameters.
pub type Launch = Box<dyn Fn(&[u32]) + Send>;

/// A buffer on the device and its length in elements.
#[derive(Clone)]
pub struct Slab {
    pub handle: Handle,
    pub len: usize,
}

impl Slab {
    pub fn new(client: &Client, data: &[f32]) -> Self {
        Self { handle: client.create_from_slice(bytemuck::cast_slice(data)), len: data.len() }
    }

    pub fn zeros(client: &Client, len: usize) -> Self {
        Self::new(client, &vec![0.0; len])
    }

    fn arg(&self) -> BufferArg {
        // SAFETY: the handle was made for `len` elements.
        unsafe { BufferArg::from_raw_parts(self.handle.clone(), self.len) }
    }
}

/// Cuts of the rows for which a group norm keeps sums of its own.
const NORM_CUTS: usize = 32;

pub fn lower(device: &Device, plan: &Plan, bufs: &[Slab], weights: &Weights) -> Result<Vec<Launch>, PlanError> {
    let mut lower = Lower { client: device.client().clone(), tiling: device.tiling(), plan, bufs, weights, out: Vec::new() };
    for op in &plan.ops {
        lower.op(op)?;
    }
    Ok(lower.out)
}

struct Lower<'a> {
    client: Client,
    tiling: Tiling,
    plan: &'a Plan,
    bufs: &'a [Slab],
    weights: &'a Weights,
    out: Vec<Launch>,
}

/// Cubes for at least `units` units; the kernels check the rest away.
fn cubes(units: usize, cube: u32) -> CubeCount {
    let n = units.div_ceil(cube as usize).max(1) as u32;
    // A dispatch takes at most 65,535 along one axis.
    if n <= 65_535 { CubeCount::Static(n, 1, 1) } else { CubeCount::Static(32_768, n.div_ceil(32_768), 1) }
}

impl Lower<'_> {
    fn buf(&self, b: Buf) -> Slab {
        self.bufs[b.0 as usize].clone()
    }

    fn values(&self, w: Weight) -> Result<&[f32], PlanError> {
        self.weights.resolve(&self.plan.weights[w.0 as usize])
    }

    fn weight(&self, w: Weight) -> Result<Slab, PlanError> {
        Ok(Slab::new(&self.client, self.values(w)?))
    }

    fn scratch(&self, len: usize) -> Slab {
        Slab::zeros(&self.client, len)
    }

    /// Records a launch of `units` units.
    fn launch(&mut self, units: usize, f: impl Fn(&Client, CubeCount, CubeDim, &[u32]) + Send + 'static) {
        let (client, cube) = (self.client.clone(), self.tiling.cube);
        self.out.push(Box::new(move |params| f(&client, cubes(units, cube), CubeDim::new_1d(cube), params)));
    }

    // SAFETY (all launches below): `check` held every operation to its buffers, so each index a kernel forms from the shape
    // lies in the buffer it was given, and units past the end are turned away in the kernel.

    #[expect(clippy::too_many_arguments, reason = "the operation's own fields")]
    fn layer(&mut self, x: Buf, w: Weight, b: Option<Weight>, residual: Option<Buf>, y: Buf, s: ConvShape, act: Act) -> Result<(), PlanError> {
        // A pointwise convolution is one long row.
        let s = if s.k == 1 && s.stride == 1 { ConvShape { h: 1, w: s.h * s.w, ..s } } else { s };
        let packed = Slab::new(&self.client, &conv::pack(self.values(w)?, s.c_out, s.c_in, s.k * s.k));
        let mut bias = b.map_or_else(|| Ok(vec![0.0; s.c_out]), |b| self.values(b).map(<[f32]>::to_vec))?;
        bias.resize(s.c_out.div_ceil(4) * 4, 0.0);
        let bias = Slab::new(&self.client, &bias);
        let (x, y) = (self.buf(x), self.buf(y));
        let has_residual = residual.is_some();
        let residual = residual.map_or_else(|| x.clone(), |r| self.buf(r));
        let pixels = self.tiling.pixels.min(s.w_out().next_power_of_two());
        let units = s.h_out() * s.w_out().div_ceil(pixels) * s.c_out.div_ceil(4);
        self.launch(units, move |client, count, dim, _| {
            // SAFETY: see above.
            unsafe {
                conv::conv::launch_unchecked(
                    client,
                    count,
                    dim,
                    x.arg(),
                    packed.arg(),
                    bias.arg(),
                    residual.arg(),
                    y.arg(),
                    s.h as u32,
                    s.w as u32,
                    s.c_in as u32,
                    s.h_out() as u32,
                    s.w_out() as u32,
                    s.c_out as u32,
                    s.k as u32,
                    s.stride as u32,
                    pixels,
                    act_code(act),
                    has_residual,
                );
            }
        });
        Ok(())
    }

    /// `outer` times `inner` runs of `len`; steps and offsets in elements.
    fn moves(&mut self, x: Buf, y: Buf, at: [usize; 2], outer: [usize; 3], inner: [usize; 3], len: usize) {
        let (x, y) = (self.buf(x), self.buf(y));
        self.launch(outer[0] * inner[0] * len, move |client, count, dim, _| {
            let [xo, yo] = at.map(|v| v as u32);
            let [on, ox, oy] = outer.map(|v| v as u32);
            let [n, ix, iy] = inner.map(|v| v as u32);
            // SAFETY: see above.
            unsafe { rearrange::move_runs::launch_unchecked(client, count, dim, x.arg(), y.arg(), xo, yo, on, ox, oy, n, ix, iy, len as u32) };
        });
    }

    fn op(&mut self, op: &Op) -> Result<(), PlanError> {
        match *op {
            Op::Conv2d { x, w, b, residual, y, shape, act } => self.layer(x, w, b, residual, y, shape, act)?,
            Op::Linear { x, w, b, residual, y, shape: LinearShape { m, k, n }, act } => {
                self.layer(x, w, b, residual, y, ConvShape { h: 1, w: m, c_in: k, c_out: n, k: 1, stride: 1 }, act)?;
            }
            Op::GroupNorm { x, gain, bias, scale_shift, y, hw, c, groups, act } => {
                let cuts = hw.div_ceil(16).clamp(1, NORM_CUTS);
                let (sums, scales) = (self.scratch(cuts * 2 * c), self.scratch(3 * c));
                let (gain, bias) = (self.weight(gain)?, self.weight(bias)?);
                let (x, y, adain) = (self.buf(x), self.buf(y), scale_shift.is_some());
                let ss = scale_shift.map_or_else(|| gain.clone(), |s| self.buf(s));
                let (n, ch, nc, per) = (hw as u32, c as u32, cuts as u32, (c / groups) as u32);
                let (x1, s1) = (x.clone(), sums.clone());
                self.launch(cuts * c, move |client, count, dim, _| {
                    // SAFETY: see above.
                    unsafe { norm::channel_sums::launch_unchecked(client, count, dim, x1.arg(), s1.arg(), n, ch, nc) };
                });
                let (x2, scales2) = (x.clone(), scales.clone());
                self.launch(c, move |client, count, dim, _| {
                    let (x, sums, out) = (x2.arg(), sums.arg(), scales2.arg());
                    // SAFETY: see above.
                    unsafe { norm::channel_scales::launch_unchecked(client, count, dim, x, sums, gain.arg(), bias.arg(), ss.arg(), out, n, ch, per, nc, adain) };
                });
                self.launch(hw * c, move |client, count, dim, _| {
                    // SAFETY: see above.
                    unsafe { norm::scale_rows::launch_unchecked(client, count, dim, x.arg(), scales.arg(), y.arg(), n * ch, ch, act_code(act)) };
                });
            }
            Op::RmsNorm { x, gain, y, m, d } => {
                let (x, y, gain, scales) = (self.buf(x), self.buf(y), self.weight(gain)?, self.scratch(m));
                let (x1, scales1) = (x.clone(), scales.clone());
                self.launch(m, move |client, count, dim, _| {
                    // SAFETY: see above.
                    unsafe { norm::rms_scales::launch_unchecked(client, count, dim, x1.arg(), scales1.arg(), m as u32, d as u32) };
                });
                self.launch(m * d, move |client, count, dim, _| {
                    // SAFETY: see above.
                    unsafe { norm::rms_apply::launch_unchecked(client, count, dim, x.arg(), scales.arg(), gain.arg(), y.arg(), (m * d) as u32, d as u32) };
                });
            }
            Op::Attention { q, k, v, y, tq, tk, shape } => {
                let scores = self.scratch(shape.heads * tq * tk);
                let (q, k, v, y) = (self.buf(q), self.buf(k), self.buf(v), self.buf(y));
                let [nq, nk, heads, hd] = [tq, tk, shape.heads, shape.dim].map(|v| v as u32);
                let scale = 1.0 / (shape.dim as f32).sqrt();
                let out = scores.clone();
                self.launch(scores.len, move |client, count, dim, _| {
                    // SAFETY: see above.
                    unsafe { attention::scores::launch_unchecked(client, count, dim, q.arg(), k.arg(), out.arg(), nq, nk, heads, hd, scale) };
                });
                self.launch(tq * shape.width(), move |client, count, dim, _| {
                    // SAFETY: see above.
                    unsafe { attention::outputs::launch_unchecked(client, count, dim, scores.arg(), v.arg(), y.arg(), nq, nk, heads, hd) };
                });
            }
            Op::RingWrite { x, ring, t, width, step } => {
                let (x, ring) = (self.buf(x), self.buf(ring));
                self.launch(width, move |client, count, dim, params| {
                    let to = (step_value(step, params) as usize % t * width) as u32;
                    // SAFETY: see above.
                    unsafe { rearrange::move_runs::launch_unchecked(client, count, dim, x.arg(), ring.arg(), 0, to, 1, 0, 0, 1, 0, 0, width as u32) };
                });
            }
            Op::RingAttention { q, ring_k, ring_v, sinks, y, t, s, shape, step, alibi } => {
                let scores = self.scratch(shape.heads * (s + t));
                let (q, rk, rv, y) = (self.buf(q), self.buf(ring_k), self.buf(ring_v), self.buf(y));
                let (sk, sv) = sinks.map_or_else(|| (rk.clone(), rv.clone()), |(k, v)| (self.buf(k), self.buf(v)));
                let [nt, ns, heads, hd] = [t, s, shape.heads, shape.dim].map(|v| v as u32);
                let scale = 1.0 / (shape.dim as f32).sqrt();
                // Rows that take part, and the ring slot of the oldest.
                let rows = move |params: &[u32]| {
                    let now = u64::from(step_value(step, params)) + 1;
                    let rows = now.min(u64::from(nt));
                    (rows as u32, ((now - rows) % u64::from(nt)) as u32)
                };
                let out = scores.clone();
                self.launch(shape.heads * (s + t), move |client, count, dim, params| {
                    let (n, oldest) = rows(params);
                    let (q, k, sk, out) = (q.arg(), rk.arg(), sk.arg(), out.arg());
                    // SAFETY: see above.
                    unsafe { attention::ring_scores::launch_unchecked(client, count, dim, q, k, sk, out, nt, ns, n, oldest, heads, hd, scale, alibi) };
                });
                self.launch(shape.width(), move |client, count, dim, params| {
                    let (n, oldest) = rows(params);
                    let (sc, v, sv, y) = (scores.arg(), rv.arg(), sv.arg(), y.arg());
                    // SAFETY: see above.
                    unsafe { attention::ring_outputs::launch_unchecked(client, count, dim, sc, v, sv, y, nt, ns, n, oldest, heads, hd) };
                });
            }
            Op::Embed { ids, ids_offset, table, row_stride, y, m, d, accumulate } => {
                let (ids, table, y) = (self.buf(ids), self.weight(table)?, self.buf(y));
                let [at, stride, rows, nm, nd] = [ids_offset, row_stride, table.len / d, m, d].map(|v| v as u32);
                self.launch(m * d, move |client, count, dim, _| {
                    // SAFETY: see above.
                    unsafe { rearrange::embed::launch_unchecked(client, count, dim, ids.arg(), table.arg(), y.arg(), at, stride, rows, nm, nd, accumulate) };
                });
            }
            Op::VqNearest { x, codebook, ids, ids_offset, m, d, v } => {
                let (x, book, all) = (self.buf(x), self.weight(codebook)?, self.scratch(m * v));
                let [nm, nd, nv] = [m, d, v].map(|v| v as u32);
                let out = all.clone();
                self.launch(m * v, move |client, count, dim, _| {
                    // SAFETY: see above.
                    unsafe { sample::distances::launch_unchecked(client, count, dim, x.arg(), book.arg(), out.arg(), nm, nd, nv) };
                });
                self.smallest(all, ids, ids_offset, m, v);
            }
            Op::Sample { logits, ids, ids_offset, v, temperature, top_p, seed, step, slot } => {
                self.sample(self.buf(logits), ids, ids_offset, v, temperature, top_p, seed, step, slot);
            }
            Op::Noise { y, len, seed, step } => {
                let y = self.buf(y);
                self.launch(len, move |client, count, dim, params| {
                    let (seed, step) = (step_value(seed, params), step_value(step, params));
                    // SAFETY: see above.
                    unsafe { rearrange::noise::launch_unchecked(client, count, dim, y.arg(), len as u32, seed, step) };
                });
            }
            Op::Copy { x, x_offset, y, y_offset, len } => self.moves(x, y, [x_offset, y_offset], [1, 0, 0], [1, 0, 0], len),
            Op::Axpby { a, x, b, z, y, len, act } => {
                let (x, z, y) = (self.buf(x), self.buf(z), self.buf(y));
                self.launch(len, move |client, count, dim, params| {
                    let (a, b) = (scalar_value(a, params), scalar_value(b, params));
                    // SAFETY: see above.
                    unsafe { rearrange::axpby::launch_unchecked(client, count, dim, x.arg(), z.arg(), y.arg(), a, b, len as u32, act_code(act)) };
                });
            }
            Op::GruCell { gates_x, gates_h, h, n } => {
                let (x, g, h) = (self.buf(gates_x), self.buf(gates_h), self.buf(h));
                self.launch(n, move |client, count, dim, _| {
                    // SAFETY: see above.
                    unsafe { rearrange::gru_cell::launch_unchecked(client, count, dim, x.arg(), g.arg(), h.arg(), n as u32) };
                });
            }
            Op::Concat { ref xs, y, hw } => {
                let total: usize = xs.iter().map(|&(_, c)| c).sum();
                let mut before = 0;
                for &(x, c) in xs {
                    self.moves(x, y, [0, before], [1, 0, 0], [hw, c, total], c);
                    before += c;
                }
            }
            Op::Upsample2x { x, y, h, w, c } => {
                let (x, y) = (self.buf(x), self.buf(y));
                self.launch(4 * h * w * c, move |client, count, dim, _| {
                    // SAFETY: see above.
                    unsafe { rearrange::upsample::launch_unchecked(client, count, dim, x.arg(), y.arg(), h as u32, w as u32, c as u32) };
                });
            }
            Op::SpaceToDepth { x, y, h, w, c, r } => {
                // Runs of r * c lie together on both sides: (block row, dy, block column).
                for dy in 0..r {
                    self.moves(x, y, [dy * w * c, dy * r * c], [h / r, r * w * c, w * r * c], [w / r, r * c, r * r * c], r * c);
                }
            }
            Op::DepthToSpace { x, y, h, w, c, r } => {
                for dy in 0..r {
                    self.moves(x, y, [dy * r * c, dy * w * r * c], [h, w * r * r * c, r * w * r * c], [w, r * r * c, r * c], r * c);
                }
            }
        }
        Ok(())
    }

    fn smallest(&mut self, values: Slab, ids: Buf, ids_offset: usize, m: usize, v: usize) {
        let ids = self.buf(ids);
        self.launch(m, move |client, count, dim, _| {
            // SAFETY: see above.
            unsafe { sample::smallest::launch_unchecked(client, count, dim, values.arg(), ids.arg(), ids_offset as u32, m as u32, v as u32) };
        });
    }

    #[expect(clippy::too_many_arguments, reason = "the operation's own fields")]
    fn sample(&mut self, logits: Slab, ids: Buf, ids_offset: usize, v: usize, temperature: Scalar, top_p: Scalar, seed: Step, step: Step, slot: u32) {
        let (p, out) = (self.scratch(v), self.scratch(v));
        let (l1, p1) = (logits.clone(), p.clone());
        let warm = |t: f32| t > 0.0;
        self.launch(v, move |client, count, dim, params| {
            let t = scalar_value(temperature, params);
            if warm(t) {
                // SAFETY: see above.
                unsafe { sample::weights::launch_unchecked(client, count, dim, l1.arg(), p1.arg(), v as u32, t) };
            }
        });
        let out2 = out.clone();
        self.launch(v, move |client, count, dim, params| {
            let (t, top_p) = (scalar_value(temperature, params), scalar_value(top_p, params));
            let (seed, step) = (step_value(seed, params), step_value(step, params));
            // SAFETY: see above.
            unsafe {
                if warm(t) {
                    sample::noisy::launch_unchecked(client, count, dim, logits.arg(), p.arg(), out2.arg(), v as u32, t, top_p, seed, step, slot);
                } else {
                    sample::negate::launch_unchecked(client, count, dim, logits.arg(), out2.arg(), v as u32);
                }
            }
        });
        self.smallest(out, ids, ids_offset, 1, v);
    }
}
