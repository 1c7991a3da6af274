//! An open descriptor of a camera: its life, its frame thread, and the ioctls of streaming.
//!
//! The program holds one end of a socket pair, [`Queue`] the other:
//! - the program's send queue is full from the start: never POLLOUT, a capture device is not writable;
//! - one byte waits in it per finished frame: POLLIN exactly while DQBUF would succeed;
//! - our end closes with the unread queue in it: POLLERR | POLLHUP for good, as after an unplug.
//!
//! One thread per open descriptor makes its frames and watches for the unplug; it lives from open to close.
use std::ffi::c_int;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use crate::content::Scene;
use crate::device::{Device, is_capture};
use crate::queue::{MOST_BUFFERS, Memory, Queue, take_bytes};
use crate::videodev as vd;
use crate::{inputs, locked};
use fakecam_table::{Counter, Setting, hang, now_ns, sequence, stamp};
use interpose::{Answer, ensure};

/// No time to look again.
const NEVER: u64 = u64::MAX;

/// One open of a camera, shared by the duplicates of its descriptor. Dropping it closes the camera.
pub(crate) struct Handle {
    stream: Arc<Stream>,
    thread: Option<JoinHandle<()>>,
}

pub(crate) struct Stream {
    pub(crate) device: &'static Device,
    /// The device's life at the time of the open.
    life: u64,
    /// The table's file. A stream with buffers holds its lock, so that all others get EBUSY, in any process.
    claim: File,
    state: Mutex<State>,
    /// Wakes a DQBUF that blocks.
    changed: Condvar,
    closing: AtomicBool,
}

#[derive(Default)]
struct State {
    queue: Queue,
    /// What is being streamed, if it is.
    scene: Option<Arc<Scene>>,
    /// Goes up with every stop: a frame begun before does not count any more.
    stops: u64,
    /// Frames since STREAMON, and when the previous one was due.
    sequence: u32,
    previous: u64,
    /// The number of the last one that DQBUF returned.
    returned: Option<u64>,
    /// The input whose changes the program is told, and what it received when the program was told last.
    subscribed: Option<(u32, Answer<[u32; 2]>)>,
    events: u32,
}

impl Handle {
    /// Opens the camera; returns also the program's descriptor.
    pub(crate) fn open(device: &'static Device, flags: c_int) -> io::Result<(Self, OwnedFd)> {
        let (life, program, peer) = open(device, flags)?;
        let mut state = State::default();
        state.queue.peer = Some(peer);
        let stream = Arc::new(Stream {
            device,
            life,
            claim: File::open(device.table.path())?,
            state: Mutex::new(state),
            changed: Condvar::new(),
            closing: AtomicBool::new(false),
        });
        let frames = stream.clone();
        let thread = Some(spawn(move || frames.run())?);
        device.table.add(Counter::Opens, 1);
        device.table.put(Counter::LastOpenNs, now_ns());
        Ok((Self { stream, thread }, program.into()))
    }

    pub(crate) fn stream(&self) -> &Stream {
        &self.stream
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let table = &self.stream.device.table;
        self.stream.closing.store(true, SeqCst);
        table.wake();
        _ = self.thread.take().map(JoinHandle::join);
        self.stream.retire(&mut locked(&self.stream.state));
        table.add(Counter::Closes, 1);
    }
}

/// Opens a device, which may hang or refuse: its life, and the program's end and ours of the descriptor.
pub(crate) fn open(device: &Device, flags: c_int) -> io::Result<(u64, UnixStream, UnixStream)> {
    let life = device.life();
    device.hang(hang::OPEN);
    let refusal = if device.is_plugged() { device.errno(Setting::OpenErrno) } else { Err(libc::ENOENT) };
    refusal.map_err(io::Error::from_raw_os_error)?;
    device.reset_controls_once();
    let (program, peer) = socket_pair(flags)?;
    Ok((life, program, peer))
}

