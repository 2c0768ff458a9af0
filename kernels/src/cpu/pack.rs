//! Weights as the tile loop wants them: [block][tap][c_in][NV * LANES], blocks of whole vectors, zeros past the last channel.
//!
//! Done once when a plan is loaded. Weights that f16 holds exactly (all shipped ones do) may stay f16: half the memory traffic,
//! the same numbers. This file must not run anything.

use super::level::Level;

/// A block of output channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// First channel.
    pub start: usize,
    /// Channels that exist; the last block may end inside a vector.
    pub channels: usize,
    /// Vectors.
    pub nv: usize,
    /// Byte offset of its weights.
    pub offset: usize,
}

/// Packed weights and bias of one layer.
pub struct Packed {
    /// Weights as bytes, 64-byte aligned.
    lines: Vec<Line>,
    /// Bias padded to whole vectors, or empty.
    bias: Vec<f32>,
    pub blocks: Vec<Block>,
    pub f16: bool,
}

#[repr(C, align(64))]
#[derive(Clone, Copy)]
pub struct Line(pub [f32; 16]);

/// Zeroed floats at a 64-byte boundary.
pub fn lines(len: usize) -> Vec<Line> {
    vec![Line([0.0; 16]); len.div_ceil(16)]
}

/// Splits `n` channels into blocks of at most `max_nv` vectors, as even as possible.
pub fn blocks(n: usize, lanes: usize, max_nv: usize, bytes_per_vector: usize) -> Vec<Block> {
    let vectors = n.div_ceil(lanes);
    let count = vectors.div_ceil(max_nv);
    let mut out = Vec::with_capacity(count);
    let mut v0 = 0;
    for b in 0..count {
        let nv = vectors / count + usize::from(b < vectors % count);
        let start = v0 * lanes;
        out.push(Block { start, channels: (nv * lanes).min(n - start), nv, offset: v0 * bytes_per_vector });
        v0 += nv;
    }
    out
}

impl Packed {
    /// `w` is (n, c_in, taps) row-major, as a convolution (taps = k * k) or a linear layer (taps = 1) stores it.
    #[expect(clippy::too_many_arguments, reason = "the layer's own sizes; called from one place")]
    pub fn new(level: Level, w: &[f32], bias: Option<&[f32]>, n: usize, c_in: usize, taps: usize, max_nv: usize, may_f16: bool) -> Self {
        let lanes = level.lanes();
        let f16 = may_f16 && level.f16() && w.iter().all(|&v| half::f16::from_f32(v).to_f32() == v);
        let size = if f16 { 2 } else { 4 };
        let per_vector = taps * c_in * lanes * size;
        let blocks = blocks(n, lanes, max_nv, per_vector);
        let vectors = n.div_ceil(lanes);
        let mut lines = lines((vectors * per_vector).div_ceil(4));
        let bytes: &mut [u8] = bytemuck::cast_slice_mut(as_floats(&mut lines));
        for b in &blocks {
            let width = b.nv * lanes;
            for tap in 0..taps {
                for c in 0..c_in {
                    let row = b.offset + (tap * c_in + c) * width * size;
                    for i in 0..b.channels {
                        let v = w[((b.start + i) * c_in + c) * taps + tap];
                        let at = row + i * size;
                        if f16 {
                            bytes[at..at + 2].copy_from_slice(&half::f16::from_f32(v).to_bits().to_ne_bytes());
                        } else {
                            bytes[at..at + 4].copy_from_slice(&v.to_ne_bytes());
                        }
                    }
                }
            }
        }
        let bias = bias.map_or_else(Vec::new, |b| {
            let mut padded = vec![0.0; vectors * lanes];
            padded[..n].copy_from_slice(b);
            padded
        });
        Self { lines, bias, blocks, f16 }
    }

    pub fn weights(&self, block: &Block) -> *const u8 {
        // In bounds by construction; the reader follows the same layout.
        self.lines.as_ptr().cast::<u8>().wrapping_add(block.offset)
    }

    pub fn bias(&self, block: &Block) -> *const f32 {
        if self.bias.is_empty() { std::ptr::null() } else { self.bias[block.start..].as_ptr() }
    }

    pub fn bytes(&self) -> usize {
        self.lines.len() * 64 + self.bias.len() * 4
    }
}

/// The lines as plain floats.
pub fn as_floats(lines: &mut [Line]) -> &mut [f32] {
    let len = lines.len() * 16;
    // SAFETY: `Line` is repr(C) over 16 f32 without padding, and its alignment is larger than that of f32.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) }
}
