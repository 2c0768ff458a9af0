// Layers of an avatar: which part of the body every pixel belongs to, coloured over its picture, to be painted.

import type { Api } from "../lib/api";

/** As the server names and colours them; a map holds 1 + the index here, and 0 where nothing is said. */
const PARTS: [name: string, colour: [number, number, number]][] = [
  ["Torso", [122, 79, 224]],
  ["Head", [242, 176, 30]],
  ["Left arm", [15, 143, 208]],
  ["Right arm", [224, 51, 90]],
  ["Left leg", [70, 199, 232]],
  ["Right leg", [255, 143, 107]],
  ["Hair", [31, 167, 116]],
];
/** Takes paint away. */
const AS_FOUND = 0;
/** Strokes that can be taken back. */
const UNDO_MOST = 200;
const ZOOM_MOST = 6;

interface Stroke {
  pixels: Uint32Array;
  before: Uint8Array;
  after: Uint8Array;
}

type Box = [x: number, y: number, width: number, height: number];

export interface Painter {
  /** Reads an avatar's layers; `box` is what of the picture is seen whole. */
  open: (id: string, width: number, height: number, box: Box) => void;
  /** Shows layers, or hides them; fails with words if they could not be read. */
  show: (on: boolean) => Promise<void>;
  /** What of the picture is seen. */
  box: () => Box;
  /** Lays the layers over the picture again, wherever that is now. */
  place: () => void;
  /** All as it was opened. */
  reset: () => void;
  /** The paint if it was changed. */
  changed: () => Promise<Blob | null>;
}

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;

