//! The puppet drawn on the CPU: the twin of the WGSL pass, and the floor of every machine.
//!
//! Skins, then paints layers far to near. Allocates only when the avatar or the size changes.

use glam::{Mat2, Vec2};
use multiversion::multiversion;
use odori_kernels::cpu::{Bands, Pool};

use super::{Size, View};
use super::raster::{Target, TexturedVertex, spans, triangle};
use crate::avatar::{Avatar, BONES, BoneTransform, Image, LAYER_COUNT, Layer, PuppetFrame, Vertex, bone};

/// What the puppet pass writes: all planes height * width, rows from the top.
#[derive(Clone, Debug, Default)]
pub struct PuppetPicture {
    pub width: usize,
    pub height: usize,
    /// Premultiplied RGBA, 4 bytes a pixel.
    pub rgba: Vec<u8>,
    /// 255 where the warp shows what the reference showed; 0 where nothing is drawn.
    pub validity: Vec<u8>,
    /// 0 nothing, else layer + 1.
    pub part: Vec<u8>,
    /// Outside of it nothing is drawn.
    pub drawn: Rect,
    /// Where the figure's own picture lies in this one, and how large it is there, pixels.
    pub origin: Vec2,
    pub span: Vec2,
}

/// Whole pixels from `x0, y0` up to, and without, `x1, y1`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rect {
    pub x0: usize,
    pub y0: usize,
    pub x1: usize,
    pub y1: usize,
}

impl Rect {
    /// All pixels that lie between two corners, as far as they are within a picture.
    pub fn around(low: Vec2, high: Vec2, width: usize, height: usize) -> Self {
        let within = |v: f32, most: usize| v.clamp(0.0, most as f32) as usize;
        let (x0, y0) = (within(low.x.floor(), width), within(low.y.floor(), height));
        Rect { x0, y0, x1: within(high.x.ceil(), width).max(x0), y1: within(high.y.ceil(), height).max(y0) }
    }
}

impl PuppetPicture {
    /// For a figure whose own picture it is.
    pub fn resize(&mut self, width: usize, height: usize) {
        (self.origin, self.span) = (Vec2::ZERO, Vec2::new(width as f32, height as f32));
        if (self.width, self.height) != (width, height) {
            (self.width, self.height) = (width, height);
            self.rgba.resize(width * height * 4, 0);
            self.validity.resize(width * height, 0);
            self.part.resize(width * height, 0);
            self.drawn = Rect { x0: 0, y0: 0, x1: width, y1: height };
        }
    }

    fn clear(&mut self) {
        let rows = self.drawn.y0 * self.width..self.drawn.y1 * self.width;
        self.rgba[rows.start * 4..rows.end * 4].fill(0);
        self.validity[rows.clone()].fill(0);
        self.part[rows].fill(0);
    }
}

/// Bands that a thread gets: a figure does not fill its rows evenly.
const BANDS_A_THREAD: usize = 4;
/// Fewer rows than this are not worth a band.
const LEAST_ROWS: usize = 16;

/// Bands that the threads of `pool` cut a picture into, at the most.
pub(super) fn most_bands(pool: Option<&Pool>) -> usize {
    pool.map_or(1, |p| if p.threads() > 1 { (BANDS_A_THREAD * p.threads()).min(Bands::<u8>::MOST) } else { 1 })
}

/// Rows of each band that `rows` are cut into.
pub(super) fn rows_a_band(pool: Option<&Pool>, rows: usize) -> usize {
    rows.div_ceil(most_bands(pool)).max(LEAST_ROWS)
}

/// Does every one of `items`, on all threads if there are some.
pub(super) fn on_all(pool: Option<&Pool>, items: usize, task: &(dyn Fn(usize) + Sync)) {
    match pool {
        Some(pool) => pool.run(items, &|_, n| task(n)),
        None => (0..items).for_each(task),
    }
}

