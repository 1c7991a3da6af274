//! From start to stop: readiness, health, signals, the service manager.

use std::collections::BTreeMap;
use std::io::Write;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use support::http::{Multipart, get};
use support::ws::Client;
use support::{DEADLINE, Porthole, Scratch, fakecam, finish, porthole, run, until};

#[test]
fn it_stops_when_told_with_viewers_of_every_kind() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let mut service = Porthole::start(&["--source", "pattern"]);
        let mut sockets: Vec<Client> = (0..10).map(|_| Client::porthole(service.address, "/ws")).collect();
        let mut streams: Vec<Multipart> =
            (0..10).map(|_| Multipart::open(service.address, "/stream")).collect();
        sockets.iter_mut().for_each(|client| drop(client.acknowledged()));
        streams.iter_mut().for_each(|stream| drop(stream.part()));
        // One who does not read, so that the service has something it cannot write.
        let _deaf = Multipart::open(service.address, "/stream");
        service.signal(signal);
        // Not stopping in time would be exit code 3.
        assert_eq!(service.wait().code(), Some(0), "{}", service.log());
        let farewell = loop {
            match sockets[0].try_read() {
                Ok(tungstenite::Message::Close(reason)) => break reason,
                Ok(_) => {}
                Err(error) => panic!("no farewell: {error}"),
            }
        };
        assert_eq!(u16::from(farewell.unwrap().code), 1001);
    }
}

