// Correction of an avatar: its picture with joints, eyes and mouth over it, to be dragged where they belong, or its layers.

import type { Api, Avatar, Points, Spot } from "../lib/api";
import { painting } from "./paint";

const SVG = "http://www.w3.org/2000/svg";
const LIMBS = [
  "head_top neck", "neck left_shoulder", "neck right_shoulder", "left_shoulder left_elbow", "left_elbow left_wrist", "left_wrist left_hand",
  "right_shoulder right_elbow", "right_elbow right_wrist", "right_wrist right_hand", "neck pelvis", "pelvis left_hip", "pelvis right_hip",
  "left_hip left_knee", "left_knee left_ankle", "left_ankle left_toe", "right_hip right_knee", "right_knee right_ankle", "right_ankle right_toe",
].map((pair) => pair.split(" ") as [string, string]);
/** Shown close up only: in the whole figure they would lie on one spot. */
const CLOSE = new Set(["left_eye", "right_eye", "left_ear", "right_ear", "nose"]);
/** Shown in both. */
const BOTH = new Set(["head_top", "neck"]);
type Part = "left_eye" | "right_eye" | "mouth";
const PARTS: Part[] = ["left_eye", "right_eye", "mouth"];
/** CSS pixels: how near to a point a press takes it. */
const NEAR = 30;

const element = <T extends Element>(id: string) => document.getElementById(id) as unknown as T;
const words = (name: string) => {
  const text = name.replace("_", " ");
  return text[0]!.toUpperCase() + text.slice(1);
};
const side = (name: string) => (name.startsWith("left_") ? "left" : name.startsWith("right_") ? "right" : "middle");

/** Something that can be moved: a joint, a part of the face, or the corner that makes such a part larger. */
interface Handle {
  label: string;
  side: string;
  kind: "joint" | "part" | "corner";
  close: boolean;
  far: boolean;
  at: () => [number, number];
  move: (x: number, y: number) => void;
  mark: SVGGElement;
}

export interface Adjusting {
  /** Opens for an avatar; `onApplied` is told the corrected one, and may fail with words. */
  open: (avatar: Avatar, onApplied: (avatar: Avatar) => Promise<void>) => Promise<void>;
}

