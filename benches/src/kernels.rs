//! Every operation at the shapes of the shipped networks: held to the f64 reference, then timed.
//!
//! A figure is the median over `runs` of the mean over enough repetitions to fill two milliseconds.

use std::time::Instant;

use odori_kernels::cpu::{Level, Pool, peak_gflops};
use odori_kernels::gpu::Device;
use odori_kernels::plan::{Act, Buf, BufKind, ConvShape, HeadShape, LinearShape, Op, PlanBuilder, Scalar, Step};
use odori_kernels::reference::ReferenceExecutor;
use odori_kernels::{Backend, Executor, Weights, noise};

pub struct Options {
    /// On the best GPU, a software one if there is no other, instead of the CPU.
    pub gpu: bool,
    pub threads: usize,
    pub runs: usize,
    /// Only cases whose name contains this.
    pub only: String,
}

pub struct Report {
    /// Instruction set and threads, or the GPU's name.
    pub device: String,
    /// Measured multiply-add ceiling; 0 where none is measured.
    pub peak_gflops: f64,
    /// Measured ceiling of copying in the second-level cache, read and written bytes counted; 0 where none is measured.
    pub peak_gbytes: f64,
    pub rows: Vec<Row>,
}

pub struct Row {
    pub name: String,
    pub median_us: f64,
    pub best_us: f64,
    /// Floating point operations over the median; 0 for operations that only move data.
    pub gflops: f64,
    pub percent_of_peak: f64,
    /// Bytes of inputs, weights as they are stored and the result, each once, over the median.
    pub gbytes: f64,
    /// Largest difference from the reference, relative to its largest value.
    pub worst_error: f64,
}

struct Case {
    name: String,
    flops: usize,
    b: PlanBuilder,
    weights: Weights,
    inputs: Vec<(Buf, Vec<f32>)>,
    weight_len: usize,
    out: Buf,
}

struct Maker {
    b: PlanBuilder,
    weights: Weights,
    weight_len: usize,
    inputs: Vec<(Buf, Vec<f32>)>,
}

impl Maker {
    fn new() -> Self {
        Self { b: PlanBuilder::new(), weights: Weights::new(), weight_len: 0, inputs: Vec::new() }
    }

    fn values(len: usize, seed: u32, scale: f64) -> Vec<f32> {
        (0..len as u32).map(|i| half::round(noise::gaussian(seed, 0, i) * scale)).collect()
    }

    fn input(&mut self, len: usize) -> Buf {
        let buf = self.b.buf(format!("x{}", self.inputs.len()), len, BufKind::External);
        let data = Self::values(len, 10 + self.inputs.len() as u32, 1.0);
        self.inputs.push((buf, data));
        buf
    }

    fn weight(&mut self, name: &str, dims: &[usize], scale: f64) -> odori_kernels::plan::Weight {
        let data = Self::values(dims.iter().product(), 1, scale);
        self.weight_len += data.len();
        self.weights.insert(name, dims, data).unwrap_or_else(|e| panic!("{e}"));
        self.b.weight(name, dims)
    }

    fn case(self, name: String, flops: usize, out: Buf) -> Case {
        Case { name, flops, b: self.b, weights: self.weights, weight_len: self.weight_len, inputs: self.inputs, out }
    }
}

/// Shipped weights are f16, so the benchmark's are exact in f16 too.
mod half {
    pub fn round(v: f64) -> f32 {
        let scale = 2f64.powi(10 - v.abs().max(1e-3).log2().floor() as i32);
        ((v * scale).round() / scale) as f32
    }
}

fn conv(h: usize, c_in: usize, c_out: usize, k: usize, stride: usize) -> Case {
    let shape = ConvShape { h, w: h, c_in, c_out, k, stride };
    let mut m = Maker::new();
    let x = m.input(shape.x_len());
    let w = m.weight("w", &[c_out, c_in, k, k], 1.0 / ((c_in * k * k) as f64).sqrt());
    let b = Some(m.weight("b", &[c_out], 1.0));
    let y = m.b.buf("y", shape.y_len(), BufKind::External);
    m.b.op(Op::Conv2d { x, w, b, residual: None, y, shape, act: Act::None });
    m.case(format!("conv {k}x{k}/{stride} {h}x{h} {c_in}->{c_out}"), shape.flops(), y)
}

fn linear(rows: usize, k: usize, n: usize) -> Case {
    let mut m = Maker::new();
    let x = m.input(rows * k);
    let w = m.weight("w", &[n, k], 1.0 / (k as f64).sqrt());
    let y = m.b.buf("y", rows * n, BufKind::External);
    m.b.op(Op::Linear { x, w, b: None, residual: None, y, shape: LinearShape { m: rows, k, n }, act: Act::None });
    m.case(format!("linear {rows} x {k} -> {n}"), 2 * rows * k * n, y)
}

