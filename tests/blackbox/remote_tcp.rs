//! Cameras on other machines over bare TCP: JPEGs back to back, the tutorial's pickles, and peers that send something else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::json;

use support::browser::Browser;
use support::http::get;
use support::tools::program;
use support::ws::Client;
use support::{DEADLINE, Porthole, Scratch, proc_status, until};

use crate::page::{elsewhere, tutorial_page};

/// A JPEG of 64 by 48 pixels, darker or brighter.
pub fn jpeg(luma: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let pixels: Vec<u8> = (0..64 * 48).map(|at: u32| luma.wrapping_add((at % 61) as u8)).collect();
    jpeg_encoder::Encoder::new(&mut out, 90).encode(&pixels, 64, 48, jpeg_encoder::ColorType::Luma).unwrap();
    out
}

/// A pickle of protocol 4 of `{"leftimg": base64}`, as Python writes it.
fn pickled(jpeg: &[u8]) -> Vec<u8> {
    let text = BASE64_STANDARD.encode(jpeg);
    let body =
        [&b"}\x94\x8c\x07leftimg\x94X"[..], &(text.len() as u32).to_le_bytes(), text.as_bytes(), b"\x94s."]
            .concat();
    [&b"\x80\x04\x95"[..], &(body.len() as u64).to_le_bytes(), &body].concat()
}

/// A server that does `serve` with everybody who connects, with the number of the connection.
fn peer(serve: impl Fn(TcpStream, usize) + Send + Sync + Clone + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let serve = serve.clone();
            thread::spawn(move || serve(stream, number));
        }
    });
    address
}

fn relay(address: SocketAddr, more: &[&str]) -> Porthole {
    Porthole::start(&[&["--source", &format!("tcp://{address}"), "--linger", "0"][..], more].concat())
}

/// Waits until the peer has closed the connection.
fn until_closed(mut stream: &TcpStream) {
    let _ = stream.read(&mut [0]);
}

/// A program that is killed when dropped.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(command: &mut Command) -> Server {
    Server(command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap())
}

