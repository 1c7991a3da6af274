//! H.264 beside JPEG, in one run, as ratios: bytes at equal quality, CPU to encode beside µStreamer's JPEG, CPU to give a picture to one
//! more viewer, the wait of who joins, and memory. It takes two to three minutes, with `quick` half of one.
//!
//! Names of parts choose those: bytes, cpu, viewers, joining, memory. `quick` measures less of each. With `--check` it fails where a ratio
//! is not what it should be.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

use std::fs;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use support::fakecam::{Camera, Table, environment};
use support::http::send;
use support::ws::Client;
use support::{Porthole, Scratch, cpu_of, cpu_of_main_thread, proc_status, until};

mod clips;
mod equal_ssim;
mod readers;

use clips::Scenes;
use readers::Readers;

const PARTS: [&str; 5] = ["bytes", "cpu", "viewers", "joining", "memory"];
/// JPEGs of a still and of a panning scene take so many times as many bytes at least, for one that looks as good.
const LEAST_SAVED: [f64; 2] = [4.0, 1.5];
/// H.264 takes so many times the CPU of µStreamer's JPEG at most: an encoder that looks for motion, beside one that does not.
const MOST_ENCODING: f64 = 2.5;
/// A picture in H.264 costs so many times what a JPEG costs for one more viewer at most, though it is a fraction of its bytes.
const MOST_FANOUT: f64 = 1.1;
/// How much later than the encoder's own time the first picture comes, at most.
const BEYOND_MS: f64 = 250.0;

