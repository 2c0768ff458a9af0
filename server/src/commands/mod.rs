//! What each command does.

pub mod avatar;
pub mod beats;
pub mod doctor;
pub mod eval;
pub mod film;
pub mod render;
pub mod serve;

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use odori_engine::audio::{Limits, SongReader};

/// Opens a song; `-` is the built-in one.
pub(crate) fn open_song(path: &Path) -> anyhow::Result<SongReader> {
    let limits = Limits::default();
    if path.as_os_str() == "-" {
        return Ok(SongReader::new(Box::new(std::io::Cursor::new(crate::built_in::SONG)), "odori-groove.ogg", limits)?);
    }
    let name = path.display().to_string();
    let file = std::fs::File::open(path).with_context(|| format!("{name} cannot be opened"))?;
    SongReader::new(Box::new(file), &name, limits).with_context(|| name)
}

/// Where a file grows until it is whole, so that a failure leaves the old one.
fn part_of(path: &Path) -> PathBuf {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    PathBuf::from(part)
}

pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let part = part_of(path);
    std::fs::write(&part, bytes)
        .and_then(|()| std::fs::rename(&part, path))
        .with_context(|| format!("{} cannot be written", path.display()))
}

/// A bar on standard error; hidden where that is no terminal.
pub fn progress_bar(length: u64, what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{prefix:>10} {wide_bar} {pos}/{len} {msg} {eta}").unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::new(length).with_style(style).with_prefix(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// Logs to standard error: warnings, with `-v` lifecycle, with `-vv` all of ours. `RUST_LOG` overrides it.
pub fn start_logging(verbose: u8) {
    use tracing_subscriber::EnvFilter;
    let default = match verbose {
        0 => "warn,webrtc=off,rtc=off,rtc_ice=off,rtc_dtls=off,rtc_interceptor=off",
        1 => "warn,odori_server=info,odori_engine=info,webrtc=off,rtc=off,rtc_ice=off,rtc_dtls=off",
        _ => "info,odori_server=debug,odori_engine=debug",
    };
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(default));
    let _ = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).try_init();
}
