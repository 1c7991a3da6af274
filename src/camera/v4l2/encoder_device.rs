//! A memory-to-memory encoder for H.264: pictures go into its OUTPUT queue, access units come from its CAPTURE queue (kernel
//! documentation, "Memory-to-memory Stateful Video Encoder Interface").
//!
//! When to wait, and for how long, does not belong here.
#![forbid(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use log::debug;

use super::buffer_ioctls::{Mapping, PlaneArea, WritableMapping};
use super::controls::{FORCE_KEY_FRAME, force_key_frame, read_controls, write_value};
use super::format_ioctls::{DriverFormat, FrameInterval};
use super::ioctl::{BufferType, Capability, Device};
use super::nodes::{H264_FOURCC, RAW_FOURCCS, look_at, open_node, video_nodes};
use crate::camera::control::Control;
use crate::frame::{Resolution, Timestamp};
use crate::h264::I420Picture;

/// Pictures that an encoder may have at a time: one is encoded, one waits, and those that it keeps back. With fewer it has to
/// wait; each takes the memory of a picture.
const RAW_BUFFERS: u32 = 4;
/// Access units that wait to be taken.
const CODED_BUFFERS: u32 = 4;
/// Bytes of a buffer for an access unit at least. The driver of the Raspberry Pi chooses as many by itself.
const MIN_CODED_BYTES: u32 = 512 << 10;
/// `V4L2_FIELD_NONE`.
const FIELD_NONE: u32 = 1;

/// Controls of an encoder, by their ids in linux/v4l2-controls.h.
mod control_id {
    pub(super) const BITRATE_MODE: u32 = 0x0099_09ce;
    pub(super) const BITRATE: u32 = 0x0099_09cf;
    pub(super) const GOP_SIZE: u32 = 0x0099_09cb;
    pub(super) const FRAME_RATE_CONTROL: u32 = 0x0099_09d7;
    pub(super) const HEADER_MODE: u32 = 0x0099_09d8;
    pub(super) const REPEAT_HEADERS: u32 = 0x0099_09e2;
    pub(super) const I_PERIOD: u32 = 0x0099_0a66;
    pub(super) const LEVEL: u32 = 0x0099_0a67;
    pub(super) const PROFILE: u32 = 0x0099_0a6b;
    pub(super) const HEADERS_BEFORE_KEYS: u32 = 0x0099_0b84;
}

/// `enum v4l2_mpeg_video_h264_profile`, the one with the smallest pictures first. None of them has pictures that are shown in
/// another order (an encoder for cameras makes none), so none adds delay.
const PROFILES: [i64; 4] = [4, 2, 1, 0];
/// `enum v4l2_mpeg_video_h264_level` with the most macroblocks in a picture and in a second (ITU-T H.264, table A-1).
const LEVELS: [(i64, u32, u32); 4] =
    [(9, 3600, 108_000), (11, 8192, 245_760), (13, 8704, 522_240), (15, 36_864, 983_040)];

/// What an encoder is to do.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::camera) struct EncoderMode {
    pub(in crate::camera) resolution: Resolution,
    /// Pictures a second.
    pub(in crate::camera) frame_rate: f32,
    pub(in crate::camera) bits_per_second: u32,
    /// Pictures from one key frame to the next.
    pub(in crate::camera) key_interval: u32,
}

/// Why an encoder does not start.
#[derive(Debug)]
pub(in crate::camera) enum EncoderFailure {
    /// A call failed.
    Call(&'static str, io::Error),
    /// It does not take pictures of this size, but of this one.
    Size(u32, u32),
    /// It takes no format that is known here.
    Format,
}

/// The first encoder of this machine, if there is any. Asks all nodes, which takes up to a second if one hangs.
pub(in crate::camera) fn find_encoder() -> Option<(PathBuf, Capability)> {
    let reports = look_at(&video_nodes());
    let encoder = reports.into_iter().find(|report| report.is_encoder)?;
    Some((encoder.path, encoder.capability))
}

/// An encoder that runs.
#[derive(Debug)]
pub(in crate::camera) struct EncoderDevice {
    raw: Vec<WritableMapping>,
    coded: Vec<Mapping>,
    node: File,
    layout: RawLayout,
    /// Buffers for pictures that the encoder does not have.
    free: Vec<u32>,
    forces_key_frames: bool,
}

/// How a picture lies in a buffer: its planes one after the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RawLayout {
    has_chroma_pairs: bool,
    /// Bytes from one line of the luma plane to the next.
    stride: usize,
    /// Lines of the luma plane.
    lines: usize,
    /// Bytes of the picture.
    bytes: usize,
}

