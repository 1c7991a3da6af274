// One camera on the page: its picture, its figures, and its state in words.

import { Feed } from "./feed.js";
import { Picture } from "./picture.js";
import { OWN, address } from "./place.js";

const SILENT_MS = 1500; // without a frame for this long there may be a fault
const SILENT_FRAMES = 3; // frames that must be missing, where the rate is low
const WINDOW_MS = 2000; // span that figures are computed over

/** For each state its name, an explanation, and the button that helps. */
const STATES = {
  connecting: ["Connecting", ""],
  starting: ["Starting the camera", "The first picture takes a moment."],
  live: ["Live", ""],
  paused: ["Paused", "Nothing is fetched, so the camera can rest.", "Resume"],
  idle: ["Camera idle", "Nobody watches, so it is off.", "Resume"],
  stalled: ["Camera stalled", ""],
  lost: ["Camera lost", ""],
  unsupported: ["Camera cannot be used", ""],
  slow: ["Waiting for the network", "The camera is live, but its pictures do not get through."],
  refused: ["The server refuses", ""],
  unauthorised: [
    "Not let in",
    "This camera is private. Open the address with the token that porthole printed when it first started, or log in.",
    "Log in",
  ],
  gone: ["The server does not answer", "Trying again. Is it on, and this device on its network?", "Try now"],
};

export class Tile {
  state = "connecting";
  why = "";
  /** The stream as a plain image, where WebSockets do not work. */
  plain = null;

  #feed;
  #picture;
  #samples = [];
  #skipped = 0;
  #refusal = "";
  #changed;
  #orientation = { quarter: 0, mirrored: false };

