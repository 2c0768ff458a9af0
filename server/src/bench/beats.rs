//! Visible beats: when a dance slows down, and how far that is from the song's beats. The same definition as training's
//! (`training/odori_training/phrases.py`), on the keypoints that are drawn.

use odori_engine::pipeline::{FRAME_RATE, Settings, TICK_SAMPLES};

use crate::engine::Machine;

/// Width of the smoothing, in frames: 83 ms.
const SMOOTH: f64 = 2.5;

/// Times in seconds of the visible beats of the built-in song's dance.
///
/// # Errors
/// If the song or the weights cannot be used.
pub fn visible(machine: &Machine, settings: Settings, seconds: f64) -> anyhow::Result<Vec<f64>> {
    let mut pipeline = machine.poses(settings)?;
    let mut song = crate::commands::open_song(std::path::Path::new("-"))?;
    let (mut listen, mut model) = (Vec::new(), Vec::new());
    let mut points: Vec<Vec<[f64; 2]>> = Vec::new();
    let mut more = true;
    while more && (points.len() as f64) < seconds * f64::from(FRAME_RATE) {
        listen.clear();
        more = song.next_into(&mut listen, &mut model)?;
        let mut used = 0;
        while model.len() - used >= TICK_SAMPLES as usize {
            pipeline.push_audio(&model[used..used + TICK_SAMPLES as usize]);
            used += TICK_SAMPLES as usize;
            if let Some(frame) = pipeline.skip_frame()? {
                points.push(frame.keypoints.iter().map(|k| [f64::from(k.position.x), f64::from(k.position.y)]).collect());
            }
        }
        model.drain(..used);
    }
    // Frame n, counted from 0, is stamped with the end of its sound.
    Ok(slowest(&speed(&points)).into_iter().map(|frame| (frame + 1.0) / f64::from(FRAME_RATE)).collect())
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

/// For every beat of a grid from 0 on between `from` and `until` (seconds): the nearest visible beat, less it.
pub fn offsets_ms(visible: &[f64], bpm: f64, from: f64, until: f64) -> Vec<f64> {
    let period = 60.0 / bpm;
    (0..)
        .map(|n| f64::from(n) * period)
        .skip_while(|b| *b < from)
        .take_while(|b| *b < until - 0.5)
        .filter_map(|b| visible.iter().map(|v| v - b).min_by(|x, y| x.abs().total_cmp(&y.abs())))
        .map(|o| o * 1e3)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_swing_on_the_beat_is_found_on_the_beat_and_a_late_one_late() {
        for late_s in [0.0, 0.08] {
            // Rests at every half second, at both ends of its way.
            let points: Vec<Vec<[f64; 2]>> = (0..600)
                .map(|n| vec![[(std::f64::consts::PI * 2.0 * (f64::from(n) / 30.0 - late_s)).cos() * 50.0, 0.0]; 3])
                .collect();
            let found: Vec<f64> = slowest(&speed(&points)).into_iter().map(|f| f / 30.0).collect();
            let offsets = offsets_ms(&found, 120.0, 2.0, 18.0);
            assert!(offsets.len() > 25);
            assert!(offsets.iter().all(|o| (o - late_s * 1e3).abs() < 8.0), "{offsets:?}");
        }
    }
}
