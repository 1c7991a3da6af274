// The page as a whole: which cameras are shown, status texts, buttons and keys.

import { Controls } from "./controls.js";
import { canFloat, canRecord, float, record, snapshot } from "./keep.js";
import { placeBars } from "./layout.js";
import { OWN, address, named } from "./place.js";
import { Report } from "./report.js";
import { Tile } from "./tile.js";

const HIDDEN_MS = 15_000; // a page hidden for this long disconnects, so that the camera can be closed
const REPORT_MS = 3000; // interval of requests for the server's state while all is well
const TROUBLE_MS = 1000; // the same while there is a fault
const BEAT_MS = 500; // figures are computed anew after this time
const QUIET_MS = 3000; // controls over the picture hide after this time without movement
const ALL = "#*"; // the fragment for all cameras; any other is the name of a camera

const at = (id) => document.getElementById(id);
const report = new Report(heard);
let tiles = [];
let paused = false;
let resting = false; // disconnected, as the page is hidden
let hiddenAt = performance.now();
let clip = null;

// ---- which cameras are shown

/** The camera that is shown alone; nothing while all are shown. */
function focused() {
  if (tiles.length === 1) return tiles[0];
  const wanted = location.hash ? decodeURIComponent(location.hash.slice(1)) : named;
  return tiles.find(({ name }) => name === wanted);
}

const choose = (tile) => (location.hash = tile ? encodeURIComponent(tile.name) : ALL);

/** Creates tiles for the cameras of the server. */
function arrange(cameras) {
  const first = tiles[0];
  // The first is shown before its name is known.
  if (tiles.length === 1 && first.name === null && cameras[0]) first.label(cameras[0].name);
  if (cameras.length === tiles.length && cameras.every(({ name }, index) => name === tiles[index].name)) return;
  const before = tiles;
  tiles = cameras.map(({ name }) => tiles.find((tile) => tile.name === name) ?? newTile(name));
  for (const gone of before.filter((tile) => !tiles.includes(tile))) {
    if (clip && gone.held) clip.stop();
    gone.run(false);
  }
  const columns = Math.ceil(Math.sqrt(tiles.length)) || 1;
  at("stage").style.setProperty("--columns", columns);
  at("stage").style.setProperty("--rows", Math.ceil(tiles.length / columns) || 1);
  const shown = tiles.map(({ element }) => element);
  at("stage").replaceChildren(...(shown.length ? shown : [at("empty").content.cloneNode(true)]));
  const chips = [["All", null], ...tiles.map((tile) => [tile.name, tile])].map(([text, tile]) => {
    const chip = document.createElement("button");
    chip.type = "button";
    chip.textContent = text;
    chip.onclick = () => choose(tile);
    return chip;
  });
  at("cameras").replaceChildren(...chips);
  at("cameras").hidden = tiles.length < 2;
  apply();
}

function newTile(name) {
  const tile = new Tile(name, (ask) => (ask ? report.ask() : refresh()));
  tile.element.querySelector(".choose").onclick = () => choose(tile);
  tile.element.querySelector(".notice button").onclick = () => {
    if (tile.state === "unauthorised") location.reload();
    else pause(false);
  };
  return tile;
}

/** Shows the selected cameras, and connects to these alone. */
function apply() {
  const one = focused();
  document.body.dataset.mode = one ? "one" : "all";
  for (const tile of tiles) {
    const shown = !one || tile === one;
    tile.element.hidden = !shown;
    tile.element.classList.toggle("alone", shown && Boolean(one));
    const wanted = shown && !paused && !resting && !report.unauthorised;
    if (wanted !== tile.wanted) tile.run(wanted);
  }
  [...at("cameras").children].forEach((chip, index) => {
    chip.setAttribute("aria-pressed", index ? tiles[index - 1] === one : !one);
  });
  if (!one) {
    clip?.stop();
    at("controls").setAttribute("aria-expanded", false);
    panel.hide();
  } else if (panel.open) {
    panel.show(one.name);
  }
  refresh();
}

/** Shows the cameras that the fragment selects. */
function select() {
  clip?.stop();
  if (document.pictureInPictureElement) document.exitPictureInPicture();
  apply();
}

// ---- status texts

function heard() {
  if (report.cameras) arrange(report.cameras);
  // Screen readers announce every assignment, so only changes are assigned.
  if (at("warning").textContent !== report.warning) at("warning").textContent = report.warning;
  at("logout").hidden = !report.access.includes("by=cookie");
  apply();
}

