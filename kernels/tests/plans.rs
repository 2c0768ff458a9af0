//! Whole plans: random networks on every backend, memory shared between buffers, state kept and reset, errors that name things.

mod common;

use common::{Case, compare, random, targets};
use odori_kernels::plan::{Act, Buf, BufKind, ConvShape, HeadShape, LinearShape, Op, PlanBuilder, Scalar, Step};
use odori_kernels::reference::ReferenceExecutor;
use odori_kernels::{Backend, Executor, PlanError, Weights, cpu, gpu};
use proptest::prelude::*;

/// A random chain of operations over maps of h x w: each step takes any map made before, so lifetimes overlap at random.
fn random_plan(h: usize, w: usize, seed: u32, picks: &[(u8, u8, u8)]) -> Case {
    let mut c = Case::new(seed);
    let step = Step::Param(c.b.param("step"));
    let x = c.input(h * w * 5);
    let mut maps: Vec<(Buf, usize)> = vec![(x, 5)];
    for (i, &(kind, from, width)) in picks.iter().enumerate() {
        let (x, ch) = maps[from as usize % maps.len()];
        let width = width as usize % 37 + 1;
        let made = match kind % 8 {
            0 | 1 => {
                let k = if kind % 8 == 0 { 3 } else { 1 };
                let shape = ConvShape { h, w, c_in: ch, c_out: width, k, stride: 1 };
                let wt = c.weight(&[width, ch, k, k], 1.0 / ((ch * k * k) as f32).sqrt());
                let b = Some(c.weight(&[width], 0.5));
                let y = c.b.tmp(shape.y_len());
                c.b.op(Op::Conv2d { x, w: wt, b, residual: None, y, shape, act: Act::Silu });
                (y, width)
            }
            2 => {
                let shape = LinearShape { m: h * w, k: ch, n: width };
                let wt = c.weight(&[width, ch], 1.0 / (ch as f32).sqrt());
                let y = c.b.tmp(h * w * width);
                c.b.op(Op::Linear { x, w: wt, b: None, residual: None, y, shape, act: Act::Tanh });
                (y, width)
            }
            3 => {
                let (gain, y) = (c.weight(&[ch], 1.0), c.b.tmp(h * w * ch));
                c.b.op(Op::RmsNorm { x, gain, y, m: h * w, d: ch });
                (y, ch)
            }
            4 => {
                let &(other, oc) = &maps[(from as usize + i) % maps.len()];
                let y = c.b.tmp(h * w * (ch + oc));
                c.b.op(Op::Concat { xs: vec![(x, ch), (other, oc)], y, hw: h * w });
                (y, ch + oc)
            }
            5 => {
                let y = c.b.tmp(h * w * ch);
                c.b.op(Op::Attention { q: x, k: x, v: x, y, tq: h * w, tk: h * w, shape: HeadShape { heads: 1, dim: ch } });
                (y, ch)
            }
            6 => {
                // A running mean kept from run to run.
                let state = c.b.buf(format!("state{i}"), h * w * ch, BufKind::State);
                let y = c.b.tmp(h * w * ch);
                c.b.op(Op::Axpby { a: Scalar::Const(0.5), x: state, b: Scalar::Const(0.5), z: x, y: state, len: h * w * ch, act: Act::None });
                c.b.op(Op::Copy { x: state, x_offset: 0, y, y_offset: 0, len: h * w * ch });
                (y, ch)
            }
            _ => {
                let (noise, y) = (c.b.tmp(h * w * ch), c.b.tmp(h * w * ch));
                c.b.op(Op::Noise { y: noise, len: h * w * ch, seed: Step::Const(seed), step });
                c.b.op(Op::Axpby { a: Scalar::Const(1.0), x, b: Scalar::Const(0.1), z: noise, y, len: h * w * ch, act: Act::Gelu });
                (y, ch)
            }
        };
        if made.1 <= 96 {
            maps.push(made);
        }
    }
    let &(last, ch) = maps.last().unwrap();
    let y = c.output(h * w * ch);
    c.b.op(Op::Copy { x: last, x_offset: 0, y, y_offset: 0, len: h * w * ch });
    c
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn random_plans_agree_with_the_reference(h in 1usize..7, w in 1usize..9, seed in 0u32..1000, picks in prop::collection::vec(any::<(u8, u8, u8)>(), 1..9)) {
        let case = random_plan(h, w, seed, &picks);
        case.check("random plan", common::Tolerance { abs: 5e-4, rel: 5e-4 }, &[&[0], &[1], &[2]]);
    }
}

