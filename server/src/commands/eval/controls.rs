//! What every control does to the dance, in numbers.

use indicatif::ProgressBar;
use odori_engine::metrics::classify::Classifier;
use odori_engine::metrics::{self, Body, POSE_HZ, beats, body::liveliness, speeds};
use odori_engine::pipeline::Settings;
use serde::Serialize;

use super::judge::Stretches;
use super::set::{EvalSet, Song, Split};
use super::{Request, dance};
use crate::engine::Machine;

const ENERGIES: [f32; 5] = [0.0, 0.25, 0.5, 0.75, 1.0];
const SONGS: usize = 4;
const SECONDS: f64 = 24.0;
/// What is danced while the clock finds the beat is not judged.
const SETTLE_FRAMES: usize = 180;
const CHANGE_AT_S: f32 = 14.0;
/// Songs in which every style gives way to another.
const CHANGED_SONGS: usize = 2;

#[derive(Serialize)]
pub struct Controls {
    pub energy: Vec<AtEnergy>,
    pub styles: Styles,
    pub tempo: Vec<AtTempo>,
    /// From a change of energy from 0.2 to 1 until half of the change in speed shows, in bars; the middle of some songs.
    pub energy_answer_bars: f32,
    /// Mean joint speed in the parts of songs called so, m/s.
    pub sections: Vec<(String, f32)>,
}

#[derive(Serialize)]
pub struct AtEnergy {
    pub energy: f32,
    pub speed_m_s: f32,
    pub nearly_still: f32,
    pub longest_still_s: f32,
    pub f: f32,
}

#[derive(Serialize)]
pub struct AtTempo {
    pub tempo: f32,
    pub bpm: f32,
    /// Kinematic beats to a minute.
    pub kinematic_bpm: f32,
    pub f: f32,
    pub speed_m_s: f32,
}

/// How well the styles can be told apart, by a classifier that has learnt from real dance.
#[derive(Default, Serialize)]
pub struct Styles {
    pub names: Vec<String>,
    /// Share of held-out real stretches that it tells rightly; the styles it was tried on.
    pub real: f32,
    pub tried_on: Vec<String>,
    /// Rows: the style that was asked for; columns: what was told. Shares.
    pub told: Vec<Vec<f32>>,
    pub accuracy: f32,
    /// Share told rightly of the stretches that begin in the second after the first bar of another style.
    pub after_a_bar: f32,
}

pub fn frames(machine: &Machine) -> u64 {
    let dances = (ENERGIES.len() + machine.styles().len() + 1) * SONGS + CHANGED_SONGS * machine.styles().len() + 9;
    dances as u64 * (SECONDS * 30.0) as u64
}

fn bodies(machine: &Machine, song: &Song, settings: Settings, change: Option<(f32, Settings)>, seconds: f64, bar: &ProgressBar) -> anyhow::Result<Vec<Body>> {
    let poses = dance(machine, &Request { song, seconds, settings, exact: true, change }, bar)?;
    Ok(poses.iter().map(metrics::body).collect())
}

fn f_of(bodies: &[Body], song: &Song) -> f32 {
    beats::judge(bodies, &super::seen(&song.beats)).map_or(0.0, |s| s.f)
}

fn energies(machine: &Machine, songs: &[&Song], settings: Settings, bar: &ProgressBar) -> anyhow::Result<Vec<AtEnergy>> {
    ENERGIES
        .into_iter()
        .map(|energy| {
            let (mut f, mut live) = (Vec::new(), Vec::new());
            for song in songs {
                let b = bodies(machine, song, Settings { energy, ..settings }, None, SECONDS, bar)?;
                f.push(f_of(&b, song));
                live.push(liveliness(&b[SETTLE_FRAMES.min(b.len())..]));
            }
            let of = |of: fn(&metrics::body::Liveliness) -> f32| metrics::mean(&live.iter().map(of).collect::<Vec<_>>());
            let longest_still_s = live.iter().map(|l| l.longest_still_s).fold(0.0, f32::max);
            Ok(AtEnergy { energy, speed_m_s: of(|l| l.speed), nearly_still: of(|l| l.nearly_still), longest_still_s, f: metrics::mean(&f) })
        })
        .collect()
}

