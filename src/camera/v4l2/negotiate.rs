//! Selects the mode of a device that is nearest to the configuration. Pure: calls no device.
#![forbid(unsafe_code)]

use crate::camera::settings::DEFAULT_RESOLUTION;
use crate::frame::{PixelFormat, Resolution};

/// A format that a device offers, with its sizes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OfferedFormat {
    pub(super) format: PixelFormat,
    pub(super) sizes: Vec<OfferedSize>,
}

/// A size or a range of sizes, with its frame rates.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct OfferedSize {
    pub(super) size: FrameSize,
    /// Frames per second, in no order. Empty if the device does not report rates.
    pub(super) rates: Vec<f32>,
}

/// The sizes of a format, as in `struct v4l2_frmsizeenum`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum FrameSize {
    Discrete(Resolution),
    Stepwise { min: Resolution, max: Resolution, step: (u16, u16) },
}

impl FrameSize {
    /// Of a device that lists no sizes.
    pub(super) const ANY: Self =
        Self::Stepwise { min: Resolution::new(1, 1), max: Resolution::new(u16::MAX, u16::MAX), step: (1, 1) };

    /// The available size that is nearest to `wanted`, and not larger if possible.
    fn nearest(self, wanted: Resolution) -> Resolution {
        match self {
            Self::Discrete(size) => size,
            Self::Stepwise { min, max, step } => {
                let fit = |wanted: u16, min: u16, max: u16, step: u16| {
                    let wanted = wanted.clamp(min, max.max(min));
                    wanted - (wanted - min) % step.max(1)
                };
                Resolution::new(
                    fit(wanted.width, min.width, max.width, step.0),
                    fit(wanted.height, min.height, max.height, step.1),
                )
            }
        }
    }

    fn contains(self, wanted: Resolution) -> bool {
        self.nearest(wanted) == wanted
    }
}

impl std::fmt::Display for FrameSize {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Discrete(size) => write!(f, "{size}"),
            Self::Stepwise { min, max, step: (1, 1) } => write!(f, "{min} to {max}"),
            Self::Stepwise { min, max, step: (w, h) } => write!(f, "{min} to {max} in steps of {w}x{h}"),
        }
    }
}

/// The configured mode.
#[derive(Clone, Copy, Debug)]
pub(in crate::camera) struct WantedMode {
    /// `None` for the cheapest format.
    pub(in crate::camera) format: Option<PixelFormat>,
    /// `None` for [`DEFAULT_RESOLUTION`] or the nearest.
    pub(in crate::camera) resolution: Option<Resolution>,
    pub(in crate::camera) fps: f32,
}

/// The mode to request from the device.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(in crate::camera) struct CaptureMode {
    pub(in crate::camera) format: PixelFormat,
    pub(in crate::camera) resolution: Resolution,
    pub(in crate::camera) fps: f32,
}

/// Why no offered mode can be used.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum NoMode {
    /// The format is not offered.
    Format(PixelFormat),
    /// The size is not offered; the offered sizes.
    Size(Resolution, String),
}

impl WantedMode {
    /// Whether the format may be used: any but sensor data, if none is configured.
    fn allows(&self, format: PixelFormat) -> bool {
        self.format.map_or(!format.is_sensor_data(), |wanted| wanted == format)
    }
}

