//! A pose, its forward kinematics, its 162 model features, and its keypoints in a camera.
//!
//! Knows no model and no image. Units are metres and radians; axes as in `skeleton`.

use std::f32::consts::{FRAC_PI_2, PI};

use glam::{EulerRot, Mat3, Quat, Vec2, Vec3};

use crate::skeleton::{BONE_COUNT, Bone, CONFIDENCE_COUNT, KEYPOINT_COUNT, SKELETON};

/// Width of one frame's features: upper 58, lower 67, head 13, left hand 12, right hand 12.
pub const FRAME_DIM: usize = 162;

const FINGERS: [&str; 5] = ["Thumb", "Index", "Middle", "Ring", "Little"];
const FINGER_CURL_RAD: f32 = 80.0 * std::f32::consts::PI / 180.0;
const THUMB_CURL_RAD: f32 = 45.0 * std::f32::consts::PI / 180.0;

#[derive(Clone, Debug, PartialEq)]
pub struct Pose {
    /// Hips joint in the world, metres.
    pub root: Vec3,
    /// Local rotations; the identity is the T-pose.
    pub rotations: [Quat; BONE_COUNT],
    /// Left and right foot on the ground, 0 to 1.
    pub contacts: [f32; 2],
    /// How visible each joint is to the camera, 0 to 1, in the order of `Skeleton::confidences`.
    pub confidences: [f32; CONFIDENCE_COUNT],
}

impl Default for Pose {
    fn default() -> Self {
        Pose {
            root: SKELETON.rest_joints[0],
            rotations: [Quat::IDENTITY; BONE_COUNT],
            contacts: [1.0; 2],
            confidences: [1.0; CONFIDENCE_COUNT],
        }
    }
}

/// World position and rotation of every joint.
#[derive(Clone, Debug)]
pub struct Joints {
    pub positions: [Vec3; BONE_COUNT],
    pub rotations: [Quat; BONE_COUNT],
}

impl Joints {
    /// A body that turns its back, in the words for one that faces the viewer: left and right exchanged, every bone turned half
    /// round. Where everything is, and how near, stays as it is.
    pub fn from_behind(&self) -> Joints {
        let half = Quat::from_rotation_y(std::f32::consts::PI);
        Joints { positions: std::array::from_fn(|i| self.positions[MIRROR.0[i]]), rotations: std::array::from_fn(|i| self.rotations[MIRROR.0[i]] * half) }
    }
}

/// An orthographic camera in front of the stage, looking along -Z.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Camera {
    /// World point in the middle of the picture, metres.
    pub centre: Vec2,
    /// Pixels to a metre.
    pub scale: f32,
    pub width: f32,
    pub height: f32,
}

impl Camera {
    /// Frames a whole standing figure, arms raised included, in a picture of this size.
    pub fn full_body(width: f32, height: f32) -> Self {
        Camera { centre: Vec2::new(0.0, 0.98), scale: (height / 2.12).min(width / 2.0), width, height }
    }

    pub fn project(&self, p: Vec3) -> Vec2 {
        Vec2::new(
            self.width * 0.5 + (p.x - self.centre.x) * self.scale,
            self.height * 0.5 - (p.y - self.centre.y) * self.scale,
        )
    }
}

/// x and y in pixels, confidence 0 to 1.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Keypoint {
    pub position: Vec2,
    pub confidence: f32,
}

impl Pose {
    pub fn joints(&self) -> Joints {
        let mut out = Joints { positions: [Vec3::ZERO; BONE_COUNT], rotations: [Quat::IDENTITY; BONE_COUNT] };
        for (i, bone) in SKELETON.bones.iter().enumerate() {
            let (position, rotation) = match bone.parent {
                None => (self.root, self.rotations[i]),
                Some(p) => {
                    let p = p.index();
                    (out.positions[p] + out.rotations[p] * bone.offset, out.rotations[p] * self.rotations[i])
                }
            };
            out.positions[i] = position;
            out.rotations[i] = rotation;
        }
        out
    }

