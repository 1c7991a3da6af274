//! What the service is doing, as plain data: written by the capture threads, read by whoever shows it.
//!
//! A [`Reporter`] writes, a [`Watcher`] reads or waits for a change; neither can hold the other up. State
//! changes wake the watchers, counters do not: they move with every frame. Nothing here decides or draws.
#![forbid(unsafe_code)]

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use tokio::sync::watch;

use crate::frame::{PixelFormat, Resolution, Timestamp};

/// What a camera is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CameraState {
    /// Nobody watches, so the device is closed.
    #[default]
    Idle,
    /// Opened, or being opened; no frame yet.
    Starting,
    /// Frames arrive.
    Live,
    /// Open, but frames stopped without an error. It is being reopened.
    Stalled,
    /// Not there, not readable or in use by another program. Tried again until it is back.
    Lost,
    /// There, but it cannot give pictures as configured.
    Unsupported,
}

impl CameraState {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Idle, Self::Starting, Self::Live, Self::Stalled, Self::Lost, Self::Unsupported];

    /// The word used in `/state`, in the log and on the page.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Starting => "starting",
            Self::Live => "live",
            Self::Stalled => "stalled",
            Self::Lost => "lost",
            Self::Unsupported => "unsupported",
        }
    }

    /// Whether somebody who wants frames will not get any until something changes outside.
    pub const fn is_fault(self) -> bool {
        matches!(self, Self::Stalled | Self::Lost | Self::Unsupported)
    }
}

impl fmt::Display for CameraState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// What a camera turned out to be, known once it has been opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// Driver name (`uvcvideo`), or the kind of source where there is no driver.
    pub driver: String,
    /// What the device calls itself.
    pub card: String,
    /// The device path or command the frames come from, after `auto` and links are resolved.
    pub path: String,
    /// What arrives from the source.
    pub format: PixelFormat,
    /// Picture size agreed with the source; `None` where only the pictures themselves tell.
    pub resolution: Option<Resolution>,
    /// Frames a second agreed with the source.
    pub fps: f32,
    /// How JPEGs are made of it; `None` where the source sends JPEG already.
    pub encoding: Option<Encoding>,
}

/// How raw pictures become JPEGs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Encoding {
    /// JPEG quality, 1 to 100.
    pub quality: u8,
    /// Chroma subsampling, as `4:2:0`.
    pub subsampling: &'static str,
}

/// One camera as the observers see it.
#[derive(Clone, Debug)]
pub struct CameraStatus {
    /// Its name in the configuration and in URLs.
    pub name: String,
    /// The source as configured.
    pub source: String,
    /// Frames a second as configured.
    pub fps_wanted: f32,
    /// What it is doing.
    pub state: CameraState,
    /// The source is open: whoever is before it may be seen.
    pub capturing: bool,
    /// Why it is not live, ending with what to do; `None` while there is no fault.
    pub error: Option<String>,
    /// What it turned out to be when last opened.
    pub opened: Option<Opened>,
    /// What has been counted since the service started.
    pub counters: Arc<Counters>,
}

/// Where the service is between start and stop.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Phase {
    /// Not serving yet.
    #[default]
    Starting,
    /// Serving.
    Serving,
    /// Asked to stop.
    Stopping,
}

/// The whole service at one moment.
#[derive(Clone, Debug, Default)]
pub struct Status {
    /// Between start and stop.
    pub phase: Phase,
    /// What the system around the service warns of.
    pub warning: Option<String>,
    /// Every configured camera, in the order of the configuration.
    pub cameras: Vec<CameraStatus>,
}

/// Reads the status, or waits for it to change.
pub type Watcher = watch::Receiver<Status>;

/// Sets up the status of a service with these cameras: name, source and wanted rate of each. Returns a reporter for
/// the service's own phase, one for each camera, and a watcher.
pub fn status(
    cameras: impl IntoIterator<Item = (String, String, f32)>,
) -> (PhaseReporter, Vec<Reporter>, Watcher) {
    let cameras: Vec<_> = cameras
        .into_iter()
        .map(|(name, source, fps_wanted)| CameraStatus {
            name,
            source,
            fps_wanted,
            state: CameraState::default(),
            capturing: false,
            error: None,
            opened: None,
            counters: Arc::default(),
        })
        .collect();
    let counters: Vec<_> = cameras.iter().map(|c| Arc::clone(&c.counters)).collect();
    let (sender, watcher) = watch::channel(Status { phase: Phase::Starting, warning: None, cameras });
    let sender = Arc::new(sender);
    let reporters = counters
        .into_iter()
        .enumerate()
        .map(|(camera, counters)| Reporter { sender: Arc::clone(&sender), camera, counters })
        .collect();
    (PhaseReporter { sender }, reporters, watcher)
}

/// Says where the service is between start and stop, and what else concerns all of it.
#[derive(Debug)]
pub struct PhaseReporter {
    sender: Arc<watch::Sender<Status>>,
}