/// Selects the mode. The wanted size counts more than the wanted rate, and both count more than a cheaper format.
///
/// `offers` has at least one size, and a format that is no sensor data unless one is wanted.
pub(super) fn choose_mode(offers: &[OfferedFormat], wanted: &WantedMode) -> Result<CaptureMode, NoMode> {
    // Video costs all who take pictures a decoder. It is chosen where it is asked for, or there is nothing else.
    let is_picture = |offer: &OfferedFormat| wanted.allows(offer.format) && !offer.format.is_video();
    let has_pictures = offers.iter().any(is_picture);
    let is_wanted =
        |offer: &&OfferedFormat| wanted.allows(offer.format) && (!has_pictures || is_picture(offer));
    let mut offers: Vec<&OfferedFormat> = offers.iter().filter(is_wanted).collect();
    if offers.is_empty() {
        return Err(NoMode::Format(wanted.format.unwrap_or(PixelFormat::Mjpeg)));
    }
    offers.sort_by_key(|offer| PixelFormat::ALL.iter().position(|&f| f == offer.format));
    let resolution = match wanted.resolution {
        Some(exactly) if offers.iter().any(|offer| offer.sizes.iter().any(|s| s.size.contains(exactly))) => {
            exactly
        }
        Some(exactly) => return Err(NoMode::Size(exactly, sizes(&offers))),
        None => nearest_size(&offers),
    };
    let mut best: Option<CaptureMode> = None;
    for offer in offers {
        let Some(size) = offer.sizes.iter().find(|size| size.size.contains(resolution)) else { continue };
        let mode =
            CaptureMode { format: offer.format, resolution, fps: nearest_rate(&size.rates, wanted.fps) };
        // A more expensive format is used only if it is clearly faster.
        let enough = mode.fps >= wanted.fps * 0.9;
        if best.is_none_or(|best| best.fps < wanted.fps * 0.9 && (enough || mode.fps > best.fps * 1.1)) {
            best = Some(mode);
        }
    }
    best.ok_or_else(|| NoMode::Size(resolution, String::new()))
}

/// The largest size in the wanted format, or in the cheapest format that has it. Not in one of video, of which one picture is
/// none.
pub(super) fn largest_mode(offers: &[OfferedFormat], wanted: &WantedMode) -> Option<CaptureMode> {
    let usual = WantedMode { format: wanted.format.filter(|format| !format.is_video()), ..*wanted };
    let is_wanted = |format: PixelFormat| usual.allows(format) && !format.is_video();
    let offers = offers.iter().filter(|offer| is_wanted(offer.format));
    let modes = offers.flat_map(|offer| {
        offer.sizes.iter().map(|size| {
            let (FrameSize::Discrete(resolution) | FrameSize::Stepwise { max: resolution, .. }) = size.size;
            CaptureMode { format: offer.format, resolution, fps: nearest_rate(&size.rates, wanted.fps) }
        })
    });
    let cost = |mode: &CaptureMode| PixelFormat::ALL.iter().position(|&format| format == mode.format);
    modes.max_by_key(|mode| (mode.resolution.pixels(), std::cmp::Reverse(cost(mode))))
}

/// The default size if it is offered, else the largest size that fits into it, else the smallest size.
fn nearest_size(offers: &[&OfferedFormat]) -> Resolution {
    let all =
        || offers.iter().flat_map(|offer| &offer.sizes).map(|size| size.size.nearest(DEFAULT_RESOLUTION));
    let fits = |r: &Resolution| r.width <= DEFAULT_RESOLUTION.width && r.height <= DEFAULT_RESOLUTION.height;
    let largest = all().filter(fits).max_by_key(|r| r.pixels());
    largest.or_else(|| all().min_by_key(|r| r.pixels())).unwrap_or(DEFAULT_RESOLUTION)
}

/// The rate with the smallest ratio to `wanted`, the higher one of two; `wanted` if the device reports no rates.
fn nearest_rate(rates: &[f32], wanted: f32) -> f32 {
    let distance = |rate: f32| (rate / wanted).log2().abs();
    let nearer = |a: &f32, b: &f32| distance(*a).total_cmp(&distance(*b)).then(b.total_cmp(a));
    rates.iter().copied().filter(|&r| r > 0.0).min_by(nearer).unwrap_or(wanted)
}

