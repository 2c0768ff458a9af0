//! Feet that stand stay where they stand: a lock by two-bone inverse kinematics, causal, frame by frame.
//!
//! Hips are thrown up and down no faster than bodies throw them, while the feet stay where the dance has them.
//! A foot that the dance says carries weight is held where it landed. When the dance takes it up again, what it was held
//! back by fades in the air. When the dance has slid too far from under it, it takes a small step. Hips are lowered where a
//! leg would not reach. Bones keep their lengths: only hips, thighs, shins and feet turn, and the hips move.

use std::sync::LazyLock;

use glam::{Quat, Vec3};

use crate::pose::Pose;
use crate::skeleton::{Bone, SKELETON};

/// A foot lands when the dance is this sure of its contact, and leaves when it is this unsure.
const LAND: f32 = 0.55;
const LEAVE: f32 = 0.35;
/// Ankles higher than this do not land; standing they are at 0.08 m.
const LAND_HEIGHT_M: f32 = 0.15;
const LEAVE_HEIGHT_M: f32 = 0.19;
/// What is left after a frame in the air of the distance that a foot was held back by.
const FADE: f32 = 0.8;
/// A foot held back further than this takes a step.
const HELD_MOST_M: f32 = 0.13;
/// Frames of such a step, and its height.
const STEP_FRAMES: u32 = 7;
const STEP_HEIGHT_M: f32 = 0.035;
/// Share of the feet's common correction that the hips take on in a frame.
const HIPS_FOLLOW: f32 = 0.18;
/// Longest a leg is stretched to, of its length.
const STRETCH: f32 = 0.995;
/// Hips come down quickly and go up slowly, in shares of the way a frame, and never further than this.
const LOWER: f32 = 0.6;
const RAISE: f32 = 0.12;
const LOWERED_MOST_M: f32 = 0.16;
/// Metres up or down in a frame that large moves of the hips are bent towards: 0.36 m/s. The model bounces more than dancers do.
const BOUNCE_M: f32 = 0.012;
/// A foot taken up by more than this does not stand, metres.
const LIFTED_M: f32 = 0.01;
/// No toe goes lower than this, metres.
const FLOOR_M: f32 = 0.012;

struct Leg {
    thigh: usize,
    shin: usize,
    foot: usize,
    toes: usize,
    thigh_m: f32,
    shin_m: f32,
}

static LEGS: LazyLock<[Leg; 2]> = LazyLock::new(|| {
    ["left", "right"].map(|side| {
        let bone = |name: &str| Bone::named(&format!("{side}{name}")).expect("a bone of the skeleton").index();
        let (thigh, shin, foot, toes) = (bone("UpperLeg"), bone("LowerLeg"), bone("Foot"), bone("Toes"));
        let length = |bone: usize| SKELETON.bones[bone].offset.length();
        Leg { thigh, shin, foot, toes, thigh_m: length(shin), shin_m: length(foot) }
    })
});

#[derive(Clone, Copy, Debug)]
enum Foot {
    /// In the air, held back by `behind` (x, z), which fades.
    Air { behind: Vec3 },
    /// Where its ankle stands (x, z).
    Stands { at: Vec3 },
    /// A step of its own from one place to where the dance has it.
    Steps { from: Vec3, frame: u32 },
}

/// The feet of one dancer.
#[derive(Clone, Debug)]
pub struct FootLock {
    feet: [Foot; 2],
    /// What the hips have been moved by: x and z with the feet, y down to let them reach.
    hips: Vec3,
    /// Height of the hips, of those that the dance had, with its fastest moves taken from it.
    height: Option<f32>,
}

impl Default for FootLock {
    fn default() -> Self {
        FootLock { feet: [Foot::Air { behind: Vec3::ZERO }; 2], hips: Vec3::ZERO, height: None }
    }
}

fn flat(v: Vec3) -> Vec3 {
    Vec3::new(v.x, 0.0, v.z)
}

impl Foot {
    /// The next state, and where the ankle is to be. `raw` is where the dance has it.
    fn step(self, raw: Vec3, contact: f32, other_steps: bool) -> (Foot, Vec3) {
        match self {
            Foot::Air { behind } => {
                let behind = behind * FADE;
                let at = flat(raw) + behind;
                let lands = contact > LAND && raw.y < LAND_HEIGHT_M;
                (if lands { Foot::Stands { at } } else { Foot::Air { behind } }, at + Vec3::Y * raw.y)
            }
            Foot::Stands { at } => {
                let away = at - flat(raw);
                if contact < LEAVE || raw.y > LEAVE_HEIGHT_M {
                    return Foot::Air { behind: away }.step(raw, 0.0, other_steps);
                }
                if away.length() > HELD_MOST_M && !other_steps || away.length() > 2.0 * HELD_MOST_M {
                    return Foot::Steps { from: at, frame: 0 }.step(raw, contact, other_steps);
                }
                (self, at + Vec3::Y * raw.y)
            }
            Foot::Steps { from, frame } => {
                let frame = frame + 1;
                let u = frame as f32 / STEP_FRAMES as f32;
                let at = from.lerp(flat(raw), u * u * (3.0 - 2.0 * u));
                let lift = STEP_HEIGHT_M * (std::f32::consts::PI * u).sin();
                let next = if frame < STEP_FRAMES { Foot::Steps { from, frame } } else { Foot::Stands { at } };
                (next, at + Vec3::Y * (raw.y + lift))
            }
        }
    }
}

