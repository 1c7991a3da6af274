//! What it costs to give a frame to one more viewer, beside the least it can cost: one blocking `writev` of the same
//! bytes to a socket, on a thread that does nothing else. The same clients, in one run, in alternation.
//!
//! With `--check` it fails where a ratio is not what it should be.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[path = "readers.rs"]
mod readers;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use readers::Readers;
use support::{Porthole, Scratch, cpu_of_main_thread};

const FPS: u32 = 30;
/// Bytes of a frame, about.
const FRAME: usize = 100_000;
const MEASURED: Duration = Duration::from_secs(3);
/// Measurements of each, in turn. The least of them counts: what disturbs only ever adds.
const ROUNDS: usize = 5;
const AT_MOST: f64 = 1.10;

fn main() -> ExitCode {
    let check = std::env::args().any(|argument| argument == "--check");
    let scratch = Scratch::new();
    let jpeg = jpeg();
    let clip = scratch.file("clip.mjpeg", &jpeg);
    let config = format!(
        "[server]\nmax_viewers = 128\n[[camera]]\nsource = {:?}\nfps = {FPS}\n",
        format!("file:{}", clip.display())
    );
    let service = Porthole::configured(&scratch, &config);
    println!("CPU a frame of {} bytes and viewer, {FPS} frames a second, by WebSocket", jpeg.len());
    println!("viewers      floor   porthole   ratio (at most {AT_MOST})");
    let mut good = true;
    for viewers in [1, 20, 100] {
        let (mut floor, mut ours) = (f64::MAX, f64::MAX);
        for _ in 0..ROUNDS {
            floor = floor.min(measure_floor(&jpeg, viewers));
            ours = ours.min(measure_service(&service, jpeg.len(), viewers));
        }
        let ratio = ours / floor;
        good &= ratio <= AT_MOST;
        println!("{viewers:>7} {floor:>7.1} us {ours:>7.1} us   {ratio:.3}");
    }
    if check && !good { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// A JPEG of the size wanted: noise, whose quality is turned until it is.
fn jpeg() -> Vec<u8> {
    let pixels: Vec<u8> =
        (0..1280 * 720u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 27) as u8 * 4 + 60).collect();
    let encode = |quality| {
        let mut jpeg = Vec::new();
        let encoder = jpeg_encoder::Encoder::new(&mut jpeg, quality);
        encoder.encode(&pixels, 1280, 720, jpeg_encoder::ColorType::Luma).unwrap();
        jpeg
    };
    (1..100).map(encode).find(|jpeg| jpeg.len() >= FRAME).unwrap()
}

fn measure_service(service: &Porthole, jpeg: usize, viewers: usize) -> f64 {
    let streams = (0..viewers).map(|_| open(service.address)).collect();
    let clients = Readers::start(streams);
    support::until("they have had some frames", || {
        (clients.bytes() >= (jpeg * 10 * viewers) as u64).then_some(())
    });
    let (cpu, bytes) = (cpu_of_main_thread(service.pid()), clients.bytes());
    std::thread::sleep(MEASURED);
    let (cpu, bytes) = (cpu_of_main_thread(service.pid()) - cpu, clients.bytes() - bytes);
    drop(clients);
    support::until("they have left", || {
        service.camera()["viewers"].as_array().unwrap().is_empty().then_some(())
    });
    cpu.as_secs_f64() * 1e6 / (bytes as f64 / (jpeg + 10) as f64)
}

/// A viewer without subprotocol, whose handshake is answered.
fn open(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!(
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        head.push(byte[0]);
    }
    stream
}

/// One thread, one blocking call a viewer and frame.
fn measure_floor(jpeg: &[u8], viewers: usize) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for _ in 0..viewers {
        near.push(TcpStream::connect(address).unwrap());
        let (stream, _) = listener.accept().unwrap();
        stream.set_nodelay(true).unwrap();
        far.push(stream);
    }
    let clients = Readers::start(near);
    let header = [0x82, 127, 0, 0, 0, 0, 0, 1, 0x86, 0xa0];
    let serve = |far: &mut [TcpStream], time: Duration| {
        let (began, interval) = (Instant::now(), Duration::from_secs(1) / FPS);
        let mut frames = 0;
        while began.elapsed() < time {
            std::thread::sleep((began + interval * frames).saturating_duration_since(Instant::now()));
            for stream in &mut *far {
                let parts = [IoSlice::new(&header), IoSlice::new(jpeg)];
                assert_eq!(stream.write_vectored(&parts).unwrap(), header.len() + jpeg.len());
            }
            frames += 1;
        }
        frames
    };
    serve(&mut far, Duration::from_secs(1) / 3);
    let cpu = cpu_of_this_thread();
    let frames = serve(&mut far, MEASURED);
    let cpu = cpu_of_this_thread() - cpu;
    drop(clients);
    cpu.as_secs_f64() * 1e6 / f64::from(frames) / viewers as f64
}

fn cpu_of_this_thread() -> Duration {
    let schedstat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(schedstat.split_whitespace().next().unwrap().parse().unwrap())
}
