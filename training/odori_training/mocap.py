"""Motion capture to stage-ready clips: 30 Hz features on our skeleton, near the centre and facing the camera.

    python -m odori_training.mocap --data DIR [--out OUT]

Writes OUT/clips.safetensors (frames, clip_start, clip_style, clip_test, clip_mirror; metadata names, styles) and
OUT/READY. Cuts spins and waiting, takes slow drift and slow turning out of the root, plants the feet again, marks contacts,
gives the fingers curls and every keypoint its visibility. Knows no music.
"""

import argparse
import json
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from scipy.interpolate import interp1d
from scipy.ndimage import binary_closing, binary_opening, gaussian_filter1d, uniform_filter1d
from scipy.spatial.transform import Rotation, Slerp
from tqdm import tqdm

from . import bvh, glb
from . import skeleton as sk
from .skeleton import INDEX, OFFSETS

FPS = 30
STYLES = ["free", "modern", "salsa", "indian", "pop", "street", "calm", "club"]
# Held out: whole files, both partners of a salsa pair, a quarter of each style that has more than one dancer's take. Of 6,000 drawn splits
# one whose two parts are alike in variety, speed and how physical they are: held out by chance, a few minutes are seldom like the rest.
TEST_FILES = {"05_04", "05_12", "131_01", "indian_04", "indian_15", "salsa_02", "salsa_17", "salsa_03", "salsa_18", "salsa_12", "salsa_27"}
# Dances among the animations that are not recordings, each a loop.
ANIMATIONS = {"human-addon-animations.glb": ["Dance Body Roll", "Dance Charleston", "Dance Reach Hip"], "human-base-animations.glb": ["Dance_Loop"]}
LOOP_SECONDS = 7.0
SPIN_RAD_S, MAX_YAW_RAD, STAGE_M = 1.9, np.deg2rad(60), 0.55
_L, _R = {n: INDEX["left" + n] for n in ("UpperLeg", "LowerLeg", "Foot", "Toes")}, {n: INDEX["right" + n] for n in ("UpperLeg", "LowerLeg", "Foot", "Toes")}
TOE_REST, ANKLE_REST = 0.02, 0.08
# Who moves less than this, in the mean of these joints and of a second, waits.
WAITS_M_S = 0.2
MOVING = [INDEX[n] for n in ("head", "hips", *(side + part for side in ("left", "right") for part in ("LowerArm", "Hand", "LowerLeg", "Foot")))]
# A head looks no farther aside, up or down than this from its neck.
FARTHEST_HEAD_RAD = 1.05


def style_of(name: str) -> str:
    for start, style in (("05", "modern"), ("salsa", "salsa"), ("indian", "indian"), ("94", "indian"), ("131", "pop"), ("jesse", "street"), ("dance", "street")):
        if name.startswith(start):
            return style
    return "free"


def soft_limit(x, limit):
    return limit * np.tanh(x / limit)


def resample(root, world, fps):
    """To 30 Hz: positions linearly, rotations along the arc."""
    t = np.arange(len(root)) / fps
    new = np.arange(0, t[-1], 1 / FPS)
    root = gaussian_filter1d(root, 0.6, axis=0)
    out = {n: Slerp(t, Rotation.from_matrix(r))(new).as_matrix() for n, r in world.items()}
    return interp1d(t, root, axis=0)(new), out


def upright(local, farthest):
    """Local rotations (T,3,3) of a head or a foot, the right side up: as `upright` in engine/src/pose.rs."""
    q = Rotation.from_matrix(local).as_quat()  # x, y, z, w
    roll = np.mod(2 * np.arctan2(q[:, 2], q[:, 3]), np.pi)
    roll = np.where(roll > np.pi / 2, roll - np.pi, roll)
    led_back = np.copysign(np.minimum(np.abs(roll), np.pi / 2 - np.abs(roll)), roll)
    zero = np.zeros(len(q))
    twist = np.stack([zero, zero, q[:, 2], q[:, 3]], -1)
    twist[np.linalg.norm(twist, axis=-1) < 1e-6] = [0, 0, 0, 1]
    swing = (Rotation.from_matrix(local) * Rotation.from_quat(twist).inv()).as_rotvec()
    angle = np.linalg.norm(swing, axis=-1, keepdims=True)
    swing = swing * np.minimum(1, np.maximum(2 * farthest - angle, 0) / np.maximum(angle, 1e-9))
    return (Rotation.from_rotvec(swing) * Rotation.from_euler("z", led_back[:, None])).as_matrix()


