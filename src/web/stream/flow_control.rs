//! When a stream may send its next frame: as soon as there is a newer one and the socket is clear ([`FramePacer`]), and in
//! `porthole.v1` while few frames are in flight, that is sent and not acknowledged by the viewer ([`InFlightWindow`]).
//!
//! The frame is chosen only when it can leave, so a slow link skips frames and does not queue them. Access units of H.264
//! pass the same gate, in their order; a viewer that falls behind goes on at a key frame. A viewer acknowledges a
//! frame once it is shown, which also bounds the frames that wait inside the viewer's program, where the kernel cannot see
//! them.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use heapless::Deque;
use tokio::io::AsyncReadExt;
use tokio::time::{Instant, sleep_until};

use crate::frame::{Frame, Sequence};
use crate::ring::RingClosed;
use crate::web::server::client_socket::ClientSocket;
use crate::web::stream::feed::Feed;

/// What a stream was woken by.
#[derive(Debug)]
pub(super) enum StreamEvent {
    /// There is a newer frame, and it would leave at once.
    FrameDue,
    /// The client sent so many bytes; 0 if it has closed the connection.
    Read(usize),
    Deadline,
    Closed(RingClosed),
}

#[derive(Debug, Default)]
pub(super) struct FramePacer {
    /// When to look again whether the socket is clear, while earlier writes are in the way.
    check_at: Option<Instant>,
}

impl FramePacer {
    /// Waits for the first of: a frame that would leave at once, unless `may_send` is false; bytes from the client,
    /// which are read into `buffer`; and `deadline`. Loses nothing when cancelled. Fails when the connection fails, or
    /// the peer has taken nothing within the write timeout.
    pub(super) async fn next(
        &mut self,
        socket: &mut ClientSocket,
        feed: &mut impl Feed,
        may_send: bool,
        buffer: &mut [u8],
        deadline: Option<Instant>,
    ) -> io::Result<StreamEvent> {
        loop {
            // Checked here, as the timer below is never polled while the peer keeps sending.
            let now = Instant::now();
            self.check_at = self.check_at.filter(|at| now < *at);
            if deadline.is_some_and(|at| now >= at) {
                return Ok(StreamEvent::Deadline);
            }
            let wake_at = self.check_at.into_iter().chain(deadline).min();
            tokio::select! {
                biased;
                changed = feed.changed(), if may_send && self.check_at.is_none() => {
                    if let Err(closed) = changed {
                        return Ok(StreamEvent::Closed(closed));
                    }
                    // What the viewer has sent meanwhile may tell that it is.
                    if let Some(read) = socket.read_late(buffer)? {
                        return Ok(StreamEvent::Read(read));
                    }
                    self.check_at = socket.time_until_clear()?.map(|time| Instant::now() + time);
                    if self.check_at.is_none() {
                        return Ok(StreamEvent::FrameDue);
                    }
                }
                read = socket.read(buffer) => return read.map(StreamEvent::Read),
                () = sleep_until(wake_at.unwrap_or(now)), if wake_at.is_some() => {}
            }
        }
    }
}

/// Frames in flight on a short path: one travels while another is shown.
const MIN_WINDOW: usize = 2;
/// Most frames in flight on a long path: half a second at 30 a second.
const MAX_WINDOW: usize = 16;

#[derive(Debug)]
pub(super) struct InFlightWindow {
    /// Sequence and time of sending, oldest first.
    in_flight: Deque<(Sequence, Instant), MAX_WINDOW>,
    limit: usize,
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
    pub(super) fn len(&self) -> u32 {
        self.in_flight.len() as u32
    }

    /// Time between two frames of the camera; zero if it is not known.
    pub(super) fn interval(&self) -> Duration {
        self.interval
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

    pub(super) fn sent(&mut self, frame: Frame) {
        if let Some(last) = self.last.replace(frame) {
            let frames = frame.sequence.0.wrapping_sub(last.sequence.0).max(1);
            self.interval = frame.captured_at.since(last.captured_at) / frames;
        }
        // There is room, as no frame is sent while the window is full.
        let _ = self.in_flight.push_back((frame.sequence, Instant::now()));
    }

    /// Removes the frame `sequence` and all that were sent before it. Those were shown or never will be. Returns whether it
    /// was the last frame that was sent.
    pub(super) fn acknowledge(&mut self, sequence: Sequence) -> bool {
        let Some(last) = self.in_flight.iter().position(|(sent, _)| *sent == sequence) else { return false };
        for _ in 0..=last {
            self.in_flight.pop_front();
        }
        self.in_flight.is_empty()
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
        assert!(!window.acknowledge(Sequence(4)) && window.len() == 2, "a sequence that was never sent");
        assert!(!window.acknowledge(Sequence(5)), "another frame was sent after it");
        assert_eq!((window.len(), window.full_since()), (1, None));
        window.sent(frame(12, 233));
        assert!(window.acknowledge(Sequence(12)) && window.len() == 0, "it acknowledges those before it");
        assert!(!window.acknowledge(Sequence(12)), "it was acknowledged before");
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
