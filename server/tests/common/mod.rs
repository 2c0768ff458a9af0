//! A stand-in engine for tests: a disc that circles with the media time, and a sine to dance to. Never shipped.
#![allow(dead_code, reason = "each test file uses its own part")]

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use clap::Parser;
use odori_server::cli::{Cli, Command, ServeArgs};
use odori_server::commands::serve;
use odori_engine::avatar::Expression;
use odori_engine::ladder::{Budget, Rung};
use odori_engine::pose::Pose;
use odori_server::built_in;
use odori_server::live::{AvatarEntry, Beat, Cast, Costume, DanceSettings, Dancer, DancerRequest, Engine, LiveError, LiveFrame, Scene, SongEntry, Wardrobe};
use odori_server::measure::{Span, Stage};

pub const SIZE: u32 = 128;
const TICK: u64 = 800;

struct Pattern {
    heard: u64,
    ticks: u64,
    rgba: Vec<u8>,
    pose: Pose,
    spans: Vec<Span>,
    fail: Arc<AtomicBool>,
}

impl Dancer for Pattern {
    fn push_audio(&mut self, mono: &[f32]) -> usize {
        let room = ((self.ticks + 1) * TICK - self.heard) as usize;
        let taken = mono.len().min(room);
        self.heard += taken as u64;
        taken
    }

    fn next_frame(&mut self, draw: bool) -> Result<Option<LiveFrame<'_>>, LiveError> {
        if self.heard < (self.ticks + 1) * TICK {
            return Ok(None);
        }
        self.ticks += 1;
        if self.fail.load(Ordering::Relaxed) {
            panic!("the dancer fell");
        }
        self.rgba.clear();
        self.spans.clear();
        let began = Instant::now();
        if draw {
            let angle = self.ticks as f32 * 0.1;
            let (cx, cy) = (64.0 + 35.0 * angle.cos(), 64.0 + 35.0 * angle.sin());
            for y in 0..SIZE {
                for x in 0..SIZE {
                    let inside = (x as f32 - cx).hypot(y as f32 - cy) < 20.0;
                    self.rgba.extend(if inside { [240, 160, 40, 255] } else { [0; 4] });
                }
            }
        }
        self.spans.push(Span { stage: Stage::Puppet, began, cost: began.elapsed() });
        let beat = Beat { bpm: 120.0, beat_phase: (self.ticks % 15) as f32 / 15.0, bar_phase: (self.ticks % 60) as f32 / 60.0, confidence: 0.9 };
        Ok(Some(LiveFrame {
            rgba: &self.rgba,
            ground: &[],
            width: if draw { SIZE } else { 0 },
            height: if draw { SIZE } else { 0 },
            media_samples: self.ticks * TICK,
            beat,
            rung: Rung::OneStep,
            pose: &self.pose,
            face: Expression::default(),
            keypoints: &[],
            spans: &self.spans,
        }))
    }

    fn set(&mut self, _settings: &DanceSettings) {}
    fn set_scene(&mut self, _scene: &Scene) {}
    fn wardrobe(&self) -> Box<dyn Wardrobe> {
        Box::new(Plain)
    }
    fn wear(&mut self, costume: Costume) -> Costume {
        costume
    }
    fn set_horizon(&mut self, _horizon: Duration) {}
    fn set_face(&mut self, _face: Option<Expression>) {}
    fn set_budget(&mut self, _budget: Budget) {}
    fn fared(&mut self, _age: Option<Duration>) {}
    fn discontinuity(&mut self) {}
}

/// A pattern has nothing to change into.
struct Plain;

impl Wardrobe for Plain {
    fn fit(&mut self, _cast: &Cast) -> Result<Costume, LiveError> {
        // Longer than the dance could wait.
        std::thread::sleep(Duration::from_millis(400));
        Ok(Box::new(()))
    }
}

