//! `odori render`: a song to a video, or to its dance alone. No clock is read to decide anything: the same song,
//! seed and weights give the same poses.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use odori_engine::audio::MODEL_RATE;
use odori_engine::avatar::Avatar;
use odori_engine::bvh;
use odori_engine::dance::group::MOST_DANCERS;
use odori_engine::pipeline::{FRAME_RATE, Frame, Pipeline, Scene, Stage, TICK_SAMPLES};
use odori_engine::pose::Pose;
use odori_engine::render::Background;
use odori_engine::skeleton::SKELETON;
use serde_json::json;

use crate::cli::RenderArgs;
use crate::commands::film::Film;
use crate::dancer;
use crate::direction::DanceChange;
use crate::engine::Machine;
use crate::live::DanceSettings;
use crate::session::run::PLAIN;

/// Stereo samples at 48 kHz to a frame.
const LISTEN_PER_FRAME: usize = 2 * 48_000 / FRAME_RATE as usize;

pub fn style_number(engine: &Machine, text: &str) -> anyhow::Result<u32> {
    let styles = engine.styles();
    let found = match text.parse::<usize>() {
        Ok(n) => (n < styles.len()).then_some(n),
        Err(_) => styles.iter().position(|s| s.eq_ignore_ascii_case(text)),
    };
    found.map(|n| n as u32).with_context(|| format!("there is no style {text:?}; there are: {}", styles.join(", ")))
}

fn avatar(path: &Path) -> anyhow::Result<Avatar> {
    let shown = path.display().to_string();
    match crate::built_in::named(&shown).filter(|_| !path.exists()) {
        Some(built_in) => built_in,
        None => {
            let bytes = std::fs::read(path).with_context(|| format!("{shown} cannot be read, and no built-in avatar is called so"))?;
            crate::built_in::read_avatar(&bytes).with_context(|| shown)
        }
    }
}

/// What the background's words mean: a name, a colour or a picture's file.
fn background(args: &RenderArgs) -> anyhow::Result<Background> {
    let text = args.background.as_str();
    let path = Path::new(text);
    if !path.is_file() {
        return crate::session::plain_background(text).map_err(|_| anyhow::anyhow!("--background is transparent, stage, a colour such as #1b1830, or the file of a picture; {text:?} is none"));
    }
    let size = std::fs::metadata(path).with_context(|| format!("{text} cannot be read"))?.len();
    if size > crate::http::BACKGROUND_BYTES as u64 {
        bail!("{text} is {} MB; at most {} MB are read", size >> 20, crate::http::BACKGROUND_BYTES >> 20);
    }
    let bytes = std::fs::read(path).with_context(|| format!("{text} cannot be read"))?;
    Background::from_encoded(&bytes, args.size).with_context(|| text.to_owned())
}

fn pipeline(engine: &Machine, args: &RenderArgs, dance: &DanceSettings) -> anyhow::Result<Pipeline> {
    let settings = dancer::settings(dance);
    if args.output.is_none() {
        return engine.group(settings, args.dancers());
    }
    let avatars = match args.avatars.is_empty() {
        true => vec![crate::built_in::avatar()?],
        false => args.avatars.iter().take(MOST_DANCERS).map(|p| avatar(p)).collect::<Result<_, _>>()?,
    };
    let mut pipeline = engine.pipeline(avatars[0].clone(), args.size, settings, false)?;
    pipeline.wear(&mut engine.costume(&pipeline, &avatars, args.dancers())?);
    pipeline.set_scene(&Scene { framing: args.framing, background: background(args)? });
    Ok(pipeline)
}

/// How the dance begins, as the arguments say.
fn beginning(engine: &Machine, args: &RenderArgs) -> anyhow::Result<DanceSettings> {
    let mut dance = DanceSettings::default();
    let style = args.style.as_deref().map(|s| style_number(engine, s)).transpose()?;
    let change = DanceChange { seed: Some(args.seed), style, energy: args.energy, ..args.direction.change() };
    change_dance(engine, &change, &mut dance)?;
    Ok(dance)
}

