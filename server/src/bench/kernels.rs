//! Kernels and whole networks: verified against the reference, then timed beside the machine's measured ceilings, on every
//! backend present, and beside other runtimes where their figures are given.

use std::path::Path;
use std::sync::Mutex;

use anyhow::{Context, bail};
use odori_benches::{kernels, networks};
use odori_kernels::{Backend, cpu, gpu};
use serde::Deserialize;

use super::report::{Better, Curve, Limit, Line, Section, Shape, Spread, median, round};

/// What `training/odori_training/other_runtimes.py` writes: one runtime's times for one network.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Foreign {
    runtime: String,
    network: String,
    threads: usize,
    /// Floating point operations of one run, counted in the exported graph.
    flops: f64,
    ms: Vec<f64>,
    /// Largest difference from PyTorch f32, relative to its largest value.
    error: f64,
}

fn section(gpu: bool, threads: usize, runs: usize) -> anyhow::Result<(Section, f64)> {
    let options = kernels::Options { gpu, threads, runs, only: String::new() };
    let report = kernels::run(&options).map_err(anyhow::Error::msg)?;
    let (id, title) = if gpu { ("kernels-gpu", "Kernels on the GPU") } else { ("kernels", "Kernels on the CPU") };
    let mut s = Section::new(
        id,
        title,
        &format!("{}. Every operation at the shapes of the shipped networks, held to the f64 reference first: one that is wrong is not timed. Median over {runs} runs of 2 ms.", report.device),
    );
    if report.peak_gflops > 0.0 {
        s.value("ceiling: multiply-adds", "GFLOP/s", report.peak_gflops, Better::Higher);
        s.value("ceiling: copying in the second-level cache", "GB/s", report.peak_gbytes, Better::Higher);
    }
    let (mut points, mut labels) = (Vec::new(), Vec::new());
    for row in &report.rows {
        s.value(&row.name, "us", row.median_us, Better::Lower);
        if row.gflops > 0.0 {
            s.value(&format!("{}: rate", row.name), "GFLOP/s", row.gflops, Better::Higher);
        }
        s.value(&format!("{}: memory", row.name), "GB/s", row.gbytes, Better::Higher);
        if row.percent_of_peak > 0.0 && row.name.starts_with("conv") {
            points.push([labels.len() as f64, round(row.percent_of_peak)]);
            labels.push(row.name.trim_start_matches("conv ").to_owned());
        }
    }
    if !points.is_empty() {
        let lines = vec![Line { name: "of the ceiling".into(), points }];
        let limit = Some(Limit { name: "measured ceiling".into(), y: 100.0 });
        s.curves.push(Curve { name: "Convolutions".into(), x: "kernel, grid, channels".into(), y: "% of the multiply-add ceiling".into(), shape: Shape::Bars, labels, lines, limit });
    }
    Ok((s, report.peak_gflops))
}

/// Whole networks on `backend`, into a section of their own.
fn whole(backend: &Backend, name: &str) -> anyhow::Result<Vec<(String, Vec<f64>)>> {
    let rows = networks::run(backend).map_err(|e| anyhow::anyhow!("{name}: {e}"))?;
    Ok(rows.into_iter().map(|r| (r.network, r.ms)).collect())
}

fn foreign(path: &Path) -> anyhow::Result<Vec<Foreign>> {
    let shown = path.display();
    let text = std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
    let list: Vec<Foreign> = serde_json::from_str(&text).with_context(|| format!("{shown} is not what training/odori_training/other_runtimes.py writes"))?;
    if list.len() > 1000 || list.iter().any(|f| f.ms.is_empty() || f.ms.len() > 100_000) {
        bail!("{shown} holds no times, or too many");
    }
    Ok(list)
}

