"""The built-in avatars: original characters drawn as SVG by the numbers below, and their keypoint sidecars.

    python -m odori_training.avatar_art [--out ../assets/avatars] [--only kana]

Each figure stands in a strict front view, arms 40 degrees below the horizontal. Limbs are drawn straight in their own
frame (x along the bone, +y towards the body's middle) with shading that runs along them, so that they can be cut at the
joints and bent. It needs cairosvg; it must not read any picture.
"""

import argparse
import importlib
import io
import json
import math
from dataclasses import dataclass
from pathlib import Path

SUPERSAMPLE = 2


@dataclass(frozen=True)
class Rig:
    """Joints of a symmetric figure, pixels; x is the distance from the middle line at `middle`."""

    width: int
    height: int
    middle: float
    head_top: float
    eye: tuple[float, float]
    ear: tuple[float, float]
    nose: float
    neck: float
    shoulder: tuple[float, float]
    upper_arm: float
    lower_arm: float
    hand: float  # from the wrist to the middle of the fingers
    arm_degrees: float  # below the horizontal
    pelvis: float
    hip: tuple[float, float]
    knee: tuple[float, float]
    ankle: tuple[float, float]
    toe: tuple[float, float]
    # x0, y0, x1, y1 of the left eye, lashes and all, about its own middle, and of the mouth; the head's numbers
    eye_box: tuple[float, float, float, float]
    mouth_box: tuple[float, float, float, float]
    head_scale: float = 1.0  # of the head's numbers, about `head_pivot`
    head_pivot: float = 0.0
    drop: float = 0.0  # the whole figure is moved down by this

    def along_arm(self, distance: float) -> tuple[float, float]:
        a = math.radians(self.arm_degrees)
        return self.shoulder[0] + distance * math.cos(a), self.shoulder[1] + distance * math.sin(a)

    def leg_degrees(self) -> float:
        return math.degrees(math.atan2(self.ankle[1] - self.hip[1], self.ankle[0] - self.hip[0]))

    def keypoints(self) -> dict[str, list[float]]:
        """The 24 keypoints of models/skeleton.json. The character's left is at the image's right."""
        side = {
            "eye": self.eye, "ear": self.ear, "shoulder": self.shoulder, "elbow": self.along_arm(self.upper_arm),
            "wrist": self.along_arm(self.upper_arm + self.lower_arm), "hip": self.hip, "knee": self.knee, "ankle": self.ankle,
            "toe": self.toe, "hand": self.along_arm(self.upper_arm + self.lower_arm + self.hand),
        }  # fmt: skip
        middle = {"nose": self.nose, "neck": self.neck, "head_top": self.head_top, "pelvis": self.pelvis}
        order = ["nose", "left_eye", "right_eye", "left_ear", "right_ear"]
        order += [f"{s}_{j}" for j in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle", "toe") for s in ("left", "right")]
        order += ["neck", "head_top", "left_hand", "right_hand", "pelvis"]
        out = {}
        for name in order:
            if name in middle:
                x, y = 0.0, middle[name]
            else:
                s, joint = name.split("_", 1)
                x, y = side[joint]
                x = x if s == "left" else -x
            if name in ("nose", "head_top") or name.endswith(("eye", "ear")):
                x, y = x * self.head_scale, self.head_pivot + (y - self.head_pivot) * self.head_scale
            out[name] = [round(self.middle + x, 1), round(y + self.drop, 1)]
        return out

    def face(self) -> dict[str, dict[str, list[float]]]:
        """Where eyes and mouth are: centre and size of each."""

        def spot(x0, y0, x1, y1):
            x, y = (x0 + x1) / 2 * self.head_scale, self.head_pivot + ((y0 + y1) / 2 - self.head_pivot) * self.head_scale
            size = [round((x1 - x0) * self.head_scale, 1), round((y1 - y0) * self.head_scale, 1)]
            return {"centre": [round(self.middle + x, 1), round(y + self.drop, 1)], "size": size}

        ex, ey = self.eye
        x0, y0, x1, y1 = self.eye_box
        left = (ex + x0, ey + y0, ex + x1, ey + y1)
        right = (-ex - x1, ey + y0, -ex - x0, ey + y1)
        return {"left_eye": spot(*left), "right_eye": spot(*right), "mouth": spot(*self.mouth_box)}


def smooth(points, closed: bool = True, tension: float = 1.0) -> str:
    """A path through points (Catmull-Rom as cubic Beziers)."""
    n = len(points)
    at = (lambda i: points[i % n]) if closed else (lambda i: points[max(0, min(n - 1, i))])
    d = [f"M{points[0][0]:.1f},{points[0][1]:.1f}"]
    for i in range(n if closed else n - 1):
        p0, p1, p2, p3 = at(i - 1), at(i), at(i + 1), at(i + 2)
        k = tension / 6
        d.append(
            f"C{p1[0] + (p2[0] - p0[0]) * k:.1f},{p1[1] + (p2[1] - p0[1]) * k:.1f} "
            f"{p2[0] - (p3[0] - p1[0]) * k:.1f},{p2[1] - (p3[1] - p1[1]) * k:.1f} {p2[0]:.1f},{p2[1]:.1f}"
        )
    return " ".join(d) + (" Z" if closed else "")


def tube(profile, tension: float = 1.0) -> str:
    """A limb: (distance, half width outside, half width inside) along its own x axis."""
    return smooth([(x, -a) for x, a, _ in profile] + [(x, b) for x, _, b in reversed(profile)], True, tension)


class Drawing:
    """SVG under construction: definitions and painted elements, in order."""

    def __init__(self, rig: Rig):
        self.rig = rig
        self.defs: list[str] = []
        self.body: list[str] = []
        self.serial = 0

    def name(self, prefix: str) -> str:
        self.serial += 1
        return f"{prefix}{self.serial}"

    def gradient(self, stops, x1=0.0, y1=0.0, x2=0.0, y2=1.0, radial=None) -> str:
        """A user-space linear gradient (x1, y1) to (x2, y2), or radial (cx, cy, r); returns its paint."""
        name = self.name("g")
        body = "".join(f'<stop offset="{o}" stop-color="{c}" stop-opacity="{a}"/>' for o, c, a in ((*s, 1)[:3] for s in stops))
        if radial:
            self.defs.append(f'<radialGradient id="{name}" gradientUnits="userSpaceOnUse" cx="{radial[0]}" cy="{radial[1]}" r="{radial[2]}">{body}</radialGradient>')
        else:
            self.defs.append(f'<linearGradient id="{name}" gradientUnits="userSpaceOnUse" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}">{body}</linearGradient>')
        return f"url(#{name})"

    def clip(self, d: str, content: str) -> str:
        name = self.name("c")
        self.defs.append(f'<clipPath id="{name}"><path d="{d}"/></clipPath>')
        return f'<g clip-path="url(#{name})">{content}</g>'

    def add(self, *parts: str) -> None:
        self.body += parts

    def both(self, content: str) -> str:
        return f'<g>{content}</g><g transform="scale(-1,1)">{content}</g>'

    def svg(self) -> str:
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="{self.rig.width}" height="{self.rig.height}" viewBox="0 0 {self.rig.width} {self.rig.height}">'
            f"<defs>{''.join(self.defs)}</defs>"
            f'<g transform="translate({self.rig.middle},{self.rig.drop})" stroke-linejoin="round" stroke-linecap="round">{chr(10).join(self.body)}</g></svg>\n'
        )


