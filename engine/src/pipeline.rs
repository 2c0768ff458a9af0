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

use glam::Vec2;
use odori_kernels::{Backend, Weights};

use crate::avatar::{self, Avatar, PuppetFrame, Springs};
use crate::beat::{BeatSource, BeatState, PredictedBeat};
use crate::denoiser::{DenoiseInput, DenoiseOutput, Denoiser, Doubt, TOKEN_SLOTS, TOKEN_STEPS};
use crate::features::{Features, HOP_FLOATS, HOP_SAMPLES};
use crate::ladder::{Ladder, Rung};
use crate::motion::{MUSIC_DIM, MotionModel, Sampling, StepInput};
use crate::pose::{Camera, Keypoint, Pose};
use crate::render::{Background, Drawer, Size};
use crate::skeleton::KEYPOINT_COUNT;

/// Samples a second of the model's sound, mono.
pub const SAMPLE_RATE: u32 = 24_000;
/// Samples to a frame: 30 a second.
pub const TICK_SAMPLES: u64 = 800;
pub const FRAME_RATE: u32 = 30;
/// Feature hops to a motion step.
const HOPS_PER_STEP: usize = 4;
/// Time a frame may take before the ladder calls it late: a frame's time less what encoding and sending need.
const FRAME_BUDGET: Duration = Duration::from_millis(28);

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

/// What a viewer can change while it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub sampling: Sampling,
    /// 0 calm to 1 wild.
    pub energy: f32,
    pub style: u32,
    /// How far ahead of the sound the dance is made: the time until it is seen, less the time until the sound is heard.
    pub horizon: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sampling: Sampling::default(),
            energy: 0.7,
            style: 0,
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
    pub keypoints: [Keypoint; KEYPOINT_COUNT],
    pub beat: BeatState,
    pub rung: Rung,
    pub timings: Timings,
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
const DOUBT_GAIN: f32 = 1.0;
/// Root mean square below which a hop is silence: about -50 dB.
const SILENCE: f32 = 0.003;
/// Silence of this length lets the dancer come to rest; shorter ones are part of the music.
const REST_AFTER_HOPS: u32 = 24;
/// Share by which the dancer moves towards rest, and back, in a frame.
const REST_STEP: f32 = 1.0 / 12.0;

/// Picture making; absent when poses alone are wanted.
struct Picture {
    avatar: Avatar,
    drawer: Drawer,
    denoiser: Denoiser,
    denoised: DenoiseOutput,
    doubt: Doubt,
    /// The denoiser's input and output as drawing lays them out: interleaved, five channels.
    warp: Vec<f32>,
    validity: Vec<f32>,
    interleaved: Vec<f32>,
    springs: Springs,
    full: Size,
    work: Size,
    camera: Camera,
    ladder: Option<Ladder>,
    best: Rung,
}

/// One dancer's whole path, owned by one thread.
pub struct Pipeline {
    features: Features,
    beat: BeatSource,
    motion: MotionModel,
    picture: Option<Picture>,
    pub settings: Settings,

    music: [f32; MUSIC_DIM],
    hops: usize,
    /// The sound of the hop being heard.
    hop_sound: [f32; HOP_SAMPLES],
    beat_state: BeatState,
    beats: Vec<PredictedBeat>,
    /// The two poses of the newest step.
    poses: [Pose; 2],
    /// Tokens of the last steps, newest last, for the renderer's pose window.
    tokens: Vec<[u16; TOKEN_SLOTS]>,
    idle: Arc<Vec<Pose>>,
    /// Hops of silence up to now.
    silent_hops: u32,
    /// 0 dancing to 1 at rest.
    rest: f32,
    /// What the frame being made shows.
    shown: Pose,
    /// Samples pushed so far.
    heard: u64,
    /// Frames made or skipped so far.
    ticks: u64,
    timings: Timings,
}

impl Picture {
    /// The pose as the avatar's own body takes it, hair and skirt behind it. Every frame, drawn or not: springs have
    /// a past.
    fn pose(&mut self, pose: &Pose) -> PuppetFrame {
        let mut frame = avatar::drive(&self.avatar, pose, &self.camera);
        self.springs.step(&self.avatar, &mut frame, 1.0 / FRAME_RATE as f32);
        frame
    }

