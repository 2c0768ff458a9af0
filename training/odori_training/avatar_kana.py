"""Kana, the default avatar: teal bob, coral bomber jacket, indigo joggers, cat-ear headphones.

All numbers are pixels of the picture, x from the middle line. Light comes from above and in front.
"""

from .avatar_art import Drawing, Rig, fill, inked, line, oval, smooth, tube, under

RIG = Rig(
    width=1000, height=1600, middle=500.0, head_top=76, eye=(45, 240), ear=(104, 236), nose=270, neck=352, shoulder=(98, 398),
    upper_arm=196, lower_arm=186, hand=62, arm_degrees=40, pelvis=752, hip=(60, 782), knee=(85, 1100), ankle=(110, 1418), toe=(124, 1492),
    head_scale=1.13, head_pivot=240, drop=34,
    eye_box=(-33, -37, 36, 36), mouth_box=(-16, 290, 16, 310),
)  # fmt: skip

INK, SKIN_INK, HAIR_INK = "#221c44", "#8c3f45", "#0c4a5e"
SKIN, SKIN_SHADE, SKIN_LIGHT = "#ffe0cd", "#f4b5a2", "#fff0e4"
CORAL, CORAL_SHADE, CORAL_LIGHT = "#ff6f61", "#d9475a", "#ff9482"
WHITE, WHITE_SHADE = "#fdfcff", "#c9cbe8"
INDIGO, INDIGO_SHADE, INDIGO_LIGHT = "#4c54ab", "#363a7e", "#6a73cf"
AQUA, AQUA_DARK = "#4fe3d4", "#16a5b0"
HAIR, HAIR_SHADE, HAIR_LIGHT, HAIR_BACK = "#27b5bd", "#14808f", "#8ff0e2", "#0f6f80"
HAND = 1.14  # hands are drawn this much larger than their numbers
OUT, MID, FINE = 4.2, 3.0, 2.0  # outline, inner contour, detail


def arm(a: Drawing) -> tuple[str, str, str]:
    """(outline, hand, fills) of the left arm in its own frame; x runs from the shoulder joint to the wrist."""
    end = RIG.upper_arm + RIG.lower_arm
    sleeve = tube([(-22, 22, 24), (0, 33, 46), (40, 42, 54), (100, 46, 51), (196, 45, 48), (270, 47, 50), (322, 49, 52), (344, 44, 46), (354, 34, 36)], 0.9)
    cuff = tube([(346, 33, 35), (358, 35, 36), (376, 33, 34), (384, 29, 30), (380, 0, 0)], 0.6)
    palm = (
        f"M{end - 8},-25 C{end + 14},-31 {end + 38},-37 {end + 68},-34 C{end + 86},-32 {end + 95},-25 {end + 91},-17 C{end + 103},-17 {end + 108},-7 {end + 100},-1 "
        f"C{end + 108},3 {end + 105},13 {end + 94},14 C{end + 97},22 {end + 88},29 {end + 76},29 C{end + 54},32 {end + 18},31 {end - 8},25 Z"
    )
    glove = f"M{end - 20},-40 H{end + 49} C{end + 54},-14 {end + 54},10 {end + 50},40 H{end - 20} Z"
    thumb = f"M{end + 6},18 C{end + 14},34 {end + 28},50 {end + 46},58 C{end + 60},62 {end + 67},51 {end + 58},43 C{end + 49},36 {end + 46},24 {end + 42},12 Z"

    skin = a.gradient([(0, SKIN_LIGHT), (0.45, SKIN), (1, "#fbc9b4")], 0, -36, 0, 34)
    dark = a.gradient([(0, INDIGO_LIGHT), (0.45, INDIGO), (1, INDIGO_SHADE)], 0, -34, 0, 34)
    hand = inked(thumb, skin, SKIN_INK, MID) + a.clip(f"M{end - 14},-10 H{end + 37} L{end + 27},80 H{end - 14} Z", fill(thumb, INDIGO) + line(thumb, INK, OUT) ) + a.clip(thumb, line(f"M{end + 37},0 L{end + 27},80", INK, MID))
    hand += inked(palm, skin, SKIN_INK, OUT - 0.4)
    hand += line(f"M{end + 91},-17 C{end + 80},-18 {end + 68},-17 {end + 58},-16 M{end + 100},-1 C{end + 86},-1 {end + 70},-1 {end + 58},-1 M{end + 94},14 C{end + 82},14 {end + 68},13 {end + 58},13", SKIN_INK, FINE + 0.2)
    hand += a.clip(palm, fill(glove, dark) + line(f"M{end + 45},-40 C{end + 50},-14 {end + 50},10 {end + 46},40", AQUA, 5) + line(f"M{end + 51},-40 C{end + 56},-14 {end + 56},10 {end + 52},40", INK, MID))
    hand += a.clip(glove, line(palm, INK, OUT)) + line(f"M{end + 18},-15 h16 M{end + 17},-2 h18 M{end + 18},11 h16", INDIGO_SHADE, FINE + 0.4)

    hand = f'<g transform="translate({end},0) scale({HAND}) translate({-end},0)">{hand}</g>'

    cloth = a.gradient([(0, CORAL_LIGHT), (0.3, CORAL), (1, CORAL)], 0, -48, 0, 52)
    shade = smooth([(30, 70), (48, 44), (90, 27), (196, 21), (322, 22), (358, 14), (362, 70), (30, 74)], True, 0.7)
    inside = fill(sleeve, cloth)
    inside += a.clip(sleeve, fill(shade, CORAL_SHADE, 0.72) + line("M40,-34 C90,-40 196,-38 318,-42", "#ffc9ba", 4.5, 0.7) + fill("M272,-60 h22 v130 h-22 Z", WHITE) + fill("M272,22 h22 v50 h-22 Z", WHITE_SHADE) + fill("M300,-60 h8 v130 h-8 Z", AQUA) + fill("M300,22 h8 v50 h-8 Z", AQUA_DARK))
    inside += line("M330,-34 C334,-16 334,-2 329,10 M318,36 C326,30 330,22 331,14", CORAL_SHADE, FINE + 0.6)
    ribs = "".join(f"M{x},-30 C{x + 2},-10 {x + 2},10 {x},31 " for x in (356, 364, 372))
    inside += inked(cuff, dark, INK, MID) + line(ribs, INDIGO_SHADE, FINE)
    return under(sleeve, INK, OUT) + under(cuff, INK, OUT), hand, inside


