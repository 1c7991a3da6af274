//! Where access units go: into the ring, by whichever thread has them. The capture thread copies those of its source, the encoding
//! thread brings its own; one of both at a time.
#![forbid(unsafe_code)]

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::frame::Timestamp;
use crate::h264::{H264Error, ParameterSets, WrittenUnit, write_access_unit};
use crate::ring::units::UnitPublisher;
use crate::status::Counters;
use crate::sync::lock;

/// Shortest time from one request for a key frame to the next. Key frames are ten times as large as others.
const KEY_INTERVAL: Duration = Duration::from_millis(500);
/// Time over which the bit rate is averaged.
const RATE_WINDOW: Duration = Duration::from_secs(1);
/// Time from one key frame to the next for which there is room. Encoders here have them 2 s apart, cameras 1 to 4 s. Where they are
/// further apart, who joins waits for the next one.
const GROUP: Duration = Duration::from_secs(4);
/// Access units for which there is room at least, and at most.
const GROUP_UNITS: (usize, usize) = (30, 240);
/// Bytes of an access unit for which there is room at least. A key frame of 1080p at 8 Mbit/s has 0.2 MB.
const MIN_UNIT_BYTES: usize = 512 * 1024;

/// Where access units come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::camera) enum UnitOrigin {
    /// The source gives them.
    Copied,
    /// The other thread takes them from a second node of the source's device. It learns a moment late that the source gives H.264
    /// itself.
    Beside,
    /// The other thread makes them of the source's pictures. It learns that late too.
    Encoded,
}

/// Publishes the access units of a camera.
#[derive(Debug)]
pub(in crate::camera) struct UnitOutput {
    state: Mutex<OutputState>,
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct OutputState {
    publisher: UnitPublisher,
    /// Whose access units are taken; `None` while there are none.
    origin: Option<UnitOrigin>,
    sets: ParameterSets,
    asked_at: Option<Timestamp>,
    /// A key frame is wanted, and the last one was not long ago.
    is_key_due: bool,
    /// What was published last lacks what it refers to.
    is_broken: bool,
    /// When the picture of the last access unit was captured.
    last_at: Timestamp,
    /// Start of the window, and bytes since.
    window: (Timestamp, u64),
}

impl UnitOutput {
    pub(super) fn new(publisher: UnitPublisher, counters: Arc<Counters>) -> Self {
        let (sets, last_at, window) = Default::default();
        let state = OutputState {
            publisher,
            origin: None,
            sets,
            asked_at: None,
            is_key_due: false,
            is_broken: false,
            last_at,
            window,
        };
        Self { state: Mutex::new(state), counters }
    }

    /// Access units come from now on from there, `fps` a second, of about `unit_bytes` each at most. Allocates. Returns false, and
    /// takes none, where the source gives them and the other thread does not know it yet.
    pub(in crate::camera) fn begin(&self, origin: UnitOrigin, fps: f32, unit_bytes: usize) -> bool {
        let state = &mut *lock(&self.state);
        if origin != UnitOrigin::Copied && state.origin == Some(UnitOrigin::Copied) {
            return false;
        }
        state.origin = Some(origin);
        let units = (fps * GROUP.as_secs_f32()) as usize;
        state.publisher.reserve(units.clamp(GROUP_UNITS.0, GROUP_UNITS.1), unit_bytes.max(MIN_UNIT_BYTES));
        state.sets.clear();
        (state.asked_at, state.is_key_due, state.is_broken) = (None, false, false);
        state.window = (Timestamp::now(), 0);
        true
    }

    /// No access units come from there any more. Returns false if others are taken meanwhile, which go on.
    pub(in crate::camera) fn end(&self, origin: UnitOrigin) -> bool {
        let state = &mut *lock(&self.state);
        if state.origin.is_some_and(|other| other != origin) {
            return false;
        }
        state.origin = None;
        state.publisher.release();
        self.counters.set_h264_rate(0);
        true
    }

