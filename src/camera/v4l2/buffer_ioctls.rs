//! The ioctls that request, query, queue and dequeue memory-mapped buffers and that start and stop a stream, and the mapping
//! of a buffer. What a buffer holds does not belong here.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::slice;

use nix::libc;

use super::format_ioctls::MAX_PLANES;
use super::ioctl::{BufferType, Device};
use crate::frame::Timestamp;

/// `struct v4l2_requestbuffers`.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawRequestBuffers {
    count: u32,
    kind: u32,
    memory: u32,
    capabilities: u32,
    flags: u32,
}

/// `struct v4l2_buffer`. `union` is the offset of a single-planar buffer, or the address of the planes.
#[repr(C)]
#[derive(Clone, Copy)]
struct RawBuffer {
    index: u32,
    kind: u32,
    bytes_used: u32,
    flags: u32,
    field: u32,
    timestamp: libc::timeval,
    timecode: [u32; 4],
    sequence: u32,
    memory: u32,
    union: usize,
    /// Bytes of a single-planar buffer, or the number of planes.
    length: u32,
    reserved: [u32; 2],
}

/// `struct v4l2_plane`. `union` is the offset.
#[repr(C)]
#[derive(Clone, Copy, Default)]
struct RawPlane {
    bytes_used: u32,
    length: u32,
    union: usize,
    data_offset: u32,
    reserved: [u32; 11],
}

const BUF_FLAG_KEYFRAME: u32 = 0x0000_0008;
const BUF_FLAG_ERROR: u32 = 0x0000_0040;
const BUF_FLAG_TIMESTAMP_MASK: u32 = 0x0000_e000;
const BUF_FLAG_TIMESTAMP_MONOTONIC: u32 = 0x0000_2000;
/// `V4L2_MEMORY_MMAP`.
const MMAP: u32 = 1;

/// What the driver reports of a buffer.
#[derive(Clone, Copy, Debug)]
pub(in crate::camera) struct BufferInfo {
    /// The driver's timestamp in microseconds.
    pub(in crate::camera) timestamp_us: u64,
    /// The timestamp is of CLOCK_MONOTONIC.
    pub(in crate::camera) is_monotonic: bool,
    /// The content is damaged.
    pub(in crate::camera) is_damaged: bool,
    /// The driver's frame number. It also counts frames for which there was no buffer.
    pub(in crate::camera) sequence: u32,
}

/// Where a plane of a buffer can be mapped.
#[derive(Clone, Copy, Debug)]
pub(super) struct PlaneArea {
    pub(super) offset: usize,
    pub(super) length: usize,
}

/// The bytes of a plane that the driver has filled, as it says.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct FilledPlane {
    pub(super) data_offset: usize,
    pub(super) bytes_used: usize,
}

/// A buffer that was dequeued.
#[derive(Clone, Copy, Debug)]
pub(super) struct DequeuedBuffer {
    pub(super) index: u32,
    pub(super) info: BufferInfo,
    /// The driver says that a decoder can start with it.
    pub(super) is_key: bool,
    pub(super) planes: [FilledPlane; MAX_PLANES],
    /// Where a single-planar buffer can be mapped, if the driver says so.
    pub(super) area: Option<PlaneArea>,
}

mod calls {
    nix::ioctl_readwrite!(reqbufs, b'V', 8, super::RawRequestBuffers);
    nix::ioctl_readwrite!(querybuf, b'V', 9, super::RawBuffer);
    nix::ioctl_readwrite!(qbuf, b'V', 15, super::RawBuffer);
    nix::ioctl_readwrite!(dqbuf, b'V', 17, super::RawBuffer);
    nix::ioctl_write_ptr!(streamon, b'V', 18, i32);
    nix::ioctl_write_ptr!(streamoff, b'V', 19, i32);
}

/// A call that takes a `struct v4l2_buffer`.
type BufferCall = unsafe fn(i32, *mut RawBuffer) -> nix::Result<i32>;

