"""What the training data is made to hear: songs with exactly known beats, and what happens to sound before it is heard.

`Sources.of` says what there is to play with; `tune` and `invented` make a song; `spoil` puts it in a room with people, a bad microphone
and an MP3 between. Used by beat_data and motion_data.
"""

import io
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.io import wavfile
from scipy.signal import butter, lfilter, oaconvolve, sosfilt

from . import features, synth
from .loops import Loops, dress
from .synth_genres import compose, crossed

RATE = features.RATE
SOUNDFONTS = [Path("/usr/share/sounds/sf2") / name for name in ("FluidR3_GM.sf2", "TimGM6mb.sf2")]
SLOWEST, FASTEST = 60.0, 180.0
HELD_OUT_EVERY = 6  # of the tunes, from the first


@dataclass(frozen=True)
class Sources:
    """Tunes, as (file, held out); soundfonts, empty where FluidSynth is not installed; recorded sound for training and
    held out, None where there is none."""

    tunes: tuple[tuple[Path, bool], ...] = ()
    fonts: tuple[Path, ...] = ()
    loops: Loops | None = None
    held_out_loops: Loops | None = None

    @classmethod
    def of(cls, data: Path | None, fonts=SOUNDFONTS) -> "Sources":
        """`data` has music/midi/*.mid and music/loops/*.flac; None is the synthesiser alone."""
        fonts = tuple(p for p in fonts if p.exists()) if shutil.which("fluidsynth") else ()
        if data is None:
            return cls(fonts=fonts)
        tunes = tuple((p, i % HELD_OUT_EVERY == 0) for i, p in enumerate(sorted((data / "music/midi").glob("*.mid"))))
        return cls(tunes, fonts, *(Loops.read(data / "music/loops", test) for test in (False, True)))

    def __str__(self):
        loops = len(self.loops.drums) if self.loops else 0
        return f"{len(self.tunes)} tunes, {len(self.fonts)} soundfonts, {loops} drum loops"


@dataclass
class Song:
    name: str
    audio: np.ndarray  # float32 (samples,) at 24 kHz
    beats: np.ndarray  # seconds; every fourth from the first is a downbeat
    energy: np.ndarray  # of every beat, 0 to 1


def through_soundfont(path: Path, font: Path, factor: float, rng, seconds: float) -> np.ndarray:
    """FluidSynth plays the tune `factor` times as fast, some of its instruments changed or silent: (samples,) at 24 kHz."""
    import mido

    midi = mido.MidiFile(path, clip=True)
    shift = int(rng.integers(-4, 5))
    channels = {m.channel for t in midi.tracks for m in t if m.type == "note_on"}
    silent = {c for c in channels if rng.random() < (0.15 if c == 9 else 0.2)} if len(channels) > 2 else set()
    swap = {c: int(rng.integers(0, 104)) for c in channels if rng.random() < 0.4}
    for track in midi.tracks:
        for m in track:
            if m.type == "set_tempo":
                m.tempo = min(int(m.tempo / factor), 0xFFFFFF)
            elif m.type == "program_change" and m.channel in swap:
                m.program = swap[m.channel]
            elif m.type in ("note_on", "note_off"):
                if m.type == "note_on" and m.channel in silent:
                    m.velocity = 0
                if m.channel != 9:
                    m.note = int(np.clip(m.note + shift, 0, 127))
    if not any(m.type == "set_tempo" for t in midi.tracks for m in t):
        midi.tracks[0].insert(0, mido.MetaMessage("set_tempo", tempo=int(500_000 / factor), time=0))
    with tempfile.TemporaryDirectory() as folder:
        tune = Path(folder) / "tune.mid"
        midi.save(tune)
        return plain_tune(tune, font, seconds, reverb=rng.random() < 0.6)


