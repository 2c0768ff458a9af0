"""The built-in song, "Odori Groove": composed here note by note, played by the synthesiser, written as Ogg Vorbis.

    python -m odori_training.song [--out ../assets/song] [--plot picture.png]

It needs ffmpeg with libvorbis. Nothing in it is sampled from anywhere; see assets/song/README.md for the licence.
"""

import argparse
import json
import re
import subprocess
from pathlib import Path

import numpy as np

from . import synth_drums as d
from .synth import Note, Section, SongSpec, Track, render

BPM, RATE, TAIL_S, LOUDNESS_LUFS, CEILING = 122.0, 48000, 2.4, -14.0, 0.86
SECTIONS = [
    Section("intro", 0, 4), Section("groove", 4, 8), Section("build", 12, 4), Section("drop", 16, 8),
    Section("break", 24, 6), Section("drop", 30, 8), Section("outro", 38, 4),
]  # fmt: skip
BARS = 42
ENERGY = {"intro": 0.4, "groove": 0.65, "build": 0.75, "drop": 1.0, "break": 0.35, "outro": 0.5}

# (bass root, right hand). The "royal road" of Japanese pop, IV V iii vi in C, with a dominant in its second pass.
CHORDS = {
    "F": (29, (57, 60, 64, 67)),  # F maj9
    "G": (31, (57, 59, 62, 67)),  # G add9
    "Em": (28, (55, 59, 62, 66)),  # E m9
    "Am": (33, (55, 60, 64, 71)),  # A m9
    "E7": (28, (56, 59, 62, 67)),  # E 7#9
    "Dm": (38, (57, 60, 64, 65)),  # D m9
}
LOOP = ("F", "G", "Em", "Am", "F", "G", "E7", "Am")
BREAK = ("Dm", "Em", "F", "G", "Dm", "E7")

# Sixteen steps; r root, 8 octave, 5 fifth, 7 flat seventh, 3 tenth-less third above, < a half tone under the next root.
BASS_GROOVE = ("r..8..r8..r.5.8.", "r..8..r8..r8.5.<", "r..8..r8..r.7.8.", "r.8r..8.r.5.7.8<")
BASS_DROP = ("r.8r.r8..r8.r.5.", "r.8r.r8..r8.5.7<", "r.8r.r8..r8.r.7.", "r.8r.8.r5.7.8.8<")

# The hook: per bar, (step, length in steps, pitch).
HOOK = (
    ((0, 3, 69), (3, 3, 72), (6, 4, 76), (10, 2, 74), (12, 2, 72), (14, 2, 69)),
    ((0, 3, 71), (3, 3, 74), (6, 4, 79), (10, 2, 76), (12, 2, 74), (14, 2, 71)),
    ((0, 3, 67), (3, 3, 71), (6, 2, 74), (8, 3, 76), (11, 3, 74), (14, 2, 71)),
    ((0, 3, 72), (3, 1, 71), (4, 5, 69), (10, 2, 67), (12, 2, 69), (14, 2, 72)),
    ((0, 3, 69), (3, 3, 72), (6, 4, 76), (10, 2, 74), (12, 2, 72), (14, 2, 69)),
    ((0, 3, 71), (3, 3, 74), (6, 4, 79), (10, 2, 81), (12, 2, 79), (14, 2, 76)),
    ((0, 3, 76), (3, 3, 74), (6, 2, 71), (8, 3, 68), (11, 3, 71), (14, 2, 74)),
    ((0, 5, 72), (6, 2, 69), (8, 2, 72), (10, 2, 76), (12, 3, 81)),
)
# A third or sixth below, for the second drop.
HARMONY_BELOW = {69: 65, 72: 69, 76: 72, 74: 71, 71: 67, 79: 74, 67: 64, 81: 76, 68: 64}
# The answering voice of the groove and its ornament in the second drop.
ANSWER = (
    ((6, 2, 76), (10, 1, 76), (11, 3, 72)),
    ((6, 2, 74), (10, 1, 74), (11, 3, 71)),
    ((6, 2, 71), (10, 1, 71), (11, 3, 74)),
    ((4, 2, 72), (7, 2, 76), (10, 4, 79)),
)
BREAK_TUNE = (
    ((0, 6, 77), (6, 2, 76), (8, 8, 72)), ((0, 6, 79), (6, 2, 78), (8, 8, 74)), ((0, 6, 81), (6, 2, 79), (8, 4, 76), (12, 4, 72)),
    ((0, 6, 83), (6, 2, 81), (8, 4, 79), (12, 4, 74)), ((0, 4, 77), (4, 4, 81), (8, 8, 84)), ((0, 4, 80), (4, 4, 83), (8, 8, 86)),
)  # fmt: skip
LEVEL = {"X": 1.0, "x": 0.85, "o": 0.6, "-": 0.35}


