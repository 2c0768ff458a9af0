//! Convolutions and linear layers in bf16 on Intel's tile unit (AMX), for plans that bear it ([`crate::plan::Plan::sixteen_bit`]): inputs and
//! weights rounded to bf16, sums in f32.
//!
//! A layer's input is laid out anew in bf16, a column of zeros before every row of pixels and a row of zeros above and below. The columns left
//! and right of a pixel then lie beside it, and the whole picture is one long line: 16 neighbours of that line, from one tap row on, are a tile
//! as it stands (the stride is a pixel), 32 values of `k * c_in` at a time. What falls on a column of zeros is computed and not kept.
//!
//! Instructions are written as text, for Rust has no stable names for them.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::OnceLock;

use super::gemm::split;
use super::level::Level;
use super::pack::Packed;
use super::pool::Pool;
use super::simd::{Simd, activate, load_upto, store_upto};
use super::x86::Avx512;
use crate::plan::{Act, ConvShape};

/// Positions and channels of a tile of sums.
const TILE: usize = 16;
/// Tiles of positions that are summed together.
const TALL: usize = 2;
/// Values of the sum that one tile of inputs holds.
pub const DEPTH: usize = 32;
/// Bytes of a tile.
pub const TILE_BYTES: usize = 1024;
/// Tiles of channels of a block, at most.
const WIDE: usize = 3;
/// Below this many values an input is laid out on the caller's thread.
const PARALLEL: usize = 32 * 1024;

/// Whether this processor has the tile unit and the system lets this process use it.
pub fn present(level: Level) -> bool {
    static PRESENT: OnceLock<bool> = OnceLock::new();
    level == Level::Avx512 && *PRESENT.get_or_init(|| has_tiles() && permitted())
}

fn has_tiles() -> bool {
    let edx = __cpuid_count(7, 0).edx;
    // Bits 22 and 24: AMX-BF16, AMX-TILE.
    is_x86_feature_detected!("avx512bf16") && edx & (1 << 22) != 0 && edx & (1 << 24) != 0
}

#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
    const XTILEDATA: libc::c_long = 18;
    // SAFETY: takes two numbers; a refusal is an error code.
    unsafe { libc::syscall(libc::SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, XTILEDATA) == 0 }
}

#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}

/// Whether a layer of this shape gains: fewer positions than a tile's leave it empty.
pub fn fits(shape: ConvShape) -> bool {
    shape.h_out() * shape.w_out() >= TILE
}

/// Vectors of 16 channels that a block should have, at most.
pub fn max_nv(c_out: usize) -> usize {
    if c_out.div_ceil(TILE).is_multiple_of(2) { 2 } else { WIDE }
}

/// Tiles that the values under one row of taps fill.
pub fn chunks(shape: ConvShape) -> usize {
    (shape.k * shape.c_in).div_ceil(DEPTH)
}

/// bf16 elements of scratch that a layer's input needs.
pub fn scratch(shape: ConvShape) -> usize {
    let plane = Plane::of(shape);
    (plane.pixels + plane.slack) * shape.c_in + DEPTH
}

/// Where the input lies in scratch, in pixels of `c_in` values.
#[derive(Clone, Copy)]
struct Plane {
    /// From one row to the next.
    row: usize,
    /// Of pixel (0, 0).
    first: usize,
    pixels: usize,
    /// What tiles read beyond.
    slack: usize,
    /// Lines of outputs whose inputs lie equally far apart, and their length.
    lines: usize,
    len: usize,
    /// Pixels from one line to the next.
    line: usize,
    /// Positions of a line that belong to one row of outputs, columns of zeros among them.
    per_row: usize,
}

impl Plane {
    fn of(ConvShape { h, w, k, stride, .. }: ConvShape) -> Self {
        let pad = k / 2;
        let row = w + pad;
        let (lines, len, per_row) = if stride == 1 { (1, h * row, row) } else { (h.div_ceil(stride), w.div_ceil(stride), w.div_ceil(stride)) };
        let pixels = (h + 2 * pad) * row + pad;
        Plane { row, first: pad * row + pad, pixels, slack: TALL * TILE * stride + 2, lines, len, line: stride * row, per_row }
    }
}

