// Plays the fragments of an H.264 stream as they come, by Media Source, close to the newest one. The element is never
// seen: each of its pictures is drawn elsewhere, at the moment it is presented.

import { earlier, facts, timescale } from "./mp4.js";

const BEHIND_S = 0.08; // further behind the end of the newest fragment, it plays faster
const FASTER = 1.1;
const JUMP_S = 0.25; // further behind, it jumps to the newest fragment
// A fragment is one picture. It should be there so long before it is shown: less, and one that is late is missed.
const LEAD_S = 0.02;
const GAIN = 1.2; // change of the rate for each second of lead too much or too little
const SLOWEST = 0.95;
const STEP = 0.01; // smaller changes of the rate are not made
const KEEP_S = 5; // what is played stays in the buffer for so long, from a key frame on
const SILENT_MS = 8000; // fragments that come for so long without a picture are a failure
const WAITING = 90; // fragments that may wait to be taken: more mean that it does not keep up
const UNSEEN = 600; // fragments that are remembered until they are presented
const GROUP_BYTES = 32 << 20; // most bytes of a group of pictures that is kept for recording

const Source = self.MediaSource ?? self.ManagedMediaSource;
const perFrame = "requestVideoFrameCallback" in HTMLVideoElement.prototype;

export class Video {
  /** The element, whose current picture can be drawn. */
  element = document.createElement("video");
  /** Fragments that were not presented, as newer ones were. */
  overtaken = 0;
  /** The init segment and the fragments since the last key frame, for a recording that begins now. */
  init = null;
  group = [];
  /** Is told of each fragment with its facts, of each init segment, and of the end, while a recording runs. */
  listener = null;

  #source = null;
  #buffer = null;
  #type = "";
  #scale = 90_000;
  #waiting = []; // init segments and fragments that the buffer has not taken
  #taking = []; // those that it is taking
  #unseen = []; // fragments that it has taken, and that were not presented
  #keys = []; // times of key frames in the buffer
  #since = NaN; // when the first fragment came after the last picture
  #isBusy = false; // until the buffer has told that it is done, which is later than that it is
  #newest = NaN; // time of the newest fragment
  #interval = 0; // seconds between two fragments
  #read = { time: NaN, at: 0 }; // the time that the element had, and since when
  #handle = 0;
  #groupBytes = 0;
  #took;
  #presented;
  #failed;

