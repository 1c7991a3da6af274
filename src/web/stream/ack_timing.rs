//! When acknowledgements are read: as they come, or with the next frame.
//!
//! An acknowledgement that comes wakes the thread, which costs as much as sending a frame to several viewers. A viewer that has
//! acknowledged each frame before the next one was due, for a while, need not be read before that: nothing depends on it until
//! then. Whatever else it says is read at once if it comes behind the acknowledgement, or is longer than one; and otherwise with
//! the acknowledgement, or the next frame. Once an acknowledgement is late, or no frame comes, each is read as it comes again.
//!
//! Pure. How a socket is told is in `client_socket`.
#![forbid(unsafe_code)]

use std::time::Duration;

use tokio::time::Instant;

/// Frames in a row that were acknowledged in time before acknowledgements are read late: a second at 30 a second, in which a
/// viewer compares its clock with that of the service without being kept waiting.
const FRAMES_IN_TIME: u32 = 30;
/// The same once they have been read late: a busy machine is late with one now and then.
const FRAMES_IN_TIME_AGAIN: u32 = 5;
/// The longest that anything is read late: without a frame for this long, it is read.
const LATEST: Duration = Duration::from_millis(100);
/// Bytes by which an acknowledgement may be longer than the one before: its number grows. The shortest message that may come
/// behind it has six bytes (RFC 6455, section 5.2: a header, and the mask of a client), and is not held back for its sake.
const GROWTH: u32 = 4;
/// Bytes of the longest acknowledgement that is read late. Those that programs send are half as long.
const LONGEST: u32 = 96;
/// Bytes that travel with the text of a short message of a client: two of the header, and the mask (RFC 6455, section 5.2).
const FRAMING: u32 = 6;

/// When what a viewer sends is read from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ReadTiming {
    AtOnce,
    /// With the next frame, unless there are as many bytes.
    WithNextFrame {
        below: u32,
    },
}

#[derive(Debug, Default)]
pub(super) struct AckTiming {
    /// Frames in a row that were acknowledged before the next one was due.
    in_time: u32,
    /// All frames were acknowledged since the last one was due.
    is_acknowledged: bool,
    /// Bytes of the last acknowledgement, as it travels.
    length: u32,
    late: Option<Late>,
    was_late: bool,
    cannot_be_late: bool,
}

/// Acknowledgements are read late.
#[derive(Clone, Copy, Debug)]
struct Late {
    below: u32,
    until: Instant,
}

impl AckTiming {
    /// A message with so many bytes of text has acknowledged all frames.
    pub(super) fn all_acknowledged(&mut self, text: usize) {
        (self.is_acknowledged, self.length) = (true, (text as u32).saturating_add(FRAMING));
    }

    /// This connection cannot be read late.
    pub(super) fn cannot_be_late(&mut self) {
        (self.cannot_be_late, self.late) = (true, None);
    }

    /// When to call [`AckTiming::check`], if no frame is due before.
    pub(super) fn late_until(&self) -> Option<Instant> {
        self.late.map(|late| late.until)
    }

    /// A frame is due, while `in_flight` others are not acknowledged. The camera gives one at each `interval`.
    pub(super) fn frame_due(
        &mut self,
        in_flight: u32,
        interval: Duration,
        now: Instant,
    ) -> Option<ReadTiming> {
        let is_in_time = std::mem::take(&mut self.is_acknowledged) && in_flight == 0;
        if !is_in_time {
            return self.read_at_once();
        }
        self.in_time = self.in_time.saturating_add(1);
        let (below, until) = (self.length + GROWTH, now + LATEST);
        let enough = if self.was_late { FRAMES_IN_TIME_AGAIN } else { FRAMES_IN_TIME };
        let is_right = self.in_time >= enough && interval < LATEST && self.length <= LONGEST;
        // Until it has grown so far that each wakes the thread.
        if let Some(late) = self.late.as_mut().filter(|late| self.length < late.below) {
            late.until = until;
            return None;
        }
        if is_right && !self.cannot_be_late {
            (self.late, self.was_late) = (Some(Late { below, until }), true);
            return Some(ReadTiming::WithNextFrame { below });
        }
        self.late.take().map(|_| ReadTiming::AtOnce)
    }

