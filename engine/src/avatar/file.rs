//! The `.odori` file: one safetensors container with PNG bytes, JSON and mesh arrays.
//!
//! Reading runs no code and trusts nothing: every size, index and number is checked before use.

use std::collections::HashMap;

use glam::Vec2;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};

use super::{
    Avatar, AvatarError, BONES, Face, IMAGE_MAX_SIDE, Image, LAYER_COUNT, Layer, LoosePart, PartMap, REFERENCE_MAX, Rig, Vertex,
};
use crate::skeleton::KEYPOINT_COUNT;

const VERSION: &str = "2";
/// Without a face: it does not blink.
const FACELESS: &str = "1";
const FILE_MAX_BYTES: usize = 64 << 20;
const VERTICES_MAX: usize = 20_000;
const TRIANGLES_MAX: usize = 40_000;

#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    name: String,
    keypoints: [[f32; 2]; KEYPOINT_COUNT],
    layers: [Layer; LAYER_COUNT],
    rig: Rig,
    #[serde(default, skip_serializing_if = "Face::is_empty")]
    face: Face,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    loose: Vec<LoosePart>,
}

fn bad(m: impl std::fmt::Display) -> AvatarError {
    AvatarError::File(m.to_string())
}

impl Avatar {
    pub fn to_bytes(&self) -> Result<Vec<u8>, AvatarError> {
        let head = Head {
            name: self.name.clone(),
            keypoints: self.keypoints.map(|p| p.into()),
            layers: self.layers,
            rig: self.rig,
            face: self.face,
            loose: self.loose.clone(),
        };
        let head = serde_json::to_vec(&head).map_err(bad)?;
        let (reference, atlas) = (to_png(&self.reference)?, to_png(&self.atlas)?);
        let vertices: &[u8] = bytemuck::cast_slice(&self.vertices);
        let indices: &[u8] = bytemuck::cast_slice(&self.indices);
        let bytes = |data| TensorView::new(Dtype::U8, vec![<[u8]>::len(data)], data).map_err(bad);
        let paint = self.paint.as_ref().map(PartMap::to_png).transpose()?;
        let mut tensors = vec![
            ("head.json", bytes(&head)?),
            ("reference.png", bytes(&reference)?),
            ("atlas.png", bytes(&atlas)?),
            ("vertices", TensorView::new(Dtype::U8, vec![self.vertices.len(), size_of::<Vertex>()], vertices).map_err(bad)?),
            ("indices", TensorView::new(Dtype::U32, vec![self.indices.len()], indices).map_err(bad)?),
        ];
        let found = self.found.as_ref().map(PartMap::to_png).transpose()?;
        if let Some(found) = &found {
            tensors.push(("parts.png", bytes(found)?));
        }
        if let Some(paint) = &paint {
            tensors.push(("paint.png", bytes(paint)?));
        }
        let back = self.back.as_ref().map(|b| b.to_bytes()).transpose()?;
        if let Some(back) = &back {
            tensors.push(("back.odori", bytes(back)?));
        }
        let meta = HashMap::from([("format".into(), "odori-avatar".into()), ("version".into(), VERSION.into())]);
        safetensors::serialize(tensors, Some(meta)).map_err(bad)
    }

    pub fn from_bytes(bytes: &[u8]) -> Result<Avatar, AvatarError> {
        if bytes.len() > FILE_MAX_BYTES {
            return Err(bad(format!("{} MiB; at most 64 are accepted", bytes.len() >> 20)));
        }
        let (_, meta) = SafeTensors::read_metadata(bytes).map_err(|e| bad(format!("not an avatar ({e})")))?;
        let meta = meta.metadata().clone().unwrap_or_default();
        if meta.get("format").map(String::as_str) != Some("odori-avatar") {
            return Err(bad("it is some other safetensors file"));
        }
        match meta.get("version").map(String::as_str) {
            Some(VERSION | FACELESS) => {}
            v => return Err(bad(format!("version {} is not known here; this program reads {VERSION}: import the picture again", v.unwrap_or("?")))),
        }
        let file = SafeTensors::deserialize(bytes).map_err(bad)?;
        let part = |name: &str| file.tensor(name).map_err(|_| bad(format!("'{name}' is missing")));
        let head = part("head.json")?;
        if head.data().len() > 1 << 20 {
            return Err(bad("its head is too long"));
        }
        let head: Head = serde_json::from_slice(head.data()).map_err(bad)?;
        if head.name.chars().count() > 200 {
            return Err(bad("its name is too long"));
        }
        let reference = from_png(part("reference.png")?.data(), REFERENCE_MAX)?;
        let atlas = from_png(part("atlas.png")?.data(), 8192)?;
        if !atlas.width.is_multiple_of(4) || !atlas.height.is_multiple_of(4) {
            return Err(bad("its atlas has odd sides"));
        }

        let raw = part("vertices")?;
        let count = raw.data().len() / size_of::<Vertex>();
        if raw.dtype() != Dtype::U8 || raw.shape() != [count, size_of::<Vertex>()] || count > VERTICES_MAX {
            return Err(bad("its vertices are misshapen"));
        }
        let vertices: Vec<Vertex> = raw.data().chunks_exact(size_of::<Vertex>()).map(bytemuck::pod_read_unaligned).collect();
        let raw = part("indices")?;
        if raw.dtype() != Dtype::U32 || raw.shape().len() != 1 || raw.shape()[0] > TRIANGLES_MAX * 3 {
            return Err(bad("its triangles are misshapen"));
        }
        let indices: Vec<u32> = raw.data().chunks_exact(4).map(bytemuck::pod_read_unaligned).collect();
        // A back in a back would be read for ever.
        let back = file.tensor("back.odori").ok().map(|t| t.data());
        if back.is_some_and(|b| SafeTensors::deserialize(b).is_ok_and(|f| f.tensor("back.odori").is_ok())) {
            return Err(bad("its back has a back"));
        }
        let map = |name: &str| file.tensor(name).ok().map(|t| PartMap::from_png(t.data(), REFERENCE_MAX)).transpose().map_err(bad);
        let avatar = Avatar {
            name: head.name,
            reference,
            keypoints: head.keypoints.map(Vec2::from),
            atlas,
            vertices,
            indices,
            layers: head.layers,
            rig: head.rig,
            face: head.face,
            loose: head.loose,
            // Most have no paint, and older files know neither.
            found: map("parts.png")?,
            paint: map("paint.png")?,
            back: back.map(Avatar::from_bytes).transpose()?.map(Box::new),
        };
        if avatar.back.as_ref().is_some_and(|b| !b.face.is_empty()) {
            return Err(bad("its back has a face"));
        }
        avatar.check()?;
        Ok(avatar)
    }

