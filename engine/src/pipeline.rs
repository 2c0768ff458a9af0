//! The data path, whole: sound goes in, frames come out. Read this file first.
//!
//! ```text
//! sound 24 kHz mono -> features 60 Hz -> beat clock -> motion 15 Hz -> pose 30 Hz -> puppet -> denoise -> compose -> frame
//! ```
//!
//! The audio sample counter is the master clock: every 400 samples a feature hop, every 800 a frame, every
//! 1600 a motion step. So the same sound gives the same dance however it is cut into blocks, and nothing here
//! reads the time except to report what a stage cost. There are no queues and no threads of its own here: the caller pushes
//! sound and asks for the frames that are due, and may skip the pictures (never the poses) of those it is late for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use glam::{Vec2, Vec3};
use odori_kernels::{Backend, Weights};

use crate::avatar::{self, Avatar, PuppetFrame, Springs};
use crate::beat::{BeatSource, BeatState, LEAST_CONFIDENCE, PredictedBeat};
use crate::dance::group::{Group, MOST_DANCERS};
use crate::dance::retime::TOLD_SAMPLES;
use crate::dance::{self, Dancer, Direction, Hush, Mood, Pace, Staging};
use crate::denoiser::{self, DenoiseInput, DenoiseOutput, Denoiser, Doubt, SIZES, TOKEN_SLOTS, TOKEN_STEPS};
use crate::features::{Features, HOP_FLOATS, HOP_SAMPLES};
use crate::ladder::{Budget, Costs, IDLE_EVERY, Ladder, Rung};
use crate::motion::{MUSIC_DIM, Sampling, StepInput};
use crate::pose::{Camera, Keypoint, Pose};
use crate::render::{Background, DENOISED_CHANNELS, Drawer, Size};
use crate::skeleton::KEYPOINT_COUNT;

/// Samples a second of the model's sound, mono.
pub const SAMPLE_RATE: u32 = 24_000;
/// Samples to a frame: 30 a second.
pub const TICK_SAMPLES: u64 = 800;
pub const FRAME_RATE: u32 = 30;
/// Feature hops to a motion step.
const HOPS_PER_STEP: usize = 4;
/// What a frame may take until another budget is set: a frame's time less what encoding and sending need, and two frames' age.
const BUDGET: Budget = Budget { frame: Duration::from_millis(28), latency: Duration::from_millis(66) };

/// The stages that are timed, in the order of the path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Stage {
    Features,
    Beat,
    Motion,
    Puppet,
    Denoise,
    Compose,
}

impl Stage {
    pub const ALL: [Stage; 6] = [Stage::Features, Stage::Beat, Stage::Motion, Stage::Puppet, Stage::Denoise, Stage::Compose];

    pub fn name(self) -> &'static str {
        match self {
            Stage::Features => "features",
            Stage::Beat => "beat",
            Stage::Motion => "motion",
            Stage::Puppet => "puppet",
            Stage::Denoise => "denoise",
            Stage::Compose => "compose",
        }
    }
}

/// What each stage cost for one frame, in the order of [`Stage::ALL`].
pub type Timings = [Duration; Stage::ALL.len()];

/// When each stage that ran for one frame last began, in the order of [`Stage::ALL`].
pub type Beginnings = [Option<Instant>; Stage::ALL.len()];

/// Times the stages of one frame.
#[derive(Default)]
struct Stopwatch {
    costs: Timings,
    began: Beginnings,
}

/// A stage under way.
struct Running {
    stage: Stage,
    start: Instant,
    _span: tracing::span::EnteredSpan,
}

impl Running {
    fn start(stage: Stage) -> Self {
        Running { stage, start: Instant::now(), _span: tracing::trace_span!("stage", name = stage.name()).entered() }
    }
}

impl Stopwatch {
    fn stop(&mut self, running: Running) {
        self.costs[running.stage as usize] += running.start.elapsed();
        self.began[running.stage as usize] = Some(running.start);
    }
}

/// What a viewer can change while it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub sampling: Sampling,
    /// 0 calm to 1 wild.
    pub energy: f32,
    pub style: u32,
    /// Stress on parts of the body, and which way the dancer faces.
    pub direction: Direction,
    /// How fast the dancer counts.
    pub pace: Pace,
    /// How far ahead of the sound the dance is made: the time until it is seen, less the time until the sound is heard.
    pub horizon: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sampling: Sampling::default(),
            energy: 0.85,
            style: 0,
            direction: Direction::default(),
            pace: Pace::default(),
            horizon: Duration::ZERO,
        }
    }
}

