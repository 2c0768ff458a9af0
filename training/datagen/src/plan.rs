//! What is rendered: which character wears which look in which samples, all from the seed.
//!
//! Opens the character files (the edge of this program); a file that cannot be used is reported and left out.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use odori_engine::avatar::rigged::character::Character;
use crate::clips::{Clips, TOKEN_FRAMES, Window};
use odori_engine::avatar::Side;
use odori_engine::avatar::rigged::glb;
use crate::look::{self, LEAD_FRAMES, Look, Studio};
use crate::makehuman::Humans;
use crate::procedural;
use crate::rng::Rng;
use crate::shard::Record;

/// Share of looks that are MakeHuman's people, where its folder is given.
const HUMAN: f32 = 0.35;
/// Share of the others that are rigs from files.
const RIGGED: f32 = 0.35;
/// Every n-th rig file is kept from training.
const HELD_OUT_EVERY: usize = 8;
/// Made characters from here on are kept from training.
const HELD_OUT_SEED: u64 = 1 << 40;

/// The row of a frame that has no tokens.
const NO_ROW: i32 = -1;

#[derive(Clone, Copy, Debug)]
enum Who {
    Rig(usize),
    Human(u64),
    Made(u64),
    Mascot(u64),
}

/// One look and the samples it appears in.
#[derive(Clone, Debug)]
pub struct Task {
    look: usize,
    who: Who,
    side: Side,
    character: usize,
    samples: usize,
    character_held_out: bool,
    clip_held_out: bool,
}

/// Of all looks.
#[derive(Clone, Copy, Debug)]
pub struct Shares {
    pub mascots: f32,
    /// Seen from behind.
    pub backs: f32,
}

pub struct Plan {
    rigs: Vec<Character>,
    humans: Option<Humans>,
    tasks: Vec<Task>,
    pub names: Vec<String>,
    seed: u64,
}

impl Plan {
    pub fn new(folders: &[PathBuf], humans: Option<Humans>, shares: Shares, count: usize, per_look: usize, seed: u64, held_out: bool) -> Result<Plan> {
        let rigs = rigs(folders)?;
        let mut names: Vec<String> = rigs.iter().map(|r| r.name.clone()).collect();
        let rng = Rng::new(seed);
        let mut tasks = Vec::new();
        let mut left = count;
        while left > 0 {
            let look = tasks.len();
            let mut rng = rng.fork(look as u64);
            let (character_held_out, clip_held_out) = match (held_out, look % 4) {
                (false, _) => (false, false),
                (true, 0 | 1) => (true, true),
                (true, 2) => (true, false),
                (true, _) => (false, true),
            };
            let eligible: Vec<usize> = (0..rigs.len()).filter(|&r| rigs[r].held_out == character_held_out).collect();
            let base = if character_held_out { HELD_OUT_SEED } else { 0 };
            let made = base + (seed << 20) % HELD_OUT_SEED + look as u64;
            // By its own chance: without mascots the others are who they were.
            let (who, character) = if shares.mascots > 0.0 && rng.fork(7).chance(shares.mascots) {
                names.push(format!("mascot-{made}"));
                (Who::Mascot(made), names.len() - 1)
            } else if humans.is_some() && rng.chance(HUMAN) {
                names.push(format!("human-{made}"));
                (Who::Human(made), names.len() - 1)
            } else if !eligible.is_empty() && rng.chance(RIGGED) {
                let r = rng.pick(&eligible);
                (Who::Rig(r), r)
            } else {
                names.push(format!("made-{made}"));
                (Who::Made(made), names.len() - 1)
            };
            let samples = per_look.min(left);
            left -= samples;
            let side = if shares.backs > 0.0 && rng.fork(8).chance(shares.backs) { Side::Back } else { Side::Front };
            tasks.push(Task { look, who, side, character, samples, character_held_out, clip_held_out });
        }
        Ok(Plan { rigs, humans, tasks, names, seed })
    }

    /// Tasks cut so that each piece holds about `size` samples.
    pub fn shards(&self, size: usize) -> Vec<&[Task]> {
        let mut out = Vec::new();
        let (mut from, mut held) = (0, 0);
        for (i, task) in self.tasks.iter().enumerate() {
            held += task.samples;
            if held + task.samples > size {
                out.push(&self.tasks[from..=i]);
                (from, held) = (i + 1, 0);
            }
        }
        if from < self.tasks.len() {
            out.push(&self.tasks[from..]);
        }
        out
    }

    pub fn render(&self, task: &Task, clips: &Clips, frames: usize, studio: &mut Studio) -> Result<Vec<Record>> {
        let rng = Rng::new(self.seed ^ 0x5eed).fork(task.look as u64);
        let (character, vary) = match task.who {
            Who::Rig(r) => (self.rigs[r].clone(), true),
            Who::Human(seed) => (self.humans.as_ref().context("no MakeHuman folder")?.character(seed)?, true),
            Who::Made(seed) => (procedural::character(seed), false),
            Who::Mascot(seed) => (procedural::mascot::character(seed), false),
        };
        let look = Look::new(character, vary, task.side, &mut rng.fork(1), studio)?;
        let mut out = Vec::with_capacity(task.samples);
        for s in 0..task.samples {
            let mut rng = rng.fork(100 + s as u64);
            let mut window: Window = clips
                .window(frames, LEAD_FRAMES.min(TOKEN_FRAMES - 1), task.clip_held_out, &mut rng)
                .context("no clip is long enough, or none is held out")?;
            // Tokens are of a body with its left at its left.
            let mut token_rows: Vec<i32> = (0..frames).map(|f| (window.row + f) as i32).collect();
            if task.side == Side::Back {
                look::turn(&mut window.poses);
                token_rows.fill(NO_ROW);
            }
            out.push(Record {
                sample: look.sample(&window, &mut rng, studio),
                reference: look.reference.clone(),
                parts: look.parts.clone(),
                ruled_parts: look.ruled_parts.clone(),
                reference_keypoints: look.reference_keypoints.iter().flat_map(|k| [k.x, k.y]).collect(),
                token_rows,
                character: task.character as i32,
                look: task.look as i32,
                character_held_out: task.character_held_out,
                clip_held_out: task.clip_held_out,
            });
        }
        Ok(out)
    }
}

fn rigs(folders: &[PathBuf]) -> Result<Vec<Character>> {
    let mut files = Vec::new();
    for folder in folders {
        let entries = std::fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries {
            let path = entry?.path();
            if matches!(path.extension().and_then(|e| e.to_str()), Some("glb" | "vrm")) {
                files.push(path);
            }
        }
    }
    // By name, so that neither the folder's place nor its order matters.
    files.sort_by_key(|f| f.file_name().map(|n| n.to_os_string()));
    let mut out: Vec<Character> = Vec::new();
    for file in &files {
        match rig(file) {
            Ok(mut c) => {
                c.held_out = out.len() % HELD_OUT_EVERY == HELD_OUT_EVERY / 2;
                out.push(c);
            }
            Err(e) => eprintln!("left out: {e:#}"),
        }
    }
    if !folders.is_empty() && out.is_empty() {
        bail!("no usable .glb or .vrm file in the --characters folders");
    }
    Ok(out)
}

fn rig(file: &Path) -> Result<Character> {
    let name = file.file_stem().and_then(|n| n.to_str()).unwrap_or("rig").to_string();
    let bytes = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    Ok(glb::read(&name, &bytes, 512).map_err(|e| anyhow::anyhow!("{name}: {e}"))?.0)
}
