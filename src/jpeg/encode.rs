//! Raw pictures into JPEG with libjpeg-turbo.
//!
//! Packed 4:2:2 is taken apart into 4:2:0 planes ([`super::yuv`]) and handed over as planes: the same picture as
//! libjpeg's scanline interface gives, at about half the CPU time, because no pixel is unpacked, converted and
//! subsampled again. Planar formats go in as they lie in the camera's buffer.
#![forbid(unsafe_code)]

use std::sync::Arc;

use turbojpeg::{Compressor, Image, OutputBuf, Subsamp, YuvPlanesImage};

use super::strips::Crew;
use super::yuv::{Kernel, Planes, Subsampling};
use super::{Raw, Reject};
use crate::frame::{PixelFormat, Resolution};

/// Turns raw pictures into JPEG. Keeps its planes from picture to raw.
pub struct Encoder {
    compressor: Compressor,
    /// Shared with the crew while it encodes, and only then.
    planes: Arc<Planes>,
    kernel: Kernel,
    quality: u8,
    subsampling: Subsampling,
    /// For pictures of this size.
    crew: Option<(Resolution, Option<Crew>)>,
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Encoder").field("kernel", &self.kernel).finish_non_exhaustive()
    }
}

impl Encoder {
    /// An encoder of this quality, 1 to 100.
    ///
    /// # Errors
    /// If libjpeg-turbo cannot be set up so.
    pub fn new(quality: u8, subsampling: Subsampling) -> Result<Self, turbojpeg::Error> {
        let (planes, kernel) = (Arc::default(), Kernel::best());
        Ok(Self { compressor: compressor(quality)?, planes, kernel, quality, subsampling, crew: None })
    }

    /// Writes `raw` into `slot` as a JPEG; returns its length.
    ///
    /// # Errors
    /// [`Reject::Short`] when the buffer holds less than a whole picture, [`Reject::Encode`] when
    /// libjpeg-turbo refuses, which it does when the slot is too small.
    ///
    /// # Panics
    /// If the format is JPEG already.
    pub fn encode(&mut self, raw: &Raw<'_>, slot: &mut [u8]) -> Result<usize, Reject> {
        let Raw { format, resolution, data, .. } = *raw;
        let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
        if matches!(format, PixelFormat::Nv12 | PixelFormat::Yu12) && (width | height) % 2 == 1 {
            return Err(Reject::Odd { format, resolution });
        }
        let need = bytes_needed(raw);
        if data.len() < need {
            return Err(Reject::Short { format, resolution, have: data.len(), need });
        }
        let shape = (width, height, raw.stride);
        match format {
            PixelFormat::Yuyv | PixelFormat::Uyvy | PixelFormat::Yvyu | PixelFormat::Vyuy => {
                let (kernel, subsampling) = (self.kernel, self.subsampling);
                self.planes().unpack(kernel, data, format, shape, subsampling);
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
            other => panic!("{other} was handed to the encoder"),
        }
        Ok(out.len())
    }

    fn planes(&mut self) -> &mut Planes {
        Arc::get_mut(&mut self.planes).expect("the crew gives its share back before encoding is over")
    }

    /// Encodes what is in the planes: with a crew, where that is of use.
    fn compress_planes(&mut self, resolution: Resolution, slot: &mut [u8]) -> Result<usize, Reject> {
        if self.crew.as_ref().is_none_or(|(size, _)| *size != resolution) {
            self.crew = Some((resolution, Crew::for_size(resolution, self.quality)));
        }
        if let Some((_, Some(crew))) = &mut self.crew {
            return crew.encode(&mut self.compressor, &self.planes, slot);
        }
        let mut out = OutputBuf::borrowed(slot);
        compress(&mut self.compressor, &self.planes, Rows { from: 0, count: self.planes.height }, &mut out)?;
        Ok(out.len())
    }

    fn compress_pixels(
        &mut self,
        raw: &Raw<'_>,
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

/// A compressor of this quality, 1 to 100.
pub(super) fn compressor(quality: u8) -> Result<Compressor, turbojpeg::Error> {
    let mut compressor = Compressor::new()?;
    compressor.set_quality(quality.into())?;
    Ok(compressor)
}

/// Rows of a picture; the first is even where chroma rows are for two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) from: usize,
    pub(super) count: usize,
}

/// Encodes some rows of the picture in `planes`, as a JPEG of their own.
pub(super) fn compress(
    compressor: &mut Compressor,
    planes: &Planes,
    rows: Rows,
    out: &mut OutputBuf<'_>,
) -> Result<(), turbojpeg::Error> {
    let chroma_from = match planes.subsampling {
        Subsampling::Cs420 => rows.from / 2,
        Subsampling::Cs422 => rows.from,
    };
    let y_stride = planes.y_stride;
    let [y, u, v] = planes.yuv();
    let image = YuvPlanesImage {
        y_plane: &y[rows.from * y_stride..],
        u_plane: &u[chroma_from * (y_stride / 2)..],
        v_plane: &v[chroma_from * (y_stride / 2)..],
        width: planes.width,
        height: rows.count,
        y_stride,
        u_stride: y_stride / 2,
        v_stride: y_stride / 2,
        subsamp: planes.subsampling.into(),
    };
    compressor.compress_yuv_planes(&image, out)
}

impl From<Subsampling> for Subsamp {
    fn from(subsampling: Subsampling) -> Self {
        match subsampling {
            Subsampling::Cs420 => Self::Sub2x2,
            Subsampling::Cs422 => Self::Sub2x1,
        }
    }
}

/// The planes of a YU12 picture as they lie in its buffer: chroma rows are half as far apart as luma rows.
fn yu12<'a>(raw: &Raw<'a>) -> YuvPlanesImage<&'a [u8]> {
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

/// Bytes from the start of a whole picture to its last pixel. Drivers may leave out the padding of the last row.
fn bytes_needed(raw: &Raw<'_>) -> usize {
    let Raw { format, resolution, stride, .. } = *raw;
    let (row, height) = (format.row_bytes(resolution.width), usize::from(resolution.height));
    match format {
        PixelFormat::Nv12 | PixelFormat::Yu12 => stride * height + stride * (height / 2),
        _ => stride * (height - 1) + row,
    }
}
