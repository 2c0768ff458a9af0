//! What is drawn of one dancer: the avatar, ready to be drawn, its hair, skirt and face in motion, and a denoiser at every working
//! size that the ladder may use. A character that has a picture of its back is two of these, and shows the one that is turned to
//! the viewer.
//!
//! Made on any thread, and warm when it is handed over: putting it on allocates nothing.

use std::f32::consts::PI;
use std::sync::LazyLock;

use glam::{Quat, Vec2, Vec3};
use odori_kernels::{Backend, Weights};

use super::{DOUBT_GAIN, SEED_STEP, interleave};
use crate::avatar::{self, Avatar, CHEST_FORWARD, Cue, Expression, FACING, HEAD_LAYER, Liveliness, PuppetFrame, Side, Springs};
use crate::dance::group::MOST_DANCERS;
use crate::dance::{self, Dancer};
use crate::denoiser::{self, DenoiseInput, DenoiseOutput, Denoiser, Doubt, KEYPOINTS, PATCH, Precision};
use crate::pipeline::{FRAME_RATE, Models, PipelineError};
use crate::pose::{Camera, Keypoint, Pose};
use crate::render::{Puppet, PuppetMaker, Size, WORK_CHANNELS, cpu};
use crate::skeleton::Bone;

/// Where the parts of a standing figure are in its own picture, pixels.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Figure {
    /// Corners of the head, hair and ears with it.
    pub head: [Vec2; 2],
    pub neck: Vec2,
    pub nose: Vec2,
    pub pelvis: Vec2,
}

pub struct Look {
    front: Half,
    back: Option<Half>,
    /// The back is shown.
    behind: bool,
    /// The frame that the other side had when it was turned away, and how many frames it still has to go.
    leaving: Option<(PuppetFrame, u32)>,
    liveliness: Liveliness,
    /// What the face shows.
    pub(super) face: Expression,
    pub(super) figure: Figure,
}

/// One side of a character.
pub(super) struct Half {
    side: Side,
    pub avatar: Avatar,
    pub puppet: Puppet,
    /// The working size that was asked for, then the smaller ones that the ladder may go down to.
    works: Vec<Work>,
    /// Which of them made the newest picture; none did where the puppet was shown.
    used: Option<usize>,
    springs: Springs,
    /// The newest pose, put on.
    pub frame: PuppetFrame,
}

/// Sine of how far the chest must have turned past the profile before the back is shown, and where the front is again: a front says
/// more of a dancer who stands in profile, and who sways there does not flip to and fro.
const AWAY: f32 = -0.35;
const FRONT_AGAIN: f32 = -0.1;
/// Radians that a head is shown turned aside, and up or down, at the most: further round there is what the picture does not have.
const ASIDE: f32 = 0.9;
const NODS: f32 = 0.7;
/// A head turned further than this comes back to the middle: half round it is there from either side.
const ROUND: f32 = 2.0;

/// Frames that one side takes to give way to the other.
const TURN_FRAMES: u32 = 3;

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
    /// What the head covers of every patch.
    cover: Vec<f32>,
}

impl Work {
    fn new(backend: &Backend, weights: &Weights, size: usize, avatar: &Avatar) -> Result<Self, PipelineError> {
        let mut denoiser = Denoiser::with_precision(backend, weights, size, Precision::Short)?;
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
            cover: vec![0.0; (size / PATCH) * (size / PATCH)],
        })
    }

    fn step(&mut self, avatar: &Avatar, frame: &PuppetFrame, steps: u32, seed: u32, tick: u64) -> Result<&[f32], PipelineError> {
        let Work { size, denoiser, denoised, doubt, warp, validity, interleaved, cover } = self;
        let own = Vec2::new(frame.width, frame.height);
        let keypoints: [_; KEYPOINTS] = std::array::from_fn(|k| {
            let (at, depth) = (frame.keypoints[k], frame.depths[k]);
            let p = at.position / own;
            denoiser::Keypoint { x: p.x, y: p.y, confidence: at.confidence, depth }
        });
        let facing: &[f32; FACING] = &frame.facing;
        cpu::layer_cover(avatar, frame, HEAD_LAYER, *size / PATCH, cover);
        // Told no tokens, it does better on dances that it did not learn from (models/denoiser.md).
        let input = DenoiseInput { warp, validity, keypoints: &keypoints, facing, tokens: &[], head: cover };
        denoiser.step(input, steps, seed, tick, denoised)?;
        doubt.apply(&input, *size, DOUBT_GAIN, denoised);
        interleave(denoised, interleaved);
        Ok(interleaved)
    }
}

