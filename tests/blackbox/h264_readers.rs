//! H.264 as readers of other makers find it: what they count, what they complain of, and whether they show what the camera showed.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;

use support::browser::Browser;
use support::http::send;
use support::picture::decode;
use support::tools::{missing, program};
use support::ws::Client;
use support::{DEADLINE, Porthole, Scratch, finish, until};

/// Time between two questions to a player.
const ASK: Duration = Duration::from_millis(100);
const SMALL: [&str; 6] = ["--source", "pattern", "--size", "320x240", "--fps", "30"];

/// Ended when dropped, whatever came of it.
struct Player(Child);

impl Drop for Player {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn vlc_shows_every_picture() {
    const PICTURES: u32 = 60;
    let Some(vlc) = program("cvlc", "vlc-bin") else { return };
    let service = Porthole::start(&SMALL);
    for (path, demuxer) in [("stream.mp4", "any"), ("stream.h264", "h264")] {
        let scratch = Scratch::new();
        // VLC refuses to run as root.
        let mut command = Command::new("setpriv");
        // SAFETY: asks the kernel for a number.
        if unsafe { libc::geteuid() } == 0 {
            command.args(["--reuid", "nobody", "--regid", "nogroup", "--clear-groups"]);
            std::os::unix::fs::chown(scratch.path(""), Some(65534), Some(65534)).unwrap();
        }
        command.arg("--").arg(&vlc).env("HOME", scratch.path(""));
        command.args(["-q", "--no-audio", "--vout", "vdummy", "--intf", "oldrc", "--rc-fake-tty"]);
        command.args(["--demux", demuxer]).arg(format!("http://{}/{path}", service.address));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut player = Player(command.spawn().unwrap());
        let (mut ask, said) = (player.0.stdin.take().unwrap(), player.0.stdout.take().unwrap());
        // Before it plays, it answers with silence.
        std::thread::spawn(move || {
            while ask.write_all(b"stats\n").is_ok() {
                std::thread::sleep(ASK)
            }
        });
        let figures = Arc::new(Mutex::new(HashMap::new()));
        let heard = Arc::clone(&figures);
        std::thread::spawn(move || {
            for line in BufReader::new(said).lines().map_while(Result::ok) {
                let figure = line.trim_start_matches('|').split_once(':');
                if let Some((name, Ok(number))) =
                    figure.map(|(name, number)| (name, number.trim().parse::<u32>()))
                {
                    heard.lock().unwrap().insert(name.trim().to_owned(), number);
                }
            }
        });
        let figure = |name: &str| figures.lock().unwrap().get(name).copied();
        until("VLC has shown many pictures", || {
            figure("frames displayed").filter(|shown| *shown >= PICTURES)
        });
        for complaint in ["demux corrupted", "discontinuities"] {
            assert_eq!(figure(complaint), Some(0), "{path}: {complaint}");
        }
        // A busy machine shows some too late.
        let (shown, lost) = (figure("frames displayed"), figure("frames lost"));
        assert!(lost < shown, "{path}: {shown:?} shown, {lost:?} lost");
    }
}

/// Reads a stream of so many bytes into a file.
fn record(service: &Porthole, path: &str, bytes: u64, file: &Path) {
    let mut stream = BufReader::new(send(service.address, "GET", path, &[]));
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        stream.read_line(&mut line).unwrap();
    }
    std::io::copy(&mut stream.take(bytes), &mut fs::File::create(file).unwrap()).unwrap();
}

/// Cuts a file of fragments behind the last whole one; their number.
fn cut(file: &Path) -> usize {
    let bytes = fs::read(file).unwrap();
    let (mut at, mut end, mut fragments) = (0, 0, 0);
    while let Some(head) = bytes.get(at..at + 8) {
        at += u32::from_be_bytes(head[..4].try_into().unwrap()) as usize;
        if &head[4..] == b"mdat" && at <= bytes.len() {
            (end, fragments) = (at, fragments + 1);
        }
    }
    fs::write(file, &bytes[..end]).unwrap();
    fragments
}

#[test]
fn mkvmerge_takes_every_picture_without_a_warning() {
    let Some(mkvmerge) = program("mkvmerge", "mkvtoolnix") else { return };
    let service = Porthole::start(&SMALL);
    let scratch = Scratch::new();
    let (source, copy) = (scratch.path("recorded.mp4"), scratch.path("copied.mkv"));
    record(&service, "/stream.mp4", 100_000, &source);
    let fragments = cut(&source);
    assert!(fragments > 60, "only {fragments} pictures");

    let (code, facts, _) = finish(Command::new(&mkvmerge).arg("-J").arg(&source));
    let facts: Value = serde_json::from_str(&facts).unwrap();
    assert_eq!(code, 0, "{facts}");
    let track = &facts["tracks"][0];
    assert_eq!((&facts["warnings"], &facts["errors"]), (&serde_json::json!([]), &serde_json::json!([])));
    assert_eq!(facts["container"]["type"], "QuickTime/MP4");
    assert_eq!(track["codec"], "AVC/H.264/MPEG-4p10");
    assert_eq!(track["properties"]["pixel_dimensions"], "320x240");

    // It warns by its exit status too.
    let (code, out, error) = finish(Command::new(&mkvmerge).arg("-o").arg(&copy).arg(&source));
    assert_eq!(code, 0, "{out}{error}");
    let frames = Command::new("mkvinfo").arg("-s").arg(&copy).output().unwrap();
    let frames = String::from_utf8(frames.stdout).unwrap();
    assert_eq!(frames.lines().filter(|line| line.contains("frame, track")).count(), fragments, "{frames}");
}