def plain_tune(path: Path, font: Path, seconds: float, reverb: bool = True) -> np.ndarray:
    """The tune as it is through FluidSynth: (samples,) at 24 kHz."""
    with tempfile.TemporaryDirectory() as folder:
        wav, room = Path(folder) / "tune.wav", str(int(reverb))
        subprocess.run(["fluidsynth", "-ni", "-q", "-R", room, "-C", room, "-g", "0.5", "-r", str(RATE), "-F", wav, font, path], check=True, capture_output=True, timeout=120)  # fmt: skip
        rate, audio = wavfile.read(wav)
    assert rate == RATE
    audio = audio[: int(seconds * RATE)].astype(np.float32).mean(1) / 32768
    return audio / (np.abs(audio).max() + 1e-6) * 0.8


def drifted(beats: np.ndarray, rng) -> np.ndarray:
    """A tempo map: constant, drifting as players do, or with one step."""
    period, kind = np.diff(beats), rng.random()
    if kind < 0.2:
        walk = np.cumsum(rng.normal(0, 0.006, len(period)))
        period = period * np.exp(np.clip(walk - walk.mean(), -0.12, 0.12))
    elif kind < 0.35:
        at, bpm = int(len(period) * rng.uniform(0.3, 0.7)), 60 / period[0]
        period[at:] = 60 / np.clip(bpm * rng.uniform(0.7, 1.4), SLOWEST, FASTEST)
    return np.concatenate([[beats[0]], beats[0] + np.cumsum(period)])


