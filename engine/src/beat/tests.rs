//! The tracker in virtual time: what it must lock to, what must leave it calm, what must not matter.

use super::*;
use crate::features::{Features, HOP_SAMPLES};

const SECOND: usize = 24_000;

/// Deterministic noise in -1..1.
struct Noise(u32);

impl Noise {
    fn next(&mut self) -> f32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0 as f32 / u32::MAX as f32 * 2.0 - 1.0
    }
}

/// A short 1 kHz click with a hard start.
fn click(audio: &mut [f32], at_s: f64, gain: f32) {
    let start = (at_s * SECOND as f64).round() as usize;
    for i in 0..720 {
        if let Some(x) = audio.get_mut(start + i) {
            *x += gain * (-(i as f32) / 150.0).exp() * (i as f32 * 0.2618).sin();
        }
    }
}

fn clicks(bpm: f64, seconds: usize) -> Vec<f32> {
    let mut audio = vec![0.0; seconds * SECOND];
    let mut t = 0.5;
    while t < seconds as f64 {
        click(&mut audio, t, 0.7);
        t += 60.0 / bpm;
    }
    audio
}

struct Run {
    states: Vec<BeatState>,
    beats: Vec<PredictedBeat>,
}

fn run_with(tracker: &mut BeatTracker, audio: &[f32]) -> Run {
    let mut features = Features::new();
    let (mut states, mut beats) = (Vec::new(), Vec::new());
    for block in audio.chunks(HOP_SAMPLES) {
        features.push(block);
        while let Some(hop) = features.next_hop() {
            let hop = *hop;
            states.push(tracker.step(&hop, features.samples()));
            beats.extend(tracker.take_predicted());
        }
    }
    Run { states, beats }
}

fn backend() -> Backend {
    Backend::Cpu(odori_kernels::cpu::Pool::new(1))
}

fn weights() -> Weights {
    Weights::from_safetensors(include_bytes!("../../../models/beat.safetensors")).unwrap()
}

fn tracker() -> BeatTracker {
    BeatTracker::new(&backend(), &weights()).unwrap()
}

fn run(audio: &[f32]) -> Run {
    run_with(&mut tracker(), audio)
}

/// The engine's beliefs are those of the training code, on every backend.
#[test]
fn beliefs_equal_the_training_code() {
    let golden = Weights::from_safetensors(include_bytes!("../../../models/golden/beat.safetensors")).unwrap();
    let rows = |name: &str, len: usize| golden.get(name).unwrap().1.chunks_exact(len).map(<[f32]>::to_vec).collect::<Vec<_>>();
    let (hops, position) = (rows("hops", HOP_FLOATS), rows("position", network::POSITIONS));
    let (tempo, music) = (rows("tempo", network::TEMPI), rows("music", 1));
    let mut backends = vec![("cpu", backend())];
    match odori_kernels::gpu::Device::open_best(true) {
        Ok(device) => backends.push(("gpu", Backend::Gpu(device))),
        Err(e) => println!("SKIPPED: GPU family: {e}"),
    }
    for (name, backend) in backends {
        let mut network = network::BeatNetwork::new(&backend, &weights()).unwrap();
        let mut step = 0;
        for hop in &hops {
            let Some(belief) = network.step(hop.as_slice().try_into().unwrap()) else { continue };
            let near = |a: &[f32], b: &[f32]| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
            assert!(near(&belief.position, &position[step]) && near(&belief.tempo, &tempo[step]), "{name}: step {step}");
            assert!(near(&[belief.music], &music[step]), "{name}: music at step {step}");
            step += 1;
        }
        assert_eq!(step, position.len());
    }
}

#[test]
fn weights_that_do_not_fit_are_named() {
    let error = |w: &Weights| BeatTracker::new(&backend(), w).err().map(|e| e.to_string()).unwrap();
    assert!(error(&Weights::new()).contains("config"), "{}", error(&Weights::new()));
}

/// Signed distance in seconds from each announced beat in a span to the grid.
fn errors(beats: &[PredictedBeat], bpm: f64, origin: f64, span: std::ops::Range<f64>) -> Vec<f64> {
    let period = 60.0 / bpm;
    beats
        .iter()
        .filter(|b| span.contains(&b.time))
        .map(|b| {
            let x = (b.time - origin) / period;
            (x - x.round()) * period
        })
        .collect()
}

