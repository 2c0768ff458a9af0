"""Trains the figure finder on what `odori-datagen` rendered for the denoiser, resumably, and exports it.

    python -m odori_training.figure_train --data FRAMES --out OUT --minutes 30 [--drawings DIR]
    python -m odori_training.figure_train --data FRAMES --out OUT --minutes 0 --export ../models --version V

Every look gives its reference (A-pose, from the front, or from behind, which is told as a front whose left and right are exchanged) and
frames of its dances that show the same side, with the true place of every joint. Drawings as children make them come from `doodles`.
What they lack is added: outlines, paper and crayon, other colours, other proportions (the picture is bent, heads are blown up),
grounds of any kind, a few with nobody before them. Half of the pictures come with their alpha, half without.
"""

import argparse
import json
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from . import doodles
from . import skeleton as sk
from .figure_model import GRID, KEYPOINTS, PARTS, PATCH, SIZE, FigureConfig, FigureFinder, positions
from .compute import autocast

BATCH = 24
# Share of pictures that show a ground and nobody.
NOBODY = 0.04
LEARNING_RATE = 1.5e-3
SEED = 11
NAMES = [k["name"] for k in json.loads((sk.ROOT / "models/skeleton.json").read_text())["keypoints"]]
PART_SWAP = torch.tensor([0] + [1 + PARTS.index(n.replace("left", "?").replace("right", "left").replace("?", "right")) for n in PARTS], dtype=torch.uint8)
SWAP = [NAMES.index(n.replace("left", "?").replace("right", "left").replace("?", "right")) for n in NAMES]
HEAD_TOP, NOSE = NAMES.index("head_top"), NAMES.index("nose")
# What a body point is for the bar: joints of limbs and trunk, not eyes and ears.
BODY = [i for i, n in enumerate(NAMES) if not any(part in n for part in ("eye", "ear"))]


def load(folders: list, pattern: str):
    """Pictures (M, S, S, 4) u8 premultiplied, keypoints (M, 24, 2) in pixels of 128, weight of each keypoint (M, 24), of the
    reference or not (M), parts (M, S, S) u8: 0 where there is none or it is not known, else 1 + the index in `PARTS`; the paper that
    it is drawn on (M, 3) in 0..1, negative where there is none."""
    pictures, points, weights, reference, parts = [], [], [], [], []
    for path in sorted(path for folder in folders for path in folder.glob(pattern)):
        with safe_open(path, "pt") as f:
            if f.get_slice("reference").get_shape()[1] != SIZE:
                continue
            look = f.get_tensor("look").numpy()
            first = [k for k in range(len(look)) if k == 0 or look[k] != look[k - 1]]
            pictures.append(f.get_tensor("reference")[first])
            points.append(f.get_tensor("reference_keypoints")[first])
            weights.append(torch.ones(len(first), KEYPOINTS))
            reference.append(torch.ones(len(first), dtype=torch.bool))
            parts.append(f.get_tensor("parts")[first] if "parts" in f.keys() else torch.zeros(len(first), SIZE, SIZE, dtype=torch.uint8))
            # Hips that look at the viewer, the first and the last frame of every sample.
            front = f.get_tensor("facing")[:, ::3, 5] > 0.45
            k, n = front.nonzero(as_tuple=True)
            pictures.append(f.get_tensor("truth")[:, ::3][k, n])
            points.append(f.get_tensor("true_keypoints")[:, ::3][k, n])
            weights.append(0.3 + 0.7 * f.get_tensor("keypoints")[:, ::3][k, n][..., 2])
            reference.append(torch.zeros(len(k), dtype=torch.bool))
            parts.append(torch.zeros(len(k), SIZE, SIZE, dtype=torch.uint8))
    if not pictures:
        raise SystemExit(f"{', '.join(map(str, folders))}: no {pattern} of {SIZE} pixels; make them with odori-datagen")
    pictures = torch.cat(pictures)
    return pictures, torch.cat(points), torch.cat(weights), torch.cat(reference), torch.cat(parts), torch.full((len(pictures), 3), -1.0)


def rand(n, low, high, g):
    return low + (high - low) * torch.rand(n, generator=g)


