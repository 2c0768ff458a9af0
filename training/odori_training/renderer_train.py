"""Trains the denoiser for 1, 2 and 4 steps on its own outputs.

    python -m odori_training.renderer_train --data DIR --out DIR --minutes 60 [--begin ../models/denoiser.safetensors]

Resumable: the same command goes on from OUT/denoiser.pt. `--minutes` is training time in all; the learning rate follows
the share of it that has passed. Shards that appear under --data while it runs are picked up. OUT/denoiser.jsonl is the log.
"""

import argparse
import copy
import json
import os
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import nn

from . import compute, renderer_data
from .compute import autocast, here
from .renderer_data import WORK, Clips
from .renderer_loss import caution, detail_loss, flow_loss, keypoint_flow_loss, picture_loss, steadiness_loss
from .renderer_model import Denoiser, DenoiserConfig, Output, sample, settle, step_times

PATCH = 4
# Steps between the workers' meetings: on a shared machine, meeting at every step makes each wait for the slower.
MEET = 8
# Cuts round the figure, rows and columns, taken in turn: most poses are narrow, and empty ground teaches little.
WINDOWS = ((112, 64), (112, 64), (112, 80), (112, 64), (112, 64), (112, 80), (112, 64), (128, 128))
# A step that took longer than this was interrupted: what is beyond is no training time.
PAUSE_S = 10.0
# Of eight batches these are of larger working sizes, cut so, and of so many eighths of the clips: as dear as the others.
LARGE = {0: (192, (192, 96), 3), 4: (192, (192, 96), 3), 2: (256, (256, 128), 2)}


def orthogonalise(g):
    """The nearest semi-orthogonal matrix, roughly, by five Newton-Schulz steps (Muon, Jordan 2024)."""
    x = g.to(compute.precision())
    x = x / (x.norm() + 1e-7)
    turned = x.shape[0] > x.shape[1]
    x = x.T if turned else x
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    return (x.T if turned else x).float()


class Muon(torch.optim.Optimizer):
    """Momentum whose update is made orthogonal: for the hidden matrices."""

    def __init__(self, params, lr: float, momentum: float = 0.95, decay: float = 0.01):
        super().__init__(params, {"lr": lr, "momentum": momentum, "decay": decay})

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is None:
                    continue
                s = self.state[p]
                if "m" not in s:
                    s["m"] = torch.zeros_like(p)
                s["m"].lerp_(p.grad, 1 - group["momentum"])
                g = p.grad.lerp(s["m"], group["momentum"]).flatten(1)
                u = orthogonalise(g) * max(1.0, g.shape[0] / g.shape[1]) ** 0.5
                p.mul_(1 - group["lr"] * group["decay"]).add_(u.view_as(p), alpha=-group["lr"])


def optimisers(model, lr: float):
    hidden, rest = [], []
    for name, p in model.named_parameters():
        outer = any(k in name for k in ("tokens", "ada.", "rgba", "mask", "flow", "stem", "cond1"))
        (hidden if p.ndim >= 2 and not outer else rest).append(p)
    return [Muon(hidden, lr=10 * lr), torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.98), weight_decay=0.01)]


class Average:
    """Exponential moving average of the weights, faster at the start."""

    def __init__(self, model, decay: float = 0.997):
        self.model, self.decay, self.n = copy.deepcopy(model).eval(), decay, 0

    @torch.no_grad()
    def update(self, model):
        self.n += 1
        d = min(self.decay, (1 + self.n) / (10 + self.n))
        for a, b in zip(self.model.parameters(), model.parameters(), strict=True):
            a.lerp_(b, 1 - d)


def flat(x):
    """(B, F, ...) to (B * F, ...)"""
    return x.flatten(0, 1)


def reference_features(model, batch, repeat: int):
    k, v = model.reference(batch["reference"])
    return k.repeat_interleave(repeat, 0), v.repeat_interleave(repeat, 0)


