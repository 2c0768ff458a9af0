//! The picture of a frame: poses put on avatars, puppets drawn far to near, denoised as the ladder's rung has it, laid into
//! one frame as the camera sees it, and what lies behind them.
//!
//! It takes poses and places and gives pixels; what is danced, and when, it does not know.
//!
//! Every dancer of a group is denoised alone, in the framing that the network was trained on, with its own past and its own
//! reference; the camera comes after. A network that saw the whole group would see figures of a size that it does not
//! know, and one that served them by turns would make what it corrects flicker. What that costs is the ladder's business.

pub mod camera;
mod look;
mod stage;
mod voice;

use std::time::Duration;

use glam::{Vec2, Vec3};
use odori_kernels::Backend;

use crate::avatar::{self, Avatar, Cue, Expression};
use crate::beat::BeatState;
use crate::dance::group::MOST_DANCERS;
use crate::denoiser::{DenoiseOutput, SIZES};
use crate::features::HOP_FLOATS;
use crate::ladder::{Budget, Ladder, Load, Rung};
use crate::pipeline::{Models, PipelineError};
use crate::pose::{Camera, Keypoint, Pose};
use crate::render::ground::MOST_SHADOWS;
use crate::render::{Background, DENOISED_CHANNELS, Drawer, Ground, Shadow, Size, View};
use crate::skeleton::KEYPOINT_COUNT;
use crate::stopwatch::{Running, Stage as Step, Stopwatch};
use camera::{Cameraman, Frame, Framing, Room, Subject};
pub use look::{Costume, Fitting, Look};
use stage::Stage;
use voice::Voice;

/// What a frame may take until another budget is set: a frame's time less what encoding and sending need, and two frames' age.
const BUDGET: Budget = Budget { frame: Duration::from_millis(28), latency: Duration::from_millis(66) };

/// How quickly doubt about the warp lets the denoiser speak; a compromise, see `models/denoiser.md`.
pub const DOUBT_GAIN: f32 = 1.0;

/// From one dancer's seed to the next one's.
pub(crate) const SEED_STEP: u32 = 7919;

/// How the picture side is set up.
pub struct PictureSetup {
    pub avatar: Avatar,
    pub drawer: Drawer,
    /// Of the picture, in pixels.
    pub width: u32,
    pub height: u32,
    /// Side of the denoiser's working picture: 128, 192 or 256.
    pub working_size: usize,
    pub best: Rung,
    /// Whether the ladder may step down, for which smaller working sizes are held ready; offline rendering always has the time.
    pub keep_budget: bool,
    pub seed: u32,
}

/// What a viewer may change of the picture.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Scene {
    pub framing: Framing,
    pub background: Background,
}

/// Who is to be seen in a frame.
#[derive(Clone, Copy)]
pub(crate) struct Cast<'a> {
    /// A pose a dancer, the first being the leader's.
    pub poses: &'a [Pose],
    /// Where each stands, metres from the middle of the stage; the poses have it in them.
    pub places: &'a [Vec3; MOST_DANCERS],
    /// 0 away to 1 there.
    pub presence: &'a [f32; MOST_DANCERS],
    /// How many there are to be: fewer than poses while some leave.
    pub size: usize,
    /// The beat at the time that the frame is seen.
    pub beat: &'a BeatState,
    /// Nothing is heard.
    pub silent: bool,
    pub seed: u32,
}

/// Picture making.
pub(crate) struct Picture {
    drawer: Drawer,
    /// A look a dancer, of all who were ever there.
    looks: Vec<Look>,
    /// Of a figure's own picture.
    camera: Camera,
    full: Size,
    pub scene: Scene,
    /// What the leader's face is to show, if not its own.
    pub live_face: Option<Expression>,
    frame: Frame,
    room: Room,
    begun: bool,
    cameraman: Cameraman,
    stage: Stage,
    voice: Voice,
    /// Where the whole picture lies in the frame, and each dancer's own.
    whole: View,
    views: [View; MOST_DANCERS],
    shadows: Vec<Shadow>,
    floors: Vec<f32>,
    ladder: Option<Ladder>,
    load: Option<Load>,
    /// Dancers that the ladder reckons with.
    reckoned: usize,
    sizes: Vec<usize>,
    best: Rung,
    /// Frames asked for since the newest picture, and what they took.
    passed: u32,
    passed_cost: Duration,
}

