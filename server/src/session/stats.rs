//! What a session measures of itself: stage costs over the last seconds, counts since its start. Reports only. Written
//! from the session's threads by atomic stores, and passed on to the server's meters.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use odori_engine::ladder::Rung;
use serde::Serialize;

use crate::live::Beat;
use crate::measure::{Cause, Gauge, Meters, Percentiles, Recent, Span, Stage, Trace, frame_id};

/// A frame later than this after its sound is late, unless told otherwise: two frame times.
pub const LATE: Duration = Duration::from_millis(66);
/// Pictures sent whose times are kept: more than two seconds of them.
const SENT: usize = 64;

#[derive(Clone, Debug, Serialize)]
pub struct StageReport {
    pub name: &'static str,
    #[serde(flatten)]
    pub cost: Percentiles,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Drops {
    /// Milliseconds of sound, given up because it came too fast or was not danced in time.
    pub sound_ms: u64,
    /// Frames whose picture was skipped or overtaken.
    pub pictures: u64,
    /// Encoded pictures and sound packets that a slow viewer did not take.
    pub video: u64,
    pub audio: u64,
}

/// One session's figures.
#[derive(Debug)]
pub struct Stats {
    pub meters: Arc<Meters>,
    pub trace: Trace,
    epoch: Instant,
    stages: [Recent; Stage::COUNT],
    total: Recent,
    /// Sound in to the screen of a viewer.
    pub seen: Recent,
    /// Microseconds since the epoch of the last pictures sent, the newest at `frames - 1`.
    sent_at: [AtomicU64; SENT],
    /// Media time of the newest picture sent, plus one.
    sent_sample: AtomicU64,
    pub level_db: Gauge,
    /// What the newest sound waited before it was taken, and how long before its place on the clock that was.
    pub capture_ms: Gauge,
    pub early_ms: Gauge,
    beat: [Gauge; 4],
    /// Plus one; 0 before the first picture.
    rung: AtomicU8,
    frames: AtomicU64,
    late_frames: AtomicU64,
    drops: [AtomicU64; Cause::ALL.len()],
    sound_dropped_samples: AtomicU64,
    pub bitrate_bps: AtomicU32,
    pub media_samples: AtomicU64,
    /// Microseconds that a frame may take from its sound to its last packet.
    target_us: AtomicU32,
}

impl Stats {
    pub fn new(meters: Arc<Meters>, epoch: Instant, target: Duration) -> Self {
        Self {
            meters,
            trace: Trace::new(epoch),
            epoch,
            stages: std::array::from_fn(|_| Recent::default()),
            total: Recent::default(),
            seen: Recent::default(),
            sent_at: [const { AtomicU64::new(0) }; SENT],
            sent_sample: AtomicU64::new(0),
            level_db: Gauge::new(-90.0),
            capture_ms: Gauge::default(),
            early_ms: Gauge::default(),
            beat: Default::default(),
            rung: AtomicU8::new(0),
            frames: AtomicU64::new(0),
            late_frames: AtomicU64::new(0),
            drops: Default::default(),
            sound_dropped_samples: AtomicU64::new(0),
            bitrate_bps: AtomicU32::new(0),
            media_samples: AtomicU64::new(0),
            target_us: AtomicU32::new(target.as_micros() as u32),
        }
    }

    /// A run begins: its figures are its own.
    pub fn restart(&self) {
        self.stages.iter().chain([&self.total, &self.seen]).for_each(Recent::clear);
        let counts = [&self.frames, &self.late_frames, &self.sound_dropped_samples, &self.media_samples];
        for count in counts.into_iter().chain(&self.drops) {
            count.store(0, Ordering::Relaxed);
        }
        self.rung.store(0, Ordering::Relaxed);
        self.bitrate_bps.store(0, Ordering::Relaxed);
        self.level_db.set(-90.0);
        self.set_beat(Beat::default());
    }

    pub fn set_target(&self, target: Duration) {
        self.target_us.store(target.as_micros() as u32, Ordering::Relaxed);
    }

    pub fn stage(&self, stage: Stage, cost: Duration) {
        self.stages[stage as usize].record(cost);
        self.meters.stage(stage, cost);
    }

