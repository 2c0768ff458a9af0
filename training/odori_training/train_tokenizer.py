"""Trains the per-part tokenizer on the clips and exports models/tokenizer.safetensors.

    python -m odori_training.train_tokenizer [--steps N] [--resume]

Codebooks learn by exponential moving averages; codes nobody uses restart at a latent of the batch. Clips, their
mirror images and random speeds (0.75 to 1.3) are the data; held-out clips give the figures.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from safetensors.torch import save_file
from tqdm import tqdm

from . import clips as clip_io
from . import compute
from . import skeleton as sk
from .compute import autocast, here
from .draw import curves
from .motion_model import FRAME_DIM, PART_DIMS, Tokenizer, TokenizerConfig, config_json

OUT = sk.ROOT / "training/out/motion"
SEQ = 32  # steps


def feature_scale(frames):
    """Mean, standard deviation (shared within a rotation block, floored) and loss weight of each feature."""
    mean, std, weight = frames.mean(0), frames.std(0), np.ones(FRAME_DIM, np.float32)
    for name, where in sk.LAYOUT.items():
        if name in sk.BONES or name == "hips":
            std[where] = max(float(np.sqrt((std[where] ** 2).mean())), 0.08)
        elif name.startswith("conf") or name.endswith("curls"):
            std[where] = np.maximum(std[where], 0.12)
            weight[where] = 0.3
        elif name == "contacts":
            weight[where] = 0.7
        elif name == "root":
            std[where], weight[where] = 0.12, 2.0
        elif name == "yaw":
            std[where], weight[where] = 0.35, 2.0
        if name in ("hips", "spine") or "Leg" in name:
            weight[where] = 1.6
    return mean.astype(np.float32), std.astype(np.float32), weight


class Codebooks:
    """Moving averages behind a tokenizer's codebooks, (Q, V) counts and (Q, V, latent) sums."""

    def __init__(self, model, decay=0.98):
        self.model, self.decay = model, decay
        self.count = torch.ones(model.codebooks.shape[:2])
        self.total = model.codebooks.clone()
        self.idle = torch.zeros(model.codebooks.shape[:2])

    @torch.no_grad()
    def start(self, latents, rng):
        """Fills the codebooks with latents of real data, the second depth with what the first leaves over."""
        m = self.model
        flat = latents.flatten(0, 1)  # (N, P, L)
        for p in range(len(m.cfg.parts)):
            x = flat[:, p]
            for depth in range(m.cfg.residual):
                q = p * m.cfg.residual + depth
                pick = here(torch.from_numpy(rng.choice(len(x), m.cfg.codes, replace=len(x) < m.cfg.codes)))
                m.codebooks[q] = x[pick] + torch.randn(m.cfg.codes, m.cfg.latent) * 1e-3
                x = x - m.codebooks[q][torch.cdist(x, m.codebooks[q]).argmin(-1)]
        self.total.copy_(m.codebooks)

    @torch.no_grad()
    def update(self, latents, tokens):
        m = self.model
        r = m.cfg.residual
        x = latents.detach().flatten(0, 1)  # (N, P, L)
        ids = tokens.flatten(0, 1)  # (N, Q)
        for p in range(len(m.cfg.parts)):
            rest = x[:, p]
            for depth in range(r):
                q = p * r + depth
                hits = torch.bincount(ids[:, q], minlength=m.cfg.codes).float()
                total = torch.zeros_like(m.codebooks[q]).index_add_(0, ids[:, q], rest)
                self.count[q].mul_(self.decay).add_(hits, alpha=1 - self.decay)
                self.total[q].mul_(self.decay).add_(total, alpha=1 - self.decay)
                code = m.codebooks[q][ids[:, q]]
                m.codebooks[q] = self.total[q] / self.count[q].clamp(min=1e-3)[:, None]
                self.idle[q] = torch.where(hits > 0, 0, self.idle[q] + 1)
                dead = torch.nonzero(self.idle[q] > 60).flatten()
                if len(dead):
                    pick = torch.randint(len(rest), (len(dead),))
                    m.codebooks[q, dead] = rest[pick]
                    self.total[q, dead], self.count[q, dead], self.idle[q, dead] = rest[pick] * 0.5, 0.5, 0.0
                rest = rest - code