/** Updates texts and figures. */
function refresh() {
  const now = performance.now();
  for (const tile of tiles) {
    tile.held = Boolean(clip || document.pictureInPictureElement) && tile === focused();
    tile.judge(report, now);
  }
  const one = focused();
  placeBars(at("view"), one?.frame && one.canvas);
  if (one) say(one.state, one.words, one);
  else sayAll();
  if (one) {
    for (const [id, text] of Object.entries(one.figures(report.of(one.name)))) at(id).textContent = text;
    at("mirror").setAttribute("aria-pressed", one.orientation.mirrored);
    const [label, title] = PICTURES[one.choice];
    at("choice").hidden = !one.offered;
    at("choice").title = `${title} (Q)`;
    at("choice").querySelector("span").textContent = one.choice === "auto" ? `${label}: ${one.kind === "h264" ? "H.264" : "JPEG"}` : label;
    at("record").hidden = !(canRecord || one.kind === "h264");
    at("snapshot").disabled = at("record").disabled = at("pip").disabled = !one.frame;
  }
  at("rotate").disabled = at("mirror").disabled = Boolean(clip);
  at("record").querySelector("span").textContent = clip ? clip.length : "Record";
}

function say(state, words, one) {
  const status = at("status");
  const [title, ...why] = words.split(": ");
  const [visible, forEars] = status.children;
  const rest = why.length ? `: ${why.join(": ")}` : "";
  // Screen readers announce every assignment, so only changes are assigned.
  if (visible.textContent !== title) visible.textContent = title;
  if (forEars.textContent !== rest) forEars.textContent = rest;
  status.dataset.state = state;
  const name = tiles.length > 1 && one ? one.name : "Porthole";
  at("title").textContent = name;
  document.title = state === "live" ? name : `${title} · ${name}`;
}

function sayAll() {
  if (!tiles.length) return sayNone();
  const live = tiles.filter(({ state }) => state === "live").length;
  const others = tiles.filter(({ state }) => state !== "live");
  // A fault of the server concerns all cameras.
  const common = others.length === tiles.length && others.every(({ state }) => state === others[0].state);
  if (live === tiles.length) say("live", `${live} cameras live`);
  else if (common) say(others[0].state, others[0].words);
  else say("mixed", `${live} of ${tiles.length} live: ${others.map(({ name, words }) => `${name}: ${words}`).join("; ")}`);
}

/** Brokers announce cameras, and have announced none. */
function sayNone() {
  const why = report.announced.find(({ error }) => error)?.error ?? "One is shown as soon as a broker announces it.";
  const shown = at("stage").querySelector(".empty .why");
  if (shown && shown.textContent !== why) shown.textContent = why;
  say("idle", `No camera: ${why}`);
}

/** Called again and again. */
function beat() {
  refresh();
  restIfUnseen();
  const calm = tiles.every(({ state }) => state === "live");
  // A disconnected page asks nothing. Without a connection, every failed attempt asks.
  if (document.hidden || report.unauthorised) return;
  const due = calm ? REPORT_MS : TROUBLE_MS;
  if (report.reachable && performance.now() - report.asked > due) report.ask();
}

// ---- disconnecting and reconnecting

function wake() {
  resting = false;
  report.unauthorised = false; // to be found out again
  for (const tile of tiles) if (tile.wanted) tile.run(true);
  apply();
  report.ask();
}

/** Disconnects after the page was hidden for a while, unless a clip or picture-in-picture is running. */
function restIfUnseen() {
  const unseen = document.hidden && performance.now() - hiddenAt > HIDDEN_MS;
  if (!unseen || resting || clip || document.pictureInPictureElement) return;
  resting = true;
  apply();
}

/** A browser keeps a page for going back to it only if that has no connections. */
function leave() {
  clip?.stop();
  resting = true;
  apply();
}

function turn() {
  hiddenAt = performance.now();
  if (!document.hidden) wake();
}

// ---- buttons

const panel = new Controls();

function toast(text) {
  at("toast").textContent = text;
  clearTimeout(toast.timer);
  toast.timer = setTimeout(() => (at("toast").textContent = ""), 4000);
}

function pause(on) {
  paused = on;
  at("pause").querySelector("use").setAttribute("href", on ? "#i-play" : "#i-pause");
  at("pause").querySelector("span").textContent = on ? "Resume" : "Pause";
  if (on) clip?.stop();
  if (on) apply();
  else wake();
}

/** What is said of the picture, by what was chosen. */
const PICTURES = {
  auto: ["Auto", "Picture: sharp while the network takes it, light where it does not"],
  sharp: ["Sharp", "Picture: every one a JPEG of its own"],
  light: ["Light", "Picture: H.264, which takes a fraction of the data"],
};

