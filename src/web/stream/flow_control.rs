//! How many frames may be under way to a `porthole.v1` viewer: what it has been sent and has not yet acknowledged.
//!
//! What counts is the viewer's own word that a frame has been shown, so this bounds what waits in its program too, of
//! which the kernel knows nothing.
#![forbid(unsafe_code)]

use std::time::Duration;

use heapless::Deque;
use tokio::time::Instant;

use crate::frame::{Frame, Sequence};

/// Frames that may be sent to a `porthole.v1` viewer who has not acknowledged them: one on its way while one is being
/// shown...
const WINDOW: usize = 2;
/// ...and with those that a long way holds, no more than this: half a second of 30 a second.
const MAX_WINDOW: usize = 16;

/// Frames that are on their way to a viewer: sent and not acknowledged.
#[derive(Debug)]
pub(in crate::web) struct Window {
    /// Sequence and when it was sent, oldest first.
    in_flight: Deque<(Sequence, Instant), MAX_WINDOW>,
    /// How many there may be.
    limit: usize,
    /// The frame that was sent last.
    last: Option<Frame>,
    /// Time from one frame of the camera to the next, if two have been sent.
    interval: Duration,
}

impl Default for Window {
    fn default() -> Self {
        Self { in_flight: Deque::new(), limit: WINDOW, last: None, interval: Duration::ZERO }
    }
}

impl Window {
    pub(in crate::web) fn len(&self) -> u32 {
        self.in_flight.len() as u32
    }

    /// When the oldest frame was sent, if no other may be before it is acknowledged.
    pub(in crate::web) fn is_full_at(&self) -> Option<Instant> {
        self.in_flight.front().filter(|_| self.in_flight.len() >= self.limit).map(|(_, sent)| *sent)
    }

    /// Makes it as wide as a way needs on which an acknowledgement cannot be back sooner. What a viewer takes to show
    /// a frame is no reason: frames would then wait at its end.
    pub(in crate::web) fn fit(&mut self, round_trip: Duration) {
        let travelling = round_trip.as_micros().checked_div(self.interval.as_micros()).unwrap_or(0);
        self.limit = (WINDOW + travelling as usize).min(MAX_WINDOW);
    }

    pub(in crate::web) fn sent(&mut self, frame: Frame) {
        if let Some(last) = self.last.replace(frame) {
            let frames = frame.sequence.0.wrapping_sub(last.sequence.0).max(1);
            self.interval = frame.captured_at.since(last.captured_at) / frames;
        }
        // There is room: none is sent while it is full.
        let _ = self.in_flight.push_back((frame.sequence, Instant::now()));
    }

    /// `sequence` has been shown, and so has or never will be all that was sent before it.
    pub(in crate::web) fn acknowledge(&mut self, sequence: Sequence) {
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
        let mut window = Window::default();
        window.sent(frame(5, 0));
        assert_eq!(window.is_full_at(), None);
        window.sent(frame(9, 133));
        assert!(window.is_full_at().is_some() && window.len() == 2);
        window.acknowledge(Sequence(4));
        assert_eq!(window.len(), 2, "a number that was never sent");
        window.acknowledge(Sequence(5));
        assert_eq!((window.len(), window.is_full_at()), (1, None));
        window.sent(frame(12, 233));
        window.acknowledge(Sequence(12));
        assert_eq!(window.len(), 0, "the last one stands for those before it");
    }

    #[test]
    fn the_window_is_as_wide_as_the_way_is_long() {
        let mut window = Window::default();
        window.fit(Duration::from_secs(1));
        assert_eq!(window.limit, 2, "nothing is known of the camera yet");
        window.sent(frame(5, 0));
        window.sent(frame(9, 133));
        for (round_trip_ms, limit) in [(0, 2), (32, 2), (70, 4), (10_000, 16)] {
            window.fit(Duration::from_millis(round_trip_ms));
            assert_eq!(window.limit, limit, "{round_trip_ms} ms");
        }
        (10..24).for_each(|n| window.sent(frame(n, u64::from(n) * 33)));
        assert!(window.len() == 16 && window.is_full_at().is_some());
    }
}
