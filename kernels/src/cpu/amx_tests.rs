//! Tiles against sums in f64, and a plan's layers together against the same apart.

use super::*;
use crate::cpu::CpuExecutor;
use crate::cpu::pack::{self, Form, PackedLayers};
use crate::plan::{BufKind, LinearShape, Op, PlanBuilder};
use crate::{Weights, noise};

fn round(v: f32) -> f64 {
    f64::from(half::bf16::from_f32(v).to_f32())
}

/// A convolution in f64 of inputs and weights that were rounded to bf16.
fn rounded(shape: ConvShape, x: &[f32], w: &[f32], bias: &[f32], residual: Option<&[f32]>, act: Act) -> Vec<f64> {
    let taps = shape.k * shape.k;
    let mut out = Vec::new();
    for (oy, ox) in (0..shape.h_out()).flat_map(|y| (0..shape.w_out()).map(move |x| (y, x))) {
        for co in 0..shape.c_out {
            let mut sum = f64::from(bias.get(co).copied().unwrap_or(0.0));
            for tap in 0..taps {
                let (iy, ix) = ((oy * shape.stride + tap / shape.k).wrapping_sub(shape.k / 2), (ox * shape.stride + tap % shape.k).wrapping_sub(shape.k / 2));
                if iy < shape.h && ix < shape.w {
                    sum += (0..shape.c_in).map(|ci| round(x[(iy * shape.w + ix) * shape.c_in + ci]) * round(w[(co * shape.c_in + ci) * taps + tap])).sum::<f64>();
                }
            }
            let v = if act == Act::Sigmoid { 1.0 / (1.0 + (-sum).exp()) } else { sum };
            out.push(v + residual.map_or(0.0, |r| f64::from(r[out.len()])));
        }
    }
    out
}

#[test]
fn sums_are_those_of_the_rounded_values_at_every_edge() {
    if !present(Level::best()) {
        return eprintln!("skipped: this processor has no AMX, or the system keeps it");
    }
    let pool = Pool::new(2);
    let values = |len: usize, seed: u32| -> Vec<f32> { (0..len as u32).map(|i| noise::gaussian(seed, 0, i) as f32).collect() };
    let conv = |c_in, c_out, h, w, k, stride| ConvShape { h, w, c_in, c_out, k, stride };
    // Every tile: blocks of 1 to 3 vectors and more, channels that end inside a vector, depths that end inside a tile, lines that end after
    // one or two tiles, strides, pictures smaller than a tile, rows enough for two threads.
    let shapes = [
        conv(48, 48, 5, 8, 3, 1),
        conv(16, 16, 3, 13, 3, 1),
        conv(4, 8, 6, 28, 3, 1),
        conv(160, 160, 8, 8, 3, 1),
        conv(33, 36, 7, 9, 3, 1),
        conv(48, 96, 9, 11, 3, 2),
        conv(32, 64, 16, 1, 3, 1),
        conv(20, 80, 5, 80, 3, 2),
        conv(256, 48, 1, 400, 1, 1),
        conv(48, 20, 1, 17, 1, 1),
        conv(7, 33, 1, 16, 1, 1),
        conv(24, 16, 9, 21, 1, 2),
        conv(96, 64, 40, 40, 3, 1),
    ];
    for (n, shape) in shapes.into_iter().enumerate() {
        assert!(fits(shape), "case {n}");
        let taps = shape.k * shape.k;
        let (x, w, b, r) = (values(shape.x_len(), 1), values(shape.c_out * shape.c_in * taps, 2), values(shape.c_out, 3), values(shape.y_len(), 4));
        let bias = (n % 3 != 2).then_some(b.as_slice());
        let residual = n.is_multiple_of(2).then_some(r.as_slice());
        let act = if n % 4 == 3 { Act::Sigmoid } else { Act::None };
        let layer = pack::Layer {
            level: Level::Avx512,
            weight: "w".into(),
            bias: None,
            n: shape.c_out,
            c_in: shape.c_in,
            taps,
            max_nv: max_nv(shape.c_out),
            form: Form::Tiles,
        };
        let packed = PackedLayers::default().get(layer, &w, bias);
        // What another layer left there must not matter.
        let mut room = pack::lines(scratch(shape).div_ceil(2));
        pack::as_floats(&mut room).fill(1e30);
        let mut y = vec![f32::NAN; shape.y_len()];
        let layer = Layer {
            packed: &packed,
            shape,
            act,
            x: x.as_ptr(),
            residual: residual.map_or(std::ptr::null(), <[f32]>::as_ptr),
            y: y.as_mut_ptr(),
            scratch: room.as_mut_ptr().cast(),
            laid: false,
        };
        // SAFETY: the tile unit is present; everything is as large as the shape says.
        unsafe { layer.run(&pool) };
        let expected = rounded(shape, &x, &w, bias.unwrap_or(&[]), residual, act);
        let most = expected.iter().fold(0.0f64, |m, v| m.max(v.abs()));
        for (i, (a, e)) in y.iter().zip(&expected).enumerate() {
            assert!((f64::from(*a) - e).abs() < 1e-4 * most, "case {n}, value {i}: {a}, {e} expected");
        }
    }
}

