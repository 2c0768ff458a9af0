//! Pictures of an avatar: what the denoiser refers to, a thumbnail, and what an import found.

use glam::Vec2;
use image::ImageEncoder;

use super::{Avatar, AvatarError, Image};

/// Samples a side taken for every pixel when a picture is made smaller.
const SUB: usize = 3;
/// Keypoints joined in the preview, by name.
const LIMBS: [(&str, &str); 16] = [
    ("neck", "nose"),
    ("neck", "left_shoulder"),
    ("neck", "right_shoulder"),
    ("left_shoulder", "left_elbow"),
    ("left_elbow", "left_wrist"),
    ("right_shoulder", "right_elbow"),
    ("right_elbow", "right_wrist"),
    ("neck", "pelvis"),
    ("pelvis", "left_hip"),
    ("pelvis", "right_hip"),
    ("left_hip", "left_knee"),
    ("left_knee", "left_ankle"),
    ("right_hip", "right_knee"),
    ("right_knee", "right_ankle"),
    ("left_ankle", "left_toe"),
    ("right_ankle", "right_toe"),
];

impl Avatar {
    /// The reference picture fitted into a square, its longer side filling it, centred: size * size * 4 bytes,
    /// premultiplied, box filtered; and what takes a pixel of the reference there: `p * scale + origin`.
    pub fn fitted(&self, size: usize) -> (Vec<u8>, f32, Vec2) {
        let (w, h) = (self.reference.width as f32, self.reference.height as f32);
        let scale = size as f32 / w.max(h);
        let origin = (Vec2::splat(size as f32) - Vec2::new(w, h) * scale) * 0.5;
        let mut out = vec![0u8; size * size * 4];
        for (i, pixel) in out.chunks_exact_mut(4).enumerate() {
            let corner = Vec2::new((i % size) as f32, (i / size) as f32);
            let mut sum = [0u32; 4];
            for s in 0..SUB * SUB {
                let within = (Vec2::new((s % SUB) as f32, (s / SUB) as f32) + 0.5) / SUB as f32;
                let p = (corner + within - origin) / scale;
                if p.x >= 0.0 && p.y >= 0.0 && p.x < w && p.y < h {
                    let at = (p.y as usize * w as usize + p.x as usize) * 4;
                    for (total, &v) in sum.iter_mut().zip(&self.reference.rgba[at..at + 4]) {
                        *total += u32::from(v);
                    }
                }
            }
            for (to, total) in pixel.iter_mut().zip(sum) {
                *to = ((total + (SUB * SUB / 2) as u32) / (SUB * SUB) as u32) as u8;
            }
        }
        (out, scale, origin)
    }

    /// What the denoiser refers to: size * size * 4 floats, premultiplied RGBA, 0 to 1.
    pub fn reference_square(&self, size: usize) -> Vec<f32> {
        self.fitted(size).0.iter().map(|&v| f32::from(v) / 255.0).collect()
    }

    /// [`Avatar::reference`] as a PNG with alpha.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn reference_png(&self) -> Result<Vec<u8>, AvatarError> {
        png(&self.reference)
    }

    /// The avatar as it stands, a square PNG with alpha.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn thumbnail_png(&self, size: usize) -> Result<Vec<u8>, AvatarError> {
        let mut picture = Image::new(size as u32, size as u32);
        picture.rgba = self.fitted(size).0;
        png(&picture)
    }

    /// What an import found: the figure with its keypoints and limbs drawn over it, eyes and mouth in boxes, 1024 pixels a side.
    ///
    /// # Errors
    /// If it cannot be encoded.
    pub fn preview_png(&self) -> Result<Vec<u8>, AvatarError> {
        const SIZE: usize = 1024;
        let (rgba, scale, origin) = self.fitted(SIZE);
        let mut picture = Image::new(SIZE as u32, SIZE as u32);
        picture.rgba = rgba;
        for pixel in picture.rgba.chunks_exact_mut(4) {
            // Over a light ground, so that dark outlines are seen.
            let clear = 255 - u32::from(pixel[3]);
            for c in &mut pixel[..3] {
                *c = (u32::from(*c) + 236 * clear / 255).min(255) as u8;
            }
            pixel[3] = 255;
        }
        let skeleton = &crate::skeleton::SKELETON;
        let at = |name: &str| skeleton.keypoint_named(name).map(|k| self.keypoints[k] * scale + origin);
        for (a, b) in LIMBS {
            if let (Some(a), Some(b)) = (at(a), at(b)) {
                let steps = a.distance(b).ceil() as usize * 2 + 1;
                for s in 0..=steps {
                    dot(&mut picture, a.lerp(b, s as f32 / steps as f32), 2.0, [40, 120, 255]);
                }
            }
        }
        for k in self.keypoints {
            dot(&mut picture, k * scale + origin, 6.0, [255, 50, 90]);
        }
        for spot in self.face.parts().iter().filter_map(|(_, part)| *part) {
            let (low, high) = (spot.low() * scale + origin, spot.high() * scale + origin);
            for i in 0..=400 {
                let k = i as f32 / 400.0;
                for (x, y) in [(k, 0.0), (k, 1.0), (0.0, k), (1.0, k)] {
                    dot(&mut picture, low + (high - low) * Vec2::new(x, y), 1.5, [0, 190, 110]);
                }
            }
        }
        png(&picture)
    }
}

fn dot(picture: &mut Image, centre: Vec2, radius: f32, colour: [u8; 3]) {
    let (w, h) = (picture.width as i32, picture.height as i32);
    let reach = radius.ceil() as i32;
    for y in centre.y as i32 - reach..=centre.y as i32 + reach {
        for x in centre.x as i32 - reach..=centre.x as i32 + reach {
            if (0..w).contains(&x) && (0..h).contains(&y) && Vec2::new(x as f32, y as f32).distance(centre) <= radius {
                let at = ((y * w + x) * 4) as usize;
                picture.rgba[at..at + 3].copy_from_slice(&colour);
            }
        }
    }
}

/// Premultiplied pixels as a PNG, which holds straight alpha.
fn png(picture: &Image) -> Result<Vec<u8>, AvatarError> {
    let mut straight = picture.rgba.clone();
    for pixel in straight.chunks_exact_mut(4) {
        let a = u32::from(pixel[3]);
        for c in &mut pixel[..3] {
            *c = (u32::from(*c) * 255 + a / 2).checked_div(a).unwrap_or(0).min(255) as u8;
        }
    }
    let mut out = Vec::new();
    image::codecs::png::PngEncoder::new(&mut out)
        .write_image(&straight, picture.width, picture.height, image::ExtendedColorType::Rgba8)
        .map_err(|e| AvatarError::File(e.to_string()))?;
    Ok(out)
}
