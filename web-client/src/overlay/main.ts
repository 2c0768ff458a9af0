// The overlay: a dancing avatar on a clear background, made for an OBS Browser Source. It comes back by itself.

import { MatteCanvas } from "../lib/matte";
import { PeerError, watch, type Peer } from "../lib/peer";
import { reportShown } from "../lib/report";

const RETRY_MIN_MS = 500;
const RETRY_MAX_MS = 8000;

const query = new URLSearchParams(location.search);
const session = location.pathname.split("/").filter(Boolean).pop() ?? "";
const token = query.get("token");
const canvas = document.querySelector<HTMLCanvasElement>("#stage")!;
const notice = document.querySelector<HTMLElement>("#notice")!;

const video = document.createElement("video");
video.playsInline = true;
video.autoplay = true;
// OBS takes the page's sound if it is asked for with ?sound=1; a dancer beside the streamer's own music is silent.
video.muted = query.get("sound") !== "1";

function tell(message: string | null): void {
  notice.hidden = message === null;
  notice.textContent = message ?? "";
}

function broken(pc: RTCPeerConnection): Promise<void> {
  return new Promise((resolve) => {
    pc.addEventListener("connectionstatechange", () => {
      if (pc.connectionState === "failed" || pc.connectionState === "closed") resolve();
      // "disconnected" often heals; four seconds later it has not.
      if (pc.connectionState === "disconnected") {
        setTimeout(() => pc.connectionState !== "connected" && resolve(), 4000);
      }
    });
  });
}

async function live(): Promise<void> {
  const painter = new MatteCanvas(canvas, video);
  painter.start();
  let wait = RETRY_MIN_MS;
  for (;;) {
    let peer: Peer | undefined;
    let stopReports = () => {};
    try {
      peer = await watch(`/whep/${session}?alpha=packed`, token, (stream) => {
        video.srcObject = stream;
        void video.play().catch(() => {
          video.muted = true;
          void video.play();
        });
      });
      stopReports = reportShown(video, peer, token);
      tell(null);
      wait = RETRY_MIN_MS;
      await broken(peer.pc);
    } catch (error) {
      if (error instanceof PeerError && error.status === 404) tell("This overlay's session has ended. Copy the link from the studio again.");
      else if (error instanceof PeerError && error.status === 401) tell("This overlay link lacks its token. Copy the link from the studio again.");
      else if (query.has("debug")) tell(String(error));
    }
    stopReports();
    await peer?.close();
    painter.clear();
    await new Promise((resolve) => setTimeout(resolve, wait));
    wait = Math.min(wait * 2, RETRY_MAX_MS);
  }
}

live().catch((error: Error) => tell(error.message));
