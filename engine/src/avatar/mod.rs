//! An avatar: one picture of a character, its joints, and a layered mesh that follows them.
//!
//! [`Avatar::import`] makes one from pixels, [`Avatar::from_bytes`] reads a `.odori` file, [`drive`] turns a
//! 3D pose into 2D bone transforms in the avatar's own proportions. Nothing here opens files or draws.

mod back;
mod cutout;
mod drive;
mod expression;
mod face;
#[cfg(test)]
pub(crate) mod face_tests;
mod figure;
mod file;
pub mod finder;
mod import;
mod lids;
mod matting;
mod mesh;
mod parts;
#[cfg(test)]
mod parts_tests;
mod picture;
mod rig;
pub mod rigged;
mod seen;
mod segment;
mod sidecar;
mod springs;
#[cfg(test)]
pub(crate) mod tests;

pub use drive::{BoneTransform, CHEST_FORWARD, FACING, PuppetFrame, Side, drive, drive_side};
pub use expression::{Cue, Expression, Liveliness};
pub use face::{Face, Spot};
pub use figure::Ground;
pub use finder::FigureFinder;
pub use import::{ImportReport, decode, import_encoded};
pub use parts::{PART_MAP_MAX_BYTES, PARTS, PartMap};
pub(crate) use rig::keypoint;
pub use rig::other_side;
pub use rig::{BONES, Rig, bone};
pub use sidecar::{LoosePart, Sidecar};
pub use springs::Springs;

use glam::Vec2;

use crate::skeleton::KEYPOINT_COUNT;

/// Longest side of the picture an avatar keeps, pixels.
pub const REFERENCE_MAX: u32 = 1024;
/// Longest side and area of a picture that is looked at, pixels.
pub const IMAGE_MAX_SIDE: u32 = 8192;
pub const IMAGE_MAX_AREA: u64 = 40_000_000;

/// Layers of the mesh, each drawn whole; `order` of a frame says which comes first.
pub const LAYER_COUNT: usize = 10;

/// Part ids as the rasteriser writes them: 0 is nothing, 1 the torso, then these in order.
pub const LAYER_NAMES: [&str; LAYER_COUNT] = [
    "torso",
    "head",
    "left_upper_arm",
    "left_lower_arm",
    "right_upper_arm",
    "right_lower_arm",
    "left_upper_leg",
    "left_lower_leg",
    "right_upper_leg",
    "right_lower_leg",
];

/// The head's, hair and ears with it.
pub const HEAD_LAYER: usize = 1;

#[derive(Debug, thiserror::Error)]
pub enum AvatarError {
    #[error("the back: {0}")]
    Back(Box<AvatarError>),
    #[error("the picture is {width}x{height} pixels; at most {IMAGE_MAX_SIDE} a side and 40 megapixels are accepted: scale it down")]
    TooLarge { width: u32, height: u32 },
    #[error("the picture cannot be read ({0}); use PNG, JPEG or WebP")]
    Decode(String),
    #[error("{width}x{height} pixels need {need} bytes of RGBA, {got} were given")]
    PixelCount { width: u32, height: u32, need: u64, got: usize },
    #[error("no figure found: {0}")]
    NoFigure(String),
    #[error("keypoints: {0}")]
    Keypoints(String),
    #[error("the joints cannot be found in this picture: {0}. Use a full-body picture, facing front, arms away from the body and legs apart, or give a keypoints file beside it")]
    Unclear(String),
    #[error("layers: {0}")]
    Parts(String),
    #[error("the figure finder's weights: {0}")]
    Finder(String),
    #[error("the 3D character cannot be used: {0}")]
    Rigged(String),
    #[error("not a usable .odori file: {0}")]
    File(String),
}

/// Premultiplied RGBA, 8 bits a channel, rows from the top.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    pub width: u32,
    pub height: u32,
    /// height * width * 4 bytes.
    pub rgba: Vec<u8>,
}

impl Image {
    pub fn new(width: u32, height: u32) -> Self {
        Image { width, height, rgba: vec![0; width as usize * height as usize * 4] }
    }

    /// Half the size by a 2x2 box; odd edges repeat.
    pub fn halved(&self) -> Image {
        let mut out = Image::new(self.width.div_ceil(2), self.height.div_ceil(2));
        let (w, h) = (self.width as usize, self.height as usize);
        for y in 0..out.height as usize {
            for x in 0..out.width as usize {
                let (x1, y1) = ((2 * x + 1).min(w - 1), (2 * y + 1).min(h - 1));
                for c in 0..4 {
                    let at = |x: usize, y: usize| self.rgba[(y * w + x) * 4 + c] as u32;
                    let sum = at(2 * x, 2 * y) + at(x1, 2 * y) + at(2 * x, y1) + at(x1, y1);
                    out.rgba[(y * out.width as usize + x) * 4 + c] = ((sum + 2) / 4) as u8;
                }
            }
        }
        out
    }
}

/// A mesh corner. Same layout as the WGSL storage struct (checked by a test): 64 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Vertex {
    /// At rest, pixels of the reference picture.
    pub rest: [f32; 2],
    /// Pixels of the atlas.
    pub uv: [f32; 2],
    /// Where its bones turn about, pixels of the reference picture.
    pub pivot: [f32; 2],
    /// Towards the viewer, pixels: the roundness of head and torso.
    pub bulge: f32,
    /// 1 where the picture showed this place, less where it was filled in.
    pub validity: f32,
    pub bones: [u32; 4],
    /// Sum to 1.
    pub weights: [f32; 4],
}

/// One layer's triangles: `indices[start .. start + count]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Layer {
    pub start: u32,
    pub count: u32,
}

/// A character ready to be driven.
#[derive(Clone, Debug, PartialEq)]
pub struct Avatar {
    pub name: String,
    /// The figure, cropped and at most [`REFERENCE_MAX`] a side.
    pub reference: Image,
    /// Pixels of `reference`, order of `SKELETON.keypoints`.
    pub keypoints: [Vec2; KEYPOINT_COUNT],
    /// Every part cut out, with its under-lap, packed into one picture.
    pub atlas: Image,
    pub vertices: Vec<Vertex>,
    pub indices: Vec<u32>,
    pub layers: [Layer; LAYER_COUNT],
    pub rig: Rig,
    /// Eyes and mouth that move, pixels of `reference`.
    pub face: Face,
    /// Regions that hang from the head and swing, pixels of `reference`.
    pub loose: Vec<LoosePart>,
    /// The part of every pixel of `reference` as the network sees it or a rig knows it; without it the rules find it.
    pub found: Option<PartMap>,
    /// What a person painted over the parts that were found; of the size of `reference`.
    pub paint: Option<PartMap>,
    /// The same character seen from behind, if there is a picture of that: an avatar of its own, without a face and without a back.
    /// Its left is called right, as if it were a front.
    pub back: Option<Box<Avatar>>,
}