def chord_of(bar: int) -> str:
    section = next(s for s in SECTIONS if s.bar <= bar < s.bar + s.bars)
    names = BREAK if section.name == "break" else LOOP
    return names[(bar - section.bar) % len(names)]


def bars_of(*names: str) -> list[tuple[int, Section]]:
    return [(bar, s) for s in SECTIONS if s.name in names for bar in range(s.bar, s.bar + s.bars)]


def steps(track: Track, bar: int, pattern: str, pitches, length: float = 0.9, gain: float = 1.0) -> None:
    pitches = (pitches,) if isinstance(pitches, int) else pitches
    for k, c in enumerate(pattern):
        if c in LEVEL:
            track.notes += [Note(bar * 4 + k / 4, 0.25 * length, p, LEVEL[c] * gain) for p in pitches]


def phrase(track: Track, bar: int, notes, velocity: float = 0.9, shift: int = 0, short: float = 0.92) -> None:
    track.notes += [Note(bar * 4 + step / 4, length / 4 * short, pitch + shift, velocity) for step, length, pitch in notes]


def drum_track() -> Track:
    t = Track("drums", "drums", 0.95, reverb=0.32)
    second = SECTIONS[5]
    for bar in range(BARS):
        section = next(s for s in SECTIONS if s.bar <= bar < s.bar + s.bars)
        local, name = bar - section.bar, section.name
        last = local == section.bars - 1
        if name == "intro":
            steps(t, bar, "o-x-o-x-o-x-o-x-", d.SHAKER, gain=0.9)
            if local >= 1:
                steps(t, bar, "X...X...X...X..." if not last else "X...X...X.......", d.KICK, gain=0.9)
            if local >= 2:
                steps(t, bar, "....o.......o...", d.CLAP, gain=0.8)
            if last:
                steps(t, bar, "............xxoX", d.SNARE, gain=0.7)
        elif name in ("groove", "drop"):
            fill = last or (name == "groove" and local == 3)
            steps(t, bar, "X...X...X...X...", d.KICK)
            steps(t, bar, "....X.......X...", d.CLAP)
            steps(t, bar, "....o.......o..-" if local % 2 else "....o..-....o...", d.SNARE, gain=0.8)
            steps(t, bar, "..x...x...x...x.", d.OPEN_HAT)
            steps(t, bar, "o.-ox.-oo.-ox.-o" if local % 2 else "o.-oo.-oo.-oo.--", d.HAT)
            steps(t, bar, "--o---o---o---o-", d.SHAKER, gain=1.1)
            if local == 0 or (name == "drop" and local == 4):
                steps(t, bar, "X...............", d.CRASH, gain=0.9)
            if name == "drop":
                steps(t, bar, "....x.......x...", d.TAMBOURINE)
                steps(t, bar, "..o..o....oo..o.", d.CONGA_HIGH, gain=0.8)
                steps(t, bar, "o.......o..o....", d.CONGA_LOW, gain=0.7)
            if section is second:
                steps(t, bar, "x.-.x.-.x.-.x.-.", d.RIDE, gain=0.9)
            if fill:
                steps(t, bar, "............xx..", d.TOM_HIGH)
                steps(t, bar, "..........x...x.", d.TOM_MID)
                steps(t, bar, "...............X", d.TOM_LOW)
        elif name == "build":
            steps(t, bar, "X...X...X...X..." if not last else "X.......", d.KICK)
            steps(t, bar, "....X.......X..." if not last else "....X", d.CLAP)
            steps(t, bar, "o.-.o.-.o.-.o.-." if not last else "o.-.o.-.", d.HAT)
            pattern = ("x...x...x...x...", "x...x...x...x...", "x.x.x.x.x.x.x.x.", "xxxxxxxxXXX.....")[local]
            for k, c in enumerate(pattern):
                if c != ".":
                    t.notes.append(Note(bar * 4 + k / 4, 0.25, d.SNARE, 0.28 + 0.5 * (local * 16 + k) / 64))
            if last:
                steps(t, bar, "............x.X.", d.KICK)
                steps(t, bar, ".............x.X", d.TOM_LOW)
        elif name == "break":
            if local == 0:
                steps(t, bar, "X...............", d.CRASH)
            if local >= 2:
                steps(t, bar, "o-x-o-x-o-x-o-x-", d.SHAKER, gain=0.7)
                steps(t, bar, "....o.......o...", d.RIM, gain=0.7)
            if local >= 4:
                pattern = "x...x...x.x.x.x." if local == 4 else "x.x.xxxxXXXX...."
                for k, c in enumerate(pattern):
                    if c != ".":
                        t.notes.append(Note(bar * 4 + k / 4, 0.25, d.SNARE, 0.25 + 0.5 * ((local - 4) * 16 + k) / 32))
        elif name == "outro":
            if not last:
                steps(t, bar, "X...X...X...X...", d.KICK)
                steps(t, bar, "....X.......X...", d.CLAP, gain=0.9)
                steps(t, bar, "..x...x...x...x." if local < 2 else "..o...o...o...o.", d.OPEN_HAT)
                steps(t, bar, "--o---o---o---o-", d.SHAKER)
                if local == 0:
                    steps(t, bar, "X...............", d.CRASH)
                if local == 2:
                    steps(t, bar, "............xxxX", d.SNARE, gain=0.7)
            else:
                steps(t, bar, "X...............", d.KICK)
                steps(t, bar, "X...............", d.CRASH)
    return t


