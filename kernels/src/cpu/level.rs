//! Which instruction set, found at run time, and every kernel instantiated for it.
//!
//! A [`Table`] of function pointers is what the rest of the family calls. Only this file enables target features.

use super::rows::{self, RingArgs};
use super::simd::{Scalar, Simd};
use super::tile::{MAX_NV, MAX_P, TileArgs, TileFn};
use crate::plan::Act;

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    Scalar,
    #[cfg(target_arch = "aarch64")]
    Neon,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
}

impl Level {
    /// Those present, slowest first.
    pub fn present() -> Vec<Self> {
        #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), expect(unused_mut))]
        let mut levels = vec![Self::Scalar];
        #[cfg(target_arch = "aarch64")]
        levels.push(Self::Neon);
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && is_x86_feature_detected!("f16c");
            if avx2 {
                levels.push(Self::Avx2);
            }
            if avx2 && is_x86_feature_detected!("avx512f") {
                levels.push(Self::Avx512);
            }
        }
        levels
    }

    /// The fastest present.
    pub fn best() -> Self {
        *Self::present().last().unwrap_or(&Self::Scalar)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Scalar => "scalar",
            #[cfg(target_arch = "aarch64")]
            Self::Neon => "neon",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "avx2",
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "avx512",
        }
    }

    pub fn lanes(self) -> usize {
        self.table().lanes
    }

    /// Weights may be kept as f16.
    pub fn f16(self) -> bool {
        self.table().f16
    }

    pub fn table(self) -> &'static Table {
        match self {
            Self::Scalar => &scalar::TABLE,
            #[cfg(target_arch = "aarch64")]
            Self::Neon => &neon::TABLE,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => &avx2::TABLE,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => &avx512::TABLE,
        }
    }
}

/// Tiles by [vectors - 1][pixels - 1].
pub type Tiles = [[Option<TileFn>; MAX_P]; MAX_NV];

/// The kernels of one level. Calling any of them needs that level's instruction set and valid pointers; see the
/// functions of the same names in `rows.rs` and `tile.rs`.
pub struct Table {
    pub lanes: usize,
    pub f16: bool,
    /// The most pixels that fit the registers beside 1, 2, 3 and 4 vectors of channels.
    pub pixels: [usize; MAX_NV],
    /// Vectors per block that are fastest for convolutions.
    pub conv_nv: usize,
    pub tiles: Tiles,
    pub tiles_f16: Tiles,
    pub channel_sums: unsafe fn(*const f32, *const f32, usize, usize, *mut f32),
    pub scale_rows: unsafe fn(*const f32, *mut f32, usize, usize, *const f32, *const f32, Act),
    pub rms_norm: unsafe fn(*const f32, *const f32, *mut f32, usize, usize),
    pub softmax: unsafe fn(*mut f32, usize, f32),
    pub ring_attention: unsafe fn(&RingArgs),
    pub axpby: unsafe fn(f32, *const f32, f32, *const f32, *mut f32, usize, Act),
    pub gru_cell: unsafe fn(*const f32, *const f32, *mut f32, usize),
    pub distances: unsafe fn(*const f32, *const f32, usize, usize, *mut f32),
    pub copy_rows: unsafe fn(*const f32, usize, *mut f32, usize, usize, usize),
    pub gaussians: unsafe fn(*mut f32, usize, u32, u32, u32),
    pub peak: unsafe fn(u64) -> f32,
}

