"""Drum one-shots by General MIDI number, in three flavours: 808, 909 and acoustic.

Each one-shot is a pure function of (kit, number, rate). It must not know about time, patterns or mixing.
"""

from dataclasses import dataclass

import numpy as np
from scipy.signal import butter, sosfilt

# General MIDI percussion numbers used by the patterns.
KICK, RIM, SNARE, CLAP, TOM_LOW, HAT, TOM_MID, PEDAL_HAT, TOM_HIGH, OPEN_HAT = 36, 37, 38, 39, 45, 42, 47, 44, 50, 46
CRASH, RIDE, TAMBOURINE, COWBELL, CONGA_MUTE, CONGA_HIGH, CONGA_LOW, CABASA, CLAVE, SHAKER = 49, 51, 54, 56, 62, 63, 64, 69, 75, 82
FLAVOURS = ("808", "909", "acoustic")

# Numbers that are not synthesised themselves play their nearest neighbour.
ALIASES = {
    35: KICK, 40: SNARE, 41: TOM_LOW, 43: TOM_LOW, 48: TOM_HIGH, 52: CRASH, 53: RIDE, 55: CRASH, 57: CRASH, 59: RIDE,
    60: CONGA_HIGH, 61: CONGA_LOW, 65: TOM_HIGH, 66: TOM_MID, 67: COWBELL, 68: COWBELL, 70: SHAKER, 73: CABASA,
    74: CABASA, 76: CLAVE, 77: CLAVE, 80: HAT, 81: OPEN_HAT, 31: RIM, 58: CABASA,
}  # fmt: skip

# Where each drum sits from the drummer's seat, -1 left to 1 right, and how much of the room it excites.
PAN = {HAT: 0.22, PEDAL_HAT: 0.22, OPEN_HAT: 0.22, RIDE: -0.3, CRASH: -0.25, TOM_LOW: 0.35, TOM_MID: 0.0, TOM_HIGH: -0.35,
       SHAKER: -0.35, TAMBOURINE: 0.35, COWBELL: 0.25, CONGA_HIGH: -0.3, CONGA_LOW: 0.3, CONGA_MUTE: -0.2, CABASA: -0.4,
       CLAVE: 0.3, RIM: 0.12}  # fmt: skip
ROOM = {KICK: 0.02, SNARE: 0.5, CLAP: 0.7, RIM: 0.4, CRASH: 0.4, HAT: 0.08, OPEN_HAT: 0.12, CLAVE: 0.6}


@dataclass(frozen=True)
class Kit:
    """A drum kit. tune, decay and tone are factors near 1; seed fixes the noise."""

    flavour: str = "909"
    tune: float = 1.0
    decay: float = 1.0
    tone: float = 1.0
    seed: int = 0


def band(x: np.ndarray, rate: int, low: float | None, high: float | None, order: int = 2) -> np.ndarray:
    """Butterworth band, low or high pass (Hz); edges beyond Nyquist are left open."""
    top = 0.48 * rate
    high = None if high is None or high >= top else high
    low = None if low is None else min(low, 0.9 * top)
    if low is None and high is None:
        return x
    if low is None:
        sos = butter(order, high, "low", fs=rate, output="sos")
    elif high is None:
        sos = butter(order, low, "high", fs=rate, output="sos")
    else:
        sos = butter(order, [low, max(high, low * 1.2)], "band", fs=rate, output="sos")
    return sosfilt(sos, x).astype(np.float32)


def _time(seconds: float, rate: int) -> np.ndarray:
    return np.arange(int(seconds * rate), dtype=np.float32) / np.float32(rate)


def _sweep(t: np.ndarray, low_hz: float, high_hz: float, tau_s: float) -> np.ndarray:
    """A sine whose pitch falls exponentially from high to low; the phase is the exact integral."""
    phase = low_hz * t + (high_hz - low_hz) * tau_s * (1 - np.exp(-t / tau_s))
    return np.sin(2 * np.pi * phase, dtype=np.float32)


def _metal(t: np.ndarray, base_hz: float) -> np.ndarray:
    """Six inharmonic square waves, the source of the classic analogue hats and cymbals."""
    ratios = (1.0, 1.304, 1.466, 1.787, 1.932, 2.536)
    out = np.zeros_like(t)
    for ratio in ratios:
        out += np.where((t * np.float32(base_hz * ratio)) % 1 < 0.5, 1, -1).astype(np.float32)
    return out / len(ratios)


def _fade(x: np.ndarray, rate: int, seconds: float = 0.004) -> np.ndarray:
    n = min(len(x), int(seconds * rate))
    x[len(x) - n :] *= np.linspace(1, 0, n, dtype=np.float32)
    return x


