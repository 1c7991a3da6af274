// The page: shows the newest frame as soon as it is there, and says in words what is going on.
//
// Frames come over WebSocket in the subprotocol porthole.v1: a 32-byte header (big-endian: magic "PHF1", sequence
// u32, captured and sent u64 in microseconds of the server's clock, width and height u16, skipped u32), then a JPEG.
// Each frame that was shown is acknowledged; the server keeps few on their way, so what is shown is never old.

const HEADER = 32;
const MAGIC = 0x50484631; // "PHF1"
const PING_MS = 2000; // how often the clocks are compared
const SILENT_MS = 1500; // without a frame for this long, ask the server why
const RETRY_MS = [250, 500, 1000, 2000, 4000]; // waits between attempts to reconnect, the last one for ever

const WORDS = {
  connecting: "Connecting",
  starting: "Starting the camera",
  live: "Live",
  idle: "The camera is resting",
  stalled: "The camera has stalled",
  lost: "Camera lost",
  unsupported: "The camera cannot be used",
  unauthorised: "You need the address with the token",
  gone: "The server does not answer, trying again",
};

const at = (id) => document.getElementById(id);
const canvas = at("picture");
const context = canvas.getContext("2d", { alpha: false, desynchronized: true });

// All addresses are relative to the page's own, so that it works under any prefix a proxy puts before it. The page
// itself is at the root, for the first camera, and at cameras/NAME/ for each.
const root = new URL(location.pathname.replace(/cameras\/[^/]+\/$/, ""), location.href);
let chosen = location.pathname.match(/cameras\/([^/]+)\/$/)?.[1];

/** The address of something of the chosen camera. */
const address = (name) => new URL(chosen ? `cameras/${chosen}/${name}` : name, root);

// ---- the connection

let socket = null;
let attempts = 0;
let retry = 0;
let lastFrame = 0;

