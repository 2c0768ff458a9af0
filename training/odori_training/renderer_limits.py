"""Where a denoiser is still wrong on held-out clips, and what of the joints' places could be foretold.

    python -m odori_training.renderer_limits --data FRAMES --clips clips.safetensors --tokens tokens.safetensors --checkpoint OUT/denoiser.pt

Shares of the squared error, at a working size of 128, on its own outputs: inside the figure where the picture holds the place and where it
does not, where figure is missing, where there is too much. The error of the flow. Then how far the warp's joints are from the true ones, and
what a ridge regression on what the network is told anyway leaves of that.
"""

import argparse

import numpy as np
import torch
import torch.nn.functional as F

from . import compute, renderer_data
from .renderer_data import FLOW_CELL, Clips
from .renderer_loss import flow_loss, keypoint_flow_loss
from .renderer_model import Denoiser, DenoiserConfig
from .renderer_train import danced


def regions(model, clips, count: int):
    """Squared error and area by region, summed over `count` clips: {name: [denoised, puppet, area]}; and the flow's errors, pixels."""
    sums, flows = {}, []
    for i, picture, out, batch in danced(model, clips, count):
        truth, warp, flow = batch["truth"][:, i], batch["warp"][:, i], batch["flow"][:, i]
        known = F.interpolate((~flow[:, :1].isnan()).float(), scale_factor=FLOW_CELL)
        figure, shown = (truth[:, 3:4] > 0.5).float(), (picture[:, 3:4] > 0.5).float()
        near = (torch.maximum(truth[:, 3:4], warp[:, 3:4]) > 0.02).float()
        for name, where in {
            "in the picture": known * figure * shown,
            "not in the picture": (1 - known) * figure * shown,
            "missing": figure * (1 - shown),
            "too much": (1 - figure) * shown,
            "beside": (1 - figure) * (1 - shown) * near,
        }.items():
            wrong = [(((z - truth) ** 2).sum(1, keepdim=True) * where).sum().item() for z in (picture, warp)]
            sums[name] = [a + b for a, b in zip(sums.get(name, [0, 0, 0]), (*wrong, where.sum().item()), strict=True)]
        cell = 128 // out.flow.shape[-1]
        joints = batch["kp"][:, i], batch["true_kp"][:, i], cell
        flows.append([float(v) for z in (out.flow, 0 * out.flow) for v in (flow_loss(z, flow, cell), keypoint_flow_loss(z, *joints))])
    return sums, np.mean(flows, axis=0)


def foretold(clips, shards: int):
    """Mean distance of the warp's joints from the true ones, pixels, on the last fifth of the clips: as they are, and what a ridge
    regression (random Fourier features) on axes, depths, the warp's joints and the reference's leaves."""
    x, y = [], []
    for shard in [s for s in clips.shards if s.size == 128][:shards]:
        a = shard.full
        kp, n, f = np.asarray(a["keypoints"])[..., :2], shard.count, shard.frames
        reference = np.asarray(a["reference_keypoints"])
        told = [a["facing"], a["depths"], ((kp - kp[:, :, -1:]) / 20).reshape(n, f, -1), np.repeat(((reference - reference[:, -1:]) / 20).reshape(n, 1, -1), f, 1)]
        x.append(np.concatenate(told, -1).reshape(n * f, -1))
        y.append((a["true_keypoints"] - kp).reshape(n * f, -1))
    x, y = np.concatenate(x), np.concatenate(y)
    learn = np.arange(len(x)) < 0.8 * len(x)
    z = (x - x[learn].mean(0)) / (x[learn].std(0) + 1e-6)
    rng = np.random.default_rng(0)
    turned = z @ rng.normal(size=(z.shape[1], 1500)) * (0.8 / z.shape[1] ** 0.5) + rng.uniform(0, 2 * np.pi, 1500)
    h = np.concatenate([np.cos(turned), z, np.ones((len(z), 1))], 1)
    weights = np.linalg.solve(h[learn].T @ h[learn] + 30 * np.eye(h.shape[1]), h[learn].T @ y[learn])
    far = lambda e: float(np.linalg.norm(e.reshape(-1, 24, 2), axis=-1).mean())
    return far(y[~learn]), far((y - h @ weights)[~learn])


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    renderer_data.add_arguments(p)
    p.add_argument("--checkpoint", required=True)
    p.add_argument("--count", type=int, default=32, help="held-out clips to judge")
    p.add_argument("--shards", type=int, default=60, help="training shards that joints are foretold from")
    compute.add_arguments(p)
    a = p.parse_args()
    device = compute.begin(a, False)
    state = torch.load(a.checkpoint, map_location=device, weights_only=True)
    model = Denoiser(DenoiserConfig(**(state["config"] | {"channels": tuple(state["config"]["channels"])}))).eval()
    model.load_state_dict(state["average"])
    sums, flows = regions(model, Clips(a.data, "held", a.clips, a.tokens), a.count)
    whole, puppet, area = (sum(v[i] for v in sums.values()) for i in range(3))
    print(f"{'':<20}{'share of error':>16}{'of the puppet':>16}{'of the area':>14}")
    for name, (wrong, before, size) in sums.items():
        print(f"{name:<20}{100 * wrong / whole:>15.0f}%{100 * before / puppet:>15.0f}%{100 * size / area:>13.1f}%")
    print(f"squared error {puppet / whole:.2f} times less than the puppet's ({10 * np.log10(puppet / whole):.2f} dB, all clips together)")
    print(f"flow off by {flows[0]:.2f} px where it is known, none by {flows[2]:.2f}; at joints {flows[1]:.2f} and {flows[3]:.2f} (both axes together)")
    print("joints of the warp off by {:.2f} px; {:.2f} if foretold by a regression".format(*foretold(Clips(a.data, "frames", a.clips, a.tokens), a.shards)))


if __name__ == "__main__":
    main()
