"""Writes random songs: structure, harmony, patterns and arrangement for each genre.

It must not make sound; it only fills a SongSpec.
"""

from dataclasses import dataclass, replace

import numpy as np

from . import synth_drums as d
from .synth import BEATS_PER_BAR, Note, Section, SongSpec, Track
from .synth_drums import Kit

# Sixteen steps a bar: X accent, x hit, o soft, - ghost, . rest.
LEVEL = {"X": 1.0, "x": 0.85, "o": 0.6, "-": 0.32}


@dataclass(frozen=True)
class Genre:
    kits: tuple[str, ...]
    kick: tuple[str, ...]
    snare: tuple[str, ...]
    snare_sound: tuple[int, ...]
    hat: tuple[str, ...]
    open_hat: tuple[str, ...]
    percussion: tuple[tuple[int, str], ...]
    bass: tuple[str, ...]  # steps; digits shift by scale degrees: r root, 5 fifth, 8 octave, 7 seventh, 3 third, - rest, = hold
    bass_patch: tuple[str, ...]
    comp: tuple[str, ...]
    comp_patch: tuple[str, ...]
    lead_patch: tuple[str, ...]
    pad_patch: tuple[str, ...] = ("pad", "strings")
    swing: tuple[float, float] = (0.0, 0.1)
    duck: tuple[float, float] = (0.0, 0.3)
    human_ms: float = 0.0
    seventh: float = 0.4  # chance of seventh chords
    minor: float = 0.6


