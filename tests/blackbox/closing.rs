//! What the service says last reaches clients that are still sending then, and their connections end without a reset.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};

use support::Porthole;
use support::tls::{ClientStream, plain};

/// Bytes that are on their way when the service has already answered.
const BEHIND: usize = 64 << 10;
const ROUNDS: usize = 100;

fn served() -> Porthole {
    Porthole::start(&["--source", "pattern"])
}

/// The bytes of a WebSocket frame of a client, masked with zeros.
fn frame(head: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![head, 0x80 | 127];
    frame.extend((payload.len() as u64).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend(payload);
    frame
}

/// Asks for a WebSocket, and passes over the answer.
fn upgraded(stream: &mut dyn ClientStream, address: SocketAddr) {
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    assert!(head(stream).starts_with("HTTP/1.1 101 "));
}

/// The head of an answer.
fn head(stream: &mut dyn ClientStream) -> String {
    let (mut head, mut byte) = (Vec::new(), [0]);
    while !head.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// The code of the close frame; frames before it are passed over.
fn close_code(stream: &mut dyn ClientStream) -> u16 {
    loop {
        let mut head = [0; 2];
        stream.read_exact(&mut head).unwrap();
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                stream.read_exact(&mut length).unwrap();
                u16::from_be_bytes(length).into()
            }
            127 => {
                let mut length = [0; 8];
                stream.read_exact(&mut length).unwrap();
                u64::from_be_bytes(length) as usize
            }
            short => short.into(),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).unwrap();
        if head[0] == 0x88 {
            return u16::from_be_bytes([payload[0], payload[1]]);
        }
    }
}

/// Sends `rest` although the service has said its last word, and finds the connection ended as it should be.
#[track_caller]
fn finish(mut stream: Box<dyn ClientStream>, rest: &[u8]) {
    for piece in rest.chunks(4096) {
        stream.write_all(piece).expect("the connection was reset");
    }
    stream.tcp().shutdown(Shutdown::Write).expect("the connection was reset");
    let mut more = Vec::new();
    stream.read_to_end(&mut more).expect("the connection was reset");
    assert_eq!(more, b"", "nothing comes behind the last word");
}

#[test]
fn a_viewer_that_violates_the_protocol_is_told_so_though_it_goes_on_sending() {
    let service = served();
    let message = vec![b'x'; BEHIND];
    let too_large = frame(0x81, &message);
    let reserved = frame(0xf2, &message);
    let no_text = [&[0x81, 0x81, 0, 0, 0, 0, 0xff][..], &too_large].concat();
    for round in 0..ROUNDS {
        let (bytes, code) = match round % 3 {
            0 => (&too_large, 1009),
            1 => (&reserved, 1002),
            _ => (&no_text, 1007),
        };
        // In one piece, in two, and in many with the answer read after the first.
        let first = [bytes.len(), bytes.len() / 2, 1000][round / 3 % 3];
        let mut stream = plain(service.address);
        upgraded(&mut *stream, service.address);
        stream.write_all(&bytes[..first]).unwrap();
        assert_eq!(close_code(&mut *stream), code, "round {round}");
        finish(stream, &bytes[first..]);
    }
}

#[test]
fn a_client_whose_request_is_refused_reads_why_though_it_goes_on_sending() {
    let service = served();
    let body = vec![b'x'; BEHIND];
    let put = |target: &str| {
        let length = body.len();
        let kind = "application/json";
        format!(
            "PUT {target} HTTP/1.1\r\nHost: x\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\r\n"
        )
    };
    let requests = [
        (put("/controls/brightness"), 400),
        (put("/state"), 405),
        ("no HTTP\r\n\r\n".to_owned(), 400),
        (format!("GET / HTTP/1.1\r\nHost: x\r\nX-Long: {}", "x".repeat(20_000)), 431),
    ];
    for round in 0..ROUNDS {
        let (request, status) = &requests[round % requests.len()];
        // What is sent before the answer is read; the rest follows.
        let first = [0, 9000, BEHIND][round / requests.len() % 3];
        let mut stream = plain(service.address);
        stream.write_all(request.as_bytes()).unwrap();
        stream.write_all(&body[..first]).expect("the connection was reset");
        let answer = head(&mut *stream);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "round {round}: {answer}");
        let length = answer
            .lines()
            .find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
        let mut text = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut text).unwrap();
        finish(stream, &body[first..]);
    }
}