def level(local):
    """Local rotations (T,J,3,3) with the head turned by one rotation, so that over the take it is neither bowed nor tilted on average.
    A head's markers are put on by hand, and askew on some: one dancer (05) would look at the floor in front of an upright chest all day."""
    _, world = sk.forward(np.zeros((len(local), 3)), local)
    ahead = sk.rot_y(-sk.yaw_of(world[:, INDEX["upperChest"]])) @ world[:, INDEX["head"]]
    mean = Rotation.from_matrix(ahead).mean()
    tilt = Rotation.from_matrix(sk.rot_y(-sk.yaw_of(mean.as_matrix()[None]))[0]) * mean
    local[:, INDEX["head"]] = local[:, INDEX["head"]] @ tilt.inv().as_matrix()


def despike(world, frames, limit_rad_s=27.0, fps=60.0):
    """Marker swaps show as joints that turn impossibly fast: those frames are bridged along the arc. Some leave a head or a foot upside
    down for seconds, salsa_06's for the whole take: those are turned over."""
    local = bvh.local_rotations(world, frames)
    names = list(INDEX)
    for name in ("neck", "head", "leftFoot", "rightFoot"):
        if name in world:
            local[:, INDEX[name]] = upright(local[:, INDEX[name]], np.pi if "Foot" in name else FARTHEST_HEAD_RAD)
    level(local)
    for name in world:
        r = Rotation.from_matrix(local[:, INDEX[name]])
        fast = (r[:-1].inv() * r[1:]).magnitude() * fps > limit_rad_s
        bad = np.zeros(frames, bool)
        for i in np.flatnonzero(fast):
            bad[max(i - 2, 1) : i + 4] = True
        bad[-1] = False
        good = np.flatnonzero(~bad)
        if bad.any() and len(good) > 1:
            local[:, INDEX[name]] = Slerp(good, r[good])(np.arange(frames)).as_matrix()
    _, rot = sk.forward(np.zeros((frames, 3)), local)
    return {n: rot[:, INDEX[n]] for n in names if n in world}


def heading(world):
    """Slow-moving direction of hips and chest together, unwrapped (T,)."""
    both = sk.yaw_of(world["hips"]), sk.yaw_of(world["upperChest"])
    s, c = (sum(f(y) for y in both) for f in (np.sin, np.cos))
    return np.unwrap(np.arctan2(s, c))


def stretches(keep, least):
    edges = np.flatnonzero(np.diff(np.r_[0, keep.astype(int), 0]))
    return [(a, b) for a, b in edges.reshape(-1, 2) if b - a >= least]


def contacts_of(pos, source_pos=None):
    """(T,J,3) to (T,2): low and slow, in the motion as captured."""
    out = []
    for side in (_L, _R):
        toe, ankle = pos[:, side["Toes"]], pos[:, side["Foot"]]
        speed = np.minimum(*(np.linalg.norm(np.gradient(gaussian_filter1d(p, 1, axis=0), axis=0)[:, [0, 2]], axis=-1) * FPS for p in (toe, ankle)))
        low = (toe[:, 1] < TOE_REST + 0.045) | (ankle[:, 1] < ANKLE_REST + 0.045)
        on = low & (speed < 0.42)
        out.append(binary_opening(binary_closing(on, np.ones(3)), np.ones(3)))
    return np.stack(out, -1)


def solve_leg(hip, ankle, world, side, pole):
    """Two-bone reach of the ankle; the knee stays in its plane. Sets world rotations of the leg bones of one frame set (T)."""
    upper, lower = OFFSETS[side["LowerLeg"]], OFFSETS[side["Foot"]]
    a, b = np.linalg.norm(upper), np.linalg.norm(lower)
    d = ankle - hip
    dist = np.clip(np.linalg.norm(d, axis=-1), 0.2, (a + b) * 0.9995)
    d = d / (np.linalg.norm(d, axis=-1, keepdims=True) + 1e-9)
    pole = pole - d * (pole * d).sum(-1, keepdims=True)
    pole = pole / (np.linalg.norm(pole, axis=-1, keepdims=True) + 1e-9)
    cos = np.clip((a * a + dist**2 - b * b) / (2 * a * dist), -1, 1)
    knee = hip + a * (d * cos[:, None] + pole * np.sqrt(1 - cos**2)[:, None])
    foot = hip + d * dist[:, None]
    return knee, foot


