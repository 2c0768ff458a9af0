//! Records one step of the motion model as a plan: the temporal pass, the depth transformer with its
//! sampling, and the decoder, so that a step is one run on any backend.
//!
//! The arithmetic is that of `training/odori_training/motion_model.py`, line for line; golden vectors hold the two
//! together. Axis letters: D width, Q slots, V codes, L latent, G streams.
//!
//! A stream is the network told a style. Two of them dance the same tokens in lockstep, one told the style that is asked for and one told
//! none; a code is drawn from the logits of the second, moved towards the first's and beyond (classifier-free guidance, Ho and
//! Salimans 2021). What does not depend on style they share, and every weight is read once for both.

use odori_kernels::plan::{Act, Buf, BufKind, HeadShape, LinearShape, Op, Param, Plan, PlanBuilder, Scalar, Step};
use odori_kernels::{PlanError, Weights};

use super::config::{FRAMES_PER_STEP, MotionConfig, PARTS, TokenizerConfig};
use crate::pose::FRAME_DIM;

/// Share of a new step in the running means that the sinks see: a memory of about 8 s.
const MEAN_RATE: f32 = 1.0 / 120.0;

/// What a run reads and writes.
#[derive(Clone, Copy, Debug)]
pub struct Ports {
    /// (music_dim) four feature hops, oldest first.
    pub music: Buf,
    /// (beat_dim + control_dim)
    pub beat: Buf,
    /// (G) style id of every stream: the one that is asked for, then free.
    pub style: Buf,
    /// (Q * L) the running mean of what was danced, which a sink shows; and the mean that it is drawn towards.
    pub motion_mean: Buf,
    pub anchor: Buf,
    /// (Q) the previous step's tokens going in, this step's coming out.
    pub tokens: Buf,
    /// (Q) the tokens to take instead of drawing them, if built `forced`.
    pub forced: Buf,
    /// (Q * V) logits of every slot.
    pub logits: Buf,
    /// (Q) 0, 1, 2, ...: written once.
    pub slot_ids: Buf,
    /// (2 * FRAME_DIM) normalised features.
    pub frames: Buf,
}

/// Order of the run's parameters.
#[derive(Clone, Copy, Debug)]
pub struct Params {
    pub step: Param,
    pub seed: Param,
    pub temperature: Param,
    pub top_p: Param,
    /// How far the logits go from the free stream's to the style's, 1 all the way; and what is left to 1.
    pub guidance: Param,
    pub rest: Param,
    /// Share of the way to the anchor that the running mean goes in a step; and what is left to 1.
    pub anchor: Param,
    pub own: Param,
}

pub struct Network {
    pub plan: Plan,
    pub ports: Ports,
}

struct Layer<'a> {
    name: String,
    d: usize,
    heads: HeadShape,
    ring: usize,
    step: Step,
    alibi: bool,
    /// Streams: rows of x.
    rows: usize,
    /// (G + 1, D) sinks, before the layer's norm: stream g sees rows g and g + 1.
    sinks: Option<Buf>,
    /// (D) the music token, its ring length and the run's step.
    music: Option<(Buf, usize)>,
    rings: &'a LayerRings,
}

/// Keys and values of a layer, a ring a stream; the depth layers write theirs anew for every step.
struct LayerRings {
    own: Vec<(Buf, Buf)>,
    music: Option<(Buf, Buf)>,
}

fn rings(b: &mut PlanBuilder, name: &str, rows: usize, len: usize, music_len: Option<usize>, d: usize) -> LayerRings {
    let mut ring = |kind: String, len: usize| b.buf(format!("{name}.{kind}"), len * d, BufKind::State);
    LayerRings {
        own: (0..rows).map(|g| (ring(format!("k{g}"), len), ring(format!("v{g}"), len))).collect(),
        music: music_len.map(|m| (ring("music_k".into(), m), ring("music_v".into(), m))),
    }
}

fn linear(m: usize, k: usize, n: usize) -> LinearShape {
    LinearShape { m, k, n }
}

fn norm(b: &mut PlanBuilder, name: &str, x: Buf, m: usize, d: usize) -> Buf {
    let gain = b.weight(format!("{name}.weight"), &[d]);
    let y = b.tmp(m * d);
    b.op(Op::RmsNorm { x, gain, y, m, d });
    y
}

