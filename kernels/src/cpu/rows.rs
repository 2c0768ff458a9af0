//! Kernels over rows and flat ranges: normalisation, softmax, attention over a ring, elementwise sums, distances.
//!
//! All generic over [`Simd`] and inlined into the instantiations of `level.rs`. No threads, no allocation.

use super::simd::{Simd, activate, exp, load_upto, sigmoid, store_upto, tanh};
use crate::plan::Act;

/// Per channel over `rows` rows of `c`: sums of (x - first) and of its square, into `sums` (2, c).
/// Taking the first value away keeps the squares small, so that f32 sums hold.
///
/// # Safety
/// The instruction set of `S`; `x` holds (rows, c), `first` c, `sums` 2c.
#[inline(always)]
pub unsafe fn channel_sums<S: Simd>(x: *const f32, first: *const f32, rows: usize, c: usize, sums: *mut f32) {
    // SAFETY: the caller's promise; each part takes whole vectors, the last one what is left.
    unsafe {
        let mut at = 0;
        while at < c {
            let (x, first, sums) = (x.add(at), first.add(at), sums.add(at));
            // Four vectors side by side make a run of memory that prefetchers follow.
            at += match (c - at) / S::LANES {
                0 => {
                    sums_of_the_rest::<S>(x, first, rows, c, sums, c - at);
                    S::LANES
                }
                1 => sums_of::<S, 1>(x, first, rows, c, sums),
                2 => sums_of::<S, 2>(x, first, rows, c, sums),
                3 => sums_of::<S, 3>(x, first, rows, c, sums),
                _ => sums_of::<S, 4>(x, first, rows, c, sums),
            };
        }
    }
}

#[inline(always)]
unsafe fn sums_of<S: Simd, const N: usize>(x: *const f32, first: *const f32, rows: usize, c: usize, sums: *mut f32) -> usize {
    // SAFETY: the caller's promise, for N whole vectors.
    unsafe {
        let mut f = [S::splat(0.0); N];
        let (mut s, mut q) = (f, f);
        for (i, f) in f.iter_mut().enumerate() {
            *f = S::load(first.add(i * S::LANES));
        }
        for r in 0..rows {
            for i in 0..N {
                let d = S::sub(S::load(x.add(r * c + i * S::LANES)), f[i]);
                s[i] = S::add(s[i], d);
                q[i] = S::fma(d, d, q[i]);
            }
        }
        for i in 0..N {
            S::store(sums.add(i * S::LANES), s[i]);
            S::store(sums.add(c + i * S::LANES), q[i]);
        }
    }
    N * S::LANES
}

#[inline(always)]
unsafe fn sums_of_the_rest<S: Simd>(x: *const f32, first: *const f32, rows: usize, c: usize, sums: *mut f32, n: usize) {
    // SAFETY: the caller's promise, for n < LANES channels.
    unsafe {
        let f = S::load_n(first, n);
        let (mut s, mut q) = (S::splat(0.0), S::splat(0.0));
        for r in 0..rows {
            let d = S::sub(S::load_n(x.add(r * c), n), f);
            s = S::add(s, d);
            q = S::fma(d, d, q);
        }
        S::store_n(sums, s, n);
        S::store_n(sums.add(c), q, n);
    }
}

/// `y = act(x * mul_c + add_c)` over (rows, c).
///
/// # Safety
/// The instruction set of `S`; `x` and `y` hold (rows, c) and may be the same, `mul` and `add` hold c.
#[inline(always)]
pub unsafe fn scale_rows<S: Simd>(x: *const f32, y: *mut f32, rows: usize, c: usize, mul: *const f32, add: *const f32, act: Act) {
    // SAFETY: the caller's promise.
    unsafe {
        // One branch for all rows, not one per vector.
        match act {
            Act::None => scale_all::<S>(x, y, rows, c, mul, add, Act::None),
            Act::Silu => scale_all::<S>(x, y, rows, c, mul, add, Act::Silu),
            other => scale_all::<S>(x, y, rows, c, mul, add, other),
        }
    }
}