/// A puppet ready to draw: the avatar's mesh and its atlas at falling sizes.
pub struct CpuPuppet {
    vertices: Vec<Vertex>,
    indices: Vec<u32>,
    layers: [Layer; LAYER_COUNT],
    /// Full, half and quarter size.
    atlas: Vec<Image>,
    skinned: Vec<TexturedVertex>,
    picture: PuppetPicture,
}

/// Which atlas size suits a picture that shows the reference at `scale`.
pub(crate) fn atlas_level(scale: f32) -> usize {
    if scale > 0.6 {
        0
    } else if scale > 0.3 {
        1
    } else {
        2
    }
}

impl CpuPuppet {
    pub fn new(avatar: &Avatar) -> Self {
        let half = avatar.atlas.halved();
        let quarter = half.halved();
        CpuPuppet {
            vertices: avatar.vertices.clone(),
            indices: avatar.indices.clone(),
            layers: avatar.layers,
            atlas: vec![avatar.atlas.clone(), half, quarter],
            skinned: vec![TexturedVertex::default(); avatar.vertices.len()],
            picture: PuppetPicture::default(),
        }
    }

    /// Draws `frame` at `width` x `height`; the frame's own picture is scaled to that height.
    pub fn draw(&mut self, frame: &PuppetFrame, width: usize, height: usize) -> &PuppetPicture {
        let mut picture = std::mem::take(&mut self.picture);
        self.draw_into(frame, &View::filling(Size::new(width, height), frame), width, height, None, &mut picture);
        self.picture = picture;
        &self.picture
    }

    /// The same into a picture of the caller's, whose own pixels `view` takes to where they are shown, on all threads of `pool`.
    pub fn draw_into(&mut self, frame: &PuppetFrame, view: &View, width: usize, height: usize, pool: Option<&Pool>, picture: &mut PuppetPicture) {
        let level = atlas_level(frame.scale * view.scale);
        let shrink = 1.0 / (1 << level) as f32;
        let linear: [Mat2; BONES] = std::array::from_fn(|b| frame.bones[b].linear());
        let (mut low, mut high) = (Vec2::INFINITY, Vec2::NEG_INFINITY);
        for (v, out) in self.vertices.iter().zip(&mut self.skinned) {
            let (position, trust) = skin(v, &frame.bones, &linear);
            *out = TexturedVertex {
                position: view.apply(position),
                uv: Vec2::from(v.uv) * shrink,
                validity: v.validity * trust,
            };
            (low, high) = (low.min(out.position), high.max(out.position));
        }
        picture.resize(width, height);
        picture.clear();
        (picture.origin, picture.span) = (view.origin, Vec2::new(frame.width, frame.height) * view.scale);
        picture.drawn = Rect::around(low - 1.0, high + 1.0, width, height);
        let Rect { y0, y1, .. } = picture.drawn;
        let (rows, deep) = (y0 * width..y1 * width, rows_a_band(pool, y1 - y0));
        let rgba = Bands::new(&mut picture.rgba[4 * rows.start..4 * rows.end], 4 * deep * width);
        let validity = Bands::new(&mut picture.validity[rows.clone()], deep * width);
        let part = Bands::new(&mut picture.part[rows], deep * width);
        on_all(pool, rgba.count(), &|n| {
            let (rgba, validity, part) = (rgba.take(n), validity.take(n), part.take(n));
            let mut target = Target { width, top: y0 + n * deep, rows: part.len() / width, rgba, validity, part };
            for &layer in &frame.order {
                let Layer { start, count } = self.layers[layer as usize];
                paint(&mut target, &self.atlas[level], &self.indices[start as usize..(start + count) as usize], &self.skinned, layer + 1);
            }
        });
    }

