//! The seam between the server and the engine: what a session asks of a dancer, and where avatars, songs and
//! dancers come from. The server sees nothing of the engine's picture path but this file.

use std::sync::{Arc, RwLock};

use bytes::Bytes;

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
    pub width: u32,
    pub height: u32,
    /// Samples at 24 kHz since this dancer began.
    pub media_samples: u64,
    pub beat: Beat,
    pub rung: &'static str,
    /// Stage name and its cost in milliseconds, in the order of the path.
    pub stages: Vec<(&'static str, f32)>,
}

/// What may change while a dancer dances.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DanceSettings {
    pub seed: u32,
    /// Index into [`Engine::styles`].
    pub style: u32,
    /// 0 calm to 1 wild.
    pub energy: f32,
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
    pub avatar: Arc<AvatarEntry>,
    pub settings: DanceSettings,
    pub width: u32,
    pub height: u32,
}

pub type MakeDancer = dyn Fn(&DancerRequest) -> Result<Box<dyn Dancer>, LiveError> + Send + Sync;
/// File name and bytes (an image or an `.odori` file) to an avatar with an unused id.
pub type ImportAvatar = dyn Fn(&str, &[u8]) -> Result<AvatarEntry, LiveError> + Send + Sync;

/// Everything of the engine that the server uses.
pub struct Engine {
    pub styles: Vec<String>,
    pub songs: Vec<SongEntry>,
    pub width: u32,
    pub height: u32,
    avatars: RwLock<Vec<Arc<AvatarEntry>>>,
    make_dancer: Box<MakeDancer>,
    import_avatar: Box<ImportAvatar>,
}

/// Avatars kept for sessions to choose; more uploads than this are refused.
const MAX_AVATARS: usize = 64;

impl Engine {
    /// `avatars` must not be empty: the first is the default, as is the first song.
    pub fn new(avatars: Vec<AvatarEntry>, songs: Vec<SongEntry>, styles: Vec<String>, size: (u32, u32), make_dancer: Box<MakeDancer>, import_avatar: Box<ImportAvatar>) -> Self {
        let avatars = RwLock::new(avatars.into_iter().map(Arc::new).collect());
        Self { styles, songs, width: size.0, height: size.1, avatars, make_dancer, import_avatar }
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
        let full = || LiveError(format!("{MAX_AVATARS} avatars are loaded already; restart the server to drop those you uploaded"));
        if self.avatars().len() >= MAX_AVATARS {
            return Err(full());
        }
        let avatar = Arc::new((self.import_avatar)(name, bytes)?);
        let mut avatars = self.avatars.write().expect("no panic while held");
        if avatars.len() >= MAX_AVATARS {
            return Err(full());
        }
        avatars.retain(|a| a.id != avatar.id);
        avatars.push(avatar.clone());
        Ok(avatar)
    }

    /// # Errors
    /// If weights, avatar or drawing cannot be set up.
    pub fn dancer(&self, request: &DancerRequest) -> Result<Box<dyn Dancer>, LiveError> {
        (self.make_dancer)(request)
    }
}
