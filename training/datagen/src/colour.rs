//! Colours as stored sRGB values, 0 to 1, and the shapes of palettes. No gamma: frames are blended as stored.

use crate::rng::Rng;

pub type Rgb = [f32; 3];

/// Hue in turns, saturation and value 0 to 1.
pub fn hsv(h: f32, s: f32, v: f32) -> Rgb {
    let h = h.rem_euclid(1.0) * 6.0;
    let f = |n: f32| {
        let k = (n + h) % 6.0;
        v - v * s * k.min(4.0 - k).clamp(0.0, 1.0)
    };
    [f(5.0), f(3.0), f(1.0)]
}

pub fn to_hsv([r, g, b]: Rgb) -> [f32; 3] {
    let (max, min) = (r.max(g).max(b), r.min(g).min(b));
    let d = max - min;
    let h = if d < 1e-6 {
        0.0
    } else if max == r {
        ((g - b) / d).rem_euclid(6.0)
    } else if max == g {
        (b - r) / d + 2.0
    } else {
        (r - g) / d + 4.0
    };
    [h / 6.0, if max < 1e-6 { 0.0 } else { d / max }, max]
}

pub fn mix(a: Rgb, b: Rgb, t: f32) -> Rgb {
    std::array::from_fn(|i| a[i] + (b[i] - a[i]) * t)
}

pub fn scale(a: Rgb, s: f32) -> Rgb {
    a.map(|c| (c * s).clamp(0.0, 1.0))
}

/// glTF factors are linear light.
pub fn from_linear(c: f32) -> f32 {
    if c <= 0.003_130_8 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsv_goes_there_and_back() {
        let mut rng = Rng::new(3);
        for _ in 0..200 {
            let c = [rng.unit(), rng.unit(), rng.unit()];
            let [h, s, v] = to_hsv(c);
            let back = hsv(h, s, v);
            assert!((0..3).all(|i| (c[i] - back[i]).abs() < 1e-4), "{c:?} {back:?}");
        }
    }
}