def quantise_for_training(model, latents):
    """Straight-through; for a quarter of the sequences the second depth is left out, so that the first means something."""
    tokens, total = model.quantise(latents)
    coarse = model.code_vectors(tokens)[:, :, 0 :: model.cfg.residual]  # (B, T, P, L)
    drop = (torch.rand(len(latents), 1, latents.shape[2], 1) < 0.2).float()
    z = total * (1 - drop) + coarse * drop
    return tokens, latents + (z - latents).detach(), F.mse_loss(latents, total.detach())


class Batches:
    """Random stretches of SEQ steps: clips at random speeds, and, where there is a choreography, mostly that."""

    def __init__(self, clips, seed, pairs=None):
        self.clips, self.rng, self.pairs = clips, np.random.default_rng(seed), pairs
        self.ids = np.flatnonzero(~clips.test)
        calm = np.array([clips.styles[clips.style[k]] == "calm" for k in self.ids])
        size = np.diff(clips.start)[self.ids] * np.where(calm, 0.5, 1.0)
        self.p = size / size.sum()

    def next(self, batch):
        out = np.empty((batch, SEQ * 2, FRAME_DIM), np.float32)
        for b in range(batch):
            if self.pairs is not None and self.rng.random() < 0.75:
                a, e = self.pairs["span"][self.rng.integers(len(self.pairs["span"]))]
                a += int(self.rng.integers(e - a - SEQ * 2))
                x = self.pairs["frames"][a : a + SEQ * 2].astype(np.float32)
                out[b] = sk.mirror(x) if self.rng.random() < 0.5 else x
                continue
            frames = self.clips[self.rng.choice(self.ids, p=self.p)]
            speed = np.exp(self.rng.uniform(np.log(0.75), np.log(1.3)))
            need = (SEQ * 2 - 1) * speed
            at = self.rng.uniform(0, max(len(frames) - 1 - need, 0)) + np.arange(SEQ * 2) * speed
            over = np.abs(np.mod(at, 2 * (len(frames) - 1)) - 0)
            out[b] = clip_io.sample(frames, np.where(over > len(frames) - 1, 2 * (len(frames) - 1) - over, over))  # short clips turn back
        # Dance anywhere on the stage.
        out[:, :, sk.LAYOUT["root"].start] += self.rng.normal(0, 0.05, (batch, 1))
        return here(torch.from_numpy(out))


BODY_WEIGHT = torch.ones(len(sk.BODY))
for _i, _b in enumerate(sk.BODY):
    if "Leg" in sk.BONES[_b] or "Foot" in sk.BONES[_b] or sk.BONES[_b] in ("hips", "leftToes", "rightToes"):
        BODY_WEIGHT[_i] = 2.0


def loss_of(y, x, model, weight, plant=2.0, still=0.3):
    """Reconstruction of normalised features, their velocity, and the joints' positions and velocities (metres)."""
    dn = (y - x) / model.std
    rec = (F.smooth_l1_loss(dn, torch.zeros_like(dn), reduction="none", beta=0.5) * weight).mean()
    vel = ((dn[:, 1:] - dn[:, :-1]).abs() * weight).mean()
    py, px = sk.positions_torch(y), sk.positions_torch(x)
    d = (py - px) * BODY_WEIGHT.to(px.device)[:, None]
    fk = d.abs().mean() + 3.0 * (d[:, 1:] - d[:, :-1]).abs().mean()
    # A foot that stands in the data stands in the picture.
    feet = [sk.BODY.index(sk.INDEX[n]) for n in ("leftFoot", "rightFoot")]
    on = x[:, 1:, sk.LAYOUT["contacts"]]
    fk = fk + plant * ((py[:, 1:, feet] - py[:, :-1, feet]).norm(dim=-1) * on).mean()
    return rec + still * vel + 6.0 * fk, rec, fk


