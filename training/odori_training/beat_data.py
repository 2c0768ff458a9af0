"""Makes sound with exactly known beats: what the beat network trains on.

    python -m odori_training.beat_data [--data DIR] [--count N] [--soundfont FILE ...]

Songs of the synthesiser, and the MIDI tunes of DIR/music/midi (every sixth is held out) at changed tempi, keys and
instruments, played by the synthesiser and, where FluidSynth and soundfonts are installed, through them; recorded drums
and basses of DIR/music/loops (some are held out) in both. Tempo drifts in some; talk, a crowd, rooms, clipping, MP3 and
stretches without music lie over others. Writes
OUT/songs.safetensors: `hops` (H,81) f16 at 60 Hz; per hop `beat` f32, the position in beats of the end of the hop (0 a
downbeat, so its fraction is the beat's phase), `bpm` f32, 0 where there is no music; per song `start`, `test`, `bars`
(whether its downbeats are known).
"""

import argparse
import json
import subprocess
from dataclasses import replace
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tqdm import tqdm

from . import features, music
from . import skeleton as sk
from .music import FASTEST, RATE, SLOWEST, Sources

OUT = sk.ROOT / "training/out/beat"


def folded(beats: np.ndarray) -> tuple[np.ndarray, float]:
    """The same music's beats at the level that lies in 60 to 180 BPM, and how many old beats one new beat is."""
    bpm = 60 / np.median(np.diff(beats))
    if bpm > FASTEST + 1:
        return beats[::2], 2.0
    if bpm < SLOWEST - 1:
        half = np.interp(np.arange(2 * len(beats) - 1) / 2, np.arange(len(beats)), beats)
        return half, 0.5
    return beats, 1.0


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


def make(job) -> dict:
    """One song; job = (seed, MIDI path or None, held out, sources, seconds)."""
    seed, midi, test, sources, seconds = job
    rng = np.random.default_rng((seed, 31))
    quiet = []
    try:
        if midi is None and not test and rng.random() < 0.06:
            (audio, beats), name = clicks(rng, seconds), "clicks"
        elif midi is None and not test and rng.random() < 0.1:
            n = int(seconds * RATE)
            audio = [music.speech, music.crowd, music.noise, music.noise][int(rng.integers(4))](rng, n)
            beats, quiet, name = np.arange(0, seconds + 1, 0.5), [(0.0, seconds)], "no music"
        else:
            if midi is not None:
                song = music.tune(rng, Path(midi), sources.fonts, sources.loops, test, seed, seconds)
            else:
                bpm = float(np.exp(rng.uniform(np.log(SLOWEST), np.log(FASTEST)))) if rng.random() < 0.5 else float(np.clip(np.exp(rng.normal(np.log(118), 0.25)), SLOWEST, FASTEST))
                song = music.invented(rng, bpm, sources.held_out_loops if test else sources.loops, test, seconds)
            audio, beats, name = song.audio, song.beats, song.name
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
            audio[a:b] = music.noise(rng, b - a)
        audio = music.spoil(audio, rng)
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
    parser.add_argument("--data", type=Path, default=None, help="folder with music/midi/*.mid and music/loops/*.flac; without it the synthesiser's own songs only")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--count", type=int, default=280, help="songs of the synthesiser's own")
    parser.add_argument("--midi-takes", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=45.0)
    parser.add_argument("--soundfont", type=Path, nargs="*", default=music.SOUNDFONTS, help="played through FluidSynth where both are installed")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    sources = music.Sources.of(args.data, args.soundfont)
    print(sources)
    silent = replace(sources, fonts=())
    jobs = [(args.seed * 100_000 + i, None, False, sources, args.seconds) for i in range(args.count)]
    jobs += [(args.seed * 100_000 + 50_000 + i, None, True, sources if i % 2 else Sources(), args.seconds) for i in range(12)]
    for take in range(args.midi_takes):
        jobs += [(args.seed * 100_000 + 70_000 + 1000 * take + i, str(p), test, silent if test and take == 0 else sources, args.seconds)
                 for i, (p, test) in enumerate(sources.tunes) if not test or take < 2]  # fmt: skip
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