impl Half {
    fn new(fitting: &Fitting, backend: &Backend, models: &Models, side: Side, avatar: Avatar, seed: u32) -> Result<Self, PipelineError> {
        let mut works = fitting.sizes.iter().map(|size| Work::new(backend, &models.denoiser, *size, &avatar)).collect::<Result<Vec<_>, _>>()?;
        let frame = avatar::drive_side(&avatar, side, &models.idle[0], &fitting.camera);
        for work in &mut works {
            work.step(&avatar, &frame, 1, seed, 1)?;
            work.denoiser.reset();
        }
        Ok(Half { side, puppet: fitting.maker.make(&avatar), works, used: None, springs: Springs::new(), frame, avatar })
    }

    fn pose(&mut self, pose: &Pose, camera: &Camera) {
        self.frame = avatar::drive_side(&self.avatar, self.side, &shown_face(pose, self.side), camera);
        self.springs.step(&self.avatar, &mut self.frame, 1.0 / FRAME_RATE as f32);
    }

    fn work(&self, wanted: usize) -> usize {
        self.works.iter().position(|w| w.size == wanted).unwrap_or(0)
    }

    /// The working size that will be used where one is wanted.
    pub fn working_size(&self, wanted: usize) -> Size {
        Size::square(self.works[self.work(wanted)].size)
    }

    /// This frame is shown as the puppet has it.
    pub fn puppet_only(&mut self) {
        self.used = None;
    }

    /// Denoises what the drawer made of the puppet at a working size.
    ///
    /// # Errors
    /// If the denoiser cannot run.
    pub fn denoise(&mut self, puppet: &[f32], wanted: usize, steps: u32, seed: u32, tick: u64) -> Result<&[f32], PipelineError> {
        let at = self.work(wanted);
        self.used = Some(at);
        let work = &mut self.works[at];
        for ((pixel, rgba), validity) in puppet.chunks_exact(WORK_CHANNELS).zip(work.warp.chunks_exact_mut(4)).zip(work.validity.iter_mut()) {
            rgba.copy_from_slice(&pixel[..4]);
            *validity = pixel[4];
        }
        work.step(&self.avatar, &self.frame, steps, seed, tick)
    }
}

static HEAD: LazyLock<usize> = LazyLock::new(|| Bone::named("head").expect("a bone of the skeleton").index());

/// The pose with its head no further from the viewer than a picture of that side can show it; a dancer for an audience looks at it.
fn shown_face(pose: &Pose, side: Side) -> Pose {
    let world = pose.joints().rotations;
    let half = if side == Side::Back { Quat::from_rotation_y(PI) } else { Quat::IDENTITY };
    let ahead = half * world[*HEAD] * Vec3::Z;
    let (aside, up) = (ahead.x.atan2(ahead.z), ahead.y.clamp(-1.0, 1.0).asin());
    let soft = |angle: f32, most: f32| most * (angle / most).tanh();
    let back = ((PI - aside.abs()) / (PI - ROUND)).clamp(0.0, 1.0);
    let towards = |aside: f32, up: f32| Quat::from_rotation_y(aside) * Quat::from_rotation_x(-up);
    let turn = towards(soft(aside, ASIDE) * back, soft(up, NODS)) * towards(aside, up).inverse();
    let mut pose = pose.clone();
    let neck = world[*HEAD] * pose.rotations[*HEAD].inverse();
    pose.rotations[*HEAD] = (neck.inverse() * half.inverse() * turn * half * world[*HEAD]).normalize();
    pose
}

