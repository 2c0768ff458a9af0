"""Rolls the exported motion models out on held-out songs and measures the dance.

    python -m odori_training.eval_motion [--seconds S] [--songs N] [--picture]

Beat F at 70 ms stands beside its phase-shuffled control (the same dance against the grid moved by every phase).
Prints a table, writes OUT/eval_motion.json and pictures.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open

from . import features as audio_features
from . import mocap, phrases
from . import skeleton as sk
from .draw import contact_sheet, curves
from .motion_model import MotionConfig, MotionTransformer
from .motion_step import MotionStep
from .train_motion import OUT, SAMPLING, Pairs, load_tokenizer, sample_slots

FPS = 30


def load_motion(path=sk.ROOT / "models/motion.safetensors"):
    with safe_open(path, "pt") as f:
        cfg = json.loads(f.metadata()["config"])
        model = MotionTransformer(MotionConfig(**{**cfg, "cross_layers": tuple(cfg["cross_layers"])}))
        model.load_state_dict({k: f.get_tensor(k).float() for k in f.keys()})
    return model.eval()


@torch.no_grad()
def rollout(model, tokenizer, music, beat, style, control, temperature=0.9, top_p=0.9, seed=0):
    """music (B,T,324), beat (B,T,8), style (B,T), control (B,T,1) to features (B,2T,162) and tokens (B,T,Q)."""
    torch.manual_seed(seed)
    b, t = music.shape[:2]
    state = MotionStep(model, b)
    prev = torch.full((b, model.cfg.slots), model.cfg.codes)
    out = []
    for i in range(t):
        h = state.step(prev, music[:, i], beat[:, i], style[:, i], control[:, i])
        prev = sample_slots(model, h, temperature, top_p)
        out.append(prev)
    tokens = torch.stack(out, 1)
    return tokenizer.decode(tokens).numpy(), tokens


def f_score(kinematic, beats, tolerance=0.07):
    """Seconds against seconds: (F, precision, recall); each beat is matched once at the most."""
    if not len(kinematic) or not len(beats):
        return 0.0, 0.0, 0.0
    hits, i, j = 0, 0, 0
    while i < len(kinematic) and j < len(beats):
        d = kinematic[i] - beats[j]
        if abs(d) <= tolerance:
            hits, i, j = hits + 1, i + 1, j + 1
        elif d < 0:
            i += 1
        else:
            j += 1
    p, r = hits / len(kinematic), hits / len(beats)
    return 2 * p * r / (p + r + 1e-9), p, r


def shuffled_control(kinematic, beats, seconds, phases=16):
    """Mean F against the grid moved by every phase of a beat."""
    step = np.median(np.diff(beats))
    moved = [np.sort((beats + step * (i + 0.5) / phases) % seconds) for i in range(phases)]
    return float(np.mean([f_score(kinematic, m)[0] for m in moved]))


def keypoints_2d(x):
    """(T,162) to the 24 keypoints in the picture plane (T,24,2), metres."""
    root, local, *_ = sk.decode(x)
    pos, rot = sk.forward(root, local)
    return np.stack([(pos[:, sk.INDEX[k["bone"]]] + rot[:, sk.INDEX[k["bone"]]] @ np.array(k["offset"]))[:, :2] for k in sk.KEYPOINTS], 1)


def judge(x, beats):
    """Figures of one dance: features (T,162), beats in seconds."""
    seconds = len(x) / FPS
    beats = beats[(beats > 0.3) & (beats < seconds - 0.3)]
    pos = phrases.body_positions(x)
    out = {}
    for name, p, smooth in (("", pos, phrases.SMOOTH), ("_2d", keypoints_2d(x), phrases.SMOOTH), ("_raw", pos, 1.0)):
        k = phrases.kinematic_beats(phrases.joint_speed(p), smooth) / FPS
        f, precision, recall = f_score(k, beats)
        out |= {f"F{name}": f, f"precision{name}": precision, f"recall{name}": recall, f"control{name}": shuffled_control(k, beats, seconds)}
        if not name and len(k):
            near = np.array([k[np.abs(k - b).argmin()] - b for b in beats])
            near = near[np.abs(near) < 0.15]
            out["lag_ms"] = float(np.median(near) * 1000) if len(near) else float("nan")
    feet = pos[:, [sk.BODY.index(sk.INDEX[n]) for n in ("leftFoot", "rightFoot")]]
    on = x[1:, sk.LAYOUT["contacts"]] > 0.5
    slide = np.linalg.norm(np.diff(feet[..., [0, 2]], axis=0), axis=-1) * FPS
    speed = phrases.joint_speed(pos)
    second = speed[: len(speed) // FPS * FPS].reshape(-1, FPS).mean(1)
    out |= {"skate_m_s": float(slide[on].mean()) if on.any() else 0.0, "freeze": float((second < 0.05).mean()), "speed_m_s": float(speed.mean()),
            "root_max_m": float(np.abs(x[:, sk.LAYOUT["root"]][:, [0, 2]]).max())}  # fmt: skip
    return out


def song_inputs(pairs, k, steps, style=None, control=None):
    prev, tokens, music, beat, st, energy, *_ = pairs.crop(k, 0, steps, plain=True)
    st = st if style is None else np.full(steps, style)
    energy = energy if control is None else np.full((steps, 1), control, np.float32)
    beats = np.interp(np.arange(int(pairs.d["beat"][pairs.d["frame_start"][k] // 2 + steps - 1]) + 1), pairs.d["beat"][pairs.d["frame_start"][k] // 2 :][:steps], np.arange(steps) / 15)
    return music, beat, st, energy, beats


def endure(model, tokenizer, pairs, ids, steps, args):
    """The songs again and again without a reset: does the dance decay, drift or freeze?"""
    rows = [song_inputs(pairs, k, steps, style=1 + n, control=args.energy) for n, k in enumerate(ids)]
    times = int(np.ceil(args.long * 60 * 15 / steps))
    stack = lambda i: torch.from_numpy(np.stack([np.concatenate([r[i]] * times) for r in rows]))  # noqa: E731
    x, _ = rollout(model, tokenizer, stack(0), stack(1), stack(2), stack(3), args.temperature, args.top_p, args.seed)
    for turn in range(times):
        part = [judge(x[n, 2 * steps * turn : 2 * steps * (turn + 1)], rows[n][4]) for n in range(len(ids))]
        print(f"{turn * steps / 15:6.0f} s", {k: round(float(np.nanmean([p[k] for p in part])), 3) for k in ("F", "control", "skate_m_s", "freeze", "speed_m_s", "root_max_m")})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--model", type=Path, default=sk.ROOT / "models/motion.safetensors")
    parser.add_argument("--songs", type=int, default=12)
    parser.add_argument("--seconds", type=float, default=36.0)
    parser.add_argument("--temperature", type=float, default=SAMPLING["temperature"])
    parser.add_argument("--top-p", type=float, default=SAMPLING["top_p"])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--energy", type=float, default=None, help="the control, 0 to 1; without it what the held-out choreography had")
    parser.add_argument("--long", type=float, default=0, help="minutes of one long dance of four songs, judged minute by minute")
    parser.add_argument("--picture", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    model, tokenizer = load_motion(args.model), load_tokenizer()
    pairs = Pairs(args.out, args.out, True, 0)
    steps = int(args.seconds * 15)
    room = np.diff(pairs.d["frame_start"]) // 2
    ids = [int(k) for k in pairs.ids if room[k] >= steps and not pairs.d["quiet"][pairs.d["frame_start"][k] // 2 : pairs.d["frame_start"][k + 1] // 2].any()]
    ids = ids[:: max(1, len(ids) // args.songs)][: args.songs]
    if args.long:
        endure(model, tokenizer, pairs, ids[:4], steps, args)
        return
    rows = [song_inputs(pairs, k, steps, style=1 + n % 5 if n % 6 != 5 else 7, control=args.energy) for n, k in enumerate(ids)]
    stack = lambda i: torch.from_numpy(np.stack([r[i] for r in rows]))  # noqa: E731
    x, _ = rollout(model, tokenizer, stack(0), stack(1), stack(2), stack(3), args.temperature, args.top_p, args.seed)
    results = [judge(x[n], rows[n][4]) for n in range(len(ids))]
    truth = [judge(pairs.d["frames"][pairs.d["frame_start"][k] : pairs.d["frame_start"][k] + 2 * steps].astype(np.float32), rows[n][4]) for n, k in enumerate(ids)]
    mean = {k: round(float(np.nanmean([r[k] for r in results])), 3) for k in results[0]}
    ceiling = {k: round(float(np.nanmean([r[k] for r in truth])), 3) for k in truth[0]}
    names = json.loads(safe_open(args.out / "pairs.safetensors", "np").metadata()["names"])
    for k, r, row in zip(ids, results, rows, strict=True):
        print(f"{names[k]:16} {mocap.STYLES[row[2][0]]:8} {60 / np.median(np.diff(row[4])):5.0f} bpm  F {r['F']:.2f} (control {r['control']:.2f})  2d {r['F_2d']:.2f} ({r['control_2d']:.2f})  raw {r['F_raw']:.2f}  lag {r['lag_ms']:+.0f} ms  skate {r['skate_m_s']:.2f}  freeze {r['freeze']:.2f}  speed {r['speed_m_s']:.2f}")
    print("mean    ", mean)
    print("pairs   ", ceiling)
    (args.out / "eval_motion.json").write_text(json.dumps({"dance": mean, "pairs": ceiling, "songs": len(ids), "seconds": args.seconds, "bytes": args.model.stat().st_size}, indent=1))
    if args.picture:
        for n in range(min(len(ids), 6)):
            contact_sheet(x[n][300:420], args.out / f"rollout_{n}.png", f"{names[ids[n]]} {mocap.STYLES[rows[n][2][0]]}", columns=20, every=3)
        s = phrases.joint_speed(phrases.body_positions(x[0]))
        t = np.arange(len(s)) / FPS
        curves({"joint speed m/s": (t[:600], s[:600]), "root x": (t[:600], x[0][:600, sk.LAYOUT["root"].start])}, args.out / "rollout_curves.png", names[ids[0]], [b for b in rows[0][4] if b < 20])


if __name__ == "__main__":
    main()
