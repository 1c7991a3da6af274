//! Checks the structure of a JPEG, and adds the headers that cameras omit.
//!
//! Markers, lengths, tables and the end are checked. Nothing is decoded: a flipped bit in the picture data is not noticed; a
//! JPEG that is truncated, runs into the next one or is overwritten is. Marker names and rules: ITU-T T.81, annex B.
#![forbid(unsafe_code)]

use std::ops::Range;

use memchr::memchr;

use super::error::{Corrupt, SlotTooSmall};
use super::exif::Rotation;
use super::huffman::STANDARD_DHT;
use crate::frame::Resolution;

const SOI: [u8; 2] = [0xff, 0xd8];
const EOI: [u8; 2] = [0xff, 0xd9];
/// A JFIF 1.01 header without thumbnail: marker, length, "JFIF\0", version, aspect ratio 1:1, no thumbnail.
const JFIF: [u8; 18] = *b"\xff\xe0\x00\x10JFIF\x00\x01\x01\x00\x00\x01\x00\x01\x00\x00";

/// Marker codes: the byte after 0xff.
mod marker {
    pub(super) const SOF0: u8 = 0xc0;
    pub(super) const SOF2: u8 = 0xc2;
    pub(super) const DHT: u8 = 0xc4;
    pub(super) const RST0: u8 = 0xd0;
    pub(super) const RST7: u8 = 0xd7;
    pub(super) const EOI: u8 = 0xd9;
    pub(super) const SOS: u8 = 0xda;
    pub(super) const DQT: u8 = 0xdb;
    pub(super) const DNL: u8 = 0xdc;
    pub(super) const DRI: u8 = 0xdd;
    pub(super) const APP0: u8 = 0xe0;
    pub(super) const APP15: u8 = 0xef;
    pub(super) const COM: u8 = 0xfe;
}

/// A JPEG with a valid structure.
#[derive(Clone, Copy, Debug)]
pub struct InspectedJpeg<'a> {
    /// The JFIF segment: that of the camera, or the standard one.
    jfif: &'a [u8],
    /// An Exif segment to insert after it; may be empty.
    exif: &'static [u8],
    /// The data after SOI and the camera's JFIF segment, up to EOI.
    rest: &'a [u8],
    /// An EOI marker to add; empty where the data has one.
    end: &'static [u8],
    resolution: Resolution,
    has_tables: bool,
}

/// How much of a JPEG is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// All markers up to the end of the picture.
    Whole,
    /// Only the headers: for cameras whose picture data is invalid but can be shown.
    Headers,
}

/// Checks the structure of `data`. Padding may follow the JPEG.
///
/// # Errors
/// [`Corrupt`] states the first error found.
pub fn inspect(data: &[u8], depth: Depth) -> Result<InspectedJpeg<'_>, Corrupt> {
    if !data.starts_with(&SOI) {
        return Err(Corrupt::NoStart);
    }
    let mut parser = Parser { data, at: SOI.len(), headers: Headers::default() };
    loop {
        match parser.segment()? {
            Segment::Header => {}
            Segment::Scan if depth == Depth::Headers => return parser.finish(data.len()),
            Segment::Scan => parser.scan()?,
            Segment::End => {
                let end = parser.at;
                return parser.finish(end);
            }
        }
    }
}

/// Checks the structure of a JPEG whose picture data goes on to the end of `data`: some cameras never write an EOI marker.
/// [`InspectedJpeg::complete_into`] adds one. Only decoding tells whether the picture data is whole; what is certainly not is an
/// error here.
///
/// # Errors
/// [`Corrupt`] states the first error found.
pub(super) fn inspect_without_end(data: &[u8]) -> Result<InspectedJpeg<'_>, Corrupt> {
    let cut = Corrupt::CutShort { at: data.len() };
    // What pads a buffer, but for a zero that belongs to a byte of picture data (B.1.1.5).
    let padding = data.iter().rev().take_while(|&&byte| byte == 0).count();
    let end = data.len() - padding;
    let end = if padding > 0 && data[..end].ends_with(&[0xff]) { end + 1 } else { end };
    let data = &data[..end];
    if !data.starts_with(&SOI) {
        return Err(Corrupt::NoStart);
    }
    let mut parser = Parser { data, at: SOI.len(), headers: Headers::default() };
    while !matches!(parser.segment()?, Segment::Scan) {}
    match parser.scan() {
        Err(Corrupt::CutShort { .. }) => {}
        // Another marker ends the data: the picture has several scans, or is followed by something else.
        Ok(()) => return Err(cut),
        Err(corrupt) => return Err(corrupt),
    }
    let is_possible = parser.headers.may_be_whole(data.len());
    let jpeg = parser.finish(end)?;
    if is_possible { Ok(InspectedJpeg { end: &EOI, ..jpeg }) } else { Err(cut) }
}

