//! The native viewer: a WebRTC client that decodes every picture as soon as it is whole, reads its time code, and notes when
//! that was. It shows nothing: what it times ends where a screen would begin.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use openh264::OpenH264API;
use openh264::decoder::{Decoder, DecoderConfig};
use openh264::formats::YUVSource;
use tokio::sync::mpsc::UnboundedReceiver;

use super::code::{self, Code};
use super::emulator::{Emulator, Profile};
use super::quality::{self, Plane};
use super::stand::{Live, Stand, Tap};
use crate::media::opus::OpusDecoder;
use crate::media::picture::{ColourMatrix, Converter, Ground};
use crate::rtc::client::{Client, Received};

/// One picture as it was seen.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    pub code: Code,
    /// The last of its packets came.
    pub arrived: Instant,
    /// It was decoded and could be shown.
    pub at: Instant,
    /// Mean change of luma since the picture before, outside the code; 0 for the first.
    pub change: f64,
}

/// What a viewer has seen so far.
#[derive(Clone, Debug, Default)]
pub struct Board {
    pub seen: Vec<Seen>,
    /// Access units and sound packets that came.
    pub units: Vec<(u32, Instant)>,
    pub sounds: Vec<Instant>,
    /// When a click was heard in the decoded sound: the arrival of its packet.
    pub heard_clicks: Vec<Instant>,
    /// Times that pictures were given up until the next keyframe.
    pub gaps: u64,
    /// Pictures that did not decode, and those whose code could not be read.
    pub undecoded: u64,
    pub unread: u64,
    /// PSNR in decibels and SSIM of pictures that were kept.
    pub quality: Vec<(f64, f64)>,
    pub bytes: u64,
    pub connected: Option<Instant>,
}

/// How much a viewer does with what comes.
#[derive(Clone)]
pub enum Does {
    /// Counts and times access units: costs next to nothing.
    Receives,
    /// Decodes, reads codes, hears clicks; compares with what the tap kept.
    Sees(Arc<Tap>),
}

pub struct Viewer {
    client: Client,
    pub board: Arc<Mutex<Board>>,
    pub relay: Option<Emulator>,
}

/// The colour behind the avatar, as sessions have it by default.
const BACKGROUND: [u8; 3] = [0x1b, 0x18, 0x30];