/// Whether two layers of the same input find it in scratch as the other laid it out.
pub fn laid_alike(a: ConvShape, b: ConvShape) -> bool {
    (a.h, a.w, a.c_in, a.k) == (b.h, b.w, b.c_in, b.k)
}

/// An input on its way into scratch. Rows are those of the picture, or, where nothing is padded, pixels.
#[derive(Clone, Copy)]
pub struct Input {
    x: *const f32,
    scratch: *mut u16,
    plane: Plane,
    rows: usize,
    pad: usize,
    /// Pixels of a row, values of a pixel.
    wide: usize,
    c: usize,
}

// SAFETY: the pointers are the arena's; items of one job write apart from each other.
unsafe impl Sync for Input {}

/// What a group norm makes of a value: `act(x * mul + add)` by channel.
#[derive(Clone, Copy)]
pub struct Normed {
    pub mul: *const f32,
    pub add: *const f32,
    pub act: Act,
}

// SAFETY: only read.
unsafe impl Sync for Normed {}

impl Input {
    pub fn new(shape: ConvShape, x: *const f32, scratch: *mut u16) -> Self {
        let ConvShape { h, w, c_in, k, .. } = shape;
        let (rows, wide) = if k == 1 { (h * w, 1) } else { (h, w) };
        Input { x, scratch, plane: Plane::of(shape), rows, pad: k / 2, wide, c: c_in }
    }

    /// Lays out part `i` of `cuts`, and what is zero beside it.
    ///
    /// # Safety
    /// [`present`]; `x` and `scratch` valid for the shape, of a norm's factors as many as channels.
    pub unsafe fn part(&self, cuts: usize, i: usize, norm: Option<Normed>) {
        let Input { x, scratch, plane, rows, pad, wide, c } = *self;
        let (r0, r1) = (split(rows, cuts, i), split(rows, cuts, i + 1));
        if r0 == r1 {
            return;
        }
        // SAFETY: inside scratch and x by the shapes.
        unsafe {
            let values = |from: usize, at: usize, n: usize| match norm {
                None => to_bf16(x.add(from), scratch.add(at), n),
                Some(Normed { mul, add, act }) => norm_to_bf16(x.add(from), scratch.add(at), n / c, c, mul, add, act),
            };
            if pad == 0 {
                values(r0 * c, r0 * c, (r1 - r0) * c);
            } else {
                let zero = |pixel: usize, n: usize| scratch.add(pixel * c).write_bytes(0, n * c);
                if r0 == 0 {
                    zero(0, pad * plane.row);
                }
                for r in r0..r1 {
                    let at = plane.first + r * plane.row;
                    zero(at - pad, pad);
                    values(r * wide * c, at * c, wide * c);
                }
                if r1 == rows {
                    let end = plane.first + rows * plane.row - pad;
                    zero(end, plane.pixels - end);
                }
            }
            if r1 == rows {
                // Weights past the last tap are zero, but what they meet must be a number.
                scratch.add(plane.pixels * c).write_bytes(0, DEPTH);
            }
        }
    }
}

/// A layer with all its addresses.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    pub packed: &'a Packed,
    pub shape: ConvShape,
    pub act: Act,
    pub x: *const f32,
    /// Null for none.
    pub residual: *const f32,
    pub y: *mut f32,
    /// As large as [`scratch`] says, at a 64-byte boundary.
    pub scratch: *mut u16,
    /// The input lies in scratch already.
    pub laid: bool,
}

// SAFETY: the pointers are the arena's; items of one job write apart from each other.
unsafe impl Sync for Layer<'_> {}

