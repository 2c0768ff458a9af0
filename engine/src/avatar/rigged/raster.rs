//! Draws posed triangles: orthographic, z-buffered, supersampled, in a drawing style.
//!
//! Takes vertices that are already in pixels; knows no skeleton and no file. Output is premultiplied RGBA8.

use std::sync::Arc;

use glam::{Vec2, Vec3};

use super::colour::{Rgb, hsv, mix, to_hsv};

/// An RGBA8 picture, rows from the top, looked up with repeat.
#[derive(Debug)]
pub struct Texture {
    pub width: usize,
    pub height: usize,
    pub rgba: Vec<[u8; 4]>,
}

impl Texture {
    /// Nearest texel, colours 0 to 1. `uv` 0,0 is the top left.
    fn sample(&self, uv: Vec2) -> [f32; 4] {
        let at = |t: f32, n: usize| ((t - t.floor()) * n as f32).min(n as f32 - 1.0).max(0.0) as usize;
        self.rgba[at(uv.y, self.height) * self.width + at(uv.x, self.width)].map(|c| f32::from(c) / 255.0)
    }
}

/// Something woven or printed onto a plain colour, by the material's own coordinates.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pattern {
    Plain,
    /// Stripes across v; `period` in the units of uv.
    Stripes { period: f32, other: Rgb },
    Checks { period: f32, other: Rgb },
    Dots { period: f32, other: Rgb },
    /// A disc around a point: an emblem.
    Disc { centre: Vec2, radius: f32, other: Rgb },
    /// The other colour below `v`.
    Split { v: f32, other: Rgb },
}

/// What the alpha of a texture means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Alpha {
    /// The texture is painted on the plain colour.
    Paint,
    Ignored,
    /// Less than this is a hole.
    Cut(f32),
}

#[derive(Clone, Debug)]
pub struct Material {
    pub colour: Rgb,
    pub texture: Option<Arc<Texture>>,
    pub alpha: Alpha,
    pub pattern: Pattern,
    /// Whether this part casts an outline; face paint does not.
    pub outlined: bool,
}

impl Material {
    pub fn plain(colour: Rgb) -> Self {
        Material { colour, texture: None, alpha: Alpha::Ignored, pattern: Pattern::Plain, outlined: true }
    }

    /// The texture and how opaque it must be, where it has holes.
    fn holes(&self) -> Option<(&Texture, f32)> {
        match (self.alpha, &self.texture) {
            (Alpha::Cut(least), Some(texture)) => Some((texture, least)),
            _ => None,
        }
    }

    fn albedo(&self, uv: Vec2) -> Rgb {
        if let Some(texture) = &self.texture {
            let t = texture.sample(uv);
            let base: Rgb = std::array::from_fn(|i| t[i] * self.colour[i]);
            return if self.alpha == Alpha::Paint { mix(self.colour, base, t[3]) } else { base };
        }
        let other = match self.pattern {
            Pattern::Plain => None,
            Pattern::Stripes { period, other } => ((uv.y / period).rem_euclid(1.0) < 0.5).then_some(other),
            Pattern::Checks { period, other } => {
                let c = (uv / period).floor();
                ((c.x + c.y).rem_euclid(2.0) < 1.0).then_some(other)
            }
            Pattern::Dots { period, other } => {
                let c = (uv / period).fract_gl() - 0.5;
                (c.length() < 0.28).then_some(other)
            }
            Pattern::Disc { centre, radius, other } => (uv.distance(centre) < radius).then_some(other),
            Pattern::Split { v, other } => (uv.y < v).then_some(other),
        };
        other.unwrap_or(self.colour)
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Shading {
    Flat,
    /// Light falls in this many bands, 2 or 3.
    Toon(u8),
    Soft,
}

/// How a character is drawn; the same for its reference and all its frames.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    pub shading: Shading,
    /// Outline width in hundredths of the figure's height; 0 for none.
    pub outline: f32,
    /// Lines take the part's own colour, darkened, or this one.
    pub line_colour: Option<Rgb>,
    pub light: Vec3,
    /// How dark the shade is, 0 to 1, and how far its hue turns.
    pub shade: f32,
    pub shade_hue: f32,
}

impl Style {
    fn shaded(&self, albedo: Rgb, normal: Vec3) -> Rgb {
        let level = normal.dot(self.light);
        let lit = match self.shading {
            Shading::Flat => return albedo,
            Shading::Toon(2) => f32::from(level > 0.1),
            Shading::Toon(_) => match level {
                l if l > 0.35 => 1.0,
                l if l > -0.15 => 0.55,
                _ => 0.0,
            },
            Shading::Soft => (0.5 + 0.5 * level).clamp(0.0, 1.0),
        };
        let [h, s, v] = to_hsv(albedo);
        let shade = hsv(h + self.shade_hue, (s * 1.15).min(1.0), v * (1.0 - self.shade));
        mix(shade, albedo, lit)
    }