def load_pairs(path):
    """The choreography of motion_data, if it has been made."""
    if not path.exists():
        return None
    data = load_file(path)
    start = data["frame_start"]
    span = [(a, b) for a, b, test in zip(start[:-1], start[1:], data["test"], strict=True) if not test and b - a > SEQ * 2]
    return {"frames": data["frames"], "span": span, "start": start, "test": data["test"]}


@torch.no_grad()
def report(model, clips, ids):
    """Joint error (cm) per part, velocity error and codebook use over whole clips."""
    err, foot, used = [], [], [set() for _ in range(model.cfg.slots)]
    for k in ids:
        x = here(torch.from_numpy(clips[k])[None])
        tokens, _ = model.quantise(model.encode_latents(x))
        y = model.decode(tokens)
        for q in range(model.cfg.slots):
            used[q].update(tokens[0, :, q].tolist())
        px, py = sk.positions_torch(x[0]), sk.positions_torch(y[0])
        err.append((px - py).norm(dim=-1).cpu().numpy())
        feet = [sk.BODY.index(sk.INDEX[n]) for n in ("leftFoot", "rightFoot")]
        on = x[0, 1:, sk.LAYOUT["contacts"]] > 0.5
        foot.append(((py[1:, feet] - py[:-1, feet])[..., [0, 2]].norm(dim=-1)[on] * 30).cpu().numpy())
    err = np.concatenate(err) * 100
    names = [sk.BONES[b] for b in sk.BODY]
    groups = {"root": ["hips"], "upper": ["chest", "leftLowerArm", "rightLowerArm"], "lower": ["leftLowerLeg", "rightLowerLeg", "leftFoot", "rightFoot"],
              "head": ["head"], "left_hand": ["leftHand"], "right_hand": ["rightHand"]}  # fmt: skip
    out = {g: round(float(err[:, [names.index(n) for n in ns]].mean()), 2) for g, ns in groups.items()}
    out["all"] = round(float(err.mean()), 2)
    out["foot_skate_m_s"] = round(float(np.concatenate(foot).mean()), 3)
    out["codes_used"] = [len(u) for u in used]
    return out


def export(model, path, version, extra=None):
    state = {k: v.half().cpu().contiguous() for k, v in model.state_dict().items()}
    assert all(torch.isfinite(v).all() for v in state.values())
    save_file(state, path, {"config": json.dumps(config_json(model.cfg)), "version": version, **(extra or {})})


