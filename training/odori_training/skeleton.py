"""The humanoid of models/skeleton.json: forward kinematics and the 162 frame features, numpy and torch.

Must agree with engine/src/pose.rs. Knows no motion files and no models.
Axis letters: T frames, J bones (52), 3 x 3 rotation matrices act on column vectors. Metres, Y up, facing +Z.
"""

import json
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[2]
_data = json.loads((ROOT / "models" / "skeleton.json").read_text())
BONES = [b["name"] for b in _data["bones"]]
INDEX = {name: i for i, name in enumerate(BONES)}
PARENTS = [-1 if b["parent"] is None else INDEX[b["parent"]] for b in _data["bones"]]
OFFSETS = np.array([b["offset"] for b in _data["bones"]], np.float64)  # (J, 3)
CONFIDENCES = list(_data["confidences"])
KEYPOINTS = _data["keypoints"]
PART_BONES = {part: [INDEX[b] for b in bones] for part, bones in _data["parts"].items()}
# Bones that are not finger joints: the ones whose rotations the features carry.
BODY = [0, *PART_BONES["upper"], *PART_BONES["lower"], *PART_BONES["head"], *PART_BONES["left_hand"], *PART_BONES["right_hand"]]
FRAME_DIM = 162
FINGERS = ["Thumb", "Index", "Middle", "Ring", "Little"]
FINGER_CURL_RAD, THUMB_CURL_RAD = np.deg2rad(80.0), np.deg2rad(45.0)


def _layout() -> dict[str, slice]:
    """Where each field lies in a frame's 162 features."""
    at, out = 0, {}

    def take(name, n):
        nonlocal at
        out[name] = slice(at, at + n)
        at += n

    for b in PART_BONES["upper"]:
        take(BONES[b], 6)
    take("conf_upper", 4)
    take("root", 3)
    take("yaw", 2)
    take("hips", 6)
    for b in PART_BONES["lower"]:
        take(BONES[b], 6)
    take("contacts", 2)
    take("conf_lower", 6)
    for b in PART_BONES["head"]:
        take(BONES[b], 6)
    take("conf_head", 1)
    for side in ("left", "right"):
        take(f"{side}Hand", 6)
        take(f"{side}_curls", 5)
        take(f"conf_{side}_wrist", 1)
    assert at == FRAME_DIM
    return out


LAYOUT = _layout()
CONF_FIELDS = ["conf_upper", "conf_lower", "conf_head", "conf_left_wrist", "conf_right_wrist"]


def rot_y(angle):
    """(...) radians to (..., 3, 3)."""
    c, s, z, o = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([np.stack([c, z, s], -1), np.stack([z, o, z], -1), np.stack([-s, z, c], -1)], -2)


def rot_z(angle):
    c, s, z, o = np.cos(angle), np.sin(angle), np.zeros_like(angle), np.ones_like(angle)
    return np.stack([np.stack([c, -s, z], -1), np.stack([s, c, z], -1), np.stack([z, z, o], -1)], -2)


def yaw_of(rotation):
    """Yaw of (..., 3, 3) in the order Y, X, Z: the heading of the bone's +Z."""
    return np.arctan2(rotation[..., 0, 2], rotation[..., 2, 2])


def to_6d(rotation):
    """(..., 3, 3) to (..., 6): the first column, then the second."""
    return np.concatenate([rotation[..., :, 0], rotation[..., :, 1]], -1)


def from_6d(x):
    """(..., 6) to (..., 3, 3) by Gram-Schmidt; numpy or torch."""
    lib = torch if isinstance(x, torch.Tensor) else np
    a, b = x[..., :3], x[..., 3:]
    norm = lambda v: v / ((v * v).sum(-1)[..., None] + 1e-12) ** 0.5  # noqa: E731
    a = norm(a)
    b = norm(b - a * (a * b).sum(-1)[..., None])
    return lib.stack([a, b, lib.cross(a, b, -1) if lib is torch else np.cross(a, b)], -1)


def finger_rotations(curls_left, curls_right):
    """Curls (T, 5) of each hand to {bone: (T, 3, 3)}."""
    out = {}
    for side, sign, curls in (("left", 1.0, curls_left), ("right", -1.0, curls_right)):
        for f, finger in enumerate(FINGERS):
            c = np.clip(curls[:, f], 0, 1)
            q = rot_y(sign * c * THUMB_CURL_RAD) if finger == "Thumb" else rot_z(-sign * c * FINGER_CURL_RAD)
            for i, name in enumerate(BONES):
                if name.startswith(side + finger):
                    out[i] = q
    return out


def forward(root, local):
    """root (T, 3), local rotations (T, J, 3, 3): world positions (T, J, 3) and rotations (T, J, 3, 3)."""
    pos, rot = np.empty(local.shape[:2] + (3,)), np.empty_like(local)
    for j, p in enumerate(PARENTS):
        if p < 0:
            pos[:, j], rot[:, j] = root, local[:, j]
        else:
            pos[:, j] = pos[:, p] + rot[:, p] @ OFFSETS[j]
            rot[:, j] = rot[:, p] @ local[:, j]
    return pos, rot