def load_beginning(model, path):
    """Takes what fits from an earlier version's weights; inputs that it did not have start at zero."""
    old, own = load_file(path), model.state_dict()
    for name, value in own.items():
        if name not in old:
            continue
        was = old[name].float()
        if was.shape == value.shape:
            value.copy_(was)
        elif was.ndim == value.ndim and was.shape[0] == value.shape[0] and was.shape[1] < value.shape[1]:
            value.zero_()
            value[:, : was.shape[1]] = was
    if "flow.weight" not in old:
        # It corrected a warp that stayed where it was: what the flow can do is no longer the correction's.
        own["rgba.weight"].zero_()
        own["rgba.bias"].zero_()
    for name in ("flow.weight", "flow.bias"):
        # A flow of coarser cells: each gives its vector, in units that are as much larger, to those it is cut into.
        cells = own[name].shape[0] // old[name].shape[0] if name in old else 1
        if cells > 1:
            own[name].copy_(old[name].float().repeat(cells, *[1] * (old[name].ndim - 1)) * cells**0.5)
    model.load_state_dict(own)


def sampler_times(b: int):
    """(B, 1): the times of the 1-, 2- and 4-step samplers, mostly the first step's."""
    return torch.tensor([1.0] * 7 + [0.75, 0.5, 0.25])[torch.randint(0, 10, (b, 1))]


def first(out: Output, frames: int):
    return Output(*(z[:frames] for z in out))


def picture_terms(out: Output, truth, warp, kp, true_kp, flow):
    cell = warp.shape[-1] // out.flow.shape[-1]
    moved = 0.01 * keypoint_flow_loss(out.flow, kp, true_kp, cell) + 0.01 * flow_loss(out.flow, flow, cell)
    return picture_loss(out.x0.float(), truth, warp) + caution(out) + moved


def clip_loss(model, batch, own: bool):
    """One denoise step, all frames of a clip at once, each beside the frame before it.

    The network must live with its own pictures. `own`: a first pass without gradient gives what it would have made, and
    that is the frame before, and the end that later steps start from; else the warp stands in for both.
    """
    truth, warp = batch["truth"], batch["warp"]
    b, f = truth.shape[:2]
    start = warp + model.cfg.noise * torch.randn(b, 1, *truth.shape[2:])
    fixed = (flat(warp), flat(batch["validity"]))
    rest = (scaled(flat(batch["kp"])), flat(batch["ids"]), flat(batch["facing"]))
    with autocast():
        ref = reference_features(model, batch, f)
        end = prev = warp
        if own:
            with torch.no_grad():
                still = tuple(z.detach() for z in ref)
                out, _ = model(flat(start), torch.ones(b * f), *fixed, flat(shifted(warp)), *rest, still, f)
            end = out.x0.float().view_as(truth)
            prev = settle(out.x0.float(), out.moved, model.cfg).view_as(truth)
        prev = shifted(prev) * (torch.rand(b, f, 1, 1, 1) > 0.1)
        t = (sampler_times(b) if own else torch.ones(b, 1)).expand(b, f)
        tt = t[:, :, None, None, None]
        out, _ = model(flat((1 - tt) * end + tt * start), flat(t), *fixed, flat(prev), *rest, ref, f)
    loss = picture_terms(out, flat(truth), flat(warp), flat(batch["kp"]), flat(batch["true_kp"]), flat(batch["flow"]))
    x0 = out.x0.float().view_as(truth)
    loss = loss + 0.5 * steadiness_loss(x0[:, 1:], x0[:, :-1], truth[:, 1:], truth[:, :-1])
    if "truth_full" in batch:
        n = batch["truth_full"].shape[0] * f
        loss = loss + 0.5 * detail_loss(out.x0[:n].float(), first(out, n), flat(batch["truth_full"]), flat(batch["warp_full"]))
    return loss


def shifted(clip):
    """Each frame's predecessor; nothing before the first. (B, F, ...)"""
    return torch.cat([torch.zeros_like(clip[:, :1]), clip[:, :-1]], dim=1)


def scaled(kp):
    """Keypoints of pixels to keypoints of patches."""
    return kp * torch.tensor([1 / PATCH, 1 / PATCH, 1.0, 1.0])


def frame_of(batch, i: int):
    return {k: batch[k][:, i] for k in ("warp", "validity", "ids", "facing")} | {"kp": scaled(batch["kp"][:, i])}


