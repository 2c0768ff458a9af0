//! The seam between the server and the engine: what a session asks of a dancer, and where avatars, songs and
//! dancers come from. The server sees nothing of the engine's picture path but this file.

use std::sync::{Arc, RwLock};
use std::time::Duration;

use bytes::Bytes;
use odori_engine::avatar::{AvatarError, Expression};
use odori_engine::dance::Pace;
use odori_engine::ladder::{Budget, Rung};
pub use odori_engine::picture::Scene;
use odori_engine::pose::{Keypoint, Pose};
use odori_engine::prompt::Wish;
use odori_engine::render::Background;

use crate::measure::Span;
use crate::vmc::{Face, Vmc};

/// What the engine could not do, in words for the person who asked.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LiveError(pub String);

/// Where the beat is, for the viewer's indicator.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Beat {
    pub bpm: f32,
    /// 0 to 1 at the frame's time.
    pub beat_phase: f32,
    pub bar_phase: f32,
    /// 0 to 1; under 0.05 there is no beat.
    pub confidence: f32,
}

/// One frame; the picture is borrowed until the next one is made.
#[derive(Debug)]
pub struct LiveFrame<'a> {
    /// Premultiplied, `width * height * 4` bytes; empty if the picture was skipped.
    pub rgba: &'a [u8],
    /// What lies behind it, opaque, as large; empty where nothing does.
    pub ground: &'a [u8],
    pub width: u32,
    pub height: u32,
    /// Samples at 24 kHz since this dancer began.
    pub media_samples: u64,
    pub beat: Beat,
    pub rung: Rung,
    /// How the leader stands and looks.
    pub pose: &'a Pose,
    pub face: Expression,
    /// Where the body is in the picture, pixels.
    pub keypoints: &'a [Keypoint],
    /// The engine's stages that ran for it, in the order of the path.
    pub spans: &'a [Span],
}

/// What may change while a dancer dances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DanceSettings {
    pub seed: u32,
    /// Index into [`Engine::styles`].
    pub style: u32,
    /// 0 calm to 1 wild.
    pub energy: f32,
    /// Stress on parts of the body: -1 hardly moves, 0 as danced, 1 clearly more.
    pub hands: f32,
    pub head: f32,
    pub footwork: f32,
    /// Degrees from facing the camera, -90 to 90.
    pub facing: f32,
    pub pace: Pace,
}

impl Default for DanceSettings {
    fn default() -> Self {
        let of = odori_engine::pipeline::Settings::default();
        DanceSettings { seed: of.sampling.seed, style: of.style, energy: of.energy, hands: 0.0, head: 0.0, footwork: 0.0, facing: 0.0, pace: Pace::Normal }
    }
}

/// Who dances: an avatar a dancer, the leader's first; one to five.
#[derive(Clone, Debug)]
pub struct Cast(pub Vec<Arc<AvatarEntry>>);

/// What dancers change into, made by their [`Wardrobe`]; only they know what it is.
pub type Costume = Box<dyn std::any::Any + Send>;

/// Readies what a dancer will change into, on a thread of its own, while the dance goes on. What it makes is put on in the
/// order in which it was made.
pub trait Wardrobe: Send {
    /// # Errors
    /// If an avatar cannot be made ready; the dancer then stays as they are.
    fn fit(&mut self, cast: &Cast) -> Result<Costume, LiveError>;
}

