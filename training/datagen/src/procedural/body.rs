//! The body under and over the clothes: torso, limbs, hands and feet as swept shapes on the T-pose.
//!
//! Every part can be drawn again a little larger over a range: that is how clothes are made.

use glam::Vec3;
use odori_engine::skeleton::{BONE_COUNT, Bone, SKELETON};

use super::shape::{Mesh, Ring, Weights, smooth, table};
use crate::rng::Rng;

/// Sizes as factors of the shared skeleton's, and girths in metres.
#[derive(Clone, Debug)]
pub struct Build {
    pub leg: f32,
    pub torso: f32,
    pub arm: f32,
    pub shoulder: f32,
    pub hip: f32,
    pub neck: f32,
    pub hand: f32,
    pub foot: f32,
    /// Head height from chin to crown, metres, and its width to height.
    pub head: f32,
    pub head_width: f32,
    pub arm_girth: f32,
    pub leg_girth: f32,
    pub waist: f32,
    pub chest: f32,
    pub bust: f32,
    pub fingers: bool,
}

impl Build {
    /// `youth` 0: a grown figure; 1: a chibi of two and a half heads.
    pub fn random(rng: &mut Rng) -> Self {
        let youth = if rng.chance(0.4) { rng.range(0.0, 0.2) } else { rng.unit().powf(1.2) };
        Self::young(rng, youth)
    }

    /// See [`Build::random`].
    pub fn young(rng: &mut Rng, youth: f32) -> Self {
        let fem = rng.unit();
        let lerp = |a: f32, b: f32| a + (b - a) * youth;
        let mut j = |a: f32, b: f32| rng.range(a, b);
        Build {
            leg: lerp(1.0, 0.42) * j(0.92, 1.1),
            torso: lerp(1.0, 0.62) * j(0.92, 1.06),
            arm: lerp(1.0, 0.58) * j(0.92, 1.07),
            shoulder: lerp(1.0, 0.62) * (1.04 - 0.18 * fem) * j(0.94, 1.06),
            hip: lerp(1.0, 0.72) * j(0.9, 1.05) * (0.95 + 0.12 * fem),
            neck: lerp(1.0, 0.5) * j(0.85, 1.1),
            hand: lerp(1.0, 0.78) * j(0.85, 1.05),
            foot: lerp(1.0, 0.75) * j(0.85, 1.15),
            head: lerp(0.23, 0.42) * j(0.94, 1.12),
            head_width: lerp(0.78, 1.02) * j(0.95, 1.05),
            arm_girth: lerp(0.042, 0.044) * j(0.8, 1.2) * (1.08 - 0.2 * fem),
            leg_girth: lerp(0.078, 0.068) * j(0.85, 1.15),
            waist: lerp(0.125, 0.11) * j(0.88, 1.2) * (1.06 - 0.14 * fem),
            chest: lerp(0.15, 0.11) * j(0.92, 1.1) * (1.05 - 0.1 * fem),
            bust: fem * (1.0 - youth) * j(0.0, 0.05),
            fingers: youth < 0.6,
        }
    }

    /// Joints in the T-pose with the ankles' height kept over the ground.
    pub fn joints(&self) -> [Vec3; BONE_COUNT] {
        let mut out = [Vec3::ZERO; BONE_COUNT];
        for (i, b) in SKELETON.bones.iter().enumerate() {
            let part = b.name.trim_start_matches("left").trim_start_matches("right");
            let k = match part {
                "spine" | "chest" | "upperChest" => Vec3::splat(self.torso),
                "neck" => Vec3::new(1.0, self.torso, 1.0),
                "head" => Vec3::new(1.0, self.neck, 1.0),
                "Shoulder" => Vec3::new(self.shoulder, self.torso, 1.0),
                "UpperArm" => Vec3::splat(self.shoulder),
                "LowerArm" | "Hand" => Vec3::splat(self.arm),
                "UpperLeg" => Vec3::new(self.hip, self.torso, 1.0),
                "LowerLeg" | "Foot" => Vec3::splat(self.leg),
                "Toes" => Vec3::new(1.0, 1.0, self.foot),
                _ => Vec3::splat(self.hand),
            };
            let p = b.parent.map_or(Vec3::ZERO, |p| out[p.index()]);
            out[i] = p + b.offset * k;
        }
        out
    }
}

pub fn bone(name: &str) -> usize {
    Bone::named(name).unwrap_or_else(|| panic!("no bone {name}")).index()
}

/// How much larger than the skin a layer is: `grow` metres, plus `flare` metres at its far end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Layer {
    pub from: f32,
    pub to: f32,
    pub grow: f32,
    pub flare: f32,
}

