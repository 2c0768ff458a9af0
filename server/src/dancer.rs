//! The engine's pipeline as a session's dancer: the one place where server and engine meet.

use std::sync::Arc;
use std::time::Duration;

use cpu_time::ProcessTime;
use odori_engine::avatar::{Avatar, Expression};
use odori_engine::dance::group::MOST_DANCERS;
use odori_engine::dance::Direction;
use odori_engine::ladder::{Budget, Load};
use odori_engine::pipeline::{self, Costume as Clothes, Fitting, Pipeline, Settings};
use odori_engine::pose::Keypoint;
use odori_engine::skeleton::KEYPOINT_COUNT;

use crate::built_in;
use crate::engine::Machine;
use crate::live::{AvatarEntry, Beat, Calibration, Cast, Costume, DanceSettings, Dancer, DancerRequest, Engine, LiveError, LiveFrame, Scene, Wardrobe};
use crate::measure::{Span, Stage};
use crate::media::picture::Ground;
use crate::media::video::{VideoCodec, VideoEncoder};
use crate::session::secret_id;

struct PipelineDancer {
    pipeline: Pipeline,
    machine: Arc<Machine>,
    /// Who the pipeline was made for.
    first: Arc<AvatarEntry>,
    /// Of the newest frame.
    spans: Vec<Span>,
    keypoints: [Keypoint; KEYPOINT_COUNT],
}

fn stage(of: pipeline::Stage) -> Stage {
    match of {
        pipeline::Stage::Features => Stage::Features,
        pipeline::Stage::Beat => Stage::Beat,
        pipeline::Stage::Motion => Stage::Motion,
        pipeline::Stage::Puppet => Stage::Puppet,
        pipeline::Stage::Denoise => Stage::Denoise,
        pipeline::Stage::Compose => Stage::Compose,
    }
}

/// What the engine makes of a person's settings.
pub fn settings(d: &DanceSettings) -> Settings {
    let direction = Direction { hands: d.hands, head: d.head, footwork: d.footwork, facing_deg: d.facing };
    let mut settings = Settings { energy: d.energy, style: d.style, direction, pace: d.pace, ..Settings::default() };
    settings.sampling.seed = d.seed;
    settings
}

fn words(e: impl std::fmt::Display) -> LiveError {
    LiveError(e.to_string())
}

impl Dancer for PipelineDancer {
    fn push_audio(&mut self, mono: &[f32]) -> usize {
        self.pipeline.push_audio(mono)
    }

    fn next_frame(&mut self, draw: bool) -> Result<Option<LiveFrame<'_>>, LiveError> {
        let frame = if draw { self.pipeline.next_frame() } else { self.pipeline.skip_frame() }.map_err(words)?;
        let Some(f) = frame else { return Ok(None) };
        self.spans.clear();
        self.keypoints = f.keypoints;
        for (of, (began, cost)) in pipeline::Stage::ALL.into_iter().zip(f.began.into_iter().zip(f.timings)) {
            self.spans.extend(began.map(|began| Span { stage: stage(of), began, cost }));
        }
        Ok(Some(LiveFrame {
            rgba: f.rgba,
            ground: f.ground,
            width: f.width,
            height: f.height,
            media_samples: f.media_samples,
            beat: Beat { bpm: f.beat.bpm, beat_phase: f.beat.beat_phase, bar_phase: f.beat.bar_phase, confidence: f.beat.confidence },
            rung: f.rung,
            pose: f.pose,
            face: f.face,
            keypoints: &self.keypoints,
            spans: &self.spans,
        }))
    }

    fn set(&mut self, d: &DanceSettings) {
        self.pipeline.settings = Settings { horizon: self.pipeline.settings.horizon, ..settings(d) };
    }

    fn set_scene(&mut self, scene: &Scene) {
        self.pipeline.set_scene(scene);
    }

    fn wardrobe(&self) -> Box<dyn Wardrobe> {
        Box::new(PipelineWardrobe {
            machine: self.machine.clone(),
            fitting: self.pipeline.fitting().expect("a live dancer has pictures"),
            worn: vec![self.first.clone()],
            made: 1,
        })
    }

    fn wear(&mut self, mut costume: Costume) -> Costume {
        if let Some(clothes) = costume.downcast_mut::<Clothes>() {
            self.pipeline.wear(clothes);
        }
        costume
    }

    fn set_horizon(&mut self, horizon: Duration) {
        self.pipeline.settings.horizon = horizon;
    }

    fn set_face(&mut self, face: Option<Expression>) {
        self.pipeline.set_face(face);
    }

    fn set_budget(&mut self, budget: Budget) {
        if let Some(ladder) = self.pipeline.ladder() {
            ladder.set_budget(budget);
        }
    }

    fn fared(&mut self, age: Option<Duration>) {
        if let Some(ladder) = self.pipeline.ladder() {
            match age {
                Some(age) => ladder.ready(age),
                None => ladder.missed(),
            }
        }
    }

    fn discontinuity(&mut self) {
        self.pipeline.discontinuity();
    }
}

/// Makes looks and newcomers for one dancer's pipeline, and keeps count of what is there.
struct PipelineWardrobe {
    machine: Arc<Machine>,
    fitting: Fitting,
    /// What each dancer has on, of those who were ever there.
    worn: Vec<Arc<AvatarEntry>>,
    made: usize,
}

