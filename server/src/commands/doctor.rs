//! `odori doctor`: what this machine has, what was chosen, and why.

use std::time::Instant;

use odori_engine::pipeline::{Settings, Stage, TICK_SAMPLES};
use odori_kernels::{cpu, gpu};
use serde_json::json;

use crate::cli::DoctorArgs;
use crate::engine::Machine;

/// The size that figures are for.
const SIZE: (u32, u32) = (512, 512);

/// # Errors
/// If not even the fallbacks work.
pub fn run(args: &DoctorArgs) -> anyhow::Result<()> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let simd = cpu::instructions();
    let adapters: Vec<_> = gpu::Device::probe().into_iter().map(|g| json!({ "name": g.name, "backend": g.api, "driver": g.driver, "software": g.is_software() })).collect();
    let engine = Machine::open(&args.engine.options())?;
    let draw = engine.drawer_description();
    let avatar = crate::built_in::avatar()?;
    let built = Instant::now();
    let mut pipeline = engine.pipeline(avatar, SIZE, Settings::default(), false)?;
    let start_ms = built.elapsed().as_secs_f64() * 1e3;
    // Two seconds of a plain beat: long enough for stable medians.
    let mut times: Vec<Vec<f64>> = vec![Vec::new(); Stage::ALL.len()];
    let mut totals = Vec::new();
    for tick in 0..60u64 {
        let block: Vec<f32> = (0..TICK_SAMPLES)
            .map(|i| {
                let t = (tick * TICK_SAMPLES + i) as f32 / 24_000.0;
                (std::f32::consts::TAU * 60.0 * t).sin() * (-(t % 0.5) * 20.0).exp()
            })
            .collect();
        pipeline.push_audio(&block);
        if let Some(frame) = pipeline.next_frame()? {
            for (list, time) in times.iter_mut().zip(frame.timings) {
                if !time.is_zero() {
                    list.push(time.as_secs_f64() * 1e3);
                }
            }
            totals.push(frame.timings.iter().sum::<std::time::Duration>().as_secs_f64() * 1e3);
        }
    }
    let p95 = |list: &mut Vec<f64>| {
        list.sort_unstable_by(f64::total_cmp);
        list.get(list.len() * 95 / 100).copied().unwrap_or(0.0)
    };
    let stages: Vec<_> = Stage::ALL.iter().zip(&mut times).map(|(s, list)| (s.name(), p95(list))).collect();
    let frame_ms = p95(&mut totals);
    let versions: serde_json::Map<_, _> = engine.versions().into_iter().map(|(k, v)| (k.to_owned(), v.into())).collect();
    if args.json {
        let stages: serde_json::Map<_, _> = stages.iter().map(|(n, t)| ((*n).to_owned(), json!({ "p95_ms": t }))).collect();
        println!(
            "{}",
            json!({
                "version": env!("CARGO_PKG_VERSION"), "cores": cores, "simd": simd, "adapters": adapters,
                "backend": { "compute": engine.backend_name(), "draw": draw.as_deref().unwrap_or("none") },
                "reason": engine.reason, "models": versions, "styles": engine.styles(),
                "frame_p95_ms": frame_ms, "stages": stages, "start_ms": start_ms, "aubio": cfg!(feature = "aubio"),
            })
        );
        return Ok(());
    }
    println!("Odori {}", env!("CARGO_PKG_VERSION"));
    println!("  cores      {cores}, {simd}");
    if adapters.is_empty() {
        println!("  GPU        none found: no Vulkan, Metal or DX12 driver answers (on Debian: apt install mesa-vulkan-drivers)");
    }
    for a in &adapters {
        let software = if a["software"] == true { ", software" } else { "" };
        println!("  GPU        {} ({}{software})", a["name"].as_str().unwrap_or_default(), a["backend"].as_str().unwrap_or_default());
    }
    println!("  computes   {}: {}", engine.backend_name(), engine.reason);
    println!("  draws      {}", draw.as_deref().unwrap_or("nothing"));
    for (name, version) in engine.versions() {
        println!("  model      {name} {version}");
    }
    println!("  styles     {}", engine.styles().join(", "));
    println!("  aubio      {}", if cfg!(feature = "aubio") { "built in (this binary is under GPL-3.0)" } else { "not built in" });
    println!("\n  a frame at {}x{}, p95: {frame_ms:.1} ms of 33.3", SIZE.0, SIZE.1);
    for (name, time) in &stages {
        println!("    {name:<9} {time:6.2} ms");
    }
    println!("  a session stands after {start_ms:.0} ms");
    if frame_ms > 30.0 {
        println!("\n  This machine is too slow for that: live sessions will step down the ladder. Try --working-size 128, or --steps 1.");
    }
    Ok(())
}
