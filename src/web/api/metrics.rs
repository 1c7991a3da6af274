//! `/metrics`: all counters and gauges, for Prometheus. Viewers are added up by camera and kind, those that have left
//! included. Other programs read it, so names never change.
#![forbid(unsafe_code)]

use super::exposition::{CONTENT_TYPE, Exposition};
use super::process::ProcessStats;
use crate::frame::{Frame, Timestamp};
use crate::ring::RingStats;
use crate::status::{CameraState, CameraStatus, Counters, Histogram};
use crate::web::access::check::AccessCheck;
use crate::web::response::{Answer, no_store};
use crate::web::server_state::ServerState;
use crate::web::stream::viewers::{DropReason, TotalsByKind, ViewerKind, ViewerRegistry, ViewerTotals};

/// What the metrics of one camera are read from.
struct CameraMetrics<'a> {
    status: &'a CameraStatus,
    newest: Option<Frame>,
    stats: RingStats,
    totals: TotalsByKind,
    ages: &'a Histogram,
}

/// Answers with all metrics at this moment.
pub(crate) fn answer(server: &ServerState) -> Answer {
    let status = server.status.borrow().clone();
    let parts =
        status.cameras.iter().zip(&server.cameras).zip(server.viewers.totals()).zip(server.viewers.ages());
    let cameras: Vec<CameraMetrics<'_>> = parts
        .map(|(((status, camera), totals), ages)| CameraMetrics {
            status,
            newest: camera.ring().newest(),
            stats: camera.ring().stats(),
            totals,
            ages,
        })
        .collect();
    let mut out = Exposition::default();
    let version = env!("CARGO_PKG_VERSION");
    let build: &[(&str, &str)] = &[("version", version), ("board", &server.board)];
    out.family("porthole_build_info", "Version and board of the service; always 1.").sample(build, 1);
    camera_metrics(&mut out, &cameras);
    ring_metrics(&mut out, &cameras);
    viewer_metrics(&mut out, &cameras, &server.viewers);
    connection_metrics(&mut out, server);
    access_metrics(&mut out, &server.access);
    process_metrics(&mut out);
    no_store(CONTENT_TYPE, out.into_text())
}

