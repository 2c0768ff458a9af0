//! Causal log-mel and onset strength at 60 Hz; the same numbers as `training/odori_training/features.py`.
//!
//! At hop `h` = 1, 2, ... (when sample `400 h` has arrived) the last 1024 samples, zeros before the start, under
//! a periodic Hann window give a power spectrum; 80 triangles on the HTK mel scale give bands; a logarithm gives
//! the mel. The onset strength is the SuperFlux of that hop against the hop two before, maximum-filtered by one
//! band. A hop's vector is 80 scaled log-mels and the flux.
//!
//! It must not look ahead, adapt its gain, or allocate once built.

use std::collections::VecDeque;
use std::sync::Arc;

use rustfft::num_complex::Complex32;
use rustfft::{Fft, FftPlanner};

/// Samples between hops, at 24 kHz: 60 hops per second.
pub const HOP_SAMPLES: usize = 400;
/// Hops per second.
pub const HOPS_PER_SECOND: f64 = 60.0;
/// Samples under the window.
pub const WINDOW_SAMPLES: usize = 1024;
/// Mel bands.
pub const MEL_BANDS: usize = 80;
/// Floats of one hop: the bands, then the onset strength.
pub const HOP_FLOATS: usize = MEL_BANDS + 1;
/// Hops joined into one music token.
pub const TOKEN_HOPS: usize = 4;
/// Floats of one music token: the four newest hops, oldest first.
pub const TOKEN_FLOATS: usize = TOKEN_HOPS * HOP_FLOATS;
/// Log-mels leave with this factor, so that loud music stays near 1.
pub const MEL_SCALE: f32 = 0.25;

const RATE: f64 = 24_000.0;
const BINS: usize = WINDOW_SAMPLES / 2 + 1;
const LOWEST_HZ: f64 = 30.0;
const HIGHEST_HZ: f64 = 11_000.0;
const FLUX_LAG: usize = 2;

/// One triangle: weights of `weights.len()` bins from `first`.
struct Band {
    first: usize,
    weights: Vec<f32>,
}

/// Streaming extractor. Push samples, then drain hops.
pub struct Features {
    fft: Arc<dyn Fft<f32>>,
    window: Vec<f32>,
    bands: Vec<Band>,
    /// The last `WINDOW_SAMPLES` samples before the next hop, and those not yet used.
    ring: VecDeque<f32>,
    /// Samples that have arrived since the last hop.
    fresh: usize,
    spectrum: Vec<Complex32>,
    scratch: Vec<Complex32>,
    power: [f32; BINS],
    /// Unscaled log-mels of the last hops, newest first.
    past: [[f32; MEL_BANDS]; FLUX_LAG],
    hop: [f32; HOP_FLOATS],
    hops: u64,
}

impl Default for Features {
    fn default() -> Self {
        Self::new()
    }
}

impl Features {
    pub fn new() -> Self {
        let fft = FftPlanner::new().plan_fft_forward(WINDOW_SAMPLES);
        let scratch = vec![Complex32::default(); fft.get_inplace_scratch_len()];
        let turn = std::f64::consts::TAU / WINDOW_SAMPLES as f64;
        let mut features = Self {
            fft,
            window: (0..WINDOW_SAMPLES).map(|i| (0.5 - 0.5 * (turn * i as f64).cos()) as f32).collect(),
            bands: mel_bands(),
            ring: VecDeque::with_capacity(WINDOW_SAMPLES + 64 * HOP_SAMPLES),
            fresh: 0,
            spectrum: vec![Complex32::default(); WINDOW_SAMPLES],
            scratch,
            power: [0.0; BINS],
            past: [[0.0; MEL_BANDS]; FLUX_LAG],
            hop: [0.0; HOP_FLOATS],
            hops: 0,
        };
        features.reset();
        features
    }

    /// Forgets everything: the next sample is sample 0 of a new stream.
    pub fn reset(&mut self) {
        self.ring.clear();
        self.ring.extend(std::iter::repeat_n(0.0, WINDOW_SAMPLES - HOP_SAMPLES));
        self.fresh = 0;
        self.past = [[0.0; MEL_BANDS]; FLUX_LAG];
        self.hops = 0;
    }

