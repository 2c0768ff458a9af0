//! A face that lives: lids, gaze and mouth, as bones that ride on the head.
//!
//! [`Expression`] is what a face shows; [`Liveliness`] is its small state, stepped once a frame: people blink every few
//! seconds and at the end of a phrase, look ahead of a turn, and open the mouth with the voice of the music. The same seed and
//! the same cues give the same face.

use glam::Vec2;

use super::face::Spot;
use super::mesh::head_bulge;
use super::rig::bone;
use super::{Avatar, BoneTransform, PuppetFrame};
use crate::beat::{BeatState, LEAST_CONFIDENCE};

/// What a face shows. The default is the face of the picture.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Expression {
    /// 0 open to 1 closed.
    pub lids: f32,
    /// Where the eyes look, -1 to 1: to the picture's right, and down.
    pub gaze: Vec2,
    /// -1 closed, 0 as in the picture, 1 wide open.
    pub mouth: f32,
}

/// How far the eyes go at the most, in widths of an eye.
const GAZE: f32 = 0.085;
/// How far the lower lip goes up and down at the most, in heights of the mouth; down at least this much of its width.
const SHUT: f32 = 0.62;
const OPEN: f32 = 0.5;
const OPEN_WIDTH: f32 = 0.16;
/// Of the lids' way: what lies above the eye, where they are never seen, and on what the lash line comes into being.
const ABOVE: f32 = 0.12;
const LASH_GROWS: f32 = 0.2;

impl Expression {
    fn towards(self, other: Expression, share: f32) -> Expression {
        let mix = |a: f32, b: f32| a + (b - a) * share;
        Expression { lids: mix(self.lids, other.lids), gaze: self.gaze.lerp(other.gaze, share), mouth: mix(self.mouth, other.mouth) }
    }

    /// Puts it on: the face's bones of `frame` leave the head's.
    pub fn apply(&self, avatar: &Avatar, frame: &mut PuppetFrame) {
        let face = &avatar.face;
        let head = frame.bones[bone::HEAD];
        let linear = head.linear();
        // Over a rounded head a way down is also a way back.
        let moved = |by: Vec2, over: &Spot| {
            let half = Vec2::new(0.0, 0.5 * over.size.y);
            let round = (head_bulge(&avatar.rig, over.centre + half) - head_bulge(&avatar.rig, over.centre - half)) / over.size.y;
            let offset = Vec2::from(head.offset) + linear * by + Vec2::from(head.bulge) * (round * by.y);
            BoneTransform { offset: offset.into(), ..head }
        };
        if let Some(eye) = face.eyes().max_by(|a, b| a.size.y.total_cmp(&b.size.y)) {
            let lids = if self.lids > 0.02 { ABOVE + (1.0 - ABOVE) * self.lids.min(1.0) } else { 0.0 };
            let travel = face.lid_travel();
            let look = self.gaze.clamp(Vec2::splat(-1.0), Vec2::ONE) * Vec2::new(1.0, 0.6);
            frame.bones[bone::LID] = moved(Vec2::new(0.0, lids * travel), &eye);
            frame.bones[bone::LASH] = moved(Vec2::new(0.0, (lids / LASH_GROWS).min(1.0) * travel), &eye);
            frame.bones[bone::LOWER_LID] = moved(Vec2::new(0.0, -lids * travel), &eye);
            frame.bones[bone::GAZE] = moved(look * GAZE * eye.size.x, &eye);
        }
        if let Some(mouth) = face.mouth {
            let open = self.mouth.clamp(-1.0, 1.0);
            let jaw = if open < 0.0 { open * SHUT * shut(mouth.size) } else { open * jaw_reach(mouth.size) };
            frame.bones[bone::JAW] = moved(Vec2::new(0.0, jaw), &mouth);
        }
    }
}

/// How far a mouth of this size can shut, pixels: one that is a line is shut already.
fn shut(size: Vec2) -> f32 {
    size.y * ((size.y / size.x.max(1.0) - 0.2) / 0.2).clamp(0.0, 1.0)
}

/// How far a mouth of this size opens, pixels.
pub(super) fn jaw_reach(size: Vec2) -> f32 {
    (OPEN * size.y).max(OPEN_WIDTH * size.x)
}

/// What a face is told of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Cue<'a> {
    pub beat: &'a BeatState,
    /// How strongly something sings, 0 to 1.
    pub voice: f32,
    /// Nothing is heard.
    pub silent: bool,
}

/// Frames of a blink, how far the lids are closed in each: shut quickly, opened slowly.
const BLINK: [f32; 7] = [0.5, 0.95, 1.0, 1.0, 0.75, 0.45, 0.18];
/// Frames between blinks, at the least and at the most.
const SHORTEST: f32 = 55.0;
const LONGEST: f32 = 190.0;
/// Frames between the two blinks of a double one, and how often there are two.
const AGAIN: u32 = 3;
const TWICE: f32 = 0.16;
/// Bars of a phrase, how often its end is a blink, and frames for which there is none after another.
const PHRASE_BARS: u32 = 4;
const AT_PHRASE: f32 = 0.7;
const REST: u32 = 24;
/// Where the lids and the mouth hang in silence.
const SLEEPY: f32 = 0.16;
/// The mouth of one who dances and hears no voice.
const CALM: f32 = -0.25;

