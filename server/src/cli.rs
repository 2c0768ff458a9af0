//! The command line.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use odori_engine::audio::PcmFormat;
use odori_engine::ladder::Rung;

use crate::engine::{Compute, Draw, Options};

/// A live dance avatar engine: music goes in, a character made from one image dances to it, frames go out over WebRTC.
#[derive(Debug, Parser)]
#[command(name = "odori", version, propagate_version = true)]
pub struct Cli {
    /// More detail on standard error; twice for all of it. `ODORI_LOG` takes a tracing filter.
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    pub verbose: u8,
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the built-in avatar and song, and open the studio in the browser
    Demo(ServeArgs),
    /// Serve the studio, the overlay, WHEP and WHIP
    Serve(ServeArgs),
    /// Render a song to a video, or only its dance: offline and deterministic
    Render(RenderArgs),
    /// Print the beats of a song as a live listener would know them
    Beats(BeatsArgs),
    /// Make and inspect avatars
    #[command(subcommand)]
    Avatar(AvatarCommand),
    /// Say what this machine can do, what was chosen, and why
    Doctor(DoctorArgs),
}

#[derive(Clone, Debug, Args)]
pub struct EngineArgs {
    /// What runs the networks
    #[arg(long, value_enum, default_value_t, help_heading = "Engine")]
    pub compute: Compute,
    /// What draws
    #[arg(long, value_enum, default_value_t, help_heading = "Engine")]
    pub draw: Draw,
    /// Size of the picture, both sides even
    #[arg(long, default_value = "512x512", value_parser = parse_size, value_name = "WxH", help_heading = "Engine")]
    pub size: (u32, u32),
    /// Side of the denoiser's working picture: 128, 192 or 256
    #[arg(long, default_value_t = 128, value_parser = parse_working, value_name = "PIXELS", help_heading = "Engine")]
    pub working_size: usize,
    /// Denoise steps to a frame where time allows: 0 (the puppet alone), 1, 2 or 4
    #[arg(long, default_value_t = 1, value_parser = parse_steps, value_name = "N", help_heading = "Engine")]
    pub steps: u32,
    /// A folder with other weights than the built-in ones
    #[arg(long, value_name = "DIR", help_heading = "Engine")]
    pub models: Option<PathBuf>,
}

impl EngineArgs {
    pub fn options(&self) -> Options {
        let best = Rung::ALL.into_iter().find(|r| r.denoise_steps() == self.steps).unwrap_or(Rung::OneStep);
        Options {
            compute: self.compute,
            draw: self.draw,
            width: self.size.0,
            height: self.size.1,
            working_size: self.working_size,
            best,
            models: self.models.clone(),
        }
    }
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let parsed = text.split_once('x').and_then(|(w, h)| Some((w.parse::<u32>().ok()?, h.parse::<u32>().ok()?)));
    match parsed {
        Some((w, h)) if [w, h].iter().all(|s| (128..=2048).contains(s) && s % 2 == 0) => Ok((w, h)),
        _ => Err("expected two even sides from 128 to 2048, as in 512x512 or 720x1280".into()),
    }
}

fn parse_working(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| [128, 192, 256].contains(n)).ok_or_else(|| "expected 128, 192 or 256".into())
}

fn parse_steps(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|n| [0, 1, 2, 4].contains(n)).ok_or_else(|| "expected 0, 1, 2 or 4".into())
}

fn parse_ports(text: &str) -> Result<RangeInclusive<u16>, String> {
    let parsed = text.split_once('-').and_then(|(a, b)| Some((a.parse::<u16>().ok()?, b.parse::<u16>().ok()?)));
    match parsed {
        Some((a, b)) if a >= 1024 && a <= b => Ok(a..=b),
        _ => Err("expected two ports of at least 1024, as in 42000-42099".into()),
    }
}

fn parse_pcm(text: &str) -> Result<PcmFormat, String> {
    text.parse::<PcmFormat>().map_err(|e| e.to_string())
}