fn answer_to_energy(machine: &Machine, songs: &[&Song], settings: Settings, bar: &ProgressBar) -> anyhow::Result<f32> {
    let mut bars = Vec::new();
    for song in songs {
        let low = Settings { energy: 0.2, ..settings };
        let b = bodies(machine, song, low, Some((CHANGE_AT_S, Settings { energy: 1.0, ..settings })), SECONDS, bar)?;
        // Over half a second, the present included.
        let speed: Vec<f32> = speeds(&b, POSE_HZ).windows(15).map(metrics::mean).collect();
        let at = (CHANGE_AT_S * POSE_HZ) as usize - 7;
        let (before, after) = (metrics::mean(&speed[at - 120..at]), metrics::mean(&speed[speed.len() - 180..]));
        if after > 1.15 * before {
            let half = 0.5 * (before + after);
            let frames = speed[at..].iter().position(|s| *s > half).unwrap_or(speed.len() - at);
            bars.push(frames as f32 / POSE_HZ * song.bpm / 240.0);
        }
    }
    Ok(metrics::quantile(&bars, 0.5))
}

fn styles(machine: &Machine, set: &EvalSet, songs: &[&Song], settings: Settings, bar: &ProgressBar) -> anyhow::Result<Styles> {
    // Only what was danced by people can be learnt from; some styles were made for the model.
    let danced = |name: &str| set.dances.iter().any(|d| d.split == Split::Trained && d.style == name);
    let names: Vec<String> = machine.styles().iter().filter(|s| *s != "free" && danced(s)).cloned().collect();
    let class = |style: &str| names.iter().position(|n| n == style);
    let of = |split: Split| -> (Vec<Vec<f32>>, Vec<usize>) {
        let mut out = (Vec::new(), Vec::new());
        for dance in set.dances.iter().filter(|d| d.split == split) {
            let Some(class) = class(&dance.style) else { continue };
            let bodies: Vec<Body> = dance.poses.iter().map(metrics::body).collect();
            let rows = Stretches::of(std::iter::once(&bodies[..])).manner;
            out.1.extend(std::iter::repeat_n(class, rows.len()));
            out.0.extend(rows);
        }
        out
    };
    let (rows, classes) = of(Split::Trained);
    let Some(classifier) = Classifier::learn(&rows, &classes, names.len()) else { return Ok(Styles::default()) };
    let (held, truth) = of(Split::HeldOut);
    let right = held.iter().zip(&truth).filter(|(row, t)| classifier.tell(row) == **t).count();
    let tried_on = names.iter().enumerate().filter(|(i, _)| truth.contains(i)).map(|(_, n)| n.clone()).collect();
    let number = |name: &str| machine.styles().iter().position(|s| s == name).unwrap_or(0) as u32;
    let mut told = Vec::new();
    for name in &names {
        let style = number(name);
        let mut row = vec![0.0; names.len()];
        let mut count = 0.0f32;
        for song in songs {
            let b = bodies(machine, song, Settings { style, ..settings }, None, SECONDS, bar)?;
            for manner in Stretches::of(std::iter::once(&b[SETTLE_FRAMES.min(b.len())..])).manner {
                row[classifier.tell(&manner)] += 1.0;
                count += 1.0;
            }
        }
        told.push(row.iter().map(|r| r / count.max(1.0)).collect::<Vec<f32>>());
    }
    let mut changed = Vec::new();
    for (i, name) in names.iter().enumerate() {
        let before = &names[(i + names.len() / 2) % names.len()];
        for song in songs.iter().take(CHANGED_SONGS) {
            let (before, after) = (Settings { style: number(before), ..settings }, Settings { style: number(name), ..settings });
            let b = bodies(machine, song, before, Some((CHANGE_AT_S, after)), SECONDS, bar)?;
            let from = ((CHANGE_AT_S + 240.0 / song.bpm) * POSE_HZ) as usize;
            let second = &b[from.min(b.len())..(from + 4 * POSE_HZ as usize).min(b.len())];
            changed.extend(Stretches::of(std::iter::once(second)).manner.iter().map(|m| f32::from(u8::from(classifier.tell(m) == i))));
        }
    }
    let accuracy = metrics::mean(&told.iter().enumerate().map(|(i, r)| r[i]).collect::<Vec<_>>());
    Ok(Styles { real: right as f32 / truth.len().max(1) as f32, tried_on, told, accuracy, after_a_bar: metrics::mean(&changed), names })
}

