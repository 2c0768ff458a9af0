"""Sol, the fourth avatar: a tall disco dancer cut from paper, without lines: two flat tones to every shape.

All numbers are pixels of the picture, x from the middle line. Light comes from the picture's left: shade lies on the right
of every shape, so the sides are not mirror images.
"""

from .avatar_art import Drawing, Rig, fill, line, oval, smooth, tube

RIG = Rig(
    width=1000, height=1640, middle=500.0, head_top=60, eye=(34, 246), ear=(78, 256), nose=272, neck=366, shoulder=(96, 424),
    upper_arm=196, lower_arm=186, hand=66, arm_degrees=40, pelvis=762, hip=(58, 792), knee=(84, 1118), ankle=(108, 1444), toe=(122, 1524),
    drop=20,
    eye_box=(-29, -20, 37, 15), mouth_box=(-31, 301, 31, 334),
)  # fmt: skip

SKIN, SKIN_SHADE, SKIN_LIGHT = "#8a4b36", "#6c3430", "#a8624a"
HAIR, HAIR_LIGHT = "#2a1636", "#46265a"
TOP, TOP_SHADE, TOP_LIGHT = "#ffb43a", "#ee8526", "#ffd27a"
PANTS, PANTS_SHADE, PANTS_LIGHT = "#12807f", "#0b5b67", "#2ba898"
RED, RED_SHADE = "#ef4b4b", "#c32f4c"
CREAM, CREAM_SHADE = "#fff1dc", "#e7cdb9"
GOLD, GOLD_SHADE = "#ffd166", "#e09a2d"


def arm(a: Drawing, side: int) -> str:
    """An arm in its own frame; x runs from the shoulder joint to the wrist (382); `side` 1 is the character's left."""
    end = RIG.upper_arm + RIG.lower_arm
    limb = tube([(-20, 28, 20), (0, 39, 38), (50, 41, 41), (120, 37, 37), (196, 33, 33), (250, 34, 33), (320, 28, 28), (382, 23, 23), (404, 22, 22)], 0.9)
    dark = smooth([(-30, 60), (0, 12), (100, 9), (196, 6), (300, 5), (410, 4), (410, 60)], True, 0.7)
    light = smooth([(-30, -60), (0, -16), (100, -14), (196, -10), (300, -9), (410, -7), (410, -60)], True, 0.7)
    out = fill(limb, SKIN) + a.clip(limb, fill(dark, SKIN_SHADE) if side > 0 else fill(light, SKIN_LIGHT))
    hand = (
        f"M{end - 4},-23 C{end + 18},-30 {end + 44},-37 {end + 74},-32 C{end + 92},-29 {end + 104},-22 {end + 100},-13 C{end + 114},-11 {end + 116},1 {end + 104},5 "
        f"C{end + 112},11 {end + 106},21 {end + 94},20 C{end + 92},30 {end + 76},33 {end + 62},31 C{end + 40},32 {end + 14},29 {end - 4},23 Z"
    )
    thumb = f"M{end + 10},14 C{end + 18},34 {end + 30},52 {end + 48},59 C{end + 62},63 {end + 70},52 {end + 61},43 C{end + 52},34 {end + 50},24 {end + 46},10 Z"
    out += fill(thumb, SKIN_SHADE if side > 0 else SKIN) + fill(hand, SKIN)
    out += a.clip(hand, fill(f"M{end - 10},4 H{end + 130} V50 H{end - 10} Z", SKIN_SHADE, 0.9) if side > 0 else fill(f"M{end - 10},-60 H{end + 130} V-14 H{end - 10} Z", SKIN_LIGHT, 0.9))
    out += line(f"M{end + 100},-13 H{end + 66} M{end + 104},5 H{end + 66} M{end + 94},20 H{end + 66}", SKIN_SHADE, 2.6, 0.9)
    # three bangles
    for x, w in ((330, 31), (350, 29), (369, 28)):
        ring = tube([(x - 7, w, w), (x, w + 1, w + 1), (x + 7, w, w)], 0.5)
        out += fill(ring, GOLD) + a.clip(ring, fill(f"M{x - 10},6 h20 v40 h-20 Z", GOLD_SHADE))
    sleeve = tube([(-26, 28, 18), (-6, 46, 46), (30, 54, 56), (66, 62, 64), (88, 66, 70), (86, 0, 0)], 0.7)
    out += fill(sleeve, TOP) + a.clip(sleeve, fill(smooth([(-40, 90), (-6, 16), (40, 18), (100, 22), (100, 90)], True, 0.6), TOP_SHADE) if side > 0 else fill(smooth([(-40, -90), (0, -22), (40, -24), (100, -28), (100, -90)], True, 0.6), TOP_LIGHT))
    return out


