//! A dancer: the motion model's poses, as the viewer directs them, on feet that stand.
//!
//! Music and the beat come in; it knows no sound and draws nothing. [`drive`] keeps the dance as lively as was asked for,
//! [`direct`] lays stress on parts of the body and turns the dancer, [`feet`] plants the feet, [`mood`] hears
//! breaks and drops, [`hush`] stops and beginnings, which [`startle`] answers, [`group`] makes several dancers one group.

pub mod direct;
mod drive;
pub mod feet;
pub mod group;
mod hush;
mod mood;
mod startle;

pub use direct::Direction;
pub use hush::Hush;
pub use mood::Mood;

use direct::Director;
use drive::Drive;
use feet::FootLock;
use startle::Startle;
use glam::Vec3;
use odori_kernels::Backend;
use serde::{Deserialize, Serialize};

use crate::beat::BeatState;
use crate::motion::{FRAMES_PER_STEP, MotionError, MotionModel, StepInput};
use crate::pose::Pose;

/// Shares by which the dancer comes to rest, and back, in a frame: one settles in a second and sets out in less than half of one.
const REST_STEP: f32 = 1.0 / 30.0;
const WAKE_STEP: f32 = 1.0 / 12.0;

/// Share of the way to the model's pose that a frame takes. The model's poses tremble a little and come some 15 ms
/// early; this takes the trembling, and about as long.
const FOLLOW: f32 = 0.65;

/// What is left of following, from frame to frame, when music stops; and by how much it comes back when it goes on.
const STOPPING: f32 = 0.18;
const RESUMING: f32 = 0.25;
/// Following less than this, the body is held as it is.
const HELD: f32 = 0.1;

/// How fast the dancer counts: every other beat, every beat, or twice a beat.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Pace {
    Half,
    #[default]
    Normal,
    Double,
}

impl Pace {
    pub const ALL: [Pace; 3] = [Pace::Half, Pace::Normal, Pace::Double];

    pub fn name(self) -> &'static str {
        match self {
            Pace::Half => "half",
            Pace::Normal => "normal",
            Pace::Double => "double",
        }
    }

    pub fn factor(self) -> f32 {
        match self {
            Pace::Half => 0.5,
            Pace::Normal => 1.0,
            Pace::Double => 2.0,
        }
    }

    /// The beat as the dancer counts it; `bars` says how many have gone by. The song's own where the pace would
    /// leave the tempi that were ever danced to.
    pub fn count(self, beat: BeatState, bars: u32) -> BeatState {
        let bpm = beat.bpm * self.factor();
        if self == Pace::Normal || !(50.0..=190.0).contains(&bpm) {
            return beat;
        }
        let per_bar = beat.beats_per_bar as f32;
        let beats = ((bars % 2) as f32 + beat.bar_phase) * per_bar * self.factor();
        BeatState { bpm, beat_phase: beats.rem_euclid(1.0), bar_phase: (beats / per_bar).rem_euclid(1.0), ..beat }
    }
}

/// What shapes a frame besides the model.
#[derive(Clone, Copy, Debug)]
pub struct Staging {
    pub direction: Direction,
    /// The beat at the time the frame is seen.
    pub beat: BeatState,
    /// Whether there is nothing to dance to.
    pub silent: bool,
    /// Whether the music has just stopped.
    pub stopped: bool,
    /// Where the dancer's place is on the stage, metres; a soloist's is the middle.
    pub place: Vec3,
    /// Whether the dancer keeps to that place instead of wandering about it.
    pub keep_place: bool,
}

pub struct Dancer {
    motion: MotionModel,
    /// The two poses of the newest step.
    poses: [Pose; FRAMES_PER_STEP],
    drive: Drive,
    director: Director,
    feet: FootLock,
    startle: Startle,
    /// What is danced, without its trembling.
    calmed: Pose,
    /// Share of [`FOLLOW`] in force: 1 while music plays, nought when it has stopped.
    moving: f32,
    /// 0 dancing to 1 at rest.
    rest: f32,
    /// Where the hips have been of late, for keeping to a place.
    wander: Vec3,
    shown: Pose,
}

