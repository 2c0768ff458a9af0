//! The sound thread: takes sound from the source block by block when it is due, sends it to viewers as Opus and to
//! the dancer as 24 kHz mono. It paces the session; nothing it calls may wait for a picture or a network.

use std::collections::VecDeque;
use std::io::Cursor;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::Bytes;
use odori_engine::audio::{AudioError, Downmix, Intake, Limits, SongReader};

use super::queue::SoundQueue;
use super::run::Run;
use super::viewers::EncodedSound;
use crate::clock::SAMPLE_RATE;
use crate::measure::{Cause, Stage};
use crate::media::opus::OpusEncoder;

/// A block: 10 ms, as 48 kHz stereo and as 24 kHz mono.
const BLOCK_LISTEN: usize = 480 * 2;
pub const BLOCK_MODEL: usize = 240;
/// Live sound is given this long for stragglers: at first, and at most after it ran dry again and again. It is a grace, not a
/// wait: once it flows, a block is played when it comes, this long before its place on the clock at most.
const LIVE_TARGET: usize = 3 * BLOCK_LISTEN;
const LIVE_TARGET_MOST: usize = 10 * BLOCK_LISTEN;
/// What waits beyond the target and this is trimmed back to the target.
const LIVE_SLACK: usize = 6 * BLOCK_LISTEN;
/// Blocks without running dry until the target shrinks by one again: 20 s.
const CALM_BLOCKS: u32 = 2000;
/// Room of a live source's queue: 200 ms.
pub const LIVE_ROOM: usize = 20 * BLOCK_LISTEN;
/// Behind by more than this (the machine slept), the clock is not chased.
const LOST_TIME: Duration = Duration::from_millis(500);

/// Where a session's sound comes from.
#[derive(Clone, Debug)]
pub enum Source {
    File { bytes: Bytes, name: String, looped: bool },
    /// 48 kHz stereo that others put in.
    Live(Arc<SoundQueue>),
}

/// The running end of a source.
pub enum Feed {
    File { reader: Box<SongReader>, bytes: Bytes, name: String, looped: bool, listen: Vec<f32>, model: Vec<f32>, over: bool },
    Live { queue: Arc<SoundQueue>, intake: Box<Intake>, jitter: Jitter, scratch: Vec<f32> },
}

/// How much grace live sound has: little, and more for a sender that comes in bursts.
#[derive(Debug)]
pub struct Jitter {
    target: usize,
    flowing: bool,
    calm: u32,
}

impl Default for Jitter {
    fn default() -> Self {
        Self { target: LIVE_TARGET, flowing: false, calm: 0 }
    }
}

impl Jitter {
    /// Samples that must be there before a block is played ahead of its place.
    fn enough(&self) -> usize {
        if self.flowing { BLOCK_LISTEN } else { self.target }
    }

    fn grace(&self) -> Duration {
        Duration::from_millis((self.target / BLOCK_LISTEN) as u64 * 10)
    }

    /// With `waiting` samples in the queue: how many of the oldest to discard, and whether to play a block.
    fn step(&mut self, waiting: usize) -> (usize, bool) {
        let discard = if waiting > self.target + LIVE_SLACK { waiting - self.target } else { 0 };
        let enough = waiting >= self.enough();
        if self.flowing && !enough {
            // It ran dry: wait for more before going on, and keep more from now on.
            self.target = (self.target + BLOCK_LISTEN).min(LIVE_TARGET_MOST);
            self.calm = 0;
        }
        self.flowing = enough;
        self.calm += u32::from(enough);
        if self.calm >= CALM_BLOCKS && self.target > LIVE_TARGET {
            self.target -= BLOCK_LISTEN;
            self.calm = 0;
        }
        (discard, enough)
    }
}

/// Whether there is more to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    More,
    /// The song is over.
    Over,
}

/// A song server-side may be an hour long; it is decoded as it plays.
pub fn limits(file_bytes: u64) -> Limits {
    Limits { duration_s: 4.0 * 3600.0, file_bytes, ..Limits::default() }
}

