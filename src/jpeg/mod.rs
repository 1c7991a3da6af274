//! From whatever a camera gives to one sound JPEG, written straight into the slot it will be sent from.
//!
//! JPEG passes through after its structure is checked ([`mod@inspect`]); raw pictures are encoded ([`encode`]).
//! Neither allocates per frame. Where pictures come from and who sees them is not known here.

pub mod encode;
pub mod exif;
mod huffman;
pub mod inspect;
mod strips;
pub mod yuv;

use std::time::{Duration, Instant};

use crate::frame::{PixelFormat, Resolution};
use encode::Encoder;
use exif::Rotation;
use inspect::{Corrupt, Depth, inspect};
use yuv::Subsampling;

/// How JPEGs are made and checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Quality of encoded pictures, 1 to 100 (the scale of libjpeg).
    pub quality: u8,
    /// Chroma resolution of encoded pictures.
    pub subsampling: Subsampling,
    /// Whether the structure of JPEGs from the camera is checked to the end and broken ones are held back.
    pub validate: bool,
    /// How far pictures are turned by those who show them.
    pub rotation: Rotation,
}

/// A picture as it lies in a buffer of its source.
#[derive(Clone, Copy, Debug)]
pub enum Picture<'a> {
    /// A JPEG already, perhaps with padding after it.
    Jpeg {
        /// The bytes the source wrote.
        data: &'a [u8],
        /// The size agreed with the source, if there was such an agreement.
        expected: Option<Resolution>,
    },
    /// Pixels.
    Raw(Raw<'a>),
}

/// An uncompressed picture as it lies in a buffer of its source.
#[derive(Clone, Copy, Debug)]
pub struct Raw<'a> {
    /// The bytes the source wrote.
    pub data: &'a [u8],
    /// How they are laid out.
    pub format: PixelFormat,
    /// Size of the picture; neither side is 0.
    pub resolution: Resolution,
    /// Bytes from the start of one row of the first plane to the next; at least [`PixelFormat::row_bytes`].
    pub stride: usize,
}

/// A frame needs more bytes than its slot has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("needs {need} bytes and the slot has {room}")]
pub struct TooLarge {
    /// Bytes needed.
    pub need: usize,
    /// Bytes there are.
    pub room: usize,
}

/// Why a picture did not become a frame.
#[derive(Debug, thiserror::Error)]
pub enum Reject {
    /// It is no sound JPEG.
    #[error("JPEG {0}")]
    Corrupt(#[from] Corrupt),
    /// The buffer holds less than a picture of this format and size.
    #[error("{format} picture of {have} bytes where {resolution} takes {need}")]
    Short {
        /// Format agreed.
        format: PixelFormat,
        /// Size agreed.
        resolution: Resolution,
        /// Bytes there are.
        have: usize,
        /// Bytes a whole picture takes.
        need: usize,
    },
    /// Planes of halved width and height have no place for an odd pixel.
    #[error(
        "{format} of the odd size {resolution} has no defined layout; configure an even width and height"
    )]
    Odd {
        /// Format agreed.
        format: PixelFormat,
        /// Size agreed.
        resolution: Resolution,
    },
    /// It does not fit the slot.
    #[error("frame {0}")]
    TooLarge(#[from] TooLarge),
    /// libjpeg-turbo refused.
    #[error("encoding failed: {0}")]
    Encode(#[from] turbojpeg::Error),
}

/// A JPEG written into a slot.
#[derive(Clone, Copy, Debug)]
pub struct Made {
    /// Its bytes.
    pub len: usize,
    /// Its size in pixels.
    pub resolution: Resolution,
    /// Time it took to encode; `None` for a JPEG passed through.
    pub encoding: Option<Duration>,
}

/// Makes JPEGs of pictures.
#[derive(Debug)]
pub struct Maker {
    settings: Settings,
    encoder: Option<Encoder>,
}

impl Maker {
    /// A maker with nothing set aside yet: the encoder comes with the first raw picture.
    pub fn new(settings: Settings) -> Self {
        Self { settings, encoder: None }
    }

    /// Writes `picture` as a JPEG into `slot`.
    ///
    /// # Errors
    /// [`Reject`] says why there is none; what `slot` then holds means nothing.
    pub fn make(&mut self, picture: &Picture<'_>, slot: &mut [u8]) -> Result<Made, Reject> {
        match *picture {
            Picture::Jpeg { data, expected } => self.pass(data, expected, slot),
            Picture::Raw(ref raw) => self.encode(raw, slot),
        }
    }

    fn encode(&mut self, raw: &Raw<'_>, slot: &mut [u8]) -> Result<Made, Reject> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(Encoder::new(self.settings.quality, self.settings.subsampling)?),
        };
        let started = Instant::now();
        let turned = self.settings.rotation.segment();
        let len = encoder.encode(raw, slot.get_mut(turned.len()..).unwrap_or_default())?;
        exif::insert(slot, turned);
        Ok(Made { len: turned.len() + len, resolution: raw.resolution, encoding: Some(started.elapsed()) })
    }

    fn pass(&self, data: &[u8], expected: Option<Resolution>, slot: &mut [u8]) -> Result<Made, Reject> {
        let found = match inspect(data, if self.settings.validate { Depth::Whole } else { Depth::Headers }) {
            Ok(jpeg) if self.settings.validate => Some(jpeg.of_size(expected)?),
            Ok(jpeg) => Some(jpeg),
            Err(corrupt) if self.settings.validate || data.is_empty() => return Err(corrupt.into()),
            Err(_) => None,
        };
        let (len, resolution) = match found.map(|jpeg| jpeg.turned(self.settings.rotation)) {
            Some(jpeg) => (jpeg.complete_into(slot)?, jpeg.resolution()),
            // Asked not to judge: what cannot even be read goes out as it came.
            None => (copy(data, slot)?, expected.unwrap_or(Resolution::new(0, 0))),
        };
        Ok(Made { len, resolution, encoding: None })
    }
}

