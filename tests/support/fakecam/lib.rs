//! V4L2 cameras that do not exist, for the process this library is LD_PRELOADed into.
//!
//! `open()` of a camera's path returns one end of a socket pair whose state is driven so that the
//! *kernel's own* poll, select and epoll answers are those of a capture device, see [`stream`]. All other
//! calls a program makes on such a descriptor, or to find its path, are answered here.
//!
//! | file | what |
//! |---|---|
//! | `descriptors.rs` | libc calls on descriptors: open, ioctl, mmap, dup, ... |
//! | `names.rs` | libc calls on paths and directories: stat, readlink, readdir, ... |
//! | `spec.rs` | the text in `FAKECAM` that says which cameras there are |
//! | `device.rs` | a camera: identity, formats, rates; sorts ioctls |
//! | `controls.rs` | its controls |
//! | `inputs.rs` | its inputs, and what they receive |
//! | `mem2mem.rs` | an open descriptor of an encoder |
//! | `stream.rs` | an open descriptor: buffers, readiness, the frame thread |
//! | `content.rs` | the pictures and their faults |
//! | `video.rs` | those of H.264 |
//! | `videodev.rs` | the kernel's structs and numbers |
//!
//! What a test sets and reads is in the crate `fakecam-table`.
//!
//! Not here: read() I/O, user pointers, DMABUF, sysfs, udev, and programs that do not go through libc.
//! Events are told by ppoll alone. Unlike a driver's, a descriptor polls no POLLERR before STREAMON.
mod content;
mod controls;
mod descriptors;
mod device;
mod inputs;
mod mem2mem;
mod names;
mod queue;
mod spec;
mod stream;
mod video;
mod videodev;

use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use device::Device;

static DEVICES: OnceLock<Vec<Device>> = OnceLock::new();

/// The cameras of this process; none before [`start`] and without `FAKECAM`.
fn devices() -> &'static [Device] {
    DEVICES.get().map_or(&[], Vec::as_slice)
}

/// Runs before `main`. The files it opens pass through our own `open`, which knows no camera yet.
extern "C" fn start() {
    let Ok(text) = std::env::var("FAKECAM") else { return };
    let specs = text.split(';').filter(|spec| !spec.trim().is_empty());
    match specs.map(|spec| Device::new(spec::parse(spec)?)).collect() {
        Ok(devices) => _ = DEVICES.set(devices),
        Err(reason) => eprintln!("fakecam: no cameras: {reason}"),
    }
    descriptors::forget_after_fork();
}

#[used]
#[unsafe(link_section = ".init_array")]
static START: extern "C" fn() = start;

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