    fn check(&self) -> Result<(), AvatarError> {
        const FAR: f32 = 4.0 * IMAGE_MAX_SIDE as f32;
        let near = |v: f32| v.is_finite() && v.abs() < FAR;
        for v in &self.vertices {
            let numbers = v.rest.iter().chain(&v.uv).chain(&v.pivot).chain([&v.bulge, &v.validity]);
            let sum: f32 = v.weights.iter().sum();
            let weights = v.weights.iter().all(|w| (0.0..=1.001).contains(w)) && (sum - 1.0).abs() < 0.01;
            if !numbers.copied().all(near) || !weights || v.bones.iter().any(|&b| b as usize >= BONES) {
                return Err(bad("a vertex is out of bounds"));
            }
        }
        if self.indices.iter().any(|&i| i as usize >= self.vertices.len()) {
            return Err(bad("a triangle names a vertex that is not there"));
        }
        for l in &self.layers {
            let end = l.start as u64 + l.count as u64;
            if end > self.indices.len() as u64 || !l.count.is_multiple_of(3) {
                return Err(bad("a layer reaches past the triangles"));
            }
        }
        let r = &self.rig;
        let pairs = [r.shoulders, r.elbows, r.wrists, r.hands, r.hips, r.knees, r.ankles, r.toes, r.hair];
        let points = pairs.into_iter().flatten().chain([r.pelvis, r.spine, r.neck, r.skull, r.head_top]).chain(self.keypoints);
        if !points.into_iter().all(|p| near(p.x) && near(p.y)) || !near(r.ground) || !r.hem.is_none_or(near) {
            return Err(bad("a joint is out of bounds"));
        }
        if r.height() < 8.0 || r.pelvis.distance(r.neck) < 1.0 {
            return Err(bad("its joints lie on one spot"));
        }
        self.face.check(Vec2::new(self.reference.width as f32, self.reference.height as f32)).map_err(bad)?;
        LoosePart::check(&self.loose).map_err(bad)?;
        for map in self.found.iter().chain(&self.paint) {
            self.check_paint(map).map_err(bad)?;
        }
        Ok(())
    }
}

/// The picture keeps premultiplied values: what is read back is exactly what was drawn with.
fn to_png(image: &Image) -> Result<Vec<u8>, AvatarError> {
    use image::ImageEncoder;
    let mut out = Vec::new();
    image::codecs::png::PngEncoder::new_with_quality(
        &mut out,
        image::codecs::png::CompressionType::Default,
        image::codecs::png::FilterType::Adaptive,
    )
    .write_image(&image.rgba, image.width, image.height, image::ExtendedColorType::Rgba8)
    .map_err(bad)?;
    Ok(out)
}

fn from_png(bytes: &[u8], most: u32) -> Result<Image, AvatarError> {
    let mut reader = image::ImageReader::with_format(std::io::Cursor::new(bytes), image::ImageFormat::Png);
    let mut limits = image::Limits::default();
    (limits.max_image_width, limits.max_image_height) = (Some(most), Some(most));
    limits.max_alloc = Some(512 << 20);
    reader.limits(limits);
    let picture = reader.decode().map_err(|e| bad(format!("a picture in it cannot be read ({e})")))?.into_rgba8();
    if picture.width() < 4 || picture.height() < 4 {
        return Err(bad("a picture in it is empty"));
    }
    Ok(Image { width: picture.width(), height: picture.height(), rgba: picture.into_raw() })
}
