"""Recorded drums, basses and textures for the synthesiser's songs.

`Loops.read(DIR / "music/loops", test)` reads `*.flac` (Sonic Pi's sample names; those it does not know are not used),
`dress` puts some of them into a song: a drum loop instead of or over the drums, single hits as the kit, a bass, a
texture. Everything lies on the song's own grid, so its beats stay exact. What is in HELD_OUT is only for judging.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import resample_poly

from . import synth_drums as d
from .synth import BEATS_PER_BAR, Note, Sample, SongSpec, Track

RATE = 24_000
# How many beats a loop is long: by its length and where its onsets fall.
BEATS = {"loop_amen": 4, "loop_amen_full": 16, "loop_breakbeat": 4, "loop_compus": 16, "loop_electric": 4, "loop_garzul": 16, "loop_industrial": 2,
         "loop_mehackit1": 4, "loop_mehackit2": 4, "loop_mika": 16, "loop_safari": 16, "loop_tabla": 16}  # fmt: skip
# The hits that may stand for a drum of the kit.
HITS = {
    d.KICK: ("drum_bass_hard", "drum_bass_soft", "drum_heavy_kick", "elec_hollow_kick", "elec_soft_kick"),
    d.SNARE: ("drum_snare_hard", "drum_snare_soft", "elec_snare", "elec_hi_snare", "elec_lo_snare", "elec_mid_snare", "elec_filt_snare"),
    d.CLAP: ("perc_snap", "perc_snap2", "elec_hi_snare"),
    d.RIM: ("elec_wood", "elec_ping", "elec_blip", "drum_snare_soft"),
    d.HAT: ("drum_cymbal_closed", "elec_tick"),
    d.PEDAL_HAT: ("drum_cymbal_pedal", "drum_cymbal_closed"),
    d.OPEN_HAT: ("drum_cymbal_open", "elec_cymbal"),
    d.CRASH: ("drum_cymbal_hard", "drum_splash_hard", "drum_splash_soft"),
    d.RIDE: ("drum_cymbal_soft", "elec_triangle"),
    d.TOM_LOW: ("drum_tom_lo_hard", "drum_tom_lo_soft", "elec_fuzz_tom"),
    d.TOM_MID: ("drum_tom_mid_hard", "drum_tom_mid_soft"),
    d.TOM_HIGH: ("drum_tom_hi_hard", "drum_tom_hi_soft"),
    d.COWBELL: ("drum_cowbell", "elec_bong"),
    d.CLAVE: ("elec_wood", "elec_blip2"),
}
# MIDI pitch that a bass sounds at, its octave as it is played.
BASSES = {"bass_dnb_f": 41, "bass_hard_c": 36, "bass_hit_c": 36, "bass_thick_c": 36, "bass_trance_c": 36, "bass_voxy_c": 36, "bass_voxy_hit_c": 36, "bass_woodsy_c": 36}
TEXTURES = ("ambi_choir", "ambi_dark_woosh", "ambi_drone", "ambi_glass_hum", "ambi_glass_rub", "ambi_haunted_hum", "ambi_lunar_land", "ambi_piano",
            "guit_e_fifths", "guit_e_slide", "guit_em9", "guit_harmonics", "loop_drone_g_97", "loop_perc1", "loop_perc2", "loop_weirdo", "perc_bell",
            "perc_bell2", "perc_swoosh", "perc_till")  # fmt: skip
HELD_OUT = {"loop_breakbeat", "loop_mehackit2", "loop_safari", "loop_perc2", "drum_heavy_kick", "elec_lo_snare", "elec_cymbal", "drum_tom_lo_soft",
            "bass_trance_c", "bass_voxy_hit_c", "guit_em9", "ambi_choir"}  # fmt: skip
FITS = (0.62, 1.6)  # a loop is played at most so much slower or faster than it was recorded


@cache
def read(path: Path) -> np.ndarray:
    """(samples,) at 24 kHz, peak 1, beginning at its onset."""
    x, rate = soundfile.read(path, dtype="float32", always_2d=True)
    x = resample_poly(x.mean(1), RATE, rate).astype(np.float32)
    x /= np.abs(x).max() + 1e-9
    if not path.stem.startswith("loop_"):  # a loop's silence belongs to its bar
        x = x[max(int(np.argmax(np.abs(x) > 0.1)) - RATE // 1000, 0) :]
    return x


@dataclass(frozen=True)
class Loops:
    """What is on disk of the samples named above."""

    drums: dict[str, Path]
    hits: dict[int, list[Path]]
    basses: dict[str, Path]
    textures: list[Path]

    @classmethod
    def read(cls, folder: Path, test: bool = False) -> "Loops | None":
        """None where the folder has no drum loop. With `test` those held out, and hits of both; else all others."""
        there = {p.stem: p for p in sorted(folder.glob("*.flac")) if test == (p.stem in HELD_OUT)}
        known = {p.stem: p for p in sorted(folder.glob("*.flac"))} if test else there
        hits = {number: [known[n] for n in names if n in known] for number, names in HITS.items()}
        found = cls({n: there[n] for n in BEATS if n in there}, {k: v for k, v in hits.items() if v}, {n: there[n] for n in BASSES if n in there},
                    [there[n] for n in TEXTURES if n in there])  # fmt: skip
        return found if found.drums else None


def fitting(loops: Loops, bpm: float) -> list[str]:
    """The drum loops that can be played at `bpm`."""
    recorded = {n: 60 * BEATS[n] * RATE / len(read(p)) for n, p in loops.drums.items()}
    return [n for n, own in recorded.items() if FITS[0] <= bpm / own <= FITS[1]]


def dress(spec: SongSpec, loops: Loops, rng, sure: bool = False) -> None:
    """Puts recorded sound into a song, in about half of all songs; with `sure` a drum loop in every song that one fits."""
    if not sure and rng.random() < 0.4:
        return
    pick = lambda options: options[int(rng.integers(len(options)))]  # noqa: E731
    drums = next((t for t in spec.tracks if t.patch == "drums"), None)
    level = drums.level if drums and drums.level else 0.3
    bars = sorted({int(n.beat) // BEATS_PER_BAR for n in drums.notes}) if drums else list(range(spec.bars))
    names = fitting(loops, spec.bpm)
    if names and bars and (sure or rng.random() < 0.6):
        name = pick(names)
        sound, beats = read(loops.drums[name]), BEATS[name]
        own = 60 * beats * RATE / len(sound)
        if rng.random() < 0.5:  # as a tape: the pitch moves with the tempo
            sound = resample(sound, spec.bpm / own)
        alone = rng.random() < 0.5
        loop = Track("loop", "loop", reverb=float(rng.uniform(0, 0.15)), level=level * (1 if alone else float(rng.uniform(0.4, 0.9))), sample=Sample(sound, beats=beats))
        if alone and drums:
            spec.tracks.remove(drums)
        elif rng.random() < 0.4:  # only its hats and snares over the kit's kick
            loop.low_cut_hz = float(rng.uniform(150, 900))
        loop.notes = [Note(bar * BEATS_PER_BAR, BEATS_PER_BAR, 0, 1.0) for bar in bars]
        spec.tracks.append(loop)
        spec.swing = 0.0
    if drums in spec.tracks and rng.random() < 0.5:
        spec.hits = {number: read(pick(paths)) for number, paths in loops.hits.items() if rng.random() < 0.8}
    bass = next((t for t in spec.tracks if t.patch.startswith("bass")), None)
    if bass and loops.basses and rng.random() < 0.4:
        name = pick(sorted(loops.basses))
        bass.patch, bass.sample = "sample", Sample(read(loops.basses[name]), pitch=BASSES[name])
    if loops.textures and rng.random() < 0.35:
        every = int(pick([1, 2, 4])) * BEATS_PER_BAR
        sound = Sample(read(pick(loops.textures)), pitch=60)
        notes = [Note(beat, every, 60, float(rng.uniform(0.5, 1))) for beat in range(0, spec.bars * BEATS_PER_BAR, every) if rng.random() < 0.8]
        spec.tracks.append(Track("texture", "sample", reverb=0.2, level=float(rng.uniform(0.02, 0.07)), sample=sound, notes=notes))


def resample(x: np.ndarray, faster: float) -> np.ndarray:
    """The sound played `faster` times as fast, higher by as much."""
    return np.interp(np.arange(int(len(x) / faster)) * faster, np.arange(len(x)), x).astype(np.float32)