def _swing(frm, to):
    """Least rotations (T,3,3) turning unit directions frm into to."""
    v = np.cross(frm, to)
    c = (frm * to).sum(-1)
    k = np.zeros((len(frm), 3, 3))
    k[:, 0, 1], k[:, 0, 2], k[:, 1, 0], k[:, 1, 2], k[:, 2, 0], k[:, 2, 1] = -v[:, 2], v[:, 1], v[:, 2], -v[:, 0], -v[:, 1], v[:, 0]
    return np.eye(3) + k + k @ k / (1 + c)[:, None, None].clip(0.05)


def reach(pos, world, targets):
    """Moves both ankles to targets {side: (T,3)} by turning thigh and shin; feet keep their world rotation."""
    names = list(INDEX)
    for side, ankle in targets.items():
        leg = _L if side == "left" else _R
        hip, knee0, foot0 = pos[:, leg["UpperLeg"]], pos[:, leg["LowerLeg"]], pos[:, leg["Foot"]]
        # Bend towards where the knee was, or the way the thigh faces when the leg is straight.
        pole = (knee0 - 0.5 * (hip + foot0)) + world[names[leg["UpperLeg"]]] @ np.array([0, 0, 0.05])
        knee, foot = solve_leg(hip, ankle, world, leg, pole)
        unit = lambda v: v / np.linalg.norm(v, axis=-1, keepdims=True)  # noqa: E731
        for bone, frm, to in (("UpperLeg", knee0 - hip, knee - hip), ("LowerLeg", foot0 - knee0, foot - knee)):
            name = names[leg[bone]]
            world[name] = _swing(unit(frm), unit(to)) @ world[name]
    return world


def plant(ankle, on):
    """Ankle path (T,3) with contacts (T,): still while in contact, the corrections fading over the swing."""
    t = len(ankle)
    fix = np.zeros((t, 3))
    known = np.zeros(t, bool)
    for a, b in stretches(on, 2):
        mid = np.median(ankle[a:b, [0, 2]], axis=0)
        fix[a:b, [0, 2]] = mid - ankle[a:b, [0, 2]]
        known[a:b] = True
    if not known.any():
        return ankle
    i = np.flatnonzero(known)
    for axis in (0, 2):
        fix[:, axis] = np.interp(np.arange(t), i, fix[i, axis])
    size = np.linalg.norm(fix, axis=-1, keepdims=True)
    fix *= np.minimum(1, 0.22 / (size + 1e-9))
    return ankle + gaussian_filter1d(fix, 1.0, axis=0)


def visibility(pos):
    """(T,J,3) to confidences (T,13) of the keypoints in front of a camera on +Z: below 1 behind torso, head or other limbs."""
    capsule = [("hips", "upperChest", 0.13, "torso"), ("upperChest", "neck", 0.15, "torso"), ("neck", "head", 0.1, "head")]
    for s in ("left", "right"):
        capsule += [(s + "UpperArm", s + "LowerArm", 0.05, s + "arm"), (s + "LowerArm", s + "Hand", 0.045, s + "arm"),
                    (s + "UpperLeg", s + "LowerLeg", 0.08, s + "leg"), (s + "LowerLeg", s + "Foot", 0.06, s + "leg")]  # fmt: skip
    joints = {"left_shoulder": "leftUpperArm", "right_shoulder": "rightUpperArm", "left_elbow": "leftLowerArm", "right_elbow": "rightLowerArm",
              "left_hip": "leftUpperLeg", "right_hip": "rightUpperLeg", "left_knee": "leftLowerLeg", "right_knee": "rightLowerLeg",
              "left_ankle": "leftFoot", "right_ankle": "rightFoot", "head": "head", "left_wrist": "leftHand", "right_wrist": "rightHand"}  # fmt: skip
    conf = np.ones((len(pos), 13))
    for k, name in enumerate(sk.CONFIDENCES):
        p = pos[:, INDEX[joints[name]]]
        side, kind = (name.split("_") + [""])[:2]
        own = {"shoulder": side + "arm", "elbow": side + "arm", "wrist": side + "arm", "hip": side + "leg", "knee": side + "leg", "ankle": side + "leg"}.get(kind, "head")
        for a, b, radius, group in capsule:
            if group == own or (kind in ("shoulder", "hip") and group == "torso"):
                continue
            pa, ab = pos[:, INDEX[a]], pos[:, INDEX[b]] - pos[:, INDEX[a]]
            u = np.clip(((p - pa)[:, :2] * ab[:, :2]).sum(-1) / ((ab[:, :2] ** 2).sum(-1) + 1e-6), 0, 1)
            near = pa + ab * u[:, None]
            gap = np.linalg.norm(p[:, :2] - near[:, :2], axis=-1) - radius  # negative: inside the outline
            behind = near[:, 2] - p[:, 2]
            hidden = 1 / (1 + np.exp(np.clip(gap / 0.02, -30, 30))) / (1 + np.exp(np.clip((0.04 - behind) / 0.03, -30, 30)))
            conf[:, k] = np.minimum(conf[:, k], 1 - 0.85 * hidden)
    # A shoulder or hip turned away is hidden by the body itself.
    for a, b, ia, ib in (("leftUpperArm", "rightUpperArm", 0, 1), ("leftUpperLeg", "rightUpperLeg", 4, 5)):
        axis = pos[:, INDEX[a]] - pos[:, INDEX[b]]
        turn = axis[:, 2] / np.linalg.norm(axis, axis=-1)  # sine of the turn: left side nearer when positive
        conf[:, ib] *= 1 - 0.6 * np.clip((turn - 0.6) / 0.4, 0, 1)
        conf[:, ia] *= 1 - 0.6 * np.clip((-turn - 0.6) / 0.4, 0, 1)
    return np.clip(gaussian_filter1d(conf, 1.5, axis=0, mode="nearest"), 0, 1)