impl Device<'_> {
    /// VIDIOC_REQBUFS: requests buffers that can be mapped; returns how many the driver made.
    pub(super) fn request_buffers(self, buffers: BufferType, count: u32) -> io::Result<u32> {
        let mut raw =
            RawRequestBuffers { count, kind: buffers as u32, memory: MMAP, capabilities: 0, flags: 0 };
        // SAFETY: the kernel reads and writes one v4l2_requestbuffers, which is the layout of `raw`.
        unsafe { calls::reqbufs(self.fd().as_raw_fd(), &mut raw) }?;
        Ok(raw.count)
    }

    /// VIDIOC_QUERYBUF: the planes of buffer `index`.
    pub(super) fn plane_areas(self, buffers: BufferType, index: u32) -> io::Result<Vec<PlaneArea>> {
        let (raw, planes) = self.buffer_call(calls::querybuf, buffers, index)?;
        if buffers == BufferType::Capture {
            return Ok(vec![area(&raw)]);
        }
        let planes = planes.iter().take((raw.length as usize).min(MAX_PLANES));
        let of_plane = |plane: &RawPlane| PlaneArea {
            offset: plane.union & u32::MAX as usize,
            length: plane.length as usize,
        };
        Ok(planes.map(of_plane).collect())
    }

    /// VIDIOC_QBUF: gives buffer `index` to the driver.
    pub(super) fn queue(self, buffers: BufferType, index: u32) -> io::Result<()> {
        self.buffer_call(calls::qbuf, buffers, index).map(drop)
    }

    /// VIDIOC_QBUF: gives buffer `index`, whose only plane has `bytes` of a picture of this time, to an encoder.
    pub(super) fn queue_picture(self, index: u32, bytes: usize, at: Timestamp) -> io::Result<()> {
        let buffers = BufferType::OutputMplane;
        let mut planes = [RawPlane::default(); MAX_PLANES];
        planes[0].bytes_used = bytes.try_into().map_err(io::Error::other)?;
        let mut raw = raw_buffer(buffers, index, &mut planes);
        raw.timestamp.tv_sec = (at.0 / 1_000_000) as _;
        raw.timestamp.tv_usec = (at.0 % 1_000_000) as _;
        // SAFETY: as in `buffer_call`.
        unsafe { calls::qbuf(self.fd().as_raw_fd(), &mut raw) }?;
        Ok(())
    }

    /// VIDIOC_DQBUF: takes a filled buffer from the driver.
    ///
    /// # Errors
    /// `WouldBlock` when no buffer is filled.
    pub(super) fn dequeue(self, buffers: BufferType) -> io::Result<DequeuedBuffer> {
        let (raw, planes) = self.buffer_call(calls::dqbuf, buffers, 0)?;
        let filled = match buffers {
            BufferType::Capture => {
                let mut filled = [FilledPlane::default(); MAX_PLANES];
                filled[0].bytes_used = raw.bytes_used as usize;
                filled
            }
            BufferType::CaptureMplane | BufferType::OutputMplane => planes.map(|plane| FilledPlane {
                data_offset: plane.data_offset as usize,
                bytes_used: plane.bytes_used as usize,
            }),
        };
        let is_key = raw.flags & BUF_FLAG_KEYFRAME != 0;
        let is_told = buffers == BufferType::Capture && raw.length > 0;
        Ok(DequeuedBuffer {
            index: raw.index,
            info: info(buffers, &raw, &planes),
            is_key,
            planes: filled,
            area: is_told.then(|| area(&raw)),
        })
    }

    /// VIDIOC_STREAMON.
    pub(super) fn stream_on(self, buffers: BufferType) -> io::Result<()> {
        // SAFETY: the kernel reads one int.
        unsafe { calls::streamon(self.fd().as_raw_fd(), &(buffers as i32)) }?;
        Ok(())
    }

    /// VIDIOC_STREAMOFF.
    pub(super) fn stream_off(self, buffers: BufferType) -> io::Result<()> {
        // SAFETY: the kernel reads one int.
        unsafe { calls::streamoff(self.fd().as_raw_fd(), &(buffers as i32)) }?;
        Ok(())
    }

    /// Calls `call` for buffer `index`.
    fn buffer_call(
        self,
        call: BufferCall,
        buffers: BufferType,
        index: u32,
    ) -> io::Result<(RawBuffer, [RawPlane; MAX_PLANES])> {
        let mut planes = [RawPlane::default(); MAX_PLANES];
        let mut raw = raw_buffer(buffers, index, &mut planes);
        // SAFETY: the kernel reads and writes one v4l2_buffer, which is the layout of `raw`, and with a multi-planar type at
        // most `length` v4l2_planes at the address of `planes`, which are as many and have that layout.
        unsafe { call(self.fd().as_raw_fd(), &mut raw) }?;
        Ok((raw, planes))
    }
}