GENRES: dict[str, Genre] = {
    "house": Genre(
        ("909", "808"), ("X...X...X...X...",), ("....x.......x...", "....x.......x..-"), (d.CLAP, d.SNARE),
        ("o.-.o.-.o.-.o.-.", "..-...-...-...-.", "-o-o-o-o-o-o-o-o"), ("..x...x...x...x.",),
        ((d.SHAKER, "o-x-o-x-o-x-o-x-"), (d.CONGA_HIGH, "..o..o....o..o.."), (d.RIM, "...o..o....o..o."), (d.TAMBOURINE, "....o.......o...")),
        ("..r...r...r...r.", "..r..r8...r..r5.", "r..r..8.r..r.57.", "..8.r.8...8.r.7."), ("bass_saw", "bass_sub", "bass_slap"),
        ("..x..x....x..x..", "x..x..x...x..x..", "...x...x...x...x", "x.....x..x......"), ("stab", "organ", "epiano", "piano"), ("lead_saw", "pluck", "lead_voice", "lead_bell"),
        swing=(0, 0.45), duck=(0.4, 0.85), seventh=0.7,
    ),
    "techno": Genre(
        ("909",), ("X...X...X...X...", "X...X...X...X..-"), ("............x...", "....x.......x...", "................"), (d.CLAP, d.RIM),
        ("-.o.-.o.-.o.-.o.", "oooooooooooooooo", "-o-o-o-o-o-o-o-o"), ("..x...x...x...x.",),
        ((d.RIM, "...o....o..o...."), (d.TOM_LOW, "..-..-..-..-..-."), (d.RIDE, "x.x.x.x.x.x.x.x."), (d.CLAVE, "..o.....o..o....")),
        (".rrr.rrr.rrr.rrr", "..rr..rr..rr..r7", "r.r.rr.8r.r.r8.r"), ("bass_acid", "bass_sub", "bass_reese"),
        ("...x.....x......", "x..x..x..x..x..x", "......x........."), ("stab", "pluck"), ("lead_square", "pluck", "lead_saw"),
        duck=(0.4, 0.8), seventh=0.1, minor=0.95,
    ),
    "hiphop": Genre(
        ("808", "acoustic"), ("X.....x...X.....", "X..x......X..x..", "X......x..x.....", "X.-....x.xX....."), ("....X.......X...", "....X..-.-..X..-"), (d.SNARE, d.CLAP),
        ("x.o.x.o.x.o.x.o.", "xoxoxoxoxoxoxoxo", "x.o.x.oox.o.xooo"), ("..............x.", "......x........."),
        ((d.SHAKER, "..o...o...o...o."), (d.RIM, "......o..o......"), (d.COWBELL, "..........o..o..")),
        ("r=====r...r==...", "r==.......r=.5..", "r==r==..r=..7=.."), ("bass_808", "bass_finger", "bass_sub"),
        ("x=======x=======", "x==.......x==...", "..x...x....x...."), ("epiano", "piano", "guitar", "pluck"), ("lead_flute", "lead_bell", "lead_voice"),
        swing=(0.1, 0.7), human_ms=4, seventh=0.8, minor=0.8,
    ),
    "dnb": Genre(
        ("acoustic", "909"), ("X.........x.....", "X..x......x.....", "X.x.......x..x.."), ("....X.......X...", "....X..-.-..X..-", "....X..-....X.-."), (d.SNARE,),
        ("x.o.x.o.x.o.x.o.", "xoxoxoxoxoxoxoxo"), ("..............x.", "......o........."),
        ((d.RIDE, "x.x.x.x.x.x.x.x."), (d.SHAKER, "-o-o-o-o-o-o-o-o"), (d.RIM, "...-..-..-....-.")),
        ("r======.r==.....", "r=====r=..5==...", "r==.r==.r==.8=.."), ("bass_reese", "bass_sub", "bass_808"),
        ("x===============", "x=====x=====x===", "..x.....x......."), ("pad", "stab", "epiano"), ("lead_bell", "lead_voice", "lead_saw", "lead_flute"),
        human_ms=2, minor=0.85, duck=(0.1, 0.4),
    ),
    "disco": Genre(
        ("acoustic", "909"), ("X...X...X...X...",), ("....X.......X...", "....X..-....X.--"), (d.SNARE, d.CLAP),
        ("x.o.x.o.x.o.x.o.", "xooxxooxxooxxoox"), ("..x...x...x...x.",),
        ((d.TAMBOURINE, "....x.......x..."), (d.CONGA_HIGH, "..o...oo..o...oo"), (d.COWBELL, "x...x...x...x..."), (d.SHAKER, "o-o-o-o-o-o-o-o-")),
        ("r.8.r.8.r.8.r.8.", "r..r8.r..r.57.8.", "r.rr8..r5.r.7.8."), ("bass_slap", "bass_finger"),
        ("..x.x..x..x.x..x", "x..x..x.x..x.xx.", "-x.x-x.x-x.x-x.x"), ("guitar_mute", "epiano", "guitar"), ("brass", "strings", "lead_saw", "lead_flute"),
        swing=(0, 0.25), human_ms=3, seventh=0.85, duck=(0, 0.2),
    ),
    "funk": Genre(
        ("acoustic",), ("X..x......x..x..", "X.x....x..x.....", "X.....x.x.x..x.."), ("....X..-.-..X..-", "....X-.-..-.X..-"), (d.SNARE,),
        ("xoxoxoxoxoxoxoxo", "x.ooxo.ox.ooxo.o"), ("......x.........", "..............x."),
        ((d.COWBELL, "x...x...x...x..."), (d.CONGA_LOW, "o..o..o.o..o..o."), (d.TAMBOURINE, "....x.......x...")),
        ("r..r..8..5.r.7..", "rr.-r..7.8.5..r.", "r..8.7..5..r..55"), ("bass_slap", "bass_finger"),
        ("..x..xx...x..x..", "-xx.-x.x-.xx-x..", "...x......xx...."), ("guitar_mute", "epiano", "organ"), ("brass", "lead_square", "organ"),
        swing=(0.1, 0.4), human_ms=4, seventh=0.95,
    ),
    "pop": Genre(
        ("909", "acoustic", "808"), ("X.....x.X.......", "X...X...X...X...", "X..x..x.X..x...."), ("....X.......X...",), (d.SNARE, d.CLAP),
        ("x.o.x.o.x.o.x.o.", "..o...o...o...o."), ("..............x.", "..x...x...x...x."),
        ((d.SHAKER, "o-x-o-x-o-x-o-x-"), (d.TAMBOURINE, "....x.......x..."), (d.CLAP, "....x.......x...")),
        ("r.r.r.r.r.r.r.r.", "r=====r=r=====5=", "r..r..r.r..r..8."), ("bass_saw", "bass_finger", "bass_sub"),
        ("x=======x=======", "x..x..x.x..x..x.", "x.x.x.x.x.x.x.x."), ("piano", "pluck", "epiano", "guitar"), ("lead_saw", "lead_voice", "lead_square", "lead_bell"),
        duck=(0.1, 0.5), minor=0.4,
    ),
    "latin": Genre(
        ("acoustic", "808"), ("X..xX..xX..xX..x", "X.....x.X.....x.", "X...X...X...X..."), ("...x..x....x..x.", "...x..X....x..X."), (d.RIM, d.SNARE),
        ("x.o.x.o.x.o.x.o.", "o-x-o-x-o-x-o-x-"), ("..............x.",),
        ((d.CONGA_HIGH, "..o...xx..o...xx"), (d.CONGA_LOW, "x.....o.......o."), (d.CLAVE, "x..x..x...x.x..."), (d.COWBELL, "x.x.xx.x.x.xx.x."), (d.CABASA, "x-o-x-o-x-o-x-o-")),
        ("...r..5....r..8.", "r..r..5.r..r..5.", "r.....5.r.....8."), ("bass_finger", "bass_sub", "bass_808"),
        ("x.xx.x.x.xx.x.x.", "..x..x....x..x..", "x..x..x...x.x..."), ("piano", "pluck", "guitar"), ("brass", "lead_flute", "pluck", "lead_voice"),
        human_ms=3, seventh=0.4, minor=0.7,
    ),
    "rock": Genre(
        ("acoustic",), ("X.....x.X.x.....", "X.......X.x.....", "X..x..x.X......."), ("....X.......X...",), (d.SNARE,),
        ("x.x.x.x.x.x.x.x.", "X.o.x.o.X.o.x.o."), ("..............x.", "................"),
        ((d.RIDE, "x.x.x.x.x.x.x.x."), (d.TAMBOURINE, "..o...o...o...o."), (d.COWBELL, "x...x...x...x...")),
        ("r.r.r.r.r.r.r.r.", "r.r.r.rrr.r.5.7.", "r...r...r...r.5."), ("bass_finger", "bass_saw"),
        ("x.x.x.x.x.x.x.x.", "x===..x=x===..x=", "x=======x==.x=.."), ("guitar_drive",), ("lead_saw", "lead_square", "organ"),
        human_ms=5, seventh=0.0, minor=0.5,
    ),
    "ballad": Genre(
        ("acoustic", "808"), ("X.........x.....", "X.......x.x....."), ("....x.......x...", "........x......."), (d.SNARE, d.RIM),
        ("o...o...o...o...", "o.-.o.-.o.-.o.-."), ("................",),
        ((d.SHAKER, "o.-.o.-.o.-.o.-."), (d.TAMBOURINE, "............o...")),
        ("r=======r=======", "r=====5=8=====5=", "r===========5==="), ("bass_finger", "bass_sub"),
        ("x===============", "x.x.x.x.x.x.x.x.", "x===x===x===x==="), ("piano", "epiano", "guitar"), ("lead_flute", "lead_voice", "strings", "lead_bell"),
        human_ms=6, seventh=0.6, minor=0.4,
    ),
}  # fmt: skip