_HAND = {"indian": (0.1, 0.25), "salsa": (0.3, 0.2), "pop": (0.35, 0.3), "street": (0.4, 0.25)}  # base curl, swing


def curls_of(pos, style, rng):
    """Plausible curls (T,2,5): relaxed, straighter when the hand is high or quick, each finger a little apart."""
    base, swing = _HAND.get(style, (0.22, 0.2))
    out = np.empty((len(pos), 2, 5))
    for h, side in enumerate(("left", "right")):
        hand = pos[:, INDEX[side + "Hand"]]
        speed = np.linalg.norm(np.gradient(hand, axis=0), axis=-1) * FPS
        quick = gaussian_filter1d(np.clip(speed / 2.5, 0, 1), 3, mode="nearest")
        high = gaussian_filter1d(np.clip((hand[:, 1] - 1.1) / 0.6, 0, 1), 4, mode="nearest")
        open_ = base + swing * (0.5 - 0.7 * quick - 0.4 * high)
        spread = np.array([0.05, -0.06, 0.0, 0.06, 0.12]) * (1.0 + high[:, None])
        wander = gaussian_filter1d(rng.standard_normal((len(pos), 5)), 25, axis=0, mode="nearest") * 0.25
        out[:, h] = np.clip(open_[:, None] + spread + wander, 0, 1)
    return out


def sources(data):
    """Yields (name, root, world, fps) of every recording in DIR/mocap, and of the animations of dance in DIR/mocap/clips."""
    for path in sorted((data / "mocap").glob("*.bvh")):
        take = bvh.read_bvh(path)
        root, world = bvh.retarget(take)
        skip = 8  # the T-pose that opens some files, and the filter's ringing behind it
        yield path.stem, root[skip:], despike({n: r[skip:] for n, r in world.items()}, len(root) - skip, fps=take.fps), take.fps
    for file, names in ANIMATIONS.items():
        path = data / "mocap/clips" / file
        for animation in glb.read(path, names) if path.exists() else []:
            root, world = bvh.retarget_animation(animation)
            turns = int(np.ceil(LOOP_SECONDS * glb.FPS / len(root)))  # they are loops
            world = {n: np.tile(r, (turns, 1, 1)) for n, r in world.items()}
            yield animation.name.lower().replace(" ", "_"), np.tile(root, (turns, 1)), world, glb.FPS


def waits(pos):
    """(T,J,3) to where nothing is danced (T,): takes begin and end with somebody who stands there and looks at the floor, a third of the modern ones."""
    speed = np.linalg.norm(np.gradient(pos[:, MOVING], axis=0), axis=-1).mean(1) * FPS
    return uniform_filter1d(speed, FPS, mode="nearest") < WAITS_M_S


