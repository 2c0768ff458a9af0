// Tells the server when the pictures it sent were seen: the end of the way that only the viewer can measure.

import type { Peer } from "./peer";

const EVERY_MS = 500;
/** What one report may carry. */
const MOST_FRAMES = 128;

interface Shown {
  rtp: number;
  shown_after_ms: number;
}

/** How far the picture lies before the sound that is heard with it, in ms; null while the browser cannot say. */
async function skew(pc: RTCPeerConnection): Promise<number | null> {
  let [video, audio] = [NaN, NaN];
  for (const stats of (await pc.getStats()).values()) {
    if (stats.type !== "inbound-rtp") continue;
    if (stats.kind === "video") video = stats.estimatedPlayoutTimestamp;
    else audio = stats.estimatedPlayoutTimestamp;
  }
  return Number.isFinite(video - audio) ? video - audio : null;
}

/** Reports what `video` shows of `peer` until the returned function is called. A report that fails is no one's loss. */
export function reportShown(video: HTMLVideoElement, peer: Peer, token: string | null): () => void {
  let frames: Shown[] = [];
  let over = false;
  const note: VideoFrameRequestCallback = (_now, frame) => {
    if (over) return;
    video.requestVideoFrameCallback(note);
    if (frame.rtpTimestamp === undefined || frame.receiveTime === undefined) return;
    const shown_after_ms = Math.min(5000, Math.max(0, frame.expectedDisplayTime - frame.receiveTime));
    if (frames.length < MOST_FRAMES) frames.push({ rtp: frame.rtpTimestamp, shown_after_ms });
  };
  video.requestVideoFrameCallback(note);
  const headers: Record<string, string> = { "content-type": "application/json" };
  if (token) headers.authorization = `Bearer ${token}`;
  const timer = setInterval(async () => {
    if (frames.length === 0) return;
    const shown = frames;
    frames = [];
    try {
      const av_skew_ms = await skew(peer.pc);
      const heard = av_skew_ms !== null && Math.abs(av_skew_ms) <= 5000 ? av_skew_ms : null;
      const response = await fetch(`${peer.location}/report`, { method: "POST", headers, body: JSON.stringify({ frames: shown, av_skew_ms: heard }) });
      if (response.status === 404) stop();
    } catch {
      // The next report says it all again.
    }
  }, EVERY_MS);
  function stop(): void {
    over = true;
    clearInterval(timer);
  }
  return stop;
}
