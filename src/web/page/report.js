// Asking the server what it does.

import { OWN, address } from "./place.js";

const PATIENCE_MS = 4000;

export class Report {
  /** What /state says of the cameras, or null before its first answer. */
  cameras = null;
  /** What it warns of, if anything. */
  warning = "";
  /** The server answered when it was asked last. */
  reachable = true;
  /** It did, and does not let this page in. */
  unauthorised = false;
  /** As what this page was let in, and by which proof. */
  access = "";
  /** When it was asked last. */
  asked = -Infinity;

  #asking = null;
  #heard;

  /** Calls `heard` after each question, answered or not. */
  constructor(heard) {
    this.#heard = heard;
  }

  /** What is known of a camera; without a name, of the first. */
  of(name) {
    return this.cameras?.find((camera) => camera.name === name) ?? (name === null ? this.cameras?.[0] : undefined);
  }

  /** Asks, unless the last question has not been answered yet. */
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
        const { cameras, warning } = await answer.json();
        [this.cameras, this.warning] = [cameras, warning ?? ""];
      }
    } catch {
      this.reachable = false;
    }
    this.#heard();
  }
}
