//! V4L2 capture devices, through rscam. The only file that names it.
//!
//! rscam has had no maintainer since 2019, and its edges are fenced here:
//! - It does not show its descriptor and opens it blocking. [`Held`] finds it and sets O_NONBLOCK and CLOEXEC; a
//!   frame is asked for only after [`Bell::wait`] saw that there is one, with a deadline.
//! - A `Frame` dropped after its `Camera` would queue a buffer on a descriptor that may by then be another file.
//!   No frame leaves [`Open::next`].
//! - Starting a `Camera` twice panics. Every start has a fresh one.
//! - It refuses any rounding of size, interval or field by the driver. They are agreed with the driver first, and
//!   rscam is told what came out.
//! - It shows neither row length nor buffer flags nor sequence numbers: those are queried beside it.
//! - Its list of controls never ends if one cannot be read. It is not used.
//!
//! An unplugged camera shows as ENODEV, EINVAL or EIO, and a stalled one as nothing at all.
#![forbid(unsafe_code)]

use std::io;
use std::path::Path;
use std::sync::Arc;

use log::{debug, info};
use nix::errno::Errno;
use rscam::{Camera, Config, IntervalInfo, ResolutionInfo};

use super::bell::{Bell, Wake};
use super::desk::Desk;
use super::devices::{self, is_raw_sensor};
use super::error::SourceError;
use super::kernel::{Capability, Filled, Held, Interval, NodeKind, PixFormat};
use super::locate::Located;
use super::negotiate::{self, Extent, Mode, Offer, Size, Unmet};
use super::{Captured, Next, Opening, Settings, Sink, Source, jpeg_bytes};
use crate::frame::{PixelFormat, Resolution, Timestamp};
use crate::jpeg::{Picture, RawPicture};

/// Buffers to share with the driver: one being filled, one full, one being encoded, one in reserve.
const BUFFERS: u32 = 4;

/// A stamp older than this when its frame is taken out is of some other clock, if the driver does not say which.
const OLDEST_STAMP: std::time::Duration = std::time::Duration::from_secs(1);

pub(super) struct V4l2 {
    wanted: Settings,
    desk: Arc<Desk>,
    open: Option<Open>,
}

struct Open {
    camera: Held<Camera>,
    path: String,
    format: PixelFormat,
    resolution: Resolution,
    stride: usize,
    last_sequence: Option<u32>,
    /// When the last frame was complete.
    last_at: Timestamp,
}

impl V4l2 {
    pub(super) fn new(desk: Arc<Desk>, settings: &Settings) -> Self {
        Self { wanted: settings.clone(), desk, open: None }
    }

    fn open_at(&mut self, at: At) -> Result<Option<Opening>, SourceError> {
        let Located { path, why } = self.desk.locate(is_camera)?;
        if let Some(why) = why {
            info!("auto: {why}");
        }
        let started = self.start(&path, at)?;
        Ok(started.map(|(open, opening)| {
            self.open = Some(open);
            opening
        }))
    }

