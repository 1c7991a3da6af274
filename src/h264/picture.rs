//! Uncompressed pictures as H.264 encoders take them and decoders give them.
#![forbid(unsafe_code)]

use crate::frame::Resolution;

/// The rows of one component, from the first sample on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SamplePlane<'a> {
    /// The samples; at least those of all rows.
    pub data: &'a [u8],
    /// Bytes from the start of one row to the start of the next.
    pub stride: usize,
}

/// A picture of three planes with 8 bits a sample, 4:2:0: one sample of U and of V for two by two pixels, rounded up. Its planes
/// have all their rows.
#[derive(Clone, Copy, Debug)]
pub struct I420Picture<'a> {
    resolution: Resolution,
    planes: [SamplePlane<'a>; 3],
}

impl<'a> I420Picture<'a> {
    /// A picture of the planes Y, U and V. `None` if one of them has not all its rows, or the picture no pixels.
    pub fn new(resolution: Resolution, planes: [SamplePlane<'a>; 3]) -> Option<Self> {
        let is_whole = (0..planes.len()).all(|index| {
            let (width, rows) = plane_size(resolution, index);
            let SamplePlane { data, stride } = planes[index];
            rows > 0
                && width > 0
                && stride >= width
                && data.len() >= stride.saturating_mul(rows - 1).saturating_add(width)
        });
        is_whole.then_some(Self { resolution, planes })
    }

    /// The size in pixels.
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }

    /// Y, U and V.
    pub fn planes(&self) -> [SamplePlane<'a>; 3] {
        self.planes
    }

    /// The samples of each row of a plane, without what may stand between rows. 0 is Y, 1 is U, 2 is V.
    ///
    /// # Panics
    /// If there is no such plane.
    pub fn rows(&self, plane: usize) -> impl Iterator<Item = &'a [u8]> {
        let (width, rows) = plane_size(self.resolution, plane);
        let SamplePlane { data, stride } = self.planes[plane];
        (0..rows).map(move |row| &data[row * stride..row * stride + width])
    }
}

/// Samples in a row, and rows.
fn plane_size(resolution: Resolution, plane: usize) -> (usize, usize) {
    let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
    if plane == 0 { (width, height) } else { (width.div_ceil(2), height.div_ceil(2)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_all_its_rows_or_is_none() {
        let samples: Vec<u8> = (0..40).collect();
        let picture = |y: usize, chroma: usize, stride| {
            let plane = |len| SamplePlane { data: &samples[..len], stride };
            I420Picture::new(Resolution::new(5, 3), [plane(y), plane(chroma), plane(chroma)])
        };
        let whole = picture(8 + 8 + 5, 8 + 3, 8).unwrap();
        assert_eq!(whole.rows(0).collect::<Vec<_>>(), [&samples[..5], &samples[8..13], &samples[16..21]]);
        assert_eq!(whole.rows(2).collect::<Vec<_>>(), [&samples[..3], &samples[8..11]]);
        assert!(picture(8 + 8 + 4, 8 + 3, 8).is_none());
        assert!(picture(8 + 8 + 5, 8 + 2, 8).is_none());
        assert!(picture(40, 40, 4).is_none(), "rows overlap");
        assert!(picture(40, 40, usize::MAX).is_none());
        assert!(I420Picture::new(Resolution::new(0, 3), [SamplePlane::default(); 3]).is_none());
    }
}
