//! Brokers: mosquitto, and a cluster of three nats-servers, configured as the manual's chapter on reach shows it. Each node can be
//! killed and started again.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::mqtt::{Login, Session};
use super::netns::Space;
use super::tools::{free_port, program};
use super::{Scratch, source_tree, until};

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Time in which a broker that is ready answers. One that elects a leader does not answer at all.
const PATIENCE: Duration = Duration::from_secs(1);

/// A sample configuration of the manual: the block of code in the chapter on reach whose first line is this comment.
///
/// # Panics
/// If there is none.
#[track_caller]
pub fn sample(first_line: &str) -> String {
    let chapter = fs::read_to_string(source_tree().join("src/manual/reach.md")).unwrap();
    let blocks = chapter.split("\n```").map(|block| block.split_once('\n').map_or("", |(_, text)| text));
    let mut found = blocks.filter(|block| block.lines().next() == Some(first_line));
    let block = found.next().unwrap_or_else(|| panic!("the manual has no sample {first_line:?}"));
    assert_eq!(found.next(), None, "{first_line:?} twice");
    block.to_owned()
}

/// Puts `with` in the place of `what`, which must be there.
#[track_caller]
fn replace(text: &str, what: &str, with: &str) -> String {
    assert!(text.contains(what), "the sample has no {what:?}: {text}");
    text.replace(what, with)
}

/// Lines for a mosquitto that refuses each subscription in its answer; `None` where its plug-in for that is not installed. Its
/// access list takes subscriptions and sends nothing.
pub fn no_subscriptions(scratch: &Scratch) -> Option<String> {
    let folders = fs::read_dir("/usr/lib").ok()?.flatten().map(|folder| folder.path());
    let plugin =
        folders.map(|path| path.join("mosquitto_dynamic_security.so")).find(|path| path.is_file())?;
    let rules =
        r#"{"defaultACLAccess":{"publishClientSend":true,"publishClientReceive":true,"subscribe":false}}"#;
    let rules = scratch.file("dynamic-security.json", rules);
    let (plugin, rules) = (plugin.display(), rules.display());
    Some(format!("allow_anonymous true\nplugin {plugin}\nplugin_opt_config_file {rules}"))
}

/// A broker. Killed when dropped.
pub struct Broker {
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    space: Option<String>,
    pub address: SocketAddr,
    child: Option<Child>,
}

impl Broker {
    /// mosquitto with these lines of configuration beside its listener; `None` where it is not installed.
    #[track_caller]
    pub fn mosquitto(scratch: &Scratch, lines: &str) -> Option<Self> {
        let port = free_port();
        let config = scratch.file("mosquitto.conf", format!("listener {port} 127.0.0.1\n{lines}\n"));
        Self::mosquitto_of(scratch, &config, port)
    }

    /// mosquitto as the manual configures it, with these users, each with its password.
    #[track_caller]
    pub fn mosquitto_of_the_manual(scratch: &Scratch, users: &[(&str, &str)]) -> Option<Self> {
        let port = free_port();
        let config = sample("# /etc/mosquitto/conf.d/porthole.conf");
        let config = replace(&config, "listener 1883\n", &format!("listener {port} 127.0.0.1\n"));
        let passwords = scratch.path("mosquitto.passwords");
        let config = replace(&config, "/etc/mosquitto/porthole.passwords", passwords.to_str()?);
        let topics = scratch.file("mosquitto.acl", sample("# /etc/mosquitto/porthole.acl"));
        let config = replace(&config, "/etc/mosquitto/porthole.acl", topics.to_str()?);
        let tool = program("mosquitto_passwd", "mosquitto")?;
        fs::write(&passwords, "").unwrap();
        for (user, password) in users {
            let mut add = Command::new(&tool);
            let added = add.args(["-b", passwords.to_str()?, user, password]).status().unwrap();
            assert!(added.success());
        }
        Self::mosquitto_of(scratch, &scratch.file("mosquitto.conf", config), port)
    }

    fn mosquitto_of(scratch: &Scratch, config: &Path, port: u16) -> Option<Self> {
        // Debian has it where only root looks.
        let program = ["/usr/sbin/mosquitto", "/usr/local/sbin/mosquitto"].into_iter().map(PathBuf::from);
        let program = program.into_iter().find(|path| path.is_file()).or_else(|| program_of("mosquitto"))?;
        let mut broker = Self {
            program,
            arguments: vec!["-c".into(), config.to_str()?.into()],
            log: scratch.path("mosquitto.log"),
            space: None,
            address: (LOOPBACK, port).into(),
            child: None,
        };
        broker.restart();
        until("mosquitto listens", || std::net::TcpStream::connect(broker.address).ok());
        Some(broker)
    }

    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it was started").id()
    }

    /// Sends a signal.
    pub fn signal(&self, signal: i32) {
        // SAFETY: the child has not been waited for, so its number is still its own.
        unsafe { libc::kill(self.pid() as i32, signal) };
    }

    /// Ends it as a power cut does.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it, at the same address and with what it has stored.
    #[track_caller]
    pub fn restart(&mut self) {
        self.kill();
        let mut command = match &self.space {
            None => Command::new(&self.program),
            Some(space) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", space]).arg(&self.program);
                command
            }
        };
        let log = fs::OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        command.args(&self.arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}")));
    }

    /// Whether it takes a new session.
    pub fn is_ready(&self, login: Login<'_>) -> bool {
        Session::try_connect(self.address, "is-it-ready", login, PATIENCE).is_ok()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            let log = self.log();
            let last = log.lines().rev().take(20).collect::<Vec<_>>();
            eprintln!("{} at {}: {}", self.program.display(), self.address, last.join("\n"));
        }
    }
}

