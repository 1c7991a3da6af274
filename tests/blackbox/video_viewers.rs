//! What viewers of H.264 may take, what happens at the limit, and that nobody else notices.

use std::io::Read;
use std::net::TcpStream;

use serde_json::json;
use tungstenite::Message;

use support::http::{get, request, send};
use support::prometheus::Exposition;
use support::ws::Client;
use support::{Porthole, Scratch, until};

/// Serves a clip of H.264 again and again at 30 access units a second, with these settings of the server.
fn serve(scratch: &Scratch, settings: &str) -> Porthole {
    let mut encoder = support::h264::Encoder::new([640, 480], 30_000);
    for number in 0..30u32 {
        let mut unit = Vec::new();
        if number == 0 {
            encoder.parameter_sets(&mut unit);
        }
        // Noise, so that units are large enough to fill the buffers of a connection.
        let colour =
            |x: u32, y: u32| [(x * 97 + y * 61 + number * 101) as u8, (x * 53 + number * 7) as u8, 128];
        encoder.picture(number == 0, colour, &mut unit);
        scratch.file(&format!("{number:02}.unit"), unit);
    }
    let units = scratch.path("*.unit");
    let source =
        format!("exec:while :; do for unit in {}; do cat $unit; sleep 0.033; done; done", units.display());
    Porthole::configured(
        scratch,
        &format!("{settings}\n[[camera]]\nsource = {source:?}\nwidth = 640\nheight = 480\n"),
    )
}

fn connect(service: &Porthole, subprotocol: &str) -> Client {
    let client = Client::connect(service.address, "/ws", &[("Sec-WebSocket-Protocol", subprotocol)]).unwrap();
    assert_eq!(client.protocol.as_deref(), Some(subprotocol));
    client
}

/// Number of a picture, what was skipped before it, and whether it is a key frame.
fn facts(message: &[u8]) -> (u32, u32, bool) {
    assert!(message.starts_with(b"PHV1") || message.starts_with(b"PHM1"));
    let u32_at = |at: usize| u32::from_be_bytes(message[at..at + 4].try_into().unwrap());
    (u32_at(4), u32_at(28) & !(1 << 31), u32_at(28) >> 31 == 1)
}

/// The next picture, acknowledged.
fn acknowledged(client: &mut Client) -> (u32, u32, bool) {
    let picture = loop {
        let message = client.binary();
        if !message.starts_with(b"PHI1") {
            break message;
        }
    };
    let facts = facts(&picture);
    client.acknowledge(facts.0);
    facts
}

/// Everything is decoded by a viewer that gets `count` pictures: it begins at a key frame, and misses none but before one.
fn assert_whole(client: &mut Client, count: usize) {
    let mut last = None;
    for _ in 0..count {
        let (sequence, skipped, is_key) = acknowledged(client);
        match last {
            None => assert!(is_key, "it begins with picture {sequence}, which is no key frame"),
            Some(last) => {
                assert_eq!(sequence, last + 1 + skipped);
                assert!(is_key || skipped == 0, "{skipped} are missing before {sequence}");
            }
        }
        last = Some(sequence);
    }
}

fn dropped(service: &Porthole, reason: &str) -> f64 {
    let metrics = Exposition::parse(&get(service.address, "/metrics").text());
    metrics.value("porthole_viewers_dropped_total", &[("reason", reason)])
}

#[test]
fn viewers_of_h264_count_among_all_viewers() {
    let scratch = Scratch::new();
    let service = serve(&scratch, "[server]\nmax_viewers = 4");
    let mut first = connect(&service, "porthole.h264.v1");
    let mut second = connect(&service, "porthole.mp4.v1");
    let streams: Vec<TcpStream> =
        ["/stream.mp4", "/stream.h264"].map(|path| send(service.address, "GET", path, &[])).into();
    for mut stream in &streams {
        let mut status = [0; 12];
        stream.read_exact(&mut status).unwrap();
        assert_eq!(status, *b"HTTP/1.1 200");
    }
    for path in ["/stream.mp4", "/stream.h264", "/stream"] {
        let refused = get(service.address, path);
        assert_eq!((refused.status, refused.header("retry-after")), (503, Some("1")), "{path}");
        assert!(refused.text().contains("max_viewers"), "{}", refused.text());
    }
    for subprotocol in ["porthole.h264.v1", "porthole.mp4.v1", "porthole.v1"] {
        let headers = [("Sec-WebSocket-Protocol", subprotocol)];
        assert_eq!(Client::connect(service.address, "/ws", &headers).err(), Some(503), "{subprotocol}");
    }
    drop(streams);
    assert_whole(&mut first, 40);
    assert_whole(&mut second, 40);
    until("there is room again", || {
        Client::connect(service.address, "/ws", &[("Sec-WebSocket-Protocol", "porthole.h264.v1")]).ok()
    });
}

