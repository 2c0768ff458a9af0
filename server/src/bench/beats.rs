//! Visible beats: when a dance slows down, and how far that is from the song's beats. The same definition as training's
//! (`training/odori_training/phrases.py`), on the keypoints that are drawn.

use odori_engine::metrics::beats::{Level, grids};

use super::stand::{Danced, MODEL_HZ};

/// Width of the smoothing, in frames: 83 ms.
const SMOOTH: f64 = 2.5;
/// Frames a second of a dance.
const HZ: f64 = 30.0;

/// Times in seconds of the visible beats of a dance, by its own sound. Frames follow each other without gap.
pub fn visible(danced: &[Danced]) -> Vec<f64> {
    let Some((first, _)) = danced.first() else { return Vec::new() };
    let points: Vec<_> = danced.iter().map(|(_, points)| points.clone()).collect();
    slowest(&speed(&points)).into_iter().map(|frame| *first as f64 / MODEL_HZ + frame / HZ).collect()
}

/// Mean speed of the points, by central differences.
fn speed(points: &[Vec<[f64; 2]>]) -> Vec<f64> {
    let last = points.len().saturating_sub(1);
    (0..points.len())
        .map(|n| {
            let (a, b) = (n.saturating_sub(1), (n + 1).min(last));
            let span = (b - a).max(1) as f64;
            let sum: f64 = points[a].iter().zip(&points[b]).map(|(p, q)| (p[0] - q[0]).hypot(p[1] - q[1])).sum();
            sum / span / points[n].len().max(1) as f64
        })
        .collect()
}

/// Fractional frames of the local minima of the smoothed speed.
fn slowest(speed: &[f64]) -> Vec<f64> {
    let radius = (4.0 * SMOOTH).ceil() as i64;
    let weights: Vec<f64> = (-radius..=radius).map(|d| (-0.5 * (d as f64 / SMOOTH).powi(2)).exp()).collect();
    let total: f64 = weights.iter().sum();
    let last = speed.len() as i64 - 1;
    let smooth: Vec<f64> = (0..=last)
        .map(|n| weights.iter().zip(-radius..).map(|(w, d)| w * speed[(n + d).clamp(0, last) as usize]).sum::<f64>() / total)
        .collect();
    smooth
        .windows(3)
        .enumerate()
        .filter(|(_, w)| w[1] <= w[0] && w[1] < w[2])
        .map(|(n, w)| (n + 1) as f64 + 0.5 * (w[0] - w[2]) / (w[0] - 2.0 * w[1] + w[2] + 1e-9))
        .collect()
}

/// How the dance counts the song's `beats` between `from` and `until` (seconds), by how many visible beats it has to each, and the beats
/// that it counts: every other one (those that it meets better), each, or twice as many. As `odori eval motion` has it.
pub fn counted(visible: &[f64], beats: &[f64], from: f64, until: f64) -> (Level, Vec<f64>) {
    let within = |times: &[f64]| times.iter().filter(|t| (from..until).contains(*t)).count() as f32;
    let level = Level::chosen(within(visible) / within(beats).max(1.0));
    let narrow: Vec<f32> = beats.iter().map(|b| *b as f32).collect();
    let meets = |grid: &Vec<f64>| near(&offsets_ms(visible, grid, from, until), 60.0);
    let grids = grids(level, &narrow).into_iter().map(|g| g.into_iter().map(f64::from).collect::<Vec<f64>>());
    (level, grids.max_by(|a, b| meets(a).total_cmp(&meets(b))).unwrap_or_default())
}

/// For every beat between `from` and `until` (seconds): the nearest visible beat, less it.
pub fn offsets_ms(visible: &[f64], beats: &[f64], from: f64, until: f64) -> Vec<f64> {
    let within = beats.iter().filter(|b| (from..until - 0.5).contains(*b));
    within.filter_map(|b| visible.iter().map(|v| v - b).min_by(|x, y| x.abs().total_cmp(&y.abs()))).map(|o| o * 1e3).collect()
}

/// Share of offsets that are no more than `most_ms`.
pub fn near(offsets_ms: &[f64], most_ms: f64) -> f64 {
    offsets_ms.iter().filter(|o| o.abs() <= most_ms).count() as f64 / offsets_ms.len().max(1) as f64
}

/// The beats with every one moved by this share of the way to the next: what a dance that knows the tempo and not the phase
/// would be held to.
pub fn shifted(beats: &[f64], share: f64) -> Vec<f64> {
    beats.windows(2).map(|w| w[0] + share * (w[1] - w[0])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dance_in_half_time_is_held_to_the_beats_that_it_counts() {
        let beats: Vec<f64> = (0..100).map(|n| f64::from(n) * 0.3).collect();
        let visible: Vec<f64> = beats.iter().skip(1).step_by(2).map(|b| b + 0.02).collect();
        let (level, grid) = counted(&visible, &beats, 2.0, 28.0);
        assert_eq!(level, Level::Half);
        assert!(offsets_ms(&visible, &grid, 2.0, 28.0).iter().all(|o| (o - 20.0).abs() < 0.1));
        assert!(near(&offsets_ms(&visible, &beats, 2.0, 28.0), 60.0) < 0.6);
        let (level, grid) = counted(&beats, &beats, 2.0, 28.0);
        assert_eq!((level, grid.len()), (Level::Beat, 100));
    }

    #[test]
    fn a_swing_on_the_beat_is_found_on_the_beat_and_a_late_one_late() {
        for late_s in [0.0, 0.08] {
            // Rests at every half second, at both ends of its way.
            let points: Vec<Vec<[f64; 2]>> = (0..600)
                .map(|n| vec![[(std::f64::consts::PI * 2.0 * (f64::from(n) / 30.0 - late_s)).cos() * 50.0, 0.0]; 3])
                .collect();
            let found: Vec<f64> = slowest(&speed(&points)).into_iter().map(|f| f / 30.0).collect();
            let offsets = offsets_ms(&found, &(0..40).map(|n| f64::from(n) * 0.5).collect::<Vec<_>>(), 2.0, 18.0);
            assert!(offsets.len() > 25);
            assert!(offsets.iter().all(|o| (o - late_s * 1e3).abs() < 8.0), "{offsets:?}");
        }
    }
}
