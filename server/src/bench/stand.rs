//! The test stand: a whole server in this process, reached over HTTP and UDP like any other, whose dancers mark their
//! pictures with the time code and note what they heard; and a feeder that plays a clip into it as a sound card would.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Parser;
use futures_util::StreamExt;
use odori_engine::avatar::Expression;
use odori_engine::ladder::Budget;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};

use super::code::Code;
use super::emulator::{self, Emulator, Profile};
use crate::cli::{Cli, Command};
use crate::commands::serve;
use crate::dancer;
use crate::engine::Machine;
use crate::live::{Costume, DanceSettings, Dancer, Engine, LiveError, LiveFrame, Scene, Wardrobe};
use crate::session::queue::SoundQueue;
use crate::session::sound::LIVE_ROOM;

/// Samples a second of what the dancer hears, and of a frame.
pub const MODEL_HZ: f64 = 24_000.0;
pub const TICK_SAMPLES: u64 = 800;
pub const FRAME_MS: f64 = 1000.0 / 30.0;
/// Samples a second of what is played in, stereo.
const LISTEN_HZ: f64 = 48_000.0;
/// The loudest that the clip may be between clicks, and how loud the dancer must hear something to call it a click.
const CLIP_PEAK: f32 = 0.3;
const CLICK_HEARD: f32 = 0.6;
/// Clicks follow each other by more than this, in samples of the dancer's.
const CLICK_APART: u64 = 1200;
/// Every this many frames one is kept for comparing what is seen with what was drawn.
const KEEP_EVERY: u64 = 10;
const KEPT: usize = 8;

/// What a marked dancer tells the meter.
#[derive(Default)]
pub struct Tap {
    heard: Mutex<Heard>,
    rendered: Mutex<VecDeque<(u32, Vec<u8>)>>,
    /// Samples and keypoints of every frame, if they are kept.
    danced: Mutex<Option<Vec<Danced>>>,
    /// Whether pictures are kept at all.
    keep: std::sync::atomic::AtomicBool,
    /// Samples of its newest frame.
    pub newest: AtomicU64,
}

/// Where a body was: samples of the frame, and its keypoints.
pub type Danced = (u64, Vec<[f64; 2]>);

#[derive(Default)]
struct Heard {
    /// Sample at which each click came.
    clicks: Vec<u64>,
}

impl Tap {
    pub fn clicks(&self) -> Vec<u64> {
        self.heard.lock().expect("no panic while held").clicks.clone()
    }

    pub fn keep_dance(&self) {
        self.danced.lock().expect("no panic while held").get_or_insert_default();
    }

    /// The frames since it was to be kept, but for those taken already.
    pub fn take_dance(&self) -> Vec<Danced> {
        self.danced.lock().expect("no panic while held").as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub fn keep_pictures(&self) {
        self.keep.store(true, Ordering::Relaxed);
    }

    /// The picture drawn for frame `tick`, premultiplied RGBA, if it was kept.
    pub fn take_rendered(&self, tick: u32) -> Option<Vec<u8>> {
        let mut kept = self.rendered.lock().expect("no panic while held");
        while kept.front().is_some_and(|(t, _)| *t < tick) {
            kept.pop_front();
        }
        kept.pop_front_if(|(t, _)| *t == tick).map(|(_, rgba)| rgba)
    }
}

/// A dancer whose pictures carry the time code.
pub struct Marked {
    inner: Box<dyn Dancer>,
    tap: Arc<Tap>,
    heard: u64,
    clicks: u8,
    last_click: Option<u64>,
    rgba: Vec<u8>,
}

impl Marked {
    pub fn new(inner: Box<dyn Dancer>, tap: Arc<Tap>) -> Self {
        Self { inner, tap, heard: 0, clicks: 0, last_click: None, rgba: Vec::new() }
    }
}

impl Dancer for Marked {
    fn push_audio(&mut self, mono: &[f32]) -> usize {
        let taken = self.inner.push_audio(mono);
        for (n, sample) in mono[..taken].iter().enumerate() {
            let at = self.heard + n as u64;
            if sample.abs() > CLICK_HEARD && self.last_click.is_none_or(|last| at > last + CLICK_APART) {
                self.last_click = Some(at);
                self.clicks = self.clicks.wrapping_add(1);
                self.tap.heard.lock().expect("no panic while held").clicks.push(at);
            }
        }
        self.heard += taken as u64;
        taken
    }

