//! JPEGs that pass through, and those that are written of pixels: what goes out is a whole JPEG that needs no completing,
//! and shows what came in.

use std::cell::RefCell;

use porthole::frame::{PixelFormat, Resolution};
use porthole::jpeg::exif::Rotation;
use porthole::jpeg::inspect::{Depth, inspect};
use porthole::jpeg::yuv::Subsampling;
use porthole::jpeg::{JpegSettings, JpegWriter, Picture, RawPicture};
use turbojpeg::{Decompressor, Image, Subsamp, YuvImage};

/// What libjpeg-turbo is asked to decode at most: a header may announce gigabytes.
const MAX_PIXELS: usize = 1 << 14;
/// Bytes that completing adds at most: JFIF, the standard tables, an orientation.
const ADDED: usize = 18 + 420 + 36;

thread_local! {
    static WRITERS: RefCell<Vec<(JpegSettings, JpegWriter)>> = const { RefCell::new(Vec::new()) };
    static DECODER: RefCell<Decompressor> = RefCell::new(Decompressor::new().expect("no memory"));
}

/// The settings in a byte.
fn settings(bits: u8, quality: u8) -> JpegSettings {
    JpegSettings {
        quality,
        subsampling: if bits & 1 == 0 { Subsampling::Cs420 } else { Subsampling::Cs422 },
        validate: bits & 2 == 0,
        rotation: [Rotation::None, Rotation::Right, Rotation::Half, Rotation::Left]
            [usize::from(bits >> 2 & 3)],
    }
}

/// First byte: the settings, and whether the slot is too small. The rest: what a camera sent.
pub fn pass(data: &[u8]) {
    let Some((&bits, data)) = data.split_first() else { return };
    let settings = settings(bits, 80);
    let picture = Picture::Jpeg { data, expected: None };
    let mut slot = vec![0xee; data.len() + ADDED];
    let Ok(written) = JpegWriter::new(settings).write(&picture, &mut slot) else { return };
    // A slot that has just room for it does, and any smaller one is refused.
    let exact = JpegWriter::new(settings).write(&picture, &mut slot[..written.len]).expect("it fits").len;
    assert_eq!(exact, written.len);
    assert!(JpegWriter::new(settings).write(&picture, &mut vec![0; written.len - 1]).is_err());
    if !settings.validate {
        return;
    }
    let out = &slot[..written.len];
    let whole = inspect(out, Depth::Whole).unwrap_or_else(|why| panic!("a valid JPEG became one that {why}"));
    assert_eq!(
        (whole.resolution(), whole.complete_len()),
        (written.resolution, out.len()),
        "completed twice"
    );
    assert!(out.starts_with(b"\xff\xd8\xff\xe0") && &out[6..11] == b"JFIF\0" && out.ends_with(b"\xff\xd9"));
    if let Some(before) = decode(data) {
        assert!(decode(out) == Some(before), "another picture than the camera's");
    }
}

/// The planes of a small picture, if libjpeg-turbo has nothing to say against it.
fn decode(jpeg: &[u8]) -> Option<(Resolution, Vec<u8>)> {
    DECODER.with_borrow_mut(|decoder| {
        let header = decoder.read_header(jpeg).ok()?;
        let (width, height) = (header.width, header.height);
        if width * height > MAX_PIXELS || header.is_lossless || header.subsamp == Subsamp::Unknown {
            return None;
        }
        let align = 1;
        let len = turbojpeg::yuv_pixels_len(width, align, height, header.subsamp).ok()?;
        let mut pixels = vec![0; len];
        let image = YuvImage { pixels: &mut pixels[..], width, align, height, subsamp: header.subsamp };
        decoder.decompress_to_yuv(jpeg, image).ok()?;
        Some((Resolution::new(width as u16, height as u16), pixels))
    })
}

/// First bytes: settings, quality, format, width, height, padding of rows. The rest: pixels, perhaps too few.
pub fn encode(data: &[u8]) {
    let [bits, quality, format, width, height, pad, data @ ..] = data else { return };
    let settings = settings(bits & 0b1101, [1, 40, 75, 100][usize::from(quality % 4)]);
    let raw: Vec<PixelFormat> = PixelFormat::ALL
        .into_iter()
        .filter(|format| *format != PixelFormat::Mjpeg && !format.is_video())
        .collect();
    let format = raw[usize::from(*format) % raw.len()];
    let resolution = Resolution::new(u16::from(1 + width % 40), u16::from(1 + height % 40));
    let stride = format.row_bytes(resolution.width) + usize::from(pad % 32);
    // What is missing comes from the last byte, unless that asks for a short buffer.
    let full = stride * usize::from(resolution.height) * 3 + 64;
    let mut pixels = data.to_vec();
    let fill = data.last().copied().unwrap_or_default();
    if fill % 8 != 0 {
        pixels.resize(full.max(data.len()), fill);
    }
    let raw = RawPicture { data: &pixels, format, resolution, stride };
    let mut slot = vec![0xee; usize::from(resolution.width) * usize::from(resolution.height) * 4 + 4096];
    // As in the service, one writer writes pictures of all sizes.
    let written = WRITERS.with_borrow_mut(|writers| {
        let index = writers.iter().position(|(of, _)| *of == settings).unwrap_or_else(|| {
            writers.push((settings, JpegWriter::new(settings)));
            writers.len() - 1
        });
        writers[index].1.write(&Picture::Raw(raw), &mut slot)
    });
    let Ok(written) = written else { return };
    let out = &slot[..written.len];
    let whole = inspect(out, Depth::Whole).unwrap_or_else(|why| panic!("encoded, and it {why}"));
    assert_eq!((whole.resolution(), whole.complete_len()), (resolution, out.len()));
    assert_eq!(written.resolution, resolution);
    DECODER.with_borrow_mut(|decoder| {
        let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
        let (format, mut pixels) = (turbojpeg::PixelFormat::GRAY, vec![0; width * height]);
        let image = Image { pixels: &mut pixels[..], width, pitch: width, height, format };
        decoder.decompress(out, image).unwrap_or_else(|why| panic!("encoded, and not to be decoded: {why}"));
    });
}