def bass_tracks() -> list[Track]:
    slap = Track("bass", "bass_slap", 0.98, duck=0.42, bright=0.6, drive=0.12)
    sub = Track("sub", "bass_sub", 0.5, duck=0.6)
    offsets = {"r": 0, "8": 12, "5": 7, "7": 10}
    for bar, section in bars_of("groove", "build", "drop", "outro"):
        local = bar - section.bar
        if section.name == "build" and local == 3:
            continue
        if section.name == "outro" and local == 3:
            slap.notes.append(Note(bar * 4, 3.0, CHORDS["Am"][0], 0.9))
            continue
        patterns = BASS_DROP if section.name == "drop" else BASS_GROOVE
        root, following = CHORDS[chord_of(bar)][0], CHORDS[chord_of(min(bar + 1, BARS - 1))][0]
        pattern = patterns[local % 4] if section.name != "build" else "rrrrrrrrrrrrrrrr" if local == 2 else "r.r.r.r.r.r.r.r."
        for k, c in enumerate(pattern):
            if c == ".":
                continue
            pitch = following - 1 + (12 if following < root else 0) if c == "<" else root + offsets[c]
            velocity = 0.95 if k % 4 == 0 else 0.82 if c != "8" else 0.9
            length = 0.3 if c == "r" and k == 0 else 0.19
            slap.notes.append(Note(bar * 4 + k / 4, length, pitch, velocity))
            if section.name == "drop" and c == "r":
                sub.notes.append(Note(bar * 4 + k / 4, 0.24, root if root > 30 else root + 12, 0.8))
    build = SECTIONS[2].bar * 4
    slap.filter = [(0, 1), (build, 1), (build + 0.1, 0.55), (build + 11.9, 1.0), (SECTIONS[6].bar * 4, 1), (BARS * 4, 0.7)]
    return [slap, sub]


