//! Measures what the denoiser adds to the puppet on rendered characters whose true picture is known.
//!
//! `cargo run --release -p odori-engine --example denoiser -- SHARD TOKENS [CLIPS]`: a shard of `odori-datagen`, the
//! motion training's `tokens.safetensors`. Working size 128, figure pixels (true or warped alpha above 0.05), frames
//! after the first of each clip, on the denoiser's own outputs.

use odori_engine::denoiser::{DenoiseInput, DenoiseOutput, Denoiser, Doubt, KEYPOINTS, TOKEN_SLOTS, TOKEN_STEPS};
use odori_kernels::{Backend, Weights, cpu};
use safetensors::SafeTensors;

const W: usize = 128;

/// (256, 256, C) bytes to (128, 128, C) in 0 to 1, 2x2 boxes.
fn halve(bytes: &[u8], channels: usize) -> Vec<f32> {
    let mut out = vec![0.0; W * W * channels];
    for y in 0..W {
        for x in 0..W {
            for c in 0..channels {
                let at = |dy: usize, dx: usize| f32::from(bytes[((2 * y + dy) * 2 * W + 2 * x + dx) * channels + c]);
                out[(y * W + x) * channels + c] = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1)) / (4.0 * 255.0);
            }
        }
    }
    out
}

/// Squared error and count over the figure.
fn error(a: &[f32], truth: &[f32], warp: &[f32]) -> (f64, f64) {
    let (mut sum, mut count) = (0.0, 0.0);
    for ((a, t), w) in a.chunks_exact(4).zip(truth.chunks_exact(4)).zip(warp.chunks_exact(4)) {
        if t[3] > 0.05 || w[3] > 0.05 {
            sum += a.iter().zip(t).map(|(a, t)| f64::from((a - t) * (a - t))).sum::<f64>();
            count += 4.0;
        }
    }
    (sum, count)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [shard, tokens, rest @ ..] = &args[..] else { return Err("usage: denoiser SHARD TOKENS [CLIPS]".into()) };
    let limit: usize = rest.first().map_or(Ok(usize::MAX), |n| n.parse())?;
    let (shard, tokens) = (std::fs::read(shard)?, std::fs::read(tokens)?);
    let (shard, tokens) = (SafeTensors::deserialize(&shard)?, SafeTensors::deserialize(&tokens)?);
    let table: Vec<i32> = bytemuck::pod_collect_to_vec(tokens.tensor("tokens")?.data());
    let rows: Vec<i32> = bytemuck::pod_collect_to_vec(shard.tensor("token_row")?.data());
    let points: Vec<f32> = bytemuck::pod_collect_to_vec(shard.tensor("keypoints")?.data());
    let [clips, frames] = shard.tensor("token_row")?.shape()[..] else { return Err("token_row is not (K, F)".into()) };
    let picture = |name: &str, n: usize, channels: usize| -> Result<Vec<f32>, safetensors::SafeTensorError> {
        let len = 4 * W * W * channels;
        Ok(halve(&shard.tensor(name)?.data()[n * len..(n + 1) * len], channels))
    };
    let backend = Backend::Cpu(cpu::Pool::for_this_machine());
    let weights = Weights::from_safetensors(include_bytes!("../../models/denoiser.safetensors"))?;
    let mut denoiser = Denoiser::new(&backend, &weights, W)?;
    let (mut out, mut doubt) = (DenoiseOutput::default(), Doubt::default());
    let gains = [0.5, 1.0, 2.0, 4.0, 8.0];
    let mut mean = vec![0.0; 2 + gains.len()];
    let mut counted = 0.0;
    for k in 0..clips.min(limit) {
        denoiser.set_reference(&picture("reference", k, 4)?)?;
        for f in 0..frames {
            let n = k * frames + f;
            let (warp, truth, validity) = (picture("puppet", n, 4)?, picture("truth", n, 4)?, picture("validity", n, 1)?);
            let validity: Vec<f32> = validity.iter().zip(warp.chunks_exact(4)).map(|(v, w)| v.min(w[3])).collect();
            let keypoints: [[f32; 3]; KEYPOINTS] =
                std::array::from_fn(|i| std::array::from_fn(|c| points[(n * KEYPOINTS + i) * 3 + c] / if c < 2 { 256.0 } else { 1.0 }));
            let last = rows[n] as usize / 2;
            let window: Vec<[u16; TOKEN_SLOTS]> = (last.saturating_sub(TOKEN_STEPS - 1)..=last)
                .map(|s| std::array::from_fn(|q| table[s * TOKEN_SLOTS + q] as u16))
                .collect();
            let input = DenoiseInput { warp: &warp, validity: &validity, keypoints: &keypoints, tokens: &window };
            denoiser.step(input, 1, 1, n as u64 + 1, &mut out)?;
            if f == 0 {
                continue;
            }
            let db = |(sum, count): (f64, f64)| -10.0 * (sum / count.max(1.0)).max(1e-9).log10();
            counted += 1.0;
            mean[0] += db(error(&warp, &truth, &warp));
            mean[1] += db(error(&out.rgba, &truth, &warp));
            for (i, gain) in gains.into_iter().enumerate() {
                let mut held = out.clone();
                doubt.apply(&input, W, gain, &mut held);
                mean[2 + i] += db(error(&held.rgba, &truth, &warp));
            }
        }
    }
    println!("frames {counted}\npuppet          {:.2} dB\nnetwork alone   {:.2} dB", mean[0] / counted, mean[1] / counted);
    for (gain, sum) in gains.iter().zip(&mean[2..]) {
        println!("doubt gain {gain:<4} {:.2} dB", sum / counted);
    }
    Ok(())
}
