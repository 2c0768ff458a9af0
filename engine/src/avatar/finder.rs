//! The figure finder: a small network that sees where a character's joints are, what of a picture is the character, and which
//! part of the body that is.
//!
//! Trained on rendered characters in many styles (`training/odori_training/figure_train.py`, `models/figure.md`). It looks at
//! 128x128 pixels, once for an import. It knows pictures; what is made of its answer is for `import`.

use glam::Vec2;
use odori_kernels::plan::{Act, Buf, BufKind, ConvShape, Op};
use odori_kernels::{Backend, Executor, Weights};
use serde::Deserialize;

use super::AvatarError;
use super::parts::PARTS;
use crate::skeleton::KEYPOINT_COUNT;
use crate::unet::Unet;

/// Side of the picture that the network looks at, and of its heat maps.
pub const SIZE: usize = 128;
const GRID: usize = 32;
const PATCH: usize = SIZE / GRID;
/// Red, green, blue, alpha.
const CHANNELS: usize = 4;
/// What it tells apart: `parts::PARTS`, then what swings from the hips.
pub const CLASSES: usize = PARTS.len() + 1;
/// Cells about the greatest value over which a place is averaged.
const NEAR: usize = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    channels: [usize; 4],
    groups: usize,
}

/// What the network sees in one picture.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Pixels of the 128x128 picture, order of `SKELETON.keypoints`.
    pub points: [Vec2; KEYPOINT_COUNT],
    /// Share of its belief that lies about that place, 0 to 1.
    pub sure: [f32; KEYPOINT_COUNT],
    /// (128, 128): how far a pixel belongs to the figure, 0 to 1.
    pub mask: Vec<f32>,
    /// (128, 128, [`CLASSES`]): how likely a pixel of the figure belongs to each part, summing to 1.
    pub parts: Vec<f32>,
}

pub struct FigureFinder {
    run: Executor,
    picture: Buf,
    heat: Buf,
    mask: Buf,
    parts: Buf,
}

impl FigureFinder {
    /// # Errors
    /// Weights that do not fit.
    pub fn new(backend: &Backend, weights: &Weights) -> Result<Self, AvatarError> {
        let bad = |what: String| AvatarError::Finder(what);
        let config: Config = serde_json::from_str(weights.config_json().unwrap_or("{}")).map_err(|e| bad(e.to_string()))?;
        let [c0, c1, c2, c3] = config.channels;
        if config.groups == 0 || config.channels.iter().any(|c| !(1..=1024).contains(c) || c % config.groups != 0) {
            return Err(bad(format!("channels {:?} in {} groups; 1 to 1024 are possible, a multiple of the groups", config.channels, config.groups)));
        }
        let mut r = Unet::new(config.groups, PATCH);
        let picture = r.b.buf("picture", SIZE * SIZE * CHANNELS, BufKind::External);
        let heat = r.b.buf("heat", GRID * GRID * KEYPOINT_COUNT, BufKind::External);
        let mask = r.b.buf("mask", SIZE * SIZE, BufKind::External);
        let parts = r.b.buf("parts", SIZE * SIZE * CLASSES, BufKind::External);
        let h = r.space_to_depth(picture, SIZE, CHANNELS);
        let h = r.conv("stem", h, GRID, (CHANNELS * PATCH * PATCH, c0), (1, 1), None);
        let h0 = r.block("enc0", h, GRID, c0);
        let h = r.conv("down0", h0, GRID, (c0, c1), (3, 2), None);
        let h1 = r.block("enc1", h, GRID / 2, c1);
        let h = r.conv("down1", h1, GRID / 2, (c1, c2), (3, 2), None);
        let h2 = r.block("enc2", h, GRID / 4, c2);
        let h = r.conv("down2", h2, GRID / 4, (c2, c3), (3, 2), None);
        let h = r.block("mid0", h, GRID / 8, c3);
        let h = r.block("mid1", h, GRID / 8, c3);
        let h = r.up("up2", h, GRID / 8, (c3, c2), h2);
        let h = r.block("dec2", h, GRID / 4, c2);
        let h = r.up("up1", h, GRID / 4, (c2, c1), h1);
        let h = r.block("dec1", h, GRID / 2, c1);
        let h = r.up("up0", h, GRID / 2, (c1, c0), h0);
        let h = r.block("dec0", h, GRID, c0);
        let h = r.norm("head_norm", h, GRID, c0, None, Act::Silu);
        let shape = ConvShape { h: GRID, w: GRID, c_in: c0, c_out: KEYPOINT_COUNT, k: 3, stride: 1 };
        let (w, b) = (r.b.weight("heat.weight", &[KEYPOINT_COUNT, c0, 3, 3]), Some(r.b.weight("heat.bias", &[KEYPOINT_COUNT])));
        r.b.op(Op::Conv2d { x: h, w, b, residual: None, y: heat, shape, act: Act::None });
        let logits = r.b.conv("mask", h, ConvShape { c_out: PATCH * PATCH, ..shape }, Act::Sigmoid, None);
        r.b.op(Op::DepthToSpace { x: logits, y: mask, h: GRID, w: GRID, c: 1, r: PATCH });
        let logits = r.b.conv("parts", h, ConvShape { c_out: PATCH * PATCH * CLASSES, ..shape }, Act::None, None);
        r.b.op(Op::DepthToSpace { x: logits, y: parts, h: GRID, w: GRID, c: CLASSES, r: PATCH });
        let plan = r.b.finish().map_err(|e| bad(e.to_string()))?;
        let run = Executor::new(backend, &plan, weights).map_err(|e| bad(e.to_string()))?;
        Ok(FigureFinder { run, picture, heat, mask, parts })
    }

