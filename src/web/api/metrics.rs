//! `/metrics`: all counters and gauges, for Prometheus. Viewers are added up by camera and kind, those that have left
//! included. Other programs read it, so names never change.
#![forbid(unsafe_code)]

use std::sync::Arc;

use super::exposition::{CONTENT_TYPE, Exposition};
use super::process::process_figures_in_time;
use crate::frame::Timestamp;
use crate::ring::RingStats;
use crate::ring::units::{UnitRing, UnitRingStats};
use crate::status::{
    AnnouncedStatus, BrokerCounters, CameraState, CameraStatus, Counter, Counters, Histogram, MqttStatus,
};
use crate::web::access::check::AccessCheck;
use crate::web::response::{Answer, no_store};
use crate::web::server_state::ServerState;
use crate::web::stream::viewers::{DropReason, TotalsByKind, ViewerKind, ViewerTotals};

/// What the metrics of one camera are read from.
struct CameraMetrics<'a> {
    status: &'a CameraStatus,
    ring: RingStats,
    /// `None` if it has no H.264 by configuration.
    units: Option<UnitRingStats>,
    totals: TotalsByKind,
    ages: Arc<Histogram>,
    width: Option<f64>,
    height: Option<f64>,
    frame_age_s: Option<f64>,
}

/// Answers with all metrics at this moment.
pub(crate) async fn answer(server: &ServerState) -> Answer {
    let process = process_figures_in_time().await;
    let (now, status) = (Timestamp::now(), server.status.borrow().clone());
    let cameras = server.cameras.current();
    let cameras = cameras.iter().filter_map(|camera| {
        let status = status.camera(camera.id())?;
        let (totals, ages) = server.viewers.totals(camera.id());
        let size = camera.ring().newest().map(|frame| frame.resolution);
        Some(CameraMetrics {
            status,
            ring: camera.ring().stats(),
            units: camera.units().map(UnitRing::stats),
            totals,
            ages,
            width: size.map(|size| size.width.into()),
            height: size.map(|size| size.height.into()),
            frame_age_s: status.counters.last_frame_at().map(|at| now.since(at).as_secs_f64()),
        })
    });
    let cameras: Vec<CameraMetrics<'_>> = cameras.collect();
    let mut out = Exposition::default();
    let build: &[(&str, &str)] = &[("version", env!("CARGO_PKG_VERSION")), ("board", &server.board)];
    out.family("porthole_build_info", "Version and board of the service; always 1.").sample(build, 1);
    camera_metrics(&mut out, &cameras);
    h264_metrics(&mut out, &cameras);
    broker_metrics(&mut out, &cameras);
    ring_metrics(&mut out, &cameras);
    viewer_metrics(&mut out, &cameras, server);
    connection_metrics(&mut out, server);
    access_metrics(&mut out, &server.access);
    status.mqtt.iter().for_each(|mqtt| mqtt_metrics(&mut out, mqtt));
    announced_metrics(&mut out, &status.announced);
    for (name, help, value) in process.into_iter().flatten() {
        if let Some(value) = value {
            out.family(name, help).sample(&[], value);
        }
    }
    no_store(CONTENT_TYPE, out.into_text())
}

