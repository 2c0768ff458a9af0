//! RGBA to I420: over a plain colour or a picture, or packed as colour above matte. Knows pixels, no codec.

use multiversion::multiversion;
use yuv::{BufferStoreMut, YuvConversionMode, YuvPlanarImageMut, YuvRange, YuvStandardMatrix};

use super::MediaError;

/// The matrix a codec's receivers expect: browsers read H.264 as signalled, and VP8 always as BT.601.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ColourMatrix {
    Bt601,
    Bt709,
}

impl ColourMatrix {
    fn standard(self) -> YuvStandardMatrix {
        match self {
            ColourMatrix::Bt601 => YuvStandardMatrix::Bt601,
            ColourMatrix::Bt709 => YuvStandardMatrix::Bt709,
        }
    }
}

/// What becomes of the alpha channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ground<'a> {
    /// Composited over this sRGB colour.
    Colour([u8; 3]),
    /// Composited over an opaque picture of the same size; over black if it has another.
    Picture(&'a [u8]),
    /// Premultiplied colour in the upper half, the matte as grey in the lower: twice the height.
    Packed,
}

/// A limited-range I420 picture; `y` is `width * height`, `u` and `v` a quarter of that.
#[derive(Clone, Debug, Default)]
pub struct I420 {
    pub width: usize,
    pub height: usize,
    pub y: Vec<u8>,
    pub u: Vec<u8>,
    pub v: Vec<u8>,
}

/// Converts pictures, keeping its buffers from one to the next.
#[derive(Debug, Default)]
pub struct Converter {
    opaque: Vec<u8>,
    out: I420,
}

/// Whether both sides are even and within what the encoders take.
fn check(rgba: &[u8], width: u32, height: u32) -> Result<(), MediaError> {
    let side = |n: u32| n.is_multiple_of(2) && (16..=2160).contains(&n);
    if side(width) && side(height) && rgba.len() == width as usize * height as usize * 4 {
        Ok(())
    } else {
        Err(MediaError::Size { width, height, bytes: rgba.len() })
    }
}

/// Composites premultiplied `rgba` over `colour`.
#[multiversion(targets("x86_64+avx2"))]
fn flatten(rgba: &[u8], colour: [u8; 3], out: &mut Vec<u8>) {
    out.resize(rgba.len(), 0);
    for (to, from) in out.as_chunks_mut::<4>().0.iter_mut().zip(rgba.as_chunks::<4>().0) {
        let through = 255 - u32::from(from[3]);
        for c in 0..3 {
            // x / 255 rounded, exact for every product of two bytes.
            let t = through * u32::from(colour[c]) + 128;
            to[c] = (u32::from(from[c]) + ((t + (t >> 8)) >> 8)).min(255) as u8;
        }
        to[3] = 255;
    }
}

/// Composites premultiplied `rgba` over an opaque picture of the same size.
#[multiversion(targets("x86_64+avx2"))]
fn flatten_over(rgba: &[u8], ground: &[u8], out: &mut Vec<u8>) {
    out.resize(rgba.len(), 0);
    let pairs = rgba.as_chunks::<4>().0.iter().zip(ground.as_chunks::<4>().0);
    for (to, (from, below)) in out.as_chunks_mut::<4>().0.iter_mut().zip(pairs) {
        let through = 255 - u32::from(from[3]);
        for c in 0..3 {
            let t = through * u32::from(below[c]) + 128;
            to[c] = (u32::from(from[c]) + ((t + (t >> 8)) >> 8)).min(255) as u8;
        }
        to[3] = 255;
    }
}

/// A premultiplied picture at half its width and height, each pixel the mean of four; both sides must be even.
#[multiversion(targets("x86_64+avx2"))]
pub fn halve(rgba: &[u8], width: u32, height: u32, out: &mut Vec<u8>) {
    let pixels = rgba.as_chunks::<4>().0;
    let (w, rows) = (width as usize, height as usize / 2);
    out.resize(w / 2 * rows * 4, 0);
    for (y, line) in out.as_chunks_mut::<4>().0.chunks_exact_mut(w / 2).enumerate() {
        let (above, below) = (&pixels[2 * y * w..][..w], &pixels[(2 * y + 1) * w..][..w]);
        for ((to, a), b) in line.iter_mut().zip(above.as_chunks::<2>().0).zip(below.as_chunks::<2>().0) {
            for c in 0..4 {
                let sum = u32::from(a[0][c]) + u32::from(a[1][c]) + u32::from(b[0][c]) + u32::from(b[1][c]);
                to[c] = ((sum + 2) / 4) as u8;
            }
        }
    }
}

