//! A session: a source of sound, an avatar, settings and viewers. It starts and stops runs; one session's failure ends
//! that session only.

mod congestion;
pub mod horizon;
mod peers;
pub mod queue;
pub mod registry;
mod report;
pub mod run;
mod scene;
pub mod sound;
pub mod stats;
pub mod viewers;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tracing::{Span, info};

use self::horizon::Horizon;
pub use self::report::Report;
pub(crate) use self::scene::plain_background;
use self::scene::{background, background_name};
use self::queue::SoundQueue;
use self::run::{FPS, Progress, Run, RunSetup, Wishes};
use self::sound::{LIVE_ROOM, Source};
use self::stats::{Drops, StageReport, Stats};
use self::viewers::Viewers;
use crate::clock::MediaClock;
use crate::direction::{DanceChange, PromptView};
use crate::live::{AvatarEntry, Beat, Cast, DanceSettings, Engine, Scene};
use odori_engine::dance::Pace;
use odori_engine::dance::group::MOST_DANCERS;
use odori_engine::picture::camera::Framing;
use odori_engine::render::Background;
use crate::measure::{Meters, Percentiles};
use crate::rtc::{RtcError, RtcNet, SenderPeer, ViewerPeer};

/// What a session refuses, and why.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("{0}")]
    Full(String),
    #[error("no such session: it has ended, or the link is wrong")]
    NoSession,
    #[error("no such {0}")]
    Unknown(String),
    #[error("{0}")]
    Invalid(String),
    #[error("{0}")]
    Conflict(String),
    #[error("the sound cannot be used: {0}")]
    Sound(#[from] odori_engine::audio::AudioError),
    #[error("the background: {0}")]
    Background(#[from] odori_engine::avatar::AvatarError),
    #[error("the session could not start: {0}")]
    Failed(String),
    #[error(transparent)]
    Rtc(#[from] RtcError),
}

/// What is common to all sessions.
pub struct Shared {
    pub engine: Arc<Engine>,
    pub net: RtcNet,
    pub max_bitrate_bps: u32,
    pub max_viewers: usize,
    /// The sound on standard input, if the server reads it.
    pub stdin: Option<Arc<SoundQueue>>,
    pub meters: Arc<Meters>,
}

/// The source as a person chose it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum SourceChoice {
    Song {
        id: String,
        #[serde(default, rename = "loop")]
        looped: bool,
    },
    Live {},
    Stdin {},
    #[serde(skip_deserializing)]
    Upload {
        name: String,
        #[serde(rename = "loop")]
        looped: bool,
        seconds: f64,
    },
}

/// Fields that PATCH and creation take.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Change {
    pub avatar: Option<String>,
    pub dancers: Option<usize>,
    pub others: Option<Vec<String>>,
    pub background: Option<String>,
    pub framing: Option<Framing>,
    pub seed: Option<u32>,
    pub style: Option<u32>,
    pub energy: Option<f32>,
    pub target_ms: Option<u32>,
    pub fps: Option<u32>,
    pub hands: Option<f32>,
    pub head: Option<f32>,
    pub footwork: Option<f32>,
    pub facing: Option<f32>,
    pub pace: Option<Pace>,
    pub prompt: Option<String>,
}

impl Change {
    fn dance(&self) -> DanceChange {
        let Change { seed, style, energy, hands, head, footwork, facing, pace, .. } = *self;
        DanceChange { seed, style, energy, hands, head, footwork, facing, pace, prompt: self.prompt.clone() }
    }
}

#[derive(Clone, Debug, Serialize)]
pub struct SettingsView {
    pub dancers: usize,
    pub others: Vec<String>,
    pub background: String,
    pub framing: Framing,
    pub seed: u32,
    pub style: u32,
    pub energy: f32,
    pub hands: f32,
    pub head: f32,
    pub footwork: f32,
    pub facing: f32,
    pub pace: Pace,
    pub target_ms: u32,
    pub fps: u32,
}

/// A session as JSON, without what only HTTP knows.
#[derive(Clone, Debug, Serialize)]
pub struct SessionView {
    pub id: String,
    pub state: &'static str,
    pub avatar: String,
    pub source: SourceChoice,
    pub settings: SettingsView,
    /// The last text that was given, and the words of it that were not understood.
    pub prompt: Option<PromptView>,
    pub styles: Vec<String>,
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub viewers: usize,
}

