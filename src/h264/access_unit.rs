//! Brings the access unit in a buffer of a source or an encoder into the stored form.
#![forbid(unsafe_code)]

use super::error::H264Error;
use super::nal::{AnnexB, LENGTH_BYTES, NalKind, NalUnit};
use super::sps::SequenceParameters;
use crate::frame::Resolution;

/// Parameter sets of each kind that are remembered. Cameras and encoders have one; from one that uses more the newest are kept.
const MAX_SETS: usize = 8;
/// Bytes of a parameter set. Those of cameras have 10 to 60, with scaling lists a few hundred. A larger one is left out, so the
/// pictures that refer to it are refused.
const MAX_SET_BYTES: usize = 1024;

/// An access unit that was written to the start of a buffer, in the stored form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrittenUnit {
    /// Bytes of the access unit.
    pub len: usize,
    /// The size of the picture, without its margins.
    pub resolution: Resolution,
    /// Whether a decoder can start here.
    pub is_key: bool,
}

/// The parameter sets of a stream so far. Its memory is bounded.
#[derive(Clone, Debug, Default)]
pub struct ParameterSets {
    sequence: Vec<RememberedSet<SequenceParameters>>,
    picture: Vec<RememberedSet<PictureParameters>>,
}

#[derive(Clone, Debug)]
struct RememberedSet<P> {
    nal: Vec<u8>,
    parameters: P,
    /// It is in no access unit that was written yet.
    is_new: bool,
}

/// What matters of a picture parameter set (7.3.2.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PictureParameters {
    id: u32,
    /// The number of its sequence parameter set.
    sequence: u32,
}

/// Where the sets of a picture are.
#[derive(Clone, Copy, Debug)]
struct ActiveSets {
    sequence: usize,
    picture: usize,
}

impl ParameterSets {
    /// Forgets them, for a stream that begins again.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// The sequence parameter sets, the one that came first at the front.
    pub fn sequence(&self) -> impl Iterator<Item = (&[u8], &SequenceParameters)> {
        self.sequence.iter().map(|set| (&set.nal[..], &set.parameters))
    }

    /// The picture parameter sets.
    pub fn picture(&self) -> impl Iterator<Item = &[u8]> {
        self.picture.iter().map(|set| &set.nal[..])
    }

    /// Remembers a parameter set; other NAL units are left alone. Damaged ones are left out: the next may be whole.
    fn take(&mut self, unit: NalUnit<'_>) {
        match unit.kind() {
            NalKind::SequenceParameters => {
                if is_known(&self.sequence, unit) {
                    return;
                }
                let Ok(parameters) = SequenceParameters::parse(unit) else { return };
                remember(&mut self.sequence, unit, parameters, |known| known.id == parameters.id);
            }
            NalKind::PictureParameters => {
                if is_known(&self.picture, unit) {
                    return;
                }
                let mut bits = unit.content();
                let Some((id, sequence)) = bits.unsigned().zip(bits.unsigned()) else { return };
                let parameters = PictureParameters { id, sequence };
                remember(&mut self.picture, unit, parameters, |known| known.id == id);
            }
            _ => {}
        }
    }

    /// The sets of a picture, by the number of its picture parameter set.
    fn of_picture(&self, id: u32) -> Option<ActiveSets> {
        let picture = self.picture.iter().position(|set| set.parameters.id == id)?;
        let number = self.picture[picture].parameters.sequence;
        let sequence = self.sequence.iter().position(|set| set.parameters.id == number)?;
        Some(ActiveSets { sequence, picture })
    }

    /// Those that belong into an access unit: all for a key frame, otherwise those that the stream has not had yet. Its own are the
    /// first of each kind.
    fn due(&self, is_key: bool, active: ActiveSets) -> impl Iterator<Item = &[u8]> {
        let sequence = first_one(&self.sequence, active.sequence).map(|set| (set.is_new, &set.nal[..]));
        let picture = first_one(&self.picture, active.picture).map(|set| (set.is_new, &set.nal[..]));
        sequence.chain(picture).filter(move |(is_new, _)| is_key || *is_new).map(|(_, nal)| nal)
    }

    fn written(&mut self) {
        self.sequence.iter_mut().for_each(|set| set.is_new = false);
        self.picture.iter_mut().for_each(|set| set.is_new = false);
    }
}

