//! Hair: a cap over the skull, a fringe, and what hangs behind and swings.

use glam::{Vec2, Vec3};

use super::body::bone;
use super::head::Skull;
use super::shape::{Mesh, Ring, Weights, smooth};
use odori_engine::avatar::rigged::character::Loose;
use crate::rng::Rng;

/// Draws one of many hair shapes; may leave the head bald.
pub fn hair(mesh: &mut Mesh, skull: &Skull, colour: u16, tie: u16, rng: &mut Rng) {
    if rng.chance(0.04) {
        return;
    }
    let volume = rng.range(0.05, 0.14);
    // How far down the cap reaches at the back and the sides, and at the forehead.
    let back = rng.range(-0.75, 0.0);
    let forehead = rng.range(0.3, 0.62);
    cap(mesh, skull, colour, volume, back, forehead, rng);
    if rng.chance(0.85) {
        fringe(mesh, skull, colour, volume, forehead, rng);
    }
    match rng.below(8) {
        0 | 1 => {}
        2 | 3 => curtain(mesh, skull, colour, volume, rng),
        4 => tail(mesh, skull, colour, tie, std::f32::consts::PI, rng.range(-0.1, 0.75), rng),
        5 => {
            let (a, v) = (rng.range(1.5, 2.4), rng.range(0.0, 0.6));
            let mut twin = rng.clone();
            tail(mesh, skull, colour, tie, a, v, rng);
            tail(mesh, skull, colour, tie, -a, v, &mut twin);
        }
        6 => {
            let head = vec![(bone("head"), 1.0)];
            let r = skull.half.y * rng.range(0.25, 0.42);
            let spots: &[(f32, f32)] = if rng.chance(0.5) { &[(std::f32::consts::PI, 0.7)] } else { &[(1.5, 0.75), (-1.5, 0.75)] };
            for &(a, v) in spots {
                mesh.ellipsoid(skull.point(v, a, volume + 0.25), Vec3::splat(r), &head, colour);
            }
        }
        _ => side_locks(mesh, skull, colour, volume, rng),
    }
    if rng.chance(0.2) {
        let root = skull.point(0.93, 0.0, volume);
        let lean = Vec3::new(rng.range(-0.5, 0.5), 0.5, 0.3) * skull.half.y;
        let path: Vec<_> = (0..6)
            .map(|i| {
                let t = i as f32 / 5.0;
                (root + lean * t + Vec3::new(0.0, -0.3 * t * t, 0.1 * t) * skull.half.y, vec![(bone("head"), 1.0)])
            })
            .collect();
        mesh.strand(&path, Vec3::X, skull.half.y * 0.07, skull.half.y * 0.04, 2.0, colour);
    }
}

fn cap(mesh: &mut Mesh, skull: &Skull, colour: u16, volume: f32, back: f32, forehead: f32, rng: &mut Rng) {
    const SIDES: usize = 28;
    const RINGS: usize = 10;
    let head = vec![(bone("head"), 1.0)];
    let jag = rng.range(0.0, 0.12);
    let teeth = rng.below(3) + 4;
    let first = mesh.vertices.len();
    let rings: Vec<Ring> = (0..=RINGS)
        .map(|_| Ring { centre: Vec3::ZERO, right: Vec3::Z, up: Vec3::X, weights: head.clone() })
        .collect();
    mesh.tube(&rings, SIDES, true, |_, _| Some(colour));
    for s in 0..SIDES {
        let a = s as f32 / SIDES as f32 * std::f32::consts::TAU;
        let front = a.min(std::f32::consts::TAU - a);
        let rim = forehead + (back - forehead) * smooth(0.75, 1.75, front) + jag * (a * teeth as f32).sin();
        for i in 0..=RINGS {
            let t = i as f32 / RINGS as f32;
            // Rings run from the rim to the crown; the lowest tucks under.
            let v = rim + (0.998 - rim) * (1.0 - (1.0 - t).powf(1.3));
            let grow = if i == 0 { 0.0 } else { volume };
            let v = if i == 0 { v - 0.02 } else { v };
            let p = skull.point(v, a, grow);
            let vertex = &mut mesh.vertices[first + i * SIDES + s];
            vertex.position = p;
            vertex.uv = Vec2::new(p.x, p.y);
        }
    }
}

pub(super) fn fringe(mesh: &mut Mesh, skull: &Skull, colour: u16, volume: f32, forehead: f32, rng: &mut Rng) {
    let n = rng.below(5) + 3;
    let reach = rng.range(0.05, 0.5);
    let parting = rng.range(-0.6, 0.6);
    let head: Weights = vec![(bone("head"), 1.0)];
    for k in 0..n {
        let u = (k as f32 + 0.5) / n as f32 * 2.0 - 1.0;
        let a = u * 1.25;
        let end = a + (u - parting) * rng.range(0.05, 0.35);
        let low = forehead - reach * rng.range(0.7, 1.2) - 0.35 * u.abs().powi(2);
        let path: Vec<_> = (0..6)
            .map(|i| {
                let t = i as f32 / 5.0;
                (skull.point(0.8 + (low - 0.8) * t, a * (0.4 + 0.6 * t) + (end - a) * t, volume + 0.03), head.clone())
            })
            .collect();
        let width = skull.half.x * 2.4 / n as f32 * 0.62;
        mesh.strand(&path, Vec3::X, width, skull.half.y * 0.07, rng.range(1.5, 4.0), colour);
    }
}

