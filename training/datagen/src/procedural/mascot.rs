//! Mascots: heads as large as bodies, of the kinds that people draw. A costume with a hood, a robot, a plush animal.
//!
//! Heads are rounded boxes; what is painted on them is laid on from straight ahead, as faces are.

use std::f32::consts::PI;

use glam::{Vec2, Vec3};
use odori_engine::avatar::rigged::character::Character;
use odori_engine::avatar::rigged::raster::Material;

use super::body::{Body, Build, bone};
use super::clothes;
use super::finished;
use super::hair;
use super::head::{Face, Skull, paint};
use super::shape::{Mesh, Ring, Weights, smooth};
use crate::colour::{self, Rgb, hsv, mix, scale};
use crate::rng::Rng;

/// A rounded box round `centre`; `power` 2 is an egg, 8 nearly a box.
#[derive(Clone, Copy)]
struct Block {
    centre: Vec3,
    half: Vec3,
    power: f32,
}

impl Block {
    /// The surface in this direction, `grow` of its size farther out.
    fn point(&self, direction: Vec3, grow: f32) -> Vec3 {
        let d = direction.abs().powf(self.power);
        self.centre + self.half * direction / (d.x + d.y + d.z).powf(1.0 / self.power) * (1.0 + grow)
    }

    /// The shell from `open` (an angle from straight ahead; 0 is closed) to the back, and what its front and its back are of.
    fn draw(&self, mesh: &mut Mesh, open: f32, grow: f32, [front, back]: [u16; 2]) {
        const RINGS: usize = 20;
        const SIDES: usize = 36;
        let rim = usize::from(open > 0.0);
        let first = mesh.vertices.len();
        // Backwards: up, then left, is anticlockwise from there.
        let ring = Ring { centre: Vec3::ZERO, right: Vec3::Y, up: Vec3::X, weights: head() };
        mesh.tube(&vec![ring; RINGS + 1 + rim], SIDES, open == 0.0, |r, _| Some(if open == 0.0 && r < RINGS / 2 { front } else { back }));
        for i in 0..=RINGS + rim {
            // An open shell has an edge that goes back into it.
            let (at, thick) = if rim == 1 && i == 0 { (open, -0.12) } else { (open + (PI * 0.998 - open) * (i - rim) as f32 / RINGS as f32, grow) };
            for s in 0..SIDES {
                let a = s as f32 / SIDES as f32 * 2.0 * PI;
                let p = self.point(Vec3::new(at.sin() * a.sin(), at.sin() * a.cos(), at.cos()), thick);
                let v = &mut mesh.vertices[first + i * SIDES + s];
                v.position = p;
                let d = (p - self.centre) / (self.half * (1.0 + grow));
                v.uv = Vec2::new(d.x * 0.49 + 0.5, 0.5 - d.y * 0.49);
            }
        }
    }
}

fn head() -> Weights {
    vec![(bone("head"), 1.0)]
}

pub fn character(seed: u64) -> Character {
    let mut rng = Rng::new(seed ^ 0x3a5c07);
    let mut build = Build { head: rng.range(0.4, 0.62), head_width: rng.range(0.95, 1.3), fingers: false, ..Build::young(&mut rng.fork(1), rng.clone().range(0.6, 1.0)) };
    for thick in [&mut build.arm_girth, &mut build.leg_girth, &mut build.waist, &mut build.foot] {
        *thick *= rng.range(0.95, 1.35);
    }
    let joints = build.joints();
    let body = Body { build: &build, joints: &joints };
    let mut mesh = Mesh::default();
    let fur = if rng.chance(0.3) { scale([0.95, 0.95, 0.97], rng.range(0.9, 1.05)) } else { hsv(rng.unit(), rng.range(0.15, 0.7), rng.range(0.5, 1.0)) };
    let (skin, hair_colour) = (colour::skin(&mut rng), colour::hair(&mut rng));
    let fur_material = mesh.material(Material::plain(fur));
    let accent = colour::cloth(&mut rng);
    let accent_material = mesh.material(Material::plain(accent));
    clothes::dress(&mut mesh, &body, fur_material, &mut rng.fork(2));
    let half = Vec3::new(0.5 * build.head_width, 0.5, rng.range(0.42, 0.55)) * build.head;
    let centre = joints[bone("head")] + Vec3::new(0.0, half.y * rng.range(0.82, 0.98), half.z * 0.1);
    let kind = rng.below(3);
    let power = [2.4, 4.5, 2.6][kind] * rng.range(0.85, 1.2);
    let block = Block { centre, half, power };
    let skull = Skull { centre, half, jaw: 0.92 };
    let mut face = Face::random(&mut rng.fork(3), rng.range(0.5, 1.0), hair_colour);
    match kind {
        0 => hooded(&mut mesh, &block, &face, [skin, hair_colour, fur], fur_material, &mut rng),
        1 => robot(&mut mesh, &block, &mut face, (fur, fur_material), accent_material, &mut rng),
        _ => animal(&mut mesh, &block, &face, (fur, fur_material), accent_material, &mut rng),
    }
    mesh.set_normals();
    finished(format!("mascot-{seed}"), &joints, mesh, &skull, &face, &build)
}