def process(name, root, world, fps, rng):
    """A recording to [(name, features (T,162))], every stretch that can be shown on stage."""
    root, world = resample(root, world, fps)
    local = bvh.local_rotations(world, len(root))
    pos, _ = sk.forward(root, local)
    lowest = np.minimum(pos[:, [_L["Toes"], _R["Toes"]], 1].min(1) - TOE_REST, pos[:, [_L["Foot"], _R["Foot"]], 1].min(1) - ANKLE_REST)
    floor = np.percentile(lowest, 12)
    root[:, 1] -= floor
    yaw = heading(world)
    slow = gaussian_filter1d(yaw, 0.75 * FPS, mode="nearest")
    keep = (np.abs(np.gradient(slow)) * FPS < SPIN_RAD_S) & (lowest - floor < 0.45) & (root[:, 1] > 0.5) & ~waits(pos)
    keep = binary_closing(keep, np.ones(5))
    out = []
    for k, (a, b) in enumerate(stretches(keep, int(2.0 * FPS))):
        part = root[a:b].copy()
        part[:, 1] -= np.clip(np.percentile(lowest[a:b] - floor, 10), -0.1, 0.1)  # capture volumes tilt
        out.append((f"{name}_{k}", on_stage(part, {n: r[a:b] for n, r in world.items()}, style_of(name), rng)))
    return out


def on_stage(root, world, style, rng):
    """Takes slow turning and drift out, plants the feet, and encodes the features."""
    pos0, _ = sk.forward(root, bvh.local_rotations(world, len(root)))
    on = contacts_of(pos0)
    yaw = heading(world)
    slow = gaussian_filter1d(yaw, 1.0 * FPS, mode="nearest")
    rest = yaw - slow
    turn = soft_limit(rest, MAX_YAW_RAD) - yaw  # what to add so that the dancer faces the camera
    turn = gaussian_filter1d(turn, 2, mode="nearest")
    spin = sk.rot_y(turn)
    # Turn velocities with the dancer, then keep the path near the centre.
    step = np.einsum("tij,tj->ti", spin, np.diff(root, axis=0, prepend=root[:1]))
    path = np.cumsum(step, axis=0)
    drift = gaussian_filter1d(path, 1.3 * FPS, axis=0, mode="nearest")
    near = path - drift
    size = np.linalg.norm(near[:, [0, 2]], axis=-1, keepdims=True)
    near[:, [0, 2]] *= soft_limit(size, STAGE_M) / (size + 1e-9)
    root = np.stack([near[:, 0], root[:, 1], near[:, 2]], -1)
    world = {n: spin @ r for n, r in world.items()}
    pos, _ = sk.forward(root, bvh.local_rotations(world, len(root)))
    targets = {}
    for s, (side, leg) in enumerate((("left", _L), ("right", _R))):
        ankle = plant(pos[:, leg["Foot"]], on[:, s])
        # Not through the floor.
        sink = np.maximum(TOE_REST - pos[:, leg["Toes"], 1], 0) + np.maximum(ANKLE_REST - 0.01 - pos[:, leg["Foot"], 1], 0)
        ankle[:, 1] += gaussian_filter1d(sink, 1.0, mode="nearest")
        targets[side] = ankle
    world = reach(pos, world, targets)
    local = bvh.local_rotations(world, len(root))
    pos, _ = sk.forward(root, local)
    contact = gaussian_filter1d(contacts_of(pos).astype(float), 0.7, axis=0, mode="nearest")
    return sk.encode(root, local, contact, visibility(pos), curls_of(pos, style, rng))