def tune(rng, midi: Path, fonts, loops: Loops | None, test: bool, seed: int, seconds: float) -> Song:
    """A MIDI tune, at another tempo and with other instruments unless held out; raises ValueError if its metre is not known."""
    spec = synth.midi_song(midi, seed)
    bpm = spec.bpm
    low, high = np.log(max(0.7, SLOWEST / bpm)), np.log(min(1.4, FASTEST / bpm))
    factor = 1.0 if test or rng.random() < 0.35 or low >= high else float(np.exp(rng.uniform(low, high)))
    if fonts and rng.random() < 0.65:
        audio = through_soundfont(midi, fonts[int(rng.integers(len(fonts)))], factor, rng, seconds + 2)
        return Song(midi.stem, audio, spec.beat_times() / factor, np.repeat(spec.energy, synth.BEATS_PER_BAR))
    spec.beat_seconds = spec.beat_times() / factor
    spec.bpm = bpm * factor
    bars = min(spec.bars, max(int(np.searchsorted(spec.beat_seconds, seconds + 2) // 4), 1))
    if bars < spec.bars:
        for track in spec.tracks:
            track.notes = [n for n in track.notes if n.beat < bars * 4]
        spec.bars, spec.energy = bars, spec.energy[:bars]
    if loops and not test:
        dress(spec, loops, rng)
    return Song(midi.stem, synth.render(spec).audio, spec.beat_times(), np.repeat(spec.energy, synth.BEATS_PER_BAR))


def invented(rng, bpm: float, loops: Loops | None, test: bool, seconds: float) -> Song:
    """A song of the synthesiser's; in training half of them cross genres, many have recorded sound in them and some drift."""
    bars = int(np.ceil(seconds * bpm / 240)) + 1
    spec = compose(rng, bpm, bars, crossed(rng)) if not test and rng.random() < 0.5 else synth.random_song(rng, bpm, bars)
    if not test:
        spec.beat_seconds = drifted(spec.beat_times(), rng)
        spec.human_ms = float(rng.uniform(0, 12)) if rng.random() < 0.4 else spec.human_ms
    if loops:
        dress(spec, loops, rng, sure=test)
    return Song(spec.genre, synth.render(spec).audio, spec.beat_times(), np.repeat(spec.energy, synth.BEATS_PER_BAR))


def speech(rng, n: int) -> np.ndarray:
    """Syllables: voiced bursts through two formants, with pauses. Sounds like talk heard through a wall."""
    out, at = np.zeros(n, np.float32), 0
    pitch = rng.uniform(90, 230)
    while at < n:
        length = int(rng.uniform(0.08, 0.3) * RATE)
        t = np.arange(length) / RATE
        source = 2 * np.mod(t * pitch * rng.uniform(0.85, 1.2), 1.0) - 1 + 0.3 * rng.standard_normal(length)
        voice = sum(sosfilt(butter(2, [f * 0.85, f * 1.15], "band", fs=RATE, output="sos"), source) for f in (rng.uniform(300, 900), rng.uniform(1000, 2600)))
        burst = (voice * np.sin(np.pi * np.arange(length) / length)).astype(np.float32)
        end = min(at + length, n)
        out[at:end] += burst[: end - at] * np.float32(rng.uniform(0.4, 1.0))
        at += length + int(rng.uniform(0, 0.08) * RATE) + (int(rng.uniform(0.2, 1.0) * RATE) if rng.random() < 0.15 else 0)
    return out / (np.sqrt(np.mean(out**2)) + 1e-6) * 0.1


def noise(rng, n: int) -> np.ndarray:
    """A room without music: quiet white or brown noise, or nothing."""
    kind = rng.integers(3)
    if kind == 0:
        return np.zeros(n, np.float32)
    x = rng.standard_normal(n, dtype=np.float32)
    if kind == 2:
        x = lfilter([1.0], [1.0, -0.97], x).astype(np.float32) * 0.2
    return x * np.float32(10 ** (rng.uniform(-60, -25) / 20))


def crowd(rng, n: int) -> np.ndarray:
    """People: talk of many at once, and applause that swells and dies away. RMS about 0.1."""
    babble = sum(np.roll(speech(rng, n), int(rng.integers(n))) for _ in range(5))
    claps = np.zeros(n, np.float32)
    at = rng.integers(0, n, int(rng.uniform(20, 120) * n / RATE))
    np.add.at(claps, at, rng.uniform(0.2, 1.0, len(at)).astype(np.float32))
    length = int(0.03 * RATE)
    clap = rng.standard_normal(length) * np.exp(-np.arange(length) / (0.006 * RATE))
    claps = sosfilt(butter(2, [700, 4000], "band", fs=RATE, output="sos"), oaconvolve(claps, clap)[:n])
    points = np.arange(0, n + 2 * RATE, 2 * RATE)
    swell = np.interp(np.arange(n), points, rng.uniform(0, 1, len(points)) ** 2)
    x = babble / (np.sqrt(np.mean(babble**2)) + 1e-6) + rng.uniform(0, 2) * swell * claps / (np.sqrt(np.mean(claps**2)) + 1e-6)
    return (x / (np.sqrt(np.mean(x**2)) + 1e-6) * 0.1).astype(np.float32)


def mp3(audio: np.ndarray, rng) -> np.ndarray:
    """What is left after MP3 at 48 to 130 kbit/s mono, in time with what went in."""
    coded = io.BytesIO()
    soundfile.write(coded, np.clip(audio, -1, 1), RATE, format="MP3", subtype="MPEG_LAYER_III", bitrate_mode="CONSTANT", compression_level=float(rng.uniform(0.2, 0.75)))
    coded.seek(0)
    x, _ = soundfile.read(coded, dtype="float32")
    if len(x) > len(audio):  # at low rates the file does not say how late it is: LAME by 576, the decoder by 529 samples
        x = x[1105:]
    return np.pad(x, (0, max(0, len(audio) - len(x))))[: len(audio)]


def spoil(audio: np.ndarray, rng) -> np.ndarray:
    """Talk or a crowd over it, another room, equaliser and gain, clipping, MP3: each in some."""
    if rng.random() < 0.2:
        audio = audio + speech(rng, len(audio)) * np.float32(rng.uniform(0.2, 1.0))
    elif rng.random() < 0.12:
        audio = audio + crowd(rng, len(audio)) * np.float32(rng.uniform(0.2, 0.8))
    audio = features.augment(audio, rng)
    if rng.random() < 0.12:
        audio = np.clip(audio * np.float32(rng.uniform(2, 6)), -0.5, 0.5)
    return mp3(audio, rng) if rng.random() < 0.2 else audio