    pub fn picture(&self) -> &PuppetPicture {
        &self.picture
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn paint(target: &mut Target<'_>, atlas: &Image, indices: &[u32], skinned: &[TexturedVertex], part: u8) {
    for t in indices.chunks_exact(3) {
        triangle(target, atlas, [0, 1, 2].map(|i| skinned[t[i] as usize]), part);
    }
}

/// Where a frame shows every vertex of the avatar, pixels of the frame's own picture.
pub fn shown(avatar: &Avatar, frame: &PuppetFrame) -> Vec<Vec2> {
    let linear: [Mat2; BONES] = std::array::from_fn(|b| frame.bones[b].linear());
    avatar.vertices.iter().map(|v| skin(v, &frame.bones, &linear).0).collect()
}

/// Where a frame shows the part of the figure that one layer draws: its corners, pixels of the frame's own picture.
pub fn layer_extent(avatar: &Avatar, frame: &PuppetFrame, layer: usize) -> [Vec2; 2] {
    let linear: [Mat2; BONES] = std::array::from_fn(|b| frame.bones[b].linear());
    let Layer { start, count } = avatar.layers[layer];
    let corners = avatar.indices[start as usize..(start + count) as usize].iter();
    corners.fold([Vec2::INFINITY, Vec2::NEG_INFINITY], |[low, high], &i| {
        let (p, _) = skin(&avatar.vertices[i as usize], &frame.bones, &linear);
        [low.min(p), high.max(p)]
    })
}

/// How much one layer covers of every cell of a frame's own picture cut into `grid` x `grid`, 0 to 1, whatever lies over
/// it; without what swings from it.
pub fn layer_cover(avatar: &Avatar, frame: &PuppetFrame, layer: usize, grid: usize, out: &mut [f32]) {
    /// Points a cell and side.
    const FINE: usize = 3;
    let linear: [Mat2; BONES] = std::array::from_fn(|b| frame.bones[b].linear());
    let Layer { start, count } = avatar.layers[layer];
    let fine = grid * FINE;
    let scale = Vec2::splat(fine as f32) / Vec2::new(frame.width, frame.height);
    out.fill(0.0);
    let share = 1.0 / (FINE * FINE) as f32;
    for t in avatar.indices[start as usize..(start + count) as usize].chunks_exact(3) {
        let corners = [0, 1, 2].map(|i| &avatar.vertices[t[i] as usize]);
        let swings = |v: &Vertex| v.bones.iter().zip(v.weights).filter(|(b, _)| (0..2).any(|s| **b as usize == bone::hair(s))).map(|(_, w)| w).sum::<f32>();
        if corners.iter().all(|v| swings(v) > 0.5) {
            continue;
        }
        for (y, x0, x1) in spans(corners.map(|v| skin(v, &frame.bones, &linear).0 * scale), fine, 0..fine) {
            for x in x0..x1 {
                let cell = &mut out[y / FINE * grid + x / FINE];
                *cell = (*cell + share).min(1.0);
            }
        }
    }
}

/// Bones meet at a vertex's pivot, and their angles are blended, not their matrices: a bend keeps its thickness.
fn skin(v: &Vertex, bones: &[BoneTransform; BONES], linear: &[Mat2; BONES]) -> (Vec2, f32) {
    let (rest, pivot) = (Vec2::from(v.rest), Vec2::from(v.pivot));
    let first = v.bones[0] as usize;
    if v.weights[0] > 0.9995 {
        let b = &bones[first];
        return (linear[first] * rest + Vec2::from(b.offset) + Vec2::from(b.bulge) * v.bulge, b.trust);
    }
    let (mut angle, mut s, mut at, mut trust) = (0.0, [0.0f32; 3], Vec2::ZERO, 0.0);
    for (&b, &w) in v.bones.iter().zip(&v.weights) {
        if w <= 0.0 {
            continue;
        }
        let b = b as usize;
        let t = &bones[b];
        angle += w * t.angle;
        for (sum, part) in s.iter_mut().zip(t.stretch) {
            *sum += w * part;
        }
        at += w * (linear[b] * pivot + Vec2::from(t.offset) + Vec2::from(t.bulge) * v.bulge);
        trust += w * t.trust;
    }
    let m = Mat2::from_angle(angle) * Mat2::from_cols(Vec2::new(s[0], s[1]), Vec2::new(s[1], s[2]));
    (at + m * (rest - pivot), trust)
}
