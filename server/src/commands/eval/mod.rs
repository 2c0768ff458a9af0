//! `odori eval motion`: dances to held-out songs and judges what it danced, beside real dance and, if asked, beside
//! other weights. Reads no clock; the same weights, set and seed give the same table.

mod chance;
mod controls;
mod judge;
pub mod pictures;
mod report;
pub mod set;

use anyhow::Context;
use indicatif::ProgressBar;
use odori_engine::beat::BeatState;
use odori_engine::metrics::{self, body::liveliness};
use odori_engine::pipeline::{Settings, TICK_SAMPLES};
use odori_engine::pose::Pose;
use serde::Serialize;

use crate::cli::EvalMotionArgs;
use crate::engine::{Machine, Options};
use chance::{Chance, chance};
use controls::Controls;
use judge::{Column, Real, Stretches, Take, column};
use set::{Dance, EvalSet, Song, Split};

const POSES_PER_MINUTE: usize = 1800;

/// Everything that was found.
#[derive(Serialize)]
pub struct Findings {
    pub models: Vec<(&'static str, String)>,
    pub energy: f32,
    pub temperature: f32,
    pub top_p: f32,
    pub seed: u32,
    pub seeds: u32,
    pub columns: Vec<Column>,
    /// What is chance in the held-out real dance's figures.
    pub chance: Option<Chance>,
    pub hour: Option<Hour>,
    pub controls: Option<Controls>,
}

/// A long dance over all songs, again and again, without a pause or a reset.
#[derive(Serialize)]
pub struct Hour {
    pub minutes: u32,
    /// Mean joint speed of every minute, m/s.
    pub speed: Vec<f32>,
    pub first_five: f32,
    pub last_five: f32,
    pub still: f32,
    pub nearly_still: f32,
    pub longest_still_s: f32,
    pub strayed_m: f32,
}

/// Faster than this, every other beat is counted, as the engine's clock does and dancers do.
const FASTEST_BPM: f32 = 200.0;

/// The beat state at `t` seconds by the song's own, exact beats.
fn true_beat(song: &Song, t: f32) -> BeatState {
    let b = &song.beats;
    let every = if song.bpm > FASTEST_BPM && b.len() > 2 { 2 } else { 1 };
    let last = (b.len() - 1) / every;
    let i = b.iter().step_by(every).take_while(|x| **x <= t).count().clamp(1, last);
    let (from, to) = (b[(i - 1) * every], b[i * every]);
    let step = to - from;
    let beats = (i - 1) as f32 + (t - from) / step;
    BeatState {
        bpm: 60.0 / step,
        beat_phase: beats.rem_euclid(1.0).min(0.999_999),
        bar_phase: (beats / 4.0).rem_euclid(1.0).min(0.999_999),
        beats_per_bar: 4,
        confidence: 0.9,
        at_samples: 0,
    }
}

/// Beats as seconds from the first frame on, which is stamped with the end of its sound.
fn seen(beats: &[f32]) -> Vec<f32> {
    beats.iter().map(|b| b - 1.0 / metrics::POSE_HZ).collect()
}

/// One dance to one song.
struct Request<'a> {
    song: &'a Song,
    seconds: f64,
    settings: Settings,
    /// By the song's exact beats instead of the engine's own clock.
    exact: bool,
    /// What settings become at a second.
    change: Option<(f32, Settings)>,
}

fn dance(machine: &Machine, request: &Request<'_>, bar: &ProgressBar) -> anyhow::Result<Vec<Pose>> {
    let mut pipeline = machine.poses(request.settings)?;
    let frames = (request.seconds * 30.0) as usize;
    let mut poses = Vec::with_capacity(frames);
    for (n, block) in request.song.sound.chunks_exact(TICK_SAMPLES as usize).take(frames).enumerate() {
        let t = n as f32 / metrics::POSE_HZ;
        if let Some((at, settings)) = request.change
            && t >= at
        {
            pipeline.settings = settings;
        }
        if request.exact {
            pipeline.given_beat = Some(BeatState { at_samples: n as u64 * TICK_SAMPLES, ..true_beat(request.song, t) });
        }
        pipeline.push_audio(block);
        if let Some(frame) = pipeline.skip_frame()? {
            poses.push(frame.pose.clone());
        }
    }
    bar.inc(poses.len() as u64);
    Ok(poses)
}

/// Every song, danced once by each of `seeds` seeds.
fn takes(machine: &Machine, set: &EvalSet, settings: Settings, seeds: u32, seconds: f64, exact: bool, bar: &ProgressBar) -> anyhow::Result<Vec<Take>> {
    let songs: Vec<&Song> = set.songs.iter().filter(|s| s.tempo == 1.0).collect();
    let dances = songs.len() * seeds as usize;
    songs
        .iter()
        .cycle()
        .take(dances)
        .zip(settings.sampling.seed..)
        .map(|(song, seed)| {
            let mut settings = settings;
            settings.sampling.seed = seed;
            let poses = dance(machine, &Request { song, seconds, settings, exact, change: None }, bar)?;
            Ok(Take::new(&song.name, poses, &seen(&song.beats)))
        })
        .collect()
}

