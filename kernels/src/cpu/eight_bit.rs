//! Convolution in eight bits, for layers that a plan says bear it ([`crate::plan::Plan::eight_bit`]) on processors with VNNI: inputs as
//! bytes over the range that they have this time, weights as signed bytes with a scale for each output channel, sums exact in 32 bits.
//!
//! The loop is that of `tile.rs` with four channels for one: an instruction multiplies and adds four bytes a lane.

use std::arch::x86_64::*;

use super::gemm::split;
use super::level::Level;
use super::pack::Packed;
use super::pool::Pool;
use super::tile::{MAX_NV, MAX_P};
use crate::plan::{Act, ConvShape};

/// Parts that a map is cut into when its range is taken and its bytes are made.
const CUTS: usize = 8;
/// Below this many values that is done on the caller's thread.
const PARALLEL: usize = 32 * 1024;

/// The kernels for one set of instructions. Calling any of them needs those, and valid pointers.
pub struct Family {
    lanes: usize,
    /// Pixels that fit the registers beside 1 to 4 vectors of channels.
    pixels: [usize; MAX_NV],
    tiles: [[Option<TileFn>; MAX_P]; MAX_NV],
    range: unsafe fn(*const f32, usize) -> [f32; 2],
    quantise: unsafe fn(*const f32, *mut u8, usize, f32, f32),
}

impl Family {
    /// What this processor has beside a level.
    pub fn beside(level: Level) -> Option<&'static Family> {
        match level {
            Level::Avx512 if is_x86_feature_detected!("avx512vnni") => Some(&avx512::FAMILY),
            Level::Avx2 if is_x86_feature_detected!("avxvnni") => Some(&avx2::FAMILY),
            _ => None,
        }
    }

    /// Whether a layer of this shape can be run so.
    pub fn fits(&self, shape: ConvShape, act: Act) -> bool {
        shape.k == 3 && act == Act::None && shape.c_in.is_multiple_of(4) && shape.c_out.is_multiple_of(self.lanes) && shape.x_len().is_multiple_of(self.lanes)
    }
}

/// Bytes of scratch that a layer needs: its input, and a pixel of zeros; then two floats a channel.
pub fn scratch(shape: ConvShape) -> usize {
    (shape.x_len() + shape.c_in).next_multiple_of(64) + 8 * shape.c_out
}

/// A layer with all its addresses.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    pub family: &'static Family,
    pub packed: &'a Packed,
    pub shape: ConvShape,
    pub x: *const f32,
    /// Null for none.
    pub residual: *const f32,
    pub y: *mut f32,
    /// As large as [`scratch`] says, at a 64-byte boundary.
    pub scratch: *mut u8,
}

// SAFETY: the pointers are the arena's; items of one job write apart from each other.
unsafe impl Sync for Layer<'_> {}