#[test]
fn reset_starts_over() {
    let mut c = Case::new(1);
    let step = Step::Param(c.b.param("step"));
    let x = c.input(8);
    let ring = c.b.buf("ring", 24, BufKind::State);
    let y = c.output(24);
    c.b.op(Op::RingWrite { x, ring, t: 3, width: 8, step });
    c.b.op(Op::Copy { x: ring, x_offset: 0, y, y_offset: 0, len: 24 });
    let plan = c.b.finish().unwrap();
    for target in targets() {
        let mut e = target.load(&plan, &c.weights);
        let mut first = vec![0.0; 24];
        let mut got = vec![0.0; 24];
        e.write(x, &c.inputs[0].1);
        e.run(&[0]);
        e.read(y, &mut first);
        for s in 1..5 {
            e.run(&[s]);
        }
        e.read(y, &mut got);
        assert_ne!(first, got, "{}", target.name());
        e.reset();
        e.write(x, &c.inputs[0].1);
        e.run(&[0]);
        e.read(y, &mut got);
        assert_eq!(first, got, "{}", target.name());
    }
}

#[test]
fn writing_in_part_leaves_the_rest() {
    let mut b = PlanBuilder::new();
    let x = b.buf("x", 10, BufKind::External);
    let y = b.buf("y", 10, BufKind::External);
    b.op(Op::Copy { x, x_offset: 0, y, y_offset: 0, len: 10 });
    let plan = b.finish().unwrap();
    for target in targets() {
        let mut e = target.load(&plan, &Weights::new());
        e.write(x, &[1.0; 10]);
        e.write_at(x, 3, &[2.0, 3.0]);
        e.write_at(x, 9, &[4.0]);
        e.run(&[]);
        let mut got = [0.0; 10];
        e.read(y, &mut got);
        assert_eq!(got, [1.0, 1.0, 1.0, 2.0, 3.0, 1.0, 1.0, 1.0, 1.0, 4.0], "{}", target.name());
        let mut front = [0.0; 4];
        e.read(y, &mut front);
        assert_eq!(front, [1.0, 1.0, 1.0, 2.0]);
    }
}

/// A network like the denoiser's, where many transients are alive in turn.
#[test]
fn a_small_u_net_survives_sharing_memory() {
    let mut c = Case::new(42);
    let x = c.input(16 * 16 * 8);
    let ss = c.input(48);
    let conv = |c: &mut Case, x, h: usize, c_in, c_out, stride, residual| {
        let shape = ConvShape { h, w: h, c_in, c_out, k: 3, stride };
        let w = c.weight(&[c_out, c_in, 3, 3], 1.0 / (9.0 * c_in as f32).sqrt());
        let b = Some(c.weight(&[c_out], 0.1));
        let y = c.b.tmp(shape.y_len());
        c.b.op(Op::Conv2d { x, w, b, residual, y, shape, act: Act::None });
        y
    };
    let a = conv(&mut c, x, 16, 8, 24, 1, None);
    let (gain, bias) = (c.weight(&[24], 1.0), c.weight(&[24], 1.0));
    let n = c.b.tmp(16 * 16 * 24);
    c.b.op(Op::GroupNorm { x: a, gain, bias, scale_shift: Some(ss), y: n, hw: 256, c: 24, groups: 4, act: Act::Silu });
    let r = conv(&mut c, n, 16, 24, 24, 1, Some(a));
    let d = conv(&mut c, r, 16, 24, 40, 2, None);
    let q = conv(&mut c, d, 8, 40, 40, 1, None);
    let t = c.b.tmp(64 * 40);
    c.b.op(Op::Attention { q, k: d, v: d, y: t, tq: 64, tk: 64, shape: HeadShape { heads: 5, dim: 8 } });
    let u = c.b.tmp(256 * 40);
    c.b.op(Op::Upsample2x { x: t, y: u, h: 8, w: 8, c: 40 });
    let cat = c.b.tmp(256 * 64);
    c.b.op(Op::Concat { xs: vec![(u, 40), (r, 24)], y: cat, hw: 256 });
    let z = conv(&mut c, cat, 16, 64, 8, 1, None);
    let out = c.output(256 * 8);
    c.b.op(Op::DepthToSpace { x: z, y: out, h: 16, w: 16, c: 2, r: 2 });
    c.check("u-net", common::Tolerance { abs: 2e-4, rel: 2e-4 }, &[&[], &[]]);
}

fn conv_plan(x_len: usize, dims: &[usize], y_len: usize) -> Result<odori_kernels::Plan, PlanError> {
    let mut b = PlanBuilder::new();
    let x = b.buf("x", x_len, BufKind::External);
    let w = b.weight("net.weight", dims);
    let y = b.buf("y", y_len, BufKind::External);
    b.op(Op::Conv2d { x, w, b: None, residual: None, y, shape: ConvShape { h: 4, w: 4, c_in: 2, c_out: 3, k: 3, stride: 2 }, act: Act::None });
    b.finish()
}

