//! Tests of the encoder and the decoder together, and of what others read of the encoder.
#![forbid(unsafe_code)]

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use super::super::access_unit::{ParameterSets, WrittenUnit, write_access_unit};
use super::super::nal::{AnnexB, NalKind, NalUnit, NalUnits};
use super::super::picture::{I420Picture, SamplePlane};
use super::super::sps::SequenceParameters;
use super::*;
use crate::frame::{Resolution, Timestamp};

/// The planes of a picture, with rows that are longer than the picture is wide.
struct Drawing {
    resolution: Resolution,
    planes: [Vec<u8>; 3],
    stride: usize,
}

impl Drawing {
    /// Each sample by plane, column and row.
    fn new(resolution: Resolution, sample: impl Fn(usize, usize, usize) -> u8) -> Self {
        let (width, height) = (usize::from(resolution.width), usize::from(resolution.height));
        let stride = width + 13;
        let plane = |index: usize| {
            let rows = if index == 0 { height } else { height.div_ceil(2) };
            (0..rows * stride).map(|at| sample(index, at % stride, at / stride)).collect()
        };
        Self { resolution, planes: [plane(0), plane(1), plane(2)], stride }
    }

    /// A pattern that moves by three pixels a picture.
    fn moving(resolution: Resolution, number: usize) -> Self {
        Self::new(resolution, |plane, x, y| {
            let (x, y) = if plane == 0 { (x, y) } else { (2 * x, 2 * y) };
            let wave = ((x + 3 * number) as f32 / 11.0).sin() * 50.0 + (y as f32 / 17.0).cos() * 50.0;
            (if plane == 2 { 128.0 - wave } else { 128.0 + wave }) as u8
        })
    }

    /// Noise in which no picture is like the one before.
    fn noise(resolution: Resolution, number: usize) -> Self {
        Self::new(resolution, |plane, x, y| {
            let seed = (x + 1) * 7919 + (y + 1) * 104_729 + (number + 1) * 1_299_709 + plane * 15_485_863;
            ((seed as u32).wrapping_mul(2_654_435_761) >> 24) as u8
        })
    }

    fn picture(&self) -> I420Picture<'_> {
        let plane = |index: usize| SamplePlane { data: &self.planes[index][..], stride: self.stride };
        I420Picture::new(self.resolution, [plane(0), plane(1), plane(2)]).unwrap()
    }
}

/// Decibels between two pictures of the same size.
fn psnr(a: &I420Picture<'_>, b: &I420Picture<'_>) -> f64 {
    assert_eq!(a.resolution(), b.resolution());
    let (mut sum, mut count) = (0u64, 0u64);
    for plane in 0..3 {
        for (a, b) in a.rows(plane).zip(b.rows(plane)) {
            sum += a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum::<u64>();
            count += a.len() as u64;
        }
    }
    10.0 * (255.0f64.powi(2) * count as f64 / (sum as f64).max(1.0)).log10()
}

const SIZE: Resolution = Resolution::new(320, 240);
const TIME: Duration = Duration::from_micros(33_333);

/// An encoder with the clock of a camera, and its output in the stored form.
struct Live {
    encoder: SoftwareEncoder,
    sets: ParameterSets,
    now: Timestamp,
    stream: Vec<u8>,
}

impl Live {
    fn new(settings: SoftwareEncoderSettings) -> Self {
        let encoder = SoftwareEncoder::new(settings);
        Self { encoder, sets: ParameterSets::default(), now: Timestamp(1_000_000), stream: Vec::new() }
    }

    fn encode(&mut self, canvas: &Drawing) -> Option<(WrittenUnit, Vec<u8>)> {
        self.now = self.now.after(TIME);
        let unit = self.encoder.encode(&canvas.picture(), self.now).unwrap()?;
        self.stream.extend_from_slice(unit.annex_b);
        let mut slot = vec![0; unit.annex_b.len() + 100];
        let written = write_access_unit(unit.annex_b, &mut slot, &mut self.sets).unwrap();
        assert_eq!(written.is_key, unit.is_key);
        slot.truncate(written.len);
        Some((written, slot))
    }
}

