//! The denoiser against the training code's golden vectors on every backend present, and its own rules.

use super::*;
use odori_kernels::{cpu, gpu};

/// Largest difference from the training code, of values in 0..1: all sum in f32, each in another order; shader
/// compilers may also use their own exp and sqrt.
const TOLERANCE_CPU: f32 = 1e-4;
const TOLERANCE_GPU: f32 = 2e-3;
const GOLDEN_STRIDE: usize = 13;
const SEED: u32 = 7;

fn model_file(name: &str) -> Vec<u8> {
    std::fs::read(std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name)).expect(name)
}

fn weights() -> Weights {
    Weights::from_safetensors(&model_file("denoiser.safetensors")).expect("denoiser weights")
}

fn cpu_backend() -> Backend {
    Backend::Cpu(cpu::Pool::new(2))
}

fn uniform(seed: u32, step: u32, len: usize) -> Vec<f32> {
    (0..len as u32).map(|i| noise::uniform(noise::pcg3d(seed, step, i)[0]) as f32).collect()
}

/// One frame of `golden_inputs` in training/odori_training/renderer_export.py.
struct Frame {
    warp: Vec<f32>,
    validity: Vec<f32>,
    keypoints: [Keypoint; KEYPOINTS],
    facing: [f32; FACING],
    tokens: Vec<[u16; TOKEN_SLOTS]>,
}

impl Frame {
    fn new(frame: u32, size: usize, codes: usize) -> Self {
        let mut warp = uniform(100, frame, size * size * 4);
        for p in warp.as_chunks_mut::<4>().0 {
            for c in 0..3 {
                p[c] *= p[3];
            }
        }
        let kp = uniform(102, frame, KEYPOINTS * 3);
        let depth = uniform(104, frame, KEYPOINTS);
        let keypoints = std::array::from_fn(|k| Keypoint { x: kp[3 * k], y: kp[3 * k + 1], confidence: kp[3 * k + 2], depth: depth[k] - 0.5 });
        let axes = uniform(105, frame, FACING);
        let ids = uniform(103, frame, TOKEN_STEPS * TOKEN_SLOTS);
        let tokens = ids.as_chunks::<TOKEN_SLOTS>().0.iter().map(|row| row.map(|u| (u * codes as f32) as u16)).collect();
        Self { warp, validity: uniform(101, frame, size * size), keypoints, facing: std::array::from_fn(|i| 2.0 * axes[i] - 1.0), tokens }
    }

    fn input(&self) -> DenoiseInput<'_> {
        DenoiseInput { warp: &self.warp, validity: &self.validity, keypoints: &self.keypoints, facing: &self.facing, tokens: &self.tokens, head: &[] }
    }
}

fn max_difference(a: impl Iterator<Item = f32>, b: &[f32]) -> f32 {
    a.zip(b).map(|(x, y)| (x - y).abs()).fold(0.0, f32::max)
}

fn equals_training_code(backend: &Backend, name: &str, tolerance: f32) {
    let golden = Weights::from_safetensors(&model_file("golden/denoiser.safetensors")).expect("golden vectors");
    let mut denoiser = Denoiser::new(backend, &weights(), 128).unwrap();
    denoiser.set_reference(&Frame::new(1000, 128, 1).warp).unwrap();
    let mut out = DenoiseOutput::default();
    for (f, steps) in [2, 1, 4].into_iter().enumerate() {
        let frame = Frame::new(f as u32, 128, denoiser.cfg.codes);
        denoiser.step(frame.input(), steps, SEED, f as u64, &mut out).unwrap();
        let (_, rgba) = golden.get(&format!("rgba{f}")).unwrap();
        let (_, mask) = golden.get(&format!("mask{f}")).unwrap();
        let picture = max_difference(out.rgba.iter().copied().step_by(GOLDEN_STRIDE), rgba);
        let lend = max_difference(out.mask.iter().copied().step_by(GOLDEN_STRIDE), mask);
        println!("{name}: frame {f}, {steps} steps: rgba differs by {picture:.2e}, mask by {lend:.2e}");
        assert!(picture < tolerance && lend < tolerance, "{name}, frame {f}: {picture} {lend}");
    }
}

#[test]
fn equals_training_code_on_cpu() {
    equals_training_code(&cpu_backend(), "cpu", TOLERANCE_CPU);
}

/// On any adapter, a software one too.
#[test]
fn equals_training_code_on_gpu() {
    match gpu::Device::open_best(true) {
        Ok(device) => equals_training_code(&Backend::Gpu(device), "gpu", TOLERANCE_GPU),
        Err(e) => println!("SKIPPED: the denoiser on a GPU: {e}"),
    }
}

