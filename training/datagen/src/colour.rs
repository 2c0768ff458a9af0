//! The shapes of palettes.

pub use odori_engine::avatar::rigged::colour::{Rgb, hsv, mix, to_hsv};

use crate::rng::Rng;

pub fn scale(a: Rgb, s: f32) -> Rgb {
    a.map(|c| (c * s).clamp(0.0, 1.0))
}

/// Skin of people, and now and then of no one.
pub fn skin(rng: &mut Rng) -> Rgb {
    if rng.chance(0.06) {
        return hsv(rng.unit(), rng.range(0.15, 0.45), rng.range(0.7, 0.95));
    }
    let depth = rng.unit().powf(1.4);
    let pale = [1.0, 0.89, 0.82];
    let dark = [0.42, 0.27, 0.19];
    let c = mix(pale, dark, depth);
    let [h, s, v] = to_hsv(c);
    hsv(h + rng.range(-0.012, 0.012), s * rng.range(0.85, 1.15), v)
}

pub fn hair(rng: &mut Rng) -> Rgb {
    if rng.chance(0.5) {
        // Natural: black, brown, blond, grey.
        let c = rng.pick(&[[0.12, 0.11, 0.13], [0.3, 0.19, 0.13], [0.5, 0.33, 0.2], [0.88, 0.75, 0.5], [0.75, 0.75, 0.78]]);
        scale(c, rng.range(0.85, 1.15))
    } else {
        hsv(rng.unit(), rng.range(0.3, 0.75), rng.range(0.45, 0.98))
    }
}

/// Cloth: vivid, pastel, dark, white or grey.
pub fn cloth(rng: &mut Rng) -> Rgb {
    match rng.below(6) {
        0 => hsv(rng.unit(), rng.range(0.55, 0.9), rng.range(0.6, 0.95)),
        1 => hsv(rng.unit(), rng.range(0.15, 0.4), rng.range(0.85, 1.0)),
        2 => hsv(rng.unit(), rng.range(0.2, 0.7), rng.range(0.15, 0.4)),
        3 => hsv(rng.unit(), rng.range(0.0, 0.08), rng.range(0.88, 1.0)),
        4 => hsv(rng.unit(), rng.range(0.0, 0.15), rng.range(0.12, 0.6)),
        _ => hsv(rng.unit(), rng.range(0.3, 0.6), rng.range(0.5, 0.8)),
    }
}
