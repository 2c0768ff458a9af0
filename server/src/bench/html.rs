//! A report as one HTML page that needs nothing else: tables, plots as inline SVG, light and dark, and the JSON inside.

use std::fmt::Write;

use super::report::{Report, Section, Spread};
use super::svg::{self, escape};

const STYLE: &str = "
:root { color-scheme: light dark; --ground: #fbfbfd; --card: #fff; --text: #1c1c28; --dim: #62627a; --rule: #e3e3ec;
  --good: #14804a; --bad: #c02c38; --c0: #5b4fd6; --c1: #e0662f; --c2: #1b9a8a; --c3: #c23a86; --c4: #8a6d00; --c5: #3a78c2 }
@media (prefers-color-scheme: dark) { :root { --ground: #14131c; --card: #1d1c29; --text: #ececf4; --dim: #a3a2ba; --rule: #34334a;
  --good: #55d18f; --bad: #ff7b82; --c0: #9d93ff; --c1: #ff9a66; --c2: #4fd3c1; --c3: #ff86c8; --c4: #e0c04a; --c5: #7db7ff } }
* { box-sizing: border-box }
body { margin: 0; background: var(--ground); color: var(--text); font: 15px/1.5 system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif }
main { max-width: 880px; margin: 0 auto; padding: 40px 20px 80px }
h1 { font-size: 30px; margin: 0 0 4px; letter-spacing: -.02em } h2 { font-size: 21px; margin: 0 0 6px; letter-spacing: -.01em }
p { margin: 0 0 14px; max-width: 70ch } .dim { color: var(--dim) }
section { background: var(--card); border: 1px solid var(--rule); border-radius: 14px; padding: 24px 26px; margin-top: 24px }
.facts { display: flex; flex-wrap: wrap; gap: 12px; margin-top: 22px }
.fact { background: var(--card); border: 1px solid var(--rule); border-radius: 12px; padding: 14px 18px; flex: 1 1 180px }
.fact b { display: block; font-size: 25px; letter-spacing: -.02em; font-variant-numeric: tabular-nums } .fact span { color: var(--dim); font-size: 13px }
.scroll { overflow-x: auto } table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: 13.5px; margin: 8px 0 16px }
th { text-align: right; color: var(--dim); font-weight: 500; padding: 4px 8px; border-bottom: 1px solid var(--rule) }
td { text-align: right; padding: 5px 8px; border-bottom: 1px solid var(--rule); white-space: nowrap } tr:last-child td { border-bottom: 0 }
th:first-child, td:first-child { text-align: left; padding-left: 0; white-space: normal; min-width: 210px }
ul.checks { list-style: none; padding: 0; margin: 6px 0 14px } ul.checks li { padding: 3px 0 3px 26px; position: relative }
ul.checks li::before { content: '✓'; position: absolute; left: 3px; color: var(--good); font-weight: 700 }
ul.checks li.missed::before { content: '✗'; color: var(--bad) }
.note { border-left: 3px solid var(--bad); padding: 2px 0 2px 14px }
svg { width: 100%; height: auto; display: block; margin: 14px 0 4px; color: var(--text) }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim) } svg .title { font-weight: 600; font-size: 13.5px; fill: var(--text) }
svg .grid { stroke: var(--rule) } svg .line { fill: none; stroke-width: 1.8; stroke-linejoin: round } svg .limit { stroke: var(--bad); stroke-dasharray: 5 4 }
details { margin-top: 12px } summary { cursor: pointer; color: var(--dim) }
";

fn number(v: f64) -> String {
    match v.abs() {
        a if a >= 1000.0 => format!("{v:.0}"),
        a if a >= 100.0 => format!("{v:.1}"),
        a if a >= 10.0 || a == 0.0 => format!("{v:.2}"),
        _ => format!("{v:.3}"),
    }
}

