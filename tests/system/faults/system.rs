//! What the machine can do to the service: no room, no descriptors, no memory, wrong time, standing still. And what the
//! service can do to itself: a panic in any of its stages.

use std::io::Write;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use support::fakecam::{Camera, Setting, Table, now_ns};
use support::http::{Multipart, get, put, request, send};
use support::prometheus::Exposition;
use support::ws::Client;
use support::{DEADLINE, Porthole, Scratch, fake_disk, finish, porthole, proc_status, until};

use super::machine::{Machine, limit};
use crate::turns::{Group, turn};

const NODE: &str = "/dev/video90";

struct Rig {
    machine: Machine,
    table: Table,
    camera: Camera,
}

impl Rig {
    fn new(formats: &str) -> Self {
        let machine = Machine::new();
        let table = Table::create(machine.path("camera.table")).unwrap();
        let camera = Camera::new(NODE, &table).with("formats", formats);
        Self { machine, table, camera }
    }

    /// The program, to be told more.
    fn command(&self, listen: &str) -> Command {
        let mut command = porthole();
        self.machine.join(&mut command, std::slice::from_ref(&self.camera));
        let config = self.machine.config(&format!("[[camera]]\nsource = \"{NODE}\""));
        command.args(["--listen", listen, "--config"]).arg(config);
        command
    }
}

/// A frame that was captured from now on.
#[track_caller]
fn fresh(client: &mut Client) {
    let now = now_ns() / 1000;
    until("a frame comes that was captured from now on", || {
        (client.acknowledged().captured_at > now).then_some(())
    });
}

#[test]
fn a_state_directory_without_room_is_told_and_leaves_no_half_a_token() {
    let _turn = turn(Group::Faults);
    let scratch = Scratch::new();
    let state = scratch.path("state");
    std::fs::create_dir(&state).unwrap();
    let serve = || {
        let mut command = porthole();
        command.args(["--source", "pattern", "--listen", "0.0.0.0:0", "--state-dir"]).arg(&state);
        command
    };
    let mut without_room = serve();
    fake_disk(&mut without_room, "FAKEDISK_FAIL", "full", &state);
    let (code, _, error) = finish(&mut without_room);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("No space left on device") && error.contains("--state-dir"), "{error}");
    let left: Vec<_> = std::fs::read_dir(&state).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.is_empty(), "{left:?} is left");
    // Nor is it written through a link that somebody puts in the place of the half: a token stays in this folder.
    let elsewhere = scratch.file("elsewhere", "");
    std::os::unix::fs::symlink(&elsewhere, state.join("token.new")).unwrap();
    let service = Porthole::spawn(&mut serve());
    assert!(service.url.contains("?token="), "{}", service.url);
    assert_eq!(std::fs::read_to_string(elsewhere).unwrap(), "");
}

/// Runs the command where `folder` can only be read. None where that cannot be had.
fn where_read_only(folder: &Path, command: &Command) -> Option<Command> {
    let mut apart = Command::new("unshare");
    apart.args(["--mount", "--propagation", "private", "sh", "-c"]);
    apart.arg("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" && exec \"$@\"").arg(folder);
    let probe = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .args(["mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\""])
        .arg(folder)
        .output();
    if !probe.is_ok_and(|done| done.status.success()) {
        println!("skipped: no mount namespace can be made here");
        return None;
    }
    for (key, value) in command.get_envs() {
        match value {
            Some(value) => apart.env(key, value),
            None => apart.env_remove(key),
        };
    }
    apart.arg(command.get_program()).args(command.get_args());
    Some(apart)
}

