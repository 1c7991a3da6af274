//! The table that a test and its fake cameras share: what a test sets, and the counters and control values it reads.
//!
//! Belongs here: the layout of the mapped file, the names in it, and waking the cameras. Does not belong here: what a
//! setting does; the library `fakecam` decides that. Both sides use it, so it depends on nothing but std and libc.
#![allow(
    missing_docs,
    reason = "most settings and counters are named after the call or the flag they are about"
)]

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering::SeqCst};

/// What a test can turn while the cameras run. 0, the initial value, is a healthy camera.
///
/// Frames are numbered from 0 over the life of the table (dropped ones included); that number is in the
/// picture. A setting `...Every` set to N spoils the frames whose number + 1 is a multiple of N.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// 1: no frame, no error.
    Stall,
    /// 1: pulled out, open descriptors die for good, the node and its links are gone. 0: plugged in again.
    Unplug,
    /// What QUERYBUF, QBUF and DQBUF of a dead descriptor answer (0: ENODEV, as all other calls do).
    UnplugErrno,
    /// From the next replug on the node is `/dev/videoN` with this N (0: no change).
    Renumber,
    /// MJPEG: start-of-image markers in the middle of the scan.
    CorruptEvery,
    /// MJPEG and H.264: cut to 60 %, so no end-of-image marker, or half of a slice.
    TruncateEvery,
    /// `bytesused` is 0.
    EmptyEvery,
    /// `V4L2_BUF_FLAG_ERROR`, content intact.
    ErrorEvery,
    /// Raw formats: half of the bytes.
    ShortEvery,
    /// The DQBUF that would return this frame fails with EIO; the buffer is queued again.
    EioEvery,
    /// MJPEG: this many zero bytes after the end-of-image marker.
    TailPad,
    /// MJPEG: 1 leaves out the end-of-image marker.
    StripEoi,
    /// MJPEG: 1 leaves out the Huffman tables.
    StripDht,
    /// MJPEG: 1 leaves out the JFIF segment.
    StripJfif,
    /// MJPEG and H.264: pad to about this many bytes.
    FrameBytes,
    /// 1: S_FMT and TRY_FMT answer EINVAL. 2: they always choose the smallest size.
    RefuseFmt,
    /// 1: S_FMT, REQBUFS and STREAMON answer EBUSY.
    Busy,
    /// What open answers (0: success).
    OpenErrno,
    /// What STREAMON answers (0: success).
    StreamonErrno,
    /// Frames per 1000 seconds, instead of the negotiated rate.
    FpsMilli,
    /// Each frame is early or late by up to this many microseconds.
    JitterUs,
    /// What buffers say of their time, see [`stamp`].
    Stamp,
    /// What buffers say of their number, see [`sequence`].
    Sequence,
    /// This many bytes are added to what a buffer says that it holds.
    UsedExcess,
    /// What the HDMI input receives, see [`signal`].
    Signal,
    /// Its size: width times 65536, plus height. 0: as in the description of the camera.
    SignalSize,
    /// An event of another signal comes with this frame, although it is the same.
    EventEvery,
    /// The call named by `HangWhere` sleeps this long; nothing interrupts it.
    HangMs,
    /// Which call hangs, see [`hang`].
    HangWhere,
    /// An encoder: so many microseconds for each picture.
    EncodeUs,
    /// An encoder: gives a unit once this many more pictures are queued.
    HoldBack,
    /// H.264: 1 gives no key frame after the first, not even when asked for one.
    WithholdKeys,
    /// H.264: 1 gives parameter sets with the first key frame of a stream only.
    ParameterSetsOnce,
    /// H.264: another size than the one that was set: width times 65536, plus height.
    VideoSize,
}

/// The values of [`Setting::Stamp`].
pub mod stamp {
    pub const ZERO: u32 = 1;
    /// A minute from now.
    pub const FUTURE: u32 = 2;
    /// Each is 10 ms before the previous one.
    pub const BACKWARDS: u32 = 3;
}

/// The values of [`Setting::Sequence`].
pub mod sequence {
    pub const ZERO: u32 = 1;
    /// Each is a billion after the previous one.
    pub const WILD: u32 = 2;
}

/// The values of [`Setting::Signal`].
pub mod signal {
    pub const NONE: u32 = 1;
    pub const UNSTABLE: u32 = 2;
    pub const OUT_OF_RANGE: u32 = 3;
}

