"""A page of pictures of what the motion models learn from: clips of every style, and choreography on its song.

    python -m odori_training.data_page [--out OUT] [-o PICTURE]

Reads OUT/clips.safetensors and OUT/pairs.safetensors. Above, a clip of each style, five figures a second; below, songs with
the choreography laid on them: the spectrum as the models hear it, the dance under it, and how fast the body moves between the beats.
"""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from safetensors import safe_open

from . import clips, phrases
from . import skeleton as sk
from .skeleton import INDEX, PARENTS, positions

FIGURES, EVERY = 16, 6
_COLOURS = {"left": "#2a78d6", "right": "#d6452a"}


def figures(ax, features, width, every):
    """Stick figures side by side, `every` frames apart, over `width` data units each."""
    for k, p in enumerate(positions(features[::every])):
        for name, j in INDEX.items():
            if PARENTS[j] >= 0:
                q = PARENTS[j]
                colour = next((c for side, c in _COLOURS.items() if name.startswith(side)), "0.15")
                ax.plot(k * width + p[[q, j], 0], p[[q, j], 1], color=colour, lw=1.0, solid_capstyle="round")
    ax.set_ylim(-0.05, 2.1)
    ax.axis("off")


def song_name(name):
    tune, seed = name.rsplit("-", 1)
    return f"song {seed} of the synthesiser" if tune == "None" else f"MIDI tune {tune}"


def liveliest(features):
    """Where the stretch that is shown moves most."""
    speed = np.convolve(phrases.joint_speed(phrases.body_positions(features)), np.ones(FIGURES * EVERY), "valid")
    return int(speed.argmax()) if len(speed) else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=sk.ROOT / "training/out/motion")
    parser.add_argument("-o", "--picture", type=Path, default=sk.ROOT / "docs/motion_data.png")
    parser.add_argument("--songs", type=int, default=3)
    args = parser.parse_args()
    data = clips.load(args.out / "clips.safetensors")
    seconds = {s: [0.0, 0.0] for s in data.styles}
    longest = {}
    for k in range(len(data)):
        if data.mirror[k]:
            continue
        style = data.styles[data.style[k]]
        seconds[style][int(data.test[k])] += len(data[k]) / 30
        if not data.test[k] and len(data[k]) > len(data[longest[style]] if style in longest else []):
            longest[style] = k
    with safe_open(args.out / "pairs.safetensors", "np") as f:
        pairs = {n: f.get_tensor(n) for n in ("frames", "hops", "beat", "frame_start", "hop_start", "style", "test", "quiet")}
        names = json.loads(f.metadata()["names"])
    quiet = [pairs["quiet"][a // 2 : b // 2].any() for a, b in zip(pairs["frame_start"][:-1], pairs["frame_start"][1:], strict=True)]
    fit = [k for k in range(len(names)) if not pairs["test"][k] and not quiet[k] and data.styles[pairs["style"][k]] not in ("calm", "free")]
    shown = fit[:: max(1, len(fit) // args.songs)][: args.songs]
    styles = [s for s in data.styles if s in longest]
    fig = plt.figure(figsize=(15, 1.25 * len(styles) + 4.2 * len(shown)))
    grid = fig.add_gridspec(len(styles) + 3 * len(shown), 1, height_ratios=[1.0] * len(styles) + [0.8, 1.0, 1.0] * len(shown), hspace=0.4)
    for row, style in enumerate(styles):
        ax = fig.add_subplot(grid[row])
        x = data[longest[style]]
        at = liveliest(x)
        figures(ax, x[at : at + FIGURES * EVERY], 1.1, EVERY)
        trained, held = seconds[style]
        ax.set_title(f"{style}: {data.names[longest[style]]}; {trained:.0f} s to train on, {held:.0f} s held out", fontsize=9, loc="left", pad=1)
    for n, k in enumerate(shown):
        row = len(styles) + 3 * n
        long = FIGURES * EVERY
        first = pairs["frame_start"][k] + 300
        x = pairs["frames"][first : first + long].astype(np.float32)
        beat = pairs["beat"][first // 2 : (first + long) // 2]
        t = np.arange(len(beat)) / 15
        beats = np.interp(np.arange(np.ceil(beat[0]), np.floor(beat[-1]) + 1), beat, t)
        hop = pairs["hop_start"][k] + 600
        ax = fig.add_subplot(grid[row])
        heard = pairs["hops"][hop : hop + 2 * long, :80].T.astype(np.float32) ** 0.5
        ax.imshow(heard, vmax=np.quantile(heard, 0.995), origin="lower", aspect="auto", extent=(0, long / 30, 0, 80), cmap="magma")
        ax.set_yticks([])
        ax.set_xticks([])
        ax.set_title(f"{song_name(names[k])}, danced as {data.styles[pairs['style'][k]]}", fontsize=9, loc="left", pad=1)
        figures(fig.add_subplot(grid[row + 1]), x, 1.1, EVERY)
        ax = fig.add_subplot(grid[row + 2])
        speed = phrases.joint_speed(phrases.body_positions(x))
        ax.plot(np.arange(len(speed)) / 30, speed, color="#2a78d6", lw=1.4)
        for b in beats:
            ax.axvline(b, color="0.6", lw=0.8)
        for b in phrases.kinematic_beats(speed) / 30:
            ax.plot(b, np.interp(b, np.arange(len(speed)) / 30, speed), "o", color="#d6452a", ms=4)
        ax.set_xlim(0, long / 30)
        ax.set_ylim(0)
        ax.set_ylabel("m/s", fontsize=8)
        ax.tick_params(labelsize=7)
        for side in ("top", "right"):
            ax.spines[side].set_visible(False)
    fig.suptitle("What the motion models learn from: captured dance, and choreography cut from it on a song's beats (grey), its slowest moments in red", fontsize=11, y=0.905)
    fig.savefig(args.picture, dpi=80, bbox_inches="tight", facecolor="white")
    print(args.picture, {s: [round(v) for v in both] for s, both in seconds.items() if sum(both)})


if __name__ == "__main__":
    main()
