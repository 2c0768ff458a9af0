"""Pitched instruments: one note in, its samples out.

Each patch is a pure function of (pitch, length, brightness, rate, channels). It must not know about songs or mixing.
Levels are set so that a note of velocity 1 has a peak near 1.
"""

import numpy as np
from scipy.signal import lfilter

from .synth_drums import band

PATCHES: dict = {}


def patch(function):
    PATCHES[function.__name__] = function
    return function


class Voice:
    """The time base and the building blocks of one note. gate_s is how long the key is held."""

    def __init__(self, pitch: float, gate_s: float, bright: float, rate: int, channels: int, tail_s: float):
        self.hz = 440.0 * 2 ** ((pitch - 69) / 12)
        self.pitch, self.gate_s, self.bright, self.rate, self.channels = pitch, gate_s, bright, rate, channels
        self.n = max(int((gate_s + tail_s) * rate), 64)
        self.t = np.arange(self.n, dtype=np.float32) / np.float32(rate)
        self.tail_s = tail_s
        self.rng = np.random.default_rng(int(pitch * 16) + 7919)

    def phase(self, cents: float = 0.0, vibrato: float = 0.0, start: float = 0.0) -> tuple[np.ndarray, float]:
        hz = self.hz * 2 ** (cents / 1200)
        p = np.float32(hz) * self.t + np.float32(start)
        if vibrato:
            depth = vibrato * np.clip((self.t - 0.18) * 4, 0, 1)
            p = p + np.float32(hz / 5.4 * 0.006) * depth * (1 - np.cos(2 * np.pi * 5.4 * self.t)) / (2 * np.pi) * 2
        return p, hz / self.rate

    def saw(self, cents=0.0, vibrato=0.0, start=0.0) -> np.ndarray:
        p, dt = self.phase(cents, vibrato, start)
        p = p - np.floor(p)
        y = 2 * p - 1
        for edge, sign in ((p < dt, 1.0), (p > 1 - dt, -1.0)):  # polyBLEP: rounds the jump off, so that it does not alias
            u = (p[edge] if sign > 0 else 1 - p[edge]) / dt
            y[edge] -= sign * (2 * u - u * u - 1)
        return y.astype(np.float32)

    def square(self, cents=0.0, width=0.5, vibrato=0.0) -> np.ndarray:
        return self.saw(cents, vibrato) - self.saw(cents, vibrato, start=width)

    def sine(self, ratio=1.0, vibrato=0.0, modulation=0.0) -> np.ndarray:
        p, _ = self.phase(0.0, vibrato)
        return np.sin(2 * np.pi * ratio * p + modulation, dtype=np.float32)

    def env(self, attack=0.003, decay=0.2, sustain=0.5, release=0.08) -> np.ndarray:
        t = self.t
        e = np.minimum(t / attack, 1) * (sustain + (1 - sustain) * np.exp(-np.maximum(t - attack, 0) / decay))
        e = e * np.exp(-np.maximum(t - self.gate_s, 0) / release)
        fade = min(self.n, int(0.006 * self.rate))
        e[self.n - fade :] *= np.linspace(1, 0, fade)
        return e.astype(np.float32)

    def sweep(self, x, low_hz, high_hz, decay_s, floor=0.0, order=2) -> np.ndarray:
        """A falling low-pass, made of two fixed filters and a cross-fade (time-varying filters are slow in numpy)."""
        dark, open_ = band(x, self.rate, None, low_hz, order), band(x, self.rate, None, high_hz, order)
        mix = (floor + (1 - floor) * np.exp(-self.t / decay_s)).astype(np.float32)
        return dark + (open_ - dark) * mix

    def place(self, *layers: tuple[np.ndarray, float]) -> np.ndarray:
        """Layers of (signal, pan) to (channels, samples)."""
        if self.channels == 1:
            return sum(x for x, _ in layers)[None].astype(np.float32)
        left = sum(x * np.float32(np.cos((pan + 1) * np.pi / 4) * 1.414) for x, pan in layers)
        right = sum(x * np.float32(np.sin((pan + 1) * np.pi / 4) * 1.414) for x, pan in layers)
        return np.stack([left, right]).astype(np.float32)


