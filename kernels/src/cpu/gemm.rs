//! Convolution and linear layers on the tile loop: shapes, blocks and how the work is shared out.
//!
//! A linear layer is a 1x1 convolution over one row of M pixels. This file must not look inside a tile.

use super::level::Table;
use super::pack::Packed;
use super::pool::Pool;
use super::tile::TileArgs;
use crate::plan::{Act, ConvShape};

/// Below this many floating point operations a job stays on the caller's thread.
pub const PARALLEL_FLOPS: usize = 400_000;

/// A layer with all its addresses.
#[derive(Clone, Copy)]
pub struct Layer<'a> {
    pub table: &'static Table,
    pub packed: &'a Packed,
    pub shape: ConvShape,
    pub act: Act,
    pub x: *const f32,
    /// Null for none.
    pub residual: *const f32,
    pub y: *mut f32,
    pub zeros: *const f32,
}

/// Where part `i` of `cuts` of `len` things begins.
pub fn split(len: usize, cuts: usize, i: usize) -> usize {
    len * i / cuts
}

// SAFETY: the pointers are the arena's; items of one job write apart from each other.
unsafe impl Sync for Layer<'_> {}

impl Layer<'_> {
    /// Runs the layer, on the pool if that pays.
    ///
    /// # Safety
    /// The table's instruction set; `x`, `residual`, `y` valid for the shape; `zeros` holds `c_in` zeros.
    pub unsafe fn run(&self, pool: &Pool) {
        let rows = self.shape.h_out();
        let blocks = self.packed.blocks.len();
        let parallel = pool.threads() > 1 && self.shape.flops() >= PARALLEL_FLOPS;
        if !parallel {
            for b in 0..blocks {
                // SAFETY: the caller's promise.
                unsafe { self.part(b, 0, rows, 0, self.shape.w_out()) };
            }
            return;
        }
        // Items: about four per thread, cut along blocks, rows, and (one long row) pixels.
        let want = pool.threads() * 4;
        let across = want.div_ceil(blocks);
        let row_cuts = across.min(rows);
        let max_p = self.table.pixels[self.packed.blocks[0].nv - 1];
        let pixel_cuts = if rows == 1 { across.min(self.shape.w_out().div_ceil(max_p)) } else { 1 };
        pool.run(blocks * row_cuts * pixel_cuts, &|_, item| {
            let (block, cut) = (item / (row_cuts * pixel_cuts), item % (row_cuts * pixel_cuts));
            let (row_cut, pixel_cut) = (cut / pixel_cuts, cut % pixel_cuts);
            // Pixel cuts fall on tile boundaries.
            let tiles = self.shape.w_out().div_ceil(max_p);
            let p0 = split(tiles, pixel_cuts, pixel_cut) * max_p;
            let p1 = (split(tiles, pixel_cuts, pixel_cut + 1) * max_p).min(self.shape.w_out());
            // SAFETY: the caller's promise; items cover disjoint parts of y.
            unsafe { self.part(block, split(rows, row_cuts, row_cut), split(rows, row_cuts, row_cut + 1), p0, p1) };
        });
    }

    /// Output rows `r0..r1`, pixels `p0..p1`, channels of one block.
    unsafe fn part(&self, block: usize, r0: usize, r1: usize, p0: usize, p1: usize) {
        let ConvShape { h, w, c_in, c_out, k, stride } = self.shape;
        let block = &self.packed.blocks[block];
        let tiles = if self.packed.f16 { &self.table.tiles_f16 } else { &self.table.tiles };
        let max_p = self.table.pixels[block.nv - 1];
        let pad = (k / 2) as isize;
        let cuts = (p1 - p0).div_ceil(max_p);
        for oy in r0..r1 {
            let mut ox = p0;
            for cut in 0..cuts {
                let end = p0 + (p1 - p0) * (cut + 1) / cuts;
                let p = end - ox;
                let at = (oy * self.shape.w_out() + ox) * c_out + block.start;
                let args = TileArgs {
                    x: self.x,
                    zeros: self.zeros,
                    w: self.packed.weights(block),
                    bias: self.packed.bias(block),
                    residual: if self.residual.is_null() { self.residual } else { self.residual.wrapping_add(at) },
                    y: self.y.wrapping_add(at),
                    y_step: c_out,
                    channels: block.channels,
                    x_step: c_in,
                    c_in,
                    stride,
                    h: h as isize,
                    w_in: w as isize,
                    iy: (oy * stride) as isize - pad,
                    ix: (ox * stride) as isize - pad,
                    k,
                    act: self.act,
                };
                if let Some(tile) = tiles[block.nv - 1][p - 1] {
                    // SAFETY: the caller's promise.
                    unsafe { tile(&args) };
                }
                ox = end;
            }
        }
    }
}
