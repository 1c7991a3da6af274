//! An open descriptor of a memory-to-memory encoder with the habits of bcm2835-codec: multi-planar with one plane, lines of 32
//! bytes, heights of 16 lines that a crop makes smaller, headers repeated only when asked, a key frame by a control.
//!
//! It encodes with `h264-writer`: each macroblock gets the colour it has on average, so that the bar code of raw pictures stays.
//! As in the kernel, raw pictures come through the OUTPUT queue and units leave through the CAPTURE queue. Poll tells of units
//! alone. There is no draining by an END_OF_STREAM command, which the program has no use for.
use std::ffi::{c_int, c_void};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

use crate::content::{Pixel, Shot};
use crate::device::{Device, hang_of, query_cap};
use crate::queue::{MOST_BUFFERS, Memory, Queue};
use crate::stream::{is_mmap, open, spawn};
use crate::videodev::{
    self as vd, BUF_TYPE_VIDEO_CAPTURE_MPLANE as CODED, BUF_TYPE_VIDEO_OUTPUT_MPLANE as RAW,
};
use crate::{controls, locked};
use fakecam_table::{Counter, Setting, hang, now_ns};
use h264_writer::{Encoder, SIDE};
use interpose::{Answer, ensure};

/// No time to look again.
const NEVER: u64 = u64::MAX;
/// Where the buffers of the CAPTURE queue are mapped, as in v4l2-mem2mem.
const CODED_BASE: u64 = 1 << 30;
/// Bytes of a unit at least.
const CODED_BYTES: u32 = 512 << 10;
const LINE_ALIGNMENT: u32 = 32;
const HEIGHT_ALIGNMENT: u32 = 16;

/// One open of an encoder. Dropping it closes it.
pub(crate) struct Handle {
    pub(crate) device: &'static Device,
    converter: Arc<Converter>,
    thread: Option<JoinHandle<()>>,
}

struct Converter {
    device: &'static Device,
    /// The device's life at the time of the open.
    life: u64,
    state: Mutex<State>,
    closing: AtomicBool,
}

struct State {
    raw: Queue,
    coded: Queue,
    /// Which of them streams.
    raw_streams: bool,
    coded_streams: bool,
    pixel: &'static Pixel,
    size: [u32; 2],
    /// What is coded of it.
    crop: [u32; 2],
    coded_bytes: u32,
    encoder: Option<Encoder>,
    /// The requests for a key frame that have been granted.
    granted: u64,
    has_headers: bool,
    /// When the picture that is encoded now was begun.
    begun: Option<u64>,
    sequence: u32,
}

impl State {
    fn side(&mut self, kind: u32) -> Answer<(&mut Queue, &mut bool)> {
        match kind {
            RAW => Ok((&mut self.raw, &mut self.raw_streams)),
            CODED => Ok((&mut self.coded, &mut self.coded_streams)),
            _ => Err(libc::EINVAL),
        }
    }

    fn stride(&self) -> u32 {
        self.size[0].next_multiple_of(LINE_ALIGNMENT)
    }

    fn bytes(&self, kind: u32) -> u32 {
        if kind == CODED { self.coded_bytes } else { self.stride() * self.size[1] * 3 / 2 }
    }
}

impl Handle {
    /// Opens the encoder; returns also the program's descriptor.
    pub(crate) fn open(device: &'static Device, flags: c_int) -> io::Result<(Self, OwnedFd)> {
        let (life, program, peer) = open(device, flags)?;
        let state = State {
            raw: Queue::of_converter(None, 0),
            coded: Queue::of_converter(Some(peer), CODED_BASE),
            raw_streams: false,
            coded_streams: false,
            pixel: device.spec.modes[0].pixel,
            size: [32; 2],
            crop: [32; 2],
            coded_bytes: CODED_BYTES,
            encoder: None,
            granted: device.table.counter(Counter::KeyRequests),
            has_headers: false,
            begun: None,
            sequence: 0,
        };
        let state = Mutex::new(state);
        let converter = Arc::new(Converter { device, life, state, closing: AtomicBool::new(false) });
        let encoding = converter.clone();
        let thread = Some(spawn(move || encoding.run())?);
        device.table.add(Counter::Opens, 1);
        Ok((Self { device, converter, thread }, program.into()))
    }

    pub(crate) fn map(&self, offset: i64, length: usize) -> Answer<(Memory, i64)> {
        let state = self.converter.alive()?;
        let coded = offset.checked_sub(CODED_BASE as i64).filter(|offset| *offset >= 0);
        match coded {
            Some(offset) => Ok((state.coded.map(offset as usize, length)?, offset)),
            None => Ok((state.raw.map(offset as usize, length)?, offset)),
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.converter.closing.store(true, SeqCst);
        self.device.table.wake();
        _ = self.thread.take().map(JoinHandle::join);
        self.converter.retire(&mut locked(&self.converter.state));
        self.device.table.add(Counter::Closes, 1);
    }
}

/// The thread that encodes.
impl Converter {
    fn run(&self) {
        let table = &self.device.table;
        loop {
            let seen = table.wakes();
            if self.closing.load(SeqCst) {
                break;
            }
            table.sleep(seen, self.tick());
        }
    }