#[inline(always)]
unsafe fn scale_all<S: Simd>(x: *const f32, y: *mut f32, rows: usize, c: usize, mul: *const f32, add: *const f32, act: Act) {
    // SAFETY: the caller's promise.
    unsafe {
        for r in 0..rows {
            let (x, y) = (x.add(r * c), y.add(r * c));
            let mut at = 0;
            while at + S::LANES <= c {
                let v = S::fma(S::load(x.add(at)), S::load(mul.add(at)), S::load(add.add(at)));
                S::store(y.add(at), activate::<S>(act, v));
                at += S::LANES;
            }
            if at < c {
                let n = c - at;
                let v = S::fma(S::load_n(x.add(at), n), S::load_n(mul.add(at), n), S::load_n(add.add(at), n));
                S::store_n(y.add(at), activate::<S>(act, v), n);
            }
        }
    }
}

/// # Safety
/// The instruction set of `S`; `x` and `y` hold (m, d) and may be the same, `gain` holds d.
#[inline(always)]
pub unsafe fn rms_norm<S: Simd>(x: *const f32, gain: *const f32, y: *mut f32, m: usize, d: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        for r in 0..m {
            let (x, y) = (x.add(r * d), y.add(r * d));
            let mut q = S::splat(0.0);
            let mut at = 0;
            while at < d {
                let v = load_upto::<S>(x.add(at), d - at);
                q = S::fma(v, v, q);
                at += S::LANES;
            }
            let scale = S::splat(1.0 / (S::sum(q) / d as f32 + 1e-6).sqrt());
            at = 0;
            while at < d {
                let v = S::mul(S::mul(load_upto::<S>(x.add(at), d - at), scale), load_upto::<S>(gain.add(at), d - at));
                store_upto::<S>(y.add(at), v, d - at);
                at += S::LANES;
            }
        }
    }
}

/// `x = softmax(scale * x)` over `n` elements, in place.
///
/// # Safety
/// The instruction set of `S`; `x` holds n, at least one.
#[inline(always)]
pub unsafe fn softmax<S: Simd>(x: *mut f32, n: usize, scale: f32) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut top = S::splat(f32::NEG_INFINITY);
        let mut at = 0;
        while at + S::LANES <= n {
            top = S::max(top, S::load(x.add(at)));
            at += S::LANES;
        }
        let mut top = S::top(top);
        for i in at..n {
            top = top.max(*x.add(i));
        }
        let (top, scale) = (S::splat(top), S::splat(scale));
        let mut total = S::splat(0.0);
        at = 0;
        while at + S::LANES <= n {
            let e = exp::<S>(S::mul(S::sub(S::load(x.add(at)), top), scale));
            total = S::add(total, e);
            S::store(x.add(at), e);
            at += S::LANES;
        }
        let mut sum = S::sum(total);
        if at < n {
            let e = exp::<S>(S::mul(S::sub(S::load_n(x.add(at), n - at), top), scale));
            S::store_n(x.add(at), e, n - at);
            for i in at..n {
                sum += *x.add(i);
            }
        }
        let inverse = S::splat(1.0 / sum);
        at = 0;
        while at < n {
            store_upto::<S>(x.add(at), S::mul(load_upto::<S>(x.add(at), n - at), inverse), n - at);
            at += S::LANES;
        }
    }
}

/// Where the rows of a decode attention lie.
#[derive(Clone, Copy)]
pub struct RingArgs {
    pub q: *const f32,
    pub ring_k: *const f32,
    pub ring_v: *const f32,
    /// Null when `s` is 0.
    pub sink_k: *const f32,
    pub sink_v: *const f32,
    pub y: *mut f32,
    /// Room for `s + t` scores.
    pub scores: *mut f32,
    pub t: usize,
    pub s: usize,
    pub heads: usize,
    pub dim: usize,
    pub step: usize,
    pub alibi: bool,
}

