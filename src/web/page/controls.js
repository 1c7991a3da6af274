// The camera's controls, one row each, from the server's list. After each change all are read again, as one control can
// enable or disable others. While the panel is open, changes by other viewers are shown, too.

import { OWN, address } from "./place.js";

const REFRESH_MS = 4000;
// A camera answers one request at a time, and may be busy with that of another viewer.
const ATTEMPTS = 4;
const AGAIN_MS = 150;

/** Parses JSON; numbers too large for JavaScript stay text. */
function parse(text) {
  return JSON.parse(text, (_, value, context) =>
    typeof value === "number" && !Number.isSafeInteger(value) ? (context?.source ?? value) : value,
  );
}

/** An element with properties, attributes and children. */
function make(tag, { text, ...attributes } = {}, ...children) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** One control in the panel. */
class Row {
  #info = {};
  #sending = false;
  #next;
  #set;
  #field;

  /** `set(name, value)` sends a value and returns the server's error, if there is one. */
  constructor(info, set) {
    this.#set = set;
    const id = `control-${info.name}`;
    this.#field = make("div", { class: "field" });
    this.error = make("p", { class: "error", role: "alert" });
    this.hint = make("p", { class: "hint", id: `${id}-hint` });
    this.reset = make("button", { type: "button", class: "icon reset", "aria-label": `Reset ${info.label}`, title: "Back to its default" });
    this.reset.innerHTML = '<svg aria-hidden="true"><use href="#i-reset"/></svg>';
    this.reset.onclick = () => this.send(this.#info.default);
    const group = info.type === "bitmask";
    const name = group ? make("span", { text: info.label, id: `${id}-label` }) : make("label", { text: info.label, for: id });
    this.element = make("div", { class: `control ${info.type}`, "data-control": info.name });
    if (group) {
      this.element.setAttribute("role", "group");
      this.element.setAttribute("aria-labelledby", `${id}-label`);
    }
    this.element.append(make("div", { class: "name" }, name), this.#field, this.reset, this.hint, this.error);
    this.#fill(info, id);
  }

  /** Creates the input element. */
  #fill(info, id) {
    const described = { id, "aria-describedby": `${id}-hint` };
    const add = (...elements) => this.#field.append(...elements);
    switch (info.type) {
      case "boolean": {
        const box = make("input", { type: "checkbox", role: "switch", ...described });
        box.onchange = () => this.send(box.checked);
        this.show = ({ value }) => (box.checked = value === 1);
        return add(box);
      }
      case "menu":
      case "integer_menu": {
        const menu = make("select", described);
        menu.append(...info.menu.map(({ value, label }) => make("option", { value, text: label })));
        menu.onchange = () => this.send(Number(menu.value));
        this.show = ({ value }) => (menu.value = String(value));
        return add(menu);
      }
      case "button": {
        const button = make("button", { type: "button", text: "Do it now", ...described });
        this.element.querySelector("label").replaceWith(make("span", { text: info.label }));
        button.setAttribute("aria-label", `Do it now: ${info.label}`);
        button.onclick = () => this.send(1);
        this.show = () => {};
        return add(button);
      }
      case "bitmask": {
        const boxes = [];
        for (let bit = 0; bit < 32; bit++) {
          const weight = 2 ** bit;
          if (Math.floor(info.maximum / weight) % 2) {
            const box = make("input", { type: "checkbox", value: weight });
            box.onchange = () => this.send(boxes.reduce((sum, b) => sum + (b.checked ? Number(b.value) : 0), 0));
            boxes.push(box);
            add(make("label", {}, box, ` ${bit}`));
          }
        }
        this.show = ({ value }) => {
          for (const box of boxes) box.checked = Math.floor(value / Number(box.value)) % 2 === 1;
        };
        return;
      }
      case "integer":
      case "integer64":
        return this.#fillNumber(info, described, add);
      default:
        this.element.querySelector("label").replaceWith(make("span", { text: info.label }));
        this.show = () => {};
    }
  }

  #fillNumber({ label, minimum, maximum, step, value }, described, add) {
    const number = make("input", { type: "text", inputmode: "numeric", autocomplete: "off", ...described });
    number.onchange = () => (/^-?\d+$/.test(number.value.trim()) ? this.send(number.value.trim()) : this.show(this.#info));
    this.show = (info) => (number.value = info.value ?? "");
    // A slider if it can reach every value, and the value can be read.
    const exact = [minimum, maximum, step].every(Number.isSafeInteger);
    if (exact && value !== null && maximum > minimum) {
      const slider = make("input", { type: "range", min: minimum, max: maximum, step: step || 1, "aria-label": label });
      slider.oninput = () => this.send(Number((number.value = slider.value)));
      this.show = (info) => (slider.value = number.value = info.value);
      add(slider);
    }
    add(number);
  }

  /** Updates it from the server's list. */
  update(info) {
    this.#info = info;
    const fixed = info.read_only || info.type === "other";
    const disabled = fixed || info.inactive;
    this.element.classList.toggle("off", disabled);
    for (const input of this.#field.querySelectorAll("input, select, button")) input.disabled = disabled;
    const resettable = !["button", "other"].includes(info.type) && info.value !== null;
    this.reset.hidden = !resettable || fixed;
    this.reset.disabled = disabled || String(info.value) === String(info.default);
    this.hint.textContent = fixed ? "Read only" : info.inactive ? "Set by the camera itself at present" : "";
    // A control that is being moved is not updated.
    const busy = this.#sending || (document.activeElement?.type === "text" && this.#field.contains(document.activeElement));
    if (!busy) this.show(info);
  }

  get settable() {
    return !this.reset.hidden && !this.reset.disabled;
  }

  /** Sends a value. While one is being sent, only the newest of the others is kept. */
  async send(value) {
    this.#next = value;
    if (this.#sending) return;
    this.#sending = true;
    while (this.#next !== undefined) {
      const next = this.#next;
      this.#next = undefined;
      this.error.textContent = await this.#set(this.#info.name, next);
    }
    this.#sending = false;
    this.show(this.#info);
  }
}

/** The panel with all controls. */
export class Controls {
  #camera = null;
  #rows = new Map();
  #timer = 0;
  #line = Promise.resolve();
  #words = document.getElementById("panel-words");
  #list = document.getElementById("panel-list");
  #panel = document.getElementById("panel");
  #reset = document.getElementById("panel-reset");

  constructor() {
    this.#reset.onclick = () => this.#resetAll();
  }

  get open() {
    return !this.#panel.hidden;
  }

  /** Opens the panel for a camera. */
  async show(camera) {
    this.#panel.hidden = false;
    if (camera !== this.#camera) this.#clear();
    this.#camera = camera;
    clearInterval(this.#timer);
    this.#timer = setInterval(() => document.hidden || this.#refresh(), REFRESH_MS);
    if (!this.#rows.size) this.#words.textContent = "Asking the camera…";
    await this.#refresh();
  }

  hide() {
    this.#panel.hidden = true;
    clearInterval(this.#timer);
  }

  #clear() {
    this.#rows.clear();
    this.#list.replaceChildren();
    this.#words.textContent = "";
  }

  async #refresh() {
    const camera = this.#camera;
    const answer = await this.#ask(address("controls", camera));
    if (camera !== this.#camera) return; // another camera was selected meanwhile
    if (answer.error) {
      this.#words.textContent = answer.error;
      return;
    }
    const { controls } = answer;
    this.#words.textContent = controls.length ? "" : "This source has no controls.";
    this.#reset.hidden = controls.length === 0;
    const names = controls.map(({ name }) => name).join();
    if (names !== [...this.#rows.keys()].join()) {
      this.#clear();
      const set = (name, value) => this.#set(camera, name, value);
      for (const info of controls) this.#rows.set(info.name, new Row(info, set));
      this.#list.append(...[...this.#rows.values()].map(({ element }) => element));
    }
    for (const info of controls) this.#rows.get(info.name).update(info);
  }

  /** Sets a control; returns the server's error, or nothing. */
  async #set(camera, name, value) {
    const url = address(`controls/${encodeURIComponent(name)}`, camera);
    const answer = await this.#ask(url, { method: "PUT", body: `{"value":${value}}` });
    await this.#refresh();
    return answer.error ?? "";
  }

  /** Sends a request once all earlier ones are answered. */
  #ask(url, options) {
    return (this.#line = this.#line.then(() => this.#askNow(url, options)));
  }

  async #askNow(url, options) {
    try {
      const headers = { ...OWN, "Content-Type": "application/json" };
      let answer;
      for (let attempt = 1; ; attempt++) {
        answer = await fetch(url, { cache: "no-store", headers, ...options });
        if (answer.status !== 503 || attempt === ATTEMPTS) break;
        await new Promise((done) => setTimeout(done, AGAIN_MS * attempt));
      }
      const text = await answer.text();
      if (answer.status === 401) return { error: "You are not let in; reload this page." };
      return answer.headers.get("content-type") === "application/json" ? parse(text) : { error: text.trim() };
    } catch {
      return { error: "The server does not answer." };
    }
  }

  /** Sets all to their defaults, twice: setting one can make another settable. */
  async #resetAll() {
    for (let pass = 0; pass < 2; pass++) {
      for (const row of [...this.#rows.values()]) {
        if (row.settable) await row.reset.onclick();
      }
    }
  }
}
