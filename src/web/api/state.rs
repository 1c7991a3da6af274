//! `/state` and `/healthz`: what the service does, as JSON, and whether it can give frames. Other programs read them, so
//! their keys never change.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;

use hyper::StatusCode;
use serde::Serialize;

use crate::camera::Camera;
use crate::frame::Timestamp;
use crate::led::{LedInfo, signal};
use crate::ring::units::UnitRingStats;
use crate::status::{
    AnnouncedStatus, BrokerCounters, CameraId, CameraStatus, CaptureMethod, MqttStatus, Phase, Status,
};
use crate::web::response::{Answer, no_store, text, unavailable};
use crate::web::server_state::ServerState;
use crate::web::stream::viewers::ViewerStats;

#[derive(Serialize)]
struct StateJson<'a> {
    version: &'static str,
    uptime_s: f64,
    board: &'a str,
    warning: Option<&'a str>,
    cameras: Vec<CameraJson<'a>>,
    leds: Vec<LedJson>,
    mqtt: Option<MqttJson<'a>>,
    announced: Vec<AnnouncedJson<'a>>,
}

/// A broker whose cameras are shown as they are announced.
#[derive(Serialize)]
struct AnnouncedJson<'a> {
    source: &'a str,
    connected: Option<&'a str>,
    error: Option<&'a str>,
    reconnects: u64,
    added: u64,
    removed: u64,
    refused: u64,
}

#[derive(Serialize)]
struct MqttJson<'a> {
    broker: &'a str,
    connected: Option<&'a str>,
    error: Option<&'a str>,
    reconnects: u64,
    published: u64,
    frames: u64,
    skipped: u64,
    refused: u64,
    too_large: u64,
    watchers: u64,
    backlog_bytes: u64,
}

/// The part of one camera, as it is published by MQTT.
#[derive(Serialize)]
struct PublishedCameraJson<'a> {
    version: &'static str,
    #[serde(flatten)]
    camera: CameraJson<'a>,
}

#[derive(Serialize)]
struct CameraJson<'a> {
    name: &'a str,
    state: &'static str,
    on_air: bool,
    source: &'a str,
    driver: Option<&'a str>,
    card: Option<&'a str>,
    capture: Option<&'static str>,
    format: Option<&'static str>,
    width: Option<u16>,
    height: Option<u16>,
    fps_wanted: f64,
    fps: f64,
    frames: u64,
    corrupt: u64,
    dropped: u64,
    implausible_times: u64,
    implausible_sequences: u64,
    reopens: u64,
    last_frame_age_ms: Option<f64>,
    error: Option<&'a str>,
    encoder: EncoderJson,
    ring: RingJson,
    h264: Option<H264Json<'a>>,
    broker: Option<BrokerJson>,
    viewers: Vec<ViewerJson>,
}

#[derive(Serialize)]
struct H264Json<'a> {
    encoder: Option<&'a str>,
    kbps: u32,
    kbps_wanted: Option<u32>,
    units: u64,
    key_frames: u64,
    overtaken: u64,
    lost: u64,
    failures: u64,
    encode_us_p50: Option<u64>,
    encode_us_p99: Option<u64>,
    decoded: bool,
    decode_us_p50: Option<u64>,
    decode_us_p99: Option<u64>,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct BrokerJson {
    sessions: u32,
    reconnects: u64,
    repeated: u64,
    lost: u64,
}

#[derive(Serialize)]
struct EncoderJson {
    kind: Option<&'static str>,
    quality: Option<u8>,
    subsampling: Option<&'static str>,
    encode_us_p50: Option<u64>,
    encode_us_p99: Option<u64>,
}

