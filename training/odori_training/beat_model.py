"""The beat network: from feature hops to where in the bar the music is, how fast it goes, and whether it is music.

Two gated recurrent layers (Cho et al. 2014), stepped 30 times a second on two feature hops each. Instead of a beat activation alone
(as Boeck and Schedl 2011, BeatNet) it gives the whole belief about the position in the bar, so that it says what it
expects before it sounds, and can be of two minds. The engine's `beat/network.rs` is its twin.

Axis letters: B batch, H hops, T steps of two hops.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

BANDS = 80
HOPS_PER_STEP = 2
INPUT_DIM = HOPS_PER_STEP * (2 * BANDS + 1)
RISE_LAG = 2  # hops between the spectra whose rise is an input
BEATS = 4
PLACES = 16  # to a beat
POSITIONS = BEATS * PLACES
TEMPI = 48
SLOWEST, FASTEST = 55.0, 200.0  # BPM of the first and the last tempo class


@dataclass(frozen=True)
class BeatConfig:
    width: int = 96
    hidden: int = 224


def tempo_of(index):
    """BPM of a (fractional) tempo class; classes are spaced evenly in the logarithm."""
    return SLOWEST * (FASTEST / SLOWEST) ** (index / (TEMPI - 1))


def inputs(hops):
    """hops (B,H,81) to (B,H/2,322): per hop mel, onset strength and how far each band rose in two hops; silence before the first."""
    mel = hops[..., :BANDS]
    past = F.pad(mel, (0, 0, RISE_LAG, 0))[:, : mel.shape[1]]
    return torch.cat([hops, 4 * (mel - past).clamp(min=0)], -1).reshape(len(hops), -1, INPUT_DIM)


class BeatNetwork(nn.Module):
    """(B,H,81) to position logits (B,T,64), tempo logits (B,T,48) and music logit (B,T)."""

    def __init__(self, cfg: BeatConfig = BeatConfig()):
        super().__init__()
        self.cfg = cfg
        self.enter = nn.Linear(INPUT_DIM, cfg.width)
        self.gru1 = nn.GRU(cfg.width, cfg.hidden, batch_first=True)
        self.gru2 = nn.GRU(cfg.hidden, cfg.hidden, batch_first=True)
        self.leave = nn.Linear(2 * cfg.hidden, POSITIONS + TEMPI + 1)

    def forward(self, hops, state=(None, None), drop=0.0):
        x = F.dropout(F.silu(self.enter(inputs(hops))), drop, self.training)
        h1, s1 = self.gru1(x, state[0])
        h1 = F.dropout(h1, drop, self.training)
        h2, s2 = self.gru2(h1, state[1])
        y = self.leave(torch.cat([h1, h2], -1))
        return y[..., :POSITIONS], y[..., POSITIONS:-1], y[..., -1], (s1, s2)


def config_json(cfg: BeatConfig) -> dict:
    return asdict(cfg)
