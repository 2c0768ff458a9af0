//! Takes from the model's poses what bodies do not do: trembling, and moves that are too fast.
//!
//! Every frame goes a share of the way to the pose that is danced, and no joint above the hips turns much further than joints turn in
//! a frame. What is cut from a fast move is caught up with where the dance is slow: a little after the beat that the model means, so
//! [`super::retime`] moves it there. Legs and hips are followed as they are, or feet that stand would slide; [`super::feet`] sees to them. It
//! knows no beat and keeps no time.

use std::sync::LazyLock;

use crate::pose::Pose;
use crate::skeleton::{BONE_COUNT, Bone, SKELETON};

/// Share of the way to the danced pose that a frame takes; delays by some 15 ms, which the model is early by.
const FOLLOW: f32 = 0.65;
/// Turn of a joint in a frame that fast ones are bent towards: 6 rad/s, up to twice that where time runs fast.
const FAST_RAD: f32 = 0.2;

/// Which bones are held back.
static HELD: LazyLock<[bool; BONE_COUNT]> = LazyLock::new(|| std::array::from_fn(|i| i != Bone::HIPS.index() && !SKELETON.lower.iter().any(|b| b.index() == i)));

/// The next frame after `from` on the way to `to`.
pub fn follow(from: &Pose, to: &Pose) -> Pose {
    let mut out = from.lerp(to, FOLLOW);
    for bone in (0..BONE_COUNT).filter(|b| HELD[*b]) {
        let (from, to) = (from.rotations[bone], to.rotations[bone]);
        let way = FOLLOW * from.angle_between(to);
        // The whole share of a short way, `FAST_RAD` of an endless one.
        out.rotations[bone] = from.slerp(to, FOLLOW / (1.0 + (way / FAST_RAD).powi(2)).sqrt());
    }
    out
}

#[cfg(test)]
mod tests {
    use glam::Quat;

    use super::*;

    fn arm() -> usize {
        Bone::named("leftUpperArm").unwrap().index()
    }

    fn turned(angle: f32) -> Pose {
        let mut pose = Pose::default();
        pose.rotations[arm()] = Quat::from_rotation_z(angle);
        pose
    }

    #[test]
    fn nothing_is_faster_than_bodies_are_and_everything_arrives() {
        let (mut pose, to) = (turned(0.0), turned(2.5));
        for _ in 0..60 {
            let next = follow(&pose, &to);
            assert!(pose.rotations[arm()].angle_between(next.rotations[arm()]) <= FAST_RAD);
            pose = next;
        }
        assert!(pose.rotations[arm()].angle_between(to.rotations[arm()]) < 1e-3);
    }

    #[test]
    fn a_slow_move_is_as_large_as_it_was() {
        let mut pose = turned(0.0);
        let mut largest = 0.0f32;
        for i in 0..300 {
            pose = follow(&pose, &turned(0.3 * (i as f32 * 0.1).sin()));
            largest = largest.max(pose.rotations[arm()].angle_between(Quat::IDENTITY));
        }
        assert!(largest > 0.28, "{largest}");
    }
}
