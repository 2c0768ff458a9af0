"""Reads the animations of a rigged glTF binary, sampled at a steady rate. Does not retarget: `bvh` does."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pygltflib import GLTF2
from scipy.interpolate import interp1d
from scipy.spatial.transform import Rotation, Slerp

_NUMBERS = {"SCALAR": 1, "VEC3": 3, "VEC4": 4, "MAT4": 16}
FPS = 60.0


@dataclass
class Animation:
    """World positions (T, J, 3) in metres and rotations (T, J, 3, 3) of every node, and the same at rest (J, ...)."""

    name: str
    names: list[str]
    rest_positions: np.ndarray
    rest_rotations: np.ndarray
    positions: np.ndarray
    rotations: np.ndarray


def _floats(file: GLTF2, index: int) -> np.ndarray:
    a = file.accessors[index]
    if a.componentType != 5126 or a.type not in _NUMBERS:
        raise ValueError(f"accessor {index} holds no floats")
    view, n = file.bufferViews[a.bufferView], _NUMBERS[a.type]
    start = (view.byteOffset or 0) + (a.byteOffset or 0)
    blob = file.binary_blob()
    if view.byteStride not in (None, 4 * n):
        raise ValueError(f"accessor {index} is interleaved")
    return np.frombuffer(blob, np.float32, a.count * n, start).reshape(a.count, n).astype(float)


def read(path: Path, wanted: list[str]) -> list[Animation]:
    """The animations named. Raises ValueError that names the file where one is missing or of another kind."""
    file = GLTF2().load(str(path))
    nodes = file.nodes
    parent = {child: i for i, n in enumerate(nodes) for child in n.children or []}
    order = []

    def down(i):
        order.append(i)
        for child in nodes[i].children or []:
            down(child)

    for i in range(len(nodes)):
        if i not in parent:
            down(i)
    rest = [(np.array(n.translation or [0, 0, 0], float), np.array(n.rotation or [0, 0, 0, 1], float)) for n in nodes]

    def world(moves, turns, frames):
        pos, rot = np.zeros((frames, len(nodes), 3)), np.zeros((frames, len(nodes), 3, 3))
        for i in order:
            local = Rotation.from_quat(turns.get(i, np.tile(rest[i][1], (frames, 1)))).as_matrix()
            move = moves.get(i, np.tile(rest[i][0], (frames, 1)))
            p = parent.get(i)
            pos[:, i] = move if p is None else pos[:, p] + np.einsum("tij,tj->ti", rot[:, p], move)
            rot[:, i] = local if p is None else rot[:, p] @ local
        return pos, rot

    rest_pos, rest_rot = (x[0] for x in world({}, {}, 1))
    known, out = {a.name: a for a in file.animations}, []
    for name in wanted:
        if name not in known:
            raise ValueError(f"{path}: no animation \"{name}\" among {sorted(known)}")
        moves, turns, samplers = {}, {}, known[name].samplers
        times = [_floats(file, samplers[c.sampler].input)[:, 0] for c in known[name].channels]
        at = np.arange(0, max(t[-1] for t in times), 1 / FPS)
        for channel, t in zip(known[name].channels, times, strict=True):
            node, what = channel.target.node, channel.target.path
            values = _floats(file, samplers[channel.sampler].output)
            if what == "scale":
                continue
            if len(values) != len(t):
                raise ValueError(f"{path}: {name} is not sampled linearly")
            inside = np.clip(at, t[0], t[-1])
            if what == "rotation":
                turns[node] = Slerp(t, Rotation.from_quat(values))(inside).as_quat() if len(t) > 1 else np.tile(values, (len(at), 1))
            elif what == "translation":
                moves[node] = interp1d(t, values, axis=0)(inside) if len(t) > 1 else np.tile(values, (len(at), 1))
        out.append(Animation(name, [n.name for n in nodes], rest_pos, rest_rot, *world(moves, turns, len(at))))
    return out
