// Requests the server's state.

import { OWN, address } from "./place.js";

const PATIENCE_MS = 4000;

export class Report {
  /** The cameras in /state; null before the first answer. */
  cameras = null;
  /** The brokers whose cameras are shown as they are announced. */
  announced = [];
  /** Its warning, if there is one. */
  warning = "";
  /** Whether the server answered the last request. */
  reachable = true;
  /** Whether it denied that request. */
  unauthorised = false;
  /** The role that was granted, and the credentials it was granted for. */
  access = "";
  /** When the last request was sent. */
  asked = -Infinity;

  #asking = null;
  #heard;

  /** Calls `heard` after each request, answered or not. */
  constructor(heard) {
    this.#heard = heard;
  }

  /** The state of a camera; without a name, of the first one. */
  of(name) {
    return this.cameras?.find((camera) => camera.name === name) ?? (name === null ? this.cameras?.[0] : undefined);
  }

  /** Sends a request, unless one is not answered yet. */
  ask() {
    this.asked = performance.now();
    this.#asking ??= this.#ask().finally(() => (this.#asking = null));
    return this.#asking;
  }

  async #ask() {
    try {
      const signal = AbortSignal.timeout(PATIENCE_MS);
      const answer = await fetch(address("state"), { cache: "no-store", headers: OWN, signal });
      this.reachable = true;
      this.unauthorised = answer.status === 401;
      this.access = answer.headers.get("Porthole-Access") ?? "";
      if (answer.ok) {
        const { cameras, announced, warning } = await answer.json();
        [this.cameras, this.announced, this.warning] = [cameras, announced, warning ?? ""];
      }
    } catch {
      this.reachable = false;
    }
    this.#heard();
  }
}
