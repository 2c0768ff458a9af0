//! Triangles to pixels on the CPU: textured ones in painter's order, and shaded ones with a depth buffer.
//!
//! Orthographic, edges by the top-left rule (neighbours neither overlap nor gap). Knows no avatar.

use std::ops::Range;

use glam::{Vec2, Vec3};

use super::whole::{Divisor, nearest};
use crate::avatar::Image;

/// A corner in pixels of the target; `uv` in pixels of the texture.
#[derive(Clone, Copy, Debug, Default)]
pub struct TexturedVertex {
    pub position: Vec2,
    pub uv: Vec2,
    pub validity: f32,
}

/// Where textured triangles go: some rows of a picture, from `top` on; all planes rows * width.
pub struct Target<'a> {
    pub width: usize,
    pub top: usize,
    pub rows: usize,
    pub rgba: &'a mut [u8],
    pub validity: &'a mut [u8],
    pub part: &'a mut [u8],
}

/// Positions snapped to 1/16 pixel make shared edges exactly shared.
const SUB: f32 = 16.0;

/// The pixels of one triangle in some rows, row by row: y, the first x, and the one after the last.
#[inline(always)]
pub(super) fn spans(p: [Vec2; 3], width: usize, rows: Range<usize>) -> Spans {
    let none = Spans { edges: [Edge::default(); 3], y: 1, last: 0, width: 0 };
    if !p.iter().all(|v| v.x.abs() < 1e6 && v.y.abs() < 1e6) {
        return none;
    }
    let q = p.map(|v| ((v.x * SUB).round() as i64, (v.y * SUB).round() as i64));
    let area = (q[1].0 - q[0].0) * (q[2].1 - q[0].1) - (q[1].1 - q[0].1) * (q[2].0 - q[0].0);
    if area == 0 {
        return none;
    }
    let q = if area > 0 { q } else { [q[0], q[2], q[1]] };
    let top = q.iter().map(|v| v.1).min().unwrap_or(0);
    let bottom = q.iter().map(|v| v.1).max().unwrap_or(0);
    Spans {
        edges: [0, 1, 2].map(|e| Edge::new(q[e], q[(e + 1) % 3])),
        y: ((top - HALF).div_euclid(SUB_WHOLE)).max(rows.start as i64),
        last: ((bottom - HALF).div_euclid(SUB_WHOLE) + 1).min(rows.end as i64 - 1),
        width: width as i64,
    }
}

const SUB_WHOLE: i64 = SUB as i64;
const HALF: i64 = SUB_WHOLE / 2;

/// One side of a triangle: inside is where `c + dx * y - dy * x >= 0`.
#[derive(Clone, Copy)]
struct Edge {
    dx: i64,
    dy: i64,
    c: i64,
    steepness: Divisor,
}

impl Default for Edge {
    fn default() -> Self {
        Edge { dx: 0, dy: 0, c: 0, steepness: Divisor::new(1) }
    }
}

impl Edge {
    #[inline(always)]
    fn new(a: (i64, i64), b: (i64, i64)) -> Self {
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        // Top and left edges take their own pixels.
        let own = dy < 0 || (dy == 0 && dx > 0);
        Edge { dx, dy, c: dy * a.0 - dx * a.1 - i64::from(!own), steepness: Divisor::new(dy.abs().max(1)) }
    }

    /// What of a row of pixels at `y`, 0 to `width`, lies inside.
    #[inline(always)]
    fn cut(&self, y: i64, x0: &mut i64, x1: &mut i64) {
        let k = self.c + self.dx * y;
        if self.dy == 0 {
            if k < 0 {
                *x1 = 0;
            }
            return;
        }
        // Pixel i is at i * SUB + HALF.
        let whole = self.steepness.floor(k);
        if self.dy > 0 {
            *x1 = (*x1).min((whole - HALF).div_euclid(SUB_WHOLE) + 1);
        } else {
            *x0 = (*x0).max(-((HALF + whole).div_euclid(SUB_WHOLE)));
        }
    }
}

/// The rows of a triangle that have pixels.
pub(super) struct Spans {
    edges: [Edge; 3],
    y: i64,
    last: i64,
    width: i64,
}

impl Iterator for Spans {
    type Item = (usize, usize, usize);

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        while self.y <= self.last {
            let y = self.y;
            self.y += 1;
            let (mut x0, mut x1) = (0, self.width);
            for edge in &self.edges {
                edge.cut(y * SUB_WHOLE + HALF, &mut x0, &mut x1);
            }
            if x0 < x1 {
                return Some((y as usize, x0 as usize, x1 as usize));
            }
        }
        None
    }
}

/// Change of a value over the target: at pixel centre (x, y) it is `base + x * dx + y * dy`.
#[derive(Clone, Copy)]
struct Slope {
    base: f32,
    dx: f32,
    dy: f32,
}

fn slope(p: [Vec2; 3], v: [f32; 3]) -> Slope {
    let (a, b) = (p[1] - p[0], p[2] - p[0]);
    let d = a.perp_dot(b);
    let inv = if d.abs() > 1e-9 { 1.0 / d } else { 0.0 };
    let (va, vb) = (v[1] - v[0], v[2] - v[0]);
    let dx = (va * b.y - vb * a.y) * inv;
    let dy = (vb * a.x - va * b.x) * inv;
    Slope { base: v[0] + (0.5 - p[0].x) * dx + (0.5 - p[0].y) * dy, dx, dy }
}

