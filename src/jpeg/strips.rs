//! One picture encoded by several threads at once: horizontal strips, put together again with restart markers.
//!
//! Where one strip ends and the next begins stands a marker at which decoders start afresh (ITU-T T.81, B.2.4.4 and
//! F.1.1.5), so strips can be encoded without knowing of each other, and the whole decodes to the very same pixels.
//!
//! The camera's thread works on strips itself and takes whatever the others have not begun: where they are late, as on a
//! busy machine, it is done no later than if it were alone. Between pictures they sleep.
#![forbid(unsafe_code)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle, available_parallelism};

use heapless::Vec as ArrayVec;
use log::warn;
use turbojpeg::{Compressor, OutputBuf};

use super::encode::{Rows, compress, compressor};
use super::yuv::{Planes, Subsampling};
use super::{Reject, TooLarge};
use crate::failpoint;
use crate::frame::Resolution;

/// A smaller picture is encoded before another thread has woken up.
const MIN_PIXELS: usize = 500_000;
/// Threads that work on one picture, the camera's own among them. Small boards have four cores.
const MAX_THREADS: usize = 4;
/// Strips for each thread: more than one, as the busy half of a picture takes longer than its sky.
const STRIPS_PER_THREAD: usize = 2;
const MAX_STRIPS: usize = MAX_THREADS * STRIPS_PER_THREAD;
/// A define-restart-interval segment.
const DRI_LEN: usize = 6;

/// Threads that encode strips. Ended and collected when dropped.
#[derive(Debug)]
pub(super) struct Crew {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    /// Buffers of strips, kept from picture to picture.
    buffers: ArrayVec<Vec<u8>, MAX_STRIPS>,
}

#[derive(Debug, Default)]
struct Shared {
    table: Mutex<Table>,
    /// Rung when there is work, and when there will be no more.
    work: Condvar,
    /// Rung when a strip is done.
    done: Condvar,
}

/// Where strips are laid down to be taken up.
#[derive(Debug, Default)]
struct Table {
    to_do: ArrayVec<Strip, MAX_STRIPS>,
    done: ArrayVec<Strip, MAX_STRIPS>,
    over: bool,
}

#[derive(Debug)]
struct Strip {
    index: usize,
    planes: Arc<Planes>,
    rows: Rows,
    out: Vec<u8>,
    made: Result<usize, turbojpeg::Error>,
}

impl Shared {
    fn table(&self) -> MutexGuard<'_, Table> {
        // Nothing is done under the lock that could panic half way.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What a worker does all its life.
    fn work(&self, mut compressor: Compressor) {
        let mut table = self.table();
        while !table.over {
            let Some(strip) = table.to_do.pop() else {
                table = self.work.wait(table).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            drop(table);
            let strip = strip.encoded(&mut compressor);
            table = self.table();
            table.lay_down(strip);
            self.done.notify_one();
        }
    }
}

impl Table {
    fn lay_down(&mut self, strip: Strip) {
        // There is a place for each strip there can be.
        let _ = self.done.push(strip);
    }
}

impl Strip {
    /// Encodes it. Whatever happens, there is a strip to lay down afterwards, and nobody waits for it in vain.
    fn encoded(mut self, compressor: &mut Compressor) -> Self {
        let made = catch_unwind(AssertUnwindSafe(|| {
            failpoint::pass("encoder");
            let mut out = OutputBuf::borrowed(&mut self.out);
            compress(compressor, &self.planes, self.rows, &mut out).map(|()| out.len())
        }));
        self.made = made.unwrap_or(Err(turbojpeg::Error::Null));
        self
    }
}

impl Crew {
    /// A crew for pictures of this size, if that is of use: there is more than one processor to use, and the picture is
    /// not small.
    pub(super) fn for_size(resolution: Resolution, quality: u8) -> Option<Self> {
        let threads = available_parallelism().map_or(1, usize::from).min(MAX_THREADS);
        (threads > 1 && resolution.pixels() >= MIN_PIXELS).then(|| Self::new(threads - 1, quality))?
    }

    fn new(workers: usize, quality: u8) -> Option<Self> {
        let shared = Arc::<Shared>::default();
        let mut crew = Self { shared, threads: Vec::new(), buffers: ArrayVec::new() };
        for _ in 0..workers {
            let compressor = compressor(quality).ok()?;
            let shared = Arc::clone(&crew.shared);
            match Builder::new().name("encoder".into()).spawn(move || shared.work(compressor)) {
                Ok(thread) => crew.threads.push(thread),
                Err(error) => warn!("no thread to help with encoding: {error}"),
            }
        }
        (!crew.threads.is_empty()).then_some(crew)
    }

