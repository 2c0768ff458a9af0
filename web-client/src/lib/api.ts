// The server's JSON interface; server/API.md describes it.

import { explain } from "./peer";

export interface Settings {
  dancers: number;
  /** Avatars of the dancers beside the leader, in turn; none is the leader's. */
  others: string[];
  /** transparent, stage, image or #rrggbb */
  background: string;
  framing: "full" | "half" | "face" | "auto";
  seed: number;
  style: number;
  energy: number;
  /** Stress on parts of the body, -1 to 1. */
  hands: number;
  head: number;
  footwork: number;
  /** Degrees from the camera. */
  facing: number;
  pace: "half" | "normal" | "double";
}

export type SourceInfo =
  | { kind: "song"; id: string; loop: boolean }
  | { kind: "upload"; name: string; loop: boolean; seconds: number }
  | { kind: "live" }
  | { kind: "stdin" };

export interface Session {
  id: string;
  state: string;
  avatar: string;
  source: SourceInfo;
  settings: Settings;
  prompt: { text: string; unknown: string[] } | null;
  styles: string[];
  overlay: string;
  /** Of the frames, pixels. */
  width: number;
  height: number;
}

export interface Percentiles {
  p50_ms: number;
  p95_ms: number;
}

export interface Status {
  state: "idle" | "starting" | "live" | "ended" | "failed";
  error: string | null;
  level_db: number;
  beat: { bpm: number; beat_phase: number; bar_phase: number; confidence: number };
  total: Percentiles;
  stages: (Percentiles & { name: string })[];
  rung: string;
  fps: number;
  late_frames: number;
  drops: { sound_ms: number; pictures: number; video: number; audio: number };
  viewers: number;
  bitrate_kbps: number;
  /** Sound in to the screen. */
  seen: Percentiles;
  horizon_ms: number;
  av_skew_ms: number | null;
  network: { round_trip_ms: number; jitter_ms: number; loss: number };
}

export interface Avatar {
  id: string;
  name: string;
  image: string;
  /** It has a picture of its back. */
  back: boolean;
}

/** A box in a picture. */
export interface Spot {
  centre: [number, number];
  size: [number, number];
}

/** Where an avatar's joints, eyes and mouth are, in pixels of its own picture. */
export interface Points {
  width: number;
  height: number;
  keypoints: Record<string, [number, number]>;
  face: { left_eye?: Spot; right_eye?: Spot; mouth?: Spot };
  skirt: boolean;
}

export interface Song {
  id: string;
  title: string;
  seconds: number;
}

/** What the server refused, in its own words. */
export class ApiError extends Error {
  constructor(
    message: string,
    readonly status: number,
  ) {
    super(message);
  }
}

export class Api {
  constructor(readonly token: string | null) {}

  private async ask<T>(method: string, path: string, body?: unknown): Promise<T> {
    const headers: Record<string, string> = {};
    if (this.token) headers.authorization = `Bearer ${this.token}`;
    const whole = body instanceof FormData || body instanceof Blob;
    if (body !== undefined && !whole) headers["content-type"] = "application/json";
    const response = await fetch(path, { method, headers, body: whole ? body : body === undefined ? undefined : JSON.stringify(body) });
    if (!response.ok) throw new ApiError(await explain(response), response.status);
    return (response.status === 204 ? undefined : await response.json()) as T;
  }

  /** With the token, for where headers cannot be set. */
  private withToken(path: string): string {
    if (!this.token) return path;
    return `${path}${path.includes("?") ? "&" : "?"}token=${encodeURIComponent(this.token)}`;
  }

  async avatars(): Promise<Avatar[]> {
    const list = await this.ask<Avatar[]>("GET", "/api/avatars");
    return list.map((a) => ({ ...a, image: this.withToken(a.image) }));
  }

  points(id: string): Promise<Points> {
    return this.ask("GET", `/api/avatars/${id}/points`);
  }

  /** The picture that points lie in. */
  reference(id: string): string {
    return this.withToken(`/api/avatars/${id}/reference.png`);
  }