def leg(a: Drawing) -> tuple[str, str, str]:
    """(outline, shoe and ankle, fills) of the left leg; x runs from the hip joint to the ankle (638)."""
    sides = [(-26, 40, 20), (0, 58, 40), (40, 61, 56), (90, 60, 55), (160, 55, 50), (240, 48, 44), (319, 43, 40), (390, 44, 42), (460, 46, 42), (530, 43, 39), (562, 37, 34)]
    trouser = tube(sides, 0.9)
    cuff = tube([(552, 37, 34), (566, 38, 36), (588, 35, 33), (596, 30, 29), (592, 0, 0)], 0.6)
    sock = tube([(586, 27, 26), (620, 27, 26), (650, 29, 28)], 0.6)
    shade = smooth([(52, 60), (90, 28), (160, 18), (240, 13), (319, 11), (460, 12), (566, 10), (570, 70), (52, 74)], True, 0.7)
    outer = [(x, -w) for x, w, _ in sides[2:]]
    stripe = smooth([(-60, -70), (0, -64), *outer, *((x, y + 12) for x, y in reversed(outer)), (0, -47), (-60, -47)], True, 0.8)
    inside = fill(trouser, INDIGO)
    glow = smooth([(60, -30), (160, -32), (319, -22), (470, -24), (520, -20), (470, -14), (319, -12), (160, -18)], True, 0.8)
    trim = smooth([(-30, -42), *((x, y + 15.5) for x, y in outer)], False)
    inside += a.clip(trouser, fill(shade, INDIGO_SHADE, 0.85) + fill(glow, INDIGO_LIGHT, 0.65) + fill(stripe, WHITE) + line(trim, AQUA, 3.5))
    inside += line("M534,28 C540,16 542,4 540,-6 M546,-20 C551,-8 551,6 547,18", INDIGO_SHADE, FINE + 0.8)
    light = a.gradient([(0, INDIGO_LIGHT), (0.5, INDIGO), (1, INDIGO_SHADE)], 0, -38, 0, 38)
    ribs = "".join(f"M564,{y} C572,{y * 1.03} 580,{y} 588,{y * 0.94} " for y in (-26, -13, 0, 13, 25))
    inside += inked(cuff, light, INK, MID) + line(ribs, INDIGO_SHADE, FINE)
    lower = inked(sock, a.gradient([(0, WHITE), (0.55, WHITE), (1, WHITE_SHADE)], 0, -26, 0, 26), INK, OUT)
    return under(trouser, INK, OUT) + under(cuff, INK, OUT), lower, inside


