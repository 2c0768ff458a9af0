//! Down to the working size and back up, laid over the frame, on the CPU: twins of `downsample.wgsl` and `compose.wgsl`.
//!
//! Values are stored sRGB as 0 to 1, premultiplied; nothing is linearised. No allocation after the first frame.

use glam::Vec2;

use super::cpu::{PuppetPicture, Rect};
use super::Size;

/// Channels of the puppet at the working size: premultiplied RGBA, then validity.
pub const WORK_CHANNELS: usize = 5;
/// Channels of the denoised picture: premultiplied RGBA, the detail mask, the moved warp (premultiplied RGBA) that it
/// corrects, and the flow that moved it (x and y in working pixels: what is shown at p comes from p + flow(p)).
pub const DENOISED_CHANNELS: usize = 11;

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

/// One column of the vertically interpolated working row: pictures in code values (0 to 255), the mask 0 to 1, the flow
/// in pixels of the frame.
#[derive(Clone, Copy, Default)]
struct Column {
    denoised: [f32; 4],
    moved: [f32; 4],
    mask: f32,
    flow: [f32; 2],
}

/// Flow, in pixels of the frame, below which a pixel counts as unmoved.
const STILL_PX: f32 = 1.0 / 64.0;

/// The warp between pixels, in code values; beyond the picture there is nothing.
#[inline]
fn between(warp: &[[u8; 4]], width: usize, height: usize, x: f32, y: f32) -> [f32; 4] {
    let (x0, y0) = (x.floor(), y.floor());
    let (kx, ky) = (x - x0, y - y0);
    let at = |u: f32, v: f32| -> [f32; 4] {
        let inside = u >= 0.0 && v >= 0.0 && u < width as f32 && v < height as f32;
        if inside { warp[v as usize * width + u as usize].map(f32::from) } else { [0.0; 4] }
    };
    let (a, b) = (at(x0, y0), at(x0 + 1.0, y0));
    let (c, d) = (at(x0, y0 + 1.0), at(x0 + 1.0, y0 + 1.0));
    std::array::from_fn(|i| {
        let (up, down) = (a[i] + (b[i] - a[i]) * kx, c[i] + (d[i] - c[i]) * kx);
        up + (down - up) * ky
    })
}

/// Working pixels by which the denoised figure may be larger than the puppet.
const GROWTH: f32 = 12.0;

/// Keeps the vertically interpolated row and the taps of every column between frames.
#[derive(Default)]
pub struct Composer {
    row: Vec<Column>,
    /// Per output column: left tap, right tap, weight of the right one.
    taps: Vec<(u32, u32, f32)>,
    taps_for: Option<(usize, usize, f32, f32)>,
}

/// The working pixels on both sides of output pixel `i`, of `span` pixels from `origin` on.
fn tap(i: usize, origin: f32, span: f32, work: usize) -> (u32, u32, f32) {
    let p = ((i as f32 + 0.5 - origin) * (work as f32 / span) - 0.5).clamp(0.0, (work - 1) as f32);
    let a = p as u32;
    (a, (a + 1).min(work as u32 - 1), p - a as f32)
}

/// Lays a premultiplied pixel over another.
#[inline]
fn over(under: &mut [u8; 4], pixel: [u8; 4]) {
    let keep = 255 - pixel[3] as u32;
    for c in 0..4 {
        under[c] = (pixel[c] as u32 + (under[c] as u32 * keep + 127) / 255).min(255) as u8;
    }
}

