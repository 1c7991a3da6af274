//! The H.264 of a camera that encodes by itself: what it shows, when a frame is a key frame, what comes with it.
//!
//! One access unit is in each buffer, in Annex B. It begins with a message that has the text of the JPEGs' comment. The picture
//! stands, but for a stripe that moves to the right by 16 pixels a frame, and for the bar code of raw formats in pictures from
//! 480 pixels of width.
use crate::content::{Format, texture};
use crate::controls;
use fakecam_table::{Counter, Setting, Table, now_ns};
use h264_writer::{Colour, Encoder, SIDE, SQUARES, bar, macroblocks};

/// The encoder of one stream.
#[derive(Default)]
pub(crate) struct Video {
    encoder: Option<Encoder>,
    /// The requests for a key frame that have been granted.
    granted: u64,
    has_parameter_sets: bool,
}

impl Video {
    /// Writes the access unit of the frame with this number; returns its length and when it was complete.
    pub(crate) fn shoot(
        &mut self,
        format: &Format,
        number: u64,
        table: &Table,
        out: &mut [u8],
    ) -> (usize, u64) {
        let size = match table.setting(Setting::VideoSize) {
            0 => [format.width, format.height],
            size => [size >> 16, size & 0xffff],
        };
        if self.encoder.as_ref().is_none_or(|encoder| encoder.size() != size) {
            (self.encoder, self.has_parameter_sets) = (Some(Encoder::new(size, 30_000)), false);
        }
        let Some(encoder) = &mut self.encoder else { return (0, now_ns()) };
        let (asked, period) = (table.counter(Counter::KeyRequests), controls::key_period(table));
        let is_due =
            asked != self.granted || period != 0 && encoder.since_key().is_some_and(|n| n + 1 >= period);
        let key = encoder.since_key().is_none() || is_due && table.setting(Setting::WithholdKeys) == 0;
        let mut slice = Vec::new();
        encoder.picture(key, |column, row| colour(size, number, column, row), &mut slice);
        let mut unit = Vec::new();
        if key {
            self.granted = asked;
            table.add(Counter::KeyFrames, 1);
            if !self.has_parameter_sets || table.setting(Setting::ParameterSetsOnce) == 0 {
                encoder.parameter_sets(&mut unit);
                self.has_parameter_sets = true;
            }
        }
        let pad = (table.setting(Setting::FrameBytes) as usize).min(out.len());
        let pad = " ".repeat(pad.saturating_sub(unit.len() + slice.len()));
        let complete_ns = now_ns();
        h264_writer::stamp(&format!("FKCM1 {number:010} {complete_ns:020}\n\n\n{pad}"), &mut unit);
        unit.extend_from_slice(&slice);
        let length = unit.len().min(out.len());
        out[..length].copy_from_slice(&unit[..length]);
        (length, complete_ns)
    }
}

/// What the camera sees at a macroblock.
fn colour(size: [u32; 2], number: u64, column: u32, row: u32) -> Colour {
    let [columns, _] = macroblocks(size);
    if row == 0 && size[0] >= SQUARES * SIDE && column < SQUARES {
        return [if bar(number, column) { 235 } else { 16 }, 128, 128];
    }
    let at = SIDE * (column + row);
    let is_stripe = row > 0 && u64::from(column) == number % u64::from(columns);
    let [luma, u, v] = [b'Y', b'U', b'V'].map(|sample| texture(sample, at));
    [if is_stripe { 235 - luma } else { luma }, u, v]
}