/// All sets, the one at `at` before the others.
fn first_one<P>(sets: &[RememberedSet<P>], at: usize) -> impl Iterator<Item = &RememberedSet<P>> {
    let (before, from) = sets.split_at(at);
    let (one, after) = from.split_at(1);
    one.iter().chain(before).chain(after)
}

/// Whether this very set is remembered, as it is with nearly every key frame.
fn is_known<P>(sets: &[RememberedSet<P>], unit: NalUnit<'_>) -> bool {
    sets.iter().any(|set| set.nal == unit.bytes())
}

fn remember<P>(
    sets: &mut Vec<RememberedSet<P>>,
    unit: NalUnit<'_>,
    parameters: P,
    same: impl Fn(&P) -> bool,
) {
    let bytes = unit.bytes();
    let known = sets.iter().position(|set| same(&set.parameters));
    if bytes.len() > MAX_SET_BYTES {
        return;
    }
    let set = RememberedSet { nal: bytes.to_vec(), parameters, is_new: true };
    match known {
        Some(at) => sets[at] = set,
        None => {
            if sets.len() == MAX_SETS {
                sets.remove(0);
            }
            sets.push(set);
        }
    }
}

/// Whether a NAL unit stays in the stored form beside the parameter sets.
fn is_kept(kind: NalKind) -> bool {
    !matches!(
        kind,
        NalKind::SequenceParameters
            | NalKind::PictureParameters
            | NalKind::Delimiter
            | NalKind::End
            | NalKind::Filler
            | NalKind::Damaged
    )
}

/// Writes one access unit, which comes as a byte stream (Annex B), to the start of `slot` in the stored form. Remembers the
/// parameter sets in it. Those of the stream so far are put before each key frame, those of its picture first, and before another
/// picture if they have changed.
///
/// # Errors
/// If there is no picture, if no decoder can show it, or if it does not fit. [`H264Error::NoPicture`] says that parameter sets
/// came alone, which is not wrong.
pub fn write_access_unit(
    annex_b: &[u8],
    slot: &mut [u8],
    parameter_sets: &mut ParameterSets,
) -> Result<WrittenUnit, H264Error> {
    let (mut slice, mut is_key, mut need, mut any) = (None, false, 0, false);
    for unit in AnnexB::new(annex_b) {
        any = true;
        let kind = unit.kind();
        parameter_sets.take(unit);
        slice = slice.or_else(|| unit.slice_start());
        is_key |= kind == NalKind::IdrSlice;
        if is_kept(kind) {
            need += LENGTH_BYTES + unit.bytes().len();
        }
    }
    if !any {
        return Err(H264Error::NotAnnexB { bytes: annex_b.len() });
    }
    let slice = slice.ok_or(H264Error::NoPicture)?;
    let active =
        parameter_sets.of_picture(slice.picture_parameters).ok_or(H264Error::MissingParameterSets)?;
    let resolution = parameter_sets.sequence[active.sequence].parameters.resolution;
    need += parameter_sets.due(is_key, active).map(|nal| LENGTH_BYTES + nal.len()).sum::<usize>();
    let room = slot.len();
    let mut out = slot.get_mut(..need).ok_or(H264Error::TooLarge { need, room })?;
    for nal in parameter_sets.due(is_key, active) {
        out = write_unit(nal, out);
    }
    for unit in AnnexB::new(annex_b).filter(|unit| is_kept(unit.kind())) {
        out = write_unit(unit.bytes(), out);
    }
    parameter_sets.written();
    Ok(WrittenUnit { len: need, resolution, is_key })
}

/// Writes a NAL unit behind its length; returns what is left of the buffer.
fn write_unit<'a>(nal: &[u8], out: &'a mut [u8]) -> &'a mut [u8] {
    let (unit, rest) = out.split_at_mut(LENGTH_BYTES + nal.len());
    // Units are shorter than the buffers of 4 GB and more that would not be described by 32 bits.
    unit[..LENGTH_BYTES].copy_from_slice(&(nal.len() as u32).to_be_bytes());
    unit[LENGTH_BYTES..].copy_from_slice(nal);
    rest
}

#[cfg(test)]
mod tests {
    use support::h264::Encoder;

    use super::super::nal::NalUnits;
    use super::*;

