//! Hand-written kernels, two families under one contract.
//!
//! A network is recorded once as a [`plan::Plan`]; [`Executor`] runs it on our SIMD kernels (CPU) or on our
//! cubecl kernels (GPU). Only this crate names cubecl; it knows no audio, no pose and no window.

pub mod plan;
pub mod check;

/// Why a plan cannot be built or run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("operation {op} ({kind}): {reason}")]
    Shape { op: usize, kind: &'static str, reason: String },
}