  /** `name` is null for the first camera before its name is known. `changed` is called when the state may have changed. */
  constructor(name, changed) {
    this.name = name;
    this.#changed = changed;
    this.element = document.getElementById("tile").content.firstElementChild.cloneNode(true);
    this.canvas = this.element.querySelector("canvas");
    this.#feed = new Feed(
      () => address("ws", this.name),
      (frame) => this.#picture.show(frame),
      () => this.#turned(),
    );
    this.#picture = new Picture(this.canvas, (frame, sound) => this.#painted(frame, sound));
    this.label(name);
  }

  /** Sets the name, and restores the rotation that this browser has stored for it. */
  label(name) {
    this.name = name;
    const spoken = name ?? "the camera";
    this.canvas.setAttribute("aria-label", `Live picture of ${spoken}`);
    this.element.querySelector(".name").textContent = name ?? "";
    this.element.querySelector(".choose").setAttribute("aria-label", `Show ${spoken} alone`);
    try {
      const kept = JSON.parse(localStorage.getItem(this.#key)) ?? {};
      this.turn({ quarter: (kept.quarter | 0) & 3, mirrored: kept.mirrored === true });
    } catch {
      // Nothing is stored, or there is no storage.
    }
  }

  get #key() {
    return `porthole.view.${this.name ?? ""}`;
  }

  get orientation() {
    return this.#orientation;
  }

  /** Rotates or mirrors the picture, and stores that. */
  turn(change, keep = false) {
    Object.assign(this.#orientation, change);
    this.#picture.turn(this.#orientation.quarter, this.#orientation.mirrored);
    if (!keep) return;
    try {
      localStorage.setItem(this.#key, JSON.stringify(this.#orientation));
    } catch {
      // Without storage it lasts until the page is closed.
    }
  }

  /** The frame on the canvas, as the server sent it, or null. */
  get frame() {
    return this.#picture.shown;
  }

  /** Connects or disconnects. */
  run(wanted) {
    if (this.plain) this.#runPlain(wanted);
    else if (wanted) this.#feed.start();
    else this.#feed.stop();
    this.wanted = wanted;
    if (!wanted) this.#samples = [];
  }

  /** Shows the stream as a plain image. */
  goPlain() {
    this.#feed.stop();
    this.plain = new Image();
    this.plain.className = "plain";
    this.plain.alt = this.canvas.getAttribute("aria-label");
    this.canvas.replaceWith(this.plain);
    this.#runPlain(this.wanted);
  }

  #runPlain(wanted) {
    const source = wanted ? address("stream", this.name).href : "";
    if (this.plain.src !== source) this.plain.src = source;
  }

  #turned() {
    if (this.#feed.open) this.#refusal = "";
    else if (this.#feed.failures === 2) this.#inquire();
    this.#changed(!this.#feed.open);
  }

  /** Finds out why a connection was refused: a browser does not tell for WebSockets, but for a snapshot it does. */
  async #inquire() {
    try {
      const answer = await fetch(address("snapshot", this.name), { cache: "no-store", headers: OWN });
      if (this.#feed.open || !this.wanted || answer.status === 401) return;
      if (answer.ok) return this.goPlain(); // a proxy on the way blocks WebSockets
      this.#refusal = (await answer.text()).trim();
      this.#changed(false);
    } catch {
      // The server is not reachable.
    }
  }

  #painted(frame, sound) {
    this.#feed.acknowledge(frame.sequence);
    this.#skipped += frame.skipped;
    if (!sound) return;
    const at = performance.now();
    this.#samples.push({ at, bytes: frame.bytes, captured: frame.captured });
    while (at - this.#samples[0].at > WINDOW_MS) this.#samples.shift();
    this.canvas.dataset.sequence = frame.sequence;
    this.lastFrame = at;
    if (this.state !== "live") this.#changed(false);
  }

  /** Derives the state from the server's last answer and from the frames received. */
  judge(report, now) {
    const camera = report.of(this.name);
    const [state, why] = this.#judge(report, camera, now);
    const changed = state !== this.state || why !== this.why;
    [this.state, this.why] = [state, why];
    const [title, hint, remedy] = STATES[state];
    const { element } = this;
    element.dataset.state = state;
    element.classList.toggle("seen", Boolean(this.frame));
    element.querySelector(".notice").hidden = state === "live";
    element.querySelector(".title").textContent = title;
    element.querySelector(".why").textContent = why || hint;
    element.querySelector(".age").textContent = this.#age(now);
    const button = element.querySelector(".notice button");
    button.hidden = !remedy;
    button.textContent = remedy ?? "";
    element.querySelector(".rate").textContent = state === "live" ? this.figures(camera).fps : title;
    return changed;
  }

  #judge(report, camera, now) {
    if (report.unauthorised) return ["unauthorised", ""];
    if (!this.wanted) return [camera?.state === "idle" ? "idle" : "paused", ""];
    if (!report.reachable && !this.#feed.open) return ["gone", ""];
    if (this.plain) return [camera?.state ?? "connecting", camera?.error ?? ""];
    if (!this.#feed.open) {
      if (this.#refusal) return ["refused", this.#refusal];
      return [this.#feed.failures ? "gone" : "connecting", ""];
    }
    const rare = (SILENT_FRAMES * 1000) / (camera?.fps || camera?.fps_wanted || 1000);
    const silent = now - (this.lastFrame ?? -Infinity);
    if (silent < Math.max(SILENT_MS, rare)) return ["live", ""];
    if (!camera) return ["connecting", ""];
    if (camera.error) return [camera.state, camera.error];
    if (camera.state !== "live") return ["starting", ""];
    // The server has frames, and those captured before the request should be here.
    return this.lastFrame === undefined || camera.last_frame_age_ms > silent ? ["connecting", ""] : ["slow", ""];
  }

  #age(now) {
    const seconds = Math.round((now - this.lastFrame) / 1000);
    if (!this.frame || !(seconds >= 1)) return "";
    if (seconds < 120) return `This picture is ${seconds} s old.`;
    return `This picture is ${Math.round(seconds / 60)} min old.`;
  }

  /** The figures as text. */
  figures(camera) {
    const [none, samples, { canvas }] = ["–", this.#samples, this];
    const [first, last] = [samples[0], samples.at(-1)];
    const live = this.state === "live" && samples.length > 1;
    const seconds = live ? (last.at - first.at) / 1000 : NaN;
    const bits = samples.slice(1).reduce((sum, { bytes }) => sum + bytes * 8, 0) / seconds;
    const latencies = samples.map(({ at, captured }) => this.#feed.serverTime(at) - captured);
    const latency = latencies.sort((a, b) => a - b)[latencies.length >> 1];
    const plainRate = this.plain && this.state === "live" ? `${camera.fps.toFixed(1)} fps` : none;
    return {
      fps: live ? `${((samples.length - 1) / seconds).toFixed(1)} fps` : plainRate,
      latency: live && !Number.isNaN(latency) ? `${Math.max(0, latency).toFixed(0)} ms` : none,
      size: this.frame ? `${canvas.width}×${canvas.height}` : none,
      bitrate: live ? (bits < 1e6 ? `${(bits / 1e3).toFixed(0)} kbit/s` : `${(bits / 1e6).toFixed(1)} Mbit/s`) : none,
      skipped: this.frame ? String(this.#skipped + this.#picture.overtaken) : none,
      viewers: camera ? String(camera.viewers.length) : none,
    };
  }

  /** The state as one sentence. */
  get words() {
    return STATES[this.state][0] + (this.why ? `: ${this.why}` : "");
  }
}