def leg(a: Drawing, side: int) -> str:
    """A flared trouser leg; x runs from the hip joint to the ankle (654)."""
    sides = [(-30, 44, 16), (0, 64, 42), (50, 68, 58), (120, 64, 58), (220, 56, 50), (327, 50, 45), (420, 56, 52), (520, 76, 72), (610, 96, 92), (652, 104, 99), (664, 60, 58), (666, 0, 0)]
    trouser = tube(sides, 0.8)
    out = fill(trouser, PANTS)
    dark = smooth([(-40, 80), (40, 22), (220, 14), (327, 10), (460, 16), (600, 30), (680, 36), (680, 140), (-40, 140)], True, 0.7)
    light = smooth([(-40, -90), (40, -30), (220, -24), (327, -20), (460, -28), (600, -46), (680, -56), (680, -140), (-40, -140)], True, 0.7)
    out += a.clip(trouser, fill(dark, PANTS_SHADE) if side > 0 else fill(light, PANTS_LIGHT))
    # a wedge of cloth let in at the hem
    wedge = "M430,-14 L680,-62 L680,44 Z"
    out += a.clip(trouser, fill(wedge, RED) + fill("M430,-14 L680,2 L680,44 Z" if side > 0 else "M430,-14 L680,20 L680,44 Z", RED_SHADE))
    return out


def shoe(a: Drawing, side: int) -> str:
    """A platform shoe from the front, a little turned out; upright, x from the ankle."""
    x, y = RIG.ankle
    body = "M-36,-22 C-44,14 -54,40 -58,62 C-60,84 -44,90 10,90 C64,90 80,80 74,58 C66,32 48,10 40,-22 Z"
    sole = "M-62,60 C-68,82 -68,102 -60,108 C-30,114 52,114 80,108 C88,100 88,80 80,58 C60,80 -40,80 -62,60 Z"
    left = fill(body, CREAM) + fill(sole, RED)
    cut = "M14,-40 H120 V130 H30 C36,60 28,20 14,-40 Z" if side > 0 else "M-90,-40 H-8 C-30,20 -34,60 -30,130 H-90 Z"
    left += a.clip(body, fill(cut, CREAM_SHADE)) + a.clip(sole, fill(cut, RED_SHADE))
    return f'<g transform="translate({x},{y})">{left}</g>'