impl Layer<'_> {
    /// # Safety
    /// The family's instructions, a shape that fits it; `x`, `residual`, `y` and `scratch` valid for the shape, the layer packed in eight bits.
    pub unsafe fn run(&self, pool: &Pool) {
        let ConvShape { c_in, c_out, .. } = self.shape;
        let (len, lanes) = (self.shape.x_len(), self.family.lanes);
        let mut ranges = [[0.0f32; 2]; CUTS];
        let places = Places(ranges.as_mut_ptr());
        let part = |i: usize| (split(len / lanes, CUTS, i) * lanes, split(len / lanes, CUTS, i + 1) * lanes);
        let each = |f: &(dyn Fn(usize, usize) + Sync)| if len < PARALLEL { (0..CUTS).for_each(|i| f(0, i)) } else { pool.run(CUTS, f) };
        each(&|_, i| {
            let (from, to) = part(i);
            // SAFETY: the caller's promise; every item has a place of its own.
            unsafe { *places.at(i) = (self.family.range)(self.x.add(from), to - from) };
        });
        // Zero is among the values, so that it is a byte exactly: padding adds nothing.
        let [low, high] = ranges.iter().fold([0.0f32; 2], |[a, b], [low, high]| [a.min(*low), b.max(*high)]);
        let scale = ((high - low) / 255.0).clamp(1e-12, 1e30);
        let zero = (-low / scale).round().clamp(0.0, 255.0);
        let scales = self.packed.eight_bit();
        let channels = self.channels();
        // SAFETY: the scratch is as large as that.
        unsafe {
            self.zeros().write_bytes(zero as u8, c_in);
            for c in 0..c_out {
                let s = scale * scales.scale[c];
                *channels.add(c) = s;
                *channels.add(c_out + c) = self.packed.bias_of(c) - s * zero * scales.sum[c];
            }
        }
        let to_bytes = Places(self.scratch);
        each(&|_, i| {
            let (from, to) = part(i);
            // SAFETY: as above.
            unsafe { (self.family.quantise)(self.x.add(from), to_bytes.at(from), to - from, 1.0 / scale, zero) };
        });
        let blocks = self.packed.blocks.len();
        let rows = self.shape.h_out();
        let cuts = (pool.threads() * 4).div_ceil(blocks).min(rows);
        pool.run(blocks * cuts, &|_, item| {
            let (block, cut) = (item / cuts, item % cuts);
            // SAFETY: the caller's promise; items cover disjoint parts of y.
            unsafe { self.part(block, split(rows, cuts, cut), split(rows, cuts, cut + 1)) };
        });
    }

    /// Behind the input's bytes: a pixel of padding.
    fn zeros(&self) -> *mut u8 {
        self.scratch.wrapping_add(self.shape.x_len())
    }

    /// Behind that: what sums are multiplied with, by channel, then what is added.
    fn channels(&self) -> *mut f32 {
        self.scratch.wrapping_add((self.shape.x_len() + self.shape.c_in).next_multiple_of(64)).cast()
    }

    /// Output rows `r0..r1`, channels of one block.
    unsafe fn part(&self, block: usize, r0: usize, r1: usize) {
        let channels = self.channels();
        let ConvShape { h, w, c_in, c_out, k, stride } = self.shape;
        let block = &self.packed.blocks[block];
        let wide = self.shape.w_out();
        let cuts = wide.div_ceil(self.family.pixels[block.nv - 1]);
        let pad = (k / 2) as isize;
        for oy in r0..r1 {
            for cut in 0..cuts {
                let (ox, end) = (split(wide, cuts, cut), split(wide, cuts, cut + 1));
                let at = (oy * wide + ox) * c_out + block.start;
                let args = Args {
                    x: self.scratch,
                    zeros: self.zeros(),
                    w: self.packed.weights(block),
                    scale: channels.wrapping_add(block.start),
                    offset: channels.wrapping_add(c_out + block.start),
                    residual: if self.residual.is_null() { self.residual } else { self.residual.wrapping_add(at) },
                    y: self.y.wrapping_add(at),
                    y_step: c_out,
                    c_in,
                    stride,
                    h: h as isize,
                    w_in: w as isize,
                    iy: (oy * stride) as isize - pad,
                    ix: (ox * stride) as isize - pad,
                    k,
                };
                if let Some(tile) = self.family.tiles[block.nv - 1][end - ox - 1] {
                    // SAFETY: the caller's promise.
                    unsafe { tile(&args) };
                }
            }
        }
    }
}

/// Where items of one job write, each in its own place.
#[derive(Clone, Copy)]
struct Places<T>(*mut T);
// SAFETY: see above.
unsafe impl<T> Sync for Places<T> {}

impl<T> Places<T> {
    fn at(&self, i: usize) -> *mut T {
        self.0.wrapping_add(i)
    }
}

/// One tile: neighbouring output pixels, one block of output channels. As `TileArgs`, in bytes.
struct Args {
    x: *const u8,
    zeros: *const u8,
    w: *const u8,
    /// What a sum is multiplied with, and what is added then, by channel.
    scale: *const f32,
    offset: *const f32,
    residual: *const f32,
    y: *mut f32,
    y_step: usize,
    c_in: usize,
    stride: usize,
    h: isize,
    w_in: isize,
    iy: isize,
    ix: isize,
    k: usize,
}

type TileFn = unsafe fn(&Args);

