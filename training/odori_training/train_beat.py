"""Trains the beat network on beat_data's songs and exports models/beat.safetensors.

    python -m odori_training.train_beat [--minutes M] [--resume] [--grow WEIGHTS]

Crops of 24 s, some of them played faster or slower, or with their spectrum moved; a quarter go on from the state at the end of the
crop before, so that long streams are no surprise. The mean of the weights over the last few hundred steps is what is judged and exported.
Held-out tunes and songs give the figures: the beat's phase error and the share of hops at the right tempo.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.numpy import load_file
from safetensors.torch import save_file
from tqdm import tqdm

from . import compute
from . import skeleton as sk
from .beat_data import OUT
from .beat_model import BEATS, FASTEST, HOPS_PER_STEP, PLACES, POSITIONS, SLOWEST, TEMPI, BeatConfig, BeatNetwork, config_json
from .compute import here

CROP = 24 * 60
VERSION = "1.3"
DROP = 0.1
# A song's first bars count for more: a dance that begins off the beat is seen at once. How much more, from which second, fading over how many.
BEGINNING, BEGINS_S, FADES_S = 1.5, 2.0, 8.0
MEAN_OVER = 300  # steps
STRETCH = (0.85, 1.18)  # how much faster a crop is played


def soft_circular(x, classes, width):
    """(…) positions in class units to (…, classes): a circular bump of standard deviation `width`."""
    d = torch.arange(classes) - x[..., None]
    d = (d + classes / 2) % classes - classes / 2
    return torch.softmax(-0.5 * (d / width) ** 2, -1)


def targets(beat, bpm):
    position = soft_circular((beat % BEATS) * PLACES, POSITIONS, 0.7)
    index = torch.log(bpm.clamp(min=SLOWEST) / SLOWEST) / np.log(FASTEST / SLOWEST) * (TEMPI - 1)
    tempo = torch.softmax(-0.5 * ((torch.arange(TEMPI) - index[..., None]) / 0.7) ** 2, -1)
    return position, tempo, (bpm > 0).float()


def fold_bar(x):
    """(…, 64) probabilities of bar positions to (…, 16) of beat positions."""
    return x.unflatten(-1, (BEATS, PLACES)).sum(-2)


def beginning(steps):
    """(T,) weights of the steps after a start from nothing; their mean is 1."""
    t = torch.arange(steps) * HOPS_PER_STEP / 60
    w = 1 + BEGINNING * torch.where(t < BEGINS_S, t / BEGINS_S, torch.exp(-(t - BEGINS_S) / FADES_S))
    return w / w.mean()


def losses(out, beat, bpm, bars, weight=1.0):
    position, tempo, music = out[:3]
    p, t, m = targets(beat, bpm)
    log = F.log_softmax(position, -1)
    log_beat = torch.logsumexp(log.unflatten(-1, (BEATS, PLACES)), -2)
    in_beat = -(fold_bar(p) * log_beat).sum(-1)
    in_bar = -(p * log).sum(-1) - in_beat
    # Without music every position is as likely.
    flat = -log_beat.mean(-1)
    beat_loss = torch.where(m > 0, in_beat, 0.3 * flat)
    bar_loss = in_bar * m * bars[:, None]
    tempo_loss = -(t * F.log_softmax(tempo, -1)).sum(-1) * m
    music_loss = F.binary_cross_entropy_with_logits(music, m, reduction="none")
    return tuple((each * weight).mean() for each in (beat_loss, bar_loss, tempo_loss)) + (music_loss.mean(),)


def played(hops, beat, bpm, faster):
    """A crop of CROP hops of a song `faster` times as fast."""
    if faster == 1.0:
        return hops[:CROP], beat[:CROP], bpm[:CROP]
    at = np.minimum(np.arange(CROP) * faster, len(hops) - 1.001)
    low, part = at.astype(int), (at % 1).astype(np.float32)
    mixed = hops[low] * (1 - part[:, None]) + hops[low + 1] * part[:, None]
    return mixed, beat[low] + (beat[low + 1] - beat[low]) * part, bpm[low] * faster


class Songs:
    def __init__(self, folder: Path, test: bool, seed: int):
        self.d = load_file(folder / "songs.safetensors")
        self.ids, self.rng = np.flatnonzero(self.d["test"] == int(test)), np.random.default_rng(seed)
        self.length = np.diff(self.d["start"])
        self.ids = self.ids[self.length[self.ids] >= CROP]
        self.silent = [k for k in self.ids if not self.d["bpm"][self.d["start"][k] : self.d["start"][k + 1]].any()]

    def song(self, k):
        s = slice(self.d["start"][k], self.d["start"][k + 1])
        hops, beat, bpm = (here(torch.from_numpy(self.d[n][s].astype(np.float32))) for n in ("hops", "beat", "bpm"))
        whole = len(hops) // HOPS_PER_STEP * HOPS_PER_STEP
        return hops[:whole], beat[1:whole:HOPS_PER_STEP], bpm[1:whole:HOPS_PER_STEP]

    def faster(self, k):
        """How much faster song k is played; 1 for most, and where its tempo would leave what is known."""
        if self.rng.random() < 0.5:
            return 1.0
        by = np.exp(self.rng.uniform(*np.log(STRETCH)))
        bpm = self.d["bpm"][self.d["start"][k] : self.d["start"][k + 1]]
        bpm = bpm[bpm > 0]
        fits = len(bpm) == 0 or bpm.min() * by > SLOWEST + 2 and bpm.max() * by < 185
        return by if fits and self.length[k] > np.ceil(CROP * by) else 1.0

    def batch(self, size):
        hops, beat, bpm = np.zeros((size, CROP, 81), np.float32), np.zeros((size, CROP), np.float32), np.zeros((size, CROP), np.float32)
        ids = self.rng.choice(self.ids, size)
        for b, k in enumerate(ids):
            faster = self.faster(k)
            long = int(np.ceil(CROP * faster))
            at = 0 if self.rng.random() < 0.2 else int(self.rng.integers(self.length[k] - long + 1))
            s = slice(self.d["start"][k] + at, self.d["start"][k] + at + long)
            hops[b], beat[b], bpm[b] = played(self.d["hops"][s], self.d["beat"][s], self.d["bpm"][s], faster)
            if self.rng.random() < 0.3:  # instruments sound higher or lower
                by = int(self.rng.integers(-4, 5))
                hops[b, :, :80] = hops[b][:, np.clip(np.arange(80) - by, 0, 79)]
            if self.rng.random() < 0.5:  # another loudness: the logarithm is of 1 + power
                gain = 10 ** (self.rng.uniform(-14, 8) / 10)
                power = np.expm1(hops[b, :, :80] / 0.25) * gain
                hops[b, :, :80] = 0.25 * np.log1p(power)
            if self.rng.random() < 0.4:  # a band of the spectrum is missing
                low = int(self.rng.integers(0, 70))
                hops[b, :, low : low + int(self.rng.integers(4, 24))] *= np.float32(self.rng.uniform(0, 0.6))
            if self.silent and self.rng.random() < 0.25:  # the music has not begun, or is over
                edge = int(self.rng.integers(30, CROP // 2))
                where = slice(0, edge) if self.rng.random() < 0.6 else slice(CROP - edge, CROP)
                k = int(self.rng.choice(self.silent))
                at = self.d["start"][k] + int(self.rng.integers(self.length[k] - CROP + 1))
                hops[b, where] = self.d["hops"][at : at + edge] if self.rng.random() < 0.6 else 0
                bpm[b, where] = 0
        return here([torch.from_numpy(x) for x in (hops, beat[:, 1::HOPS_PER_STEP], bpm[:, 1::HOPS_PER_STEP], self.d["bars"][ids].astype(np.float32))])


@torch.no_grad()
def judge(model, songs: Songs):
    """Median absolute phase error in beats, share of steps whose phase is within 0.15 and whose tempo is within 6 %; after 6 s."""
    rows = []
    for k in songs.ids:
        hops, beat, bpm = songs.song(k)
        position, tempo, _, _ = model(hops[None])
        p = fold_bar(torch.softmax(position[0], -1))
        turn = torch.exp(2j * torch.pi * torch.arange(PLACES) / PLACES)
        phase = torch.angle((p * turn).sum(-1)) / (2 * torch.pi)
        error = (phase - beat + 0.5) % 1 - 0.5
        found = SLOWEST * (FASTEST / SLOWEST) ** (tempo[0].argmax(-1) / (TEMPI - 1))
        bar = (position[0].argmax(-1) / PLACES - beat + 2) % 4 - 2
        ok = (bpm > 0) & (torch.arange(len(bpm)) > 180)
        row = error[ok].abs().median(), (error[ok].abs() < 0.15).float().mean(), ((found[ok] / bpm[ok] - 1).abs() < 0.06).float().mean(), (bar[ok].abs() < 0.3).float().mean()
        rows.append([float(x) for x in row])
    return np.array(rows)


def exported(name):
    """PyTorch's name of a tensor as the file has it: gru1.weight_ih_l0 is gru1.input.weight."""
    for ours, theirs in (("input", "ih"), ("state", "hh")):
        for kind in ("weight", "bias"):
            name = name.replace(f".{kind}_{theirs}_l0", f".{ours}.{kind}")
    return name


