"""Times the shipped networks in ONNX Runtime and PyTorch, beside the engine's own kernels, in one run with the same threads.

    pip install -e ".[runtimes]"
    python -m odori_training.other_runtimes --odori ../target/release/odori --threads 2 -o OUT

The networks are exported from the weights in models/. Every runtime must give PyTorch's f32 result before it is timed. Then
`odori bench kernels --others` verifies and times the engine's and writes OUT.json and OUT.html with all of them.

A motion step here draws its tokens by the largest of logit / temperature + given Gumbel noise, without the engine's top-p,
and gets its noise ready made: less work than the engine does.
"""

import argparse
import json
import subprocess
import tempfile
import time
import unittest.mock
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from . import renderer_model
from . import skeleton as sk
from .eval_motion import load_motion
from .motion_step import MEAN_STEPS, attend
from .renderer_model import KEYPOINTS, TOKEN_SLOTS, TOKEN_STEPS, Denoiser, DenoiserConfig
from .train_motion import load_tokenizer

WARM_UP, RUNS = 10, 100


class DenoiseStep(nn.Module):
    """One denoise step of one frame whose ring is full: (x, warp, prev, validity, kp, ids, facing, ref k, v, past k, v) to
    (x0, flow, mask, k, v). The warp is not moved by the flow, which the engine does besides."""

    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self, x, warp, prev, validity, kp, ids, facing, ref_k, ref_v, past_k, past_v):
        with unittest.mock.patch.object(renderer_model, "displace", lambda warp, flow: warp):
            out, (k, v) = self.model(x, torch.ones(1), warp, validity, prev, kp, ids, facing, (ref_k, ref_v), 1, (past_k, past_v))
        return out.x0, out.flow, out.mask, k[:, -1], v[:, -1]


class MotionStepOnce(nn.Module):
    """One motion step in the steady state: temporal pass over full rings, ten slots of the depth pass, two poses."""

    def __init__(self, motion, tokenizer):
        super().__init__()
        self.motion, self.tokenizer = motion, tokenizer

    def forward(self, prev, music, beat, style, control, music_mean, motion_mean, gumbel, z_past, *rings):
        m = self.motion
        rings = list(rings)
        past = m.lookup(prev).flatten(1)
        music_mean = music_mean + (music - music_mean) / MEAN_STEPS
        motion_mean = motion_mean + (past - motion_mean) / MEAN_STEPS
        style = m.style[style]
        x = (m.token_in(past) + m.beat_in(torch.cat([beat, control], -1)) + style)[:, None]
        mu = m.music_norm(m.music_in(music))[:, None]
        sinks = torch.stack([m.sink_music(music_mean), m.sink_motion(motion_mean) + style], dim=1)
        rows = []

        def push(attn, y):
            k, v = attn.split(attn.k(y)), attn.split(attn.v(y))
            rows.extend([k, v])
            return torch.cat([rings.pop(0), k], dim=2), torch.cat([rings.pop(0), v], dim=2)

        for layer in m.layers:
            a = layer.attn
            y, s = layer.norm1(x), layer.norm1(sinks)
            k, v = push(a, y)
            x = x + attend(a, a.split(a.q(y)), k, v, (a.split(a.k(s)), a.split(a.v(s))))
            if layer.cross is not None:
                c = layer.cross.inner
                k, v = push(c, mu)
                x = x + attend(c, c.split(c.q(layer.norm_cross(x))), k, v)
            x = x + layer.fc2(F.gelu(layer.fc1(layer.norm2(x)), approximate="tanh"))
        h = m.depth_in(m.norm(x)[:, 0])
        # The depth pass keeps its keys and values, as the engine's does.
        past_kv = [None] * len(m.depth_layers)
        codes, code = [], None
        for q in range(m.cfg.slots):
            row = m.depth_slot[q] + h if q == 0 else m.depth_slot[q] + h + m.depth_tokens[q - 1](code)
            y = row[:, None]
            for n, layer in enumerate(m.depth_layers):
                a = layer.attn
                z = layer.norm1(y)
                k, v = a.split(a.k(z)), a.split(a.v(z))
                if past_kv[n] is not None:
                    k, v = torch.cat([past_kv[n][0], k], dim=2), torch.cat([past_kv[n][1], v], dim=2)
                past_kv[n] = (k, v)
                y = y + attend(a, a.split(a.q(z)), k, v)
                y = y + layer.fc2(F.gelu(layer.fc1(layer.norm2(y)), approximate="tanh"))
            logits = m.heads[q](m.depth_norm(y)[:, 0])
            token = (logits / 0.9 + gumbel[:, q]).argmax(-1)
            code = m.codes[q][token]
            codes.append(code)
        z = torch.stack(codes, dim=1).unflatten(1, (5, -1)).sum(2).flatten(1)[:, None]
        d = self.tokenizer.decoder
        y = F.silu(d.inp(torch.cat([z_past, z], dim=1).flatten(1)))
        for block in d.blocks:
            y = block(y)
        frames = d.out(y).unflatten(-1, (2, -1)) * self.tokenizer.std + self.tokenizer.mean
        return frames, z, *rows


