//! Tests: access units from the ring through each way to send them, read as its clients would.
#![forbid(unsafe_code)]

use std::convert::Infallible;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::viewers::{ViewerKind, ViewerRegistry};
use super::websocket::protocol::Handshake;
use super::websocket::session::StreamTimeouts;
use super::{LiveStream, VideoContainer};
use crate::camera::UnitViewer;
use crate::frame::Timestamp;
use crate::h264::{
    AccessUnitSplitter, AnnexB, NalKind, NalUnit, NalUnits, ParameterSets, UnitPiece, write_access_unit,
};
use crate::mp4::VideoTrack;
use crate::ring::ring;
use crate::ring::units::{UnitPublisher, unit_ring};
use crate::web::server::client_socket::ClientSocket;
use crate::websocket::framing::{client_close, client_text};

const SAMPLE: &[u8] = include_bytes!("../../h264/samples/baseline.h264");
/// Microseconds between two units: so few that no viewer falls behind.
const INTERVAL: u64 = 1000;
const TIMEOUTS: StreamTimeouts =
    StreamTimeouts { write: Duration::from_secs(10), pong: Duration::from_secs(50) };

/// A stream whose only group of pictures is that at the start of the sample.
struct PublishedGroup {
    publisher: UnitPublisher,
    registry: Arc<ViewerRegistry>,
    viewer: UnitViewer,
    /// The units in the stored form.
    units: Vec<Vec<u8>>,
}

fn published_group() -> PublishedGroup {
    let mut splitter = AccessUnitSplitter::new(SAMPLE.len());
    splitter.fill(|room| std::io::Read::read(&mut &*SAMPLE, room)).unwrap();
    let (mut sets, mut units) = (ParameterSets::default(), Vec::new());
    let (mut publisher, ring_of_units) = unit_ring(1, Box::new(|| {}));
    publisher.reserve(100, SAMPLE.len());
    let mut publish = |unit: &[u8]| {
        let mut slot = vec![0; SAMPLE.len() + 200];
        let written = write_access_unit(unit, &mut slot, &mut sets).unwrap();
        slot.truncate(written.len);
        if written.is_key && !units.is_empty() {
            return false;
        }
        let at = Timestamp(1_000_000 + units.len() as u64 * INTERVAL);
        publisher
            .publish(at, |room| {
                room[..slot.len()].copy_from_slice(&slot);
                Ok::<_, Infallible>(written)
            })
            .unwrap();
        units.push(slot);
        true
    };
    while let UnitPiece::Unit(unit) = splitter.next_piece()
        && publish(unit)
    {}
    assert!(units.len() > 2, "{} units", units.len());
    let (_, frames) = ring(1, 64);
    let viewer =
        UnitViewer { presence: frames.presence().unwrap(), units: ring_of_units.subscribe().unwrap() };
    PublishedGroup { publisher, registry: ViewerRegistry::new(1, 1), viewer, units }
}

fn byte_stream(unit: &[u8]) -> Vec<u8> {
    NalUnits::new(unit).flat_map(|nal| [&[0, 0, 0, 1], nal.bytes()].concat()).collect()
}

/// All that a client is sent until the camera ends.
async fn streamed(container: VideoContainer) -> (String, Vec<u8>, Vec<Vec<u8>>) {
    let PublishedGroup { publisher, registry, viewer, units } = published_group();
    let viewer = registry.enter_for_test(container.viewer_kind(), viewer);
    let (near, mut far) = UnixStream::pair().unwrap();
    drop(publisher);
    let stream = LiveStream::Video(container, viewer, "vary: Origin\r\n".into());
    let serve = stream.serve(ClientSocket::for_test(near), b"", TIMEOUTS, pending());
    let mut got = Vec::new();
    let (_, read) =
        timeout(Duration::from_secs(20), async { tokio::join!(serve, far.read_to_end(&mut got)) })
            .await
            .expect("the stream ends with its camera");
    read.unwrap();
    let totals = registry.totals_for_test()[container.viewer_kind() as usize];
    assert_eq!((totals.sent, totals.skipped, totals.connected), (units.len() as u64, 0, 0));
    let end = got.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    let body = got.split_off(end);
    assert_eq!(totals.bytes, body.len() as u64 - init_bytes(container, &units[0]));
    (String::from_utf8(got).unwrap(), body, units)
}

fn init_bytes(container: VideoContainer, key_frame: &[u8]) -> u64 {
    match container {
        VideoContainer::AnnexB => 0,
        VideoContainer::Mp4 => {
            VideoTrack::of_key_frame(key_frame).unwrap().init_segment().unwrap().len() as u64
        }
    }
}

#[tokio::test]
async fn the_byte_stream_is_that_of_the_source() {
    let (head, body, units) = streamed(VideoContainer::AnnexB).await;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\nContent-Type: video/h264\r\n"), "{head}");
    assert!(head.contains("\r\nvary: Origin\r\n"), "{head}");
    let sent: Vec<u8> = units.iter().flat_map(|unit| byte_stream(unit)).collect();
    assert_eq!(body, sent);
    assert_eq!(AnnexB::new(&body).next().map(NalUnit::kind), Some(NalKind::SequenceParameters));
}

