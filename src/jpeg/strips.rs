//! Encodes one picture with several threads: as horizontal strips that are joined with restart markers.
//!
//! Decoders start afresh at a restart marker (ITU-T T.81, B.2.4.4 and F.1.1.5). So strips are encoded independently, and
//! the joined JPEG decodes to exactly the same pixels as one encoded as a whole.
//!
//! The capture thread encodes strips too, and takes every strip that no other thread has begun: on a busy machine it
//! finishes no later than it would alone. The threads sleep between pictures.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::{Builder, JoinHandle, available_parallelism};

use heapless::Vec as ArrayVec;
use log::warn;
use turbojpeg::{Compressor, OutputBuf, Subsamp, YuvPlanesImage};

use super::error::{JpegError, SlotTooSmall};
use super::yuv::{Planes, Subsampling};
use crate::failpoint;
use crate::frame::Resolution;
use crate::sync::{lock, wait};

/// Pixels. A smaller picture is encoded before another thread has woken up.
const MIN_PIXELS: usize = 500_000;
/// Threads per picture, the capture thread included. Small boards have four cores.
const MAX_THREADS: usize = 4;
/// Strips per thread. More than one, because parts of a picture with much detail take longer than others.
const STRIPS_PER_THREAD: usize = 2;
const MAX_STRIPS: usize = MAX_THREADS * STRIPS_PER_THREAD;
/// Bytes of a define-restart-interval segment.
const DRI_LEN: usize = 6;
const EOI: [u8; 2] = [0xff, 0xd9];

/// Encodes pictures with several threads, which end when it is dropped.
#[derive(Debug)]
pub(super) struct StripEncoder {
    queue: Arc<StripQueue>,
    threads: Vec<JoinHandle<()>>,
    /// Output buffers, reused for every picture.
    buffers: ArrayVec<Vec<u8>, MAX_STRIPS>,
}

/// Distributes strips to the threads and collects them.
#[derive(Debug, Default)]
struct StripQueue {
    strips: Mutex<QueuedStrips>,
    /// Notified when strips are queued, and when the threads must end.
    queued: Condvar,
    /// Notified when a strip is encoded.
    encoded: Condvar,
}

#[derive(Debug, Default)]
struct QueuedStrips {
    to_encode: ArrayVec<Strip, MAX_STRIPS>,
    encoded: ArrayVec<Strip, MAX_STRIPS>,
    /// The threads must end.
    closed: bool,
}

#[derive(Debug)]
struct Strip {
    index: usize,
    planes: Arc<Planes>,
    rows: RowRange,
    out: Vec<u8>,
    /// Bytes written to `out`.
    result: Result<usize, turbojpeg::Error>,
}

impl StripQueue {
    /// The main loop of an encoder thread.
    fn run(&self, mut compressor: Compressor) {
        let mut strips = lock(&self.strips);
        while !strips.closed {
            let Some(strip) = strips.to_encode.pop() else {
                strips = wait(&self.queued, strips);
                continue;
            };
            drop(strips);
            let strip = strip.encode(&mut compressor);
            strips = lock(&self.strips);
            strips.add_encoded(strip);
            self.encoded.notify_one();
        }
    }
}

impl QueuedStrips {
    fn add_encoded(&mut self, strip: Strip) {
        // There is room for every strip of a picture.
        let _ = self.encoded.push(strip);
    }
}

impl Strip {
    /// Encodes the strip. Returns it even after a panic, so that the capture thread does not wait for it forever.
    fn encode(mut self, compressor: &mut Compressor) -> Self {
        let result = catch_unwind(AssertUnwindSafe(|| {
            failpoint::pass("encoder");
            let mut out = OutputBuf::borrowed(&mut self.out);
            compress_rows(compressor, &self.planes, self.rows, &mut out).map(|()| out.len())
        }));
        self.result = result.unwrap_or(Err(turbojpeg::Error::Null));
        self
    }
}

impl StripEncoder {
    /// An encoder for pictures of this size; `None` on one processor and for small pictures, where it is no faster.
    pub(super) fn for_size(resolution: Resolution, quality: u8) -> Option<Self> {
        let threads = available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        (threads > 1 && resolution.pixels() >= MIN_PIXELS).then(|| Self::new(threads - 1, quality))?
    }