    /// Encodes the picture in `planes` into `slot`; returns its length.
    pub(super) fn encode(
        &mut self,
        own: &mut Compressor,
        planes: &Arc<Planes>,
        slot: &mut [u8],
    ) -> Result<usize, Reject> {
        let cut = Cut::of(planes, (self.threads.len() + 1) * STRIPS_PER_THREAD);
        self.hand_out(planes, &cut)?;
        let first = match slot.get_mut(DRI_LEN..) {
            Some(room) => {
                let mut out = OutputBuf::borrowed(room);
                compress(own, planes, cut.rows(0), &mut out).map(|()| out.len()).map_err(Reject::from)
            }
            None => Err(TooLarge { need: DRI_LEN, room: slot.len() }.into()),
        };
        let mut strips = self.collect(own, cut.strips - 1);
        let result = first.and_then(|first| stitch(slot, first, &mut strips, &cut));
        self.buffers.extend(strips.into_iter().map(|strip| strip.out));
        result
    }

    /// Lays all strips but the first down to be taken up.
    fn hand_out(&mut self, planes: &Arc<Planes>, cut: &Cut) -> Result<(), Reject> {
        let room = turbojpeg::compressed_buf_len(planes.width, cut.height, planes.subsampling.into())?;
        let mut table = self.shared.table();
        // From the last to the first, as they are taken up from the end.
        for index in (1..cut.strips).rev() {
            let mut out = self.buffers.pop().unwrap_or_default();
            out.resize(room, 0);
            let strip = Strip { index, planes: Arc::clone(planes), rows: cut.rows(index), out, made: Ok(0) };
            let _ = table.to_do.push(strip);
        }
        self.shared.work.notify_all();
        Ok(())
    }

    /// Encodes what nobody has taken up, and waits for what somebody has; all of them, in order.
    fn collect(&self, own: &mut Compressor, strips: usize) -> ArrayVec<Strip, MAX_STRIPS> {
        let mut table = self.shared.table();
        while table.done.len() < strips {
            if let Some(strip) = table.to_do.pop() {
                drop(table);
                let strip = strip.encoded(own);
                table = self.shared.table();
                table.lay_down(strip);
            } else {
                table = self.shared.done.wait(table).unwrap_or_else(PoisonError::into_inner);
            }
        }
        let mut strips = std::mem::take(&mut table.done);
        strips.sort_unstable_by_key(|strip| strip.index);
        strips
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        self.shared.table().over = true;
        self.shared.work.notify_all();
        for thread in self.threads.drain(..) {
            // A panic of it was caught where it happened.
            let _ = thread.join();
        }
    }
}

/// How a picture is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cut {
    strips: usize,
    /// Rows of each strip but the last, which has what is left.
    height: usize,
    rows: usize,
    /// Blocks from one restart to the next.
    interval: u16,
}

impl Cut {
    /// Into no more than `most` strips, of whole rows of blocks.
    fn of(planes: &Planes, most: usize) -> Self {
        let block = match planes.subsampling {
            Subsampling::Cs420 => 16,
            Subsampling::Cs422 => 8,
        };
        let (across, down) = (planes.width.div_ceil(16), planes.height.div_ceil(block));
        let each = down.div_ceil(most.min(MAX_STRIPS));
        // A picture too wide to be counted in 16 bits is one strip; no camera gives one.
        match u16::try_from(across * each) {
            Ok(interval) => {
                Self { strips: down.div_ceil(each), height: each * block, rows: planes.height, interval }
            }
            Err(_) => Self { strips: 1, height: planes.height, rows: planes.height, interval: 0 },
        }
    }

    fn rows(&self, index: usize) -> Rows {
        let from = index * self.height;
        Rows { from, count: self.height.min(self.rows - from) }
    }
}

/// Puts strips together to one JPEG in `slot`, where the first lies already, `first` bytes long and with room for a
/// segment before it.
fn stitch(slot: &mut [u8], first: usize, strips: &mut [Strip], cut: &Cut) -> Result<usize, Reject> {
    let broken = || Reject::Encode(turbojpeg::Error::Null);
    let head = Head::of(&slot[DRI_LEN..DRI_LEN + first]).ok_or_else(broken)?;
    slot[DRI_LEN + head.height..][..2].copy_from_slice(&(cut.rows as u16).to_be_bytes());
    // The header moves to the front, and the interval goes between it and the first scan.
    slot.copy_within(DRI_LEN..DRI_LEN + head.scan, 0);
    let [high, low] = cut.interval.to_be_bytes();
    slot[head.scan..][..DRI_LEN].copy_from_slice(&[0xff, 0xdd, 0, 4, high, low]);

    let mut end = DRI_LEN + first - EOI.len();
    let mut add = |bytes: &[u8]| {
        let too_large = TooLarge { need: end + bytes.len(), room: slot.len() };
        slot.get_mut(end..end + bytes.len()).ok_or(too_large)?.copy_from_slice(bytes);
        end += bytes.len();
        Ok::<_, Reject>(())
    };
    for (index, strip) in strips.iter_mut().enumerate() {
        let len = std::mem::replace(&mut strip.made, Ok(0))?;
        let jpeg = &strip.out[..len];
        let data = Head::of(jpeg).ok_or_else(broken)?.data;
        // Restart markers are numbered from 0 to 7 and round again.
        add(&[0xff, 0xd0 + (index % 8) as u8])?;
        add(jpeg.get(data..len - EOI.len()).ok_or_else(broken)?)?;
    }
    add(&EOI)?;
    Ok(end)
}

