//! Every operation against the reference on edge shapes, on every backend present.

mod common;

use common::{Case, EXACT, NOISE, POINTWISE, SUMS};
use odori_kernels::plan::{Act, BufKind, ConvShape, HeadShape, LinearShape, Op, Scalar, Step};

const ACTS: [Act; 5] = [Act::None, Act::Silu, Act::Gelu, Act::Sigmoid, Act::Tanh];

fn conv(seed: u32, shape: ConvShape, act: Act, bias: bool, residual: bool) {
    let mut c = Case::new(seed);
    let x = c.input(shape.x_len());
    let scale = 1.0 / ((shape.c_in * shape.k * shape.k) as f32).sqrt();
    let w = c.weight(&[shape.c_out, shape.c_in, shape.k, shape.k], scale);
    let b = bias.then(|| c.weight(&[shape.c_out], 1.0));
    let residual = residual.then(|| c.input(shape.y_len()));
    let y = c.output(shape.y_len());
    c.b.op(Op::Conv2d { x, w, b, residual, y, shape, act });
    c.check(&format!("{shape:?} {act:?} bias {bias}"), SUMS, &[&[]]);
}

#[test]
fn conv2d_edge_shapes() {
    let mut seed = 1000;
    for k in [1, 3] {
        for stride in [1, 2] {
            for (h, w) in [(1, 1), (1, 2), (2, 1), (3, 5), (5, 7), (4, 13), (8, 12), (2, 25)] {
                for (c_in, c_out) in [(1, 1), (3, 15), (5, 16), (7, 17), (16, 33), (4, 48), (8, 67)] {
                    seed += 10;
                    let act = ACTS[seed as usize / 10 % 5];
                    conv(seed, ConvShape { h, w, c_in, c_out, k, stride }, act, seed / 10 % 3 != 0, seed / 10 % 2 == 0);
                }
            }
        }
    }
}

#[test]
fn conv2d_real_shapes() {
    for (h, c_in, c_out, k, stride) in [(64, 32, 32, 3, 1), (32, 48, 48, 3, 1), (16, 96, 96, 3, 1), (8, 160, 160, 3, 1), (32, 48, 96, 3, 2), (16, 192, 96, 1, 1)] {
        conv(7, ConvShape { h, w: h, c_in, c_out, k, stride }, Act::None, true, true);
        conv(8, ConvShape { h, w: h, c_in, c_out, k, stride }, Act::Silu, true, false);
    }
}

#[test]
fn conv2d_accumulates_into_its_residual() {
    let shape = ConvShape { h: 5, w: 6, c_in: 4, c_out: 19, k: 3, stride: 1 };
    for act in [Act::None, Act::Silu] {
        let mut c = Case::new(3);
        let x = c.input(shape.x_len());
        let w = c.weight(&[19, 4, 3, 3], 0.2);
        let y = c.output(shape.y_len());
        c.b.op(Op::Conv2d { x, w, b: None, residual: None, y, shape, act });
        c.b.op(Op::Conv2d { x, w, b: None, residual: Some(y), y, shape, act });
        c.check("accumulate", SUMS, &[&[], &[]]);
    }
}

#[test]
fn linear_edge_shapes() {
    let mut seed = 5000;
    for m in [1, 2, 3, 7, 13, 64] {
        for (k, n) in [(1, 1), (3, 15), (64, 16), (17, 17), (192, 192), (33, 257), (192, 768), (324, 192)] {
            seed += 10;
            let mut c = Case::new(seed);
            let x = c.input(m * k);
            let w = c.weight(&[n, k], 1.0 / (k as f32).sqrt());
            let b = (seed % 3 != 0).then(|| c.weight(&[n], 1.0));
            let residual = (seed % 20 == 0).then(|| c.input(m * n));
            let y = c.output(m * n);
            c.b.op(Op::Linear { x, w, b, residual, y, shape: LinearShape { m, k, n }, act: ACTS[seed as usize / 10 % 5] });
            c.check(&format!("linear {m} {k} {n}"), SUMS, &[&[]]);
        }
    }
}

