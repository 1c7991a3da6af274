// Reads the few fields of a fragmented MP4 (ISO/IEC 14496-12) that the page needs, and makes a file of its fragments.

/** Finds the box at a path of types in `bytes`; its content as a DataView, or nothing. */
function find(bytes, path) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let [at, end] = [0, view.byteLength];
  for (const type of path) {
    let found = false;
    while (at + 8 <= end) {
      const size = view.getUint32(at);
      if (size < 8 || at + size > end) return undefined;
      found = String.fromCharCode(...bytes.subarray(at + 4, at + 8)) === type;
      if (found) [at, end] = [at + 8, at + size];
      else at += size;
      if (found) break;
    }
    if (!found) return undefined;
  }
  return new DataView(bytes.buffer, bytes.byteOffset + at, end - at);
}

/** Units of time in a second of an init segment's track (mdhd). */
export function timescale(init) {
  const mdhd = find(init, ["moov", "trak", "mdia", "mdhd"]);
  return mdhd ? mdhd.getUint32(mdhd.getUint8(0) ? 20 : 12) : NaN;
}

/** The time of a fragment's first sample in units of the timescale (tfdt), and whether that is a key frame (trun). */
export function facts(fragment) {
  const tfdt = find(fragment, ["moof", "traf", "tfdt"]);
  const trun = find(fragment, ["moof", "traf", "trun"]);
  const tfhd = find(fragment, ["moof", "traf", "tfhd"]);
  if (!tfdt || !trun || !tfhd) return undefined;
  const time = tfdt.getUint8(0) ? Number(tfdt.getBigUint64(4)) : tfdt.getUint32(4);
  return { time, isKey: !(sampleFlags(trun, tfhd) & NON_SYNC) };
}

const NON_SYNC = 0x10000; // sample_is_non_sync_sample

/** The flags of the first sample: in trun for it alone, in trun for each sample, or in tfhd as a default. */
function sampleFlags(trun, tfhd) {
  const [run, head] = [trun.getUint32(0) & 0xffffff, tfhd.getUint32(0) & 0xffffff];
  const first = 8 + (run & 1 ? 4 : 0);
  if (run & 4) return trun.getUint32(first);
  if (run & 0x400) return trun.getUint32(first + (run & 0x100 ? 4 : 0) + (run & 0x200 ? 4 : 0));
  if (!(head & 0x20)) return 0;
  return tfhd.getUint32(8 + (head & 1 ? 8 : 0) + [2, 8, 16].reduce((sum, flag) => sum + (head & flag ? 4 : 0), 0));
}

/** A copy of a fragment that is `start` units earlier, so that a file begins at 0. */
export function earlier(fragment, start) {
  const copy = fragment.slice();
  const tfdt = find(copy, ["moof", "traf", "tfdt"]);
  if (tfdt.getUint8(0)) tfdt.setBigUint64(4, tfdt.getBigUint64(4) - BigInt(start));
  else tfdt.setUint32(4, tfdt.getUint32(4) - start);
  return copy;
}
