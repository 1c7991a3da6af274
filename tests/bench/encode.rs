//! What it costs to make a JPEG of a camera's YUYV, beside the way camera servers usually do it (`scanline.c`), built with
//! the same libjpeg-turbo; and what several threads make of it. On photographs, in one run, in alternation.
//!
//! With `--check` it fails where a ratio is not what it should be.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::{Duration, Instant};

use porthole::frame::{PixelFormat, Resolution};
use porthole::jpeg::exif::Rotation;
use porthole::jpeg::yuv::Subsampling;
use porthole::jpeg::{JpegSettings, JpegWriter, Picture, RawPicture};

#[path = "photographs.rs"]
mod photographs;

const QUALITY: u8 = 80;
/// Measurements of each, in turn. The least of them counts: what disturbs only ever adds.
const ROUNDS: usize = 15;

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    let scratch = std::env::temp_dir().join(format!("porthole-bench-{}", std::process::id()));
    std::fs::create_dir_all(&scratch).unwrap();
    let baseline = compile_baseline(&scratch);
    let mut good = true;
    for (width, height) in [(1280, 720), (1920, 1080)] {
        good &= compare(&baseline, &scratch, width, height);
    }
    std::fs::remove_dir_all(&scratch).unwrap();
    if check && !good { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn compare(baseline: &Path, scratch: &Path, width: usize, height: usize) -> bool {
    let frames = photographs::photographs(width, height);
    let file = scratch.join("frames.yuyv");
    std::fs::write(&file, frames.concat()).unwrap();
    let mut slot = vec![0; width * height * 2];
    let (mut alone, mut crew) = (on_one_processor(writer), writer());
    let mut least = [f64::MAX; 4];
    let mut note = |which: usize, value: f64| least[which] = least[which].min(value);
    for _ in 0..ROUNDS {
        note(0, run_baseline(baseline, &file, scratch, width, height));
        let (cpu, _) = cost(|| encode_all(&mut alone, &frames, width, height, &mut slot));
        note(1, cpu / frames.len() as f64);
        let (cpu, wall) = cost(|| encode_all(&mut crew, &frames, width, height, &mut slot));
        note(2, cpu / frames.len() as f64);
        note(3, wall / frames.len() as f64);
    }
    let [scanline, serial, strips_cpu, strips_wall] = least;

    let theirs = std::fs::read(scratch.join("out.jpg")).unwrap();
    let len = encode(&mut alone, &frames[0], width, height, &mut slot);
    let decibels = [&theirs[..], &slot[..len]].map(|jpeg| psnr(&frames[0], jpeg, width));

    println!("{width}x{height}, {} photographs, quality {QUALITY}, 4:2:0", frames.len());
    println!("  scanlines        {scanline:>8.0} us CPU  {:.2} dB  {} bytes", decibels[0], theirs.len());
    println!("  planes           {serial:>8.0} us CPU  {:.2} dB  {len} bytes", decibels[1]);
    let mut good = verdict("CPU, planes to scanlines", serial / scanline, 0.58);
    good &= verdict("dB lost", decibels[0] - decibels[1], 0.05);
    if std::thread::available_parallelism().unwrap().get() > 1 {
        println!("  planes, strips   {strips_cpu:>8.0} us CPU  {strips_wall:.0} us from start to end");
        good &= verdict("time, strips to serial", strips_wall / serial, 0.6);
        good &= verdict("CPU, strips to serial", strips_cpu / serial, 1.05);
    }
    good
}

fn verdict(what: &str, value: f64, at_most: f64) -> bool {
    let good = value <= at_most;
    println!("    {what:<28} {value:>6.3}  (at most {at_most}){}", if good { "" } else { "  TOO MUCH" });
    good
}

fn writer() -> JpegWriter {
    JpegWriter::new(JpegSettings {
        quality: QUALITY,
        subsampling: Subsampling::Cs420,
        validate: true,
        rotation: Rotation::None,
    })
}

/// Encodes once where it sees one processor only, so that it settles for one thread.
fn on_one_processor(make: impl Fn() -> JpegWriter + Send + Sync) -> JpegWriter {
    std::thread::scope(|scope| {
        let made = scope.spawn(|| {
            // SAFETY: the set is a plain bit field; 0 stands for this thread.
            unsafe {
                let mut set: libc::cpu_set_t = std::mem::zeroed();
                libc::CPU_SET(libc::sched_getcpu() as usize, &mut set);
                assert_eq!(libc::sched_setaffinity(0, size_of_val(&set), &set), 0);
            }
            let mut writer = make();
            for (width, height) in [(1280, 720), (1920, 1080)] {
                encode(
                    &mut writer,
                    &vec![128; width * height * 2],
                    width,
                    height,
                    &mut vec![0; width * height],
                );
            }
            writer
        });
        made.join().unwrap()
    })
}

fn encode(writer: &mut JpegWriter, yuyv: &[u8], width: usize, height: usize, slot: &mut [u8]) -> usize {
    let resolution = Resolution::new(width as u16, height as u16);
    let raw = RawPicture { data: yuyv, format: PixelFormat::Yuyv, resolution, stride: width * 2 };
    writer.write(&Picture::Raw(raw), slot).unwrap().len
}

fn encode_all(writer: &mut JpegWriter, frames: &[Vec<u8>], width: usize, height: usize, slot: &mut [u8]) {
    for frame in frames {
        encode(writer, frame, width, height, slot);
    }
}

/// Microseconds of CPU of all threads, and from start to end.
fn cost(work: impl FnOnce()) -> (f64, f64) {
    let (cpu, wall) = (process_cpu(), Instant::now());
    work();
    ((process_cpu() - cpu).as_secs_f64() * 1e6, wall.elapsed().as_secs_f64() * 1e6)
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

/// Compiles the other way against the libjpeg-turbo that this was built with.
fn compile_baseline(scratch: &Path) -> PathBuf {
    let me = std::env::current_exe().unwrap();
    let builds = std::fs::read_dir(me.parent().unwrap().parent().unwrap().join("build")).unwrap();
    let libraries = builds.map(|build| build.unwrap().path().join("out"));
    let library = libraries
        .filter(|out| out.join("lib/libjpeg.a").exists())
        .max_by_key(|out| std::fs::metadata(out.join("lib/libjpeg.a")).unwrap().modified().unwrap());
    let library = library.expect("turbojpeg-sys has built libjpeg.a");
    let program = scratch.join("scanline");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bench/scanline.c");
    let status = Command::new("cc")
        .args(["-O3", "-o"])
        .args([&program, &source])
        .arg("-I")
        .arg(library.join("include"))
        .arg(library.join("lib/libjpeg.a"))
        .status();
    assert!(status.unwrap().success());
    program
}

fn run_baseline(program: &Path, frames: &Path, scratch: &Path, width: usize, height: usize) -> f64 {
    let numbers = [width, height, QUALITY.into(), 1].map(|number| number.to_string());
    let output =
        Command::new(program).args(numbers).arg(frames).arg(scratch.join("out.jpg")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().parse().unwrap()
}

/// How near the luma of a JPEG is to that of the frame it was made of, in decibels.
fn psnr(yuyv: &[u8], jpeg: &[u8], width: usize) -> f64 {
    let image = turbojpeg::decompress(jpeg, turbojpeg::PixelFormat::GRAY).unwrap();
    let rows = image.pixels.chunks_exact(image.pitch).zip(yuyv.chunks_exact(width * 2));
    let squares = rows.flat_map(|(got, wanted)| {
        got[..width].iter().zip(wanted.iter().step_by(2)).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2))
    });
    let (sum, count) = squares.fold((0.0, 0.0), |(sum, count), square| (sum + square, count + 1.0));
    10.0 * (255.0f64.powi(2) / (sum / count)).log10()
}
