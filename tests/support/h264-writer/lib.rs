//! An H.264 encoder for tests. Every macroblock has one colour, so it is small and exact: what a decoder shows is what was
//! drawn, luma to the bit and chroma within 1.
//!
//! Constrained Baseline, one slice a picture, CAVLC, no deblocking (ITU-T H.264). A macroblock of another colour than before
//! is coded within the picture (`Intra_16x16`), every other one is skipped; so is all that a missing picture would have changed.
//!
//! Pictures tell their number twice: by the bar code of the fake camera's raw pictures, which [`bar`] says, and by a message
//! ahead of the slice ([`stamp`], [`read_stamp`]) with the text of the fake camera's JPEGs.
#![allow(missing_docs, reason = "a helper of tests; the names say it")]

mod bits;

use bits::BitWriter;

/// Y, U and V.
pub type Colour = [u8; 3];

/// Pixels of a macroblock in a row, and rows.
pub const SIDE: u32 = 16;

/// What every NAL unit begins with.
const START_CODE: [u8; 4] = [0, 0, 0, 1];
/// `nal_ref_idc` and `nal_unit_type` of each kind (7.4.1).
const SLICE: u8 = 0x61;
const KEY_SLICE: u8 = 0x65;
const SEI: u8 = 0x06;
const SPS: u8 = 0x67;
const PPS: u8 = 0x68;

/// `frame_num` has so many bits.
const FRAME_NUM_BITS: u32 = 8;
/// At this quantizer a luma DC level is a difference of 1, and a chroma DC level one of 2 (8.5.10, 8.5.11).
const QP: i32 = 28;

/// Identifies a [`stamp`]; a UUID that was made up.
const STAMP_UUID: [u8; 16] = *b"\x8a\x17porthole-test\x5e";

/// An encoder of one stream.
pub struct Encoder {
    size: [u32; 2],
    /// Pictures per 1000 seconds, for the VUI.
    rate: u32,
    /// Of its parameter sets.
    number: u32,
    /// What a decoder shows, for each macroblock.
    shown: Vec<Colour>,
    /// Pictures since the last key frame.
    since_key: Option<u32>,
    key_frames: u32,
}

impl Encoder {
    /// For pictures of this width and height, which are even.
    pub fn new(size: [u32; 2], rate: u32) -> Self {
        let [columns, rows] = macroblocks(size);
        let shown = vec![[0; 3]; (columns * rows) as usize];
        Self { size, rate, number: 0, shown, since_key: None, key_frames: 0 }
    }

    /// With parameter sets of this number, at 30 pictures a second.
    pub fn numbered(size: [u32; 2], number: u32) -> Self {
        Self { number, ..Self::new(size, 30_000) }
    }

    pub fn size(&self) -> [u32; 2] {
        self.size
    }

    /// Pictures since the last key frame; `None` before the first.
    pub fn since_key(&self) -> Option<u32> {
        self.since_key
    }

    /// Appends SPS and PPS.
    pub fn parameter_sets(&self, out: &mut Vec<u8>) {
        append(out, SPS, self.sequence_parameters());
        append(out, PPS, picture_parameters(self.number));
    }

    /// Appends a slice with the picture that has `colour` at each column and row of macroblocks. The first is a key frame.
    pub fn picture(&mut self, key: bool, colour: impl Fn(u32, u32) -> Colour, out: &mut Vec<u8>) {
        let key = key || self.since_key.is_none();
        let since_key = if key { 0 } else { self.since_key.map_or(0, |n| n + 1) };
        let mut bits = BitWriter::default();
        bits.ue(0); // first_mb_in_slice
        bits.ue(if key { 7 } else { 5 }); // slice_type: all of them are I, or P
        bits.ue(self.number); // pic_parameter_set_id
        bits.put(FRAME_NUM_BITS, since_key & ((1 << FRAME_NUM_BITS) - 1));
        if key {
            bits.ue(self.key_frames & 1); // idr_pic_id
            bits.put(2, 0); // no_output_of_prior_pics_flag, long_term_reference_flag
        } else {
            // num_ref_idx_active_override_flag, ref_pic_list_modification_flag_l0, adaptive_ref_pic_marking_mode_flag
            bits.put(3, 0);
        }
        bits.se(0); // slice_qp_delta
        bits.ue(1); // disable_deblocking_filter_idc
        self.macroblocks(key, colour, &mut bits);
        append(out, if key { KEY_SLICE } else { SLICE }, bits.finish());
        self.since_key = Some(since_key);
        self.key_frames += u32::from(key);
    }

