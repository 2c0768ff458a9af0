//! What lies behind the figures, on the CPU: a colour, a picture or the lit stage, darkened where feet stand, and on the
//! stage mirrored by the floor. Twin of `ground.wgsl`.
//!
//! Where light falls and feet stand it is told; it only paints. No allocation.

use std::ops::Range;
use std::sync::Arc;

use multiversion::multiversion;
use odori_kernels::cpu::{Bands, Pool};

use super::cpu::{on_all, rows_a_band};
use super::whole::below;
use super::{Size, View};
use crate::avatar::{self, AvatarError, Image};

/// What lies behind the figures.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Background {
    /// Nothing.
    #[default]
    Clear,
    Colour([u8; 3]),
    /// Opaque, of the frame's own size; another size counts as black.
    Picture(Arc<Image>),
    /// The engine's own stage, which breathes with the music.
    Stage,
}

impl Background {
    /// A picture from outside (PNG, JPEG or WebP, as large as an avatar's may be), cut to the shape of a frame; where
    /// it is transparent it is black.
    ///
    /// # Errors
    /// If it cannot be read or is too large.
    pub fn from_encoded(bytes: &[u8], (width, height): (u32, u32)) -> Result<Background, AvatarError> {
        let mut picture = avatar::decode(bytes)?;
        for pixel in picture.pixels_mut() {
            let alpha = u32::from(pixel[3]);
            pixel.0 = [0, 1, 2, 3].map(|c| if c == 3 { 255 } else { (u32::from(pixel[c]) * alpha / 255) as u8 });
        }
        let (w, h) = picture.dimensions();
        // Whichever of its sides is too long for that shape is cut.
        let fit = |side: u32, other: u32, of: u32| (u64::from(other) * u64::from(side) / u64::from(of)).max(1) as u32;
        let (kept_w, kept_h) = (w.min(fit(width, h, height)), h.min(fit(height, w, width)));
        let kept = image::imageops::crop_imm(&picture, (w - kept_w) / 2, (h - kept_h) / 2, kept_w, kept_h).to_image();
        let fitted = image::imageops::resize(&kept, width, height, image::imageops::FilterType::CatmullRom);
        Ok(Background::Picture(Arc::new(Image { width, height, rgba: fitted.into_raw() })))
    }
}

/// Side of the grid that light is worked out on: it has no edges finer than that.
pub const LIGHT: usize = 64;

/// The stage's light: a cell is red, green and blue in code values (0 to 255) and one more that is not used; rows from the
/// top of the whole stage.
#[derive(Clone, Debug)]
pub struct Light {
    pub cells: Vec<[f32; 4]>,
}

impl Default for Light {
    fn default() -> Self {
        Light { cells: vec![[0.0; 4]; LIGHT * LIGHT] }
    }
}

/// A soft dark ellipse, pixels of the frame. Same layout as the WGSL struct (checked by a test): 32 bytes.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
pub struct Shadow {
    pub centre: [f32; 2],
    pub radii: [f32; 2],
    /// What it takes of the light in the middle, 0 to 1.
    pub strength: f32,
    pub pad: [f32; 3],
}

/// Shadows that a frame may have.
pub const MOST_SHADOWS: usize = 15;

/// What is to be painted behind one frame.
pub struct Ground<'a> {
    pub background: &'a Background,
    pub light: &'a Light,
    /// At most [`MOST_SHADOWS`]; more are left out.
    pub shadows: &'a [Shadow],
    /// For every column of the frame the row on which who stands there stands.
    pub floors: &'a [f32],
    /// Where the whole stage lies in the frame.
    pub view: View,
}

/// How much of a figure the stage's floor shows at the feet, and pixels of the frame's height below them that it shows at all.
pub const GLOSS: f32 = 0.30;
pub const MIRROR_SHARE: f32 = 0.17;

impl Ground<'_> {
    pub(super) fn shadows(&self) -> &[Shadow] {
        &self.shadows[..self.shadows.len().min(MOST_SHADOWS)]
    }

    /// Rows below the feet that the floor mirrors.
    pub(super) fn mirror(&self, full: Size) -> f32 {
        MIRROR_SHARE * full.height as f32 * self.view.scale
    }
}

/// Pixels after which the dither repeats.
const DITHER: usize = 8;

/// Ordered dither, 0 to 63/64: light that changes slowly would show steps.
fn dither(x: usize, y: usize) -> f32 {
    let q = x ^ y;
    (0..3).fold(0, |v, bit| v | ((q >> bit) & 1) << (5 - 2 * bit) | ((y >> bit) & 1) << (4 - 2 * bit)) as f32 / 64.0
}

/// Paints into `out`, full.height * full.width * 4 bytes; `frame` are the figures, as large.
pub fn paint(ground: &Ground<'_>, frame: &[u8], full: Size, pool: Option<&Pool>, out: &mut [u8]) {
    let deep = rows_a_band(pool, full.height);
    let out: Bands<'_, [u8; 4]> = Bands::new(bytemuck::cast_slice_mut(out), deep * full.width);
    on_all(pool, out.count(), &|n| {
        let pixels = out.take(n);
        let rows = n * deep..n * deep + pixels.len() / full.width;
        paint_rows(ground, bytemuck::cast_slice(frame), full, rows, pixels);
    });
}

