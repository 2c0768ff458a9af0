//! The thread that owns a session's pipeline: paces its sound, makes its frames, encodes each once for all who
//! share a setting, and hands them on. Nothing on it ever waits for a viewer.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use odori_engine::audio::Song;
use odori_engine::avatar::Avatar;
use odori_engine::pipeline::{FRAME_RATE, Pipeline, SAMPLE_RATE, Settings, Stage, TICK_SAMPLES};
use tokio::sync::{broadcast, watch};

use crate::engine::Engine;
use crate::intake::LiveSound;
use crate::media::picture::Ground;
use crate::media::video::{VideoCodec, VideoEncoder};
use crate::rtc::{AudioPacket, Feed, VideoPacket};
use crate::sound::SoundThread;
use crate::stats::{Counters, Stats, Status};

/// Frames a viewer may be behind before the oldest is dropped.
const VIDEO_QUEUE: usize = 3;
/// Packets of 20 ms.
const AUDIO_QUEUE: usize = 16;
const COMMAND_QUEUE: usize = 64;
/// A session this far behind its clock starts its clock anew instead of catching up.
const HOPELESS: Duration = Duration::from_millis(500);
/// Longer than this behind, a frame's picture is skipped so that the next one is on time.
const LATE: Duration = Duration::from_millis(30);
/// For sound heard in the room, the picture's further way: jitter buffer, decoding, display.
const VIEWER_TIME: Duration = Duration::from_millis(40);
const TICK: Duration = Duration::from_nanos(1_000_000_000 * TICK_SAMPLES / SAMPLE_RATE as u64);

/// What plays.
#[derive(Clone)]
pub enum Source {
    Silence,
    Song { song: Arc<Song>, looping: bool },
    /// Sound that arrives from outside; its samples are the clock.
    Live(Arc<LiveSound>),
}

/// A source on the session's clock: media sample `start` sounds at `anchor`.
#[derive(Clone)]
pub struct Play {
    pub source: Source,
    pub start: u64,
    pub anchor: Instant,
}

pub enum Command {
    Play(Source),
    Settings(LiveSettings),
    Avatar(Arc<Avatar>),
    /// A viewer came: wakes a resting session.
    Wake,
    Close,
}

/// Settings of the running session.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LiveSettings {
    pub seed: u32,
    pub energy: f32,
    pub style: u32,
    pub background: [u8; 3],
}

#[derive(Debug, thiserror::Error)]
pub enum LiveError {
    #[error("the session is busy: try again in a moment")]
    Busy,
    #[error("the session has ended")]
    Ended,
}

/// What a viewer receives, encoded once for all who share it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Variant {
    pub codec: VideoCodec,
    /// Colour above matte, for the overlay.
    pub packed: bool,
}

/// What one variant's viewers share.
struct Channel {
    sender: broadcast::Sender<VideoPacket>,
    keyframe: Arc<AtomicBool>,
}

/// The way to a running session from other threads.
pub struct Live {
    commands: SyncSender<Command>,
    channels: HashMap<Variant, Channel>,
    audio: broadcast::Sender<AudioPacket>,
    viewers: Arc<AtomicUsize>,
    pub counters: Arc<Counters>,
    pub status: watch::Receiver<Status>,
    stats: Arc<Mutex<Stats>>,
}

/// Counts one viewer for as long as it lives.
struct Present(Arc<AtomicUsize>);