/// # Safety
/// The instruction set of `S`; pointers valid for the shapes of `Op::RingAttention`.
#[inline(always)]
pub unsafe fn ring_attention<S: Simd>(a: &RingArgs) {
    // SAFETY: the caller's promise.
    unsafe {
        let width = a.heads * a.dim;
        let oldest = (a.step + 1).saturating_sub(a.t);
        let rows = a.step - oldest + 1;
        let scale = 1.0 / (a.dim as f32).sqrt();
        for h in 0..a.heads {
            let slope = if a.alibi { (-8.0 * (h + 1) as f32 / a.heads as f32).exp2() } else { 0.0 };
            let q = a.q.add(h * a.dim);
            for i in 0..a.s {
                *a.scores.add(i) = dot::<S>(q, a.sink_k.add(i * width + h * a.dim), a.dim) * scale;
            }
            let mut slot = oldest % a.t;
            for i in 0..rows {
                let d = dot::<S>(q, a.ring_k.add(slot * width + h * a.dim), a.dim);
                *a.scores.add(a.s + i) = d * scale - slope * (rows - 1 - i) as f32;
                slot = if slot + 1 == a.t { 0 } else { slot + 1 };
            }
            softmax::<S>(a.scores, a.s + rows, 1.0);
            let mut at = 0;
            while at < a.dim {
                let n = a.dim - at;
                let mut acc = S::splat(0.0);
                for i in 0..a.s {
                    acc = S::fma(S::splat(*a.scores.add(i)), load_upto::<S>(a.sink_v.add(i * width + h * a.dim + at), n), acc);
                }
                let mut slot = oldest % a.t;
                for i in 0..rows {
                    acc = S::fma(S::splat(*a.scores.add(a.s + i)), load_upto::<S>(a.ring_v.add(slot * width + h * a.dim + at), n), acc);
                    slot = if slot + 1 == a.t { 0 } else { slot + 1 };
                }
                store_upto::<S>(a.y.add(h * a.dim + at), acc, n);
                at += S::LANES;
            }
        }
    }
}

#[inline(always)]
unsafe fn dot<S: Simd>(a: *const f32, b: *const f32, n: usize) -> f32 {
    // SAFETY: the caller's promise: n elements each.
    unsafe {
        let mut acc = S::splat(0.0);
        let mut at = 0;
        while at < n {
            acc = S::fma(load_upto::<S>(a.add(at), n - at), load_upto::<S>(b.add(at), n - at), acc);
            at += S::LANES;
        }
        S::sum(acc)
    }
}

/// `y = act(a x + b z)` over `n` elements.
///
/// # Safety
/// The instruction set of `S`; `x`, `z`, `y` hold n; `y` may be either input.
#[inline(always)]
pub unsafe fn axpby<S: Simd>(a: f32, x: *const f32, b: f32, z: *const f32, y: *mut f32, n: usize, act: Act) {
    // SAFETY: the caller's promise.
    unsafe {
        let (a, b) = (S::splat(a), S::splat(b));
        let mut at = 0;
        while at < n {
            let v = S::fma(a, load_upto::<S>(x.add(at), n - at), S::mul(b, load_upto::<S>(z.add(at), n - at)));
            store_upto::<S>(y.add(at), activate::<S>(act, v), n - at);
            at += S::LANES;
        }
    }
}

/// One step of a gated recurrent unit, in place in `h`; see `Op::GruCell`.
///
/// # Safety
/// The instruction set of `S`; `gates_x` and `gates_h` hold (3, n), `h` holds n and is apart from them.
#[inline(always)]
pub unsafe fn gru_cell<S: Simd>(gates_x: *const f32, gates_h: *const f32, h: *mut f32, n: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut at = 0;
        while at < n {
            let left = n - at;
            let gate = |from: *const f32, k: usize| load_upto::<S>(from.add(k * n + at), left);
            let reset = sigmoid::<S>(S::add(gate(gates_x, 0), gate(gates_h, 0)));
            let update = sigmoid::<S>(S::add(gate(gates_x, 1), gate(gates_h, 1)));
            let new = tanh::<S>(S::fma(reset, gate(gates_h, 2), gate(gates_x, 2)));
            // (1 - u) new + u h = new + u (h - new)
            let old = load_upto::<S>(h.add(at), left);
            store_upto::<S>(h.add(at), S::fma(update, S::sub(old, new), new), left);
            at += S::LANES;
        }
    }
}

/// Squared distances of `x` (d) to the codes of a codebook packed like a linear layer with blocks of one vector.
///
/// # Safety
/// The instruction set of `S`; `codes` holds `vectors` blocks of (d, LANES), `out` room for `vectors * LANES`.
#[inline(always)]
pub unsafe fn distances<S: Simd>(x: *const f32, codes: *const f32, d: usize, vectors: usize, out: *mut f32) {
    // SAFETY: the caller's promise.
    unsafe {
        for v in 0..vectors {
            let codes = codes.add(v * d * S::LANES);
            let mut acc = S::splat(0.0);
            for i in 0..d {
                let diff = S::sub(S::splat(*x.add(i)), S::load(codes.add(i * S::LANES)));
                acc = S::fma(diff, diff, acc);
            }
            S::store(out.add(v * S::LANES), acc);
        }
    }
}