impl Viewer {
    /// Joins a session.
    ///
    /// # Errors
    /// If it is not let in or no packet comes.
    pub async fn join(stand: &Stand, live: &Live, profile: &Profile, seed: u64, does: Does) -> anyhow::Result<Self> {
        let (client, received) = Client::offer().await?;
        let (answer, relay) = stand.watch(&live.whep, &client.offer, profile, seed).await?;
        let board = Arc::<Mutex<Board>>::default();
        let out = board.clone();
        match does {
            Does::Receives => {
                tokio::spawn(receive(received, out));
            }
            Does::Sees(tap) => {
                live.tap.keep_pictures();
                std::thread::Builder::new().name("viewer".into()).spawn(move || {
                    if let Err(error) = see(received, &out, &tap) {
                        tracing::warn!(%error, "the native viewer ended");
                    }
                })?;
            }
        }
        client.accept(answer).await?;
        let viewer = Self { client, board, relay };
        let start = Instant::now();
        while viewer.board().units.is_empty() {
            if start.elapsed() > Duration::from_secs(15) {
                bail!("the native viewer got no picture in 15 s; connected: {}", viewer.board().connected.is_some());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(viewer)
    }

    /// What it has seen so far.
    pub fn board(&self) -> Board {
        self.board.lock().expect("no panic while held").clone()
    }

    pub async fn leave(self) -> Board {
        let board = self.board();
        self.client.close().await;
        board
    }
}

async fn receive(mut received: UnboundedReceiver<Received>, board: Arc<Mutex<Board>>) {
    while let Some(item) = received.recv().await {
        let mut board = board.lock().expect("no panic while held");
        match item {
            Received::Picture { data, timestamp, last_at, .. } => {
                board.bytes += data.len() as u64;
                board.units.push((timestamp, last_at));
            }
            Received::Sound { at, .. } => board.sounds.push(at),
            Received::Gap => board.gaps += 1,
            Received::Connected => board.connected = Some(Instant::now()),
        }
    }
}

/// Decoded pictures, one after the other.
struct Eye {
    decoder: Decoder,
    converter: Converter,
    before: Vec<u8>,
}

/// Every fourth pixel both ways, outside the code.
fn change(luma: &[u8], stride: usize, (width, height): (usize, usize), before: &mut Vec<u8>) -> f64 {
    let (code_width, code_height) = code::block(width);
    let now: Vec<u8> = (0..height)
        .step_by(4)
        .flat_map(|y| (0..width).step_by(4).map(move |x| (x, y)))
        .filter(|(x, y)| *x >= code_width || *y >= code_height)
        .map(|(x, y)| luma[y * stride + x])
        .collect();
    let sum: u64 = now.iter().zip(before.iter()).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    let mean = sum as f64 / before.len().max(1) as f64;
    *before = now;
    mean
}

fn see(mut received: UnboundedReceiver<Received>, board: &Mutex<Board>, tap: &Tap) -> anyhow::Result<()> {
    let decoder = Decoder::with_api_config(OpenH264API::from_source(), DecoderConfig::new()).context("no H.264 decoder")?;
    let mut eye = Eye { decoder, converter: Converter::default(), before: Vec::new() };
    let mut ear = OpusDecoder::new()?;
    let mut last_click = None::<Instant>;
    let lock = || board.lock().expect("no panic while held");
    while let Some(item) = received.blocking_recv() {
        match item {
            Received::Connected => lock().connected = Some(Instant::now()),
            Received::Gap => lock().gaps += 1,
            Received::Sound { data, at, .. } => {
                let loud = ear.decode(&data)?.iter().any(|s| s.abs() > 0.5);
                let mut board = lock();
                board.sounds.push(at);
                if loud && last_click.is_none_or(|last| at - last > Duration::from_millis(60)) {
                    last_click = Some(at);
                    board.heard_clicks.push(at);
                }
            }
            Received::Picture { data, timestamp, last_at, .. } => {
                let seen = eye.look(&data, last_at, tap);
                let mut board = lock();
                board.bytes += data.len() as u64;
                board.units.push((timestamp, last_at));
                match seen {
                    Look::Seen(seen, quality) => {
                        board.seen.push(seen);
                        board.quality.extend(quality);
                    }
                    Look::Undecoded => board.undecoded += 1,
                    Look::Unread => board.unread += 1,
                }
            }
        }
    }
    Ok(())
}

enum Look {
    Seen(Seen, Option<(f64, f64)>),
    Undecoded,
    Unread,
}

impl Eye {
    fn look(&mut self, data: &[u8], arrived: Instant, tap: &Tap) -> Look {
        let Ok(Some(picture)) = self.decoder.decode(data) else { return Look::Undecoded };
        let at = Instant::now();
        let ((width, height), stride, luma) = (picture.dimensions(), picture.strides().0, picture.y());
        let first = self.before.is_empty();
        let change = change(luma, stride, (width, height), &mut self.before);
        let Some(code) = Code::read(luma, stride, width) else { return Look::Unread };
        let quality = tap.take_rendered(code.tick).and_then(|rgba| {
            let figure = quality::figure(&rgba, width, code::block(width).1)?;
            let drawn = self.converter.convert(&rgba, width as u32, height as u32, Ground::Colour(BACKGROUND), ColourMatrix::Bt709).ok()?;
            let (a, b) = (Plane { luma, stride }, Plane { luma: &drawn.y, stride: width });
            Some((quality::psnr_db(a, b, figure), quality::ssim(a, b, figure)))
        });
        Look::Seen(Seen { code, arrived, at, change: if first { 0.0 } else { change } }, quality)
    }
}