fn program_of(name: &str) -> Option<PathBuf> {
    program(name, if name == "mosquitto" { "mosquitto" } else { "nats-server" })
}

/// Three nats-servers that are one broker, as the manual configures them.
pub struct NatsCluster {
    pub nodes: [Broker; 3],
    /// Where they run, if not on loopback: the network between them, and a machine for each.
    pub network: Option<ClusterNetwork>,
    // Last, as they store there.
    _scratch: Scratch,
}

/// A switch with three machines. What runs in `hub` reaches all of them.
pub struct ClusterNetwork {
    pub hub: Space,
    machines: [Space; 3],
}

impl ClusterNetwork {
    /// Pulls the cable of a machine, or plugs it in again.
    #[track_caller]
    pub fn connect(&self, node: usize, is_connected: bool) {
        self.hub.ip(&format!("link set port{node} {}", if is_connected { "up" } else { "down" }));
    }

    fn new() -> Self {
        let (hub, machines) = (Space::new(), [(); 3].map(|()| Space::new()));
        hub.ip("link add switch type bridge");
        hub.ip("addr add 10.9.0.254/24 dev switch");
        hub.ip("link set switch up");
        for (node, machine) in machines.iter().enumerate() {
            hub.ip(&format!("link add port{node} type veth peer name eth0 netns {}", machine.name()));
            hub.ip(&format!("link set port{node} master switch up"));
            machine.ip(&format!("addr add 10.9.0.{}/24 dev eth0", node + 1));
            machine.ip("link set eth0 up");
        }
        Self { hub, machines }
    }
}

/// Who the sample configuration lets in.
pub const EDGE: Login<'static> = Login { user: Some("edge"), password: Some("edge's password") };
pub const FRONT_END: Login<'static> =
    Login { user: Some("front-end"), password: Some("front end's password") };

impl NatsCluster {
    /// Starts it on loopback, and waits until each node takes sessions; `None` where it is not installed.
    #[track_caller]
    pub fn start() -> Option<Self> {
        Self::start_in(None)
    }

    /// Starts it on machines of its own, which can be cut off.
    #[track_caller]
    pub fn start_on_machines() -> Option<Self> {
        Self::start_in(Some(ClusterNetwork::new()))
    }

    #[track_caller]
    fn start_in(network: Option<ClusterNetwork>) -> Option<Self> {
        let (program, scratch) = (program_of("nats-server")?, Scratch::new());
        let hosts: [IpAddr; 3] = match &network {
            Some(_) => [1, 2, 3].map(|host| Ipv4Addr::new(10, 9, 0, host).into()),
            None => [LOOPBACK; 3],
        };
        let ports = [(); 3].map(|()| [(); 3].map(|()| free_port()));
        let nodes = [0, 1, 2].map(|node| {
            let mut config = sample("# /etc/nats-server.conf of node1");
            let [clients, cluster, mqtt] = ports[node];
            let host = hosts[node];
            config = replace(&config, "server_name: node1", &format!("server_name: node{}", node + 1));
            config = replace(&config, "127.0.0.1:4222", &format!("{host}:{clients}"));
            config = replace(&config, "0.0.0.0:6222", &format!("{host}:{cluster}"));
            config = replace(&config, "0.0.0.0:1883", &format!("{host}:{mqtt}"));
            for (other, [_, port, _]) in ports.iter().enumerate() {
                let route = format!("{}:{port}", hosts[other]);
                config = replace(&config, &format!("node{}:6222", other + 1), &route);
            }
            let store = scratch.path(&format!("node{}", node + 1));
            config = replace(&config, "/var/lib/nats", store.to_str().unwrap());
            for Login { user, password } in [EDGE, FRONT_END] {
                let place = format!("PASSWORD OF {}", user.unwrap().to_ascii_uppercase());
                config = replace(&config, &place, password.unwrap());
            }
            let file = scratch.file(&format!("node{}.conf", node + 1), config);
            Broker {
                program: program.clone(),
                arguments: vec!["-c".into(), file.to_str().unwrap().into()],
                log: scratch.path(&format!("node{}.log", node + 1)),
                space: network.as_ref().map(|network| network.machines[node].name().to_owned()),
                address: (host, mqtt).into(),
                child: None,
            }
        });
        let mut cluster = Self { nodes, network, _scratch: scratch };
        cluster.nodes.iter_mut().for_each(Broker::restart);
        (0..3).for_each(|node| cluster.until_ready(node));
        Some(cluster)
    }

    /// Waits until a node takes sessions: it is connected to the others, and they have elected a leader.
    #[track_caller]
    pub fn until_ready(&self, node: usize) {
        let node = &self.nodes[node];
        let is_ready = || node.is_ready(EDGE).then_some(());
        let wait = || until("the node takes sessions", is_ready);
        match &self.network {
            Some(network) => network.hub.at(wait),
            None => wait(),
        }
    }

    /// The addresses of these nodes, as they stand in a URL.
    pub fn addresses(&self, nodes: &[usize]) -> String {
        nodes.iter().map(|node| self.nodes[*node].address.to_string()).collect::<Vec<_>>().join(",")
    }
}
