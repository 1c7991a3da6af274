//! What comes of a camera that is published to a broker: whatever the messages are, frames are shown in order, once, and with a
//! time that can be true.

use std::time::Duration;

use porthole::testing::live::{LiveFrame, LiveFrames, Timestamp};

/// When the first message comes, in microseconds: after 35 years, so that no machine is up for as long.
const BEGAN: u64 = 1 << 50;

/// Messages, one after the other. First byte of each: its kind, its session, and how long after the one before it comes. Second: its
/// length, which is that of a header more where the message is one.
pub fn run(mut data: &[u8]) {
    let mut live = LiveFrames::new(Duration::from_secs(5));
    let (mut now, mut last) = (BEGAN, Timestamp(0));
    while let [kind, length, rest @ ..] = data {
        let (message, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        data = rest;
        now += u64::from(kind >> 4) * 10_000;
        match kind & 7 {
            0 => live.compared(message, Timestamp(now)),
            1 => live.status(message),
            2 => live.state(message),
            3 => live.compare(Timestamp(now)),
            _ => match live.frame(usize::from(kind >> 3 & 1), message, Timestamp(now)) {
                LiveFrame::Newest { time, jpeg, .. } => {
                    assert_eq!(jpeg, &message[32..], "another picture");
                    assert!(time.at <= Timestamp(now), "a frame of the future");
                    assert!(time.at >= last, "times go back");
                    last = time.at;
                    let again = live.frame(usize::from(kind >> 3 & 1), message, Timestamp(now));
                    assert!(!matches!(again, LiveFrame::Newest { .. }), "shown twice");
                }
                LiveFrame::Damaged => assert!(message.len() < 32 || !message.starts_with(b"PHF1")),
                LiveFrame::Copied | LiveFrame::Late => {}
            },
        }
    }
}
