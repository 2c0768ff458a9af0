// The studio: one session, its avatar and music, what is seen of it, and what it costs.

import { Api, ApiError, type Session, type Status } from "../lib/api";
import { fillChoices, fileDrop } from "../lib/choices";
import { publish, watch, type Peer } from "../lib/peer";
import { reportShown } from "../lib/report";
import { adjusting } from "./adjust";
import { drawWaterfall } from "./waterfall";

const element = <T extends HTMLElement>(id: string) => document.getElementById(id) as T;
const picture = element<HTMLDivElement>("picture");
const video = element<HTMLVideoElement>("video");
const play = element<HTMLButtonElement>("play");
const panic = element<HTMLButtonElement>("panic");
const unmute = element<HTMLButtonElement>("unmute");
const dots = [...document.querySelectorAll<HTMLElement>(".dot")];

type Source = { kind: "song"; id: string } | { kind: "upload"; name: string } | { kind: "microphone" } | { kind: "tab" };

const SESSION_KEY = "odori-session";
/** What a viewer sees behind a transparent picture. */
const PLAIN = "#1b1830";

const api = new Api(new URLSearchParams(location.search).get("token"));
let session: Session | null = null;
/** The song uploaded last, to be chosen again. */
let uploaded: File | null = null;
let source: Source = { kind: "song", id: "" };
let viewer: Peer | null = null;
let stopReports = () => {};
let sender: { peer: Peer; stream: MediaStream } | null = null;
let live = false;
let viewers = 0;
/** Actions under way or waiting. */
let busy = 0;
let last: Promise<void> = Promise.resolve();

function say(text: string, kind: "" | "live" | "error" = ""): void {
  const state = element("state");
  state.textContent = text;
  state.dataset.kind = kind;
}

function fault(message: string | null): void {
  const box = element("error");
  box.hidden = message === null;
  box.textContent = message ?? "";
}

/** What went wrong, in words that say what to do. */
function reason(error: unknown): string {
  if (error instanceof DOMException && error.name === "NotAllowedError") {
    return "The browser was not allowed to listen. Allow the microphone or share the tab with its sound, then start again.";
  }
  if (error instanceof DOMException && error.name === "NotFoundError") {
    return "No microphone was found. Plug one in, or choose a song.";
  }
  if (error instanceof TypeError) return "The engine does not answer. Is odori still running?";
  return error instanceof Error ? error.message : String(error);
}

/** Runs user actions one after another, each with its fault shown. */
function act(action: () => Promise<void>): Promise<void> {
  busy++;
  fault(null);
  refresh();
  last = last.then(async () => {
    try {
      await action();
    } catch (error) {
      fault(reason(error));
      if (!live && session) await stop();
    } finally {
      busy--;
      refresh();
    }
  });
  return last;
}

function refresh(): void {
  play.disabled = busy > 0 || session === null;
  panic.disabled = session === null;
  play.textContent = live ? "Stop" : "Start";
  picture.dataset.live = String(live);
  element("loop-row").hidden = source.kind === "microphone" || source.kind === "tab";
}

async function listenTo(kind: "microphone" | "tab"): Promise<MediaStream> {
  // The music must arrive as it is: no echo, noise or gain processing made for speech.
  const audio = { echoCancellation: false, noiseSuppression: false, autoGainControl: false, channelCount: 2 };
  if (kind === "microphone") return navigator.mediaDevices.getUserMedia({ audio });
  const stream = await navigator.mediaDevices.getDisplayMedia({ video: true, audio });
  if (stream.getAudioTracks().length === 0) {
    for (const track of stream.getTracks()) track.stop();
    throw new Error("That tab was shared without its sound. Share it again with “Share tab audio” ticked.");
  }
  for (const track of stream.getVideoTracks()) track.enabled = false;
  return stream;
}

async function start(): Promise<void> {
  if (!session) return;
  say("Starting…");
  const id = session.id;
  if (source.kind === "microphone" || source.kind === "tab") {
    const stream = await listenTo(source.kind);
    session = await api.setSource(id, { kind: "live" });
    const peer = await publish(api.whip(id), api.token, stream);
    sender = { peer, stream };
    stream.getAudioTracks()[0]!.addEventListener("ended", () => void act(stop));
  } else if (source.kind === "upload") {
    if (uploaded && session.source.kind !== "upload") {
      session = await api.uploadSong(id, uploaded, element<HTMLInputElement>("loop").checked);
    }
  } else if (source.kind === "song") {
    session = await api.setSource(id, { kind: "song", id: source.id, loop: element<HTMLInputElement>("loop").checked });
  }
  const joined = watch(api.whep(id), api.token, show);
  // The viewer hears a live source already: the preview stays silent then, or it would echo.
  video.muted = source.kind === "microphone" || source.kind === "tab";
  // Both at once: the picture is on its way while the connection is made.
  [viewer] = await Promise.all([joined, api.start(id)]);
  stopReports = reportShown(video, viewer, api.token);
  viewer.pc.addEventListener("connectionstatechange", () => {
    if (viewer && live && viewer.pc.connectionState === "failed") void act(reconnect);
  });
  live = true;
  say("Live", "live");
}

