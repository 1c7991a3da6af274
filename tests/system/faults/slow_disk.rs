//! A disk that hangs holds up the request that needs it, and nothing else.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use support::http::{Multipart, get};
#[cfg(feature = "tls")]
use support::tls::{ClientStream, encrypted, plain};
use support::{DEADLINE, Porthole, Scratch, library, porthole, until};

/// Frames that a viewer gets while the disk hangs: more than all buffers hold.
const FRAMES: usize = 60;

/// Serves a pattern on a machine whose disk hangs where the file `stuck` says so.
fn start(scratch: &Scratch, more: &[&str]) -> Porthole {
    let mut command = porthole();
    command.args(["--source", "pattern", "--size", "320x240", "--fps", "60", "--listen", "127.0.0.1:0"]);
    command.arg("--state-dir").arg(scratch.path("state")).args(more);
    command.env("LD_PRELOAD", library("fakesys")).env("FAKESYS_STUCK", scratch.file("stuck", ""));
    Porthole::spawn(&mut command)
}

/// Sends requests from threads, until one waits for the disk.
fn until_one_waits<T: Send + 'static>(
    scratch: &Scratch,
    request: fn(SocketAddr) -> T,
    address: SocketAddr,
) -> Receiver<T> {
    let ask = || {
        let (answer, answered) = channel();
        thread::spawn(move || answer.send(request(address)));
        answered
    };
    let mut answered = ask();
    until("a request waits for the disk", || match answered.try_recv() {
        _ if scratch.path("stuck.reached").exists() => Some(()),
        Err(TryRecvError::Empty) => None,
        Ok(_) => {
            answered = ask();
            None
        }
        Err(TryRecvError::Disconnected) => panic!("a request failed"),
    });
    answered
}

#[cfg(feature = "tls")]
fn status_line(mut stream: Box<dyn ClientStream>) -> String {
    write!(stream, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap_or_default().to_owned()
}

#[test]
fn reading_the_figures_of_the_process_holds_up_no_viewer() {
    let scratch = Scratch::new();
    let service = start(&scratch, &[]);
    let mut viewer = Multipart::open(service.address, "/stream");
    viewer.part();
    scratch.file("stuck", "/proc/self/status");
    let waiting = until_one_waits(&scratch, |address| get(address, "/metrics").status, service.address);
    for _ in 0..FRAMES {
        viewer.part();
    }
    assert_eq!(get(service.address, "/snapshot").status, 200);
    assert!(waiting.try_recv().is_err(), "/metrics did not wait for the disk");
    scratch.file("stuck", "");
    assert_eq!(waiting.recv_timeout(DEADLINE), Ok(200));
}

#[cfg(feature = "tls")]
#[test]
fn reading_the_certificate_holds_up_no_viewer() {
    let scratch = Scratch::new();
    let service = start(&scratch, &["--tls", "self-signed"]);
    let health = |address| status_line(encrypted(address));
    let mut stream = encrypted(service.address);
    write!(stream, "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let mut viewer = Multipart::over(stream);
    viewer.part();
    scratch.file("stuck", scratch.path("state").to_str().unwrap());
    let waiting = until_one_waits(&scratch, health, service.address);
    for _ in 0..FRAMES {
        viewer.part();
    }
    assert_eq!(health(service.address), "HTTP/1.1 200 OK", "another client waited for the disk too");
    assert!(waiting.try_recv().is_err(), "the first client did not wait for the disk");
    // Speaks HTTP to the port of HTTPS, for which no certificate is needed.
    assert!(status_line(plain(service.address)).starts_with("HTTP/1.1 308"));
    scratch.file("stuck", "");
    assert_eq!(waiting.recv_timeout(DEADLINE).as_deref(), Ok("HTTP/1.1 200 OK"));
}