/// What a picture that is held to one rung would do otherwise.
pub(crate) struct Hold {
    best: Rung,
    ladder: Option<Ladder>,
}

impl Picture {
    /// # Errors
    /// If weights, avatar or drawing cannot be set up.
    pub fn new(backend: &Backend, models: &Models, setup: PictureSetup) -> Result<Self, PipelineError> {
        let PictureSetup { avatar, mut drawer, width, height, working_size, best, keep_budget, seed } = setup;
        if let Backend::Cpu(pool) = backend {
            drawer.work_with(pool);
        }
        let frame = Frame::new(width as f32, height as f32);
        let below = SIZES.into_iter().rev().filter(|size| keep_budget && best.denoise_steps() > 0 && *size < working_size);
        let mut picture = Picture {
            looks: Vec::with_capacity(MOST_DANCERS),
            camera: Camera::full_body(frame.side, frame.side),
            full: Size::new(width as usize, height as usize),
            scene: Scene::default(),
            live_face: None,
            room: Room::new(1, false, frame.width()),
            begun: false,
            cameraman: Cameraman::new(frame),
            stage: Stage::default(),
            voice: Voice::default(),
            frame,
            whole: frame.rest,
            views: [View::WHOLE; MOST_DANCERS],
            shadows: Vec::with_capacity(MOST_SHADOWS),
            floors: vec![0.0; width as usize],
            ladder: keep_budget.then(|| Ladder::new(best, working_size, BUDGET)),
            load: None,
            reckoned: 1,
            sizes: std::iter::once(working_size).chain(below).collect(),
            drawer,
            best,
            passed: 0,
            passed_cost: Duration::ZERO,
        };
        let look = picture.fitting(seed).look(backend, models, avatar, 0)?;
        picture.looks.push(look);
        Ok(picture)
    }

    pub fn size(&self) -> Size {
        self.full
    }

    pub fn fitting(&self, seed: u32) -> Fitting {
        Fitting { maker: self.drawer.puppet_maker(), sizes: self.sizes.clone(), camera: self.camera, seed }
    }

    /// Dancers that have something to wear.
    pub fn dressed(&self) -> usize {
        self.looks.len()
    }

    /// Puts on what there is to put on, and leaves there what was taken off.
    pub fn wear(&mut self, looks: &mut [Option<Look>; MOST_DANCERS]) {
        for (n, slot) in looks.iter_mut().enumerate() {
            match self.looks.get_mut(n) {
                Some(old) => slot.iter_mut().for_each(|new| std::mem::swap(new, old)),
                None => self.looks.extend(slot.take()),
            }
        }
    }

    /// Forgets the frames before.
    pub fn reset(&mut self) {
        self.looks.iter_mut().for_each(Look::reset);
    }

    /// A hop of the sound's features.
    pub fn hear(&mut self, hop: &[f32; HOP_FLOATS]) {
        self.stage.hear(hop);
        self.voice.hear(hop);
    }

    /// Whether a frame that is asked for is drawn on a rung: the lowest draw some of them.
    pub fn wants(&mut self, rung: Rung) -> bool {
        self.passed += 1;
        self.passed >= rung.every()
    }

    /// What a frame took that the rung did not draw.
    pub fn passed(&mut self, watch: &Stopwatch) {
        self.passed_cost += watch.costs.iter().sum::<Duration>();
    }

    pub fn ladder(&mut self) -> Option<&mut Ladder> {
        self.ladder.as_mut()
    }

    /// What dancers cost, measured: the ladder reckons with it from now on.
    pub fn set_load(&mut self, load: &Load) {
        self.load = Some(*load);
        if let Some(ladder) = &mut self.ladder {
            ladder.set_costs(&load.of(self.reckoned));
        }
    }

