//! The command line: words and their meaning. Decides nothing.

use std::net::IpAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};
use odori_engine::audio::PcmFormat;
use odori_engine::ladder::Rung;

use odori_engine::dance::Pace;
use odori_engine::dance::group::MOST_DANCERS;
use odori_engine::picture::camera::Framing;

use crate::direction::{Cue, DanceChange};
use crate::engine::{Compute, Draw, Options};

#[derive(Debug, Parser)]
#[command(name = "odori", version, about = "A live dance avatar engine: music in, a dancing character out, over WebRTC", max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
    /// Say more on standard error: -v for what happens, -vv for everything. RUST_LOG overrides it.
    #[arg(short, long, action = clap::ArgAction::Count, global = true)]
    pub verbose: u8,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the studio with the built-in avatar and song, and open it in the browser.
    Demo(ServeArgs),
    /// Serve the studio and overlay pages, WHEP, WHIP and the API.
    Serve(ServeArgs),
    /// Make a film of a song being danced to; without -o, only poses are computed.
    Render(RenderArgs),
    /// Print the beats of a song as the live engine would announce them: causally, each before it falls.
    Beats(BeatsArgs),
    /// Make and inspect avatars.
    #[command(subcommand)]
    Avatar(AvatarCommand),
    /// Judge what the engine does, by the definitions of the field.
    #[command(subcommand)]
    Eval(EvalCommand),
    /// Show what this machine can do, what was chosen, and why not more.
    Doctor(DoctorArgs),
    /// Measure: sound in to picture seen, stages, kernels, endurance, sessions; as a table, JSON and one HTML page.
    #[command(subcommand)]
    Bench(BenchCommand),
}

#[derive(Clone, Debug, Args)]
pub struct ServeArgs {
    /// Address to listen on. Beyond loopback every request needs the token.
    #[arg(long, default_value = "127.0.0.1", env = "ODORI_BIND")]
    pub bind: IpAddr,
    /// TCP port of pages and API; 0 takes a free one.
    #[arg(long, default_value_t = 8080, env = "ODORI_PORT")]
    pub port: u16,
    /// UDP ports for media, one for each viewer or sender.
    #[arg(long, default_value = "47800-47863", value_parser = port_range, value_name = "FIRST-LAST")]
    pub udp_ports: RangeInclusive<u16>,
    /// Address for media, if another than --bind.
    #[arg(long, value_name = "IP")]
    pub media_bind: Option<IpAddr>,
    /// Also take media over TCP, on the same port numbers, for viewers behind firewalls.
    #[arg(long)]
    pub ice_tcp: bool,
    /// STUN server, such as stun:stun.example.org:3478; may be given more than once.
    #[arg(long = "ice-server", value_name = "URL")]
    pub ice_servers: Vec<String>,
    /// Bearer token. Made up and printed if needed and not given.
    #[arg(long, env = "ODORI_TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Other web origins that may use this server, such as https://example.org; may be given more than once.
    #[arg(long = "allow-origin", value_name = "ORIGIN")]
    pub allow_origins: Vec<String>,
    /// Sessions that may be live at once [default: as many as are measured to fit, at least one].
    #[arg(long, value_name = "N")]
    pub max_sessions: Option<usize>,
    /// Viewers of one session.
    #[arg(long, default_value_t = 16, value_name = "N")]
    pub max_viewers: usize,
    /// Size of the picture, of any shape: 720x1280 is upright, 1280x720 has room for a group.
    #[arg(long, default_value = "512x512", value_parser = size, value_name = "WxH")]
    pub size: (u32, u32),
    /// Highest video bitrate in kbit/s.
    #[arg(long, default_value_t = 2500, value_name = "KBPS", value_parser = clap::value_parser!(u32).range(200..=20_000))]
    pub max_bitrate: u32,
    /// Avatar file (.odori); may be given more than once. The built-in ones stay.
    #[arg(long = "avatar", value_name = "FILE")]
    pub avatars: Vec<PathBuf>,
    /// Song to offer besides the built-in one; may be given more than once.
    #[arg(long = "song", value_name = "FILE")]
    pub songs: Vec<PathBuf>,
    /// Dance to raw PCM on standard input, written FORMAT[:RATE[:CHANNELS]], for example s16le:48000:2.
    #[arg(long, value_name = "FORMAT")]
    pub stdin_pcm: Option<PcmFormat>,
    /// Send the motion to a program that speaks the VMC protocol, such as 127.0.0.1:39539; may be given more than once.
    #[arg(long, value_name = "HOST:PORT")]
    pub vmc: Vec<String>,
    /// Listen here for a person's face by the VMC protocol, such as 127.0.0.1:39540: a tracker's blinks, mouth and eyes become the
    /// dancer's.
    #[arg(long, value_name = "HOST:PORT")]
    pub vmc_face: Option<String>,
    /// Do not open a browser.
    #[arg(long)]
    pub no_open: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Clone, Debug, Args)]