/// The values of [`Setting::HangWhere`].
pub mod hang {
    pub const DQBUF: u32 = 1;
    pub const STREAMOFF: u32 = 2;
    pub const OPEN: u32 = 3;
    pub const STREAMON: u32 = 4;
    pub const QUERYCAP: u32 = 5;
    pub const ENUM_FMT: u32 = 6;
    pub const S_FMT: u32 = 7;
    pub const REQBUFS: u32 = 8;
    /// Queries of controls, the current and the older ones. So are the next two.
    pub const QUERYCTRL: u32 = 9;
    pub const G_CTRL: u32 = 10;
    pub const S_CTRL: u32 = 11;
    pub const S_PARM: u32 = 12;
    pub const QUERYBUF: u32 = 13;
    pub const QBUF: u32 = 14;
    pub const ENUMINPUT: u32 = 15;
    pub const QUERY_DV_TIMINGS: u32 = 16;
}

/// What a test can read. Everything counts from the creation of the table unless it says "now".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counter {
    /// Successful opens, and closes of the last descriptor of one; open now = `Opens` - `Closes`.
    Opens,
    Closes,
    Streamons,
    /// STREAMOFF calls that stopped a stream (a close or an unplug does not count here).
    Streamoffs,
    /// 1 while somebody streams now; the format streamed now or last, rate in frames per 1000 s.
    Streaming,
    Fourcc,
    Width,
    Height,
    RateMilli,
    /// Frames so far, each either `Produced` into a buffer, `Dropped` for want of one, or cut off by a stop.
    Frames,
    Produced,
    Dropped,
    /// Of the dropped ones those between two that DQBUF returned: what a program can know of.
    Missed,
    /// DQBUF calls that returned a frame, and of those the spoilt ones (but `Eio`: calls that failed).
    Dequeued,
    Corrupt,
    Truncated,
    Empty,
    Error,
    Short,
    Eio,
    /// Key frames, and how often one was asked for.
    KeyFrames,
    KeyRequests,
    /// Presses of the button control.
    Presses,
    /// ioctls on descriptors of the camera, whatever was answered, and of those the QUERYCAP ones.
    Ioctls,
    Querycaps,
    /// V4L2 ioctls on descriptors that are no cameras. The first camera counts them.
    StrayIoctls,
    /// Calls that [`Setting::HangMs`] has made hang.
    Hangs,
    /// The input, the bits of the standard, the size of the DV timings (as in [`Setting::SignalSize`]) and the blocks of the EDID
    /// that are set now.
    Input,
    Standard,
    Timings,
    EdidBlocks,
    /// How often an EDID was set.
    EdidSets,
    /// How often the camera has been pulled out.
    Unplugs,
    /// CLOCK_MONOTONIC nanoseconds of the last one.
    LastOpenNs,
    LastStreamonNs,
}

const SETTINGS: usize = Setting::VideoSize as usize + 1;
const COUNTERS: usize = Counter::LastStreamonNs as usize + 1;
const CONTROLS: usize = 32;

#[repr(C)]
struct Layout {
    /// Futex word: changes whenever a camera should look again.
    wakes: AtomicU32,
    /// The N of `/dev/videoN` since a renumbering, else 0.
    minor: AtomicU32,
    /// `Unplugs` + 1 at the time the controls were last reset to their defaults.
    controls_reset: AtomicU32,
    settings: [AtomicU32; SETTINGS],
    counters: [AtomicU64; COUNTERS],
    control_ids: [AtomicU32; CONTROLS],
    control_values: [AtomicI64; CONTROLS],
}

/// One camera's table, mapped until the process ends.
pub struct Table {
    path: PathBuf,
    layout: &'static Layout,
}

impl Table {
    /// Makes a fresh table file, all zero. The file has to exist before a camera uses it.
    pub fn create(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
        file.set_len(size_of::<Layout>() as u64)?;
        Self::map(path, &file)
    }

    /// Opens a table made by [`Table::create`].
    pub fn open(path: impl Into<PathBuf>) -> io::Result<Self> {
        let path = path.into();
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        if file.metadata()?.len() != size_of::<Layout>() as u64 {
            return Err(io::Error::other("not a table of this version"));
        }
        Self::map(path, &file)
    }

