//! MP4 as viewers get it, of parameter sets and access units of any kind: boxes lie within each other without a rest, and the reader of the
//! crate that names them finds what was written.

use std::time::Duration;

use porthole::frame::Timestamp;
use porthole::h264::{NalKind, NalUnits, ParameterSets, write_access_unit};
use porthole::mp4::{FragmentHeads, Timeline, VideoTrack};
use shiguredo_mp4::boxes::{FtypBox, MoofBox, MoovBox, SampleEntry};
use shiguredo_mp4::{BoxHeader, Decode};

use crate::targets::Cuts;

/// Boxes that hold nothing but boxes (ISO/IEC 14496-12).
const FOLDERS: [&[u8; 4]; 9] =
    [b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"mvex", b"moof", b"traf"];
/// Parameter sets that a track has room for, and bytes of each (ISO/IEC 14496-15, 5.3.3.1).
const MOST_SEQUENCE_SETS: usize = 31;
const MOST_PICTURE_SETS: usize = 255;
const MOST_SET_BYTES: usize = u16::MAX as usize;
/// Bytes of an access unit at least, as for `h264_units`.
const LEAST_UNIT: usize = 40;

/// First bytes: where the stream is cut into access units, and when these were captured. The rest: access units of one stream, and a key
/// frame in the stored form.
pub fn mp4(data: &[u8]) {
    let [cuts, times, data @ ..] = data else { return };
    if let Some(track) = VideoTrack::of_key_frame(data) {
        check_track(&track, data);
    }
    let (mut sets, mut cuts, mut moments) = (ParameterSets::default(), Cuts::new(*cuts), Cuts::new(*times));
    let mut viewer = Viewer::default();
    let (mut rest, mut at) = (data, 0u64);
    while !rest.is_empty() {
        let (unit, behind) = rest.split_at(cuts.next(rest.len()).max(LEAST_UNIT).min(rest.len()));
        rest = behind;
        // Times as cameras have them, with some that go back, and some that are far away.
        let step = moments.next(usize::MAX) as u64;
        at = if step.is_multiple_of(7) { at / 2 } else { at.wrapping_add(step << (step % 5 * 9)) };
        let interval = Duration::from_micros(step.wrapping_mul(step % 3 * 1000));
        let mut slot = vec![0; data.len() * 3];
        if let Ok(written) = write_access_unit(unit, &mut slot, &mut sets) {
            viewer.take(&slot[..written.len], written.is_key, Timestamp(at), interval);
        }
    }
}

/// What is sent to one viewer.
#[derive(Default)]
struct Viewer {
    timeline: Timeline,
    heads: FragmentHeads,
    has_track: bool,
    fragments: u32,
    end: u64,
}

impl Viewer {
    fn take(&mut self, unit: &[u8], is_key: bool, at: Timestamp, interval: Duration) {
        let mut sample = unit;
        if is_key {
            let track = VideoTrack::of_key_frame(unit).expect("a key frame has the sets it needs");
            check_track(&track, unit);
            self.has_track = true;
            sample = &unit[VideoTrack::parameter_set_bytes(unit)..];
            assert!(
                NalUnits::new(sample).any(|unit| unit.kind() == NalKind::IdrSlice),
                "its picture is missing"
            );
        }
        if !self.has_track {
            return;
        }
        let time = self.timeline.next(at, interval);
        let head = self.heads.next(time, sample.len(), is_key);
        self.fragments += 1;
        assert!(time.at >= self.end && time.lasts > 0, "time goes back");
        self.end = time.at + u64::from(time.lasts);

        let (moof, behind) = head.split_at(boxes(&[head, sample].concat())[0]);
        let (fragment, read) = MoofBox::decode(moof).expect("moof");
        assert_eq!((read, fragment.mfhd_box.sequence_number), (moof.len(), self.fragments));
        let [track] = &fragment.traf_boxes[..] else { panic!("one track") };
        assert_eq!(track.tfdt_box.as_ref().map(|tfdt| tfdt.base_media_decode_time), Some(time.at));
        let [run] = &track.trun_boxes[..] else { panic!("one run") };
        assert_eq!(run.data_offset, Some(head.len() as i32));
        let [one] = &run.samples[..] else { panic!("one sample") };
        assert_eq!((one.duration, one.size), (Some(time.lasts), Some(sample.len() as u32)));
        assert_eq!(one.flags.map(|flags| flags.sample_is_non_sync_sample()), Some(!is_key));
        let (mdat, _) = BoxHeader::decode(behind).expect("mdat");
        assert_eq!(mdat.box_size.get(), (behind.len() + sample.len()) as u64);
    }
}

/// A track and the key frame it begins with.
fn check_track(track: &VideoTrack, unit: &[u8]) {
    let sets = |kind: NalKind| -> Vec<Vec<u8>> {
        let all = NalUnits::new(&unit[..VideoTrack::parameter_set_bytes(unit)]);
        all.filter(|set| set.kind() == kind).map(|set| set.bytes().to_vec()).collect()
    };
    let (sequence, picture) = (sets(NalKind::SequenceParameters), sets(NalKind::PictureParameters));
    let fits = sequence.len() <= MOST_SEQUENCE_SETS
        && picture.len() <= MOST_PICTURE_SETS
        && sequence.iter().chain(&picture).all(|set| set.len() <= MOST_SET_BYTES);
    let segment = track.init_segment();
    assert_eq!(segment.is_some(), fits, "{} and {} sets", sequence.len(), picture.len());
    let Some(segment) = segment else { return };

    let tops = boxes(&segment);
    let (ftyp, moov) = segment.split_at(tops[0]);
    assert_eq!((&ftyp[4..8], &moov[4..8], tops.len()), (&b"ftyp"[..], &b"moov"[..], 2));
    assert_eq!(FtypBox::decode(ftyp).expect("ftyp").1, ftyp.len());
    let (movie, read) = MoovBox::decode(moov).expect("moov");
    assert_eq!(read, moov.len());
    assert!(movie.mvex_box.is_some(), "fragments follow");
    let [only] = &movie.trak_boxes[..] else { panic!("one track") };
    let [SampleEntry::Avc1(entry)] = &only.mdia_box.minf_box.stbl_box.stsd_box.entries[..] else {
        panic!("one description")
    };
    let parameters = &track.parameters;
    let size = (entry.visual.width, entry.visual.height);
    assert_eq!(size, (parameters.resolution.width, parameters.resolution.height));
    let decoder = &entry.avcc_box;
    assert_eq!((&decoder.sps_list, &decoder.pps_list), (&sequence, &picture));
    let codec = [decoder.avc_profile_indication, decoder.profile_compatibility, decoder.avc_level_indication];
    let codec: String = codec.iter().map(|byte| format!("{byte:02X}")).collect();
    assert_eq!(parameters.codec(), format!("avc1.{codec}"));
}

/// The sizes of boxes, which fill these bytes; so do those within them.
fn boxes(mut bytes: &[u8]) -> Vec<usize> {
    let mut sizes = Vec::new();
    while !bytes.is_empty() {
        let (size, rest) = bytes.split_first_chunk().expect("a size");
        let size = u32::from_be_bytes(*size) as usize;
        assert!(size >= 8 && size <= bytes.len(), "a box of {size} bytes where there are {}", bytes.len());
        if FOLDERS.iter().any(|folder| rest.starts_with(*folder)) {
            boxes(&bytes[8..size]);
        }
        sizes.push(size);
        bytes = &bytes[size..];
    }
    sizes
}