    fn line(&self, colour: Rgb) -> Rgb {
        self.line_colour.unwrap_or_else(|| {
            let [h, s, v] = to_hsv(colour);
            hsv(h, (s * 1.2 + 0.1).min(1.0), v * 0.4)
        })
    }
}

/// A vertex ready to draw. `position` is x and y in output pixels (y down) and z in metres towards the viewer.
#[derive(Clone, Copy, Debug, Default)]
pub struct Screen {
    pub position: Vec3,
    pub normal: Vec3,
    /// Where an outline grows to: the smooth normal's x and y in the picture (y down).
    pub outward: Vec2,
    pub uv: Vec2,
}

#[derive(Clone, Copy, Debug)]
pub struct Triangle {
    pub corners: [u32; 3],
    pub material: u16,
}

const NOTHING: u32 = u32::MAX;
const LINE: u32 = 1 << 31;

/// Keeps its buffers between frames.
pub struct Raster {
    size: usize,
    samples: usize,
    depth: Vec<f32>,
    hit: Vec<u32>,
}

impl Raster {
    /// `size`: the picture's side in pixels; `samples`: per pixel and axis.
    pub fn new(size: usize, samples: usize) -> Self {
        let n = size * samples;
        Raster { size, samples, depth: vec![0.0; n * n], hit: vec![0; n * n] }
    }

    /// Draws into premultiplied RGBA8, size x size. `line_px` is the outline's width in output pixels.
    pub fn draw(
        &mut self,
        vertices: &[Screen],
        triangles: &[Triangle],
        materials: &[Material],
        style: &Style,
        line_px: f32,
    ) -> Vec<u8> {
        self.depth.fill(f32::NEG_INFINITY);
        self.hit.fill(NOTHING);
        for (i, t) in triangles.iter().enumerate() {
            let [a, b, c] = t.corners.map(|v| vertices[v as usize].position);
            let material = &materials[t.material as usize];
            let holes = material.holes().map(|(texture, least)| (texture, least, t.corners.map(|v| vertices[v as usize].uv)));
            self.fill(a, b, c, i as u32, holes);
            if line_px > 0.0 && material.outlined {
                let [a, b, c] = t.corners.map(|v| {
                    let v = &vertices[v as usize];
                    v.position + (v.outward * line_px).extend(-0.004)
                });
                // Only the far side of the swollen body shows, as a rim around the near side.
                if (b - a).truncate().perp_dot((c - a).truncate()) > 0.0 {
                    self.fill(a, b, c, i as u32 | LINE, None);
                }
            }
        }
        self.resolve(vertices, triangles, materials, style)
    }

    /// What was drawn last at a place in pixels: the triangle in front, and how near it is; nothing on a line and beside the figure.
    pub fn front(&self, p: Vec2) -> Option<(usize, f32)> {
        let (s, n) = (self.samples as f32, self.size * self.samples);
        if p.cmplt(Vec2::ZERO).any() || p.cmpge(Vec2::splat(self.size as f32)).any() {
            return None;
        }
        let at = (p.y * s) as usize * n + (p.x * s) as usize;
        (self.hit[at] != NOTHING && self.hit[at] & LINE == 0).then(|| (self.hit[at] as usize, self.depth[at]))
    }

