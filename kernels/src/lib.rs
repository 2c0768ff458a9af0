//! Hand-written kernels, two families under one contract.
//!
//! A network is recorded once as a [`plan::Plan`]; [`Executor`] runs it on our SIMD kernels (CPU) or on our
//! cubecl kernels (GPU). Only this crate names cubecl; it knows no audio, no pose and no window.

pub mod plan;
