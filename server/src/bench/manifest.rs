//! The machine that figures were measured on.

use std::time::{SystemTime, UNIX_EPOCH};

use odori_kernels::cpu;

use super::report::Manifest;
use crate::engine::Machine;

fn file(path: &str) -> String {
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The value of the first `name : value` line.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|l| l.split_once(':').filter(|(k, _)| k.trim() == name).map(|(_, v)| v.trim().to_owned()))
}

/// One-minute load average, where the system tells it.
pub fn load() -> Option<f64> {
    file("/proc/loadavg").split(' ').next()?.parse().ok()
}

/// Resident memory of this process in megabytes, where the system tells it.
pub fn resident_mb() -> Option<f64> {
    let kb: f64 = field(&file("/proc/self/status"), "VmRSS")?.split(' ').next()?.parse().ok()?;
    Some(kb / 1024.0)
}

/// Seconds of processor time that this process has used, where the system tells it.
pub fn cpu_s() -> Option<f64> {
    let text = file("/proc/self/stat");
    // The name, in brackets, may hold anything.
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(11)?.parse::<f64>().ok()? + fields.get(12)?.parse::<f64>().ok()?;
    Some(ticks / 100.0)
}

fn cpu_name() -> String {
    let info = file("/proc/cpuinfo");
    let Some(name) = field(&info, "model name") else { return "unknown".into() };
    let number = |key| field(&info, key).unwrap_or_default();
    format!("{name} (family {}, model {})", number("cpu family"), number("model"))
}

/// All that is known before the first measurement.
pub fn begin(machine: &Machine, seed: u64) -> Manifest {
    let memory_kb = field(&file("/proc/meminfo"), "MemTotal").and_then(|m| m.split(' ').next()?.parse::<u64>().ok());
    Manifest {
        command: std::env::args().skip(1).collect(),
        odori: env!("CARGO_PKG_VERSION").into(),
        started_at_unix_s: SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs()),
        took_s: 0.0,
        os: field(&file("/etc/os-release").replace('=', ":"), "PRETTY_NAME").map_or_else(|| std::env::consts::OS.into(), |n| n.trim_matches('"').to_owned()),
        kernel: file("/proc/sys/kernel/osrelease").trim().into(),
        architecture: std::env::consts::ARCH.into(),
        cpu: cpu_name(),
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        simd: cpu::instructions(),
        memory_mb: memory_kb.unwrap_or(0) / 1024,
        compute: format!("{}: {}", machine.backend_name(), machine.reason),
        draw: machine.drawer_description().unwrap_or_else(|e| e.to_string()),
        models: machine.versions().into_iter().map(|(name, version)| (name.to_owned(), version)).collect(),
        browser: None,
        load_before: load(),
        load_after: None,
        seed,
    }
}