/// A dancer: sound in, frames out; owned by one thread. Implemented by the engine's pipeline, and by a pattern in tests.
pub trait Dancer: Send {
    /// Takes 24 kHz mono up to the next frame that is due; says how many samples it took.
    fn push_audio(&mut self, mono: &[f32]) -> usize;
    /// The frame that is due, with its picture if `draw`; `None` if none is due.
    ///
    /// # Errors
    /// If the dancer cannot go on; the session then ends.
    fn next_frame(&mut self, draw: bool) -> Result<Option<LiveFrame<'_>>, LiveError>;
    fn set(&mut self, settings: &DanceSettings);
    fn set_scene(&mut self, scene: &Scene);
    /// Where changes for this dancer are made.
    fn wardrobe(&self) -> Box<dyn Wardrobe>;
    /// Changes; gives back what was taken off. Takes no longer than a frame has time for.
    fn wear(&mut self, costume: Costume) -> Costume;
    /// How far ahead of the sound the dance is to be made.
    fn set_horizon(&mut self, horizon: Duration);
    /// What the leader's face is to show; `None` is its own.
    fn set_face(&mut self, face: Option<Expression>);
    /// What a frame may take from now on.
    fn set_budget(&mut self, budget: Budget);
    /// How old the newest frame was when it was encoded, counted from its sound; `None` if one was not made for want of time.
    fn fared(&mut self, age: Option<Duration>);
    /// The sound jumped: another song, another source.
    fn discontinuity(&mut self);
}

/// An avatar that sessions may choose.
#[derive(Clone, Debug)]
pub struct AvatarEntry {
    pub id: String,
    pub name: String,
    /// PNG of the character, for the page.
    pub picture: Bytes,
    /// The `.odori` file.
    pub file: Bytes,
    /// Whether it came with a person's request, who may put another in its place.
    pub uploaded: bool,
    /// It has a picture of its back.
    pub back: bool,
}

/// A song that sessions may choose.
#[derive(Clone, Debug)]
pub struct SongEntry {
    pub id: String,
    pub title: String,
    pub seconds: f64,
    pub file: Bytes,
}

/// What a new dancer is made of.
#[derive(Clone, Debug)]
pub struct DancerRequest {
    pub cast: Cast,
    pub settings: DanceSettings,
    pub scene: Scene,
    pub width: u32,
    pub height: u32,
}

/// What a session costs on this machine, measured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Calibration {
    /// The rung that sessions are made on while there is time.
    pub best: Rung,
    /// Processor time, of all threads, for one of its frames, encoded.
    pub frame_cpu: Duration,
}

pub type Calibrate = dyn Fn() -> Result<Calibration, LiveError> + Send + Sync;
pub type MakeDancer = dyn Fn(&DancerRequest) -> Result<Box<dyn Dancer>, LiveError> + Send + Sync;
/// File name and bytes (an image or an `.odori` file) to an avatar with an unused id.
pub type ImportAvatar = dyn Fn(&str, &[u8]) -> Result<AvatarEntry, LiveError> + Send + Sync;

/// A text to what it asks for.
pub type ReadPrompt<'a> = dyn Fn(&str) -> Wish + Send + Sync + 'a;

/// Everything of the engine that the server uses.
pub struct Engine {
    pub styles: Vec<String>,
    pub songs: Vec<SongEntry>,
    pub width: u32,
    pub height: u32,
    avatars: RwLock<Vec<Arc<AvatarEntry>>>,
    make_dancer: Box<MakeDancer>,
    import_avatar: Box<ImportAvatar>,
    read_prompt: Option<Box<ReadPrompt<'static>>>,
    vmc: Option<Vmc>,
    face: Option<Arc<Face>>,
    calibrate: Option<Box<Calibrate>>,
}

/// Avatars kept for sessions to choose; more uploads than this are refused.
const MAX_AVATARS: usize = 64;

impl Engine {
    /// `avatars` must not be empty: the first is the default, as is the first song.
    pub fn new(avatars: Vec<AvatarEntry>, songs: Vec<SongEntry>, styles: Vec<String>, size: (u32, u32), make_dancer: Box<MakeDancer>, import_avatar: Box<ImportAvatar>) -> Self {
        let avatars = RwLock::new(avatars.into_iter().map(Arc::new).collect());
        Self { styles, songs, width: size.0, height: size.1, avatars, make_dancer, import_avatar, read_prompt: None, vmc: None, face: None, calibrate: None }
    }

    /// Sending to other programs what is danced.
    #[must_use]
    pub fn with_vmc(self, vmc: Vmc) -> Self {
        Self { vmc: Some(vmc), ..self }
    }

    pub fn vmc(&self) -> Option<&Vmc> {
        self.vmc.as_ref()
    }

