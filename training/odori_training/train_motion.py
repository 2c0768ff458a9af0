"""Trains the pose transformer on the pairs and exports models/motion.safetensors as it goes.

    python -m odori_training.train_motion [--minutes M] [--resume]

Crops of `--crop` steps. The history the model sees is, with a chance that grows, its own samples (from one pass
over the crop), so that long rollouts do not decay. The loss over the slots is taken at a random part of the steps.
Beat vectors are those of the first frame of the step, jittered as a live beat clock would be; the music is up to
120 ms older than the frame. Held-out pairs give the figures.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_file_torch
from safetensors.torch import save_file
from tqdm import tqdm

from . import compute
from . import features as audio_features
from . import mocap
from . import skeleton as sk
from .compute import autocast, here
from .draw import curves
from .motion_model import MotionConfig, MotionTransformer, Tokenizer, TokenizerConfig, config_json

OUT = sk.ROOT / "training/out/motion"
STEP_HZ, MEAN_STEPS = 15, 120
SAMPLING = {"temperature": 0.75, "top_p": 0.9}  # what eval_motion found to dance best; the engine's default


def load_tokenizer(path=sk.ROOT / "models/tokenizer.safetensors"):
    from safetensors import safe_open

    with safe_open(path, "pt") as f:
        cfg = TokenizerConfig(**json.loads(f.metadata()["config"]))
        model = Tokenizer(cfg)
        model.load_state_dict({k: f.get_tensor(k).float() for k in f.keys()})
    return model.eval()


def hide_sink(sink):
    """Makes a sink blind to its mean: what is left of it is its bias. The weights that are exported need no word of it."""
    torch.nn.init.zeros_(sink.weight)
    sink.weight.register_hook(torch.zeros_like)


def running_mean(x, warm=None):
    """(B,T,C) to the means m_t = m_(t-1) + (x_t - m_(t-1)) / 120 from zero, or from warm (B,C)."""
    t = x.shape[1]
    a = 1 - 1 / MEAN_STEPS
    n = torch.arange(t, device=x.device, dtype=x.dtype)
    power = n[:, None] - n[None, :]
    w = torch.where(power >= 0, a ** power.clamp(min=0), torch.zeros_like(power)) / MEAN_STEPS
    out = torch.einsum("ts,bsc->btc", w, x)
    return out if warm is None else out + (a ** (n + 1))[None, :, None] * warm[:, None]


class Pairs:
    """Crops of the pairs with everything a step sees."""

    wake = 0.12  # share of the crops that begin with the history of a dancer who stands

    def __init__(self, folder, tokens_folder, test: bool, seed: int):
        d = load_file(folder / "pairs.safetensors")
        self.d, self.rng, self.test = d, np.random.default_rng(seed), test
        tok = [load_file(tokens_folder / f"pair_tokens{m}.safetensors")["tokens"] for m in ("", "_mirror")]
        self.tokens = tok
        self.ids = np.flatnonzero(d["test"] == int(test))
        # Stretches of calm motion, to stand for a history from which the music has to wake the dancer.
        self.calm = np.flatnonzero((d["style"] == mocap.STYLES.index("calm")) & (d["test"] == 0))

    def crop(self, k, at, length, plain=False):
        d, rng = self.d, self.rng
        a = d["frame_start"][k] // 2
        s = slice(a + at, a + at + length)
        tokens = self.tokens[0 if plain else int(rng.integers(2))]
        steps = np.arange(at, at + length)
        beat, bpm, conf = d["beat"][s].astype(np.float64), d["bpm"][s], d["confidence"][s].copy()
        horizon, bar_shift = (0.05, 0.0) if plain else (rng.uniform(0, 0.12), 0.0)
        if not plain:
            beat = beat + (rng.normal(0, 0.006) + 0.006 * np.sin(steps / 15 * rng.uniform(0.5, 3) + rng.uniform(0, 6))) * bpm / 60
            bpm = bpm * rng.normal(1, 0.01)
            if rng.random() < 0.2:
                bar_shift = float(rng.integers(1, 4))
            if rng.random() < 0.12:  # the clock loses the beat for a while
                t0 = rng.integers(length)
                conf[t0 : t0 + rng.integers(10, 60)] = 0
        vector = audio_features.beat_vector(beat % 1, ((beat + bar_shift) % 4) / 4, bpm, conf)
        hops = d["hops"][d["hop_start"][k] : d["hop_start"][k + 1]]
        arrived = np.floor((steps / STEP_HZ - horizon) * audio_features.HOP_HZ + 1e-6).astype(int)
        music = audio_features.music_tokens(hops.astype(np.float32), arrived)
        prev = tokens[a + at - 1 : a + at + length - 1] if at > 0 else np.concatenate([np.full((1, tokens.shape[1]), -1, np.int32), tokens[a : a + length - 1]])
        energy = np.clip(d["energy"][s] + (0 if plain else rng.normal(0, 0.05)), 0, 1)
        # A dropped style is "free"; quiet stretches may be danced to in any style's name.
        style = int(d["style"][k])
        style = 0 if not plain and rng.random() < 0.15 else style
        warm, before = self.music_mean(k, at, arrived), self.motion_span(tokens, a, at)
        if not plain and len(self.calm) and rng.random() < self.wake and not d["quiet"][s].any() and conf.all():
            # Music plays and the dancer stands: the next step is to dance all the same.
            c = int(rng.choice(self.calm))
            n, first = int(rng.integers(3, max(length // 2, 4))), d["frame_start"][c] // 2
            at_calm = first + int(rng.integers(d["frame_start"][c + 1] // 2 - first - 240 - n))
            prev = np.concatenate([tokens[at_calm + 240 : at_calm + 240 + n], prev[n:]])
            before = tokens[at_calm : at_calm + 240]
        return prev, tokens[s], music, vector, np.full(length, style), energy[:, None].astype(np.float32), warm, before

    def music_mean(self, k, at, arrived):
        """What the running mean of music has come to before the crop."""
        if at == 0:
            return np.zeros(audio_features.MUSIC_DIM, np.float32)
        hops = self.d["hops"][self.d["hop_start"][k] : self.d["hop_start"][k + 1]]
        n = min(at, 240)
        before = audio_features.music_tokens(hops.astype(np.float32), arrived[0] - 4 * np.arange(n, 0, -1))
        w = (1 - 1 / MEAN_STEPS) ** np.arange(n - 1, -1, -1) / MEAN_STEPS
        return (w[:, None] * before).sum(0).astype(np.float32)

    @staticmethod
    def motion_span(tokens, a, at):
        """The tokens before the crop, (240, Q), -1 where there are none."""
        out = np.full((240, tokens.shape[1]), -1, np.int32)
        n = min(max(at - 1, 0), 240)
        if n:
            out[-n:] = tokens[a + at - 1 - n : a + at - 1]
        return out

    def batch(self, size, length):
        rows = []
        starts = self.d["frame_start"] // 2
        while len(rows) < size:
            k = int(self.rng.choice(self.ids))
            room = starts[k + 1] - starts[k] - length
            if room <= 0:
                continue
            at = 0 if self.rng.random() < 0.06 else int(self.rng.integers(room))
            rows.append(self.crop(k, at, length))
        return here([torch.from_numpy(np.stack(x)) for x in zip(*rows, strict=True)])


def inputs_of(model, batch):
    """Adds the sinks' means. The start code stands for what is missing."""
    prev, tokens, music, beat, style, control, warm_music, before = batch
    start = model.cfg.codes
    prev, before = prev.long(), before.long()
    missing = before < 0
    with torch.no_grad():
        past = model.lookup(before.clamp(min=0)).flatten(2) * (~missing[..., :1])
        w = (1 - 1 / MEAN_STEPS) ** torch.arange(239, -1, -1).float() / MEAN_STEPS
        warm_motion = (w[:, None] * past).sum(1)
    prev = torch.where(prev < 0, start, prev)
    return {"prev": prev, "tokens": tokens.long(), "music": music, "beat": beat, "style": style, "control": control,
            "music_mean": running_mean(music, warm_music), "warm_motion": warm_motion}  # fmt: skip


