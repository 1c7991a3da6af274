//! Pictures as planes of 4:2:0, as video encoders take them: decoded from a JPEG, or unpacked from a raw picture.
//!
//! libjpeg-turbo decodes to the planes that the JPEG has, without a conversion of colours. Those of other subsamplings are brought
//! into 4:2:0 as raw pictures are ([`super::planar`]). An odd last column or row is left out, as H.264 has none in 4:2:0.
#![forbid(unsafe_code)]

use turbojpeg::{Decompressor, Subsamp, YuvImage, yuv_pixels_len};

use super::error::JpegError;
use super::pixels::expand_words;
use super::raw::PicturePlane;
use super::writer::Picture;
use super::yuv::{InstructionSet, Planes, Subsampling};
use crate::frame::{ChromaPlanes, PixelFormat, PixelLayout, Resolution};

/// Chroma of a picture without colour.
const NO_COLOUR: u8 = 128;

/// Decodes JPEGs into planes. Keeps its memory for the next one.
#[derive(Debug)]
pub struct JpegDecoder {
    decompressor: Decompressor,
    /// The planes as the JPEG has them.
    decoded: Vec<u8>,
}

impl JpegDecoder {
    /// # Errors
    /// When libjpeg-turbo cannot be set up.
    pub fn new() -> Result<Self, turbojpeg::Error> {
        Ok(Self { decompressor: Decompressor::new()?, decoded: Vec::new() })
    }

    /// Decodes a JPEG into `planes`; returns the size of the picture there.
    ///
    /// # Errors
    /// When libjpeg-turbo cannot read the JPEG, or it has less than two pixels in a row or column.
    pub fn decode(&mut self, jpeg: &[u8], planes: &mut Planes) -> Result<Resolution, JpegError> {
        let header = self.decompressor.read_header(jpeg)?;
        let (width, height, subsamp) = (header.width, header.height, header.subsamp);
        let even = even_size(width, height)?;
        let len = yuv_pixels_len(width, 1, height, subsamp)?;
        self.decoded.resize(len.max(self.decoded.len()), 0);
        let pixels = &mut self.decoded[..len];
        let image = YuvImage { pixels, width, align: 1, height, subsamp };
        self.decompressor.decompress_to_yuv(jpeg, image)?;
        // libjpeg-turbo's planes have whole samples of chroma, so the luma plane may have a column and a row more.
        let (across, down) = (subsamp.width(), subsamp.height());
        let (stride, rows) = (width.next_multiple_of(across), height.next_multiple_of(down));
        let (luma, chroma) = self.decoded[..len].split_at(stride * rows);
        let luma = PicturePlane { data: luma, stride };
        if subsamp == Subsamp::Gray {
            planes.fill_grey(luma, even);
            return Ok(even);
        }
        let (u, v) = chroma.split_at(chroma.len() / 2);
        let [u, v] = [u, v].map(|data| PicturePlane { data, stride: stride / across });
        let layout = PixelLayout::Planar { across, down, chroma: ChromaPlanes::Uv };
        planes.fill(layout, &[luma, u, v], even, Subsampling::Cs420);
        Ok(even)
    }
}

/// Unpacks raw pictures into planes. Keeps its memory for the next one.
#[derive(Debug)]
pub struct PlanesUnpacker {
    instructions: InstructionSet,
    /// Pixels of formats that are unpacked in two steps.
    pixels: Vec<u8>,
}

impl Default for PlanesUnpacker {
    fn default() -> Self {
        Self { instructions: InstructionSet::best(), pixels: Vec::new() }
    }
}

impl PlanesUnpacker {
    /// Whether pictures of a format can be unpacked: those of YUV and of luma alone.
    pub fn takes(format: PixelFormat) -> bool {
        use PixelLayout as Layout;
        matches!(
            format.layout(),
            Layout::Packed422 { .. }
                | Layout::Planar { .. }
                | Layout::PackedYuv { .. }
                | Layout::PackedYuvWord(_)
                | Layout::Grey
        )
    }

