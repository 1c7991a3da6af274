//! Flow control of `porthole.v1`: how many frames may be in flight, that is sent and not acknowledged by the viewer.
//!
//! A viewer acknowledges a frame once it is shown. So this also bounds the frames that wait inside the viewer's program,
//! which the kernel cannot see.
#![forbid(unsafe_code)]

use std::time::Duration;

use heapless::Deque;
use tokio::time::Instant;

use crate::frame::{Frame, Sequence};

/// Frames in flight on a short path: one travels while another is shown.
const MIN_WINDOW: usize = 2;
/// Most frames in flight on a long path: half a second at 30 a second.
const MAX_WINDOW: usize = 16;

/// The frames in flight to one viewer.
#[derive(Debug)]
pub(super) struct InFlightWindow {
    /// Sequence and time of sending, oldest first.
    in_flight: Deque<(Sequence, Instant), MAX_WINDOW>,
    /// How many are allowed.
    limit: usize,
    /// The last frame sent.
    last: Option<Frame>,
    /// Time between two frames of the camera; zero before two were sent.
    interval: Duration,
}

impl Default for InFlightWindow {
    fn default() -> Self {
        Self { in_flight: Deque::new(), limit: MIN_WINDOW, last: None, interval: Duration::ZERO }
    }
}

impl InFlightWindow {
    /// The number of frames in flight.
    pub(super) fn len(&self) -> u32 {
        self.in_flight.len() as u32
    }

    /// When the oldest frame was sent, if the window is full.
    pub(super) fn full_since(&self) -> Option<Instant> {
        self.in_flight.front().filter(|_| self.in_flight.len() >= self.limit).map(|(_, sent)| *sent)
    }

    /// Adjusts the limit to the frames that a round trip of the network spans. The time that a viewer takes to show a frame
    /// does not count, as frames would then wait inside the viewer.
    pub(super) fn fit(&mut self, round_trip: Duration) {
        let travelling = round_trip.as_micros().checked_div(self.interval.as_micros()).unwrap_or(0);
        self.limit = (MIN_WINDOW + travelling as usize).min(MAX_WINDOW);
    }

    /// Adds a frame that is being sent.
    pub(super) fn sent(&mut self, frame: Frame) {
        if let Some(last) = self.last.replace(frame) {
            let frames = frame.sequence.0.wrapping_sub(last.sequence.0).max(1);
            self.interval = frame.captured_at.since(last.captured_at) / frames;
        }
        // There is room, as no frame is sent while the window is full.
        let _ = self.in_flight.push_back((frame.sequence, Instant::now()));
    }

    /// Removes the frame `sequence` and all that were sent before it. Those were shown or never will be.
    pub(super) fn acknowledge(&mut self, sequence: Sequence) {
        if let Some(last) = self.in_flight.iter().position(|(sent, _)| *sent == sequence) {
            for _ in 0..=last {
                self.in_flight.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Resolution, Timestamp};

    fn frame(sequence: u32, captured_ms: u64) -> Frame {
        Frame {
            sequence: Sequence(sequence),
            captured_at: Timestamp(captured_ms * 1000),
            resolution: Resolution::new(64, 48),
        }
    }

    #[test]
    fn the_window_opens_with_acknowledgements() {
        let mut window = InFlightWindow::default();
        window.sent(frame(5, 0));
        assert_eq!(window.full_since(), None);
        window.sent(frame(9, 133));
        assert!(window.full_since().is_some() && window.len() == 2);
        window.acknowledge(Sequence(4));
        assert_eq!(window.len(), 2, "a sequence that was never sent");
        window.acknowledge(Sequence(5));
        assert_eq!((window.len(), window.full_since()), (1, None));
        window.sent(frame(12, 233));
        window.acknowledge(Sequence(12));
        assert_eq!(window.len(), 0, "it acknowledges those before it");
    }

    #[test]
    fn the_window_grows_with_the_round_trip() {
        let mut window = InFlightWindow::default();
        window.fit(Duration::from_secs(1));
        assert_eq!(window.limit, 2, "the frame interval is not known yet");
        window.sent(frame(5, 0));
        window.sent(frame(9, 133));
        for (round_trip_ms, limit) in [(0, 2), (32, 2), (70, 4), (10_000, 16)] {
            window.fit(Duration::from_millis(round_trip_ms));
            assert_eq!(window.limit, limit, "{round_trip_ms} ms");
        }
        (10..24).for_each(|n| window.sent(frame(n, u64::from(n) * 33)));
        assert!(window.len() == 16 && window.full_since().is_some());
    }
}