#[test]
fn a_state_directory_that_can_only_be_read_does_for_who_has_a_token_and_is_told_to_others() {
    let _turn = turn(Group::Faults);
    let scratch = Scratch::new();
    let state = scratch.path("state");
    std::fs::create_dir(&state).unwrap();
    let mut command = porthole();
    command.args(["--source", "pattern", "--listen", "0.0.0.0:0", "--state-dir"]).arg(&state);
    let Some(mut apart) = where_read_only(&state, &command) else { return };
    let (code, _, error) = finish(&mut apart);
    assert_eq!(code, 2, "{error}");
    assert!(error.contains("Read-only file system") && error.contains("--state-dir"), "{error}");
    let made = Porthole::spawn(&mut command);
    let token = made.url.split("token=").nth(1).unwrap().to_owned();
    drop(made);
    let service = Porthole::spawn(&mut where_read_only(&state, &command).unwrap());
    assert_eq!(get(service.address, "/snapshot").status, 401);
    assert_eq!(get(service.address, &format!("/snapshot?token={token}")).status, 200);
}

#[test]
fn controls_that_cannot_be_kept_are_set_all_the_same() {
    let _turn = turn(Group::Faults);
    let rig = Rig::new("MJPG:640x480@30");
    let state = rig.machine.path("state");
    std::fs::create_dir(&state).unwrap();
    let config = rig.machine.config(&format!("[[camera]]\nsource = \"{NODE}\"\nkeep_controls = true"));
    let mut command = porthole();
    rig.machine.join(&mut command, std::slice::from_ref(&rig.camera));
    fake_disk(&mut command, "FAKEDISK_FAIL", "full", &state);
    command.args(["--listen", "127.0.0.1:0", "--state-dir"]).arg(&state).arg("--config").arg(config);
    let service = Porthole::spawn(&mut command);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    let answer = put(service.address, "/controls/brightness", "{\"value\": 100}");
    assert_eq!(answer.status, 200, "{}", answer.text());
    service.until_logged("controls not kept");
    service.until_logged("No space left on device");
    assert_eq!(std::fs::read_dir(&state).unwrap().count(), 0, "half of a file is left");
    // Opened again, it has what was set.
    rig.table.set(Setting::Unplug, 1);
    service.until_camera_is("lost");
    rig.table.set(Setting::Unplug, 0);
    fresh(&mut client);
    assert!(get(service.address, "/controls").text().contains("100"));
}

/// A service that may have 48 descriptors, and a viewer of it.
fn with_few_descriptors() -> (Rig, Porthole, Client) {
    let rig = Rig::new("MJPG:640x480@30");
    let mut command = rig.command("127.0.0.1:0");
    limit(&mut command, libc::RLIMIT_NOFILE, 48);
    let service = Porthole::spawn(&mut command);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    (rig, service, client)
}

#[test]
fn without_descriptors_those_who_watch_go_on_and_others_come_in_when_there_are_some_again() {
    let _turn = turn(Group::Faults);
    let (rig, service, mut client) = with_few_descriptors();
    let idle: Vec<TcpStream> = (0..100).map(|_| TcpStream::connect(service.address).unwrap()).collect();
    until("there are no descriptors left", || {
        let open = std::fs::read_dir(format!("/proc/{}/fd", service.pid())).unwrap().count();
        (open >= 47).then_some(())
    });
    (0..30).for_each(|_| drop(client.acknowledged()));
    // A camera that comes back now cannot be opened, until it can.
    rig.table.set(Setting::Unplug, 1);
    service.until_logged(": lost: ");
    rig.table.set(Setting::Unplug, 0);
    drop(idle);
    fresh(&mut client);
    let metrics = until("others come in", || {
        let answer = get(service.address, "/metrics");
        (answer.status == 200).then(|| Exposition::parse(&answer.text()))
    });
    assert!(metrics.value("porthole_connections_refused_total", &[]) >= 1.0, "nothing was refused");
    Client::porthole(service.address, "/ws").acknowledged();
    rig.machine.until_lit(&["power", "camera", "on-air"]);
}

