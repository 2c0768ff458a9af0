//! Cuts a figure out of a busy picture: the finder says roughly where it is, twice, the second time from nearer; then the
//! edge is led along the picture's own edges by a guided filter (He, Sun and Tang 2010).

use super::finder::{FigureFinder, SIZE};

/// Pixels of a picture, a value each.
struct Plane {
    w: usize,
    h: usize,
    v: Vec<f32>,
}

/// The part of a picture that is looked at: a square, which may reach beyond it.
#[derive(Clone, Copy)]
struct Window {
    x: f32,
    y: f32,
    side: f32,
}

/// Room about the figure in the second look, of its longer side.
const ROOM: f32 = 0.14;
/// Radius of the filter, of the picture's longer side, and how strong an edge must be to hold the mask (variance of light).
const RADIUS: f32 = 0.012;
const EDGE: f32 = 4e-4;
/// Alpha rises from nothing to all between these values of the filtered mask.
const CLEAR: f32 = 0.35;
const SOLID: f32 = 0.65;
/// Less of the picture than this is no figure.
const LEAST: f32 = 0.01;
/// Of the second look, the share of pixels that must be decided: nearly surely figure or not. Where nothing is, all is a guess.
const DECIDED: f32 = 0.85;

impl Plane {
    fn at(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x.clamp(0.0, self.w as f32 - 1.0), y.clamp(0.0, self.h as f32 - 1.0));
        let (x0, y0) = (x as usize, y as usize);
        let (x1, y1) = ((x0 + 1).min(self.w - 1), (y0 + 1).min(self.h - 1));
        let (fx, fy) = (x - x0 as f32, y - y0 as f32);
        let row = |y: usize| self.v[y * self.w + x0] * (1.0 - fx) + self.v[y * self.w + x1] * fx;
        row(y0) * (1.0 - fy) + row(y1) * fy
    }

    /// Mean over a square of `2 r + 1` pixels, as much of it as lies inside.
    fn mean(&self, r: usize) -> Plane {
        let line = |n: usize, at: &dyn Fn(usize) -> f32, put: &mut dyn FnMut(usize, f32)| {
            let mut sum: f64 = (0..r.min(n)).map(|i| f64::from(at(i))).sum();
            for i in 0..n {
                if i + r < n {
                    sum += f64::from(at(i + r));
                }
                if i > r {
                    sum -= f64::from(at(i - r - 1));
                }
                put(i, (sum / ((i + r).min(n - 1) - i.saturating_sub(r) + 1) as f64) as f32);
            }
        };
        let (w, h) = (self.w, self.h);
        let mut across = vec![0.0; w * h];
        for y in 0..h {
            line(w, &|x| self.v[y * w + x], &mut |x, v| across[y * w + x] = v);
        }
        let mut out = vec![0.0; w * h];
        for x in 0..w {
            line(h, &|y| across[y * w + x], &mut |y, v| out[y * w + x] = v);
        }
        Plane { w, h, v: out }
    }

    fn with(&self, other: &Plane, f: impl Fn(f32, f32) -> f32) -> Plane {
        Plane { w: self.w, h: self.h, v: self.v.iter().zip(&other.v).map(|(a, b)| f(*a, *b)).collect() }
    }
}

/// `mask`, its edges led along those of `guide`.
fn guided(guide: &Plane, mask: &Plane, r: usize) -> Plane {
    let (mean_g, mean_m) = (guide.mean(r), mask.mean(r));
    let var = guide.with(guide, |a, b| a * b).mean(r).with(&mean_g, |gg, g| (gg - g * g).max(0.0));
    let cov = guide.with(mask, |a, b| a * b).mean(r).with(&mean_g.with(&mean_m, |g, m| g * m), |gm, both| gm - both);
    let a = cov.with(&var, |c, v| c / (v + EDGE));
    let b = mean_m.with(&a.with(&mean_g, |a, g| a * g), |m, ag| m - ag);
    a.mean(r).with(guide, |a, g| a * g).with(&b.mean(r), |ag, b| ag + b)
}