def heel(a: Drawing) -> str:
    """The left sneaker from behind."""
    x, y = RIG.ankle
    body = "M-37,-8 C-40,20 -46,44 -52,66 C-58,88 -46,98 8,98 C66,98 72,86 67,66 C60,42 44,20 38,-8 C20,-15 -20,-15 -37,-8 Z"
    sole = "M-58,70 C-62,82 -62,96 -56,103 C-28,110 48,110 73,103 C79,96 77,80 72,70 C54,78 -40,78 -58,70 Z"
    tab = "M-20,-26 C-23,-4 -24,22 -26,56 C-16,64 22,64 34,56 C30,22 26,-4 22,-26 C10,-32 -8,-32 -20,-26 Z"
    out = inked(body, a.gradient([(0, CORAL), (1, "#f25f5c")], 0, -10, 0, 90), INK, OUT)
    out += a.clip(body, fill("M-70,-20 L-30,-20 C-36,20 -40,50 -46,100 L-80,100 Z", CORAL_SHADE, 0.75) + fill("M30,-20 L90,-20 L90,100 L56,100 C48,50 38,20 30,-20 Z", CORAL_SHADE, 0.5))
    out += inked(tab, a.gradient([(0, WHITE), (1, WHITE_SHADE)], 0, -26, 0, 60), INK, MID) + fill("M-10,-14 h22 v30 h-22 Z", AQUA)
    out += inked(sole, a.gradient([(0, WHITE), (0.5, WHITE), (1, WHITE_SHADE)], 0, 74, 0, 106), INK, OUT)
    out += a.clip(sole, line("M-62,90 C-30,100 48,100 80,90", AQUA_DARK, 4.5))
    return f'<g transform="translate({x},{y})">{out}</g>'


def shoe(a: Drawing) -> str:
    """The left sneaker from the front, a little turned out; upright, x from the ankle."""
    x, y = RIG.ankle
    body = "M-37,-8 C-40,20 -47,44 -54,66 C-60,88 -48,98 10,98 C70,98 76,86 70,66 C62,42 44,20 38,-8 C20,-15 -20,-15 -37,-8 Z"
    sole = "M-60,70 C-64,82 -64,96 -58,103 C-30,110 50,110 76,103 C82,96 80,80 75,70 C56,84 -42,84 -60,70 Z"
    toe = "M-44,58 C-34,38 48,38 60,58 C66,70 66,78 62,82 C40,92 -26,92 -48,82 C-50,76 -49,68 -44,58 Z"
    tongue = "M-19,-24 C-20,0 -18,22 -15,42 L31,42 C30,22 25,0 22,-24 C10,-30 -8,-30 -19,-24 Z"
    upper = a.gradient([(0, CORAL), (1, "#f25f5c")], 0, -10, 0, 90)
    out = inked(body, upper, INK, OUT)
    out += a.clip(body, fill("M-70,-20 L-26,-20 C-34,20 -36,50 -44,100 L-80,100 Z", CORAL_SHADE, 0.75) + fill("M26,-20 L90,-20 L90,100 L52,100 C46,50 36,20 26,-20 Z", WHITE) + fill("M40,-20 L90,-20 L90,100 L66,100 C60,50 50,20 40,-20 Z", WHITE_SHADE, 0.8))
    out += line("M24,-12 C32,22 42,40 52,56", INK, FINE)
    out += inked(tongue, a.gradient([(0, WHITE), (1, WHITE_SHADE)], 0, -26, 0, 44), INK, MID)
    out += fill("M-8,-20 h18 v9 h-18 Z", AQUA)
    out += line("M-22,2 L30,10 M27,0 L-20,12 M-20,16 L34,24 M31,15 L-18,27 M-17,30 L38,37 M35,29 L-15,40", INK, 6.2) + line("M-22,2 L30,10 M27,0 L-20,12 M-20,16 L34,24 M31,15 L-18,27 M-17,30 L38,37 M35,29 L-15,40", AQUA, 3.4)
    out += inked(toe, a.gradient([(0, WHITE), (0.6, WHITE), (1, WHITE_SHADE)], 0, 44, 0, 88), INK, MID)
    out += line("M-28,56 C-6,48 28,48 44,56", WHITE_SHADE, FINE + 0.5)
    out += inked(sole, a.gradient([(0, WHITE), (0.5, WHITE), (1, WHITE_SHADE)], 0, 74, 0, 106), INK, OUT)
    out += a.clip(sole, line("M-64,90 C-30,101 50,101 82,90", AQUA_DARK, 4.5) + "".join(line(f"M{k},98 v12", INK, FINE, 0.5) for k in range(-48, 70, 14)))
    return f'<g transform="translate({x},{y})">{out}</g>'