impl Layer<'_> {
    /// Lays the input out, unless it is, and sums.
    ///
    /// # Safety
    /// [`present`]; `x`, `residual`, `y` and `scratch` valid for the shape, the layer packed for tiles.
    pub unsafe fn run(&self, pool: &Pool) {
        if !self.laid {
            let input = Input::new(self.shape, self.x, self.scratch);
            let cuts = if self.shape.x_len() < PARALLEL { 1 } else { 2 * pool.threads() };
            // SAFETY: the caller's promise; cuts write rows apart from each other.
            let part = |i: usize| unsafe { input.part(cuts, i, None) };
            if cuts == 1 { part(0) } else { pool.run(cuts, &|_, i| part(i)) }
        }
        // SAFETY: as above.
        unsafe { self.multiply(pool) };
    }

    /// The sums, of an input that lies in scratch.
    ///
    /// # Safety
    /// As [`run`](Self::run).
    unsafe fn multiply(&self, pool: &Pool) {
        let plane = Plane::of(self.shape);
        let blocks = self.packed.blocks.len();
        let rows = if plane.lines == 1 { plane.len.div_ceil(TALL * TILE) } else { plane.lines };
        let cuts = if self.shape.flops() < super::gemm::PARALLEL_FLOPS * 4 { 1 } else { (pool.threads() * 4).div_ceil(blocks).min(rows) };
        let item = |i: usize| {
            let (block, cut) = (i / cuts, i % cuts);
            // SAFETY: the caller's promise; items cover disjoint parts of y.
            unsafe { self.part(plane, block, split(rows, cuts, cut), split(rows, cuts, cut + 1)) };
        };
        if blocks * cuts == 1 || pool.threads() == 1 { (0..blocks * cuts).for_each(item) } else { pool.run(blocks * cuts, &|_, i| item(i)) }
    }

    /// Channels of one block; `from..to` in tiles of positions, or in lines.
    unsafe fn part(&self, plane: Plane, block: usize, from: usize, to: usize) {
        let ConvShape { c_in, k, stride, .. } = self.shape;
        let block = &self.packed.blocks[block];
        let mut sums = Sums([0.0; TALL * TILE * WIDE * TILE]);
        // SAFETY: the caller's promise; tiles read no farther than the scratch's slack.
        unsafe {
            configure();
            let mut tall = |line: usize, at: usize, left: usize| {
                let n = left.min(TALL * TILE);
                let walk = Walk {
                    x: self.scratch.add((line * plane.line + at * stride) * c_in),
                    x_step: 2 * c_in * stride,
                    row_step: 2 * plane.row * c_in,
                    w: self.packed.weights(block),
                    rows: k,
                    chunks: chunks(self.shape),
                    out: sums.0.as_mut_ptr(),
                };
                match (n > TILE, block.nv) {
                    (false, 1) => walk.one_by_one(),
                    (false, 2) => walk.one_by_two(),
                    (false, _) => walk.one_by_three(),
                    (true, 1) => walk.two_by_one(),
                    (true, 2) => walk.two_by_two(),
                    (true, _) => walk.two_by_three(),
                }
                self.finish(plane, block, sums.0.as_ptr(), line, at, n);
            };
            if plane.lines == 1 {
                for tile in from..to {
                    let at = tile * TALL * TILE;
                    tall(0, at, plane.len - at);
                }
            } else {
                for line in from..to {
                    for at in (0..plane.len).step_by(TALL * TILE) {
                        tall(line, at, plane.len - at);
                    }
                }
            }
            release();
        }
    }

    /// Bias, activation and residual of `n` positions from `at` on in a line.
    #[target_feature(enable = "avx512f,avx512bw,avx512vl,avx2,fma,f16c")]
    unsafe fn finish(&self, plane: Plane, block: &super::pack::Block, sums: *const f32, line: usize, at: usize, n: usize) {
        let c_out = self.shape.c_out;
        let wide = self.shape.w_out();
        let at = line * plane.len + at;
        let (mut oy, mut ox) = (at / plane.per_row, at % plane.per_row);
        let bias = self.packed.bias(block);
        // SAFETY: the caller's promise.
        unsafe {
            for i in 0..n {
                if ox < wide {
                    let to = (oy * wide + ox) * c_out + block.start;
                    for v in 0..block.nv {
                        let lanes = block.channels - v * TILE;
                        let mut sum = Avx512::load(sums.add((i * block.nv + v) * TILE));
                        if !bias.is_null() {
                            sum = Avx512::add(sum, Avx512::load(bias.add(v * TILE)));
                        }
                        if self.act != Act::None {
                            sum = activate::<Avx512>(self.act, sum);
                        }
                        if !self.residual.is_null() {
                            sum = Avx512::add(sum, load_upto::<Avx512>(self.residual.add(to + v * TILE), lanes));
                        }
                        store_upto::<Avx512>(self.y.add(to + v * TILE), sum, lanes);
                    }
                }
                ox += 1;
                if ox == plane.per_row {
                    (oy, ox) = (oy + 1, 0);
                }
            }
        }
    }
}

