"""What the denoiser is trained on: premultiplied RGBA error where it matters, edges, detail, steadiness.

No network judges here: the terms are pointwise error, image gradients at two scales, the composed full-size
picture, the change from frame to frame, where the flow takes the joints, and what speaking costs.
"""

import torch
import torch.nn.functional as F

from .renderer_model import compose


def importance(truth, warp):
    """(N, 1, H, W): the figure and its surroundings, more where the warp is wrong."""
    figure = F.max_pool2d(torch.maximum(truth[:, 3:4], warp[:, 3:4]), 5, 1, 2)
    wrong = (truth - warp).abs().sum(1, keepdim=True).clamp(max=1.0)
    return 0.3 + 0.7 * figure + 1.5 * F.avg_pool2d(wrong, 3, 1, 1)


def gradients(x):
    return x[..., :, 1:] - x[..., :, :-1], x[..., 1:, :] - x[..., :-1, :]


def edge_error(a, b, weight):
    """Mean absolute difference of the image gradients, at the working scale and at half of it."""
    total = 0.0
    for _ in range(2):
        (ax, ay), (bx, by) = gradients(a), gradients(b)
        total = total + ((ax - bx).abs() * weight[..., 1:]).mean() + ((ay - by).abs() * weight[..., 1:, :]).mean()
        a, b, weight = F.avg_pool2d(a, 2), F.avg_pool2d(b, 2), F.avg_pool2d(weight, 2)
    return total


def edge_band(alpha):
    """(N, 1, H, W) in 0..1: the two pixels on either side of the silhouette."""
    return F.max_pool2d(alpha, 5, 1, 2) + F.max_pool2d(-alpha, 5, 1, 2)


def picture_loss(x0, truth, warp):
    """x0, truth, warp (N, 4, H, W) f32 premultiplied. Scalar."""
    w = importance(truth, warp)
    # Absolute error asks for the median, so an unsure edge is decided; squared error asks for the mean, a grey halo.
    d = (x0 - truth).abs()
    point = ((d + 0.6 * d * d) * w).mean()
    silhouette = (d[:, 3:4] * edge_band(truth[:, 3:4])).mean()
    return point + 0.4 * edge_error(x0, truth, w) + 0.5 * silhouette


def caution(out):
    """What a correction and a flow cost, so that the network speaks only where it gains: an `Output`. Scalar."""
    across, down = gradients(out.flow)
    smooth = across.abs().mean() + down.abs().mean()
    return 0.06 * (out.x0.float() - out.moved).abs().mean() + 0.004 * smooth + 0.001 * out.flow.abs().mean()


def keypoint_flow_loss(flow, kp, true_kp, cell: int):
    """flow (N, 2, H / cell, X / cell) in cells; kp (N, 24, 4) where the warp shows the joints and true_kp (N, 24, 2) where they
    should be, pixels: at the true place the flow should point to the warp's. Hidden joints say nothing. Scalar, pixels."""
    h, w = flow.shape[-2] * cell, flow.shape[-1] * cell
    at = torch.stack([true_kp[..., 0] * (2 / w) - 1, true_kp[..., 1] * (2 / h) - 1], dim=-1)[:, None]
    got = F.grid_sample(flow, at, mode="bilinear", padding_mode="border", align_corners=False)[:, :, 0] * cell  # (N, 2, 24)
    want = (kp[..., :2] - true_kp).transpose(1, 2)
    seen = ((kp[..., 2] > 0.6) & (at[:, 0].abs().amax(-1) < 1) & (want.norm(dim=1) < 20)).float()[:, None]
    return ((got - want).abs() * seen).sum() / seen.sum().clamp(min=1)


def flow_loss(flow, truth, cell: int):
    """flow (N, 2, H / cell, X / cell) in cells; truth (N, 2, H / 2, X / 2) in pixels, NaN where nothing is known. What lies farther
    away than can be seen of it is not asked for. Scalar, pixels."""
    got = flow * cell
    if got.shape != truth.shape:
        got = F.interpolate(got, size=truth.shape[-2:], mode="bilinear", align_corners=False)
    known = (truth.norm(dim=1, keepdim=True) < 20).float()
    off = torch.where(known > 0, got - truth.nan_to_num(), torch.zeros_like(got))
    return off.abs().sum() / known.sum().clamp(min=1)


def detail_loss(x0, out, truth_full, warp_full):
    """The contract's Compose against the true full-size picture; trains the mask, and x0 a little."""
    picture = compose(x0, out, warp_full)
    d = (picture - truth_full).abs()
    figure = 0.15 + 0.85 * F.max_pool2d(truth_full[:, 3:4], 5, 1, 2)
    return (d * figure).mean() + 0.4 * edge_error(picture, truth_full, figure)


def steadiness_loss(now, before, truth_now, truth_before):
    """The picture may change from frame to frame as the truth does, not otherwise."""
    return ((now - before) - (truth_now - truth_before)).abs().mean()
