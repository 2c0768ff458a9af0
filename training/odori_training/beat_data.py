"""Makes sound with exactly known beats: what the beat network trains on.

    python -m odori_training.beat_data [--data DIR] [--count N] [--soundfont FILE ...]

Songs of the synthesiser, and the MIDI tunes of DIR/music/midi (every sixth is held out) at changed tempi, keys and
instruments, played by the synthesiser and, where FluidSynth and soundfonts are installed, through them. Tempo drifts in
some; speech-like bursts, crowd noise, rooms, clipping and stretches without music lie over others. Writes
OUT/songs.safetensors: `hops` (H,81) f16 at 60 Hz; per hop `beat` f32, the position in beats of the end of the hop (0 a
downbeat, so its fraction is the beat's phase), `bpm` f32, 0 where there is no music; per song `start`, `test`, `bars`
(whether its downbeats are known).
"""

import argparse
import json
import shutil
import subprocess
import tempfile
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.io import wavfile
from scipy.signal import butter, sosfilt
from tqdm import tqdm

from . import features, synth
from . import skeleton as sk
from .motion_data import noise
from .synth_genres import compose, crossed

OUT = sk.ROOT / "training/out/beat"
RATE = features.RATE
SOUNDFONTS = [Path("/usr/share/sounds/sf2") / name for name in ("FluidR3_GM.sf2", "TimGM6mb.sf2")]
SLOWEST, FASTEST = 60.0, 180.0


def folded(beats: np.ndarray) -> tuple[np.ndarray, float]:
    """The same music's beats at the level that lies in 60 to 180 BPM, and how many old beats one new beat is."""
    bpm = 60 / np.median(np.diff(beats))
    if bpm > FASTEST + 1:
        return beats[::2], 2.0
    if bpm < SLOWEST - 1:
        half = np.interp(np.arange(2 * len(beats) - 1) / 2, np.arange(len(beats)), beats)
        return half, 0.5
    return beats, 1.0


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


def clicks(rng, seconds: float):
    """A metronome that begins on a downbeat: sound and beats, downbeats sometimes higher."""
    bpm = float(np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST))))
    beats = rng.uniform(0, 1) + np.arange(int(seconds * bpm / 60) + 2) * 60 / bpm
    n = int(rng.uniform(0.01, 0.08) * RATE)
    t = np.arange(n) / RATE
    hz, accent = np.exp(rng.uniform(np.log(300), np.log(4000))), rng.random() < 0.4
    audio = np.zeros(int((seconds + 2) * RATE), np.float32)
    for i, at in enumerate(beats):
        tone = np.sin(2 * np.pi * hz * (1.5 if accent and i % 4 == 0 else 1) * t) if hz < 3000 else rng.standard_normal(n)
        a = int(at * RATE)
        if a + n < len(audio):
            audio[a : a + n] += (0.6 * tone * np.exp(-5 * t / t[-1])).astype(np.float32)
    return audio, beats


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


