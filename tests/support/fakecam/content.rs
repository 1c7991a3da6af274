//! The pictures: how each format lies in memory, what it shows, and how a frame is spoilt.
//!
//! When a frame is due and into which buffer it goes is `stream.rs`'s business.
//!
//! Every frame tells its number. MJPEG: a comment of [`STAMP`] bytes ahead of all tables, `FF FE 00 2A` then
//! `"FKCM1 "`, 10 digits number, a blank, 20 digits CLOCK_MONOTONIC nanoseconds of completion (also the
//! buffer's timestamp), three newlines. Raw formats: a bar code of 30 squares from the top left corner, white
//! for 1: the bits 1 0, 24 of the number, 4 of the exclusive or of its six nibbles. A square is 16 pixels
//! wide, 8 in pictures narrower than 480; those below 240 have none. H.264: see `video.rs`.
use std::io::Write;
use std::sync::{Mutex, OnceLock};

use jpeg_encoder::{Encoder, ImageBuffer, JpegColorType, SamplingFactor};

use crate::locked;
use crate::video::Video;
use crate::videodev as vd;
use fakecam_table::{Counter, Setting, Table, now_ns};

const STAMP: usize = 44;
/// The texture repeats after so many pixels.
const SPAN: u32 = 256;
/// So many different JPEGs are shown in turn.
const CLIP: usize = 8;
const QUALITY: u8 = 75;

/// A pixel format. Without planes it is compressed.
#[derive(PartialEq)]
pub(crate) struct Pixel {
    pub(crate) fourcc: [u8; 4],
    pub(crate) name: &'static str,
    planes: &'static [Plane],
    /// Each plane has memory of its own. Only multi-planar cameras have such formats.
    pub(crate) apart: bool,
}

/// Samples that repeat every so many pixels, in every so many lines.
#[derive(PartialEq)]
struct Plane {
    samples: &'static [u8],
    pixels: u32,
    lines: u32,
}

const fn pixel(fourcc: &[u8; 4], name: &'static str, planes: &'static [Plane]) -> Pixel {
    Pixel { fourcc: *fourcc, name, planes, apart: false }
}

const fn apart(fourcc: &[u8; 4], name: &'static str, planes: &'static [Plane]) -> Pixel {
    Pixel { fourcc: *fourcc, name, planes, apart: true }
}

const fn plane(samples: &'static [u8], pixels: u32, lines: u32) -> Plane {
    Plane { samples, pixels, lines }
}

const YU_420: &[Plane] = &[plane(b"Y", 1, 1), plane(b"U", 2, 2), plane(b"V", 2, 2)];
const YV_420: &[Plane] = &[plane(b"Y", 1, 1), plane(b"V", 2, 2), plane(b"U", 2, 2)];
const UV_420: &[Plane] = &[plane(b"Y", 1, 1), plane(b"UV", 2, 2)];
const VU_420: &[Plane] = &[plane(b"Y", 1, 1), plane(b"VU", 2, 2)];
const UV_422: &[Plane] = &[plane(b"Y", 1, 1), plane(b"UV", 2, 1)];
const VU_422: &[Plane] = &[plane(b"Y", 1, 1), plane(b"VU", 2, 1)];
const YU_422: &[Plane] = &[plane(b"Y", 1, 1), plane(b"U", 2, 1), plane(b"V", 2, 1)];