/// A port that was free a moment ago.
fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn the_tutorials_script_is_a_source_and_its_page_a_viewer() {
    let Some(python) = program("python3", "python3") else { return };
    let scratch = Scratch::new();
    let files: Vec<_> = (0..4).map(|n| scratch.file(&format!("{n}.jpg"), jpeg(n * 40))).collect();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/tutorial-camera.py");
    let mut server = start(Command::new(python).arg(script).args(&files).stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let port: u16 = line.trim().parse().unwrap();
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    // Another client of it, which is not disturbed.
    let mut other = TcpStream::connect(address).unwrap();
    let service = relay(address, &[]);
    let mut client = Client::porthole(service.address, "/ws");
    let pictures: Vec<_> = (0..12).map(|_| client.acknowledged().jpeg).collect();
    for luma in 0..4 {
        assert!(pictures.contains(&jpeg(luma * 40)), "picture {luma} is missing");
    }
    let mut browser = Browser::with_jpeg_chosen();
    browser.open(&elsewhere(tutorial_page(service.address)));
    browser.until("document.querySelector('#left_img').naturalWidth === 64");
    let source = "document.querySelector('#left_img').src";
    let first = browser.eval(source);
    until("the picture moves", || (browser.eval(source) != first).then_some(()));
    let camera = service.camera();
    assert_eq!((camera["driver"].clone(), camera["corrupt"].clone()), ("tcp".into(), 0.into()), "{camera}");
    other.read_exact(&mut [0; 4096]).unwrap();
}

#[test]
fn programs_that_serve_jpegs_over_tcp_are_shown() {
    let ports = [free_port(), free_port()];
    let mut commands = vec![];
    if let Some(ffmpeg) = program("ffmpeg", "ffmpeg") {
        let mut command = Command::new(ffmpeg);
        command.args("-v quiet -re -f lavfi -i testsrc=size=320x240:rate=20 -c:v mjpeg -f mjpeg".split(' '));
        command.arg(format!("tcp://127.0.0.1:{}?listen=1", ports[0]));
        commands.push((ports[0], command));
    }
    if let Some(gstreamer) = program("gst-launch-1.0", "gstreamer1.0-tools") {
        let mut command = Command::new(gstreamer);
        command.args(
            "-q videotestsrc is-live=true ! video/x-raw,width=320,height=240,framerate=20/1".split(' '),
        );
        command.args(["!", "jpegenc", "!", "tcpserversink", "host=127.0.0.1"]);
        command.arg(format!("port={}", ports[1]));
        commands.push((ports[1], command));
    }
    for (port, mut command) in commands {
        let _server = start(command.stdout(Stdio::null()));
        let service = relay(([127, 0, 0, 1], port).into(), &[]);
        let mut client = Client::porthole(service.address, "/ws");
        for _ in 0..10 {
            let frame = client.acknowledged();
            assert_eq!((frame.width, frame.height), (320, 240), "{command:?}");
            assert!(frame.jpeg.ends_with(&[0xff, 0xd9]), "{command:?}");
        }
        assert_eq!(service.camera()["corrupt"], 0, "{command:?}");
    }
}

#[test]
fn of_several_pictures_only_the_newest_is_shown_and_the_others_are_counted() {
    for encode in [|jpeg: &[u8]| jpeg.to_vec(), pickled as fn(&[u8]) -> Vec<u8>] {
        let address = peer(move |mut stream, _| {
            let bursts: Vec<u8> = (1..=3).flat_map(|n| encode(&jpeg(n * 50))).collect();
            while stream.write_all(&bursts).is_ok() {
                thread::sleep(Duration::from_millis(40));
            }
        });
        let service = relay(address, &[]);
        let mut client = Client::porthole(service.address, "/ws");
        let newest = (0..10).filter(|_| client.acknowledged().jpeg == jpeg(150)).count();
        assert!(newest >= 9, "{newest} of 10 are the newest");
        let camera = service.camera();
        let (frames, dropped) = (camera["frames"].as_u64().unwrap(), camera["dropped"].as_u64().unwrap());
        assert!(dropped + 2 >= 2 * (frames - 1), "{dropped} dropped for {frames}");
    }
}

#[test]
fn h264_is_told_apart_and_no_picture_of_it_is_left_out() {
    for step in [1, 700, 100_000] {
        let address = peer(move |mut stream, _| {
            let mut encoder = support::h264::Encoder::new([320, 240], 30_000);
            let mut all = Vec::new();
            for number in 0..40 {
                if number % 10 == 0 {
                    encoder.parameter_sets(&mut all);
                }
                encoder.picture(number % 10 == 0, |x, y| [(x + y + number) as u8, 128, 128], &mut all);
            }
            // An access unit delimiter ends the last one, also where the machine was slow and the others seemed to pause.
            all.extend([0, 0, 0, 1, 0x09, 0xf0]);
            all.chunks(step).for_each(|chunk| stream.write_all(chunk).unwrap());
            until_closed(&stream);
        });
        let service = relay(address, &[]);
        let _viewer = Client::porthole(service.address, "/ws");
        until("all were taken", || (service.camera()["frames"] == 40).then_some(()));
        let camera = service.camera();
        assert_eq!(
            (&camera["format"], &camera["corrupt"], &camera["dropped"]),
            (&json!("h264"), &json!(0), &json!(0))
        );
    }
}

#[test]
fn the_far_program_is_connected_to_only_while_somebody_watches() {
    let (told, closed) = mpsc::channel();
    let address = peer(move |mut stream, number| {
        told.send((number, true)).unwrap();
        while stream.write_all(&pickled(&jpeg(90))).is_ok() {
            thread::sleep(Duration::from_millis(20));
        }
        told.send((number, false)).unwrap();
    });
    let service = relay(address, &[]);
    let mut clients = [(); 3].map(|()| Client::porthole(service.address, "/ws"));
    for client in &mut clients {
        assert_eq!(client.acknowledged().jpeg, jpeg(90));
    }
    assert_eq!(closed.recv_timeout(DEADLINE), Ok((0, true)));
    assert!(closed.try_recv().is_err(), "one connection for all viewers");
    drop(clients);
    assert_eq!(closed.recv_timeout(DEADLINE), Ok((0, false)), "nobody watches");
    Client::porthole(service.address, "/ws").acknowledged();
    assert_eq!(closed.recv_timeout(DEADLINE), Ok((1, true)));
}

#[test]
fn what_a_peer_sends_instead_of_pictures_is_named_with_a_remedy() {
    let says = |bytes: &'static [u8]| {
        peer(move |mut stream, _| {
            let _ = stream.write_all(bytes);
            until_closed(&stream);
        })
    };
    let closing = peer(|_, _| {});
    let banner = peer(|mut stream, _| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\x1b[2J\r\n");
    });
    let noise = peer(|mut stream, _| while stream.write_all(&[b'x'; 4096]).is_ok() {});
    let closed = SocketAddr::from(([127, 0, 0, 1], free_port()));
    for (address, words) in [
        (says(b"\x80\x04cos\nsystem\n(S'touch /tmp/x'\ntR."), &["the opcode GLOBAL", "can run code"][..]),
        (says(b"\x80\x04\x8c\x02os\x8c\x06system\x93."), &["the opcode STACK_GLOBAL"]),
        (says(b"\x80\x04]."), &["EMPTY_LIST", "protocol=4"]),
        (banner, &["SSH-2.0-OpenSSH", "neither JPEGs nor pickles", "check host and port"]),
        (noise, &["begins with \"xxxx", "check host and port"]),
        (closing, &["closed the connection before its first picture"]),
        (closed, &["connection refused", "port"]),
    ] {
        let service = relay(address, &[]);
        let answer = get(service.address, "/snapshot");
        let text = answer.text();
        assert_eq!(answer.status, 503, "{text}");
        assert!(words.iter().all(|words| text.contains(words)), "{text}, not {words:?}");
        assert!(text.contains(&format!("tcp://{address}")), "{text}");
        assert!(!text.contains('\x1b') && !service.log().contains('\x1b'), "an escape sequence: {text}");
    }
}

