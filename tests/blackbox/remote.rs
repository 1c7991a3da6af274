//! Cameras on other machines by HTTP: how servers send pictures, what they send instead, credentials, TLS, and relays.

use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::json;

use support::fakecam::{Camera, Table, environment};
use support::http::{Multipart, get};
use support::picture::decode;
use support::tools::program;
use support::ws::Client;
use support::{Porthole, Scratch, porthole, until};

fn jpeg(luma: u8) -> Vec<u8> {
    let mut out = Vec::new();
    let pixels: Vec<u8> = (0..64 * 48).map(|at: u32| luma.wrapping_add((at % 61) as u8)).collect();
    jpeg_encoder::Encoder::new(&mut out, 90).encode(&pixels, 64, 48, jpeg_encoder::ColorType::Luma).unwrap();
    out
}

/// A program that serves. Killed when dropped.
pub struct Server {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Server {
    pub fn start(command: &mut Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
        let (lines, stdout) = (Arc::new(Mutex::new(Vec::new())), child.stdout.take().unwrap());
        let told = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                told.lock().unwrap().push(line);
            }
        });
        Self { child, lines }
    }

    fn said(&self) -> Vec<String> {
        self.lines.lock().unwrap().clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("the server said: {:?}", self.said());
        }
    }
}

/// Python's server with all its ways to send pictures.
struct CameraServer {
    server: Server,
    port: u16,
    _scratch: Scratch,
}

impl CameraServer {
    fn start(arguments: &[&str]) -> Option<Self> {
        let python = program("python3", "python3")?;
        let scratch = Scratch::new();
        std::fs::create_dir(scratch.path("pictures")).unwrap();
        for luma in 0..5 {
            scratch.file(&format!("pictures/{luma}.jpg"), jpeg(luma * 40));
        }
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/camera-server.py");
        let server =
            Server::start(Command::new(python).arg(script).arg(scratch.path("pictures")).args(arguments));
        let port = until("the server says its port", || server.said().first()?.parse().ok());
        Some(Self { server, port, _scratch: scratch })
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}/{path}", self.port)
    }

    /// Requests for this path.
    fn requests(&self, path: &str) -> usize {
        self.server.said().iter().filter(|line| line.split(' ').next() == Some(path)).count()
    }
}

/// A port that nothing listens on.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn watch(source: &str) -> (Porthole, Client) {
    let service = Porthole::start(&["--source", source, "--linger", "0"]);
    let client = Client::porthole(service.address, "/ws");
    (service, client)
}

#[test]
fn pictures_come_however_a_server_sends_them() {
    let Some(server) = CameraServer::start(&[]) else { return };
    for path in [
        "book",
        "behind",
        "no-length",
        "line-feeds",
        "no-dashes",
        "more-dashes",
        "quoted",
        "unnamed",
        "too-long",
        "too-short",
        "shuffled",
        "other-parts",
        "headless",
        "preamble",
        "chunked",
        "old",
        "bare",
        "closing",
        "burst",
        "single",
        "single-typeless",
        "single-old",
        "single-chunked",
        "moved",
        "moved-single",
    ] {
        let (service, mut client) = watch(&server.url(path));
        for _ in 0..12 {
            let frame = client.acknowledged();
            assert_eq!((frame.width, frame.height), (64, 48), "{path}");
            decode(&frame.jpeg);
        }
        let camera = service.camera();
        let expected = (&json!("live"), &json!("http"), &json!(0), &json!(0));
        let found = (&camera["state"], &camera["driver"], &camera["corrupt"], &camera["reopens"]);
        assert_eq!(found, expected, "{path}: {camera}");
    }
    // By the addresses of a name too, IPv6 among them.
    for host in ["[::1]", "localhost"] {
        let (_service, mut client) = watch(&format!("http://{host}:{}/book", server.port));
        decode(&client.acknowledged().jpeg);
        let request = format!("/book {host}:{} porthole/{}", server.port, env!("CARGO_PKG_VERSION"));
        until("the request names its host and what asks", || {
            server.server.said().contains(&request).then_some(())
        });
    }
}

