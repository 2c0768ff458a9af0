//! Hand-written kernels, two families under one contract.
//!
//! A network is recorded once as a [`plan::Plan`]; [`Executor`] runs it on our SIMD kernels (CPU) or on our
//! cubecl kernels (GPU). Only this crate names cubecl; it knows no audio, no pose and no window.

pub mod check;
pub mod cpu;
mod executor;
pub mod gpu;
pub mod layout;
pub mod noise;
pub mod plan;
pub mod reference;
pub mod weights;

pub use executor::{Backend, Executor};
pub use plan::Plan;
pub use weights::{Weights, WeightsError};

/// Why a plan cannot be built or run.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    #[error("operation {op} ({kind}): {reason}")]
    Shape { op: usize, kind: &'static str, reason: String },
    #[error("buffer {name}: {reason}")]
    Buffer { name: String, reason: String },
    #[error("the weights have no tensor {name}")]
    MissingWeight { name: String },
    #[error("tensor {name} has shape {found:?}, the network needs {expected:?}")]
    WeightShape { name: String, expected: Vec<usize>, found: Vec<usize> },
}
