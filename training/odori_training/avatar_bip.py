"""Bip, the second avatar: a small robot with a screen for a face and loudspeakers for ears.

All numbers are pixels of the picture, x from the middle line. Light comes from above and in front.
"""

from .avatar_art import Drawing, Rig, fill, inked, line, oval, smooth, tube, under

RIG = Rig(
    width=1000, height=1200, middle=500.0, head_top=104, eye=(72, 280), ear=(196, 278), nose=318, neck=462, shoulder=(112, 520),
    upper_arm=145, lower_arm=140, hand=62, arm_degrees=40, pelvis=742, hip=(64, 772), knee=(80, 898), ankle=(96, 1024), toe=(108, 1102),
    drop=20,
    eye_box=(-31, -42, 31, 42), mouth_box=(-33, 329, 33, 371),
)  # fmt: skip

INK = "#2b1b4d"
SHELL, SHELL_SHADE, SHELL_LIGHT = "#fff6ea", "#d9c9dc", "#ffffff"
VIOLET, VIOLET_SHADE, VIOLET_LIGHT = "#7b5be0", "#5337b0", "#a48af5"
SUN, SUN_SHADE, SUN_LIGHT = "#ffb62e", "#f0862c", "#ffd977"
SCREEN, SCREEN_LIGHT, GLOW, PINK = "#1f1a4a", "#3a3280", "#5ff5dc", "#ff7aa8"
OUT, MID, FINE = 5.0, 3.6, 2.4


def arm(a: Drawing) -> tuple[str, str, str]:
    """(outline, hand, fills) of the left arm in its own frame; x runs from the shoulder joint to the wrist."""
    end = RIG.upper_arm + RIG.lower_arm
    hose = tube([(-14, 20, 20), (6, 31, 32), (60, 34, 34), (145, 33, 33), (230, 33, 33), (262, 33, 33), (270, 20, 20)], 0.8)
    inside = fill(hose, a.gradient([(0, VIOLET_LIGHT), (0.3, VIOLET), (1, VIOLET)], 0, -34, 0, 34))
    inside += a.clip(hose, fill("M-40,11 H290 V50 H-40 Z", VIOLET_SHADE, 0.8) + line("M24,-22 H250", "#cdbcff", 5, 0.7))
    cuff = tube([(246, 40, 40), (254, 44, 44), (276, 44, 44), (286, 38, 38), (280, 0, 0)], 0.6)
    ring = inked(cuff, a.gradient([(0, SUN_LIGHT), (0.4, SUN), (1, SUN_SHADE)], 0, -44, 0, 44), INK, MID)
    mitt = (
        f"M{end - 12},-30 C{end + 12},-44 {end + 44},-52 {end + 72},-46 C{end + 92},-42 {end + 100},-30 {end + 96},-20 C{end + 112},-16 {end + 116},0 {end + 106},8 "
        f"C{end + 112},18 {end + 104},32 {end + 88},34 C{end + 66},46 {end + 20},46 {end - 12},30 Z"
    )
    thumb = f"M{end + 4},24 C{end + 10},46 {end + 22},66 {end + 44},72 C{end + 66},76 {end + 74},58 {end + 62},46 C{end + 52},38 {end + 48},26 {end + 44},12 Z"
    shell = a.gradient([(0, SHELL_LIGHT), (0.55, SHELL), (1, SHELL_SHADE)], 0, -48, 0, 50)
    hand = inked(thumb, shell, INK, OUT) + inked(mitt, shell, INK, OUT)
    hand += line(f"M{end + 96},-20 C{end + 84},-22 {end + 72},-20 {end + 64},-18 M{end + 106},8 C{end + 92},8 {end + 78},8 {end + 66},7", INK, MID)
    hand += line(f"M{end + 16},-30 C{end + 34},-36 {end + 50},-38 {end + 66},-34", SHELL_LIGHT, 5, 0.9)
    return under(hose, INK, OUT) + under(cuff, INK, OUT), hand, inside + ring


