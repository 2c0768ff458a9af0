//! What a kernel may ask of a processor: a vector of f32 and the few operations on it, plus exp and friends built from them.
//!
//! Kernels are written once, generic over [`Simd`], `#[inline(always)]`, and instantiated inside functions that enable the
//! instruction set (`level.rs`). Nothing here may be called outside such a function.

use crate::plan::Act;

/// Vector operations of one instruction set.
///
/// # Safety
/// Every function: the processor has the instruction set, and pointers are valid for what is read or written
/// (`LANES` elements, or `n` for the partial forms). No alignment is needed.
pub trait Simd: Copy + 'static {
    type V: Copy;
    const LANES: usize;
    /// `load_f16` is an instruction, so weights may be kept in half the bytes.
    const F16: bool;
    unsafe fn splat(v: f32) -> Self::V;
    unsafe fn load(p: *const f32) -> Self::V;
    unsafe fn store(p: *mut f32, v: Self::V);
    /// The first `n < LANES` elements; the rest are zero.
    unsafe fn load_n(p: *const f32, n: usize) -> Self::V;
    unsafe fn store_n(p: *mut f32, v: Self::V, n: usize);
    unsafe fn load_f16(p: *const u16) -> Self::V;
    unsafe fn add(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn sub(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn mul(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn div(a: Self::V, b: Self::V) -> Self::V;
    /// `a * b + c`
    unsafe fn fma(a: Self::V, b: Self::V, c: Self::V) -> Self::V;
    unsafe fn max(a: Self::V, b: Self::V) -> Self::V;
    unsafe fn min(a: Self::V, b: Self::V) -> Self::V;
    /// Nearest integer.
    unsafe fn round(a: Self::V) -> Self::V;
    /// 2^n for integral n in -126..=127.
    unsafe fn pow2(n: Self::V) -> Self::V;
    unsafe fn sum(v: Self::V) -> f32;
    unsafe fn top(v: Self::V) -> f32;
}

/// e^x, relative error about 2e-7; saturates outside -87..88.
#[inline(always)]
pub unsafe fn exp<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        let x = S::min(S::max(x, S::splat(-87.0)), S::splat(88.0));
        let n = S::round(S::mul(x, S::splat(std::f32::consts::LOG2_E)));
        let r = S::fma(n, S::splat(-0.693_359_4), x);
        let r = S::fma(n, S::splat(2.121_944_4e-4), r);
        let mut p = S::splat(1.987_569_1e-4);
        for c in [1.398_2e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = S::fma(p, r, S::splat(c));
        }
        let p = S::add(S::fma(S::mul(r, r), p, r), S::splat(1.0));
        S::mul(p, S::pow2(n))
    }
}

#[inline(always)]
pub unsafe fn sigmoid<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        let one = S::splat(1.0);
        S::div(one, S::add(one, exp::<S>(S::sub(S::splat(0.0), x))))
    }
}

/// Absolute error about 1e-7.
#[inline(always)]
pub unsafe fn tanh<S: Simd>(x: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe { S::fma(S::splat(2.0), sigmoid::<S>(S::add(x, x)), S::splat(-1.0)) }
}

#[inline(always)]
pub unsafe fn activate<S: Simd>(act: Act, x: S::V) -> S::V {
    // SAFETY: the caller's promise.
    unsafe {
        match act {
            Act::None => x,
            Act::Silu => S::mul(x, sigmoid::<S>(x)),
            Act::Gelu => {
                // 0.5 (1 + tanh u) = sigmoid(2u)
                let x3 = S::mul(S::mul(x, x), x);
                let u = S::mul(S::splat(GELU_2), S::fma(S::splat(0.044_715), x3, x));
                S::mul(x, sigmoid::<S>(u))
            }
            Act::Sigmoid => sigmoid::<S>(x),
            Act::Tanh => tanh::<S>(x),
        }
    }
}

/// Loads `min(n, LANES)` elements.
#[inline(always)]
pub unsafe fn load_upto<S: Simd>(p: *const f32, n: usize) -> S::V {
    // SAFETY: the caller's promise, for n elements.
    unsafe { if n >= S::LANES { S::load(p) } else { S::load_n(p, n) } }
}

/// Stores `min(n, LANES)` elements.
#[inline(always)]
pub unsafe fn store_upto<S: Simd>(p: *mut f32, v: S::V, n: usize) {
    // SAFETY: the caller's promise, for n elements.
    unsafe { if n >= S::LANES { S::store(p, v) } else { S::store_n(p, v, n) } }
}

/// 2 sqrt(2 / pi)
const GELU_2: f32 = 1.595_769;

/// The fallback every processor has: four lanes of plain Rust, which compilers turn into SSE2 or the like.
#[derive(Clone, Copy)]
pub struct Scalar;

#[inline(always)]
fn each(f: impl Fn(usize) -> f32) -> [f32; 4] {
    [f(0), f(1), f(2), f(3)]
}

impl Simd for Scalar {
    type V = [f32; 4];
    const LANES: usize = 4;
    const F16: bool = false;
    #[inline(always)]
    unsafe fn splat(v: f32) -> [f32; 4] {
        [v; 4]
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> [f32; 4] {
        // SAFETY: four elements are readable.
        unsafe { p.cast::<[f32; 4]>().read_unaligned() }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: [f32; 4]) {
        // SAFETY: four elements are writable.
        unsafe { p.cast::<[f32; 4]>().write_unaligned(v) }
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> [f32; 4] {
        // SAFETY: n elements are readable.
        each(|i| if i < n { unsafe { *p.add(i) } } else { 0.0 })
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, v: [f32; 4], n: usize) {
        for (i, &v) in v.iter().enumerate().take(n) {
            // SAFETY: n elements are writable.
            unsafe { *p.add(i) = v }
        }
    }
    #[inline(always)]
    unsafe fn load_f16(_: *const u16) -> [f32; 4] {
        unreachable!("F16 is false")
    }
    #[inline(always)]
    unsafe fn add(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] + b[i])
    }
    #[inline(always)]
    unsafe fn sub(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] - b[i])
    }
    #[inline(always)]
    unsafe fn mul(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] * b[i])
    }
    #[inline(always)]
    unsafe fn div(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] / b[i])
    }
    #[inline(always)]
    unsafe fn fma(a: [f32; 4], b: [f32; 4], c: [f32; 4]) -> [f32; 4] {
        each(|i| a[i] * b[i] + c[i])
    }
    #[inline(always)]
    unsafe fn max(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| if a[i] > b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn min(a: [f32; 4], b: [f32; 4]) -> [f32; 4] {
        each(|i| if a[i] < b[i] { a[i] } else { b[i] })
    }
    #[inline(always)]
    unsafe fn round(a: [f32; 4]) -> [f32; 4] {
        // Adding and taking away 1.5 * 2^23 rounds |x| < 2^22 to the nearest integer.
        each(|i| (a[i] + 12_582_912.0) - 12_582_912.0)
    }
    #[inline(always)]
    unsafe fn pow2(n: [f32; 4]) -> [f32; 4] {
        each(|i| f32::from_bits(((n[i] as i32 + 127) << 23) as u32))
    }
    #[inline(always)]
    unsafe fn sum(v: [f32; 4]) -> f32 {
        (v[0] + v[2]) + (v[1] + v[3])
    }
    #[inline(always)]
    unsafe fn top(v: [f32; 4]) -> f32 {
        v[0].max(v[1]).max(v[2].max(v[3]))
    }
}
