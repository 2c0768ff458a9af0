// An independent OSC stack (python-osc) is sent the motion, whether or not anybody watches the picture.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createSocket } from "node:dgram";
import { createInterface } from "node:readline";
import { test } from "node:test";
import { run, serve } from "./odori.mjs";

test("the dance moves another program's character by the VMC protocol", async () => {
  const listener = spawn(process.env.PYTHON ?? "python3", ["tests/peers/vmc_listener.py", "300", "40"], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: listener.stdout })[Symbol.asyncIterator]();
  const port = Number((await lines.next()).value);
  const odori = await serve(["serve", "--vmc", `127.0.0.1:${port}`]);
  try {
    const made = await (await fetch(`${odori.base}/api/sessions`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" })).json();
    assert.ok((await fetch(`${odori.base}/api/sessions/${made.id}/start`, { method: "POST" })).ok);
    const heard = JSON.parse((await lines.next()).value);
    assert.ok(heard.frames >= 300, `${heard.frames} frames`);
    assert.ok(heard.rising && Math.abs(heard.rate - 30) < 1, `${heard.rate} a second`);
    assert.equal(Object.keys(heard.bones).length, 52);
    assert.ok(Object.values(heard.bones).every((n) => n >= heard.frames - 1), "every bone in every frame");
    assert.ok(heard.unit);
    assert.ok(heard.hips_height[0] > 0.4 && heard.hips_height[1] < 1.3, `hips from ${heard.hips_height}`);
    assert.ok(heard.arm_range > 0.2, `the arm turns by ${heard.arm_range}`);
    assert.ok(heard.left_arm_x < 0, "Unity's X axis points to the character's right");
    assert.ok(heard.blends.Blink && heard.blends.A && heard.blends.A[1] > 0.2, JSON.stringify(heard.blends));
    assert.ok(heard.other["/VMC/Ext/OK"] >= heard.frames - 1 && heard.other["/VMC/Ext/Root/Pos"] && heard.other["/VMC/Ext/Blend/Apply"]);
  } finally {
    await odori.stop();
    listener.kill();
  }
});

test("a tracker's face is the dancer's while it is there", async () => {
  const socket = createSocket("udp4");
  const port = await new Promise((done) => socket.bind(0, "127.0.0.1", () => done(socket.address().port)));
  await new Promise((done) => socket.close(done));
  const tracker = spawn(process.env.PYTHON ?? "python3", ["tests/peers/vmc_face.py", String(port), "60"], { stdio: ["ignore", "pipe", "inherit"] });
  const lines = createInterface({ input: tracker.stdout })[Symbol.asyncIterator]();
  const heard = Number((await lines.next()).value);
  const odori = await serve(["serve", "--vmc", `127.0.0.1:${heard}`, "--vmc-face", `127.0.0.1:${port}`]);
  try {
    const made = await (await fetch(`${odori.base}/api/sessions`, { method: "POST", headers: { "content-type": "application/json" }, body: "{}" })).json();
    assert.ok((await fetch(`${odori.base}/api/sessions/${made.id}/start`, { method: "POST" })).ok);
    const { during, after } = JSON.parse((await lines.next()).value);
    assert.ok(during.length >= 50 && after.length >= 50, `${during.length} and ${after.length} frames`);
    assert.ok(during.every(([lids, mouth]) => lids > 0.98 && mouth > 0.85), JSON.stringify(during.slice(0, 5)));
    assert.ok(after.some(([lids]) => lids < 0.3), "eyes open again by themselves");
  } finally {
    await odori.stop();
    tracker.kill();
  }
});

test("an address that is none is refused in words", async () => {
  const { code, stderr } = await run(["serve", "--port", "0", "--vmc", "somewhere"]);
  assert.equal(code, 1);
  assert.match(stderr, /--vmc somewhere.*HOST:PORT/);
  const face = await run(["serve", "--port", "0", "--vmc-face", "somewhere"]);
  assert.equal(face.code, 1);
  assert.match(face.stderr, /--vmc-face somewhere.*HOST:PORT/);
});