/// Some of its rows; `pixels` are these alone.
fn paint_rows(ground: &Ground<'_>, frame: &[[u8; 4]], full: Size, rows: Range<usize>, pixels: &mut [[u8; 4]]) {
    match ground.background {
        Background::Clear => pixels.fill([0, 0, 0, 255]),
        Background::Colour([r, g, b]) => pixels.fill([*r, *g, *b, 255]),
        Background::Picture(p) if p.rgba.len() == full.pixels() * 4 => {
            let from: &[[u8; 4]] = bytemuck::cast_slice(&p.rgba);
            pixels.iter_mut().zip(&from[rows.start * full.width..]).for_each(|(o, p)| *o = [p[0], p[1], p[2], 255]);
        }
        Background::Picture(_) => pixels.fill([0, 0, 0, 255]),
        Background::Stage => lit(ground, full, rows.start, pixels),
    }
    ground.shadows().iter().for_each(|s| darken(s, full, &rows, pixels));
    if *ground.background == Background::Stage && ground.floors.len() == full.width {
        mirror(ground, frame, full, rows, pixels);
    }
}

/// Where output pixel `i` lies between the cells of the light.
#[inline(always)]
fn cell(i: usize, origin: f32, span: f32) -> (usize, f32) {
    let p = ((i as i32 as f32 + 0.5 - origin) * (LIGHT as f32 / span) - 0.5).clamp(0.0, (LIGHT - 1) as f32);
    let at = below(p).min(LIGHT - 2);
    (at, p - at as f32)
}

#[multiversion(targets("x86_64+avx2"))]
fn lit(ground: &Ground<'_>, full: Size, top: usize, pixels: &mut [[u8; 4]]) {
    let View { origin, scale } = ground.view;
    let (across, down) = (full.width as f32 * scale, full.height as f32 * scale);
    let mut row = [[0.0f32; 4]; LIGHT];
    for (y, line) in (top..).zip(pixels.chunks_exact_mut(full.width)) {
        let (at, k) = cell(y, origin.y, down);
        let (top, bottom) = ground.light.cells[at * LIGHT..(at + 2) * LIGHT].split_at(LIGHT);
        for ((o, t), b) in row.iter_mut().zip(top).zip(bottom) {
            *o = std::array::from_fn(|c| t[c] + (b[c] - t[c]) * k);
        }
        let noise: [f32; 2 * DITHER] = std::array::from_fn(|x| dither(x, y));
        // Between two cells the light changes evenly.
        let (mut x, step) = (0, LIGHT as f32 / across);
        while x < full.width {
            let (at, _) = cell(x, origin.x, across);
            let next = if at == LIGHT - 2 { full.width } else { below((at as f32 + 1.5) / step + origin.x + 0.5) };
            let end = next.clamp(x + 1, x + DITHER).min(full.width);
            let first = (x as f32 + 0.5 - origin.x) * step - 0.5 - at as f32;
            between(row[at], row[at + 1], first, step, &noise[x % DITHER..], &mut line[x..end]);
            x = end;
        }
    }
}

/// The light from one cell to the next, at most [`DITHER`] pixels from share `k` on by `step`.
#[inline(always)]
fn between(l: [f32; 4], r: [f32; 4], k: f32, step: f32, noise: &[f32], out: &mut [[u8; 4]]) {
    for (i, (o, noise)) in out.iter_mut().zip(noise).enumerate() {
        let k = (k + i as i32 as f32 * step).clamp(0.0, 1.0);
        let code = |c: usize| below(l[c] + (r[c] - l[c]) * k + noise).min(255) as u8;
        *o = [code(0), code(1), code(2), 255];
    }
}

fn darken(shadow: &Shadow, full: Size, rows: &Range<usize>, pixels: &mut [[u8; 4]]) {
    let Shadow { centre: [cx, cy], radii: [rx, ry], strength, .. } = *shadow;
    if !(rx > 0.5 && ry > 0.5 && strength > 0.0) {
        return;
    }
    let range = |centre: f32, radius: f32, least: usize, most: usize| {
        let within = |v: f32| v.clamp(least as f32, most as f32) as usize;
        within((centre - radius).floor())..within((centre + radius).ceil())
    };
    for y in range(cy, ry, rows.start, rows.end) {
        let dy = (y as f32 + 0.5 - cy) / ry;
        for x in range(cx, rx, 0, full.width) {
            let dx = (x as f32 + 0.5 - cx) / rx;
            let near = (1.0 - dx * dx - dy * dy).max(0.0);
            let keep = (256.0 * (1.0 - strength * near * near)) as u32;
            let pixel = &mut pixels[(y - rows.start) * full.width + x];
            pixel[..3].iter_mut().for_each(|c| *c = ((u32::from(*c) * keep) >> 8) as u8);
        }
    }
}