fn kinds(stored: &[u8]) -> Vec<NalKind> {
    NalUnits::new(stored).map(NalUnit::kind).collect()
}

#[test]
fn sixty_pictures_of_a_moving_pattern_come_back() {
    let mut live = Live::new(SoftwareEncoderSettings::default());
    let mut decoder = SoftwareDecoder::new();
    for number in 0..60 {
        let canvas = Drawing::moving(SIZE, number);
        let (written, stored) = live.encode(&canvas).expect("nothing is skipped at this rate");
        assert_eq!((written.is_key, written.resolution), (number == 0, SIZE));
        let decoded = decoder.decode(&stored).unwrap().expect("each access unit gives its picture at once");
        let decibels = psnr(&canvas.picture(), &decoded);
        assert!(decibels > 34.0, "picture {number}: {decibels} dB");
    }
    assert_eq!(live.encoder.skipped(), 0);
}

#[test]
fn a_key_frame_begins_with_its_parameter_sets_and_says_what_it_is() {
    let mut live = Live::new(SoftwareEncoderSettings::default());
    let (_, stored) = live.encode(&Drawing::moving(Resolution::new(1280, 720), 0)).unwrap();
    let kinds = kinds(&stored);
    assert_eq!(kinds[..3], [NalKind::SequenceParameters, NalKind::PictureParameters, NalKind::IdrSlice]);
    let sps = SequenceParameters::parse(NalUnits::new(&stored).next().unwrap()).unwrap();
    assert_eq!((sps.resolution, sps.profile, sps.full_range), (Resolution::new(1280, 720), 66, Some(true)));
    assert_eq!(sps.codec(), "avc1.42C01F");
    let processors = std::thread::available_parallelism().unwrap().get();
    assert_eq!(kinds.len() - 2, processors.min(4), "a slice a processor");
}

#[test]
fn key_frames_come_on_demand_and_every_two_seconds() {
    let mut live = Live::new(SoftwareEncoderSettings::default());
    let mut keys = Vec::new();
    for number in 0..150 {
        if number == 20 {
            live.encoder.request_key_frame();
        }
        if live.encode(&Drawing::moving(SIZE, number)).unwrap().0.is_key {
            keys.push(number);
        }
    }
    assert_eq!(keys, [0, 20, 81, 142], "2 s are 60 pictures and a bit");
}

#[test]
fn the_bit_rate_is_kept_on_noise_and_follows_a_change() {
    let settings = SoftwareEncoderSettings { bits_per_second: 1_000_000, ..Default::default() };
    let mut live = Live::new(settings);
    let second = |live: &mut Live, from: usize| {
        let before = live.stream.len();
        for number in from..from + 90 {
            live.encode(&Drawing::noise(SIZE, number));
        }
        ((live.stream.len() - before) * 8 / 3) as f64
    };
    second(&mut live, 0);
    let rate = second(&mut live, 90);
    assert!((0.4..1.5).contains(&(rate / 1e6)), "{rate} bits a second instead of 1,000,000");
    let skipped = live.encoder.skipped();
    assert!(skipped > 0, "noise does not fit without skipping");
    live.encoder.set_bits_per_second(3_000_000);
    second(&mut live, 180);
    let rate = second(&mut live, 270);
    assert!((0.4..1.5).contains(&(rate / 3e6)), "{rate} bits a second instead of 3,000,000");
}

#[test]
fn a_change_of_rate_or_complexity_is_no_key_frame() {
    let mut live = Live::new(SoftwareEncoderSettings::default());
    assert!(live.encode(&Drawing::moving(SIZE, 0)).unwrap().0.is_key);
    live.encoder.set_bits_per_second(500_000);
    assert!(!live.encode(&Drawing::moving(SIZE, 1)).unwrap().0.is_key);
    live.encoder.set_frame_rate(15.0);
    assert!(!live.encode(&Drawing::moving(SIZE, 2)).unwrap().0.is_key);
    for complexity in [EncodingComplexity::Low, EncodingComplexity::High, EncodingComplexity::Medium] {
        live.encoder.set_complexity(complexity);
        assert!(!live.encode(&Drawing::moving(SIZE, 3)).unwrap().0.is_key);
    }
}