fn spreads(out: &mut String, list: &[&Spread]) {
    out.push_str("<div class=\"scroll\"><table><tr><th></th><th>n</th><th>p50</th><th>p95</th><th>p99</th><th>p99.9</th><th>worst</th></tr>");
    for s in list {
        let unit = if s.unit.is_empty() { String::new() } else { format!(", {}", s.unit) };
        let _ = write!(out, "<tr><td>{}{}</td><td>{}</td>", escape(&s.name), escape(&unit), s.count);
        for v in [s.p50, s.p95, s.p99, s.p99_9, s.worst()] {
            let _ = write!(out, "<td>{}</td>", number(v));
        }
        out.push_str("</tr>");
    }
    out.push_str("</table></div>");
}

/// The word and the ending for a check.
fn verdict(passed: bool, of_the_meter: bool) -> &'static str {
    match (passed, of_the_meter) {
        (true, _) => "",
        (false, true) => " <b>The meter is broken.</b>",
        (false, false) => " <b>Missed.</b>",
    }
}

fn section(out: &mut String, s: &Section) {
    let _ = write!(out, "<section id=\"{}\"><h2>{}</h2><p class=\"dim\">{}</p>", escape(&s.id), escape(&s.title), escape(&s.about));
    if !s.checks.is_empty() {
        out.push_str("<ul class=\"checks\">");
        for c in &s.checks {
            let class = if c.passed { "" } else { " class=\"missed\"" };
            let _ = write!(out, "<li{class}>{}: {}.{}</li>", escape(&c.name), escape(&c.found), verdict(c.passed, c.of_the_meter));
        }
        out.push_str("</ul>");
    }
    for c in &s.curves {
        out.push_str(&svg::curve(c));
    }
    let mut groups: Vec<&str> = Vec::new();
    for spread in &s.spreads {
        if !groups.contains(&spread.group.as_str()) {
            groups.push(&spread.group);
        }
    }
    for group in groups {
        let list: Vec<&Spread> = s.spreads.iter().filter(|x| x.group == group).collect();
        // Plots of more lines than colours say nothing.
        if !group.is_empty() && list.len() <= 6 && list[0].unit == "ms" {
            out.push_str(&svg::shares(&format!("{}: how many are how quick", s.title), &list));
        }
        spreads(out, &list);
    }
    if !s.values.is_empty() {
        out.push_str("<div class=\"scroll\"><table>");
        for v in &s.values {
            let _ = write!(out, "<tr><td>{}</td><td>{} {}</td></tr>", escape(&v.name), number(v.value), escape(&v.unit));
        }
        out.push_str("</table></div>");
    }
    out.push_str("</section>");
}

/// The few figures that a reader wants first.
fn facts(out: &mut String, report: &Report) {
    let find = |id: &str, start: &str| {
        let section = report.sections.iter().find(|s| s.id == id)?;
        section.spreads.iter().rfind(|s| s.name.starts_with(start) && s.count > 0)
    };
    let mut list: Vec<(String, String)> = Vec::new();
    if let Some(s) = find("glass", "click in to picture seen") {
        list.push((format!("{:.0} ms", s.p50), format!("{}, median; p95 {:.0} ms", s.name, s.p95)));
    }
    if let Some(s) = find("surprise", "music begins") {
        list.push((format!("{:.0} ms", s.p50), format!("{}, median; p95 {:.0} ms", s.name, s.p95)));
    }
    if let Some(s) = find("beat", "visible beat against heard beat") {
        list.push((format!("{:+.0} ms", s.p50), format!("{}, median", s.name)));
    }
    if let Some(s) = find("glass", "PSNR") {
        list.push((format!("{:.1} dB", s.p50), s.name.clone()));
    }
    if let Some(s) = find("stages", "whole frame") {
        list.push((format!("{:.1} ms", s.p50), format!("{}, median; p99.9 {:.1} ms", s.name, s.p99_9)));
    }
    if list.is_empty() {
        return;
    }
    out.push_str("<div class=\"facts\">");
    for (value, name) in list {
        let _ = write!(out, "<div class=\"fact\"><b>{}</b><span>{}</span></div>", escape(&value), escape(&name));
    }
    out.push_str("</div>");
}

