//! Stress on hands, head and footwork, and which way the dancer faces: what a viewer may change at any moment.
//!
//! A part is stressed by what it already does, made larger about where it has been of late, and by a move on the
//! beat of its own: forearms pump, the head nods, feet tap. Changes take a quarter of a second, so nothing jumps.

use std::f32::consts::{PI, TAU};
use std::sync::LazyLock;

use glam::{Quat, Vec3};

use super::Staging;
use crate::pose::Pose;
use crate::skeleton::{BONE_COUNT, Bone};

/// What to lay stress on: -1 hardly moves, 0 as danced, 1 clearly more.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Direction {
    pub hands: f32,
    pub head: f32,
    pub footwork: f32,
    /// Degrees from facing the camera, positive to the dancer's left; -90 to 90.
    pub facing_deg: f32,
}

pub const MOST_FACING_DEG: f32 = 90.0;
/// Frames in which most of a change is made.
const CHANGE_FRAMES: f32 = 7.0;
/// Frames over which a part's middle is told: 1.5 s.
const MIDDLE_FRAMES: f32 = 45.0;
/// How much larger moves become at full stress, how much smaller at none.
const LARGER: f32 = 0.8;
const SMALLER: f32 = 0.75;
/// Legs made much larger cross: they get a third of it, and tap besides.
const LEGS_SHARE: f32 = 0.3;
/// No move is made larger than this by stress, radians about its middle.
const LARGEST: f32 = 1.5;
const LARGEST_HEAD: f32 = 0.55;
/// Fastest turn, degrees a frame: 150 a second.
const TURN_DEG: f32 = 5.0;
/// Moves of their own on the beat at full stress.
const NOD: f32 = 0.42;
const PUMP: f32 = 0.5;
const TAP_M: f32 = 0.11;
const BOUNCE_M: f32 = 0.03;

struct Parts {
    hands: Vec<usize>,
    head: Vec<usize>,
    legs: Vec<usize>,
    neck: usize,
    skull: usize,
    chest: usize,
    forearms: [usize; 2],
    feet: [usize; 2],
}

static PARTS: LazyLock<Parts> = LazyLock::new(|| {
    let bone = |name: &str| Bone::named(name).expect("a bone of the skeleton").index();
    let both = |names: &[&str]| ["left", "right"].iter().flat_map(|s| names.iter().map(move |n| format!("{s}{n}"))).map(|n| bone(&n)).collect();
    Parts {
        hands: both(&["Shoulder", "UpperArm", "LowerArm", "Hand"]),
        head: vec![bone("neck"), bone("head")],
        legs: both(&["UpperLeg", "LowerLeg"]),
        neck: bone("neck"),
        skull: bone("head"),
        chest: bone("upperChest"),
        forearms: [bone("leftLowerArm"), bone("rightLowerArm")],
        feet: [bone("leftFoot"), bone("rightFoot")],
    }
});

#[derive(Clone, Debug)]
pub struct Director {
    now: Direction,
    /// Where every bone, and the hips, have been of late.
    middle: Option<([Quat; BONE_COUNT], Vec3)>,
    /// How far the beat is believed, faded.
    pulse: f32,
}

impl Default for Director {
    fn default() -> Self {
        Director { now: Direction::default(), middle: None, pulse: 0.0 }
    }
}

fn gain(stress: f32) -> f32 {
    1.0 + stress * if stress > 0.0 { LARGER } else { SMALLER }
}

/// `q` further from (or nearer to) `middle`, by a factor, no more than `largest` apart unless it already was.
fn scaled(middle: Quat, q: Quat, factor: f32, largest: f32) -> Quat {
    let away = middle.inverse() * q;
    let away = if away.w < 0.0 { -away } else { away };
    let (axis, angle) = away.to_axis_angle();
    middle * Quat::from_axis_angle(axis, (angle * factor).min(largest.max(angle)))
}

impl Director {
    /// Directs the next frame; gives by how much each foot is taken up, metres. `awake` is 0 at rest.
    pub fn step(&mut self, pose: &mut Pose, staging: &Staging, awake: f32) -> [f32; 2] {
        let (wish, now) = (staging.direction, &mut self.now);
        let towards = |now: &mut f32, to: f32| *now += (to.clamp(-1.0, 1.0) - *now) / CHANGE_FRAMES;
        towards(&mut now.hands, wish.hands);
        towards(&mut now.head, wish.head);
        towards(&mut now.footwork, wish.footwork);
        let facing = wish.facing_deg.clamp(-MOST_FACING_DEG, MOST_FACING_DEG);
        now.facing_deg += ((facing - now.facing_deg) / CHANGE_FRAMES).clamp(-TURN_DEG, TURN_DEG);
        let sure = if staging.beat.confidence < crate::beat::LEAST_CONFIDENCE { 0.0 } else { 1.0 };
        self.pulse += (sure * awake - self.pulse) / CHANGE_FRAMES;

        let now = self.now;
        let lowest = |pose: &Pose| {
            let joints = pose.joints().positions;
            PARTS.feet.iter().map(|&f| joints[f].y).fold(f32::INFINITY, f32::min)
        };
        let ground = (now.footwork.abs() > 1e-3).then(|| lowest(pose));
        let (middle, hips) = self.middle.get_or_insert((pose.rotations, pose.root));
        for (m, q) in middle.iter_mut().zip(&pose.rotations) {
            *m = m.slerp(*q, 1.0 / MIDDLE_FRAMES).normalize();
        }
        *hips += (pose.root - *hips) / MIDDLE_FRAMES;
        for (part, stress, largest) in [(&PARTS.hands, now.hands, LARGEST), (&PARTS.head, now.head, LARGEST_HEAD), (&PARTS.legs, if now.footwork > 0.0 { now.footwork * LEGS_SHARE } else { now.footwork }, LARGEST)] {
            if stress.abs() > 1e-3 {
                for &b in part {
                    pose.rotations[b] = scaled(middle[b], pose.rotations[b], gain(stress), largest);
                }
            }
        }
        if now.footwork.abs() > 1e-3 {
            let factor = gain(now.footwork * 0.5);
            pose.root.x = hips.x + (pose.root.x - hips.x) * factor;
            pose.root.z = hips.z + (pose.root.z - hips.z) * factor;
        }
        if let Some(ground) = ground {
            // Legs bent otherwise stand on the same ground.
            pose.root.y += ground - lowest(pose);
        }
        let lifts = on_the_beat(pose, now, staging, self.pulse);
        if now.facing_deg.abs() > 1e-3 {
            let turn = Quat::from_rotation_y(now.facing_deg.to_radians());
            pose.root = turn * pose.root;
            pose.rotations[0] = (turn * pose.rotations[0]).normalize();
        }
        lifts
    }
}

