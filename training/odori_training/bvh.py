"""Reads BVH motion capture and brings it onto the humanoid of models/skeleton.json by global rotation deltas.

Does not judge, cut or centre the motion: `mocap` does. Three naming families are known: CMU for MotionBuilder
(31 joints), CMU for DAZ (43 joints) and the 3ds Max biped of `jesse_dance`; and the rig of Mesh2Motion, read by `glb`.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .skeleton import INDEX, OFFSETS, PARENTS, rot_y, rot_z


@dataclass
class Bvh:
    names: list[str]
    parents: list[int]
    offsets: np.ndarray  # (J, 3)
    orders: list[str]  # rotation channel order, such as "ZYX"
    positions: np.ndarray  # (T, 3) root
    angles: np.ndarray  # (T, J, 3) radians in channel order
    fps: float

    def forward(self, angles, root):
        """(T, J, 3) angles, (T, 3) root: world positions (T, J, 3), rotations (T, J, 3, 3)."""
        n = len(self.names)
        pos, rot = np.zeros(angles.shape[:1] + (n, 3)), np.zeros(angles.shape[:1] + (n, 3, 3))
        for j, p in enumerate(self.parents):
            local = np.eye(3)
            for axis, angle in zip(self.orders[j], np.moveaxis(angles[:, j], -1, 0), strict=True):
                local = local @ _axis(axis, angle)
            if p < 0:
                pos[:, j], rot[:, j] = root, local
            else:
                pos[:, j] = pos[:, p] + rot[:, p] @ self.offsets[j]
                rot[:, j] = rot[:, p] @ local
        return pos, rot


def _axis(axis, angle):
    if axis == "Y":
        return rot_y(angle)
    if axis == "Z":
        return rot_z(angle)
    c, s, z, o = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([np.stack([o, z, z], -1), np.stack([z, c, -s], -1), np.stack([z, s, c], -1)], -2)


def read_bvh(path) -> Bvh:
    """Raises ValueError that names the file when it is not BVH with a 6-channel root and 3-channel joints."""
    text = Path(path).read_text()
    if "MOTION" not in text:
        raise ValueError(f"{path}: no MOTION section")
    head, motion = text.split("MOTION", 1)
    names, parents, offsets, orders, stack, end = [], [], [], [], [], False
    tokens = iter(re.findall(r"\S+", head))
    for tok in tokens:
        if tok in ("ROOT", "JOINT"):
            names.append(next(tokens))
            parents.append(stack[-1] if stack else -1)
            offsets.append([0.0] * 3)
            orders.append("")
        elif tok == "End":
            end = True
        elif tok == "{":
            stack.append(-1 if end else len(names) - 1)
        elif tok == "}":
            stack.pop()
        elif tok == "OFFSET":
            xyz = [float(next(tokens)) for _ in range(3)]
            if end:
                end = False
            else:
                offsets[-1] = xyz
        elif tok == "CHANNELS":
            channels = [next(tokens) for _ in range(int(next(tokens)))]
            rotations = [c[0] for c in channels if c.endswith("rotation")]
            if len(rotations) != 3 or len(channels) != (6 if len(names) == 1 else 3):
                raise ValueError(f"{path}: joint {names[-1]} has channels {channels}")
            orders[-1] = "".join(rotations)
    lines = motion.strip().splitlines()
    fps = 1.0 / float(lines[1].split()[-1])
    rows = np.array([[float(v) for v in line.split()] for line in lines[2:] if line.strip()])
    if rows.ndim != 2 or rows.shape[1] != 3 + 3 * len(names):
        raise ValueError(f"{path}: {rows.shape} values for {len(names)} joints")
    angles = np.deg2rad(rows[:, 3:]).reshape(len(rows), len(names), 3)
    return Bvh(names, parents, np.array(offsets), orders, rows[:, :3], angles, fps)


def _both(table):
    """Completes {ours: theirs with a {} for the side} for left and right."""
    out = {}
    for ours, (left, right) in table.items():
        out["left" + ours], out["right" + ours] = left, right
    return out


_MB = {"hips": "Hips", "spine": "LowerBack", "chest": "Spine", "upperChest": "Spine1", "neck": "Neck1", "head": "Head"} | _both({
    "Shoulder": ("LeftShoulder", "RightShoulder"), "UpperArm": ("LeftArm", "RightArm"), "LowerArm": ("LeftForeArm", "RightForeArm"),
    "Hand": ("LeftHand", "RightHand"), "UpperLeg": ("LeftUpLeg", "RightUpLeg"), "LowerLeg": ("LeftLeg", "RightLeg"),
    "Foot": ("LeftFoot", "RightFoot"), "Toes": ("LeftToeBase", "RightToeBase"), "Tip": ("LeftHandIndex1", "RightHandIndex1")})  # fmt: skip
_MB94 = {"hips": "Hips", "spine": "lowerback", "chest": "Chest", "upperChest": "Chest2", "neck": "Neck", "head": "Head"} | _both({
    "Shoulder": ("LeftCollar", "RightCollar"), "UpperArm": ("LeftShoulder", "RightShoulder"), "LowerArm": ("LeftElbow", "RightElbow"),
    "Hand": ("LeftWrist", "RightWrist"), "UpperLeg": ("LeftHip", "RightHip"), "LowerLeg": ("LeftKnee", "RightKnee"),
    "Foot": ("LeftAnkle", "RightAnkle"), "Toes": ("LeftToe", "RightToe")})  # fmt: skip
_DAZ = {"hips": "hip", "chest": "abdomen", "upperChest": "chest", "neck": "neck", "head": "head"} | _both({
    "Shoulder": ("lCollar", "rCollar"), "UpperArm": ("lShldr", "rShldr"), "LowerArm": ("lForeArm", "rForeArm"), "Hand": ("lHand", "rHand"),
    "UpperLeg": ("lThigh", "rThigh"), "LowerLeg": ("lShin", "rShin"), "Foot": ("lFoot", "rFoot"), "Tip": ("lMid1", "rMid1")})  # fmt: skip
_BIPED = {"hips": "Hips", "spine": "Spine", "chest": "Spine1", "upperChest": "Spine2", "neck": "Neck", "head": "Head"} | _both({
    "Shoulder": ("LeftShoulder", "RightShoulder"), "UpperArm": ("LeftArm", "RightArm"), "LowerArm": ("LeftForeArm", "RightForeArm"),
    "Hand": ("LeftHand", "RightHand"), "UpperLeg": ("LeftUpLeg", "RightUpLeg"), "LowerLeg": ("LeftLeg", "RightLeg"),
    "Foot": ("LeftFoot", "RightFoot"), "Toes": ("LeftToeBase", "RightToeBase")})  # fmt: skip
# Angles (degrees, channel order Y X Z) that put the biped into T-pose; joints not named are at zero.
_BIPED_T = {"Spine": (0, 0, 90), "LeftShoulder": (0, 0, -90), "RightShoulder": (180, 0, 90), "Head": (0, 0, -90),
            "LeftUpLeg": (0, 0, -90), "RightUpLeg": (0, 0, -90), "LeftFoot": (295, 90, 0), "RightFoot": (295, 90, 0)}  # fmt: skip


def family(bvh: Bvh):
    """(bone map, T-pose angles in degrees by joint)"""
    names = set(bvh.names)
    for table, t_pose in ((_BIPED, _BIPED_T), (_MB, {}), (_MB94, {}), (_DAZ, {})):
        if all(v in names for k, v in table.items()) and ((table is _BIPED) == ("Spine2" in names)):
            return table, t_pose
    raise ValueError(f"unknown skeleton with joints {bvh.names[:8]}...")


def _between(a, b):
    """The least rotation that turns direction a into b."""
    a, b = a / np.linalg.norm(a), b / np.linalg.norm(b)
    v, c = np.cross(a, b), a @ b
    k = np.array([[0, -v[2], v[1]], [v[2], 0, -v[0]], [-v[1], v[0], 0]])
    return np.eye(3) + k + k @ k / (1 + c)


# Limbs whose rest direction is brought into agreement, and the joint at their far end.
_CHAIN = {"UpperArm": "LowerArm", "LowerArm": "Hand", "Hand": "Tip", "UpperLeg": "LowerLeg", "LowerLeg": "Foot"}


# Mesh2Motion's rig; some files write "f_middle01", some "f_middle.01".
_M2M = {"hips": "DEF-hips", "spine": "DEF-spine.001", "chest": "DEF-spine.002", "upperChest": "DEF-spine.003", "neck": "DEF-neck", "head": "DEF-head"} | _both({
    ours: (f"DEF-{theirs}.L", f"DEF-{theirs}.R") for ours, theirs in (
        ("Shoulder", "shoulder"), ("UpperArm", "upper_arm"), ("LowerArm", "forearm"), ("Hand", "hand"), ("UpperLeg", "thigh"),
        ("LowerLeg", "shin"), ("Foot", "foot"), ("Toes", "toe"), ("Tip", "f_middle01"))})  # fmt: skip


def retarget(bvh: Bvh):
    """To (root (T,3) metres with the source's own floor, global rotations {bone: (T,3,3)}) on our skeleton."""
    table, t_degrees = family(bvh)
    at = {name: i for i, name in enumerate(bvh.names)}
    t_angles = np.zeros((1, len(bvh.names), 3))
    for joint, degrees in t_degrees.items():
        t_angles[0, at[joint]] = np.deg2rad(degrees)
    t_pos, t_rot = (x[0] for x in bvh.forward(t_angles, np.zeros((1, 3))))
    pos, rot = bvh.forward(bvh.angles, bvh.positions)
    return _onto(table, at, t_pos, t_rot, pos, rot, splayed="Spine2" not in at)


def retarget_animation(animation):
    """The same of a `glb.Animation` of Mesh2Motion's rig, facing +Z at rest."""
    at = {name.replace("f_middle.0", "f_middle0"): i for i, name in enumerate(animation.names)}
    missing = [t for t in _M2M.values() if t not in at]
    if missing:
        raise ValueError(f"{animation.name}: unknown skeleton, no {missing[:3]}")
    return _onto(_M2M, at, animation.rest_positions, animation.rest_rotations, animation.positions, animation.rotations, splayed=True)


def _onto(table, at, t_pos, t_rot, pos, rot, splayed):
    """Global rotation deltas from the T-pose (J, ...) of a source, joints `at` by name, to ours; `splayed`: rest legs stand apart."""
    target_child = {"UpperArm": "LowerArm", "LowerArm": "Hand", "Hand": "MiddleProximal", "UpperLeg": "LowerLeg", "LowerLeg": "Foot"}
    out = {}
    for ours, theirs in table.items():
        if ours.endswith("Tip"):
            continue
        j = at[theirs]
        align, side = np.eye(3), "left" if ours.startswith("left") else "right"
        kind = ours[len(side) :] if ours.startswith(side) else ours
        if kind in _CHAIN and side + _CHAIN[kind] in table:
            theirs_dir = t_pos[at[table[side + _CHAIN[kind]]]] - t_pos[j]
            align = _between(OFFSETS[INDEX[side + target_child[kind]]], theirs_dir)
        elif kind in ("Foot", "Toes"):
            # Splayed rest legs carry the foot with them, about Z alone.
            d = t_pos[at[table[side + "Foot"]]] - t_pos[at[table[side + "UpperLeg"]]]
            align = _axis("Z", np.arctan2(d[0], -d[1]))
            if not splayed:
                align = np.eye(3)
        out[ours] = rot[:, j] @ t_rot[j].T @ align
    if "spine" not in out:  # DAZ has one joint fewer in the back
        out["spine"] = _halfway(out["hips"], out["chest"])
    for side in ("left", "right"):
        out.setdefault(side + "Toes", out[side + "Foot"])
    leg = sum(np.linalg.norm(t_pos[at[table[s + b]]] - t_pos[at[table[s + a]]]) for s in ("left", "right") for a, b in (("UpperLeg", "LowerLeg"), ("LowerLeg", "Foot")))
    ours = sum(np.linalg.norm(OFFSETS[INDEX[s + b]]) for s in ("left", "right") for b in ("LowerLeg", "Foot"))
    thighs = 0.5 * (pos[:, at[table["leftUpperLeg"]]] + pos[:, at[table["rightUpperLeg"]]]) * (ours / leg)
    root = thighs - out["hips"] @ np.array([0, OFFSETS[INDEX["leftUpperLeg"]][1], 0])
    return root, out


def _halfway(a, b):
    """Rotation half-way between (T,3,3) and (T,3,3)."""
    m = a + b
    u, _, vt = np.linalg.svd(m)
    u[..., :, 2] *= np.linalg.det(u @ vt)[..., None]
    return u @ vt


def local_rotations(world: dict, frames: int):
    """Global rotations by bone to local ones (T, J, 3, 3); bones not given follow their parent."""
    local = np.tile(np.eye(3), (frames, len(PARENTS), 1, 1))
    names = list(INDEX)
    for name, r in world.items():
        p = PARENTS[INDEX[name]]
        local[:, INDEX[name]] = r if p < 0 else np.swapaxes(world[names[p]], -1, -2) @ r
    return local