# --- bass ---------------------------------------------------------------------------------------------------


@patch
def bass_sub(v: Voice):
    x = np.tanh(1.5 * v.sine()) + 0.18 * v.sine(2) + 0.06 * v.sine(3)
    return v.place((0.8 * x * v.env(0.006, 0.4, 0.75, 0.05), 0))


@patch
def bass_saw(v: Voice):
    x = 0.6 * v.saw(-4) + 0.6 * v.saw(5) + 0.7 * v.sine()
    x = v.sweep(x, 260, 900 + 2600 * v.bright, 0.12, 0.15)
    return v.place((0.7 * np.tanh(1.3 * x) * v.env(0.003, 0.25, 0.7, 0.04), 0))


@patch
def bass_acid(v: Voice):
    x = v.saw()
    squelch = band(x, v.rate, 500 + 500 * v.bright, 900 + 1900 * v.bright) * np.exp(-v.t / 0.11)
    x = band(x, v.rate, None, 380) + 1.6 * squelch
    return v.place((0.8 * np.tanh(1.8 * x) * v.env(0.002, 0.2, 0.6, 0.03), 0))


@patch
def bass_reese(v: Voice):
    x = 0.5 * (v.saw(-14) + v.saw(13) + 0.7 * v.saw(2))
    x = band(x, v.rate, None, 700 + 900 * v.bright)
    return v.place((0.8 * np.tanh(1.4 * x + 0.6 * v.sine()) * v.env(0.006, 0.6, 0.85, 0.05), 0))


@patch
def bass_finger(v: Voice):
    x = v.sine() + 0.55 * v.sine(2) * np.exp(-v.t / 0.22) + 0.3 * v.sine(3) * np.exp(-v.t / 0.1) + 0.15 * v.sine(4) * np.exp(-v.t / 0.06)
    x = x + (0.2 + 0.3 * v.bright) * band(v.rng.standard_normal(v.n, dtype=np.float32), v.rate, 700, 2600) * np.exp(-v.t / 0.008)
    return v.place((0.62 * np.tanh(1.2 * x) * v.env(0.004, 0.5, 0.35, 0.05), 0))


@patch
def bass_slap(v: Voice):
    x = v.sweep(v.saw() + 0.5 * v.square(0, 0.3), 330, 2800 + 2500 * v.bright, 0.05, 0.04) + 0.7 * v.sine()
    x = x + 0.5 * band(v.rng.standard_normal(v.n, dtype=np.float32), v.rate, 1800, 5200) * np.exp(-v.t / 0.006)
    return v.place((0.55 * np.tanh(1.3 * x) * v.env(0.002, 0.28, 0.4, 0.035), 0))


@patch
def bass_808(v: Voice):
    drop = np.exp(-v.t / 0.02) * 0.5
    x = np.sin(2 * np.pi * (v.hz * v.t + drop * 0.6), dtype=np.float32)
    return v.place((0.85 * np.tanh(2.2 * x) * v.env(0.004, 0.7, 0.3, 0.12), 0))


# --- chords -------------------------------------------------------------------------------------------------


@patch
def pad(v: Voice):
    cut = 900 + 2600 * v.bright
    a, b, c = (band(v.saw(cents, start=s), v.rate, None, cut) for cents, s in ((-9, 0.1), (8, 0.6), (1, 0.3)))
    e = v.env(min(0.25, 0.4 * v.gate_s + 0.02), 1.5, 0.85, 0.3)
    return v.place((0.4 * a * e, -0.8), (0.4 * b * e, 0.8), (0.35 * c * e, 0))


