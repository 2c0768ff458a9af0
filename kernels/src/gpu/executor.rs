//! Runs a plan on a GPU: every buffer is set aside once, a run is a list of launches.
//!
//! Nothing waits until `read`. A device that fails does not panic: `error` says what happened and reads give zeros.

use std::any::Any;

use cubecl::prelude::Client;
use cubecl::server::Handle;
use cubecl::wgpu::{AutoCompiler, WgpuResource, WgpuServer, wgpu};

use super::device::{Device, GpuError};
use super::lower::{Launch, Slab, lower};
use crate::layout::Layout;
use crate::plan::{Buf, BufInfo, BufKind, Plan};
use crate::{PlanError, Weights};

/// A plan loaded for a GPU.
pub struct GpuExecutor {
    device: Device,
    infos: Vec<BufInfo>,
    kept: Vec<bool>,
    params: usize,
    bufs: Vec<Slab>,
    launches: Vec<Launch>,
    error: Option<String>,
}

/// A plan's buffer as wgpu sees it, kept in place while this lives.
pub struct GpuBuffer {
    resource: WgpuResource,
    /// cubecl's claim on the memory: while it lives nothing else is put there.
    _claim: Box<dyn Any + Send>,
}

impl GpuBuffer {
    /// The buffer that holds it, with STORAGE, COPY and INDIRECT usages, among other things.
    pub fn buffer(&self) -> &wgpu::Buffer {
        &self.resource.buffer
    }

    /// Where it begins, in bytes.
    pub fn offset(&self) -> u64 {
        self.resource.offset
    }

    /// Bytes.
    pub fn size(&self) -> u64 {
        self.resource.size
    }
}

impl GpuExecutor {
    /// Uploads the weights and sets all buffers aside.
    ///
    /// # Errors
    /// A plan that does not hold together; a weight that is missing or misshapen, by name.
    pub fn new(device: &Device, plan: &Plan, weights: &Weights) -> Result<Self, PlanError> {
        crate::check::check(plan)?;
        let client = device.client();
        let bufs: Vec<Slab> = plan.bufs.iter().map(|b| Slab::zeros(client, b.len)).collect();
        let launches = lower(device, plan, &bufs, weights)?;
        let kept = Layout::new(plan, 1).kept;
        Ok(Self { device: device.clone(), infos: plan.bufs.clone(), kept, params: plan.params.len(), bufs, launches, error: None })
    }

    fn client(&self) -> &Client {
        self.device.client()
    }

    /// Kernel launches of one run.
    pub fn launches(&self) -> usize {
        self.launches.len()
    }

    /// What the device last failed at.
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    fn part(&self, buf: Buf, offset: usize, len: usize, what: &str) -> Handle {
        let (info, slab) = (&self.infos[buf.0 as usize], &self.bufs[buf.0 as usize]);
        assert!(self.kept[buf.0 as usize], "{what} buffer {}, which is transient and read by a later operation: make it External", info.name);
        assert!(offset + len <= info.len, "{what} {len} elements from {offset} on in buffer {} of {}", info.name, info.len);
        let handle = slab.handle.clone();
        if len == info.len { handle } else { handle.offset_start(4 * offset as u64).offset_end(4 * (info.len - offset - len) as u64) }
    }

    /// Fills a whole buffer.
    ///
    /// # Panics
    /// If `data` is not as long as the buffer, or the buffer is transient.
    pub fn write(&mut self, buf: Buf, data: &[f32]) {
        let info = &self.infos[buf.0 as usize];
        assert_eq!(data.len(), info.len, "length of buffer {}", info.name);
        self.write_at(buf, 0, data);
    }

    /// Overwrites `data.len()` elements from `offset` on.
    ///
    /// # Panics
    /// If they do not lie in the buffer, or the buffer is transient.
    pub fn write_at(&mut self, buf: Buf, offset: usize, data: &[f32]) {
        if data.is_empty() {
            return;
        }
        let handle = self.part(buf, offset, data.len(), "writing");
        self.client().write(&handle, cubecl::bytes::Bytes::from_bytes_vec(bytemuck::cast_slice(data).to_vec()));
    }

    /// Queues every launch; `params` holds one word per parameter of the plan. Does not wait.
    ///
    /// # Panics
    /// If the number of parameters is not that of the plan.
    pub fn run(&mut self, params: &[u32]) {
        assert_eq!(params.len(), self.params, "one word per parameter");
        let every = self.device.tiling().flush_every;
        for (i, launch) in self.launches.iter().enumerate() {
            launch(params);
            if every > 0 && (i + 1) % every == 0 {
                self.flush();
            }
        }
        self.flush();
    }

    /// Submits what is queued, so that the caller's own submissions come after it.
    pub fn flush(&self) {
        if let Err(e) = self.client().flush() {
            tracing::warn!("flushing the GPU failed: {e}");
        }
    }

    /// Copies the front of a buffer out, waiting for the device.
    ///
    /// # Errors
    /// The device failed; `out` is untouched.
    ///
    /// # Panics
    /// If `out` is longer than the buffer, or a later operation may have overwritten it.
    pub fn try_read(&self, buf: Buf, out: &mut [f32]) -> Result<(), GpuError> {
        let handle = self.part(buf, 0, self.infos[buf.0 as usize].len, "reading");
        let bytes = self.client().read_one(handle).map_err(|e| GpuError::Lost { reason: e.to_string() })?;
        for (to, from) in out.iter_mut().zip(bytes.chunks_exact(4)) {
            *to = f32::from_le_bytes([from[0], from[1], from[2], from[3]]);
        }
        Ok(())
    }

    /// As `try_read`, but a device that fails gives zeros, and `error` says why.
    ///
    /// # Panics
    /// As `try_read`.
    pub fn read(&mut self, buf: Buf, out: &mut [f32]) {
        if let Err(e) = self.try_read(buf, out) {
            tracing::error!("{e}");
            self.error = Some(e.to_string());
            out.fill(0.0);
        }
    }

    /// A buffer in place, for drawing with it on the same device. Call `flush` before submitting work that reads it.
    ///
    /// # Errors
    /// The device failed.
    ///
    /// # Panics
    /// If a later operation may have overwritten it.
    pub fn buffer(&self, buf: Buf) -> Result<GpuBuffer, GpuError> {
        let handle = self.part(buf, 0, self.infos[buf.0 as usize].len, "sharing");
        let resource = self.client().get_resource::<WgpuServer<AutoCompiler>>(handle).map_err(|e| GpuError::Lost { reason: e.to_string() })?;
        Ok(GpuBuffer { resource: resource.resource().clone(), _claim: Box::new(resource) })
    }

    /// Zeroes the State buffers.
    pub fn reset(&mut self) {
        for i in 0..self.infos.len() {
            if self.infos[i].kind == BufKind::State {
                let zeros = vec![0.0; self.infos[i].len];
                self.write(Buf(i as u32), &zeros);
            }
        }
    }
}