/// A 440 Hz sine, 48 kHz stereo.
pub fn wav(seconds: f32) -> Bytes {
    let frames = (seconds * 48_000.0) as u32;
    let mut file = Vec::new();
    file.extend(b"RIFF");
    file.extend((36 + frames * 4).to_le_bytes());
    file.extend(b"WAVEfmt ");
    file.extend(16u32.to_le_bytes());
    file.extend([1, 0, 2, 0]);
    file.extend(48_000u32.to_le_bytes());
    file.extend(192_000u32.to_le_bytes());
    file.extend([4, 0, 16, 0]);
    file.extend(b"data");
    file.extend((frames * 4).to_le_bytes());
    for i in 0..frames {
        let s = ((f64::from(i) * std::f64::consts::TAU * 440.0 / 48_000.0).sin() * 8000.0) as i16;
        file.extend(s.to_le_bytes());
        file.extend(s.to_le_bytes());
    }
    file.into()
}

/// The engine, and a switch that makes its dancers panic.
pub fn engine() -> (Arc<Engine>, Arc<AtomicBool>) {
    let fail = Arc::new(AtomicBool::new(false));
    let switch = fail.clone();
    let make = move |_: &DancerRequest| -> Result<Box<dyn Dancer>, LiveError> {
        Ok(Box::new(Pattern { heard: 0, ticks: 0, rgba: Vec::new(), pose: Pose::default(), spans: Vec::new(), fail: switch.clone() }))
    };
    let import = |name: &str, bytes: &[u8]| {
        if bytes.starts_with(b"\x89PNG") {
            Ok(AvatarEntry { id: "mine".into(), name: name.into(), picture: Bytes::copy_from_slice(bytes), file: Bytes::new(), uploaded: false, back: false })
        } else if let Ok(avatar) = built_in::read_avatar(bytes) {
            built_in::entry("real", "Real", &avatar).map_err(|e| LiveError(e.to_string()))
        } else {
            Err(LiveError("this is not a picture; use PNG, JPEG or WebP".into()))
        }
    };
    let avatar = AvatarEntry { id: "disc".into(), name: "Disc".into(), picture: Bytes::from_static(b"\x89PNG"), file: Bytes::new(), uploaded: false, back: false };
    let song = SongEntry { id: "sine".into(), title: "Sine".into(), seconds: 5.0, file: wav(5.0) };
    let engine = Engine::new(vec![avatar], vec![song], vec!["any".into(), "other".into()], (SIZE, SIZE), Box::new(make), Box::new(import));
    (Arc::new(engine), fail)
}

pub fn args(words: &[&str]) -> ServeArgs {
    let mut all = vec!["odori", "serve", "--udp-ports", "42000-42255"];
    if !words.contains(&"--port") {
        all.extend(["--port", "0"]);
    }
    all.extend(words);
    match Cli::parse_from(all).command {
        Command::Serve(args) => args,
        _ => unreachable!("the words begin with serve"),
    }
}

pub struct Running {
    pub base: String,
    pub fail: Arc<AtomicBool>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
    }
}

/// A server on a free port, until dropped.
pub async fn serve(words: &[&str]) -> Running {
    let (engine, fail) = engine();
    let server = serve::open(engine, &args(words)).await.unwrap();
    assert_eq!(server.address.ip(), IpAddr::V4(Ipv4Addr::LOCALHOST));
    let base = format!("http://{}", server.address);
    let (end, ended) = tokio::sync::oneshot::channel();
    tokio::spawn(server.serve(async {
        let _ = ended.await;
    }));
    Running { base, fail, end: Some(end) }
}

/// POSTs JSON, checks the status, gives the answer.
pub async fn post(url: &str, body: serde_json::Value, expect: u16) -> serde_json::Value {
    let response = reqwest::Client::new().post(url).json(&body).send().await.unwrap();
    let status = response.status().as_u16();
    let text = response.text().await.unwrap();
    assert_eq!(status, expect, "{url}: {text}");
    serde_json::from_str(&text).unwrap_or_default()
}
