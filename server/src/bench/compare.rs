//! Two reports side by side: what became better, what worse. Figures that move less than the noise say nothing.

use std::io::Write;
use std::path::Path;

use anyhow::{Context, bail};

use super::report::{Better, FORMAT, Report};

/// Changes smaller than this share, or than this in the figure's own unit, are noise.
const NOISE_SHARE: f64 = 0.05;
const NOISE_MS: f64 = 0.3;

/// # Errors
/// If it cannot be read or is no report.
pub fn read(path: &Path) -> anyhow::Result<Report> {
    let shown = path.display();
    let size = std::fs::metadata(path).with_context(|| format!("{shown} cannot be read"))?.len();
    if size > 256 << 20 {
        bail!("{shown} is {} MB: a report is smaller", size >> 20);
    }
    let text = std::fs::read_to_string(path).with_context(|| format!("{shown} cannot be read"))?;
    let report: Report = serde_json::from_str(&text).with_context(|| format!("{shown} is not a report of odori bench"))?;
    if report.format != FORMAT {
        bail!("{shown} has the form {}; this program reads {FORMAT}", report.format);
    }
    Ok(report)
}

/// One figure in both reports.
#[derive(Debug, PartialEq)]
pub struct Change {
    pub name: String,
    pub unit: String,
    pub before: f64,
    pub after: f64,
    /// How much better (above nought) or worse it became, as a share of what it was; nought within the noise.
    pub gain: f64,
}

fn change(name: String, unit: &str, better: Better, before: f64, after: f64) -> Change {
    let share = (after - before) / before.abs().max(1e-9);
    let small = share.abs() < NOISE_SHARE || (unit == "ms" && (after - before).abs() < NOISE_MS) || (before - after).abs() < 1e-9;
    let gain = match better {
        _ if small => 0.0,
        Better::Lower => -share,
        Better::Higher => share,
        Better::Neither => 0.0,
    };
    Change { name, unit: unit.into(), before, after, gain }
}

/// All figures that both have.
pub fn changes(a: &Report, b: &Report) -> Vec<Change> {
    let mut out = Vec::new();
    for before in &a.sections {
        let Some(after) = b.sections.iter().find(|s| s.id == before.id) else { continue };
        for s in &before.spreads {
            let Some(t) = after.spreads.iter().find(|t| t.name == s.name && t.unit == s.unit) else { continue };
            if s.count == 0 || t.count == 0 {
                continue;
            }
            for (what, x, y) in [("p50", s.p50, t.p50), ("p95", s.p95, t.p95), ("p99", s.p99, t.p99)] {
                out.push(change(format!("{}: {}, {what}", before.id, s.name), &s.unit, s.better, x, y));
            }
        }
        for v in &before.values {
            if let Some(w) = after.values.iter().find(|w| w.name == v.name && w.unit == v.unit) {
                out.push(change(format!("{}: {}", before.id, v.name), &v.unit, v.better, v.value, w.value));
            }
        }
    }
    out
}

/// # Errors
/// If a report cannot be read, or something became worse by more than `fail_over` percent.
pub fn run(a: &Path, b: &Path, fail_over: Option<f64>) -> anyhow::Result<()> {
    let (before, after) = (read(a)?, read(b)?);
    let list = changes(&before, &after);
    if list.is_empty() {
        bail!("the two reports have no figure in common");
    }
    let mut out = std::io::stdout().lock();
    if before.manifest.cpu != after.manifest.cpu || before.manifest.cores != after.manifest.cores {
        writeln!(out, "NOTE: two machines: {} ({} cores) and {} ({} cores)", before.manifest.cpu, before.manifest.cores, after.manifest.cpu, after.manifest.cores)?;
    }
    let width = list.iter().map(|c| c.name.chars().count() + c.unit.len() + 2).max().unwrap_or(0).min(110);
    writeln!(out, "{:<width$} {:>10} {:>10} {:>9}", "", "before", "after", "")?;
    for c in &list {
        let verdict = match c.gain {
            g if g > 0.0 => format!("better {:.0} %", g * 100.0),
            g if g < 0.0 => format!("WORSE {:.0} %", -g * 100.0),
            _ => "same".into(),
        };
        writeln!(out, "{:<width$} {:>10.2} {:>10.2}  {verdict}", format!("{}, {}", c.name, c.unit), c.before, c.after)?;
    }
    let count = |better: bool| list.iter().filter(|c| if better { c.gain > 0.0 } else { c.gain < 0.0 }).count();
    writeln!(out, "\n{} better, {} worse, {} the same", count(true), count(false), list.len() - count(true) - count(false))?;
    let worst = list.iter().min_by(|x, y| x.gain.total_cmp(&y.gain)).filter(|c| fail_over.is_some_and(|f| c.gain < -f / 100.0));
    if let Some(worst) = worst {
        bail!("{} became worse by {:.0} %", worst.name, -worst.gain * 100.0);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::report::{Manifest, Section};
    use super::*;

    fn report(latency: f64, fps: f64) -> Report {
        let mut s = Section::new("glass", "Glass", "");
        s.spread("", "latency", "ms", vec![latency; 10]);
        s.value("rate", "1/s", fps, Better::Higher);
        s.value("bitrate", "kbit/s", latency, Better::Neither);
        Report { format: FORMAT.into(), manifest: Manifest::default(), sections: vec![s] }
    }

    #[test]
    fn better_worse_and_noise_are_told_apart() {
        let gains = |a: &Report, b: &Report| -> Vec<f64> { changes(a, b).iter().map(|c| (c.gain * 100.0).round()).collect() };
        assert_eq!(gains(&report(50.0, 30.0), &report(60.0, 15.0)), [-20.0, -20.0, -20.0, -50.0, 0.0]);
        assert_eq!(gains(&report(50.0, 20.0), &report(40.0, 30.0)), [20.0, 20.0, 20.0, 50.0, 0.0]);
        assert_eq!(gains(&report(50.0, 30.0), &report(51.0, 29.9)), [0.0; 5]);
        assert_eq!(gains(&report(1.0, 30.0), &report(1.2, 30.0)), [0.0; 5], "a fifth of a millisecond is noise");
    }

    #[test]
    fn what_is_no_report_is_refused_in_words() {
        let folder = std::env::temp_dir().join(format!("odori-compare-{}", crate::session::secret_id()));
        std::fs::create_dir(&folder).unwrap();
        let path = folder.join("a.json");
        for text in ["{}", "not json", "{\"format\":\"odori-bench/9\",\"manifest\":null,\"sections\":[]}"] {
            std::fs::write(&path, text).unwrap();
            assert!(format!("{:#}", read(&path).unwrap_err()).contains("a.json"));
        }
        std::fs::write(&path, serde_json::to_string(&report(1.0, 2.0)).unwrap()).unwrap();
        assert!(read(&path).is_ok());
        std::fs::remove_dir_all(folder).unwrap();
    }
}
