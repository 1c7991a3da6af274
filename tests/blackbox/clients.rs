//! The programs people already have, each run against the service and judged by the pictures it decoded; and the lines
//! that the manual gives for them, each run as it stands there.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use support::fakecam::{Camera, Counter, Table};
use support::http::{Multipart, get, request};
use support::picture::decode;
use support::tools::{missing, program};
use support::ws::Client;
use support::{Porthole, Scratch, finish, porthole, source_tree, until};

const SMALL: [&str; 6] = ["--source", "pattern", "--size", "320x240", "--fps", "30"];
/// Bytes of a picture of that size as I420.
const I420: usize = 320 * 240 * 3 / 2;

fn stream(service: &Porthole) -> String {
    format!("http://{}/stream", service.address)
}

/// Asserts that pictures moved: no two are the same.
#[track_caller]
fn assert_moving(pictures: impl IntoIterator<Item = impl AsRef<[u8]>>, at_least: usize) {
    let pictures: Vec<Vec<u8>> = pictures.into_iter().map(|picture| picture.as_ref().to_vec()).collect();
    let different: BTreeSet<&Vec<u8>> = pictures.iter().collect();
    assert!(pictures.len() >= at_least, "{} pictures, not {at_least}", pictures.len());
    assert!(different.len() + 1 >= pictures.len(), "only {} of {} differ", different.len(), pictures.len());
}

#[test]
fn curl_fetches_snapshots_and_streams_with_every_kind_of_password() {
    let Some(curl) = program("curl", "curl") else { return };
    let scratch = Scratch::new();
    let state = scratch.path("state");
    let listen = ["--listen", "0.0.0.0:0", "--state-dir", state.to_str().unwrap()];
    let service = Porthole::spawn(porthole().args(SMALL).args(listen));
    let token = service.url.split("token=").nth(1).unwrap().to_owned();
    let snapshot = format!("http://{}/snapshot", service.address);
    let file = scratch.path("now.jpg");
    let (basic, bearer) = (format!("octoprint:{token}"), format!("Authorization: Bearer {token}"));
    for ways in [&["-u", &basic][..], &["-H", &bearer], &["--get", "-d", &format!("token={token}")]] {
        let mut command = Command::new(&curl);
        let (code, _, error) = finish(command.args(["-sSf", "-o"]).arg(&file).args(ways).arg(&snapshot));
        assert_eq!(code, 0, "{ways:?}: {error}");
        assert_eq!(decode(&fs::read(&file).unwrap()).width, 320);
    }
    let (code, out, _) =
        finish(Command::new(&curl).args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &snapshot]));
    assert_eq!((code, out.as_str()), (0, "401"));
    // It stops itself after a second; what it has got is whole parts.
    let clip = scratch.path("clip");
    let mut command = Command::new(&curl);
    command.args(["-sS", "--max-time", "1", "-u", &basic, "-o"]).arg(&clip).arg(stream(&service));
    assert_eq!(finish(&mut command).0, 28, "it ends by its own time limit");
    let bytes = fs::read(clip).unwrap();
    let parts = bytes.windows(16).filter(|w| w == b"--porthole-frame").count();
    assert!(parts >= 10, "{parts} parts in a second at 30 a second");
}

#[test]
fn ffprobe_recognises_the_stream_and_ffmpeg_decodes_it() {
    let (Some(ffprobe), Some(ffmpeg)) = (program("ffprobe", "ffmpeg"), program("ffmpeg", "ffmpeg")) else {
        return;
    };
    let service = Porthole::start(&SMALL);
    let entries = "stream=codec_name,width,height:format=format_name";
    let (code, out, error) = finish(
        Command::new(ffprobe)
            .args(["-v", "error", "-show_entries", entries, "-of", "csv=p=0"])
            .arg(stream(&service)),
    );
    assert_eq!((code, error.as_str()), (0, ""));
    assert_eq!(out.split_whitespace().collect::<Vec<_>>(), ["mjpeg,320,240", "mpjpeg"]);
    let (code, out, error) = finish(
        Command::new(ffmpeg)
            .args(["-v", "error", "-use_wallclock_as_timestamps", "1", "-i", &stream(&service)])
            .args(["-frames:v", "30", "-f", "framemd5", "-"]),
    );
    assert_eq!((code, error.as_str()), (0, ""));
    let sums = out.lines().filter(|line| !line.starts_with('#')).map(|line| line.rsplit(' ').next().unwrap());
    assert_moving(sums, 30);
}