fn change_dance(engine: &Machine, change: &DanceChange, dance: &mut DanceSettings) -> anyhow::Result<()> {
    let read = |text: &str| engine.prompts.read(text);
    if let Some(prompt) = change.apply(dance, engine.styles(), Some(&read)).map_err(anyhow::Error::msg)? {
        eprintln!("\"{}\" is danced as {}", prompt.text, in_words(engine, dance));
        if !prompt.unknown.is_empty() {
            eprintln!("words that are not known: {}", prompt.unknown.join(", "));
        }
    }
    Ok(())
}

fn in_words(engine: &Machine, d: &DanceSettings) -> String {
    let style = engine.styles().get(d.style as usize).map_or("any", String::as_str);
    format!("style {style}, energy {}, hands {}, head {}, footwork {}, pace {}", d.energy, d.hands, d.head, d.footwork, d.pace.name())
}

/// Of a group, dancer `n` from 0: FILE.bvh, FILE-2.bvh, ...
fn bvh_path(path: &std::path::Path, n: usize) -> std::path::PathBuf {
    if n == 0 {
        return path.to_owned();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!("{stem}-{}", n + 1)).with_extension(path.extension().unwrap_or_default())
}

#[derive(Default)]
struct Report {
    frames: u64,
    times: BTreeMap<&'static str, Vec<f64>>,
    rungs: BTreeMap<&'static str, u64>,
}

impl Report {
    fn add(&mut self, frame: &Frame<'_>) {
        self.frames += 1;
        for (stage, time) in Stage::ALL.iter().zip(frame.timings) {
            if !time.is_zero() {
                self.times.entry(stage.name()).or_default().push(time.as_secs_f64() * 1e3);
            }
        }
        if !frame.rgba.is_empty() {
            *self.rungs.entry(frame.rung.name()).or_default() += 1;
        }
    }

    fn json(mut self, engine: &Machine, elapsed: Duration, drew: bool) -> anyhow::Result<serde_json::Value> {
        let seconds = self.frames as f64 / f64::from(FRAME_RATE);
        let stages: serde_json::Map<_, _> = self
            .times
            .iter_mut()
            .map(|(name, list)| {
                list.sort_unstable_by(f64::total_cmp);
                let at = |share: f64| (list[((list.len() - 1) as f64 * share).round() as usize] * 1e3).round() / 1e3;
                ((*name).to_owned(), json!({ "p50_ms": at(0.5), "p95_ms": at(0.95), "p99_ms": at(0.99) }))
            })
            .collect();
        let models: serde_json::Map<_, _> = engine.versions().into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
        let draw = if drew { engine.drawer_description()? } else { "none".into() };
        Ok(json!({
            "frames": self.frames,
            "seconds": seconds,
            "realtime_factor": (seconds / elapsed.as_secs_f64() * 1e3).round() / 1e3,
            "stages": stages,
            "rungs": self.rungs,
            "backend": { "compute": engine.backend_name(), "draw": draw },
            "models": models,
        }))
    }
}