#[test]
fn a_still_picture_takes_next_to_nothing() {
    let mut live = Live::new(SoftwareEncoderSettings::default());
    let canvas = Drawing::moving(SIZE, 0);
    for _ in 0..30 {
        live.encode(&canvas);
    }
    let len = live.encode(&canvas).unwrap().1.len();
    assert!(len < 200, "{len} bytes");
}

#[test]
fn pictures_of_odd_and_changing_sizes_are_encoded() {
    let mut live = Live::new(SoftwareEncoderSettings::default());
    let mut decoder = SoftwareDecoder::new();
    for (width, height) in [(321, 241), (16, 16), (1024, 64), (160, 1200), (50, 38), (641, 480)] {
        let size = Resolution::new(width, height);
        let (written, stored) = live.encode(&Drawing::moving(size, 0)).unwrap();
        let even = Resolution::new(width & !1, height & !1);
        assert_eq!((written.is_key, written.resolution), (true, even));
        assert_eq!(decoder.decode(&stored).unwrap().unwrap().resolution(), even);
    }
}

#[test]
fn sizes_that_the_library_does_not_take_are_refused_and_the_next_picture_is_encoded() {
    let mut live = Live::new(SoftwareEncoderSettings::default());
    for (width, height) in [(15, 240), (3842, 16), (2162, 2162)] {
        let canvas = Drawing::moving(Resolution::new(width, height), 0);
        let error = live.encoder.encode(&canvas.picture(), live.now).unwrap_err();
        assert!(error.to_string().contains(&format!("{width}x{height}; choose a")), "{error}");
    }
    assert!(live.encode(&Drawing::moving(SIZE, 0)).unwrap().0.is_key);
}

#[test]
fn a_damaged_access_unit_costs_the_pictures_up_to_the_next_key_frame() {
    let mut live = Live::new(SoftwareEncoderSettings::default());
    let mut decoder = SoftwareDecoder::new();
    let mut shown = Vec::new();
    for number in 0..40 {
        if number == 20 {
            live.encoder.request_key_frame();
        }
        let canvas = Drawing::moving(SIZE, number);
        let (_, mut stored) = live.encode(&canvas).unwrap();
        if number == 10 {
            // The length is true, the slice is cut short.
            let unit = NalUnits::new(&stored).next().unwrap().bytes().to_vec();
            let cut = unit.len() / 2;
            stored = [&(cut as u32).to_be_bytes(), &unit[..cut]].concat();
        }
        match decoder.decode(&stored) {
            Ok(Some(picture)) => {
                assert!(psnr(&canvas.picture(), &picture) > 34.0, "picture {number}");
                shown.push(number);
            }
            Ok(None) => assert!((11..20).contains(&number), "nothing of {number}"),
            Err(error) => assert_eq!(number, 10, "{error}"),
        }
        assert_eq!(decoder.needs_key_frame(), (10..20).contains(&number));
    }
    assert_eq!(shown, (0..10).chain(20..40).collect::<Vec<_>>());
}

#[test]
fn any_truncation_and_any_changed_byte_leaves_a_decoder_that_heals() {
    let mut live = Live::new(SoftwareEncoderSettings::default());
    let size = Resolution::new(48, 48);
    let units: Vec<Vec<u8>> = (0..4)
        .map(|number| {
            live.encode(&Drawing::noise(size, number))
                .unwrap_or_else(|| live.encode(&Drawing::moving(size, number)).unwrap())
                .1
        })
        .collect();
    let mut decoder = SoftwareDecoder::new();
    let mut heals = |damaged: &[u8], at: usize| {
        for unit in [&units[0][..], damaged, &units[2]] {
            let _ = decoder.decode(unit);
        }
        let healed = decoder.decode(&units[0]);
        assert!(matches!(healed, Ok(Some(_))), "damaged at {at}: {:?}", healed.err());
    };
    for which in [0, 1] {
        for at in (0..units[which].len()).step_by(if which == 0 { 5 } else { 3 }) {
            heals(&units[which][..at], at);
            let mut changed = units[which].clone();
            changed[at] ^= 0x5a;
            heals(&changed, at);
        }
    }
}

