//! Sequence parameter sets (ITU-T H.264, 7.3.2.1.1 and annex E): the size of the pictures and what a decoder must be able to do.
#![forbid(unsafe_code)]

use super::bits::BitReader;
use super::error::H264Error;
use super::nal::{NalKind, NalUnit};
use crate::frame::Resolution;

/// Pixels on each side of a macroblock.
const MACROBLOCK: u32 = 16;

/// Profiles whose parameter sets tell chroma format, bit depths and scaling lists.
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// The content of a sequence parameter set that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SequenceParameters {
    /// Its number, by which picture parameter sets refer to it.
    pub id: u32,
    /// profile_idc: 66 is Baseline, 77 Main, 100 High.
    pub profile: u8,
    /// The byte of constraint_set flags.
    pub constraints: u8,
    /// level_idc: ten times the level.
    pub level: u8,
    /// chroma_format_idc: 0 is grey, 1 is 4:2:0, 2 is 4:2:2, 3 is 4:4:4.
    pub chroma_format: u8,
    /// Bits of a sample of luma.
    pub luma_bits: u8,
    /// Bits of a sample of chroma.
    pub chroma_bits: u8,
    /// The size of the pictures that are shown.
    pub resolution: Resolution,
    /// The size of the pictures that a decoder makes before it cuts off their margins.
    pub coded: Resolution,
    /// Pictures that a decoder must keep, because others may refer to them.
    pub reference_frames: u32,
    /// Whether a picture may be sent as two fields.
    pub interlaced: bool,
    /// Whether the samples have the full range of 0 to 255; if it is told.
    pub full_range: Option<bool>,
    /// Time of a picture, if it is told.
    pub timing: Option<PictureTiming>,
    /// Pictures that come before others which are shown before them, if it is told. 0 is a stream without B-frames.
    pub reordered: Option<u32>,
}

/// VUI timing: a picture lasts for two ticks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PictureTiming {
    /// num_units_in_tick.
    pub units_in_tick: u32,
    /// time_scale: units in a second.
    pub time_scale: u32,
    /// Whether all pictures last equally long.
    pub fixed: bool,
}

impl PictureTiming {
    /// Pictures a second.
    pub fn frame_rate(self) -> f64 {
        f64::from(self.time_scale) / (2.0 * f64::from(self.units_in_tick))
    }
}

/// What is read before the size of the picture.
struct Format {
    chroma_format: u8,
    separate_planes: bool,
    luma_bits: u8,
    chroma_bits: u8,
}

/// The frames of a sequence.
struct CodedFrame {
    reference_frames: u32,
    /// Width and height of what is coded.
    coded: (u32, u32),
    /// What is cut off left, right, top and bottom.
    margins: [u32; 4],
    interlaced: bool,
}

/// VUI parameters that matter here.
#[derive(Default)]
struct Usability {
    full_range: Option<bool>,
    timing: Option<PictureTiming>,
    reordered: Option<u32>,
}

impl SequenceParameters {
    /// Reads a sequence parameter set.
    ///
    /// # Errors
    /// If the NAL unit is none, or is damaged.
    pub fn parse(nal: NalUnit<'_>) -> Result<Self, H264Error> {
        if nal.kind() != NalKind::SequenceParameters {
            return Err(H264Error::InvalidSps("another kind of NAL unit in its place"));
        }
        let mut bits = nal.content();
        Self::read(&mut bits)?.ok_or(H264Error::InvalidSps("its end missing, or a number too large"))
    }

    /// `None` where it is cut short.
    fn read(bits: &mut BitReader<'_>) -> Result<Option<Self>, H264Error> {
        let Some((profile, constraints, level, id)) = identity(bits) else { return Ok(None) };
        if id > 31 {
            return Err(H264Error::InvalidSps("a number above 31"));
        }
        let Some(format) = format(bits, profile) else { return Ok(None) };
        if format.chroma_format > 3 || format.luma_bits > 14 || format.chroma_bits > 14 {
            return Err(H264Error::InvalidSps("a format of pixels that does not exist"));
        }
        let Some(frame) = frame(bits, &format) else { return Ok(None) };
        let (coded, [left, right, top, bottom]) = (frame.coded, frame.margins);
        let shown = |side: u32, before: u32, after: u32| {
            side.checked_sub(before.checked_add(after)?).filter(|shown| *shown > 0)
        };
        let sides = shown(coded.0, left, right).zip(shown(coded.1, top, bottom));
        let Some((width, height)) = sides else {
            return Err(H264Error::InvalidSps("margins larger than its picture"));
        };
        let (Some(resolution), Some(coded)) = (resolution(width, height), resolution(coded.0, coded.1))
        else {
            return Err(H264Error::InvalidSps("a picture of more than 65535 pixels across"));
        };
        // What is not understood here costs the rate only.
        let usability = usability(bits).unwrap_or_default();
        Ok(Some(Self {
            id,
            profile,
            constraints,
            level,
            chroma_format: format.chroma_format,
            luma_bits: format.luma_bits,
            chroma_bits: format.chroma_bits,
            resolution,
            coded,
            reference_frames: frame.reference_frames,
            interlaced: frame.interlaced,
            full_range: usability.full_range,
            timing: usability.timing,
            reordered: usability.reordered,
        }))
    }

