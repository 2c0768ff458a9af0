//! Hair and skirt that lag behind, and a chest that breathes: a small state stepped once a frame.
//!
//! Deterministic: the same frames and steps give the same motion. It changes bone transforms only.

use glam::{Mat2, Vec2};

use super::rig::{bone, Rig};
use super::{Avatar, BoneTransform, PuppetFrame};

#[derive(Clone, Copy, Debug, Default)]
struct Swing {
    /// Away from hanging straight, radians and radians a second.
    angle: f32,
    speed: f32,
    anchor: Vec2,
    velocity: Vec2,
}

/// The secondary motion of one avatar.
#[derive(Clone, Debug, Default)]
pub struct Springs {
    swings: [Swing; 4],
    time_s: f32,
    started: bool,
}

struct Spring {
    bone: usize,
    parent: usize,
    rest: Vec2,
    /// 1/s^2, 1/s, and how strongly a pull of the anchor counts.
    stiffness: f32,
    damping: f32,
    pull: f32,
    most: f32,
    /// How far it hangs plumb when the parent tilts, 0 to 1.
    plumb: f32,
}

fn springs(rig: &Rig) -> [Spring; 4] {
    let hair = |s: usize| Spring {
        bone: bone::hair(s),
        parent: bone::HEAD,
        rest: rig.hair[s],
        stiffness: 110.0,
        damping: 9.0,
        pull: 3.2,
        most: 0.7,
        plumb: 0.6,
    };
    let skirt = |s: usize| Spring {
        bone: bone::skirt(s),
        parent: bone::skirt(s),
        rest: rig.hips[s],
        stiffness: 140.0,
        damping: 11.0,
        pull: 1.6,
        most: 0.35,
        plumb: 0.0,
    };
    [hair(0), hair(1), skirt(0), skirt(1)]
}

impl Springs {
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all motion: after a cut or a change of avatar.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// Moves the springs on by `dt` seconds and bends `frame`'s loose bones accordingly.
    pub fn step(&mut self, avatar: &Avatar, frame: &mut PuppetFrame, dt: f32) {
        let dt = if dt.is_finite() { dt.clamp(0.0, 0.1) } else { 0.0 };
        self.time_s += dt;
        let height = avatar.rig.height() * frame.scale;
        for (spring, swing) in springs(&avatar.rig).iter().zip(&mut self.swings) {
            let parent = frame.bones[spring.parent];
            let anchor = parent.apply(spring.rest);
            if !self.started {
                swing.anchor = anchor;
            }
            let mut acceleration = Vec2::ZERO;
            if dt > 0.0 {
                // In figure heights, so that the swing does not depend on the picture's size.
                let velocity = (anchor - swing.anchor) / height.max(1.0) / dt;
                acceleration = ((velocity - swing.velocity) / dt).clamp_length_max(60.0);
                swing.velocity = velocity;
            }
            swing.anchor = anchor;
            let tilt = parent.angle;
            let across = (Mat2::from_angle(-tilt - swing.angle) * acceleration).x;
            let goal = -spring.plumb * tilt.clamp(-1.2, 1.2);
            // Semi-implicit, in steps short enough to stay stable at any frame rate.
            let steps = (dt / 0.008).ceil().max(1.0);
            let h = dt / steps;
            for _ in 0..steps as usize {
                let force = -spring.stiffness * (swing.angle - goal) - spring.damping * swing.speed + spring.pull * across * 6.0;
                swing.speed = (swing.speed + force * h).clamp(-20.0, 20.0);
                swing.angle = (swing.angle + swing.speed * h).clamp(-spring.most, spring.most);
            }
            frame.bones[spring.bone] = turned(&parent, spring.rest, anchor, swing.angle);
        }
        self.started = true;
        self.breathe(avatar, frame);
    }

    /// A slow rise of the chest, most visible when standing still.
    fn breathe(&self, avatar: &Avatar, frame: &mut PuppetFrame) {
        let rise = 0.008 * (self.time_s * std::f32::consts::TAU * 0.28).sin();
        let chest = &mut frame.bones[bone::CHEST];
        let before = chest.apply(avatar.rig.spine);
        for s in &mut chest.stretch {
            *s *= 1.0 + rise;
        }
        let after = chest.apply(avatar.rig.spine);
        chest.offset = (Vec2::from(chest.offset) + before - after).into();
    }
}

fn turned(parent: &BoneTransform, rest: Vec2, anchor: Vec2, by: f32) -> BoneTransform {
    let mut t = BoneTransform { angle: parent.angle + by, bulge: [0.0; 2], ..*parent };
    t.offset = (anchor - t.linear() * rest).into();
    t
}