#[repr(C, align(64))]
struct Sums([f32; TALL * TILE * WIDE * TILE]);

/// Rounds `n` values to the nearest bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16")]
unsafe fn to_bf16(x: *const f32, to: *mut u16, n: usize) {
    // SAFETY: the caller's promise, for n values; whole vectors, then what is left.
    unsafe {
        let mut i = 0;
        while i + 32 <= n {
            let pair = _mm512_cvtne2ps_pbh(_mm512_loadu_ps(x.add(i + 16)), _mm512_loadu_ps(x.add(i)));
            _mm512_storeu_si512(to.add(i).cast(), std::mem::transmute::<__m512bh, __m512i>(pair));
            i += 32;
        }
        while i < n {
            let mask = ((1u32 << (n - i).min(16)) - 1) as u16;
            let half = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x.add(i)));
            _mm512_mask_storeu_epi16(to.add(i).cast(), u32::from(mask), _mm512_castsi256_si512(std::mem::transmute::<__m256bh, __m256i>(half)));
            i += 16;
        }
    }
}

/// Rounds `act(x * mul + add)` of `pixels` of `c` channels to bf16.
#[target_feature(enable = "avx512f,avx512bw,avx512bf16,avx512vl,avx2,fma,f16c")]
unsafe fn norm_to_bf16(x: *const f32, to: *mut u16, pixels: usize, c: usize, mul: *const f32, add: *const f32, act: Act) {
    // SAFETY: the caller's promise; whole vectors, then what is left.
    unsafe {
        for p in 0..pixels {
            let mut i = 0;
            while i < c {
                let mask = ((1u32 << (c - i).min(16)) - 1) as u16;
                let at = p * c + i;
                let v = _mm512_fmadd_ps(_mm512_maskz_loadu_ps(mask, x.add(at)), _mm512_maskz_loadu_ps(mask, mul.add(i)), _mm512_maskz_loadu_ps(mask, add.add(i)));
                let v = match act {
                    Act::None => v,
                    Act::Silu => rough_silu(v),
                    other => activate::<Avx512>(other, v),
                };
                let half = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(v));
                _mm512_mask_storeu_epi16(to.add(at).cast(), u32::from(mask), _mm512_castsi256_si512(half));
                i += 16;
            }
        }
    }
}

/// x * sigmoid(x) to 12 bits, four more than bf16 keeps: 2^t by a cubic between whole powers, 1 / (1 + e) by the processor's estimate.
#[inline]
#[target_feature(enable = "avx512f")]
fn rough_silu(x: __m512) -> __m512 {
    let t = _mm512_min_ps(_mm512_mul_ps(x, _mm512_set1_ps(-std::f32::consts::LOG2_E)), _mm512_set1_ps(126.0));
    let whole = _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(t);
    let f = _mm512_sub_ps(t, whole);
    // Remez on -0.5..0.5, relative error 8e-5.
    let p = _mm512_fmadd_ps(f, _mm512_set1_ps(0.055_171_34), _mm512_set1_ps(0.242_611_17));
    let p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.693_261));
    let p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0.999_928_07));
    let e = _mm512_scalef_ps(p, whole);
    _mm512_mul_ps(x, _mm512_rcp14_ps(_mm512_add_ps(e, _mm512_set1_ps(1.0))))
}

#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes: [u16; 16],
    rows: [u8; 16],
}

/// All eight tiles whole: 16 rows of 64 bytes.
static WHOLE: TileConfig = TileConfig {
    palette: 1,
    start_row: 0,
    reserved: [0; 14],
    bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
    rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
};

