"""An independent VMC receiver on python-osc: prints its port, listens until it has heard enough, then prints what it heard as one JSON line.

usage: vmc_listener.py FRAMES LONGEST_SECONDS
"""

import json
import sys
import time

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_server import BlockingOSCUDPServer

frames, longest = int(sys.argv[1]), float(sys.argv[2])
times: list[float] = []
bones: dict[str, list[list[float]]] = {}
blends: dict[str, list[float]] = {}
other: dict[str, int] = {}

heard = Dispatcher()
heard.map("/VMC/Ext/T", lambda _, t: times.append(t))
heard.map("/VMC/Ext/Bone/Pos", lambda _, name, *numbers: bones.setdefault(name, []).append(list(numbers)))
heard.map("/VMC/Ext/Blend/Val", lambda _, name, value: blends.setdefault(name, []).append(value))
heard.set_default_handler(lambda address, *_: other.__setitem__(address, other.get(address, 0) + 1))

with BlockingOSCUDPServer(("127.0.0.1", 0), heard) as server:
    print(server.server_address[1], flush=True)
    server.timeout = 0.5
    end = time.monotonic() + longest
    while len(times) < frames and time.monotonic() < end:
        server.handle_request()


def unit(q):
    return abs(sum(v * v for v in q) - 1) < 1e-3


print(
    json.dumps(
        {
            "frames": len(times),
            "rate": (len(times) - 1) / (times[-1] - times[0]) if len(times) > 1 else 0,
            "rising": all(b > a for a, b in zip(times, times[1:])),
            "bones": {name: len(rows) for name, rows in bones.items()},
            "unit": all(unit(row[3:]) for rows in bones.values() for row in rows),
            "hips_height": [min(r[1] for r in bones.get("Hips", [[0, 0]])), max(r[1] for r in bones.get("Hips", [[0, 0]]))],
            # How far the arm turns: the range of its rotation's numbers.
            "arm_range": max((max(c) - min(c) for c in zip(*(r[3:] for r in bones.get("LeftUpperArm", [])))), default=0),
            "left_arm_x": bones.get("LeftUpperArm", [[0]])[0][0],
            "blends": {name: [min(values), max(values)] for name, values in blends.items()},
            "other": other,
        }
    ),
)
