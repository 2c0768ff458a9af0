"""The few-step diffusion denoiser: a conditional U-Net in pixel space on 4x4 patches.

It moves the warped reference by a flow field and adds a correction, so identity is copied, not imagined, and what is
moved stays sharp. Only operations of the engine's `Plan` appear between inputs and heads: engine/src/denoiser/network.rs
records the same list, name by name; the flow is applied by the host.

Where the ideas come from: AdaIN from a 16-frame window of pose tokens (X-Dancer, arXiv 2502.17414), the
Dynamics-Adapter, a residual of self-attention with its own query and output projections over the reference
(X-Dyna, arXiv 2501.10021), causal attention over the model's own previous frames in a ring (Self-Forcing).

Axis letters: B clips, F frames of a clip, N = B * F, W working size in pixels (128, 192 or 256),
G = W / 4 patches a side, P = (W / 16)^2 positions of the coarsest level, C channels, D cond width.
Colours are premultiplied RGBA in 0..1. Images here are (N, C, H, W); the engine's buffers are (H, W, C).
"""

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

KEYPOINTS = 24
TOKEN_STEPS = 8
TOKEN_SLOTS = 10


@dataclass(frozen=True)
class DenoiserConfig:
    patch: int = 4
    channels: tuple = (48, 96, 160)
    groups: int = 8
    heads: int = 4
    cond: int = 192  # D
    token_dim: int = 32
    codes: int = 512  # id 512 is "no token"
    time_dim: int = 32
    ring: int = 4  # frames of the temporal attention, the present one among them
    keypoint_sigma: float = 1.2  # in patches
    depth_scale: float = 0.4  # metres of depth that count as one
    facing: int = 18  # X and Z axes of hips, chest and head
    flow_cell: int = 2  # working pixels a side that share a vector of the flow, itself in these cells
    flow_limit: float = 6.0  # patches
    noise: float = 0.15  # spread of the noise that is added to the warp at t = 1
    dead_zone: float = 0.02  # corrections smaller than this are left out
    unsure: float = 0.1  # a change of alpha below this is not believed,
    sure: float = 0.5  # one above this is, wholly; half-believed silhouettes look like smoke

    def as_dict(self):
        d = asdict(self)
        d["channels"] = list(self.channels)
        return d


