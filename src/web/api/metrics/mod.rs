//! All that is counted, for Prometheus: what [`state`](super::state) shows of each viewer, added up by camera and kind,
//! and what is remembered of those who left. Names are stable: other programs read them.
#![forbid(unsafe_code)]

mod exposition;
mod process;

use crate::camera::Camera;
use crate::frame::Timestamp;
use crate::ring::RingStats;
use crate::status::{CameraState, CameraStatus, Counters, Histogram};
use crate::web::Site;
use crate::web::stream::viewer::{Dropped, Kind as ViewerKind, Totals};
use exposition::{Exposition, Kind};
use process::Process;

pub(in crate::web) use exposition::CONTENT_TYPE;

/// One camera, with all that is known of it.
struct Seen<'a> {
    status: &'a CameraStatus,
    camera: &'a Camera,
    stats: RingStats,
    totals: Totals,
    ages: &'a Histogram,
}

/// Everything that is counted, at this moment.
pub(in crate::web) fn text(site: &Site) -> String {
    let status = site.status.borrow().clone();
    let parts = status.cameras.iter().zip(&site.cameras).zip(site.viewers.totals()).zip(site.viewers.ages());
    let cameras: Vec<Seen<'_>> = parts
        .map(|(((status, camera), totals), ages)| Seen {
            status,
            camera,
            stats: camera.ring().stats(),
            totals,
            ages,
        })
        .collect();
    let mut out = Exposition::default();
    let version = env!("CARGO_PKG_VERSION");
    let build: &[(&str, &str)] = &[("version", version), ("board", &site.settings.board)];
    out.family(Kind::Gauge, "porthole_build_info", "What is running, and on what board; always 1.")
        .sample(build, 1);
    pictures(&mut out, &cameras);
    ring(&mut out, &cameras);
    viewers(&mut out, &cameras);
    connections(&mut out, site);
    process(&mut out);
    out.into_text()
}

/// A family with one sample a camera.
fn each<'a>(
    out: &mut Exposition,
    cameras: &'a [Seen<'a>],
    (kind, name, help): (Kind, &str, &str),
    value: impl Fn(&Seen<'a>) -> Option<f64>,
) {
    let mut family = out.family(kind, name, help);
    for seen in cameras {
        if let Some(value) = value(seen) {
            family.sample(&[("camera", &seen.status.name)], value);
        }
    }
}

