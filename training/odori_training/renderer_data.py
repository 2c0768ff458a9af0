"""Clips for the denoiser: reads the shards of `odori-datagen` (training/datagen/FORMAT.md), crops, recolours, mirrors.

Shards stay memory-mapped: a batch reads, cuts and box filters (to 128) only what it uses. New shards are picked up
while training runs. Must not know the model.

Axis letters: B clips, F frames, S size of a shard's frames (128 or 256), W working size (128), H and X rows and columns of a cut.
"""

import json
import struct
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from .compute import here

TOKEN_STEPS, TOKEN_SLOTS, NO_TOKEN = 8, 10, 512
WORK = 128
FLOW_CELL = 2  # working pixels that share a vector of the true flow
FLOW_PARTS, FLOW_UNKNOWN = 64, -32768
DTYPES = {"U8": np.uint8, "I32": np.int32, "F32": np.float32, "I64": np.int64, "F16": np.float16, "I16": np.int16}
SKELETON = Path(__file__).resolve().parents[2] / "models" / "skeleton.json"


def map_safetensors(path):
    """Memory-maps every tensor of a safetensors file. Returns (arrays, metadata)."""
    with open(path, "rb") as f:
        n = struct.unpack("<Q", f.read(8))[0]
        header = json.loads(f.read(n))
    meta = header.pop("__metadata__", {})
    raw = np.memmap(path, dtype=np.uint8, mode="r")
    out = {}
    for name, t in header.items():
        a, b = t["data_offsets"]
        out[name] = raw[8 + n + a : 8 + n + b].view(DTYPES[t["dtype"]]).reshape(t["shape"])
    return out, meta


def mirror_order():
    """For each keypoint the index of its mirror image."""
    names = [k["name"] for k in json.loads(SKELETON.read_text())["keypoints"]]

    def other(n):
        return n.replace("left", "@").replace("right", "left").replace("@", "right")

    return [names.index(other(n)) if other(n) in names else i for i, n in enumerate(names)]


def add_arguments(parser) -> None:
    """Where the clips are: what `Clips` takes."""
    parser.add_argument("--data", required=True, help="folder of frames-*.safetensors and held-*.safetensors")
    parser.add_argument("--clips", help="clips.safetensors of the motion data")
    parser.add_argument("--tokens", help="tokens.safetensors of the tokenizer")


