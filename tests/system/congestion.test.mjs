// A path that loses, narrows and breaks, and what a viewer has of it: the picture goes on, gets smaller where it must, and its
// latency comes back to what it was.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { routeThrough } from "./narrow_path.mjs";
import { serve } from "./odori.mjs";

let odori, browser, page, path;
const pause = (s) => new Promise((r) => setTimeout(r, s * 1000));

/** Frames drawn and received so far, and how long they took from packet to decoder's exit. */
const look = () =>
  page.evaluate(async () => {
    const video = [...(await window.peers[0].getStats()).values()].find((s) => s.type === "inbound-rtp" && s.kind === "video");
    const { framesDecoded, jitterBufferDelay, jitterBufferEmittedCount } = video;
    return { framesDecoded, jitterBufferDelay, jitterBufferEmittedCount, drawn: window.latest.frames, width: document.querySelector("#video").videoWidth };
  });
const status = () => page.evaluate(() => window.latest);

async function over(seconds) {
  const old = await look();
  await pause(seconds);
  const now = await look();
  return {
    fps: (now.framesDecoded - old.framesDecoded) / seconds,
    // Of what the engine drew: how much that is depends on what else the machine does, and is not the path's doing.
    arrived: (now.framesDecoded - old.framesDecoded) / Math.max(1, now.drawn - old.drawn),
    buffer_ms: (1000 * (now.jitterBufferDelay - old.jitterBufferDelay)) / Math.max(1, now.jitterBufferEmittedCount - old.jitterBufferEmittedCount),
    width: now.width,
  };
}

before(async () => {
  odori = await serve(["demo", "--no-open"]);
  browser = await launch();
  page = await browser.newPage();
  await page.addInitScript(() => {
    window.peers = [];
    const Real = RTCPeerConnection;
    window.RTCPeerConnection = class extends Real {
      constructor(...args) {
        super(...args);
        window.peers.push(this);
      }
    };
    const Source = EventSource;
    window.EventSource = class extends Source {
      constructor(...args) {
        super(...args);
        this.addEventListener("message", (event) => (window.latest = JSON.parse(event.data)));
      }
    };
  });
  const held = await routeThrough(page);
  await page.goto(odori.base);
  await page.waitForFunction(() => !document.querySelector("#play").disabled);
  await page.click("#play");
  await page.waitForFunction(() => document.querySelector("#video").videoWidth > 0, null, { timeout: 20_000 });
  path = held.path;
  assert.ok(path, "the connection goes through the path");
  await pause(4);
});

after(async () => {
  await browser?.close();
  await path?.close();
  await odori?.stop();
});

test("loss and an outage pass, and the latency is what it was", async () => {
  const calm = await over(3);
  assert.ok(calm.fps > 5, JSON.stringify(calm));
  assert.ok(calm.arrived > 0.8, JSON.stringify(calm));
  path.loss = 0.05;
  const lossy = await over(5);
  // Before anything can fail: the next test's path is whole.
  path.loss = 0;
  assert.ok(lossy.arrived > 0.6, `${JSON.stringify(lossy)} with loss, ${JSON.stringify(calm)} without`);
  path.cut = true;
  await pause(2);
  path.cut = false;
  // As soon as it may be again: how long that takes is for the measurements.
  let back = await over(3);
  const good = () => back.arrived > 0.8 && back.buffer_ms < calm.buffer_ms + 40;
  for (let again = 0; again < 8 && !good(); again++) back = await over(3);
  assert.ok(good(), `${JSON.stringify(back)} after, ${JSON.stringify(calm)} before`);
  assert.ok((await status()).network.round_trip_ms > 0, "the way was measured");
});

test("a narrow path gets fewer bits and a smaller picture, and the whole one again when it widens", async () => {
  const { bitrate_kbps } = await status();
  path.kbps = 250;
  await page.waitForFunction(() => document.querySelector("#video").videoWidth === 256, null, { timeout: 30_000 });
  const narrow = await status();
  assert.ok(narrow.bitrate_kbps < Math.min(450, bitrate_kbps), `${narrow.bitrate_kbps} kbit/s`);
  const slow = await over(4);
  assert.ok(slow.fps > 5, JSON.stringify(slow));
  path.kbps = Infinity;
  await page.waitForFunction(() => document.querySelector("#video").videoWidth === 512, null, { timeout: 60_000 });
});
