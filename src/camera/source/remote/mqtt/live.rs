//! What the far machine says of a camera, message by message: frames, the answers to comparisons of the clock, and what is wrong
//! there. It does not know how messages come.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::Deserialize;

use super::order::{FrameOrder, FramePlace};
use crate::camera::frame_timing::{FrameTime, FrameTiming};
use crate::camera::source::remote::clock::FarClock;
use crate::frame::Timestamp;
use crate::mqtt::topics::OFFLINE;
use crate::mqtt::watch::ClockAnswer;
use crate::websocket::FrameMessage;

/// The age up to which the first pictures can be true: the camera may have been live before, and slow.
const MAX_AGE: Duration = Duration::from_secs(60);
/// Most bytes of the far camera's state.
const MOST_BYTES: usize = 256 * 1024;

/// A frame that came.
#[derive(Debug, PartialEq, Eq)]
pub enum LiveFrame<'a> {
    /// It is to be shown, unless a newer one has come too.
    Newest {
        /// When it was captured, in this machine's clock, and what was lost before it.
        time: FrameTime,
        /// The picture.
        jpeg: &'a [u8],
        /// Frames that were sent and did not come.
        lost: u32,
    },
    /// It came by the other session.
    Copied,
    /// The broker sent it twice or late.
    Late,
    /// What came is no frame.
    Damaged,
}

/// What the far machine says of the camera and of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct FarReport {
    /// It has said whether it is there.
    pub(super) is_known: bool,
    /// It says that it is not there, or the broker does for it.
    pub(super) is_offline: bool,
    /// It has answered, so it has got what was asked.
    pub(super) has_answered: bool,
    /// The fault of its camera: the state and the reason.
    pub(super) fault: Option<(String, String)>,
}

/// A camera's part of `/state`, as far as it matters here.
#[derive(Deserialize)]
struct FarState {
    state: String,
    error: Option<String>,
}

/// The frames of one camera, while it is watched.
#[derive(Debug)]
pub struct LiveFrames {
    order: FrameOrder,
    clock: FarClock,
    clock_interval: Duration,
    timing: FrameTiming,
    /// When the newest frame was captured, in this machine's clock.
    last_at: Timestamp,
    pub(super) report: FarReport,
}

impl LiveFrames {
    /// Before the first frame. The clocks are compared every `clock_interval`, once the first comparisons are done.
    pub fn new(clock_interval: Duration) -> Self {
        let oldest = Timestamp(Timestamp::now().0.saturating_sub(MAX_AGE.as_micros() as u64));
        Self {
            order: FrameOrder::default(),
            clock: FarClock::new(clock_interval),
            clock_interval,
            timing: FrameTiming::new(oldest, None),
            last_at: oldest,
            report: FarReport::default(),
        }
    }

