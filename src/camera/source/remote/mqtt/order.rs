//! The order of the frames of a camera that come by several sessions: each one counts once, and none that is older than the newest.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::frame::Frame;

/// Sessions that frames come by.
pub(super) const SESSIONS: usize = 2;
/// Frames are kept by no broker for longer. A capture time that goes back by more is of a machine that was started again.
const LONGEST_DELAY: Duration = Duration::from_secs(10);
/// So many frames in a row that are older than the newest one are none: the machine was started again a moment ago.
const MOST_LATE: u32 = 60;

/// What a frame is beside those that came before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FramePlace {
    /// It is newer than all.
    Newest {
        /// Numbers that were left out before it.
        gap: u32,
    },
    /// It is the first one of a machine that was started again, whose clock and numbers begin anew.
    Restarted,
    /// It came by another session, or a newer one did.
    Copied,
    /// It came by this session before, or a newer one did: the broker sent it twice or late.
    Late,
}

/// Frames by their capture time and number.
#[derive(Clone, Copy, Debug)]
struct FrameKey {
    captured_at: u64,
    sequence: u32,
}

impl FrameKey {
    fn is_after(self, other: Self) -> bool {
        let ahead = self.sequence.wrapping_sub(other.sequence) as i32;
        (self.captured_at, ahead) > (other.captured_at, 0)
    }
}

/// The newest frame of all, and of each session.
#[derive(Debug, Default)]
pub(super) struct FrameOrder {
    newest: Option<FrameKey>,
    by_session: [Option<FrameKey>; SESSIONS],
    /// Late frames in a row.
    late: u32,
}

impl FrameOrder {
    /// Places a frame that came by this session, from 0.
    pub(super) fn place(&mut self, session: usize, frame: &Frame) -> FramePlace {
        let key = FrameKey { captured_at: frame.captured_at.0, sequence: frame.sequence.0 };
        let of_session = self.by_session.get(session).copied().flatten();
        let place = match self.newest {
            None => FramePlace::Newest { gap: 0 },
            Some(newest) if key.is_after(newest) => {
                let gap = key.sequence.wrapping_sub(newest.sequence).wrapping_sub(1);
                // A number that goes back is one of a service that was started again.
                FramePlace::Newest { gap: if gap > u32::MAX / 2 { 0 } else { gap } }
            }
            Some(newest) if self.late >= MOST_LATE || went_back(newest, key) => FramePlace::Restarted,
            Some(_) if of_session.is_none_or(|last| key.is_after(last)) => FramePlace::Copied,
            Some(_) => FramePlace::Late,
        };
        match place {
            FramePlace::Newest { .. } => (self.newest, self.late) = (Some(key), 0),
            FramePlace::Restarted => *self = Self { newest: Some(key), ..Self::default() },
            FramePlace::Copied => {}
            FramePlace::Late => self.late += 1,
        }
        if place != FramePlace::Late
            && let Some(last) = self.by_session.get_mut(session)
        {
            *last = Some(key);
        }
        place
    }
}

fn went_back(newest: FrameKey, key: FrameKey) -> bool {
    u128::from(newest.captured_at.saturating_sub(key.captured_at)) > LONGEST_DELAY.as_micros()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Resolution, Sequence, Timestamp};

    const SECOND: u64 = 1_000_000;

    fn frame(captured_at: u64, sequence: u32) -> Frame {
        let resolution = Resolution::new(64, 48);
        Frame { sequence: Sequence(sequence), captured_at: Timestamp(captured_at), resolution }
    }

    /// Places frames of `(session, captured_at, sequence)`.
    fn place(frames: &[(usize, u64, u32)]) -> Vec<FramePlace> {
        let mut order = FrameOrder::default();
        frames.iter().map(|&(session, at, sequence)| order.place(session, &frame(at, sequence))).collect()
    }

    #[test]
    fn each_frame_counts_once_whichever_session_is_first() {
        use FramePlace::{Copied, Newest};
        let placed =
            place(&[(0, 10, 1), (1, 10, 1), (1, 20, 2), (0, 20, 2), (0, 50, 5), (1, 30, 3), (1, 50, 5)]);
        let newest = Newest { gap: 0 };
        assert_eq!(placed, [newest, Copied, newest, Copied, Newest { gap: 2 }, Copied, Copied]);
    }

    #[test]
    fn what_a_session_sends_twice_or_late_is_told_from_copies() {
        use FramePlace::{Late, Newest};
        let newest = Newest { gap: 0 };
        assert_eq!(
            place(&[(0, 10, 1), (0, 10, 1), (0, 20, 2), (0, 10, 1), (0, 30, 3)]),
            [newest, Late, newest, Late, newest]
        );
        let same_time = place(&[(0, 10, 1), (0, 10, 2), (0, 10, 1)]);
        assert_eq!(same_time, [newest, newest, Late]);
    }

    #[test]
    fn a_machine_that_was_started_again_is_shown() {
        use FramePlace::{Late, Newest, Restarted};
        let newest = Newest { gap: 0 };
        // Numbers begin anew with the service, times with the machine.
        assert_eq!(place(&[(0, 10 * SECOND, 900), (0, 11 * SECOND, 1)]), [newest, newest]);
        assert_eq!(
            place(&[(0, 60 * SECOND, 900), (0, 20 * SECOND, 1), (0, 21 * SECOND, 2)]),
            [newest, Restarted, newest]
        );
        let mut order = FrameOrder::default();
        order.place(0, &frame(9 * SECOND, 900));
        let late = (0..200).find(|nth| order.place(0, &frame(SECOND + u64::from(*nth), *nth)) != Late);
        assert_eq!(late, Some(MOST_LATE));
    }

    #[test]
    fn numbers_wrap() {
        let placed = place(&[(0, 10, u32::MAX), (0, 10, 0), (0, 20, 2)]);
        assert_eq!(
            placed,
            [FramePlace::Newest { gap: 0 }, FramePlace::Newest { gap: 0 }, FramePlace::Newest { gap: 1 }]
        );
    }
}
