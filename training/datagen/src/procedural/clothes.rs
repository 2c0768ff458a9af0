//! Clothes: layers over the body, skirts that swing, shoes, gloves, belts, hats.

use glam::{Vec2, Vec3};

use super::body::{Body, Layer, bone};
use super::head::Skull;
use super::shape::{Mesh, Ring, smooth};
use odori_engine::avatar::rigged::character::{Character, Loose};
use crate::colour::{cloth, scale};
use odori_engine::avatar::rigged::raster::{Material, Pattern};
use crate::rng::Rng;

fn fabric(mesh: &mut Mesh, body: &Body, rng: &mut Rng) -> u16 {
    let colour = cloth(rng);
    let other = if rng.chance(0.5) { cloth(rng) } else { scale(colour, 0.7) };
    let pattern = match rng.below(12) {
        0 => Pattern::Stripes { period: rng.range(0.05, 0.16), other },
        1 => Pattern::Checks { period: rng.range(0.04, 0.1), other },
        2 => Pattern::Dots { period: rng.range(0.05, 0.11), other },
        3 | 4 => Pattern::Disc { centre: Vec2::new(rng.range(-0.03, 0.03), body.torso_y(rng.range(0.6, 0.78))), radius: rng.range(0.03, 0.06), other },
        5 => Pattern::Split { v: body.torso_y(rng.range(0.4, 0.7)), other },
        _ => Pattern::Plain,
    };
    mesh.material(Material { pattern, ..Material::plain(colour) })
}

/// Draws skin and clothes of the trunk and limbs.
pub fn dress(mesh: &mut Mesh, body: &Body, skin: u16, rng: &mut Rng) {
    let top = fabric(mesh, body, rng);
    let bottom = fabric(mesh, body, rng);
    let accent = {
        let c = cloth(rng);
        mesh.material(Material::plain(c))
    };
    let shoe = {
        let c = cloth(rng);
        mesh.material(Material::plain(c))
    };
    let sole = rng.chance(0.5).then_some(accent);
    // Trunk: skin, then a top from the waist up, then bottoms over its lower edge.
    let hem: f32 = rng.pick(&[0.05, 0.2, 0.34, 0.55]);
    let neckline = rng.range(0.88, 0.985);
    let thick = rng.range(0.004, 0.022);
    let open = rng.chance(0.2).then(|| rng.range(0.02, 0.06));
    body.torso(mesh, Layer::SKIN, |t, _| Some(if t < 0.3 { bottom } else { skin }));
    body.neck(mesh, skin);
    if let Some(gap) = open {
        body.torso(mesh, Layer::over(hem.min(0.3), 0.93, thick * 0.4, 0.0), |_, _| Some(accent));
        body.torso(mesh, Layer::over(hem, neckline, thick + 0.006, 0.02), |_, a| (a.abs() > gap).then_some(top));
    } else {
        body.torso(mesh, Layer::over(hem, neckline, thick, rng.range(0.0, 0.02)), |_, _| Some(top));
    }
    if rng.chance(0.3) {
        let y = rng.range(0.9, 0.96);
        body.torso(mesh, Layer::over(y - 0.05, y + 0.03, thick + 0.012, 0.0), |_, _| Some(accent));
    }
    let bare_legs;
    match rng.below(5) {
        0 | 1 => {
            bare_legs = true;
            body.torso(mesh, Layer::over(0.0, 0.36, thick + 0.003, 0.0), |_, _| Some(bottom));
            skirt(mesh, body, bottom, thick, rng);
        }
        _ => {
            bare_legs = false;
            body.torso(mesh, Layer::over(0.0, rng.range(0.3, 0.42), thick + 0.002, 0.0), |_, _| Some(bottom));
        }
    }
    if rng.chance(0.4) {
        let y = rng.range(0.3, 0.4);
        body.torso(mesh, Layer::over(y - 0.035, y + 0.035, thick + 0.01, 0.0), |_, _| Some(accent));
    }
    let sleeve = rng.pick(&[0.0, 0.2, 0.35, 0.65, 0.95, 0.97]);
    let sleeve_flare = if sleeve > 0.5 { rng.range(-0.004, 0.03) } else { rng.range(0.0, 0.012) };
    let trouser = if bare_legs { rng.pick(&[0.0, 0.0, 0.5]) } else { rng.pick(&[0.25, 0.45, 0.75, 0.94, 0.97]) };
    let trouser_flare = rng.range(-0.008, 0.035);
    let glove = rng.chance(0.25).then(|| rng.range(0.7, 0.93));
    let sock = rng.pick(&[0.5, 0.58, 0.8, 0.9, 1.0]);
    let sock_shade = if rng.chance(0.5) { accent } else { shoe };
    let boot = rng.pick(&[0.6, 0.8, 0.9, 0.97]);
    for side in ["left", "right"] {
        body.arm(mesh, side, Layer::SKIN, |_| skin);
        if sleeve > 0.0 {
            body.arm(mesh, side, Layer::over(0.0, sleeve, thick * 0.9, sleeve_flare), |_| top);
        }
        let hand = match glove {
            Some(from) => {
                body.arm(mesh, side, Layer::over(from, 1.03, 0.006, 0.0), |_| accent);
                accent
            }
            None => skin,
        };
        body.hand(mesh, side, hand, if glove.is_some() { 0.003 } else { 0.0 });
        body.leg(mesh, side, Layer::SKIN, |t| if t > sock { sock_shade } else { skin });
        if trouser > 0.0 {
            body.leg(mesh, side, Layer::over(0.0, trouser, thick * 0.8, trouser_flare), |_| bottom);
        }
        body.leg(mesh, side, Layer::over(boot, 1.02, 0.012, 0.0), |_| shoe);
        body.foot(mesh, side, shoe, 0.006, sole);
    }
}