#[test]
fn group_norm_with_adain() {
    let mut seed = 9000;
    for (hw, ch, groups) in [(1, 2, 1), (1, 1, 1), (7, 6, 3), (64, 16, 4), (65, 17, 17), (100, 33, 3), (256, 96, 8), (1024, 48, 8), (4096, 64, 8)] {
        for act in ACTS {
            for adain in [false, true] {
                seed += 10;
                let mut c = Case::new(seed);
                let x = c.input(hw * ch);
                let (gain, bias) = (c.weight(&[ch], 1.0), c.weight(&[ch], 1.0));
                let scale_shift = adain.then(|| c.input(2 * ch));
                let y = c.output(hw * ch);
                c.b.op(Op::GroupNorm { x, gain, bias, scale_shift, y, hw, c: ch, groups, act });
                c.check(&format!("group norm {hw} {ch} {groups} {act:?}"), common::Tolerance { abs: 2e-5, rel: 2e-5 }, &[&[]]);
            }
        }
    }
}

#[test]
fn group_norm_far_from_zero_and_in_place() {
    let (hw, ch) = (300, 24);
    let mut c = Case::new(4);
    let data: Vec<f32> = common::random(hw * ch, 77).into_iter().map(|v| 100.0 + v).collect();
    let x = c.input_of(data);
    let (gain, bias) = (c.weight(&[ch], 1.0), c.weight(&[ch], 1.0));
    c.outputs.push(x);
    c.b.op(Op::GroupNorm { x, gain, bias, scale_shift: None, y: x, hw, c: ch, groups: 4, act: Act::Silu });
    c.check("group norm around 100", common::Tolerance { abs: 1e-4, rel: 1e-4 }, &[&[]]);
}

#[test]
fn rms_norm_rows() {
    for (m, d) in [(1, 1), (1, 15), (2, 16), (3, 17), (5, 128), (30, 192)] {
        let mut c = Case::new(50);
        let x = c.input(m * d);
        let gain = c.weight(&[d], 1.0);
        let y = c.output(m * d);
        c.b.op(Op::RmsNorm { x, gain, y, m, d });
        c.b.op(Op::RmsNorm { x: y, gain, y, m, d });
        c.check(&format!("rms norm {m} {d}"), POINTWISE, &[&[]]);
    }
}

#[test]
fn attention_of_many_queries() {
    for (tq, tk, heads, dim) in [(1, 1, 1, 1), (3, 5, 2, 7), (7, 16, 1, 16), (13, 17, 3, 32), (64, 64, 4, 40), (64, 128, 5, 32), (100, 63, 2, 17)] {
        let mut c = Case::new(60);
        let shape = HeadShape { heads, dim };
        let (q, k, v) = (c.input(tq * shape.width()), c.input(tk * shape.width()), c.input(tk * shape.width()));
        let y = c.output(tq * shape.width());
        c.b.op(Op::Attention { q, k, v, y, tq, tk, shape });
        c.check(&format!("attention {tq} {tk} {shape:?}"), SUMS, &[&[]]);
    }
}