  private async picture(path: string): Promise<Blob> {
    const response = await fetch(this.withToken(path));
    if (!response.ok) throw new ApiError(await explain(response), response.status);
    return response.blob();
  }

  /** The part that every pixel of that picture was found to belong to, by colour. */
  layers(id: string): Promise<Blob> {
    return this.picture(`/api/avatars/${id}/layers.png`);
  }

  /** What was painted over them. */
  paint(id: string): Promise<Blob> {
    return this.picture(`/api/avatars/${id}/paint.png`);
  }

  /** The avatar made again with a picture of its back. */
  async giveBack(id: string, picture: File): Promise<Avatar> {
    const made = await this.ask<Avatar>("PUT", `/api/avatars/${id}/back`, picture);
    return { ...made, image: this.withToken(made.image) };
  }

  /** The avatar made again with these points, and with this paint if it is another. */
  async adjust(id: string, points: Points, paint: Blob | null): Promise<Avatar> {
    let body: Points | FormData = points;
    if (paint) {
      body = new FormData();
      body.append("points", JSON.stringify(points));
      body.append("paint", paint);
    }
    const made = await this.ask<Avatar>("PUT", `/api/avatars/${id}/points`, body);
    return { ...made, image: this.withToken(made.image) };
  }

  songs(): Promise<Song[]> {
    return this.ask("GET", "/api/songs");
  }

  create(): Promise<Session> {
    return this.ask("POST", "/api/sessions", {});
  }

  session(id: string): Promise<Session> {
    return this.ask("GET", `/api/sessions/${id}`);
  }

  change(id: string, fields: Partial<Settings> & { avatar?: string; prompt?: string }): Promise<Session> {
    return this.ask("PATCH", `/api/sessions/${id}`, fields);
  }

  setSource(id: string, source: { kind: "song"; id: string; loop: boolean } | { kind: "live" }): Promise<Session> {
    return this.ask("PUT", `/api/sessions/${id}/source`, source);
  }

  uploadSong(id: string, file: File, loop: boolean): Promise<Session> {
    const form = new FormData();
    form.append("file", file);
    return this.ask("POST", `/api/sessions/${id}/source?loop=${loop}`, form);
  }

  uploadBackground(id: string, file: File): Promise<Session> {
    const form = new FormData();
    form.append("file", file);
    return this.ask("POST", `/api/sessions/${id}/background`, form);
  }

  async uploadAvatar(file: File): Promise<Avatar> {
    const form = new FormData();
    form.append("file", file);
    return this.ask("POST", "/api/avatars", form);
  }

  start(id: string): Promise<Session> {
    return this.ask("POST", `/api/sessions/${id}/start`);
  }

  stop(id: string): Promise<Session> {
    return this.ask("POST", `/api/sessions/${id}/stop`);
  }

  /** Stops while the page goes away. */
  leave(id: string): void {
    const headers: Record<string, string> = this.token ? { authorization: `Bearer ${this.token}` } : {};
    void fetch(`/api/sessions/${id}/stop`, { method: "POST", headers, keepalive: true }).catch(() => {});
  }

  /** The last seconds for a trace viewer, as a file. */
  trace(id: string): string {
    return this.withToken(`/api/sessions/${id}/trace?seconds=5`);
  }

  whep(id: string): string {
    return `/whep/${id}`;
  }

  whip(id: string): string {
    return `/whip/${id}`;
  }

  /** Status a dozen times a second; the browser reconnects by itself. `onClosed`: the session is gone. */
  events(id: string, onStatus: (status: Status) => void, onLink: (connected: boolean) => void, onClosed: () => void): () => void {
    const stream = new EventSource(this.withToken(`/api/sessions/${id}/events`));
    stream.addEventListener("open", () => onLink(true));
    stream.addEventListener("error", () => onLink(false));
    stream.addEventListener("closed", () => {
      stream.close();
      onClosed();
    });
    stream.addEventListener("message", (event) => onStatus(JSON.parse(event.data as string) as Status));
    return () => stream.close();
  }
}
