// A joint in the wrong place is dragged to the right one in the studio, and what belongs to another part is painted so, while the
// dancer dances.

import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { after, before, test } from "node:test";
import { launch } from "./browser.mjs";
import { serve } from "./odori.mjs";

const PICTURES = "target/system-tests";
let odori;
let browser;
let page;
const faults = [];

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  odori = await serve(["demo", "--no-open"]);
  browser = await launch();
  page = await browser.newPage({ viewport: { width: 1280, height: 900 } });
  page.on("pageerror", (error) => faults.push(String(error)));
  await page.goto(odori.base);
  await page.getByRole("button", { name: "Start" }).click();
  await page.waitForFunction(() => document.querySelector("#video").videoWidth > 0, null, { timeout: 20_000 });
});

after(async () => {
  await browser?.close();
  await odori?.stop();
});

const avatars = async () => (await fetch(`${odori.base}/api/avatars`)).json();
const points = async (id) => (await fetch(`${odori.base}/api/avatars/${id}/points`)).json();
const own = async () => {
  const id = await page.evaluate(() => localStorage.getItem("odori-session"));
  return (await fetch(`${odori.base}/api/sessions/${id}`)).json();
};
const frames = () => page.evaluate(() => document.querySelector("#video").getVideoPlaybackQuality().totalVideoFrames);
const goesOn = async () => {
  const seen = await frames();
  await page.waitForFunction((seen) => document.querySelector("#video").getVideoPlaybackQuality().totalVideoFrames > seen + 40, seen, { timeout: 10_000 });
};
const middle = async (name) => {
  const box = await page.getByRole("slider", { name, exact: true }).locator(".dot").boundingBox();
  return [box.x + box.width / 2, box.y + box.height / 2];
};

async function drag(name, dx, dy) {
  const [x, y] = await middle(name);
  await page.mouse.move(x, y);
  await page.mouse.down();
  await page.mouse.move(x + dx / 2, y + dy / 2);
  await page.mouse.move(x + dx, y + dy);
  await page.mouse.up();
}

test("a dragged joint is applied to the live dancer", async () => {
  const [kana] = await avatars();
  const before = await points(kana.id);
  await page.getByRole("button", { name: "Adjust joints, face and layers" }).click();
  const dialog = page.getByRole("dialog", { name: "Adjust Kana" });
  await dialog.waitFor();
  await page.screenshot({ path: `${PICTURES}/adjust.png` });
  await drag("Left elbow", 0, 40);
  // By the keyboard too.
  await page.getByRole("slider", { name: "Right knee", exact: true }).focus();
  await page.keyboard.press("Shift+ArrowLeft");
  await page.keyboard.press("ArrowDown");
  await page.getByText("Face", { exact: true }).last().click();
  await page.screenshot({ path: `${PICTURES}/adjust-face.png` });
  await drag("Left eye, whole", 6, 0);
  await dialog.getByRole("button", { name: "Apply" }).click();
  await dialog.waitFor({ state: "hidden", timeout: 20_000 });

  const { avatar } = await own();
  assert.notEqual(avatar, kana.id);
  const now = await points(avatar);
  const moved = (name, axis) => now.keypoints[name][axis] - before.keypoints[name][axis];
  assert.ok(moved("left_elbow", 1) > 30 && Math.abs(moved("left_elbow", 0)) < 3, `elbow moved by ${moved("left_elbow", 1)}`);
  assert.deepEqual([Math.round(moved("right_knee", 0)), Math.round(moved("right_knee", 1))], [-10, 1]);
  assert.equal(moved("left_wrist", 1), 0);
  assert.ok(now.face.left_eye.centre[0] > before.face.left_eye.centre[0]);
  // The picture goes on.
  await goesOn();
  assert.equal((await own()).state, "live");
  assert.deepEqual(faults, []);
});

/** The colours of a map and how many pixels have each, read as a browser does. */
const map = (id, name) =>
  page.evaluate(async ([id, name]) => {
    const bitmap = await createImageBitmap(await (await fetch(`/api/avatars/${id}/${name}.png`)).blob());
    const paper = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    paper.drawImage(bitmap, 0, 0);
    const { data } = paper.getImageData(0, 0, bitmap.width, bitmap.height);
    const counts = {};
    for (let i = 0; i < data.length; i += 4) {
      const key = data[i + 3] ? "#" + [0, 1, 2].map((c) => data[i + c].toString(16).padStart(2, "0")).join("") : "clear";
      counts[key] = (counts[key] ?? 0) + 1;
    }
    return { width: bitmap.width, height: bitmap.height, counts };
  }, [id, name]);
const [TORSO, LEFT_ARM, RIGHT_LEG] = ["#7a4fe0", "#0f8fd0", "#ff8f6b"];
const tabs = (name) => page.locator("dialog .views span", { hasText: name }).click();
/** A place of the avatar's own picture on the page. */
const place = async ([x, y], { width, height }) => {
  const box = await page.locator("#paint").boundingBox();
  return [box.x + (x / width) * box.width, box.y + (y / height) * box.height];
};