#[test]
fn ring_attention_before_and_after_wrapping() {
    for (t, s, heads, dim, alibi) in [(1, 0, 1, 1, false), (3, 1, 2, 7, true), (5, 2, 6, 32, true), (10, 0, 4, 32, false), (120, 2, 6, 32, true)] {
        let shape = HeadShape { heads, dim };
        let width = shape.width();
        let mut c = Case::new(70);
        let step = Step::Param(c.b.param("step"));
        let (q, k, v) = (c.input(width), c.input(width), c.input(width));
        let noise = c.b.tmp(width);
        let ring_k = c.b.buf("k", t * width, odori_kernels::plan::BufKind::State);
        let ring_v = c.b.buf("v", t * width, odori_kernels::plan::BufKind::State);
        let sinks = (s > 0).then(|| (c.input(s * width), c.input(s * width)));
        let y = c.output(width);
        // Keys that differ from step to step, or a wrong row would not show.
        c.b.op(Op::Noise { y: noise, len: width, seed: Step::Const(1), step });
        c.b.op(Op::Axpby { a: Scalar::Const(1.0), x: k, b: Scalar::Const(1.0), z: noise, y: noise, len: width, act: Act::None });
        c.b.op(Op::RingWrite { x: noise, ring: ring_k, t, width, step });
        c.b.op(Op::Axpby { a: Scalar::Const(1.0), x: v, b: Scalar::Const(-0.5), z: noise, y: noise, len: width, act: Act::None });
        c.b.op(Op::RingWrite { x: noise, ring: ring_v, t, width, step });
        c.b.op(Op::RingAttention { q, ring_k, ring_v, sinks, y, t, s, shape, step, alibi });
        let runs: Vec<[u32; 1]> = (0..(2 * t as u32 + 3).min(130)).map(|i| [i]).collect();
        let runs: Vec<&[u32]> = runs.iter().map(|r| &r[..]).collect();
        c.check(&format!("ring attention {t} {s} {shape:?}"), SUMS, &runs);
    }
}

#[test]
fn embed_clamps_strides_and_accumulates() {
    for d in [1, 16, 17, 64] {
        let mut c = Case::new(80);
        let ids = c.input_of(vec![9.0, 0.0, 3.0, -2.0, 700.0, 1.0]);
        let table = c.weight(&[12, d], 1.0);
        let (y, z) = (c.output(5 * d), c.output(3 * d));
        c.b.op(Op::Embed { ids, ids_offset: 1, table, row_stride: 0, y, m: 5, d, accumulate: false });
        c.b.op(Op::Embed { ids, ids_offset: 0, table, row_stride: 3, y, m: 4, d, accumulate: true });
        c.b.op(Op::Embed { ids, ids_offset: 1, table, row_stride: 4, y: z, m: 3, d, accumulate: false });
        c.check(&format!("embed {d}"), POINTWISE, &[&[]]);
    }
}

#[test]
fn vq_nearest_takes_the_smaller_index_on_a_tie() {
    for (m, d, v) in [(1, 1, 1), (3, 5, 7), (5, 64, 512), (2, 17, 100)] {
        let mut c = Case::new(90);
        let x = c.input(m * d);
        let codebook = c.weight(&[v, d], 1.0);
        let ids = c.output(m + 2);
        c.b.op(Op::VqNearest { x, codebook, ids, ids_offset: 1, m, d, v });
        c.check(&format!("vq {m} {d} {v}"), EXACT, &[&[]]);
    }
    let mut c = Case::new(91);
    let x = c.input_of(vec![1.0, 2.0]);
    c.weights.insert("book", &[3, 2], vec![5.0, 5.0, 1.0, 3.0, 1.0, 1.0]).unwrap();
    let codebook = c.b.weight("book", &[3, 2]);
    let ids = c.output(1);
    c.b.op(Op::VqNearest { x, codebook, ids, ids_offset: 0, m: 1, d: 2, v: 3 });
    c.check("vq tie", EXACT, &[&[]]);
}

