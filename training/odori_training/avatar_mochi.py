"""Mochi, the third avatar: a chibi of two heads in a bunny suit, soft lines, big eyes, round paws.

All numbers are pixels of the picture, x from the middle line. Light comes from above and in front.
"""

from .avatar_art import Drawing, Rig, fill, inked, line, oval, smooth, tube, under

RIG = Rig(
    width=1100, height=1200, middle=550.0, head_top=150, eye=(84, 418), ear=(214, 420), nose=452, neck=610, shoulder=(92, 646),
    upper_arm=104, lower_arm=100, hand=44, arm_degrees=34, pelvis=858, hip=(62, 884), knee=(72, 966), ankle=(82, 1048), toe=(94, 1122),
    drop=10,
    eye_box=(-52, -56, 54, 58), mouth_box=(-31, 481, 31, 525),
)  # fmt: skip

INK, SKIN_INK = "#5a2f5c", "#b4567a"
SUIT, SUIT_SHADE, SUIT_LIGHT = "#ffc9dc", "#f095b8", "#ffe6ef"
CREAM, CREAM_SHADE = "#fff8f0", "#f3d9de"
SKIN, SKIN_SHADE = "#ffe7d8", "#ffc3b4"
HAIR, HAIR_SHADE, HAIR_LIGHT = "#9a6bd6", "#7446b4", "#cfa8ff"
MINT, MINT_SHADE = "#8fe8d0", "#4fc2ad"
OUT, MID, FINE = 6.0, 4.4, 3.0


def arm(a: Drawing) -> tuple[str, str, str]:
    """(outline, fills, root) of the left arm in its own frame; x runs from the shoulder joint to the wrist (204). The root
    lies over the trunk and hides its outline."""
    sleeve = tube([(-30, 30, 20), (-6, 46, 44), (40, 52, 52), (104, 52, 52), (160, 54, 54), (206, 57, 56), (240, 58, 56), (272, 46, 44), (286, 18, 16), (288, 0, 0)], 0.9)
    inside = fill(sleeve, a.gradient([(0, SUIT_LIGHT), (0.32, SUIT), (1, SUIT)], 0, -52, 0, 56))
    shade = smooth([(-40, 70), (0, 34), (104, 26), (206, 30), (270, 20), (300, 70)], True, 0.7)
    inside += a.clip(sleeve, fill(shade, SUIT_SHADE, 0.75))
    # the paw: a cream mitten with three pads
    paw = "M206,-70 H300 V70 H206 C218,30 218,-30 206,-70 Z"
    inside += a.clip(sleeve, fill(paw, a.gradient([(0, CREAM), (0.6, CREAM), (1, CREAM_SHADE)], 0, -56, 0, 56)) + line("M206,-70 C218,-30 218,30 206,70", INK, MID))
    inside += oval(240, 2, 13, 17, SUIT_SHADE) + oval(264, -21, 7.5, 9.5, SUIT_SHADE) + oval(271, 3, 7.5, 9.5, SUIT_SHADE) + oval(262, 25, 7.5, 9.5, SUIT_SHADE)
    inside += line("M20,-36 C60,-42 120,-42 180,-43", "#fff4f8", 6, 0.9)
    root = fill(tube([(-24, 24, 16), (0, 45, 34), (30, 51, 40), (56, 50, 34), (66, 0, 0)], 0.9), a.gradient([(0, SUIT_LIGHT), (0.34, SUIT), (1, SUIT)], 0, -52, 0, 56))
    return under(sleeve, INK, OUT), inside, root


def leg(a: Drawing) -> tuple[str, str]:
    """(outline, fills) of the left leg; x runs from the hip joint to the ankle (165)."""
    hose = tube([(-40, 56, 40), (-8, 66, 58), (40, 68, 60), (82, 65, 60), (130, 58, 56), (176, 50, 50)], 0.8)
    inside = fill(hose, a.gradient([(0, SUIT_LIGHT), (0.3, SUIT), (1, SUIT)], 0, -66, 0, 62))
    inside += a.clip(hose, fill(smooth([(-40, 80), (0, 34), (82, 30), (190, 26), (190, 80)], True, 0.7), SUIT_SHADE, 0.75))
    return under(hose, INK, OUT), inside


