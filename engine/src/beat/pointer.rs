//! A forward filter over (tempo, phase): the probability that the music is at each point of a beat at each tempo.
//!
//! A state is a tempo (a beat of `n` quarter hops, 55 to 215 BPM) and a place in that beat. Every hop all states
//! move on by four places; where a beat ends, the tempo may change a little. Evidence multiplies states near
//! their beat up when there is an onset, and down when there is none. It must not allocate once built.

/// Places per hop.
const FINE: usize = 4;
/// Quarter hops per minute.
const PER_MINUTE: f64 = 60.0 * 60.0 * FINE as f64;
const SLOWEST_BPM: f64 = 55.0;
const FASTEST_BPM: f64 = 215.0;
/// Where tempi are most usual, and how many octaves away they are unusual.
const USUAL_BPM: f64 = 112.0;
const USUAL_OCTAVES: f64 = 0.55;
/// How strongly evidence counts.
const TRUST: f32 = 0.85;
/// An onset counts within about this many hops of the beat.
const WIDTH_HOPS: f64 = 1.3;
/// Worth of an onset on the half beat, beside one on the beat.
const OFFBEAT: f64 = 0.4;
/// Readiness to change tempo at a beat: higher is steadier.
const STEADINESS: f64 = 120.0;
/// Probability of any tempo at all after a beat.
const SURPRISE: f64 = 2e-4;
/// Per hop, this share of belief is spread over everything: what was ruled out can come back.
const LEAK: f32 = 5e-4;
/// How much a tempo's unusualness costs at each beat.
const BIAS: f64 = 0.15;
/// Distances from the beat, in quarter hops, that the evidence table tells apart.
const TABLE: usize = 64;

struct Tempo {
    /// Places in the beat.
    places: usize,
    /// Start of this tempo's states.
    start: usize,
    /// Mean of the template, so that no tempo gains from onsets at random.
    mean: f32,
    prior: f32,
}

/// The filter.
pub struct Pointer {
    tempi: Vec<Tempo>,
    belief: Vec<f32>,
    /// Which entry of the evidence table each state uses.
    entry: Vec<u8>,
    template: [f32; TABLE],
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
    /// Phase in beats, 0..1, of the evidence (its own latency not yet taken off).
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
        let bump = |hops: f64| (-0.5 * (hops / WIDTH_HOPS).powi(2)).exp();
        // Entry 2 d: distance d from the beat; odd entries: distance from the half beat.
        let mut template = [0.0; TABLE];
        for d in 0..TABLE / 2 - 1 {
            let t = bump(d as f64 / FINE as f64);
            template[2 * d] = t as f32;
            template[2 * d + 1] = (OFFBEAT * t) as f32;
        }
        let (mut tempi, mut entry, mut start) = (Vec::new(), Vec::new(), 0);
        for places in shortest..=longest {
            let mut sum = 0.0;
            for p in 0..places {
                let from_beat = p.min(places - p).min(TABLE / 2 - 1);
                let from_half = (2 * p).abs_diff(places).div_ceil(2).min(TABLE / 2 - 1);
                let (a, b) = (2 * from_beat, 2 * from_half + 1);
                let best = if template[a] >= template[b] { a } else { b };
                sum += template[best];
                entry.push(best as u8);
            }
            let octaves = (PER_MINUTE / places as f64 / USUAL_BPM).log2() / USUAL_OCTAVES;
            let prior = (-0.5 * octaves * octaves).exp() as f32;
            tempi.push(Tempo { places, start, mean: sum / places as f32, prior });
            start += places;
        }
        let total: f32 = tempi.iter().map(|t| t.prior).sum();
        tempi.iter_mut().for_each(|t| t.prior /= total);
        let count = tempi.len();
        let mut change = vec![0.0; count * count];
        for (i, row) in change.chunks_exact_mut(count).enumerate() {
            let from = tempi[i].places as f64;
            let near: Vec<f64> =
                tempi.iter().map(|t| (-STEADINESS * (t.places as f64 / from - 1.0).abs()).exp()).collect();
            let sum: f64 = near.iter().sum();
            for ((c, n), t) in row.iter_mut().zip(&near).zip(&tempi) {
                let octaves = (PER_MINUTE / t.places as f64 / USUAL_BPM).log2() / USUAL_OCTAVES;
                let kept = (1.0 - SURPRISE) * n / sum + SURPRISE * f64::from(t.prior);
                *c = (kept * (-BIAS * octaves * octaves).exp()) as f32;
            }
        }
        let mut pointer = Self {
            belief: vec![0.0; start],
            scratch: vec![0.0; longest + FINE],
            entry,
            template,
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
        for t in &self.tempi {
            self.belief[t.start..t.start + t.places].fill(t.prior / t.places as f32);
        }
    }

    /// One hop later, with this evidence (see [`super::onset::Evidence`]).
    pub fn step(&mut self, onset: f32) {
        self.advance();
        let mut likely = [0.0; TABLE];
        for (l, t) in likely.iter_mut().zip(self.template) {
            *l = (TRUST * onset * t).exp();
        }
        let mut total = 0.0;
        for t in &self.tempi {
            let fair = (-TRUST * onset * t.mean).exp();
            let states = t.start..t.start + t.places;
            for (b, e) in self.belief[states.clone()].iter_mut().zip(&self.entry[states]) {
                *b *= likely[usize::from(*e) % TABLE] * fair;
                total += *b;
            }
        }
        let (keep, leak) = ((1.0 - LEAK) / total.max(1e-30), LEAK);
        for t in &self.tempi {
            let spread = leak * t.prior / t.places as f32;
            for b in &mut self.belief[t.start..t.start + t.places] {
                *b = *b * keep + spread;
            }
        }
    }

    /// All states move on by one hop; those that pass a beat choose a tempo.
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