def draw() -> str:
    a = Drawing(RIG)
    scale = f'<g transform="translate(0,{RIG.head_pivot * (1 - RIG.head_scale):.2f}) scale({RIG.head_scale})">'
    a.add(scale)
    back_hair(a)
    a.add("</g>")
    hood(a)
    legs_and_hips(a)
    arms_and_jacket(a)
    a.add(scale)
    head(a)
    a.add("</g>")
    return a.svg()


def draw_back() -> str:
    """The same figure from behind, in the same pose."""
    a = Drawing(RIG)
    legs_and_hips(a, heel)
    # pockets of the joggers
    a.add(a.both(line("M34,752 h52 v44 C72,806 48,806 34,796 Z", INDIGO_SHADE, FINE + 0.8)))
    jacket_from_behind(a)
    a.add(f'<g transform="translate(0,{RIG.head_pivot * (1 - RIG.head_scale):.2f}) scale({RIG.head_scale})">')
    hair_from_behind(a)
    a.add("</g>")
    return a.svg()


def jacket_from_behind(a: Drawing) -> None:
    outline, hand, inside = arm(a)
    frame = f'<g transform="translate({RIG.shoulder[0]},{RIG.shoulder[1]}) rotate({RIG.arm_degrees})">'
    body = "M-46,360 C-70,364 -98,366 -116,376 C-128,410 -120,470 -121,540 C-122,600 -126,640 -125,668 L125,668 C126,640 122,600 121,540 C120,470 128,410 116,376 C98,366 70,364 46,360 C20,350 -20,350 -46,360 Z"
    hem = "M-126,660 C-131,672 -129,694 -121,702 C-60,716 60,716 121,702 C129,694 131,672 126,660 C60,676 -60,676 -126,660 Z"
    a.add(a.both(f"{frame}{hand}</g>"))
    a.add(a.both(f"{frame}{outline}</g>") + under(body, INK, OUT) + under(hem, INK, OUT))
    a.add(fill(body, CORAL) + a.both(f"{frame}{inside}</g>"))
    shade = "M134,452 C112,470 104,510 106,560 C108,610 108,650 112,690 L140,690 L140,430 Z"
    a.add(a.clip(body, a.both(fill(shade, CORAL_SHADE, 0.72)) + fill("M-140,640 C-60,664 60,664 140,640 V700 H-140 Z", CORAL_SHADE, 0.5)))
    a.add(a.both(line("M102,372 C100,400 108,436 121,468", CORAL_SHADE, MID, 0.9)))
    # the level meter, large
    for x, h in ((-48, 40), (-24, 84), (0, 120), (24, 70), (48, 98)):
        a.add(f'<rect x="{x - 8}" y="{548 - h / 2}" width="16" height="{h}" rx="8" fill="{WHITE if x else AQUA}"/>')
    dark = a.gradient([(0, INDIGO_SHADE), (0.5, INDIGO_LIGHT), (1, INDIGO_SHADE)], -128, 0, 128, 0)
    a.add(inked(hem, dark, INK, MID) + line("".join(f"M{x},{675 - abs(x) * 0.06:.0f} v30 " for x in range(-108, 109, 18)), INDIGO_SHADE, FINE))
    # the hood lies on the back
    lying = "M-92,366 C-70,348 70,348 92,366 C104,398 74,446 0,456 C-74,446 -104,398 -92,366 Z"
    a.add(inked(lying, a.gradient([(0, CORAL_SHADE), (0.5, CORAL), (1, CORAL)], 0, 350, 0, 456), INK, OUT))
    a.add(line("M-74,378 C-50,402 50,402 74,378", INK, FINE, 0.8) + a.clip(lying, fill("M-100,340 H100 V374 C50,398 -50,398 -100,374 Z", CORAL_SHADE, 0.8)) + line("M0,398 V452", CORAL_SHADE, MID))