def temporal(model, x, prev):
    with torch.no_grad():
        motion_mean = running_mean(model.lookup(prev).flatten(2).float(), x["warm_motion"])
    return model.temporal(prev, x["music"], x["beat"], x["style"], x["control"], x["music_mean"], motion_mean)


@torch.no_grad()
def sample_slots(model, h, temperature=1.0, top_p=0.95):
    """h (N,D) to sampled tokens (N,Q), slot after slot, keeping the keys and values of the slots before."""
    n, q = len(h), model.cfg.slots
    base = model.depth_in(h)
    row = model.depth_slot[0] + base
    kept = [[] for _ in model.depth_layers]
    out = torch.empty(n, q, dtype=torch.long)
    for s in range(q):
        x = row[:, None]
        for layer, keep in zip(model.depth_layers, kept, strict=True):
            a = layer.attn
            y = layer.norm1(x)
            keep.append((a.split(a.k(y)), a.split(a.v(y))))
            k, v = (torch.cat([kv[i] for kv in keep], dim=-2) for i in (0, 1))
            p = (a.split(a.q(y)) @ k.transpose(-1, -2) * k.shape[-1] ** -0.5).softmax(-1)
            x = x + a.o((p @ v).transpose(1, 2).flatten(2))
            x = x + layer.fc2(F.gelu(layer.fc1(layer.norm2(x)), approximate="tanh"))
        logits = model.heads[s](model.depth_norm(x[:, 0])).float() / temperature
        if top_p < 1:
            order = logits.softmax(-1).sort(-1, descending=True)
            cut = (order.values.cumsum(-1) - order.values) > top_p
            logits = logits.masked_fill(torch.zeros_like(cut).scatter(-1, order.indices, cut), float("-inf"))
        out[:, s] = torch.distributions.Categorical(logits=logits).sample()
        if s + 1 < q:
            row = model.depth_tokens[s](model.codes[s, out[:, s]]) + model.depth_slot[s + 1] + base
    return out