impl Drop for Present {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Live {
    /// Starts a session's thread; returns once its pipeline stands.
    ///
    /// # Errors
    /// What kept the pipeline from being built.
    pub fn start(engine: &Arc<Engine>, avatar: Arc<Avatar>, settings: LiveSettings, name: &str) -> anyhow::Result<Self> {
        let (commands, inbox) = sync_channel(COMMAND_QUEUE);
        let channels: HashMap<_, _> = [VideoCodec::H264, VideoCodec::Vp8]
            .into_iter()
            .flat_map(|codec| [false, true].map(|packed| Variant { codec, packed }))
            .map(|variant| (variant, Channel { sender: broadcast::channel(VIDEO_QUEUE).0, keyframe: Arc::default() }))
            .collect();
        let (audio, _) = broadcast::channel(AUDIO_QUEUE);
        let (status_tx, status) = watch::channel(Status::default());
        let counters = Arc::new(Counters::default());
        let stats = Arc::new(Mutex::new(Stats::default()));
        let viewers = Arc::new(AtomicUsize::new(0));
        let (ready_tx, ready) = sync_channel(1);
        let thread = {
            let engine = Arc::clone(engine);
            let outlets: Vec<_> =
                channels.iter().map(|(v, c)| Outlet { variant: *v, sender: c.sender.clone(), keyframe: Arc::clone(&c.keyframe), encoder: None }).collect();
            let (audio, counters, stats, viewers) = (audio.clone(), Arc::clone(&counters), Arc::clone(&stats), Arc::clone(&viewers));
            let name = name.to_owned();
            move || {
                let _span = tracing::info_span!("session", id = %name).entered();
                // The pipeline is built where it lives: its drawing device stays on one thread.
                let pipeline = match engine.pipeline(&avatar, engine_settings(settings, Duration::ZERO), true) {
                    Ok(pipeline) => {
                        let _ = ready_tx.send(Ok(()));
                        pipeline
                    }
                    Err(e) => {
                        let _ = ready_tx.send(Err(e));
                        return;
                    }
                };
                let play = Play { source: Source::Silence, start: 0, anchor: Instant::now() };
                let sound = SoundThread::start(audio, play.clone());
                Runner { engine, pipeline, settings, outlets, sound, play, media: 0, viewers, counters, stats, status: status_tx, cost: Duration::from_millis(20), ended: false, fault: None, level: 0.0 }
                    .run(&inbox);
            }
        };
        std::thread::Builder::new().name("odori-session".into()).spawn(thread)?;
        ready.recv().map_err(|_| anyhow::anyhow!("the session's thread ended before it stood"))??;
        Ok(Live { commands, channels, audio, viewers, counters, status, stats })
    }

    /// # Errors
    /// If the session cannot take it now.
    pub fn send(&self, command: Command) -> Result<(), LiveError> {
        self.commands.try_send(command).map_err(|e| match e {
            TrySendError::Full(_) => LiveError::Busy,
            TrySendError::Disconnected(_) => LiveError::Ended,
        })
    }

    /// What a new viewer of this variant receives.
    ///
    /// # Errors
    /// If the session has ended.
    pub fn feed(&self, variant: Variant) -> Result<Feed, LiveError> {
        let channel = &self.channels[&variant];
        self.viewers.fetch_add(1, Ordering::Relaxed);
        let alive = Box::new(Present(Arc::clone(&self.viewers)));
        // Full means that it is awake already.
        if let Err(LiveError::Ended) = self.send(Command::Wake) {
            return Err(LiveError::Ended);
        }
        let (counters, stats) = (Arc::clone(&self.counters), Arc::clone(&self.stats));
        Ok(Feed {
            video: channel.sender.subscribe(),
            audio: self.audio.subscribe(),
            keyframe: Arc::clone(&channel.keyframe),
            dropped: Arc::clone(&self.counters.dropped),
            sent: Arc::new(move |send_ms, total_ms| {
                counters.sent.fetch_add(1, Ordering::Relaxed);
                // Held for a few stores; the session's thread takes it once a frame.
                if let Ok(mut stats) = stats.lock() {
                    stats.send.add(send_ms);
                    stats.total.add(total_ms);
                }
            }),
            alive,
        })
    }

