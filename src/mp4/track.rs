//! The video track that a key frame describes, and its initialization segment.
#![forbid(unsafe_code)]

use std::num::NonZeroU32;

use shiguredo_mp4::boxes::{
    Avc1Box, AvccBox, Brand, DinfBox, DrefBox, FtypBox, HdlrBox, MdhdBox, MdiaBox, MinfBox, MoovBox, MvexBox,
    MvhdBox, SampleEntry, StblBox, StcoBox, StscBox, StsdBox, StszBox, SttsBox, TkhdBox, TrakBox, TrexBox,
    UrlBox, VisualSampleEntryFields, VmhdBox,
};
use shiguredo_mp4::{Either, Encode, FixedPointNumber, Mp4FileTime, SampleFlags, Uint};

use super::{TIMESCALE, TRACK};
use crate::h264::{LENGTH_BYTES, NalKind, NalUnit, NalUnits, SequenceParameters};

/// A track as the parameter sets at the start of a key frame describe it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VideoTrack {
    /// What the first sequence parameter set says, which is that of the key frame.
    pub parameters: SequenceParameters,
    sequence_sets: Vec<Vec<u8>>,
    picture_sets: Vec<Vec<u8>>,
}

impl VideoTrack {
    /// Bytes of the parameter sets at the start of an access unit in the stored form. A track has them in its initialization
    /// segment, so its samples go without (ISO/IEC 14496-15, 5.3.3.1: `avc1`).
    pub fn parameter_set_bytes(unit: &[u8]) -> usize {
        let sets = NalUnits::new(unit).take_while(|unit| is_parameter_set(*unit));
        sets.map(|set| LENGTH_BYTES + set.bytes().len()).sum()
    }

    /// The track that begins with this key frame. `None` if its parameter sets are missing or damaged.
    pub fn of_key_frame(unit: &[u8]) -> Option<Self> {
        let (mut sequence_sets, mut picture_sets) = (Vec::new(), Vec::new());
        let mut parameters = None;
        for set in NalUnits::new(unit).take_while(|unit| is_parameter_set(*unit)) {
            if set.kind() == NalKind::PictureParameters {
                picture_sets.push(set.bytes().to_vec());
            } else {
                parameters = parameters.or(SequenceParameters::parse(set).ok());
                sequence_sets.push(set.bytes().to_vec());
            }
        }
        let parameters = parameters.filter(|_| !picture_sets.is_empty())?;
        Some(Self { parameters, sequence_sets, picture_sets })
    }

    /// Its initialization segment: `ftyp` and `moov`. `None` if the parameter sets are more or larger than one can hold.
    pub fn init_segment(&self) -> Option<Vec<u8>> {
        let brands = vec![Brand::ISO5, Brand::ISO6, Brand::AVC1, Brand::MP41];
        let ftyp = FtypBox { major_brand: Brand::ISO5, minor_version: 512, compatible_brands: brands };
        let mut segment = ftyp.encode_to_vec().ok()?;
        segment.extend(self.movie().encode_to_vec().ok()?);
        Some(segment)
    }

    /// The movie, which has no samples but says that fragments follow (ISO/IEC 14496-12, 8.8.1).
    fn movie(&self) -> MoovBox {
        let time = Mp4FileTime::from_secs(0);
        MoovBox {
            mvhd_box: MvhdBox {
                creation_time: time,
                modification_time: time,
                timescale: timescale(),
                duration: 0,
                rate: MvhdBox::DEFAULT_RATE,
                volume: MvhdBox::DEFAULT_VOLUME,
                matrix: MvhdBox::DEFAULT_MATRIX,
                next_track_id: TRACK + 1,
            },
            trak_boxes: vec![self.track(time)],
            mvex_box: Some(MvexBox {
                mehd_box: None,
                trex_boxes: vec![TrexBox {
                    track_id: TRACK,
                    default_sample_description_index: 1,
                    default_sample_duration: 0,
                    default_sample_size: 0,
                    default_sample_flags: SampleFlags::empty(),
                }],
                unknown_boxes: Vec::new(),
            }),
            unknown_boxes: Vec::new(),
        }
    }

    fn track(&self, time: Mp4FileTime) -> TrakBox {
        let size = self.parameters.resolution;
        TrakBox {
            tkhd_box: TkhdBox {
                flag_track_enabled: true,
                flag_track_in_movie: true,
                flag_track_in_preview: false,
                flag_track_size_is_aspect_ratio: false,
                creation_time: time,
                modification_time: time,
                track_id: TRACK,
                duration: 0,
                layer: TkhdBox::DEFAULT_LAYER,
                alternate_group: TkhdBox::DEFAULT_ALTERNATE_GROUP,
                volume: TkhdBox::DEFAULT_VIDEO_VOLUME,
                matrix: TkhdBox::DEFAULT_MATRIX,
                // The crate has it signed; 16 bits are 16 bits.
                width: FixedPointNumber::new(size.width.cast_signed(), 0),
                height: FixedPointNumber::new(size.height.cast_signed(), 0),
            },
            edts_box: None,
            mdia_box: MdiaBox {
                mdhd_box: MdhdBox {
                    creation_time: time,
                    modification_time: time,
                    timescale: timescale(),
                    duration: 0,
                    language: MdhdBox::LANGUAGE_UNDEFINED,
                },
                hdlr_box: HdlrBox { handler_type: HdlrBox::HANDLER_TYPE_VIDE, name: b"camera\0".to_vec() },
                minf_box: self.media_information(),
                unknown_boxes: Vec::new(),
            },
            unknown_boxes: Vec::new(),
        }
    }

