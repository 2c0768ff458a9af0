//! The dumbest correct executor: f64 throughout, one loop per equation, no SIMD, no threads, no shared memory.
//!
//! Every backend is tested against this one. It must stay obvious; it must not be made fast.

use crate::executor::{scalar_value, step_value};
use crate::noise;
use crate::plan::{Act, Buf, BufKind, ConvShape, HeadShape, LinearShape, Op, Plan, Weight};
use crate::{PlanError, Weights};

/// Runs a plan in f64. Same calls as `Executor`.
pub struct ReferenceExecutor {
    plan: Plan,
    weights: Vec<Vec<f64>>,
    bufs: Vec<Vec<f64>>,
}

impl ReferenceExecutor {
    /// # Errors
    /// A plan that does not hold together; a weight that is missing or misshapen, by name.
    pub fn new(plan: &Plan, weights: &Weights) -> Result<Self, PlanError> {
        crate::check::check(plan)?;
        let weights = plan
            .weights
            .iter()
            .map(|w| Ok(weights.resolve(w)?.iter().map(|&v| f64::from(v)).collect()))
            .collect::<Result<_, PlanError>>()?;
        let bufs = plan.bufs.iter().map(|b| vec![0.0; b.len]).collect();
        Ok(Self { plan: plan.clone(), weights, bufs })
    }

    pub fn write(&mut self, buf: Buf, data: &[f32]) {
        assert_eq!(data.len(), self.bufs[buf.0 as usize].len(), "length of {}", self.plan.bufs[buf.0 as usize].name);
        self.write_at(buf, 0, data);
    }

    pub fn write_at(&mut self, buf: Buf, offset: usize, data: &[f32]) {
        for (to, &from) in self.bufs[buf.0 as usize][offset..offset + data.len()].iter_mut().zip(data) {
            *to = f64::from(from);
        }
    }

    pub fn read(&self, buf: Buf, out: &mut [f32]) {
        for (to, &from) in out.iter_mut().zip(&self.bufs[buf.0 as usize]) {
            *to = from as f32;
        }
    }

    /// The buffer in full precision.
    pub fn buf(&self, buf: Buf) -> &[f64] {
        &self.bufs[buf.0 as usize]
    }

    /// Zeroes the State buffers.
    pub fn reset(&mut self) {
        for (b, info) in self.bufs.iter_mut().zip(&self.plan.bufs) {
            if info.kind == BufKind::State {
                b.fill(0.0);
            }
        }
    }

    pub fn run(&mut self, params: &[u32]) {
        assert_eq!(params.len(), self.plan.params.len(), "one word per parameter");
        for i in 0..self.plan.ops.len() {
            let op = self.plan.ops[i].clone();
            self.op(&op, params);
        }
    }

    fn get(&self, b: Buf) -> Vec<f64> {
        self.bufs[b.0 as usize].clone()
    }

    fn weight(&self, w: Weight) -> Vec<f64> {
        self.weights[w.0 as usize].clone()
    }

    fn bias(&self, b: Option<Weight>, n: usize) -> Vec<f64> {
        b.map_or_else(|| vec![0.0; n], |b| self.weight(b))
    }

    fn residual(&self, r: Option<Buf>, n: usize) -> Vec<f64> {
        r.map_or_else(|| vec![0.0; n], |r| self.get(r))
    }

    /// Overwrites the front of a buffer.
    fn put(&mut self, b: Buf, offset: usize, data: &[f64]) {
        self.bufs[b.0 as usize][offset..offset + data.len()].copy_from_slice(data);
    }

