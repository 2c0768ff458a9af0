"""Shows what the styles look like: the built-in dancer in every style, frame beside frame, a row a style.

    python -m odori_training.style_sheet --odori ../target/release/odori -o ../docs/styles.png [SONG ...]

Every style dances to every song (the built-in one where none is given); a row shows the last two bars or so. Needs ffmpeg.
"""

import argparse
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

STYLES = ("modern", "salsa", "indian", "pop", "street", "club")
SIDE, WIDTH, SHOWN = 192, 152, 0.75  # rendered size, what is kept of its width, how large that is shown
COLOURS = 96  # so that the file stays small


def frames(odori, song, style, seconds, seed):
    """The film's pictures (T,SIDE,SIDE,3)."""
    with tempfile.TemporaryDirectory() as folder:
        film = Path(folder) / "dance.mp4"
        subprocess.run([odori, "render", song, "--style", style, "--seconds", str(seconds), "--seed", str(seed), "--size", f"{SIDE}x{SIDE}", "--background", "#e9e6e0", "-o", film],
                       check=True, capture_output=True)  # fmt: skip
        raw = subprocess.run(["ffmpeg", "-loglevel", "error", "-i", film, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, SIDE, SIDE, 3)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", nargs="*", default=["-"], metavar="SONG")
    parser.add_argument("--odori", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=16.0, help="of each song")
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--every", type=int, default=10, help="of 30 pictures a second")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    rows = [(style, song) for style in STYLES for song in args.songs]
    wide, high = int(WIDTH * SHOWN), int(SIDE * SHOWN)
    sheet = Image.new("RGB", (args.columns * wide, len(rows) * high), "white")
    draw = ImageDraw.Draw(sheet)
    for r, (style, song) in enumerate(tqdm(rows, desc="dances")):
        picked = frames(args.odori, song, style, args.seconds, args.seed)[::-1][:: args.every][: args.columns][::-1]
        left = (SIDE - WIDTH) // 2
        for c, picture in enumerate(picked):
            sheet.paste(Image.fromarray(picture[:, left : left + WIDTH]).resize((wide, high), Image.LANCZOS), (c * wide, r * high))
        draw.text((6, r * high + 4), style if song == "-" else f"{style}: {Path(song).stem}", fill="black")
    sheet.quantize(COLOURS).save(args.out, optimize=True)
    print(f"{args.out}: {args.out.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
