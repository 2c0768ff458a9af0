"""Choreography: phrases of motion capture laid on a beat grid, so that kinematic beats fall on musical ones.

Each beat of music takes a stretch of source motion whose ends are kinematic beats where there are any; within the beat
the motion eases, slowest on the beat. Phrases blend on their borders; a groove (weight shift, bounce, nod) lies on
top; the feet are planted again at the end. Knows beats and energies, no audio.
"""

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter1d
from scipy.spatial.transform import Rotation

from . import bvh, clips, mocap
from . import skeleton as sk
from .phrases import FPS, Library, body_positions, joint_speed
from .skeleton import INDEX

BLEND_FRAMES = 9


@dataclass
class Piece:
    """A phrase: source frame positions at output frames first .. first + len - 1, margins for blending included."""

    clip: int
    first: int
    at: np.ndarray
    shift: np.ndarray  # (2,) x, z
    ease: float
    groove: float
    calm: bool


def warp(anchors, beat_position, first_beat, ease):
    """Source positions at beat positions (T,) from source anchors at first_beat, first_beat + 1, ..."""
    x = np.clip(beat_position - first_beat, 0, len(anchors) - 1 - 1e-6)
    j = x.astype(int)
    phase = x - j
    w = phase - ease * np.sin(2 * np.pi * phase) / (2 * np.pi)
    return anchors[j] + (anchors[j + 1] - anchors[j]) * w


def walk(rng, lib: Library, clip, start, beat_frames, speed):
    """Source anchors (n+1,) over beats of beat_frames (n,), turning back at the clip's ends, snapping to its kinematic beats."""
    last, beats = len(lib.speed[clip]) - 1.0, lib.beats[clip]
    out, way = [start], 1.0
    for d in beat_frames * speed:
        if not 0 <= out[-1] + way * d <= last:
            way = -way
        s = float(np.clip(out[-1] + way * d, 0, last))
        if len(beats):
            near = beats[np.abs(beats - s).argmin()]
            if abs(near - s) < 0.28 * d:
                s = float(near)
        out.append(s)
    return np.array(out)


def predicted_speed(lib: Library, clip, source):
    """Joint speed of the warped motion (T,) without making it."""
    s = np.clip(source, 0, len(lib.speed[clip]) - 1)
    return np.interp(s, np.arange(len(lib.speed[clip])), lib.speed[clip]) * np.abs(np.gradient(source))


def minima_score(speed, beats):
    """How much slower the motion is on the beats (frames) than between them, -1..1."""
    s = gaussian_filter1d(speed, 2.0, mode="nearest")
    on = np.interp(beats, np.arange(len(s)), s)
    off = np.interp((beats[1:] + beats[:-1]) / 2, np.arange(len(s)), s)
    return float((off.mean() - on.mean()) / (off.mean() + on.mean() + 1e-6))


def beat_positions(beats, times):
    """Fractional beat index at times (seconds); the grid goes on at both ends."""
    n = np.arange(len(beats))
    out = np.interp(times, beats, n)
    out = np.where(times < beats[0], (times - beats[0]) / (beats[1] - beats[0]), out)
    return np.where(times > beats[-1], n[-1] + (times - beats[-1]) / (beats[-1] - beats[-2]), out)


def choose(rng, lib, pool, bp, b0, n, f0, f1, beat_frames, energy, previous, style):
    """The best of some random phrases for beats b0 .. b0 + n, output frames f0 .. f1."""
    lo, hi = max(f0 - BLEND_FRAMES, 0), min(f1 + BLEND_FRAMES, len(bp))
    best = None
    beat_at = np.interp(np.arange(n + 1) + b0, bp[lo:hi], np.arange(hi - lo))
    sizes = np.array([len(lib.speed[k]) for k in pool], float)
    for _ in range(28):
        clip = pool[rng.choice(len(pool), p=sizes / sizes.sum())]
        ks = lib.beats[clip]
        start = float(rng.choice(ks)) if len(ks) else rng.uniform(0, len(lib.speed[clip]) - 1)
        speed = np.exp(rng.uniform(np.log(0.75), np.log(1.3)))
        ease = rng.uniform(0.66, 0.86)
        anchors = walk(rng, lib, clip, start, beat_frames, speed)
        source = warp(anchors, bp[lo:hi], b0, ease)
        v = predicted_speed(lib, clip, source)
        cost = abs(v.mean() / lib.scale - (0.2 + 0.9 * energy)) * 1.2 - 1.5 * minima_score(v, beat_at)
        if previous is not None:
            here = lib.positions[clip][int(np.clip(round(anchors[0]), 0, len(lib.speed[clip]) - 1))]
            cost += 5.0 * float(np.abs(here - previous).mean())
        if best is None or cost < best[0]:
            best = cost, clip, source, ease, anchors
    _, clip, source, ease, anchors = best
    return Piece(clip, lo, source, np.zeros(2), ease, rng.uniform(0.35, 1.0) * (0.5 + 0.7 * energy), style == "calm"), anchors


