//! The format of one viewer's stream: known from the parameter sets of its first key frame on.
#![forbid(unsafe_code)]

use crate::mp4::{FragmentHeads, Timeline, VideoTrack};
use crate::ring::units::AccessUnit;

/// What one viewer was told, and where it is in time. Allocates only when parameter sets change.
#[derive(Debug, Default)]
pub(in crate::web::stream) struct VideoTracker {
    /// The parameter sets of the last key frame, as they stood in it.
    sets: Vec<u8>,
    /// `None` until a key frame with valid parameter sets.
    known: Option<(VideoTrack, Vec<u8>)>,
    timeline: Timeline,
    heads: FragmentHeads,
}

impl VideoTracker {
    /// Takes notice of a unit before it is sent. Returns whether the format is another than before.
    pub(in crate::web::stream) fn take(&mut self, unit: &AccessUnit, stored: &[u8]) -> bool {
        if !unit.is_key {
            return false;
        }
        let sets = &stored[..VideoTrack::parameter_set_bytes(stored)];
        if sets == self.sets && self.known.is_some() {
            return false;
        }
        self.sets = sets.to_vec();
        self.known =
            VideoTrack::of_key_frame(stored).and_then(|track| Some((track.clone(), track.init_segment()?)));
        self.known.is_some()
    }

    /// Whether units can be sent.
    pub(in crate::web::stream) fn is_known(&self) -> bool {
        self.known.is_some()
    }

    pub(in crate::web::stream) fn track(&self) -> Option<&VideoTrack> {
        self.known.as_ref().map(|(track, _)| track)
    }

    pub(in crate::web::stream) fn init_segment(&self) -> Option<&[u8]> {
        self.known.as_ref().map(|(_, segment)| &segment[..])
    }

    /// Pictures a second, to one decimal; `None` if that is not known.
    pub(in crate::web::stream) fn rate(&self, unit: &AccessUnit) -> Option<f64> {
        let measured = (!unit.interval.is_zero()).then(|| 1.0 / unit.interval.as_secs_f64());
        let told = || Some(self.track()?.parameters.timing?.frame_rate());
        measured.or_else(told).map(|rate| (rate * 10.0).round() / 10.0).filter(|rate| rate.is_finite())
    }

    /// The head of a unit's fragment, and its sample: the unit without the parameter sets, which the initialization segment has.
    pub(in crate::web::stream) fn fragment<'a>(
        &'a mut self,
        unit: &AccessUnit,
        stored: &'a [u8],
    ) -> (&'a [u8], &'a [u8]) {
        let from = if unit.is_key { VideoTrack::parameter_set_bytes(stored) } else { 0 };
        let sample = &stored[from..];
        let time = self.timeline.next(unit.captured_at, unit.interval);
        (self.heads.next(time, sample.len(), unit.is_key), sample)
    }
}
