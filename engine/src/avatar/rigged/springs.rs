//! Loose joints swing: hair and skirts lag behind the bones they hang from.
//!
//! A verlet pendulum per joint at 30 Hz; state only, no drawing.

use glam::{Quat, Vec3};
use crate::skeleton::BONE_COUNT;

use super::character::{Character, Posed};

const FRAME_S: f32 = 1.0 / 30.0;
const SUBSTEPS: usize = 2;

#[derive(Clone, Debug, Default)]
pub struct Springs {
    tips: Vec<(Vec3, Vec3)>,
}

impl Springs {
    /// Moves on by one frame and turns the loose joints of `posed`. The first call starts at rest.
    pub fn step(&mut self, character: &Character, posed: &mut Posed) {
        let fresh = self.tips.is_empty();
        for (i, loose) in character.loose.iter().enumerate() {
            let j = BONE_COUNT + i;
            let arm = loose.tip - character.joints[j];
            let length = arm.length();
            // Again, since the joint above may have swung.
            let (base, rest) = character.loose_rest(posed, i, loose);
            posed.positions[j] = base;
            let home = base + rest * arm;
            if fresh {
                self.tips.push((home, home));
            }
            let (mut now, mut before) = self.tips[i];
            let dt = FRAME_S / SUBSTEPS as f32;
            for _ in 0..SUBSTEPS {
                let velocity = (now - before) * (1.0 - loose.drag).powf(dt * 10.0);
                let pull = (home - now) * loose.stiffness - Vec3::Y * loose.gravity;
                before = now;
                now += velocity + pull * dt * dt;
                now = base + (now - base).normalize_or(rest * arm.normalize_or(Vec3::NEG_Y)) * length;
            }
            self.tips[i] = (now, before);
            let turn = Quat::from_rotation_arc((home - base).normalize_or(Vec3::Y), (now - base).normalize_or(Vec3::Y));
            posed.rotations[j] = turn * rest;
        }
    }
}
