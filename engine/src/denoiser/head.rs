//! The head moves smoothly.
//!
//! Where a head turns, the network moves every patch by itself: eyes, nose, ears and outline each as far as they should. On a large or flat
//! drawn head, unlike those that it learned from, neighbours disagree, and what is drawn sharply shows it: outlines get lumps, eyes slant.
//! So over the head each place moves as the mean of the head about it; the more so the larger the head.

use glam::Vec2;

/// Patches that the head must cover to be told how it moves, at a working size of 128.
const LEAST: f32 = 6.0;
/// A third of the patches by which the head's move holds beyond its outline, where nothing else is, at a working size of 128.
const MARGIN: usize = 1;
/// Nearness to the figure of a place that belongs to nothing.
const NOWHERE: f32 = 0.01;
/// Cells on either side that a mean is taken of, three times over, at 64 cells to the picture.
const WIDTH: usize = 1;
/// Radii of a head that is small, where nothing is changed, and of one that is large, patches at a working size of 128; and how much the flow
/// gives way on a large one.
const SMALL: f32 = 1.7;
const LARGE: f32 = 2.4;
const ON_LARGE: f32 = 0.85;
/// How much nearer the rest of the figure counts than the head.
const BODY: f32 = 2.0;
/// Least share of head about a place for its mean to mean anything.
const FAINT: f32 = 1e-4;

/// Reusable buffers, (grid, grid) each: a value for every cell of the flow.
#[derive(Clone, Debug)]
pub(super) struct SmoothHead {
    weight: Vec<f32>,
    across: Vec<f32>,
    down: Vec<f32>,
    rows: Vec<f32>,
    body: Vec<f32>,
    hold: Vec<f32>,
}

impl SmoothHead {
    pub fn new(grid: usize) -> Self {
        let map = vec![0.0; grid * grid];
        SmoothHead { weight: map.clone(), across: map.clone(), down: map.clone(), rows: map.clone(), body: map.clone(), hold: map }
    }

    /// Changes `flow`, (grid, grid, 2) in cells of that grid, over the head. `cover` and `alpha`, (grid, grid), are how much of each cell is head, and
    /// figure. Nothing changes where there is no head to be seen.
    pub fn apply(&mut self, cover: &[f32], alpha: &[f32], grid: usize, flow: &mut [f32]) {
        let flow = flow.as_chunks_mut::<2>().0;
        self.weight.clear();
        self.weight.extend(cover.iter().zip(alpha).zip(flow.iter()).map(|((c, a), f)| if f.iter().all(|v| v.is_finite()) { (c * a).clamp(0.0, 1.0) } else { 0.0 }));
        let Some(radius) = radius(&self.weight, grid) else { return };
        let large = ((radius * 32.0 / grid as f32 - SMALL) / (LARGE - SMALL)).clamp(0.0, 1.0);
        if large == 0.0 {
            return;
        }
        self.reach(cover, alpha, grid, ON_LARGE * large);
        for (map, axis) in [(&mut self.across, 0), (&mut self.down, 1)] {
            map.clear();
            map.extend(self.weight.iter().zip(flow.iter()).map(|(w, f)| if *w > 0.0 { w * f[axis] } else { 0.0 }));
        }
        let width = (WIDTH * grid / 64).max(1);
        for map in [&mut self.weight, &mut self.across, &mut self.down] {
            for _ in 0..3 {
                blur(map, &mut self.rows, grid, width);
            }
        }
        for (i, (f, hold)) in flow.iter_mut().zip(&self.hold).enumerate() {
            let near = self.weight[i];
            if *hold > 0.0 && near > FAINT {
                for (v, mean) in f.iter_mut().zip([self.across[i] / near, self.down[i] / near]) {
                    *v = if v.is_finite() { *v + (mean - *v) * hold } else { mean };
                }
            }
        }
    }

    /// Where that holds: on the head, and round it as far as the rest of the figure is not nearer.
    fn reach(&mut self, cover: &[f32], alpha: &[f32], grid: usize, most: f32) {
        let width = MARGIN * grid / 32;
        self.hold.clear();
        self.hold.extend_from_slice(cover);
        self.body.clear();
        self.body.extend(alpha.iter().zip(cover).map(|(a, c)| (a - c).max(0.0)));
        for map in [&mut self.hold, &mut self.body] {
            for _ in 0..3 {
                blur(map, &mut self.rows, grid, width);
            }
        }
        for (hold, body) in self.hold.iter_mut().zip(&self.body) {
            *hold *= most / (*hold + BODY * body + NOWHERE);
        }
    }
}

