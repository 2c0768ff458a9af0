//! Which GPUs there are, and opening one. Never panics where there is none: a machine without a driver has an empty list.
//!
//! This file must not launch anything.

use std::sync::Arc;

use cubecl::prelude::Client;
use cubecl::wgpu::{RuntimeOptions, WgpuSetup, try_init_device, wgpu};

use super::block_on::block_on;

/// Why a GPU cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GpuError {
    #[error("no GPU with Vulkan, Metal or DirectX 12{}", if *.software_present { "; only a software one, which was not asked for" } else { "" })]
    NoAdapter { software_present: bool },
    #[error("{name} does not open: {reason}")]
    Open { name: String, reason: String },
    #[error("the GPU did not answer: {reason}")]
    Lost { reason: String },
}

/// What an adapter says it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GpuKind {
    Discrete,
    Integrated,
    Virtual,
    Other,
    /// A rasteriser on the CPU (lavapipe, WARP).
    Software,
}

/// An adapter of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuInfo {
    pub name: String,
    /// `Vulkan`, `Metal` or `Dx12`.
    pub api: String,
    pub driver: String,
    pub kind: GpuKind,
}

impl GpuInfo {
    pub fn is_software(&self) -> bool {
        self.kind == GpuKind::Software
    }

    fn of(adapter: &wgpu::Adapter) -> Self {
        let info = adapter.get_info();
        let kind = match info.device_type {
            wgpu::DeviceType::DiscreteGpu => GpuKind::Discrete,
            wgpu::DeviceType::IntegratedGpu => GpuKind::Integrated,
            wgpu::DeviceType::VirtualGpu => GpuKind::Virtual,
            wgpu::DeviceType::Cpu => GpuKind::Software,
            wgpu::DeviceType::Other => GpuKind::Other,
        };
        Self { name: info.name, api: format!("{:?}", info.backend), driver: format!("{} {}", info.driver, info.driver_info).trim().into(), kind }
    }
}

/// Compile-time sizes of the kernels on one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Units of a cube.
    pub cube: u32,
    /// Neighbouring pixels that one unit sums in registers.
    pub pixels: usize,
    /// Launches between flushes; 0 leaves it to cubecl. Software Vulkan stalls from 32 on.
    pub flush_every: usize,
}

struct Inner {
    client: Client,
    setup: WgpuSetup,
    info: GpuInfo,
    tiling: Tiling,
}

/// An open GPU; clones share it.
#[derive(Clone)]
pub struct Device {
    inner: Arc<Inner>,
}

fn adapters() -> (wgpu::Instance, Vec<(GpuInfo, wgpu::Adapter)>) {
    let backends = wgpu::Backends::VULKAN | wgpu::Backends::METAL | wgpu::Backends::DX12;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor { backends, ..wgpu::InstanceDescriptor::new_without_display_handle() });
    let mut found: Vec<_> = block_on(instance.enumerate_adapters(backends)).into_iter().map(|a| (GpuInfo::of(&a), a)).collect();
    found.sort_by_key(|(info, _)| info.kind);
    (instance, found)
}

impl Device {
    /// The adapters of this machine, best first; empty without a driver.
    pub fn probe() -> Vec<GpuInfo> {
        adapters().1.into_iter().map(|(info, _)| info).collect()
    }

    /// Opens the best adapter.
    ///
    /// # Errors
    /// There is none, or only a software one and `software` is false, or it refuses.
    pub fn open_best(software: bool) -> Result<Self, GpuError> {
        let (instance, found) = adapters();
        let software_present = !found.is_empty();
        let Some((info, adapter)) = found.into_iter().find(|(info, _)| software || !info.is_software()) else {
            return Err(GpuError::NoAdapter { software_present });
        };
        let refuse = |reason: String| GpuError::Open { name: info.name.clone(), reason };
        let request = adapter.request_device(&wgpu::DeviceDescriptor {
            label: Some("odori"),
            required_features: adapter.features().difference(wgpu::Features::MAPPABLE_PRIMARY_BUFFERS | wgpu::Features::all_experimental_mask()),
            required_limits: adapter.limits(),
            ..Default::default()
        });
        let (device, queue) = block_on(request).map_err(|e| refuse(e.to_string()))?;
        let backend = adapter.get_info().backend;
        Self::open(WgpuSetup { instance, adapter, device, queue, backend })
    }

    /// Shares a wgpu device that the caller made, so that both sides see the same buffers. Register each setup once and clone
    /// what comes back.
    ///
    /// # Errors
    /// The device cannot compute, or does not belong to the adapter.
    pub fn open(setup: WgpuSetup) -> Result<Self, GpuError> {
        let info = GpuInfo::of(&setup.adapter);
        let refuse = |reason: String| GpuError::Open { name: info.name.clone(), reason };
        let limits = setup.device.limits();
        // The convolution binds five buffers, and cubecl one of its own.
        if limits.max_storage_buffers_per_shader_stage < 6 || limits.max_compute_invocations_per_workgroup < 32 {
            return Err(refuse("six storage buffers and cubes of 32 units are needed".into()));
        }
        let software = info.is_software();
        let options = RuntimeOptions::with_tasks_max(software.then_some(16)).map_err(|e| refuse(e.to_string()))?;
        let registered = try_init_device(setup.clone(), options).map_err(|e| refuse(e.to_string()))?;
        let client = cubecl::Device::Wgpu(registered).client();
        let hardware = &client.properties().hardware;
        let tiling = Tiling {
            cube: 64.min(hardware.max_units_per_cube),
            // A software adapter runs a unit per SIMD lane and has registers to spare; hardware hides latency with more units.
            pixels: if software { 8 } else { 4 },
            flush_every: if software { 16 } else { 0 },
        };
        Ok(Self { inner: Arc::new(Inner { client, setup, info, tiling }) })
    }

    pub fn info(&self) -> &GpuInfo {
        &self.inner.info
    }

    /// The wgpu handles behind this device, for drawing with what it computes.
    pub fn setup(&self) -> &WgpuSetup {
        &self.inner.setup
    }

    pub(super) fn client(&self) -> &Client {
        &self.inner.client
    }

    pub(super) fn tiling(&self) -> Tiling {
        self.inner.tiling
    }
}
