//! Findings as text, and as one page with plots. Decides nothing.

use std::fmt::Write;

use odori_engine::metrics;

use super::Findings;
use super::chance::Range;
use super::judge::{Beats, Column, SongBeats};

type Cell = fn(&Column) -> String;

fn beat(c: &Column, of: fn(&super::judge::Beats) -> String) -> String {
    c.beats.as_ref().map_or_else(|| "-".into(), of)
}

/// Name, what is good, and the cell of a column.
const ROWS: [(&str, &str, Cell); 22] = [
    ("beat F at 70 ms", "high", |c| beat(c, |b| format!("{:.2}", b.f))),
    ("  phase-shuffled control", "", |c| beat(c, |b| format!("{:.2}", b.control_f))),
    ("  precision, recall", "high", |c| beat(c, |b| format!("{:.2}, {:.2}", b.precision, b.recall))),
    ("  median lag, ms", "0", |c| beat(c, |b| format!("{:+.0}", b.lag_ms))),
    ("  songs at half, beat, double time", "", |c| beat(c, |b| format!("{}, {}, {}", b.levels[0], b.levels[1], b.levels[2]))),
    ("BAS, 60 fps", "high", |c| beat(c, |b| format!("{:.2}", b.bas))),
    ("  phase-shuffled control", "", |c| beat(c, |b| format!("{:.2}", b.control_bas))),
    ("DIV_k", "real", |c| format!("{:.1}", c.spread.div_k)),
    ("DIV_g", "real", |c| format!("{:.1}", c.spread.div_g)),
    ("FID_k, to held-out real dance", "low", |c| format!("{:.0}", c.spread.fid_k)),
    ("FID_g, to held-out real dance", "low", |c| format!("{:.0}", c.spread.fid_g)),
    ("FID_k, FID_g, to all real dance", "low", |c| format!("{:.0}, {:.0}", c.spread.fid_k_all, c.spread.fid_g_all)),
    ("PFC", "low", |c| format!("{:.2}", c.pfc)),
    ("slide of standing feet, m/s", "low", |c| format!("{:.3}", c.slide_m_s)),
    ("low feet that skate, %", "low", |c| format!("{:.1}", c.skating * 100.0)),
    ("frames beyond joint limits, %", "low", |c| format!("{:.1}", c.beyond_joint_limits * 100.0)),
    ("limb length strays, mm", "0", |c| format!("{:.1}", c.limb_stray_mm)),
    ("mean joint speed, m/s", "real", |c| format!("{:.2}", c.speed_m_s)),
    ("seconds still, nearly still, %", "0", |c| format!("{:.1}, {:.1}", c.still * 100.0, c.nearly_still * 100.0)),
    ("longest still, s", "under 2", |c| format!("{:.1}", c.longest_still_s)),
    ("farthest from the centre, m", "", |c| format!("{:.2}", c.strayed_m)),
    ("minutes judged; stretches of 3 s", "", |c| format!("{:.1}; {}", c.minutes, c.spread.windows)),
];

fn range(r: &Range, digits: usize) -> String {
    format!("{:.digits$} to {:.digits$}", r.low, r.high)
}

