//! The state of the service as JSON. Keys are stable: other programs read them.
#![forbid(unsafe_code)]

use std::sync::atomic::Ordering::Relaxed;

use serde::Serialize;

use crate::camera::Camera;
use crate::frame::Timestamp;
use crate::led::{LedInfo, signal};
use crate::status::{CameraStatus, Phase, Status};
use crate::web::Site;
use crate::web::stream::viewer::Tally;

#[derive(Serialize)]
struct State<'a> {
    version: &'static str,
    uptime_s: f64,
    board: &'a str,
    warning: Option<&'a str>,
    cameras: Vec<CameraState<'a>>,
    leds: Vec<Led>,
}

#[derive(Serialize)]
struct CameraState<'a> {
    name: &'a str,
    state: &'static str,
    source: &'a str,
    driver: Option<&'a str>,
    card: Option<&'a str>,
    format: Option<&'static str>,
    width: Option<u16>,
    height: Option<u16>,
    fps_wanted: f64,
    fps: f64,
    frames: u64,
    corrupt: u64,
    dropped: u64,
    reopens: u64,
    last_frame_age_ms: Option<f64>,
    error: Option<&'a str>,
    encoder: Encoder,
    ring: Ring,
    viewers: Vec<Viewer>,
}

#[derive(Serialize)]
struct Encoder {
    kind: Option<&'static str>,
    quality: Option<u8>,
    subsampling: Option<&'static str>,
    encode_us_p50: Option<u64>,
    encode_us_p99: Option<u64>,
}

#[derive(Serialize)]
struct Ring {
    slots: usize,
    leased: usize,
    slot_bytes: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct Viewer {
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
struct Led {
    role: &'static str,
    line: String,
    pattern: String,
}

/// Everything that is known at this moment.
pub(in crate::web) fn json(site: &Site) -> Vec<u8> {
    let (now, status) = (Timestamp::now(), site.status.borrow().clone());
    let tallies = site.viewers.tallies();
    let cameras = status.cameras.iter().zip(&site.cameras).enumerate().map(|(index, (status, camera))| {
        let viewers = tallies.iter().filter(|tally| tally.camera == index).map(|tally| viewer(tally, now));
        camera_state(status, camera, viewers.collect(), now)
    });
    let state = State {
        version: env!("CARGO_PKG_VERSION"),
        uptime_s: tenths(now.since(site.started).as_secs_f64()),
        board: &site.settings.board,
        warning: status.warning.as_deref(),
        cameras: cameras.collect(),
        leds: site.settings.leds.iter().map(|light| led(light, &status)).collect(),
    };
    // Plain structs of numbers and text always serialize.
    serde_json::to_vec(&state).unwrap_or_default()
}

fn camera_state<'a>(
    status: &'a CameraStatus,
    camera: &Camera,
    viewers: Vec<Viewer>,
    now: Timestamp,
) -> CameraState<'a> {
    let CameraStatus { name, source, state, error, opened, counters, fps_wanted, .. } = status;
    let opened = opened.as_ref();
    let newest = camera.ring().newest().map(|frame| frame.resolution);
    let resolution = newest.or(opened.and_then(|opened| opened.resolution));
    let encoding = opened.and_then(|opened| opened.encoding);
    let stats = camera.ring().stats();
    CameraState {
        name,
        state: state.name(),
        source,
        driver: opened.map(|opened| opened.driver.as_str()),
        card: opened.map(|opened| opened.card.as_str()),
        format: opened.map(|opened| opened.format.name()),
        width: resolution.map(|r| r.width),
        height: resolution.map(|r| r.height),
        fps_wanted: tenths((*fps_wanted).into()),
        fps: tenths(counters.fps().into()),
        frames: counters.frames.get(),
        corrupt: counters.corrupt.get(),
        dropped: counters.dropped.get(),
        reopens: counters.reopens.get(),
        last_frame_age_ms: counters.last_frame_at().map(|at| tenths(now.since(at).as_secs_f64() * 1000.0)),
        error: error.as_deref(),
        encoder: Encoder {
            kind: opened.map(|_| if encoding.is_some() { "turbojpeg" } else { "passthrough" }),
            quality: encoding.map(|encoding| encoding.quality),
            subsampling: encoding.map(|encoding| encoding.subsampling),
            encode_us_p50: counters.encode.quantile_us(0.5),
            encode_us_p99: counters.encode.quantile_us(0.99),
        },
        ring: Ring {
            slots: stats.slots,
            leased: stats.leased,
            slot_bytes: stats.slot_bytes,
            bytes: stats.slots * stats.slot_bytes,
        },
        viewers,
    }
}

fn led(light: &LedInfo, status: &Status) -> Led {
    let pattern = match &light.error {
        None => signal(light.role, status).name(),
        Some(error) => format!("cannot be had: {error}"),
    };
    Led { role: light.role.name(), line: light.line.to_string(), pattern }
}

fn viewer(tally: &Tally, now: Timestamp) -> Viewer {
    Viewer {
        id: tally.id,
        kind: tally.kind.name(),
        remote: tally.remote.to_string(),
        since_s: tenths(now.since(tally.since).as_secs_f64()),
        sent: tally.sent.get(),
        skipped: tally.skipped.get(),
        bytes: tally.bytes.get(),
        in_flight: tally.in_flight.load(Relaxed),
        age_ms: tenths(tally.age_ms()),
    }
}

/// A number with one decimal: what is measured here is not known any better.
fn tenths(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// Why the service cannot serve; `None` while it can. A camera that rests can.
pub(in crate::web) fn ailment(status: &Status) -> Option<String> {
    if status.phase != Phase::Serving {
        return Some(format!(
            "the service is {}",
            if status.phase == Phase::Starting { "starting" } else { "stopping" }
        ));
    }
    let faults = status.cameras.iter().filter(|camera| camera.state.is_fault()).map(|camera| {
        format!(
            "camera {} is {}: {}",
            camera.name,
            camera.state,
            camera.error.as_deref().unwrap_or("no reason given")
        )
    });
    Some(faults.collect::<Vec<_>>().join("\n")).filter(|text| !text.is_empty())
}