    fn new(threads: usize, quality: u8) -> Option<Self> {
        let mut encoder = Self { queue: Arc::default(), threads: Vec::new(), buffers: ArrayVec::new() };
        for _ in 0..threads {
            let compressor = compressor(quality).ok()?;
            let queue = Arc::clone(&encoder.queue);
            match Builder::new().name("encoder".into()).spawn(move || queue.run(compressor)) {
                Ok(thread) => encoder.threads.push(thread),
                Err(error) => warn!("cannot start an encoder thread, encoding takes longer: {error}"),
            }
        }
        (!encoder.threads.is_empty()).then_some(encoder)
    }

    /// Encodes the picture in `planes` to `slot`; returns its length. `own` is the compressor of the calling thread.
    pub(super) fn encode(
        &mut self,
        own: &mut Compressor,
        planes: &Arc<Planes>,
        slot: &mut [u8],
    ) -> Result<usize, JpegError> {
        let layout = StripLayout::new(planes, (self.threads.len() + 1) * STRIPS_PER_THREAD);
        self.queue_strips(planes, &layout)?;
        let first = match slot.get_mut(DRI_LEN..) {
            Some(room) => {
                let mut out = OutputBuf::borrowed(room);
                let result = compress_rows(own, planes, layout.rows(0), &mut out);
                result.map(|()| out.len()).map_err(JpegError::from)
            }
            None => Err(SlotTooSmall { need: DRI_LEN, room: slot.len() }.into()),
        };
        let mut strips = self.collect(own, layout.strips - 1);
        let result = first.and_then(|first| join(slot, first, &mut strips, &layout));
        self.buffers.extend(strips.into_iter().map(|strip| strip.out));
        result
    }

    /// Queues all strips but the first.
    fn queue_strips(&mut self, planes: &Arc<Planes>, layout: &StripLayout) -> Result<(), JpegError> {
        let room = turbojpeg::compressed_buf_len(planes.width, layout.height, planes.subsampling.into())?;
        let mut strips = lock(&self.queue.strips);
        // In reverse, because strips are taken from the end.
        for index in (1..layout.strips).rev() {
            let mut out = self.buffers.pop().unwrap_or_default();
            out.resize(room, 0);
            let (planes, rows) = (Arc::clone(planes), layout.rows(index));
            let _ = strips.to_encode.push(Strip { index, planes, rows, out, result: Ok(0) });
        }
        self.queue.queued.notify_all();
        Ok(())
    }

    /// Encodes the strips that no thread has begun, and waits for the others. Returns all of them, in order.
    fn collect(&self, own: &mut Compressor, count: usize) -> ArrayVec<Strip, MAX_STRIPS> {
        let mut strips = lock(&self.queue.strips);
        while strips.encoded.len() < count {
            if let Some(strip) = strips.to_encode.pop() {
                drop(strips);
                let strip = strip.encode(own);
                strips = lock(&self.queue.strips);
                strips.add_encoded(strip);
            } else {
                strips = wait(&self.queue.encoded, strips);
            }
        }
        let mut all = std::mem::take(&mut strips.encoded);
        all.sort_unstable_by_key(|strip| strip.index);
        all
    }
}

impl Drop for StripEncoder {
    fn drop(&mut self) {
        lock(&self.queue.strips).closed = true;
        self.queue.queued.notify_all();
        for thread in self.threads.drain(..) {
            // Panics were caught in `Strip::encode`.
            let _ = thread.join();
        }
    }
}

/// How a picture is divided into strips.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StripLayout {
    /// Number of strips.
    strips: usize,
    /// Rows per strip; the last may have fewer.
    height: usize,
    /// Rows of the picture.
    rows: usize,
    /// Blocks between two restart markers.
    interval: u16,
}

impl StripLayout {
    /// At most `max_strips` strips of whole rows of blocks.
    fn new(planes: &Planes, max_strips: usize) -> Self {
        let block = match planes.subsampling {
            Subsampling::Cs420 => 16,
            Subsampling::Cs422 => 8,
        };
        let (across, down) = (planes.width.div_ceil(16), planes.height.div_ceil(block));
        let per_strip = down.div_ceil(max_strips.min(MAX_STRIPS));
        match u16::try_from(across * per_strip) {
            Ok(interval) => Self {
                strips: down.div_ceil(per_strip),
                height: per_strip * block,
                rows: planes.height,
                interval,
            },
            // The interval has 16 bits. A picture that is wider is one strip; no camera gives one.
            Err(_) => Self { strips: 1, height: planes.height, rows: planes.height, interval: 0 },
        }
    }

