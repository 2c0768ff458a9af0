//! The features against a plain transcription of their definition, against training, and for any chunking.

use super::*;
use proptest::prelude::*;

fn noise(samples: usize, seed: u32) -> Vec<f32> {
    let mut state = seed | 1;
    (0..samples)
        .map(|i| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            let loud = if (i / 3_000) % 3 == 0 { 0.5 } else { 0.01 };
            (state as f32 / u32::MAX as f32 - 0.5) * loud
        })
        .collect()
}

fn all_hops(audio: &[f32]) -> Vec<[f32; HOP_FLOATS]> {
    let mut features = Features::new();
    features.push(audio);
    std::iter::from_fn(|| features.next_hop().copied()).collect()
}

/// The definition, word for word, in f64 with a direct Fourier sum.
fn by_definition(audio: &[f32], hops: usize) -> Vec<Vec<f64>> {
    let mel = |f: f64| 2595.0 * (1.0 + f / 700.0).log10();
    let inv = |m: f64| 700.0 * (10f64.powf(m / 2595.0) - 1.0);
    let edges: Vec<f64> =
        (0..82).map(|i| inv(mel(30.0) + (mel(11_000.0) - mel(30.0)) * f64::from(i) / 81.0)).collect();
    let mut logs: Vec<Vec<f64>> = Vec::new();
    for h in 1..=hops {
        let frame: Vec<f64> = (0..1024)
            .map(|i| {
                let at = (400 * h + i) as i64 - 1024;
                let x = if at < 0 { 0.0 } else { f64::from(audio[at as usize]) };
                x * (0.5 - 0.5 * (std::f64::consts::TAU * i as f64 / 1024.0).cos())
            })
            .collect();
        let power: Vec<f64> = (0..513)
            .map(|k| {
                let (mut re, mut im) = (0.0, 0.0);
                for (i, x) in frame.iter().enumerate() {
                    let a = std::f64::consts::TAU * ((i * k) % 1024) as f64 / 1024.0;
                    re += x * a.cos();
                    im -= x * a.sin();
                }
                re * re + im * im
            })
            .collect();
        logs.push(
            (0..80)
                .map(|b| {
                    let weights: Vec<f64> = (0..513)
                        .map(|k| {
                            let f = k as f64 * 24_000.0 / 1024.0;
                            let up = (f - edges[b]) / (edges[b + 1] - edges[b]);
                            let down = (edges[b + 2] - f) / (edges[b + 2] - edges[b + 1]);
                            up.min(down).max(0.0)
                        })
                        .collect();
                    let sum: f64 = if weights.iter().all(|w| *w == 0.0) {
                        power[(edges[b + 1] * 1024.0 / 24_000.0).round() as usize]
                    } else {
                        weights.iter().zip(&power).map(|(w, p)| w * p).sum()
                    };
                    (1.0 + 10.0 * sum / 1024.0).ln()
                })
                .collect(),
        );
    }
    let zeros = vec![0.0; 80];
    (0..hops)
        .map(|h| {
            let before = if h >= 2 { &logs[h - 2] } else { &zeros };
            let flux: f64 = (0..80_usize)
                .map(|b| {
                    let near = before[b.saturating_sub(1)..(b + 2).min(80)].iter().copied().fold(f64::MIN, f64::max);
                    (logs[h][b] - near).max(0.0)
                })
                .sum();
            logs[h].iter().map(|x| x * 0.25).chain([flux / 80.0]).collect()
        })
        .collect()
}

fn worst(a: &[[f32; HOP_FLOATS]], b: impl Fn(usize, usize) -> f64) -> f64 {
    let mut worst = 0.0_f64;
    for (h, hop) in a.iter().enumerate() {
        for (i, x) in hop.iter().enumerate() {
            worst = worst.max((f64::from(*x) - b(h, i)).abs());
        }
    }
    worst
}

#[test]
fn they_are_what_the_definition_says() {
    let audio = noise(400 * 12, 7);
    let (ours, truth) = (all_hops(&audio), by_definition(&audio, 12));
    assert_eq!(ours.len(), 12);
    let worst = worst(&ours, |h, i| truth[h][i]);
    assert!(worst < 2e-4, "{worst}");
}

#[test]
fn they_are_what_training_computes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../models/golden/features.safetensors");
    let Ok(bytes) = std::fs::read(path) else {
        eprintln!("SKIPPED: {path} is not there");
        return;
    };
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let floats = |name: &str| -> Vec<f32> {
        let tensor = file.tensor(name).unwrap();
        assert_eq!(tensor.dtype(), safetensors::Dtype::F32, "{name}");
        tensor.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let (audio, truth) = (floats("audio"), floats("features"));
    let ours = all_hops(&audio);
    assert_eq!(ours.len() * HOP_FLOATS, truth.len());
    let worst = worst(&ours, |h, i| f64::from(truth[h * HOP_FLOATS + i]));
    assert!(worst < 1e-3, "{worst}");
}

#[test]
fn silence_is_zero_and_a_click_rises_once() {
    let mut audio = vec![0.0; 400 * 40];
    assert!(all_hops(&audio).iter().flatten().all(|x| *x == 0.0));
    audio[400 * 20] = 1.0;
    let flux: Vec<f32> = all_hops(&audio).iter().map(|h| h[MEL_BANDS]).collect();
    assert!(flux[..20].iter().all(|x| *x == 0.0), "causal");
    assert!(flux[20..23].iter().any(|x| *x > 1e-3));
    assert!(flux[26..].iter().all(|x| *x == 0.0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn any_chunking_gives_the_same_hops(pieces in prop::collection::vec(0usize..1500, 1..20), seed in any::<u32>()) {
        let audio = noise(pieces.iter().sum(), seed);
        let mut features = Features::new();
        let (mut out, mut at) = (Vec::new(), 0);
        for p in pieces {
            features.push(&audio[at..at + p]);
            at += p;
            while let Some(hop) = features.next_hop() {
                out.push(*hop);
            }
            prop_assert_eq!(features.samples(), (at / 400 * 400) as u64);
        }
        prop_assert_eq!(out, all_hops(&audio));
    }
}