/// What cameras give and what is made of it.
fn pictures(out: &mut Exposition, cameras: &[Seen<'_>]) {
    let help = "What the camera is doing: 1 for its state, 0 for the others.";
    let mut family = out.family(Kind::Gauge, "porthole_camera_state", help);
    for seen in cameras {
        for state in CameraState::ALL {
            let labels: &[(&str, &str)] = &[("camera", &seen.status.name), ("state", state.name())];
            family.sample(labels, u8::from(seen.status.state == state));
        }
    }
    type Count = fn(&Counters) -> u64;
    let counts: [(&str, &str, Count); 6] = [
        ("porthole_camera_frames_total", "Frames published to viewers.", |c| c.frames.get()),
        (
            "porthole_camera_corrupt_frames_total",
            "Frames that were no whole picture, and were sent to nobody.",
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
        ("porthole_camera_failed_stills_total", "Full-size stills that the camera would not give.", |c| {
            c.failed_stills.get()
        }),
    ];
    for (name, help, count) in counts {
        each(out, cameras, (Kind::Counter, name, help), |seen| Some(count(&seen.status.counters) as f64));
    }
    let gauge = |name, help| (Kind::Gauge, name, help);
    each(out, cameras, gauge("porthole_camera_fps", "Frames a second lately."), |seen| {
        Some(seen.status.counters.fps().into())
    });
    each(out, cameras, gauge("porthole_camera_wanted_fps", "Frames a second as configured."), |seen| {
        Some(seen.status.fps_wanted.into())
    });
    let size = |seen: &Seen<'_>| seen.camera.ring().newest().map(|frame| frame.resolution);
    each(out, cameras, gauge("porthole_camera_width_pixels", "Width of the newest frame."), |seen| {
        size(seen).map(|size| size.width.into())
    });
    each(out, cameras, gauge("porthole_camera_height_pixels", "Height of the newest frame."), |seen| {
        size(seen).map(|size| size.height.into())
    });
    let now = Timestamp::now();
    let help = "Time since the newest frame was captured; none before the first.";
    each(out, cameras, gauge("porthole_camera_last_frame_age_seconds", help), |seen| {
        seen.status.counters.last_frame_at().map(|at| now.since(at).as_secs_f64())
    });
    let help = "Time to turn a raw picture into a JPEG.";
    let mut family = out.family(Kind::Histogram, "porthole_camera_encode_seconds", help);
    for seen in cameras {
        family.histogram(&[("camera", &seen.status.name)], &seen.status.counters.encode);
    }
}

/// What lies between cameras and viewers.
fn ring(out: &mut Exposition, cameras: &[Seen<'_>]) {
    type Figure = fn(&RingStats) -> usize;
    let figures: [(&str, &str, Figure); 3] = [
        ("porthole_ring_slots", "Slots for frames.", |ring| ring.slots),
        ("porthole_ring_leases", "Slots held by viewers who are being sent what is in them.", |ring| {
            ring.leased
        }),
        ("porthole_ring_slot_bytes", "Bytes a slot has room for; memory once written.", |ring| {
            ring.slot_bytes
        }),
    ];
    for (name, help, figure) in figures {
        each(out, cameras, (Kind::Gauge, name, help), |seen| Some(figure(&seen.stats) as f64));
    }
    let help = "Published frames that at least one viewer took.";
    each(out, cameras, (Kind::Counter, "porthole_ring_seen_frames_total", help), |seen| {
        Some(seen.stats.seen as f64)
    });
    let help = "Published frames that were replaced before any viewer took them.";
    each(out, cameras, (Kind::Counter, "porthole_ring_overwritten_frames_total", help), |seen| {
        Some(seen.stats.overwritten as f64)
    });
}

/// Who watches, and what they got.
fn viewers(out: &mut Exposition, cameras: &[Seen<'_>]) {
    use crate::web::stream::viewer::Total;
    type Figure = fn(&Total) -> u64;
    let figures: [(Kind, &str, &str, Figure); 6] = [
        (Kind::Gauge, "porthole_viewers", "Viewers there are.", |t| t.present),
        (Kind::Counter, "porthole_viewers_entered_total", "Viewers who ever came.", |t| t.came),
        (Kind::Counter, "porthole_sent_frames_total", "Frames handed to the kernel for viewers.", |t| t.sent),
        (Kind::Counter, "porthole_sent_bytes_total", "Bytes of frames handed to the kernel.", |t| t.bytes),
        (Kind::Counter, "porthole_skipped_frames_total", "Frames viewers were too slow for.", |t| t.skipped),
        (Kind::Gauge, "porthole_frames_in_flight", "Frames sent and not acknowledged yet.", |t| t.in_flight),
    ];
    for (kind, name, help, figure) in figures {
        let mut family = out.family(kind, name, help);
        for seen in cameras {
            for viewers in ViewerKind::ALL {
                let labels: &[(&str, &str)] = &[("camera", &seen.status.name), ("kind", viewers.name())];
                family.sample(labels, figure(&seen.totals[viewers as usize]));
            }
        }
    }
    let help = "Time from the capture of a frame to when the kernel had all of it for a viewer.";
    let mut family = out.family(Kind::Histogram, "porthole_delivery_age_seconds", help);
    for seen in cameras {
        family.histogram(&[("camera", &seen.status.name)], seen.ages);
    }
}

/// Who came, who was turned away, who was dropped.
fn connections(out: &mut Exposition, site: &Site) {
    let counters = &site.counters;
    let help = "Viewers dropped, by what they failed to do.";
    let mut family = out.family(Kind::Counter, "porthole_viewers_dropped_total", help);
    for why in Dropped::ALL {
        family.sample(&[("reason", why.name())], site.viewers.dropped(why));
    }
    let help = "Viewers turned away because all places were taken, or all that one address may have.";
    out.family(Kind::Counter, "porthole_viewers_refused_total", help).sample(&[], counters.refused.get());
    // In this order, so that none has ended that was not counted.
    let ended = counters.ended.get();
    let accepted = counters.accepted.get();
    out.family(Kind::Gauge, "porthole_connections", "Connections there are.").sample(&[], accepted - ended);
    out.family(Kind::Counter, "porthole_connections_accepted_total", "Connections that were accepted.")
        .sample(&[], accepted);
    let help = "Connections that could not be accepted, most likely for want of descriptors.";
    out.family(Kind::Counter, "porthole_connections_refused_total", help)
        .sample(&[], counters.unaccepted.get());
    let help = "Connections turned away at a limit.";
    out.family(Kind::Counter, "porthole_connections_turned_away_total", help)
        .sample(&[("limit", "connections")], counters.crowded.get())
        .sample(&[("limit", "connections_per_address")], counters.crowded_address.get());
    let help = "Connections ended by the service before they became viewers, by what the peer failed to do.";
    out.family(Kind::Counter, "porthole_connections_dropped_total", help)
        .sample(&[("reason", "crowded")], counters.sent_away.get())
        .sample(&[("reason", "handshake")], counters.handshake.get())
        .sample(&[("reason", "idle")], counters.idle.get())
        .sample(&[("reason", "malformed")], counters.malformed.get())
        .sample(&[("reason", "stalled")], counters.stalled.get());
    if let Some(tls) = &site.tls {
        let help = "Requests in plain HTTP that were sent on to HTTPS.";
        out.family(Kind::Counter, "porthole_requests_redirected_total", help)
            .sample(&[], counters.plain.get());
        let help = "Certificates that took the place of an older one.";
        out.family(Kind::Counter, "porthole_tls_reloads_total", help).sample(&[], tls.reloads.get());
        let help = "Certificates that were no good, so that the older one is served with.";
        out.family(Kind::Counter, "porthole_tls_rejected_total", help).sample(&[], tls.rejected.get());
    }
    let help = "Requests without a right token or password.";
    out.family(Kind::Counter, "porthole_requests_unauthorized_total", help)
        .sample(&[], counters.unauthorized.get());
    let help = "Requests not looked at, as too much from their address was wrong before, or too many passwords were being checked.";
    out.family(Kind::Counter, "porthole_requests_throttled_total", help)
        .sample(&[("reason", "address")], counters.throttled.get())
        .sample(&[("reason", "busy")], counters.unchecked.get());
    let help = "Requests refused whoever sent them: for another host, by a page of another site, or to change something with a password that only lets one see.";
    out.family(Kind::Counter, "porthole_requests_forbidden_total", help)
        .sample(&[("reason", "host")], counters.foreign_host.get())
        .sample(&[("reason", "origin")], counters.foreign_origin.get())
        .sample(&[("reason", "role")], counters.not_admin.get());
    let (sessions, locked_out) = site.auth.figures();
    out.family(Kind::Gauge, "porthole_sessions", "Browsers that are logged in with a password.")
        .sample(&[], sessions);
    let help =
        "Addresses that have to wait before anything from them is looked at that is not known to be right.";
    out.family(Kind::Gauge, "porthole_locked_out_addresses", help).sample(&[], locked_out);
}

/// What all of it costs, by the names that every exporter uses.
fn process(out: &mut Exposition) {
    let process = Process::now();
    let whole = |value: Option<u64>| value.map(|value| value as f64);
    for (kind, name, help, value) in [
        (Kind::Counter, "process_cpu_seconds_total", "Processor time taken.", process.cpu_s),
        (Kind::Gauge, "process_resident_memory_bytes", "Memory in use.", whole(process.resident)),
        (Kind::Gauge, "process_virtual_memory_bytes", "Address space.", whole(process.virtual_memory)),
        (Kind::Gauge, "process_threads", "Threads.", whole(process.threads)),
        (Kind::Gauge, "process_open_fds", "Open descriptors.", whole(process.open_fds)),
        (Kind::Gauge, "process_max_fds", "Most descriptors there may be.", whole(process.max_fds)),
        (Kind::Gauge, "process_start_time_seconds", "Start, in the Unix epoch.", process.started_s),
    ] {
        if let Some(value) = value {
            out.family(kind, name, help).sample(&[], value);
        }
    }
}
