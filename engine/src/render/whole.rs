//! Numbers to whole numbers without the branches of a saturating cast: in the low bits of the sum with a number so large
//! that only whole ones are near it.

use glam::Vec4;

/// 1.5 * 2^23, and 1.5 * 2^52: sums of this and small numbers of either sign keep one distance from each other.
const LARGE: f32 = 12_582_912.0;
const LARGE_F64: f64 = 6_755_399_441_055_744.0;

/// The nearest whole number to one from 0 to 2^22; what is not a number gives any.
#[inline(always)]
pub fn nearest(v: f32) -> usize {
    ((v + LARGE).to_bits() & 0x003f_ffff) as usize
}

/// The whole number below one from 0 to 2^22, or the next from 998/1000 on.
#[inline(always)]
pub fn below(v: f32) -> usize {
    nearest((v - 0.498).max(0.0))
}

/// The nearest code values to numbers from 0 to 255.
#[inline(always)]
pub fn codes(v: Vec4) -> [u8; 4] {
    (v + LARGE).to_array().map(|v| v.to_bits() as u8)
}

/// A divisor made ready: dividing whole numbers takes the processor long.
#[derive(Clone, Copy)]
pub struct Divisor {
    by: i64,
    inverse: f64,
}

impl Divisor {
    /// By a number above nought.
    pub fn new(by: i64) -> Self {
        Divisor { by, inverse: 1.0 / by as f64 }
    }

    /// `v.div_euclid(by)`, for quotients below 2^51.
    #[inline(always)]
    pub fn floor(self, v: i64) -> i64 {
        let near = (v as f64 * self.inverse + LARGE_F64).to_bits().wrapping_sub(LARGE_F64.to_bits()) as i64;
        near - i64::from(near * self.by > v) + i64::from((near + 1) * self.by <= v)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_quotient_is_the_divisions_own(v in -(1i64 << 50)..1i64 << 50, by in 1i64..1 << 26, near in -3i64..4) {
            prop_assert_eq!(Divisor::new(by).floor(v), v.div_euclid(by));
            let edge = v / by * by + near;
            prop_assert_eq!(Divisor::new(by).floor(edge), edge.div_euclid(by));
        }

        #[test]
        fn whole_numbers_are_near(v in 0f32..4_000_000.0) {
            prop_assert!((nearest(v) as f32 - v).abs() <= 0.5);
            let below = below(v.min(4000.0)) as f32;
            prop_assert!(below <= v.min(4000.0) + 0.0025 && v.min(4000.0) < below + 1.0, "{} below {}", below, v);
        }

        #[test]
        fn codes_are_rounded(v in 0f32..255.0) {
            prop_assert_eq!(codes(Vec4::new(v, 0.0, 255.0, 0.4)), [v.round_ties_even() as u8, 0, 255, 0]);
        }
    }
}
