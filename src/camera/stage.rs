//! From a captured picture to a published frame: counted, held back while exposure settles, made a JPEG, put into the
//! ring. When pictures are fetched, and what happens when there are none, is in [`capture`](super::capture).
#![forbid(unsafe_code)]

use std::time::Instant;

use log::debug;

use super::Captured;
use crate::failpoint;
use crate::frame::Timestamp;
use crate::jpeg::{JpegError, JpegSettings, JpegWriter, Picture};
use crate::ring::Publisher;
use crate::status::{CameraState, Reporter};

/// What became of a captured picture.
pub(super) enum Taken {
    /// It is the newest frame.
    Published,
    /// It was whole, and held back while exposure settles.
    Skipped,
    /// It was not fit to be shown.
    Rejected,
}

/// From a captured picture to a published frame.
pub(super) struct Stage {
    maker: JpegWriter,
    pub(super) publisher: Publisher,
    pub(super) reporter: Reporter,
    rate: Rate,
    /// Frames still to hold back while exposure settles.
    to_skip: u32,
    pub(super) last_reject: Option<JpegError>,
}

impl Stage {
    pub(super) fn new(settings: JpegSettings, publisher: Publisher, reporter: Reporter) -> Self {
        let maker = JpegWriter::new(settings);
        Self { maker, publisher, reporter, rate: Rate::default(), to_skip: 0, last_reject: None }
    }

    /// The source has been opened; so many of its frames are to be held back.
    pub(super) fn begin(&mut self, to_skip: u32) {
        (self.rate, self.to_skip) = (Rate::default(), to_skip);
    }

    pub(super) fn take(&mut self, captured: Captured<'_>) -> Taken {
        failpoint::pass("camera");
        let counters = self.reporter.counters();
        counters.dropped.add(captured.missed.into());
        if captured.damaged {
            counters.corrupt.add(1);
            return Taken::Rejected;
        }
        if self.to_skip > 0 {
            self.to_skip -= 1;
            return Taken::Skipped;
        }
        let (maker, rate, reporter) = (&mut self.maker, &mut self.rate, &self.reporter);
        let published = self.publisher.publish(captured.at, |slot| {
            let started = Instant::now();
            let jpeg = maker.write(&captured.picture, slot)?;
            if let Picture::Raw(_) = captured.picture {
                counters.encode.record(started.elapsed());
            }
            // Before the viewers have it: what they see must not be ahead of what the status says.
            counters.frame(captured.at, rate.tick(captured.at));
            reporter.state(CameraState::Live);
            Ok(jpeg)
        });
        match published {
            Ok(_) => Taken::Published,
            Err(reject) => {
                match reject {
                    JpegError::TooLarge(_) | JpegError::Encode(_) => counters.dropped.add(1),
                    _ => counters.corrupt.add(1),
                }
                debug!("frame held back: {reject}");
                self.last_reject = Some(reject);
                Taken::Rejected
            }
        }
    }
}

/// Frames a second over the last few.
#[derive(Default)]
struct Rate {
    times: [Timestamp; Rate::WINDOW],
    seen: usize,
}

impl Rate {
    /// Frames looked back on: about a second.
    const WINDOW: usize = 32;

    /// Counts a frame captured at `at`; returns the rate of the last ones.
    fn tick(&mut self, at: Timestamp) -> f32 {
        self.times[self.seen % Self::WINDOW] = at;
        self.seen += 1;
        let intervals = self.seen.min(Self::WINDOW) - 1;
        let oldest = self.times[(self.seen - 1 - intervals) % Self::WINDOW];
        let span = at.since(oldest).as_secs_f32();
        if span > 0.0 { intervals as f32 / span } else { 0.0 }
    }
}
