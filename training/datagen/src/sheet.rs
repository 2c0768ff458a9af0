//! Contact sheets: reference, then true and puppet frames of some samples, over grey, for the eye.

use std::path::Path;

use anyhow::{Context, Result};

use crate::shard::Record;

const GROUND: u32 = 190;

/// One row a sample: its reference, then for each frame the truth over the puppet.
pub fn write(path: &Path, records: &[&Record], size: usize, frames: usize) -> Result<()> {
    let (w, h) = ((1 + frames) * size, records.len() * size * 2);
    let mut sheet = image::RgbImage::new(w as u32, h as u32);
    let mut paste = |x0: usize, y0: usize, rgba: &[u8], marks: &[f32], stride: usize| {
        for (i, p) in rgba.chunks_exact(4).enumerate() {
            let under = GROUND * (255 - u32::from(p[3])) / 255;
            let px = [0, 1, 2].map(|c| (u32::from(p[c]) + under).min(255) as u8);
            sheet.put_pixel((x0 + i % size) as u32, (y0 + i / size) as u32, image::Rgb(px));
        }
        for m in marks.chunks_exact(stride) {
            if m[0] >= 0.0 && m[1] >= 0.0 && m[0] < size as f32 && m[1] < size as f32 {
                sheet.put_pixel((x0 as f32 + m[0]) as u32, (y0 as f32 + m[1]) as u32, image::Rgb([255, 0, 0]));
            }
        }
    };
    for (row, r) in records.iter().enumerate() {
        let y = row * size * 2;
        paste(0, y, &r.reference, &r.reference_keypoints, 2);
        for f in 0..frames {
            let n = size * size * 4;
            let x = (1 + f) * size;
            paste(x, y, &r.sample.truth[f * n..][..n], &r.sample.true_keypoints[f * 48..][..48], 2);
            paste(x, y + size, &r.sample.puppet[f * n..][..n], &r.sample.keypoints[f * 72..][..72], 3);
        }
    }
    sheet.save(path).with_context(|| format!("cannot write {}", path.display()))
}
