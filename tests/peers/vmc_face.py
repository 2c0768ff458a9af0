"""An independent face tracker on python-osc, and a receiver of the dance beside it: prints the receiver's port, sends a face with shut eyes
and an open mouth to FACE_PORT until it has been seen for a while, then falls silent; prints as one JSON line what the dancer's face
showed while the face was sent, and after.

usage: vmc_face.py FACE_PORT LONGEST_SECONDS
"""

import json
import sys
import time

from pythonosc.dispatcher import Dispatcher
from pythonosc.osc_bundle_builder import IMMEDIATELY, OscBundleBuilder
from pythonosc.osc_message_builder import OscMessageBuilder
from pythonosc.osc_server import BlockingOSCUDPServer
from pythonosc.udp_client import UDPClient

face_port, longest = int(sys.argv[1]), float(sys.argv[2])
tracker = UDPClient("127.0.0.1", face_port)
shown: list[dict[str, float]] = [{}]


def message(address, *values):
    built = OscMessageBuilder(address)
    for value in values:
        built.add_arg(value)
    return built.build()


def bundle():
    built = OscBundleBuilder(IMMEDIATELY)
    for m in (message("/VMC/Ext/Blend/Val", "Blink_L", 1.0), message("/VMC/Ext/Blend/Val", "Blink_R", 1.0), message("/VMC/Ext/Blend/Val", "A", 0.95), message("/VMC/Ext/Blend/Apply")):
        built.add_content(m)
    return built.build()


heard = Dispatcher()
heard.map("/VMC/Ext/Blend/Val", lambda _, name, value: shown[-1].__setitem__(name, value))
heard.map("/VMC/Ext/Blend/Apply", lambda *_: shown.append({}))
heard.set_default_handler(lambda *_: None)


def frames(server, wanted, end, send):
    """The next frames whose whole face was heard."""
    first = len(shown)
    while len(shown) - first < wanted and time.monotonic() < end:
        if send:
            tracker.send(bundle())
        server.handle_request()
    return [s for s in shown[first:] if {"Blink", "A"} <= s.keys()]


with BlockingOSCUDPServer(("127.0.0.1", 0), heard) as server:
    print(server.server_address[1], flush=True)
    server.timeout = 0.02
    end = time.monotonic() + longest
    frames(server, 30, end, True)
    during = frames(server, 60, end, True)
    frames(server, 30, end, False)
    after = frames(server, 60, end, False)

print(json.dumps({"during": [[f["Blink"], f["A"]] for f in during], "after": [[f["Blink"], f["A"]] for f in after]}))
