//! Unpacks packed 4:2:2 into planes, as the encoder needs them: the only loop over every pixel in this crate.
//!
//! Each instruction set has its own code for two rows at a time; all give the same bytes. The compiler does not vectorise
//! the plain loop for SSE2. It takes eight times as long, which would be a quarter of the encoding time. AVX2 would save
//! another 0.02 ms of a picture of 1080p. All vector code is in this file; everything else about JPEG is beside it.
#![allow(unsafe_code)]

use crate::frame::{PixelFormat, PixelLayout};

/// Input and output of one step: one or two packed rows of `n` pixel pairs (4 bytes each).
#[derive(Debug)]
struct RowPair<'a> {
    /// The upper packed row, `4 n` bytes.
    upper: &'a [u8],
    /// The lower packed row, `4 n` bytes; not read in steps of one row.
    lower: &'a [u8],
    /// Luma of the upper row, `2 n` bytes.
    y_upper: &'a mut [u8],
    /// Luma of the lower row, `2 n` bytes; not written in steps of one row.
    y_lower: &'a mut [u8],
    /// The chroma whose byte comes first, `n` bytes: of the upper row, or the mean of both rows rounded up.
    first: &'a mut [u8],
    /// The other chroma, likewise.
    second: &'a mut [u8],
}

impl RowPair<'_> {
    /// The number of pixel pairs that fit into every slice.
    fn pairs<const TWO: bool>(&self) -> usize {
        let chroma = self.first.len().min(self.second.len());
        let upper = (self.upper.len() / 4).min(self.y_upper.len() / 2).min(chroma);
        if TWO { upper.min(self.lower.len() / 4).min(self.y_lower.len() / 2) } else { upper }
    }
}

/// The instruction set that unpacks pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionSet {
    /// Portable Rust.
    Scalar,
    /// 16 pixels at a time; every x86-64 has it.
    #[cfg(target_arch = "x86_64")]
    Sse2,
    /// 32 pixels at a time, with deinterleaving loads; every aarch64 has it.
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl InstructionSet {
    /// The instruction sets of this processor, the fastest last.
    pub fn available() -> impl Iterator<Item = Self> {
        [
            Self::Scalar,
            #[cfg(target_arch = "x86_64")]
            Self::Sse2,
            #[cfg(target_arch = "aarch64")]
            Self::Neon,
        ]
        .into_iter()
    }

    /// The fastest instruction set of this processor.
    pub fn best() -> Self {
        Self::available().last().unwrap_or(Self::Scalar)
    }

    fn run<const LUMA_FIRST: bool, const TWO: bool>(self, rows: &mut RowPair<'_>) {
        let done = match self {
            Self::Scalar => 0,
            // SAFETY: SSE2 is part of x86-64.
            #[cfg(target_arch = "x86_64")]
            Self::Sse2 => unsafe { x86::sse2::<LUMA_FIRST, TWO>(rows) },
            // SAFETY: NEON is part of every aarch64 target with an operating system.
            #[cfg(target_arch = "aarch64")]
            Self::Neon => unsafe { arm::neon::<LUMA_FIRST, TWO>(rows) },
        };
        scalar::<LUMA_FIRST, TWO>(rows, done);
    }
}

/// Vertical chroma resolution of the planes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Subsampling {
    /// A chroma row for every two luma rows.
    #[default]
    Cs420,
    /// A chroma row for every luma row.
    Cs422,
}

impl Subsampling {
    /// The usual notation.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cs420 => "4:2:0",
            Self::Cs422 => "4:2:2",
        }
    }
}

/// Y, U and V planes of one picture. The memory is reused for every picture.
#[derive(Debug, Default)]
pub struct Planes {
    bytes: Vec<u8>,
    luma: usize,
    chroma: usize,
    /// Width of the picture in pixels.
    pub width: usize,
    /// Height of the picture in pixels.
    pub height: usize,
    /// Determines the number of chroma rows.
    pub subsampling: Subsampling,
    /// Bytes per luma row: the width rounded up to an even number.
    pub y_stride: usize,
}

