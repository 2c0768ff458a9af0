//! Reads the folder of true renders that `odori-datagen --held-out` writes (training/datagen/FORMAT.md). Every length is
//! checked before it is used.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use odori_engine::avatar::FACING;
use odori_engine::denoiser::{KEYPOINTS, Keypoint, PATCH, TOKEN_SLOTS, TOKEN_STEPS, enlarge};
use safetensors::{Dtype, SafeTensors};

use super::measures::Picture;

/// Largest shard that is read.
const MAX_SHARD_BYTES: u64 = 1 << 30;
/// Cells a side that shards tell the head's cover of.
const HEAD_GRID: usize = 32;
/// Largest side of pictures that are judged.
const MAX_SIDE: usize = 1024;

/// One frame as the live engine would have it, and its truth.
pub struct Frame {
    pub truth: Picture,
    /// The puppet at full size, bytes.
    pub puppet: Vec<u8>,
    /// (W, W), W the working size
    pub validity: Vec<f32>,
    pub keypoints: [Keypoint; KEYPOINTS],
    pub facing: [f32; FACING],
    /// (W / PATCH) squared
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

    /// The window that ends with the step which shows `row` of the motion clips; nothing for a row below zero.
    fn window(&self, row: i32) -> Vec<[u16; TOKEN_SLOTS]> {
        if row < 0 {
            return Vec::new();
        }
        let end = (row as usize / 2 + 1).min(self.0.len());
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
pub fn at_work(bytes: &[u8], side: usize, work: usize, channels: usize) -> Vec<f32> {
    let k = side as f32 / work as f32;
    // The pixels that a working pixel covers, and how much of each.
    let cover = |i: usize| {
        let (from, to) = (i as f32 * k, (i + 1) as f32 * k);
        (from as usize..(to.ceil() as usize).min(side)).map(move |p| (p, to.min((p + 1) as f32) - from.max(p as f32))).filter(|(_, share)| *share > 1e-4)
    };
    let scale = 1.0 / (255.0 * k * k);
    let mut out = Vec::with_capacity(work * work * channels);
    for y in 0..work {
        for x in 0..work {
            out.extend((0..channels).map(|c| {
                let sum: f32 = cover(y).flat_map(|(v, b)| cover(x).map(move |(u, a)| (u, v, a * b))).map(|(u, v, share)| share * f32::from(bytes[(v * side + u) * channels + c])).sum();
                sum * scale
            }));
        }
    }
    out
}

/// The head's cover on the working size's patches, between those of the shard.
fn head_at_work(cover: &[u8], work: usize) -> Vec<f32> {
    let grid = work / PATCH;
    let mut out = vec![0.0; grid * grid];
    let cover: Vec<f32> = cover.iter().map(|&v| f32::from(v) / 255.0).collect();
    enlarge(&cover, HEAD_GRID, grid, &mut out);
    out
}

pub fn picture(bytes: &[u8], side: usize) -> Picture {
    Picture { side, rgba: bytes.iter().map(|&v| f32::from(v) / 255.0).collect() }
}

/// Calls `each` with every clip of a shard, ready for a working size.
pub fn read_shard(path: &Path, work: usize, tokens: Option<&Tokens>, mut each: impl FnMut(Clip) -> anyhow::Result<bool>) -> anyhow::Result<bool> {
    let bytes = read_bounded(path)?;
    let shown = path.display().to_string();
    let file = SafeTensors::deserialize(&bytes).with_context(|| format!("{shown} is not a safetensors file"))?;
    let truth = file.tensor("truth").with_context(|| format!("{shown} has no `truth`"))?;
    let &[k, f, side, width, 4] = truth.shape() else { bail!("{shown}: `truth` must be (clips, frames, side, side, 4)") };
    ensure!(side == width && (work..=MAX_SIDE).contains(&side), "{shown}: frames of {side}x{width}; the working size, {work}, to {MAX_SIDE} a side are judged");
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
    let cells = HEAD_GRID * HEAD_GRID;
    let head = tensor("head", Dtype::U8, &[k, f, HEAD_GRID, HEAD_GRID])?;
    let facing = floats("facing", &[k, f, FACING])?;
    let (rows, look) = (whole("token_row", &[k, f])?, whole("look", &[k])?);
    let (pixels, scale) = (side * side, 1.0 / side as f32);
    for i in 0..k {
        let frames = (i * f..(i + 1) * f).map(|n| Frame {
            truth: picture(&truth[n * pixels * 4..][..pixels * 4], side),
            puppet: puppet[n * pixels * 4..][..pixels * 4].to_vec(),
            validity: at_work(&validity[n * pixels..][..pixels], side, work, 1),
            keypoints: std::array::from_fn(|j| {
                let p = &points[(n * KEYPOINTS + j) * 3..][..3];
                Keypoint { x: p[0] * scale, y: p[1] * scale, confidence: p[2], depth: depths[n * KEYPOINTS + j] }
            }),
            facing: std::array::from_fn(|j| facing[n * FACING + j]),
            head: head_at_work(&head[n * cells..][..cells], work),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_picture_is_as_bright_and_in_its_place() {
        let side = 256;
        let bytes: Vec<u8> = (0..side * side * 2).map(|i| ((i / 2 % side) as u8) >> (i % 2)).collect();
        for work in [128, 192, 256] {
            let small = at_work(&bytes, side, work, 2);
            let k = side as f32 / work as f32;
            for (x, p) in small[..work * 2].as_chunks::<2>().0.iter().enumerate() {
                // A ramp's mean over a pixel lies in its middle.
                let expected = ((x as f32 + 0.5) * k - 0.5) / 255.0;
                assert!((p[0] - expected).abs() < 1e-3 && (p[1] - 0.5 * expected).abs() < 3e-3, "{work}: {p:?} at {x}, {expected}");
            }
            let other = small[..work * 2].iter().zip(&small[work * 2..work * 4]).all(|(a, b)| (a - b).abs() < 1e-5);
            assert!(other, "{work}: every row is alike");
        }
    }

    #[test]
    fn the_head_stays_where_it_is_at_every_working_size() {
        let cover: Vec<u8> = (0..HEAD_GRID * HEAD_GRID).map(|i| if (10..20).contains(&(i % HEAD_GRID)) { 255 } else { 0 }).collect();
        for work in [128, 192, 256] {
            let grid = work / PATCH;
            let head = head_at_work(&cover, work);
            let share = head.iter().sum::<f32>() / (grid * grid) as f32;
            assert!((share - 10.0 / 32.0).abs() < 0.01, "{work}: {share}");
            assert_eq!((head[15 * grid / 32], head[5 * grid / 32]), (1.0, 0.0));
        }
    }
}