/// The Bayer format and HEVC are only there to be listed.
static PIXELS: [Pixel; 39] = [
    pixel(b"MJPG", "Motion-JPEG", &[]),
    pixel(b"JPEG", "JFIF JPEG", &[]),
    pixel(b"H264", "H.264", &[]),
    pixel(b"HEVC", "HEVC", &[]),
    pixel(b"YUYV", "YUYV 4:2:2", &[plane(b"YUYV", 2, 1)]),
    pixel(b"UYVY", "UYVY 4:2:2", &[plane(b"UYVY", 2, 1)]),
    pixel(b"YVYU", "YVYU 4:2:2", &[plane(b"YVYU", 2, 1)]),
    pixel(b"VYUY", "VYUY 4:2:2", &[plane(b"VYUY", 2, 1)]),
    pixel(b"NV12", "Y/UV 4:2:0", UV_420),
    pixel(b"NV21", "Y/VU 4:2:0", VU_420),
    pixel(b"NV16", "Y/UV 4:2:2", UV_422),
    pixel(b"NV61", "Y/VU 4:2:2", VU_422),
    pixel(b"NV24", "Y/UV 4:4:4", &[plane(b"Y", 1, 1), plane(b"UV", 1, 1)]),
    pixel(b"NV42", "Y/VU 4:4:4", &[plane(b"Y", 1, 1), plane(b"VU", 1, 1)]),
    pixel(b"YU12", "Planar YUV 4:2:0", YU_420),
    pixel(b"YV12", "Planar YVU 4:2:0", YV_420),
    pixel(b"422P", "Planar YUV 4:2:2", YU_422),
    pixel(b"RGB3", "24-bit RGB 8-8-8", &[plane(b"RGB", 1, 1)]),
    pixel(b"BGR3", "24-bit BGR 8-8-8", &[plane(b"BGR", 1, 1)]),
    pixel(b"XR24", "32-bit BGRX 8-8-8-8", &[plane(b"BGRX", 1, 1)]),
    pixel(b"AR24", "32-bit BGRA 8-8-8-8", &[plane(b"BGRA", 1, 1)]),
    pixel(b"BX24", "32-bit XRGB 8-8-8-8", &[plane(b"XRGB", 1, 1)]),
    pixel(b"BA24", "32-bit ARGB 8-8-8-8", &[plane(b"ARGB", 1, 1)]),
    pixel(b"XB24", "32-bit RGBX 8-8-8-8", &[plane(b"RGBX", 1, 1)]),
    pixel(b"AB24", "32-bit RGBA 8-8-8-8", &[plane(b"RGBA", 1, 1)]),
    pixel(b"RX24", "32-bit XBGR 8-8-8-8", &[plane(b"XBGR", 1, 1)]),
    pixel(b"GREY", "8-bit Greyscale", &[plane(b"Y", 1, 1)]),
    pixel(b"BGR4", "32-bit BGRA/X 8-8-8-8", &[plane(b"BGR*", 1, 1)]),
    pixel(b"RGB4", "32-bit A/XRGB 8-8-8-8", &[plane(b"*RGB", 1, 1)]),
    pixel(b"YUV4", "32-bit A/XYUV 8-8-8-8", &[plane(b"*YUV", 1, 1)]),
    pixel(b"Y16 ", "16-bit Greyscale", &[plane(b"*Y", 1, 1)]),
    pixel(b"pBAA", "10-bit Bayer BGBG/GRGR Packed", &[plane(b"BGBG*", 4, 1)]),
    apart(b"NM12", "Y/UV 4:2:0 (N-C)", UV_420),
    apart(b"NM21", "Y/VU 4:2:0 (N-C)", VU_420),
    apart(b"NM16", "Y/UV 4:2:2 (N-C)", UV_422),
    apart(b"NM61", "Y/VU 4:2:2 (N-C)", VU_422),
    apart(b"YM12", "Planar YUV 4:2:0 (N-C)", YU_420),
    apart(b"YM21", "Planar YVU 4:2:0 (N-C)", YV_420),
    apart(b"YM16", "Planar YUV 4:2:2 (N-C)", YU_422),
];

/// What the JPEG encoder is given.
const UNCODED: [Plane; 3] = [plane(b"Y", 1, 1), plane(b"U", 1, 1), plane(b"V", 1, 1)];

impl Pixel {
    /// By its code, which may be without its blanks at the end.
    pub(crate) fn find(fourcc: &[u8]) -> Option<&'static Self> {
        PIXELS.iter().find(|pixel| pixel.fourcc.trim_ascii_end() == fourcc.trim_ascii_end())
    }

    pub(crate) fn is_compressed(&self) -> bool {
        self.planes.is_empty()
    }

    pub(crate) fn is_h264(&self) -> bool {
        self.fourcc == *b"H264"
    }

    pub(crate) fn is_jpeg(&self) -> bool {
        self.is_compressed() && !self.is_h264()
    }
}