/// # Safety
/// [`present`].
unsafe fn configure() {
    // SAFETY: reads 64 bytes that are a configuration; tiles are nobody else's.
    unsafe { asm!("ldtilecfg [{}]", in(reg) &raw const WHOLE, options(nostack, readonly)) };
}

/// # Safety
/// [`present`].
unsafe fn release() {
    // SAFETY: forgets the tiles, so that switching threads is cheap again.
    unsafe { asm!("tilerelease", options(nostack, nomem)) };
}

/// A walk over taps and channels that sums up to 32 positions by up to 48 channels.
struct Walk {
    /// The first position's first value.
    x: *const u16,
    /// Bytes from one position to the next, and from one row of taps to the next.
    x_step: usize,
    row_step: usize,
    w: *const u8,
    /// Rows of taps, tiles of values in each.
    rows: usize,
    chunks: usize,
    /// (positions, channels)
    out: *mut f32,
}

/// The sums of some tiles: `$zero` before the first values, `$step` for every tile of values, `$store` at the end. Every text finds
/// `{a}` and `{b}` at the values of the first and the second 16 positions, `{s}` apart, `{w}` at the weights, 64 apart.
macro_rules! walk {
    ($name:ident, $wide:literal: zero [$($zero:literal),*], step [$($step:literal),*], store [$($store:literal),*]) => {
        /// # Safety
        /// [`present`] and [`configure`]; pointers valid for the walk.
        unsafe fn $name(&self) {
            // SAFETY: the caller's promise; tiles are clobbered and so named.
            unsafe {
                asm!(
                    $($zero,)*
                    "2:",
                    "mov {c}, {chunks}",
                    "3:",
                    $($step,)*
                    "add {a}, 64",
                    "add {b}, 64",
                    concat!("add {w}, ", $wide, "*1024"),
                    "dec {c}",
                    "jnz 3b",
                    "add {a}, {jump}",
                    "add {b}, {jump}",
                    "dec {rows}",
                    "jnz 2b",
                    $($store,)*
                    a = inout(reg) self.x => _,
                    b = inout(reg) self.x.byte_add(TILE * self.x_step) => _,
                    s = in(reg) self.x_step,
                    w = inout(reg) self.w => _,
                    ws = in(reg) 64usize,
                    rows = inout(reg) self.rows => _,
                    chunks = in(reg) self.chunks,
                    c = out(reg) _,
                    jump = in(reg) self.row_step.wrapping_sub(64 * self.chunks),
                    out = in(reg) self.out,
                    os = in(reg) 64usize * $wide,
                    out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _, out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                    options(nostack),
                );
            }
        }
    };
}

