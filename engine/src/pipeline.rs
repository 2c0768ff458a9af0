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

use std::time::{Duration, Instant};

use odori_kernels::{Backend, Weights};

use crate::avatar::{self, Avatar};
use crate::beat::{BeatState, BeatTracker, PredictedBeat};
use crate::denoiser::{DenoiseInput, DenoiseOutput, Denoiser, TOKEN_WINDOW};
use crate::features::{FEATURE_DIM, Features, HOP_SAMPLES};
use crate::ladder::{Ladder, Rung};
use crate::motion::{MUSIC_DIM, MotionModel, Sampling, StepInput};
use crate::pose::{Camera, Keypoint, Pose};
use crate::render::{Background, Drawer};
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
    pub background: Background,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            sampling: Sampling::default(),
            energy: 0.6,
            style: 0,
            horizon: Duration::ZERO,
            background: Background::Transparent,
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
    Motion(#[from] crate::motion::MotionError),
    #[error(transparent)]
    Denoiser(#[from] crate::denoiser::DenoiserError),
    #[error(transparent)]
    Render(#[from] crate::render::RenderError),
}

/// The trained weights, read and checked.
#[derive(Clone)]
pub struct Models {
    pub tokenizer: Weights,
    pub motion: Weights,
    pub denoiser: Weights,
}

/// Picture making; absent when poses alone are wanted.
struct Picture {
    avatar: Avatar,
    drawer: Drawer,
    denoiser: Denoiser,
    denoised: DenoiseOutput,
    camera: Camera,
    ladder: Option<Ladder>,
    best: Rung,
}

/// One dancer's whole path, owned by one thread.
pub struct Pipeline {
    features: Features,
    beat: BeatTracker,
    motion: MotionModel,
    picture: Option<Picture>,
    pub settings: Settings,

    music: [f32; MUSIC_DIM],
    hops: usize,
    beat_state: BeatState,
    beats: Vec<PredictedBeat>,
    /// The two poses of the newest step.
    poses: [Pose; 2],
    /// Tokens of the last steps, newest last, for the renderer's pose window.
    token_window: [f32; TOKEN_WINDOW],
    /// Samples pushed so far.
    heard: u64,
    /// Frames made or skipped so far.
    ticks: u64,
    timings: Timings,
}

impl Picture {
    /// Puppet, denoiser as the ladder allows, composition; gives the rung that was used.
    fn draw(
        &mut self,
        pose: &Pose,
        keypoints: &[Keypoint; KEYPOINT_COUNT],
        tokens: &[f32; TOKEN_WINDOW],
        settings: &Settings,
        tick: u64,
        [puppet_time, denoise_time, compose_time]: [&mut Duration; 3],
    ) -> Rung {
        let rung = self.ladder.as_ref().map_or(self.best, Ladder::rung);
        let start = Instant::now();
        let frame = avatar::drive(&self.avatar, pose, &self.camera);
        let warped = self.drawer.draw_puppet(&frame);
        *puppet_time += start.elapsed();

        let start = Instant::now();
        let steps = rung.denoise_steps();
        if steps > 0 {
            let input = DenoiseInput { warped: warped.rgba, validity: warped.validity, keypoints, tokens };
            self.denoiser.step(&input, steps, settings.sampling.seed, tick as u32, &mut self.denoised);
        }
        *denoise_time += start.elapsed();

        let start = Instant::now();
        self.drawer.compose((steps > 0).then_some(&self.denoised), settings.background);
        *compose_time += start.elapsed();
        rung
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
            beat: BeatTracker::new(),
            motion,
            picture: None,
            settings,
            music: [0.0; MUSIC_DIM],
            hops: 0,
            beat_state: BeatState::default(),
            beats: Vec::with_capacity(16),
            poses: [rest.clone(), rest],
            token_window: [0.0; TOKEN_WINDOW],
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
        let mut pipeline = Self::poses_only(backend, models, settings)?;
        drawer.set_avatar(&avatar)?;
        drawer.resize(width, height, working_size)?;
        let mut denoiser = Denoiser::new(backend, &models.denoiser, working_size)?;
        denoiser.set_reference(&avatar.reference(working_size));
        pipeline.picture = Some(Picture {
            denoised: DenoiseOutput::new(working_size),
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
            let to_hop = (HOP_SAMPLES - self.heard % HOP_SAMPLES) as usize;
            let (block, after) = rest.split_at(to_hop.min(rest.len()));
            self.heard += block.len() as u64;
            rest = after;
            let start = Instant::now();
            self.features.push(block);
            let hop = self.features.next_hop().copied();
            self.timings[Stage::Features as usize] += start.elapsed();
            if let Some(hop) = hop {
                self.hear(&hop);
            }
        }
        mono.len() - rest.len()
    }

    /// One feature hop: the beat clock moves, and every fourth hop the dancer does.
    fn hear(&mut self, hop: &[f32; FEATURE_DIM]) {
        let start = Instant::now();
        self.beat_state = self.beat.step(hop, self.heard);
        self.beats.extend(self.beat.take_predicted());
        self.timings[Stage::Beat as usize] += start.elapsed();
        self.music.copy_within(FEATURE_DIM.., 0);
        self.music[MUSIC_DIM - FEATURE_DIM..].copy_from_slice(hop);
        self.hops += 1;
        if self.hops % HOPS_PER_STEP == 0 {
            self.dance();
        }
    }

    /// One motion step: two poses for the time at which they will be seen.
    fn dance(&mut self) {
        let start = Instant::now();
        let horizon = (self.settings.horizon.as_secs_f64() * f64::from(SAMPLE_RATE)) as u64;
        let input = StepInput {
            music: &self.music,
            beat: self.beat_state.conditioning_at(self.heard + horizon),
            energy: self.settings.energy,
            style: self.settings.style,
            sampling: self.settings.sampling,
        };
        self.poses = self.motion.step(&input);
        let tokens = self.motion.tokens();
        self.token_window.copy_within(tokens.len().., 0);
        self.token_window[TOKEN_WINDOW - tokens.len()..].copy_from_slice(tokens);
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
    pub fn skip_frame(&mut self) -> Option<Frame<'_>> {
        self.advance(false)
    }

    /// Makes the frame that is due; `None` if none is due.
    pub fn next_frame(&mut self) -> Option<Frame<'_>> {
        self.advance(true)
    }

    /// The dancer's pose at the frame's own time: steps and frames share the master clock, two frames to a step,
    /// so the frame due when a step has just run shows its first pose and the next frame its second.
    fn pose_at_tick(&self, tick: u64) -> &Pose {
        &self.poses[(tick % 2) as usize]
    }

    fn advance(&mut self, draw: bool) -> Option<Frame<'_>> {
        if !self.frame_due() {
            return None;
        }
        self.ticks += 1;
        let tick = self.ticks;
        let mut rung = Rung::Puppet;
        let pose = self.pose_at_tick(tick).clone();
        let camera = self.picture.as_ref().map_or(Camera::full_body(512.0, 512.0), |p| p.camera);
        let keypoints = pose.keypoints(&camera);
        if draw && let Some(picture) = &mut self.picture {
            let [.., puppet, denoise, compose] = &mut self.timings;
            rung = picture.draw(&pose, &keypoints, &self.token_window, &self.settings, tick, [puppet, denoise, compose]);
        }
        let timings = std::mem::take(&mut self.timings);
        if draw && let Some(Picture { ladder: Some(ladder), .. }) = &mut self.picture {
            ladder.record(timings.iter().sum());
        }
        let (rgba, width, height) = match &self.picture {
            Some(p) if draw => p.drawer.frame(),
            _ => (&[][..], 0, 0),
        };
        Some(Frame {
            rgba,
            width,
            height,
            media_samples: tick * TICK_SAMPLES,
            pose: self.pose_at_tick(tick),
            keypoints,
            beat: self.beat_state,
            rung,
            timings,
        })
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