/// A format at one size, as S_FMT answers it.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Format {
    pub(crate) pixel: &'static Pixel,
    pub(crate) width: u32,
    pub(crate) height: u32,
    /// Of the first plane; 0 for compressed formats.
    pub(crate) stride: u32,
    pub(crate) bytes: u32,
    /// `V4L2_FIELD_*`.
    pub(crate) field: u32,
}

impl Format {
    /// With `pad` unused bytes at the end of each line.
    pub(crate) fn new(pixel: &'static Pixel, [width, height]: [u32; 2], pad: u32, field: u32) -> Self {
        let bytes = (width * height * 2).max(4096);
        let mut format = Self { pixel, width, height, stride: 0, bytes, field };
        if let [first, ..] = pixel.planes {
            format.stride = width * first.samples.len() as u32 / first.pixels + pad;
            format.bytes =
                pixel.planes.iter().map(|plane| format.extent(plane).iter().product::<u32>()).sum();
        }
        format
    }

    /// Bytes in a line and bytes of each piece of memory.
    pub(crate) fn memory(&self) -> Vec<[u32; 2]> {
        match self.pixel.apart {
            true => {
                self.pixel.planes.iter().map(|plane| self.extent(plane)).map(|[s, l]| [s, s * l]).collect()
            }
            false => vec![[self.stride, self.bytes]],
        }
    }

    /// Puts the lines of each field together, as they lie one after the other.
    fn separate_fields(&self, picture: &mut [u8]) {
        let bottom_first = self.field == vd::FIELD_SEQ_BT;
        if !bottom_first && self.field != vd::FIELD_SEQ_TB {
            return;
        }
        let (whole, mut at) = (picture.to_vec(), 0);
        for plane in self.pixel.planes {
            let [stride, lines] = self.extent(plane);
            let first = u32::from(bottom_first);
            let order = (first..lines).step_by(2).chain((1 - first..lines).step_by(2));
            for (to, from) in order.enumerate() {
                let [from, to] = [from as usize, to].map(|line| at + line * stride as usize);
                picture[to..to + stride as usize].copy_from_slice(&whole[from..from + stride as usize]);
            }
            at += (stride * lines) as usize;
        }
    }

    /// Bytes in a line of this plane, and lines.
    fn extent(&self, plane: &Plane) -> [u32; 2] {
        let first = &self.pixel.planes[0];
        let (bytes, of_first) = (plane.samples.len() as u32, first.samples.len() as u32);
        [self.stride * bytes * first.pixels / (plane.pixels * of_first), self.height / plane.lines]
    }
}

/// A fault, how it is counted once delivered, and which formats it spoils.
type Fault = (Setting, Counter, fn(&Pixel) -> bool);

const FAULTS: [Fault; 5] = [
    (Setting::CorruptEvery, Counter::Corrupt, Pixel::is_jpeg),
    (Setting::TruncateEvery, Counter::Truncated, Pixel::is_compressed),
    (Setting::ShortEvery, Counter::Short, |pixel| !pixel.is_compressed()),
    (Setting::EmptyEvery, Counter::Empty, |_| true),
    (Setting::ErrorEvery, Counter::Error, |_| true),
];

/// A frame in a buffer.
#[derive(Clone, Default)]
pub(crate) struct Shot {
    pub(crate) number: u64,
    pub(crate) used: u32,
    pub(crate) stamp_ns: u64,
    pub(crate) faults: Vec<Counter>,
    /// Of an encoder's.
    pub(crate) is_key: bool,
}