impl EncoderDevice {
    /// Opens the encoder at `path` and starts it.
    pub(in crate::camera) fn start(path: &Path, mode: &EncoderMode) -> Result<Self, EncoderFailure> {
        let failed = |call| move |error| EncoderFailure::Call(call, error);
        let node = open_node(path).map_err(failed("open"))?;
        let device = Device::new(node.as_fd());
        // In the order of the kernel's documentation: what comes out, what goes in, its margins, its rate, the controls.
        let layout = set_formats(device, mode)?;
        set_rate(device, mode.frame_rate);
        let controls = read_controls(device).map_err(failed("VIDIOC_QUERY_EXT_CTRL"))?;
        set_controls(device, &controls, mode);
        let forces_key_frames = controls.iter().any(|control| control.id == FORCE_KEY_FRAME);
        let raw = buffers(device, BufferType::OutputMplane, RAW_BUFFERS)?;
        let raw: io::Result<Vec<_>> =
            raw.into_iter().map(|area| WritableMapping::new(device.fd(), area)).collect();
        let mut raw = raw.map_err(failed("mmap"))?;
        if raw.iter_mut().any(|buffer| buffer.bytes_mut().len() < layout.bytes) {
            let error = io::Error::other("the driver's buffers are smaller than a picture");
            return Err(EncoderFailure::Call("VIDIOC_QUERYBUF", error));
        }
        let coded = buffers(device, BufferType::CaptureMplane, CODED_BUFFERS)?;
        let coded: io::Result<Vec<_>> =
            coded.into_iter().map(|area| Mapping::new(device.fd(), area)).collect();
        let coded = coded.map_err(failed("mmap"))?;
        for index in 0..coded.len() as u32 {
            device.queue(BufferType::CaptureMplane, index).map_err(failed("VIDIOC_QBUF"))?;
        }
        for buffers in [BufferType::OutputMplane, BufferType::CaptureMplane] {
            device.stream_on(buffers).map_err(failed("VIDIOC_STREAMON"))?;
        }
        let free = (0..raw.len() as u32).rev().collect();
        Ok(Self { raw, coded, node, layout, free, forces_key_frames })
    }