#[test]
fn clicks_at_120_lock_within_four_seconds() {
    let run = run(&clicks(120.0, 14));
    let errors = errors(&run.beats, 120.0, 0.5, 4.0..14.0);
    assert!(errors.len() >= 19, "one announcement a beat: {}", errors.len());
    assert!(errors.iter().all(|e| e.abs() < 0.020), "{errors:?}");
    let end = run.states.last().unwrap();
    assert!((end.bpm - 120.0).abs() < 1.0 && end.confidence > 0.5, "{end:?}");
}

#[test]
fn every_beat_is_told_before_it_sounds_and_once() {
    let run = run(&clicks(133.0, 20));
    assert!(run.beats.len() > 30);
    for pair in run.beats.windows(2) {
        assert!(pair[1].time - pair[0].time > 0.5 * 60.0 / 133.0, "{pair:?}");
    }
    for b in &run.beats {
        assert!(b.predicted_at <= b.time && b.time - b.predicted_at <= ANNOUNCE_AHEAD_S + 1e-9, "{b:?}");
    }
}

#[test]
fn lag_is_unbiased_at_many_tempi() {
    for bpm in [70.0, 85.0, 100.0, 118.0, 125.0, 140.0, 155.0, 172.0] {
        let run = run(&clicks(bpm, 20));
        let mut e = errors(&run.beats, bpm, 0.5, 6.0..20.0);
        e.sort_by(f64::total_cmp);
        let median = e[e.len() / 2];
        assert!(median.abs() < 0.025, "{bpm}: {median}");
        let expected = (14.0 * bpm / 60.0) as usize;
        assert!(e.len().abs_diff(expected) <= 3, "{bpm}: {} of {expected}", e.len());
    }
}

#[test]
fn a_new_tempo_is_found_within_a_few_bars() {
    let mut audio = clicks(100.0, 15);
    audio.extend(clicks(140.0, 15));
    let run = run(&audio);
    let before = run.states[14 * 60];
    assert!((before.bpm - 100.0).abs() < 2.0, "{before:?}");
    let after = run.states[(15 + 6) * 60];
    assert!((after.bpm - 140.0).abs() < 3.0, "{after:?}");
    let e = errors(&run.beats, 140.0, 15.5, 22.0..30.0);
    assert!(e.len() >= 17 && e.iter().all(|e| e.abs() < 0.025), "{e:?}");
}

#[test]
fn silence_never_gains_confidence() {
    let run = run(&vec![0.0; 20 * SECOND]);
    assert!(run.states.iter().all(|s| s.confidence < LEAST_CONFIDENCE));
    assert!(run.beats.is_empty());
    assert_eq!(run.states[100].conditioning(), [0.0; 8]);
}

#[test]
fn white_noise_does_not_thrash() {
    let mut noise = Noise(12345);
    let audio: Vec<f32> = (0..30 * SECOND).map(|_| 0.3 * noise.next()).collect();
    let run = run(&audio);
    let settled = &run.states[300..];
    assert!(settled.iter().all(|s| s.confidence < 0.15), "{:?}", settled.iter().map(|s| s.confidence).fold(0.0, f32::max));
}

#[test]
fn after_the_music_stops_the_clock_runs_on_and_trust_fades() {
    let mut audio = clicks(120.0, 12);
    audio.extend(vec![0.0; 10 * SECOND]);
    let run = run(&audio);
    let (playing, later) = (run.states[11 * 60], run.states[14 * 60]);
    assert!(playing.confidence > 0.5);
    assert!((later.bpm - 120.0).abs() < 1.5, "free run: {later:?}");
    let drift = playing.at(later.at_samples).beat_phase - later.beat_phase;
    assert!((drift - drift.round()).abs() < 0.15, "{drift}");
    assert!(run.states[21 * 60].confidence < 0.1, "{:?}", run.states[21 * 60]);
}