    /// So many dancers will have to be drawn.
    pub fn reckon_with(&mut self, dancers: usize) {
        if dancers != self.reckoned {
            self.reckoned = dancers;
            let costs = self.load.map_or_else(Default::default, |l| l.of(dancers));
            if let Some(ladder) = &mut self.ladder {
                ladder.regroup(dancers, &costs);
            }
        }
    }

    /// The rungs there are for so many dancers, dearest first.
    pub fn rungs(&self, dancers: usize) -> impl Iterator<Item = Rung> + use<> {
        Rung::from(self.best, self.sizes[0], dancers > 1)
    }

    /// Holds it to one rung, until the hold is given back.
    pub fn hold(&mut self, rung: Rung) -> Hold {
        Hold { best: std::mem::replace(&mut self.best, rung), ladder: self.ladder.take() }
    }

    pub fn release(&mut self, hold: Hold) {
        (self.best, self.ladder) = (hold.best, hold.ladder);
    }

    pub fn rung(&self) -> Rung {
        self.ladder.as_ref().map_or(self.best, Ladder::rung)
    }

    /// Poses put on, camera and lights a frame on: every frame, drawn or not. Gives the leader's keypoints, pixels of
    /// the frame.
    pub fn pose(&mut self, cast: &Cast<'_>, seen: bool) -> [Keypoint; KEYPOINT_COUNT] {
        let staged = self.scene.background == Background::Stage;
        if !std::mem::replace(&mut self.begun, true) {
            self.room = Room::new(cast.size, staged, self.frame.width());
        }
        self.room.step(cast.size, staged);
        let cue = Cue { beat: cast.beat, voice: self.voice.strength(), silent: cast.silent };
        for (n, (look, pose)) in self.looks.iter_mut().zip(cast.poses).enumerate() {
            let mut own = pose.clone();
            own.root -= cast.places[n];
            look.pose(&own, &self.camera, &cue, self.live_face.filter(|_| n == 0));
        }
        let leader = &self.looks[0];
        let keypoints = leader.keypoints();
        let joint = |name| keypoints[avatar::keypoint(name)].position;
        let subject = Subject { figure: leader.figure, neck: joint("neck"), nose: joint("nose"), view: self.room.view(cast.places[0], &self.camera) };
        self.whole = self.cameraman.step(self.scene.framing, &subject, cast.beat, cast.seed);
        for (n, view) in self.views.iter_mut().enumerate().take(cast.poses.len()) {
            *view = self.room.view(cast.places[n], &self.camera).within(&self.whole);
        }
        let front = self.room.view(Vec3::new(0.0, 0.0, f32::MIN_POSITIVE), &self.camera);
        let floor = self.frame.rest.apply(front.apply(self.camera.project(Vec3::ZERO))).y / self.full.height as f32;
        self.stage.step(cast.beat, floor, self.room.scale(), seen && staged);
        keypoints.map(|k| Keypoint { position: self.views[0].apply(k.position), ..k })
    }

    /// What the leader's face shows.
    pub fn face(&self) -> Expression {
        self.looks[0].face
    }