/// The least turn from one direction to another.
fn swing(from: Vec3, to: Vec3) -> Quat {
    let (from, to) = (from.normalize_or(Vec3::NEG_Y), to.normalize_or(Vec3::NEG_Y));
    Quat::from_rotation_arc(from, to)
}

impl FootLock {
    /// Forgets where the feet were.
    pub fn reset(&mut self) {
        *self = FootLock::default();
    }

    /// Plants the feet of the next frame's pose; `lifts` are metres by which the feet are taken up besides.
    pub fn step(&mut self, pose: &mut Pose, lifts: [f32; 2]) {
        let joints = pose.joints();
        let mut ankles = [Vec3::ZERO; 2];
        for side in 0..2 {
            if lifts[side] > LIFTED_M {
                pose.contacts[side] = 0.0;
            }
            let raw = joints.positions[LEGS[side].foot] + Vec3::Y * lifts[side];
            let other_steps = matches!(self.feet[1 - side], Foot::Steps { .. });
            (self.feet[side], ankles[side]) = self.feet[side].step(raw, pose.contacts[side], other_steps);
            // Not through the floor: the foot keeps its turn in the world, so its toes rise with the ankle.
            let toes = joints.positions[LEGS[side].toes].y - joints.positions[LEGS[side].foot].y + ankles[side].y;
            ankles[side].y += (FLOOR_M - toes).max(0.0);
            if matches!(self.feet[side], Foot::Steps { .. }) {
                pose.contacts[side] = 0.0;
            }
        }
        let height = self.height.get_or_insert(pose.root.y);
        let way = pose.root.y - *height;
        *height += way / (1.0 + (way / BOUNCE_M).powi(2)).sqrt();
        let held = Vec3::Y * (*height - pose.root.y);
        self.move_hips(pose, &joints.positions, &ankles, held);
        let moved = self.hips + held;
        for (leg, ankle) in LEGS.iter().zip(ankles) {
            let world = &joints.rotations;
            let hip = joints.positions[leg.thigh] + moved;
            let (knee0, foot0) = (joints.positions[leg.shin] + moved, joints.positions[leg.foot] + moved);
            if foot0.distance(ankle) < 1e-5 {
                continue;
            }
            let (knee, foot) = reach(leg, hip, ankle, knee0 - 0.5 * (hip + foot0) + world[leg.thigh] * Vec3::Z * 0.05);
            let thigh = swing(knee0 - hip, knee - hip) * world[leg.thigh];
            let shin = swing(foot0 - knee0, foot - knee) * world[leg.shin];
            pose.rotations[leg.thigh] = (world[0].inverse() * thigh).normalize();
            pose.rotations[leg.shin] = (thigh.inverse() * shin).normalize();
            pose.rotations[leg.foot] = (shin.inverse() * world[leg.foot]).normalize();
        }
        pose.root += moved;
    }

    /// Hips, `held` away from where the dance has them, follow what both feet have in common, and come down where a leg would
    /// not reach.
    fn move_hips(&mut self, pose: &Pose, joints: &[Vec3], ankles: &[Vec3; 2], held: Vec3) {
        let away = [0, 1].map(|side| flat(ankles[side] - joints[LEGS[side].foot]));
        let standing = [0, 1].map(|side| if matches!(self.feet[side], Foot::Air { .. }) { 0.0 } else { pose.contacts[side].max(0.3) });
        let weight: f32 = standing.iter().sum();
        let common = if weight > 0.0 { (away[0] * standing[0] + away[1] * standing[1]) / weight } else { Vec3::ZERO };
        let sideways = flat(self.hips) + (common - flat(self.hips)) * HIPS_FOLLOW;
        let mut lower = 0f32;
        for (leg, ankle) in LEGS.iter().zip(ankles) {
            let hip = joints[leg.thigh] + sideways + held;
            let longest = (leg.thigh_m + leg.shin_m) * STRETCH;
            let across = flat(*ankle - hip).length_squared();
            let height = (longest * longest - across).max(0.05).sqrt();
            lower = lower.max(hip.y - ankle.y - height);
        }
        let lower = lower.min(LOWERED_MOST_M);
        let down = -self.hips.y;
        let pace = if lower > down { LOWER } else { RAISE };
        self.hips = sideways - Vec3::Y * (down + (lower - down) * pace);
    }
}