    fn op(&mut self, op: &Op, params: &[u32]) {
        match *op {
            Op::Conv2d { x, w, b, residual, y, shape, act } => {
                let out = conv2d(&self.get(x), &self.weight(w), &self.bias(b, shape.c_out), &self.residual(residual, shape.y_len()), shape, act);
                self.put(y, 0, &out);
            }
            Op::Linear { x, w, b, residual, y, shape, act } => {
                let out = linear(&self.get(x), &self.weight(w), &self.bias(b, shape.n), &self.residual(residual, shape.m * shape.n), shape, act);
                self.put(y, 0, &out);
            }
            Op::GroupNorm { x, gain, bias, scale_shift, y, hw, c, groups, act } => {
                let ss = scale_shift.map_or_else(|| vec![0.0; 2 * c], |s| self.get(s));
                let out = group_norm(&self.get(x), &self.weight(gain), &self.weight(bias), &ss, hw, c, groups, act);
                self.put(y, 0, &out);
            }
            Op::RmsNorm { x, gain, y, m, d } => {
                let (x, gain) = (self.get(x), self.weight(gain));
                let mut out = vec![0.0; m * d];
                for row in 0..m {
                    let x = &x[row * d..][..d];
                    let ms = x.iter().map(|v| v * v).sum::<f64>() / d as f64;
                    for i in 0..d {
                        out[row * d + i] = x[i] / (ms + 1e-6).sqrt() * gain[i];
                    }
                }
                self.put(y, 0, &out);
            }
            Op::Attention { q, k, v, y, tq, tk, shape } => {
                let (q, k, v) = (self.get(q), self.get(k), self.get(v));
                let width = shape.width();
                let rows: Vec<_> = (0..tk).map(|j| (&k[j * width..][..width], &v[j * width..][..width], 0.0)).collect();
                let mut out = Vec::new();
                for i in 0..tq {
                    out.extend(attend(&q[i * width..][..width], &rows, shape, false));
                }
                self.put(y, 0, &out);
            }
            Op::RingWrite { x, ring, t, width, step } => {
                let row = step_value(step, params) as usize % t;
                let x = self.get(x);
                self.put(ring, row * width, &x[..width]);
            }
            Op::RingAttention { q, ring_k, ring_v, sinks, y, t, s, shape, step, alibi } => {
                let step = step_value(step, params) as usize;
                let (q, k, v) = (self.get(q), self.get(ring_k), self.get(ring_v));
                let sinks = sinks.map(|(k, v)| (self.get(k), self.get(v)));
                let width = shape.width();
                let mut rows = Vec::new();
                if let Some((sk, sv)) = &sinks {
                    rows.extend((0..s).map(|j| (&sk[j * width..][..width], &sv[j * width..][..width], 0.0)));
                }
                for row in (step + 1).saturating_sub(t)..=step {
                    let at = row % t * width;
                    rows.push((&k[at..][..width], &v[at..][..width], (step - row) as f64));
                }
                let out = attend(&q, &rows, shape, alibi);
                self.put(y, 0, &out);
            }
            Op::Embed { ids, ids_offset, table, row_stride, y, m, d, accumulate } => {
                let (ids, table) = (self.get(ids), self.weight(table));
                let rows = table.len() / d;
                for i in 0..m {
                    let row = (ids[ids_offset + i] as i64 + (i * row_stride) as i64).clamp(0, rows as i64 - 1) as usize;
                    for j in 0..d {
                        let at = &mut self.bufs[y.0 as usize][i * d + j];
                        *at = table[row * d + j] + if accumulate { *at } else { 0.0 };
                    }
                }
            }
            Op::VqNearest { x, codebook, ids, ids_offset, m, d, v } => {
                let (x, book) = (self.get(x), self.weight(codebook));
                for i in 0..m {
                    let distance = |c: usize| (0..d).map(|j| (x[i * d + j] - book[c * d + j]).powi(2)).sum::<f64>();
                    let best = (1..v).fold(0, |best, c| if distance(c) < distance(best) { c } else { best });
                    self.put(ids, ids_offset + i, &[best as f64]);
                }
            }
            Op::Sample { logits, ids, ids_offset, v, temperature, top_p, seed, step, slot } => {
                let logits = self.get(logits);
                let (temperature, top_p) = (f64::from(scalar_value(temperature, params)), f64::from(scalar_value(top_p, params)));
                let id = sample(&logits[..v], temperature, top_p, step_value(seed, params), step_value(step, params), slot);
                self.put(ids, ids_offset, &[id as f64]);
            }
            Op::Noise { y, len, seed, step } => {
                let (seed, step) = (step_value(seed, params), step_value(step, params));
                let out: Vec<f64> = (0..len as u32).map(|i| noise::gaussian(seed, step, i)).collect();
                self.put(y, 0, &out);
            }
            Op::Copy { x, x_offset, y, y_offset, len } => {
                let x = self.get(x);
                self.put(y, y_offset, &x[x_offset..x_offset + len]);
            }
            Op::Axpby { a, x, b, z, y, len, act } => {
                let (a, b) = (f64::from(scalar_value(a, params)), f64::from(scalar_value(b, params)));
                let (x, z) = (self.get(x), self.get(z));
                let out: Vec<f64> = (0..len).map(|i| activate(act, a * x[i] + b * z[i])).collect();
                self.put(y, 0, &out);
            }
            Op::GruCell { gates_x, gates_h, h: state, n } => {
                let (x, g, h) = (self.get(gates_x), self.get(gates_h), self.get(state));
                let gate = |k: usize, i: usize| activate(Act::Sigmoid, x[k * n + i] + g[k * n + i]);
                let new = |i: usize| activate(Act::Tanh, x[2 * n + i] + gate(0, i) * g[2 * n + i]);
                let out: Vec<f64> = (0..n).map(|i| (1.0 - gate(1, i)) * new(i) + gate(1, i) * h[i]).collect();
                self.put(state, 0, &out);
            }
            Op::Concat { ref xs, y, hw } => {
                let mut out = Vec::new();
                for p in 0..hw {
                    for &(x, c) in xs {
                        out.extend_from_slice(&self.get(x)[p * c..][..c]);
                    }
                }
                self.put(y, 0, &out);
            }
            Op::Upsample2x { x, y, h, w, c } => {
                let x = self.get(x);
                for oy in 0..2 * h {
                    for ox in 0..2 * w {
                        self.put(y, (oy * 2 * w + ox) * c, &x[(oy / 2 * w + ox / 2) * c..][..c]);
                    }
                }
            }
            Op::SpaceToDepth { x, y, h, w, c, r } => {
                let x = self.get(x);
                for iy in 0..h {
                    for ix in 0..w {
                        let to = (iy / r * (w / r) + ix / r) * r * r * c + (iy % r * r + ix % r) * c;
                        self.put(y, to, &x[(iy * w + ix) * c..][..c]);
                    }
                }
            }
            Op::DepthToSpace { x, y, h, w, c, r } => {
                let x = self.get(x);
                for oy in 0..h * r {
                    for ox in 0..w * r {
                        let from = (oy / r * w + ox / r) * r * r * c + (oy % r * r + ox % r) * c;
                        self.put(y, (oy * w * r + ox) * c, &x[from..][..c]);
                    }
                }
            }
        }
    }
}