def chord_tracks() -> list[Track]:
    keys = Track("keys", "epiano", 0.25, reverb=0.2, duck=0.25, bright=0.5, low_cut_hz=170)
    stabs = Track("stabs", "stab", 0.22, reverb=0.22, duck=0.55, bright=0.62, low_cut_hz=200)
    pads = Track("pads", "pad", 0.13, reverb=0.45, duck=0.8, bright=0.45, low_cut_hz=200)
    strings = Track("strings", "strings", 0.085, reverb=0.4, duck=0.6, bright=0.6, low_cut_hz=300)
    guitar = Track("guitar", "guitar_mute", 0.62, pan=-0.45, reverb=0.12, bright=0.85, low_cut_hz=350)
    arp = Track("arp", "pluck", 0.3, pan=0.35, reverb=0.25, delay=0.3, duck=0.4, bright=0.5, low_cut_hz=250)
    for bar in range(BARS):
        section = next(s for s in SECTIONS if s.bar <= bar < s.bar + s.bars)
        name, local = section.name, bar - section.bar
        chord = CHORDS[chord_of(bar)][1]
        final = name == "outro" and local == 3
        if final:
            for track, gain in ((keys, 0.9), (pads, 0.9), (strings, 0.8)):
                track.notes += [Note(bar * 4, 3.2, p, gain) for p in CHORDS["Am"][1]]
            continue
        if name in ("intro", "groove", "outro"):
            steps(keys, bar, "x..x..x...x..x.." if local % 2 == 0 else "x..x..x...x.x.o.", chord, 1.3)
        elif name == "drop":
            steps(stabs, bar, "x..x..x...x..x.." if local % 2 == 0 else "x..x..x...x.x.x.", chord, 1.2)
            steps(keys, bar, "x......x..x.....", chord, 2.0, 0.85)
        elif name == "break":
            keys.notes += [Note(bar * 4 + 0.02 * k, 3.8, p, 0.75) for k, p in enumerate(chord)]
        elif name == "build":
            steps(stabs, bar, "x..x..x..x..x.x." if local < 3 else "x..x..x.", chord, 1.1, 0.6 + 0.12 * local)
        if name in ("break", "drop", "build"):
            pads.notes += [Note(bar * 4, 3.95, p, 0.8) for p in chord]
        if name in ("drop", "break") and (section.bar > 20):
            strings.notes += [Note(bar * 4, 3.95, p + 12, 0.8) for p in chord[1:]]
        if (name == "groove" and local >= 4) or name in ("drop", "outro"):
            steps(guitar, bar, "..x-.xx-..x-.x-x" if local % 2 else "..x-.xx-..x-.xx-", tuple(p + 12 for p in chord[1:]), 0.6)
        if name in ("build", "break") or section.bar == 30:
            up = sorted(chord) + [sorted(chord)[0] + 12, sorted(chord)[1] + 12]
            order = (0, 2, 4, 1, 3, 5, 2, 4)
            for k in range(16):
                if name == "break" and local < 2 and k % 2:
                    continue
                arp.notes.append(Note(bar * 4 + k / 4, 0.2, up[order[k % 8]] + 12, 0.55 + 0.3 * (k % 4 == 0)))
    b = {f"{s.name}{s.bar}": s.bar * 4 for s in SECTIONS}
    keys.filter = [(0, 0.35), (b["groove4"] - 0.2, 0.95), (b["groove4"], 1), (b["outro38"], 1), (BARS * 4, 0.75)]
    stabs.filter = [(b["build12"], 0.3), (b["build12"] + 12, 0.9), (b["drop16"], 1.0), (BARS * 4, 1.0)]
    arp.filter = [(b["build12"], 0.35), (b["drop16"] - 0.5, 1), (b["break24"], 0.4), (b["drop30"] - 0.5, 1.0), (b["drop30"], 0.85), (BARS * 4, 0.85)]
    return [keys, stabs, pads, strings, guitar, arp]