pub struct EngineArgs {
    /// What runs the networks.
    #[arg(long, value_enum, default_value_t, help_heading = "Engine")]
    pub compute: Compute,
    /// What draws.
    #[arg(long, value_enum, default_value_t, help_heading = "Engine")]
    pub draw: Draw,
    /// Side of the denoiser's working picture: 128, 192 or 256.
    #[arg(long, default_value_t = 128, value_parser = working_size, value_name = "PIXELS", help_heading = "Engine")]
    pub working_size: usize,
    /// Denoise steps to a frame where time allows: 0 (the puppet alone), 1, 2 or 4.
    #[arg(long, default_value_t = 1, value_parser = steps, value_name = "N", help_heading = "Engine")]
    pub steps: u32,
    /// A folder with other weights; those it lacks are the built-in ones.
    #[arg(long, value_name = "DIR", help_heading = "Engine")]
    pub models: Option<PathBuf>,
}

impl EngineArgs {
    pub fn options(&self) -> Options {
        let best = Rung::ALL.into_iter().find(|r| r.denoise_steps() == self.steps).unwrap_or(Rung::OneStep);
        Options { compute: self.compute, draw: self.draw, working_size: self.working_size, best, threads: None, models: self.models.clone() }
    }
}

fn working_size(text: &str) -> Result<usize, String> {
    text.parse().ok().filter(|n| [128, 192, 256].contains(n)).ok_or_else(|| "it is 128, 192 or 256".into())
}

fn steps(text: &str) -> Result<u32, String> {
    text.parse().ok().filter(|n| [0, 1, 2, 4].contains(n)).ok_or_else(|| "it is 0, 1, 2 or 4".into())
}

#[derive(Clone, Debug, Args)]
pub struct RenderArgs {
    /// WAV, FLAC, MP3, Ogg Vorbis, M4A or AIFF; - for the built-in song.
    pub song: PathBuf,
    /// Avatar file (.odori), a picture, or the name of a built-in one; of a group each dancer's, in turn [default: kana].
    #[arg(long = "avatar", value_name = "FILE")]
    pub avatars: Vec<PathBuf>,
    /// Stop after this much of the song.
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Choreography: the same seed and song give the same dance.
    #[arg(long, default_value_t = 1)]
    pub seed: u32,
    /// Dance style, by name or number; `odori doctor` lists them. `free` is every style in turn, another one every four bars [default: free,
    /// or what the prompt says].
    #[arg(long)]
    pub style: Option<String>,
    /// 0 calm to 1 wild [default: 0.95, or what the prompt says].
    #[arg(long, value_parser = energy)]
    pub energy: Option<f32>,
    #[command(flatten)]
    pub direction: DirectionArgs,
    /// Dancers, 1 to 5 [default: as many as avatars are given].
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=5), value_name = "N")]
    pub dancers: Option<u8>,
    /// Write the motion as BVH; of a group, FILE-2.bvh and so on beside it.
    #[arg(long, value_name = "FILE")]
    pub bvh: Option<PathBuf>,
    /// Write 2D keypoints as JSON lines.
    #[arg(long, value_name = "FILE")]
    pub keypoints: Option<PathBuf>,
    /// MP4 to write (H.264 and Opus).
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Size of the picture, of any shape: 720x1280 is upright, 1280x720 has room for a group.
    #[arg(long, default_value = "512x512", value_parser = size, value_name = "WxH")]
    pub size: (u32, u32),
    /// What lies behind the dancers: transparent (which in a film is a plain dark colour), stage, #RRGGBB, or a picture.
    #[arg(long, default_value = "transparent", value_name = "WHAT")]
    pub background: String,
    /// How much of the dancers is seen: full, half, face, or auto, which changes with the music's phrases.
    #[arg(long, default_value = "full", value_parser = framing)]
    pub framing: Framing,
    /// End with one JSON line on standard output.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

impl RenderArgs {
    pub fn dancers(&self) -> usize {
        self.dancers.map_or(self.avatars.len().clamp(1, MOST_DANCERS), usize::from)
    }
}