#[test]
fn gstreamer_takes_the_stream_apart_and_decodes_it() {
    let Some(launch) = program("gst-launch-1.0", "gstreamer1.0-tools") else { return };
    let service = Porthole::start(&SMALL);
    let scratch = Scratch::new();
    let pipeline = format!(
        "souphttpsrc location={} ! multipartdemux ! jpegdec ! video/x-raw,format=I420,width=320,height=240 \
         ! identity eos-after=21 ! multifilesink location={}",
        stream(&service),
        scratch.path("%03d.raw").display()
    );
    let (code, out, error) = finish(Command::new(launch).arg("-q").args(pipeline.split_whitespace()));
    if error.contains("no element") {
        return missing(&format!("{} Debian has it in gstreamer1.0-plugins-good", error.trim()));
    }
    assert_eq!(code, 0, "{out}{error}");
    let pictures = written(&scratch, "raw");
    assert!(pictures.iter().all(|picture| picture.len() == I420), "pictures of another size");
    assert_moving(pictures, 20);
}

/// The content of every file in the folder with this extension.
fn written(scratch: &Scratch, extension: &str) -> Vec<Vec<u8>> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(scratch.path("")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|e| e == extension));
    paths.sort();
    paths.into_iter().map(|path| fs::read(path).unwrap()).collect()
}

#[test]
fn vlc_shows_a_moving_picture() {
    let Some(vlc) = program("cvlc", "vlc-bin") else { return };
    let service = Porthole::start(&SMALL);
    let scratch = Scratch::new();
    // VLC refuses to run as root.
    let mut command = if nix_is_root() {
        let mut command = Command::new("setpriv");
        command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups", "--"]).arg(vlc);
        std::os::unix::fs::chown(scratch.path(""), Some(65534), Some(65534)).unwrap();
        command
    } else {
        Command::new(vlc)
    };
    let scenes = ["--video-filter", "scene", "--scene-format", "png", "--scene-ratio", "3", "--scene-path"];
    let mut child = command
        .env("HOME", scratch.path(""))
        .args(["-q", "--no-audio", "--vout", "dummy"])
        .args(scenes)
        .arg(scratch.path(""))
        .arg(stream(&service))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let pictures = until("VLC has shown six different pictures", || {
        let mut pictures = written(&scratch, "png");
        // Whole ones: the last may be half written.
        pictures.retain(|picture| picture.ends_with(b"IEND\xaeB`\x82"));
        let different: BTreeSet<Vec<u8>> = pictures.into_iter().collect();
        (different.len() >= 6).then_some(different)
    });
    child.kill().unwrap();
    child.wait().unwrap();
    for picture in pictures {
        let side = |at: usize| u32::from_be_bytes(picture[at..at + 4].try_into().unwrap());
        // Its scenes are as high as its buffers, which are a little higher than the picture.
        assert_eq!((side(16), side(20) / 32), (320, 240_u32.div_ceil(32)));
    }
}

fn nix_is_root() -> bool {
    // SAFETY: asks the kernel for a number.
    unsafe { libc::geteuid() == 0 }
}

#[test]
fn opencv_reads_frames() {
    let Some(python) = Some(Path::new("/usr/bin/python3")).filter(|path| path.is_file()) else {
        return missing("there is no /usr/bin/python3; Debian has it in python3");
    };
    let service = Porthole::start(&SMALL);
    let script = "import sys, zlib, cv2\n\
        capture = cv2.VideoCapture(sys.argv[1])\n\
        for _ in range(20):\n\
        \x20   good, picture = capture.read()\n\
        \x20   print(good, *picture.shape, zlib.crc32(picture.tobytes()))";
    let (code, out, error) = finish(Command::new(python).args(["-c", script, &stream(&service)]));
    if error.contains("No module named 'cv2'") {
        return missing("there is no cv2 for /usr/bin/python3; Debian has it in python3-opencv");
    }
    assert_eq!(code, 0, "{error}");
    assert!(out.lines().all(|line| line.starts_with("True 240 320 3 ")), "{out}");
    assert_moving(out.lines(), 20);
}

#[test]
fn a_printers_dashboard_polls_snapshots_and_the_camera_stays_open() {
    let scratch = Scratch::new();
    let table = Table::create(scratch.path("table")).unwrap();
    let camera = Camera::new("/dev/video90", &table).with("formats", "MJPG:640x480@30");
    let service = Porthole::with_cameras(&[camera], &["--source", "/dev/video90", "--linger", "2"]);
    let begun = Instant::now();
    let mut polled = 0;
    // Mainsail's adaptive client: one after the other, each with a key of its own against caches.
    while begun.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        let answer = get(service.address, &format!("/webcam/?action=snapshot&cacheBust={polled}"));
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(
            polled == 0 || asked.elapsed() < Duration::from_secs(1),
            "Moonraker waits no longer than 1 s"
        );
        decode(&answer.body);
        polled += 1;
        std::thread::sleep(Duration::from_millis(70).saturating_sub(asked.elapsed()));
    }
    assert!(polled >= 20, "{polled} snapshots in 3 s");
    assert_eq!(table.counter(Counter::Streamons), 1, "the camera was closed between two snapshots");
}

