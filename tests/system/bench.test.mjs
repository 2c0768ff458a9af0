// The latency instrument as a person runs it: a report that is valid by the published schema, a page, a comparison.

import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import Ajv from "ajv/dist/2020.js";
import { run } from "./odori.mjs";

const dir = mkdtempSync(join(tmpdir(), "odori-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const at = (name) => join(dir, name);
const json = (path) => JSON.parse(readFileSync(path, "utf8"));
// Formats here are only the widths of numbers.
const valid = new Ajv({ strict: false, validateFormats: false }).compile(json("docs/bench.schema.json"));

test("stages are measured into a valid report and a page that stands alone", async () => {
  const { code, stdout, stderr } = await run(["bench", "stages", "--seconds", "1", "--no-browser", "-o", at("a"), "--json"]);
  assert.equal(code, 0, stderr);
  const report = JSON.parse(stdout);
  assert.ok(valid(report), JSON.stringify(valid.errors));
  assert.deepEqual(json(at("a.json")), report);
  const names = report.sections[0].spreads.map((s) => s.name);
  for (const stage of ["features", "beat", "motion", "puppet", "denoise", "compose", "encode", "whole frame"]) assert.ok(names.includes(stage), stage);
  for (const s of report.sections[0].spreads) assert.ok(s.count > 0 && s.p50 <= s.p95 && s.p95 <= s.p99 && s.p99 <= s.max, s.name);
  const page = readFileSync(at("a.html"), "utf8");
  assert.match(page, /<svg/);
  assert.doesNotMatch(page, /(src|href)=/);
});

test("a report that lost a field is not valid", () => {
  const report = json(at("a.json"));
  delete report.manifest.cpu;
  assert.equal(valid(report), false);
});

test("a click goes in and is seen, in Chromium and in the native client", { timeout: 240_000 }, async () => {
  const { stdout, stderr } = await run(["bench", "glass", "--seconds", "4", "--json"], { timeout: 230_000 });
  const report = JSON.parse(stdout);
  assert.ok(valid(report), JSON.stringify(valid.errors));
  assert.ok(report.manifest.browser, stderr);
  const glass = report.sections.find((s) => s.id === "glass");
  for (const eye of ["native client", "Chromium"]) {
    const clicks = glass.spreads.find((s) => s.name === `click in to picture seen, ${eye}`);
    assert.ok(clicks.count > 5, `${clicks.count} clicks seen, ${eye}`);
    assert.ok(clicks.min > 0, `nothing is seen before it sounds: ${clicks.min} ms, ${eye}`);
  }
  // Both found the delay, or said that they did not: which of the two depends on what else this machine does.
  const calibration = report.sections.find((s) => s.id === "glass-calibration");
  assert.equal(calibration.checks.filter((c) => c.of_the_meter).length, 2);
});

test("two reports are compared, and one that became worse fails", async () => {
  const report = json(at("a.json"));
  for (const s of report.sections[0].spreads) for (const p of ["p50", "p95", "p99"]) s[p] = s[p] * 2 + 1;
  writeFileSync(at("b.json"), JSON.stringify(report));
  const same = await run(["bench", "compare", at("a.json"), at("a.json"), "--fail-over", "10"]);
  assert.equal(same.code, 0, same.stderr);
  const worse = await run(["bench", "compare", at("a.json"), at("b.json"), "--fail-over", "10"]);
  assert.notEqual(worse.code, 0);
  assert.match(worse.stdout, /WORSE/);
});

test("a network that does not exist is refused in words", async () => {
  const { code, stderr } = await run(["bench", "networks", "--network", "carrier-pigeon"]);
  assert.notEqual(code, 0);
  assert.match(stderr, /carrier-pigeon[\s\S]*wifi/);
});