def hair_from_behind(a: Drawing) -> None:
    headphones(a, from_behind=True)
    d = "M0,82 C90,82 138,140 140,214 C142,262 144,296 160,330 C146,332 136,330 126,324 C128,336 126,346 118,356 C106,352 96,344 88,334 C60,366 -60,366 -88,334 C-96,344 -106,352 -118,356 C-126,346 -128,336 -126,324 C-136,330 -146,332 -160,330 C-144,296 -142,262 -140,214 C-138,140 -90,82 0,82 Z"
    a.add(inked(d, a.gradient([(0, "#3ccbcb"), (0.5, HAIR), (1, HAIR_SHADE)], 0, 80, 0, 350), HAIR_INK, OUT))
    shine = "M-112,170 C-80,132 -30,124 0,128 C34,124 80,132 112,170 C100,160 92,174 82,162 C70,150 64,168 54,154 C42,142 36,164 24,150 C14,142 6,160 -6,148 C-16,146 -26,164 -38,152 C-48,148 -56,170 -66,160 C-80,156 -92,176 -112,170 Z"
    tips = a.gradient([(0, HAIR_LIGHT, 0), (1, HAIR_LIGHT, 0.55)], 0, 270, 0, 352)
    a.add(a.clip(d, fill("M-170,260 h340 v110 h-340 Z", tips) + fill("M-150,236 C-90,300 90,300 150,236 L170,240 L170,370 L-170,370 L-170,240 Z", HAIR_SHADE, 0.35) + fill(shine, "#c9fff2", 0.75)))
    a.add(line("M0,96 C4,150 4,200 0,250 M-40,104 C-62,160 -66,220 -58,300 M44,104 C64,160 68,220 60,300 M-84,130 C-104,190 -106,240 -98,316 M86,130 C106,190 108,240 100,316 M-20,262 C-22,300 -20,324 -14,344 M26,262 C28,300 26,320 20,340", HAIR_INK, FINE, 0.6))
    a.add(inked("M4,86 C-2,62 14,46 38,46 C24,54 18,66 20,84 Z", HAIR, HAIR_INK, MID))
    band = "M-122,214 C-136,40 136,40 122,214"
    a.add(line(band, INK, 24) + line(band, WHITE, 16) + line("M-117,196 C-126,50 126,50 117,196", CORAL, 4))
    cup = "M112,196 C118,188 136,188 144,198 C152,214 152,252 144,268 C136,278 118,278 112,270 C106,250 106,216 112,196 Z"
    a.add(a.both(inked(cup, a.gradient([(0, WHITE), (0.55, WHITE), (1, WHITE_SHADE)], 0, 190, 0, 276), INK, OUT)))


def back_hair(a: Drawing) -> None:
    d = "M0,84 C86,84 134,140 136,214 C138,262 142,296 160,330 C146,332 136,330 126,324 C128,336 126,346 118,356 C106,352 96,344 88,334 C60,356 -60,356 -88,334 C-96,344 -106,352 -118,356 C-126,346 -128,336 -126,324 C-136,330 -146,332 -160,330 C-142,296 -138,262 -136,214 C-134,140 -86,84 0,84 Z"
    a.add(inked(d, a.gradient([(0, HAIR_SHADE), (0.7, HAIR_BACK), (1, "#1aa0a6")], 0, 120, 0, 350), HAIR_INK, OUT))
    a.add(a.both(line("M112,250 C114,284 118,308 124,322 M96,270 C98,300 100,320 92,334", HAIR_INK, FINE, 0.7)))


def hood(a: Drawing) -> None:
    d = "M-84,388 C-104,352 -84,334 -44,338 L44,338 C84,334 104,352 84,388 C50,410 -50,410 -84,388 Z"
    a.add(inked(d, a.gradient([(0, CORAL_SHADE), (1, "#b8354f")], 0, 335, 0, 400), INK, OUT))


def legs_and_hips(a: Drawing, shoe=shoe) -> None:
    outline, lower, inside = leg(a)
    frame = f'<g transform="translate({RIG.hip[0]},{RIG.hip[1]}) rotate({RIG.leg_degrees():.3f})">'
    hips = "M-84,660 C-88,696 -108,730 -118,770 C-121,784 -122,800 -122,820 L-60,850 L-10,836 C-6,832 -3,830 0,830 C3,830 6,832 10,836 L60,850 L122,820 C122,800 121,784 118,770 C108,730 88,696 84,660 Z"
    a.add(a.both(f"{frame}{lower}</g>" + shoe(a)))
    a.add(a.both(f"{frame}{outline}</g>") + under(hips, INK, OUT))
    a.add(fill(hips, INDIGO))
    side = "M90,690 C104,720 112,744 118,770 C121,784 123,800 123,830 L111,830 C111,800 108,784 106,772 C100,746 92,720 80,694 Z"
    a.add(a.clip(hips, fill("M-130,640 h260 v74 C60,742 -60,742 -130,714 Z", INDIGO_SHADE, 0.9) + a.both(fill(side, WHITE) + line("M77,694 C89,720 97,746 102.5,772 C105,784 107.5,800 107.5,830", AQUA, 3.5))))
    a.add(a.both(f"{frame}{inside}</g>"))
    a.add(line("M0,738 C-1,776 -1,806 0,828", INDIGO_SHADE, FINE + 1))
    a.add(a.both(line("M100,752 C92,776 80,788 62,792 M6,832 C22,828 36,820 46,808", INDIGO_SHADE, FINE + 0.8)))


