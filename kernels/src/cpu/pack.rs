//! Weights as the tile loop wants them: [block][tap][c_in][NV * LANES], blocks of whole vectors, zeros past the last channel.
//!
//! Done once when a plan is loaded. Weights that f16 holds exactly (all shipped ones do) may stay f16: half the memory traffic,
//! the same numbers. Whoever loads the same weights shares them: working sizes, dancers, sessions. This file must not run anything.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

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

/// The layers that have been packed of some weights, while an executor uses them.
#[derive(Clone, Default)]
pub struct PackedLayers(Arc<Mutex<HashMap<Layer, Weak<Packed>>>>);

/// What decides how a layer is packed.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Layer {
    pub level: Level,
    pub weight: String,
    pub bias: Option<String>,
    pub n: usize,
    pub c_in: usize,
    pub taps: usize,
    /// Vectors of a block, at most.
    pub max_nv: usize,
    pub form: Form,
}

/// In how many bits weights are kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub enum Form {
    Full,
    /// f16, where that holds them exactly.
    Half,
    /// Signed bytes, four channels of input side by side.
    EightBit,
    /// bf16 in tiles for AMX: [block][tap row][32 of taps x c_in][vector], of each 16 pairs of values by 16 channels.
    #[cfg(target_arch = "x86_64")]
    Tiles,
}

/// What the bytes of a layer in eight bits mean, by output channel: a weight is its byte times `scale`; `sum` is of all bytes.
pub struct Scales {
    pub scale: Vec<f32>,
    pub sum: Vec<f32>,
}

impl PackedLayers {
    /// The layer as somebody has packed it, or packed now.
    pub fn get(&self, layer: Layer, w: &[f32], bias: Option<&[f32]>) -> Arc<Packed> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(packed) = known.get(&layer).and_then(Weak::upgrade) {
            return packed;
        }
        let packed = Arc::new(Packed::new(&layer, w, bias));
        known.insert(layer, Arc::downgrade(&packed));
        packed
    }
}

impl std::fmt::Debug for PackedLayers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PackedLayers")
    }
}

/// Packed weights and bias of one layer.
pub struct Packed {
    /// Weights as bytes, 64-byte aligned.
    lines: Vec<Line>,
    /// Bias padded to whole vectors, or empty.
    bias: Vec<f32>,
    pub blocks: Vec<Block>,
    pub f16: bool,
    eight_bit: Option<Scales>,
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

fn padded(bias: Option<&[f32]>, len: usize) -> Vec<f32> {
    bias.map_or_else(Vec::new, |b| {
        let mut padded = vec![0.0; len];
        padded[..b.len()].copy_from_slice(b);
        padded
    })
}

impl Packed {
    /// `w` is (n, c_in, taps) row-major, as a convolution (taps = k * k) or a linear layer (taps = 1) stores it.
    fn new(layer: &Layer, w: &[f32], bias: Option<&[f32]>) -> Self {
        let &Layer { level, n, c_in, taps, max_nv, form, .. } = layer;
        let lanes = level.lanes();
        #[cfg(target_arch = "x86_64")]
        if form == Form::Tiles {
            return Self::tiles(layer, w, bias);
        }
        let f16 = form == Form::Half && level.f16() && w.iter().all(|&v| half::f16::from_f32(v).to_f32() == v);
        let size = match form {
            Form::EightBit => 1,
            _ if f16 => 2,
            _ => 4,
        };
        let most = |channel: usize| w[channel * c_in * taps..][..c_in * taps].iter().fold(0.0f32, |m, v| m.max(v.abs()));
        let mut eight_bit = (form == Form::EightBit).then(|| Scales { scale: (0..n).map(|c| most(c).max(1e-20) / 127.0).collect(), sum: vec![0.0; n] });
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
                        if let Some(eight) = &mut eight_bit {
                            let byte = (v / eight.scale[b.start + i]).round() as i8;
                            bytes[b.offset + (tap * c_in + c / 4 * 4) * width + i * 4 + c % 4] = byte.cast_unsigned();
                            eight.sum[b.start + i] += f32::from(byte);
                        } else if f16 {
                            bytes[at..at + 2].copy_from_slice(&half::f16::from_f32(v).to_bits().to_ne_bytes());
                        } else {
                            bytes[at..at + 4].copy_from_slice(&v.to_ne_bytes());
                        }
                    }
                }
            }
        }
        Self { lines, bias: padded(bias, vectors * lanes), blocks, f16, eight_bit }
    }

    #[cfg(target_arch = "x86_64")]
    fn tiles(layer: &Layer, w: &[f32], bias: Option<&[f32]>) -> Self {
        use super::amx::{DEPTH, TILE_BYTES, chunks};
        let &Layer { level, n, c_in, taps, max_nv, .. } = layer;
        let lanes = level.lanes();
        let k = taps.isqrt();
        let chunks = chunks(k, c_in);
        let per_vector = k * chunks * TILE_BYTES;
        let blocks = blocks(n, lanes, max_nv, per_vector);
        let vectors = n.div_ceil(lanes);
        let mut lines = lines((vectors * per_vector).div_ceil(4));
        let halves: &mut [u16] = bytemuck::cast_slice_mut(as_floats(&mut lines));
        for b in &blocks {
            for i in 0..b.channels {
                let (vector, lane) = (i / lanes, i % lanes);
                for tap in 0..taps {
                    for c in 0..c_in {
                        let at = tap % k * c_in + c;
                        let tile = b.offset / 2 + ((tap / k * chunks + at / DEPTH) * b.nv + vector) * (TILE_BYTES / 2);
                        let v = w[((b.start + i) * c_in + c) * taps + tap];
                        halves[tile + at % DEPTH / 2 * DEPTH + lane * 2 + at % 2] = half::bf16::from_f32(v).to_bits();
                    }
                }
            }
        }
        Self { lines, bias: padded(bias, vectors * lanes), blocks, f16: false, eight_bit: None }
    }

    pub fn weights(&self, block: &Block) -> *const u8 {
        // In bounds by construction; the reader follows the same layout.
        self.lines.as_ptr().cast::<u8>().wrapping_add(block.offset)
    }

    /// # Panics
    /// If it is kept in another form.
    pub fn eight_bit(&self) -> &Scales {
        self.eight_bit.as_ref().expect("packed in eight bits")
    }

    pub fn bias_of(&self, channel: usize) -> f32 {
        self.bias.get(channel).copied().unwrap_or(0.0)
    }

    pub fn bias(&self, block: &Block) -> *const f32 {
        if self.bias.is_empty() { std::ptr::null() } else { self.bias[block.start..].as_ptr() }
    }
}