    /// Opens the device at `path` and starts it at the wanted size, or at the largest; nothing if that is the same.
    fn start(&self, path: &Path, at: At) -> Result<Option<(Open, Opening)>, SourceError> {
        let name = path.display().to_string();
        let failed =
            |call| move |error: io::Error| SourceError::of_call(&path.display().to_string(), call, error);
        let mut camera = Held::open(|| Camera::new(&name)).map_err(failed("open"))?;
        let capability = camera.device().capability().map_err(failed("VIDIOC_QUERYCAP"))?;
        must_capture(&name, &capability)?;
        let survey = Survey::of(camera.owner(), self.wanted.fps).map_err(failed("VIDIOC_ENUM_FMT"))?;
        let usual = survey.choose(&name, &self.wanted)?;
        let largest = negotiate::largest(&survey.offers, &self.wanted);
        let larger = largest.filter(|mode| mode.resolution.pixels() > usual.resolution.pixels());
        let mode = match (at, larger) {
            (At::Wanted, _) => usual,
            (At::Largest, Some(larger)) => larger,
            (At::Largest, None) => return Ok(None),
        };
        debug!("{name}: asking for {} {} at {} fps", mode.format, mode.resolution, mode.fps);

        let (pixels, interval) = agree(&camera, &survey, &mode).map_err(failed("VIDIOC_S_FMT"))?;
        let resolution = resolution(pixels.width, pixels.height).filter(|r| r.pixels() > 0);
        let resolution = resolution.ok_or_else(|| SourceError::WrongSize {
            path: name.clone(),
            resolution: mode.resolution,
            offered: format!("{}x{}", pixels.width, pixels.height),
        })?;
        let config = Config {
            interval: (interval.numerator, interval.denominator),
            resolution: (pixels.width, pixels.height),
            format: &pixels.fourcc,
            field: pixels.field,
            nbuffers: BUFFERS,
        };
        camera.owner_mut().start(&config).map_err(|error| match error {
            rscam::Error::Io(error) => SourceError::of_call(&name, "starting capture", error),
            other => SourceError::of_call(&name, "starting capture", io::Error::other(other.to_string())),
        })?;

        self.desk.opened(camera.device(), capability.clone());
        let set = camera.device().format().map_err(failed("VIDIOC_G_FMT"))?;
        let format = mode.format;
        let stride = (set.bytes_per_line as usize).max(format.row_bytes(resolution.width));
        let opening = Opening {
            driver: capability.driver.clone(),
            card: capability.card.clone(),
            path: name.clone(),
            format,
            resolution: Some(resolution),
            fps: interval.denominator as f32 / interval.numerator.max(1) as f32,
            frame_bytes: match format {
                // Compressed: what the driver says a buffer takes, and room for headers that are put in.
                PixelFormat::Mjpeg => jpeg_bytes(resolution).max(set.size_image as usize + 4096),
                _ => jpeg_bytes(resolution),
            },
            has_larger: larger.is_some(),
        };
        Ok(Some((
            Open {
                camera,
                path: name,
                format,
                resolution,
                stride,
                last_sequence: None,
                last_at: Timestamp::default(),
            },
            opening,
        )))
    }
}

/// Which size to open a device at.
#[derive(Clone, Copy)]
enum At {
    Wanted,
    Largest,
}

impl Source for V4l2 {
    fn open(&mut self) -> Result<Opening, SourceError> {
        let opening = self.open_at(At::Wanted)?;
        Ok(opening.expect("only the largest size may be none"))
    }

    fn open_largest(&mut self) -> Result<Option<Opening>, SourceError> {
        self.open_at(At::Largest)
    }

    fn next(&mut self, bell: &Bell, until: Timestamp, sink: &mut Sink<'_>) -> Result<Next, SourceError> {
        let Some(open) = &mut self.open else { return Ok(Next::TimedOut) };
        let next = open.next(bell, until, sink);
        if let Err(SourceError::Gone { .. }) = next {
            self.desk.lost();
        }
        next
    }

    fn close(&mut self) {
        self.open = None;
    }
}

impl Open {
    /// Waits for a frame. Whatever is taken out is given back before this returns.
    fn next(&mut self, bell: &Bell, until: Timestamp, sink: &mut Sink<'_>) -> Result<Next, SourceError> {
        let device = self.camera.device();
        loop {
            let failed = match bell.wait(&[device.fd()], Some(until))? {
                Wake::Ready { failed, .. } => failed,
                Wake::TimedOut => return Ok(Next::TimedOut),
                Wake::Rung => return Ok(Next::Rung),
            };
            let filled: [Option<Filled>; BUFFERS as usize] =
                std::array::from_fn(|index| device.filled(index as u32).ok().flatten());
            let frame = match self.camera.owner().capture() {
                Ok(frame) => frame,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && !failed => continue,
                Err(error) => return Err(lost(&self.path, error)),
            };
            let stamp = frame.get_timestamp();
            let facts = filled.into_iter().flatten().find(|filled| filled.stamp == stamp);
            let missed = facts
                .zip(self.last_sequence)
                .map_or(0, |(facts, last)| facts.sequence.wrapping_sub(last).saturating_sub(1));
            self.last_sequence = facts.map(|facts| facts.sequence).or(self.last_sequence);
            let damaged = facts.is_some_and(|facts| facts.is_damaged);
            let data = if damaged { &[] } else { &frame[..] };
            let picture = match self.format {
                PixelFormat::Mjpeg => Picture::Jpeg { data, expected: Some(self.resolution) },
                format => Picture::Raw(RawPicture {
                    data,
                    format,
                    resolution: self.resolution,
                    stride: self.stride,
                }),
            };
            self.last_at = captured_at(stamp, facts, self.last_at);
            sink(Captured { picture, at: self.last_at, missed, damaged });
            return Ok(Next::Picture);
        }
    }
}

