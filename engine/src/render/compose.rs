//! Down to the working size and back up, laid over the frame, on the CPU: twins of `downsample.wgsl` and `compose.wgsl`.
//!
//! Values are stored sRGB as 0 to 1, premultiplied; nothing is linearised. No allocation after the first frame.

use glam::{Vec2, Vec4};
use multiversion::multiversion;
use odori_kernels::cpu::{Bands, Pool};

use super::cpu::{PuppetPicture, Rect, most_bands, on_all, rows_a_band};
use super::Size;
use super::whole::codes;

/// Channels of the puppet at the working size: premultiplied RGBA, then validity.
pub const WORK_CHANNELS: usize = 5;
/// Channels of the denoised picture: premultiplied RGBA, the detail mask, the moved warp (premultiplied RGBA) that it
/// corrects, and the flow that moved it (x and y in working pixels: what is shown at p comes from p + flow(p)).
pub const DENOISED_CHANNELS: usize = 11;

/// Box filter with exact coverage into `out`: work.height * work.width * 5.
pub fn downsample(picture: &PuppetPicture, work: Size, pool: Option<&Pool>, out: &mut [f32]) {
    assert_eq!(out.len(), work.pixels() * WORK_CHANNELS);
    let deep = rows_a_band(pool, work.height);
    let out = Bands::new(out, deep * work.width * WORK_CHANNELS);
    on_all(pool, out.count(), &|n| downsample_rows(picture, work, n * deep, out.take(n)));
}

