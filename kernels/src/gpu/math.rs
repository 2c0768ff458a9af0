//! Functions that several kernels use: activations and counter-based noise in f32. No kernel of its own.

use cubecl::prelude::*;

use crate::plan::Act;

/// An activation as a compile-time number.
pub fn act_code(act: Act) -> u32 {
    match act {
        Act::None => 0,
        Act::Silu => 1,
        Act::Gelu => 2,
        Act::Sigmoid => 3,
        Act::Tanh => 4,
    }
}

#[cube]
pub fn sigmoid(x: f32) -> f32 {
    // Below -80 the exponential would leave f32, and the result is zero there anyway.
    let bounded = max(x, -80.0f32);
    1.0f32 / (1.0f32 + (-bounded).exp())
}

#[cube]
pub fn activate(x: f32, #[comptime] act: u32) -> f32 {
    let mut y = x;
    if comptime!(act == 1) {
        y = x * sigmoid(x);
    }
    if comptime!(act == 2) {
        // 0.5 (1 + tanh u) = sigmoid(2u)
        y = x * sigmoid(1.595_769f32 * (x + 0.044_715f32 * x * x * x));
    }
    if comptime!(act == 3) {
        y = sigmoid(x);
    }
    if comptime!(act == 4) {
        y = 2.0f32 * sigmoid(2.0f32 * x) - 1.0f32;
    }
    y
}

/// pcg3d; see `crate::noise`. `third` picks y instead of x.
#[cube]
pub fn pcg(seed: u32, step: u32, lane: u32, #[comptime] second: bool) -> u32 {
    let mut x = seed * 1_664_525u32 + 1_013_904_223u32;
    let mut y = step * 1_664_525u32 + 1_013_904_223u32;
    let mut z = lane * 1_664_525u32 + 1_013_904_223u32;
    x += y * z;
    y += z * x;
    z += x * y;
    x ^= x >> 16u32;
    y ^= y >> 16u32;
    z ^= z >> 16u32;
    x += y * z;
    y += z * x;
    if comptime!(second) { y } else { x }
}

/// `-ln u` of the uniform number that a word stands for, relative error about 1e-6 over the whole range.
/// Near u = 1, which f32 cannot hold, it is the series of `-ln(1 - v)` with v exact.
#[cube]
pub fn minus_ln_uniform(word: u32) -> f32 {
    let k = word >> 8u32;
    let ulp = 0.000_000_059_604_645f32;
    let mut r = 0.0f32;
    if k < 8_388_608u32 {
        r -= ((k as f32 + 0.5f32) * ulp).ln();
    } else {
        let v = ((16_777_215u32 - k) as f32 + 0.5f32) * ulp;
        if v < 0.125f32 {
            r += v
                * (1.0f32
                    + v * (0.5f32 + v * (0.333_333_34f32 + v * (0.25f32 + v * (0.2f32 + v * (0.166_666_67f32 + v * (0.142_857_15f32 + v * 0.125f32)))))));
        } else {
            r -= (1.0f32 - v).ln();
        }
    }
    r
}

#[cube]
pub fn gumbel(seed: u32, step: u32, lane: u32) -> f32 {
    -minus_ln_uniform(pcg(seed, step, lane, false)).ln()
}

#[cube]
pub fn gaussian(seed: u32, step: u32, lane: u32) -> f32 {
    let radius = (2.0f32 * minus_ln_uniform(pcg(seed, step, lane, false))).sqrt();
    let u = ((pcg(seed, step, lane, true) >> 8u32) as f32 + 0.5f32) * 0.000_000_059_604_645f32;
    // cos(2 pi u) = -sin(t), t = 2 pi (1/4 - |u - 1/2|), by its series: drivers may be loose about sine.
    let t = 6.283_185_5f32 * (0.25f32 - (u - 0.5f32).abs());
    let t2 = t * t;
    let s = t
        + t * t2
            * (-0.166_666_67f32 + t2 * (0.008_333_333f32 + t2 * (-0.000_198_412_68f32 + t2 * (0.000_002_755_664f32 + t2 * -0.000_000_023_8f32))));
    -radius * s
}
