//! Uncompressed pictures as their sources hold them, and where the planes of each format lie.
//!
//! Here alone a buffer is compared with the size of its picture: what comes out has every row that the format has.
#![forbid(unsafe_code)]

use super::error::JpegError;
use crate::frame::{PixelFormat, PixelLayout, Resolution};

/// An uncompressed picture in one buffer of its source.
#[derive(Clone, Copy, Debug)]
pub struct RawPicture<'a> {
    /// The bytes that the source wrote.
    pub data: &'a [u8],
    /// How the pixels are laid out.
    pub format: PixelFormat,
    /// Size of the picture; neither side is 0.
    pub resolution: Resolution,
    /// Bytes from the start of one row of the first plane to the start of the next. [`PixelFormat::row_bytes`] is used if that is
    /// more. The rows of other planes are padded in proportion, as the V4L2 API defines.
    pub stride: usize,
}

/// One plane of a picture in a buffer of its own.
#[derive(Clone, Copy, Debug, Default)]
pub struct PicturePlane<'a> {
    /// The bytes that the source wrote.
    pub data: &'a [u8],
    /// Bytes from the start of one row to the start of the next; more than a row has if rows are padded.
    pub stride: usize,
}

/// An uncompressed picture with a buffer for each of its planes, as devices with the multi-planar API give it.
#[derive(Clone, Copy, Debug)]
pub struct PlanarPicture<'a> {
    planes: [PicturePlane<'a>; MAX_PLANES],
    /// Planes that the source gave.
    given: usize,
    format: PixelFormat,
    resolution: Resolution,
}

/// Planes of a picture at most: Y, U and V.
const MAX_PLANES: usize = 3;

/// The size of a plane without padding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PlaneSize {
    row_bytes: usize,
    rows: usize,
}

impl<'a> PlanarPicture<'a> {
    /// A picture of `resolution`, neither side of which is 0, from its planes in the order of its format. Planes after the third
    /// are ignored: no format has them.
    pub fn new(format: PixelFormat, resolution: Resolution, planes: &[PicturePlane<'a>]) -> Self {
        let mut all = [PicturePlane::default(); MAX_PLANES];
        let given = planes.len().min(MAX_PLANES);
        all[..given].copy_from_slice(&planes[..given]);
        Self { planes: all, given, format, resolution }
    }

    /// How the pixels are laid out.
    pub fn format(&self) -> PixelFormat {
        self.format
    }

    /// Size of the picture.
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }

    /// The planes of the format, if each of them has all its rows. Strides are at least the length of a row.
    pub(super) fn whole_planes(mut self) -> Result<[PicturePlane<'a>; MAX_PLANES], JpegError> {
        let Self { format, resolution, given, .. } = self;
        check_even(format, resolution)?;
        let sizes = plane_sizes(format, resolution);
        let wanted = sizes.iter().flatten().count();
        if given < wanted {
            return Err(JpegError::MissingPlane { format, given, wanted });
        }
        for (index, (plane, size)) in self.planes.iter_mut().zip(sizes).enumerate() {
            let Some(size) = size else { continue };
            plane.stride = size.stride(plane.stride);
            let (have, need) = (plane.data.len(), size.bytes(plane.stride));
            if have < need {
                return Err(match wanted {
                    1 => JpegError::ShortBuffer { format, resolution, have, need },
                    _ => JpegError::ShortPlane { plane: index + 1, format, resolution, have, need },
                });
            }
        }
        Ok(self.planes)
    }
}

impl<'a> RawPicture<'a> {
    /// The planes of the picture, if the buffer has all their rows.
    pub(super) fn whole_planes(&self) -> Result<[PicturePlane<'a>; MAX_PLANES], JpegError> {
        let Self { data, format, resolution, stride } = *self;
        check_even(format, resolution)?;
        let sizes = plane_sizes(format, resolution);
        let mut planes = [PicturePlane::default(); MAX_PLANES];
        let first = stride.max(format.row_bytes(resolution.width));
        let (mut at, mut need) = (0_usize, 0);
        for (index, (plane, size)) in planes.iter_mut().zip(sizes).enumerate() {
            let Some(size) = size else { continue };
            let stride = if index == 0 { first } else { chroma_stride(format, first) };
            *plane = PicturePlane { data: data.get(at..).unwrap_or_default(), stride: size.stride(stride) };
            // Drivers may omit the padding of the last row.
            need = at.saturating_add(size.bytes(plane.stride));
            at = at.saturating_add(stride.saturating_mul(size.rows));
        }
        match data.len() < need {
            true => Err(JpegError::ShortBuffer { format, resolution, have: data.len(), need }),
            false => Ok(planes),
        }
    }
}

