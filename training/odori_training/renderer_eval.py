"""Held-out characters: puppet only, the student at 1, 2 and 4 steps, and the teacher, against the true render.

    python -m odori_training.renderer_eval --data DIR --out OUT --models ../models [--limit 60]

Prints a table, writes OUT/eval.json and OUT/contact_sheet.png. Every clip is run as the engine runs it: causally,
each frame seeing the output before it, and composed at full size (256) from working size 128. The first frame, which
has no past, is left out of the figures.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from safetensors.torch import load_file

from .renderer_data import Clips
from .renderer_model import Denoiser, compose, sample

PATCH = 4
TEACHER_STEPS = 8


def figure_mask(truth, puppet):
    """(N, 1, H, W): where either has the figure, and three pixels round it."""
    return F.max_pool2d((torch.maximum(truth[:, 3:4], puppet[:, 3:4]) > 0.02).float(), 7, 1, 3)


def ssim(a, b, mask):
    """Mean structural similarity over the figure, 11x11 Gaussian window, each premultiplied channel. (N,)"""
    x = torch.arange(11, dtype=torch.float32) - 5
    g = torch.exp(-x * x / (2 * 1.5**2))
    g = (g / g.sum())[None, None]
    c = a.shape[1]

    def blur(z):
        z = F.conv2d(z, g[:, :, None].expand(c, 1, 1, 11), padding=(0, 5), groups=c)
        return F.conv2d(z, g[..., None].expand(c, 1, 11, 1), padding=(5, 0), groups=c)

    ma, mb = blur(a), blur(b)
    va, vb, cov = blur(a * a) - ma * ma, blur(b * b) - mb * mb, blur(a * b) - ma * mb
    s = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma * ma + mb * mb + 1e-4) * (va + vb + 9e-4))
    return (s.mean(1, keepdim=True) * mask).sum((1, 2, 3)) / mask.sum((1, 2, 3))


def measure(pictures, truth, puppet):
    """pictures, truth, puppet (F, 4, S, S) of one clip. A dict of figures, frame 0 left out."""
    m = figure_mask(truth, puppet)
    d = (pictures - truth)[1:]
    mse = (d * d * m[1:]).sum((1, 2, 3)) / (4 * m[1:].sum((1, 2, 3)))
    edge = ((F.max_pool2d(truth[:, 3:4], 9, 1, 4) - -F.max_pool2d(-truth[:, 3:4], 9, 1, 4)) > 0.5).float()[1:]
    both = torch.maximum(m[1:], m[:-1])
    change = lambda z: ((z[1:] - z[:-1]).abs() * both).sum() / (4 * both.sum())
    drift = (((pictures[1:] - pictures[:-1]) - (truth[1:] - truth[:-1])).abs() * both).sum() / (4 * both.sum())
    return {
        "psnr": float((-10 * torch.log10(mse + 1e-8)).mean()),
        "ssim": float(ssim(pictures[1:], truth[1:], m[1:]).mean()),
        "alpha_edge_error": float(((d[:, 3:4]).abs() * edge).sum() / edge.sum().clamp(min=1)),
        "flicker_ratio": float(change(pictures) / change(truth).clamp(min=1e-4)),
        "false_change": float(drift),
    }


@torch.no_grad()
def rollout(model, batch, steps: int, seed: int = 1):
    """(F, 4, S, S) composed pictures of one clip, as the engine makes them."""
    f, w = batch["truth"].shape[1], batch["truth"].shape[-1]
    ref = model.reference(batch["reference"])
    noise = torch.randn(1, 4, w, w, generator=torch.Generator().manual_seed(seed))
    prev, past, out = torch.zeros_like(noise), None, []
    for i in range(f):
        x0, mask, past = sample(model, noise, steps, batch["warp"][:, i], batch["validity"][:, i], prev, batch["kp"][:, i] / PATCH, batch["ids"][:, i], ref, past)
        prev = x0
        out.append(compose(prev, torch.sigmoid(mask), batch["warp_full"][:, i]))
    return torch.cat(out)


def over_grey(img):
    """(4, H, W) premultiplied over a grey ground, to u8 (H, W, 3)."""
    rgb = img[:3] + (1 - img[3:4]) * 0.62
    return (rgb.clamp(0, 1) * 255).byte().permute(1, 2, 0).numpy()


def contact_sheet(rows, columns, path):
    pad, head = 2, 18
    s = rows[0][0].shape[0]
    sheet = Image.new("RGB", (len(columns) * (s + pad), head + len(rows) * (s + pad)), (40, 40, 44))
    draw = ImageDraw.Draw(sheet)
    for c, name in enumerate(columns):
        draw.text((c * (s + pad) + 6, 3), name, fill=(240, 240, 240))
        for r, row in enumerate(rows):
            sheet.paste(Image.fromarray(row[c]), (c * (s + pad), head + r * (s + pad)))
    sheet.save(path)


def load_shipped(models):
    model = Denoiser().eval()
    model.load_state_dict({k: v.float() for k, v in load_file(Path(models) / "denoiser.safetensors").items()})
    return model


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", required=True)
    p.add_argument("--prefix", default="held")
    p.add_argument("--clips")
    p.add_argument("--tokens")
    p.add_argument("--models", required=True, help="folder of the shipped denoiser.safetensors")
    p.add_argument("--out", required=True, help="folder of teacher.pt; the table and the sheet go here")
    p.add_argument("--limit", type=int, default=60)
    p.add_argument("--rows", type=int, default=8)
    p.add_argument("--no-tokens", action="store_true", help="ablation: every token unknown")
    a = p.parse_args()
    torch.set_num_threads(1)
    out = Path(a.out)
    student = load_shipped(a.models)
    methods = {"1 step": (student, 1), "2 steps": (student, 2), "4 steps": (student, 4)}
    if (out / "teacher.pt").exists():
        teacher = Denoiser().eval()
        teacher.load_state_dict(torch.load(out / "teacher.pt", weights_only=True)["average"])
        methods[f"teacher, {TEACHER_STEPS}"] = (teacher, TEACHER_STEPS)
    clips = Clips(a.data, a.prefix, a.clips, None if a.no_tokens else a.tokens)
    if not clips.index:
        raise SystemExit(f"no {a.prefix}-*.safetensors under {a.data}")
    take = np.unique(np.linspace(0, len(clips.index) - 1, min(a.limit, len(clips.index))).astype(int))
    show = set(take[np.unique(np.linspace(0, len(take) - 1, a.rows).astype(int))].tolist())
    figures, rows = {"puppet": []} | {k: [] for k in methods}, []
    for n, j in enumerate(take):
        batch = clips.batch(1, (128, 128), 1, False, [clips.index[j]])
        truth, puppet = batch["truth_full"][0], batch["warp_full"][0]
        pictures = {"puppet": puppet} | {k: rollout(m, batch, s) for k, (m, s) in methods.items()}
        for k, v in pictures.items():
            figures[k].append(measure(v, truth, puppet))
        if int(j) in show:
            reference = F.interpolate(batch["reference"], scale_factor=2, mode="bilinear")[0]
            rows.append([over_grey(z) for z in [reference, truth[3]] + [v[3] for v in pictures.values()]])
        if n % 10 == 9:
            print(f"{n + 1} of {len(take)} clips", flush=True)
    contact_sheet(rows, ["reference", "true", *figures], out / "contact_sheet.png")
    table = {k: {f: float(np.mean([c[f] for c in v])) for f in v[0]} for k, v in figures.items()}
    base = np.array([c["ssim"] for c in figures["puppet"]])
    psnr = np.array([c["psnr"] for c in figures["puppet"]])
    for k, v in figures.items():
        table[k]["ssim_better_share"] = float((np.array([c["ssim"] for c in v]) > base).mean())
        table[k]["psnr_worse_share"] = float((np.array([c["psnr"] for c in v]) < psnr - 0.1).mean())
    print(f"{'':12} {'PSNR':>7} {'SSIM':>7} {'alpha':>7} {'flicker':>8} {'false chg':>9} {'SSIM up':>8} {'PSNR down':>9}")
    for k, t in table.items():
        print(f"{k:12} {t['psnr']:7.2f} {t['ssim']:7.4f} {t['alpha_edge_error']:7.4f} {t['flicker_ratio']:8.3f} {t['false_change']:9.4f} {t['ssim_better_share']:8.2f} {t['psnr_worse_share']:9.2f}")
    (out / "eval.json").write_text(json.dumps({"clips": len(take), "table": table}, indent=1))


if __name__ == "__main__":
    main()
