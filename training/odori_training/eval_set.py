"""Makes what `odori eval motion` judges by: held-out songs with exact beats, and real dance.

    python -m odori_training.eval_set --data DIR -o OUT [--first WEIGHTS]

`DIR/mocap/*.bvh`, `DIR/music/midi/*.mid`: see training/README.md. Writes to OUT
`NAME.wav` (24 kHz mono) and `NAME.json` (`beats` in seconds, `bpm`, `sections` as [name, second], `tempo` against the tune's own) of
every sixth MIDI tune and of songs of the synthesiser that were never trained on, three tunes at 0.75 and 1.25 times the tempo besides; and
`dance.safetensors`: `frames` (N,162) and per dance `start` (K+1), `split` (0 a clip that was trained on, 1 a held-out clip, 2 choreography of
held-out clips on a song of the set, 3 what the first model, whose weights are in WEIGHTS, made by itself of a song's exact beats, thrice), metadata `styles` and `names`. All numbers f32, so that the engine's reader takes them.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from safetensors.numpy import save_file
from scipy.io import wavfile
from tqdm import tqdm

from . import choreo, clips, features, mocap, synth
from . import skeleton as sk
from .phrases import Library

RATE = 24_000
OWN_BPM = (92, 105, 118, 124, 128, 140)
TEMPI = (0.75, 1.25)
FIRST_ENERGY = 0.7  # what it danced at
FIRST_DANCES = 3  # of every song: single dances vary
SEED = 9_000_000  # far from those of training


def songs(data: Path | None, seconds: float):
    """Yields (name, tempo, Rendered)."""
    for i, bpm in enumerate(OWN_BPM):
        spec = synth.random_song(np.random.default_rng(SEED + i), float(bpm), int(np.ceil(seconds * bpm / 240)))
        yield f"own_{i}", 1.0, synth.render(spec)
        for tempo in TEMPI if i % 2 == 0 else ():
            spec.bpm = bpm * tempo
            yield f"own_{i}@{tempo}", tempo, synth.render(spec)
    for i, path in enumerate(sorted((data / "music/midi").glob("*.mid"))[::6]):
        try:
            yield path.stem, 1.0, synth.render_midi(path, seed=SEED + i, max_seconds=seconds)
        except ValueError as problem:
            print("left out:", problem)


def first_dances(weights: Path, songs, seconds, seed):
    """Yields (name, features) of songs as (name, audio, beats): what a motion network gives for them, nothing done to it."""
    from .eval_motion import load_motion, rollout
    from .train_motion import load_tokenizer

    model, tokenizer = load_motion(weights / "motion.safetensors"), load_tokenizer(weights / "tokenizer.safetensors")
    steps = int(seconds * 15)
    t = np.arange(steps) / 15
    music, beat = [], []
    for _, audio, beats in songs:
        hops = features.extract(np.pad(audio, (0, max(0, int(seconds * RATE) - len(audio)))))
        music.append(features.music_tokens(hops.astype(np.float32), np.floor((t - 0.05) * features.HOP_HZ + 1e-6).astype(int)))
        at = choreo.beat_positions(beats, t)
        beat.append(features.beat_vector(at % 1, (at % 4) / 4, 60 / np.median(np.diff(beats)), 0.9))
    music, beat = (torch.from_numpy(np.stack(x)) for x in (music, beat))
    style, energy = torch.zeros(music.shape[:2], dtype=torch.long), torch.full((*music.shape[:2], 1), FIRST_ENERGY)
    with safe_open(weights / "motion.safetensors", "np") as file:
        sampling = json.loads(file.metadata()["sampling"])
    made, _ = rollout(model, tokenizer, music, beat, style, energy, **sampling, seed=seed)
    for (name, audio, _), x in zip(songs, made, strict=True):
        yield name, x[: min(len(x), int(len(audio) / RATE * 30))]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("-o", "--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--first", type=Path, metavar="WEIGHTS", help="folder with the motion.safetensors and tokenizer.safetensors of the first model, to stand beside")
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(SEED)
    dances = []  # (name, style, split, frames)
    every = tqdm(mocap.sources(args.data), desc="retarget")
    found = [(n, f, mocap.style_of(n), name in mocap.TEST_FILES) for name, *take in every for n, f in mocap.process(name, *take, rng)]
    for name, x, style, test in found:
        dances += [(name, style, int(test), x), (name + "_mirror", style, int(test), sk.mirror(x))]
    calm = [(n, f, "calm", n.endswith("_3")) for n, f in mocap.idle_clips(rng)]
    names, frames, styles, tests = zip(*found, *calm, strict=True)
    names, frames, styles, tests = ([*v, *v] for v in (names, frames, styles, tests))
    half = len(names) // 2
    frames[half:] = [sk.mirror(f) for f in frames[half:]]
    start = np.cumsum([0] + [len(f) for f in frames])
    library = clips.Clips(np.concatenate(frames), start, np.array([mocap.STYLES.index(s) for s in styles]), np.array(tests, bool),
                          np.arange(len(names)) >= half, list(names), mocap.STYLES)  # fmt: skip
    held, trained = Library.build(library, True), Library.build(library, False)
    known = []
    for name, tempo, song in tqdm(songs(args.data, args.seconds), desc="songs"):
        beats = np.asarray(song.beats, float)
        seconds = min(len(song.audio) / RATE, args.seconds)
        beats = beats[beats < seconds]
        if len(beats) < 16:
            print("left out:", name, "is too short")
            continue
        bpm = 60 / np.median(np.diff(beats))
        sections = [[s.name, float(beats[min(4 * s.bar, len(beats) - 1)])] for s in song.sections or [] if 4 * s.bar < len(beats)]
        wavfile.write(args.out / f"{name}.wav", RATE, (np.clip(song.audio[: int(seconds * RATE)], -1, 1) * 32767).astype(np.int16))
        (args.out / f"{name}.json").write_text(json.dumps({"beats": [round(float(b), 5) for b in beats], "bpm": round(float(bpm), 3), "tempo": tempo, "sections": sections}))
        if tempo != 1.0:
            continue
        known.append((name, song.audio[: int(seconds * RATE)], beats))
        energy = np.full(len(beats), 0.6)
        x, _ = choreo.choreograph(rng, held, beats, seconds, energy, "free")
        dances.append((name, "free", 2, x))
        if name.startswith("own"):  # what club dancing is: calm clips under a groove, of clips that were trained on
            dances.append((name + "_club", "club", 0, choreo.choreograph(rng, trained, beats, min(seconds, 25), energy, "club")[0]))
    if args.first:
        for seed in range(FIRST_DANCES):
            dances += [(name, "free", 3, x) for name, x in first_dances(args.first, known, args.seconds, seed)]
    table = {"frames": np.concatenate([f for *_, f in dances]).astype(np.float32), "start": np.cumsum([0] + [len(f) for *_, f in dances]).astype(np.float32),
             "split": np.array([s for _, _, s, _ in dances], np.float32)}  # fmt: skip
    save_file(table, args.out / "dance.safetensors", {"names": json.dumps([n for n, *_ in dances]), "styles": json.dumps([s for _, s, *_ in dances])})
    print(f"{len(list(args.out.glob('*.wav')))} songs; dances: {len(dances)}, {len(table['frames']) / 30:.0f} s")


if __name__ == "__main__":
    main()
