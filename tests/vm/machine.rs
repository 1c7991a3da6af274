//! The virtual machine: QEMU's `virt` board, its device tree, its ports on this host, and what can be seen of its
//! hardware from outside. What runs inside is in [`crate::guest`].

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};

use support::{DEADLINE, Scratch, until};

/// The board. Emulated in any case: a test must not depend on what this host can do.
const BOARD: [&str; 8] = ["-accel", "tcg,thread=multi", "-cpu", "cortex-a72", "-smp", "2", "-m", "512"];
const MACHINE: &str = "virt,gic-version=3";
/// The GPIO controller of the board: an ARM PL061 with eight lines.
const GPIO_NODE: &str = "/pl061@9030000";
/// Its data register, read through the address that selects all lines: PL061 manual, 3.2.1.
const GPIO_LEVELS: &str = "xp /1wx 0x090303fc";
/// What the lines are called, by their number: as on a Raspberry Pi, so that what works here does there. QEMU's power
/// button is on line 3.
pub const LINES: [&str; 8] = ["GPIO17", "GPIO27", "GPIO22", "power", "GPIO23", "GPIO24", "GPIO25", "GPIO5"];
/// An LED that is the kernel's own, as boards have them, by the name that /sys/class/leds has for it; and its line.
const ONBOARD: (&str, &str) = ("ACT", "6");
/// Ports inside: the service's, that of a second one, and the remote shell's.
const SERVICE: u16 = 8080;
const OTHER: u16 = 8081;
const SHELL: u16 = 7;
/// What QEMU's monitor says when it is done.
const PROMPT: &[u8] = b"(qemu) ";

/// A running machine. Gone when dropped, and whenever this process ends in any other way.
pub struct Machine {
    qemu: Child,
    monitor: Mutex<UnixStream>,
    console: PathBuf,
    /// Where the guest's service answers on this host.
    pub service: SocketAddr,
    /// Where another service answers, if a test has started one.
    pub other: SocketAddr,
    /// Where the guest's shell answers on this host.
    pub shell: SocketAddr,
    _scratch: Scratch,
}

impl Machine {
    /// Boots the kernel and initramfs in `folder`. Returns before they have come far.
    pub fn boot(folder: &Path) -> Self {
        let scratch = Scratch::new();
        let tree = device_tree(&scratch);
        let (socket, console) = (scratch.path("monitor"), scratch.path("console"));
        let mut command = Command::new("qemu-system-aarch64");
        command
            .args(["-machine", MACHINE])
            .args(BOARD)
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-kernel")
            .arg(folder.join("kernel"))
            .arg("-initrd")
            .arg(folder.join("initramfs"))
            .arg("-dtb")
            .arg(tree)
            .args(["-append", "console=ttyAMA0 quiet loglevel=4 panic=-1 rdinit=/init"])
            .args(["-device", "virtio-net-pci,netdev=net,romfile="])
            // Port 0: the kernel of this host picks free ones, and the monitor tells which.
            .arg("-netdev")
            .arg([SERVICE, OTHER, SHELL].iter().fold("user,id=net,restrict=on".to_owned(), |all, port| {
                format!("{all},hostfwd=tcp:127.0.0.1:0-:{port}")
            }))
            .arg("-serial")
            .arg(format!("file:{}", console.display()))
            .arg("-monitor")
            .arg(format!("unix:{},server,nowait", socket.display()))
            .stdin(Stdio::null());
        // SAFETY: one system call between fork and exec. It ties the machine's life to this thread, the main one.
        unsafe { command.pre_exec(drop_with_parent) };
        let mut qemu = command.spawn().expect("qemu-system-aarch64");
        let connected = until("the monitor answers, or QEMU ends", || match qemu.try_wait().unwrap() {
            Some(status) => Some(Err(status)),
            None => UnixStream::connect(&socket).ok().map(Ok),
        });
        let monitor = connected.unwrap_or_else(|status| panic!("QEMU ended at once: {status}"));
        monitor.set_read_timeout(Some(DEADLINE)).unwrap();
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let [service, other, shell] = [unknown; 3];
        let monitor = Mutex::new(monitor);
        let mut this = Self { qemu, monitor, console, service, other, shell, _scratch: scratch };
        this.answer();
        let network = this.ask("info usernet");
        (this.service, this.other) = (forwarded(&network, SERVICE), forwarded(&network, OTHER));
        this.shell = forwarded(&network, SHELL);
        this
    }