/// One status event.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub state: &'static str,
    pub error: Option<String>,
    pub level_db: f32,
    pub media_s: f64,
    pub beat: Beat,
    pub total: Percentiles,
    pub stages: Vec<StageReport>,
    pub rung: &'static str,
    pub fps: f32,
    pub frames: u64,
    pub late_frames: u64,
    pub drops: Drops,
    pub viewers: usize,
    pub bitrate_kbps: u32,
    /// Sound in to the screen, as viewers report it.
    pub seen: Percentiles,
    pub horizon_ms: f32,
    /// How far the picture that is seen lies before the sound that is heard.
    pub av_skew_ms: Option<f32>,
    pub network: Network,
}

/// The worst of the ways to a session's viewers.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Network {
    pub round_trip_ms: f32,
    pub jitter_ms: f32,
    /// Share of packets, 0 to 1.
    pub loss: f32,
}

struct Inner {
    /// Avatars of those who dance beside the leader, in turn; none is the leader's.
    others: Vec<Arc<AvatarEntry>>,
    /// The picture that was uploaded to dance in front of.
    backdrop: Option<Background>,
    choice: SourceChoice,
    source: Source,
    run: Option<Arc<Run>>,
    touched: Instant,
    peers: Vec<(String, Arc<ViewerPeer>)>,
    sender: Option<(String, Arc<SenderPeer>)>,
    closed: bool,
}

/// See the module.
pub struct Session {
    pub id: String,
    /// Kept though nobody looks at it.
    pub pinned: bool,
    shared: Arc<Shared>,
    clock: Arc<MediaClock>,
    viewers: Arc<Viewers>,
    pub stats: Arc<Stats>,
    wishes: Arc<ArcSwap<Wishes>>,
    horizon: Arc<Horizon>,
    /// Where live sound comes in, from WHIP.
    live: Arc<SoundQueue>,
    inner: Mutex<Inner>,
    span: Span,
}

/// 128 unguessable bits, in letters that survive any URL.
pub fn secret_id() -> String {
    use rand::Rng;
    const LETTERS: &[u8] = b"abcdefghijkmnpqrstuvwxyz23456789";
    let mut random = rand::rng();
    (0..26).map(|_| LETTERS[random.random_range(0..LETTERS.len())] as char).collect()
}

fn state_name(progress: &Progress) -> &'static str {
    match progress {
        Progress::Starting => "starting",
        Progress::Live => "live",
        Progress::Ended => "ended",
        Progress::Stopped => "idle",
        Progress::Failed(_) => "failed",
    }
}

/// Time to wait for a dancer to be ready.
const START_LIMIT: Duration = Duration::from_secs(20);

impl Session {
    fn new(shared: Arc<Shared>, pinned: bool) -> Result<Arc<Self>, SessionError> {
        let id = secret_id();
        let avatar = shared.engine.avatars().first().cloned().ok_or_else(|| SessionError::Unknown("avatar: none is loaded".into()))?;
        let live = Arc::new(SoundQueue::new(LIVE_ROOM));
        let (choice, source) = match shared.engine.songs.first() {
            Some(song) => (
                SourceChoice::Song { id: song.id.clone(), looped: true },
                Source::File { bytes: song.file.clone(), name: song.id.clone(), looped: true },
            ),
            None => (SourceChoice::Live {}, Source::Live(live.clone())),
        };
        let dance = DanceSettings::default();
        // The log names a session by its beginning: whoever reads it must not be able to join.
        let span = tracing::info_span!("session", id = &id[..6]);
        let epoch = Instant::now();
        let stats = Arc::new(Stats::new(shared.meters.clone(), epoch, stats::LATE));
        Ok(Arc::new(Self {
            id,
            pinned,
            shared,
            clock: Arc::new(MediaClock::new(epoch)),
            viewers: Arc::default(),
            stats,
            wishes: Arc::new(ArcSwap::from_pointee(Wishes {
                cast: Arc::new(Cast(vec![avatar])),
                dance,
                scene: Arc::default(),
                prompt: None,
                target: stats::LATE,
                fps: FPS,
            })),
            horizon: Arc::default(),
            live,
            inner: Mutex::new(Inner { others: Vec::new(), backdrop: None, choice, source, run: None, touched: Instant::now(), peers: Vec::new(), sender: None, closed: false }),
            span,
        }))
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while held")
    }

