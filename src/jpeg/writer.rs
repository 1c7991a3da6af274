//! Writes a picture of any source as one valid JPEG into a slot of the ring: passed through, or encoded.
#![forbid(unsafe_code)]

use super::encode::JpegEncoder;
use super::error::{Corrupt, JpegError};
use super::exif::{self, Rotation};
use super::inspect::{Depth, copy_to_slot, inspect, inspect_without_end};
use super::raw::{PicturePlane, PlanarPicture, RawPicture};
use super::strict::StrictDecoder;
use super::yuv::Subsampling;
use crate::frame::{PixelFormat, Resolution, WrittenJpeg};

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
    /// Pixels in one buffer.
    Raw(RawPicture<'a>),
    /// Pixels in a buffer for each plane.
    Planar(PlanarPicture<'a>),
    /// An access unit of H.264 in Annex B. No JPEG is made of it here.
    H264(&'a [u8]),
}

impl Picture<'_> {
    /// Whether it is a JPEG already.
    pub fn is_jpeg(&self) -> bool {
        matches!(self, Self::Jpeg { .. })
    }
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
    /// For JPEGs without an end.
    decoder: Option<StrictDecoder>,
    ends: EndMarkers,
}

/// Whether the JPEGs of a source have EOI markers.
#[derive(Debug, Default)]
struct EndMarkers {
    /// One had.
    seen: bool,
    /// So many in a row had none.
    missing: u32,
    /// One without was whole, and was completed.
    added: bool,
}

/// So many JPEGs in a row have no EOI marker where a source stops writing them. Fewer are cut short: a decoder would tell too, but
/// takes ten times as long as a look at the markers.
const MISSING_ENDS: u32 = 3;

impl JpegWriter {
    /// A writer without an encoder. The first raw picture creates one.
    pub fn new(settings: JpegSettings) -> Self {
        Self { settings, encoder: None, decoder: None, ends: EndMarkers::default() }
    }

    /// Forgets what is known of the source: it is opened again, and may be another device. Viewers are told of `rotation`.
    pub fn restart(&mut self, rotation: Rotation) {
        self.settings.rotation = rotation;
        self.ends = EndMarkers::default();
    }

    /// Whether EOI markers are added, as the source writes none.
    pub fn adds_ends(&self) -> bool {
        self.ends.added
    }

    /// Writes `picture` as a JPEG to the start of `slot`.
    ///
    /// # Errors
    /// [`JpegError`] says why there is no JPEG. The content of `slot` is then undefined.
    pub fn write(&mut self, picture: &Picture<'_>, slot: &mut [u8]) -> Result<WrittenJpeg, JpegError> {
        match *picture {
            Picture::Jpeg { data, expected } => self.pass_through(data, expected, slot),
            Picture::Raw(raw) => self.encode(raw.format, raw.resolution, &raw.whole_planes()?, slot),
            Picture::Planar(picture) => {
                self.encode(picture.format(), picture.resolution(), &picture.whole_planes()?, slot)
            }
            Picture::H264(_) => Err(JpegError::Video),
        }
    }

    fn encode(
        &mut self,
        format: PixelFormat,
        resolution: Resolution,
        planes: &[PicturePlane<'_>; 3],
        slot: &mut [u8],
    ) -> Result<WrittenJpeg, JpegError> {
        let encoder = match &mut self.encoder {
            Some(encoder) => encoder,
            none => none.insert(JpegEncoder::new(self.settings.quality, self.settings.subsampling)?),
        };
        let segment = self.settings.rotation.segment();
        let room = slot.get_mut(segment.len()..).unwrap_or_default();
        let len = encoder.encode(format, resolution, planes, room)?;
        exif::insert(slot, segment);
        Ok(WrittenJpeg { len: segment.len() + len, resolution })
    }

    fn pass_through(
        &mut self,
        data: &[u8],
        expected: Option<Resolution>,
        slot: &mut [u8],
    ) -> Result<WrittenJpeg, JpegError> {
        let validate = self.settings.validate;
        let inspected = match inspect(data, if validate { Depth::Whole } else { Depth::Headers }) {
            Ok(jpeg) if validate => {
                (self.ends.seen, self.ends.missing) = (true, 0);
                Some(jpeg.check_size(expected)?)
            }
            Ok(jpeg) => Some(jpeg),
            Err(Corrupt::CutShort { .. }) if validate => return self.complete(data, expected, slot),
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

    /// Writes a JPEG that has no EOI marker, with one, if the source never writes any and the picture data is whole.
    ///
    /// Each such picture is decoded: a sample would let cut ones through.
    fn complete(
        &mut self,
        data: &[u8],
        expected: Option<Resolution>,
        slot: &mut [u8],
    ) -> Result<WrittenJpeg, JpegError> {
        let cut = Corrupt::CutShort { at: data.len() };
        self.ends.missing = self.ends.missing.saturating_add(1);
        if self.ends.seen && self.ends.missing < MISSING_ENDS {
            return Err(cut.into());
        }
        let jpeg = inspect_without_end(data)?.check_size(expected)?;
        let jpeg = jpeg.with_rotation(self.settings.rotation);
        let len = jpeg.complete_into(slot)?;
        let decoder = match &mut self.decoder {
            Some(decoder) => decoder,
            none => none.insert(StrictDecoder::new()?),
        };
        if !decoder.is_whole(&slot[..len]) {
            return Err(cut.into());
        }
        self.ends.added = true;
        Ok(WrittenJpeg { len, resolution: jpeg.resolution() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::PixelLayout;
    use crate::jpeg::Corrupt;

    const SIZE: Resolution = Resolution::new(64, 48);
    const SETTINGS: JpegSettings = JpegSettings {
        quality: 90,
        subsampling: Subsampling::Cs420,
        validate: true,
        rotation: Rotation::None,
    };

    /// Colour bars of 8 pixels. In the lower half of the picture they come in reverse.
    const BARS: [[u8; 3]; 8] = [
        [255; 3],
        [255, 255, 0],
        [0, 255, 255],
        [0, 255, 0],
        [255, 0, 255],
        [255, 0, 0],
        [0, 0, 255],
        [85; 3],
    ];

    fn bar(x: usize, y: usize) -> [u8; 3] {
        BARS[if y < 24 { x / 8 } else { 7 - x / 8 }]
    }

    /// JFIF's conversion: BT.601 with full range.
    fn yuv([r, g, b]: [u8; 3]) -> [u8; 3] {
        let [r, g, b] = [r, g, b].map(f32::from);
        let (y, u, v) = (
            0.299 * r + 0.587 * g + 0.114 * b,
            128.0 - 0.168_736 * r - 0.331_264 * g + 0.5 * b,
            128.0 + 0.5 * r - 0.418_688 * g - 0.081_312 * b,
        );
        [y, u, v].map(|c| c.round().clamp(0.0, 255.0) as u8)
    }

    /// The bytes of a format as the kernel's documentation draws them: for each plane the bytes of one group, its pixels, and the
    /// rows that share it. `l`, `h`, `j` and `k` are the bytes of a word from the lowest on; `t`, `s` and `v` hue, saturation and value; `x`
    /// is not used.
    fn memory(format: PixelFormat) -> &'static [(&'static str, usize, usize)] {
        match format {
            PixelFormat::Mjpeg | PixelFormat::H264 => &[],
            PixelFormat::Yuyv => &[("YUYV", 2, 1)],
            PixelFormat::Uyvy => &[("UYVY", 2, 1)],
            PixelFormat::Yvyu => &[("YVYU", 2, 1)],
            PixelFormat::Vyuy => &[("VYUY", 2, 1)],
            PixelFormat::Yu12 => &[("Y", 1, 1), ("U", 2, 2), ("V", 2, 2)],
            PixelFormat::Yv12 => &[("Y", 1, 1), ("V", 2, 2), ("U", 2, 2)],
            PixelFormat::Nv12 => &[("Y", 1, 1), ("UV", 2, 2)],
            PixelFormat::Nv21 => &[("Y", 1, 1), ("VU", 2, 2)],
            PixelFormat::Nv16 => &[("Y", 1, 1), ("UV", 2, 1)],
            PixelFormat::Nv61 => &[("Y", 1, 1), ("VU", 2, 1)],
            PixelFormat::Yu16 => &[("Y", 1, 1), ("U", 2, 1), ("V", 2, 1)],
            PixelFormat::Yv16 => &[("Y", 1, 1), ("V", 2, 1), ("U", 2, 1)],
            PixelFormat::Yuv411 => &[("Y", 1, 1), ("U", 4, 1), ("V", 4, 1)],
            PixelFormat::Yuv410 => &[("Y", 1, 1), ("U", 4, 4), ("V", 4, 4)],
            PixelFormat::Yvu410 => &[("Y", 1, 1), ("V", 4, 4), ("U", 4, 4)],
            PixelFormat::Nv24 => &[("Y", 1, 1), ("UV", 1, 1)],
            PixelFormat::Nv42 => &[("Y", 1, 1), ("VU", 1, 1)],
            PixelFormat::Yu24 => &[("Y", 1, 1), ("U", 1, 1), ("V", 1, 1)],
            PixelFormat::Yv24 => &[("Y", 1, 1), ("V", 1, 1), ("U", 1, 1)],
            PixelFormat::Yuv24 => &[("YUV", 1, 1)],
            PixelFormat::Yuvx => &[("YUVx", 1, 1)],
            PixelFormat::Xyuv => &[("xYUV", 1, 1)],
            PixelFormat::Vuyx => &[("VUYx", 1, 1)],
            PixelFormat::Rgb24 => &[("RGB", 1, 1)],
            PixelFormat::Bgr24 => &[("BGR", 1, 1)],
            PixelFormat::Bgrx => &[("BGRx", 1, 1)],
            PixelFormat::Rgbx => &[("RGBx", 1, 1)],
            PixelFormat::Xrgb => &[("xRGB", 1, 1)],
            PixelFormat::Xbgr => &[("xBGR", 1, 1)],
            PixelFormat::Bgr666 => &[("kjhl", 1, 1)],
            PixelFormat::Hsv24 => &[("tsv", 1, 1)],
            PixelFormat::Hsv32 => &[("xtsv", 1, 1)],
            PixelFormat::Rgb565 | PixelFormat::Rgb555 | PixelFormat::Rgb444 => &[("lh", 1, 1)],
            PixelFormat::Rgbx555 | PixelFormat::Xbgr555 | PixelFormat::Bgrx555 => &[("lh", 1, 1)],
            PixelFormat::Rgbx444 | PixelFormat::Xbgr444 | PixelFormat::Bgrx444 => &[("lh", 1, 1)],
            PixelFormat::Yuv565 | PixelFormat::Yuv555 | PixelFormat::Yuv444 => &[("lh", 1, 1)],
            PixelFormat::Rgb565x | PixelFormat::Rgb555x => &[("hl", 1, 1)],
            PixelFormat::Rgb332 => &[("l", 1, 1)],
            PixelFormat::Grey => &[("Y", 1, 1)],
            PixelFormat::Y10 | PixelFormat::Y12 | PixelFormat::Y14 | PixelFormat::Y16 => &[("lh", 1, 1)],
            PixelFormat::Y16be => &[("hl", 1, 1)],
            PixelFormat::Bggr8 | PixelFormat::Gbrg8 | PixelFormat::Grbg8 | PixelFormat::Rggb8 => {
                &[("l", 1, 1)]
            }
            PixelFormat::Bggr10
            | PixelFormat::Gbrg10
            | PixelFormat::Grbg10
            | PixelFormat::Rggb10
            | PixelFormat::Bggr12
            | PixelFormat::Gbrg12
            | PixelFormat::Grbg12
            | PixelFormat::Rggb12
            | PixelFormat::Bggr16
            | PixelFormat::Gbrg16
            | PixelFormat::Grbg16
            | PixelFormat::Rggb16 => &[("lh", 1, 1)],
        }
    }

    /// A pixel of the formats whose pixels are words. Bits that are not used are set.
    fn word(format: PixelFormat, rgb: [u8; 3], (x, y): (usize, usize)) -> u32 {
        let [r, g, b] = rgb.map(u32::from);
        if let PixelLayout::Bayer { bits, red } = format.layout() {
            let component = match (x % 2 == red.0, y % 2 == red.1) {
                (true, true) => r,
                (false, false) => b,
                _ => g,
            };
            return component << (bits - 8);
        }
        let [luma, u, v] = yuv(rgb).map(u32::from);
        match format {
            PixelFormat::Bgr666 => 0x3fff | (b >> 2) << 26 | (g >> 2) << 20 | (r >> 2) << 14,
            PixelFormat::Rgbx555 => 1 | (r >> 3) << 11 | (g >> 3) << 6 | (b >> 3) << 1,
            PixelFormat::Xbgr555 => 0x8000 | (b >> 3) << 10 | (g >> 3) << 5 | r >> 3,
            PixelFormat::Bgrx555 => 1 | (b >> 3) << 11 | (g >> 3) << 6 | (r >> 3) << 1,
            PixelFormat::Rgbx444 => 15 | (r >> 4) << 12 | (g >> 4) << 8 | (b >> 4) << 4,
            PixelFormat::Xbgr444 => 0xf000 | (b >> 4) << 8 | (g >> 4) << 4 | r >> 4,
            PixelFormat::Bgrx444 => 15 | (b >> 4) << 12 | (g >> 4) << 8 | (r >> 4) << 4,
            PixelFormat::Yuv565 => (luma >> 3) << 11 | (u >> 2) << 5 | v >> 3,
            PixelFormat::Yuv555 => 0x8000 | (luma >> 3) << 10 | (u >> 3) << 5 | v >> 3,
            PixelFormat::Yuv444 => 0xf000 | (luma >> 4) << 8 | (u >> 4) << 4 | v >> 4,
            PixelFormat::Rgb565 | PixelFormat::Rgb565x => (r >> 3) << 11 | (g >> 2) << 5 | b >> 3,
            PixelFormat::Rgb555 | PixelFormat::Rgb555x => 0x8000 | (r >> 3) << 10 | (g >> 3) << 5 | b >> 3,
            PixelFormat::Rgb444 => 0xf000 | (r >> 4) << 8 | (g >> 4) << 4 | b >> 4,
            PixelFormat::Rgb332 => r & 0xe0 | (g >> 5) << 2 | b >> 6,
            PixelFormat::Y10 => luma << 2 | 3,
            PixelFormat::Y12 => luma << 4 | 7,
            PixelFormat::Y14 => luma << 6 | 31,
            _ => luma << 8 | 99,
        }
    }

    /// Hue in 256 steps, saturation and value.
    fn hsv(rgb: [u8; 3]) -> [u8; 3] {
        let [r, g, b] = rgb.map(f32::from);
        let (most, least) = (r.max(g).max(b), r.min(g).min(b));
        let range = (most - least).max(1.0);
        let sixths = match most {
            _ if most == least => 0.0,
            most if most == r => ((g - b) / range).rem_euclid(6.0),
            most if most == g => (b - r) / range + 2.0,
            _ => (r - g) / range + 4.0,
        };
        let saturation = if most > 0.0 { 255.0 * (most - least) / most } else { 0.0 };
        [(256.0 / 6.0 * sixths).rem_euclid(256.0), saturation, most].map(|c| c.round() as u8)
    }

    /// The colour bars in a format: for each plane its bytes and its stride. `pad` bytes follow each row of the first plane, and those
    /// of the others in proportion.
    fn painted(format: PixelFormat, pad: usize) -> Vec<(Vec<u8>, usize)> {
        let (w, h) = (usize::from(SIZE.width), usize::from(SIZE.height));
        let planes = memory(format);
        let row_bytes = |(group, across, _): (&str, usize, usize)| w / across * group.len();
        let paint = |plane: &(&str, usize, usize)| {
            let (group, across, down) = *plane;
            let stride = (row_bytes(planes[0]) + pad) * row_bytes(*plane) / row_bytes(planes[0]);
            let mut data = Vec::new();
            for y in (0..h).step_by(down) {
                for x in (0..w).step_by(across) {
                    let (rgb, [luma, u, v]) = (bar(x, y), yuv(bar(x, y)));
                    let [low, high, third, fourth] = word(format, rgb, (x, y)).to_le_bytes();
                    let [hue, saturation, value] = hsv(rgb);
                    data.extend(group.chars().map(|sample| match sample {
                        'Y' => luma,
                        'U' => u,
                        'V' => v,
                        'R' => rgb[0],
                        'G' => rgb[1],
                        'B' => rgb[2],
                        'l' => low,
                        'h' => high,
                        'j' => third,
                        'k' => fourth,
                        't' => hue,
                        's' => saturation,
                        'v' => value,
                        _ => 0xaa,
                    }));
                }
                data.resize(data.len() + stride - row_bytes(*plane), 0xee);
            }
            (data, stride)
        };
        planes.iter().map(paint).collect()
    }

    /// The colour bars in one buffer, and the stride of the first plane.
    fn raw(format: PixelFormat, pad: usize) -> (Vec<u8>, usize) {
        let planes = painted(format, pad);
        (planes.iter().flat_map(|(data, _)| data).copied().collect(), planes[0].1)
    }

    fn raw_formats() -> impl Iterator<Item = PixelFormat> {
        PixelFormat::ALL.into_iter().filter(|&format| !memory(format).is_empty())
    }

    fn write(writer: &mut JpegWriter, picture: &Picture<'_>) -> Result<Vec<u8>, JpegError> {
        let mut slot = vec![0; 100_000];
        let written = writer.write(picture, &mut slot)?;
        slot.truncate(written.len);
        Ok(slot)
    }

    #[test]
    fn every_format_shows_the_colours_that_were_painted() {
        for subsampling in [Subsampling::Cs420, Subsampling::Cs422] {
            let mut writer = JpegWriter::new(JpegSettings { subsampling, ..SETTINGS });
            for format in raw_formats() {
                for pad in [0, 32] {
                    let (data, stride) = raw(format, pad);
                    let picture = Picture::Raw(RawPicture { data: &data, format, resolution: SIZE, stride });
                    let jpeg = write(&mut writer, &picture).unwrap();
                    let inspected = inspect(&jpeg, Depth::Whole).unwrap();
                    assert_eq!((inspected.resolution(), inspected.complete_len()), (SIZE, jpeg.len()));
                    check_bars(&jpeg, &format!("{format} padded by {pad}, {}", subsampling.name()), format);
                    // The last row needs no padding.
                    let last = stride - format.row_bytes(SIZE.width);
                    if painted(format, pad).len() == 1 && last > 0 {
                        let data = &data[..data.len() - last];
                        let picture = Picture::Raw(RawPicture { data, format, resolution: SIZE, stride });
                        assert!(write(&mut writer, &picture).unwrap() == jpeg, "{format}");
                    }
                }
            }
        }
    }

    fn check_bars(jpeg: &[u8], what: &str, format: PixelFormat) {
        let is_grey = matches!(format.layout(), PixelLayout::Grey | PixelLayout::Grey16 { .. });
        let tolerance = match format {
            PixelFormat::Rgb332 | PixelFormat::Yuv555 | PixelFormat::Yuv565 | PixelFormat::Yuv444 => 20,
            // The colours at the edges of the bars, which are interpolated, reach into the middle of their blocks.
            format if format.is_sensor_data() => 30,
            _ => 8,
        };
        let decoded = turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::RGB).unwrap();
        for y in [1, 12, 20, 28, 46] {
            for x in (4..64).step_by(8) {
                let expected = if is_grey { [yuv(bar(x, y))[0]; 3] } else { bar(x, y) };
                let got = &decoded.pixels[y * decoded.pitch + x * 3..][..3];
                let is_close = got.iter().zip(expected).all(|(&a, b)| a.abs_diff(b) <= tolerance);
                assert!(is_close, "{what}, at {x},{y}: {got:?}, not {expected:?}");
            }
        }
    }

    #[test]
    fn planes_in_separate_buffers_give_the_same_picture() {
        let mut writer = JpegWriter::new(SETTINGS);
        for format in raw_formats() {
            let (data, stride) = raw(format, 0);
            let whole = Picture::Raw(RawPicture { data: &data, format, resolution: SIZE, stride });
            let expected = write(&mut writer, &whole).unwrap();
            let painted = painted(format, 64);
            let planes: Vec<PicturePlane<'_>> =
                painted.iter().map(|(data, stride)| PicturePlane { data, stride: *stride }).collect();
            let planar = |planes: &[PicturePlane<'_>]| {
                write(
                    &mut JpegWriter::new(SETTINGS),
                    &Picture::Planar(PlanarPicture::new(format, SIZE, planes)),
                )
            };
            assert!(planar(&planes).unwrap() == expected, "{format}");
            assert!(matches!(planar(&planes[1..]), Err(JpegError::MissingPlane { .. })), "{format}");
            for short in 0..planes.len() {
                let mut planes = planes.clone();
                planes[short].data = &planes[short].data[..100];
                let error = planar(&planes).unwrap_err();
                let is_told = match error {
                    JpegError::ShortPlane { plane, have: 100, .. } => plane == short + 1,
                    JpegError::ShortBuffer { have: 100, .. } => planes.len() == 1,
                    _ => false,
                };
                assert!(is_told, "{format}: {error}");
            }
        }
    }

    #[test]
    fn a_short_buffer_is_rejected_before_it_is_read() {
        let mut writer = JpegWriter::new(SETTINGS);
        for format in raw_formats() {
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
        for (w, h) in [(1, 1), (63, 47), (17, 1), (1, 9), (2, 2), (4, 3), (12, 7), (62, 1)] {
            let resolution = Resolution::new(w, h);
            for format in raw_formats() {
                let raw = RawPicture { data: &data, format, resolution, stride: format.row_bytes(w) };
                let result = write(&mut writer, &Picture::Raw(raw));
                let (across, down) = match format.layout() {
                    PixelLayout::Planar { across, down, .. } => (across, down),
                    _ => (1, 1),
                };
                if !usize::from(w).is_multiple_of(across) || !usize::from(h).is_multiple_of(down) {
                    assert!(matches!(result, Err(JpegError::UnevenSize { .. })), "{format} {resolution}");
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
        let whole =
            write(&mut writer, &Picture::Jpeg { data: &[&jpeg[..], b"\xff\xd9"].concat(), expected: None });
        assert!(whole.is_ok(), "its end is seen, so the next one is cut short");
        let cut = Picture::Jpeg { data: &jpeg, expected: Some(SIZE) };
        let other = Picture::Jpeg { data: b"no picture", expected: None };
        assert!(matches!(write(&mut writer, &cut), Err(JpegError::Corrupt(Corrupt::CutShort { .. }))));
        let mut unchecked = JpegWriter::new(JpegSettings { validate: false, ..SETTINGS });
        assert_eq!(write(&mut unchecked, &cut).unwrap(), jpeg);
        assert_eq!(write(&mut unchecked, &other).unwrap(), b"no picture");
        assert!(write(&mut unchecked, &Picture::Jpeg { data: &[], expected: None }).is_err());
    }

    #[test]
    fn a_source_that_never_writes_an_end_is_told_from_one_that_is_cut_short() {
        let interval_of = |jpeg: &[u8]| jpeg.windows(2).any(|w| w == [0xff, 0xdd]);
        // In one piece, and in strips with restart markers where there are several processors.
        for size in [SIZE, Resolution::new(1280, 720)] {
            let (width, height) = (usize::from(size.width), usize::from(size.height));
            let data: Vec<u8> = (0..width * height * 2).map(|i| ((i / 7) ^ (i / width)) as u8).collect();
            let raw =
                RawPicture { data: &data, format: PixelFormat::Yuyv, resolution: size, stride: width * 2 };
            let mut slot = vec![0; 8_000_000];
            let mut encode = JpegWriter::new(SETTINGS);
            let len = encode.write(&Picture::Raw(raw), &mut slot).unwrap().len;
            let (whole, mut out) = (&slot[..len], vec![0; 8_000_000]);
            let has_restarts = interval_of(whole);
            let mut pass = |writer: &mut JpegWriter, data: &[u8]| {
                let written = writer.write(&Picture::Jpeg { data, expected: Some(size) }, &mut out)?;
                Ok::<_, JpegError>(out[..written.len].to_vec())
            };
            let is_cut = |result: Result<Vec<u8>, JpegError>| {
                matches!(result, Err(JpegError::Corrupt(Corrupt::CutShort { .. })))
            };
            let endless = &whole[..len - 2];
            let mut writer = JpegWriter::new(SETTINGS);
            for padding in [0, 1, 500] {
                let padded = [endless, &vec![0; padding]].concat();
                assert!(pass(&mut writer, &padded).unwrap() == whole, "{size}, {padding}, {has_restarts}");
            }
            assert!(writer.adds_ends());
            for cut in [len - 40, len * 9 / 10, len * 6 / 10, 700, 300, 10] {
                assert!(is_cut(pass(&mut writer, &whole[..cut])), "{cut} of {len} bytes, {has_restarts}");
                assert!(is_cut(pass(&mut JpegWriter::new(SETTINGS), &whole[..cut])), "{cut} of {len}");
            }
            // Of a source that writes ends, a few without are cut short; many in a row are not.
            writer.restart(Rotation::None);
            pass(&mut writer, whole).unwrap();
            assert!(!writer.adds_ends());
            for _ in 1..MISSING_ENDS {
                assert!(is_cut(pass(&mut writer, endless)));
            }
            assert!(pass(&mut writer, endless).unwrap() == whole);
        }
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
