// Measures a live session as a viewer meets it: `node tests/system/measure_live.mjs [SECONDS]` (after `./dev setup` and a
// release build). Prints one JSON object: frame rate, first frame, sound in to packet out, skew, rungs, memory.

import { readFileSync } from "node:fs";
import { launch } from "./browser.mjs";
import { serve } from "./odori.mjs";

const seconds = Number(process.argv[2] ?? 120);
const odori = await serve(["demo", "--no-open"]);
const browser = await launch();
const rss = () => Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${odori.pid}/status`, "utf8"))[1]) / 1024;
const quantile = (list, share) => [...list].sort((a, b) => a - b)[Math.round((list.length - 1) * share)];

try {
  const page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  // The page's own connection and event stream, watched from outside it.
  await page.addInitScript(() => {
    window.peers = [];
    const Real = RTCPeerConnection;
    window.RTCPeerConnection = class extends Real {
      constructor(...args) {
        super(...args);
        window.peers.push(this);
      }
    };
    window.statuses = [];
    const Source = EventSource;
    window.EventSource = class extends Source {
      constructor(...args) {
        super(...args);
        this.addEventListener("message", (event) => window.statuses.push(JSON.parse(event.data)));
      }
    };
  });
  await page.goto(odori.base);
  await page.waitForFunction(() => !document.querySelector("#play").disabled);
  const firstFrame = await page.evaluate(
    () =>
      new Promise((resolve) => {
        const video = document.querySelector("#video");
        const start = performance.now();
        video.requestVideoFrameCallback(() => resolve(performance.now() - start));
        document.querySelector("#play").click();
      }),
  );
  await page.waitForTimeout(3000);
  const look = () =>
    page.evaluate(async () => {
      const stats = [...(await window.peers[0].getStats()).values()].filter((s) => s.type === "inbound-rtp");
      const of = (kind) => stats.find((s) => s.kind === kind);
      const [video, audio] = [of("video"), of("audio")];
      return {
        decoded: video.framesDecoded,
        dropped: video.framesDropped,
        skew: video.estimatedPlayoutTimestamp - audio.estimatedPlayoutTimestamp,
        videoBuffer: video.jitterBufferDelay / video.jitterBufferEmittedCount,
        audioBuffer: audio.jitterBufferDelay / audio.jitterBufferEmittedCount,
        freezes: video.freezeCount,
      };
    });
  await page.evaluate(() => (window.statuses = []));
  const before = await look();
  const memory = [rss()];
  const skews = [];
  const began = Date.now();
  while (Date.now() - began < seconds * 1000) {
    await page.waitForTimeout(1000);
    memory.push(rss());
    skews.push((await look()).skew);
  }
  const after = await look();
  const statuses = await page.evaluate(() => window.statuses);
  const last = statuses.at(-1);
  const rungs = {};
  for (const s of statuses) rungs[s.rung] = (rungs[s.rung] ?? 0) + 1;
  const round = (x) => Math.round(x * 100) / 100;
  const known = skews.filter(Number.isFinite);
  console.log(
    JSON.stringify(
      {
        seconds,
        first_frame_ms: round(firstFrame),
        fps_decoded: round((after.decoded - before.decoded) / seconds),
        frames_dropped_by_viewer: after.dropped - before.dropped,
        freezes: after.freezes - before.freezes,
        late_frames: last.late_frames - statuses[0].late_frames,
        frames: last.frames - statuses[0].frames,
        drops: last.drops,
        sound_in_to_packet_out_ms: {
          p50: round(quantile(statuses.map((s) => s.total.p50_ms), 0.5)),
          p95: round(quantile(statuses.map((s) => s.total.p95_ms), 0.5)),
          worst_window_p95: round(Math.max(...statuses.map((s) => s.total.p95_ms))),
        },
        stages_p95_ms: Object.fromEntries(last.stages.map((s) => [s.name, round(s.p95_ms)])),
        rung_share: Object.fromEntries(Object.entries(rungs).map(([k, n]) => [k, round(n / statuses.length)])),
        av_skew_ms: {
          median: round(quantile(known, 0.5)),
          p05: round(quantile(known, 0.05)),
          p95: round(quantile(known, 0.95)),
          // Drift shows between the two.
          first_minute: round(quantile(known.slice(0, 60), 0.5)),
          last_minute: round(quantile(known.slice(-60), 0.5)),
        },
        jitter_buffer_ms: { video: round(after.videoBuffer * 1000), audio: round(after.audioBuffer * 1000) },
        memory_mb: { start: round(memory[0]), end: round(memory.at(-1)) },
      },
      null,
      2,
    ),
  );
} finally {
  await browser.close();
  await odori.stop();
}