/// What a viewer could change while it runs.
#[derive(Clone, Debug, Args)]
pub struct DirectionArgs {
    /// What to dance, in words, such as "slow elegant arms"; words that are not known are named.
    #[arg(long, value_name = "TEXT", help_heading = "Direction")]
    pub prompt: Option<String>,
    /// Stress on arms and hands: -1 hardly move, 0 as danced, 1 clearly more.
    #[arg(long, value_name = "-1..1", allow_hyphen_values = true, help_heading = "Direction")]
    pub hands: Option<f32>,
    /// Stress on the head.
    #[arg(long, value_name = "-1..1", allow_hyphen_values = true, help_heading = "Direction")]
    pub head: Option<f32>,
    /// Stress on feet and legs.
    #[arg(long, value_name = "-1..1", allow_hyphen_values = true, help_heading = "Direction")]
    pub footwork: Option<f32>,
    /// Where the dancer faces, degrees from the camera.
    #[arg(long, value_name = "-90..90", allow_hyphen_values = true, help_heading = "Direction")]
    pub facing: Option<f32>,
    /// How fast the dancer counts: half, normal or double.
    #[arg(long, value_parser = crate::direction::pace, help_heading = "Direction")]
    pub pace: Option<Pace>,
    /// Change something in mid-song, as 12.5:energy=1,style=2; may be given more than once.
    #[arg(long = "cue", value_name = "SECONDS:NAME=VALUE,...", help_heading = "Direction")]
    pub cues: Vec<Cue>,
}

impl DirectionArgs {
    pub fn change(&self) -> DanceChange {
        let DirectionArgs { hands, head, footwork, facing, pace, .. } = *self;
        DanceChange { hands, head, footwork, facing, pace, prompt: self.prompt.clone(), ..DanceChange::default() }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    text.parse().ok().filter(|s| (0.04..=7200.0).contains(s)).ok_or_else(|| "it is a number from 0.04 to 7200".into())
}

fn energy(text: &str) -> Result<f32, String> {
    text.parse().ok().filter(|e| (0.0..=1.0).contains(e)).ok_or_else(|| "it is a number from 0 to 1".into())
}

#[derive(Clone, Debug, Args)]
pub struct BeatsArgs {
    /// WAV, FLAC, MP3, Ogg Vorbis, M4A or AIFF; - for the built-in song.
    pub song: PathBuf,
    /// Which tracker listens.
    #[arg(long, value_enum, default_value_t)]
    pub tracker: Tracker,
    /// A JSON line a beat on standard output.
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Tracker {
    /// The engine's own.
    #[default]
    Odori,
    /// aubio's, if this binary was built with it.
    Aubio,
}

#[derive(Clone, Debug, Subcommand)]
pub enum AvatarCommand {
    /// Make an avatar file from a picture of a whole figure.
    Import(ImportArgs),
}

#[derive(Clone, Debug, Args)]
pub struct ImportArgs {
    /// PNG, JPEG or WebP, best with a transparent or plain ground, arms away from the body; or a VRM or rigged GLB character.
    pub image: PathBuf,
    /// Avatar file to write.
    #[arg(short, long, value_name = "A.odori")]
    pub output: PathBuf,
    /// Keypoints of the figure as JSON; found by a network otherwise.
    #[arg(long, value_name = "FILE")]
    pub keypoints: Option<PathBuf>,
    /// The same character from behind, standing as in the first picture: shown while it turns its back. 3D characters have theirs.
    #[arg(long, value_name = "IMAGE")]
    pub back: Option<PathBuf>,
    /// Which part of the body pixels of the picture belong to, over what is found: a PNG of its size in the colours that
    /// --show-layers writes, clear where nothing is said.
    #[arg(long, value_name = "PNG")]
    pub layers: Option<PathBuf>,
    /// Write which part of the body every pixel of the picture belongs to, a colour for each: paint in it and give it back with --layers.
    #[arg(long, value_name = "PNG")]
    pub show_layers: Option<PathBuf>,
    /// Write a picture that shows mesh and keypoints; of a back, another one whose name ends in -back.
    #[arg(long, value_name = "PNG")]
    pub preview: Option<PathBuf>,
    #[arg(long)]
    pub json: bool,
}

#[derive(Clone, Debug, Subcommand)]
pub enum EvalCommand {
    /// Judge the dance on held-out songs: beats, variety, realism, feet, freezes over an hour, and what every control does.
    Motion(EvalMotionArgs),
    /// Judge the picture on held-out characters: the puppet and the denoiser's steps against true renders.
    Render(EvalRenderArgs),
}

#[derive(Clone, Debug, Args)]
pub struct EvalRenderArgs {
    /// Folder of true renders beside puppets: what `odori-datagen --held-out` writes.
    pub frames: PathBuf,
    /// Pose tokens of the motion clips that the frames show (the tokenizer's tokens.safetensors); unknown otherwise.
    #[arg(long, value_name = "FILE")]
    pub tokens: Option<PathBuf>,
    /// Most clips to judge.
    #[arg(long, default_value_t = 96, value_parser = clap::value_parser!(u32).range(1..=10_000), value_name = "N")]
    pub clips: u32,
    /// Also judge what each part of the network is worth, and the truth itself a little aside.
    #[arg(long)]
    pub ablations: bool,
    /// Write a contact sheet: reference, true, puppet, 1, 2 and 4 steps.
    #[arg(long, value_name = "PNG")]
    pub sheet: Option<PathBuf>,
    /// Show every N-th clip on it.
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..), value_name = "N")]
    pub sheet_every: u32,
    /// Everything as one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Clone, Debug, Args)]
