//! What each command does.

pub mod avatar;
pub mod beats;
pub mod doctor;
pub mod render;
pub mod serve;

use std::path::Path;

use anyhow::Context;
use odori_engine::audio::SongReader;
use odori_engine::audio::decode::Limits;

/// Opens a song; `-` is the built-in one.
fn open_song(path: &Path) -> anyhow::Result<SongReader> {
    let limits = Limits::default();
    if path.as_os_str() == "-" {
        return Ok(SongReader::new(Box::new(std::io::Cursor::new(crate::library::built_in_song())), "odori-groove.ogg", limits)?);
    }
    let name = path.display().to_string();
    let file = std::fs::File::open(path).with_context(|| format!("{name} cannot be opened"))?;
    SongReader::new(Box::new(file), &name, limits).with_context(|| name)
}

/// Writes a file through a neighbour, so that a failure leaves the old one whole.
fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = std::path::PathBuf::from(part);
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("{} cannot be written", path.display()))
}