    /// Names the session in logs and metrics, without letting anyone join it.
    pub fn short_id(&self) -> &str {
        &self.id[..6]
    }

    /// Somebody looked at it.
    pub fn touch(&self) {
        self.inner().touched = Instant::now();
    }

    fn progress(&self) -> Progress {
        self.inner().run.as_ref().map_or(Progress::Stopped, |r| r.progress().borrow().clone())
    }

    /// Whether a run holds one of the live places.
    pub fn is_live(&self) -> bool {
        matches!(self.progress(), Progress::Starting | Progress::Live)
    }

    pub fn view(&self) -> SessionView {
        let wishes = self.wishes.load();
        let others = self.inner().others.iter().map(|a| a.id.clone()).collect();
        SessionView {
            id: self.id.clone(),
            state: state_name(&self.progress()),
            avatar: wishes.cast.0[0].id.clone(),
            source: self.inner().choice.clone(),
            settings: SettingsView {
                dancers: wishes.cast.0.len(),
                others,
                background: background_name(&wishes.scene.background),
                framing: wishes.scene.framing,
                seed: wishes.dance.seed,
                style: wishes.dance.style,
                energy: wishes.dance.energy,
                hands: wishes.dance.hands,
                head: wishes.dance.head,
                footwork: wishes.dance.footwork,
                facing: wishes.dance.facing,
                pace: wishes.dance.pace,
                target_ms: wishes.target.as_millis() as u32,
                fps: wishes.fps,
            },
            prompt: wishes.prompt.clone(),
            styles: self.shared.engine.styles.clone(),
            width: self.shared.engine.width,
            height: self.shared.engine.height,
            fps: wishes.fps,
            viewers: self.viewers.count(),
        }
    }

    pub fn status(&self) -> Status {
        let progress = self.progress();
        let fault = self.inner().run.as_ref().and_then(|r| r.fault());
        let stats = &self.stats;
        let live = matches!(progress, Progress::Live);
        let [round_trip_ms, jitter_ms, loss] = self.viewers.worst_path();
        Status {
            state: state_name(&progress),
            error: match &progress {
                Progress::Failed(reason) => Some(reason.clone()),
                _ => fault,
            },
            level_db: if live { stats.level_db.get() } else { -90.0 },
            media_s: stats.media_samples.load(Ordering::Relaxed) as f64 / f64::from(crate::clock::SAMPLE_RATE),
            beat: if live { stats.beat() } else { Beat::default() },
            total: stats.total(),
            stages: stats.stages(),
            rung: stats.rung().map_or("idle", odori_engine::ladder::Rung::name),
            fps: stats.fps(Instant::now()),
            frames: stats.frames(),
            late_frames: stats.late_frames(),
            drops: stats.drops(),
            viewers: self.viewers.count(),
            bitrate_kbps: stats.bitrate_bps.load(Ordering::Relaxed) / 1000,
            seen: stats.seen.percentiles(),
            horizon_ms: self.horizon.get().as_secs_f32() * 1000.0,
            av_skew_ms: self.viewers.skew_ms(),
            network: Network { round_trip_ms, jitter_ms, loss },
        }
    }

