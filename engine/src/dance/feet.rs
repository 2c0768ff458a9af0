//! Feet that stand stay where they stand: a lock by two-bone inverse kinematics, causal, frame by frame.
//!
//! A dance that floats comes down: nobody is in the air for longer than a jump.
//! Hips are thrown up and down no faster than bodies throw them, while the feet stay where the dance has them.
//! A foot that the dance says carries weight is held where it landed, and one of the two always does but in a jump: hips that
//! speed up over two feet that both glide are what makes a dance float. A foot that moves is taken up off the ground. When the dance takes it up again, what it was held
//! back by fades in the air. When the dance has slid too far from under it, it takes a small step. Hips are lowered where a
//! leg would not reach. Bones keep their lengths: only hips, thighs, shins and feet turn, and the hips move.

use std::sync::LazyLock;

use glam::{Quat, Vec3};

use crate::metrics::POSE_HZ;
use crate::pose::Pose;
use crate::skeleton::{Bone, SKELETON};

/// A foot lands when the dance is this sure of its contact, and leaves when it is this unsure.
const LAND: f32 = 0.55;
const LEAVE: f32 = 0.35;
/// Ankles higher than this do not land; standing they are at 0.08 m.
const LAND_HEIGHT_M: f32 = 0.15;
const LEAVE_HEIGHT_M: f32 = 0.19;
/// A foot that moves over the ground faster than this, m/s, has its ankle taken up to this height, by this share of the way a frame.
const DRAGS_M_S: f32 = 0.2;
const CLEARS_M: f32 = 0.13;
const TAKE_UP: f32 = 0.5;
/// Heights of ankle and toes in standing, metres.
const STANDING_M: [f32; 2] = [0.08, 0.02];
/// Frames in which a dance that has neither foot on the ground comes most of the way down: 0.33 s, as long as a small jump.
const FALL_FRAMES: f32 = 10.0;
/// What is left after a frame in the air of the distance that a foot was held back by.
const FADE: f32 = 0.8;
/// A foot held back further than this takes a step.
const HELD_MOST_M: f32 = 0.13;
/// Frames of such a step, and its height.
const STEP_FRAMES: u32 = 7;
const STEP_HEIGHT_M: f32 = 0.06;
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
    /// By how much the dance, which floats, is taken down.
    fallen: f32,
    /// Where the ankles were.
    last: Option<[Vec3; 2]>,
    /// By how much each foot is taken up so that it does not drag.
    up: [f32; 2],
}

impl Default for FootLock {
    fn default() -> Self {
        FootLock { feet: [Foot::Air { behind: Vec3::ZERO }; 2], hips: Vec3::ZERO, height: None, fallen: 0.0, last: None, up: [0.0; 2] }
    }
}

fn flat(v: Vec3) -> Vec3 {
    Vec3::new(v.x, 0.0, v.z)
}

