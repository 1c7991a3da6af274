//! `/metrics`: the format to the letter, and figures that are true.

use std::io::Write;
use std::process::{Command, Stdio};

use support::fakecam::{Camera, Setting, Table};
use support::http::{Multipart, get, request, send};
use support::prometheus::Exposition;
use support::tools::program;
use support::ws::Client;
use support::{Porthole, Scratch, descriptors, until};

const SMALL: [&str; 6] = ["--source", "pattern", "--size", "320x240", "--fps", "30"];
const CAMERA: (&str, &str) = ("camera", "camera");

#[track_caller]
fn metrics(service: &Porthole) -> Exposition {
    let answer = get(service.address, "/metrics");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    Exposition::parse(&answer.text())
}

#[test]
fn the_reader_of_the_format_takes_no_other() {
    let head = "# HELP a_total Text.\n# TYPE a_total counter\n";
    for (bad, why) in [
        ("a_total 1", "the last line does not end"),
        ("a_total 1\n", "outside its family"),
        ("# TYPE a gauge\na 1\n", "before its HELP and TYPE"),
        ("# HELP a Text.\na 1\n", "before its HELP and TYPE"),
        ("# HELP a Text.\n# TYPE a rate\n", "type \"rate\""),
        ("# HELP a Text.\n# TYPE a counter\n", "does not end in _total"),
        (&format!("{head}a_total 1\n{head}"), "a second time"),
        (&format!("{head}a_total 1\na_total 1\n"), "the same sample twice"),
        (&format!("{head}a_total -1\n"), "a counter below zero"),
        (&format!("{head}a_total one\n"), "is no number"),
        (&format!("{head}a_total{{x=\"\\q\"}} 1\n"), "escape"),
        (&format!("{head}a_total{{x=\"1}} 1\n"), "without its closing quote"),
        (&format!("{head}a_total{{1x=\"1\"}} 1\n"), "label name"),
        (&format!("{head}a_total{{x=\"1\",x=\"2\"}} 1\n"), "label x twice"),
        (
            "# HELP h Text.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_bucket{le=\"+Inf\"} 1\nh_sum 1\nh_count 1\n",
            "do not add up",
        ),
        ("# HELP h Text.\n# TYPE h histogram\nh_bucket{le=\"1\"} 2\nh_sum 1\nh_count 2\n", "+Inf is"),
        ("# HELP h Text.\n# TYPE h histogram\nh_bucket{le=\"+Inf\"} 2\nh_count 2\n", "without a sum"),
    ] {
        let error = Exposition::try_parse(bad).expect_err(bad).1;
        assert!(error.contains(why), "{bad:?}: {error}, not {why}");
    }
    let good = format!("{head}a_total{{x=\"\\\\ \\\" \\n\"}} 1\n");
    assert_eq!(Exposition::parse(&good).value("a_total", &[("x", "\\ \" \n")]), 1.0);
}

#[test]
fn what_a_viewer_was_sent_is_what_the_figures_say() {
    let service = Porthole::start(&SMALL);
    let before = metrics(&service);
    assert_eq!(before.value("porthole_camera_state", &[CAMERA, ("state", "idle")]), 1.0);
    assert_eq!(before.find("porthole_camera_last_frame_age_seconds", &[CAMERA]), None);
    assert_eq!(before.value("porthole_camera_frames_total", &[CAMERA]), 0.0);

    let kind = ("kind", "porthole.v1");
    let mut client = Client::porthole(service.address, "/ws");
    let (mut frames, mut bytes, mut skipped) = (0, 0, 0);
    for _ in 0..20 {
        let frame = client.frame();
        (frames, bytes, skipped) = (frames + 1, bytes + 32 + frame.jpeg.len(), skipped + frame.skipped);
        client.acknowledge(frame.sequence);
    }
    // The window ends what is on its way: two more frames and no others.
    for _ in 0..2 {
        let frame = client.frame();
        (frames, bytes, skipped) = (frames + 1, bytes + 32 + frame.jpeg.len(), skipped + frame.skipped);
    }
    let labels = &[CAMERA, kind];
    let during = until("both frames are counted as sent", || {
        Some(metrics(&service)).filter(|all| all.value("porthole_sent_frames_total", labels) >= 22.0)
    });
    assert_eq!(during.value("porthole_sent_frames_total", labels), f64::from(frames));
    assert_eq!(during.value("porthole_sent_bytes_total", labels), bytes as f64);
    assert_eq!(during.value("porthole_skipped_frames_total", labels), f64::from(skipped));
    assert_eq!(during.value("porthole_frames_in_flight", labels), 2.0);
    assert_eq!(during.value("porthole_viewers", labels), 1.0);
    assert_eq!(during.value("porthole_delivery_age_seconds_count", &[CAMERA]), f64::from(frames));
    let age = during.value("porthole_delivery_age_seconds_sum", &[CAMERA]) / f64::from(frames);
    assert!(age > 0.0 && age < 1.0, "frames were {age} s old");
    assert_eq!(during.value("porthole_camera_width_pixels", &[CAMERA]), 320.0);
    assert_eq!(during.value("porthole_camera_state", &[CAMERA, ("state", "live")]), 1.0);
    let states = during.all("porthole_camera_state");
    assert_eq!((states.len(), states.iter().map(|(_, on)| on).sum::<f64>()), (6, 1.0));
    let published = during.value("porthole_camera_frames_total", &[CAMERA]);
    assert!(published >= f64::from(frames), "{published} published");
    let encoded = during.value("porthole_camera_encode_seconds_count", &[CAMERA]);
    assert!(encoded >= published, "{encoded} encoded, {published} published");
    assert!(during.value("porthole_camera_encode_seconds_sum", &[CAMERA]) > 0.0);

    // Whoever leaves takes nothing away.
    drop(client);
    let after = until("the viewer has left", || {
        Some(metrics(&service)).filter(|all| all.value("porthole_viewers", labels) == 0.0)
    });
    assert_eq!(after.value("porthole_sent_frames_total", labels), f64::from(frames));
    assert_eq!(after.value("porthole_sent_bytes_total", labels), bytes as f64);
    assert_eq!(after.value("porthole_viewers_entered_total", labels), 1.0);
    for (kind, url) in [("snapshot", "/snapshot"), ("mjpeg", "/stream")] {
        match kind {
            "mjpeg" => drop(Multipart::open(service.address, url).part()),
            _ => assert_eq!(get(service.address, url).status, 200),
        }
        let came = until("it is counted", || {
            let all = metrics(&service);
            (all.value("porthole_sent_frames_total", &[CAMERA, ("kind", kind)]) >= 1.0).then_some(all)
        });
        assert_eq!(came.value("porthole_viewers_entered_total", &[CAMERA, ("kind", kind)]), 1.0);
    }
}