def calm_piece(rng, lib, bp, f0, f1):
    lo, hi = max(f0 - BLEND_FRAMES, 0), min(f1 + BLEND_FRAMES, len(bp))
    clip = int(rng.choice(lib.of_style("calm")))
    last = len(lib.speed[clip]) - 1
    x = rng.uniform(0, last) + np.arange(hi - lo)
    x = np.mod(x, 2 * last)
    return Piece(clip, lo, np.where(x > last, 2 * last - x, x), np.zeros(2), 0.0, 0.0, True)


def choreograph(rng, lib: Library, beats, seconds, energy, style, quiet=()):
    """beats (n,) seconds; energy (n,) 0..1 per beat; quiet: [(t0, t1)] without music. To features (T,162), quietness (T,) bool."""
    frames = int(seconds * FPS)
    times = np.arange(frames) / FPS
    bp = beat_positions(beats, times)
    calm = np.zeros(frames, bool)
    for t0, t1 in quiet:
        calm[(times >= t0) & (times < t1)] = True
    club = style == "club"
    pool = lib.of_style("calm") if club else list(lib.ids) if style == "free" else lib.of_style(style)
    pool = [k for k in pool if club or lib.clips.styles[lib.clips.style[k]] != "calm"] or list(lib.ids)
    pieces, f, previous, last = [], 0, None, None
    while f < frames:
        if calm[f]:
            end = f + int(np.argmax(~calm[f:])) if (~calm[f:]).any() else frames
            piece = calm_piece(rng, lib, bp, f, end)
            f_next, last = end, None
        else:
            b0 = int(np.floor(bp[f] + 0.5)) if f else int(np.floor(bp[0]))
            n = int(rng.choice([4, 8, 8])) - (b0 % 4)
            stop = calm[f:].argmax() + f if calm[f:].any() else frames
            f_next = min(int(np.searchsorted(bp, b0 + n)), stop, frames)
            f_next = max(f_next, f + 1)
            count = np.arange(b0, b0 + n + 1)
            grid = np.interp(count, np.arange(len(beats)), beats, left=np.nan, right=np.nan)
            step = np.median(np.diff(beats))
            grid = np.where(count < 0, beats[0] + count * step, np.where(count >= len(beats), beats[-1] + (count - len(beats) + 1) * step, grid))
            e = float(np.interp(b0 + n / 2, np.arange(len(energy)), energy))
            if last is not None and last[1] == n and rng.random() < 0.4:
                # The same phrase again to the other side.
                old, anchors = last[0], last[2]
                half = len(lib.clips) // 2
                lo, hi = max(f - BLEND_FRAMES, 0), min(f_next + BLEND_FRAMES, frames)
                piece = Piece((old.clip + half) % len(lib.clips), lo, warp(anchors, bp[lo:hi], b0, old.ease), np.zeros(2), old.ease, old.groove, old.calm)
                last = None
            else:
                piece, anchors = choose(rng, lib, pool, bp, b0, n, f, f_next, np.diff(grid) * FPS, e, previous, style)
                last = (piece, n, anchors)
        at_end = int(np.clip(f_next - piece.first, 0, len(piece.at) - 1))
        previous = lib.positions[piece.clip][int(np.clip(round(piece.at[at_end]), 0, len(lib.speed[piece.clip]) - 1))]
        pieces.append(piece)
        f = f_next
    out, groove = lay(lib, pieces, frames)
    return finish(rng, out, bp, groove, club), calm


def lay(lib, pieces, frames):
    """Blends the pieces: features (T,162), groove strength (T,)."""
    out, groove = np.zeros((frames, sk.FRAME_DIM), np.float32), np.zeros(frames)
    filled = 0
    for piece in pieces:
        x = clips.sample(lib.clips[piece.clip], piece.at)
        end = piece.first + len(x)
        over = max(min(filled, end) - piece.first, 0)
        w = np.ones(len(x), np.float32)
        if over:
            u = (np.arange(over) + 0.5) / over
            w[:over] = u * u * (3 - 2 * u)
        where = slice(piece.first, end)
        out[where] = out[where] * (1 - w[:, None]) + x * w[:, None]
        groove[where] = groove[where] * (1 - w) + piece.groove * w
        filled = max(filled, end)
    return clips.tidy(out), groove


