//! The vocabulary every other room speaks: what a frame is, how big, in which format, when.
//!
//! Plain values only. Anything that opens, encodes, stores or sends a frame lives elsewhere.
#![forbid(unsafe_code)]

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Width and height in pixels. Both fit the 16 bits a JPEG frame header has for them (ITU-T T.81, B.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resolution {
    /// Pixels in a row.
    pub width: u16,
    /// Rows.
    pub height: u16,
}

impl Resolution {
    /// A resolution of `width` by `height` pixels.
    pub const fn new(width: u16, height: u16) -> Self {
        Self { width, height }
    }

    /// Pixels in the whole picture.
    pub const fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }
}

impl fmt::Display for Resolution {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

impl FromStr for Resolution {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.split_once(['x', 'X'])
            .and_then(|(w, h)| Some(Self::new(w.trim().parse().ok()?, h.trim().parse().ok()?)))
            .filter(|r| r.pixels() > 0)
            .ok_or_else(|| format!("{text:?} is not a picture size; write it as WIDTHxHEIGHT, like 1280x720"))
    }
}

/// How the camera lays out a picture in its buffer. Names and layouts: kernel documentation,
/// "Image Formats" in the V4L2 API.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PixelFormat {
    /// A JPEG per buffer, often without Huffman tables (`MJPG`, `JPEG`).
    Mjpeg,
    /// Packed 4:2:2, byte order Y U Y V.
    Yuyv,
    /// Packed 4:2:2, byte order U Y V Y.
    Uyvy,
    /// Packed 4:2:2, byte order Y V Y U.
    Yvyu,
    /// Packed 4:2:2, byte order V Y U Y.
    Vyuy,
    /// 4:2:0: a Y plane, then one plane of U V pairs.
    Nv12,
    /// 4:2:0: a Y plane, a U plane, a V plane.
    Yu12,
    /// Three bytes a pixel: R G B.
    Rgb24,
    /// One byte a pixel: luma alone.
    Grey,
}

impl PixelFormat {
    /// Every format a picture can be made from, best first: what costs least to turn into a JPEG.
    pub const ALL: [Self; 9] = [
        Self::Mjpeg,
        Self::Yuyv,
        Self::Uyvy,
        Self::Yvyu,
        Self::Vyuy,
        Self::Yu12,
        Self::Nv12,
        Self::Grey,
        Self::Rgb24,
    ];

    /// The V4L2 four-character code.
    pub const fn fourcc(self) -> [u8; 4] {
        match self {
            Self::Mjpeg => *b"MJPG",
            Self::Yuyv => *b"YUYV",
            Self::Uyvy => *b"UYVY",
            Self::Yvyu => *b"YVYU",
            Self::Vyuy => *b"VYUY",
            Self::Nv12 => *b"NV12",
            Self::Yu12 => *b"YU12",
            Self::Rgb24 => *b"RGB3",
            Self::Grey => *b"GREY",
        }
    }

    /// The format with this four-character code. `JPEG` means the same as `MJPG` to a capture device.
    pub fn from_fourcc(code: [u8; 4]) -> Option<Self> {
        if &code == b"JPEG" {
            return Some(Self::Mjpeg);
        }
        Self::ALL.into_iter().find(|f| f.fourcc() == code)
    }

    /// The name used in the configuration and in `/state`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Mjpeg => "mjpeg",
            Self::Yuyv => "yuyv",
            Self::Uyvy => "uyvy",
            Self::Yvyu => "yvyu",
            Self::Vyuy => "vyuy",
            Self::Nv12 => "nv12",
            Self::Yu12 => "yu12",
            Self::Rgb24 => "rgb24",
            Self::Grey => "grey",
        }
    }

    /// Bytes in a row of the first plane when the driver adds no padding; 0 for compressed formats.
    pub const fn row_bytes(self, width: u16) -> usize {
        let width = width as usize;
        match self {
            Self::Mjpeg => 0,
            Self::Yuyv | Self::Uyvy | Self::Yvyu | Self::Vyuy => width.div_ceil(2) * 4,
            Self::Nv12 | Self::Yu12 | Self::Grey => width,
            Self::Rgb24 => width * 3,
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A frame's number in its camera's stream: 1 for the first, never reused for another picture until it wraps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence(pub u32);

impl Sequence {
    /// The number after this one.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// How many frames after `earlier` this one came. Right across the wrap, as both are 32 bits.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// A moment in microseconds of CLOCK_MONOTONIC, the clock V4L2 stamps buffers with. It starts at boot and
/// takes no notice of anybody setting the time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// This moment.
    pub fn now() -> Self {
        // clock_gettime fails only for a clock the kernel does not know, and every Linux knows this one.
        clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_or(Self(0), |t| Self(t.tv_sec() as u64 * 1_000_000 + t.tv_nsec() as u64 / 1000))
    }

    /// Time from `earlier` to this moment; zero if `earlier` is not earlier.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This moment and `delay` more.
    pub const fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay.as_micros() as u64))
    }
}

/// What is known of a JPEG in the ring besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its place in the stream.
    pub sequence: Sequence,
    /// When the camera had it complete.
    pub captured_at: Timestamp,
    /// Its size, as the JPEG's own header says it.
    pub resolution: Resolution,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolution_reads_what_it_writes_and_refuses_the_rest() {
        assert_eq!("1280x720".parse(), Ok(Resolution::new(1280, 720)));
        assert_eq!(Resolution::new(640, 480).to_string(), "640x480");
        for bad in ["", "1280", "0x720", "1280x", "70000x10", "-1x5", "axb"] {
            assert!(bad.parse::<Resolution>().is_err(), "{bad:?} was taken for a size");
        }
    }

    #[test]
    fn every_format_is_found_by_its_fourcc() {
        for format in PixelFormat::ALL {
            assert_eq!(PixelFormat::from_fourcc(format.fourcc()), Some(format));
        }
        assert_eq!(PixelFormat::from_fourcc(*b"JPEG"), Some(PixelFormat::Mjpeg));
        assert_eq!(PixelFormat::from_fourcc(*b"pBAA"), None);
    }

    #[test]
    fn sequence_distance_survives_the_wrap() {
        assert_eq!(Sequence(2).since(Sequence(u32::MAX)), 3);
        assert_eq!(Sequence(u32::MAX).next(), Sequence(0));
    }

    #[test]
    fn clock_moves_forward_only() {
        let early = Timestamp::now();
        let late = early.after(Duration::from_millis(3));
        assert_eq!(late.since(early), Duration::from_millis(3));
        assert_eq!(early.since(late), Duration::ZERO);
        assert!(Timestamp::now() >= early);
    }
}
