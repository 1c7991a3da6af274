//! Which of the modes a device offers comes nearest to what is wanted. Pure: asks no device.
#![forbid(unsafe_code)]

use super::{DEFAULT_RESOLUTION, Settings};
use crate::frame::{PixelFormat, Resolution};

/// A format that a device offers, with its sizes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Offer {
    pub(super) format: PixelFormat,
    pub(super) sizes: Vec<Size>,
}

/// A size, or a range of them, and how often a second pictures of that size come.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Size {
    pub(super) extent: Extent,
    /// Frames a second, in no order. Empty where the device does not say.
    pub(super) rates: Vec<f32>,
}

/// One size, or all from `min` to `max` in steps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Extent {
    Exactly(Resolution),
    Range { min: Resolution, max: Resolution, step: (u16, u16) },
}

impl Extent {
    /// The size in this extent that is nearest to `wanted` and not larger where that can be.
    fn nearest(self, wanted: Resolution) -> Resolution {
        match self {
            Self::Exactly(size) => size,
            Self::Range { min, max, step } => {
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

impl std::fmt::Display for Extent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exactly(size) => write!(f, "{size}"),
            Self::Range { min, max, step: (1, 1) } => write!(f, "{min} to {max}"),
            Self::Range { min, max, step: (w, h) } => write!(f, "{min} to {max} in steps of {w}x{h}"),
        }
    }
}

/// What to ask the device for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Mode {
    pub(super) format: PixelFormat,
    pub(super) resolution: Resolution,
    pub(super) fps: f32,
}

/// Why nothing offered will do.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Unmet {
    Format(PixelFormat),
    /// No format comes in this size; what there is.
    Size(Resolution, String),
}

/// Picks the mode: the wanted size before the wanted rate, both before the cheaper format.
///
/// `offers` holds at least one size.
pub(super) fn choose(offers: &[Offer], wanted: &Settings) -> Result<Mode, Unmet> {
    let mut offers: Vec<&Offer> =
        offers.iter().filter(|offer| wanted.format.is_none_or(|f| f == offer.format)).collect();
    if offers.is_empty() {
        return Err(Unmet::Format(wanted.format.unwrap_or(PixelFormat::Mjpeg)));
    }
    offers.sort_by_key(|offer| PixelFormat::ALL.iter().position(|&f| f == offer.format));
    let resolution = match wanted.resolution {
        Some(exactly)
            if offers.iter().any(|offer| offer.sizes.iter().any(|s| s.extent.contains(exactly))) =>
        {
            exactly
        }
        Some(exactly) => return Err(Unmet::Size(exactly, sizes(&offers))),
        None => nearest_size(&offers),
    };
    let mut best: Option<Mode> = None;
    for offer in offers {
        let Some(size) = offer.sizes.iter().find(|size| size.extent.contains(resolution)) else { continue };
        let mode = Mode { format: offer.format, resolution, fps: nearest_rate(&size.rates, wanted.fps) };
        // A format further down the list must be clearly faster to be worth the work it makes.
        let enough = mode.fps >= wanted.fps * 0.9;
        if best.is_none_or(|best| best.fps < wanted.fps * 0.9 && (enough || mode.fps > best.fps * 1.1)) {
            best = Some(mode);
        }
    }
    best.ok_or_else(|| Unmet::Size(resolution, String::new()))
}

/// The largest pictures there are, in the format that costs least, of those formats that are wanted.
pub(super) fn largest(offers: &[Offer], wanted: &Settings) -> Option<Mode> {
    let offers = offers.iter().filter(|offer| wanted.format.is_none_or(|f| f == offer.format));
    let modes = offers.flat_map(|offer| {
        offer.sizes.iter().map(|size| {
            let (Extent::Exactly(resolution) | Extent::Range { max: resolution, .. }) = size.extent;
            Mode { format: offer.format, resolution, fps: nearest_rate(&size.rates, wanted.fps) }
        })
    });
    let cost = |mode: &Mode| PixelFormat::ALL.iter().position(|&format| format == mode.format);
    modes.max_by_key(|mode| (mode.resolution.pixels(), std::cmp::Reverse(cost(mode))))
}