    fn macroblocks(&mut self, key: bool, colour: impl Fn(u32, u32) -> Colour, bits: &mut BitWriter) {
        let [columns, rows] = macroblocks(self.size);
        let mut skipped = 0;
        for at in 0..columns * rows {
            let (column, row) = (at % columns, at / columns);
            let (wanted, before) = (colour(column, row), self.shown[at as usize]);
            if !key && is_near(wanted, before) {
                skipped += 1;
                continue;
            }
            if !key {
                bits.ue(std::mem::take(&mut skipped)); // mb_skip_run
            }
            // From the left, or from above at the left edge; the first from nothing.
            let (predicted, luma_mode, chroma_mode) = match (column, row) {
                (0, 0) => ([128; 3], 2, 0),
                (0, _) => (self.shown[(at - columns) as usize], 0, 2),
                _ => (self.shown[at as usize - 1], 1, 1),
            };
            self.shown[at as usize] = macroblock(bits, key, wanted, predicted, luma_mode, chroma_mode);
        }
        if skipped > 0 {
            bits.ue(skipped);
        }
    }

    /// `seq_parameter_set_rbsp` (7.3.2.1.1).
    fn sequence_parameters(&self) -> Vec<u8> {
        let [columns, rows] = macroblocks(self.size);
        let mut bits = BitWriter::default();
        bits.put(8, 66); // profile_idc: Baseline
        bits.put(8, 0xc0); // constraint_set0_flag, constraint_set1_flag
        bits.put(8, level(columns * rows, self.rate));
        bits.ue(self.number); // seq_parameter_set_id
        bits.ue(FRAME_NUM_BITS - 4);
        bits.ue(2); // pic_order_cnt_type: shown in the order of decoding
        bits.ue(1); // max_num_ref_frames
        bits.put(1, 0); // gaps_in_frame_num_value_allowed_flag
        bits.ue(columns - 1);
        bits.ue(rows - 1);
        bits.put(2, 3); // frame_mbs_only_flag, direct_8x8_inference_flag
        let [right, bottom] = [columns * SIDE - self.size[0], rows * SIDE - self.size[1]];
        let is_cropped = right + bottom > 0;
        bits.put(1, is_cropped.into());
        if is_cropped {
            [0, right / 2, 0, bottom / 2].into_iter().for_each(|edge| bits.ue(edge));
        }
        bits.put(1, 1); // vui_parameters_present_flag
        bits.put(4, 0); // no aspect ratio, overscan, signal type, chroma location
        bits.put(1, 1); // timing_info_present_flag
        bits.put(32, 500); // num_units_in_tick: half a picture
        bits.put(32, self.rate);
        bits.put(4, 0b1000); // fixed_frame_rate_flag, no HRD, no pic_struct_present_flag
        bits.put(1, 1); // bitstream_restriction_flag
        bits.put(1, 1); // motion_vectors_over_pic_boundaries_flag
        // max_bytes_per_pic_denom, max_bits_per_mb_denom, the longest vectors, max_num_reorder_frames, max_dec_frame_buffering
        [0, 0, 10, 10, 0, 1].into_iter().for_each(|limit| bits.ue(limit));
        bits.finish()
    }
}

/// `pic_parameter_set_rbsp` (7.3.2.2).
fn picture_parameters(number: u32) -> Vec<u8> {
    let mut bits = BitWriter::default();
    bits.ue(number); // pic_parameter_set_id
    bits.ue(number); // seq_parameter_set_id
    bits.put(2, 0); // entropy_coding_mode_flag: CAVLC, bottom_field_pic_order_in_frame_present_flag
    bits.ue(0); // num_slice_groups_minus1
    bits.ue(0); // num_ref_idx_l0_default_active_minus1
    bits.ue(0); // num_ref_idx_l1_default_active_minus1
    bits.put(3, 0); // weighted_pred_flag, weighted_bipred_idc
    bits.se(QP - 26); // pic_init_qp_minus26
    bits.se(0); // pic_init_qs_minus26
    bits.se(0); // chroma_qp_index_offset
    bits.put(3, 0b100); // deblocking_filter_control_present_flag, constrained_intra_pred_flag, redundant_pic_cnt_present_flag
    bits.finish()
}

/// Columns and rows of macroblocks.
pub fn macroblocks([width, height]: [u32; 2]) -> [u32; 2] {
    [width.div_ceil(SIDE), height.div_ceil(SIDE)]
}

/// `level_idc`: the lowest with so many macroblocks in a picture and in a second (table A-1).
fn level(in_picture: u32, rate: u32) -> u32 {
    let in_second = u64::from(in_picture) * u64::from(rate) / 1000;
    let levels = [(30, 1620, 40_500), (31, 3600, 108_000), (32, 5120, 216_000), (40, 8192, 245_760)];
    let fits = |&&(_, picture, second): &&(u32, u32, u64)| in_picture <= picture && in_second <= second;
    levels.iter().find(fits).map_or(51, |level| level.0)
}

/// Whether another coding would not come nearer.
fn is_near(wanted: Colour, shown: Colour) -> bool {
    wanted[0] == shown[0] && (1..3).all(|i| wanted[i].abs_diff(shown[i]) <= 1)
}