SCALES = {"major": (0, 2, 4, 5, 7, 9, 11), "minor": (0, 2, 3, 5, 7, 8, 10), "dorian": (0, 2, 3, 5, 7, 9, 10), "mixolydian": (0, 2, 4, 5, 7, 9, 10)}
PROGRESSIONS = {
    "major": ((0, 4, 5, 3), (0, 5, 3, 4), (5, 3, 0, 4), (3, 4, 2, 5), (0, 3, 1, 4), (3, 3, 4, 5), (0, 2, 3, 4)),
    "minor": ((0, 5, 2, 6), (0, 3, 5, 4), (0, 6, 5, 6), (0, 5, 3, 6), (5, 6, 0, 0), (0, 2, 6, 3), (0, 0, 5, 6)),
    "dorian": ((0, 3, 0, 3), (0, 3, 6, 3), (0, 1, 3, 0), (0, 0, 3, 3)),
    "mixolydian": ((0, 6, 3, 0), (0, 0, 6, 3), (0, 4, 6, 3)),
}
LOUDNESS = {"drums": 0.3, "bass": 0.19, "comp": 0.11, "pad": 0.055, "lead": 0.105}  # RMS of the loud parts
ENERGY = {"intro": 0.35, "verse": 0.6, "build": 0.72, "drop": 1.0, "break": 0.3, "outro": 0.4}


