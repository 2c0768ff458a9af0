"""Shows what the styles look like: the built-in dancer in every style, frame beside frame, a row a style.

    python -m odori_training.style_sheet --odori ../target/release/odori -o ../docs/styles.png [--film ../docs/styles.mp4] [SONG ...]

Every style dances to every song (the built-in one where none is given); a row shows the last two bars or so. The film shows the
styles side by side, song after song, with their sound. Needs ffmpeg.
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
FILM_WIDE, FILM_COLUMNS, FILM_SECONDS = 180, 3, 12  # kept of a picture, beside each other, of each song


def decoded(film):
    """A film's pictures (T,SIDE,SIDE,3)."""
    raw = subprocess.run(["ffmpeg", "-loglevel", "error", "-i", film, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"], check=True, capture_output=True).stdout
    return np.frombuffer(raw, np.uint8).reshape(-1, SIDE, SIDE, 3)


def side_by_side(films, last):
    """The last pictures of each style's film as one film's (T,H,W,3), named."""
    left = (SIDE - FILM_WIDE) // 2
    rows = []
    for first in range(0, len(films), FILM_COLUMNS):
        row = []
        for style, film in list(films.items())[first : first + FILM_COLUMNS]:
            label = Image.new("RGB", (FILM_WIDE, 14), "#e9e6e0")
            ImageDraw.Draw(label).text((6, 1), style, fill="black")
            pictures = decoded(film)[-last:, :, left : left + FILM_WIDE].copy()
            pictures[:, :14] = np.asarray(label)
            row.append(pictures)
        rows.append(np.concatenate(row, axis=2))
    return np.concatenate(rows, axis=1)


def write_film(of_songs, out):
    """of_songs: for every song the film of each style; the sound is that of the first one."""
    with tempfile.TemporaryDirectory() as folder:
        parts = []
        for films in of_songs:
            part = Path(folder) / f"{len(parts)}.mp4"
            pictures = side_by_side(films, FILM_SECONDS * 30)
            size = f"{pictures.shape[2]}x{pictures.shape[1]}"
            sound = next(iter(films.values()))
            subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-f", "rawvideo", "-pix_fmt", "rgb24", "-s", size, "-r", "30", "-i", "-", "-sseof", str(-len(pictures) / 30), "-i", sound,
                            "-map", "0:v", "-map", "1:a", "-c:v", "libx264", "-preset", "veryslow", "-crf", "30", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "48k", "-shortest", part],
                           check=True, input=pictures.tobytes())  # fmt: skip
            parts.append(part)
        names = Path(folder) / "parts.txt"
        names.write_text("".join(f"file '{p}'\n" for p in parts))
        subprocess.run(["ffmpeg", "-loglevel", "error", "-y", "-f", "concat", "-safe", "0", "-i", names, "-c", "copy", "-movflags", "+faststart", out], check=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("songs", nargs="*", default=["-"], metavar="SONG")
    parser.add_argument("--odori", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=16.0, help="of each song")
    parser.add_argument("--columns", type=int, default=12)
    parser.add_argument("--every", type=int, default=10, help="of 30 pictures a second")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--film", type=Path, metavar="FILE.mp4", help="the styles side by side as a film")
    args = parser.parse_args()
    rows = [(style, song) for style in STYLES for song in args.songs]
    wide, high = int(WIDTH * SHOWN), int(SIDE * SHOWN)
    sheet = Image.new("RGB", (args.columns * wide, len(rows) * high), "white")
    draw = ImageDraw.Draw(sheet)
    with tempfile.TemporaryDirectory() as folder:
        films = {song: {} for song in args.songs}
        for r, (style, song) in enumerate(tqdm(rows, desc="dances")):
            film = films[song][style] = Path(folder) / f"{r}.mp4"
            subprocess.run([args.odori, "render", song, "--style", style, "--seconds", str(args.seconds), "--seed", str(args.seed), "--size", f"{SIDE}x{SIDE}", "--background", "#e9e6e0", "-o", film],
                           check=True, capture_output=True)  # fmt: skip
            picked = decoded(film)[::-1][:: args.every][: args.columns][::-1]
            left = (SIDE - WIDTH) // 2
            for c, picture in enumerate(picked):
                sheet.paste(Image.fromarray(picture[:, left : left + WIDTH]).resize((wide, high), Image.LANCZOS), (c * wide, r * high))
            draw.text((6, r * high + 4), style if song == "-" else f"{style}: {Path(song).stem}", fill="black")
        if args.film:
            write_film(films.values(), args.film)
    sheet.quantize(COLOURS).save(args.out, optimize=True)
    for path in filter(None, (args.out, args.film)):
        print(f"{path}: {path.stat().st_size // 1000} kB")


if __name__ == "__main__":
    main()
