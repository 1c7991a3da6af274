//! Pixel formats: what each is called, and how its pixels lie in memory. Data only; [`crate::jpeg`] reads pixels.
//!
//! Names and layouts: kernel documentation, "Image Formats" in the V4L2 API. Several codes may stand for one layout: those that
//! differ in an unused byte only, and those with a buffer for each plane (`NM12` beside `NV12`).
#![forbid(unsafe_code)]

use std::fmt;

/// How the pixels of a format lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PixelLayout {
    /// One JPEG, often without Huffman tables.
    Jpeg,
    /// The access unit of one picture in H.264, in Annex B. It refers to pictures before it.
    AccessUnit,
    /// YUV 4:2:2 in groups of four bytes for two pixels.
    Packed422 {
        /// Y comes before its chroma byte.
        luma_first: bool,
        /// V comes before U.
        v_first: bool,
    },
    /// YUV 4:4:4: the bytes of a pixel, and the positions of Y, U and V among them.
    PackedYuv {
        /// Bytes per pixel.
        bytes: usize,
        /// Positions of Y, U and V.
        yuv: [usize; 3],
    },
    /// A plane of Y, then one or two of chroma.
    Planar {
        /// Pixels per chroma sample in a row.
        across: usize,
        /// Rows per row of chroma samples.
        down: usize,
        /// How the chroma samples lie.
        chroma: ChromaPlanes,
    },
    /// RGB with a byte for each component.
    Rgb(RgbOrder),
    /// RGB in one word for each pixel: red, green and blue.
    PackedRgb(PixelWord),
    /// YUV 4:4:4 in one word for each pixel: Y, U and V.
    PackedYuvWord(PixelWord),
    /// Hue in 256 steps, saturation and value, a byte each: `V4L2_HSV_ENC_256`, as the kernel's drivers give it.
    Hsv {
        /// Bytes per pixel.
        bytes: usize,
        /// Position of the hue, before the other two.
        hue: usize,
    },
    /// A sensor's data as it comes: each pixel has one component, in a pattern of two by two of which two are green. In one byte for 8
    /// bits, otherwise in two, the one with the lowest bits first.
    Bayer {
        /// Number of bits, 8 to 16.
        bits: u32,
        /// Column and row of the red pixel in the pattern. The blue one is in the other column and row.
        red: (usize, usize),
    },
    /// Luma alone, one byte.
    Grey,
    /// Luma alone, in two bytes of which the lowest `bits` are used.
    Grey16 {
        /// Number of bits, 8 to 16.
        bits: u32,
        /// The byte with the highest bits comes first.
        big_endian: bool,
    },
}

/// A pixel in one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PixelWord {
    /// Bytes of the word, 1, 2 or 4.
    pub bytes: usize,
    /// The byte with the highest bits comes first.
    pub big_endian: bool,
    /// Lowest bit and number of bits, at most 8, of each component.
    pub components: [(u32, u32); 3],
}

/// How the chroma of a planar format lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChromaPlanes {
    /// A plane of U, then one of V.
    Uv,
    /// A plane of V, then one of U.
    Vu,
    /// One plane of pairs U V.
    UvPairs,
    /// One plane of pairs V U.
    VuPairs,
}

impl ChromaPlanes {
    /// Whether both components are in one plane.
    pub const fn is_paired(self) -> bool {
        matches!(self, Self::UvPairs | Self::VuPairs)
    }
}

/// The bytes of a pixel in the order of their addresses. X is not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RgbOrder {
    Rgb,
    Bgr,
    Rgbx,
    Bgrx,
    Xrgb,
    Xbgr,
}

impl RgbOrder {
    /// Bytes per pixel.
    pub const fn bytes(self) -> usize {
        match self {
            Self::Rgb | Self::Bgr => 3,
            _ => 4,
        }
    }
}