    fn rows(&self, index: usize) -> RowRange {
        let from = index * self.height;
        RowRange { from, count: self.height.min(self.rows - from) }
    }
}

/// Joins strips to one JPEG in `slot`. The first strip is already there: `first` bytes from [`DRI_LEN`] on.
fn join(
    slot: &mut [u8],
    first: usize,
    strips: &mut [Strip],
    layout: &StripLayout,
) -> Result<usize, JpegError> {
    let invalid = || JpegError::Encode(turbojpeg::Error::Null);
    let offsets = JpegOffsets::of(&slot[DRI_LEN..DRI_LEN + first]).ok_or_else(invalid)?;
    slot[DRI_LEN + offsets.height..][..2].copy_from_slice(&(layout.rows as u16).to_be_bytes());
    // The headers move to the front; the restart interval goes between them and the scan.
    slot.copy_within(DRI_LEN..DRI_LEN + offsets.scan, 0);
    let [high, low] = layout.interval.to_be_bytes();
    slot[offsets.scan..][..DRI_LEN].copy_from_slice(&[0xff, 0xdd, 0, 4, high, low]);

    let mut end = DRI_LEN + first - EOI.len();
    let mut append = |bytes: &[u8]| {
        let too_small = SlotTooSmall { need: end + bytes.len(), room: slot.len() };
        slot.get_mut(end..end + bytes.len()).ok_or(too_small)?.copy_from_slice(bytes);
        end += bytes.len();
        Ok::<_, JpegError>(())
    };
    for (index, strip) in strips.iter_mut().enumerate() {
        let len = std::mem::replace(&mut strip.result, Ok(0))?;
        let jpeg = &strip.out[..len];
        let data = JpegOffsets::of(jpeg).ok_or_else(invalid)?.data;
        // Restart markers are numbered from 0 to 7, again and again.
        append(&[0xff, 0xd0 + (index % 8) as u8])?;
        append(jpeg.get(data..len - EOI.len()).ok_or_else(invalid)?)?;
    }
    append(&EOI)?;
    Ok(end)
}

/// Offsets in a JPEG of libjpeg-turbo.
struct JpegOffsets {
    /// The height in the frame header, two bytes.
    height: usize,
    /// The scan header.
    scan: usize,
    /// The entropy-coded data.
    data: usize,
}

impl JpegOffsets {
    fn of(jpeg: &[u8]) -> Option<Self> {
        let mut at = 2;
        let mut height = None;
        loop {
            let segment = jpeg.get(at..at + 4)?;
            let next = at + 2 + usize::from(u16::from_be_bytes([segment[2], segment[3]]));
            match segment[..2] {
                [0xff, 0xc0] => height = Some(at + 5),
                [0xff, 0xda] => return Some(Self { height: height?, scan: at, data: next }),
                _ => {}
            }
            at = next;
        }
    }
}

/// A compressor for this quality, 1 to 100.
pub(super) fn compressor(quality: u8) -> Result<Compressor, turbojpeg::Error> {
    let mut compressor = Compressor::new()?;
    compressor.set_quality(quality.into())?;
    Ok(compressor)
}

/// A range of rows of a picture. `from` is even if a chroma row covers two luma rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowRange {
    pub(super) from: usize,
    pub(super) count: usize,
}

/// Encodes a range of rows of the picture in `planes` as a separate JPEG.
pub(super) fn compress_rows(
    compressor: &mut Compressor,
    planes: &Planes,
    rows: RowRange,
    out: &mut OutputBuf<'_>,
) -> Result<(), turbojpeg::Error> {
    let chroma_from = match planes.subsampling {
        Subsampling::Cs420 => rows.from / 2,
        Subsampling::Cs422 => rows.from,
    };
    let y_stride = planes.y_stride;
    let [y, u, v] = planes.yuv();
    let image = YuvPlanesImage {
        y_plane: &y[rows.from * y_stride..],
        u_plane: &u[chroma_from * (y_stride / 2)..],
        v_plane: &v[chroma_from * (y_stride / 2)..],
        width: planes.width,
        height: rows.count,
        y_stride,
        u_stride: y_stride / 2,
        v_stride: y_stride / 2,
        subsamp: planes.subsampling.into(),
    };
    compressor.compress_yuv_planes(&image, out)
}

