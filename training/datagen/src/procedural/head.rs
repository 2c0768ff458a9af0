//! The head and what is painted on its face: eyes, brows, mouth, cheeks.
//!
//! The face is a picture laid on the front of the head from straight ahead.

use std::sync::Arc;

use glam::{Vec2, Vec3};

use super::body::{Build, bone};
use super::shape::{Mesh, Ring, table};
use crate::colour::{Rgb, cloth, hsv, mix, scale};
use odori_engine::avatar::rigged::raster::{Alpha, Material, Pattern, Texture};
use crate::rng::Rng;

const FACE_PX: usize = 192;

/// The head as an egg: `centre`, and half sizes in metres.
#[derive(Clone, Copy, Debug)]
pub struct Skull {
    pub centre: Vec3,
    pub half: Vec3,
    /// Jaw width to skull width.
    pub jaw: f32,
}

impl Skull {
    pub fn new(build: &Build, head_joint: Vec3, rng: &mut Rng) -> Self {
        let h = build.head * 0.5;
        Skull {
            centre: head_joint + Vec3::new(0.0, h * 0.86, h * 0.1),
            half: Vec3::new(h * build.head_width, h, h * build.head_width.max(0.9) * 0.98),
            jaw: rng.range(0.62, 0.92),
        }
    }

    /// A point on the surface: `v` from chin -1 to crown 1, `a` the angle from the front towards the left.
    pub fn point(&self, v: f32, a: f32, grow: f32) -> Vec3 {
        let r = (1.0 - v * v).max(0.0).sqrt().powf(0.85);
        let narrow = table(&[(-1.0, self.jaw * 0.8), (-0.6, self.jaw), (0.1, 1.0), (1.0, 1.0)], v);
        self.centre + Vec3::new(a.sin() * r * narrow * self.half.x, v * self.half.y, a.cos() * r * self.half.z * (0.5 + 0.5 * narrow)) * (1.0 + grow)
    }

    pub fn draw(&self, mesh: &mut Mesh, skin: u16, face: u16) {
        const RINGS: usize = 14;
        const SIDES: usize = 24;
        let head = vec![(bone("head"), 1.0)];
        let first = mesh.vertices.len();
        let rings: Vec<Ring> = (0..=RINGS)
            .map(|_| Ring { centre: Vec3::ZERO, right: Vec3::Z, up: Vec3::X, weights: head.clone() })
            .collect();
        mesh.tube(&rings, SIDES, true, |_, s| {
            let a = (s as f32 + 0.5) / SIDES as f32;
            Some(if (0.25..0.75).contains(&a) { skin } else { face })
        });
        for i in 0..=RINGS {
            let v = -(i as f32 / RINGS as f32 * std::f32::consts::PI).cos() * 0.998;
            for s in 0..SIDES {
                let p = self.point(v, s as f32 / SIDES as f32 * std::f32::consts::TAU, 0.0);
                let vertex = &mut mesh.vertices[first + i * SIDES + s];
                vertex.position = p;
                let d = (p - self.centre) / self.half;
                vertex.uv = Vec2::new(d.x * 0.49 + 0.5, 0.5 - d.y * 0.49);
            }
        }
    }
}

/// Where the face's parts are, in units of half the head: x to the left, y up from the middle.
#[derive(Clone, Debug)]
pub struct Face {
    pub eye: Vec2,
    pub eye_size: Vec2,
    iris: Rgb,
    style: usize,
    brow: Rgb,
    mouth: usize,
    mouth_y: f32,
    blush: bool,
    nose: bool,
    /// Colour of a face that is made of light.
    glow: Option<Rgb>,
}

impl Face {
    pub fn random(rng: &mut Rng, youth: f32, hair: Rgb) -> Self {
        let big = rng.range(0.7, 1.25) * (0.8 + 0.4 * youth);
        Face {
            eye: Vec2::new(rng.range(0.34, 0.46), rng.range(-0.24, -0.02)),
            eye_size: Vec2::new(0.15 * big, 0.2 * big * rng.range(0.7, 1.2)),
            iris: if rng.chance(0.5) { hsv(rng.unit(), rng.range(0.4, 0.9), rng.range(0.4, 0.9)) } else { [0.25, 0.16, 0.1] },
            style: rng.below(4),
            brow: scale(hair, 0.6),
            mouth: rng.below(4),
            mouth_y: rng.range(-0.66, -0.54),
            blush: rng.chance(0.35),
            nose: rng.chance(0.7),
            glow: None,
        }
    }

    pub fn material(&self, skin: Rgb) -> Material {
        paint(|p| self.colour(p, skin))
    }

    /// A face of light on a dark screen whose middle is at `low`.
    pub fn light(&mut self, glow: Rgb, low: f32) {
        self.glow = Some(glow);
        self.eye.y = low + 0.12;
        self.mouth_y = low - 0.22;
        self.nose = false;
    }