function chooseNext() {
  focused().chooseNext();
  toast(PICTURES[focused().choice][1]);
}

function toggleClip() {
  if (clip) return clip.stop();
  clip = record(focused(), (file) => {
    clip = null;
    at("record").setAttribute("aria-pressed", false);
    toast(file ? `Saved ${file}` : "This browser recorded nothing; save snapshots instead");
    refresh();
  });
  at("record").setAttribute("aria-pressed", true);
  toast("Recording");
  refresh();
}

async function smallWindow() {
  if (document.pictureInPictureElement) return document.exitPictureInPicture();
  try {
    await float(focused(), () => at("pip").setAttribute("aria-pressed", false));
    at("pip").setAttribute("aria-pressed", true);
  } catch (error) {
    toast(`No small window: ${error.message}`);
  }
}

function togglePanel() {
  const open = !panel.open;
  at("controls").setAttribute("aria-expanded", open);
  if (!open) {
    panel.hide();
    return at("controls").focus();
  }
  panel.show(focused().name);
  at("panel-close").focus();
}

/** Every button of one camera: what it does, and its key. */
const ACTIONS = {
  pause: [" ", () => pause(!paused)],
  snapshot: ["s", async () => toast(`Saved ${await snapshot(focused())}`)],
  record: ["r", toggleClip],
  rotate: ["t", () => focused().turn({ quarter: (focused().orientation.quarter + 1) % 4 }, true)],
  mirror: ["m", () => focused().turn({ mirrored: !focused().orientation.mirrored }, true)],
  choice: ["q", chooseNext],
  controls: ["c", togglePanel],
  pip: ["p", smallWindow],
  fullscreen: ["f", () => (document.fullscreenElement ? document.exitFullscreen() : document.documentElement.requestFullscreen())],
};

for (const [id, [, act]] of Object.entries(ACTIONS)) {
  at(id).onclick = () => {
    act();
    refresh();
  };
}
at("panel-close").onclick = togglePanel;
at("logout").onclick = async () => {
  // The redirect is ignored: this page is loaded again, and is the login page then.
  await fetch(address("logout"), { method: "POST", headers: OWN, redirect: "manual" }).catch(() => {});
  location.reload();
};
at("help-open").onclick = () => at("help").showModal();
at("help-close").onclick = () => at("help").close();
at("pip").hidden = !canFloat;
at("fullscreen").hidden = !document.fullscreenEnabled;

addEventListener("keydown", (event) => {
  const { key, target } = event;
  if (event.ctrlKey || event.metaKey || event.altKey || at("help").open) return;
  if (key === "Escape" && panel.open) return togglePanel();
  // An element that takes text keeps its keys.
  if (target.matches("input, select, textarea") || (key === " " && target.matches("button, a"))) return;
  if (key === "?") return at("help").showModal();
  if (/^\d$/.test(key) && tiles.length > 1 && Number(key) <= tiles.length) return choose(tiles[Number(key) - 1]);
  const id = Object.keys(ACTIONS).find((id) => ACTIONS[id][0] === key.toLowerCase());
  if (!id || event.repeat || at(id).hidden || at(id).disabled || !(focused() || id === "fullscreen" || id === "pause")) return;
  event.preventDefault();
  at(id).click();
});

// ---- controls over the picture hide without movement

function stir() {
  document.body.classList.remove("quiet");
  clearTimeout(stir.timer);
  stir.timer = setTimeout(() => {
    const covered = document.body.dataset.bars !== "beside";
    const calm = covered && focused()?.state === "live" && !panel.open && !clip && !report.warning;
    if (calm && !document.querySelector(".bar :focus-visible, .bar:hover")) document.body.classList.add("quiet");
    else stir();
  }, QUIET_MS);
}

for (const event of ["pointermove", "pointerdown", "keydown", "focusin"]) addEventListener(event, stir, { passive: true });

// ---- start

if ("createImageBitmap" in self && "WebSocket" in self && "timeout" in AbortSignal) {
  document.documentElement.dataset.ready = "yes";
  at("bar").hidden = false;
  tiles = [newTile(named)];
  at("stage").replaceChildren(tiles[0].element);
  // Only now: nothing may touch the plain stream of a browser that has too little.
  addEventListener("hashchange", select);
  addEventListener("online", wake);
  addEventListener("pagehide", leave);
  addEventListener("pageshow", ({ persisted }) => persisted && wake());
  document.addEventListener("visibilitychange", turn);
  new ResizeObserver(refresh).observe(at("view"));
  setInterval(beat, BEAT_MS);
  apply();
  report.ask();
  stir();
}
