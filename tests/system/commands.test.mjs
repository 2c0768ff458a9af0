// The command line as a program uses it: one JSON line, deterministic poses, and faults in words.

import assert from "node:assert/strict";
import { createServer } from "node:net";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { crc32, deflateSync } from "node:zlib";
import { run } from "./odori.mjs";

const dir = mkdtempSync(join(tmpdir(), "odori-"));
after(() => rmSync(dir, { recursive: true, force: true }));
const at = (name) => join(dir, name);
const AVATAR = "assets/avatars/kana.png";

test("render writes a film, a BVH and keypoints, and ends with one JSON line", async () => {
  const args = ["render", "-", "--seconds", "3", "-o", at("a.mp4"), "--bvh", at("a.bvh"), "--keypoints", at("a.jsonl"), "--json"];
  const { code, stdout, stderr } = await run(args);
  assert.equal(code, 0, stderr);
  const report = JSON.parse(stdout.trim().split("\n").at(-1));
  assert.equal(report.frames, 90);
  assert.ok(Math.abs(report.seconds - 3) < 0.01);
  assert.ok(report.realtime_factor > 0);
  for (const stage of ["features", "beat", "motion", "puppet", "denoise", "compose", "encode"]) {
    assert.ok(report.stages[stage].p95_ms >= report.stages[stage].p50_ms, stage);
  }
  assert.deepEqual(report.rungs, { "denoise-1": 90 });
  assert.ok(report.backend.compute && report.backend.draw && report.models.motion);
  assert.ok(statSync(at("a.mp4")).size > 50_000);
  assert.match(readFileSync(at("a.bvh"), "utf8"), /^HIERARCHY\nROOT hips[\s\S]*Frames: 90\n/);
  const lines = readFileSync(at("a.jsonl"), "utf8").trim().split("\n").map((l) => JSON.parse(l));
  assert.equal(lines.length, 91);
  assert.equal(lines[0].names.length, 24);
  assert.equal(lines[0].fps, 30);
  assert.equal(lines[1].keypoints.length, 24);
  assert.ok(lines[90].t > lines[1].t);
});

test("the same song and seed give the same poses, another seed does not", async () => {
  const dance = async (name, seed) => {
    const { code, stderr } = await run(["render", "-", "--seconds", "4", "--seed", String(seed), "--bvh", at(name)]);
    assert.equal(code, 0, stderr);
    return readFileSync(at(name), "utf8");
  };
  const first = await dance("1.bvh", 5);
  assert.equal(await dance("2.bvh", 5), first);
  assert.notEqual(await dance("3.bvh", 6), first);
});

test("beats are told before they sound, and agree with the song's own tempo", async () => {
  const { code, stdout, stderr } = await run(["beats", "-", "--json"]);
  assert.equal(code, 0, stderr);
  const beats = stdout.trim().split("\n").map((l) => JSON.parse(l));
  const { bpm } = JSON.parse(readFileSync("assets/song/odori-groove.json", "utf8"));
  assert.ok(beats.every((b) => b.predicted_at <= b.time || b.late));
  const settled = beats.filter((b) => b.time > 8);
  const near = settled.filter((b) => Math.abs(((b.time * bpm) / 60 + 0.5) % 1 - 0.5) < (0.07 * bpm) / 60);
  assert.ok(near.length > 0.8 * settled.length, `${near.length} of ${settled.length} beats on the grid`);
});

test("an avatar is imported, previewed and rendered with", async () => {
  const made = await run(["avatar", "import", AVATAR, "--keypoints", "assets/avatars/kana.json", "-o", at("k.odori"), "--preview", at("k.png"), "--json"]);
  assert.equal(made.code, 0, made.stderr);
  const { report } = JSON.parse(made.stdout);
  assert.equal(report.keypoints_from, "sidecar");
  assert.ok(report.triangles > 500);
  const rendered = await run(["render", "-", "--avatar", at("k.odori"), "--seconds", "0.5", "-o", at("k.mp4"), "--json"]);
  assert.equal(rendered.code, 0, rendered.stderr);
});

test("a back is imported beside the front, and what is none is refused in words", async () => {
  const from = ["avatar", "import", AVATAR, "--keypoints", "assets/avatars/kana.json", "-o", at("b.odori")];
  const made = await run([...from, "--back", "assets/avatars/kana-back.png", "--preview", at("b.png"), "--json"]);
  assert.equal(made.code, 0, made.stderr);
  const { report, back } = JSON.parse(made.stdout);
  assert.equal(back.keypoints_from, "front");
  assert.ok(back.triangles > report.triangles / 2 && statSync(at("b-back.png")).size > 10_000);
  const rendered = await run(["render", "-", "--avatar", at("b.odori"), "--facing=90", "--seconds", "0.5", "-o", at("b.mp4"), "--json"]);
  assert.equal(rendered.code, 0, rendered.stderr);
  const other = await run([...from, "--back", "README.md"]);
  assert.notEqual(other.code, 0);
  assert.match(other.stderr, /README\.md[\s\S]*the back: the picture cannot be read/);
});

