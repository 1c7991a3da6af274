//! What frames and access units cost in memory on their way from the camera to viewers of every kind: nothing. Once everybody
//! has had a few, neither the camera's thread nor the one that serves asks the allocator for anything.

use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::SeqCst};

use porthole::config::{Flags, resolve};
use porthole::service::Service;
use support::h264::Encoder;
use support::http::{Multipart, send};
use support::ws::Client;
use support::{Scratch, until};
use tokio::sync::oneshot;

use crate::allocator::{exempt_this_thread, of_program};
use crate::turn;

/// Frames that are counted, captured and delivered.
const FRAMES: u64 = 10_000;
/// Frames everybody has had before.
const WARM_UP: u32 = 200;
const VIEWERS: usize = 20;

/// A clip of small pictures, all different.
fn clip() -> Vec<u8> {
    let picture = |number: u8| {
        let pixels: Vec<u8> = (0..160 * 120u32).map(|i| (i % 160) as u8 ^ number).collect();
        let mut jpeg = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut jpeg, 60);
        encoder.encode(&pixels, 160, 120, jpeg_encoder::ColorType::Luma).unwrap();
        jpeg
    };
    (0..20).flat_map(|number| picture(number * 11)).collect()
}

/// What the viewers have seen so far.
#[derive(Default)]
struct Seen {
    /// Frames each has had.
    had: [AtomicU32; VIEWERS],
    /// Number of the newest frame.
    newest: AtomicU32,
    over: AtomicBool,
}

impl Seen {
    fn delivered(&self) -> u64 {
        self.had.iter().map(|count| u64::from(count.load(SeqCst))).sum()
    }
}

/// Waits for the next frame, as one of the viewers.
type Next<'a> = Box<dyn FnMut() + 'a>;

/// Watches as the `index`th viewer, in one of the ways there are.
fn watch(index: usize, address: SocketAddr, seen: &Seen, viewer: Viewer) {
    exempt_this_thread();
    let mut next = viewer(index, address, seen);
    while !seen.over.load(SeqCst) {
        next();
        seen.had[index].fetch_add(1, SeqCst);
    }
}

type Viewer = for<'a> fn(usize, SocketAddr, &'a Seen) -> Next<'a>;

fn of_frames(index: usize, address: SocketAddr, seen: &Seen) -> Next<'_> {
    match index % 3 {
        0 => {
            let mut client = Client::porthole(address, "/ws");
            Box::new(move || {
                seen.newest.fetch_max(client.acknowledged().sequence, SeqCst);
            })
        }
        1 => {
            let mut client = Client::bare(address, "/ws");
            Box::new(move || drop(client.binary()))
        }
        _ => {
            let mut stream = Multipart::open(address, "/stream");
            Box::new(move || drop(stream.part()))
        }
    }
}

/// The header of a message of H.264.
const VIDEO_HEADER_BYTES: usize = 32;

fn of_access_units(index: usize, address: SocketAddr, seen: &Seen) -> Next<'_> {
    match index % 4 {
        0 => acknowledging("porthole.h264.v1", b"PHV1", address, seen),
        1 => acknowledging("porthole.mp4.v1", b"PHM1", address, seen),
        2 => {
            let mut stream = send(address, "GET", "/stream.mp4", &[]);
            read_head(&mut stream, "video/mp4; codecs=");
            // Boxes up to the end of the next sample.
            Box::new(move || while read_box(&mut stream) != *b"mdat" {})
        }
        _ => {
            let mut stream = send(address, "GET", "/stream.h264", &[]);
            read_head(&mut stream, "video/h264");
            let mut rest = Vec::new();
            Box::new(move || read_slice(&mut stream, &mut rest))
        }
    }
}

fn acknowledging<'a>(
    subprotocol: &'static str,
    magic: &'static [u8; 4],
    address: SocketAddr,
    seen: &'a Seen,
) -> Next<'a> {
    let mut client = Client::connect(address, "/ws", &[("Sec-WebSocket-Protocol", subprotocol)]).unwrap();
    Box::new(move || {
        // The initialization segment is none.
        let picture = loop {
            let message = client.binary();
            assert!(message.len() > VIDEO_HEADER_BYTES);
            if message.starts_with(magic) {
                break message;
            }
        };
        let sequence = u32::from_be_bytes(picture[4..8].try_into().unwrap());
        client.acknowledge(sequence);
        seen.newest.fetch_max(sequence, SeqCst);
    })
}

