//! A stand-in for the part of a service that gives H.264 to the page: it passes everything on to a service, says in
//! `/state` that its camera has H.264, and answers the subprotocol `porthole.mp4.v1` with fragments that ffmpeg made of
//! the service's own pictures. So the page is tested against somebody else's encoder and file format, with faults that no
//! encoder has to order.

use std::io::{Read, Write, copy};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::handshake::server::{Request, Response};
use tungstenite::protocol::Message;
use tungstenite::{Error, WebSocket};

use super::{DEADLINE, Porthole, Scratch, finish, http, tools};

/// Frames a second.
const RATE: u32 = 30;
/// Frames of a group, which is repeated.
const GROUP: usize = 60;
/// Units of time in a second, as in the service's own fragments.
const TIMESCALE: u64 = 90_000;
/// Most fragments in flight, as the service has it on a long path.
const WINDOW: u32 = 16;

/// What a connection does that is made, or goes on, from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// It names a codec that no browser has.
    UnknownCodec,
    /// It sends nothing.
    Silence,
    /// Fragments are cut in half.
    Broken,
    /// It is closed at once.
    Closed,
}

/// A video of one group, in fragments.
struct Video {
    codec: String,
    init: Vec<u8>,
    /// Each with the place of its time (`baseMediaDecodeTime`, 8 bytes).
    fragments: Vec<(Vec<u8>, usize)>,
}

struct Orders {
    fault: Fault,
    /// Bytes a second of everything that is passed on; no limit if 0.
    limit: u64,
}

pub struct StandIn {
    pub url: String,
    orders: Arc<Mutex<Orders>>,
}

impl StandIn {
    /// Stands before a service that shows a test pattern; `None`, with a line that says so, without ffmpeg.
    #[track_caller]
    pub fn before(service: &Porthole) -> Option<Self> {
        tools::program("ffmpeg", "ffmpeg")?;
        let video = Arc::new(Video::of(service));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let orders = Arc::new(Mutex::new(Orders { fault: Fault::None, limit: 0 }));
        let (to, told) = (service.address, Arc::clone(&orders));
        std::thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (video, orders) = (Arc::clone(&video), Arc::clone(&told));
                std::thread::spawn(move || serve(client, to, &video, &orders));
            }
        });
        Some(Self { url, orders })
    }

    pub fn order(&self, fault: Fault) {
        self.orders.lock().unwrap().fault = fault;
    }

    /// Passes on at most so many bytes a second; H.264 is not passed on, and stays as it is.
    pub fn limit(&self, bytes: u64) {
        self.orders.lock().unwrap().limit = bytes;
    }
}

fn serve(client: TcpStream, to: SocketAddr, video: &Video, orders: &Arc<Mutex<Orders>>) -> Option<()> {
    client.set_nodelay(true).ok()?;
    client.set_read_timeout(Some(DEADLINE)).ok()?;
    let mut head = [0; 8192];
    // Looked at and left where it is, for whoever answers it.
    let n = loop {
        let n = client.peek(&mut head).ok().filter(|n| *n > 0)?;
        if head[..n].windows(4).any(|end| end == b"\r\n\r\n") {
            break n;
        }
    };
    let text = String::from_utf8_lossy(&head[..n]).into_owned();
    if text.contains("porthole.mp4.v1") {
        play(client, video, orders);
    } else if text.starts_with("GET /state") {
        let mut state: Value = serde_json::from_slice(&http::get(to, "/state").body).ok()?;
        state["cameras"][0]["h264"] = json!({ "encoder": "stand-in" });
        let body = state.to_string();
        let head = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        (&client).write_all((head + &body).as_bytes()).ok()?;
        // Closed only after the request was taken, or the client would see a reset.
        (&client).read_exact(&mut head_of(n)).ok()?;
    } else {
        (&client).read_exact(&mut head_of(n)).ok()?;
        let server = TcpStream::connect(to).ok()?;
        server.set_nodelay(true).ok()?;
        // One request a connection, so that each is seen. The engines write this in different ways.
        let text = ["keep-alive", "Keep-Alive"]
            .iter()
            .fold(text, |text, word| text.replace(&format!("Connection: {word}"), "Connection: close"));
        (&server).write_all(text.as_bytes()).ok()?;
        let (from, back) = (client.try_clone().ok()?, server.try_clone().ok()?);
        std::thread::spawn(move || copy(&mut &from, &mut &back));
        pass_on(&server, &client, orders)?;
    }
    Some(())
}

fn head_of(n: usize) -> Vec<u8> {
    vec![0; n]
}

/// Copies what a server says, as slowly as is ordered.
fn pass_on(mut server: &TcpStream, mut client: &TcpStream, orders: &Mutex<Orders>) -> Option<()> {
    let mut chunk = [0; 4096];
    loop {
        let n = server.read(&mut chunk).ok().filter(|n| *n > 0)?;
        client.write_all(&chunk[..n]).ok()?;
        let limit = orders.lock().unwrap().limit;
        if let Some(time) = (n as u64 * 1_000_000).checked_div(limit) {
            std::thread::sleep(Duration::from_micros(time));
        }
    }
}