    /// Takes a message of `porthole.v1` that came at `now`.
    pub fn frame<'a>(&mut self, session: usize, message: &'a [u8], now: Timestamp) -> LiveFrame<'a> {
        let Some((FrameMessage { frame, sent_at, skipped }, jpeg)) = FrameMessage::decode(message) else {
            return LiveFrame::Damaged;
        };
        let lost = match self.order.place(session, &frame) {
            FramePlace::Copied => return LiveFrame::Copied,
            FramePlace::Late => return LiveFrame::Late,
            FramePlace::Newest { gap } => gap.saturating_sub(skipped),
            FramePlace::Restarted => {
                // Times here never go back.
                self.timing = FrameTiming::new(self.last_at, None);
                self.clock = FarClock::new(self.clock_interval);
                0
            }
        };
        let at = self.clock.here(frame.captured_at, sent_at, now);
        let time = self.timing.judge(now, at, Some(true), Some(frame.sequence.0));
        self.last_at = time.at;
        LiveFrame::Newest { time, jpeg, lost }
    }

    /// When the next comparison of the clocks is due.
    pub(super) fn next_comparison(&self) -> Timestamp {
        self.clock.next_ping()
    }

    /// A comparison is sent at `now`.
    pub fn compare(&mut self, now: Timestamp) {
        self.clock.pinged(now);
    }

    /// Takes an answer that came at `now`.
    pub fn compared(&mut self, message: &[u8], now: Timestamp) {
        if let Some(ClockAnswer { t, now: far }) = ClockAnswer::parse(message) {
            self.report.has_answered = true;
            self.clock.answered(Timestamp(t), now, Timestamp(far));
        }
    }

    /// Takes the far machine's status.
    pub fn status(&mut self, message: &[u8]) {
        (self.report.is_known, self.report.is_offline) = (true, message == OFFLINE.as_bytes());
    }

    /// Takes the state of the far camera.
    pub fn state(&mut self, message: &[u8]) {
        let state = serde_json::from_slice(message).ok().filter(|_| message.len() <= MOST_BYTES);
        let state: Option<FarState> = state;
        self.report.fault = state.and_then(|FarState { state, error }| Some((state, error?)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{Frame, Resolution, Sequence};

    const MS: u64 = 1000;
    const HOUR: u64 = 3_600_000_000;

    fn message(captured_at: u64, sent_at: u64, sequence: u32, skipped: u32) -> Vec<u8> {
        let resolution = Resolution::new(64, 48);
        let frame = Frame { sequence: Sequence(sequence), captured_at: Timestamp(captured_at), resolution };
        let head = FrameMessage { frame, sent_at: Timestamp(sent_at), skipped }.encode();
        [&head[..], b"jpeg"].concat()
    }

    fn live() -> LiveFrames {
        LiveFrames::new(Duration::from_secs(5))
    }

    #[test]
    fn a_frame_has_its_true_time_once_the_clocks_were_compared() {
        let (mut live, now) = (live(), Timestamp::now().0);
        // The way takes 40 ms each; the far clock is an hour ahead.
        live.compare(Timestamp(now));
        let answer = format!(r#"{{"t":{now},"now":{}}}"#, now + HOUR + 40 * MS);
        live.compared(answer.as_bytes(), Timestamp(now + 80 * MS));
        let frame = message(now + HOUR + 90 * MS, now + HOUR + 95 * MS, 7, 0);
        let LiveFrame::Newest { time, jpeg, lost } = live.frame(0, &frame, Timestamp(now + 140 * MS)) else {
            panic!("not shown")
        };
        assert_eq!((time.at, jpeg, lost), (Timestamp(now + 90 * MS), &b"jpeg"[..], 0));
    }

    fn lost(frame: LiveFrame<'_>) -> Option<u32> {
        if let LiveFrame::Newest { lost, .. } = frame { Some(lost) } else { None }
    }

    #[test]
    fn frames_that_were_lost_are_told_from_those_that_were_never_sent() {
        let (mut live, now) = (live(), Timestamp::now().0);
        live.frame(0, &message(now, now, 7, 0), Timestamp(now));
        let at = |ms: u64| now + ms * MS;
        assert_eq!(lost(live.frame(0, &message(at(90), at(90), 10, 2), Timestamp(at(90)))), Some(0));
        assert_eq!(lost(live.frame(0, &message(at(180), at(180), 14, 1), Timestamp(at(180)))), Some(2));
        assert_eq!(live.frame(1, &message(at(180), at(180), 14, 1), Timestamp(at(181))), LiveFrame::Copied);
        assert_eq!(live.frame(0, &message(at(180), at(180), 14, 1), Timestamp(at(182))), LiveFrame::Late);
        assert_eq!(live.frame(0, b"PHF1", Timestamp(at(190))), LiveFrame::Damaged);
    }

    #[test]
    fn a_machine_that_was_started_again_has_another_clock() {
        let (mut live, now) = (live(), Timestamp::now().0);
        live.compare(Timestamp(now));
        live.compared(format!(r#"{{"t":{now},"now":{}}}"#, now + HOUR).as_bytes(), Timestamp(now));
        live.frame(0, &message(now + HOUR, now + HOUR, 7, 0), Timestamp(now));
        let frame = message(20_000 * MS, 20_010 * MS, 1, 0);
        let LiveFrame::Newest { time, .. } = live.frame(0, &frame, Timestamp(now + 50 * MS)) else {
            panic!("not shown")
        };
        assert_eq!(time.at, Timestamp(now + 40 * MS));
    }

    #[test]
    fn what_is_wrong_there_is_known() {
        let mut live = live();
        live.status(b"offline");
        live.state(br#"{"name":"front","state":"lost","error":"unplugged","frames":3}"#);
        let fault = Some(("lost".to_owned(), "unplugged".to_owned()));
        let report = FarReport { is_known: true, is_offline: true, has_answered: false, fault };
        assert_eq!(live.report, report);
        live.status(b"online");
        live.state(br#"{"state":"live","error":null}"#);
        live.compared(br#"{"t":1,"now":2}"#, Timestamp(3));
        assert_eq!(live.report, FarReport { is_known: true, has_answered: true, ..FarReport::default() });
    }
}
