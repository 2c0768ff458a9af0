//! What a frame costs, stage by stage: the engine and the encoder on a pinned clip, without pacing and without a network.

use std::time::{Duration, Instant};

use anyhow::bail;
use odori_engine::dance::group::MOST_DANCERS;
use odori_engine::pipeline::{Settings, Stage, TICK_SAMPLES};

use super::glass::Setup;
use super::report::{Better, Curve, Limit, Line, Section, Shape, Spread, round};
use super::stand::FRAME_MS;
use crate::engine::Machine;
use crate::media::picture::Ground;
use crate::media::video::{VideoCodec, VideoEncoder};

/// Frames left out at the start: the dancer comes out of rest, the encoder finds its rate.
const WARM_UP: usize = 60;
const BITRATE_BPS: u32 = 2_500_000;

/// What each frame cost, in milliseconds.
pub struct Costs {
    /// By stage of the engine, only the frames that had it: the dancer steps in every second one.
    pub stages: Vec<(&'static str, Vec<f64>)>,
    pub encode: Vec<f64>,
    pub whole: Vec<f64>,
}

impl Costs {
    pub fn whole(&self) -> Spread {
        Spread::of("", "whole frame", "ms", self.whole.clone())
    }
}

/// Dances the built-in song for `frames` frames after warm-up, as fast as it goes; every one of `dancers` is denoised.
///
/// # Errors
/// If the engine cannot be set up or fails.
pub fn measure(machine: &Machine, side: u32, seed: u64, frames: usize, dancers: usize) -> anyhow::Result<Costs> {
    let mut settings = Settings::default();
    settings.sampling.seed = seed as u32;
    let mut pipeline = machine.pipeline(crate::built_in::avatar()?, (side, side), settings, false)?;
    if dancers > 1 {
        pipeline.wear(&mut machine.costume(&pipeline, &[crate::built_in::avatar()?], dancers)?);
    }
    let mut encoder = VideoEncoder::new(VideoCodec::H264, BITRATE_BPS, 30);
    let mut costs = Costs { stages: Stage::ALL.iter().map(|s| (s.name(), Vec::new())).collect(), encode: Vec::new(), whole: Vec::new() };
    let (mut listen, mut model, mut coded) = (Vec::new(), Vec::<f32>::new(), Vec::new());
    let mut song = crate::commands::open_song(std::path::Path::new("-"))?;
    let mut done = 0;
    while done < WARM_UP + frames {
        while model.len() < TICK_SAMPLES as usize {
            listen.clear();
            if !song.next_into(&mut listen, &mut model)? {
                song = crate::commands::open_song(std::path::Path::new("-"))?;
            }
        }
        pipeline.push_audio(&model[..TICK_SAMPLES as usize]);
        model.drain(..TICK_SAMPLES as usize);
        let Some(frame) = pipeline.next_frame()? else { bail!("the pipeline gave no frame for a frame's sound; please report this") };
        let start = Instant::now();
        coded.clear();
        encoder.encode(frame.rgba, frame.width, frame.height, Ground::Colour([0x1b, 0x18, 0x30]), false, &mut coded)?;
        let encode = start.elapsed();
        done += 1;
        if done <= WARM_UP {
            continue;
        }
        let ms = |d: Duration| d.as_secs_f64() * 1e3;
        for ((_, list), time) in costs.stages.iter_mut().zip(frame.timings) {
            if !time.is_zero() {
                list.push(ms(time));
            }
        }
        costs.encode.push(ms(encode));
        costs.whole.push(ms(encode + frame.timings.iter().sum::<Duration>()));
    }
    Ok(costs)
}

/// # Errors
/// As [`measure`].
pub fn run(setup: &Setup) -> anyhow::Result<Section> {
    let mut section = Section::new(
        "stages",
        "What a frame costs",
        "The built-in song danced and encoded frame after frame, as fast as it goes: no pacing, no network, no other session. Motion runs for every second frame.",
    );
    let costs = measure(&setup.machine, setup.side, setup.seed, (setup.seconds * 30.0) as usize, 1)?;
    let over = costs.whole.iter().filter(|c| **c > FRAME_MS).count();
    section.value("frames dearer than a frame's time, 33.3 ms", "%", 100.0 * over as f64 / costs.whole.len().max(1) as f64, Better::Lower);
    section.value("times real time", "", FRAME_MS * costs.whole.len() as f64 / costs.whole.iter().sum::<f64>().max(1e-9), Better::Higher);
    let mut list: Vec<Spread> = costs.stages.iter().map(|(name, c)| Spread::of("stages", name, "ms", c.clone())).collect();
    list.push(Spread::of("stages", "encode", "ms", costs.encode.clone()));
    let labels = ["p50", "p95", "p99", "p99.9"];
    let lines = list
        .iter()
        .filter(|s| s.count > 0)
        .map(|s| Line { name: s.name.clone(), points: [s.p50, s.p95, s.p99, s.p99_9].iter().enumerate().map(|(n, v)| [n as f64, round(*v)]).collect() })
        .collect();
    section.curves.push(Curve {
        name: "Cost of a frame by stage".into(),
        x: "each stage's own percentile".into(),
        y: "ms".into(),
        shape: Shape::Stack,
        labels: labels.map(String::from).to_vec(),
        lines,
        limit: None,
    });
    section.spreads = list;
    section.spreads.push(Spread { group: "whole".into(), ..costs.whole() });
    section.bar("a frame fits in its time, p99", costs.whole().p99 <= FRAME_MS, format!("p99 {:.1} ms of {FRAME_MS:.1}", costs.whole().p99));
    Ok(section)
}

/// Cost against picture size, denoise steps, working size and dancers, as curves.
///
/// # Errors
/// As [`measure`].
pub fn scaling(setup: &Setup) -> anyhow::Result<Section> {
    use odori_engine::ladder::Rung;

    let mut section = Section::new("scaling", "Cost against size, steps and dancers", "The same clip, one thing changed at a time; the rest as in the manifest's command. Median and p95 of a whole frame with its encoding.");
    let frames = ((setup.seconds * 30.0) as usize).min(300);
    let mut curve = |name: &str, x: &str, points: Vec<(f64, Costs)>| {
        let line = |label: &str, of: &dyn Fn(&Spread) -> f64| Line { name: label.into(), points: points.iter().map(|(x, c)| [*x, of(&c.whole())]).collect() };
        section.curves.push(Curve {
            name: name.into(),
            x: x.into(),
            y: "ms a frame".into(),
            lines: vec![line("median", &|s| s.p50), line("p95", &|s| s.p95)],
            limit: Some(Limit { name: "a frame's time".into(), y: FRAME_MS }),
            ..Curve::default()
        });
        for (at, costs) in &points {
            section.spreads.push(Spread { name: format!("{name}: {at} {x}"), group: name.into(), ..costs.whole() });
        }
    };
    let sizes = [256, 384, 512, 720, 1080];
    let points: anyhow::Result<Vec<_>> = sizes.into_iter().map(|side| Ok((f64::from(side), measure(&setup.machine, side, setup.seed, frames, 1)?))).collect();
    curve("Picture size", "pixels a side", points?);
    let points: anyhow::Result<Vec<_>> = [Rung::Puppet, Rung::OneStep, Rung::TwoSteps, Rung::FourSteps]
        .into_iter()
        .map(|best| {
            let machine = Machine::open(&crate::engine::Options { best, ..setup.options.clone() })?;
            Ok((f64::from(best.denoise_steps()), measure(&machine, setup.side, setup.seed, frames, 1)?))
        })
        .collect();
    curve("Denoise steps", "steps", points?);
    let points: anyhow::Result<Vec<_>> = [128, 192, 256]
        .into_iter()
        .map(|working_size| {
            let machine = Machine::open(&crate::engine::Options { working_size, ..setup.options.clone() })?;
            Ok((working_size as f64, measure(&machine, setup.side, setup.seed, frames, 1)?))
        })
        .collect();
    curve("Working size of the denoiser", "pixels a side", points?);
    let points: anyhow::Result<Vec<_>> = (1..=MOST_DANCERS).map(|n| Ok((n as f64, measure(&setup.machine, setup.side, setup.seed, frames, n)?))).collect();
    curve("Dancers, each denoised", "dancers", points?);
    Ok(section)
}
