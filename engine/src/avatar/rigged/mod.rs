//! Rigged 3D characters (VRM, GLB) as avatars: two pictures are drawn of them, and their joints are known, not found.
//!
//! [`glb`] reads a file into a [`character::Character`] in the skeleton's T-pose, [`stage`] poses it before a camera and [`raster`] draws it.
//! The training frames are made by the same code. Opens no files.

pub mod bones;
pub mod character;
pub mod colour;
pub mod glb;
pub mod raster;
pub mod retarget;
pub mod shown;
pub mod springs;
pub mod stage;
#[cfg(test)]
mod tests;
pub mod vrm;

use glam::{Quat, Vec2, Vec3};

use self::character::{Character, reference_pose};
use self::raster::{Raster, Shading, Style};
use self::shown::Shown;
use self::stage::Actor;
use super::{Avatar, AvatarError, Face, ImportReport, REFERENCE_MAX, Sidecar};
use crate::pose::{Camera, Pose};
use crate::skeleton::{Bone, SKELETON};

/// Samples of the picture a pixel and axis.
const SAMPLES: usize = 3;
/// Share of the picture's side that the figure fills.
const FILLS: f32 = 0.97;
/// Arms this far under the T-pose, and legs this far apart, radians: as an artist would draw it, nothing in front of anything.
const ARMS_DOWN: f32 = 0.7;
const LEGS_APART: f32 = 0.08;

/// Whether these are the first bytes of a GLB or VRM file.
pub fn is_rigged(bytes: &[u8]) -> bool {
    bytes.starts_with(b"glTF")
}

/// Draws the character from the front and from behind, and imports the pictures with its own joints.
///
/// # Errors
/// What of the file cannot be used.
pub fn import(bytes: &[u8]) -> Result<(Avatar, ImportReport), AvatarError> {
    let (character, vrm) = glb::read("it", bytes, REFERENCE_MAX).map_err(AvatarError::Rigged)?;
    // VRM characters are painted with their light, others want some.
    let painted = vrm.is_some() && character.materials.iter().any(|m| m.texture.is_some());
    let shading = if painted { Shading::Flat } else { Shading::Soft };
    let style = Style { shading, outline: 0.0, line_colour: None, light: Vec3::new(0.3, 0.7, 0.65).normalize(), shade: 0.28, shade_hue: 0.0 };
    let (mut avatar, mut report) = side(&character, &style, reference_pose(ARMS_DOWN, LEGS_APART), None)?;
    let mut turned = reference_pose(ARMS_DOWN, LEGS_APART);
    turned.rotations[Bone::HIPS.index()] = Quat::from_rotation_y(std::f32::consts::PI);
    avatar.back = Some(Box::new(side(&character, &style, turned, Some(Face::default()))?.0));
    report.keypoints_from = "rig";
    if let Some(vrm) = vrm {
        avatar.name = vrm.title.chars().take(200).collect();
        report.notes.push(format!("{}, {}", if vrm.title.is_empty() { "untitled" } else { &vrm.title }, vrm.terms));
    }
    Ok((avatar, report))
}

/// An avatar of the character as it stands in a pose.
fn side(character: &Character, style: &Style, pose: Pose, face: Option<Face>) -> Result<(Avatar, ImportReport), AvatarError> {
    let mut actor = Actor::new(character, style);
    let (low, high) = actor.extent(&pose);
    let (span, px) = (high - low, REFERENCE_MAX as f32);
    if !(span.x > 0.0 && span.y > 0.0 && span.max_element().is_finite()) {
        return Err(AvatarError::Rigged("its mesh has no size".into()));
    }
    let camera = Camera { centre: (low + high) * 0.5, scale: FILLS * px / span.max_element(), width: px, height: px };
    let mut raster = Raster::new(REFERENCE_MAX as usize, SAMPLES);
    let drawn = actor.draw(&pose, &camera, &mut raster);
    let parts = Shown::new(character, &drawn, &raster, REFERENCE_MAX as usize).belief();
    let keypoints = SKELETON.keypoints.iter().zip(&drawn.keypoints).map(|(k, p)| (k.name.clone(), p.clamp(Vec2::ZERO, Vec2::splat(px - 1.0)).to_array())).collect();
    // Where its left lies at the picture's left, it is taken for a front whose sides were given the other way round: as a back is.
    let sidecar = Sidecar { width: REFERENCE_MAX, height: REFERENCE_MAX, keypoints, name: None, loose: Vec::new(), skirt: None, face };
    Avatar::import_known(REFERENCE_MAX, straight(&drawn.rgba), &sidecar, &parts)
}

/// Premultiplied to straight alpha.
pub fn straight(rgba: &[u8]) -> Vec<u8> {
    let mut out = rgba.to_vec();
    for p in out.chunks_exact_mut(4) {
        let a = u32::from(p[3]);
        for c in &mut p[..3] {
            *c = (u32::from(*c) * 255 + a / 2).checked_div(a).unwrap_or(0).min(255) as u8;
        }
    }
    out
}
