//! A skinned character in the T-pose, and the act of posing it.
//!
//! Every source (GLB rig, code) ends here: vertices in metres, facing +Z, feet on y = 0, weights on the 52
//! bones of the skeleton and on loose joints after them. Knows no file and no picture.

use glam::{Mat3, Quat, Vec2, Vec3};
use crate::pose::Pose;
use crate::skeleton::{BONE_COUNT, Bone, KEYPOINT_COUNT, SKELETON};

use super::raster::{Material, Triangle};

/// Hips height of the shared skeleton, metres.
pub const SKELETON_HIPS_M: f32 = 0.93;

#[derive(Clone, Copy, Debug, Default)]
pub struct Vertex {
    pub position: Vec3,
    pub normal: Vec3,
    /// The normal shared by all vertices at this place: outlines grow along it without cracks.
    pub smooth: Vec3,
    pub uv: Vec2,
    pub joints: [u8; 4],
    /// Sum to 1.
    pub weights: [f32; 4],
}

/// A strand of hair or a fold of cloth: hangs from a bone and lags behind it.
#[derive(Clone, Copy, Debug)]
pub struct Loose {
    pub parent: usize,
    /// Its free end in the T-pose.
    pub tip: Vec3,
    /// Pull towards the rest direction, per second squared and metre of length.
    pub stiffness: f32,
    /// Downward pull, metres per second squared.
    pub gravity: f32,
    /// Part of the speed lost per second, 0 to 1 (per 30 Hz frame it is applied evenly).
    pub drag: f32,
    /// A bone whose turn the rest direction follows in part (a skirt follows the thigh).
    pub follow: Option<(usize, f32)>,
}

#[derive(Clone, Debug)]
pub struct Character {
    pub name: String,
    /// Kept out of training; results are measured on it.
    pub held_out: bool,
    /// T-pose positions of the 52 bones, then of the loose joints.
    pub joints: Vec<Vec3>,
    pub loose: Vec<Loose>,
    pub vertices: Vec<Vertex>,
    pub triangles: Vec<Triangle>,
    pub materials: Vec<Material>,
    /// From the keypoint's bone, metres.
    pub keypoint_offsets: [Vec3; KEYPOINT_COUNT],
    /// Patches painted on the face and clothes may ask for thinner lines: 1 is the style's own width.
    pub line_scale: f32,
}

/// Where the bones and loose joints are: `p -> rotation * (p - rest) + position`.
#[derive(Clone, Debug)]
pub struct Posed {
    pub positions: Vec<Vec3>,
    pub rotations: Vec<Quat>,
}

impl Character {
    /// Bones in the T-pose, and nothing on them yet.
    pub fn bare(name: &str, joints: &[Vec3]) -> Character {
        Character {
            name: name.to_string(),
            held_out: false,
            joints: joints.to_vec(),
            loose: Vec::new(),
            vertices: Vec::new(),
            triangles: Vec::new(),
            materials: Vec::new(),
            keypoint_offsets: [Vec3::ZERO; KEYPOINT_COUNT],
            line_scale: 1.0,
        }
    }

    /// Metres of this character for a metre of the shared skeleton, from the hips' height.
    pub fn size_ratio(&self) -> f32 {
        self.joints[0].y / SKELETON_HIPS_M
    }

    /// Bones by forward kinematics over the character's own lengths; loose joints at rest.
    pub fn posed(&self, pose: &Pose) -> Posed {
        let n = self.joints.len();
        let mut out = Posed { positions: vec![Vec3::ZERO; n], rotations: vec![Quat::IDENTITY; n] };
        for (i, bone) in SKELETON.bones.iter().enumerate() {
            match bone.parent.map(Bone::index) {
                None => {
                    out.positions[i] = pose.root * self.size_ratio();
                    out.rotations[i] = pose.rotations[i];
                }
                Some(p) => {
                    out.positions[i] = out.positions[p] + out.rotations[p] * (self.joints[i] - self.joints[p]);
                    out.rotations[i] = out.rotations[p] * pose.rotations[i];
                }
            }
        }
        for (i, loose) in self.loose.iter().enumerate() {
            let (position, rotation) = self.loose_rest(&out, i, loose);
            out.positions[BONE_COUNT + i] = position;
            out.rotations[BONE_COUNT + i] = rotation;
        }
        out
    }

    /// Where a loose joint sits and how it would turn without lag.
    pub fn loose_rest(&self, posed: &Posed, i: usize, loose: &Loose) -> (Vec3, Quat) {
        let p = loose.parent;
        let mut rotation = posed.rotations[p];
        if let Some((bone, share)) = loose.follow {
            rotation = rotation.slerp(posed.rotations[bone], share);
        }
        (posed.positions[p] + posed.rotations[p] * (self.joints[BONE_COUNT + i] - self.joints[p]), rotation)
    }

