//! The avatars and the song that come with the binary, and reading those that do not.

use std::sync::{LazyLock, Mutex};

use anyhow::{Context, bail};
use bytes::Bytes;
use odori_engine::avatar::{Avatar, AvatarError, FigureFinder, ImportReport, Sidecar, import_encoded};
use odori_kernels::{Backend, Weights, cpu};

use crate::live::{AvatarEntry, SongEntry};

pub const SONG: &[u8] = include_bytes!("../../assets/song/odori-groove.ogg");
/// A built-in avatar.
struct Figure {
    id: &'static str,
    name: &'static str,
    picture: &'static [u8],
    back: &'static [u8],
    sidecar: &'static [u8],
}

macro_rules! figure {
    ($id:literal, $name:literal) => {
        Figure {
            id: $id,
            name: $name,
            picture: include_bytes!(concat!("../../assets/avatars/", $id, ".png")),
            back: include_bytes!(concat!("../../assets/avatars/", $id, "-back.png")),
            sidecar: include_bytes!(concat!("../../assets/avatars/", $id, ".json")),
        }
    };
}

/// The default first.
static FIGURES: [Figure; 4] = [figure!("kana", "Kana"), figure!("mochi", "Mochi"), figure!("sol", "Sol"), figure!("bip", "Bip")];

/// Made at the first picture that comes. One at a time: imports are few.
static FINDER: LazyLock<Result<Mutex<FigureFinder>, String>> = LazyLock::new(|| finder().map(Mutex::new).map_err(|e| e.to_string()));

/// A finder of one's own; all of them share their weights.
fn finder() -> Result<FigureFinder, AvatarError> {
    static WEIGHTS: LazyLock<Result<Weights, String>> =
        LazyLock::new(|| Weights::from_safetensors(include_bytes!("../../models/figure.safetensors")).map_err(|e| e.to_string()));
    FigureFinder::new(&Backend::Cpu(cpu::Pool::new(1)), WEIGHTS.as_ref().map_err(|e| AvatarError::Finder(e.clone()))?)
}

/// What needs a finder. A finder that panicked holds nothing half done: it is written anew before every look.
fn finding<T>(find: impl FnOnce(&mut FigureFinder) -> Result<T, AvatarError>) -> anyhow::Result<T> {
    let finder = FINDER.as_ref().map_err(|e| AvatarError::Finder(e.clone()))?;
    Ok(find(&mut finder.lock().unwrap_or_else(std::sync::PoisonError::into_inner))?)
}

/// An avatar of an encoded picture, and what was found in it.
///
/// # Errors
/// What is wrong with it and what to do.
pub fn import_picture(bytes: &[u8], sidecar: Option<&Sidecar>) -> anyhow::Result<(Avatar, ImportReport)> {
    finding(|finder| import_encoded(bytes, sidecar, Some(finder)))
}

/// The avatar with a picture of its back, and what was found in that.
///
/// # Errors
/// What is wrong with it and what to do.
pub fn import_back(avatar: Avatar, bytes: &[u8]) -> anyhow::Result<(Avatar, ImportReport)> {
    if bytes.len() > MAX_AVATAR_BYTES {
        bail!("it is {} MB; at most {} MB are read", bytes.len() >> 20, MAX_AVATAR_BYTES >> 20);
    }
    finding(|finder| avatar.with_back(bytes, Some(finder)))
}

/// What a picture or avatar file may weigh.
pub const MAX_AVATAR_BYTES: usize = 64 << 20;
/// What a song may weigh.
const MAX_SONG_BYTES: u64 = 200 << 20;
const THUMBNAIL_PIXELS: usize = 512;

fn import(figure: &Figure) -> anyhow::Result<Avatar> {
    // Its own, so that several are made at once.
    let mut finder = finder()?;
    let (front, _) = import_encoded(figure.picture, Some(&Sidecar::parse(figure.sidecar)?), Some(&mut finder))?;
    Ok(front.with_back(figure.back, Some(&mut finder))?.0)
}

