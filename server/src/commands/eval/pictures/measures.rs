//! How near a picture of a figure is to the true one. Pictures are premultiplied RGBA in 0 to 1, (side, side, 4).

/// One frame, square.
#[derive(Clone, Debug, PartialEq)]
pub struct Picture {
    pub side: usize,
    pub rgba: Vec<f32>,
}

impl Picture {
    fn plane(&self, c: usize) -> Vec<f32> {
        self.rgba.iter().skip(c).step_by(4).copied().collect()
    }
}

/// Pixels beyond the figure that still count.
const MARGIN: usize = 3;
/// Pixels on either side of the silhouette that are its edge.
const EDGE: usize = 4;
/// Of the Gaussian window of structural similarity (Wang et al. 2004), pixels.
const SIGMA: f32 = 1.5;

/// The largest value within `reach` pixels in each direction.
fn widened(plane: &[f32], side: usize, reach: usize) -> Vec<f32> {
    let pass = |from: &[f32], line: usize, step: usize| -> Vec<f32> {
        let mut out = vec![0.0; from.len()];
        for l in 0..side {
            for i in 0..side {
                let near = i.saturating_sub(reach)..=(i + reach).min(side - 1);
                out[l * line + i * step] = near.map(|j| from[l * line + j * step]).fold(f32::MIN, f32::max);
            }
        }
        out
    };
    pass(&pass(plane, side, 1), 1, side)
}

/// Where either picture has the figure, and a little round it.
pub fn figure(a: &Picture, b: &Picture) -> Vec<bool> {
    let either: Vec<f32> = a.plane(3).iter().zip(b.plane(3)).map(|(a, b)| a.max(b)).collect();
    widened(&either, a.side, MARGIN).into_iter().map(|v| v > 0.02).collect()
}

fn mean_over(mask: &[bool], value: impl Fn(usize) -> f32) -> f32 {
    let (sum, n) = mask.iter().enumerate().filter(|(_, m)| **m).fold((0.0f64, 0u32), |(s, n), (i, _)| (s + f64::from(value(i)), n + 1));
    (sum / f64::from(n.max(1))) as f32
}

/// Peak signal to noise ratio over the masked pixels, dB.
pub fn psnr(a: &Picture, truth: &Picture, mask: &[bool]) -> f32 {
    let error = mean_over(mask, |i| (0..4).map(|c| (a.rgba[i * 4 + c] - truth.rgba[i * 4 + c]).powi(2)).sum::<f32>() / 4.0);
    -10.0 * error.max(1e-8).log10()
}

fn blurred(plane: &[f32], side: usize) -> Vec<f32> {
    let taps: Vec<f32> = (-5i32..=5).map(|d| (-(d * d) as f32 / (2.0 * SIGMA * SIGMA)).exp()).collect();
    let total: f32 = taps.iter().sum();
    let pass = |from: &[f32], line: usize, step: usize| -> Vec<f32> {
        let mut out = vec![0.0; from.len()];
        for l in 0..side {
            for i in 0..side {
                let mut sum = 0.0;
                for (k, w) in taps.iter().enumerate() {
                    let j = i + k;
                    if (5..side + 5).contains(&j) {
                        sum += w * from[l * line + (j - 5) * step];
                    }
                }
                out[l * line + i * step] = sum / total;
            }
        }
        out
    };
    pass(&pass(plane, side, 1), 1, side)
}

/// Mean structural similarity over the masked pixels and the four channels.
pub fn ssim(a: &Picture, truth: &Picture, mask: &[bool]) -> f32 {
    let mut total = 0.0;
    for c in 0..4 {
        let (x, y) = (a.plane(c), truth.plane(c));
        let product = |p: &[f32], q: &[f32]| -> Vec<f32> { p.iter().zip(q).map(|(p, q)| p * q).collect() };
        let (mx, my) = (blurred(&x, a.side), blurred(&y, a.side));
        let (xx, yy, xy) = (blurred(&product(&x, &x), a.side), blurred(&product(&y, &y), a.side), blurred(&product(&x, &y), a.side));
        total += mean_over(mask, |i| {
            let (vx, vy, cov) = (xx[i] - mx[i] * mx[i], yy[i] - my[i] * my[i], xy[i] - mx[i] * my[i]);
            (2.0 * mx[i] * my[i] + 1e-4) * (2.0 * cov + 9e-4) / ((mx[i] * mx[i] + my[i] * my[i] + 1e-4) * (vx + vy + 9e-4))
        });
    }
    total / 4.0
}

/// Mean difference of alpha along the true silhouette.
pub fn edge_error(a: &Picture, truth: &Picture) -> f32 {
    let alpha = truth.plane(3);
    let clear: Vec<f32> = alpha.iter().map(|v| -v).collect();
    let band: Vec<bool> = widened(&alpha, a.side, EDGE).iter().zip(widened(&clear, a.side, EDGE)).map(|(most, least)| most + least > 0.5).collect();
    mean_over(&band, |i| (a.rgba[i * 4 + 3] - truth.rgba[i * 4 + 3]).abs())
}

