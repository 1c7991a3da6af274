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

/** Saves the picture: the camera's own JPEG unless it is rotated or mirrored. Returns the file's name. */
export async function snapshot(tile) {
  const { quarter, mirrored } = tile.orientation;
  let { jpeg } = tile.frame;
  if (quarter || mirrored) jpeg = await new Promise((done) => tile.canvas.toBlob(done, "image/jpeg", 0.92));
  return download(jpeg, tile.name ?? "camera", "jpg");
}

/** Whether this browser can record clips. */
export const canRecord = "MediaRecorder" in self && "captureStream" in HTMLCanvasElement.prototype;

/** A clip, recorded from its construction until it is stopped or becomes too large. */
export class Clip {
  #recorder;
  #began = performance.now();

  /** Calls `saved` with the file's name when it ends. */
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
      saved(download(new Blob(chunks, { type }), tile.name ?? "camera", type.split("/")[1]));
    };
    recorder.start(1000);
    this.#recorder = recorder;
  }

  /** Its length, as minutes and seconds. */
  get length() {
    const seconds = Math.floor((performance.now() - this.#began) / 1000);
    return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
  }

  stop() {
    if (this.#recorder.state !== "inactive") this.#recorder.stop();
  }
}

/** Whether this browser has picture-in-picture. */
export const canFloat = document.pictureInPictureEnabled === true && canRecord;

/** Shows a tile as picture-in-picture. Calls `closed` when that is closed. */
export async function float(tile, closed) {
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
