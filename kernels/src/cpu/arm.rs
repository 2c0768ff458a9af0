//! The NEON form of [`Simd`], part of every aarch64. This file holds no kernels.
// NEON is part of every aarch64, so which intrinsics need `unsafe` differs between compiler versions.
#![allow(unused_unsafe, reason = "see above")]

use std::arch::aarch64::*;

use super::simd::Simd;

#[derive(Clone, Copy)]
pub struct Neon;

// SAFETY (all of this block): aarch64 always has NEON; callers of the trait promise valid pointers.
#[expect(clippy::undocumented_unsafe_blocks, reason = "one contract for all, stated above")]
impl Simd for Neon {
    type V = float32x4_t;
    const LANES: usize = 4;
    const F16: bool = false;
    #[inline(always)]
    unsafe fn splat(v: f32) -> float32x4_t {
        unsafe { vdupq_n_f32(v) }
    }
    #[inline(always)]
    unsafe fn load(p: *const f32) -> float32x4_t {
        unsafe { vld1q_f32(p) }
    }
    #[inline(always)]
    unsafe fn store(p: *mut f32, v: float32x4_t) {
        unsafe { vst1q_f32(p, v) }
    }
    #[inline(always)]
    unsafe fn load_n(p: *const f32, n: usize) -> float32x4_t {
        let mut t = [0.0f32; 4];
        for (i, t) in t.iter_mut().enumerate().take(n) {
            *t = unsafe { *p.add(i) };
        }
        unsafe { vld1q_f32(t.as_ptr()) }
    }
    #[inline(always)]
    unsafe fn store_n(p: *mut f32, v: float32x4_t, n: usize) {
        let mut t = [0.0f32; 4];
        unsafe { vst1q_f32(t.as_mut_ptr(), v) }
        for (i, &t) in t.iter().enumerate().take(n) {
            unsafe { *p.add(i) = t }
        }
    }
    #[inline(always)]
    unsafe fn load_f16(_: *const u16) -> float32x4_t {
        unreachable!("F16 is false")
    }
    #[inline(always)]
    unsafe fn add(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vaddq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn sub(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vsubq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn mul(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmulq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn div(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vdivq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn fma(a: float32x4_t, b: float32x4_t, c: float32x4_t) -> float32x4_t {
        unsafe { vfmaq_f32(c, a, b) }
    }
    #[inline(always)]
    unsafe fn max(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vmaxq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn min(a: float32x4_t, b: float32x4_t) -> float32x4_t {
        unsafe { vminq_f32(a, b) }
    }
    #[inline(always)]
    unsafe fn round(a: float32x4_t) -> float32x4_t {
        unsafe { vrndnq_f32(a) }
    }
    #[inline(always)]
    unsafe fn pow2(n: float32x4_t) -> float32x4_t {
        unsafe { vreinterpretq_f32_s32(vshlq_n_s32::<23>(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)))) }
    }
    #[inline(always)]
    unsafe fn sum(v: float32x4_t) -> f32 {
        unsafe { vaddvq_f32(v) }
    }
    #[inline(always)]
    unsafe fn top(v: float32x4_t) -> f32 {
        unsafe { vmaxvq_f32(v) }
    }
}
