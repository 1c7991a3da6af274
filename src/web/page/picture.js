// One camera's canvas. One frame at a time is decoded in the background, while the newest of the others waits. A decoded
// frame is drawn at the next refresh of the screen, unless a newer one is ready by then.

const UNSEEN_MS = 250; // a page that is not visible may get no refresh; it is drawn after this time anyway
const COSINE = [1, 0, -1, 0];
const SINE = [0, 1, 0, -1];

export class Picture {
  /** The frame that is shown, without its pixels. */
  shown = null;
  /** Frames that were not drawn, as a newer one came. */
  overtaken = 0;

  #canvas;
  #context;
  #painted;
  #quarter = 0;
  #mirrored = false;
  #waiting = null;
  #ready = null;
  #decoding = false;
  #refresh = 0;
  #timeout = 0;

  /** Calls `painted` with each frame that was drawn, or cannot be. */
  constructor(canvas, painted) {
    this.#canvas = canvas;
    this.#context = canvas.getContext("2d", { alpha: false });
    this.#painted = painted;
    document.addEventListener("visibilitychange", () => this.#paint());
  }

  /** Shows a frame as soon as possible. */
  async show(frame) {
    if (this.#waiting) this.overtaken++;
    this.#waiting = frame;
    if (this.#decoding) return;
    this.#decoding = true;
    while (this.#waiting) {
      const next = this.#waiting;
      this.#waiting = null;
      try {
        this.#keep(next, await createImageBitmap(next.jpeg));
      } catch (error) {
        console.warn(`frame ${next.sequence} cannot be decoded: ${error}`);
        this.#painted(next, false);
      }
    }
    this.#decoding = false;
  }

  /** Rotates all further frames clockwise by quarters, then mirrors them. */
  async turn(quarter, mirrored) {
    [this.#quarter, this.#mirrored] = [quarter, mirrored];
    if (!this.shown) return;
    const bitmap = await createImageBitmap(this.shown.jpeg);
    this.#draw(bitmap);
    bitmap.close();
  }

  #keep(frame, bitmap) {
    const overtaken = this.#ready;
    this.#ready = { frame, bitmap };
    if (overtaken) {
      this.overtaken++;
      overtaken.bitmap.close();
    } else if (document.hidden) {
      this.#paint(); // for a clip or picture-in-picture; timers are throttled in a hidden page
    } else {
      this.#refresh = requestAnimationFrame(() => this.#paint());
      this.#timeout = setTimeout(() => this.#paint(), UNSEEN_MS);
    }
  }

  #paint() {
    if (!this.#ready) return;
    const { frame, bitmap } = this.#ready;
    this.#ready = null;
    cancelAnimationFrame(this.#refresh);
    clearTimeout(this.#timeout);
    this.#draw(bitmap);
    bitmap.close();
    this.shown = frame;
    this.#painted(frame, true);
  }

  #draw(bitmap) {
    const [canvas, context, quarter] = [this.#canvas, this.#context, this.#quarter];
    const { width, height } = bitmap;
    const [across, down] = quarter % 2 ? [height, width] : [width, height];
    if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
    const side = this.#mirrored ? -1 : 1;
    const [cos, sin] = [COSINE[quarter], SINE[quarter]];
    context.setTransform(side * cos, sin, -side * sin, cos, across / 2, down / 2);
    context.drawImage(bitmap, -width / 2, -height / 2);
  }
}