/// All sizes of `offers` as text, the largest first, without duplicates.
fn sizes(offers: &[&OfferedFormat]) -> String {
    let mut sizes: Vec<FrameSize> = offers.iter().flat_map(|offer| &offer.sizes).map(|s| s.size).collect();
    let pixels = |size: &FrameSize| match size {
        FrameSize::Discrete(r) | FrameSize::Stepwise { max: r, .. } => r.pixels(),
    };
    sizes.sort_by_key(|size| std::cmp::Reverse(pixels(size)));
    sizes.dedup();
    sizes.iter().map(FrameSize::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HD: Resolution = Resolution::new(1280, 720);
    const VGA: Resolution = Resolution::new(640, 480);

    fn wanted(format: Option<PixelFormat>, resolution: Option<Resolution>, fps: f32) -> WantedMode {
        WantedMode { format, resolution, fps }
    }

    fn offer(format: PixelFormat, sizes: &[(Resolution, &[f32])]) -> OfferedFormat {
        let sizes = sizes
            .iter()
            .map(|&(r, rates)| OfferedSize { size: FrameSize::Discrete(r), rates: rates.to_vec() });
        OfferedFormat { format, sizes: sizes.collect() }
    }

    /// The offers of a common USB camera: raw formats are slow at the larger size, because of USB 2.
    fn webcam() -> Vec<OfferedFormat> {
        vec![
            offer(PixelFormat::Yuyv, &[(VGA, &[30.0, 15.0]), (HD, &[10.0, 5.0])]),
            offer(
                PixelFormat::Mjpeg,
                &[(VGA, &[30.0]), (HD, &[30.0, 60.0]), (Resolution::new(1920, 1080), &[30.0])],
            ),
        ]
    }

    fn mode(format: PixelFormat, resolution: Resolution, fps: f32) -> Result<CaptureMode, NoMode> {
        Ok(CaptureMode { format, resolution, fps })
    }

    #[test]
    fn mjpeg_is_preferred_at_the_wanted_size_and_rate() {
        assert_eq!(choose_mode(&webcam(), &wanted(None, None, 30.0)), mode(PixelFormat::Mjpeg, HD, 30.0));
        assert_eq!(
            choose_mode(&webcam(), &wanted(None, Some(VGA), 15.0)),
            mode(PixelFormat::Mjpeg, VGA, 30.0)
        );
        let raw = Some(PixelFormat::Yuyv);
        assert_eq!(choose_mode(&webcam(), &wanted(raw, Some(HD), 30.0)), mode(PixelFormat::Yuyv, HD, 10.0));
    }

    #[test]
    fn sensor_data_is_used_only_if_it_is_configured() {
        let offers = [
            offer(PixelFormat::Rggb10, &[(HD, &[30.0]), (VGA, &[30.0])]),
            offer(PixelFormat::Grey, &[(VGA, &[5.0])]),
        ];
        let usual = wanted(None, None, 30.0);
        assert_eq!(choose_mode(&offers, &usual), mode(PixelFormat::Grey, VGA, 5.0));
        assert_eq!(largest_mode(&offers, &usual), mode(PixelFormat::Grey, VGA, 5.0).ok());
        let configured = wanted(Some(PixelFormat::Rggb10), None, 30.0);
        assert_eq!(choose_mode(&offers, &configured), mode(PixelFormat::Rggb10, HD, 30.0));
    }

    #[test]
    fn the_largest_size_is_in_the_cheapest_format_that_has_it() {
        let full = Resolution::new(1920, 1080);
        assert_eq!(
            largest_mode(&webcam(), &wanted(None, None, 5.0)),
            mode(PixelFormat::Mjpeg, full, 30.0).ok()
        );
        let raw = Some(PixelFormat::Yuyv);
        assert_eq!(largest_mode(&webcam(), &wanted(raw, None, 5.0)), mode(PixelFormat::Yuyv, HD, 5.0).ok());
        let both = [offer(PixelFormat::Yuyv, &[(HD, &[30.0])]), offer(PixelFormat::Mjpeg, &[(HD, &[5.0])])];
        assert_eq!(largest_mode(&both, &wanted(None, None, 30.0)), mode(PixelFormat::Mjpeg, HD, 5.0).ok());
        assert_eq!(largest_mode(&[], &wanted(None, None, 30.0)), None);
    }

    #[test]
    fn video_is_chosen_where_it_is_asked_for_or_there_is_nothing_else() {
        let video = offer(PixelFormat::H264, &[(Resolution::new(1920, 1080), &[30.0]), (HD, &[30.0])]);
        let slow = offer(PixelFormat::Yuyv, &[(HD, &[5.0])]);
        let both = [video.clone(), slow];
        assert_eq!(choose_mode(&both, &wanted(None, None, 30.0)), mode(PixelFormat::Yuyv, HD, 5.0));
        let asked = Some(PixelFormat::H264);
        assert_eq!(choose_mode(&both, &wanted(asked, None, 30.0)), mode(PixelFormat::H264, HD, 30.0));
        assert_eq!(choose_mode(&both[..1], &wanted(None, None, 30.0)), mode(PixelFormat::H264, HD, 30.0));
        let still = mode(PixelFormat::Yuyv, HD, 5.0).ok();
        assert_eq!(largest_mode(&both, &wanted(asked, None, 30.0)), still, "a still is a picture");
        assert_eq!(largest_mode(&both[..1], &wanted(None, None, 30.0)), None);
    }

    #[test]
    fn a_raw_format_at_the_wanted_rate_is_preferred_to_slow_mjpeg() {
        let offers =
            [offer(PixelFormat::Mjpeg, &[(HD, &[15.0])]), offer(PixelFormat::Yuyv, &[(HD, &[30.0])])];
        assert_eq!(choose_mode(&offers, &wanted(None, None, 30.0)), mode(PixelFormat::Yuyv, HD, 30.0));
        assert_eq!(choose_mode(&offers, &wanted(None, None, 15.0)), mode(PixelFormat::Mjpeg, HD, 15.0));
    }

    #[test]
    fn the_nearest_rate_is_taken() {
        for (want, got) in [(30.0, 25.0), (50.0, 60.0), (10.0, 15.0), (240.0, 60.0), (1.0, 15.0)] {
            assert_eq!(nearest_rate(&[15.0, 60.0, 25.0], want), got, "of 15, 25, 60 for {want}");
        }
        assert_eq!(nearest_rate(&[], 24.0), 24.0);
    }

    #[test]
    fn a_configured_size_is_required_and_the_default_is_not() {
        let small = [offer(PixelFormat::Yuyv, &[(Resolution::new(320, 240), &[30.0]), (VGA, &[30.0])])];
        assert_eq!(choose_mode(&small, &wanted(None, None, 30.0)), mode(PixelFormat::Yuyv, VGA, 30.0));
        let large = [offer(PixelFormat::Yuyv, &[(Resolution::new(1920, 1080), &[30.0])])];
        assert_eq!(
            choose_mode(&large, &wanted(None, None, 30.0)).unwrap().resolution,
            Resolution::new(1920, 1080)
        );
        let error = choose_mode(&webcam(), &wanted(None, Some(Resolution::new(800, 600)), 30.0));
        assert_eq!(
            error,
            Err(NoMode::Size(Resolution::new(800, 600), "1920x1080, 1280x720, 640x480".into()))
        );
        let error = choose_mode(&small, &wanted(Some(PixelFormat::Mjpeg), None, 30.0));
        assert_eq!(error, Err(NoMode::Format(PixelFormat::Mjpeg)));
    }

    #[test]
    fn stepwise_sizes_are_used_in_their_steps() {
        let size = FrameSize::Stepwise {
            min: Resolution::new(32, 32),
            max: Resolution::new(1920, 1088),
            step: (16, 8),
        };
        let range =
            [OfferedFormat { format: PixelFormat::Yuyv, sizes: vec![OfferedSize { size, rates: vec![] }] }];
        assert_eq!(choose_mode(&range, &wanted(None, None, 30.0)), mode(PixelFormat::Yuyv, HD, 30.0));
        assert!(choose_mode(&range, &wanted(None, Some(Resolution::new(640, 360)), 30.0)).is_ok());
        let error = choose_mode(&range, &wanted(None, Some(Resolution::new(641, 360)), 30.0));
        let all = "32x32 to 1920x1088 in steps of 16x8";
        assert_eq!(error, Err(NoMode::Size(Resolution::new(641, 360), all.into())));
    }
}
