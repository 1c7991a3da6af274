// One camera's canvas. One JPEG at a time is decoded in the background, while the newest of the others waits. A decoded
// one is drawn at the next refresh of the screen, unless a newer one is ready by then. Pictures of a video are drawn when
// the video presents them. What was drawn stands until the next one, whichever kind that is.

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
  #epoch = 0;

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
      const [next, epoch] = [this.#waiting, this.#epoch];
      this.#waiting = null;
      try {
        const bitmap = await createImageBitmap(next.jpeg);
        if (epoch === this.#epoch) this.#keep(next, bitmap);
        else bitmap.close();
      } catch (error) {
        console.warn(`frame ${next.sequence} cannot be decoded: ${error}`);
        this.#painted(next, false);
      }
    }
    this.#decoding = false;
  }

  /** Drops all JPEGs that were not drawn. */
  clear() {
    this.#epoch++;
    this.#waiting = null;
    cancelAnimationFrame(this.#refresh);
    clearTimeout(this.#timeout);
    this.#ready?.bitmap.close();
    this.#ready = null;
  }

  /** Shows the picture that a video presents now. */
  present(frame, video) {
    this.#draw(video, video.videoWidth, video.videoHeight);
    this.shown = frame;
    this.#painted(frame, true);
  }

  /** Rotates all further frames clockwise by quarters, then mirrors them. `video` has the picture where no JPEG has. */
  async turn(quarter, mirrored, video) {
    [this.#quarter, this.#mirrored] = [quarter, mirrored];
    if (this.shown?.jpeg) {
      const bitmap = await createImageBitmap(this.shown.jpeg);
      this.#draw(bitmap, bitmap.width, bitmap.height);
      bitmap.close();
    } else if (this.shown && video?.readyState > 1) {
      this.#draw(video, video.videoWidth, video.videoHeight);
    }
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
    this.#draw(bitmap, bitmap.width, bitmap.height);
    bitmap.close();
    this.shown = frame;
    this.#painted(frame, true);
  }

  #draw(source, width, height) {
    const [canvas, context, quarter] = [this.#canvas, this.#context, this.#quarter];
    const [across, down] = quarter % 2 ? [height, width] : [width, height];
    if (canvas.width !== across || canvas.height !== down) [canvas.width, canvas.height] = [across, down];
    const side = this.#mirrored ? -1 : 1;
    const [cos, sin] = [COSINE[quarter], SINE[quarter]];
    context.setTransform(side * cos, sin, -side * sin, cos, across / 2, down / 2);
    context.drawImage(source, -width / 2, -height / 2);
  }
}
