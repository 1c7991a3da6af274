//! The formats that a device offers, and what is wrong if none of them can be used.
#![forbid(unsafe_code)]

use super::format_ioctls::{ListedInterval, ListedSize};
use super::ioctl::{BufferType, Device};
use super::negotiate::{
    CaptureMode, FrameSize, NoMode, OfferedFormat, OfferedSize, WantedMode, choose_mode, largest_mode,
};
use crate::camera::error::SourceError;
use crate::frame::{PixelFormat, Resolution};

/// The formats that a device offers.
#[derive(Debug)]
pub(in crate::camera) struct DeviceFormats {
    /// The supported formats, with their sizes.
    pub(super) supported: Vec<OfferedFormat>,
    /// Four-character codes of all formats.
    pub(super) fourccs: Vec<[u8; 4]>,
    /// The intervals of each size, as the driver lists them.
    intervals: Vec<SizeIntervals>,
}

/// The intervals that a driver lists for a format and size.
#[derive(Debug)]
struct SizeIntervals {
    fourcc: [u8; 4],
    size: (u32, u32),
    listed: Vec<ListedInterval>,
}

impl DeviceFormats {
    /// Asks `device` for its formats. Ranges of frame rates are given with the rate that is nearest to `fps`.
    pub(super) fn read(device: Device<'_>, buffers: BufferType, fps: f32) -> Self {
        let fourccs: Vec<[u8; 4]> = device.fourccs(buffers).collect();
        let mut supported: Vec<OfferedFormat> = Vec::new();
        let mut intervals = Vec::new();
        for &fourcc in &fourccs {
            let Some(format) = PixelFormat::from_fourcc(fourcc) else { continue };
            if supported.iter().all(|offered| offered.format != format) {
                supported.push(OfferedFormat {
                    format,
                    sizes: offered_sizes(device, fourcc, fps, &mut intervals),
                });
            }
        }
        Self { supported, fourccs, intervals }
    }

    /// Selects the mode of the device at `path`.
    pub(in crate::camera) fn choose(
        &self,
        path: &str,
        wanted: &WantedMode,
    ) -> Result<CaptureMode, SourceError> {
        let path = path.to_owned();
        let is_usable = |format: PixelFormat| !format.is_sensor_data() || wanted.format == Some(format);
        if !self.supported.iter().any(|offered| is_usable(offered.format)) {
            return Err(match self.fourccs.iter().find(|code| is_raw_sensor(**code)) {
                Some(code) => SourceError::RawSensor { path, fourcc: text(*code) },
                None => match self.fourccs.iter().find_map(|code| video_codec(*code)) {
                    Some(codec) => SourceError::VideoOnly { path, codec },
                    None => SourceError::NoFormat { path, offered: self.names() },
                },
            });
        }
        choose_mode(&self.supported, wanted).map_err(|error| match error {
            NoMode::Format(format) => SourceError::WrongFormat { path, format, offered: self.names() },
            NoMode::Size(resolution, offered) => SourceError::WrongSize { path, resolution, offered },
        })
    }

    /// The mode with the largest size, if it is larger than `usual`.
    pub(in crate::camera) fn larger_mode(
        &self,
        wanted: &WantedMode,
        usual: &CaptureMode,
    ) -> Option<CaptureMode> {
        largest_mode(&self.supported, wanted)
            .filter(|mode| mode.resolution.pixels() > usual.resolution.pixels())
    }

    /// Whether the device offers `format`.
    pub(in crate::camera) fn offers(&self, format: PixelFormat) -> bool {
        self.supported.iter().any(|offered| offered.format == format)
    }

    /// The code that the device lists for `format`.
    pub(super) fn fourcc(&self, format: PixelFormat) -> [u8; 4] {
        let listed = self.fourccs.iter().find(|code| PixelFormat::from_fourcc(**code) == Some(format));
        listed.copied().unwrap_or(format.fourcc())
    }

    /// The intervals that the driver listed for this format and size; `None` if they were not asked for.
    pub(super) fn intervals(&self, fourcc: [u8; 4], size: (u32, u32)) -> Option<&[ListedInterval]> {
        let found = self.intervals.iter().find(|known| known.fourcc == fourcc && known.size == size);
        found.map(|known| known.listed.as_slice())
    }

    fn names(&self) -> String {
        let name = |code: &[u8; 4]| {
            PixelFormat::from_fourcc(*code).map_or_else(|| text(*code), |format| format.to_string())
        };
        let names: Vec<String> = self.fourccs.iter().map(name).collect();
        if names.is_empty() { "nothing".into() } else { names.join(", ") }
    }
}