    pub fn keypoints(&self, camera: &Camera) -> [Keypoint; KEYPOINT_COUNT] {
        let joints = self.joints();
        std::array::from_fn(|k| {
            let info = &SKELETON.keypoints[k];
            let b = info.bone.index();
            let world = joints.positions[b] + joints.rotations[b] * info.offset;
            Keypoint {
                position: camera.project(world),
                confidence: info.confidence.map_or(1.0, |c| self.confidences[c].clamp(0.0, 1.0)),
            }
        })
    }

    /// Between two poses: positions linearly, rotations along the shorter arc.
    pub fn lerp(&self, other: &Pose, t: f32) -> Pose {
        Pose {
            root: self.root.lerp(other.root, t),
            rotations: std::array::from_fn(|i| self.rotations[i].slerp(other.rotations[i], t)),
            contacts: std::array::from_fn(|i| self.contacts[i] + (other.contacts[i] - self.contacts[i]) * t),
            confidences: std::array::from_fn(|i| {
                self.confidences[i] + (other.confidences[i] - self.confidences[i]) * t
            }),
        }
    }

    /// The pose in a mirror: left and right exchanged.
    pub fn mirrored(&self) -> Pose {
        let turned = |q: Quat| Quat::from_xyzw(q.x, -q.y, -q.z, q.w);
        Pose {
            root: Vec3::new(-self.root.x, self.root.y, self.root.z),
            rotations: std::array::from_fn(|i| turned(self.rotations[MIRROR.0[i]])),
            contacts: [self.contacts[1], self.contacts[0]],
            confidences: self.mirrored_confidences(),
        }
    }

    /// The confidences with left and right exchanged.
    pub fn mirrored_confidences(&self) -> [f32; CONFIDENCE_COUNT] {
        std::array::from_fn(|i| self.confidences[MIRROR.1[i]])
    }

    /// Reads the 162 features of a frame (layout in training/README.md). Never fails: rotations are made
    /// orthonormal, head and feet turned the right side up, curls, contacts and confidences are clamped.
    pub fn from_features(f: &[f32; FRAME_DIM]) -> Pose {
        let mut pose = Pose::default();
        let mut r = Reader { f, at: 0 };
        for &bone in &SKELETON.upper {
            pose.rotations[bone.index()] = r.rotation();
        }
        for c in 0..4 {
            pose.confidences[c] = r.unit();
        }
        pose.root = Vec3::new(r.next(), r.next(), r.next());
        let (sin, cos) = (r.next(), r.next());
        let yaw = Quat::from_rotation_y(sin.atan2(cos));
        pose.rotations[Bone::HIPS.index()] = yaw * r.rotation();
        for &bone in &SKELETON.lower {
            pose.rotations[bone.index()] = r.rotation();
        }
        for foot in *FEET {
            pose.rotations[foot.index()] = upright(pose.rotations[foot.index()], PI);
        }
        pose.contacts = [r.unit(), r.unit()];
        for c in 4..10 {
            pose.confidences[c] = r.unit();
        }
        for &bone in &SKELETON.head {
            pose.rotations[bone.index()] = upright(r.rotation(), FARTHEST_HEAD_RAD);
        }
        pose.confidences[10] = r.unit();
        for (side, prefix) in ["left", "right"].into_iter().enumerate() {
            let hand = HANDS[side];
            pose.rotations[hand.index()] = r.rotation();
            let curls: [f32; 5] = std::array::from_fn(|_| r.unit());
            pose.set_curls(prefix, curls);
            pose.confidences[11 + side] = r.unit();
        }
        debug_assert_eq!(r.at, FRAME_DIM);
        pose
    }

    /// Yaw of the hips about +Y, radians.
    pub fn yaw(&self) -> f32 {
        self.rotations[0].to_euler(EulerRot::YXZ).0
    }

