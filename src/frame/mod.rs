//! Values that every room uses: resolution, pixel format, sequence number, timestamp, and the facts of a frame.
//!
//! Plain values only. Code that opens, encodes, stores or sends a frame belongs elsewhere.
#![forbid(unsafe_code)]

mod pixel_format;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

pub use pixel_format::{ChromaPlanes, PixelFormat, PixelLayout, PixelWord, RgbOrder};

/// Width and height in pixels. Both fit the 16 bits a JPEG frame header has for them (ITU-T T.81, B.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resolution {
    /// Pixels per row.
    pub width: u16,
    /// Number of rows.
    pub height: u16,
}

impl Resolution {
    /// A resolution of `width` by `height` pixels.
    pub const fn new(width: u16, height: u16) -> Self {
        Self { width, height }
    }

    /// Number of pixels in the picture.
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

/// A frame's number in its camera's stream. The first frame has 1; numbers repeat only after 2^32 frames.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Sequence(pub u32);

impl Sequence {
    /// The next number.
    pub const fn next(self) -> Self {
        Self(self.0.wrapping_add(1))
    }

    /// The number of frames from `earlier` to this one. Correct across the wrap at 2^32.
    pub const fn since(self, earlier: Self) -> u32 {
        self.0.wrapping_sub(earlier.0)
    }
}

/// A point in time: microseconds of CLOCK_MONOTONIC, the clock of V4L2 buffer timestamps. It starts at boot and is not
/// affected by changes of the wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The current time.
    pub fn now() -> Self {
        // clock_gettime fails only for an unknown clock, and every Linux kernel has this one.
        clock_gettime(ClockId::CLOCK_MONOTONIC)
            .map_or(Self(0), |t| Self(t.tv_sec() as u64 * 1_000_000 + t.tv_nsec() as u64 / 1000))
    }

    /// The time elapsed since `earlier`; zero if `earlier` is later than this.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// This time plus `delay`.
    pub const fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(delay.as_micros() as u64))
    }
}

/// The facts of a frame in the ring, without its JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number in the stream.
    pub sequence: Sequence,
    /// When the camera completed the picture.
    pub captured_at: Timestamp,
    /// The size that the header of the JPEG states.
    pub resolution: Resolution,
}

/// A JPEG that was written to the start of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenJpeg {
    /// Bytes of the JPEG.
    pub len: usize,
    /// Its size in pixels.
    pub resolution: Resolution,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolution_parses_its_own_display_and_rejects_other_text() {
        assert_eq!("1280x720".parse(), Ok(Resolution::new(1280, 720)));
        assert_eq!(Resolution::new(640, 480).to_string(), "640x480");
        for bad in ["", "1280", "0x720", "1280x", "70000x10", "-1x5", "axb"] {
            assert!(bad.parse::<Resolution>().is_err(), "{bad:?} was parsed as a size");
        }
    }

    #[test]
    fn sequence_distance_is_correct_across_the_wrap() {
        assert_eq!(Sequence(2).since(Sequence(u32::MAX)), 3);
        assert_eq!(Sequence(u32::MAX).next(), Sequence(0));
    }

    #[test]
    fn the_clock_is_monotonic() {
        let early = Timestamp::now();
        let late = early.after(Duration::from_millis(3));
        assert_eq!(late.since(early), Duration::from_millis(3));
        assert_eq!(early.since(late), Duration::ZERO);
        assert!(Timestamp::now() >= early);
    }
}
