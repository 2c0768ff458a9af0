//! One run of a session, from start to stop: three threads (sound, dancer, encoder) and the queues between them.
//!
//! Sound never waits for pictures; the dancer takes the newest sound; the encoder takes the newest picture. On the way
//! of a frame, from its sound to the encoder, nothing is allocated and no lock is taken (`tests/realtime.rs`). Nothing
//! here knows HTTP or WebRTC: viewers are lanes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use crossbeam_queue::ArrayQueue;
use odori_engine::ladder::Budget;
use tracing::{info, trace_span, warn};

use super::congestion::Shaper;
use super::horizon::Horizon;
use super::queue::{Blocks, Newest};
use super::sound::{self, BLOCK_MODEL, Feed, Next, Source};
use super::stats::Stats;
use super::viewers::{Demand, EncodedPicture, Variant, Viewers};
use crate::clock::{MediaClock, SAMPLE_RATE};
use crate::direction::PromptView;
use crate::live::{Cast, Costume, DanceSettings, Dancer, DancerRequest, Engine, Scene, Wardrobe};
use crate::measure::{Cause, Span, Stage, frame_id};
use crate::media::picture::{Ground, halve};
use crate::media::video::VideoEncoder;
use crate::vmc::Turn;

pub const FPS: u32 = 30;
/// Blocks of sound that may wait for the dancer: 200 ms.
const DANCER_ROOM: usize = 20;
/// How often the wardrobe's thread looks for something to do when nobody wakes it.
const WARDROBE_EVERY: Duration = Duration::from_millis(500);
/// More sound than this waiting means that a frame's picture is skipped: two frames.
const BEHIND: usize = 1600;
/// Picture buffers under way: one being made, one waiting, one being encoded.
const BUFFERS: usize = 3;
/// Keyframe requests are answered at most this often.
const KEY_EVERY: Duration = Duration::from_millis(250);
/// What is sent however narrow a path is thought to be.
pub const MIN_BITRATE_BPS: u32 = 80_000;

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
    pub cast: Arc<Cast>,
    pub dance: DanceSettings,
    pub scene: Arc<Scene>,
    pub prompt: Option<PromptView>,
    /// From sound in to packet out.
    pub target: Duration,
    /// Pictures a second: 30, 15 or 10.
    pub fps: u32,
}

/// Behind the dancer where nothing is, for viewers whose picture cannot be transparent.
pub const PLAIN: [u8; 3] = [0x1b, 0x18, 0x30];

/// What encoding and sending take of a frame's time and age.
const AFTER: Duration = Duration::from_millis(5);

impl Wishes {
    /// What a frame may take: its time on the encoder's heels, and no longer than the target leaves.
    fn budget(&self) -> Budget {
        let interval = Duration::from_secs(1) / self.fps;
        Budget { frame: (interval - AFTER).min(self.target.saturating_sub(AFTER)), latency: self.target }
    }
}

/// The dancer's sound, with its place on the media clock.
#[derive(Debug)]
pub struct DancerSound {
    queue: Blocks,
    /// Media time that passed without sound reaching the dancer.
    skipped: AtomicU64,
}

impl DancerSound {
    /// Says how many older samples were dropped for it.
    pub fn push(&self, model: &[f32]) -> usize {
        let dropped = self.queue.push(model);
        self.skip(dropped as u64);
        dropped
    }

    pub fn skip(&self, samples: u64) {
        self.skipped.fetch_add(samples, Ordering::AcqRel);
    }
}

struct Picture {
    buffers: Buffers,
    width: u32,
    height: u32,
    sample: u64,
}

/// A picture's pixels, and those of what lies behind it.
#[derive(Debug, Default)]
struct Buffers {
    rgba: Vec<u8>,
    ground: Vec<u8>,
}

impl Buffers {
    /// Room for pictures of this size, so that the dancer never has to ask for any.
    fn for_size(width: u32, height: u32) -> Self {
        let bytes = 4 * width as usize * height as usize;
        Buffers { rgba: Vec::with_capacity(bytes), ground: Vec::with_capacity(bytes) }
    }
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
    pub stats: Arc<Stats>,
    pictures: Newest<Picture>,
    /// Buffers that come back from the encoder.
    spare: ArrayQueue<Buffers>,
    /// A change that is ready to be put on, and what was taken off.
    fitted: ArrayQueue<Costume>,
    worn: ArrayQueue<Costume>,
    /// The thread that makes changes, while there is one.
    tailor: OnceLock<std::thread::Thread>,
    wishes: Arc<ArcSwap<Wishes>>,
    horizon: Arc<Horizon>,
    new_source: ArcSwapOption<Source>,
    stop: AtomicBool,
    progress: tokio::sync::watch::Sender<Progress>,
    fault: Mutex<Option<String>>,
    /// Age in microseconds of the newest encoded picture, until the dancer has heard of it; 0 is none.
    ready_us: AtomicU32,
}