/// Adds a family with one sample for each camera.
fn each<'a>(
    out: &mut Exposition,
    cameras: &'a [CameraMetrics<'a>],
    name: &str,
    help: &str,
    value: impl Fn(&CameraMetrics<'a>) -> Option<f64>,
) {
    let mut family = out.family(name, help);
    for camera in cameras {
        if let Some(value) = value(camera) {
            family.sample(&[("camera", &camera.status.name)], value);
        }
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
    type Count = fn(&Counters) -> u64;
    let counts: [(&str, &str, Count); 6] = [
        ("porthole_camera_frames_total", "Frames published to viewers.", |c| c.frames.get()),
        (
            "porthole_camera_corrupt_frames_total",
            "Frames that were not complete pictures, and were not published.",
            |c| c.corrupt.get(),
        ),
        (
            "porthole_camera_dropped_frames_total",
            "Frames lost before they could be published: skipped by the driver, or too large.",
            |c| c.dropped.get(),
        ),
        ("porthole_camera_reopens_total", "Times the source was opened again after a fault.", |c| {
            c.reopens.get()
        }),
        ("porthole_camera_stills_total", "Full-size stills taken beside the stream.", |c| c.stills.get()),
        ("porthole_camera_failed_stills_total", "Full-size stills that failed.", |c| c.failed_stills.get()),
    ];
    for (name, help, count) in counts {
        each(out, cameras, name, help, |camera| Some(count(&camera.status.counters) as f64));
    }
    each(out, cameras, "porthole_camera_fps", "Recent frames a second.", |camera| {
        Some(camera.status.counters.fps().into())
    });
    each(out, cameras, "porthole_camera_wanted_fps", "Frames a second as configured.", |camera| {
        Some(camera.status.fps_wanted.into())
    });
    let size = |camera: &CameraMetrics<'_>| camera.newest.map(|frame| frame.resolution);
    each(out, cameras, "porthole_camera_width_pixels", "Width of the newest frame.", |camera| {
        size(camera).map(|size| size.width.into())
    });
    each(out, cameras, "porthole_camera_height_pixels", "Height of the newest frame.", |camera| {
        size(camera).map(|size| size.height.into())
    });
    let now = Timestamp::now();
    let help = "Time since the newest frame was captured; none before the first.";
    each(out, cameras, "porthole_camera_last_frame_age_seconds", help, |camera| {
        camera.status.counters.last_frame_at().map(|at| now.since(at).as_secs_f64())
    });
    let help = "Time to encode a raw picture as JPEG.";
    let mut family = out.histogram_family("porthole_camera_encode_seconds", help);
    for camera in cameras {
        family.histogram(&[("camera", &camera.status.name)], &camera.status.counters.encode);
    }
}

/// The rings between cameras and viewers.
fn ring_metrics(out: &mut Exposition, cameras: &[CameraMetrics<'_>]) {
    type Figure = fn(&RingStats) -> usize;
    let figures: [(&str, &str, Figure); 3] = [
        ("porthole_ring_slots", "Slots for frames.", |ring| ring.slots),
        ("porthole_ring_leases", "Leases that viewers hold while a frame is sent to them.", |ring| {
            ring.leased
        }),
        ("porthole_ring_slot_bytes", "Bytes of a slot. They take memory once written.", |ring| {
            ring.slot_bytes
        }),
    ];
    for (name, help, figure) in figures {
        each(out, cameras, name, help, |camera| Some(figure(&camera.stats) as f64));
    }
    let help = "Published frames that at least one viewer leased.";
    each(out, cameras, "porthole_ring_seen_frames_total", help, |camera| Some(camera.stats.seen as f64));
    let help = "Published frames that were replaced before any viewer leased them.";
    each(out, cameras, "porthole_ring_overwritten_frames_total", help, |camera| {
        Some(camera.stats.overwritten as f64)
    });
}

/// Viewers, and the frames sent to them.
fn viewer_metrics(out: &mut Exposition, cameras: &[CameraMetrics<'_>], registry: &ViewerRegistry) {
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
            for viewers in ViewerKind::ALL {
                let labels: &[(&str, &str)] = &[("camera", &camera.status.name), ("kind", viewers.name())];
                family.sample(labels, figure(&camera.totals[viewers as usize]));
            }
        }
    }
    let help = "Time from the capture of a frame until the kernel had all of it for a viewer.";
    let mut family = out.histogram_family("porthole_delivery_age_seconds", help);
    for camera in cameras {
        family.histogram(&[("camera", &camera.status.name)], camera.ages);
    }
    let help = "Viewers disconnected by the service, by the reason.";
    let mut family = out.family("porthole_viewers_dropped_total", help);
    for why in DropReason::ALL {
        family.sample(&[("reason", why.name())], registry.dropped(why));
    }
    let help = "Viewers rejected at a limit.";
    out.family("porthole_viewers_refused_total", help).sample(&[], registry.rejected());
}

/// Connections and requests, and why some were refused.
fn connection_metrics(out: &mut Exposition, server: &ServerState) {
    let counters = &server.counters;
    // In this order, so that none has ended that was not counted.
    let ended = counters.ended.get();
    let accepted = counters.accepted.get();
    out.family("porthole_connections", "Connections that are open.").sample(&[], accepted - ended);
    out.family("porthole_connections_accepted_total", "Connections that were accepted.")
        .sample(&[], accepted);
    let help = "Failures to accept a connection, mostly for lack of descriptors.";
    out.family("porthole_connections_refused_total", help).sample(&[], counters.accept_failed.get());
    let help = "Connections rejected at a limit.";
    out.family("porthole_connections_turned_away_total", help)
        .sample(&[("limit", "connections")], counters.rejected_total.get())
        .sample(&[("limit", "connections_per_address")], counters.rejected_per_address.get());
    let help = "Connections closed by the service before they became viewers, by the reason.";
    out.family("porthole_connections_dropped_total", help)
        .sample(&[("reason", "crowded")], counters.evicted.get())
        .sample(&[("reason", "handshake")], counters.handshake_failed.get())
        .sample(&[("reason", "idle")], counters.idle.get())
        .sample(&[("reason", "malformed")], counters.malformed.get())
        .sample(&[("reason", "stalled")], counters.stalled.get());
    if let Some(tls) = &server.tls {
        let help = "Requests in plain HTTP that were redirected to HTTPS.";
        out.family("porthole_requests_redirected_total", help).sample(&[], counters.redirected.get());
        let help = "Certificates that replaced an older one.";
        out.family("porthole_tls_reloads_total", help).sample(&[], tls.reloads.get());
        let help = "Certificates that were not valid, so that the older one stayed in use.";
        out.family("porthole_tls_rejected_total", help).sample(&[], tls.rejected.get());
    }
}

/// Requests that were denied, sessions, and addresses that must wait.
fn access_metrics(out: &mut Exposition, access: &AccessCheck) {
    let counters = &access.counters;
    let help = "Requests without a valid token or password.";
    out.family("porthole_requests_unauthorized_total", help).sample(&[], counters.unauthorized.get());
    let help = "Requests whose credentials were not checked: too many wrong guesses from their address, or too many passwords being checked.";
    out.family("porthole_requests_throttled_total", help)
        .sample(&[("reason", "address")], counters.throttled.get())
        .sample(&[("reason", "busy")], counters.busy.get());
    let help = "Requests denied whatever their credentials: for another host, by a page of another site, or to change something without the admin role.";
    out.family("porthole_requests_forbidden_total", help)
        .sample(&[("reason", "host")], counters.foreign_host.get())
        .sample(&[("reason", "origin")], counters.foreign_origin.get())
        .sample(&[("reason", "role")], counters.not_admin.get());
    out.family("porthole_sessions", "Browsers that are logged in with a password.")
        .sample(&[], access.authenticator.session_count());
    let help = "Addresses that must wait before another guess of theirs is checked.";
    out.family("porthole_locked_out_addresses", help).sample(&[], access.authenticator.locked_out_count());
}

/// The resources of the process, under the names that all exporters use.
fn process_metrics(out: &mut Exposition) {
    let process = ProcessStats::now();
    let whole = |value: Option<u64>| value.map(|value| value as f64);
    for (name, help, value) in [
        ("process_cpu_seconds_total", "Processor time taken.", process.cpu_s),
        ("process_resident_memory_bytes", "Memory in use.", whole(process.resident)),
        ("process_virtual_memory_bytes", "ListenAddress space.", whole(process.virtual_memory)),
        ("process_threads", "Threads.", whole(process.threads)),
        ("process_open_fds", "Open descriptors.", whole(process.open_fds)),
        ("process_max_fds", "Most descriptors there may be.", whole(process.max_fds)),
        ("process_start_time_seconds", "Start, in the Unix epoch.", process.started_s),
    ] {
        if let Some(value) = value {
            out.family(name, help).sample(&[], value);
        }
    }
}