def neck(a: Drawing) -> None:
    d = "M-31,300 L-31,350 C-33,368 -44,376 -60,382 L-30,402 C-14,414 14,414 30,402 L60,382 C44,376 33,368 31,350 L31,300 Z"
    a.add(inked(d, SKIN, SKIN_INK, MID))
    a.add(a.clip(d, fill("M-34,290 h68 v62 C24,370 -16,374 -34,352 Z", SKIN_SHADE)))
    a.add(a.both(line("M8,398 C18,394 28,390 34,384", SKIN_INK, FINE, 0.6)))


def arms_and_jacket(a: Drawing) -> None:
    outline, hand, inside = arm(a)
    frame = f'<g transform="translate({RIG.shoulder[0]},{RIG.shoulder[1]}) rotate({RIG.arm_degrees})">'
    body = "M-46,366 C-70,364 -98,366 -116,376 C-128,410 -120,470 -121,540 C-122,600 -126,640 -125,668 L125,668 C126,640 122,600 121,540 C120,470 128,410 116,376 C98,366 70,364 46,366 C30,392 -30,392 -46,366 Z"
    hem = "M-126,660 C-131,672 -129,694 -121,702 C-60,716 60,716 121,702 C129,694 131,672 126,660 C60,676 -60,676 -126,660 Z"
    panel = "M44,366 C70,364 98,366 116,376 C128,410 120,470 121,540 C122,600 126,640 126,666 C104,672 80,675 56,676 C54,600 52,480 64,430 C66,410 56,388 44,366 Z"
    panel_hem = "M55,670 C82,669 106,665 126,660 C131,672 129,694 121,702 C102,707 78,711 54,712 C52,698 53,684 55,670 Z"
    collar = "M40,354 C64,354 86,364 97,382 C91,410 79,430 65,448 C61,420 52,396 34,378 Z"

    a.add(a.both(f"{frame}{hand}</g>"))
    a.add(a.both(f"{frame}{outline}</g>") + under(body, INK, OUT) + under(hem, INK, OUT))
    # the top under the jacket, with a level meter for a print
    a.add(fill("M-70,380 L70,380 L66,706 C30,712 -30,712 -66,706 Z", a.gradient([(0, WHITE), (0.75, WHITE), (1, "#e4e5f6")], 0, 400, 0, 706)))
    neck(a)
    ring = "M-52,378 C-34,428 34,428 52,378"
    a.add(line(ring, INK, 17) + line(ring, AQUA, 12))
    for x, h in ((-30, 26), (-15, 50), (0, 72), (15, 42), (30, 58)):
        paint = CORAL if x == 0 else AQUA_DARK if abs(x) == 30 else INDIGO
        a.add(f'<rect x="{x - 5}" y="{540 - h / 2}" width="10" height="{h}" rx="5" fill="{paint}"/>')
    a.add(a.both(fill("M80,400 L56,436 C46,500 47,600 49,676 L80,676 Z", "#dcdef2", 0.9)))
    a.add(fill("M-66,672 h132 v40 h-132 Z", WHITE_SHADE, 0.6) + line("M-40,640 C-36,652 -34,664 -34,676 M44,626 C38,644 36,660 36,676", WHITE_SHADE, MID))
    a.add(line("M-66,706 C-30,712 30,712 66,706", INK, MID))
    # jacket: flat cloth under panel and sleeve, so that the shoulder has no edge of its own
    a.add(a.both(fill(panel, CORAL) + f"{frame}{inside}</g>" + a.clip(panel, fill("M40,350 H92 C110,400 118,440 118,470 L140,474 V700 H40 Z", CORAL))))
    front = a.clip(panel, fill("M134,452 C112,470 104,510 106,560 C108,610 108,650 112,690 L140,690 L140,430 Z", CORAL_SHADE, 0.72) + fill("M40,688 L40,648 C72,662 104,652 140,622 L140,688 Z", CORAL_SHADE, 0.5) + line("M60,440 C57,520 58,610 59,680", WHITE, 7))
    front += line("M44,366 C56,388 66,410 64,430 C52,480 54,600 56,676", INK, MID)
    front += line("M67,446 C63,520 64,610 65,672", INK, FINE, 0.8)
    front += line("M90,588 C96,604 98,618 98,636", INK, MID) + line("M86,590 C92,606 94,620 94,637", "#ffc4b3", FINE, 0.8)
    dark = a.gradient([(0, INDIGO), (0.5, INDIGO_LIGHT), (1, INDIGO_SHADE)], 54, 0, 128, 0)
    front += inked(panel_hem, dark, INK, MID)
    front += line("".join(f"M{x},{672 - (x - 60) * 0.1:.0f} v34 " for x in (66, 78, 90, 102, 114)), INDIGO_SHADE, FINE)
    front += line("M102,370 C100,400 108,436 121,468", CORAL_SHADE, MID, 0.9)
    front += inked(collar, a.gradient([(0, INDIGO_LIGHT), (1, INDIGO_SHADE)], 50, 356, 76, 440), INK, MID)
    front += line("M54,368 C72,382 77,404 69,430", AQUA, 4)
    a.add(a.both(front))


