//! Sessions: who dances to what, who watches, and how many at once.
//!
//! A session rests when nothing plays and nobody watches, so that many may exist; what is bounded is how many run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use odori_engine::audio::Song;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::intake::LiveSound;
use crate::library::Library;
use crate::live::{Command, Live, LiveError, LiveSettings, Source, Variant};
use crate::rtc::{Peer, RtcError, RtcSettings};

/// Sessions kept, resting ones included. The one that rested longest gives way to a new one.
const MAX_KEPT: usize = 12;
const MAX_VIEWERS: usize = 32;
/// Length of a session's or viewer's name: 26 letters of 5 bits.
const NAME_LEN: usize = 26;

#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    #[error("there is no such session: it ended, or the link is wrong")]
    Unknown,
    #[error("there is no {0} with that name")]
    NoSuch(&'static str),
    #[error("this machine already runs {running} of {max} sessions: stop one, or start odori with a larger --max-sessions")]
    Full { running: usize, max: usize },
    #[error("{0}")]
    Refused(String),
    #[error("{0}")]
    Bad(String),
    #[error("too many viewers: at most {MAX_VIEWERS} watch a session directly")]
    Viewers,
    #[error("another sender is connected to this session; end it first")]
    Sending,
    #[error(transparent)]
    Live(#[from] LiveError),
    #[error(transparent)]
    Rtc(#[from] RtcError),
    #[error("{0:#}")]
    Engine(anyhow::Error),
}

/// What a session plays when started.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum SourceInfo {
    Song { id: String, r#loop: bool },
    Upload { name: String, r#loop: bool, seconds: f64 },
    Live,
    Stdin,
}

/// What can be changed while it runs; absent fields stay as they are.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub avatar: Option<String>,
    pub background: Option<String>,
    pub seed: Option<u32>,
    pub style: Option<u32>,
    pub energy: Option<f32>,
}

#[derive(Debug, Serialize)]
pub struct SettingsInfo {
    pub background: String,
    pub seed: u32,
    pub style: u32,
    pub energy: f32,
}

#[derive(Debug, Serialize)]
pub struct SessionInfo {
    pub id: String,
    pub state: &'static str,
    pub avatar: String,
    pub source: SourceInfo,
    pub settings: SettingsInfo,
    pub styles: Vec<String>,
    pub width: u32,
    pub height: u32,
    pub fps: u32,
    pub viewers: usize,
    pub overlay: String,
    pub whep: String,
    pub whip: String,
    pub events: String,
}

struct Choice {
    avatar: String,
    source: SourceInfo,
    /// Kept when another source is chosen, so that it can be chosen again.
    upload: Option<Arc<Song>>,
    upload_info: Option<(String, f64)>,
    settings: LiveSettings,
    playing: bool,
    touched: Instant,
    viewers: HashMap<String, Peer>,
    sender: Option<(String, Peer)>,
}

pub struct Session {
    pub id: String,
    pub live: Live,
    choice: Mutex<Choice>,
    /// Sound that comes in by WHIP.
    incoming: Arc<LiveSound>,
}

impl Session {
    fn choice(&self) -> MutexGuard<'_, Choice> {
        self.choice.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn runs(&self) -> bool {
        self.live.viewers() > 0 || self.choice().playing
    }
}

pub struct Sessions {
    pub engine: Arc<Engine>,
    pub library: Arc<Library>,
    pub rtc: RtcSettings,
    pub max_running: usize,
    /// Sound from standard input, if the server was started with it.
    pub stdin: Option<Arc<LiveSound>>,
    default_avatar: String,
    default_song: String,
    sessions: Mutex<HashMap<String, Arc<Session>>>,
}

/// Unguessable: 130 bits from the system's source.
pub fn name() -> String {
    const LETTERS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let mut rng = rand::rng();
    (0..NAME_LEN).map(|_| char::from(LETTERS[rng.random_range(0..32)])).collect()
}

/// `#rrggbb`.
pub fn colour(text: &str) -> Option<[u8; 3]> {
    let hex = text.strip_prefix('#').filter(|h| h.len() == 6 && h.is_ascii())?;
    let channel = |i: usize| u8::from_str_radix(&hex[i * 2..i * 2 + 2], 16).ok();
    Some([channel(0)?, channel(1)?, channel(2)?])
}

impl Sessions {
    pub fn new(engine: Arc<Engine>, library: Arc<Library>, rtc: RtcSettings, max_running: usize, stdin: Option<Arc<LiveSound>>) -> Self {
        let default_avatar = library.avatars().first().map(|a| a.id.clone()).unwrap_or_default();
        let default_song = library.songs().first().map(|s| s.id.clone()).unwrap_or_default();
        Sessions { engine, library, rtc, max_running, stdin, default_avatar, default_song, sessions: Mutex::default() }
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Arc<Session>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn list(&self) -> Vec<Arc<Session>> {
        self.all().values().cloned().collect()
    }

    pub fn running(&self) -> usize {
        self.list().iter().filter(|s| s.runs()).count()
    }

    /// # Errors
    /// If there is none of that name.
    pub fn get(&self, id: &str) -> Result<Arc<Session>, SessionError> {
        let session = self.all().get(id).cloned().ok_or(SessionError::Unknown)?;
        session.choice().touched = Instant::now();
        Ok(session)
    }

    /// Makes a session; blocks while its pipeline is built.
    ///
    /// # Errors
    /// If a name is unknown, or the pipeline cannot be built.
    pub fn create(&self, change: &Change) -> Result<Arc<Session>, SessionError> {
        self.make_room()?;
        let mut settings = LiveSettings { seed: 1, energy: 0.6, style: 0, background: [0x1b, 0x18, 0x30] };
        self.apply(&mut settings, change)?;
        let avatar_id = change.avatar.clone().unwrap_or_else(|| self.default_avatar.clone());
        let avatar = self.library.avatar(&avatar_id).ok_or(SessionError::NoSuch("avatar"))?;
        let id = name();
        let live = Live::start(&self.engine, avatar, settings, &id).map_err(SessionError::Engine)?;
        let source = if self.stdin.is_some() { SourceInfo::Stdin } else { SourceInfo::Song { id: self.default_song.clone(), r#loop: true } };
        let incoming = Arc::new(LiveSound::new(48_000, 2).map_err(|e| SessionError::Refused(e.to_string()))?);
        let choice = Choice { avatar: avatar_id, source, upload: None, upload_info: None, settings, playing: false, touched: Instant::now(), viewers: HashMap::new(), sender: None };
        let session = Arc::new(Session { id: id.clone(), live, choice: Mutex::new(choice), incoming });
        self.all().insert(id, Arc::clone(&session));
        tracing::info!(session = %session.id, "session made");
        Ok(session)
    }

    fn make_room(&self) -> Result<(), SessionError> {
        let mut all = self.all();
        if all.len() < MAX_KEPT {
            return Ok(());
        }
        let idle = all.values().filter(|s| !s.runs()).min_by_key(|s| s.choice().touched).map(|s| s.id.clone());
        match idle {
            Some(id) => {
                all.remove(&id);
                Ok(())
            }
            None => Err(SessionError::Full { running: all.len(), max: MAX_KEPT }),
        }
    }

    /// # Errors
    /// If there is none of that name.
    pub fn remove(&self, id: &str) -> Result<(), SessionError> {
        self.all().remove(id).map(|s| tracing::info!(session = %s.id, "session ended")).ok_or(SessionError::Unknown)
    }

    fn apply(&self, settings: &mut LiveSettings, change: &Change) -> Result<(), SessionError> {
        if let Some(background) = &change.background {
            settings.background =
                colour(background).ok_or_else(|| SessionError::Bad(format!("background {background:?} is not a colour like #1b1830")))?;
        }
        if let Some(seed) = change.seed {
            settings.seed = seed;
        }
        if let Some(style) = change.style {
            let count = self.engine.styles().len();
            if style as usize >= count {
                return Err(SessionError::Bad(format!("style {style} does not exist: there are 0 to {}", count - 1)));
            }
            settings.style = style;
        }
        if let Some(energy) = change.energy {
            if !(0.0..=1.0).contains(&energy) {
                return Err(SessionError::Bad(format!("energy {energy} is not between 0 and 1")));
            }
            settings.energy = energy;
        }
        Ok(())
    }

    /// # Errors
    /// If a field is out of range or the session is busy; nothing is changed then.
    pub fn change(&self, session: &Session, change: &Change) -> Result<(), SessionError> {
        let mut choice = session.choice();
        let mut settings = choice.settings;
        self.apply(&mut settings, change)?;
        let avatar = match &change.avatar {
            Some(id) => Some((id.clone(), self.library.avatar(id).ok_or(SessionError::NoSuch("avatar"))?)),
            None => None,
        };
        if settings != choice.settings {
            session.live.send(Command::Settings(settings))?;
            choice.settings = settings;
        }
        if let Some((id, avatar)) = avatar {
            session.live.send(Command::Avatar(avatar))?;
            choice.avatar = id;
        }
        Ok(())
    }

    /// Chooses what the session plays; a running session changes at once.
    ///
    /// # Errors
    /// If there is no such song.
    pub fn set_source(&self, session: &Session, source: SourceInfo, upload: Option<Arc<Song>>) -> Result<(), SessionError> {
        if let SourceInfo::Song { id, .. } = &source
            && self.library.song_info(id).is_none()
        {
            return Err(SessionError::NoSuch("song"));
        }
        if matches!(source, SourceInfo::Stdin) && self.stdin.is_none() {
            return Err(SessionError::Refused("odori was not started with --stdin-pcm".into()));
        }
        let playing = {
            let mut choice = session.choice();
            if let (SourceInfo::Upload { name, seconds, .. }, Some(song)) = (&source, upload) {
                choice.upload_info = Some((name.clone(), *seconds));
                choice.upload = Some(song);
            }
            choice.source = source;
            choice.playing
        };
        if playing { self.start(session) } else { Ok(()) }
    }

    /// Plays the song uploaded last again.
    ///
    /// # Errors
    /// If nothing was uploaded.
    pub fn reuse_upload(&self, session: &Session, looping: bool) -> Result<(), SessionError> {
        let (info, song) = {
            let choice = session.choice();
            match (&choice.upload_info, &choice.upload) {
                (Some((name, seconds)), Some(song)) => {
                    (SourceInfo::Upload { name: name.clone(), r#loop: looping, seconds: *seconds }, Arc::clone(song))
                }
                _ => return Err(SessionError::NoSuch("uploaded song")),
            }
        };
        self.set_source(session, info, Some(song))
    }

    /// Plays the chosen source from its beginning.
    ///
    /// # Errors
    /// If the machine runs as many sessions as it may, or the song cannot be read.
    pub fn start(&self, session: &Session) -> Result<(), SessionError> {
        self.admit(session)?;
        let mut choice = session.choice();
        let source = match &choice.source {
            SourceInfo::Song { id, r#loop } => {
                let song = self.library.song(id).map_err(SessionError::Engine)?;
                Source::Song { song, looping: *r#loop }
            }
            SourceInfo::Upload { r#loop, .. } => {
                let song = choice.upload.clone().ok_or(SessionError::NoSuch("song"))?;
                Source::Song { song, looping: *r#loop }
            }
            SourceInfo::Live => Source::Live(Arc::clone(&session.incoming)),
            SourceInfo::Stdin => Source::Live(self.stdin.clone().ok_or(SessionError::NoSuch("standard input"))?),
        };
        session.live.send(Command::Play(source))?;
        choice.playing = true;
        Ok(())
    }

    /// # Errors
    /// If the session is busy.
    pub fn stop(&self, session: &Session) -> Result<(), SessionError> {
        session.live.send(Command::Play(Source::Silence))?;
        session.choice().playing = false;
        Ok(())
    }

    /// A session that does not run yet may only begin to while there is room: those that run keep their time.
    fn admit(&self, session: &Session) -> Result<(), SessionError> {
        if session.runs() {
            return Ok(());
        }
        let running = self.running();
        if running >= self.max_running { Err(SessionError::Full { running, max: self.max_running }) } else { Ok(()) }
    }

    /// A viewer's offer; gives the answer and the viewer's name.
    ///
    /// # Errors
    /// If it cannot be answered.
    pub async fn watch(&self, session: &Session, offer: String, packed: bool) -> Result<(String, String), SessionError> {
        self.admit(session)?;
        {
            let mut choice = session.choice();
            choice.viewers.retain(|_, peer| *peer.link().borrow() != crate::rtc::Link::Ended);
            if choice.viewers.len() >= MAX_VIEWERS {
                return Err(SessionError::Viewers);
            }
        }
        let feed = |codec| session.live.feed(Variant { codec, packed }).map_err(|e| RtcError::Stack(e.to_string()));
        let (answer, peer) = crate::rtc::watch_session(&self.rtc, offer, feed).await?;
        let viewer = name();
        session.choice().viewers.insert(viewer.clone(), peer);
        Ok((answer, viewer))
    }

    /// A sender's offer; gives the answer and the sender's name. The session's source becomes live.
    ///
    /// # Errors
    /// If it cannot be answered, or another sends already.
    pub async fn publish(&self, session: &Session, offer: String) -> Result<(String, String), SessionError> {
        let busy = |choice: &Choice| choice.sender.as_ref().is_some_and(|(_, p)| *p.link().borrow() != crate::rtc::Link::Ended);
        if busy(&session.choice()) {
            return Err(SessionError::Sending);
        }
        let incoming = Arc::clone(&session.incoming);
        let (answer, peer) = crate::rtc::publish(&self.rtc, offer, Arc::new(move |stereo: &[f32]| incoming.push(stereo))).await?;
        let sender = name();
        session.choice().sender = Some((sender.clone(), peer));
        self.set_source(session, SourceInfo::Live, None)?;
        Ok((answer, sender))
    }

    /// Hangs up a viewer or the sender.
    ///
    /// # Errors
    /// If there is none of that name.
    pub fn hang_up(&self, session: &Session, name: &str) -> Result<(), SessionError> {
        let mut choice = session.choice();
        if choice.sender.as_ref().is_some_and(|(n, _)| n == name) {
            choice.sender = None;
            return Ok(());
        }
        choice.viewers.remove(name).map(drop).ok_or(SessionError::Unknown)
    }

    pub fn info(&self, session: &Session, token: Option<&str>) -> SessionInfo {
        let choice = session.choice();
        let id = &session.id;
        let s = choice.settings;
        let status = session.live.status.borrow();
        let state = match (choice.playing, status.state) {
            (true, "ended") => "ended",
            (true, _) => "live",
            (false, _) => "idle",
        };
        SessionInfo {
            id: id.clone(),
            state,
            avatar: choice.avatar.clone(),
            source: choice.source.clone(),
            settings: SettingsInfo {
                background: format!("#{:02x}{:02x}{:02x}", s.background[0], s.background[1], s.background[2]),
                seed: s.seed,
                style: s.style,
                energy: s.energy,
            },
            styles: self.engine.styles().to_vec(),
            width: self.engine.width,
            height: self.engine.height,
            fps: odori_engine::pipeline::FRAME_RATE,
            viewers: session.live.viewers(),
            overlay: token.map_or_else(|| format!("/overlay/{id}"), |t| format!("/overlay/{id}?token={t}")),
            whep: format!("/whep/{id}"),
            whip: format!("/whip/{id}"),
            events: format!("/api/sessions/{id}/events"),
        }
    }
}


#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_long_and_differ() {
        let (a, b) = (name(), name());
        assert_eq!(a.len(), NAME_LEN);
        assert_ne!(a, b);
    }

    #[test]
    fn only_six_hex_digits_are_a_colour() {
        assert_eq!(colour("#1b1830"), Some([0x1b, 0x18, 0x30]));
        for bad in ["1b1830", "#1b183", "#zzzzzz", "#1b18300", "#€1b1"] {
            assert_eq!(colour(bad), None, "{bad}");
        }
    }
}