/// A norm whose result only layers read goes straight to them, and layers of one input share it: the plan must give what it gives without.
#[test]
fn norms_and_layers_that_share_an_input_give_what_they_give_apart() {
    if !present(Level::best()) {
        return eprintln!("skipped: this processor has no AMX, or the system keeps it");
    }
    let (grid, c) = (9, 48);
    let mut weights = Weights::new();
    let mut value = |name: &str, dims: &[usize], seed, scale: f64| {
        let data = (0..dims.iter().product::<usize>() as u32).map(|i| (noise::gaussian(seed, 0, i) * scale) as f32).collect();
        weights.insert(name, dims, data).unwrap();
    };
    for (n, c_out) in [(1, 16), (2, 48), (3, 20)] {
        value(&format!("{n}.weight"), &[c_out, c, 3, 3], n, 0.05);
        value(&format!("{n}.bias"), &[c_out], 10 + n, 1.0);
    }
    value("linear.weight", &[33, c], 20, 0.15);
    value("linear.bias", &[33], 21, 1.0);
    value("gain", &[c], 22, 1.0);
    value("bias", &[c], 23, 0.5);
    let plan = |sixteen: bool| {
        let mut b = PlanBuilder::new();
        if sixteen {
            b.bears_sixteen_bits();
        }
        let x = b.buf("x", grid * grid * c, BufKind::External);
        let norm = |b: &mut PlanBuilder, x, act| {
            let (gain, bias, y) = (b.weight("gain", &[c]), b.weight("bias", &[c]), b.tmp(grid * grid * c));
            b.op(Op::GroupNorm { x, gain, bias, scale_shift: None, y, hw: grid * grid, c, groups: 8, act });
            y
        };
        let conv = |c_out, k| ConvShape { h: grid, w: grid, c_in: c, c_out, k, stride: 1 };
        let mut outs = Vec::new();
        let mut keep = |b: &mut PlanBuilder, x, len| {
            let y = b.buf("y", len, BufKind::External);
            b.op(Op::Copy { x, x_offset: 0, y, y_offset: 0, len });
            outs.push((y, len));
        };
        // Only layers read it: two convolutions.
        let h = norm(&mut b, x, Act::Silu);
        let (first, second) = (b.conv("1", h, conv(16, 3), Act::None, None), b.conv("2", h, conv(48, 3), Act::None, None));
        keep(&mut b, first, grid * grid * 16);
        // A residual reads it as well.
        let h = norm(&mut b, second, Act::Silu);
        let third = b.conv("2", h, conv(48, 3), Act::None, Some(h));
        // A linear layer wants it laid out otherwise than the convolution before it.
        let h = norm(&mut b, third, Act::None);
        let fourth = b.conv("3", h, conv(20, 3), Act::Sigmoid, None);
        let fifth = b.linear("linear", h, LinearShape { m: grid * grid, k: c, n: 33 }, true, Act::None, None);
        keep(&mut b, fourth, grid * grid * 20);
        keep(&mut b, fifth, grid * grid * 33);
        // In place.
        let (gain, bias) = (b.weight("gain", &[c]), b.weight("bias", &[c]));
        b.op(Op::GroupNorm { x: third, gain, bias, scale_shift: None, y: third, hw: grid * grid, c, groups: 8, act: Act::Silu });
        let sixth = b.conv("1", third, conv(16, 3), Act::None, None);
        keep(&mut b, sixth, grid * grid * 16);
        (b.finish().unwrap(), x, outs)
    };
    let input: Vec<f32> = (0..(grid * grid * c) as u32).map(|i| noise::gaussian(30, 0, i) as f32).collect();
    let run = |sixteen: bool| -> Vec<Vec<f32>> {
        let (plan, x, outs) = plan(sixteen);
        let mut executor = CpuExecutor::new(&Pool::new(2), &plan, &weights).unwrap();
        executor.write(x, &input);
        // Twice, for what a run leaves behind must not matter to the next.
        executor.run(&[]);
        executor.run(&[]);
        outs.iter().map(|&(y, len)| executor.slice(y)[..len].to_vec()).collect()
    };
    for (n, (short, full)) in run(true).iter().zip(&run(false)).enumerate() {
        let most = full.iter().fold(0.0f32, |m, v| m.max(v.abs()));
        for (s, f) in short.iter().zip(full) {
            assert!((s - f).abs() < 0.02 * most, "output {n}: {s}, {f} in f32, of {most} at most");
        }
    }
}