function show(stream: MediaStream): void {
  video.srcObject = stream;
  video.play().catch(() => {
    video.muted = true;
    unmute.hidden = false;
    void video.play();
  });
}

async function reconnect(): Promise<void> {
  if (!session || !live) return;
  say("Reconnecting…");
  stopReports();
  await viewer?.close();
  viewer = await watch(api.whep(session.id), api.token, show);
  stopReports = reportShown(video, viewer, api.token);
  say("Live", "live");
}

async function stop(): Promise<void> {
  live = false;
  if (session) await api.stop(session.id).catch(() => {});
  for (const track of sender?.stream.getTracks() ?? []) track.stop();
  await sender?.peer.close();
  sender = null;
  stopReports();
  await viewer?.close();
  viewer = null;
  video.srcObject = null;
  for (const dot of dots) dot.classList.remove("on");
  say("Ready");
}

function status(s: Status): void {
  const level = Math.max(-60, Math.min(0, s.level_db));
  const meter = element("meter");
  meter.setAttribute("aria-valuenow", level.toFixed(0));
  meter.querySelector("span")!.style.width = `${((level + 60) / 60) * 100}%`;
  const sure = live && s.beat.confidence >= 0.05;
  const beat = Math.floor(s.beat.bar_phase * 4) % 4;
  dots.forEach((dot, i) => dot.classList.toggle("on", sure && i === beat && s.beat.beat_phase < 0.35));
  element("bpm").textContent = sure ? `${s.beat.bpm.toFixed(0)} BPM` : "– BPM";
  const whole = (value: number) => (value > 0 ? `${value.toFixed(0)} ms` : "–");
  element("total").textContent = whole(s.total.p95_ms);
  element("seen").textContent = whole(s.seen.p95_ms);
  drawWaterfall(element<HTMLTableElement>("waterfall"), s.stages);
  element("facts").textContent = [
    `${s.fps.toFixed(0)} fps`,
    s.rung,
    `${s.late_frames} late`,
    `${s.drops.pictures + s.drops.video} dropped`,
    `${s.viewers} ${s.viewers === 1 ? "viewer" : "viewers"}`,
  ].join(" · ");
  element("network").textContent = [
    `${(s.bitrate_kbps / 1000).toFixed(1)} Mbit/s`,
    `${s.network.round_trip_ms.toFixed(s.network.round_trip_ms < 10 ? 1 : 0)} ms round trip`,
    `${s.network.jitter_ms.toFixed(1)} ms jitter`,
    `${(100 * s.network.loss).toFixed(1)} % lost`,
    s.av_skew_ms === null ? "" : `picture ${Math.abs(s.av_skew_ms).toFixed(0)} ms ${s.av_skew_ms < 0 ? "after" : "before"} sound`,
    `danced ${s.horizon_ms.toFixed(0)} ms ahead`,
  ].filter(Boolean).join(" · ");
  viewers = s.viewers;
  if (s.error) fault(s.error);
  if (live && !busy && (s.state === "ended" || s.state === "failed")) void act(stop);
}

async function change(fields: Parameters<Api["change"]>[1]): Promise<void> {
  if (session) session = await api.change(session.id, fields);
}

