//! What the host computes for the denoiser: time features, keypoint maps, the picture that is shown.
//! The same formulas as `training/odori_training/renderer_model.py`. Must not know plans or backends.

use multiversion::multiversion;

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

/// What the network is told of a keypoint.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Keypoint {
    /// Of the picture, 0 to 1; x right, y down.
    pub x: f32,
    pub y: f32,
    /// 0 to 1.
    pub confidence: f32,
    /// How much nearer to the viewer than the pelvis, metres.
    pub depth: f32,
}

/// A Gaussian of `sigma` patches round every keypoint, times its confidence; then as many again times its depth in
/// units of `depth_scale`.
///
/// They are the 2 * keypoints values from `at` on of every patch in `out` (grid, grid, width). `bells` is scratch of (grid + 2) * keypoints
/// floats.
#[multiversion(targets("x86_64+avx2"))]
pub fn keypoint_maps(keypoints: &[Keypoint], grid: usize, (sigma, depth_scale): (f32, f32), bells: &mut [f32], out: &mut [f32], at: usize) {
    let width = out.len() / (grid * grid);
    let n = keypoints.len();
    let scale = -0.5 / (sigma * sigma);
    let bell = |i: usize, centre: f32| {
        let d = i as f32 + 0.5 - centre * grid as f32;
        (d * d * scale).exp()
    };
    // A keypoint that is not a number says nothing.
    let known = |p: &Keypoint| [p.x, p.y, p.confidence, p.depth].iter().all(|v| v.is_finite());
    let (columns, rows) = bells.split_at_mut(grid * n);
    for (i, column) in columns.chunks_exact_mut(n).enumerate() {
        for (c, p) in column.iter_mut().zip(keypoints) {
            *c = if known(p) { bell(i, p.x) } else { 0.0 };
        }
    }
    let (confident, deep) = rows.split_at_mut(n);
    for (row, line) in out.chunks_exact_mut(grid * width).enumerate() {
        for ((confident, deep), p) in confident.iter_mut().zip(deep.iter_mut()).zip(keypoints) {
            (*confident, *deep) = (0.0, 0.0);
            if known(p) {
                let r = bell(row, p.y);
                (*confident, *deep) = (p.confidence * r, (p.depth / depth_scale).clamp(-2.0, 2.0) * r);
            }
        }
        for (cell, column) in line.chunks_exact_mut(width).zip(columns.chunks_exact(n)) {
            let (confidence, depth) = cell[at..][..2 * n].split_at_mut(n);
            for ((o, r), c) in confidence.iter_mut().zip(&*confident).zip(column) {
                *o = r * c;
            }
            for ((o, r), c) in depth.iter_mut().zip(&*deep).zip(column) {
                *o = r * c;
            }
        }
    }
}

/// A picture (W, W, c) as the values from `at` on of every patch in `out` (W / r, W / r, width): value (dy * r + dx) * c + channel.
pub fn to_patches(picture: &[f32], c: usize, r: usize, out: &mut [f32], at: usize) {
    let grid = (picture.len() / c).isqrt() / r;
    let width = out.len() / (grid * grid);
    let run = r * c;
    for (y, row) in picture.chunks_exact(grid * run).enumerate() {
        let at = at + y % r * run;
        for (patch, pixels) in out[y / r * grid * width..][..grid * width].chunks_exact_mut(width).zip(row.chunks_exact(run)) {
            patch[at..][..run].copy_from_slice(pixels);
        }
    }
}

/// Calls `f` with every r * c neighbours of a row of `out` (W, W, c) and what `patches` (W / r, W / r, r * r * c) holds for them.
pub fn from_patches(patches: &[f32], c: usize, r: usize, out: &mut [f32], f: impl Fn(&mut [f32], &[f32])) {
    let grid = (patches.len() / c).isqrt() / r;
    let (run, width) = (r * c, r * r * c);
    for (y, row) in out.chunks_exact_mut(grid * run).enumerate() {
        let at = y % r * run;
        for (patch, pixels) in patches[y / r * grid * width..][..grid * width].chunks_exact(width).zip(row.chunks_exact_mut(run)) {
            f(pixels, &patch[at..][..run]);
        }
    }
}