const EOI: [u8; 2] = [0xff, 0xd9];

/// Where things are in a JPEG of libjpeg-turbo's.
struct Head {
    /// The picture's height in the frame header, two bytes.
    height: usize,
    /// The scan header.
    scan: usize,
    /// What comes after it.
    data: usize,
}

impl Head {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;
    use crate::jpeg::inspect::{Depth, inspect};
    use crate::jpeg::yuv::Kernel;

    /// A picture with something in every block.
    fn planes(width: usize, height: usize, subsampling: Subsampling) -> Arc<Planes> {
        let stride = width.next_multiple_of(2) * 2;
        let value = |x: usize, y: usize| ((x * x / 7) ^ (y * 3) ^ (x * y / 5)) as u8;
        let data: Vec<u8> = (0..height).flat_map(|y| (0..stride).map(move |x| value(x, y))).collect();
        let mut planes = Planes::default();
        planes.unpack(Kernel::best(), &data, PixelFormat::Yuyv, (width, height, stride), subsampling);
        Arc::new(planes)
    }

    fn alone(planes: &Planes) -> Vec<u8> {
        let mut jpeg = vec![0; 8_000_000];
        let rows = Rows { from: 0, count: planes.height };
        let len = {
            let mut out = OutputBuf::borrowed(&mut jpeg);
            compress(&mut compressor(80).unwrap(), planes, rows, &mut out).unwrap();
            out.len()
        };
        jpeg.truncate(len);
        jpeg
    }

    #[test]
    fn strips_decode_to_the_same_pixels() {
        let mut slot = vec![0; 8_000_000];
        let mut own = compressor(80).unwrap();
        let mut cuts = 0;
        for workers in [1, 3] {
            let mut crew = Crew::new(workers, 80).unwrap();
            for (width, height) in [(1920, 1080), (641, 481), (17, 200), (64, 16), (64, 17), (1, 1)] {
                for subsampling in [Subsampling::Cs420, Subsampling::Cs422] {
                    let planes = planes(width, height, subsampling);
                    let len = crew.encode(&mut own, &planes, &mut slot).unwrap();
                    let (whole, alone) = (&slot[..len], alone(&planes));
                    let size = Resolution::new(width as u16, height as u16);
                    assert_eq!(inspect(whole, Depth::Whole).unwrap().resolution(), size);
                    let pixels = [whole, &alone]
                        .map(|jpeg| turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::RGB).unwrap());
                    assert!(pixels[0].pixels == pixels[1].pixels, "{width}x{height} {subsampling:?}");
                    cuts +=
                        whole.windows(2).filter(|w| w[0] == 0xff && (0xd0..=0xd7).contains(&w[1])).count();
                }
            }
        }
        assert!(cuts > 50, "{cuts} restart markers in all pictures together");
    }

    #[test]
    fn a_slot_too_small_is_an_error_and_the_next_picture_is_whole() {
        let planes = planes(640, 480, Subsampling::Cs420);
        let (mut crew, mut own) = (Crew::new(1, 80).unwrap(), compressor(80).unwrap());
        let mut slot = vec![0; 1_000_000];
        let len = crew.encode(&mut own, &planes, &mut slot).unwrap();
        for room in [0, 5, 6, 100, 700, len / 2, len - 1] {
            assert!(crew.encode(&mut own, &planes, &mut slot[..room]).is_err(), "{room} bytes");
        }
        assert_eq!(crew.encode(&mut own, &planes, &mut slot).unwrap(), len);
    }

    #[test]
    fn a_crew_is_for_large_pictures() {
        assert!(Crew::for_size(Resolution::new(640, 480), 80).is_none());
        let several = available_parallelism().unwrap().get() > 1;
        assert_eq!(Crew::for_size(Resolution::new(1920, 1080), 80).is_some(), several);
    }

    #[test]
    fn a_cut_is_of_whole_rows_of_blocks() {
        let planes = planes(100, 100, Subsampling::Cs420);
        let cut = Cut::of(&planes, 4);
        assert_eq!(cut, Cut { strips: 4, height: 32, rows: 100, interval: 14 });
        let counts: Vec<usize> = (0..4).map(|index| cut.rows(index).count).collect();
        assert_eq!(counts, [32, 32, 32, 4]);
    }
}
