//! The log: one line an event, the journal's priorities for the journal, and little of it.

use std::io::{BufRead, BufReader};
use std::os::fd::OwnedFd;
use std::os::linux::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::process::Stdio;

use support::fakecam::{Camera, Setting, Table, environment};
use support::http::get;
use support::ws::Client;
use support::{DEADLINE, Porthole, Scratch, finish, porthole};

const SMALL: [&str; 4] = ["--source", "pattern", "--size", "320x240"];

#[test]
fn nothing_is_logged_for_frames_and_viewers_unless_it_is_asked_for() {
    let service = Porthole::start(&SMALL);
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..60 {
        client.acknowledged();
    }
    for _ in 0..10 {
        assert_eq!(get(service.address, "/snapshot").status, 200);
    }
    let log = service.log();
    assert_eq!(log, "porthole: info: camera camera: opened pattern (Test pattern): yuyv 320x240 at 30.0 fps");
}

#[test]
fn the_level_is_set_by_flag_or_environment_and_the_flag_counts_more() {
    let missing = ["--config", "/nowhere/x.toml"];
    let start = |level: Option<&str>, more: &[&str]| {
        let mut command = porthole();
        command.args(["--listen", "127.0.0.1:0"]).args(SMALL).args(more);
        if let Some(level) = level {
            command.env("PORTHOLE_LOG", level);
        }
        let service = Porthole::spawn(&mut command);
        drop(Client::porthole(service.address, "/ws").acknowledged());
        assert_eq!(get(service.address, "/snapshot").status, 200);
        service
    };
    start(Some("debug"), &[]).until_logged("porthole: debug: viewer 1 ");
    start(Some("error"), &["--log", "debug"]).until_logged("porthole: debug: viewer 1 ");
    assert_eq!(start(Some("warn"), &[]).log(), "");
    assert_eq!(start(Some("debug"), &["--log", "off"]).log(), "");
    let (code, _, error) = finish(porthole().args(missing).args(["--log", "off"]));
    assert_eq!((code, error.as_str()), (1, ""));
    let (code, _, error) = finish(porthole().args(["--log", "loud"]));
    assert!(code == 1 && error.contains("'loud'") && error.contains("--log <LEVEL>"), "{error}");
}

#[test]
fn the_journal_is_given_priorities_and_nobody_else_is() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(DEADLINE)).unwrap();
    let fd: OwnedFd = theirs.into();
    let path = format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&fd));
    let file = std::fs::metadata(path).unwrap();
    let stream = format!("{}:{}", file.st_dev(), file.st_ino());
    let command = || {
        let mut command = porthole();
        command.args(["--config", "/nowhere/x.toml"]).env("JOURNAL_STREAM", &stream).stdout(Stdio::null());
        command
    };
    let mut child = command().stderr(fd).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(ours).read_line(&mut line).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(1));
    assert!(line.starts_with("<3>/nowhere/x.toml: No such file"), "{line}");
    // Set for a parent whose standard error went elsewhere.
    let (_, _, error) = finish(&mut command());
    assert!(error.starts_with("porthole: error: /nowhere/x.toml: "), "{error}");
}

#[test]
fn a_camera_that_comes_and_goes_does_not_fill_the_log() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30");
    let mut service = Porthole::with_cameras(&[camera], &["--source", "/dev/video90"]);
    let mut client = Client::porthole(service.address, "/ws");
    for _ in 0..15 {
        client.acknowledged();
        table.set(Setting::Unplug, 1);
        service.until_camera_is("lost");
        table.set(Setting::Unplug, 0);
        service.until_camera_is("live");
    }
    let camera = service.camera();
    assert_eq!(camera["reopens"], 15, "the counters know all of them");
    assert_eq!(service.stop(), Some(0));
    let log = service.log();
    let count = |what| log.lines().filter(|line| line.contains(what)).count();
    assert_eq!((count(": lost: "), count(": live again"), count(": opened ")), (5, 5, 5), "{log}");
}

#[test]
fn nobody_can_put_control_characters_into_the_log_a_listing_or_a_text_answer() {
    // Clears the screen, as an 8-bit sequence too; goes back; reverses what follows; rings.
    let hostile = "Cam\u{1b}[2J\u{9b}2J\u{8}\u{202e}\u{7}";
    let shown = r"Cam\u{1b}[2J\u{9b}2J\u{8}\u{202e}\u{7}";
    let is_clean = |text: &str| !text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}');
    let scratch = Scratch::new();

    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30").with("card", hostile);
    let listed = finish(porthole().envs(environment(std::slice::from_ref(&camera))).arg("cameras")).1;
    assert!(listed.contains(shown) && is_clean(&listed), "{listed:?}");
    let service = Porthole::with_cameras(&[camera], &["--source", "/dev/video90"]);
    Client::porthole(service.address, "/ws").acknowledged();
    service.until_logged(shown);
    assert!(is_clean(&service.log()), "{:?}", service.log());
    assert_eq!(service.camera()["card"], hostile, "JSON keeps the name as it is, in its own escaping");

    let clip = scratch.path(&format!("{hostile}.mjpeg"));
    let command = format!("exec:printf '{hostile}\\n' >&2; exit 3");
    for source in [format!("file:{}", clip.display()), command] {
        let service = Porthole::start(&["--source", &source]);
        let answer = get(service.address, "/snapshot");
        assert!(answer.status == 503 && answer.text().contains(shown), "{:?}", answer.text());
        service.until_logged(shown);
        for text in [answer.text(), get(service.address, "/healthz").text(), service.log()] {
            assert!(is_clean(&text), "{text:?}");
        }
        let (code, out, _) = finish(porthole().args(["check", "--source", &source]));
        assert!(code == 0 && is_clean(&out), "{out:?}");
    }
    for arguments in [["--source", hostile], ["cameras", hostile]] {
        let (code, _, error) = finish(porthole().args(arguments));
        assert!(code == 1 && is_clean(&error), "{error:?}");
    }
}