/// The program's end and ours, of an `open` with these flags.
fn socket_pair(flags: c_int) -> io::Result<(UnixStream, UnixStream)> {
    let (mut program, peer) = UnixStream::pair()?;
    program.set_nonblocking(true)?;
    while program.write(&[0; 4096]).is_ok() {}
    program.set_nonblocking(flags & libc::O_NONBLOCK != 0)?;
    if flags & libc::O_CLOEXEC == 0 {
        // SAFETY: clears a flag of a descriptor we own.
        unsafe { libc::fcntl(program.as_raw_fd(), libc::F_SETFD, 0) };
    }
    Ok((program, peer))
}

/// Starts a thread with all signals blocked: they are for the program's own threads.
pub(crate) fn spawn(run: impl FnOnce() + Send + 'static) -> io::Result<JoinHandle<()>> {
    // SAFETY: sets of signals are plain data, filled in before they are read.
    unsafe {
        let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let thread = thread::Builder::new().name("fakecam".into()).spawn(run);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        thread
    }
}

/// The frame thread.
impl Stream {
    fn run(&self) {
        let table = &self.device.table;
        let mut canvas = std::mem::take(&mut *locked(&self.device.canvas));
        loop {
            let seen = table.wakes();
            if self.closing.load(SeqCst) {
                break;
            }
            table.sleep(seen, self.tick(&mut canvas));
        }
        *locked(&self.device.canvas) = canvas;
    }

    /// Makes a frame if one is due; returns when to look again unless woken before.
    fn tick(&self, canvas: &mut Vec<u8>) -> u64 {
        let table = &self.device.table;
        let mut state = locked(&self.state);
        if self.is_gone() {
            self.retire(&mut state);
            return NEVER;
        }
        self.tell_changes(&mut state);
        let shows = table.setting(Setting::Stall) == 0 && inputs::has_picture(self.device);
        let Some(scene) = state.scene.clone().filter(|_| shows) else { return NEVER };
        let (now, due, period) = (now_ns(), self.due(&state), self.device.period());
        if now < due {
            return due;
        }
        let on_time = state.previous + period;
        // Frames that the machine was too busy for never happened.
        state.previous = on_time + now.saturating_sub(on_time) / period * period;
        let number = table.add(Counter::Frames, 1);
        if table.spoils(Setting::EventEvery, number) && state.subscribed.is_some() {
            state.events += 1;
            state.queue.wake();
        }
        let (sequence, stops) = (state.sequence, state.stops);
        state.sequence += 1;
        let Some((index, memory)) = state.queue.next_waiting() else {
            table.add(Counter::Dropped, 1);
            return 0;
        };
        drop(state);
        canvas.resize(scene.format.bytes as usize, 0);
        let mut shot = scene.shoot(number, table, canvas);
        let written = memory.write(index, &canvas[..shot.used as usize]);
        shot.used += table.setting(Setting::UsedExcess);
        let sequence = match table.setting(Setting::Sequence) {
            sequence::ZERO => 0,
            sequence::WILD => sequence.wrapping_mul(1_000_000_000),
            _ => sequence,
        };
        match table.setting(Setting::Stamp) {
            stamp::ZERO => shot.stamp_ns = 0,
            stamp::FUTURE => shot.stamp_ns += 60_000_000_000,
            stamp::BACKWARDS => shot.stamp_ns -= 2 * u64::from(sequence) * period + 10_000_000 * number,
            _ => {}
        }
        let mut state = locked(&self.state);
        if written.is_err() || state.stops != stops {
            return 0;
        }
        table.add(Counter::Produced, 1);
        let next = self.due(&state);
        // Last, and then nothing is locked until the next frame: the program, which this wakes, would wait for it.
        state.queue.finish(index, sequence, scene.format.field, shot);
        drop(state);
        self.changed.notify_all();
        next
    }

    /// When the next frame is due.
    fn due(&self, state: &State) -> u64 {
        let on_time = state.previous + self.device.period();
        on_time.saturating_add_signed(jitter(on_time, self.device.table.setting(Setting::JitterUs)))
    }

    fn is_gone(&self) -> bool {
        self.device.life() != self.life
    }

    /// Everything that ends with an unplug or a close. Harmless when repeated.
    fn retire(&self, state: &mut State) {
        self.halt(state, None);
        state.queue.free();
        state.queue.peer = None;
        self.release();
        self.device.reset_controls_once();
    }

