"""Kinematic beats and the library of phrases that choreography is cut from. Knows no music.

A kinematic beat is a local minimum of the mean speed of the body's joints.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d

from . import skeleton as sk
from .clips import Clips

FPS = 30
SMOOTH = 2.5  # frames at 30 fps: 83 ms, the field's 5 frames at 60


def joint_speed(positions):
    """(T,J,3) or (T,J,2) metres to the mean speed (T,) in m/s."""
    v = np.gradient(positions, axis=0) * FPS
    return np.linalg.norm(v, axis=-1).mean(-1)


def kinematic_beats(speed, smooth=SMOOTH):
    """(T,) to fractional frames of the local minima of the smoothed speed."""
    s = gaussian_filter1d(speed, smooth, mode="nearest")
    i = np.flatnonzero((s[1:-1] <= s[:-2]) & (s[1:-1] < s[2:])) + 1
    a, b, c = s[i - 1], s[i], s[i + 1]
    return i + 0.5 * (a - c) / (a - 2 * b + c + 1e-9)


def body_positions(features):
    """(T,162) to the positions of the body's joints without fingers (T,23,3)."""
    return sk.positions(features)[:, sk.BODY]


@dataclass
class Library:
    """Per clip: features, joint positions, joint speed, kinematic beats and slow energy (m/s)."""

    clips: Clips
    ids: np.ndarray  # usable clips
    positions: dict
    speed: dict
    beats: dict
    energy: dict
    scale: float  # the joint speed that counts as energy 1

    @staticmethod
    def build(clips: Clips, test: bool) -> "Library":
        ids = np.flatnonzero(clips.test == test)
        positions = {k: body_positions(clips[k]).astype(np.float32) for k in ids}
        speed = {k: joint_speed(p) for k, p in positions.items()}
        energy = {k: gaussian_filter1d(s, 15, mode="nearest") for k, s in speed.items()}
        beats = {k: kinematic_beats(s) for k, s in speed.items()}
        return Library(clips, ids, positions, speed, beats, energy, 1.1)

    def of_style(self, style: str):
        return [k for k in self.ids if self.clips.styles[self.clips.style[k]] == style]