/// The sizes of one format. A device that lists none accepts any.
fn offered_sizes(
    device: Device<'_>,
    fourcc: [u8; 4],
    fps: f32,
    intervals: &mut Vec<SizeIntervals>,
) -> Vec<OfferedSize> {
    let size = |listed| match listed {
        ListedSize::Discrete((width, height)) => {
            let resolution = Resolution::new(width.try_into().ok()?, height.try_into().ok()?);
            (resolution.pixels() > 0).then_some(FrameSize::Discrete(resolution))
        }
        ListedSize::Stepwise { min, max, step } => {
            let side = |side: u32| side.min(u16::MAX.into()) as u16;
            (max.0 > 0 && max.1 > 0).then(|| FrameSize::Stepwise {
                min: Resolution::new(side(min.0.max(1)), side(min.1.max(1))),
                max: Resolution::new(side(max.0), side(max.1)),
                step: (side(step.0.max(1)), side(step.1.max(1))),
            })
        }
    };
    let mut sizes: Vec<FrameSize> = device.sizes(fourcc).into_iter().filter_map(size).collect();
    if sizes.is_empty() {
        sizes.push(FrameSize::ANY);
    }
    let offered = sizes.into_iter().map(|size| {
        let (FrameSize::Discrete(largest) | FrameSize::Stepwise { max: largest, .. }) = size;
        let largest = (largest.width.into(), largest.height.into());
        let listed = device.intervals(fourcc, largest);
        let rates = rates(&listed, fps);
        intervals.push(SizeIntervals { fourcc, size: largest, listed });
        OfferedSize { size, rates }
    });
    offered.collect()
}

/// The frame rates of one size. For a range these are its ends and the rate in it that is nearest to `fps`.
fn rates(listed: &[ListedInterval], fps: f32) -> Vec<f32> {
    let rates = listed.iter().flat_map(|listed| match listed {
        ListedInterval::Discrete(interval) => vec![interval.fps()],
        ListedInterval::Range { shortest, longest } => {
            let (slowest, fastest) = (longest.fps(), shortest.fps());
            let nearest = fps.max(slowest.unwrap_or(fps)).min(fastest.unwrap_or(fps));
            vec![slowest, Some(nearest), fastest]
        }
    });
    rates.flatten().collect()
}

fn text(fourcc: [u8; 4]) -> String {
    String::from_utf8_lossy(&fourcc).trim().to_owned()
}

/// The name that ffmpeg has for compressed video of this format. Codes: kernel documentation, "Compressed Formats".
fn video_codec(fourcc: [u8; 4]) -> Option<&'static str> {
    match &fourcc {
        b"AVC1" => Some("h264"),
        b"HEVC" | b"H265" => Some("hevc"),
        b"VP80" => Some("vp8"),
        b"VP90" => Some("vp9"),
        b"MPG2" => Some("mpeg2video"),
        b"MPG4" => Some("mpeg4"),
        _ => None,
    }
}

/// Whether a format is unprocessed sensor data: a Bayer pattern of any depth and packing. Codes: kernel documentation, "Raw
/// Bayer Formats".
pub(super) fn is_raw_sensor(fourcc: [u8; 4]) -> bool {
    // Those that are packed, or of 14 bits: they cannot be shown.
    const PATTERNS: [&[u8]; 17] = [
        b"pBA", b"pGA", b"pgA", b"pRA", b"pBC", b"pGC", b"pgC", b"pRC", b"pBE", b"pGE", b"pgE", b"pRE",
        b"BG1", b"GB1", b"BA1", b"GR1", b"RG1",
    ];
    PixelFormat::from_fourcc(fourcc).is_some_and(PixelFormat::is_sensor_data)
        || PATTERNS.iter().any(|pattern| fourcc.starts_with(pattern))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sensor() -> DeviceFormats {
        let sizes = vec![OfferedSize { size: FrameSize::ANY, rates: vec![30.0] }];
        let supported = vec![OfferedFormat { format: PixelFormat::Bggr10, sizes }];
        DeviceFormats { supported, fourccs: vec![*b"BG10"], intervals: vec![] }
    }

    #[test]
    fn a_sensor_is_named_as_such_unless_its_own_format_is_configured() {
        let choose =
            |format| sensor().choose("/dev/video0", &WantedMode { format, resolution: None, fps: 30.0 });
        // The source `auto` goes on to rpicam after this error, and after no other.
        for format in [None, Some(PixelFormat::Mjpeg), Some(PixelFormat::Rggb8)] {
            let error = choose(format).unwrap_err();
            assert!(matches!(error, SourceError::RawSensor { .. }), "{format:?}: {error}");
        }
        assert_eq!(choose(Some(PixelFormat::Bggr10)).unwrap().format, PixelFormat::Bggr10);
    }

    #[test]
    fn sensor_data_is_told_by_its_code_whether_or_not_it_can_be_shown() {
        for code in [b"BA81", b"RGGB", b"BG10", b"BA12", b"BYR2", b"GR16", b"pBAA", b"pgCC", b"BG14", b"GR14"]
        {
            assert!(is_raw_sensor(*code), "{}", text(*code));
        }
        for code in [b"MJPG", b"RGB3", b"BGR3", b"GREY", b"Y16 "] {
            assert!(!is_raw_sensor(*code), "{}", text(*code));
        }
    }
}