def write_tokens(model, clips, path):
    """tokens (N/2, 10) of every clip and clip_start / 2, for the renderer's trainer."""
    with torch.no_grad():
        tokens = torch.cat([model.quantise(model.encode_latents(here(torch.from_numpy(clips[k])[None])))[0][0].cpu() for k in range(len(clips))])
    start = torch.from_numpy(clips.start // 2).int()
    assert len(tokens) == start[-1]
    save_file({"tokens": tokens.int().contiguous(), "clip_start": start}, path, {"names": json.dumps(clips.names)})
    (path.parent / "TOKENS_READY").write_text(path.name + "\n")


@torch.no_grad()
def write_pair_tokens(model, pairs, path):
    """tokens (N/2, 10) of the choreography, the plain and the mirrored."""
    for name, change in (("pair_tokens", lambda x: x), ("pair_tokens_mirror", sk.mirror)):
        out = [model.quantise(model.encode_latents(here(torch.from_numpy(change(pairs["frames"][a:b].astype(np.float32)))[None])))[0][0].cpu() for a, b in zip(pairs["start"][:-1], pairs["start"][1:], strict=True)]
        save_file({"tokens": torch.cat(out).int().contiguous()}, path / f"{name}.safetensors")


def write_all_tokens(model, clips, pairs, folder):
    write_tokens(model, clips, folder / "tokens.safetensors")
    if pairs is not None:
        write_pair_tokens(model, pairs, folder)


def polish_decoder(model, clips, pairs, minutes, folder, seed):
    """Trains the decoder alone on the choreography's tokens, with more weight on feet that stand. Tokens keep their meaning."""
    rng = np.random.default_rng(seed)
    weight = here(torch.from_numpy(feature_scale(clips.frames[np.repeat(~clips.test, np.diff(clips.start))])[2]))
    tables = [load_file(folder / f"pair_tokens{m}.safetensors")["tokens"] for m in ("", "_mirror")]
    opt = torch.optim.AdamW(model.decoder.parameters(), lr=1e-3, betas=(0.9, 0.98), weight_decay=1e-3)
    begun, step = time.time(), 0
    bar = tqdm(desc="decoder", mininterval=10)
    while (done := (time.time() - begun) / (60 * minutes)) < 1:
        opt.param_groups[0]["lr"] = 1e-3 * min(1, (step + 1) / 50) * max(0.02, 0.5 * (1 + np.cos(np.pi * done)))
        tokens, frames = [], []
        for _ in range(24):
            a, e = pairs["span"][rng.integers(len(pairs["span"]))]
            a += 2 * int(rng.integers((e - a) // 2 - SEQ))
            side = int(rng.integers(2))
            x = pairs["frames"][a : a + 2 * SEQ].astype(np.float32)
            frames.append(sk.mirror(x) if side else x)
            tokens.append(tables[side][a // 2 : a // 2 + SEQ])
        x, tokens = here([torch.from_numpy(np.stack(frames)), torch.from_numpy(np.stack(tokens)).long()])
        with torch.no_grad():
            z = model.code_vectors(tokens).unflatten(2, (len(model.cfg.parts), model.cfg.residual)).sum(3).flatten(2)
        with autocast():
            y = model.decoder(z)
        y = y.float().reshape(len(x), -1, FRAME_DIM) * model.std + model.mean
        # The first steps lack the history that the decoder has in use.
        loss, rec, fk = loss_of(y[:, 6:], x[:, 6:], model, weight, plant=6.0, still=0.6)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.decoder.parameters(), 1.0)
        opt.step()
        step += 1
        bar.update()
        if step % 20 == 0:
            bar.set_postfix(loss=f"{loss:.3f}", rec=f"{rec:.3f}", fk_cm=f"{100 * fk:.2f}")
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--minutes", type=float, default=10.0, help="stop after this long, whatever the step")
    parser.add_argument("--batch", type=int, default=24)
    compute.add_arguments(parser)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--polish-decoder", action="store_true", help="train the exported tokenizer's decoder alone, for --minutes")
    parser.add_argument("--write-tokens", action="store_true", help="write the tokens of clips and pairs by the exported tokenizer, nothing else")
    parser.add_argument("--single", type=int, default=0, metavar="DEPTH", help="one codebook of this residual depth for the whole body, as an ablation: figures only")
    parser.add_argument("--export-to", type=Path, default=sk.ROOT / "models/tokenizer.safetensors")
    parser.add_argument("--seed", type=int, default=2)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    compute.begin(args)
    clips = clip_io.load(args.out / "clips.safetensors")
    if args.write_tokens:
        from .train_motion import load_tokenizer

        write_all_tokens(load_tokenizer(), clips, load_pairs(args.out / "pairs.safetensors"), args.out)
        return
    if args.polish_decoder:
        from .train_motion import load_tokenizer

        model = load_tokenizer()
        ids = np.flatnonzero(clips.test & ~clips.mirror)
        print("held out before", report(model, clips, ids))
        polish_decoder(model.train(), clips, load_pairs(args.out / "pairs.safetensors"), args.minutes, args.out, args.seed)
        print("held out after", report(model.eval(), clips, ids), "train", report(model, clips, np.flatnonzero(~clips.test & ~clips.mirror)))
        export(model, args.export_to, "2", {"parts": json.dumps(PART_DIMS)})
        return
    # As wide altogether as the parts are.
    single = TokenizerConfig(whole=True, latent=320, hidden=576, residual=args.single)
    model = Tokenizer(single if args.single else TokenizerConfig())
    mean, std, weight = feature_scale(clips.frames[np.repeat(~clips.test, np.diff(clips.start))])
    model.mean.copy_(torch.from_numpy(mean))
    model.std.copy_(torch.from_numpy(std))
    weight = here(torch.from_numpy(weight))
    pairs = load_pairs(args.out / "pairs.safetensors")
    data, books = Batches(clips, args.seed, pairs), Codebooks(model)
    opt = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.98), weight_decay=1e-3)
    name = f"tokenizer_single{args.single}" if args.single else "tokenizer"
    ckpt, at, history = args.out / f"{name}.pt", 0, []
    if args.resume and ckpt.exists():
        saved = torch.load(ckpt, map_location=torch.get_default_device(), weights_only=False)
        model.load_state_dict(saved["model"])
        opt.load_state_dict(saved["opt"])
        books.count, books.total, books.idle = saved["books"]
        at, history = saved["step"], saved["history"]
    else:
        with torch.no_grad():
            books.start(model.encode_latents(data.next(64)), data.rng)
    begun = time.time()
    bar = tqdm(range(at, args.steps), initial=at, total=args.steps, desc="tokenizer", mininterval=5)
    for step in bar:
        done = max((step - at) / max(args.steps - at, 1), (time.time() - begun) / (60 * args.minutes))
        for group in opt.param_groups:
            group["lr"] = 2e-3 * min(1, (step + 1) / 100) * max(0.03, 0.5 * (1 + np.cos(np.pi * min(done, 1.0))))
        x = data.next(args.batch)
        with autocast():
            latents = model.encode_latents(x)
        latents = latents.float()
        if step < 120:  # first an autoencoder, then codes
            tokens, z, commit = None, latents + 0.02 * torch.randn_like(latents), latents.pow(2).mean() * 1e-3
            if step == 119:
                books.start(latents.detach(), data.rng)
        else:
            tokens, z, commit = quantise_for_training(model, latents)
        with autocast():
            y = model.decoder(z.flatten(2))
        y = y.float().reshape(len(x), -1, FRAME_DIM) * model.std + model.mean
        loss, rec, fk = loss_of(y, x, model, weight)
        opt.zero_grad()
        (loss + 0.3 * commit).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        if tokens is not None:
            books.update(latents, tokens)
        history.append((float(loss.detach()), float(rec.detach()), float(fk.detach()), float(commit.detach())))
        if step % 20 == 0:
            bar.set_postfix(loss=f"{history[-1][0]:.3f}", rec=f"{rec:.3f}", fk_cm=f"{100 * fk:.2f}", commit=f"{commit:.3f}")
        last = step == args.steps - 1 or time.time() - begun > 60 * args.minutes
        if step % 400 == 399 or last:
            model.eval()
            print(f"\nstep {step + 1} held out {report(model, clips, np.flatnonzero(clips.test & ~clips.mirror))}", flush=True)
            model.train()
            torch.save({"model": model.state_dict(), "opt": opt.state_dict(), "books": (books.count, books.total, books.idle), "step": step + 1, "history": history}, ckpt)
        if last:
            break
    names = ("loss", "reconstruction", "joints", "commitment")
    curves({n: np.log10(np.array(history)[:, i] + 1e-9) for i, n in enumerate(names)}, args.out / f"{name}_curves.png", "log10")
    figures = {"train": report(model, clips, np.flatnonzero(~clips.test & ~clips.mirror)), "held_out": report(model, clips, np.flatnonzero(clips.test & ~clips.mirror))}
    (args.out / f"{name}_figures.json").write_text(json.dumps(figures, indent=1))
    print(json.dumps(figures))
    if args.single:
        return
    # The engine sees f16 weights: tokens are made with the same.
    model.load_state_dict({k: v.half().float() for k, v in model.state_dict().items()})
    export(model, args.export_to, "1", {"parts": json.dumps(PART_DIMS)})
    write_all_tokens(model, clips, pairs, args.out)


if __name__ == "__main__":
    main()
