//! How well a dance meets the beats: kinematic beats against musical ones, and the beat alignment score.
//!
//! A kinematic beat is a local minimum of the joints' mean speed at 60 fps, smoothed by a Gaussian of 5 frames, as in
//! Bailando. Everything stands beside its control: the same dance against the same grid at every other phase.

use super::{Body, JUDGE_HZ, at_60_fps, smooth, speeds};

/// Frames at 60 fps.
const SMOOTH: f32 = 5.0;
/// Frames at 60 fps by which a beat may be missed to count 0.6 in the score.
const SIGMA: f32 = 3.0;
const TOLERANCE_S: f32 = 0.070;
/// Further apart than this, a kinematic beat says nothing about the lag.
const LAG_REACH_S: f32 = 0.150;
const PHASES: usize = 16;
/// Beats this near to either end are not judged.
const EDGE_S: f32 = 0.3;

/// How many of its own beats the dance makes of the music's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    Half,
    Beat,
    Double,
}

impl Level {
    pub fn name(self) -> &'static str {
        match self {
            Level::Half => "half",
            Level::Beat => "beat",
            Level::Double => "double",
        }
    }

    /// The level whose pace is nearest to the dance's own: known before any phase is looked at.
    pub fn chosen(found_per_beat: f32) -> Self {
        match found_per_beat.max(1e-6).log2() {
            x if x < -0.5 => Level::Half,
            x if x < 0.5 => Level::Beat,
            _ => Level::Double,
        }
    }
}

#[derive(Clone, Copy, Debug)]
pub struct BeatScore {
    pub level: Level,
    pub precision: f32,
    pub recall: f32,
    pub f: f32,
    /// Median time from a beat to its kinematic beat; positive is late.
    pub lag_ms: f32,
    /// The same F, averaged over the grid moved by every phase.
    pub control_f: f32,
    /// At the music's own beats, 60 fps.
    pub bas: f32,
    pub control_bas: f32,
}

/// Seconds of the local minima of the smoothed speed, from the first pose on.
pub fn kinematic_beats(bodies: &[Body]) -> Vec<f32> {
    let speed = smooth(&speeds(&at_60_fps(bodies), JUDGE_HZ), SMOOTH);
    let mut out = Vec::new();
    for i in 1..speed.len().saturating_sub(1) {
        let (a, b, c) = (speed[i - 1], speed[i], speed[i + 1]);
        if b <= a && b < c {
            // The vertex of the parabola; the speed between two frames belongs to the middle of them.
            out.push((i as f32 + 0.5 + 0.5 * (a - c) / (a - 2.0 * b + c).max(1e-9)) / JUDGE_HZ);
        }
    }
    out
}

/// Precision and recall at 70 ms; both lists ascend, every beat is matched once at the most.
fn hits(found: &[f32], beats: &[f32]) -> (f32, f32) {
    let (mut i, mut j, mut hits) = (0, 0, 0);
    while i < found.len() && j < beats.len() {
        let d = found[i] - beats[j];
        if d.abs() <= TOLERANCE_S {
            (hits, i, j) = (hits + 1, i + 1, j + 1);
        } else if d < 0.0 {
            i += 1;
        } else {
            j += 1;
        }
    }
    (hits as f32 / found.len().max(1) as f32, hits as f32 / beats.len().max(1) as f32)
}

fn f_of((precision, recall): (f32, f32)) -> f32 {
    if precision + recall > 0.0 { 2.0 * precision * recall / (precision + recall) } else { 0.0 }
}

fn nearest(sorted: &[f32], x: f32) -> f32 {
    let i = sorted.partition_point(|v| *v < x);
    let near = |i: usize| sorted.get(i).copied().unwrap_or(f32::INFINITY);
    let (before, after) = (if i > 0 { near(i - 1) } else { f32::INFINITY }, near(i));
    if (x - before).abs() < (after - x).abs() { before } else { after }
}

fn alignment(found: &[f32], beats: &[f32]) -> f32 {
    if found.is_empty() || beats.is_empty() {
        return 0.0;
    }
    let score = |b: &f32| (-((nearest(found, *b) - b) * JUDGE_HZ).powi(2) / (2.0 * SIGMA * SIGMA)).exp();
    beats.iter().map(score).sum::<f32>() / beats.len() as f32
}

/// `beats` moved by a part of the step to the next one; the last is dropped.
fn moved(beats: &[f32], part: f32) -> Vec<f32> {
    beats.windows(2).map(|w| w[0] + (w[1] - w[0]) * part).collect()
}

/// The grids that a level could mean: two for half time, on the odd or the even beats.
pub fn grids(level: Level, beats: &[f32]) -> Vec<Vec<f32>> {
    match level {
        Level::Beat => vec![beats.to_vec()],
        Level::Half => (0..2).map(|k| beats.iter().skip(k).step_by(2).copied().collect()).collect(),
        Level::Double => {
            let mut all: Vec<f32> = beats.iter().copied().chain(moved(beats, 0.5)).collect();
            all.sort_unstable_by(f32::total_cmp);
            vec![all]
        }
    }
}

/// Of the grids that the level could mean, the hits of the one that is met best.
fn best(found: &[f32], grids: &[Vec<f32>]) -> (f32, f32) {
    grids.iter().map(|g| hits(found, g)).max_by(|a, b| f_of(*a).total_cmp(&f_of(*b))).unwrap_or_default()
}

/// `bodies` at 30 Hz from time 0; `beats` in seconds. `None` if there are fewer than four beats to judge.
pub fn judge(bodies: &[Body], beats: &[f32]) -> Option<BeatScore> {
    let end = bodies.len() as f32 / super::POSE_HZ - EDGE_S;
    let start = beats.iter().copied().find(|b| *b > EDGE_S)?;
    let beats: Vec<f32> = beats.iter().copied().filter(|b| (start..end).contains(b)).collect();
    let last = *beats.last()?;
    if beats.len() < 4 {
        return None;
    }
    let mut found = kinematic_beats(bodies);
    found.retain(|t| (start - TOLERANCE_S..=last + TOLERANCE_S).contains(t));
    let level = Level::chosen(found.len() as f32 / beats.len() as f32);
    let own = grids(level, &beats);
    let (precision, recall) = best(&found, &own);
    let mut lags: Vec<f32> = own
        .iter()
        .max_by(|a, b| f_of(hits(&found, a)).total_cmp(&f_of(hits(&found, b))))?
        .iter()
        .map(|b| nearest(&found, *b) - b)
        .filter(|d| d.abs() < LAG_REACH_S)
        .collect();
    lags.sort_unstable_by(f32::total_cmp);
    let lag_ms = lags.get(lags.len() / 2).map_or(f32::NAN, |l| l * 1e3);
    let (mut control_f, mut control_bas) = (0.0, 0.0);
    for k in 0..PHASES {
        let part = (k as f32 + 0.5) / PHASES as f32;
        let grids: Vec<_> = own.iter().map(|g| moved(g, part)).collect();
        control_f += f_of(best(&found, &grids)) / PHASES as f32;
        control_bas += alignment(&found, &moved(&beats, part)) / PHASES as f32;
    }
    let bas = alignment(&found, &beats);
    Some(BeatScore { level, precision, recall, f: f_of((precision, recall)), lag_ms, control_f, bas, control_bas })
}
