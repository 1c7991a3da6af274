//! What it costs to encode H.264 on the processor: a camera's 720p at 30 pictures a second that shows a still scene, a panning one and a
//! busy one, all with the noise of a sensor, with each complexity. Beside them the bytes of a JPEG of quality 80.
//!
//! Shares of a processor are sums over all threads; the time of a picture is from start to end.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::time::{Duration, Instant};

use porthole::frame::Timestamp;
use porthole::h264::software::{
    EncodingComplexity, SoftwareDecoder, SoftwareEncoder, SoftwareEncoderSettings,
};
use porthole::h264::{I420Picture, ParameterSets, write_access_unit};

mod clips;
use clips::{HEIGHT, Planes, Scenes, TIME, WIDTH, jpeg, picture};

const PICTURES: usize = 150;
const BITS_PER_SECOND: u32 = 4_000_000;

fn main() {
    let scenes = Scenes::new();
    println!("{WIDTH}x{HEIGHT}, {PICTURES} pictures, at most {} Mbit/s", BITS_PER_SECOND / 1_000_000);
    for name in Scenes::NAMES {
        let clip = scenes.clip(name, PICTURES);
        let jpegs: usize = clip.iter().step_by(15).map(|planes| jpeg(planes).len()).sum();
        println!("{name}: JPEG {} bytes a picture", jpegs / clip.iter().step_by(15).len());
        for complexity in [EncodingComplexity::Low, EncodingComplexity::Medium, EncodingComplexity::High] {
            encode(&clip, complexity);
        }
    }
}

fn encode(clip: &[Planes], complexity: EncodingComplexity) {
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
