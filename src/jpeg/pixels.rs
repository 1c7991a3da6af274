//! Pixels that libjpeg-turbo does not know, as bytes that it does: RGB in one word, and grey of more than 8 bits.
#![forbid(unsafe_code)]

use super::raw::PicturePlane;
use crate::frame::Resolution;

/// Writes RGB with a byte for each component to `out`; returns its stride. A pixel is a word of `bytes` bytes with the lowest bit
/// and the number of bits of red, green and blue in `rgb`.
///
/// # Panics
/// If the plane has less than its rows.
pub(super) fn expand_rgb(
    out: &mut Vec<u8>,
    plane: PicturePlane<'_>,
    resolution: Resolution,
    (bytes, big_endian, rgb): (usize, bool, [(u32, u32); 3]),
) -> usize {
    let width = usize::from(resolution.width);
    out.resize(width * 3 * usize::from(resolution.height), 0);
    for (out, row) in out.chunks_exact_mut(width * 3).zip(plane.data.chunks(plane.stride)) {
        for (out, word) in out.as_chunks_mut::<3>().0.iter_mut().zip(row[..width * bytes].chunks_exact(bytes))
        {
            let word = match *word {
                [low, high] => u16::from_le_bytes(if big_endian { [high, low] } else { [low, high] }),
                _ => word[0].into(),
            };
            *out = rgb.map(|(lowest, bits)| full_scale(u32::from(word) >> lowest, bits));
        }
    }
    width * 3
}

/// The lowest `bits` of `value`, at most 8, as a byte of which all values are used.
fn full_scale(value: u32, bits: u32) -> u8 {
    let most = (1 << bits) - 1;
    (((value & most) * 255 + most / 2) / most) as u8
}

/// Writes the highest 8 of `bits` bits of each pixel to `out`; returns its stride.
///
/// # Panics
/// If the plane has less than its rows.
pub(super) fn narrow_grey(
    out: &mut Vec<u8>,
    plane: PicturePlane<'_>,
    resolution: Resolution,
    (bits, big_endian): (u32, bool),
) -> usize {
    let width = usize::from(resolution.width);
    out.resize(width * usize::from(resolution.height), 0);
    for (out, row) in out.chunks_exact_mut(width).zip(plane.data.chunks(plane.stride)) {
        for (out, word) in out.iter_mut().zip(row[..width * 2].as_chunks::<2>().0) {
            let value = if big_endian { u16::from_be_bytes(*word) } else { u16::from_le_bytes(*word) };
            // Bits that the format leaves unused may be set all the same.
            *out = (value >> (bits - 8)).min(255) as u8;
        }
    }
    width
}