/// Blends a textured triangle over the target.
#[inline(always)]
pub fn triangle(t: &mut Target, texture: &Image, c: [TexturedVertex; 3], part: u8) {
    let p = c.map(|v| v.position);
    let rows = t.top..t.top + t.rows;
    let (high, low) = (p[0].y.min(p[1].y).min(p[2].y), p[0].y.max(p[1].y).max(p[2].y));
    if low < rows.start as f32 - 1.0 || high > rows.end as f32 + 1.0 {
        return;
    }
    let u = slope(p, c.map(|v| v.uv.x - 0.5));
    let v = slope(p, c.map(|v| v.uv.y - 0.5));
    let valid = slope(p, c.map(|v| v.validity));
    let (tw, th) = (texture.width as usize, texture.height as usize);
    let most = (256.0 * (tw.saturating_sub(2)) as f32, 256.0 * (th.saturating_sub(2)) as f32);
    if tw < 2 || th < 2 {
        return;
    }
    let texels: &[[u8; 4]] = bytemuck::cast_slice(&texture.rgba);
    let width = t.width;
    for (y, x0, x1) in spans(p, t.width, rows) {
        let row = (y - t.top) * width;
        let fy = y as f32;
        let out: &mut [[u8; 4]] = bytemuck::cast_slice_mut(&mut t.rgba[row * 4..(row + width) * 4]);
        for x in x0..x1 {
            let fx = x as i32 as f32;
            // 8-bit fractions, as texture units use.
            let iu = nearest(((u.base + u.dx * fx + u.dy * fy) * 256.0).max(0.0).min(most.0));
            let iv = nearest(((v.base + v.dx * fx + v.dy * fy) * 256.0).max(0.0).min(most.1));
            let at = (iv >> 8) * tw + (iu >> 8);
            let (ku, kv) = ((iu & 255) as u32, (iv & 255) as u32);
            let (up, down) = (&texels[at..at + 2], &texels[at + tw..at + tw + 2]);
            let colour = bilinear(up[0], up[1], down[0], down[1], ku, kv);
            let a = colour[3] as u32;
            if a == 0 {
                continue;
            }
            if a == 255 {
                out[x] = colour;
            } else {
                let keep = 255 - a;
                let o = &mut out[x];
                for i in 0..4 {
                    let d = o[i] as u32 * keep + 127;
                    o[i] = (colour[i] as u32 + ((d + (d >> 8)) >> 8)).min(255) as u8;
                }
            }
            if a >= 128 {
                let k = valid.base + valid.dx * fx + valid.dy * fy;
                t.validity[row + x] = nearest(k.clamp(0.0, 1.0) * 255.0) as u8;
                t.part[row + x] = part;
            }
        }
    }
}

/// All four channels at once, two to a word.
#[inline(always)]
fn bilinear(a: [u8; 4], b: [u8; 4], c: [u8; 4], d: [u8; 4], ku: u32, kv: u32) -> [u8; 4] {
    let split = |p: [u8; 4]| {
        let v = u32::from_le_bytes(p) as u64;
        (v & 0xff) | ((v & 0xff00) << 8) | ((v & 0xff0000) << 16) | ((v & 0xff000000) << 24)
    };
    let (ku, kv) = (ku as u64, kv as u64);
    let mix = |p: u64, q: u64, k: u64| ((p * (256 - k) + q * k + 0x0080_0080_0080_0080) >> 8) & 0x00ff_00ff_00ff_00ff;
    let m = mix(mix(split(a), split(b), ku), mix(split(c), split(d), ku), kv);
    [m as u8, (m >> 16) as u8, (m >> 32) as u8, (m >> 48) as u8]
}

/// A depth-tested picture of shaded triangles, for rendering real 3D meshes orthographically.
#[derive(Clone, Debug)]
pub struct DepthTarget {
    pub width: usize,
    pub height: usize,
    /// Nearest so far; larger z is nearer, -infinity is empty.
    pub depth: Vec<f32>,
}

impl DepthTarget {
    pub fn new(width: usize, height: usize) -> Self {
        DepthTarget { width, height, depth: vec![f32::NEG_INFINITY; width * height] }
    }

    pub fn clear(&mut self) {
        self.depth.fill(f32::NEG_INFINITY);
    }

    /// Visits each pixel where this triangle is now the nearest: `shade(pixel, barycentric)`; a false answer
    /// (a cut-out) leaves the depth as it was. Corners are x, y in pixels, z towards the viewer.
    pub fn triangle(&mut self, p: [Vec3; 3], mut shade: impl FnMut(usize, [f32; 3]) -> bool) {
        let flat = p.map(|v| v.truncate());
        let b = slope(flat, [0.0, 1.0, 0.0]);
        let c = slope(flat, [0.0, 0.0, 1.0]);
        let width = self.width;
        let depth = &mut self.depth;
        for (y, x0, x1) in spans(flat, self.width, 0..self.height) {
            let fy = y as f32;
            for x in x0..x1 {
                let fx = x as f32;
                let (kb, kc) = (b.base + b.dx * fx + b.dy * fy, c.base + c.dx * fx + c.dy * fy);
                let ka = 1.0 - kb - kc;
                let z = p[0].z * ka + p[1].z * kb + p[2].z * kc;
                let i = y * width + x;
                if z > depth[i] && shade(i, [ka, kb, kc]) {
                    depth[i] = z;
                }
            }
        }
    }
}