#[tokio::test]
async fn the_mp4_has_an_initialization_segment_and_each_unit_in_a_fragment_from_time_0_on() {
    let (head, body, units) = streamed(VideoContainer::Mp4).await;
    let track = VideoTrack::of_key_frame(&units[0]).unwrap();
    let content_type = format!("Content-Type: video/mp4; codecs=\"{}\"\r\n", track.parameters.codec());
    assert!(head.contains(&content_type), "{head}");
    let mut rest = &body[..];
    let mut take = |expected: &[u8]| {
        let length = u32::from_be_bytes(rest[..4].try_into().unwrap()) as usize;
        assert_eq!(&rest[4..8], expected);
        let (found, behind) = rest.split_at(length);
        rest = behind;
        found
    };
    take(b"ftyp");
    take(b"moov");
    for (number, unit) in units.iter().enumerate() {
        let fragment = take(b"moof");
        let at = fragment.windows(4).position(|four| four == b"tfdt").unwrap() + 8;
        let time = u64::from_be_bytes(fragment[at..at + 8].try_into().unwrap());
        assert_eq!(time == 0, number == 0);
        let from = VideoTrack::parameter_set_bytes(unit);
        assert_eq!(&take(b"mdat")[8..], &unit[from..]);
    }
    assert!(rest.is_empty());
}

/// The messages that a client is sent, which acknowledges each picture: opcode and payload.
async fn messages(subprotocol: &'static str, kind: ViewerKind) -> (Vec<(u8, Vec<u8>)>, Vec<Vec<u8>>) {
    let PublishedGroup { publisher, registry, viewer, units } = published_group();
    let headers = HeaderMap::from_iter(
        [
            ("upgrade", "websocket"),
            ("connection", "upgrade"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ("sec-websocket-protocol", subprotocol),
        ]
        .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))),
    );
    let handshake = Handshake::read(&headers).unwrap();
    assert_eq!(handshake.kind(), kind);
    let viewer = registry.enter_for_test(kind, viewer);
    let (near, mut far) = UnixStream::pair().unwrap();
    let stream = LiveStream::VideoWebSocket(handshake, viewer);
    let serve = stream.serve(ClientSocket::for_test(near), b"", TIMEOUTS, pending());
    let (mut messages, mut pictures) = (Vec::new(), 0);
    let client = async {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(far.read_u8().await.unwrap());
        }
        let head = String::from_utf8(head).unwrap();
        assert!(head.contains(&format!("Sec-WebSocket-Protocol: {subprotocol}\r\n")), "{head}");
        // Until the close frame.
        while messages.last().is_none_or(|(opcode, _)| *opcode != 8) {
            let opcode = far.read_u8().await.unwrap() & 0x0f;
            let length = match far.read_u8().await.unwrap() {
                126 => far.read_u16().await.unwrap().into(),
                127 => far.read_u64().await.unwrap(),
                short => short.into(),
            };
            let mut payload = vec![0; length as usize];
            far.read_exact(&mut payload).await.unwrap();
            if payload.starts_with(b"PHV1") || payload.starts_with(b"PHM1") {
                let sequence = u32::from_be_bytes(payload[4..8].try_into().unwrap());
                let mut ack = Vec::new();
                client_text(&format!(r#"{{"type":"ack","sequence":{sequence}}}"#), [1, 2, 3, 4], &mut ack);
                pictures += 1;
                if pictures == units.len() {
                    client_close(1000, [1, 2, 3, 4], &mut ack);
                }
                far.write_all(&ack).await.unwrap();
            }
            messages.push((opcode, payload));
        }
    };
    timeout(Duration::from_secs(20), async { tokio::join!(serve, client) }).await.expect("an end");
    let totals = registry.totals_for_test()[kind as usize];
    assert_eq!((totals.sent, totals.skipped), (units.len() as u64, 0));
    assert_eq!(messages.pop().unwrap(), (8, 1000u16.to_be_bytes().to_vec()));
    drop(publisher);
    (messages, units)
}

/// The text message, the mark of key frames, and what stands behind each header.
fn check(messages: &[(u8, Vec<u8>)], magic: &[u8; 4]) -> Vec<(bool, Vec<u8>)> {
    let part = |(opcode, payload): &(u8, Vec<u8>)| {
        assert_eq!((*opcode, &payload[..4]), (2, &magic[..]));
        (payload[28] & 0x80 != 0, payload[32..].to_vec())
    };
    messages.iter().map(part).collect()
}

