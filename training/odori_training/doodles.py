"""Drawings as children make them, with every joint and part known: what the figure finder learns hand-drawn figures from.

    python -m odori_training.doodles --sheet doodles.png

Figures of circles, sausages, boxes, triangles and sticks, drawn with a felt pen, a ballpoint or crayons, filled or not, in the pose that
children draw: facing us, arms and legs apart. Nothing here is like a rig: heads may be half of the height, arms may grow out of a
triangle, and legs may be two lines.
"""

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw

from .figure_model import KEYPOINTS, PARTS, SIZE
from .skeleton import KEYPOINTS as JOINTS

# Drawn so much larger, then box filtered.
FINE = 4
SIDE = SIZE * FINE
AT = {k["name"]: i for i, k in enumerate(JOINTS)}
PART = {name: i + 1 for i, name in enumerate(PARTS)}


def turn(v, angle):
    c, s = np.cos(angle), np.sin(angle)
    return np.array([c * v[0] - s * v[1], s * v[0] + c * v[1]])


class Sheet:
    """Paper, what is on it and which part of the body that is; units of the figure's height, y down, feet at 1."""

    def __init__(self, rng):
        self.rng = rng
        self.rgb, self.alpha, self.parts = Image.new("RGB", (SIDE, SIDE)), Image.new("L", (SIDE, SIDE)), Image.new("L", (SIDE, SIDE))
        self.pens = [ImageDraw.Draw(i) for i in (self.rgb, self.alpha, self.parts)]
        self.scale, self.origin = 0.84 * SIDE, np.array([0.5 * SIDE, 0.09 * SIDE])
        dark = rng.uniform(0, 90, 3) if rng.random() < 0.7 else rng.uniform(0, 200, 3)
        self.ink = tuple(int(v) for v in dark)
        self.paper = np.clip(rng.uniform(170, 256) + rng.normal(0, 8, 3), 0, 255)
        self.coloured = rng.random() < 0.55
        self.hatched = self.coloured and rng.random() < 0.4
        self.width = int(np.exp(rng.uniform(np.log(2.5), np.log(15))))
        self.wobble = rng.uniform(0.001, 0.008)
        self.inked = not self.coloured or rng.random() < 0.8

    def colour(self):
        return self.rng.uniform(30, 250, 3) if self.coloured else self.paper

    def pixels(self, points):
        return np.asarray(points) * self.scale + self.origin

    def shaky(self, points, closed):
        """Points along a line at even distances, off by what an unsure hand is off by."""
        points = np.asarray(points, float)
        if closed:
            points = np.concatenate([points, points[:1]])
        way = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
        n = max(int(way[-1] / 0.012), 4)
        t = np.linspace(0, way[-1], n)
        line = np.stack([np.interp(t, way, points[:, k]) for k in (0, 1)], -1)
        phase, rate = self.rng.uniform(0, 6.3, (2, 3)), self.rng.uniform(8, 50, (2, 3))
        shake = sum(np.sin(np.outer(t, rate[:, k]) + phase[:, k]) for k in range(3))
        return line + self.wobble * shake

    def line(self, points, part, width=None, colour=None, closed=False):
        at = [tuple(p) for p in self.pixels(self.shaky(points, closed))]
        w = width or self.width
        for pen, value in zip(self.pens, (colour or self.ink, 255, PART[part]), strict=True):
            pen.line(at + at[:1] if closed else at, fill=value, width=w, joint="curve")
            for x, y in (at[0], at[-1]):
                pen.ellipse([x - w / 2, y - w / 2, x + w / 2, y + w / 2], fill=value)

    def shape(self, points, part, colour=None, open_top=False):
        """A closed outline, filled with paper or colour; `open_top` leaves the first edge undrawn."""
        line = self.shaky(points, True)
        at = [tuple(p) for p in self.pixels(line)]
        fill = tuple(int(v) for v in (self.colour() if colour is None else colour))
        base = tuple(int(v) for v in self.paper) if self.hatched else fill
        for pen, value in zip(self.pens, (base, 255, PART[part]), strict=True):
            pen.polygon(at, fill=value)
        if self.hatched:
            self.hatch(at, fill)
        if self.inked:
            kept = at[len(at) // len(points) :] if open_top else at + at[:2]
            for pen, value in zip(self.pens, (self.ink, 255, PART[part]), strict=True):
                pen.line(kept, fill=value, width=self.width, joint="curve")

    def hatch(self, at, colour):
        """Crayon strokes across a shape."""
        mask = Image.new("L", (SIDE, SIDE))
        ImageDraw.Draw(mask).polygon(at, fill=255)
        strokes = Image.new("L", (SIDE, SIDE))
        pen, angle = ImageDraw.Draw(strokes), self.rng.uniform(0, 3.14)
        low, high = np.min(at, 0), np.max(at, 0)
        middle, reach = (low + high) / 2, np.linalg.norm(high - low) / 2 + 8
        along, across = turn([1, 0], angle), turn([0, 1], angle)
        for d in np.arange(-reach, reach, self.rng.uniform(6, 14)):
            a, b = (middle + across * (d + self.rng.normal(0, 2)) + along * side for side in (-reach, reach))
            pen.line([tuple(a), tuple(b)], fill=int(self.rng.uniform(120, 255)), width=int(self.rng.uniform(4, 11)))
        self.rgb.paste(colour, mask=Image.fromarray(np.minimum(np.asarray(mask), np.asarray(strokes))))


def oval(middle, rx, ry, square=1.0, angle=0.0):
    t = np.linspace(0, 2 * np.pi, 28, endpoint=False)
    c, s = np.cos(t), np.sin(t)
    p = np.stack([np.sign(c) * np.abs(c) ** square * rx, np.sign(s) * np.abs(s) ** square * ry], -1)
    return np.array([turn(v, angle) for v in p]) + middle


def sausage(points, widths):
    """A limb through points with half widths there, its ends round."""
    points = np.asarray(points, float)
    d = np.gradient(points, axis=0)
    normal = np.stack([-d[:, 1], d[:, 0]], -1) / np.linalg.norm(d, axis=1, keepdims=True)
    w = np.asarray(widths)[:, None]
    end = points[-1] + d[-1] / np.linalg.norm(d[-1]) * widths[-1] * 0.7
    return np.concatenate([points + normal * w, [end], (points - normal * w)[::-1]])


def doodle(rng):
    """RGBA (128,128,4) u8 premultiplied, keypoints (24,2) in pixels, parts (128,128) u8, the paper's colour (3,) in 0..1."""
    sheet, at = Sheet(rng), np.zeros((KEYPOINTS, 2))
    u, maybe = rng.uniform, lambda share: rng.random() < share
    # How high things are: 0 the crown, 1 the soles.
    head_h = float(np.clip(rng.normal(0.27, 0.08), 0.14, 0.5))
    neck = 0.0 if maybe(0.45) else u(0.01, 0.08)
    rest = 1 - head_h - neck
    trunk = rest * u(0.38, 0.62)
    legs = rest - trunk
    top, hip_y = head_h + neck, head_h + neck + trunk
    stick = maybe(0.18)
    shoulder, hip = u(0.05, 0.17), u(0.05, 0.15)
    round_trunk = maybe(0.3)
    if round_trunk:
        shoulder, hip = shoulder + 0.03, hip + 0.02
    middle = lambda y: np.array([0.0, y])  # noqa: E731
    colour = {"skin": sheet.colour() if sheet.coloured and maybe(0.6) else sheet.paper, "shirt": sheet.colour(), "legs": sheet.colour(), "hair": sheet.colour()}
    sleeves = colour["shirt"] if maybe(0.6) else colour["skin"]

    # Limbs: joints first.
    arm, base = u(0.22, 0.42) * (0.7 + 0.6 * trunk), np.radians(rng.choice([u(12, 40), u(40, 75), u(75, 100), u(100, 150)], p=[0.25, 0.35, 0.3, 0.1]))
    spread, foot = np.radians(u(-2, 24)), u(0.03, 0.09)
    thick_a, thick_l = u(0.012, 0.06), u(0.02, 0.09)
    arm_lines, leg_lines = stick or maybe(0.2), stick or maybe(0.25)
    limbs = {}
    drop = 0.0 if stick else u(0.0, 0.25) * trunk  # where arms leave the trunk
    for side, sign in (("left", 1), ("right", -1)):
        inset = 0.0 if stick else (1.0 if maybe(0.5) else 0.85)
        start = np.array([sign * shoulder * inset, top + drop + 0.02])
        raise_, bend = base + np.radians(rng.normal(0, 9)), np.radians(rng.normal(0, 22))
        elbow = start + turn([0, 1], -sign * raise_) * arm * 0.5
        wrist = elbow + turn([0, 1], -sign * (raise_ + bend)) * arm * 0.5
        at[AT[f"{side}_shoulder"]] = start + (0 if stick else 1) * np.array([-sign * 0.3 * thick_a, 0.3 * thick_a])
        at[AT[f"{side}_elbow"]], at[AT[f"{side}_wrist"]] = elbow, wrist
        away = (wrist - elbow) / np.linalg.norm(wrist - elbow)
        hand = u(0.02, 0.055)
        at[AT[f"{side}_hand"]] = wrist + away * hand * 0.9
        joint = np.array([sign * hip * (0.0 if stick else u(0.45, 0.75)), hip_y])
        length = legs - (0.0 if leg_lines else 0.3 * foot)
        out = spread + np.radians(rng.normal(0, 3))
        ankle = joint + np.array([sign * np.tan(out) * length, length * 0.92])
        knee = (joint + ankle) / 2 + np.array([sign * rng.normal(0, 0.012), 0])
        at[AT[f"{side}_hip"]], at[AT[f"{side}_knee"]], at[AT[f"{side}_ankle"]] = joint, knee, ankle
        toe = np.array([ankle[0] + sign * foot * u(0.2, 1.3), min(ankle[1] + 0.5 * foot, 1.0)])
        at[AT[f"{side}_toe"]] = toe
        limbs[side] = (sign, start, elbow, wrist, away, hand, joint, knee, ankle, toe)
    at[AT["neck"]], at[AT["pelvis"]], at[AT["head_top"]] = middle(top + 0.3 * drop), middle(hip_y - 0.04 * trunk), middle(0.0)

    face = middle(head_h / 2) + np.array([rng.normal(0, 0.006), 0.0])
    rx, ry = head_h / 2 * u(0.75, 1.25), head_h / 2
    hair = rng.choice(["none", "top", "spikes", "tails", "long", "bun", "hat"], p=[0.18, 0.2, 0.13, 0.16, 0.17, 0.06, 0.1])
    hair_colour = tuple(int(v) for v in colour["hair"]) if sheet.coloured else sheet.ink
    if hair == "long":
        down = u(0.5, 1.6) * head_h
        sheet.shape(np.concatenate([oval(face, rx * 1.18, ry * 1.1)[14:], [face + [rx * 1.2, down], face + [-rx * 1.2, down]]]), "hair", colour["hair"])

    def leg(side):
        sign, *_, joint, knee, ankle, toe = limbs[side]
        if leg_lines:
            sheet.line([joint, knee, ankle], f"{side}_leg")
            sheet.line([ankle, toe], f"{side}_leg")
            return
        sheet.shape(sausage([joint - [0, 0.02], knee, ankle], [thick_l, thick_l * u(0.7, 1.2), thick_l * u(0.5, 0.9)]), f"{side}_leg", colour["legs"], open_top=maybe(0.5))
        if maybe(0.85):
            shoe = (ankle + toe) / 2 + [0, 0.01]
            sheet.shape(oval(shoe, foot * u(0.7, 1.1), foot * u(0.4, 0.6), angle=sign * u(-0.1, 0.3)), f"{side}_leg")

    def arm_of(side):
        sign, start, elbow, wrist, away, hand, *_ = limbs[side]
        if arm_lines:
            sheet.line([start, elbow, wrist], f"{side}_arm")
        else:
            sheet.shape(sausage([start, elbow, wrist], [thick_a * u(0.9, 1.3), thick_a, thick_a * u(0.6, 1.0)]), f"{side}_arm", sleeves, open_top=maybe(0.6))
        kind = rng.choice(["ball", "fingers", "mitten", "none"], p=[0.35, 0.35, 0.2, 0.1])
        if kind in ("ball", "mitten"):
            sheet.shape(oval(wrist + away * hand * 0.8, hand, hand * (1 if kind == "ball" else 0.65), angle=np.arctan2(away[1], away[0])), f"{side}_arm", colour["skin"])
        elif kind == "fingers":
            for k in np.linspace(-0.8, 0.8, int(u(3, 6))):
                sheet.line([wrist, wrist + turn(away, k) * hand * 1.6], f"{side}_arm", width=max(sheet.width * 2 // 3, 2))

    behind = maybe(0.5)
    for side in ("left", "right"):
        leg(side)
    if behind:
        arm_of("left"), arm_of("right")
    dress = not stick and maybe(0.3)
    if stick:
        sheet.line([middle(head_h * 0.98), middle(hip_y)], "torso")
    elif round_trunk:
        sheet.shape(oval(middle((top + hip_y) / 2), max(shoulder, hip) * u(1.0, 1.25), trunk / 2 * 1.08, u(0.7, 1.0)), "torso", colour["shirt"])
    elif dress and maybe(0.5):
        # One triangle from the neck to the hem.
        hem, wide = hip_y + legs * u(0.1, 0.6), hip * u(1.4, 2.6)
        sheet.shape([[-wide, hem], [-shoulder * 0.7, top], [shoulder * 0.7, top], [wide, hem]], "skirt", colour["shirt"])
        waist = top + trunk * 0.7
        for pen in sheet.pens[2:]:
            k = shoulder * 0.7 + (wide - shoulder * 0.7) * (waist - top) / (hem - top)
            pen.polygon([tuple(p) for p in sheet.pixels([[-k, waist], [-shoulder * 0.7, top], [shoulder * 0.7, top], [k, waist]])], fill=PART["torso"])
        dress = False
    else:
        waist = min(shoulder, hip) * u(0.7, 1.1)
        outline = [[-shoulder, top], [shoulder, top], [waist, top + trunk * 0.6], [hip, hip_y], [-hip, hip_y], [-waist, top + trunk * 0.6]]
        sheet.shape(outline, "torso", colour["shirt"])
    if dress:
        waist, hem = hip_y - trunk * u(0.05, 0.3), hip_y + legs * u(0.15, 0.7)
        wide = hip * u(1.3, 2.5)
        sheet.shape([[-hip, waist], [hip, waist], [wide, hem], [-wide, hem]], "skirt", colour["legs"])
        for x in np.linspace(-0.6, 0.6, int(u(0, 6))):
            sheet.line([[x * wide, hem - 0.01], [x * 0.8 * wide, waist + (hem - waist) * u(0.3, 0.6)]], "skirt", width=max(sheet.width * 2 // 3, 2))
    for _ in range(int(u(0, 4))):  # buttons, a pattern, a belt
        if not stick:
            y = u(top + 0.15 * trunk, hip_y - 0.1 * trunk)
            spot = oval(middle(y), 0.012, 0.012) if maybe(0.6) else [[-0.7 * min(shoulder, hip), y], [0.7 * min(shoulder, hip), y]]
            sheet.line(spot, "torso", width=max(sheet.width * 2 // 3, 2))
    if neck > 0.0:
        sheet.shape([[-0.25 * rx, head_h * 0.9], [0.25 * rx, head_h * 0.9], [0.25 * rx, top + 0.02], [-0.25 * rx, top + 0.02]], "torso", colour["skin"])
    if not behind:
        arm_of("left"), arm_of("right")

    if maybe(0.25):
        for sign in (1, -1):
            sheet.shape(oval(face + [sign * rx, 0], 0.2 * rx, 0.25 * ry), "head", colour["skin"])
    sheet.shape(oval(face, rx, ry, u(0.6, 1.05)), "head", colour["skin"])
    eye_y, eye_x = face[1] + ry * u(-0.3, 0.1), rx * u(0.25, 0.5)
    eye = rng.choice(["dot", "ring", "line", "big"])
    for side, sign in (("left", 1), ("right", -1)):
        e = np.array([face[0] + sign * eye_x, eye_y])
        at[AT[f"{side}_eye"]], at[AT[f"{side}_ear"]] = e, [face[0] + sign * rx * 0.95, eye_y + 0.1 * ry]
        if eye == "line":
            sheet.line([e - [0, 0.08 * ry], e + [0, 0.08 * ry]], "head")
        elif eye == "dot":
            sheet.line(oval(e, 0.03 * rx, 0.03 * rx), "head")
        else:
            size = rx * (u(0.1, 0.16) if eye == "ring" else u(0.2, 0.28))
            sheet.shape(oval(e, size, size * u(1, 1.5)), "head", (255, 255, 255))
            sheet.line(oval(e, 0.03 * rx, 0.03 * rx), "head")
    nose_y = eye_y + ry * u(0.2, 0.35)
    at[AT["nose"]] = [face[0], nose_y]
    if maybe(0.6):
        sheet.line([[face[0], nose_y - 0.1 * ry], [face[0] + rng.normal(0, 0.05) * rx, nose_y + 0.05 * ry]], "head")
    mouth_y, wide, smile = nose_y + ry * u(0.15, 0.3), rx * u(0.2, 0.5), ry * u(-0.05, 0.25)
    t = np.linspace(-1, 1, 9)
    sheet.line(np.stack([face[0] + t * wide, mouth_y + smile * (1 - t**2)], -1), "head")

    if hair in ("top", "long", "tails"):
        cap = oval(face, rx * 1.04, ry * 1.04)[14:]
        if maybe(0.5):
            sheet.shape(np.concatenate([cap, [face + [rx * 0.6, -ry * 0.5], face + [-rx * 0.6, -ry * 0.45]]]), "head", colour["hair"])
        else:
            for k in range(1, len(cap) - 1):
                sheet.line([cap[k], cap[k] + np.array([rng.normal(0, 0.15) * rx, u(0.05, 0.35) * ry])], "head", colour=hair_colour)
    if hair == "spikes":
        cap, line = oval(face, rx, ry)[15:28], []
        for k, p in enumerate(cap):
            line += [p, face + (p - face) * u(1.15, 1.4)] if k < len(cap) - 1 else [p]
        sheet.shape(np.array(line), "head", colour["hair"])
    if hair == "tails":
        for sign in (1, -1):
            root = face + [sign * rx * 0.85, -ry * u(0.2, 0.7)]
            tail = [root, root + [sign * rx * u(0.4, 0.8), -ry * u(-0.1, 0.4)], root + [sign * rx * u(0.6, 1.1), ry * u(0.5, 1.4)]]
            sheet.shape(sausage(tail, [0.06 * rx, 0.2 * rx, 0.1 * rx]), "hair", colour["hair"])
    if hair == "bun":
        sheet.shape(oval(face - [0, ry * 1.1], rx * 0.4, ry * 0.3), "head", colour["hair"])
    if hair == "hat":
        brim = face[1] - ry * u(0.4, 0.7)
        sheet.shape([[-rx * 0.8, brim], [-rx * u(0.1, 0.8), -ry * u(0.1, 0.8)], [rx * u(0.1, 0.8), -ry * u(0.1, 0.8)], [rx * 0.8, brim]], "head")
        sheet.line([[-rx * 1.2, brim], [rx * 1.2, brim]], "head")

    rgba = np.dstack([np.asarray(sheet.rgb), np.asarray(sheet.alpha)]).astype(np.float32)
    rgba[..., :3] *= rgba[..., 3:] / 255
    small = rgba.reshape(SIZE, FINE, SIZE, FINE, 4).mean((1, 3))
    fine = np.asarray(sheet.parts)
    parts = fine[FINE // 2 :: FINE, FINE // 2 :: FINE]
    parts = np.where(parts > 0, parts, fine.reshape(SIZE, FINE, SIZE, FINE).max((1, 3))) * (np.round(small[..., 3]) > 127)
    return np.round(small).astype(np.uint8), sheet.pixels(at) / FINE, parts.astype(np.uint8), sheet.paper / 255


def make(count, seed):
    """As `figure_train.load` gives pictures of rigs: pictures, points, weights, of the reference or not, parts, paper."""
    rng = np.random.default_rng(seed)
    pictures, points, parts, papers = (np.stack(x) for x in zip(*(doodle(rng) for _ in range(count)), strict=True))
    every = torch.ones(count, KEYPOINTS), torch.ones(count, dtype=torch.bool)
    return torch.from_numpy(pictures), torch.from_numpy(points).float(), *every, torch.from_numpy(parts), torch.from_numpy(papers).float()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--sheet", type=Path, required=True)
    p.add_argument("--seed", type=int, default=1)
    a = p.parse_args()
    pictures, points, _, _, parts, _ = make(40, a.seed)
    hues = (np.array([[0, 0, 0], [230, 80, 80], [250, 200, 120], [80, 160, 240], [60, 90, 200], [90, 200, 120], [40, 140, 80], [180, 90, 200], [240, 150, 210]])).astype(np.uint8)
    rows = []
    for n in range(40):
        x = pictures[n].float()
        picture = Image.fromarray((x[..., :3] + 200 * (1 - x[..., 3:] / 255)).to(torch.uint8).numpy())
        pen = ImageDraw.Draw(picture)
        for q in points[n]:
            pen.ellipse([*(q - 1).tolist(), *(q + 1).tolist()], fill=(255, 0, 0))
        rows.append(np.concatenate([np.asarray(picture), hues[parts[n].numpy()]], 0))
    Image.fromarray(np.concatenate([np.concatenate(rows[k : k + 10], 1) for k in range(0, 40, 10)], 0)).save(a.sheet)


if __name__ == "__main__":
    main()