SIZES = {
    "small": {"width": 96, "heads": 3, "depth_width": 64, "depth_heads": 2},
    "base": {},
    "large": {"width": 512, "heads": 8, "layers": 12, "cross_layers": (1, 3, 5, 7, 9, 11), "depth_width": 256, "depth_heads": 8, "depth_layers": 4},
}
SLOT_WEIGHT = torch.tensor([1.0, 0.6, 1.3, 0.8, 0.7, 0.4, 0.6, 0.35, 0.6, 0.35])


def loss_of(model, x, h, part, rng, smooth=0.02):
    """Cross-entropy of all slots at a random part of the steps."""
    n = h.shape[0] * h.shape[1]
    pick = here(torch.from_numpy(rng.permutation(n)[: max(int(n * part), 1)]))
    logits = model.depth(h.flatten(0, 1)[pick], x["tokens"].flatten(0, 1)[pick]).float()
    target = x["tokens"].flatten(0, 1)[pick]
    each = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none", label_smoothing=smooth).view(-1, model.cfg.slots)
    hit = (logits.argmax(-1) == target).float().mean(0)
    weight = SLOT_WEIGHT.to(each.device)
    return (each * weight).mean() / weight.mean(), each.mean(0).detach(), hit


def export(model, path, version, note):
    state = {k: v.detach().half().cpu().contiguous() for k, v in model.state_dict().items()}
    for k, v in state.items():
        assert torch.isfinite(v).all(), k
    meta = {"config": json.dumps(config_json(model.cfg)), "version": version, "styles": json.dumps(mocap.STYLES), "sampling": json.dumps(SAMPLING), "training": note}
    temporary = path.with_suffix(".new")
    save_file(state, temporary, meta)
    temporary.replace(path)


