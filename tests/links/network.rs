//! Two machines and two cables between them, made of network namespaces: one cable as slow as a test wants it, the
//! other as fast as it gets. Gone when dropped.

use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{Porthole, Scratch, finish, porthole};

/// Bytes the slow cable's end keeps for later when it cannot send them: as a cheap access point, more than it should.
const QUEUE: u32 = 400_000;

/// What is measured here comes before whatever else this machine does.
const PRIORITY: &str = "-15";

/// Why no such network can be made here, if it cannot.
pub fn obstacle() -> Option<String> {
    // SAFETY: asks for a number.
    if unsafe { libc::geteuid() } != 0 {
        return Some("network namespaces take root".into());
    }
    let missing = ["ip", "tc"].into_iter().find(|tool| Command::new(tool).arg("-V").output().is_err());
    missing.map(|tool| format!("there is no {tool}, which is of the package iproute2"))
}

pub struct Network {
    name: String,
    scratch: Scratch,
}

impl Network {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ph{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let this = Self { name, scratch: Scratch::new() };
        let (server, client) = (this.space('s'), this.space('c'));
        for space in [&server, &client] {
            run(&["ip", "netns", "add", space]);
            run(&["ip", "-n", space, "link", "set", "lo", "up"]);
        }
        // Sends until something is lost, as what boards have does; the only one that every kernel lets be chosen here.
        this.at('s', || std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno").unwrap());
        for cable in ["slow", "fast"] {
            let net = if cable == "slow" { 1 } else { 2 };
            run(&[
                "ip", "-n", &server, "link", "add", cable, "type", "veth", "peer", "name", cable, "netns",
                &client,
            ]);
            for (space, host) in [(&server, 1), (&client, 2)] {
                run(&["ip", "-n", space, "addr", "add", &format!("10.0.{net}.{host}/24"), "dev", cable]);
                run(&["ip", "-n", space, "link", "set", cable, "up"]);
            }
        }
        this
    }

    fn space(&self, end: char) -> String {
        format!("{}-{end}", self.name)
    }

    /// Lets so many bytes a second through the slow cable, towards the client.
    pub fn shape(&self, bytes_per_s: u32) {
        let (rate, queue) = (format!("{}bit", u64::from(bytes_per_s) * 8), QUEUE.to_string());
        let space = self.space('s');
        run(&[
            "tc", "-n", &space, "qdisc", "replace", "dev", "slow", "root", "tbf", "rate", &rate, "burst",
            "3200", "limit", &queue,
        ]);
    }

    /// Starts the service at one end of the cables. Its address is that behind the slow one.
    #[track_caller]
    pub fn serve(&self, config: &str) -> Porthole {
        let state = self.scratch.path("state");
        let server = format!("[server]\nprogress_timeout_s = 2\nstate_dir = \"{}\"\n", state.display());
        let config = format!("{server}[auth]\nmode = \"none\"\n{config}");
        let file = self.scratch.file("porthole.toml", config);
        let program = porthole();
        let mut command = Command::new("nice");
        for (key, value) in program.get_envs() {
            match value {
                Some(value) => command.env(key, value),
                None => command.env_remove(key),
            };
        }
        command.args(["-n", PRIORITY, "ip", "netns", "exec", &self.space('s')]).arg(program.get_program());
        let mut service = Porthole::spawn(command.args(["--listen", "0.0.0.0:0", "--config"]).arg(file));
        service.address = SocketAddr::from(([10, 0, 1, 1], service.address.port()));
        service
    }

    /// Does `work` at the other end of the cables. Threads it starts are there too.
    pub fn at_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.at('c', work)
    }

    fn at<T: Send>(&self, end: char, work: impl FnOnce() -> T + Send) -> T {
        let space = File::open(format!("/run/netns/{}", self.space(end))).unwrap();
        std::thread::scope(|scope| {
            let there = scope.spawn(|| {
                // SAFETY: takes a descriptor that is open, and moves this thread alone.
                assert_eq!(unsafe { libc::setns(space.as_raw_fd(), libc::CLONE_NEWNET) }, 0);
                // SAFETY: takes numbers; 0 stands for this thread.
                unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, PRIORITY.parse().unwrap()) };
                work()
            });
            there.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for end in ['s', 'c'] {
            let _ = Command::new("ip").args(["netns", "del", &self.space(end)]).status();
        }
    }
}

/// The same service by the fast cable.
pub fn fast(service: &Porthole) -> SocketAddr {
    SocketAddr::from(([10, 0, 2, 1], service.address.port()))
}

#[track_caller]
fn run(words: &[&str]) {
    let (code, out, error) = finish(Command::new(words[0]).args(&words[1..]));
    assert_eq!(code, 0, "{words:?}: {out}{error}");
}