    /// The frame of the poses that were put on last, and what lies behind it; that is empty where nothing does.
    pub fn draw(&mut self, rung: Rung, cast: &Cast<'_>, tick: u64, watch: &mut Stopwatch) -> Result<(&[u8], &[u8]), PipelineError> {
        let running = Running::start(Step::Puppet);
        self.drawer.begin(self.full)?;
        watch.stop(running);
        let there = cast.poses.len().min(self.looks.len());
        // Far to near; of two as far away, the one who comes first is in front.
        let mut order: [usize; MOST_DANCERS] = std::array::from_fn(|n| n);
        order[..there].sort_unstable_by(|&a, &b| cast.places[a].z.total_cmp(&cast.places[b].z).then(b.cmp(&a)));
        for &n in &order[..there] {
            let steps = rung.steps_for(n);
            let wanted = rung.working_size(self.sizes[0]);
            let mut presence = cast.presence[n];
            if let (Some([going, coming]), Some(leaving)) = (self.looks[n].turn(), self.looks[n].leaving_mut()) {
                let running = Running::start(Step::Puppet);
                self.drawer.draw_puppet(leaving.puppet, leaving.frame, &self.views[n], leaving.denoised.map(|d| d.0))?;
                watch.stop(running);
                let running = Running::start(Step::Compose);
                self.drawer.lay(leaving.denoised.map(|d| d.1), presence * going)?;
                watch.stop(running);
                presence *= coming;
            }
            let look = self.looks[n].shown_mut();
            let running = Running::start(Step::Puppet);
            let work = (steps > 0).then(|| look.working_size(wanted));
            let puppet = self.drawer.draw_puppet(&mut look.puppet, &look.frame, &self.views[n], work)?;
            watch.stop(running);
            let mut denoised = None;
            if steps > 0 {
                let running = Running::start(Step::Denoise);
                let seed = cast.seed.wrapping_add(SEED_STEP.wrapping_mul(n as u32));
                denoised = Some(look.denoise(puppet, wanted, steps, seed, tick)?);
                watch.stop(running);
            } else {
                look.puppet_only();
            }
            let running = Running::start(Step::Compose);
            self.drawer.lay(denoised, presence)?;
            watch.stop(running);
        }
        let running = Running::start(Step::Compose);
        self.stand(cast, there);
        let ground = (self.scene.background != Background::Clear).then_some(Ground {
            background: &self.scene.background,
            light: &self.stage.light,
            shadows: &self.shadows,
            floors: &self.floors,
            view: self.frame.stage(&self.whole),
        });
        let made = self.drawer.finish(ground.as_ref())?;
        watch.stop(running);
        self.passed = 0;
        let cost = std::mem::take(&mut self.passed_cost) + watch.costs.iter().sum();
        if let Some(ladder) = &mut self.ladder {
            ladder.record(cost);
        }
        Ok(made)
    }

    /// Where the dancers touch the floor: soft shadows of feet and body, and who stands in which column.
    fn stand(&mut self, cast: &Cast<'_>, there: usize) {
        self.shadows.clear();
        if self.scene.background == Background::Clear {
            return;
        }
        let soles = self.camera.project(Vec3::ZERO).y;
        for (n, look) in self.looks.iter().enumerate().take(there) {
            let half = look.shown();
            let (view, frame) = (&self.views[n], &half.frame);
            let floor = view.apply(Vec2::new(0.0, soles)).y;
            let metre = self.camera.scale * view.scale;
            let mut lay = |x: f32, wide_m: f32, flat: f32, strength: f32| {
                let radii = [wide_m * metre, flat * wide_m * metre];
                self.shadows.push(Shadow { centre: [x, floor], radii, strength: strength * cast.presence[n], pad: [0.0; 3] });
            };
            let at = |name| frame.keypoints[avatar::keypoint(name)].position;
            lay(view.apply(at("pelvis")).x, 0.46, 0.20, 0.38);
            for (s, side) in ["left_ankle", "right_ankle"].into_iter().zip(["left_toe", "right_toe"]).enumerate() {
                let (ankle, toe) = (at(side.0), at(side.1));
                let rig = &half.avatar.rig;
                let stands = soles - (rig.ground - rig.ankles[s].y) * frame.scale;
                let lift_m = ((stands - ankle.y) / self.camera.scale).clamp(0.0, 1.0);
                lay(view.apply(ankle.lerp(toe, 0.5)).x, 0.17 * (1.0 + 2.0 * lift_m), 0.30, 0.62 / (1.0 + 9.0 * lift_m));
            }
        }
        for (x, floor) in self.floors.iter_mut().enumerate() {
            let apart = |n: &usize| (self.views[*n].apply(Vec2::splat(0.5 * self.camera.width)).x - x as f32).abs();
            let nearest = (0..there).min_by(|a, b| apart(a).total_cmp(&apart(b))).unwrap_or(0);
            *floor = self.views[nearest].apply(Vec2::new(0.0, soles)).y;
        }
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
