//! Choosing: the nearest code of a codebook, and one class of a distribution.

use cubecl::prelude::*;

use super::math::gumbel;

/// Squared distances (m, v); one unit per code and row.
#[cube(launch_unchecked)]
pub fn distances(x: &[f32], book: &[f32], out: &mut [f32], m: u32, d: u32, v: u32) {
    let id = ABSOLUTE_POS as u32;
    if id < m * v {
        let (row, code) = (id / v, id % v);
        let mut s = 0.0f32;
        for i in 0..d {
            let diff = x[(row * d + i) as usize] - book[(code * d + i) as usize];
            s += diff * diff;
        }
        out[id as usize] = s;
    }
}

/// Index of the smallest of `v` values in each of `m` rows, the first on a tie; one unit per row.
#[cube(launch_unchecked)]
pub fn smallest(values: &[f32], ids: &mut [f32], ids_offset: u32, m: u32, v: u32) {
    let row = ABSOLUTE_POS as u32;
    if row < m {
        let mut best = 0u32;
        let mut least = values[(row * v) as usize];
        for i in 1..v {
            let value = values[(row * v + i) as usize];
            if value < least {
                least = value;
                best = i;
            }
        }
        ids[(ids_offset + row) as usize] = best as f32;
    }
}

/// `p_i = exp((l_i - max l) / temperature)`; at temperature 0 one for the largest. One unit per class.
#[cube(launch_unchecked)]
pub fn weights(logits: &[f32], p: &mut [f32], v: u32, temperature: f32) {
    let id = ABSOLUTE_POS as u32;
    if id < v {
        let mut top = logits[0];
        for i in 1..v {
            top = max(top, logits[i as usize]);
        }
        p[id as usize] = ((logits[id as usize] - top) / temperature).exp();
    }
}

/// Minus the noisy score of every class that takes part, a large number for the others; one unit per class.
/// `smallest` of these is the draw.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "buffers and the shape, as the device wants them")]
pub fn noisy(logits: &[f32], p: &[f32], out: &mut [f32], v: u32, temperature: f32, top_p: f32, seed: u32, step: u32, slot: u32) {
    let id = ABSOLUTE_POS as u32;
    if id < v {
        let own = p[id as usize];
        let mut total = 0.0f32;
        let mut before = 0.0f32;
        let mut ahead = 0u32;
        for i in 0..v {
            let other = p[i as usize];
            total += other;
            if other > own || (other == own && i < id) {
                before += other;
                ahead += 1u32;
            }
        }
        let mut score = 3.0e38f32;
        if ahead == 0u32 || before < top_p * total {
            // Taking the first class away from all keeps large logits from swallowing the noise.
            score = (logits[0] - logits[id as usize]) / temperature - gumbel(seed, step, slot * 65_536u32 + id);
        }
        out[id as usize] = score;
    }
}

/// Minus the logits: `smallest` of these is the argmax.
#[cube(launch_unchecked)]
pub fn negate(x: &[f32], y: &mut [f32], len: u32) {
    let id = ABSOLUTE_POS as u32;
    if id < len {
        y[id as usize] = -x[id as usize];
    }
}
