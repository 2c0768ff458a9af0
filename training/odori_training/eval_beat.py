"""Compares online beat trackers on the same held-out sound: ours, aubio and, given its weights, BeatNet.

    python -m odori_training.eval_beat --data DIR --odori ../target/release/odori [--keep FOLDER] [--beatnet WEIGHTS]

Every sixth MIDI tune (through the synthesiser, and through FluidSynth where it is installed), songs of the synthesiser
at tempi from 60 to 180, songs with a tempo step, songs with a break, talk over music, a crowd over music that was MP3, and
songs with drum loops that nobody was trained on. A beat counts within 70 ms, after
six seconds; a downbeat likewise. `odori beats` says what it knows before a beat sounds; a peer's beats count when it
reports them, with its own time for them. Below the table: how soon each is on the beat again after a tempo step, whether it
holds through a break, and how often it goes over to the off-beat.
"""

import argparse
import json
import subprocess
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from . import beatnet, music, synth
from .eval_motion import f_score

RATE = 24_000
SETTLE = 6.0
BREAK = (18.0, 24.0)  # seconds


def cases(data: Path | None, seconds: float):
    """Yields group, name, audio (samples,), beats, downbeats or None."""
    sources = music.Sources.of(data)
    fonts = sources.fonts
    for n, path in enumerate(p for p, held_out in sources.tunes if held_out):
        for group in ("tunes, synthesiser", "tunes, FluidSynth"):
            if "Fluid" in group and not fonts:
                continue
            try:
                if "Fluid" in group:
                    spec = synth.midi_song(path, n)
                    audio, beats = music.plain_tune(path, fonts[n % len(fonts)], seconds), spec.beat_times()
                else:
                    song = synth.render_midi(path, rate=RATE, seed=n, max_seconds=seconds + 1)
                    audio, beats = song.audio, song.beats
            except ValueError:
                continue
            if len(audio) < 20 * RATE:
                continue
            yield group, path.stem, audio[: int(seconds * RATE)], beats, beats[::4]
    for n, bpm in enumerate((60, 68, 76, 85, 93, 100, 110, 118, 124, 128, 140, 152, 165, 174, 180)):
        rng = np.random.default_rng((n, 99))
        spec = synth.random_song(rng, float(bpm), int(np.ceil(seconds * bpm / 240)))
        song = synth.render(spec)
        yield "songs", f"{spec.genre}-{bpm}", song.audio, song.beats, song.downbeats
        if n % 3 == 0:
            talk = song.audio + music.speech(rng, len(song.audio)) * 0.6
            yield "talk over songs", f"{spec.genre}-{bpm}", talk, song.beats, song.downbeats
        if n % 3 == 1:
            a, b = (int(t * RATE) for t in BREAK)
            broken = song.audio.copy()
            broken[a:b] *= 0.003
            yield "a break of 6 s", f"{spec.genre}-{bpm}", broken, song.beats, song.downbeats
        if n % 3 == 1:
            heard = np.random.default_rng((n, 98))
            far = music.mp3(song.audio + music.crowd(heard, len(song.audio)) * 0.5, heard)
            yield "a crowd, MP3", f"{spec.genre}-{bpm}", far, song.beats, song.downbeats
        if n % 3 == 2:
            spec.beat_seconds = spec.beat_times().copy()
            half = int(np.searchsorted(spec.beat_seconds, 18))
            factor = (1.25, 0.8, 1.12, 0.88, 1.4)[n // 3]
            if not 60 <= bpm * factor <= 180:
                factor = 1 / factor
            spec.beat_seconds[half:] = spec.beat_seconds[half] + (spec.beat_seconds[half:] - spec.beat_seconds[half]) / factor
            song = synth.render(spec)
            yield "a tempo step", f"{spec.genre}-{bpm}x{factor:.2f}", song.audio, song.beats, song.downbeats
    for n, bpm in enumerate((84, 98, 112, 124, 136, 150, 168) if sources.held_out_loops else ()):
        song = music.invented(np.random.default_rng((n, 97)), float(bpm), sources.held_out_loops, True, seconds)
        yield "drum loops", f"{song.name}-loop-{bpm}", song.audio[: int(seconds * RATE)], song.beats, song.beats[::4]


def ours(odori: Path, tracker: str):
    def track(wav: Path):
        out = subprocess.run([str(odori), "beats", str(wav), "--json", "--tracker", tracker], check=True, capture_output=True, text=True).stdout
        lines = [json.loads(line) for line in out.splitlines()]
        return np.array([b["time"] for b in lines]), np.array([b["time"] for b in lines if b["downbeat"]])

    return track


def judge(found, beats, length):
    keep = lambda x: x[(x > SETTLE) & (x < length - 0.2)]  # noqa: E731
    found, beats = keep(found), keep(beats)
    if len(beats) < 4:
        return None
    f = f_score(found, beats)[0]
    near = np.array([found[np.abs(found - b).argmin()] - b for b in beats]) if len(found) else np.zeros(0)
    near = near[np.abs(near) < 0.07]
    return f, (1000 * np.median(near) if len(near) else np.nan)


def recovery(found, beats):
    """Beats after the greatest tempo step until four in a row are found."""
    on = np.array([len(found) > 0 and np.abs(found - b).min() < 0.07 for b in beats])
    step = int(np.argmax(np.abs(np.diff(np.log(np.diff(beats)))))) + 1
    return next((n for n in range(len(on) - step - 4) if on[step + n : step + n + 4].all()), len(on) - step)


def changes_of_mind(found, beats):
    """How often it goes from the beat to the off-beat or back after ten seconds; None if it counts at another level."""
    late = found[(found > 10) & (found < beats[-1])]
    if len(late) < 8 or abs(np.log2(np.median(np.diff(late)) / np.median(np.diff(beats[beats > 10])))) > 0.15:
        return None
    phase = np.interp(late, beats, np.arange(len(beats))) % 1
    off = ((phase > 0.35) & (phase < 0.65)).astype(int)
    return int(np.abs(np.diff(off)).sum())


def steadiness(cases, heard, name):
    """A line of what `name`, whose beats are `heard`, does at a tempo step, in a break and over whole songs."""
    of = lambda *groups: [(c, heard[c["wav"]]) for c in cases if c["group"] in groups]  # noqa: E731
    steps = [recovery(f, np.array(c["beats"])) for c, f in of("a tempo step")]
    held = []
    for case, found in of("a break of 6 s"):
        inside = [b for b in case["beats"] if BREAK[0] + 0.3 < b < BREAK[1]]
        held.append(np.mean([len(found) > 0 and np.abs(found - b).min() < 0.07 for b in inside]))
    minds = [changes_of_mind(f, np.array(c["beats"])) for c, f in of("songs", "drum loops")]
    counted = [m for m in minds if m is not None]
    return (f"{name}: on the beat again {np.median(steps):.0f} beats after a tempo step (worst {max(steps)}); {100 * np.mean(held):.0f} % of the beats in a break; "
            f"of {len(counted)} songs counted at their own level {sum(m == 0 for m in counted)} without a change to the off-beat or back")  # fmt: skip


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=None, help="folder with music/midi/*.mid")
    parser.add_argument("--odori", type=Path, required=True)
    parser.add_argument("--keep", type=Path, default=Path("out/beat/eval"), help="where the sound is kept for the next time")
    parser.add_argument("--seconds", type=float, default=40.0)
    parser.add_argument("--trackers", nargs="*", default=["odori", "aubio"])
    parser.add_argument("--beatnet", type=Path, nargs="*", default=[], help="BeatNet's weights, one or several model_N_weights.pt")
    parser.add_argument("--each", action="store_true")
    args = parser.parse_args()
    index = args.keep / "index.json"
    if not index.exists():
        args.keep.mkdir(parents=True, exist_ok=True)
        listed = []
        for n, (group, name, audio, beats, downbeats) in enumerate(sorted(cases(args.data, args.seconds), key=lambda c: c[0])):
            wav = args.keep / f"{n:03}-{name}.wav"
            wavfile.write(wav, RATE, (np.clip(audio, -1, 1) * 32767).astype(np.int16))
            listed.append({"group": group, "name": name, "wav": wav.name, "seconds": len(audio) / RATE, "beats": list(map(float, beats)), "downbeats": list(map(float, downbeats))})
        index.write_text(json.dumps(listed))
    listed = json.loads(index.read_text())
    trackers = {name: ours(args.odori, name) for name in args.trackers}
    trackers |= {f"BeatNet {path.stem.split('_')[1]}" if "_" in path.stem else "BeatNet": beatnet.tracker(path) for path in args.beatnet}
    groups = list(dict.fromkeys(c["group"] for c in listed))
    print(f"{'':22}" + "".join(f"{name:>28}" for name in trackers))
    print(f"{'F at 70 ms':22}" + "      beat  down   lag  cases" * len(trackers))
    every, heard = {name: [] for name in trackers}, {name: {} for name in trackers}
    for group in groups:
        line = f"{group:22}"
        for name, track in trackers.items():
            rows = []
            for case in (c for c in listed if c["group"] == group):
                found, downs = track(args.keep / case["wav"])
                heard[name][case["wav"]] = np.asarray(found)
                row = judge(found, np.array(case["beats"]), case["seconds"])
                if row is None:
                    continue
                down = judge(downs, np.array(case["downbeats"]), case["seconds"])
                rows.append((*row, down[0] if down else np.nan))
                if args.each:
                    gap = 60 / np.median(np.diff(found)) if len(found) > 2 else 0
                    print(f"    {name:8} {case['name']:18} {60 / np.median(np.diff(case['beats'])):5.0f} BPM, found {gap:5.0f}  F {row[0]:.2f}  down {rows[-1][2]:.2f}  lag {row[1]:+4.0f} ms")
            every[name] += rows
            r = np.array(rows)
            line += f"      {r[:, 0].mean():.2f}  {np.nanmean(r[:, 2]):.2f}  {np.nanmedian(r[:, 1]):+4.0f}  {len(r):5}"
        print(line)
    line = f"{'all':22}"
    for rows in every.values():
        r = np.array(rows)
        line += f"      {r[:, 0].mean():.3f} {np.nanmean(r[:, 2]):.3f} {np.nanmedian(r[:, 1]):+4.0f} {len(r):5}"
    print(line)
    for name in trackers:
        print(steadiness(listed, heard[name], name))


if __name__ == "__main__":
    main()
