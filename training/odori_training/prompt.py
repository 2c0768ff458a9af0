"""Trains the text encoder that turns a wish into settings of the dance, on captions made from templates.

    python -m odori_training.prompt [--steps N] [--resume]

Words in, settings out: for energy and for stress on hands, head and footwork whether the text speaks of it and what it says; one of the styles
or none; a pace or none. A word embedding, one convolution over three words, the largest and the mean over the words, a hidden
layer. Words outside the vocabulary are left out before; the engine names them in its answer. Writes models/prompt.safetensors
and, with it, golden captions for the engine's test. Takes about a minute; needs no data.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import nn

from . import mocap
from . import skeleton as sk

# What words mean. Energy 0 to 1; stress -1 to 1.
ENERGY = {
    0.1: "sleepy frozen motionless", 0.2: "slow lazy calm quiet tired", 0.3: "gentle soft chill relaxed elegant graceful delicate tender subtle dreamy cool low",
    0.45: "smooth flowing easy moderate medium mellow", 0.7: "lively groovy bouncy happy cheerful fun playful funky",
    0.85: "energetic fast strong dynamic powerful quick sharp hard big high hyped", 1.0: "wild crazy explosive intense furious frantic extreme ecstatic maximum",
}  # fmt: skip
STYLES = {
    "modern": "modern contemporary ballet lyrical expressive jazz theatrical", "salsa": "salsa latin mambo bachata cumbia merengue latino tango",
    "indian": "indian bollywood bhangra kathak oriental", "pop": "pop kpop jackson moonwalk idol disco eighties",
    "street": "street hiphop breakdance breaking urban rap popping locking krump", "club": "club house techno rave trance edm clubbing shuffling",
    "calm": "idle standing waiting resting", "free": "free freestyle anything mixed random",
}  # fmt: skip
PARTS = {
    "hands": "hand hands arm arms finger fingers wave waving armwork clap clapping reach shoulders", "head": "head nod nodding neck headbang headbanging hair face",
    "footwork": "foot feet footwork leg legs step steps stepping shuffle tap tapping kick kicks stomp stomping knees hop hopping jump jumping",
}  # fmt: skip
MUCH = {0.55: "some more", 0.8: "big lots much strong busy expressive wide great", 1.0: "huge crazy wild maximum extreme only"}
LITTLE = {-0.5: "less little small few", -0.75: "quiet calm", -1.0: "no without still motionless frozen zero"}
VERY, A_BIT, NOT = "very super really extremely so".split(), "slightly somewhat bit".split(), "not never dont".split()
PACE = {"half": ["half time", "halftime", "slow motion", "half speed"], "double": ["double time", "doubletime", "double speed", "twice as fast"]}
PACES = ["half", "normal", "double"]
FILLER = "a an the and with in of to on please dance dancing dancer like move moves moving movement style my your it them too me for make do be is that but all body music song groove beat as now".split()
CONTROLS = ["energy", "hands", "head", "footwork"]
MOST_WORDS = 24


def flat(table):
    return [(w, v) for v, words in table.items() for w in words.split()]


ENERGY_WORDS, MUCH_WORDS, LITTLE_WORDS = flat(ENERGY), flat(MUCH), flat(LITTLE)
PART_WORDS = [(w, p) for p, words in PARTS.items() for w in words.split()]
# Named moves that are meant strongly by themselves.
STRONG = {"headbang", "headbanging", "stomp", "stomping", "jump", "jumping", "kick", "kicks", "armwork", "footwork", "shuffle", "clap", "clapping"}


def vocabulary():
    words = set(FILLER + VERY + A_BIT + NOT)
    for table in (ENERGY, PARTS, STYLES):
        words |= {w for line in (table.keys() if table is not ENERGY else []) for w in [str(line)]} | {w for line in table.values() for w in line.split()}
    words |= {w for w, _ in ENERGY_WORDS + MUCH_WORDS + LITTLE_WORDS} | {w for phrases in PACE.values() for p in phrases for w in p.split()}
    return ["<none>", *sorted(words)]


VOCABULARY = vocabulary()
INDEX = {w: i for i, w in enumerate(VOCABULARY)}


def caption(rng):
    """A caption and what it means: ({control: value}, style or None, pace or None)."""
    say, meaning, style, pace = [], {}, None, None
    pick = lambda items: items[int(rng.integers(len(items)))]  # noqa: E731
    chunks = []
    if rng.random() < 0.18:  # "bouncy house footwork": all three in one breath
        (word, part), style = pick(PART_WORDS), str(pick(list(STYLES)))
        e, value = pick(ENERGY_WORDS)
        say = [e, pick(STYLES[style].split()), *pick([[], [], ["dance", "with"], ["dancing", "and"]]), word]
        return say, {part: 0.9 if word in STRONG else 0.7, "energy": value}, style, None
    parts = [str(p) for p in rng.permutation(list(PARTS))]
    for part in parts[: int(rng.choice([0, 0, 1, 1, 2]))]:
        word = pick([w for w, p in PART_WORDS if p == part])
        kind = rng.random()
        if kind < 0.3:
            chunks.append([word])
            meaning[part] = 0.9 if word in STRONG else 0.7
        elif kind < 0.55:
            m, value = pick(MUCH_WORDS)
            chunks.append([m, *(["of"] if m == "lots" else []), word])
            meaning[part] = value
        elif kind < 0.75:
            m, value = pick(LITTLE_WORDS)
            chunks.append([m, *pick([[], ["the"], ["your"]]), word] if m != "motionless" else [word, m])
            meaning[part] = value
        elif kind < 0.82:
            chunks.append([pick(NOT), *pick([["move"], ["moving"], []]), *pick([["the"], ["your"], []]), word])
            meaning[part] = -0.9
        else:  # an adjective of energy in front of the part speaks of both
            e, value = pick(ENERGY_WORDS)
            while any(e == w for w, _ in MUCH_WORDS + LITTLE_WORDS):
                e, value = pick(ENERGY_WORDS)
            chunks.append([e, word])
            meaning[part] = 0.8 if word in STRONG else 0.7
            meaning["energy"] = (meaning["energy"] + value) / 2 if "energy" in meaning else value
    if rng.random() < 0.55 and "energy" not in meaning:
        e, value = pick(ENERGY_WORDS)
        front, r = [], rng.random()
        if r < 0.15:
            front, value = [pick(VERY)], value + (0.15 if value > 0.5 else -0.12)
        elif r < 0.25:
            front, value = [pick([["a", "bit"], ["slightly"], ["somewhat"]])], 0.5 + (value - 0.5) * 0.6
            front = front[0]
        elif r < 0.35:
            front, value = [pick(NOT), *pick([["too"], ["so"], []])], 0.35 if value > 0.5 else 0.65
        chunk = [*front, e]
        clash = any(e == w for w, _ in MUCH_WORDS + LITTLE_WORDS)  # "wild arms" speaks of arms: keep such words apart
        if clash and (meaning or rng.random() < 0.5):
            chunk = [*chunk, pick(["dance", "dancing", "moves", "movement", "style"])]
        chunks.append(chunk)
        meaning["energy"] = float(np.clip(value, 0, 1))
    if rng.random() < 0.45:
        style = str(pick(list(STYLES)))
        word = pick(STYLES[style].split() + [style])
        if "energy" not in meaning and rng.random() < 0.3:  # "wild street dance": the dance is wild, whatever else is said
            e, value = pick(ENERGY_WORDS)
            meaning["energy"] = value
            word = f"{e} {word}"
        chunks.append(" ".join(pick([word.split(), [word, "style"], [word, "dance"], ["like", word], ["in", "a", word, "style"], [word, "dancing"]])).split())
    if rng.random() < 0.12:
        pace = pick(list(PACE))
        chunks.append(pick(PACE[pace]).split())
    order = rng.permutation(len(chunks))
    for i in order:
        if say and rng.random() < 0.4:
            say.append(pick(["and", "with", "but", "in", "a"]))
        say += chunks[i]
    if rng.random() < 0.3:
        say = [*pick([["please"], ["dance"], ["a"], ["make", "it"], ["do", "a"], ["the"], ["now"]]), *say]
    if rng.random() < 0.2:
        say += pick([["please"], ["dance"], ["moves"], ["to", "the", "beat"], ["for", "me"]])
    return say[:MOST_WORDS], meaning, style, pace


class PromptEncoder(nn.Module):
    """(B, W) word ids, 0 for none, to 4 mention logits, 4 values, style logits (first: none), pace logits (first: none)."""

    def __init__(self, words=len(VOCABULARY), width=32, hidden=96, styles=len(mocap.STYLES)):
        super().__init__()
        self.embed = nn.Embedding(words, width)
        self.conv = nn.Linear(3 * width, hidden)
        self.mix = nn.Linear(2 * hidden, hidden)
        self.out = nn.Linear(hidden, 2 * len(CONTROLS) + 1 + styles + 1 + len(PACES))

    def forward(self, ids):
        x = self.embed(ids) * (ids > 0)[..., None]  # (B, W, E)
        pad = F.pad(x, (0, 0, 1, 1))
        windows = torch.cat([pad[:, :-2], pad[:, 1:-1], pad[:, 2:]], -1)
        h = F.relu(self.conv(windows)) * (ids > 0)[..., None]  # (B, W, H)
        n = (ids > 0).sum(1, keepdim=True).clamp(min=1)
        h = F.relu(self.mix(torch.cat([h.amax(1), h.sum(1) / n], -1)))
        return self.out(h)


def batch(rng, size):
    ids = torch.zeros(size, MOST_WORDS, dtype=torch.long)
    said, value = torch.zeros(size, 4), torch.zeros(size, 4)
    style, pace = torch.zeros(size, dtype=torch.long), torch.zeros(size, dtype=torch.long)
    for i in range(size):
        words, meaning, s, p = caption(rng)
        ids[i, : len(words)] = torch.tensor([INDEX[w] for w in words], dtype=torch.long)
        for k, c in enumerate(CONTROLS):
            if c in meaning:
                said[i, k], value[i, k] = 1, meaning[c]
        style[i] = 0 if s is None else 1 + mocap.STYLES.index(s)
        pace[i] = 0 if p is None else 1 + PACES.index(p)
    return ids, said, value, style, pace


def split(y):
    n = len(CONTROLS)
    styles = 2 * n + 1 + len(mocap.STYLES)
    return y[:, :n], y[:, n : 2 * n], y[:, 2 * n : styles], y[:, styles:]


@torch.no_grad()
def judge(model, rng, count=2000):
    ids, said, value, style, pace = batch(rng, count)
    m, v, s, p = split(model(ids))
    off = (v - value).abs()[said > 0]
    return {"mentions told rightly": float(((m > 0) == (said > 0)).float().mean()), "value off by": float(off.mean()),
            "style": float((s.argmax(1) == style).float().mean()), "pace": float((p.argmax(1) == pace).float().mean())}  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=3000)
    parser.add_argument("--out", type=Path, default=sk.ROOT / "training/out/prompt.pt")
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--seed", type=int, default=6)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_num_threads(1)
    model = PromptEncoder()
    opt = torch.optim.AdamW(model.parameters(), lr=4e-3, weight_decay=0.01)
    first = 0
    if args.resume and args.out.exists():
        saved = torch.load(args.out, weights_only=True)
        model.load_state_dict(saved["model"])
        opt.load_state_dict(saved["opt"])
        first = saved["step"]
    rng = np.random.default_rng((args.seed, first))
    for step in range(first, args.steps):
        for group in opt.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 50) * max(0.03, 1 - step / args.steps)
        ids, said, value, style, pace = batch(rng, 128)
        # Words may be lost, so that no caption is needed whole.
        ids = torch.where(torch.rand(ids.shape) < 0.01, 0, ids)
        m, v, s, p = split(model(ids))
        loss = F.binary_cross_entropy_with_logits(m, said) * 4 + ((v - value) ** 2 * said).sum() / said.sum() * 30 + F.cross_entropy(s, style) + F.cross_entropy(p, pace)
        opt.zero_grad()
        loss.backward()
        opt.step()
        if step % 250 == 249 or step + 1 == args.steps:
            args.out.parent.mkdir(parents=True, exist_ok=True)
            torch.save({"model": model.state_dict(), "opt": opt.state_dict(), "step": step + 1}, args.out)
            print(step + 1, f"loss {loss.item():.3f}", {k: round(x, 3) for k, x in judge(model, np.random.default_rng(1)).items()}, flush=True)
    state = {k: v.half().contiguous() for k, v in model.state_dict().items()}
    meta = {"version": "1", "vocabulary": json.dumps(VOCABULARY), "styles": json.dumps(mocap.STYLES), "paces": json.dumps(PACES), "most_words": str(MOST_WORDS)}
    save_file(state, sk.ROOT / "models/prompt.safetensors", meta)
    model.load_state_dict({k: v.float() for k, v in state.items()})
    golden = [caption(np.random.default_rng(100 + i))[0] for i in range(24)]
    ids = torch.zeros(len(golden), MOST_WORDS, dtype=torch.long)
    for i, words in enumerate(golden):
        ids[i, : len(words)] = torch.tensor([INDEX[w] for w in words], dtype=torch.long)
    with torch.no_grad():
        save_file({"out": model(ids).contiguous()}, sk.ROOT / "models/golden/prompt.safetensors", {"captions": json.dumps([" ".join(w) for w in golden])})
    print((sk.ROOT / "models/prompt.safetensors").stat().st_size, "bytes")


if __name__ == "__main__":
    main()