/** Who is in the picture, how close, and what is behind them. */
function pictureControls(): { showPicture: () => void } {
  const dancers = element<HTMLInputElement>("dancers");
  const mixed = element<HTMLInputElement>("mixed");
  const framing = element<HTMLSelectElement>("framing");
  const ground = element<HTMLSelectElement>("ground");
  const colour = element<HTMLInputElement>("background");
  const arrange = () => {
    element("dancers-value").textContent = dancers.value;
    element("mixed-row").hidden = Number(dancers.value) === 1;
    element("colour-row").hidden = ground.value !== "colour";
    element("background-drop").hidden = ground.value !== "image";
    picture.style.background = ground.value === "colour" ? colour.value : PLAIN;
  };
  const showPicture = () => {
    if (!session) return;
    const { settings } = session;
    dancers.value = String(settings.dancers);
    mixed.checked = settings.others.length > 0;
    framing.value = settings.framing;
    ground.value = settings.background.startsWith("#") ? "colour" : settings.background;
    if (ground.value === "colour") colour.value = settings.background;
    arrange();
  };
  dancers.addEventListener("input", arrange);
  dancers.addEventListener("change", () => void act(() => change({ dancers: Number(dancers.value) })));
  mixed.addEventListener("change", () => void act(async () => {
    const avatars = mixed.checked ? await api.avatars() : [];
    await change({ others: avatars.map((a) => a.id).filter((id) => id !== session?.avatar).slice(0, 4) });
  }));
  framing.addEventListener("change", () => void act(() => change({ framing: framing.value as Session["settings"]["framing"] })));
  ground.addEventListener("change", () => {
    arrange();
    // A picture is shown once there is one.
    if (ground.value === "image") void api.change(session!.id, { background: "image" }).then((s) => (session = s), () => {});
    else void act(() => change({ background: ground.value === "colour" ? colour.value : ground.value }));
  });
  colour.addEventListener("input", arrange);
  colour.addEventListener("change", () => void act(() => change({ background: colour.value })));
  fileDrop(element("background-drop"), (file) => void act(async () => {
    session = await api.uploadBackground(session!.id, file);
    showPicture();
  }));
  return { showPicture };
}

async function fillAvatars(selected: string): Promise<void> {
  const avatars = await api.avatars();
  fillChoices(
    element("avatars"),
    "avatar",
    avatars.map((a) => ({ id: a.id, label: a.name, image: a.image })),
    selected,
    (id) => void act(async () => {
      await change({ avatar: id });
      still(avatars.find((a) => a.id === id)?.image);
    }),
  );
  still(avatars.find((a) => a.id === selected)?.image);
}

/** The avatar as it stands, while nothing plays. */
function still(image: string | undefined): void {
  const idle = element("idle");
  idle.querySelector("img")?.remove();
  if (!image) return;
  const figure = document.createElement("img");
  figure.src = image;
  figure.alt = "";
  idle.prepend(figure);
}

function fillSources(songs: { id: string; title: string; seconds: number }[], upload?: string): void {
  const choices = songs.map((s) => ({ id: `song:${s.id}`, label: s.title, detail: clock(s.seconds) }));
  if (upload) choices.push({ id: "upload", label: upload, detail: "your song" });
  choices.push({ id: "microphone", label: "Microphone", detail: "or line in" });
  if ("getDisplayMedia" in navigator.mediaDevices) choices.push({ id: "tab", label: "Browser tab", detail: "its sound" });
  if (upload) source = { kind: "upload", name: upload };
  else if (songs[0]) source = { kind: "song", id: songs[0].id };
  const selected = upload ? "upload" : `song:${songs[0]?.id}`;
  fillChoices(element("sources"), "source", choices, selected, (id) => {
    if (id === "microphone" || id === "tab") source = { kind: id };
    else if (id === "upload") source = { kind: "upload", name: upload! };
    else source = { kind: "song", id: id.slice("song:".length) };
    refresh();
    void act(async () => {
      if (!live) return;
      await stop();
      await start();
    });
  });
}

const clock = (seconds: number) => `${Math.floor(seconds / 60)}:${String(Math.floor(seconds % 60)).padStart(2, "0")}`;

/** The session of this browser, if the server still has it: the overlay's link then stays good. */
async function ownSession(): Promise<Session> {
  const known = localStorage.getItem(SESSION_KEY);
  if (known) {
    try {
      return await api.session(known);
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 404) throw error;
    }
  }
  const made = await api.create();
  localStorage.setItem(SESSION_KEY, made.id);
  // Who opens the studio sees a stage; overlays stay transparent all the same.
  return api.change(made.id, { background: "stage" });
}