impl Walk {
    walk!(one_by_one, 1:
        zero ["tilezero tmm0"],
        step ["tileloadd tmm6, [{a} + {s}*1]", "tileloadd tmm7, [{w} + {ws}*1]", "tdpbf16ps tmm0, tmm6, tmm7"],
        store ["tilestored [{out} + {os}*1], tmm0"]);
    walk!(one_by_two, 2:
        zero ["tilezero tmm0", "tilezero tmm1"],
        step ["tileloadd tmm4, [{a} + {s}*1]", "tileloadd tmm6, [{w} + {ws}*1]", "tdpbf16ps tmm0, tmm4, tmm6", "tileloadd tmm7, [{w} + {ws}*1 + 1024]", "tdpbf16ps tmm1, tmm4, tmm7"],
        store ["tilestored [{out} + {os}*1], tmm0", "tilestored [{out} + {os}*1 + 64], tmm1"]);
    walk!(one_by_three, 3:
        zero ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2"],
        step ["tileloadd tmm4, [{a} + {s}*1]", "tileloadd tmm5, [{w} + {ws}*1]", "tdpbf16ps tmm0, tmm4, tmm5", "tileloadd tmm6, [{w} + {ws}*1 + 1024]",
              "tdpbf16ps tmm1, tmm4, tmm6", "tileloadd tmm7, [{w} + {ws}*1 + 2048]", "tdpbf16ps tmm2, tmm4, tmm7"],
        store ["tilestored [{out} + {os}*1], tmm0", "tilestored [{out} + {os}*1 + 64], tmm1", "tilestored [{out} + {os}*1 + 128], tmm2"]);
    walk!(two_by_one, 1:
        zero ["tilezero tmm0", "tilezero tmm1"],
        step ["tileloadd tmm4, [{a} + {s}*1]", "tileloadd tmm6, [{w} + {ws}*1]", "tdpbf16ps tmm0, tmm4, tmm6", "tileloadd tmm5, [{b} + {s}*1]", "tdpbf16ps tmm1, tmm5, tmm6"],
        store ["tilestored [{out} + {os}*1], tmm0", "tilestored [{out} + {os}*1 + 1024], tmm1"]);
    walk!(two_by_two, 2:
        zero ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3"],
        step ["tileloadd tmm4, [{a} + {s}*1]", "tileloadd tmm6, [{w} + {ws}*1]", "tdpbf16ps tmm0, tmm4, tmm6", "tileloadd tmm7, [{w} + {ws}*1 + 1024]",
              "tdpbf16ps tmm1, tmm4, tmm7", "tileloadd tmm5, [{b} + {s}*1]", "tdpbf16ps tmm2, tmm5, tmm6", "tdpbf16ps tmm3, tmm5, tmm7"],
        store ["tilestored [{out} + {os}*1], tmm0", "tilestored [{out} + {os}*1 + 64], tmm1", "tilestored [{out} + {os}*1 + 2048], tmm2",
               "tilestored [{out} + {os}*1 + 2112], tmm3"]);
    // Six tiles of sums leave two: the first and the second positions take turns, and the weights between are read once for both.
    walk!(two_by_three, 3:
        zero ["tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3", "tilezero tmm4", "tilezero tmm5"],
        step ["tileloadd tmm6, [{a} + {s}*1]", "tileloadd tmm7, [{w} + {ws}*1]", "tdpbf16ps tmm0, tmm6, tmm7", "tileloadd tmm7, [{w} + {ws}*1 + 1024]",
              "tdpbf16ps tmm1, tmm6, tmm7", "tileloadd tmm7, [{w} + {ws}*1 + 2048]", "tdpbf16ps tmm2, tmm6, tmm7",
              "tileloadd tmm6, [{b} + {s}*1]", "tdpbf16ps tmm5, tmm6, tmm7", "tileloadd tmm7, [{w} + {ws}*1]", "tdpbf16ps tmm3, tmm6, tmm7",
              "tileloadd tmm7, [{w} + {ws}*1 + 1024]", "tdpbf16ps tmm4, tmm6, tmm7"],
        store ["tilestored [{out} + {os}*1], tmm0", "tilestored [{out} + {os}*1 + 64], tmm1", "tilestored [{out} + {os}*1 + 128], tmm2",
               "tilestored [{out} + {os}*1 + 3072], tmm3", "tilestored [{out} + {os}*1 + 3136], tmm4", "tilestored [{out} + {os}*1 + 3200], tmm5"]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::CpuExecutor;
    use crate::cpu::pack::{self, Form, PackedLayers};
    use crate::plan::{BufKind, LinearShape, Op, PlanBuilder};
    use crate::{Weights, noise};

    fn round(v: f32) -> f64 {
        f64::from(half::bf16::from_f32(v).to_f32())
    }

    /// A convolution in f64 of inputs and weights that were rounded to bf16.
    fn rounded(shape: ConvShape, x: &[f32], w: &[f32], bias: &[f32], residual: Option<&[f32]>, act: Act) -> Vec<f64> {
        let taps = shape.k * shape.k;
        let mut out = Vec::new();
        for (oy, ox) in (0..shape.h_out()).flat_map(|y| (0..shape.w_out()).map(move |x| (y, x))) {
            for co in 0..shape.c_out {
                let mut sum = f64::from(bias.get(co).copied().unwrap_or(0.0));
                for tap in 0..taps {
                    let (iy, ix) = ((oy * shape.stride + tap / shape.k).wrapping_sub(shape.k / 2), (ox * shape.stride + tap % shape.k).wrapping_sub(shape.k / 2));
                    if iy < shape.h && ix < shape.w {
                        sum += (0..shape.c_in).map(|ci| round(x[(iy * shape.w + ix) * shape.c_in + ci]) * round(w[(co * shape.c_in + ci) * taps + tap])).sum::<f64>();
                    }
                }
                let v = if act == Act::Sigmoid { 1.0 / (1.0 + (-sum).exp()) } else { sum };
                out.push(v + residual.map_or(0.0, |r| f64::from(r[out.len()])));
            }
        }
        out
    }

    #[test]
    fn sums_are_those_of_the_rounded_values_at_every_edge() {
        if !present(Level::best()) {
            return eprintln!("skipped: this processor has no AMX, or the system keeps it");
        }
        let pool = Pool::new(2);
        let values = |len: usize, seed: u32| -> Vec<f32> { (0..len as u32).map(|i| noise::gaussian(seed, 0, i) as f32).collect() };
        let conv = |c_in, c_out, h, w, k, stride| ConvShape { h, w, c_in, c_out, k, stride };
        // Every tile: blocks of 1 to 3 vectors and more, channels that end inside a vector, depths that end inside a tile, lines that end after
        // one or two tiles, strides, pictures smaller than a tile, rows enough for two threads.
        let shapes = [
            conv(48, 48, 5, 8, 3, 1),
            conv(16, 16, 3, 13, 3, 1),
            conv(4, 8, 6, 28, 3, 1),
            conv(160, 160, 8, 8, 3, 1),
            conv(33, 36, 7, 9, 3, 1),
            conv(48, 96, 9, 11, 3, 2),
            conv(32, 64, 16, 1, 3, 1),
            conv(20, 80, 5, 80, 3, 2),
            conv(256, 48, 1, 400, 1, 1),
            conv(48, 20, 1, 17, 1, 1),
            conv(7, 33, 1, 16, 1, 1),
            conv(96, 64, 40, 40, 3, 1),
        ];
        for (n, shape) in shapes.into_iter().enumerate() {
            assert!(fits(shape), "case {n}");
            let taps = shape.k * shape.k;
            let (x, w, b, r) = (values(shape.x_len(), 1), values(shape.c_out * shape.c_in * taps, 2), values(shape.c_out, 3), values(shape.y_len(), 4));
            let bias = (n % 3 != 2).then_some(b.as_slice());
            let residual = n.is_multiple_of(2).then_some(r.as_slice());
            let act = if n % 4 == 3 { Act::Sigmoid } else { Act::None };
            let layer = pack::Layer {
                level: Level::Avx512,
                weight: "w".into(),
                bias: None,
                n: shape.c_out,
                c_in: shape.c_in,
                taps,
                max_nv: max_nv(shape.c_out),
                form: Form::Tiles,
            };
            let packed = PackedLayers::default().get(layer, &w, bias);
            // What another layer left there must not matter.
            let mut room = pack::lines(scratch(shape).div_ceil(2));
            pack::as_floats(&mut room).fill(1e30);
            let mut y = vec![f32::NAN; shape.y_len()];
            let layer = Layer {
                packed: &packed,
                shape,
                act,
                x: x.as_ptr(),
                residual: residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
                y: y.as_mut_ptr(),
                scratch: room.as_mut_ptr().cast(),
                laid: false,
            };
            // SAFETY: the tile unit is present; everything is as large as the shape says.
            unsafe { layer.run(&pool) };
            let expected = rounded(shape, &x, &w, bias.unwrap_or(&[]), residual, act);
            let most = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
            for (i, (a, e)) in y.iter().zip(&expected).enumerate() {
                assert!((f64::from(*a) - e).abs() < 1e-4 * most, "case {n}, value {i}: {a}, {e} expected");
            }
        }
    }

    /// A norm whose result only layers read goes straight to them, and layers of one input share it: the plan must give what it gives without.
    #[test]
    fn norms_and_layers_that_share_an_input_give_what_they_give_apart() {
        if !present(Level::best()) {
            return eprintln!("skipped: this processor has no AMX, or the system keeps it");
        }
        let (grid, c) = (9, 48);
        let mut weights = Weights::new();
        let mut value = |name: &str, dims: &[usize], seed, scale: f64| {
            let data = (0..dims.iter().product::<usize>() as u32).map(|i| (noise::gaussian(seed, 0, i) * scale) as f32).collect();
            weights.insert(name, dims, data).unwrap();
        };
        for (n, c_out) in [(1, 16), (2, 48), (3, 20)] {
            value(&format!("{n}.weight"), &[c_out, c, 3, 3], n, 0.05);
            value(&format!("{n}.bias"), &[c_out], 10 + n, 1.0);
        }
        value("linear.weight", &[33, c], 20, 0.15);
        value("linear.bias", &[33], 21, 1.0);
        value("gain", &[c], 22, 1.0);
        value("bias", &[c], 23, 0.5);
        let plan = |sixteen: bool| {
            let mut b = PlanBuilder::new();
            if sixteen {
                b.bears_sixteen_bits();
            }
            let x = b.buf("x", grid * grid * c, BufKind::External);
            let norm = |b: &mut PlanBuilder, x, act| {
                let (gain, bias, y) = (b.weight("gain", &[c]), b.weight("bias", &[c]), b.tmp(grid * grid * c));
                b.op(Op::GroupNorm { x, gain, bias, scale_shift: None, y, hw: grid * grid, c, groups: 8, act });
                y
            };
            let conv = |c_out, k| ConvShape { h: grid, w: grid, c_in: c, c_out, k, stride: 1 };
            let mut outs = Vec::new();
            let mut keep = |b: &mut PlanBuilder, x, len| {
                let y = b.buf("y", len, BufKind::External);
                b.op(Op::Copy { x, x_offset: 0, y, y_offset: 0, len });
                outs.push((y, len));
            };
            // Only layers read it: two convolutions.
            let h = norm(&mut b, x, Act::Silu);
            let (first, second) = (b.conv("1", h, conv(16, 3), Act::None, None), b.conv("2", h, conv(48, 3), Act::None, None));
            keep(&mut b, first, grid * grid * 16);
            // A residual reads it as well.
            let h = norm(&mut b, second, Act::Silu);
            let third = b.conv("2", h, conv(48, 3), Act::None, Some(h));
            // A linear layer wants it laid out otherwise than the convolution before it.
            let h = norm(&mut b, third, Act::None);
            let fourth = b.conv("3", h, conv(20, 3), Act::Sigmoid, None);
            let fifth = b.linear("linear", h, LinearShape { m: grid * grid, k: c, n: 33 }, true, Act::None, None);
            keep(&mut b, fourth, grid * grid * 20);
            keep(&mut b, fifth, grid * grid * 33);
            // In place.
            let (gain, bias) = (b.weight("gain", &[c]), b.weight("bias", &[c]));
            b.op(Op::GroupNorm { x: third, gain, bias, scale_shift: None, y: third, hw: grid * grid, c, groups: 8, act: Act::Silu });
            let sixth = b.conv("1", third, conv(16, 3), Act::None, None);
            keep(&mut b, sixth, grid * grid * 16);
            (b.finish().unwrap(), x, outs)
        };
        let input: Vec<f32> = (0..(grid * grid * c) as u32).map(|i| noise::gaussian(30, 0, i) as f32).collect();
        let run = |sixteen: bool| -> Vec<Vec<f32>> {
            let (plan, x, outs) = plan(sixteen);
            let mut executor = CpuExecutor::new(&Pool::new(2), &plan, &weights).unwrap();
            executor.write(x, &input);
            // Twice, for what a run leaves behind must not matter to the next.
            executor.run(&[]);
            executor.run(&[]);
            outs.iter().map(|&(y, len)| executor.slice(y)[..len].to_vec()).collect()
        };
        for (n, (short, full)) in run(true).iter().zip(&run(false)).enumerate() {
            let most = full.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            for (s, f) in short.iter().zip(full) {
                assert!((s - f).abs() < 0.02 * most, "output {n}: {s}, {f} in f32, of {most} at most");
            }
        }
    }
}