    const BASELINE: &[u8] = include_bytes!("samples/baseline.h264");

    fn annex_b(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|unit| [&[0, 0, 0, 1], *unit].concat()).collect()
    }

    /// The NAL units of a sample of this kind.
    fn of_kind(stream: &[u8], kind: NalKind) -> Vec<&[u8]> {
        AnnexB::new(stream).filter(|unit| unit.kind() == kind).map(NalUnit::bytes).collect()
    }

    fn first(stream: &[u8], kind: NalKind) -> &[u8] {
        of_kind(stream, kind)[0]
    }

    fn write(stream: &[u8], sets: &mut ParameterSets) -> Result<(WrittenUnit, Vec<u8>), H264Error> {
        let mut slot = vec![0xee; stream.len() + 200];
        let written = write_access_unit(stream, &mut slot, sets)?;
        assert!(slot[written.len..].iter().all(|byte| *byte == 0xee), "written beyond its end");
        slot.truncate(written.len);
        Ok((written, slot))
    }

    fn kinds(stored: &[u8]) -> Vec<NalKind> {
        let units: Vec<_> = NalUnits::new(stored).collect();
        let bytes: usize = units.iter().map(|unit| LENGTH_BYTES + unit.bytes().len()).sum();
        assert_eq!(bytes, stored.len(), "the lengths cover it");
        units.into_iter().map(NalUnit::kind).collect()
    }

    use NalKind::{IdrSlice, PictureParameters as Pps, Sei, SequenceParameters as Sps, Slice};

    #[test]
    fn a_key_frame_keeps_its_parameter_sets_and_loses_its_delimiter() {
        let stream = include_bytes!("samples/high-delimited.h264");
        let unit = annex_b(&[
            first(stream, NalKind::Delimiter),
            first(stream, Sps),
            first(stream, Pps),
            first(stream, Sei),
            first(stream, IdrSlice),
            &[12, 0xff, 0xff, 0x80],
            &[11],
        ]);
        let (written, stored) = write(&unit, &mut ParameterSets::default()).unwrap();
        assert_eq!((written.resolution, written.is_key), (Resolution::new(50, 38), true));
        assert_eq!(kinds(&stored), [Sps, Pps, Sei, IdrSlice]);
    }

    #[test]
    fn a_key_frame_that_came_without_parameter_sets_gets_those_of_the_stream() {
        let mut sets = ParameterSets::default();
        let (sps, pps) = (first(BASELINE, Sps), first(BASELINE, Pps));
        let (idr, slice) = (first(BASELINE, IdrSlice), first(BASELINE, Slice));
        assert_eq!(write(&annex_b(&[sps, pps]), &mut sets), Err(H264Error::NoPicture));
        for _ in 0..2 {
            let (written, stored) = write(&annex_b(&[idr]), &mut sets).unwrap();
            assert!(written.is_key);
            assert_eq!(kinds(&stored), [Sps, Pps, IdrSlice]);
        }
        let (written, stored) = write(&annex_b(&[slice]), &mut sets).unwrap();
        assert!(!written.is_key);
        assert_eq!(kinds(&stored), [Slice]);
    }

    #[test]
    fn parameter_sets_are_repeated_in_key_frames_only_unless_they_changed() {
        let mut sets = ParameterSets::default();
        let (sps, pps, slice) = (first(BASELINE, Sps), first(BASELINE, Pps), first(BASELINE, Slice));
        write(&annex_b(&[sps, pps, first(BASELINE, IdrSlice)]), &mut sets).unwrap();
        assert_eq!(kinds(&write(&annex_b(&[sps, pps, slice]), &mut sets).unwrap().1), [Slice]);
        // The same number, other bytes.
        let changed = [pps, &[0x80]].concat();
        assert_eq!(write(&annex_b(&[&changed]), &mut sets), Err(H264Error::NoPicture));
        assert_eq!(kinds(&write(&annex_b(&[slice]), &mut sets).unwrap().1), [Pps, Slice]);
        assert_eq!(kinds(&write(&annex_b(&[slice]), &mut sets).unwrap().1), [Slice]);
        assert_eq!(sets.picture().collect::<Vec<_>>(), [&changed]);
        assert_eq!(sets.sequence().map(|(nal, _)| nal).collect::<Vec<_>>(), [sps]);
    }

    #[test]
    fn the_parameter_sets_of_a_key_frame_begin_with_its_own() {
        let mut sets = ParameterSets::default();
        let mut encoders =
            [(0, [64, 48]), (1, [96, 64])].map(|(number, size)| Encoder::numbered(size, number));
        for (at, has_sets) in [(0, true), (1, true), (0, false), (1, false)] {
            let encoder = &mut encoders[at];
            let mut unit = Vec::new();
            if has_sets {
                encoder.parameter_sets(&mut unit);
            }
            encoder.picture(true, |_, _| [90, 128, 128], &mut unit);
            let (written, stored) = write(&unit, &mut sets).unwrap();
            let first = NalUnits::new(&stored).next().unwrap();
            let shown = SequenceParameters::parse(first).unwrap().resolution;
            let [width, height] = encoder.size().map(|side| side as u16);
            assert_eq!((written.resolution, shown), (Resolution::new(width, height), written.resolution));
        }
        assert_eq!((sets.sequence().count(), sets.picture().count()), (2, 2));
    }

    #[test]
    fn a_picture_without_parameter_sets_is_refused() {
        let idr = annex_b(&[first(BASELINE, IdrSlice)]);
        assert_eq!(write(&idr, &mut ParameterSets::default()), Err(H264Error::MissingParameterSets));
        let mut sets = ParameterSets::default();
        let _ = write(&annex_b(&[first(BASELINE, Pps)]), &mut sets);
        assert_eq!(write(&idr, &mut sets), Err(H264Error::MissingParameterSets));
        let _ = write(&annex_b(&[first(BASELINE, Sps)]), &mut sets);
        assert!(write(&idr, &mut sets).is_ok());
        sets.clear();
        assert_eq!(write(&idr, &mut sets), Err(H264Error::MissingParameterSets));
    }

    #[test]
    fn what_is_no_byte_stream_is_refused() {
        let mut sets = ParameterSets::default();
        for bad in [&b""[..], b"\xff\xd8\xff\xe0 a JPEG", &[0, 0, 0, 1]] {
            assert_eq!(write(bad, &mut sets), Err(H264Error::NotAnnexB { bytes: bad.len() }));
        }
    }

    #[test]
    fn several_slices_are_one_access_unit() {
        let stream = include_bytes!("samples/slices.h264");
        let slices = of_kind(stream, IdrSlice);
        let unit = annex_b(&[&[first(stream, Sps), first(stream, Pps)], &slices[..]].concat());
        let (written, stored) = write(&unit, &mut ParameterSets::default()).unwrap();
        assert_eq!(kinds(&stored), [Sps, Pps, IdrSlice, IdrSlice, IdrSlice]);
        assert_eq!((written.len, written.resolution), (unit.len(), Resolution::new(96, 64)));
    }

    #[test]
    fn a_slot_with_just_room_is_enough_and_a_smaller_one_is_not() {
        let unit = annex_b(&[first(BASELINE, Sps), first(BASELINE, Pps), first(BASELINE, IdrSlice)]);
        let mut slot = vec![0; unit.len()];
        let mut sets = ParameterSets::default();
        let small = write_access_unit(&unit, &mut slot[1..], &mut sets);
        assert_eq!(small, Err(H264Error::TooLarge { need: unit.len(), room: unit.len() - 1 }));
        assert!(write_access_unit(&unit, &mut slot, &mut sets).is_ok());
    }

    #[test]
    fn memory_for_parameter_sets_is_bounded() {
        let mut sets = ParameterSets::default();
        for id in 0..200u8 {
            // ue(v) of 128 + id in 15 bits, and of 0; then as many bytes as a set may have, and one more.
            let code = u16::from(id) + 129;
            let mut pps = vec![0x68, (code >> 7) as u8, (code << 1) as u8 | 1, 0x80];
            pps.resize(if id % 2 == 0 { MAX_SET_BYTES } else { MAX_SET_BYTES + 1 }, 0x55);
            assert_eq!(write(&annex_b(&[&pps]), &mut sets), Err(H264Error::NoPicture));
        }
        assert_eq!(sets.picture().map(<[u8]>::len).collect::<Vec<_>>(), [MAX_SET_BYTES; MAX_SETS]);
    }
}