@torch.no_grad()
def held_out_loss(model, pairs, length):
    rng = np.random.default_rng(0)
    losses = []
    pairs.rng = np.random.default_rng(5)
    for _ in range(4):
        x = inputs_of(model, pairs.batch(8, length))
        with autocast():
            h = temporal(model, x, x["prev"])
            losses.append(float(loss_of(model, x, h, 0.3, rng, 0.0)[0]))
    return float(np.mean(losses))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--minutes", type=float, default=38.0)
    parser.add_argument("--steps", type=int, default=1_000_000, help="stop after so many steps, if that is sooner")
    parser.add_argument("--until", default=None, help="stop by this local time, HH:MM")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--part", type=float, default=0.3)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--own", type=float, default=0.4, help="highest share of the history that is the model's own samples")
    parser.add_argument("--own-from", type=float, default=0.15, help="when that share begins to grow, as a part of the time")
    compute.add_arguments(parser)
    parser.add_argument("--export-minutes", type=float, default=4.0)
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--begin", type=Path, metavar="WEIGHTS", help="go on from these weights instead of chance")
    parser.add_argument("--without", choices=["music", "motion"], help="hide that sink's mean, as an ablation")
    parser.add_argument("--size", choices=list(SIZES), default="base", help="base is what ships, 5 M parameters; small a third of it; large 50 M, for a GPU to train and to run")
    parser.add_argument("--export", type=Path, default=sk.ROOT / "models/motion.safetensors")
    parser.add_argument("--version", default="1", help="what the exported weights call themselves")
    parser.add_argument("--export-only", action="store_true", help="export the last checkpoint and stop")
    parser.add_argument("--seed", type=int, default=4)
    args = parser.parse_args()
    device = compute.begin(args)
    torch.manual_seed(args.seed)
    tokenizer = load_tokenizer()
    model = MotionTransformer(MotionConfig(codes=tokenizer.cfg.codes, latent=tokenizer.cfg.latent, styles=len(mocap.STYLES), **SIZES[args.size]))
    with torch.no_grad():
        model.codes[:, :-1] = tokenizer.codebooks
    frozen = torch.ones_like(model.codes)
    frozen[:, :-1] = 0  # only the start code learns
    model.codes.register_hook(lambda g: g * frozen)
    if args.begin:
        model.load_state_dict({k: v.float() for k, v in load_file_torch(args.begin).items()})
    if args.without:
        hide_sink(getattr(model, f"sink_{args.without}"))
    plain = [p for n, p in model.named_parameters() if p.ndim < 2 or n in ("codes", "style", "depth_slot")]
    matrices = [p for n, p in model.named_parameters() if not (p.ndim < 2 or n in ("codes", "style", "depth_slot"))]
    opt = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": plain, "weight_decay": 0.0}], lr=args.rate, betas=(0.9, 0.98))
    average = {k: v.clone() for k, v in model.state_dict().items()}
    train, test = Pairs(args.out, args.out, False, args.seed), Pairs(args.out, args.out, True, 5)
    rng = np.random.default_rng(args.seed)
    ckpt, step, history, spent = args.out / f"{args.export.stem}.pt", 0, [], 0.0
    if (args.resume or args.export_only) and ckpt.exists():
        saved = torch.load(ckpt, map_location=device, weights_only=False)
        model.load_state_dict(saved["model"])
        opt.load_state_dict(saved["opt"])
        average, step, history, spent = saved["average"], saved["step"], saved["history"], saved["spent"]
    if args.export_only:
        model.load_state_dict(average)
        note = f"step {step}, {spent / 60:.0f} minutes, held-out loss {held_out_loss(model, test, args.crop):.3f}"
        export(model, args.export, args.version, note)
        print(note)
        return
    budget = args.minutes * 60
    if args.until:
        h, m = map(int, args.until.split(":"))
        now = time.localtime()
        budget = min(budget, max((h * 60 + m - now.tm_hour * 60 - now.tm_min) * 60 - now.tm_sec, 30))
    begun = exported = time.time()
    bar = tqdm(desc="motion", mininterval=10, unit="step", initial=step)
    averaged = MotionTransformer(model.cfg)

    def save(last=False):
        averaged.load_state_dict(average)
        loss = held_out_loss(averaged, test, args.crop)
        note = f"step {step}, {spent / 60:.0f} minutes, held-out loss {loss:.3f}"
        print("\n" + note, flush=True)
        export(averaged, args.export, args.version if last else f"{args.version}-step{step}", note)
        torch.save({"model": model.state_dict(), "opt": opt.state_dict(), "average": average, "step": step, "history": history, "spent": spent}, ckpt)
        curves({"loss": np.array([r[0] for r in history]), "own history": np.array([r[1] for r in history])}, args.out / f"{args.export.stem}_curves.png")

    while True:
        now = time.time() - begun
        done = min(max(now / budget, step / args.steps), 1.0)
        for group in opt.param_groups:
            group["lr"] = args.rate * min(1, (step + 1) / 100) * max(0.02, 1 - max(0.0, done - 0.1) / 0.9)
        x = inputs_of(model, train.batch(args.batch, args.crop))
        own = args.own * float(np.clip((done - args.own_from) / 0.4, 0, 1))
        prev = x["prev"]
        if own > 0 and rng.random() < min(1.0, own * 1.5):
            # For half the rows, stretches of the history become what the model itself would have done.
            with torch.no_grad(), autocast():
                rows = slice(0, args.batch // 2)
                h = temporal(model, {k: v[rows] for k, v in x.items()}, prev[rows])
                mine = sample_slots(model, h.flatten(0, 1), 0.8, 0.9).view(-1, h.shape[1], model.cfg.slots)
                use = torch.rand(mine.shape[:2]) < own / 0.6 * rng.random()
                shifted = torch.cat([prev[rows, :1], mine[:, :-1]], 1)
                prev = torch.cat([torch.where(use[..., None], shifted, prev[rows]), prev[args.batch // 2 :]])
        with autocast():
            loss, each, hit = loss_of(model, x, temporal(model, x, prev), args.part, rng)
        opt.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        opt.step()
        decay = min(0.995, (step + 1) / (step + 20))
        with torch.no_grad():
            for k, v in model.state_dict().items():
                average[k].lerp_(v, 1 - decay)
        step += 1
        spent += time.time() - begun - now
        history.append((float(loss.detach()), own, *each.tolist()))
        bar.update()
        if step % 10 == 0:
            bar.set_postfix(loss=f"{np.mean([r[0] for r in history[-50:]]):.3f}", upper=f"{each[0]:.2f}", lower=f"{each[2]:.2f}", hit=f"{hit.mean():.2f}", own=f"{own:.2f}")
        over = time.time() - begun > budget or step >= args.steps
        if over or time.time() - exported > 60 * args.export_minutes:
            save(over)
            exported = time.time()
        if over:
            break


if __name__ == "__main__":
    main()
