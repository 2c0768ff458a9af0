//! The puppet drawn on the CPU: the twin of the WGSL pass, and the floor of every machine.
//!
//! Skins, then paints layers far to near. Allocates only when the avatar or the size changes.

use glam::{Mat2, Vec2};

use super::raster::{Target, TexturedVertex, triangle};
use crate::avatar::{Avatar, BONES, BoneTransform, Image, LAYER_COUNT, Layer, PuppetFrame, Vertex};

/// What the puppet pass writes: all planes height * width, rows from the top.
#[derive(Clone, Debug, Default)]
pub struct PuppetPicture {
    pub width: usize,
    pub height: usize,
    /// Premultiplied RGBA, 4 bytes a pixel.
    pub rgba: Vec<u8>,
    /// 255 where the warp shows what the reference showed; 0 where nothing is drawn.
    pub validity: Vec<u8>,
    /// 0 nothing, else layer + 1.
    pub part: Vec<u8>,
}

impl PuppetPicture {
    pub fn resize(&mut self, width: usize, height: usize) {
        if (self.width, self.height) != (width, height) {
            (self.width, self.height) = (width, height);
            self.rgba.resize(width * height * 4, 0);
            self.validity.resize(width * height, 0);
            self.part.resize(width * height, 0);
        }
    }

    fn clear(&mut self) {
        self.rgba.fill(0);
        self.validity.fill(0);
        self.part.fill(0);
    }
}

/// A puppet ready to draw: the avatar's mesh and its atlas at falling sizes.
pub struct CpuPuppet {
    vertices: Vec<Vertex>,
    indices: Vec<u32>,
    layers: [Layer; LAYER_COUNT],
    /// Full, half and quarter size.
    atlas: Vec<Image>,
    skinned: Vec<TexturedVertex>,
    picture: PuppetPicture,
}

/// Which atlas size suits a picture that shows the reference at `scale`.
pub(crate) fn atlas_level(scale: f32) -> usize {
    if scale > 0.6 {
        0
    } else if scale > 0.3 {
        1
    } else {
        2
    }
}

impl CpuPuppet {
    pub fn new(avatar: &Avatar) -> Self {
        let half = avatar.atlas.halved();
        let quarter = half.halved();
        CpuPuppet {
            vertices: avatar.vertices.clone(),
            indices: avatar.indices.clone(),
            layers: avatar.layers,
            atlas: vec![avatar.atlas.clone(), half, quarter],
            skinned: vec![TexturedVertex::default(); avatar.vertices.len()],
            picture: PuppetPicture::default(),
        }
    }

    /// Draws `frame` at `width` x `height`; the frame's own picture is scaled to fit.
    pub fn draw(&mut self, frame: &PuppetFrame, width: usize, height: usize) -> &PuppetPicture {
        let to = Vec2::new(width as f32 / frame.width, height as f32 / frame.height);
        let level = atlas_level(frame.scale * to.y);
        let shrink = 1.0 / (1 << level) as f32;
        let linear: [Mat2; BONES] = std::array::from_fn(|b| frame.bones[b].linear());
        for (v, out) in self.vertices.iter().zip(&mut self.skinned) {
            let (position, trust) = skin(v, &frame.bones, &linear);
            *out = TexturedVertex {
                position: position * to,
                uv: Vec2::from(v.uv) * shrink,
                validity: v.validity * trust,
            };
        }
        self.picture.resize(width, height);
        self.picture.clear();
        let mut target = Target {
            width,
            height,
            rgba: &mut self.picture.rgba,
            validity: &mut self.picture.validity,
            part: &mut self.picture.part,
        };
        for &layer in &frame.order {
            let Layer { start, count } = self.layers[layer as usize];
            for t in self.indices[start as usize..(start + count) as usize].chunks_exact(3) {
                let corners = [0, 1, 2].map(|i| self.skinned[t[i] as usize]);
                triangle(&mut target, &self.atlas[level], corners, layer + 1);
            }
        }
        &self.picture
    }

    pub fn picture(&self) -> &PuppetPicture {
        &self.picture
    }
}

/// Bones meet at a vertex's pivot, and their angles are blended, not their matrices: a bend keeps its thickness.
fn skin(v: &Vertex, bones: &[BoneTransform; BONES], linear: &[Mat2; BONES]) -> (Vec2, f32) {
    let (rest, pivot) = (Vec2::from(v.rest), Vec2::from(v.pivot));
    let first = v.bones[0] as usize;
    if v.weights[0] > 0.9995 {
        let b = &bones[first];
        return (linear[first] * rest + Vec2::from(b.offset) + Vec2::from(b.bulge) * v.bulge, b.trust);
    }
    let (mut angle, mut s, mut at, mut trust) = (0.0, [0.0f32; 3], Vec2::ZERO, 0.0);
    for (&b, &w) in v.bones.iter().zip(&v.weights) {
        if w <= 0.0 {
            continue;
        }
        let b = b as usize;
        let t = &bones[b];
        angle += w * t.angle;
        for (sum, part) in s.iter_mut().zip(t.stretch) {
            *sum += w * part;
        }
        at += w * (linear[b] * pivot + Vec2::from(t.offset) + Vec2::from(t.bulge) * v.bulge);
        trust += w * t.trust;
    }
    let m = Mat2::from_angle(angle) * Mat2::from_cols(Vec2::new(s[0], s[1]), Vec2::new(s[1], s[2]));
    (at + m * (rest - pivot), trust)
}
