//! Fills the planes that are encoded from planar YUV and from packed 4:4:4: every format but packed 4:2:2, which
//! [`super::yuv`] unpacks.
//!
//! Chroma is averaged where the planes have less of it than the picture, and repeated where they have more.
#![forbid(unsafe_code)]

use super::raw::PicturePlane;
use super::yuv::{Planes, Subsampling};
use crate::frame::{ChromaPlanes, PixelLayout, Resolution};

/// Where the samples of one component are.
#[derive(Clone, Copy, Debug)]
struct Samples<'a> {
    plane: PicturePlane<'a>,
    /// Bytes from one sample to the next.
    step: usize,
    /// Position of the first sample in its row.
    offset: usize,
    /// Pixels per sample in a row.
    across: usize,
    /// Rows per row of samples.
    down: usize,
}

impl<'a> Samples<'a> {
    /// The samples of a row of pixels, from the first one on to the end of the last one.
    fn row(&self, row: usize, width: usize) -> &'a [u8] {
        let start = row / self.down * self.plane.stride;
        &self.plane.data
            [start + self.offset..start + (width.div_ceil(self.across) - 1) * self.step + self.offset + 1]
    }
}

/// The components Y, U and V of a picture in `planes`; `None` for layouts that are not made of such samples.
fn components<'a>(layout: PixelLayout, planes: &[PicturePlane<'a>; 3]) -> Option<[Samples<'a>; 3]> {
    let [first, second, third] = *planes;
    let sample = |plane, step, offset, across, down| Samples { plane, step, offset, across, down };
    match layout {
        PixelLayout::PackedYuv { bytes, yuv } => Some(yuv.map(|at| sample(first, bytes, at, 1, 1))),
        PixelLayout::Planar { across, down, chroma } => {
            let of = |plane, step, offset| sample(plane, step, offset, across, down);
            let [u, v] = match chroma {
                ChromaPlanes::Uv => [of(second, 1, 0), of(third, 1, 0)],
                ChromaPlanes::Vu => [of(third, 1, 0), of(second, 1, 0)],
                ChromaPlanes::UvPairs => [of(second, 2, 0), of(second, 2, 1)],
                ChromaPlanes::VuPairs => [of(second, 2, 1), of(second, 2, 0)],
            };
            Some([sample(first, 1, 0, 1, 1), u, v])
        }
        _ => None,
    }
}

impl Planes {
    /// Fills the planes from a whole picture, whose sides are multiples of what one chroma sample covers. Returns false for layouts
    /// that do not consist of samples of Y, U and V.
    ///
    /// # Panics
    /// If a plane has less than its rows.
    pub(super) fn fill(
        &mut self,
        layout: PixelLayout,
        planes: &[PicturePlane<'_>; 3],
        resolution: Resolution,
        subsampling: Subsampling,
    ) -> bool {
        let Some([luma, chroma_u, chroma_v]) = components(layout, planes) else { return false };
        let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
        self.resize(width, height, subsampling);
        let y_stride = self.y_stride;
        let [y, u, v] = self.yuv_mut();
        for (row, y) in y.chunks_exact_mut(y_stride).enumerate() {
            let samples = luma.row(row.min(height - 1), width);
            let (y, odd) = y.split_at_mut(width);
            match luma.step {
                1 => y.copy_from_slice(samples),
                step => y.iter_mut().zip(samples.iter().step_by(step)).for_each(|(y, sample)| *y = *sample),
            }
            odd.fill(samples[samples.len() - 1]);
        }
        let rows = if subsampling == Subsampling::Cs420 { 2 } else { 1 };
        for (plane, samples) in [(u, chroma_u), (v, chroma_v)] {
            for (row, out) in plane.chunks_exact_mut(y_stride / 2).enumerate() {
                let upper = samples.row(row * rows, width);
                let lower = samples.row((row * rows + rows - 1).min(height - 1), width);
                match samples.step {
                    1 => chroma_row::<1>(out, upper, lower, samples.across),
                    2 => chroma_row::<2>(out, upper, lower, samples.across),
                    3 => chroma_row::<3>(out, upper, lower, samples.across),
                    _ => chroma_row::<4>(out, upper, lower, samples.across),
                }
            }
        }
        true
    }
}

/// One row of chroma samples, each for two pixels of two rows, from samples that stand `STEP` bytes apart.
fn chroma_row<const STEP: usize>(out: &mut [u8], upper: &[u8], lower: &[u8], across: usize) {
    match across {
        1 => {
            // An odd last pixel is paired with itself.
            let pairs = upper.chunks(2 * STEP).zip(lower.chunks(2 * STEP));
            for (out, (upper, lower)) in out.iter_mut().zip(pairs) {
                let pair = |row: &[u8]| u16::from(row[0]) + u16::from(*row.get(STEP).unwrap_or(&row[0]));
                *out = ((pair(upper) + pair(lower) + 2) / 4) as u8;
            }
        }
        2 => {
            let ((upper, upper_last), (lower, lower_last)) =
                (upper.as_chunks::<STEP>(), lower.as_chunks::<STEP>());
            for ((out, upper), lower) in out.iter_mut().zip(upper).zip(lower) {
                *out = mean(upper[0], lower[0]);
            }
            // What follows the last sample is not part of the row.
            if let ([a, ..], [b, ..], Some(out)) = (upper_last, lower_last, out.get_mut(upper.len())) {
                *out = mean(*a, *b);
            }
        }
        _ => {
            let samples = upper.chunks(STEP).zip(lower.chunks(STEP));
            for (out, (upper, lower)) in out.chunks_mut(across / 2).zip(samples) {
                out.fill(mean(upper[0], lower[0]));
            }
        }
    }
}

fn mean(a: u8, b: u8) -> u8 {
    (u16::from(a) + u16::from(b)).div_ceil(2) as u8
}