test("a painted stroke goes to its part, live, and dragging joints afterwards keeps it", async () => {
  const old = (await own()).avatar;
  const before = await points(old);
  const found = await map(old, "layers");
  assert.ok(found.counts[LEFT_ARM] > 1000 && found.counts.clear > 1000, JSON.stringify(found));
  assert.deepEqual(Object.keys((await map(old, "paint")).counts), ["clear"]);
  await page.getByRole("button", { name: "Adjust joints, face and layers" }).click();
  const dialog = page.getByRole("dialog");
  await tabs("Layers");
  await dialog.getByRole("group", { name: "Paint as" }).waitFor();
  assert.equal(await dialog.getByRole("slider", { name: "Left elbow", exact: true }).isVisible(), false, "joints give way");
  await page.waitForFunction(() => {
    const paper = document.querySelector("#paint");
    return paper.getContext("2d").getImageData(0, 0, paper.width, paper.height).data.some((v) => v > 0);
  });
  await page.screenshot({ path: `${PICTURES}/layers.png` });
  const [wrist, hand] = ["left_wrist", "left_hand"].map((name) => before.keypoints[name]);
  const stroke = async () => {
    const [from, to] = [await place(wrist, before), await place(hand, before)];
    await page.mouse.move(...from);
    await page.mouse.down();
    await page.mouse.move((from[0] + to[0]) / 2, (from[1] + to[1]) / 2);
    await page.mouse.move(...to);
    await page.mouse.up();
  };
  await dialog.getByText("Torso").click();
  await stroke();
  const told = dialog.locator("#adjust-name");
  assert.match(await told.textContent(), /^Torso, painted/);
  await dialog.getByRole("button", { name: "Undo" }).click();
  assert.ok(await dialog.getByRole("button", { name: "Undo" }).isDisabled());
  await page.keyboard.press("Control+Shift+Z");
  assert.ok(await dialog.getByRole("button", { name: "Redo" }).isDisabled());
  // By the keyboard: another part, a smaller brush, and a stroke along the arrows.
  await dialog.locator("#paint").focus();
  await page.keyboard.press("6");
  assert.ok(await dialog.getByRole("radio", { name: "Right leg" }).isChecked());
  await page.keyboard.press("[");
  await page.mouse.move(...(await place(before.keypoints.left_knee, before)));
  await page.keyboard.down(" ");
  await page.keyboard.press("Shift+ArrowDown");
  await page.keyboard.press("ArrowLeft");
  await page.keyboard.up(" ");
  assert.match(await told.textContent(), /^Right leg, painted/);
  await page.screenshot({ path: `${PICTURES}/layers-painted.png` });
  await dialog.getByRole("button", { name: "Apply" }).click();
  await dialog.waitFor({ state: "hidden", timeout: 20_000 });
  const { avatar } = await own();
  assert.notEqual(avatar, old);
  const paint = await map(avatar, "paint");
  assert.ok(paint.counts[TORSO] > 300 && paint.counts[RIGHT_LEG] > 300, JSON.stringify(paint));
  assert.deepEqual((await points(avatar)).keypoints, before.keypoints, "joints stay");
  await goesOn();

  // A joint is dragged: the paint stays, and is shown again.
  await page.getByRole("button", { name: "Adjust joints, face and layers" }).click();
  await drag("Right elbow", 0, 20);
  await tabs("Layers");
  await page.mouse.move(...(await place(hand, before)));
  await page.waitForFunction(() => document.querySelector("#adjust-name").textContent.startsWith("Torso, painted"));
  await dialog.getByRole("button", { name: "Apply" }).click();
  await dialog.waitFor({ state: "hidden", timeout: 20_000 });
  const dragged = (await own()).avatar;
  assert.notEqual(dragged, avatar);
  assert.deepEqual(await map(dragged, "paint"), paint);
  assert.ok((await points(dragged)).keypoints.right_elbow[1] > before.keypoints.right_elbow[1] + 5);

  // All of it can be taken away.
  await page.getByRole("button", { name: "Adjust joints, face and layers" }).click();
  await tabs("Layers");
  await dialog.getByRole("button", { name: "All as found" }).click();
  await dialog.getByRole("button", { name: "Apply" }).click();
  await dialog.waitFor({ state: "hidden", timeout: 20_000 });
  assert.deepEqual(Object.keys((await map((await own()).avatar, "paint")).counts), ["clear"]);
  assert.deepEqual(faults, []);
});

