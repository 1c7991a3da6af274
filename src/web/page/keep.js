// Snapshots, clips, and picture-in-picture.

const CLIP_TYPES = ["video/webm;codecs=vp8", "video/webm", "video/mp4"];
const CLIP_BITS = 8_000_000; // bits a second
const CLIP_MOST = 500_000_000; // bytes; a clip stays in memory until it ends

/** Downloads a file. */
function download(blob, name, extension) {
  const local = new Date(Date.now() - new Date().getTimezoneOffset() * 60_000).toISOString();
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `${name}_${local.slice(0, 19).replace("T", "_").replaceAll(":", "-")}.${extension}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
  return link.download;
}

/** Saves the picture: the camera's own JPEG, unless it is rotated, mirrored or of a video. Returns the file's name. */
export async function snapshot(tile) {
  const { quarter, mirrored } = tile.orientation;
  let { jpeg } = tile.frame;
  if (quarter || mirrored || !jpeg) jpeg = await new Promise((done) => tile.canvas.toBlob(done, "image/jpeg", 0.92));
  return download(jpeg, tile.name ?? "camera", "jpg");
}

/** Whether this browser can record clips. */
export const canRecord = "MediaRecorder" in self && "captureStream" in HTMLCanvasElement.prototype;

/** Begins a clip: of the video as it comes, or of the canvas. Calls `saved` as both do. */
export const record = (tile, saved) => (tile.kind === "h264" ? new VideoClip(tile, saved) : new Clip(tile, saved));

/** Minutes and seconds since a time. */
function length(began) {
  const seconds = Math.floor((performance.now() - began) / 1000);
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

/** A clip of the canvas, recorded from its construction until it is stopped or becomes too large. */
class Clip {
  #recorder;
  #began = performance.now();

  /** Calls `saved` with the file's name when it ends, or with nothing where the browser has recorded nothing. */
  constructor(tile, saved) {
    const mimeType = CLIP_TYPES.find((type) => MediaRecorder.isTypeSupported(type));
    const stream = tile.canvas.captureStream();
    const recorder = new MediaRecorder(stream, { mimeType, videoBitsPerSecond: CLIP_BITS });
    const chunks = [];
    let size = 0;
    recorder.ondataavailable = ({ data }) => {
      chunks.push(data);
      size += data.size;
      if (size > CLIP_MOST) this.stop();
    };
    recorder.onstop = () => {
      for (const track of stream.getTracks()) track.stop();
      const type = recorder.mimeType.split(";")[0];
      if (!size) saved(null);
      else saved(download(new Blob(chunks, { type }), tile.name ?? "camera", type.split("/")[1]));
    };
    recorder.start(1000);
    this.#recorder = recorder;
  }

  get length() {
    return length(this.#began);
  }

  stop() {
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
  }
}

/**
 * A clip of the video as it came: its init segment, and its fragments from the last key frame on. It ends when it is
 * stopped, when it becomes too large, and where the video ends or goes on with another init segment.
 */
class VideoClip {
  #began = performance.now();
  #parts;
  #size = 0;
  #start;
  #saved;
  #tile;

  constructor(tile, saved) {
    [this.#tile, this.#saved] = [tile, saved];
    const { video } = tile;
    this.#parts = [video.init];
    for (const frame of video.group) this.#add(frame);
    video.listener = (bytes, frame) => (frame ? this.#add(frame) : this.stop());
  }

  #add(frame) {
    if (this.#parts.length === 1 && !frame.isKey) return;
    this.#start ??= frame.units;
    this.#parts.push(this.#tile.video.earlier(frame, this.#start));
    this.#size += frame.body.length;
    if (this.#size > CLIP_MOST) this.stop();
  }

  get length() {
    return length(this.#began);
  }

  stop() {
    const { video, name } = this.#tile;
    if (!video.listener) return;
    video.listener = null;
    const some = this.#parts.length > 1;
    this.#saved(some ? download(new Blob(this.#parts, { type: "video/mp4" }), name ?? "camera", "mp4") : null);
  }
}

/** Whether this browser has picture-in-picture. */
export const canFloat = document.pictureInPictureEnabled === true && canRecord;

/** Shows a tile as picture-in-picture. Calls `closed` when that is closed. */
export async function float(tile, closed) {
  if (tile.kind === "h264") {
    const { element } = tile.video;
    await element.requestPictureInPicture();
    return element.addEventListener("leavepictureinpicture", closed, { once: true });
  }
  const video = document.createElement("video");
  const stream = tile.canvas.captureStream();
  const end = () => {
    for (const track of stream.getTracks()) track.stop();
    closed();
  };
  video.muted = true;
  video.srcObject = stream;
  video.addEventListener("leavepictureinpicture", end, { once: true });
  try {
    await video.play();
    await video.requestPictureInPicture();
  } catch (error) {
    end();
    throw error;
  }
}
