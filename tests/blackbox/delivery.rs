//! Every way to take frames, and what each is promised.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::{Value, json};
use tungstenite::Message;

use support::http::{Multipart, get, request, send};
use support::picture::decode;
use support::prometheus::Exposition;
use support::ws::Client;
use support::{Porthole, Scratch, proc_status, until};

const PATTERN: [&str; 6] = ["--source", "pattern", "--size", "320x240", "--fps", "60"];

fn microseconds() -> u64 {
    support::fakecam::now_ns() / 1000
}

#[test]
fn porthole_v1_frames_carry_their_facts() {
    let service = Porthole::start(&PATTERN);
    let mut client = Client::porthole(service.address, "/ws");
    let mut last: Option<support::ws::Frame> = None;
    // Pictures that a busy machine came too late to make have numbers too.
    let mut missed = 0;
    for _ in 0..30 {
        let frame = client.acknowledged();
        let picture = decode(&frame.jpeg);
        assert_eq!((frame.width, frame.height), (320, 240));
        assert_eq!((picture.width, picture.height), (320, 240));
        let ahead = picture.pattern_number() - frame.sequence;
        let dropped = service.camera()["dropped"].as_u64().unwrap();
        let is_that = ahead >= missed && u64::from(ahead) <= dropped;
        assert!(
            is_that,
            "frame {} has picture {}, {dropped} missed",
            frame.sequence,
            picture.pattern_number()
        );
        missed = ahead;
        let now = microseconds();
        assert!(frame.captured_at <= frame.sent_at && frame.sent_at <= now, "{frame:?} at {now}");
        if let Some(last) = last {
            assert_eq!(frame.sequence, last.sequence + 1 + frame.skipped);
            assert!(frame.captured_at > last.captured_at);
        }
        last = Some(frame);
    }
}

#[test]
fn no_more_than_the_window_is_on_its_way() {
    let service = Porthole::start(&PATTERN);
    let mut client = Client::porthole(service.address, "/ws");
    // A second viewer tells how time goes by.
    let mut other = Client::bare(service.address, "/ws");
    let (first, second) = (client.frame(), client.frame());
    for _ in 0..30 {
        other.binary();
    }
    client.acknowledge(second.sequence);
    let third = client.frame();
    assert!(third.skipped >= 20, "{} frames were skipped while none was acknowledged", third.skipped);
    assert_eq!(first.sequence + 1, second.sequence);
    let viewer = service.camera()["viewers"][0].clone();
    assert_eq!(viewer["kind"], "porthole.v1");
    assert!(viewer["in_flight"].as_u64().unwrap() <= 2, "{viewer}");
    assert!(viewer["skipped"].as_u64().unwrap() >= 20, "{viewer}");
}