#[derive(Serialize)]
struct RingJson {
    slots: usize,
    leased: usize,
    slot_bytes: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct ViewerJson {
    id: u64,
    kind: &'static str,
    remote: String,
    since_s: f64,
    sent: u64,
    skipped: u64,
    bytes: u64,
    in_flight: u32,
    age_ms: f64,
}

#[derive(Serialize)]
struct LedJson {
    role: &'static str,
    line: String,
    pattern: String,
}

/// Answers with the state at this moment.
pub(crate) fn answer(server: &ServerState) -> Answer {
    let (now, status) = (Timestamp::now(), server.status.borrow().clone());
    let viewers = server.viewers.connected();
    let cameras = server.cameras.current();
    let cameras = cameras.iter().filter_map(|camera| {
        let of_it = viewers.iter().filter(|stats| stats.camera == camera.id());
        let of_it = of_it.map(|stats| viewer(stats, now)).collect();
        Some(camera_state(status.camera(camera.id())?, camera, of_it, now))
    });
    let state = StateJson {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: tenths(now.since(server.started).as_secs_f64()),
        board: &server.board,
        warning: status.warning.as_deref(),
        cameras: cameras.collect(),
        leds: server.leds.iter().map(|info| led(info, &status)).collect(),
        mqtt: status.mqtt.as_ref().map(mqtt),
        announced: status.announced.iter().map(announced).collect(),
    };
    // Structs of numbers and text always serialize.
    no_store("application/json", serde_json::to_vec(&state).unwrap_or_default())
}

/// The part of the camera `id` at `now`, with the version of the service. With the time zero, ages are zero, and two of them
/// differ only if something has happened.
pub(crate) fn camera_json(server: &ServerState, id: CameraId, now: Timestamp) -> Option<Vec<u8>> {
    let status = server.status.borrow().clone();
    let viewers = server.viewers.connected();
    let viewers = viewers.iter().filter(|stats| stats.camera == id).map(|stats| viewer(stats, now));
    let cameras = server.cameras.current();
    let camera = cameras.iter().find(|camera| camera.id() == id)?;
    let camera = camera_state(status.camera(id)?, camera, viewers.collect(), now);
    serde_json::to_vec(&PublishedCameraJson { version: env!("CARGO_PKG_VERSION"), camera }).ok()
}

fn mqtt(status: &MqttStatus) -> MqttJson<'_> {
    let counters = &status.counters;
    MqttJson {
        broker: &status.broker,
        connected: status.connected.as_deref(),
        error: status.error.as_deref(),
        reconnects: counters.reconnects.get(),
        published: counters.published.get(),
        frames: counters.frames.get(),
        skipped: counters.skipped.get(),
        refused: counters.refused.get(),
        too_large: counters.too_large.get(),
        watchers: counters.watchers.get(),
        backlog_bytes: counters.backlog.get(),
    }
}

fn announced(status: &AnnouncedStatus) -> AnnouncedJson<'_> {
    let AnnouncedStatus { source, connected, error, counters } = status;
    AnnouncedJson {
        source,
        connected: connected.as_deref(),
        error: error.as_deref(),
        reconnects: counters.reconnects.get(),
        added: counters.added.get(),
        removed: counters.removed.get(),
        refused: counters.refused.get(),
    }
}

fn camera_state<'a>(
    status: &'a CameraStatus,
    camera: &Camera,
    viewers: Vec<ViewerJson>,
    now: Timestamp,
) -> CameraJson<'a> {
    let CameraStatus { name, source, state, capturing, error, opened, counters, fps_wanted, .. } = status;
    let opened = opened.as_ref();
    let newest = camera.ring().newest().map(|frame| frame.resolution);
    let resolution = newest.or(opened.and_then(|opened| opened.resolution));
    let encoding = opened.and_then(|opened| opened.encoding);
    let stats = camera.ring().stats();
    CameraJson {
        name,
        state: state.name(),
        on_air: *capturing,
        source,
        driver: opened.map(|opened| opened.driver.as_str()),
        card: opened.map(|opened| opened.card.as_str()),
        capture: opened.and_then(|opened| opened.capture).map(CaptureMethod::name),
        format: opened.map(|opened| opened.format.name()),
        width: resolution.map(|r| r.width),
        height: resolution.map(|r| r.height),
        fps_wanted: tenths((*fps_wanted).into()),
        fps: tenths(counters.fps().into()),
        frames: counters.frames.get(),
        corrupt: counters.corrupt.get(),
        dropped: counters.dropped.get(),
        implausible_times: counters.implausible_times.get(),
        implausible_sequences: counters.implausible_sequences.get(),
        reopens: counters.reopens.get(),
        last_frame_age_ms: counters.last_frame_at().map(|at| tenths(now.since(at).as_secs_f64() * 1000.0)),
        error: error.as_deref(),
        encoder: EncoderJson {
            kind: opened.map(|_| if encoding.is_some() { "turbojpeg" } else { "passthrough" }),
            quality: encoding.map(|encoding| encoding.quality),
            subsampling: encoding.map(|encoding| encoding.subsampling),
            encode_us_p50: counters.encode.quantile_us(0.5),
            encode_us_p99: counters.encode.quantile_us(0.99),
        },
        ring: RingJson {
            slots: stats.slots,
            leased: stats.leased,
            slot_bytes: stats.slot_bytes,
            bytes: stats.slots * stats.slot_bytes,
        },
        h264: camera.units().map(|units| h264_state(status, units.stats())),
        broker: counters.broker().map(broker_state),
        viewers,
    }
}

