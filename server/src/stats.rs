//! What a session costs and loses: kept by its thread, read by pages and metrics.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use odori_engine::beat::BeatState;
use odori_engine::pipeline::{SAMPLE_RATE, Stage};
use serde::Serialize;

/// Figures cover about the last five seconds.
const WINDOW: usize = 150;

/// The newest values of one figure.
#[derive(Clone, Debug, Default)]
pub struct Window(VecDeque<f64>);

impl Window {
    pub fn add(&mut self, value: f64) {
        if self.0.len() == WINDOW {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    /// Values below which these shares lie; zeros if there are none.
    pub fn quantiles<const N: usize>(&self, shares: [f64; N]) -> [f64; N] {
        let mut sorted: Vec<f64> = self.0.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        shares.map(|share| match sorted.len() {
            0 => 0.0,
            n => sorted[((n - 1) as f64 * share).round() as usize],
        })
    }
}

/// Frames a second over the last two.
#[derive(Clone, Debug, Default)]
pub struct Rate(VecDeque<Instant>);

impl Rate {
    pub fn add(&mut self, now: Instant) {
        self.0.push_back(now);
        while self.0.front().is_some_and(|t| now - *t > Duration::from_secs(2)) {
            self.0.pop_front();
        }
    }

    fn per_second(&self, now: Instant) -> f64 {
        self.0.iter().filter(|t| now - **t <= Duration::from_secs(2)).count() as f64 / 2.0
    }
}

#[derive(Default)]
pub struct Stats {
    stages: [Window; Stage::ALL.len()],
    pub encode: Window,
    pub send: Window,
    /// Sound in to packet out.
    pub total: Window,
    pub frames: Rate,
    pub rung: &'static str,
    /// Frames made on each rung since the session began.
    pub rungs: BTreeMap<&'static str, u64>,
    pub beat: BeatState,
}

impl Stats {
    pub fn stage(&mut self, stage: Stage) -> &mut Window {
        &mut self.stages[stage as usize]
    }
}

/// What only ever grows.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames handed to the network, over all viewers.
    pub sent: AtomicU64,
    /// Frames whose picture was skipped because they were late.
    pub late: AtomicU64,
    /// Frames lost between the session and slow viewers.
    pub dropped: Arc<AtomicU64>,
    /// Samples of live sound nobody took in time.
    pub sound_dropped: AtomicU64,
    /// Times the clock was begun anew because the machine stood still.
    pub restarts: AtomicU64,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct StageStatus {
    pub name: &'static str,
    pub p50_ms: f64,
    pub p95_ms: f64,
    pub p99_ms: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p95_ms: f64,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct BeatStatus {
    pub bpm: f32,
    pub beat_phase: f32,
    pub bar_phase: f32,
    pub confidence: f32,
}

/// One message of the session's event stream; `server/API.md` describes it.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Status {
    pub state: &'static str,
    pub error: Option<String>,
    pub level_db: f64,
    pub media_s: f64,
    pub beat: BeatStatus,
    pub total: Percentiles,
    pub stages: Vec<StageStatus>,
    pub rung: &'static str,
    pub rungs: BTreeMap<&'static str, u64>,
    pub fps: f64,
    pub frames: u64,
    pub late_frames: u64,
    pub dropped_frames: u64,
    pub sound_dropped_ms: u64,
    pub clock_restarts: u64,
    pub viewers: usize,
}

fn stage_status(name: &'static str, window: &Window) -> StageStatus {
    let [p50_ms, p95_ms, p99_ms] = window.quantiles([0.5, 0.95, 0.99]).map(round);
    StageStatus { name, p50_ms, p95_ms, p99_ms }
}

fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

impl Status {
    pub fn new(stats: &Stats, counters: &Counters, state: &'static str, viewers: usize, energy: f32, media: u64, error: Option<String>) -> Self {
        let [p50_ms, p95_ms] = stats.total.quantiles([0.5, 0.95]).map(round);
        let stages = Stage::ALL
            .iter()
            .map(|s| stage_status(s.name(), &stats.stages[*s as usize]))
            .chain([stage_status("encode", &stats.encode), stage_status("send", &stats.send)])
            .collect();
        Status {
            state,
            error,
            level_db: f64::from(10.0 * energy.max(1e-9).log10()),
            media_s: media as f64 / f64::from(SAMPLE_RATE),
            beat: BeatStatus {
                bpm: stats.beat.bpm as f32,
                beat_phase: stats.beat.beat_phase as f32,
                bar_phase: stats.beat.bar_phase as f32,
                confidence: stats.beat.confidence as f32,
            },
            total: Percentiles { p50_ms, p95_ms },
            stages,
            rung: stats.rung,
            rungs: stats.rungs.clone(),
            fps: stats.frames.per_second(Instant::now()),
            frames: counters.sent.load(Ordering::Relaxed),
            late_frames: counters.late.load(Ordering::Relaxed),
            dropped_frames: counters.dropped.load(Ordering::Relaxed),
            sound_dropped_ms: counters.sound_dropped.load(Ordering::Relaxed) / 24,
            clock_restarts: counters.restarts.load(Ordering::Relaxed),
            viewers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_of_the_newest_values() {
        let mut window = Window::default();
        assert_eq!(window.quantiles([0.5]), [0.0]);
        for i in 0..1000 {
            window.add(f64::from(i));
        }
        let [p50, p95] = window.quantiles([0.5, 0.95]);
        assert!((p50 - 925.0).abs() <= 1.0, "{p50}");
        assert!((p95 - 992.0).abs() <= 1.0, "{p95}");
    }
}
