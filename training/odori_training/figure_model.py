"""The figure finder: from a picture of a character to its keypoints, its silhouette and its parts. See models/figure.md.

A U-Net on 4x4 patches of a 128x128 picture. Input channels: colour (over mid grey where alpha is known, as it is where it is
not) and alpha (0.5 where it is not known). Output: a heat map for each of the 24 keypoints of models/skeleton.json at 32x32,
and at 128x128 the logit of the silhouette and those of the parts of the body.
"""

from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import nn

from .renderer_model import Block, Norm, depth_to_space, space_to_depth

KEYPOINTS, SIZE, GRID = 24, 128, 32
PATCH = SIZE // GRID
CHANNELS_IN = 4
# As `PARTS` in engine/src/avatar/parts.rs, then what swings from the hips. Data and pictures hold 1 + the index, 0 for nothing.
PARTS = ("torso", "head", "left_arm", "right_arm", "left_leg", "right_leg", "hair", "skirt")


@dataclass(frozen=True)
class FigureConfig:
    channels: tuple = (48, 72, 112, 144)
    groups: int = 8

    def as_dict(self):
        return asdict(self)


class FigureFinder(nn.Module):
    def __init__(self, cfg: FigureConfig = FigureConfig()):
        super().__init__()
        self.cfg = cfg
        c0, c1, c2, c3 = cfg.channels
        self.stem = nn.Conv2d(CHANNELS_IN * PATCH**2, c0, 1)
        self.enc0 = Block(c0, cfg, cond=False)
        self.down0 = nn.Conv2d(c0, c1, 3, stride=2, padding=1)
        self.enc1 = Block(c1, cfg, cond=False)
        self.down1 = nn.Conv2d(c1, c2, 3, stride=2, padding=1)
        self.enc2 = Block(c2, cfg, cond=False)
        self.down2 = nn.Conv2d(c2, c3, 3, stride=2, padding=1)
        self.mid0 = Block(c3, cfg, cond=False)
        self.mid1 = Block(c3, cfg, cond=False)
        self.up2 = nn.Conv2d(c3, c2, 1)
        self.dec2 = Block(c2, cfg, cond=False)
        self.up1 = nn.Conv2d(c2, c1, 1)
        self.dec1 = Block(c1, cfg, cond=False)
        self.up0 = nn.Conv2d(c1, c0, 1)
        self.dec0 = Block(c0, cfg, cond=False)
        self.head_norm = Norm(c0, cfg.groups)
        self.heat = nn.Conv2d(c0, KEYPOINTS, 3, padding=1)
        self.mask = nn.Conv2d(c0, PATCH**2, 3, padding=1)
        self.parts = nn.Conv2d(c0, len(PARTS) * PATCH**2, 3, padding=1)

    def forward(self, picture):
        """picture (N, 4, 128, 128) in 0..1; gives heat (N, 24, 32, 32), mask (N, 1, 128, 128) and parts (N, 8, 128, 128), all logits."""
        h0 = self.enc0(self.stem(space_to_depth(picture, PATCH)))
        h1 = self.enc1(self.down0(h0))
        h2 = self.enc2(self.down1(h1))
        h = self.mid1(self.mid0(self.down2(h2)))

        def up(layer, h, skip):
            return F.interpolate(layer(h), scale_factor=2, mode="nearest") + skip

        h = self.dec2(up(self.up2, h, h2))
        h = self.dec1(up(self.up1, h, h1))
        h = self.dec0(up(self.up0, h, h0))
        h = F.silu(self.head_norm(h))
        return self.heat(h).float(), depth_to_space(self.mask(h), PATCH).float(), depth_to_space(self.parts(h), PATCH).float()


def positions(heat):
    """Where each keypoint is, in pixels of the picture (N, 24, 2), and how sure that is (N, 24): the mean of the heat within two cells
    of its greatest value, and the share of all heat that lies there. `engine/src/avatar/finder.rs` computes the same."""
    n = heat.shape[0]
    p = torch.softmax(heat.flatten(2), -1)
    best = p.argmax(-1)
    cell = torch.arange(GRID * GRID, device=heat.device)
    x, y = cell % GRID, cell // GRID
    bx, by = (best % GRID)[..., None], (best // GRID)[..., None]
    near = ((x - bx).abs() <= 2) & ((y - by).abs() <= 2)
    q = p * near
    sure = q.sum(-1)
    at = torch.stack([(q * x).sum(-1), (q * y).sum(-1)], -1) / sure[..., None]
    return (at + 0.5) * PATCH, sure.reshape(n, KEYPOINTS)
