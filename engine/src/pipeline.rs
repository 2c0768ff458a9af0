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
use std::time::Duration;

use glam::Vec3;
use odori_kernels::{Backend, Weights};

use crate::avatar::Expression;
use crate::beat::{BeatSource, BeatState, LEAST_CONFIDENCE};
use crate::dance::group::{Group, MOST_DANCERS};
use crate::dance::retime::TOLD_SAMPLES;
use crate::dance::{self, Dancer, Direction, Hush, Mood, Pace, Repertoire, Staging};
use crate::features::{Features, HOP_FLOATS, HOP_SAMPLES};
use crate::ladder::{Costs, Ladder, Load, Rung};
use crate::motion::{MUSIC_DIM, Sampling, StepInput};
pub use crate::picture::{Costume, Fitting, PictureSetup, Scene};
use crate::picture::{Cast, Picture, SEED_STEP};
use crate::pose::{Camera, Keypoint, Pose};
use crate::skeleton::KEYPOINT_COUNT;
pub use crate::stopwatch::{Beginnings, Stage, Timings};
use crate::stopwatch::{Running, Stopwatch};

/// Samples a second of the model's sound, mono.
pub const SAMPLE_RATE: u32 = 24_000;
/// Samples to a frame: 30 a second.
pub const TICK_SAMPLES: u64 = 800;
pub const FRAME_RATE: u32 = 30;
/// Feature hops to a motion step.
const HOPS_PER_STEP: usize = 4;
/// What a viewer can change while it runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub sampling: Sampling,
    /// 0 calm to 1 wild.
    pub energy: f32,
    /// [`crate::motion::FREE`] is every style in turn.
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
            energy: 0.95,
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
    /// What lies behind it, opaque, as large; empty where nothing does.
    pub ground: &'a [u8],
    pub width: u32,
    pub height: u32,
    /// The frame's place on the master clock, in samples at [`SAMPLE_RATE`].
    pub media_samples: u64,
    pub pose: &'a Pose,
    /// Every dancer of the group, the one of `pose` first.
    pub dancers: &'a [Pose],
    /// What the face of the one of `pose` shows, where there are pictures.
    pub face: Expression,
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
    /// If the idle loop or the beginnings of the styles do not fit the models.
    pub fn new(backend: &Backend, beat: Weights, tokenizer: Weights, motion: Weights, denoiser: Weights, idle: &Weights) -> Result<Self, PipelineError> {
        let motion = crate::motion::with_beginnings(motion, idle)?;
        let idle = Arc::new(crate::motion::idle_poses(backend, &motion, &tokenizer, idle)?);
        Ok(Models { beat, tokenizer, motion, denoiser, idle })
    }
}

/// What the motion model is told of how sure the beat is, where there is one: in training a clock was sure or there was no
/// music, and a dancer who is told something between stands and waits.
const BELIEF: f32 = 1.0;
/// Of a dancer who comes or goes: how much more of them is there a frame.
const PRESENCE_STEP: f32 = 1.0 / 18.0;