/// What a set of instructions must give.
///
/// # Safety
/// Every function: the processor has the instructions, pointers are valid for a vector. No alignment is needed.
trait Vnni {
    /// Sums, or four bytes a lane.
    type V: Copy;
    const LANES: usize;
    unsafe fn zero() -> Self::V;
    unsafe fn load(p: *const u8) -> Self::V;
    /// The same four bytes in every lane.
    unsafe fn splat(four: i32) -> Self::V;
    /// `sum` and the products of four unsigned with four signed bytes.
    unsafe fn dot(sum: Self::V, unsigned: Self::V, signed: Self::V) -> Self::V;
    /// `y = sum * scale + offset`, and `residual` unless it is null.
    unsafe fn finish(sum: Self::V, scale: *const f32, offset: *const f32, residual: *const f32, y: *mut f32);
    /// The least and the greatest of zero and `len` values, a multiple of a vector.
    unsafe fn range(x: *const f32, len: usize) -> [f32; 2];
    /// `round(x * inverse) + zero` as bytes, `len` of them, a multiple of a vector.
    unsafe fn quantise(x: *const f32, to: *mut u8, len: usize, inverse: f32, zero: f32);
}

#[inline(always)]
unsafe fn tile<S: Vnni, const NV: usize, const P: usize>(a: &Args) {
    // SAFETY: the caller's promise; the arithmetic below stays inside the shapes.
    unsafe {
        let mut acc = [[S::zero(); NV]; P];
        let tap = a.c_in * NV * S::LANES;
        for ky in 0..a.k {
            let iy = a.iy + ky as isize;
            let inside = iy >= 0 && iy < a.h;
            for kx in 0..a.k {
                let ix = a.ix + kx as isize;
                let last_x = ix + ((P - 1) * a.stride) as isize;
                // Padding is not skipped: zero is a byte like others, and is taken off all sums alike.
                let (base, step) = if inside { (a.x.wrapping_offset((iy * a.w_in + ix) * a.c_in as isize), a.c_in * a.stride) } else { (a.zeros, 0) };
                let first = if ix < 0 || ix >= a.w_in { a.zeros } else { base };
                let last = if last_x < 0 || last_x >= a.w_in { a.zeros } else { base.wrapping_add((P - 1) * step) };
                let mut w = a.w.add((ky * a.k + kx) * tap);
                for c in (0..a.c_in).step_by(4) {
                    let mut weights = [S::zero(); NV];
                    for (i, v) in weights.iter_mut().enumerate() {
                        *v = S::load(w.add(i * 4 * S::LANES));
                    }
                    w = w.add(NV * 4 * S::LANES);
                    for (p, row) in acc.iter_mut().enumerate() {
                        let from = if p == 0 {
                            first
                        } else if p == P - 1 {
                            last
                        } else {
                            base.wrapping_add(p * step)
                        };
                        let x = S::splat(from.wrapping_add(c).cast::<i32>().read_unaligned());
                        for (sum, weight) in row.iter_mut().zip(&weights) {
                            *sum = S::dot(*sum, x, *weight);
                        }
                    }
                }
            }
        }
        for i in 0..NV {
            for (p, row) in acc.iter().enumerate() {
                let at = p * a.y_step + i * S::LANES;
                let residual = if a.residual.is_null() { a.residual } else { a.residual.add(at) };
                S::finish(row[i], a.scale.add(i * S::LANES), a.offset.add(i * S::LANES), residual, a.y.add(at));
            }
        }
    }
}

