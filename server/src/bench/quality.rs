//! How much of a picture survives the way to the viewer: PSNR and SSIM of the luma, over the rectangle that holds the figure.
//! The ground around it is flat and would flatter both.

/// A rectangle in pixels; the far sides are not in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rect {
    pub left: usize,
    pub top: usize,
    pub right: usize,
    pub bottom: usize,
}

/// What holds every pixel that is at least half opaque, below `skip_rows` and right of nothing; `None` if there are too few.
pub fn figure(rgba: &[u8], width: usize, skip_rows: usize) -> Option<Rect> {
    let mut r = Rect { left: usize::MAX, top: usize::MAX, right: 0, bottom: 0 };
    for (y, row) in rgba.chunks_exact(width * 4).enumerate().skip(skip_rows) {
        for (x, p) in row.as_chunks::<4>().0.iter().enumerate() {
            if p[3] >= 128 {
                r = Rect { left: r.left.min(x), top: r.top.min(y), right: r.right.max(x + 1), bottom: r.bottom.max(y + 1) };
            }
        }
    }
    (r.right > r.left.saturating_add(16) && r.bottom > r.top.saturating_add(16)).then_some(r)
}

/// A plane of luma.
#[derive(Clone, Copy)]
pub struct Plane<'a> {
    pub luma: &'a [u8],
    pub stride: usize,
}

impl Plane<'_> {
    fn at(&self, x: usize, y: usize) -> f64 {
        f64::from(self.luma[y * self.stride + x])
    }
}

/// Peak signal-to-noise ratio in decibels; 100 where nothing differs.
pub fn psnr_db(a: Plane<'_>, b: Plane<'_>, r: Rect) -> f64 {
    let mut sum = 0.0;
    for y in r.top..r.bottom {
        for x in r.left..r.right {
            sum += (a.at(x, y) - b.at(x, y)).powi(2);
        }
    }
    let mean = sum / ((r.right - r.left) * (r.bottom - r.top)) as f64;
    if mean < 1e-9 { 100.0 } else { 10.0 * (255.0f64.powi(2) / mean).log10() }
}

/// Structural similarity (Wang et al. 2004), mean over windows of 8 x 8, four pixels apart.
pub fn ssim(a: Plane<'_>, b: Plane<'_>, r: Rect) -> f64 {
    const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
    let (mut sum, mut windows) = (0.0, 0);
    for top in (r.top..r.bottom.saturating_sub(7)).step_by(4) {
        for left in (r.left..r.right.saturating_sub(7)).step_by(4) {
            let (mut sa, mut sb, mut saa, mut sbb, mut sab) = (0.0, 0.0, 0.0, 0.0, 0.0);
            for y in top..top + 8 {
                for x in left..left + 8 {
                    let (va, vb) = (a.at(x, y), b.at(x, y));
                    sa += va;
                    sb += vb;
                    saa += va * va;
                    sbb += vb * vb;
                    sab += va * vb;
                }
            }
            let (ma, mb) = (sa / 64.0, sb / 64.0);
            let (va, vb, cov) = (saa / 64.0 - ma * ma, sbb / 64.0 - mb * mb, sab / 64.0 - ma * mb);
            sum += (2.0 * ma * mb + C1) * (2.0 * cov + C2) / ((ma * ma + mb * mb + C1) * (va + vb + C2));
            windows += 1;
        }
    }
    sum / f64::from(windows.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_worse_picture_scores_worse_and_an_equal_one_perfect() {
        let picture: Vec<u8> = (0..64 * 64).map(|i| ((i % 64) * 3 + i / 64) as u8).collect();
        let noisy = |amount: i32| -> Vec<u8> {
            picture.iter().enumerate().map(|(i, v)| (i32::from(*v) + ((i * 7919 % 13) as i32 - 6) * amount / 6).clamp(0, 255) as u8).collect()
        };
        let r = Rect { left: 0, top: 0, right: 64, bottom: 64 };
        let plane = |luma| Plane { luma, stride: 64 };
        let (little, much) = (noisy(2), noisy(20));
        assert_eq!(psnr_db(plane(&picture), plane(&picture), r), 100.0);
        assert!((ssim(plane(&picture), plane(&picture), r) - 1.0).abs() < 1e-9);
        assert!(psnr_db(plane(&picture), plane(&little), r) > psnr_db(plane(&picture), plane(&much), r) + 10.0);
        assert!(ssim(plane(&picture), plane(&little), r) > ssim(plane(&picture), plane(&much), r) + 0.05);
        // One grey level everywhere: 20 log10 255.
        let shifted: Vec<u8> = picture.iter().map(|v| v ^ 1).collect();
        assert!((psnr_db(plane(&picture), plane(&shifted), r) - 48.13).abs() < 0.01);
    }

    #[test]
    fn the_figure_is_what_is_opaque_below_the_code() {
        let mut rgba = vec![0; 64 * 64 * 4];
        rgba[3] = 255;
        for y in 20..50 {
            for x in 30..60 {
                rgba[(y * 64 + x) * 4 + 3] = 200;
            }
        }
        assert_eq!(figure(&rgba, 64, 8), Some(Rect { left: 30, top: 20, right: 60, bottom: 50 }));
        assert_eq!(figure(&vec![0; 64 * 64 * 4], 64, 0), None);
    }
}
