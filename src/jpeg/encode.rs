//! Encodes raw pictures as JPEG with libjpeg-turbo.
//!
//! Packed 4:2:2 is unpacked into 4:2:0 planes ([`super::yuv`]), and libjpeg-turbo gets the planes. The picture is the same
//! as with libjpeg's scanline interface, at about half the CPU time, because no pixel is unpacked, converted and
//! subsampled a second time. Planar formats are encoded from the camera's buffer.
#![forbid(unsafe_code)]

use std::sync::Arc;

use turbojpeg::{Compressor, Image, OutputBuf, Subsamp, YuvPlanesImage};

use super::error::JpegError;
use super::strips::{RowRange, StripEncoder, compress_rows, compressor};
use super::yuv::{InstructionSet, Planes, Subsampling};
use crate::frame::{PixelFormat, Resolution};

/// An uncompressed picture in a buffer of its source.
#[derive(Clone, Copy, Debug)]
pub struct RawPicture<'a> {
    /// The bytes that the source wrote.
    pub data: &'a [u8],
    /// How the pixels are laid out.
    pub format: PixelFormat,
    /// Size of the picture; neither side is 0.
    pub resolution: Resolution,
    /// Bytes from the start of one row of the first plane to the start of the next; at least [`PixelFormat::row_bytes`].
    pub stride: usize,
}

/// Encodes raw pictures as JPEG. Reuses its planes for every picture.
#[derive(Debug)]
pub struct JpegEncoder {
    compressor: Compressor,
    /// Shared with the strip encoder's threads only while they encode.
    planes: Arc<Planes>,
    instructions: InstructionSet,
    quality: u8,
    subsampling: Subsampling,
    /// For pictures of this size; `None` inside where one thread encodes the whole picture.
    strips: Option<(Resolution, Option<StripEncoder>)>,
}

impl JpegEncoder {
    /// An encoder for this quality, 1 to 100.
    ///
    /// # Errors
    /// When libjpeg-turbo cannot be set up.
    pub fn new(quality: u8, subsampling: Subsampling) -> Result<Self, turbojpeg::Error> {
        let (planes, instructions) = (Arc::default(), InstructionSet::best());
        Ok(Self {
            compressor: compressor(quality)?,
            planes,
            instructions,
            quality,
            subsampling,
            strips: None,
        })
    }

    /// Writes `raw` as a JPEG to the start of `slot`; returns its length.
    ///
    /// # Errors
    /// [`JpegError::ShortBuffer`] when the buffer holds less than a whole picture, [`JpegError::Encode`] when libjpeg-turbo
    /// fails, for example because the slot is too small.
    ///
    /// # Panics
    /// If the format is JPEG.
    pub fn encode(&mut self, raw: &RawPicture<'_>, slot: &mut [u8]) -> Result<usize, JpegError> {
        let RawPicture { format, resolution, data, .. } = *raw;
        let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
        if matches!(format, PixelFormat::Nv12 | PixelFormat::Yu12) && (width | height) % 2 == 1 {
            return Err(JpegError::OddSize { format, resolution });
        }
        let need = bytes_needed(raw);
        if data.len() < need {
            return Err(JpegError::ShortBuffer { format, resolution, have: data.len(), need });
        }
        let shape = (width, height, raw.stride);
        match format {
            PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::Yvyu | PixelFormat::Vyuy => {
                let (instructions, subsampling) = (self.instructions, self.subsampling);
                self.planes().unpack(instructions, data, format, shape, subsampling);
                return self.compress_planes(resolution, slot);
            }
            PixelFormat::Nv12 => {
                self.planes().unpack_nv12(data, shape);
                return self.compress_planes(resolution, slot);
            }
            _ => {}
        }
        let mut out = OutputBuf::borrowed(slot);
        match format {
            PixelFormat::Yu12 => self.compressor.compress_yuv_planes(&yu12(raw), &mut out)?,
            PixelFormat::Grey => {
                self.compress_pixels(raw, turbojpeg::PixelFormat::GRAY, Subsamp::Gray, &mut out)?
            }
            PixelFormat::Rgb24 => {
                let subsamp = self.subsampling.into();
                self.compress_pixels(raw, turbojpeg::PixelFormat::RGB, subsamp, &mut out)?;
            }
            other => panic!("the encoder cannot encode {other}"),
        }
        Ok(out.len())
    }

    fn planes(&mut self) -> &mut Planes {
        Arc::get_mut(&mut self.planes)
            .expect("the strip encoder drops its references before `encode` returns")
    }

    /// Encodes the planes, with several threads where that is faster.
    fn compress_planes(&mut self, resolution: Resolution, slot: &mut [u8]) -> Result<usize, JpegError> {
        if self.strips.as_ref().is_none_or(|(size, _)| *size != resolution) {
            self.strips = Some((resolution, StripEncoder::for_size(resolution, self.quality)));
        }
        if let Some((_, Some(strips))) = &mut self.strips {
            return strips.encode(&mut self.compressor, &self.planes, slot);
        }
        let mut out = OutputBuf::borrowed(slot);
        let rows = RowRange { from: 0, count: self.planes.height };
        compress_rows(&mut self.compressor, &self.planes, rows, &mut out)?;
        Ok(out.len())
    }

    fn compress_pixels(
        &mut self,
        raw: &RawPicture<'_>,
        format: turbojpeg::PixelFormat,
        subsamp: Subsamp,
        out: &mut OutputBuf<'_>,
    ) -> Result<(), turbojpeg::Error> {
        self.compressor.set_subsamp(subsamp)?;
        let image = Image {
            pixels: raw.data,
            width: raw.resolution.width.into(),
            pitch: raw.stride,
            height: raw.resolution.height.into(),
            format,
        };
        self.compressor.compress(image, out)
    }
}

/// The planes of a YU12 picture in its buffer. The stride of chroma rows is half that of luma rows.
fn yu12<'a>(raw: &RawPicture<'a>) -> YuvPlanesImage<&'a [u8]> {
    let (width, height) = (usize::from(raw.resolution.width), usize::from(raw.resolution.height));
    let (y_plane, uv) = raw.data.split_at(raw.stride * height);
    let (u_plane, v_plane) = uv.split_at(raw.stride / 2 * (height / 2));
    YuvPlanesImage {
        y_plane,
        u_plane,
        v_plane,
        width,
        height,
        y_stride: raw.stride,
        u_stride: raw.stride / 2,
        v_stride: raw.stride / 2,
        subsamp: Subsamp::Sub2x2,
    }
}

/// Bytes from the start of a whole picture to its last pixel. Drivers may omit the padding of the last row.
fn bytes_needed(raw: &RawPicture<'_>) -> usize {
    let RawPicture { format, resolution, stride, .. } = *raw;
    let (row, height) = (format.row_bytes(resolution.width), usize::from(resolution.height));
    match format {
        PixelFormat::Nv12 | PixelFormat::Yu12 => stride * height + stride * (height / 2),
        _ => stride * (height - 1) + row,
    }
}
