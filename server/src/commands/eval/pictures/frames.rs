//! Reads the folder of true renders that `odori-datagen --held-out` writes (training/datagen/FORMAT.md). Every length is
//! checked before it is used.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use odori_engine::avatar::FACING;
use odori_engine::denoiser::{KEYPOINTS, Keypoint, PATCH, TOKEN_SLOTS, TOKEN_STEPS};
use safetensors::{Dtype, SafeTensors};

use super::measures::Picture;

/// Largest shard that is read.
const MAX_SHARD_BYTES: u64 = 1 << 30;
/// The denoiser's working size that the pictures are brought down to.
pub const WORK: usize = 128;

/// One frame as the live engine would have it, and its truth.
pub struct Frame {
    pub truth: Picture,
    /// The puppet at full size, bytes.
    pub puppet: Vec<u8>,
    /// (WORK, WORK)
    pub validity: Vec<f32>,
    pub keypoints: [Keypoint; KEYPOINTS],
    pub facing: [f32; FACING],
    /// (WORK / PATCH) squared.
    pub head: Vec<f32>,
    pub tokens: Vec<[u16; TOKEN_SLOTS]>,
}

/// A few frames of one character in motion.
pub struct Clip {
    /// Clips of the same look show the same reference.
    pub look: i32,
    pub side: usize,
    pub reference: Picture,
    pub frames: Vec<Frame>,
}

/// Pose tokens of the motion clips, as the tokenizer's training writes them: (steps, slots).
pub struct Tokens(Vec<[u16; TOKEN_SLOTS]>);

impl Tokens {
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let bytes = read_bounded(path)?;
        let file = SafeTensors::deserialize(&bytes).with_context(|| format!("{} is not a safetensors file", path.display()))?;
        let table = file.tensor("tokens").with_context(|| format!("{} has no `tokens`", path.display()))?;
        ensure!(table.dtype() == Dtype::I32 && table.shape().last() == Some(&TOKEN_SLOTS), "`tokens` must be i32 of (steps, {TOKEN_SLOTS})");
        let ids = table.data().as_chunks::<4>().0.iter().map(|b| u16::try_from(i32::from_le_bytes(*b)).unwrap_or(u16::MAX));
        Ok(Tokens(ids.collect::<Vec<_>>().as_chunks::<TOKEN_SLOTS>().0.to_vec()))
    }

    /// The window that ends with the step which shows `row` of the motion clips.
    fn window(&self, row: i32) -> Vec<[u16; TOKEN_SLOTS]> {
        let end = (row.max(0) as usize / 2 + 1).min(self.0.len());
        self.0[end.saturating_sub(TOKEN_STEPS)..end].to_vec()
    }
}

fn read_bounded(path: &Path) -> anyhow::Result<Vec<u8>> {
    let shown = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("{shown} cannot be opened"))?.len();
    ensure!(size <= MAX_SHARD_BYTES, "{shown} has {} MB; at most {} MB are read", size >> 20, MAX_SHARD_BYTES >> 20);
    std::fs::read(path).with_context(|| format!("{shown} cannot be read"))
}

/// The shards of a folder, by name; those kept from training where there are such.
pub fn shards(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let named = |prefix: &str| -> anyhow::Result<Vec<PathBuf>> {
        let entries = std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))?;
        let mut out: Vec<PathBuf> = entries.filter_map(|e| e.ok().map(|e| e.path())).collect();
        out.retain(|p| p.file_name().and_then(|n| n.to_str()).is_some_and(|n| n.starts_with(prefix) && n.ends_with(".safetensors")));
        out.sort();
        Ok(out)
    };
    let held = named("held-")?;
    let all = if held.is_empty() { named("frames-")? } else { held };
    if all.is_empty() {
        bail!("{} holds no held-*.safetensors; odori-datagen --held-out makes them", folder.display());
    }
    Ok(all)
}

/// Box means of (side, side, C) bytes at the working size, 0 to 1.
pub fn at_work(bytes: &[u8], side: usize, channels: usize) -> Vec<f32> {
    let k = side / WORK;
    let mut out = vec![0.0; WORK * WORK * channels];
    for y in 0..side {
        for x in 0..side {
            for c in 0..channels {
                out[((y / k) * WORK + x / k) * channels + c] += f32::from(bytes[(y * side + x) * channels + c]);
            }
        }
    }
    let scale = 1.0 / (255 * k * k) as f32;
    out.iter_mut().for_each(|v| *v *= scale);
    out
}