impl Layer {
    pub const SKIN: Layer = Layer { from: 0.0, to: 1.0, grow: 0.0, flare: 0.0 };

    pub fn over(from: f32, to: f32, grow: f32, flare: f32) -> Self {
        Layer { from, to, grow, flare }
    }
}

pub struct Body<'a> {
    pub build: &'a Build,
    pub joints: &'a [Vec3; BONE_COUNT],
}

impl Body<'_> {
    fn at(&self, name: &str) -> Vec3 {
        self.joints[bone(name)]
    }

    /// 0 at the crotch, 1 at the base of the neck.
    pub fn torso_y(&self, t: f32) -> f32 {
        let low = self.at("leftUpperLeg").y - 0.06 * self.build.torso;
        low + (self.at("neck").y - low) * t
    }

    /// Half width and half depth of the trunk.
    pub fn torso_size(&self, t: f32) -> (f32, f32) {
        let b = self.build;
        let hip = 0.09 * b.hip + b.leg_girth * 1.02;
        let shoulder = (self.at("leftUpperArm").x + 0.01).max(b.chest);
        let width = table(
            &[(0.0, hip * 0.72), (0.12, hip), (0.25, hip * 0.97), (0.45, b.waist), (0.7, b.chest), (0.85, shoulder * 0.85), (0.93, shoulder * 0.6), (1.0, 0.05 + 0.01 * b.neck)],
            t,
        );
        let depth = table(
            &[(0.0, 0.07), (0.12, b.leg_girth * 1.25), (0.25, b.leg_girth * 1.2), (0.45, b.waist * 0.74), (0.7, b.chest * 0.74), (0.85, b.chest * 0.62), (1.0, 0.048)],
            t,
        );
        (width, depth)
    }

    pub fn torso_weights(&self, y: f32) -> Weights {
        let knots = ["hips", "spine", "chest", "upperChest", "neck"].map(|n| (self.at(n).y, bone(n)));
        let i = knots.iter().position(|k| k.0 > y).unwrap_or(knots.len());
        match i {
            0 => vec![(knots[0].1, 1.0)],
            i if i == knots.len() => vec![(knots[i - 1].1, 1.0)],
            i => {
                let t = smooth(knots[i - 1].0, knots[i].0, y);
                // The neck bone bends above its joint only.
                let t = if i == 4 { t * 0.35 } else { t };
                vec![(knots[i - 1].1, 1.0 - t), (knots[i].1, t)]
            }
        }
    }

    pub fn torso(&self, mesh: &mut Mesh, layer: Layer, material: impl Fn(f32, f32) -> Option<u16>) {
        const SIDES: usize = 20;
        let n = 4 + ((layer.to - layer.from) * 16.0) as usize;
        let mid = |i: usize| layer.from + (layer.to - layer.from) * i as f32 / n as f32;
        let rings: Vec<Ring> = (0..=n)
            .map(|i| {
                let t = mid(i);
                let y = self.torso_y(t);
                let (w, d) = self.torso_size(t);
                let far = smooth(layer.from + 0.25, layer.from, t) * layer.flare;
                let bulge = self.build.bust * (-((t - 0.7) / 0.1).powi(2)).exp();
                let back = if t > 0.5 { -0.01 } else { 0.0 };
                Ring {
                    centre: Vec3::new(0.0, y, bulge * 0.5 + back + self.at("hips").z),
                    right: Vec3::Z * (d + bulge * 0.5 + layer.grow + far),
                    up: Vec3::X * (w + layer.grow + far),
                    weights: self.torso_weights(y),
                }
            })
            .collect();
        // Angle 0 is the front.
        mesh.tube(&rings, SIDES, true, |r, s| {
            let a = (s as f32 + 0.5) / SIDES as f32;
            material(mid(r), if a > 0.5 { a - 1.0 } else { a })
        });
    }

    pub fn neck(&self, mesh: &mut Mesh, material: u16) {
        let (a, b) = (self.at("neck"), self.at("head"));
        let r = 0.05 * (0.6 + 0.4 * self.build.neck) * if self.build.head > 0.32 { 0.85 } else { 1.0 };
        let rings: Vec<Ring> = (0..=5)
            .map(|i| {
                let t = i as f32 / 5.0;
                let p = (a - Vec3::Y * 0.05).lerp(b + Vec3::Y * self.build.head * 0.25, t);
                let turn = smooth(0.2, 0.8, t);
                Ring {
                    centre: p,
                    right: Vec3::Z * r,
                    up: Vec3::X * r * (1.3 - 0.3 * smooth(0.0, 0.4, t)),
                    weights: if t < 0.4 {
                        vec![(bone("upperChest"), 1.0 - t), (bone("neck"), t)]
                    } else {
                        vec![(bone("neck"), 1.0 - turn), (bone("head"), turn)]
                    },
                }
            })
            .collect();
        mesh.tube(&rings, 12, false, |_, _| Some(material));
    }

    /// `layer` runs from 0 (shoulder) over 0.5 (elbow) to 1 (wrist).
    pub fn arm(&self, mesh: &mut Mesh, side: &str, layer: Layer, material: impl Fn(f32) -> u16) {
        let names = ["Shoulder", "UpperArm", "LowerArm", "Hand"].map(|n| format!("{side}{n}"));
        let [shoulder, upper, lower, hand] = names.each_ref().map(|n| bone(n));
        let g = self.build.arm_girth;
        let girth = [(0.0, g * 1.25), (0.12, g * 1.18), (0.4, g * 0.95), (0.5, g * 0.86), (0.6, g * 0.9), (1.0, g * 0.62)];
        let weights = |t: f32| -> Weights {
            let root = 1.0 - smooth(-0.12, 0.12, t);
            let bend = smooth(0.41, 0.59, t);
            let wrist = smooth(0.95, 1.03, t) * 0.5;
            vec![(shoulder, root * 0.6), (upper, (1.0 - bend) * (1.0 - root * 0.6)), (lower, bend * (1.0 - wrist)), (hand, bend * wrist)]
        };
        self.limb(mesh, [upper, lower, hand], layer, &girth, 0.92, &weights, material);
    }

    /// `layer` runs from 0 (hip) over 0.5 (knee) to 1 (ankle).
    pub fn leg(&self, mesh: &mut Mesh, side: &str, layer: Layer, material: impl Fn(f32) -> u16) {
        let names = ["UpperLeg", "LowerLeg", "Foot"].map(|n| format!("{side}{n}"));
        let [upper, lower, foot] = names.each_ref().map(|n| bone(n));
        let g = self.build.leg_girth;
        let girth = [(0.0, g * 1.06), (0.2, g), (0.5, g * 0.68), (0.65, g * 0.7), (1.0, g * 0.45)];
        let weights = |t: f32| -> Weights {
            let root = (1.0 - smooth(-0.1, 0.12, t)) * 0.7;
            let bend = smooth(0.42, 0.58, t);
            let ankle = smooth(0.95, 1.03, t) * 0.6;
            vec![(bone("hips"), root), (upper, (1.0 - bend) * (1.0 - root)), (lower, bend * (1.0 - ankle)), (foot, bend * ankle)]
        };
        self.limb(mesh, [upper, lower, foot], layer, &girth, 1.04, &weights, material);
    }

    #[allow(clippy::too_many_arguments)]
    fn limb(
        &self,
        mesh: &mut Mesh,
        [a, b, c]: [usize; 3],
        layer: Layer,
        girth: &[(f32, f32)],
        flat: f32,
        weights: &dyn Fn(f32) -> Weights,
        material: impl Fn(f32) -> u16,
    ) {
        let (a, b, c) = (self.joints[a], self.joints[b], self.joints[c]);
        let point = |t: f32| if t < 0.5 { a.lerp(b, t * 2.0) } else { b.lerp(c, t * 2.0 - 1.0) };
        let along = (c - a).normalize_or(Vec3::X);
        let right = if along.y.abs() > 0.7 { Vec3::Z } else { Vec3::Y };
        let up = along.cross(right).normalize_or(Vec3::Z);
        let length = a.distance(c);
        let n = 5 + ((layer.to - layer.from) * 14.0) as usize;
        let mut rings = Vec::with_capacity(n + 3);
        let mut ts = Vec::with_capacity(n + 3);
        // A round start inside the trunk.
        let mut push = |t: f32, radius: f32, back: f32| {
            rings.push(Ring {
                centre: point(t) - along * back,
                right: right * radius,
                up: up * radius * flat,
                weights: weights(t - back / length),
            });
            ts.push(t);
        };
        let r0 = table(girth, layer.from) + layer.grow;
        if layer.from < 0.02 {
            push(0.0, r0 * 0.35, r0 * 0.9);
            push(0.0, r0 * 0.8, r0 * 0.55);
        }
        for i in 0..=n {
            let t = layer.from + (layer.to - layer.from) * i as f32 / n as f32;
            let far = smooth(layer.from, layer.to, t) * layer.flare;
            push(t, table(girth, t) + layer.grow + far, 0.0);
        }
        mesh.tube(&rings, 12, true, |r, _| Some(material(ts[r])));
    }

    pub fn hand(&self, mesh: &mut Mesh, side: &str, material: u16, grow: f32) {
        let sign = if side == "left" { 1.0 } else { -1.0 };
        let at = |n: &str| self.at(&format!("{side}{n}"));
        let id = |n: &str| bone(&format!("{side}{n}"));
        let (wrist, knuckle) = (at("Hand"), at("MiddleProximal"));
        let s = self.build.hand;
        let palm = vec![(id("Hand"), 1.0)];
        if !self.build.fingers {
            let centre = wrist.lerp(knuckle, 0.75);
            mesh.ellipsoid(centre, Vec3::new(0.075, 0.045, 0.055) * s + grow, &palm, material);
            let thumb = at("ThumbProximal");
            mesh.ellipsoid(thumb, Vec3::new(0.03, 0.02, 0.02) * s + grow, &vec![(id("ThumbMetacarpal"), 1.0)], material);
            return;
        }
        mesh.ellipsoid(wrist.lerp(knuckle, 0.55) - Vec3::Z * 0.004, Vec3::new(0.058, 0.019, 0.042) * s + grow, &palm, material);
        for finger in ["Index", "Middle", "Ring", "Little", "Thumb"] {
            let segments = if finger == "Thumb" {
                ["ThumbMetacarpal", "ThumbProximal", "ThumbDistal"].map(String::from)
            } else {
                ["Proximal", "Intermediate", "Distal"].map(|p| format!("{finger}{p}"))
            };
            let p = segments.each_ref().map(|n| at(n));
            let b = segments.each_ref().map(|n| id(n));
            let tip = p[2] + (p[2] - p[1]) * 0.9;
            let r = if finger == "Thumb" { 0.0125 } else if finger == "Little" { 0.0095 } else { 0.011 } * s + grow;
            let path = [
                (p[0] - Vec3::X * sign * 0.012, palm.clone(), 0.9),
                (p[0], vec![(id("Hand"), 0.5), (b[0], 0.5)], 1.0),
                (p[1], vec![(b[0], 0.5), (b[1], 0.5)], 0.95),
                (p[2], vec![(b[1], 0.5), (b[2], 0.5)], 0.9),
                (tip.lerp(p[2], 0.15), vec![(b[2], 1.0)], 0.75),
                (tip, vec![(b[2], 1.0)], 0.25),
            ];
            let along = (tip - p[0]).normalize_or(Vec3::X * sign);
            let right = Vec3::Y;
            let up = along.cross(right).normalize_or(Vec3::Z);
            let rings: Vec<Ring> = path
                .into_iter()
                .map(|(centre, weights, k)| Ring { centre, right: right * r * k, up: up * r * k, weights })
                .collect();
            mesh.tube(&rings, 7, true, |_, _| Some(material));
        }
    }

    /// A foot or shoe; `top` is the height of its shaft over the ankle.
    pub fn foot(&self, mesh: &mut Mesh, side: &str, material: u16, grow: f32, sole: Option<u16>) {
        let (ankle, toes) = (self.at(&format!("{side}Foot")), self.at(&format!("{side}Toes")));
        let (foot_bone, toe_bone) = (bone(&format!("{side}Foot")), bone(&format!("{side}Toes")));
        let f = self.build.foot;
        let back = ankle.z - 0.055 * f;
        let front = toes.z + 0.085 * f;
        let ground = toes.y - 0.03;
        const N: usize = 10;
        let rings: Vec<Ring> = (0..=N)
            .map(|i| {
                let t = i as f32 / N as f32;
                let round = (1.0 - (2.0 * t - 1.0).powi(6)).max(0.0).sqrt().max(0.12);
                let height = table(&[(0.0, 0.075), (0.3, 0.085), (0.6, 0.055), (1.0, 0.035)], t) * (0.6 + 0.4 * f) + grow;
                let width = table(&[(0.0, 0.034), (0.65, 0.046), (1.0, 0.038)], t) * f + grow;
                let toe = smooth(0.55, 0.75, t);
                Ring {
                    centre: Vec3::new(ankle.x, ground + height * 0.5, back + (front - back) * t),
                    right: Vec3::X * width * round,
                    up: Vec3::Y * height * 0.55 * round,
                    weights: vec![(foot_bone, 1.0 - toe), (toe_bone, toe)],
                }
            })
            .collect();
        // Sides 0 to 11 start at +X and go up: the last ones are underneath.
        mesh.tube(&rings, 12, true, |_, s| Some(if s >= 7 { sole.unwrap_or(material) } else { material }));
    }
}