def rollout_loss(model, batch, rng):
    """The sampler on its own rollout: each frame sees the output before it and its own past features. One randomly
    chosen step of each frame's n steps has a gradient; before the last, it is also drawn to where the sampler ended."""
    truth, warp = batch["truth"], batch["warp"]
    b, f = truth.shape[:2]
    steps = int(rng.choice([1, 2, 4], p=[0.6, 0.3, 0.1]))
    times = step_times(steps)
    noise = torch.randn(b, *truth.shape[2:])
    prev, past, before = torch.zeros_like(warp[:, 0]), None, None
    total = 0.0
    with autocast():
        ref = reference_features(model, batch, 1)
    still = tuple(z.detach() for z in ref)
    for i in range(f):
        at = frame_of(batch, i)
        chosen = int(rng.integers(0, steps))
        x = warp[:, i] + model.cfg.noise * noise
        for s, t in enumerate(times):
            with torch.set_grad_enabled(s == chosen), autocast():
                out, present = model(x, torch.full((b,), t), at["warp"], at["validity"], prev, at["kp"], at["ids"], at["facing"],
                                     ref if s == chosen else still, 1, past)
            if s == chosen:
                graded = out
            if s + 1 < steps:
                r = times[s + 1] / t
                x = (r * x + (1 - r) * out.x0.float()).detach()
        x0 = graded.x0.float()
        total = total + picture_terms(graded, truth[:, i], warp[:, i], batch["kp"][:, i], batch["true_kp"][:, i], batch["flow"][:, i])
        if chosen + 1 < steps:
            total = total + 0.5 * (x0 - out.x0.float().detach()).abs().mean()
        if i:
            total = total + 0.5 * steadiness_loss(x0, before, truth[:, i], truth[:, i - 1])
        before = prev = settle(out.x0.detach().float(), out.moved.detach(), model.cfg)
        past = tuple(z.detach() for z in present)
    return total / f


@torch.no_grad()
def danced(model, clips, count: int):
    """One step of the network on its own outputs, on fixed whole clips. Yields for every frame but the first, which has no past: its place,
    the picture, the `Output`, and the batch."""
    pick = [clips.index[int(j)] for j in np.linspace(0, len(clips.index) - 1, count)]
    batch = clips.batch(count, (128, 128), 0, False, pick)
    noise = here(torch.randn(1, 4, 128, 128, generator=torch.Generator("cpu").manual_seed(1), device="cpu")).expand(count, -1, -1, -1)
    prev, past = torch.zeros_like(noise), None
    with autocast():
        ref = reference_features(model, batch, 1)
        for i in range(batch["truth"].shape[1]):
            prev, out, past = sample(model, noise, 1, frame_of(batch, i), prev, ref, past)
            if i:
                yield i, prev, out, batch


def validate(model, clips, count: int = 24):
    """Figure PSNR of puppet, of one step and of the moved warp alone."""
    error, area = np.zeros((3, count)), np.zeros(count)
    for i, shown, out, batch in danced(model, clips, count):
        truth, warp = batch["truth"][:, i], batch["warp"][:, i]
        m = torch.maximum(truth[:, 3:4], warp[:, 3:4]) > 0.02
        error += np.stack([(((z - truth) ** 2) * m).sum((1, 2, 3)).cpu().numpy() for z in (warp, shown, out.moved)])
        area = area + 4 * m.sum((1, 2, 3)).cpu().numpy()
    return [round(float((-10 * np.log10(e / area)).mean()), 3) for e in error]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    renderer_data.add_arguments(p)
    p.add_argument("--out", required=True)
    p.add_argument("--minutes", type=float, required=True)
    p.add_argument("--begin", help="weights of an earlier version to go on from")
    p.add_argument("--batch", type=int, default=6, help="clips a worker and step")
    p.add_argument("--rollouts", type=float, default=0.15, help="share of batches run frame by frame on the network's own output")
    p.add_argument("--own", type=float, default=0.4, help="share of the other batches that first make the network's own pictures")
    p.add_argument("--lr", type=float, default=1e-3)
    p.add_argument("--workers", type=int, default=os.cpu_count(), help="processes of one thread each, weights averaged; on a GPU one")
    compute.add_arguments(p)
    p.add_argument("--seed", type=int, default=0)
    a = p.parse_args()
    if compute.chosen(a) != "cpu":
        a.workers = 1
    if a.workers == 1:
        return train(0, a)
    with tempfile.TemporaryDirectory() as folder:
        a.meeting = f"file://{folder}/meeting"
        torch.multiprocessing.spawn(train, (a,), nprocs=a.workers)


@torch.no_grad()
def average_workers(model, spent: float) -> float:
    """Every worker takes the mean of all weights; returns their mean time, so that all stop at the same step."""
    params = list(model.parameters())
    every = torch.cat([p.reshape(-1) for p in params] + [torch.tensor([spent])])
    dist.all_reduce(every)
    every /= dist.get_world_size()
    at = 0
    for p in params:
        p.copy_(every[at : at + p.numel()].view_as(p))
        at += p.numel()
    return float(every[-1])


