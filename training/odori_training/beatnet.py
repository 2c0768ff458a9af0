"""BeatNet, a published online beat tracker, to compare with: Heydari, Cwitkowitz, Duan, "BeatNet: CRNN and particle filtering for
online joint beat, downbeat and meter tracking" (ISMIR 2021). Our own code, from the paper and madmom's published definitions of the
features; the weights are the authors' (CC-BY 4.0).

Sound at 22,050 Hz, frames of 64 ms every 20 ms, 24 bands an octave of the log magnitude spectrum and their positive difference (272 numbers),
a convolution over them, two LSTM layers, softmax of beat, downbeat and neither. Beats are then inferred as in the paper, on one beat of
the bar-pointer state space, with two differences: where the paper samples 1,500 particles the forward filter here is exact, and the
filter's mode is read where the paper reads the particles' median.
"""

from math import gcd
from pathlib import Path

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import nn

RATE = 22_050
HOP = 441
FRAME = 1411
FPS = RATE // HOP
BANDS_PER_OCTAVE = 24
LOWEST_HZ, HIGHEST_HZ, REFERENCE_HZ = 30.0, 17_000.0, 440.0
FEATURES = 272
# Of the inference.
SLOWEST_BPM, FASTEST_BPM = 55.0, 215.0
STEADINESS = 60.0
BEAT_SHARE = 1 / 56  # of a beat's states that count as the beat
GATE, FLOOR = 0.4, 0.03
REACH_S = 0.07
METER_CHANGE = 0.1
METERS = (2, 3, 4)


def filterbank():
    """(bins, bands): triangles between the bins nearest to a logarithmic scale, each of area 1."""
    bins = np.fft.fftfreq(FRAME, 1 / RATE)[: FRAME // 2]
    steps = np.arange(np.floor(np.log2(LOWEST_HZ / REFERENCE_HZ) * BANDS_PER_OCTAVE), np.ceil(np.log2(HIGHEST_HZ / REFERENCE_HZ) * BANDS_PER_OCTAVE))
    hz = REFERENCE_HZ * 2 ** (steps / BANDS_PER_OCTAVE)
    hz = hz[(hz >= LOWEST_HZ) & (hz <= HIGHEST_HZ)]
    at = np.unique(np.abs(bins[None] - hz[:, None]).argmin(1))
    bank = np.zeros((len(bins), len(at) - 2), np.float32)
    for band, (start, centre, stop) in enumerate(zip(at, at[1:], at[2:], strict=False)):
        if stop - start < 2:
            centre, stop = start, start + 1
        bank[start:centre, band] = np.linspace(0, 1, centre - start, endpoint=False)
        bank[centre:stop, band] = np.linspace(1, 0, stop - centre, endpoint=False)
    return bank / bank.sum(0)


def features(audio, rate: int):
    """Mono sound (N,) to (T, 272); frame t is centred on its own time."""
    audio = np.asarray(audio, np.float32)
    common = gcd(rate, RATE)
    if rate != RATE:
        audio = resample_poly(audio, RATE // common, rate // common).astype(np.float32)
    count = -(-len(audio) // HOP)
    padded = np.pad(audio, (FRAME // 2, FRAME + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, FRAME)[::HOP][:count]
    bank = filterbank()
    spectrum = np.abs(np.fft.rfft(frames * np.hanning(FRAME).astype(np.float32), axis=-1))[:, : FRAME // 2]
    bands = np.log10(1 + spectrum @ bank).astype(np.float32)
    rise = np.diff(bands, axis=0, prepend=bands[:1]).clip(0)
    return np.concatenate([bands, rise], 1)


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv1d(1, 2, 10)
        self.linear0 = nn.Linear(2 * ((FEATURES - 9) // 2), 150)
        self.lstm = nn.LSTM(150, 150, 2, batch_first=True)
        self.linear = nn.Linear(150, 3)

    def forward(self, x):
        """(T, 272) to probabilities (T, 3) of beat, downbeat, neither."""
        x = nn.functional.max_pool1d(self.conv1(x[:, None]).relu(), 2).flatten(1)  # (T, 262)
        x, _ = self.lstm(self.linear0(x)[None])
        return self.linear(x[0]).softmax(-1)


def load(path: Path):
    network = Network()
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network.eval()


class Tempi:
    """One beat at every tempo: the state `start[i] + k` is k frames into a beat of `length[i]`."""

    def __init__(self):
        self.length = np.arange(round(60 * FPS / FASTEST_BPM), round(60 * FPS / SLOWEST_BPM) + 1)
        self.start = np.cumsum(self.length) - self.length
        self.last = self.start + self.length - 1
        change = np.exp(-STEADINESS * np.abs(self.length[None] / self.length[:, None] - 1))
        self.change = change / change.sum(1, keepdims=True)
        self.count = int(self.length.sum())
        self.of = np.repeat(np.arange(len(self.length)), self.length)
        self.place = np.arange(self.count) - self.start[self.of]
        self.beat = self.place / self.length[self.of] < BEAT_SHARE

    def step(self, belief):
        moved = np.roll(belief, 1)
        moved[self.start] = belief[self.last] @ self.change
        return moved


def infer(probabilities):
    """(T, 3) to beats and downbeats, seconds, each told at the frame at which it is found."""
    tempi = Tempi()
    belief = np.full(tempi.count, 1 / tempi.count)
    meter_of = np.concatenate([np.full(m, i) for i, m in enumerate(METERS)])
    place = np.concatenate([np.arange(m) for m in METERS])
    bar = np.full(len(place), 1 / len(place))
    ends = place == np.array(METERS)[meter_of] - 1
    change = np.full((len(METERS), len(METERS)), METER_CHANGE / (len(METERS) - 1))
    np.fill_diagonal(change, 1 - METER_CHANGE)
    beats, downbeats, last = [], [], -1.0
    for t, (beat, down, _) in enumerate(probabilities):
        likely = max(beat, down)
        belief = tempi.step(belief)
        belief *= np.where(tempi.beat, likely if likely >= GATE else FLOOR, FLOOR)
        belief /= belief.sum()
        state = int(belief.argmax())
        length = tempi.length[tempi.of[state]]
        if tempi.place[state] > REACH_S * FPS or t / FPS - last < 0.4 * length / FPS:
            continue
        last = t / FPS
        beats.append(last)
        moved = np.roll(bar, 1)
        moved[place == 0] = bar[ends] @ change
        bar = moved * np.where(place == 0, down, beat)
        bar = bar / bar.sum() * 0.999 + 0.001 / len(bar)
        if place[bar.argmax()] == 0:
            downbeats.append(last)
    return np.array(beats), np.array(downbeats)


def tracker(weights: Path):
    """A function from a file of sound to its beats and downbeats, seconds."""
    from scipy.io import wavfile

    network = load(weights)

    def track(wav: Path):
        rate, audio = wavfile.read(wav)
        with torch.no_grad():
            probabilities = network(torch.from_numpy(features(audio / 32768, rate))).numpy()
        return infer(probabilities)

    return track
