//! Part maps: which part of the body a pixel of a picture belongs to, as the rules find it or as a person paints it.
//!
//! A map travels as a PNG in the colours of [`PARTS`]; clear pixels belong to no part. It knows no meshes.

use std::io::Cursor;

use glam::Vec2;

use super::AvatarError;

/// What can be painted: name and colour. A map holds 1 + the index here.
pub const PARTS: [(&str, [u8; 3]); 7] = [
    ("torso", [122, 79, 224]),
    ("head", [242, 176, 30]),
    ("left_arm", [15, 143, 208]),
    ("right_arm", [224, 51, 90]),
    ("left_leg", [70, 199, 232]),
    ("right_leg", [255, 143, 107]),
    ("hair", [31, 167, 116]),
];
pub(crate) const HEAD: u8 = 2;
/// Hangs from the head and swings.
pub(crate) const HAIR: u8 = 7;

/// Largest PNG that is read, bytes.
pub const PART_MAP_MAX_BYTES: usize = 4 << 20;

/// A part for every pixel of a picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartMap {
    width: u32,
    height: u32,
    /// height * width: 0 for no part, else 1 + the index in [`PARTS`].
    parts: Vec<u8>,
}

fn bad(m: impl std::fmt::Display) -> AvatarError {
    AvatarError::Parts(m.to_string())
}

impl PartMap {
    /// `parts` as the field of that name.
    pub(crate) fn new(width: u32, height: u32, parts: Vec<u8>) -> PartMap {
        assert_eq!(parts.len(), width as usize * height as usize, "a part for every pixel");
        PartMap { width, height, parts }
    }

    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// height * width: 0 for no part, else 1 + the index in [`PARTS`].
    pub fn parts(&self) -> &[u8] {
        &self.parts
    }

    pub fn is_empty(&self) -> bool {
        self.parts.iter().all(|&p| p == 0)
    }

    /// Pixels of every part, in the order of [`PARTS`].
    pub fn counts(&self) -> [usize; PARTS.len()] {
        let mut counts = [0; PARTS.len()];
        self.parts.iter().filter(|&&p| p > 0).for_each(|&p| counts[p as usize - 1] += 1);
        counts
    }

    /// This map under what `paint`, of the same size, says.
    pub fn under(&self, paint: Option<&PartMap>) -> PartMap {
        let Some(paint) = paint else { return self.clone() };
        let over = |(&own, &painted): (&u8, &u8)| if painted > 0 && own > 0 { painted } else { own };
        PartMap { parts: self.parts.iter().zip(&paint.parts).map(over).collect(), ..*self }
    }

    /// The map of another picture, which shows at `p` what this one's does at `p * scale + origin`; no part beyond its edges.
    pub fn resampled(&self, width: u32, height: u32, scale: f32, origin: [f32; 2]) -> PartMap {
        let part = |i: u32| {
            let p = Vec2::new((i % width) as f32 + 0.5, (i / width) as f32 + 0.5) * scale + Vec2::from(origin);
            let inside = p.cmpge(Vec2::ZERO).all() && p.x < self.width as f32 && p.y < self.height as f32;
            if inside { self.parts[p.y as usize * self.width as usize + p.x as usize] } else { 0 }
        };
        PartMap { width, height, parts: (0..width * height).map(part).collect() }
    }

    /// # Errors
    /// If it cannot be encoded.
    pub fn to_png(&self) -> Result<Vec<u8>, AvatarError> {
        let colour = |&p: &u8| match p {
            0 => [0; 4],
            p => {
                let [r, g, b] = PARTS[p as usize - 1].1;
                [r, g, b, 255]
            }
        };
        let rgba: Vec<u8> = self.parts.iter().flat_map(colour).collect();
        let mut out = Vec::new();
        let picture = image::RgbaImage::from_raw(self.width, self.height, rgba).expect("the size agrees");
        picture.write_to(&mut Cursor::new(&mut out), image::ImageFormat::Png).map_err(bad)?;
        Ok(out)
    }

    /// Reads a PNG of at most this many pixels a side.
    ///
    /// # Errors
    /// If it is no PNG or too large, or has a colour that is no part's: says which, and where.
    pub fn from_png(bytes: &[u8], most: u32) -> Result<PartMap, AvatarError> {
        if bytes.len() > PART_MAP_MAX_BYTES {
            return Err(bad(format!("the map is {} MiB; at most {} are read", bytes.len() >> 20, PART_MAP_MAX_BYTES >> 20)));
        }
        let mut reader = image::ImageReader::with_format(Cursor::new(bytes), image::ImageFormat::Png);
        let mut limits = image::Limits::default();
        (limits.max_image_width, limits.max_image_height) = (Some(most), Some(most));
        limits.max_alloc = Some(512 << 20);
        reader.limits(limits);
        let picture = reader.decode().map_err(|e| bad(format!("the map cannot be read ({e}): a PNG of at most {most} pixels a side is needed")))?.into_rgba8();
        let part = |(i, p): (usize, &[u8])| {
            if p[3] == 0 {
                return Ok(0);
            }
            let known = PARTS.iter().position(|(_, colour)| p[3] == 255 && p[..3] == *colour);
            known.map(|k| k as u8 + 1).ok_or_else(|| {
                let (x, y) = (i % picture.width() as usize, i / picture.width() as usize);
                bad(format!("the pixel {x} across and {y} down is #{:02x}{:02x}{:02x}{:02x}, which is no part's colour: {}, or clear", p[0], p[1], p[2], p[3], legend()))
            })
        };
        let parts = picture.as_raw().chunks_exact(4).enumerate().map(part).collect::<Result<_, _>>()?;
        Ok(PartMap { width: picture.width(), height: picture.height(), parts })
    }
}

/// Every part with its colour, in words.
pub fn legend() -> String {
    let one = |(name, [r, g, b]): &(&str, [u8; 3])| format!("{} #{r:02x}{g:02x}{b:02x}", name.replace('_', " "));
    PARTS.iter().map(one).collect::<Vec<_>>().join(", ")
}