fn tempi(machine: &Machine, set: &EvalSet, settings: Settings, bar: &ProgressBar) -> anyhow::Result<Vec<AtTempo>> {
    let families: Vec<&str> = set.songs.iter().filter(|s| s.tempo != 1.0).filter_map(|s| s.name.split('@').next()).collect();
    let mut out: Vec<AtTempo> = Vec::new();
    let mut songs: Vec<&Song> = set.songs.iter().filter(|s| families.contains(&s.name.split('@').next().unwrap_or_default())).collect();
    songs.sort_by(|a, b| a.tempo.total_cmp(&b.tempo));
    for same in songs.chunk_by(|a, b| a.tempo == b.tempo) {
        let mut rows = Vec::new();
        for song in same {
            let b = bodies(machine, song, settings, None, SECONDS, bar)?;
            let pace = beats::kinematic_beats(&b).len() as f32 / (b.len() as f32 / POSE_HZ) * 60.0;
            rows.push([song.bpm, pace, f_of(&b, song), liveliness(&b).speed]);
        }
        let mean = |k: usize| metrics::mean(&rows.iter().map(|r| r[k]).collect::<Vec<_>>());
        out.push(AtTempo { tempo: same[0].tempo, bpm: mean(0), kinematic_bpm: mean(1), f: mean(2), speed_m_s: mean(3) });
    }
    Ok(out)
}

fn sections(machine: &Machine, songs: &[&Song], settings: Settings, bar: &ProgressBar) -> anyhow::Result<Vec<(String, f32)>> {
    let mut parts: Vec<(String, Vec<f32>)> = Vec::new();
    for song in songs {
        let b = bodies(machine, song, settings, None, f64::from(song.seconds()), bar)?;
        let speed = speeds(&b, POSE_HZ);
        for (i, (name, from)) in song.sections.iter().enumerate() {
            let to = song.sections.get(i + 1).map_or(song.seconds(), |s| s.1);
            let range = (from * POSE_HZ) as usize..((to * POSE_HZ) as usize).min(speed.len());
            if range.len() < 60 {
                continue;
            }
            let mean = metrics::mean(&speed[range]);
            match parts.iter_mut().find(|(n, _)| n == name) {
                Some((_, list)) => list.push(mean),
                None => parts.push((name.clone(), vec![mean])),
            }
        }
    }
    Ok(parts.into_iter().map(|(name, list)| (name, metrics::mean(&list))).collect())
}

pub fn measure(machine: &Machine, set: &EvalSet, settings: Settings, bar: &ProgressBar) -> anyhow::Result<Controls> {
    let plain: Vec<&Song> = set.songs.iter().filter(|s| s.tempo == 1.0).collect();
    let some: Vec<&Song> = plain.iter().copied().step_by(plain.len().div_ceil(SONGS).max(1)).collect();
    let told: Vec<&Song> = plain.iter().copied().filter(|s| s.sections.len() > 2).take(SONGS).collect();
    Ok(Controls {
        energy: energies(machine, &some, settings, bar)?,
        styles: styles(machine, set, &some, settings, bar)?,
        tempo: tempi(machine, set, settings, bar)?,
        energy_answer_bars: answer_to_energy(machine, &some, settings, bar)?,
        sections: sections(machine, &told, settings, bar)?,
    })
}