impl<'a> InspectedJpeg<'a> {
    /// Size of the picture.
    pub fn resolution(&self) -> Resolution {
        self.resolution
    }

    /// Bytes of the JPEG with all headers.
    pub fn complete_len(&self) -> usize {
        self.parts().iter().map(|part| part.len()).sum()
    }

    /// Accepts a picture of the expected size, or one that the camera padded to whole blocks of 16 pixels.
    ///
    /// # Errors
    /// [`Corrupt::WrongSize`] for any other.
    pub fn check_size(self, expected: Option<Resolution>) -> Result<Self, Corrupt> {
        let found = self.resolution;
        match expected {
            Some(expected)
                if found.width.abs_diff(expected.width) >= 16
                    || found.height.abs_diff(expected.height) >= 16 =>
            {
                Err(Corrupt::WrongSize { found, expected })
            }
            _ => Ok(self),
        }
    }

    /// The same JPEG, with an Exif orientation. It comes before an orientation of the camera, so viewers use this one.
    pub fn with_rotation(self, rotation: Rotation) -> Self {
        Self { exif: rotation.segment(), ..self }
    }

    /// Copies the JPEG to `slot`. Adds a JFIF header and the standard Huffman tables if they are missing. Returns the bytes
    /// written.
    ///
    /// # Errors
    /// [`SlotTooSmall`] when it does not fit. The content of `slot` is then undefined.
    pub fn complete_into(&self, slot: &mut [u8]) -> Result<usize, SlotTooSmall> {
        let (need, room) = (self.complete_len(), slot.len());
        let mut free = slot.get_mut(..need).ok_or(SlotTooSmall { need, room })?;
        for part in self.parts() {
            let len = copy_to_slot(part, free)?;
            free = &mut { free }[len..];
        }
        Ok(need)
    }

    /// JFIF must come first (JFIF 1.02, page 2). The tables may be anywhere before the picture data; here, tables of the
    /// camera override them.
    fn parts(&self) -> [&[u8]; 6] {
        let tables: &[u8] = if self.has_tables { &[] } else { &STANDARD_DHT };
        [&SOI, self.jfif, self.exif, tables, self.rest, self.end]
    }
}

/// Copies `data` to the start of `slot`; returns its length.
pub(super) fn copy_to_slot(data: &[u8], slot: &mut [u8]) -> Result<usize, SlotTooSmall> {
    let too_small = SlotTooSmall { need: data.len(), room: slot.len() };
    slot.get_mut(..data.len()).ok_or(too_small)?.copy_from_slice(data);
    Ok(data.len())
}

/// The content of the headers so far.
#[derive(Default)]
struct Headers {
    resolution: Option<Resolution>,
    /// Position of the JFIF segment, if it is the first segment.
    jfif: Option<Range<usize>>,
    has_quantization: bool,
    /// MCUs between two restart markers; 0 without such markers.
    restart_interval: u16,
    /// Restart markers so far.
    restarts: u64,
    /// All coefficients of a block stand together: no progressive coding.
    is_sequential: bool,
    /// Width and height of an MCU in pixels.
    mcu: [u16; 2],
    /// Bit `class * 4 + id` for each Huffman table that is defined.
    tables: u8,
    /// The same bits for each table that a scan uses.
    tables_used: u8,
    scans: u32,
}

enum Segment {
    Header,
    Scan,
    End,
}

/// A position in the data, and the headers before it.
struct Parser<'a> {
    data: &'a [u8],
    at: usize,
    headers: Headers,
}

impl<'a> Parser<'a> {
    /// Reads one marker segment.
    fn segment(&mut self) -> Result<Segment, Corrupt> {
        let at = self.at;
        let code = self.marker()?;
        match code {
            marker::EOI if self.headers.scans > 0 => return Ok(Segment::End),
            // Markers without a length, which are not allowed between segments.
            0x00..=0xbf | marker::RST0..=marker::EOI | 0xf0..=0xfd | 0xff => {
                return Err(Corrupt::Misplaced { at, found: code });
            }
            _ => {}
        }
        let malformed = Corrupt::Malformed { at, marker: code };
        let cut = Corrupt::CutShort { at: self.data.len() };
        let length = self.data.get(self.at..self.at + 2).ok_or(cut)?;
        let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
        let end = self.at + length;
        let body = self.data.get(self.at..end).ok_or(cut)?.get(2..).ok_or(malformed)?;
        self.at = end;
        if code == marker::APP0 && at == SOI.len() && body.starts_with(b"JFIF\0") {
            // From the marker on; fill bytes before it are left out.
            self.headers.jfif = Some(end - length - 2..end);
        }
        self.headers.read(code, body).ok_or(malformed)?;
        Ok(if code == marker::SOS { Segment::Scan } else { Segment::Header })
    }

