//! Motion clips from `clips.safetensors`: frames of 162 features at 30 Hz, read as poses.
//!
//! Takes bytes. Chooses windows to show; draws nothing.

use anyhow::{Context, Result, bail};
use glam::{Quat, Vec3};
use odori_engine::pose::{FRAME_DIM, Pose};
use safetensors::{Dtype, SafeTensors};

use crate::rng::Rng;

/// Frames that the token window of a frame looks back, itself included.
pub const TOKEN_FRAMES: usize = 16;
/// Every n-th source clip is kept from training.
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
    pub clip: usize,
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
        // A clip and its mirror image are the same dance: they are held out together.
        let mut sources: Vec<String> = names.iter().map(|n| source_of(n)).collect();
        let per_clip = sources.clone();
        sources.sort();
        sources.dedup();
        let held_out = per_clip
            .iter()
            .map(|s| sources.binary_search(s).unwrap_or(0) % HELD_OUT_EVERY == HELD_OUT_EVERY / 2)
            .collect();
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
                    return (c, self.starts[c] + before + at);
                }
                at -= room(c);
            }
            unreachable!("the draw is below the total")
        };
        let (mut clip, mut row) = draw(rng);
        // Some windows nearly still: a right warp must be left alone.
        if rng.chance(0.1) {
            for _ in 0..12 {
                let (c, r) = draw(rng);
                if self.liveliness(r, frames) < self.liveliness(row, frames) {
                    (clip, row) = (c, r);
                }
            }
        }
        let mut poses: Vec<Pose> = (row - lead..row + frames).map(|r| self.pose(r)).collect();
        place(&mut poses, lead, rng);
        Some(Window { clip, row, poses, lead })
    }
}

fn source_of(name: &str) -> String {
    let lower = name.to_lowercase();
    ["_mirror", "-mirror", "_mirrored", "-m", "_m", "/m", ":m", " m"]
        .iter()
        .find_map(|s| lower.strip_suffix(s).map(str::to_string))
        .unwrap_or(lower)
}

/// Brings the window to the middle of the stage and often turns it to face the viewer more or less.
fn place(poses: &mut [Pose], lead: usize, rng: &mut Rng) {
    let shown = poses.len() - lead;
    let mean = poses[lead..].iter().map(|p| p.root).sum::<Vec3>() / shown as f32;
    let shift = Vec3::new(rng.range(-0.2, 0.2) - mean.x, 0.0, -mean.z);
    let turn = if rng.chance(0.65) {
        // A sum of two draws: mostly small angles, at most 65 degrees to either side.
        let wanted = (rng.unit() - rng.unit()) * 65.0f32.to_radians();
        wanted - poses[lead + shown / 2].yaw()
    } else {
        0.0
    };
    let q = Quat::from_rotation_y(turn);
    for p in poses {
        let from_middle = Vec3::new(p.root.x - mean.x, 0.0, p.root.z - mean.z);
        p.root = q * from_middle + Vec3::new(mean.x, p.root.y, mean.z) + shift;
        p.rotations[0] = q * p.rotations[0];
    }
}

/// Hand-made poses that need no file: arms up, bends, steps and turns, swinging smoothly.
pub fn test_poses(count: usize) -> Vec<Pose> {
    let bone = |n: &str| odori_engine::skeleton::Bone::named(n).expect("a bone of the skeleton").index();
    (0..count)
        .map(|i| {
            let t = i as f32 / 30.0 * 2.0;
            let mut p = Pose::default();
            let (s, c) = (t.sin(), t.cos());
            p.rotations[bone("leftUpperArm")] = Quat::from_rotation_z(-0.3 + 1.0 * s);
            p.rotations[bone("rightUpperArm")] = Quat::from_rotation_z(0.3 + 1.0 * c);
            p.rotations[bone("leftLowerArm")] = Quat::from_rotation_z(0.6 - 0.6 * c);
            p.rotations[bone("rightLowerArm")] = Quat::from_rotation_z(-0.7 + 0.6 * s);
            p.rotations[bone("leftUpperLeg")] = Quat::from_rotation_z(0.2 * s.max(0.0)) * Quat::from_rotation_x(-0.6 * s.max(0.0));
            p.rotations[bone("leftLowerLeg")] = Quat::from_rotation_x(0.9 * s.max(0.0));
            p.rotations[bone("spine")] = Quat::from_rotation_z(0.15 * c);
            p.rotations[bone("head")] = Quat::from_rotation_y(0.4 * s);
            p.rotations[0] = Quat::from_rotation_y(0.3 * (t * 0.5).sin());
            p
        })
        .collect()
}
