//! Whether a dance is one that a body could do, and whether it goes on: contact with the ground, joints, stillness.

use glam::{Quat, Vec3};

use super::{Body, POSE_HZ, mean, speeds};
use crate::pose::Pose;
use crate::skeleton::{Bone, SKELETON};

const FEET: [usize; 2] = [7, 8];
const TOES: [usize; 2] = [10, 11];
/// A foot whose ankle and toes are lower than this may carry weight, metres: 4.5 cm over their height in standing.
const LOW_ANKLE: f32 = 0.125;
const LOW_TOES: f32 = 0.065;
/// Mean joint speed under which a dancer stands, m/s.
pub const STILL: f32 = 0.05;

/// EDGE's physical foot contact score: horizontal speed of both feet while the hips accelerate; 0 is physical.
pub fn pfc(bodies: &[Body]) -> f32 {
    if bodies.len() < 4 {
        return 0.0;
    }
    let flat = |v: Vec3| Vec3::new(v.x, 0.0, v.z).length();
    let accelerations: Vec<f32> = bodies
        .windows(3)
        .map(|w| {
            let a = (w[2][0] - 2.0 * w[1][0] + w[0][0]) * POSE_HZ * POSE_HZ;
            Vec3::new(a.x, a.y.max(0.0), a.z).length()
        })
        .collect();
    let highest = accelerations.iter().copied().fold(1e-9, f32::max);
    let each: Vec<f32> = bodies[1..]
        .windows(2)
        .zip(&accelerations)
        .map(|(w, a)| {
            let slowest = |side: usize| flat(w[1][FEET[side]] - w[0][FEET[side]]).min(flat(w[1][TOES[side]] - w[0][TOES[side]]));
            slowest(0) * slowest(1) * a / highest
        })
        .collect();
    mean(&each) * 1e4
}

/// How feet that carry weight behave.
#[derive(Clone, Copy, Debug, Default)]
pub struct Feet {
    /// Horizontal speed of the ankle while the dance itself says that the foot stands, m/s.
    pub slide: f32,
    /// Share of the frames with a foot that is low, whatever the dance says, and slides over 0.3 m/s at heel and toe.
    pub skating: f32,
}

pub fn feet(poses: &[Pose], bodies: &[Body]) -> Feet {
    let flat = |a: Vec3, b: Vec3| Vec3::new(a.x - b.x, 0.0, a.z - b.z).length() * POSE_HZ;
    let (mut slides, mut low, mut skates) = (Vec::new(), 0u32, 0u32);
    for (p, b) in poses.windows(2).zip(bodies.windows(2)) {
        for side in 0..2 {
            let (ankle, toes) = (FEET[side], TOES[side]);
            let speed = flat(b[1][ankle], b[0][ankle]);
            if p[0].contacts[side] > 0.5 && p[1].contacts[side] > 0.5 {
                slides.push(speed);
            }
            if b.iter().all(|b| b[ankle].y < LOW_ANKLE && b[toes].y < LOW_TOES) {
                low += 1;
                skates += u32::from(speed.min(flat(b[1][toes], b[0][toes])) > 0.3);
            }
        }
    }
    Feet { slide: mean(&slides), skating: skates as f32 / low.max(1) as f32 }
}

/// Shares of frames with a joint beyond what bodies do, and the most that a limb's length strayed, metres.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    pub joints: f32,
    pub limb_m: f32,
}

/// Degrees: how far knees and elbows close, how far a knee may bend forwards, how far neck and back bend.
const CLOSED: f32 = 160.0;
const KNEE_FORWARD: f32 = 10.0;
const NECK_BENT: f32 = 85.0;
const BACK_BENT: f32 = 100.0;

/// Angle from a bone's own rest direction to where the chain's rotations take it.
fn bend(pose: &Pose, chain: &[Bone], rest: Vec3) -> f32 {
    let turned = chain.iter().fold(Quat::IDENTITY, |q, b| q * pose.rotations[b.index()]) * rest;
    turned.angle_between(rest).to_degrees()
}

pub fn limits(poses: &[Pose]) -> Limits {
    let named = |n: &str| Bone::named(n).expect("a bone of the skeleton");
    let knees = ["leftLowerLeg", "rightLowerLeg"].map(named);
    let elbows = [("leftLowerArm", Vec3::X), ("rightLowerArm", Vec3::NEG_X)].map(|(n, rest)| (named(n), rest));
    let neck = ["neck", "head"].map(named);
    let back = ["spine", "chest", "upperChest"].map(named);
    let limbs: Vec<(usize, usize, f32)> = SKELETON.bones.iter().enumerate().filter_map(|(i, b)| Some((i, b.parent?.index(), b.offset.length()))).collect();
    let (mut beyond, mut strayed) = (0u32, 0f32);
    for pose in poses {
        let shins = knees.map(|k| pose.rotations[k.index()] * Vec3::NEG_Y);
        let broken = shins.iter().any(|s| s.angle_between(Vec3::NEG_Y).to_degrees() > CLOSED || s.z.atan2(-s.y).to_degrees() > KNEE_FORWARD && s.y < 0.0)
            || elbows.iter().any(|(b, rest)| bend(pose, &[*b], *rest) > CLOSED)
            || bend(pose, &neck, Vec3::Y) > NECK_BENT
            || bend(pose, &back, Vec3::Y) > BACK_BENT;
        beyond += u32::from(broken);
        let joints = pose.joints();
        for &(i, parent, length) in &limbs {
            strayed = strayed.max((joints.positions[i].distance(joints.positions[parent]) - length).abs());
        }
    }
    Limits { joints: beyond as f32 / poses.len().max(1) as f32, limb_m: strayed }
}

/// Whether the dance goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Liveliness {
    /// Mean joint speed, m/s.
    pub speed: f32,
    /// Share of whole seconds under [`STILL`], and under twice that.
    pub still: f32,
    pub nearly_still: f32,
    /// The longest time under [`STILL`], seconds, of the speed smoothed over a fifth of a second.
    pub longest_still_s: f32,
    /// Farthest that the hips were from the centre of the stage, metres.
    pub strayed_m: f32,
}

pub fn liveliness(bodies: &[Body]) -> Liveliness {
    let speed = speeds(bodies, POSE_HZ);
    let seconds: Vec<f32> = speed.chunks_exact(POSE_HZ as usize).map(mean).collect();
    let share = |limit: f32| seconds.iter().filter(|s| **s < limit).count() as f32 / seconds.len().max(1) as f32;
    let (mut run, mut longest) = (0u32, 0u32);
    for s in super::smooth(&speed, 3.0) {
        run = if s < STILL { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    let strayed_m = bodies.iter().map(|b| Vec3::new(b[0].x, 0.0, b[0].z).length()).fold(0.0, f32::max);
    Liveliness { speed: mean(&speed), still: share(STILL), nearly_still: share(2.0 * STILL), longest_still_s: longest as f32 / POSE_HZ, strayed_m }
}
