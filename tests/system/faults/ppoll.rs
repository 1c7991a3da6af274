//! ppoll(2) that fails: a capture thread waits all the same, and can be woken.
//!
//! The kernel refuses ppoll with EINVAL when a process asks for more descriptors than RLIMIT_NOFILE, so a limit of 0 makes
//! every call fail. Connections that are open already go on, as epoll has no such check.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use support::{DEADLINE, Porthole, Scratch, until};

use crate::turns::{Group, turn};

/// A connection that is used for several requests.
struct KeepAlive(TcpStream);

impl KeepAlive {
    fn open(service: &Porthole) -> Self {
        let stream = TcpStream::connect(service.address).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut connection = Self(stream);
        connection.get("/healthz");
        connection
    }

    fn send(&mut self, target: &str) {
        self.0.write_all(format!("GET {target} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).unwrap();
    }

    fn get(&mut self, target: &str) -> String {
        self.send(target);
        let (mut head, mut byte) = (Vec::new(), [0]);
        while !head.ends_with(b"\r\n\r\n") {
            self.0.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_lowercase();
        let length = head.split("content-length: ").nth(1).expect("a response with a length");
        let mut body = vec![0; length.split("\r\n").next().unwrap().parse().unwrap()];
        self.0.read_exact(&mut body).unwrap();
        String::from_utf8(body).unwrap()
    }

    fn uptime_s(&mut self) -> f64 {
        let state: serde_json::Value = serde_json::from_str(&self.get("/state")).unwrap();
        state["uptime_s"].as_f64().unwrap()
    }
}

fn forbid_ppoll(service: &Porthole) {
    let none = libc::rlimit { rlim_cur: 0, rlim_max: 1024 };
    // SAFETY: reads the struct, and sets the limit of a child of ours.
    let set = unsafe {
        libc::prlimit(service.pid() as i32, libc::RLIMIT_NOFILE, &raw const none, std::ptr::null_mut())
    };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
}

/// CPU time of the service's capture thread in seconds.
fn capture_cpu_s(service: &Porthole) -> f64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", service.pid())).unwrap();
    let mut stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let stat = stats.find(|stat| stat.contains("(camera camera)")).expect("the capture thread");
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap().split(' ').collect();
    let ticks: f64 = [fields[11], fields[12]].iter().map(|field| field.parse::<f64>().unwrap()).sum();
    // SAFETY: asks for a constant.
    ticks / unsafe { libc::sysconf(libc::_SC_CLK_TCK) } as f64
}

#[test]
fn a_capture_thread_without_ppoll_keeps_its_delays_rests_and_is_woken() {
    let _turn = turn(Group::Faults);
    let scratch = Scratch::new();
    let config = scratch.file("porthole.toml", "[[camera]]\nsource = \"exec:false\"\nlinger_s = 0\n");
    let mut service = Porthole::start(&["--log", "debug", "--config", config.to_str().unwrap()]);
    let (mut viewer, mut next, mut observer) =
        (KeepAlive::open(&service), KeepAlive::open(&service), KeepAlive::open(&service));
    forbid_ppoll(&service);

    // A viewer comes, and the source fails. The delays between the attempts are 100, 200, 400 and 800 ms.
    let begun = Instant::now();
    viewer.send("/stream");
    service.until_logged("after attempt 5:");
    assert!(begun.elapsed() >= Duration::from_millis(1500), "{:?} for five attempts", begun.elapsed());
    assert!(capture_cpu_s(&service) < 0.5, "{} s of CPU for five attempts", capture_cpu_s(&service));
    service.until_logged("ppoll failed");

    // The viewer leaves: the thread rests.
    drop(viewer);
    service.until_logged("closed, nobody watches");
    let (cpu_s, uptime_s) = (capture_cpu_s(&service), observer.uptime_s());
    until("two seconds pass", || (observer.uptime_s() > uptime_s + 2.0).then_some(()));
    let used_s = capture_cpu_s(&service) - cpu_s;
    assert!(used_s < 0.3, "{used_s} s of CPU in two seconds of rest");

    // Another viewer wakes it, and a stop ends it.
    let attempts = |service: &Porthole| service.log().matches(": lost: ").count();
    let before = attempts(&service);
    next.send("/stream");
    until("the next viewer has the source opened", || (attempts(&service) > before).then_some(()));
    assert_eq!(service.stop(), Some(0), "{}", service.log());
}