    fn device(&self) -> Device<'_> {
        Device::new(self.node.as_fd())
    }

    /// Can be read when there is an access unit.
    pub(in crate::camera) fn fd(&self) -> BorrowedFd<'_> {
        self.node.as_fd()
    }

    /// Asks for a key frame. Returns whether the encoder can be asked.
    pub(in crate::camera) fn force_key_frame(&self) -> io::Result<bool> {
        if self.forces_key_frames {
            force_key_frame(self.device())?;
        }
        Ok(self.forces_key_frames)
    }

    /// Takes back the buffers of pictures that are encoded. Returns how many pictures the encoder can be given.
    pub(in crate::camera) fn take_back(&mut self) -> io::Result<usize> {
        while self.free.len() < self.raw.len() {
            match Device::new(self.node.as_fd()).dequeue(BufferType::OutputMplane) {
                Ok(buffer)
                    if (buffer.index as usize) < self.raw.len() && !self.free.contains(&buffer.index) =>
                {
                    self.free.push(buffer.index);
                }
                Ok(buffer) => {
                    return Err(io::Error::other(format!("the driver returned buffer {}", buffer.index)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(self.free.len())
    }

    /// Gives the encoder a picture of the size that it was started with.
    ///
    /// # Errors
    /// `WouldBlock` when it has as many as it can have.
    pub(in crate::camera) fn give(&mut self, picture: &I420Picture<'_>, at: Timestamp) -> io::Result<()> {
        let Some(index) = self.free.pop() else { return Err(io::ErrorKind::WouldBlock.into()) };
        let Self { raw, node, layout, .. } = self;
        layout.write(picture, &mut raw[index as usize].bytes_mut()[..layout.bytes]);
        let queued = Device::new(node.as_fd()).queue_picture(index, layout.bytes, at);
        queued.inspect_err(|_| self.free.push(index))
    }

    /// Takes what was encoded and passes it to `sink`: its bytes, the time of its picture, whether the driver calls it a key
    /// frame. The bytes are empty if the encoder failed on a picture.
    ///
    /// # Errors
    /// `WouldBlock` when there is nothing.
    pub(in crate::camera) fn take(&mut self, sink: impl FnOnce(&[u8], Timestamp, bool)) -> io::Result<()> {
        let buffers = BufferType::CaptureMplane;
        let device = Device::new(self.node.as_fd());
        let dequeued = device.dequeue(buffers)?;
        let unknown = || io::Error::other(format!("the driver returned buffer {}", dequeued.index));
        let memory = self.coded.get(dequeued.index as usize).ok_or_else(unknown)?.bytes();
        let filled = dequeued.planes[0];
        let unit = memory.get(filled.data_offset..filled.bytes_used.min(memory.len())).unwrap_or_default();
        let unit = if dequeued.info.is_damaged { &[] } else { unit };
        sink(unit, Timestamp(dequeued.info.timestamp_us), dequeued.is_key);
        device.queue(buffers, dequeued.index)
    }
}

impl Drop for EncoderDevice {
    fn drop(&mut self) {
        for buffers in [BufferType::OutputMplane, BufferType::CaptureMplane] {
            // Fails if the device is gone. Closing the node ends the stream in any case.
            let _ = self.device().stream_off(buffers);
        }
    }
}

/// Sets both formats and what is encoded of a picture; returns how pictures lie in memory.
fn set_formats(device: Device<'_>, mode: &EncoderMode) -> Result<RawLayout, EncoderFailure> {
    let failed = |error| EncoderFailure::Call("VIDIOC_S_FMT", error);
    let Resolution { width, height } = mode.resolution;
    let size = (u32::from(width), u32::from(height));
    let coded_bytes = MIN_CODED_BYTES.max(size.0 * size.1 / 2);
    let coded = BufferType::CaptureMplane;
    device.set_format_of_bytes(coded, H264_FOURCC, size, FIELD_NONE, coded_bytes).map_err(failed)?;
    let offered: Vec<[u8; 4]> = device.fourccs(BufferType::OutputMplane).collect();
    let fourcc = RAW_FOURCCS.into_iter().find(|code| offered.contains(code)).ok_or(EncoderFailure::Format)?;
    let set = device.set_format(BufferType::OutputMplane, fourcc, size, FIELD_NONE).map_err(failed)?;
    if set.fourcc != fourcc {
        return Err(EncoderFailure::Format);
    }
    if set.width < size.0 || set.height < size.1 {
        return Err(EncoderFailure::Size(set.width, set.height));
    }
    if (set.width, set.height) != size {
        // Without it what fills the picture up to whole macroblocks would be shown.
        let margins = device.set_encoded_size(size);
        margins.map_err(|error| EncoderFailure::Call("VIDIOC_S_SELECTION", error))?;
    }
    RawLayout::of(&set).ok_or(EncoderFailure::Format)
}

/// Tells the encoder the rate of the pictures, by which it shares out its bits. Some know it from the times of the pictures.
fn set_rate(device: Device<'_>, frame_rate: f32) {
    let interval = FrameInterval { numerator: 1000, denominator: (frame_rate.max(1.0) * 1000.0) as u32 };
    if let Err(error) = device.set_interval(BufferType::OutputMplane, interval) {
        debug!("the encoder does not take a rate: {error}");
    }
}

/// Sets those controls that the encoder has.
fn set_controls(device: Device<'_>, controls: &[Control], mode: &EncoderMode) {
    let find = |id| controls.iter().find(|control| control.id == id);
    let has_item = |id, item| find(id).is_some_and(|c| c.menu.iter().any(|offered| offered.value == item));
    let profile = PROFILES.into_iter().find(|&profile| has_item(control_id::PROFILE, profile));
    let level = level(mode).filter(|&level| has_item(control_id::LEVEL, level));
    let wanted = [
        (control_id::FRAME_RATE_CONTROL, Some(1)),
        // Variable: a scene that stands costs next to nothing.
        (control_id::BITRATE_MODE, Some(0)),
        (control_id::BITRATE, Some(mode.bits_per_second.into())),
        (control_id::GOP_SIZE, Some(mode.key_interval.into())),
        (control_id::I_PERIOD, Some(mode.key_interval.into())),
        // Parameter sets with the frame, not in a buffer of their own, and with each key frame.
        (control_id::HEADER_MODE, Some(1)),
        (control_id::REPEAT_HEADERS, Some(1)),
        (control_id::HEADERS_BEFORE_KEYS, Some(1)),
        (control_id::PROFILE, profile),
        (control_id::LEVEL, level),
    ];
    for (id, value) in wanted {
        let (Some(control), Some(value)) = (find(id), value) else { continue };
        let value = value.clamp(control.minimum, control.maximum.max(control.minimum));
        if let Err(error) = write_value(device, id, value) {
            debug!("the encoder does not take {} = {value}: {error}", control.name);
        }
    }
}

/// The lowest level for pictures of this size at this rate.
fn level(mode: &EncoderMode) -> Option<i64> {
    let Resolution { width, height } = mode.resolution;
    let macroblocks = u32::from(width).div_ceil(16) * u32::from(height).div_ceil(16);
    let in_second = macroblocks as f32 * mode.frame_rate;
    let fits = |&(_, picture, second): &(i64, u32, u32)| macroblocks <= picture && in_second <= second as f32;
    LEVELS.into_iter().find(fits).map(|(level, ..)| level)
}

/// Requests buffers of one plane; returns where each can be mapped.
fn buffers(device: Device<'_>, buffers: BufferType, count: u32) -> Result<Vec<PlaneArea>, EncoderFailure> {
    let failed = |call| move |error| EncoderFailure::Call(call, error);
    // A driver may make more, or less.
    let made = device.request_buffers(buffers, count).map_err(failed("VIDIOC_REQBUFS"))?.min(count);
    if made == 0 {
        let error = io::Error::other("the driver has no memory for buffers");
        return Err(EncoderFailure::Call("VIDIOC_REQBUFS", error));
    }
    let area = |index| match device.plane_areas(buffers, index).map_err(failed("VIDIOC_QUERYBUF"))?[..] {
        [area] => Ok(area),
        _ => Err(EncoderFailure::Format),
    };
    (0..made).map(area).collect()
}

impl RawLayout {
    /// The layout of a format with all planes in one piece of memory; `None` if the driver's sizes cannot be true.
    fn of(format: &DriverFormat) -> Option<Self> {
        let [plane] = format.planes[..] else { return None };
        let stride = plane.bytes_per_line.max(format.width) as usize;
        let lines = format.height as usize;
        let bytes = plane.size_image as usize;
        let is_even = stride.is_multiple_of(2) && lines.is_multiple_of(2);
        let is_whole = stride.checked_mul(lines)?.checked_mul(3)? / 2 <= bytes;
        let has_chroma_pairs = format.fourcc == *b"NV12";
        (is_even && is_whole).then_some(Self { has_chroma_pairs, stride, lines, bytes })
    }

    /// Copies a picture that is not larger than the format.
    fn write(self, picture: &I420Picture<'_>, out: &mut [u8]) {
        let Self { has_chroma_pairs, stride, lines, .. } = self;
        let (luma, chroma) = out.split_at_mut(stride * lines);
        copy_rows(picture.rows(0), luma, stride);
        if has_chroma_pairs {
            let rows = picture.rows(1).zip(picture.rows(2)).zip(chroma.chunks_exact_mut(stride));
            for ((u, v), row) in rows {
                for ((u, v), pair) in u.iter().zip(v).zip(row.chunks_exact_mut(2)) {
                    pair.copy_from_slice(&[*u, *v]);
                }
            }
        } else {
            let (u, v) = chroma.split_at_mut(stride * lines / 4);
            copy_rows(picture.rows(1), u, stride / 2);
            copy_rows(picture.rows(2), v, stride / 2);
        }
    }
}

fn copy_rows<'a>(rows: impl Iterator<Item = &'a [u8]>, out: &mut [u8], stride: usize) {
    for (row, out) in rows.zip(out.chunks_exact_mut(stride)) {
        let length = row.len().min(out.len());
        out[..length].copy_from_slice(&row[..length]);
    }
}

#[cfg(test)]
mod tests {
    use super::super::format_ioctls::PlaneFormat;
    use super::*;
    use crate::h264::SamplePlane;

    #[test]
    fn a_picture_lies_in_memory_as_the_driver_says() {
        let format = |fourcc, size_image| DriverFormat {
            fourcc,
            width: 4,
            height: 4,
            field: FIELD_NONE,
            planes: vec![PlaneFormat { bytes_per_line: 8, size_image }],
        };
        let plane = |data, stride| SamplePlane { data, stride };
        let planes = [plane(&[1, 2, 3, 4, 5, 6, 7, 8][..], 4), plane(&[20, 21], 2), plane(&[30, 31], 2)];
        let picture = I420Picture::new(Resolution::new(4, 2), planes).unwrap();
        let written = |fourcc| {
            let layout = RawLayout::of(&format(fourcc, 48)).unwrap();
            let mut out = vec![9; layout.bytes];
            layout.write(&picture, &mut out);
            assert_eq!(out[..16], [1, 2, 3, 4, 9, 9, 9, 9, 5, 6, 7, 8, 9, 9, 9, 9]);
            out.split_off(32)
        };
        assert_eq!(written(*b"YU12"), [20, 21, 9, 9, 9, 9, 9, 9, 30, 31, 9, 9, 9, 9, 9, 9]);
        assert_eq!(written(*b"NV12"), [20, 30, 21, 31, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9]);
        assert_eq!(RawLayout::of(&format(*b"NV12", 47)), None, "a byte of the picture has no place");
    }

    #[test]
    fn the_level_grows_with_size_and_rate() {
        let of = |width, height, frame_rate| {
            let resolution = Resolution::new(width, height);
            level(&EncoderMode { resolution, frame_rate, bits_per_second: 1, key_interval: 60 })
        };
        assert_eq!(
            [of(640, 480, 30.0), of(1280, 720, 30.0), of(1280, 720, 60.0)],
            [Some(9), Some(9), Some(11)]
        );
        assert_eq!([of(1920, 1080, 30.0), of(1920, 1080, 60.0)], [Some(11), Some(13)]);
        assert_eq!(of(7680, 4320, 30.0), None);
    }
}