def lead_tracks() -> list[Track]:
    lead = Track("lead", "lead_saw", 0.32, reverb=0.2, delay=0.18, duck=0.2, bright=0.5, low_cut_hz=250)
    under = Track("lead low", "lead_square", 0.17, reverb=0.12, duck=0.2, bright=0.4)
    harmony = Track("harmony", "lead_saw", 0.17, pan=0.3, reverb=0.25, duck=0.2, bright=0.4, low_cut_hz=250)
    voice = Track("voice", "lead_voice", 0.4, pan=-0.1, reverb=0.35, delay=0.22, duck=0.15, bright=0.6, low_cut_hz=250)
    bell = Track("bell", "lead_bell", 0.22, pan=0.2, reverb=0.4, delay=0.3, bright=0.35, low_cut_hz=300)
    for bar, section in bars_of("drop"):
        local = bar - section.bar
        phrase(lead, bar, HOOK[local], 0.92)
        phrase(under, bar, HOOK[local], 0.85, -12, 0.8)
        if section.bar == 30:
            phrase(harmony, bar, [(s, n, HARMONY_BELOW[p]) for s, n, p in HOOK[local]], 0.85)
            if local % 2:
                phrase(bell, bar, ANSWER[local % 4], 0.7, 12)
    for bar, section in bars_of("groove"):
        if bar - section.bar >= 2:
            phrase(voice, bar, ANSWER[(bar - section.bar) % 4], 0.85)
    for bar, section in bars_of("build"):
        if bar - section.bar < 3:
            phrase(voice, bar, ANSWER[(bar - section.bar) % 4], 0.75, short=0.7)
    for bar, section in bars_of("break"):
        phrase(bell, bar, BREAK_TUNE[bar - section.bar], 0.9)
    for bar, section in bars_of("outro"):
        local = bar - section.bar
        if local < 3:
            phrase(bell, bar, HOOK[local], 0.75)
        else:
            phrase(bell, bar, ((0, 8, 76), (2, 8, 79), (4, 10, 83)), 0.8)
    return [lead, under, harmony, voice, bell]


def effects() -> list[Track]:
    riser = Track("riser", "riser", 0.5, notes=[Note(13 * 4, 11.9, 3, 0.9), Note(28 * 4, 7.9, 5, 0.9), Note(3 * 4, 3.9, 7, 0.4)], reverb=0.2)
    impact = Track("impact", "impact", 0.36, notes=[Note(16 * 4, 2, 1, 0.9), Note(24 * 4, 2, 2, 0.8), Note(30 * 4, 2, 1, 1.0), Note(41 * 4, 2, 2, 0.8)], reverb=0.25)
    return [riser, impact]


def song() -> SongSpec:
    """The whole song as notes."""
    energy = np.array([next(ENERGY[s.name] for s in SECTIONS if s.bar <= bar < s.bar + s.bars) for bar in range(BARS)])
    tracks = [drum_track(), *bass_tracks(), *chord_tracks(), *lead_tracks(), *effects()]
    kit = d.Kit("909", tune=1.0, decay=0.95, tone=1.0, seed=122)
    return SongSpec(BPM, BARS, "house", 7, SECTIONS, energy, tracks, kit, swing=0.28, reverb_s=1.5)


