//! H.264 as it comes from cameras and commands: what is written has the stored form, in which nothing is left to be brought in order, and a
//! byte stream gives the same access units in whatever pieces it comes.

use porthole::h264::{
    AccessUnitSplitter, AnnexB, LENGTH_BYTES, NalKind, NalUnit, NalUnits, ParameterSets, START_CODE,
    SequenceParameters, UnitPiece, begins_byte_stream, write_access_unit,
};

use crate::targets::Cuts;

/// Bytes of an access unit at least: less than that is hardly one.
const LEAST_UNIT: usize = 40;

/// First byte: where the stream is cut into access units. The rest: access units of one stream.
pub fn units(data: &[u8]) {
    let Some((&cuts, data)) = data.split_first() else { return };
    let (mut sets, mut cuts) = (ParameterSets::default(), Cuts::new(cuts));
    let mut rest = data;
    while !rest.is_empty() {
        let (unit, behind) = rest.split_at(cuts.next(rest.len()).max(LEAST_UNIT).min(rest.len()));
        rest = behind;
        let _ = begins_byte_stream(unit);
        // All parameter sets, and all units with one byte and a start code of three.
        write(unit, &mut sets, data.len() * 3);
    }
}

fn write(annex_b: &[u8], sets: &mut ParameterSets, room: usize) {
    let mut slot = vec![0xee; room];
    let Ok(written) = write_access_unit(annex_b, &mut slot, sets) else { return };
    let (stored, behind) = slot.split_at(written.len);
    assert!(behind.iter().all(|byte| *byte == 0xee), "written beyond its end");
    let units: Vec<NalUnit<'_>> = NalUnits::new(stored).collect();
    let bytes: usize = units.iter().map(|unit| LENGTH_BYTES + unit.bytes().len()).sum();
    assert_eq!(bytes, stored.len(), "the lengths do not cover it");
    let kinds: Vec<NalKind> = units.iter().map(|unit| unit.kind()).collect();
    let out_of_place = [NalKind::Delimiter, NalKind::End, NalKind::Filler, NalKind::Damaged];
    assert!(!kinds.iter().any(|kind| out_of_place.contains(kind)), "{kinds:?}");
    assert_eq!(written.is_key, kinds.contains(&NalKind::IdrSlice));
    assert!(written.resolution.pixels() > 0);
    if written.is_key {
        assert_eq!(kinds[0], NalKind::SequenceParameters);
        // A key frame is complete: as a byte stream of its own it becomes itself.
        let stream: Vec<u8> = units.iter().flat_map(|unit| [&START_CODE, unit.bytes()].concat()).collect();
        assert_eq!(AnnexB::new(&stream).count(), units.len());
        let mut again = vec![0; written.len];
        assert_eq!(write_access_unit(&stream, &mut again, &mut ParameterSets::default()), Ok(written));
        assert_eq!(again, stored);
        // A slot with just room for it was enough, and a smaller one is not.
        assert!(write_access_unit(&stream, &mut again[1..], &mut ParameterSets::default()).is_err());
    }
}

/// A sequence parameter set, behind its header.
pub fn sps(data: &[u8]) {
    let nal = [&[0x67], data].concat();
    let Some(nal) = NalUnit::new(&nal) else { return };
    let Ok(sps) = SequenceParameters::parse(nal) else { return };
    let (shown, coded) = (sps.resolution, sps.coded);
    assert!(
        shown.width > 0 && shown.height > 0 && shown.width <= coded.width && shown.height <= coded.height
    );
    assert!(coded.width % 16 == 0 && coded.height % 16 == 0);
    assert_eq!(sps.codec().len(), "avc1.42C01F".len());
    assert!(
        (8..=14).contains(&sps.luma_bits) && (8..=14).contains(&sps.chroma_bits) && sps.chroma_format <= 3
    );
    if let Some(timing) = sps.timing {
        assert!(timing.frame_rate() > 0.0 && timing.frame_rate().is_finite());
    }
}

/// First bytes: the pieces in which the stream comes, and the size of the buffer. The rest: a byte stream.
pub fn splitter(data: &[u8]) {
    let [cuts, size, data @ ..] = data else { return };
    let (whole, last) = split(data, 0, data.len() + 64);
    let (pieces, last_piece) = split(data, *cuts, data.len() + 64);
    assert!(whole == pieces && last == last_piece, "other access units in pieces");
    for unit in whole.iter().chain(&last) {
        assert!(unit.starts_with(&[0, 0, 1]) && AnnexB::new(unit).next().is_some());
    }
    let bytes: usize = whole.iter().chain(&last).map(Vec::len).sum();
    assert!(bytes <= data.len());
    // With less room large ones are left out, and what is given is no longer than the room.
    let room = 64 + usize::from(*size);
    let (few, _) = split(data, *cuts, room);
    assert!(few.iter().all(|unit| unit.len() < room && unit.starts_with(&[0, 0, 1])));
}

/// The access units of a stream, and the one that is complete at its end.
fn split(data: &[u8], cuts: u8, room: usize) -> (Vec<Vec<u8>>, Option<Vec<u8>>) {
    let (mut splitter, mut cuts) = (AccessUnitSplitter::new(room), Cuts::new(cuts));
    let (mut units, mut rest) = (Vec::new(), data);
    while !rest.is_empty() {
        let read = splitter.fill(|free| {
            let n = cuts.next(rest.len().min(free.len()));
            free[..n].copy_from_slice(&rest[..n]);
            rest = &rest[n..];
            Ok(n)
        });
        assert!(read.expect("it cannot fail") > 0, "no room after Incomplete");
        loop {
            match splitter.next_piece() {
                UnitPiece::Unit(unit) => units.push(unit.to_vec()),
                UnitPiece::TooLarge => {}
                UnitPiece::Incomplete => break,
            }
        }
    }
    let last = splitter.finish().map(<[u8]>::to_vec);
    (units, last)
}