/// Makes the enum of formats and the table of their names, codes and layouts.
macro_rules! pixel_formats {
    ($($(#[$about:meta])* $format:ident $name:literal [$($fourcc:literal),+] $layout:expr;)*) => {
        /// How a picture is laid out in a camera's buffer.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum PixelFormat {
            $($(#[$about])* $format,)*
        }

        impl PixelFormat {
            /// Every supported format in the order of preference: colour before grey, then by the cost of a JPEG, then by the
            /// bits per pixel that USB has to carry. Then comes video, and sensor data, see [`PixelFormat::is_sensor_data`].
            pub const ALL: [Self; [$($name),*].len()] = [$(Self::$format),*];

            /// The name used in the configuration and in `/state`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$format => $name,)* }
            }

            /// The V4L2 four-character codes with this layout, the most common one first.
            pub const fn fourccs(self) -> &'static [[u8; 4]] {
                match self { $(Self::$format => const { &[$(*$fourcc),+] },)* }
            }

            /// How the pixels lie in memory.
            pub const fn layout(self) -> PixelLayout {
                match self { $(Self::$format => $layout,)* }
            }
        }
    };
}

const fn packed_422(luma_first: bool, v_first: bool) -> PixelLayout {
    PixelLayout::Packed422 { luma_first, v_first }
}

const fn planar(across: usize, down: usize, chroma: ChromaPlanes) -> PixelLayout {
    PixelLayout::Planar { across, down, chroma }
}

const fn packed_yuv(bytes: usize, yuv: [usize; 3]) -> PixelLayout {
    PixelLayout::PackedYuv { bytes, yuv }
}

const fn packed_rgb(bytes: usize, big_endian: bool, components: [(u32, u32); 3]) -> PixelLayout {
    PixelLayout::PackedRgb(PixelWord { bytes, big_endian, components })
}

const fn yuv_word(components: [(u32, u32); 3]) -> PixelLayout {
    PixelLayout::PackedYuvWord(PixelWord { bytes: 2, big_endian: false, components })
}

const fn bayer(bits: u32, red: (usize, usize)) -> PixelLayout {
    PixelLayout::Bayer { bits, red }
}

const fn grey_16(bits: u32, big_endian: bool) -> PixelLayout {
    PixelLayout::Grey16 { bits, big_endian }
}

use ChromaPlanes::{Uv, UvPairs, Vu, VuPairs};

// The highest bit of a code's last byte marks a big-endian format.
pixel_formats! {
    /// One JPEG per buffer.
    Mjpeg "mjpeg" [b"MJPG", b"JPEG"] PixelLayout::Jpeg;
    /// Packed 4:2:2, byte order Y U Y V.
    Yuyv "yuyv" [b"YUYV"] packed_422(true, false);
    /// Packed 4:2:2, byte order U Y V Y.
    Uyvy "uyvy" [b"UYVY"] packed_422(false, false);
    /// Packed 4:2:2, byte order Y V Y U.
    Yvyu "yvyu" [b"YVYU"] packed_422(true, true);
    /// Packed 4:2:2, byte order V Y U Y.
    Vyuy "vyuy" [b"VYUY"] packed_422(false, true);
    /// 4:2:0: a Y plane, a U plane, a V plane.
    Yu12 "yu12" [b"YU12", b"YM12"] planar(2, 2, Uv);
    /// 4:2:0: a Y plane, a V plane, a U plane.
    Yv12 "yv12" [b"YV12", b"YM21"] planar(2, 2, Vu);
    /// 4:2:0: a Y plane, then one plane of U V pairs.
    Nv12 "nv12" [b"NV12", b"NM12"] planar(2, 2, UvPairs);
    /// 4:2:0: a Y plane, then one plane of V U pairs.
    Nv21 "nv21" [b"NV21", b"NM21"] planar(2, 2, VuPairs);
    /// 4:2:2: a Y plane, then one plane of U V pairs.
    Nv16 "nv16" [b"NV16", b"NM16"] planar(2, 1, UvPairs);
    /// 4:2:2: a Y plane, then one plane of V U pairs.
    Nv61 "nv61" [b"NV61", b"NM61"] planar(2, 1, VuPairs);
    /// 4:2:2: a Y plane, a U plane, a V plane.
    Yu16 "yu16" [b"422P", b"YM16"] planar(2, 1, Uv);
    /// 4:2:2: a Y plane, a V plane, a U plane.
    Yv16 "yv16" [b"YM61"] planar(2, 1, Vu);
    /// 4:1:1: a Y plane, a U plane, a V plane.
    Yuv411 "yuv411" [b"411P"] planar(4, 1, Uv);
    /// 4:1:0: a Y plane, a U plane, a V plane.
    Yuv410 "yuv410" [b"YUV9"] planar(4, 4, Uv);
    /// 4:1:0: a Y plane, a V plane, a U plane.
    Yvu410 "yvu410" [b"YVU9"] planar(4, 4, Vu);
    /// 4:4:4: a Y plane, then one plane of U V pairs.
    Nv24 "nv24" [b"NV24"] planar(1, 1, UvPairs);
    /// 4:4:4: a Y plane, then one plane of V U pairs.
    Nv42 "nv42" [b"NV42"] planar(1, 1, VuPairs);
    /// 4:4:4: a Y plane, a U plane, a V plane.
    Yu24 "yu24" [b"YM24"] planar(1, 1, Uv);
    /// 4:4:4: a Y plane, a V plane, a U plane.
    Yv24 "yv24" [b"YM42"] planar(1, 1, Vu);
    /// Three bytes per pixel: Y U V.
    Yuv24 "yuv24" [b"YUV3"] packed_yuv(3, [0, 1, 2]);
    /// Four bytes per pixel: Y U V, and one that is not used.
    Yuvx "yuvx" [b"YUVX", b"YUVA"] packed_yuv(4, [0, 1, 2]);
    /// Four bytes per pixel: one that is not used, then Y U V.
    Xyuv "xyuv" [b"XYUV", b"AYUV", b"YUV4"] packed_yuv(4, [1, 2, 3]);
    /// Four bytes per pixel: V U Y, and one that is not used.
    Vuyx "vuyx" [b"VUYX", b"VUYA"] packed_yuv(4, [2, 1, 0]);
    /// Two bytes per pixel: 5 bits of Y, 6 of U, 5 of V.
    Yuv565 "yuv565" [b"YUVP"] yuv_word([(11, 5), (5, 6), (0, 5)]);
    /// Two bytes per pixel: 5 bits of each of Y, U and V.
    Yuv555 "yuv555" [b"YUVO"] yuv_word([(10, 5), (5, 5), (0, 5)]);
    /// Two bytes per pixel: 4 bits of each of Y, U and V.
    Yuv444 "yuv444" [b"Y444"] yuv_word([(8, 4), (4, 4), (0, 4)]);
    /// Three bytes per pixel: R G B.
    Rgb24 "rgb24" [b"RGB3"] PixelLayout::Rgb(RgbOrder::Rgb);
    /// Three bytes per pixel: B G R.
    Bgr24 "bgr24" [b"BGR3"] PixelLayout::Rgb(RgbOrder::Bgr);
    /// Four bytes per pixel: B G R, and one that is not used.
    Bgrx "bgrx" [b"XR24", b"AR24", b"BGR4"] PixelLayout::Rgb(RgbOrder::Bgrx);
    /// Four bytes per pixel: R G B, and one that is not used.
    Rgbx "rgbx" [b"XB24", b"AB24"] PixelLayout::Rgb(RgbOrder::Rgbx);
    /// Four bytes per pixel: one that is not used, then R G B.
    Xrgb "xrgb" [b"BX24", b"BA24", b"RGB4"] PixelLayout::Rgb(RgbOrder::Xrgb);
    /// Four bytes per pixel: one that is not used, then B G R.
    Xbgr "xbgr" [b"RX24", b"RA24"] PixelLayout::Rgb(RgbOrder::Xbgr);
    /// Four bytes per pixel, from the highest bit on: 6 bits of blue, 6 of green, 6 of red.
    Bgr666 "bgr666" [b"BGRH"] packed_rgb(4, true, [(14, 6), (20, 6), (26, 6)]);
    /// Three bytes per pixel: hue, saturation, value.
    Hsv24 "hsv24" [b"HSV3"] PixelLayout::Hsv { bytes: 3, hue: 0 };
    /// Four bytes per pixel: one that is not used, then hue, saturation, value.
    Hsv32 "hsv32" [b"HSV4"] PixelLayout::Hsv { bytes: 4, hue: 1 };
    /// Two bytes per pixel: 5 bits of red, 6 of green, 5 of blue.
    Rgb565 "rgb565" [b"RGBP"] packed_rgb(2, false, [(11, 5), (5, 6), (0, 5)]);
    /// The same with the other byte first.
    Rgb565x "rgb565x" [b"RGBR"] packed_rgb(2, true, [(11, 5), (5, 6), (0, 5)]);
    /// Two bytes per pixel: 5 bits of each component.
    Rgb555 "rgb555" [b"RGBO", b"XR15", b"AR15"] packed_rgb(2, false, [(10, 5), (5, 5), (0, 5)]);
    /// The same with the other byte first.
    Rgb555x "rgb555x" [b"RGBQ", b"XR1\xb5", b"AR1\xb5"] packed_rgb(2, true, [(10, 5), (5, 5), (0, 5)]);
    /// Two bytes per pixel: 5 bits of red, green and blue above a bit that is not used.
    Rgbx555 "rgbx555" [b"RX15", b"RA15"] packed_rgb(2, false, [(11, 5), (6, 5), (1, 5)]);
    /// Two bytes per pixel: a bit that is not used above 5 bits of blue, green and red.
    Xbgr555 "xbgr555" [b"XB15", b"AB15"] packed_rgb(2, false, [(0, 5), (5, 5), (10, 5)]);
    /// Two bytes per pixel: 5 bits of blue, green and red above a bit that is not used.
    Bgrx555 "bgrx555" [b"BX15", b"BA15"] packed_rgb(2, false, [(1, 5), (6, 5), (11, 5)]);
    /// Two bytes per pixel: 4 bits of each component.
    Rgb444 "rgb444" [b"R444", b"XR12", b"AR12"] packed_rgb(2, false, [(8, 4), (4, 4), (0, 4)]);
    /// Two bytes per pixel: 4 bits of red, green and blue above 4 that are not used.
    Rgbx444 "rgbx444" [b"RX12", b"RA12"] packed_rgb(2, false, [(12, 4), (8, 4), (4, 4)]);
    /// Two bytes per pixel: 4 bits that are not used above 4 of blue, green and red.
    Xbgr444 "xbgr444" [b"XB12", b"AB12"] packed_rgb(2, false, [(0, 4), (4, 4), (8, 4)]);
    /// Two bytes per pixel: 4 bits of blue, green and red above 4 that are not used.
    Bgrx444 "bgrx444" [b"BX12", b"GA12"] packed_rgb(2, false, [(4, 4), (8, 4), (12, 4)]);
    /// One byte per pixel: 3 bits of red, 3 of green, 2 of blue.
    Rgb332 "rgb332" [b"RGB1"] packed_rgb(1, false, [(5, 3), (2, 3), (0, 2)]);
    /// One byte per pixel: luma only.
    Grey "grey" [b"GREY"] PixelLayout::Grey;
    /// Luma only, 10 bits in two bytes.
    Y10 "y10" [b"Y10 "] grey_16(10, false);
    /// Luma only, 12 bits in two bytes.
    Y12 "y12" [b"Y12 "] grey_16(12, false);
    /// Luma only, 14 bits in two bytes.
    Y14 "y14" [b"Y14 "] grey_16(14, false);
    /// Luma only, 16 bits in two bytes.
    Y16 "y16" [b"Y16 "] grey_16(16, false);
    /// The same with the other byte first.
    Y16be "y16be" [b"Y16\xa0"] grey_16(16, true);
    /// The access unit of one picture in H.264.
    H264 "h264" [b"H264"] PixelLayout::AccessUnit;
    /// Sensor data of 8 bits: blue, green, green, red.
    Bggr8 "bggr8" [b"BA81"] bayer(8, (1, 1));
    /// Sensor data of 8 bits: green, blue, red, green.
    Gbrg8 "gbrg8" [b"GBRG"] bayer(8, (0, 1));
    /// Sensor data of 8 bits: green, red, blue, green.
    Grbg8 "grbg8" [b"GRBG"] bayer(8, (1, 0));
    /// Sensor data of 8 bits: red, green, green, blue.
    Rggb8 "rggb8" [b"RGGB"] bayer(8, (0, 0));
    /// Sensor data of 10 bits: blue, green, green, red.
    Bggr10 "bggr10" [b"BG10"] bayer(10, (1, 1));
    /// Sensor data of 10 bits: green, blue, red, green.
    Gbrg10 "gbrg10" [b"GB10"] bayer(10, (0, 1));
    /// Sensor data of 10 bits: green, red, blue, green.
    Grbg10 "grbg10" [b"BA10"] bayer(10, (1, 0));
    /// Sensor data of 10 bits: red, green, green, blue.
    Rggb10 "rggb10" [b"RG10"] bayer(10, (0, 0));
    /// Sensor data of 12 bits: blue, green, green, red.
    Bggr12 "bggr12" [b"BG12"] bayer(12, (1, 1));
    /// Sensor data of 12 bits: green, blue, red, green.
    Gbrg12 "gbrg12" [b"GB12"] bayer(12, (0, 1));
    /// Sensor data of 12 bits: green, red, blue, green.
    Grbg12 "grbg12" [b"BA12"] bayer(12, (1, 0));
    /// Sensor data of 12 bits: red, green, green, blue.
    Rggb12 "rggb12" [b"RG12"] bayer(12, (0, 0));
    /// Sensor data of 16 bits: blue, green, green, red.
    Bggr16 "bggr16" [b"BYR2"] bayer(16, (1, 1));
    /// Sensor data of 16 bits: green, blue, red, green.
    Gbrg16 "gbrg16" [b"GB16"] bayer(16, (0, 1));
    /// Sensor data of 16 bits: green, red, blue, green.
    Grbg16 "grbg16" [b"GR16"] bayer(16, (1, 0));
    /// Sensor data of 16 bits: red, green, green, blue.
    Rggb16 "rggb16" [b"RG16"] bayer(16, (0, 0));
}

impl PixelFormat {
    /// The most common V4L2 four-character code.
    pub const fn fourcc(self) -> [u8; 4] {
        self.fourccs()[0]
    }

    /// The format with this four-character code.
    pub fn from_fourcc(code: [u8; 4]) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.fourccs().contains(&code))
    }

    /// The format with this name or four-character code, whatever its case.
    pub fn from_name(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_code = |code: &[u8; 4]| code.trim_ascii_end().eq_ignore_ascii_case(text.as_bytes());
        let named = Self::ALL.into_iter().find(|format| format.name().eq_ignore_ascii_case(text));
        named.or_else(|| Self::ALL.into_iter().find(|format| format.fourccs().iter().any(is_code)))
    }

    /// Whether pictures refer to pictures before them.
    pub const fn is_video(self) -> bool {
        matches!(self.layout(), PixelLayout::AccessUnit)
    }

    /// Whether the pixels are those of a sensor. Without the processing that its camera stack does, for example by libcamera, the
    /// picture is dark and has a cast: such a format is used only if it is configured.
    pub const fn is_sensor_data(self) -> bool {
        matches!(self.layout(), PixelLayout::Bayer { .. })
    }

    /// Bytes per row of the first plane without padding; 0 for compressed formats.
    pub const fn row_bytes(self, width: u16) -> usize {
        let width = width as usize;
        match self.layout() {
            PixelLayout::Jpeg | PixelLayout::AccessUnit => 0,
            PixelLayout::Packed422 { .. } => width.div_ceil(2) * 4,
            PixelLayout::Planar { .. } | PixelLayout::Grey => width,
            PixelLayout::PackedYuv { bytes, .. } | PixelLayout::Hsv { bytes, .. } => width * bytes,
            PixelLayout::PackedRgb(word) | PixelLayout::PackedYuvWord(word) => width * word.bytes,
            PixelLayout::Rgb(order) => width * order.bytes(),
            PixelLayout::Bayer { bits: 8, .. } => width,
            PixelLayout::Bayer { .. } | PixelLayout::Grey16 { .. } => width * 2,
        }
    }
}