/// Sends fragments at their rate, and answers what the page says, until the connection ends.
fn play(client: TcpStream, video: &Video, orders: &Mutex<Orders>) -> Option<()> {
    // The signature of the library's callback.
    #[allow(clippy::result_large_err, clippy::unnecessary_wraps)]
    fn accept(
        _: &Request,
        mut answer: Response,
    ) -> Result<Response, tungstenite::handshake::server::ErrorResponse> {
        let protocol = "porthole.mp4.v1".parse().unwrap();
        answer.headers_mut().insert("Sec-WebSocket-Protocol", protocol);
        Ok(answer)
    }
    let fault = || orders.lock().unwrap().fault;
    let mut socket = tungstenite::accept_hdr(client, accept).ok()?;
    let codec = if fault() == Fault::UnknownCodec { "avc1.FFFFFF" } else { &video.codec };
    let told = json!({ "type": "mp4", "codec": codec, "width": 640, "height": 480 });
    socket.send(Message::text(told.to_string())).ok()?;
    let began = Instant::now();
    let now_us = || began.elapsed().as_micros() as u64 + 1_000_000;
    socket
        .send(Message::binary([header(b"PHI1", 0, 0, now_us(), false), video.init.clone()].concat()))
        .ok()?;
    let (mut in_flight, mut is_behind) = (0, false);
    for n in 0_u32.. {
        let due = began + Duration::from_secs(1) * n / RATE;
        listen(&mut socket, due, &mut in_flight, &now_us)?;
        let place = n as usize % GROUP;
        let (fragment, time_at) = &video.fragments[place];
        let is_key = place == 0;
        is_behind = in_flight >= WINDOW || (is_behind && !is_key);
        match fault() {
            Fault::Closed => return None,
            Fault::Silence => continue,
            _ if is_behind => continue,
            _ => {}
        }
        let mut fragment = fragment.clone();
        let time = u64::from(n) * TIMESCALE / u64::from(RATE);
        fragment[*time_at..*time_at + 8].copy_from_slice(&time.to_be_bytes());
        if fault() == Fault::Broken {
            fragment.truncate(fragment.len() / 2);
        }
        let message = [header(b"PHM1", n, now_us(), now_us(), is_key), fragment].concat();
        socket.send(Message::binary(message)).ok()?;
        in_flight += 1;
    }
    None
}

/// Answers what the page says until it is time for the next fragment.
fn listen(
    socket: &mut WebSocket<TcpStream>,
    due: Instant,
    in_flight: &mut u32,
    now_us: &dyn Fn() -> u64,
) -> Option<()> {
    loop {
        let left = due.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Some(());
        }
        socket.get_ref().set_read_timeout(Some(left)).ok()?;
        match socket.read() {
            Ok(Message::Text(text)) => {
                let message: Value = serde_json::from_str(&text).ok()?;
                if message["type"] == "ack" {
                    *in_flight = in_flight.saturating_sub(1);
                } else if message["type"] == "ping" {
                    let pong = json!({ "type": "pong", "t": message["t"], "now": now_us() });
                    socket.send(Message::text(pong.to_string())).ok()?;
                }
            }
            Ok(Message::Close(_)) => return None,
            Ok(_) => {}
            Err(Error::Io(error))
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(_) => return None,
        }
    }
}

/// The header of `porthole.v1` with another magic; the top bit of its last field marks key frames.
fn header(magic: &[u8; 4], sequence: u32, captured_us: u64, sent_us: u64, is_key: bool) -> Vec<u8> {
    let mut header = magic.to_vec();
    header.extend(sequence.to_be_bytes());
    header.extend(captured_us.to_be_bytes());
    header.extend(sent_us.to_be_bytes());
    header.extend(640_u16.to_be_bytes());
    header.extend(480_u16.to_be_bytes());
    header.extend((u32::from(is_key) << 31).to_be_bytes());
    header
}

impl Video {
    /// Encodes a group of the service's pictures.
    #[track_caller]
    fn of(service: &Porthole) -> Self {
        let scratch = Scratch::new();
        let file = scratch.path("video.mp4");
        let mut encode = Command::new("ffmpeg");
        encode.args(["-v", "error", "-f", "mpjpeg", "-i", &format!("http://{}/stream", service.address)]);
        encode.args([
            "-frames:v",
            &GROUP.to_string(),
            "-vf",
            &format!("setpts=N/{RATE}/TB"),
            "-r",
            &RATE.to_string(),
        ]);
        encode.args([
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-tune",
            "zerolatency",
            "-profile:v",
            "baseline",
        ]);
        encode.args(["-pix_fmt", "yuv420p", "-g", &GROUP.to_string(), "-sc_threshold", "0"]);
        encode.args(["-video_track_timescale", &TIMESCALE.to_string(), "-movflags"]);
        encode.args(["empty_moov+default_base_moof+frag_every_frame+omit_tfhd_offset"]).arg(&file);
        let (code, _, error) = finish(&mut encode);
        assert_eq!(code, 0, "{error}");
        Self::read(&std::fs::read(file).unwrap())
    }

    fn read(mut bytes: &[u8]) -> Self {
        let (mut init, mut fragments) = (Vec::new(), Vec::new());
        while bytes.len() >= 8 {
            let size = u32::from_be_bytes(bytes[..4].try_into().unwrap()) as usize;
            let (one, rest) = bytes.split_at(size);
            match &one[4..8] {
                b"ftyp" | b"moov" => init.extend(one),
                b"moof" => fragments.push((one.to_vec(), place(one, b"tfdt") + 8)),
                b"mdat" => fragments.last_mut().unwrap().0.extend(one),
                _ => {}
            }
            bytes = rest;
        }
        assert_eq!(fragments.len(), GROUP);
        let profile = place(&init, b"avcC") + 5;
        let codec: String = init[profile..profile + 3].iter().map(|byte| format!("{byte:02X}")).collect();
        Self { codec: format!("avc1.{codec}"), init, fragments }
    }
}

/// Where a box's type stands.
#[track_caller]
fn place(bytes: &[u8], kind: &[u8; 4]) -> usize {
    bytes.windows(4).position(|window| window == kind).expect("such a box")
}
