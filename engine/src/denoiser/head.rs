//! The head moves as one piece.
//!
//! Where a head turns, the network moves every patch by itself. On heads like those it learned from that is right; on a
//! large or flat drawn one it bends eyes, ears and outline each another way, and faces look lumpy and cross. So over the
//! head its flow gives way to the nearest move that a head can make: a shift, a roll, another width and height, and the
//! face shifted against the outline, which is what a turn or a nod looks like; the more so the larger the head.

use glam::Vec2;

/// Numbers of a move: across, its change across and its roll, its change towards the edges; the same along.
const MOVES: usize = 7;
/// Patches that the head must cover to be told how it moves, at a working size of 128.
const LEAST: f32 = 6.0;
/// A third of the patches by which the head's move holds beyond its outline, where nothing else is, at a working size of 128.
const MARGIN: usize = 1;
/// Nearness to the figure of a place that belongs to nothing.
const NOWHERE: f32 = 0.01;
/// Most that the move may change over one cell, in cells: nothing folds, and a nod does not flatten the face.
const STEEPEST: f32 = 0.5;
const STEEPEST_ALONG: f32 = 0.15;
/// Radii of a head that is small, and of one that is large, patches at a working size of 128; and how much the flow gives
/// way on a small one. Those that the network learned from are small.
const SMALL: f32 = 1.7;
const LARGE: f32 = 2.4;
const ON_SMALL: f32 = 0.6;
/// How much nearer the rest of the figure counts than the head.
const BODY: f32 = 2.0;
/// How little each number is believed, against the mean weight of what is seen of it.
const RELUCTANCE: [f64; MOVES] = [0.0, 0.02, 0.02, 0.05, 0.0, 0.02, 0.05];

/// Reusable buffers, (grid, grid) each: a value for every cell of the flow.
#[derive(Clone, Debug)]
pub(super) struct HeadPiece {
    weight: Vec<f32>,
    rows: Vec<f32>,
    body: Vec<f32>,
    hold: Vec<f32>,
}

impl HeadPiece {
    pub fn new(grid: usize) -> Self {
        let map = vec![0.0; grid * grid];
        HeadPiece { weight: map.clone(), rows: map.clone(), body: map.clone(), hold: map }
    }

    /// Changes `flow`, (grid, grid, 2) in cells of that grid, over the head. `cover` and `alpha`, (grid, grid), are how much of each cell is head, and
    /// figure; `up` points from the neck to the crown, y down. Nothing changes where there is no head to be seen.
    pub fn apply(&mut self, cover: &[f32], up: Vec2, alpha: &[f32], grid: usize, flow: &mut [f32]) {
        let Some(up) = up.try_normalize() else { return };
        let right = Vec2::new(-up.y, up.x);
        let flow = flow.as_chunks_mut::<2>().0;
        self.weight.clear();
        self.weight.extend(cover.iter().zip(alpha).map(|(c, a)| (c * a).clamp(0.0, 1.0)));
        let Some((centre, radius)) = middle(&self.weight, grid) else { return };
        let place = |i: usize| (Vec2::new((i % grid) as f32, (i / grid) as f32) - centre) / radius;
        let Some(fit) = fit(&self.weight, flow, place, right, up) else { return };
        let fit = bounded(fit, radius);
        let large = ((radius * 32.0 / grid as f32 - SMALL) / (LARGE - SMALL)).clamp(0.0, 1.0);
        self.reach(cover, alpha, grid, ON_SMALL + (1.0 - ON_SMALL) * large);
        for (i, (f, hold)) in flow.iter_mut().zip(&self.hold).enumerate().filter(|(_, (_, k))| **k > 0.0) {
            let (u, v) = (place(i).dot(right), place(i).dot(up));
            // Beyond the outline the parallax stays what it is there.
            let (us, vs) = (u.clamp(-2.0, 2.0), v.clamp(-2.0, 2.0));
            let across = fit[0] + fit[1] * u + fit[2] * v + fit[3] * us * us;
            let along = fit[4] - fit[2] * u + fit[5] * v + fit[6] * vs * vs;
            let moved = right * across + up * along;
            *f = Vec2::from(*f).lerp(moved, *hold).into();
        }
    }

