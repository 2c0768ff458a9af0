//! Down to the working size and back up to the frame, on the CPU: twins of `downsample.wgsl` and `compose.wgsl`.
//!
//! Values are stored sRGB as 0 to 1, premultiplied; nothing is linearised. No allocation after the first frame.

use super::cpu::PuppetPicture;
use super::{Background, Size};

/// Channels of the working buffers: premultiplied RGBA, then validity or the detail mask.
pub const WORK_CHANNELS: usize = 5;

/// Box filter with exact coverage into `out`: work.height * work.width * 5.
pub fn downsample(picture: &PuppetPicture, work: Size, out: &mut [f32]) {
    let (fw, fh) = (picture.width, picture.height);
    let (sx, sy) = (fw as f32 / work.width as f32, fh as f32 / work.height as f32);
    assert_eq!(out.len(), work.pixels() * WORK_CHANNELS);
    let pixels: &[[u8; 4]] = bytemuck::cast_slice(&picture.rgba);
    let factor = fw / work.width;
    if fw == work.width * factor && fh == work.height * factor && factor <= 16 {
        return downsample_whole(picture, pixels, factor, work, out);
    }
    for (wy, row) in out.chunks_exact_mut(work.width * WORK_CHANNELS).enumerate() {
        let (from_y, to_y) = (wy as f32 * sy, (wy + 1) as f32 * sy);
        let rows = from_y as usize..(to_y.ceil() as usize).min(fh);
        for (wx, o) in row.chunks_exact_mut(WORK_CHANNELS).enumerate() {
            let (from_x, to_x) = (wx as f32 * sx, (wx + 1) as f32 * sx);
            let columns = from_x as usize..(to_x.ceil() as usize).min(fw);
            let (mut sum, mut total) = ([0.0f32; WORK_CHANNELS], 0.0);
            for y in rows.clone() {
                let ky = to_y.min((y + 1) as f32) - from_y.max(y as f32);
                for x in columns.clone() {
                    let k = ky * (to_x.min((x + 1) as f32) - from_x.max(x as f32));
                    let p = pixels[y * fw + x];
                    total += k;
                    for c in 0..4 {
                        sum[c] += k * p[c] as f32;
                    }
                    sum[4] += k * picture.validity[y * fw + x] as f32 * p[3] as f32 * (1.0 / 255.0);
                }
            }
            let k = 1.0 / (255.0 * total);
            for (o, s) in o.iter_mut().zip(sum) {
                *o = s * k;
            }
        }
    }
}

/// Whole pixels only (512 to 128), in integers.
fn downsample_whole(picture: &PuppetPicture, pixels: &[[u8; 4]], factor: usize, work: Size, out: &mut [f32]) {
    let fw = picture.width;
    let k = 1.0 / (255 * factor * factor) as f32;
    for (wy, row) in out.chunks_exact_mut(work.width * WORK_CHANNELS).enumerate() {
        for (wx, o) in row.chunks_exact_mut(WORK_CHANNELS).enumerate() {
            let (mut sum, mut valid) = ([0u32; 4], 0u32);
            for y in 0..factor {
                let at = (wy * factor + y) * fw + wx * factor;
                for (p, &v) in pixels[at..at + factor].iter().zip(&picture.validity[at..at + factor]) {
                    for c in 0..4 {
                        sum[c] += p[c] as u32;
                    }
                    valid += v as u32 * p[3] as u32;
                }
            }
            for c in 0..4 {
                o[c] = sum[c] as f32 * k;
            }
            o[4] = valid as f32 * (k / 255.0);
        }
    }
}

/// Nearest whole code value of a number in 0 to 255: the low bits of the sum with 2^23.
#[inline(always)]
fn code(v: f32) -> u8 {
    (v + 8_388_608.0).to_bits() as u8
}

/// One column of the vertically interpolated working row, in code values (0 to 255); the mask 0 to 1.
#[derive(Clone, Copy, Default)]
struct Column {
    denoised: [f32; 4],
    working: [f32; 4],
    mask: f32,
}

/// Keeps the vertically interpolated row and the taps of every column between frames.
#[derive(Default)]
pub struct Composer {
    row: Vec<Column>,
    /// Per output column: left tap, right tap, weight of the right one.
    taps: Vec<(u32, u32, f32)>,
    taps_for: (usize, usize),
}