fn lines(f: &Findings) -> Vec<String> {
    let mut out = Vec::new();
    if let Some(c) = &f.chance {
        let percent = Range { low: c.skating.low * 100.0, middle: c.skating.middle * 100.0, high: c.skating.high * 100.0 };
        out.push(format!(
            "chance: {} draws of {:.1} minutes from the {} recordings of real dance, 5 to 95 %: DIV_k {}, DIV_g {}, PFC {}, slide {} m/s, skating {} %, speed {} m/s",
            c.draws, c.minutes, c.recordings, range(&c.div_k, 1), range(&c.div_g, 1), range(&c.pfc, 2), range(&c.slide_m_s, 3), range(&percent, 1), range(&c.speed_m_s, 2)
        ));
        out.push(format!(
            "the rest of the real dance, held against such a draw, 5 to 95 % (median): FID_k {} ({:.0}), FID_g {} ({:.0}); times the draw's: DIV_k {} ({:.2}), DIV_g {} ({:.2}), PFC {} ({:.2}), skating {} ({:.2})",
            range(&c.fid_k, 0), c.fid_k.middle, range(&c.fid_g, 0), c.fid_g.middle, range(&c.div_k_ratio, 2), c.div_k_ratio.middle, range(&c.div_g_ratio, 2), c.div_g_ratio.middle,
            range(&c.pfc_ratio, 2), c.pfc_ratio.middle, range(&c.skating_ratio, 2), c.skating_ratio.middle
        ));
    }
    if let Some(h) = &f.hour {
        out.push(format!(
            "{} minutes without a pause: speed {:.2} m/s in the first five, {:.2} in the last five; still {:.1} %, nearly still {:.1} % of the seconds; longest still {:.1} s; farthest from the centre {:.2} m",
            h.minutes, h.first_five, h.last_five, h.still * 100.0, h.nearly_still * 100.0, h.longest_still_s, h.strayed_m
        ));
    }
    if let Some(c) = &f.controls {
        for e in &c.energy {
            out.push(format!("energy {:.2}: {:.2} m/s, nearly still {:.1} %, longest still {:.1} s, beat F {:.2}", e.energy, e.speed_m_s, e.nearly_still * 100.0, e.longest_still_s, e.f));
        }
        out.push(format!("energy 0.2 to 1 in mid-song: half of the change shows after {:.2} bars", c.energy_answer_bars));
        for t in &c.tempo {
            out.push(format!("tempo x {:.2}: {:.0} BPM, kinematic beats {:.0} a minute, {:.2} m/s, beat F {:.2}", t.tempo, t.bpm, t.kinematic_bpm, t.speed_m_s, t.f));
        }
        for (name, speed) in &c.sections {
            out.push(format!("section {name}: {speed:.2} m/s"));
        }
        let s = &c.styles;
        out.push(if s.tried_on.is_empty() {
            "styles: not judged, for want of real dance to learn them from".to_owned()
        } else {
            format!(
                "styles: the classifier tells {:.0} % of held-out real stretches ({}), {:.0} % of the dances; {:.0} % a bar after another style was asked for",
                s.real * 100.0,
                s.tried_on.join(", "),
                s.accuracy * 100.0,
                s.after_a_bar * 100.0
            )
        });
        for (name, row) in s.names.iter().zip(&s.told) {
            let told: Vec<String> = s.names.iter().zip(row).filter(|(_, r)| **r >= 0.05).map(|(n, r)| format!("{n} {:.0} %", r * 100.0)).collect();
            out.push(format!("  {name}: told as {}", told.join(", ")));
        }
    }
    out
}

pub fn table(f: &Findings) -> String {
    let mut out = format!("energy {}, temperature {}, top-p {}, {} seeds from {}\n", f.energy, f.temperature, f.top_p, f.seeds, f.seed);
    let _ = write!(out, "{:34}", "");
    for c in &f.columns {
        let _ = write!(out, "{:>17}", c.title);
    }
    out.push('\n');
    for (name, good, cell) in ROWS {
        let name = if good.is_empty() { name.to_owned() } else { format!("{name} [{good}]") };
        let _ = write!(out, "{name:34}");
        for c in &f.columns {
            let _ = write!(out, "{:>17}", cell(c));
        }
        out.push('\n');
    }
    for line in lines(f) {
        out.push_str(&line);
        out.push('\n');
    }
    out
}

const WIDTH: f32 = 720.0;
const HEIGHT: f32 = 180.0;
const COLOURS: [&str; 6] = ["#c8324b", "#2f6fb0", "#6a4fb3", "#3a8f5c", "#888", "#bbb"];

/// Bars side by side: a group a label, a bar a series.
fn bars(title: &str, labels: &[String], series: &[(String, Vec<f32>)]) -> String {
    let highest = series.iter().flat_map(|(_, v)| v.iter().copied()).fold(1e-6, f32::max);
    let group = (WIDTH - 40.0) / labels.len().max(1) as f32;
    let bar = group * 0.8 / series.len().max(1) as f32;
    let mut out = format!("<figure><figcaption>{title}</figcaption><svg viewBox='0 0 {WIDTH} {}' role='img'>", HEIGHT + 60.0);
    for (k, (name, values)) in series.iter().enumerate() {
        let colour = COLOURS[k % COLOURS.len()];
        for (i, v) in values.iter().enumerate() {
            let h = HEIGHT * v / highest;
            let x = 40.0 + group * i as f32 + bar * k as f32;
            let _ = write!(out, "<rect x='{x:.1}' y='{:.1}' width='{:.1}' height='{h:.1}' fill='{colour}'><title>{name}: {v:.3}</title></rect>", HEIGHT + 4.0 - h, bar * 0.92);
        }
        let _ = write!(out, "<text x='{}' y='{}' fill='{colour}'>{name}</text>", 40.0 + 170.0 * k as f32, HEIGHT + 54.0);
    }
    for (i, label) in labels.iter().enumerate() {
        let _ = write!(out, "<text x='{:.1}' y='{}' text-anchor='middle'>{label}</text>", 40.0 + group * (i as f32 + 0.4), HEIGHT + 22.0);
    }
    let _ = write!(out, "<text x='2' y='14'>{highest:.2}</text><line x1='40' x2='{WIDTH}' y1='{0}' y2='{0}' stroke='#999'/></svg></figure>", HEIGHT + 4.0);
    out
}