def measure_lufs(path: Path) -> tuple[float, float]:
    """Integrated loudness (LUFS) and true peak (dBFS) as ffmpeg's ebur128 reads them."""
    run = subprocess.run(["ffmpeg", "-hide_banner", "-nostats", "-i", str(path), "-af", "ebur128=peak=true", "-f", "null", "-"], capture_output=True, text=True, check=True)
    summary = run.stderr[run.stderr.rindex("Summary:") :]
    return float(re.search(r"I:\s+(-?[\d.]+) LUFS", summary)[1]), float(re.search(r"Peak:\s+(-?[\d.]+) dBFS", summary)[1])


def encode(audio: np.ndarray, path: Path) -> None:
    """(2, samples) float32 to Ogg Vorbis, the same bytes each time."""
    tags = {"title": "Odori Groove", "artist": "Odori contributors", "genre": "Nu-disco", "license": "CC0-1.0", "comment": "Made by training/odori_training/song.py", "BPM": f"{BPM:g}"}
    command = ["ffmpeg", "-y", "-v", "error", "-f", "f32le", "-ar", str(RATE), "-ac", "2", "-i", "-", "-c:a", "libvorbis", "-q:a", "4.5", "-fflags", "+bitexact", "-flags:a", "+bitexact"]
    for key, value in tags.items():
        command += ["-metadata", f"{key}={value}"]
    subprocess.run([*command, str(path)], input=np.ascontiguousarray(audio.T, "<f4").tobytes(), check=True)


def plot(rendered, path: Path) -> None:
    """A look at the mix: level by half second with the sections, and a log-frequency spectrogram."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    mono, rate = rendered.audio.mean(0), rendered.rate
    hop = rate // 4
    rms = 20 * np.log10(np.sqrt(np.add.reduceat(mono**2, np.arange(0, len(mono), hop)) / hop) + 1e-6)
    figure, (top, bottom) = plt.subplots(2, 1, figsize=(15, 8), sharex=True)
    top.plot(np.arange(len(rms)) * hop / rate, rms)
    top.set_ylim(-40, -5)
    for section in rendered.sections:
        top.axvline(rendered.downbeats[section.bar], color="k", lw=0.6)
        top.text(rendered.downbeats[section.bar], -8, section.name)
    bottom.specgram(mono, NFFT=4096, Fs=rate, noverlap=2048, vmin=-150, vmax=-40, cmap="magma")
    bottom.set_yscale("log")
    bottom.set_ylim(30, 20000)
    figure.tight_layout()
    figure.savefig(path, dpi=70)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parents[2] / "assets/song")
    parser.add_argument("--plot", type=Path)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    path, spec, loudness = options.out / "odori-groove.ogg", song(), 0.2
    for _ in range(3):  # loudness is measured on the coded file, and approached
        rendered = render(spec, RATE, stereo=True, tail_s=TAIL_S, loudness=loudness, ceiling=CEILING)
        fade = int(0.5 * RATE)
        rendered.audio[:, -fade:] *= np.linspace(1, 0, fade, dtype=np.float32)
        encode(rendered.audio, path)
        lufs, peak = measure_lufs(path)
        if abs(lufs - LOUDNESS_LUFS) < 0.15:
            break
        loudness *= 10 ** ((LOUDNESS_LUFS - lufs) / 20)
    grid = {"bpm": BPM, "beats_per_bar": 4, "first_beat_s": 0.0, "beats": BARS * 4, "seconds": round(rendered.audio.shape[1] / RATE, 3), "sections": [{"name": s.name, "start_s": round(float(rendered.downbeats[s.bar]), 4), "bars": s.bars} for s in SECTIONS]}  # fmt: skip
    (options.out / "odori-groove.json").write_text(json.dumps(grid, indent=1) + "\n")
    print(f"{path}: {grid['seconds']} s, {path.stat().st_size} bytes, {lufs:.1f} LUFS, true peak {peak:.1f} dBFS, loudness {loudness:.3f}")
    if options.plot:
        plot(rendered, options.plot)


if __name__ == "__main__":
    main()
