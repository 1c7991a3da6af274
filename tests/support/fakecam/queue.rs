//! The buffers of a stream, where each is, and the bytes in the program's socket that tell poll.
//!
//! Bookkeeping as videobuf2 does it. Who may have buffers and when frames come is in `stream.rs`.
use std::collections::VecDeque;
use std::ffi::c_int;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::{fs::FileExt, net::UnixStream};
use std::sync::Arc;

use crate::content::Shot;
use crate::videodev::{self as vd, buf_flag};
use fakecam_table::Counter;
use interpose::{Answer, ensure};

pub(crate) const MOST_BUFFERS: usize = 32;
const PAGE: usize = 4096;

/// Invariant: as many bytes wait in the program's socket as there are buffers in `done`.
#[derive(Default)]
pub(crate) struct Queue {
    /// Our end of the socket pair; none once the camera is gone.
    pub(crate) peer: Option<UnixStream>,
    memory: Option<Memory>,
    buffers: Vec<Buffer>,
    waiting: VecDeque<usize>,
    done: VecDeque<usize>,
}

#[derive(Default)]
struct Buffer {
    /// With the driver; done if it is in `done`.
    queued: bool,
    /// V4L2's own count of frames, from 0 at STREAMON.
    sequence: u32,
    shot: Shot,
}

/// A file for all buffers. The program maps it; mappings outlive it.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) file: Arc<File>,
    length: usize,
    /// From one buffer to the next.
    pitch: usize,
}

impl Memory {
    fn new(count: usize, length: usize) -> io::Result<Self> {
        // SAFETY: the name is a C string; touches no memory.
        let fd = unsafe { libc::memfd_create(c"fakecam".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        let file = Arc::new(unsafe { File::from_raw_fd(fd) });
        let pitch = length.next_multiple_of(PAGE);
        file.set_len((count * pitch) as u64)?;
        Ok(Self { file, length, pitch })
    }

    pub(crate) fn write(&self, index: usize, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, (index * self.pitch) as u64)
    }
}

impl Queue {
    pub(crate) fn is_allocated(&self) -> bool {
        self.memory.is_some()
    }

    pub(crate) fn allocate(&mut self, count: usize, length: usize) -> io::Result<()> {
        self.memory = Some(Memory::new(count, length)?);
        self.buffers.resize_with(count, Buffer::default);
        Ok(())
    }

    pub(crate) fn free(&mut self) {
        self.memory = None;
        self.buffers.clear();
    }

    /// The memory to map for the buffer at this offset.
    pub(crate) fn map(&self, offset: usize, length: usize) -> Answer<Memory> {
        let memory = self.memory.clone().ok_or(libc::EINVAL)?;
        let known = offset.is_multiple_of(memory.pitch) && offset / memory.pitch < self.buffers.len();
        ensure(known && length <= memory.pitch, libc::EINVAL)?;
        Ok(memory)
    }

    pub(crate) fn enqueue(&mut self, index: usize) -> Answer {
        let buffer = self.buffers.get_mut(index).ok_or(libc::EINVAL)?;
        ensure(!buffer.queued, libc::EINVAL)?;
        buffer.queued = true;
        buffer.shot.used = 0;
        self.waiting.push_back(index);
        Ok(())
    }

    /// The buffer for the frame that is due now.
    pub(crate) fn next_waiting(&mut self) -> Option<(usize, Memory)> {
        self.waiting.pop_front().zip(self.memory.clone())
    }

    pub(crate) fn finish(&mut self, index: usize, sequence: u32, shot: Shot) {
        self.buffers[index] = Buffer { queued: true, sequence, shot };
        self.done.push_back(index);
        if let Some(peer) = &self.peer {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: sends one constant byte.
            unsafe { libc::send(peer.as_raw_fd(), b".".as_ptr().cast(), 1, flags) };
        }
    }

    /// Gives the oldest finished frame to the program, whose descriptor is `fd`.
    pub(crate) fn dequeue(&mut self, fd: c_int) -> Option<(usize, &Shot)> {
        let index = self.done.pop_front()?;
        take_bytes(fd, 1);
        self.buffers[index].queued = false;
        Some((index, &self.buffers[index].shot))
    }

    /// Takes all buffers back. Without the program's descriptor its socket is of no more use.
    pub(crate) fn halt(&mut self, fd: Option<c_int>) {
        if let Some(fd) = fd {
            take_bytes(fd, self.done.len());
        }
        self.waiting.clear();
        self.done.clear();
        self.buffers.iter_mut().for_each(|buffer| buffer.queued = false);
    }

    /// What QUERYBUF says of a buffer.
    pub(crate) fn describe(&self, index: usize, out: &mut vd::Buffer) -> Answer {
        let buffer = self.buffers.get(index).ok_or(libc::EINVAL)?;
        let Memory { length, pitch, .. } = self.memory.as_ref().ok_or(libc::EINVAL)?;
        *out = vd::Buffer { index: index as u32, kind: out.kind, ..Default::default() };
        (out.memory, out.field) = (vd::MEMORY_MMAP, vd::FIELD_NONE);
        (out.offset, out.length) = ((index * pitch) as u64, *length as u32);
        (out.bytesused, out.sequence) = (buffer.shot.used, buffer.sequence);
        out.timestamp.tv_sec = (buffer.shot.stamp_ns / 1_000_000_000) as _;
        out.timestamp.tv_usec = (buffer.shot.stamp_ns % 1_000_000_000 / 1000) as _;
        out.flags = buf_flag::TIMESTAMP_MONOTONIC
            | match buffer.queued {
                true if self.done.contains(&index) => buf_flag::DONE | buffer.shot.flags(),
                true => buf_flag::QUEUED,
                false => 0,
            };
        Ok(())
    }
}

impl Shot {
    pub(crate) fn flags(&self) -> u32 {
        if self.faults.contains(&Counter::Error) { buf_flag::ERROR } else { 0 }
    }
}

fn take_bytes(fd: c_int, count: usize) {
    let mut bytes = [0_u8; MOST_BUFFERS];
    // SAFETY: receives no more than fits.
    unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), count.min(MOST_BUFFERS), libc::MSG_DONTWAIT) };
}