async function open(): Promise<void> {
  const songs = await api.songs();
  session = await ownSession();
  fillSources(songs);
  await fillAvatars(session.avatar);
  const { settings } = session;
  const seed = element<HTMLInputElement>("seed");
  const style = element<HTMLSelectElement>("style");
  // The engine's free dancer goes through all of them, another one every four bars.
  const title = (name: string) => (name === "free" ? "Every style in turn" : name[0]!.toUpperCase() + name.slice(1));
  style.replaceChildren(...session.styles.map((name, i) => new Option(title(name), String(i), false, i === settings.style)));
  seed.value = String(settings.seed);
  const pace = element<HTMLSelectElement>("pace");
  const prompt = element<HTMLInputElement>("prompt");
  const percent = (value: number) => `${Math.round(value * 100)}%`;
  const stress = (value: number) => (value === 0 ? "as danced" : `${value > 0 ? "+" : "−"}${percent(Math.abs(value))}`);
  const sliders = { energy: percent, hands: stress, head: stress, footwork: stress, facing: (value: number) => `${value}°` };
  type Slider = keyof typeof sliders;
  const names = Object.keys(sliders) as Slider[];
  const showSlider = (name: Slider) => (element(`${name}-value`).textContent = sliders[name](Number(element<HTMLInputElement>(name).value)));
  const showDance = ({ settings }: Session) => {
    for (const name of names) {
      element<HTMLInputElement>(name).value = String(settings[name]);
      showSlider(name);
    }
    style.value = String(settings.style);
    pace.value = settings.pace;
  };
  picture.style.setProperty("--shape", String(session.width / session.height));
  showDance(session);
  prompt.value = session.prompt?.text ?? "";
  const { showPicture } = pictureControls();
  showPicture();

  for (const name of names) {
    const slider = element<HTMLInputElement>(name);
    slider.addEventListener("input", () => showSlider(name));
    slider.addEventListener("change", () => void act(() => change({ [name]: Number(slider.value) })));
  }
  const dancePrompt = () => void act(async () => {
    const text = prompt.value.trim();
    if (!text) return;
    await change({ prompt: text });
    if (!session) return;
    showDance(session);
    const unknown = session.prompt?.unknown ?? [];
    element("prompt-answer").textContent = unknown.length ? `Not understood, and ignored: ${unknown.join(", ")}` : "";
  });
  element("prompt-go").addEventListener("click", dancePrompt);
  prompt.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    dancePrompt();
  });
  pace.addEventListener("change", () => void act(() => change({ pace: pace.value as Session["settings"]["pace"] })));
  style.addEventListener("change", () => void act(() => change({ style: Number(style.value) })));
  seed.addEventListener("change", () => void act(() => change({ seed: Math.max(0, Math.min(4294967295, Math.trunc(Number(seed.value)))) })));
  element("reroll").addEventListener("click", () => {
    seed.value = String(crypto.getRandomValues(new Uint32Array(1))[0]! % 1_000_000);
    seed.dispatchEvent(new Event("change"));
  });
  element<HTMLAnchorElement>("trace").href = api.trace(session.id);
  element<HTMLInputElement>("overlay-url").value = new URL(session.overlay, location.href).href;

  const adjust = adjusting(api, reason);
  element("adjust-open").addEventListener("click", () => void act(async () => {
    const avatar = (await api.avatars()).find((a) => a.id === session?.avatar);
    // Another page may have put one in its place.
    if (!avatar) throw new Error("This avatar is no longer there to be adjusted. Choose another, or drop its picture again.");
    await adjust.open(avatar, async (corrected) => {
      await change({ avatar: corrected.id });
      await fillAvatars(corrected.id);
    });
  }));
  fileDrop(element("avatar-drop"), (file) => void act(async () => {
    say("Reading the picture…");
    const avatar = await api.uploadAvatar(file);
    await change({ avatar: avatar.id });
    await fillAvatars(avatar.id);
    say(live ? "Live" : "Ready", live ? "live" : "");
  }));
  fileDrop(element("song-drop"), (file) => void act(async () => {
    const was = live;
    if (was) await stop();
    say("Reading the song…");
    session = await api.uploadSong(session!.id, file, element<HTMLInputElement>("loop").checked);
    uploaded = file;
    fillSources(songs, file.name);
    say("Ready");
    if (was) await start();
  }));

  api.events(session.id, status, (connected) => {
    if (!connected) say("The engine does not answer. Trying again…", "error");
    else say(live ? "Live" : "Ready", live ? "live" : "");
  }, () => {
    localStorage.removeItem(SESSION_KEY);
    session = null;
    live = false;
    element("panels").inert = true;
    refresh();
    say("The session has ended. Reload the page for a new one.", "error");
  });
  element("panels").inert = false;
  say("Ready");
}

play.addEventListener("click", () => void act(live ? stop : start));
panic.addEventListener("click", () => void stop());
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") void stop();
});
unmute.addEventListener("click", () => {
  video.muted = false;
  unmute.hidden = true;
});
element("copy").addEventListener("click", async () => {
  const field = element<HTMLInputElement>("overlay-url");
  field.select();
  await navigator.clipboard.writeText(field.value).catch(() => document.execCommand("copy"));
  element("copy").textContent = "Copied";
  setTimeout(() => (element("copy").textContent = "Copy"), 1500);
});
window.addEventListener("pagehide", () => {
  // An overlay may go on watching; if nobody does, the machine is free for the next session.
  if (session && live && viewers <= 1) api.leave(session.id);
  void viewer?.close();
  void sender?.peer.close();
});

void act(open).then(() => {
  if (!session) say("Not connected", "error");
});

