// The latency instrument as its readers meet it: a real browser reports what it shows, and the server's figures, its metrics and
// its trace tell of the same frames.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { serve } from "./odori.mjs";

let odori, browser, page, id;

before(async () => {
  odori = await serve(["demo", "--no-open"]);
  browser = await launch(["--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"]);
  page = await browser.newPage({ viewport: { width: 1280, height: 1000 } });
  await page.goto(odori.base);
  await page.waitForFunction(() => !document.querySelector("#play").disabled);
  await page.click("#play");
  await page.waitForFunction(() => document.querySelector("#state").dataset.kind === "live");
  id = await page.evaluate(() => localStorage.getItem("odori-session"));
});

after(async () => {
  await browser?.close();
  await odori?.stop();
});

test("the studio shows the way up to the screen", async () => {
  await page.waitForFunction(() => [...document.querySelectorAll("#waterfall th[scope=row]")].some((th) => th.textContent === "display"), null, {
    timeout: 15_000,
  });
  const stages = await page.$$eval("#waterfall th[scope=row]", (list) => list.map((th) => th.textContent));
  assert.deepEqual(stages, ["capture", "queue", "features", "beat", "motion", "puppet", "denoise", "compose", "encode", "send", "display"]);
  await page.waitForFunction(() => /\d ms/.test(document.querySelector("#seen").textContent));
  // Each is the middle of frames of its own: after a late one they agree again soon.
  const both = () => page.$$eval("#total, #seen", (list) => list.map((o) => parseFloat(o.textContent)));
  let [total, seen] = await both();
  for (let again = 0; again < 20 && seen < total; again++) {
    await new Promise((r) => setTimeout(r, 500));
    [total, seen] = await both();
  }
  assert.ok(seen >= total, `seen ${seen} ms after its sound, sent after ${total} ms`);
});

test("the trace has every stage of a frame, one after another, and serial stages do not overlap", async () => {
  // A few seconds' worth of frames and of the page's reports.
  await new Promise((r) => setTimeout(r, 4000));
  const { traceEvents } = await (await fetch(`${odori.base}/api/sessions/${id}/trace?seconds=3`)).json();
  assert.ok(traceEvents.every((e) => e.ph === "M" || Number.isInteger(e.ts)));
  const open = new Map();
  for (const e of traceEvents.filter((e) => e.ph === "b" || e.ph === "e")) {
    const key = `${e.id} ${e.name}`;
    open.set(key, (open.get(key) ?? 0) + (e.ph === "b" ? 1 : -1));
  }
  assert.ok([...open.values()].every((n) => n === 0), "every beginning has its end");
  const frames = new Map();
  for (const e of traceEvents.filter((e) => e.args?.frame !== undefined && (e.ph === "X" || e.ph === "b"))) {
    if (!frames.has(e.args.frame)) frames.set(e.args.frame, {});
    frames.get(e.args.frame)[e.name] = e;
  }
  const whole = [...frames.values()].filter((f) => f.display);
  assert.ok(whole.length >= 3, `${whole.length} of ${frames.size} frames were seen`);
  const inOrder = ["capture", "queue", "puppet", "compose", "encode", "send", "display"];
  for (const frame of whole) {
    const starts = inOrder.map((name) => frame[name].ts);
    assert.deepEqual(starts, [...starts].sort((a, b) => a - b), JSON.stringify(Object.fromEntries(inOrder.map((n, i) => [n, starts[i]]))));
  }
  for (const name of ["dancer", "encoder"]) {
    const tid = traceEvents.find((e) => e.name === "thread_name" && e.args.name === name).tid;
    const spans = traceEvents.filter((e) => e.ph === "X" && e.tid === tid).sort((a, b) => a.ts - b.ts);
    assert.ok(spans.length > 20);
    spans.slice(1).forEach((s, i) => assert.ok(spans[i].ts + spans[i].dur <= s.ts, `${spans[i].name} runs into ${s.name}`));
  }
  assert.equal((await fetch(`${odori.base}/api/sessions/${id}/trace?seconds=600`)).status, 400);
});

test("the metrics count the same frames and name no session", async () => {
  // Reports come every second or so, the first skew with the third.
  const read = async () => (await fetch(`${odori.base}/metrics`)).text();
  let text = await read();
  for (let i = 0; i < 20 && !/^odori_av_skew_seconds_count [1-9]/m.test(text); i++) {
    await new Promise((r) => setTimeout(r, 1000));
    text = await read();
  }
  const value = (series) => Number(text.split("\n").find((line) => line.startsWith(`${series} `))?.split(" ").pop());
  const frames = value('odori_frames_total{rung="denoise-1"}') + value('odori_frames_total{rung="puppet"}') + value('odori_frames_total{rung="puppet-half"}') + value('odori_frames_total{rung="idle-pose"}');
  assert.ok(frames > 30, text);
  for (const stage of ["queue", "features", "motion", "puppet", "encode", "send", "display"]) {
    assert.ok(value(`odori_stage_duration_seconds_count{stage="${stage}"}`) > 0, stage);
  }
  assert.ok(Math.abs(value('odori_stage_duration_seconds_count{stage="compose"}') - frames) <= 2);
  for (const name of ["frame_latency", "seen_latency", "av_skew", "beat_offset", "round_trip", "jitter"]) {
    assert.ok(value(`odori_${name}_seconds_count`) > 0, `${name}\n${text}`);
  }
  assert.ok(value("odori_encoded_bytes_total{codec=\"h264\"}") > 10_000);
  assert.ok(value("odori_sessions_capacity") >= 1);
  assert.ok(!text.includes(id.slice(0, 6)) && !text.includes("session="), "no session is named");
  assert.ok(text.trimEnd().endsWith("# EOF"));
});

test("sound in the room is danced to ahead by its picture's whole way", async () => {
  const status = async () => {
    const events = await fetch(`${odori.base}/api/sessions/${id}/events`);
    const { value } = await events.body.getReader().read();
    return JSON.parse(new TextDecoder().decode(value).replace(/^data: /, ""));
  };
  await page.click("#sources label:has-text('Microphone')");
  await page.waitForFunction(() => document.querySelector("#play").textContent === "Stop" && !document.querySelector("#play").disabled);
  let now;
  for (let i = 0; i < 40; i++) {
    await new Promise((r) => setTimeout(r, 500));
    now = await status();
    const way = now.total.p50_ms + now.network.round_trip_ms / 2 + (now.stages.find((s) => s.name === "display")?.p50_ms ?? 0);
    if (now.seen.p50_ms > 0 && Math.abs(now.horizon_ms - Math.min(250, way)) < 0.3 * way) break;
  }
  const way = now.total.p50_ms + now.network.round_trip_ms / 2 + now.stages.find((s) => s.name === "display").p50_ms;
  assert.ok(now.horizon_ms > 20 && Math.abs(now.horizon_ms - Math.min(250, way)) < 0.3 * way, `${now.horizon_ms} ms ahead, of a way of ${way} ms`);
});