/// The side that is turned away, as it was last seen.
pub(super) struct Leaving<'a> {
    pub puppet: &'a mut Puppet,
    pub frame: &'a PuppetFrame,
    /// What the denoiser made of that frame, and its working size, unless the puppet was shown.
    pub denoised: Option<(Size, &'a [f32])>,
}

impl Look {
    /// The pose as the avatar's own body takes it, hair and skirt behind it, and a face to it. Every frame, drawn or not:
    /// springs and faces have a past.
    pub(super) fn pose(&mut self, pose: &Pose, camera: &Camera, cue: &Cue<'_>, live: Option<Expression>) {
        let shown = self.shown().frame.clone();
        self.front.pose(pose, camera);
        let chest = Vec3::from_slice(&self.front.frame.facing[CHEST_FORWARD..]);
        let behind = self.back.is_some() && chest.z < if self.behind { FRONT_AGAIN } else { AWAY };
        if std::mem::replace(&mut self.behind, behind) != behind {
            self.leaving = Some((shown, TURN_FRAMES));
        } else {
            self.leaving = self.leaving.take().and_then(|(frame, left)| Some((frame, left.checked_sub(1).filter(|n| *n > 0)?)));
        }
        if let Some(back) = &mut self.back {
            back.pose(pose, camera);
        }
        self.face = self.liveliness.step(&self.front.frame, cue, live);
        self.face.apply(&self.front.avatar, &mut self.front.frame);
    }

    /// The side that is turned to the viewer.
    pub(super) fn shown(&self) -> &Half {
        self.back.as_ref().filter(|_| self.behind).unwrap_or(&self.front)
    }

    pub(super) fn shown_mut(&mut self) -> &mut Half {
        self.back.as_mut().filter(|_| self.behind).unwrap_or(&mut self.front)
    }

    /// While one side gives way to the other: how opaque the one is, and the one over it.
    pub(super) fn turn(&self) -> Option<[f32; 2]> {
        let (_, left) = self.leaving.as_ref()?;
        let there = 1.0 - *left as f32 / (TURN_FRAMES + 1) as f32;
        // The one that goes stands still: the sooner it is gone, the less of it is left behind.
        Some([(1.4 - 1.4 * there).min(1.0), (2.0 * there).min(1.0)])
    }

    /// The side that gives way.
    pub(super) fn leaving_mut(&mut self) -> Option<Leaving<'_>> {
        let (frame, _) = self.leaving.as_ref()?;
        let half = self.back.as_mut().filter(|_| !self.behind).unwrap_or(&mut self.front);
        let denoised = half.used.map(|at| (Size::square(half.works[at].size), &half.works[at].interleaved[..]));
        Some(Leaving { puppet: &mut half.puppet, frame, denoised })
    }

    /// Where the joints are drawn, by their own names.
    pub(super) fn keypoints(&self) -> [Keypoint; KEYPOINTS] {
        let drawn = &self.shown().frame.keypoints;
        if self.behind { std::array::from_fn(|k| drawn[avatar::other_side(k)]) } else { *drawn }
    }

    /// Forgets the frames before.
    pub(super) fn reset(&mut self) {
        self.leaving = None;
        let halves = std::iter::once(&mut self.front).chain(&mut self.back);
        halves.flat_map(|h| &mut h.works).for_each(|w| w.denoiser.reset());
    }
}

/// What a pipeline needs to know of to be given new looks.
#[derive(Clone)]
pub struct Fitting {
    pub(super) maker: PuppetMaker,
    pub(super) sizes: Vec<usize>,
    pub(super) camera: Camera,
    pub(super) seed: u32,
}