#[tokio::test]
async fn porthole_h264_v1_tells_the_format_and_sends_byte_streams() {
    let (messages, units) = messages("porthole.h264.v1", ViewerKind::H264).await;
    let track = VideoTrack::of_key_frame(&units[0]).unwrap().parameters;
    let format: serde_json::Value = serde_json::from_slice(&messages[0].1).unwrap();
    assert_eq!(
        (messages[0].0, &format["type"], &format["codec"]),
        (1, &"h264".into(), &track.codec().into())
    );
    assert_eq!(
        (&format["width"], &format["height"]),
        (&track.resolution.width.into(), &track.resolution.height.into())
    );
    assert!(format.get("fps").is_some());
    for (number, (is_key, sent)) in check(&messages[1..], b"PHV1").into_iter().enumerate() {
        assert_eq!((is_key, sent), (number == 0, byte_stream(&units[number])));
    }
    assert_eq!(messages.len(), 1 + units.len());
}

#[tokio::test]
async fn porthole_mp4_v1_tells_the_format_and_sends_segments() {
    let (messages, units) = messages("porthole.mp4.v1", ViewerKind::Mp4WebSocket).await;
    let track = VideoTrack::of_key_frame(&units[0]).unwrap();
    let text = String::from_utf8(messages[0].1.clone()).unwrap();
    assert!(text.contains(r#""type":"mp4""#) && text.contains(&track.parameters.codec()), "{text}");
    assert_eq!(check(&messages[1..2], b"PHI1"), [(true, track.init_segment().unwrap())]);
    for (number, (is_key, sent)) in check(&messages[2..], b"PHM1").into_iter().enumerate() {
        let sample = &units[number][VideoTrack::parameter_set_bytes(&units[number])..];
        assert!(is_key == (number == 0) && sent.ends_with(sample) && &sent[4..8] == b"moof");
    }
    assert_eq!(messages.len(), 2 + units.len());
}

/// All that a client is sent of key frames that come one after the other, until the camera ends. Each is published when the one before
/// has been sent.
async fn streamed_key_frames(container: VideoContainer, key_frames: &[Vec<u8>]) -> Vec<u8> {
    let (mut publisher, units) = unit_ring(1, Box::new(|| {}));
    publisher.reserve(10, SAMPLE.len());
    let (_, frames) = ring(1, 64);
    let viewer = UnitViewer { presence: frames.presence().unwrap(), units: units.subscribe().unwrap() };
    let registry = ViewerRegistry::new(1, 1);
    let viewer = registry.enter_for_test(container.viewer_kind(), viewer);
    let notifier = tokio::spawn(units.clone().run_notifier());
    let (near, mut far) = UnixStream::pair().unwrap();
    let stream = LiveStream::Video(container, viewer, String::new());
    let serve = stream.serve(ClientSocket::for_test(near), b"", TIMEOUTS, pending());
    let client = async {
        let mut got = Vec::new();
        for (number, unit) in key_frames.iter().enumerate() {
            let fill = |room: &mut [u8]| {
                room[..unit.len()].copy_from_slice(unit);
                let resolution = crate::frame::Resolution::new(64, 48);
                Ok::<_, Infallible>(crate::h264::WrittenUnit { len: unit.len(), resolution, is_key: true })
            };
            publisher.publish(Timestamp(1_000_000 * (1 + number as u64)), fill).unwrap();
            // What ends it has all of the picture behind it.
            let slices = |got: &[u8]| got.windows(4).filter(|four| *four == b"PICT").count();
            while slices(&got) <= number {
                if far.read_buf(&mut got).await.unwrap() == 0 {
                    return got;
                }
            }
        }
        drop(publisher);
        far.read_to_end(&mut got).await.unwrap();
        got
    };
    let (_, got) =
        timeout(Duration::from_secs(20), async { tokio::join!(serve, client) }).await.expect("an end");
    notifier.abort();
    got
}

#[tokio::test]
async fn a_stream_has_one_head_whatever_becomes_of_its_format() {
    let nal = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes()[..], bytes].concat();
    let first = |kind| AnnexB::new(SAMPLE).find(|unit: &NalUnit<'_>| unit.kind() == kind).unwrap().bytes();
    let (sps, pps) = (first(NalKind::SequenceParameters), first(NalKind::PictureParameters));
    let picture = nal(b"\x65PICT");
    let whole = [&nal(sps)[..], &nal(pps), &picture].concat();
    let damaged = [&nal(&sps[..2])[..], &nal(pps), &picture].concat();
    let key_frames = [&whole, &damaged, &whole].map(Clone::clone);
    let heads = |got: &[u8]| got.windows(9).filter(|nine| *nine == b"HTTP/1.1 ").count();
    let pictures = |got: &[u8]| got.windows(4).filter(|four| *four == b"PICT").count();
    let bytes = streamed_key_frames(VideoContainer::AnnexB, &key_frames).await;
    assert_eq!((heads(&bytes), pictures(&bytes)), (1, 3), "the byte stream is that of the source");
    let mp4 = streamed_key_frames(VideoContainer::Mp4, &key_frames).await;
    let segments = mp4.windows(4).filter(|four| *four == b"moov").count();
    assert_eq!((heads(&mp4), segments, pictures(&mp4)), (1, 1, 1), "it ends when its format does");
    let same = streamed_key_frames(VideoContainer::Mp4, &[&whole, &whole].map(Clone::clone)).await;
    assert_eq!((heads(&same), pictures(&same)), (1, 2));
}