    /// Where the move holds: on the head, and round it as far as the rest of the figure is not nearer.
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

/// Centre and root mean square radius of what is covered, cells.
fn middle(weight: &[f32], grid: usize) -> Option<(Vec2, f32)> {
    let at = |i: usize| Vec2::new((i % grid) as f32, (i / grid) as f32);
    let total: f32 = weight.iter().sum();
    if total.is_nan() || total < LEAST * (grid * grid) as f32 / 1024.0 {
        return None;
    }
    let centre = weight.iter().enumerate().map(|(i, w)| at(i) * *w).sum::<Vec2>() / total;
    let spread = weight.iter().enumerate().map(|(i, w)| at(i).distance_squared(centre) * w).sum::<f32>() / total;
    Some((centre, spread.sqrt().max(1.0)))
}

/// The move nearest to a flow, by weighted least squares.
fn fit(weight: &[f32], flow: &[[f32; 2]], place: impl Fn(usize) -> Vec2, right: Vec2, up: Vec2) -> Option<[f32; MOVES]> {
    let mut normal = [[0.0f64; MOVES + 1]; MOVES];
    let mut total = 0.0;
    for (i, (&w, f)) in weight.iter().zip(flow).enumerate().filter(|(_, (w, f))| **w > 0.0 && f.iter().all(|v| v.is_finite())) {
        let (u, v) = (place(i).dot(right), place(i).dot(up));
        let (across, along) = (Vec2::from(*f).dot(right), Vec2::from(*f).dot(up));
        total += f64::from(w);
        for (row, seen) in [([1.0, u, v, u * u, 0.0, 0.0, 0.0], across), ([0.0, 0.0, -u, 0.0, 1.0, v, v * v], along)] {
            for a in 0..MOVES {
                for b in 0..MOVES {
                    normal[a][b] += f64::from(w * row[a] * row[b]);
                }
                normal[a][MOVES] += f64::from(w * row[a] * seen);
            }
        }
    }
    for (a, reluctance) in RELUCTANCE.iter().enumerate() {
        normal[a][a] += reluctance * total;
    }
    solve(normal)
}

/// Gaussian elimination of a positive definite system with its right side as the last column.
fn solve(mut m: [[f64; MOVES + 1]; MOVES]) -> Option<[f32; MOVES]> {
    for a in 0..MOVES {
        if m[a][a].is_nan() || m[a][a] < 1e-9 {
            return None;
        }
        for b in 0..MOVES {
            if b != a {
                let k = m[b][a] / m[a][a];
                for c in a..=MOVES {
                    m[b][c] -= k * m[a][c];
                }
            }
        }
    }
    Some(std::array::from_fn(|a| (m[a][MOVES] / m[a][a]) as f32))
}

fn bounded(mut fit: [f32; MOVES], radius: f32) -> [f32; MOVES] {
    let most = STEEPEST * radius;
    for k in [1, 2] {
        fit[k] = fit[k].clamp(-most, most);
    }
    fit[5] = fit[5].clamp(-STEEPEST_ALONG * radius, STEEPEST_ALONG * radius);
    for k in [3, 6] {
        fit[k] = fit[k].clamp(-0.25 * most, 0.25 * most);
    }
    fit
}

#[cfg(test)]
mod tests {
    use super::*;

    const GRID: usize = 32;

    /// A round head over shoulders: cover, alpha.
    fn figure() -> (Vec<f32>, Vec<f32>) {
        let inside = |i: usize, x: f32, y: f32, r: f32| Vec2::new((i % GRID) as f32, (i / GRID) as f32).distance(Vec2::new(x, y)) < r;
        let cover: Vec<f32> = (0..GRID * GRID).map(|i| f32::from(inside(i, 16.0, 9.0, 5.5))).collect();
        let alpha = (0..GRID * GRID).map(|i| cover[i].max(f32::from(inside(i, 16.0, 24.0, 9.0)))).collect();
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
            let (u, v) = ((x - 16.0) / 5.5, (9.0 - y) / 5.5);
            Vec2::new(1.2 - 0.3 * u + 0.2 * v - 0.4 * u * u, 0.2 * u)
        };
        let mut flow: Vec<f32> = (0..GRID * GRID).flat_map(|i| turn((i % GRID) as f32, (i / GRID) as f32).to_array()).collect();
        let before = flow.clone();
        HeadPiece::new(GRID).apply(&cover, Vec2::NEG_Y, &alpha, GRID, &mut flow);
        for y in 5..14 {
            for x in 12..21 {
                let off = at(&flow, x, y).distance(at(&before, x, y));
                assert!(off < 0.12, "{off} patches at {x}, {y}");
            }
        }
    }

    #[test]
    fn lumps_go_and_the_body_keeps_its_own() {
        let (cover, alpha) = figure();
        let lumps = |x: usize, y: usize| Vec2::new((x as f32 * 1.9).sin(), (y as f32 * 2.3 + x as f32).cos()) * 2.0;
        let mut flow: Vec<f32> = (0..GRID * GRID).flat_map(|i| (Vec2::new(1.0, 0.0) + lumps(i % GRID, i / GRID)).to_array()).collect();
        let before = flow.clone();
        HeadPiece::new(GRID).apply(&cover, Vec2::NEG_Y, &alpha, GRID, &mut flow);
        for y in 5..13 {
            for x in 12..20 {
                let step = at(&flow, x + 1, y).distance(at(&flow, x, y));
                assert!(step < 0.5, "{step} patches from {x}, {y} to its neighbour");
            }
        }
        assert!((at(&flow, 16, 9).x - 1.0).abs() < 0.5, "{}", at(&flow, 16, 9));
        for x in 8..24 {
            assert!(at(&flow, x, 24).distance(at(&before, x, 24)) < 0.02, "the body at {x}");
        }
        assert_eq!(at(&flow, 1, 30), at(&before, 1, 30));
    }

    #[test]
    fn what_is_no_head_or_no_number_changes_nothing() {
        let (cover, alpha) = figure();
        let flow: Vec<f32> = (0..GRID * GRID * 2).map(|i| (i as f32).sin()).collect();
        let nothing = vec![0.0; GRID * GRID];
        for (cover, up) in [(&nothing, Vec2::NEG_Y), (&cover, Vec2::ZERO), (&cover, Vec2::NAN)] {
            let mut now = flow.clone();
            HeadPiece::new(GRID).apply(cover, up, &alpha, GRID, &mut now);
            assert_eq!(now, flow);
        }
        let mut broken = flow.clone();
        broken[(9 * GRID + 16) * 2] = f32::NAN;
        HeadPiece::new(GRID).apply(&cover, Vec2::NEG_Y, &alpha, GRID, &mut broken);
        assert!(at(&broken, 15, 9).is_finite());
    }
}
