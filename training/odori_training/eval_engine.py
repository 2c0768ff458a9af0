"""Judges the engine itself, end to end: held-out MIDI tunes are rendered to sound, `odori render` dances to them with its
own beat clock, and the keypoints that it writes are held against the tunes' exact beats.

    python -m odori_training.eval_engine --data DIR --odori ../target/release/odori [--songs N] [--seconds S]
"""

import argparse
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from . import phrases, synth
from .eval_motion import f_score, shuffled_control

RATE = 48_000


def dance(odori: Path, wav: Path, seconds: float, seed: int, extra=()):
    """Keypoints of every frame (T,24,2), pixels."""
    out = wav.with_suffix(".jsonl")
    args = [odori, "render", wav, "--seconds", str(seconds), "--seed", str(seed), "--keypoints", out, *extra]
    subprocess.run([str(a) for a in args], check=True, capture_output=True)
    lines = [json.loads(line) for line in out.read_text().splitlines()[1:]]
    return np.array([line["keypoints"] for line in lines])[..., :2]


def heard(odori: Path, wav: Path):
    """The beats that the live beat clock announced, seconds; and how sure it was."""
    lines = subprocess.run([str(odori), "beats", str(wav), "--json"], check=True, capture_output=True, text=True).stdout.splitlines()
    beats = [json.loads(line) for line in lines]
    return np.array([b["time"] for b in beats]), float(np.mean([b["confidence"] for b in beats])) if beats else 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with music/midi/*.mid; every sixth tune is held out from training")
    parser.add_argument("--odori", type=Path, required=True)
    parser.add_argument("--songs", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--seed", type=int, default=0, help="added to every tune's own")
    parser.add_argument("--render-args", default="", help="more arguments for odori render, such as '--energy 1'")
    parser.add_argument("--settle", type=float, default=6.0, help="seconds that the beat clock is given before it is judged")
    args = parser.parse_args()
    tunes = sorted((args.data / "music/midi").glob("*.mid"))[::6][: args.songs]
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for n, tune in enumerate(tunes):
            try:
                song = synth.render_midi(tune, rate=RATE, seed=n, max_seconds=args.seconds + 1)
            except ValueError as problem:
                print(f"left out: {problem}")
                continue
            wav = Path(folder) / f"{tune.stem}.wav"
            wavfile.write(wav, RATE, (np.clip(song.audio, -1, 1) * 32767).astype(np.int16))
            points = dance(args.odori, wav, args.seconds, n + 1 + args.seed, args.render_args.split())
            length = len(points) / 30
            # Frame n, counted from 0, is stamped with the end of its sound.
            found = (phrases.kinematic_beats(phrases.joint_speed(points)) + 1) / 30
            beats = np.asarray(song.beats)
            beats = beats[(beats > args.settle) & (beats < length - 0.3)]
            found = found[found > args.settle - 0.1]
            if len(beats) < 8:
                print(f"left out: {tune.stem}, {len(beats)} beats")
                continue
            f, precision, recall = f_score(found, beats)
            near = np.array([found[np.abs(found - b).argmin()] - b for b in beats])
            near = near[np.abs(near) < 0.15]
            control = shuffled_control(found - args.settle, beats - args.settle, length - args.settle)
            clock, sure = heard(args.odori, wav)
            clock_f = f_score(clock[(clock > args.settle) & (clock < length - 0.3)], beats)[0]
            rows.append((60 / np.median(np.diff(beats)), f, precision, recall, control, 1000 * np.median(near), clock_f))
            print(f"{tune.stem:16} {rows[-1][0]:5.0f} BPM  F {f:.2f}  control {control:.2f}  lag {rows[-1][5]:+4.0f} ms  clock F {clock_f:.2f}, sure {sure:.2f}")
    mean = np.mean(rows, axis=0)
    print(f"{len(rows)} tunes: F {mean[1]:.3f} (precision {mean[2]:.3f}, recall {mean[3]:.3f}), control {mean[4]:.3f}, median lag {np.median([r[5] for r in rows]):+.0f} ms, clock F {mean[6]:.3f}")
    led = np.mean([r for r in rows if r[6] > 0.8], axis=0)
    print(f"where the clock is right (F above 0.8): F {led[1]:.3f}, control {led[4]:.3f}")


if __name__ == "__main__":
    main()
