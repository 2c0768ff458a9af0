// Measures how the engine keeps its budget while the processor is stolen: `node tests/system/measure_load.mjs [ARGS OF demo]` (after
// `./dev setup` and a release build). A busy loop on every core for five seconds; prints one JSON object from the session's own
// trace: when it stepped down and came back, by which rungs, and the longest gap between frames sent.

import { spawn } from "node:child_process";
import { cpus } from "node:os";
import { launch } from "./browser.mjs";
import { serve } from "./odori.mjs";

const LOAD_S = 5;
const odori = await serve(["demo", "--no-open", ...process.argv.slice(2)]);
const browser = await launch();
const pause = (s) => new Promise((r) => setTimeout(r, s * 1000));
const round = (x) => Math.round(x * 1000) / 1000;

/** Frames of the session's trace, with the seconds that their sending lies before now. */
async function frames(id, seconds) {
  const { traceEvents } = await (await fetch(`${odori.base}/api/sessions/${id}/trace?seconds=${seconds}`)).json();
  const at = performance.now() / 1000;
  const sent = traceEvents.filter((e) => e.ph === "e" && e.name === "send").map((e) => ({ ts: e.ts / 1e6, rung: e.args.rung }));
  const newest = Math.max(...sent.map((f) => f.ts));
  return sent.map((f) => ({ at: at - (newest - f.ts), rung: f.rung })).sort((a, b) => a.at - b.at);
}

try {
  const page = await browser.newPage();
  await page.goto(odori.base);
  await page.waitForFunction(() => !document.querySelector("#play").disabled);
  await page.click("#play");
  await page.waitForFunction(() => document.querySelector("#state").dataset.kind === "live");
  await pause(8);
  const id = await page.evaluate(() => localStorage.getItem("odori-session"));
  const calm = await frames(id, 5);
  const best = calm.at(-1).rung;

  const began = performance.now() / 1000;
  const loops = cpus().map(() => spawn(process.execPath, ["-e", `const end = Date.now() + ${LOAD_S * 1000}; while (Date.now() < end);`]));
  await Promise.all(loops.map((loop) => new Promise((resolve) => loop.once("close", resolve))));
  const ended = performance.now() / 1000;
  await pause(6);
  const all = (await frames(id, 15)).filter((f) => f.at > began - 2);

  const gaps = all.slice(1).map((f, i) => f.at - all[i].at);
  const during = all.filter((f) => f.at >= began && f.at < ended);
  const count = (list) => Object.fromEntries([...new Set(list.map((f) => f.rung))].map((rung) => [rung, list.filter((f) => f.rung === rung).length]));
  const firstDown = all.find((f) => f.at >= began && f.rung !== best);
  const lastBelow = all.findLast((f) => f.rung !== best);
  // Seconds since the load began.
  const changes = all.slice(1).filter((f, i) => f.rung !== all[i].rung).map((f) => `${(f.at - began).toFixed(2)} ${f.rung}`);
  const status = await (await fetch(`${odori.base}/metrics`)).text();
  console.log(
    JSON.stringify(
      {
        best,
        load_s: round(ended - began),
        stepped_down_after_s: firstDown ? round(firstDown.at - began) : null,
        back_after_s: !lastBelow || lastBelow.at < ended ? 0 : round(lastBelow.at - ended),
        rungs_under_load: count(during),
        rung_changes: changes,
        longest_gap_ms: round(1000 * Math.max(...gaps)),
        frames_under_load_per_s: round(during.length / (ended - began)),
        deadline_misses: Number(/odori_deadline_misses_total (\d+)/.exec(status)[1]),
      },
      null,
      2,
    ),
  );
} finally {
  await browser.close();
  await odori.stop();
}