fn reader(bytes: &Bytes, name: &str) -> Result<Box<SongReader>, AudioError> {
    Ok(Box::new(SongReader::new(Box::new(Cursor::new(bytes.clone())), name, limits(bytes.len() as u64))?))
}

impl Feed {
    /// # Errors
    /// If a file cannot be read.
    pub fn open(source: &Source) -> Result<Self, AudioError> {
        Ok(match source {
            Source::File { bytes, name, looped } => Feed::File {
                reader: reader(bytes, name)?,
                bytes: bytes.clone(),
                name: name.clone(),
                looped: *looped,
                listen: Vec::new(),
                model: Vec::new(),
                over: false,
            },
            Source::Live(queue) => Feed::Live {
                queue: queue.clone(),
                intake: Box::new(Intake::new(48_000, Downmix::from_count(2)?)?),
                jitter: Jitter::default(),
                scratch: vec![0.0; BLOCK_LISTEN],
            },
        })
    }

    /// Fills one block of stereo and appends its mono. Gives what was dropped, in frames at 48 kHz, and whether more comes.
    fn block(&mut self, listen_out: &mut [f32; BLOCK_LISTEN], model_out: &mut Vec<f32>) -> Result<(usize, Next), AudioError> {
        match self {
            Feed::File { reader, bytes, name, looped, listen, model, over } => {
                while !*over && (listen.len() < BLOCK_LISTEN || model.len() < BLOCK_MODEL) {
                    if !reader.next_into(listen, model)? {
                        *over = !*looped || bytes.is_empty();
                        if !*over {
                            *reader = self::reader(bytes, name)?;
                        }
                    }
                }
                if *over {
                    // The last block is filled up with silence.
                    let next = if listen.is_empty() { Next::Over } else { Next::More };
                    listen.resize(listen.len().max(BLOCK_LISTEN), 0.0);
                    model.resize(model.len().max(BLOCK_MODEL), 0.0);
                    if next == Next::Over {
                        return Ok((0, Next::Over));
                    }
                }
                listen_out.copy_from_slice(&listen[..BLOCK_LISTEN]);
                listen.drain(..BLOCK_LISTEN);
                model_out.extend(model.drain(..BLOCK_MODEL));
                if *over && listen.is_empty() {
                    model.clear();
                }
                Ok((0, Next::More))
            }
            Feed::Live { queue, intake, jitter, scratch } => {
                let (discard, play) = jitter.step(queue.len());
                queue.discard(discard);
                if !(play && queue.take_exact(listen_out)) {
                    listen_out.fill(0.0);
                }
                let dropped = discard / 2;
                scratch.clear();
                intake.push(listen_out, scratch, model_out);
                Ok((dropped, Next::More))
            }
        }
    }

    /// Waits until the next block is to be played, whose place on the clock is `due`: a file's then, live sound as soon
    /// as it is there.
    fn wait(&self, due: Instant) {
        let sleep_until = |at: Instant| std::thread::sleep(at.saturating_duration_since(Instant::now()));
        match self {
            Feed::File { .. } => sleep_until(due),
            Feed::Live { queue, jitter, .. } => {
                sleep_until(due - jitter.grace());
                queue.wait_for(jitter.enough(), due);
            }
        }
    }

    /// How long the sound just taken had waited here, in milliseconds: a file's never does.
    fn capture_ms(&self) -> f32 {
        match self {
            Feed::File { .. } => 0.0,
            Feed::Live { queue, intake, .. } => (queue.len() / 2) as f32 / 48.0 + intake.lookahead_s() as f32 * 1000.0,
        }
    }
}

fn level_db(listen: &[f32]) -> f32 {
    let power = listen.iter().map(|x| x * x).sum::<f32>() / listen.len().max(1) as f32;
    (10.0 * power.max(1e-9).log10()).clamp(-90.0, 0.0)
}

