//! One run of a session, from start to stop: three threads (sound, dancer, encoder) and the queues between them.
//!
//! Sound never waits for pictures; the dancer takes the newest sound; the encoder takes the newest picture. Nothing
//! here knows HTTP or WebRTC: viewers are lanes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tracing::{Span, info, warn};

use super::queue::{Newest, SoundQueue};
use super::sound::{self, BLOCK_MODEL, Feed, Next, Source};
use super::stats::Stats;
use super::viewers::{EncodedPicture, Variant, Viewers};
use crate::clock::{MediaClock, SAMPLE_RATE};
use crate::direction::PromptView;
use crate::live::{AvatarEntry, DanceSettings, Dancer, DancerRequest, Engine};
use crate::media::picture::Ground;
use crate::media::video::VideoEncoder;

pub const FPS: u32 = 30;
/// Sound that may wait for the dancer: 200 ms.
const DANCER_ROOM: usize = SAMPLE_RATE as usize / 5;
/// More sound than this waiting means that a frame's picture is skipped: two frames.
const BEHIND: usize = 1600;
/// Keyframe requests are answered at most this often.
const KEY_EVERY: Duration = Duration::from_millis(250);
pub const MIN_BITRATE_BPS: u32 = 200_000;

/// How a run ended or stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    Starting,
    Live,
    /// The song is over.
    Ended,
    Stopped,
    Failed(String),
}

/// What can be changed under way; the newest wins.
#[derive(Clone, Debug)]
pub struct Wishes {
    pub avatar: Arc<AvatarEntry>,
    pub dance: DanceSettings,
    pub prompt: Option<PromptView>,
    pub background: [u8; 3],
}

/// The dancer's sound, with its place on the media clock.
#[derive(Debug)]
pub struct DancerSound {
    queue: SoundQueue,
    /// Media time that passed without sound reaching the dancer.
    skipped: AtomicU64,
}

impl DancerSound {
    pub fn push(&self, model: &[f32]) -> usize {
        self.queue.push(model)
    }

    pub fn skip(&self, samples: u64) {
        self.skipped.fetch_add(samples, Ordering::AcqRel);
    }
}

struct Picture {
    rgba: Vec<u8>,
    width: u32,
    height: u32,
    sample: u64,
}

/// What the threads of one run share.
pub struct Run {
    pub clock: Arc<MediaClock>,
    /// Media time at which the run begins; a multiple of an Opus packet.
    start_sample: u64,
    pub viewers: Arc<Viewers>,
    pub sound: DancerSound,
    /// The source jumped; the dancer should forget the old one.
    pub jumped: AtomicBool,
    pub max_bitrate_bps: u32,
    stats: Arc<Mutex<Stats>>,
    pictures: Newest<Picture>,
    spare: Mutex<Vec<u8>>,
    wishes: Arc<Mutex<Wishes>>,
    new_source: Mutex<Option<Source>>,
    stop: AtomicBool,
    progress: tokio::sync::watch::Sender<Progress>,
    fault: Mutex<Option<String>>,
}

/// What a run is made of.
pub struct RunSetup {
    pub engine: Arc<Engine>,
    pub clock: Arc<MediaClock>,
    pub viewers: Arc<Viewers>,
    pub stats: Arc<Mutex<Stats>>,
    pub wishes: Arc<Mutex<Wishes>>,
    pub source: Source,
    pub max_bitrate_bps: u32,
    pub span: Span,
}

impl Run {
    /// Starts the threads. The sound begins when the dancer is ready; [`Run::progress`] tells.
    pub fn start(setup: RunSetup) -> Arc<Self> {
        let RunSetup { engine, clock, viewers, stats, wishes, source, max_bitrate_bps, span } = setup;
        let (progress, _) = tokio::sync::watch::channel(Progress::Starting);
        let run = Self {
            clock,
            start_sample: 0,
            viewers,
            sound: DancerSound { queue: SoundQueue::new(DANCER_ROOM), skipped: AtomicU64::new(0) },
            jumped: AtomicBool::new(false),
            max_bitrate_bps,
            stats,
            pictures: Newest::new(),
            spare: Mutex::default(),
            wishes,
            new_source: Mutex::default(),
            stop: AtomicBool::new(false),
            progress,
            fault: Mutex::default(),
        };
        let (ready_in, ready) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("session".into()).spawn(move || span.in_scope(|| run.conduct(&engine, source, &ready_in))).expect("a thread can be started");
        ready.recv().expect("the run announces itself")
    }