    fn next_frame(&mut self, draw: bool) -> Result<Option<LiveFrame<'_>>, LiveError> {
        let Some(frame) = self.inner.next_frame(draw)? else { return Ok(None) };
        let tick = (frame.media_samples / TICK_SAMPLES) as u32 & 0xff_ffff;
        self.tap.newest.store(frame.media_samples, Ordering::Relaxed);
        if let Some(danced) = self.tap.danced.lock().expect("no panic while held").as_mut() {
            danced.push((frame.media_samples, frame.keypoints.iter().map(|k| [f64::from(k.position.x), f64::from(k.position.y)]).collect()));
        }
        self.rgba.clear();
        self.rgba.extend_from_slice(frame.rgba);
        if !self.rgba.is_empty() {
            Code { tick, clicks: self.clicks }.draw(&mut self.rgba, frame.width as usize);
            if self.tap.keep.load(Ordering::Relaxed) && u64::from(tick).is_multiple_of(KEEP_EVERY) {
                let mut kept = self.tap.rendered.lock().expect("no panic while held");
                let mut buffer = if kept.len() == KEPT { kept.pop_front().map(|(_, b)| b).unwrap_or_default() } else { Vec::new() };
                buffer.clone_from(&self.rgba);
                kept.push_back((tick, buffer));
            }
        }
        Ok(Some(LiveFrame { rgba: &self.rgba, ..frame }))
    }

    fn set(&mut self, settings: &DanceSettings) {
        self.inner.set(settings);
    }

    fn set_scene(&mut self, scene: &Scene) {
        self.inner.set_scene(scene);
    }

    fn wardrobe(&self) -> Box<dyn Wardrobe> {
        self.inner.wardrobe()
    }

    fn wear(&mut self, costume: Costume) -> Costume {
        self.inner.wear(costume)
    }

    fn set_horizon(&mut self, horizon: Duration) {
        self.inner.set_horizon(horizon);
    }

    fn set_face(&mut self, face: Option<Expression>) {
        self.inner.set_face(face);
    }

    fn set_budget(&mut self, budget: Budget) {
        self.inner.set_budget(budget);
    }

    fn fared(&mut self, age: Option<Duration>) {
        self.inner.fared(age);
    }

    fn discontinuity(&mut self) {
        self.inner.discontinuity();
    }
}

/// The server under test.
pub struct Stand {
    pub base: String,
    pub http: reqwest::Client,
    sound: Arc<SoundQueue>,
    taps: Arc<Mutex<Vec<Arc<Tap>>>>,
    end: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Drop for Stand {
    fn drop(&mut self) {
        if let Some(end) = self.end.take() {
            let _ = end.send(());
        }
    }
}

/// A session of the stand's, as JSON from the server.
pub struct Live {
    pub url: String,
    pub whep: String,
    pub events: String,
    /// The dancer's, from when the session was started.
    pub tap: Arc<Tap>,
}

impl Stand {
    /// Serves the real engine, pictures of `side` pixels a side.
    ///
    /// # Errors
    /// If the engine or the server cannot be set up.
    pub async fn open(machine: Arc<Machine>, side: u32, max_sessions: usize) -> anyhow::Result<Self> {
        Self::open_with(machine, side, max_sessions, &[]).await
    }

    /// The same, with these songs besides the built-in one.
    ///
    /// # Errors
    /// If the engine or the server cannot be set up, or a song not be read.
    pub async fn open_with(machine: Arc<Machine>, side: u32, max_sessions: usize, songs: &[PathBuf]) -> anyhow::Result<Self> {
        let engine = dancer::engine(machine, &[], songs, (side, side))?;
        Self::serve(engine, max_sessions).await
    }

    /// Serves any engine.
    ///
    /// # Errors
    /// If the server cannot be set up.
    pub async fn serve(engine: Engine, max_sessions: usize) -> anyhow::Result<Self> {
        let taps = Arc::new(Mutex::new(Vec::new()));
        let mark = taps.clone();
        let engine = engine.wrapped(move |inner| {
            let tap = Arc::<Tap>::default();
            mark.lock().expect("no panic while held").push(tap.clone());
            Box::new(Marked::new(inner, tap))
        });
        let max_sessions = max_sessions.to_string();
        let words = ["odori", "serve", "--port", "0", "--udp-ports", "48000-48400", "--max-viewers", "64", "--max-sessions", &max_sessions];
        let Command::Serve(args) = Cli::try_parse_from(words)?.command else { bail!("the words begin with serve") };
        let sound = Arc::new(SoundQueue::new(LIVE_ROOM));
        let server = serve::open_with(Arc::new(engine), &args, Some(sound.clone())).await?;
        let base = format!("http://{}", server.address);
        let (end, ended) = tokio::sync::oneshot::channel();
        tokio::spawn(server.serve(async {
            let _ = ended.await;
        }));
        Ok(Self { base, http: reqwest::Client::new(), sound, taps, end: Some(end) })
    }