impl PhaseReporter {
    /// Tells the watchers.
    pub fn phase(&self, phase: Phase) {
        self.sender.send_modify(|status| status.phase = phase);
    }

    /// The system around the service warns of this from now on. Returns whether that is news.
    pub fn warning(&self, warning: Option<String>) -> bool {
        self.sender.send_if_modified(|status| {
            let changed = status.warning != warning;
            status.warning = warning;
            changed
        })
    }
}

/// Says what one camera does. Each capture thread has its own.
#[derive(Debug)]
pub struct Reporter {
    sender: Arc<watch::Sender<Status>>,
    camera: usize,
    counters: Arc<Counters>,
}

impl Reporter {
    /// What this camera counts.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The camera is in `state`, which is no fault.
    pub fn state(&self, state: CameraState) {
        self.modify(|c| {
            let changed = c.state != state || c.error.is_some();
            (c.state, c.error) = (state, None);
            changed
        });
    }

    /// The camera is in `state` because of `error`.
    pub fn fault(&self, state: CameraState, error: String) {
        self.modify(|c| {
            let changed = c.state != state || c.error.as_deref() != Some(&error);
            (c.state, c.error) = (state, Some(error));
            changed
        });
    }

    /// The source has been opened, or closed.
    pub fn capturing(&self, capturing: bool) {
        self.modify(|c| std::mem::replace(&mut c.capturing, capturing) != capturing);
    }

    /// The source was opened and turned out to be this.
    pub fn opened(&self, opened: Opened) {
        self.modify(|c| {
            let changed = c.opened.as_ref() != Some(&opened);
            c.opened = Some(opened);
            changed
        });
    }

