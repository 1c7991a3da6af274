//! The buffers of a stream, where each is, and the bytes in the program's socket that tell poll.
//! A queue without our end of a socket pair tells nothing.
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

/// Invariant: as many bytes wait in the program's socket as there are buffers in `done`, and events.
#[derive(Default)]
pub(crate) struct Queue {
    /// Our end of the socket pair; none once the camera is gone.
    pub(crate) peer: Option<UnixStream>,
    /// Added to where its buffers are mapped.
    base: u64,
    /// Its timestamps are those of the buffers that its content was made from.
    copies_stamps: bool,
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
    /// `V4L2_FIELD_*`.
    field: u32,
    shot: Shot,
}

/// A file for all buffers. The program maps it; mappings outlive it.
#[derive(Clone)]
pub(crate) struct Memory {
    pub(crate) file: Arc<File>,
    /// For each plane where it begins in a buffer, and its length.
    planes: Vec<(usize, usize)>,
    /// Bytes that are left free at the start of each plane.
    data_offset: usize,
    /// From one buffer to the next.
    pitch: usize,
}

impl Memory {
    fn new(count: usize, lengths: &[usize], data_offset: usize) -> io::Result<Self> {
        // SAFETY: the name is a C string; touches no memory.
        let fd = unsafe { libc::memfd_create(c"fakecam".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: a new descriptor that nobody else owns.
        let file = Arc::new(unsafe { File::from_raw_fd(fd) });
        let (mut planes, mut pitch) = (Vec::new(), 0);
        for length in lengths {
            planes.push((pitch, length + data_offset));
            pitch += (length + data_offset).next_multiple_of(PAGE);
        }
        file.set_len((count * pitch) as u64)?;
        Ok(Self { file, planes, data_offset, pitch })
    }

    /// The first plane.
    pub(crate) fn read(&self, index: usize, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, (index * self.pitch) as u64)
    }

    pub(crate) fn write(&self, index: usize, mut bytes: &[u8]) -> io::Result<()> {
        for (start, length) in &self.planes {
            let (own, rest) = bytes.split_at(bytes.len().min(length - self.data_offset));
            self.file.write_all_at(own, (index * self.pitch + start + self.data_offset) as u64)?;
            bytes = rest;
        }
        Ok(())
    }
}

impl Queue {
    /// One of the two queues of a memory-to-memory device.
    pub(crate) fn of_converter(peer: Option<UnixStream>, base: u64) -> Self {
        Self { peer, base, copies_stamps: true, ..Self::default() }
    }

    pub(crate) fn is_allocated(&self) -> bool {
        self.memory.is_some()
    }

