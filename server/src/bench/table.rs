//! A report as a table in the terminal.

use std::io::Write;

use super::report::{Report, Section, Spread};

fn number(v: f64) -> String {
    match v.abs() {
        a if a >= 1000.0 => format!("{v:.0}"),
        a if a >= 100.0 => format!("{v:.1}"),
        a if a >= 10.0 || a == 0.0 => format!("{v:.2}"),
        _ => format!("{v:.3}"),
    }
}

fn row(out: &mut impl Write, s: &Spread, name_width: usize) -> std::io::Result<()> {
    let unit = if s.unit.is_empty() { String::new() } else { format!(", {}", s.unit) };
    write!(out, "  {:<name_width$} {:>7}", format!("{}{unit}", s.name), s.count)?;
    for v in [s.p50, s.p95, s.p99, s.p99_9, s.worst()] {
        write!(out, " {:>9}", number(v))?;
    }
    writeln!(out)
}

fn section(out: &mut impl Write, s: &Section) -> std::io::Result<()> {
    writeln!(out, "\n{}", s.title)?;
    let longest = s.spreads.iter().map(|r| r.name.chars().count() + r.unit.len() + 2).chain(s.values.iter().map(|v| v.name.chars().count())).max().unwrap_or(0);
    let width = longest.clamp(20, 92);
    if !s.spreads.is_empty() {
        writeln!(out, "  {:<width$} {:>7} {:>9} {:>9} {:>9} {:>9} {:>9}", "", "n", "p50", "p95", "p99", "p99.9", "worst")?;
        for r in &s.spreads {
            row(out, r, width)?;
        }
    }
    for v in &s.values {
        writeln!(out, "  {:<width$} {:>9} {}", v.name, number(v.value), v.unit)?;
    }
    for c in &s.checks {
        let verdict = match (c.passed, c.of_the_meter) {
            (true, _) => "ok    ",
            (false, false) => "MISSED",
            (false, true) => "BROKEN",
        };
        writeln!(out, "  {verdict} {}: {}", c.name, c.found)?;
    }
    Ok(())
}

/// # Errors
/// If `out` cannot be written.
pub fn print(out: &mut impl Write, report: &Report) -> std::io::Result<()> {
    let m = &report.manifest;
    writeln!(out, "odori {} on {}, {} cores, {}; {}", m.odori, m.cpu, m.cores, m.simd, m.os)?;
    writeln!(out, "computes on {}; draws on {}", m.compute, m.draw)?;
    if let Some(browser) = &m.browser {
        writeln!(out, "watched by {browser}")?;
    }
    if m.load_before.is_some_and(|l| l > 0.3) {
        writeln!(out, "NOTE: the load average was {:.2} before this began: other programs were at work, and times are too long", m.load_before.unwrap_or(0.0))?;
    }
    report.sections.iter().try_for_each(|s| section(out, s))
}