    /// Vertex positions and normals, metres.
    pub fn skin(&self, posed: &Posed) -> Vec<(Vec3, Vec3, Vec3)> {
        let joints: Vec<(Mat3, Vec3)> = (0..self.joints.len())
            .map(|j| {
                let r = Mat3::from_quat(posed.rotations[j]);
                (r, posed.positions[j] - r * self.joints[j])
            })
            .collect();
        self.vertices
            .iter()
            .map(|v| {
                let (mut r, mut t) = (Mat3::ZERO, Vec3::ZERO);
                for (&j, &w) in v.joints.iter().zip(&v.weights) {
                    if w > 0.0 {
                        let (jr, jt) = joints[j as usize];
                        r += jr * w;
                        t += jt * w;
                    }
                }
                (r * v.position + t, (r * v.normal).normalize_or_zero(), (r * v.smooth).normalize_or_zero())
            })
            .collect()
    }

    /// World positions of the 24 keypoints.
    pub fn keypoints(&self, posed: &Posed) -> [Vec3; KEYPOINT_COUNT] {
        std::array::from_fn(|k| {
            let b = SKELETON.keypoints[k].bone.index();
            posed.positions[b] + posed.rotations[b] * self.keypoint_offsets[k]
        })
    }

    /// Sets the smooth normals (one for all vertices at a place) and stands the feet on y = 0.
    pub fn finish(&mut self) {
        use std::collections::HashMap;
        let low = self.vertices.iter().map(|v| v.position.y).fold(f32::INFINITY, f32::min);
        let centre = self.joints[0];
        let shift = Vec3::new(-centre.x, -low, -centre.z);
        for v in &mut self.vertices {
            v.position += shift;
        }
        for j in &mut self.joints {
            *j += shift;
        }
        for l in &mut self.loose {
            l.tip += shift;
        }
        let key = |p: Vec3| (p * 4000.0).round().as_ivec3();
        let mut sums: HashMap<_, Vec3> = HashMap::new();
        for v in &self.vertices {
            *sums.entry(key(v.position)).or_default() += v.normal;
        }
        for v in &mut self.vertices {
            v.smooth = sums[&key(v.position)].normalize_or(v.normal);
        }
    }

    /// Multiplies sizes per bone: a chibi's head, thick arms, long legs. `scale` is (along the bone, across it).
    pub fn reproportion(&mut self, scale: impl Fn(usize) -> Vec2) {
        let old = self.joints.clone();
        let scales: Vec<Vec2> = (0..BONE_COUNT).map(&scale).collect();
        let axis: Vec<Vec3> = (0..BONE_COUNT).map(bone_axis).collect();
        let stretch = |b: usize, d: Vec3| {
            let along = axis[b] * d.dot(axis[b]);
            along * scales[b].x + (d - along) * scales[b].y
        };
        for (i, bone) in SKELETON.bones.iter().enumerate() {
            if let Some(p) = bone.parent.map(Bone::index) {
                self.joints[i] = self.joints[p] + stretch(p, old[i] - old[p]);
            }
        }
        let hangs: Vec<usize> = self.loose.iter().map(|l| l.parent).collect();
        let bone_of = |mut j: usize| {
            while j >= BONE_COUNT {
                j = hangs[j - BONE_COUNT];
            }
            j
        };
        let moved = |b: usize, p: Vec3, joints: &[Vec3]| joints[b] + stretch(b, p - old[b]);
        for i in 0..self.loose.len() {
            let b = bone_of(BONE_COUNT + i);
            self.joints[BONE_COUNT + i] = moved(b, old[BONE_COUNT + i], &self.joints);
            self.loose[i].tip = moved(b, self.loose[i].tip, &self.joints);
        }
        for v in &mut self.vertices {
            let mut p = Vec3::ZERO;
            for (&j, &w) in v.joints.iter().zip(&v.weights) {
                p += moved(bone_of(j as usize), v.position, &self.joints) * w;
            }
            v.position = p;
        }
        for (k, offset) in self.keypoint_offsets.iter_mut().enumerate() {
            *offset = stretch(SKELETON.keypoints[k].bone.index(), *offset);
        }
        self.finish();
    }
}

/// The direction in which a bone is long, in the T-pose.
pub fn bone_axis(bone: usize) -> Vec3 {
    let name = SKELETON.bones[bone].name.as_str();
    let arm = ["Shoulder", "Arm", "Hand", "Thumb", "Index", "Middle", "Ring", "Little"];
    if name.ends_with("Foot") || name.ends_with("Toes") {
        Vec3::Z
    } else if arm.iter().any(|a| name.contains(a)) {
        Vec3::X
    } else {
        Vec3::Y
    }
}

/// A front A-pose as an artist would draw: arms `down` radians under the T, legs a little apart.
pub fn reference_pose(down: f32, apart: f32) -> Pose {
    let mut pose = Pose::default();
    for (side, sign) in [("left", 1.0), ("right", -1.0)] {
        for (bone, angle) in [("UpperArm", -down), ("UpperLeg", apart), ("Foot", -apart)] {
            let b = Bone::named(&format!("{side}{bone}")).expect("a bone of the skeleton");
            pose.rotations[b.index()] = Quat::from_rotation_z(sign * angle);
        }
    }
    pose
}