impl Planes {
    /// Makes room for a picture of `width` by `height`. Allocates when it grows.
    pub(super) fn resize(&mut self, width: usize, height: usize, subsampling: Subsampling) {
        (self.width, self.height, self.subsampling) = (width, height, subsampling);
        self.y_stride = width.next_multiple_of(2);
        let rows = if subsampling == Subsampling::Cs420 { height.next_multiple_of(2) } else { height };
        let chroma_rows = if subsampling == Subsampling::Cs420 { rows / 2 } else { rows };
        (self.luma, self.chroma) = (self.y_stride * rows, self.y_stride / 2 * chroma_rows);
        self.bytes.resize(self.luma + 2 * self.chroma, 0);
    }

    /// The planes Y, U and V. Chroma rows are half as long as luma rows.
    pub fn yuv(&self) -> [&[u8]; 3] {
        let (y, uv) = self.bytes.split_at(self.luma);
        let (u, v) = uv.split_at(self.chroma);
        [y, u, v]
    }

    pub(super) fn yuv_mut(&mut self) -> [&mut [u8]; 3] {
        let (y, uv) = self.bytes.split_at_mut(self.luma);
        let (u, v) = uv.split_at_mut(self.chroma);
        [y, u, v]
    }

    /// Unpacks a packed 4:2:2 picture. In 4:2:0, an odd last row is paired with itself.
    ///
    /// # Panics
    /// If `format` is not packed 4:2:2, or `data` is shorter than `height` rows of `stride`.
    pub fn unpack(
        &mut self,
        instructions: InstructionSet,
        data: &[u8],
        format: PixelFormat,
        (width, height, stride): (usize, usize, usize),
        subsampling: Subsampling,
    ) {
        self.resize(width, height, subsampling);
        let y_stride = self.y_stride;
        let [y, mut first, mut second] = self.yuv_mut();
        let PixelLayout::Packed422 { luma_first, v_first } = format.layout() else {
            panic!("{format} is not packed 4:2:2");
        };
        if v_first {
            (first, second) = (second, first);
        }
        let packed = |row: usize| &data[row * stride..][..y_stride * 2];
        let chroma = first.chunks_exact_mut(y_stride / 2).zip(second.chunks_exact_mut(y_stride / 2));
        match subsampling {
            Subsampling::Cs420 => {
                for (pair, (y, (first, second))) in y.chunks_exact_mut(y_stride * 2).zip(chroma).enumerate() {
                    let (y_upper, y_lower) = y.split_at_mut(y_stride);
                    let (upper, lower) = (packed(pair * 2), packed((pair * 2 + 1).min(height - 1)));
                    let mut rows = RowPair { upper, lower, y_upper, y_lower, first, second };
                    match luma_first {
                        true => instructions.run::<true, true>(&mut rows),
                        false => instructions.run::<false, true>(&mut rows),
                    }
                }
            }
            Subsampling::Cs422 => {
                for (row, (y_upper, (first, second))) in y.chunks_exact_mut(y_stride).zip(chroma).enumerate()
                {
                    let mut rows =
                        RowPair { upper: packed(row), lower: &[], y_upper, y_lower: &mut [], first, second };
                    match luma_first {
                        true => instructions.run::<true, false>(&mut rows),
                        false => instructions.run::<false, false>(&mut rows),
                    }
                }
            }
        }
    }
}

