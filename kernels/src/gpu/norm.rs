//! Group and RMS normalisation.
//!
//! Group norm is three launches: sums per channel over slices of rows, mean, multiplier and addend of every channel, the map itself.

use cubecl::prelude::*;

use super::math::activate;

/// `sums[cut] = (sum, sum of squares)` of x - x[0] per channel over a slice of rows; one unit per (cut, channel).
#[cube(launch_unchecked)]
pub fn channel_sums(x: &[f32], sums: &mut [f32], hw: u32, c: u32, cuts: u32) {
    let id = ABSOLUTE_POS as u32;
    if id < cuts * c {
        let (cut, channel) = (id / c, id % c);
        let first = x[channel as usize];
        let mut s = 0.0f32;
        let mut q = 0.0f32;
        for row in hw * cut / cuts..hw * (cut + 1u32) / cuts {
            let d = x[(row * c + channel) as usize] - first;
            s += d;
            q += d * d;
        }
        sums[(cut * 2u32 * c + channel) as usize] = s;
        sums[((cut * 2u32 + 1u32) * c + channel) as usize] = q;
    }
}

/// Per channel: what to take away, to multiply with, and to add (3, c). One unit per channel, which joins its group's sums itself.
#[cube(launch_unchecked)]
#[expect(clippy::too_many_arguments, reason = "buffers and the shape, as the device wants them")]
pub fn channel_scales(
    x: &[f32],
    sums: &[f32],
    gain: &[f32],
    bias: &[f32],
    scale_shift: &[f32],
    out: &mut [f32],
    hw: u32,
    c: u32,
    per: u32,
    cuts: u32,
    #[comptime] adain: bool,
) {
    let channel = ABSOLUTE_POS as u32;
    if channel < c {
        let from = channel / per * per;
        let rows = hw as f32;
        let mut mean = 0.0f32;
        for ch in from..from + per {
            let mut s = 0.0f32;
            for cut in 0..cuts {
                s += sums[(cut * 2u32 * c + ch) as usize];
            }
            mean += x[ch as usize] + s / rows;
        }
        mean /= per as f32;
        let mut squares = 0.0f32;
        for ch in from..from + per {
            let mut s = 0.0f32;
            let mut q = 0.0f32;
            for cut in 0..cuts {
                s += sums[(cut * 2u32 * c + ch) as usize];
                q += sums[((cut * 2u32 + 1u32) * c + ch) as usize];
            }
            let away = x[ch as usize] + s / rows - mean;
            squares += q - s * s / rows + rows * away * away;
        }
        let inverse = 1.0f32 / (max(squares, 0.0f32) / (rows * per as f32) + 0.000_01f32).sqrt();
        let mut g = gain[channel as usize];
        let mut b = bias[channel as usize];
        if comptime!(adain) {
            g += scale_shift[channel as usize];
            b += scale_shift[(c + channel) as usize];
        }
        out[channel as usize] = mean;
        out[(c + channel) as usize] = g * inverse;
        out[(2u32 * c + channel) as usize] = b;
    }
}

/// `y = act((x - mean_c) * scale_c + shift_c)`; one unit per element. The mean goes first: added in at the end it would cancel. `y` may be `x`.
#[cube(launch_unchecked)]
pub fn scale_rows(x: &[f32], scales: &[f32], y: &mut [f32], len: u32, c: u32, #[comptime] act: u32) {
    let id = ABSOLUTE_POS as u32;
    if id < len {
        let ch = id % c;
        let centred = x[id as usize] - scales[ch as usize];
        y[id as usize] = activate(centred * scales[(c + ch) as usize] + scales[(2u32 * c + ch) as usize], act);
    }
}

/// `1 / sqrt(mean(x^2) + 1e-6)` of every row; one unit per row.
#[cube(launch_unchecked)]
pub fn rms_scales(x: &[f32], out: &mut [f32], m: u32, d: u32) {
    let row = ABSOLUTE_POS as u32;
    if row < m {
        let mut q = 0.0f32;
        for i in 0..d {
            let v = x[(row * d + i) as usize];
            q += v * v;
        }
        out[row as usize] = 1.0f32 / (q / d as f32 + 0.000_001f32).sqrt();
    }
}

/// `y = x * scale_row * gain_d`; one unit per element. `y` may be `x`.
#[cube(launch_unchecked)]
pub fn rms_apply(x: &[f32], scales: &[f32], gain: &[f32], y: &mut [f32], len: u32, d: u32) {
    let id = ABSOLUTE_POS as u32;
    if id < len {
        y[id as usize] = x[id as usize] * scales[(id / d) as usize] * gain[(id % d) as usize];
    }
}