macro_rules! level {
    ($name:ident, $simd:ty, pixels: [$($nv:literal: $max:literal [$($p:literal)*]),*], conv_nv: $conv_nv:literal, f16: $f16:literal $(, $feature:literal)?) => {
        mod $name {
            use super::*;
            type S = $simd;

            // SAFETY (all functions): each forwards its caller's promise, and the attribute enables what `S` needs.
            $(#[target_feature(enable = $feature)])?
            unsafe fn tile<const NV: usize, const P: usize, const F16: bool>(a: &TileArgs) {
                // SAFETY: as above.
                unsafe { super::super::tile::tile::<S, NV, P, F16>(a) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn channel_sums(x: *const f32, first: *const f32, rows: usize, c: usize, sums: *mut f32) {
                // SAFETY: as above.
                unsafe { rows::channel_sums::<S>(x, first, rows, c, sums) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn scale_rows(x: *const f32, y: *mut f32, rows: usize, c: usize, mul: *const f32, add: *const f32, act: Act) {
                // SAFETY: as above.
                unsafe { rows::scale_rows::<S>(x, y, rows, c, mul, add, act) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn rms_norm(x: *const f32, gain: *const f32, y: *mut f32, m: usize, d: usize) {
                // SAFETY: as above.
                unsafe { rows::rms_norm::<S>(x, gain, y, m, d) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn softmax(x: *mut f32, n: usize, scale: f32) {
                // SAFETY: as above.
                unsafe { rows::softmax::<S>(x, n, scale) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn ring_attention(a: &RingArgs) {
                // SAFETY: as above.
                unsafe { rows::ring_attention::<S>(a) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn axpby(a: f32, x: *const f32, b: f32, z: *const f32, y: *mut f32, n: usize, act: Act) {
                // SAFETY: as above.
                unsafe { rows::axpby::<S>(a, x, b, z, y, n, act) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn gru_cell(gates_x: *const f32, gates_h: *const f32, h: *mut f32, n: usize) {
                // SAFETY: as above.
                unsafe { rows::gru_cell::<S>(gates_x, gates_h, h, n) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn distances(x: *const f32, codes: *const f32, d: usize, vectors: usize, out: *mut f32) {
                // SAFETY: as above.
                unsafe { rows::distances::<S>(x, codes, d, vectors, out) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn copy_rows(x: *const f32, x_step: usize, y: *mut f32, y_step: usize, rows: usize, len: usize) {
                // SAFETY: as above.
                unsafe { rows::copy_rows::<S>(x, x_step, y, y_step, rows, len) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn gaussians(y: *mut f32, n: usize, seed: u32, step: u32, first: u32) {
                // SAFETY: as above.
                unsafe { rows::gaussians(y, n, seed, step, first) }
            }
            $(#[target_feature(enable = $feature)])?
            unsafe fn peak(rounds: u64) -> f32 {
                // SAFETY: as above.
                unsafe { super::peak::<S>(rounds) }
            }

            const fn tiles<const F16: bool>() -> Tiles {
                let mut t: Tiles = [[None; MAX_P]; MAX_NV];
                $($(t[$nv - 1][$p - 1] = Some(tile::<$nv, $p, F16> as TileFn);)*)*
                t
            }

            pub static TABLE: Table = Table {
                lanes: <S as Simd>::LANES,
                f16: <S as Simd>::F16,
                pixels: [$($max),*],
                conv_nv: $conv_nv,
                tiles: tiles::<false>(),
                tiles_f16: tiles::<$f16>(),
                channel_sums,
                scale_rows,
                rms_norm,
                softmax,
                ring_attention,
                axpby,
                gru_cell,
                distances,
                copy_rows,
                gaussians,
                peak,
            };
        }
    };
}

// Registers: 16 for SSE2 and AVX2, 32 for AVX-512 and NEON; a tile holds pixels * vectors sums, its weights and one broadcast.
level!(scalar, Scalar, pixels: [1: 6 [1 2 3 4 5 6], 2: 4 [1 2 3 4], 3: 3 [1 2 3], 4: 2 [1 2]], conv_nv: 2, f16: false);
#[cfg(target_arch = "aarch64")]
level!(neon, crate::cpu::arm::Neon, pixels: [1: 12 [1 2 3 4 5 6 7 8 9 10 11 12], 2: 12 [1 2 3 4 5 6 7 8 9 10 11 12], 3: 8 [1 2 3 4 5 6 7 8], 4: 6 [1 2 3 4 5 6]], conv_nv: 4, f16: false, "neon");
#[cfg(target_arch = "x86_64")]
level!(avx2, crate::cpu::x86::Avx2, pixels: [1: 8 [1 2 3 4 5 6 7 8], 2: 6 [1 2 3 4 5 6], 3: 4 [1 2 3 4], 4: 2 [1 2]], conv_nv: 2, f16: true, "avx2,fma,f16c");
#[cfg(target_arch = "x86_64")]
level!(avx512, crate::cpu::x86::Avx512, pixels: [1: 12 [1 2 3 4 5 6 7 8 9 10 11 12], 2: 12 [1 2 3 4 5 6 7 8 9 10 11 12], 3: 8 [1 2 3 4 5 6 7 8], 4: 6 [1 2 3 4 5 6]], conv_nv: 4, f16: true, "avx512f,avx2,fma,f16c");

/// The machine's multiply-add ceiling: 12 independent chains, `24 * LANES * rounds` floating point operations.
#[inline(always)]
unsafe fn peak<S: Simd>(rounds: u64) -> f32 {
    // SAFETY: the caller has the instruction set.
    unsafe {
        let (a, b) = (S::splat(std::hint::black_box(0.999)), S::splat(std::hint::black_box(0.001)));
        let mut acc = [S::splat(1.0); 12];
        for _ in 0..rounds {
            for v in &mut acc {
                *v = S::fma(*v, a, b);
            }
        }
        acc.into_iter().map(|v| S::sum(v)).sum()
    }
}