fn plots(f: &Findings) -> String {
    let mut out = String::new();
    let danced: Vec<&Column> = f.columns.iter().filter(|c| c.beats.is_some()).collect();
    if let Some(first) = danced.first().and_then(|c| c.beats.as_ref()) {
        let mut names: Vec<String> = Vec::new();
        for song in &first.songs {
            if !names.contains(&song.name) {
                names.push(song.name.clone());
            }
        }
        // The mean over the dances of a song.
        let of = |beats: &Beats, f: fn(&SongBeats) -> f32| -> Vec<f32> {
            names.iter().map(|n| metrics::mean(&beats.songs.iter().filter(|s| s.name == *n).map(f).collect::<Vec<_>>())).collect()
        };
        let mut series: Vec<(String, Vec<f32>)> = danced.iter().filter_map(|c| Some((c.title.clone(), of(c.beats.as_ref()?, |s| s.f)))).collect();
        series.push(("control of dance".into(), of(first, |s| s.control_f)));
        out.push_str(&bars("Beat F at 70 ms, song by song", &names, &series));
    }
    if let Some(h) = &f.hour {
        let minutes: Vec<String> = (0..h.speed.len()).map(|m| if m % 10 == 0 { m.to_string() } else { String::new() }).collect();
        out.push_str(&bars("Mean joint speed of every minute, m/s", &minutes, &[("dance".into(), h.speed.clone())]));
    }
    if let Some(c) = &f.controls {
        let labels: Vec<String> = c.energy.iter().map(|e| format!("energy {}", e.energy)).collect();
        out.push_str(&bars("What energy does", &labels, &[("m/s".into(), c.energy.iter().map(|e| e.speed_m_s).collect()), ("beat F".into(), c.energy.iter().map(|e| e.f).collect())]));
        let labels: Vec<String> = c.tempo.iter().map(|t| format!("x {}", t.tempo)).collect();
        out.push_str(&bars("What tempo does, a minute", &labels, &[("beats of the song".into(), c.tempo.iter().map(|t| t.bpm).collect()), ("kinematic beats".into(), c.tempo.iter().map(|t| t.kinematic_bpm).collect())]));
        let s = &c.styles;
        let series: Vec<(String, Vec<f32>)> = vec![("asked for and told".into(), s.told.iter().enumerate().map(|(i, r)| r[i]).collect())];
        out.push_str(&bars("Styles told rightly", &s.names, &series));
    }
    out
}

pub fn page(f: &Findings) -> String {
    let mut rows = String::from("<tr><th></th>");
    for c in &f.columns {
        let _ = write!(rows, "<th>{}</th>", c.title);
    }
    rows.push_str("</tr>");
    for (name, good, cell) in ROWS {
        let _ = write!(rows, "<tr><th>{name}{}</th>", if good.is_empty() { String::new() } else { format!(" <i>{good}</i>") });
        for c in &f.columns {
            let _ = write!(rows, "<td>{}</td>", cell(c));
        }
        rows.push_str("</tr>");
    }
    let list: String = lines(f).iter().map(|l| format!("<li>{l}</li>")).collect();
    let models: Vec<String> = f.models.iter().map(|(k, v)| format!("{k} {v}")).collect();
    format!(
        "<!doctype html><html lang='en'><meta charset='utf-8'><title>odori eval motion</title><style>\
         body{{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}}\
         table{{border-collapse:collapse;font-variant-numeric:tabular-nums}}td,th{{padding:.2em .7em;text-align:right;border-bottom:1px solid #ddd}}\
         th:first-child{{text-align:left;font-weight:400}}i{{color:#888;font-size:85%}}figure{{margin:2em 0}}figcaption{{font-weight:600}}\
         svg{{width:100%}}svg text{{font-size:10px}}</style>\
         <h1>The dance, judged</h1><p>{}; energy {}, temperature {}, top-p {}, {} seeds from {}.</p><table>{rows}</table><ul>{list}</ul>{}</html>\n",
        models.join(", "),
        f.energy,
        f.temperature,
        f.top_p,
        f.seeds,
        f.seed,
        plots(f)
    )
}