    async fn call(&self, request: reqwest::RequestBuilder, what: &str) -> anyhow::Result<Value> {
        let response = request.send().await.with_context(|| what.to_owned())?;
        let (status, text) = (response.status(), response.text().await?);
        if !status.is_success() {
            bail!("{what}: {status}: {text}");
        }
        Ok(serde_json::from_str(&text).unwrap_or_default())
    }

    /// A session with this source, not yet started.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn session(&self, source: Value, seed: u64) -> anyhow::Result<Value> {
        let body = json!({ "seed": seed as u32, "energy": 0.7, "style": 0 });
        let session = self.call(self.http.post(format!("{}/api/sessions", self.base)).json(&body), "making a session").await?;
        let url = format!("{}/api/sessions/{}", self.base, session["id"].as_str().unwrap_or_default());
        self.call(self.http.put(format!("{url}/source")).json(&source), "choosing the sound").await
    }

    /// Starts it.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn start(&self, session: &Value) -> anyhow::Result<Live> {
        let word = |key: &str| format!("{}{}", self.base, session[key].as_str().unwrap_or_default());
        let url = format!("{}/api/sessions/{}", self.base, session["id"].as_str().unwrap_or_default());
        self.call(self.http.post(format!("{url}/start")), "starting the session").await?;
        let tap = self.taps.lock().expect("no panic while held").last().cloned().context("a live session has a dancer")?;
        Ok(Live { url, whep: word("whep"), events: word("events"), tap })
    }

    /// Plays a clip to the session whose source is `stdin`.
    pub fn feed(&self, clip: &Clip) -> Feeder {
        Feeder::start(self.sound.clone(), clip)
    }

    /// Sends a WHEP offer to `whep`, through an emulator if the profile has one; gives the answer.
    ///
    /// # Errors
    /// If the server refuses.
    pub async fn watch(&self, whep: &str, offer: &str, profile: &Profile, seed: u64) -> anyhow::Result<(String, Option<Emulator>)> {
        let offer = if profile.link.is_some() { emulator::without_candidates(offer) } else { offer.to_owned() };
        let request = self.http.post(format!("{whep}?codec=h264")).header("content-type", "application/sdp").body(offer);
        let response = request.send().await.context("sending the offer")?;
        let (status, answer) = (response.status(), response.text().await?);
        if !status.is_success() {
            bail!("the offer was refused: {status}: {answer}");
        }
        let Some(link) = profile.link else { return Ok((answer, None)) };
        let server = emulator::first_candidate(&answer).context("the answer names no UDP address")?;
        let relay = Emulator::start(link, seed, server)?;
        Ok((emulator::with_candidate(&answer, relay.address()), Some(relay)))
    }

    /// Ends a session, and its viewers with it.
    pub async fn close(&self, live: &Live) {
        let _ = self.http.delete(&live.url).send().await;
    }

    /// Follows a session's status until it ends; the list grows by twelve a second.
    pub fn follow(&self, live: &Live) -> Arc<Mutex<Vec<Value>>> {
        let statuses = Arc::new(Mutex::new(Vec::new()));
        let (out, request) = (statuses.clone(), self.http.get(&live.events));
        tokio::spawn(async move {
            let Ok(response) = request.send().await else { return };
            let mut stream = response.bytes_stream();
            let mut text = String::new();
            while let Some(Ok(bytes)) = stream.next().await {
                text.push_str(&String::from_utf8_lossy(&bytes));
                while let Some(end) = text.find("\n\n") {
                    let event: String = text.drain(..end + 2).collect();
                    let data = event.lines().find_map(|l| l.strip_prefix("data:"));
                    if let Some(status) = data.and_then(|d| serde_json::from_str(d.trim()).ok()) {
                        out.lock().expect("no panic while held").push(status);
                    }
                }
            }
        });
        statuses
    }
}

/// Sound to play in, and where in it things happen.
pub struct Clip {
    /// 48 kHz, interleaved.
    stereo: Arc<Vec<f32>>,
    /// Frames at 48 kHz.
    pub clicks: Vec<usize>,
    /// Where music begins (`true`) and stops (`false`), frames at 48 kHz.
    pub turns: Vec<(usize, bool)>,
}

