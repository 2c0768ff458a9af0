"""Makes the golden vectors of the motion models from the exported weights: models/golden/{features,beat,tokenizer,motion}.safetensors.

    python -m odori_training.export [--histories]

Makes models/idle.safetensors too, where training/out has the clips' tokens and the pairs. f32 arithmetic on the f16-rounded weights in models/. Token tensors are stored as f32 whole numbers, so that the
engine's weight loader reads them. Nothing here trains or needs data.
"""

import argparse
import json

import numpy as np
import torch
from safetensors.numpy import load_file
from safetensors.torch import save_file

from . import features, mocap, synth
from . import skeleton as sk
from .eval_motion import load_motion, rollout
from .motion_step import MotionStep, check
from .train_motion import OUT, load_tokenizer

GOLDEN = sk.ROOT / "models/golden"
LIMIT_BYTES = 300_000
BEGINNINGS = 64  # of every style
MOTION_STEPS, LOGITS_AT = 132, (0, 1, 5, 9, 131)  # past the window of 120, so that the ring has turned


def write(name, tensors, meta):
    GOLDEN.mkdir(parents=True, exist_ok=True)
    path = GOLDEN / f"{name}.safetensors"
    save_file({k: v.contiguous() for k, v in tensors.items()}, path, meta)
    assert path.stat().st_size < LIMIT_BYTES, (name, path.stat().st_size)
    print(f"{path.relative_to(sk.ROOT)}: {path.stat().st_size} bytes,", {k: tuple(v.shape) for k, v in tensors.items()})


def song(seconds):
    bars = int(np.ceil(seconds * 120 / 240)) + 1
    return synth.render(synth.random_song(np.random.default_rng(7), 120.0, bars, "house")).audio[: int(seconds * features.RATE)]


def features_golden():
    audio = song(10.0)[4 * features.RATE : 4 * features.RATE + 30_000].astype(np.float32)
    write("features", {"audio": torch.from_numpy(audio), "features": torch.from_numpy(features.extract(audio))}, {"layout": "row i is hop i + 1: 80 mel, onset strength"})


def beat_golden(steps=90):
    """What the beat network believes of a song's first seconds."""
    from .train_beat import load_beat

    hops = torch.from_numpy(features.extract(song(steps / 30 + 0.1))[: 2 * steps]).half()
    with torch.no_grad():
        position, tempo, music, _ = load_beat()(hops.float()[None])
    write("beat", {"hops": hops, "position": torch.softmax(position[0], -1), "tempo": torch.softmax(tempo[0], -1), "music": torch.sigmoid(music[0])},
          {"about": "hops (2T,81) give the beliefs position (T,64), tempo (T,48) and music (T)"})  # fmt: skip


def inputs(steps):
    """Music, beat vectors, style and control (T, ...) of a plain song at 120 bpm, step t seen at t / 15 s."""
    hops = features.extract(song(steps / 15 + 0.5))
    t = np.arange(steps) / 15
    music = features.music_tokens(hops, np.floor(t * features.HOP_HZ + 1e-6).astype(int))
    beat = features.beat_vector((t * 2) % 1, (t / 2) % 1, 120.0, np.where(t < 1, 0.0, 0.9))
    return (torch.from_numpy(music).half(), torch.from_numpy(beat), torch.full((steps,), 4), torch.full((steps, 1), 0.6))


def idle_tokens():
    """A loop of a dancer who stands and breathes, for the engine to play while there is no music, (T,10); None without the clips' tokens."""
    path = OUT / "tokens.safetensors"
    if not path.exists():
        print("no tokens of the clips here: the idle loop stays as it is")
        return None
    from safetensors import safe_open

    with safe_open(path, "pt") as f:
        tokens, start, names = f.get_tensor("tokens"), f.get_tensor("clip_start"), json.loads(f.metadata()["names"])
    k = names.index("idle_0")
    return tokens[start[k] : start[k + 1]]


