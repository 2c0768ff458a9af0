//! What the host computes for the denoiser: time features, keypoint maps, the picture that is shown.
//! The same formulas as `training/odori_training/renderer_model.py`. Must not know plans or backends.

/// The times of an n-step sampling: 1, (n - 1) / n, ... 1 / n.
pub fn step_time(step: u32, steps: u32) -> f32 {
    1.0 - step as f32 / steps as f32
}

/// Sines then cosines of pi * 2^(i / 2) * t.
pub fn time_features(t: f32, out: &mut [f32]) {
    let half = out.len() / 2;
    for i in 0..half {
        let angle = std::f32::consts::PI * (i as f32 * 0.5).exp2() * t;
        out[i] = angle.sin();
        out[half + i] = angle.cos();
    }
}

/// A Gaussian of `sigma` patches round every keypoint, times its confidence.
///
/// `keypoints` are x, y in 0..1 of the picture and a confidence; `out` is (grid, grid, keypoints).
/// `columns` is scratch of `grid` floats.
pub fn keypoint_maps(keypoints: &[[f32; 3]], grid: usize, sigma: f32, columns: &mut [f32], out: &mut [f32]) {
    let n = keypoints.len();
    let scale = -0.5 / (sigma * sigma);
    let bell = |i: usize, centre: f32| {
        let d = i as f32 + 0.5 - centre * grid as f32;
        (d * d * scale).exp()
    };
    for (k, &[x, y, confidence]) in keypoints.iter().enumerate() {
        // A keypoint that is not a number says nothing.
        let known = x.is_finite() && y.is_finite() && confidence.is_finite();
        for (i, c) in columns.iter_mut().enumerate() {
            *c = if known { bell(i, x) } else { 0.0 };
        }
        for row in 0..grid {
            let r = if known { confidence * bell(row, y) } else { 0.0 };
            for (column, &c) in columns.iter().enumerate() {
                out[(row * grid + column) * n + k] = r * c;
            }
        }
    }
}

/// What decides how far a correction is believed; see `DenoiserConfig`.
#[derive(Clone, Copy, Debug)]
pub struct Belief {
    pub dead_zone: f32,
    pub unsure: f32,
    pub sure: f32,
}

/// The picture that is shown: corrections of the warp shrunk by the dead zone, so that what is right stays untouched,
/// and the silhouette moved only where the network is sure; alpha in 0..1, colours in 0..alpha.
/// Anything that is not a number becomes 0.
pub fn settle(rgba: &mut [f32], warp: &[f32], belief: Belief) {
    const LEAST: f32 = 1.0 / 64.0;
    let bounded = |v: f32, hi: f32| if v.is_nan() { 0.0 } else { v.clamp(0.0, hi) };
    for (p, w) in rgba.as_chunks_mut::<4>().0.iter_mut().zip(warp.as_chunks::<4>().0) {
        for (v, &w) in p.iter_mut().zip(w) {
            let d = *v - w;
            *v = w + (d.abs() - belief.dead_zone).max(0.0).copysign(d);
        }
        let (was, now) = (bounded(w[3], 1.0), bounded(p[3], 1.0));
        let u = (((now - was).abs() - belief.unsure) / (belief.sure - belief.unsure)).clamp(0.0, 1.0);
        let alpha = was + (now - was) * u * u * (3.0 - 2.0 * u);
        for c in 0..3 {
            let straight = if now > LEAST { bounded(p[c], now) / now } else { w[c] / was.max(LEAST) };
            p[c] = bounded(straight * alpha, alpha);
        }
        p[3] = alpha;
    }
}
