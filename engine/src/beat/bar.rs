//! Which of four beats is the first: what the network believes of the position in the bar, gathered over bars.
//!
//! It knows bars of four beats only. It must not move the beat.

use super::network::{Belief, PLACES};

const BEATS: usize = super::BEATS_PER_BAR as usize;
/// Share of a step in the running evidence: about 8 s.
const FORGET: f32 = 1.0 / 240.0;
/// The new downbeat must have this much more evidence than the old one, in mean log probability.
const ADVANTAGE: f32 = 0.08;
/// Steps of evidence before the downbeat may move.
const FEWEST: u32 = 60;
/// A place that the network rules out is not ruled out more than this.
const LEAST: f32 = 0.02;

/// Downbeat finder, stepped with the clock's beat count.
#[derive(Clone, Debug, Default)]
pub struct Bar {
    /// Mean log probability that beats with this count (modulo 4) are downbeats.
    score: [f32; BEATS],
    downbeat: usize,
    steps: u32,
}

impl Bar {
    /// What the network believes when the clock stands at `beats`.
    pub fn step(&mut self, heard: &Belief, beats: f64) {
        let count = beats.floor();
        // The share of the belief that this beat is the bar's k-th: of the places half a beat around the clock's phase.
        let phase = (beats - count) * PLACES as f64;
        let mut share = [0.0_f32; BEATS];
        for (k, s) in share.iter_mut().enumerate() {
            let at = k * PLACES + phase as usize;
            for d in 0..PLACES {
                let place = (at + BEATS * PLACES + d - PLACES / 2) % (BEATS * PLACES);
                *s += heard.position[place];
            }
        }
        let total: f32 = share.iter().sum::<f32>().max(1e-6);
        self.steps = self.steps.saturating_add(1);
        let pace = FORGET.max(1.0 / self.steps as f32) * heard.music;
        for (k, s) in share.iter().enumerate() {
            // If this is the bar's k-th beat, the downbeat was k beats ago.
            let downbeat = (count as i64 - k as i64).rem_euclid(BEATS as i64) as usize;
            let log = (s / total).max(LEAST).ln();
            self.score[downbeat] += pace * (log - self.score[downbeat]);
        }
        let best = (0..BEATS).max_by(|a, b| self.score[*a].total_cmp(&self.score[*b])).unwrap_or(0);
        if self.steps >= FEWEST && self.score[best] > self.score[self.downbeat] + ADVANTAGE {
            self.downbeat = best;
        }
    }

    /// Beats may have been miscounted: what was learnt is void, the downbeat stands until the next evidence.
    pub fn forget(&mut self) {
        self.score = [0.0; BEATS];
        self.steps = 0;
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
        self.forget();
        self.downbeat = count.rem_euclid(BEATS as i64) as usize;
        self.score[self.downbeat] = 1.0;
    }
}
