//! The libc calls that make, use and copy descriptors.
//!
//! Which descriptors are cameras is known here and only here. What a camera answers is not.
use std::collections::BTreeMap;
use std::ffi::{c_char, c_int, c_long, c_uint, c_ulong, c_void};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};

use crate::device::{self, Device};
use crate::mem2mem;
use crate::queue::Memory;
use crate::stream;
use crate::{devices, locked, names};
use fakecam_table::Counter;
use interpose::{Answer, answer, interpose};

/// An open descriptor.
pub(crate) enum Handle {
    Camera(stream::Handle),
    Encoder(mem2mem::Handle),
}

impl Handle {
    pub(crate) fn device(&self) -> &'static Device {
        match self {
            Self::Camera(camera) => camera.stream().device,
            Self::Encoder(encoder) => encoder.device,
        }
    }

    /// # Safety
    /// As for `device::ioctl`.
    unsafe fn ioctl(&self, fd: c_int, request: u32, argument: *mut c_void) -> Answer {
        match self {
            // SAFETY: as the caller promises.
            Self::Camera(camera) => unsafe { device::ioctl(camera.stream(), fd, request, argument) },
            // SAFETY: as the caller promises.
            Self::Encoder(encoder) => unsafe { mem2mem::ioctl(encoder, fd, request, argument) },
        }
    }

    /// What to map, and from where in it.
    fn map(&self, offset: i64, length: usize) -> Answer<(Memory, i64)> {
        match self {
            Self::Camera(camera) => Ok((camera.stream().map(offset, length)?, offset)),
            Self::Encoder(encoder) => encoder.map(offset, length),
        }
    }

    fn poll_flags(&self, found: i16) -> i16 {
        match self {
            Self::Camera(camera) => camera.stream().poll_flags(found),
            Self::Encoder(_) => found,
        }
    }
}

static OPEN: Mutex<BTreeMap<c_int, Arc<Handle>>> = Mutex::new(BTreeMap::new());

/// A bit for each key of `OPEN`: calls on all other descriptors must not wait for a lock.
static IS_OPEN: [AtomicU64; 1024] = [const { AtomicU64::new(0) }; 1024];

fn bit(fd: c_int) -> Option<(&'static AtomicU64, u64)> {
    let word = usize::try_from(fd).ok().and_then(|fd| IS_OPEN.get(fd / 64))?;
    Some((word, 1 << (fd % 64)))
}

pub(crate) fn camera(fd: c_int) -> Option<Arc<Handle>> {
    let (word, bit) = bit(fd)?;
    if word.load(SeqCst) & bit == 0 { None } else { locked(&OPEN).get(&fd).cloned() }
}

fn remember(fd: c_int, handle: Arc<Handle>) {
    if let Some((word, bit)) = bit(fd) {
        locked(&OPEN).insert(fd, handle);
        word.fetch_or(bit, SeqCst);
    }
}

fn forget(fd: c_int) {
    let Some((word, bit)) = bit(fd) else { return };
    if word.fetch_and(!bit, SeqCst) & bit != 0 {
        let handle = locked(&OPEN).remove(&fd);
        drop(handle); // without the lock: it may wait for the frame thread
    }
}

/// A forked child has no frame threads and perhaps a lock held for ever: no descriptor is a camera there.
pub(crate) fn forget_after_fork() {
    extern "C" fn forget_all() {
        IS_OPEN.iter().for_each(|word| word.store(0, SeqCst));
    }
    // SAFETY: the handler only stores to a static array.
    unsafe { libc::pthread_atfork(None, None, Some(forget_all)) };
}

fn open_camera(device: &'static Device, flags: c_int) -> Answer<c_int> {
    let opened = match device.spec.is_encoder() {
        true => mem2mem::Handle::open(device, flags).map(|(handle, fd)| (Handle::Encoder(handle), fd)),
        false => stream::Handle::open(device, flags).map(|(handle, fd)| (Handle::Camera(handle), fd)),
    };
    let (handle, fd) = opened.map_err(|error| error.raw_os_error().unwrap_or(libc::EIO))?;
    remember(fd.as_raw_fd(), Arc::new(handle));
    Ok(fd.into_raw_fd())
}

/// After a duplication of `fd`.
fn share(fd: c_int, copy: c_int) -> c_int {
    if copy >= 0
        && let Some(handle) = camera(fd)
    {
        remember(copy, handle);
    }
    copy
}

/// Requests that concern the descriptor, not the device; the socket answers them.
const OF_DESCRIPTOR: [c_ulong; 3] = [libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX];

interpose! {
    fn [open open64](path: *const c_char, flags: c_int, mode: c_uint) -> c_int = |real| {
        let device = names::device(libc::AT_FDCWD, path);
        device.map_or_else(|| real(path, flags, mode), |device| answer(open_camera(device, flags)))
    }

    fn [openat openat64](at: c_int, path: *const c_char, flags: c_int, mode: c_uint) -> c_int = |real| {
        let device = names::device(at, path);
        device.map_or_else(|| real(at, path, flags, mode), |device| answer(open_camera(device, flags)))
    }

    fn [close](fd: c_int) -> c_int = |real| {
        forget(fd);
        real(fd)
    }

    fn [ioctl](fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int = |real| {
        match camera(fd) {
            Some(handle) if !OF_DESCRIPTOR.contains(&request) => {
                // SAFETY: the program promises the kernel, and so us, the right argument.
                answer(unsafe { handle.ioctl(fd, request as u32, argument) }.map(|()| 0))
            }
            other => {
                // The type of the request, as `_IOC_TYPE` takes it.
                if other.is_none() && request >> 8 & 0xff == c_ulong::from(b'V') {
                    devices().iter().take(1).for_each(|device| _ = device.table.add(Counter::StrayIoctls, 1));
                }
                real(fd, request, argument)
            }
        }
    }

    fn [mmap mmap64](
        at: *mut c_void, length: usize, access: c_int, flags: c_int, fd: c_int, offset: i64
    ) -> *mut c_void = |real| {
        let Some(handle) = camera(fd) else { return real(at, length, access, flags, fd, offset) };
        match handle.map(offset, length) {
            Ok((memory, offset)) => real(at, length, access, flags, memory.file.as_raw_fd(), offset),
            Err(errno) => {
                answer(Err(errno));
                libc::MAP_FAILED
            }
        }
    }

    fn [ppoll](
        fds: *mut libc::pollfd, count: libc::nfds_t, timeout: *const libc::timespec, mask: *const libc::sigset_t
    ) -> c_int = |real| {
        let ready = real(fds, count, timeout, mask);
        if ready > 0 {
            for index in 0..count as usize {
                // SAFETY: the program promises as many entries.
                let entry = unsafe { &mut *fds.add(index) };
                if let Some(handle) = camera(entry.fd) {
                    entry.revents = handle.poll_flags(entry.revents) & (entry.events | 0x38);
                }
            }
        }
        ready
    }

    fn [read](fd: c_int, buffer: *mut c_void, length: usize) -> isize = |real| {
        if camera(fd).is_some() { answer(Err(libc::EINVAL)) as isize } else { real(fd, buffer, length) }
    }

    fn [fcntl fcntl64](fd: c_int, command: c_int, argument: c_long) -> c_int = |real| {
        let result = real(fd, command, argument);
        if matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) { share(fd, result) } else { result }
    }

    fn [dup](fd: c_int) -> c_int = |real| { share(fd, real(fd)) }
}
