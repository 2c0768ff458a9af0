//! Convolution and linear layers: `y = act(conv(x, w) + b) + residual`, NHWC.
//!
//! A unit sums four output channels of a few neighbouring pixels in registers; neighbouring units hold neighbouring channels,
//! so weights are read side by side and each input value is the same for all of them. No shared memory: where there is none
//! worth having (software adapters) it costs four times the arithmetic, and elsewhere the caches hold these small maps.

use cubecl::prelude::*;

use super::math::activate;

/// Weights packed as (k * k, c_in, c_out / 4) vectors of four channels, zeros past the last channel.
pub fn pack(w: &[f32], c_out: usize, c_in: usize, taps: usize) -> Vec<f32> {
    let width = c_out.div_ceil(4) * 4;
    let mut out = vec![0.0; taps * c_in * width];
    for co in 0..c_out {
        for ci in 0..c_in {
            for tap in 0..taps {
                out[(tap * c_in + ci) * width + co] = w[(co * c_in + ci) * taps + tap];
            }
        }
    }
    out
}

/// One unit per four channels of `pixels` outputs of a row, channels fastest.
#[cube(launch_unchecked)]
#[allow(clippy::manual_div_ceil, reason = "u32::div_ceil is no device function")]
#[expect(clippy::too_many_arguments, reason = "buffers and the shape, as the device wants them")]
pub fn conv(
    x: &[f32],
    w: &[Vector<f32, Const<4>>],
    bias: &[Vector<f32, Const<4>>],
    residual: &[f32],
    y: &mut [f32],
    h: u32,
    w_in: u32,
    c_in: u32,
    h_out: u32,
    w_out: u32,
    c_out: u32,
    #[comptime] k: u32,
    #[comptime] stride: u32,
    #[comptime] pixels: usize,
    #[comptime] act: u32,
    #[comptime] has_residual: bool,
) {
    let id = ABSOLUTE_POS as u32;
    let groups = (c_out + 3u32) / 4u32;
    let cuts = (w_out + comptime!(pixels as u32 - 1)) / comptime!(pixels as u32);
    let group = id % groups;
    let cut = (id / groups) % cuts;
    let oy = id / (groups * cuts);
    if oy < h_out {
        let pad = comptime!(k / 2);
        let ox = cut * comptime!(pixels as u32);
        let mut acc = Array::<Vector<f32, Const<4>>>::new(pixels);
        let mut at = Array::<u32>::new(pixels);
        let mut live = Array::<f32>::new(pixels);
        #[unroll]
        for i in 0..pixels {
            acc[i] = bias[group as usize];
        }
        for ky in 0..k {
            // Positions are counted from the padding's edge, so that nothing is negative.
            let iy = oy * stride + ky;
            if iy >= pad && iy < h + pad {
                for kx in 0..k {
                    #[unroll]
                    for i in 0..pixels {
                        let ix = (ox + i as u32) * stride + kx;
                        let inside = ix >= pad && ix < w_in + pad;
                        let column = select(inside, ix - pad, 0u32);
                        at[i] = ((iy - pad) * w_in + column) * c_in;
                        live[i] = select(inside, 1.0f32, 0.0f32);
                    }
                    let tap = ((ky * k + kx) * c_in) * groups + group;
                    for ci in 0..c_in {
                        let weights = w[(tap + ci * groups) as usize];
                        #[unroll]
                        for i in 0..pixels {
                            let v = x[(at[i] + ci) as usize] * live[i];
                            acc[i] = weights * Vector::new(v) + acc[i];
                        }
                    }
                }
            }
        }
        #[unroll]
        for i in 0..pixels {
            if ox + (i as u32) < w_out {
                let pixel = (oy * w_out + ox + i as u32) * c_out + group * 4u32;
                #[unroll]
                for j in 0..4usize {
                    if group * 4u32 + (j as u32) < c_out {
                        let mut v = activate(acc[i].extract(j), act);
                        if comptime!(has_residual) {
                            v += residual[(pixel + j as u32) as usize];
                        }
                        y[(pixel + j as u32) as usize] = v;
                    }
                }
            }
        }
    }
}