/// When the frame was complete: as the driver says, if it says so by the clock that everything here goes by. Never
/// before the frame before it, which was complete at `last`.
fn captured_at(stamp: u64, facts: Option<Filled>, last: Timestamp) -> Timestamp {
    let (stamp, now) = (Timestamp(stamp), Timestamp::now());
    let is_of_our_clock = match facts {
        Some(facts) => facts.is_monotonic,
        None => now.since(stamp) < OLDEST_STAMP,
    };
    if is_of_our_clock && stamp <= now { stamp.max(last) } else { now }
}

/// What an error of taking out a frame means. Drivers answer EINVAL once an unplug has ended streaming.
fn lost(path: &str, error: io::Error) -> SourceError {
    match error.raw_os_error().map(Errno::from_raw) {
        Some(Errno::EINVAL | Errno::ENODEV) => SourceError::Gone { path: path.into(), source: error },
        // It reported a fault and then had nothing to say about it.
        Some(Errno::EAGAIN) => SourceError::Gone { path: path.into(), source: Errno::EIO.into() },
        _ => SourceError::of_call(path, "VIDIOC_DQBUF", error),
    }
}

fn must_capture(path: &str, capability: &Capability) -> Result<(), SourceError> {
    let kind = capability.kind();
    if kind == NodeKind::Capture {
        return Ok(());
    }
    let sibling = devices::sibling(capability, path);
    let remedy = match sibling {
        Some(sibling) => format!("use {} instead", sibling.display()),
        None => "`porthole cameras` lists what is one".into(),
    };
    Err(SourceError::NotACamera { path: path.into(), what: kind.in_words(), remedy })
}

/// Settles size, format, field and interval with the driver, which may round each.
fn agree(camera: &Held<Camera>, survey: &Survey, mode: &Mode) -> io::Result<(PixFormat, Interval)> {
    let Mode { format, resolution, fps } = *mode;
    let fourcc = survey.fourcc(format);
    let size = (u32::from(resolution.width), u32::from(resolution.height));
    let device = camera.device();
    let pixels = device.set_format(fourcc, size)?;
    if pixels.fourcc != fourcc {
        let got = String::from_utf8_lossy(&pixels.fourcc).into_owned();
        return Err(io::Error::other(format!("the driver listed {format} and then chose {got}")));
    }
    let interval = match camera.owner().intervals(&fourcc, (pixels.width, pixels.height)) {
        Ok(IntervalInfo::Discretes(all)) => {
            all.into_iter().filter(|&(n, d)| n > 0 && d > 0).min_by(|a, b| {
                (a.1 as f32 / a.0 as f32 - fps).abs().total_cmp(&(b.1 as f32 / b.0 as f32 - fps).abs())
            })
        }
        _ => None,
    };
    let (numerator, denominator) = interval.unwrap_or((1000, (fps * 1000.0) as u32));
    Ok((pixels, device.set_interval(Interval { numerator, denominator })?))
}

/// Whether the capture node at `path` offers anything that can be shown.
pub(super) fn is_camera(path: &Path) -> bool {
    // The rate plays no part in it.
    survey(path, 30.0).is_ok_and(|survey| !survey.offers.is_empty())
}

/// What a device offers.
pub(super) struct Survey {
    /// Formats this can show, with their sizes.
    pub(super) offers: Vec<Offer>,
    /// Four-character codes of all formats.
    pub(super) fourccs: Vec<[u8; 4]>,
}

/// Opens the device at `path` and asks what it offers.
pub(super) fn survey(path: &Path, fps: f32) -> io::Result<Survey> {
    let name = path.display().to_string();
    Survey::of(Held::open(|| Camera::new(&name))?.owner(), fps)
}

impl Survey {
    fn of(camera: &Camera, fps: f32) -> io::Result<Self> {
        let fourccs: Vec<[u8; 4]> =
            camera.formats().map(|info| Ok(info?.format)).collect::<io::Result<_>>()?;
        let mut offers: Vec<Offer> = Vec::new();
        for fourcc in &fourccs {
            let Some(format) = PixelFormat::from_fourcc(*fourcc) else { continue };
            if offers.iter().all(|offer| offer.format != format) {
                offers.push(Offer { format, sizes: sizes(camera, *fourcc, fps) });
            }
        }
        Ok(Self { offers, fourccs })
    }

    fn choose(&self, path: &str, wanted: &Settings) -> Result<Mode, SourceError> {
        let path = path.to_owned();
        if self.offers.is_empty() {
            return Err(match self.fourccs.iter().find(|code| is_raw_sensor(**code)) {
                Some(code) => SourceError::RawSensor { path, fourcc: text(*code) },
                None => SourceError::NoFormat { path, offered: self.in_words() },
            });
        }
        negotiate::choose(&self.offers, wanted).map_err(|unmet| match unmet {
            Unmet::Format(format) => SourceError::WrongFormat { path, format, offered: self.in_words() },
            Unmet::Size(resolution, offered) => SourceError::WrongSize { path, resolution, offered },
        })
    }

