// Which kind of picture a camera is shown in: JPEG, sharp and many bytes, or H.264, light. Pure: it is told of time,
// frames and fragments, and decides.
//
// With JPEG, the server tells how many frames it left out because the link, or this device, was not ready for them. If
// that is more than a tenth in each of three seconds, H.264 is shown.
//
// With H.264, nothing tells how many JPEGs the link would take, and trying would cost the viewer pictures. But a key frame
// is as large as a JPEG, and the fragments before and after it are small. The link needs longer for the key frame by the
// difference of their bytes over its capacity. The clocks of both ends need not agree for that, as only the difference of
// two times on the way counts. JPEG comes back if the capacity is
// - half as much again as JPEG at the full rate needs, by the size of the JPEGs that were seen, and
// - half as much again as it was found to be just after JPEG did not fit. So a link that does not change brings no change,
//   even where what is found is too much, as behind a shaper that lets bursts through.
// For 60 s after each change to H.264 it stays, unless the capacity is four times what it was: then the link is another
// one. Where JPEG comes back and does not fit within 60 s, the next attempt waits twice as long, whatever is found. As
// the link may have become better while its capacity was first found, there is an attempt after five minutes too.
//
// If JPEGs were skipped because this device took longer to show one than the camera to take one, there is no way back.

const SECOND_MS = 1000;
const STRAINED_SECONDS = 3; // seconds of too many skipped frames until the change to H.264
const STRAINED_SHARE = 0.1; // of all frames
const STAY_MS = 60_000; // time from a change to H.264 to the next change back
const STAY_LEAST_MS = 10_000; // the same if the link has become another one
const STAY_MOST_MS = 3_600_000;
const ROOM = 1.5; // capacity that is wanted, over what is needed
const OTHER_LINK = 4; // capacity over what it was, beyond which the link is another one
const KEY_FRAMES = 5; // that the capacity is found from at most, as a median
const KEY_FRAMES_LEAST = 3;
const ATTEMPT_MS = 300_000; // time after which JPEG is tried again if it seems to fit, twice as long after each attempt
const SMALL = 16; // fragments that the time on the way is the least of
const LEAST_MS = 1; // a shorter difference of times on the way is not measured
const LEAST_BYTES = 4096; // a key frame that is larger than others by less tells nothing
const FAILED_MS = 60_000; // after the first failure of H.264 it is not tried for this time, twice as long after each more
const MEMORY = 60; // JPEGs that their size is the mean of

const median = (all) => [...all].sort((a, b) => a - b)[all.length >> 1];

export class Choice {
  /** "jpeg" or "h264": what was decided last. */
  kind = "jpeg";
  /** What made too many JPEGs be skipped before the last change to H.264: "link", "device" or nothing. */
  limit = "";

  #strained = 0; // seconds in a row in which too many JPEGs were skipped
  #second = -Infinity; // when the present second began
  #shown = 0;
  #skipped = 0;
  #sizes = [];
  #rate = 0;
  #ways = []; // times on the way of small fragments, with an offset that is the same for all
  #capacities = []; // bits a second, newest last
  #before = NaN; // capacity when JPEG did not fit
  #changed = -Infinity; // the last change
  #stay = STAY_MS;
  #attempt = ATTEMPT_MS;
  #took = 0; // how long this device took to show a JPEG, about
  #failures = 0;
  #failed = -Infinity;

  /** Whether too many JPEGs have been skipped for some seconds. */
  get isStrained() {
    return this.#strained >= STRAINED_SECONDS;
  }