#[test]
fn faults_and_refusals_are_counted() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30");
    let config = scratch.file(
        "porthole.toml",
        "[server]\nmax_viewers = 2\nprogress_timeout_s = 1\n[[camera]]\nname = \"front\"\nsource = \"/dev/video90\"\n",
    );
    let service = Porthole::with_cameras(&[camera], &["--config", config.to_str().unwrap()]);
    let front = ("camera", "front");
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    table.set(Setting::TruncateEvery, 2);
    until("broken frames are counted", || {
        client.acknowledged();
        (metrics(&service).value("porthole_camera_corrupt_frames_total", &[front]) > 0.0).then_some(())
    });
    table.set(Setting::TruncateEvery, 0);
    table.set(Setting::Unplug, 1);
    service.until_camera_is("lost");
    assert_eq!(metrics(&service).value("porthole_camera_state", &[front, ("state", "lost")]), 1.0);
    table.set(Setting::Unplug, 0);
    service.until_camera_is("live");
    let reopened = metrics(&service);
    assert_eq!(reopened.value("porthole_camera_reopens_total", &[front]), 1.0);
    assert_eq!(reopened.all("porthole_camera_encode_seconds_count")[0].1, 0.0, "JPEGs are passed through");

    let _second = Client::bare(service.address, "/ws");
    assert_eq!(get(service.address, "/stream").status, 503);
    assert_eq!(get(service.address, "/snapshot").status, 503);
    assert_eq!(metrics(&service).value("porthole_viewers_refused_total", &[]), 2.0);
    // It acknowledges nothing any more.
    until("it is dropped", || {
        (metrics(&service).value("porthole_viewers_dropped_total", &[("reason", "unacknowledged")]) == 1.0)
            .then_some(())
    });
    let _stuck = send(service.address, "GET", "/stream", &[]);
    until("a viewer who takes nothing is dropped", || {
        (metrics(&service).value("porthole_viewers_dropped_total", &[("reason", "stalled")]) >= 1.0)
            .then_some(())
    });
    let mut rude = std::net::TcpStream::connect(service.address).unwrap();
    rude.write_all(b"this is no HTTP\r\n\r\n").unwrap();
    until("it is counted", || {
        let malformed = ("reason", "malformed");
        (metrics(&service).value("porthole_connections_dropped_total", &[malformed]) == 1.0).then_some(())
    });
}

#[test]
fn requests_without_the_token_are_counted() {
    let scratch = Scratch::new();
    let state = scratch.path("state");
    let listen = ["--listen", "0.0.0.0:0", "--state-dir", state.to_str().unwrap()];
    let service = Porthole::spawn(support::porthole().args(SMALL).args(listen));
    let token = service.url.split("token=").nth(1).unwrap().to_owned();
    assert_eq!(get(service.address, "/metrics").status, 401);
    let bearer = format!("Bearer {token}");
    let answer = request(service.address, "GET", "/metrics", &[("Authorization", &bearer)]);
    let metrics = Exposition::parse(&answer.text());
    assert_eq!(metrics.value("porthole_requests_unauthorized_total", &[]), 1.0);
    assert!(!answer.text().contains(&token));
}

#[test]
fn the_process_is_described_by_the_common_names() {
    let service = Porthole::start(&SMALL);
    let metrics = metrics(&service);
    let rss = support::proc_status(service.pid(), "VmRSS") as f64 * 1024.0;
    let told = metrics.value("process_resident_memory_bytes", &[]);
    assert!((told / rss - 1.0).abs() < 0.2, "{told} bytes, the kernel says {rss}");
    let fds = metrics.value("process_open_fds", &[]);
    assert!((fds - descriptors(service.pid()) as f64).abs() <= 2.0, "{fds} descriptors");
    let threads = support::proc_status(service.pid(), "Threads") as f64;
    assert_eq!(metrics.value("process_threads", &[]), threads);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let age = now - metrics.value("process_start_time_seconds", &[]);
    assert!((-2.0..60.0).contains(&age), "started {age} s ago");
    let build = metrics.all("porthole_build_info");
    assert_eq!(
        (build.len(), build[0].1, build[0].0["version"].as_str()),
        (1, 1.0, env!("CARGO_PKG_VERSION"))
    );
    assert!(metrics.value("porthole_connections", &[]) >= 1.0);
}

#[test]
fn promtool_has_nothing_to_object_to() {
    let Some(promtool) = program("promtool", "prometheus") else { return };
    let service = Porthole::start(&SMALL);
    Client::porthole(service.address, "/ws").acknowledged();
    let text = get(service.address, "/metrics").text();
    let mut child = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[done.stdout, done.stderr].concat()).into_owned();
    assert!(done.status.success() && said.is_empty(), "{said}");
}
