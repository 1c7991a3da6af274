//! Pixels that libjpeg-turbo does not know, as bytes that it does: components in one word, HSV, sensor data, and
//! grey of more than 8 bits.
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
        let word = match (pixel, big_endian) {
            ([low, high], false) | ([high, low], true) => u16::from_le_bytes([*low, *high]).into(),
            ([a, b, c, d], false) => u32::from_le_bytes([*a, *b, *c, *d]),
            ([a, b, c, d], true) => u32::from_be_bytes([*a, *b, *c, *d]),
            _ => pixel[0].into(),
        };
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

/// RGB of a hue in 256 steps, a saturation and a value of 0 to 255.
fn rgb_of_hsv(hue: u32, saturation: u32, value: u32) -> [u8; 3] {
    // In a sixth of the circle one component goes up or down. A step of the hue is 6 of 256 parts of it.
    let (sixth, part) = (hue * 6 / 256, hue * 6 % 256);
    let of = |parts: u32| (value * (255 * 256 - saturation * parts) / (255 * 256)) as u8;
    let (most, least, falling, rising) = (value as u8, of(256), of(part), of(256 - part));
    match sixth {
        0 => [most, rising, least],
        1 => [falling, most, least],
        2 => [least, most, rising],
        3 => [least, falling, most],
        4 => [rising, least, most],
        _ => [most, least, falling],
    }
}

/// Writes `N` bytes for each pixel of `bytes` bytes to `out`; returns its stride.
fn convert<const N: usize>(
    out: &mut Vec<u8>,
    plane: PicturePlane<'_>,
    resolution: Resolution,
    bytes: usize,
    pixel: impl Fn(&[u8]) -> [u8; N],
) -> usize {
    let width = usize::from(resolution.width);
    out.resize(width * N * usize::from(resolution.height), 0);
    for (out, row) in out.chunks_exact_mut(width * N).zip(plane.data.chunks(plane.stride)) {
        let pixels = row[..width * bytes].chunks_exact(bytes);
        out.as_chunks_mut::<N>().0.iter_mut().zip(pixels).for_each(|(out, bytes)| *out = pixel(bytes));
    }
    width * N
}

/// Writes RGB to `out` from a sensor's pixels of one component of `bits` bits each, of which `red` is the column and row of the
/// first red one; returns its stride. What a pixel lacks is the mean of the nearest that have it.
///
/// # Panics
/// If the plane has less than its rows.
pub(super) fn demosaic(
    out: &mut Vec<u8>,
    plane: PicturePlane<'_>,
    resolution: Resolution,
    (bits, red): (u32, (usize, usize)),
) -> usize {
    let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
    out.resize(width * 3 * height, 0);
    // Beyond an edge the pattern is mirrored. A picture of one column or row has nothing else.
    let before = |at: usize, count: usize| if at > 0 { at - 1 } else { 1.min(count - 1) };
    let after = |at: usize, count: usize| if at + 1 < count { at + 1 } else { at.saturating_sub(1) };
    let sample = |row: &[u8], x: usize| -> u32 {
        if bits == 8 { row[x].into() } else { wide_sample([row[x * 2], row[x * 2 + 1]], bits).into() }
    };
    let row = |y: usize| &plane.data[y * plane.stride..];
    for (y, out) in out.chunks_exact_mut(width * 3).enumerate() {
        let (up, here, down) = (row(before(y, height)), row(y), row(after(y, height)));
        for (x, out) in out.as_chunks_mut::<3>().0.iter_mut().enumerate() {
            let (left, right) = (before(x, width), after(x, width));
            let across = || (sample(here, left) + sample(here, right)) / 2;
            let along = || (sample(up, x) + sample(down, x)) / 2;
            let sides = || (sample(here, left) + sample(here, right) + sample(up, x) + sample(down, x)) / 4;
            let corners =
                || (sample(up, left) + sample(up, right) + sample(down, left) + sample(down, right)) / 4;
            let own = sample(here, x);
            let rgb = match (x % 2 == red.0, y % 2 == red.1) {
                (true, true) => [own, sides(), corners()],
                (false, false) => [corners(), sides(), own],
                (false, true) => [across(), own, along()],
                (true, false) => [along(), own, across()],
            };
            *out = rgb.map(|component| component as u8);
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
    convert(out, plane, resolution, 2, |sample| {
        [wide_sample(if big_endian { [sample[1], sample[0]] } else { [sample[0], sample[1]] }, bits)]
    })
}

/// The highest 8 of the `bits` bits of a sample whose low byte comes first.
fn wide_sample(bytes: [u8; 2], bits: u32) -> u8 {
    // Bits that the format leaves unused may be set all the same.
    (u16::from_le_bytes(bytes) >> (bits - 8)).min(255) as u8
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
            (43, [198, 200, 0]),
            (85, [1, 200, 0]),
            (128, [0, 200, 200]),
            (171, [1, 0, 200]),
            (213, [198, 0, 200]),
            (64, [100, 200, 0]),
            (192, [100, 0, 200]),
        ] {
            let got = rgb_of_hsv(hue, 255, 200);
            let is_near = got.iter().zip(rgb).all(|(got, wanted)| got.abs_diff(wanted) <= 2);
            assert!(is_near, "{hue}: {got:?}, not {rgb:?}");
            assert_eq!(rgb_of_hsv(hue, 0, 200), [200; 3], "{hue} without saturation");
        }
        for hue in 0..=255 {
            for saturation in [0, 1, 128, 255] {
                rgb_of_hsv(hue, saturation, 255);
            }
        }
    }

    #[test]
    fn sensor_data_of_one_colour_is_that_colour_whatever_the_pattern_begins_with() {
        let colour = [200, 120, 40];
        for (width, height) in [(4, 4), (5, 3), (2, 2)] {
            for red in [(0, 0), (1, 0), (0, 1), (1, 1)] {
                let component = |at: usize| match (at % width % 2 == red.0, at / width % 2 == red.1) {
                    (true, true) => colour[0],
                    (false, false) => colour[2],
                    _ => colour[1],
                };
                let size = Resolution::new(width as u16, height as u16);
                let samples: Vec<u8> = (0..width * height).map(component).collect();
                let words = samples.iter().flat_map(|&sample| (u16::from(sample) << 2 | 3).to_le_bytes());
                for (bits, data) in [(8, samples.clone()), (10, words.collect())] {
                    let plane = PicturePlane { data: &data, stride: data.len() / height };
                    let mut out = Vec::new();
                    assert_eq!(demosaic(&mut out, plane, size, (bits, red)), width * 3);
                    assert!(
                        out.chunks(3).all(|pixel| pixel == colour),
                        "{size}, {bits} bits, {red:?}: {out:?}"
                    );
                }
            }
        }
        let mut out = Vec::new();
        demosaic(&mut out, PicturePlane { data: &[9], stride: 1 }, Resolution::new(1, 1), (8, (1, 1)));
        assert_eq!(out, [9; 3]);
    }
}
