// One camera's connection, by the WebSocket subprotocol porthole.v1: a 32-byte header (big-endian: magic "PHF1",
// sequence u32, captured and sent u64 in microseconds of the server's clock, width and height u16, skipped u32), then
// a JPEG. Each frame is acknowledged when it is shown. The server limits the frames in flight, so none is shown late.

const HEADER = 32;
/** What a binary message holds, by its first four bytes: "PHF1", "PHI1", "PHM1". */
export const JPEG = 0x50484631;
export const INIT = 0x50484931;
export const FRAGMENT = 0x50484d31;
const PING_MS = 2000; // interval between two clock measurements
const PINGS = 8; // measurements at the start, and number that the offset is taken from
const DEAD_MS = 8000; // a server that sent nothing for this long, not even a pong, is gone
const RETRY_MS = [250, 500, 1000, 2000, 4000]; // waits between attempts to reconnect; the last one repeats

export class Feed {
  /** Failed attempts to connect in a row. */
  failures = 0;
  /** Whether it connects, and reconnects by itself. */
  wanted = false;

  #socket = null;
  #retry = 0;
  #rhythm = 0;
  #heard = 0;
  #clock = [];
  #protocol;
  #url;
  #took;
  #told;
  #turned;

  /**
   * Of a subprotocol: porthole.v1 or porthole.mp4.v1. `url` returns the address, `took` gets each binary message, `told`
   * each text message that is not of the protocol itself, `turned` is called on connecting and disconnecting.
   */
  constructor(protocol, url, { took, told, turned }) {
    [this.#protocol, this.#url, this.#took, this.#told, this.#turned] = [protocol, url, took, told, turned];
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

  /** Milliseconds on the server's clock at the time `at` of this one; NaN before the first measurement. */
  serverTime(at) {
    const quickest = this.#clock.reduce((a, b) => (b.trip < a.trip ? b : a), { trip: Infinity, offset: NaN });
    return at + quickest.offset;
  }

  #connect() {
    clearTimeout(this.#retry);
    // After the device has slept, the server may have closed its end of an old connection.
    if (this.#socket && performance.now() - this.#heard > DEAD_MS) this.#leave();
    if (this.#socket) return;
    const url = this.#url();
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, this.#protocol);
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

  /** Drops the connection without waiting for the closing handshake. */
  #leave() {
    if (!this.#socket) return;
    this.#socket.onopen = this.#socket.onmessage = this.#socket.onclose = null;
    this.#socket.close();
    this.#socket = null;
  }

  #lost() {
    this.#leave();
    // Random, so that not all pages reconnect at the same moment.
    const wait = RETRY_MS[Math.min(this.failures++, RETRY_MS.length - 1)] * (0.75 + Math.random() / 2);
    this.#retry = setTimeout(() => this.#connect(), wait);
    this.#turned();
  }

  #beat() {
    if (this.#socket && performance.now() - this.#heard > DEAD_MS) this.#lost();
    else this.#ping();
  }

  #ping() {
    // Longer than an acknowledgement, so that the server does not read it as late as those may be.
    this.#send({ type: "ping", t: performance.now(), for: "comparing the clocks" });
  }

  #send(message) {
    if (this.open) this.#socket.send(JSON.stringify(message));
  }

  #hear(message) {
    const { type, t: sent, now } = message;
    if (type !== "pong") return this.#told?.(message);
    // The measurement with the shortest round trip is the most precise.
    this.#clock.push({ trip: this.#heard - sent, offset: now / 1000 - (sent + this.#heard) / 2 });
    if (this.#clock.length > PINGS) this.#clock.shift();
    else this.#ping();
  }

  #take(buffer) {
    const view = new DataView(buffer);
    if (buffer.byteLength <= HEADER) return;
    this.#took({
      magic: view.getUint32(0),
      sequence: view.getUint32(4),
      captured: Number(view.getBigUint64(8)) / 1000,
      sent: Number(view.getBigUint64(16)) / 1000,
      received: this.#heard,
      skipped: view.getUint32(28) & 0x7fffffff, // the top bit marks key frames
      bytes: buffer.byteLength,
      body: new Uint8Array(buffer, HEADER),
    });
  }
}