impl PlaneSize {
    /// The stride that a driver tells, if it can be true. That of a single row is never used.
    fn stride(self, told: usize) -> usize {
        if self.rows <= 1 { self.row_bytes } else { told.max(self.row_bytes) }
    }

    /// Bytes from the start of the plane to its last pixel.
    fn bytes(self, stride: usize) -> usize {
        stride.saturating_mul(self.rows.saturating_sub(1)).saturating_add(self.row_bytes)
    }
}

/// Fails for a size at which the chroma planes of a format would have a part of a sample.
fn check_even(format: PixelFormat, resolution: Resolution) -> Result<(), JpegError> {
    let PixelLayout::Planar { across, down, .. } = format.layout() else { return Ok(()) };
    let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
    match width.is_multiple_of(across) && height.is_multiple_of(down) {
        true => Ok(()),
        false => Err(JpegError::UnevenSize { format, resolution, across, down }),
    }
}

/// The sizes of the planes of a format, in their order.
fn plane_sizes(format: PixelFormat, resolution: Resolution) -> [Option<PlaneSize>; MAX_PLANES] {
    let rows = usize::from(resolution.height);
    let first = PlaneSize { row_bytes: format.row_bytes(resolution.width), rows };
    let PixelLayout::Planar { across, down, chroma } = format.layout() else {
        return [Some(first), None, None];
    };
    let samples = first.row_bytes / across;
    let one = PlaneSize { row_bytes: samples * if chroma.is_paired() { 2 } else { 1 }, rows: rows / down };
    [Some(first), Some(one), (!chroma.is_paired()).then_some(one)]
}

/// The stride of the chroma planes behind a first plane of this stride in the same buffer.
fn chroma_stride(format: PixelFormat, first: usize) -> usize {
    match format.layout() {
        PixelLayout::Planar { across, chroma, .. } if chroma.is_paired() => first.saturating_mul(2) / across,
        PixelLayout::Planar { across, .. } => first / across,
        _ => first,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Resolution = Resolution::new(16, 8);

    #[test]
    fn planes_follow_each_other_in_one_buffer_with_the_strides_of_the_api() {
        let data: Vec<u8> = (0..=255).cycle().take(2000).collect();
        let planes = |format, stride| {
            let raw = RawPicture { data: &data, format, resolution: SIZE, stride };
            raw.whole_planes().unwrap().map(|plane| (plane.data.len(), plane.stride))
        };
        let none = (0, 0);
        assert_eq!(planes(PixelFormat::Yu12, 20), [(2000, 20), (2000 - 160, 10), (2000 - 200, 10)]);
        assert_eq!(planes(PixelFormat::Yu16, 20), [(2000, 20), (2000 - 160, 10), (2000 - 240, 10)]);
        assert_eq!(planes(PixelFormat::Nv12, 20), [(2000, 20), (2000 - 160, 20), none]);
        assert_eq!(planes(PixelFormat::Nv24, 20), [(2000, 20), (2000 - 160, 40), none]);
        assert_eq!(planes(PixelFormat::Yuyv, 0), [(2000, 32), none, none], "no stride told: no padding");
    }

    #[test]
    fn what_is_missing_is_told_with_the_plane_it_is_missing_in() {
        let data = [0; 200];
        let resolution = SIZE;
        let of = |format, planes: &[PicturePlane<'_>]| {
            PlanarPicture::new(format, resolution, planes).whole_planes().map(drop).map_err(|e| e.to_string())
        };
        let plane = |len: usize, stride| PicturePlane { data: &data[..len], stride };
        assert_eq!(of(PixelFormat::Nv12, &[plane(128, 16), plane(64, 16)]), Ok(()));
        assert_eq!(of(PixelFormat::Nv12, &[plane(128, 0), plane(64, 0)]), Ok(()));
        let error = of(PixelFormat::Nv12, &[plane(128, 16), plane(63, 16)]).unwrap_err();
        assert_eq!(error, "nv12 picture of 16x8: plane 2 has 63 bytes where it takes 64");
        let error = of(PixelFormat::Yu12, &[plane(128, 16), plane(64, 16)]).unwrap_err();
        assert_eq!(error, "yu12 picture with 2 of its 3 planes");
        let raw =
            RawPicture { data: &data[..100], format: PixelFormat::Grey, resolution, stride: usize::MAX };
        let error = raw.whole_planes().unwrap_err().to_string();
        assert!(error.starts_with("grey picture of 100 bytes where 16x8 takes "), "{error}");
        let uneven = Resolution::new(14, 8);
        let error = PlanarPicture::new(PixelFormat::Yuv411, uneven, &[]).whole_planes().unwrap_err();
        assert!(error.to_string().contains("multiples of 4 and 1"), "{error}");
    }
}