#[test]
fn the_decoder_waits_for_a_key_frame_and_refuses_what_it_cannot_decode() {
    let mut decoder = SoftwareDecoder::new();
    let mut live = Live::new(SoftwareEncoderSettings::default());
    let (_, key) = live.encode(&Drawing::moving(SIZE, 0)).unwrap();
    let (_, other) = live.encode(&Drawing::moving(SIZE, 1)).unwrap();
    assert!(decoder.decode(&other).unwrap().is_none());
    assert!(decoder.decode(&key).unwrap().is_some());
    assert!(decoder.decode(&[0; 9 << 20]).unwrap_err().to_string().contains("bit rate"));
    assert!(decoder.decode(&other).unwrap().is_none(), "after an error it waits");
    let interlaced = include_bytes!("../samples/interlaced.h264");
    let sps = AnnexB::new(interlaced).next().unwrap().bytes();
    let unit = [&(sps.len() as u32).to_be_bytes(), sps].concat();
    let refused = decoder.decode(&unit).unwrap_err();
    assert_eq!(refused, SoftwareCodecError::Unsupported { what: "with interlaced pictures" });
}

#[test]
fn streams_of_x264_are_decoded_with_cabac_margins_and_slices() {
    for (stream, pictures, size) in [
        (&include_bytes!("../samples/baseline.h264")[..], 8, Resolution::new(64, 48)),
        (include_bytes!("../samples/high-delimited.h264"), 6, Resolution::new(50, 38)),
        (include_bytes!("../samples/slices.h264"), 5, Resolution::new(96, 64)),
    ] {
        let (mut splitter, mut sets) =
            (super::super::splitter::AccessUnitSplitter::new(10_000), ParameterSets::default());
        splitter.fill(|free| std::io::Read::read(&mut &*stream, free)).unwrap();
        let mut units = Vec::new();
        while let super::super::splitter::UnitPiece::Unit(unit) = splitter.next_piece() {
            units.push(unit.to_vec());
        }
        units.extend(splitter.finish().map(<[u8]>::to_vec));
        let mut decoder = SoftwareDecoder::new();
        let mut shown = 0;
        for unit in &units {
            let mut slot = vec![0; 10_000];
            let written = write_access_unit(unit, &mut slot, &mut sets).unwrap();
            let picture = decoder.decode(&slot[..written.len]).unwrap();
            shown += usize::from(picture.is_some_and(|picture| picture.resolution() == size));
        }
        assert_eq!(shown, pictures);
    }
}

/// Runs a program of FFmpeg on a stream. `None` if there is none on this machine.
fn run(program: &str, arguments: &[&str], stream: &[u8]) -> Option<(String, String)> {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let Ok(mut child) = command.spawn() else {
        println!("skipped: no {program} here (apt-get install ffmpeg)");
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let stream = stream.to_vec();
    let writer = std::thread::spawn(move || stdin.write_all(&stream));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Some((text(output.stdout), text(output.stderr)))
}

#[test]
fn ffprobe_reads_the_stream_without_a_warning() {
    let mut live = Live::new(SoftwareEncoderSettings::default());
    let size = Resolution::new(642, 482);
    for number in 0..90 {
        live.encoder.set_bits_per_second(if number < 45 { 2_000_000 } else { 600_000 });
        if number == 33 {
            live.encoder.request_key_frame();
        }
        live.encode(&Drawing::moving(size, number)).unwrap();
    }
    let entries = "stream=profile,width,height,color_range,nb_read_frames";
    let arguments =
        ["-v", "warning", "-count_frames", "-show_entries", entries, "-of", "csv", "-f", "h264", "-"];
    let Some((facts, warnings)) = run("ffprobe", &arguments, &live.stream) else { return };
    assert_eq!((facts.trim(), &warnings[..]), ("stream,Constrained Baseline,642,482,pc,90", ""));
}