/// A person's face that looks out of a costume's head.
fn hooded(mesh: &mut Mesh, block: &Block, face: &Face, [skin, hair_colour, fur]: [Rgb; 3], shell: u16, rng: &mut Rng) {
    let inner = Skull { centre: block.centre, half: block.half * 0.86, jaw: 0.85 };
    let (skin_material, hair_material) = (mesh.material(Material::plain(skin)), mesh.material(Material::plain(hair_colour)));
    let painted = mesh.material(face.material(skin));
    inner.draw(mesh, skin_material, painted);
    hair::fringe(mesh, &inner, hair_material, rng.range(0.02, 0.06), rng.range(0.45, 0.65), rng);
    block.draw(mesh, rng.range(0.75, 1.05), 0.06, [shell, shell]);
    let inner_ear = if rng.chance(0.6) { mix(fur, [0.98, 0.6, 0.7], 0.6) } else { scale(fur, 0.7) };
    ears(mesh, block, shell, inner_ear, rng);
}

/// A box with a screen for a face.
fn robot(mesh: &mut Mesh, block: &Block, face: &mut Face, (shell, plain): (Rgb, u16), accent: u16, rng: &mut Rng) {
    let screen = hsv(rng.unit(), rng.range(0.0, 0.6), rng.range(0.05, 0.25));
    let glow = hsv(rng.unit(), rng.range(0.3, 0.8), rng.range(0.8, 1.0));
    let (wide, tall) = (rng.range(0.68, 0.86), rng.range(0.45, 0.7));
    let low = rng.range(-0.15, 0.05);
    let corner = rng.range(3.0, 6.0);
    let stripe = rng.chance(0.4).then(|| (rng.range(0.12, 0.3), colour::cloth(rng)));
    face.light(glow, low);
    let painted = {
        let inside = |p: Vec2, grow: f32| ((p.x / (wide + grow)).abs().powf(corner) + ((p.y - low) / (tall + grow)).abs().powf(corner)) < 1.0;
        let face = &*face;
        mesh.material(paint(|p| match stripe {
            _ if inside(p, 0.0) => face.colour(p, screen),
            _ if inside(p, 0.05) => scale(shell, 0.7),
            Some((w, c)) if p.x.abs() < w && p.y > 0.0 => c,
            _ => shell,
        }))
    };
    block.draw(mesh, 0.0, 0.0, [painted, plain]);
    let r = block.half.y * rng.range(0.25, 0.45);
    for sign in [1.0, -1.0f32] {
        let at = block.point(Vec3::X * sign, 0.0);
        mesh.ellipsoid(at, Vec3::new(r * rng.range(0.3, 0.6), r, r), &head(), accent);
    }
    if rng.chance(0.7) {
        let root = block.point(Vec3::Y, -0.02);
        let tip = root + Vec3::Y * block.half.y * rng.range(0.2, 0.6);
        let path: Vec<_> = (0..4).map(|i| (root.lerp(tip, i as f32 / 3.0), head())).collect();
        mesh.strand(&path, Vec3::X, block.half.y * 0.06, block.half.y * 0.06, 12.0, accent);
        mesh.ellipsoid(tip, Vec3::splat(block.half.y * rng.range(0.1, 0.16)), &head(), accent);
    }
}