#[test]
fn those_who_ask_for_nothing_cannot_keep_all_descriptors() {
    let _turn = turn(Group::Faults);
    let (_rig, service, mut client) = with_few_descriptors();
    let idle: Vec<TcpStream> = (0..60).map(|_| TcpStream::connect(service.address).unwrap()).collect();
    // Behind all of them.
    assert_eq!(get(service.address, "/healthz").status, 200);
    (0..30).for_each(|_| drop(client.acknowledged()));
    let metrics = Exposition::parse(&get(service.address, "/metrics").text());
    let crowded = metrics.value("porthole_connections_dropped_total", &[("reason", "crowded")]);
    assert!(crowded >= 1.0, "no connection was evicted");
    drop(idle);
}

#[test]
fn viewers_take_no_more_memory_than_there_is_for_them() {
    let _turn = turn(Group::Faults);
    let config =
        "[server]\nprogress_timeout_s = 60\n[[camera]]\nsource = \"pattern\"\nwidth = 640\nheight = 480\n";
    let scratch = Scratch::new();
    let file = scratch.file("porthole.toml", config);
    let serve = || {
        let mut command = porthole();
        command.args(["--listen", "127.0.0.1:0", "--config"]).arg(&file);
        command
    };
    let alone = Porthole::spawn(&mut serve());
    Client::porthole(alone.address, "/ws").acknowledged();
    let (size, resident) = (proc_status(alone.pid(), "VmSize"), proc_status(alone.pid(), "VmRSS"));
    drop(alone);
    // For all viewers together less than 16 MB of address space, and of memory.
    let mut command = serve();
    limit(&mut command, libc::RLIMIT_AS, (size + 16 * 1024) * 1024);
    let service = Porthole::spawn(&mut command);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    let stuck: Vec<TcpStream> = (0..30).map(|_| send(service.address, "GET", "/stream", &[])).collect();
    let texts: Vec<Client> = (0..30).map(|_| Client::bare(service.address, "/ws/some-path1/")).collect();
    (0..60).for_each(|_| drop(client.acknowledged()));
    assert_eq!(service.camera()["viewers"].as_array().unwrap().len(), 61);
    let grown = proc_status(service.pid(), "VmRSS").saturating_sub(resident);
    assert!(grown < 16 * 1024, "memory grew by {grown} kB for 60 viewers");
    drop((stuck, texts));
    fresh(&mut client);
}

#[test]
fn out_of_memory_it_ends_as_a_fault() {
    let _turn = turn(Group::Faults);
    const FREE_KIB: u64 = 1024;
    let config = "[server]\nmax_viewers = 1000\n[limits]\nconnections_per_address = 1000\n\
                  viewers_per_address = 1000\n[[camera]]\nsource = \"pattern\"\nwidth = 640\nheight = 480\n";
    let scratch = Scratch::new();
    let file = scratch.file("porthole.toml", config);
    let serve = || {
        let mut command = porthole();
        command.args(["--listen", "127.0.0.1:0", "--config"]).arg(&file);
        command
    };
    let alone = Porthole::spawn(&mut serve());
    Client::porthole(alone.address, "/ws").acknowledged();
    // Not the address space: the allocator has some in reserve.
    let size = proc_status(alone.pid(), "VmData");
    drop(alone);
    let mut command = serve();
    limit(&mut command, libc::RLIMIT_DATA, (size + FREE_KIB) * 1024);
    let mut service = Porthole::spawn(&mut command);
    let mut viewers = Vec::new();
    let ended = until("memory has run out", || {
        viewers.extend(ask(service.address, "/stream"));
        service.ended()
    });
    assert_eq!(ended.code(), Some(3), "{ended:?}: {}", service.log());
    service.until_logged("memory allocation of");
}

/// Asks for something, of a service that may have ended.
fn ask(address: SocketAddr, path: &str) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).ok()?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").ok()?;
    Some(stream)
}