#[test]
fn a_viewer_that_acknowledges_nothing_is_dropped_and_others_go_on() {
    let scratch = Scratch::new();
    let service = serve(&scratch, "[server]\nprogress_timeout_s = 1");
    for subprotocol in ["porthole.h264.v1", "porthole.mp4.v1"] {
        let before = dropped(&service, "unacknowledged");
        let mut other = connect(&service, subprotocol);
        let mut mute = connect(&service, subprotocol);
        let told = std::thread::spawn(move || {
            loop {
                match mute.try_read() {
                    Ok(Message::Close(reason)) => return u16::from(reason.unwrap().code),
                    Ok(_) => {}
                    ended => panic!("{ended:?}"),
                }
            }
        });
        while !told.is_finished() {
            acknowledged(&mut other);
        }
        let code = told.join().unwrap();
        assert_eq!(code, 1008, "{subprotocol}");
        assert_eq!(dropped(&service, "unacknowledged"), before + 1.0);
        drop(other);
        let mut next = connect(&service, subprotocol);
        assert_whole(&mut next, 20);
    }
}

#[test]
fn a_viewer_that_pauses_goes_on_at_a_key_frame_and_what_it_missed_is_counted() {
    let scratch = Scratch::new();
    let service = serve(&scratch, "");
    for subprotocol in ["porthole.h264.v1", "porthole.mp4.v1"] {
        let mut slow = connect(&service, subprotocol);
        let mut other = connect(&service, subprotocol);
        let (mut last, ..) = acknowledged(&mut slow);
        acknowledged(&mut other);
        // It takes nothing while another has two groups.
        for _ in 0..70 {
            acknowledged(&mut other);
        }
        let mut missed = 0;
        for _ in 0..40 {
            let (sequence, skipped, is_key) = acknowledged(&mut slow);
            assert_eq!(sequence, last + 1 + skipped);
            assert!(is_key || skipped == 0, "{skipped} are missing before {sequence}, which is no key frame");
            (last, missed) = (sequence, missed + u64::from(skipped));
        }
        assert!(missed > 0, "nothing was skipped");
        let shown = until("it is counted", || {
            let viewers = service.camera()["viewers"].as_array()?.clone();
            viewers.into_iter().find(|viewer| viewer["skipped"].as_u64().is_some_and(|n| n >= missed))
        });
        assert_eq!(shown["kind"], subprotocol, "{shown}");
    }
}

#[test]
fn without_h264_its_addresses_say_what_to_do() {
    let scratch = Scratch::new();
    let config = "[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\nh264 = \"off\"\n";
    let service = Porthole::configured(&scratch, config);
    for path in ["/stream.mp4", "/stream.h264"] {
        let answer = get(service.address, path);
        assert_eq!(answer.status, 404, "{path}");
        assert!(answer.text().contains("h264") && answer.text().contains("/stream"), "{}", answer.text());
        assert_eq!(request(service.address, "HEAD", path, &[]).status, 404);
        assert_eq!(request(service.address, "PUT", path, &[]).status, 405);
        assert_eq!(request(service.address, "OPTIONS", path, &[]).status, 204);
    }
    for subprotocol in ["porthole.h264.v1", "porthole.mp4.v1"] {
        let headers = [("Sec-WebSocket-Protocol", subprotocol)];
        assert_eq!(Client::connect(service.address, "/ws", &headers).err(), Some(404), "{subprotocol}");
    }
    assert_eq!(service.camera()["viewers"], json!([]), "nobody became a viewer");
    Client::porthole(service.address, "/ws").acknowledged();
}