@patch
def strings(v: Voice):
    cut = 1800 + 3500 * v.bright
    layers = [(band(v.saw(cents, 0.6, s), v.rate, 150, cut), pan) for cents, s, pan in ((-6, 0.2, -0.6), (5, 0.7, 0.6), (0, 0.4, 0))]
    e = v.env(0.09, 1.0, 0.9, 0.22)
    return v.place(*((0.38 * x * e, pan) for x, pan in layers))


@patch
def epiano(v: Voice):
    tine = np.exp(-v.t / 0.35) * (0.5 + 1.4 * v.bright)
    x = v.sine(1, 0, (tine * v.sine(1)).astype(np.float32)) + 0.16 * v.sine(14) * np.exp(-v.t / 0.05)
    tremolo = 0.35 * np.sin(2 * np.pi * 4.7 * v.t)
    e = 0.62 * v.env(0.002, 0.9, 0.2, 0.12)
    return v.place((x * e * (0.5 + 0.5 * tremolo), -0.55), (x * e * (0.5 - 0.5 * tremolo), 0.55))


@patch
def piano(v: Voice):
    x = np.zeros(v.n, np.float32)
    for k in range(1, 9):
        hz = v.hz * k * np.sqrt(1 + 0.0004 * k * k)
        if hz > 0.45 * v.rate:
            break
        level = (0.55 + 0.4 * v.bright) ** (k - 1) * (0.85 if k % 7 else 0.2)
        x += level * np.sin(2 * np.pi * np.float32(hz) * v.t + 0.3 * k, dtype=np.float32) * np.exp(-v.t * (0.9 + 0.75 * k))
    x += 0.12 * band(v.rng.standard_normal(v.n, dtype=np.float32), v.rate, 400, 2500) * np.exp(-v.t / 0.012)
    side = float(np.clip((v.pitch - 62) / 40, -0.4, 0.4))
    return v.place((0.55 * x * v.env(0.002, 1.2, 0.35, 0.1), side))


@patch
def pluck(v: Voice):
    x = v.sweep(0.5 * v.saw(-6) + 0.5 * v.saw(6) + 0.25 * v.square(0, 0.35), 420, 1800 + 5200 * v.bright, 0.09, 0.02)
    return v.place((0.7 * x * v.env(0.002, 0.16, 0.12, 0.12), 0))


@patch
def stab(v: Voice):
    a, b = (v.sweep(v.saw(c1, start=0.2) + 0.6 * v.saw(c2), 500, 2200 + 4200 * v.bright, 0.14, 0.12) for c1, c2 in ((-11, 3), (10, -4)))
    e = 0.36 * v.env(0.002, 0.22, 0.35, 0.09)
    return v.place((a * e, -0.75), (b * e, 0.75))


@patch
def organ(v: Voice):
    x = sum(level * v.sine(r) for r, level in ((0.5, 0.5), (1, 0.9), (1.5, 0.35), (2, 0.5), (3, 0.25), (4, 0.2), (6, 0.12)))
    x = x + 0.25 * v.sine(3) * np.exp(-v.t / 0.06)
    return v.place((0.34 * x * v.env(0.004, 1, 0.95, 0.03), 0))


def _string(v: Voice, damping: float, bright: float) -> np.ndarray:
    """Karplus-Strong: a burst of noise in a delay line with a gentle low-pass."""
    delay = max(v.rate / v.hz - 0.5, 2.0)
    whole, part = int(delay), delay - int(delay)
    excite = np.zeros(v.n, np.float32)
    excite[: whole + 1] = v.rng.uniform(-1, 1, min(whole + 1, v.n)).astype(np.float32)
    excite = band(excite, v.rate, None, 1500 + 6000 * bright, 1)
    feedback = np.zeros(whole + 3)
    feedback[0] = 1
    feedback[whole : whole + 3] = -damping * np.array([0.5 * (1 - part), 0.5, 0.5 * part])
    return lfilter([1.0], feedback, excite).astype(np.float32)


