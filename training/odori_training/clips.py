"""Loads training/out/motion/clips.safetensors, and resamples features in time. Makes no choices of its own."""

import json
from dataclasses import dataclass

import numpy as np
from safetensors import safe_open

from . import skeleton as sk

# Columns that are 6D rotations, in blocks of six, and the unit pair of the yaw.
SIX = np.array([list(range(*LAY.indices(162))) for name, LAY in sk.LAYOUT.items() if name in sk.BONES or name == "hips"])


@dataclass
class Clips:
    frames: np.ndarray  # (N, 162)
    start: np.ndarray  # (K+1,)
    style: np.ndarray  # (K,)
    test: np.ndarray  # (K,) bool
    mirror: np.ndarray  # (K,) bool
    names: list[str]
    styles: list[str]

    def __len__(self):
        return len(self.names)

    def __getitem__(self, k):
        return self.frames[self.start[k] : self.start[k + 1]]


def load(path) -> Clips:
    with safe_open(path, "np") as f:
        g, meta = f.get_tensor, f.metadata()
        return Clips(g("frames"), g("clip_start"), g("clip_style"), g("clip_test").astype(bool), g("clip_mirror").astype(bool),
                     json.loads(meta["names"]), json.loads(meta["styles"]))  # fmt: skip


def tidy(x):
    """Makes rotations and the yaw orthonormal again after interpolation, contacts and the like 0..1."""
    x = np.array(x, np.float32)
    blocks = sk.from_6d(x[:, SIX])
    x[:, SIX] = sk.to_6d(blocks)
    yaw = x[:, sk.LAYOUT["yaw"]]
    x[:, sk.LAYOUT["yaw"]] = yaw / (np.linalg.norm(yaw, axis=-1, keepdims=True) + 1e-9)
    return x


def sample(frames, at):
    """Features at fractional frame positions (n,): linear, rotations made orthonormal again."""
    at = np.clip(at, 0, len(frames) - 1)
    i = np.minimum(at.astype(int), len(frames) - 2)
    u = (at - i)[:, None].astype(np.float32)
    return tidy(frames[i] * (1 - u) + frames[i + 1] * u)
