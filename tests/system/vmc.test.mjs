// An independent OSC stack (python-osc) is sent the motion, whether or not anybody watches the picture.

import assert from "node:assert/strict";
import { spawn } from "node:child_process";
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

test("an address that is none is refused in words", async () => {
  const { code, stderr } = await run(["serve", "--port", "0", "--vmc", "somewhere"]);
  assert.equal(code, 1);
  assert.match(stderr, /--vmc somewhere.*HOST:PORT/);
});