def encode(root, local, contacts, confidences, curls):
    """root (T,3), local (T,J,3,3), contacts (T,2), confidences (T,13), curls (T,2,5) to features (T,162)."""
    t = len(root)
    out = np.empty((t, FRAME_DIM), np.float32)
    yaw = yaw_of(local[:, 0])
    for part in ("upper", "lower", "head", "left_hand", "right_hand"):
        for b in PART_BONES[part]:
            out[:, LAYOUT[BONES[b]]] = to_6d(local[:, b])
    out[:, LAYOUT["root"]] = root
    out[:, LAYOUT["yaw"]] = np.stack([np.sin(yaw), np.cos(yaw)], -1)
    out[:, LAYOUT["hips"]] = to_6d(rot_y(-yaw) @ local[:, 0])
    out[:, LAYOUT["contacts"]] = contacts
    for field, part in zip(CONF_FIELDS, np.split(confidences, [4, 10, 11, 12], axis=1), strict=True):
        out[:, LAYOUT[field]] = part
    out[:, LAYOUT["left_curls"]], out[:, LAYOUT["right_curls"]] = curls[:, 0], curls[:, 1]
    return out


def decode(features):
    """features (T,162) to (root, local (T,J,3,3), contacts, confidences, curls), as engine/src/pose.rs reads them."""
    f = np.asarray(features, np.float64)
    local = np.tile(np.eye(3), (len(f), len(BONES), 1, 1))
    for part in ("upper", "lower", "head", "left_hand", "right_hand"):
        for b in PART_BONES[part]:
            local[:, b] = from_6d(f[:, LAYOUT[BONES[b]]])
    yaw = np.arctan2(f[:, LAYOUT["yaw"]][:, 0], f[:, LAYOUT["yaw"]][:, 1])
    local[:, 0] = rot_y(yaw) @ from_6d(f[:, LAYOUT["hips"]])
    curls = np.clip(np.stack([f[:, LAYOUT["left_curls"]], f[:, LAYOUT["right_curls"]]], 1), 0, 1)
    for b, q in finger_rotations(curls[:, 0], curls[:, 1]).items():
        local[:, b] = q
    conf = np.clip(np.concatenate([f[:, LAYOUT[c]] for c in CONF_FIELDS], 1), 0, 1)
    return f[:, LAYOUT["root"]], local, np.clip(f[:, LAYOUT["contacts"]], 0, 1), conf, curls


def positions(features):
    """features (T,162) to world joint positions (T,J,3)."""
    root, local, *_ = decode(features)
    return forward(root, local)[0]


def positions_torch(features):
    """features (..., 162) to the world positions of the body joints (..., len(BODY), 3); differentiable."""
    offsets = torch.as_tensor(OFFSETS, dtype=features.dtype, device=features.device)
    s, c = features[..., LAYOUT["yaw"]].unbind(-1)
    n = (s * s + c * c + 1e-8).sqrt()
    s, c, z, o = s / n, c / n, torch.zeros_like(s), torch.ones_like(s)
    yaw = torch.stack([torch.stack([c, z, s], -1), torch.stack([z, o, z], -1), torch.stack([-s, z, c], -1)], -2)
    # All 6D blocks at once: one Gram-Schmidt for the 22 body bones.
    blocks = torch.stack([features[..., LAYOUT[BONES[b]]] for b in BODY], -2)
    local = dict(zip(BODY, from_6d(blocks).unbind(-3), strict=True))
    pos, rot = {0: features[..., LAYOUT["root"]]}, {0: yaw @ local[0]}
    for j in sorted(BODY)[1:]:
        p = PARENTS[j]
        pos[j] = pos[p] + (rot[p] @ offsets[j])
        rot[j] = rot[p] @ local[j]
    return torch.stack([pos[j] for j in BODY], -2)


def _mirror_permutation():
    """Feature permutation and signs of the mirror image in x."""
    source, sign = np.arange(FRAME_DIM), np.ones(FRAME_DIM, np.float32)
    six = np.array([1, -1, -1, -1, 1, 1], np.float32)  # M R M with M = diag(-1, 1, 1)
    swap = lambda n: ("right" + n[4:]) if n.startswith("left") else ("left" + n[5:]) if n.startswith("right") else n  # noqa: E731
    for name, where in LAYOUT.items():
        if name in BONES:
            source[where], sign[where] = np.arange(FRAME_DIM)[LAYOUT[swap(name)]], six
        elif name in ("left_curls", "right_curls"):
            source[where] = np.arange(FRAME_DIM)[LAYOUT[swap(name)]]
        elif name == "contacts" or name in ("conf_upper", "conf_lower"):
            i = np.arange(FRAME_DIM)[where]
            source[where] = i.reshape(-1, 2)[:, ::-1].reshape(-1)
        elif name in ("conf_left_wrist", "conf_right_wrist"):
            source[where] = np.arange(FRAME_DIM)[LAYOUT["conf_right_wrist" if "left" in name else "conf_left_wrist"]]
    sign[LAYOUT["root"].start] = -1
    sign[LAYOUT["yaw"].start] = -1
    return source, sign


MIRROR_SOURCE, MIRROR_SIGN = _mirror_permutation()


def mirror(features):
    """The dance seen in a mirror: left and right exchanged."""
    return features[..., MIRROR_SOURCE] * MIRROR_SIGN