/// Year, month and day of a Unix time (civil from days, Howard Hinnant).
fn date(unix_s: u64) -> String {
    let days = (unix_s / 86_400) as i64 + 719_468;
    let era = days / 146_097;
    let of_era = days - era * 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    format!("{}-{month:02}-{day:02}", year + era * 400 + i64::from(month <= 2))
}

/// The whole page.
pub fn page(report: &Report) -> String {
    let m = &report.manifest;
    let mut out = format!("<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Odori bench</title><style>{STYLE}</style><main>");
    let _ = write!(
        out,
        "<h1>Odori bench</h1><p class=\"dim\">{}, {} cores, {}; {}. Odori {}, {}.</p>",
        escape(&m.cpu),
        m.cores,
        escape(&m.simd),
        escape(&m.os),
        escape(&m.odori),
        date(m.started_at_unix_s)
    );
    if m.load_before.is_some_and(|l| l > 0.3) {
        let _ = write!(out, "<p class=\"note\">Other programs were at work (load average {:.2} before this began): times are too long, and not comparable.</p>", m.load_before.unwrap_or(0.0));
    }
    facts(&mut out, report);
    for s in &report.sections {
        section(&mut out, s);
    }
    let rows = [
        ("command", m.command.join(" ")),
        ("computes on", m.compute.clone()),
        ("draws on", m.draw.clone()),
        ("browser", m.browser.clone().unwrap_or_else(|| "none".into())),
        ("kernel", format!("{} {}", m.kernel, m.architecture)),
        ("memory", format!("{} MB", m.memory_mb)),
        ("models", m.models.iter().map(|(k, v)| format!("{k} {v}")).collect::<Vec<_>>().join(", ")),
        ("seed", m.seed.to_string()),
        ("load average before, after", format!("{}, {}", show(m.load_before), show(m.load_after))),
        ("took", format!("{:.0} s", m.took_s)),
    ];
    out.push_str("<section><h2>The machine</h2><div class=\"scroll\"><table>");
    for (name, value) in rows {
        let _ = write!(out, "<tr><td>{name}</td><td style=\"white-space:normal\">{}</td></tr>", escape(&value));
    }
    // A closing tag inside a string would end the script.
    let json = serde_json::to_string(report).unwrap_or_default().replace("</", "<\\/");
    let _ = write!(out, "</table></div><details><summary>The figures as JSON</summary><p class=\"dim\">In this page, as the text of <code>script#report</code>; its form is <code>docs/bench.schema.json</code>.</p></details></section></main><script type=\"application/json\" id=\"report\">{json}</script></html>");
    out
}

fn show(load: Option<f64>) -> String {
    load.map_or_else(|| "unknown".into(), |l| format!("{l:.2}"))
}

#[cfg(test)]
mod tests {
    use super::super::report::{Better, Curve, FORMAT, Line, Manifest, Shape};
    use super::*;

    #[test]
    fn a_page_shows_every_figure_and_needs_nothing_else() {
        let mut s = Section::new("glass", "Glass", "about </script> it");
        s.spread("latency", "click in to picture seen, X", "ms", vec![41.0; 30]);
        s.value("frames never seen", "%", 1.25, Better::Lower);
        s.bar("low", false, "too high".into());
        for shape in [Shape::Line, Shape::Bars, Shape::Stack] {
            let line = Line { name: "l".into(), points: vec![[0.0, 1.0], [1.0, 2.0]] };
            s.curves.push(Curve { name: "c".into(), shape, labels: vec!["a".into(), "b".into()], lines: vec![line.clone(), line], ..Curve::default() });
        }
        let page = page(&Report { format: FORMAT.into(), manifest: Manifest::default(), sections: vec![s] });
        assert!(page.contains("41.00") && page.contains("1.250") && page.contains("Missed"));
        assert_eq!(page.matches("<svg").count(), 4);
        assert_eq!(page.matches("</script>").count(), 1);
        assert!(!page.contains("http"), "nothing is fetched");
        assert!(!page.contains("NaN") && !page.contains("inf"));
    }

    #[test]
    fn dates_are_right() {
        assert_eq!([date(0), date(951_782_400), date(1_795_219_200)], ["1970-01-01", "2000-02-29", "2026-11-21"]);
    }
}