    /// Unpacks a picture into `planes`; returns the size of the picture there. `None` for a picture whose format it does not take.
    ///
    /// # Errors
    /// When the picture has less bytes than its size takes.
    pub fn unpack(
        &mut self,
        picture: &Picture<'_>,
        planes: &mut Planes,
    ) -> Result<Option<Resolution>, JpegError> {
        let (format, resolution, source) = match picture {
            Picture::Raw(raw) => (raw.format, raw.resolution, raw.whole_planes()?),
            Picture::Planar(planar) => (planar.format(), planar.resolution(), planar.whole_planes()?),
            Picture::Jpeg { .. } | Picture::H264(_) => return Ok(None),
        };
        let even = even_size(resolution.width.into(), resolution.height.into())?;
        let (width, height) = (usize::from(even.width), usize::from(even.height));
        let [first, ..] = source;
        match format.layout() {
            PixelLayout::Packed422 { .. } => {
                let shape = (width, height, first.stride);
                planes.unpack(self.instructions, first.data, format, shape, Subsampling::Cs420);
            }
            layout @ (PixelLayout::Planar { .. } | PixelLayout::PackedYuv { .. }) => {
                planes.fill(layout, &source, even, Subsampling::Cs420);
            }
            PixelLayout::PackedYuvWord(word) => {
                let stride = expand_words(&mut self.pixels, first, even, word);
                let mut expanded = source;
                expanded[0] = PicturePlane { data: &self.pixels, stride };
                let layout = PixelLayout::PackedYuv { bytes: 3, yuv: [0, 1, 2] };
                planes.fill(layout, &expanded, even, Subsampling::Cs420);
            }
            PixelLayout::Grey => planes.fill_grey(first, even),
            _ => return Ok(None),
        }
        Ok(Some(even))
    }
}

impl Planes {
    /// Fills the planes from one of luma.
    fn fill_grey(&mut self, luma: PicturePlane<'_>, resolution: Resolution) {
        let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
        self.resize(width, height, Subsampling::Cs420);
        let y_stride = self.y_stride;
        let [y, u, v] = self.yuv_mut();
        for (out, row) in y.chunks_exact_mut(y_stride).zip(luma.data.chunks(luma.stride)) {
            out[..width].copy_from_slice(&row[..width]);
        }
        u.fill(NO_COLOUR);
        v.fill(NO_COLOUR);
    }
}

/// The size without an odd last column and row.
fn even_size(width: usize, height: usize) -> Result<Resolution, JpegError> {
    let even = |side: usize| u16::try_from(side & !1).ok().filter(|side| *side > 0);
    even(width)
        .zip(even(height))
        .map(|(width, height)| Resolution::new(width, height))
        .ok_or(JpegError::SizeWithoutVideo { width, height })
}

#[cfg(test)]
mod tests {
    use turbojpeg::{Compressor, Image};

    use super::super::raw::RawPicture;
    use super::*;

    /// A picture of four fields of colour, in RGB.
    fn fields(width: usize, height: usize) -> Vec<u8> {
        let colours = [[200, 40, 40], [40, 200, 40], [40, 40, 200], [180, 180, 180]];
        let pixel = |at: usize| {
            let (x, y) = (at % width, at / width);
            colours[usize::from(x >= width / 2) + 2 * usize::from(y >= height / 2)]
        };
        (0..width * height).flat_map(pixel).collect()
    }

    fn jpeg(width: usize, height: usize, subsamp: Subsamp) -> Vec<u8> {
        let mut compressor = Compressor::new().unwrap();
        compressor.set_quality(95).unwrap();
        compressor.set_subsamp(subsamp).unwrap();
        let pixels = &fields(width, height)[..];
        let format = turbojpeg::PixelFormat::RGB;
        compressor.compress_to_vec(Image { pixels, width, pitch: width * 3, height, format }).unwrap()
    }

    /// Y, U and V in the middle of each field.
    fn middles(planes: &Planes) -> [[u8; 3]; 4] {
        let [y, u, v] = planes.yuv();
        let (width, height, stride) = (planes.width, planes.height, planes.y_stride);
        [(1, 1), (3, 1), (1, 3), (3, 3)].map(|(across, down)| {
            let (x, row) = (width * across / 4, height * down / 4);
            let chroma = row / 2 * (stride / 2) + x / 2;
            [y[row * stride + x], u[chroma], v[chroma]]
        })
    }

