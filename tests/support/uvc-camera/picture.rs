//! The frames: what they show, their number, and how one is spoilt.
//!
//! As from the fake camera of the black-box tests, every frame has a comment of [`STAMP`] bytes ahead of all tables:
//! `FF FE 00 2A`, then `"FKCM1 "`, 10 digits number, a blank, 20 digits CLOCK_MONOTONIC nanoseconds of the moment
//! the frame was made, three newlines.
use std::sync::OnceLock;

use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, SamplingFactor};

use crate::descriptors::SIZES;

const STAMP: usize = 44;
/// So many different pictures are shown in turn.
const CLIP: usize = 4;
const QUALITY: u8 = 75;
/// SOI and the JFIF segment, which the encoder puts first.
const HEAD: usize = 20;
/// Start of image, where none can be.
const MISPLACED: [u8; 4] = [0xff, 0xd8, 0xff, 0xd8];

/// How a frame is spoilt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Cut to 60 %, so no end of image.
    Truncated,
    /// Markers in the middle of the scan.
    Corrupt,
    /// Sound, but its payload headers have the error bit.
    Flagged,
}

impl Fault {
    pub(crate) const ALL: [Self; 3] = [Self::Truncated, Self::Corrupt, Self::Flagged];
}

/// What the camera sees. Rendered when first looked at, once for each size.
#[derive(Default)]
pub(crate) struct Scene([OnceLock<Vec<Vec<u8>>>; SIZES.len()]);

impl Scene {
    /// Takes the picture with this number into `out`.
    pub(crate) fn shoot(&self, size: usize, number: u64, fault: Option<Fault>, out: &mut Vec<u8>) {
        let clip = self.0[size].get_or_init(|| (0..CLIP).map(|step| render(SIZES[size], step)).collect());
        let jpeg = &clip[number as usize % CLIP];
        let (head, rest) = jpeg.split_at(HEAD);
        let (tables, scan) = rest.split_at(rest.len() / 2);
        let stamp = format!("FKCM1 {number:010} {:020}\n\n\n", monotonic_ns());
        out.clear();
        out.extend_from_slice(head);
        out.extend_from_slice(&[0xff, 0xfe]);
        out.extend_from_slice(&(STAMP as u16 - 2).to_be_bytes());
        out.extend_from_slice(stamp.as_bytes());
        out.extend_from_slice(tables);
        if fault == Some(Fault::Corrupt) {
            out.extend_from_slice(&MISPLACED);
        }
        out.extend_from_slice(scan);
        if fault == Some(Fault::Truncated) {
            out.truncate(out.len() * 6 / 10);
        }
    }
}

/// CLOCK_MONOTONIC, by which everything in one machine can be compared.
pub(crate) fn monotonic_ns() -> u64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: fills in the struct it is given.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut time) };
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

fn render((width, height): (u16, u16), step: usize) -> Vec<u8> {
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, QUALITY);
    // As webcams do.
    encoder.set_sampling_factor(SamplingFactor::F_2_1);
    if let Err(error) = encoder.encode_image(View { width, height, step }) {
        // Memory is all it writes to and the size is one it takes.
        eprintln!("uvc-camera: {error}");
    }
    jpeg
}

/// Slanted stripes that wander, for the encoder.
struct View {
    width: u16,
    height: u16,
    step: usize,
}

impl ImageBuffer for View {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.width
    }

    fn height(&self) -> u16 {
        self.height
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let shift = usize::from(y) + 16 * self.step;
        for x in 0..usize::from(self.width) {
            let phase = (x + shift) % 256;
            let sample = [30 + phase.abs_diff(128) + phase * 37 % 8, 90 + phase / 4, 160 - phase / 4];
            for (buffer, value) in buffers.iter_mut().zip(sample) {
                buffer.push(value as u8);
            }
        }
    }
}