#[test]
fn sampling_draws_what_the_reference_draws() {
    for v in [1, 2, 17, 512] {
        for (temperature, top_p) in [(0.0, 1.0), (1.0, 1.0), (0.8, 0.9), (1.5, 0.3), (0.05, 0.95), (1.0, 0.0)] {
            let mut c = Case::new(100);
            let logits = c.input(v);
            let (seed, step) = (c.b.param("seed"), c.b.param("step"));
            let (t, p) = (c.b.param("temperature"), c.b.param("top_p"));
            let ids = c.output(3);
            for slot in 0..3 {
                c.b.op(Op::Sample {
                    logits,
                    ids,
                    ids_offset: slot,
                    v,
                    temperature: Scalar::Param(t),
                    top_p: Scalar::Param(p),
                    seed: Step::Param(seed),
                    step: Step::Param(step),
                    slot: slot as u32,
                });
            }
            let runs: Vec<[u32; 4]> = (0..40).map(|i| [7 + i / 20, i, f32::to_bits(temperature), f32::to_bits(top_p)]).collect();
            let runs: Vec<&[u32]> = runs.iter().map(|r| &r[..]).collect();
            c.check(&format!("sample {v} {temperature} {top_p}"), EXACT, &runs);
        }
    }
}

#[test]
fn noise_is_the_same_everywhere() {
    for len in [1, 15, 16, 17, 1000, 40_000] {
        let mut c = Case::new(110);
        let y = c.output(len);
        let step = c.b.param("step");
        c.b.op(Op::Noise { y, len, seed: Step::Const(5), step: Step::Param(step) });
        c.check(&format!("noise {len}"), NOISE, &[&[0], &[1], &[u32::MAX]]);
    }
}

#[test]
fn axpby_and_copy_in_part_and_in_place() {
    for len in [1, 15, 16, 17, 100_003] {
        for act in ACTS {
            let mut c = Case::new(120);
            let (x, z) = (c.input(len), c.input(len));
            let y = c.output(len + 5);
            let a = Scalar::Param(c.b.param("a"));
            c.b.op(Op::Copy { x, x_offset: 0, y, y_offset: 5, len });
            c.b.op(Op::Axpby { a, x: y, b: Scalar::Const(-1.25), z, y, len, act });
            c.b.op(Op::Axpby { a, x, b: Scalar::Const(0.5), z: y, y, len, act: Act::None });
            c.b.op(Op::Copy { x, x_offset: len / 2, y, y_offset: 0, len: len / 3 + 1 });
            c.check(&format!("axpby {len} {act:?}"), POINTWISE, &[&[2.5f32.to_bits()]]);
        }
    }
}

#[test]
fn gru_cell_keeps_its_state_from_run_to_run() {
    for n in [1, 15, 16, 17, 128, 300] {
        let mut c = Case::new(125);
        let (gates_x, gates_h) = (c.input(3 * n), c.input(3 * n));
        let h = c.b.buf("h", n, BufKind::State);
        let y = c.output(n);
        c.b.op(Op::GruCell { gates_x, gates_h, h, n });
        c.b.op(Op::Copy { x: h, x_offset: 0, y, y_offset: 0, len: n });
        c.check(&format!("gru {n}"), POINTWISE, &[&[], &[], &[]]);
    }
}

#[test]
fn rearrangements_move_every_value() {
    for (h, w, ch, r) in [(1, 1, 1, 2), (2, 3, 5, 2), (3, 2, 16, 3), (4, 5, 17, 2), (32, 32, 4, 4), (64, 64, 20, 2)] {
        let mut c = Case::new(130);
        let x = c.input(h * w * ch);
        let (up, concat) = (c.output(4 * h * w * ch), c.output(h * w * (2 * ch + 3)));
        c.b.op(Op::Upsample2x { x, y: up, h, w, c: ch });
        let extra = c.input(h * w * 3);
        c.b.op(Op::Concat { xs: vec![(x, ch), (extra, 3), (x, ch)], y: concat, hw: h * w });
        let big = c.input(h * r * w * r * ch);
        let (deep, back) = (c.output(h * r * w * r * ch), c.output(h * r * w * r * ch));
        c.b.op(Op::SpaceToDepth { x: big, y: deep, h: h * r, w: w * r, c: ch, r });
        c.b.op(Op::DepthToSpace { x: deep, y: back, h, w, c: ch, r });
        c.check(&format!("rearrange {h} {w} {ch} {r}"), EXACT, &[&[]]);
    }
}