/// Rows `from..from + m` of `x (rows, D)`; `x` itself where that is all of it.
fn part(b: &mut PlanBuilder, x: Buf, rows: usize, from: usize, m: usize, d: usize) -> Buf {
    if m == rows {
        return x;
    }
    let y = b.tmp(m * d);
    b.op(Op::Copy { x, x_offset: from * d, y, y_offset: 0, len: m * d });
    y
}

/// Rows `each` of width D under one another.
fn stacked(b: &mut PlanBuilder, each: &[Buf], d: usize) -> Buf {
    if let [only] = each {
        return *only;
    }
    let y = b.tmp(each.len() * d);
    for (g, &x) in each.iter().enumerate() {
        b.op(Op::Copy { x, x_offset: 0, y, y_offset: g * d, len: d });
    }
    y
}

/// `x (G, D)` through attention, music attention and the feed-forward; gives the new `x`.
fn layer(b: &mut PlanBuilder, l: &Layer, x: Buf) -> Buf {
    let Layer { name, d, heads, ring, step, alibi, rows, .. } = l;
    let (d, step, t, rows) = (*d, *step, *ring, *rows);
    let n = norm(b, &format!("{name}.norm1"), x, rows, d);
    let square = linear(rows, d, d);
    let q = b.linear(&format!("{name}.attn.q"), n, square, false, Act::None, None); // (G, D)
    let k = b.linear(&format!("{name}.attn.k"), n, square, false, Act::None, None);
    let v = b.linear(&format!("{name}.attn.v"), n, square, false, Act::None, None);
    let sinks = l.sinks.map(|sinks| {
        let n = norm(b, &format!("{name}.norm1"), sinks, rows + 1, d);
        let shape = linear(rows + 1, d, d);
        (
            b.linear(&format!("{name}.attn.k"), n, shape, false, Act::None, None), // (G + 1, D)
            b.linear(&format!("{name}.attn.v"), n, shape, false, Act::None, None),
        )
    });
    let s = if sinks.is_some() { 2 } else { 0 };
    let attended: Vec<Buf> = (0..rows)
        .map(|g| {
            let [q, k, v] = [q, k, v].map(|x| part(b, x, rows, g, 1, d));
            let (ring_k, ring_v) = l.rings.own[g];
            b.op(Op::RingWrite { x: k, ring: ring_k, t, width: d, step });
            b.op(Op::RingWrite { x: v, ring: ring_v, t, width: d, step });
            let sinks = sinks.map(|(k, v)| (part(b, k, rows + 1, g, 2, d), part(b, v, rows + 1, g, 2, d)));
            let y = b.tmp(d);
            b.op(Op::RingAttention { q, ring_k, ring_v, sinks, y, t, s, shape: *heads, step, alibi: *alibi });
            y
        })
        .collect();
    let a = stacked(b, &attended, d);
    let mut x = b.linear(&format!("{name}.attn.o"), a, square, false, Act::None, Some(x));
    if let (Some((music, t)), Some((ring_k, ring_v))) = (l.music, l.rings.music) {
        let n = norm(b, &format!("{name}.norm_cross"), x, rows, d);
        let inner = format!("{name}.cross.inner");
        let q = b.linear(&format!("{inner}.q"), n, square, false, Act::None, None);
        let k = b.linear(&format!("{inner}.k"), music, linear(1, d, d), false, Act::None, None);
        let v = b.linear(&format!("{inner}.v"), music, linear(1, d, d), false, Act::None, None);
        b.op(Op::RingWrite { x: k, ring: ring_k, t, width: d, step });
        b.op(Op::RingWrite { x: v, ring: ring_v, t, width: d, step });
        let attended: Vec<Buf> = (0..rows)
            .map(|g| {
                let q = part(b, q, rows, g, 1, d);
                let y = b.tmp(d);
                b.op(Op::RingAttention { q, ring_k, ring_v, sinks: None, y, t, s: 0, shape: *heads, step, alibi: true });
                y
            })
            .collect();
        let a = stacked(b, &attended, d);
        x = b.linear(&format!("{inner}.o"), a, square, false, Act::None, Some(x));
    }
    let n = norm(b, &format!("{name}.norm2"), x, rows, d);
    let h = b.linear(&format!("{name}.fc1"), n, linear(rows, d, 4 * d), true, Act::Gelu, None); // (G, 4D)
    b.linear(&format!("{name}.fc2"), h, linear(rows, 4 * d, d), true, Act::None, Some(x)) // (G, D)
}

