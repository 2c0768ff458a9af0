//! The GPU family: one `#[cube]` kernel or a few per operation, on cubecl over wgpu (Vulkan, Metal, DX12).
//!
//! cubecl's WGSL compiler is the one used: the SPIR-V one crashes on software Vulkan. Tiles are compile-time parameters taken
//! from the device. Only this folder names cubecl; the wgpu device may be the caller's own, so that what is computed here can
//! be drawn there without a copy.

mod attention;
mod block_on;
mod conv;
mod device;
mod executor;
mod lower;
mod math;
mod norm;
mod rearrange;
mod sample;

pub use cubecl::wgpu::{WgpuSetup, wgpu};
pub use device::{Device, GpuError, GpuInfo, GpuKind};
pub use executor::{GpuBuffer, GpuExecutor};