/// A cone from the waist with swinging joints around it.
fn skirt(mesh: &mut Mesh, body: &Body, material: u16, thick: f32, rng: &mut Rng) {
    const SIDES: usize = 24;
    const RINGS: usize = 7;
    let waist = 0.36;
    let (w, d) = body.torso_size(waist);
    let top = body.torso_y(waist);
    let (hip, ankle) = (body.joints[bone("leftUpperLeg")].y, body.joints[bone("leftFoot")].y);
    let hem = hip + (ankle - hip) * rng.pick(&[0.3, 0.45, 0.6, 0.85]) * rng.range(0.9, 1.1);
    let flare = rng.range(1.15, 2.3);
    let (hip_w, hip_d) = body.torso_size(0.12);
    let pleats = if rng.chance(0.4) { rng.range(0.02, 0.06) } else { 0.0 };
    let z = body.joints[0].z;
    let rim = |a: f32, t: f32| {
        // Over the hips first, then outwards.
        let k = smooth(0.0, 0.4, t);
        let (rw, rd) = (w + (hip_w * 1.06 - w) * k, d + (hip_d * 1.12 - d) * k);
        let out = 1.0 + (flare - 1.0) * t * t.max(0.3) + pleats * t * (a * 12.0).cos();
        Vec3::new(a.sin() * (rw + thick + 0.008) * out, top + (hem - top) * t, z + a.cos() * (rd + thick + 0.008) * out)
    };
    let joints: Vec<usize> = ring(rim, rng).into_iter().map(|(at, loose)| mesh.loose_joint(at, loose)).collect();
    let first = mesh.vertices.len();
    // Downwards: right x up must point down.
    let rings: Vec<Ring> = (0..=RINGS)
        .map(|i| Ring {
            centre: Vec3::Y * (top + (hem - top) * i as f32 / RINGS as f32),
            right: Vec3::X,
            up: Vec3::Z,
            weights: vec![(0, 1.0)],
        })
        .collect();
    mesh.tube(&rings, SIDES, false, |_, _| Some(material));
    for i in 0..=RINGS {
        let t = i as f32 / RINGS as f32;
        for s in 0..SIDES {
            // Vertex s of a ring lies at angle s from +X towards +Z; ours is from +Z towards +X.
            let a = std::f32::consts::FRAC_PI_2 - s as f32 / SIDES as f32 * std::f32::consts::TAU;
            let v = &mut mesh.vertices[first + i * SIDES + s];
            v.position = rim(a, t);
            v.uv = Vec2::new(v.position.x, v.position.y);
            (v.joints, v.weights) = hung(&joints, a, t);
        }
    }
}

/// Joints round a skirt.
const JOINTS: usize = 8;

/// Swinging joints round a cone of which `rim` gives the place at an angle from the front towards the left, and 0 at the waist to 1 at the hem.
fn ring(rim: impl Fn(f32, f32) -> Vec3, rng: &mut Rng) -> Vec<(Vec3, Loose)> {
    (0..JOINTS)
        .map(|k| {
            // None straight ahead: each side of the cloth goes with its own thigh.
            let a = (k as f32 + 0.5) / JOINTS as f32 * std::f32::consts::TAU;
            let leg = if a.sin() > 0.0 { "leftUpperLeg" } else { "rightUpperLeg" };
            let follow = (bone(leg), 0.55 + 0.35 * a.cos().max(0.0));
            let loose = Loose {
                parent: 0,
                tip: rim(a, 1.0),
                stiffness: rng.range(90.0, 220.0),
                gravity: 1.0,
                drag: 0.45,
                follow: Some(follow),
            };
            (rim(a, 0.05), loose)
        })
        .collect()
}