/// One dancer's whole path, owned by one thread.
pub struct Pipeline {
    features: Features,
    beat: BeatSource,
    mood: Mood,
    repertoire: Repertoire,
    /// All who were ever there: who left waits, and is not stepped.
    dancers: Vec<Dancer>,
    /// How many are to be there.
    size: usize,
    /// By dancer: 0 away to 1 there.
    presence: [f32; MOST_DANCERS],
    /// Where each stands, metres.
    places: [Vec3; MOST_DANCERS],
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
        // Room for all who may come: they join while the dance goes on.
        let mut dancers = Vec::with_capacity(MOST_DANCERS);
        for _ in 0..size {
            dancers.push(Dancer::new(dance::model(backend, &models.motion, &models.tokenizer)?, &models.idle));
        }
        let mut shown = Vec::with_capacity(MOST_DANCERS);
        shown.resize(size, models.idle[0].clone());
        Ok(Pipeline {
            features: Features::new(),
            beat: BeatSource::own(backend, &models.beat)?,
            mood: Mood::default(),
            repertoire: Repertoire::new(&crate::motion::style_names(&models.motion)),
            shown,
            dancers,
            size,
            presence: std::array::from_fn(|n| if n < size { 1.0 } else { 0.0 }),
            places: [Vec3::ZERO; MOST_DANCERS],
            group: Group::new(size),
            picture: None,
            settings,
            given_beat: None,
            music: [0.0; MUSIC_DIM],
            hops: 0,
            hop_sound: [0.0; HOP_SAMPLES],
            beat_state: BeatState::default(),
            idle: Arc::clone(&models.idle),
            hush: Hush::default(),
            bars: 0,
            bar_phase: 0.0,
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
        let picture = Picture::new(backend, models, setup)?;
        let mut pipeline = Self::poses_only(backend, models, settings)?;
        pipeline.picture = Some(picture);
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
        if let Some(given) = &self.given_beat {
            self.beat_state = given.at(self.heard);
        }
        self.watch.stop(running);
        self.mood.hear(hop);
        if let Some(picture) = &mut self.picture {
            picture.hear(hop);
        }
        self.music.copy_within(HOP_FLOATS.., 0);
        self.music[MUSIC_DIM - HOP_FLOATS..].copy_from_slice(hop);
        self.hops += 1;
        if self.hops.is_multiple_of(HOPS_PER_STEP) {
            self.dance();
        }
    }

    /// The beat when what is made now is seen.
    fn song_beat_seen(&self, samples: u64) -> BeatState {
        let horizon = (self.settings.horizon.as_secs_f64() * f64::from(SAMPLE_RATE)) as u64;
        self.beat_state.at(samples + horizon)
    }

    /// The same as the dancers count it.
    fn beat_seen(&self, samples: u64) -> BeatState {
        self.settings.pace.count(self.song_beat_seen(samples), self.bars)
    }

    /// Dancers who are there, come or go: always the first ones.
    fn there(&self) -> usize {
        self.presence.iter().rposition(|p| *p > 0.0).map_or(1, |n| n + 1).max(self.size)
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
        let Settings { sampling, .. } = self.settings;
        let followed = !silent && self.beat_state.confidence >= LEAST_CONFIDENCE;
        let style = self.repertoire.style(self.settings.style, self.bars, followed, sampling.seed);
        let input = StepInput { music: &self.music, beat: beat.conditioning(), energy: self.mood.energy(self.settings.energy), style, sampling };
        let there = self.there();
        for (n, dancer) in self.dancers.iter_mut().enumerate().take(there) {
            let seed = sampling.seed.wrapping_add(SEED_STEP.wrapping_mul(n as u32));
            dancer.step(&StepInput { sampling: Sampling { seed, ..sampling }, ..input }, silent);
        }
        self.watch.stop(running);
    }

    /// Whether the sound of a frame is complete and it was neither made nor skipped.
    pub fn frame_due(&self) -> bool {
        self.heard / TICK_SAMPLES > self.ticks
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
        for (n, presence) in self.presence.iter_mut().enumerate() {
            let step = if n < self.size { PRESENCE_STEP } else { -PRESENCE_STEP };
            *presence = (*presence + step).clamp(0.0, 1.0);
        }
        let there = self.there();
        let alone = there == 1 && self.group.settled();
        let leader = self.dancers[0].danced(tick, &beat);
        if !alone {
            self.group.step(&leader, self.bars, &beat);
        }
        // On the lowest rung it comes to rest, as in silence.
        let silent = self.hush.resting() || self.rung() == Rung::Idle;
        for (n, dancer) in self.dancers.iter_mut().enumerate().take(there) {
            let own = if n == 0 { leader.clone() } else { dancer.danced(tick, &beat) };
            let (danced, place) = if alone { (own, Vec3::ZERO) } else { (self.group.pose(n, &own), self.group.place(n)) };
            let staging = Staging { direction: self.settings.direction, beat, silent, stopped: self.hush.stopped(), place, keep_place: !alone };
            // Dancers at rest do not all breathe at once.
            let idle_tick = tick + 31 * n as u64;
            self.shown[n].clone_from(dancer.show(&danced, idle_tick, &self.idle, &staging));
            self.places[n] = place;
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
        let there = self.there();
        let beat = self.song_beat_seen(tick * TICK_SAMPLES);
        let seed = self.settings.sampling.seed;
        let cast = Cast { poses: &self.shown[..there], places: &self.places, presence: &self.presence, size: self.size, beat: &beat, silent: self.hush.resting(), seed };
        let (mut keypoints, mut face) = (None, Expression::default());
        let (mut rgba, mut ground) = (&[][..], &[][..]);
        let (mut width, mut height) = (0, 0);
        let mut watch = std::mem::take(&mut self.watch);
        let mut rung = Rung::Puppet;
        if let Some(picture) = &mut self.picture {
            picture.reckon_with(there);
            rung = picture.rung();
            let running = Running::start(Stage::Puppet);
            let seen = draw && picture.wants(rung);
            keypoints = Some(picture.pose(&cast, seen));
            face = picture.face();
            watch.stop(running);
            if seen {
                (width, height) = (picture.size().width as u32, picture.size().height as u32);
                (rgba, ground) = picture.draw(rung, &cast, tick, &mut watch)?;
            } else if draw {
                picture.passed(&watch);
            }
        }
        let keypoints = keypoints.unwrap_or_else(|| self.shown[0].keypoints(&Camera::full_body(512.0, 512.0)));
        Ok(Some(Frame {
            rgba,
            ground,
            width,
            height,
            media_samples: tick * TICK_SAMPLES,
            pose: &self.shown[0],
            dancers: &self.shown[..there],
            face,
            keypoints,
            beat: self.beat_state,
            rung,
            timings: watch.costs,
            began: watch.began,
        }))
    }

    /// How new looks for these dancers are made, on any thread; `None` where no pictures are.
    pub fn fitting(&self) -> Option<Fitting> {
        self.picture.as_ref().map(|p| p.fitting(self.settings.sampling.seed))
    }

    /// Other looks, more dancers or fewer, from the next frame on. The dance goes on: who comes or goes does so within a
    /// second. Nothing is made and nothing let go here; what was taken off is in `costume` afterwards. Who has nothing to
    /// wear does not come.
    pub fn wear(&mut self, costume: &mut Costume) {
        if let Some(picture) = &mut self.picture {
            picture.wear(&mut costume.looks);
        }
        while self.dancers.len() < MOST_DANCERS && !costume.newcomers.is_empty() {
            self.dancers.push(costume.newcomers.remove(0));
            self.shown.push(self.idle[0].clone());
        }
        let before = self.size;
        let dressed = self.picture.as_ref().map_or(MOST_DANCERS, Picture::dressed);
        self.size = costume.size.min(self.dancers.len()).min(dressed);
        for n in before..self.size {
            // Who waited has danced to other music.
            if self.presence[n] == 0.0 {
                self.dancers[n].reset();
            }
        }
        self.group.resize(self.size);
        if self.ticks == 0 {
            self.presence = std::array::from_fn(|n| if n < self.size { 1.0 } else { 0.0 });
            self.group = Group::new(self.size);
        }
    }

    /// How many dancers there are to be.
    pub fn size(&self) -> usize {
        self.size
    }

    /// What the picture shows, from the next frame on.
    pub fn set_scene(&mut self, scene: &Scene) {
        if let Some(picture) = &mut self.picture {
            picture.scene.clone_from(scene);
        }
    }

    /// What the leader's face is to show, from the next frame on, as somebody else sees it; `None` is its own.
    pub fn set_face(&mut self, face: Option<Expression>) {
        if let Some(picture) = &mut self.picture {
            picture.live_face = face;
        }
    }

    /// Says that the sound jumped or the dancer changed: history is dropped, the clock goes on.
    pub fn discontinuity(&mut self) {
        self.features.reset();
        self.beat.reset();
        self.mood = Mood::default();
        self.dancers.iter_mut().for_each(Dancer::reset);
        if let Some(picture) = &mut self.picture {
            picture.reset();
        }
    }

    /// The rung that new frames are made on.
    pub fn rung(&self) -> Rung {
        self.picture.as_ref().map_or(Rung::Puppet, Picture::rung)
    }

    /// The ladder, if this pipeline keeps a budget: for telling it the budget, what rungs cost, and how frames fared after
    /// they left here.
    pub fn ladder(&mut self) -> Option<&mut Ladder> {
        self.picture.as_mut()?.ladder()
    }

    /// What dancers cost, as [`Pipeline::measure_rungs`] found for one and for two.
    pub fn set_load(&mut self, load: &Load) {
        if let Some(picture) = &mut self.picture {
            picture.set_load(load);
        }
    }

    /// What a frame of `sound` costs on each rung that a picture of this best rung may be made on, on a free machine: the
    /// lower quartile of `frames` pairs of frames each, after one to warm up, for what else runs only makes them dearer.
    ///
    /// # Errors
    /// If drawing fails.
    pub fn measure_rungs(&mut self, sound: &[f32], frames: usize) -> Result<Costs, PipelineError> {
        let mut costs = Costs::default();
        let Some(picture) = &self.picture else { return Ok(costs) };
        let mut sound = sound.iter().copied().cycle();
        for rung in picture.rungs(self.size) {
            let Some(hold) = self.picture.as_mut().map(|p| p.hold(rung)) else { break };
            let mut times = Vec::with_capacity(2 * frames + 1);
            let mut spent = Duration::ZERO;
            // The lowest rungs draw a frame in two or three.
            while times.len() <= 2 * frames {
                let block: [f32; TICK_SAMPLES as usize] = std::array::from_fn(|_| sound.next().unwrap_or(0.0));
                self.push_audio(&block);
                let Some(frame) = self.next_frame()? else { continue };
                spent += frame.timings.iter().sum::<Duration>();
                if !frame.rgba.is_empty() {
                    times.push(std::mem::take(&mut spent));
                }
            }
            // A motion step falls on every second frame.
            let mut measured: Vec<_> = times[1..].chunks_exact(2).map(|pair| (pair[0] + pair[1]) / 2).collect();
            measured.sort_unstable();
            costs[rung as usize] = Some(measured[frames / 4]);
            if let Some(picture) = &mut self.picture {
                picture.release(hold);
            }
        }
        self.discontinuity();
        Ok(costs)
    }

    pub fn motion_version(&self) -> &str {
        self.dancers[0].version()
    }
}