def leg(a: Drawing) -> tuple[str, str]:
    """(outline, fills) of the left leg; x runs from the hip joint to the ankle (254)."""
    hose = tube([(-20, 34, 20), (0, 42, 36), (40, 43, 42), (127, 40, 39), (200, 39, 38), (262, 39, 38)], 0.8)
    inside = fill(hose, a.gradient([(0, VIOLET_LIGHT), (0.3, VIOLET), (1, VIOLET)], 0, -42, 0, 42))
    inside += a.clip(hose, fill(smooth([(10, 60), (44, 22), (127, 13), (290, 13), (290, 60)], True, 0.6), VIOLET_SHADE, 0.8) + line("M34,-28 L240,-25", "#cdbcff", 5, 0.6))
    return under(hose, INK, OUT), inside


def boot(a: Drawing) -> str:
    """The left boot from the front, a little turned out; x from the ankle."""
    x, y = RIG.ankle
    body = "M-46,-14 C-46,20 -54,36 -60,58 C-66,84 -50,92 8,92 C74,92 84,82 76,56 C68,32 52,16 48,-14 Z"
    sole = "M-64,66 C-72,82 -70,98 -62,104 C-30,112 54,112 82,104 C90,96 90,80 82,66 C56,82 -40,82 -64,66 Z"
    top = "M-54,-30 C-58,-18 -56,-6 -50,2 C-20,12 24,12 54,2 C60,-6 60,-18 56,-30 C26,-20 -24,-20 -54,-30 Z"
    paint = a.gradient([(0, SUN), (0.6, SUN), (1, SUN_SHADE)], 0, -10, 0, 90)
    out = inked(body, paint, INK, OUT)
    out += a.clip(body, fill("M-80,-20 H-28 C-40,20 -36,60 -46,100 H-90 Z", SUN_SHADE, 0.6) + line("M30,16 C40,30 52,40 54,56", "#fff1c4", 7, 0.8))
    out += inked(top, a.gradient([(0, SHELL_LIGHT), (0.5, SHELL), (1, SHELL_SHADE)], -54, 0, 56, 0), INK, MID)
    out += inked(sole, a.gradient([(0, SHELL_LIGHT), (0.5, SHELL), (1, SHELL_SHADE)], 0, 66, 0, 110), INK, OUT)
    out += a.clip(sole, line("M-70,90 C-30,102 56,102 90,90", VIOLET, 5))
    return f'<g transform="translate({x},{y})">{out}</g>'


