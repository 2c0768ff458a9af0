//! A forward filter over (tempo, phase): the probability that the music is at each point of a beat at each tempo.
//!
//! A state is a tempo (a beat of `n` quarter hops, 55 to 215 BPM) and a place in that beat. Every step all states
//! move on by as many places as a step has; where a beat ends, the tempo may change a little. What the network believes
//! multiplies the states. It must not allocate once built.

use super::network::{Belief, HOPS_PER_STEP, PLACES, POSITIONS, TEMPI, class_of};

/// Places to a step.
const FINE: usize = 4 * HOPS_PER_STEP;
/// Quarter hops per minute.
const PER_MINUTE: f64 = 60.0 * 60.0 * 4.0;
const SLOWEST_BPM: f64 = 55.0;
const FASTEST_BPM: f64 = 215.0;
/// How strongly one step's belief about phase and tempo counts: steps that follow each other say much the same.
const PHASE_TRUST: f32 = 0.25;
const TEMPO_TRUST: f32 = 0.06;
/// The least share of an even belief that the network is taken to leave to everything: it may be surely wrong.
const DOUBT: f32 = 0.08;
/// Readiness to change tempo at a beat: higher is steadier.
const STEADINESS: f64 = 120.0;
/// Probability of any tempo at all after a beat.
const SURPRISE: f64 = 1e-3;
/// Per step, this share of belief is spread over everything: what was ruled out can come back.
const LEAK: f32 = 1e-3;
/// Phases that the evidence table tells apart.
const TABLE: usize = 128;

struct Tempo {
    /// Places in the beat.
    places: usize,
    /// Start of this tempo's states.
    start: usize,
    /// Which of the network's tempo classes it is, with its fraction.
    class: f32,
}

/// The filter.
pub struct Pointer {
    tempi: Vec<Tempo>,
    belief: Vec<f32>,
    /// Which entry of the evidence table each state uses.
    entry: Vec<u8>,
    /// `[from][to]`.
    change: Vec<f32>,
    arriving: Vec<f32>,
    next: Vec<f32>,
    scratch: Vec<f32>,
}

/// What the belief amounts to.
#[derive(Clone, Copy, Debug)]
pub struct Reading {
    /// Beats per minute.
    pub bpm: f64,
    /// Phase in beats, 0..1, at the newest hop.
    pub phase: f64,
    /// 0..1: share of belief at this tempo, times how sharp its phase is.
    pub sharpness: f32,
}

impl Default for Pointer {
    fn default() -> Self {
        Self::new()
    }
}

impl Pointer {
    pub fn new() -> Self {
        let shortest = (PER_MINUTE / FASTEST_BPM).ceil() as usize;
        let longest = (PER_MINUTE / SLOWEST_BPM).floor() as usize;
        let (mut tempi, mut entry, mut start) = (Vec::new(), Vec::new(), 0);
        for places in shortest..=longest {
            entry.extend((0..places).map(|p| (p * TABLE / places) as u8));
            let class = class_of(PER_MINUTE / places as f64).clamp(0.0, (TEMPI - 1) as f64);
            tempi.push(Tempo { places, start, class: class as f32 });
            start += places;
        }
        let count = tempi.len();
        let mut change = vec![0.0; count * count];
        for (i, row) in change.chunks_exact_mut(count).enumerate() {
            let from = tempi[i].places as f64;
            let near: Vec<f64> =
                tempi.iter().map(|t| (-STEADINESS * (t.places as f64 / from - 1.0).abs()).exp()).collect();
            let sum: f64 = near.iter().sum();
            for (c, n) in row.iter_mut().zip(&near) {
                *c = ((1.0 - SURPRISE) * n / sum + SURPRISE / count as f64) as f32;
            }
        }
        let mut pointer = Self {
            belief: vec![0.0; start],
            scratch: vec![0.0; longest + FINE],
            entry,
            change,
            arriving: vec![0.0; count * FINE],
            next: vec![0.0; count * FINE],
            tempi,
        };
        pointer.reset();
        pointer
    }

    /// Back to knowing nothing.
    pub fn reset(&mut self) {
        let share = 1.0 / self.tempi.len() as f32;
        for t in &self.tempi {
            self.belief[t.start..t.start + t.places].fill(share / t.places as f32);
        }
    }