    /// Publishes an access unit in Annex B, of a picture that was captured at `at`.
    ///
    /// # Errors
    /// When it cannot be used. Unless it had no picture, or others are taken meanwhile ([`H264Error::NoPicture`] too), it counts as
    /// lost.
    pub(in crate::camera) fn publish(
        &self,
        origin: UnitOrigin,
        annex_b: &[u8],
        at: Timestamp,
    ) -> Result<WrittenUnit, H264Error> {
        let state = &mut *lock(&self.state);
        if state.origin != Some(origin) {
            return Err(H264Error::NoPicture);
        }
        let (sets, mut written) = (&mut state.sets, None);
        let published = state.publisher.publish(at, |slot| {
            let unit = write_access_unit(annex_b, slot, sets)?;
            written = Some(unit);
            Ok(unit)
        });
        match (published, written) {
            (Err(H264Error::NoPicture), _) | (Ok(_), None) => Err(H264Error::NoPicture),
            (Err(error), _) => {
                state.lose();
                self.counters.h264_lost.add(1);
                Err(error)
            }
            (Ok(_), Some(unit)) => {
                if unit.is_key {
                    // What was wanted is there.
                    (state.is_key_due, state.is_broken) = (false, false);
                    state.publisher.take_key_frame_request();
                }
                state.last_at = at;
                self.counters.h264_bytes.add(unit.len as u64);
                state.count(unit.len, &self.counters);
                Ok(unit)
            }
        }
    }

    /// So many access units were lost: what follows lacks what it refers to.
    pub(in crate::camera) fn lost(&self, origin: UnitOrigin, units: u32) {
        let state = &mut *lock(&self.state);
        if state.origin == Some(origin) {
            state.lose();
            self.counters.h264_lost.add(units.into());
        }
    }

    /// The encoder failed. What it gave is outdated for who joins, and the next one begins with a key frame.
    pub(super) fn encoder_failed(&self) {
        let state = &mut *lock(&self.state);
        if state.origin == Some(UnitOrigin::Encoded) {
            state.publisher.clear();
            state.lose();
            self.counters.h264_lost.add(1);
        }
    }

    /// The source or encoder was asked for a key frame. What was lost is not shown until it comes. Viewers of a source that cannot be
    /// asked see what is left of the picture instead: the next key frame may be ten seconds away.
    pub(in crate::camera) fn key_frame_comes(&self, origin: UnitOrigin) {
        let state = &mut *lock(&self.state);
        if state.is_broken && state.origin == Some(origin) {
            state.publisher.clear();
        }
    }

    /// Whether the source or encoder is to be asked for a key frame now: a viewer wants one, and the last was not just now. Takes the
    /// request, unless others are taken meanwhile, whose request it is.
    pub(in crate::camera) fn wants_key_frame(&self, origin: UnitOrigin) -> bool {
        let state = &mut *lock(&self.state);
        if state.origin != Some(origin) {
            return false;
        }
        state.is_key_due |= state.publisher.take_key_frame_request();
        let now = Timestamp::now();
        let wants = state.is_key_due && state.asked_at.is_none_or(|at| now.since(at) >= KEY_INTERVAL);
        if wants {
            (state.asked_at, state.is_key_due) = (Some(now), false);
        }
        wants
    }

    /// When the picture of the last access unit was captured, wherever that came from.
    pub(super) fn last_at(&self) -> Timestamp {
        lock(&self.state).last_at
    }

    /// How many viewers there are.
    pub(in crate::camera) fn viewers(&self) -> usize {
        lock(&self.state).publisher.subscribers().viewers
    }
}

impl OutputState {
    fn lose(&mut self) {
        (self.is_key_due, self.is_broken) = (true, true);
    }