def trunk(a: Drawing, from_behind: bool = False) -> None:
    body = "M0,462 C70,462 112,476 124,512 C140,568 150,640 144,704 C140,752 124,790 84,812 C56,826 34,806 0,806 C-34,806 -56,826 -84,812 C-124,790 -140,752 -144,704 C-150,640 -140,568 -124,512 C-112,476 -70,462 0,462 Z"
    a.add(inked(body, a.gradient([(0, SHELL), (0.7, SHELL), (1, "#f0e2ea")], 0, 462, 0, 812), INK, OUT))
    shade = fill("M150,500 C116,560 122,660 104,724 C84,776 40,786 0,784 C-40,786 -84,776 -104,724 C-122,660 -116,560 -150,500 V840 H150 Z", SHELL_SHADE, 0.7)
    a.add(a.clip(body, shade + fill("M-160,440 H160 V488 C70,524 -70,524 -160,488 Z", SHELL_SHADE, 0.85) + fill("M-160,732 C-70,772 70,772 160,732 V840 H-160 Z", VIOLET) + line("M-160,732 C-70,772 70,772 160,732", INK, MID) + fill("M-160,776 C-60,800 60,800 160,776 V840 H-160 Z", VIOLET_SHADE, 0.8)))
    a.add(line(body, INK, OUT))
    if from_behind:
        # a lid with a dial, and vents
        lid = "M-70,552 C-72,542 -66,536 -58,536 H58 C66,536 72,542 70,552 L64,690 C63,700 58,704 50,704 H-50 C-58,704 -63,700 -64,690 Z"
        a.add(inked(lid, a.gradient([(0, SHELL_LIGHT), (1, SHELL_SHADE)], 0, 536, 0, 704), INK, MID))
        a.add(f'<circle cx="0" cy="598" r="30" fill="{a.gradient([(0, SUN_LIGHT), (0.5, SUN), (1, SUN_SHADE)], 0, 568, 0, 628)}" stroke="{INK}" stroke-width="{MID}"/>' + line("M0,598 L14,580", INK, MID) + line("M-38,650 h76 M-38,664 h76 M-38,678 h76", INK, MID, 0.7))
        return
    panel = "M-62,556 C-64,546 -58,540 -50,540 H50 C58,540 64,546 62,556 L56,676 C55,686 50,690 42,690 H-42 C-50,690 -55,686 -56,676 Z"
    a.add(inked(panel, a.gradient([(0, SCREEN_LIGHT), (1, SCREEN)], 0, 540, 0, 690), INK, MID))
    for k, h in enumerate((34, 62, 92, 70, 104, 56, 30)):
        x, top = -42 + 14 * k, 672 - h
        a.add(f'<rect x="{x - 4.5}" y="{top}" width="9" height="{h}" rx="4.5" fill="{a.gradient([(0, PINK), (0.5, SUN), (1, GLOW)], 0, 568, 0, 672)}"/>')
    a.add(a.both(line("M94,606 v34 M106,606 v34", SHELL_SHADE, 5)))