    /// The first thread: readies the dancer, starts the other two, then plays the sound.
    fn conduct(mut self, engine: &Arc<Engine>, source: Source, ready: &std::sync::mpsc::Sender<Arc<Self>>) {
        // Announced before the slow part, so that a stop can reach it. The start position is fixed only after, in
        // the shared struct it would need a lock; so it is chosen with the time that making a dancer may take.
        let now = self.clock.samples_at(Instant::now()) as u64;
        self.start_sample = now.next_multiple_of(2 * BLOCK_MODEL as u64);
        let run = Arc::new(self);
        let _ = ready.send(run.clone());
        let outcome = run.clone().perform(engine, source);
        run.finish(outcome);
    }

    fn perform(self: Arc<Self>, engine: &Arc<Engine>, source: Source) -> Result<Next, String> {
        let feed = Feed::open(&source).map_err(|e| e.to_string())?;
        let dancer = guarded("preparing the dancer", || self.new_dancer(engine))?;
        // The time that this took is not sound.
        let late = (self.clock.samples_at(Instant::now()) as u64).saturating_sub(self.start_sample);
        let late = late.next_multiple_of(2 * BLOCK_MODEL as u64);
        self.sound.skip(late);
        self.progress.send_if_modified(|p| *p == Progress::Starting && { *p = Progress::Live; true });
        info!("live");
        let span = Span::current();
        std::thread::scope(|scope| {
            let dance = scope.spawn(|| span.in_scope(|| self.ends_all(guarded("dancing", || self.dance(engine, dancer)))));
            let encode = scope.spawn(|| span.in_scope(|| self.ends_all(guarded("encoding", || self.encode()))));
            let sound = guarded("playing", || sound::run(&self, feed, self.start_sample + late));
            self.shut();
            let results = [dance.join(), encode.join()].map(|r| r.unwrap_or_else(|_| Err("a thread of the session ended".into())));
            results.into_iter().collect::<Result<Vec<()>, _>>()?;
            sound
        })
    }

    fn ends_all(&self, result: Result<(), String>) -> Result<(), String> {
        if result.is_err() {
            self.shut();
        }
        result
    }

    fn finish(&self, outcome: Result<Next, String>) {
        let end = match outcome {
            Ok(Next::Over) => Progress::Ended,
            Ok(Next::More) => Progress::Stopped,
            Err(reason) => {
                warn!(reason, "the session failed");
                self.session_fault(&reason);
                Progress::Failed(reason)
            }
        };
        info!(?end, "the run is over");
        self.progress.send_replace(end);
    }

    fn shut(&self) {
        self.stop.store(true, Ordering::Release);
        self.sound.queue.close();
        self.pictures.close();
    }

    /// Asks the threads to end; they do within a frame's time.
    pub fn stop(&self) {
        self.shut();
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    pub fn progress(&self) -> tokio::sync::watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    /// Switches the sound over.
    pub fn set_source(&self, source: Source) {
        *self.new_source.lock().expect("no panic while held") = Some(source);
    }

    pub fn take_new_source(&self) -> Option<Source> {
        self.new_source.lock().expect("no panic while held").take()
    }

    /// Something the person should know, though the session goes on.
    pub fn session_fault(&self, reason: &str) {
        *self.fault.lock().expect("no panic while held") = Some(reason.to_owned());
    }

    pub fn fault(&self) -> Option<String> {
        self.fault.lock().expect("no panic while held").clone()
    }

    pub fn stats(&self) -> MutexGuard<'_, Stats> {
        self.stats.lock().expect("no panic while held")
    }

    fn wishes(&self) -> Wishes {
        self.wishes.lock().expect("no panic while held").clone()
    }

    fn new_dancer(&self, engine: &Engine) -> Result<(Box<dyn Dancer>, Wishes), String> {
        let wishes = self.wishes();
        let request = DancerRequest { avatar: wishes.avatar.clone(), settings: wishes.dance, width: engine.width, height: engine.height };
        Ok((engine.dancer(&request).map_err(|e| e.to_string())?, wishes))
    }

