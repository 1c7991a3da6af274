//! Fragments of one sample: what stands before it.
#![forbid(unsafe_code)]

use shiguredo_mp4::boxes::{MfhdBox, MoofBox, TfdtBox, TfhdBox, TrafBox, TrunBox, TrunSample};
use shiguredo_mp4::{Encode, SampleFlags};

use super::TRACK;
use super::timeline::SampleTime;

/// Bytes of a fragment before its sample: `moof`, and the header of `mdat`. It has no part of variable length.
const HEAD_BYTES: usize = 108;
/// Bytes of the header of `mdat`.
const MDAT_HEADER_BYTES: usize = 8;

/// A sample that refers to others, at which no decoder can start (ISO/IEC 14496-12, 8.8.3.1).
const DEPENDENT: SampleFlags = SampleFlags::from_fields(0, 1, 0, 0, 0, true, 0);
/// A sample that refers to no other.
const INDEPENDENT: SampleFlags = SampleFlags::from_fields(0, 2, 0, 0, 0, false, 0);

/// Writes the heads of one viewer's fragments, which are numbered. Allocates only when it is made.
#[derive(Clone, Debug)]
pub struct FragmentHeads {
    fragment: MoofBox,
    head: [u8; HEAD_BYTES],
}

impl Default for FragmentHeads {
    fn default() -> Self {
        let sample = TrunSample {
            duration: Some(0),
            size: Some(0),
            flags: Some(DEPENDENT),
            composition_time_offset: None,
        };
        let fragment = MoofBox {
            mfhd_box: MfhdBox { sequence_number: 0 },
            traf_boxes: vec![TrafBox {
                tfhd_box: TfhdBox {
                    track_id: TRACK,
                    base_data_offset: None,
                    sample_description_index: None,
                    default_sample_duration: None,
                    default_sample_size: None,
                    default_sample_flags: None,
                    duration_is_empty: false,
                    default_base_is_moof: true,
                },
                tfdt_box: Some(TfdtBox { version: 1, base_media_decode_time: 0 }),
                trun_boxes: vec![TrunBox {
                    data_offset: Some(HEAD_BYTES as i32),
                    first_sample_flags: None,
                    samples: vec![sample],
                }],
                unknown_boxes: Vec::new(),
            }],
            unknown_boxes: Vec::new(),
        };
        Self { fragment, head: [0; HEAD_BYTES] }
    }
}