    /// Encodes a picture if there is one, and a buffer for it; returns when to look again unless woken before.
    fn tick(&self) -> u64 {
        let table = &self.device.table;
        let mut state = locked(&self.state);
        if self.is_gone() {
            self.retire(&mut state);
            return NEVER;
        }
        let held = table.setting(Setting::HoldBack) as usize;
        let can = state.raw_streams && state.coded_streams && table.setting(Setting::Stall) == 0;
        if !can || state.raw.waiting() <= held || state.coded.waiting() == 0 {
            return NEVER;
        }
        let due =
            *state.begun.get_or_insert_with(now_ns) + u64::from(table.setting(Setting::EncodeUs)) * 1000;
        if now_ns() < due {
            return due;
        }
        state.begun = None;
        if self.encode(&mut state).is_err() {
            self.retire(&mut state);
        }
        0
    }

    fn encode(&self, state: &mut State) -> io::Result<()> {
        let table = &self.device.table;
        let number = table.add(Counter::Frames, 1);
        let ((raw, picture), (coded, memory)) = match (state.raw.next_waiting(), state.coded.next_waiting()) {
            (Some(raw), Some(coded)) => (raw, coded),
            _ => return Ok(()),
        };
        let mut bytes = vec![0; state.bytes(RAW) as usize];
        picture.read(raw, &mut bytes)?;
        let (asked, period) = (table.counter(Counter::KeyRequests), controls::key_period(table));
        let (size, stride, lines, is_nv12) =
            (state.crop, state.stride(), state.size[1], state.pixel.fourcc == *b"NV12");
        let encoder = state.encoder.get_or_insert_with(|| Encoder::new(size, 30_000));
        let is_due =
            asked != state.granted || period != 0 && encoder.since_key().is_some_and(|n| n + 1 >= period);
        let key = encoder.since_key().is_none() || is_due && table.setting(Setting::WithholdKeys) == 0;
        let (mut unit, stamp_ns) = (Vec::new(), state.raw.shot(raw).stamp_ns);
        if key {
            state.granted = asked;
            table.add(Counter::KeyFrames, 1);
            let repeats = controls::repeats_headers(table) && table.setting(Setting::ParameterSetsOnce) == 0;
            if !state.has_headers || repeats {
                encoder.parameter_sets(&mut unit);
                state.has_headers = true;
            }
        }
        h264_writer::stamp(&format!("FKCM1 {number:010} {stamp_ns:020}\n\n\n"), &mut unit);
        let plane = Planes { bytes: &bytes, stride: stride as usize, lines: lines as usize, is_nv12, size };
        encoder.picture(key, |column, row| plane.colour(column, row), &mut unit);
        unit.truncate(state.coded_bytes as usize);
        let mut shot = Shot { number, used: unit.len() as u32, stamp_ns, faults: Vec::new(), is_key: key };
        if table.spoils(Setting::TruncateEvery, number) {
            (shot.used, shot.faults) = (shot.used * 6 / 10, vec![Counter::Truncated]);
        }
        if table.spoils(Setting::ErrorEvery, number) {
            (shot.used, shot.faults) = (0, vec![Counter::Error]);
        }
        memory.write(coded, &unit)?;
        let sequence = state.sequence;
        state.sequence += 1;
        let returned = state.raw.shot(raw).clone();
        state.raw.finish(raw, sequence, vd::FIELD_NONE, returned);
        state.coded.finish(coded, sequence, vd::FIELD_NONE, shot);
        table.add(Counter::Produced, 1);
        Ok(())
    }

    fn is_gone(&self) -> bool {
        self.device.life() != self.life
    }

    /// Its state, unless it is gone.
    fn alive(&self) -> Answer<MutexGuard<'_, State>> {
        let mut state = locked(&self.state);
        if self.is_gone() {
            self.retire(&mut state);
            return Err(libc::ENODEV);
        }
        Ok(state)
    }

    /// Everything that ends with a removal or a close. Harmless when repeated.
    fn retire(&self, state: &mut State) {
        for kind in [RAW, CODED] {
            self.halt(state, kind, None);
        }
        state.raw.free();
        state.coded.free();
        state.coded.peer = None;
        self.device.reset_controls_once();
    }