def drum(kit: Kit, number: int, rate: int) -> np.ndarray:
    """One hit, mono float32, peak near 1. Unknown numbers sound as a closed hat."""
    number = ALIASES.get(number, number)
    rng = np.random.default_rng((kit.seed, number))
    noise = lambda t: rng.standard_normal(len(t), dtype=np.float32)  # noqa: E731
    d, tune, tone = kit.decay, kit.tune, kit.tone
    analogue = kit.flavour != "acoustic"

    if number == KICK:
        if kit.flavour == "808":
            t = _time(0.75 * d, rate)
            x = _sweep(t, 47 * tune, 150, 0.022) * np.exp(-t / (0.24 * d))
            x = np.tanh(1.6 * x) + 0.12 * band(noise(t), rate, 900, 5000) * np.exp(-t / 0.004)
        elif kit.flavour == "909":
            t = _time(0.42 * d, rate)
            x = _sweep(t, 51 * tune, 260, 0.028) * np.exp(-t / (0.13 * d))
            x = np.tanh(2.2 * x) + 0.35 * tone * band(noise(t), rate, 1500, 9000) * np.exp(-t / 0.005)
        else:
            t = _time(0.32 * d, rate)
            x = _sweep(t, 60 * tune, 140, 0.016) * np.exp(-t / (0.085 * d))
            x = x + 0.3 * _sweep(t, 105 * tune, 160, 0.01) * np.exp(-t / 0.04)
            x = x + 0.4 * tone * band(noise(t), rate, 1800, 6000) * np.exp(-t / 0.007)
    elif number in (SNARE, RIM):
        if number == RIM:
            t = _time(0.09, rate)
            x = (np.sin(2 * np.pi * 1720 * tune * t) + 0.6 * np.sin(2 * np.pi * 790 * tune * t)) * np.exp(-t / 0.012)
            x = x + 0.3 * band(noise(t), rate, 2500, 9000) * np.exp(-t / 0.006)
        else:
            t = _time(0.34 * d, rate)
            shell = 185 * tune if analogue else 205 * tune
            body = _sweep(t, shell, shell * 1.7, 0.012) * np.exp(-t / 0.075) + 0.5 * _sweep(t, shell * 1.78, shell * 2.2, 0.01) * np.exp(-t / 0.045)
            wires = band(noise(t), rate, 1400 if analogue else 1000, 9500) * (np.exp(-t / (0.085 * d)) + 0.5 * np.exp(-t / 0.018))
            x = 0.75 * body + 0.75 * tone * wires
            x = np.tanh(1.4 * x)
    elif number == CLAP:
        t = _time(0.36 * d, rate)
        env = np.exp(-t / (0.075 * d)) * 0.55
        for k, start in enumerate((0.0, 0.011, 0.021, 0.030)):
            env = env + np.where(t >= start, np.exp(-(t - start) / (0.006 if k < 3 else 0.03)), 0)
        x = band(noise(t), rate, 800 * tune, 3600 * tone) * env
    elif number in (HAT, PEDAL_HAT, OPEN_HAT):
        seconds = {HAT: 0.09, PEDAL_HAT: 0.06, OPEN_HAT: 0.5}[number] * d
        t = _time(seconds, rate)
        source = 0.9 * _metal(t, 420 * tune) + (0.35 if analogue else 0.8) * noise(t)
        tau = {HAT: 0.022, PEDAL_HAT: 0.014, OPEN_HAT: 0.17}[number] * d
        x = band(source, rate, 6800 * tone, None, 4) * np.exp(-t / tau)
    elif number in (CRASH, RIDE):
        t = _time(1.9 * d if number == CRASH else 0.9 * d, rate)
        source = 0.6 * _metal(t, 330 * tune) + 0.5 * _metal(t, 517 * tune) + (0.7 if number == CRASH else 0.25) * noise(t)
        x = band(source, rate, 3200, None) * (np.exp(-t / (0.55 * d if number == CRASH else 0.3 * d)) + 0.4 * np.exp(-t / 0.02))
        if number == RIDE:
            x = x + 0.25 * np.sin(2 * np.pi * 3150 * tune * t) * np.exp(-t / 0.12)
    elif number in (TOM_LOW, TOM_MID, TOM_HIGH):
        low = {TOM_LOW: 82, TOM_MID: 118, TOM_HIGH: 164}[number] * tune
        t = _time(0.5 * d, rate)
        x = _sweep(t, low, low * 1.6, 0.03) * np.exp(-t / (0.15 * d))
        x = np.tanh(1.5 * x) + 0.14 * band(noise(t), rate, 500, 5000) * np.exp(-t / 0.03)
    elif number in (CONGA_HIGH, CONGA_LOW, CONGA_MUTE):
        low = {CONGA_HIGH: 330, CONGA_LOW: 215, CONGA_MUTE: 345}[number] * tune
        t = _time(0.3, rate)
        x = _sweep(t, low, low * 1.25, 0.01) * np.exp(-t / (0.03 if number == CONGA_MUTE else 0.09))
        x = x + 0.4 * band(noise(t), rate, 700, 4500) * np.exp(-t / 0.006)
    elif number in (SHAKER, CABASA):
        t = _time(0.13, rate)
        x = band(noise(t), rate, 4500 * tone, None) * np.minimum(t / 0.018, 1) * np.exp(-np.maximum(t - 0.018, 0) / 0.026)
    elif number == TAMBOURINE:
        t = _time(0.22, rate)
        x = band(_metal(t, 1270) + 0.4 * noise(t), rate, 5500, None) * (np.exp(-t / 0.02) + 0.35 * np.exp(-t / 0.07))
    elif number == COWBELL:
        t = _time(0.28, rate)
        x = band(np.sign(np.sin(2 * np.pi * 540 * tune * t)) + np.sign(np.sin(2 * np.pi * 800 * tune * t)), rate, 500, 4200)
        x = x * (0.6 * np.exp(-t / 0.015) + 0.4 * np.exp(-t / 0.09))
    elif number == CLAVE:
        t = _time(0.08, rate)
        x = np.sin(2 * np.pi * 2480 * tune * t) * np.exp(-t / 0.016)
    else:
        return drum(kit, HAT, rate)
    x = np.asarray(x, dtype=np.float32)
    return _fade(x / (np.max(np.abs(x)) + 1e-9), rate)
