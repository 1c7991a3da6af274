//! Where the service can be reached: several addresses, UNIX sockets, sockets of a service manager.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::AsRawFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};

use tungstenite::{Message, WebSocket};

use support::http::get;
use support::picture::decode;
use support::tools::program;
use support::ws::Client;
use support::{DEADLINE, Porthole, Scratch, finish, porthole, run, until};

const PATTERN: [&str; 6] = ["--source", "pattern", "--size", "320x240", "--fps", "60"];

/// The answer to a request by a UNIX socket.
#[track_caller]
fn get_by(path: &Path, target: &str) -> String {
    let mut stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    write!(stream, "GET {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[track_caller]
fn watch_by(path: &Path) -> WebSocket<UnixStream> {
    let stream = UnixStream::connect(path).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    tungstenite::client("ws://localhost/ws", stream).unwrap().0
}

/// The number of the next picture.
#[track_caller]
fn next(socket: &mut WebSocket<UnixStream>) -> u32 {
    loop {
        if let Message::Binary(jpeg) = socket.read().unwrap() {
            return decode(&jpeg).pattern_number();
        }
    }
}

#[test]
fn a_unix_socket_serves_its_group_asks_for_no_token_and_goes_with_the_service() {
    let scratch = Scratch::new();
    let path = scratch.path("http.sock");
    let listen = format!("unix:{}", path.display());
    let mut service = Porthole::spawn(porthole().args(PATTERN).args(["--listen", &listen]));
    assert_eq!(service.url, listen);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o660);
    assert!(get_by(&path, "/healthz").starts_with("HTTP/1.1 200 OK\r\n"));
    let mut viewer = watch_by(&path);
    let numbers: Vec<u32> = (0..10).map(|_| next(&mut viewer)).collect();
    assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
    assert!(get_by(&path, "/state").contains("\"remote\":\"unix\""));
    assert_eq!(service.stop(), Some(0), "{}", service.log());
    assert!(!path.exists(), "the socket was left behind");
}

#[test]
fn a_local_socket_lets_its_own_user_watch_and_nothing_more_whatever_others_are_asked_for() {
    let scratch = Scratch::new();
    let path = scratch.path("local.sock");
    let local = path.to_str().unwrap();
    let state = scratch.path("state");
    let flags = ["--auth", "token", "--state-dir", state.to_str().unwrap(), "--local-socket", local];
    let mut service = Porthole::start(&[&PATTERN[..], &flags].concat());
    assert!(service.url.starts_with("http://127.0.0.1:"), "{}", service.url);
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(get(service.address, "/snapshot").status, 401);
    let answer = get_by(&path, "/snapshot");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("image/jpeg"), "{answer:.200}");
    assert!(get_by(&path, "/state").contains("\"name\":\"camera\""));
    let mut stream = UnixStream::connect(&path).unwrap();
    let put = "PUT /controls/brightness HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: 11\r\n\r\n";
    // All at once: it is refused, and the connection closed, as soon as the head is there.
    stream.write_all([put, "{\"value\":1}"].concat().as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
    assert_eq!(service.stop(), Some(0), "{}", service.log());
    assert!(!path.exists(), "the socket was left behind");
}

#[test]
fn a_local_socket_is_shown_by_check_and_must_be_a_whole_path() {
    let (code, out, error) = run(&["check", "--local-socket", "/run/porthole/local.sock"]);
    let told = "# and, for this user and root, unix:/run/porthole/local.sock (--local-socket)";
    assert!(code == 0 && out.contains(told), "{out}{error}");
    let (code, _, error) = run(&["check", "--local-socket", "local.sock"]);
    assert_eq!(code, 1);
    let why = "--local-socket = \"local.sock\": must be an absolute path of at most 107 bytes, like /run/porthole/local.sock";
    assert!(error.contains(why), "{error}");
}

#[test]
fn one_who_reads_late_by_a_unix_socket_finds_new_pictures_all_the_same() {
    let scratch = Scratch::new();
    let path = scratch.path("http.sock");
    let unix = format!("unix:{}", path.display());
    let service = Porthole::start(&[&PATTERN[..], &["--listen", &unix]].concat());
    let mut late = watch_by(&path);
    let before = next(&mut late);
    // A second viewer, by the other address, tells how time goes by.
    let mut other = Client::porthole(service.address, "/ws");
    let from = (0..60).map(|_| other.acknowledged().sequence).last().unwrap();
    let old = (0..40).map(|_| next(&mut late)).take_while(|number| *number < from).count();
    // One may be in the socket and one half way, of some sixty.
    assert!(old <= 2, "{old} pictures from {before} on were older than number {from}");
}

#[test]
fn a_viewer_who_takes_nothing_by_a_unix_socket_is_dropped() {
    let scratch = Scratch::new();
    let path = scratch.path("http.sock");
    let config = format!(
        "[server]\nlisten = \"unix:{}\"\nprogress_timeout_s = 1\n[[camera]]\nsource = \"pattern\"\n",
        path.display()
    );
    let file = scratch.file("porthole.toml", config);
    let _service = Porthole::spawn(porthole().arg("--config").arg(file));
    let mut deaf = watch_by(&path);
    next(&mut deaf);
    until("it is dropped", || get_by(&path, "/state").contains("\"viewers\":[]").then_some(()));
}

#[test]
fn a_socket_somebody_left_behind_is_replaced_and_nothing_else_is() {
    let scratch = Scratch::new();
    let path = scratch.path("http.sock");
    let listen = format!("unix:{}", path.display());
    let start = || {
        let mut command = porthole();
        command.args(PATTERN).args(["--listen", &listen]);
        command
    };
    let mut first = Porthole::spawn(&mut start());
    // Somebody listens there.
    let (code, _, error) = finish(&mut start());
    assert_eq!(code, 2, "{error}");
    assert!(error.contains(&format!("cannot listen on {listen}: ")), "{error}");
    assert!(error.contains("another program listens there"), "{error}");
    assert!(get_by(&path, "/healthz").contains("200 OK"), "the first was disturbed");
    // Nobody does any more.
    first.signal(libc::SIGKILL);
    first.wait();
    assert!(path.exists());
    let mut second = Porthole::spawn(&mut start());
    assert!(get_by(&path, "/healthz").contains("200 OK"));
    // What took its place meanwhile is not its own to remove.
    std::fs::remove_file(&path).unwrap();
    let _taken = UnixListener::bind(&path).unwrap();
    assert_eq!(second.stop(), Some(0));
    assert!(path.exists(), "somebody else's socket was removed");
    // No socket at all.
    std::fs::remove_file(&path).unwrap();
    std::fs::write(&path, "precious").unwrap();
    let (code, _, error) = finish(&mut start());
    assert_eq!((code, std::fs::read(&path).unwrap()), (2, b"precious".to_vec()), "{error}");
    let nowhere = format!("unix:{}", scratch.path("no/such.sock").display());
    let (code, _, error) = finish(porthole().args(["--listen", &nowhere]));
    assert!(code == 2 && error.contains("create its directory"), "{error}");
}

#[test]
fn several_addresses_are_served_at_once_and_any_of_them_beyond_this_machine_asks_for_the_token() {
    let scratch = Scratch::new();
    let path = scratch.path("http.sock");
    let state = scratch.path("state");
    let config = format!(
        "[server]\nlisten = [\"127.0.0.1:0\", \"unix:{}\"]\nstate_dir = \"{}\"\n[[camera]]\nsource = \"pattern\"\n",
        path.display(),
        state.display()
    );
    let file = scratch.file("porthole.toml", config);
    let file = file.to_str().unwrap();
    let service = Porthole::spawn(porthole().args(["--config", file]));
    assert_eq!(get(service.address, "/healthz").status, 200);
    assert!(get_by(&path, "/healthz").contains("200 OK"));
    drop(service);
    let more = ["--listen", "0.0.0.0:0", "--listen", &format!("unix:{}", path.display())];
    let service = Porthole::spawn(porthole().args(["--config", file]).args(more));
    assert!(service.url.contains("?token="), "{}", service.url);
    assert_eq!(get(service.address, "/healthz").status, 401);
    assert!(get_by(&path, "/healthz").contains(" 401 "));
}

/// Starts the service as a service manager does that has opened `socket` for it.
fn hand_over(socket: &impl AsRawFd, arguments: &[&str]) -> Command {
    let program = porthole();
    let mut command = Command::new("sh");
    for (key, value) in program.get_envs() {
        match value {
            Some(value) => command.env(key, value),
            None => command.env_remove(key),
        };
    }
    // The shell's number is the program's, once that has taken its place.
    command.args(["-c", "LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\""]);
    command.arg(program.get_program()).args(arguments).stdin(Stdio::null());
    let descriptor = socket.as_raw_fd();
    // SAFETY: dup2 and fcntl may be called between fork and exec, and take numbers.
    unsafe {
        command.pre_exec(move || {
            let done =
                if descriptor == 3 { libc::fcntl(3, libc::F_SETFD, 0) } else { libc::dup2(descriptor, 3) };
            if done < 0 { Err(std::io::Error::last_os_error()) } else { Ok(()) }
        });
    }
    command
}

#[test]
fn a_socket_that_is_handed_over_takes_the_place_of_what_is_configured() {
    let scratch = Scratch::new();
    let state = scratch.path("state");
    let socket = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = socket.local_addr().unwrap().port();
    let state = ["--state-dir", state.to_str().unwrap()];
    let mut service = Porthole::spawn(&mut hand_over(&socket, &[&PATTERN[..], &state].concat()));
    assert_eq!(service.address.port(), port);
    assert!(service.url.contains("?token="), "open to the network, and nobody said so: {}", service.url);
    assert_eq!(get(service.address, "/healthz").status, 401);
    assert_eq!(service.stop(), Some(0));

    let path = scratch.path("http.sock");
    let socket = UnixListener::bind(&path).unwrap();
    let mut service = Porthole::spawn(&mut hand_over(&socket, &PATTERN));
    assert!(get_by(&path, "/healthz").contains("200 OK"));
    assert_eq!(service.stop(), Some(0));
    assert!(path.exists(), "the service manager's socket was removed");
}

#[test]
fn what_is_handed_over_and_cannot_be_served_on_is_named() {
    let scratch = Scratch::new();
    let file = std::fs::File::open(scratch.file("file", "")).unwrap();
    let (code, _, error) = finish(&mut hand_over(&file, &PATTERN));
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("descriptor 3 of the service manager is not a socket"), "{error}");
    let (connected, _other) = UnixStream::pair().unwrap();
    let (code, _, error) = finish(&mut hand_over(&connected, &PATTERN));
    assert!(
        code == 1 && error.contains("is not a listening stream socket: a socket unit must have"),
        "{error}"
    );
    // Meant for another process.
    let mut service = Porthole::spawn(
        porthole()
            .args(PATTERN)
            .args(["--listen", "127.0.0.1:0"])
            .env("LISTEN_FDS", "1")
            .env("LISTEN_PID", "1"),
    );
    assert_eq!(get(service.address, "/healthz").status, 200);
    assert_eq!(service.stop(), Some(0));
}

#[test]
fn systemd_starts_it_by_the_first_connection() {
    let Some(activate) = program("systemd-socket-activate", "systemd") else { return };
    let scratch = Scratch::new();
    let path = scratch.path("http.sock");
    let mut launcher = Command::new(activate);
    launcher.arg("--listen").arg(&path).arg(env!("CARGO_BIN_EXE_porthole")).args(PATTERN);
    let quiet = launcher.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut service = quiet.spawn().unwrap();
    until("systemd listens", || UnixStream::connect(&path).ok().map(drop));
    let answer = get_by(&path, "/healthz");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    // SAFETY: the child has not been waited for, so its number is still its own.
    unsafe { libc::kill(service.id() as i32, libc::SIGTERM) };
    assert_eq!(service.wait().unwrap().code(), Some(0));
}