    /// With a person's face for the leader of every session.
    #[must_use]
    pub fn with_face(self, face: Arc<Face>) -> Self {
        Self { face: Some(face), ..self }
    }

    pub fn face(&self) -> Option<&Face> {
        self.face.as_deref()
    }

    /// With an understanding of words.
    #[must_use]
    pub fn with_prompts(self, read: Box<ReadPrompt<'static>>) -> Self {
        Self { read_prompt: Some(read), ..self }
    }

    pub fn read_prompt(&self) -> Option<&ReadPrompt<'_>> {
        self.read_prompt.as_deref()
    }

    /// With a way to measure what a session costs.
    #[must_use]
    pub fn with_calibration(self, calibrate: Box<Calibrate>) -> Self {
        Self { calibrate: Some(calibrate), ..self }
    }

    /// Measures what a session costs: takes about a second of the whole machine. `None` where there is no way to.
    ///
    /// # Errors
    /// If a dancer cannot be made or dance.
    pub fn calibrate(&self) -> Result<Option<Calibration>, LiveError> {
        self.calibrate.as_ref().map(|calibrate| calibrate()).transpose()
    }

    /// The same engine, every dancer passed through `wrap`: how the latency instrument marks its pictures. Nothing that
    /// a client can ask for leads here.
    #[must_use]
    pub fn wrapped(mut self, wrap: impl Fn(Box<dyn Dancer>) -> Box<dyn Dancer> + Send + Sync + 'static) -> Self {
        let make = self.make_dancer;
        self.make_dancer = Box::new(move |request| Ok(wrap(make(request)?)));
        self
    }

    pub fn avatars(&self) -> Vec<Arc<AvatarEntry>> {
        self.avatars.read().expect("no panic while held").clone()
    }

    pub fn avatar(&self, id: &str) -> Option<Arc<AvatarEntry>> {
        self.avatars.read().expect("no panic while held").iter().find(|a| a.id == id).cloned()
    }

    pub fn song(&self, id: &str) -> Option<&SongEntry> {
        self.songs.iter().find(|s| s.id == id)
    }

    /// Makes an avatar of an uploaded file and adds it to the choice.
    ///
    /// # Errors
    /// If it is no figure, no avatar file, or there are too many.
    pub fn import(&self, name: &str, bytes: &[u8]) -> Result<Arc<AvatarEntry>, LiveError> {
        self.add(None, || (self.import_avatar)(name, bytes))
    }

    /// Adds an avatar to the choice; in place of another one, if that was uploaded.
    ///
    /// # Errors
    /// If it cannot be made, or there are too many.
    pub fn add(&self, instead_of: Option<&str>, make: impl FnOnce() -> Result<AvatarEntry, LiveError>) -> Result<Arc<AvatarEntry>, LiveError> {
        let full = || LiveError(format!("{MAX_AVATARS} avatars are loaded already; restart the server to drop those you uploaded"));
        let replaces = |a: &Arc<AvatarEntry>| a.uploaded && Some(a.id.as_str()) == instead_of;
        let avatars = self.avatars();
        if avatars.len() >= MAX_AVATARS && !avatars.iter().any(replaces) {
            return Err(full());
        }
        let avatar = Arc::new(AvatarEntry { uploaded: true, ..make()? });
        let mut avatars = self.avatars.write().expect("no panic while held");
        avatars.retain(|a| a.id != avatar.id);
        match avatars.iter().position(replaces) {
            Some(place) => avatars[place] = avatar.clone(),
            None if avatars.len() >= MAX_AVATARS => return Err(full()),
            None => avatars.push(avatar.clone()),
        }
        Ok(avatar)
    }

    /// A picture to dance in front of, of the frame's size.
    ///
    /// # Errors
    /// If it cannot be read or is too large.
    pub fn backdrop(&self, bytes: &[u8]) -> Result<Background, AvatarError> {
        Background::from_encoded(bytes, (self.width, self.height))
    }

    /// # Errors
    /// If weights, avatar or drawing cannot be set up.
    pub fn dancer(&self, request: &DancerRequest) -> Result<Box<dyn Dancer>, LiveError> {
        (self.make_dancer)(request)
    }
}
