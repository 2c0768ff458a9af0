//! The engine's motion model equals the training code, streams without decay of state, and is seeded.

use odori_kernels::{Backend, Weights};

use super::*;

const MOTION: &[u8] = include_bytes!("../../../models/motion.safetensors");
const TOKENIZER: &[u8] = include_bytes!("../../../models/tokenizer.safetensors");
const GOLDEN: &[u8] = include_bytes!("../../../models/golden/motion.safetensors");

fn weights(bytes: &[u8]) -> Weights {
    Weights::from_safetensors(bytes).unwrap()
}

fn model(backend: &Backend, forced: bool) -> MotionModel {
    MotionModel::build(backend, weights(MOTION), &weights(TOKENIZER), 1, forced).unwrap()
}

fn backends() -> Vec<(&'static str, Backend)> {
    let mut out = vec![("cpu", Backend::Cpu(odori_kernels::cpu::Pool::new(2)))];
    match odori_kernels::gpu::Device::open_best(true) {
        Ok(device) => out.push(("gpu", Backend::Gpu(device))),
        Err(e) => println!("SKIPPED: GPU family: {e}"),
    }
    out
}

fn rows<'a>(golden: &'a Weights, name: &str, len: usize) -> Vec<&'a [f32]> {
    let (_, data) = golden.get(name).unwrap_or_else(|| panic!("golden vector {name}"));
    data.chunks_exact(len).collect()
}

/// Teacher-forced steps give training's logits on every backend, past the length of the KV ring.
#[test]
fn steps_equal_the_training_code() {
    let golden = weights(GOLDEN);
    for (name, backend) in backends() {
        let mut model = model(&backend, true);
        let (q, v) = (model.cfg.slots, model.cfg.codes);
        let tokens = rows(&golden, "tokens", q);
        let (music, beat) = (rows(&golden, "music", MUSIC_DIM), rows(&golden, "beat", BEAT_DIM));
        let (style, control) = (rows(&golden, "style", 1), rows(&golden, "control", 1));
        let at: Vec<usize> = rows(&golden, "at", 1).iter().map(|s| s[0] as usize).collect();
        let logits = rows(&golden, "logits", q * v);
        assert!(tokens.len() > model.cfg.window, "the golden vectors go once round the ring");
        let mut worst = 0f32;
        let mut got = vec![0.0; q * v];
        for t in 0..tokens.len() {
            model.exec.write(model.ports.forced, tokens[t]);
            let input = StepInput {
                music: music[t].try_into().unwrap(),
                beat: beat[t].try_into().unwrap(),
                energy: control[t][0],
                style: style[t][0] as u32,
                sampling: Sampling::default(),
            };
            model.step(&input);
            if let Some(k) = at.iter().position(|&s| s == t) {
                model.exec.read(model.ports.logits, &mut got);
                worst = got.iter().zip(logits[k]).fold(worst, |w, (a, b)| w.max((a - b).abs()));
            }
        }
        println!("{name}: worst logit {worst:.2e}");
        assert!(worst < 5e-3, "{name}: logits differ by {worst}");
    }
}

/// Tokens decode to training's features.
#[test]
fn the_decoder_equals_the_training_code() {
    let golden = weights(include_bytes!("../../../models/golden/tokenizer.safetensors"));
    for (name, backend) in backends() {
        let mut model = model(&backend, true);
        let tokens = rows(&golden, "tokens", model.cfg.slots);
        let features = rows(&golden, "features", FRAMES_PER_STEP * FRAME_DIM);
        let mut worst = 0f32;
        for (tokens, features) in tokens.iter().zip(features) {
            model.exec.write(model.ports.forced, tokens);
            let input = StepInput { music: &[0.0; MUSIC_DIM], beat: [0.0; BEAT_DIM], energy: 0.5, style: 0, sampling: Sampling::default() };
            model.step(&input);
            worst = model.frames.iter().zip(features).fold(worst, |w, (a, b)| w.max((a - b).abs()));
        }
        println!("{name}: worst feature {worst:.2e}");
        assert!(worst < 2e-3, "{name}: features differ by {worst}");
    }
}

fn dance(model: &mut MotionModel, seed: u32, steps: usize) -> Vec<Pose> {
    let music = [0.1; MUSIC_DIM];
    (0..steps)
        .flat_map(|t| {
            let phase = t as f32 / 7.5 * std::f32::consts::TAU;
            let (s, c) = phase.sin_cos();
            let beat = [s, c, (phase / 4.0).sin(), (phase / 4.0).cos(), (2.0 * phase).sin(), (2.0 * phase).cos(), 1.0, 1.0];
            let sampling = Sampling { seed, ..Sampling::default() };
            model.step(&StepInput { music: &music, beat, energy: 0.5, style: 0, sampling })
        })
        .collect()
}

#[test]
fn the_same_seed_dances_the_same_and_another_differently() {
    let backend = Backend::Cpu(odori_kernels::cpu::Pool::new(2));
    let mut model = model(&backend, false);
    let first = dance(&mut model, 7, 60);
    model.reset();
    assert_eq!(dance(&mut model, 7, 60), first);
    model.reset();
    assert_ne!(dance(&mut model, 8, 60), first);
}

