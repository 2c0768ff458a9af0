//! Softmax attention of many queries over many keys, on the tile loop.
//!
//! Per head the keys are packed like the weights of a linear layer (dim -> tk) and the values like one (tk -> dim);
//! then scores and outputs are two small matrix products around a softmax. All scratch is sized when the plan is loaded.

use super::level::Table;
use super::pack::{Block, blocks};
use super::pool::Pool;
use super::tile::TileArgs;
use crate::plan::{Act, HeadShape};

/// Sizes of one attention's scratch, in elements.
#[derive(Clone)]
pub struct AttentionPlan {
    pub tq: usize,
    pub tk: usize,
    pub shape: HeadShape,
    key_blocks: Vec<Block>,
    value_blocks: Vec<Block>,
    /// Elements of packed keys, and of packed values, per head.
    keys_len: usize,
    values_len: usize,
    /// Scores of one query row, padded to whole vectors.
    row_len: usize,
    rows: usize,
}

#[derive(Clone, Copy)]
pub struct AttentionPtrs {
    pub q: *const f32,
    pub k: *const f32,
    pub v: *const f32,
    pub y: *mut f32,
    /// `shared_len()` elements.
    pub shared: *mut f32,
    /// `thread_len` elements for every thread, at least `AttentionPlan::thread_len()`.
    pub scores: *mut f32,
    pub thread_len: usize,
    pub zeros: *const f32,
}

// SAFETY: the pointers are the arena's; items write apart from each other, threads have scratch of their own.
unsafe impl Sync for AttentionPtrs {}

impl AttentionPlan {
    pub fn new(table: &Table, tq: usize, tk: usize, shape: HeadShape) -> Self {
        let lanes = table.lanes;
        let pad = |n: usize| n.div_ceil(lanes) * lanes;
        Self {
            tq,
            tk,
            shape,
            key_blocks: blocks(tk, lanes, table.conv_nv, shape.dim * lanes),
            value_blocks: blocks(shape.dim, lanes, table.conv_nv, tk * lanes),
            keys_len: shape.dim * pad(tk),
            values_len: tk * pad(shape.dim),
            row_len: pad(tk),
            rows: table.pixels[table.conv_nv - 1],
        }
    }

    pub fn shared_len(&self) -> usize {
        self.shape.heads * (self.keys_len + self.values_len)
    }

    pub fn thread_len(&self) -> usize {
        self.rows * self.row_len
    }

    /// # Safety
    /// The table's instruction set; pointers valid for the shapes given to `new`.
    pub unsafe fn run(&self, table: &'static Table, pool: &Pool, p: AttentionPtrs) {
        let HeadShape { heads, dim } = self.shape;
        let cuts = self.tq.div_ceil(self.rows);
        let p = &p;
        if 4 * self.tq * self.tk * heads * dim < super::gemm::PARALLEL_FLOPS || pool.threads() == 1 {
            for h in 0..heads {
                // SAFETY: the caller's promise.
                unsafe { self.pack(table, p, h) };
                for c in 0..cuts {
                    // SAFETY: the caller's promise.
                    unsafe { self.queries(table, p, 0, h, c) };
                }
            }
            return;
        }
        pool.run(heads, &|_, h| {
            // SAFETY: the caller's promise; heads have packed areas of their own.
            unsafe { self.pack(table, p, h) };
        });
        let batch = cuts.div_ceil((pool.threads() * 4).div_ceil(heads));
        let batches = cuts.div_ceil(batch);
        pool.run(heads * batches, &|thread, item| {
            let (h, b) = (item / batches, item % batches);
            for c in b * batch..((b + 1) * batch).min(cuts) {
                // SAFETY: the caller's promise; items cover disjoint rows of y.
                unsafe { self.queries(table, p, thread, h, c) };
            }
        });
    }

    unsafe fn pack(&self, table: &Table, p: &AttentionPtrs, head: usize) {
        let HeadShape { heads, dim } = self.shape;
        let (width, lanes) = (heads * dim, table.lanes);
        let keys = p.shared.wrapping_add(head * (self.keys_len + self.values_len));
        let values = keys.wrapping_add(self.keys_len);
        for b in &self.key_blocks {
            let n = b.nv * lanes;
            let to = keys.wrapping_add(b.offset);
            for j in 0..n {
                for d in 0..dim {
                    // SAFETY: row start + j < tk is checked; the packed area holds dim * n from `to`.
                    unsafe { *to.add(d * n + j) = if j < b.channels { *p.k.add((b.start + j) * width + head * dim + d) } else { 0.0 } };
                }
            }
        }
        for b in &self.value_blocks {
            let n = b.nv * lanes;
            let to = values.wrapping_add(b.offset);
            for j in 0..self.tk {
                // SAFETY: `channels` elements are in the head's part of the row; the packed area holds tk * n from `to`.
                unsafe {
                    let from = p.v.add(j * width + head * dim + b.start);
                    std::ptr::copy_nonoverlapping(from, to.add(j * n), b.channels);
                    std::ptr::write_bytes(to.add(j * n + b.channels), 0, n - b.channels);
                }
            }
        }
    }

    unsafe fn queries(&self, table: &Table, p: &AttentionPtrs, thread: usize, head: usize, cut: usize) {
        let HeadShape { heads, dim } = self.shape;
        let width = heads * dim;
        let first = cut * self.rows;
        let rows = self.rows.min(self.tq - first);
        let keys = p.shared.wrapping_add(head * (self.keys_len + self.values_len));
        let values = keys.wrapping_add(self.keys_len);
        let scores = p.scores.wrapping_add(thread * p.thread_len);
        let base = TileArgs {
            x: p.q.wrapping_add(first * width + head * dim),
            zeros: p.zeros,
            w: keys.cast(),
            bias: std::ptr::null(),
            residual: std::ptr::null(),
            y: scores,
            y_step: self.row_len,
            channels: 0,
            x_step: width,
            c_in: dim,
            stride: 1,
            h: 1,
            w_in: rows as isize,
            iy: 0,
            ix: 0,
            k: 1,
            act: Act::None,
        };
        let tiles = |nv: usize, mut args: TileArgs| {
            // Blocks of more vectors than `conv_nv` do not exist, and fewer vectors allow at least as many rows.
            let max_p = table.pixels[nv - 1];
            let (mut done, w_in) = (0, rows);
            while done < rows {
                let n = max_p.min(w_in - done);
                args.w_in = n as isize;
                if let Some(tile) = table.tiles[nv - 1][n - 1] {
                    // SAFETY: the caller's promise; scratch has room for whole vectors.
                    unsafe { tile(&args) };
                }
                args.x = args.x.wrapping_add(n * args.x_step);
                args.y = args.y.wrapping_add(n * args.y_step);
                done += n;
            }
        };
        for b in &self.key_blocks {
            tiles(b.nv, TileArgs { w: keys.wrapping_add(b.offset).cast(), y: scores.wrapping_add(b.start), channels: b.channels, ..base });
        }
        for r in 0..rows {
            // SAFETY: tk scores were just written there.
            unsafe { (table.softmax)(scores.wrapping_add(r * self.row_len), self.tk, 1.0 / (dim as f32).sqrt()) };
        }
        for b in &self.value_blocks {
            tiles(
                b.nv,
                TileArgs {
                    x: scores,
                    x_step: self.row_len,
                    c_in: self.tk,
                    w: values.wrapping_add(b.offset).cast(),
                    y: p.y.wrapping_add(first * width + head * dim + b.start),
                    y_step: width,
                    channels: b.channels,
                    ..base
                },
            );
        }
    }
}