impl Composer {
    /// Lays a figure over `out`, picture.height * picture.width * 4 bytes, as opaque as `fade` says. `denoised` is
    /// work * [`DENOISED_CHANNELS`] and covers the figure's own picture.
    pub fn compose(&mut self, picture: &PuppetPicture, work: Size, denoised: Option<&[f32]>, fade: f32, out: &mut [u8]) {
        let (fw, fh) = (picture.width, picture.height);
        let (origin, span) = (picture.origin, picture.span);
        let frame: &mut [[u8; 4]] = bytemuck::cast_slice_mut(out);
        let warp: &[[u8; 4]] = bytemuck::cast_slice(&picture.rgba);
        let fade = (fade.clamp(0.0, 1.0) * 256.0) as u32;
        let lay = |under: &mut [u8; 4], pixel: [u8; 4]| match fade {
            256 => over(under, pixel),
            _ => over(under, pixel.map(|v| ((v as u32 * fade) >> 8) as u8)),
        };
        let Some(denoised) = denoised else {
            let Rect { x0, y0, x1, y1 } = picture.drawn;
            for y in y0..y1 {
                let row = y * fw + x0..y * fw + x1;
                frame[row.clone()].iter_mut().zip(&warp[row]).filter(|(_, w)| w[3] > 0).for_each(|(o, w)| lay(o, *w));
            }
            return;
        };
        let taps_for = Some((fw, work.width, origin.x, span.x));
        if self.taps_for != taps_for {
            self.taps_for = taps_for;
            self.taps.clear();
            self.taps.extend((0..fw).map(|x| tap(x, origin.x, span.x, work.width)));
        }
        self.row.resize(work.width, Column::default());
        let enlarge = [span.x / work.width as f32, span.y / work.height as f32];
        let Rect { x0, y0, x1, y1 } = reach(picture, enlarge);
        let stride = work.width * DENOISED_CHANNELS;
        let outside = |i: usize, origin: f32, span: f32| !(0.0..span).contains(&(i as f32 + 0.5 - origin));
        for y in y0..y1 {
            let row = y * fw + x0..y * fw + x1;
            let beyond = outside(y, origin.y, span.y);
            let (a, b, k) = tap(y, origin.y, span.y, work.height);
            let at = |r: u32| r as usize * stride..(r as usize + 1) * stride;
            self.mix_rows(&denoised[at(a)], &denoised[at(b)], k, enlarge);
            for (x, ((o, w), &(l, r, k))) in (x0..).zip(frame[row.clone()].iter_mut().zip(&warp[row]).zip(&self.taps[x0..x1])) {
                // The network saw the figure's own picture only: beyond it the warp stands alone.
                if beyond || outside(x, origin.x, span.x) {
                    lay(o, *w);
                    continue;
                }
                let (l, r) = (&self.row[l as usize], &self.row[r as usize]);
                // Most of a frame is empty.
                if [l.denoised[3], r.denoised[3], l.moved[3], r.moved[3]].iter().all(|&a| a < 0.4) {
                    continue;
                }
                let shift: [f32; 2] = std::array::from_fn(|i| l.flow[i] + (r.flow[i] - l.flow[i]) * k);
                let still = shift.iter().all(|s| s.abs() < STILL_PX);
                let sharp = if still { w.map(f32::from) } else { between(warp, fw, fh, x as f32 + shift[0], y as f32 + shift[1]) };
                let mask = l.mask + (r.mask - l.mask) * k;
                let mut v = [0.0f32; 4];
                for c in 0..4 {
                    let clean = l.denoised[c] + (r.denoised[c] - l.denoised[c]) * k;
                    let low = l.moved[c] + (r.moved[c] - l.moved[c]) * k;
                    v[c] = clean + mask * (sharp[c] - low);
                }
                let alpha = v[3].clamp(0.0, 255.0);
                lay(o, v.map(|v| code(v.max(0.0).min(alpha))));
            }
        }
    }

    fn mix_rows(&mut self, top: &[f32], bottom: &[f32], k: f32, enlarge: [f32; 2]) {
        let rows = top.as_chunks::<DENOISED_CHANNELS>().0.iter().zip(bottom.as_chunks::<DENOISED_CHANNELS>().0);
        for (o, (t, b)) in self.row.iter_mut().zip(rows) {
            let v: [f32; DENOISED_CHANNELS] = std::array::from_fn(|c| t[c] + (b[c] - t[c]) * k);
            *o = Column {
                denoised: std::array::from_fn(|c| v[c] * 255.0),
                mask: v[4],
                moved: std::array::from_fn(|c| v[5 + c] * 255.0),
                flow: [v[9] * enlarge[0], v[10] * enlarge[1]],
            };
        }
    }
}

/// Where the figure can be.
fn reach(picture: &PuppetPicture, enlarge: [f32; 2]) -> Rect {
    let Rect { x0, y0, x1, y1 } = picture.drawn;
    let more = Vec2::from(enlarge) * GROWTH;
    Rect::around(Vec2::new(x0 as f32, y0 as f32) - more, Vec2::new(x1 as f32, y1 as f32) + more, picture.width, picture.height)
}