    fn read_at_once(&mut self) -> Option<ReadTiming> {
        self.in_time = 0;
        self.late.take().map(|_| ReadTiming::AtOnce)
    }

    /// No frame was due until `now`.
    pub(super) fn check(&mut self, now: Instant) -> Option<ReadTiming> {
        if self.late.is_some_and(|late| now >= late.until) { self.read_at_once() } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(33);

    /// A frame is due after one that was acknowledged with so many bytes of text.
    fn acknowledged(timing: &mut AckTiming, text: usize, now: Instant) -> Option<ReadTiming> {
        timing.all_acknowledged(text);
        timing.frame_due(0, INTERVAL, now)
    }

    /// Acknowledges until that is read late.
    fn late(now: Instant) -> AckTiming {
        let mut timing = AckTiming::default();
        assert_eq!(timing.frame_due(0, INTERVAL, now), None, "the first frame");
        for frame in 1..FRAMES_IN_TIME {
            assert_eq!(acknowledged(&mut timing, 31, now), None, "frame {frame}");
        }
        let below = 37 + GROWTH;
        assert_eq!(acknowledged(&mut timing, 31, now), Some(ReadTiming::WithNextFrame { below }));
        timing
    }

    #[test]
    fn acknowledgements_are_read_late_once_they_have_come_in_time_for_a_while() {
        let mut now = Instant::now();
        let mut timing = late(now);
        for text in [31, 32, 34, 31] {
            now += INTERVAL;
            assert_eq!(acknowledged(&mut timing, text, now), None);
            assert_eq!(timing.late_until(), Some(now + LATEST));
        }
        let below = 41 + GROWTH;
        assert_eq!(
            acknowledged(&mut timing, 35, now),
            Some(ReadTiming::WithNextFrame { below }),
            "it has grown"
        );
        assert_eq!(acknowledged(&mut timing, 4000, now), Some(ReadTiming::AtOnce), "too long");
    }

    #[test]
    fn a_late_acknowledgement_and_a_camera_that_stalls_end_it() {
        let now = Instant::now();
        let mut timing = late(now);
        assert_eq!(timing.frame_due(1, INTERVAL, now), Some(ReadTiming::AtOnce));
        assert_eq!(timing.frame_due(2, INTERVAL, now), None, "it is read at once already");
        for frame in 1..FRAMES_IN_TIME_AGAIN {
            assert_eq!(acknowledged(&mut timing, 31, now), None, "frame {frame}");
        }
        let again = Some(ReadTiming::WithNextFrame { below: 37 + GROWTH });
        assert_eq!(acknowledged(&mut timing, 31, now), again, "sooner than the first time");
        let mut timing = late(now);
        assert_eq!(timing.check(now), None);
        assert_eq!(timing.check(now + LATEST), Some(ReadTiming::AtOnce));
        assert_eq!((timing.late_until(), timing.check(now + LATEST)), (None, None));
    }

    #[test]
    fn viewers_that_never_acknowledge_slow_cameras_and_tls_are_read_at_once() {
        let now = Instant::now();
        let (mut silent, mut slow, mut encrypted) = <(AckTiming, AckTiming, AckTiming)>::default();
        for _ in 0..100 {
            assert_eq!(silent.frame_due(0, INTERVAL, now), None);
            slow.all_acknowledged(31);
            assert_eq!(slow.frame_due(0, LATEST, now), None);
            if acknowledged(&mut encrypted, 31, now).is_some() {
                assert!(!encrypted.cannot_be_late, "it is tried once");
                encrypted.cannot_be_late();
            }
        }
        assert!(encrypted.cannot_be_late && encrypted.late_until().is_none());
    }
}
