// An independent WebRTC stack (aiortc) watches: picture and sound arrive, move, and keep one time.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { after, before, test } from "node:test";
import { serve } from "./odori.mjs";

let odori;
before(async () => {
  odori = await serve(["serve"]);
});
after(() => odori?.stop());

const json = async (method, path, body) => {
  const response = await fetch(odori.base + path, { method, headers: { "content-type": "application/json" }, body: body && JSON.stringify(body) });
  assert.ok(response.ok, `${method} ${path}: ${response.status} ${await response.clone().text()}`);
  return response.status === 204 ? null : response.json();
};

const watch = (path, seconds, codec) =>
  new Promise((resolve, reject) => {
    const args = ["tests/peers/whep_client.py", odori.base + path, String(seconds), ...(codec ? [codec] : [])];
    execFile(process.env.PYTHON ?? "python3", args, { timeout: 60_000 }, (error, stdout, stderr) => {
      if (error) reject(new Error(`${error.message}\n${stderr}`));
      else resolve(JSON.parse(stdout.trim().split("\n").at(-1)));
    });
  });

for (const [codec, alpha] of [["H264", ""], ["VP8", ""], ["VP8", "?alpha=packed"]]) {
  test(`${codec}${alpha} arrives with sound`, async () => {
    const session = await json("POST", "/api/sessions", {});
    await json("POST", `/api/sessions/${session.id}/start`);
    const seen = await watch(session.whep + alpha, 6, codec);
    await json("DELETE", `/api/sessions/${session.id}`);
    assert.equal(seen.status, 201);
    assert.equal(seen.width, 512);
    assert.equal(seen.height, alpha ? 1024 : 512);
    assert.ok(seen.frames > 45, `${seen.frames} frames`);
    assert.ok(seen.moving_share > 0.5, `moved in ${seen.moving_share} of the frames`);
    assert.ok(seen.pts_increasing);
    assert.ok(seen.audio_packets > 150, `${seen.audio_packets} packets of sound`);
    assert.ok(seen.audio_rms > 0.005, `loudness ${seen.audio_rms}`);
  });
}

test("an offer without a codec of ours is refused in words", async () => {
  const session = await json("POST", "/api/sessions", {});
  const response = await fetch(odori.base + session.whep, { method: "POST", headers: { "content-type": "application/sdp" }, body: "v=0\r\n" });
  assert.ok(response.status >= 400 && response.status < 500, String(response.status));
  assert.ok((await response.json()).error.length > 10);
});
