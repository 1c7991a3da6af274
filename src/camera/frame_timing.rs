//! Checks what a source states about the time and order of its frames. Claims that cannot be true are not used, and counted.
//!
//! A timestamp must lie between the start of the stream and now, and after that of the frame before. A sequence number must
//! not skip more frames than the time since then had room for. A driver that says anything else is not believed, and that is
//! counted.
#![forbid(unsafe_code)]

use std::time::Duration;

use crate::frame::Timestamp;

/// If the driver does not state the clock of its timestamps, a timestamp that is older than this when its buffer is dequeued is
/// of another clock, and not used.
const MAX_TIMESTAMP_AGE: Duration = Duration::from_secs(1);
/// Where the rate is not known, at most so many frames a second were dropped: as many as may be configured.
const MAX_FPS: f64 = 240.0;
/// A driver may state half of its true rate: some count fields, some the rate before a frame doubler.
const RATE_TOLERANCE: f64 = 2.0;
/// Frames that may be dropped at once, whatever the time says: the timestamps of frames jitter.
const SLACK_FRAMES: f64 = 4.0;
/// Time for which unused room for dropped frames is kept. A thread that was not scheduled for long dequeues the frames of a
/// moment ago first, and finds the gap behind them later.
const MEMORY: Duration = Duration::from_secs(10);

/// Judges the frames of one stream.
#[derive(Debug)]
pub(super) struct FrameTiming {
    started: Timestamp,
    /// Most frames per second.
    max_fps: f64,
    /// The timestamp of the previous frame, as the driver said.
    last_stamp: Timestamp,
    /// When the previous frame was complete.
    last_at: Timestamp,
    last_sequence: Option<u32>,
    /// Frames that can have been dropped by now.
    room: f64,
}

/// When and in which order a frame was captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(feature = "mqtt"), allow(unreachable_pub, reason = "with mqtt, tests of messages name it"))]
pub struct FrameTime {
    /// When the picture was complete. Never before the previous one.
    pub at: Timestamp,
    /// Frames that were dropped since the previous one.
    pub missed: u32,
    /// What it said of itself that cannot be true.
    pub implausible: ImplausibleClaims,
}

/// What a source said of a frame that cannot be true. It was not used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(not(feature = "mqtt"), allow(unreachable_pub, reason = "with mqtt, tests of messages name it"))]
pub struct ImplausibleClaims {
    /// Its time.
    pub time: bool,
    /// Its number.
    pub sequence: bool,
}

impl FrameTiming {
    /// For a stream that starts at `started`, with `fps` frames per second if the driver states a rate.
    pub(super) fn new(started: Timestamp, fps: Option<f32>) -> Self {
        Self {
            started,
            max_fps: fps.map_or(MAX_FPS, |fps| f64::from(fps) * RATE_TOLERANCE),
            last_stamp: Timestamp::default(),
            last_at: started,
            last_sequence: None,
            room: SLACK_FRAMES,
        }
    }

    /// Judges a frame that was dequeued at `now` with the timestamp `stamp` and this sequence number. `is_monotonic` says
    /// whether the timestamp is of CLOCK_MONOTONIC; `None` if the driver does not state it.
    pub(super) fn judge(
        &mut self,
        now: Timestamp,
        stamp: Timestamp,
        is_monotonic: Option<bool>,
        sequence: Option<u32>,
    ) -> FrameTime {
        let is_of_this_clock = is_monotonic.unwrap_or_else(|| now.since(stamp) < MAX_TIMESTAMP_AGE);
        let can_be_true = (self.started..=now).contains(&stamp) && stamp > self.last_stamp;
        self.last_stamp = stamp;
        let at = if is_of_this_clock && can_be_true { stamp } else { now }.max(self.last_at);
        let elapsed = at.since(self.last_at).as_secs_f64();
        self.last_at = at;
        let most = MEMORY.as_secs_f64() * self.max_fps + SLACK_FRAMES;
        self.room = (self.room + elapsed * self.max_fps).min(most);
        let (missed, is_wild) = self.missed(sequence);
        let implausible = ImplausibleClaims { time: is_of_this_clock && !can_be_true, sequence: is_wild };
        FrameTime { at, missed, implausible }
    }