/// What the camera sees in one format. JPEGs are rendered when first needed, once.
pub(crate) struct Scene {
    pub(crate) format: Format,
    /// For each plane a line of texture, `SPAN` pixels longer than the picture is wide.
    lines: Vec<Vec<u8>>,
    clip: [OnceLock<Jpeg>; CLIP],
    video: Mutex<Video>,
}

impl Scene {
    pub(crate) fn new(format: Format) -> Self {
        let planes = if format.pixel.is_compressed() { &UNCODED } else { format.pixel.planes };
        let line = |plane: &Plane| {
            let groups = (0..format.width + SPAN).step_by(plane.pixels as usize);
            groups.flat_map(|x| plane.samples.iter().map(move |&sample| texture(sample, x))).collect()
        };
        let lines = planes.iter().map(line).collect();
        Self { format, lines, clip: Default::default(), video: Mutex::default() }
    }

    /// A stream of it begins.
    pub(crate) fn restart(&self) {
        *locked(&self.video) = Video::default();
    }

    /// Takes the picture with this number.
    pub(crate) fn shoot(&self, number: u64, table: &Table, out: &mut [u8]) -> Shot {
        let faults = FAULTS.iter().filter(|(_, _, spoils)| spoils(self.format.pixel));
        let faults = faults.filter(|(setting, ..)| table.spoils(*setting, number)).map(|fault| fault.1);
        let faults: Vec<Counter> = faults.collect();
        let mut used = self.format.bytes as usize;
        let stamp_ns;
        if self.format.pixel.is_h264() {
            (used, stamp_ns) = locked(&self.video).shoot(&self.format, number, table, out);
        } else if self.format.pixel.is_jpeg() {
            let step = number as usize % CLIP;
            let frame =
                self.clip[step].get_or_init(|| Jpeg::render(&View { scene: self, step: step as u32 }));
            let stamp_at;
            (used, stamp_at) = frame.assemble(table, faults.contains(&Counter::Corrupt), out);
            stamp_ns = now_ns();
            let text = format!("\0\x2aFKCM1 {number:010} {stamp_ns:020}\n\n\n");
            out[stamp_at..stamp_at + STAMP - 2].copy_from_slice(text.as_bytes());
        } else {
            self.paint(number, out);
            self.format.separate_fields(out);
            stamp_ns = now_ns();
        }
        for fault in &faults {
            match fault {
                Counter::Truncated => used = used * 6 / 10,
                Counter::Short => used /= 2,
                Counter::Empty => used = 0,
                _ => {}
            }
        }
        Shot { number, used: used as u32, stamp_ns, faults, is_key: false }
    }

    fn paint(&self, number: u64, mut out: &mut [u8]) {
        let Format { pixel, width, height, .. } = self.format;
        let square = if width < 480 { 8 } else { 16 };
        let coded = if width >= 30 * square && height >= square { square } else { 0 };
        for (plane, texture) in pixel.planes.iter().zip(&self.lines) {
            let [stride, lines] = self.format.extent(plane);
            let (picture, rest) = out.split_at_mut((stride * lines) as usize);
            out = rest;
            let group = plane.samples.len();
            let shown = (width / plane.pixels) as usize * group;
            for (y, line) in picture.chunks_exact_mut(stride as usize).enumerate() {
                let shift = (y as u64 + 4 * number) % u64::from(SPAN) / u64::from(plane.pixels);
                line[..shown].copy_from_slice(&texture[shift as usize * group..][..shown]);
            }
            for line in picture.chunks_exact_mut(stride as usize).take((coded / plane.lines) as usize) {
                let groups = line.chunks_exact_mut(group).take((30 * coded / plane.pixels) as usize);
                for (at, samples) in groups.enumerate() {
                    let white = h264_writer::bar(number, at as u32 * plane.pixels / square);
                    for (sample, kind) in samples.iter_mut().zip(plane.samples) {
                        *sample = match kind {
                            b'U' | b'V' => 128,
                            _ if white => 235,
                            _ => 16,
                        };
                    }
                }
            }
        }
    }
}

