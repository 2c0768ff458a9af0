//! Plots as SVG text that takes its colours from the page (`--c0` to `--c5`, `currentColor`), so that one file is right on light
//! and on dark ground. A plotting library would write its colours in.

use std::fmt::Write;

use super::report::{Curve, Limit, Shape, Spread};

const WIDTH: f64 = 760.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = 18.0;
const TOP: f64 = 34.0;
/// Height of the plotted field.
const FIELD: f64 = 240.0;
const COLOURS: usize = 6;
/// Height of a line of the legend.
const LEGEND: f64 = 18.0;

pub fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// Round numbers that cover `low..=high`: a first one and the step.
fn ticks(low: f64, high: f64) -> Vec<f64> {
    let high = if high > low { high } else { low + 1.0 };
    let span = high - low;
    let raw = span / 5.0;
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0, 10.0].map(|m| m * power).into_iter().find(|s| *s >= raw * 0.999).unwrap_or(power);
    let first = (low / step).floor() as i64;
    let last = (high / step - 1e-9).ceil() as i64;
    (first..=last).map(|n| n as f64 * step).collect()
}

fn label(v: f64) -> String {
    if v.abs() >= 10_000.0 {
        return format!("{}k", label(v / 1000.0));
    }
    let text = format!("{v:.3}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text }
}

/// A linear map of values to pixels.
#[derive(Clone, Copy)]
struct Axis {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
}

impl Axis {
    fn at(&self, v: f64) -> f64 {
        self.from + (v - self.low) / (self.high - self.low).max(1e-12) * (self.to - self.from)
    }
}

struct Plot {
    out: String,
    y: Axis,
    bottom: f64,
}

impl Plot {
    /// Title, grid and the vertical axis; `names` are for the legend below.
    fn begin(title: &str, y_name: &str, (low, high): (f64, f64), names: &[String]) -> Self {
        let ticks = ticks(low, high);
        let (low, high) = (ticks[0], *ticks.last().expect("there are some"));
        let bottom = TOP + FIELD;
        let rows = legend_rows(names);
        let height = bottom + 46.0 + rows.len() as f64 * LEGEND;
        let mut out = format!(
            "<svg viewBox=\"0 0 {WIDTH} {height:.0}\" role=\"img\" aria-label=\"{0}\"><text class=\"title\" x=\"{LEFT}\" y=\"16\">{0}</text>",
            escape(title)
        );
        let y = Axis { low, high, from: bottom, to: TOP };
        for t in ticks {
            let at = y.at(t);
            let _ = write!(out, "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", WIDTH - RIGHT, LEFT - 8.0, at + 4.0, label(t));
        }
        let middle = TOP + FIELD / 2.0;
        let _ = write!(out, "<text class=\"axis\" transform=\"rotate(-90 14 {middle})\" x=\"14\" y=\"{middle}\" text-anchor=\"middle\">{}</text>", escape(y_name));
        let mut n = 0;
        for (row, members) in rows.iter().enumerate() {
            let mut x = LEFT;
            let line = bottom + 52.0 + row as f64 * LEGEND;
            for name in members {
                let _ = write!(out, "<rect x=\"{x:.1}\" y=\"{:.1}\" width=\"12\" height=\"4\" rx=\"2\" fill=\"var(--c{})\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\">{}</text>", line - 6.0, n % COLOURS, x + 18.0, line, escape(name));
                x += 34.0 + name.chars().count() as f64 * 6.3;
                n += 1;
            }
        }
        Plot { out, y, bottom }
    }

    fn x_name(&mut self, name: &str) {
        let _ = write!(self.out, "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", (LEFT + WIDTH - RIGHT) / 2.0, self.bottom + 34.0, escape(name));
    }

    fn x_tick(&mut self, at: f64, text: &str) {
        let _ = write!(self.out, "<text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>", self.bottom + 17.0, escape(text));
    }

    fn limit(&mut self, limit: &Limit) {
        let at = self.y.at(limit.y);
        let _ = write!(self.out, "<line class=\"limit\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>", WIDTH - RIGHT, WIDTH - RIGHT, at - 5.0, escape(&limit.name));
    }

    fn end(mut self) -> String {
        self.out.push_str("</svg>");
        self.out
    }
}

/// Names by lines of the legend, as many on each as fit.
fn legend_rows(names: &[String]) -> Vec<Vec<&String>> {
    let mut rows: Vec<Vec<&String>> = Vec::new();
    let mut used = f64::INFINITY;
    for name in names {
        let width = 34.0 + name.chars().count() as f64 * 6.3;
        if used + width > WIDTH - LEFT {
            rows.push(Vec::new());
            used = 0.0;
        }
        used += width;
        rows.last_mut().expect("one was pushed").push(name);
    }
    rows
}

fn path(points: impl Iterator<Item = (f64, f64)>, colour: usize) -> String {
    let mut d = String::new();
    for (n, (x, y)) in points.enumerate() {
        let _ = write!(d, "{}{x:.1} {y:.1}", if n == 0 { "M" } else { "L" });
    }
    format!("<path class=\"line\" d=\"{d}\" stroke=\"var(--c{})\"/>", colour % COLOURS)
}

/// How much of each spread lies below a value: steep is steady, far left is quick.
pub fn shares(title: &str, spreads: &[&Spread]) -> String {
    let spreads: Vec<&&Spread> = spreads.iter().filter(|s| s.quantiles.len() > 1).collect();
    let Some(unit) = spreads.first().map(|s| s.unit.clone()) else { return String::new() };
    let names: Vec<String> = spreads.iter().map(|s| s.name.clone()).collect();
    let low = spreads.iter().map(|s| s.min).fold(f64::INFINITY, f64::min).min(0.0);
    // One straggler must not press all the rest into a corner.
    let high = spreads.iter().map(|s| s.p99.max(s.p95 * 1.1)).fold(0.0, f64::max).max(low + 1e-6);
    let mut plot = Plot::begin(title, "share at or below, %", (0.0, 100.0), &names);
    let ticks = ticks(low, high);
    let x = Axis { low: ticks[0], high, from: LEFT, to: WIDTH - RIGHT };
    for t in ticks.iter().filter(|t| **t <= high) {
        plot.x_tick(x.at(*t), &label(*t));
    }
    plot.x_name(if unit.is_empty() { "value" } else { &unit });
    for (n, s) in spreads.iter().enumerate() {
        let y = plot.y;
        let inside = s.quantiles.iter().enumerate().filter(|(_, v)| **v <= x.high);
        plot.out.push_str(&path(inside.map(|(q, v)| (x.at(*v), y.at(q as f64))), n));
    }
    plot.end()
}

pub fn curve(curve: &Curve) -> String {
    let names: Vec<String> = curve.lines.iter().map(|l| l.name.clone()).collect();
    let names = if names.len() > 1 { names } else { Vec::new() };
    let all = || curve.lines.iter().flat_map(|l| &l.points).copied().filter(|p| p[0].is_finite() && p[1].is_finite());
    if all().next().is_none() {
        return String::new();
    }
    let limit = curve.limit.as_ref().map_or(0.0, |l| l.y);
    let stacked = |x: f64| curve.lines.iter().flat_map(|l| &l.points).filter(|p| p[0] == x).map(|p| p[1]).sum::<f64>();
    let high = match curve.shape {
        Shape::Stack => all().map(|p| stacked(p[0])).fold(0.0, f64::max),
        _ => all().map(|p| p[1]).fold(0.0, f64::max),
    };
    let low = all().map(|p| p[1]).fold(0.0, f64::min);
    let mut plot = Plot::begin(&curve.name, &curve.y, (low, high.max(limit).max(low + 1e-6)), &names);
    plot.x_name(&curve.x);
    let y = plot.y;
    if curve.shape == Shape::Line {
        let (min, max) = all().fold((f64::INFINITY, f64::NEG_INFINITY), |(a, b), p| (a.min(p[0]), b.max(p[0])));
        let few = curve.lines.iter().map(|l| l.points.len()).max().unwrap_or(0) <= 12;
        let marks: Vec<f64> = if few { curve.lines[0].points.iter().map(|p| p[0]).collect() } else { ticks(min, max) };
        let marks: Vec<f64> = marks.into_iter().filter(|m| (min..=max).contains(m)).collect();
        let (low, high) = (min, max);
        let pad = if few { 0.06 * (high - low).max(1e-9) } else { 0.0 };
        let x = Axis { low: low - pad, high: high + pad, from: LEFT, to: WIDTH - RIGHT };
        for t in &marks {
            plot.x_tick(x.at(*t), &label(*t));
        }
        for (n, line) in curve.lines.iter().enumerate() {
            plot.out.push_str(&path(line.points.iter().map(|p| (x.at(p[0]), y.at(p[1]))), n));
            if few {
                for p in &line.points {
                    let _ = write!(plot.out, "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"var(--c{})\"/>", x.at(p[0]), y.at(p[1]), n % COLOURS);
                }
            }
        }
    } else {
        bars(&mut plot, curve);
    }
    if let Some(limit) = &curve.limit {
        plot.limit(limit);
    }
    plot.end()
}

fn bars(plot: &mut Plot, curve: &Curve) {
    let groups = curve.labels.len().max(1);
    let room = (WIDTH - LEFT - RIGHT) / groups as f64;
    let y = plot.y;
    let side_by_side = if curve.shape == Shape::Bars { curve.lines.len().max(1) } else { 1 };
    let width = (room * 0.72 / side_by_side as f64).min(56.0);
    let mut tops = vec![0.0; groups];
    for (g, name) in curve.labels.iter().enumerate() {
        let most = ((room / 6.6) as usize).max(3);
        let short: String = if name.chars().count() > most { name.chars().take(most - 1).chain(['…']).collect() } else { name.clone() };
        plot.x_tick(LEFT + room * (g as f64 + 0.5), &short);
    }
    for (n, line) in curve.lines.iter().enumerate() {
        for p in &line.points {
            let g = p[0] as usize;
            if g >= groups {
                continue;
            }
            let middle = LEFT + room * (g as f64 + 0.5);
            let (left, base) = match curve.shape {
                Shape::Bars => (middle + (n as f64 - side_by_side as f64 / 2.0) * width, 0.0),
                _ => (middle - width / 2.0, tops[g]),
            };
            tops[g] = base + p[1];
            let (top, bottom) = (y.at(base + p[1]), y.at(base));
            let _ = write!(
                plot.out,
                "<rect x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" fill=\"var(--c{})\"><title>{} {}: {}</title></rect>",
                left + 1.0,
                (width - 2.0).max(1.0),
                (bottom - top).max(0.5),
                n % COLOURS,
                escape(curve.labels.get(g).map_or("", String::as_str)),
                escape(&line.name),
                label(p[1])
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_cover() {
        for (low, high) in [(0.0, 7.3), (-12.0, 88.0), (0.0, 0.013), (0.0, 100.0), (3.0, 3.0)] {
            let t = ticks(low, high);
            assert!(t[0] <= low && *t.last().unwrap() >= high && (2..=8).contains(&t.len()), "{low} {high} {t:?}");
        }
        assert_eq!(ticks(0.0, 100.0), [0.0, 20.0, 40.0, 60.0, 80.0, 100.0]);
    }

    #[test]
    fn text_from_outside_cannot_break_out() {
        let spread = Spread::of("g", "<script>alert(1)</script>", "\"ms\"", vec![1.0, 2.0]);
        let svg = shares("a & b", &[&spread]);
        assert!(!svg.contains("<script>") && svg.contains("&lt;script&gt;") && svg.contains("a &amp; b"));
    }
}
