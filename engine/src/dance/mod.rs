//! A dancer: the motion model's poses, as the viewer directs them, on feet that stand.
//!
//! Music and the beat come in; it knows no sound and draws nothing. [`drive`] keeps the dance as lively as was asked for,
//! [`retime`] shows it when it is on the beat, [`calm`] takes from it what bodies do not do, [`direct`] lays stress on parts of
//! the body and turns the dancer, [`repertoire`] chooses what is danced where nothing else is asked for, [`feet`] plants the feet,
//! [`mood`] hears breaks and drops, [`hush`] stops and beginnings, which [`startle`] answers, [`group`] makes several dancers one group.

mod calm;
pub mod direct;
mod drive;
pub mod feet;
pub mod group;
mod hush;
mod mood;
mod repertoire;
pub mod retime;
mod startle;

pub use direct::Direction;
pub use hush::Hush;
pub use mood::Mood;
pub use repertoire::Repertoire;

use direct::Director;
use drive::Drive;
use feet::FootLock;
use startle::Startle;
use glam::Vec3;
use odori_kernels::Backend;
use retime::Retimer;
use serde::{Deserialize, Serialize};

use crate::beat::BeatState;
use crate::motion::{BEAT_DIM, MotionError, MotionModel, StepInput};
use crate::pose::Pose;

/// Shares by which the dancer comes to rest, and back, in a frame: one settles in a second and sets out in less than half of one.
const REST_STEP: f32 = 1.0 / 30.0;
const WAKE_STEP: f32 = 1.0 / 12.0;

/// Steps without a beat to follow after which the dance begins anew with the next one: half a second.
const LOST_STEPS: u32 = 8;
/// From the seed of one beginning to the next one's.
const ANEW_SEED: u32 = 104_729;

/// What is left of moving, from frame to frame, when music stops; and by how much it comes back when it goes on.
const STOPPING: f32 = 0.18;
const RESUMING: f32 = 0.25;
/// Moving less than this, the body is held as it is.
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
    retimer: Retimer,
    /// Steps since there was a beat to follow.
    lost: u32,
    /// How often the dance has begun anew.
    beginnings: u32,
    /// Whether what was danced is to be forgotten at the next step.
    cut: bool,
    /// The style of the last step.
    style: Option<u32>,
    drive: Drive,
    director: Director,
    feet: FootLock,
    startle: Startle,
    /// What is danced, as far as it is.
    moved: Pose,
    /// Share of its moves that is made: 1 while music plays, nought when it has stopped.
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
            retimer: Retimer::new(&rest),
            lost: 0,
            beginnings: 0,
            cut: false,
            style: None,
            motion,
            drive: Drive::default(),
            director: Director::default(),
            feet: FootLock::default(),
            startle: Startle::default(),
            moved: idle[0].clone(),
            moving: 1.0,
            rest: 1.0,
            wander: Vec3::ZERO,
            shown: idle[0].clone(),
        }
    }

    /// Two more poses of the dance, for [`retime::LEAD_FRAMES`] after the frames that are shown next.
    ///
    /// The model dances on from what it danced. After seconds without a beat, or of standing, it would go on much like that,
    /// beat or no beat: it then forgets them and begins anew. So it does when another style is asked for, or the old one's moves
    /// would go on for bars.
    pub fn step(&mut self, input: &StepInput<'_>, silent: bool) {
        let followed = !silent && input.beat != [0.0; BEAT_DIM];
        let restyled = self.style.replace(input.style).is_some_and(|style| style != input.style);
        let anew = self.cut || restyled && !silent || followed && (self.lost >= LOST_STEPS || self.drive.stuck(input.energy));
        self.lost = if followed { 0 } else { self.lost.saturating_add(1) };
        if anew {
            self.cut = false;
            self.beginnings = self.beginnings.wrapping_add(1);
            self.motion.begin(input.style, input.sampling.seed.wrapping_add(self.beginnings));
        }
        let mut input = if silent { StepInput { energy: 0.0, ..*input } } else { self.drive.steer(input) };
        // Not the same moves again.
        input.sampling.seed = input.sampling.seed.wrapping_add(ANEW_SEED.wrapping_mul(self.beginnings));
        let poses = self.motion.step(&input);
        self.retimer.push(&poses, anew);
        self.drive.watch(&poses, silent);
    }

    /// Music begins out of silence.
    pub fn startle(&mut self) {
        self.startle.begin();
    }

    /// What is danced at a frame, as `beat` is when it is seen: frames and steps share the clock, two frames to a step. To be asked
    /// for once a frame.
    pub fn danced(&mut self, tick: u64, beat: &BeatState) -> Pose {
        self.retimer.at(tick, beat)
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
        self.moved = if self.moving == 1.0 { danced.clone() } else { self.moved.lerp(danced, self.moving) };
        self.retimer.watch(&self.moved, &staging.beat);
        let mut pose = if self.rest == 0.0 {
            self.moved.clone()
        } else {
            // Slow at both ends.
            self.moved.lerp(&idle[tick as usize % idle.len()], self.rest * self.rest * (3.0 - 2.0 * self.rest))
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

    pub fn version(&self) -> &str {
        &self.motion.version
    }

    /// Forgets the dance so far; where the body is stays.
    pub fn reset(&mut self) {
        self.cut = true;
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