#[test]
fn a_single_picture_is_asked_for_again_at_the_rate_that_is_configured() {
    let Some(server) = CameraServer::start(&[]) else { return };
    let service = Porthole::start(&["--source", &server.url("single"), "--fps", "10"]);
    let mut client = Client::porthole(service.address, "/ws");
    client.acknowledged();
    let (begun, before) = (Instant::now(), server.requests("/single"));
    for _ in 0..10 {
        client.acknowledged();
    }
    let (took, asked) = (begun.elapsed(), server.requests("/single") - before);
    assert!(took > Duration::from_millis(850), "ten pictures in {took:?} at 10 a second");
    assert!(asked <= 12, "{asked} requests for 10 pictures");
}

#[test]
fn only_the_newest_of_several_pictures_is_shown_and_the_others_are_counted() {
    let Some(server) = CameraServer::start(&[]) else { return };
    let (service, mut client) = watch(&server.url("burst"));
    for _ in 0..10 {
        client.acknowledged();
    }
    let camera = service.camera();
    let (frames, dropped) = (camera["frames"].as_u64().unwrap(), camera["dropped"].as_u64().unwrap());
    assert!(dropped >= frames, "of three pictures at a time two are skipped, not {dropped} for {frames}");
}

#[test]
fn what_a_server_sends_instead_of_pictures_is_named_with_a_remedy() {
    let Some(server) = CameraServer::start(&[]) else { return };
    let closed = format!("http://127.0.0.1:{}/", free_port());
    for (url, words) in [
        (server.url("html"), &["an HTML page (text/html)", "check the path"][..]),
        (server.url("png"), &["a PNG picture (image/png)", "check the path"]),
        (server.url("png-parts"), &["a multipart stream of image/png"]),
        (server.url("h264"), &["a video stream such as H.264 (video/h264)"]),
        (server.url("empty"), &["nothing (image/jpeg)"]),
        (server.url("endless"), &["instead of JPEGs"]),
        (server.url("endless-head"), &["not HTTP"]),
        (server.url("no-http"), &["not HTTP", "check the port"]),
        (server.url("nowhere"), &["status 404", "check the path"]),
        (server.url("busy"), &["status 503", "asks for 3 s"]),
        (server.url("broken"), &["status 500", "server's log"]),
        (server.url("forbidden"), &["status 403"]),
        (server.url("circle"), &["redirects"]),
        (server.url("away"), &["elsewhere.invalid", "another host"]),
        (server.url("basic"), &["asks for a user and a password (Basic)", "source_password_file"]),
        (server.url("bearer"), &["asks for a user and a password (Bearer)", "source_token"]),
        (server.url("basic").replace("://", "://me:geheim@"), &["refuses the user or the password (Basic)"]),
        (server.url("digest/md5").replace("://", "://me:geheim@"), &["refuses", "Digest"]),
        ("http://nowhere.invalid/".into(), &["nowhere.invalid", "is not known", "DNS"]),
        (closed, &["connection refused", "port"]),
    ] {
        let service = Porthole::start(&["--source", &url, "--log", "trace"]);
        let answer = get(service.address, "/snapshot");
        assert_eq!(answer.status, 503, "{url}");
        let text = answer.text();
        assert!(words.iter().all(|words| text.contains(words)), "{url}: {text}");
        assert!(text.contains("http://"), "{url} is not named: {text}");
        let shown = [text, get(service.address, "/state").text(), service.log()].concat();
        assert!(!shown.contains("geheim"), "{shown}");
    }
}

#[test]
fn a_picture_that_is_cut_short_is_not_shown_and_told_of() {
    let Some(server) = CameraServer::start(&[]) else { return };
    let (service, _client) = watch(&server.url("cut"));
    let camera = service.until_camera_is("stalled");
    let error = camera["error"].as_str().unwrap();
    assert!(error.contains("no whole picture") && error.contains("/cut"), "{error}");
    assert!(camera["corrupt"].as_u64() > Some(0) && camera["frames"] == 0, "{camera}");
}