pub fn activate(act: Act, x: f64) -> f64 {
    let sigmoid = |x: f64| 1.0 / (1.0 + (-x).exp());
    match act {
        Act::None => x,
        Act::Silu => x * sigmoid(x),
        Act::Gelu => 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh()),
        Act::Sigmoid => sigmoid(x),
        Act::Tanh => x.tanh(),
    }
}

fn conv2d(x: &[f64], w: &[f64], b: &[f64], residual: &[f64], s: ConvShape, act: Act) -> Vec<f64> {
    let pad = (s.k / 2) as isize;
    let mut out = vec![0.0; s.y_len()];
    for oy in 0..s.h_out() {
        for ox in 0..s.w_out() {
            for co in 0..s.c_out {
                let mut sum = b[co];
                for ky in 0..s.k {
                    for kx in 0..s.k {
                        let iy = (oy * s.stride + ky) as isize - pad;
                        let ix = (ox * s.stride + kx) as isize - pad;
                        if iy < 0 || ix < 0 || iy >= s.h as isize || ix >= s.w as isize {
                            continue;
                        }
                        for ci in 0..s.c_in {
                            sum += x[(iy as usize * s.w + ix as usize) * s.c_in + ci] * w[((co * s.c_in + ci) * s.k + ky) * s.k + kx];
                        }
                    }
                }
                let at = (oy * s.w_out() + ox) * s.c_out + co;
                out[at] = activate(act, sum) + residual[at];
            }
        }
    }
    out
}