/// Copies `rows` runs of `len` elements; the steps are from run to run.
///
/// # Safety
/// The instruction set of `S`; source and destination valid and apart.
#[inline(always)]
pub unsafe fn copy_rows<S: Simd>(x: *const f32, x_step: usize, y: *mut f32, y_step: usize, rows: usize, len: usize) {
    // SAFETY: the caller's promise.
    unsafe {
        for r in 0..rows {
            let (x, y) = (x.add(r * x_step), y.add(r * y_step));
            let mut at = 0;
            while at + S::LANES <= len {
                S::store(y.add(at), S::load(x.add(at)));
                at += S::LANES;
            }
            if at < len {
                S::store_n(y.add(at), S::load_n(x.add(at), len - at), len - at);
            }
        }
    }
}

/// `y[i] = gaussian(seed, step, first + i)`, absolute error below 1e-5.
///
/// Plain lane loops: the compiler turns them into vectors of whatever the enclosing function enables.
///
/// # Safety
/// `y` holds n.
#[inline(always)]
pub unsafe fn gaussians(y: *mut f32, n: usize, seed: u32, step: u32, first: u32) {
    const L: usize = 16;
    let mut at = 0;
    while at < n {
        let mut out = [0.0f32; L];
        for (i, o) in out.iter_mut().enumerate() {
            let [a, b, _] = crate::noise::pcg3d(seed, step, first.wrapping_add((at + i) as u32));
            *o = gaussian_f32(a >> 8, b >> 8);
        }
        let live = L.min(n - at);
        // SAFETY: `live` elements from `at` are inside y.
        unsafe { std::ptr::copy_nonoverlapping(out.as_ptr(), y.add(at), live) };
        at += L;
    }
}

/// From two 24-bit integers. ln u near u = 1 is taken from 1 - u, which f32 holds exactly where u is not.
#[inline(always)]
fn gaussian_f32(k1: u32, k2: u32) -> f32 {
    const HALF: u32 = 1 << 23;
    const ULP: f32 = 1.0 / 16_777_216.0;
    let upper = k1 >= HALF;
    let exact = (if upper { 0x00ff_ffff - k1 } else { k1 } as i32 as f32 + 0.5) * ULP;
    let w = if upper { 1.0 - exact } else { exact };
    // ln(1 - v) = ln w - ((w - 1) + v) / w, w the rounded 1 - v
    let lost = if upper { ((w - 1.0) + exact) / w } else { 0.0 };
    let r = (-2.0 * (ln(w) - lost)).max(0.0).sqrt();
    // cos(2 pi u) = -sin(2 pi (1/4 - |u - 1/2|))
    let u2 = (k2 as i32 as f32 + 0.5) * ULP;
    let t = std::f32::consts::TAU * (0.25 - (u2 - 0.5).abs());
    let t2 = t * t;
    let s = t + t * t2 * (-1.666_666_7e-1 + t2 * (8.333_333e-3 + t2 * (-1.984_126_8e-4 + t2 * (2.755_664e-6 + t2 * -2.38e-8))));
    -r * s
}

/// Natural logarithm of a positive normal number (Cephes logf).
#[inline(always)]
fn ln(x: f32) -> f32 {
    let bits = x.to_bits();
    let e = (bits >> 23) as i32 - 126;
    let m = f32::from_bits((bits & 0x007f_ffff) | 0x3f00_0000); // 0.5..1
    let low = m < std::f32::consts::FRAC_1_SQRT_2;
    let e = (if low { e - 1 } else { e }) as f32;
    let f = if low { m + m - 1.0 } else { m - 1.0 };
    let z = f * f;
    let mut p = 7.037_683_6e-2f32;
    for c in [-1.151_461e-1, 1.167_699_9e-1, -1.242_014_1e-1, 1.424_932_3e-1, -1.666_805_8e-1, 2.000_071_5e-1, -2.499_999_4e-1, 0.333_333_3] {
        p = p * f + c;
    }
    let mut y = f * z * p;
    y += e * -2.121_944_4e-4;
    y -= 0.5 * z;
    f + y + e * 0.693_359_4
}