/// Unpacks the pairs after the first `done`.
fn scalar<const LUMA_FIRST: bool, const TWO: bool>(rows: &mut RowPair<'_>, done: usize) {
    let (l, c) = if LUMA_FIRST { (0, 1) } else { (1, 0) };
    for i in done..rows.pairs::<TWO>() {
        let a = &rows.upper[i * 4..][..4];
        rows.y_upper[i * 2..][..2].copy_from_slice(&[a[l], a[l + 2]]);
        let mut chroma = [a[c], a[c + 2]];
        if TWO {
            let b = &rows.lower[i * 4..][..4];
            rows.y_lower[i * 2..][..2].copy_from_slice(&[b[l], b[l + 2]]);
            for (mean, below) in chroma.iter_mut().zip([b[c], b[c + 2]]) {
                *mean = (u16::from(*mean) + u16::from(below)).div_ceil(2) as u8;
            }
        }
        [rows.first[i], rows.second[i]] = chroma;
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use crate::jpeg::yuv::RowPair;

    /// Unpacks pairs in groups of eight; returns the number of pairs.
    #[target_feature(enable = "sse2")]
    pub(super) fn sse2<const LUMA_FIRST: bool, const TWO: bool>(rows: &mut RowPair<'_>) -> usize {
        const STEP: usize = 8;
        let low = _mm_set1_epi16(0xff);
        // Luma and chroma of 8 pairs at `p`, each 16 bytes in order.
        // SAFETY: callers pass a pointer with 32 readable bytes; unaligned loads have no other requirement.
        let split = |p: *const u8| unsafe {
            let (a, b) = (_mm_loadu_si128(p.cast()), _mm_loadu_si128(p.add(16).cast()));
            let even = _mm_packus_epi16(_mm_and_si128(a, low), _mm_and_si128(b, low));
            let odd = _mm_packus_epi16(_mm_srli_epi16::<8>(a), _mm_srli_epi16::<8>(b));
            if LUMA_FIRST { (even, odd) } else { (odd, even) }
        };
        let done = rows.pairs::<TWO>() / STEP * STEP;
        for i in (0..done).step_by(STEP) {
            // SAFETY: `i + 8` pairs lie within every slice, as `pairs` ensures: 32 bytes are read from each
            // packed row, 16 written to each luma row, 8 to each chroma row.
            unsafe {
                let (luma, mut chroma) = split(rows.upper.as_ptr().add(i * 4));
                _mm_storeu_si128(rows.y_upper.as_mut_ptr().add(i * 2).cast(), luma);
                if TWO {
                    let (luma, below) = split(rows.lower.as_ptr().add(i * 4));
                    _mm_storeu_si128(rows.y_lower.as_mut_ptr().add(i * 2).cast(), luma);
                    chroma = _mm_avg_epu8(chroma, below);
                }
                let both = _mm_packus_epi16(_mm_and_si128(chroma, low), _mm_srli_epi16::<8>(chroma));
                _mm_storel_epi64(rows.first.as_mut_ptr().add(i).cast(), both);
                _mm_storel_epi64(rows.second.as_mut_ptr().add(i).cast(), _mm_unpackhi_epi64(both, both));
            }
        }
        done
    }
}

#[cfg(target_arch = "aarch64")]
mod arm {
    use std::arch::aarch64::*;

    use crate::jpeg::yuv::RowPair;

    /// Unpacks pairs in groups of sixteen; returns the number of pairs.
    #[target_feature(enable = "neon")]
    pub(super) fn neon<const LUMA_FIRST: bool, const TWO: bool>(rows: &mut RowPair<'_>) -> usize {
        const STEP: usize = 16;
        // Luma pairs and the two chromas of 16 pairs at `p`.
        // SAFETY: callers pass a pointer with 64 readable bytes.
        let split = |p: *const u8| unsafe {
            let uint8x16x4_t(a, b, c, d) = vld4q_u8(p);
            if LUMA_FIRST { (uint8x16x2_t(a, c), b, d) } else { (uint8x16x2_t(b, d), a, c) }
        };
        let done = rows.pairs::<TWO>() / STEP * STEP;
        for i in (0..done).step_by(STEP) {
            // SAFETY: `i + 16` pairs lie within every slice, as `pairs` ensures: 64 bytes are read from each
            // packed row, 32 written to each luma row, 16 to each chroma row.
            unsafe {
                let (luma, mut first, mut second) = split(rows.upper.as_ptr().add(i * 4));
                vst2q_u8(rows.y_upper.as_mut_ptr().add(i * 2), luma);
                if TWO {
                    let (luma, first_below, second_below) = split(rows.lower.as_ptr().add(i * 4));
                    vst2q_u8(rows.y_lower.as_mut_ptr().add(i * 2), luma);
                    first = vrhaddq_u8(first, first_below);
                    second = vrhaddq_u8(second, second_below);
                }
                vst1q_u8(rows.first.as_mut_ptr().add(i), first);
                vst1q_u8(rows.second.as_mut_ptr().add(i), second);
            }
        }
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORMATS: [PixelFormat; 4] =
        [PixelFormat::Yuyv, PixelFormat::Uyvy, PixelFormat::Yvyu, PixelFormat::Vyuy];

    /// Bytes without a pattern that wrong code could get right by accident.
    fn noise(len: usize, mut seed: u32) -> Vec<u8> {
        std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (seed >> 24) as u8
        })
        .take(len)
        .collect()
    }

    /// The planes computed pixel by pixel.
    fn reference(
        data: &[u8],
        format: PixelFormat,
        (w, h, stride): (usize, usize, usize),
        s: Subsampling,
    ) -> [Vec<u8>; 3] {
        let [y0, u, y1, v] = match format {
            PixelFormat::Yuyv => [0, 1, 2, 3],
            PixelFormat::Uyvy => [1, 0, 3, 2],
            PixelFormat::Yvyu => [0, 3, 2, 1],
            _ => [1, 2, 3, 0],
        };
        let even = w.next_multiple_of(2);
        let rows = if s == Subsampling::Cs420 { h.next_multiple_of(2) } else { h };
        let quad = |x: usize, y: usize| &data[y.min(h - 1) * stride + x / 2 * 4..][..4];
        let luma = (0..rows).flat_map(|y| (0..even).map(move |x| (x, y)));
        let luma = luma.map(|(x, y)| quad(x, y)[if x % 2 == 0 { y0 } else { y1 }]).collect();
        let chroma = |at: usize| {
            let step = if s == Subsampling::Cs420 { 2 } else { 1 };
            let all = (0..rows).step_by(step).flat_map(|y| (0..even).step_by(2).map(move |x| (x, y)));
            all.map(|(x, y)| {
                (u32::from(quad(x, y)[at]) + u32::from(quad(x, y + step - 1)[at])).div_ceil(2) as u8
            })
            .collect()
        };
        [luma, chroma(u), chroma(v)]
    }

    #[test]
    fn every_instruction_set_gives_the_same_bytes() {
        let mut ran = 0;
        for (w, h) in [(2, 1), (6, 2), (15, 3), (16, 4), (31, 5), (34, 2), (62, 6), (64, 7), (130, 9)] {
            for (pad, shift) in [(0, 0), (6, 1), (32, 3)] {
                let stride = PixelFormat::Yuyv.row_bytes(w) + pad;
                let noise = noise(stride * h + shift, (w as u32) << 8 | h as u32);
                // Every address modulo 4 is a possible start of a driver's buffer.
                let data = &noise[shift..];
                for format in FORMATS {
                    for subsampling in [Subsampling::Cs420, Subsampling::Cs422] {
                        let shape = (usize::from(w), h, stride);
                        let expected = reference(data, format, shape, subsampling);
                        for instructions in InstructionSet::available() {
                            let mut planes = Planes::default();
                            planes.unpack(instructions, data, format, shape, subsampling);
                            assert!(
                                planes.yuv() == expected.each_ref().map(|p| &p[..]),
                                "{instructions:?} {format} {w}x{h} stride {stride} {subsampling:?}"
                            );
                            ran += 1;
                        }
                    }
                }
            }
        }
        assert_eq!(ran, 9 * 3 * 4 * 2 * InstructionSet::available().count());
    }

    #[test]
    fn the_default_is_not_the_scalar_code() {
        assert_ne!(InstructionSet::best(), InstructionSet::Scalar);
    }

    #[test]
    fn planes_follow_the_size_of_the_picture() {
        let mut planes = Planes::default();
        for (w, h) in [(64, 8), (16, 2), (128, 16)] {
            let data = noise(w * h * 2, 3);
            let shape = (w, h, w * 2);
            planes.unpack(InstructionSet::best(), &data, PixelFormat::Yuyv, shape, Subsampling::Cs420);
            let expected = reference(&data, PixelFormat::Yuyv, shape, Subsampling::Cs420);
            assert!(planes.yuv() == expected.each_ref().map(|p| &p[..]), "{w}x{h}");
        }
    }
}
