//! The one inner loop of convolution, linear layers and attention: P pixels by NV vectors of output channels in registers.
//!
//! Weights come packed as [block][tap][c_in][NV * LANES] (see `pack.rs`), so they stream; each input value is broadcast once
//! per NV multiply-adds. Zero padding costs nothing: only the first and last pixel of a row can lie outside the picture, and
//! those two have pointers of their own, which point at zeros then.

use super::simd::{Simd, activate, load_upto, store_upto};
use crate::plan::Act;

/// The most pixels of any tile.
pub const MAX_P: usize = 12;
/// The most vectors of any tile.
pub const MAX_NV: usize = 4;
const MAX_TILE: usize = 24 * 16;

/// One tile: `P` neighbouring output pixels, one block of output channels.
#[derive(Clone, Copy)]
pub struct TileArgs {
    /// Start of the input picture.
    pub x: *const f32,
    /// `c_in` zeros.
    pub zeros: *const f32,
    /// The block's packed weights, f32 or f16 bits.
    pub w: *const u8,
    /// The block's bias, padded to whole vectors; null for none.
    pub bias: *const f32,
    /// Added after the activation, laid out like `y`; null for none.
    pub residual: *const f32,
    /// First pixel of the tile, first channel of the block.
    pub y: *mut f32,
    /// Elements from one output pixel to the next.
    pub y_step: usize,
    /// Channels of the block that exist.
    pub channels: usize,
    /// Elements from one input pixel to the next.
    pub x_step: usize,
    /// Channels summed over.
    pub c_in: usize,
    /// Input pixels between neighbouring output pixels.
    pub stride: usize,
    /// Input rows and columns.
    pub h: isize,
    pub w_in: isize,
    /// Input position of tap (0, 0) for the tile's first pixel; may be -1.
    pub iy: isize,
    pub ix: isize,
    pub k: usize,
    pub act: Act,
}

pub type TileFn = unsafe fn(&TileArgs);

/// # Safety
/// The instruction set of `S`; pointers valid for the shape that `args` describes.
#[inline(always)]
pub unsafe fn tile<S: Simd, const NV: usize, const P: usize, const F16: bool>(args: &TileArgs) {
    // SAFETY: the caller's promise; the arithmetic below stays inside the shapes.
    unsafe {
        let a = *args;
        let mut acc = [[S::splat(0.0); NV]; P];
        if !a.bias.is_null() {
            for i in 0..NV {
                let b = S::load(a.bias.add(i * S::LANES));
                for row in &mut acc {
                    row[i] = b;
                }
            }
        }
        let step = a.x_step * a.stride;
        let tap_bytes = a.c_in * NV * S::LANES * if F16 { 2 } else { 4 };
        for ky in 0..a.k {
            let iy = a.iy + ky as isize;
            if iy < 0 || iy >= a.h {
                continue;
            }
            for kx in 0..a.k {
                let ix = a.ix + kx as isize;
                let base = a.x.wrapping_offset((iy * a.w_in + ix) * a.x_step as isize);
                let ix_last = ix + ((P - 1) * a.stride) as isize;
                let first = if ix < 0 || ix >= a.w_in { a.zeros } else { base };
                let last = if ix_last >= a.w_in || ix_last < 0 { a.zeros } else { base.wrapping_add((P - 1) * step) };
                let w = a.w.add((ky * a.k + kx) * tap_bytes);
                accumulate::<S, NV, P, F16>(&mut acc, first, base, last, step, w, a.c_in);
            }
        }
        if a.act == Act::None && a.channels == NV * S::LANES {
            for (p, row) in acc.iter().enumerate() {
                for (i, &v) in row.iter().enumerate() {
                    let at = p * a.y_step + i * S::LANES;
                    let v = if a.residual.is_null() { v } else { S::add(v, S::load(a.residual.add(at))) };
                    S::store(a.y.add(at), v);
                }
            }
            return;
        }
        let mut out = std::mem::MaybeUninit::<[f32; MAX_TILE]>::uninit();
        let out = out.as_mut_ptr().cast::<f32>();
        for (p, row) in acc.iter().enumerate() {
            for (i, &v) in row.iter().enumerate() {
                S::store(out.add((p * NV + i) * S::LANES), v);
            }
        }
        // A loop that stays a loop: 24 unrolled exponentials would only evict the code that matters.
        let vectors = std::hint::black_box(NV);
        for p in 0..P {
            for i in 0..vectors {
                let lanes = a.channels.saturating_sub(i * S::LANES);
                if lanes == 0 {
                    break;
                }
                let at = p * a.y_step + i * S::LANES;
                let mut v = activate::<S>(a.act, S::load(out.add((p * vectors + i) * S::LANES)));
                if !a.residual.is_null() {
                    v = S::add(v, load_upto::<S>(a.residual.add(at), lanes));
                }
                store_upto::<S>(a.y.add(at), v, lanes);
            }
        }
    }
}

#[inline(always)]
unsafe fn accumulate<S: Simd, const NV: usize, const P: usize, const F16: bool>(
    acc: &mut [[S::V; NV]; P],
    first: *const f32,
    base: *const f32,
    last: *const f32,
    step: usize,
    w: *const u8,
    c_in: usize,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let mut w = w;
        for c in 0..c_in {
            let mut wv = [S::splat(0.0); NV];
            for (i, v) in wv.iter_mut().enumerate() {
                *v = if F16 { S::load_f16(w.cast::<u16>().add(i * S::LANES)) } else { S::load(w.cast::<f32>().add(i * S::LANES)) };
            }
            w = w.add(NV * S::LANES * if F16 { 2 } else { 4 });
            for (p, row) in acc.iter_mut().enumerate() {
                let from = if p == 0 {
                    first
                } else if p == P - 1 {
                    last
                } else {
                    base.wrapping_add(p * step)
                };
                let x = S::splat(*from.wrapping_add(c));
                for (sum, &weight) in row.iter_mut().zip(&wv) {
                    *sum = S::fma(x, weight, *sum);
                }
            }
        }
    }
}