    fn count(&mut self, bytes: usize, counters: &Counters) {
        let (start, sum) = &mut self.window;
        *sum += bytes as u64;
        let span = Timestamp::now().since(*start);
        if span >= RATE_WINDOW {
            counters.set_h264_rate((*sum as f64 * 8.0 / span.as_secs_f64() / 1000.0) as u32);
            self.window = (Timestamp::now(), 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use support::h264::Encoder;

    use super::UnitOrigin::{Copied, Encoded};
    use super::*;
    use crate::ring::units::{UnitRing, unit_ring};

    /// Access units of a small picture, the first of them a key frame.
    fn units(count: u32) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new([64, 48], 30_000);
        let unit = |number: u32| {
            let mut unit = Vec::new();
            if number == 0 {
                encoder.parameter_sets(&mut unit);
            }
            encoder.picture(false, |_, _| [number as u8, 128, 128], &mut unit);
            unit
        };
        (0..count).map(unit).collect()
    }

    fn output() -> (UnitOutput, UnitRing) {
        let (publisher, ring) = unit_ring(2, Box::new(|| {}));
        let output = UnitOutput::new(publisher, Arc::default());
        output.begin(Copied, 30.0, 1000);
        (output, ring)
    }

    #[test]
    fn units_are_published_in_the_stored_form_with_their_times() {
        let (output, ring) = output();
        let mut viewer = ring.subscribe().unwrap();
        let units = units(3);
        for (at, unit) in units.iter().enumerate() {
            output.publish(Copied, unit, Timestamp(at as u64)).unwrap();
        }
        for (at, unit) in units.iter().enumerate() {
            let lease = viewer.lease().unwrap();
            assert_eq!((lease.unit().captured_at, lease.unit().is_key), (Timestamp(at as u64), at == 0));
            assert_eq!(lease.len(), unit.len(), "lengths are as long as start codes");
        }
        let error = output.publish(Copied, &[1, 2, 3], Timestamp(9));
        assert!(matches!(error, Err(H264Error::NotAnnexB { bytes: 3 })));
        output.end(Copied);
        assert_eq!((ring.newest(), viewer.lease().is_none()), (None, true));
    }

    #[test]
    fn an_encoder_that_ends_late_takes_nothing_from_a_source_that_gives_h264() {
        let (output, ring) = output();
        let mut viewer = ring.subscribe().unwrap();
        let units = units(3);
        assert!(!output.begin(Encoded, 30.0, 1000) && !output.end(Encoded));
        assert!(!output.wants_key_frame(Encoded), "the source is asked for it");
        assert!(output.wants_key_frame(Copied));
        output.publish(Copied, &units[0], Timestamp(1)).unwrap();
        assert_eq!(output.publish(Encoded, &units[1], Timestamp(2)), Err(H264Error::NoPicture));
        output.lost(Encoded, 1);
        output.key_frame_comes(Encoded);
        output.publish(Copied, &units[1], Timestamp(3)).unwrap();
        for at in [1, 3] {
            assert_eq!(viewer.lease().unwrap().unit().captured_at, Timestamp(at));
        }
        assert!(output.end(Copied) && output.begin(Encoded, 30.0, 1000));
        assert!(output.begin(Copied, 30.0, 1000), "the encoder will notice");
        output.publish(Copied, &units[0], Timestamp(4)).unwrap();
        assert!(!output.end(Encoded) && viewer.lease().is_some());
    }

    #[test]
    fn who_joins_after_an_encoder_failed_is_shown_nothing_of_before() {
        let (output, ring) = output();
        let units = units(2);
        assert!(output.end(Copied) && output.begin(Encoded, 30.0, 1000));
        output.publish(Encoded, &units[0], Timestamp(1)).unwrap();
        assert!(ring.subscribe().unwrap().lease().is_some());
        output.encoder_failed();
        let mut viewer = ring.subscribe().unwrap();
        assert!(viewer.lease().is_none());
        output.publish(Encoded, &units[0], Timestamp(2)).unwrap();
        assert!(viewer.lease().is_some_and(|lease| lease.unit().captured_at == Timestamp(2)));
    }

    #[test]
    fn what_was_lost_is_left_out_if_a_key_frame_comes_and_shown_otherwise() {
        let (output, ring) = output();
        let units = units(4);
        output.publish(Copied, &units[0], Timestamp(1)).unwrap();
        assert!(!output.wants_key_frame(Copied));
        let mut viewer = ring.subscribe().unwrap();
        assert!(output.wants_key_frame(Copied), "a viewer came");
        assert!(viewer.lease().is_some());
        output.lost(Copied, 1);
        assert!(!output.wants_key_frame(Copied), "too soon");
        lock(&output.state).asked_at = None;
        assert!(output.wants_key_frame(Copied));
        output.publish(Copied, &units[2], Timestamp(3)).unwrap();
        assert!(viewer.lease().is_some(), "nobody knows when there will be a better one");
        output.key_frame_comes(Copied);
        output.publish(Copied, &units[3], Timestamp(4)).unwrap();
        assert!(viewer.lease().is_none(), "it lacks what it refers to");
        output.publish(Copied, &units[0], Timestamp(5)).unwrap();
        assert!(viewer.lease().is_some_and(|lease| lease.unit().is_key));
        lock(&output.state).asked_at = None;
        assert!(!output.wants_key_frame(Copied), "what was wanted is there");
    }
}