    /// Changes settings; all or nothing.
    ///
    /// # Errors
    /// If a value is out of range or the avatar unknown.
    pub fn change(&self, change: &Change) -> Result<(), SessionError> {
        let invalid = |text: &str| SessionError::Invalid(text.to_owned());
        // Two changes at once are one after the other.
        let mut turn = self.inner();
        let mut new = Wishes::clone(&self.wishes.load());
        let others = self.recast(change, &turn.others, &mut new)?;
        if change.background.is_some() || change.framing.is_some() {
            let mut scene = Scene::clone(&new.scene);
            scene.framing = change.framing.unwrap_or(scene.framing);
            if let Some(text) = &change.background {
                scene.background = background(text, turn.backdrop.as_ref())?;
            }
            new.scene = Arc::new(scene);
        }
        let engine = &self.shared.engine;
        if let Some(prompt) = change.dance().apply(&mut new.dance, &engine.styles, engine.read_prompt()).map_err(SessionError::Invalid)? {
            new.prompt = Some(prompt);
        }
        if let Some(target_ms) = change.target_ms {
            if !(20..=500).contains(&target_ms) {
                return Err(invalid("target_ms, from sound in to packet out, must be from 20 to 500"));
            }
            new.target = Duration::from_millis(u64::from(target_ms));
        }
        if let Some(fps) = change.fps {
            if ![10, 15, 30].contains(&fps) {
                return Err(invalid("fps must be 30, 15 or 10"));
            }
            new.fps = fps;
        }
        self.stats.set_target(new.target);
        self.wishes.store(Arc::new(new));
        turn.others = others;
        if let Some(run) = &turn.run {
            run.wishes_changed();
        }
        Ok(())
    }

    /// Who is to dance, if that changes; gives the avatars of the others.
    fn recast(&self, change: &Change, others: &[Arc<AvatarEntry>], new: &mut Wishes) -> Result<Vec<Arc<AvatarEntry>>, SessionError> {
        let known = |id: &String| self.shared.engine.avatar(id).ok_or_else(|| SessionError::Unknown(format!("avatar: {id}")));
        if change.avatar.is_none() && change.dancers.is_none() && change.others.is_none() {
            return Ok(others.to_vec());
        }
        let leader = change.avatar.as_ref().map_or_else(|| Ok(new.cast.0[0].clone()), known)?;
        let size = change.dancers.unwrap_or(new.cast.0.len());
        if !(1..=MOST_DANCERS).contains(&size) {
            return Err(SessionError::Invalid(format!("dancers must be from 1 to {MOST_DANCERS}")));
        }
        let others = match &change.others {
            Some(ids) if ids.len() >= MOST_DANCERS => return Err(SessionError::Invalid(format!("others has at most {} avatars", MOST_DANCERS - 1))),
            Some(ids) => ids.iter().map(known).collect::<Result<Vec<_>, _>>()?,
            None => others.to_vec(),
        };
        let beside = (1..size).map(|n| if others.is_empty() { &leader } else { &others[(n - 1) % others.len()] });
        new.cast = Arc::new(Cast(std::iter::once(&leader).chain(beside).cloned().collect()));
        Ok(others)
    }

    /// Takes an uploaded picture to dance in front of, and shows it. Blocks while it is read.
    ///
    /// # Errors
    /// If it cannot be read; the background then stays as it was.
    pub fn set_backdrop(&self, bytes: &[u8]) -> Result<(), SessionError> {
        let picture = self.shared.engine.backdrop(bytes)?;
        self.inner().backdrop = Some(picture);
        self.change(&Change { background: Some("image".into()), ..Change::default() })
    }

    /// Chooses a source by name.
    ///
    /// # Errors
    /// If there is no such song or no standard input is read.
    pub fn choose(&self, choice: SourceChoice) -> Result<(), SessionError> {
        let source = match &choice {
            SourceChoice::Song { id, looped } => {
                let song = self.shared.engine.song(id).ok_or_else(|| SessionError::Unknown(format!("song: {id}")))?;
                Source::File { bytes: song.file.clone(), name: song.id.clone(), looped: *looped }
            }
            SourceChoice::Live {} => Source::Live(self.live.clone()),
            SourceChoice::Stdin {} => {
                let queue = self.shared.stdin.clone();
                Source::Live(queue.ok_or_else(|| SessionError::Conflict("the server was not started with --stdin-pcm".into()))?)
            }
            SourceChoice::Upload { .. } => return Err(SessionError::Invalid("upload the file instead".into())),
        };
        self.set_source(choice, source);
        Ok(())
    }

    fn set_source(&self, choice: SourceChoice, source: Source) {
        let mut inner = self.inner();
        // A page that says again what is so must not make the sound jump.
        if inner.choice == choice && !matches!(choice, SourceChoice::Upload { .. }) {
            return;
        }
        inner.choice = choice;
        inner.source = source.clone();
        self.horizon.forget();
        if let Some(run) = &inner.run {
            run.set_source(source);
        }
    }