    pub fn viewers(&self) -> usize {
        self.viewers.load(Ordering::Relaxed)
    }
}

impl Drop for Live {
    fn drop(&mut self) {
        let _ = self.commands.try_send(Command::Close);
    }
}

fn engine_settings(s: LiveSettings, horizon: Duration) -> Settings {
    let mut settings = Settings { energy: s.energy, style: s.style, horizon, ..Settings::default() };
    settings.sampling.seed = s.seed;
    settings
}

/// Bits a second that keep line art clean at 30 fps: 4.5 Mbit/s at 512x512, and with the area.
fn bitrate(area: u32) -> u32 {
    (f64::from(area) * 30.0 * 0.57).clamp(500_000.0, 20_000_000.0) as u32
}

struct Outlet {
    variant: Variant,
    sender: broadcast::Sender<VideoPacket>,
    keyframe: Arc<AtomicBool>,
    encoder: Option<VideoEncoder>,
}

/// The session's own thread.
struct Runner {
    engine: Arc<Engine>,
    pipeline: Pipeline,
    settings: LiveSettings,
    outlets: Vec<Outlet>,
    sound: SoundThread,
    play: Play,
    /// Samples of sound given to the pipeline.
    media: u64,
    viewers: Arc<AtomicUsize>,
    counters: Arc<Counters>,
    stats: Arc<Mutex<Stats>>,
    status: watch::Sender<Status>,
    /// Running mean from sound in to picture encoded.
    cost: Duration,
    ended: bool,
    fault: Option<String>,
    level: f32,
}

impl Runner {
    fn run(mut self, inbox: &Receiver<Command>) {
        let mut block = vec![0.0; TICK_SAMPLES as usize];
        loop {
            if self.resting() {
                self.publish();
                match inbox.recv_timeout(Duration::from_secs(1)) {
                    Ok(command) => {
                        if !self.obey(command) {
                            return;
                        }
                        if !self.resting() {
                            self.restart_clock();
                        }
                    }
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => return,
                }
                continue;
            }
            while let Ok(command) = inbox.try_recv() {
                if !self.obey(command) {
                    return;
                }
            }
            let heard_at = self.hear(&mut block);
            self.frame(&block, heard_at);
        }
    }

    /// Nobody watches and nothing plays.
    fn resting(&self) -> bool {
        matches!(self.play.source, Source::Silence) && self.viewers.load(Ordering::Relaxed) == 0
    }

    fn obey(&mut self, command: Command) -> bool {
        match command {
            Command::Play(source) => {
                self.play.source = source;
                self.ended = false;
                self.restart_clock();
            }
            Command::Settings(settings) => {
                self.settings = settings;
                self.tell_pipeline();
            }
            Command::Avatar(avatar) => match self.engine.change_avatar(&mut self.pipeline, &avatar) {
                Ok(()) => self.fault = None,
                Err(e) => {
                    tracing::warn!(error = %e, "the avatar cannot be shown");
                    self.fault = Some(format!("the avatar cannot be shown: {e}"));
                }
            },
            Command::Wake => {}
            Command::Close => return false,
        }
        true
    }

    fn tell_pipeline(&mut self) {
        // A listener hears a song through us, so only our own time must be made up for; sound in the room is heard
        // at once, and the picture's whole way counts.
        let room = if matches!(self.play.source, Source::Live(_)) { VIEWER_TIME } else { Duration::ZERO };
        self.pipeline.settings = engine_settings(self.settings, self.cost + room);
    }

    fn restart_clock(&mut self) {
        self.play.start = self.media;
        self.play.anchor = Instant::now();
        self.sound.play(self.play.clone());
        self.tell_pipeline();
    }

    /// Waits for the next tick's sound and fills `block` with it; says when it came in.
    fn hear(&mut self, block: &mut [f32]) -> Instant {
        if let Source::Live(live) = &self.play.source {
            let (arrived, dropped) = live.take_model(block, TICK + TICK / 4);
            self.counters.sound_dropped.fetch_add(dropped as u64, Ordering::Relaxed);
            return arrived;
        }
        let position = self.media - self.play.start;
        let due = self.play.anchor + Duration::from_secs_f64((position + TICK_SAMPLES) as f64 / f64::from(SAMPLE_RATE));
        let now = Instant::now();
        if now > due + HOPELESS {
            self.counters.restarts.fetch_add(1, Ordering::Relaxed);
            // The song goes on where it is; only the clock moves.
            self.play.anchor += now - due;
            self.sound.play(self.play.clone());
        } else if now < due {
            std::thread::sleep(due - now);
        }
        block.fill(0.0);
        if let Source::Song { song, looping } = &self.play.source {
            let len = song.model.len() as u64;
            if !*looping && position >= len {
                self.ended = true;
                self.play.source = Source::Silence;
                self.restart_clock();
            } else if len > 0 {
                for (i, sample) in block.iter_mut().enumerate() {
                    let at = position + i as u64;
                    let at = if *looping { at % len } else { at };
                    *sample = song.model.get(at as usize).copied().unwrap_or(0.0);
                }
            }
        }
        due.max(now.checked_sub(HOPELESS).unwrap_or(now))
    }

