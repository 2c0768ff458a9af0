"""Stick figures to PNG, to look at motion. Draws only; decides nothing."""

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from .skeleton import INDEX, PARENTS, positions

_LEFT, _RIGHT, _MIDDLE = "tab:blue", "tab:red", "black"


def contact_sheet(features, path, title="", columns=12, every=None, side=False):
    """features (T,162): a grid of front views (or from the left with side=True)."""
    every = every or max(1, len(features) // (columns * 4))
    picked = features[::every]
    pos = positions(picked)
    rows = -(-len(picked) // columns)
    fig, axes = plt.subplots(rows, columns, figsize=(columns * 1.3, rows * 1.6), squeeze=False)
    for k, ax in enumerate(axes.flat):
        ax.axis("off")
        if k >= len(picked):
            continue
        p = pos[k]
        h = p[:, 2] if side else p[:, 0]
        for name, j in INDEX.items():
            if PARENTS[j] >= 0:
                q = PARENTS[j]
                colour = _LEFT if name.startswith("left") else _RIGHT if name.startswith("right") else _MIDDLE
                ax.plot([h[q], h[j]], [p[q, 1], p[j, 1]], color=colour, lw=1.2)
        ax.plot([-1, 1], [0, 0], color="0.7", lw=0.6)
        ax.set_xlim(-1.05, 1.05)
        ax.set_ylim(-0.1, 2.1)
        ax.set_aspect("equal")
        ax.set_title(f"{k * every / 30:.1f}s", fontsize=6, pad=0)
    fig.suptitle(title, fontsize=9)
    fig.savefig(path, dpi=70, bbox_inches="tight")
    plt.close(fig)


def curves(series: dict, path, title="", marks=()):
    """Named 1-D series, one panel each, with vertical marks."""
    fig, axes = plt.subplots(len(series), 1, figsize=(12, 1.8 * len(series)), sharex=False, squeeze=False)
    for ax, (name, y) in zip(axes[:, 0], series.items(), strict=True):
        x, y = y if isinstance(y, tuple) else (np.arange(len(y)), y)
        ax.plot(x, y, lw=0.9)
        for m in marks:
            ax.axvline(m, color="tab:red", lw=0.5)
        ax.set_ylabel(name, fontsize=8)
    fig.suptitle(title, fontsize=9)
    fig.savefig(path, dpi=70, bbox_inches="tight")
    plt.close(fig)
