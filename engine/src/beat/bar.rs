//! Which of four beats is the first: the one where bass enters and the sustained sound (the chord) changes, judged
//! over many bars; until anything speaks, the one on which the music began.
//!
//! It knows bars of four beats only, and says nothing about how sure it is. It must not move the beat.

use crate::features::{HOP_FLOATS, MEL_BANDS};

const BEATS: usize = super::BEATS_PER_BAR as usize;
/// What is left of old evidence after each bar.
const FORGET: f32 = 0.88;
/// A new downbeat must have this much more evidence than the old one.
const ADVANTAGE: f32 = 1.3;
/// Worth of a change of the sustained spectrum (scaled log-mel, mean over bands) beside a hit.
const CHANGE: f32 = 10.0;

/// Downbeat finder, stepped every hop with the clock's beat count.
#[derive(Clone, Debug)]
pub struct Bar {
    /// Evidence that beats with this count (modulo 4) are downbeats.
    score: [f32; BEATS],
    downbeat: usize,
    low: f32,
    high: f32,
    /// Least of each band in this beat: what sustains, without the drums.
    floor: [f32; MEL_BANDS],
    before: [f32; MEL_BANDS],
    count: i64,
    /// Beats judged since the scores were last void.
    judged: u32,
}

impl Default for Bar {
    fn default() -> Self {
        Self {
            score: [0.0; BEATS],
            downbeat: 0,
            low: 0.0,
            high: 0.0,
            floor: [f32::MAX; MEL_BANDS],
            before: [0.0; MEL_BANDS],
            count: 0,
            judged: 0,
        }
    }
}

impl Bar {
    /// `beats` is the clock less the evidence's latency: the beat that this hop's evidence belongs to.
    pub fn step(&mut self, hop: &[f32; HOP_FLOATS], low: f32, high: f32, beats: f64) {
        // A beat's window opens a fifth before it, for those who play early; its hit must come near it.
        let count = (beats + 0.2).floor() as i64;
        if count != self.count {
            self.judge();
            self.count = count;
        }
        if beats - (count as f64) < 0.2 {
            self.low = self.low.max(low);
            self.high = self.high.max(high);
        } else {
            for (f, m) in self.floor.iter_mut().zip(hop) {
                *f = f.min(*m);
            }
        }
    }

    /// The window of beat `self.count` is over.
    fn judge(&mut self) {
        let mut change = 0.0;
        for (f, b) in self.floor.iter_mut().zip(&mut self.before) {
            if *f < f32::MAX {
                change += (*f - *b).abs();
                *b = *f;
            }
            *f = f32::MAX;
        }
        // Bass and change speak for a downbeat; a hit without bass is a snare's, on two or four.
        let evidence = self.low.max(0.0) + CHANGE * change / MEL_BANDS as f32 - 0.5 * (self.high - self.low).max(0.0);
        (self.low, self.high) = (0.0, 0.0);
        self.judged += 1;
        // The first beat may have been seen in part only.
        if self.judged == 1 {
            return;
        }
        let place = self.count.rem_euclid(BEATS as i64) as usize;
        self.score[place] += (1.0 - FORGET) * (evidence.max(0.0) - self.score[place]);
        if self.judged <= 3 * BEATS as u32 {
            return;
        }
        let best = (0..BEATS).max_by(|a, b| self.score[*a].total_cmp(&self.score[*b])).unwrap_or(0);
        if self.score[best] > ADVANTAGE * self.score[self.downbeat] + 1e-3 {
            self.downbeat = best;
        }
    }

    /// The music began at this beat: take it for the downbeat until evidence says otherwise.
    pub fn begin(&mut self, count: i64) {
        self.downbeat = count.rem_euclid(BEATS as i64) as usize;
    }

    /// Beats may have been miscounted: what was learnt is void, the downbeat stands until the next evidence.
    pub fn forget(&mut self) {
        self.score = [0.0; BEATS];
        self.judged = 0;
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