    fn frame(&mut self, block: &[f32], heard_at: Instant) {
        let energy = block.iter().map(|s| s * s).sum::<f32>() / block.len() as f32;
        self.level = energy.max(self.level * 0.8);
        self.media += block.len() as u64;
        let taken = self.pipeline.push_audio(block);
        debug_assert_eq!(taken, block.len());
        let watched = self.outlets.iter().any(|o| o.sender.receiver_count() > 0);
        let late = heard_at.elapsed() > LATE;
        let frame = if watched && !late { self.pipeline.next_frame() } else { self.pipeline.skip_frame() };
        let Some(frame) = frame else { return };
        if watched && late {
            self.counters.late.fetch_add(1, Ordering::Relaxed);
        }
        let start = Instant::now();
        if !frame.rgba.is_empty() {
            for outlet in &mut self.outlets {
                if let Err(e) = outlet.send(&frame, self.settings.background, heard_at) {
                    tracing::error!(error = %e, variant = ?outlet.variant, "encoding");
                    self.fault = Some(e.to_string());
                }
            }
        }
        let encode = start.elapsed();
        if let Ok(mut stats) = self.stats.lock() {
            for (stage, time) in Stage::ALL.iter().zip(frame.timings) {
                // A motion step falls into every second frame: the frames without one say nothing about it.
                if !time.is_zero() {
                    stats.stage(*stage).add(time.as_secs_f64() * 1e3);
                }
            }
            if !frame.rgba.is_empty() {
                stats.encode.add(encode.as_secs_f64() * 1e3);
                stats.frames.add(Instant::now());
                *stats.rungs.entry(frame.rung.name()).or_default() += 1;
            }
            stats.rung = frame.rung.name();
            stats.beat = frame.beat;
        }
        if !frame.rgba.is_empty() {
            let cost = heard_at.elapsed();
            self.cost = self.cost.mul_f64(0.95) + cost.min(Duration::from_millis(100)).mul_f64(0.05);
            self.tell_pipeline();
        }
        if (self.media / TICK_SAMPLES) % u64::from(FRAME_RATE / 15) == 0 {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let Ok(stats) = self.stats.lock() else { return };
        let state = match (&self.play.source, self.ended) {
            (Source::Silence, true) => "ended",
            (Source::Silence, false) => "idle",
            _ => "playing",
        };
        let status = Status::new(&stats, &self.counters, state, self.viewers.load(Ordering::Relaxed), self.level, self.media, self.fault.clone());
        drop(stats);
        self.status.send_replace(status);
    }
}

impl Outlet {
    fn send(&mut self, frame: &odori_engine::pipeline::Frame<'_>, background: [u8; 3], heard_at: Instant) -> Result<(), crate::media::MediaError> {
        if self.sender.receiver_count() == 0 {
            self.encoder = None;
            return Ok(());
        }
        let Variant { codec, packed } = self.variant;
        let encoder = self.encoder.get_or_insert_with(|| {
            let area = frame.width * frame.height * if packed { 2 } else { 1 };
            VideoEncoder::new(codec, bitrate(area), FRAME_RATE)
        });
        let ground = if packed { Ground::Packed } else { Ground::Colour(background) };
        let asked = self.keyframe.swap(false, Ordering::Relaxed);
        let mut data = Vec::with_capacity(32 * 1024);
        let keyframe = encoder.encode(frame.rgba, frame.width, frame.height, ground, asked, &mut data)?;
        // Nobody left to receive it is no error.
        let _ = self.sender.send(VideoPacket { data: data.into(), keyframe, media_samples: frame.media_samples, heard_at });
        Ok(())
    }
}