/** `onLook`: another part of the picture is to be seen, `tell`: what is under the brush. */
export function painting(api: Api, svg: SVGSVGElement, onLook: () => void, tell: (text: string) => void): Painter {
  const dialog = element<HTMLDialogElement>("adjust");
  const frame = element<HTMLDivElement>("adjust-frame");
  const canvas = element<HTMLCanvasElement>("paint");
  const brush = element<HTMLDivElement>("paint-brush");
  const panel = element<HTMLDivElement>("adjust-layers");
  const legend = element<HTMLFieldSetElement>("paint-parts");
  const size = element<HTMLInputElement>("paint-size");
  const zoom = element<HTMLInputElement>("paint-zoom");
  const undo = element<HTMLButtonElement>("paint-undo");
  const redo = element<HTMLButtonElement>("paint-redo");
  const clear = element<HTMLButtonElement>("paint-clear");
  const context = canvas.getContext("2d")!;

  let [width, height] = [1, 1];
  let found = new Uint8Array(1);
  let paint = new Uint8Array(1);
  let opened = new Uint8Array(1);
  let colours = new ImageData(1, 1);
  let ready: Promise<void> = Promise.resolve();
  /** Counts what was opened: an answer for another avatar comes too late. */
  let opening = 0;
  let whole: Box = [0, 0, 1, 1];
  let seen: Box = whole;
  let at: [number, number] = [0, 0];
  let last: [number, number] | null = null;
  /** Pixels of the stroke under way, with what they were. */
  let touched: Map<number, number> | null = null;
  /** Where pointers are that are down; `moving`: they move the picture, until all are up. */
  const down = new Map<number, [number, number]>();
  let moving = false;
  let done: Stroke[] = [];
  let undone: Stroke[] = [];

  const choices = [...PARTS.map(([name], i) => [name, i + 1] as const), ["As found", AS_FOUND] as const].map(([name, part], i) => {
    const label = document.createElement("label");
    const input = Object.assign(document.createElement("input"), { type: "radio", name: "paint-part", value: String(part), checked: i === 0 });
    const key = Object.assign(document.createElement("kbd"), { textContent: String(i + 1) });
    key.setAttribute("aria-hidden", "true");
    const swatch = document.createElement("i");
    if (part) swatch.style.background = `rgb(${PARTS[part - 1]![1].join(" ")})`;
    label.append(input, swatch, name, key);
    input.addEventListener("change", () => shade());
    legend.append(label);
    return input;
  });
  const chosen = () => Number(choices.find((c) => c.checked)!.value);
  const choose = (input: HTMLInputElement) => {
    input.checked = true;
    shade();
  };
  const radius = () => Number(size.value) / 2;
  const partAt = (i: number) => paint[i] || found[i]!;

  /** Colours within a rectangle of the map, the chosen part's strongest, outlines where parts meet. */
  function shade(x0 = 0, y0 = 0, x1 = width, y1 = height): void {
    [x0, y0, x1, y1] = [Math.max(0, x0), Math.max(0, y0), Math.min(width, x1), Math.min(height, y1)];
    const part = chosen();
    for (let y = y0; y < y1; y++) {
      for (let x = x0; x < x1; x++) {
        const i = y * width + x;
        const own = found[i] ? partAt(i) : 0;
        const o = 4 * i;
        if (!own) {
          colours.data[o + 3] = 0;
          continue;
        }
        const other = (j: number) => found[j] !== 0 && partAt(j) !== own;
        const edge = (x > 0 && other(i - 1)) || (y > 0 && other(i - width));
        const strong = part === AS_FOUND ? paint[i] !== 0 : own === part;
        const [r, g, b] = edge ? [255, 255, 255] : PARTS[own - 1]![1];
        colours.data[o] = r;
        colours.data[o + 1] = g;
        colours.data[o + 2] = b;
        colours.data[o + 3] = edge ? 220 : strong ? 185 : 105;
      }
    }
    if (x1 > x0 && y1 > y0) context.putImageData(colours, 0, 0, x0, y0, x1 - x0, y1 - y0);
  }

  function list(): void {
    const held = document.activeElement;
    undo.disabled = done.length === 0;
    redo.disabled = undone.length === 0;
    clear.disabled = !paint.some((p) => p !== 0);
    // A button that goes out of use would take the keyboard with it.
    if ([undo, redo, clear].some((b) => b.disabled && b === held)) canvas.focus({ preventScroll: true });
  }

  function set(i: number, part: number): void {
    if (!found[i] || paint[i] === part) return;
    if (!touched!.has(i)) touched!.set(i, paint[i]!);
    paint[i] = part;
  }

  /** The brush drawn from one place to another. */
  function draw([ax, ay]: [number, number], [bx, by]: [number, number]): void {
    const r = radius();
    const [x0, x1] = [Math.floor(Math.min(ax, bx) - r), Math.ceil(Math.max(ax, bx) + r)];
    const [y0, y1] = [Math.floor(Math.min(ay, by) - r), Math.ceil(Math.max(ay, by) + r)];
    const [dx, dy] = [bx - ax, by - ay];
    const long = dx * dx + dy * dy || 1;
    const part = chosen();
    for (let y = Math.max(0, y0); y < Math.min(height, y1); y++) {
      for (let x = Math.max(0, x0); x < Math.min(width, x1); x++) {
        const [px, py] = [x + 0.5 - ax, y + 0.5 - ay];
        const t = Math.min(1, Math.max(0, (px * dx + py * dy) / long));
        if (Math.hypot(px - t * dx, py - t * dy) <= r) set(y * width + x, part);
      }
    }
    shade(x0 - 1, y0 - 1, x1 + 2, y1 + 2);
  }

  /** Ends the stroke under way; it can be taken back as one. */
  function lift(): void {
    last = null;
    const stroke = touched;
    touched = null;
    if (!stroke?.size) return;
    const pixels = Uint32Array.from(stroke.keys());
    done.push({ pixels, before: Uint8Array.from(stroke.values()), after: Uint8Array.from(pixels, (i) => paint[i]!) });
    if (done.length > UNDO_MOST) done.shift();
    undone = [];
    list();
  }

  function step(from: Stroke[], to: Stroke[], which: "before" | "after"): void {
    lift();
    const stroke = from.pop();
    if (!stroke) return;
    stroke.pixels.forEach((i, k) => (paint[i] = stroke[which][k]!));
    to.push(stroke);
    shade();
    list();
    tell(`${which === "before" ? "Undone" : "Done again"}: ${stroke.pixels.length} pixels`);
  }
  const back = () => step(done, undone, "before");
  const again = () => step(undone, done, "after");

  /** All pixels anew, as one stroke. */
  function all(to: Uint8Array | null): void {
    lift();
    touched = new Map();
    for (let i = 0; i < paint.length; i++) set(i, to?.[i] ?? AS_FOUND);
    lift();
    shade();
    list();
  }

  function describe(): void {
    const [x, y] = at.map(Math.floor) as [number, number];
    const i = x >= 0 && y >= 0 && x < width && y < height ? y * width + x : -1;
    const name = i >= 0 && found[i] ? PARTS[partAt(i) - 1]![0] : "Beside the figure";
    tell(`${name}${i >= 0 && paint[i] ? ", painted" : ""} · ${x}, ${y}`);
  }

  function place(): void {
    const to = svg.getScreenCTM();
    if (!to || canvas.hidden) return;
    const box = frame.getBoundingClientRect();
    const [left, top] = [to.e - box.left - frame.clientLeft, to.f - box.top - frame.clientTop];
    Object.assign(canvas.style, { left: `${left}px`, top: `${top}px`, width: `${width * to.a}px`, height: `${height * to.a}px` });
    const across = `${2 * radius() * to.a}px`;
    Object.assign(brush.style, { left: `${left + at[0] * to.a}px`, top: `${top + at[1] * to.a}px`, width: across, height: across });
  }

  function magnify(by: number): void {
    zoom.value = String(Math.min(ZOOM_MOST, Math.max(1, Number(zoom.value) * by)));
  }

  /** Zooms about a place of the picture, which stays where it is seen. */
  function look([x, y]: [number, number]): void {
    const share = 1 / Number(zoom.value);
    const [w, h] = [whole[2] * share, whole[3] * share];
    const keep = (p: number, from: number, span: number, now: number, low: number, most: number) => Math.min(low + most - now, Math.max(low, p - ((p - from) * now) / span));
    seen = [keep(x, seen[0], seen[2], w, whole[0], whole[2]), keep(y, seen[1], seen[3], h, whole[1], whole[3]), w, h];
    onLook();
  }

  /** The brush goes there, and is seen. */
  function go(x: number, y: number): void {
    at = [Math.min(width - 0.5, Math.max(0.5, x)), Math.min(height - 0.5, Math.max(0.5, y))];
    brush.hidden = false;
    const into = (p: number, low: number, span: number) => (p < low + 0.1 * span ? p - 0.1 * span : p > low + 0.9 * span ? p - 0.9 * span : low);
    seen = [into(at[0], seen[0], seen[2]), into(at[1], seen[1], seen[3]), seen[2], seen[3]];
    look(at);
    describe();
  }

  const own = ({ clientX, clientY }: { clientX: number; clientY: number }): [number, number] => {
    const box = canvas.getBoundingClientRect();
    return [((clientX - box.left) / box.width) * width, ((clientY - box.top) / box.height) * height];
  };
  /** The middle of what is down, and how far from it that is on the average. */
  const spread = () => {
    const all = [...down.values()];
    const mean = (of: (p: [number, number]) => number) => all.reduce((sum, p) => sum + of(p), 0) / all.length;
    const [x, y] = [mean((p) => p[0]), mean((p) => p[1])];
    return [x, y, mean((p) => Math.hypot(p[0] - x, p[1] - y))] as const;
  };
  canvas.addEventListener("pointerdown", (event) => {
    event.preventDefault();
    canvas.focus({ preventScroll: true });
    canvas.setPointerCapture(event.pointerId);
    down.set(event.pointerId, [event.clientX, event.clientY]);
    // A second finger, or another button, was not meant to paint.
    if (down.size > 1 || event.button !== 0) {
      moving = true;
      touched?.forEach((part, i) => (paint[i] = part));
      [touched, last] = [null, null];
      shade();
      return;
    }
    at = last = own(event);
    touched = new Map();
    draw(last, last);
    brush.hidden = false;
    place();
    describe();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (moving) {
      if (!down.has(event.pointerId)) return;
      const [x, y, wide] = spread();
      down.set(event.pointerId, [event.clientX, event.clientY]);
      const [toX, toY, wider] = spread();
      const held = own({ clientX: x, clientY: y });
      const scale = svg.getScreenCTM()!.a;
      seen = [seen[0] - (toX - x) / scale, seen[1] - (toY - y) / scale, seen[2], seen[3]];
      if (wide > 0) magnify(wider / wide);
      look(held);
      return;
    }
    if (!event.isPrimary) return;
    at = own(event);
    // A fast hand is drawn as it went, not from event to event.
    for (const between of touched && last ? (event.getCoalescedEvents?.() ?? []) : []) {
      const to = own(between);
      draw(last!, to);
      last = to;
    }
    if (touched && last) {
      draw(last, at);
      last = at;
    }
    brush.hidden = false;
    place();
    describe();
  });
  for (const end of ["pointerup", "pointercancel"] as const) {
    canvas.addEventListener(end, (event) => {
      down.delete(event.pointerId);
      moving &&= down.size > 0;
      lift();
    });
  }
  canvas.addEventListener("contextmenu", (event) => event.preventDefault());
  canvas.addEventListener("pointerleave", () => (brush.hidden = document.activeElement !== canvas));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    magnify(Math.exp(-0.002 * event.deltaY));
    look(own(event));
  });
  canvas.addEventListener("focus", () => {
    brush.hidden = false;
    place();
    describe();
  });
  canvas.addEventListener("blur", () => {
    lift();
    brush.hidden = true;
  });
  canvas.addEventListener("keydown", (event) => {
    const ways: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const way = ways[event.key];
    if (!way && event.key !== " ") return;
    event.preventDefault();
    if (event.key === " " && !touched) {
      touched = new Map();
      last = at;
      draw(at, at);
    }
    if (way) {
      const far = event.shiftKey ? 10 : 1;
      go(at[0] + way[0] * far, at[1] + way[1] * far);
      if (touched && last) draw(last, at);
      last = at;
    }
    describe();
  });
  canvas.addEventListener("keyup", (event) => {
    if (event.key === " ") lift();
  });
  dialog.addEventListener("keydown", (event) => {
    if (panel.hidden) return;
    const control = event.ctrlKey || event.metaKey;
    const key = event.key.toLowerCase();
    const choice = control || event.altKey ? undefined : choices[Number(key) - 1];
    if (choice) {
      choose(choice);
      tell(`Paints: ${choice.parentElement!.childNodes[2]!.textContent}`);
    } else if (control && key === "z") (event.shiftKey ? again : back)();
    else if (control && key === "y") again();
    else if (!control && (key === "[" || key === "]")) {
      size.value = String(Number(size.value) * (key === "]" ? 1.25 : 0.8));
      tell(`Brush ${size.value} pixels`);
      place();
    } else return;
    event.preventDefault();
  });
  size.addEventListener("input", place);
  zoom.addEventListener("input", () => look(at));
  undo.addEventListener("click", back);
  redo.addEventListener("click", again);
  clear.addEventListener("click", () => all(null));

  /** The parts of a map's picture. */
  async function read(path: Promise<Blob>): Promise<Uint8Array<ArrayBuffer>> {
    const bitmap = await createImageBitmap(await path, { colorSpaceConversion: "none", premultiplyAlpha: "none" });
    if (bitmap.width !== width || bitmap.height !== height) throw new Error("The layers are not of the picture's size.");
    const paper = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d", { willReadFrequently: true })!;
    paper.drawImage(bitmap, 0, 0);
    const { data } = paper.getImageData(0, 0, width, height);
    const known = new Map(PARTS.map(([, [r, g, b]], i) => [(r << 16) | (g << 8) | b, i + 1]));
    return Uint8Array.from({ length: width * height }, (_, i) => (data[4 * i + 3] ? (known.get((data[4 * i]! << 16) | (data[4 * i + 1]! << 8) | data[4 * i + 2]!) ?? 0) : 0));
  }

  return {
    open: (id, w, h, box) => {
      const mine = ++opening;
      [width, height, whole, seen] = [w, h, box, box];
      [done, undone, touched, last, moving] = [[], [], null, null, false];
      down.clear();
      [found, paint, opened] = [new Uint8Array(w * h), new Uint8Array(w * h), new Uint8Array(w * h)];
      [canvas.width, canvas.height, colours] = [w, h, new ImageData(w, h)];
      at = [w / 2, h / 2];
      zoom.value = "1";
      size.max = String(Math.round(0.25 * Math.max(w, h)));
      size.value = String(Math.round(0.05 * Math.max(w, h)));
      choices[0]!.checked = true;
      ready = Promise.all([read(api.layers(id)), read(api.paint(id))]).then(([layers, painted]) => {
        if (mine !== opening) return;
        [found, paint, opened] = [layers, painted, painted.slice()];
        shade();
        list();
      });
      // Whoever asks to see them is told.
      ready.catch(() => {});
      list();
    },
    show: async (on) => {
      canvas.hidden = panel.hidden = !on;
      brush.hidden = true;
      lift();
      if (on) await ready;
    },
    box: () => seen,
    place,
    reset: () => all(opened),
    changed: async () => {
      lift();
      if (paint.every((p, i) => p === opened[i])) return null;
      const paper = Object.assign(document.createElement("canvas"), { width, height });
      const map = new ImageData(width, height);
      paint.forEach((p, i) => p && map.data.set([...PARTS[p - 1]![1], 255], 4 * i));
      paper.getContext("2d")!.putImageData(map, 0, 0);
      return new Promise((resolve, reject) => paper.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The layers could not be written."))), "image/png"));
    },
  };
}
