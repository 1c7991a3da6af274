// One camera's connection, by the WebSocket subprotocol porthole.v1: a 32-byte header (big-endian: magic "PHF1",
// sequence u32, captured and sent u64 in microseconds of the server's clock, width and height u16, skipped u32), then
// a JPEG. Each frame that was shown is acknowledged; the server keeps few on their way, so what is shown is never old.

const HEADER = 32;
const MAGIC = 0x50484631; // "PHF1"
const PING_MS = 2000; // how often the clocks are compared...
const PINGS = 8; // ...after this many times at once, and over how many
const DEAD_MS = 8000; // a server that has said nothing for so long, pongs included, is not there any more
const RETRY_MS = [250, 500, 1000, 2000, 4000]; // waits between attempts to reconnect, the last one for ever

export class Feed {
  /** Attempts in a row that did not lead to a connection. */
  failures = 0;
  /** It is to be connected, and connects again by itself. */
  wanted = false;

  #socket = null;
  #retry = 0;
  #rhythm = 0;
  #heard = 0;
  #clock = [];
  #url;
  #took;
  #turned;

  /** `url` gives the address, `took` gets each frame, `turned` is called when it is connected or not any more. */
  constructor(url, took, turned) {
    [this.#url, this.#took, this.#turned] = [url, took, turned];
  }

  get open() {
    return this.#socket?.readyState === WebSocket.OPEN;
  }

  start() {
    this.wanted = true;
    clearInterval(this.#rhythm);
    this.#rhythm = setInterval(() => this.#beat(), PING_MS);
    this.#connect();
  }

  stop() {
    this.wanted = false;
    this.failures = 0;
    clearInterval(this.#rhythm);
    clearTimeout(this.#retry);
    this.#leave();
  }

  acknowledge(sequence) {
    this.#send({ type: "ack", sequence });
  }

  /** Milliseconds on the server's clock at the moment `at` of this one; NaN before the clocks have been compared. */
  serverTime(at) {
    const quickest = this.#clock.reduce((a, b) => (b.trip < a.trip ? b : a), { trip: Infinity, offset: NaN });
    return at + quickest.offset;
  }

  #connect() {
    clearTimeout(this.#retry);
    // After a device has slept there may be one that nobody holds the other end of.
    if (this.#socket && performance.now() - this.#heard > DEAD_MS) this.#leave();
    if (this.#socket) return;
    const url = this.#url();
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, "porthole.v1");
    socket.binaryType = "arraybuffer";
    socket.onopen = () => {
      this.failures = 0;
      this.#clock = [];
      this.#heard = performance.now();
      this.#ping();
      this.#turned();
    };
    socket.onmessage = ({ data }) => {
      this.#heard = performance.now();
      if (typeof data === "string") this.#hear(JSON.parse(data));
      else this.#take(data);
    };
    socket.onclose = () => this.#lost();
    this.#socket = socket;
    this.#heard = performance.now();
  }

  /** Lets go of the connection without waiting for the other side to agree. */
  #leave() {
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #lost() {
    this.#leave();
    // A little by chance, so that all pages do not come back at the same moment.
    const wait = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)] * (0.75 + Math.random() / 2);
    this.#retry = setTimeout(() => this.#connect(), wait);
    this.#turned();
  }

  #beat() {
    if (this.#socket && performance.now() - this.#heard > DEAD_MS) this.#lost();
    else this.#ping();
  }

  #ping() {
    this.#send({ type: "ping", t: performance.now() });
  }

  #send(message) {
    if (this.open) this.#socket.send(JSON.stringify(message));
  }

  #hear({ type, t: sent, now }) {
    if (type !== "pong") return;
    // The quickest of the last answers says most about the other clock.
    this.#clock.push({ trip: this.#heard - sent, offset: now / 1000 - (sent + this.#heard) / 2 });
    if (this.#clock.length > PINGS) this.#clock.shift();
    else this.#ping();
  }

  #take(buffer) {
    const view = new DataView(buffer);
    if (buffer.byteLength <= HEADER || view.getUint32(0) !== MAGIC) return;
    this.#took({
      sequence: view.getUint32(4),
      captured: Number(view.getBigUint64(8)) / 1000,
      skipped: view.getUint32(28),
      bytes: buffer.byteLength,
      jpeg: new Blob([new Uint8Array(buffer, HEADER)], { type: "image/jpeg" }),
    });
  }
}