pub struct EvalMotionArgs {
    /// Folder of songs with exact beats and of real dance; training/README.md says how it is made.
    pub set: PathBuf,
    /// A folder with other motion weights, to stand beside these.
    #[arg(long, value_name = "DIR")]
    pub against: Option<PathBuf>,
    /// Seconds of every song.
    #[arg(long, default_value_t = 60.0, value_parser = seconds, value_name = "S")]
    pub seconds: f64,
    /// Length of the long dance over all songs without a pause; 0 leaves it out.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(0..=600), value_name = "N")]
    pub minutes: u32,
    /// Leave out what the controls do.
    #[arg(long)]
    pub no_controls: bool,
    /// 0 calm to 1 wild [default: the engine's].
    #[arg(long, value_parser = energy)]
    pub energy: Option<f32>,
    #[arg(long, default_value = "0")]
    pub style: String,
    #[arg(long, default_value_t = 1)]
    pub seed: u32,
    /// Dances of every song, each with a seed of its own, that are judged together: single dances vary.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20), value_name = "N")]
    pub seeds: u32,
    /// [default: the engine's]
    #[arg(long, value_parser = energy, value_name = "0..1")]
    pub temperature: Option<f32>,
    /// [default: the engine's]
    #[arg(long, value_parser = energy, value_name = "0..1")]
    pub top_p: Option<f32>,
    /// Write table and plots as one page.
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Everything as one JSON object on standard output.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Clone, Debug, Args)]
pub struct DoctorArgs {
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

#[derive(Clone, Debug, Args)]
pub struct SongSetArgs {
    /// Hold the visible beats to the songs of this folder, NAME.wav beside NAME.json with its `beats` in seconds, `bpm` and `tempo`
    /// (`python -m odori_training.eval_set` makes one) [default: the built-in song].
    #[arg(long, value_name = "SET")]
    pub songs: Option<PathBuf>,
}

#[derive(Clone, Debug, Subcommand)]
pub enum BenchCommand {
    /// A click in, pixels out, in Chromium and in a native client; surprise; visible against heard beat.
    Glass {
        #[command(flatten)]
        common: BenchArgs,
        #[command(flatten)]
        songs: SongSetArgs,
    },
    /// What a frame costs, stage by stage, without pacing or network.
    Stages(BenchArgs),
    /// One session for a long time (10 minutes, unless --seconds says otherwise): misses, latency, memory.
    Soak(BenchArgs),
    /// How many sessions this machine carries at once.
    Sessions {
        #[command(flatten)]
        common: BenchArgs,
        /// Stop at this many.
        #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u8).range(1..=64))]
        most: u8,
    },
    /// Sound in to picture seen over emulated networks.
    Networks {
        #[command(flatten)]
        common: BenchArgs,
        /// clean, wifi, 4g, loss5 or rtt200; may be given more than once [default: all].
        #[arg(long = "network", value_name = "NAME")]
        networks: Vec<String>,
    },
    /// Cost against picture size, denoise steps, working size, dancers, viewers and sessions, as curves.
    Scaling(BenchArgs),
    /// Every kernel and every network: verified, then timed beside the machine's ceilings.
    Kernels {
        #[command(flatten)]
        common: BenchArgs,
        #[command(flatten)]
        kernels: KernelArgs,
    },
    /// Everything, in one report.
    All {
        #[command(flatten)]
        common: BenchArgs,
        #[command(flatten)]
        songs: SongSetArgs,
        #[command(flatten)]
        kernels: KernelArgs,
    },
    /// Two reports side by side: what became better, what worse.
    Compare {
        #[arg(value_name = "A.json")]
        before: PathBuf,
        #[arg(value_name = "B.json")]
        after: PathBuf,
        /// Fail if a figure became worse by more than this.
        #[arg(long, value_name = "PERCENT")]
        fail_over: Option<f64>,
    },
}

#[derive(Clone, Debug, Args)]
pub struct KernelArgs {
    /// Threads of the CPU kernels [default: all cores].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub threads: Option<u8>,
    /// Runs to take the median of.
    #[arg(long, value_name = "N", default_value_t = 9, value_parser = clap::value_parser!(u8).range(1..=100))]
    pub runs: u8,
    /// Times of other runtimes on the same networks, as training/odori_training/other_runtimes.py writes them.
    #[arg(long, value_name = "FILE")]
    pub others: Option<PathBuf>,
}

#[derive(Clone, Debug, Args)]
pub struct BenchArgs {
    /// Length of each measurement, after its warm-up [default: fitting].
    #[arg(long, value_name = "S", value_parser = seconds)]
    pub seconds: Option<f64>,
    /// Clips, networks and dances of the same seed are the same.
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Size of the picture, a square.
    #[arg(long, default_value = "512x512", value_parser = square, value_name = "WxH")]
    pub size: (u32, u32),
    /// Do not look for a browser: the native client measures alone.
    #[arg(long)]
    pub no_browser: bool,
    /// Where to write NAME.json and NAME.html.
    #[arg(short, long, value_name = "NAME")]
    pub output: Option<PathBuf>,
    /// Print the report as JSON instead of a table.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub engine: EngineArgs,
}

fn port_range(text: &str) -> Result<RangeInclusive<u16>, String> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    match (first.trim().parse::<u16>(), last.trim().parse::<u16>()) {
        (Ok(first), Ok(last)) if first > 0 && first <= last => Ok(first..=last),
        _ => Err("write it as FIRST-LAST, for example 47800-47863".into()),
    }
}