impl Converter {
    /// `rgba`: premultiplied, `width * height * 4` bytes, both sides even. The result stays until the next call.
    ///
    /// # Errors
    /// If the size is not what encoders take.
    pub fn convert(&mut self, rgba: &[u8], width: u32, height: u32, ground: Ground<'_>, matrix: ColourMatrix) -> Result<&I420, MediaError> {
        check(rgba, width, height)?;
        let (w, h) = (width as usize, height as usize);
        let rows = if ground == Ground::Packed { 2 * h } else { h };
        let out = &mut self.out;
        (out.width, out.height) = (w, rows);
        out.y.resize(w * rows, 0);
        out.u.resize(w * rows / 4, 0);
        out.v.resize(w * rows / 4, 0);
        // Colour that is premultiplied is colour over black already.
        match ground {
            Ground::Colour(colour) => flatten(rgba, colour, &mut self.opaque),
            Ground::Picture(below) if below.len() == rgba.len() => flatten_over(rgba, below, &mut self.opaque),
            Ground::Picture(_) | Ground::Packed => flatten(rgba, [0; 3], &mut self.opaque),
        }
        let mut planes = YuvPlanarImageMut {
            y_plane: BufferStoreMut::Borrowed(&mut out.y[..w * h]),
            y_stride: width,
            u_plane: BufferStoreMut::Borrowed(&mut out.u[..w * h / 4]),
            u_stride: width / 2,
            v_plane: BufferStoreMut::Borrowed(&mut out.v[..w * h / 4]),
            v_stride: width / 2,
            width,
            height,
        };
        yuv::rgba_to_yuv420(&mut planes, &self.opaque, width * 4, YuvRange::Limited, matrix.standard(), YuvConversionMode::Balanced)
            .map_err(|e| MediaError::Colour(e.to_string()))?;
        if ground == Ground::Packed {
            for (y, pixel) in out.y[w * h..].iter_mut().zip(rgba.as_chunks::<4>().0) {
                // Limited range: 16 is clear, 235 is solid.
                *y = (16 + (u32::from(pixel[3]) * 219 + 127) / 255) as u8;
            }
            out.u[w * h / 4..].fill(128);
            out.v[w * h / 4..].fill(128);
        }
        Ok(&self.out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_pixels_take_the_ground_and_solid_ones_keep_their_colour() {
        let mut rgba = vec![0; 16 * 16 * 4];
        rgba[..16 * 8 * 4].as_chunks_mut::<4>().0.fill([255, 255, 255, 255]);
        let mut converter = Converter::default();
        let out = converter.convert(&rgba, 16, 16, Ground::Colour([0, 0, 0]), ColourMatrix::Bt709).unwrap();
        assert_eq!((out.y[0], out.y[16 * 15], out.u[0], out.v[63]), (235, 16, 128, 128));
        let out = converter.convert(&rgba, 16, 16, Ground::Colour([255, 255, 255]), ColourMatrix::Bt601).unwrap();
        assert!(out.y.iter().all(|&y| y == 235));
    }

    #[test]
    fn a_halved_picture_has_the_mean_of_every_four_pixels() {
        let rgba: Vec<u8> = (0..8 * 4).flat_map(|i| if i % 8 < 2 && i < 16 { [200, 100, 0, 255] } else { [i as u8, 0, 0, 0] }).collect();
        let mut out = Vec::new();
        halve(&rgba, 8, 4, &mut out);
        assert_eq!(out.len(), 4 * 2 * 4);
        assert_eq!(out[..8], [200, 100, 0, 255, (2 + 3 + 10 + 11 + 2) / 4, 0, 0, 0]);
    }

    #[test]
    fn packed_puts_the_matte_below() {
        let mut rgba = vec![0; 16 * 16 * 4];
        rgba.as_chunks_mut::<4>().0[17] = [100, 50, 25, 128];
        let mut converter = Converter::default();
        let out = converter.convert(&rgba, 16, 16, Ground::Packed, ColourMatrix::Bt709).unwrap();
        assert_eq!((out.width, out.height, out.y.len(), out.u.len()), (16, 32, 512, 128));
        assert_eq!(out.y[256], 16);
        assert!(out.y[256 + 17].abs_diff(126) <= 1);
    }

    #[test]
    fn odd_sizes_and_short_buffers_are_refused() {
        let mut converter = Converter::default();
        for (w, h, bytes) in [(15, 16, 960), (16, 16, 1000), (0, 0, 0), (4096, 16, 4096 * 64)] {
            assert!(converter.convert(&vec![0; bytes], w, h, Ground::Packed, ColourMatrix::Bt601).is_err());
        }
    }

    #[test]
    fn over_a_picture_of_one_colour_is_over_that_colour() {
        let rgba: Vec<u8> = (0..16 * 16).flat_map(|i: u32| [i / 3, i / 2, i / 4, i].map(|v| v.min(255) as u8)).collect();
        let picture: Vec<u8> = [40, 90, 200, 255].repeat(16 * 16);
        let (mut a, mut b) = (Converter::default(), Converter::default());
        let over = a.convert(&rgba, 16, 16, Ground::Picture(&picture), ColourMatrix::Bt709).unwrap();
        let plain = b.convert(&rgba, 16, 16, Ground::Colour([40, 90, 200]), ColourMatrix::Bt709).unwrap();
        assert_eq!((&over.y, &over.u, &over.v), (&plain.y, &plain.u, &plain.v));
    }

    #[test]
    fn flattening_is_exact_at_the_ends() {
        let mut out = Vec::new();
        flatten(&[0, 0, 0, 0, 10, 20, 30, 255], [1, 128, 255], &mut out);
        assert_eq!(out, [1, 128, 255, 255, 10, 20, 30, 255]);
    }
}
