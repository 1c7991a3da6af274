//! Sets a mode on a device: size, format, field order and interval, as the driver rounds them. Tells which capture can serve
//! the device.
#![forbid(unsafe_code)]

use std::io;

use super::format_ioctls::{DriverFormat, FrameInterval, ListedInterval};
use super::formats::DeviceFormats;
use super::inputs::SignalKind;
use super::ioctl::{BufferType, Device};
use super::mmap_capture::FailedCall;
use super::negotiate::CaptureMode;
use super::planes::FieldOrder;

/// `enum v4l2_field`.
mod field {
    pub(super) const ANY: u32 = 0;
    pub(super) const NONE: u32 = 1;
    pub(super) const INTERLACED: u32 = 4;
    pub(super) const SEQ_TB: u32 = 5;
    pub(super) const SEQ_BT: u32 = 6;
    pub(super) const ALTERNATE: u32 = 7;
}

/// What the driver has set.
#[derive(Debug)]
pub(super) struct DriverMode {
    pub(super) format: DriverFormat,
    /// `None` if the driver has no interval, or none that can be true.
    pub(super) interval: Option<FrameInterval>,
    /// The driver set the interval. rscam needs that.
    pub(super) sets_interval: bool,
    /// `None` if the lines of a picture are in order.
    pub(super) fields: Option<FieldOrder>,
    /// Each buffer has one field, in turn.
    pub(super) has_alternate_fields: bool,
}

/// Sets `mode`.
pub(super) fn set_mode(
    device: Device<'_>,
    buffers: BufferType,
    formats: &DeviceFormats,
    mode: &CaptureMode,
    signal: SignalKind,
) -> Result<DriverMode, FailedCall> {
    let format =
        set_format(device, buffers, formats, mode, signal).map_err(|error| ("VIDIOC_S_FMT", error))?;
    let fields = match format.field {
        field::SEQ_TB => Some(FieldOrder::TopFirst),
        field::SEQ_BT => Some(FieldOrder::BottomFirst),
        _ => None,
    };
    let size = (format.width, format.height);
    let wanted = match formats.intervals(format.fourcc, size) {
        Some(listed) => nearest_interval(listed, mode.fps),
        None => nearest_interval(&device.intervals(format.fourcc, size), mode.fps),
    };
    let set = device.set_interval(buffers, wanted);
    let sets_interval = set.as_ref().is_ok_and(|interval| interval.fps().is_some());
    let interval = set.or_else(|_| device.interval(buffers)).ok().filter(|interval| interval.fps().is_some());
    let has_alternate_fields = format.field == field::ALTERNATE;
    Ok(DriverMode { format, interval, sets_interval, fields, has_alternate_fields })
}

fn set_format(
    device: Device<'_>,
    buffers: BufferType,
    formats: &DeviceFormats,
    mode: &CaptureMode,
    signal: SignalKind,
) -> io::Result<DriverFormat> {
    let CaptureMode { format, resolution, .. } = *mode;
    let fourcc = formats.fourcc(format);
    let size = (u32::from(resolution.width), u32::from(resolution.height));
    let wanted = match signal {
        SignalKind::Camera => field::ANY,
        SignalKind::Digital { is_interlaced: false } => field::NONE,
        SignalKind::Analog | SignalKind::Digital { is_interlaced: true } => field::INTERLACED,
    };
    let mut set = device.set_format(buffers, fourcc, size, wanted)?;
    for other in [field::INTERLACED, field::NONE] {
        // With alternating fields, each buffer has half of a picture.
        if set.field == field::ALTERNATE {
            set = device.set_format(buffers, fourcc, size, other)?;
        }
    }
    if set.fourcc != fourcc {
        let chosen = String::from_utf8_lossy(&set.fourcc).into_owned();
        return Err(io::Error::other(format!("the driver listed {format} and then chose {chosen}")));
    }
    Ok(set)
}

/// The listed interval that is nearest to `fps`, or `fps` itself if the driver lists none.
fn nearest_interval(listed: &[ListedInterval], fps: f32) -> FrameInterval {
    let discrete = listed.iter().filter_map(|listed| match listed {
        ListedInterval::Discrete(interval) => Some((*interval, interval.fps()?)),
        ListedInterval::Range { .. } => None,
    });
    let nearest = discrete.min_by(|(_, a), (_, b)| (a - fps).abs().total_cmp(&(b - fps).abs()));
    let exact = FrameInterval { numerator: 1000, denominator: (fps * 1000.0) as u32 };
    nearest.map_or(exact, |(interval, _)| interval)
}