  /** Calls `took` with each fragment that it keeps, `presented` with each that is to be seen, and `failed` once. */
  constructor({ took, presented, failed }) {
    [this.#took, this.#presented, this.#failed] = [took, presented, failed];
    const { element } = this;
    element.muted = element.playsInline = element.disableRemotePlayback = true;
    element.setAttribute("aria-hidden", "true");
    element.tabIndex = -1;
    element.className = "player";
    element.onerror = () => this.#source && this.#fail(element.error?.message || "the video cannot be decoded");
  }

  get isOpen() {
    return this.#source !== null;
  }

  /** Begins a stream of this codec. */
  open(codec) {
    const type = `video/mp4; codecs="${codec}"`;
    if (!Source.isTypeSupported(type)) return this.#fail(`${codec} is not played here`);
    if (this.#buffer && this.#type !== type) {
      if (!this.#buffer.changeType) this.close();
      else this.#waiting.push({ type });
    }
    this.#type = type;
    if (this.#source) return;
    const source = (this.#source = new Source());
    source.addEventListener("sourceopen", () => this.#opened(source), { once: true });
    this.element.src = URL.createObjectURL(source);
    this.#look();
  }

  /** Ends the stream. The last picture stays in the element. */
  close() {
    if (!this.#source) return;
    this.element.pause();
    URL.revokeObjectURL(this.element.src);
    if (this.#buffer) this.#buffer.onupdateend = this.#buffer.onerror = null;
    this.#source = this.#buffer = null;
    [this.#waiting, this.#taking, this.#unseen, this.#keys, this.group] = [[], [], [], [], []];
    this.#since = this.#newest = NaN;
    this.#interval = 0;
    this.#isBusy = false;
    this.listener?.(null, null);
    if (perFrame) this.element.cancelVideoFrameCallback(this.#handle);
    else cancelAnimationFrame(this.#handle);
  }

  /** Takes an init segment. */
  begin(bytes) {
    this.#scale = timescale(bytes) || this.#scale;
    this.init = bytes;
    this.group = [];
    this.listener?.(bytes, null);
    this.#waiting.push({ bytes });
    this.#pump();
  }

  /** Takes a fragment: `frame` with its `body`. */
  append(frame) {
    const fact = facts(frame.body);
    if (!fact) return this.#fail("a fragment cannot be read");
    Object.assign(frame, fact, { units: fact.time, time: fact.time / this.#scale });
    this.#record(frame);
    const interval = frame.time - this.#newest;
    this.#newest = frame.time;
    // Where some were skipped, the time between two says nothing.
    if (interval > 0 && interval < 1 && !frame.skipped) this.#interval += (interval - this.#interval) / (this.#interval ? 16 : 1);
    const now = performance.now();
    // A page that nobody sees is shown no pictures.
    if (document.hidden) this.#since = NaN;
    else if (Number.isNaN(this.#since)) this.#since = now;
    else if (now - this.#since > SILENT_MS) return this.#fail("nothing was decoded");
    if (this.#unseen.length > UNSEEN) this.#unseen.shift();
    if (this.#waiting.length > WAITING) return this.#fail("it does not keep up");
    this.#waiting.push({ bytes: frame.body, frame });
    this.#pump();
  }

  /** A fragment for a file that begins at `start`, in units of its timescale. */
  earlier({ body }, start) {
    return earlier(body, start);
  }

  #record(frame) {
    if (frame.isKey) [this.group, this.#groupBytes] = [[], 0];
    if (frame.isKey || this.group.length) {
      this.#groupBytes += frame.body.length;
      if (this.#groupBytes < GROUP_BYTES) this.group.push(frame);
      else this.group = [];
    }
    this.listener?.(frame.body, frame);
  }

  #opened(source) {
    if (source !== this.#source) return;
    try {
      source.duration = Infinity;
      this.#buffer = source.addSourceBuffer(this.#type);
      this.#buffer.mode = "segments";
    } catch (error) {
      return this.#fail(error.message);
    }
    this.#buffer.onupdateend = () => this.#updated();
    this.#buffer.onerror = () => this.#fail("a fragment was refused");
    this.#pump();
  }

  /** Gives the buffer what waits, all at once. */
  #pump() {
    const buffer = this.#buffer;
    if (!buffer || this.#isBusy || !this.#waiting.length) return;
    try {
      if (this.#waiting[0].type) buffer.changeType(this.#waiting.shift().type);
      const many = this.#waiting.findIndex(({ type }) => type);
      this.#taking = this.#waiting.splice(0, many < 0 ? this.#waiting.length : many);
      if (!this.#taking.length) return;
      this.#isBusy = true;
      buffer.appendBuffer(joined(this.#taking.map(({ bytes }) => bytes)));
    } catch (error) {
      this.#fail(error.message);
    }
  }

  #updated() {
    this.#isBusy = false;
    for (const { frame } of this.#taking) {
      if (!frame) continue;
      if (frame.isKey) this.#keys.push(frame.time);
      this.#unseen.push(frame);
      this.#took(frame);
    }
    const removed = !this.#taking.length;
    this.#taking = [];
    this.#chase();
    if (!removed && this.#trim()) return;
    this.#pump();
  }

  /** Removes what was played, up to a key frame. Returns whether it does. */
  #trim() {
    const old = this.#keys.findLastIndex?.((time) => time < this.element.currentTime - KEEP_S) ?? -1;
    if (old < 1) return false;
    const until = this.#keys[old] - 0.001;
    this.#keys.splice(0, old);
    this.#isBusy = true;
    this.#buffer.remove(0, until);
    return true;
  }

  /** Keeps the newest fragment near. */
  #chase() {
    const { element } = this;
    const { buffered } = element;
    if (!buffered.length) return;
    const [start, end] = [buffered.start(buffered.length - 1), buffered.end(buffered.length - 1)];
    const behind = end - Math.min(end, this.#position());
    const wanted = this.#interval + LEAD_S;
    let rate = Math.max(SLOWEST, 1 + (behind - wanted) * GAIN);
    if (behind > Math.max(BEHIND_S, wanted + LEAD_S)) rate = FASTER;
    if (behind > Math.max(JUMP_S, wanted * 3) || element.currentTime < start) {
      element.currentTime = Math.max(start, end - wanted);
      rate = 1;
    }
    if (Math.abs(rate - element.playbackRate) > STEP) element.playbackRate = rate;
    if (element.paused) {
      element.play().catch(({ name, message }) => name === "AbortError" || this.#fail(message));
    }
  }

  /** The time that is played now. The element's own may be that of the last picture, as in Firefox. */
  #position() {
    const { currentTime, playbackRate, readyState, paused } = this.element;
    const now = performance.now();
    if (currentTime !== this.#read.time) this.#read = { time: currentTime, at: now };
    const runs = readyState > HTMLMediaElement.HAVE_CURRENT_DATA && !paused;
    return currentTime + (runs ? ((now - this.#read.at) / 1000) * playbackRate : 0);
  }

  /** Looks for the next picture that is presented. */
  #look() {
    if (!this.#source) return;
    if (perFrame) {
      this.#handle = this.element.requestVideoFrameCallback((_, { mediaTime }) => this.#seen(mediaTime));
    } else {
      this.#handle = requestAnimationFrame(() => this.#seen(this.element.readyState < 2 ? -1 : this.element.currentTime));
    }
  }

  #seen(time) {
    this.#position();
    // Of those up to this time, the last one is seen. Half a millisecond is what rounding takes.
    const later = this.#unseen.findIndex((frame) => frame.time > time + 0.0005);
    const past = this.#unseen.splice(0, later < 0 ? this.#unseen.length : later);
    if (past.length) {
      this.overtaken += past.length - 1;
      this.#since = NaN;
      this.#presented(past.at(-1));
    }
    this.#look();
  }

  #fail(why) {
    this.close();
    this.#failed(why);
  }
}

function joined(parts) {
  if (parts.length === 1) return parts[0];
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}
