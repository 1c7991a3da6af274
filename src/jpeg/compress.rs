//! Encodes rows of planes with libjpeg-turbo: the step that the whole picture and its strips share.
#![forbid(unsafe_code)]

use turbojpeg::{Compressor, OutputBuf, Subsamp, YuvPlanesImage};

use super::yuv::{Planes, Subsampling};

/// A compressor for this quality, 1 to 100.
pub(super) fn compressor(quality: u8) -> Result<Compressor, turbojpeg::Error> {
    let mut compressor = Compressor::new()?;
    compressor.set_quality(quality.into())?;
    Ok(compressor)
}

/// A range of rows of a picture. `from` is even if a chroma row covers two luma rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowRange {
    pub(super) from: usize,
    pub(super) count: usize,
}

/// Encodes a range of rows of the picture in `planes` as a separate JPEG.
pub(super) fn compress_rows(
    compressor: &mut Compressor,
    planes: &Planes,
    rows: RowRange,
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