    fn fill(&mut self, a: Vec3, b: Vec3, c: Vec3, id: u32, holes: Option<(&Texture, f32, [Vec2; 3])>) {
        let n = self.size * self.samples;
        let s = self.samples as f32;
        let (pa, pb, pc) = (a.truncate() * s, b.truncate() * s, c.truncate() * s);
        let area = (pb - pa).perp_dot(pc - pa);
        if !area.is_finite() || area.abs() <= 1e-6 {
            return;
        }
        let low = pa.min(pb).min(pc);
        let high = pa.max(pb).max(pc);
        if high.x < 0.0 || high.y < 0.0 || low.x >= n as f32 || low.y >= n as f32 {
            return;
        }
        let x0 = (low.x - 0.5).ceil().max(0.0) as usize;
        let x1 = ((high.x - 0.5).floor().min(n as f32 - 1.0)) as isize;
        let y0 = (low.y - 0.5).ceil().max(0.0) as usize;
        let y1 = ((high.y - 0.5).floor().min(n as f32 - 1.0)) as isize;
        let inv = 1.0 / area;
        // The barycentrics of b and c step evenly along a row.
        let (step_b, step_c) = ((pc.y - pa.y) * inv, (pa.y - pb.y) * inv);
        for y in y0 as isize..=y1 {
            let p = Vec2::new(x0 as f32 + 0.5, y as f32 + 0.5) - pa;
            let mut wb = p.perp_dot(pc - pa) * inv;
            let mut wc = (pb - pa).perp_dot(p) * inv;
            let row = y as usize * n;
            for x in x0 as isize..=x1 {
                let wa = 1.0 - wb - wc;
                if wa >= 0.0 && wb >= 0.0 && wc >= 0.0 {
                    let z = a.z * wa + b.z * wb + c.z * wc;
                    let at = row + x as usize;
                    let solid = || holes.is_none_or(|(texture, least, uv)| texture.sample(uv[0] * wa + uv[1] * wb + uv[2] * wc)[3] >= least);
                    if z > self.depth[at] && solid() {
                        self.depth[at] = z;
                        self.hit[at] = id;
                    }
                }
                wb += step_b;
                wc += step_c;
            }
        }
    }

    fn resolve(&self, vertices: &[Screen], triangles: &[Triangle], materials: &[Material], style: &Style) -> Vec<u8> {
        let (size, s) = (self.size, self.samples);
        let n = size * s;
        let mut out = vec![0u8; size * size * 4];
        let share = 1.0 / (s * s) as f32;
        for y in 0..size {
            for x in 0..size {
                let mut sum = [0.0f32; 4];
                for sy in 0..s {
                    let row = (y * s + sy) * n + x * s;
                    for sx in 0..s {
                        let hit = self.hit[row + sx];
                        if hit == NOTHING {
                            continue;
                        }
                        let p = Vec2::new(
                            (x * s + sx) as f32 + 0.5,
                            (y * s + sy) as f32 + 0.5,
                        ) / s as f32;
                        let c = shade(hit, p, vertices, triangles, materials, style);
                        for i in 0..3 {
                            sum[i] += c[i];
                        }
                        sum[3] += 1.0;
                    }
                }
                if sum[3] > 0.0 {
                    let px = &mut out[(y * size + x) * 4..][..4];
                    for i in 0..4 {
                        px[i] = (sum[i] * share * 255.0 + 0.5).clamp(0.0, 255.0) as u8;
                    }
                }
            }
        }
        out
    }
}

fn shade(
    hit: u32,
    p: Vec2,
    vertices: &[Screen],
    triangles: &[Triangle],
    materials: &[Material],
    style: &Style,
) -> Rgb {
    let t = &triangles[(hit & !LINE) as usize];
    let material = &materials[t.material as usize];
    let [a, b, c] = t.corners.map(|v| &vertices[v as usize]);
    if hit & LINE != 0 {
        return style.line(material.albedo(a.uv));
    }
    let (pa, pb, pc) = (a.position.truncate(), b.position.truncate(), c.position.truncate());
    let area = (pb - pa).perp_dot(pc - pa);
    let wb = (p - pa).perp_dot(pc - pa) / area;
    let wc = (pb - pa).perp_dot(p - pa) / area;
    let wa = 1.0 - wb - wc;
    let albedo = material.albedo(a.uv * wa + b.uv * wb + c.uv * wc);
    let mut normal = (a.normal * wa + b.normal * wb + c.normal * wc).normalize_or_zero();
    if normal.z < 0.0 {
        normal.z = -normal.z;
    }
    style.shaded(albedo, normal)
}