fn size(text: &str) -> Result<(u32, u32), String> {
    let side = |t: &str| t.parse::<u32>().ok().filter(|n| n.is_multiple_of(2) && (128..=1920).contains(n));
    let sides = text.split_once('x').and_then(|(w, h)| Some((side(w)?, side(h)?)));
    let shaped = sides.filter(|(w, h)| w.max(h) <= &(4 * w.min(h)));
    shaped.ok_or_else(|| "write it as WxH, even sides from 128 to 1920, neither over four times the other, for example 512x512 or 720x1280".into())
}

fn square(text: &str) -> Result<(u32, u32), String> {
    size(text).ok().filter(|(w, h)| w == h).ok_or_else(|| "write it as WxH, a square of even sides from 128 to 1920, for example 512x512".into())
}

fn framing(text: &str) -> Result<Framing, String> {
    Framing::ALL.into_iter().find(|f| f.name() == text).ok_or_else(|| "it is full, half, face or auto".into())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn values_are_checked() {
        let ok = |words: &[&str]| Cli::try_parse_from([&["odori"], words].concat()).is_ok();
        assert!(ok(&["demo", "--no-open", "--port", "0", "--udp-ports", "5000-5010"]));
        assert!(ok(&["serve", "--stdin-pcm", "s16le:44100:1"]));
        assert!(ok(&["render", "a.mp3", "-o", "b.mp4", "--size", "720x720", "--json"]));
        assert!(ok(&["render", "a.mp3", "--hands", "-1", "--pace", "half", "--cue", "3:energy=1", "--cue", "9:style=2,head=0.5"]));
        assert!(!ok(&["render", "a.mp3", "--dancers", "6"]));
        assert!(!ok(&["render", "a.mp3", "--cue", "3:mood=1"]));
        assert!(ok(&["bench", "networks", "--network", "wifi", "--network", "4g", "--seconds", "5", "-o", "out"]));
        assert!(ok(&["bench", "kernels", "--threads", "2", "--others", "o.json"]));
        assert!(ok(&["bench", "compare", "a.json", "b.json", "--fail-over", "10"]));
        assert!(!ok(&["bench", "sessions", "--most", "0"]));
        assert!(ok(&["serve", "--size", "720x1280"]) && ok(&["render", "a.mp3", "--size", "1280x720"]));
        assert!(!ok(&["serve", "--size", "128x1280"]) && !ok(&["serve", "--size", "721x1280"]) && !ok(&["bench", "glass", "--size", "720x1280"]));
        assert!(!ok(&["serve", "--udp-ports", "9-3"]));
        assert!(!ok(&["serve", "--stdin-pcm", "mp3"]));
    }
}
