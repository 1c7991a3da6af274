//! The camera between plugging in and pulling out: two threads and a socket.
//!
//! One thread reads what the host wants and answers control transfers, the other completes video transfers in their
//! time. Both write under the lock of the device: an answer to a transfer must not follow the answer that says it
//! was taken back, or the kernel gives the whole device up.
use std::io::{self, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use crate::device::Device;
use crate::stream::Due;
use crate::usb::Setup;
use crate::usbip::{self, Command, Submission};
use crate::vhci;

/// The device and what its threads share.
pub(crate) struct Camera {
    port: u32,
    device: Mutex<Device>,
    /// Rung when there may be something to do, and at the end.
    changed: Condvar,
}

impl Camera {
    pub(crate) fn new(port: u32, device: Device) -> Arc<Self> {
        Arc::new(Self { port, device: Mutex::new(device), changed: Condvar::new() })
    }

    pub(crate) fn device(&self) -> MutexGuard<'_, Device> {
        self.device.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something that the running stream may have waited for.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Device)) {
        change(&mut self.device());
        self.changed.notify_all();
    }
}

/// A camera that is plugged in.
pub(crate) struct Plugged {
    camera: Arc<Camera>,
    socket: UnixStream,
    threads: [JoinHandle<()>; 2],
}

impl Plugged {
    /// Plugs the camera in; the kernel has taken it when this returns, and asks what it is after that.
    pub(crate) fn plug(camera: &Arc<Camera>) -> io::Result<Self> {
        let (ours, theirs) = UnixStream::pair()?;
        camera.device().power_up();
        vhci::attach(camera.port, &theirs)?;
        let (reader, pump) = (ours.try_clone()?, ours.try_clone()?);
        let ended = Arc::new(Mutex::new(false));
        let (for_reader, for_pump) = ((Arc::clone(camera), Arc::clone(&ended)), (Arc::clone(camera), ended));
        let threads = [
            thread::spawn(move || {
                serve(&for_reader.0, reader);
                *for_reader.1.lock().unwrap_or_else(PoisonError::into_inner) = true;
                // After whatever the other thread was about to wait for.
                drop(for_reader.0.device());
                for_reader.0.changed.notify_all();
            }),
            thread::spawn(move || pump_frames(&for_pump.0, &for_pump.1, pump)),
        ];
        Ok(Self { camera: Arc::clone(camera), socket: ours, threads })
    }

    /// Pulls it out; when this returns the port is free again.
    pub(crate) fn unplug(self) -> io::Result<()> {
        // Fails only if the kernel has hung up already.
        let _ = self.socket.shutdown(Shutdown::Both);
        for thread in self.threads {
            let _ = thread.join();
        }
        self.camera.device().stream.reset();
        drop(self.socket);
        vhci::until_free(self.camera.port)
    }
}

/// Reads what the host wants until one of the two hangs up.
///
/// On a slow machine the kernel's vhci driver may take a transfer back before it has sent it. Its end is then told at once,
/// and the transfer, when it comes, is nobody's any more: an answer would make the driver hang up.
fn serve(camera: &Camera, mut socket: UnixStream) {
    let (mut newest, mut taken_back) = (0, Vec::new());
    loop {
        let command = match usbip::read(&mut socket) {
            Ok(command) => command,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return,
            Err(error) => return eprintln!("uvc-camera: {error}"),
        };
        let mut device = camera.device();
        if let Command::Submit(transfer) = &command {
            newest = transfer.sequence;
        }
        let answer = match command {
            Command::Submit(transfer) if taken_back.contains(&transfer.sequence) => {
                taken_back.retain(|&sequence| sequence != transfer.sequence);
                vec![]
            }
            Command::Submit(transfer) if transfer.endpoint == 0 => control(&mut device, &transfer),
            Command::Submit(transfer) => {
                device.stream.submit(transfer);
                vec![]
            }
            // Sequence numbers count up, and transfers are sent in that order.
            Command::Unlink { sequence, victim } if victim > newest => {
                taken_back.push(victim);
                usbip::unlinked(sequence, true)
            }
            Command::Unlink { sequence, victim } => usbip::unlinked(sequence, device.stream.unlink(victim)),
        };
        if socket.write_all(&answer).is_err() {
            return;
        }
        drop(device);
        camera.changed.notify_all();
    }
}

fn control(device: &mut Device, transfer: &Submission) -> Vec<u8> {
    let answer = device.control(Setup::parse(transfer.setup), &transfer.sent);
    usbip::answer(transfer, answer.as_deref().ok_or(libc::EPIPE), &[])
}

/// Completes video transfers until the other thread ends.
fn pump_frames(camera: &Camera, ended: &Mutex<bool>, mut socket: UnixStream) {
    let mut device = camera.device();
    while !*ended.lock().unwrap_or_else(PoisonError::into_inner) {
        let mut out = Vec::new();
        let next = loop {
            match device.stream.due(Instant::now()) {
                Due::Now(done) => {
                    out.extend(usbip::answer(&done.submission, Ok(&done.data), &done.packets));
                }
                Due::At(moment) => break Some(moment),
                Due::Nothing => break None,
            }
        };
        if !out.is_empty() && socket.write_all(&out).is_err() {
            return;
        }
        device = match next {
            Some(moment) => {
                let left = moment.saturating_duration_since(Instant::now());
                camera.changed.wait_timeout(device, left).unwrap_or_else(PoisonError::into_inner).0
            }
            None => camera.changed.wait(device).unwrap_or_else(PoisonError::into_inner),
        };
    }
}