    /// Reads a marker. Any number of 0xff may precede it (B.1.1.2).
    fn marker(&mut self) -> Result<u8, Corrupt> {
        let cut = Corrupt::CutShort { at: self.data.len() };
        let &first = self.data.get(self.at).ok_or(cut)?;
        if first != 0xff {
            return Err(Corrupt::Misplaced { at: self.at, found: first });
        }
        let fill = self.data[self.at..].iter().take_while(|&&b| b == 0xff).count();
        let &code = self.data.get(self.at + fill).ok_or(cut)?;
        self.at += fill + 1;
        Ok(code)
    }

    /// Skips the entropy-coded data of a scan, up to the marker that ends it.
    fn scan(&mut self) -> Result<(), Corrupt> {
        let mut next_restart = 0;
        loop {
            let rest = &self.data[self.at..];
            let skip = memchr(0xff, rest).ok_or(Corrupt::CutShort { at: self.data.len() })?;
            let at = self.at + skip;
            match self.data.get(at + 1) {
                None => return Err(Corrupt::CutShort { at: self.data.len() }),
                Some(0x00) => self.at = at + 2,
                Some(0xff) => self.at = at + 1,
                Some(&code @ marker::RST0..=marker::RST7) => {
                    if self.headers.restart_interval == 0 || code != marker::RST0 + next_restart {
                        return Err(Corrupt::Misplaced { at, found: code });
                    }
                    next_restart = (next_restart + 1) % 8;
                    self.headers.restarts += 1;
                    self.at = at + 2;
                }
                Some(_) => {
                    self.at = at;
                    return Ok(());
                }
            }
        }
    }

    fn finish(self, end: usize) -> Result<InspectedJpeg<'a>, Corrupt> {
        let headers = self.headers;
        let resolution = headers.resolution.ok_or(Corrupt::MissingHeader)?;
        let missing = headers.tables_used & !headers.tables;
        // The standard tables have the numbers 0 and 1. Missing tables 2 and 3 cannot be replaced.
        if !headers.has_quantization || missing & 0b1100_1100 != 0 {
            return Err(Corrupt::MissingHeader);
        }
        let after_jfif = headers.jfif.as_ref().map_or(SOI.len(), |jfif| jfif.end);
        Ok(InspectedJpeg {
            jfif: headers.jfif.map_or(&JFIF, |jfif| &self.data[jfif]),
            exif: &[],
            rest: &self.data[after_jfif..end],
            end: &[],
            resolution,
            has_tables: missing == 0,
        })
    }
}

impl Headers {
    /// Reads the body of one segment; `None` if it is invalid.
    fn read(&mut self, code: u8, body: &[u8]) -> Option<()> {
        match code {
            marker::APP0..=marker::APP15 | marker::COM | marker::DNL => {}
            marker::DQT => self.has_quantization = !body.is_empty(),
            marker::DHT => self.read_tables(body)?,
            marker::DRI => self.restart_interval = u16::from_be_bytes(body.try_into().ok()?),
            marker::SOS => self.read_scan(body)?,
            marker::SOF0..=marker::SOF2 => {
                self.is_sequential = code != marker::SOF2;
                self.read_frame(body)?;
            }
            // Arithmetic, lossless and hierarchical coding: no camera sends it, and no browser shows it.
            _ => return None,
        }
        Some(())
    }

    fn read_frame(&mut self, body: &[u8]) -> Option<()> {
        let &[8, h1, h0, w1, w0, components, ref table @ ..] = body else { return None };
        let resolution = Resolution::new(u16::from_be_bytes([w1, w0]), u16::from_be_bytes([h1, h0]));
        let valid = resolution.pixels() > 0
            && matches!(components, 1 | 3 | 4)
            && table.len() == usize::from(components) * 3
            && self.resolution.is_none();
        self.resolution = Some(resolution);
        // A single component is not divided into MCUs of several blocks (A.2.2).
        let factors =
            |shift: u8| table.chunks(3).map(move |c| u16::from(c.get(1).map_or(0, |f| f >> shift & 15)));
        let most = |shift| if components == 1 { 1 } else { factors(shift).max().unwrap_or(1).max(1) };
        self.mcu = [most(4) * 8, most(0) * 8];
        valid.then_some(())
    }

