//! A character before a camera: stands it on the ground as the engine's drive does, and draws it.
//!
//! Places the body by the same rules as the puppet (sole to crown as tall as the skeleton, feet on the floor,
//! steps as long as the legs), so that what differs is only what a flat warp cannot do.

use glam::{Vec2, Vec3};
use crate::pose::{Camera, Pose};
use crate::skeleton::{Bone, KEYPOINT_COUNT, SKELETON};

use super::character::{Character, Posed};
use super::raster::{Raster, Screen, Style};
use super::springs::Springs;

/// What the skeleton and one character are in numbers, taken once.
pub struct Stage {
    /// Stage metres to a metre of the character.
    pub scale: f32,
    /// Length of the character's legs to the skeleton's, on the stage.
    stride: f32,
    ankles: [usize; 2],
    /// Rest height of the ankles: the skeleton's, and the character's on the stage, metres.
    ankle_height: f32,
    own_ankle_height: [f32; 2],
}

impl Stage {
    pub fn new(character: &Character) -> Self {
        let bone = |n: &str| Bone::named(n).expect("a bone of the skeleton").index();
        let top = SKELETON.keypoint_named("head_top").expect("a keypoint of the skeleton");
        let info = &SKELETON.keypoints[top];
        let skeleton_height = SKELETON.rest_joints[info.bone.index()].y + info.offset.y;
        let own_height = character.joints[info.bone.index()].y + character.keypoint_offsets[top].y;
        let scale = skeleton_height / own_height.max(0.1);
        let leg = |j: &[Vec3]| {
            j[bone("leftUpperLeg")].distance(j[bone("leftLowerLeg")]) + j[bone("leftLowerLeg")].distance(j[bone("leftFoot")])
        };
        let ankles = [bone("leftFoot"), bone("rightFoot")];
        Stage {
            scale,
            stride: leg(&character.joints) * scale / leg(&SKELETON.rest_joints),
            ankles,
            ankle_height: SKELETON.rest_joints[ankles[0]].y,
            own_ankle_height: ankles.map(|a| character.joints[a].y * scale),
        }
    }

    /// Where the character's own origin goes for this pose, in stage metres.
    fn origin(&self, character: &Character, pose: &Pose) -> (Posed, Vec3) {
        let mut centred = pose.clone();
        centred.root = Vec3::ZERO;
        let posed = character.posed(&centred);
        let joints = pose.joints();
        let (mut sum, mut total) = (0.0, 0.0);
        for s in 0..2 {
            let lift = joints.positions[self.ankles[s]].y - self.ankle_height;
            let stand = self.own_ankle_height[s] + lift * self.stride;
            let w = (-(lift.clamp(-2.0, 2.0)) / 0.04).exp();
            sum += w * (stand - posed.positions[self.ankles[s]].y * self.scale);
            total += w;
        }
        (posed, Vec3::new(pose.root.x * self.stride, sum / total, pose.root.z * self.stride))
    }
}

/// One drawn frame.
pub struct Drawn {
    /// Premultiplied, size * size * 4.
    pub rgba: Vec<u8>,
    /// Pixels.
    pub keypoints: [Vec2; KEYPOINT_COUNT],
    pub vertices: Vec<Screen>,
}

pub struct Actor<'a> {
    pub character: &'a Character,
    pub style: &'a Style,
    stage: Stage,
    springs: Springs,
}

impl<'a> Actor<'a> {
    pub fn new(character: &'a Character, style: &'a Style) -> Self {
        Actor { character, style, stage: Stage::new(character), springs: Springs::default() }
    }

    /// Bounds of the figure at rest in this pose, stage metres, y up.
    pub fn extent(&self, pose: &Pose) -> (Vec2, Vec2) {
        let (posed, origin) = self.stage.origin(self.character, pose);
        let (mut low, mut high) = (Vec2::INFINITY, Vec2::NEG_INFINITY);
        for (p, ..) in self.character.skin(&posed) {
            let p = (p * self.stage.scale + origin).truncate();
            (low, high) = (low.min(p), high.max(p));
        }
        (low, high)
    }

    /// Lets hair and cloth swing to this pose without drawing.
    pub fn advance(&mut self, pose: &Pose) -> (Posed, Vec3) {
        let (mut posed, origin) = self.stage.origin(self.character, pose);
        // Swing in the world, in the character's own metres.
        let world = origin / self.stage.scale;
        for p in &mut posed.positions {
            *p += world;
        }
        self.springs.step(self.character, &mut posed);
        (posed, origin)
    }

    /// Moves on to this pose and draws it.
    pub fn draw(&mut self, pose: &Pose, camera: &Camera, raster: &mut Raster) -> Drawn {
        let (posed, _) = self.advance(pose);
        let scale = self.stage.scale;
        let project = |p: Vec3| camera.project(p * scale);
        let vertices: Vec<Screen> = self
            .character
            .skin(&posed)
            .into_iter()
            .zip(&self.character.vertices)
            .map(|((position, normal, smooth), v)| Screen {
                position: project(position).extend(position.z * scale),
                normal,
                outward: Vec2::new(smooth.x, -smooth.y),
                uv: v.uv,
            })
            .collect();
        // In hundredths of a figure of 1.6 m.
        let line_px = self.style.outline * 0.01 * 1.6 * camera.scale * self.character.line_scale;
        let rgba = raster.draw(&vertices, &self.character.triangles, &self.character.materials, self.style, line_px);
        Drawn { rgba, keypoints: self.character.keypoints(&posed).map(project), vertices }
    }
}