    /// Curls: thumb, index, middle, ring, little; 0 straight, 1 closed.
    fn set_curls(&mut self, side: &str, curls: [f32; 5]) {
        let sign = if side == "left" { 1.0 } else { -1.0 };
        for (finger, curl) in FINGERS.iter().zip(curls) {
            // In the T-pose palms face down: closing turns about the Z axis, the thumb about Y.
            let q = if *finger == "Thumb" {
                Quat::from_rotation_y(sign * curl * THUMB_CURL_RAD)
            } else {
                Quat::from_rotation_z(-sign * curl * FINGER_CURL_RAD)
            };
            for (i, bone) in SKELETON.bones.iter().enumerate() {
                if bone.name.starts_with(side) && bone.name[side.len()..].starts_with(finger) {
                    self.rotations[i] = q;
                }
            }
        }
    }
}

/// The bone and the confidence of the other side; its own where there is none.
static MIRROR: std::sync::LazyLock<([usize; BONE_COUNT], [usize; CONFIDENCE_COUNT])> = std::sync::LazyLock::new(|| {
    let other = |name: &str| match (name.strip_prefix("left"), name.strip_prefix("right")) {
        (Some(rest), _) => format!("right{rest}"),
        (_, Some(rest)) => format!("left{rest}"),
        _ => name.to_owned(),
    };
    let bone = |i: usize| Bone::named(&other(&SKELETON.bones[i].name)).expect("every bone has its mirror image").index();
    let confidence = |i: usize| SKELETON.confidences.iter().position(|n| *n == other(&SKELETON.confidences[i])).expect("so has every confidence");
    (std::array::from_fn(bone), std::array::from_fn(confidence))
});

/// Left hand, right hand.
pub static HANDS: std::sync::LazyLock<[Bone; 2]> = std::sync::LazyLock::new(|| {
    ["leftHand", "rightHand"].map(|n| Bone::named(n).expect("the skeleton has hands"))
});

static FEET: std::sync::LazyLock<[Bone; 2]> = std::sync::LazyLock::new(|| {
    ["leftFoot", "rightFoot"].map(|n| Bone::named(n).expect("the skeleton has feet"))
});

/// A head looks no farther aside, up or down than this from its neck, nor a neck from its chest: of real dance 99.9 % is within 50 degrees.
const FARTHEST_HEAD_RAD: f32 = 1.05;

/// A head or a foot the right side up. Some captures that the models have learnt from show them upside down: rolled by half a turn about
/// where they point, which no body can. A roll of up to 45 degrees stays; beyond, it is led back so that one of 180 is none, without a
/// jump between. So is a head that points farther than `farthest` from straight ahead, radians.
fn upright(q: Quat, farthest: f32) -> Quat {
    let (sin, cos) = (q.z, q.w);
    if sin == 0.0 && cos == 0.0 {
        return q;
    }
    let roll = (2.0 * sin.atan2(cos)).rem_euclid(PI);
    let roll = if roll > FRAC_PI_2 { roll - PI } else { roll };
    let led_back = roll.abs().min(FRAC_PI_2 - roll.abs()).copysign(roll);
    let swing = q * Quat::from_xyzw(0.0, 0.0, sin, cos).normalize().inverse();
    let swing = if swing.w < 0.0 { -swing } else { swing };
    let (axis, angle) = swing.to_axis_angle();
    Quat::from_axis_angle(axis, angle.min((2.0 * farthest - angle).max(0.0))) * Quat::from_rotation_z(led_back)
}

struct Reader<'a> {
    f: &'a [f32; FRAME_DIM],
    at: usize,
}

impl Reader<'_> {
    fn next(&mut self) -> f32 {
        self.at += 1;
        self.f[self.at - 1]
    }
    fn unit(&mut self) -> f32 {
        self.next().clamp(0.0, 1.0)
    }
    fn rotation(&mut self) -> Quat {
        let a = Vec3::new(self.next(), self.next(), self.next());
        let b = Vec3::new(self.next(), self.next(), self.next());
        rotation_from_6d(a, b)
    }
}

