//! Verify, then time: every kernel at the shapes of the shipped networks, and the networks whole. `odori bench kernels` runs it.
//! It knows no server.

pub mod kernels;
pub mod networks;