    /// Whether one scan of `len` bytes at most may hold the whole picture.
    fn may_be_whole(&self, len: usize) -> bool {
        let Some(size) = self.resolution.filter(|_| self.is_sequential) else { return false };
        let mcus = [size.width.div_ceil(self.mcu[0]), size.height.div_ceil(self.mcu[1])].map(u64::from);
        let mcus = mcus[0] * mcus[1];
        let restarts = match self.restart_interval {
            0 => 0,
            interval => mcus.div_ceil(interval.into()) - 1,
        };
        // A block of 8x8 pixels takes 2 bits at least.
        self.restarts == restarts && size.pixels() / 256 <= len
    }

    fn read_tables(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((&id, rest)) = body.split_first() {
            let counts = rest.get(..16)?;
            let values: usize = counts.iter().map(|&n| usize::from(n)).sum();
            if id & 0xec != 0 || values > 256 {
                return None;
            }
            self.tables |= 1 << ((id >> 4) * 4 + (id & 3));
            body = rest.get(16 + values..)?;
        }
        Some(())
    }

    fn read_scan(&mut self, body: &[u8]) -> Option<()> {
        let (&components, rest) = body.split_first()?;
        let components = usize::from(components);
        if self.resolution.is_none() || !(1..=4).contains(&components) || rest.len() != components * 2 + 3 {
            return None;
        }
        let (spectral_start, spectral_end) = (rest[components * 2], rest[components * 2 + 1]);
        for selector in rest[..components * 2].chunks_exact(2) {
            let (dc, ac) = (selector[1] >> 4, selector[1] & 15);
            if dc > 3 || ac > 3 {
                return None;
            }
            // A progressive scan has DC or AC coefficients, and does not use the other table.
            if spectral_start == 0 {
                self.tables_used |= 1 << dc;
            }
            if spectral_end > 0 {
                self.tables_used |= 1 << (4 + ac);
            }
        }
        self.scans += 1;
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: Resolution = Resolution::new(48, 32);

    /// A small picture with enough detail that its scan contains stuffed bytes.
    fn jpeg() -> Vec<u8> {
        let (w, h) = (usize::from(SIZE.width), usize::from(SIZE.height));
        let pixels: Vec<u8> = (0..w * h * 3).map(|i| (i * i / 7 % 251) as u8).collect();
        let format = turbojpeg::PixelFormat::RGB;
        let image = turbojpeg::Image { pixels: &pixels[..], width: w, pitch: w * 3, height: h, format };
        turbojpeg::compress(image, 90, turbojpeg::Subsamp::Sub2x1).unwrap().to_vec()
    }

    /// `jpeg` without its segments of type `code`.
    fn without(jpeg: &[u8], code: u8) -> Vec<u8> {
        let (mut out, mut at) = (SOI.to_vec(), 2);
        while jpeg[at + 1] != marker::SOS {
            let end = at + 2 + usize::from(u16::from_be_bytes([jpeg[at + 2], jpeg[at + 3]]));
            if jpeg[at + 1] != code {
                out.extend_from_slice(&jpeg[at..end]);
            }
            at = end;
        }
        out.extend_from_slice(&jpeg[at..]);
        out
    }

    fn complete(data: &[u8]) -> Vec<u8> {
        let mut slot = vec![0; data.len() + 1000];
        let n = inspect(data, Depth::Whole).unwrap().complete_into(&mut slot).unwrap();
        slot.truncate(n);
        slot
    }

    fn pixels(jpeg: &[u8]) -> Vec<u8> {
        turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::RGB).unwrap().pixels
    }

    #[test]
    fn a_complete_jpeg_is_not_changed() {
        let jpeg = jpeg();
        assert!(jpeg.windows(2).any(|w| w == [0xff, 0x00]), "the sample has no stuffed bytes");
        assert_eq!(inspect(&jpeg, Depth::Whole).unwrap().resolution(), SIZE);
        assert_eq!(complete(&jpeg), jpeg);
    }

    #[test]
    fn padding_after_the_end_is_removed() {
        let jpeg = jpeg();
        for padding in [&[0u8; 100][..], &[0xff; 7], b"\xff\xd8\xff"] {
            assert_eq!(complete(&[&jpeg[..], padding].concat()), jpeg);
        }
    }