fn linear(x: &[f64], w: &[f64], b: &[f64], residual: &[f64], LinearShape { m, k, n }: LinearShape, act: Act) -> Vec<f64> {
    let mut out = vec![0.0; m * n];
    for i in 0..m {
        for j in 0..n {
            let sum = b[j] + (0..k).map(|e| x[i * k + e] * w[j * k + e]).sum::<f64>();
            out[i * n + j] = activate(act, sum) + residual[i * n + j];
        }
    }
    out
}

#[expect(clippy::too_many_arguments, reason = "the equation has that many symbols")]
fn group_norm(x: &[f64], gain: &[f64], bias: &[f64], scale_shift: &[f64], hw: usize, c: usize, groups: usize, act: Act) -> Vec<f64> {
    let per = c / groups;
    let mut out = vec![0.0; hw * c];
    for g in 0..groups {
        let at = |p: usize, i: usize| x[p * c + g * per + i];
        let n = (hw * per) as f64;
        let mut mean = 0.0;
        let mut var = 0.0;
        for p in 0..hw {
            for i in 0..per {
                mean += at(p, i) / n;
            }
        }
        for p in 0..hw {
            for i in 0..per {
                var += (at(p, i) - mean).powi(2) / n;
            }
        }
        for p in 0..hw {
            for i in 0..per {
                let ch = g * per + i;
                let v = (at(p, i) - mean) / (var + 1e-5).sqrt() * (gain[ch] + scale_shift[ch]) + bias[ch] + scale_shift[c + ch];
                out[p * c + ch] = activate(act, v);
            }
        }
    }
    out
}

/// One query over rows of (key, value, distance).
fn attend(q: &[f64], rows: &[(&[f64], &[f64], f64)], HeadShape { heads, dim }: HeadShape, alibi: bool) -> Vec<f64> {
    let mut out = vec![0.0; heads * dim];
    for h in 0..heads {
        let slope = if alibi { 2f64.powf(-8.0 * (h + 1) as f64 / heads as f64) } else { 0.0 };
        let scores: Vec<f64> = rows
            .iter()
            .map(|(k, _, distance)| (0..dim).map(|i| q[h * dim + i] * k[h * dim + i]).sum::<f64>() / (dim as f64).sqrt() - slope * distance)
            .collect();
        let top = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let total: f64 = scores.iter().map(|s| (s - top).exp()).sum();
        for (score, (_, v, _)) in scores.iter().zip(rows) {
            for i in 0..dim {
                out[h * dim + i] += (score - top).exp() / total * v[h * dim + i];
            }
        }
    }
    out
}

/// Nucleus sampling by Gumbel-max; see `Op::Sample`.
pub fn sample(logits: &[f64], temperature: f64, top_p: f64, seed: u32, step: u32, slot: u32) -> usize {
    let argmax = |f: &dyn Fn(usize) -> f64| (1..logits.len()).fold(0, |best, i| if f(i) > f(best) { i } else { best });
    let first = argmax(&|i| logits[i]);
    if temperature.is_nan() || temperature <= 0.0 {
        return first;
    }
    let p: Vec<f64> = logits.iter().map(|l| ((l - logits[first]) / temperature).exp()).collect();
    let total: f64 = p.iter().sum();
    let before = |i: usize| (0..p.len()).filter(|&j| p[j] > p[i] || (p[j] == p[i] && j < i)).map(|j| p[j]).sum::<f64>();
    let takes_part: Vec<bool> = (0..p.len()).map(|i| i == first || before(i) < top_p * total).collect();
    argmax(&|i| {
        if takes_part[i] { (logits[i] - logits[first]) / temperature + noise::gumbel(seed, step, (slot << 16) + i as u32) } else { f64::NEG_INFINITY }
    })
}