@patch
def guitar(v: Voice):
    return v.place((0.9 * _string(v, 0.994, v.bright) * v.env(0.001, 1.2, 0.5, 0.05), 0.25))


@patch
def guitar_mute(v: Voice):
    return v.place((1.0 * _string(v, 0.965, v.bright) * v.env(0.001, 0.09, 0.1, 0.02), -0.35))


@patch
def guitar_drive(v: Voice):
    x = _string(v, 0.997, v.bright) + 0.5 * v.saw(3) * np.minimum(v.t / 0.01, 1)
    x = band(np.tanh(5 * x), v.rate, 90, 4200)
    return v.place((0.42 * x * v.env(0.002, 1.2, 0.8, 0.04), -0.4))


@patch
def brass(v: Voice):
    x = v.saw(-5, 0.4) + v.saw(6, 0.4)
    swell = np.minimum(v.t / 0.05, 1) * (0.5 + 0.5 * np.exp(-v.t / 0.25))
    x = band(x, v.rate, None, 900) + (band(x, v.rate, None, 2500 + 3000 * v.bright) - band(x, v.rate, None, 900)) * swell
    return v.place((0.42 * x * v.env(0.02, 0.4, 0.75, 0.06), 0.15))


# --- leads --------------------------------------------------------------------------------------------------


@patch
def lead_saw(v: Voice):
    cut = 2200 + 5000 * v.bright
    layers = [(v.saw(cents, 1.0, s), pan) for cents, s, pan in ((-10, 0.1, -0.6), (0, 0.5, 0), (9, 0.8, 0.6))]
    e = 0.36 * v.env(0.006, 0.4, 0.75, 0.12)
    return v.place(*((band(x, v.rate, None, cut) * e, pan) for x, pan in layers))


@patch
def lead_square(v: Voice):
    x = band(v.square(0, 0.5, 1.0) + 0.4 * v.square(7, 0.25, 1.0), v.rate, None, 1800 + 4500 * v.bright)
    return v.place((0.5 * x * v.env(0.005, 0.3, 0.7, 0.1), 0))


@patch
def lead_bell(v: Voice):
    x = v.sine(1, 0, (1.8 * (0.4 + v.bright) * np.exp(-v.t / 0.2) * v.sine(3.5)).astype(np.float32)) + 0.3 * v.sine(2) * np.exp(-v.t / 0.3)
    return v.place((0.62 * x * v.env(0.002, 0.45, 0.08, 0.25), 0))


@patch
def lead_flute(v: Voice):
    breath = band(v.rng.standard_normal(v.n, dtype=np.float32), v.rate, v.hz, v.hz * 3) * 0.2
    x = v.sine(1, 1.0) + 0.22 * v.sine(2, 1.0) + 0.08 * v.sine(3, 1.0) + breath
    return v.place((0.65 * x * v.env(0.045, 0.5, 0.85, 0.08), 0.1))


@patch
def lead_voice(v: Voice):
    """A sung 'ah': a saw through three formants."""
    x = v.saw(-4, 1.2) + v.saw(5, 1.2)
    x = sum(level * band(x, v.rate, hz * 0.88, hz * 1.14) for hz, level in ((760, 1.0), (1200, 0.7), (2700, 0.4))) + 0.25 * band(x, v.rate, None, 500)
    return v.place((0.75 * x * v.env(0.03, 0.5, 0.85, 0.1), 0))


TAIL_S = {"pad": 0.9, "strings": 0.7, "bass_808": 0.35, "lead_bell": 0.8, "epiano": 0.4, "piano": 0.35, "lead_saw": 0.35, "pluck": 0.35, "stab": 0.3}


def note(name: str, pitch: float, gate_s: float, bright: float, rate: int, channels: int) -> np.ndarray:
    """One note of a patch: (channels, samples) float32. bright 0..1 opens its filter."""
    return PATCHES[name](Voice(pitch, gate_s, bright, rate, channels, TAIL_S.get(name, 0.2)))