/// The first two columns of a rotation matrix, made orthonormal; parallel or zero columns give the identity.
pub fn rotation_from_6d(a: Vec3, b: Vec3) -> Quat {
    let x = a.normalize_or_zero();
    let y = (b - x * x.dot(b)).normalize_or_zero();
    if x == Vec3::ZERO || y == Vec3::ZERO {
        return Quat::IDENTITY;
    }
    Quat::from_mat3(&Mat3::from_cols(x, y, x.cross(y)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Features of the T-pose with the head turned like this.
    fn headed(head: Quat) -> Quat {
        let mut f = [0.0; FRAME_DIM];
        let m = Mat3::from_quat(head);
        let at = FRAME_DIM - 24 - 1 - 6;
        f[at..at + 3].copy_from_slice(&m.x_axis.to_array());
        f[at + 3..at + 6].copy_from_slice(&m.y_axis.to_array());
        Pose::from_features(&f).rotations[Bone::named("head").unwrap().index()]
    }

    #[test]
    fn a_head_is_never_upside_down() {
        // As bodies move it is left alone.
        for q in [Quat::IDENTITY, Quat::from_euler(EulerRot::YXZ, 0.8, -0.5, 0.4), Quat::from_euler(EulerRot::YXZ, -0.8, 0.4, -0.6)] {
            assert!(headed(q).angle_between(q) < 1e-3, "{q}");
        }
        // Rolled over, it looks where it looked, the right side up; on the way there it does not jump.
        let looks = Quat::from_euler(EulerRot::YXZ, 0.3, -0.4, 0.1);
        assert!(headed(looks * Quat::from_rotation_z(PI)).angle_between(looks) < 1e-3);
        let mut last = headed(looks);
        for i in 1..=180 {
            let now = headed(looks * Quat::from_rotation_z((i as f32).to_radians()));
            assert!(now.angle_between(last) < 0.03, "{i} degrees");
            assert!((now * Vec3::Y).y > 0.4, "{i} degrees");
            last = now;
        }
        // Nobody looks back over the own spine.
        for i in 0..=180 {
            assert!((headed(Quat::from_rotation_y((i as f32).to_radians())) * Vec3::Z).z > 0.4, "{i} degrees");
        }
    }

    #[test]
    fn t_pose_stands_on_the_ground_and_faces_the_camera() {
        let camera = Camera::full_body(512.0, 512.0);
        let keypoints = Pose::default().keypoints(&camera);
        let at = |name| keypoints[SKELETON.keypoint_named(name).unwrap()].position;
        assert!(at("left_wrist").x > at("right_wrist").x, "the character's left is at the image's right");
        assert!(at("head_top").y < at("pelvis").y && at("pelvis").y < at("left_ankle").y);
        let toe = Pose::default().joints().positions[Bone::named("leftToes").unwrap().index()];
        assert!((0.0..0.05).contains(&toe.y), "{toe}");
    }

    #[test]
    fn six_d_gives_back_any_rotation() {
        for i in 0..50 {
            let q = Quat::from_euler(EulerRot::XYZ, i as f32 * 0.7, i as f32 * 0.3, i as f32 * 1.1);
            let m = Mat3::from_quat(q);
            let back = rotation_from_6d(m.x_axis * 2.0, m.y_axis * 0.5 + m.x_axis);
            assert!(q.dot(back).abs() > 0.9999);
        }
    }

    #[test]
    fn the_mirror_image_of_the_mirror_image_is_the_pose() {
        let mut pose = Pose::default();
        pose.root.x = 0.3;
        pose.contacts = [1.0, 0.0];
        pose.rotations[Bone::named("leftUpperArm").unwrap().index()] = Quat::from_euler(EulerRot::XYZ, 0.2, 0.5, -1.0);
        let (here, there) = (pose.joints(), pose.mirrored().joints());
        let (left, right) = (Bone::named("leftHand").unwrap().index(), Bone::named("rightHand").unwrap().index());
        let image = Vec3::new(-here.positions[left].x, here.positions[left].y, here.positions[left].z);
        assert!(there.positions[right].distance(image) < 1e-5);
        assert_eq!(pose.mirrored().mirrored(), pose);
    }

    #[test]
    fn garbage_features_give_a_finite_pose() {
        let pose = Pose::from_features(&[0.0; FRAME_DIM]);
        assert!(pose.joints().positions.iter().all(|p| p.is_finite()));
    }
}