def trunk(a: Drawing, from_behind: bool = False) -> None:
    hips = "M-84,640 C-92,690 -112,730 -122,784 C-126,812 -124,838 -120,856 L-56,872 L0,842 L56,872 L120,856 C124,838 126,812 122,784 C112,730 92,690 84,640 Z"
    a.add(fill(hips, PANTS) + a.clip(hips, fill("M36,620 H140 V830 C124,800 112,790 96,812 C84,760 60,720 36,620 Z", PANTS_SHADE) + fill("M-140,690 C-112,716 -100,770 -104,900 L-140,900 Z", PANTS_LIGHT)))
    belly = "M-82,560 C-80,600 -84,630 -90,664 H90 C84,630 80,600 82,560 Z"
    a.add(fill(belly, SKIN) + a.clip(belly, fill("M34,540 H120 V680 H44 C46,630 44,590 34,540 Z", SKIN_SHADE)) + (line("M0,566 V648", SKIN_SHADE, 4) if from_behind else oval(0, 636, 4, 7, SKIN_SHADE)))
    belt = "M-92,652 C-40,668 40,668 92,652 L100,694 C40,712 -40,712 -100,694 Z"
    worn = fill(belt, RED) + a.clip(belt, fill("M34,640 H120 V720 H38 Z", RED_SHADE))
    if from_behind:  # pockets and a seam, no buckle
        worn += line("M-62,730 C-40,742 -24,742 -12,736 M62,730 C40,742 24,742 12,736", PANTS_SHADE, 5) + line("M0,720 V842", PANTS_SHADE, 4)
    else:
        worn += f'<circle cx="0" cy="682" r="27" fill="{GOLD}"/>' + a.clip("M-30,650 h60 v64 h-60 Z", f'<path d="M6,655 a27,27 0 0 1 0,54 C16,692 16,672 6,655 Z" fill="{GOLD_SHADE}"/>')
    a.add(worn)
    shirt = "M-44,384 C-70,384 -100,390 -118,406 C-130,450 -122,500 -116,540 C-112,566 -108,580 -106,592 C-40,612 40,612 106,592 C108,580 112,566 116,540 C122,500 130,450 118,406 C100,390 70,384 44,384 " + ("C24,396 -24,396 -44,384 Z" if from_behind else "C24,440 -24,440 -44,384 Z")
    a.add(fill(shirt, TOP))
    a.add(a.clip(shirt, fill("M40,370 C70,430 66,520 44,620 H150 V370 Z", TOP_SHADE) + fill("M-140,380 C-100,400 -96,480 -100,600 L-140,600 Z", TOP_LIGHT)))
    # a sun for a print
    rays = "".join(f'<rect x="-5" y="-58" width="10" height="20" rx="5" fill="{CREAM}" transform="rotate({k * 45})"/>' for k in range(8))
    a.add(f'<g transform="translate(0,508)">{rays}<circle r="28" fill="{CREAM}"/></g>')


def neck(a: Drawing) -> None:
    """Under the shirt's collar."""
    d = "M-31,310 L-31,362 C-34,378 -48,384 -64,388 C-50,448 50,448 64,388 C48,384 34,378 31,362 L31,310 Z"
    a.add(fill(d, SKIN) + a.clip(d, fill("M-34,300 H34 V366 C10,384 -20,380 -34,356 Z M24,300 H80 V440 H10 C40,410 30,370 24,300 Z", SKIN_SHADE)))


def head(a: Drawing) -> None:
    face = "M-80,214 C-86,262 -76,304 -52,330 C-34,347 -16,354 0,354 C16,354 34,347 52,330 C76,304 86,262 80,214 C72,140 -72,140 -80,214 Z"
    a.add(a.both(oval(80, 258, 15, 22, SKIN_SHADE)))
    a.add(fill(face, SKIN) + a.clip(face, fill("M22,120 C60,200 60,290 20,370 H120 V120 Z", SKIN_SHADE, 0.75)))
    # brows, lids, eyes
    ex, ey = RIG.eye
    for side in (-1, 1):
        x = side * ex
        white = f"M{x - 24},{ey + 3} C{x - 16},{ey - 17} {x + 16},{ey - 17} {x + 24},{ey + 3} C{x + 14},{ey + 15} {x - 14},{ey + 15} {x - 24},{ey + 3} Z"
        a.add(fill(white, "#fff8ee") + a.clip(white, oval(x, ey, 12.5, 15, "#3a1c14") + oval(x - 4, ey - 5, 3.6, 4.2, "#ffffff")))
        lid = f"M{x - 28},{ey + 3} C{x - 18},{ey - 25} {x + 18},{ey - 25} {x + 28},{ey + 3} C{x + 16},{ey - 15} {x - 16},{ey - 15} {x - 28},{ey + 3} Z"
        a.add(fill(lid, "#2bb3a6") + line(f"M{x - 26},{ey + 3} C{x - 16},{ey - 18} {x + 16},{ey - 18} {x + 26},{ey + 3}", HAIR, 5.5))
        a.add(line(f"M{x + side * 25},{ey + 1} l{side * 9},-8", HAIR, 5))
        a.add(line(f"M{x - side * 24},{ey - 34} C{x - side * 6},{ey - 45} {x + side * 12},{ey - 44} {x + side * 28},{ey - 33}", HAIR, 8))
    a.add(fill("M-4,252 C-8,272 -15,280 -12,287 C-6,293 8,293 13,287 C15,280 8,272 4,252 Z", SKIN_SHADE, 0.85) + oval(-6, 284, 4, 2.5, SKIN_LIGHT))
    lips = "M-30,308 C-18,302 -8,299 0,303 C8,299 18,302 30,308 C22,327 10,333 0,333 C-10,333 -22,327 -30,308 Z"
    a.add(fill(lips, "#d9404f") + a.clip(lips, fill("M-22,309 C-8,312 8,312 22,309 C14,322 -14,322 -22,309 Z", "#fff8ee")))
    a.add(a.both(oval(54, 296, 16, 10, RED, 0.35)))