/// A finished frame; the picture is borrowed until the next one is made.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Premultiplied, `width * height * 4`; empty if the picture was skipped.
    pub rgba: &'a [u8],
    pub width: u32,
    pub height: u32,
    /// The frame's place on the master clock, in samples at [`SAMPLE_RATE`].
    pub media_samples: u64,
    pub pose: &'a Pose,
    /// Every dancer of the group, the one of `pose` first.
    pub dancers: &'a [Pose],
    pub keypoints: [Keypoint; KEYPOINT_COUNT],
    pub beat: BeatState,
    pub rung: Rung,
    pub timings: Timings,
    pub began: Beginnings,
}

#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    #[error(transparent)]
    Beat(#[from] crate::beat::BeatError),
    #[error(transparent)]
    Motion(#[from] crate::motion::MotionError),
    #[error(transparent)]
    Denoiser(#[from] crate::denoiser::DenoiserError),
    #[error(transparent)]
    Render(#[from] crate::render::RenderError),
    #[error("a {width}x{height} picture: the denoiser's working picture is square, so the frame must be")]
    NotSquare { width: u32, height: u32 },
}

/// The trained weights, read and checked.
pub struct Models {
    pub beat: Weights,
    pub tokenizer: Weights,
    pub motion: Weights,
    pub denoiser: Weights,
    /// How the dancer stands in silence, 30 Hz, over and over.
    pub idle: Arc<Vec<Pose>>,
}

impl Models {
    /// # Errors
    /// If the idle loop does not fit the models.
    pub fn new(backend: &Backend, beat: Weights, tokenizer: Weights, motion: Weights, denoiser: Weights, idle: &Weights) -> Result<Self, PipelineError> {
        let idle = Arc::new(crate::motion::idle_poses(backend, &motion, &tokenizer, idle)?);
        Ok(Models { beat, tokenizer, motion, denoiser, idle })
    }
}

/// How quickly doubt about the warp lets the denoiser speak; a compromise, see `models/denoiser.md`.
pub const DOUBT_GAIN: f32 = 1.0;
/// What the motion model is told of how sure the beat is, where there is one: in training a clock was sure or there was no
/// music, and a dancer who is told something between stands and waits.
const BELIEF: f32 = 1.0;
/// From one dancer's seed to the next one's.
const SEED_STEP: u32 = 7919;

/// Picture making; absent when poses alone are wanted.
struct Picture {
    avatar: Avatar,
    drawer: Drawer,
    /// The working size that was asked for, then the smaller ones that the ladder may go down to.
    works: Vec<Work>,
    springs: Springs,
    full: Size,
    camera: Camera,
    ladder: Option<Ladder>,
    best: Rung,
    /// Tick of the newest picture.
    drawn: u64,
}

/// The denoiser at one working size, held ready: all sizes run on the same weights.
struct Work {
    size: usize,
    denoiser: Denoiser,
    denoised: DenoiseOutput,
    doubt: Doubt,
    /// The denoiser's input, and its output as drawing lays it out.
    warp: Vec<f32>,
    validity: Vec<f32>,
    interleaved: Vec<f32>,
}

impl Work {
    fn new(backend: &Backend, weights: &Weights, size: usize, avatar: &Avatar) -> Result<Self, PipelineError> {
        let mut denoiser = Denoiser::new(backend, weights, size)?;
        denoiser.set_reference(&avatar.reference_square(size))?;
        let pixels = size * size;
        Ok(Work {
            size,
            denoiser,
            denoised: DenoiseOutput::default(),
            doubt: Doubt::default(),
            warp: vec![0.0; pixels * 4],
            validity: vec![0.0; pixels],
            interleaved: Vec::new(),
        })
    }
}

/// One dancer's whole path, owned by one thread.
pub struct Pipeline {
    features: Features,
    beat: BeatSource,
    mood: Mood,
    dancers: Vec<Dancer>,
    group: Group,
    picture: Option<Picture>,
    pub settings: Settings,
    /// The beat as known from elsewhere, in place of the engine's own clock, which listens on meanwhile.
    pub given_beat: Option<BeatState>,

    music: [f32; MUSIC_DIM],
    hops: usize,
    /// The sound of the hop being heard.
    hop_sound: [f32; HOP_SAMPLES],
    beat_state: BeatState,
    beats: Vec<PredictedBeat>,
    /// Tokens of the last steps, newest last, for the renderer's pose window.
    tokens: Vec<[u16; TOKEN_SLOTS]>,
    idle: Arc<Vec<Pose>>,
    hush: Hush,
    /// Bars gone by at the time that the newest step is for, and the phase of its bar.
    bars: u32,
    bar_phase: f32,
    /// What the frame being made shows, a pose a dancer.
    shown: Vec<Pose>,
    /// Samples pushed so far.
    heard: u64,
    /// Frames made or skipped so far.
    ticks: u64,
    watch: Stopwatch,
}

impl Picture {
    /// The pose as the avatar's own body takes it, hair and skirt behind it. Every frame, drawn or not: springs have
    /// a past.
    fn pose(&mut self, pose: &Pose) -> PuppetFrame {
        let mut frame = avatar::drive(&self.avatar, pose, &self.camera);
        self.springs.step(&self.avatar, &mut frame, 1.0 / FRAME_RATE as f32);
        frame
    }

    fn rung(&self) -> Rung {
        self.ladder.as_ref().map_or(self.best, Ladder::rung)
    }

    /// Puppet, denoiser as the rung has it, and both put together.
    fn draw(
        &mut self,
        rung: Rung,
        frame: &PuppetFrame,
        tokens: &[[u16; TOKEN_SLOTS]],
        seed: u32,
        tick: u64,
        watch: &mut Stopwatch,
    ) -> Result<&[u8], PipelineError> {
        let steps = rung.denoise_steps();
        let wanted = rung.working_size(self.works[0].size);
        let at = self.works.iter().position(|w| w.size == wanted).unwrap_or(0);
        let Work { size, denoiser, denoised, doubt, warp, validity, interleaved } = &mut self.works[at];
        let running = Running::start(Stage::Puppet);
        let work = self.drawer.draw_puppet(frame, self.full, Size::square(*size))?;
        for ((pixel, rgba), validity) in work.chunks_exact(5).zip(warp.chunks_exact_mut(4)).zip(validity.iter_mut()) {
            rgba.copy_from_slice(&pixel[..4]);
            *validity = pixel[4];
        }
        watch.stop(running);
        if steps > 0 {
            let running = Running::start(Stage::Denoise);
            let full = Vec2::new(self.full.width as f32, self.full.height as f32);
            let keypoints = std::array::from_fn(|k| {
                let (at, depth) = (frame.keypoints[k], frame.depths[k]);
                let p = at.position / full;
                denoiser::Keypoint { x: p.x, y: p.y, confidence: at.confidence, depth }
            });
            let input = DenoiseInput { warp, validity, keypoints: &keypoints, facing: &frame.facing, tokens };
            denoiser.step(input, steps, seed, tick, denoised)?;
            doubt.apply(&input, *size, DOUBT_GAIN, denoised);
            interleave(denoised, interleaved);
            watch.stop(running);
        }
        let running = Running::start(Stage::Compose);
        let rgba = self.drawer.compose((steps > 0).then_some(&interleaved[..]), &Background::Clear)?;
        watch.stop(running);
        if let Some(ladder) = &mut self.ladder {
            ladder.record(watch.costs.iter().sum());
        }
        Ok(rgba)
    }
}

/// The denoiser's answer as drawing takes it: [`DENOISED_CHANNELS`] a working pixel.
pub fn interleave(from: &DenoiseOutput, out: &mut Vec<f32>) {
    out.resize(from.mask.len() * DENOISED_CHANNELS, 0.0);
    for (i, pixel) in out.chunks_exact_mut(DENOISED_CHANNELS).enumerate() {
        pixel[..4].copy_from_slice(&from.rgba[i * 4..][..4]);
        pixel[4] = from.mask[i];
        pixel[5..9].copy_from_slice(&from.moved[i * 4..][..4]);
        pixel[9..].copy_from_slice(&from.flow[i * 2..][..2]);
    }
}

/// How the picture side is set up.
pub struct PictureSetup {
    pub avatar: Avatar,
    pub drawer: Drawer,
    /// Side of the picture in pixels.
    pub width: u32,
    pub height: u32,
    /// Side of the denoiser's working picture: 128, 192 or 256.
    pub working_size: usize,
    pub best: Rung,
    /// Whether the ladder may step down, for which smaller working sizes are held ready; offline rendering always has the time.
    pub keep_budget: bool,
}

impl Pipeline {
    /// Poses only.
    ///
    /// # Errors
    /// If the weights do not fit the engine.
    pub fn poses_only(backend: &Backend, models: &Models, settings: Settings) -> Result<Self, PipelineError> {
        Self::group(backend, models, settings, 1)
    }

    /// Poses only, of several dancers: 1 to [`MOST_DANCERS`].
    ///
    /// # Errors
    /// If the weights do not fit the engine.
    pub fn group(backend: &Backend, models: &Models, settings: Settings, dancers: usize) -> Result<Self, PipelineError> {
        let size = dancers.clamp(1, MOST_DANCERS);
        let dancer = |_| Ok(Dancer::new(dance::model(backend, &models.motion, &models.tokenizer)?, &models.idle));
        let dancers = (0..size).map(dancer).collect::<Result<Vec<_>, PipelineError>>()?;
        Ok(Pipeline {
            features: Features::new(),
            beat: BeatSource::own(backend, &models.beat)?,
            mood: Mood::default(),
            shown: vec![models.idle[0].clone(); size],
            dancers,
            group: Group::new(size),
            picture: None,
            settings,
            given_beat: None,
            music: [0.0; MUSIC_DIM],
            hops: 0,
            hop_sound: [0.0; HOP_SAMPLES],
            beat_state: BeatState::default(),
            beats: Vec::with_capacity(16),
            idle: Arc::clone(&models.idle),
            hush: Hush::default(),
            bars: 0,
            bar_phase: 0.0,
            tokens: Vec::with_capacity(TOKEN_STEPS + 1),
            heard: 0,
            ticks: 0,
            watch: Stopwatch::default(),
        })
    }

    /// Poses and pictures.
    ///
    /// # Errors
    /// If weights, avatar or drawing cannot be set up; says which and what to do.
    pub fn new(backend: &Backend, models: &Models, settings: Settings, setup: PictureSetup) -> Result<Self, PipelineError> {
        let PictureSetup { avatar, mut drawer, width, height, working_size, best, keep_budget } = setup;
        if width != height {
            return Err(PipelineError::NotSquare { width, height });
        }
        let mut pipeline = Self::poses_only(backend, models, settings)?;
        drawer.set_avatar(&avatar);
        let below = SIZES.into_iter().rev().filter(|size| keep_budget && best.denoise_steps() > 0 && *size < working_size);
        let sizes = std::iter::once(working_size).chain(below);
        pipeline.picture = Some(Picture {
            works: sizes.map(|size| Work::new(backend, &models.denoiser, size, &avatar)).collect::<Result<_, _>>()?,
            springs: Springs::new(),
            full: Size::new(width as usize, height as usize),
            camera: Camera::full_body(width as f32, height as f32),
            ladder: keep_budget.then(|| Ladder::new(best, working_size, BUDGET)),
            avatar,
            drawer,
            best,
            drawn: 0,
        });
        Ok(pipeline)
    }

    /// Takes sound, 24 kHz mono, in blocks of any length, up to the next frame that is due; says how many samples
    /// it took. It takes none while a frame is due, so no pose is ever passed over.
    pub fn push_audio(&mut self, mono: &[f32]) -> usize {
        let mut rest = mono;
        while !rest.is_empty() && !self.frame_due() {
            // Never past a hop: every hop is then stamped with the sample at which it was complete.
            let to_hop = HOP_SAMPLES - (self.heard % HOP_SAMPLES as u64) as usize;
            let (block, after) = rest.split_at(to_hop.min(rest.len()));
            self.heard += block.len() as u64;
            rest = after;
            let running = Running::start(Stage::Features);
            let at = ((self.heard - block.len() as u64) % HOP_SAMPLES as u64) as usize;
            self.hop_sound[at..at + block.len()].copy_from_slice(block);
            self.features.push(block);
            let hop = self.features.next_hop().copied();
            self.watch.stop(running);
            if let Some(hop) = hop {
                let energy = self.hop_sound.iter().map(|s| s * s).sum::<f32>() / HOP_SAMPLES as f32;
                if self.hush.hear(energy.sqrt()) {
                    self.dancers.iter_mut().for_each(Dancer::startle);
                }
                self.hear(&hop);
            }
        }
        mono.len() - rest.len()
    }

    /// One feature hop: the beat clock moves, and every fourth hop the dancer does.
    fn hear(&mut self, hop: &[f32; HOP_FLOATS]) {
        let running = Running::start(Stage::Beat);
        self.beat_state = self.beat.step(hop, &self.hop_sound, self.heard);
        self.beats.extend(self.beat.take_predicted());
        if let Some(given) = &self.given_beat {
            self.beat_state = given.at(self.heard);
        }
        self.watch.stop(running);
        self.mood.hear(hop);
        self.music.copy_within(HOP_FLOATS.., 0);
        self.music[MUSIC_DIM - HOP_FLOATS..].copy_from_slice(hop);
        self.hops += 1;
        if self.hops.is_multiple_of(HOPS_PER_STEP) {
            self.dance();
        }
    }

    /// The beat when what is made now is seen, as the dancers count it.
    fn beat_seen(&self, samples: u64) -> BeatState {
        let horizon = (self.settings.horizon.as_secs_f64() * f64::from(SAMPLE_RATE)) as u64;
        self.settings.pace.count(self.beat_state.at(samples + horizon), self.bars)
    }

    /// One motion step: two poses of every dancer for the time at which they will be seen.
    fn dance(&mut self) {
        let running = Running::start(Stage::Motion);
        let mut beat = self.beat_seen(self.heard + TOLD_SAMPLES);
        if beat.confidence >= LEAST_CONFIDENCE {
            beat.confidence = BELIEF;
        }
        // Bars are the song's own, whatever the pace.
        let bar_phase = self.beat_state.at(self.heard).bar_phase;
        if bar_phase < self.bar_phase - 0.5 {
            self.bars = self.bars.wrapping_add(1);
        }
        self.bar_phase = bar_phase;
        let silent = self.hush.resting();
        let Settings { style, sampling, .. } = self.settings;
        let input = StepInput { music: &self.music, beat: beat.conditioning(), energy: self.mood.energy(self.settings.energy), style, sampling };
        for (n, dancer) in self.dancers.iter_mut().enumerate() {
            let seed = sampling.seed.wrapping_add(SEED_STEP.wrapping_mul(n as u32));
            dancer.step(&StepInput { sampling: Sampling { seed, ..sampling }, ..input }, silent);
        }
        if self.tokens.len() == TOKEN_STEPS {
            self.tokens.remove(0);
        }
        let tokens = self.dancers[0].tokens();
        self.tokens.push(std::array::from_fn(|slot| tokens.get(slot).map_or(0, |&t| t as u16)));
        self.watch.stop(running);
    }

    /// Whether the sound of a frame is complete and it was neither made nor skipped.
    pub fn frame_due(&self) -> bool {
        self.heard / TICK_SAMPLES > self.ticks
    }

    /// Beats announced since this was last asked.
    pub fn take_beats(&mut self) -> impl Iterator<Item = PredictedBeat> + '_ {
        self.beats.drain(..)
    }

    /// Gives the frame that is due without its picture; `None` if none is due.
    ///
    /// # Errors
    /// If drawing fails, as when the graphics device is lost.
    pub fn skip_frame(&mut self) -> Result<Option<Frame<'_>>, PipelineError> {
        self.advance(false)
    }

    /// Makes the frame that is due; `None` if none is due.
    ///
    /// # Errors
    /// If drawing fails, as when the graphics device is lost.
    pub fn next_frame(&mut self) -> Result<Option<Frame<'_>>, PipelineError> {
        self.advance(true)
    }

    /// Every dancer's pose at the frame's own time. Steps and frames share the master clock, two frames to a step, so
    /// the frame due when a step has just run shows its first pose and the next frame its second.
    fn show(&mut self, tick: u64) {
        let running = Running::start(Stage::Motion);
        let beat = self.beat_seen(tick * TICK_SAMPLES);
        let alone = self.dancers.len() == 1;
        let leader = self.dancers[0].danced(tick, &beat);
        if !alone {
            self.group.step(&leader, self.bars, &beat);
        }
        // On the lowest rung it comes to rest, as in silence.
        let silent = self.hush.resting() || self.rung() == Rung::Idle;
        for (n, dancer) in self.dancers.iter_mut().enumerate() {
            let own = if n == 0 { leader.clone() } else { dancer.danced(tick, &beat) };
            let (danced, place) = if alone { (own, Vec3::ZERO) } else { (self.group.pose(n, &own), self.group.place(n)) };
            let staging = Staging { direction: self.settings.direction, beat, silent, stopped: self.hush.stopped(), place, keep_place: !alone };
            // Dancers at rest do not all breathe at once.
            let idle_tick = tick + 31 * n as u64;
            self.shown[n].clone_from(dancer.show(&danced, idle_tick, &self.idle, &staging));
        }
        self.watch.stop(running);
    }

    fn advance(&mut self, draw: bool) -> Result<Option<Frame<'_>>, PipelineError> {
        if !self.frame_due() {
            return Ok(None);
        }
        self.ticks += 1;
        let tick = self.ticks;
        self.show(tick);
        let rung = self.rung();
        let pose = &self.shown[0];
        let camera = self.picture.as_ref().map_or(Camera::full_body(512.0, 512.0), |p| p.camera);
        let mut keypoints = pose.keypoints(&camera);
        let mut rgba = &[][..];
        let (mut width, mut height) = (0, 0);
        let mut watch = std::mem::take(&mut self.watch);
        if let Some(picture) = &mut self.picture {
            let running = Running::start(Stage::Puppet);
            let frame = picture.pose(pose);
            keypoints = frame.keypoints;
            watch.stop(running);
            if draw && (rung != Rung::Idle || tick >= picture.drawn + IDLE_EVERY) {
                picture.drawn = tick;
                (width, height) = (picture.full.width as u32, picture.full.height as u32);
                rgba = picture.draw(rung, &frame, &self.tokens, self.settings.sampling.seed, tick, &mut watch)?;
            }
        }
        Ok(Some(Frame {
            rgba,
            width,
            height,
            media_samples: tick * TICK_SAMPLES,
            pose: &self.shown[0],
            dancers: &self.shown,
            keypoints,
            beat: self.beat_state,
            rung,
            timings: watch.costs,
            began: watch.began,
        }))
    }

    /// Another dancer, from the next frame on. The dance goes on.
    ///
    /// # Errors
    /// If its picture cannot be taken; the old one then stays.
    pub fn set_avatar(&mut self, avatar: Avatar) -> Result<(), PipelineError> {
        let Some(picture) = &mut self.picture else { return Ok(()) };
        for work in &mut picture.works {
            work.denoiser.set_reference(&avatar.reference_square(work.size))?;
        }
        picture.drawer.set_avatar(&avatar);
        picture.springs.reset();
        picture.avatar = avatar;
        Ok(())
    }

    /// Says that the sound jumped or the dancer changed: history is dropped, the clock goes on.
    pub fn discontinuity(&mut self) {
        self.features.reset();
        self.beat.reset();
        self.mood = Mood::default();
        self.dancers.iter_mut().for_each(Dancer::reset);
        if let Some(picture) = &mut self.picture {
            picture.works.iter_mut().for_each(|w| w.denoiser.reset());
        }
    }

    /// The rung that new frames are made on.
    pub fn rung(&self) -> Rung {
        self.picture.as_ref().map_or(Rung::Puppet, Picture::rung)
    }

    /// The ladder, if this pipeline keeps a budget: for telling it the budget, what rungs cost, and how frames fared after
    /// they left here.
    pub fn ladder(&mut self) -> Option<&mut Ladder> {
        self.picture.as_mut()?.ladder.as_mut()
    }

    /// What a frame of `sound` costs on each rung that a picture of this best rung may be made on, on a free machine: the
    /// lower quartile of `frames` frames each, after one to warm up, for what else runs only makes them dearer.
    ///
    /// # Errors
    /// If drawing fails.
    pub fn measure_rungs(&mut self, sound: &[f32], frames: usize) -> Result<Costs, PipelineError> {
        let mut costs = Costs::default();
        let Some(picture) = &self.picture else { return Ok(costs) };
        let mut sound = sound.iter().copied().cycle();
        let (best, ladder) = (picture.best, self.picture.as_mut().and_then(|p| p.ladder.take()));
        for rung in Rung::from(best, self.picture.as_ref().map_or(0, |p| p.works[0].size)) {
            if let Some(picture) = &mut self.picture {
                picture.best = rung;
            }
            let mut times = Vec::with_capacity(frames);
            // A rung is a frame in three where the dancer rests.
            while times.len() <= frames {
                let block: [f32; TICK_SAMPLES as usize] = std::array::from_fn(|_| sound.next().unwrap_or(0.0));
                self.push_audio(&block);
                if let Some(frame) = self.next_frame()?.filter(|f| !f.rgba.is_empty()) {
                    times.push(frame.timings.iter().sum::<Duration>());
                }
            }
            let measured = &mut times[1..];
            measured.sort_unstable();
            costs[rung as usize] = Some(measured[frames / 4]);
        }
        if let Some(picture) = &mut self.picture {
            (picture.best, picture.ladder) = (best, ladder);
        }
        self.discontinuity();
        Ok(costs)
    }

    pub fn motion_version(&self) -> &str {
        self.dancers[0].version()
    }
}