/// Keeps `mean += (x - mean) * MEAN_RATE`.
fn running_mean(b: &mut PlanBuilder, mean: Buf, x: Buf, len: usize) -> Buf {
    b.op(Op::Axpby {
        a: Scalar::Const(MEAN_RATE),
        x,
        b: Scalar::Const(1.0 - MEAN_RATE),
        z: mean,
        y: mean,
        len,
        act: Act::None,
    });
    mean
}

impl Network {
    /// Records the step, of one stream or of two. With `forced`, tokens are taken from `Ports::forced` instead of being drawn.
    ///
    /// # Errors
    /// If a recorded operation does not fit; that is a bug or a config that passed its check wrongly.
    pub fn record(cfg: &MotionConfig, tok: &TokenizerConfig, streams: usize, forced: bool) -> Result<Network, PlanError> {
        let mut b = PlanBuilder::new();
        let p = Params {
            step: b.param("step"),
            seed: b.param("seed"),
            temperature: b.param("temperature"),
            top_p: b.param("top_p"),
            guidance: b.param("guidance"),
            rest: b.param("1 - guidance"),
            anchor: b.param("anchor"),
            own: b.param("1 - anchor"),
        };
        let (q, v) = (cfg.slots, cfg.codes);
        let ports = Ports {
            music: b.buf("music", cfg.music_dim, BufKind::External),
            beat: b.buf("beat", cfg.beat_dim + cfg.control_dim, BufKind::External),
            style: b.buf("style", streams, BufKind::External),
            motion_mean: b.buf("motion_mean", q * cfg.latent, BufKind::State),
            anchor: b.buf("anchor", q * cfg.latent, BufKind::External),
            tokens: b.buf("tokens", q, BufKind::External),
            forced: b.buf("forced", q, BufKind::External),
            logits: b.buf("logits", q * v, BufKind::External),
            slot_ids: b.buf("slot_ids", q, BufKind::External),
            frames: b.buf("frames", FRAMES_PER_STEP * FRAME_DIM, BufKind::External),
        };
        let h = temporal(&mut b, cfg, &ports, p, streams); // (G, D)
        depth(&mut b, cfg, &ports, p, streams, h, forced);
        decoder(&mut b, tok, q, &ports);
        Ok(Network { plan: b.finish()?, ports })
    }
}

fn temporal(b: &mut PlanBuilder, cfg: &MotionConfig, ports: &Ports, p: Params, rows: usize) -> Buf {
    let (d, q) = (cfg.width, cfg.slots);
    let code_len = q * cfg.latent;
    let codes = b.weight("codes", &[q * (cfg.codes + 1), cfg.latent]);
    let prev = b.tmp(code_len); // (Q, L)
    b.op(Op::Embed { ids: ports.tokens, ids_offset: 0, table: codes, row_stride: cfg.codes + 1, y: prev, m: q, d: cfg.latent, accumulate: false });
    let motion_mean = running_mean(b, ports.motion_mean, prev, code_len);
    b.op(Op::Axpby { a: Scalar::Param(p.anchor), x: ports.anchor, b: Scalar::Param(p.own), z: motion_mean, y: motion_mean, len: code_len, act: Act::None });
    let music_mean = b.buf("music_mean", cfg.music_dim, BufKind::State);
    let music_mean = running_mean(b, music_mean, ports.music, cfg.music_dim);

    let style = b.weight("style", &[cfg.styles, d]);
    let x = b.linear("token_in", prev, linear(1, code_len, d), true, Act::None, None);
    let x = b.linear("beat_in", ports.beat, linear(1, cfg.beat_dim + cfg.control_dim, d), true, Act::None, Some(x)); // (1, D)
    let mut x = stacked(b, &vec![x; rows], d); // (G, D)
    b.op(Op::Embed { ids: ports.style, ids_offset: 0, table: style, row_stride: 0, y: x, m: rows, d, accumulate: true });
    let m = b.linear("music_in", ports.music, linear(1, cfg.music_dim, d), true, Act::None, None);
    let m = norm(b, "music_norm", m, 1, d);

    // The music's between the streams' own: each stream sees two rows that lie side by side.
    let sink_music = b.linear("sink_music", music_mean, linear(1, cfg.music_dim, d), true, Act::None, None);
    let mut sinks = Vec::new();
    for g in 0..rows {
        let own = b.linear("sink_motion", motion_mean, linear(1, code_len, d), true, Act::None, None);
        b.op(Op::Embed { ids: ports.style, ids_offset: g, table: style, row_stride: 0, y: own, m: 1, d, accumulate: true });
        sinks.push(own);
        if g == 0 {
            sinks.push(sink_music);
        }
    }
    let sinks = stacked(b, &sinks, d); // (G + 1, D)

    let heads = HeadShape { heads: cfg.heads, dim: d / cfg.heads };
    for i in 0..cfg.layers {
        let name = format!("layers.{i}");
        let music = cfg.cross_layers.contains(&i).then_some((m, cfg.music_window));
        let rings = rings(b, &name, rows, cfg.window, music.map(|_| cfg.music_window), d);
        let l = Layer { name, d, heads, ring: cfg.window, step: Step::Param(p.step), alibi: true, rows, sinks: Some(sinks), music, rings: &rings };
        x = layer(b, &l, x);
    }
    norm(b, "norm", x, rows, d)
}