def boot(a: Drawing, from_behind: bool = False) -> str:
    """The left foot of the suit; upright, x from the ankle."""
    x, y = RIG.ankle
    body = "M-60,-22 C-74,6 -80,30 -78,52 C-74,92 -40,98 8,98 C66,98 92,86 92,50 C92,22 80,0 58,-22 C30,-34 -30,-34 -60,-22 Z"
    out = inked(body, a.gradient([(0, SUIT), (0.5, SUIT_LIGHT), (1, SUIT)], 0, -20, 0, 96), INK, OUT)
    out += a.clip(body, fill("M-100,-40 H-44 C-60,20 -58,60 -30,110 H-110 Z", SUIT_SHADE, 0.6) + fill("M-90,66 C-40,88 60,88 100,62 V120 H-90 Z", CREAM) + fill("M-90,82 C-40,102 60,102 100,80 V120 H-90 Z", CREAM_SHADE, 0.8) + line("M-90,66 C-40,88 60,88 100,62", INK, MID))
    if not from_behind:
        out += line("M-14,22 v20 M22,20 v21", SUIT_SHADE, MID + 1)
    return f'<g transform="translate({x},{y})">{out}</g>'


def trunk(a: Drawing, from_behind: bool = False) -> None:
    body = "M0,560 C70,560 118,584 134,632 C146,684 158,744 160,806 C162,872 140,918 96,938 C60,950 34,940 0,940 C-34,940 -60,950 -96,938 C-140,918 -162,872 -160,806 C-158,744 -146,684 -134,632 C-118,584 -70,560 0,560 Z"
    a.add(inked(body, a.gradient([(0, SUIT), (0.5, SUIT), (1, SUIT)], 0, 560, 0, 940), INK, OUT))
    shade = fill("M170,600 C128,690 140,800 120,860 C90,914 40,922 0,920 C-40,922 -90,914 -120,860 C-140,800 -128,690 -170,600 V980 H170 Z", SUIT_SHADE, 0.55)
    chin = fill("M-180,540 H180 V628 C110,684 -110,684 -180,628 Z", SUIT_SHADE, 0.8)
    tummy = "M0,664 C66,664 104,720 106,792 C106,862 62,900 0,900 C-62,900 -106,862 -106,792 C-104,720 -66,664 0,664 Z"
    if from_behind:
        a.add(a.clip(body, shade + chin) + line(body, INK, OUT) + line("M0,600 V930", SUIT_SHADE, FINE + 1))
        puff = "M0,810 C22,796 50,806 54,830 C72,844 70,872 52,882 C46,904 18,910 0,898 C-18,910 -46,904 -52,882 C-70,872 -72,844 -54,830 C-50,806 -22,796 0,810 Z"
        a.add(inked(puff, a.gradient([(0, CREAM), (0.6, CREAM), (1, CREAM_SHADE)], 0, 800, 0, 906), INK, MID) + line("M-30,842 C-24,834 -14,832 -8,838 M14,860 C22,856 30,858 34,866 M-22,878 C-14,886 -4,886 2,880", CREAM_SHADE, FINE + 1))
        return
    a.add(a.clip(body, shade + fill(tummy, a.gradient([(0, CREAM), (0.7, CREAM), (1, CREAM_SHADE)], 0, 664, 0, 900)) + chin))
    a.add(line(body, INK, OUT))
    # a little note for a button
    a.add(f'<g transform="translate(0,786)">' + fill("M-15,34 C-15,24 -2,18 8,22 V-34 L44,-44 V18 C44,28 32,36 22,33 C12,30 12,18 22,13 C26,11 31,11 35,13 V-22 L17,-17 V32 C17,42 5,50 -5,47 C-11,45 -15,40 -15,34 Z", MINT_SHADE) + "</g>")


def scarf(a: Drawing) -> None:
    knot = "M-30,628 C-66,604 -100,604 -108,628 C-112,652 -84,664 -30,650 Z"
    bow = a.both(inked(knot, a.gradient([(0, MINT), (1, MINT_SHADE)], 0, 604, 0, 664), INK, MID) + line("M-46,638 C-62,632 -78,630 -90,632", MINT_SHADE, FINE))
    a.add(bow + f'<ellipse cx="0" cy="638" rx="30" ry="24" fill="{MINT}" stroke="{INK}" stroke-width="{MID}"/>' + oval(-8, 631, 9, 6, "#d6fff4", 0.9))


