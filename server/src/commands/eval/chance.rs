//! How much of a difference from the held-out real dance is chance: recordings of real dance are drawn again and again, as many minutes
//! as are held out, and each draw is held against the rest of the real dance, which no dance is more real than.

use odori_engine::metrics::spread::{Normal, diversity, frechet};
use odori_engine::metrics::{self, body as physics};
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use serde::Serialize;

use super::judge::{Stretches, Take, thin};

const DRAWS: usize = 100;
/// Stretches of the rest of a draw that are compared at the most.
const MOST_WINDOWS: usize = 400;

/// 5, 50 and 95 % of the draws.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Range {
    pub low: f32,
    pub middle: f32,
    pub high: f32,
}

impl Range {
    fn of(values: &[f32]) -> Self {
        let at = |share| metrics::quantile(values, share);
        Range { low: at(0.05), middle: at(0.5), high: at(0.95) }
    }
}

/// What real dance of that length comes to, and what the rest of it comes to beside it.
#[derive(Clone, Debug, Serialize)]
pub struct Chance {
    pub draws: usize,
    pub recordings: usize,
    pub minutes: f32,
    pub div_k: Range,
    pub div_g: Range,
    pub pfc: Range,
    pub slide_m_s: Range,
    pub skating: Range,
    pub speed_m_s: Range,
    /// The rest's diversity over the draw's, normalised by the draw, as a dance's is held against the held-out one's.
    pub div_k_ratio: Range,
    pub div_g_ratio: Range,
    pub pfc_ratio: Range,
    pub skating_ratio: Range,
    /// From the rest to the draw: the least that a dance could hope for.
    pub fid_k: Range,
    pub fid_g: Range,
}

/// All that one camera session gave: stretches of it, and their mirror images, are too alike to be drawn apart.
struct Recording {
    name: String,
    frames: f32,
    stretches: Stretches,
    /// Frames times PFC, slide, skating, speed.
    sums: [f32; 4],
}

/// The recording that a clip was cut from: `05_13_2_mirror` is of `05_13`.
fn recording(clip: &str) -> &str {
    let clip = clip.strip_suffix("_mirror").unwrap_or(clip);
    clip.rsplit_once('_').map_or(clip, |(file, _)| file)
}

fn recordings(takes: &[Take]) -> Vec<Recording> {
    let mut out: Vec<Recording> = Vec::new();
    for take in takes {
        let name = recording(&take.name);
        let at = out.iter().position(|r| r.name == name).unwrap_or_else(|| {
            out.push(Recording { name: name.to_owned(), frames: 0.0, stretches: Stretches::default(), sums: [0.0; 4] });
            out.len() - 1
        });
        let (frames, feet) = (take.poses.len() as f32, physics::feet(&take.poses, &take.bodies));
        let each = [physics::pfc(&take.bodies), feet.slide, feet.skating, physics::liveliness(&take.bodies).speed];
        out[at].frames += frames;
        out[at].sums.iter_mut().zip(each).for_each(|(sum, x)| *sum += x * frames);
        out[at].stretches.add(&Stretches::of(std::iter::once(&take.bodies[..])));
    }
    out
}

/// What a set of recordings comes to: stretches, and the four means over time.
fn together<'a>(recordings: impl Iterator<Item = &'a Recording>) -> (Stretches, [f32; 4]) {
    let (mut all, mut sums, mut frames) = (Stretches::default(), [0.0; 4], 0.0f32);
    for r in recordings {
        all.add(&r.stretches);
        sums.iter_mut().zip(r.sums).for_each(|(sum, x)| *sum += x);
        frames += r.frames;
    }
    (all, sums.map(|s| s / frames.max(1.0)))
}

/// Diversity of a draw and of the rest, and how far they are apart, all normalised by the draw.
fn held_against<const D: usize>(draw: &[[f32; D]], rest: &[[f32; D]]) -> [f64; 3] {
    let normal = Normal::of(draw);
    let (draw, rest) = (normal.apply(&thin(draw, MOST_WINDOWS)), normal.apply(&thin(rest, MOST_WINDOWS)));
    [diversity(&draw), diversity(&rest), frechet(&rest, &draw)]
}

/// Draws from all real dance, as many minutes as `held` has; `None` where there is too little of it.
pub fn chance(held: &[Take], all: &[Take], seed: u32) -> Option<Chance> {
    let recordings = recordings(all);
    let wanted: f32 = held.iter().map(|t| t.poses.len() as f32).sum();
    let total: f32 = recordings.iter().map(|r| r.frames).sum();
    if wanted <= 0.0 || total < 2.0 * wanted {
        return None;
    }
    let mut rng = StdRng::seed_from_u64(u64::from(seed));
    let mut columns: [Vec<f32>; 12] = Default::default();
    for _ in 0..DRAWS {
        let mut order: Vec<usize> = (0..recordings.len()).collect();
        order.shuffle(&mut rng);
        let mut frames = 0.0;
        let drawn = order.iter().take_while(|r| { let more = frames < wanted; frames += recordings[**r].frames; more }).count();
        let (draw, sums) = together(order[..drawn].iter().map(|r| &recordings[*r]));
        let (rest, rest_sums) = together(order[drawn..].iter().map(|r| &recordings[*r]));
        if draw.kinetic.len() < 2 || rest.kinetic.len() < 2 {
            continue;
        }
        let ([div_k, rest_k, fid_k], [div_g, rest_g, fid_g]) = (held_against(&draw.kinetic, &rest.kinetic), held_against(&draw.geometric, &rest.geometric));
        let row = [
            div_k as f32,
            div_g as f32,
            sums[0],
            sums[1],
            sums[2],
            sums[3],
            (rest_k / div_k.max(1e-9)) as f32,
            (rest_g / div_g.max(1e-9)) as f32,
            rest_sums[0] / sums[0].max(1e-6),
            rest_sums[2] / sums[2].max(1e-6),
            fid_k as f32,
            fid_g as f32,
        ];
        columns.iter_mut().zip(row).for_each(|(c, x)| c.push(x));
    }
    let of = |k: usize| Range::of(&columns[k]);
    Some(Chance {
        draws: columns[0].len(),
        recordings: recordings.len(),
        minutes: wanted / metrics::POSE_HZ / 60.0,
        div_k: of(0),
        div_g: of(1),
        pfc: of(2),
        slide_m_s: of(3),
        skating: of(4),
        speed_m_s: of(5),
        div_k_ratio: of(6),
        div_g_ratio: of(7),
        pfc_ratio: of(8),
        skating_ratio: of(9),
        fid_k: of(10),
        fid_g: of(11),
    })
}