/// The default avatar.
///
/// # Errors
/// Never, unless the built-in files are broken.
pub fn avatar() -> anyhow::Result<Avatar> {
    import(&FIGURES[0])
}

/// A built-in avatar by its id.
///
/// # Errors
/// Never, unless the built-in files are broken.
pub fn named(id: &str) -> Option<anyhow::Result<Avatar>> {
    FIGURES.iter().find(|f| f.id == id).map(import)
}

/// An avatar from a picture or an `.odori` file.
///
/// # Errors
/// What is wrong with it and what to do.
pub fn read_avatar(bytes: &[u8]) -> anyhow::Result<Avatar> {
    if bytes.len() > MAX_AVATAR_BYTES {
        bail!("it is {} MB; at most {} MB are read", bytes.len() >> 20, MAX_AVATAR_BYTES >> 20);
    }
    let picture = [&b"\x89PNG"[..], b"\xff\xd8\xff", b"RIFF", b"glTF"].iter().any(|magic| bytes.starts_with(magic));
    if picture { Ok(import_picture(bytes, None)?.0) } else { Ok(Avatar::from_bytes(bytes)?) }
}

/// What sessions choose from.
///
/// # Errors
/// If the avatar cannot be written.
pub fn entry(id: &str, name: &str, avatar: &Avatar) -> anyhow::Result<AvatarEntry> {
    Ok(AvatarEntry {
        id: id.to_owned(),
        name: name.chars().take(60).collect(),
        picture: avatar.thumbnail_png(THUMBNAIL_PIXELS)?.into(),
        file: avatar.to_bytes()?.into(),
        back: avatar.back.is_some(),
        uploaded: false,
    })
}

/// An id made of a file's name: lower case letters and digits.
pub fn id_of(name: &str) -> String {
    let id: String = name.to_lowercase().chars().filter(char::is_ascii_alphanumeric).take(24).collect();
    if id.is_empty() { "avatar".into() } else { id }
}

/// The built-in avatars, after those of the command line.
///
/// # Errors
/// Names the file that cannot be used.
pub fn avatars(files: &[std::path::PathBuf]) -> anyhow::Result<Vec<AvatarEntry>> {
    let mut list = Vec::new();
    for path in files {
        let shown = path.display().to_string();
        let bytes = std::fs::read(path).with_context(|| format!("{shown} cannot be read"))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let avatar = read_avatar(&bytes).with_context(|| shown)?;
        list.push(entry(&id_of(&name), &name, &avatar)?);
    }
    // Two pictures each: a thread each.
    std::thread::scope(|threads| {
        let made = FIGURES.each_ref().map(|figure| threads.spawn(|| entry(figure.id, figure.name, &import(figure)?)));
        for entry in made {
            list.push(entry.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))?);
        }
        Ok(list)
    })
}

/// The built-in song, after those of the command line; each is opened to see that it can be read.
///
/// # Errors
/// Names the file that cannot be used.
pub fn songs(files: &[std::path::PathBuf]) -> anyhow::Result<Vec<SongEntry>> {
    let mut list = Vec::new();
    for path in files {
        let shown = path.display().to_string();
        let size = std::fs::metadata(path).with_context(|| format!("{shown} cannot be opened"))?.len();
        if size > MAX_SONG_BYTES {
            bail!("{shown} is {} MB; at most {} MB are read", size >> 20, MAX_SONG_BYTES >> 20);
        }
        let bytes = Bytes::from(std::fs::read(path).with_context(|| format!("{shown} cannot be read"))?);
        let title = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        list.push(song(&id_of(&title), &title, bytes).with_context(|| shown)?);
    }
    list.push(song("odori-groove", "Odori groove", Bytes::from_static(SONG))?);
    Ok(list)
}

fn song(id: &str, title: &str, file: Bytes) -> anyhow::Result<SongEntry> {
    let reader = odori_engine::audio::SongReader::new(Box::new(std::io::Cursor::new(file.clone())), title, Default::default())?;
    let seconds = reader.decoder().stated_duration_s().unwrap_or(0.0);
    Ok(SongEntry { id: id.to_owned(), title: title.to_owned(), seconds, file })
}
