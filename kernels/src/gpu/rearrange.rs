//! Elementwise sums, noise, table look-ups, and every operation that only moves values.

use cubecl::prelude::*;

use super::math::{activate, gaussian, sigmoid};

/// Runs of `len` elements, `outer` times `inner` of them, with their steps; one unit per element.
/// Copies, concatenations, rings and all reshapes are this.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "buffers and the shape, as the device wants them")]
pub fn move_runs(
    x: &[f32],
    y: &mut [f32],
    x_offset: u32,
    y_offset: u32,
    outer: u32,
    x_outer: u32,
    y_outer: u32,
    inner: u32,
    x_inner: u32,
    y_inner: u32,
    len: u32,
) {
    let id = ABSOLUTE_POS as u32;
    if id < outer * inner * len {
        let i = id % len;
        let run = id / len;
        let from = x_offset + run / inner * x_outer + run % inner * x_inner + i;
        let to = y_offset + run / inner * y_outer + run % inner * y_inner + i;
        y[to as usize] = x[from as usize];
    }
}

/// Nearest neighbour, twice as large each way: `y (2h, 2w, c)`.
#[cube(launch_unchecked)]
pub fn upsample(x: &[f32], y: &mut [f32], h: u32, w: u32, c: u32) {
    let id = ABSOLUTE_POS as u32;
    if id < 4u32 * h * w * c {
        let ch = id % c;
        let ox = id / c % (2u32 * w);
        let oy = id / (2u32 * w * c);
        y[id as usize] = x[((oy / 2u32 * w + ox / 2u32) * c + ch) as usize];
    }
}

/// `y = act(a x + b z)`; `y` may be either.
#[cube(launch_unchecked)]
pub fn axpby(x: &[f32], z: &[f32], y: &mut [f32], a: f32, b: f32, len: u32, #[comptime] act: u32) {
    let id = ABSOLUTE_POS as u32;
    if id < len {
        y[id as usize] = activate(a * x[id as usize] + b * z[id as usize], act);
    }
}

/// One step of a gated recurrent unit, in place in `h`; see `Op::GruCell`.
#[cube(launch_unchecked)]
pub fn gru_cell(gates_x: &[f32], gates_h: &[f32], h: &mut [f32], n: u32) {
    let id = ABSOLUTE_POS as u32;
    if id < n {
        let i = id as usize;
        let (u, w) = ((n + id) as usize, (2u32 * n + id) as usize);
        let reset = sigmoid(gates_x[i] + gates_h[i]);
        let update = sigmoid(gates_x[u] + gates_h[u]);
        let new = 2.0f32 * sigmoid(2.0f32 * (gates_x[w] + reset * gates_h[w])) - 1.0f32;
        h[i] = new + update * (h[i] - new);
    }
}

#[cube(launch_unchecked)]
pub fn noise(y: &mut [f32], len: u32, seed: u32, step: u32) {
    let id = ABSOLUTE_POS as u32;
    if id < len {
        y[id as usize] = gaussian(seed, step, id);
    }
}

/// Rows of a table by id; one unit per element. Ids outside the table are clamped.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "buffers and the shape, as the device wants them")]
pub fn embed(ids: &[f32], table: &[f32], y: &mut [f32], ids_offset: u32, row_stride: u32, rows: u32, m: u32, d: u32, #[comptime] accumulate: bool) {
    let id = ABSOLUTE_POS as u32;
    if id < m * d {
        let i = id / d;
        // Both terms are exact integers below 2^24; clamping in f32 also takes care of negative ids.
        let row = ids[(ids_offset + i) as usize] + (i * row_stride) as f32;
        let bounded = min(max(row, 0.0f32), (rows - 1u32) as f32) as u32;
        let mut v = table[(bounded * d + id % d) as usize];
        if comptime!(accumulate) {
            v += y[id as usize];
        }
        y[id as usize] = v;
    }
}