macro_rules! family {
    ($name:ident, $simd:ty, $feature:literal, pixels: [$($nv:literal: $max:literal [$($p:literal)*]),*]) => {
        mod $name {
            use super::*;

            // SAFETY (all functions): each forwards its caller's promise, and the attribute enables what the instructions need.
            #[target_feature(enable = $feature)]
            unsafe fn tile<const NV: usize, const P: usize>(a: &Args) {
                // SAFETY: as above.
                unsafe { super::tile::<$simd, NV, P>(a) }
            }
            #[target_feature(enable = $feature)]
            unsafe fn range(x: *const f32, len: usize) -> [f32; 2] {
                // SAFETY: as above.
                unsafe { <$simd>::range(x, len) }
            }
            #[target_feature(enable = $feature)]
            unsafe fn quantise(x: *const f32, to: *mut u8, len: usize, inverse: f32, zero: f32) {
                // SAFETY: as above.
                unsafe { <$simd>::quantise(x, to, len, inverse, zero) }
            }

            const fn tiles() -> [[Option<TileFn>; MAX_P]; MAX_NV] {
                let mut t: [[Option<TileFn>; MAX_P]; MAX_NV] = [[None; MAX_P]; MAX_NV];
                $($(t[$nv - 1][$p - 1] = Some(tile::<$nv, $p> as TileFn);)*)*
                t
            }

            pub static FAMILY: Family = Family { lanes: <$simd>::LANES, pixels: [$($max),*], tiles: tiles(), range, quantise };
        }
    };
}

family!(avx512, Avx512Vnni, "avx512f,avx512vnni", pixels: [1: 12 [1 2 3 4 5 6 7 8 9 10 11 12], 2: 12 [1 2 3 4 5 6 7 8 9 10 11 12], 3: 8 [1 2 3 4 5 6 7 8], 4: 6 [1 2 3 4 5 6]]);
family!(avx2, AvxVnni, "avx2,fma,avxvnni", pixels: [1: 8 [1 2 3 4 5 6 7 8], 2: 6 [1 2 3 4 5 6], 3: 4 [1 2 3 4], 4: 2 [1 2]]);
// The same vectors by another instruction, so that those of 256 bits are tested on processors that have only this one.
#[cfg(test)]
family!(avx512_short, Avx512VlVnni, "avx2,fma,avx512f,avx512vl,avx512vnni", pixels: [1: 8 [1 2 3 4 5 6 7 8], 2: 6 [1 2 3 4 5 6], 3: 4 [1 2 3 4], 4: 2 [1 2]]);

struct Avx512Vnni;

// SAFETY (all of this block): callers of the trait promise the instructions and valid pointers.
#[expect(clippy::undocumented_unsafe_blocks, reason = "one contract for all, stated above")]
impl Vnni for Avx512Vnni {
    type V = __m512i;
    const LANES: usize = 16;
    #[inline(always)]
    unsafe fn zero() -> __m512i {
        unsafe { _mm512_setzero_si512() }
    }
    #[inline(always)]
    unsafe fn load(p: *const u8) -> __m512i {
        unsafe { _mm512_loadu_si512(p.cast()) }
    }
    #[inline(always)]
    unsafe fn splat(four: i32) -> __m512i {
        unsafe { _mm512_set1_epi32(four) }
    }
    #[inline(always)]
    unsafe fn dot(sum: __m512i, unsigned: __m512i, signed: __m512i) -> __m512i {
        unsafe { _mm512_dpbusd_epi32(sum, unsigned, signed) }
    }
    #[inline(always)]
    unsafe fn finish(sum: __m512i, scale: *const f32, offset: *const f32, residual: *const f32, y: *mut f32) {
        unsafe {
            let mut v = _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(scale), _mm512_loadu_ps(offset));
            if !residual.is_null() {
                v = _mm512_add_ps(v, _mm512_loadu_ps(residual));
            }
            _mm512_storeu_ps(y, v);
        }
    }
    #[inline(always)]
    unsafe fn range(x: *const f32, len: usize) -> [f32; 2] {
        unsafe {
            let (mut low, mut high) = (_mm512_setzero_ps(), _mm512_setzero_ps());
            for i in (0..len).step_by(16) {
                let v = _mm512_loadu_ps(x.add(i));
                (low, high) = (_mm512_min_ps(v, low), _mm512_max_ps(v, high));
            }
            [_mm512_reduce_min_ps(low), _mm512_reduce_max_ps(high)]
        }
    }
    #[inline(always)]
    unsafe fn quantise(x: *const f32, to: *mut u8, len: usize, inverse: f32, zero: f32) {
        unsafe {
            let (inverse, zero, none) = (_mm512_set1_ps(inverse), _mm512_set1_epi32(zero as i32), _mm512_setzero_si512());
            for i in (0..len).step_by(16) {
                let v = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_loadu_ps(x.add(i)), inverse));
                let v = _mm512_max_epi32(_mm512_add_epi32(v, zero), none);
                _mm_storeu_si128(to.add(i).cast(), _mm512_cvtusepi32_epi8(v));
            }
        }
    }
}

