// One camera on the page: its picture, its figures, and its state in words.

import { Choice } from "./choice.js";
import { FRAGMENT, Feed, INIT, JPEG } from "./feed.js";
import { Picture } from "./picture.js";
import { OWN, address } from "./place.js";

const SILENT_MS = 1500; // without a frame for this long there may be a fault
const SILENT_FRAMES = 3; // frames that must be missing, where the rate is low
const WINDOW_MS = 2000; // span that figures are computed over
const CHANGE_MS = 12_000; // H.264 that has shown nothing after this time is given up
const CHOICES = ["auto", "sharp", "light"];

const Source = self.MediaSource ?? self.ManagedMediaSource;
/** Whether this browser plays H.264 that comes in fragments. A camera may still send a codec that it does not play. */
const canPlay = Boolean(Source?.isTypeSupported('video/mp4; codecs="avc1.42C01F"'));

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

  /** What is shown: "jpeg" or "h264". */
  kind = "jpeg";
  /** What the viewer has chosen: one of CHOICES. */
  choice = "auto";
  /** Whether it stays with the kind that is shown, for a clip or a small window. */
  held = false;
  /** Whether there is H.264 of this camera that this browser plays. */
  offered = false;
  /** What plays H.264; null until it is shown for the first time. */
  video = null;

  #feeds;
  #next = null; // the kind that it changes to, until the first picture of that
  #began = 0; // when that change began
  #loading = null; // a promise, while the module that plays H.264 is being loaded
  #decision = new Choice();
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
    const url = () => address("ws", this.name);
    this.#feeds = {
      jpeg: new Feed("porthole.v1", url, {
        took: (frame) => frame.magic === JPEG && this.#tookJpeg(frame),
        turned: () => this.#turned("jpeg"),
      }),
      h264: new Feed("porthole.mp4.v1", url, {
        took: (frame) => this.#tookVideo(frame),
        told: ({ type, codec }) => type === "mp4" && this.video.open(codec),
        turned: () => this.#turned("h264"),
      }),
    };
    this.#picture = new Picture(this.canvas, (frame, sound) => this.#painted(frame, sound));
    this.label(name);
  }

  /** Sets the name, and restores the rotation and the choice that this browser has stored for it. */
  label(name) {
    this.name = name;
    const spoken = name ?? "the camera";
    this.canvas.setAttribute("aria-label", `Live picture of ${spoken}`);
    this.element.querySelector(".name").textContent = name ?? "";
    this.element.querySelector(".choose").setAttribute("aria-label", `Show ${spoken} alone`);
    try {
      const kept = JSON.parse(localStorage.getItem(this.#key)) ?? {};
      if (CHOICES.includes(kept.choice)) this.choice = kept.choice;
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
    this.#picture.turn(this.#orientation.quarter, this.#orientation.mirrored, this.video?.element);
    if (keep) this.#keep();
  }

  /** Takes the next of the choices, and stores it. */
  chooseNext() {
    this.choice = CHOICES[(CHOICES.indexOf(this.choice) + 1) % CHOICES.length];
    this.#keep();
  }

  #keep() {
    try {
      localStorage.setItem(this.#key, JSON.stringify({ ...this.#orientation, choice: this.choice }));
    } catch {
      // Without storage it lasts until the page is closed.
    }
  }

  /** The frame on the canvas, as the server sent it, or null. */
  get frame() {
    return this.#picture.shown;
  }

  /** The connection that the pictures come from. */
  get #feed() {
    const { [this.kind]: feed, [this.#next]: next } = this.#feeds;
    return feed.wanted || !next ? feed : next;
  }

  /** Connects or disconnects. */
  run(wanted) {
    this.wanted = wanted;
    if (this.plain) return this.#runPlain(wanted);
    for (const [kind, feed] of Object.entries(this.#feeds)) {
      if (wanted && (kind === this.kind || kind === this.#next)) feed.start();
      else feed.stop();
    }
    this.#began = performance.now();
    if (!wanted) this.#samples = [];
    if (!wanted) this.video?.element.pause();
  }

  /** Shows the stream as a plain image. */
  goPlain() {
    for (const feed of Object.values(this.#feeds)) feed.stop();
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

  // ---- JPEG or H.264

  /** Loads what plays H.264. Most viewers never need it. */
  async #loadPlayer() {
    const { Video } = await import("./video.js");
    this.video = new Video({
      took: ({ sequence }) => this.#feeds.h264.acknowledge(sequence),
      presented: (frame) => {
        // Where JPEG takes its place, the first of those is being decoded.
        if (this.#next !== "jpeg") this.#picture.clear();
        this.#picture.present(frame, this.video.element);
      },
      failed: (why) => this.#failed(why),
    });
    this.canvas.after(this.video.element);
  }

  /** Has it decided which kind is shown, and changes to that. */
  #choose(camera, now) {
    this.offered = Boolean(canPlay && camera?.h264) && !this.plain;
    const saves = navigator.connection?.saveData === true;
    if (this.#next === "h264" && this.wanted && now - this.#began > CHANGE_MS) return this.#failed("no picture came");
    if (this.held || !this.wanted) return;
    const rate = camera?.fps || camera?.fps_wanted;
    this.#change(this.#decision.decide(now, { wanted: this.choice, offered: this.offered, saves, rate }));
  }

  /** Changes to a kind. The other one goes on until there is a picture of it. */
  #change(kind) {
    if (kind === (this.#next ?? this.kind)) return;
    if (kind === "h264" && !this.video) {
      this.#loading ??= this.#loadPlayer()
        .catch(({ message }) => this.#failed(message))
        .finally(() => (this.#loading = null));
      return;
    }
    const other = kind === "jpeg" ? "h264" : "jpeg";
    this.#next = kind === this.kind ? null : kind;
    this.#began = performance.now();
    if (!this.#next) this.#end(other);
    else if (this.wanted) this.#feeds[kind].start();
  }

  #end(kind) {
    this.#feeds[kind].stop();
    if (kind === "h264") this.video?.close();
  }

  #failed(why) {
    console.info(`back to JPEG: ${why}`);
    this.#decision.fail(performance.now());
    this.element.dataset.failure = why;
    this.#change("jpeg");
    this.#end("h264");
    this.#changed(false);
  }

  #tookJpeg(frame) {
    frame.jpeg = new Blob([frame.body], { type: "image/jpeg" });
    delete frame.body; // which holds the same again
    this.#picture.show(frame);
  }

  #tookVideo(frame) {
    if (frame.magic === INIT) return this.video.begin(frame.body);
    if (frame.magic !== FRAGMENT || !this.video.isOpen) return;
    this.video.append(frame);
    this.#decision.fragment(frame);
  }

  // ---- the connection

  #turned(kind) {
    const { open, failures } = this.#feeds[kind];
    if (open) this.#refusal = "";
    else if (failures === 2) this.#inquire(kind);
    // Its times may begin anew.
    if (open && kind === "h264") this.video.close();
    this.#changed(!open);
  }

  /** Finds out why a connection was refused: a browser does not tell for WebSockets, but for a snapshot it does. */
  async #inquire(kind) {
    const feed = this.#feeds[kind];
    try {
      const answer = await fetch(address("snapshot", this.name), { cache: "no-store", headers: OWN });
      if (feed.open || !feed.wanted || answer.status === 401) return;
      if (answer.ok && kind === "h264") return this.#failed("the server gives none");
      if (answer.ok) return this.goPlain(); // a proxy on the way blocks WebSockets
      this.#refusal = (await answer.text()).trim();
      this.#changed(false);
    } catch {
      // The server is not reachable.
    }
  }

  #painted(frame, sound) {
    const kind = frame.jpeg ? "jpeg" : "h264";
    const feed = this.#feeds[kind];
    this.#skipped += frame.skipped;
    const at = performance.now();
    if (frame.jpeg) {
      this.#decision.frame(at, { ...frame, took: at - frame.received });
      // While H.264 takes its place on a link that is too thin for both, the server sends no more of it.
      if (!(this.#next === "h264" && this.#decision.limit)) feed.acknowledge(frame.sequence);
    }
    if (!sound) return;
    if (kind === this.#next) [this.kind, this.#next] = [kind, null];
    if (kind === this.kind) {
      const other = kind === "jpeg" ? "h264" : "jpeg";
      if (!this.#next && this.#feeds[other].wanted) this.#end(other);
    }
    this.#samples.push({ at, bytes: frame.bytes, captured: frame.captured, feed });
    while (at - this.#samples[0].at > WINDOW_MS) this.#samples.shift();
    this.canvas.dataset.sequence = frame.sequence;
    this.lastFrame = at;
    if (this.state !== "live") this.#changed(false);
  }

  /** Derives the state from the server's last answer and from the frames received. */
  judge(report, now) {
    const camera = report.of(this.name);
    this.#choose(camera, now);
    const [state, why] = this.#judge(report, camera, now);
    const changed = state !== this.state || why !== this.why;
    [this.state, this.why] = [state, why];
    const [title, hint, remedy] = STATES[state];
    const { element } = this;
    element.dataset.state = state;
    element.dataset.kind = this.kind;
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
    const latencies = samples.map(({ at, captured, feed }) => feed.serverTime(at) - captured);
    const latency = latencies.sort((a, b) => a - b)[latencies.length >> 1];
    const plainRate = this.plain && this.state === "live" ? `${camera.fps.toFixed(1)} fps` : none;
    return {
      fps: live ? `${((samples.length - 1) / seconds).toFixed(1)} fps` : plainRate,
      latency: live && !Number.isNaN(latency) ? `${Math.max(0, latency).toFixed(0)} ms` : none,
      size: this.frame ? `${canvas.width}×${canvas.height}` : none,
      bitrate: live ? (bits < 1e6 ? `${(bits / 1e3).toFixed(0)} kbit/s` : `${(bits / 1e6).toFixed(1)} Mbit/s`) : none,
      skipped: this.frame ? String(this.#skipped + this.#picture.overtaken + (this.video?.overtaken ?? 0)) : none,
      viewers: camera ? String(camera.viewers.length) : none,
    };
  }

  /** The state as one sentence. */
  get words() {
    if (this.state === "live" && this.#decision.isStrained) return "Live, but not every picture gets through";
    return STATES[this.state][0] + (this.why ? `: ${this.why}` : "");
  }
}
