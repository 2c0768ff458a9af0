//! Attention of many queries over many keys, and of one query over a ring with sinks.
//!
//! Both: scores into scratch, one unit per score; then outputs, one unit per output value, which takes the softmax of its row
//! on the way. The rows are short (a coarse map, eight seconds), so that repeated sum costs less than a launch.

use cubecl::prelude::*;

/// `scores (heads, tq, tk) = q . k / sqrt(dim)`
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "buffers and the shape, as the device wants them")]
pub fn scores(q: &[f32], k: &[f32], out: &mut [f32], tq: u32, tk: u32, heads: u32, dim: u32, scale: f32) {
    let id = ABSOLUTE_POS as u32;
    if id < heads * tq * tk {
        let key = id % tk;
        let query = id / tk % tq;
        let head = id / (tk * tq);
        let width = heads * dim;
        let mut s = 0.0f32;
        for i in 0..dim {
            s += q[(query * width + head * dim + i) as usize] * k[(key * width + head * dim + i) as usize];
        }
        out[id as usize] = s * scale;
    }
}

/// `y (tq, heads * dim) = softmax(scores) v`
#[cube(launch_unchecked)]
pub fn outputs(scores: &[f32], v: &[f32], y: &mut [f32], tq: u32, tk: u32, heads: u32, dim: u32) {
    let id = ABSOLUTE_POS as u32;
    let width = heads * dim;
    if id < tq * width {
        let query = id / width;
        let column = id % width;
        let row = (column / dim * tq + query) * tk;
        let mut top = scores[row as usize];
        for i in 1..tk {
            top = max(top, scores[(row + i) as usize]);
        }
        let mut total = 0.0f32;
        let mut sum = 0.0f32;
        for i in 0..tk {
            let e = (scores[(row + i) as usize] - top).exp();
            total += e;
            sum += e * v[(i * width + column) as usize];
        }
        y[id as usize] = sum / total;
    }
}

/// `scores (heads, s + rows)`: sinks first, then the ring's rows from the oldest; ALiBi distances if `alibi`.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "buffers and the shape, as the device wants them")]
pub fn ring_scores(
    q: &[f32],
    ring_k: &[f32],
    sink_k: &[f32],
    out: &mut [f32],
    t: u32,
    s: u32,
    rows: u32,
    oldest: u32,
    heads: u32,
    dim: u32,
    scale: f32,
    #[comptime] alibi: bool,
) {
    let id = ABSOLUTE_POS as u32;
    let n = s + rows;
    if id < heads * n {
        let row = id % n;
        let head = id / n;
        let width = heads * dim;
        let mut sum = 0.0f32;
        if row < s {
            for i in 0..dim {
                sum += q[(head * dim + i) as usize] * sink_k[(row * width + head * dim + i) as usize];
            }
            sum *= scale;
        } else {
            let age = rows - 1u32 - (row - s);
            let slot = (oldest + row - s) % t;
            for i in 0..dim {
                sum += q[(head * dim + i) as usize] * ring_k[(slot * width + head * dim + i) as usize];
            }
            sum *= scale;
            if comptime!(alibi) {
                let exponent = -8.0f32 * (head + 1u32) as f32 / heads as f32;
                // 2^x
                sum -= (exponent * std::f32::consts::LN_2).exp() * age as f32;
            }
        }
        out[id as usize] = sum;
    }
}

#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "buffers and the shape, as the device wants them")]
pub fn ring_outputs(
    scores: &[f32],
    ring_v: &[f32],
    sink_v: &[f32],
    y: &mut [f32],
    t: u32,
    s: u32,
    rows: u32,
    oldest: u32,
    heads: u32,
    dim: u32,
) {
    let column = ABSOLUTE_POS as u32;
    let width = heads * dim;
    if column < width {
        let n = s + rows;
        let from = column / dim * n;
        let mut top = scores[from as usize];
        for i in 1..n {
            top = max(top, scores[(from + i) as usize]);
        }
        let mut total = 0.0f32;
        let mut sum = 0.0f32;
        for i in 0..s {
            let e = (scores[(from + i) as usize] - top).exp();
            total += e;
            sum += e * sink_v[(i * width + column) as usize];
        }
        for i in 0..rows {
            let e = (scores[(from + s + i) as usize] - top).exp();
            total += e;
            sum += e * ring_v[((oldest + i) % t * width + column) as usize];
        }
        y[column as usize] = sum / total;
    }
}
