//! Pixels that libjpeg-turbo does not know, as bytes that it does: components in one word, HSV, and grey of more than 8 bits.
#![forbid(unsafe_code)]

use super::raw::PicturePlane;
use crate::frame::{PixelWord, Resolution};

/// Writes the three components of each pixel as a byte each to `out`; returns its stride.
///
/// # Panics
/// If the plane has less than its rows.
pub(super) fn expand_words(
    out: &mut Vec<u8>,
    plane: PicturePlane<'_>,
    resolution: Resolution,
    PixelWord { bytes, big_endian, components }: PixelWord,
) -> usize {
    convert(out, plane, resolution, bytes, |pixel| {
        let add = |word: u32, byte: &u8| word << 8 | u32::from(*byte);
        let word = if big_endian { pixel.iter().fold(0, add) } else { pixel.iter().rev().fold(0, add) };
        components.map(|(lowest, bits)| full_scale(word >> lowest, bits))
    })
}

/// Writes hue, saturation and value at `hue` of the `bytes` of each pixel as RGB to `out`; returns its stride.
///
/// # Panics
/// If the plane has less than its rows.
pub(super) fn hsv_to_rgb(
    out: &mut Vec<u8>,
    plane: PicturePlane<'_>,
    resolution: Resolution,
    (bytes, hue): (usize, usize),
) -> usize {
    convert(out, plane, resolution, bytes, |pixel| {
        rgb_of_hsv(u32::from(pixel[hue]), u32::from(pixel[hue + 1]), u32::from(pixel[hue + 2]))
    })
}

/// RGB of a hue in steps of two degrees, a saturation and a value of 0 to 255.
fn rgb_of_hsv(hue: u32, saturation: u32, value: u32) -> [u8; 3] {
    // A sixth of the circle is 30 steps, in which one component goes up or down.
    let (sixth, step) = (hue % 180 / 30, hue % 30);
    let of = |parts: u32| (value * (255 * 30 - saturation * parts) / (255 * 30)) as u8;
    let (most, least, falling, rising) = (value as u8, of(30), of(step), of(30 - step));
    match sixth {
        0 => [most, rising, least],
        1 => [falling, most, least],
        2 => [least, most, rising],
        3 => [least, falling, most],
        4 => [rising, least, most],
        _ => [most, least, falling],
    }
}

/// Writes three bytes for each pixel of `bytes` bytes to `out`; returns its stride.
fn convert(
    out: &mut Vec<u8>,
    plane: PicturePlane<'_>,
    resolution: Resolution,
    bytes: usize,
    pixel: impl Fn(&[u8]) -> [u8; 3],
) -> usize {
    let width = usize::from(resolution.width);
    out.resize(width * 3 * usize::from(resolution.height), 0);
    for (out, row) in out.chunks_exact_mut(width * 3).zip(plane.data.chunks(plane.stride)) {
        let pixels = row[..width * bytes].chunks_exact(bytes);
        out.as_chunks_mut::<3>().0.iter_mut().zip(pixels).for_each(|(out, bytes)| *out = pixel(bytes));
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

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Resolution = Resolution::new(2, 1);

    fn words(bytes: usize, big_endian: bool, components: [(u32, u32); 3], data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let plane = PicturePlane { data, stride: data.len() };
        assert_eq!(expand_words(&mut out, plane, SIZE, PixelWord { bytes, big_endian, components }), 6);
        out
    }

    #[test]
    fn components_of_words_become_bytes_of_full_scale() {
        let red_and_half = [0x00, 0xf8, 0xe0, 0x03];
        assert_eq!(words(2, false, [(11, 5), (5, 6), (0, 5)], &red_and_half), [255, 0, 0, 0, 125, 0]);
        let reversed = [0xf8, 0x00, 0x03, 0xe0];
        assert_eq!(words(2, true, [(11, 5), (5, 6), (0, 5)], &reversed), [255, 0, 0, 0, 125, 0]);
        let blue_and_green = [0xfc, 0, 0, 0, 0x03, 0xf0, 0, 0];
        assert_eq!(words(4, true, [(14, 6), (20, 6), (26, 6)], &blue_and_green), [0, 0, 255, 0, 255, 0]);
        assert_eq!(words(1, false, [(5, 3), (2, 3), (0, 2)], &[0xe0, 0x03]), [255, 0, 0, 0, 0, 255]);
    }

    #[test]
    fn hues_are_what_they_are_called() {
        for (hue, rgb) in [
            (0, [200, 0, 0]),
            (30, [200, 200, 0]),
            (60, [0, 200, 0]),
            (90, [0, 200, 200]),
            (120, [0, 0, 200]),
            (150, [200, 0, 200]),
            (15, [200, 100, 0]),
            (165, [200, 0, 100]),
        ] {
            assert_eq!(rgb_of_hsv(hue, 255, 200), rgb, "{hue}");
            assert_eq!(rgb_of_hsv(hue, 0, 200), [200; 3], "{hue} without saturation");
        }
        for hue in 0..=255 {
            for saturation in [0, 1, 128, 255] {
                rgb_of_hsv(hue, saturation, 255);
            }
        }
    }
}