    /// Asks QEMU's monitor.
    pub fn ask(&self, question: &str) -> String {
        writeln!(self.stream(), "{question}").unwrap();
        self.answer()
    }

    fn answer(&self) -> String {
        let mut bytes = Vec::new();
        while !bytes.ends_with(PROMPT) {
            let mut chunk = [0; 4096];
            let n = self.stream().read(&mut chunk).expect("an answer of QEMU's monitor");
            assert!(n > 0, "QEMU has ended:\n{}", self.console());
            bytes.extend_from_slice(&chunk[..n]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    fn stream(&self) -> impl std::ops::DerefMut<Target = UnixStream> {
        self.monitor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the kernel has had to say so far.
    pub fn console(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.console).unwrap_or_default()).into_owned()
    }

    /// Whether a GPIO line is high, by its name, as somebody with a voltmeter would see it.
    #[track_caller]
    pub fn is_high(&self, line: &str) -> bool {
        let number = LINES.iter().position(|name| *name == line).expect("a line of LINES");
        let answer = self.ask(GPIO_LEVELS);
        // "00000000090303fc: 0x00000020"
        let levels = answer.lines().find_map(|line| line.split_once(": 0x"));
        let levels = levels.and_then(|(_, hex)| u32::from_str_radix(hex.trim(), 16).ok());
        levels.unwrap_or_else(|| panic!("no levels in {answer:?}")) >> number & 1 != 0
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

fn drop_with_parent() -> std::io::Result<()> {
    // SAFETY: takes a number, touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}

/// The board's own device tree, asked of this very QEMU, with names for the GPIO lines and an LED on one of them.
fn device_tree(scratch: &Scratch) -> PathBuf {
    let path = scratch.path("tree.dtb");
    let dump = format!("{MACHINE},dumpdtb={}", path.display());
    succeed(Command::new("qemu-system-aarch64").args(["-machine", &dump]).args(BOARD).arg("-nodefaults"));
    let put = |kind: &str, node: &str, property: &str, values: &[&str]| {
        let mut command = Command::new("fdtput");
        succeed(command.args(["-p", "-t", kind]).arg(&path).args([node, property]).args(values));
    };
    put("s", GPIO_NODE, "gpio-line-names", &LINES);
    let chip = succeed(Command::new("fdtget").args(["-t", "x"]).arg(&path).args([GPIO_NODE, "phandle"]));
    let (name, line) = ONBOARD;
    put("s", "/leds", "compatible", &["gpio-leds"]);
    put("s", "/leds/led-0", "label", &[name]);
    put("x", "/leds/led-0", "gpios", &[chip.trim(), line, "0"]);
    path
}

#[track_caller]
fn succeed(command: &mut Command) -> String {
    let (code, out, error) = support::finish(command.stdin(Stdio::null()));
    assert_eq!(code, 0, "{command:?}: {out}{error}");
    out
}

/// The address on this host that leads to `port` of the guest. A line of the list is
/// "TCP[HOST_FORWARD]  12  127.0.0.1 40001  10.0.2.15 8080  0 0".
fn forwarded(network: &str, port: u16) -> SocketAddr {
    let inside = port.to_string();
    let found = network.lines().find_map(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["TCP[HOST_FORWARD]", _, host, outside, _, to, ..] if to == inside => {
                format!("{host}:{outside}").parse().ok()
            }
            _ => None,
        }
    });
    found.unwrap_or_else(|| panic!("port {port} is not forwarded:\n{network}"))
}