fn depth(b: &mut PlanBuilder, cfg: &MotionConfig, ports: &Ports, p: Params, rows: usize, h: Buf, forced: bool) {
    let (dd, slots, v, latent) = (cfg.depth_width, cfg.slots, cfg.codes, cfg.latent);
    let base = b.linear("depth_in", h, linear(rows, cfg.width, dd), true, Act::None, None); // (G, Dd)
    let heads = HeadShape { heads: cfg.depth_heads, dim: dd / cfg.depth_heads };
    let rings: Vec<_> = (0..cfg.depth_layers).map(|i| rings(b, &format!("depth_layers.{i}"), rows, slots, None, dd)).collect();
    let slot_table = b.weight("depth_slot", &[slots, dd]);
    let codes = b.weight("codes", &[slots * (v + 1), latent]);
    for q in 0..slots {
        let mut own = b.tmp(dd); // (1, Dd)
        b.op(Op::Embed { ids: ports.slot_ids, ids_offset: q, table: slot_table, row_stride: 0, y: own, m: 1, d: dd, accumulate: false });
        if q > 0 {
            // Rows past q - 1 still hold the previous step's tokens; only row q - 1 is read.
            let all = b.tmp(slots * latent);
            b.op(Op::Embed { ids: ports.tokens, ids_offset: 0, table: codes, row_stride: v + 1, y: all, m: slots, d: latent, accumulate: false });
            let code = b.tmp(latent);
            b.op(Op::Copy { x: all, x_offset: (q - 1) * latent, y: code, y_offset: 0, len: latent });
            own = b.linear(&format!("depth_tokens.{}", q - 1), code, linear(1, latent, dd), true, Act::None, Some(own));
        }
        let mut x = stacked(b, &vec![own; rows], dd); // (G, Dd)
        b.op(Op::Axpby { a: Scalar::Const(1.0), x: base, b: Scalar::Const(1.0), z: x, y: x, len: rows * dd, act: Act::None });
        for (i, rings) in rings.iter().enumerate() {
            let l = Layer { name: format!("depth_layers.{i}"), d: dd, heads, ring: slots, step: Step::Const(q as u32), alibi: false, rows, sinks: None, music: None, rings };
            x = layer(b, &l, x);
        }
        let n = norm(b, "depth_norm", x, rows, dd);
        let each = b.linear(&format!("heads.{q}"), n, linear(rows, dd, v), true, Act::None, None); // (G, V)
        let mut logits = part(b, each, rows, 0, 1, v);
        if rows > 1 {
            let free = part(b, each, rows, 1, 1, v);
            let guided = b.tmp(v);
            b.op(Op::Axpby { a: Scalar::Param(p.guidance), x: logits, b: Scalar::Param(p.rest), z: free, y: guided, len: v, act: Act::None });
            logits = guided;
        }
        b.op(Op::Copy { x: logits, x_offset: 0, y: ports.logits, y_offset: q * v, len: v });
        if forced {
            b.op(Op::Copy { x: ports.forced, x_offset: q, y: ports.tokens, y_offset: q, len: 1 });
        } else {
            b.op(Op::Sample {
                logits,
                ids: ports.tokens,
                ids_offset: q,
                v,
                temperature: Scalar::Param(p.temperature),
                top_p: Scalar::Param(p.top_p),
                seed: Step::Param(p.seed),
                step: Step::Param(p.step),
                slot: q as u32,
            });
        }
    }
}

