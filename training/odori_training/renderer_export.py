"""Writes models/denoiser.safetensors (f16) and the golden vectors that hold the engine to this code.

    python -m odori_training.renderer_export --checkpoint OUT/denoiser.pt --models ../models --version 1

The golden file holds, for the f16-rounded weights in f32 arithmetic, what three frames give at 2, 1 and 4 steps on
inputs that both sides compute (`golden_inputs`), thinned to stay small.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import save_file

from .renderer_model import Denoiser, DenoiserConfig, sample

GOLDEN_STEPS = (2, 1, 4)
GOLDEN_STRIDE = 13
SEED = 7


def pcg3d(seed, step, lane):
    """Jarzynski and Olano's hash, as in kernels/src/noise.rs, for a uint32 array of lanes; returns three words."""
    lane = np.asarray(lane, np.uint32)
    with np.errstate(over="ignore"):
        x, y, z = (v * np.uint32(1664525) + np.uint32(1013904223) for v in (np.full_like(lane, seed), np.full_like(lane, step), lane))
        for last in (False, True):
            x = x + y * z
            y = y + z * x
            z = z + x * y
            if not last:
                x, y, z = (v ^ (v >> np.uint32(16)) for v in (x, y, z))
    return x, y, z


def unit(word):
    return ((word >> np.uint32(8)).astype(np.float64) + 0.5) * 2.0**-24


def gaussian(seed, step, count):
    x, y, _ = pcg3d(seed, step, np.arange(count))
    return (np.sqrt(-2 * np.log(unit(x))) * np.cos(2 * np.pi * unit(y))).astype(np.float32)


def uniform(seed, step, count):
    return unit(pcg3d(seed, step, np.arange(count))[0]).astype(np.float32)


def golden_inputs(frame: int, size: int, codes: int):
    """What the engine's golden test computes too: a premultiplied picture, validity, keypoints with
    confidence and depth, token ids (8, 10), facing (18)."""
    warp = uniform(100, frame, size * size * 4).reshape(size, size, 4)
    warp[..., :3] *= warp[..., 3:]
    validity = uniform(101, frame, size * size).reshape(size, size)
    depth = uniform(104, frame, 24) - 0.5
    kp = np.concatenate([uniform(102, frame, 24 * 3).reshape(24, 3), depth[:, None]], axis=1)
    ids = np.floor(uniform(103, frame, 80) * codes).astype(np.int64).reshape(8, 10)
    facing = 2 * uniform(105, frame, 18) - 1
    return warp, validity, kp, ids, facing


def image(a):
    return torch.from_numpy(np.ascontiguousarray(a)).permute(2, 0, 1)[None]


@torch.no_grad()
def golden(model, size: int = 128):
    ref = golden_inputs(1000, size, 1)[0]
    ref_kv = model.reference(image(ref))
    noise = image(gaussian(SEED, 0, size * size * 4).reshape(size, size, 4))
    prev, past, out = torch.zeros_like(noise), None, {}
    for f, steps in enumerate(GOLDEN_STEPS):
        warp, validity, kp, ids, facing = golden_inputs(f, size, model.cfg.codes)
        kp[:, :2] *= size / model.cfg.patch
        rest = {k: torch.from_numpy(v)[None] for k, v in (("kp", kp), ("ids", ids), ("facing", facing))}
        prev, last, past = sample(model, noise, steps, {"warp": image(warp), "validity": image(validity[..., None]), **rest}, prev, ref_kv, past)
        thin = lambda z: z[0].permute(1, 2, 0).reshape(-1)[::GOLDEN_STRIDE].contiguous().numpy()
        out[f"rgba{f}"], out[f"mask{f}"] = thin(prev), thin(torch.sigmoid(last.mask))
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--checkpoint", required=True)
    p.add_argument("--models", required=True)
    p.add_argument("--version", required=True)
    a = p.parse_args()
    state = torch.load(a.checkpoint, weights_only=True)
    config = DenoiserConfig().as_dict() | state["config"]
    config["channels"] = tuple(config["channels"])
    model = Denoiser(DenoiserConfig(**config)).eval()
    model.load_state_dict(state["average"])
    tensors = {k: v.half().numpy() for k, v in model.state_dict().items()}
    for name, t in tensors.items():
        if not np.isfinite(t).all():
            raise SystemExit(f"{name} does not fit f16")
    models = Path(a.models)
    (models / "golden").mkdir(parents=True, exist_ok=True)
    meta = {"config": json.dumps(model.cfg.as_dict()), "version": a.version}
    save_file(tensors, models / "denoiser.safetensors", metadata=meta)
    model.load_state_dict({k: torch.from_numpy(v).float() for k, v in tensors.items()})
    save_file(golden(model), models / "golden" / "denoiser.safetensors", metadata={"version": a.version})
    size = (models / "denoiser.safetensors").stat().st_size
    print(f"denoiser {a.version}: {sum(t.size for t in tensors.values()) / 1e6:.2f} M parameters, {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
