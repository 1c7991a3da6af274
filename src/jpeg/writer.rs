//! Writes a picture of any source as one valid JPEG into a slot of the ring: passed through, or encoded.
#![forbid(unsafe_code)]

use super::encode::{JpegEncoder, RawPicture};
use super::error::JpegError;
use super::exif::{self, Rotation};
use super::inspect::{Depth, copy_to_slot, inspect};
use super::yuv::Subsampling;
use crate::frame::{Resolution, WrittenJpeg};

/// A picture in a buffer of its source.
#[derive(Clone, Copy, Debug)]
pub enum Picture<'a> {
    /// A JPEG, which padding may follow.
    Jpeg {
        /// The bytes that the source wrote.
        data: &'a [u8],
        /// The resolution negotiated with the source, if any was.
        expected: Option<Resolution>,
    },
    /// Pixels.
    Raw(RawPicture<'a>),
}

/// How the JPEGs of one camera are encoded and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegSettings {
    /// Quality of encoded pictures, 1 to 100 (the scale of libjpeg).
    pub quality: u8,
    /// Chroma subsampling of encoded pictures.
    pub subsampling: Subsampling,
    /// Whether the structure of JPEGs from the camera is checked to the end and corrupt ones are rejected.
    pub validate: bool,
    /// How viewers are told to rotate the picture.
    pub rotation: Rotation,
}

/// Writes pictures as JPEGs.
#[derive(Debug)]
pub struct JpegWriter {
    settings: JpegSettings,
    encoder: Option<JpegEncoder>,
}

impl JpegWriter {
    /// A writer without an encoder. The first raw picture creates one.
    pub fn new(settings: JpegSettings) -> Self {
        Self { settings, encoder: None }
    }

    /// Writes `picture` as a JPEG to the start of `slot`.
    ///
    /// # Errors
    /// [`JpegError`] says why there is no JPEG. The content of `slot` is then undefined.
    pub fn write(&mut self, picture: &Picture<'_>, slot: &mut [u8]) -> Result<WrittenJpeg, JpegError> {
        match *picture {
            Picture::Jpeg { data, expected } => self.pass_through(data, expected, slot),
            Picture::Raw(ref raw) => self.encode(raw, slot),
        }
    }