fn group_norm(h: usize, c: usize) -> Case {
    let mut m = Maker::new();
    let x = m.input(h * h * c);
    let (gain, bias, ss) = (m.weight("g", &[c], 1.0), m.weight("b", &[c], 1.0), m.input(2 * c));
    let y = m.b.buf("y", h * h * c, BufKind::External);
    m.b.op(Op::GroupNorm { x, gain, bias, scale_shift: Some(ss), y, hw: h * h, c, groups: 8, act: Act::Silu });
    m.case(format!("group norm + AdaIN + SiLU {h}x{h}x{c}"), 0, y)
}

fn attention(tq: usize, tk: usize, heads: usize, dim: usize) -> Case {
    let shape = HeadShape { heads, dim };
    let mut m = Maker::new();
    let (q, k, v) = (m.input(tq * shape.width()), m.input(tk * shape.width()), m.input(tk * shape.width()));
    let y = m.b.buf("y", tq * shape.width(), BufKind::External);
    m.b.op(Op::Attention { q, k, v, y, tq, tk, shape });
    m.case(format!("attention {tq} x {tk}, {heads} heads of {dim}"), 4 * tq * tk * shape.width(), y)
}

fn ring_attention() -> Case {
    let (t, s, shape) = (120, 2, HeadShape { heads: 6, dim: 32 });
    let width = shape.width();
    let mut m = Maker::new();
    let (q, ring_k, ring_v, sk, sv) = (m.input(width), m.input(t * width), m.input(t * width), m.input(s * width), m.input(s * width));
    let y = m.b.buf("y", width, BufKind::External);
    m.b.op(Op::RingAttention { q, ring_k, ring_v, sinks: Some((sk, sv)), y, t, s, shape, step: Step::Const(500), alibi: true });
    m.case("ring attention 120 + 2 rows, 6 heads of 32".into(), 4 * (t + s) * width, y)
}

fn sample() -> Case {
    let mut m = Maker::new();
    let logits = m.input(512);
    let ids = m.b.buf("ids", 1, BufKind::External);
    let (temperature, top_p) = (Scalar::Const(0.9), Scalar::Const(0.9));
    m.b.op(Op::Sample { logits, ids, ids_offset: 0, v: 512, temperature, top_p, seed: Step::Const(1), step: Step::Const(2), slot: 0 });
    m.case("sample 1 of 512, top-p 0.9".into(), 0, ids)
}

fn vq() -> Case {
    let mut m = Maker::new();
    let x = m.input(64);
    let codebook = m.weight("c", &[512, 64], 1.0);
    let ids = m.b.buf("ids", 1, BufKind::External);
    m.b.op(Op::VqNearest { x, codebook, ids, ids_offset: 0, m: 1, d: 64, v: 512 });
    m.case("nearest of 512 codes of 64".into(), 3 * 512 * 64, ids)
}

/// Verified at its first step; the state that it goes on from does not change what a step costs.
fn gru_cell(n: usize) -> Case {
    let mut m = Maker::new();
    let (gates_x, gates_h, h) = (m.input(3 * n), m.input(3 * n), m.input(n));
    m.b.op(Op::GruCell { gates_x, gates_h, h, n });
    m.case(format!("GRU cell of {n}"), 0, h)
}

fn elementwise() -> Vec<Case> {
    let len = 128 * 128 * 4;
    let mut m = Maker::new();
    let (x, z) = (m.input(len), m.input(len));
    let y = m.b.buf("y", len, BufKind::External);
    m.b.op(Op::Axpby { a: Scalar::Const(0.5), x, b: Scalar::Const(2.0), z, y, len, act: Act::None });
    let axpby = m.case("axpby 128x128x4".into(), 3 * len, y);
    let mut m = Maker::new();
    let y = m.b.buf("y", len, BufKind::External);
    m.b.op(Op::Noise { y, len, seed: Step::Const(1), step: Step::Const(2) });
    let noise = m.case("noise 128x128x4".into(), 0, y);
    let mut m = Maker::new();
    let x = m.input(128 * 128 * 16);
    let y = m.b.buf("y", 128 * 128 * 16, BufKind::External);
    m.b.op(Op::SpaceToDepth { x, y, h: 128, w: 128, c: 16, r: 4 });
    let s2d = m.case("space to depth 128x128x16 by 4".into(), 0, y);
    vec![axpby, noise, s2d]
}