    /// The codec as browsers and MIME types name it (RFC 6381, 3.3).
    pub fn codec(&self) -> String {
        format!("avc1.{:02X}{:02X}{:02X}", self.profile, self.constraints, self.level)
    }
}

fn resolution(width: u32, height: u32) -> Option<Resolution> {
    Some(Resolution::new(u16::try_from(width).ok()?, u16::try_from(height).ok()?))
}

fn identity(bits: &mut BitReader<'_>) -> Option<(u8, u8, u8, u32)> {
    Some((bits.byte()?, bits.byte()?, bits.byte()?, bits.unsigned()?))
}

fn format(bits: &mut BitReader<'_>, profile: u8) -> Option<Format> {
    if !HIGH_PROFILES.contains(&profile) {
        return Some(Format { chroma_format: 1, separate_planes: false, luma_bits: 8, chroma_bits: 8 });
    }
    let chroma_format = bits.unsigned()?.min(255) as u8;
    let separate_planes = chroma_format == 3 && bits.flag()?;
    let mut depth = || Some(bits.unsigned()?.min(200) as u8 + 8);
    let (luma_bits, chroma_bits) = (depth()?, depth()?);
    let _transform_bypass = bits.flag()?;
    if bits.flag()? {
        for list in 0..if chroma_format == 3 { 12 } else { 8 } {
            if bits.flag()? {
                skip_scaling_list(bits, if list < 6 { 16 } else { 64 })?;
            }
        }
    }
    Some(Format { chroma_format, separate_planes, luma_bits, chroma_bits })
}

/// 7.3.2.1.1.1.
fn skip_scaling_list(bits: &mut BitReader<'_>, size: usize) -> Option<()> {
    let mut last = 8;
    for _ in 0..size {
        let next = (last + i64::from(bits.signed()?)).rem_euclid(256);
        if next == 0 {
            break;
        }
        last = next;
    }
    Some(())
}

fn frame(bits: &mut BitReader<'_>, format: &Format) -> Option<CodedFrame> {
    let _log2_max_frame_num = bits.unsigned()?;
    match bits.unsigned()? {
        0 => _ = bits.unsigned()?,
        1 => {
            let _always_zero = bits.flag()?;
            let _offsets = (bits.signed()?, bits.signed()?);
            for _ in 0..bits.unsigned().filter(|frames| *frames < 256)? {
                bits.signed()?;
            }
        }
        _ => {}
    }
    let reference_frames = bits.unsigned()?;
    let _gaps_allowed = bits.flag()?;
    let (across, down) = (bits.unsigned()?.checked_add(1)?, bits.unsigned()?.checked_add(1)?);
    let frames_only = bits.flag()?;
    if !frames_only {
        let _adaptive = bits.flag()?;
    }
    let _direct_8x8 = bits.flag()?;
    let fields = if frames_only { 1 } else { 2 };
    let coded = (across.checked_mul(MACROBLOCK)?, down.checked_mul(MACROBLOCK)?.checked_mul(fields)?);
    let whole = CodedFrame { reference_frames, coded, margins: [0; 4], interlaced: !frames_only };
    if !bits.flag()? {
        return Some(whole);
    }
    let (unit_x, unit_y) = match format.chroma_format {
        1 => (2, 2),
        2 => (2, 1),
        _ => (1, 1),
    };
    let (unit_x, unit_y) = if format.separate_planes { (1, 1) } else { (unit_x, unit_y) };
    let mut margin = |unit: u32| bits.unsigned()?.checked_mul(unit);
    let (left, right) = (margin(unit_x)?, margin(unit_x)?);
    let (top, bottom) = (margin(unit_y * fields)?, margin(unit_y * fields)?);
    Some(CodedFrame { margins: [left, right, top, bottom], ..whole })
}

/// E.1.1, from its flag on.
fn usability(bits: &mut BitReader<'_>) -> Option<Usability> {
    /// The aspect ratio that is told as two numbers.
    const EXTENDED: u8 = 255;
    let mut usability = Usability::default();
    if !bits.flag()? {
        return Some(usability);
    }
    if bits.flag()? && bits.byte()? == EXTENDED {
        bits.bits(32)?;
    }
    if bits.flag()? {
        let _overscan = bits.flag()?;
    }
    if bits.flag()? {
        let _video_format = bits.bits(3)?;
        usability.full_range = Some(bits.flag()?);
        if bits.flag()? {
            let _colours = bits.bits(24)?;
        }
    }
    if bits.flag()? {
        let _chroma_location = (bits.unsigned()?, bits.unsigned()?);
    }
    if bits.flag()? {
        let (units_in_tick, time_scale, fixed) = (bits.bits(32)?, bits.bits(32)?, bits.flag()?);
        if units_in_tick > 0 && time_scale > 0 {
            usability.timing = Some(PictureTiming { units_in_tick, time_scale, fixed });
        }
    }
    usability.reordered = reordered(bits);
    Some(usability)
}