  /** A JPEG was shown, `took` ms after it had come; `skipped` others were left out before it. */
  frame(now, { skipped, bytes, took }) {
    this.#advance(now);
    this.#took += (took - this.#took) / 8;
    this.#shown++;
    this.#skipped += skipped;
    this.#sizes.push(bytes);
    if (this.#sizes.length > MEMORY) this.#sizes.shift();
  }

  /** A fragment of H.264 has arrived: its bytes, whether it is a key frame, and when it was sent and received, each in ms
   * on any clock. */
  fragment({ bytes, isKey, sent, received }) {
    const way = received - sent;
    if (!isKey) {
      this.#ways.push({ way, bytes });
      if (this.#ways.length > SMALL) this.#ways.shift();
      return;
    }
    if (this.#ways.length < SMALL / 2) return;
    const least = this.#ways.reduce((a, b) => (b.way < a.way ? b : a));
    const more = bytes - least.bytes;
    if (more < LEAST_BYTES) return;
    this.#capacities.push((more * 8000) / Math.max(way - least.way, LEAST_MS));
    if (this.#capacities.length > KEY_FRAMES) this.#capacities.shift();
    if (Number.isNaN(this.#before)) this.#before = this.capacity;
  }

  /** H.264 could not be shown. */
  fail(now) {
    this.#failures++;
    this.#failed = now;
    this.#change("jpeg", now);
  }

  /** Bits a second that the link carries, as far as H.264 has shown; NaN before that is known. */
  get capacity() {
    return this.#capacities.length < KEY_FRAMES_LEAST ? NaN : median(this.#capacities);
  }

  /** Bits a second that JPEG takes at the full rate; NaN before that is known. */
  get need() {
    const total = this.#sizes.reduce((sum, bytes) => sum + bytes, 0);
    return (total / this.#sizes.length) * 8 * this.#rate;
  }

  /**
   * Decides at the time `now` in ms. `wanted` is what the viewer has chosen: auto, sharp or light; `offered`, whether
   * there is H.264 that this browser plays; `saves`, whether the browser is asked to save data; `rate`, frames a second
   * of the camera.
   */
  decide(now, { wanted, offered, saves, rate }) {
    this.#advance(now);
    this.#rate = rate || this.#rate;
    const kind = this.#decide(now, wanted, offered, saves);
    if (kind !== this.kind) this.#change(kind, now);
    return kind;
  }

  #decide(now, wanted, offered, saves) {
    const out = this.#failures && now - this.#failed < FAILED_MS * 2 ** (this.#failures - 1);
    if (!offered || out || wanted === "sharp") return "jpeg";
    if (wanted === "light" || saves) return "h264";
    if (this.kind === "jpeg") return this.isStrained ? "h264" : "jpeg";
    return this.#hasRoom(now) ? "jpeg" : "h264";
  }

  #hasRoom(now) {
    if (this.limit !== "link") return !this.limit;
    const { capacity, need } = this;
    if (!(capacity > need * ROOM)) return false;
    const stayed = now - this.#changed;
    if (stayed > this.#attempt) return true;
    if (capacity > this.#before * OTHER_LINK && this.#stay === STAY_MS && stayed > STAY_LEAST_MS) return true;
    return capacity > this.#before * ROOM && stayed > this.#stay;
  }

  #change(kind, now) {
    if (kind === "h264") {
      this.limit = "";
      if (this.isStrained) this.limit = this.#took * this.#rate > SECOND_MS ? "device" : "link";
      // Whether JPEG was tried, and did not fit.
      const wasTried = now - this.#changed < STAY_MS && this.limit;
      this.#stay = wasTried ? Math.min(this.#stay * 2, STAY_MOST_MS) : STAY_MS;
      this.#attempt = wasTried ? Math.min(this.#attempt * 2, STAY_MOST_MS) : ATTEMPT_MS;
    }
    this.kind = kind;
    this.#changed = now;
    this.#capacities = [];
    this.#ways = [];
    this.#before = NaN;
    this.#begin(now);
    this.#strained = 0;
  }

  /** Closes the seconds that are over. */
  #advance(now) {
    if (this.#second === -Infinity) this.#begin(now);
    if (now - this.#second < SECOND_MS) return;
    const all = this.#shown + this.#skipped;
    // One without any frame says nothing: the next one tells what was skipped in it.
    if (all) this.#strained = this.#skipped > all * STRAINED_SHARE ? this.#strained + 1 : 0;
    this.#begin(now);
  }

  #begin(now) {
    this.#second = now;
    this.#shown = this.#skipped = 0;
  }
}
