//! A session: a source of sound, an avatar, settings and viewers. It starts and stops runs; one session's failure ends
//! that session only.

pub mod queue;
pub mod registry;
pub mod run;
pub mod sound;
pub mod stats;
pub mod viewers;

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{Instrument, Span, debug, info};

use self::queue::SoundQueue;
use self::run::{FPS, Progress, Run, RunSetup, Wishes};
use self::sound::{LIVE_ROOM, Source};
use self::stats::{Drops, Percentiles, StageReport, Stats};
use self::viewers::{Variant, Viewer, Viewers};
use crate::clock::MediaClock;
use crate::direction::{DanceChange, PromptView};
use crate::live::{Beat, DanceSettings, Engine};
use odori_engine::dance::Pace;
use crate::media::opus::OpusDecoder;
use crate::rtc::{OpusPacket, PeerEvent, RtcError, RtcNet, SenderPeer, ViewerPeer, ViewerRequest};

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
    pub background: Option<String>,
    pub seed: Option<u32>,
    pub style: Option<u32>,
    pub energy: Option<f32>,
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
    pub background: String,
    pub seed: u32,
    pub style: u32,
    pub energy: f32,
    pub hands: f32,
    pub head: f32,
    pub footwork: f32,
    pub facing: f32,
    pub pace: Pace,
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
}