@torch.no_grad()
def style_beginnings(tokenizer, seed=1):
    """Steps out of the training choreography of every style, (styles, BEGINNINGS, 10), from which the engine lets a dance of that style
    begin; the start code where there is none. None without the pairs."""
    path = OUT / "pairs.safetensors"
    if not path.exists():
        print("no pairs here: the beginnings of the styles stay as they are")
        return None
    d, rng = load_file(path), np.random.default_rng(seed)
    out = torch.full((len(mocap.STYLES), BEGINNINGS, tokenizer.cfg.slots), tokenizer.cfg.codes)
    for style, name in enumerate(mocap.STYLES):
        if name in ("free", "calm"):
            continue
        steps = []
        for k in np.flatnonzero((d["style"] == style) & (d["test"] == 0)):
            a, b = d["frame_start"][k], d["frame_start"][k + 1]
            tokens, _ = tokenizer.quantise(tokenizer.encode_latents(torch.from_numpy(d["frames"][a:b].astype(np.float32))[None]))
            dances = torch.from_numpy(d["quiet"][a // 2 : b // 2] == 0)
            dances[:4] = False  # the encoder looks back
            steps.append(tokens[0][dances])
        if steps:
            steps = torch.cat(steps)
            out[style] = steps[torch.from_numpy(rng.choice(len(steps), BEGINNINGS, replace=len(steps) < BEGINNINGS))]
    return out


def histories(tokenizer):
    """models/idle.safetensors: what the dancer has behind it, in silence and where a style begins."""
    path = sk.ROOT / "models/idle.safetensors"
    tables = load_file(path) if path.exists() else {}
    for name, new in (("tokens", idle_tokens()), ("beginnings", style_beginnings(tokenizer))):
        if new is not None:
            tables[name] = new.half().numpy()
    save_file({k: torch.from_numpy(v).contiguous() for k, v in tables.items()}, path,
              {"version": "2", "about": "tokens (T,10) at 15 Hz, to be played round and round; beginnings (styles,K,10), single steps of each style's dances"})  # fmt: skip
    print("models/idle.safetensors:", {k: v.shape for k, v in tables.items()})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--histories", action="store_true", help="models/idle.safetensors alone")
    args = parser.parse_args()
    torch.set_num_threads(1)
    tokenizer, motion = load_tokenizer(), load_motion()
    histories(tokenizer)
    if args.histories:
        return
    features_golden()
    beat_golden()
    worst = check(motion)
    assert worst < 1e-3, f"step and forward differ by {worst}"
    print(f"step equals forward within {worst:.1e}")
    music, beat, style, control = inputs(MOTION_STEPS)
    x, tokens = rollout(motion, tokenizer, music.float()[None], beat[None], style[None], control[None], seed=11)
    assert np.isfinite(x).all()
    with torch.no_grad():
        short = tokens[:, :12]
        decoded = tokenizer.decode(short)
        latents = tokenizer.encode_latents(decoded)
        back, _ = tokenizer.quantise(latents)
        write("tokenizer", {"tokens": short[0].float(), "features": decoded[0], "latents": latents[0], "encoded_tokens": back[0].float()},
              {"about": "tokens (T,10) decode to features (2T,162); features encode to latents (T,5,64) and encoded_tokens (T,10); nothing before the first step"})  # fmt: skip
        prev = torch.cat([torch.full((1, motion.cfg.slots), motion.cfg.codes), tokens[0, :-1]])
        state, logits, hidden = MotionStep(motion), [], []
        for t in range(MOTION_STEPS):
            h = state.step(prev[t][None], music[t].float()[None], beat[t][None], style[t][None], control[t][None])
            if t in LOGITS_AT:
                hidden.append(h[0])
                logits.append(motion.depth(h, tokens[:, t])[0])
        write("motion", {"prev": prev.float(), "tokens": tokens[0].float(), "music": music, "beat": beat, "style": style.float(), "control": control,
                         "at": torch.tensor(LOGITS_AT).float(), "hidden": torch.stack(hidden), "logits": torch.stack(logits)},
              {"about": "step t takes prev[t] (the start code first), music[t], beat[t], style[t], control[t]; hidden (n,D) and logits (n,10,V) at the steps `at`, the depth pass fed with tokens[t]"})  # fmt: skip


if __name__ == "__main__":
    main()