def euler(order, *angles):
    return Rotation.from_euler(order, np.stack(np.broadcast_arrays(*angles), -1)).as_matrix()


def finish(rng, features, bp, groove, club):
    """Adds the groove, plants the feet by inverse kinematics, marks contacts and visibility again."""
    root, local, _, _, curls = sk.decode(features)
    root = root.copy()
    frames = len(root)
    pos, rot = sk.forward(root, local)
    ankles = {s: pos[:, INDEX[s + "Foot"]].copy() for s in ("left", "right")}
    feet = {s + b: rot[:, INDEX[s + b]].copy() for s in ("left", "right") for b in ("Foot", "Toes")}
    g = gaussian_filter1d(groove, 4, mode="nearest") * (3.0 if club else 1.0)
    eased = bp - 0.35 * np.sin(2 * np.pi * bp) / (2 * np.pi)
    sway = np.cos(np.pi * eased)  # at its ends, and still, on every beat
    dip = 0.5 + 0.5 * np.cos(2 * np.pi * bp)  # lowest on the beat
    root[:, 0] += 0.035 * g * sway
    root[:, 1] -= g * (0.018 * dip + 0.006)
    deg = np.pi / 180
    local[:, INDEX["hips"]] = euler("YXZ", 3 * deg * g * sway, 0, -3.0 * deg * g * sway) @ local[:, INDEX["hips"]]
    add = {"spine": euler("YXZ", 0, 1.5 * deg * g * dip, 2.5 * deg * g * sway), "chest": euler("YXZ", -4 * deg * g * sway, 0, 2.5 * deg * g * sway),
           "upperChest": euler("YXZ", -4 * deg * g * sway, 0, 1.5 * deg * g * sway), "neck": euler("YXZ", 0, 2.0 * deg * g * dip, -1.5 * deg * g * sway),
           "head": euler("YXZ", 2 * deg * g * sway, 3.0 * deg * g * dip, -2.5 * deg * g * sway)}  # fmt: skip
    if club:
        mood = rng.uniform(0.6, 1.2, 3)
        for s, sign in (("left", 1.0), ("right", -1.0)):
            swing = sign * sway * np.minimum(g, 1.6)
            add[s + "UpperArm"] = euler("YXZ", sign * (-20 * deg) * mood[0] + 14 * deg * swing * mood[2], -10 * deg * mood[0] + 12 * deg * swing, sign * 10 * deg * mood[1])
            add[s + "LowerArm"] = euler("YXZ", sign * -(62 * deg * mood[1] * np.minimum(g, 1) + 0) - 16 * deg * swing * mood[2], 0 * sway, 0 * sway)
    for name, r in add.items():
        local[:, INDEX[name]] = local[:, INDEX[name]] @ r
    pos, rot = sk.forward(root, local)
    world = {n: rot[:, INDEX[n]] for n in INDEX if INDEX[n] in sk.BODY}
    world.update(feet)
    on = features[:, sk.LAYOUT["contacts"]] > 0.5
    targets = {}
    for i, s in enumerate(("left", "right")):
        ankle = ankles[s]
        slow = np.linalg.norm(np.gradient(ankle, axis=0)[:, [0, 2]], axis=-1) * FPS < 0.9
        targets[s] = mocap.plant(ankle, on[:, i] & slow)
        targets[s][:, 1] = np.maximum(targets[s][:, 1], mocap.ANKLE_REST - 0.015)
    world = mocap.reach(pos, world, targets)
    local = bvh.local_rotations(world, frames)
    for b, q in sk.finger_rotations(curls[:, 0], curls[:, 1]).items():
        local[:, b] = q
    pos, _ = sk.forward(root, local)
    contact = gaussian_filter1d(mocap.contacts_of(pos).astype(float), 0.7, axis=0, mode="nearest")
    return sk.encode(root, local, contact, mocap.visibility(pos), curls)


def energy_of(features, scale):
    """How lively the motion is, 0..1 (T,): the joint speed over about two seconds."""
    return np.clip(gaussian_filter1d(joint_speed(body_positions(features)), 20, mode="nearest") / scale, 0, 1)