#[test]
fn the_clock_on_the_wall_may_jump_by_years() {
    let _turn = turn(Group::Faults);
    const YEAR: i64 = 31_557_600;
    let rig = Rig::new("MJPG:640x480@30");
    let mut command = rig.command("0.0.0.0:0");
    let state = rig.machine.path("state");
    command.args(["--linger", "0.2", "--state-dir"]).arg(&state);
    let mut service = Porthole::spawn(&mut command);
    let token = service.url.split("token=").nth(1).unwrap().to_owned();
    let cookie = {
        let answer = get(service.address, &format!("/?token={token}"));
        answer.header("set-cookie").expect("a cookie").split(';').next().unwrap().to_owned()
    };
    let watch = || {
        let headers = [("Sec-WebSocket-Protocol", "porthole.v1"), ("Cookie", cookie.as_str())];
        Client::connect(service.address, "/ws", &headers).expect("the cookie is good for a year")
    };
    let mut client = watch();
    let state = || {
        let answer = request(service.address, "GET", "/state", &[("Cookie", &cookie)]);
        serde_json::from_slice::<serde_json::Value>(&answer.body).unwrap()
    };
    fresh(&mut client);
    let mut uptime = state()["uptime_s"].as_f64().unwrap();
    for years in [30, -40, 0] {
        rig.machine.set_clock(years * YEAR);
        fresh(&mut client);
        let now = state();
        let camera = &now["cameras"][0];
        assert!(camera["last_frame_age_ms"].as_f64().unwrap() < 60_000.0, "{camera}");
        assert!(camera["viewers"][0]["since_s"].as_f64().unwrap() < 600.0, "{camera}");
        let up = now["uptime_s"].as_f64().unwrap();
        assert!(up >= uptime && up < uptime + 600.0, "up for {uptime} s and then for {up} s");
        uptime = up;
        // Back-offs, linger and retries count time too.
        rig.table.set(Setting::Unplug, 1);
        until("it is lost", || (state()["cameras"][0]["state"] == "lost").then_some(()));
        rig.table.set(Setting::Unplug, 0);
        fresh(&mut client);
        drop(client);
        until("it is idle", || (state()["cameras"][0]["state"] == "idle").then_some(()));
        client = watch();
        fresh(&mut client);
        assert_eq!(get(service.address, &format!("/snapshot?token={token}")).status, 200);
        assert_eq!(get(service.address, "/snapshot?token=wrong").status, 401);
    }
    assert_eq!(service.stop(), Some(0), "{}", service.log());

    // The clock did jump for whoever asked for it.
    rig.machine.set_clock(30 * YEAR);
    let mut command = Command::new("date");
    rig.machine.join(&mut command, &[]);
    let (_, year, _) = finish(command.arg("+%Y"));
    let year: u32 = year.trim().parse().unwrap();
    assert!(year >= 2050, "the wall clock says {year}");
}

/// What a service manager would listen on.
struct Manager {
    socket: UnixDatagram,
    scratch: Scratch,
}

impl Manager {
    fn new() -> Self {
        let scratch = Scratch::new();
        let socket = UnixDatagram::bind(scratch.path("notify")).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        Self { socket, scratch }
    }

    /// Waits for a message.
    #[track_caller]
    fn hear(&self, wanted: &str) {
        let mut buffer = [0; 4096];
        until(wanted, || {
            let n = self.socket.recv(&mut buffer).unwrap();
            std::str::from_utf8(&buffer[..n]).unwrap().lines().any(|line| line == wanted).then_some(())
        });
    }

    /// Messages that wait to be heard.
    fn waiting(&self) -> usize {
        self.socket.set_nonblocking(true).unwrap();
        let count = std::iter::from_fn(|| self.socket.recv(&mut [0; 4096]).ok()).count();
        self.socket.set_nonblocking(false).unwrap();
        count
    }
}