    fn halt(&self, state: &mut State, fd: Option<c_int>) {
        if state.scene.take().is_some() {
            self.device.table.put(Counter::Streaming, 0);
        }
        state.stops += 1;
        state.queue.halt(fd);
        self.changed.notify_all();
    }
}

/// Events.
impl Stream {
    pub(crate) fn subscribe(&self, call: &vd::EventSubscription) -> Answer {
        ensure(call.kind == vd::EVENT_SOURCE_CHANGE, libc::EINVAL)?;
        locked(&self.state).subscribed = Some((call.id, inputs::received(self.device)));
        Ok(())
    }

    /// Notes an event if the input that the program looks at receives something else.
    fn tell_changes(&self, state: &mut State) {
        let now = inputs::received(self.device);
        if let Some((_, told)) = &mut state.subscribed
            && *told != now
        {
            *told = now;
            state.events += 1;
            state.queue.wake();
        }
    }

    pub(crate) fn dequeue_event(&self, fd: c_int, out: &mut vd::Event) -> Answer {
        let mut state = locked(&self.state);
        ensure(state.events > 0, libc::ENOENT)?;
        state.events -= 1;
        take_bytes(fd, 1);
        let id = state.subscribed.as_ref().map_or(0, |(input, _)| *input);
        *out = vd::Event {
            kind: vd::EVENT_SOURCE_CHANGE,
            changes: vd::RESOLUTION_CHANGED,
            id,
            ..Default::default()
        };
        out.pending = state.events;
        Ok(())
    }

    /// What poll says instead of `found`: the byte of an event is none of a frame.
    pub(crate) fn poll_flags(&self, found: i16) -> i16 {
        let state = locked(&self.state);
        if state.events == 0 || found & libc::POLLIN == 0 {
            return found;
        }
        let frames = if state.queue.is_ready() { found } else { found & !libc::POLLIN };
        frames | libc::POLLPRI
    }
}

fn jitter(seed: u64, range_us: u32) -> i64 {
    let range = i64::from(range_us) * 1000;
    let random = (seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16) as i64;
    random % (2 * range + 1) - range
}

/// The ioctls.
impl Stream {
    /// Refuses every call once the camera is gone.
    pub(crate) fn check_alive(&self, request: u32) -> Answer {
        if !self.is_gone() {
            return Ok(());
        }
        self.retire(&mut locked(&self.state));
        if [vd::QUERYBUF, vd::QBUF, vd::DQBUF].contains(&request) {
            self.device.errno(Setting::UnplugErrno)?;
        }
        Err(libc::ENODEV)
    }

    /// EBUSY while anybody has buffers.
    pub(crate) fn check_idle(&self) -> Answer {
        self.device.check_busy()?;
        ensure(!locked(&self.state).queue.is_allocated(), libc::EBUSY)?;
        self.claim()?;
        self.release();
        Ok(())
    }

