//! What a session measures of itself: stage costs over the last seconds, counts since its start. Reports only.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::live::Beat;

/// Frames that percentiles look back on: five seconds.
const WINDOW: usize = 150;
/// A frame later than this after its sound is late: two frame times.
pub const LATE: Duration = Duration::from_millis(66);

/// A sliding window of milliseconds.
#[derive(Debug, Default)]
struct Window(VecDeque<f32>);

impl Window {
    fn add(&mut self, ms: f32) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(ms);
    }

    fn percentiles(&self) -> Percentiles {
        let mut sorted: Vec<f32> = self.0.iter().copied().collect();
        sorted.sort_by(f32::total_cmp);
        let at = |p: f32| sorted.get(((sorted.len() as f32 * p) as usize).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0.0);
        Percentiles { p50_ms: at(0.5), p95_ms: at(0.95) }
    }
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50_ms: f32,
    pub p95_ms: f32,
}

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
    stages: Vec<(&'static str, Window)>,
    total: Window,
    sent_at: VecDeque<Instant>,
    sent_sample: Option<u64>,
    pub level_db: f32,
    /// What the newest sound waited before its place on the clock.
    pub capture_ms: f32,
    pub beat: Beat,
    pub rung: &'static str,
    pub frames: u64,
    pub late_frames: u64,
    pub drops: Drops,
    pub bitrate_bps: u32,
    pub media_samples: u64,
}

impl Default for Stats {
    fn default() -> Self {
        Self {
            stages: Vec::new(),
            total: Window::default(),
            sent_at: VecDeque::new(),
            sent_sample: None,
            level_db: -90.0,
            capture_ms: 0.0,
            beat: Beat::default(),
            rung: "idle",
            frames: 0,
            late_frames: 0,
            drops: Drops::default(),
            bitrate_bps: 0,
            media_samples: 0,
        }
    }
}

/// The path's own order; stages of the engine come between `queue` and `encode`.
const FIRST: [&str; 2] = ["capture", "queue"];
const LAST: [&str; 2] = ["encode", "send"];

impl Stats {
    pub fn stage(&mut self, name: &'static str, ms: f32) {
        if let Some((_, window)) = self.stages.iter_mut().find(|(n, _)| *n == name) {
            return window.add(ms);
        }
        let rank = |n: &str| match (FIRST.iter().position(|f| *f == n), LAST.iter().position(|l| *l == n)) {
            (Some(i), _) => i,
            (_, Some(i)) => 100 + i,
            _ => 50,
        };
        let at = self.stages.iter().position(|(n, _)| rank(n) > rank(name)).unwrap_or(self.stages.len());
        let mut window = Window::default();
        window.add(ms);
        self.stages.insert(at, (name, window));
    }

    /// The picture of media time `sample` went out at `now`, `since_heard` after its sound's place on the clock. To the
    /// first of its viewers: the others are not counted again.
    pub fn sent(&mut self, now: Instant, sample: u64, since_heard: Duration) {
        if self.sent_sample.is_some_and(|last| sample <= last) {
            return;
        }
        self.sent_sample = Some(sample);
        let total = since_heard + Duration::from_secs_f32(self.capture_ms.max(0.0) / 1000.0);
        self.total.add(total.as_secs_f32() * 1000.0);
        self.frames += 1;
        self.late_frames += u64::from(total > LATE);
        self.sent_at.push_back(now);
        while self.sent_at.front().is_some_and(|t| now.saturating_duration_since(*t) > Duration::from_secs(2)) {
            self.sent_at.pop_front();
        }
    }

    /// Pictures a second over the last two.
    pub fn fps(&self, now: Instant) -> f32 {
        let recent: Vec<&Instant> = self.sent_at.iter().filter(|t| now.saturating_duration_since(**t) <= Duration::from_secs(2)).collect();
        match (recent.first(), recent.last()) {
            (Some(first), Some(last)) if recent.len() > 1 => (recent.len() - 1) as f32 / (**last - **first).as_secs_f32().max(1e-3),
            _ => 0.0,
        }
    }

    pub fn total(&self) -> Percentiles {
        self.total.percentiles()
    }

    pub fn stages(&self) -> Vec<StageReport> {
        self.stages.iter().map(|(name, window)| StageReport { name, cost: window.percentiles() }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stages_come_in_the_order_of_the_path() {
        let mut stats = Stats::default();
        for name in ["send", "features", "capture", "encode", "beat", "queue"] {
            stats.stage(name, 1.0);
        }
        let names: Vec<_> = stats.stages().iter().map(|s| s.name).collect();
        assert_eq!(names, ["capture", "queue", "features", "beat", "encode", "send"]);
    }

    #[test]
    fn percentiles_forget_what_is_old() {
        let mut stats = Stats::default();
        for i in 0..WINDOW * 2 {
            stats.stage("send", if i < WINDOW { 100.0 } else { (i % 100) as f32 });
        }
        let cost = stats.stages()[0].cost;
        assert!((cost.p50_ms - 50.0).abs() <= 26.0 && cost.p95_ms < 100.0, "{cost:?}");
    }

    #[test]
    fn late_frames_and_rate_are_counted() {
        let mut stats = Stats::default();
        let start = Instant::now();
        for i in 0..60u32 {
            let at = start + Duration::from_secs_f64(f64::from(i) / 30.0);
            // Two viewers, one picture.
            for _ in 0..2 {
                stats.sent(at, u64::from(i) * 800, Duration::from_millis(if i == 5 { 90 } else { 40 }));
            }
        }
        assert_eq!((stats.frames, stats.late_frames), (60, 1));
        assert!((stats.fps(start + Duration::from_secs(2)) - 30.0).abs() < 0.1);
    }
}