fn h264_state(status: &CameraStatus, stats: UnitRingStats) -> H264Json<'_> {
    let (info, counters) = (status.h264.as_ref(), &status.counters);
    H264Json {
        encoder: info.and_then(|info| info.encoder.as_deref()),
        kbps: counters.h264_kbps(),
        kbps_wanted: info.and_then(|info| info.bits_per_second).map(|bits| bits / 1000),
        units: stats.published,
        key_frames: stats.key_frames,
        overtaken: counters.h264_overtaken.get(),
        lost: counters.h264_lost.get(),
        failures: counters.h264_failures.get(),
        encode_us_p50: counters.h264_encode.quantile_us(0.5),
        encode_us_p99: counters.h264_encode.quantile_us(0.99),
        decoded: info.is_some_and(|info| info.is_decoded),
        decode_us_p50: counters.h264_decode.quantile_us(0.5),
        decode_us_p99: counters.h264_decode.quantile_us(0.99),
        error: info.and_then(|info| info.error.as_deref()),
    }
}

fn broker_state(counters: &BrokerCounters) -> BrokerJson {
    BrokerJson {
        sessions: counters.sessions(),
        reconnects: counters.reconnects.get(),
        repeated: counters.repeated.get(),
        lost: counters.lost.get(),
    }
}

fn led(info: &LedInfo, status: &Status) -> LedJson {
    let pattern = match &info.error {
        None => signal(info.role, status).name(),
        Some(error) => format!("cannot be had: {error}"),
    };
    LedJson { role: info.role.name(), line: info.line.to_string(), pattern }
}

fn viewer(stats: &ViewerStats, now: Timestamp) -> ViewerJson {
    ViewerJson {
        id: stats.id,
        kind: stats.kind.name(),
        remote: stats.peer.to_string(),
        since_s: tenths(now.since(stats.since).as_secs_f64()),
        sent: stats.sent.get(),
        skipped: stats.skipped.get(),
        bytes: stats.bytes.get(),
        in_flight: stats.in_flight.load(Relaxed),
        age_ms: tenths(stats.age_ms()),
    }
}

/// Rounds to one decimal, which is as precise as these measurements are.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Answers 200, or 503 with the problem.
pub(crate) fn health(status: &Status) -> Answer {
    match health_problem(status) {
        None => text(StatusCode::OK, "ok"),
        Some(problem) => unavailable(&problem),
    }
}

/// Why the service cannot give frames; `None` if it can. An idle camera is no problem.
fn health_problem(status: &Status) -> Option<String> {
    match status.phase {
        Phase::Serving => {}
        Phase::Starting => return Some("the service is starting".into()),
        Phase::Stopping => return Some("the service is stopping".into()),
    }
    let faults = status.cameras.iter().filter(|camera| camera.state.is_fault()).map(|camera| {
        let why = camera.error.as_deref().unwrap_or("no reason given");
        format!("camera {} is {}: {why}", camera.name, camera.state)
    });
    Some(faults.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty())
}
