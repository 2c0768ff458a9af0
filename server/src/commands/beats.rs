//! `odori beats`: what a live listener would know of a song's beats, and when.

use anyhow::Context;
use odori_engine::audio::MODEL_RATE;
use odori_engine::beat::{BeatSource, PredictedBeat};
use odori_engine::features::{Features, HOP_SAMPLES};
use odori_kernels::{Backend, Weights, cpu};
use serde::Serialize;

use crate::cli::{BeatsArgs, Tracker};

#[derive(Serialize)]
struct Line {
    time: f64,
    predicted_at: f64,
    downbeat: bool,
    bpm: f64,
    confidence: f64,
    /// Announced after it sounded.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    late: bool,
}

impl From<PredictedBeat> for Line {
    fn from(b: PredictedBeat) -> Self {
        let round = |x: f64| (x * 1e4).round() / 1e4;
        Line {
            time: round(b.time),
            predicted_at: round(b.predicted_at),
            downbeat: b.downbeat,
            bpm: round(f64::from(b.bpm)),
            confidence: round(f64::from(b.confidence)),
            late: b.predicted_at > b.time,
        }
    }
}

fn tracker(kind: Tracker) -> anyhow::Result<BeatSource> {
    match kind {
        Tracker::Odori => {
            let weights = Weights::from_safetensors(crate::engine::BEAT).context("the built-in beat weights")?;
            Ok(BeatSource::own(&Backend::Cpu(cpu::Pool::new(1)), &weights)?)
        }
        #[cfg(feature = "aubio")]
        Tracker::Aubio => {
            let tracker = odori_engine::beat::AubioTempo::new().ok_or_else(|| anyhow::anyhow!("aubio cannot be started; use --tracker odori"))?;
            Ok(BeatSource::Aubio(Box::new(tracker)))
        }
        #[cfg(not(feature = "aubio"))]
        Tracker::Aubio => anyhow::bail!("this binary was built without aubio; use --tracker odori"),
    }
}

/// # Errors
/// If the song cannot be read.
pub fn run(args: &BeatsArgs) -> anyhow::Result<()> {
    let mut song = super::open_song(&args.song)?;
    let mut tracker = tracker(args.tracker)?;
    let mut features = Features::new();
    let (mut listen, mut model) = (Vec::new(), Vec::new());
    let mut heard = 0u64;
    let mut more = true;
    while more {
        listen.clear();
        more = song.next_into(&mut listen, &mut model)?;
        let whole = model.len() / HOP_SAMPLES * HOP_SAMPLES;
        for hop in model[..whole].chunks_exact(HOP_SAMPLES) {
            heard += HOP_SAMPLES as u64;
            features.push(hop);
            let Some(f) = features.next_hop().copied() else { continue };
            tracker.step(&f, hop, heard);
            while let Some(beat) = tracker.take_predicted() {
                print(&Line::from(beat), args.json)?;
            }
        }
        model.drain(..whole);
    }
    if song.decoder().truncated() {
        eprintln!("warning: the file ends early; {:.1} s of it could be read", heard as f64 / f64::from(MODEL_RATE));
    }
    Ok(())
}

fn print(line: &Line, json: bool) -> anyhow::Result<()> {
    use std::io::Write;
    let mut out = std::io::stdout().lock();
    let written = if json {
        writeln!(out, "{}", serde_json::to_string(line)?)
    } else {
        let mark = if line.downbeat { "|" } else { " " };
        writeln!(out, "{mark} {:8.3} s  {:5.1} BPM  sure {:3.0} %  known {:.0} ms ahead", line.time, line.bpm, line.confidence * 100.0, (line.time - line.predicted_at) * 1e3)
    };
    match written {
        // Whoever read us has seen enough.
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => std::process::exit(0),
        other => Ok(other?),
    }
}
