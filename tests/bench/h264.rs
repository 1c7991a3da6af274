//! What it costs to encode H.264 on the processor: a camera's 720p at 30 pictures a second that shows a still scene, a panning one and a
//! busy one, all with the noise of a sensor, with each complexity. Beside them the bytes of a JPEG of quality 80.
//!
//! Shares of a processor are sums over all threads; the time of a picture is from start to end.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::time::{Duration, Instant};

use porthole::frame::{Resolution, Timestamp};
use porthole::h264::software::{
    EncodingComplexity, SoftwareDecoder, SoftwareEncoder, SoftwareEncoderSettings,
};
use porthole::h264::{I420Picture, ParameterSets, SamplePlane, write_access_unit};

#[path = "photographs.rs"]
mod photographs;

const WIDTH: usize = 1280;
const HEIGHT: usize = 720;
/// Size of the photographs that the camera pans over.
const WIDE: (usize, usize) = (1920, 1080);
const PICTURES: usize = 150;
const TIME: Duration = Duration::from_micros(33_333);
/// What a sensor of a webcam adds in a room at most, in either direction.
const NOISE: i16 = 3;
const BITS_PER_SECOND: u32 = 4_000_000;

fn main() {
    let photographs = photographs::photographs(WIDE.0, WIDE.1);
    println!("{WIDTH}x{HEIGHT}, {PICTURES} pictures, at most {} Mbit/s", BITS_PER_SECOND / 1_000_000);
    for (name, step, scenes) in [("still", 0, 1), ("panning", 3, 1), ("busy", 24, photographs.len())] {
        let clip: Vec<[Vec<u8>; 3]> = (0..PICTURES)
            .map(|number| {
                // A busy scene changes every second.
                let scene = &photographs[number / 30 % scenes];
                let most = WIDE.0 - WIDTH;
                let at = number * step % (2 * most);
                window(scene, at.min(2 * most - at) & !1, number as u32)
            })
            .collect();
        let jpegs: usize = clip.iter().step_by(15).map(jpeg_bytes).sum();
        println!("{name}: JPEG {} bytes a picture", jpegs / clip.iter().step_by(15).len());
        for complexity in [EncodingComplexity::Low, EncodingComplexity::Medium, EncodingComplexity::High] {
            encode(&clip, complexity);
        }
    }
}

fn encode(clip: &[[Vec<u8>; 3]], complexity: EncodingComplexity) {
    let settings = SoftwareEncoderSettings { bits_per_second: BITS_PER_SECOND, ..Default::default() };
    let (mut encoder, mut decoder) = (SoftwareEncoder::new(settings), SoftwareDecoder::new());
    let (mut sets, mut slot) = (ParameterSets::default(), vec![0; WIDTH * HEIGHT * 2]);
    let (mut cpu, mut wall, mut decoding) = (Duration::ZERO, Vec::new(), Duration::ZERO);
    let (mut bytes, mut shown, mut decibels) = (0, 0, 0.0);
    for (number, planes) in clip.iter().enumerate() {
        // Held there, whatever the time it takes.
        encoder.set_complexity(complexity);
        let now = Timestamp(1_000_000).after(TIME * number as u32);
        let (before, began) = (process_cpu(), Instant::now());
        let picture = picture(planes);
        let unit = encoder.encode(&picture, now).unwrap();
        wall.push(began.elapsed());
        cpu += process_cpu() - before;
        let Some(unit) = unit else { continue };
        bytes += unit.annex_b.len();
        let written = write_access_unit(unit.annex_b, &mut slot, &mut sets).unwrap();
        let before = process_cpu();
        let decoded = decoder.decode(&slot[..written.len]).unwrap().unwrap();
        decoding += process_cpu() - before;
        decibels += psnr(&picture, &decoded);
        shown += 1;
    }
    wall.sort();
    let each = |time: Duration, count: usize| time.as_secs_f64() * 1e3 / count as f64;
    println!(
        "  {:<7} {:>6.2} ms CPU a picture, p50 {:>5.2} p99 {:>5.2} ms, {:>6} bytes, {:.1} dB, {} skipped; decoded {:.2} ms",
        complexity.name(),
        each(cpu, clip.len()),
        each(wall[wall.len() / 2], 1),
        each(wall[wall.len() * 99 / 100], 1),
        bytes / shown,
        decibels / shown as f64,
        encoder.skipped(),
        each(decoding, shown),
    );
}

fn picture(planes: &[Vec<u8>; 3]) -> I420Picture<'_> {
    let plane = |index: usize, stride| SamplePlane { data: &planes[index][..], stride };
    let resolution = Resolution::new(WIDTH as u16, HEIGHT as u16);
    I420Picture::new(resolution, [plane(0, WIDTH), plane(1, WIDTH / 2), plane(2, WIDTH / 2)]).unwrap()
}

/// What the camera sees of a photograph in YUYV from this column on, with noise of its own in each picture.
fn window(yuyv: &[u8], column: usize, number: u32) -> [Vec<u8>; 3] {
    let mut state = number.wrapping_mul(2_654_435_761) | 1;
    let mut noisy = |sample: u8| {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        // The sum of two is nearer to what sensors do than one.
        let part = |bits: u32| (bits % (NOISE as u32 + 1)) as i16;
        (i16::from(sample) + part(state >> 8) - part(state >> 20)).clamp(0, 255) as u8
    };
    let rows: Vec<&[u8]> = (0..HEIGHT).map(|row| &yuyv[(row * WIDE.0 + column) * 2..][..WIDTH * 2]).collect();
    let luma = rows.iter().flat_map(|row| row.iter().step_by(2)).map(|sample| noisy(*sample)).collect();
    let mut chroma = |offset: usize| {
        let even = rows.iter().step_by(2);
        even.flat_map(|row| row[offset..].iter().step_by(4)).map(|sample| noisy(*sample)).collect()
    };
    [luma, chroma(1), chroma(3)]
}

fn jpeg_bytes(planes: &[Vec<u8>; 3]) -> usize {
    let image = turbojpeg::YuvImage {
        pixels: &planes.concat()[..],
        width: WIDTH,
        align: 1,
        height: HEIGHT,
        subsamp: turbojpeg::Subsamp::Sub2x2,
    };
    turbojpeg::compress_yuv(image, 80).unwrap().len()
}

/// How near the luma of two pictures is, in decibels.
fn psnr(a: &I420Picture<'_>, b: &I420Picture<'_>) -> f64 {
    let pairs = a.rows(0).zip(b.rows(0)).flat_map(|(a, b)| a.iter().zip(b));
    let squares: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    10.0 * (255.0f64.powi(2) * (WIDTH * HEIGHT) as f64 / squares as f64).log10()
}

fn process_cpu() -> Duration {
    // SAFETY: the clock exists, and the answer has a place.
    let now = unsafe {
        let mut now: libc::timespec = std::mem::zeroed();
        assert_eq!(libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &mut now), 0);
        now
    };
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