def export(model, path, figures):
    meta = {"config": json.dumps(config_json(model.cfg)), "version": VERSION, "figures": json.dumps(figures)}
    save_file({exported(k): v.detach().half().cpu().contiguous() for k, v in model.state_dict().items()}, path, meta)


def load_beat(path=sk.ROOT / "models/beat.safetensors"):

    with safe_open(path, "pt") as f:
        model = BeatNetwork(BeatConfig(**json.loads(f.metadata()["config"])))
        model.load_state_dict({k: f.get_tensor(exported(k)).float() for k in model.state_dict()})
    return model.eval()


@torch.no_grad()
def grow(model, path):
    """Takes the weights of a smaller model so that the larger one begins by saying the same."""
    with safe_open(path, "pt") as f:
        old = here({k: f.get_tensor(exported(k)).float() for k in model.state_dict()})
        cfg = BeatConfig(**json.loads(f.metadata()["config"]))
    (w0, h0), (w, h) = (cfg.width, cfg.hidden), (model.cfg.width, model.cfg.hidden)
    gates = torch.cat([torch.arange(h0) + g * h for g in range(3)])
    rows = {"enter": torch.arange(w0), "gru1": gates, "gru2": gates, "leave": torch.arange(POSITIONS + TEMPI + 1)}
    columns = {"gru1.weight_ih_l0": torch.arange(w0), "gru2.weight_ih_l0": torch.arange(h0), "leave.weight": torch.cat([torch.arange(h0), h + torch.arange(h0)])}
    for name, new in model.state_dict().items():
        r = rows[name.split(".")[0]]
        if new.dim() == 1:
            new[r] = old[name]
            continue
        c = columns.get(name, torch.arange(h0) if "weight_hh" in name else torch.arange(new.shape[1]))
        new[r] = 0.0  # what is new says nothing to what was there
        new[r[:, None], c[None]] = old[name]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=45.0)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--export", type=Path, default=sk.ROOT / "models/beat.safetensors")
    compute.add_arguments(parser, 2)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--grow", type=Path, help="begin as a smaller model that was exported")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    device = compute.begin(args)
    torch.manual_seed(args.seed)
    train, test = Songs(args.out, False, args.seed), Songs(args.out, True, args.seed)
    names = json.loads(safe_open(args.out / "songs.safetensors", "np").metadata()["names"])
    model = BeatNetwork()
    if args.grow:
        grow(model, args.grow)
    mean = torch.optim.swa_utils.AveragedModel(model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(1 - 1 / MEAN_OVER))
    optimiser = torch.optim.AdamW(model.parameters(), lr=args.rate, weight_decay=1e-3, betas=(0.9, 0.98))
    done, spent, best = 0, 0.0, 0.0
    checkpoint = args.out / "beat.pt"
    if args.resume and checkpoint.exists():
        c = torch.load(checkpoint, map_location=device, weights_only=False)
        model.load_state_dict(c["model"])
        mean.load_state_dict(c["mean"])
        optimiser.load_state_dict(c["optimiser"])
        done, spent, best = c["done"], c["spent"], c["best"]
    print(f"{sum(p.numel() for p in model.parameters())} parameters, {len(train.ids)} songs, {len(test.ids)} held out")
    began, saved, state = time.time(), time.time(), None
    before = spent
    smooth = None
    with tqdm(total=args.minutes, unit="min", mininterval=10, bar_format="{l_bar}{bar}| {n:.1f}/{total:.0f} min{postfix}") as bar:
        while spent < args.minutes:
            share = spent / args.minutes
            for g in optimiser.param_groups:
                g["lr"] = args.rate * min(1, (done + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * share)) + 1e-5
            hops, beat, bpm, bars = train.batch(args.batch)
            begin, weight = (None, None), beginning(CROP // HOPS_PER_STEP)
            if state is not None and train.rng.random() < 0.25:
                begin, weight = tuple(s.detach() for s in state), 1.0
            out = model(hops, begin, DROP)
            state = out[3]
            parts = losses(out, beat, bpm, bars, weight)
            loss = parts[0] + 0.4 * parts[1] + 0.5 * parts[2] + 0.3 * parts[3]
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            mean.update_parameters(model)
            done += 1
            spent = before + (time.time() - began) / 60
            now = np.array([p.item() for p in parts])
            smooth = now if smooth is None else smooth + (now - smooth) * 0.02
            bar.n = spent
            bar.set_postfix_str(f", step {done}, beat {smooth[0]:.3f} bar {smooth[1]:.3f} tempo {smooth[2]:.3f} music {smooth[3]:.3f}", refresh=False)
            if time.time() - saved > 300 or spent >= args.minutes:
                rows = judge(mean.module.eval(), test)
                midi = np.array([names[k].startswith("d_") for k in test.ids])
                for label, pick in (("songs", ~midi), ("tunes", midi)):
                    if pick.any():
                        r = rows[pick].mean(0)
                        tqdm.write(f"step {done} held-out {label}: phase error {np.median(rows[pick, 0]):.3f}, phase right {r[1]:.3f}, tempo right {r[2]:.3f}, bar right {r[3]:.3f}")
                torch.save({"model": model.state_dict(), "mean": mean.state_dict(), "optimiser": optimiser.state_dict(), "done": done, "spent": spent, "best": best}, checkpoint)
                export(mean.module, args.export, {"phase_right": float(rows[:, 1].mean()), "tempo_right": float(rows[:, 2].mean()), "steps": done})
                saved = time.time()


if __name__ == "__main__":
    main()
