//! A network for the board to be plugged into: a router that gives addresses and knows the time, and a PC.

use std::net::{Ipv4Addr, UdpSocket};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::pi::{DEADLINE, wait};
use support::Scratch;
use support::netns::Space;

/// Where the router is; the PC is at the same place.
const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 77, 1);
/// Where machines ask each other for names, and from: RFC 6762, section 3.
const MDNS: (Ipv4Addr, u16) = (Ipv4Addr::new(224, 0, 0, 251), 5353);
/// Question and answer, an address of IPv4 on the Internet; of the answer, nobody else goes by that name: RFC 6762,
/// section 10.2.
const ASKS: [u8; 4] = [0, 1, 0, 1];
const ANSWERS: [u8; 4] = [0, 1, 0x80, 1];
/// RFC 5905, section 7.3: a packet, what is in the first byte of a server's, and where times are in it.
const NTP_BYTES: usize = 48;
const NTP_SERVER: u8 = 4 << 3 | 4;
const NTP_ORIGIN: usize = 24;
const NTP_RECEIVED: usize = 32;
const NTP_SENT: usize = 40;
/// Seconds from 1900, where NTP begins, to 1970.
const NTP_TO_UNIX: u64 = 2_208_988_800;

pub struct Lan {
    space: Space,
    scratch: Scratch,
    dhcp: Child,
    ended: Arc<AtomicBool>,
    clock: Option<JoinHandle<()>>,
}

impl Lan {
    /// What plugs a board of QEMU's into it: an adapter, as its own Ethernet is not emulated.
    pub const ADAPTER: [&str; 4] =
        ["-netdev", "tap,id=lan,ifname=lan,script=no,downscript=no", "-device", "usb-net,netdev=lan"];

    pub fn new() -> Self {
        let (space, scratch) = (Space::new(), Scratch::new());
        space.ip("tuntap add dev lan mode tap");
        space.ip(&format!("addr add {ROUTER}/24 dev lan"));
        space.ip("link set lan up");
        space.ip("route add 224.0.0.0/4 dev lan");
        let leases = format!("--dhcp-leasefile={}", scratch.path("leases").display());
        let dhcp = space
            .command("dnsmasq")
            .args(["--keep-in-foreground", "--conf-file=/dev/null", "--user=root", "--pid-file"])
            .args(["--port=0", "--interface=lan", "--dhcp-range=192.168.77.10,192.168.77.20", &leases])
            .arg(format!("--dhcp-option=option:ntp-server,{ROUTER}"))
            .stdin(Stdio::null())
            .spawn()
            .expect("dnsmasq");
        // It stays where it was made, whoever uses it.
        let socket = space.at(|| UdpSocket::bind((ROUTER, 123)).unwrap());
        socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
        let ended = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&ended);
        let clock = std::thread::spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                tell_the_time(&socket);
            }
        });
        Self { space, scratch, dhcp, ended, clock: Some(clock) }
    }

    /// A program that runs in it.
    pub fn command(&self, program: &str) -> Command {
        self.space.command(program)
    }

    /// Runs a program at the PC, for at most so long: its exit code, and all that it says.
    pub fn run(&self, program: &str, words: &[&str]) -> (i32, Vec<u8>) {
        let mut command = self.command("timeout");
        command.arg(DEADLINE.as_secs().to_string()).arg(program).args(words);
        let output = command.stdin(Stdio::null()).output().expect(program);
        (output.status.code().unwrap_or(-1), [output.stdout, output.stderr].concat())
    }

    /// The address that the router gave to whoever goes by that name, once it has.
    #[track_caller]
    pub fn lease(&self, name: &str) -> Ipv4Addr {
        wait("an address is asked for", DEADLINE, || {
            let leases = std::fs::read_to_string(self.scratch.path("leases")).unwrap_or_default();
            let mut words = leases.lines().map(|line| line.split(' ').collect::<Vec<_>>());
            words.find_map(|words| if words[3] == name { words[2].parse().ok() } else { None })
        })
    }

    /// The address that `name`.local says it has, asked as all systems with mDNS ask.
    #[track_caller]
    pub fn lookup(&self, name: &str) -> Ipv4Addr {
        let words: Vec<u8> = [name, "local", ""]
            .iter()
            .flat_map(|label| [&[label.len() as u8][..], label.as_bytes()].concat())
            .collect();
        // One question, and nothing else.
        let query = [&[0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0], &words[..], &ASKS].concat();
        let answer = [&words[..], &ANSWERS].concat();
        self.space.at(|| {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, MDNS.1)).unwrap();
            socket.join_multicast_v4(&MDNS.0, &ROUTER).unwrap();
            // Nobody is asked more often than once a second: RFC 6762, section 5.2.
            socket.set_read_timeout(Some(Duration::from_secs(1))).unwrap();
            socket.set_multicast_loop_v4(false).unwrap();
            let mut packet = [0; 1500];
            wait("somebody goes by that name", DEADLINE, || {
                socket.send_to(&query, MDNS).unwrap();
                let (length, from) = socket.recv_from(&mut packet).ok()?;
                let at = packet[..length].windows(answer.len()).position(|window| window == answer)?;
                // Behind it: how long it holds, how long it is, and the address.
                let address = packet.get(at + answer.len() + 6..)?.first_chunk::<4>()?;
                assert_eq!(from.ip(), Ipv4Addr::from(*address), "somebody answers for somebody else");
                Some(Ipv4Addr::from(*address))
            })
        })
    }
}

/// Tells the time to somebody who asks for it, if somebody does.
fn tell_the_time(socket: &UdpSocket) {
    let mut packet = [0; NTP_BYTES];
    let Ok((NTP_BYTES, from)) = socket.recv_from(&mut packet) else { return };
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let fraction = (u64::from(since.subsec_nanos()) << 32) / 1_000_000_000;
    let now = ((since.as_secs() + NTP_TO_UNIX) << 32 | fraction).to_be_bytes();
    let mut answer = [0; NTP_BYTES];
    answer[0] = NTP_SERVER;
    // A clock of its own, which is right.
    answer[1] = 1;
    answer[NTP_ORIGIN..][..8].copy_from_slice(&packet[NTP_SENT..]);
    answer[NTP_RECEIVED..][..8].copy_from_slice(&now);
    answer[NTP_SENT..].copy_from_slice(&now);
    let _ = socket.send_to(&answer, from);
}

impl Drop for Lan {
    fn drop(&mut self) {
        let _ = self.dhcp.kill();
        let _ = self.dhcp.wait();
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.clock.take().map(JoinHandle::join);
    }
}