    /// The code by which the device itself lists `format`.
    fn fourcc(&self, format: PixelFormat) -> [u8; 4] {
        let own = self.fourccs.iter().find(|code| PixelFormat::from_fourcc(**code) == Some(format));
        own.copied().unwrap_or(format.fourcc())
    }

    fn in_words(&self) -> String {
        let name =
            |code: &[u8; 4]| PixelFormat::from_fourcc(*code).map_or_else(|| text(*code), |f| f.to_string());
        let all: Vec<String> = self.fourccs.iter().map(name).collect();
        if all.is_empty() { "nothing".into() } else { all.join(", ") }
    }
}

fn text(fourcc: [u8; 4]) -> String {
    String::from_utf8_lossy(&fourcc).trim().to_owned()
}

fn resolution(width: u32, height: u32) -> Option<Resolution> {
    Some(Resolution::new(width.try_into().ok()?, height.try_into().ok()?))
}

/// The sizes of one format. A device that lists none, which rscam shows as a range of zeros, takes any.
fn sizes(camera: &Camera, fourcc: [u8; 4], fps: f32) -> Vec<Size> {
    let any =
        Extent::Range { min: Resolution::new(1, 1), max: Resolution::new(u16::MAX, u16::MAX), step: (1, 1) };
    let extents = match camera.resolutions(&fourcc) {
        Ok(ResolutionInfo::Discretes(all)) => {
            all.into_iter().filter_map(|(w, h)| resolution(w, h)).map(Extent::Exactly).collect()
        }
        Ok(ResolutionInfo::Stepwise { min, max, step }) if max.0 > 0 && max.1 > 0 => {
            let most = |side: u32| side.min(u16::MAX.into()) as u16;
            vec![Extent::Range {
                min: Resolution::new(most(min.0.max(1)), most(min.1.max(1))),
                max: Resolution::new(most(max.0), most(max.1)),
                step: (most(step.0.max(1)), most(step.1.max(1))),
            }]
        }
        _ => vec![any],
    };
    let usable =
        extents.into_iter().filter(|extent| !matches!(extent, Extent::Exactly(r) if r.pixels() == 0));
    usable.map(|extent| Size { extent, rates: rates(camera, fourcc, extent, fps) }).collect()
}

/// The rates of one size. A range of them is given by its ends and what in it is nearest to `fps`.
fn rates(camera: &Camera, fourcc: [u8; 4], extent: Extent, fps: f32) -> Vec<f32> {
    let (Extent::Exactly(size) | Extent::Range { max: size, .. }) = extent;
    let rate = |(numerator, denominator): (u32, u32)| denominator as f32 / numerator as f32;
    let rates = match camera.intervals(&fourcc, (size.width.into(), size.height.into())) {
        Ok(IntervalInfo::Discretes(all)) => all.into_iter().map(rate).collect(),
        Ok(IntervalInfo::Stepwise { min, max, .. }) => {
            let (slowest, fastest) = (rate(max), rate(min));
            vec![slowest, fps.max(slowest).min(fastest), fastest]
        }
        Err(_) => Vec::new(),
    };
    rates.into_iter().filter(|rate| rate.is_finite() && *rate > 0.0).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_is_as_old_as_its_driver_says_if_that_can_be() {
        let now = Timestamp::now();
        let at = |stamp: Timestamp, is_monotonic: Option<bool>, last: u64| {
            let filled =
                |is_monotonic| Filled { stamp: stamp.0, is_monotonic, is_damaged: false, sequence: 0 };
            captured_at(stamp.0, is_monotonic.map(filled), Timestamp(last))
        };
        let (recent, old) = (Timestamp(now.0 - 500_000), Timestamp(now.0 - 3_000_000));
        assert_eq!(at(recent, Some(true), 0), recent);
        assert_eq!(at(old, Some(true), 0), old, "taken out late, as on a busy machine");
        assert_eq!(at(recent, None, 0), recent);
        assert!(at(old, None, 0) >= now, "it may be of any clock");
        assert!(at(recent, Some(false), 0) >= now, "it is of another clock");
        assert!(at(Timestamp(now.0 + 60_000_000), Some(true), 0) >= now, "it has not come yet");
        assert_eq!(at(old, Some(true), recent.0), recent, "time does not run backwards");
    }
}