function connect() {
  clearTimeout(retry);
  if (socket) return;
  if (!lastFrame) say("connecting");
  const url = address("ws");
  url.protocol = url.protocol.replace("http", "ws");
  socket = new WebSocket(url, "porthole.v1");
  socket.binaryType = "arraybuffer";
  socket.onopen = () => {
    attempts = 0;
    clock.reset();
    ping();
  };
  socket.onmessage = ({ data }) => (typeof data === "string" ? hear(JSON.parse(data)) : take(data));
  socket.onclose = () => {
    socket = null;
    say("gone");
    // A little by chance, so that all pages do not come back at the same moment.
    const wait = RETRY_MS[Math.min(attempts++, RETRY_MS.length - 1)] * (0.75 + Math.random() / 2);
    retry = setTimeout(connect, wait);
    if (attempts > 1) inquire();
  };
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function reconnectNow() {
  attempts = 0;
  connect();
}

addEventListener("online", reconnectNow);
document.addEventListener("visibilitychange", () => document.hidden || reconnectNow());

// ---- the server's clock, from the fastest of the last answers

const clock = {
  samples: [],
  reset() {
    this.samples = [];
  },
  add(sent, received, serverMicros) {
    this.samples.push({ trip: received - sent, offset: serverMicros / 1000 - (sent + received) / 2 });
    if (this.samples.length > 8) this.samples.shift();
  },
  /** Milliseconds on the server's clock at this moment; NaN before the first answer. */
  now() {
    const best = this.samples.reduce((a, b) => (b.trip < a.trip ? b : a), { trip: Infinity, offset: NaN });
    return performance.now() + best.offset;
  },
};

function ping() {
  send({ type: "ping", t: performance.now() });
}
setInterval(ping, PING_MS);

function hear(message) {
  if (message.type === "pong") clock.add(message.t, performance.now(), message.now);
}

// ---- frames: one is being decoded, and the newest of those that came meanwhile waits

let waiting = null;
let decoding = false;

function take(buffer) {
  const view = new DataView(buffer);
  if (buffer.byteLength <= HEADER || view.getUint32(0) !== MAGIC) return;
  waiting = {
    sequence: view.getUint32(4),
    captured: Number(view.getBigUint64(8)) / 1000,
    skipped: view.getUint32(28),
    jpeg: new Blob([new Uint8Array(buffer, HEADER)], { type: "image/jpeg" }),
  };
  if (!decoding) show();
}

async function show() {
  decoding = true;
  while (waiting) {
    const frame = waiting;
    waiting = null;
    try {
      const bitmap = await createImageBitmap(frame.jpeg);
      if (canvas.width !== bitmap.width || canvas.height !== bitmap.height) {
        [canvas.width, canvas.height] = [bitmap.width, bitmap.height];
      }
      context.drawImage(bitmap, 0, 0);
      bitmap.close();
      count(frame);
    } catch (error) {
      console.warn(`frame ${frame.sequence} cannot be decoded`, error);
    }
    send({ type: "ack", sequence: frame.sequence });
  }
  decoding = false;
}

// ---- figures

const figures = { times: [], latency: NaN, skipped: 0 };

function count(frame) {
  const now = performance.now();
  lastFrame = now;
  figures.times.push(now);
  figures.latency = clock.now() - frame.captured;
  figures.skipped += frame.skipped;
  canvas.dataset.sequence = frame.sequence;
  say("live");
}

setInterval(() => {
  const now = performance.now();
  figures.times = figures.times.filter((time) => now - time < 2000);
  const { times, latency, skipped } = figures;
  const live = times.length > 1;
  at("fps").textContent = live ? `${(((times.length - 1) * 1000) / (times.at(-1) - times[0])).toFixed(1)} fps` : "–";
  at("latency").textContent = live && latency > -5 ? `${Math.max(0, latency).toFixed(0)} ms` : "–";
  at("size").textContent = lastFrame ? `${canvas.width}×${canvas.height}` : "–";
  at("skipped").textContent = lastFrame ? skipped : "–";
  if (now - lastFrame > SILENT_MS) inquire();
}, 500);

// ---- what is going on, in words

function say(state, why = "") {
  const status = at("status");
  const text = WORDS[state] + (why ? `: ${why}` : "");
  // Only a change is worth announcing.
  if (status.dataset.state !== state || status.textContent !== text) {
    status.dataset.state = state;
    status.textContent = text;
  }
}

/** Asks the server what the camera does. */
async function inquire() {
  try {
    const answer = await fetch(new URL("state", root), { cache: "no-store", signal: AbortSignal.timeout(3000) });
    if (answer.status === 401) return say("unauthorised");
    const { cameras } = await answer.json();
    list(cameras);
    const camera = cameras.find(({ name }) => name === chosen) ?? cameras[0];
    at("title").textContent = cameras.length > 1 ? camera.name : "Porthole";
    if (socket && performance.now() - lastFrame > SILENT_MS) {
      say(camera.state === "live" ? "connecting" : camera.state, camera.error ?? "");
    }
  } catch {
    if (!socket) say("gone");
  }
}

// ---- several cameras

function list(cameras) {
  const nav = at("cameras");
  nav.hidden = cameras.length < 2;
  if (nav.hidden || nav.childElementCount === cameras.length) return;
  nav.replaceChildren(
    ...cameras.map(({ name }, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = name;
      button.dataset.camera = name;
      button.onclick = () => choose(name);
      button.setAttribute("aria-pressed", chosen ? name === chosen : index === 0);
      return button;
    }),
  );
}

function choose(name) {
  chosen = name;
  for (const button of at("cameras").children) button.setAttribute("aria-pressed", button.dataset.camera === name);
  at("title").textContent = name;
  at("snapshot").href = address("snapshot.jpg");
  figures.skipped = lastFrame = 0;
  socket?.close();
  reconnectNow();
}

at("fullscreen").onclick = () =>
  document.fullscreenElement ? document.exitFullscreen() : at("view").requestFullscreen?.();

inquire();
connect();
