//! `odori-datagen`: renders the training frames of the denoiser.
//!
//! A thin edge: reads arguments and files, deals the work to threads, writes shards. Read `look` first.

mod clips;
mod colour;
mod flow;
mod look;
mod makehuman;
mod plan;
mod procedural;
mod rng;
mod shard;
mod sheet;
mod visibility;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use clap::Parser;
use indicatif::{ProgressBar, ProgressStyle};

use clips::Clips;
use look::Studio;
use odori_kernels::Weights;
use plan::{Plan, Shares, Task};
use shard::Record;

/// Samples in a shard.
const SHARD: usize = 50;

/// Renders characters in motion, truly and by the engine's puppet, as training data for the denoiser.
#[derive(Parser)]
struct Arguments {
    /// Folders with rigged characters (.glb, .vrm); may be repeated or left out.
    #[arg(long, num_args = 0..)]
    characters: Vec<PathBuf>,
    /// Folder that MakeHuman's assets unpack to (base/, makehuman/data/): adds people of its making.
    #[arg(long)]
    makehuman: Option<PathBuf>,
    /// Share of looks that are mascots: costumes with hoods, robots, animals.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    mascots: f32,
    /// Share of looks that are seen from behind, and dance turned away.
    #[arg(long, default_value_t = 0.0, value_parser = share)]
    backs: f32,
    /// The figure finder's weights: avatars are cut into parts by it, as a stranger's are; else by rules made of the true joints.
    #[arg(long)]
    figure: Option<PathBuf>,
    /// Motion: `clips.safetensors`.
    #[arg(long)]
    clips: PathBuf,
    /// Folder for the shards.
    #[arg(long)]
    out: PathBuf,
    /// Samples to render.
    #[arg(long, default_value_t = 2400)]
    count: usize,
    /// Consecutive 30 Hz frames of a sample.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=64))]
    frames: u16,
    /// Side of the pictures, pixels.
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(32..=1024))]
    size: u16,
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=256))]
    threads: u16,
    /// Samples that share one look (character, proportions, palette, style).
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(1..=1000))]
    per_look: u16,
    /// Render what is kept from training instead.
    #[arg(long)]
    held_out: bool,
    /// Also write a contact sheet of a few samples of each shard.
    #[arg(long)]
    sheets: bool,
}

fn share(s: &str) -> Result<f32, String> {
    s.parse().ok().filter(|v| (0.0..=1.0).contains(v)).ok_or_else(|| "a number from 0 to 1 is wanted".into())
}

fn main() -> Result<()> {
    let a = Arguments::parse();
    if a.count == 0 {
        bail!("--count must be at least 1");
    }
    let (frames, size) = (usize::from(a.frames), usize::from(a.size));
    let bytes = std::fs::read(&a.clips).with_context(|| format!("cannot read {}", a.clips.display()))?;
    let clips = Clips::read(&bytes)?;
    drop(bytes);
    let humans = a.makehuman.as_deref().map(makehuman::Humans::read).transpose()?;
    let figure = a.figure.as_deref().map(|path| -> Result<Weights> {
        let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        Weights::from_safetensors(&bytes).with_context(|| format!("{}: not weights", path.display()))
    });
    let figure = figure.transpose()?;
    let plan = Plan::new(&a.characters, humans, Shares { mascots: a.mascots, backs: a.backs }, a.count, usize::from(a.per_look), a.seed, a.held_out)?;
    std::fs::create_dir_all(&a.out).with_context(|| format!("cannot make {}", a.out.display()))?;
    let prefix = if a.held_out { "held" } else { "frames" };
    let metadata = HashMap::from([
        ("version".into(), "1".to_string()),
        ("seed".into(), a.seed.to_string()),
        ("size".into(), size.to_string()),
        ("fps".into(), "30".into()),
        ("characters".into(), serde_json::to_string(&plan.names)?),
        ("clips".into(), serde_json::to_string(&clips.names)?),
    ]);
    let bar = ProgressBar::new(a.count as u64);
    bar.set_style(ProgressStyle::with_template("{wide_bar} {pos}/{len} {elapsed_precise} left {eta_precise}")?);
    let mut errors = Vec::new();
    for (index, tasks) in plan.shards(SHARD).into_iter().enumerate() {
        let records = render(&plan, &clips, figure.as_ref(), tasks, frames, size, usize::from(a.threads), &bar)?;
        let name = format!("{prefix}-{index:05}");
        shard::write(&a.out, &format!("{name}.safetensors"), size, frames, &records, &metadata)?;
        if a.sheets {
            let shown: Vec<&Record> = records.iter().step_by(usize::from(a.per_look)).collect();
            sheet::write(&a.out.join(format!("{name}.png")), &shown, size, frames)?;
        }
        errors.extend(records.iter().flat_map(|r| r.sample.error_px.iter().copied()));
    }
    bar.finish();
    let ready = if a.held_out { "READY-held" } else { "READY" };
    std::fs::write(a.out.join(ready), "")?;
    errors.sort_by(f32::total_cmp);
    if !errors.is_empty() {
        let at = |q: f32| errors[((errors.len() - 1) as f32 * q) as usize];
        println!("puppet to truth, pixels of {size}: median {:.2}, p90 {:.2}", at(0.5), at(0.9));
    }
    Ok(())
}

/// Renders a shard's tasks on several threads; the result does not depend on how many.
#[allow(clippy::too_many_arguments)]
fn render(
    plan: &Plan,
    clips: &Clips,
    figure: Option<&Weights>,
    tasks: &[Task],
    frames: usize,
    size: usize,
    threads: usize,
    bar: &ProgressBar,
) -> Result<Vec<Record>> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Vec<Record>)>> = Mutex::new(Vec::new());
    let outcome: Vec<Result<()>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|_| {
                scope.spawn(|| -> Result<()> {
                    let mut studio = Studio::new(size, figure)?;
                    loop {
                        let i = next.fetch_add(1, Ordering::Relaxed);
                        let Some(task) = tasks.get(i) else { return Ok(()) };
                        let records = plan.render(task, clips, frames, &mut studio)?;
                        bar.inc(records.len() as u64);
                        done.lock().unwrap_or_else(|e| e.into_inner()).push((i, records));
                    }
                })
            })
            .collect();
        workers.into_iter().map(|w| w.join().unwrap_or_else(|_| bail!("a drawing thread failed"))).collect()
    });
    outcome.into_iter().collect::<Result<()>>()?;
    let mut done = done.into_inner().unwrap_or_else(|e| e.into_inner());
    done.sort_by_key(|d| d.0);
    Ok(done.into_iter().flat_map(|d| d.1).collect())
}