/// Writes a macroblock of one colour; returns what a decoder makes of it (7.3.5).
fn macroblock(
    bits: &mut BitWriter,
    key: bool,
    wanted: Colour,
    predicted: Colour,
    luma_mode: u32,
    chroma_mode: u32,
) -> Colour {
    let difference = |i: usize| i32::from(wanted[i]) - i32::from(predicted[i]);
    let luma = difference(0);
    let chroma = [difference(1) / 2, difference(2) / 2];
    let codes_chroma = chroma != [0, 0];
    bits.ue(if key { 0 } else { 5 } + 1 + luma_mode + 4 * u32::from(codes_chroma)); // mb_type
    bits.ue(chroma_mode);
    bits.se(0); // mb_qp_delta
    // No macroblock has AC levels, so the number of levels in the neighbours is 0.
    residual(bits, luma, (1, 1), [(0b000101, 6), (0b01, 2)]);
    if codes_chroma {
        chroma.iter().for_each(|&level| residual(bits, level, (0b01, 2), [(0b000111, 6), (1, 1)]));
    }
    let luma = (i32::from(predicted[0]) + luma) as u8;
    let [u, v] = std::array::from_fn(|i| (i32::from(predicted[i + 1]) + 2 * chroma[i]) as u8);
    [luma, u, v]
}

/// `residual_block_cavlc` with at most the first level (7.3.5.3.2). `none` and `one` are codes of `coeff_token` with their
/// lengths: for no level, and for one that is larger than 1, or that is 1.
fn residual(bits: &mut BitWriter, level: i32, none: (u32, u32), one: [(u32, u32); 2]) {
    let (code, length) = match level {
        0 => none,
        -1 | 1 => one[1],
        _ => one[0],
    };
    bits.put(length, code);
    match level {
        0 => return,
        -1 | 1 => bits.put(1, (level < 0).into()), // trailing_ones_sign_flag
        _ => {
            let code = 2 * level.unsigned_abs() - if level > 0 { 2 } else { 1 } - 2;
            // level_prefix and level_suffix (9.2.2.1).
            match code {
                0..14 => bits.put(code + 1, 1),
                14..30 => {
                    bits.put(15, 1);
                    bits.put(4, code - 14);
                }
                _ => {
                    bits.put(16, 1);
                    bits.put(12, code - 30);
                }
            }
        }
    }
    bits.put(1, 1); // total_zeros: 0
}

/// Whether this square of the bar code for `number` is white. There are [`SQUARES`], from the left edge.
pub fn bar(number: u64, square: u32) -> bool {
    let number = number as u32 & 0xff_ffff;
    let check = (0..6).fold(0, |check, nibble| check ^ number >> (4 * nibble) & 15);
    (2 << 28 | number << 4 | check) >> (SQUARES - 1 - square) & 1 != 0
}

/// Squares of the bar code.
pub const SQUARES: u32 = 30;

/// Appends a message with this text: user data that is not registered (D.1.7).
pub fn stamp(text: &str, out: &mut Vec<u8>) {
    let mut message = vec![5];
    let size = STAMP_UUID.len() + text.len();
    message.extend(std::iter::repeat_n(0xff, size / 0xff));
    message.push((size % 0xff) as u8);
    message.extend_from_slice(&STAMP_UUID);
    message.extend_from_slice(text.as_bytes());
    message.push(0x80);
    append(out, SEI, message);
}

/// The text of the [`stamp`] in these NAL units, whatever stands between them.
pub fn read_stamp(unit: &[u8]) -> Option<&str> {
    let at = unit.windows(STAMP_UUID.len()).position(|bytes| bytes == STAMP_UUID)? + STAMP_UUID.len();
    let end = unit[at..].iter().position(|&byte| byte == 0x80)?;
    std::str::from_utf8(&unit[at..at + end]).ok()
}

/// Appends a NAL unit with these bytes, emulation prevention among them (7.4.1).
fn append(out: &mut Vec<u8>, head: u8, bytes: Vec<u8>) {
    out.extend_from_slice(&START_CODE);
    out.push(head);
    let mut zeros = 0;
    for byte in bytes {
        if zeros == 2 && byte <= 3 {
            out.push(3);
            zeros = 0;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_as_it_was_written() {
        let mut unit = vec![1, 2, 3];
        stamp(&"x".repeat(600), &mut unit);
        assert_eq!(read_stamp(&unit).map(str::len), Some(600));
        assert_eq!(read_stamp(b"nothing"), None);
    }

    #[test]
    fn a_picture_that_stays_takes_a_few_bytes() {
        let mut encoder = Encoder::new([1280, 720], 30_000);
        let mut key = Vec::new();
        encoder.picture(false, |x, y| [x as u8 * 3, y as u8 * 5, 128], &mut key);
        assert_eq!((key[4], encoder.since_key()), (KEY_SLICE, Some(0)));
        let mut next = Vec::new();
        encoder.picture(false, |x, y| [x as u8 * 3, y as u8 * 5, 128], &mut next);
        assert_eq!((next[4], encoder.since_key()), (SLICE, Some(1)));
        assert!(next.len() < 20 && key.len() < 20_000, "{} {}", next.len(), key.len());
    }
}