    fn media_information(&self) -> MinfBox {
        MinfBox {
            smhd_or_vmhd_box: Some(Either::B(VmhdBox {
                graphicsmode: VmhdBox::DEFAULT_GRAPHICSMODE,
                opcolor: VmhdBox::DEFAULT_OPCOLOR,
            })),
            dinf_box: DinfBox {
                dref_box: DrefBox { url_box: Some(UrlBox { location: None }), unknown_boxes: Vec::new() },
                unknown_boxes: Vec::new(),
            },
            stbl_box: StblBox {
                stsd_box: StsdBox { entries: vec![SampleEntry::Avc1(self.sample_entry())] },
                stts_box: SttsBox { entries: Vec::new() },
                ctts_box: None,
                cslg_box: None,
                stsc_box: StscBox { entries: Vec::new() },
                stsz_box: StszBox::Variable { entry_sizes: Vec::new() },
                stco_or_co64_box: Either::A(StcoBox { chunk_offsets: Vec::new() }),
                stss_box: None,
                sdtp_box: None,
                unknown_boxes: Vec::new(),
            },
            unknown_boxes: Vec::new(),
        }
    }

    /// How a decoder is set up (ISO/IEC 14496-15, 5.3.3.1 and 5.4.2).
    fn sample_entry(&self) -> Avc1Box {
        let parameters = &self.parameters;
        let avcc_box = AvccBox {
            avc_profile_indication: parameters.profile,
            profile_compatibility: parameters.constraints,
            avc_level_indication: parameters.level,
            length_size_minus_one: Uint::new(LENGTH_BYTES as u8 - 1),
            sps_list: self.sequence_sets.clone(),
            pps_list: self.picture_sets.clone(),
            chroma_format: Some(Uint::new(parameters.chroma_format)),
            bit_depth_luma_minus8: Some(Uint::new(parameters.luma_bits.saturating_sub(8))),
            bit_depth_chroma_minus8: Some(Uint::new(parameters.chroma_bits.saturating_sub(8))),
            sps_ext_list: Vec::new(),
        };
        let visual = VisualSampleEntryFields {
            data_reference_index: VisualSampleEntryFields::DEFAULT_DATA_REFERENCE_INDEX,
            width: parameters.resolution.width,
            height: parameters.resolution.height,
            horizresolution: VisualSampleEntryFields::DEFAULT_HORIZRESOLUTION,
            vertresolution: VisualSampleEntryFields::DEFAULT_VERTRESOLUTION,
            frame_count: VisualSampleEntryFields::DEFAULT_FRAME_COUNT,
            compressorname: VisualSampleEntryFields::NULL_COMPRESSORNAME,
            depth: VisualSampleEntryFields::DEFAULT_DEPTH,
        };
        Avc1Box { visual, avcc_box, unknown_boxes: Vec::new() }
    }
}

fn is_parameter_set(unit: NalUnit<'_>) -> bool {
    matches!(unit.kind(), NalKind::SequenceParameters | NalKind::PictureParameters)
}

fn timescale() -> NonZeroU32 {
    const { NonZeroU32::new(TIMESCALE).unwrap() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::h264::{AnnexB, ParameterSets, write_access_unit};

    /// The first key frame of a stream, in the stored form.
    fn key_frame(stream: &[u8]) -> Vec<u8> {
        let slices = |unit: &NalUnit<'_>| unit.kind() != NalKind::Slice;
        let units: Vec<u8> = AnnexB::new(stream)
            .take_while(slices)
            .flat_map(|unit| [&[0, 0, 0, 1], unit.bytes()].concat())
            .collect();
        let mut slot = vec![0; units.len() + 200];
        let written = write_access_unit(&units, &mut slot, &mut ParameterSets::default()).unwrap();
        slot.truncate(written.len);
        slot
    }

    #[test]
    fn a_high_profile_tells_its_format_of_pixels() {
        let unit = key_frame(include_bytes!("../h264/samples/high-delimited.h264"));
        let track = VideoTrack::of_key_frame(&unit).unwrap();
        let segment = track.init_segment().unwrap();
        let at = segment.windows(4).position(|four| four == b"avcC").unwrap() + 4;
        let parameters = &track.parameters;
        let begins = [1, parameters.profile, parameters.constraints, parameters.level, 0xff, 0xe1];
        assert_eq!(segment[at..at + 6], begins);
        let box_bytes = u32::from_be_bytes(segment[at - 8..at - 4].try_into().unwrap()) as usize;
        assert_eq!(segment[at - 8..][..box_bytes][box_bytes - 4..], [0xfd, 0xf8, 0xf8, 0], "4:2:0, 8 bits");
    }

    #[test]
    fn a_key_frame_without_its_parameter_sets_is_no_track() {
        let unit = key_frame(include_bytes!("../h264/samples/baseline.h264"));
        let bare = &unit[VideoTrack::parameter_set_bytes(&unit)..];
        assert_eq!(VideoTrack::parameter_set_bytes(bare), 0);
        assert_eq!(VideoTrack::of_key_frame(bare), None);
        assert_eq!(VideoTrack::of_key_frame(b""), None);
    }

    #[test]
    fn damaged_key_frames_cause_no_panic() {
        let whole = key_frame(include_bytes!("../h264/samples/high-delimited.h264"));
        let mut random = 1u32;
        let mut below = |bound: usize| {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (random >> 8) as usize % bound
        };
        for _ in 0..100_000 {
            let mut unit = whole.clone();
            for _ in 0..=below(4) {
                let at = below(60);
                unit[at] = below(256) as u8;
            }
            unit.truncate(1 + below(whole.len()));
            assert!(VideoTrack::parameter_set_bytes(&unit) <= unit.len());
            if let Some(track) = VideoTrack::of_key_frame(&unit) {
                assert!(track.init_segment().is_some_and(|segment| segment.len() < 4096), "{track:?}");
            }
        }
    }
}