#[test]
fn a_server_is_left_alone_for_as_long_as_it_asks() {
    let Some(server) = CameraServer::start(&[]) else { return };
    let (service, _client) = watch(&server.url("busy"));
    service.until_camera_is("lost");
    let first = Instant::now();
    until("it is asked again", || (server.requests("/busy") > 1).then_some(()));
    assert!(first.elapsed() > Duration::from_millis(2500), "asked again after {:?}", first.elapsed());
}

#[test]
fn a_server_that_goes_silent_is_connected_to_again() {
    let Some(server) = CameraServer::start(&[]) else { return };
    let (service, mut client) = watch(&server.url("pausing"));
    until("it is asked a third time", || {
        client.acknowledged();
        (server.requests("/pausing") >= 3).then_some(())
    });
    assert!(service.camera()["reopens"].as_u64().unwrap() >= 1, "{}", service.camera());
    let (service, _client) = watch(&server.url("silent"));
    service.until_camera_is("stalled");
    // One that does not even answer.
    let (service, _client) = watch(&server.url("mute"));
    let camera = service.until_camera_is("lost");
    assert!(camera["error"].as_str().unwrap().contains("no answer within 5 s"), "{camera}");
}

#[test]
fn the_service_stops_at_once_while_it_waits_for_a_server() {
    let Some(server) = CameraServer::start(&[]) else { return };
    for path in ["mute", "silent", "busy"] {
        let (mut service, _client) = watch(&server.url(path));
        let path = format!("/{path}");
        // One that is not answered is not in the log of the server.
        if path != "/mute" {
            until("it is asked", || (server.requests(&path) > 0).then_some(()));
        } else {
            service.until_camera_is("starting");
        }
        let begun = Instant::now();
        assert_eq!(service.stop(), Some(0), "{path}: {}", service.log());
        assert!(begun.elapsed() < Duration::from_millis(1500), "{path}: {:?}", begun.elapsed());
    }
}

#[test]
fn credentials_are_sent_as_the_server_asks_for_them_and_shown_to_nobody() {
    let Some(server) = CameraServer::start(&[]) else { return };
    let scratch = Scratch::new();
    let file = scratch.file("password", "p@ss word\n");
    let in_url = |path: &str| server.url(path).replace("://", "://me:p%40ss%20word@");
    let user = |path: &str| server.url(path).replace("://", "://me@");
    let by_file = format!("source_password_file = \"{}\"", file.display());
    for (url, more) in [
        (in_url("basic"), ""),
        (in_url("basic/single"), ""),
        (in_url("digest/md5"), ""),
        (in_url("digest/sha256"), ""),
        (in_url("digest/stale"), ""),
        (user("basic"), by_file.as_str()),
        (user("digest/sha256"), by_file.as_str()),
        (server.url("bearer"), "source_token = \"abc123\""),
    ] {
        let config = format!("[[camera]]\nsource = \"{url}\"\n{more}\n");
        let file = scratch.file("porthole.toml", config);
        let service = Porthole::start(&["--config", file.to_str().unwrap(), "--log", "trace"]);
        let mut client = Client::porthole(service.address, "/ws");
        for _ in 0..8 {
            decode(&client.acknowledged().jpeg);
        }
        let shown = [
            get(service.address, "/state").text(),
            get(service.address, "/metrics").text(),
            service.log(),
            support::run(&["check", "--config", file.to_str().unwrap()]).1,
        ]
        .concat();
        for secret in ["p%40ss", "p@ss", "abc123", "bWU6cEBz"] {
            assert!(!shown.contains(secret), "{url}: {shown}");
        }
    }
}

