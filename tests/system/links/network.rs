//! Two machines and two cables between them, made of network namespaces: one cable as slow as a test wants it, the
//! other as fast as it gets. More machines behind cables of their own, if wanted. Gone when dropped.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use support::netns::Space;
use support::{Porthole, Scratch, porthole};

use super::relay::Relay;

/// Bytes the slow cable's end keeps for later when it cannot send them: as a cheap access point, more than it should.
const QUEUE: u32 = 400_000;

/// What is measured here comes before whatever else this machine does.
const PRIORITY: i32 = -15;

pub struct Network {
    server: Space,
    client: Space,
    scratch: Scratch,
}

impl Network {
    pub fn new() -> Self {
        let this = Self { server: Space::new(), client: Space::new(), scratch: Scratch::new() };
        // Sends until something is lost, as what boards have does; the only one that every kernel lets be chosen here.
        this.server.at(|| std::fs::write("/proc/sys/net/ipv4/tcp_congestion_control", "reno").unwrap());
        for (net, cable) in [(1, "slow"), (2, "fast")] {
            this.server
                .ip(&format!("link add {cable} type veth peer name {cable} netns {}", this.client.name()));
            for (host, space) in [(1, &this.server), (2, &this.client)] {
                space.ip(&format!("addr add 10.0.{net}.{host}/24 dev {cable}"));
                space.ip(&format!("link set {cable} up"));
            }
        }
        this
    }

    /// Lets so many bytes a second through the slow cable, towards the client.
    pub fn shape(&self, bytes_per_s: u32) {
        self.shape_cable("slow", u64::from(bytes_per_s) * 8);
    }

    fn shape_cable(&self, cable: &str, bits_per_s: u64) {
        self.server
            .tc(&format!("qdisc replace dev {cable} root tbf rate {bits_per_s}bit burst 3200 limit {QUEUE}"));
    }

    /// Adds a machine behind a cable of its own.
    pub fn add(&self, link: Link) -> Machine {
        let (net, space) = (link.net, Space::new());
        let cable = format!("cable{net}");
        let relay = (!link.delay.is_zero() || link.loss).then(|| {
            let ends = [&self.server, &space].map(|end| end.tunnel(&cable));
            Relay::start(ends, link.delay, link.loss)
        });
        if relay.is_none() {
            self.server.ip(&format!("link add {cable} type veth peer name {cable} netns {}", space.name()));
        }
        for (host, end) in [(1, &self.server), (2, &space)] {
            end.ip(&format!("addr add 10.0.{net}.{host}/24 dev {cable}"));
            end.ip(&format!("link set {cable} up"));
        }
        self.shape_cable(&cable, link.bits_per_s);
        Machine { space, server: Ipv4Addr::new(10, 0, net, 1), _relay: relay }
    }

    /// Writes a file that lasts as long as this.
    pub fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        self.scratch.file(name, bytes)
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
        command
            .args(["-n", &PRIORITY.to_string(), "ip", "netns", "exec", self.server.name()])
            .arg(program.get_program());
        let mut service = Porthole::spawn(command.args(["--listen", "0.0.0.0:0", "--config"]).arg(file));
        service.address = SocketAddr::from(([10, 0, 1, 1], service.address.port()));
        service
    }

    /// Does `work` at the other end of the cables. Threads it starts are there too.
    pub fn at_client<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        first_at(&self.client, work)
    }
}

/// What a cable carries towards the client, beside the two that are always there.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Number of its network: 3 or more, another for each.
    pub net: u8,
    pub bits_per_s: u64,
    /// Time that each packet takes towards the client.
    pub delay: Duration,
    /// Of a hundred packets towards the client, one gets lost.
    pub loss: bool,
}

/// A machine behind a cable of its own.
pub struct Machine {
    space: Space,
    server: Ipv4Addr,
    _relay: Option<Relay>,
}

impl Machine {
    /// Does `work` there. Threads it starts are there too.
    pub fn at<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        first_at(&self.space, work)
    }

    /// Where the service is found from there.
    pub fn address(&self, service: &Porthole) -> SocketAddr {
        SocketAddr::from((self.server, service.address.port()))
    }
}

fn first_at<T: Send>(space: &Space, work: impl FnOnce() -> T + Send) -> T {
    space.at(|| {
        come_first();
        work()
    })
}

/// Lets this thread, and those it starts, come before whatever else this machine does.
pub fn come_first() {
    // SAFETY: takes numbers; 0 stands for this thread.
    unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, PRIORITY) };
}

/// The same service by the fast cable.
pub fn fast(service: &Porthole) -> SocketAddr {
    SocketAddr::from(([10, 0, 2, 1], service.address.port()))
}