    fn map(path: PathBuf, file: &File) -> io::Result<Self> {
        let (access, shared) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        let length = size_of::<Layout>();
        // SAFETY: a new mapping at an address of the kernel's choice.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), length, access, shared, file.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: page-aligned, as long as the layout, never unmapped; any bytes are valid atomics.
        Ok(Self { path, layout: unsafe { &*base.cast::<Layout>() } })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Changes a setting; the cameras notice at once.
    pub fn set(&self, setting: Setting, value: u32) {
        let (before, number) = (self.setting(setting), self.setting(Setting::Renumber));
        if setting == Setting::Unplug && before != 0 && value == 0 && number != 0 {
            self.layout.minor.store(number, SeqCst); // before the node is back
        }
        self.layout.settings[setting as usize].store(value, SeqCst);
        if setting == Setting::Unplug && before == 0 && value != 0 {
            self.add(Counter::Unplugs, 1); // after the node is gone: no open can fall between
        }
        self.wake();
    }

    pub fn setting(&self, setting: Setting) -> u32 {
        self.layout.settings[setting as usize].load(SeqCst)
    }

    pub fn counter(&self, counter: Counter) -> u64 {
        self.layout.counters[counter as usize].load(SeqCst)
    }

    /// The current value of a control, write-only ones included; none before a camera used the table.
    pub fn control(&self, id: u32) -> Option<i64> {
        let slot = self.layout.control_ids.iter().position(|known| known.load(SeqCst) == id)?;
        Some(self.control_value(slot))
    }
}

/// What the library needs of the table.
impl Table {
    /// Returns the count before.
    pub fn add(&self, counter: Counter, by: u64) -> u64 {
        self.layout.counters[counter as usize].fetch_add(by, SeqCst)
    }

    pub fn put(&self, counter: Counter, value: u64) {
        self.layout.counters[counter as usize].store(value, SeqCst);
    }

    pub fn minor(&self) -> u32 {
        self.layout.minor.load(SeqCst)
    }

    /// Whether a setting `...Every` spoils this frame.
    pub fn spoils(&self, setting: Setting, frame: u64) -> bool {
        let every = u64::from(self.setting(setting));
        every != 0 && (frame + 1).is_multiple_of(every)
    }

    pub fn control_value(&self, slot: usize) -> i64 {
        self.layout.control_values[slot].load(SeqCst)
    }

    pub fn put_control(&self, slot: usize, id: u32, value: i64) {
        self.layout.control_ids[slot].store(id, SeqCst);
        self.layout.control_values[slot].store(value, SeqCst);
    }

    /// True once for each time the camera is plugged in: the caller then resets the controls.
    pub fn controls_need_reset(&self) -> bool {
        let life = self.counter(Counter::Unplugs) as u32 + 1;
        self.layout.controls_reset.swap(life, SeqCst) != life
    }

    /// Makes every [`Table::sleep`] return.
    pub fn wake(&self) {
        self.layout.wakes.fetch_add(1, SeqCst);
        // SAFETY: the word is mapped for good; a wake has no further arguments.
        unsafe { libc::syscall(libc::SYS_futex, self.layout.wakes.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
    }

    /// Read this before the state that decides on a sleep, so that no change is slept through.
    pub fn wakes(&self) -> u32 {
        self.layout.wakes.load(SeqCst)
    }

    /// Sleeps until this time on [`now_ns`]'s clock or until the next wake after `seen` was read.
    pub fn sleep(&self, seen: u32, until: u64) {
        let time = libc::timespec { tv_sec: (until / NANOS) as _, tv_nsec: (until % NANOS) as _ };
        let (word, none) = (self.layout.wakes.as_ptr(), std::ptr::null::<u32>());
        let (wait, any) = (libc::FUTEX_WAIT_BITSET, libc::FUTEX_BITSET_MATCH_ANY);
        // SAFETY: the word is mapped for good, the time outlives the call.
        unsafe { libc::syscall(libc::SYS_futex, word, wait, seen, &raw const time, none, any) };
    }
}

const NANOS: u64 = 1_000_000_000;

/// CLOCK_MONOTONIC, the clock of buffer timestamps.
pub fn now_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills in the struct it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * NANOS + time.tv_nsec as u64
}