/// How far a file's sound goes out ahead of the dancer's. A browser shows a picture as soon as it has it, but holds sound
/// in packets and buffers: measured in Chromium (`odori bench glass`, `tests/system/measure_live.mjs`), 54 to 64 ms longer. What is
/// not heard through us, live sound in the room, cannot be sent ahead.
const LISTENER_LEAD: Duration = Duration::from_millis(55);

/// The thread's body, from media time `start_sample` on; returns when the run stops or the song ends.
pub fn run(run: &Run, mut feed: Feed, start_sample: u64) -> Result<Next, String> {
    let say = |e: AudioError| e.to_string();
    let mut opus = OpusEncoder::new().map_err(|e| e.to_string())?;
    let mut position = start_sample;
    let (mut listen, mut packet, mut model) = ([0.0; BLOCK_LISTEN], Vec::new(), Vec::new());
    let mut packet_at = position;
    let mut level = -90.0_f32;
    // A file's sound that its listener has and the dancer has not.
    let mut ahead = VecDeque::new();
    loop {
        if run.stopped() {
            return Ok(Next::More);
        }
        // A block is heard when its last sample is; a file's is sent ahead of that.
        let lead = if matches!(feed, Feed::File { .. }) { LISTENER_LEAD } else { Duration::ZERO };
        let due = run.clock.instant_of(position + BLOCK_MODEL as u64) - lead;
        feed.wait(due);
        let now = Instant::now();
        if now.saturating_duration_since(due) > LOST_TIME {
            let skipped = (now - due).as_millis() as u64 / 20 * 480;
            position += skipped;
            run.sound.skip(skipped);
            packet.clear();
        }
        if let Some(source) = run.take_new_source() {
            match Feed::open(&source) {
                Ok(new) => {
                    feed = new;
                    run.jumped.store(true, Ordering::Release);
                }
                Err(error) => run.session_fault(&say(error)),
            }
        }
        model.clear();
        let (dropped, next) = feed.block(&mut listen, &mut model).map_err(say)?;
        if next == Next::Over {
            run.sound.push(ahead.make_contiguous());
            return Ok(next);
        }
        if packet.is_empty() {
            packet_at = position;
        }
        packet.extend_from_slice(&listen);
        position += BLOCK_MODEL as u64;
        ahead.extend(model.iter());
        let keep = (lead.as_millis() as usize * SAMPLE_RATE as usize / 1000).min(ahead.len());
        model.clear();
        model.extend(ahead.drain(..ahead.len() - keep));
        let overrun = run.sound.push(&model);
        run.clock.set_played(position);
        if packet.len() == 2 * BLOCK_LISTEN {
            if run.viewers.any() {
                let data = Bytes::from(opus.encode(&packet).map_err(|e| e.to_string())?);
                let dropped = run.viewers.send_audio(&EncodedSound { data, sample: packet_at });
                run.stats.give_up(Cause::SoundPacketViewer, dropped);
            }
            packet.clear();
        }
        // Fast up, slow down: how a meter moves.
        let block_db = level_db(&listen);
        level = if block_db > level { block_db } else { level + 0.15 * (block_db - level) };
        run.stats.level_db.set(level);
        run.stats.media_samples.store(position - start_sample, Ordering::Relaxed);
        run.stats.drop_sound(dropped as u64 / 2, overrun as u64);
        let capture_ms = feed.capture_ms();
        run.stats.capture_ms.set(capture_ms);
        run.stats.early_ms.set(due.saturating_duration_since(now).as_secs_f32() * 1000.0);
        run.stats.stage(Stage::Capture, Duration::from_secs_f32(capture_ms.max(0.0) / 1000.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wav(seconds: f32) -> Bytes {
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
            let s = ((i as f32 * 0.06).sin() * 8000.0) as i16;
            file.extend(s.to_le_bytes());
            file.extend(s.to_le_bytes());
        }
        file.into()
    }

    fn blocks(looped: bool, most: usize) -> (usize, usize) {
        let mut feed = Feed::open(&Source::File { bytes: wav(0.255), name: "tone.wav".into(), looped }).unwrap();
        let (mut listen, mut model) = ([0.0; BLOCK_LISTEN], Vec::new());
        for n in 0..most {
            if feed.block(&mut listen, &mut model).unwrap().1 == Next::Over {
                return (n, model.len());
            }
        }
        (most, model.len())
    }

    #[test]
    fn a_song_ends_on_a_whole_block_and_a_looped_one_never() {
        assert_eq!(blocks(false, 100), (26, 26 * BLOCK_MODEL));
        assert_eq!(blocks(true, 100), (100, 100 * BLOCK_MODEL));
    }

    #[test]
    fn live_sound_is_silent_in_gaps_and_trimmed_when_it_piles_up() {
        let queue = Arc::new(SoundQueue::new(LIVE_ROOM));
        let mut feed = Feed::open(&Source::Live(queue.clone())).unwrap();
        let (mut listen, mut model) = ([1.0; BLOCK_LISTEN], Vec::new());
        feed.block(&mut listen, &mut model).unwrap();
        assert!(listen.iter().all(|x| *x == 0.0));
        queue.push(&[0.5; LIVE_TARGET + LIVE_SLACK + BLOCK_LISTEN]);
        let (dropped, _) = feed.block(&mut listen, &mut model).unwrap();
        assert!(dropped > 0 && listen.iter().all(|x| *x == 0.5));
        assert!(queue.len() <= LIVE_TARGET);
        for _ in 0..50 {
            feed.block(&mut listen, &mut model).unwrap();
        }
        assert!(listen.iter().all(|x| *x == 0.0));
        assert!(model.len().abs_diff(52 * BLOCK_MODEL) <= 2 * BLOCK_MODEL, "silence is sound too: {}", model.len());
    }

    #[test]
    fn live_sound_is_taken_when_it_comes_and_waited_for_until_its_place() {
        let queue = Arc::new(SoundQueue::new(LIVE_ROOM));
        // A grace of ten seconds, so that no slow machine is mistaken for a wait.
        let jitter = Jitter { target: 1000 * BLOCK_LISTEN, flowing: true, calm: 0 };
        let feed = Feed::Live { queue: queue.clone(), intake: Box::new(Intake::new(48_000, Downmix::from_count(2).unwrap()).unwrap()), jitter, scratch: Vec::new() };
        let sender = std::thread::spawn({
            let queue = queue.clone();
            move || queue.push(&[0.5; BLOCK_LISTEN])
        });
        let due = Instant::now() + Duration::from_secs(9);
        feed.wait(due);
        assert!(Instant::now() < due && queue.len() == BLOCK_LISTEN);
        sender.join().unwrap();
        queue.discard(BLOCK_LISTEN);
        let due = Instant::now() + Duration::from_millis(20);
        feed.wait(due);
        assert!(Instant::now() >= due && queue.is_empty());
    }

    #[test]
    fn a_sender_in_bursts_is_given_more_room_and_a_steady_one_less() {
        let mut jitter = Jitter::default();
        let mut waiting = 0;
        let mut dry = 0;
        for n in 0..600 {
            // As much as is played, in uneven bursts.
            waiting += BLOCK_LISTEN
                * match n % 12 {
                    0 => 4,
                    8 => 8,
                    _ => 0,
                };
            let (discard, play) = jitter.step(waiting);
            waiting -= discard + if play { BLOCK_LISTEN } else { 0 };
            dry += u32::from(!play && n > 200);
        }
        assert_eq!(dry, 0, "it settles");
        let wide = jitter.target;
        for _ in 0..CALM_BLOCKS * 10 {
            jitter.step(2 * BLOCK_LISTEN);
        }
        assert!(jitter.target < wide && jitter.target == LIVE_TARGET);
    }

    #[test]
    fn full_scale_is_zero_db_and_silence_the_floor() {
        assert!(level_db(&[1.0; 8]).abs() < 0.01);
        assert!((level_db(&[0.0; 8]) + 90.0).abs() < 0.01);
    }
}