/// Which of the joints carry the cloth at this angle and height.
fn hung(joints: &[usize], a: f32, t: f32) -> ([u8; 4], [f32; 4]) {
    let turn = a.rem_euclid(std::f32::consts::TAU) / std::f32::consts::TAU * JOINTS as f32;
    let turn = (turn + JOINTS as f32 - 0.5) % JOINTS as f32;
    let (k, f) = (turn as usize % JOINTS, turn.fract());
    let loose = smooth(0.05, 0.6, t);
    ([0, joints[k] as u8, joints[(k + 1) % JOINTS] as u8, 0], [1.0 - loose, loose * (1.0 - f), loose * f, 0.0])
}

/// Lets a range of a character's vertices, a cone from the waist, swing.
pub fn swing(out: &mut Character, skirt: std::ops::Range<usize>, rng: &mut Rng) {
    let cloth = &out.vertices[skirt.clone()];
    let (low, high) = cloth.iter().fold((f32::INFINITY, f32::NEG_INFINITY), |(a, b), v| (a.min(v.position.y), b.max(v.position.y)));
    let middle = out.joints[0];
    let place = |p: Vec3| ((p.x - middle.x).atan2(p.z - middle.z), (high - p.y) / (high - low).max(1e-3));
    // The vertex nearest to that angle and height.
    let rim = |a: f32, t: f32| {
        let far = |p: Vec3| {
            let (b, u) = place(p);
            (1.0 - (a - b).cos()) + (t - u).powi(2)
        };
        cloth.iter().map(|v| v.position).min_by(|p, q| far(*p).total_cmp(&far(*q))).unwrap_or(middle)
    };
    let ring = ring(rim, rng);
    let places: Vec<(f32, f32)> = cloth.iter().map(|v| place(v.position)).collect();
    let joints: Vec<usize> = ring
        .into_iter()
        .map(|(at, loose)| {
            out.joints.push(at);
            out.loose.push(loose);
            out.joints.len() - 1
        })
        .collect();
    for (v, (a, t)) in out.vertices[skirt].iter_mut().zip(places) {
        (v.joints, v.weights) = hung(&joints, a, t);
    }
}

/// A hat or a headband, now and then.
pub fn headwear(mesh: &mut Mesh, skull: &Skull, rng: &mut Rng) {
    if !rng.chance(0.18) {
        return;
    }
    let colour = cloth(rng);
    let m = mesh.material(Material::plain(colour));
    let head = vec![(bone("head"), 1.0)];
    let brim_at = rng.range(0.35, 0.55);
    let grow = 0.16;
    let ring = |v: f32, g: f32| {
        let (f, s) = (skull.point(v, 0.0, g), skull.point(v, std::f32::consts::FRAC_PI_2, g));
        let centre = Vec3::new(skull.centre.x, f.y, skull.centre.z);
        Ring { centre, right: Vec3::Z * (f.z - centre.z), up: Vec3::X * (s.x - centre.x), weights: head.clone() }
    };
    match rng.below(3) {
        // A beanie.
        0 => {
            let rings: Vec<Ring> = (0..8).map(|i| ring(brim_at + (0.99 - brim_at) * (i as f32 / 7.0).powf(0.8), grow)).collect();
            mesh.tube(&rings, 20, true, |_, _| Some(m));
        }
        // A hat with a brim.
        1 => {
            let wide = rng.range(0.4, 0.9);
            let mut rings = vec![ring(brim_at, grow + wide), ring(brim_at + 0.05, grow + wide), ring(brim_at + 0.06, grow)];
            rings.extend((1..6).map(|i| ring(brim_at + (0.9 - brim_at) * i as f32 / 5.0, grow)));
            mesh.tube(&rings, 20, true, |_, _| Some(m));
        }
        // A band.
        _ => {
            let rings = [ring(brim_at, grow - 0.04), ring(brim_at + 0.01, grow), ring(brim_at + 0.14, grow), ring(brim_at + 0.15, grow - 0.04)];
            mesh.tube(&rings, 20, false, |_, _| Some(m));
        }
    }
}