impl Foot {
    /// The next state, and where the ankle is to be. `raw` is where the dance has it; a foot that `bears` is the only one that can
    /// carry weight.
    fn step(self, raw: Vec3, contact: f32, other_steps: bool, bears: bool) -> (Foot, Vec3) {
        match self {
            Foot::Air { behind } => {
                let behind = behind * FADE;
                let at = flat(raw) + behind;
                let lands = (contact > LAND || bears) && raw.y < LAND_HEIGHT_M;
                (if lands { Foot::Stands { at } } else { Foot::Air { behind } }, at + Vec3::Y * raw.y)
            }
            Foot::Stands { at } => {
                let away = at - flat(raw);
                if contact < LEAVE && !bears || raw.y > LEAVE_HEIGHT_M {
                    return Foot::Air { behind: away }.step(raw, 0.0, other_steps, false);
                }
                if away.length() > HELD_MOST_M && !other_steps && !bears || away.length() > 2.0 * HELD_MOST_M {
                    return Foot::Steps { from: at, frame: 0 }.step(raw, contact, other_steps, false);
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
        let mut joints = pose.joints();
        let fallen = self.fall(&joints.positions);
        joints.positions.iter_mut().for_each(|p| p.y -= fallen);
        pose.root.y -= fallen;
        let mut ankles = [Vec3::ZERO; 2];
        // The foot that the dance is surer of lands first, and leaves last.
        let surer = usize::from(pose.contacts[1] > pose.contacts[0]);
        let both = self.feet.iter().all(|foot| matches!(foot, Foot::Stands { .. }));
        let order = if both { [1 - surer, surer] } else { [surer, 1 - surer] };
        for side in order {
            if lifts[side] > LIFTED_M {
                pose.contacts[side] = 0.0;
            }
            let raw = joints.positions[LEGS[side].foot] + Vec3::Y * lifts[side];
            let other_steps = matches!(self.feet[1 - side], Foot::Steps { .. });
            let bears = lifts[side] <= LIFTED_M && !matches!(self.feet[1 - side], Foot::Stands { .. });
            (self.feet[side], ankles[side]) = self.feet[side].step(raw, pose.contacts[side], other_steps, bears);
            // Not through the floor: the foot keeps its turn in the world, so its toes rise with the ankle.
            let toes = joints.positions[LEGS[side].toes].y - joints.positions[LEGS[side].foot].y + ankles[side].y;
            ankles[side].y += (FLOOR_M - toes).max(0.0);
            match self.feet[side] {
                Foot::Steps { .. } => pose.contacts[side] = 0.0,
                Foot::Stands { .. } if bears => pose.contacts[side] = pose.contacts[side].max(LAND),
                _ => {}
            }
        }
        self.take_up(&mut ankles);
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

    /// By how much the dance is to be taken down, so that its lower foot comes to the ground little by little and never goes below it.
    fn fall(&mut self, joints: &[Vec3]) -> f32 {
        let over = |leg: &Leg| (joints[leg.foot].y - STANDING_M[0]).min(joints[leg.toes].y - STANDING_M[1]);
        let lowest = over(&LEGS[0]).min(over(&LEGS[1])).max(0.0);
        self.fallen = lowest.min(self.fallen + (lowest - self.fallen) / FALL_FRAMES);
        self.fallen
    }

    /// Takes feet up that move over the ground.
    fn take_up(&mut self, ankles: &mut [Vec3; 2]) {
        let last = self.last.replace(*ankles).unwrap_or(*ankles);
        for side in 0..2 {
            let moves = flat(ankles[side] - last[side]).length() * POSE_HZ > DRAGS_M_S && !matches!(self.feet[side], Foot::Stands { .. });
            let want = if moves { (CLEARS_M - ankles[side].y).max(0.0) } else { 0.0 };
            self.up[side] += (want - self.up[side]) * TAKE_UP;
            ankles[side].y += self.up[side];
        }
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
    fn a_dance_that_floats_comes_down_and_one_that_jumps_jumps() {
        let mut raw = gliding(120, 0.0);
        for (i, p) in raw.iter_mut().enumerate() {
            p.contacts = [0.0; 2];
            // A jump of a third of a second, then a dance 20 cm above the ground.
            p.root.y += if i < 60 { 0.15 * ((i as f32 - 20.0) * 0.314).sin().max(0.0) * f32::from(u8::from((20..30).contains(&i))) } else { 0.2 };
        }
        let out = locked(&raw);
        let lowest = |i: usize| (0..2).map(|s| ankle(&out[i], s).y).fold(f32::INFINITY, f32::min);
        assert!((15..45).map(lowest).fold(0.0, f32::max) > 0.08 + 0.05, "nothing of the jump is left");
        assert!(lowest(119) < 0.1, "it floats at {}", lowest(119));
        assert!((0..120).all(|i| lowest(i) > 0.07), "through the ground");
    }

    #[test]
    fn feet_in_the_air_go_where_the_dance_has_them() {
        let mut raw = gliding(90, 0.5);
        for p in &mut raw[30..] {
            p.contacts = [1.0, 0.0];
        }
        let out = locked(&raw);
        // Taken up as it moves.
        assert!(flat(ankle(&out[80], 1) - ankle(&raw[80], 1)).length() < 0.02);
    }

    #[test]
    fn one_foot_stands_though_the_dance_is_sure_of_neither() {
        let mut raw = gliding(200, 2.0);
        for p in &mut raw {
            p.contacts = [0.0; 2];
        }
        let out = locked(&raw);
        let moved = |i: usize, s: usize| flat(ankle(&out[i + 1], s) - ankle(&out[i], s)).length();
        let floating = (1..199).filter(|&i| moved(i, 0).min(moved(i, 1)) > 1e-3).count();
        assert!(floating < 20, "in {floating} of 198 frames both feet move");
    }

    #[test]
    fn a_foot_that_moves_is_off_the_ground() {
        let mut raw = gliding(200, 2.0);
        for p in &mut raw {
            p.contacts = [1.0, 0.0];
        }
        let out = locked(&raw);
        let bodies: Vec<_> = out.iter().map(metrics::body).collect();
        let skating = metrics::body::feet(&out, &bodies).skating;
        assert!(skating < 0.2, "{skating}");
    }
}
