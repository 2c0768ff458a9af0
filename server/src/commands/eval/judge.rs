//! From dances to the rows of the table. Every number's definition is in `odori_engine::metrics`.

use odori_engine::metrics::beats::{self, BeatScore};
use odori_engine::metrics::body as physics;
use odori_engine::metrics::features::{self, GEOMETRIC, KINETIC};
use odori_engine::metrics::spread::{Normal, diversity, frechet};
use odori_engine::metrics::{self, Body, JUDGE_HZ, POSE_HZ};
use odori_engine::pose::Pose;
use serde::Serialize;

/// Stretches that features are taken of: long enough for a phrase, short enough that held-out clips have some.
const WINDOW_S: f32 = 3.0;
const STEP_S: f32 = 0.5;
/// Stretches of a set that are compared with each other for diversity at the most, evenly chosen.
const MOST_WINDOWS: usize = 800;

/// A dance and the song under it; real dance has none.
pub struct Take {
    pub name: String,
    pub poses: Vec<Pose>,
    pub bodies: Vec<Body>,
    pub beats: Vec<f32>,
}

impl Take {
    pub fn new(name: &str, poses: Vec<Pose>, beats: &[f32]) -> Self {
        let bodies = poses.iter().map(metrics::body).collect();
        Take { name: name.to_owned(), poses, bodies, beats: beats.to_vec() }
    }
}

/// Features of every stretch of some dances.
#[derive(Clone, Default)]
pub struct Stretches {
    pub kinetic: Vec<[f32; KINETIC]>,
    pub geometric: Vec<[f32; GEOMETRIC]>,
    /// Where the joints are and how they move, for telling styles apart.
    pub manner: Vec<Vec<f32>>,
}

impl Stretches {
    pub fn of<'a>(dances: impl Iterator<Item = &'a [Body]>) -> Self {
        let mut out = Stretches::default();
        for bodies in dances {
            let frames = metrics::at_60_fps(bodies);
            for w in features::windows(&frames, (WINDOW_S * JUDGE_HZ) as usize, (STEP_S * JUDGE_HZ) as usize) {
                out.kinetic.push(features::kinetic(w));
                out.geometric.push(features::geometric(w));
                out.manner.push(features::manner(w));
            }
        }
        out
    }

    pub fn add(&mut self, other: &Stretches) {
        self.kinetic.extend_from_slice(&other.kinetic);
        self.geometric.extend_from_slice(&other.geometric);
    }
}

/// At most so many rows, evenly chosen.
pub fn thin<T: Copy>(rows: &[T], most: usize) -> Vec<T> {
    let step = rows.len().div_ceil(most).max(1);
    rows.iter().step_by(step).copied().collect()
}

/// Mean of a score over the songs, and how it came about.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Beats {
    pub f: f32,
    pub control_f: f32,
    pub precision: f32,
    pub recall: f32,
    pub lag_ms: f32,
    pub bas: f32,
    pub control_bas: f32,
    /// Songs danced at half, beat and double time.
    pub levels: [u32; 3],
    pub songs: Vec<SongBeats>,
}

#[derive(Clone, Debug, Serialize)]
pub struct SongBeats {
    pub name: String,
    pub level: &'static str,
    pub f: f32,
    pub control_f: f32,
    pub lag_ms: f32,
    pub bas: f32,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct Spread {
    pub windows: usize,
    pub div_k: f64,
    pub div_g: f64,
    /// Against held-out real dance.
    pub fid_k: f64,
    pub fid_g: f64,
    /// Against all real dance: less noise, less strict.
    pub fid_k_all: f64,
    pub fid_g_all: f64,
}

/// One column of the table.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Column {
    pub title: String,
    pub minutes: f32,
    pub beats: Option<Beats>,
    pub spread: Spread,
    pub pfc: f32,
    pub slide_m_s: f32,
    pub skating: f32,
    pub beyond_joint_limits: f32,
    pub limb_stray_mm: f32,
    pub speed_m_s: f32,
    pub still: f32,
    pub nearly_still: f32,
    pub longest_still_s: f32,
    pub strayed_m: f32,
}

/// Real dance, measured once: what the others are held against.
pub struct Real {
    normal_k: Normal,
    normal_g: Normal,
    held: Stretches,
    all: Stretches,
}