#[test]
fn errors_say_what_does_not_fit() {
    assert!(conv_plan(32, &[3, 2, 3, 3], 12).is_ok());
    let say = |r: Result<odori_kernels::Plan, PlanError>| r.unwrap_err().to_string();
    assert_eq!(say(conv_plan(33, &[3, 2, 3, 3], 12)), "operation 0 (Conv2d): x (x) holds 33 elements, its shape is [4, 4, 2]");
    assert_eq!(say(conv_plan(32, &[3, 2, 1, 1], 12)), "operation 0 (Conv2d): w (net.weight) has shape [3, 2, 1, 1], needed is [3, 2, 3, 3]");
    assert_eq!(say(conv_plan(32, &[3, 2, 3, 3], 48)), "operation 0 (Conv2d): y (y) holds 48 elements, its shape is [2, 2, 3]");

    let mut b = PlanBuilder::new();
    let (x, y) = (b.tmp(4), b.tmp(4));
    b.op(Op::Copy { x, x_offset: 0, y, y_offset: 0, len: 4 });
    assert_eq!(say(b.finish()), "operation 0 (Copy): reads transient buffer t0 before anything has written it; make it External or State");

    let mut b = PlanBuilder::new();
    let x = b.buf("x", 8, BufKind::External);
    b.op(Op::Copy { x, x_offset: 0, y: x, y_offset: 2, len: 4 });
    assert_eq!(say(b.finish()), "operation 0 (Copy): source and destination overlap");

    let mut b = PlanBuilder::new();
    let y = b.buf("y", 8, BufKind::External);
    b.op(Op::Noise { y, len: 9, seed: Step::Const(0), step: Step::Param(odori_kernels::plan::Param(3)) });
    assert_eq!(say(b.finish()), "operation 0 (Noise): y (y) holds 8 elements, needed are [9] after 0");
}

#[test]
fn missing_and_misshapen_weights_are_named_on_every_backend() {
    let plan = conv_plan(32, &[3, 2, 3, 3], 12).unwrap();
    let mut backends = vec![Backend::Cpu(cpu::Pool::new(1))];
    backends.extend(common::gpu().map(Backend::Gpu));
    for backend in backends {
        let mut weights = Weights::new();
        let say = |w: &Weights| Executor::new(&backend, &plan, w).err().unwrap().to_string();
        assert_eq!(say(&weights), "the weights have no tensor net.weight");
        weights.insert("net.weight", &[3, 3, 3, 2], vec![0.0; 54]).unwrap();
        assert_eq!(say(&weights), "tensor net.weight has shape [3, 3, 3, 2], the network needs [3, 2, 3, 3]");
        weights.insert("net.weight", &[3, 2, 3, 3], vec![0.0; 54]).unwrap();
        assert!(Executor::new(&backend, &plan, &weights).is_ok());
    }
}

/// Two executors on one device, used from threads other than the one that made them.
#[test]
fn gpu_executors_move_between_threads_and_share_their_buffers() {
    let Some(device) = common::gpu() else { return };
    let mut b = PlanBuilder::new();
    let x = b.buf("x", 100, BufKind::External);
    let y = b.buf("y", 100, BufKind::External);
    b.op(Op::Axpby { a: Scalar::Const(2.0), x, b: Scalar::Const(0.0), z: x, y, len: 100, act: Act::None });
    let plan = b.finish().unwrap();
    let data = random(100, 5);
    std::thread::scope(|s| {
        for _ in 0..2 {
            let mut e = gpu::GpuExecutor::new(&device, &plan, &Weights::new()).unwrap();
            let (plan, data) = (&plan, &data);
            s.spawn(move || {
                let mut reference = ReferenceExecutor::new(plan, &Weights::new()).unwrap();
                for _ in 0..20 {
                    reference.write(x, data);
                    reference.run(&[]);
                    e.write(x, data);
                    e.run(&[]);
                }
                let shared = e.buffer(y).unwrap();
                assert_eq!(shared.size(), 400);
                assert!(shared.offset() + shared.size() <= shared.buffer().size());
                compare("threads", plan, y, &reference, &mut Executor::Gpu(e), common::EXACT);
            });
        }
    });
}

#[test]
fn probing_and_opening_never_panic() {
    for info in gpu::Device::probe() {
        println!("{info:?}");
    }
    match gpu::Device::open_best(false) {
        Ok(device) => assert!(!device.info().is_software()),
        Err(e) => println!("no hardware GPU: {e}"),
    }
}