#[test]
fn the_clock_never_runs_backwards_by_itself() {
    let mut noise = Noise(99);
    let mut audio = clicks(97.0, 10);
    audio.extend((0..5 * SECOND).map(|_| 0.3 * noise.next()));
    audio.extend(clicks(151.0, 10));
    let mut tracker = tracker();
    let run = run_with(&mut tracker, &audio);
    // Before anyone follows it, it may be set.
    for pair in run.states.windows(2).filter(|p| p[0].confidence > 0.3) {
        let step = (pair[1].beat_phase - pair[0].beat_phase).rem_euclid(1.0);
        assert!(step < 0.8, "a step of {step} of a beat at {}", pair[1].at_samples);
    }
}

#[test]
fn downbeats_follow_the_bass() {
    let (bpm, seconds) = (112.0, 40);
    let mut audio = vec![0.0; seconds * SECOND];
    let period = 60.0 / bpm;
    for beat in 0..(seconds as f64 / period) as usize {
        let at = 0.5 + beat as f64 * period;
        click(&mut audio, at, 0.3);
        if beat % 4 == 2 {
            let start = (at * SECOND as f64) as usize;
            for i in 0..4_000 {
                if let Some(x) = audio.get_mut(start + i) {
                    *x += 0.8 * (-(i as f32) / 1_500.0).exp() * (i as f32 * 0.0157).sin();
                }
            }
        }
    }
    let run = run(&audio);
    let late: Vec<_> = run.beats.iter().filter(|b| b.time > 15.0).collect();
    let right = late
        .iter()
        .filter(|b| (((b.time - 0.5) / period).round() as i64).rem_euclid(4) == 2)
        .filter(|b| b.downbeat)
        .count();
    let told = late.iter().filter(|b| b.downbeat).count();
    assert!(told >= 10 && right == told, "{right} of {told}");
}

#[test]
fn extrapolation_and_conditioning_agree_with_the_contract() {
    let state =
        BeatState { bpm: 120.0, beat_phase: 0.25, bar_phase: 0.5, confidence: 0.8, at_samples: 24_000, ..Default::default() };
    let later = state.at(24_000 + 6_000);
    assert!((later.beat_phase - 0.75).abs() < 1e-6 && (later.bar_phase - 0.625).abs() < 1e-6);
    let earlier = state.at(12_000);
    assert!((earlier.beat_phase - 0.25).abs() < 1e-6 && (earlier.bar_phase - 0.25).abs() < 1e-6);
    let c = state.conditioning();
    for (got, want) in c.iter().zip([1.0, 0.0, 0.0, -1.0, 0.0, -1.0, 1.0, 0.8]) {
        assert!((got - want).abs() < 1e-6, "{c:?}");
    }
}

#[test]
fn taps_and_nudges_move_the_clock() {
    let mut tracker = tracker();
    let hop = [0.0; HOP_FLOATS];
    for h in 1..=600u64 {
        tracker.step(&hop, h * 400);
        if h % 36 == 0 {
            tracker.tap(h * 400);
        }
    }
    let state = tracker.state();
    assert!((state.bpm - 100.0).abs() < 0.5, "{state:?}");
    let tapped = tracker.state_at(576 * 400).beat_phase;
    assert!(tapped.min(1.0 - tapped) < 0.01, "{tapped}");
    let before = tracker.state().beat_phase;
    tracker.nudge(0.1);
    let moved = tracker.state().beat_phase - before - 0.1;
    assert!((moved - moved.round()).abs() < 1e-4, "{moved}");
    tracker.nudge(f32::NAN);
    assert!(tracker.state().beat_phase.is_finite());
}

#[test]
fn hostile_features_cannot_break_it() {
    let mut tracker = tracker();
    for h in 1..=400u64 {
        let value = match h % 5 {
            0 => f32::NAN,
            1 => f32::INFINITY,
            2 => 1e30,
            3 => -1e30,
            _ => 0.0,
        };
        let state = tracker.step(&[value; HOP_FLOATS], h * 400);
        assert!(state.bpm.is_finite() && state.beat_phase.is_finite() && state.confidence.is_finite(), "{state:?}");
    }
    let audio = clicks(120.0, 12);
    let run = run_with(&mut tracker, &audio);
    assert!((run.states.last().unwrap().bpm - 120.0).abs() < 2.0, "it recovers");
}