def head(a: Drawing, from_behind: bool = False) -> None:
    a.add(inked("M-34,430 H34 L38,478 C14,488 -14,488 -38,478 Z", a.gradient([(0, VIOLET_SHADE), (1, VIOLET)], 0, 430, 0, 484), INK, MID))
    a.add(line("M-36,460 C-14,468 14,468 36,460", INK, FINE))
    # antenna
    a.add(line("M0,110 C-2,86 6,76 4,60", INK, 15) + line("M0,110 C-2,86 6,76 4,60", VIOLET, 7))
    a.add(f'<circle cx="5" cy="44" r="22" fill="{a.gradient([(0, "#fff3c9"), (0.5, SUN), (1, SUN_SHADE)], radial=(0, 36, 28))}" stroke="{INK}" stroke-width="{OUT}"/>')
    # loudspeaker ears, behind the head
    horn = "M168,206 C186,194 210,192 222,204 C238,236 238,322 222,354 C210,366 186,364 168,352 Z"
    cone = f'<ellipse cx="206" cy="279" rx="19" ry="54" fill="{VIOLET_SHADE}" stroke="{INK}" stroke-width="{MID}"/>' + oval(208, 279, 11, 36, VIOLET_LIGHT, 0.9) + oval(209, 279, 6, 18, SCREEN)
    a.add(a.both(inked(horn, a.gradient([(0, SUN_LIGHT), (0.4, SUN), (1, SUN_SHADE)], 0, 196, 0, 360), INK, OUT) + cone))
    skull = "M0,104 C118,104 184,132 190,236 C194,300 190,362 162,402 C136,438 70,446 0,446 C-70,446 -136,438 -162,402 C-190,362 -194,300 -190,236 C-184,132 -118,104 0,104 Z"
    a.add(inked(skull, a.gradient([(0, SHELL_LIGHT), (0.5, SHELL), (1, SHELL)], 0, 104, 0, 446), INK, OUT))
    a.add(a.clip(skull, fill("M-200,300 C-190,404 -100,428 0,428 C100,428 190,404 200,300 V460 H-200 Z", SHELL_SHADE, 0.8)))
    a.add(a.clip(skull, fill("M-40,90 H40 V172 C20,180 -20,180 -40,172 Z", SUN) + line("M-40,90 V172 C-20,180 20,180 40,172 V90", INK, MID) + fill("M24,90 H40 V174 L24,177 Z", SUN_SHADE, 0.6)))
    a.add(line(skull, INK, OUT))
    a.add(line("M-150,182 C-138,152 -112,138 -78,132", SHELL_LIGHT, 12))
    if from_behind:
        hatch = "M-96,232 C-98,218 -90,210 -78,210 H78 C90,210 98,218 96,232 L90,360 C88,372 82,378 70,378 H-70 C-82,378 -88,372 -90,360 Z"
        a.add(inked(hatch, a.gradient([(0, VIOLET_LIGHT), (0.3, VIOLET), (1, VIOLET_SHADE)], 0, 210, 0, 378), INK, OUT))
        a.add(line("M-56,252 h112 M-56,280 h112 M-56,308 h112 M-56,336 h112", VIOLET_SHADE, 9) + a.both(f'<circle cx="82" cy="224" r="5" fill="{INK}"/><circle cx="76" cy="364" r="5" fill="{INK}"/>'))
        return
    glass = "M0,196 C92,196 142,208 150,258 C156,304 152,346 134,372 C112,398 60,402 0,402 C-60,402 -112,398 -134,372 C-152,346 -156,304 -150,258 C-142,208 -92,196 0,196 Z"
    a.add(inked(glass, a.gradient([(0, "#332b78"), (0.5, SCREEN), (1, "#17133a")], 0, 196, 0, 402), INK, OUT))
    glow = a.gradient([(0, GLOW, 0.34), (1, GLOW, 0)], radial=(0, 0, 62))
    ex, ey = RIG.eye
    lit = a.gradient([(0, "#d8fff6"), (0.5, GLOW), (1, "#27c7c4")], 0, -36, 0, 36)
    face = a.both(f'<g transform="translate({ex},{ey})"><circle r="62" fill="{glow}"/>{oval(0, 0, 30, 41, lit)}</g>')
    for side in (-1, 1):
        face += oval(side * ex - 9, ey - 15, 10, 13, "#ffffff") + oval(side * ex + 11, ey + 16, 5, 7, "#ffffff", 0.9)
    face += a.both(oval(112, 332, 19, 10, PINK, 0.85))
    mouth = "M-32,330 C-12,338 12,338 32,330 C30,358 14,370 0,370 C-14,370 -30,358 -32,330 Z"
    face += fill(mouth, GLOW) + a.clip(mouth, oval(0, 370, 20, 15, PINK))
    face += fill("M-128,248 C-124,222 -104,212 -70,208 L-96,300 C-110,316 -126,320 -134,314 C-138,290 -136,264 -128,248 Z", "#ffffff", 0.07)
    a.add(a.clip(glass, face))
    a.add(line("M-132,262 C-128,232 -112,220 -84,216", "#ffffff", 5, 0.5))


def draw(from_behind: bool = False) -> str:
    a = Drawing(RIG)
    legs = f'<g transform="translate({RIG.hip[0]},{RIG.hip[1]}) rotate({RIG.leg_degrees():.3f})">'
    outline, inside = leg(a)
    a.add(a.both(f"{legs}{outline}{inside}</g>{boot(a)}"))
    arms = f'<g transform="translate({RIG.shoulder[0]},{RIG.shoulder[1]}) rotate({RIG.arm_degrees})">'
    outline, hand, inside = arm(a)
    a.add(a.both(f"{arms}{hand}{outline}{inside}</g>"))
    trunk(a, from_behind)
    cap = f'<circle cx="{RIG.shoulder[0] + 6}" cy="{RIG.shoulder[1]}" r="38" fill="{a.gradient([(0, SUN_LIGHT), (0.45, SUN), (1, SUN_SHADE)], 0, 484, 0, 560)}" stroke="{INK}" stroke-width="{MID}"/>'
    a.add(a.both(cap + line("M98,504 C106,494 122,492 132,498", "#fff6d8", 5, 0.9)))
    head(a, from_behind)
    return a.svg()


def draw_back() -> str:
    """The same figure from behind, in the same pose."""
    return draw(from_behind=True)