/// A map (grid, grid) on a finer grid of `cells` a side, bilinearly.
pub fn enlarge(map: &[f32], grid: usize, cells: usize, out: &mut [f32]) {
    let at = |i: usize| {
        let p = ((i as f32 + 0.5) * (grid as f32 / cells as f32) - 0.5).clamp(0.0, (grid - 1) as f32);
        (p as usize, (p as usize + 1).min(grid - 1), p.fract())
    };
    for (y, row) in out.chunks_exact_mut(cells).enumerate() {
        let (top, bottom, ky) = at(y);
        for (x, v) in row.iter_mut().enumerate() {
            let (left, right, kx) = at(x);
            let across = |y: usize| map[y * grid + left] + (map[y * grid + right] - map[y * grid + left]) * kx;
            *v = across(top) + (across(bottom) - across(top)) * ky;
        }
    }
}

/// The figure's share of every cell, (size / cell)^2, of a picture (size, size, 4).
#[multiversion(targets("x86_64+avx2"))]
pub fn cell_alpha(image: &[f32], size: usize, cell: usize, out: &mut [f32]) {
    let grid = size / cell;
    out.fill(0.0);
    for (y, row) in image.chunks_exact(size * 4).enumerate() {
        for (x, pixel) in row.as_chunks::<4>().0.iter().enumerate() {
            out[y / cell * grid + x / cell] += pixel[3] / (cell * cell) as f32;
        }
    }
}

/// Moves a picture by a flow: what is shown at p comes from p + flow(p), between pixels bilinearly; beyond the picture
/// there is nothing.
///
/// `image` (size, size, 4); `flow` (grid, grid, 2) x and y in cells of that grid, enlarged bilinearly and held within `limit`;
/// gives the picture in `moved` (size, size, 4) and the flow in pixels in `pixels` (size, size, 2).
#[multiversion(targets("x86_64+avx2"))]
pub fn displace(image: &[f32], size: usize, flow: &[f32], grid: usize, limit: f32, moved: &mut [f32], pixels: &mut [f32]) {
    let cell = (size / grid) as f32;
    let flow = flow.as_chunks::<2>().0;
    let image = image.as_chunks::<4>().0;
    let bounded = |v: f32| if v.is_nan() { 0.0 } else { v.clamp(-limit, limit) * cell };
    let tap = |i: usize| {
        let p = ((i as f32 + 0.5) / cell - 0.5).clamp(0.0, (grid - 1) as f32);
        (p as usize, (p as usize + 1).min(grid - 1), p.fract())
    };
    // A row of the flow, between the rows of cells above and below it.
    let mut line = [[0.0f32; 2]; super::SIZES[2]];
    let line = &mut line[..grid];
    let rows = moved.as_chunks_mut::<4>().0.chunks_exact_mut(size).zip(pixels.as_chunks_mut::<2>().0.chunks_exact_mut(size));
    for (y, (moved, pixels)) in rows.enumerate() {
        let (top, bottom, ky) = tap(y);
        for (g, v) in line.iter_mut().enumerate() {
            let (a, b) = (flow[top * grid + g].map(bounded), flow[bottom * grid + g].map(bounded));
            *v = std::array::from_fn(|i| a[i] + (b[i] - a[i]) * ky);
        }
        for (x, (out, shift)) in moved.iter_mut().zip(pixels).enumerate() {
            let (left, right, kx) = tap(x);
            *shift = std::array::from_fn(|i| line[left][i] + (line[right][i] - line[left][i]) * kx);
            *out = between(image, size, x as f32 + shift[0], y as f32 + shift[1]);
        }
    }
}