#[test]
fn endless_pickles_take_no_more_memory_and_end_with_a_message() {
    let endless: [(&[u8], &[u8], &str); 3] = [
        // One string that never ends, numbers without end, and the same in a dictionary.
        (b"\x80\x04}\x8d\xff\xff\xff\x00\x00\x00\x00\x00", &[b'A'; 4096], "more than"),
        (b"\x80\x04}(", &[b'N'; 4096], "too many values"),
        (b"\x80\x04}", &[0x94; 4096], "too many values"),
    ];
    for (begin, more, words) in endless {
        let address = peer(move |mut stream, _| {
            let _ = stream.write_all(begin);
            while stream.write_all(more).is_ok() {}
        });
        let service = relay(address, &[]);
        let before = proc_status(service.pid(), "VmRSS");
        let _client = Client::porthole(service.address, "/ws");
        let camera = service.until_camera_is("unsupported");
        assert!(camera["error"].as_str().unwrap().contains(words), "{camera}");
        let grown = proc_status(service.pid(), "VmRSS").saturating_sub(before);
        assert!(grown < 12 * 1024, "{grown} KiB more");
    }
}

#[test]
fn a_peer_that_goes_silent_or_closes_after_each_picture_is_connected_to_again() {
    let silent = peer(|mut stream, _| {
        let _ = stream.write_all(&jpeg(70));
        until_closed(&stream);
    });
    let service = relay(silent, &[]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    let begun = Instant::now();
    assert_eq!(client.acknowledged().jpeg, jpeg(70), "of the second connection");
    assert!(begun.elapsed() < Duration::from_secs(5), "after {:?}", begun.elapsed());
    assert!(service.camera()["reopens"].as_u64().unwrap() >= 1);

    let closing = peer(|mut stream, _| {
        let _ = stream.write_all(&pickled(&jpeg(70)));
    });
    let service = relay(closing, &[]);
    let mut client = Client::porthole(service.address, "/ws");
    let begun = Instant::now();
    for _ in 0..5 {
        assert_eq!(client.acknowledged().jpeg, jpeg(70));
    }
    let took = begun.elapsed();
    assert!((Duration::from_millis(300)..Duration::from_secs(3)).contains(&took), "{took:?}");
}

#[test]
fn the_service_stops_at_once_while_it_waits_for_a_peer() {
    let silent = peer(|stream, _| until_closed(&stream));
    // A network that is reserved for documentation (RFC 5737): nothing answers.
    for address in [silent, "192.0.2.1:9".parse().unwrap()] {
        let mut service = relay(address, &[]);
        let _client = Client::porthole(service.address, "/ws");
        // Where there is no route to that network, connecting fails at once.
        until("the camera is wanted", || (service.camera()["state"] != "idle").then_some(()));
        let begun = Instant::now();
        assert_eq!(service.stop(), Some(0), "{}", service.log());
        assert!(begun.elapsed() < Duration::from_millis(1500), "{:?}", begun.elapsed());
    }
}

#[test]
fn damaged_pictures_are_counted_and_those_between_them_are_shown() {
    let address = peer(|mut stream, _| {
        let (whole, no_base64) = (pickled(&jpeg(90)), pickled(&jpeg(10)));
        let middle = no_base64.len() / 2;
        let damaged = [&no_base64[..middle], b"*", &no_base64[middle + 1..]].concat();
        while stream.write_all(&whole).is_ok() && stream.flush().is_ok() {
            thread::sleep(Duration::from_millis(15));
            let _ = stream.write_all(&damaged);
            thread::sleep(Duration::from_millis(15));
        }
    });
    let service = relay(address, &[]);
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..10 {
        assert_eq!(client.acknowledged().jpeg, jpeg(90));
    }
    assert!(service.camera()["corrupt"].as_u64().unwrap() >= 5, "{}", service.camera());
}
