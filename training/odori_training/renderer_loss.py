"""What the denoiser is trained on: premultiplied RGBA error where it matters, edges, detail, steadiness.

No network judges here: the terms are pointwise error, image gradients at two scales, the composed full-size
picture, and the change from frame to frame.
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


def picture_loss(x0, truth, warp):
    """x0, truth, warp (N, 4, H, W) f32 premultiplied. Scalar."""
    w = importance(truth, warp)
    # Absolute error asks for the median, so an unsure edge is decided; squared error asks for the mean, a grey halo.
    d = (x0 - truth).abs()
    point = ((d + 0.6 * d * d) * w).mean()
    return point + 0.4 * edge_error(x0, truth, w)


def detail_loss(x0, mask_logit, truth_full, warp_full):
    """The contract's Compose against the true full-size picture; trains the mask, and x0 a little."""
    out = compose(x0, torch.sigmoid(mask_logit), warp_full)
    d = (out - truth_full).abs()
    figure = 0.15 + 0.85 * F.max_pool2d(truth_full[:, 3:4], 5, 1, 2)
    return (d * figure).mean() + 0.4 * edge_error(out, truth_full, figure)


def steadiness_loss(now, before, truth_now, truth_before):
    """The picture may change from frame to frame as the truth does, not otherwise."""
    return ((now - before) - (truth_now - truth_before)).abs().mean()