/// Adds a family with one sample for each camera.
fn each<'a>(
    out: &mut Exposition,
    cameras: &[CameraMetrics<'a>],
    (name, help): (&str, &str),
    value: impl Fn(&CameraMetrics<'a>) -> Option<f64>,
) {
    let mut family = out.family(name, help);
    for camera in cameras {
        if let Some(value) = value(camera) {
            family.sample(&[("camera", &camera.status.name)], value);
        }
    }
}

/// Adds a family with one sample for each value of a label.
fn labelled(out: &mut Exposition, (name, help): (&str, &str), label: &str, counts: &[(&str, &Counter)]) {
    let mut family = out.family(name, help);
    for (value, count) in counts {
        family.sample(&[(label, value)], count.get());
    }
}

/// Cameras and their frames.
fn camera_metrics(out: &mut Exposition, cameras: &[CameraMetrics<'_>]) {
    let help = "What the camera is doing: 1 for its state, 0 for the others.";
    let mut family = out.family("porthole_camera_state", help);
    for camera in cameras {
        for state in CameraState::ALL {
            let labels: &[(&str, &str)] = &[("camera", &camera.status.name), ("state", state.name())];
            family.sample(labels, u8::from(camera.status.state == state));
        }
    }
    let corrupt = "Frames that were not complete pictures, and were not published.";
    let dropped = "Frames lost before they could be published: skipped by the driver, or too large.";
    let reopens = "Times the source was opened again after a fault.";
    let times =
        "Frames whose time cannot be true as the source stated it. The time of their arrival was used.";
    let sequences = "Frames whose number cannot be true as the source stated it.";
    type Count = fn(&Counters) -> &Counter;
    let counts: [(&str, &str, Count); 8] = [
        ("porthole_camera_frames_total", "Frames published to viewers.", |c| &c.frames),
        ("porthole_camera_corrupt_frames_total", corrupt, |c| &c.corrupt),
        ("porthole_camera_dropped_frames_total", dropped, |c| &c.dropped),
        ("porthole_camera_implausible_times_total", times, |c| &c.implausible_times),
        ("porthole_camera_implausible_sequences_total", sequences, |c| &c.implausible_sequences),
        ("porthole_camera_reopens_total", reopens, |c| &c.reopens),
        ("porthole_camera_stills_total", "Full-size stills taken beside the stream.", |c| &c.stills),
        ("porthole_camera_failed_stills_total", "Full-size stills that failed.", |c| &c.failed_stills),
    ];
    for (name, help, count) in counts {
        each(out, cameras, (name, help), |camera| Some(count(&camera.status.counters).get() as f64));
    }
    let age = "Time since the newest frame was captured; none before the first.";
    type Gauge = fn(&CameraMetrics<'_>) -> Option<f64>;
    let gauges: [(&str, &str, Gauge); 5] = [
        ("porthole_camera_fps", "Recent frames a second.", |c| Some(c.status.counters.fps().into())),
        ("porthole_camera_wanted_fps", "Frames a second as configured.", |c| {
            Some(c.status.fps_wanted.into())
        }),
        ("porthole_camera_width_pixels", "Width of the newest frame.", |c| c.width),
        ("porthole_camera_height_pixels", "Height of the newest frame.", |c| c.height),
        ("porthole_camera_last_frame_age_seconds", age, |c| c.frame_age_s),
    ];
    for (name, help, gauge) in gauges {
        each(out, cameras, (name, help), gauge);
    }
    let help = "Time to encode a raw picture as JPEG.";
    let mut family = out.histogram_family("porthole_camera_encode_seconds", help);
    for camera in cameras {
        family.histogram(&[("camera", &camera.status.name)], &camera.status.counters.encode);
    }
}

/// H.264, of cameras that have it.
fn h264_metrics(out: &mut Exposition, cameras: &[CameraMetrics<'_>]) {
    let overtaken = "Pictures that were not encoded as H.264, because newer ones came meanwhile.";
    let lost = "Access units that were lost or damaged on the way from camera or encoder.";
    let without_start = "Access units that nobody could decode: no key frame had come before them.";
    type Figure = fn(&CameraMetrics<'_>, &UnitRingStats) -> f64;
    let figures: [(&str, &str, Figure); 7] = [
        ("porthole_h264_units_total", "Access units published.", |_, units| units.published as f64),
        ("porthole_h264_key_frames_total", "Key frames among them.", |_, units| units.key_frames as f64),
        ("porthole_h264_units_without_start_total", without_start, |_, units| units.without_start as f64),
        ("porthole_h264_overtaken_pictures_total", overtaken, |camera, _| {
            camera.status.counters.h264_overtaken.get() as f64
        }),
        ("porthole_h264_lost_units_total", lost, |camera, _| camera.status.counters.h264_lost.get() as f64),
        ("porthole_h264_failures_total", "Times that its encoder or decoder failed.", |camera, _| {
            camera.status.counters.h264_failures.get() as f64
        }),
        ("porthole_h264_bytes_total", "Bytes of access units published.", |camera, _| {
            camera.status.counters.h264_bytes.get() as f64
        }),
    ];
    for (name, help, figure) in figures {
        each(out, cameras, (name, help), |camera| Some(figure(camera, camera.units.as_ref()?)));
    }
    type Times = fn(&Counters) -> &Histogram;
    let times: [(&str, &str, Times); 2] = [
        ("porthole_h264_encode_seconds", "Time to encode a picture as H.264.", |c| &c.h264_encode),
        ("porthole_h264_decode_seconds", "Time to decode a picture for viewers of JPEG.", |c| &c.h264_decode),
    ];
    for (name, help, time) in times {
        let mut family = out.histogram_family(name, help);
        for camera in cameras.iter().filter(|camera| camera.units.is_some()) {
            family.histogram(&[("camera", &camera.status.name)], time(&camera.status.counters));
        }
    }
}

/// Frames that come through a broker.
fn broker_metrics(out: &mut Exposition, cameras: &[CameraMetrics<'_>]) {
    let repeated = "Frames that the broker sent twice or late. They were not shown.";
    type Figure = fn(&BrokerCounters) -> f64;
    let figures: [(&str, &str, Figure); 4] = [
        ("porthole_broker_sessions", "Sessions with the broker that are connected.", |b| b.sessions().into()),
        ("porthole_broker_reconnects_total", "Times that a session with the broker was opened again.", |b| {
            b.reconnects.get() as f64
        }),
        ("porthole_broker_repeated_frames_total", repeated, |b| b.repeated.get() as f64),
        ("porthole_broker_lost_frames_total", "Frames that were sent and did not come.", |b| {
            b.lost.get() as f64
        }),
    ];
    for (name, help, figure) in figures {
        each(out, cameras, (name, help), |camera| camera.status.counters.broker().map(figure));
    }
}

/// The rings between cameras and viewers.
fn ring_metrics(out: &mut Exposition, cameras: &[CameraMetrics<'_>]) {
    let leases = "Leases that viewers hold while a frame is sent to them.";
    let bytes = "Bytes of a slot. They take memory once written.";
    let seen = "Published frames that at least one viewer leased.";
    let overwritten = "Published frames that were replaced before any viewer leased them.";
    type Figure = fn(&RingStats) -> f64;
    let figures: [(&str, &str, Figure); 5] = [
        ("porthole_ring_slots", "Slots for frames.", |ring| ring.slots as f64),
        ("porthole_ring_leases", leases, |ring| ring.leased as f64),
        ("porthole_ring_slot_bytes", bytes, |ring| ring.slot_bytes as f64),
        ("porthole_ring_seen_frames_total", seen, |ring| ring.seen as f64),
        ("porthole_ring_overwritten_frames_total", overwritten, |ring| ring.overwritten as f64),
    ];
    for (name, help, figure) in figures {
        each(out, cameras, (name, help), |camera| Some(figure(&camera.ring)));
    }
}

/// Viewers, and the frames sent to them.
fn viewer_metrics(out: &mut Exposition, cameras: &[CameraMetrics<'_>], server: &ServerState) {
    type Figure = fn(&ViewerTotals) -> u64;
    let figures: [(&str, &str, Figure); 6] = [
        ("porthole_viewers", "Viewers that are connected.", |t| t.connected),
        ("porthole_viewers_entered_total", "Viewers that ever connected.", |t| t.connected_total),
        ("porthole_sent_frames_total", "Frames handed to the kernel for viewers.", |t| t.sent),
        ("porthole_sent_bytes_total", "Bytes of frames handed to the kernel.", |t| t.bytes),
        ("porthole_skipped_frames_total", "Frames that viewers were too slow for.", |t| t.skipped),
        ("porthole_frames_in_flight", "Frames sent and not acknowledged yet.", |t| t.in_flight),
    ];
    for (name, help, figure) in figures {
        let mut family = out.family(name, help);
        for camera in cameras {
            for kind in ViewerKind::ALL {
                let labels: &[(&str, &str)] = &[("camera", &camera.status.name), ("kind", kind.name())];
                family.sample(labels, figure(&camera.totals[kind as usize]));
            }
        }
    }
    let help = "Time from the capture of a frame until the kernel had all of it for a viewer.";
    let mut family = out.histogram_family("porthole_delivery_age_seconds", help);
    for camera in cameras {
        family.histogram(&[("camera", &camera.status.name)], &camera.ages);
    }
    let dropped = DropReason::ALL.map(|why| (why.name(), &server.viewers.dropped[why as usize]));
    let help = "Viewers disconnected by the service, by the reason.";
    labelled(out, ("porthole_viewers_dropped_total", help), "reason", &dropped);
    let rejected = server.viewers.rejected.get();
    out.family("porthole_viewers_refused_total", "Viewers rejected at a limit.").sample(&[], rejected);
}

/// Connections and requests, and why some were refused.
fn connection_metrics(out: &mut Exposition, server: &ServerState) {
    let counters = &server.counters;
    // In this order, so that none has ended that was not counted.
    let ended = counters.ended.get();
    let accepted = counters.accepted.get();
    let failed = "Failures to accept a connection, mostly for lack of descriptors.";
    for (name, help, value) in [
        ("porthole_connections", "Connections that are open.", accepted - ended),
        ("porthole_connections_accepted_total", "Connections that were accepted.", accepted),
        ("porthole_connections_refused_total", failed, counters.accept_failed.get()),
    ] {
        out.family(name, help).sample(&[], value);
    }
    let (total, per_address) = (&counters.rejected_total, &counters.rejected_per_address);
    let rejected = [("connections", total), ("connections_per_address", per_address)];
    let name = "porthole_connections_turned_away_total";
    labelled(out, (name, "Connections rejected at a limit."), "limit", &rejected);
    let dropped = [
        ("crowded", &counters.evicted),
        ("handshake", &counters.handshake_failed),
        ("idle", &counters.idle),
        ("malformed", &counters.malformed),
        ("stalled", &counters.stalled),
    ];
    let help = "Connections closed by the service before they became viewers, by the reason.";
    labelled(out, ("porthole_connections_dropped_total", help), "reason", &dropped);
    let Some(tls) = &server.tls else { return };
    let redirected = "Requests in plain HTTP that were redirected to HTTPS.";
    let rejected = "Certificates that were not valid, so that the older one stayed in use.";
    for (name, help, counter) in [
        ("porthole_requests_redirected_total", redirected, &counters.redirected),
        ("porthole_tls_reloads_total", "Certificates that replaced an older one.", &tls.reloads),
        ("porthole_tls_rejected_total", rejected, &tls.rejected),
    ] {
        out.family(name, help).sample(&[], counter.get());
    }
}

/// The connection to the MQTT broker, and what it carried.
fn mqtt_metrics(out: &mut Exposition, mqtt: &MqttStatus) {
    let MqttStatus { connected, counters, .. } = mqtt;
    let too_large = "Messages that were not published, because the broker takes none of that size.";
    let refused = "Messages from the broker that asked for something that cannot be done.";
    for (name, help, value) in [
        (
            "porthole_mqtt_connected",
            "1 while there is a connection to the broker.",
            connected.is_some().into(),
        ),
        ("porthole_mqtt_reconnects_total", "Connections after the first one.", counters.reconnects.get()),
        ("porthole_mqtt_published_total", "Messages published, frames included.", counters.published.get()),
        ("porthole_mqtt_frames_total", "Live frames published.", counters.frames.get()),
        (
            "porthole_mqtt_skipped_total",
            "Live frames that the way to the broker was too slow for.",
            counters.skipped.get(),
        ),
        ("porthole_mqtt_too_large_total", too_large, counters.too_large.get()),
        ("porthole_mqtt_refused_total", refused, counters.refused.get()),
        ("porthole_mqtt_watchers", "Front ends that want live frames.", counters.watchers.get()),
        (
            "porthole_mqtt_backlog_bytes",
            "Bytes written that the broker's machine has not taken.",
            counters.backlog.get(),
        ),
    ] {
        out.family(name, help).sample(&[], value);
    }
}

/// The brokers whose cameras are shown as they are announced.
fn announced_metrics(out: &mut Exposition, brokers: &[AnnouncedStatus]) {
    if brokers.is_empty() {
        return;
    }
    type Figure = fn(&AnnouncedStatus) -> u64;
    let refused = "Cameras that are not shown, for their names or their number.";
    let figures: [(&str, &str, Figure); 5] = [
        ("porthole_announced_connected", "1 while there is a connection to the broker.", |b| {
            b.connected.is_some().into()
        }),
        ("porthole_announced_reconnects_total", "Connections after the first one.", |b| {
            b.counters.reconnects.get()
        }),
        ("porthole_announced_added_total", "Cameras that came.", |b| b.counters.added.get()),
        ("porthole_announced_removed_total", "Cameras that went.", |b| b.counters.removed.get()),
        ("porthole_announced_refused_total", refused, |b| b.counters.refused.get()),
    ];
    for (name, help, figure) in figures {
        let mut family = out.family(name, help);
        for broker in brokers {
            family.sample(&[("source", &broker.source)], figure(broker));
        }
    }
}

/// Requests that were denied, sessions, and addresses that must wait.
fn access_metrics(out: &mut Exposition, access: &AccessCheck) {
    let (counters, authenticator) = (&access.counters, &access.authenticator);
    let help = "Requests without a valid token or password.";
    out.family("porthole_requests_unauthorized_total", help).sample(&[], counters.unauthorized.get());
    let help = "Requests whose credentials were not checked: too many wrong guesses from their address, or too many \
                passwords being checked.";
    let throttled = [("address", &counters.throttled), ("busy", &counters.busy)];
    labelled(out, ("porthole_requests_throttled_total", help), "reason", &throttled);
    let help = "Requests denied whatever their credentials: for another host, by a page of another site, or to change \
                something without the admin role.";
    let (host, origin, role) = (&counters.foreign_host, &counters.foreign_origin, &counters.not_admin);
    let forbidden = [("host", host), ("origin", origin), ("role", role)];
    labelled(out, ("porthole_requests_forbidden_total", help), "reason", &forbidden);
    let help = "Browsers that are logged in with a password.";
    out.family("porthole_sessions", help).sample(&[], authenticator.session_count());
    let help = "Addresses that must wait before another guess of theirs is checked.";
    out.family("porthole_locked_out_addresses", help).sample(&[], authenticator.locked_out_count());
}
