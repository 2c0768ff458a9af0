"""The motion models: a per-part causal VQ-VAE tokenizer and a windowed causal pose transformer.

After X-Dancer (arXiv 2502.17414): five body parts with a codebook each and a shared decoder; a temporal
pass per step, then a small depth transformer over the parts, body first, then head, then hands.
Different, to be live: everything is causal, music enters by zero-initialised cross-attention over the last
two seconds, and the beat phase is that of the time at which the pose will be seen.

Axis letters: B batch, T steps (15 a second, two 30 Hz frames each), P parts, R residual depth, Q = P * R slots,
D width, V codes. The engine runs `step`; `forward` is the same arithmetic over a whole sequence.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

# Feature widths per part and per 30 Hz frame; see training/README.md for the layout.
PART_DIMS = {"upper": 58, "lower": 67, "head": 13, "left_hand": 12, "right_hand": 12}
PARTS = tuple(PART_DIMS)  # the order in which the depth transformer predicts them
FRAME_DIM = sum(PART_DIMS.values())  # 162
FRAMES_PER_STEP = 2


@dataclass(frozen=True)
class TokenizerConfig:
    latent: int = 64
    codes: int = 512
    residual: int = 2
    hidden: int = 256  # encoder
    decoder_hidden: int = 512
    encoder_window: int = 3  # steps, causal
    decoder_window: int = 4  # steps, causal
    whole: bool = False  # one codebook for the whole body, to see what the parts buy

    @property
    def parts(self) -> dict:
        return {"whole": FRAME_DIM} if self.whole else PART_DIMS

    @property
    def slots(self) -> int:
        return len(self.parts) * self.residual


class ResidualMlp(nn.Module):
    """x + W2 silu(W1 norm(x))"""

    def __init__(self, d: int):
        super().__init__()
        self.norm = nn.RMSNorm(d, eps=1e-6)
        self.fc1 = nn.Linear(d, d)
        self.fc2 = nn.Linear(d, d)

    def forward(self, x):
        return x + self.fc2(F.silu(self.fc1(self.norm(x))))


def causal_windows(x, window: int):
    """(B, T, C) to (B, T, window * C): each step with those before it, oldest first, zeros before the start."""
    pad = F.pad(x, (0, 0, window - 1, 0))
    return torch.cat([pad[:, i : i + x.shape[1]] for i in range(window)], dim=-1)


class PartEncoder(nn.Module):
    """(B, T, 2 * dim) normalised features to (B, T, latent)."""

    def __init__(self, dim: int, cfg: TokenizerConfig):
        super().__init__()
        self.window = cfg.encoder_window
        self.inp = nn.Linear(self.window * FRAMES_PER_STEP * dim, cfg.hidden)
        self.block = ResidualMlp(cfg.hidden)
        self.out = nn.Linear(cfg.hidden, cfg.latent)

    def forward(self, x):
        return self.out(self.block(F.silu(self.inp(causal_windows(x, self.window)))))


class Decoder(nn.Module):
    """(B, T, P * latent) quantised latents to (B, T, 2 * FRAME_DIM) normalised features, all parts together."""

    def __init__(self, cfg: TokenizerConfig):
        super().__init__()
        self.window = cfg.decoder_window
        h = cfg.decoder_hidden
        self.inp = nn.Linear(self.window * len(cfg.parts) * cfg.latent, h)
        self.blocks = nn.ModuleList([ResidualMlp(h), ResidualMlp(h)])
        self.out = nn.Linear(h, FRAMES_PER_STEP * FRAME_DIM)

    def forward(self, z):
        x = F.silu(self.inp(causal_windows(z, self.window)))
        for block in self.blocks:
            x = block(x)
        return self.out(x)


class Tokenizer(nn.Module):
    """Codebooks: (Q, V, latent); slot = part * residual + depth. `mean`, `std`: (FRAME_DIM) of the training data."""

    def __init__(self, cfg: TokenizerConfig = TokenizerConfig()):
        super().__init__()
        self.cfg = cfg
        self.encoders = nn.ModuleDict({p: PartEncoder(d, cfg) for p, d in cfg.parts.items()})
        self.decoder = Decoder(cfg)
        self.register_buffer("codebooks", torch.randn(cfg.slots, cfg.codes, cfg.latent) * 0.1)
        self.register_buffer("mean", torch.zeros(FRAME_DIM))
        self.register_buffer("std", torch.ones(FRAME_DIM))

    def encode_latents(self, frames):
        """frames (B, 2T, FRAME_DIM) raw features to (B, T, P, latent)."""
        b, t2, _ = frames.shape
        x = ((frames - self.mean) / self.std).reshape(b, t2 // FRAMES_PER_STEP, FRAMES_PER_STEP, FRAME_DIM)
        parts = torch.split(x, list(self.cfg.parts.values()), dim=-1)
        return torch.stack([self.encoders[p](v.flatten(2)) for p, v in zip(self.cfg.parts, parts)], dim=2)

    def quantise(self, latents):
        """(B, T, P, latent) to tokens (B, T, Q) and the sum of their codes (B, T, P, latent): nearest code, then its residual."""
        tokens, total = [], torch.zeros_like(latents)
        for depth in range(self.cfg.residual):
            books = self.codebooks[depth :: self.cfg.residual]  # (P, V, latent)
            rest = (latents - total).flatten(0, 1).transpose(0, 1)  # (P, B*T, latent)
            ids = torch.cdist(rest, books).argmin(-1)  # (P, B*T)
            code = torch.stack([bk[i] for bk, i in zip(books, ids)])  # (P, B*T, latent)
            total = total + code.transpose(0, 1).reshape_as(latents)
            tokens.append(ids.transpose(0, 1).reshape(latents.shape[:3]))
        return torch.stack(tokens, dim=-1).flatten(2), total

    def code_vectors(self, tokens):
        """tokens (B, T, Q) to their codes (B, T, Q, latent)."""
        slots = torch.arange(self.cfg.slots, device=tokens.device)
        return self.codebooks[slots, tokens]

    def decode(self, tokens):
        """tokens (B, T, Q) to raw features (B, 2T, FRAME_DIM)."""
        codes = self.code_vectors(tokens)  # (B, T, Q, latent)
        z = codes.unflatten(2, (len(self.cfg.parts), self.cfg.residual)).sum(3).flatten(2)  # (B, T, P * latent)
        return self.decode_latents(z)

    def decode_latents(self, z):
        y = self.decoder(z)  # (B, T, 2 * FRAME_DIM)
        return y.reshape(y.shape[0], -1, FRAME_DIM) * self.std + self.mean


@dataclass(frozen=True)
class MotionConfig:
    slots: int = 10
    codes: int = 512
    latent: int = 64
    width: int = 192
    heads: int = 6
    layers: int = 6
    cross_layers: tuple = (1, 3, 5)
    window: int = 120  # steps: 8 s
    music_window: int = 30  # steps: 2 s
    music_dim: int = 324  # four hops of 80 mel bands and onset strength
    styles: int = 8
    beat_dim: int = 8  # sin, cos of the beat; sin, cos of the bar; sin, cos of half a beat's phase; tempo / 120; confidence
    control_dim: int = 1  # energy
    depth_width: int = 128
    depth_heads: int = 4
    depth_layers: int = 2


def alibi_slopes(heads: int):
    return torch.tensor([2.0 ** (-8.0 * (h + 1) / heads) for h in range(heads)])


class SelfAttention(nn.Module):
    """Sliding-window attention with ALiBi distances and per-step sink rows, which carry no distance."""

    def __init__(self, d: int, heads: int, window: int, alibi: bool = True):
        super().__init__()
        self.heads, self.window = heads, window
        self.q, self.k, self.v = (nn.Linear(d, d, bias=False) for _ in range(3))
        self.o = nn.Linear(d, d, bias=False)
        self.register_buffer("slopes", alibi_slopes(heads) if alibi else torch.zeros(heads), persistent=False)

    def split(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(-3, -2)  # (..., H, T, D/H)

    def forward(self, x, sinks=None):
        """x (B, T, D) normalised; sinks (B, T, S, D) normalised, those that step t sees."""
        b, t, d = x.shape
        q, k, v = self.split(self.q(x)), self.split(self.k(x)), self.split(self.v(x))  # (B, H, T, D/H)
        scale = (d // self.heads) ** -0.5
        dist = torch.arange(t, device=x.device)[:, None] - torch.arange(t, device=x.device)[None, :]
        bias = -self.slopes[:, None, None] * dist
        bias = bias.masked_fill((dist < 0) | (dist >= self.window), float("-inf"))  # (H, T, T)
        score = q @ k.transpose(-1, -2) * scale + bias  # (B, H, T, T)
        if sinks is None:
            y = score.softmax(-1) @ v
        else:
            ks = self.k(sinks).unflatten(-1, (self.heads, -1))  # (B, T, S, H, D/H)
            vs = self.v(sinks).unflatten(-1, (self.heads, -1))
            to_sinks = torch.einsum("bhtd,btshd->bhts", q, ks) * scale
            p = torch.cat([to_sinks, score], dim=-1).softmax(-1)
            s = ks.shape[2]
            y = torch.einsum("bhts,btshd->bhtd", p[..., :s], vs) + p[..., s:] @ v
        return self.o(y.transpose(1, 2).flatten(2))


class MusicAttention(nn.Module):
    """Cross-attention to the last `window` music tokens; its output projection starts at zero."""

    def __init__(self, d: int, heads: int, window: int):
        super().__init__()
        self.inner = SelfAttention(d, heads, window)
        nn.init.zeros_(self.inner.o.weight)

    def forward(self, x, music):
        """x, music (B, T, D), both normalised; step t sees music up to t."""
        a = self.inner
        t = x.shape[1]
        q, k, v = a.split(a.q(x)), a.split(a.k(music)), a.split(a.v(music))
        dist = torch.arange(t, device=x.device)[:, None] - torch.arange(t, device=x.device)[None, :]
        bias = (-a.slopes[:, None, None] * dist).masked_fill((dist < 0) | (dist >= a.window), float("-inf"))
        p = (q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5 + bias).softmax(-1)
        return a.o((p @ v).transpose(1, 2).flatten(2))


class Layer(nn.Module):
    def __init__(self, d: int, heads: int, window: int, music_window: int | None, alibi: bool = True):
        super().__init__()
        self.norm1 = nn.RMSNorm(d, eps=1e-6)
        self.attn = SelfAttention(d, heads, window, alibi)
        self.cross = None
        if music_window is not None:
            self.norm_cross = nn.RMSNorm(d, eps=1e-6)
            self.cross = MusicAttention(d, heads, music_window)
        self.norm2 = nn.RMSNorm(d, eps=1e-6)
        self.fc1 = nn.Linear(d, 4 * d)
        self.fc2 = nn.Linear(4 * d, d)

    def forward(self, x, sinks=None, music=None):
        x = x + self.attn(self.norm1(x), None if sinks is None else self.norm1(sinks))
        if self.cross is not None:
            x = x + self.cross(self.norm_cross(x), music)
        return x + self.fc2(F.gelu(self.fc1(self.norm2(x)), approximate="tanh"))


class MotionTransformer(nn.Module):
    """Tokens of the next step from those before it, the music and the beat phase at the target time.

    Inputs of step t: `prev` = tokens of step t - 1 (`codes[slot, V]`, a learned start code, at t = 0),
    `music` (music_dim) the four newest feature hops, `beat` (beat_dim) at the target time, `style` id, `control`.
    Sinks: 0, a running mean of `music` (style of the song); 1, a running mean of past code vectors (earlier motion).
    Both means are kept by the caller: m += (x - m) / 120 each step (8 s), starting at zero, and include step t's own input.
    """

    def __init__(self, cfg: MotionConfig = MotionConfig()):
        super().__init__()
        self.cfg = cfg
        d, dd = cfg.width, cfg.depth_width
        # The tokenizer's codebooks with one more row per slot, the start code; frozen but for that row by the trainer.
        self.codes = nn.Parameter(torch.zeros(cfg.slots, cfg.codes + 1, cfg.latent))
        self.token_in = nn.Linear(cfg.slots * cfg.latent, d)
        self.beat_in = nn.Linear(cfg.beat_dim + cfg.control_dim, d)
        self.style = nn.Parameter(torch.randn(cfg.styles, d) * 0.02)
        self.music_in = nn.Linear(cfg.music_dim, d)
        self.sink_music = nn.Linear(cfg.music_dim, d)
        self.sink_motion = nn.Linear(cfg.slots * cfg.latent, d)
        self.music_norm = nn.RMSNorm(d, eps=1e-6)
        self.layers = nn.ModuleList(
            Layer(d, cfg.heads, cfg.window, cfg.music_window if i in cfg.cross_layers else None) for i in range(cfg.layers)
        )
        self.norm = nn.RMSNorm(d, eps=1e-6)
        self.depth_in = nn.Linear(d, dd)
        self.depth_tokens = nn.ModuleList(nn.Linear(cfg.latent, dd) for _ in range(cfg.slots - 1))
        self.depth_slot = nn.Parameter(torch.randn(cfg.slots, dd) * 0.02)
        self.depth_layers = nn.ModuleList(Layer(dd, cfg.depth_heads, cfg.slots, None, alibi=False) for _ in range(cfg.depth_layers))
        self.depth_norm = nn.RMSNorm(dd, eps=1e-6)
        self.heads = nn.ModuleList(nn.Linear(dd, cfg.codes) for _ in range(cfg.slots))

    def lookup(self, tokens):
        """(..., Q) to (..., Q, latent)"""
        return self.codes[torch.arange(self.cfg.slots, device=tokens.device), tokens]

    def sinks(self, music_mean, motion_mean, style):
        """What every step sees besides its window: (..., 2, D), of the means and the style's vector."""
        return torch.stack([self.sink_music(music_mean), self.sink_motion(motion_mean) + style], dim=-2)

    def temporal(self, prev, music, beat, style, control, music_mean, motion_mean):
        """prev (B, T, Q); music (B, T, music_dim); beat (B, T, 8); style (B, T); control (B, T, 1); the means as the sinks see them. To (B, T, D)."""
        style = self.style[style]  # (B, T, D)
        x = self.token_in(self.lookup(prev).flatten(2)) + self.beat_in(torch.cat([beat, control], -1)) + style  # (B, T, D)
        m = self.music_norm(self.music_in(music))  # (B, T, D)
        sinks = self.sinks(music_mean, motion_mean, style)
        for layer in self.layers:
            x = layer(x, sinks, m)
        return self.norm(x)

    def depth(self, h, tokens):
        """h (N, D), tokens (N, Q) the true ones (teacher forcing): logits (N, Q, V). Slot q sees slots before it."""
        codes = self.lookup(tokens)  # (N, Q, latent)
        rows = [self.depth_slot[0].expand(h.shape[0], -1)] + [
            self.depth_tokens[q - 1](codes[:, q - 1]) + self.depth_slot[q] for q in range(1, self.cfg.slots)
        ]
        x = torch.stack(rows, dim=1) + self.depth_in(h)[:, None]  # (N, Q, Dd)
        for layer in self.depth_layers:
            x = layer(x)
        x = self.depth_norm(x)
        return torch.stack([head(x[:, q]) for q, head in enumerate(self.heads)], dim=1)

    def forward(self, prev, tokens, **inputs):
        h = self.temporal(prev, **inputs)  # (B, T, D)
        return self.depth(h.flatten(0, 1), tokens.flatten(0, 1)).unflatten(0, h.shape[:2])  # (B, T, Q, V)


def config_json(cfg) -> dict:
    """Without what only ablations set."""
    return {k: v for k, v in asdict(cfg).items() if k != "whole" or v}