/// The mean of the patches within `width`, along rows, then along columns.
fn blur(map: &mut [f32], rows: &mut [f32], grid: usize, width: usize) {
    let share = 1.0 / (2 * width + 1) as f32;
    let mean = |from: &[f32], to: &mut [f32], line: usize, step: usize| {
        for l in 0..grid {
            for i in 0..grid {
                let near = i.saturating_sub(width)..=(i + width).min(grid - 1);
                to[l * line + i * step] = near.map(|j| from[l * line + j * step]).sum::<f32>() * share;
            }
        }
    };
    mean(map, rows, grid, 1);
    mean(rows, map, 1, grid);
}

/// Root mean square radius of what is covered, cells.
fn radius(weight: &[f32], grid: usize) -> Option<f32> {
    let at = |i: usize| Vec2::new((i % grid) as f32, (i / grid) as f32);
    let total: f32 = weight.iter().sum();
    if total.is_nan() || total < LEAST * (grid * grid) as f32 / 1024.0 {
        return None;
    }
    let centre = weight.iter().enumerate().map(|(i, w)| at(i) * *w).sum::<Vec2>() / total;
    let spread = weight.iter().enumerate().map(|(i, w)| at(i).distance_squared(centre) * w).sum::<f32>() / total;
    Some(spread.sqrt().max(1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: usize = 64;

    /// A round head over shoulders: cover, alpha.
    fn figure() -> (Vec<f32>, Vec<f32>) {
        let inside = |i: usize, x: f32, y: f32, r: f32| Vec2::new((i % GRID) as f32, (i / GRID) as f32).distance(Vec2::new(x, y)) < r;
        let cover: Vec<f32> = (0..GRID * GRID).map(|i| f32::from(inside(i, 32.0, 18.0, 11.0))).collect();
        let alpha = (0..GRID * GRID).map(|i| cover[i].max(f32::from(inside(i, 32.0, 48.0, 18.0)))).collect();
        (cover, alpha)
    }

    fn at(flow: &[f32], x: usize, y: usize) -> Vec2 {
        Vec2::new(flow[(y * GRID + x) * 2], flow[(y * GRID + x) * 2 + 1])
    }

    #[test]
    fn a_turn_of_the_head_stays_as_it_is() {
        let (cover, alpha) = figure();
        // To the side and narrower, the nose more than the ears; rolled a little.
        let turn = |x: f32, y: f32| {
            let (u, v) = ((x - 32.0) / 11.0, (18.0 - y) / 11.0);
            Vec2::new(2.4 - 0.6 * u + 0.4 * v - 0.8 * u * u, 0.4 * u)
        };
        let mut flow: Vec<f32> = (0..GRID * GRID).flat_map(|i| turn((i % GRID) as f32, (i / GRID) as f32).to_array()).collect();
        let before = flow.clone();
        SmoothHead::new(GRID).apply(&cover, &alpha, GRID, &mut flow);
        for y in 11..26 {
            for x in 25..40 {
                let off = at(&flow, x, y).distance(at(&before, x, y));
                assert!(off < 0.1, "{off} cells at {x}, {y}");
            }
        }
    }

    #[test]
    fn lumps_go_and_the_body_keeps_its_own() {
        let (cover, alpha) = figure();
        let lumps = |x: usize, y: usize| Vec2::new((x as f32 * 1.9).sin(), (y as f32 * 2.3 + x as f32).cos()) * 2.0;
        let mut flow: Vec<f32> = (0..GRID * GRID).flat_map(|i| (Vec2::new(1.0, 0.0) + lumps(i % GRID, i / GRID)).to_array()).collect();
        let before = flow.clone();
        SmoothHead::new(GRID).apply(&cover, &alpha, GRID, &mut flow);
        let roughness = |flow: &[f32]| -> f32 { (10..26).flat_map(|y| (24..40).map(move |x| (x, y))).map(|(x, y)| at(flow, x + 1, y).distance(at(flow, x, y))).sum() };
        assert!(roughness(&flow) < 0.25 * roughness(&before), "{} of {}", roughness(&flow), roughness(&before));
        assert!((at(&flow, 32, 18).x - 1.0).abs() < 0.6, "{}", at(&flow, 32, 18));
        for x in 16..48 {
            assert!(at(&flow, x, 50).distance(at(&before, x, 50)) < 0.02, "the body at {x}");
        }
        assert_eq!(at(&flow, 2, 60), at(&before, 2, 60));
    }

    #[test]
    fn what_is_no_head_or_no_number_changes_nothing() {
        let (cover, alpha) = figure();
        let flow: Vec<f32> = (0..GRID * GRID * 2).map(|i| (i as f32).sin()).collect();
        let nothing = vec![0.0; GRID * GRID];
        let mut now = flow.clone();
        SmoothHead::new(GRID).apply(&nothing, &alpha, GRID, &mut now);
        assert_eq!(now, flow);
        let mut broken = flow.clone();
        broken[(18 * GRID + 32) * 2] = f32::NAN;
        SmoothHead::new(GRID).apply(&cover, &alpha, GRID, &mut broken);
        assert!(broken.iter().all(|v| v.is_finite()));
    }
}