def tune(rng, midi: Path, fonts, test: bool, seed: int, seconds: float):
    """Sound and beats of a MIDI tune; raises ValueError if its metre is not known."""
    spec = synth.midi_song(midi, seed)
    bpm = spec.bpm
    low, high = np.log(max(0.7, SLOWEST / bpm)), np.log(min(1.4, FASTEST / bpm))
    factor = 1.0 if test or rng.random() < 0.35 or low >= high else float(np.exp(rng.uniform(low, high)))
    if fonts and rng.random() < 0.65:
        audio = through_soundfont(midi, fonts[int(rng.integers(len(fonts)))], factor, rng, seconds + 2)
        beats = spec.beat_times() / factor
    else:
        spec.beat_seconds = spec.beat_times() / factor
        spec.bpm = bpm * factor
        bars = min(spec.bars, max(int(np.searchsorted(spec.beat_seconds, seconds + 2) // 4), 1))
        if bars < spec.bars:
            for track in spec.tracks:
                track.notes = [n for n in track.notes if n.beat < bars * 4]
            spec.bars, spec.energy = bars, spec.energy[:bars]
        song = synth.render(spec)
        audio, beats = song.audio, spec.beat_times()
    return audio, beats


def make(job) -> dict:
    """One song; job = (seed, MIDI path or None, held out, soundfonts, seconds)."""
    seed, midi, test, fonts, seconds = job
    rng = np.random.default_rng((seed, 31))
    quiet = []
    try:
        if midi is None and not test and rng.random() < 0.06:
            (audio, beats), name = clicks(rng, seconds), "clicks"
        elif midi is not None:
            audio, beats = tune(rng, Path(midi), fonts, test, seed, seconds)
            name = Path(midi).stem
        elif rng.random() < 0.1 and not test:
            n = int(seconds * RATE)
            audio = speech(rng, n) if rng.random() < 0.5 else noise(rng, n)
            beats, quiet, name = np.arange(0, seconds + 1, 0.5), [(0.0, seconds)], "no music"
        else:
            bpm = float(np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST)))) if rng.random() < 0.5 else float(np.clip(np.exp(rng.normal(np.log(118), 0.25)), SLOWEST, FASTEST))
            bars = int(np.ceil(seconds * bpm / 240)) + 1
            spec = compose(rng, bpm, bars, crossed(rng)) if not test and rng.random() < 0.5 else synth.random_song(rng, bpm, bars)
            if not test:
                spec.beat_seconds = drifted(spec.beat_times(), rng)
                spec.human_ms = float(rng.uniform(0, 12)) if rng.random() < 0.4 else spec.human_ms
            audio, beats, name = synth.render(spec).audio, spec.beat_times(), spec.genre
    except (ValueError, subprocess.SubprocessError) as problem:
        return {"problem": f"{midi}: {problem}"}
    if len(audio) < 12 * RATE or len(beats) < 16:
        return {"problem": f"{midi}: too short"}
    beats, merged = folded(beats)
    if not 50 <= 60 / np.median(np.diff(beats)) <= 190:
        return {"problem": f"{midi}: {60 / np.median(np.diff(beats)):.0f} BPM"}
    if not test and len(audio) > (seconds + 1) * RATE:  # a stretch from anywhere in it
        cut = int(rng.uniform(0, len(audio) - seconds * RATE))
    else:
        cut = 0
    audio = np.array(audio[cut : cut + int(seconds * RATE)], np.float32)
    position = np.interp(np.arange(1, len(audio) // features.HOP + 1) * features.HOP / RATE + cut / RATE, beats, np.arange(len(beats)), left=np.nan, right=np.nan)
    if not test:
        if midi is None and not quiet and rng.random() < 0.25:  # the music stops for a while
            t0 = rng.uniform(0.2, 0.7) * seconds
            quiet = [(t0, min(t0 + rng.uniform(2, 8), seconds))]
            a, b = int(t0 * RATE), min(int(quiet[0][1] * RATE), len(audio))
            audio[a:b] = noise(rng, b - a)
        if rng.random() < 0.2:
            audio = audio + speech(rng, len(audio)) * np.float32(rng.uniform(0.2, 1.0))
        audio = features.augment(audio, rng)
        if rng.random() < 0.12:
            audio = np.clip(audio * np.float32(rng.uniform(2, 6)), -0.5, 0.5)
    hops = features.extract(audio)
    t = (np.arange(len(hops)) + 1) * features.HOP / RATE
    period = np.diff(beats)
    bpm = 60 / period[np.clip(np.searchsorted(beats, t + cut / RATE) - 1, 0, len(period) - 1)]
    for t0, t1 in quiet:
        bpm[(t > t0 + 0.5) & (t < t1)] = 0
    bpm[np.isnan(position)] = 0
    return {"hops": hops.astype(np.float16), "beat": np.nan_to_num(position).astype(np.float32), "bpm": bpm.astype(np.float32), "test": int(test), "bars": int(merged == 1.0), "name": f"{name}-{seed}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder with music/midi/*.mid; without it the synthesiser's own songs only")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--count", type=int, default=280, help="songs of the synthesiser's own")
    parser.add_argument("--midi-takes", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--soundfont", type=Path, nargs="*", default=SOUNDFONTS, help="played through FluidSynth where both are installed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    fonts = [p for p in args.soundfont if p.exists()] if shutil.which("fluidsynth") else []
    print(f"{len(fonts)} soundfonts")
    tunes = sorted((args.data / "music/midi").glob("*.mid")) if args.data else []
    jobs = [(args.seed * 100_000 + i, None, False, fonts, args.seconds) for i in range(args.count)]
    jobs += [(args.seed * 100_000 + 50_000 + i, None, True, fonts, args.seconds) for i in range(12)]
    for take in range(args.midi_takes):
        held_out = lambda i: i % 6 == 0  # noqa: E731
        jobs += [(args.seed * 100_000 + 70_000 + 1000 * take + i, str(p), held_out(i), fonts if not held_out(i) or take else [], args.seconds)
                 for i, p in enumerate(tunes) if not held_out(i) or take < 2]  # fmt: skip
    args.out.mkdir(parents=True, exist_ok=True)
    with Pool(args.processes) as pool:
        songs = list(tqdm(pool.imap_unordered(make, jobs, chunksize=2), total=len(jobs), desc="songs", mininterval=5))
    for s in songs:
        if "problem" in s:
            print("left out:", s["problem"])
    songs = [s for s in songs if "problem" not in s]
    joined = {k: np.concatenate([s[k] for s in songs]) for k in ("hops", "beat", "bpm")}
    joined["start"] = np.cumsum([0] + [len(s["hops"]) for s in songs]).astype(np.int32)
    joined["test"], joined["bars"] = (np.array([s[k] for s in songs], np.int32) for k in ("test", "bars"))
    save_file(joined, args.out / "songs.safetensors", {"names": json.dumps([s["name"] for s in songs])})
    print(f"{len(songs)} songs, {len(joined['hops']) / 3600:.0f} minutes, {joined['test'].sum()} held out")


if __name__ == "__main__":
    main()
