//! The counters of a camera.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::broker::BrokerCounters;
use super::counter::{Counter, Histogram};
use crate::frame::Timestamp;

/// The counters of a camera. Only its threads write them.
#[derive(Debug, Default)]
pub struct Counters {
    /// Frames published to viewers.
    pub frames: Counter,
    /// Corrupt frames from the source, which were not sent.
    pub corrupt: Counter,
    /// Frames lost before they were published: skipped by the driver, or too large for a slot.
    pub dropped: Counter,
    /// Frames whose time cannot be true as the source stated it. The time of their arrival was used.
    pub implausible_times: Counter,
    /// Frames whose number cannot be true as the source stated it. It was not used to count dropped frames.
    pub implausible_sequences: Counter,
    /// Times the source was opened again after a fault.
    pub reopens: Counter,
    /// Full-size stills taken beside the stream.
    pub stills: Counter,
    /// Full-size stills that failed.
    pub failed_stills: Counter,
    /// Time to encode a picture.
    pub encode: Histogram,
    /// Time to encode a picture as H.264.
    pub h264_encode: Histogram,
    /// Time to decode a picture of H.264, for viewers of JPEG.
    pub h264_decode: Histogram,
    /// Pictures that were not encoded as H.264, because newer ones came meanwhile.
    pub h264_overtaken: Counter,
    /// Bytes of H.264 published.
    pub h264_bytes: Counter,
    /// Times an encoder or decoder of H.264 failed.
    pub h264_failures: Counter,
    /// Access units that were lost or damaged before they were published.
    pub h264_lost: Counter,
    broker: OnceLock<Arc<BrokerCounters>>,
    h264_kbps: AtomicU32,
    last_frame_at: AtomicU64,
    milli_fps: AtomicU32,
    /// In microseconds of CLOCK_MONOTONIC; 0 while the thread rests.
    deadline: AtomicU64,
}

impl Counters {
    /// A frame captured at `at` was published. The current rate is `fps` frames per second.
    pub fn frame(&self, at: Timestamp, fps: f32) {
        self.frames.add(1);
        self.last_frame_at.store(at.0, Relaxed);
        self.milli_fps.store((fps * 1000.0) as u32, Relaxed);
    }

    /// The source delivers no frames any more.
    pub fn frames_stopped(&self) {
        self.milli_fps.store(0, Relaxed);
    }

    /// The current rate in frames per second.
    pub fn fps(&self) -> f32 {
        self.milli_fps.load(Relaxed) as f32 / 1000.0
    }

    /// The counters of a camera whose frames come through a broker. It is one from the first call on.
    pub fn begin_broker(&self) -> &Arc<BrokerCounters> {
        self.broker.get_or_init(Arc::default)
    }

    /// The same; `None` if no frames come through a broker.
    pub fn broker(&self) -> Option<&BrokerCounters> {
        self.broker.get().map(AsRef::as_ref)
    }

    /// H.264 is published with this many kbit a second.
    pub fn set_h264_rate(&self, kbps: u32) {
        self.h264_kbps.store(kbps, Relaxed);
    }

    /// Kilobits of H.264 a second, 0 while there is none.
    pub fn h264_kbps(&self) -> u32 {
        self.h264_kbps.load(Relaxed)
    }

    /// When the newest frame was captured.
    pub fn last_frame_at(&self) -> Option<Timestamp> {
        Some(Timestamp(self.last_frame_at.load(Relaxed))).filter(|t| t.0 > 0)
    }

    /// The capture thread sets its next deadline by this time; `None` while it rests.
    pub fn set_deadline(&self, deadline: Option<Timestamp>) {
        self.deadline.store(deadline.map_or(0, |t| t.0), Relaxed);
    }

    /// Whether the capture thread is late for its deadline by more than `grace`: it is stuck in a driver, or gone.
    pub fn is_stuck(&self, now: Timestamp, grace: Duration) -> bool {
        let deadline = Timestamp(self.deadline.load(Relaxed));
        deadline.0 > 0 && now > deadline.after(grace)
    }
}