    /// The dancer's thread: sound in, pictures out.
    fn dance(&self, engine: &Engine, dancer: (Box<dyn Dancer>, Wishes)) -> Result<(), String> {
        let (mut dancer, mut known) = dancer;
        // Media time of the dancer's own sample 0, and of the next sample it gets.
        let mut base = self.start_sample;
        let mut next = base;
        let mut block = Vec::with_capacity(DANCER_ROOM);
        while !self.stopped() {
            block.clear();
            let dropped = self.sound.queue.take_all(&mut block, Duration::from_millis(100)) as u64;
            let skipped = dropped + self.sound.skipped.swap(0, Ordering::AcqRel);
            base += skipped;
            next += skipped;
            if block.is_empty() {
                continue;
            }
            let wishes = self.wishes();
            if !Arc::ptr_eq(&wishes.avatar, &known.avatar) {
                match self.new_dancer(engine) {
                    Ok((new, wishes)) => {
                        dancer = new;
                        base = next;
                        known = wishes;
                    }
                    Err(reason) => {
                        self.session_fault(&reason);
                        known.avatar = wishes.avatar.clone();
                    }
                }
            }
            if wishes.dance != known.dance {
                dancer.set(&wishes.dance);
                known.dance = wishes.dance;
            }
            if self.jumped.swap(false, Ordering::AcqRel) {
                dancer.discontinuity();
            }
            let mut rest = &block[..];
            while !rest.is_empty() && !self.stopped() {
                let taken = dancer.push_audio(rest);
                rest = &rest[taken..];
                next += taken as u64;
                let behind = rest.len() + self.sound.queue.len() > BEHIND;
                let due = self.frame(dancer.as_mut(), base, behind)?;
                if taken == 0 && !due {
                    return Err("the dancer took no sound".into());
                }
            }
        }
        Ok(())
    }

    /// Makes the frame that is due, if one is; says whether.
    fn frame(&self, dancer: &mut dyn Dancer, base: u64, behind: bool) -> Result<bool, String> {
        let draw = !behind && self.viewers.any();
        let began = Instant::now();
        let Some(frame) = dancer.next_frame(draw).map_err(|e| e.to_string())? else { return Ok(false) };
        let sample = base + frame.media_samples;
        let heard = self.clock.instant_of(sample);
        let mut stats = self.stats();
        stats.beat = frame.beat;
        stats.drops.pictures += u64::from(behind);
        stats.stage("queue", began.saturating_duration_since(heard).as_secs_f32() * 1000.0);
        if draw {
            stats.rung = frame.rung;
            for (name, ms) in &frame.stages {
                stats.stage(name, *ms);
            }
        }
        drop(stats);
        if frame.rgba.is_empty() {
            return Ok(true);
        }
        let mut rgba = std::mem::take(&mut *self.spare.lock().expect("no panic while held"));
        rgba.clear();
        rgba.extend_from_slice(frame.rgba);
        if let Some(unseen) = self.pictures.put(Picture { rgba, width: frame.width, height: frame.height, sample }) {
            *self.spare.lock().expect("no panic while held") = unseen.rgba;
            self.stats().drops.pictures += 1;
        }
        Ok(true)
    }

    /// The encoder's thread: each picture once for every variant that is watched.
    fn encode(&self) -> Result<(), String> {
        let mut encoders: [Option<VideoEncoder>; Variant::ALL.len()] = Default::default();
        let mut last_key = [None::<Instant>; Variant::ALL.len()];
        while let Some(picture) = self.pictures.take() {
            let background = self.wishes().background;
            let began = Instant::now();
            let mut bitrate_bps = 0;
            for (i, variant) in Variant::ALL.into_iter().enumerate() {
                let Some(demand) = self.viewers.demand(variant) else {
                    encoders[i] = None;
                    last_key[i] = None;
                    continue;
                };
                let target = (demand.estimate_bps / 10 * 9).clamp(MIN_BITRATE_BPS, self.max_bitrate_bps);
                let encoder = encoders[i].get_or_insert_with(|| VideoEncoder::new(variant.codec, target, FPS));
                encoder.set_bitrate(target);
                bitrate_bps = bitrate_bps.max(target);
                let key = demand.keyframe && last_key[i].is_none_or(|t| began - t > KEY_EVERY);
                let ground = if variant.packed { Ground::Packed } else { Ground::Colour(background) };
                let mut data = Vec::with_capacity(32 * 1024);
                let key = encoder.encode(&picture.rgba, picture.width, picture.height, ground, key, &mut data).map_err(|e| e.to_string())?;
                if key {
                    last_key[i] = Some(began);
                }
                let encoded = EncodedPicture { data: Bytes::from(data), sample: picture.sample, key, encoded_at: Instant::now() };
                let dropped = self.viewers.send_video(variant, &encoded);
                self.stats().drops.video += dropped;
            }
            let mut stats = self.stats();
            stats.bitrate_bps = bitrate_bps;
            stats.stage("encode", began.elapsed().as_secs_f32() * 1000.0);
            drop(stats);
            *self.spare.lock().expect("no panic while held") = picture.rgba;
        }
        Ok(())
    }
}

/// Runs a thread's body so that a fault in it ends only this session.
fn guarded<T>(what: &str, body: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("an internal fault while {what}: {}", text.unwrap_or_else(|| "no reason given".into())))
    })
}
