//! Capture from devices that rscam cannot drive. Two ioctls a frame: VIDIOC_DQBUF, which tells all of a frame, and VIDIOC_QBUF.
//!
//! Which capture serves a device is decided in `capture_node`.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::AsFd;

use super::buffer_ioctls::{BufferInfo, Mapping};
use super::format_ioctls::MAX_PLANES;
use super::ioctl::{BufferType, Device};
use super::planes::{PictureLayout, PictureMemory};
use super::timing_ioctls::DvTimings;

/// Buffers that are shared with the driver: one is filled, one is full, one is encoded, one is in reserve.
const BUFFERS: u32 = 4;

/// A device that streams.
#[derive(Debug)]
pub(in crate::camera) struct MmapCapture {
    /// For each buffer its planes. Unmapped before the node is closed, so that the driver can free them.
    buffers: Vec<Vec<Mapping>>,
    node: File,
    buffer_type: BufferType,
    layout: PictureLayout,
    /// Those of the digital signal that the device is set to.
    timings: Option<DvTimings>,
    /// The last picture whose fields were put together.
    woven: Vec<u8>,
}

/// A call that failed, and how.
pub(super) type FailedCall = (&'static str, io::Error);

impl MmapCapture {
    /// Starts streaming from `node` in the format that is set.
    pub(super) fn start(
        node: File,
        buffer_type: BufferType,
        layout: PictureLayout,
        timings: Option<DvTimings>,
    ) -> Result<Self, FailedCall> {
        let mut capture = Self { buffers: Vec::new(), node, buffer_type, layout, timings, woven: Vec::new() };
        let device = Device::new(capture.node.as_fd());
        let count =
            device.request_buffers(buffer_type, BUFFERS).map_err(|error| ("VIDIOC_REQBUFS", error))?;
        if count == 0 {
            return Err(("VIDIOC_REQBUFS", io::Error::other("the driver has no memory for buffers")));
        }
        // A driver may make more than were requested, and queues only those that it is given.
        for index in 0..count.min(BUFFERS) {
            let areas = device.plane_areas(buffer_type, index).map_err(|error| ("VIDIOC_QUERYBUF", error))?;
            let planes: io::Result<Vec<Mapping>> =
                areas.into_iter().map(|area| Mapping::new(device.fd(), area)).collect();
            capture.buffers.push(planes.map_err(|error| ("mmap", error))?);
            device.queue(buffer_type, index).map_err(|error| ("VIDIOC_QBUF", error))?;
        }
        device.stream_on(buffer_type).map_err(|error| ("VIDIOC_STREAMON", error))?;
        Ok(capture)
    }

    pub(super) fn device(&self) -> Device<'_> {
        Device::new(self.node.as_fd())
    }

    /// Takes the events that wait. Whether the input receives another signal than the one that is set, or none. Some drivers send
    /// the event without a change, for example whenever a stream starts.
    pub(super) fn take_source_change(&self) -> bool {
        let is_same =
            |set: &DvTimings| self.device().detect_timings().is_ok_and(|now| now.is_same_signal(set));
        self.device().take_source_change() && !self.timings.as_ref().is_some_and(is_same)
    }

    /// Dequeues a filled buffer and passes it to `sink`: the picture, and what the driver says of the buffer. The buffer is
    /// queued again when this returns.
    ///
    /// # Errors
    /// `WouldBlock` when no buffer is filled.
    pub(super) fn dequeue(&mut self, sink: impl FnOnce(PictureMemory<'_>, BufferInfo)) -> io::Result<()> {
        let Self { buffers, node, buffer_type, layout, woven, .. } = self;
        let device = Device::new(node.as_fd());
        let dequeued = device.dequeue(*buffer_type)?;
        let unknown = || io::Error::other(format!("the driver returned buffer {}", dequeued.index));
        let planes = buffers.get(dequeued.index as usize).ok_or_else(unknown)?;
        if dequeued.info.is_damaged {
            sink(PictureMemory::Whole(&[]), dequeued.info);
        } else {
            let mut memory: [&[u8]; MAX_PLANES] = Default::default();
            for ((bytes, mapping), filled) in memory.iter_mut().zip(planes).zip(dequeued.planes) {
                let all = mapping.bytes();
                let end = filled.bytes_used.min(all.len());
                *bytes = all.get(filled.data_offset..end).unwrap_or_default();
            }
            layout.pass(&memory, woven, |picture| sink(picture, dequeued.info));
        }
        device.queue(*buffer_type, dequeued.index)
    }
}

impl Drop for MmapCapture {
    fn drop(&mut self) {
        // Fails if the device is gone. Closing the node ends the stream in any case.
        let _ = self.device().stream_off(self.buffer_type);
    }
}
