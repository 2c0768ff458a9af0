//! A histogram with fixed bounds: recording is two atomic additions, and what Prometheus reads is what is there.
//!
//! `hdrhistogram` was considered: its concurrent form records through a recorder of each thread and grows its counts, which
//! allocates. Twenty fixed bounds are what a scrape carries anyway.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of durations, in microseconds.
pub const DURATIONS: &[i64] = &[
    100, 200, 500, 1_000, 2_000, 3_000, 5_000, 7_500, 10_000, 15_000, 20_000, 25_000, 33_333, 50_000, 66_667, 100_000, 150_000, 250_000, 500_000,
    1_000_000,
];
/// Upper bounds of what may come early or late, in microseconds.
pub const OFFSETS: &[i64] =
    &[-200_000, -100_000, -60_000, -40_000, -20_000, -10_000, -5_000, 0, 5_000, 10_000, 20_000, 40_000, 60_000, 100_000, 200_000];
/// Upper bounds of shares, in millionths.
pub const SHARES: &[i64] = &[0, 1_000, 5_000, 10_000, 20_000, 50_000, 100_000, 200_000, 500_000];

/// Values in millionths of the unit (microseconds of seconds), counted below each bound.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [i64],
    /// One for every bound, and one for what is above all.
    counts: Box<[AtomicU64]>,
    sum: AtomicI64,
}

impl Histogram {
    pub fn new(bounds: &'static [i64]) -> Self {
        Self { bounds, counts: (0..=bounds.len()).map(|_| AtomicU64::new(0)).collect(), sum: AtomicI64::new(0) }
    }

    /// Records a value in millionths of the unit.
    pub fn record(&self, millionths: i64) {
        let at = self.bounds.partition_point(|bound| *bound < millionths);
        self.counts[at].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(millionths, Ordering::Relaxed);
    }

    pub fn record_duration(&self, duration: Duration) {
        self.record(duration.as_micros().min(i64::MAX as u128) as i64);
    }

    /// Sum, count, and each bound with the values up to it but above the one before; in units.
    pub fn read(&self) -> (f64, u64, Vec<(f64, u64)>) {
        let bounds = self.bounds.iter().map(|b| *b as f64 / 1e6).chain([f64::MAX]);
        let buckets: Vec<_> = bounds.zip(self.counts.iter().map(|c| c.load(Ordering::Relaxed))).collect();
        (self.sum.load(Ordering::Relaxed) as f64 / 1e6, buckets.iter().map(|b| b.1).sum(), buckets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_fall_under_their_bound_and_the_highest_above_all() {
        let histogram = Histogram::new(OFFSETS);
        for value in [-300_000, -200_000, 0, 1, 5_000, 5_001, 900_000] {
            histogram.record(value);
        }
        let (sum, count, buckets) = histogram.read();
        assert_eq!(count, 7);
        assert!((sum - 0.410_002).abs() < 1e-9, "{sum}");
        let under = |bound: f64| buckets.iter().find(|b| b.0 == bound).unwrap().1;
        assert_eq!([under(-0.2), under(0.0), under(0.005), under(0.01), under(f64::MAX)], [2, 1, 2, 1, 1]);
    }

    #[test]
    fn threads_record_at_once_and_nothing_is_lost() {
        let histogram = Histogram::new(DURATIONS);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|i| histogram.record(i)));
            }
        });
        let (sum, count, _) = histogram.read();
        assert_eq!((count, (sum * 1e6).round() as u64), (40_000, 4 * 9_999 * 5_000));
    }
}