struct Inner {
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
    stats: Arc<Mutex<Stats>>,
    wishes: Arc<Mutex<Wishes>>,
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

/// `#rrggbb`.
pub(crate) fn parse_colour(text: &str) -> Option<[u8; 3]> {
    let hex = text.strip_prefix('#').filter(|h| h.len() == 6 && h.bytes().all(|b| b.is_ascii_hexdigit()))?;
    let value = u32::from_str_radix(hex, 16).ok()?;
    Some([(value >> 16) as u8, (value >> 8) as u8, value as u8])
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
        Ok(Arc::new(Self {
            id,
            pinned,
            shared,
            clock: Arc::new(MediaClock::new(Instant::now())),
            viewers: Arc::default(),
            stats: Arc::default(),
            wishes: Arc::new(Mutex::new(Wishes { avatar, dance, background: [0x1b, 0x18, 0x30], prompt: None })),
            live,
            inner: Mutex::new(Inner { choice, source, run: None, touched: Instant::now(), peers: Vec::new(), sender: None, closed: false }),
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
        let wishes = self.wishes.lock().expect("no panic while held").clone();
        let [r, g, b] = wishes.background;
        SessionView {
            id: self.id.clone(),
            state: state_name(&self.progress()),
            avatar: wishes.avatar.id.clone(),
            source: self.inner().choice.clone(),
            settings: SettingsView {
                background: format!("#{r:02x}{g:02x}{b:02x}"),
                seed: wishes.dance.seed,
                style: wishes.dance.style,
                energy: wishes.dance.energy,
                hands: wishes.dance.hands,
                head: wishes.dance.head,
                footwork: wishes.dance.footwork,
                facing: wishes.dance.facing,
                pace: wishes.dance.pace,
            },
            prompt: wishes.prompt,
            styles: self.shared.engine.styles.clone(),
            width: self.shared.engine.width,
            height: self.shared.engine.height,
            fps: FPS,
            viewers: self.viewers.count(),
        }
    }

    pub fn status(&self) -> Status {
        let progress = self.progress();
        let fault = self.inner().run.as_ref().and_then(|r| r.fault());
        let stats = self.stats.lock().expect("no panic while held");
        let live = matches!(progress, Progress::Live);
        Status {
            state: state_name(&progress),
            error: match &progress {
                Progress::Failed(reason) => Some(reason.clone()),
                _ => fault,
            },
            level_db: if live { stats.level_db } else { -90.0 },
            media_s: stats.media_samples as f64 / f64::from(crate::clock::SAMPLE_RATE),
            beat: if live { stats.beat } else { Beat::default() },
            total: stats.total(),
            stages: stats.stages(),
            rung: stats.rung,
            fps: stats.fps(Instant::now()),
            frames: stats.frames,
            late_frames: stats.late_frames,
            drops: stats.drops,
            viewers: self.viewers.count(),
            bitrate_kbps: stats.bitrate_bps / 1000,
        }
    }

    /// Changes settings; all or nothing.
    ///
    /// # Errors
    /// If a value is out of range or the avatar unknown.
    pub fn change(&self, change: &Change) -> Result<(), SessionError> {
        let invalid = |text: &str| SessionError::Invalid(text.to_owned());
        let mut wishes = self.wishes.lock().expect("no panic while held");
        let mut new = wishes.clone();
        if let Some(id) = &change.avatar {
            new.avatar = self.shared.engine.avatar(id).ok_or_else(|| SessionError::Unknown(format!("avatar: {id}")))?;
        }
        if let Some(text) = &change.background {
            new.background = parse_colour(text).ok_or_else(|| invalid("background must be a colour such as #1b1830"))?;
        }
        let engine = &self.shared.engine;
        if let Some(prompt) = change.dance().apply(&mut new.dance, &engine.styles, engine.read_prompt()).map_err(SessionError::Invalid)? {
            new.prompt = Some(prompt);
        }
        *wishes = new;
        Ok(())
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
                    *self.stats.lock().expect("no panic while held") = Stats::default();
                    let run = Run::start(RunSetup {
                        engine: self.shared.engine.clone(),
                        clock: self.clock.clone(),
                        viewers: self.viewers.clone(),
                        stats: self.stats.clone(),
                        wishes: self.wishes.clone(),
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

    /// Answers a WHEP offer; gives the viewer's id and the SDP answer.
    ///
    /// # Errors
    /// If the offer cannot be answered or there are too many viewers.
    pub async fn watch(self: &Arc<Self>, sdp: String, codec: Option<crate::media::video::VideoCodec>, packed: bool) -> Result<(String, String), SessionError> {
        if self.viewers.count() >= self.shared.max_viewers {
            return Err(SessionError::Full(format!("{} viewers watch this session already; raise --max-viewers or publish to an SFU", self.shared.max_viewers)));
        }
        let max_bps = self.shared.max_bitrate_bps;
        let request = ViewerRequest { sdp, codec, initial_bps: max_bps * 3 / 4, max_bps: max_bps * 5 / 4 };
        let (peer, answer, events) = ViewerPeer::answer(&self.shared.net, &self.clock, request).await?;
        let peer = Arc::new(peer);
        let id = secret_id();
        let viewer = Arc::new(Viewer::new(id.clone(), Variant { codec: peer.codec(), packed }, peer.estimate_bps()));
        {
            let mut inner = self.inner();
            if inner.closed {
                let peer = peer.clone();
                tokio::spawn(async move { peer.close().await });
                return Err(SessionError::NoSession);
            }
            inner.touched = Instant::now();
            inner.peers.push((id.clone(), peer.clone()));
            self.viewers.add(viewer.clone());
        }
        self.serve(peer, viewer, events);
        Ok((id, answer))
    }

    /// The three tasks of a viewer: its news, its pictures, its sound.
    fn serve(self: &Arc<Self>, peer: Arc<ViewerPeer>, viewer: Arc<Viewer>, mut events: mpsc::Receiver<PeerEvent>) {
        let session = self.clone();
        let (news, watched) = (viewer.clone(), peer.clone());
        let follow = async move {
            while let Some(event) = events.recv().await {
                match event {
                    PeerEvent::Connected => {
                        debug!(codec = news.variant.codec.name(), packed = news.variant.packed, "a viewer joined");
                        news.connect();
                    }
                    PeerEvent::Interrupted => news.pause(),
                    PeerEvent::KeyframeWanted => news.want_key(),
                    PeerEvent::Closed => break,
                }
            }
            drop(watched);
            session.leave(&news.id).await;
        };
        tokio::spawn(follow.instrument(self.span.clone()));

        let (pictures, sender) = (viewer.clone(), peer.clone());
        let (stats, clock) = (self.stats.clone(), self.clock.clone());
        let show = async move {
            while let Some(picture) = pictures.video.next().await {
                if let Err(error) = sender.send_video(&picture.data, picture.sample).await {
                    debug!(%error, "a picture was not sent");
                    continue;
                }
                let now = Instant::now();
                pictures.estimate_bps.store(sender.estimate_bps(), std::sync::atomic::Ordering::Relaxed);
                let mut stats = stats.lock().expect("no panic while held");
                stats.stage("send", (now - picture.encoded_at).as_secs_f32() * 1000.0);
                stats.sent(now, picture.sample, now.saturating_duration_since(clock.instant_of(picture.sample)));
            }
        };
        tokio::spawn(show.instrument(self.span.clone()));
        let play = async move {
            while let Some(sound) = viewer.audio.next().await {
                if let Err(error) = peer.send_audio(&sound.data, sound.sample).await {
                    debug!(%error, "a sound packet was not sent");
                }
            }
        };
        tokio::spawn(play.instrument(self.span.clone()));
    }

    /// Ends a viewer; says whether there was one.
    pub async fn leave(&self, id: &str) -> bool {
        self.viewers.remove(id);
        let peer = {
            let mut inner = self.inner();
            inner.touched = Instant::now();
            inner.peers.iter().position(|(i, _)| i == id).map(|at| inner.peers.swap_remove(at).1)
        };
        match peer {
            Some(peer) => {
                peer.close().await;
                true
            }
            None => false,
        }
    }

    /// Answers a WHIP offer; gives the sender's id and the SDP answer. The source becomes the sender.
    ///
    /// # Errors
    /// If the offer cannot be answered or another sender is there.
    pub async fn listen(self: &Arc<Self>, sdp: String) -> Result<(String, String), SessionError> {
        let busy = || SessionError::Conflict("another sender is connected to this session; let it end first".into());
        if self.inner().sender.is_some() {
            return Err(busy());
        }
        let (peer, answer, mut events, packets) = SenderPeer::answer(&self.shared.net, sdp).await?;
        let peer = Arc::new(peer);
        let id = secret_id();
        {
            let mut inner = self.inner();
            if inner.sender.is_some() || inner.closed {
                tokio::spawn(async move { peer.close().await });
                return Err(if inner.closed { SessionError::NoSession } else { busy() });
            }
            inner.sender = Some((id.clone(), peer));
        }
        self.choose(SourceChoice::Live {})?;
        tokio::spawn(decode(packets, self.live.clone()).instrument(self.span.clone()));
        let (session, sender) = (Arc::downgrade(self), id.clone());
        tokio::spawn(async move {
            while let Some(event) = events.recv().await {
                if event == PeerEvent::Closed {
                    break;
                }
            }
            if let Some(session) = session.upgrade() {
                session.hang_up(&sender).await;
            }
        });
        Ok((id, answer))
    }

    /// Ends the sender; says whether it was this one.
    pub async fn hang_up(&self, id: &str) -> bool {
        let peer = {
            let mut inner = self.inner();
            inner.touched = Instant::now();
            match &inner.sender {
                Some((i, _)) if i == id => inner.sender.take(),
                _ => None,
            }
        };
        match peer {
            Some((_, peer)) => {
                peer.close().await;
                true
            }
            None => false,
        }
    }

    /// Adds trickled candidates to a viewer or sender; `false` if there is none of that id.
    ///
    /// # Errors
    /// If the peer is gone.
    pub async fn trickle(&self, id: &str, fragment: &str) -> Result<bool, SessionError> {
        let (viewer, sender) = {
            let inner = self.inner();
            let viewer = inner.peers.iter().find(|(i, _)| i == id).map(|(_, p)| p.clone());
            let sender = inner.sender.as_ref().filter(|(i, _)| i == id).map(|(_, p)| p.clone());
            (viewer, sender)
        };
        match (viewer, sender) {
            (Some(peer), _) => peer.trickle(fragment).await?,
            (_, Some(peer)) => peer.trickle(fragment).await?,
            _ => return Ok(false),
        };
        Ok(true)
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

/// Turns a sender's packets into sound, until they end.
async fn decode(mut packets: mpsc::Receiver<OpusPacket>, live: Arc<SoundQueue>) {
    let mut decoder = match OpusDecoder::new() {
        Ok(decoder) => decoder,
        Err(error) => return tracing::error!(%error, "sound cannot be decoded"),
    };
    while let Some(packet) = packets.recv().await {
        for _ in 0..packet.lost {
            if let Ok(sound) = decoder.conceal() {
                live.push(sound);
            }
        }
        match decoder.decode(&packet.data) {
            Ok(sound) => {
                live.push(sound);
            }
            Err(error) => debug!(%error, "a sound packet was not Opus"),
        }
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
    fn colours_are_read_strictly() {
        assert_eq!(parse_colour("#1b1830"), Some([0x1b, 0x18, 0x30]));
        for text in ["1b1830", "#1b18", "#+b1830", "#ggg000", "#é1183"] {
            assert_eq!(parse_colour(text), None, "{text}");
        }
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