#[test]
fn a_weights_file_that_does_not_fit_is_named() {
    let backend = Backend::Cpu(odori_kernels::cpu::Pool::new(1));
    let mut bad = weights(MOTION);
    bad.insert("token_in.weight", &[3, 3], vec![0.0; 9]).unwrap();
    let error = MotionModel::new(&backend, bad, &weights(TOKENIZER)).err().unwrap().to_string();
    assert!(error.contains("token_in.weight"), "{error}");
    let error = MotionModel::new(&backend, weights(TOKENIZER), &weights(TOKENIZER)).err().unwrap().to_string();
    assert!(error.contains("motion"), "{error}");
}

/// The logits of step after step of the golden dance, told a style.
fn logits_told(model: &mut MotionModel, style: u32, steps: usize) -> Vec<Vec<f32>> {
    let golden = weights(GOLDEN);
    let (tokens, music, beat) = (rows(&golden, "tokens", model.cfg.slots), rows(&golden, "music", MUSIC_DIM), rows(&golden, "beat", BEAT_DIM));
    (0..steps)
        .map(|t| {
            model.exec.write(model.ports.forced, tokens[t]);
            model.step(&StepInput { music: music[t].try_into().unwrap(), beat: beat[t].try_into().unwrap(), energy: 0.6, style, sampling: Sampling::default() });
            let mut logits = vec![0.0; model.cfg.slots * model.cfg.codes];
            model.exec.read(model.ports.logits, &mut logits);
            logits
        })
        .collect()
}

#[test]
fn a_style_is_guided_away_from_none() {
    for (name, backend) in backends() {
        let one = |style| logits_told(&mut model(&backend, true), style, 20);
        let (told, free) = (one(2), one(FREE));
        let mut both = MotionModel::build(&backend, weights(MOTION), &weights(TOKENIZER), 2, true).unwrap();
        let got = logits_told(&mut both, 2, 20);
        both.reset();
        let got_free = logits_told(&mut both, FREE, 20);
        let mut worst = 0f32;
        for t in 0..20 {
            for i in 0..told[t].len() {
                worst = worst.max((got[t][i] - (free[t][i] + GUIDANCE * (told[t][i] - free[t][i]))).abs());
                worst = worst.max((got_free[t][i] - free[t][i]).abs());
            }
        }
        assert!(worst < 5e-3, "{name}: logits differ by {worst}");
    }
}

#[test]
fn a_dancer_who_stands_never_jumps() {
    let backend = Backend::Cpu(odori_kernels::cpu::Pool::new(1));
    let poses = idle_poses(&backend, &weights(MOTION), &weights(TOKENIZER), &weights(include_bytes!("../../../models/idle.safetensors"))).unwrap();
    assert!(poses.len() > 10 * 30, "the same is not seen again for ten seconds");
    let bodies: Vec<_> = poses.iter().map(crate::metrics::body).collect();
    let fastest = (0..bodies.len())
        .map(|n| crate::metrics::speed(&bodies[n], &bodies[(n + 1) % bodies.len()], crate::metrics::POSE_HZ))
        .fold(0.0, f32::max);
    assert!(fastest < 0.1, "{fastest} m/s, where the loop ends or within it");
}

/// Three styles' worth of beginnings: none for the first, one step over and over for the others.
fn with_some_beginnings() -> Weights {
    let cfg = MotionConfig::from_weights(&weights(MOTION)).unwrap();
    let tokens = (0..cfg.styles).flat_map(|s| vec![if s == 0 { cfg.codes as f32 } else { s as f32 }; 2 * cfg.slots]).collect();
    let mut idle = Weights::new();
    idle.insert("beginnings", &[cfg.styles, 2, cfg.slots], tokens).unwrap();
    with_beginnings(weights(MOTION), &idle).unwrap()
}

#[test]
fn a_dance_begins_as_its_style_does() {
    let backend = Backend::Cpu(odori_kernels::cpu::Pool::new(1));
    let mut model = MotionModel::new(&backend, with_some_beginnings(), &weights(TOKENIZER)).unwrap();
    let mut first = |style: u32| {
        model.begin(style, 7);
        dance(&mut model, 7, 8)
    };
    let plain = first(FREE);
    assert_ne!(first(1), plain, "it goes on from a step of the style");
    assert_eq!(first(FREE), plain, "nothing of it is left");
}

#[test]
fn beginnings_that_do_not_fit_are_named() {
    let backend = Backend::Cpu(odori_kernels::cpu::Pool::new(1));
    let fails = |dims: &[usize], token: f32| {
        let mut bad = weights(MOTION);
        bad.insert("beginnings", dims, vec![token; dims.iter().product()]).unwrap();
        MotionModel::new(&backend, bad, &weights(TOKENIZER)).err().unwrap().to_string()
    };
    for (dims, token) in [(&[8usize, 64, 9][..], 1.0), (&[8, 64, 10], 513.0), (&[8, 64, 10], -1.0), (&[3, 64, 10], 1.0), (&[80], 1.0)] {
        assert!(fails(dims, token).contains("beginnings"));
    }
}
