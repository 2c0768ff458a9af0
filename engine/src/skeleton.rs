//! The one humanoid that everything moves: VRM 1.0 bones, rest offsets, parts and keypoints.
//!
//! The table is `models/skeleton.json`, which training reads too. Metres, right-handed, Y up; the character
//! faces +Z and its left is +X; every rest rotation is the identity (T-pose).

use std::sync::LazyLock;

use glam::Vec3;
use serde::Deserialize;

pub const BONE_COUNT: usize = 52;
pub const KEYPOINT_COUNT: usize = 24;
pub const CONFIDENCE_COUNT: usize = 13;

/// A bone of [`SKELETON`], by its place in the table; parents come before their children.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Bone(pub u8);

impl Bone {
    pub const HIPS: Bone = Bone(0);

    pub fn index(self) -> usize {
        self.0 as usize
    }

    /// Finds a bone by its VRM name.
    pub fn named(name: &str) -> Option<Bone> {
        SKELETON.bones.iter().position(|b| b.name == name).map(|i| Bone(i as u8))
    }
}

#[derive(Debug)]
pub struct BoneInfo {
    pub name: String,
    pub parent: Option<Bone>,
    /// From the parent joint, metres, in the T-pose.
    pub offset: Vec3,
}

#[derive(Debug)]
pub struct KeypointInfo {
    pub name: String,
    pub bone: Bone,
    /// In the bone's own axes, metres.
    pub offset: Vec3,
    /// Which of the pose's confidences speaks for this point; none means always seen.
    pub confidence: Option<usize>,
}

#[derive(Debug)]
pub struct Skeleton {
    pub bones: Vec<BoneInfo>,
    pub keypoints: Vec<KeypointInfo>,
    pub confidences: Vec<String>,
    /// Bones of each part that carry a 6D rotation, in feature order.
    pub upper: Vec<Bone>,
    pub lower: Vec<Bone>,
    pub head: Vec<Bone>,
    /// Joints in the T-pose with the hips at their rest height, metres.
    pub rest_joints: Vec<Vec3>,
}

impl Skeleton {
    pub fn keypoint_named(&self, name: &str) -> Option<usize> {
        self.keypoints.iter().position(|k| k.name == name)
    }
}

#[derive(Deserialize)]
struct RawBone {
    name: String,
    parent: Option<String>,
    offset: [f32; 3],
}
#[derive(Deserialize)]
struct RawKeypoint {
    name: String,
    bone: String,
    offset: [f32; 3],
    confidence: Option<String>,
}
#[derive(Deserialize)]
struct RawParts {
    upper: Vec<String>,
    lower: Vec<String>,
    head: Vec<String>,
}
#[derive(Deserialize)]
struct RawSkeleton {
    bones: Vec<RawBone>,
    parts: RawParts,
    confidences: Vec<String>,
    keypoints: Vec<RawKeypoint>,
}

/// The table, checked once: it is part of the program, so a fault in it is a bug and asserts.
pub static SKELETON: LazyLock<Skeleton> = LazyLock::new(|| {
    let raw: RawSkeleton =
        serde_json::from_str(include_str!("../../models/skeleton.json")).expect("models/skeleton.json is valid");
    let place = |name: &str| {
        let i = raw.bones.iter().position(|b| b.name == name).unwrap_or_else(|| panic!("no bone {name}"));
        Bone(i as u8)
    };
    let places = |names: &[String]| names.iter().map(|n| place(n)).collect::<Vec<_>>();
    let bones: Vec<BoneInfo> = raw
        .bones
        .iter()
        .map(|b| BoneInfo {
            name: b.name.clone(),
            parent: b.parent.as_deref().map(place),
            offset: Vec3::from(b.offset),
        })
        .collect();
    let mut rest_joints: Vec<Vec3> = Vec::with_capacity(bones.len());
    for (i, bone) in bones.iter().enumerate() {
        let parent = bone.parent.map_or(Vec3::ZERO, |p| {
            assert!(p.index() < i, "parents come first");
            rest_joints[p.index()]
        });
        rest_joints.push(parent + bone.offset);
    }
    let keypoints: Vec<KeypointInfo> = raw
        .keypoints
        .iter()
        .map(|k| KeypointInfo {
            name: k.name.clone(),
            bone: place(&k.bone),
            offset: Vec3::from(k.offset),
            confidence: k.confidence.as_ref().map(|c| {
                raw.confidences.iter().position(|n| n == c).unwrap_or_else(|| panic!("no confidence {c}"))
            }),
        })
        .collect();
    assert_eq!(bones.len(), BONE_COUNT);
    assert_eq!(keypoints.len(), KEYPOINT_COUNT);
    assert_eq!(raw.confidences.len(), CONFIDENCE_COUNT);
    Skeleton {
        upper: places(&raw.parts.upper),
        lower: places(&raw.parts.lower),
        head: places(&raw.parts.head),
        bones,
        keypoints,
        confidences: raw.confidences,
        rest_joints,
    }
});