class Bend:
    """Where each output pixel comes from: scale, turn, shift, a swell about the head and two slow waves; positions in -1..1."""

    def __init__(self, points, g, strength=1.0):
        n = points.shape[0]
        low, high = points.amin(1), points.amax(1)
        middle, half = (low + high) / 2, ((high - low) / 2).amax(-1) * 1.15
        size = rand(n, 0.5, 0.98, g)
        self.scale = (half / size)[:, None]  # source units to one output unit
        stretch = torch.stack([rand(n, 0.8, 1.25, g), torch.ones(n)], -1) if strength else torch.ones(n, 2)
        self.scale = self.scale * stretch
        turn = rand(n, -0.18, 0.18, g) * strength
        c, s = turn.cos(), turn.sin()
        self.turn = torch.stack([torch.stack([c, -s], -1), torch.stack([s, c], -1)], 1)
        room = (1 - size).clamp(min=0)[:, None]
        self.shift = (torch.rand(n, 2, generator=g) * 2 - 1) * room * 0.9
        self.middle = middle
        head = 0.5 * (points[:, HEAD_TOP] + points[:, NOSE])
        self.head = self.forward_plain(head)
        self.swell = rand(n, -0.1, 0.5, g).clamp(min=0)[:, None] * strength
        self.radius = ((points[:, HEAD_TOP] - points[:, NOSE]).norm(dim=-1) * 1.6 / self.scale.mean(-1)).clamp(0.06, 0.4)[:, None]
        self.waves = [(rand(n, 0, 0.035, g)[:, None] * strength, (torch.rand(n, 2, 2, generator=g) * 2 - 1) * 5, torch.rand(n, 2, generator=g) * math.tau) for _ in range(2)]

    def forward_plain(self, points):
        at = torch.einsum("nji,nj->ni", self.turn, (points - self.middle) / self.scale)
        return at + self.shift

    def extra(self, out):
        """out (N, M, 2): what is added to it before scale and turn."""
        away = out - self.head[:, None]
        d = -self.swell[:, None] * away * torch.exp(-(away**2).sum(-1, keepdim=True) / (2 * self.radius[:, None] ** 2))
        for size, rate, phase in self.waves:
            d = d + size[:, None] * torch.sin(torch.einsum("nmi,nij->nmj", out, rate) + phase[:, None])
        return d

    def source(self, out):
        bent = out + self.extra(out) - self.shift[:, None]
        return self.middle[:, None] + torch.einsum("nij,nmj->nmi", self.turn, bent) * self.scale[:, None]

    def target(self, points):
        """Where points of the source come to lie: `source` undone, by iteration."""
        plain = torch.einsum("nji,nmj->nmi", self.turn, (points - self.middle[:, None]) / self.scale[:, None]) + self.shift[:, None]
        out = plain
        for _ in range(20):
            out = 0.5 * out + 0.5 * (plain - self.extra(out))
        return out


def grounds(n, g, pictures):
    """Busy grounds (N, 3, S, S): gradients, blots, bars, boxes, and pieces of other pictures."""
    out = torch.zeros(n, 3, SIZE, SIZE)
    for i in range(n):
        base = torch.rand(3, 1, 1, generator=g) + 0.4 * (torch.rand(3, 1, 1, generator=g) - 0.5) * torch.linspace(-1, 1, SIZE)[None, :, None]
        kind = int(torch.randint(0, 5, (1,), generator=g))
        if kind >= 1:
            for cells in (3, 9, 40)[: kind if kind < 4 else 2]:
                blot = torch.rand(1, 3, cells, cells, generator=g) - 0.5
                base = base + float(torch.rand(1, generator=g)) * F.interpolate(blot, size=(SIZE, SIZE), mode="bilinear" if cells > 3 else "bicubic")[0]
        if kind in (2, 4):
            for _ in range(int(torch.randint(1, 7, (1,), generator=g))):
                x, y, w, h = (torch.rand(4, generator=g) * torch.tensor([SIZE, SIZE, 60, 60])).int().tolist()
                base[:, y : y + h + 2, x : x + w + 2] = torch.rand(3, 1, 1, generator=g)
        if kind == 3:
            other = pictures[int(torch.randint(0, len(pictures), (1,), generator=g))].permute(2, 0, 1).float() / 255
            cut = F.interpolate(other[None, :, 20:84, 32:96], size=(SIZE, SIZE), mode="bilinear")[0].roll(int(torch.randint(-50, 50, (1,), generator=g)), 2)
            base = base * (1 - cut[3:]) + cut[:3]
        out[i] = base
    return out.clamp(0, 1)


