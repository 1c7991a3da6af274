//! What one may have of everything, what happens at the limit, and that nobody else notices.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use tungstenite::Message;

use support::http::{get, request, send};
use support::prometheus::Exposition;
use support::ws::Client;
use support::{DEADLINE, Porthole, Scratch, until};

/// Serves a test picture with these limits.
fn limited(scratch: &Scratch, limits: &str) -> Porthole {
    Porthole::configured(
        scratch,
        &format!("{limits}\n[[camera]]\nsource = \"pattern\"\nwidth = 320\nheight = 240\nfps = 30\n"),
    )
}

fn counted(service: &Porthole, name: &str, reason: &str) -> f64 {
    Exposition::parse(&get(service.address, "/metrics").text()).value(name, &[("reason", reason)])
}

#[test]
fn those_who_never_finish_their_request_make_room_for_those_who_do() {
    let scratch = Scratch::new();
    let service = limited(&scratch, "[limits]\nconnections = 20\nwaiting = 10\nrequest_timeout_s = 600");
    let mut viewer = Client::porthole(service.address, "/ws");
    viewer.acknowledged();
    let mut slow: Vec<TcpStream> = Vec::new();
    let mut answered = 0;
    for _ in 0..100 {
        let mut stream = TcpStream::connect(service.address).unwrap();
        // It may have been rejected already.
        let _ = stream.write_all(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ");
        slow.push(stream);
        answered += usize::from(get(service.address, "/healthz").status == 200);
        viewer.acknowledged();
    }
    // However many of them there are: each waits a moment, and nobody else longer than that.
    for _ in 0..10 {
        until("there is room", || (get(service.address, "/healthz").status == 200).then_some(()));
    }
    assert!(answered > 0, "nobody else got an answer while they came");
    viewer.acknowledged();
    assert_eq!(service.camera()["viewers"].as_array().unwrap().len(), 1, "the viewer had to go");
    assert!(counted(&service, "porthole_connections_dropped_total", "crowded") > 0.0);
    let open = Exposition::parse(&get(service.address, "/metrics").text()).value("porthole_connections", &[]);
    assert!(open <= 20.0 + 33.0, "{open} connections are open");
}

#[test]
fn when_all_connections_are_taken_by_viewers_the_next_is_told_so_and_they_go_on() {
    let scratch = Scratch::new();
    let service = limited(&scratch, "[server]\nmax_viewers = 3\n[limits]\nconnections = 3");
    let mut viewers: Vec<Client> = (0..3).map(|_| Client::porthole(service.address, "/ws")).collect();
    viewers.iter_mut().for_each(|viewer| drop(viewer.acknowledged()));
    let refused = get(service.address, "/healthz");
    assert_eq!((refused.status, refused.header("retry-after")), (503, Some("5")));
    assert_eq!(refused.text(), "all 3 connections are taken; raise limits.connections to allow more\n");
    assert_eq!(Client::connect(service.address, "/ws", &[]).err(), Some(503));
    for _ in 0..10 {
        viewers.iter_mut().for_each(|viewer| drop(viewer.acknowledged()));
    }
    drop(viewers.pop());
    until("there is room again", || (get(service.address, "/healthz").status == 200).then_some(()));
    let metrics = Exposition::parse(&get(service.address, "/metrics").text());
    let limit = ("limit", "connections");
    assert!(metrics.value("porthole_connections_turned_away_total", &[limit]) >= 2.0);
}

#[test]
fn a_request_that_does_not_come_in_time_is_not_waited_for() {
    let scratch = Scratch::new();
    let service = limited(&scratch, "[limits]\nrequest_timeout_s = 1");
    for begun in ["", "GET / HTTP/1.1\r\nHo"] {
        let mut stream = TcpStream::connect(service.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(begun.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    }
    assert_eq!(counted(&service, "porthole_connections_dropped_total", "idle"), 2.0);
}

#[test]
fn what_is_larger_than_anything_that_means_something_is_refused() {
    let scratch = Scratch::new();
    let service = limited(&scratch, "");
    let long = "x".repeat(20_000);
    let mut stream = send(service.address, "GET", "/healthz", &[("X-Long", &long)]);
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 431 "), "{answer}");
    let length = [("Content-Length", "5000")];
    let mut stream = send(service.address, "PUT", "/controls/gain", &length);
    stream.write_all(&[b' '; 5000]).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("the body cannot be read"), "{answer}");
    let mut client = Client::porthole(service.address, "/ws");
    client.send(Message::text("x".repeat(4097)));
    let code = loop {
        match client.try_read() {
            Ok(Message::Close(reason)) => break u16::from(reason.unwrap().code),
            Ok(_) => {}
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(code, 1009);
    assert_eq!(request(service.address, "GET", "/healthz", &[]).status, 200);
}

#[test]
fn a_viewer_who_gives_no_sign_of_life_is_dropped_and_one_who_only_answers_is_not() {
    let scratch = Scratch::new();
    let service = limited(&scratch, "[limits]\nsilence_timeout_s = 2");
    // It says nothing by itself; pings are answered by the library beneath, as in a browser.
    let mut alive = Client::bare(service.address, "/ws");
    let headers = [
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    // It takes every frame, and answers nothing.
    let mut dumb = send(service.address, "GET", "/ws", &headers);
    let begun = Instant::now();
    let reader = std::thread::spawn(move || {
        let mut sink = [0; 65536];
        while dumb.read(&mut sink).is_ok_and(|n| n > 0) {}
    });
    until("it is dropped", || {
        alive.binary();
        (counted(&service, "porthole_viewers_dropped_total", "silent") == 1.0).then_some(())
    });
    reader.join().unwrap();
    // Both had to answer more than once since then.
    while begun.elapsed() < Duration::from_secs(6) {
        alive.binary();
    }
    assert_eq!(service.camera()["viewers"].as_array().unwrap().len(), 1);
}