/// The default size if there is it, else the largest that fits into it, else the smallest of all.
fn nearest_size(offers: &[&Offer]) -> Resolution {
    let all =
        || offers.iter().flat_map(|offer| &offer.sizes).map(|size| size.extent.nearest(DEFAULT_RESOLUTION));
    let fits = |r: &Resolution| r.width <= DEFAULT_RESOLUTION.width && r.height <= DEFAULT_RESOLUTION.height;
    let largest = all().filter(fits).max_by_key(|r| r.pixels());
    largest.or_else(|| all().min_by_key(|r| r.pixels())).unwrap_or(DEFAULT_RESOLUTION)
}

/// The rate that differs least by ratio, the higher of two; the wanted one where the device does not say.
fn nearest_rate(rates: &[f32], wanted: f32) -> f32 {
    let distance = |rate: f32| (rate / wanted).log2().abs();
    let nearer = |a: &f32, b: &f32| distance(*a).total_cmp(&distance(*b)).then(b.total_cmp(a));
    rates.iter().copied().filter(|&r| r > 0.0).min_by(nearer).unwrap_or(wanted)
}

/// All sizes of `offers` in words, largest first, once each.
fn sizes(offers: &[&Offer]) -> String {
    let mut extents: Vec<Extent> = offers.iter().flat_map(|offer| &offer.sizes).map(|s| s.extent).collect();
    let size = |extent: &Extent| match extent {
        Extent::Exactly(r) | Extent::Range { max: r, .. } => r.pixels(),
    };
    extents.sort_by_key(|extent| std::cmp::Reverse(size(extent)));
    extents.dedup();
    extents.iter().map(Extent::to_string).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::camera::SourceSpec;
    use crate::jpeg::{self, yuv::Subsampling};

    const HD: Resolution = Resolution::new(1280, 720);
    const VGA: Resolution = Resolution::new(640, 480);

    fn wanted(format: Option<PixelFormat>, resolution: Option<Resolution>, fps: f32) -> Settings {
        Settings {
            name: "test".into(),
            source: SourceSpec::Auto,
            resolution,
            fps,
            format,
            jpeg: jpeg::JpegSettings {
                quality: 80,
                subsampling: Subsampling::Cs420,
                validate: true,
                rotation: jpeg::exif::Rotation::None,
            },
            linger: Duration::ZERO,
            skip_first: 0,
            controls: std::collections::BTreeMap::new(),
            controls_file: None,
        }
    }

    fn offer(format: PixelFormat, sizes: &[(Resolution, &[f32])]) -> Offer {
        let sizes =
            sizes.iter().map(|&(r, rates)| Size { extent: Extent::Exactly(r), rates: rates.to_vec() });
        Offer { format, sizes: sizes.collect() }
    }

    /// What a common USB camera offers: raw pictures too slow for USB 2 at the larger size.
    fn webcam() -> Vec<Offer> {
        vec![
            offer(PixelFormat::Yuyv, &[(VGA, &[30.0, 15.0]), (HD, &[10.0, 5.0])]),
            offer(
                PixelFormat::Mjpeg,
                &[(VGA, &[30.0]), (HD, &[30.0, 60.0]), (Resolution::new(1920, 1080), &[30.0])],
            ),
        ]
    }

    fn mode(format: PixelFormat, resolution: Resolution, fps: f32) -> Result<Mode, Unmet> {
        Ok(Mode { format, resolution, fps })
    }

    #[test]
    fn mjpeg_comes_first_at_the_wanted_size_and_rate() {
        assert_eq!(choose(&webcam(), &wanted(None, None, 30.0)), mode(PixelFormat::Mjpeg, HD, 30.0));
        assert_eq!(choose(&webcam(), &wanted(None, Some(VGA), 15.0)), mode(PixelFormat::Mjpeg, VGA, 30.0));
        let raw = Some(PixelFormat::Yuyv);
        assert_eq!(choose(&webcam(), &wanted(raw, Some(HD), 30.0)), mode(PixelFormat::Yuyv, HD, 10.0));
    }

    #[test]
    fn the_largest_size_comes_in_the_cheapest_format_that_has_it() {
        let full = Resolution::new(1920, 1080);
        assert_eq!(largest(&webcam(), &wanted(None, None, 5.0)), mode(PixelFormat::Mjpeg, full, 30.0).ok());
        let raw = Some(PixelFormat::Yuyv);
        assert_eq!(largest(&webcam(), &wanted(raw, None, 5.0)), mode(PixelFormat::Yuyv, HD, 5.0).ok());
        let both = [offer(PixelFormat::Yuyv, &[(HD, &[30.0])]), offer(PixelFormat::Mjpeg, &[(HD, &[5.0])])];
        assert_eq!(largest(&both, &wanted(None, None, 30.0)), mode(PixelFormat::Mjpeg, HD, 5.0).ok());
        assert_eq!(largest(&[], &wanted(None, None, 30.0)), None);
    }

    #[test]
    fn a_slow_mjpeg_yields_to_a_raw_format_that_keeps_up() {
        let offers =
            [offer(PixelFormat::Mjpeg, &[(HD, &[15.0])]), offer(PixelFormat::Yuyv, &[(HD, &[30.0])])];
        assert_eq!(choose(&offers, &wanted(None, None, 30.0)), mode(PixelFormat::Yuyv, HD, 30.0));
        assert_eq!(choose(&offers, &wanted(None, None, 15.0)), mode(PixelFormat::Mjpeg, HD, 15.0));
    }

    #[test]
    fn the_nearest_rate_is_taken() {
        for (want, got) in [(30.0, 25.0), (50.0, 60.0), (10.0, 15.0), (240.0, 60.0), (1.0, 15.0)] {
            assert_eq!(nearest_rate(&[15.0, 60.0, 25.0], want), got, "of 15, 25, 60 for {want}");
        }
        assert_eq!(nearest_rate(&[], 24.0), 24.0);
    }

    #[test]
    fn without_a_wish_the_size_is_the_nearest_and_with_one_it_is_that_or_nothing() {
        let small = [offer(PixelFormat::Yuyv, &[(Resolution::new(320, 240), &[30.0]), (VGA, &[30.0])])];
        assert_eq!(choose(&small, &wanted(None, None, 30.0)), mode(PixelFormat::Yuyv, VGA, 30.0));
        let large = [offer(PixelFormat::Yuyv, &[(Resolution::new(1920, 1080), &[30.0])])];
        assert_eq!(
            choose(&large, &wanted(None, None, 30.0)).unwrap().resolution,
            Resolution::new(1920, 1080)
        );
        let unmet = choose(&webcam(), &wanted(None, Some(Resolution::new(800, 600)), 30.0));
        assert_eq!(unmet, Err(Unmet::Size(Resolution::new(800, 600), "1920x1080, 1280x720, 640x480".into())));
        let unmet = choose(&small, &wanted(Some(PixelFormat::Mjpeg), None, 30.0));
        assert_eq!(unmet, Err(Unmet::Format(PixelFormat::Mjpeg)));
    }

    #[test]
    fn ranges_are_met_in_their_steps() {
        let extent =
            Extent::Range { min: Resolution::new(32, 32), max: Resolution::new(1920, 1088), step: (16, 8) };
        let range = [Offer { format: PixelFormat::Yuyv, sizes: vec![Size { extent, rates: vec![] }] }];
        assert_eq!(choose(&range, &wanted(None, None, 30.0)), mode(PixelFormat::Yuyv, HD, 30.0));
        assert!(choose(&range, &wanted(None, Some(Resolution::new(640, 360)), 30.0)).is_ok());
        let unmet = choose(&range, &wanted(None, Some(Resolution::new(641, 360)), 30.0));
        let all = "32x32 to 1920x1088 in steps of 16x8";
        assert_eq!(unmet, Err(Unmet::Size(Resolution::new(641, 360), all.into())));
    }
}
