"""Judges how imports cut characters into parts: the engine as it is against the rig's own parts, beside its rules alone.

    odori-datagen ... --held-out --size 512 --frames 1 --per-look 1 --count 64 --out HELD
    python -m odori_training.eval_parts --data HELD --odori ../target/release/odori [--sheet parts.png]

Every reference picture of HELD is imported by `odori avatar import` as a stranger's would be, without joints. The rules, a control, were
given the true joints. Prints the share of pixels told right, and intersection over union, skirts counted to the torso.
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors import safe_open

from .figure_train import Named

# As `PARTS` in engine/src/avatar/parts.rs.
COLOURS = np.array([[0, 0, 0], [122, 79, 224], [242, 176, 30], [15, 143, 208], [224, 51, 90], [70, 199, 232], [255, 143, 107], [31, 167, 116], [60, 40, 120]], np.uint8)


def straight(rgba):
    """Premultiplied to straight alpha."""
    alpha = rgba[..., 3:].astype(np.float32)
    colour = np.where(alpha > 0, rgba[..., :3] * 255 / np.maximum(alpha, 1), 0)
    return np.concatenate([colour.clip(0, 255).astype(np.uint8), rgba[..., 3:]], -1)


def named(picture):
    """A map's colours to 1 + the index of each part, 0 where it is clear."""
    out = np.zeros(picture.shape[:2], np.uint8)
    for i, colour in enumerate(COLOURS[1:8], 1):
        out[(picture[..., :3] == colour).all(-1) & (picture[..., 3] > 0)] = i
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", type=Path, required=True)
    p.add_argument("--odori", type=Path, required=True)
    p.add_argument("--sheet", type=Path, help="picture, true parts, the engine's, the rules', side by side")
    p.add_argument("--count", type=int, default=1000)
    a = p.parse_args()
    engine, rules, refused, rows = Named(), Named(), 0, []
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        for path in sorted(a.data.glob("held-*.safetensors")):
            with safe_open(path, "np") as f:
                pictures, parts, ruled = (f.get_tensor(name) for name in ("reference", "parts", "ruled_parts"))
            for picture, true, control in zip(pictures, parts, ruled):
                if len(rows) + refused >= a.count:
                    break
                Image.fromarray(straight(picture)).save(folder / "it.png")
                told = subprocess.run([a.odori, "avatar", "import", folder / "it.png", "-o", folder / "it.odori", "--show-layers", folder / "parts.png"], capture_output=True, text=True)
                if told.returncode:
                    refused += 1
                    continue
                found = named(np.asarray(Image.open(folder / "parts.png").convert("RGBA")))
                one = Named()
                for judge in (engine, one):
                    judge.add(torch.from_numpy(found), torch.from_numpy(true))
                rules.add(torch.from_numpy(control), torch.from_numpy(true))
                over = (picture[..., :3] + 255.0 - picture[..., 3:]).clip(0, 255).astype(np.uint8)
                rows.append((one.told("it")["it_right"], np.concatenate([over, *(np.where((z > 0)[..., None], COLOURS[z], 255).astype(np.uint8) for z in (true, found, control))], 1)))
    print(json.dumps({"pictures": len(rows), "refused": refused} | engine.told("engine") | rules.told("rules")))
    if a.sheet:
        rows.sort(key=lambda r: r[0])
        tiles = [Image.fromarray(r[1]).resize((512, 128), Image.Resampling.BOX) for r in rows[:48]]
        sheet = Image.new("RGB", (512 * 3, 128 * ((len(tiles) + 2) // 3)), "white")
        for i, tile in enumerate(tiles):
            sheet.paste(tile, (i % 3 * 512, i // 3 * 128))
        sheet.save(a.sheet)


if __name__ == "__main__":
    main()