/// Reads the head of an answer.
fn read_head(stream: &mut TcpStream, content_type: &str) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.extend(byte);
    }
    let head = String::from_utf8(head).unwrap();
    let expected = format!("\r\nContent-Type: {content_type}");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains(&expected), "{head}");
}

/// Reads a box of an MP4 file; returns its type.
fn read_box(stream: &mut TcpStream) -> [u8; 4] {
    let mut head = [0; 8];
    stream.read_exact(&mut head).unwrap();
    let [a, b, c, d, kind @ ..] = head;
    let mut content = vec![0; u32::from_be_bytes([a, b, c, d]) as usize - head.len()];
    stream.read_exact(&mut content).unwrap();
    kind
}

/// Reads a byte stream until the start of a slice; `rest` is what was read behind it.
fn read_slice(stream: &mut TcpStream, rest: &mut Vec<u8>) {
    const SLICES: [u8; 2] = [1, 5];
    loop {
        let starts = |five: &[u8]| five.starts_with(&[0, 0, 0, 1]) && SLICES.contains(&(five[4] & 0x1f));
        if let Some(at) = rest.windows(5).position(starts) {
            rest.drain(..at + 5);
            return;
        }
        let mut more = [0; 65536];
        let n = stream.read(&mut more).unwrap();
        assert!(n > 0, "the stream has ended");
        rest.extend_from_slice(&more[..n]);
    }
}

/// A clip of H.264, one access unit in ten of which is a key frame.
fn video_clip() -> Vec<u8> {
    let mut encoder = Encoder::new([160, 112], 30_000);
    let mut clip = Vec::new();
    for number in 0..200u32 {
        let is_key = number.is_multiple_of(10);
        if is_key {
            encoder.parameter_sets(&mut clip);
        }
        encoder.picture(is_key, |x, y| [(x * 20 + y * 7 + number * 11) as u8, 128, 128], &mut clip);
    }
    clip
}

#[test]
fn a_frame_on_its_way_to_twenty_viewers_allocates_nothing() {
    delivered_without_allocation("clip.mjpeg", clip(), of_frames);
}

#[test]
fn an_access_unit_on_its_way_to_twenty_viewers_allocates_nothing() {
    delivered_without_allocation("clip.h264", video_clip(), of_access_units);
}

fn delivered_without_allocation(name: &str, clip: Vec<u8>, viewer: Viewer) {
    let _turn = turn();
    exempt_this_thread();
    let at_start = of_program();
    let scratch = Scratch::new();
    let file = scratch.file(name, clip);
    // As fast as they can be read, which is faster than any camera.
    let source = format!("exec:while cat {}; do :; done", file.display());
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\n[[camera]]\nsource = {source:?}\nwidth = 160\nheight = 120\n"
    );
    let config = resolve(&Flags::default(), Path::new("porthole.toml"), &text).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let service = Service::start(config).unwrap();
            let address = service.addresses().unwrap()[0].to_string();
            tell.send(address.parse().unwrap()).unwrap();
            service.run(async { drop(stopped.await) }).await.unwrap();
        });
    });
    let address = told.recv().unwrap();

    let seen = Seen::default();
    std::thread::scope(|scope| {
        for index in 0..VIEWERS {
            let seen = &seen;
            scope.spawn(move || watch(index, address, seen, viewer));
        }
        until("everybody has had some frames", || {
            seen.had.iter().all(|count| count.load(SeqCst) >= WARM_UP).then_some(())
        });
        let (from, delivered) = (seen.newest.load(SeqCst), seen.delivered());
        let before = of_program();
        until("enough frames have been captured and delivered", || {
            let captured = u64::from(seen.newest.load(SeqCst).wrapping_sub(from));
            (captured >= FRAMES && seen.delivered() >= delivered + FRAMES).then_some(())
        });
        let during = of_program() - before;
        seen.over.store(true, SeqCst);
        assert!(before > at_start, "nothing was counted at all");
        assert_eq!(during, 0, "allocations while {FRAMES} frames went by");
    });
    stop.send(()).unwrap();
    server.join().unwrap();
}