def head_from_behind(a: Drawing) -> None:
    bunny_ears(a, from_behind=True)
    hood = "M0,150 C150,150 240,250 240,396 C240,520 150,596 0,596 C-150,596 -240,520 -240,396 C-240,250 -150,150 0,150 Z"
    a.add(inked(hood, a.gradient([(0, SUIT_LIGHT), (0.4, SUIT), (1, SUIT)], 0, 150, 0, 596), INK, OUT))
    a.add(a.clip(hood, fill("M-250,420 C-190,560 -90,580 0,580 C90,580 190,560 250,420 V620 H-250 Z", SUIT_SHADE, 0.8) + line("M-176,256 C-140,204 -88,178 -30,172", "#ffffff", 14, 0.85)))
    a.add(line("M0,156 C10,260 10,470 0,590", SUIT_SHADE, FINE + 1.5) + line("M-150,220 C-190,300 -194,440 -140,540 M150,220 C190,300 194,440 140,540", SUIT_SHADE, FINE, 0.7))


def bunny_ears(a: Drawing, from_behind: bool = False) -> None:
    ear = "M62,214 C48,130 58,34 108,10 C154,20 172,130 146,244 Z"
    inner = "M84,212 C74,150 82,76 108,50 C134,70 144,150 128,224 Z"
    outside = inked(ear, a.gradient([(0, SUIT_LIGHT), (1, SUIT)], 0, 10, 0, 230), INK, OUT)
    if not from_behind:
        outside += fill(inner, a.gradient([(0, "#ff9fc0"), (1, SUIT_SHADE)], 0, 50, 0, 220))
    a.add(a.both(outside + line("M78,60 C70,86 66,116 66,150", "#fffafc", 6, 0.8)))


def eye(a: Drawing, side: int) -> str:
    """An eye about its own middle; `side` 1 for the left, which is drawn mirrored for the right."""
    white = "M-44,-4 C-40,-44 34,-52 46,-8 C48,28 30,54 0,54 C-30,54 -46,28 -44,-4 Z"
    iris = a.gradient([(0, "#3a1f72"), (0.45, "#7a45d0"), (0.8, "#d48cff"), (1, "#ffd0f4")], 0, -46, 0, 52)
    out = fill(white, "#ffffff") + a.clip(white, oval(0, 6, 37, 48, iris) + oval(0, 0, 15, 22, "#2a1450") + fill("M-60,-60 h120 v34 C20,-34 -20,-34 -60,-20 Z", "#4a2f80", 0.35))
    out += oval(-13 * side, -18, 13, 16, "#ffffff") + oval(15 * side, 24, 7, 8, "#ffffff", 0.95) + oval(-12 * side, 34, 4, 4, "#ffffff", 0.8)
    out += line("M-46,-2 C-42,-46 36,-54 48,-10", INK, 9) + line("M46,-12 C54,-16 58,-22 60,-28 M40,-30 C47,-35 50,-40 51,-46", INK, 5)
    return out + line("M-22,55 C-8,59 10,58 22,52", SKIN_INK, FINE)