#[test]
fn a_password_on_the_command_line_is_not_in_the_process_title() {
    for (source, title) in [
        (
            "http://me:geheim@127.0.0.1:9/?size=1&pwd=geheim",
            "http://me:******@127.0.0.1:9/?size=1&pwd=******",
        ),
        ("exec:ffmpeg -i rtsp://me:geheim@cam/ -", "exec:ffmpeg -i rtsp://me:******@cam/ -"),
    ] {
        let service = Porthole::start(&["--source", source, "--fps", "7"]);
        let title_file = format!("/proc/{}/cmdline", service.pid());
        let shown = std::fs::read(title_file).unwrap();
        let arguments: Vec<_> = shown.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        assert!(arguments.iter().any(|argument| argument == title), "{arguments:?}");
        assert_eq!(arguments[arguments.len() - 3..], ["--fps", "7", ""], "other arguments are as they were");
        // What was read before is whole.
        let answer = get(service.address, "/snapshot").text();
        assert!(answer.contains("me:***@"), "{answer}");
    }
}

#[test]
fn a_certificate_is_accepted_by_its_fingerprint_or_by_an_authority_only() {
    let scratch = Scratch::new();
    let state = scratch.path("far");
    let far = Porthole::start(&[
        "--source",
        "pattern",
        "--tls",
        "self-signed",
        "--state-dir",
        state.to_str().unwrap(),
        "--log",
        "info",
    ]);
    far.until_logged("its SHA-256 is ");
    let log = far.log();
    let seen = log.split("its SHA-256 is ").nth(1).and_then(|rest| rest.lines().next()).unwrap().trim();
    let seen_plain = format!("sha256:{}", seen.replace(':', "").to_lowercase());
    let url = format!("https://127.0.0.1:{}/stream", far.address.port());
    let near = |fingerprint: &str| {
        Porthole::configured(&scratch, &format!("[[camera]]\nsource = \"{url}\"\n{fingerprint}\n"))
    };
    let error = |service: &Porthole| get(service.address, "/snapshot").text();
    // The remedy that the error names is the right one.
    let refused = error(&near(""));
    let remedy = format!("source_fingerprint = \"{seen_plain}\"");
    assert!(refused.contains(&remedy) && refused.contains("no authority"), "{refused}");
    let service = near(&remedy);
    decode(&Client::porthole(service.address, "/ws").acknowledged().jpeg);
    let service = near(&format!("source_fingerprint = \"sha256:{seen}\""));
    decode(&Client::porthole(service.address, "/ws").acknowledged().jpeg);
    let wrong = error(&near(&format!("source_fingerprint = \"sha256:{}\"", "ab".repeat(32))));
    assert!(wrong.contains("not the one of source_fingerprint") && wrong.contains(&seen_plain), "{wrong}");
    // Plain HTTP on the same port is redirected, which is no reason to trust anybody.
    let plain = format!("[[camera]]\nsource = \"http://127.0.0.1:{}/stream\"\n", far.address.port());
    let redirected = error(&Porthole::configured(&scratch, &plain));
    assert!(redirected.contains("no authority"), "{redirected}");
    // A server without TLS.
    let far = Porthole::start(&["--source", "pattern"]);
    let no_tls = format!("[[camera]]\nsource = \"https://127.0.0.1:{}/stream\"\n", far.address.port());
    let no_tls = error(&Porthole::configured(&scratch, &no_tls));
    assert!(no_tls.contains("TLS failed") && no_tls.contains("whether http:// is right"), "{no_tls}");
}