impl From<Subsampling> for Subsamp {
    fn from(subsampling: Subsampling) -> Self {
        match subsampling {
            Subsampling::Cs420 => Self::Sub2x2,
            Subsampling::Cs422 => Self::Sub2x1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;
    use crate::jpeg::inspect::{Depth, inspect};
    use crate::jpeg::yuv::InstructionSet;

    /// A picture with detail in every block.
    fn planes(width: usize, height: usize, subsampling: Subsampling) -> Arc<Planes> {
        let stride = width.next_multiple_of(2) * 2;
        let value = |x: usize, y: usize| ((x * x / 7) ^ (y * 3) ^ (x * y / 5)) as u8;
        let data: Vec<u8> = (0..height).flat_map(|y| (0..stride).map(move |x| value(x, y))).collect();
        let mut planes = Planes::default();
        planes.unpack(InstructionSet::best(), &data, PixelFormat::Yuyv, (width, height, stride), subsampling);
        Arc::new(planes)
    }

    fn encode_whole(planes: &Planes) -> Vec<u8> {
        let mut jpeg = vec![0; 8_000_000];
        let rows = RowRange { from: 0, count: planes.height };
        let len = {
            let mut out = OutputBuf::borrowed(&mut jpeg);
            compress_rows(&mut compressor(80).unwrap(), planes, rows, &mut out).unwrap();
            out.len()
        };
        jpeg.truncate(len);
        jpeg
    }

    #[test]
    fn strips_decode_to_the_same_pixels() {
        let mut slot = vec![0; 8_000_000];
        let mut own = compressor(80).unwrap();
        let mut restarts = 0;
        for threads in [1, 3] {
            let mut encoder = StripEncoder::new(threads, 80).unwrap();
            for (width, height) in [(1920, 1080), (641, 481), (17, 200), (64, 16), (64, 17), (1, 1)] {
                for subsampling in [Subsampling::Cs420, Subsampling::Cs422] {
                    let planes = planes(width, height, subsampling);
                    let len = encoder.encode(&mut own, &planes, &mut slot).unwrap();
                    let (whole, alone) = (&slot[..len], encode_whole(&planes));
                    let size = Resolution::new(width as u16, height as u16);
                    assert_eq!(inspect(whole, Depth::Whole).unwrap().resolution(), size);
                    let pixels = [whole, &alone]
                        .map(|jpeg| turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::RGB).unwrap());
                    assert!(pixels[0].pixels == pixels[1].pixels, "{width}x{height} {subsampling:?}");
                    restarts +=
                        whole.windows(2).filter(|w| w[0] == 0xff && (0xd0..=0xd7).contains(&w[1])).count();
                }
            }
        }
        assert!(restarts > 50, "{restarts} restart markers in all pictures");
    }

    #[test]
    fn a_slot_that_is_too_small_is_an_error_and_the_next_picture_is_complete() {
        let planes = planes(640, 480, Subsampling::Cs420);
        let (mut encoder, mut own) = (StripEncoder::new(1, 80).unwrap(), compressor(80).unwrap());
        let mut slot = vec![0; 1_000_000];
        let len = encoder.encode(&mut own, &planes, &mut slot).unwrap();
        for room in [0, 5, 6, 100, 700, len / 2, len - 1] {
            assert!(encoder.encode(&mut own, &planes, &mut slot[..room]).is_err(), "{room} bytes");
        }
        assert_eq!(encoder.encode(&mut own, &planes, &mut slot).unwrap(), len);
    }

    #[test]
    fn only_large_pictures_are_divided() {
        assert!(StripEncoder::for_size(Resolution::new(640, 480), 80).is_none());
        let several = available_parallelism().unwrap().get() > 1;
        assert_eq!(StripEncoder::for_size(Resolution::new(1920, 1080), 80).is_some(), several);
    }

    #[test]
    fn strips_are_whole_rows_of_blocks() {
        let planes = planes(100, 100, Subsampling::Cs420);
        let layout = StripLayout::new(&planes, 4);
        assert_eq!(layout, StripLayout { strips: 4, height: 32, rows: 100, interval: 14 });
        let counts: Vec<usize> = (0..4).map(|index| layout.rows(index).count).collect();
        assert_eq!(counts, [32, 32, 32, 4]);
    }
}