    /// With planes of these lengths in each buffer.
    pub(crate) fn allocate(&mut self, count: usize, lengths: &[usize], offset: usize) -> io::Result<()> {
        self.memory = Some(Memory::new(count, lengths, offset)?);
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
        let plane = memory.planes.iter().find(|(start, _)| offset % memory.pitch == *start);
        let fits = plane.is_some_and(|(_, most)| length <= most.next_multiple_of(PAGE));
        ensure(fits && offset / memory.pitch < self.buffers.len(), libc::EINVAL)?;
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

    /// What the program says of a buffer that it has filled.
    pub(crate) fn fill(&mut self, index: usize, used: u32, stamp_ns: u64) {
        (self.buffers[index].shot.used, self.buffers[index].shot.stamp_ns) = (used, stamp_ns);
    }

    pub(crate) fn shot(&self, index: usize) -> &Shot {
        &self.buffers[index].shot
    }

    pub(crate) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// The buffer for the frame that is due now.
    pub(crate) fn next_waiting(&mut self) -> Option<(usize, Memory)> {
        self.waiting.pop_front().zip(self.memory.clone())
    }

    pub(crate) fn finish(&mut self, index: usize, sequence: u32, field: u32, shot: Shot) {
        self.buffers[index] = Buffer { queued: true, sequence, field, shot };
        self.done.push_back(index);
        self.wake();
    }

    /// Whether a frame waits for the program.
    pub(crate) fn is_ready(&self) -> bool {
        !self.done.is_empty()
    }

    /// Puts a byte into the program's socket.
    pub(crate) fn wake(&self) {
        if let Some(peer) = &self.peer {
            let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
            // SAFETY: sends one constant byte.
            unsafe { libc::send(peer.as_raw_fd(), b".".as_ptr().cast(), 1, flags) };
        }
    }

    /// Gives the oldest finished frame to the program, whose descriptor is `fd`.
    pub(crate) fn dequeue(&mut self, fd: c_int) -> Option<(usize, &Shot)> {
        let index = self.done.pop_front()?;
        if self.peer.is_some() {
            take_bytes(fd, 1);
        }
        self.buffers[index].queued = false;
        Some((index, &self.buffers[index].shot))
    }

    /// Takes all buffers back. Without the program's descriptor its socket is of no more use.
    pub(crate) fn halt(&mut self, fd: Option<c_int>) {
        if let Some(fd) = fd.filter(|_| self.peer.is_some()) {
            take_bytes(fd, self.done.len());
        }
        self.waiting.clear();
        self.done.clear();
        self.buffers.iter_mut().for_each(|buffer| buffer.queued = false);
    }

    /// What QUERYBUF says of a buffer.
    pub(crate) fn describe(&self, index: usize, out: &mut vd::Buffer) -> Answer {
        let buffer = self.buffers.get(index).ok_or(libc::EINVAL)?;
        let Memory { planes, pitch, data_offset, .. } = self.memory.as_ref().ok_or(libc::EINVAL)?;
        let (program_planes, room) = (out.offset as *mut vd::Plane, out.length as usize);
        let stamp_ns = buffer.shot.stamp_ns;
        *out = vd::Buffer { index: index as u32, kind: out.kind, ..Default::default() };
        (out.memory, out.field) = (vd::MEMORY_MMAP, buffer.field.max(vd::FIELD_NONE));
        out.sequence = buffer.sequence;
        if out.kind == vd::BUF_TYPE_VIDEO_CAPTURE {
            let [(start, length)] = planes[..] else { return Err(libc::EINVAL) };
            (out.offset, out.length) = ((index * pitch + start) as u64, length as u32);
            out.bytesused = buffer.shot.used;
        } else {
            ensure(room >= planes.len() && !program_planes.is_null(), libc::EINVAL)?;
            (out.offset, out.length) = (program_planes as u64, planes.len() as u32);
            let mut left = buffer.shot.used;
            for (at, (start, length)) in planes.iter().enumerate() {
                let content = (length - data_offset) as u32;
                // The last plane has what the driver claims beyond its length.
                let used = if at + 1 == planes.len() { left } else { left.min(content) };
                left -= used;
                let plane = vd::Plane {
                    bytesused: if buffer.shot.used == 0 { 0 } else { used + *data_offset as u32 },
                    length: *length as u32,
                    offset: self.base + (index * pitch + start) as u64,
                    data_offset: *data_offset as u32,
                    ..Default::default()
                };
                // SAFETY: the program promises room for as many planes.
                unsafe { program_planes.add(at).write(plane) };
            }
        }
        out.timestamp.tv_sec = (stamp_ns / 1_000_000_000) as _;
        out.timestamp.tv_usec = (stamp_ns % 1_000_000_000 / 1000) as _;
        let clock = if self.copies_stamps { buf_flag::TIMESTAMP_COPY } else { buf_flag::TIMESTAMP_MONOTONIC };
        out.flags = clock
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
        let error = if self.faults.contains(&Counter::Error) { buf_flag::ERROR } else { 0 };
        error | if self.is_key { buf_flag::KEYFRAME } else { 0 }
    }
}

pub(crate) fn take_bytes(fd: c_int, count: usize) {
    let mut bytes = [0_u8; MOST_BUFFERS];
    // SAFETY: receives no more than fits.
    unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), count.min(MOST_BUFFERS), libc::MSG_DONTWAIT) };
}