/// What a run is made of.
pub struct RunSetup {
    pub engine: Arc<Engine>,
    pub clock: Arc<MediaClock>,
    pub viewers: Arc<Viewers>,
    pub stats: Arc<Stats>,
    pub wishes: Arc<ArcSwap<Wishes>>,
    pub horizon: Arc<Horizon>,
    pub source: Source,
    pub max_bitrate_bps: u32,
    pub span: tracing::Span,
}

/// A dancer who can begin, and what they were made for.
struct Ready {
    dancer: Box<dyn Dancer>,
    wardrobe: Box<dyn Wardrobe>,
    wishes: Wishes,
}

impl Run {
    /// Starts the threads. The sound begins when the dancer is ready; [`Run::progress`] tells.
    pub fn start(setup: RunSetup) -> Arc<Self> {
        let RunSetup { engine, clock, viewers, stats, wishes, horizon, source, max_bitrate_bps, span } = setup;
        let (progress, _) = tokio::sync::watch::channel(Progress::Starting);
        let spare = ArrayQueue::new(BUFFERS);
        while spare.push(Buffers::for_size(engine.width, engine.height)).is_ok() {}
        let run = Self {
            clock,
            start_sample: 0,
            viewers,
            sound: DancerSound { queue: Blocks::new(DANCER_ROOM), skipped: AtomicU64::new(0) },
            jumped: AtomicBool::new(false),
            max_bitrate_bps,
            stats,
            pictures: Newest::default(),
            spare,
            fitted: ArrayQueue::new(1),
            worn: ArrayQueue::new(2),
            tailor: OnceLock::new(),
            wishes,
            horizon,
            new_source: ArcSwapOption::empty(),
            stop: AtomicBool::new(false),
            progress,
            fault: Mutex::default(),
            ready_us: AtomicU32::new(0),
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
        let Ready { dancer, wardrobe, wishes: known } = guarded("preparing the dancer", || self.new_dancer(engine))?;
        // The time that this took is not sound.
        let late = (self.clock.samples_at(Instant::now()) as u64).saturating_sub(self.start_sample);
        let late = late.next_multiple_of(2 * BLOCK_MODEL as u64);
        self.sound.skip(late);
        self.progress.send_if_modified(|p| *p == Progress::Starting && { *p = Progress::Live; true });
        info!("live");
        let span = tracing::Span::current();
        std::thread::scope(|scope| {
            let named = |name: &str| std::thread::Builder::new().name(name.into());
            let start = |e: std::io::Error| format!("a thread could not be started: {e}");
            let cast = known.cast.clone();
            let dance = named("dancer").spawn_scoped(scope, || span.in_scope(|| self.ends_all(guarded("dancing", || self.dance(engine, dancer, known))))).map_err(start)?;
            let tailor = named("wardrobe").spawn_scoped(scope, || span.in_scope(|| self.ends_all(guarded("changing", || self.keep_wardrobe(wardrobe, cast)))));
            let tailor = tailor.map_err(start).inspect_err(|_| self.shut())?;
            let encode = named("encoder").spawn_scoped(scope, || span.in_scope(|| self.ends_all(guarded("encoding", || self.encode()))));
            // The dancer would go on alone.
            let encode = encode.map_err(start).inspect_err(|_| self.shut())?;
            let sound = guarded("playing", || sound::run(&self, feed, self.start_sample + late));
            self.shut();
            let results = [dance.join(), encode.join(), tailor.join()].map(|r| r.unwrap_or_else(|_| Err("a thread of the session ended".into())));
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
        self.sound.queue.wake();
        self.pictures.close();
        self.wishes_changed();
    }

    /// Who dances may be others now.
    pub fn wishes_changed(&self) {
        if let Some(tailor) = self.tailor.get() {
            tailor.unpark();
        }
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
        self.new_source.store(Some(Arc::new(source)));
    }

    pub fn take_new_source(&self) -> Option<Arc<Source>> {
        self.new_source.swap(None)
    }

    /// Something the person should know, though the session goes on.
    pub fn session_fault(&self, reason: &str) {
        *self.fault.lock().expect("no panic while held") = Some(reason.to_owned());
    }

    pub fn fault(&self) -> Option<String> {
        self.fault.lock().expect("no panic while held").clone()
    }

    fn new_dancer(&self, engine: &Engine) -> Result<Ready, String> {
        let wishes = Wishes::clone(&self.wishes.load());
        let Wishes { cast, dance, scene, .. } = &wishes;
        let request = DancerRequest { cast: Cast::clone(cast), settings: *dance, scene: Scene::clone(scene), width: engine.width, height: engine.height };
        let mut dancer = engine.dancer(&request).map_err(|e| e.to_string())?;
        let mut wardrobe = dancer.wardrobe();
        if cast.0.len() > 1 {
            dancer.wear(wardrobe.fit(cast).map_err(|e| e.to_string())?);
        }
        Ok(Ready { dancer, wardrobe, wishes })
    }

    /// The wardrobe's thread: makes what dancers change into, while they dance, and lets go of what they took off.
    fn keep_wardrobe(&self, mut wardrobe: Box<dyn Wardrobe>, mut known: Arc<Cast>) -> Result<(), String> {
        let _ = self.tailor.set(std::thread::current());
        while !self.stopped() {
            while self.worn.pop().is_some() {}
            let cast = self.wishes.load().cast.clone();
            if self.fitted.is_full() || Arc::ptr_eq(&cast, &known) {
                std::thread::park_timeout(WARDROBE_EVERY);
                continue;
            }
            match wardrobe.fit(&cast) {
                Ok(costume) => drop(self.fitted.push(costume)),
                Err(reason) => self.session_fault(&reason.to_string()),
            }
            known = cast;
        }
        Ok(())
    }

    /// The dancer's thread: sound in, pictures out.
    fn dance(&self, engine: &Engine, mut dancer: Box<dyn Dancer>, mut known: Wishes) -> Result<(), String> {
        // Media time of the dancer's own sample 0.
        let mut base = self.start_sample;
        let mut frames = 0;
        let mut turn = None;
        dancer.set_budget(known.budget());
        while !self.stopped() {
            let block = self.sound.queue.take();
            let skipped = self.sound.skipped.swap(0, Ordering::AcqRel);
            base += skipped;
            let Some(block) = block else { continue };
            let wishes = self.wishes.load();
            if let Some(costume) = self.fitted.pop() {
                // What was taken off is let go elsewhere.
                let _ = self.worn.push(dancer.wear(costume));
                self.wishes_changed();
            }
            if !Arc::ptr_eq(&wishes.scene, &known.scene) {
                dancer.set_scene(&wishes.scene);
                known.scene = wishes.scene.clone();
            }
            if wishes.dance != known.dance {
                dancer.set(&wishes.dance);
                known.dance = wishes.dance;
            }
            if (wishes.target, wishes.fps) != (known.target, known.fps) {
                (known.target, known.fps) = (wishes.target, wishes.fps);
                dancer.set_budget(known.budget());
            }
            dancer.set_horizon(self.horizon.get());
            if let age @ 1.. = self.ready_us.swap(0, Ordering::Relaxed) {
                dancer.fared(Some(Duration::from_micros(u64::from(age))));
            }
            if self.jumped.swap(false, Ordering::AcqRel) {
                dancer.discontinuity();
            }
            let mut rest = block.samples();
            while !rest.is_empty() && !self.stopped() {
                let taken = dancer.push_audio(rest);
                rest = &rest[taken..];
                let behind = rest.len() + self.sound.queue.len() * BLOCK_MODEL > BEHIND;
                // Of the poses, which are always made, every second or third is drawn.
                let wanted = frames % u64::from(FPS / known.fps) == 0 && self.viewers.any();
                turn = turn.or_else(|| engine.vmc()?.take());
                if let Some(face) = engine.face() {
                    dancer.set_face(face.shown(Instant::now()));
                }
                let due = self.frame(dancer.as_mut(), turn.as_ref(), base, wanted, behind)?;
                frames += u64::from(due);
                if taken == 0 && !due {
                    return Err("the dancer took no sound".into());
                }
            }
        }
        Ok(())
    }

    /// Makes the frame that is due, if one is; says whether.
    fn frame(&self, dancer: &mut dyn Dancer, turn: Option<&Turn<'_>>, base: u64, wanted: bool, behind: bool) -> Result<bool, String> {
        let began = Instant::now();
        let Some(frame) = dancer.next_frame(wanted && !behind).map_err(|e| e.to_string())? else { return Ok(false) };
        let sample = base + frame.media_samples;
        self.stats.set_beat(frame.beat);
        if let Some(turn) = turn {
            turn.send(frame.pose, frame.face, frame.media_samples as f32 / SAMPLE_RATE as f32);
        }
        if wanted && behind {
            self.stats.give_up(Cause::PictureLate, 1);
            dancer.fared(None);
            return Ok(true);
        }
        if frame.rgba.is_empty() {
            return Ok(true);
        }
        let id = frame_id(sample);
        let _span = trace_span!("frame", id, rung = frame.rung.name()).entered();
        self.stats.made(frame.rung);
        self.stats.trace.begin(id, frame.rung);
        let due = self.clock.instant_of(sample);
        let (came, taken) = (self.stats.came(due), self.stats.taken(due));
        self.stats.trace.span(id, Span { stage: Stage::Capture, began: came, cost: taken - came });
        self.stats.span(id, Span { stage: Stage::Queue, began: taken, cost: began.saturating_duration_since(taken) });
        for span in frame.spans {
            self.stats.span(id, *span);
        }
        let mut buffers = self.spare.pop().unwrap_or_default();
        buffers.rgba.clear();
        buffers.rgba.extend_from_slice(frame.rgba);
        buffers.ground.clear();
        buffers.ground.extend_from_slice(frame.ground);
        if let Some(unseen) = self.pictures.put(Picture { buffers, width: frame.width, height: frame.height, sample }) {
            self.recycle(unseen.buffers);
            self.stats.give_up(Cause::PictureOvertaken, 1);
        }
        Ok(true)
    }

    /// A buffer more than are needed is let go.
    fn recycle(&self, buffers: Buffers) {
        let _ = self.spare.push(buffers);
    }

    /// The encoder's thread: each picture once for every variant that is watched.
    fn encode(&self) -> Result<(), String> {
        let mut variants = Variant::ALL.map(|variant| (variant, None));
        let mut number = 0;
        while let Some(picture) = self.pictures.take() {
            let began = Instant::now();
            let id = frame_id(picture.sample);
            let _span = trace_span!("stage", name = "encode", frame = id).entered();
            let mut bitrate_bps = 0;
            for (variant, stream) in &mut variants {
                match self.viewers.demand(*variant) {
                    Some(demand) => bitrate_bps = bitrate_bps.max(self.encode_one(*variant, stream.get_or_insert_default(), demand, &picture, number)?),
                    None => *stream = None,
                }
            }
            number += 1;
            self.stats.bitrate_bps.store(bitrate_bps, Ordering::Relaxed);
            self.stats.span(id, Span { stage: Stage::Encode, began, cost: began.elapsed() });
            let age = Instant::now().saturating_duration_since(self.stats.taken(self.clock.instant_of(picture.sample)));
            self.ready_us.store(age.as_micros().clamp(1, u128::from(u32::MAX)) as u32, Ordering::Relaxed);
            self.recycle(picture.buffers);
        }
        Ok(())
    }

    /// Encodes one variant as its slowest path can take it, and hands it to its viewers; gives its bitrate.
    fn encode_one(&self, variant: Variant, stream: &mut Stream, demand: Demand, picture: &Picture, number: u64) -> Result<u32, String> {
        let began = Instant::now();
        let wishes = self.wishes.load();
        let target = (demand.estimate_bps / 10 * 9).clamp(MIN_BITRATE_BPS, self.max_bitrate_bps);
        let (mut rgba, mut width, mut height) = (&picture.buffers.rgba, picture.width, picture.height);
        let mut below = &picture.buffers.ground;
        let rows = if variant.packed { 2.0 } else { 1.0 };
        let shape = stream.shaper.step(began, target, f64::from(width) * f64::from(height) * rows * f64::from(wishes.fps));
        if !number.is_multiple_of(shape.every) {
            return Ok(target);
        }
        // Both codecs want even sides.
        if shape.halve && width.is_multiple_of(4) && height.is_multiple_of(4) {
            halve(rgba, width, height, &mut stream.half);
            if !below.is_empty() && !variant.packed {
                halve(below, width, height, &mut stream.half_ground);
                below = &stream.half_ground;
            }
            (rgba, width, height) = (&stream.half, width / 2, height / 2);
        }
        let encoder = stream.encoder.get_or_insert_with(|| VideoEncoder::new(variant.codec, target, wishes.fps));
        encoder.set_bitrate(target);
        let key = demand.keyframe && stream.last_key.is_none_or(|t| began - t > KEY_EVERY);
        let ground = match variant.packed {
            true => Ground::Packed,
            false if below.is_empty() => Ground::Colour(PLAIN),
            false => Ground::Picture(below),
        };
        let mut data = Vec::with_capacity(32 * 1024);
        let key = encoder.encode(rgba, width, height, ground, key, &mut data).map_err(|e| e.to_string())?;
        if key {
            stream.last_key = Some(began);
        }
        self.stats.meters.encoded(variant.codec, data.len());
        let encoded = EncodedPicture { data: Bytes::from(data), sample: picture.sample, key, encoded_at: Instant::now() };
        self.stats.give_up(Cause::PictureViewer, self.viewers.send_video(variant, &encoded));
        Ok(target)
    }
}

/// What the encoder's thread keeps of a variant while it is watched.
#[derive(Default)]
struct Stream {
    encoder: Option<VideoEncoder>,
    shaper: Shaper,
    half: Vec<u8>,
    half_ground: Vec<u8>,
    last_key: Option<Instant>,
}

/// Runs a thread's body so that a fault in it ends only this session.
fn guarded<T>(what: &str, body: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(|s| (*s).to_owned()));
        Err(format!("an internal fault while {what}: {}", text.unwrap_or_else(|| "no reason given".into())))
    })
}