/// JavaScript: decodes `porthole.h264.v1` by WebCodecs. `shown` has for each picture when it was captured, the number that it shows, and its
/// colours at some places.
const DECODE: &str = "(() => {
    window.shown = []; window.failed = ''; window.format = null;
    const canvas = new OffscreenCanvas(1, 1);
    const context = canvas.getContext('2d', { willReadFrequently: true });
    const decoder = new VideoDecoder({
        output: (frame) => {
            [canvas.width, canvas.height] = [frame.displayWidth, frame.displayHeight];
            context.drawImage(frame, 0, 0);
            const at = (x, y) => [...context.getImageData(x, y, 1, 1).data].slice(0, 3);
            const [width, height] = [canvas.width, canvas.height];
            const side = Math.floor(width / 34);
            const bit = (i) => at(i * side + (side >> 1), height - (side >> 1) - 1)[1] > 128;
            let number = 0;
            for (let i = 2; i < 34; i++) number = number * 2 + bit(i);
            const bars = [0, 1, 2, 3, 4, 5, 6, 7].map((bar) => at(Math.floor((bar + 0.5) * width / 8), height >> 1));
            shown.push([frame.timestamp, number, bars]);
            frame.close();
        },
        error: (error) => { failed = `${error}`; },
    });
    const socket = new WebSocket(`ws://${location.host}/ws`, 'porthole.h264.v1');
    socket.binaryType = 'arraybuffer';
    socket.onmessage = ({ data }) => {
        if (typeof data === 'string') {
            const message = JSON.parse(data);
            if (message.type !== 'h264') return;
            format = message;
            return decoder.configure({ codec: message.codec, optimizeForLatency: true });
        }
        const view = new DataView(data);
        if (view.getUint32(0) !== 0x50485631) return;
        const type = view.getUint32(28) >>> 31 ? 'key' : 'delta';
        const timestamp = Number(view.getBigUint64(8));
        decoder.decode(new EncodedVideoChunk({ type, timestamp, data: new Uint8Array(data, 32) }));
        socket.send(JSON.stringify({ type: 'ack', sequence: view.getUint32(4) }));
    };
})()";

/// Half of what is between two neighbouring bars is far more than an encoder or a conversion of colours changes.
const TOLERANCE: i64 = 24;

#[test]
fn webcodecs_shows_what_the_camera_showed() {
    if program("chromium", "chromium").is_none() {
        return;
    }
    let service = Porthole::start(&["--source", "pattern", "--size", "640x480", "--fps", "15"]);
    let mut browser = Browser::start();
    // A secure context, as WebCodecs wants: the machine itself.
    browser.open(&service.url);
    browser.until("document.querySelector('.tile')?.dataset.state === 'live'");
    if browser.eval("'VideoDecoder' in self") == false {
        return missing("this Chromium has no WebCodecs");
    }
    // What is captured is told by JPEGs with the same times.
    let mut jpegs = Client::porthole(service.address, "/ws");
    browser.eval(DECODE);
    let mut numbers = HashMap::new();
    let started = std::time::Instant::now();
    while browser.eval("failed || shown.length < 20") != false {
        assert_eq!(browser.eval("failed"), "");
        assert!(started.elapsed() < DEADLINE, "{}", browser.eval("shown"));
        for _ in 0..5 {
            let frame = jpegs.acknowledged();
            numbers.insert(frame.captured_at, frame.jpeg);
        }
    }
    let format = browser.eval("format");
    assert_eq!((&format["width"], &format["height"]), (&640.into(), &480.into()), "{format}");
    let shown = browser.eval("shown");
    let mut same = 0;
    for picture in shown.as_array().unwrap() {
        let Some(jpeg) = numbers.get(&picture[0].as_u64().unwrap()) else { continue };
        assert_eq!(picture[1], decode(jpeg).pattern_number(), "another picture than was captured");
        let bars: Vec<[i64; 3]> = serde_json::from_value(picture[2].clone()).unwrap();
        // The ball covers a bar now and then.
        let wrong: Vec<_> =
            bars.iter().zip(BARS).filter(|(is, colour)| distance(**is, *colour) > TOLERANCE).collect();
        assert!(wrong.len() <= 2, "{wrong:?}");
        same += 1;
    }
    assert!(same >= 5, "only {same} pictures came by both ways: {shown}");
}

/// Red, green and blue of the pattern's bars: 100 % bars of BT.601 in video range, shown in full range as JPEG has it.
const BARS: [[i64; 3]; 8] = [
    [235, 235, 235],
    [235, 236, 12],
    [13, 237, 237],
    [13, 238, 14],
    [238, 13, 237],
    [238, 14, 14],
    [16, 15, 239],
    [16, 16, 16],
];

fn distance(a: [i64; 3], b: [i64; 3]) -> i64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).max().unwrap_or_default()
}
