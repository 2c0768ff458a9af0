//! Where the network may speak: near places that the warp does not know.
//!
//! The warp copies the reference; where the reference showed a place and the bone that carries it is seen squarely,
//! there is nothing to correct, and a network of few steps only blurs. So its picture counts in proportion to how
//! much of the warp nearby is doubtful: filled in, hidden in the reference, or foreshortened.

use multiversion::multiversion;

use super::{DenoiseInput, DenoiseOutput};

/// Working pixels around a doubtful place that the network may change too, at a working size of 128.
const REACH: usize = 3;

/// Alpha from which a place outside the warp is believed, little by little.
const HAZE: f32 = 0.6;
const SOLID: f32 = 0.95;

#[inline(always)]
fn smoothstep(from: f32, to: f32, x: f32) -> f32 {
    let t = ((x - from) / (to - from)).clamp(0.0, 1.0);
    t * t * (3.0 - 2.0 * t)
}

/// Reusable buffers for one working size.
#[derive(Clone, Debug, Default)]
pub struct Doubt {
    rows: Vec<f32>,
    gate: Vec<f32>,
}

impl Doubt {
    /// Blends `out` towards the moved warp where the warp is sure; `gain` is how quickly doubt lets the network speak.
    pub fn apply(&mut self, input: &DenoiseInput<'_>, size: usize, gain: f32, out: &mut DenoiseOutput) {
        apply(self, input, size, gain, out);
    }
}

#[multiversion(targets("x86_64+avx2"))]
fn apply(doubt: &mut Doubt, input: &DenoiseInput<'_>, size: usize, gain: f32, out: &mut DenoiseOutput) {
    let reach = REACH * size / 128;
    doubt.rows.resize(size * size, 0.0);
    doubt.gate.resize(size * size, 0.0);
    // Validity arrives weighted by alpha: what is missing from it is doubt.
    let warp = input.warp.as_chunks::<4>().0;
    for ((g, w), v) in doubt.gate.iter_mut().zip(warp).zip(input.validity) {
        *g = ((w[3] - v) * gain).clamp(0.0, 1.0);
    }
    widen_rows(&doubt.gate, &mut doubt.rows, size, reach);
    widen_columns(&doubt.rows, &mut doubt.gate, size, reach);
    let moved = out.moved.as_chunks::<4>().0;
    for (((p, w), m), g) in out.rgba.as_chunks_mut::<4>().0.iter_mut().zip(moved).zip(&mut out.mask).zip(&doubt.gate) {
        // A silhouette grows by solid places, not by haze.
        let solid = if p[3] > w[3] { smoothstep(HAZE, SOLID, p[3]) } else { 1.0 };
        let g = g * (w[3] + (1.0 - w[3]) * solid);
        for (v, w) in p.iter_mut().zip(w) {
            *v = w + g * (*v - w);
        }
        *m = 1.0 + g * (*m - 1.0);
    }
}

/// The largest value within `reach` to the left and right.
#[multiversion(targets("x86_64+avx2"))]
fn widen_rows(from: &[f32], to: &mut [f32], size: usize, reach: usize) {
    for (from, to) in from.chunks_exact(size).zip(to.chunks_exact_mut(size)) {
        to.copy_from_slice(from);
        for d in 1..=reach {
            larger(&mut to[d..], &from[..size - d]);
            larger(&mut to[..size - d], &from[d..]);
        }
    }
}

/// The largest value within `reach` above and below.
#[multiversion(targets("x86_64+avx2"))]
fn widen_columns(from: &[f32], to: &mut [f32], size: usize, reach: usize) {
    for (y, to) in to.chunks_exact_mut(size).enumerate() {
        to.fill(0.0);
        for near in from.chunks_exact(size).take(y + reach + 1).skip(y.saturating_sub(reach)) {
            larger(to, near);
        }
    }
}

#[inline(always)]
fn larger(to: &mut [f32], other: &[f32]) {
    for (to, other) in to.iter_mut().zip(other) {
        *to = if *other > *to { *other } else { *to };
    }
}

#[cfg(test)]
mod tests {
    use super::super::{KEYPOINTS, Keypoint};
    use crate::avatar::FACING;
    use super::*;

    #[test]
    fn a_sure_warp_is_kept_and_a_doubtful_one_gives_way_with_its_surroundings() {
        let size = 128;
        let warp = vec![1.0; size * size * 4];
        let mut validity = vec![1.0; size * size];
        validity[64 * size + 64] = 0.0;
        let mut out = DenoiseOutput { rgba: vec![0.0; size * size * 4], mask: vec![0.0; size * size], moved: warp.clone(), flow: Vec::new() };
        let input = DenoiseInput { warp: &warp, validity: &validity, keypoints: &[Keypoint::default(); KEYPOINTS], facing: &[0.0; FACING], tokens: &[], head: &[] };
        Doubt::default().apply(&input, size, 4.0, &mut out);
        let at = |x: usize, y: usize| (out.rgba[(y * size + x) * 4], out.mask[y * size + x]);
        assert_eq!(at(64, 64), (0.0, 0.0));
        assert_eq!(at(67, 61), (0.0, 0.0));
        assert_eq!(at(68, 64), (1.0, 1.0));
        assert_eq!(at(10, 10), (1.0, 1.0));
    }

    #[test]
    fn haze_around_the_figure_is_left_out() {
        let size = 128;
        let mut warp = vec![0.0; size * size * 4];
        warp[(64 * size + 64) * 4..][..4].fill(1.0);
        let validity = vec![0.0; size * size];
        let mut out = DenoiseOutput { rgba: vec![0.3; size * size * 4], mask: vec![0.0; size * size], moved: warp.clone(), flow: Vec::new() };
        out.rgba[(64 * size + 65) * 4..][..4].fill(0.95);
        let input = DenoiseInput { warp: &warp, validity: &validity, keypoints: &[Keypoint::default(); KEYPOINTS], facing: &[0.0; FACING], tokens: &[], head: &[] };
        Doubt::default().apply(&input, size, 4.0, &mut out);
        assert_eq!(out.rgba[(64 * size + 63) * 4 + 3], 0.0, "haze");
        assert!(out.rgba[(64 * size + 65) * 4 + 3] > 0.9, "a solid place");
    }
}