impl Dancer {
    /// # Errors
    /// If the weights do not fit the engine.
    pub fn new(motion: MotionModel, idle: &[Pose]) -> Self {
        let rest = motion.rest_pose();
        Dancer {
            motion,
            poses: [rest.clone(), rest],
            drive: Drive::default(),
            director: Director::default(),
            feet: FootLock::default(),
            startle: Startle::default(),
            calmed: idle[0].clone(),
            moving: 1.0,
            rest: 1.0,
            wander: Vec3::ZERO,
            shown: idle[0].clone(),
        }
    }

    /// Two more poses of the dance.
    pub fn step(&mut self, input: &StepInput<'_>, silent: bool) {
        let input = if silent { StepInput { energy: 0.0, ..*input } } else { self.drive.steer(input) };
        self.poses = self.motion.step(&input);
        self.drive.watch(&self.poses, silent);
    }

    /// Music begins out of silence.
    pub fn startle(&mut self) {
        self.startle.begin();
    }

    /// The pose that the model has for a frame: frames and steps share the clock, two frames to a step.
    pub fn danced(&self, tick: u64) -> &Pose {
        &self.poses[(tick % FRAMES_PER_STEP as u64) as usize]
    }

    /// The pose to show at a frame, of what is danced (the dancer's own or another's): where music stops it
    /// stops, in silence it fades to standing and breathing, then it is directed, placed and planted.
    pub fn show(&mut self, danced: &Pose, tick: u64, idle: &[Pose], staging: &Staging) -> &Pose {
        let towards = if staging.silent { REST_STEP } else { -WAKE_STEP };
        self.rest = (self.rest + towards).clamp(0.0, 1.0);
        self.moving = if staging.stopped { STOPPING * self.moving } else { (self.moving + RESUMING).min(1.0) };
        if self.moving < HELD && self.rest == 0.0 {
            return &self.shown;
        }
        self.calmed = self.calmed.lerp(danced, FOLLOW * self.moving);
        let mut pose = if self.rest == 0.0 {
            self.calmed.clone()
        } else {
            // Slow at both ends.
            self.calmed.lerp(&idle[tick as usize % idle.len()], self.rest * self.rest * (3.0 - 2.0 * self.rest))
        };
        let lifts = self.director.step(&mut pose, staging, (1.0 - self.rest) * self.moving);
        self.startle.step(&mut pose);
        let root = Vec3::new(pose.root.x, 0.0, pose.root.z);
        // A soloist's is nothing, and one who is alone again lets go of it little by little.
        self.wander += (if staging.keep_place { root } else { Vec3::ZERO } - self.wander) / WANDER_FRAMES;
        pose.root -= self.wander;
        pose.root += staging.place;
        self.feet.step(&mut pose, lifts);
        self.shown = pose;
        &self.shown
    }

    pub fn shown(&self) -> &Pose {
        &self.shown
    }

    /// The tokens of the last step.
    pub fn tokens(&self) -> &[f32] {
        self.motion.tokens()
    }

    pub fn version(&self) -> &str {
        &self.motion.version
    }

    /// Forgets the dance so far; where the body is stays.
    pub fn reset(&mut self) {
        self.motion.reset();
        self.drive = Drive::default();
    }
}

/// Frames over which a dancer's own wandering is taken out of a group's formation: 2 s.
const WANDER_FRAMES: f32 = 60.0;

/// A dancer's model.
///
/// # Errors
/// If the weights do not fit the engine.
pub fn model(backend: &Backend, motion: &odori_kernels::Weights, tokenizer: &odori_kernels::Weights) -> Result<MotionModel, MotionError> {
    MotionModel::new(backend, motion.clone(), tokenizer)
}