impl Fitting {
    /// Readies an avatar for one of the dancers, the first being 0; takes a good part of a second.
    ///
    /// # Errors
    /// If the weights do not fit or the avatar's picture cannot be taken.
    pub fn look(&self, backend: &Backend, models: &Models, avatar: Avatar, dancer: usize) -> Result<Look, PipelineError> {
        let seed = self.seed.wrapping_add(SEED_STEP.wrapping_mul(dancer as u32));
        let mut avatar = avatar;
        let back = avatar.back.take().map(|back| Half::new(self, backend, models, Side::Back, *back, seed)).transpose()?;
        let front = Half::new(self, backend, models, Side::Front, avatar, seed)?;
        let joint = |name| front.frame.keypoints[avatar::keypoint(name)].position;
        let head = cpu::layer_extent(&front.avatar, &front.frame, HEAD_LAYER);
        let figure = Figure { head, neck: joint("neck"), nose: joint("nose"), pelvis: joint("pelvis") };
        Ok(Look { front, back, behind: false, leaving: None, liveliness: Liveliness::new(seed), face: Expression::default(), figure })
    }
}

/// A change of who dances, made while the dance goes on; afterwards it holds what was taken off.
pub struct Costume {
    pub(crate) size: usize,
    /// By dancer: what they put on, if they change.
    pub(crate) looks: [Option<Look>; MOST_DANCERS],
    /// Dancers that were not there before, in order.
    pub(crate) newcomers: Vec<Dancer>,
}

impl Costume {
    /// `size` dancers, 1 to [`MOST_DANCERS`], as they are.
    pub fn new(size: usize) -> Self {
        Costume { size: size.clamp(1, MOST_DANCERS), looks: Default::default(), newcomers: Vec::new() }
    }

    /// Dancer `n`, from 0, puts on a look.
    #[must_use]
    pub fn with_look(mut self, n: usize, look: Look) -> Self {
        if let Some(place) = self.looks.get_mut(n) {
            *place = Some(look);
        }
        self
    }

    /// One more dancer who was not there before.
    ///
    /// # Errors
    /// If the weights do not fit the engine.
    pub fn with_newcomer(mut self, backend: &Backend, models: &Models) -> Result<Self, PipelineError> {
        self.newcomers.push(Dancer::new(dance::model(backend, &models.motion, &models.tokenizer)?, &models.idle));
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where a head that is turned so is shown to look: aside and up, radians.
    fn looks(aside: f32, up: f32, side: Side) -> [f32; 2] {
        let mut pose = Pose::default();
        pose.rotations[Bone::HIPS.index()] = Quat::from_rotation_y(0.3);
        let body = if side == Side::Back { PI } else { 0.0 };
        pose.rotations[*HEAD] = Quat::from_rotation_y(body + aside - 0.3) * Quat::from_rotation_x(-up);
        let ahead = Quat::from_rotation_y(-body) * shown_face(&pose, side).joints().rotations[*HEAD] * Vec3::Z;
        [ahead.x.atan2(ahead.z), ahead.y.asin()]
    }

    #[test]
    fn a_head_is_shown_no_further_round_than_its_picture_is() {
        for side in [Side::Front, Side::Back] {
            let mut last = looks(-PI, 0.0, side);
            for n in -1000..=1000 {
                let [aside, up] = looks(n as f32 * PI / 1000.0, 0.4, side);
                assert!(aside.abs() < ASIDE && up.abs() < NODS);
                assert!((aside - last[0]).abs() < 0.01, "no jump at {n}: {last:?}, {aside}");
                last = [aside, up];
            }
            let [aside, up] = looks(0.3, -0.2, side);
            assert!((aside - 0.3).abs() < 0.02 && (up + 0.2).abs() < 0.01, "small moves are as they are: {aside}, {up}");
            assert!(looks(1.5, 0.0, side)[0] > 0.8 && looks(0.0, 1.2, side)[1] > 0.6);
        }
    }
}