#[test]
fn it_stops_with_the_camera_blocked() {
    let scratch = Scratch::new();
    let table = fakecam::Table::create(scratch.path("table")).unwrap();
    let camera = fakecam::Camera::new("/dev/video90", &table);
    let mut service = Porthole::with_cameras(&[camera], &["--source", "/dev/video90"]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    table.set(fakecam::Setting::Stall, 1);
    assert_eq!(service.stop(), Some(0), "{}", service.log());
    assert_eq!(table.counter(fakecam::Counter::Streamoffs), 1, "the camera was not shut down in order");

    let mut service = Porthole::start(&["--source", "exec:sleep 1000"]);
    let _viewer = Client::porthole(service.address, "/ws");
    service.until_camera_is("starting");
    assert_eq!(service.stop(), Some(0), "{}", service.log());
}

#[test]
fn a_second_signal_means_now() {
    // A child that will not end keeps the camera thread for its grace time, and the web waits for nobody.
    let mut service = Porthole::start(&["--source", "exec:trap '' TERM; while :; do sleep 1; done"]);
    let _viewer = Client::porthole(service.address, "/ws");
    service.until_camera_is("starting");
    service.signal(libc::SIGTERM);
    until("it is stopping", || service.log().contains("SIGTERM: stopping").then_some(()));
    let ended = until("it ends at a second signal", || {
        service.signal(libc::SIGTERM);
        Some(service.wait())
    });
    assert!(matches!(ended.code(), Some(0 | 3)), "{ended:?}");
}

#[test]
fn health_follows_the_cameras() {
    let service = Porthole::start(&["--source", "pattern"]);
    let health = get(service.address, "/healthz");
    assert_eq!((health.status, health.text().as_str()), (200, "ok\n"), "a camera that rests is healthy");
    let service = Porthole::start(&["--source", "/dev/no-such-camera"]);
    assert_eq!(get(service.address, "/healthz").status, 200, "nobody asked for a picture yet");
    let _viewer = Client::porthole(service.address, "/ws");
    service.until_camera_is("lost");
    let health = get(service.address, "/healthz");
    assert_eq!(health.status, 503);
    assert!(health.text().starts_with("camera camera is lost: /dev/no-such-camera: no such device"));
}

/// What a service manager would listen on.
struct Manager {
    socket: UnixDatagram,
    scratch: Scratch,
    heard: Vec<String>,
}

impl Manager {
    fn new() -> Self {
        let scratch = Scratch::new();
        let socket = UnixDatagram::bind(scratch.path("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, scratch, heard: Vec::new() }
    }

    fn start(&self, arguments: &[&str], watchdog_us: Option<u64>) -> Porthole {
        let mut command = porthole();
        command
            .env("NOTIFY_SOCKET", self.scratch.path("notify"))
            .args(["--listen", "127.0.0.1:0"])
            .args(arguments);
        if let Some(us) = watchdog_us {
            command.env("WATCHDOG_USEC", us.to_string());
        }
        Porthole::spawn(&mut command)
    }

    /// Listens until `wanted` has been said.
    #[track_caller]
    fn hear(&mut self, wanted: &str) {
        let mut buffer = [0; 4096];
        loop {
            let n = self
                .socket
                .recv(&mut buffer)
                .unwrap_or_else(|e| panic!("{wanted} not heard ({e}): {:?}", self.heard));
            for line in std::str::from_utf8(&buffer[..n]).unwrap().lines() {
                self.heard.push(line.to_owned());
            }
            if self.heard.iter().any(|line| line == wanted) {
                return self.heard.clear();
            }
        }
    }

    /// Whether anything is said within a second.
    fn is_silent(&self) -> bool {
        self.socket.set_read_timeout(Some(std::time::Duration::from_secs(1))).unwrap();
        while self.socket.recv(&mut [0; 4096]).is_ok_and(|_| false) {}
        self.socket.recv(&mut [0; 4096]).is_err()
    }
}

#[test]
fn the_service_manager_is_kept_informed() {
    let mut manager = Manager::new();
    let mut service = manager.start(&["--source", "pattern", "--linger", "0"], Some(200_000));
    manager.hear("READY=1");
    manager.hear("STATUS=camera idle");
    let client = Client::porthole(service.address, "/ws");
    manager.hear("STATUS=camera live");
    for _ in 0..3 {
        manager.hear("WATCHDOG=1");
    }
    drop(client);
    manager.hear("STATUS=camera idle");
    assert_eq!(service.stop(), Some(0));
    manager.hear("STOPPING=1");
}

#[test]
fn a_wedged_capture_thread_stops_the_keep_alive() {
    let scratch = Scratch::new();
    let table = fakecam::Table::create(scratch.path("table")).unwrap();
    let camera = fakecam::Camera::new("/dev/video90", &table);
    let mut manager = Manager::new();
    let mut command = porthole();
    command.envs(fakecam::environment(&[camera]));
    command.env("NOTIFY_SOCKET", manager.scratch.path("notify")).env("WATCHDOG_USEC", "200000");
    command.args(["--listen", "127.0.0.1:0", "--source", "/dev/video90"]);
    let service = Porthole::spawn(&mut command);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    manager.hear("WATCHDOG=1");
    table.set(fakecam::Setting::HangMs, 600_000);
    table.set(fakecam::Setting::HangWhere, fakecam::hang::DQBUF);
    service.until_logged("its thread is stuck in a driver");
    until("the keep-alive has stopped", || manager.is_silent().then_some(()));
}

#[test]
fn exit_codes_are_as_documented() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    assert_eq!(run(&["--quality", "0"]).0, 1);
    assert_eq!(run(&["--source", "pattern", "--listen", &address]).0, 2);
    let mut service = Porthole::start(&["--source", "pattern"]);
    assert_eq!(service.stop(), Some(0));
    assert!(
        run(&["--help"])
            .1
            .contains("0 stopped as told, 1 configuration wrong, 2 could not start, 3 stopped by a fault")
    );
}

#[test]
fn unwatched_it_does_not_wake_up_at_all() {
    let folder = std::env::temp_dir().join(format!("porthole-quiet-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = folder.join("fault");
    let service = Porthole::start(&[
        "--source",
        "pattern",
        "--size",
        "320x240",
        "--linger",
        "0",
        "--warning-file",
        file.to_str().unwrap(),
    ]);
    // Not only before the first viewer, but also after the last.
    Client::porthole(service.address, "/ws").acknowledged();
    service.until_camera_is("idle");
    // The last request's connection is closed when nothing has happened for a moment, and a thread that read a file ends a
    // second after it.
    let wakes = || wakes(service.pid());
    let mut last = wakes();
    until("all is quiet", || {
        std::thread::sleep(Duration::from_millis(1200));
        let now = wakes();
        let is_quiet = last == now;
        last = now;
        is_quiet.then_some(())
    });
    std::thread::sleep(Duration::from_secs(10));
    assert_eq!(wakes(), last, "it woke up with nobody there");
    std::fs::remove_dir_all(folder).unwrap();
}

/// How often each thread of a process has waited for something that came.
fn wakes(pid: u32) -> BTreeMap<PathBuf, u64> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    let count = |status: String| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.unwrap().trim().parse().unwrap()
    };
    let task =
        |path: PathBuf| Some((path.clone(), count(std::fs::read_to_string(path.join("status")).ok()?)));
    // A thread may end between the listing and the look.
    tasks.filter_map(|entry| task(entry.unwrap().path())).collect()
}

/// Exit code and message of `porthole health` with the flags of the service.
fn health(flags: &[&str]) -> (i32, String) {
    let (code, output, errors) = finish(porthole().arg("health").args(flags));
    (code, output + &errors)
}

#[test]
fn the_command_health_finds_the_service_and_ends_as_it_answers() {
    let scratch = Scratch::new();
    let (state, socket) = (scratch.path("state"), scratch.path("local.sock"));
    let (state, socket) = (state.to_str().unwrap(), socket.to_str().unwrap());
    let lost = ["--source", "/dev/no-such-camera", "--state-dir", state];
    for more in [&[][..], &["--auth", "token"], &["--tls", "self-signed", "--auth", "token"]] {
        let mut service = Porthole::spawn(porthole().args(lost).args(more).args(["--listen", "127.0.0.1:0"]));
        let address = service.address.to_string();
        let asked = [&lost, more, &["--listen", &address]].concat();
        assert_eq!(health(&asked), (0, "ok\n".into()), "a camera that rests is healthy, with {more:?}");
        service.stop();
        let (code, message) = health(&asked);
        assert!(code == 1 && message.contains("refused") && message.contains("start porthole"), "{message}");
    }

    let flags =
        [&lost[..], &["--auth", "token", "--local-socket", socket, "--listen", "127.0.0.1:0"]].concat();
    let service = Porthole::spawn(porthole().args(&flags));
    assert_eq!(health(&flags), (0, "ok\n".into()));
    let token = std::fs::read_to_string(scratch.path("state").join("token")).unwrap();
    let _viewer = Client::porthole(service.address, &format!("/ws?token={}", token.trim()));
    let (code, message) = until("the camera is lost", || Some(health(&flags)).filter(|(code, _)| *code != 0));
    assert_eq!(code, 1);
    assert!(message.contains("camera camera is lost: /dev/no-such-camera: no such device"), "{message}");

    std::fs::write(scratch.path("state").join("token"), "another\n").unwrap();
    let address = service.address.to_string();
    let (code, message) = health(&["--state-dir", state, "--auth", "token", "--listen", &address]);
    assert!(code == 1 && message.contains("--state-dir"), "{message}");
    let (code, message) = health(&["--listen", "127.0.0.1:0"]);
    assert!(code == 1 && message.contains("--local-socket"), "{message}");
}

#[test]
fn health_with_a_password_tells_that_the_service_answers() {
    let scratch = Scratch::new();
    let state = scratch.path("state");
    let state = state.to_str().unwrap();
    let mut set = porthole();
    set.args(["passwd", "--state-dir", state]).stdin(Stdio::piped()).stdout(Stdio::null());
    let mut set = set.spawn().unwrap();
    set.stdin.take().unwrap().write_all(b"a long password\n").unwrap();
    assert!(set.wait().unwrap().success());
    let service = Porthole::start(&["--source", "pattern", "--state-dir", state]);
    let (code, message) = health(&["--state-dir", state, "--listen", &service.address.to_string()]);
    assert!(code == 0 && message.contains("the service answers"), "{message}");
}