    /// Looks at a picture (128, 128, 4) in 0..1: colour over mid grey where alpha is known, as it is where it is not; alpha, 0.5
    /// throughout where it is not known.
    ///
    /// # Panics
    /// If the picture has another size.
    pub fn look(&mut self, picture: &[f32]) -> Seen {
        assert_eq!(picture.len(), SIZE * SIZE * CHANNELS, "a picture of 128x128 RGBA");
        self.run.write(self.picture, picture);
        self.run.run(&[]);
        let mut heat = vec![0.0; GRID * GRID * KEYPOINT_COUNT];
        let mut mask = vec![0.0; SIZE * SIZE];
        self.run.read(self.heat, &mut heat);
        self.run.read(self.mask, &mut mask);
        let mut parts = vec![0.0; SIZE * SIZE * CLASSES];
        self.run.read(self.parts, &mut parts);
        parts.chunks_exact_mut(CLASSES).for_each(softmax);
        let placed: [(Vec2, f32); KEYPOINT_COUNT] = std::array::from_fn(|k| place(&heat, k));
        Seen { points: placed.map(|p| p.0), sure: placed.map(|p| p.1), mask, parts }
    }
}

fn softmax(logits: &mut [f32]) {
    let most = logits.iter().copied().fold(f32::MIN, f32::max);
    logits.iter_mut().for_each(|v| *v = (*v - most).exp());
    let sum: f32 = logits.iter().sum();
    logits.iter_mut().for_each(|v| *v /= sum);
}

/// Where keypoint `k` is, and how sure that is; the same as `positions` in `figure_model.py`.
fn place(heat: &[f32], k: usize) -> (Vec2, f32) {
    let at = |cell: usize| heat[cell * KEYPOINT_COUNT + k];
    let best = (0..GRID * GRID).max_by(|a, b| at(*a).total_cmp(&at(*b))).unwrap_or(0);
    let (bx, by) = (best % GRID, best / GRID);
    let (mut total, mut near, mut sum) = (0.0, 0.0, Vec2::ZERO);
    for cell in 0..GRID * GRID {
        let p = (at(cell) - at(best)).exp();
        total += p;
        let (x, y) = (cell % GRID, cell / GRID);
        if x.abs_diff(bx) <= NEAR && y.abs_diff(by) <= NEAR {
            near += p;
            sum += p * Vec2::new(x as f32, y as f32);
        }
    }
    ((sum / near + 0.5) * PATCH as f32, near / total)
}