/// The rows of it from `top` on that `out` has room for.
#[multiversion(targets("x86_64+avx2"))]
fn downsample_rows(picture: &PuppetPicture, work: Size, top: usize, out: &mut [f32]) {
    let (fw, fh) = (picture.width, picture.height);
    let (sx, sy) = (fw as f32 / work.width as f32, fh as f32 / work.height as f32);
    let pixels: &[[u8; 4]] = bytemuck::cast_slice(&picture.rgba);
    let factor = fw / work.width;
    if fw == work.width * factor && fh == work.height * factor && factor <= 16 {
        return downsample_whole(picture, pixels, factor, work, top, out);
    }
    for (wy, row) in (top..).zip(out.chunks_exact_mut(work.width * WORK_CHANNELS)) {
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
#[inline(always)]
fn downsample_whole(picture: &PuppetPicture, pixels: &[[u8; 4]], factor: usize, work: Size, top: usize, out: &mut [f32]) {
    let fw = picture.width;
    let k = 1.0 / (255 * factor * factor) as f32;
    for (wy, row) in (top..).zip(out.chunks_exact_mut(work.width * WORK_CHANNELS)) {
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

#[inline(always)]
fn numbers(p: [u8; 4]) -> Vec4 {
    Vec4::from_array(p.map(f32::from))
}

/// One column of the vertically interpolated working row: pictures in code values (0 to 255), the mask 0 to 1, the flow
/// in pixels of the frame.
#[derive(Clone, Copy, Default)]
struct Column {
    denoised: Vec4,
    moved: Vec4,
    mask: f32,
    flow: Vec2,
}

impl Column {
    /// Whether anything is to be seen there.
    #[inline(always)]
    fn shows(&self) -> bool {
        self.denoised.w >= 0.4 || self.moved.w >= 0.4
    }
}

/// Flow, in pixels of the frame, below which a pixel counts as unmoved.
const STILL_PX: f32 = 1.0 / 64.0;

/// The warp between pixels, in code values; beyond the picture there is nothing.
#[inline(always)]
fn between(warp: &[[u8; 4]], width: usize, height: usize, x: f32, y: f32) -> Vec4 {
    let (x0, y0) = (x.floor(), y.floor());
    let (kx, ky) = (x - x0, y - y0);
    let (u, v) = (x0 as i32, y0 as i32);
    let inside = |u: i32, v: i32| (0..width as i32).contains(&u) && (0..height as i32).contains(&v);
    let corners = if inside(u, v) && inside(u + 1, v + 1) {
        let at = v as usize * width + u as usize;
        let (up, down) = (&warp[at..at + 2], &warp[at + width..at + width + 2]);
        [up[0], up[1], down[0], down[1]]
    } else {
        [(u, v), (u + 1, v), (u, v + 1), (u + 1, v + 1)].map(|(u, v)| if inside(u, v) { warp[v as usize * width + u as usize] } else { [0; 4] })
    };
    let [a, b, c, d] = corners.map(numbers);
    let (up, down) = (a + (b - a) * kx, c + (d - c) * kx);
    up + (down - up) * ky
}

/// Working pixels by which the denoised figure may be larger than the puppet.
const GROWTH: f32 = 12.0;

/// Keeps the vertically interpolated rows, one for each band, and the taps of every column between frames.
#[derive(Default)]
pub struct Composer {
    rows: Vec<Column>,
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
#[inline(always)]
fn over(under: &mut [u8; 4], pixel: [u8; 4]) {
    if pixel[3] == 255 || *under == [0; 4] {
        *under = pixel;
        return;
    }
    let keep = 255 - pixel[3] as u32;
    for c in 0..4 {
        under[c] = (pixel[c] as u32 + (under[c] as u32 * keep + 127) / 255).min(255) as u8;
    }
}

impl Composer {
    /// Lays a figure over `out`, picture.height * picture.width * 4 bytes, as opaque as `fade` says. `denoised` is
    /// work * [`DENOISED_CHANNELS`] and covers the figure's own picture.
    pub fn compose(&mut self, picture: &PuppetPicture, work: Size, denoised: Option<&[f32]>, fade: f32, pool: Option<&Pool>, out: &mut [u8]) {
        let (fw, origin, span) = (picture.width, picture.origin, picture.span);
        let fade = (fade.clamp(0.0, 1.0) * 256.0) as u32;
        let enlarge = [span.x / work.width as f32, span.y / work.height as f32];
        let area = if denoised.is_some() { reach(picture, enlarge) } else { picture.drawn };
        let deep = rows_a_band(pool, area.y1 - area.y0);
        let frame: &mut [[u8; 4]] = bytemuck::cast_slice_mut(out);
        let frame = Bands::new(&mut frame[area.y0 * fw..area.y1 * fw], deep * fw);
        let Some(denoised) = denoised else {
            return on_all(pool, frame.count(), &|n| lay_warp(picture, Rect { y0: area.y0 + n * deep, ..area }, fade, frame.take(n)));
        };
        let taps_for = Some((fw, work.width, origin.x, span.x));
        if self.taps_for != taps_for {
            self.taps_for = taps_for;
            self.taps.clear();
            self.taps.extend((0..fw).map(|x| tap(x, origin.x, span.x, work.width)));
        }
        // Room for as many as there ever are, so that a figure that grows asks for no memory.
        self.rows.resize(most_bands(pool) * work.width, Column::default());
        let rows = Bands::new(&mut self.rows[..frame.count() * work.width], work.width);
        let taps = &self.taps;
        on_all(pool, frame.count(), &|n| {
            let of = Denoised { picture, pixels: denoised, work, taps, enlarge, fade };
            compose(&of, Rect { y0: area.y0 + n * deep, ..area }, rows.take(n), frame.take(n));
        });
    }
}

/// A figure as the network gave it, and how it is to be laid into the frame.
struct Denoised<'a> {
    picture: &'a PuppetPicture,
    pixels: &'a [f32],
    work: Size,
    taps: &'a [(u32, u32, f32)],
    enlarge: [f32; 2],
    fade: u32,
}

/// Lays a premultiplied pixel over another, as opaque as `fade` of 256 says.
#[inline(always)]
fn faded_over(under: &mut [u8; 4], pixel: [u8; 4], fade: u32) {
    match fade {
        256 => over(under, pixel),
        _ => over(under, pixel.map(|v| ((v as u32 * fade) >> 8) as u8)),
    }
}

/// The puppet as it is over the rows of `frame`, the first of which is the area's.
#[multiversion(targets("x86_64+avx2"))]
fn lay_warp(picture: &PuppetPicture, area: Rect, fade: u32, frame: &mut [[u8; 4]]) {
    let warp: &[[u8; 4]] = bytemuck::cast_slice(&picture.rgba);
    let lines = frame.chunks_exact_mut(picture.width).zip(warp.chunks_exact(picture.width).skip(area.y0));
    for (line, warp) in lines {
        let columns = area.x0..area.x1;
        line[columns.clone()].iter_mut().zip(&warp[columns]).filter(|(_, w)| w[3] > 0).for_each(|(o, w)| faded_over(o, *w, fade));
    }
}

/// The same of the denoised figure. `row` is room for a row of the working picture.
#[multiversion(targets("x86_64+avx2"))]
fn compose(of: &Denoised<'_>, area: Rect, row: &mut [Column], frame: &mut [[u8; 4]]) {
    let &Denoised { picture, pixels: denoised, work, taps, enlarge, fade } = of;
    let (fw, fh) = (picture.width, picture.height);
    let (origin, span) = (picture.origin, picture.span);
    let warp: &[[u8; 4]] = bytemuck::cast_slice(&picture.rgba);
    let Rect { x0, y0, x1, .. } = area;
    let stride = work.width * DENOISED_CHANNELS;
    // The network saw the figure's own picture only: beyond it the warp stands alone.
    let inside = |i: usize, origin: f32, span: f32| (0.0..span).contains(&(i as f32 + 0.5 - origin));
    let own = (x0..x1).find(|&x| inside(x, origin.x, span.x)).unwrap_or(x1);
    let own = own..(own..x1).find(|&x| !inside(x, origin.x, span.x)).unwrap_or(x1);
    for (y, frame) in (y0..).zip(frame.chunks_exact_mut(fw)) {
        let shown = &warp[y * fw..][..fw];
        let own = if inside(y, origin.y, span.y) { own.clone() } else { x1..x1 };
        for x in (x0..own.start).chain(own.end..x1) {
            faded_over(&mut frame[x], shown[x], fade);
        }
        if own.is_empty() {
            continue;
        }
        let (a, b, k) = tap(y, origin.y, span.y, work.height);
        let at = |r: u32| r as usize * stride..(r as usize + 1) * stride;
        mix_rows(row, &denoised[at(a)], &denoised[at(b)], k, enlarge);
        // Most of a frame is empty.
        let Some(first) = row.iter().position(Column::shows) else { continue };
        let last = row.iter().rposition(Column::shows).unwrap_or(first);
        let own = own.start + taps[own.clone()].partition_point(|t| (t.1 as usize) < first)..own.start + taps[own].partition_point(|t| t.0 as usize <= last);
        for x in own {
            let (l, r, k) = taps[x];
            let (l, r) = (&row[l as usize], &row[r as usize]);
            if !l.shows() && !r.shows() {
                continue;
            }
            let shift = l.flow + (r.flow - l.flow) * k;
            let still = shift.abs().max_element() < STILL_PX;
            let sharp = if still { numbers(shown[x]) } else { between(warp, fw, fh, x as f32 + shift.x, y as f32 + shift.y) };
            let mask = l.mask + (r.mask - l.mask) * k;
            let clean = l.denoised + (r.denoised - l.denoised) * k;
            let low = l.moved + (r.moved - l.moved) * k;
            let v = clean + mask * (sharp - low);
            faded_over(&mut frame[x], codes(v.max(Vec4::ZERO).min(Vec4::splat(v.w.clamp(0.0, 255.0)))), fade);
        }
    }
}

#[inline(always)]
fn mix_rows(row: &mut [Column], top: &[f32], bottom: &[f32], k: f32, enlarge: [f32; 2]) {
    let rows = top.as_chunks::<DENOISED_CHANNELS>().0.iter().zip(bottom.as_chunks::<DENOISED_CHANNELS>().0);
    for (o, (t, b)) in row.iter_mut().zip(rows) {
        let v: [f32; DENOISED_CHANNELS] = std::array::from_fn(|c| t[c] + (b[c] - t[c]) * k);
        *o = Column {
            denoised: Vec4::from_slice(&v[..4]) * 255.0,
            mask: v[4],
            moved: Vec4::from_slice(&v[5..9]) * 255.0,
            flow: Vec2::new(v[9] * enlarge[0], v[10] * enlarge[1]),
        };
    }
}

/// Where the figure can be.
fn reach(picture: &PuppetPicture, enlarge: [f32; 2]) -> Rect {
    let Rect { x0, y0, x1, y1 } = picture.drawn;
    let more = Vec2::from(enlarge) * GROWTH;
    Rect::around(Vec2::new(x0 as f32, y0 as f32) - more, Vec2::new(x1 as f32, y1 as f32) + more, picture.width, picture.height)
}