fn run(denoiser: &mut Denoiser, frames: u32) -> DenoiseOutput {
    let mut out = DenoiseOutput::default();
    for f in 0..frames {
        let frame = Frame::new(f, denoiser.size(), 512);
        denoiser.step(frame.input(), 1, 1, u64::from(f), &mut out).unwrap();
    }
    out
}

#[test]
fn reset_gives_the_same_pictures_again() {
    let mut denoiser = Denoiser::new(&cpu_backend(), &weights(), 128).unwrap();
    denoiser.set_reference(&Frame::new(1000, 128, 1).warp).unwrap();
    let first = run(&mut denoiser, 3);
    denoiser.reset();
    let again = run(&mut denoiser, 3);
    assert_eq!(first.rgba, again.rgba);
    assert!(first.rgba.as_chunks::<4>().0.iter().all(|p| p.iter().all(|&c| (0.0..=p[3]).contains(&c)) && p[3] <= 1.0));
    // A step back in time is a new scene.
    let jumped = run(&mut denoiser, 3);
    assert_eq!(first.rgba, jumped.rgba);
}

/// Whatever this processor has for it, bf16 or eight bits, or neither.
#[test]
fn fewer_bits_move_the_picture_alike() {
    let flow = |precision| {
        let mut denoiser = Denoiser::with_precision(&cpu_backend(), &weights(), 128, precision).unwrap();
        denoiser.set_reference(&Frame::new(1000, 128, 1).warp).unwrap();
        run(&mut denoiser, 3).flow
    };
    let (full, short) = (flow(Precision::Full), flow(Precision::Short));
    let mean = |it: &mut dyn Iterator<Item = f32>| it.sum::<f32>() / full.len() as f32;
    let size = mean(&mut full.iter().map(|v| v.abs()));
    let off = mean(&mut full.iter().zip(&short).map(|(a, b)| (a - b).abs()));
    println!("{off} pixels of {size}");
    assert!(size > 0.3 && off < 0.1 * size, "{off} pixels of {size}");
}

#[test]
fn other_sizes_run_on_the_same_weights() {
    for size in [192, 256] {
        let mut denoiser = Denoiser::new(&cpu_backend(), &weights(), size).unwrap();
        denoiser.set_reference(&Frame::new(1000, size, 1).warp).unwrap();
        assert!(run(&mut denoiser, 2).rgba.iter().all(|v| v.is_finite()));
    }
}

#[test]
fn bad_input_is_named() {
    assert!(matches!(Denoiser::new(&cpu_backend(), &weights(), 100), Err(DenoiserError::Size(100))));
    assert!(matches!(Denoiser::new(&cpu_backend(), &Weights::new(), 128), Err(DenoiserError::Config(_))));
    let mut denoiser = Denoiser::new(&cpu_backend(), &weights(), 128).unwrap();
    let frame = Frame::new(0, 128, 512);
    let mut out = DenoiseOutput::default();
    assert!(matches!(denoiser.step(frame.input(), 1, 0, 0, &mut out), Err(DenoiserError::NoReference)));
    assert!(matches!(denoiser.set_reference(&[0.0; 4]), Err(DenoiserError::Length { .. })));
    denoiser.set_reference(&frame.warp).unwrap();
    assert!(matches!(denoiser.step(frame.input(), 3, 0, 0, &mut out), Err(DenoiserError::Steps(3))));
    let short = DenoiseInput { warp: &frame.warp[..8], ..frame.input() };
    assert!(matches!(denoiser.step(short, 1, 0, 0, &mut out), Err(DenoiserError::Length { .. })));
}

#[test]
fn odd_keypoints_and_tokens_do_no_harm() {
    let mut denoiser = Denoiser::new(&cpu_backend(), &weights(), 128).unwrap();
    let mut frame = Frame::new(0, 128, 512);
    denoiser.set_reference(&frame.warp).unwrap();
    frame.keypoints[3] = Keypoint { x: f32::NAN, y: f32::INFINITY, confidence: 1.0, depth: 0.0 };
    frame.facing[2] = f32::NAN;
    frame.tokens = vec![[u16::MAX; TOKEN_SLOTS]; 11];
    let mut out = DenoiseOutput::default();
    denoiser.step(frame.input(), 2, 0, 0, &mut out).unwrap();
    assert!(out.rgba.iter().all(|v| v.is_finite()));
    frame.tokens.clear();
    denoiser.step(frame.input(), 2, 0, 1, &mut out).unwrap();
    assert!(out.rgba.iter().all(|v| v.is_finite()));
}