test("a picture of its back is given to an avatar, and one that is none is refused in words", async () => {
  const known = async (id) => (await avatars()).find((a) => a.id === id);
  assert.equal((await avatars())[0].back, true, "built-in ones have theirs");
  const before = (await own()).avatar;
  await page.setInputFiles("#avatar-file", "assets/avatars/mochi.png");
  for (let waited = 0; (await own()).avatar === before && waited < 100; waited++) await page.waitForTimeout(100);
  const front = (await own()).avatar;
  assert.equal((await known(front)).back, false);
  const open = () => page.getByRole("button", { name: "Adjust joints, face and layers" }).click();
  const dialog = page.getByRole("dialog");
  await open();
  await dialog.getByText("its front is shown").waitFor();
  await page.setInputFiles("#adjust-back", { name: "words.png", mimeType: "image/png", buffer: Buffer.from("no picture") });
  await dialog.getByRole("button", { name: "Apply" }).click();
  await dialog.getByText(/the back: the picture cannot be read/).waitFor();
  await page.setInputFiles("#adjust-back", "assets/avatars/mochi-back.png");
  await dialog.getByRole("button", { name: "Apply" }).click();
  await dialog.waitFor({ state: "hidden", timeout: 20_000 });
  const { avatar } = await own();
  assert.notEqual(avatar, front);
  assert.equal((await known(avatar)).back, true);
  assert.equal(await known(front), undefined, "it took the other's place");
  await goesOn();
  await open();
  await dialog.getByText("It has a picture of its back").waitFor();
  await page.screenshot({ path: `${PICTURES}/adjust-back.png` });
  await dialog.getByRole("button", { name: "Cancel" }).click();
  assert.deepEqual(faults, []);
});

test("maps that are not the avatar's are refused in words", async () => {
  const [kana, mochi] = await avatars();
  const put = async (id, body) => {
    const response = await fetch(`${odori.base}/api/avatars/${id}/paint.png`, { method: "PUT", headers: { "content-type": "image/png" }, body });
    return [response.status, (await response.json()).error];
  };
  const picture = async (path) => (await fetch(`${odori.base}/api/avatars/${path}.png`)).arrayBuffer();
  const [status, size] = await put(mochi.id, await picture(`${kana.id}/layers`));
  assert.equal(status, 422);
  assert.match(size, /the map is \d+x\d+ pixels, but the avatar's picture is \d+x\d+/);
  assert.match((await put(kana.id, await picture(`${kana.id}/reference`)))[1], /across and \d+ down is #[0-9a-f]{8}, which is no part's colour: torso #7a4fe0/);
  assert.match((await put(kana.id, "no picture"))[1], /PNG/);
  assert.equal((await put(kana.id, new Uint8Array(5 << 20)))[0], 413);
  assert.equal((await put("nobody", await picture(`${kana.id}/layers`)))[0], 404);
});

test("what cannot be is refused in words, and reset takes it back", async () => {
  await page.getByRole("button", { name: "Adjust joints, face and layers" }).click();
  const dialog = page.getByRole("dialog");
  const [, hip] = await middle("Left hip");
  const [, neck] = await middle("Neck");
  await drag("Neck", 0, hip - neck + 60);
  await dialog.getByRole("button", { name: "Apply" }).click();
  const error = dialog.getByRole("alert");
  await error.waitFor();
  assert.match(await error.textContent(), /upright|neck/);
  await dialog.getByRole("button", { name: "Reset" }).click();
  assert.ok(await error.isHidden());
  assert.ok(Math.abs((await middle("Neck"))[1] - neck) < 1);
  await page.keyboard.press("Escape");
  await dialog.waitFor({ state: "hidden" });
  assert.equal((await own()).state, "live", "Escape closed the dialog only");
});

test("it fits a narrow screen and a finger", async () => {
  const phone = await browser.newContext({ viewport: { width: 400, height: 800 }, hasTouch: true });
  const narrow = await phone.newPage();
  await narrow.goto(odori.base);
  await narrow.getByRole("button", { name: "Adjust joints, face and layers" }).click();
  await narrow.getByRole("dialog").waitFor();
  await narrow.screenshot({ path: `${PICTURES}/adjust-narrow.png` });
  const wide = await narrow.evaluate(() => [document.documentElement.scrollWidth, document.querySelector("#adjust").scrollWidth - document.querySelector("#adjust").clientWidth]);
  assert.ok(wide[0] <= 400 && wide[1] <= 0, `${wide}`);
  const dot = narrow.getByRole("slider", { name: "Right wrist", exact: true });
  const before = await dot.getAttribute("aria-valuetext");
  const box = await dot.locator(".dot").boundingBox();
  const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
  const touch = await phone.newCDPSession(narrow);
  const send = (type, points) => touch.send("Input.dispatchTouchEvent", { type, touchPoints: points });
  await send("touchStart", [{ x: x + 4, y: y + 4 }]);
  await send("touchMove", [{ x: x + 24, y: y - 16 }]);
  await send("touchEnd", []);
  assert.notEqual(await dot.getAttribute("aria-valuetext"), before);
  await phone.close();
});
