// A stranger runs `odori demo`, presses start, and a character dances with sound; the overlay is clear behind it.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { serve } from "./odori.mjs";

const PICTURES = "target/system-tests";
let odori;
let browser;
let context;

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  odori = await serve(["demo", "--no-open"]);
  browser = await launch();
  // One context, as one person's browser: the studio finds its session again.
  context = await browser.newContext({ viewport: { width: 1280, height: 900 } });
});

after(async () => {
  await browser?.close();
  await odori?.stop();
});

/** Frames, movement and loudness of the page's video over some seconds, measured in the page. */
const observe = (page, selector, seconds) =>
  page.evaluate(
    async ([selector, seconds]) => {
      const video = document.querySelector(selector);
      const canvas = new OffscreenCanvas(64, 64);
      const context = canvas.getContext("2d", { willReadFrequently: true });
      const audio = new AudioContext();
      const analyser = audio.createAnalyser();
      audio.createMediaStreamSource(video.srcObject).connect(analyser);
      const samples = new Float32Array(analyser.fftSize);
      let before = null;
      const moves = [];
      const loud = [];
      const quality = video.getVideoPlaybackQuality().totalVideoFrames;
      const end = performance.now() + seconds * 1000;
      while (performance.now() < end) {
        context.drawImage(video, 0, 0, 64, 64);
        const now = context.getImageData(0, 0, 64, 64).data;
        if (before) moves.push(now.reduce((sum, v, i) => sum + Math.abs(v - before[i]), 0) / now.length);
        before = now;
        analyser.getFloatTimeDomainData(samples);
        loud.push(Math.sqrt(samples.reduce((sum, v) => sum + v * v, 0) / samples.length));
        await new Promise((r) => setTimeout(r, 100));
      }
      await audio.close();
      const sorted = (list) => [...list].sort((a, b) => a - b)[list.length >> 1];
      return {
        frames: video.getVideoPlaybackQuality().totalVideoFrames - quality,
        movingShare: moves.filter((m) => m > 0.3).length / moves.length,
        loudness: sorted(loud),
        width: video.videoWidth,
        height: video.videoHeight,
      };
    },
    [selector, seconds],
  );

test("the studio plays a dancer that moves, with sound", async () => {
  const page = await context.newPage();
  const faults = [];
  page.on("pageerror", (error) => faults.push(String(error)));
  await page.goto(odori.base);
  await page.getByRole("button", { name: "Start" }).click();
  await page.waitForFunction(() => document.querySelector("#video").videoWidth > 0, null, { timeout: 20_000 });
  // It dances once it has heard the beat.
  await page.waitForFunction(() => /\d/.test(document.querySelector("#bpm").textContent), null, { timeout: 20_000 });
  const seen = await observe(page, "#video", 5);
  await page.screenshot({ path: `${PICTURES}/studio.png` });
  assert.equal(seen.width, 512);
  assert.ok(seen.frames > 60, `only ${seen.frames} frames in 5 s`);
  assert.ok(seen.movingShare > 0.6, `the picture moved in ${seen.movingShare} of the looks`);
  assert.ok(seen.loudness > 0.005, `loudness ${seen.loudness}`);
  assert.deepEqual(faults, []);
  await page.close();
});

test("the overlay is clear where there is no dancer", async () => {
  const studio = await context.newPage();
  await studio.goto(odori.base);
  await studio.waitForFunction(() => document.querySelector("#overlay-url").value.includes("/overlay/"));
  const url = await studio.inputValue("#overlay-url");
  await studio.getByRole("button", { name: "Start" }).click();
  await studio.waitForFunction(() => document.querySelector("#video").videoWidth > 0, null, { timeout: 20_000 });
  const page = await context.newPage();
  await page.setViewportSize({ width: 512, height: 512 });
  await page.goto(url);
  await page.waitForFunction(() => document.querySelector("#stage").width === 512, null, { timeout: 20_000 });
  await page.waitForTimeout(1000);
  const shot = await page.screenshot({ path: `${PICTURES}/overlay.png`, omitBackground: true });
  const alpha = await page.evaluate(async (base64) => {
    const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${base64}`)).blob());
    const context = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    const data = context.getImageData(0, 0, bitmap.width, bitmap.height).data;
    let clear = 0;
    let solid = 0;
    for (let i = 3; i < data.length; i += 4) {
      if (data[i] === 0) clear++;
      if (data[i] > 250) solid++;
    }
    const corners = [3, 4 * bitmap.width - 1, data.length - 4 * bitmap.width + 3, data.length - 1].map((i) => data[i]);
    return { clear: clear / (data.length / 4), solid: solid / (data.length / 4), corners };
  }, shot.toString("base64"));
  assert.deepEqual(alpha.corners, [0, 0, 0, 0]);
  assert.ok(alpha.clear > 0.5, `${alpha.clear} of the page is clear`);
  assert.ok(alpha.solid > 0.03, `${alpha.solid} of the page is solid`);
  await page.close();
  await studio.close();
});