macro_rules! of_256_bits {
    ($name:ident, $dot:ident $(, $cfg:meta)?) => {
        $(#[$cfg])?
        struct $name;

        // SAFETY (all of this block): callers of the trait promise the instructions and valid pointers.
        $(#[$cfg])?
        #[expect(clippy::undocumented_unsafe_blocks, reason = "one contract for all, stated above")]
        impl Vnni for $name {
            type V = __m256i;
            const LANES: usize = 8;
            #[inline(always)]
            unsafe fn zero() -> __m256i {
                unsafe { _mm256_setzero_si256() }
            }
            #[inline(always)]
            unsafe fn load(p: *const u8) -> __m256i {
                unsafe { _mm256_loadu_si256(p.cast()) }
            }
            #[inline(always)]
            unsafe fn splat(four: i32) -> __m256i {
                unsafe { _mm256_set1_epi32(four) }
            }
            #[inline(always)]
            unsafe fn dot(sum: __m256i, unsigned: __m256i, signed: __m256i) -> __m256i {
                unsafe { $dot(sum, unsigned, signed) }
            }
            #[inline(always)]
            unsafe fn finish(sum: __m256i, scale: *const f32, offset: *const f32, residual: *const f32, y: *mut f32) {
                unsafe {
                    let mut v = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sum), _mm256_loadu_ps(scale), _mm256_loadu_ps(offset));
                    if !residual.is_null() {
                        v = _mm256_add_ps(v, _mm256_loadu_ps(residual));
                    }
                    _mm256_storeu_ps(y, v);
                }
            }
            #[inline(always)]
            unsafe fn range(x: *const f32, len: usize) -> [f32; 2] {
                unsafe {
                    let (mut low, mut high) = (_mm256_setzero_ps(), _mm256_setzero_ps());
                    for i in (0..len).step_by(8) {
                        let v = _mm256_loadu_ps(x.add(i));
                        (low, high) = (_mm256_min_ps(v, low), _mm256_max_ps(v, high));
                    }
                    let (mut lows, mut highs) = ([0.0; 8], [0.0; 8]);
                    _mm256_storeu_ps(lows.as_mut_ptr(), low);
                    _mm256_storeu_ps(highs.as_mut_ptr(), high);
                    [lows.into_iter().fold(0.0, f32::min), highs.into_iter().fold(0.0, f32::max)]
                }
            }
            #[inline(always)]
            unsafe fn quantise(x: *const f32, to: *mut u8, len: usize, inverse: f32, zero: f32) {
                unsafe {
                    let (inverse, zero) = (_mm256_set1_ps(inverse), _mm256_set1_epi32(zero as i32));
                    for i in (0..len).step_by(8) {
                        let v = _mm256_add_epi32(_mm256_cvtps_epi32(_mm256_mul_ps(_mm256_loadu_ps(x.add(i)), inverse)), zero);
                        // Both packs saturate.
                        let words = _mm_packus_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256::<1>(v));
                        _mm_storel_epi64(to.add(i).cast(), _mm_packus_epi16(words, words));
                    }
                }
            }
        }
    };
}