/// Knee and ankle of a leg that reaches from `hip` for `ankle`, bent towards `pole`; the ankle comes as near as the leg is long.
fn reach(leg: &Leg, hip: Vec3, ankle: Vec3, pole: Vec3) -> (Vec3, Vec3) {
    let (a, b) = (leg.thigh_m, leg.shin_m);
    let way = ankle - hip;
    let distance = way.length().clamp(0.2, (a + b) * 0.9995);
    let way = way.normalize_or(Vec3::NEG_Y);
    let pole = (pole - way * pole.dot(way)).normalize_or(Vec3::Z);
    let cos = ((a * a + distance * distance - b * b) / (2.0 * a * distance)).clamp(-1.0, 1.0);
    let knee = hip + a * (way * cos + pole * (1.0 - cos * cos).sqrt());
    (knee, hip + way * distance)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics;

    /// A bent stance that glides sideways at `speed` m/s while its contacts say that it stands.
    fn gliding(frames: usize, speed: f32) -> Vec<Pose> {
        let mut bent = Pose::default();
        for leg in LEGS.iter() {
            bent.rotations[leg.thigh] = Quat::from_rotation_x(-0.35);
            bent.rotations[leg.shin] = Quat::from_rotation_x(0.7);
            bent.rotations[leg.foot] = Quat::from_rotation_x(-0.35);
        }
        let down = bent.joints().positions[LEGS[0].foot].y - 0.08;
        bent.root.y -= down;
        (0..frames).map(|i| Pose { root: bent.root + Vec3::X * (0.2 * (i as f32 * 0.05).sin() * speed), ..bent.clone() }).collect()
    }

    fn locked(poses: &[Pose]) -> Vec<Pose> {
        let mut lock = FootLock::default();
        poses.iter().map(|p| { let mut p = p.clone(); lock.step(&mut p, [0.0; 2]); p }).collect()
    }

    fn ankle(pose: &Pose, side: usize) -> Vec3 {
        pose.joints().positions[LEGS[side].foot]
    }

    #[test]
    fn a_standing_foot_stays_though_the_dance_slides() {
        let raw = gliding(200, 0.5);
        let out = locked(&raw);
        let bodies: Vec<_> = out.iter().map(metrics::body).collect();
        assert!(metrics::body::feet(&out, &bodies).slide < 0.003);
        assert!((0..2).all(|s| ankle(&out[0], s).distance(ankle(&out[150], s)) < 0.01));
    }

    #[test]
    fn a_foot_left_too_far_behind_steps_and_nothing_pops() {
        let raw = gliding(300, 3.0);
        let out = locked(&raw);
        let moved = (0..2).any(|s| (1..300).any(|i| flat(ankle(&out[i], s) - ankle(&out[0], s)).length() > 0.2));
        assert!(moved, "it followed the dance");
        let fastest = out.windows(2).flat_map(|w| [0, 1].map(|s| ankle(&w[0], s).distance(ankle(&w[1], s)))).fold(0.0, f32::max);
        assert!(fastest < 0.1, "{fastest} m in a frame");
        let bodies: Vec<_> = out.iter().map(metrics::body).collect();
        assert!(metrics::body::feet(&out, &bodies).slide < 0.02);
        let limits = metrics::body::limits(&out);
        assert!(limits.joints == 0.0 && limits.limb_m < 1e-4, "{limits:?}");
    }

    #[test]
    fn hips_come_down_for_a_foot_out_of_reach_and_no_knee_bends_forwards() {
        let mut raw = gliding(60, 0.0);
        for (i, p) in raw.iter_mut().enumerate() {
            p.root.y += 0.12 * (i as f32 * 0.2).sin().max(0.0); // up, while the feet are said to stand
            p.contacts = [1.0; 2];
        }
        let out = locked(&raw);
        let highest = |p: &[Pose]| p.iter().map(|p| p.root.y).fold(0.0, f32::max);
        assert!(highest(&out) <= highest(&raw));
        assert_eq!(metrics::body::limits(&out).joints, 0.0);
        assert!(out.iter().all(|p| p.joints().positions.iter().all(|j| j.is_finite())));
    }

    #[test]
    fn a_wild_bounce_becomes_one_that_a_body_does_on_feet_that_stay() {
        let mut raw = gliding(120, 0.0);
        for (i, p) in raw.iter_mut().enumerate() {
            // 8 cm down and up again, three times a second.
            let down = 0.04 * (1.0 - (i as f32 * 0.628).cos());
            p.root.y -= down;
            p.contacts = [1.0; 2];
        }
        let out = locked(&raw);
        let fastest = |p: &[Pose]| p[20..].windows(2).map(|w| (w[1].root.y - w[0].root.y).abs()).fold(0.0, f32::max);
        assert!(fastest(&raw) > 0.02 && fastest(&out) < 0.015, "{} m in a frame, {} before", fastest(&out), fastest(&raw));
        assert!((0..2).all(|s| (20..119).all(|i| flat(ankle(&out[i], s)).distance(flat(ankle(&out[i + 1], s))) < 1e-3)));
    }

    #[test]
    fn feet_in_the_air_go_where_the_dance_has_them() {
        let mut raw = gliding(90, 2.0);
        for p in &mut raw[30..] {
            p.contacts = [0.0; 2];
        }
        let out = locked(&raw);
        assert!(ankle(&out[80], 0).distance(ankle(&raw[80], 0)) < 0.02);
    }
}
