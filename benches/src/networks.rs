//! Whole networks as a session runs them: a denoise step at each working size, and a motion step.

use std::time::Instant;

use odori_engine::avatar::FACING;
use odori_engine::denoiser::{DenoiseInput, DenoiseOutput, Denoiser, KEYPOINTS, Keypoint, SIZES};
use odori_engine::motion::{BEAT_DIM, MUSIC_DIM, MotionModel, Sampling, StepInput};
use odori_kernels::{Backend, Weights, cpu};
use serde::Serialize;

#[derive(Serialize)]
pub struct Row {
    pub network: String,
    pub least_ms: f64,
    pub median_ms: f64,
    pub p95_ms: f64,
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
    ms.sort_by(f64::total_cmp);
    Ok(Row { network, least_ms: ms[0], median_ms: ms[50], p95_ms: ms[95] })
}

fn read(bytes: &[u8]) -> Result<Weights, String> {
    Weights::from_safetensors(bytes).map_err(|e| e.to_string())
}

/// On the CPU family with this many threads.
///
/// # Errors
/// If the shipped weights do not fit the engine.
pub fn run(threads: usize) -> Result<Vec<Row>, String> {
    let backend = Backend::Cpu(cpu::Pool::new(threads));
    let denoiser = read(include_bytes!("../../models/denoiser.safetensors"))?;
    let mut rows = Vec::new();
    for size in SIZES {
        let mut net = Denoiser::new(&backend, &denoiser, size).map_err(|e| e.to_string())?;
        let warp: Vec<f32> = (0..size * size * 4).map(|i| (i % 97) as f32 / 97.0).collect();
        let validity = vec![0.5; size * size];
        net.set_reference(&warp).map_err(|e| e.to_string())?;
        let mut out = DenoiseOutput::default();
        for steps in [1, 2] {
            rows.push(row(format!("denoiser {size}, {steps} step(s)"), |i| {
                let input = DenoiseInput { warp: &warp, validity: &validity, keypoints: &[Keypoint { x: 0.5, y: 0.5, confidence: 1.0, depth: 0.0 }; KEYPOINTS], facing: &[0.0; FACING], tokens: &[[7; 10]; 8] };
                net.step(input, steps, 1, i, &mut out).map_err(|e| e.to_string())
            })?);
        }
    }
    let motion = read(include_bytes!("../../models/motion.safetensors"))?;
    let tokenizer = read(include_bytes!("../../models/tokenizer.safetensors"))?;
    let mut model = MotionModel::new(&backend, motion, &tokenizer).map_err(|e| e.to_string())?;
    rows.push(row("motion step, to two poses".into(), |_| {
        let input = StepInput { music: &[0.1; MUSIC_DIM], beat: [0.3; BEAT_DIM], energy: 0.7, style: 0, sampling: Sampling::default() };
        model.step(&input);
        Ok(())
    })?);
    Ok(rows)
}

pub fn print(rows: &[Row]) {
    println!("{:<28} {:>9} {:>9} {:>9}", "", "least ms", "median", "p95");
    for r in rows {
        println!("{:<28} {:>9.2} {:>9.2} {:>9.2}", r.network, r.least_ms, r.median_ms, r.p95_ms);
    }
}