export function adjusting(api: Api, reason: (error: unknown) => string): Adjusting {
  const dialog = element<HTMLDialogElement>("adjust");
  const svg = element<SVGSVGElement>("adjust-picture");
  const named = element<HTMLOutputElement>("adjust-name");
  const error = element<HTMLParagraphElement>("adjust-error");
  const apply = element<HTMLButtonElement>("adjust-apply");
  const blink = element<HTMLInputElement>("adjust-blink");
  const mouth = element<HTMLInputElement>("adjust-mouth");
  const skirt = element<HTMLInputElement>("adjust-skirt");
  const back = element<HTMLInputElement>("adjust-back");
  const views = [...dialog.querySelectorAll<HTMLInputElement>("input[name=adjust-view]")];

  let points: Points;
  let found: string;
  let handles: Handle[] = [];
  let view: "whole" | "face" | "layers" = "whole";
  let held: Handle | null = null;
  let offset: [number, number] = [0, 0];
  let done: (avatar: Avatar) => Promise<void> = async () => {};
  let avatar: Avatar;

  const make = <K extends keyof SVGElementTagNameMap>(tag: K, attributes: Record<string, string | number>) => {
    const made = document.createElementNS(SVG, tag);
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, String(value));
    return made;
  };
  const joints = element<HTMLDivElement>("adjust-joints");
  const picture = make("image", {});
  const limbs = make("g", { class: "limbs" });
  const boxes = make("g", { class: "boxes" });
  const marks = make("g", {});
  svg.replaceChildren(picture, limbs, boxes, marks);

  const fault = (message: string | null) => {
    error.hidden = message === null;
    error.textContent = message ?? "";
  };
  const joint = (name: string) => points.keypoints[name]!;
  const inside = (x: number, y: number): [number, number] => {
    const round = (v: number) => Math.round(v * 10) / 10;
    return [round(Math.min(points.width, Math.max(0, x))), round(Math.min(points.height, Math.max(0, y)))];
  };
  const headSize = () => Math.hypot(joint("neck")[0] - joint("head_top")[0], joint("neck")[1] - joint("head_top")[1]);

  const say = (text: string) => (named.textContent = text);
  const painter = painting(api, svg, () => look(), say);

  /** CSS pixels to one of the picture. */
  const zoom = () => svg.getScreenCTM()?.a || 1;

  function handle(label: string, of: Omit<Handle, "label" | "mark">): void {
    const mark = make("g", { class: `point ${of.side} ${of.kind}`, tabindex: 0, role: "slider", "aria-label": label });
    const title = make("title", {});
    title.textContent = label;
    mark.append(title, make("circle", { class: "halo" }), make("circle", { class: "dot" }));
    const made: Handle = { ...of, label, mark };
    mark.addEventListener("focus", () => tell(made));
    mark.addEventListener("keydown", (event) => {
      const ways: Record<string, [number, number]> = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
      const way = ways[event.key];
      if (!way) return;
      event.preventDefault();
      const step = event.shiftKey ? 10 : 1;
      const [x, y] = made.at();
      made.move(x + way[0] * step, y + way[1] * step);
      draw();
      tell(made);
    });
    handles.push(made);
    marks.append(mark);
  }

  /** All that can be moved, made anew. */
  function lay(): void {
    handles = [];
    marks.replaceChildren();
    for (const name of Object.keys(points.keypoints)) {
      handle(words(name), {
        side: side(name),
        kind: "joint",
        // Where an eye is has one handle: its box's, if it has one.
        close: BOTH.has(name) || (CLOSE.has(name) && !(name in points.face)),
        far: !CLOSE.has(name),
        at: () => joint(name),
        move: (x, y) => (points.keypoints[name] = inside(x, y)),
      });
    }
    for (const name of PARTS) {
      const spot = points.face[name];
      if (!spot) continue;
      const reach = () => [spot.size[0] / 2, spot.size[1] / 2] as const;
      // A part keeps clear of the picture's edge.
      const place = (x: number, y: number) => {
        const [w, h] = reach();
        spot.centre = inside(Math.min(points.width - w, Math.max(w, x)), Math.min(points.height - h, Math.max(h, y)));
      };
      handle(`${words(name)}, whole`, {
        side: side(name), kind: "part", close: true, far: false,
        at: () => spot.centre,
        move: (x, y) => {
          place(x, y);
          if (name in points.keypoints) points.keypoints[name] = [...spot.centre];
        },
      });
      handle(`${words(name)}, size`, {
        side: side(name), kind: "corner", close: true, far: false,
        at: () => [spot.centre[0] + spot.size[0] / 2, spot.centre[1] + spot.size[1] / 2],
        move: (x, y) => {
          const most = 0.4 * Math.max(points.width, points.height);
          const size = (half: number) => Math.round(Math.min(most, Math.max(4, 2 * half)) * 10) / 10;
          spot.size = [size(x - spot.centre[0]), size(y - spot.centre[1])];
          place(...spot.centre);
        },
      });
    }
    draw();
  }

  function draw(): void {
    painter.place();
    limbs.replaceChildren(
      ...LIMBS.map(([a, b]) => {
        const [from, to] = [joint(a), joint(b)];
        return make("line", { class: side(b) === "middle" ? side(a) : side(b), x1: from[0], y1: from[1], x2: to[0], y2: to[1] });
      }),
    );
    boxes.replaceChildren(
      ...PARTS.flatMap((name) => {
        const spot = points.face[name];
        if (!spot || view !== "face") return [];
        const [w, h] = spot.size;
        return [make("rect", { class: side(name), x: spot.centre[0] - w / 2, y: spot.centre[1] - h / 2, width: w, height: h, rx: 0.3 * Math.min(w, h) })];
      }),
    );
    const scale = 1 / zoom();
    for (const of of handles) {
      const [x, y] = of.at();
      of.mark.setAttribute("transform", `translate(${x} ${y}) scale(${scale})`);
      of.mark.toggleAttribute("hidden", !(view === "face" ? of.close : of.far));
      of.mark.setAttribute("aria-valuenow", String(Math.round(x)));
      of.mark.setAttribute("aria-valuetext", `${Math.round(x)} across, ${Math.round(y)} down`);
    }
    for (const circle of marks.querySelectorAll(".halo")) circle.setAttribute("r", "15");
    for (const circle of marks.querySelectorAll(".dot")) circle.setAttribute("r", "6");
  }

  function tell(of: Handle | null): void {
    say(of ? `${of.label} · ${of.at().map(Math.round).join(", ")}` : "");
    for (const one of handles) one.mark.classList.toggle("held", one === of);
  }

  const wholeBox = () => [0, 0, points.width, points.height].map((v, i) => v + (i < 2 ? -0.02 : 0.04) * points.height) as [number, number, number, number];

  /** The whole figure, its head close up, or what is painted of it. */
  function look(): void {
    let box = view === "layers" ? painter.box() : wholeBox();
    if (view === "face") {
      const spots = PARTS.flatMap((name) => points.face[name] ?? []).flatMap(({ centre, size }) => [0, 1, 2, 3].map((i) => [centre[0] + (i % 2 ? 0.5 : -0.5) * size[0], centre[1] + (i > 1 ? 0.5 : -0.5) * size[1]]));
      const all = [...[...CLOSE, ...BOTH].map(joint), ...spots];
      const [xs, ys] = [all.map((p) => p[0]!), all.map((p) => p[1]!)];
      const [x0, y0, x1, y1] = [Math.min(...xs), Math.min(...ys), Math.max(...xs), Math.max(...ys)];
      const span = 1.2 * Math.max(x1 - x0, y1 - y0, 16);
      box = [(x0 + x1 - span) / 2, (y0 + y1 - span) / 2, span, span];
    }
    svg.setAttribute("viewBox", box.join(" "));
    for (const one of views) one.checked = one.value === view;
    draw();
  }

  function show(): void {
    blink.checked = Boolean(points.face.left_eye || points.face.right_eye);
    mouth.checked = Boolean(points.face.mouth);
    skirt.checked = points.skirt;
    lay();
    look();
    tell(null);
  }

  /** A part that was not found is put where it may be. */
  function toggle(names: Part[], on: boolean): void {
    const size = headSize();
    for (const name of names) {
      delete points.face[name];
      if (!on) continue;
      const [nose, neck] = [joint("nose"), joint("neck")];
      const spot: Spot = name === "mouth"
        ? { centre: inside(nose[0], nose[1] + 0.45 * (neck[1] - nose[1])), size: [0.2 * size, 0.1 * size] }
        : { centre: inside(...joint(name)), size: [0.18 * size, 0.16 * size] };
      points.face[name] = spot;
    }
    if (on) view = "face";
    lay();
    look();
  }

  const own = (event: PointerEvent): [number, number] => {
    const p = new DOMPoint(event.clientX, event.clientY).matrixTransform(svg.getScreenCTM()!.inverse());
    return [p.x, p.y];
  };
  svg.addEventListener("pointerdown", (event) => {
    const [x, y] = own(event);
    const far = (of: Handle) => Math.hypot(of.at()[0] - x, of.at()[1] - y) * zoom();
    const near = handles.filter((of) => !of.mark.hasAttribute("hidden") && far(of) <= NEAR).sort((a, b) => far(a) - far(b))[0];
    if (!near) return;
    event.preventDefault();
    held = near;
    offset = [near.at()[0] - x, near.at()[1] - y];
    svg.setPointerCapture(event.pointerId);
    near.mark.focus({ preventScroll: true });
    tell(near);
  });
  svg.addEventListener("pointermove", (event) => {
    if (!held) return;
    const [x, y] = own(event);
    held.move(x + offset[0], y + offset[1]);
    draw();
    tell(held);
  });
  for (const end of ["pointerup", "pointercancel"] as const) svg.addEventListener(end, () => (held = null));
  new ResizeObserver(() => {
    if (dialog.open) draw();
  }).observe(svg);

  /** Joints and face give way to layers, and the other way round. */
  async function turn(): Promise<void> {
    const paints = view === "layers";
    joints.hidden = paints;
    for (const drawn of [limbs, boxes, marks]) drawn.toggleAttribute("hidden", paints);
    // Layers have colours of their own, and say what they are themselves.
    svg.classList.toggle("behind", paints);
    svg.setAttribute("aria-hidden", String(paints));
    try {
      await painter.show(paints);
    } catch (failed) {
      fault(reason(failed));
    }
  }
  for (const one of views) {
    one.addEventListener("change", () => {
      view = one.value as typeof view;
      tell(null);
      void turn();
      look();
    });
  }
  blink.addEventListener("change", () => toggle(["left_eye", "right_eye"], blink.checked));
  mouth.addEventListener("change", () => toggle(["mouth"], mouth.checked));
  skirt.addEventListener("change", () => (points.skirt = skirt.checked));
  element<HTMLButtonElement>("adjust-reset").addEventListener("click", () => {
    points = JSON.parse(found) as Points;
    painter.reset();
    back.value = "";
    fault(null);
    show();
  });
  element<HTMLButtonElement>("adjust-cancel").addEventListener("click", () => dialog.close());
  // Escape closes the dialog, and must not also stop the show.
  dialog.addEventListener("keydown", (event) => event.stopPropagation());
  apply.addEventListener("click", async () => {
    fault(null);
    apply.disabled = true;
    apply.textContent = "Applying…";
    try {
      // First what may be refused; what was taken stays taken.
      const picture = back.files?.[0];
      if (picture) {
        avatar = await api.giveBack(avatar.id, picture);
        back.value = "";
      }
      await done(await api.adjust(avatar.id, points, await painter.changed()));
      dialog.close();
    } catch (failed) {
      fault(reason(failed));
    } finally {
      apply.disabled = false;
      apply.textContent = "Apply";
    }
  });

  return {
    open: async (of, onApplied) => {
      const shown = new Image();
      shown.src = api.reference(of.id);
      // Both before anything is shown: points without a picture say nothing.
      [points] = await Promise.all([api.points(of.id), shown.decode()]);
      [avatar, done, found, view] = [of, onApplied, JSON.stringify(points), "whole"];
      painter.open(of.id, points.width, points.height, wholeBox());
      element("adjust-title").textContent = `Adjust ${of.name}`;
      element("adjust-back-state").textContent = of.back
        ? "It has a picture of its back, shown while it turns away. Another one:"
        : "While it turns away, its front is shown. A picture of its back, standing as in this one:";
      back.value = "";
      for (const [key, value] of Object.entries({ href: shown.src, width: points.width, height: points.height })) picture.setAttribute(key, String(value));
      fault(null);
      dialog.showModal();
      void turn();
      show();
    },
  };
}