#[test]
fn settings_of_remote_sources_are_checked() {
    for (config, words) in [
        ("source = \"pattern\"\nsource_token = \"geheim\"", "is for a source on another machine"),
        ("source = \"http://cam/\"\nsource_token = \"geheim wort\"", "printable ASCII without spaces"),
        ("source = \"http://me@cam/\"\nsource_token = \"geheim\"", "beside a user in the URL"),
        ("source = \"http://cam/\"\nsource_token = 5", "must be text in quotes"),
        ("source = \"tcp://cam:1\"\nsource_token = \"geheim\"", "has no meaning for tcp://"),
        ("source = \"http://me:geheim@cam/\"\nsource_password_file = \"/x\"", "beside a password in the URL"),
        (
            "source = \"http://cam/\"\nsource_token = \"geheim\"\nsource_password_file = \"/x\"",
            "beside source_token",
        ),
        ("source = \"http://cam/\"\nsource_fingerprint = \"sha256:00\"", "for https:// and wss:// only"),
        ("source = \"https://cam/\"\nsource_fingerprint = \"sha256:00\"", "64 hexadecimal digits"),
        ("source = \"http://me:geheim@cam:99999/\"", "a port that is not 1 to 65535"),
        ("source = \"rtsp://me:geheim@cam/\"", "is not known"),
    ] {
        let scratch = Scratch::new();
        let file = scratch.file("porthole.toml", format!("[[camera]]\n{config}\n"));
        let (code, _, error) = support::run(&["check", "--config", file.to_str().unwrap()]);
        assert_eq!(code, 1, "{config}");
        assert!(error.contains(words) && !error.contains("geheim"), "{config}: {error}");
    }
}

#[test]
fn a_relay_watches_the_far_camera_once_and_only_while_it_is_watched() {
    let far = Porthole::start(&["--source", "pattern", "--linger", "0"]);
    let url = format!("http://{}/stream", far.address);
    let near = Porthole::start(&["--source", &url, "--linger", "0"]);
    assert_eq!(far.camera()["state"], "idle", "nobody watches");
    let mut first = Client::porthole(near.address, "/ws");
    let mut second = Client::porthole(near.address, "/ws");
    let mut third = Multipart::open(near.address, "/stream");
    for _ in 0..20 {
        let (one, other) = (decode(&first.acknowledged().jpeg), decode(&second.acknowledged().jpeg));
        assert!(one.pattern_number() > 0 && other.pattern_number() > 0);
        third.part();
    }
    assert_eq!(far.camera()["viewers"].as_array().unwrap().len(), 1, "{}", far.camera());
    drop((first, second, third));
    far.until_camera_is("idle");
    assert_eq!(near.until_camera_is("idle")["frames"], near.camera()["frames"]);
    // And again, by snapshots of the far camera.
    let url = format!("http://{}/snapshot", far.address);
    let near = Porthole::start(&["--source", &url, "--linger", "0", "--fps", "20"]);
    let mut client = Client::porthole(near.address, "/ws");
    for _ in 0..5 {
        decode(&client.acknowledged().jpeg);
    }
    drop(client);
    far.until_camera_is("idle");
}

#[test]
fn a_relay_shows_the_picture_soon_after_the_far_service_is_back() {
    let listen = format!("127.0.0.1:{}", free_port());
    let start = || Porthole::spawn(porthole().args(["--source", "pattern", "--listen", &listen]));
    let far = start();
    let (near, mut client) = watch(&format!("http://{listen}/stream"));
    client.acknowledged();
    drop(far);
    near.until_camera_is("lost");
    std::thread::sleep(Duration::from_secs(2));
    let far = start();
    let back = Instant::now();
    client.acknowledged();
    near.until_camera_is("live");
    assert!(back.elapsed() < Duration::from_secs(2), "after {:?}", back.elapsed());
    drop(far);
}

