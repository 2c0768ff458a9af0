//! Motion clips from `clips.safetensors`: frames of 162 features at 30 Hz, read as poses.
//!
//! Takes bytes. Chooses windows to show; draws nothing.

use anyhow::{Context, Result, bail};
use glam::{Quat, Vec3};
use odori_engine::pose::{FRAME_DIM, Pose};
use safetensors::{Dtype, SafeTensors};

use crate::rng::Rng;
use crate::visibility;

/// Frames that the token window of a frame looks back, itself included.
pub const TOKEN_FRAMES: usize = 16;
/// Without a `clip_test` tensor every n-th source clip is kept from training.
const HELD_OUT_EVERY: usize = 9;

pub struct Clips {
    /// (N, 162)
    frames: Vec<f32>,
    starts: Vec<usize>,
    pub names: Vec<String>,
    held_out: Vec<bool>,
}

/// A run of frames to show, with what was changed about it.
#[derive(Clone, Debug)]
pub struct Window {
    /// Row of the first shown frame.
    pub row: usize,
    /// Poses from `lead` frames before the first shown one, so that springs can swing in.
    pub poses: Vec<Pose>,
    pub lead: usize,
}

impl Clips {
    pub fn read(bytes: &[u8]) -> Result<Self> {
        let file = SafeTensors::deserialize(bytes).context("clips: not a safetensors file")?;
        let frames = file.tensor("frames").context("clips: no tensor `frames`")?;
        let starts = file.tensor("clip_start").context("clips: no tensor `clip_start`")?;
        if frames.dtype() != Dtype::F32 || frames.shape().len() != 2 || frames.shape()[1] != FRAME_DIM {
            bail!("clips: `frames` must be f32 of [N, {FRAME_DIM}], not {:?} of {:?}", frames.dtype(), frames.shape());
        }
        if starts.dtype() != Dtype::I32 {
            bail!("clips: `clip_start` must be i32");
        }
        let frames: Vec<f32> = bytemuck::pod_collect_to_vec(frames.data());
        let starts: Vec<i32> = bytemuck::pod_collect_to_vec(starts.data());
        let n = frames.len() / FRAME_DIM;
        let ascending = starts.windows(2).all(|w| w[0] <= w[1]);
        if starts.len() < 2 || starts[0] != 0 || !ascending || *starts.last().unwrap_or(&0) as usize != n {
            bail!("clips: `clip_start` must rise from 0 to {n}");
        }
        if frames.iter().any(|f| !f.is_finite()) {
            bail!("clips: a frame is not finite");
        }
        let (_, meta) = SafeTensors::read_metadata(bytes).context("clips: header")?;
        let count = starts.len() - 1;
        let names: Vec<String> = meta
            .metadata()
            .as_ref()
            .and_then(|m| m.get("names"))
            .and_then(|n| serde_json::from_str(n).ok())
            .filter(|n: &Vec<String>| n.len() == count)
            .unwrap_or_else(|| (0..count).map(|i| format!("clip-{i}")).collect());
        let held_out = match file.tensor("clip_test") {
            Ok(t) if t.dtype() == Dtype::I32 && t.shape() == [count] => {
                bytemuck::pod_collect_to_vec::<u8, i32>(t.data()).into_iter().map(|v| v != 0).collect()
            }
            Ok(_) => bail!("clips: `clip_test` must be i32 of [{count}]"),
            Err(_) => {
                // A clip and its mirror image are the same dance: they are held out together.
                let source = |n: &String| n.trim_end_matches("_mirror").to_string();
                let mut sources: Vec<String> = names.iter().map(source).collect();
                sources.sort();
                sources.dedup();
                let place = |n| sources.binary_search(&source(n)).unwrap_or(0);
                names.iter().map(|n| place(n) % HELD_OUT_EVERY == HELD_OUT_EVERY / 2).collect()
            }
        };
        Ok(Clips { frames, starts: starts.into_iter().map(|s| s as usize).collect(), names, held_out })
    }

    fn pose(&self, row: usize) -> Pose {
        let f: &[f32; FRAME_DIM] = self.frames[row * FRAME_DIM..][..FRAME_DIM].try_into().expect("a whole row");
        Pose::from_features(f)
    }

    /// Mean change of features over a window: how lively it is.
    fn liveliness(&self, row: usize, frames: usize) -> f32 {
        let at = |r: usize| &self.frames[r * FRAME_DIM..][..FRAME_DIM];
        (row..row + frames - 1)
            .map(|r| at(r).iter().zip(at(r + 1)).map(|(a, b)| (a - b).abs()).sum::<f32>())
            .sum::<f32>()
    }

    /// Picks `frames` consecutive frames; `lead` frames before them come along. `None` when no clip is long enough.
    pub fn window(&self, frames: usize, lead: usize, held_out: bool, rng: &mut Rng) -> Option<Window> {
        let before = lead.max(TOKEN_FRAMES - 1);
        let room = |c: usize| (self.starts[c + 1] - self.starts[c]).saturating_sub(before + frames - 1);
        let eligible: Vec<usize> =
            (0..self.names.len()).filter(|&c| self.held_out[c] == held_out && room(c) > 0).collect();
        let total: usize = eligible.iter().map(|&c| room(c)).sum();
        if total == 0 {
            return None;
        }
        let draw = |rng: &mut Rng| {
            let mut at = rng.below(total);
            for &c in &eligible {
                if at < room(c) {
                    return self.starts[c] + before + at;
                }
                at -= room(c);
            }
            unreachable!("the draw is below the total")
        };
        let mut row = draw(rng);
        // Some windows nearly still: a right warp must be left alone.
        if rng.chance(0.1) {
            for _ in 0..12 {
                let r = draw(rng);
                if self.liveliness(r, frames) < self.liveliness(row, frames) {
                    row = r;
                }
            }
        }
        let mut poses: Vec<Pose> = (row - lead..row + frames).map(|r| self.pose(r)).collect();
        place(&mut poses, lead, rng);
        Some(Window { row, poses, lead })
    }
}

/// Turns one window in four a little further from or to the viewer; the rest is as the motion model makes it.
fn place(poses: &mut [Pose], lead: usize, rng: &mut Rng) {
    if !rng.chance(0.25) {
        return;
    }
    let mean = poses[lead..].iter().map(|p| p.root).sum::<Vec3>() / (poses.len() - lead) as f32;
    let middle = Vec3::new(mean.x, 0.0, mean.z);
    // A sum of two draws: mostly small angles.
    let q = Quat::from_rotation_y((rng.unit() - rng.unit()) * 50.0f32.to_radians());
    for p in poses {
        p.root = q * (p.root - middle) + middle;
        p.rotations[0] = q * p.rotations[0];
        p.confidences = visibility::confidences(&p.joints().positions);
    }
}