#[test]
fn stopped_and_continued_it_is_live_again_and_accuses_nobody() {
    let _turn = turn(Group::Faults);
    let rig = Rig::new("MJPG:640x480@30");
    let manager = Manager::new();
    let mut command = rig.command("127.0.0.1:0");
    command.env("NOTIFY_SOCKET", manager.scratch.path("notify")).env("WATCHDOG_USEC", "1000000");
    let service = Porthole::spawn(&mut command);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    manager.hear("STATUS=camera live");
    service.signal(libc::SIGSTOP);
    until("it stands still", || {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", service.pid())).unwrap();
        stat.rsplit(')').next().unwrap().trim_start().starts_with('T').then_some(())
    });
    manager.waiting();
    // Longer than a stall, and than a thread may be overdue: 2 s and 3 s more.
    std::thread::sleep(Duration::from_secs(7));
    assert_eq!(manager.waiting(), 0, "somebody else spoke");
    service.signal(libc::SIGCONT);
    fresh(&mut client);
    manager.hear("WATCHDOG=1");
    manager.hear("WATCHDOG=1");
    let camera = service.until_camera_is("live");
    assert_eq!(camera["error"], serde_json::Value::Null);
    assert!(!service.log().contains("stuck in a driver"), "{}", service.log());
    // What was due meanwhile is not made up for.
    let said = manager.waiting();
    assert!(said < 8, "{said} messages in a row");
    rig.machine.until_lit(&["power", "camera", "on-air"]);
}

/// Starts it with a panic to come at the `n`th pass of a point.
fn doomed(rig: &Rig, point: &str, n: u32) -> Porthole {
    Porthole::spawn(rig.command("127.0.0.1:0").env("PORTHOLE_PANIC", format!("{point}@{n}")))
}

#[test]
fn a_panic_that_stops_a_stage_ends_the_service_with_code_3_and_dark_leds() {
    let _turn = turn(Group::Faults);
    for (point, pass) in
        [("camera", 5), ("leds", 2), ("notifier", 5), ("web", 3), ("manager", 2), ("main", 1)]
    {
        let rig = Rig::new("MJPG:640x480@30");
        let mut service = doomed(&rig, point, pass);
        let address = service.address;
        // Somebody watches, and connects again and again, as people do; all of it may fail from some time on.
        let viewer = std::thread::spawn(move || {
            for _ in 0..1000 {
                let Ok(mut stream) = TcpStream::connect(address) else { return };
                let request = "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n";
                let _ = stream.write_all(request.as_bytes());
                let _ = stream.set_read_timeout(Some(Duration::from_millis(300)));
                let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            }
        });
        let ended = service.wait();
        assert_eq!(ended.code(), Some(3), "{point}: {ended:?}: {}", service.log());
        assert_eq!(rig.machine.lit(), [""; 0], "{point}: LEDs are lit with nobody there");
        let log = service.log();
        assert!(log.contains("bug in porthole") && log.contains("a test asked for this"), "{point}: {log}");
        viewer.join().unwrap();
    }
}

#[test]
fn a_panic_that_concerns_one_frame_or_one_connection_costs_no_more_than_that() {
    let _turn = turn(Group::Faults);
    // Large enough to be encoded by several threads, where there are several processors.
    let rig = Rig::new("YUYV:1280x720@10");
    let service = doomed(&rig, "encoder", 3);
    let mut client = Client::porthole(service.address, "/ws");
    (0..10).for_each(|_| drop(client.acknowledged()));
    let helped = std::thread::available_parallelism().unwrap().get() > 1;
    match helped {
        true => service.until_logged("a test asked for this"),
        false => assert!(!service.log().contains("a test asked for this"), "{}", service.log()),
    }
    // A busy machine drops frames of its own accord.
    assert!(service.camera()["dropped"].as_u64().unwrap() >= u64::from(helped), "{}", service.camera());

    let rig = Rig::new("MJPG:640x480@30");
    let mut service = doomed(&rig, "connection", 2);
    let mut watching = Multipart::open(service.address, "/stream");
    let mut refused = send(service.address, "GET", "/state", &[]);
    let mut answer = Vec::new();
    let _ = std::io::Read::read_to_end(&mut refused, &mut answer);
    assert_eq!(answer, b"", "the second request was answered");
    (0..10).for_each(|_| drop(watching.part()));
    assert_eq!(get(service.address, "/healthz").status, 200);
    service.until_logged("a connection ended in a panic");
    rig.machine.until_lit(&["power", "camera", "on-air"]);
    assert_eq!(service.stop(), Some(0));
}