#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Address to listen on; beyond this machine a token is needed
    #[arg(long, default_value = "127.0.0.1", value_name = "IP")]
    pub bind: IpAddr,
    #[arg(long, default_value_t = 8080)]
    pub port: u16,
    /// UDP ports for WebRTC, one a viewer or sender
    #[arg(long, default_value = "42000-42199", value_parser = parse_ports, value_name = "A-B")]
    pub udp_ports: RangeInclusive<u16>,
    /// Token that requests must carry; made up and printed if it is needed and not given
    #[arg(long, env = "ODORI_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// A foreign origin whose pages may use this server; may be repeated
    #[arg(long, value_name = "ORIGIN")]
    pub allow_origin: Vec<String>,
    /// Sessions that run at once; by default one for every two cores
    #[arg(long, value_name = "N")]
    pub max_sessions: Option<usize>,
    /// An avatar to offer (.odori, PNG, JPEG, WebP); the first is the default; may be repeated
    #[arg(long, value_name = "FILE")]
    pub avatar: Vec<PathBuf>,
    /// A song to offer; the first is the default; may be repeated
    #[arg(long, value_name = "FILE")]
    pub song: Vec<PathBuf>,
    /// Dance to raw sound on standard input: s16le, s24le, s32le or f32le, rate, channels
    #[arg(long, value_parser = parse_pcm, value_name = "FORMAT:RATE:CHANNELS")]
    pub stdin_pcm: Option<PcmFormat>,
    /// Do not open the browser
    #[arg(long)]
    pub no_open: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Clone, Debug, Args)]
pub struct RenderArgs {
    /// WAV, FLAC, MP3, Ogg Vorbis, M4A or AIFF; `-` for the built-in song
    pub song: PathBuf,
    /// An avatar (.odori, PNG, JPEG, WebP); the built-in one if not given
    #[arg(long, value_name = "FILE")]
    pub avatar: Option<PathBuf>,
    /// Stop after this many seconds
    #[arg(long, value_parser = parse_seconds, value_name = "S")]
    pub seconds: Option<f64>,
    /// The same seed gives the same dance
    #[arg(long, default_value_t = 1)]
    pub seed: u32,
    /// 0 calm to 1 wild
    #[arg(long, default_value_t = 0.6, value_parser = parse_energy)]
    pub energy: f32,
    /// Style by name or number; see `odori doctor`
    #[arg(long, default_value = "0")]
    pub style: String,
    /// Colour behind the dancer, as in #1b1830
    #[arg(long, default_value = "#1b1830", value_parser = parse_colour)]
    pub background: [u8; 3],
    /// Also write the motion as BVH
    #[arg(long, value_name = "FILE")]
    pub bvh: Option<PathBuf>,
    /// Also write keypoints, a line of JSON a frame
    #[arg(long, value_name = "FILE")]
    pub keypoints: Option<PathBuf>,
    /// The video (MP4, H.264 and Opus); without it poses alone are computed
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// End with one line of JSON on standard output
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s| (0.04..=7200.0).contains(s)).ok_or_else(|| "expected seconds from 0.04 to 7200".into())
}

fn parse_energy(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|e| (0.0..=1.0).contains(e)).ok_or_else(|| "expected a number from 0 to 1".into())
}

fn parse_colour(text: &str) -> Result<[u8; 3], String> {
    crate::session::colour(text).ok_or_else(|| "expected six hexadecimal digits, as in #1b1830".into())
}

#[derive(Clone, Debug, Args)]
pub struct BeatsArgs {
    /// WAV, FLAC, MP3, Ogg Vorbis, M4A or AIFF; `-` for the built-in song
    pub song: PathBuf,
    /// Which tracker listens
    #[arg(long, value_enum, default_value_t)]
    pub tracker: Tracker,
    /// A line of JSON a beat
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Tracker {
    /// The engine's own
    #[default]
    Odori,
    /// aubio's, if this binary was built with it
    Aubio,
}

#[derive(Debug, Subcommand)]
pub enum AvatarCommand {
    /// Make an avatar from a picture of a whole figure
    Import(ImportArgs),
}

#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// PNG, JPEG or WebP; the figure from the front, arms away from the body, on a transparent or plain ground
    pub image: PathBuf,
    /// The avatar to write
    #[arg(short, long, value_name = "A.odori")]
    pub output: PathBuf,
    /// Keypoints as JSON: {"width", "height", "keypoints": {"nose": [x, y], ...}}; found by silhouette if not given
    #[arg(long, value_name = "FILE")]
    pub keypoints: Option<PathBuf>,
    /// A picture of what was found
    #[arg(long, value_name = "FILE.png")]
    pub preview: Option<PathBuf>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn sizes_and_ports_are_bounded() {
        assert_eq!(parse_size("720x1280"), Ok((720, 1280)));
        for bad in ["512", "511x512", "0x0", "99999x512"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert!(parse_ports("42000-41000").is_err());
        assert!(parse_ports("80-90").is_err());
        assert_eq!(parse_ports("42000-42000"), Ok(42000..=42000));
    }
}