    fn halt(&self, state: &mut State, kind: u32, fd: Option<c_int>) {
        let was_on = state.raw_streams && state.coded_streams;
        if let Ok((queue, streams)) = state.side(kind) {
            queue.halt(fd);
            *streams = false;
        }
        if was_on {
            // The next stream begins with a key frame and its headers.
            (state.encoder, state.has_headers, state.begun) = (None, false, None);
            self.device.table.put(Counter::Streaming, 0);
        }
    }
}

/// A picture in memory.
struct Planes<'a> {
    bytes: &'a [u8],
    stride: usize,
    lines: usize,
    is_nv12: bool,
    size: [u32; 2],
}

impl Planes<'_> {
    /// The mean of some pixels of a macroblock, those outside of the picture being at its edge.
    fn colour(&self, column: u32, row: u32) -> h264_writer::Colour {
        let mean = |plane: usize| {
            let sum = (0..16_u32).map(|at| {
                let within = [at % 4, at / 4].map(|quarter| quarter * SIDE / 4 + SIDE / 8);
                let x = (column * SIDE + within[0]).min(self.size[0] - 1) as usize;
                let y = (row * SIDE + within[1]).min(self.size[1] - 1) as usize;
                u32::from(self.sample(plane, x, y))
            });
            (sum.sum::<u32>() / 16) as u8
        };
        [mean(0), mean(1), mean(2)]
    }

    fn sample(&self, plane: usize, x: usize, y: usize) -> u8 {
        let luma = self.stride * self.lines;
        let at = match (plane, self.is_nv12) {
            (0, _) => y * self.stride + x,
            (_, true) => luma + y / 2 * self.stride + x / 2 * 2 + plane - 1,
            (_, false) => luma + (plane - 1) * luma / 4 + y / 2 * (self.stride / 2) + x / 2,
        };
        self.bytes[at]
    }
}

/// Answers an ioctl on a descriptor of an encoder.
///
/// # Safety
/// As for `device::ioctl`.
pub(crate) unsafe fn ioctl(handle: &Handle, fd: c_int, request: u32, argument: *mut c_void) -> Answer {
    let (converter, device) = (&handle.converter, handle.device);
    device.table.add(Counter::Ioctls, 1);
    hang_of(request).into_iter().for_each(|call| device.hang(call));
    drop(converter.alive()?);
    ensure(!argument.is_null(), libc::EFAULT)?;
    // SAFETY: as the caller promises; each function below names the type that belongs to its request.
    unsafe {
        match request {
            vd::QUERYCAP => query_cap(device, &mut *argument.cast()),
            vd::ENUM_FMT => enum_formats(device, &mut *argument.cast()),
            vd::S_FMT => converter.set_format(&mut *argument.cast()),
            vd::S_SELECTION => converter.crop(&mut *argument.cast()),
            vd::S_PARM => ensure((*argument.cast::<vd::StreamParm>()).kind == RAW, libc::EINVAL),
            vd::REQBUFS => converter.request_buffers(&mut *argument.cast()),
            vd::QUERYBUF => converter.query(&mut *argument.cast()),
            vd::QBUF => converter.enqueue(&mut *argument.cast()),
            vd::DQBUF => converter.dequeue(fd, &mut *argument.cast()),
            vd::STREAMON => converter.start(*argument.cast()),
            vd::STREAMOFF => converter.stop(fd, *argument.cast()),
            _ => controls::ioctl(device, request, argument),
        }
    }
}

fn enum_formats(device: &Device, out: &mut vd::FmtDesc) -> Answer {
    let coded = Pixel::find(b"H264").ok_or(libc::EINVAL)?;
    let pixels: Vec<&Pixel> = match out.kind {
        RAW => device.spec.modes.iter().map(|mode| mode.pixel).collect(),
        CODED => vec![coded],
        _ => return Err(libc::EINVAL),
    };
    let pixel = pixels.get(out.index as usize).ok_or(libc::EINVAL)?;
    *out = vd::FmtDesc { index: out.index, kind: out.kind, ..Default::default() };
    (out.flags, out.description) = (u32::from(pixel.is_compressed()), vd::text(pixel.name));
    out.pixelformat = u32::from_le_bytes(pixel.fourcc);
    Ok(())
}

/// The ioctls of formats, buffers and streams.
impl Converter {
    fn set_format(&self, out: &mut vd::FormatMplane) -> Answer {
        self.device.check_busy()?;
        let mut state = self.alive()?;
        ensure(!state.side(out.kind)?.0.is_allocated(), libc::EBUSY)?;
        if out.kind == RAW {
            let (mode, format) = self.device.spec.fit(out.pixelformat, [out.width, out.height]);
            let height = format.height.next_multiple_of(HEIGHT_ALIGNMENT);
            (state.pixel, state.size) = (mode.pixel, [format.width, height]);
            state.crop = state.size;
        } else {
            state.coded_bytes = out.planes[0][0].max(CODED_BYTES);
        }
        let ([width, height], kind) = (state.size, out.kind);
        *out = vd::FormatMplane { kind, width, height, field: vd::FIELD_NONE, ..Default::default() };
        let fourcc = if kind == CODED { *b"H264" } else { state.pixel.fourcc };
        (out.pixelformat, out.num_planes) = (u32::from_le_bytes(fourcc), 1);
        out.planes[0][0] = state.bytes(kind);
        out.planes[0][1] = if kind == CODED { 0 } else { state.stride() };
        Ok(())
    }