/// The stressed parts' own moves, lowest on the beat.
fn on_the_beat(pose: &mut Pose, now: Direction, staging: &Staging, pulse: f32) -> [f32; 2] {
    let phase = staging.beat.beat_phase;
    let dip = (TAU * phase).cos() * pulse;
    let mut turn = |bone: usize, q: Quat| pose.rotations[bone] = (pose.rotations[bone] * q).normalize();
    let nod = NOD * now.head.max(0.0) * dip;
    turn(PARTS.neck, Quat::from_rotation_x(0.4 * nod));
    turn(PARTS.skull, Quat::from_rotation_x(0.6 * nod));
    turn(PARTS.chest, Quat::from_rotation_x(0.25 * nod));
    let pump = PUMP * now.hands.max(0.0) * dip;
    turn(PARTS.forearms[0], Quat::from_rotation_y(-pump));
    turn(PARTS.forearms[1], Quat::from_rotation_y(pump));
    let feet = now.footwork.max(0.0) * pulse;
    pose.root.y -= BOUNCE_M * feet * (0.5 + 0.5 * (TAU * phase).cos());
    // The foot that lands on the next beat is in the air before it: left, right, left, right.
    let next = (staging.beat.bar_phase * staging.beat.beats_per_bar as f32) as usize % 2;
    let lift = TAP_M * feet * (PI * phase).sin().powi(2);
    if next == 0 { [lift, 0.0] } else { [0.0, lift] }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::beat::BeatState;
    use crate::metrics;

    fn speed_of(joint: usize, direction: Direction) -> f32 {
        let mut director = Director::default();
        let arm = Bone::named("leftUpperArm").unwrap().index();
        let bodies: Vec<_> = (0..150)
            .map(|i| {
                let beats = i as f32 / 15.0;
                let mut pose = Pose::default();
                pose.rotations[arm] = Quat::from_rotation_z(0.3 * (PI * beats).sin());
                let beat = BeatState { beat_phase: beats.fract(), bar_phase: (beats / 4.0).fract(), confidence: 0.9, ..BeatState::default() };
                let staging = Staging { direction, beat, silent: false, stopped: false, place: Vec3::ZERO, keep_place: false };
                let lifts = director.step(&mut pose, &staging, 1.0);
                super::super::feet::FootLock::default().step(&mut pose, lifts);
                metrics::body(&pose)
            })
            .collect();
        let late = &bodies[30..];
        metrics::mean(&late.windows(2).map(|w| w[0][joint].distance(w[1][joint]) * 30.0).collect::<Vec<_>>())
    }

    #[test]
    fn stress_on_a_part_shows_in_that_part() {
        let plain = Direction::default();
        let (hand, head, ankle) = (20, 15, 7);
        assert!(speed_of(hand, Direction { hands: 1.0, ..plain }) > 1.4 * speed_of(hand, plain));
        assert!(speed_of(hand, Direction { hands: -1.0, ..plain }) < 0.6 * speed_of(hand, plain));
        assert!(speed_of(head, Direction { head: 1.0, ..plain }) > speed_of(head, plain) + 0.05);
        assert!(speed_of(ankle, Direction { footwork: 1.0, ..plain }) > speed_of(ankle, plain) + 0.05);
    }

    #[test]
    fn the_dancer_turns_without_a_jump() {
        let mut director = Director::default();
        let mut last = 0.0;
        for i in 0..60 {
            let mut pose = Pose::default();
            let direction = Direction { facing_deg: if i < 5 { 0.0 } else { 60.0 }, ..Direction::default() };
            director.step(&mut pose, &Staging { direction, beat: BeatState::default(), silent: false, stopped: false, place: Vec3::ZERO, keep_place: false }, 1.0);
            let yaw = pose.yaw().to_degrees();
            assert!((yaw - last).abs() <= TURN_DEG + 1e-3);
            last = yaw;
        }
        assert!((last - 60.0).abs() < 2.0, "{last}");
    }
}