/// A square picture between pixels; beyond it there is nothing.
#[inline(always)]
fn between(image: &[[f32; 4]], size: usize, x: f32, y: f32) -> [f32; 4] {
    let (x0, y0) = (x.floor(), y.floor());
    let (kx, ky) = (x - x0, y - y0);
    let (u, v) = (x0 as isize, y0 as isize);
    let last = size as isize - 1;
    let corners = if (0..last).contains(&u) && (0..last).contains(&v) {
        let at = v as usize * size + u as usize;
        [image[at], image[at + 1], image[at + size], image[at + size + 1]]
    } else {
        [(u, v), (u + 1, v), (u, v + 1), (u + 1, v + 1)].map(|(u, v)| {
            let inside = (0..=last).contains(&u) && (0..=last).contains(&v);
            if inside { image[v as usize * size + u as usize] } else { [0.0; 4] }
        })
    };
    let [a, b, c, d] = corners;
    std::array::from_fn(|i| {
        let (up, down) = (a[i] + (b[i] - a[i]) * kx, c[i] + (d[i] - c[i]) * kx);
        up + (down - up) * ky
    })
}

/// What decides how far a correction is believed; see `DenoiserConfig`.
#[derive(Clone, Copy, Debug)]
pub struct Belief {
    pub dead_zone: f32,
    pub unsure: f32,
    pub sure: f32,
}

/// The picture that is shown: corrections of the moved warp shrunk by the dead zone, so that what is right stays
/// untouched, and the silhouette changed only where the network is sure; alpha in 0..1, colours in 0..alpha.
/// Anything that is not a number becomes 0.
#[multiversion(targets("x86_64+avx2"))]
pub fn settle(rgba: &mut [f32], moved: &[f32], belief: Belief) {
    const LEAST: f32 = 1.0 / 64.0;
    let bounded = |v: f32, hi: f32| if v.is_nan() { 0.0 } else { v.clamp(0.0, hi) };
    for (p, w) in rgba.as_chunks_mut::<4>().0.iter_mut().zip(moved.as_chunks::<4>().0) {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_hold_a_picture_between_others() {
        let (size, c, r, width, at) = (16, 3, 4, 60, 7);
        let picture: Vec<f32> = (0..size * size * c).map(|i| i as f32).collect();
        let mut patches = vec![-1.0; 16 * width];
        to_patches(&picture, c, r, &mut patches, at);
        // Pixel (9, 6) is (1, 2) of patch (2, 1).
        assert_eq!(patches[(4 + 2) * width + at + (2 * r + 1) * c + 2], picture[(6 * size + 9) * c + 2]);
        assert_eq!(patches.iter().filter(|&&v| v == -1.0).count(), 16 * (width - r * r * c), "the rest is others'");
        let own: Vec<f32> = patches.chunks_exact(width).flat_map(|p| p[at..][..r * r * c].to_vec()).collect();
        let mut back = vec![1.0; picture.len()];
        from_patches(&own, c, r, &mut back, |to, from| to.iter_mut().zip(from).for_each(|(to, from)| *to += from));
        assert!(back.iter().zip(&picture).all(|(b, p)| *b == p + 1.0));
    }

    #[test]
    fn a_flow_shows_what_lies_where_it_points() {
        let (size, grid) = (128, 32);
        let image: Vec<f32> = (0..size * size * 4).map(|i| ((i * 37) % 101) as f32 / 101.0).collect();
        let (mut moved, mut pixels) = (vec![0.0; size * size * 4], vec![0.0; size * size * 2]);
        displace(&image, size, &vec![0.0; grid * grid * 2], grid, 6.0, &mut moved, &mut pixels);
        assert_eq!(moved, image);
        // Half a cell to the right and a whole one down: two and four pixels.
        let flow: Vec<f32> = (0..grid * grid).flat_map(|_| [0.5, 1.0]).collect();
        displace(&image, size, &flow, grid, 6.0, &mut moved, &mut pixels);
        let at = |v: &[f32], x: usize, y: usize| v[(y * size + x) * 4];
        assert_eq!(at(&moved, 10, 20), at(&image, 12, 24));
        assert_eq!(at(&moved, 127, 20), 0.0, "beyond the picture there is nothing");
        assert_eq!(pixels[..2], [2.0, 4.0]);
        // Farther than the limit, or nowhere at all.
        let wild: Vec<f32> = (0..grid * grid).flat_map(|_| [900.0, f32::NAN]).collect();
        displace(&image, size, &wild, grid, 6.0, &mut moved, &mut pixels);
        assert_eq!(at(&moved, 10, 20), at(&image, 34, 20));
    }
}