/// Share of somebody else's face that comes and goes a frame.
const LENT_STEP: f32 = 0.2;

/// The state of one face.
#[derive(Clone, Debug)]
pub struct Liveliness {
    noise: u32,
    /// Frames until the next blink, and since the last began.
    next: u32,
    since: u32,
    /// A blink that follows at once.
    again: bool,
    bars: u32,
    bar_phase: f32,
    droop: f32,
    mouth: f32,
    gaze: Vec2,
    /// Where the eyes rest between turns, and frames until they rest elsewhere.
    rest: Vec2,
    rest_frames: u32,
    /// Which way the head faced, and how fast it turns.
    faced: Option<Vec2>,
    turn: Vec2,
    /// Somebody else's face, and how much of it is shown.
    lent: Expression,
    lent_share: f32,
}

impl Liveliness {
    pub fn new(seed: u32) -> Liveliness {
        let mut face = Liveliness {
            noise: seed ^ 0x51ed_270b,
            next: 0,
            since: BLINK.len() as u32,
            again: false,
            bars: 0,
            bar_phase: 0.0,
            droop: 0.0,
            mouth: 0.0,
            gaze: Vec2::ZERO,
            rest: Vec2::ZERO,
            rest_frames: 0,
            faced: None,
            turn: Vec2::ZERO,
            lent: Expression::default(),
            lent_share: 0.0,
        };
        face.next = face.pause() / 2;
        face
    }

    /// 0 to 1.
    fn chance(&mut self) -> f32 {
        self.noise = self.noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (self.noise >> 8) as f32 / (1 << 24) as f32
    }

    /// Frames to the next blink: mostly short, now and then long.
    fn pause(&mut self) -> u32 {
        let late = self.chance();
        (SHORTEST + (LONGEST - SHORTEST) * late * late.sqrt()) as u32
    }

    /// A frame on; `frame` says which way the head faces. `lent` is somebody else's face, shown instead of its own.
    pub fn step(&mut self, frame: &PuppetFrame, cue: &Cue<'_>, lent: Option<Expression>) -> Expression {
        self.droop += (if cue.silent { SLEEPY } else { 0.0 } - self.droop) * if cue.silent { 0.04 } else { 0.25 };
        let lids = self.blink(cue).max(self.droop);
        let opening = if cue.silent { -1.0 } else { CALM + (1.0 - CALM) * cue.voice.clamp(0.0, 1.0) };
        self.mouth += (opening - self.mouth) * if opening > self.mouth { 0.5 } else { 0.22 };
        self.look(frame);
        let own = Expression { lids, gaze: self.gaze, mouth: self.mouth };
        self.lent_share = (self.lent_share + if lent.is_some() { LENT_STEP } else { -LENT_STEP }).clamp(0.0, 1.0);
        self.lent = lent.unwrap_or(self.lent);
        own.towards(self.lent, self.lent_share)
    }

    fn blink(&mut self, cue: &Cue<'_>) -> f32 {
        let sure = cue.beat.confidence >= LEAST_CONFIDENCE;
        let downbeat = sure && cue.beat.bar_phase < self.bar_phase - 0.5;
        self.bar_phase = cue.beat.bar_phase;
        self.bars = self.bars.wrapping_add(u32::from(downbeat));
        self.since = self.since.saturating_add(1);
        self.next = self.next.saturating_sub(1);
        let rested = self.since > BLINK.len() as u32 + REST;
        if downbeat && self.bars.is_multiple_of(PHRASE_BARS) && rested && self.chance() < AT_PHRASE {
            self.next = 0;
        }
        if self.next == 0 {
            self.since = 0;
            self.again = !self.again && self.chance() < TWICE;
            self.next = if self.again { BLINK.len() as u32 + AGAIN } else { self.pause() };
        }
        BLINK.get(self.since as usize).copied().unwrap_or(0.0)
    }

    /// Eyes go ahead of a turn of the head, and rest a little beside the viewer otherwise.
    fn look(&mut self, frame: &PuppetFrame) {
        // The head's Z axis: to the picture's right and down.
        let faces = Vec2::new(frame.facing[15], -frame.facing[16]);
        let speed = faces - self.faced.replace(faces).unwrap_or(faces);
        self.turn += (speed - self.turn) * 0.3;
        if self.rest_frames == 0 {
            let (x, y, again) = (self.chance(), self.chance(), self.chance());
            self.rest = Vec2::new(x - 0.5, 0.5 * (y - 0.5)) * 0.7;
            self.rest_frames = 20 + (70.0 * again) as u32;
        }
        self.rest_frames -= 1;
        let goal = (self.rest + self.turn * 9.0).clamp(Vec2::splat(-1.0), Vec2::ONE);
        self.gaze += (goal - self.gaze) * 0.45;
    }
}
