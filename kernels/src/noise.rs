//! Counter-based noise: the same numbers for the same (seed, step, lane) on every backend.
//!
//! pcg3d of Jarzynski and Olano, "Hash Functions for GPU Rendering" (JCGT 9(3), 2020). There is no state to keep or
//! to lose. This file must not hold any.

/// Three well-mixed words for one (seed, step, lane).
#[inline]
pub fn pcg3d(seed: u32, step: u32, lane: u32) -> [u32; 3] {
    let mix = |v: u32| v.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
    let (mut x, mut y, mut z) = (mix(seed), mix(step), mix(lane));
    x = x.wrapping_add(y.wrapping_mul(z));
    y = y.wrapping_add(z.wrapping_mul(x));
    z = z.wrapping_add(x.wrapping_mul(y));
    x ^= x >> 16;
    y ^= y >> 16;
    z ^= z >> 16;
    x = x.wrapping_add(y.wrapping_mul(z));
    y = y.wrapping_add(z.wrapping_mul(x));
    z = z.wrapping_add(x.wrapping_mul(y));
    [x, y, z]
}

/// `((x >> 8) + 0.5) * 2^-24`, strictly between 0 and 1. Exact in f64; f32 would round the largest to 1.
#[inline]
pub fn uniform(x: u32) -> f64 {
    (f64::from(x >> 8) + 0.5) * (1.0 / 16_777_216.0)
}

/// A standard normal: `sqrt(-2 ln u1) cos(2 pi u2)`.
#[inline]
pub fn gaussian(seed: u32, step: u32, lane: u32) -> f64 {
    let [x, y, _] = pcg3d(seed, step, lane);
    (-2.0 * uniform(x).ln()).sqrt() * (std::f64::consts::TAU * uniform(y)).cos()
}

/// A standard Gumbel: `-ln(-ln u)`.
#[inline]
pub fn gumbel(seed: u32, step: u32, lane: u32) -> f64 {
    -(-uniform(pcg3d(seed, step, lane)[0]).ln()).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_those_of_the_distributions() {
        let n = 200_000;
        let (mut g1, mut g2, mut e1) = (0.0, 0.0, 0.0);
        for i in 0..n {
            let g = gaussian(7, 3, i);
            g1 += g;
            g2 += g * g;
            e1 += gumbel(7, 3, i);
        }
        let n = f64::from(n);
        assert!((g1 / n).abs() < 0.01, "mean {}", g1 / n);
        assert!((g2 / n - 1.0).abs() < 0.02, "variance {}", g2 / n);
        assert!((e1 / n - 0.577_215_66).abs() < 0.01, "gumbel mean {}", e1 / n);
    }

    #[test]
    fn extreme_words_stay_finite() {
        assert!(uniform(0) > 0.0 && uniform(u32::MAX) < 1.0);
        assert!((-uniform(u32::MAX).ln()).ln().is_finite());
    }

    #[test]
    fn every_argument_matters() {
        let a = pcg3d(1, 2, 3);
        assert_ne!(a, pcg3d(2, 2, 3));
        assert_ne!(a, pcg3d(1, 3, 3));
        assert_ne!(a, pcg3d(1, 2, 4));
    }
}