    /// Takes an uploaded sound file, after reading enough of it to know that it can be played. Blocks for that long.
    ///
    /// # Errors
    /// If it cannot be read; the source then stays as it was.
    pub fn upload(&self, name: &str, bytes: Bytes, looped: bool) -> Result<(), SessionError> {
        let mut reader = odori_engine::audio::SongReader::new(Box::new(std::io::Cursor::new(bytes.clone())), name, sound::limits(bytes.len() as u64))?;
        let (mut listen, mut model) = (Vec::new(), Vec::new());
        while listen.is_empty() && reader.next_into(&mut listen, &mut model)? {}
        if listen.is_empty() {
            return Err(odori_engine::audio::AudioError::Empty.into());
        }
        let seconds = reader.decoder().stated_duration_s().unwrap_or(0.0);
        let choice = SourceChoice::Upload { name: name.chars().take(120).collect(), looped, seconds };
        self.set_source(choice, Source::File { bytes, name: name.to_owned(), looped });
        Ok(())
    }

    /// Starts, unless live; waits until the dancer is ready. Admission is the registry's.
    pub(self) async fn start(&self) -> Result<(), SessionError> {
        let run = {
            let mut inner = self.inner();
            if inner.closed {
                return Err(SessionError::NoSession);
            }
            inner.touched = Instant::now();
            match &inner.run {
                Some(run) if matches!(*run.progress().borrow(), Progress::Starting | Progress::Live) => run.clone(),
                _ => {
                    self.stats.restart();
                    let run = Run::start(RunSetup {
                        engine: self.shared.engine.clone(),
                        clock: self.clock.clone(),
                        viewers: self.viewers.clone(),
                        stats: self.stats.clone(),
                        wishes: self.wishes.clone(),
                        horizon: self.horizon.clone(),
                        source: inner.source.clone(),
                        max_bitrate_bps: self.shared.max_bitrate_bps,
                        span: self.span.clone(),
                    });
                    inner.run = Some(run.clone());
                    run
                }
            }
        };
        let mut progress = run.progress();
        let reached = tokio::time::timeout(START_LIMIT, progress.wait_for(|p| *p != Progress::Starting)).await;
        match reached {
            Ok(Ok(p)) => match &*p {
                Progress::Failed(reason) => Err(SessionError::Failed(reason.clone())),
                _ => Ok(()),
            },
            _ => Err(SessionError::Failed("the dancer was not ready in time".into())),
        }
    }

    /// Stops the run; viewers stay.
    pub fn stop(&self) {
        let run = self.inner().run.take();
        if let Some(run) = run {
            run.stop();
            info!(parent: &self.span, "stopped");
        }
    }

    /// Ends everything.
    pub async fn close(&self) {
        self.stop();
        self.viewers.close_all();
        let (peers, sender) = {
            let mut inner = self.inner();
            inner.closed = true;
            (std::mem::take(&mut inner.peers), inner.sender.take())
        };
        for (_, peer) in peers {
            peer.close().await;
        }
        if let Some((_, sender)) = sender {
            sender.close().await;
        }
    }

    /// Nobody watches or sends, and nobody asked for it since.
    fn unused_for(&self, now: Instant) -> Duration {
        let inner = self.inner();
        if self.pinned || self.viewers.count() > 0 || inner.sender.is_some() {
            return Duration::ZERO;
        }
        now.saturating_duration_since(inner.touched)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_long_and_differ() {
        let (a, b) = (secret_id(), secret_id());
        assert!(a.len() == 26 && a != b && a.bytes().all(|c| c.is_ascii_alphanumeric()));
    }

    #[test]
    fn sources_are_read_strictly() {
        let song: SourceChoice = serde_json::from_str(r#"{"kind":"song","id":"x","loop":true}"#).unwrap();
        assert_eq!(song, SourceChoice::Song { id: "x".into(), looped: true });
        assert_eq!(serde_json::from_str::<SourceChoice>(r#"{"kind":"live"}"#).unwrap(), SourceChoice::Live {});
        assert!(serde_json::from_str::<SourceChoice>(r#"{"kind":"upload","name":"x","loop":true,"seconds":1}"#).is_err());
        assert!(serde_json::from_str::<Change>(r#"{"engery":1}"#).is_err());
    }
}