def train(rank: int, a):
    # On a shared machine a worker with two threads spends its time at barriers.
    device = compute.begin(a, rank == 0)
    if a.workers > 1:
        dist.init_process_group("gloo", init_method=a.meeting, rank=rank, world_size=a.workers)
    torch.manual_seed(a.seed)
    rng = np.random.default_rng(a.seed)
    out = Path(a.out)
    out.mkdir(parents=True, exist_ok=True)
    clips = Clips(a.data, "frames", a.clips, a.tokens, a.seed + 1000 * rank)
    held = Clips(a.data, "held", a.clips, a.tokens)
    while not clips.refresh():
        time.sleep(5)  # the generator may still be at its first shard
    model = Denoiser(DenoiserConfig()).to(memory_format=torch.channels_last)
    if a.begin:
        load_beginning(model, a.begin)
    spent, step = 0.0, 0
    opts = optimisers(model, a.lr)
    average = Average(model)
    path = out / "denoiser.pt"
    if path.exists():
        state = torch.load(path, map_location=device, weights_only=True)
        model.load_state_dict(state["model"])
        average.model.load_state_dict(state["average"])
        for o, s in zip(opts, state["optimisers"], strict=True):
            o.load_state_dict(s)
        spent, step, average.n = state["spent"], state["step"], state["step"]
        rng = np.random.default_rng(a.seed + step)
        clips.rng = np.random.default_rng(a.seed + step + 1 + 1000 * rank)
    base = [[g["lr"] for g in o.param_groups] for o in optimisers(model, a.lr)]
    torch.manual_seed(a.seed + step + 1 + 1000 * rank)
    log = open(out / "denoiser.jsonl", "a")

    def save():
        tmp = path.with_suffix(".tmp")
        torch.save({"model": model.state_dict(), "average": average.model.state_dict(), "optimisers": [o.state_dict() for o in opts],
                    "spent": spent, "step": step, "config": model.cfg.as_dict()}, tmp)
        tmp.replace(path)

    running, last_save, total = None, time.time(), a.minutes * 60
    agreed = spent  # the workers' mean time at their last meeting
    while agreed < total:
        began = time.time()
        share = agreed / total
        scale = min(1.0, (step + 1) / 20) * (1.0 if share < 0.4 else max(0.02, (1 - share) / 0.6))
        for o, lrs in zip(opts, base, strict=True):
            for g, lr in zip(o.param_groups, lrs, strict=True):
                g["lr"] = lr * scale
        window = WINDOWS[step % len(WINDOWS)]
        full = 2 if step % 2 == 0 else 0
        work, cut, eighths = LARGE.get(step % 8, (WORK, window, 8))
        if work > WORK and any(s.size > WORK for s in clips.shards):
            batch = clips.batch(max(1, a.batch * eighths // 8), cut, full // 2 if work == 192 else 0, work=work)
        else:
            batch = clips.batch(a.batch, window, full)
        if rng.random() < a.rollouts:
            loss = rollout_loss(model, batch, rng)
        else:
            loss = clip_loss(model, batch, rng.random() < a.own)
        for o in opts:
            o.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        if torch.isfinite(norm):
            for o in opts:
                o.step()
            average.update(model)
        step += 1
        spent += min(time.time() - began, PAUSE_S)
        if step % MEET == 0:
            if a.workers > 1:
                spent = average_workers(model, spent)
            agreed = spent
        value = float(loss.detach())
        running = value if running is None else 0.97 * running + 0.03 * value
        if rank == 0 and step % 20 == 0:
            line = {"step": step, "minutes": round(spent / 60, 2), "loss": round(running, 5), "clips": len(clips.index), "tokens": clips.table is not None}
            if step % 100 == 0 and held.index:
                line["held_puppet_db"], line["held_db"], line["held_moved_db"] = validate(average.model, held)
            print(json.dumps(line), flush=True)
            print(json.dumps(line), file=log, flush=True)
        if step % 50 == 0:
            clips.refresh()
            held.refresh()
        if rank == 0 and time.time() - last_save > 90:
            save()
            last_save = time.time()
    if rank == 0:
        save()
        print(f"{step} steps, {spent / 60:.1f} minutes", flush=True)


if __name__ == "__main__":
    main()