    fn modify(&self, change: impl FnOnce(&mut CameraStatus) -> bool) {
        self.sender.send_if_modified(|status| status.cameras.get_mut(self.camera).is_some_and(change));
    }
}

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`.
    pub fn add(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// What has been counted.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// What a camera counts. Written by its capture thread alone.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames published to viewers.
    pub frames: Counter,
    /// Frames the source gave that were no whole picture; never sent.
    pub corrupt: Counter,
    /// Frames lost before they could be published: skipped by the driver, or too large for a slot.
    pub dropped: Counter,
    /// Times the source was opened again after a fault.
    pub reopens: Counter,
    /// Full-size stills taken beside the stream.
    pub stills: Counter,
    /// Full-size stills that the camera would not give.
    pub failed_stills: Counter,
    /// Time to turn a raw picture into a JPEG.
    pub encode: Histogram,
    last_frame_at: AtomicU64,
    milli_fps: AtomicU32,
    promise: AtomicU64,
}

impl Counters {
    /// A frame captured at `at` was published while frames came at `fps` a second.
    pub fn frame(&self, at: Timestamp, fps: f32) {
        self.frames.add(1);
        self.last_frame_at.store(at.0, Relaxed);
        self.milli_fps.store((fps * 1000.0) as u32, Relaxed);
    }

    /// Frames stopped coming.
    pub fn halted(&self) {
        self.milli_fps.store(0, Relaxed);
    }

    /// Frames a second lately.
    pub fn fps(&self) -> f32 {
        self.milli_fps.load(Relaxed) as f32 / 1000.0
    }

    /// When the newest frame was captured.
    pub fn last_frame_at(&self) -> Option<Timestamp> {
        Some(Timestamp(self.last_frame_at.load(Relaxed))).filter(|t| t.0 > 0)
    }

    /// The capture thread will report again by `at`; `None`: it rests until somebody wants frames.
    pub fn promise(&self, at: Option<Timestamp>) {
        self.promise.store(at.map_or(0, |t| t.0), Relaxed);
    }

    /// Whether the capture thread has broken its promise to report by more than `grace`: it is stuck in a
    /// driver, or gone.
    pub fn is_wedged(&self, now: Timestamp, grace: Duration) -> bool {
        let promise = Timestamp(self.promise.load(Relaxed));
        promise.0 > 0 && now > promise.after(grace)
    }
}

/// Buckets an octave is divided into: bounds lie 19 % apart, which is then the error of a quantile.
const BUCKETS_PER_OCTAVE: f64 = 4.0;
/// Upper bound of the first bucket, microseconds. Nothing timed here takes less.
const FIRST_BOUND_US: f64 = 16.0;
/// From 16 us in 19 % steps to 16 s; the last bucket takes all above.
const BUCKETS: usize = 81;

/// How often something took how long: a count for each of a fixed set of durations.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    sum_us: Counter,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum_us: Counter::default() }
    }
}

impl Histogram {
    /// Counts one occurrence.
    pub fn record(&self, took: Duration) {
        let us = took.as_secs_f64() * 1e6;
        let bucket = ((us.max(1.0) / FIRST_BOUND_US).log2() * BUCKETS_PER_OCTAVE).ceil().max(0.0) as usize;
        self.buckets[bucket.min(BUCKETS - 1)].fetch_add(1, Relaxed);
        self.sum_us.add(us as u64);
    }

    /// The duration in microseconds that a share `q` (0 to 1) of all occurrences did not exceed, to within
    /// 19 %; `None` before the first.
    pub fn quantile_us(&self, q: f64) -> Option<u64> {
        let total: u64 = self.buckets.iter().map(|b| b.load(Relaxed)).sum();
        let wanted = (total as f64 * q).ceil().max(1.0) as u64;
        let mut seen = 0;
        self.buckets
            .iter()
            .position(|b| {
                seen += b.load(Relaxed);
                seen >= wanted
            })
            .map(|bucket| Self::bound_us(bucket) as u64)
    }

    /// By the octave: each bound in seconds, and how many took no longer; at the end all there were, beyond every bound.
    pub fn octaves(&self) -> impl Iterator<Item = (f64, u64)> {
        let mut seen = 0;
        let cumulative = self.buckets.iter().enumerate().map(move |(bucket, count)| {
            seen += count.load(Relaxed);
            (bucket, seen)
        });
        cumulative.filter(|(bucket, _)| bucket.is_multiple_of(BUCKETS_PER_OCTAVE as usize)).map(
            |(bucket, seen)| {
                // The last bucket has no bound.
                (if bucket == BUCKETS - 1 { f64::INFINITY } else { Self::bound_us(bucket) / 1e6 }, seen)
            },
        )
    }

    /// The sum of all durations, in seconds.
    pub fn sum_s(&self) -> f64 {
        self.sum_us.get() as f64 / 1e6
    }

    fn bound_us(bucket: usize) -> f64 {
        FIRST_BOUND_US * (bucket as f64 / BUCKETS_PER_OCTAVE).exp2()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one_camera() -> (Reporter, Watcher) {
        let (_, mut reporters, watcher) = status([("front".into(), "pattern".into(), 30.0)]);
        (reporters.remove(0), watcher)
    }

    #[test]
    fn watchers_wake_for_a_change_and_only_for_a_change() {
        let (reporter, mut watcher) = one_camera();
        watcher.borrow_and_update();
        reporter.fault(CameraState::Lost, "gone".into());
        assert!(watcher.has_changed().unwrap());
        assert_eq!(watcher.borrow_and_update().cameras[0].error.as_deref(), Some("gone"));
        reporter.fault(CameraState::Lost, "gone".into());
        assert!(!watcher.has_changed().unwrap(), "the same fault again woke the watchers");
        reporter.state(CameraState::Live);
        assert_eq!(watcher.borrow_and_update().cameras[0].error, None);
        reporter.counters().frame(Timestamp(5), 30.0);
        assert!(!watcher.has_changed().unwrap(), "a frame woke the watchers");
        assert_eq!(watcher.borrow().cameras[0].counters.frames.get(), 1);
    }

    #[test]
    fn a_broken_promise_shows_after_the_grace() {
        let (reporter, _watcher) = one_camera();
        let (counters, second) = (reporter.counters(), Duration::from_secs(1));
        assert!(!counters.is_wedged(Timestamp(u64::MAX), second), "a resting thread promised nothing");
        counters.promise(Some(Timestamp(1_000_000)));
        assert!(!counters.is_wedged(Timestamp(2_000_000), second));
        assert!(counters.is_wedged(Timestamp(2_000_001), second));
        counters.promise(None);
        assert!(!counters.is_wedged(Timestamp(2_000_001), second));
    }

    #[test]
    fn quantiles_are_right_to_a_bucket() {
        let histogram = Histogram::default();
        assert_eq!(histogram.quantile_us(0.5), None);
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        for (q, exact) in [(0.5, 500.0), (0.99, 990.0), (1.0, 1000.0)] {
            let us = histogram.quantile_us(q).unwrap() as f64;
            assert!((exact..exact * 1.2).contains(&us), "q{q}: {us} us, exactly {exact}");
        }
        histogram.record(Duration::from_secs(3600));
        assert!(histogram.quantile_us(1.0).unwrap() >= 16_000_000, "beyond the last bound");
    }

    #[test]
    fn octaves_count_what_took_no_longer_and_end_with_all() {
        let histogram = Histogram::default();
        for us in [1, 16, 17, 32, 33, 20_000_000] {
            histogram.record(Duration::from_micros(us));
        }
        let octaves: Vec<(f64, u64)> = histogram.octaves().collect();
        assert_eq!(octaves[..3], [(0.000_016, 2), (0.000_032, 4), (0.000_064, 5)]);
        assert_eq!(octaves.last(), Some(&(f64::INFINITY, 6)));
        assert_eq!((octaves.len(), octaves[octaves.len() - 2]), (21, (8.388_608, 5)));
        assert!((histogram.sum_s() - 20.000_099).abs() < 1e-9, "{}", histogram.sum_s());
    }
}
