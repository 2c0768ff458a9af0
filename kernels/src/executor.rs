//! One executor type for every backend; the caller never sees which one runs.
//!
//! This file only forwards; it must not compute anything.

use crate::plan::{Scalar, Step};

/// A step or seed, from the plan or from this run's parameters.
pub(crate) fn step_value(step: Step, params: &[u32]) -> u32 {
    match step {
        Step::Const(v) => v,
        Step::Param(p) => params[p.0 as usize],
    }
}

/// A float, from the plan or from the bits of this run's parameter.
pub(crate) fn scalar_value(scalar: Scalar, params: &[u32]) -> f32 {
    match scalar {
        Scalar::Const(v) => v,
        Scalar::Param(p) => f32::from_bits(params[p.0 as usize]),
    }
}