    /// Puppet, then the denoiser as the ladder allows; gives the rung that was used.
    fn draw(
        &mut self,
        frame: &PuppetFrame,
        tokens: &[[u16; TOKEN_SLOTS]],
        seed: u32,
        tick: u64,
        [puppet_time, denoise_time, _]: [&mut Duration; 3],
    ) -> Result<Rung, PipelineError> {
        let rung = self.ladder.as_ref().map_or(self.best, Ladder::rung);
        let steps = rung.denoise_steps();
        let start = Instant::now();
        let work = self.drawer.draw_puppet(frame, self.full, self.work)?;
        for ((pixel, rgba), validity) in work.chunks_exact(5).zip(self.warp.chunks_exact_mut(4)).zip(&mut self.validity) {
            rgba.copy_from_slice(&pixel[..4]);
            *validity = pixel[4];
        }
        *puppet_time += start.elapsed();
        if steps > 0 {
            let start = Instant::now();
            let size = Vec2::new(self.full.width as f32, self.full.height as f32);
            let keypoints = frame.keypoints.map(|k| {
                let p = k.position / size;
                [p.x, p.y, k.confidence]
            });
            let input = DenoiseInput { warp: &self.warp, validity: &self.validity, keypoints: &keypoints, tokens };
            self.denoiser.step(input, steps, seed, tick, &mut self.denoised)?;
            self.doubt.apply(&input, self.work.width, DOUBT_GAIN, &mut self.denoised);
            let out = self.interleaved.chunks_exact_mut(5);
            for ((pixel, rgba), mask) in out.zip(self.denoised.rgba.chunks_exact(4)).zip(&self.denoised.mask) {
                pixel[..4].copy_from_slice(rgba);
                pixel[4] = *mask;
            }
            *denoise_time += start.elapsed();
        }
        Ok(rung)
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
    /// Whether the ladder may step down; offline rendering always has the time.
    pub keep_budget: bool,
}

impl Pipeline {
    /// Poses only.
    ///
    /// # Errors
    /// If the weights do not fit the engine.
    pub fn poses_only(backend: &Backend, models: &Models, settings: Settings) -> Result<Self, PipelineError> {
        let motion = MotionModel::new(backend, models.motion.clone(), &models.tokenizer)?;
        let rest = motion.rest_pose();
        Ok(Pipeline {
            features: Features::new(),
            beat: BeatSource::own(backend, &models.beat)?,
            motion,
            picture: None,
            settings,
            music: [0.0; MUSIC_DIM],
            hops: 0,
            hop_sound: [0.0; HOP_SAMPLES],
            beat_state: BeatState::default(),
            beats: Vec::with_capacity(16),
            poses: [rest.clone(), rest],
            shown: models.idle[0].clone(),
            idle: Arc::clone(&models.idle),
            silent_hops: REST_AFTER_HOPS,
            rest: 1.0,
            tokens: Vec::with_capacity(TOKEN_STEPS + 1),
            heard: 0,
            ticks: 0,
            timings: Timings::default(),
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
        let mut denoiser = Denoiser::new(backend, &models.denoiser, working_size)?;
        denoiser.set_reference(&avatar.reference_square(working_size))?;
        let pixels = working_size * working_size;
        pipeline.picture = Some(Picture {
            denoised: DenoiseOutput { rgba: vec![0.0; pixels * 4], mask: vec![0.0; pixels] },
            doubt: Doubt::default(),
            warp: vec![0.0; pixels * 4],
            validity: vec![0.0; pixels],
            interleaved: vec![0.0; pixels * 5],
            springs: Springs::new(),
            full: Size::new(width as usize, height as usize),
            work: Size::square(working_size),
            camera: Camera::full_body(width as f32, height as f32),
            ladder: keep_budget.then(|| Ladder::new(best, FRAME_BUDGET)),
            avatar,
            drawer,
            denoiser,
            best,
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
            let start = Instant::now();
            let at = ((self.heard - block.len() as u64) % HOP_SAMPLES as u64) as usize;
            self.hop_sound[at..at + block.len()].copy_from_slice(block);
            self.features.push(block);
            let hop = self.features.next_hop().copied();
            self.timings[Stage::Features as usize] += start.elapsed();
            if let Some(hop) = hop {
                let energy = self.hop_sound.iter().map(|s| s * s).sum::<f32>() / HOP_SAMPLES as f32;
                self.silent_hops = if energy.sqrt() < SILENCE { self.silent_hops.saturating_add(1) } else { 0 };
                self.hear(&hop);
            }
        }
        mono.len() - rest.len()
    }

    /// One feature hop: the beat clock moves, and every fourth hop the dancer does.
    fn hear(&mut self, hop: &[f32; HOP_FLOATS]) {
        let start = Instant::now();
        self.beat_state = self.beat.step(hop, &self.hop_sound, self.heard);
        self.beats.extend(self.beat.take_predicted());
        self.timings[Stage::Beat as usize] += start.elapsed();
        self.music.copy_within(HOP_FLOATS.., 0);
        self.music[MUSIC_DIM - HOP_FLOATS..].copy_from_slice(hop);
        self.hops += 1;
        if self.hops.is_multiple_of(HOPS_PER_STEP) {
            self.dance();
        }
    }

    /// One motion step: two poses for the time at which they will be seen.
    fn dance(&mut self) {
        let start = Instant::now();
        let horizon = (self.settings.horizon.as_secs_f64() * f64::from(SAMPLE_RATE)) as u64;
        let input = StepInput {
            music: &self.music,
            beat: self.beat_state.at(self.heard + horizon).conditioning(),
            energy: if self.silent() { 0.0 } else { self.settings.energy },
            style: self.settings.style,
            sampling: self.settings.sampling,
        };
        self.poses = self.motion.step(&input);
        if self.tokens.len() == TOKEN_STEPS {
            self.tokens.remove(0);
        }
        let tokens = self.motion.tokens();
        self.tokens.push(std::array::from_fn(|slot| tokens.get(slot).map_or(0, |&t| t as u16)));
        self.timings[Stage::Motion as usize] += start.elapsed();
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

    fn silent(&self) -> bool {
        self.silent_hops >= REST_AFTER_HOPS
    }

    /// The dancer's pose at the frame's own time: steps and frames share the master clock, two frames to a step,
    /// so the frame due when a step has just run shows its first pose and the next frame its second. In silence it
    /// fades to standing and breathing.
    fn pose_at_tick(&mut self, tick: u64) -> Pose {
        let towards = if self.silent() { REST_STEP } else { -REST_STEP };
        self.rest = (self.rest + towards).clamp(0.0, 1.0);
        let dance = &self.poses[(tick % 2) as usize];
        if self.rest == 0.0 {
            return dance.clone();
        }
        let idle = &self.idle[tick as usize % self.idle.len()];
        // Slow at both ends.
        dance.lerp(idle, self.rest * self.rest * (3.0 - 2.0 * self.rest))
    }

    fn advance(&mut self, draw: bool) -> Result<Option<Frame<'_>>, PipelineError> {
        if !self.frame_due() {
            return Ok(None);
        }
        self.ticks += 1;
        let tick = self.ticks;
        let mut rung = Rung::Puppet;
        self.shown = self.pose_at_tick(tick);
        let pose = &self.shown;
        let camera = self.picture.as_ref().map_or(Camera::full_body(512.0, 512.0), |p| p.camera);
        let mut keypoints = pose.keypoints(&camera);
        let mut rgba = &[][..];
        let (mut width, mut height) = (0, 0);
        let mut timings = std::mem::take(&mut self.timings);
        if let Some(picture) = &mut self.picture {
            let [.., puppet, denoise, compose] = &mut timings;
            let start = Instant::now();
            let frame = picture.pose(pose);
            keypoints = frame.keypoints;
            *puppet += start.elapsed();
            if draw {
                rung = picture.draw(&frame, &self.tokens, self.settings.sampling.seed, tick, [puppet, denoise, compose])?;
                if let Some(ladder) = &mut picture.ladder {
                    ladder.record(timings.iter().sum());
                }
                (width, height) = (picture.full.width as u32, picture.full.height as u32);
                let start = Instant::now();
                let steps = rung.denoise_steps();
                rgba = picture.drawer.compose((steps > 0).then_some(&picture.interleaved[..]), &Background::Clear)?;
                timings[Stage::Compose as usize] += start.elapsed();
            }
        }
        Ok(Some(Frame {
            rgba,
            width,
            height,
            media_samples: tick * TICK_SAMPLES,
            pose: &self.shown,
            keypoints,
            beat: self.beat_state,
            rung,
            timings,
        }))
    }

    /// Another dancer, from the next frame on. The dance goes on.
    ///
    /// # Errors
    /// If its picture cannot be taken; the old one then stays.
    pub fn set_avatar(&mut self, avatar: Avatar) -> Result<(), PipelineError> {
        let Some(picture) = &mut self.picture else { return Ok(()) };
        picture.denoiser.set_reference(&avatar.reference_square(picture.work.width))?;
        picture.drawer.set_avatar(&avatar);
        picture.springs.reset();
        picture.avatar = avatar;
        Ok(())
    }

    /// Says that the sound jumped or the dancer changed: history is dropped, the clock goes on.
    pub fn discontinuity(&mut self) {
        self.features.reset();
        self.beat.reset();
        self.motion.reset();
        if let Some(picture) = &mut self.picture {
            picture.denoiser.reset();
        }
    }

    /// The rung that new frames are made on.
    pub fn rung(&self) -> Rung {
        self.picture.as_ref().map_or(Rung::Puppet, |p| p.ladder.as_ref().map_or(p.best, Ladder::rung))
    }

    pub fn motion_version(&self) -> &str {
        &self.motion.version
    }
}
