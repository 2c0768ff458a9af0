"""Makes pairs of music and choreography on one beat grid: what the tokenizer and the transformer train on.

    python -m odori_training.motion_data [--data DIR] [--count N]

Songs come from the synthesiser, and from the MIDI tunes of DIR/music/midi where given (every sixth is held out), through
FluidSynth where it is installed; recorded drums and basses of DIR/music/loops play in both; see music.py. Stretches of
silence and noise carry calm motion. Writes OUT/pairs.safetensors: `frames` (N,162) f16 at 30 Hz, `hops` (H,81) f16 at
60 Hz, per 15 Hz step `beat` f32 (fractional beat, 0 a downbeat), `bpm`, `confidence`, `energy`, `quiet`, and per sequence `frame_start`, `hop_start`, `style`, `test`.
"""

import argparse
import json
import subprocess
from multiprocessing import Pool
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tqdm import tqdm

from . import choreo, clips, features, music
from . import skeleton as sk
from .phrases import Library

OUT = sk.ROOT / "training/out/motion"
STYLE_ODDS = {"salsa": 0.2, "modern": 0.15, "indian": 0.15, "pop": 0.16, "street": 0.1, "club": 0.12, "free": 0.12}
_libraries: dict = {}


def library(out: Path, test: bool) -> Library:
    if test not in _libraries:
        _libraries[test] = Library.build(clips.load(out / "clips.safetensors"), test)
    return _libraries[test]


def confidence_curve(rng, times, quiet, level):
    """How sure a beat clock would be: nothing at first, soon after the music's end, and for a while after it starts."""
    c = np.full(len(times), level)
    for t0, t1 in [(-1.0, 0.0), *quiet]:
        wake = t1 + rng.uniform(0.6, 2.5)
        c[(times >= t0 + 0.6) & (times < wake)] = 0.0
        ramp = (times >= wake) & (times < wake + 1.0)
        c[ramp] *= 0.4 + 0.6 * (times[ramp] - wake)
    return c


def make(job) -> dict:
    """One pair; job = (seed, MIDI path or None, held out, sources, out folder, seconds)."""
    seed, midi, test, sources, out, seconds = job
    rng = np.random.default_rng((seed, 77))
    lib = library(out, test)
    quiet = []
    if midi is None and rng.random() < 0.07 and not test:  # no music at all
        audio, beats, energy, quiet = music.noise(rng, int(seconds * 24000)), np.arange(0, seconds, 0.5), np.zeros(int(seconds * 2)), [(0.0, seconds)]
    else:
        try:
            if midi is not None:
                song = music.tune(rng, Path(midi), sources.fonts, sources.loops, test, seed, seconds)
            else:
                bpm = float(np.clip(np.exp(rng.normal(np.log(118), 0.24)), 60, 180))
                song = music.invented(rng, bpm, None if test else sources.loops, test, seconds)
        except (ValueError, subprocess.SubprocessError) as problem:
            return {"problem": f"{midi}: {problem}"}
        audio, beats, energy = song.audio, song.beats, song.energy
        seconds = min(seconds, len(audio) / 24000)
        beats = beats[: max(int(np.searchsorted(beats, seconds)), 2)]
        energy = energy[: len(beats)]
        if len(beats) < 16 or not 50 <= 60 / np.median(np.diff(beats)) <= 190:
            return {"problem": f"{midi}: too short or too odd a tempo"}
        if not test and rng.random() < 0.3:
            t0 = rng.uniform(0.2, 0.7) * seconds
            quiet = [(t0, min(t0 + rng.uniform(3, 8), seconds))]
    audio = np.array(audio[: int(seconds * 24000)], np.float32)
    for t0, t1 in quiet:
        a, b = int(t0 * 24000), min(int(t1 * 24000), len(audio))
        audio[a:b] = music.noise(rng, b - a)
    audio = audio if test else music.spoil(audio, rng)
    style = str(rng.choice(list(STYLE_ODDS), p=list(STYLE_ODDS.values())))
    if test and not lib.of_style(style):
        style = "free"
    loud = float(np.mean(energy)) if len(energy) else 0.0
    energy = np.clip(energy + rng.normal(0, 0.15) + (0.1 if loud < 0.4 else 0), 0, 1)
    x, calm = choreo.choreograph(rng, lib, beats, seconds, energy, style, quiet)
    x = x[: len(x) // 2 * 2]
    times = np.arange(len(x) // 2) / 15
    bp = choreo.beat_positions(beats, times)
    step = np.clip(np.searchsorted(beats, times) - 1, 0, len(beats) - 2)
    return {
        "frames": x.astype(np.float16), "hops": features.extract(audio).astype(np.float16), "beat": bp.astype(np.float32),
        "bpm": (60 / np.diff(beats)[step]).astype(np.float32), "confidence": confidence_curve(rng, times, quiet, rng.uniform(0.55, 1.0)).astype(np.float32),
        "energy": choreo.energy_of(x, lib.scale)[::2].astype(np.float32), "quiet": calm[: len(x) : 2].astype(np.float32),
        "style": lib.clips.styles.index("calm" if len(quiet) and quiet[0][0] == 0 else style), "test": int(test), "name": f"{midi and Path(midi).stem}-{seed}",
    }  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder with music/midi/*.mid and music/loops/*.flac; without it the synthesiser's own songs only")
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--count", type=int, default=170, help="songs of the synthesiser's own")
    parser.add_argument("--midi-takes", type=int, default=1)
    parser.add_argument("--seconds", type=float, default=42.0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=3)
    args = parser.parse_args()
    sources = music.Sources.of(args.data)
    print(sources)
    jobs = [(args.seed * 100_000 + i, None, False, sources, args.out, args.seconds) for i in range(args.count)]
    jobs += [(args.seed * 100_000 + 50_000 + i, None, True, sources, args.out, args.seconds) for i in range(8)]
    for take in range(args.midi_takes):
        jobs += [(args.seed * 100_000 + 70_000 + 1000 * take + i, str(p), test, sources, args.out, args.seconds) for i, (p, test) in enumerate(sources.tunes)]
    with Pool(args.processes) as pool:
        pairs = list(tqdm(pool.imap(make, jobs, chunksize=2), total=len(jobs), desc="pairs", mininterval=5))
    for p in pairs:
        if "problem" in p:
            print("left out:", p["problem"])
    pairs = [p for p in pairs if "problem" not in p]
    joined = {k: np.concatenate([p[k] for p in pairs]) for k in ("frames", "hops", "beat", "bpm", "confidence", "energy", "quiet")}
    for name, key in (("frame_start", "frames"), ("hop_start", "hops")):
        joined[name] = np.cumsum([0] + [len(p[key]) for p in pairs]).astype(np.int32)
    joined["style"], joined["test"] = (np.array([p[k] for p in pairs], np.int32) for k in ("style", "test"))
    save_file(joined, args.out / "pairs.safetensors", {"names": json.dumps([p["name"] for p in pairs])})
    print(f"{len(pairs)} pairs, {len(joined['frames']) / 30 / 60:.0f} minutes, {joined['test'].sum()} held out")


if __name__ == "__main__":
    main()