impl Wardrobe for PipelineWardrobe {
    fn fit(&mut self, cast: &Cast) -> Result<Costume, LiveError> {
        let Cast(avatars) = cast;
        let mut clothes = Clothes::new(avatars.len());
        let mut worn = self.worn.clone();
        let mut read: Option<(&Arc<AvatarEntry>, Avatar)> = None;
        for (n, entry) in avatars.iter().enumerate().take(MOST_DANCERS) {
            if worn.get(n).is_some_and(|w| Arc::ptr_eq(w, entry)) {
                continue;
            }
            let avatar = match &read {
                Some((of, avatar)) if Arc::ptr_eq(of, entry) => avatar.clone(),
                _ => Avatar::from_bytes(&entry.file).map_err(words)?,
            };
            read = Some((entry, avatar.clone()));
            clothes = clothes.with_look(n, self.machine.look(&self.fitting, avatar, n).map_err(words)?);
            worn.truncate(worn.len().max(n));
            match worn.get_mut(n) {
                Some(place) => *place = entry.clone(),
                None => worn.push(entry.clone()),
            }
        }
        for _ in self.made..avatars.len() {
            clothes = self.machine.newcomer(clothes).map_err(words)?;
        }
        (self.worn, self.made) = (worn, self.made.max(avatars.len()));
        Ok(Box::new(clothes))
    }
}

/// Frames that the encoder is measured by.
const CALIBRATION_FRAMES: usize = 9;
/// Pairs of frames that each rung is measured by.
const CALIBRATION_PAIRS: usize = 5;

/// Measures a real session's frames: what each rung takes, and what a frame of the best one, encoded, takes of all cores.
fn calibrate(machine: &Machine, size: (u32, u32)) -> anyhow::Result<Calibration> {
    // Only one side of a character is drawn at a time, and each costs the same: the back would only take room.
    let avatar = Avatar { back: None, ..built_in::avatar()? };
    let mut pipeline = machine.pipeline(avatar.clone(), size, Settings::default(), true)?;
    // A beat to dance to: silence would be cheaper.
    let sound: Vec<f32> = (0..12_000).map(|i| (i as f32 * 0.0157).sin() * (-(i as f32) / 1200.0).exp()).collect();
    let one = pipeline.measure_rungs(&sound, CALIBRATION_PAIRS)?;
    let mut encoder = VideoEncoder::new(VideoCodec::H264, 2_000_000, pipeline::FRAME_RATE);
    let (mut data, mut made) = (Vec::new(), 0);
    let mut samples = sound.iter().copied().cycle();
    let mut began = None;
    while made <= CALIBRATION_FRAMES {
        let block: [f32; pipeline::TICK_SAMPLES as usize] = std::array::from_fn(|_| samples.next().unwrap_or(0.0));
        pipeline.push_audio(&block);
        let Some(frame) = pipeline.next_frame()? else { continue };
        data.clear();
        encoder.encode(frame.rgba, frame.width, frame.height, Ground::Colour([0; 3]), false, &mut data)?;
        // The first, with its keyframe, is not like the others.
        began.get_or_insert_with(ProcessTime::now);
        made += 1;
    }
    let spent = began.map_or(Duration::ZERO, |b| b.elapsed());
    // What each dancer more takes.
    pipeline.wear(&mut machine.costume(&pipeline, &[avatar], 2)?);
    machine.set_load(Load::new(&one, &pipeline.measure_rungs(&sound, CALIBRATION_PAIRS)?));
    Ok(Calibration { best: machine.best(), frame_cpu: spent / CALIBRATION_FRAMES as u32 })
}

/// The engine as the server sees it, with pictures of `size`, width and height in pixels.
///
/// # Errors
/// Names the avatar or song file that cannot be used.
pub fn engine(machine: Arc<Machine>, avatars: &[std::path::PathBuf], songs: &[std::path::PathBuf], size: (u32, u32)) -> anyhow::Result<Engine> {
    let styles = machine.styles().to_vec();
    let (reader, measured) = (machine.clone(), machine.clone());
    let make = move |request: &DancerRequest| -> Result<Box<dyn Dancer>, LiveError> {
        let first = request.cast.0.first().ok_or_else(|| LiveError("nobody is to dance".into()))?.clone();
        let avatar = Avatar::from_bytes(&first.file).map_err(words)?;
        let mut pipeline = machine
            .pipeline(avatar, (request.width, request.height), settings(&request.settings), true)
            .map_err(|e| LiveError(format!("{e:#}")))?;
        pipeline.set_scene(&request.scene);
        let (spans, keypoints) = (Vec::with_capacity(pipeline::Stage::ALL.len()), [Keypoint::default(); KEYPOINT_COUNT]);
        Ok(Box::new(PipelineDancer { pipeline, machine: machine.clone(), first, spans, keypoints }))
    };
    let import = |name: &str, bytes: &[u8]| -> Result<AvatarEntry, LiveError> {
        let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
        let avatar = built_in::read_avatar(bytes).map_err(|e| LiveError(format!("{name}: {e:#}")))?;
        let id = format!("{}-{}", built_in::id_of(stem), &secret_id()[..6]);
        built_in::entry(&id, stem, &avatar).map_err(|e| LiveError(format!("{name}: {e:#}")))
    };
    let engine = Engine::new(built_in::avatars(avatars)?, built_in::songs(songs)?, styles, size, Box::new(make), Box::new(import));
    let engine = engine.with_prompts(Box::new(move |text| reader.prompts.read(text)));
    Ok(engine.with_calibration(Box::new(move || calibrate(&measured, size).map_err(|e| LiveError(format!("{e:#}"))))))
}
