"""Causal audio features: log-mel and onset strength at 60 Hz from 24 kHz mono. The twin of engine/src/features.rs.

Row i of `extract` is hop i + 1: the frame that ends when sample 400 * (i + 1) has arrived.
"""

import numpy as np

RATE, HOP, WINDOW, BANDS = 24_000, 400, 1024, 80
HOP_HZ = RATE // HOP
HOPS_PER_STEP = 4
FEATURE_DIM = BANDS + 1
MUSIC_DIM = HOPS_PER_STEP * FEATURE_DIM
LOW_HZ, HIGH_HZ = 30.0, 11_000.0


def mel_filters() -> np.ndarray:
    """(bins 513, bands 80) triangles of peak 1; a band that catches no bin takes its nearest with weight 1."""
    mel = lambda f: 2595.0 * np.log10(1.0 + f / 700.0)  # noqa: E731
    edges = 700.0 * (10.0 ** (np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BANDS + 2) / 2595.0) - 1.0)
    bins = np.arange(WINDOW // 2 + 1) * RATE / WINDOW
    out = np.zeros((len(bins), BANDS))
    for b in range(BANDS):
        low, mid, high = edges[b : b + 3]
        out[:, b] = np.clip(np.minimum((bins - low) / (mid - low), (high - bins) / (high - mid)), 0, None)
        if not out[:, b].any():
            out[np.abs(bins - mid).argmin(), b] = 1.0
    return out


_FILTERS = mel_filters().astype(np.float32)
_HANN = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


def extract(audio) -> np.ndarray:
    """(samples,) to (samples // 400, 81): 80 bands of 0.25 * ln(1 + 10 P / 1024), then onset strength."""
    x = np.concatenate([np.zeros(WINDOW, np.float32), np.asarray(audio, np.float32)])
    count = len(audio) // HOP
    out = np.empty((count, FEATURE_DIM), np.float32)
    logmel = np.empty((count, BANDS), np.float32)
    for a in range(0, count, 4096):
        h = np.arange(a, min(a + 4096, count)) + 1
        frames = x[(h * HOP)[:, None] + np.arange(WINDOW)] * _HANN
        power = np.abs(np.fft.rfft(frames, axis=-1)).astype(np.float32) ** 2
        logmel[a : a + len(h)] = np.log(1.0 + 10.0 * (power @ _FILTERS) / 1024.0)
    before = np.zeros_like(logmel)
    before[2:] = logmel[:-2]
    edge = np.pad(before, ((0, 0), (1, 1)), mode="edge")
    highest = np.maximum(np.maximum(edge[:, :-2], edge[:, 1:-1]), edge[:, 2:])
    out[:, :BANDS] = 0.25 * logmel
    out[:, BANDS] = np.maximum(0.0, logmel - highest).mean(-1)
    return out


def music_tokens(features, hops) -> np.ndarray:
    """features (H,81) and the count of hops that have arrived at each step (T,): (T,324), oldest hop first; zeros before the start."""
    padded = np.concatenate([np.zeros((HOPS_PER_STEP, FEATURE_DIM), features.dtype), features])
    hops = np.clip(np.asarray(hops), 0, len(features))
    return padded[hops[:, None] + np.arange(HOPS_PER_STEP)].reshape(len(hops), MUSIC_DIM)


def beat_vector(beat_phase, bar_phase, bpm, confidence) -> np.ndarray:
    """(T,) each to (T,8), zeros where the confidence is below 0.05."""
    b, r = 2 * np.pi * np.asarray(beat_phase), 2 * np.pi * np.asarray(bar_phase)
    c = np.asarray(confidence, float) + 0 * b
    out = np.stack([np.sin(b), np.cos(b), np.sin(r), np.cos(r), np.sin(2 * b), np.cos(2 * b), np.asarray(bpm) / 120.0 + 0 * b, c], -1)
    return np.where(c[..., None] < 0.05, 0.0, out).astype(np.float32)


def augment(audio, rng) -> np.ndarray:
    """Gain -12 to +6 dB, two broad equaliser tilts, sometimes noise, clipping or a small room."""
    from scipy.signal import lfilter, oaconvolve

    x = np.asarray(audio, np.float32)
    for _ in range(2):
        if rng.random() < 0.6:  # first-order shelves
            pole, amount = np.exp(-2 * np.pi * np.exp(rng.uniform(np.log(100), np.log(4000))) / RATE), rng.uniform(-0.7, 0.9)
            x = x + amount * lfilter([1 - pole], [1, -pole], x).astype(np.float32)
    if rng.random() < 0.25:
        n = int(rng.uniform(0.1, 0.5) * RATE)
        ir = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n) * 0.03
        ir[0] += 1
        x = oaconvolve(x, ir.astype(np.float32))[: len(x)].astype(np.float32)
    x = x / (np.sqrt(np.mean(x**2)) + 1e-6) * 0.15 if rng.random() < 0.5 else x
    if rng.random() < 0.35:
        x = x + rng.standard_normal(len(x), dtype=np.float32) * np.float32(10 ** (rng.uniform(-50, -22) / 20))
    x = x * np.float32(10 ** (rng.uniform(-12, 6) / 20))
    return np.clip(x, -1, 1).astype(np.float32)