/// The tokenizer's shared decoder over a window of steps, oldest first, zeros before the start.
fn decoder(b: &mut PlanBuilder, tok: &TokenizerConfig, slots: usize, ports: &Ports) {
    let (w, h) = (tok.decoder_window, tok.decoder_hidden);
    let len = slots * tok.latent; // the codes of a step, (Q, L)
    let books = b.weight("tokenizer.codebooks", &[slots * tok.codes, tok.latent]);
    let now = b.tmp(len);
    b.op(Op::Embed { ids: ports.tokens, ids_offset: 0, table: books, row_stride: tok.codes, y: now, m: slots, d: tok.latent, accumulate: false });
    let window = b.buf("decoder_window", w * len, BufKind::State);
    if w > 1 {
        let rest = b.tmp((w - 1) * len);
        b.op(Op::Copy { x: window, x_offset: len, y: rest, y_offset: 0, len: (w - 1) * len });
        b.op(Op::Copy { x: rest, x_offset: 0, y: window, y_offset: 0, len: (w - 1) * len });
    }
    b.op(Op::Copy { x: now, x_offset: 0, y: window, y_offset: (w - 1) * len, len });
    let mut x = b.linear("tokenizer.decoder.inp", window, linear(1, w * len, h), true, Act::Silu, None);
    for i in 0..2 {
        let name = format!("tokenizer.decoder.blocks.{i}");
        let n = norm(b, &format!("{name}.norm"), x, 1, h);
        let y = b.linear(&format!("{name}.fc1"), n, linear(1, h, h), true, Act::Silu, None);
        x = b.linear(&format!("{name}.fc2"), y, linear(1, h, h), true, Act::None, Some(x));
    }
    let y = b.linear("tokenizer.decoder.out", x, linear(1, h, FRAMES_PER_STEP * FRAME_DIM), true, Act::None, None);
    b.op(Op::Copy { x: y, x_offset: 0, y: ports.frames, y_offset: 0, len: FRAMES_PER_STEP * FRAME_DIM });
}

/// The two models' tensors under the names that the plan uses: tables flattened to rows, and the decoder's first
/// layer widened so that it reads every code of a part instead of their sum.
///
/// # Errors
/// Names the tensor that is missing or has another shape than the config says.
pub fn merge_weights(cfg: &MotionConfig, tok: &TokenizerConfig, motion: Weights, tokenizer: &Weights) -> Result<Weights, super::MotionError> {
    let mut out = motion;
    let (q, l, w) = (cfg.slots, cfg.latent, tok.decoder_window);
    let fail = |name: &str, want: &[usize], got: Option<&[usize]>| super::MotionError::Tensor {
        name: name.to_owned(),
        want: want.to_vec(),
        got: got.map(<[usize]>::to_vec),
    };
    let fetch = |from: &Weights, name: &str, want: &[usize]| -> Result<Vec<f32>, super::MotionError> {
        match from.get(name) {
            Some((dims, data)) if dims == want => Ok(data.to_vec()),
            other => Err(fail(name, want, other.map(|(dims, _)| dims))),
        }
    };
    let codes = fetch(&out, "codes", &[q, cfg.codes + 1, l])?;
    out.insert("codes", &[q * (cfg.codes + 1), l], codes)?;
    let books = fetch(tokenizer, "codebooks", &[q, tok.codes, l])?;
    out.insert("tokenizer.codebooks", &[q * tok.codes, l], books)?;

    let narrow = fetch(tokenizer, "decoder.inp.weight", &[tok.decoder_hidden, w * PARTS * l])?;
    let mut wide = Vec::with_capacity(narrow.len() * tok.residual);
    for part in narrow.chunks_exact(l) {
        for _ in 0..tok.residual {
            wide.extend_from_slice(part);
        }
    }
    out.insert("tokenizer.decoder.inp.weight", &[tok.decoder_hidden, w * q * l], wide)?;
    let h = tok.decoder_hidden;
    let mut copy = |name: &str, dims: &[usize]| -> Result<(), super::MotionError> {
        let data = fetch(tokenizer, name, dims)?;
        out.insert(&format!("tokenizer.{name}"), dims, data)?;
        Ok(())
    };
    copy("decoder.inp.bias", &[h])?;
    for i in 0..2 {
        copy(&format!("decoder.blocks.{i}.norm.weight"), &[h])?;
        for fc in ["fc1", "fc2"] {
            copy(&format!("decoder.blocks.{i}.{fc}.weight"), &[h, h])?;
            copy(&format!("decoder.blocks.{i}.{fc}.bias"), &[h])?;
        }
    }
    copy("decoder.out.weight", &[FRAMES_PER_STEP * FRAME_DIM, h])?;
    copy("decoder.out.bias", &[FRAMES_PER_STEP * FRAME_DIM])?;
    Ok(out)
}