/// # Errors
/// What cannot be read, rendered or written.
pub fn run(args: &RenderArgs) -> anyhow::Result<()> {
    let engine = Machine::open(&args.engine.options())?;
    let mut song = super::open_song(&args.song)?;
    let mut dance = beginning(&engine, args)?;
    let mut pipeline = pipeline(&engine, args, &dance)?;
    let mut cues = args.direction.cues.clone();
    cues.sort_by(|a, b| a.at_s.total_cmp(&b.at_s));
    let mut cues = cues.into_iter().peekable();
    let stated = song.decoder().stated_duration_s();
    let expected = match (args.seconds, stated) {
        (Some(s), Some(d)) => Some(s.min(d)),
        (s, d) => s.or(d),
    };
    let limit = args.seconds.map_or(u64::MAX, |s| (s * f64::from(FRAME_RATE)).round() as u64);
    let estimate = (expected.unwrap_or(600.0) * f64::from(FRAME_RATE)) as usize + FRAME_RATE as usize;
    let mut film = match &args.output {
        Some(path) => Some((Film::create(&super::part_of(path), args.size.0, args.size.1, estimate, PLAIN)?, path)),
        None => None,
    };
    let mut keypoints = args.keypoints.as_ref().map(|p| keypoint_file(p, args.size)).transpose()?;
    let mut encode_times = Vec::new();
    let mut poses: Vec<Vec<Pose>> = vec![Vec::new(); args.dancers()];
    let mut report = Report::default();
    let progress = super::progress_bar(estimate as u64 - u64::from(FRAME_RATE) , "rendering");
    let start = Instant::now();
    let (mut listen, mut model) = (Vec::new(), Vec::new());
    let mut more = true;
    while more && report.frames < limit {
        more = song.next_into(&mut listen, &mut model)?;
        if !more && !model.is_empty() {
            // The last frame is filled up with silence.
            model.resize(model.len().next_multiple_of(TICK_SAMPLES as usize), 0.0);
            listen.resize(listen.len().next_multiple_of(LISTEN_PER_FRAME), 0.0);
        }
        let mut used = 0;
        while model.len() - used >= TICK_SAMPLES as usize && listen.len() >= (used / TICK_SAMPLES as usize + 1) * LISTEN_PER_FRAME && report.frames < limit {
            while let Some(cue) = cues.next_if(|c| c.at_s <= report.frames as f64 / f64::from(FRAME_RATE)) {
                change_dance(&engine, &cue.change, &mut dance)?;
                pipeline.settings = dancer::settings(&dance);
            }
            pipeline.push_audio(&model[used..used + TICK_SAMPLES as usize]);
            let n = used / TICK_SAMPLES as usize;
            used += TICK_SAMPLES as usize;
            let frame = if film.is_some() { pipeline.next_frame()? } else { pipeline.skip_frame()? };
            let Some(frame) = frame else { bail!("the pipeline gave no frame for a frame's sound; please report this") };
            if let Some((film, _)) = &mut film {
                let start = Instant::now();
                film.frame(frame.rgba, frame.ground, frame.width, frame.height)?;
                encode_times.push(start.elapsed().as_secs_f64() * 1e3);
                film.sound(&listen[n * LISTEN_PER_FRAME..(n + 1) * LISTEN_PER_FRAME])?;
            }
            if let Some(file) = &mut keypoints {
                let t = report.frames as f64 / f64::from(FRAME_RATE);
                let points: Vec<_> = frame.keypoints.iter().map(|k| [round(k.position.x), round(k.position.y), round(k.confidence)]).collect();
                writeln!(file, "{}", json!({ "t": (t * 1e6).round() / 1e6, "keypoints": points }))?;
            }
            if args.bvh.is_some() {
                poses.iter_mut().zip(frame.dancers).for_each(|(list, pose)| list.push(pose.clone()));
            }
            report.add(&frame);
            progress.inc(1);
        }
        model.drain(..used);
        listen.drain(..used / TICK_SAMPLES as usize * LISTEN_PER_FRAME);
    }
    let elapsed = start.elapsed();
    progress.finish_and_clear();
    if report.frames == 0 {
        bail!("{}: there is no sound in it to dance to", args.song.display());
    }
    if song.decoder().truncated() {
        eprintln!("warning: {} ends early; the {:.1} s that could be read were rendered", args.song.display(), report.frames as f64 / f64::from(FRAME_RATE));
    }
    if let Some(mut file) = keypoints {
        file.flush()?;
    }
    if let Some(path) = &args.bvh {
        for (n, poses) in poses.iter().enumerate() {
            super::write_whole(&bvh_path(path, n), bvh::write(poses, FRAME_RATE as f32).as_bytes())?;
        }
    }
    let drew = film.is_some();
    if let Some((film, path)) = film {
        report.times.insert("encode", encode_times);
        film.finish()?;
        std::fs::rename(super::part_of(path), path).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let summary = report.json(&engine, elapsed, drew)?;
    if args.json {
        println!("{summary}");
    } else {
        eprintln!("{:.1} s of dance, {} times real time", summary["seconds"].as_f64().unwrap_or_default(), summary["realtime_factor"]);
    }
    debug_assert!(MODEL_RATE as u64 / u64::from(FRAME_RATE) == TICK_SAMPLES);
    Ok(())
}

fn round(x: f32) -> f64 {
    (f64::from(x) * 1e3).round() / 1e3
}

fn keypoint_file(path: &std::path::Path, (width, height): (u32, u32)) -> anyhow::Result<BufWriter<File>> {
    let mut file = BufWriter::new(File::create(path).with_context(|| format!("{} cannot be written", path.display()))?);
    let names: Vec<_> = SKELETON.keypoints.iter().map(|k| k.name.as_str()).collect();
    writeln!(file, "{}", json!({ "names": names, "width": width, "height": height, "fps": FRAME_RATE }))?;
    Ok(file)
}