fn copy(data: &[u8], slot: &mut [u8]) -> Result<usize, TooLarge> {
    let too_large = TooLarge { need: data.len(), room: slot.len() };
    slot.get_mut(..data.len()).ok_or(too_large)?.copy_from_slice(data);
    Ok(data.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Resolution = Resolution::new(64, 48);
    const SETTINGS: Settings =
        Settings { quality: 90, subsampling: Subsampling::Cs420, validate: true, rotation: Rotation::None };

    /// The same smooth picture in every format a camera may offer, with `pad` bytes after each row.
    fn raw(format: PixelFormat, pad: usize) -> (Vec<u8>, usize) {
        let (w, h) = (usize::from(SIZE.width), usize::from(SIZE.height));
        let luma = |x: usize, y: usize| (40 + 2 * x + y) as u8;
        let (u, v) = (110u8, 150u8);
        let stride = format.row_bytes(SIZE.width) + pad;
        let mut data = Vec::new();
        for y in 0..h {
            let mut row: Vec<u8> = match format {
                PixelFormat::Yuyv => {
                    (0..w).flat_map(|x| [luma(x, y), if x % 2 == 0 { u } else { v }]).collect()
                }
                PixelFormat::Yvyu => {
                    (0..w).flat_map(|x| [luma(x, y), if x % 2 == 0 { v } else { u }]).collect()
                }
                PixelFormat::Uyvy => {
                    (0..w).flat_map(|x| [if x % 2 == 0 { u } else { v }, luma(x, y)]).collect()
                }
                PixelFormat::Vyuy => {
                    (0..w).flat_map(|x| [if x % 2 == 0 { v } else { u }, luma(x, y)]).collect()
                }
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

    fn make(maker: &mut Maker, picture: &Picture<'_>) -> Result<Vec<u8>, Reject> {
        let mut slot = vec![0; 100_000];
        let made = maker.make(picture, &mut slot)?;
        slot.truncate(made.len);
        Ok(slot)
    }

    #[test]
    fn every_format_becomes_the_same_picture() {
        let mut maker = Maker::new(SETTINGS);
        let mut formats = 0;
        for format in PixelFormat::ALL.into_iter().filter(|&f| f != PixelFormat::Mjpeg) {
            for pad in [0, 32] {
                let (data, stride) = raw(format, pad);
                let picture = Picture::Raw(Raw { data: &data, format, resolution: SIZE, stride });
                let jpeg = make(&mut maker, &picture).unwrap();
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
        let mut maker = Maker::new(SETTINGS);
        for format in PixelFormat::ALL.into_iter().filter(|&f| f != PixelFormat::Mjpeg) {
            let (data, stride) = raw(format, 0);
            for len in [0, 1, data.len() / 2, data.len() - 1] {
                let picture = Picture::Raw(Raw { data: &data[..len], format, resolution: SIZE, stride });
                assert!(
                    matches!(make(&mut maker, &picture), Err(Reject::Short { .. })),
                    "{format}, {len} bytes"
                );
            }
        }
    }

    #[test]
    fn odd_sizes_encode_where_they_have_a_layout() {
        let mut maker = Maker::new(SETTINGS);
        let data = vec![128; 100_000];
        for (w, h) in [(1, 1), (63, 47), (17, 1), (1, 9)] {
            let resolution = Resolution::new(w, h);
            for format in PixelFormat::ALL.into_iter().filter(|&f| f != PixelFormat::Mjpeg) {
                let raw = Raw { data: &data, format, resolution, stride: format.row_bytes(w) };
                let made = make(&mut maker, &Picture::Raw(raw));
                if matches!(format, PixelFormat::Nv12 | PixelFormat::Yu12) {
                    assert!(matches!(made, Err(Reject::Odd { .. })), "{format} {resolution}");
                } else {
                    assert_eq!(inspect(&made.unwrap(), Depth::Whole).unwrap().resolution(), resolution);
                }
            }
        }
    }

    #[test]
    fn a_small_slot_is_an_error() {
        let mut maker = Maker::new(SETTINGS);
        let (data, stride) = raw(PixelFormat::Yuyv, 0);
        let picture = Picture::Raw(Raw { data: &data, format: PixelFormat::Yuyv, resolution: SIZE, stride });
        assert!(matches!(maker.make(&picture, &mut [0; 300]), Err(Reject::Encode(_))));
        assert!(make(&mut maker, &picture).is_ok(), "the encoder did not recover");
    }

    #[test]
    fn validation_can_be_switched_off() {
        let (data, stride) = raw(PixelFormat::Yuyv, 0);
        let raw = Raw { data: &data, format: PixelFormat::Yuyv, resolution: SIZE, stride };
        let mut maker = Maker::new(SETTINGS);
        let mut jpeg = make(&mut maker, &Picture::Raw(raw)).unwrap();
        jpeg.truncate(jpeg.len() - 2);
        let cut = Picture::Jpeg { data: &jpeg, expected: Some(SIZE) };
        let other = Picture::Jpeg { data: b"no picture", expected: None };
        assert!(matches!(make(&mut maker, &cut), Err(Reject::Corrupt(Corrupt::CutShort { .. }))));
        let mut trusting = Maker::new(Settings { validate: false, ..SETTINGS });
        assert_eq!(make(&mut trusting, &cut).unwrap(), jpeg);
        assert_eq!(make(&mut trusting, &other).unwrap(), b"no picture");
        assert!(make(&mut trusting, &Picture::Jpeg { data: &[], expected: None }).is_err());
    }

    #[test]
    fn every_jpeg_says_which_way_up_it_is() {
        let (data, stride) = raw(PixelFormat::Yuyv, 0);
        let raw = Raw { data: &data, format: PixelFormat::Yuyv, resolution: SIZE, stride };
        let upright = make(&mut Maker::new(SETTINGS), &Picture::Raw(raw)).unwrap();
        for rotation in [Rotation::Right, Rotation::Half, Rotation::Left] {
            let expected = [&upright[..20], rotation.segment(), &upright[20..]].concat();
            let mut turning = Maker::new(Settings { rotation, ..SETTINGS });
            assert!(make(&mut turning, &Picture::Raw(raw)).unwrap() == expected, "{rotation:?}, encoded");
            let passed = Picture::Jpeg { data: &upright, expected: Some(SIZE) };
            assert!(make(&mut turning, &passed).unwrap() == expected, "{rotation:?}, passed through");
            assert!(turning.make(&Picture::Raw(raw), &mut [0; 20]).is_err());
            assert!(turning.make(&passed, &mut [0; 20]).is_err());
        }
    }

    #[test]
    fn a_jpeg_of_another_size_is_rejected() {
        let (data, stride) = raw(PixelFormat::Yuyv, 0);
        let raw = Raw { data: &data, format: PixelFormat::Yuyv, resolution: SIZE, stride };
        let mut maker = Maker::new(SETTINGS);
        let jpeg = make(&mut maker, &Picture::Raw(raw)).unwrap();
        let of = |expected| Picture::Jpeg { data: &jpeg, expected };
        assert!(make(&mut maker, &of(None)).is_ok());
        assert!(make(&mut maker, &of(Some(Resolution::new(64, 40)))).is_ok(), "padded to whole blocks");
        let error = make(&mut maker, &of(Some(Resolution::new(640, 480)))).unwrap_err();
        assert_eq!(error.to_string(), "JPEG is 64x48, not 640x480");
    }
}
