// WHEP and WHIP over fetch: one POST with an offer, one Location to DELETE. Knows no page.

export class PeerError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

/** What the server said, in words for a person. */
export async function explain(response: Response): Promise<string> {
  const text = await response.text().catch(() => "");
  try {
    const body = JSON.parse(text) as { error?: string };
    if (body.error) return body.error;
  } catch {
    // Not JSON: the text itself is the reason.
  }
  return text.trim() || `the server answered ${response.status}`;
}

/** Waits until the browser has its own addresses, at most a second: the offer then needs no trickle. */
async function gathered(pc: RTCPeerConnection): Promise<void> {
  if (pc.iceGatheringState === "complete") return;
  await new Promise<void>((resolve) => {
    const timer = setTimeout(resolve, 1000);
    pc.addEventListener("icegatheringstatechange", () => {
      if (pc.iceGatheringState === "complete") {
        clearTimeout(timer);
        resolve();
      }
    });
  });
}

export interface Peer {
  pc: RTCPeerConnection;
  /** The resource that the server made for it. */
  location: string;
  close(): Promise<void>;
}

async function negotiate(pc: RTCPeerConnection, url: string, token: string | null): Promise<Peer> {
  await pc.setLocalDescription(await pc.createOffer());
  await gathered(pc);
  const headers: Record<string, string> = { "content-type": "application/sdp" };
  if (token) headers.authorization = `Bearer ${token}`;
  const response = await fetch(url, { method: "POST", headers, body: pc.localDescription!.sdp });
  if (response.status !== 201) {
    pc.close();
    throw new PeerError(await explain(response), response.status);
  }
  const made = response.headers.get("location");
  if (!made) {
    pc.close();
    throw new PeerError("the server named no resource for the connection", response.status);
  }
  const location = new URL(made, new URL(url, document.baseURI)).href;
  await pc.setRemoteDescription({ type: "answer", sdp: await response.text() });
  return {
    pc,
    location,
    async close() {
      pc.close();
      const bare = token ? { authorization: `Bearer ${token}` } : undefined;
      await fetch(location, { method: "DELETE", headers: bare, keepalive: true }).catch(() => {});
    },
  };
}

/** Receives picture and sound; `onStream` is called once both are known. */
export async function watch(url: string, token: string | null, onStream: (stream: MediaStream) => void): Promise<Peer> {
  const pc = new RTCPeerConnection();
  const video = pc.addTransceiver("video", { direction: "recvonly" });
  const audio = pc.addTransceiver("audio", { direction: "recvonly" });
  // One stream for both tracks: the browser keeps them in sync.
  const stream = new MediaStream([video.receiver.track, audio.receiver.track]);
  pc.addEventListener("track", (event) => onStream(event.streams[0] ?? stream), { once: true });
  return negotiate(pc, url, token);
}

/** Sends sound. */
export async function publish(url: string, token: string | null, stream: MediaStream): Promise<Peer> {
  const pc = new RTCPeerConnection();
  for (const track of stream.getAudioTracks()) pc.addTransceiver(track, { direction: "sendonly", streams: [stream] });
  return negotiate(pc, url, token);
}