test("layers are written in the picture's size and read back", async () => {
  const from = ["avatar", "import", AVATAR, "--keypoints", "assets/avatars/kana.json"];
  const shown = await run([...from, "-o", at("l.odori"), "--show-layers", at("layers.png")]);
  assert.equal(shown.code, 0, shown.stderr);
  const size = (path) => [16, 20].map((o) => readFileSync(path).readUInt32BE(o));
  assert.deepEqual(size(at("layers.png")), size(AVATAR));
  const painted = await run([...from, "-o", at("p.odori"), "--layers", at("layers.png"), "--show-layers", at("again.png")]);
  assert.equal(painted.code, 0, painted.stderr);
  assert.ok(statSync(at("p.odori")).size > statSync(at("l.odori")).size, "the file keeps the paint");
  const other = await run([...from, "-o", at("x.odori"), "--layers", at("blank.png")]);
  assert.notEqual(other.code, 0);
  assert.match(other.stderr, /blank\.png[\s\S]*no part's colour/);
});

test("doctor says what it found and chose", async () => {
  const { code, stdout, stderr } = await run(["doctor", "--json"]);
  assert.equal(code, 0, stderr);
  const report = JSON.parse(stdout);
  assert.ok(["cpu", "gpu"].includes(report.backend.compute));
  assert.ok(report.reason.length > 5);
  assert.ok(report.frame_p95_ms > 0);
  assert.ok(report.styles.length > 1);
});

const bad = [
  ["a corrupt song", ["render", at("corrupt.mp3"), "--bvh", at("x.bvh")], /corrupt\.mp3/],
  ["an empty song", ["render", at("empty.wav"), "--bvh", at("x.bvh")], /empty/i],
  ["a song that is not there", ["beats", at("nowhere.wav")], /nowhere\.wav/],
  ["a picture without a figure", ["avatar", "import", at("blank.png"), "-o", at("x.odori")], /figure/],
  ["a picture that is none", ["avatar", "import", at("corrupt.mp3"), "-o", at("x.odori")], /corrupt\.mp3/],
  ["weights that are none", ["render", "-", "--models", dir, "--seconds", "1"], /tokenizer\.safetensors/],
  ["a film that cannot be written", ["render", "-", "--seconds", "1", "-o", "/nonexistent/x.mp4"], /nonexistent/],
  ["an unknown style", ["render", "-", "--seconds", "1", "--style", "polka"], /polka/],
];
writeFileSync(at("corrupt.mp3"), Buffer.from(Array.from({ length: 5000 }, (_, i) => (i * 7919) % 251)));
writeFileSync(at("empty.wav"), "");
writeFileSync(at("blank.png"), whitePng(64));

/** A white square, as a PNG. */
function whitePng(size) {
  const chunk = (type, data) => {
    const body = Buffer.concat([Buffer.from(type), data]);
    const out = Buffer.alloc(body.length + 8);
    out.writeUInt32BE(data.length, 0);
    body.copy(out, 4);
    out.writeUInt32BE(crc32(body), body.length + 4);
    return out;
  };
  const header = Buffer.alloc(13);
  header.writeUInt32BE(size, 0);
  header.writeUInt32BE(size, 4);
  header.set([8, 2], 8);
  const row = Buffer.concat([Buffer.from([0]), Buffer.alloc(size * 3, 255)]);
  const pixels = deflateSync(Buffer.concat(Array(size).fill(row)));
  return Buffer.concat([Buffer.from([137, 80, 78, 71, 13, 10, 26, 10]), chunk("IHDR", header), chunk("IDAT", pixels), chunk("IEND", Buffer.alloc(0))]);
}

for (const [name, args, message] of bad) {
  test(`${name} is refused in words`, async () => {
    const { code, stderr } = await run(args);
    assert.notEqual(code, 0);
    assert.match(stderr, message);
    assert.doesNotMatch(stderr, /panicked/);
  });
}

test("a busy port is named, with what to do", async () => {
  const holder = createServer();
  await new Promise((resolve) => holder.listen(0, "127.0.0.1", resolve));
  const { port } = holder.address();
  const { code, stderr } = await run(["serve", "--port", String(port)]);
  holder.close();
  assert.notEqual(code, 0);
  assert.match(stderr, new RegExp(`${port}[\\s\\S]*--port`));
});