/// Fur, a muzzle, ears.
fn animal(mesh: &mut Mesh, block: &Block, face: &Face, (fur, plain): (Rgb, u16), nose: u16, rng: &mut Rng) {
    let light = mix(fur, [1.0, 0.98, 0.94], rng.range(0.3, 0.9));
    let mask = rng.chance(0.4).then(|| rng.range(0.35, 0.65));
    let painted = mesh.material(paint(|p| {
        let ground = if mask.is_some_and(|r| (p - Vec2::new(0.0, -0.3)).length() < r) { light } else { fur };
        face.colour(p, ground)
    }));
    block.draw(mesh, 0.0, 0.0, [painted, plain]);
    if rng.chance(0.7) {
        let muzzle = mesh.material(Material::plain(light));
        let at = block.point(Vec3::new(0.0, -0.35, 1.0).normalize(), -0.05);
        let wide = block.half.x * rng.range(0.22, 0.36);
        let size = Vec3::new(wide, wide * rng.range(0.5, 0.8), block.half.z * rng.range(0.15, 0.4));
        mesh.ellipsoid(at, size, &head(), muzzle);
        mesh.ellipsoid(at + Vec3::new(0.0, size.y * 0.5, size.z * 0.85), size * 0.32, &head(), nose);
    }
    ears(mesh, block, plain, scale(fur, 0.75), rng);
}

/// An animal's ears: a rabbit's, a cat's, a bear's.
fn ears(mesh: &mut Mesh, block: &Block, outer: u16, inner: Rgb, rng: &mut Rng) {
    let inner = mesh.material(Material::plain(inner));
    let (kind, lean) = (rng.below(4), rng.range(0.35, 0.8));
    let h = block.half.y;
    for sign in [1.0, -1.0f32] {
        let base = block.point(Vec3::new(sign * lean.sin(), lean.cos(), 0.0), -0.06);
        let forward = Vec3::Z * h * 0.1;
        match kind {
            // Round.
            0 | 3 => {
                let r = h * rng.clone().range(0.24, 0.42);
                mesh.ellipsoid(base, Vec3::new(r, r, r * 0.5), &head(), outer);
                mesh.ellipsoid(base + forward * 1.5, Vec3::new(r, r, r * 0.4) * 0.6, &head(), inner);
            }
            // Tall, or pointed.
            kind => {
                let mut same = rng.clone();
                let tall = if kind == 1 { same.range(0.7, 1.4) } else { same.range(0.35, 0.6) };
                let (wide, taper) = if kind == 1 { (0.22, 5.0) } else { (0.34, 1.3) };
                let tip = base + Vec3::new(sign * same.range(0.0, 0.35), tall, 0.0) * h;
                let path = |from: f32, to: f32, forward: Vec3| -> Vec<_> {
                    (0..6).map(|i| (base.lerp(tip, from + (to - from) * smooth(0.0, 1.0, i as f32 / 5.0)) + forward, head())).collect()
                };
                mesh.strand(&path(-0.1, 1.0, Vec3::ZERO), Vec3::X, h * wide, h * 0.1, taper, outer);
                mesh.strand(&path(0.1, 0.85, forward), Vec3::X, h * wide * 0.55, h * 0.03, taper, inner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_seeds_give_sound_mascots_with_large_heads() {
        for seed in 0..60 {
            let c = character(seed);
            for v in &c.vertices {
                assert!(v.position.is_finite() && v.normal.is_finite(), "{seed}");
                assert!((v.weights.iter().sum::<f32>() - 1.0).abs() < 1e-3, "{seed}: {:?}", v.weights);
            }
            let top = |name: Option<&str>| {
                let on = |v: &&odori_engine::avatar::rigged::character::Vertex| name.is_none_or(|n| usize::from(v.joints[0]) == bone(n) && v.weights[0] > 0.9);
                c.vertices.iter().filter(on).map(|v| v.position.y).fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), y| (a.min(y), b.max(y)))
            };
            let ((low, high), (_, crown)) = (top(Some("head")), top(None));
            assert!((high - low) / crown > 0.28, "{seed}: a head of {} of {crown} m", high - low);
        }
    }

    #[test]
    fn a_shell_faces_outwards() {
        let block = Block { centre: Vec3::Y, half: Vec3::new(0.3, 0.25, 0.2), power: 4.0 };
        for open in [0.0, 0.8] {
            let mut mesh = Mesh::default();
            block.draw(&mut mesh, open, 0.0, [0, 0]);
            mesh.set_normals();
            let outwards = mesh.vertices.iter().filter(|v| v.normal.dot(v.position - block.centre) > 0.0).count();
            assert!(outwards * 10 > mesh.vertices.len() * 9, "{open}: {outwards} of {}", mesh.vertices.len());
        }
    }
}