/// The built-in song, 48 kHz stereo, as loud as the clip may be.
fn song(seconds: f64) -> anyhow::Result<Vec<f32>> {
    let wanted = (seconds * LISTEN_HZ) as usize * 2;
    let (mut listen, mut model) = (Vec::new(), Vec::new());
    while listen.len() < wanted {
        let mut reader = crate::commands::open_song(std::path::Path::new("-"))?;
        while listen.len() < wanted && reader.next_into(&mut listen, &mut model)? {}
        model.clear();
    }
    listen.truncate(wanted);
    let peak = listen.iter().fold(1e-6f32, |a, s| a.max(s.abs()));
    listen.iter_mut().for_each(|s| *s *= CLIP_PEAK / peak);
    Ok(listen)
}

impl Clip {
    /// The built-in song with a click every 200 to 300 ms, where the seed says.
    ///
    /// # Errors
    /// If the song cannot be read.
    pub fn clicks(seconds: f64, seed: u64) -> anyhow::Result<Self> {
        let mut stereo = song(seconds)?;
        let mut random = StdRng::seed_from_u64(seed);
        let mut clicks = Vec::new();
        let mut at = 24_000;
        while at + 4800 < stereo.len() / 2 {
            // A sixth of a millisecond: short beside a frame, and long enough to pass the dancer's resampler whole.
            for s in &mut stereo[at * 2..(at + 8) * 2] {
                *s = 0.95;
            }
            clicks.push(at);
            at += random.random_range(9_600..14_400);
        }
        Ok(Clip { stereo: Arc::new(stereo), clicks, turns: Vec::new() })
    }

    /// Music and silence by turns, `cycles` times; each a length that the seed chooses, so that no beat of ours helps. A
    /// click marks the first sample, so that this clip too can be placed in time.
    ///
    /// # Errors
    /// If the song cannot be read.
    pub fn turns(cycles: usize, seed: u64) -> anyhow::Result<Self> {
        let mut random = StdRng::seed_from_u64(seed);
        // From the groove on: the intro is thin.
        let music = song(8.0 + 4.0 * cycles as f64 + 1.0)?.split_off(2 * 48_000 * 8);
        let (mut stereo, mut turns, mut used) = (vec![0.0; 96_000 * 3], Vec::new(), 0);
        for s in &mut stereo[96_000..96_016] {
            *s = 0.95;
        }
        for _ in 0..cycles {
            let length = random.random_range(120_000..160_000) * 2;
            turns.push((stereo.len() / 2, true));
            stereo.extend_from_slice(&music[used..(used + length).min(music.len())]);
            used += length;
            turns.push((stereo.len() / 2, false));
            stereo.resize(stereo.len() + random.random_range(120_000..160_000) * 2, 0.0);
        }
        Ok(Clip { stereo: Arc::new(stereo), clicks: vec![48_000], turns })
    }

    pub fn seconds(&self) -> f64 {
        self.stereo.len() as f64 / 2.0 / LISTEN_HZ
    }
}

/// Plays a clip in blocks of 10 ms, each when its last sample has sounded.
pub struct Feeder {
    start: Instant,
    late: Arc<AtomicU64>,
    over: Arc<std::sync::atomic::AtomicBool>,
}

impl Feeder {
    fn start(queue: Arc<SoundQueue>, clip: &Clip) -> Self {
        let start = Instant::now() + Duration::from_millis(20);
        let (late, over) = (Arc::<AtomicU64>::default(), Arc::<std::sync::atomic::AtomicBool>::default());
        let (stereo, worst, ended) = (clip.stereo.clone(), late.clone(), over.clone());
        std::thread::Builder::new()
            .name("feeder".into())
            .spawn(move || {
                for (n, block) in stereo.chunks(960).enumerate() {
                    let due = start + Duration::from_millis(10) * (n as u32 + 1);
                    std::thread::sleep(due.saturating_duration_since(Instant::now()));
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    worst.fetch_max(due.elapsed().as_micros() as u64, Ordering::Relaxed);
                    queue.push(block);
                }
            })
            .expect("a thread can be started");
        Self { start, late, over }
    }

    /// When frame `n` of the clip sounded.
    pub fn sounded(&self, n: usize) -> Instant {
        self.start + Duration::from_secs_f64(n as f64 / LISTEN_HZ)
    }

    /// The longest that a block came late, in milliseconds: the meter's own fault, found in the figures.
    pub fn worst_ms(&self) -> f64 {
        self.late.load(Ordering::Relaxed) as f64 / 1e3
    }
}

