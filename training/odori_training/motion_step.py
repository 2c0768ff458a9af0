"""Streams the pose transformer one step at a time, as the engine does: a ring of keys and values, two sinks, running means.

Equal to `MotionTransformer.forward` over the same inputs (see `check`). Knows no audio: features and beat vectors come in.
"""

import torch
import torch.nn.functional as F

from .motion_model import MotionTransformer

MEAN_STEPS = 120


class Ring:
    """Keys and values (B, H, n, D/H) of the last `window` steps."""

    def __init__(self, window: int):
        self.window, self.k, self.v = window, None, None

    def push(self, k, v):
        self.k = k if self.k is None else torch.cat([self.k, k], dim=2)[:, :, -self.window :]
        self.v = v if self.v is None else torch.cat([self.v, v], dim=2)[:, :, -self.window :]
        return self.k, self.v


def attend(attn, q, k, v, sinks=None):
    """q (B,H,1,d) of the newest step over k, v (B,H,n,d); sinks = (k, v) (B,H,S,d) without distance."""
    scale = q.shape[-1] ** -0.5
    n = k.shape[2]
    dist = torch.arange(n - 1, -1, -1, dtype=q.dtype, device=q.device)
    score = q @ k.transpose(-1, -2) * scale - attn.slopes[:, None, None] * dist
    if sinks is not None:
        score = torch.cat([q @ sinks[0].transpose(-1, -2) * scale, score], dim=-1)
        v = torch.cat([sinks[1], v], dim=2)
    return attn.o((score.softmax(-1) @ v).transpose(1, 2).flatten(2))


class MotionStep:
    """State of one dance (or of B in parallel). `step` gives h (B, D); `sample` or `logits` go on from there."""

    def __init__(self, model: MotionTransformer, batch: int = 1):
        self.model, cfg = model, model.cfg
        self.rings = [Ring(cfg.window) for _ in model.layers]
        self.music_rings = [Ring(cfg.music_window) if layer.cross is not None else None for layer in model.layers]
        self.music_mean = torch.zeros(batch, cfg.music_dim)
        self.motion_mean = torch.zeros(batch, cfg.slots * cfg.latent)

    def step(self, prev, music, beat, style, control):
        """prev (B,Q), music (B,324), beat (B,8), style (B,), control (B,1) to h (B,D)."""
        m = self.model
        past = m.lookup(prev).flatten(1)  # (B, Q * latent)
        self.music_mean = self.music_mean + (music - self.music_mean) / MEAN_STEPS
        self.motion_mean = self.motion_mean + (past - self.motion_mean) / MEAN_STEPS
        style = m.style[style]
        x = (m.token_in(past) + m.beat_in(torch.cat([beat, control], -1)) + style)[:, None]  # (B, 1, D)
        mu = m.music_norm(m.music_in(music))[:, None]
        sinks = m.sinks(self.music_mean, self.motion_mean, style)  # (B, 2, D)
        for layer, ring, music_ring in zip(m.layers, self.rings, self.music_rings, strict=True):
            a = layer.attn
            y, s = layer.norm1(x), layer.norm1(sinks)
            k, v = ring.push(a.split(a.k(y)), a.split(a.v(y)))
            x = x + attend(a, a.split(a.q(y)), k, v, (a.split(a.k(s)), a.split(a.v(s))))
            if layer.cross is not None:
                c = layer.cross.inner
                k, v = music_ring.push(c.split(c.k(mu)), c.split(c.v(mu)))
                x = x + attend(c, c.split(c.q(layer.norm_cross(x))), k, v)
            x = x + layer.fc2(F.gelu(layer.fc1(layer.norm2(x)), approximate="tanh"))
        return m.norm(x)[:, 0]


@torch.no_grad()
def check(model, steps=160, seed=0):
    """Largest difference of the logits between step and forward over more steps than the window."""
    g = torch.Generator().manual_seed(seed)
    cfg = model.cfg
    tokens = torch.randint(0, cfg.codes, (1, steps, cfg.slots), generator=g)
    prev = torch.cat([torch.full((1, 1, cfg.slots), cfg.codes), tokens[:, :-1]], 1)
    music, beat = torch.rand(1, steps, cfg.music_dim, generator=g), torch.rand(1, steps, cfg.beat_dim, generator=g)
    style, control = torch.ones(1, steps, dtype=torch.long), torch.rand(1, steps, 1, generator=g)
    from .train_motion import running_mean

    whole = model(prev, tokens, music=music, beat=beat, style=style, control=control, music_mean=running_mean(music), motion_mean=running_mean(model.lookup(prev).flatten(2)))
    state, worst = MotionStep(model), 0.0
    for t in range(steps):
        h = state.step(prev[:, t], music[:, t], beat[:, t], style[:, t], control[:, t])
        worst = max(worst, float((model.depth(h, tokens[:, t]) - whole[:, t]).abs().max()))
    return worst
