//! The last few values of something, for percentiles that are read a dozen times a second.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;

/// Values that percentiles look back on: five seconds of frames.
const WINDOW: usize = 150;

#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    pub p50_ms: f32,
    pub p95_ms: f32,
}

/// A ring of durations in microseconds: writers store, readers copy and sort.
#[derive(Debug)]
pub struct Recent {
    values: Box<[AtomicU32; WINDOW]>,
    written: AtomicU64,
}

impl Default for Recent {
    fn default() -> Self {
        Self { values: Box::new([const { AtomicU32::new(0) }; WINDOW]), written: AtomicU64::new(0) }
    }
}

impl Recent {
    pub fn record(&self, duration: Duration) {
        let at = self.written.fetch_add(1, Ordering::Relaxed) as usize % WINDOW;
        self.values[at].store(duration.as_micros().min(u128::from(u32::MAX)) as u32, Ordering::Relaxed);
    }

    pub fn clear(&self) {
        self.written.store(0, Ordering::Relaxed);
    }

    /// Whether anything was recorded since it was cleared.
    pub fn any(&self) -> bool {
        self.written.load(Ordering::Relaxed) > 0
    }

    /// Zeros if nothing was recorded.
    pub fn percentiles(&self) -> Percentiles {
        let kept = (self.written.load(Ordering::Relaxed) as usize).min(WINDOW);
        let mut sorted: Vec<u32> = self.values[..kept].iter().map(|v| v.load(Ordering::Relaxed)).collect();
        sorted.sort_unstable();
        let at = |p: f32| sorted.get(((kept as f32 * p) as usize).min(kept.saturating_sub(1))).map_or(0.0, |us| *us as f32 / 1000.0);
        Percentiles { p50_ms: at(0.5), p95_ms: at(0.95) }
    }
}

/// The newest value of something.
#[derive(Debug, Default)]
pub struct Gauge(AtomicU32);

impl Gauge {
    pub fn new(value: f32) -> Self {
        Self(AtomicU32::new(value.to_bits()))
    }

    pub fn set(&self, value: f32) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }

    pub fn get(&self) -> f32 {
        f32::from_bits(self.0.load(Ordering::Relaxed))
    }
}

/// A value that follows what is measured, with a memory of some ten measurements.
#[derive(Debug)]
pub struct Smooth(Gauge);

impl Default for Smooth {
    fn default() -> Self {
        Self(Gauge::new(f32::NAN))
    }
}

impl Smooth {
    /// One writer at a time; two at once lose one of the measurements.
    pub fn follow(&self, value: f32) {
        let old = self.0.get();
        self.0.set(if old.is_nan() { value } else { old + 0.2 * (value - old) });
    }

    pub fn known(&self) -> bool {
        !self.0.get().is_nan()
    }

    /// Zero if nothing was measured.
    pub fn get(&self) -> f32 {
        Some(self.0.get()).filter(|v| !v.is_nan()).unwrap_or(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_forget_what_is_old() {
        let recent = Recent::default();
        assert_eq!(recent.percentiles(), Percentiles::default());
        for i in 0..WINDOW as u64 * 2 {
            recent.record(Duration::from_millis(if i < WINDOW as u64 { 200 } else { i % 100 }));
        }
        let cost = recent.percentiles();
        assert!((cost.p50_ms - 50.0).abs() <= 26.0 && cost.p95_ms < 100.0, "{cost:?}");
        recent.clear();
        assert_eq!(recent.percentiles(), Percentiles::default());
    }
}