/// Mean change from one frame to the next over the masked pixels.
pub fn change(before: &Picture, now: &Picture, mask: &[bool]) -> f32 {
    mean_over(mask, |i| (0..4).map(|c| (now.rgba[i * 4 + c] - before.rgba[i * 4 + c]).abs()).sum::<f32>() / 4.0)
}

/// Mean of the change that the truth does not show.
pub fn false_change(before: [&Picture; 2], now: [&Picture; 2], mask: &[bool]) -> f32 {
    let [b, tb] = before.map(|p| &p.rgba);
    let [n, tn] = now.map(|p| &p.rgba);
    mean_over(mask, |i| (i * 4..i * 4 + 4).map(|j| ((n[j] - b[j]) - (tn[j] - tb[j])).abs()).sum::<f32>() / 4.0)
}

/// Colours to a side of the histogram that tells one character from another.
const SHADES: usize = 6;

/// What a character looks like, whatever its pose: a histogram of its colours, each pixel shared between neighbouring
/// shades. Sums to 1.
pub fn identity(p: &Picture) -> Vec<f32> {
    let mut out = vec![0.0; SHADES.pow(3)];
    let mut total = 0.0;
    for px in p.rgba.chunks_exact(4).filter(|px| px[3] > 0.5) {
        let at: [(usize, f32); 3] = std::array::from_fn(|c| {
            let v = (px[c] / px[3]).clamp(0.0, 1.0) * (SHADES - 1) as f32;
            ((v as usize).min(SHADES - 2), v - (v as usize).min(SHADES - 2) as f32)
        });
        for corner in 0..8 {
            let mut w = px[3];
            let mut bin = 0;
            for (c, (low, part)) in at.iter().enumerate() {
                let high = corner >> c & 1;
                w *= if high == 1 { *part } else { 1.0 - part };
                bin = bin * SHADES + low + high;
            }
            out[bin] += w;
            total += w;
        }
    }
    out.iter_mut().for_each(|v| *v /= total.max(1e-6));
    out
}

/// 0 for the same colours to 1 for none in common.
pub fn identity_distance(a: &[f32], b: &[f32]) -> f32 {
    0.5 * a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f32>()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disc of one colour, its middle at (x, 32) of 64.
    fn disc(x: f32, colour: [f32; 3]) -> Picture {
        let side = 64;
        let mut rgba = vec![0.0; side * side * 4];
        for (i, p) in rgba.chunks_exact_mut(4).enumerate() {
            let (dx, dy) = ((i % side) as f32 - x, (i / side) as f32 - 32.0);
            let a = (12.5 - (dx * dx + dy * dy).sqrt()).clamp(0.0, 1.0);
            p.copy_from_slice(&[colour[0] * a, colour[1] * a, colour[2] * a, a]);
        }
        Picture { side, rgba }
    }

    #[test]
    fn the_truth_is_best_and_a_nearer_picture_better() {
        let truth = disc(32.0, [0.9, 0.2, 0.1]);
        let mask = figure(&truth, &truth);
        assert!(psnr(&truth, &truth, &mask) > 70.0 && (ssim(&truth, &truth, &mask) - 1.0).abs() < 1e-4);
        assert_eq!(edge_error(&truth, &truth), 0.0);
        let (near, far) = (disc(33.0, [0.9, 0.2, 0.1]), disc(36.0, [0.9, 0.2, 0.1]));
        assert!(psnr(&near, &truth, &mask) > psnr(&far, &truth, &mask) + 3.0);
        assert!(ssim(&near, &truth, &mask) > ssim(&far, &truth, &mask));
        assert!(edge_error(&near, &truth) < edge_error(&far, &truth));
    }

    #[test]
    fn false_change_is_what_the_truth_does_not_show() {
        let (a, b, red) = (disc(30.0, [0.5; 3]), disc(34.0, [0.5; 3]), disc(34.0, [0.9, 0.2, 0.1]));
        let mask = figure(&a, &b);
        assert_eq!(false_change([&a, &a], [&b, &b], &mask), 0.0);
        assert!(false_change([&a, &a], [&red, &b], &mask) > 0.02);
        assert!(change(&a, &b, &mask) > 0.02);
    }

    #[test]
    fn a_character_is_known_by_its_colours_wherever_it_stands() {
        let (red, moved, blue) = (disc(32.0, [0.9, 0.2, 0.1]), disc(20.0, [0.88, 0.22, 0.1]), disc(32.0, [0.1, 0.2, 0.9]));
        let of = |p: &Picture| identity(p);
        assert!((of(&red).iter().sum::<f32>() - 1.0).abs() < 1e-4);
        assert!(identity_distance(&of(&red), &of(&moved)) < 0.2);
        assert!(identity_distance(&of(&red), &of(&blue)) > 0.8);
    }
}