    /// S_SELECTION, whose type is the single-planar one.
    fn crop(&self, call: &mut vd::Selection) -> Answer {
        let mut state = self.alive()?;
        ensure(call.kind == vd::BUF_TYPE_VIDEO_OUTPUT && call.target == 0, libc::EINVAL)?;
        let [_, _, width, height] = call.rect;
        state.crop = [width.clamp(2, state.size[0]), height.clamp(2, state.size[1])];
        call.rect = [0, 0, state.crop[0], state.crop[1]];
        Ok(())
    }

    fn request_buffers(&self, call: &mut vd::RequestBuffers) -> Answer {
        is_mmap(call.memory)?;
        self.device.check_busy()?;
        let mut state = self.alive()?;
        let bytes = state.bytes(call.kind) as usize;
        let (queue, streams) = state.side(call.kind)?;
        ensure(!*streams, libc::EBUSY)?;
        queue.free();
        call.count = call.count.min(MOST_BUFFERS as u32);
        call.capabilities = vd::BUF_CAP_SUPPORTS_MMAP;
        match call.count {
            0 => Ok(()),
            count => queue.allocate(count as usize, &[bytes], 0).map_err(|_| libc::ENOMEM),
        }
    }

    fn query(&self, out: &mut vd::Buffer) -> Answer {
        self.alive()?.side(out.kind)?.0.describe(out.index as usize, out)
    }

    fn enqueue(&self, out: &mut vd::Buffer) -> Answer {
        is_mmap(out.memory)?;
        let mut state = self.alive()?;
        let needed = state.bytes(out.kind);
        let (queue, _) = state.side(out.kind)?;
        let index = out.index as usize;
        let stamp_ns = out.timestamp.tv_sec as u64 * 1_000_000_000 + out.timestamp.tv_usec as u64 * 1000;
        let planes = out.offset as *const vd::Plane;
        ensure(out.length >= 1 && !planes.is_null(), libc::EINVAL)?;
        // SAFETY: the program promises at least one plane there.
        let used = unsafe { (*planes).bytesused };
        ensure(out.kind == CODED || used == 0 || used >= needed, libc::EINVAL)?;
        queue.enqueue(index)?;
        if out.kind == RAW {
            queue.fill(index, used, stamp_ns);
        }
        queue.describe(index, out)?;
        self.device.table.wake();
        Ok(())
    }

    fn dequeue(&self, fd: c_int, out: &mut vd::Buffer) -> Answer {
        is_mmap(out.memory)?;
        let mut state = self.alive()?;
        let (queue, streams) = state.side(out.kind)?;
        ensure(*streams, libc::EINVAL)?;
        let (index, shot) = queue.dequeue(fd).ok_or(libc::EAGAIN)?;
        let (flags, faults) = (shot.flags(), shot.faults.clone());
        queue.describe(index, out)?;
        out.flags |= flags;
        if out.kind == CODED {
            self.device.table.add(Counter::Dequeued, 1);
            faults.iter().for_each(|fault| _ = self.device.table.add(*fault, 1));
        }
        Ok(())
    }

    fn start(&self, kind: u32) -> Answer {
        let (device, table) = (self.device, &self.device.table);
        device.hang(hang::STREAMON);
        device.check_busy()?;
        device.errno(Setting::StreamonErrno)?;
        let mut state = self.alive()?;
        let (queue, streams) = state.side(kind)?;
        ensure(queue.is_allocated(), libc::EINVAL)?;
        *streams = true;
        if state.raw_streams && state.coded_streams {
            table.put(Counter::Fourcc, u32::from_le_bytes(state.pixel.fourcc).into());
            table.put(Counter::Width, state.crop[0].into());
            table.put(Counter::Height, state.crop[1].into());
            table.put(Counter::Streaming, 1);
            table.add(Counter::Streamons, 1);
        }
        drop(state);
        table.wake();
        Ok(())
    }

    fn stop(&self, fd: c_int, kind: u32) -> Answer {
        self.device.hang(hang::STREAMOFF);
        let mut state = self.alive()?;
        state.side(kind)?;
        self.device.table.add(Counter::Streamoffs, u64::from(kind == CODED));
        self.halt(&mut state, kind, Some(fd));
        Ok(())
    }
}
