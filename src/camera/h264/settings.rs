//! Where a camera's H.264 comes from, and at which bit rate it is encoded.
#![forbid(unsafe_code)]

use crate::frame::Resolution;

/// Where the H.264 of a camera comes from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum H264Mode {
    /// The first of those below that works.
    #[default]
    Auto,
    /// There is none.
    Off,
    /// From the camera.
    Copy,
    /// From an encoder of the board: a V4L2 memory-to-memory device.
    Hardware,
    /// From the encoder that is part of the program.
    Software,
}

/// How a camera's H.264 is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct H264Settings {
    /// Where it comes from.
    pub mode: H264Mode,
    /// 1 to 100. 25 more take twice the bits.
    pub quality: u8,
    /// Bit rate in kbit/s; `None` for one by size, rate and quality.
    pub kbps: Option<u32>,
}

/// Bits per pixel at quality 50. A still scene takes a tenth of that, a busy one is encoded coarser: at 720p and 30 frames a
/// second it is 1.9 Mbit/s.
const BITS_PER_PIXEL: f64 = 0.07;
/// The quality at which a pixel has [`BITS_PER_PIXEL`], and how much more takes twice the bits.
const USUAL_QUALITY: f64 = 50.0;
const DOUBLING: f64 = 25.0;
/// Frame rate up to which bits grow with the rate. Above it frames differ less, and grow with its square root.
const USUAL_FPS: f64 = 30.0;
/// Least bits a second: below this, encoders leave out most frames.
const MIN_BITS: f64 = 100_000.0;

impl H264Settings {
    /// Bits a second at which pictures of this size and rate are encoded.
    pub(in crate::camera) fn bit_rate(&self, resolution: Resolution, fps: f32) -> u32 {
        if let Some(kbps) = self.kbps {
            return kbps.saturating_mul(1000);
        }
        let fps = f64::from(fps).clamp(1.0, 240.0);
        let frames = if fps <= USUAL_FPS { fps } else { (fps * USUAL_FPS).sqrt() };
        let by_quality = ((f64::from(self.quality) - USUAL_QUALITY) / DOUBLING).exp2();
        let bits = resolution.pixels() as f64 * frames * BITS_PER_PIXEL * by_quality;
        bits.clamp(MIN_BITS, f64::from(u32::MAX)) as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bit_rate_follows_size_rate_and_quality_unless_it_is_set() {
        let rate = |quality, width, height, fps| {
            let settings = H264Settings { mode: H264Mode::Auto, quality, kbps: None };
            settings.bit_rate(Resolution::new(width, height), fps)
        };
        let usual = rate(50, 1280, 720, 30.0);
        assert!((1_900_000..2_000_000).contains(&usual), "{usual}");
        assert!(rate(75, 1280, 720, 30.0).abs_diff(usual * 2) < 10);
        assert!(rate(50, 1280, 720, 15.0).abs_diff(usual / 2) < 10);
        assert!(rate(50, 1280, 720, 120.0).abs_diff(usual * 2) < 10);
        assert_eq!(rate(1, 16, 16, 1.0), 100_000);
        assert!(rate(100, u16::MAX, u16::MAX, 240.0) > usual);
        let set = H264Settings { mode: H264Mode::Auto, quality: 50, kbps: Some(777) };
        assert_eq!(set.bit_rate(Resolution::new(64, 48), 5.0), 777_000);
    }
}
