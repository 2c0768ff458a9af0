//! Frames to I420 for the encoders, limited range, with or without a matte below the colour.
//!
//! CPU twin of `pack.wgsl`. Integer arithmetic, no allocation.

/// Which colour matrix the viewer will assume: BT.709 for H.264, BT.601 for VP8.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    Bt601,
    Bt709,
}

impl Matrix {
    /// Rows from RGB (0 to 1) to code values of Y, U, V, and the offset.
    pub fn rows(self) -> [[f32; 4]; 3] {
        let (kr, kb) = match self {
            Matrix::Bt601 => (0.299, 0.114),
            Matrix::Bt709 => (0.2126, 0.0722),
        };
        let kg = 1.0 - kr - kb;
        let (u, v) = (112.0 / (1.0 - kb), 112.0 / (1.0 - kr));
        [
            [219.0 * kr, 219.0 * kg, 219.0 * kb, 16.0],
            [-u * kr, -u * kg, u * (1.0 - kb), 128.0],
            [v * (1.0 - kr), -v * kg, -v * kb, 128.0],
        ]
    }

    /// The same in 1/65536 for 8-bit input, rounding included in the offset.
    fn fixed(self) -> [[i32; 4]; 3] {
        self.rows().map(|r| {
            let k = |v: f32| (v * 65536.0 / 255.0).round() as i32;
            [k(r[0]), k(r[1]), k(r[2]), (r[3] * 65536.0) as i32 + 32768]
        })
    }
}

/// Bytes of an I420 picture of this size.
pub fn i420_len(width: usize, height: usize) -> usize {
    width * height * 3 / 2
}

/// `rgba` (premultiplied, height * width * 4) to `out`. With `matte` the picture is twice as high: colour above,
/// alpha as grey below. Width and height are even.
pub fn pack_i420(rgba: &[u8], width: usize, height: usize, matrix: Matrix, matte: bool, out: &mut [u8]) {
    assert!(width.is_multiple_of(2) && height.is_multiple_of(2), "I420 needs an even size");
    assert_eq!(rgba.len(), width * height * 4);
    let rows = if matte { 2 * height } else { height };
    assert_eq!(out.len(), i420_len(width, rows));
    let [ky, ku, kv] = matrix.fixed();
    let pixels: &[[u8; 4]] = bytemuck::cast_slice(rgba);
    let (luma, chroma) = out.split_at_mut(width * rows);
    let (us, vs) = chroma.split_at_mut(width * rows / 4);
    for (o, p) in luma.iter_mut().zip(pixels) {
        *o = ((ky[0] * p[0] as i32 + ky[1] * p[1] as i32 + ky[2] * p[2] as i32 + ky[3]) >> 16) as u8;
    }
    let half = width / 2;
    for y in 0..height / 2 {
        let top = &pixels[2 * y * width..(2 * y + 1) * width];
        let low = &pixels[(2 * y + 1) * width..(2 * y + 2) * width];
        let (u_row, v_row) = (&mut us[y * half..(y + 1) * half], &mut vs[y * half..(y + 1) * half]);
        for (((t, l), u), v) in top.chunks_exact(2).zip(low.chunks_exact(2)).zip(u_row).zip(v_row) {
            let sum = |c: usize| t[0][c] as i32 + t[1][c] as i32 + l[0][c] as i32 + l[1][c] as i32;
            let (r, g, b) = (sum(0), sum(1), sum(2));
            *u = (((ku[0] * r + ku[1] * g + ku[2] * b) / 4 + ku[3]) >> 16).clamp(0, 255) as u8;
            *v = (((kv[0] * r + kv[1] * g + kv[2] * b) / 4 + kv[3]) >> 16).clamp(0, 255) as u8;
        }
    }
    if matte {
        for (o, p) in luma[width * height..].iter_mut().zip(pixels) {
            *o = ((219 * 257 * p[3] as i32 + (16 << 16) + 32768) >> 16) as u8;
        }
        us[half * height / 2..].fill(128);
        vs[half * height / 2..].fill(128);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_black_and_red_have_their_standard_codes() {
        for (matrix, red) in [(Matrix::Bt601, [81, 90, 240]), (Matrix::Bt709, [63, 102, 240])] {
            for (colour, want) in [([255, 255, 255], [235, 128, 128]), ([0, 0, 0], [16, 128, 128]), ([255, 0, 0], red)] {
                let rgba: Vec<u8> = (0..16).flat_map(|_| [colour[0], colour[1], colour[2], 255]).collect();
                let mut out = vec![0; i420_len(4, 8)];
                pack_i420(&rgba, 4, 4, matrix, true, &mut out);
                assert_eq!([out[0], out[32], out[40]], want, "{matrix:?} {colour:?}");
                assert_eq!([out[16], out[36], out[44]], [235, 128, 128], "an opaque pixel's matte is white");
            }
        }
    }
}