/// # Errors
/// If a kernel is wrong, or the other runtimes' file cannot be used.
pub fn run(threads: usize, runs: usize, others: Option<&Path>) -> anyhow::Result<Vec<Section>> {
    // A kernel that is wrong panics in its verification: in words, here.
    let quiet = Mutex::new(());
    let guarded = |gpu: bool| {
        let _one = quiet.lock().expect("no panic while held");
        std::panic::catch_unwind(|| section(gpu, threads, runs)).map_err(|_| anyhow::anyhow!("a kernel disagrees with its reference: see above"))?
    };
    let (cpu_section, peak) = guarded(false)?;
    let mut sections = vec![cpu_section];
    let device = gpu::Device::open_best(false);
    let mut nets = Section::new(
        "networks-whole",
        "Whole networks",
        &format!("One forward pass as a session runs it, {threads} threads on the CPU; 100 runs after 10 of warm-up. Other runtimes run the same network, exported from the same weights, with as many threads on the same machine."),
    );
    let ours = whole(&Backend::Cpu(cpu::Pool::new(threads)), "CPU")?;
    for (name, ms) in &ours {
        nets.spreads.push(Spread::of("Odori, CPU", &format!("{name}, Odori CPU"), "ms", ms.clone()));
    }
    match &device {
        Ok(device) if !device.info().is_software() => {
            sections.push(guarded(true)?.0);
            let label = format!("Odori, {}", device.info().name);
            for (name, ms) in whole(&Backend::Gpu(device.clone()), &label)? {
                nets.spreads.push(Spread::of(&label, &format!("{name}, {label}"), "ms", ms));
            }
        }
        Ok(device) => nets.about.push_str(&format!(" SKIPPED: GPU kernels; {} is software.", device.info().name)),
        Err(error) => nets.about.push_str(&format!(" SKIPPED: GPU kernels; {error}.")),
    }
    if let Some(path) = others {
        beside(&mut nets, &ours, &foreign(path)?, threads, peak)?;
    }
    sections.push(nets);
    Ok(sections)
}

/// Puts the others' times beside ours.
fn beside(nets: &mut Section, ours: &[(String, Vec<f64>)], others: &[Foreign], threads: usize, peak: f64) -> anyhow::Result<()> {
    if let Some(other) = others.iter().find(|f| f.threads != threads) {
        bail!("{} ran on {} threads, this on {threads}: measure both with the same", other.runtime, other.threads);
    }
    let mut runtimes: Vec<&str> = Vec::new();
    for other in others {
        if !runtimes.contains(&other.runtime.as_str()) {
            runtimes.push(&other.runtime);
        }
        nets.spreads.push(Spread::of(&other.runtime, &format!("{}, {}", other.network, other.runtime), "ms", other.ms.clone()));
    }
    let shared: Vec<&(String, Vec<f64>)> = ours.iter().filter(|(name, _)| others.iter().any(|f| f.network == *name)).collect();
    let mut lines = vec![Line { name: "Odori".into(), points: shared.iter().enumerate().map(|(n, (_, ms))| [n as f64, median(ms.clone())]).collect() }];
    for runtime in runtimes {
        let find = |name: &str| others.iter().find(|f| f.runtime == runtime && f.network == name);
        let points = shared.iter().enumerate().filter_map(|(n, (name, _))| Some([n as f64, median(find(name)?.ms.clone())])).collect();
        lines.push(Line { name: runtime.into(), points });
        for (name, ms) in &shared {
            let Some(other) = find(name) else { continue };
            let (mine, theirs) = (median(ms.clone()), median(other.ms.clone()));
            let ratio = theirs / mine;
            nets.value(&format!("{name}: times as fast as {runtime}"), "", ratio, Better::Higher);
            nets.value(&format!("{name}: error of {runtime} against PyTorch f32"), "", other.error, Better::Lower);
            if runtime == "ONNX Runtime f32" {
                nets.bar(&format!("{name}: as fast as {runtime}, or faster"), ratio >= 1.0, format!("{mine:.2} ms against {theirs:.2}: {ratio:.2} times"));
                let gflops = other.flops / mine / 1e6;
                nets.value(&format!("{name}: Odori, CPU"), "GFLOP/s", gflops, Better::Higher);
                if peak > 0.0 {
                    nets.value(&format!("{name}: Odori, CPU, of the multiply-add ceiling"), "%", 100.0 * gflops / peak, Better::Higher);
                }
            }
        }
    }
    // What is shown live is computed in fewer bits, which the others were not asked for: said beside them, and a bar where tiles compute it.
    for (name, ms) in ours {
        let Some((whole, form)) = name.rsplit_once(", in ") else { continue };
        let Some(other) = others.iter().find(|f| f.runtime == "ONNX Runtime f32" && f.network == whole) else { continue };
        let (mine, theirs) = (median(ms.clone()), median(other.ms.clone()));
        let ratio = theirs / mine;
        nets.value(&format!("{name}: times as fast as ONNX Runtime f32"), "", ratio, Better::Higher);
        if form == "bf16" {
            nets.bar(&format!("{name}: 2.5 times as fast as ONNX Runtime f32"), ratio >= 2.5, format!("{mine:.2} ms against {theirs:.2}: {ratio:.2} times"));
        }
    }
    let labels = shared.iter().map(|(name, _)| name.clone()).collect();
    nets.curves.push(Curve { name: "The same network in other runtimes".into(), x: "network".into(), y: "ms, median".into(), shape: Shape::Bars, labels, lines, limit: None });
    Ok(())
}