    fn encode(&mut self, raw: &RawPicture<'_>, slot: &mut [u8]) -> Result<WrittenJpeg, JpegError> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(JpegEncoder::new(self.settings.quality, self.settings.subsampling)?),
        };
        let segment = self.settings.rotation.segment();
        let len = encoder.encode(raw, slot.get_mut(segment.len()..).unwrap_or_default())?;
        exif::insert(slot, segment);
        Ok(WrittenJpeg { len: segment.len() + len, resolution: raw.resolution })
    }

    fn pass_through(
        &self,
        data: &[u8],
        expected: Option<Resolution>,
        slot: &mut [u8],
    ) -> Result<WrittenJpeg, JpegError> {
        let validate = self.settings.validate;
        let inspected = match inspect(data, if validate { Depth::Whole } else { Depth::Headers }) {
            Ok(jpeg) if validate => Some(jpeg.check_size(expected)?),
            Ok(jpeg) => Some(jpeg),
            Err(corrupt) if validate || data.is_empty() => return Err(corrupt.into()),
            Err(_) => None,
        };
        let (len, resolution) = match inspected.map(|jpeg| jpeg.with_rotation(self.settings.rotation)) {
            Some(jpeg) => (jpeg.complete_into(slot)?, jpeg.resolution()),
            // Validation is off: data that cannot be parsed is passed on unchanged.
            None => (copy_to_slot(data, slot)?, expected.unwrap_or(Resolution::new(0, 0))),
        };
        Ok(WrittenJpeg { len, resolution })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelFormat;
    use crate::jpeg::Corrupt;

    const SIZE: Resolution = Resolution::new(64, 48);
    const SETTINGS: JpegSettings = JpegSettings {
        quality: 90,
        subsampling: Subsampling::Cs420,
        validate: true,
        rotation: Rotation::None,
    };

    /// The same smooth picture in every format a camera may offer, with `pad` bytes after each row.
    fn raw(format: PixelFormat, pad: usize) -> (Vec<u8>, usize) {
        let (w, h) = (usize::from(SIZE.width), usize::from(SIZE.height));
        let luma = |x: usize, y: usize| (40 + 2 * x + y) as u8;
        let (u, v) = (110u8, 150u8);
        let stride = format.row_bytes(SIZE.width) + pad;
        let mut data = Vec::new();
        for y in 0..h {
            let packed = |even: u8, odd: u8, luma_first: bool| -> Vec<u8> {
                let pixel = |x: usize| [luma(x, y), if x.is_multiple_of(2) { even } else { odd }];
                (0..w).map(pixel).flat_map(|[l, c]| if luma_first { [l, c] } else { [c, l] }).collect()
            };
            let mut row: Vec<u8> = match format {
                PixelFormat::Yuyv => packed(u, v, true),
                PixelFormat::Yvyu => packed(v, u, true),
                PixelFormat::Uyvy => packed(u, v, false),
                PixelFormat::Vyuy => packed(v, u, false),
                PixelFormat::Rgb24 => (0..w).flat_map(|x| rgb(luma(x, y), u, v)).collect(),
                _ => (0..w).map(|x| luma(x, y)).collect(),
            };
            row.resize(stride, 0xee);
            data.extend(row);
        }
        let chroma_rows =
            |value: &[u8], len: usize| value.iter().copied().cycle().take(len).collect::<Vec<_>>();
        match format {
            PixelFormat::Nv12 => data.extend(chroma_rows(&[u, v], stride * h / 2)),
            PixelFormat::Yu12 => {
                data.extend(chroma_rows(&[u], stride / 2 * h / 2));
                data.extend(chroma_rows(&[v], stride / 2 * h / 2));
            }
            _ => {}
        }
        (data, stride)
    }

    /// JFIF's conversion, BT.601 with full range.
    fn rgb(y: u8, u: u8, v: u8) -> [u8; 3] {
        let (y, u, v) = (f32::from(y), f32::from(u) - 128.0, f32::from(v) - 128.0);
        [y + 1.402 * v, y - 0.344_14 * u - 0.714_14 * v, y + 1.772 * u]
            .map(|c| c.round().clamp(0.0, 255.0) as u8)
    }

    fn write(writer: &mut JpegWriter, picture: &Picture<'_>) -> Result<Vec<u8>, JpegError> {
        let mut slot = vec![0; 100_000];
        let written = writer.write(picture, &mut slot)?;
        slot.truncate(written.len);
        Ok(slot)
    }

    #[test]
    fn every_format_encodes_to_the_same_picture() {
        let mut writer = JpegWriter::new(SETTINGS);
        let mut formats = 0;
        for format in PixelFormat::ALL.into_iter().filter(|&f| f != PixelFormat::Mjpeg) {
            for pad in [0, 32] {
                let (data, stride) = raw(format, pad);
                let picture = Picture::Raw(RawPicture { data: &data, format, resolution: SIZE, stride });
                let jpeg = write(&mut writer, &picture).unwrap();
                let inspected = inspect(&jpeg, Depth::Whole).unwrap();
                assert_eq!((inspected.resolution(), inspected.complete_len()), (SIZE, jpeg.len()));
                let decoded = turbojpeg::decompress(&jpeg, turbojpeg::PixelFormat::RGB).unwrap();
                for (x, y) in [(0, 0), (63, 0), (31, 23), (0, 47), (63, 47)] {
                    let luma = (40 + 2 * x + y) as u8;
                    let (cu, cv) = if format == PixelFormat::Grey { (128, 128) } else { (110, 150) };
                    let got = &decoded.pixels[y * decoded.pitch + x * 3..][..3];
                    let close = got.iter().zip(rgb(luma, cu, cv)).all(|(&a, b)| a.abs_diff(b) <= 6);
                    assert!(
                        close,
                        "{format} padded by {pad} at {x},{y}: {got:?}, not {:?}",
                        rgb(luma, cu, cv)
                    );
                }
            }
            formats += 1;
        }
        assert_eq!(formats, 8);
    }

    #[test]
    fn a_short_buffer_is_rejected_before_it_is_read() {
        let mut writer = JpegWriter::new(SETTINGS);
        for format in PixelFormat::ALL.into_iter().filter(|&f| f != PixelFormat::Mjpeg) {
            let (data, stride) = raw(format, 0);
            for len in [0, 1, data.len() / 2, data.len() - 1] {
                let picture =
                    Picture::Raw(RawPicture { data: &data[..len], format, resolution: SIZE, stride });
                assert!(
                    matches!(write(&mut writer, &picture), Err(JpegError::ShortBuffer { .. })),
                    "{format}, {len} bytes"
                );
            }
        }
    }

    #[test]
    fn odd_sizes_are_encoded_if_the_format_has_a_layout_for_them() {
        let mut writer = JpegWriter::new(SETTINGS);
        let data = vec![128; 100_000];
        for (w, h) in [(1, 1), (63, 47), (17, 1), (1, 9)] {
            let resolution = Resolution::new(w, h);
            for format in PixelFormat::ALL.into_iter().filter(|&f| f != PixelFormat::Mjpeg) {
                let raw = RawPicture { data: &data, format, resolution, stride: format.row_bytes(w) };
                let result = write(&mut writer, &Picture::Raw(raw));
                if matches!(format, PixelFormat::Nv12 | PixelFormat::Yu12) {
                    assert!(matches!(result, Err(JpegError::OddSize { .. })), "{format} {resolution}");
                } else {
                    assert_eq!(inspect(&result.unwrap(), Depth::Whole).unwrap().resolution(), resolution);
                }
            }
        }
    }

    #[test]
    fn a_small_slot_is_an_error() {
        let mut writer = JpegWriter::new(SETTINGS);
        let (data, stride) = raw(PixelFormat::Yuyv, 0);
        let picture =
            Picture::Raw(RawPicture { data: &data, format: PixelFormat::Yuyv, resolution: SIZE, stride });
        assert!(matches!(writer.write(&picture, &mut [0; 300]), Err(JpegError::Encode(_))));
        assert!(write(&mut writer, &picture).is_ok(), "the encoder did not recover");
    }

    #[test]
    fn validation_can_be_switched_off() {
        let (data, stride) = raw(PixelFormat::Yuyv, 0);
        let raw = RawPicture { data: &data, format: PixelFormat::Yuyv, resolution: SIZE, stride };
        let mut writer = JpegWriter::new(SETTINGS);
        let mut jpeg = write(&mut writer, &Picture::Raw(raw)).unwrap();
        jpeg.truncate(jpeg.len() - 2);
        let cut = Picture::Jpeg { data: &jpeg, expected: Some(SIZE) };
        let other = Picture::Jpeg { data: b"no picture", expected: None };
        assert!(matches!(write(&mut writer, &cut), Err(JpegError::Corrupt(Corrupt::CutShort { .. }))));
        let mut unchecked = JpegWriter::new(JpegSettings { validate: false, ..SETTINGS });
        assert_eq!(write(&mut unchecked, &cut).unwrap(), jpeg);
        assert_eq!(write(&mut unchecked, &other).unwrap(), b"no picture");
        assert!(write(&mut unchecked, &Picture::Jpeg { data: &[], expected: None }).is_err());
    }

    #[test]
    fn every_jpeg_states_its_rotation() {
        let (data, stride) = raw(PixelFormat::Yuyv, 0);
        let raw = RawPicture { data: &data, format: PixelFormat::Yuyv, resolution: SIZE, stride };
        let upright = write(&mut JpegWriter::new(SETTINGS), &Picture::Raw(raw)).unwrap();
        for rotation in [Rotation::Right, Rotation::Half, Rotation::Left] {
            let expected = [&upright[..20], rotation.segment(), &upright[20..]].concat();
            let mut rotating = JpegWriter::new(JpegSettings { rotation, ..SETTINGS });
            assert!(write(&mut rotating, &Picture::Raw(raw)).unwrap() == expected, "{rotation:?}, encoded");
            let passed = Picture::Jpeg { data: &upright, expected: Some(SIZE) };
            assert!(write(&mut rotating, &passed).unwrap() == expected, "{rotation:?}, passed through");
            assert!(rotating.write(&Picture::Raw(raw), &mut [0; 20]).is_err());
            assert!(rotating.write(&passed, &mut [0; 20]).is_err());
        }
    }

    #[test]
    fn a_jpeg_of_another_size_is_rejected() {
        let (data, stride) = raw(PixelFormat::Yuyv, 0);
        let raw = RawPicture { data: &data, format: PixelFormat::Yuyv, resolution: SIZE, stride };
        let mut writer = JpegWriter::new(SETTINGS);
        let jpeg = write(&mut writer, &Picture::Raw(raw)).unwrap();
        let of = |expected| Picture::Jpeg { data: &jpeg, expected };
        assert!(write(&mut writer, &of(None)).is_ok());
        assert!(write(&mut writer, &of(Some(Resolution::new(64, 40)))).is_ok(), "padded to whole blocks");
        let error = write(&mut writer, &of(Some(Resolution::new(640, 480)))).unwrap_err();
        assert_eq!(error.to_string(), "JPEG is 64x48, not 640x480");
    }
}