fn tap(i: usize, full: usize, work: usize) -> (u32, u32, f32) {
    let p = ((i as f32 + 0.5) * (work as f32 / full as f32) - 0.5).clamp(0.0, (work - 1) as f32);
    let a = p as u32;
    (a, (a + 1).min(work as u32 - 1), p - a as f32)
}

impl Composer {
    /// `denoised` is work * 5 (premultiplied RGBA, mask), `working` what [`downsample`] gave; `out` takes
    /// picture.height * picture.width * 4 bytes.
    pub fn compose(
        &mut self,
        picture: &PuppetPicture,
        work: Size,
        working: &[f32],
        denoised: Option<&[f32]>,
        background: &Background,
        out: &mut [u8],
    ) {
        let (fw, fh) = (picture.width, picture.height);
        let frame: &mut [[u8; 4]] = bytemuck::cast_slice_mut(out);
        let warp: &[[u8; 4]] = bytemuck::cast_slice(&picture.rgba);
        let Some(denoised) = denoised else {
            frame.copy_from_slice(warp);
            return lay_over(frame, background);
        };
        if self.taps_for != (fw, work.width) {
            self.taps_for = (fw, work.width);
            self.taps.clear();
            self.taps.extend((0..fw).map(|x| tap(x, fw, work.width)));
        }
        self.row.resize(work.width, Column::default());
        for y in 0..fh {
            let (a, b, k) = tap(y, fh, work.height);
            let stride = work.width * WORK_CHANNELS;
            let at = |r: u32| r as usize * stride..(r as usize + 1) * stride;
            self.mix_rows(&denoised[at(a)], &denoised[at(b)], &working[at(a)], &working[at(b)], k);
            let rows = y * fw..(y + 1) * fw;
            for ((o, w), &(l, r, k)) in frame[rows.clone()].iter_mut().zip(&warp[rows]).zip(&self.taps) {
                let (l, r) = (&self.row[l as usize], &self.row[r as usize]);
                // Most of a frame is empty.
                if w[3] == 0 && l.denoised[3] < 0.4 && r.denoised[3] < 0.4 {
                    *o = [0; 4];
                    continue;
                }
                let mask = l.mask + (r.mask - l.mask) * k;
                let mut v = [0.0f32; 4];
                for c in 0..4 {
                    let clean = l.denoised[c] + (r.denoised[c] - l.denoised[c]) * k;
                    let low = l.working[c] + (r.working[c] - l.working[c]) * k;
                    v[c] = clean + mask * (w[c] as f32 - low);
                }
                let alpha = v[3].clamp(0.0, 255.0);
                *o = v.map(|v| code(v.max(0.0).min(alpha)));
            }
        }
        lay_over(frame, background);
    }

    fn mix_rows(&mut self, d0: &[f32], d1: &[f32], w0: &[f32], w1: &[f32], k: f32) {
        let parts = |v: &[f32]| -> [f32; 5] { [v[0], v[1], v[2], v[3], v[4]] };
        for (x, o) in self.row.iter_mut().enumerate() {
            let i = x * WORK_CHANNELS..(x + 1) * WORK_CHANNELS;
            let (d0, d1) = (parts(&d0[i.clone()]), parts(&d1[i.clone()]));
            let (w0, w1) = (parts(&w0[i.clone()]), parts(&w1[i]));
            for c in 0..4 {
                o.denoised[c] = (d0[c] + (d1[c] - d0[c]) * k) * 255.0;
                o.working[c] = (w0[c] + (w1[c] - w0[c]) * k) * 255.0;
            }
            o.mask = d0[4] + (d1[4] - d0[4]) * k;
        }
    }
}

fn lay_over(frame: &mut [[u8; 4]], background: &Background) {
    let over = |p: &mut [u8; 4], g: [u8; 3]| {
        let keep = 255 - p[3] as u32;
        for c in 0..3 {
            p[c] = (p[c] as u32 + (g[c] as u32 * keep + 127) / 255).min(255) as u8;
        }
        p[3] = 255;
    };
    match background {
        Background::Clear => {}
        Background::Colour(g) => frame.iter_mut().for_each(|p| over(p, *g)),
        Background::Picture(picture) => {
            let ground: &[[u8; 4]] = bytemuck::cast_slice(&picture.rgba);
            if ground.len() == frame.len() {
                frame.iter_mut().zip(ground).for_each(|(p, g)| over(p, [g[0], g[1], g[2]]));
            }
        }
    }
}