    #[test]
    fn missing_tables_and_jfif_are_added() {
        let jpeg = jpeg();
        for bare in [without(&jpeg, marker::DHT), without(&jpeg, marker::APP0)] {
            assert!(bare.len() < jpeg.len());
            let whole = complete(&bare);
            assert!(whole.starts_with(b"\xff\xd8\xff\xe0\x00\x10JFIF"));
            assert_eq!(pixels(&whole), pixels(&jpeg));
            assert_eq!(complete(&whole), whole, "a completed JPEG was changed again");
        }
    }

    #[test]
    fn jfif_directly_follows_soi() {
        let jpeg = jpeg();
        let filled = [&jpeg[..2], &[0xff; 3], &jpeg[2..]].concat();
        assert_eq!(
            complete(&filled),
            jpeg,
            "fill bytes before the marker are removed, as not every reader expects them"
        );
    }

    #[test]
    fn an_avi1_header_is_not_taken_for_jfif() {
        let bare = without(&jpeg(), marker::APP0);
        let avi1 = [&SOI[..], b"\xff\xe0\x00\x08AVI1\0\0", &bare[2..]].concat();
        assert!(complete(&avi1).starts_with(b"\xff\xd8\xff\xe0\x00\x10JFIF"));
    }

    #[test]
    fn every_truncation_is_detected() {
        let jpeg = jpeg();
        for cut in 0..jpeg.len() {
            assert!(inspect(&jpeg[..cut], Depth::Whole).is_err(), "cut at {cut} of {}", jpeg.len());
        }
    }

    #[test]
    fn a_jpeg_that_runs_into_the_next_is_detected() {
        let jpeg = jpeg();
        let torn = [&jpeg[..jpeg.len() * 2 / 3], &jpeg[..]].concat();
        assert!(matches!(inspect(&torn, Depth::Whole), Err(Corrupt::Misplaced { found: 0xd8, .. })));
    }

    #[test]
    fn restart_markers_must_come_in_order() {
        let jpeg = jpeg();
        let sos = jpeg.windows(2).position(|w| w == [0xff, marker::SOS]).unwrap();
        let scan = sos + 2 + usize::from(u16::from_be_bytes([jpeg[sos + 2], jpeg[sos + 3]]));
        let with = |restarts: &[u8], dri: &[u8]| {
            let markers: Vec<u8> = restarts.iter().flat_map(|n| [0x55, 0xff, marker::RST0 + n]).collect();
            [&jpeg[..sos], dri, &jpeg[sos..scan], &markers, &jpeg[scan..]].concat()
        };
        let dri = [0xff, marker::DRI, 0, 4, 0, 2];
        assert!(inspect(&with(&[0, 1, 2, 3, 4, 5, 6, 7, 0], &dri), Depth::Whole).is_ok());
        assert!(inspect(&with(&[0, 2], &dri), Depth::Whole).is_err(), "one restart interval is missing");
        assert!(inspect(&with(&[0], &[]), Depth::Whole).is_err(), "no restart interval was announced");
    }

    #[test]
    fn the_scan_is_not_checked_at_depth_headers() {
        let mut jpeg = jpeg();
        let last = jpeg.len() - 4;
        jpeg[last..last + 2].copy_from_slice(&[0xff, 0xd8]);
        assert!(inspect(&jpeg, Depth::Whole).is_err());
        assert_eq!(inspect(&jpeg, Depth::Headers).unwrap().complete_len(), jpeg.len());
    }

    #[test]
    fn a_slot_that_is_too_small_is_an_error() {
        let jpeg = jpeg();
        let inspected = inspect(&jpeg, Depth::Whole).unwrap();
        let mut slot = vec![0; jpeg.len() - 1];
        assert_eq!(
            inspected.complete_into(&mut slot),
            Err(SlotTooSmall { need: jpeg.len(), room: jpeg.len() - 1 })
        );
    }

    #[test]
    fn no_single_changed_byte_panics() {
        let jpeg = jpeg();
        for at in 0..jpeg.len() {
            for value in [0x00, 0x01, 0x7f, 0xc0, 0xd0, 0xd9, 0xff] {
                let mut changed = jpeg.clone();
                changed[at] = value;
                if let Ok(inspected) = inspect(&changed, Depth::Whole) {
                    inspected.complete_into(&mut vec![0; jpeg.len() + 1000]).unwrap();
                }
            }
        }
    }
}