#[test]
fn a_viewer_that_acknowledges_nothing_is_dropped_and_new_frames_do_not_save_it() {
    let scratch = Scratch::new();
    let service = Porthole::configured(
        &scratch,
        "[server]\nprogress_timeout_s = 1\n[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\nfps = 60\n",
    );
    let mut client = Client::porthole(service.address, "/ws");
    let mut frames = 0;
    let ended = loop {
        match client.try_read() {
            Ok(Message::Binary(_)) => frames += 1,
            Ok(Message::Close(reason)) => break reason,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(u16::from(ended.unwrap().code), 1008);
    assert_eq!(frames, 2);
    until("it is out of the register", || {
        service.camera()["viewers"].as_array().unwrap().is_empty().then_some(())
    });
}

#[test]
fn pings_are_answered_with_the_servers_clock() {
    let service = Porthole::start(&PATTERN);
    let mut client = Client::porthole(service.address, "/ws");
    for t in [json!(17.25), json!("text"), json!({"deep": [1, null]}), json!(null)] {
        let before = microseconds();
        client.say(&json!({ "type": "ping", "t": t }));
        let answer = client.text();
        assert_eq!((&answer["type"], &answer["t"]), (&json!("pong"), &t));
        assert!((before..=microseconds()).contains(&answer["now"].as_u64().unwrap()));
    }
    client.send(Message::Ping("still there?".into()));
    let pong = std::iter::repeat_with(|| client.read()).find(|message| matches!(message, Message::Pong(_)));
    assert_eq!(pong, Some(Message::Pong("still there?".into())));
}

#[test]
fn without_subprotocol_each_message_is_a_jpeg() {
    let service = Porthole::start(&PATTERN);
    let mut client = Client::bare(service.address, "/ws");
    let numbers: Vec<u32> = (0..20).map(|_| decode(&client.binary()).pattern_number()).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[test]
fn go2rtcs_player_hears_its_request_before_the_first_frame() {
    let service = Porthole::start(&PATTERN);
    let mut client = Client::bare(service.address, "/ws");
    client.send(Message::text(r#"{"type":"mjpeg"}"#));
    assert_eq!(client.read(), Message::text(r#"{"type":"mjpeg"}"#));
    decode(&client.binary());
}

#[test]
fn the_tutorials_page_gets_its_json() {
    let service = Porthole::start(&PATTERN);
    let mut client = Client::bare(service.address, "/ws/some-path1/");
    let numbers: Vec<u32> = (0..10)
        .map(|_| {
            let message = client.text();
            let keys: Vec<&String> = message.as_object().unwrap().keys().collect();
            assert_eq!(keys, ["leftimg"]);
            let jpeg = BASE64_STANDARD.decode(message["leftimg"].as_str().unwrap().as_bytes()).unwrap();
            decode(&jpeg).pattern_number()
        })
        .collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
}

#[test]
fn a_stream_is_multipart_to_the_letter() {
    let service = Porthole::start(&PATTERN);
    let mut stream = Multipart::open(service.address, "/stream");
    assert!(stream.head.contains("\r\nContent-Type: multipart/x-mixed-replace;boundary="), "{}", stream.head);
    for line in stream.head.lines() {
        assert!(line.len() < 127, "{} bytes is more than some clients take: {line}", line.len());
    }
    let mut last = 0;
    for _ in 0..20 {
        let (head, body) = stream.part();
        let expected = format!("Content-Type: image/jpeg\r\nContent-Length: {}\r\n\r\n", body.len());
        assert_eq!(head, expected);
        let number = decode(&body).pattern_number();
        assert!(number > last, "{number} after {last}");
        last = number;
    }
}

#[test]
fn the_boundary_comes_with_its_frame_and_not_with_the_next() {
    let service = Porthole::start(&["--source", "pattern", "--size", "320x240", "--fps", "0.5"]);
    let mut stream = Multipart::open(service.address, "/stream");
    stream.part();
    let shown = Instant::now();
    let boundary = format!("--{}\r\n", stream.boundary);
    assert_eq!(stream.take(boundary.len()), boundary.as_bytes());
    // The next frame is two seconds away.
    assert!(shown.elapsed() < Duration::from_secs(1), "the boundary took {:?}", shown.elapsed());
}

#[test]
fn the_streams_header_does_not_wait_for_a_frame() {
    let service = Porthole::start(&["--source", "exec:sleep 1000"]);
    let stream = Multipart::open(service.address, "/stream");
    assert!(stream.head.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(service.camera()["frames"], 0);
}

#[test]
fn every_url_existing_clients_use_is_served() {
    let service = Porthole::start(&PATTERN);
    for url in [
        "/stream",
        "/?action=stream",
        "/?action=stream&1608856928650",
        "/webcam/?action=stream",
        "/?dummy&action=stream&x=",
        "/cameras/camera/stream",
    ] {
        decode(&Multipart::open(service.address, url).part().1);
    }
    for url in
        ["/snapshot", "/snapshot.jpg", "/?action=snapshot", "/webcam/?action=snapshot&t=1", "/snapshot?1608"]
    {
        let answer = get(service.address, url);
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/jpeg")), "{url}");
        assert_eq!(answer.header("content-length"), Some(answer.body.len().to_string().as_str()), "{url}");
        decode(&answer.body);
    }
}

#[test]
fn a_snapshot_is_as_fresh_as_asked() {
    let service = Porthole::start(&["--source", "pattern", "--size", "320x240", "--fps", "4"]);
    let mut viewer = Client::porthole(service.address, "/ws");
    let newest = viewer.acknowledged();
    let stale = decode(&get(service.address, "/snapshot").body).pattern_number();
    assert!(stale >= newest.sequence);
    let newest = viewer.acknowledged().sequence;
    let asked = Instant::now();
    let fresh = decode(&get(service.address, "/snapshot?max_age=0").body).pattern_number();
    assert!(fresh > newest, "frame {fresh} had been captured before it was asked for");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?} for a frame every 250 ms", asked.elapsed());
    let bad = get(service.address, "/snapshot?max_age=soon");
    assert_eq!((bad.status, bad.text().contains("\"soon\"")), (400, true));
}

#[test]
fn a_snapshot_after_a_rest_is_not_the_one_from_before() {
    let mut arguments = PATTERN.to_vec();
    arguments.extend(["--linger", "0"]);
    let service = Porthole::start(&arguments);
    let before = decode(&get(service.address, "/snapshot").body).pattern_number();
    service.until_camera_is("idle");
    let asked = microseconds();
    let after = decode(&get(service.address, "/snapshot").body).pattern_number();
    assert!(after > before);
    let age = service.camera()["last_frame_age_ms"].as_f64().unwrap() * 1000.0;
    let captured = microseconds() as f64 - age;
    assert!(
        captured >= asked as f64,
        "the frame had been captured {} us before the request",
        asked as f64 - captured
    );
}

#[test]
fn a_snapshot_of_a_camera_that_cannot_give_one_says_why() {
    let service = Porthole::start(&["--source", "/dev/no-such-camera"]);
    let answer = get(service.address, "/snapshot");
    assert_eq!(answer.status, 503);
    assert!(answer.text().contains("/dev/no-such-camera: no such device"), "{}", answer.text());
    assert_eq!(answer.header("retry-after"), Some("1"));
}

#[test]
fn the_state_has_the_documented_keys_and_no_others() {
    let service = Porthole::start(&PATTERN);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    let state = service.state();
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<String>>();
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<BTreeSet<String>>();
    assert_eq!(keys(&state), words("version uptime_s board warning cameras leds mqtt announced"));
    let camera = &state["cameras"][0];
    assert_eq!(
        keys(camera),
        words(
            "name state source driver card format width height fps_wanted fps frames corrupt dropped reopens \
             last_frame_age_ms error encoder ring h264 viewers capture implausible_times implausible_sequences \
             on_air broker"
        )
    );
    assert_eq!(keys(&camera["encoder"]), words("kind quality subsampling encode_us_p50 encode_us_p99"));
    assert_eq!(keys(&camera["ring"]), words("slots leased slot_bytes bytes"));
    assert_eq!(
        keys(&camera["h264"]),
        words(
            "encoder kbps kbps_wanted units key_frames overtaken lost failures encode_us_p50 encode_us_p99 decoded \
             decode_us_p50 decode_us_p99 error"
        )
    );
    assert_eq!(
        keys(&camera["viewers"][0]),
        words("id kind remote since_s sent skipped bytes in_flight age_ms")
    );
    assert_eq!(
        (&camera["name"], &camera["state"], &camera["source"]),
        (&json!("camera"), &json!("live"), &json!("pattern"))
    );
    assert_eq!(
        (&camera["format"], &camera["width"], &camera["height"]),
        (&json!("yuyv"), &json!(320), &json!(240))
    );
    assert_eq!(camera["encoder"]["quality"], 80);
    assert!(camera["encoder"]["encode_us_p50"].as_u64() > Some(0), "{camera}");
    // 64 viewers, the thread that encodes H.264, the newest frame and the next one.
    assert_eq!(camera["ring"]["slots"], 67);
    assert_eq!(state["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(get(service.address, "/state").header("content-type"), Some("application/json"));
    until("the rate is what was asked for", || {
        client.acknowledged();
        (service.camera()["fps"].as_f64()? - 60.0).abs().lt(&6.0).then_some(())
    });
}

#[test]
fn several_cameras_run_at_once_each_at_its_own_address() {
    let scratch = Scratch::new();
    let service = Porthole::configured(
        &scratch,
        r#"
        [[camera]]
        name = "front"
        source = "pattern"
        width = 320
        height = 240
        [[camera]]
        name = "back"
        source = "pattern"
        width = 160
        height = 120
        "#,
    );
    let mut front = Client::porthole(service.address, "/ws");
    let mut also_front = Client::porthole(service.address, "/cameras/front/ws");
    let mut back = Client::porthole(service.address, "/cameras/back/ws");
    for _ in 0..10 {
        assert_eq!(front.acknowledged().width, 320);
        assert_eq!(also_front.acknowledged().width, 320);
        assert_eq!(back.acknowledged().width, 160);
    }
    assert_eq!(decode(&Multipart::open(service.address, "/cameras/back/stream").part().1).width, 160);
    assert_eq!(decode(&get(service.address, "/cameras/back/snapshot").body).width, 160);
    assert_eq!(decode(&get(service.address, "/cameras/back/?action=snapshot").body).width, 160);
    let state = service.state();
    let counts = |i: usize| state["cameras"][i]["viewers"].as_array().unwrap().len();
    assert_eq!((counts(0), counts(1)), (2, 1), "{state}");
    let nobody = get(service.address, "/cameras/side/stream");
    assert_eq!(nobody.status, 404);
    assert_eq!(nobody.text(), "there is no camera \"side\"; there is front, back\n");
}

#[test]
fn other_methods_are_answered() {
    let service = Porthole::start(&PATTERN);
    let head = request(service.address, "HEAD", "/stream", &[]);
    assert_eq!((head.status, head.body.len()), (200, 0));
    assert!(head.header("content-type").unwrap().starts_with("multipart/x-mixed-replace;boundary="));
    let head = request(service.address, "HEAD", "/snapshot", &[]);
    assert_eq!((head.status, head.header("content-type"), head.body.len()), (200, Some("image/jpeg"), 0));
    assert_eq!(request(service.address, "HEAD", "/", &[]).status, 200);
    assert_eq!(service.camera()["state"], "idle", "HEAD opened the camera");
    let options = request(service.address, "OPTIONS", "/stream", &[("Origin", "http://elsewhere.example")]);
    assert_eq!((options.status, options.header("allow")), (204, Some("GET, HEAD, PUT, OPTIONS")));
    assert_eq!(options.header("access-control-allow-origin"), None);
    let post = request(service.address, "POST", "/stream", &[("Content-Length", "0")]);
    assert_eq!((post.status, post.header("allow")), (405, Some("GET, HEAD, OPTIONS")));
    assert_eq!(get(service.address, "/nothing").status, 404);
    assert_eq!(get(service.address, "/ws").status, 426);
}

#[test]
fn a_connection_serves_many_requests_and_then_a_stream() {
    let service = Porthole::start(&PATTERN);
    let mut stream = std::net::TcpStream::connect(service.address).unwrap();
    stream.set_read_timeout(Some(support::DEADLINE)).unwrap();
    let mut buffer = Vec::new();
    let mut chunk = [0; 4096];
    for _ in 0..5 {
        stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        while !buffer.ends_with(b"\r\n\r\nok\n") {
            let n = stream.read(&mut chunk).unwrap();
            assert!(n > 0, "the connection was closed between requests");
            buffer.extend_from_slice(&chunk[..n]);
        }
        buffer.clear();
    }
    stream.write_all(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    while !buffer.windows(4).any(|w| w == b"JFIF") {
        let n = stream.read(&mut chunk).unwrap();
        assert!(n > 0);
        buffer.extend_from_slice(&chunk[..n]);
    }
    assert!(buffer.starts_with(b"HTTP/1.1 200 OK\r\nContent-Type: multipart/x-mixed-replace;boundary="));
}

#[test]
fn at_the_limit_of_viewers_the_next_is_told_so_and_the_others_go_on() {
    let mut arguments = PATTERN.to_vec();
    arguments.extend(["--max-viewers", "2"]);
    let service = Porthole::start(&arguments);
    let mut one = Client::porthole(service.address, "/ws");
    let two = Multipart::open(service.address, "/stream");
    assert_eq!(Client::connect(service.address, "/ws", &[]).err(), Some(503));
    let refused = get(service.address, "/stream");
    assert_eq!(refused.status, 503);
    assert!(refused.text().starts_with("all 2 viewer places are taken"), "{}", refused.text());
    assert_eq!(get(service.address, "/snapshot").status, 503);
    one.acknowledged();
    drop(two);
    until("there is a place again", || (get(service.address, "/snapshot").status == 200).then_some(()));
    one.acknowledged();
}

#[test]
fn a_viewer_who_takes_nothing_is_dropped_and_hurts_nobody() {
    let scratch = Scratch::new();
    let service = Porthole::configured(
        &scratch,
        "[server]\nprogress_timeout_s = 1\n[[camera]]\nsource = \"pattern\"\nwidth = 1280\nheight = 720\nfps = 30\n",
    );
    let mut other = Client::porthole(service.address, "/ws");
    (0..10).for_each(|_| drop(other.acknowledged()));
    let memory = || proc_status(service.pid(), "VmRSS");
    let before = memory();
    let stuck: Vec<_> = (0..20).map(|_| send(service.address, "GET", "/stream", &[])).collect();
    let kinds = || -> Vec<Value> {
        service.camera()["viewers"].as_array().unwrap().iter().map(|v| v["kind"].clone()).collect()
    };
    assert!(kinds().contains(&json!("mjpeg")));
    let mut most = 0;
    until("those who take nothing are dropped", || {
        other.acknowledged();
        most = most.max(memory());
        (!kinds().contains(&json!("mjpeg"))).then_some(())
    });
    let viewer = service.camera()["viewers"][0].clone();
    let (sent, skipped) = (viewer["sent"].as_u64().unwrap(), viewer["skipped"].as_u64().unwrap());
    assert!(skipped * 5 <= sent, "a stuck neighbour cost this viewer {skipped} of {} frames", sent + skipped);
    // Each may hold one frame of some 50 kB back, and no more of them come while it is stuck.
    assert!(most <= before + 20 * 200, "memory grew from {before} to {most} kB");
    drop(stuck);
}

#[test]
fn a_viewer_who_takes_nothing_cannot_put_off_its_end_by_asking_for_answers() {
    let scratch = Scratch::new();
    let service = Porthole::configured(
        &scratch,
        "[server]\nprogress_timeout_s = 1\n[[camera]]\nsource = \"pattern\"\nwidth = 1280\nheight = 720\nfps = 30\n",
    );
    let mut deaf = Client::bare(service.address, "/ws");
    let mut asked = Instant::now();
    until("it is dropped while it asks", || {
        // Often enough that there is always a new answer, too seldom for the answers to fill any buffer.
        if asked.elapsed() > Duration::from_millis(200) {
            asked = Instant::now();
            // That the connection is gone may be heard here first.
            let _ = deaf.try_send(Message::Ping("still there?".into()));
        }
        service.camera()["viewers"].as_array().unwrap().is_empty().then_some(())
    });
    let metrics = Exposition::parse(&get(service.address, "/metrics").text());
    assert_eq!(metrics.value("porthole_viewers_dropped_total", &[("reason", "stalled")]), 1.0);
}

#[test]
fn a_viewer_who_takes_nothing_cannot_put_off_its_end_by_never_ceasing_to_talk() {
    let scratch = Scratch::new();
    let service = Porthole::configured(
        &scratch,
        "[server]\nprogress_timeout_s = 1\n[[camera]]\nsource = \"pattern\"\nwidth = 1280\nheight = 720\nfps = 30\n",
    );
    let socket = Client::bare(service.address, "/ws");
    let stream = Multipart::open(service.address, "/stream");
    // Pongs nobody asked for, masked with zeros. What comes behind a request for a stream may be anything.
    let pongs = [&[0x8a, 0x80 | 125, 0, 0, 0, 0][..], &[0; 125]].concat().repeat(10_000);
    std::thread::scope(|scope| {
        for mut deaf in [socket.stream(), stream.stream()] {
            let pongs = &pongs;
            scope.spawn(move || while deaf.write_all(pongs).is_ok() {});
        }
        until("both are dropped while they talk", || {
            service.camera()["viewers"].as_array().unwrap().is_empty().then_some(())
        });
    });
    let metrics = Exposition::parse(&get(service.address, "/metrics").text());
    assert_eq!(metrics.value("porthole_viewers_dropped_total", &[("reason", "stalled")]), 2.0);
}

#[test]
fn frames_reach_their_viewer_soon_after_their_capture() {
    let service = Porthole::start(&PATTERN);
    let mut client = Client::porthole(service.address, "/ws");
    let mut ages: Vec<u64> = (0..60)
        .map(|_| {
            let frame = client.acknowledged();
            microseconds() - frame.captured_at
        })
        .collect();
    ages.sort_unstable();
    // Half a frame time. On an idle machine it is a fifteenth.
    assert!(ages[ages.len() / 2] < 8_000, "microseconds from capture to client: {ages:?}");
}
