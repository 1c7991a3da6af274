//! A byte stream of H.264 from a source that writes pictures as they come, split into access units.
//!
//! A unit is complete when the next one begins, one picture late. So a source that pauses is taken to have written the whole unit.
//! One that pauses within units is found out, and its units are passed on when the next begins.
#![forbid(unsafe_code)]

use std::io;
use std::time::Duration;

use log::info;

use crate::frame::Timestamp;
use crate::h264::{AccessUnitSplitter, UnitPiece, begins_byte_stream};

/// A source that writes nothing for this long has written a whole unit: longer than the pauses within what one program writes, and
/// a quarter of the time from one picture to the next at 30 a second. Longer adds delay; shorter cuts units of slow connections.
const PAUSE: Duration = Duration::from_millis(8);
/// What a NAL unit begins with, but for the zero that may stand before it.
const START_CODE: [u8; 3] = [0, 0, 1];

/// The first bytes of a stream, until they tell whether it is H.264.
#[derive(Default)]
pub(super) struct StreamBegin {
    bytes: Vec<u8>,
    is_told: bool,
    is_h264: bool,
}

/// So many bytes tell. Anything that has not by then is no H.264.
const MAX_BEGIN_BYTES: usize = 64;

impl StreamBegin {
    /// More of the stream.
    pub(super) fn add(&mut self, bytes: &[u8]) {
        if self.is_told {
            return;
        }
        // All of them: if it is H.264, they are its first unit.
        self.bytes.extend_from_slice(bytes);
        match begins_byte_stream(&self.bytes) {
            None if self.bytes.len() <= MAX_BEGIN_BYTES => {}
            told => (self.is_told, self.is_h264) = (true, told == Some(true)),
        }
        if self.is_told && !self.is_h264 {
            self.bytes = Vec::new();
        }
    }

    /// All bytes so far, once they tell that it is H.264.
    pub(super) fn take_h264(&mut self) -> Option<Vec<u8>> {
        std::mem::take(&mut self.is_h264).then(|| std::mem::take(&mut self.bytes))
    }
}

/// Access units of a stream, each as soon as it is complete.
pub(super) struct UnitStream {
    splitter: AccessUnitSplitter,
    /// When the unit that has begun is taken to be complete.
    pause_ends: Option<Timestamp>,
    /// A unit was passed on at a pause, and nothing has come since.
    is_after_pause: bool,
    pauses_within_units: bool,
}

impl UnitStream {
    /// For units of at most `bytes`.
    pub(super) fn new(bytes: usize) -> Self {
        let splitter = AccessUnitSplitter::new(bytes);
        Self { splitter, pause_ends: None, is_after_pause: false, pauses_within_units: false }
    }

    /// Reads once. Returns the number of bytes read; 0 at the end of the stream.
    pub(super) fn fill(&mut self, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<usize> {
        let is_after_pause = self.is_after_pause;
        let mut begins_unit = true;
        let n = self.splitter.fill(|room| {
            let n = read(room)?;
            begins_unit = begins_nal_unit(&room[..n.min(room.len())]);
            Ok(n)
        })?;
        if n > 0 {
            if is_after_pause && !begins_unit && !self.pauses_within_units {
                info!("the source pauses within pictures of H.264; each is shown when the next one comes");
                self.pauses_within_units = true;
            }
            self.is_after_pause = false;
            self.pause_ends = (!self.pauses_within_units).then(|| Timestamp::now().after(PAUSE));
        }
        Ok(n)
    }

    /// What was read already.
    pub(super) fn fill_from(&mut self, mut bytes: &[u8]) {
        let filled = self.fill(|room| io::Read::read(&mut bytes, room));
        debug_assert!(filled.is_ok() && bytes.is_empty(), "a new stream has more room than was read at once");
    }

    /// The next access unit of what was read so far.
    pub(super) fn next_piece(&mut self) -> UnitPiece<'_> {
        self.splitter.next_piece()
    }

    /// When [`finish`](Self::finish) is to be called if nothing is read before; `None` if not at all.
    pub(super) fn pause_ends(&self) -> Option<Timestamp> {
        self.pause_ends
    }

    /// The source has paused: the unit that has begun, if there is one.
    pub(super) fn finish(&mut self) -> Option<&[u8]> {
        self.pause_ends = None;
        let unit = self.splitter.finish();
        self.is_after_pause = unit.is_some();
        unit
    }
}

/// Whether the first bytes after a pause begin a NAL unit. Too few to tell count as if they do.
fn begins_nal_unit(bytes: &[u8]) -> bool {
    let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
    bytes.get(zeros).is_none_or(|byte| *byte == 1 && zeros + 1 >= START_CODE.len())
}

#[cfg(test)]
mod tests {
    use support::h264::Encoder;

    use super::*;

    fn units(count: u64) -> Vec<Vec<u8>> {
        let mut encoder = Encoder::new([64, 48], 30_000);
        let unit = |number: u64| {
            let mut unit = Vec::new();
            if number == 0 {
                encoder.parameter_sets(&mut unit);
            }
            encoder.picture(false, |_, _| [number as u8 * 9, 128, 128], &mut unit);
            unit
        };
        (0..count).map(unit).collect()
    }

    fn fill(stream: &mut UnitStream, bytes: &[u8]) {
        let read = |room: &mut [u8]| {
            room[..bytes.len()].copy_from_slice(bytes);
            Ok(bytes.len())
        };
        assert_eq!(stream.fill(read).unwrap(), bytes.len());
    }

    #[test]
    fn the_first_bytes_tell_h264_from_everything_else() {
        let begin = |bytes: &[u8], step: usize| {
            let mut begin = StreamBegin::default();
            bytes.chunks(step).for_each(|chunk| begin.add(chunk));
            begin.take_h264()
        };
        let h264 = &units(1)[0];
        for step in [1, 3, 1000] {
            assert!(begin(h264, step).is_some_and(|bytes| h264.starts_with(&bytes)), "{step} at a time");
            for other in [&b"\xff\xd8\xff\xe0 and more"[..], b"HTTP/1.1 200 OK", &[0; 500]] {
                assert_eq!(begin(other, step), None, "{other:?}");
            }
        }
    }

    #[test]
    fn a_pause_ends_a_unit_unless_the_source_pauses_within_units() {
        let units = units(4);
        let mut stream = UnitStream::new(10_000);
        fill(&mut stream, &units[0]);
        assert_eq!(stream.next_piece(), UnitPiece::Incomplete);
        assert!(stream.pause_ends().is_some());
        assert!(stream.finish().is_some_and(|unit| units[0].ends_with(unit)));
        assert_eq!(stream.pause_ends(), None);
        assert_eq!(stream.finish(), None);
        fill(&mut stream, &units[1][..9]);
        assert_eq!(stream.next_piece(), UnitPiece::Incomplete);
        assert!(stream.finish().is_some(), "cut");
        fill(&mut stream, &units[1][9..]);
        assert_eq!(stream.next_piece(), UnitPiece::Incomplete);
        assert_eq!(stream.pause_ends(), None);
        fill(&mut stream, &units[2]);
        fill(&mut stream, &units[3]);
        assert!(matches!(stream.next_piece(), UnitPiece::Unit(unit) if unit.starts_with(&units[2][1..])));
    }
}