impl Drop for Feeder {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Clicks heard (samples of the dancer's) with those played (frames of the clip). Their distances tell which is which, so a click
/// that was lost, with sound that an overfull queue gave up, does not shift the rest.
fn pair(heard: &[u64], played: &[usize]) -> Vec<(u64, usize)> {
    let mut pairs: Vec<(u64, usize)> = Vec::new();
    let mut next = 0;
    for &at in heard {
        let Some(&(last_at, last_played)) = pairs.last() else {
            pairs.extend(played.first().map(|p| (at, *p)));
            next = 1;
            continue;
        };
        let off = |p: usize| (at - last_at).abs_diff((p - last_played) as u64 / 2);
        let Some((n, best)) = played.iter().enumerate().skip(next).take(6).map(|(n, p)| (n, off(*p))).min_by_key(|(_, off)| *off) else { break };
        if best < CLICK_APART {
            pairs.push((at, played[n]));
            next = n + 1;
        }
    }
    pairs
}

/// When the sound of each frame was played in: made of the clicks, which the dancer heard at a sample and the feeder played at
/// an instant.
pub struct SoundTimes {
    /// Sample of the dancer's, and when it sounded.
    known: Vec<(u64, Instant)>,
}

impl SoundTimes {
    /// # Errors
    /// If the dancer heard no click that was played.
    pub fn new(clip: &Clip, feeder: &Feeder, tap: &Tap) -> anyhow::Result<Self> {
        let pairs = pair(&tap.clicks(), &clip.clicks);
        if pairs.is_empty() {
            bail!("the dancer heard no click: the meter is broken");
        }
        Ok(Self { known: pairs.into_iter().map(|(heard, played)| (heard, feeder.sounded(played))).collect() })
    }

    /// When the newest sound that frame `tick` can show was played in; `None` before the first click.
    pub fn of_tick(&self, tick: u32) -> Option<Instant> {
        let sample = u64::from(tick) * TICK_SAMPLES;
        let (at, when) = *self.known[..self.known.partition_point(|(at, _)| *at <= sample)].last()?;
        Some(when + Duration::from_secs_f64((sample - at) as f64 / MODEL_HZ))
    }

    /// The clicks: number modulo 256 as the picture counts them, and when they sounded.
    pub fn clicks(&self) -> impl Iterator<Item = (usize, Instant)> + '_ {
        self.known.iter().enumerate().map(|(n, (_, when))| (n, *when))
    }
}

/// The built-in song's own beats, in seconds.
pub fn song_beats() -> Vec<f64> {
    let words: Value = serde_json::from_str(include_str!("../../../assets/song/odori-groove.json")).unwrap_or_default();
    let period = 60.0 / words["bpm"].as_f64().unwrap_or(122.0);
    (0..).map(|n| f64::from(n) * period).take_while(|t| *t < 600.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clicks_are_paired_though_one_was_lost_and_sound_was_dropped() {
        let clip = Clip::clicks(20.0, 5).unwrap();
        let all: Vec<u64> = clip.clicks.iter().map(|c| *c as u64 / 2 + 700).collect();
        let exact = pair(&all, &clip.clicks);
        assert_eq!(exact.len(), clip.clicks.len());
        assert!(exact.iter().zip(&clip.clicks).all(|(p, c)| p.1 == *c));
        // From the tenth on 30 ms earlier, the tenth itself lost.
        let dropped: Vec<u64> = all.iter().enumerate().filter(|(n, _)| *n != 10).map(|(n, c)| if n > 10 { c - 720 } else { *c }).collect();
        let found = pair(&dropped, &clip.clicks);
        assert_eq!(found.len(), all.len() - 1);
        assert_eq!(found[10], (all[11] - 720, clip.clicks[11]));
        assert!(pair(&[], &clip.clicks).is_empty());
    }

    #[test]
    fn one_seed_is_one_clip() {
        let (a, b, c) = (Clip::clicks(5.0, 1).unwrap(), Clip::clicks(5.0, 1).unwrap(), Clip::clicks(5.0, 2).unwrap());
        assert_eq!((&a.clicks, &a.stereo), (&b.clicks, &b.stereo));
        assert_ne!(a.clicks, c.clicks);
        let between = a.stereo[..47_990].iter().fold(0.0f32, |m, s| m.max(s.abs()));
        assert!(between <= CLIP_PEAK + 1e-6, "no music is taken for a click");
    }
}