fn lag(rng: &mut Rng, parent: usize, tip: Vec3) -> Loose {
    Loose { parent, tip, stiffness: rng.range(110.0, 300.0), gravity: rng.range(0.0, 3.0), drag: rng.range(0.25, 0.5), follow: None }
}

/// A path that hangs from `root`, with a chain of swinging joints; gives path points with their weights.
fn hanging(mesh: &mut Mesh, points: &[Vec3], rng: &mut Rng) -> Vec<(Vec3, Weights)> {
    let links = 3.min(points.len() - 1);
    let mut parent = bone("head");
    let mut joints = Vec::new();
    let at = |t: f32| {
        let x = t * (points.len() - 1) as f32;
        let i = (x as usize).min(points.len() - 2);
        points[i].lerp(points[i + 1], x - i as f32)
    };
    for l in 0..links {
        let tip = at((l + 1) as f32 / links as f32);
        let loose = lag(rng, parent, tip);
        parent = mesh.loose_joint(at(l as f32 / links as f32), loose);
        joints.push(parent);
    }
    points
        .iter()
        .enumerate()
        .map(|(i, &p)| {
            let x = i as f32 / (points.len() - 1) as f32 * links as f32 - 0.5;
            let l = x.floor().max(0.0) as usize;
            let f = smooth(0.0, 1.0, x - l as f32);
            let w = if x < 0.0 {
                let f = smooth(-0.5, 0.0, x);
                vec![(bone("head"), 1.0 - f), (joints[0], f)]
            } else if l + 1 >= links {
                vec![(joints[links - 1], 1.0)]
            } else {
                vec![(joints[l], 1.0 - f), (joints[l + 1], f)]
            };
            (p, w)
        })
        .collect()
}

/// Long hair down the back.
fn curtain(mesh: &mut Mesh, skull: &Skull, colour: u16, volume: f32, rng: &mut Rng) {
    let long = rng.range(0.6, 3.2) * skull.half.y;
    let width = skull.half.x * rng.range(0.95, 1.25);
    let top = skull.centre + Vec3::new(0.0, skull.half.y * 0.35, -skull.half.z * (0.45 + volume));
    let points: Vec<Vec3> = (0..9)
        .map(|i| {
            let t = i as f32 / 8.0;
            top + Vec3::new(0.0, -(long + skull.half.y * 0.6) * t, -0.06 * (t * 3.0).min(1.0))
        })
        .collect();
    let flare = rng.range(0.75, 1.25);
    let rings: Vec<Ring> = hanging(mesh, &points, rng)
        .into_iter()
        .enumerate()
        .map(|(i, (p, weights))| {
            let t = i as f32 / 8.0;
            let k = if i == 8 { 0.75 } else { 1.0 } * (1.0 + (flare - 1.0) * t) * smooth(-0.4, 0.3, t);
            Ring { centre: p, right: Vec3::X * width * k, up: Vec3::Z * skull.half.z * (0.55 - 0.3 * t) * k.min(1.0), weights }
        })
        .map(|r| Ring { right: r.right, up: r.up, ..r })
        .collect();
    mesh.tube(&rings, 14, true, |_, _| Some(colour));
}

fn tail(mesh: &mut Mesh, skull: &Skull, colour: u16, tie: u16, a: f32, v: f32, rng: &mut Rng) {
    let root = skull.point(v, a, 0.05);
    let out = (root - skull.centre).normalize_or(Vec3::NEG_Z);
    let long = rng.range(0.9, 3.2) * skull.half.y;
    let stand = rng.range(0.15, 0.5) * skull.half.y;
    let points: Vec<Vec3> = (0..10)
        .map(|i| {
            let t = i as f32 / 9.0;
            root + out * stand * (t * 4.0).min(1.0) * (1.0 + 0.3 * t) - Vec3::Y * long * (t * t * 0.4 + t * 0.6)
        })
        .collect();
    let width = skull.half.y * rng.range(0.2, 0.36);
    let taper = rng.range(1.5, 3.5);
    let path = hanging(mesh, &points, rng);
    mesh.strand(&path, Vec3::X, width, width * 0.8, taper, colour);
    mesh.ellipsoid(root + out * 0.02, Vec3::splat(skull.half.y * 0.16), &vec![(bone("head"), 1.0)], tie);
}

fn side_locks(mesh: &mut Mesh, skull: &Skull, colour: u16, volume: f32, rng: &mut Rng) {
    let long = rng.range(0.8, 1.9) * skull.half.y;
    for sign in [1.0, -1.0f32] {
        let top = skull.point(0.4, sign * 1.25, volume);
        let points: Vec<Vec3> = (0..7)
            .map(|i| {
                let t = i as f32 / 6.0;
                top + Vec3::new(sign * 0.1 * skull.half.x, -long * t, 0.12 * skull.half.z * t)
            })
            .collect();
        let path = hanging(mesh, &points, rng);
        mesh.strand(&path, Vec3::Z, skull.half.z * 0.34, skull.half.x * 0.12, 3.0, colour);
    }
}
