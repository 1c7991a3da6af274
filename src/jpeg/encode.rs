//! Encodes raw pictures as JPEG with libjpeg-turbo.
//!
//! Packed 4:2:2 is unpacked into 4:2:0 planes ([`super::yuv`]), and libjpeg-turbo gets the planes. The picture is the same
//! as with libjpeg's scanline interface, at about half the CPU time, because no pixel is unpacked, converted and
//! subsampled a second time. Other YUV formats are brought into the same planes ([`super::planar`]), but for 4:2:0 in three
//! planes, which is encoded from the camera's buffer. RGB and grey go through the scanline interface.
//!
//! YUV is passed on as it comes, and RGB is converted as JFIF wants it (BT.601 with full range).
#![forbid(unsafe_code)]

use std::sync::Arc;

use turbojpeg::{Compressor, Image, OutputBuf, Subsamp, YuvPlanesImage};

use super::error::JpegError;
use super::pixels::{demosaic, expand_words, hsv_to_rgb, narrow_grey};
use super::raw::PicturePlane;
use super::strips::{RowRange, StripEncoder, compress_rows, compressor};
use super::yuv::{InstructionSet, Planes, Subsampling};
use crate::frame::{ChromaPlanes, PixelFormat, PixelLayout, Resolution, RgbOrder};

/// Encodes raw pictures as JPEG. Reuses its planes for every picture.
#[derive(Debug)]
pub struct JpegEncoder {
    compressor: Compressor,
    /// Shared with the strip encoder's threads only while they encode.
    planes: Arc<Planes>,
    instructions: InstructionSet,
    /// Pixels of formats that libjpeg-turbo does not know, as bytes that it does.
    pixels: Vec<u8>,
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
            pixels: Vec::new(),
            quality,
            subsampling,
            strips: None,
        })
    }

    /// Writes a picture as a JPEG to the start of `slot`; returns its length. `planes` are whole, as `whole_planes` gives them.
    ///
    /// # Errors
    /// When libjpeg-turbo fails, for example because the slot is too small.
    ///
    /// # Panics
    /// If the format is a compressed one.
    pub(super) fn encode(
        &mut self,
        format: PixelFormat,
        resolution: Resolution,
        planes: &[PicturePlane<'_>; 3],
        slot: &mut [u8],
    ) -> Result<usize, JpegError> {
        let [first, ..] = *planes;
        let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
        let (instructions, subsampling) = (self.instructions, self.subsampling);
        let mut pixels = std::mem::take(&mut self.pixels);
        let written = match format.layout() {
            PixelLayout::Jpeg | PixelLayout::AccessUnit => panic!("the encoder cannot encode {format}"),
            PixelLayout::Packed422 { .. } => {
                let shape = (width, height, first.stride);
                self.planes().unpack(instructions, first.data, format, shape, subsampling);
                self.compress_planes(resolution, slot)
            }
            PixelLayout::Planar { across: 2, down: 2, chroma: ChromaPlanes::Uv } => {
                self.compress_in_place(resolution, *planes, slot)
            }
            PixelLayout::Planar { across: 2, down: 2, chroma: ChromaPlanes::Vu } => {
                let [y, v, u] = *planes;
                self.compress_in_place(resolution, [y, u, v], slot)
            }
            layout @ (PixelLayout::Planar { .. } | PixelLayout::PackedYuv { .. }) => {
                self.planes().fill(layout, planes, resolution, subsampling);
                self.compress_planes(resolution, slot)
            }
            PixelLayout::Rgb(order) => self.compress_pixels(first, order.into(), resolution, slot),
            PixelLayout::PackedRgb(word) => {
                let stride = expand_words(&mut pixels, first, resolution, word);
                let expanded = PicturePlane { data: &pixels, stride };
                self.compress_pixels(expanded, turbojpeg::PixelFormat::RGB, resolution, slot)
            }
            PixelLayout::PackedYuvWord(word) => {
                let stride = expand_words(&mut pixels, first, resolution, word);
                let mut expanded = *planes;
                expanded[0] = PicturePlane { data: &pixels, stride };
                let layout = PixelLayout::PackedYuv { bytes: 3, yuv: [0, 1, 2] };
                self.planes().fill(layout, &expanded, resolution, subsampling);
                self.compress_planes(resolution, slot)
            }
            PixelLayout::Hsv { bytes, hue } => {
                let stride = hsv_to_rgb(&mut pixels, first, resolution, (bytes, hue));
                let converted = PicturePlane { data: &pixels, stride };
                self.compress_pixels(converted, turbojpeg::PixelFormat::RGB, resolution, slot)
            }
            PixelLayout::Bayer { bits, red } => {
                let stride = demosaic(&mut pixels, first, resolution, (bits, red));
                let converted = PicturePlane { data: &pixels, stride };
                self.compress_pixels(converted, turbojpeg::PixelFormat::RGB, resolution, slot)
            }
            PixelLayout::Grey => self.compress_pixels(first, turbojpeg::PixelFormat::GRAY, resolution, slot),
            PixelLayout::Grey16 { bits, big_endian } => {
                let stride = narrow_grey(&mut pixels, first, resolution, (bits, big_endian));
                let narrowed = PicturePlane { data: &pixels, stride };
                self.compress_pixels(narrowed, turbojpeg::PixelFormat::GRAY, resolution, slot)
            }
        };
        self.pixels = pixels;
        written
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

    /// Encodes RGB or grey.
    fn compress_pixels(
        &mut self,
        plane: PicturePlane<'_>,
        format: turbojpeg::PixelFormat,
        resolution: Resolution,
        slot: &mut [u8],
    ) -> Result<usize, JpegError> {
        let is_grey = format == turbojpeg::PixelFormat::GRAY;
        self.compressor.set_subsamp(if is_grey { Subsamp::Gray } else { self.subsampling.into() })?;
        let image = Image {
            pixels: plane.data,
            width: resolution.width.into(),
            pitch: plane.stride,
            height: resolution.height.into(),
            format,
        };
        let mut out = OutputBuf::borrowed(slot);
        self.compressor.compress(image, &mut out)?;
        Ok(out.len())
    }

    /// Encodes 4:2:0 in planes Y, U and V from the buffer of its source.
    fn compress_in_place(
        &mut self,
        resolution: Resolution,
        [y, u, v]: [PicturePlane<'_>; 3],
        slot: &mut [u8],
    ) -> Result<usize, JpegError> {
        let image = YuvPlanesImage {
            y_plane: y.data,
            u_plane: u.data,
            v_plane: v.data,
            width: resolution.width.into(),
            height: resolution.height.into(),
            y_stride: y.stride,
            u_stride: u.stride,
            v_stride: v.stride,
            subsamp: Subsamp::Sub2x2,
        };
        let mut out = OutputBuf::borrowed(slot);
        self.compressor.compress_yuv_planes(&image, &mut out)?;
        Ok(out.len())
    }
}

impl From<RgbOrder> for turbojpeg::PixelFormat {
    fn from(order: RgbOrder) -> Self {
        match order {
            RgbOrder::Rgb => Self::RGB,
            RgbOrder::Bgr => Self::BGR,
            RgbOrder::Rgbx => Self::RGBX,
            RgbOrder::Bgrx => Self::BGRX,
            RgbOrder::Xrgb => Self::XRGB,
            RgbOrder::Xbgr => Self::XBGR,
        }
    }
}
