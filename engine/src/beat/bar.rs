//! Which of four beats is the first: the one where bass enters and the sound changes, judged over many bars.
//!
//! It knows bars of four beats only, and says nothing about how sure it is. It must not move the beat.

use crate::features::{HOP_FLOATS, MEL_BANDS};

const BEATS: usize = super::BEATS_PER_BAR as usize;
/// What is left of old evidence after each bar.
const FORGET: f32 = 0.88;
/// A new downbeat must have this much more evidence than the old one.
const ADVANTAGE: f32 = 1.15;

/// Downbeat finder, stepped every hop with the clock's beat count.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Evidence that beats with this count (modulo 4) are downbeats.
    score: [f32; BEATS],
    downbeat: usize,
    low: f32,
    high: f32,
    sum: [f32; MEL_BANDS],
    before: [f32; MEL_BANDS],
    hops: u32,
    count: i64,
}

impl Default for Bar {
    fn default() -> Self {
        Self {
            score: [0.0; BEATS],
            downbeat: 0,
            low: 0.0,
            high: 0.0,
            sum: [0.0; MEL_BANDS],
            before: [0.0; MEL_BANDS],
            hops: 0,
            count: 0,
        }
    }
}

impl Bar {
    /// `beats` is the clock less the evidence's latency plus a quarter, so that a beat's window opens a quarter
    /// before it.
    pub fn step(&mut self, hop: &[f32; HOP_FLOATS], low: f32, high: f32, beats: f64) {
        let count = (beats + 0.25).floor() as i64;
        if count != self.count {
            self.judge();
            self.count = count;
        }
        self.low = self.low.max(low);
        self.high = self.high.max(high);
        self.hops += 1;
        for (s, m) in self.sum.iter_mut().zip(hop) {
            *s += m;
        }
    }

    /// The window of beat `self.count` is over.
    fn judge(&mut self) {
        let hops = self.hops.max(1) as f32;
        let mut change = 0.0;
        for (s, b) in self.sum.iter_mut().zip(&mut self.before) {
            let mean = *s / hops;
            change += (mean - *b).abs();
            *b = mean;
            *s = 0.0;
        }
        // Bass and change speak for a downbeat; a hit without bass is a snare's, on two or four.
        let evidence = self.low.max(0.0) + 8.0 * change / MEL_BANDS as f32 - 0.35 * (self.high - self.low).max(0.0);
        let place = self.count.rem_euclid(BEATS as i64) as usize;
        self.score[place] = FORGET * self.score[place] + (1.0 - FORGET) * evidence.max(0.0);
        (self.low, self.high, self.hops) = (0.0, 0.0, 0);
        let best = (0..BEATS).max_by(|a, b| self.score[*a].total_cmp(&self.score[*b])).unwrap_or(0);
        if self.score[best] > ADVANTAGE * self.score[self.downbeat] + 1e-3 {
            self.downbeat = best;
        }
    }

    /// Phase in the bar, 0..1, for a beat count of the clock.
    pub fn phase(&self, beats: f64) -> f64 {
        ((beats - self.downbeat as f64) / BEATS as f64).rem_euclid(1.0)
    }

    /// Is the beat with this count a downbeat?
    pub fn is_downbeat(&self, count: i64) -> bool {
        count.rem_euclid(BEATS as i64) as usize == self.downbeat
    }

    /// Declares this beat count the downbeat.
    pub fn set_downbeat(&mut self, count: i64) {
        self.downbeat = count.rem_euclid(BEATS as i64) as usize;
        self.score = [0.0; BEATS];
        self.score[self.downbeat] = 1.0;
    }
}
