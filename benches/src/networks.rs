//! Whole networks as a session runs them: a denoise step at each working size, a motion step and a beat step.

use std::time::Instant;

use odori_engine::avatar::FACING;
use odori_engine::beat::network::BeatNetwork;
use odori_engine::denoiser::{DenoiseInput, DenoiseOutput, Denoiser, KEYPOINTS, Keypoint, Precision, SIZES};
use odori_engine::motion::{BEAT_DIM, MUSIC_DIM, MotionModel, Sampling, StepInput};
use odori_kernels::{Backend, Weights, cpu};

/// One network, timed.
pub struct Row {
    /// As other runtimes name it, for putting them side by side.
    pub network: String,
    /// Every run after warm-up, in milliseconds.
    pub ms: Vec<f64>,
}

fn row(network: String, mut run: impl FnMut(u64) -> Result<(), String>) -> Result<Row, String> {
    // Warm-up is not counted.
    let mut ms = Vec::new();
    for i in 0..110 {
        let start = Instant::now();
        run(i)?;
        if i >= 10 {
            ms.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(Row { network, ms })
}

fn read(bytes: &[u8]) -> Result<Weights, String> {
    Weights::from_safetensors(bytes).map_err(|e| e.to_string())
}

/// On this backend.
///
/// # Errors
/// If the shipped weights do not fit the engine.
pub fn run(backend: &Backend) -> Result<Vec<Row>, String> {
    let denoiser = read(include_bytes!("../../models/denoiser.safetensors"))?;
    let mut rows = Vec::new();
    let short = cpu::short_form().filter(|_| matches!(backend, Backend::Cpu(_))).map(|form| (Precision::Short, format!(", in {form}")));
    let forms: Vec<(Precision, String)> = [(Precision::Full, String::new())].into_iter().chain(short).collect();
    for (size, (precision, form)) in SIZES.into_iter().flat_map(|size| forms.iter().map(move |f| (size, f))) {
        let mut net = Denoiser::with_precision(backend, &denoiser, size, *precision).map_err(|e| e.to_string())?;
        let warp: Vec<f32> = (0..size * size * 4).map(|i| (i % 97) as f32 / 97.0).collect();
        let validity = vec![0.5; size * size];
        net.set_reference(&warp).map_err(|e| e.to_string())?;
        let mut out = DenoiseOutput::default();
        for steps in [1, 2] {
            rows.push(row(format!("denoiser {size}, {steps} step{}{form}", if steps == 1 { "" } else { "s" }), |i| {
                let input = DenoiseInput { warp: &warp, validity: &validity, keypoints: &[Keypoint { x: 0.5, y: 0.5, confidence: 1.0, depth: 0.0 }; KEYPOINTS], facing: &[0.0; FACING], tokens: &[[7; 10]; 8], head: &[] };
                net.step(input, steps, 1, i, &mut out).map_err(|e| e.to_string())
            })?);
        }
    }
    let motion = read(include_bytes!("../../models/motion.safetensors"))?;
    let tokenizer = read(include_bytes!("../../models/tokenizer.safetensors"))?;
    let mut model = MotionModel::new(backend, motion, &tokenizer).map_err(|e| e.to_string())?;
    rows.push(row("motion step".into(), |_| {
        let input = StepInput { music: &[0.1; MUSIC_DIM], beat: [0.3; BEAT_DIM], energy: 0.7, style: 0, sampling: Sampling::default() };
        model.step(&input);
        Ok(())
    })?);
    let mut beat = BeatNetwork::new(backend, &read(include_bytes!("../../models/beat.safetensors"))?).map_err(|e| e.to_string())?;
    rows.push(row("beat step".into(), |i| {
        // It answers at every second hop.
        let hop = std::array::from_fn(|n| ((n as u64 * 7 + i) % 13) as f32 / 13.0);
        beat.step(&hop);
        beat.step(&hop);
        Ok(())
    })?);
    Ok(rows)
}