/// The rest of E.1.1.
fn reordered(bits: &mut BitReader<'_>) -> Option<u32> {
    let mut buffers = [false; 2];
    for of in &mut buffers {
        *of = bits.flag()?;
        if *of {
            skip_buffer_model(bits)?;
        }
    }
    if buffers.contains(&true) {
        let _low_delay = bits.flag()?;
    }
    let _picture_structure = bits.flag()?;
    if !bits.flag()? {
        return None;
    }
    let _over_boundaries = bits.flag()?;
    for _ in 0..4 {
        bits.unsigned()?;
    }
    bits.unsigned()
}

/// E.1.2.
fn skip_buffer_model(bits: &mut BitReader<'_>) -> Option<()> {
    let count = bits.unsigned().filter(|count| *count < 32)?;
    let _scales = bits.byte()?;
    for _ in 0..=count {
        let _rate_and_size = (bits.unsigned()?, bits.unsigned()?, bits.flag()?);
    }
    let _lengths = bits.bits(20)?;
    Some(())
}

#[cfg(test)]
mod tests {
    use super::super::nal::AnnexB;
    use super::*;

    fn parse(stream: &[u8]) -> SequenceParameters {
        let sps = AnnexB::new(stream).find(|unit| unit.kind() == NalKind::SequenceParameters).unwrap();
        SequenceParameters::parse(sps).unwrap()
    }

    #[test]
    fn a_baseline_stream_of_x264_is_read() {
        let sps = parse(include_bytes!("samples/baseline.h264"));
        assert_eq!((sps.resolution, sps.coded), (Resolution::new(64, 48), Resolution::new(64, 48)));
        assert_eq!((sps.profile, sps.level, sps.codec().as_str()), (66, 10, "avc1.42C00A"));
        assert_eq!((sps.chroma_format, sps.luma_bits, sps.chroma_bits, sps.interlaced), (1, 8, 8, false));
        assert_eq!(sps.timing.unwrap().frame_rate(), 25.0);
        assert_eq!((sps.reordered, sps.reference_frames), (Some(0), 3));
    }

    #[test]
    fn margins_are_cut_off() {
        let sps = parse(include_bytes!("samples/high-delimited.h264"));
        assert_eq!((sps.resolution, sps.coded), (Resolution::new(50, 38), Resolution::new(64, 48)));
        assert_eq!(sps.codec(), "avc1.64000A");
        assert_eq!(sps.timing.unwrap().frame_rate(), 30.0);
    }

    #[test]
    fn a_buffer_model_is_passed_over() {
        let sps = parse(include_bytes!("samples/slices.h264"));
        assert_eq!((sps.resolution, sps.profile), (Resolution::new(96, 64), 77));
        assert_eq!((sps.timing.unwrap().frame_rate(), sps.reordered), (15.0, Some(0)));
    }

    #[test]
    fn interlaced_pictures_of_422_with_ten_bits_are_read() {
        // x264, 1920x1080, High 4:2:2, fields; with emulation prevention in its timing.
        let sps = parse(include_bytes!("samples/interlaced.h264"));
        assert_eq!((sps.resolution, sps.coded), (Resolution::new(1920, 1080), Resolution::new(1920, 1088)));
        assert_eq!((sps.chroma_format, sps.luma_bits, sps.interlaced), (2, 10, true));
        assert_eq!(sps.full_range, Some(true));
    }

    #[test]
    fn a_set_that_is_cut_short_is_an_error_and_no_byte_changes_that() {
        let stream = include_bytes!("samples/interlaced.h264");
        let sps =
            AnnexB::new(stream).find(|unit| unit.kind() == NalKind::SequenceParameters).unwrap().bytes();
        for cut in 1..8 {
            assert!(SequenceParameters::parse(NalUnit::new(&sps[..cut]).unwrap()).is_err(), "cut at {cut}");
        }
        for at in 1..sps.len() {
            for value in [0, 1, 0x55, 0x80, 0xff] {
                let mut changed = sps.to_vec();
                changed[at] = value;
                let _ = SequenceParameters::parse(NalUnit::new(&changed).unwrap());
            }
        }
    }

    #[test]
    fn another_nal_unit_is_no_sequence_parameter_set() {
        assert!(matches!(
            SequenceParameters::parse(NalUnit::new(&[0x68, 0xce]).unwrap()),
            Err(H264Error::InvalidSps(_))
        ));
    }
}
