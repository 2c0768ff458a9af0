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

/// Tiles that the values under one row of `k` taps fill.
pub fn chunks(k: usize, c_in: usize) -> usize {
    (k * c_in).div_ceil(DEPTH)
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
                    chunks: chunks(k, c_in),
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
#[path = "amx_tests.rs"]
mod tests;