impl Real {
    pub fn new(held: Stretches, all: Stretches) -> Self {
        Real { normal_k: Normal::of(&held.kinetic), normal_g: Normal::of(&held.geometric), held, all }
    }

    pub fn spread(&self, of: &Stretches) -> Spread {
        let k = |rows: &[[f32; KINETIC]]| self.normal_k.apply(rows);
        let g = |rows: &[[f32; GEOMETRIC]]| self.normal_g.apply(rows);
        let (own_k, own_g) = (k(&of.kinetic), g(&of.geometric));
        Spread {
            windows: of.kinetic.len(),
            div_k: diversity(&k(&thin(&of.kinetic, MOST_WINDOWS))),
            div_g: diversity(&g(&thin(&of.geometric, MOST_WINDOWS))),
            fid_k: frechet(&own_k, &k(&self.held.kinetic)),
            fid_g: frechet(&own_g, &g(&self.held.geometric)),
            fid_k_all: frechet(&own_k, &k(&self.all.kinetic)),
            fid_g_all: frechet(&own_g, &g(&self.all.geometric)),
        }
    }
}

fn beats_of(takes: &[Take]) -> Option<Beats> {
    let scores: Vec<(&Take, BeatScore)> = takes.iter().filter_map(|t| Some((t, beats::judge(&t.bodies, &t.beats)?))).collect();
    if scores.is_empty() {
        return None;
    }
    let mean = |of: fn(&BeatScore) -> f32| metrics::mean(&scores.iter().map(|(_, s)| of(s)).collect::<Vec<_>>());
    let lags: Vec<f32> = scores.iter().map(|(_, s)| s.lag_ms).filter(|l| l.is_finite()).collect();
    let mut levels = [0; 3];
    for (_, s) in &scores {
        levels[s.level as usize] += 1;
    }
    let songs = scores
        .iter()
        .map(|(t, s)| SongBeats { name: t.name.clone(), level: s.level.name(), f: s.f, control_f: s.control_f, lag_ms: s.lag_ms, bas: s.bas })
        .collect();
    Some(Beats {
        f: mean(|s| s.f),
        control_f: mean(|s| s.control_f),
        precision: mean(|s| s.precision),
        recall: mean(|s| s.recall),
        lag_ms: metrics::quantile(&lags, 0.5),
        bas: mean(|s| s.bas),
        control_bas: mean(|s| s.control_bas),
        levels,
        songs,
    })
}

/// Judges a set of dances; a mean is over time, not over dances.
pub fn column(title: &str, takes: &[Take], real: &Real) -> Column {
    let frames: f32 = takes.iter().map(|t| t.poses.len() as f32).sum::<f32>().max(1.0);
    let over_time = |of: &dyn Fn(&Take) -> f32| takes.iter().map(|t| of(t) * t.poses.len() as f32).sum::<f32>() / frames;
    let live: Vec<_> = takes.iter().map(|t| physics::liveliness(&t.bodies)).collect();
    let at = |of: fn(&physics::Liveliness) -> f32| takes.iter().zip(&live).map(|(t, l)| of(l) * t.poses.len() as f32).sum::<f32>() / frames;
    let highest = |of: fn(&physics::Liveliness) -> f32| live.iter().map(of).fold(0.0, f32::max);
    Column {
        title: title.to_owned(),
        minutes: frames / POSE_HZ / 60.0,
        beats: beats_of(takes),
        spread: real.spread(&Stretches::of(takes.iter().map(|t| &t.bodies[..]))),
        pfc: over_time(&|t| physics::pfc(&t.bodies)),
        slide_m_s: over_time(&|t| physics::feet(&t.poses, &t.bodies).slide),
        skating: over_time(&|t| physics::feet(&t.poses, &t.bodies).skating),
        beyond_joint_limits: over_time(&|t| physics::limits(&t.poses).joints),
        limb_stray_mm: takes.iter().map(|t| physics::limits(&t.poses).limb_m * 1e3).fold(0.0, f32::max),
        speed_m_s: at(|l| l.speed),
        still: at(|l| l.still),
        nearly_still: at(|l| l.nearly_still),
        longest_still_s: highest(|l| l.longest_still_s),
        strayed_m: highest(|l| l.strayed_m),
    }
}