struct Bench {
    is_quick: bool,
    is_good: bool,
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    let any = PARTS.iter().any(|part| has(part));
    let mut bench = Bench { is_quick: has("quick"), is_good: true };
    println!("H.264 beside JPEG, 1280x720 at 30 a second; load of this machine {}", load());
    for part in PARTS.iter().filter(|part| !any || has(part)) {
        match *part {
            "bytes" => bench.bytes(),
            "cpu" => bench.cpu(),
            "viewers" => bench.viewers(),
            "joining" => bench.joining(),
            _ => bench.memory(),
        }
    }
    println!("load of this machine {}", load());
    if has("--check") && !bench.is_good { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// How many threads wanted a processor in the last minute, and how many processors there are.
fn load() -> String {
    let average = fs::read_to_string("/proc/loadavg").unwrap();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    format!("{} on {processors} processors", average.split(' ').next().unwrap())
}

impl Bench {
    fn bytes(&mut self) {
        println!(
            "\nkB a second and viewer at equal SSIM, openh264\nscene       SSIM   H.264     JPEG (quality)   ratio (at least)"
        );
        let (scenes, pictures) = (Scenes::new(), if self.is_quick { 20 } else { 60 });
        for (name, least) in Scenes::NAMES.iter().zip(LEAST_SAVED.iter().copied().chain([0.0])) {
            let sizes = equal_ssim::compare(&scenes.clip(name, pictures));
            let ratio = sizes.jpeg / sizes.h264;
            // A key frame weighs more in a short clip.
            self.is_good &= self.is_quick || ratio >= least;
            println!(
                "{name:<8} {:>7.4} {:>7.0} {:>8.0} ({:>2})        {ratio:>6.2} ({least})",
                sizes.ssim,
                sizes.h264 / 1e3,
                sizes.jpeg / 1e3,
                sizes.quality
            );
        }
    }

    /// One viewer on the same camera that gives YUYV: H.264 of this program, JPEG of this program and of µStreamer.
    fn cpu(&mut self) {
        println!("\nCPU ms a picture, YUYV 1280x720, one viewer, all threads");
        let scratch = Scratch::new();
        let table = Table::create(scratch.path("table")).unwrap();
        let camera = Camera::new("/dev/video90", &table).with("formats", "YUYV:1280x720@30");
        let environment = environment(&[camera]);
        let rounds = if self.is_quick { 1 } else { 3 };
        let mut least = [f64::MAX; 3];
        for _ in 0..rounds {
            for (which, path) in [(0, "/stream.h264"), (1, "/stream"), (2, "/stream")] {
                let server = Server::start(which == 2, &environment);
                let viewer = Readers::start(vec![server.stream(path)]);
                until("there are some pictures", || (viewer.bytes() > 20_000).then_some(()));
                let span = self.span();
                let cpu = cpu_of(server.child.id());
                std::thread::sleep(span);
                let cpu = cpu_of(server.child.id()) - cpu;
                least[which] =
                    least[which].min(cpu.as_secs_f64() * 1e3 / (span.as_secs_f64() * clips::FPS as f64));
            }
        }
        let [h264, jpeg, theirs] = least;
        self.is_good &= self.is_quick || h264 / theirs <= MOST_ENCODING;
        println!("H.264 {h264:.2}   JPEG {jpeg:.2}   uStreamer's JPEG {theirs:.2}");
        println!(
            "H.264 / uStreamer {:.2} (at most {MOST_ENCODING})   JPEG / uStreamer {:.2}",
            h264 / theirs,
            jpeg / theirs
        );
    }

    fn span(&self) -> Duration {
        Duration::from_secs(if self.is_quick { 1 } else { 3 })
    }

    /// Time of the thread that serves all connections.
    fn viewers(&mut self) {
        println!(
            "\nCPU us a delivered picture and viewer, by HTTP\nviewers      JPEG     H.264   ratio (at most {MOST_FANOUT})"
        );
        raise_descriptors();
        let (service, _scratch) = serve();
        let rounds = if self.is_quick { 1 } else { 3 };
        let counts: &[usize] = if self.is_quick { &[1, 50] } else { &[1, 10, 50, 200, 1000] };
        for &viewers in counts {
            let mut least = [f64::MAX; 2];
            for _ in 0..rounds {
                for (least, path) in least.iter_mut().zip(["/stream", "/stream.h264"]) {
                    *least = least.min(self.cpu_of_delivery(&service, viewers, path));
                }
            }
            let ratio = least[1] / least[0];
            // One viewer is served in turns of the loop that one or the other disturbs.
            self.is_good &= viewers == 1 || ratio <= MOST_FANOUT;
            println!("{viewers:>7} {:>6.1} us {:>6.1} us   {ratio:.2}", least[0], least[1]);
        }
    }

    /// Microseconds of CPU for each picture that a viewer gets.
    fn cpu_of_delivery(&self, service: &Porthole, viewers: usize, path: &str) -> f64 {
        let clients = Readers::start((0..viewers).map(|_| send(service.address, "GET", path, &[])).collect());
        let sent = || -> u64 {
            let camera = service.camera();
            camera["viewers"].as_array().unwrap().iter().map(|viewer| viewer["sent"].as_u64().unwrap()).sum()
        };
        until("all have had some pictures", || (sent() >= 10 * viewers as u64).then_some(()));
        let (cpu, pictures) = (cpu_of_main_thread(service.pid()), sent());
        std::thread::sleep(self.span());
        // The answer that tells the number costs too, so it is asked for afterwards.
        let cpu = cpu_of_main_thread(service.pid()) - cpu;
        let pictures = sent() - pictures;
        drop(clients);
        until("they have left", || service.camera()["viewers"].as_array().unwrap().is_empty().then_some(()));
        cpu.as_secs_f64() * 1e6 / pictures as f64
    }

    fn joining(&mut self) {
        println!("\nfirst picture after joining, ms: half, 99 %");
        let (service, _scratch) = serve();
        let headers = [("Sec-WebSocket-Protocol", "porthole.h264.v1")];
        let connect = || Client::connect(service.address, "/ws", &headers).unwrap();
        let join = || {
            let began = Instant::now();
            connect().binary();
            began.elapsed().as_secs_f64() * 1e3
        };
        let percentiles = |mut waits: Vec<f64>| {
            waits.sort_by(f64::total_cmp);
            [50, 99].map(|percent| waits[(waits.len() * percent).div_ceil(100) - 1])
        };
        let rounds = if self.is_quick { 5 } else { 20 };
        let first = percentiles(
            (0..rounds)
                .map(|_| {
                    until("nobody watches", || service.camera()["h264"]["encoder"].is_null().then_some(()));
                    join()
                })
                .collect(),
        );
        let other = Readers::start(vec![send(service.address, "GET", "/stream.h264", &[])]);
        until("another one watches", || (other.bytes() > 10_000).then_some(()));
        let later = percentiles((0..rounds * 10).map(|_| join()).collect());
        let own = service.camera()["h264"]["encode_us_p99"].as_f64().unwrap() / 1e3;
        let most = own + BEYOND_MS;
        self.is_good &= first[1] <= most && later[1] <= most;
        println!(
            "the first of all {:.1}, {:.1}   one more {:.1}, {:.1}   (at most {most:.0}; the encoder takes {own:.1})",
            first[0], first[1], later[0], later[1]
        );
    }

    fn memory(&mut self) {
        println!("\nmemory, MB (of its own)");
        for viewers in [0, 1, 50] {
            // Anew for each, as memory that was needed once is kept.
            let (service, _scratch) = serve();
            let streams = (0..viewers).map(|_| send(service.address, "GET", "/stream.h264", &[])).collect();
            let clients = Readers::start(streams);
            until("they have had some pictures", || (clients.bytes() >= 200_000 * viewers).then_some(()));
            let [all, own] =
                ["VmRSS", "RssAnon"].map(|key| proc_status(service.pid(), key) as f64 * 1024.0 / 1e6);
            println!("{viewers:>3} viewers of H.264 {all:>7.1} ({own:.1})");
        }
    }
}

/// Serves a panning clip to as many as there may be.
fn serve() -> (Porthole, Scratch) {
    let scratch = Scratch::new();
    let clip: Vec<u8> = Scenes::new().clip("panning", 10).iter().flat_map(clips::jpeg).collect();
    let file = scratch.file("clip.mjpeg", clip);
    let config = format!(
        "[server]\nmax_viewers = 1000\n[[camera]]\nsource = \"file:{}\"\nfps = {}\nlinger_s = 0\n",
        file.display(),
        clips::FPS
    );
    (Porthole::configured(&scratch, &config), scratch)
}

/// A server on the fake camera.
struct Server {
    child: Child,
    address: SocketAddr,
}

impl Server {
    fn start(is_peer: bool, environment: &[(&'static str, std::ffi::OsString)]) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = if is_peer { Command::new("ustreamer") } else { support::porthole() };
        if is_peer {
            command.args(["--device", "/dev/video90", "--format", "yuyv", "--resolution", "1280x720"]);
            command.args(["--desired-fps", "30", "--quality", "80", "--host", "127.0.0.1"]);
            command.args(["--port", &address.port().to_string()]);
        } else {
            command.args([
                "--source",
                "/dev/video90",
                "--format",
                "yuyv",
                "--size",
                "1280x720",
                "--fps",
                "30",
            ]);
            command.args(["--listen", &address.to_string()]);
        }
        command.envs(environment.iter().map(|(key, value)| (key, value)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        Self { child, address }
    }

    fn stream(&self, path: &str) -> TcpStream {
        until("the server listens", || TcpStream::connect(self.address).ok());
        send(self.address, "GET", path, &[])
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // SAFETY: the child has not been waited for, so its number is still its own.
        unsafe { libc::kill(self.child.id() as i32, libc::SIGTERM) };
        until("the server ends", || self.child.try_wait().unwrap());
    }
}

/// Lets this process have a connection to each viewer, and the service too, which it starts.
fn raise_descriptors() {
    // SAFETY: takes and gives two numbers, which outlive the calls.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit), 0);
        limit.rlim_cur = limit.rlim_max.min(8192);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit), 0);
    }
}
