"""An independent WHEP viewer on aiortc: watches for some seconds and prints what it saw and heard as one JSON line.

usage: whep_client.py URL SECONDS [VIDEO_CODEC]
"""

import asyncio
import json
import sys
import time
import urllib.request

import numpy as np
from aiortc import RTCPeerConnection, RTCRtpReceiver, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError


def post(url: str, sdp: str) -> tuple[int, str, str]:
    request = urllib.request.Request(url, sdp.encode(), {"content-type": "application/sdp"}, method="POST")
    with urllib.request.urlopen(request, timeout=10) as response:
        return response.status, response.headers["location"], response.read().decode()


async def watch(url: str, seconds: float, codec: str | None) -> dict:
    pc = RTCPeerConnection()
    video = pc.addTransceiver("video", direction="recvonly")
    pc.addTransceiver("audio", direction="recvonly")
    if codec:
        wanted = [c for c in RTCRtpReceiver.getCapabilities("video").codecs if c.mimeType.lower() == f"video/{codec.lower()}"]
        video.setCodecPreferences(wanted)
    seen = {"video": [], "audio": []}

    async def drain(track):
        while True:
            try:
                frame = await track.recv()
            except MediaStreamError:
                return
            now = time.monotonic()
            if track.kind == "video":
                grey = frame.to_ndarray(format="gray")
                seen["video"].append((now, float(frame.pts * frame.time_base), grey[::4, ::4].astype(np.float32), frame.width, frame.height))
            else:
                sound = frame.to_ndarray().astype(np.float32) / 32768.0
                seen["audio"].append((now, float(frame.pts * frame.time_base), float(np.sqrt(np.mean(sound**2))), frame.samples))

    tasks = []
    pc.on("track", lambda track: tasks.append(asyncio.ensure_future(drain(track))))
    await pc.setLocalDescription(await pc.createOffer())
    started = time.monotonic()
    status, location, answer = post(url, pc.localDescription.sdp)
    await pc.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    await asyncio.sleep(seconds)
    await pc.close()
    for task in tasks:
        task.cancel()

    frames, sounds = seen["video"], seen["audio"]
    moves = [float(np.abs(a[2] - b[2]).mean()) for a, b in zip(frames, frames[1:]) if a[2].shape == b[2].shape]
    return {
        "status": status,
        "location": location,
        "codec": codec,
        "frames": len(frames),
        "width": frames[-1][3] if frames else 0,
        "height": frames[-1][4] if frames else 0,
        "first_frame_s": frames[0][0] - started if frames else None,
        "moving_share": float(np.mean([m > 0.2 for m in moves])) if moves else 0.0,
        "pts_increasing": all(a[1] < b[1] for a, b in zip(frames, frames[1:])),
        "audio_packets": len(sounds),
        "audio_rms": float(np.median([s[2] for s in sounds])) if sounds else 0.0,
        "media_s": {"video": frames[-1][1] - frames[0][1] if frames else 0, "audio": sounds[-1][1] - sounds[0][1] if sounds else 0},
    }


if __name__ == "__main__":
    print(json.dumps(asyncio.run(watch(sys.argv[1], float(sys.argv[2]), sys.argv[3] if len(sys.argv) > 3 else None))))
