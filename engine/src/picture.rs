//! The picture of a frame: the pose put on the avatar, the puppet drawn, denoised as the ladder's rung has it, and put
//! together.
//!
//! It takes poses and gives pixels; what is danced, and when, it does not know.

use std::time::Duration;

use glam::Vec2;
use odori_kernels::{Backend, Weights};

use crate::avatar::{self, Avatar, PuppetFrame, Springs};
use crate::denoiser::{self, DenoiseInput, DenoiseOutput, Denoiser, Doubt, SIZES, TOKEN_SLOTS};
use crate::ladder::{Budget, IDLE_EVERY, Ladder, Rung};
use crate::pipeline::{FRAME_RATE, PipelineError};
use crate::pose::{Camera, Pose};
use crate::render::{Background, DENOISED_CHANNELS, Drawer, Size};
use crate::stopwatch::{Running, Stage, Stopwatch};

/// What a frame may take until another budget is set: a frame's time less what encoding and sending need, and two frames' age.
const BUDGET: Budget = Budget { frame: Duration::from_millis(28), latency: Duration::from_millis(66) };

/// How quickly doubt about the warp lets the denoiser speak; a compromise, see `models/denoiser.md`.
pub const DOUBT_GAIN: f32 = 1.0;

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

/// One dancer's picture making.
pub(crate) struct Picture {
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

/// What a picture that is held to one rung would do otherwise.
pub(crate) struct Hold {
    best: Rung,
    ladder: Option<Ladder>,
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

impl Picture {
    /// # Errors
    /// If weights, avatar or drawing cannot be set up, or the picture is not square.
    pub fn new(backend: &Backend, weights: &Weights, setup: PictureSetup) -> Result<Self, PipelineError> {
        let PictureSetup { avatar, mut drawer, width, height, working_size, best, keep_budget } = setup;
        if width != height {
            return Err(PipelineError::NotSquare { width, height });
        }
        drawer.set_avatar(&avatar);
        let below = SIZES.into_iter().rev().filter(|size| keep_budget && best.denoise_steps() > 0 && *size < working_size);
        let sizes = std::iter::once(working_size).chain(below);
        Ok(Picture {
            works: sizes.map(|size| Work::new(backend, weights, size, &avatar)).collect::<Result<_, _>>()?,
            springs: Springs::new(),
            full: Size::new(width as usize, height as usize),
            camera: Camera::full_body(width as f32, height as f32),
            ladder: keep_budget.then(|| Ladder::new(best, working_size, BUDGET)),
            avatar,
            drawer,
            best,
            drawn: 0,
        })
    }

    pub fn size(&self) -> Size {
        self.full
    }

    /// Another avatar, from the next frame on.
    ///
    /// # Errors
    /// If its picture cannot be taken; the old one then stays.
    pub fn set_avatar(&mut self, avatar: Avatar) -> Result<(), PipelineError> {
        for work in &mut self.works {
            work.denoiser.set_reference(&avatar.reference_square(work.size))?;
        }
        self.drawer.set_avatar(&avatar);
        self.springs.reset();
        self.avatar = avatar;
        Ok(())
    }

    /// Forgets the frames before.
    pub fn reset(&mut self) {
        self.works.iter_mut().for_each(|w| w.denoiser.reset());
    }

    /// Whether a frame is drawn on a rung: a resting dancer is, now and then.
    pub fn wants(&self, rung: Rung, tick: u64) -> bool {
        rung != Rung::Idle || tick >= self.drawn + IDLE_EVERY
    }

    pub fn ladder(&mut self) -> Option<&mut Ladder> {
        self.ladder.as_mut()
    }

    /// The rungs there are, dearest first.
    pub fn rungs(&self) -> impl Iterator<Item = Rung> + use<> {
        Rung::from(self.best, self.works[0].size)
    }

    /// Holds it to one rung, until the hold is given back.
    pub fn hold(&mut self, rung: Rung) -> Hold {
        Hold { best: std::mem::replace(&mut self.best, rung), ladder: self.ladder.take() }
    }

    pub fn release(&mut self, hold: Hold) {
        (self.best, self.ladder) = (hold.best, hold.ladder);
    }

    /// The pose as the avatar's own body takes it, hair and skirt behind it. Every frame, drawn or not: springs have
    /// a past.
    pub fn pose(&mut self, pose: &Pose) -> PuppetFrame {
        let mut frame = avatar::drive(&self.avatar, pose, &self.camera);
        self.springs.step(&self.avatar, &mut frame, 1.0 / FRAME_RATE as f32);
        frame
    }

    pub fn rung(&self) -> Rung {
        self.ladder.as_ref().map_or(self.best, Ladder::rung)
    }

    /// Puppet, denoiser as the rung has it, and both put together.
    pub fn draw(
        &mut self,
        rung: Rung,
        frame: &PuppetFrame,
        tokens: &[[u16; TOKEN_SLOTS]],
        seed: u32,
        tick: u64,
        watch: &mut Stopwatch,
    ) -> Result<&[u8], PipelineError> {
        self.drawn = tick;
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