#[test]
fn a_dashboard_that_reconnects_and_probes_is_answered_every_time() {
    let mut arguments = SMALL.to_vec();
    arguments.extend(["--max-viewers", "2"]);
    let service = Porthole::start(&arguments);
    for round in 0..12 {
        // OctoPrint asks whether the address is good before it shows it; Mainsail opens the next before it drops
        // the last.
        assert_eq!(request(service.address, "HEAD", "/?action=stream", &[]).status, 200);
        let url = format!("/webcam/?action=stream&{}", 1_608_856_928_650_u64 + round);
        let mut stream = until("there is a place for it", || {
            let probe = Client::connect(service.address, "/ws", &[]);
            drop(probe.ok()?);
            Some(Multipart::open(service.address, &url))
        });
        decode(&stream.part().1);
    }
    let answer =
        request(service.address, "OPTIONS", "/?action=snapshot", &[("Origin", "http://mainsail.local")]);
    assert_eq!(answer.status, 204);
}

/// The host that the documentation writes for the reader's own.
const HOST: &str = "http://kitchen-pi.local:8080";

/// The manual's chapter on clients.
fn chapter() -> String {
    fs::read_to_string(source_tree().join("src/manual/clients.md")).unwrap()
}

/// The part of the README on clients, up to the next heading.
fn readme() -> String {
    let text = fs::read_to_string(source_tree().join("README.md")).unwrap();
    let part = text.split("\n### Use it from other programs\n").nth(1).expect("a part on other programs");
    part.split("\n### ").next().unwrap().split("\n## ").next().unwrap().to_owned()
}

#[test]
fn every_documented_address_gives_what_it_says() {
    let service = Porthole::start(&SMALL);
    let (readme, manual) = (readme(), chapter());
    let chapter = format!("{readme}{manual}");
    let end = |c: char| c.is_whitespace() || "\"'`<>|)".contains(c);
    let urls: BTreeSet<&str> = chapter
        .match_indices(HOST)
        .map(|(at, _)| chapter[at + HOST.len()..].split(end).next().unwrap())
        .collect();
    assert!(urls.len() >= 4, "only {urls:?}");
    for url in urls {
        if url.contains("stream") {
            decode(&Multipart::open(service.address, url).part().1);
        } else if url.contains("snapshot") {
            decode(&get(service.address, url).body);
        } else {
            assert_eq!(get(service.address, url).status, 200, "{url}");
        }
    }
    // Prometheus takes host and port, not a URL.
    assert!(manual.contains("targets: [\"kitchen-pi.local:8080\"]"));
    for name in ["OctoPrint", "Mainsail", "Fluidd", "Home Assistant", "go2rtc", "Prometheus", "OpenCV", "VLC"]
    {
        assert!(manual.contains(name), "the chapter says nothing of {name}");
    }
    for name in ["OctoPrint", "Mainsail", "Fluidd", "Home Assistant", "go2rtc"] {
        assert!(readme.contains(name), "the README says nothing of {name}");
    }
}

#[test]
fn every_documented_command_runs_as_it_stands() {
    let service = Porthole::start(&SMALL);
    let scratch = Scratch::new();
    let chapter = chapter();
    let commands: Vec<&str> = chapter.lines().filter_map(|line| line.strip_prefix("$ ")).collect();
    let mut ran = 0;
    for line in &commands {
        let name = line.split_whitespace().next().unwrap();
        // A window is what a test has none of; how VLC decodes is tested above.
        if name == "vlc" {
            continue;
        }
        let package = match name {
            "gst-launch-1.0" => "gstreamer1.0-tools",
            "ffprobe" => "ffmpeg",
            other => other,
        };
        if name != "python3" && program(name, package).is_none() {
            continue;
        }
        let line = line.replace(HOST, &format!("http://{}", service.address));
        let line =
            line.replace("autovideosink", "fakesink num-buffers=15").replace("python3", "/usr/bin/python3");
        let (code, out, error) =
            finish(Command::new("sh").arg("-c").arg(&line).current_dir(scratch.path("")));
        if error.contains("No module named") || error.contains("no element") {
            missing(error.lines().last().unwrap_or_default());
            continue;
        }
        assert_eq!(code, 0, "{line}: {out}{error}");
        ran += 1;
    }
    assert!(commands.len() >= 5, "only {commands:?}");
    println!("{ran} of {} commands were run", commands.len());
    for (file, start) in
        [("now.jpg", &b"\xff\xd8"[..]), ("clip.mkv", b"\x1a\x45\xdf\xa3"), ("frame.png", b"\x89PNG")]
    {
        if let Ok(bytes) = fs::read(scratch.path(file)) {
            assert!(bytes.starts_with(start), "{file}");
        }
    }
}