def load_denoiser():
    with safe_open(sk.ROOT / "models/denoiser.safetensors", "pt") as f:
        config = json.loads(f.metadata()["config"])
        state = {k: f.get_tensor(k).float() for k in f.keys()}
    known = DenoiserConfig().as_dict()
    config = {k: v for k, v in config.items() if k in known}
    config["channels"] = tuple(config["channels"])
    model = Denoiser(DenoiserConfig(**config)).eval()
    model.load_state_dict(state)
    return model


def networks():
    """(name, module, inputs) of every network that is compared."""
    g = torch.Generator().manual_seed(1)

    def rand(*shape):
        return torch.rand(*shape, generator=g)

    denoiser = load_denoiser()
    cfg = denoiser.cfg
    for size in (128, 192, 256):
        p, c = (size // cfg.patch // 4) ** 2, cfg.channels[-1]
        inputs = [rand(1, 4, size, size) for _ in range(3)] + [rand(1, 1, size, size), rand(1, KEYPOINTS, 4) * size / cfg.patch]
        inputs += [torch.randint(0, cfg.codes, (1, TOKEN_STEPS, TOKEN_SLOTS), generator=g), rand(1, cfg.facing) * 2 - 1, rand(1, p, c), rand(1, p, c)]
        inputs += [rand(1, cfg.ring - 1, p, c) for _ in range(2)]
        yield f"denoiser {size}, 1 step", DenoiseStep(denoiser), inputs
    motion, tokenizer = load_motion().eval(), load_tokenizer().eval()
    mc = motion.cfg
    inputs = [torch.randint(0, mc.codes, (1, mc.slots), generator=g), rand(1, mc.music_dim), rand(1, mc.beat_dim), torch.zeros(1, dtype=torch.long), rand(1, mc.control_dim)]
    gumbel = -torch.log(-torch.log(rand(1, mc.slots, mc.codes).clamp(1e-6, 1 - 1e-6)))
    inputs += [rand(1, mc.music_dim), rand(1, mc.slots * mc.latent), gumbel, rand(1, tokenizer.cfg.decoder_window - 1, 5 * mc.latent)]
    for layer in motion.layers:
        for attn, rows in [(layer.attn, mc.window - 1), (layer.cross and layer.cross.inner, mc.music_window - 1)]:
            if attn:
                inputs += [rand(1, mc.heads, rows, mc.width // mc.heads) - 0.5 for _ in range(2)]
    yield "motion step", MotionStepOnce(motion, tokenizer), inputs


def timed(run):
    ms = []
    for n in range(WARM_UP + RUNS):
        start = time.perf_counter()
        run()
        if n >= WARM_UP:
            ms.append(1e3 * (time.perf_counter() - start))
    return ms


def in_onnxruntime(module, inputs, folder, threads):
    """A call that runs the network once, and its outputs."""
    import onnxruntime as ort

    path = str(Path(folder) / "network.onnx")
    torch.onnx.export(module, tuple(inputs), path, dynamo=True, external_data=False, verbose=False)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    kept = []
    for port, value in zip(session.get_inputs(), inputs, strict=True):
        kept.append(ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(value.numpy())))
        binding.bind_ortvalue_input(port.name, kept[-1])
    for port in session.get_outputs():
        binding.bind_output(port.name, "cpu")
    session.run_with_iobinding(binding)
    return lambda: session.run_with_iobinding(binding), [torch.from_numpy(o) for o in binding.copy_outputs_to_cpu()]


def difference(outputs, wanted):
    return max(float((o - w).abs().max() / w.abs().max().clamp(min=1e-6)) for o, w in zip(outputs, wanted, strict=True))


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--odori", type=Path, required=True, help="the binary to compare with")
    p.add_argument("--threads", type=int, default=torch.get_num_threads())
    p.add_argument("--compile", action="store_true", help="also PyTorch compiled by its inductor; takes minutes")
    p.add_argument("-o", "--output", required=True, help="where odori bench writes NAME.json and NAME.html")
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder, torch.no_grad():
        for name, module, inputs in networks():
            with FlopCounterMode(display=False) as counter:
                wanted = module(*inputs)
            runs = {"PyTorch f32": (lambda m=module, i=inputs: m(*i), wanted)}
            runs["ONNX Runtime f32"] = in_onnxruntime(module, inputs, folder, a.threads)
            if a.compile:
                fast = torch.compile(module, mode="max-autotune-no-cudagraphs")
                runs["PyTorch compiled f32"] = (lambda f=fast, i=inputs: f(*i), fast(*inputs))
            for runtime, (run, outputs) in runs.items():
                error = difference(outputs, wanted)
                if error > 1e-3:
                    raise SystemExit(f"{runtime} gives another {name}: off by {error:.1e}")
                ms = timed(run)
                rows.append({"runtime": runtime, "network": name, "threads": a.threads, "flops": float(counter.get_total_flops()), "ms": ms, "error": error})
                print(f"{name:20} {runtime:22} median {np.median(ms):7.2f} ms, off by {error:.1e}")
        others = Path(folder) / "others.json"
        others.write_text(json.dumps(rows))
        subprocess.run([str(a.odori), "bench", "kernels", "--threads", str(a.threads), "--others", str(others), "-o", a.output], check=True)


if __name__ == "__main__":
    main()