def eye(a: Drawing, side: int) -> str:
    """The left eye (side 1) or, mirrored, the right (-1), centred on 0,0. Highlights stay on the light's side."""
    white = "M-27,-4 C-22,-27 8,-34 24,-15 C30,-6 29,10 22,22 C12,32 -12,32 -21,22 C-26,14 -28,5 -27,-4 Z"
    iris = a.gradient([(0, "#0a3450"), (0.35, "#117c90"), (0.75, "#2fd0c6"), (1, "#ccfff2")], 0, -28, 0, 32)
    out = fill(white, "#ffffff")
    inner = oval(0, 1, 22.5, 31, "#0a3346") + oval(0, 2, 20.5, 29, iris)
    inner += oval(0, 0, 9.5, 14, "#072838") + oval(0, 21, 12, 6.5, "#e4fff6", 0.7)
    inner += fill("M-32,-38 h64 v28 C12,-20 -12,-20 -32,-4 Z", "#20305f", 0.34)
    inner += oval(-8 * side, -11, 8, 10, "#ffffff", 1, -14 * side) + oval(9 * side, 13, 4.2, 5.2, "#ffffff", 0.95) + oval(10 * side, -14, 2.8, 3.4, "#ffffff", 0.9)
    out += a.clip(white, inner)
    # upper lash: thick, tapering, with a flick outside; thin crease above; short lower lash
    out += fill("M-31,0 C-28,-29 4,-44 28,-22 C32,-18 36,-19 42,-25 C41,-15 38,-9 32,-4 C32,1 32,5 31,9 C29,1 27,-7 22,-13 C7,-27 -19,-24 -26,-7 C-27,-4 -28,-2 -31,0 Z", "#1b1c42")
    out += line("M-22,-36 C-6,-46 16,-44 28,-34", SKIN_INK, FINE, 0.7)
    out += line("M0,32.5 C8,32 15,30 20,25.5", SKIN_INK, FINE + 0.3, 0.9)
    return out


def head(a: Drawing) -> None:
    face = "M-90,170 C-94,232 -88,268 -64,296 C-46,313 -20,325 0,325 C20,325 46,313 64,296 C88,268 94,232 90,170 C80,110 -80,110 -90,170 Z"
    a.add(inked(face, a.gradient([(0, SKIN), (0.7, SKIN), (1, "#ffd3bd")], 0, 200, 0, 325), SKIN_INK, MID))
    a.add(a.clip(face, fill("M-100,100 h200 v120 C84,206 60,222 40,208 C20,220 0,204 -20,220 C-40,208 -64,224 -84,210 L-100,250 Z", SKIN_SHADE, 0.75) + fill("M-100,180 h16 C-82,240 -78,280 -58,306 L-100,320 Z M100,180 h-16 C82,240 78,280 58,306 L100,320 Z", SKIN_SHADE, 0.55)))
    blush = a.gradient([(0, "#ff6f7d", 0.6), (1, "#ff6f7d", 0)], radial=(0, 0, 22))
    a.add(a.both(f'<g transform="translate(62,280) scale(1,0.62)"><circle r="22" fill="{blush}"/></g>' + line("M54,277 l-4,7 M63,276 l-4,8 M72,275 l-4,7", "#f0606e", FINE, 0.65)))
    ex, ey = RIG.eye
    a.add(f'<g transform="translate({ex},{ey})">{eye(a, 1)}</g><g transform="translate({-ex},{ey}) scale(-1,1)">{eye(a, -1)}</g>')
    a.add(fill("M-3,272 C0,268 5,270 5,274 C3,277 -1,277 -3,272 Z", "#e58f80"))
    mouth = "M-15,292 C-6,296 6,296 15,291 C13,304 6,309 0,309 C-7,309 -13,304 -15,292 Z"
    a.add(fill(mouth, "#a3324a") + a.clip(mouth, oval(1, 308, 10, 6, "#ff8d8f") + fill("M-16,288 h32 v7 C6,299 -6,299 -16,295 Z", "#ffffff")))
    a.add(line("M-18,290 C-15,293 -6,296 0,296 C6,296 14,294 18,289", "#7c2a3c", MID) + line("M-9,306 C-5,310 5,310 9,306", "#7c2a3c", FINE))
    front_hair(a)
    a.add(a.both(fill("M22,190 C34,181 54,181 70,194 C56,188 38,188 24,196 C21,197 20,192 22,190 Z", HAIR_INK)))
    headphones(a)


