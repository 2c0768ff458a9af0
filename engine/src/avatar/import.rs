//! From a picture to an avatar, with a report of what was found and guessed.

use glam::Vec2;

use super::rig::{Rig, keypoint};
use super::{Avatar, AvatarError, Sidecar, figure, mesh, segment, silhouette};
use crate::skeleton::KEYPOINT_COUNT;

/// What an import found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct ImportReport {
    /// "sidecar" or "silhouette".
    pub keypoints_from: &'static str,
    /// 1 when given; for a silhouette, how human it looks.
    pub confidence: f32,
    pub inferred: Vec<String>,
    pub alpha_given: bool,
    pub skirt: bool,
    pub triangles: usize,
    pub vertices: usize,
    /// Of the kept picture.
    pub width: u32,
    pub height: u32,
    pub notes: Vec<String>,
}

/// Decodes PNG, JPEG or WebP (its header is checked before any pixel) and imports it.
pub fn import_encoded(bytes: &[u8], sidecar: Option<&Sidecar>) -> Result<(Avatar, ImportReport), AvatarError> {
    let picture = decode(bytes)?;
    Avatar::import(picture.width(), picture.height(), picture.into_raw(), sidecar)
}

/// Decodes a picture from outside, straight alpha; its header is checked before any pixel.
///
/// # Errors
/// If it is no PNG, JPEG or WebP, or too large.
pub fn decode(bytes: &[u8]) -> Result<image::RgbaImage, AvatarError> {
    let reader = || {
        image::ImageReader::new(std::io::Cursor::new(bytes))
            .with_guessed_format()
            .map_err(|e| AvatarError::Decode(e.to_string()))
    };
    let (width, height) = reader()?.into_dimensions().map_err(|e| AvatarError::Decode(e.to_string()))?;
    figure::check_size(width, height)?;
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(1 << 30);
    let mut decoder = reader()?;
    decoder.limits(limits);
    Ok(decoder.decode().map_err(|e| AvatarError::Decode(e.to_string()))?.into_rgba8())
}

impl Avatar {
    /// `rgba` is straight alpha, width * height * 4 bytes, rows from the top.
    pub fn import(
        width: u32,
        height: u32,
        rgba: Vec<u8>,
        sidecar: Option<&Sidecar>,
    ) -> Result<(Avatar, ImportReport), AvatarError> {
        figure::check_size(width, height)?;
        let given = sidecar.map(|s| s.resolve(width, height)).transpose()?;
        let figure = figure::find(width, height, rgba)?;
        let map = |p: Vec2| (p - Vec2::from(figure.origin)) * figure.scale;
        let mut notes = Vec::new();
        let (keypoints, keypoints_from, confidence, inferred): ([Vec2; KEYPOINT_COUNT], _, _, _) = match given {
            Some(g) => {
                if g.swapped {
                    notes.push("left and right were exchanged: the character's left belongs at the picture's right".into());
                }
                (g.points.map(map), "sidecar", 1.0, g.inferred)
            }
            None => {
                let found = silhouette::find(&figure.image)?;
                (found.points, "silhouette", found.confidence, Vec::new())
            }
        };
        let ground = lowest_row(&figure.image)
            .max(keypoints[keypoint("left_ankle")].y)
            .max(keypoints[keypoint("right_ankle")].y);
        let mut rig = Rig::new(&keypoints, ground);
        let hints = sidecar.map_or_else(segment::Hints::default, |s| {
            // The sidecar may have been made for another size of the same picture.
            let own = Vec2::new(width as f32 / s.width as f32, height as f32 / s.height as f32);
            let place = |p: [f32; 2]| map(Vec2::from(p) * own);
            let loose = s.loose.iter().map(|l| segment::Loose {
                anchor: place(l.anchor),
                polygon: l.polygon.iter().map(|&p| place(p)).collect(),
            });
            segment::Hints { skirt: s.skirt, loose: loose.collect() }
        });
        for loose in &hints.loose {
            rig.hair[(loose.anchor.x < rig.head_top.x) as usize] = loose.anchor;
        }
        let seg = segment::segment(&figure.image, &rig, hints);
        rig.hem = seg.hem;
        let mesh = mesh::build(&seg, &rig);
        if mesh.indices.is_empty() {
            return Err(AvatarError::NoFigure("the keypoints do not lie on the figure".into()));
        }
        let report = ImportReport {
            keypoints_from,
            confidence,
            inferred,
            alpha_given: figure.alpha_given,
            skirt: rig.hem.is_some(),
            triangles: mesh.indices.len() / 3,
            vertices: mesh.vertices.len(),
            width: figure.image.width,
            height: figure.image.height,
            notes,
        };
        let avatar = Avatar {
            name: sidecar.and_then(|s| s.name.clone()).unwrap_or_default(),
            reference: figure.image,
            keypoints,
            atlas: mesh.atlas,
            vertices: mesh.vertices,
            indices: mesh.indices,
            layers: mesh.layers,
            rig,
        };
        Ok((avatar, report))
    }
}

fn lowest_row(image: &super::Image) -> f32 {
    let w = image.width as usize * 4;
    let row = image.rgba.chunks_exact(w).rposition(|r| r.chunks_exact(4).any(|p| p[3] > 127));
    row.map_or(image.height as f32, |y| y as f32 + 1.0)
}