impl FragmentHeads {
    /// The head of the next fragment, whose sample has `sample_bytes`.
    pub fn next(&mut self, time: SampleTime, sample_bytes: usize, is_key: bool) -> &[u8] {
        // A sample is in memory, in a slot far below 4 GB.
        let bytes = sample_bytes as u32;
        let number = &mut self.fragment.mfhd_box.sequence_number;
        *number = number.wrapping_add(1);
        for track in &mut self.fragment.traf_boxes {
            track.tfdt_box = Some(TfdtBox { version: 1, base_media_decode_time: time.at });
            for sample in track.trun_boxes.iter_mut().flat_map(|run| &mut run.samples) {
                sample.duration = Some(time.lasts);
                sample.size = Some(bytes);
                sample.flags = Some(if is_key { INDEPENDENT } else { DEPENDENT });
            }
        }
        let written = self.fragment.encode(&mut self.head);
        debug_assert_eq!(written.ok(), Some(HEAD_BYTES - MDAT_HEADER_BYTES), "all fields have a fixed size");
        let mdat = &mut self.head[HEAD_BYTES - MDAT_HEADER_BYTES..];
        mdat[..4].copy_from_slice(&bytes.saturating_add(MDAT_HEADER_BYTES as u32).to_be_bytes());
        mdat[4..].copy_from_slice(b"mdat");
        &self.head
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::process::{Command, Stdio};
    use std::time::Duration;

    use shiguredo_mp4::Decode;

    use super::super::{Timeline, VideoTrack};
    use super::*;
    use crate::frame::Timestamp;
    use crate::h264::{AccessUnitSplitter, ParameterSets, UnitPiece, write_access_unit};

    #[test]
    fn a_head_is_read_as_it_was_written() {
        let mut heads = FragmentHeads::default();
        heads.next(SampleTime { at: 0, lasts: 1 }, 5, true);
        let head = heads.next(SampleTime { at: 1 << 40, lasts: 3000 }, 7, false);
        let (fragment, len) = MoofBox::decode(head).unwrap();
        assert_eq!(fragment.mfhd_box.sequence_number, 2);
        let track = &fragment.traf_boxes[0];
        assert_eq!(track.tfdt_box.as_ref().unwrap().base_media_decode_time, 1 << 40);
        let run = &track.trun_boxes[0];
        assert_eq!(run.data_offset, Some(head.len() as i32));
        let sample = &run.samples[0];
        assert_eq!((sample.duration, sample.size), (Some(3000), Some(7)));
        assert!(sample.flags.unwrap().sample_is_non_sync_sample());
        assert_eq!(head[len..], *b"\0\0\0\x0fmdat");
    }

    /// An MP4 file of a stream in Annex B at 25 pictures a second, and its number of pictures.
    fn file(stream: &[u8]) -> (Vec<u8>, usize) {
        let mut splitter = AccessUnitSplitter::new(stream.len());
        let (mut sets, mut slot) = (ParameterSets::default(), vec![0; 1 << 20]);
        let (mut timeline, mut heads) = (Timeline::default(), FragmentHeads::default());
        let (mut out, mut count) = (Vec::new(), 0);
        let mut add = |unit: &[u8]| {
            let written = write_access_unit(unit, &mut slot, &mut sets).unwrap();
            let mut sample = &slot[..written.len];
            if written.is_key {
                if count == 0 {
                    out.extend(VideoTrack::of_key_frame(sample).unwrap().init_segment().unwrap());
                }
                sample = &sample[VideoTrack::parameter_set_bytes(sample)..];
            }
            let time = timeline.next(Timestamp(count * 40_000), Duration::from_millis(40));
            out.extend_from_slice(heads.next(time, sample.len(), written.is_key));
            out.extend_from_slice(sample);
            count += 1;
        };
        splitter.fill(|room| (&mut &*stream).read(room)).unwrap();
        while let UnitPiece::Unit(unit) = splitter.next_piece() {
            add(unit);
        }
        splitter.finish().into_iter().for_each(add);
        (out, count as usize)
    }

    /// Runs a program with these bytes on its standard input. It must succeed without a complaint. `None` if it is not
    /// installed.
    fn run(program: &str, arguments: &str, input: &[u8]) -> Option<Vec<u8>> {
        let mut command = Command::new(program);
        command
            .args(arguments.split(' '))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let Ok(mut child) = command.spawn() else {
            println!(
                "skipped: no {program} here (apt-get install ffmpeg gstreamer1.0-tools gstreamer1.0-libav)"
            );
            return None;
        };
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap().unwrap();
        let complaints = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success() && complaints.is_empty(), "{program}: {complaints}");
        Some(output.stdout)
    }

    #[test]
    fn others_read_the_file_without_a_warning() {
        const FRAMES: usize = 100;
        let source = "-v error -f lavfi -i testsrc2=size=318x178:rate=25 -frames:v 100 -pix_fmt yuv420p -c:v libx264 \
                      -preset veryfast -tune zerolatency -g 40 -f h264 -";
        let Some(stream) = run("ffmpeg", source, b"") else { return };
        let (file, count) = file(&stream);
        assert_eq!(count, FRAMES);
        let probe = "-v warning -f mp4 -show_entries \
                     stream=codec_tag_string,width,height,time_base:packet=pts,dts,duration,flags -of csv=p=0 -";
        let said = String::from_utf8(run("ffprobe", probe, &file).unwrap()).unwrap();
        let packets: Vec<&str> = said.lines().filter(|line| !line.contains("avc1")).collect();
        for (number, packet) in packets.iter().enumerate() {
            let key = if number % 40 == 0 { "K" } else { "_" };
            assert!(packet.starts_with(&format!("{0},{0},3600,{key}", number * 3600)), "{packet}");
        }
        assert_eq!(packets.len(), FRAMES, "{said}");
        assert!(said.contains("avc1,318,178,1/90000"), "{said}");
        let decoded = run("ffmpeg", "-v warning -f mp4 -i - -f rawvideo -", &file).unwrap();
        assert_eq!(decoded.len(), FRAMES * 318 * 178 * 3 / 2);
        let pipeline = "-q fdsrc fd=0 ! qtdemux ! h264parse ! avdec_h264 ! videoconvert ! video/x-raw,format=GRAY8,width=318 \
                        ! fdsink fd=1";
        let Some(grey) = run("gst-launch-1.0", pipeline, &file) else { return };
        assert_eq!(grey.len(), FRAMES * 320 * 178, "rows are padded to four bytes");
    }
}