    /// The frames between `sequence` and the one before it, and whether the sequence cannot be true.
    fn missed(&mut self, sequence: Option<u32>) -> (u32, bool) {
        let Some((sequence, last)) =
            sequence.map(|sequence| (sequence, self.last_sequence.replace(sequence)))
        else {
            return (0, false);
        };
        let Some(last) = last else { return (0, false) };
        // A number that repeats or goes back is nearly 2^32 ahead.
        let missed = sequence.wrapping_sub(last).wrapping_sub(1);
        if f64::from(missed) > self.room {
            return (0, true);
        }
        self.room -= f64::from(missed);
        (missed, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    /// Judges frames that are dequeued every 33 ms, the first at 100 s, from `stamps` and `sequences`.
    fn judge(frames: &[(u64, u32)]) -> Vec<FrameTime> {
        let mut timing = FrameTiming::new(Timestamp(99 * SECOND), Some(30.0));
        let judge = |(nth, &(stamp, sequence)): (usize, &(u64, u32))| {
            let now = Timestamp(100 * SECOND + nth as u64 * 33_000);
            timing.judge(now, Timestamp(stamp), Some(true), Some(sequence))
        };
        frames.iter().enumerate().map(judge).collect()
    }

    #[test]
    fn what_can_be_true_is_believed() {
        let frames: Vec<(u64, u32)> =
            (0..5).map(|nth| (100 * SECOND + nth * 33_000 - 2000, nth as u32 * 2)).collect();
        let judged = judge(&frames);
        for (frame, (stamp, _)) in judged.iter().zip(&frames) {
            assert_eq!((frame.at, frame.implausible), (Timestamp(*stamp), ImplausibleClaims::default()));
        }
        assert_eq!(judged.iter().map(|frame| frame.missed).collect::<Vec<_>>(), [0, 1, 1, 1, 1]);
    }

    #[test]
    fn a_time_that_cannot_be_true_gives_way_to_the_time_of_dequeueing() {
        let now = |nth: u64| 100 * SECOND + nth * 33_000;
        let stamps: [fn(u64) -> u64; 4] =
            [|_| 0, |nth| 200 * SECOND + nth * 33_000, |_| 5 * SECOND, |nth| 100 * SECOND - 1 - nth * 10_000];
        for (case, stamp) in stamps.into_iter().enumerate() {
            let frames: Vec<(u64, u32)> = (0..5).map(|nth| (stamp(nth), nth as u32)).collect();
            // The first of those that run backwards can be true.
            for (nth, frame) in judge(&frames).into_iter().enumerate().skip(1) {
                assert_eq!(frame.at, Timestamp(now(nth as u64)), "case {case}");
                assert_eq!(frame.implausible, ImplausibleClaims { time: true, sequence: false });
                assert_eq!(frame.missed, 0);
            }
        }
    }

    #[test]
    fn a_time_of_another_clock_is_no_lie() {
        let mut timing = FrameTiming::new(Timestamp(99 * SECOND), None);
        let now = Timestamp(100 * SECOND);
        let frame = timing.judge(now, Timestamp(1_700_000_000 * SECOND), Some(false), Some(0));
        assert_eq!((frame.at, frame.implausible.time), (now, false));
        let recent = Timestamp(now.0 - 500_000);
        let mut timing = FrameTiming::new(Timestamp(90 * SECOND), None);
        assert_eq!(timing.judge(now, recent, None, None).at, recent, "of this clock, as it seems");
        let frame = timing.judge(now, Timestamp(now.0 - 3 * SECOND), None, None);
        assert_eq!((frame.at, frame.implausible.time), (now, false));
    }

    #[test]
    fn a_frame_that_is_dequeued_late_keeps_its_time() {
        let mut timing = FrameTiming::new(Timestamp(90 * SECOND), Some(30.0));
        let stamp = Timestamp(97 * SECOND);
        assert_eq!(timing.judge(Timestamp(100 * SECOND), stamp, Some(true), Some(0)).at, stamp);
    }

    #[test]
    fn wild_sequence_numbers_are_no_dropped_frames() {
        let frame = |nth: u64, sequence| (100 * SECOND + nth * 33_000, sequence);
        let wild: Vec<_> = (0..9).map(|nth| frame(nth, (nth as u32).wrapping_mul(1_000_000_007))).collect();
        let judged = judge(&wild);
        assert_eq!(judged.iter().map(|frame| frame.missed).sum::<u32>(), 0);
        assert_eq!(judged.iter().filter(|frame| frame.implausible.sequence).count(), 8);
        let same: Vec<_> = (0..9).map(|nth| frame(nth, 0)).collect();
        assert_eq!(judge(&same).iter().filter(|frame| frame.implausible.sequence).count(), 8);
        let wrap: Vec<_> = (0..9).map(|nth| frame(nth, (u32::MAX - 4).wrapping_add(nth as u32))).collect();
        assert!(judge(&wrap).iter().all(|frame| frame.missed == 0 && !frame.implausible.sequence));
    }

    #[test]
    fn frames_that_the_time_had_room_for_were_dropped() {
        let mut timing = FrameTiming::new(Timestamp(99 * SECOND), Some(30.0));
        let mut judge = |ms: u64, sequence| {
            let at = Timestamp(100 * SECOND + ms * 1000);
            timing.judge(at, at, Some(true), Some(sequence))
        };
        judge(0, 0);
        // The machine was busy for three seconds. The queue of the driver was full, and the gap is behind its frames.
        assert_eq!(judge(3000, 1).missed, 0);
        assert_eq!(judge(3001, 2).missed, 0);
        let after = judge(3002, 90);
        assert_eq!((after.missed, after.implausible.sequence), (87, false));
        assert!(judge(3035, 1000).implausible.sequence);
        let after = judge(3068, 1001);
        assert_eq!((after.missed, after.implausible.sequence), (0, false));
    }
}