pub fn picture(bytes: &[u8], side: usize) -> Picture {
    Picture { side, rgba: bytes.iter().map(|&v| f32::from(v) / 255.0).collect() }
}

/// Calls `each` with every clip of a shard.
pub fn read_shard(path: &Path, tokens: Option<&Tokens>, mut each: impl FnMut(Clip) -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let bytes = read_bounded(path)?;
    let shown = path.display().to_string();
    let file = SafeTensors::deserialize(&bytes).with_context(|| format!("{shown} is not a safetensors file"))?;
    let truth = file.tensor("truth").with_context(|| format!("{shown} has no `truth`"))?;
    let &[k, f, side, width, 4] = truth.shape() else { bail!("{shown}: `truth` must be (clips, frames, side, side, 4)") };
    ensure!(side == width && (side == WORK || side == 2 * WORK), "{shown}: frames of {side}x{width}; {WORK} or {} a side are judged", 2 * WORK);
    let tensor = |name: &str, dtype: Dtype, shape: &[usize]| -> anyhow::Result<&[u8]> {
        let t = file.tensor(name).with_context(|| format!("{shown} has no `{name}`: make the frames anew"))?;
        ensure!(t.dtype() == dtype && t.shape() == shape, "{shown}: `{name}` is {:?} of {:?}, expected {dtype:?} of {shape:?}", t.dtype(), t.shape());
        Ok(t.data())
    };
    let truth = tensor("truth", Dtype::U8, &[k, f, side, side, 4])?;
    let puppet = tensor("puppet", Dtype::U8, &[k, f, side, side, 4])?;
    let validity = tensor("validity", Dtype::U8, &[k, f, side, side])?;
    let reference = tensor("reference", Dtype::U8, &[k, side, side, 4])?;
    let floats = |name: &str, shape: &[usize]| -> anyhow::Result<Vec<f32>> {
        Ok(tensor(name, Dtype::F32, shape)?.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)).collect())
    };
    let whole = |name: &str, shape: &[usize]| -> anyhow::Result<Vec<i32>> {
        Ok(tensor(name, Dtype::I32, shape)?.as_chunks::<4>().0.iter().map(|b| i32::from_le_bytes(*b)).collect())
    };
    let points = floats("keypoints", &[k, f, KEYPOINTS, 3])?;
    let depths = floats("depths", &[k, f, KEYPOINTS])?;
    const GRID: usize = WORK / PATCH;
    let head = tensor("head", Dtype::U8, &[k, f, GRID, GRID])?;
    let facing = floats("facing", &[k, f, FACING])?;
    let (rows, look) = (whole("token_row", &[k, f])?, whole("look", &[k])?);
    let (pixels, scale) = (side * side, 1.0 / side as f32);
    for i in 0..k {
        let frames = (i * f..(i + 1) * f).map(|n| Frame {
            truth: picture(&truth[n * pixels * 4..][..pixels * 4], side),
            puppet: puppet[n * pixels * 4..][..pixels * 4].to_vec(),
            validity: at_work(&validity[n * pixels..][..pixels], side, 1),
            keypoints: std::array::from_fn(|j| {
                let p = &points[(n * KEYPOINTS + j) * 3..][..3];
                Keypoint { x: p[0] * scale, y: p[1] * scale, confidence: p[2], depth: depths[n * KEYPOINTS + j] }
            }),
            facing: std::array::from_fn(|j| facing[n * FACING + j]),
            head: head[n * GRID * GRID..][..GRID * GRID].iter().map(|&v| f32::from(v) / 255.0).collect(),
            tokens: tokens.map_or_else(Vec::new, |t| t.window(rows[n])),
        });
        let clip = Clip {
            look: look[i],
            side,
            reference: picture(&reference[i * pixels * 4..][..pixels * 4], side),
            frames: frames.collect(),
        };
        if !each(clip)? {
            return Ok(false);
        }
    }
    Ok(true)
}
