//! A contact sheet: for every shown clip a row with reference, truth and each method's last frame, over grey.

use image::{ImageEncoder, RgbImage};

use super::frames::Clip;
use super::measures::Picture;

/// Side of a picture on the sheet, pixels.
const CELL: usize = 256;
const GAP: usize = 2;
/// Most rows of a sheet.
const MOST_ROWS: usize = 40;
const GROUND: f32 = 0.62;

pub struct Sheet {
    columns: usize,
    rows: Vec<Vec<Picture>>,
}

impl Sheet {
    pub fn new(methods: &[&str]) -> Self {
        Sheet { columns: methods.len() + 2, rows: Vec::new() }
    }

    pub fn add(&mut self, clip: &Clip, pictures: &[Picture]) {
        let Some(last) = clip.frames.last() else { return };
        if self.rows.len() < MOST_ROWS {
            let row = [&clip.reference, &last.truth].into_iter().chain(pictures);
            self.rows.push(row.cloned().collect());
        }
    }

    /// # Errors
    /// If it cannot be encoded.
    pub fn png(&self) -> anyhow::Result<Vec<u8>> {
        let step = CELL + GAP;
        let mut sheet = RgbImage::new((self.columns * step) as u32, (self.rows.len().max(1) * step) as u32);
        for (r, row) in self.rows.iter().enumerate() {
            for (c, picture) in row.iter().take(self.columns).enumerate() {
                for y in 0..CELL {
                    for x in 0..CELL {
                        let at = ((y * picture.side / CELL) * picture.side + x * picture.side / CELL) * 4;
                        let p = &picture.rgba[at..at + 4];
                        let colour = [0, 1, 2].map(|i| ((p[i] + GROUND * (1.0 - p[3])).clamp(0.0, 1.0) * 255.0 + 0.5) as u8);
                        sheet.put_pixel((c * step + x) as u32, (r * step + y) as u32, image::Rgb(colour));
                    }
                }
            }
        }
        let mut out = Vec::new();
        image::codecs::png::PngEncoder::new(&mut out).write_image(&sheet, sheet.width(), sheet.height(), image::ExtendedColorType::Rgb8)?;
        Ok(out)
    }
}
