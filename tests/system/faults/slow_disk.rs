//! A disk that hangs holds up the request that needs it, and nothing else.

use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::thread;

use support::http::{Multipart, get};
#[cfg(feature = "tls")]
use support::tls::{ClientStream, encrypted, plain};
use support::{DEADLINE, Porthole, Scratch, library, porthole, proc_status, until};

/// Frames that a viewer gets while the disk hangs: more than all buffers hold.
const FRAMES: usize = 60;
/// Requests for the figures of the process while those hang.
const REQUESTS: usize = 8;

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
fn figures_of_the_process_that_hang_hold_up_no_viewer_and_are_left_out() {
    let scratch = Scratch::new();
    let service = start(&scratch, &[]);
    let mut viewer = Multipart::open(service.address, "/stream");
    viewer.part();
    let threads = || proc_status(service.pid(), "Threads");
    let before = threads();
    scratch.file("stuck", "/proc/self/status");
    let metrics = |address| get(address, "/metrics");
    let first = until_one_waits(&scratch, metrics, service.address);
    let all: Vec<_> = std::iter::once(first)
        .chain((0..REQUESTS).map(|_| {
            let (answer, answered) = channel();
            let address = service.address;
            thread::spawn(move || answer.send(metrics(address)));
            answered
        }))
        .collect();
    for _ in 0..FRAMES {
        viewer.part();
    }
    assert_eq!(get(service.address, "/snapshot").status, 200);
    for answered in all {
        let answer = answered.recv_timeout(DEADLINE).unwrap();
        let text = answer.text();
        assert_eq!(answer.status, 200);
        assert!(text.contains("porthole_camera_frames_total") && !text.contains("process_threads"), "{text}");
        assert!(threads() <= before + 1, "{} threads, {before} before", threads());
    }
    scratch.file("stuck", "");
    until("the figures are there again", || {
        metrics(service.address).text().contains("process_threads").then_some(())
    });
}

#[test]
fn removing_the_file_of_a_socket_holds_up_no_stop() {
    let scratch = Scratch::new();
    let socket = scratch.path("sockets/porthole");
    std::fs::create_dir(socket.parent().unwrap()).unwrap();
    let mut service = start(&scratch, &["--listen", &format!("unix:{}", socket.display())]);
    let mut viewer = Multipart::open(service.address, "/stream");
    viewer.part();
    scratch.file("stuck", socket.parent().unwrap().to_str().unwrap());
    assert_eq!(service.stop(), Some(0), "{}", service.log());
    assert!(scratch.path("stuck.reached").exists(), "it did not wait for the disk");
    assert!(service.log().contains("the file of a UNIX socket could not be removed"), "{}", service.log());
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
