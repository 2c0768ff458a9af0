//! The body's own answer to music that begins out of silence: within a frame or two the hips drop, the chest opens and the head
//! comes up, and it swings out into the dance. The model needs a step or two before it moves; a dancer does not.

use std::sync::LazyLock;

use glam::{Quat, Vec3};

use crate::pose::Pose;
use crate::skeleton::Bone;

/// Frames until the answer is at its largest: 100 ms.
const PEAK_FRAMES: f32 = 3.0;
/// Frames after which nothing is left to see.
const LONGEST: u32 = 20;
/// At the largest: hips down, metres; turns of the bones, radians about an axis.
const DIP_M: f32 = 0.065;
const TURNS: [(&str, Vec3, f32); 4] = [("chest", Vec3::X, 0.07), ("head", Vec3::X, -0.12), ("leftLowerArm", Vec3::NEG_Y, 0.35), ("rightLowerArm", Vec3::Y, 0.35)];

static BONES: LazyLock<[usize; TURNS.len()]> = LazyLock::new(|| TURNS.map(|(name, ..)| Bone::named(name).expect("a bone of the skeleton").index()));

#[derive(Clone, Debug, Default)]
pub struct Startle {
    /// Frames since it began; `None` when it is over.
    at: Option<u32>,
}

impl Startle {
    pub fn begin(&mut self) {
        self.at = Some(0);
    }

    /// Moves the next frame's pose.
    pub fn step(&mut self, pose: &mut Pose) {
        let Some(at) = &mut self.at else { return };
        *at += 1;
        // Quick out, slow back.
        let t = *at as f32 / PEAK_FRAMES;
        let size = if t < 1.0 { 1.0 - (1.0 - t).powf(1.6) } else { ((1.0 - t) / 1.3).exp() };
        pose.root.y -= DIP_M * size;
        for (&bone, (_, axis, turn)) in BONES.iter().zip(TURNS) {
            pose.rotations[bone] = (pose.rotations[bone] * Quat::from_axis_angle(axis, turn * size)).normalize();
        }
        if *at >= LONGEST {
            self.at = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hips_drop_at_once_and_come_back_and_nothing_moves_until_it_begins() {
        let mut startle = Startle::default();
        let dip = |startle: &mut Startle| {
            let mut pose = Pose::default();
            startle.step(&mut pose);
            Pose::default().root.y - pose.root.y
        };
        assert_eq!(dip(&mut startle), 0.0);
        startle.begin();
        let dips: Vec<f32> = (0..40).map(|_| dip(&mut startle)).collect();
        assert!(dips[1] > 0.03 && dips[2] > 0.06, "{dips:?}");
        assert!(dips.windows(2).all(|d| (d[1] - d[0]).abs() < 0.05), "{dips:?}");
        assert!(dips[10] < 0.5 * dips[2] && dips[LONGEST as usize] == 0.0, "{dips:?}");
    }
}