def hair_back(a: Drawing) -> None:
    puffs = ((0, 172, 112), (-88, 190, 78), (88, 190, 78), (-104, 262, 62), (104, 262, 62), (-52, 132, 72), (52, 132, 72))
    a.add("".join(f'<circle cx="{x}" cy="{y}" r="{r}" fill="{HAIR}"/>' for x, y, r in puffs))
    a.add(f'<circle cx="-70" cy="140" r="52" fill="{HAIR_LIGHT}"/><circle cx="-112" cy="204" r="34" fill="{HAIR_LIGHT}"/><circle cx="-8" cy="104" r="34" fill="{HAIR_LIGHT}"/>')


def hair_front(a: Drawing) -> None:
    d = "M-86,236 C-92,190 -84,150 -40,138 C-10,130 30,130 54,142 C86,156 92,196 86,236 C80,214 70,198 52,194 C40,206 22,206 12,194 C0,206 -20,208 -32,196 C-46,206 -76,208 -86,236 Z"
    a.add(fill(d, HAIR))
    band = "M-106,190 C-92,128 -40,110 0,110 C40,110 92,128 106,190 C100,196 92,196 88,190 C74,146 38,136 0,136 C-38,136 -74,146 -88,190 C-92,196 -100,196 -106,190 Z"
    a.add(fill(band, RED) + a.clip(band, fill("M30,100 H120 V210 H70 C70,160 56,140 30,100 Z", RED_SHADE)))
    a.add(a.both(f'<circle cx="84" cy="308" r="25" fill="none" stroke="{GOLD}" stroke-width="8"/>'))


def hair_from_behind(a: Drawing) -> None:
    a.add(a.both(f'<circle cx="84" cy="308" r="25" fill="none" stroke="{GOLD}" stroke-width="8"/>'))
    hair_back(a)
    a.add(f'<circle cx="0" cy="262" r="104" fill="{HAIR}"/><circle cx="-52" cy="252" r="30" fill="{HAIR_LIGHT}"/><circle cx="24" cy="206" r="24" fill="{HAIR_LIGHT}"/><circle cx="-20" cy="316" r="24" fill="{HAIR_LIGHT}"/>')
    band = "M-128,150 C-96,124 -40,112 0,112 C40,112 96,124 128,150 C132,158 130,172 124,178 C92,152 38,140 0,140 C-38,140 -92,152 -124,178 C-130,172 -132,158 -128,150 Z"
    a.add(fill(band, RED) + a.clip(band, fill("M40,100 H140 V200 H70 C70,160 60,140 40,100 Z", RED_SHADE)))


def draw_back() -> str:
    """The same figure from behind, in the same pose."""
    return draw(from_behind=True)


def draw(from_behind: bool = False) -> str:
    a = Drawing(RIG)
    if not from_behind:
        hair_back(a)
    for side in (1, -1):
        a.add(f'<g transform="scale({side},1)">{shoe(a, side)}<g transform="translate({RIG.hip[0]},{RIG.hip[1]}) rotate({RIG.leg_degrees():.3f})">{leg(a, side)}</g></g>')
    arms = {side: f'<g transform="scale({side},1)"><g transform="translate({RIG.shoulder[0]},{RIG.shoulder[1]}) rotate({RIG.arm_degrees})">{arm(a, side)}</g></g>' for side in (1, -1)}
    a.add(*arms.values())
    if from_behind:
        a.add(fill("M-31,310 L-31,362 C-34,378 -48,384 -64,392 H64 C48,384 34,378 31,362 L31,310 Z", SKIN_SHADE))
        trunk(a, from_behind)
        hair_from_behind(a)
    else:
        neck(a)
        trunk(a)
        head(a)
        hair_front(a)
    return a.svg()
