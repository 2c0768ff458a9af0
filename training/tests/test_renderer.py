"""The denoiser's training code: what it starts as, how it moves a picture, how it mirrors."""

import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from odori_training.renderer_data import mirrored_facing  # noqa: E402
from odori_training.renderer_loss import flow_loss, keypoint_flow_loss  # noqa: E402
from odori_training.renderer_model import Denoiser, compose, displace  # noqa: E402


def picture(*shape):
    x = torch.rand(*shape, generator=torch.Generator().manual_seed(1))
    x[:, :3] *= x[:, 3:]
    return x


def test_an_untrained_network_is_the_puppet():
    model, warp = Denoiser().eval(), picture(1, 4, 64, 64)
    reference = model.reference(picture(1, 4, 128, 128))
    with torch.no_grad():
        kp, ids = torch.rand(1, 24, 4) * 16, torch.zeros(1, 8, 10, dtype=torch.long)
        out, _ = model(warp, torch.ones(1), warp, warp[:, 3:], warp, kp, ids, torch.randn(1, 18), reference)
        full = picture(1, 4, 128, 128)
        assert torch.allclose(out.x0, warp, atol=1e-6) and torch.equal(out.moved, out.x0)
        # With the mask at one the frame is the full-size warp, whatever the working picture.
        lent = out._replace(mask=torch.full_like(out.mask, 50.0))
        assert torch.allclose(compose(out.moved, lent, full), full, atol=1e-5)


def test_a_flow_shows_what_lies_where_it_points():
    image, flow = picture(1, 4, 64, 64), torch.zeros(1, 2, 16, 16)
    assert torch.equal(displace(image, flow), image)
    flow[:, 0], flow[:, 1] = 0.5, 1.0
    moved = displace(image, flow)
    assert torch.allclose(moved[:, :, :-4, :-2], image[:, :, 4:, 2:], atol=1e-5)
    assert moved[:, :, -3:].abs().max() == 0


def test_the_right_flow_costs_nothing_at_the_joints():
    kp = torch.rand(2, 24, 4) * torch.tensor([40.0, 40.0, 0.0, 0.0]) + torch.tensor([10.0, 10.0, 1.0, 0.0])
    true = kp[..., :2] + torch.tensor([3.0, -2.0])
    flow = torch.tensor([-3.0, 2.0])[None, :, None, None].expand(2, 2, 16, 16) / 4
    assert keypoint_flow_loss(flow, kp, true, 4) < 1e-5 < keypoint_flow_loss(0 * flow, kp, true, 4)


def test_the_right_flow_costs_nothing_where_it_is_known():
    truth = torch.full((1, 2, 16, 16), torch.nan)
    truth[:, :, 4:9, 4:9] = torch.tensor([3.0, -2.0])[None, :, None, None]
    truth[:, 0, 8, 8] = 60.0  # too far to be found
    right = torch.zeros(1, 2, 16, 16)
    right[:, :, 4:9, 4:9] = truth[:, :, 4:9, 4:9] / 2
    right[:, :, 8, 8] = 0
    right.requires_grad_()
    assert flow_loss(right, truth, 2) < 1e-6 < flow_loss(0 * right, truth, 2)
    flow_loss(0.5 * right, truth, 2).backward()
    assert right.grad.isfinite().all() and right.grad[:, :, 0].abs().max() == 0
    # A coarser flow is asked between its vectors.
    assert flow_loss(torch.full((1, 2, 8, 8), 0.0), truth.nan_to_num(), 4) > 0


def test_a_mirror_shows_axes_mirrored():
    # A quarter turn to the left becomes one to the right; twice mirrored is the same.
    left = np.array([0, 0, -1, 1, 0, 0] * 3, np.float32)
    right = np.array([0, 0, 1, -1, 0, 0] * 3, np.float32)
    assert (mirrored_facing(left) == right).all() and (mirrored_facing(mirrored_facing(left)) == left).all()