    const EXPECTED: [[u8; 3]; 4] = [[88, 101, 208], [134, 75, 61], [58, 208, 115], [180, 128, 128]];

    #[track_caller]
    fn check(planes: &Planes, what: &str, has_colour: bool) {
        for (seen, expected) in middles(planes).iter().zip(EXPECTED) {
            let expected = if has_colour { expected } else { [expected[0], NO_COLOUR, NO_COLOUR] };
            let is_near = seen.iter().zip(expected).all(|(seen, expected)| seen.abs_diff(expected) <= 4);
            assert!(is_near, "{what}: {seen:?}, not {expected:?}");
        }
    }

    #[test]
    fn jpegs_of_every_subsampling_and_of_odd_sizes_are_decoded() {
        let (mut decoder, mut planes) = (JpegDecoder::new().unwrap(), Planes::default());
        for (width, height) in [(64, 48), (66, 50), (65, 47), (2, 2)] {
            for subsamp in [
                Subsamp::Sub2x2,
                Subsamp::Sub2x1,
                Subsamp::None,
                Subsamp::Sub1x2,
                Subsamp::Sub4x1,
                Subsamp::Gray,
            ] {
                let size = decoder.decode(&jpeg(width, height, subsamp), &mut planes).unwrap();
                assert_eq!((usize::from(size.width), usize::from(size.height)), (width & !1, height & !1));
                assert_eq!((planes.width, planes.height), (width & !1, height & !1));
                if width > 2 {
                    check(&planes, &format!("{width}x{height} {subsamp:?}"), subsamp != Subsamp::Gray);
                }
            }
        }
        let error = decoder.decode(&jpeg(1, 9, Subsamp::None), &mut planes).unwrap_err().to_string();
        assert!(error.contains("1x9"), "{error}");
        assert!(decoder.decode(b"\xff\xd8\xff", &mut planes).is_err());
    }

    #[test]
    fn raw_pictures_are_unpacked_without_an_odd_row() {
        let (mut unpacker, mut planes) = (PlanesUnpacker::default(), Planes::default());
        let resolution = Resolution::new(64, 47);
        let rgb = fields(64, 47);
        let yuv: Vec<[u8; 3]> = rgb
            .chunks_exact(3)
            .map(|rgb| {
                EXPECTED[[200, 40].iter().position(|&c| c == rgb[0]).map_or(3, |red| match (red, rgb[1]) {
                    (0, _) => 0,
                    (_, 200) => 1,
                    _ => 2,
                })]
            })
            .collect();
        let yuyv: Vec<u8> =
            yuv.chunks_exact(2).flat_map(|pair| [pair[0][0], pair[0][1], pair[1][0], pair[0][2]]).collect();
        let grey: Vec<u8> = yuv.iter().map(|pixel| pixel[0]).collect();
        let yuv24: Vec<u8> = yuv.concat();
        for (format, data) in
            [(PixelFormat::Yuyv, yuyv), (PixelFormat::Yuv24, yuv24), (PixelFormat::Grey, grey)]
        {
            assert!(PlanesUnpacker::takes(format));
            let raw = Picture::Raw(RawPicture { data: &data, format, resolution, stride: 0 });
            assert_eq!(unpacker.unpack(&raw, &mut planes).unwrap(), Some(Resolution::new(64, 46)));
            check(&planes, format.name(), format != PixelFormat::Grey);
            let short = Picture::Raw(RawPicture { data: &data[..99], format, resolution, stride: 0 });
            assert!(unpacker.unpack(&short, &mut planes).is_err());
        }
        let raw = RawPicture { data: &rgb, format: PixelFormat::Rgb24, resolution, stride: 0 };
        assert_eq!(unpacker.unpack(&Picture::Raw(raw), &mut planes).unwrap(), None);
        assert!(!PlanesUnpacker::takes(PixelFormat::Rgb24));
    }
}