def drawn(rgb, alpha, g):
    """Other hands: colours turned, flattened, greyed, outlined, on paper. rgb premultiplied (N, 3, S, S)."""
    n = rgb.shape[0]

    def some(share):
        return (torch.rand(n, generator=g) < share).float()[:, None, None, None]

    mix = torch.eye(3)[None] + 0.35 * torch.randn(n, 3, 3, generator=g) * some(0.6)[:, 0]
    own = rgb / alpha.clamp(min=1 / 64)
    own = torch.einsum("nij,njhw->nihw", mix, own).clamp(0, 1) ** rand(n, 0.5, 1.8, g)[:, None, None, None]
    grey = own.mean(1, keepdim=True).expand_as(own)
    own = torch.lerp(own, grey, some(0.15) * 0.95)
    levels = rand(n, 2, 6, g)[:, None, None, None]
    own = torch.lerp(own, (own * levels).round() / levels, some(0.25))
    # A line drawing: white inside, lines where colours change.
    edge = (F.max_pool2d(grey, 3, 1, 1) + F.max_pool2d(-grey, 3, 1, 1)).clamp(0, 1)
    lines = (1 - 3 * edge).clamp(0, 1)
    own = torch.lerp(own, lines * rand(n, 0.7, 1.0, g)[:, None, None, None], some(0.12))
    own = torch.lerp(own, own * lines, some(0.3))
    # An outline round the figure.
    rim = (F.max_pool2d(alpha, 3, 1, 1) - alpha).clamp(0, 1) * some(0.35)
    rim_in = (alpha + F.max_pool2d(-alpha, 3, 1, 1)).clamp(0, 1) * some(0.35)
    own = own * (1 - rim_in)
    alpha = (alpha + rim).clamp(0, 1)
    own = own * (1 - rim)
    crayon = F.interpolate(torch.rand(n, 1, SIZE // 2, SIZE // 2, generator=g), size=(SIZE, SIZE), mode="bilinear")
    own = (own + (crayon - 0.5) * 0.4 * some(0.25)).clamp(0, 1)
    return own * alpha, alpha


def batch(data, g, n=BATCH, plain=False):
    """A batch: picture (N, 4, S, S), keypoints in pixels (N, 24, 2), weights (N, 24), silhouette (N, 1, S, S), parts (N, S, S)."""
    pictures, points, weights, reference, parts, papers = data
    share = torch.where(reference, 0.5 / reference.sum(), 0.5 / (~reference).sum().clamp(min=1))
    at = torch.multinomial(share, n, generator=g)
    x = pictures[at].permute(0, 3, 1, 2).float() / 255
    p, w = points[at] / (SIZE / 2) - 1, weights[at]
    bend = Bend(p, g, 0.0 if plain else 1.0)
    row = (torch.arange(SIZE) + 0.5) / (SIZE / 2) - 1
    out = torch.stack(torch.meshgrid(row, row, indexing="xy"), -1).reshape(1, -1, 2).expand(n, -1, -1)
    source = bend.source(out).reshape(n, SIZE, SIZE, 2)
    x = F.grid_sample(x, source, align_corners=False)
    part = F.grid_sample(parts[at][:, None].float(), source, mode="nearest", align_corners=False)[:, 0].to(torch.uint8)
    p = bend.target(p)
    flip = torch.rand(n, generator=g) < 0.5
    x[flip] = x[flip].flip(-1)
    part[flip] = PART_SWAP[part[flip].flip(-1).int()]
    p[flip] = p[flip][:, SWAP] * torch.tensor([-1.0, 1.0])
    w[flip] = w[flip][:, SWAP]
    p = (p + 1) * (SIZE / 2)
    w = w * ((p > 1) & (p < SIZE - 1)).all(-1)
    rgb, alpha = x[:, :3], x[:, 3:]
    if not plain:
        rgb, alpha = drawn(rgb, alpha, g)
    known = (torch.rand(n, generator=g) < 0.5)[:, None, None, None]
    if not plain:
        nobody = torch.rand(n, generator=g) < NOBODY
        rgb, alpha = (torch.where(nobody[:, None, None, None], 0.0, z) for z in (rgb, alpha))
        w, part = torch.where(nobody[:, None], 0.0, w), torch.where(nobody[:, None, None], 0, part)
        known = known & ~nobody[:, None, None, None]
    ground = torch.where(known, torch.full((n, 3, SIZE, SIZE), 0.5), grounds(n, g, pictures))
    seen = torch.where(known, alpha, torch.full_like(alpha, 0.5))
    picture = rgb + ground * (1 - alpha)
    # Half of the drawings without alpha lie on their own paper, in some light.
    paper = papers[at][:, :, None, None]
    sheet = ~known & (paper[:, :1] >= 0) & (torch.rand(n, generator=g) < 0.5)[:, None, None, None]
    if not plain:
        sheet = sheet & ~nobody[:, None, None, None]
    light = 1 + 0.25 * F.interpolate(torch.randn(n, 1, 3, 3, generator=g), size=(SIZE, SIZE), mode="bilinear", align_corners=True)
    photo = (x[:, :3] + paper * (1 - x[:, 3:])) * light + 0.03 * torch.randn(n, 1, SIZE, SIZE, generator=g)
    alpha = torch.where(sheet, x[:, 3:], alpha)
    return torch.cat([torch.where(sheet, photo.clamp(0, 1), picture), seen], 1), p, w, alpha, part


def loss(model, picture, p, w, alpha, part):
    with autocast():
        heat, mask, parts = model(picture)
    cell = p / PATCH - 0.5
    grid = torch.arange(GRID).float()
    target = torch.exp(-((grid - cell[..., :1]) ** 2)[:, :, None, :] / 2 - ((grid - cell[..., 1:]) ** 2)[:, :, :, None] / 2).flatten(2)
    target = target / target.sum(-1, keepdim=True).clamp(min=1e-6)
    log = torch.log_softmax(heat.flatten(2), -1)
    cross = -(target * log).sum(-1)
    mean = torch.stack([(log.exp() * grid.repeat(GRID)).sum(-1), (log.exp() * grid.repeat_interleave(GRID)).sum(-1)], -1)
    away = (mean - cell).abs().sum(-1)
    figure = F.binary_cross_entropy_with_logits(mask, alpha) + 1 - (2 * (mask.sigmoid() * alpha).sum((1, 2, 3)) / (mask.sigmoid().sum((1, 2, 3)) + alpha.sum((1, 2, 3)) + 1)).mean()
    # Where no part is known nothing is asked.
    named = F.cross_entropy(parts, part.long() - 1, ignore_index=-1, reduction="sum") / (part > 0).sum().clamp(min=1)
    return ((cross + 0.15 * away) * w).sum() / w.sum().clamp(min=1) + figure + named


@torch.no_grad()
def judge(model, data, batches=12):
    """On held-out characters: share of body points within 5 % of the figure's height and the mean error, for references and for
    dance frames; intersection over union of the silhouette where alpha is not known."""
    model.eval()
    g = torch.Generator().manual_seed(5)
    near, error, union, named = {True: [], False: []}, {True: [], False: []}, [], Named()
    for wanted in (True, False):
        some = [t[data[3] == wanted] for t in data]
        for _ in range(batches):
            picture, p, w, alpha, part = batch(some, g, 16, plain=True)
            heat, mask, parts = model(picture)
            named.add(1 + parts.argmax(1), part)
            height = p[..., 1].amax(1) - p[..., 1].amin(1)
            off = ((positions(heat)[0] - p).norm(dim=-1) / height[:, None])[:, BODY][w[:, BODY] > 0.5]
            near[wanted].append((off < 0.05).float())
            error[wanted].append(off)
            unknown = picture[:, 3:].std((1, 2, 3)) < 1e-6
            a, b = mask[unknown] > 0, alpha[unknown] > 0.5
            union.append((a & b).sum((1, 2, 3)) / (a | b).sum((1, 2, 3)).clamp(min=1))
    model.train()
    told = {}
    for wanted, name in ((True, "reference"), (False, "dance")):
        told[f"{name}_within_5"] = round(torch.cat(near[wanted]).mean().item(), 4)
        told[f"{name}_error"] = round(torch.cat(error[wanted]).mean().item(), 4)
    return told | {"iou": round(torch.cat(union).mean().item(), 4)} | named.told("parts")


class Named:
    """How well parts are told, skirts counted to the torso: the share of pixels, and the mean over the parts of intersection over union."""

    def __init__(self):
        self.pairs = torch.zeros(len(PARTS), len(PARTS))

    def add(self, found, true):
        """Both as `PARTS`, 1 + the index; where either is 0 nothing is known."""
        found, true = (torch.where(z == 1 + PARTS.index("skirt"), 1, z.long()) for z in (found, true))
        known = (found > 0) & (true > 0)
        self.pairs += torch.bincount(true[known] * len(PARTS) + found[known], minlength=len(PARTS) ** 2).view(len(PARTS), -1)

    def told(self, name):
        right, union = self.pairs.diagonal(), self.pairs.sum(0) + self.pairs.sum(1) - self.pairs.diagonal()
        iou = (right / union.clamp(min=1))[1:]
        return {f"{name}_right": round((right.sum() / self.pairs.sum()).item(), 4), f"{name}_iou": round(iou.mean().item(), 4), f"{name}_hair_iou": round(iou[PARTS.index("hair")].item(), 4)}


def judge_rules(folders: list):
    """The same of the engine's rules, which were given the true joints: a control."""
    named = Named()
    for path in sorted(path for folder in folders for path in folder.glob("held-*.safetensors")):
        with safe_open(path, "pt") as f:
            if "ruled_parts" in f.keys():
                named.add(f.get_tensor("ruled_parts"), f.get_tensor("parts"))
    return named.told("rules")


# Which of our points a drawing's joint may be: its makers put the hand's now into the hand and now on the wrist.
DRAWING = {"left_shoulder": "left_shoulder", "left_elbow": "left_elbow", "left_hand": "left_hand left_wrist", "left_hip": "left_hip", "left_knee": "left_knee", "left_foot": "left_ankle"}
DRAWING |= {a.replace("left", "right"): b.replace("left", "right") for a, b in DRAWING.items()} | {"hip": "pelvis", "torso": "neck"}


@torch.no_grad()
def judge_drawings(model, folder: Path):
    """Share of the given joints within 5 % of the figure's height, a drawing each; of what a joint may be, the nearest counts."""
    import yaml
    from PIL import Image

    model.eval()
    told = {}
    for path in sorted(folder.glob("*/char_cfg.yaml")):
        given = {j["name"]: j["loc"] for j in yaml.safe_load(path.read_text())["skeleton"]}
        image, mask = Image.open(path.parent / "texture.png").convert("RGB"), Image.open(path.parent / "mask.png").convert("L")
        alpha = np.asarray(mask.resize(image.size), np.float32)[..., None] / 255
        rows, columns = (np.nonzero(alpha.max(axis)[:, 0] > 0.5)[0] for axis in (1, 0))
        corner, size = np.array([columns[0], rows[0]]), np.array([columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1])
        # Framed and looked at twice as `find_keypoints` in engine/src/avatar/import.rs does.
        side = int(size.max() / 0.88)
        before = (side - size) // 2
        x = np.zeros((side, side, 4), np.float32)
        x[before[1] : before[1] + size[1], before[0] : before[0] + size[0]] = np.concatenate([np.asarray(image) / 255 * alpha, alpha], -1)[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        x = F.interpolate(torch.from_numpy(x).permute(2, 0, 1)[None], size=(SIZE, SIZE), mode="area")
        x[:, :3] += 0.5 * (1 - x[:, 3:])
        turned = positions(model(x.flip(-1))[0])[0][0][SWAP]
        at = 0.5 * (positions(model(x)[0])[0][0] + torch.stack([SIZE - turned[:, 0], turned[:, 1]], -1)).numpy() * side / SIZE
        at = at - before + corner
        # Their left is the picture's left or right as its maker liked: the nearer reading counts.
        off = [min(np.linalg.norm(at[NAMES.index(p)] - np.array(given[k])) for p in DRAWING[j].split() for k in {j, j.replace("left", "?").replace("right", "left").replace("?", "right")}) for j in DRAWING if j in given]
        told[path.parent.name] = {"within_5": round(float((np.array(off) / size[1] < 0.05).mean()), 3), "worst": round(float(np.max(off) / size[1]), 3)}
    model.train()
    return told


def golden(model):
    """Inputs that both sides compute, and what they give, thinned."""
    y, x = torch.meshgrid(torch.arange(SIZE).float(), torch.arange(SIZE).float(), indexing="ij")
    alpha = (((x - 64) / 30) ** 2 + ((y - 64) / 52) ** 2 < 1).float()
    rgb = torch.stack([x / SIZE, y / SIZE, (x + y) / (2 * SIZE)])
    picture = torch.cat([rgb * alpha + 0.5 * (1 - alpha), alpha[None]])[None]
    with torch.no_grad():
        heat, mask, parts = model.eval()(picture)
    at, sure = positions(heat)
    return {"parts": parts[0, :, ::8, ::8].softmax(0).contiguous(), "heat": heat[0, :, ::4, ::4].contiguous(), "mask": mask[0, 0, ::8, ::8].sigmoid().contiguous(), "points": at[0], "sure": sure[0]}


def export(state, models: Path, version: str):
    model = FigureFinder(FigureConfig(**{**state["config"], "channels": tuple(state["config"]["channels"])}))
    tensors = {k: v.half() for k, v in state["average"].items()}
    save_file(tensors, models / "figure.safetensors", {"config": json.dumps(state["config"]), "version": version})
    model.load_state_dict({k: v.float() for k, v in tensors.items()})
    save_file(golden(model), models / "golden/figure.safetensors", {"version": version})
    print(f"figure {version}: {sum(t.numel() for t in tensors.values()) / 1e6:.2f} M parameters, {(models / 'figure.safetensors').stat().st_size / 1e6:.1f} MB")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, nargs="+", required=True, help="folders of frames-*.safetensors and held-*.safetensors")
    p.add_argument("--begin", type=Path, help="weights of an earlier version to go on from")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--minutes", type=float, default=30.0)
    p.add_argument("--doodles", type=int, default=2500, help="drawings to learn from beside the rigs")
    p.add_argument("--drawings", type=Path, help="folder of real ones to be judged by, Meta's Animated Drawings' form; nothing is learnt from them")
    p.add_argument("--export", type=Path)
    p.add_argument("--version", default="1.0")
    a = p.parse_args()
    torch.manual_seed(SEED)
    a.out.mkdir(parents=True, exist_ok=True)
    path = a.out / "figure.pt"
    model = FigureFinder()
    if a.begin:
        known = {k: v.float() for k, v in load_file(a.begin).items()}
        model.load_state_dict(model.state_dict() | known)
    average = {k: v.clone() for k, v in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), LEARNING_RATE, betas=(0.9, 0.98), weight_decay=0.01)
    step, spent = 0, 0.0
    if path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        average, step, spent = state["average"], state["step"], state["minutes"]
    if a.export:
        export(torch.load(path, weights_only=True), a.export, a.version)
        if a.minutes <= 0:
            return
    train, held = load(a.data, "frames-*.safetensors"), load(a.data, "held-*.safetensors")
    if a.doodles:
        train = tuple(torch.cat(both) for both in zip(train, doodles.make(a.doodles, SEED), strict=True))
    print(f"{len(train[0])} pictures, {int(train[3].sum())} of them references, {a.doodles} of those drawings; {len(held[0])} held out", flush=True)
    print(json.dumps(judge_rules(a.data)), flush=True)
    g = torch.Generator().manual_seed(SEED + step)
    began, shown, losses = time.monotonic(), -1, []
    until = spent + a.minutes

    def minutes():
        return spent + (time.monotonic() - began) / 60

    def save():
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "average": average, "step": step, "minutes": minutes(), "config": model.cfg.as_dict()}, path.with_suffix(".part"))
        path.with_suffix(".part").rename(path)

    while minutes() < until:
        # Falls to nothing at the end of the time that was given, so a resumed run warms up again.
        rate = min(1.0, (step + 1) / 100) * 0.5 * (1 + math.cos(math.pi * min(1.0, minutes() / until)))
        for group in optimizer.param_groups:
            group["lr"] = LEARNING_RATE * max(rate, 0.02)
        value = loss(model, *batch(train, g))
        optimizer.zero_grad(set_to_none=True)
        value.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 2.0)
        optimizer.step()
        step += 1
        keep = min(0.998, step / (step + 20))
        for k, v in model.state_dict().items():
            average[k].lerp_(v, 1 - keep)
        losses.append(value.item())
        if int(minutes()) // 3 != shown:
            shown = int(minutes()) // 3
            save()
            judged = FigureFinder(model.cfg)
            judged.load_state_dict(average)
            told = judge(judged, held) | (judge_drawings(judged, a.drawings) if a.drawings else {})
            print(json.dumps({"step": step, "minutes": round(minutes(), 1), "loss": round(float(np.mean(losses[-100:])), 4)} | told), flush=True)
    save()
    judged = FigureFinder(model.cfg)
    judged.load_state_dict(average)
    print(json.dumps({"step": step, "minutes": round(minutes(), 1)} | judge(judged, held, 40) | (judge_drawings(judged, a.drawings) if a.drawings else {})), flush=True)
    if a.export:
        export(torch.load(path, weights_only=True), a.export, a.version)


if __name__ == "__main__":
    main()