class TokenTable:
    """Pose tokens of every 15 Hz step, and where each clip begins: windows of 8 steps for a row of `frames`."""

    def __init__(self, clips_path, tokens_path):
        clips, _ = map_safetensors(clips_path)
        self.start = np.asarray(clips["clip_start"]).astype(np.int64)
        tokens, _ = map_safetensors(tokens_path)
        table = tokens["tokens"]
        self.tokens = np.asarray(table).reshape(len(table), TOKEN_SLOTS).astype(np.int64)
        self.step_start = np.asarray(tokens["clip_start"]).astype(np.int64)
        steps = np.diff(self.start) // 2
        if (np.diff(self.step_start) != steps).any() or self.step_start[-1] != len(self.tokens):
            raise ValueError(f"{tokens_path} was not made from {clips_path}")

    def window(self, row: int):
        """(8, 10) ids of the steps ending at that which holds `row`; "no token" before the clip, and throughout for a row below zero."""
        if row < 0:
            return np.full((TOKEN_STEPS, TOKEN_SLOTS), NO_TOKEN, np.int64)
        clip = int(np.searchsorted(self.start, row, side="right")) - 1
        first, end = self.step_start[clip], self.step_start[clip + 1]
        last = min(first + (row - self.start[clip]) // 2, end - 1)
        out = np.full((TOKEN_STEPS, TOKEN_SLOTS), NO_TOKEN, np.int64)
        lo = max(first, last - TOKEN_STEPS + 1)
        out[TOKEN_STEPS - (last - lo + 1) :] = self.tokens[lo : last + 1]
        return out


def mirrored_facing(f):
    """(..., 18) X and Z axes seen in a mirror."""
    return f * np.array([1, -1, -1, -1, 1, 1] * 3, np.float32)


def box_half(a):
    """u8 (..., S, S, C) to (..., S/2, S/2, C), box means, rounded."""
    a = a.astype(np.uint16)
    a = a[..., 0::2, :, :] + a[..., 1::2, :, :]
    a = a[..., 0::2, :] + a[..., 1::2, :]
    return ((a + 2) >> 2).astype(np.uint8)


def box_three_quarters(a):
    """u8 (..., S, S, C) to (..., 3 S / 4, 3 S / 4, C), box means, rounded."""
    a = a.astype(np.float32)
    for axis in (-3, -2):
        a = np.moveaxis(a, axis, -1)
        four = a.reshape(*a.shape[:-1], -1, 4)
        three = np.stack([0.75 * four[..., 0] + 0.25 * four[..., 1], 0.5 * (four[..., 1] + four[..., 2]), 0.25 * four[..., 2] + 0.75 * four[..., 3]], -1)
        a = np.moveaxis(three.reshape(*a.shape[:-1], -1), -1, axis)
    return (a + 0.5).astype(np.uint8)


# From a shard's size to the working size.
SMALLER = {1.0: np.asarray, 2.0: box_half, 4 / 3: box_three_quarters}


class Shard:
    def __init__(self, path):
        self.path = path
        self.full, self.meta = map_safetensors(path)
        k, f, s = self.full["truth"].shape[:3]
        self.count, self.frames, self.size = k, f, s
        if s not in (WORK, 2 * WORK):
            raise ValueError(f"{path}: frames of {s} pixels, {WORK} or {2 * WORK} expected")
        kp = np.asarray(self.full["keypoints"])[..., :2]  # (K, F, 24, 2)
        first, last = kp.min(axis=(1, 2)), kp.max(axis=(1, 2))
        first[:, 1] -= 0.08 * (last - first)[:, 1]  # the top of the head lies above every keypoint
        self.centre = (first + last) / 2 * (WORK / s)  # (K, 2): column, row of the figure in working pixels


def colour_parameters(rng, b: int):
    """Per clip a colour matrix (3, 3), an offset (3), levels of posterising (0: none) and an outline strength."""
    m = np.tile(np.eye(3), (b, 1, 1))
    off = np.zeros((b, 3))
    levels = np.zeros(b)
    outline = np.zeros(b)
    grey = np.full((3, 3), 1 / 3)
    for i in range(b):
        if rng.random() < 0.6:
            if rng.random() < 0.4:
                m[i] = m[i][rng.permutation(3)]
            a = rng.uniform(-np.pi, np.pi)
            u = np.full(3, 3**-0.5)
            cross = np.array([[0, -u[2], u[1]], [u[2], 0, -u[0]], [-u[1], u[0], 0]])
            hue = np.cos(a) * np.eye(3) + np.sin(a) * cross + (1 - np.cos(a)) * np.outer(u, u)
            sat = rng.uniform(0.5, 1.6)
            m[i] = (sat * np.eye(3) + (1 - sat) * grey) @ hue @ m[i]
            gain = rng.uniform(0.7, 1.2)
            m[i] *= gain
            off[i] = rng.uniform(-0.1, 0.15, 3) + (1 - gain) * 0.4
        if rng.random() < 0.25:
            levels[i] = rng.integers(4, 12)
        if rng.random() < 0.25:
            outline[i] = rng.uniform(0.4, 1.0)
    f = lambda x: here(torch.from_numpy(np.asarray(x, np.float32)))
    return f(m), f(off), f(levels), f(outline)


def recolour(img, params, radius: int):
    """img (B, F, 4, H, W) premultiplied; the same change for every frame of a clip keeps it consistent."""
    m, off, levels, outline = params
    b = img.shape[0]
    a = img[:, :, 3:4]
    rgb = torch.einsum("bij,bfjhw->bfihw", m, img[:, :, :3]) + off[:, None, :, None, None] * a
    rgb = torch.minimum(rgb.clamp(min=0), a)
    for i in range(b):
        if levels[i] > 0:
            rgb[i] = torch.minimum((rgb[i] * levels[i]).round() / levels[i], a[i])
        if outline[i] > 0:
            core = 1 - F.max_pool2d(1 - a[i], 2 * radius + 1, 1, radius)
            rgb[i] = rgb[i] * (1 - outline[i] * (a[i] - core).clamp(0, 1))
    return torch.cat([rgb, a], dim=2)


def to_float(a):
    """u8 (..., H, W, C) to float (..., C, H, W) in 0..1."""
    t = here(torch.from_numpy(np.ascontiguousarray(a))).float().div_(255.0)
    return t.movedim(-1, -3)


class Clips:
    """Random batches from every shard under `folder` named `prefix-*.safetensors`."""

    def __init__(self, folder, prefix: str = "frames", clips=None, tokens=None, seed: int = 0):
        self.folder, self.prefix = Path(folder), prefix
        self.clips_path, self.tokens_path = clips, tokens
        self.rng = np.random.default_rng(seed)
        self.shards, self.table, self.tokens_written, self.index = [], None, None, []
        self.mirror = mirror_order()
        self.refresh()

    def refresh(self):
        """Picks up new shards, and the token table whenever it is written anew."""
        known = {s.path for s in self.shards}
        for path in sorted(self.folder.glob(f"{self.prefix}-*.safetensors")):
            if path not in known:
                shard = Shard(path)
                self.index += [(len(self.shards), i) for i in range(shard.count)]
                self.shards.append(shard)
        if self.tokens_path and Path(self.tokens_path).exists():
            written = Path(self.tokens_path).stat().st_mtime_ns
            if written != self.tokens_written:
                self.table, self.tokens_written = TokenTable(self.clips_path, self.tokens_path), written
        return len(self.index)

    def ids(self, shard, i: int):
        """(F, 8, 10) token windows of a sample."""
        f = shard.frames
        if self.table is None:
            return np.full((f, TOKEN_STEPS, TOKEN_SLOTS), NO_TOKEN, np.int64)
        return np.stack([self.table.window(int(r)) for r in shard.full["token_row"][i]])

    def batch(self, b: int, window=(128, 128), full: int = 0, augment: bool = True, pick=None, work: int = WORK):
        """A dict of tensors of working size `work` (128, or 192 where there are shards of 256), pictures cut to `window` (H, X) round the figure: reference (B, 4, W, W), truth and
        warp (B, F, 4, H, X), validity (B, F, 1, H, X), kp (B, F, 24, 4) x, y in pixels of the cut, confidence, depth in
        metres, true_kp (B, F, 24, 2), ids (B, F, 8, 10), facing (B, F, 18), flow (B, F, 2, ...), a vector for every 64th of a frame, in
        pixels, NaN where it is unknown; if `full`, truth_full and warp_full of the
        first `full` clips at 256, if there are shards of that size."""
        rng = self.rng
        if pick is None:
            index = self.index if work == WORK else [at for at in self.index if self.shards[at[0]].size > WORK]
            pick = [index[j] for j in rng.integers(0, len(index), b)]
            large = [at for at in self.index if self.shards[at[0]].size > WORK]
            full = full if large else 0
            pick[:full] = [large[j] for j in rng.integers(0, len(large), full)] if full else []
        out = {k: [] for k in ("reference", "truth", "warp", "validity", "kp", "true_kp", "ids", "facing", "flow", "truth_full", "warp_full")}
        for j, (s, i) in enumerate(pick):
            sh = self.shards[s]
            w, k = work, sh.size / work
            grid = FLOW_CELL if work == WORK else 12  # where cells of the true flow and whole pixels of the shard meet
            corner = [0, 0]
            for axis in (0, 1):
                jitter = rng.integers(-6, 7) if augment else 0
                at = round((float(sh.centre[i, 1 - axis]) * work / WORK - window[axis] / 2 + jitter) / grid) * grid
                corner[axis] = int(np.clip(at, 0, w - window[axis]))
            (y0, x0), (h, x) = corner, window
            flip = augment and rng.random() < 0.5
            step = -1 if flip else 1

            def cut(a):
                """At the shard's size; a is (F, S, S, ...)."""
                return a[:, round(k * y0) : round(k * (y0 + h)), round(k * x0) : round(k * (x0 + x))][:, :, ::step]

            small = SMALLER[k]
            truth, warp = cut(sh.full["truth"][i]), cut(sh.full["puppet"][i])
            out["truth"].append(small(truth))
            out["warp"].append(small(warp))
            out["validity"].append(small(cut(sh.full["validity"][i])[..., None]))
            out["reference"].append(small(sh.full["reference"][i])[:, ::step])
            if j < full:
                out["truth_full"].append(truth)
                out["warp_full"].append(warp)
            corner = np.array([x0, y0], np.float32)
            kp = np.concatenate([sh.full["keypoints"][i], sh.full["depths"][i][..., None]], axis=-1).astype(np.float32)
            kp[..., :2] = kp[..., :2] / k - corner
            true_kp = np.array(sh.full["true_keypoints"][i], np.float32) / k - corner
            facing = np.array(sh.full["facing"][i], np.float32)
            ids = self.ids(sh, i)
            c = w / sh.full["flow"].shape[2]
            flow = np.array(sh.full["flow"][i, :, round(y0 / c) : round((y0 + h) / c), round(x0 / c) : round((x0 + x) / c)][:, :, ::step], np.float32)
            flow = np.where(flow == FLOW_UNKNOWN, np.nan, flow / (FLOW_PARTS * k))
            if flip:
                flow[..., 0] *= -1
                kp[..., 0], true_kp[..., 0] = x - kp[..., 0], x - true_kp[..., 0]
                kp, true_kp, facing = kp[:, self.mirror], true_kp[:, self.mirror], mirrored_facing(facing)
            if flip or (augment and rng.random() < 0.1):
                ids = np.full_like(ids, NO_TOKEN)
            for name, value in (("kp", kp), ("true_kp", true_kp), ("ids", ids), ("facing", facing), ("flow", np.moveaxis(flow, -1, 1))):
                out[name].append(value)
        pictures = ("reference", "truth", "warp", "validity") + (("truth_full", "warp_full") if full else ())
        batch = {name: to_float(np.stack(out[name])) for name in pictures}
        batch |= {name: here(torch.from_numpy(np.stack(out[name]))) for name in ("kp", "true_kp", "ids", "facing", "flow")}
        if augment:
            p = colour_parameters(rng, b)
            for name in ("truth", "warp"):
                batch[name] = recolour(batch[name], p, 1)
            batch["reference"] = recolour(batch["reference"][:, None], p, 1)[:, 0]
            if full:
                head = tuple(z[:full] for z in p)
                for name in ("truth_full", "warp_full"):
                    batch[name] = recolour(batch[name], head, 2)
        return batch
