//! Looking at pictures: strict decoding, and reading the number burnt into the test pattern and the fake camera's.

use zune_jpeg::JpegDecoder;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// A decoded picture's luma.
pub struct Luma {
    pub width: usize,
    pub height: usize,
    pixels: Vec<u8>,
}

/// Decodes a whole, sound JPEG.
///
/// # Panics
/// If it is none: nothing else may ever reach a viewer.
#[track_caller]
pub fn decode(jpeg: &[u8]) -> Luma {
    try_decode(jpeg).unwrap_or_else(|error| panic!("a viewer got a broken picture: {error}"))
}

pub fn try_decode(jpeg: &[u8]) -> Result<Luma, String> {
    if !jpeg.starts_with(b"\xff\xd8\xff\xe0\x00\x10JFIF\0") || !jpeg.ends_with(b"\xff\xd9") {
        return Err("it does not begin with SOI and JFIF and end with EOI".into());
    }
    let options = DecoderOptions::default().set_strict_mode(true).jpeg_set_out_colorspace(ColorSpace::Luma);
    let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
    let pixels = decoder.decode().map_err(|error| format!("{error:?}"))?;
    let (width, height) = decoder.dimensions().ok_or("no size")?;
    Ok(Luma { width, height, pixels })
}

/// A decoded picture in colour.
pub struct Rgb {
    width: usize,
    pixels: Vec<u8>,
}

impl Rgb {
    /// Decodes a JPEG.
    ///
    /// # Panics
    /// If it is none.
    #[track_caller]
    pub fn of(jpeg: &[u8]) -> Self {
        let options = DecoderOptions::default().jpeg_set_out_colorspace(ColorSpace::RGB);
        let mut decoder = JpegDecoder::new_with_options(ZCursor::new(jpeg), options);
        let pixels = decoder.decode().expect("a JPEG");
        Self { width: decoder.dimensions().expect("a size").0, pixels }
    }

    /// Red, green and blue of a pixel.
    pub fn at(&self, x: usize, y: usize) -> [u8; 3] {
        let at = 3 * (y * self.width + x);
        [self.pixels[at], self.pixels[at + 1], self.pixels[at + 2]]
    }
}

/// What the fake cameras write into a comment of each JPEG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    pub number: u64,
    /// CLOCK_MONOTONIC of the camera's machine.
    pub monotonic_ns: u64,
}

impl Stamp {
    /// # Panics
    /// If there is none.
    #[track_caller]
    pub fn of(jpeg: &[u8]) -> Self {
        let at = jpeg.windows(6).position(|w| w == b"FKCM1 ").expect("the camera's comment");
        let number = |at: usize, digits: usize| {
            std::str::from_utf8(&jpeg[at..at + digits]).unwrap().parse().expect("digits")
        };
        Self { number: number(at + 6, 10), monotonic_ns: number(at + 17, 20) }
    }
}

impl Luma {
    /// Whether the pixel is rather white than black.
    pub fn is_white(&self, x: usize, y: usize) -> bool {
        self.pixels[y * self.width + x] > 128
    }

    /// The brightness of a pixel, 0 to 255.
    pub fn luma(&self, x: usize, y: usize) -> u8 {
        self.pixels[y * self.width + x]
    }

    /// The number that the test pattern shows along its bottom edge.
    #[track_caller]
    pub fn pattern_number(&self) -> u32 {
        let side = self.width / 34;
        let mut squares = (0..34).map(|i| self.is_white(i * side + side / 2, self.height - side / 2 - 1));
        assert_eq!((squares.next(), squares.next()), (Some(true), Some(false)), "no number in the picture");
        squares.fold(0, |number, bit| number << 1 | u32::from(bit))
    }
}
