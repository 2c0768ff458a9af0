//! One executor type for every backend; the caller never sees which one runs.
//!
//! This file only forwards; it must not compute anything.

use crate::plan::{Buf, Plan, Scalar, Step};
use crate::{PlanError, Weights, cpu, gpu};

/// Where plans run. Cheap to clone.
#[derive(Clone)]
pub enum Backend {
    Cpu(cpu::Pool),
    Gpu(gpu::Device),
}

/// A plan loaded for one backend: write inputs, run, read outputs.
pub enum Executor {
    Cpu(cpu::CpuExecutor),
    Gpu(gpu::GpuExecutor),
}

impl Executor {
    /// Packs the weights and sets all memory aside.
    ///
    /// # Errors
    /// A plan that does not hold together; a weight that is missing or misshapen, by name.
    pub fn new(backend: &Backend, plan: &Plan, weights: &Weights) -> Result<Self, PlanError> {
        match backend {
            Backend::Cpu(pool) => cpu::CpuExecutor::new(pool, plan, weights).map(Self::Cpu),
            Backend::Gpu(device) => gpu::GpuExecutor::new(device, plan, weights).map(Self::Gpu),
        }
    }

    /// Fills a whole buffer (External or State).
    pub fn write(&mut self, buf: Buf, data: &[f32]) {
        match self {
            Self::Cpu(e) => e.write(buf, data),
            Self::Gpu(e) => e.write(buf, data),
        }
    }

    /// Overwrites `data.len()` elements from `offset` on.
    pub fn write_at(&mut self, buf: Buf, offset: usize, data: &[f32]) {
        match self {
            Self::Cpu(e) => e.write_at(buf, offset, data),
            Self::Gpu(e) => e.write_at(buf, offset, data),
        }
    }

    /// A buffer (External or State) where it lies, if that is this process's memory: what would be copied can be made or used there.
    pub fn in_place(&mut self, buf: Buf) -> Option<&mut [f32]> {
        match self {
            Self::Cpu(e) => Some(e.slice_mut(buf)),
            Self::Gpu(_) => None,
        }
    }

    /// Runs every operation; `params` holds one word per parameter of the plan.
    pub fn run(&mut self, params: &[u32]) {
        match self {
            Self::Cpu(e) => e.run(params),
            Self::Gpu(e) => e.run(params),
        }
    }

    /// Copies the front of a buffer out; waits for the device where there is one.
    pub fn read(&mut self, buf: Buf, out: &mut [f32]) {
        match self {
            Self::Cpu(e) => e.read(buf, out),
            Self::Gpu(e) => e.read(buf, out),
        }
    }

    /// What the device last failed at; the CPU does not fail. Reads give zeros from then on.
    pub fn error(&self) -> Option<&str> {
        match self {
            Self::Cpu(_) => None,
            Self::Gpu(e) => e.error(),
        }
    }

    /// Zeroes the State buffers.
    pub fn reset(&mut self) {
        match self {
            Self::Cpu(e) => e.reset(),
            Self::Gpu(e) => e.reset(),
        }
    }
}

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