/// Buffer `index`; a multi-planar one has the address of `planes`, which live as long as it is used.
fn raw_buffer(buffers: BufferType, index: u32, planes: &mut [RawPlane; MAX_PLANES]) -> RawBuffer {
    let is_multi = buffers.is_multi_planar();
    RawBuffer {
        index,
        kind: buffers as u32,
        bytes_used: 0,
        flags: 0,
        field: 0,
        timestamp: libc::timeval { tv_sec: 0, tv_usec: 0 },
        timecode: [0; 4],
        sequence: 0,
        memory: MMAP,
        union: if is_multi { planes.as_mut_ptr().expose_provenance() } else { 0 },
        length: if is_multi { MAX_PLANES as u32 } else { 0 },
        reserved: [0; 2],
    }
}

/// Where a single-planar buffer can be mapped.
fn area(raw: &RawBuffer) -> PlaneArea {
    // The offset is 32 bits of the union.
    PlaneArea { offset: raw.union & u32::MAX as usize, length: raw.length as usize }
}

fn info(buffers: BufferType, raw: &RawBuffer, planes: &[RawPlane; MAX_PLANES]) -> BufferInfo {
    // If a driver claims more bytes than the buffer has, nothing may be read from it.
    let overflows = match buffers {
        BufferType::Capture => raw.bytes_used > raw.length,
        BufferType::CaptureMplane | BufferType::OutputMplane => {
            planes.iter().any(|plane| plane.bytes_used > plane.length)
        }
    };
    let (seconds, microseconds) = (raw.timestamp.tv_sec as u64, raw.timestamp.tv_usec as u64);
    BufferInfo {
        timestamp_us: seconds.wrapping_mul(1_000_000).wrapping_add(microseconds),
        is_monotonic: raw.flags & BUF_FLAG_TIMESTAMP_MASK == BUF_FLAG_TIMESTAMP_MONOTONIC,
        is_damaged: raw.flags & BUF_FLAG_ERROR != 0 || overflows,
        sequence: raw.sequence,
    }
}

/// A plane of a buffer in the memory of this process.
#[derive(Debug)]
pub(super) struct Mapping {
    address: NonNull<libc::c_void>,
    length: usize,
}

// SAFETY: the memory belongs to the mapping alone, and any thread may read or unmap it.
unsafe impl Send for Mapping {}

impl Mapping {
    /// Maps `area` of the device, to be read.
    pub(super) fn new(fd: BorrowedFd<'_>, area: PlaneArea) -> io::Result<Self> {
        Self::with_access(fd, area, libc::PROT_READ)
    }

    fn with_access(fd: BorrowedFd<'_>, area: PlaneArea, access: i32) -> io::Result<Self> {
        let PlaneArea { offset, length } = area;
        let too_large = |_| io::Error::from(io::ErrorKind::InvalidInput);
        let offset = libc::off_t::try_from(offset).map_err(too_large)?;
        let (flags, fd) = (libc::MAP_SHARED, fd.as_raw_fd());
        // SAFETY: a new mapping at an address that the kernel chooses.
        let address = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, fd, offset) };
        match NonNull::new(address) {
            Some(address) if address.as_ptr() != libc::MAP_FAILED => Ok(Self { address, length }),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The bytes of the plane. The caller reads them only while the buffer is dequeued: before that the driver writes them.
    pub(super) fn bytes(&self) -> &[u8] {
        // SAFETY: the mapping is `length` bytes long and lives as long as `self`. It stays valid when the device is unplugged.
        unsafe { slice::from_raw_parts(self.address.as_ptr().cast(), self.length) }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new` with this length, and no slice of it outlives `self`.
        unsafe { libc::munmap(self.address.as_ptr(), self.length) };
    }
}

/// A plane of a buffer that this process fills.
#[derive(Debug)]
pub(super) struct WritableMapping(Mapping);

impl WritableMapping {
    /// Maps `area` of the device, to be written.
    pub(super) fn new(fd: BorrowedFd<'_>, area: PlaneArea) -> io::Result<Self> {
        Mapping::with_access(fd, area, libc::PROT_READ | libc::PROT_WRITE).map(Self)
    }

    /// The bytes of the plane. The caller writes them only while the buffer is dequeued: after that the driver reads them.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `Mapping::bytes`, and mapped to be written. Every byte is a value, whatever the driver does.
        unsafe { slice::from_raw_parts_mut(self.0.address.as_ptr().cast(), self.0.length) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request numbers of ioctls contain these sizes; a wrong size would be another ioctl.
    #[test]
    fn structures_have_the_sizes_of_the_kernel() {
        let wide = cfg!(target_pointer_width = "64");
        assert_eq!(size_of::<RawRequestBuffers>(), 20);
        assert_eq!(size_of::<RawBuffer>(), if wide { 88 } else { 68 });
        assert_eq!(size_of::<RawPlane>(), if wide { 64 } else { 60 });
    }
}