impl fmt::Display for PixelFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_format_is_found_by_its_codes_and_its_name_in_any_case() {
        let mut seen = BTreeSet::new();
        for format in PixelFormat::ALL {
            for code in format.fourccs() {
                assert_eq!(PixelFormat::from_fourcc(*code), Some(format));
                assert!(seen.insert(*code), "{code:?} stands for two formats");
                if let Ok(text) = str::from_utf8(code) {
                    for text in [text.to_owned(), text.trim().to_lowercase()] {
                        assert_eq!(PixelFormat::from_name(&text), Some(format), "{text}");
                    }
                }
            }
            assert_eq!(PixelFormat::from_name(format.name()), Some(format));
            assert_eq!(PixelFormat::from_name(&format.name().to_uppercase()), Some(format));
        }
        assert_eq!(PixelFormat::from_fourcc(*b"JPEG"), Some(PixelFormat::Mjpeg));
        assert_eq!(PixelFormat::from_fourcc(*b"pBAA"), None, "packed sensor data");
        assert_eq!((PixelFormat::from_name(""), PixelFormat::from_name("hevc")), (None, None));
    }

    #[test]
    fn colour_comes_before_grey_then_video_then_sensor_data() {
        let rank = |format: &PixelFormat| match format.layout() {
            PixelLayout::Grey | PixelLayout::Grey16 { .. } => 1,
            _ if format.is_video() => 2,
            _ if format.is_sensor_data() => 3,
            _ => 0,
        };
        assert!(PixelFormat::ALL.is_sorted_by_key(rank));
    }
}