    fn claim(&self) -> Answer {
        // SAFETY: locks a file; touches no memory.
        let result = unsafe { libc::flock(self.claim.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        ensure(result == 0, libc::EBUSY)
    }

    fn release(&self) {
        // SAFETY: unlocks a file; touches no memory.
        unsafe { libc::flock(self.claim.as_raw_fd(), libc::LOCK_UN) };
    }

    pub(crate) fn request_buffers(&self, call: &mut vd::RequestBuffers) -> Answer {
        is_capture(self.device, call.kind)?;
        is_mmap(call.memory)?;
        self.device.check_busy()?;
        let mut state = locked(&self.state);
        ensure(state.scene.is_none(), libc::EBUSY)?;
        self.claim()?;
        self.halt(&mut state, None);
        state.queue.free();
        call.count = call.count.min(MOST_BUFFERS as u32);
        call.reserved = 0;
        call.capabilities = vd::BUF_CAP_SUPPORTS_MMAP | vd::BUF_CAP_SUPPORTS_ORPHANED_BUFS;
        if call.count == 0 {
            self.release();
            return Ok(());
        }
        let memory = self.device.settings().format.memory();
        let lengths: Vec<usize> = memory.iter().map(|[_, bytes]| *bytes as usize).collect();
        let offset = self.device.spec.data_offset as usize;
        state.queue.allocate(call.count as usize, &lengths, offset).map_err(|_| libc::ENOMEM)
    }

    pub(crate) fn map(&self, offset: i64, length: usize) -> Answer<Memory> {
        self.check_alive(0)?;
        locked(&self.state).queue.map(offset as usize, length)
    }

    pub(crate) fn query(&self, out: &mut vd::Buffer) -> Answer {
        is_capture(self.device, out.kind)?;
        locked(&self.state).queue.describe(out.index as usize, out)
    }

    pub(crate) fn enqueue(&self, out: &mut vd::Buffer) -> Answer {
        is_capture(self.device, out.kind)?;
        is_mmap(out.memory)?;
        let queue = &mut locked(&self.state).queue;
        queue.enqueue(out.index as usize)?;
        queue.describe(out.index as usize, out)
    }

    pub(crate) fn dequeue(&self, fd: c_int, out: &mut vd::Buffer) -> Answer {
        self.device.hang(hang::DQBUF);
        is_capture(self.device, out.kind)?;
        is_mmap(out.memory)?;
        let table = &self.device.table;
        let mut state = locked(&self.state);
        let (index, shot) = loop {
            if self.is_gone() {
                drop(state);
                return self.check_alive(vd::DQBUF);
            }
            ensure(state.scene.is_some(), libc::EINVAL)?;
            if let Some((index, shot)) = state.queue.dequeue(fd) {
                break (index, shot.clone());
            }
            // SAFETY: asks for flags; touches no memory.
            let blocks = unsafe { libc::fcntl(fd, libc::F_GETFL) } & libc::O_NONBLOCK == 0;
            ensure(blocks, libc::EAGAIN)?;
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        };
        if table.spoils(Setting::EioEvery, shot.number) {
            table.add(Counter::Eio, 1);
            state.queue.enqueue(index)?;
            return Err(libc::EIO);
        }
        state.queue.describe(index, out)?;
        out.flags |= shot.flags();
        let missed = state.returned.replace(shot.number).map_or(0, |last| shot.number - last - 1);
        table.add(Counter::Missed, missed);
        table.add(Counter::Dequeued, 1);
        shot.faults.iter().for_each(|fault| _ = table.add(*fault, 1));
        Ok(())
    }

    pub(crate) fn start(&self, kind: u32) -> Answer {
        let (device, table) = (self.device, &self.device.table);
        device.hang(hang::STREAMON);
        is_capture(self.device, kind)?;
        device.check_busy()?;
        device.errno(Setting::StreamonErrno)?;
        let mut state = locked(&self.state);
        ensure(state.queue.is_allocated(), libc::EINVAL)?;
        if state.scene.is_some() {
            return Ok(());
        }
        let (scene, rate) = device.settings().scene_and_rate();
        table.put(Counter::Fourcc, u32::from_le_bytes(scene.format.pixel.fourcc).into());
        table.put(Counter::Width, scene.format.width.into());
        table.put(Counter::Height, scene.format.height.into());
        table.put(Counter::RateMilli, rate.into());
        table.put(Counter::Streaming, 1);
        table.put(Counter::LastStreamonNs, now_ns());
        table.add(Counter::Streamons, 1);
        scene.restart();
        state.scene = Some(scene);
        (state.sequence, state.returned) = (0, None);
        state.previous = now_ns() + device.spec.start_ms * 1_000_000;
        table.wake();
        Ok(())
    }

    pub(crate) fn stop(&self, fd: c_int, kind: u32) -> Answer {
        self.device.hang(hang::STREAMOFF);
        is_capture(self.device, kind)?;
        let mut state = locked(&self.state);
        self.device.table.add(Counter::Streamoffs, state.scene.is_some().into());
        self.halt(&mut state, Some(fd));
        Ok(())
    }
}

pub(crate) fn is_mmap(memory: u32) -> Answer {
    ensure(memory == vd::MEMORY_MMAP, libc::EINVAL)
}