fn cases() -> Vec<Case> {
    let mut cases = vec![
        conv(64, 64, 64, 3, 1),
        conv(64, 32, 32, 3, 1),
        conv(32, 48, 48, 3, 1),
        conv(32, 64, 64, 3, 1),
        conv(16, 96, 96, 3, 1),
        conv(8, 160, 160, 3, 1),
        conv(64, 32, 48, 3, 2),
        conv(32, 48, 96, 3, 2),
        conv(16, 192, 96, 1, 1),
        conv(8, 160, 480, 1, 1),
        linear(1, 192, 192),
        linear(1, 192, 768),
        linear(1, 768, 192),
        linear(1, 640, 192),
        linear(1, 1280, 512),
        linear(1, 322, 64),
        linear(1, 128, 384),
        linear(2, 192, 192),
        linear(64, 160, 160),
        linear(512, 512, 512),
        group_norm(32, 48),
        group_norm(64, 64),
        attention(64, 64, 5, 32),
        attention(64, 256, 5, 32),
        attention(256, 256, 3, 32),
        ring_attention(),
        gru_cell(128),
        sample(),
        vq(),
    ];
    cases.extend(elementwise());
    cases
}

pub fn run(options: &Options) -> Result<Report, String> {
    let (backend, device, peak, peak_gbytes) = if options.gpu {
        let device = Device::open_best(true).map_err(|e| e.to_string())?;
        let name = format!("{} ({})", device.info().name, device.info().api);
        (Backend::Gpu(device), name, 0.0, 0.0)
    } else {
        let pool = Pool::new(options.threads);
        let peak = peak_gflops(&pool, Level::best());
        let name = format!("{} on {} threads", Level::best().name(), pool.threads());
        let copying = copy_gbytes(&pool);
        (Backend::Cpu(pool), name, peak, copying)
    };
    let rows = cases().into_iter().filter(|c| c.name.contains(&options.only)).map(|c| measure(c, &backend, peak, options.runs)).collect();
    Ok(Report { device, peak_gflops: peak, peak_gbytes, rows })
}

/// What all threads of the pool together copy within their second-level caches, GB/s, read and written bytes counted.
fn copy_gbytes(pool: &Pool) -> f64 {
    const FLOATS: usize = 64 * 1024;
    const ROUNDS: usize = 2000;
    let rates = std::sync::Mutex::new(Vec::new());
    pool.run(pool.threads(), &|_, _| {
        let (from, mut to) = (vec![1.0f32; FLOATS], vec![0.0f32; FLOATS]);
        let best = (0..5)
            .map(|_| {
                let start = Instant::now();
                for _ in 0..ROUNDS {
                    to.copy_from_slice(std::hint::black_box(&from));
                    std::hint::black_box(&mut to);
                }
                (ROUNDS * FLOATS * 8) as f64 / start.elapsed().as_secs_f64() / 1e9
            })
            .fold(0.0, f64::max);
        rates.lock().expect("no panic while held").push(best);
    });
    rates.into_inner().expect("no panic while held").iter().sum()
}

fn measure(case: Case, backend: &Backend, peak: f64, runs: usize) -> Row {
    let fail = |e: odori_kernels::PlanError| -> ! { panic!("{}: {e}", case.name) };
    let plan = case.b.finish().unwrap_or_else(|e| fail(e));
    let mut reference = ReferenceExecutor::new(&plan, &case.weights).unwrap_or_else(|e| fail(e));
    let mut executor = Executor::new(backend, &plan, &case.weights).unwrap_or_else(|e| fail(e));
    for (buf, data) in &case.inputs {
        reference.write(*buf, data);
        executor.write(*buf, data);
    }
    reference.run(&[]);
    executor.run(&[]);
    let want = reference.buf(case.out);
    let mut got = vec![0.0; want.len()];
    executor.read(case.out, &mut got);
    let scale = want.iter().fold(1e-9f64, |a, v| a.max(v.abs()));
    let worst = got.iter().zip(want).fold(0.0f64, |a, (&g, w)| a.max((f64::from(g) - w).abs())) / scale;
    assert!(worst < 1e-4, "{} is wrong by {worst:.1e}: not timed", case.name);

    // Reading one value waits for a device that works behind our back; on the CPU it costs nothing.
    let mut wait = |executor: &mut Executor| executor.read(case.out, &mut got[..1]);
    let start = Instant::now();
    executor.run(&[]);
    wait(&mut executor);
    let repeat = (2e-3 / start.elapsed().as_secs_f64().max(1e-7)).clamp(1.0, 20_000.0) as usize;
    let mut times: Vec<f64> = (0..runs)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..repeat {
                executor.run(&[]);
            }
            wait(&mut executor);
            start.elapsed().as_secs_f64() / repeat as f64 * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    let median = times[times.len() / 2];
    let gflops = case.flops as f64 / median / 1e3;
    let floats = case.inputs.iter().map(|(_, data)| data.len()).sum::<usize>() + want.len();
    // Weights as they are shipped, f16: what a kernel reads at the least.
    let bytes = 4 * floats + 2 * case.weight_len;
    Row {
        name: case.name,
        median_us: median,
        best_us: times[0],
        gflops,
        percent_of_peak: if peak > 0.0 { 100.0 * gflops / peak } else { 0.0 },
        gbytes: bytes as f64 / median / 1e3,
        worst_error: worst,
    }
}