/// The figures upside down below their feet, fading.
fn mirror(ground: &Ground<'_>, frame: &[[u8; 4]], full: Size, rows: Range<usize>, pixels: &mut [[u8; 4]]) {
    let depth = ground.mirror(full).max(1.0);
    let first = ground.floors.iter().copied().fold(f32::INFINITY, f32::min).max(0.0) as usize;
    for y in first.max(rows.start)..rows.end {
        let line = &mut pixels[(y - rows.start) * full.width..][..full.width];
        for ((x, o), floor) in line.iter_mut().enumerate().zip(ground.floors) {
            let below = y as f32 + 0.5 - floor;
            if below <= 0.0 || below >= depth {
                continue;
            }
            let from = floor - below;
            if from < 0.0 || from >= full.height as f32 {
                continue;
            }
            let seen = frame[from as usize * full.width + x];
            if seen[3] == 0 {
                continue;
            }
            let left = 1.0 - below / depth;
            let k = (256.0 * GLOSS * left * left) as u32;
            let keep = 256 * 255 - u32::from(seen[3]) * k;
            for c in 0..3 {
                o[c] = ((u32::from(o[c]) * keep / 255 + u32::from(seen[c]) * k) >> 8).min(255) as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use glam::Vec2;

    use super::*;

    fn painted(background: Background, shadows: &[Shadow], frame: &[u8], floors: &[f32]) -> Vec<u8> {
        let light = Light { cells: (0..LIGHT * LIGHT).map(|i| [(i % LIGHT) as f32, (i / LIGHT) as f32, 40.0, 0.0]).collect() };
        let mut out = vec![7; 64 * 64 * 4];
        let ground = Ground { background: &background, light: &light, shadows, floors, view: View::WHOLE };
        paint(&ground, frame, Size::square(64), None, &mut out);
        out
    }

    #[test]
    fn a_shadow_is_darkest_in_its_middle_and_leaves_the_rest_as_it_was() {
        let shadow = Shadow { centre: [32.0, 50.0], radii: [10.0, 4.0], strength: 0.5, ..Shadow::default() };
        let out = painted(Background::Colour([200, 100, 50]), &[shadow], &[0; 64 * 64 * 4], &[]);
        let at = |x: usize, y: usize| &out[(y * 64 + x) * 4..][..4];
        assert_eq!(at(5, 5), [200, 100, 50, 255]);
        assert!(at(32, 50)[0] < 110 && at(38, 50)[0] > at(32, 50)[0]);
    }

    #[test]
    fn a_picture_from_outside_fills_the_frame_and_a_broken_one_is_refused() {
        let mut wide = image::RgbaImage::from_pixel(40, 20, image::Rgba([10, 20, 30, 255]));
        wide.put_pixel(0, 0, image::Rgba([255, 0, 0, 255]));
        let mut file = std::io::Cursor::new(Vec::new());
        wide.write_to(&mut file, image::ImageFormat::Png).unwrap();
        let Background::Picture(picture) = Background::from_encoded(file.get_ref(), (64, 64)).unwrap() else { panic!("it is a picture") };
        assert_eq!((picture.width, picture.height), (64, 64));
        // What is cut away at the left is not seen.
        assert!(picture.rgba.as_chunks::<4>().0.iter().all(|p| *p == [10, 20, 30, 255]));
        assert!(Background::from_encoded(b"GIF89a", (64, 64)).is_err());
    }

    #[test]
    fn the_stage_mirrors_what_stands_on_it_and_nothing_above() {
        let mut frame = vec![0u8; 64 * 64 * 4];
        frame[(39 * 64 + 10) * 4..][..4].fill(255);
        let plain = painted(Background::Stage, &[], &[0; 64 * 64 * 4], &[40.0; 64]);
        let mirrored = painted(Background::Stage, &[], &frame, &[40.0; 64]);
        let changed: Vec<usize> = (0..64 * 64).filter(|i| plain[i * 4..][..4] != mirrored[i * 4..][..4]).collect();
        assert_eq!(changed, [40 * 64 + 10]);
        assert!(mirrored[(40 * 64 + 10) * 4] > plain[(40 * 64 + 10) * 4] + 30);
    }

    #[test]
    fn the_stage_is_seen_through_the_camera() {
        let near = View { origin: Vec2::new(-64.0, -64.0), scale: 3.0 };
        let light = Light { cells: (0..LIGHT * LIGHT).map(|i| [(i % LIGHT) as f32 * 4.0, 0.0, 0.0, 0.0]).collect() };
        let mut out = vec![0; 64 * 64 * 4];
        paint(&Ground { background: &Background::Stage, light: &light, shadows: &[], floors: &[], view: near }, &[0; 64 * 64 * 4], Size::square(64), None, &mut out);
        // The middle third of the stage fills the frame.
        assert!(out[0].abs_diff(85) <= 4 && out[63 * 4].abs_diff(169) <= 4, "{} {}", out[0], out[63 * 4]);
    }
}