/// The lines as plain floats.
pub fn as_floats(lines: &mut [Line]) -> &mut [f32] {
    let len = lines.len() * 16;
    // SAFETY: `Line` is repr(C) over 16 f32 without padding, and its alignment is larger than that of f32.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), len) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cpu::{CpuExecutor, Pool};
    use crate::plan::{Act, BufKind, LinearShape, Op, PlanBuilder};
    use crate::Weights;

    #[test]
    fn a_layer_is_packed_once_and_kept_while_somebody_uses_it() {
        let layers = PackedLayers::default();
        let layer = |max_nv| Layer { level: Level::Scalar, weight: "w".into(), bias: None, n: 3, c_in: 2, taps: 1, max_nv, form: Form::Full };
        let w = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let first = layers.get(layer(1), &w, None);
        assert!(Arc::ptr_eq(&first, &layers.clone().get(layer(1), &w, None)));
        assert!(!Arc::ptr_eq(&first, &layers.get(layer(2), &w, None)), "packed another way");
        let kept = Arc::downgrade(&first);
        drop(first);
        assert!(kept.upgrade().is_none(), "nobody uses it");
    }

    #[test]
    fn changed_weights_are_packed_anew() {
        let mut weights = Weights::new();
        weights.insert("w", &[1, 1], vec![2.0]).unwrap();
        let mut plan = PlanBuilder::new();
        let (x, y, w) = (plan.buf("x", 1, BufKind::External), plan.buf("y", 1, BufKind::External), plan.weight("w", &[1, 1]));
        plan.op(Op::Linear { x, w, b: None, residual: None, y, shape: LinearShape { m: 1, k: 1, n: 1 }, act: Act::None });
        let plan = plan.finish().unwrap();
        let pool = Pool::new(1);
        let run = |weights: &Weights| {
            let mut executor = CpuExecutor::new(&pool, &plan, weights).unwrap();
            executor.write(x, &[3.0]);
            executor.run(&[]);
            let mut out = [0.0];
            executor.read(y, &mut out);
            (out[0], executor)
        };
        let (before, _first) = run(&weights);
        let same = weights.clone();
        weights.insert("w", &[1, 1], vec![5.0]).unwrap();
        assert_eq!((before, run(&weights).0, run(&same).0), (6.0, 15.0, 6.0));
    }
}