fn hour(machine: &Machine, set: &EvalSet, settings: Settings, minutes: u32, bar: &ProgressBar) -> anyhow::Result<Hour> {
    let mut pipeline = machine.poses(settings)?;
    let wanted = minutes as usize * POSES_PER_MINUTE;
    let mut bodies = Vec::with_capacity(wanted);
    let songs: Vec<_> = set.songs.iter().filter(|s| s.tempo == 1.0).collect();
    let blocks = songs.iter().cycle().flat_map(|s| s.sound.chunks_exact(TICK_SAMPLES as usize));
    for block in blocks.take(wanted) {
        pipeline.push_audio(block);
        if let Some(frame) = pipeline.skip_frame()? {
            bodies.push(metrics::body(frame.pose));
        }
        if bodies.len().is_multiple_of(300) {
            bar.inc(300);
        }
    }
    let speed: Vec<f32> = bodies.chunks_exact(POSES_PER_MINUTE).map(|m| liveliness(m).speed).collect();
    let five = speed.len().min(5);
    let live = liveliness(&bodies);
    Ok(Hour {
        minutes,
        first_five: metrics::mean(&speed[..five]),
        last_five: metrics::mean(&speed[speed.len() - five..]),
        speed,
        still: live.still,
        nearly_still: live.nearly_still,
        longest_still_s: live.longest_still_s,
        strayed_m: live.strayed_m,
    })
}

fn of_split<'a>(set: &'a EvalSet, splits: &'a [Split]) -> impl Iterator<Item = &'a Dance> {
    set.dances.iter().filter(|d| splits.contains(&d.split) && d.style != "calm" && d.style != "club")
}

fn take_of(set: &EvalSet, dance: &Dance) -> Take {
    let beats = set.songs.iter().find(|s| matches!(dance.split, Split::Choreography | Split::First) && s.name == dance.name).map_or(&[][..], |s| &s.beats);
    Take::new(&dance.name, dance.poses.clone(), beats)
}

/// # Errors
/// What of the set or of the weights cannot be used.
pub fn motion(args: &EvalMotionArgs) -> anyhow::Result<()> {
    let set = EvalSet::read(&args.set)?;
    // Poses alone are small work: threads would wait for each other more than they work.
    let options = Options { compute: crate::engine::Compute::Cpu, threads: Some(1), ..args.engine.options() };
    let machine = Machine::open(&options)?;
    let mut settings = Settings { style: super::render::style_number(&machine, &args.style)?, ..Settings::default() };
    settings.energy = args.energy.unwrap_or(settings.energy);
    settings.sampling.seed = args.seed;
    settings.sampling.temperature = args.temperature.unwrap_or(settings.sampling.temperature);
    settings.sampling.top_p = args.top_p.unwrap_or(settings.sampling.top_p);

    let takes_of = |splits: &[Split]| -> Vec<Take> { of_split(&set, splits).map(|d| take_of(&set, d)).collect() };
    let (held, all) = (takes_of(&[Split::HeldOut]), takes_of(&[Split::HeldOut, Split::Trained]));
    let stretches = |t: &[Take]| Stretches::of(t.iter().map(|t| &t.bodies[..]));
    let real = Real::new(stretches(&held), stretches(&all));

    let plain: f64 = set.songs.iter().filter(|s| s.tempo == 1.0).map(|s| f64::from(s.seconds()).min(args.seconds) * 30.0).sum();
    let runs = 2.0 + if args.against.is_some() { 1.0 } else { 0.0 };
    let controlled = if args.no_controls { 0 } else { controls::frames(&machine) };
    let bar = super::progress_bar((plain * runs) as u64 * u64::from(args.seeds) + u64::from(args.minutes) * POSES_PER_MINUTE as u64 + controlled, "dancing");

    let mut columns = vec![
        column("dance", &takes(&machine, &set, settings, args.seeds, args.seconds, false, &bar)?, &real),
        column("by exact beats", &takes(&machine, &set, settings, args.seeds, args.seconds, true, &bar)?, &real),
    ];
    if let Some(folder) = &args.against {
        let other = Machine::open(&Options { models: Some(folder.clone()), ..options })?;
        columns.push(column("other weights", &takes(&other, &set, settings, args.seeds, args.seconds, false, &bar)?, &real));
    }
    let first = takes_of(&[Split::First]);
    if !first.is_empty() {
        columns.push(column("first model", &first, &real));
    }
    columns.push(column("choreography", &takes_of(&[Split::Choreography]), &real));
    columns.push(column("real, held out", &held, &real));
    columns.push(column("real, all", &all, &real));
    let hour = if args.minutes > 0 { Some(hour(&machine, &set, settings, args.minutes, &bar)?) } else { None };
    let controls = if args.no_controls { None } else { Some(controls::measure(&machine, &set, settings, &bar)?) };
    bar.finish_and_clear();

    let findings = Findings {
        models: machine.versions().into_iter().take(2).collect(),
        energy: settings.energy,
        temperature: settings.sampling.temperature,
        top_p: settings.sampling.top_p,
        seed: args.seed,
        seeds: args.seeds,
        columns,
        chance: chance(&held, &all, args.seed),
        hour,
        controls,
    };
    if let Some(path) = &args.report {
        super::write_whole(path, report::page(&findings).as_bytes()).with_context(|| "the report".to_owned())?;
    }
    if args.json {
        println!("{}", serde_json::to_string(&findings)?);
    } else {
        print!("{}", report::table(&findings));
    }
    Ok(())
}