/// What of a window the finder takes for the figure, and where that window's pixels lie.
fn look(finder: &mut FigureFinder, rgba: &[u8], (w, h): (usize, usize), window: Window) -> Vec<f32> {
    let step = window.side / SIZE as f32;
    // As many samples to a pixel as it covers, to eight a side.
    let sub = (step.ceil() as usize).clamp(1, 8);
    let mut picture = vec![0.5; SIZE * SIZE * 4];
    for (i, pixel) in picture.chunks_exact_mut(4).enumerate() {
        let mut sum = [0.0; 3];
        for s in 0..sub * sub {
            let within = |n: usize| (n as f32 + 0.5) / sub as f32;
            let x = window.x + ((i % SIZE) as f32 + within(s % sub)) * step;
            let y = window.y + ((i / SIZE) as f32 + within(s / sub)) * step;
            let at = (y.clamp(0.0, h as f32 - 1.0) as usize * w + x.clamp(0.0, w as f32 - 1.0) as usize) * 4;
            (0..3).for_each(|c| sum[c] += f32::from(rgba[at + c]));
        }
        (0..3).for_each(|c| pixel[c] = sum[c] / (255 * sub * sub) as f32);
    }
    finder.look(&picture).mask
}

/// Gives every pixel its alpha; says whether a figure was seen. `rgba` is straight, its alpha is not read.
pub(crate) fn cut_out(finder: &mut FigureFinder, w: usize, h: usize, rgba: &mut [u8]) -> bool {
    let side = w.max(h) as f32;
    let whole = Window { x: 0.5 * (w as f32 - side), y: 0.5 * (h as f32 - side), side };
    let first = look(finder, rgba, (w, h), whole);
    let figure: Vec<(f32, f32)> = (0..SIZE * SIZE).filter(|i| first[*i] > 0.5).map(|i| ((i % SIZE) as f32, (i / SIZE) as f32)).collect();
    if (figure.len() as f32) < LEAST * (SIZE * SIZE) as f32 {
        return false;
    }
    let bounds = |of: fn(&(f32, f32)) -> f32| figure.iter().map(of).fold((f32::INFINITY, 0.0f32), |(a, b), v| (a.min(v), b.max(v + 1.0)));
    let ((x0, x1), (y0, y1)) = (bounds(|p| p.0), bounds(|p| p.1));
    let step = side / SIZE as f32;
    let near = (x1 - x0).max(y1 - y0) * (1.0 + 2.0 * ROOM) * step;
    let middle = (whole.x + 0.5 * (x0 + x1) * step, whole.y + 0.5 * (y0 + y1) * step);
    let window = Window { x: middle.0 - 0.5 * near, y: middle.1 - 0.5 * near, side: near };
    let second = Plane { w: SIZE, h: SIZE, v: look(finder, rgba, (w, h), window) };

    let decided = second.v.iter().filter(|v| !(0.1..0.9).contains(*v)).count();
    if (decided as f32) < DECIDED * second.v.len() as f32 {
        return false;
    }

    let scale = SIZE as f32 / window.side;
    let mut mask = Plane { w, h, v: vec![0.0; w * h] };
    for (i, v) in mask.v.iter_mut().enumerate() {
        let (x, y) = (((i % w) as f32 + 0.5 - window.x) * scale, ((i / w) as f32 + 0.5 - window.y) * scale);
        let inside = (0.0..SIZE as f32).contains(&x) && (0.0..SIZE as f32).contains(&y);
        *v = if inside { second.at(x - 0.5, y - 0.5) } else { 0.0 };
    }
    let light = |p: &[u8]| (0.299 * f32::from(p[0]) + 0.587 * f32::from(p[1]) + 0.114 * f32::from(p[2])) / 255.0;
    let guide = Plane { w, h, v: rgba.chunks_exact(4).map(light).collect() };
    let soft = guided(&guide, &mask, ((RADIUS * side) as usize).max(2));
    for (pixel, v) in rgba.chunks_exact_mut(4).zip(soft.v) {
        let t = ((v - CLEAR) / (SOLID - CLEAR)).clamp(0.0, 1.0);
        pixel[3] = (255.0 * t * t * (3.0 - 2.0 * t)) as u8;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rough_mask_is_led_to_the_edge_of_the_picture() {
        let (w, h) = (80, 60);
        let guide = Plane { w, h, v: (0..w * h).map(|i| if i % w < 41 { 0.2 } else { 0.8 }).collect() };
        // Five pixels off, and blurred.
        let mask = Plane { w, h, v: (0..w * h).map(|i| (0.5 + (36.0 - (i % w) as f32) / 16.0).clamp(0.0, 1.0)).collect() };
        let out = guided(&guide, &mask, 8);
        let row = &out.v[30 * w..31 * w];
        let before = mask.v[30 * w + 40] - mask.v[30 * w + 41];
        assert!(row[40] - row[41] > 4.0 * before, "{} at the edge", row[40] - row[41]);
        assert!(row[5] > 0.9 && row[75] < 0.1);
    }
}