def degree_pitch(scale, degree: int, tonic: int) -> int:
    """A scale degree (any integer) as a MIDI pitch above the tonic."""
    return tonic + 12 * (degree // 7) + scale[degree % 7]


def voicing(scale, degree: int, tonic: int, sevenths: bool, previous: list[int] | None) -> list[int]:
    """The chord on a degree, in the inversion that moves least from the previous chord."""
    tones = [degree_pitch(scale, degree + k, tonic) for k in ((0, 2, 4, 6) if sevenths else (0, 2, 4))]
    centre = np.mean(previous) if previous else 64.0
    best = None
    for inversion in range(len(tones)):
        chord = sorted(p + 12 if k < inversion else p for k, p in enumerate(tones))
        chord = [p + 12 * round((centre - np.mean(chord)) / 12) for p in chord]
        cost = sum(min(abs(p - q) for q in previous) for p in chord) if previous else abs(np.mean(chord) - centre)
        if best is None or cost < best[0]:
            best = (cost, chord)
    return [int(p) for p in best[1]]


def structure(rng, bars: int) -> list[Section]:
    """Sections in phrases of four or eight bars that fill `bars`."""
    phrase = 8 if bars >= 24 else 4 if bars >= 8 else max(bars, 1)
    plans = [
        ["intro", "verse", "build", "drop", "break", "build", "drop", "outro"],
        ["intro", "verse", "drop", "verse", "drop", "break", "drop", "outro"],
        ["verse", "drop", "verse", "break", "drop", "drop"],
        ["drop", "drop", "break", "build", "drop"],
        ["intro", "drop", "break", "drop"],
    ]
    names = plans[rng.integers(len(plans))]
    if bars < 3 * phrase:
        names = [["verse", "drop"], ["drop", "drop"], ["build", "drop"]][rng.integers(3)]
    sections, bar, k = [], 0, 0
    while bar < bars:
        name = names[k % len(names)] if k < len(names) else ("verse", "drop")[k % 2]
        size = min(4 if name in ("build", "intro", "outro", "break") and phrase == 8 and rng.random() < 0.5 else phrase, bars - bar)
        sections.append(Section(name, bar, size))
        bar, k = bar + size, k + 1
    return sections


def _steps(pattern: str):
    """(step, level, length in steps) of a pattern; '=' holds the hit before it."""
    for k, c in enumerate(pattern):
        if c in ".=":
            continue
        hold = 1
        while k + hold < len(pattern) and pattern[k + hold] == "=":
            hold += 1
        yield k, c, hold


def _drums(rng, genre: Genre, sections, bars: int) -> Track:
    track = Track("drums", "drums", reverb=rng.uniform(0.15, 0.5))
    pick = lambda options: options[rng.integers(len(options))]  # noqa: E731
    main = {"kick": pick(genre.kick), "snare": pick(genre.snare), "hat": pick(genre.hat), "open": pick(genre.open_hat)}
    snare = pick(genre.snare_sound)
    percussion = [p for p in genre.percussion if rng.random() < 0.55]
    add = lambda bar, step, number, level: track.notes.append(Note(bar * 4 + step / 4, 0.25, number, float(np.clip(level, 0.05, 1))))  # noqa: E731

    for section in sections:
        e = ENERGY[section.name]
        layers = {"kick": e > 0.4 and section.name != "break", "snare": e > 0.45, "hat": True, "open": e > 0.65, "percussion": e > 0.5}
        if section.name == "intro":
            layers["kick"] = rng.random() < 0.6
        if section.name == "break":
            layers["hat"] = rng.random() < 0.5
            layers["snare"] = rng.random() < 0.3
        if section.name == "outro":
            layers["kick"] = True
        for bar in range(section.bar, section.bar + section.bars):
            local, last = bar - section.bar, bar == section.bar + section.bars - 1
            fill = last and section.bars > 1 and rng.random() < 0.8
            cut = 12 if fill and section.name != "build" else 16
            if local == 0 and e > 0.5 and rng.random() < 0.8:
                add(bar, 0, d.CRASH, 0.85)
            for layer, number in (("kick", d.KICK), ("snare", snare), ("hat", d.HAT), ("open", d.OPEN_HAT)):
                if layers[layer]:
                    for step, c, _ in _steps(main[layer]):
                        if step < cut or layer == "hat" or (layer == "kick" and step % 4 == 0):
                            add(bar, step, number, LEVEL[c] * rng.uniform(0.9, 1.05))
            if layers["percussion"]:
                for number, pattern in percussion:
                    for step, c, _ in _steps(pattern):
                        add(bar, step, number, LEVEL[c] * rng.uniform(0.75, 1.0))
            if section.name == "build" and local >= section.bars // 2:
                every = 4 if local < section.bars - 2 else 2 if not last else 1
                for step in range(0, 16, every):
                    add(bar, step, d.SNARE, 0.35 + 0.5 * (local * 16 + step) / (section.bars * 16))
            elif fill:
                kind = rng.integers(3)
                for step in range(12, 16):
                    number = [snare, (d.TOM_HIGH, d.TOM_HIGH, d.TOM_MID, d.TOM_LOW)[step - 12], d.SNARE][kind]
                    if rng.random() < 0.8:
                        add(bar, step, number, 0.55 + 0.1 * (step - 12))
    return track


def _bass(rng, genre, sections, scale, tonic, chords) -> Track:
    pattern_a, pattern_b = (genre.bass[rng.integers(len(genre.bass))] for _ in range(2))
    track = Track("bass", genre.bass_patch[rng.integers(len(genre.bass_patch))], bright=rng.uniform(0.25, 0.8))
    low = 28 + (tonic - 28) % 12
    degrees = {"r": 0, "5": 4, "8": 7, "7": 6, "3": 2, "-": 0}
    for section in sections:
        if section.name == "break" and rng.random() < 0.6 or section.name == "intro" and rng.random() < 0.5:
            continue
        for bar in range(section.bar, section.bar + section.bars):
            pattern = pattern_b if bar % 4 == 3 else pattern_a
            for step, c, hold in _steps(pattern):
                pitch = degree_pitch(scale, chords[bar] + degrees[c], low)
                pitch -= 12 * (pitch > 50)
                track.notes.append(Note(bar * 4 + step / 4, 0.25 * hold * (0.92 if hold > 1 else rng.uniform(0.6, 0.95)), pitch, (0.4 if c == "-" else 0.9) * rng.uniform(0.9, 1.05)))
    return track


def _comp(rng, genre, sections, voicings) -> list[Track]:
    patch = genre.comp_patch[rng.integers(len(genre.comp_patch))]
    comp = Track("comp", patch, pan=rng.uniform(-0.3, 0.3), reverb=rng.uniform(0.1, 0.35), bright=rng.uniform(0.3, 0.8), low_cut_hz=140)
    pad = Track("pad", genre.pad_patch[rng.integers(len(genre.pad_patch))], reverb=0.35, bright=rng.uniform(0.2, 0.6), low_cut_hz=180)
    pattern = genre.comp[rng.integers(len(genre.comp))]
    arpeggio = patch in ("pluck", "guitar", "lead_bell") and rng.random() < 0.5
    sweep = rng.random() < 0.6
    for section in sections:
        if sweep and section.name in ("intro", "build"):
            comp.filter += [(section.bar * 4, 0.25), ((section.bar + section.bars) * 4 - 0.01, 1.0)]
        elif comp.filter or sweep:
            comp.filter += [(section.bar * 4, 1.0), ((section.bar + section.bars) * 4 - 0.01, 1.0)]
        with_pad = section.name in ("break", "build", "drop") or rng.random() < 0.3
        with_comp = section.name != "break" or rng.random() < 0.5
        for bar in range(section.bar, section.bar + section.bars):
            chord = voicings[bar]
            if with_pad:
                pad.notes += [Note(bar * 4, 3.9, p, 0.7) for p in chord]
            if not with_comp:
                continue
            for k, (step, c, hold) in enumerate(_steps(pattern)):
                tones = [chord[k % len(chord)] + 12] if arpeggio else [chord[0] - 12, chord[0] - 5, chord[0]] if patch == "guitar_drive" else chord
                comp.notes += [Note(bar * 4 + step / 4, 0.25 * max(hold, 1) * 0.9, p, LEVEL.get(c, 0.7) * rng.uniform(0.88, 1)) for p in tones]
    if not comp.filter or all(y == 1.0 for _, y in comp.filter):
        comp.filter = []
    return [comp, pad]


def _lead(rng, genre, sections, scale, tonic, chords) -> Track:
    """Two-bar motifs over the harmony: a rhythm and a contour, repeated, answered and sometimes turned."""
    patch = genre.lead_patch[rng.integers(len(genre.lead_patch))]
    track = Track("lead", patch, pan=rng.uniform(-0.15, 0.15), reverb=rng.uniform(0.15, 0.4), delay=rng.choice([0.0, 0.25]), bright=rng.uniform(0.35, 0.8))
    density = rng.uniform(0.25, 0.5)
    strong = np.array([1.0, 0.25, 0.6, 0.35] * 4 + [0.8, 0.25, 0.6, 0.35] * 4)
    onset = np.flatnonzero(rng.random(32) < density * strong * 1.3)
    if len(onset) < 4:
        onset = np.array([0, 3, 6, 8, 14, 19, 22])
    walk = np.clip(np.cumsum(rng.choice([-2, -1, 0, 1, 1, 2, -3, 3], len(onset))), -4, 6)
    base = 60 + (tonic - 60) % 12 + (12 if (tonic % 12) < 5 else 0)
    for section in sections:
        if section.name not in ("drop", "verse") or rng.random() < (0.15 if section.name == "drop" else 0.5):
            continue
        for pair in range(section.bar, section.bar + section.bars - 1, 2):
            turn = rng.random() < 0.3
            for k, step in enumerate(onset):
                bar = pair + step // 16
                degree = int(walk[k] if not turn or k < len(onset) // 2 else walk[len(onset) - 1 - k])
                if step % 8 == 0:  # strong places take a chord tone
                    degree = min((chords[bar] % 7 + t for t in (-7, -5, -3, 0, 2, 4, 7)), key=lambda x, want=degree: abs(x - want))
                end = onset[k + 1] if k + 1 < len(onset) else 32
                track.notes.append(Note(pair * 4 + step / 4, min(end - step, 6) / 4 * 0.9, degree_pitch(scale, degree, base), rng.uniform(0.7, 1)))
    return track


def crossed(rng) -> Genre:
    """A genre that nobody plays: drums of one, the bass of another, chords of a third. For ears that must not learn genres by heart."""
    names = list(GENRES)
    drums, bass, comp, lead = (GENRES[names[rng.integers(len(names))]] for _ in range(4))
    parts = {"bass": bass, "bass_patch": bass, "comp": comp, "comp_patch": comp, "pad_patch": comp, "seventh": comp, "lead_patch": lead, "minor": lead}
    return replace(drums, **{field: getattr(genre, field) for field, genre in parts.items()})


def compose(rng, bpm: float, bars: int, genre: str | Genre | None = None) -> SongSpec:
    """See synth.random_song; a Genre of the caller's own is taken as it is."""
    if not 40 <= bpm <= 240 or bars < 1:
        raise ValueError(f"bpm {bpm} must be 40..240 and bars {bars} at least 1")
    name = "crossed" if isinstance(genre, Genre) else genre or list(GENRES)[rng.integers(len(GENRES))]
    if isinstance(genre, str) and name not in GENRES:
        raise ValueError(f"unknown genre {name!r}; one of {', '.join(GENRES)}")
    style, seed = genre if isinstance(genre, Genre) else GENRES[name], int(rng.integers(2**31))
    mode = ("minor", "dorian")[rng.integers(2)] if rng.random() < style.minor else ("major", "mixolydian")[rng.random() < 0.25]
    scale, tonic = SCALES[mode], int(rng.integers(12)) + 48
    sections = structure(rng, bars)

    options = PROGRESSIONS[mode]
    first, second = (options[rng.integers(len(options))] for _ in range(2))
    slow = rng.random() < 0.25  # two bars a chord
    chords, voicings, previous, sevenths = [], [], None, rng.random() < style.seventh
    energy = np.zeros(bars, np.float32)
    for section in sections:
        progression = second if section.name in ("break", "build") else first
        for k in range(section.bars):
            degree = progression[(k // 2 if slow else k) % len(progression)]
            previous = voicing(scale, degree, tonic, bool(sevenths), previous)
            chords.append(degree)
            voicings.append(previous)
            ramp = k / max(section.bars - 1, 1)
            energy[section.bar + k] = ENERGY[section.name] + {"build": 0.2 * ramp, "intro": 0.12 * ramp, "outro": -0.15 * ramp}.get(section.name, 0.0)

    duck = rng.uniform(*style.duck)
    tracks = [_drums(rng, style, sections, bars), _bass(rng, style, sections, scale, tonic, chords), *_comp(rng, style, sections, voicings), _lead(rng, style, sections, scale, tonic, chords)]
    for track in tracks:
        track.level = LOUDNESS[track.name] * 10 ** (rng.uniform(-3, 3) / 20)
    for track in tracks[1:]:
        track.duck = duck * (0.8 if track.name == "lead" else 1.0)
    fx = Track("riser", "riser", 0.35)
    boom = Track("impact", "impact", 0.4, reverb=0.2)
    for section, after in zip(sections, sections[1:], strict=False):
        if after.name == "drop" and rng.random() < 0.7:
            length = min(section.bars, 4) * BEATS_PER_BAR
            fx.notes.append(Note(after.bar * 4 - length, length, seed % 997, 0.8))
            boom.notes.append(Note(after.bar * 4, 2, 36, 0.9))
    tracks += [fx, boom]
    kit = Kit(style.kits[rng.integers(len(style.kits))], tune=rng.uniform(0.9, 1.12), decay=rng.uniform(0.75, 1.25), tone=rng.uniform(0.85, 1.15), seed=seed)
    return SongSpec(float(bpm), bars, name, seed, sections, np.clip(energy, 0, 1), tracks, kit, swing=float(rng.uniform(*style.swing)), human_ms=style.human_ms * rng.uniform(0.3, 1), reverb_s=float(rng.uniform(0.7, 1.8)))