    /// One step later, with what the network believes now.
    pub fn step(&mut self, heard: &Belief) {
        self.advance();
        let mut phase = [0.0; PLACES];
        for p in 0..POSITIONS {
            phase[p % PLACES] += heard.position[p];
        }
        // 1 is even; without music everything is.
        let doubt = 1.0 - (1.0 - DOUBT) * heard.music;
        let mut likely = [0.0; TABLE];
        for (i, l) in likely.iter_mut().enumerate() {
            // The middle of an entry lies between two of the network's places.
            let at = (i as f32 + 0.5) * PLACES as f32 / TABLE as f32;
            let (low, share) = (at as usize, at.fract());
            let p = phase[low % PLACES] * (1.0 - share) + phase[(low + 1) % PLACES] * share;
            *l = (doubt + (1.0 - doubt) * p * PLACES as f32).powf(PHASE_TRUST);
        }
        let mut total = 0.0;
        for t in &self.tempi {
            let (low, share) = (t.class as usize, t.class.fract());
            let p = heard.tempo[low] * (1.0 - share) + heard.tempo[(low + 1).min(TEMPI - 1)] * share;
            let fits = (doubt + (1.0 - doubt) * p * TEMPI as f32).powf(TEMPO_TRUST);
            let states = t.start..t.start + t.places;
            for (b, e) in self.belief[states.clone()].iter_mut().zip(&self.entry[states]) {
                *b *= likely[usize::from(*e) % TABLE] * fits;
                total += *b;
            }
        }
        let keep = (1.0 - LEAK) / total.max(1e-30);
        let share = LEAK / self.tempi.len() as f32;
        for t in &self.tempi {
            let spread = share / t.places as f32;
            for b in &mut self.belief[t.start..t.start + t.places] {
                *b = *b * keep + spread;
            }
        }
    }

    /// All states move on by one step; those that pass a beat choose a tempo.
    fn advance(&mut self) {
        let count = self.tempi.len();
        for (i, t) in self.tempi.iter().enumerate() {
            let states = &mut self.belief[t.start..t.start + t.places];
            for (k, b) in states[t.places - FINE..].iter().enumerate() {
                self.arriving[k * count + i] = *b;
            }
            states.copy_within(..t.places - FINE, FINE);
        }
        self.next.fill(0.0);
        for (arriving, next) in self.arriving.chunks_exact(count).zip(self.next.chunks_exact_mut(count)) {
            for (a, row) in arriving.iter().zip(self.change.chunks_exact(count)) {
                if *a > 1e-12 {
                    for (n, c) in next.iter_mut().zip(row) {
                        *n += a * c;
                    }
                }
            }
        }
        for (i, t) in self.tempi.iter().enumerate() {
            for k in 0..FINE {
                self.belief[t.start + k] = self.next[k * count + i];
            }
        }
    }

    /// Tempo and phase of the strongest hypothesis and its neighbours.
    pub fn reading(&mut self) -> Reading {
        let count = self.tempi.len();
        let weights = &mut self.scratch[..count];
        for (w, t) in weights.iter_mut().zip(&self.tempi) {
            *w = self.belief[t.start..t.start + t.places].iter().sum();
        }
        // The strongest tempo is the one with most belief within a few per cent around it.
        let around = |i: usize| {
            let reach = self.tempi[i].places / 25;
            i.saturating_sub(reach)..(i + reach + 1).min(count)
        };
        let mut best = (0, -1.0_f32);
        for i in 0..count {
            let sum: f32 = weights[around(i)].iter().sum();
            if sum > best.1 {
                best = (i, sum);
            }
        }
        let range = around(best.0);
        let (mut log_bpm, mut sin, mut cos) = (0.0, 0.0, 0.0);
        for i in range {
            let t = &self.tempi[i];
            log_bpm += f64::from(weights[i]) * (PER_MINUTE / t.places as f64).ln();
            let turn = std::f32::consts::TAU / t.places as f32;
            let (mut s, mut c) = (0.0, 0.0);
            // Rotate instead of asking for a sine per state.
            let (step_s, step_c) = turn.sin_cos();
            let (mut at_s, mut at_c) = (0.0_f32, 1.0_f32);
            for b in &self.belief[t.start..t.start + t.places] {
                s += b * at_s;
                c += b * at_c;
                (at_s, at_c) = (at_s * step_c + at_c * step_s, at_c * step_c - at_s * step_s);
            }
            sin += f64::from(s);
            cos += f64::from(c);
        }
        let mass = f64::from(best.1).max(1e-12);
        Reading {
            bpm: (log_bpm / mass).exp(),
            phase: (sin.atan2(cos) / std::f64::consts::TAU).rem_euclid(1.0),
            // mass * (length / mass): the length itself.
            sharpness: (sin.hypot(cos) as f32).clamp(0.0, 1.0),
        }
    }
}