#[test]
fn a_far_service_with_passwords_is_watched_through_nginx() {
    let Some(nginx) = program("nginx", "nginx-light") else { return };
    let far = Porthole::start(&["--source", "pattern"]);
    let (scratch, port) = (Scratch::new(), free_port());
    // The hash of `secret`, as RFC 2307 names it.
    scratch.file("users", "me:{PLAIN}secret\n");
    let folder = scratch.path("");
    let config = format!(
        "daemon off; master_process off; pid {0}pid; error_log {0}error;\nevents {{}}\nhttp {{\n  access_log off;\n  \
         client_body_temp_path {0}; proxy_temp_path {0}; fastcgi_temp_path {0}; uwsgi_temp_path {0}; scgi_temp_path {0};\n  \
         server {{ listen 127.0.0.1:{port};\n    auth_basic cam; auth_basic_user_file {0}users;\n    \
         location / {{ proxy_pass http://{1}; proxy_buffering off; }} }} }}\n",
        folder.display(),
        far.address
    );
    let config = scratch.file("nginx.conf", config);
    let _nginx = Server::start(Command::new(nginx).arg("-c").arg(config).arg("-p").arg(folder));
    let address: SocketAddr = ([127, 0, 0, 1], port).into();
    until("nginx serves", || std::net::TcpStream::connect(address).ok());
    let (_near, mut client) = watch(&format!("http://me:secret@{address}/stream"));
    for _ in 0..10 {
        decode(&client.acknowledged().jpeg);
    }
    let refused = Porthole::start(&["--source", &format!("http://me:geheim@{address}/stream")]);
    let answer = get(refused.address, "/snapshot").text();
    assert!(answer.contains("refuses the user or the password (Basic)"), "{answer}");
}

#[test]
fn ustreamer_is_watched() {
    let Some(ustreamer) = program("ustreamer", "ustreamer") else { return };
    let (scratch, port) = (Scratch::new(), free_port());
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30");
    let mut command = Command::new(ustreamer);
    command.envs(environment(&[camera])).args(["--device", "/dev/video90", "--format", "MJPEG"]);
    command.args(["--resolution", "640x480", "--host", "127.0.0.1", "--port", &port.to_string()]);
    let _ustreamer = Server::start(&mut command);
    for path in ["stream", "snapshot"] {
        let (service, mut client) = watch(&format!("http://127.0.0.1:{port}/{path}"));
        for _ in 0..10 {
            let frame = client.acknowledged();
            assert_eq!((frame.width, frame.height), (640, 480), "{path}");
            decode(&frame.jpeg);
        }
        assert_eq!(service.camera()["corrupt"], 0, "{path}");
    }
}

#[test]
fn ffmpeg_is_watched_as_a_multipart_server() {
    let Some(ffmpeg) = program("ffmpeg", "ffmpeg") else { return };
    let url = format!("http://127.0.0.1:{}/live", free_port());
    let mut command = Command::new(ffmpeg);
    command.args(["-loglevel", "error", "-re", "-f", "lavfi", "-i", "testsrc=size=320x240:rate=30"]);
    // The decoder of the tests reads optimised Huffman tables of ffmpeg wrongly; libjpeg-turbo finds nothing wrong.
    command.args(["-c:v", "mjpeg", "-huffman", "default", "-f", "mpjpeg", "-listen", "1", &url]);
    let _ffmpeg = Server::start(&mut command);
    let (service, mut client) = watch(&url);
    for _ in 0..20 {
        let frame = client.acknowledged();
        assert_eq!((frame.width, frame.height), (320, 240));
        decode(&frame.jpeg);
    }
    assert_eq!(service.camera()["corrupt"], 0);
}

#[test]
fn motion_is_watched_which_itself_watches_a_service() {
    let Some(motion) = program("motion", "motion") else { return };
    let far = Porthole::start(&["--source", "pattern", "--size", "320x240"]);
    let (scratch, port) = (Scratch::new(), free_port());
    let config = format!(
        "daemon off\nsetup_mode off\nlog_level 3\nlog_file {0}log\ntarget_dir {0}\nwebcontrol_port 0\n\
         netcam_url http://{1}/stream\nwidth 320\nheight 240\nframerate 15\nstream_port {port}\n\
         stream_maxrate 15\nstream_localhost on\npicture_output off\nmovie_output off\n",
        scratch.path("").display(),
        far.address
    );
    let config = scratch.file("motion.conf", config);
    let _motion = Server::start(Command::new(motion).arg("-c").arg(config).current_dir(scratch.path("")));
    let (_service, mut client) = watch(&format!("http://127.0.0.1:{port}/"));
    for _ in 0..10 {
        let frame = client.acknowledged();
        assert_eq!((frame.width, frame.height), (320, 240));
        decode(&frame.jpeg);
    }
}