    /// Mono samples at 24 kHz, any number. Drain [`Self::next_hop`] after each push: up to 64 waiting hops
    /// (about a second) are kept without allocation.
    pub fn push(&mut self, samples: &[f32]) {
        self.ring.extend(samples);
        self.fresh += samples.len();
    }

    /// The next hop that is complete, or `None` until more samples come.
    pub fn next_hop(&mut self) -> Option<&[f32; HOP_FLOATS]> {
        if self.fresh < HOP_SAMPLES {
            return None;
        }
        self.fresh -= HOP_SAMPLES;
        self.transform();
        self.ring.drain(..HOP_SAMPLES);
        self.hops += 1;
        Some(&self.hop)
    }

    /// Hops given out so far; the newest one ended at sample `400 * hops`.
    pub fn hops(&self) -> u64 {
        self.hops
    }

    /// Samples consumed by the hops given out so far: the media time of the newest hop's end.
    pub fn samples(&self) -> u64 {
        self.hops * HOP_SAMPLES as u64
    }

    fn transform(&mut self) {
        for ((out, x), w) in self.spectrum.iter_mut().zip(&self.ring).zip(&self.window) {
            *out = Complex32::new(x * w, 0.0);
        }
        self.fft.process_with_scratch(&mut self.spectrum, &mut self.scratch);
        for (p, x) in self.power.iter_mut().zip(&self.spectrum) {
            *p = x.norm_sqr();
        }
        let mut mel = [0.0; MEL_BANDS];
        for (m, band) in mel.iter_mut().zip(&self.bands) {
            let bins = &self.power[band.first..band.first + band.weights.len()];
            let power: f32 = bins.iter().zip(&band.weights).map(|(p, w)| p * w).sum();
            *m = (1.0 + 10.0 * power / WINDOW_SAMPLES as f32).ln();
        }
        let before = &self.past[FLUX_LAG - 1];
        let mut flux = 0.0;
        for (b, m) in mel.iter().enumerate() {
            let near = &before[b.saturating_sub(1)..(b + 2).min(MEL_BANDS)];
            flux += (m - near.iter().copied().fold(f32::MIN, f32::max)).max(0.0);
        }
        for (out, m) in self.hop.iter_mut().zip(&mel) {
            *out = m * MEL_SCALE;
        }
        self.hop[MEL_BANDS] = flux / MEL_BANDS as f32;
        self.past.rotate_right(1);
        self.past[0] = mel;
    }
}

/// HTK mel, edges equally spaced, peak 1, evaluated at the bins' centres, not area-normalised. A band so narrow
/// that no bin falls inside takes the bin nearest to its centre, at weight 1.
fn mel_bands() -> Vec<Band> {
    let mel = |hz: f64| 2595.0 * (1.0 + hz / 700.0).log10();
    let hz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
    let (low, high) = (mel(LOWEST_HZ), mel(HIGHEST_HZ));
    let edge = |i: usize| hz(low + (high - low) * i as f64 / (MEL_BANDS + 1) as f64);
    let bin_hz = RATE / WINDOW_SAMPLES as f64;
    (0..MEL_BANDS)
        .map(|b| {
            let (left, centre, right) = (edge(b), edge(b + 1), edge(b + 2));
            let weight = |k: usize| {
                let f = k as f64 * bin_hz;
                ((f - left) / (centre - left)).min((right - f) / (right - centre)).max(0.0) as f32
            };
            let mut inside = (0..BINS).filter(|k| weight(*k) > 0.0);
            match inside.next() {
                Some(first) => {
                    let last = inside.next_back().unwrap_or(first);
                    Band { first, weights: (first..=last).map(weight).collect() }
                }
                None => Band { first: (centre / bin_hz).round() as usize, weights: vec![1.0] },
            }
        })
        .collect()
}

#[cfg(test)]
#[path = "features_tests.rs"]
mod tests;