of_256_bits!(AvxVnni, _mm256_dpbusd_avx_epi32);
of_256_bits!(Avx512VlVnni, _mm256_dpbusd_epi32, cfg(test));

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::pack::{self, Form, PackedLayers};
    use crate::noise;

    /// A convolution in f64 of inputs and weights that were rounded as the layer rounds them.
    fn rounded(shape: ConvShape, x: &[f32], w: &[f32], b: &[f32], residual: &[f32]) -> Vec<f64> {
        let (low, high) = x.iter().fold((0.0f32, 0.0f32), |(l, h), v| (l.min(*v), h.max(*v)));
        let scale = (high - low) / 255.0;
        let zero = (-low / scale).round();
        let x: Vec<f64> = x.iter().map(|v| f64::from(((v * (1.0 / scale)).round_ties_even() + zero).clamp(0.0, 255.0) - zero) * f64::from(scale)).collect();
        let taps = shape.k * shape.k;
        let mut out = Vec::new();
        for (oy, ox) in (0..shape.h_out()).flat_map(|y| (0..shape.w_out()).map(move |x| (y, x))) {
            for co in 0..shape.c_out {
                let row = &w[co * shape.c_in * taps..][..shape.c_in * taps];
                let s = row.iter().fold(0.0f32, |m, v| m.max(v.abs())) / 127.0;
                let mut sum = f64::from(b[co]) + f64::from(residual[out.len()]);
                for tap in 0..taps {
                    let (iy, ix) = ((oy * shape.stride + tap / shape.k).wrapping_sub(shape.k / 2), (ox * shape.stride + tap % shape.k).wrapping_sub(shape.k / 2));
                    if iy < shape.h && ix < shape.w {
                        sum += (0..shape.c_in).map(|ci| x[(iy * shape.w + ix) * shape.c_in + ci] * f64::from((row[ci * taps + tap] / s).round() * s)).sum::<f64>();
                    }
                }
                out.push(sum);
            }
        }
        out
    }

    #[test]
    fn sums_are_those_of_the_rounded_values_at_every_edge() {
        let vnni = is_x86_feature_detected!("avx512vnni");
        let mut families: Vec<(&'static Family, Level)> = Level::present().into_iter().filter_map(|l| Some((Family::beside(l)?, l))).collect();
        families.extend((vnni && is_x86_feature_detected!("avx512vl")).then_some((&avx512_short::FAMILY, Level::Avx2)));
        if families.is_empty() {
            return eprintln!("skipped: this processor has no VNNI");
        }
        for (family, level) in families {
            sums_of(family, level);
        }
    }

    fn sums_of(family: &'static Family, level: Level) {
        let pool = Pool::new(2);
        let values = |len: usize, seed: u32, shift: f64| -> Vec<f32> { (0..len as u32).map(|i| (noise::gaussian(seed, 0, i) + shift) as f32).collect() };
        // Every tile: channels of 1 to 4 vectors and more, widths that leave tiles of every length; a range that does not hold zero.
        for (n, (c_in, c_out, h, w, stride, shift)) in [(48, 48, 5, 8, 1, 0.0), (16, 16, 3, 13, 1, 0.7), (32, 96, 7, 9, 2, -0.5), (160, 160, 4, 4, 1, 0.2), (4, 64, 6, 28, 1, 9.0), (16, 32, 2, 24, 2, -9.0), (16, 16, 16, 1, 1, 0.0)]
            .into_iter()
            .enumerate()
        {
            let shape = ConvShape { h, w, c_in, c_out, k: 3, stride };
            assert!(family.fits(shape, Act::None));
            let (x, w, b) = (values(shape.x_len(), 1, shift), values(c_out * c_in * 9, 2, 0.0), values(c_out, 3, 0.0));
            let (r, mut y) = (values(shape.y_len(), 4, 0.0), vec![f32::NAN; shape.y_len()]);
            let max_nv = 1 + n % MAX_NV;
            let packed = PackedLayers::default().get(pack::Layer { level, weight: "w".into(), bias: Some("b".into()), n: c_out, c_in, taps: 9, max_nv, form: Form::EightBit }, &w, Some(&b));
            let mut room = pack::lines(scratch(shape).div_ceil(4));
            let layer = Layer { family, packed: &packed, shape, x: x.as_ptr(), residual: r.as_ptr(), y: y.as_mut_ptr(), scratch: room.as_mut_ptr().cast() };
            // SAFETY: the family was found here; everything is as large as the shape says.
            unsafe { layer.run(&pool) };
            let expected = rounded(shape, &x, &w, &b, &r);
            let most = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            for (i, (a, e)) in y.iter().zip(&expected).enumerate() {
                assert!((f64::from(*a) - e).abs() < 2e-3 * most, "case {n}, value {i}: {a}, {e} expected");
            }
        }
    }
}