def space_to_depth(x, r: int):
    """(N, C, H, W) to (N, r*r*C, H/r, W/r), channel (dy * r + dx) * C + c."""
    n, c, h, w = x.shape
    return x.view(n, c, h // r, r, w // r, r).permute(0, 3, 5, 1, 2, 4).reshape(n, r * r * c, h // r, w // r)


def depth_to_space(x, r: int):
    """The inverse of `space_to_depth`."""
    n, c, h, w = x.shape
    c //= r * r
    return x.view(n, r, r, c, h, w).permute(0, 3, 4, 1, 5, 2).reshape(n, c, h * r, w * r)


def time_features(t, dim: int):
    """(N,) in 0..1 to (N, dim): sines then cosines of pi * 2^(i/2) * t."""
    w = math.pi * torch.pow(2.0, torch.arange(dim // 2, dtype=torch.float32, device=t.device) * 0.5)
    a = t[:, None].float() * w[None]
    return torch.cat([a.sin(), a.cos()], dim=-1)


def keypoint_maps(kp, rows: int, columns: int, cfg: DenoiserConfig):
    """(N, 24, 4) x, y in patches, confidence and depth in metres, to (N, 48, rows, columns): Gaussians, first times
    confidence, then times depth."""

    def bell(n, centre):
        at = torch.arange(n, dtype=torch.float32, device=kp.device) + 0.5
        return torch.exp(-((at - centre) ** 2) / (2 * cfg.keypoint_sigma**2))

    down, across = bell(rows, kp[..., 1:2])[..., :, None], bell(columns, kp[..., 0:1])[..., None, :]
    depth = (kp[..., 3] / cfg.depth_scale).clamp(-2, 2)
    return torch.cat([strength[..., None, None] * down * across for strength in (kp[..., 2], depth)], dim=1)


def displace(image, flow):
    """image (N, C, H, W) moved by flow (N, 2, H / cell, W / cell), x then y in cells: what is shown at p comes from
    p + flow(p). The flow is enlarged bilinearly; beyond the picture there is nothing."""
    h, w = image.shape[-2:]
    f = F.interpolate(flow.float(), size=(h, w), mode="bilinear", align_corners=False)
    return displace_full(image, f * (w / flow.shape[-1]))


def displace_full(image, flow):
    """The same with the flow (N, 2, H, W) in pixels of the image."""
    h, w = image.shape[-2:]
    y, x = torch.meshgrid(torch.arange(h, device=image.device) + 0.5, torch.arange(w, device=image.device) + 0.5, indexing="ij")
    at = torch.stack([(x + flow[:, 0]) * (2 / w) - 1, (y + flow[:, 1]) * (2 / h) - 1], dim=-1)
    return F.grid_sample(image, at, mode="bilinear", padding_mode="zeros", align_corners=False)


class Norm(nn.Module):
    """Group normalisation; with `cond`, AdaIN: gain + scale and bias + shift from the condition vector."""

    def __init__(self, c: int, groups: int, cond: int = 0):
        super().__init__()
        self.groups = groups
        self.gain = nn.Parameter(torch.ones(c))
        self.bias = nn.Parameter(torch.zeros(c))
        self.ada = nn.Linear(cond, 2 * c) if cond else None
        if cond:
            nn.init.zeros_(self.ada.weight)
            nn.init.zeros_(self.ada.bias)

    def forward(self, x, cond=None):
        if self.ada is None:
            return F.group_norm(x, self.groups, self.gain.to(x.dtype), self.bias.to(x.dtype), 1e-5)
        scale, shift = self.ada(cond).chunk(2, dim=-1)
        y = F.group_norm(x, self.groups, None, None, 1e-5)
        gain = (self.gain + scale)[:, :, None, None].to(x.dtype)
        bias = (self.bias + shift)[:, :, None, None].to(x.dtype)
        return torch.addcmul(bias, y, gain)


class Block(nn.Module):
    """x + conv2(silu(adain(conv1(silu(norm(x))))))"""

    def __init__(self, c: int, cfg: DenoiserConfig, cond: bool = True):
        super().__init__()
        self.norm1 = Norm(c, cfg.groups)
        self.conv1 = nn.Conv2d(c, c, 3, padding=1)
        self.norm2 = Norm(c, cfg.groups, cfg.cond if cond else 0)
        self.conv2 = nn.Conv2d(c, c, 3, padding=1)
        nn.init.zeros_(self.conv2.weight)
        nn.init.zeros_(self.conv2.bias)

    def forward(self, x, cond=None):
        h = self.conv1(F.silu(self.norm1(x)))
        return x + self.conv2(F.silu(self.norm2(h, cond)))


class ReferenceEncoder(nn.Module):
    """(N, 4, W, W) reference to keys and values (N, P, C) of the coarsest level. Run once per avatar."""

    def __init__(self, cfg: DenoiserConfig):
        super().__init__()
        c0, c1, c2 = cfg.channels
        self.patch = cfg.patch
        self.stem = nn.Conv2d(4 * cfg.patch**2, c0, 1)
        self.block0 = Block(c0, cfg, cond=False)
        self.down0 = nn.Conv2d(c0, c1, 3, stride=2, padding=1)
        self.block1 = Block(c1, cfg, cond=False)
        self.down1 = nn.Conv2d(c1, c2, 3, stride=2, padding=1)
        self.block2 = Block(c2, cfg, cond=False)
        self.norm = Norm(c2, cfg.groups)
        self.k = nn.Linear(c2, c2)
        self.v = nn.Linear(c2, c2)

    def forward(self, ref):
        h = self.block0(self.stem(space_to_depth(ref, self.patch)))
        h = self.block1(self.down0(h))
        h = self.norm(self.block2(self.down1(h)))
        h = h.flatten(2).transpose(1, 2)  # (N, P, C)
        return self.k(h), self.v(h)


def split_heads(x, heads: int):
    """(N, T, C) to (N, heads, T, C / heads)."""
    n, t, c = x.shape
    return x.view(n, t, heads, c // heads).transpose(1, 2)


class CoarseAttention(nn.Module):
    """Self-attention, and beside it two residuals that start at zero: the reference's, and that of previous frames.

    All three read the same normalised features. The temporal one attends, at each position on its own, over the
    last `ring` frames; a row not yet written takes no part.
    """

    def __init__(self, cfg: DenoiserConfig):
        super().__init__()
        c = cfg.channels[-1]
        self.heads, self.ring = cfg.heads, cfg.ring
        self.norm = Norm(c, cfg.groups)
        for name in ("q", "k", "v", "out", "ref_q", "ref_out", "time_q", "time_k", "time_v", "time_out"):
            setattr(self, name, nn.Linear(c, c))
        for layer in (self.out, self.ref_out, self.time_out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def temporal(self, y, frames: int, past):
        """y (B * F, P, C); past: keys and values (B, R, P, C) of earlier frames, oldest first, or None."""
        n, p, c = y.shape
        b = n // frames
        q, k, v = self.time_q(y), self.time_k(y), self.time_v(y)
        k, v = k.view(b, frames, p, c), v.view(b, frames, p, c)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
        r = k.shape[1]
        rows = torch.arange(r - frames, r)[:, None]
        keys = torch.arange(r)[None]
        mask = (keys <= rows) & (keys > rows - self.ring)  # (F, R)

        def positions(z):  # (B, T, P, C) to (B * P, heads, T, dim)
            return z.transpose(1, 2).reshape(b * p, -1, self.heads, c // self.heads).transpose(1, 2)

        o = F.scaled_dot_product_attention(positions(q.view(b, frames, p, c)), positions(k), positions(v), attn_mask=mask)
        o = o.transpose(1, 2).reshape(b, p, frames, c).transpose(1, 2).reshape(n, p, c)
        keep = self.ring - 1
        return o, (k[:, -keep:], v[:, -keep:])

    def forward(self, x, ref_kv, frames: int, past):
        n, c, h, w = x.shape
        y = self.norm(x).flatten(2).transpose(1, 2)  # (N, P, C)

        def attend(q, k, v):
            o = F.scaled_dot_product_attention(split_heads(q, self.heads), split_heads(k, self.heads), split_heads(v, self.heads))
            return o.transpose(1, 2).reshape(n, h * w, c)

        o = self.out(attend(self.q(y), self.k(y), self.v(y)))
        o = o + self.ref_out(attend(self.ref_q(y), *ref_kv))
        t, present = self.temporal(y, frames, past)
        o = o + self.time_out(t)
        return x + o.transpose(1, 2).reshape(n, c, h, w), present


class Output(NamedTuple):
    """What a denoise step gives: the picture (N, 4, W, W), the moved warp it corrects (N, 4, W, W), the flow that moved it
    (N, 2, W / cell, W / cell) in cells, and the logit of the mask (N, 1, W, W)."""

    x0: torch.Tensor
    moved: torch.Tensor
    flow: torch.Tensor
    mask: torch.Tensor


class Denoiser(nn.Module):
    def __init__(self, cfg: DenoiserConfig = DenoiserConfig()):
        super().__init__()
        self.cfg = cfg
        c0, c1, c2 = cfg.channels
        pp = cfg.patch**2
        self.reference = ReferenceEncoder(cfg)
        self.tokens = nn.Embedding(TOKEN_SLOTS * (cfg.codes + 1), cfg.token_dim)
        nn.init.normal_(self.tokens.weight, std=0.1)
        self.cond1 = nn.Linear(TOKEN_STEPS * TOKEN_SLOTS * cfg.token_dim + cfg.time_dim + cfg.facing, cfg.cond)
        self.cond2 = nn.Linear(cfg.cond, cfg.cond)
        self.stem = nn.Conv2d((4 + 4 + 4 + 1) * pp + 2 * KEYPOINTS, c0, 1)
        self.enc0 = Block(c0, cfg)
        self.down0 = nn.Conv2d(c0, c1, 3, stride=2, padding=1)
        self.enc1 = Block(c1, cfg)
        self.down1 = nn.Conv2d(c1, c2, 3, stride=2, padding=1)
        self.mid0 = Block(c2, cfg)
        self.attention = CoarseAttention(cfg)
        self.mid1 = Block(c2, cfg)
        self.up1 = nn.Conv2d(c2, c1, 1)
        self.dec1a = Block(c1, cfg)
        self.dec1b = Block(c1, cfg)
        self.up0 = nn.Conv2d(c1, c0, 1)
        self.dec0a = Block(c0, cfg)
        self.dec0b = Block(c0, cfg)
        self.head_norm = Norm(c0, cfg.groups)
        self.rgba = nn.Conv2d(c0, 4 * pp, 3, padding=1)
        self.mask = nn.Conv2d(c0, pp, 3, padding=1)
        self.flow = nn.Conv2d(c0, 2 * (cfg.patch // cfg.flow_cell) ** 2, 3, padding=1)
        for layer in (self.rgba, self.mask, self.flow):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        nn.init.constant_(self.mask.bias, 3.0)  # lends the warp's detail until it learns where not to

    def condition(self, t, ids, facing):
        """t (N,), ids (N, 8, 10) with 512 for "no token", facing (N, 18), to (N, D)."""
        slot = torch.arange(TOKEN_SLOTS, device=ids.device) * (self.cfg.codes + 1)
        e = self.tokens(ids + slot).flatten(1)
        h = F.silu(self.cond1(torch.cat([e, time_features(t, self.cfg.time_dim), facing], dim=-1)))
        return F.silu(self.cond2(h))

    def forward(self, x, t, warp, validity, prev, kp, ids, facing, ref_kv, frames: int = 1, past=None):
        """One denoise step of N = B * F frames (the frames of a clip adjacent).

        x, warp, prev (N, 4, W, W); t (N,); validity (N, 1, W, W); kp (N, 24, 4) in patches; ids (N, 8, 10);
        facing (N, 18); ref_kv: keys and values (N, P, C); past: see `CoarseAttention.temporal`.
        Returns an `Output`, and the keys and values to keep.
        """
        cfg = self.cfg
        r = cfg.patch
        cond = self.condition(t, ids, facing)
        maps = keypoint_maps(kp, x.shape[-2] // r, x.shape[-1] // r, cfg)
        h = torch.cat([space_to_depth(x, r), space_to_depth(warp, r), space_to_depth(prev, r), space_to_depth(validity, r), maps], dim=1)
        h0 = self.enc0(self.stem(h.contiguous(memory_format=torch.channels_last)), cond)  # (N, C0, G, G)
        h1 = self.enc1(self.down0(h0), cond)  # (N, C1, G/2, G/2)
        h = self.mid0(self.down1(h1), cond)  # (N, C2, G/4, G/4)
        h, present = self.attention(h, ref_kv, frames, past)
        h = self.mid1(h, cond)
        h = F.interpolate(self.up1(h), scale_factor=2, mode="nearest") + h1
        h = self.dec1b(self.dec1a(h, cond), cond)
        h = F.interpolate(self.up0(h), scale_factor=2, mode="nearest") + h0
        h = self.dec0b(self.dec0a(h, cond), cond)
        h = F.silu(self.head_norm(h))
        cells = r // cfg.flow_cell  # a patch side
        limit = cfg.flow_limit * cells
        flow = depth_to_space(self.flow(h).float(), cells).clamp(-limit, limit)
        moved = displace(warp, flow)
        x0 = moved + depth_to_space(self.rgba(h), r).to(warp.dtype)
        return Output(x0, moved, flow, depth_to_space(self.mask(h), r).float()), present


def step_times(steps: int):
    """The times of an n-step sampling: 1, (n-1)/n, ... 1/n; the last prediction is the result."""
    return [1.0 - i / steps for i in range(steps)]


def clamp_premultiplied(x):
    """Alpha to 0..1, then colours to 0..alpha. (N, 4, H, W)"""
    a = x[:, 3:4].clamp(0, 1)
    return torch.cat([torch.minimum(x[:, :3].clamp(min=0), a), a], dim=1)


def settle(x0, moved, cfg: DenoiserConfig):
    """The picture that is shown: corrections of the moved warp shrunk by the dead zone, so that what is right stays
    untouched, and the silhouette changed only where the network is sure; colours keep their own alpha."""
    d = x0 - moved
    x = clamp_premultiplied(moved + torch.sign(d) * (d.abs() - cfg.dead_zone).clamp(min=0))
    was, now = moved[:, 3:4], x[:, 3:4]
    u = (((now - was).abs() - cfg.unsure) / (cfg.sure - cfg.unsure)).clamp(0, 1)
    alpha = was + (now - was) * u * u * (3 - 2 * u)
    colour = torch.where(now > 1 / 64, x[:, :3] / now.clamp(min=1 / 64), moved[:, :3] / was.clamp(min=1 / 64))
    return clamp_premultiplied(torch.cat([colour * alpha, alpha], dim=1))


def sample(model, noise, steps: int, frame: dict, prev, ref_kv, past=None):
    """n denoise steps of one frame for N clips: deterministic flow from the noisy warp; `noise` is standard. `frame`
    holds warp, validity, kp, ids and facing as `Denoiser.forward` takes them.

    Returns the settled picture, the output of the last step, and the new past.
    """
    x = frame["warp"] + model.cfg.noise * noise
    times = step_times(steps)
    for i, t in enumerate(times):
        tt = torch.full((x.shape[0],), t, device=x.device)
        out, present = model(x, tt, frame["warp"], frame["validity"], prev, frame["kp"], frame["ids"], frame["facing"], ref_kv, 1, past)
        if i + 1 < steps:
            r = times[i + 1] / t
            x = r * x + (1 - r) * out.x0
    return settle(out.x0.float(), out.moved, model.cfg), out, present


def compose(x0, out: Output, warp_full):
    """The contract's Compose: the picture x0 at W, and the fine detail of the warp at S, moved by the same flow."""
    size = warp_full.shape[-2:]

    def up(z):
        return F.interpolate(z, size=size, mode="bilinear", align_corners=False)

    cell = size[-1] / out.flow.shape[-1]
    detail = displace_full(warp_full, up(out.flow) * cell) - up(out.moved)
    return clamp_premultiplied(up(x0) + up(torch.sigmoid(out.mask)) * detail)


def flops(cfg: DenoiserConfig = DenoiserConfig(), size: int = 128) -> int:
    """Multiply-adds counted as two, of one denoise step: convolutions and linear layers."""
    model = Denoiser(cfg)
    total = [0]

    def count(m, _inp, out):
        if isinstance(m, nn.Conv2d):
            total[0] += 2 * out.numel() * m.in_channels * m.kernel_size[0] ** 2
        elif isinstance(m, nn.Linear):
            total[0] += 2 * out.numel() * m.in_features

    c = cfg.channels[-1]
    p = (size // 16) ** 2
    ref = torch.zeros(1, p, c)
    hooks = [m.register_forward_hook(count) for m in model.modules()]
    img = torch.zeros(1, 4, size, size)
    with torch.no_grad():
        model(img, torch.ones(1), img, img[:, :1], img, torch.zeros(1, 24, 4), torch.zeros(1, 8, 10, dtype=torch.long), torch.zeros(1, cfg.facing), (ref, ref))
    for h in hooks:
        h.remove()
    return total[0]