    /// A stage of a known frame.
    pub fn span(&self, frame: u64, span: Span) {
        self.stage(span.stage, span.cost);
        self.trace.span(frame, span);
    }

    /// A picture was made on this rung.
    pub fn made(&self, rung: Rung) {
        self.rung.store(rung as u8 + 1, Ordering::Relaxed);
        self.meters.frame(rung);
    }

    pub fn give_up(&self, cause: Cause, count: u64) {
        if count > 0 {
            self.drops[cause as usize].fetch_add(count, Ordering::Relaxed);
            self.meters.give_up(cause, count);
        }
        // A picture that was never made is a deadline missed; one that only a slow viewer did not take is that viewer's.
        if matches!(cause, Cause::PictureLate | Cause::PictureOvertaken) {
            self.meters.deadline_misses.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Samples of sound that came too fast, and that were not danced to in time.
    pub fn drop_sound(&self, early: u64, undanced: u64) {
        self.sound_dropped_samples.fetch_add(early + undanced, Ordering::Relaxed);
        self.meters.sound_early.fetch_add(early, Ordering::Relaxed);
        self.meters.sound_undanced.fetch_add(undanced, Ordering::Relaxed);
    }

    pub fn set_beat(&self, beat: Beat) {
        for (gauge, value) in self.beat.iter().zip([beat.bpm, beat.beat_phase, beat.bar_phase, beat.confidence]) {
            gauge.set(value);
        }
    }

    pub fn beat(&self) -> Beat {
        let [bpm, beat_phase, bar_phase, confidence] = [0, 1, 2, 3].map(|i| self.beat[i].get());
        Beat { bpm, beat_phase, bar_phase, confidence }
    }

    /// When sound whose place on the clock is `due` was taken.
    pub fn taken(&self, due: Instant) -> Instant {
        due.checked_sub(Duration::from_secs_f32(self.early_ms.get().max(0.0) / 1000.0)).unwrap_or(due)
    }

    /// When it came in.
    pub fn came(&self, due: Instant) -> Instant {
        let taken = self.taken(due);
        taken.checked_sub(Duration::from_secs_f32(self.capture_ms.get().max(0.0) / 1000.0)).unwrap_or(taken)
    }

    /// The picture of media time `sample`, whose place on the clock is `due`, went out at `now`. To the first of its viewers: the
    /// others are not counted again.
    pub fn sent(&self, now: Instant, sample: u64, due: Instant) {
        if self.sent_sample.fetch_max(sample + 1, Ordering::Relaxed) > sample {
            return;
        }
        let total = now.saturating_duration_since(self.came(due));
        self.total.record(total);
        self.meters.end_to_end.record_duration(total);
        let number = self.frames.fetch_add(1, Ordering::Relaxed);
        self.sent_at[number as usize % SENT].store(self.micros(now), Ordering::Relaxed);
        if total.as_micros() as u32 > self.target_us.load(Ordering::Relaxed) {
            self.late_frames.fetch_add(1, Ordering::Relaxed);
            self.meters.deadline_misses.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A viewer saw the picture of media time `sample`, whose place on the clock is `due`, so long after it was sent.
    pub fn displayed(&self, sample: u64, due: Instant, after: Duration) {
        let frame = frame_id(sample);
        let Some(sent) = self.trace.end_of(frame, Stage::Send) else { return };
        // Several viewers may report the frame: the first is traced.
        if self.trace.end_of(frame, Stage::Display).is_none() {
            self.span(frame, Span { stage: Stage::Display, began: sent, cost: after });
        }
        let seen = (sent + after).saturating_duration_since(self.came(due));
        self.seen.record(seen);
        self.meters.seen.record_duration(seen);
    }

    fn micros(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.epoch).as_micros() as u64
    }

    /// Pictures a second over the last two.
    pub fn fps(&self, now: Instant) -> f32 {
        let since = self.micros(now).saturating_sub(2_000_000);
        let kept = self.frames().min(SENT as u64) as usize;
        let recent = || self.sent_at[..kept].iter().map(|t| t.load(Ordering::Relaxed)).filter(|t| *t >= since);
        match (recent().min(), recent().max(), recent().count()) {
            (Some(first), Some(last), count) if count > 1 => (count - 1) as f32 * 1e6 / (last - first).max(1000) as f32,
            _ => 0.0,
        }
    }

    pub fn total(&self) -> Percentiles {
        self.total.percentiles()
    }

    pub fn cost(&self, stage: Stage) -> Percentiles {
        self.stages[stage as usize].percentiles()
    }

    /// Stages that were measured, in the order of the path.
    pub fn stages(&self) -> Vec<StageReport> {
        let measured = Stage::ALL.into_iter().filter(|s| self.stages[*s as usize].any());
        measured.map(|s| StageReport { name: s.name(), cost: self.cost(s) }).collect()
    }

    pub fn rung(&self) -> Option<Rung> {
        let number = self.rung.load(Ordering::Relaxed).checked_sub(1)?;
        Rung::ALL.get(usize::from(number)).copied()
    }

    pub fn frames(&self) -> u64 {
        self.frames.load(Ordering::Relaxed)
    }

    pub fn late_frames(&self) -> u64 {
        self.late_frames.load(Ordering::Relaxed)
    }

    pub fn drops(&self) -> Drops {
        let of = |cause: Cause| self.drops[cause as usize].load(Ordering::Relaxed);
        Drops {
            sound_ms: self.sound_dropped_samples.load(Ordering::Relaxed) * 1000 / u64::from(crate::clock::SAMPLE_RATE),
            pictures: of(Cause::PictureLate) + of(Cause::PictureOvertaken),
            video: of(Cause::PictureViewer),
            audio: of(Cause::SoundPacketViewer),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(epoch: Instant) -> Stats {
        Stats::new(Arc::default(), epoch, Duration::from_millis(66))
    }

    #[test]
    fn stages_come_in_the_order_of_the_path_and_absent_ones_not() {
        let stats = stats(Instant::now());
        for stage in [Stage::Send, Stage::Features, Stage::Capture, Stage::Encode, Stage::Beat, Stage::Queue] {
            stats.stage(stage, Duration::from_millis(1));
        }
        let names: Vec<_> = stats.stages().iter().map(|s| s.name).collect();
        assert_eq!(names, ["capture", "queue", "features", "beat", "encode", "send"]);
    }

    #[test]
    fn late_frames_and_rate_are_counted_once_for_all_viewers() {
        let start = Instant::now();
        let stats = stats(start);
        for i in 0..90u32 {
            let at = start + Duration::from_secs_f64(f64::from(i) / 30.0);
            // Two viewers, one picture.
            for _ in 0..2 {
                stats.sent(at + Duration::from_millis(if i == 5 { 90 } else { 40 }), u64::from(i) * 800, at);
            }
        }
        assert_eq!((stats.frames(), stats.late_frames()), (90, 1));
        assert_eq!(stats.meters.deadline_misses.load(Ordering::Relaxed), 1);
        assert!((stats.fps(start + Duration::from_secs(3)) - 30.0).abs() < 0.1, "{}", stats.fps(start + Duration::from_secs(3)));
        assert_eq!(stats.fps(start + Duration::from_secs(9)), 0.0);
        stats.restart();
        assert_eq!((stats.frames(), stats.total().p50_ms), (0, 0.0));
        stats.sent(start + Duration::from_millis(10_010), 800 * 300, start + Duration::from_secs(10));
        assert_eq!(stats.frames(), 1);
    }

    #[test]
    fn a_frame_seen_is_traced_from_its_sending_and_counted_from_its_sound() {
        let start = Instant::now();
        let stats = stats(start);
        let at = |ms| start + Duration::from_millis(ms);
        stats.displayed(800, start, Duration::from_millis(28));
        assert!(!stats.seen.any(), "a frame that was not sent cannot have been seen");
        stats.trace.begin(1, Rung::OneStep);
        stats.span(1, Span { stage: Stage::Send, began: at(10), cost: Duration::from_millis(2) });
        stats.displayed(800, start, Duration::from_millis(28));
        assert_eq!(stats.cost(Stage::Display).p50_ms, 28.0);
        assert_eq!(stats.seen.percentiles().p50_ms, 40.0);
    }
}