    pub fn colour(&self, p: Vec2, skin: Rgb) -> Rgb {
        let dark = self.glow.unwrap_or([0.1, 0.07, 0.09]);
        let mut c = skin;
        let q = Vec2::new(p.x.abs(), p.y);
        if self.blush {
            let d = ((q - Vec2::new(self.eye.x + 0.12, self.eye.y - 0.3)) / Vec2::new(0.16, 0.09)).length();
            c = mix(c, [0.95, 0.45, 0.42], (0.5 * (1.0 - d)).clamp(0.0, 0.4));
        }
        let e = (q - self.eye) / self.eye_size;
        let inside = |p: Vec2, r: f32| p.length() < r;
        match self.style {
            // A whole eye: lash, white, iris, pupil, light.
            0 | 1 => {
                let lash = Vec2::new(e.x, e.y * if e.y > 0.0 { 0.92 } else { 1.06 });
                if inside(lash - Vec2::new(0.03, 0.1), 1.12) && e.y > if self.style == 0 { 0.25 } else { -0.1 } {
                    c = dark;
                }
                if inside(e, 1.0) && e.y < 0.72 {
                    c = [0.97, 0.97, 0.98];
                    let i = Vec2::new(e.x / 0.72, (e.y + 0.04) / 0.92);
                    if inside(i, 1.0) {
                        c = mix(scale(self.iris, 0.55), scale(self.iris, 1.25), ((0.6 - i.y) * 0.6).clamp(0.0, 1.0));
                        if inside(i, 0.5) {
                            c = scale(self.iris, 0.3);
                        }
                    }
                    // One light for both eyes, on the same side.
                    let l = Vec2::new(e.x * p.x.signum() + 0.25, e.y - 0.35);
                    if inside(l, 0.24) {
                        c = [1.0; 3];
                    }
                }
            }
            // A dark oval with a light.
            2 => {
                if inside(e / Vec2::new(0.6, 0.9), 1.0) {
                    c = self.glow.unwrap_or(scale(self.iris, 0.4));
                    if inside(Vec2::new(e.x * p.x.signum() + 0.15, e.y - 0.4), 0.22) {
                        c = [1.0; 3];
                    }
                }
            }
            // A happy arc.
            _ => {
                let d = (Vec2::new(e.x, e.y + 0.5)).length();
                if (d - 0.95).abs() < 0.17 && e.y > -0.25 {
                    c = dark;
                }
            }
        }
        let b = (q - self.eye - Vec2::new(0.02, self.eye_size.y * 1.45 + 0.04)) / Vec2::new(self.eye_size.x * 1.05, 0.035);
        if self.glow.is_none() && inside(b + Vec2::new(0.0, b.x * b.x * 0.7), 1.0) {
            c = self.brow;
        }
        let m = p - Vec2::new(0.0, self.mouth_y);
        let lip = self.glow.unwrap_or(scale(mix(skin, [0.6, 0.15, 0.15], 0.6), 0.8));
        match self.mouth {
            0 if (m.y - 1.6 * m.x * m.x + 0.02).abs() < 0.022 && m.x.abs() < 0.19 => c = lip,
            1 if m.y < 0.02 && ((m / Vec2::new(0.16, 0.13)).length() < 1.0) => {
                c = if m.y < -0.06 { [0.9, 0.45, 0.45] } else { [0.5, 0.12, 0.14] };
            }
            2 if m.y.abs() < 0.02 && m.x.abs() < 0.1 => c = lip,
            3 if (m / Vec2::new(0.06, 0.05)).length() < 1.0 => c = [0.55, 0.15, 0.17],
            _ => {}
        }
        if self.nose && (p - Vec2::new(0.015, (self.eye.y + self.mouth_y) * 0.5)).abs().cmplt(Vec2::new(0.025, 0.03)).all() {
            c = scale(skin, 0.78);
        }
        c
    }
}

/// A picture laid on a head from straight ahead; `colour` of a place in units of half the head, x to the left, y up.
pub fn paint(colour: impl Fn(Vec2) -> Rgb) -> Material {
    let mut rgba = vec![[0u8; 4]; FACE_PX * FACE_PX];
    const SS: usize = 3;
    for y in 0..FACE_PX {
        for x in 0..FACE_PX {
            let mut sum = [0.0; 3];
            for s in 0..SS * SS {
                let at = Vec2::new(x as f32 + (s % SS) as f32 / SS as f32, y as f32 + (s / SS) as f32 / SS as f32);
                let uv = at / FACE_PX as f32;
                let c = colour(Vec2::new((uv.x - 0.5) / 0.49, (0.5 - uv.y) / 0.49));
                for i in 0..3 {
                    sum[i] += c[i];
                }
            }
            let c = sum.map(|v: f32| (v / (SS * SS) as f32 * 255.0 + 0.5) as u8);
            rgba[y * FACE_PX + x] = [c[0], c[1], c[2], 255];
        }
    }
    Material {
        colour: [1.0; 3],
        texture: Some(Arc::new(Texture { width: FACE_PX, height: FACE_PX, rgba })),
        alpha: Alpha::Paint,
        pattern: Pattern::Plain,
        outlined: true,
    }
}

/// Ears at the sides; an animal's on top, now and then.
pub fn ears(mesh: &mut Mesh, skull: &Skull, skin: u16, hair: u16, rng: &mut Rng) {
    let head = vec![(bone("head"), 1.0)];
    for sign in [1.0, -1.0f32] {
        let a = sign * std::f32::consts::FRAC_PI_2;
        let p = skull.point(-0.15, a, -0.02);
        mesh.ellipsoid(p, Vec3::new(0.13, 0.24, 0.14) * skull.half.y, &head, skin);
    }
    if rng.chance(0.15) {
        let inner = mesh.material(Material::plain(cloth(rng)));
        let tall = rng.range(0.5, 1.3);
        for sign in [1.0, -1.0f32] {
            let base = skull.point(0.75, sign * 1.45, -0.05);
            let tip = base + Vec3::new(sign * 0.25, tall, 0.0) * skull.half.y;
            let path = |from: Vec3, to: Vec3| -> Vec<_> { (0..5).map(|i| (from.lerp(to, i as f32 / 4.0), head.clone())).collect() };
            mesh.strand(&path(base, tip), Vec3::X, skull.half.y * 0.32, skull.half.y * 0.1, 2.0, hair);
            let forward = Vec3::Z * skull.half.y * 0.09;
            mesh.strand(&path(base.lerp(tip, 0.1) + forward, base.lerp(tip, 0.8) + forward), Vec3::X, skull.half.y * 0.17, skull.half.y * 0.04, 2.0, inner);
        }
    }
}
