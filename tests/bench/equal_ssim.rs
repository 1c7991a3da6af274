//! Bytes of JPEG and H.264 at equal quality, which is that of H.264 as the service encodes it if nothing is configured: the mean of ffmpeg's
//! SSIM over the pictures of a clip.

use std::fs;
use std::process::Command;

use porthole::frame::Timestamp;
use porthole::h264::software::{
    EncodingComplexity, SoftwareDecoder, SoftwareEncoder, SoftwareEncoderSettings,
};
use porthole::h264::{ParameterSets, write_access_unit};
use support::{Scratch, finish};

use super::clips::{FPS, HEIGHT, Planes, TIME, WIDTH, picture, yuv_image};

/// What the service takes for 720p at 30 pictures a second, at the usual quality.
const BITS_PER_SECOND: u32 = 1_935_360;
/// Every so many pictures are compared as JPEGs, which do not depend on each other.
const SAMPLED: usize = 10;

/// Of one clip.
pub struct Sizes {
    pub ssim: f64,
    /// Bytes a second and viewer.
    pub h264: f64,
    pub jpeg: f64,
    /// The quality of JPEG that looks as good.
    pub quality: u8,
}

/// Encodes a clip both ways.
pub fn compare(clip: &[Planes]) -> Sizes {
    let scratch = Scratch::new();
    let (bytes, shown) = h264(clip);
    let kept: Vec<&Planes> = shown.iter().map(|(number, _)| &clip[*number]).collect();
    let shown: Vec<&Planes> = shown.iter().map(|(_, planes)| planes).collect();
    let wanted = ssim(&scratch, &shown, &kept);

    let sampled: Vec<&Planes> = clip.iter().step_by(SAMPLED).collect();
    let jpeg = |quality: u8| {
        let encoded: Vec<(usize, Planes)> = sampled.iter().map(|planes| jpeg(planes, quality)).collect();
        let decoded: Vec<&Planes> = encoded.iter().map(|(_, planes)| planes).collect();
        let bytes: usize = encoded.iter().map(|(bytes, _)| bytes).sum();
        (ssim(&scratch, &decoded, &sampled), bytes as f64 / encoded.len() as f64)
    };
    // The lowest quality that is as good.
    let (mut low, mut high) = (1, 100);
    while low < high {
        let middle = (low + high) / 2;
        if jpeg(middle).0 < wanted { low = middle + 1 } else { high = middle }
    }
    let seconds = clip.len() as f64 / FPS as f64;
    Sizes { ssim: wanted, h264: bytes as f64 / seconds, jpeg: jpeg(low).1 * FPS as f64, quality: low }
}

/// Bytes of a clip, and its pictures as viewers see them, by their numbers.
fn h264(clip: &[Planes]) -> (usize, Vec<(usize, Planes)>) {
    let settings = SoftwareEncoderSettings { bits_per_second: BITS_PER_SECOND, ..Default::default() };
    let (mut encoder, mut decoder) = (SoftwareEncoder::new(settings), SoftwareDecoder::new());
    let (mut sets, mut slot) = (ParameterSets::default(), vec![0; WIDTH * HEIGHT * 2]);
    let (mut bytes, mut shown) = (0, Vec::new());
    for (number, planes) in clip.iter().enumerate() {
        // As it begins, whatever the time it takes here.
        encoder.set_complexity(EncodingComplexity::Medium);
        let at = Timestamp(1_000_000).after(TIME * number as u32);
        let Some(unit) = encoder.encode(&picture(planes), at).unwrap() else { continue };
        bytes += unit.annex_b.len();
        let written = write_access_unit(unit.annex_b, &mut slot, &mut sets).unwrap();
        let decoded = decoder.decode(&slot[..written.len]).unwrap().unwrap();
        let plane = |index| decoded.rows(index).flatten().copied().collect();
        shown.push((number, [plane(0), plane(1), plane(2)]));
    }
    (bytes, shown)
}

/// Bytes of a picture as JPEG, and what it looks like.
fn jpeg(planes: &Planes, quality: u8) -> (usize, Planes) {
    let jpeg = turbojpeg::compress_yuv(yuv_image(&planes.concat()), quality.into()).unwrap();
    let decoded = turbojpeg::decompress_to_yuv(&jpeg).unwrap().pixels;
    let (luma, chroma) = decoded.split_at(WIDTH * HEIGHT);
    let (blue, red) = chroma.split_at(WIDTH * HEIGHT / 4);
    (jpeg.len(), [luma.to_vec(), blue.to_vec(), red.to_vec()])
}

/// How alike pictures are: ffmpeg's SSIM of all planes.
fn ssim(scratch: &Scratch, shown: &[&Planes], original: &[&Planes]) -> f64 {
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-nostdin"]);
    for (name, pictures) in [("shown.yuv", shown), ("original.yuv", original)] {
        let file = scratch.path(name);
        fs::write(
            &file,
            pictures.iter().flat_map(|planes| planes.iter()).flatten().copied().collect::<Vec<u8>>(),
        )
        .unwrap();
        command
            .args(["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", &format!("{WIDTH}x{HEIGHT}"), "-i"])
            .arg(file);
    }
    let (code, _, said) = finish(command.args(["-lavfi", "ssim", "-f", "null", "-"]));
    let all = said.rsplit("All:").next().and_then(|rest| rest.split_whitespace().next());
    all.and_then(|number| number.parse().ok()).unwrap_or_else(|| panic!("ffmpeg ended with {code}: {said}"))
}