def head(a: Drawing) -> None:
    bunny_ears(a)
    hood = "M0,150 C150,150 240,250 240,396 C240,520 150,596 0,596 C-150,596 -240,520 -240,396 C-240,250 -150,150 0,150 Z"
    a.add(inked(hood, a.gradient([(0, SUIT_LIGHT), (0.4, SUIT), (1, SUIT)], 0, 150, 0, 596), INK, OUT))
    a.add(a.clip(hood, fill("M-250,430 C-190,570 -90,586 0,586 C90,586 190,570 250,430 V620 H-250 Z", SUIT_SHADE, 0.8) + line("M-176,256 C-140,204 -88,178 -30,172", "#ffffff", 14, 0.85)))
    face = "M0,250 C104,250 186,310 188,416 C188,512 112,570 0,570 C-112,570 -188,512 -188,416 C-186,310 -104,250 0,250 Z"
    a.add(inked(face, a.gradient([(0, SKIN), (0.7, SKIN), (1, "#ffdccb")], 0, 250, 0, 570), INK, MID))
    a.add(a.clip(face, fill("M-200,240 H200 V350 C150,340 120,372 90,352 C60,372 20,340 0,360 C-20,340 -60,372 -90,352 C-120,372 -150,340 -200,350 Z", SKIN_SHADE, 0.8)))
    blush = a.gradient([(0, "#ff7fa3", 0.75), (1, "#ff7fa3", 0)], radial=(0, 0, 36))
    a.add(a.both(f'<g transform="translate(128,484) scale(1,0.66)"><circle r="36" fill="{blush}"/></g>' + line("M116,478 l-6,10 M130,478 l-6,11 M144,477 l-6,10", "#ff6f97", FINE + 0.5, 0.7)))
    ex, ey = RIG.eye
    a.add(f'<g transform="translate({ex},{ey})">{eye(a, 1)}</g><g transform="translate({-ex},{ey}) scale(-1,1)">{eye(a, -1)}</g>')
    a.add(oval(0, 466, 7, 4.5, "#e88a8f"))
    mouth = "M-26,486 C-16,494 -6,492 0,486 C6,492 16,494 26,486 C24,512 12,524 0,524 C-12,524 -24,512 -26,486 Z"
    a.add(fill(mouth, "#a93459") + a.clip(mouth, oval(0, 522, 15, 12, "#ff90a0")) + line("M-30,482 C-20,494 -6,494 0,485 C6,494 20,494 30,482", "#7c2a4c", MID))
    fringe = (
        "M-186,392 C-190,300 -112,250 0,250 C112,250 190,300 186,392 C176,368 168,352 156,340 C152,366 142,384 124,396 C126,372 122,352 112,334 "
        "C98,358 80,372 56,378 C64,356 62,338 54,322 C36,352 8,368 -28,372 C-18,354 -16,338 -20,324 C-40,352 -64,368 -94,374 C-86,356 -86,342 -92,330 "
        "C-108,356 -122,376 -142,392 C-146,374 -148,360 -152,346 C-166,360 -178,374 -186,392 Z"
    )
    paint = a.gradient([(0, HAIR_SHADE), (0.35, HAIR), (1, HAIR_LIGHT)], 0, 250, 0, 396)
    a.add(inked(fringe, paint, INK, MID))
    a.add(a.clip(fringe, fill("M-130,306 C-70,280 70,280 130,306 C112,304 104,318 90,308 C74,302 66,320 48,308 C30,302 22,318 0,306 C-22,318 -30,302 -48,308 C-66,320 -74,302 -90,308 C-104,318 -112,304 -130,306 Z", "#f1e0ff", 0.8)))
    a.add(a.both(line("M58,338 C72,328 96,328 112,340", HAIR_SHADE, MID)))
    # seam of the hood, and a stitched heart on it
    a.add(line("M-196,440 C-206,300 -112,232 0,232 C112,232 206,300 196,440", SUIT_SHADE, FINE + 1))
    a.add('<g transform="translate(0,200)">' + fill("M0,18 C-26,2 -22,-18 -8,-16 C-3,-15 0,-10 0,-7 C0,-10 3,-15 8,-16 C22,-18 26,2 0,18 Z", "#ff6f97") + "</g>")


def draw(from_behind: bool = False) -> str:
    a = Drawing(RIG)
    legs = f'<g transform="translate({RIG.hip[0]},{RIG.hip[1]}) rotate({RIG.leg_degrees():.3f})">'
    outline, inside = leg(a)
    a.add(a.both(f"{legs}{outline}{inside}</g>{boot(a, from_behind)}"))
    arms = f'<g transform="translate({RIG.shoulder[0]},{RIG.shoulder[1]}) rotate({RIG.arm_degrees})">'
    outline, inside, root = arm(a)
    a.add(a.both(f"{arms}{outline}{inside}</g>"))
    trunk(a, from_behind)
    a.add(a.both(f"{arms}{root}</g>"))
    if from_behind:
        head_from_behind(a)
    else:
        scarf(a)
        head(a)
    return a.svg()


def draw_back() -> str:
    """The same figure from behind, in the same pose."""
    return draw(from_behind=True)
