//! Avatars and songs to choose from: the built-in ones, those named on the command line, those uploaded.

use std::io::Cursor;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use odori_engine::audio::decode::Limits;
use odori_engine::audio::Song;
use odori_engine::avatar::{Avatar, Sidecar, import_encoded};
use serde::Serialize;

const KANA_IMAGE: &[u8] = include_bytes!("../../assets/avatars/kana.png");
const KANA_SIDECAR: &[u8] = include_bytes!("../../assets/avatars/kana.json");
const GROOVE: &[u8] = include_bytes!("../../assets/song/odori-groove.ogg");

/// Uploads kept; the oldest gives way.
const MAX_UPLOADS: usize = 16;
/// What a picture or avatar file may weigh.
pub const MAX_AVATAR_BYTES: usize = 64 << 20;
/// What a song may weigh.
pub const MAX_SONG_BYTES: usize = 200 << 20;
/// A live session holds its song whole: 20 minutes are 580 MB.
pub const LIVE_SONG_SECONDS: f64 = 20.0 * 60.0;

/// The built-in avatar.
///
/// # Errors
/// Never, unless the built-in files are broken.
pub fn built_in_avatar() -> anyhow::Result<Avatar> {
    let sidecar = Sidecar::parse(KANA_SIDECAR)?;
    Ok(import_encoded(KANA_IMAGE, Some(&sidecar))?.0)
}

pub fn built_in_song() -> &'static [u8] {
    GROOVE
}

/// An avatar from a picture or an `.odori` file.
///
/// # Errors
/// What is wrong with it and what to do.
pub fn read_avatar(bytes: &[u8], sidecar: Option<&Sidecar>) -> anyhow::Result<Avatar> {
    let picture = [&b"\x89PNG"[..], b"\xff\xd8\xff", b"RIFF"].iter().any(|magic| bytes.starts_with(magic));
    if picture { Ok(import_encoded(bytes, sidecar)?.0) } else { Ok(Avatar::from_bytes(bytes)?) }
}

/// A song of bounded length, whole.
///
/// # Errors
/// What is wrong with it and what to do.
pub fn read_song(bytes: Vec<u8>, name: &str) -> anyhow::Result<Song> {
    let limits = Limits { duration_s: LIVE_SONG_SECONDS, ..Limits::default() };
    Ok(Song::load(Box::new(Cursor::new(bytes)), name, limits)?)
}

#[derive(Clone, Debug, Serialize)]
pub struct AvatarInfo {
    pub id: String,
    pub name: String,
    pub image: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct SongInfo {
    pub id: String,
    pub title: String,
    pub seconds: f64,
}

struct AvatarEntry {
    info: AvatarInfo,
    avatar: Arc<Avatar>,
    thumbnail: Arc<Vec<u8>>,
    uploaded: bool,
}

struct SongEntry {
    info: SongInfo,
    song: Arc<Song>,
}

#[derive(Default)]
pub struct Library {
    avatars: Mutex<Vec<AvatarEntry>>,
    songs: Vec<SongEntry>,
}

fn seconds(song: &Song) -> f64 {
    song.model.len() as f64 / f64::from(odori_engine::audio::MODEL_RATE)
}

impl Library {
    /// The built-in avatar and song first, then those given: (name, bytes).
    ///
    /// # Errors
    /// Names the file that cannot be read.
    pub fn open(avatars: Vec<(String, Vec<u8>)>, songs: Vec<(String, Vec<u8>)>) -> anyhow::Result<Self> {
        let mut library = Library::default();
        for (name, bytes) in avatars {
            let avatar = read_avatar(&bytes, None).with_context(|| format!("the avatar {name}"))?;
            library.add_avatar(&name, avatar, false)?;
        }
        library.add_avatar("Kana", built_in_avatar()?, false)?;
        let given = songs.into_iter().map(|(name, bytes)| (name.clone(), name, bytes));
        let built_in = ("odori-groove".to_owned(), "Odori groove".to_owned(), GROOVE.to_vec());
        for (id, title, bytes) in given.chain([built_in]) {
            let song = Arc::new(read_song(bytes, &format!("{id}.ogg")).with_context(|| format!("the song {title}"))?);
            library.songs.push(SongEntry { info: SongInfo { id, title, seconds: seconds(&song) }, song });
        }
        Ok(library)
    }

    fn entries(&self) -> MutexGuard<'_, Vec<AvatarEntry>> {
        self.avatars.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Errors
    /// If its thumbnail cannot be made.
    pub fn add_avatar(&self, name: &str, avatar: Avatar, uploaded: bool) -> anyhow::Result<AvatarInfo> {
        let mut id: String = name.to_lowercase().chars().filter(|c| c.is_ascii_alphanumeric()).take(24).collect();
        if id.is_empty() || uploaded {
            id = format!("{id}-{}", &crate::session::name()[..6]);
        }
        let thumbnail = Arc::new(avatar.thumbnail_png(512).context("the avatar's thumbnail")?);
        let info = AvatarInfo { name: name.chars().take(60).collect(), image: format!("/api/avatars/{id}.png"), id };
        let mut entries = self.entries();
        if uploaded && entries.iter().filter(|e| e.uploaded).count() >= MAX_UPLOADS
            && let Some(oldest) = entries.iter().position(|e| e.uploaded)
        {
            entries.remove(oldest);
        }
        entries.push(AvatarEntry { info: info.clone(), avatar: Arc::new(avatar), thumbnail, uploaded });
        Ok(info)
    }

    pub fn avatars(&self) -> Vec<AvatarInfo> {
        self.entries().iter().map(|e| e.info.clone()).collect()
    }

    pub fn avatar(&self, id: &str) -> Option<Arc<Avatar>> {
        self.entries().iter().find(|e| e.info.id == id).map(|e| Arc::clone(&e.avatar))
    }

    pub fn thumbnail(&self, id: &str) -> Option<Arc<Vec<u8>>> {
        self.entries().iter().find(|e| e.info.id == id).map(|e| Arc::clone(&e.thumbnail))
    }

    pub fn songs(&self) -> Vec<SongInfo> {
        self.songs.iter().map(|s| s.info.clone()).collect()
    }

    pub fn song_info(&self, id: &str) -> Option<SongInfo> {
        self.songs.iter().find(|s| s.info.id == id).map(|s| s.info.clone())
    }

    /// # Errors
    /// If there is none of that name.
    pub fn song(&self, id: &str) -> anyhow::Result<Arc<Song>> {
        let entry = self.songs.iter().find(|s| s.info.id == id).context("there is no song with that name")?;
        Ok(Arc::clone(&entry.song))
    }
}