def front_hair(a: Drawing) -> None:
    paint = a.gradient([(0, "#3ccbcb"), (0.45, HAIR), (1, "#1d9ca8")], 0, 80, 0, 300)
    tips = a.gradient([(0, HAIR), (0.5, HAIR), (1, HAIR_LIGHT)], 0, 210, 0, 345)
    lock = "M92,150 C118,170 124,226 116,268 C112,298 108,322 92,346 C90,330 84,318 80,306 C88,280 90,250 84,206 Z"
    a.add(a.both(inked(lock, tips, HAIR_INK, MID) + line("M106,220 C106,260 102,296 95,326", HAIR_INK, FINE, 0.7)))
    edge = (
        "C112,228 110,206 105,188 C103,208 97,226 86,240 C86,220 80,202 69,184 C68,200 59,214 42,225 C44,206 39,186 24,160 "
        "C18,190 0,208 -28,219 C-25,206 -26,196 -30,180 C-39,200 -50,213 -69,224 C-65,210 -66,198 -70,184 C-77,206 -85,224 -97,238 "
        "C-101,222 -103,208 -107,194 C-111,212 -114,232 -118,250"
    )
    cap = f"M118,250 {edge} C-128,200 -126,82 0,82 C126,82 128,200 118,250 Z"
    a.add(inked(cap, paint, HAIR_INK, OUT - 0.6))
    shine = "M-96,146 C-70,112 -30,104 0,108 C34,104 72,114 96,146 C88,140 84,150 78,140 C68,130 64,146 54,132 C44,122 38,142 26,128 C16,122 8,138 -4,126 C-16,124 -24,142 -36,130 C-48,126 -54,148 -64,138 C-76,136 -84,152 -96,146 Z"
    a.add(a.clip(cap, fill("M-130,100 h260 v160 h-260 Z", a.gradient([(0, HAIR_LIGHT, 0), (1, HAIR_LIGHT, 0.75)], 0, 180, 0, 246)) + fill(shine, "#c9fff2", 0.75)))
    a.add(line("M20,96 C28,120 28,142 24,166 M-14,100 C-30,124 -34,152 -30,184 M50,106 C66,130 70,158 68,188 M-50,112 C-68,136 -74,160 -70,188", HAIR_INK, FINE, 0.6))
    a.add(inked("M4,86 C-2,62 14,46 38,46 C24,54 18,66 20,84 Z", paint, HAIR_INK, MID))


def headphones(a: Drawing, from_behind: bool = False) -> None:
    """The cat's ears, band and cups; from behind only the ears, which stand behind the band."""
    ear = "M40,98 C48,64 62,40 82,26 C98,46 106,76 102,128 Z"
    ear_in = "M58,96 C62,72 70,56 80,47 C89,60 94,80 93,112 Z"
    white = inked(ear, a.gradient([(0, WHITE), (1, WHITE_SHADE)], 0, 30, 0, 110), INK, OUT)
    if from_behind:
        a.add(a.both(white + line("M70,60 C66,74 64,84 63,96", WHITE_SHADE, MID)))
        return
    a.add(a.both(white + fill(ear_in, a.gradient([(0, CORAL_LIGHT), (1, CORAL)], 0, 48, 0, 98))))
    band = "M-122,214 C-136,40 136,40 122,214"
    a.add(line(band, INK, 24) + line(band, WHITE, 16) + line("M-117,196 C-126,50 126,50 117,196", CORAL, 4))
    cup = "M104,196 C112,188 136,188 144,198 C152,214 152,252 144,268 C136,278 112,278 104,270 C98,250 98,216 104,196 Z"
    pad = "M98,202 C92,220 92,248 98,264 C104,270 110,270 112,264 C106,248 106,220 112,202 C110,196 104,196 98,202 Z"
    a.add(a.both(inked(cup, a.gradient([(0, WHITE), (0.55, WHITE), (1, WHITE_SHADE)], 0, 190, 0, 276), INK, OUT) + inked(pad, INDIGO, INK, MID) + f'<ellipse cx="130" cy="233" rx="12" ry="25" fill="{AQUA}" stroke="{INK}" stroke-width="{FINE}"/>' + oval(127, 226, 4.5, 12, "#d6fff8", 0.9)))