def fill(d: str, paint: str, opacity: float = 1.0) -> str:
    return f'<path d="{d}" fill="{paint}"' + (f' opacity="{opacity}"' if opacity < 1 else "") + "/>"


def line(d: str, colour: str, width: float, opacity: float = 1.0) -> str:
    return f'<path d="{d}" fill="none" stroke="{colour}" stroke-width="{width}"' + (f' opacity="{opacity}"' if opacity < 1 else "") + "/>"


def inked(d: str, paint: str, ink: str, width: float) -> str:
    return f'<path d="{d}" fill="{paint}" stroke="{ink}" stroke-width="{width}"/>'


def under(d: str, ink: str, width: float) -> str:
    """The outline that a group of shapes shares: a stroke under all their fills."""
    return f'<path d="{d}" fill="{ink}" stroke="{ink}" stroke-width="{2 * width}"/>'


def oval(cx: float, cy: float, rx: float, ry: float, paint: str, opacity: float = 1.0, turn: float = 0.0) -> str:
    spin = f' transform="rotate({turn} {cx} {cy})"' if turn else ""
    return f'<ellipse cx="{cx}" cy="{cy}" rx="{rx}" ry="{ry}" fill="{paint}" opacity="{opacity}"{spin}/>'


def render_png(svg: str, width: int, height: int) -> bytes:
    """The drawing at its size, drawn larger and box-filtered (premultiplied), as an RGBA PNG."""
    import cairosvg
    from PIL import Image

    big = Image.open(io.BytesIO(cairosvg.svg2png(svg.encode(), output_width=width * SUPERSAMPLE, output_height=height * SUPERSAMPLE)))
    small = big.convert("RGBA").convert("RGBa").resize((width, height), Image.Resampling.BOX).convert("RGBA")
    out = io.BytesIO()
    small.save(out, "PNG", optimize=True)
    return out.getvalue()


def overview(pngs: dict[str, bytes], height: int = 560) -> bytes:
    """The figures side by side on a plain ground, for the README."""
    from PIL import Image

    figures = [Image.open(io.BytesIO(png)) for png in pngs.values()]
    sizes = [(round(f.width * height / f.height), height) for f in figures]
    sheet = Image.new("RGBA", (sum(w for w, _ in sizes) + 40 * (len(sizes) + 1), height + 40), "#eceaf6")
    x = 40
    for figure, size in zip(figures, sizes, strict=True):
        sheet.alpha_composite(figure.resize(size, Image.Resampling.LANCZOS), (x, 20))
        x += size[0] + 40
    out = io.BytesIO()
    sheet.convert("RGB").quantize(128, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return out.getvalue()


FIGURES = ("kana", "bip", "mochi", "sol")


def load_figure(name: str):
    """The module of a figure: its RIG, and draw() and draw_back() -> svg."""
    return importlib.import_module(f".avatar_{name}", __package__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "assets/avatars")
    parser.add_argument("--only", choices=FIGURES)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    pngs = {}
    for name in FIGURES if options.only is None else (options.only,):
        figure = load_figure(name)
        rig = figure.RIG
        for file, svg in ((name, figure.draw()), (f"{name}-back", figure.draw_back())):
            png = render_png(svg, rig.width, rig.height)
            (options.out / f"{file}.svg").write_text(svg)
            (options.out / f"{file}.png").write_bytes(png)
            if file == name:
                pngs[name] = png
        sidecar = {"width": rig.width, "height": rig.height, "keypoints": rig.keypoints(), "face": rig.face()}
        (options.out / f"{name}.json").write_text(json.dumps(sidecar, indent=1) + "\n")
        print(f"{name}: {rig.width}x{rig.height}, {len(pngs[name])} bytes")
    if options.only is None:
        (options.out / "overview.png").write_bytes(overview(pngs))


if __name__ == "__main__":
    main()
