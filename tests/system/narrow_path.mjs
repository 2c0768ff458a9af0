// A UDP path between a browser and the server that loses, holds up or cuts what passes: for tests of congestion on loopback.

import { createSocket } from "node:dgram";

const bind = () =>
  new Promise((resolve) => {
    const socket = createSocket("udp4");
    socket.bind(0, "127.0.0.1", () => resolve(socket));
  });

/** Carries packets both ways; `path.loss` (share), `path.kbps` (of what the server sends) and `path.cut` may be set at any time. */
export async function narrowPath(serverPort) {
  const front = await bind();
  const backs = new Map();
  const path = { port: front.address().port, loss: 0, kbps: Infinity, cut: false };
  // A small generator: the same packets are lost in every run.
  let state = 1;
  let closed = false;
  const lost = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return path.cut || state / 2 ** 32 < path.loss;
  };
  // When the link is free again; what would wait longer than 200 ms is dropped, as a router's queue does.
  let free = 0;
  const wait = (bytes) => {
    const now = performance.now();
    const begins = Math.max(now, free);
    if (begins - now > 200) return null;
    free = begins + (bytes * 8) / path.kbps;
    return free - now;
  };
  front.on("message", async (packet, from) => {
    const key = `${from.address}:${from.port}`;
    if (!backs.has(key)) {
      backs.set(
        key,
        bind().then((back) => {
          back.on("message", (answer) => {
            if (lost()) return;
            const delay = wait(answer.length);
            if (delay === null) return;
            const send = () => closed || front.send(answer, from.port, from.address, () => {});
            if (delay < 1) send();
            else setTimeout(send, delay);
          });
          return back;
        }),
      );
    }
    const back = await backs.get(key);
    if (!lost()) back.send(packet, serverPort, "127.0.0.1", () => {});
  });
  // Cut first: packets may still be held up on their way.
  path.close = async () => {
    path.cut = true;
    closed = true;
    for (const back of backs.values()) (await back).close();
    front.close();
  };
  return path;
}

/** Makes a page's WHEP connections go through a path; gives what will hold it once the page connects. */
export async function routeThrough(page) {
  const held = { path: null };
  await page.route(/\/whep\/[a-z0-9]+(\?.*)?$/, async (route) => {
    const response = await route.fetch();
    let body = await response.text();
    const port = /a=candidate:\S+ 1 udp \d+ 127\.0\.0\.1 (\d+) typ host/i.exec(body)?.[1];
    if (port) {
      held.path = await narrowPath(Number(port));
      body = body.replaceAll(new RegExp(`(a=candidate:\\S+ \\d udp \\d+ \\S+) ${port} typ`, "gi"), `$1 ${held.path.port} typ`);
    }
    await route.fulfill({ response, body });
  });
  return held;
}