/// Slanted stripes with some noise, which makes JPEGs of a webcam's size.
pub(crate) fn texture(sample: u8, x: u32) -> u8 {
    let x = x % SPAN;
    let noise = x.wrapping_mul(0x9e37_79b1) >> 29;
    (match sample {
        b'U' | b'B' => 90 + x / 4,
        b'V' | b'R' => 160 - x / 4,
        _ => 30 + x.abs_diff(SPAN / 2) + noise,
    }) as u8
}

/// A picture in the pieces that faults are made of.
#[derive(Default)]
struct Jpeg {
    jfif: Vec<u8>,
    tables: Vec<u8>,
    huffman: Vec<u8>,
    scan: Vec<u8>,
}

impl Jpeg {
    fn render(view: &View) -> Self {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, QUALITY);
        encoder.set_sampling_factor(SamplingFactor::F_2_1);
        if let Err(error) = encoder.encode_image(view) {
            eprintln!("fakecam: {error}");
        }
        let mut jpeg = Self::default();
        let mut rest = bytes.get(2..).unwrap_or_default();
        while let [0xff, kind, high, low, ..] = *rest {
            let part = match kind {
                0xda => break,
                0xe0 => &mut jpeg.jfif,
                0xc4 => &mut jpeg.huffman,
                _ => &mut jpeg.tables,
            };
            let (segment, more) = rest.split_at(2 + usize::from(u16::from_be_bytes([high, low])));
            part.extend_from_slice(segment);
            rest = more;
        }
        jpeg.scan = rest.to_vec();
        jpeg
    }

    /// Returns the length and where the rest of the stamp goes; whatever does not fit is cut off.
    fn assemble(&self, table: &Table, corrupt: bool, out: &mut [u8]) -> (usize, usize) {
        let jfif = if table.setting(Setting::StripJfif) == 0 { &self.jfif[..] } else { &[] };
        let huffman = if table.setting(Setting::StripDht) == 0 { &self.huffman[..] } else { &[] };
        let (scan, more_scan) = self.scan.split_at(self.scan.len() / 2);
        let natural = 2 + jfif.len() + STAMP + self.tables.len() + huffman.len() + self.scan.len();
        let room = out.len();
        let mut pad = (table.setting(Setting::FrameBytes) as usize).min(room).saturating_sub(natural);
        let mut rest = out;
        let mut put = |bytes: &[u8]| _ = rest.write_all(bytes);
        put(&[0xff, 0xd8]);
        put(jfif);
        put(&[0xff, 0xfe]);
        put(&[0; STAMP - 2]);
        while pad > 4 {
            let length = pad.min(0xffff);
            put(&[0xff, 0xfe]);
            put(&(length as u16 - 2).to_be_bytes());
            put(&vec![b' '; length - 4]);
            pad -= length;
        }
        put(&self.tables);
        put(huffman);
        put(scan);
        put(if corrupt { &[0xff, 0xd8, 0xff, 0xd8] } else { &[] });
        let without_end = more_scan.len() - if table.setting(Setting::StripEoi) == 0 { 0 } else { 2 };
        put(&more_scan[..without_end]);
        put(&vec![0; room.min(table.setting(Setting::TailPad) as usize)]);
        (room - rest.len(), 4 + jfif.len())
    }
}

/// The scene at one moment, for the encoder.
struct View<'a> {
    scene: &'a Scene,
    step: u32,
}

impl ImageBuffer for &View<'_> {
    fn get_jpeg_color_type(&self) -> JpegColorType {
        JpegColorType::Ycbcr
    }

    fn width(&self) -> u16 {
        self.scene.format.width as u16
    }

    fn height(&self) -> u16 {
        self.scene.format.height as u16
    }

    fn fill_buffers(&self, y: u16, buffers: &mut [Vec<u8>; 4]) {
        let shift = (u32::from(y) + 16 * self.step) % SPAN;
        for (buffer, line) in buffers.iter_mut().zip(&self.scene.lines) {
            buffer.extend_from_slice(&line[shift as usize..][..self.scene.format.width as usize]);
        }
    }
}
