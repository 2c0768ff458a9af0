//! The test body that every operation shares: the same plan on the reference and on every backend present.
//!
//! One table of tolerances for all. A backend that is absent is reported, never passed in silence.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::sync::OnceLock;

use odori_kernels::cpu::{CpuExecutor, Level, Pool};
use odori_kernels::gpu::{Device, GpuExecutor};
use odori_kernels::plan::{Buf, BufKind, Plan, PlanBuilder};
use odori_kernels::reference::ReferenceExecutor;
use odori_kernels::{Executor, Weights, noise};

/// Absolute and relative: |got - want| <= abs + rel * |want|.
#[derive(Clone, Copy)]
pub struct Tolerance {
    pub abs: f64,
    pub rel: f64,
}

/// Moves values unchanged.
pub const EXACT: Tolerance = Tolerance { abs: 0.0, rel: 0.0 };
/// One or a few roundings (elementwise, norms).
pub const POINTWISE: Tolerance = Tolerance { abs: 4e-6, rel: 4e-6 };
/// Sums of up to a few thousand products of unit size, and softmax over them.
pub const SUMS: Tolerance = Tolerance { abs: 1e-4, rel: 2e-5 };
/// Logarithm, root and cosine of counter-based noise.
pub const NOISE: Tolerance = Tolerance { abs: 1e-5, rel: 1e-5 };

pub enum Target {
    Cpu(Level, Pool),
    Gpu(Device),
}

impl Target {
    pub fn name(&self) -> String {
        match self {
            Self::Cpu(level, pool) => format!("{} x{}", level.name(), pool.threads()),
            Self::Gpu(device) => device.info().name.clone(),
        }
    }

    pub fn load(&self, plan: &Plan, weights: &Weights) -> Executor {
        match self {
            Self::Cpu(level, pool) => Executor::Cpu(CpuExecutor::with_level(pool, *level, plan, weights).unwrap()),
            Self::Gpu(device) => Executor::Gpu(GpuExecutor::new(device, plan, weights).unwrap()),
        }
    }
}

/// Every backend of this machine.
pub fn targets() -> Vec<Target> {
    let (one, two) = (Pool::new(1), Pool::new(2));
    let mut out = Vec::new();
    for level in Level::present() {
        out.push(Target::Cpu(level, one.clone()));
        out.push(Target::Cpu(level, two.clone()));
    }
    out.extend(gpu().map(Target::Gpu));
    out
}

/// The best GPU, opened once per test binary.
pub fn gpu() -> Option<Device> {
    static GPU: OnceLock<Option<Device>> = OnceLock::new();
    GPU.get_or_init(|| match Device::open_best(true) {
        Ok(device) => {
            println!("GPU: {:?}", device.info());
            Some(device)
        }
        Err(e) => {
            eprintln!("SKIPPED: no Vulkan adapter ({e})");
            None
        }
    })
    .clone()
}

/// Seeded values of unit size.
pub fn random(len: usize, seed: u32) -> Vec<f32> {
    (0..len as u32).map(|i| noise::gaussian(seed, 99, i) as f32).collect()
}

/// A plan with random weights and inputs.
pub struct Case {
    pub b: PlanBuilder,
    pub weights: Weights,
    pub inputs: Vec<(Buf, Vec<f32>)>,
    pub outputs: Vec<Buf>,
    seed: u32,
}

impl Case {
    pub fn new(seed: u32) -> Self {
        Self { b: PlanBuilder::new(), weights: Weights::new(), inputs: Vec::new(), outputs: Vec::new(), seed }
    }

    pub fn next_seed(&mut self) -> u32 {
        self.seed = self.seed.wrapping_add(1);
        self.seed
    }

    /// An input of random values.
    pub fn input(&mut self, len: usize) -> Buf {
        let seed = self.next_seed();
        self.input_of(random(len, seed))
    }

    pub fn input_of(&mut self, data: Vec<f32>) -> Buf {
        let buf = self.b.buf(format!("in{}", self.inputs.len()), data.len(), BufKind::External);
        self.inputs.push((buf, data));
        buf
    }

    pub fn output(&mut self, len: usize) -> Buf {
        let buf = self.b.buf(format!("out{}", self.outputs.len()), len, BufKind::External);
        self.outputs.push(buf);
        buf
    }

    /// A weight of random values times `scale`, every other one exact in f16.
    pub fn weight(&mut self, dims: &[usize], scale: f32) -> odori_kernels::plan::Weight {
        let seed = self.next_seed();
        let name = format!("w{seed}");
        let data = random(dims.iter().product(), seed)
            .into_iter()
            .map(|v| if seed.is_multiple_of(2) { half::f16::from_f32(v * scale).to_f32() } else { v * scale })
            .collect();
        self.weights.insert(&name, dims, data).unwrap();
        self.b.weight(name, dims)
    }

    /// Runs the case everywhere, once per set of parameters, and compares every output after each run.
    pub fn check(self, what: &str, tolerance: Tolerance, runs: &[&[u32]]) {
        let plan = self.b.finish().unwrap_or_else(|e| panic!("{what}: {e}"));
        for target in targets() {
            let mut reference = ReferenceExecutor::new(&plan, &self.weights).unwrap();
            let mut executor = target.load(&plan, &self.weights);
            for (buf, data) in &self.inputs {
                reference.write(*buf, data);
                executor.write(*buf, data);
            }
            for (i, params) in runs.iter().enumerate() {
                reference.run(params);
                executor.run(params);
                for &out in &self.outputs {
                    compare(&format!("{what} on {} run {i}", target.name()), &plan, out, &reference, &mut executor, tolerance);
                }
            }
        }
    }
}

pub fn compare(what: &str, plan: &Plan, buf: Buf, reference: &ReferenceExecutor, executor: &mut Executor, t: Tolerance) {
    let info = &plan.bufs[buf.0 as usize];
    let mut got = vec![0.0; info.len];
    executor.read(buf, &mut got);
    for (i, (&g, &want)) in got.iter().zip(reference.buf(buf)).enumerate() {
        let limit = t.abs + t.rel * want.abs();
        let miss = (f64::from(g) - want).abs();
        assert!(miss <= limit || (miss == 0.0), "{what}: {}[{i}] is {g}, should be {want} (off by {miss:.2e}, allowed {limit:.2e})", info.name);
    }
}
