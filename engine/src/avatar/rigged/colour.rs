//! Colours as stored sRGB values, 0 to 1. No gamma: frames are blended as stored.

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

/// glTF factors are linear light.
pub fn from_linear(c: f32) -> f32 {
    if c <= 0.003_130_8 { 12.92 * c } else { 1.055 * c.powf(1.0 / 2.4) - 0.055 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hsv_goes_there_and_back() {
        for n in 0..200u32 {
            let c = [7, 13, 29].map(|k| (n * k % 101) as f32 / 100.0);
            let [h, s, v] = to_hsv(c);
            let back = hsv(h, s, v);
            assert!((0..3).all(|i| (c[i] - back[i]).abs() < 1e-4), "{c:?} {back:?}");
        }
    }
}