def idle_clips(rng, count=4, seconds=16):
    """Calm standing: breathing and weight shifts by inverse kinematics over planted feet."""
    out = []
    for k in range(count):
        t = np.arange(seconds * FPS) / FPS
        n = len(t)
        wander = lambda sec, size: size * gaussian_filter1d(rng.standard_normal(n + 600), sec * FPS)[300 : 300 + n] * np.sqrt(2 * np.sqrt(np.pi) * sec * FPS)  # noqa: E731
        breath = np.sin(2 * np.pi * t / rng.uniform(3.2, 4.5) + rng.uniform(0, 6))
        shift = wander(1.6, 0.028)
        root = np.stack([shift, 0.905 + 0.004 * breath - 2.0 * shift**2, wander(2.0, 0.008)], -1)
        e = lambda x, y, z: Rotation.from_euler("YXZ", np.stack([y + 0 * t, x + 0 * t, z + 0 * t], -1)).as_matrix()  # noqa: E731
        deg = np.deg2rad
        loc = {"hips": e(wander(2, 0.015), wander(3, 0.06), shift * 0.9), "spine": e(0.02 + wander(2, 0.01), 0, -shift * 0.5),
               "chest": e(0.01 * breath + 0.02, wander(2, 0.02), -shift * 0.3), "upperChest": e(-0.015 * breath, 0, 0),
               "neck": e(wander(1.5, 0.03), wander(1.5, 0.05), wander(2, 0.02)), "head": e(wander(1.2, 0.04), wander(1.2, 0.08), wander(2, 0.03))}  # fmt: skip
        for s, sign in (("left", 1), ("right", -1)):
            loc[s + "Shoulder"] = e(0, 0, sign * 0.02 * breath)
            loc[s + "UpperArm"] = e(wander(2, 0.04), sign * (-0.15) + wander(2, 0.05), sign * (-deg(rng.uniform(66, 74)) + wander(2, 0.03)))
            loc[s + "LowerArm"] = e(0, sign * (-deg(rng.uniform(15, 35))) + wander(2, 0.06), 0)
            loc[s + "Hand"] = e(0, 0, sign * (-0.1) + wander(2, 0.05))
            loc[s + "UpperLeg"] = e(0.0, sign * 0.12, 0)
            loc[s + "LowerLeg"] = loc[s + "Foot"] = loc[s + "Toes"] = e(0, 0, 0)
        local = np.tile(np.eye(3), (n, len(INDEX), 1, 1))
        for name, r in loc.items():
            local[:, INDEX[name]] = r
        pos, rot = sk.forward(root, local)
        world = {name: rot[:, INDEX[name]] for name in INDEX if INDEX[name] in sk.BODY}
        width = rng.uniform(0.1, 0.15)
        for s, sign in (("left", 1), ("right", -1)):
            world[s + "Foot"] = world[s + "Toes"] = np.tile(sk.rot_y(np.array(sign * 0.2)), (n, 1, 1))
        world = reach(pos, world, {s: np.tile([sign * width, ANKLE_REST, 0.0], (n, 1)) for s, sign in (("left", 1), ("right", -1))})
        local = bvh.local_rotations(world, n)
        pos, _ = sk.forward(root, local)
        out.append((f"idle_{k}", sk.encode(root, local, np.ones((n, 2)), visibility(pos), curls_of(pos, "calm", rng))))
    return out


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with mocap/*.bvh and mocap/clips/*.glb")
    parser.add_argument("--out", type=Path, default=sk.ROOT / "training/out/motion")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    clips = []
    for name, *take in tqdm(sources(args.data), desc="retarget"):
        clips += [(n, f, style_of(n), name in TEST_FILES) for n, f in process(name, *take, rng)]
    clips += [(n, f, "calm", n.endswith("_3")) for n, f in idle_clips(rng)]
    clips = [(n, f[: len(f) // 2 * 2], s, t) for n, f, s, t in clips]
    both = [(n, f, s, t, 0) for n, f, s, t in clips] + [(n + "_mirror", sk.mirror(f), s, t, 1) for n, f, s, t in clips]
    frames = np.concatenate([f for _, f, *_ in both]).astype(np.float32)
    assert np.isfinite(frames).all()
    start = np.cumsum([0] + [len(f) for _, f, *_ in both]).astype(np.int32)
    arrays = {"frames": frames, "clip_start": start, "clip_style": np.array([STYLES.index(s) for _, _, s, *_ in both], np.int32),
              "clip_test": np.array([t for *_, t, _ in both], np.int32), "clip_mirror": np.array([m for *_, m in both], np.int32)}  # fmt: skip
    save_file(arrays, args.out / "clips.safetensors", {"names": json.dumps([n for n, *_ in both]), "styles": json.dumps(STYLES), "fps": "30"})
    (args.out / "READY").write_text("clips.safetensors\n")
    seconds = {s: sum(len(f) for _, f, st, *_ in clips if st == s) / FPS for s in STYLES}
    print(f"{len(clips)} clips and their mirror images, {len(frames) / 2 / FPS:.0f} s unmirrored; by style:", {k: round(v) for k, v in seconds.items() if v})


if __name__ == "__main__":
    main()
