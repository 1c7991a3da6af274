//! Inside the machine: a shell, the service under its supervisor, and the cameras with their remote controls.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::machine::Machine;
use crate::viewer::Viewer;
use support::{DEADLINE, http, until};

/// Ends a script, and begins the last line of its answer: `guest/remote`.
const END: &str = ".\n";
const EOT: u8 = 4;

/// The machine from inside.
pub struct Guest {
    pub machine: Machine,
}

impl Guest {
    /// Waits until the guest has come up.
    pub fn new(machine: Machine) -> Self {
        let this = Self { machine };
        // QEMU accepts connections before anybody in the guest does, and then hangs up.
        until("the guest has booted", || (this.answer("true", Duration::from_secs(2))?.0 == 0).then_some(()));
        this
    }

    /// Runs a shell script inside; its output.
    ///
    /// # Panics
    /// When its last command fails.
    #[track_caller]
    pub fn run(&self, script: &str) -> String {
        match self.answer(script, DEADLINE) {
            Some((0, output)) => output,
            Some((code, output)) => panic!("{script:?} ended with {code}: {output}"),
            None => panic!("no answer to {script:?}; console:\n{}", self.machine.console()),
        }
    }

    /// Runs a shell script inside; whether its last command succeeded.
    pub fn attempt(&self, script: &str) -> bool {
        self.answer(script, DEADLINE).is_some_and(|(code, _)| code == 0)
    }

    /// Runs a shell script inside; the exit status of its last command, and its output.
    #[track_caller]
    pub fn outcome(&self, script: &str) -> (i32, String) {
        self.answer(script, DEADLINE).unwrap_or_else(|| panic!("no answer to {script:?}"))
    }

    /// Runs a shell script inside; its exit status and output, or nothing if there was no answer.
    fn answer(&self, script: &str, patience: Duration) -> Option<(i32, String)> {
        let give_up = Instant::now() + patience;
        let mut stream = TcpStream::connect(self.machine.shell).ok()?;
        stream.write_all(format!("{script}\n{END}").as_bytes()).ok()?;
        let mut bytes = Vec::new();
        // What the script left running may hold the connection open, so its end is no sign.
        loop {
            let mut chunk = [0; 4096];
            let left = give_up.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            stream.set_read_timeout(Some(left)).unwrap();
            let n = stream.read(&mut chunk).ok().filter(|&n| n > 0)?;
            bytes.extend_from_slice(&chunk[..n]);
            if Instant::now() >= give_up {
                return None;
            }
            if let Some(end) = bytes.iter().rposition(|&b| b == EOT).filter(|_| bytes.ends_with(b"\n")) {
                let code = std::str::from_utf8(&bytes[end + 1..]).ok()?.trim().parse().ok()?;
                return Some((code, String::from_utf8_lossy(&bytes[..end]).into_owned()));
            }
        }
    }

    /// Everything as it was after booting, whatever a test has left: no service, no USB camera, vivid in its place.
    pub fn reset(&self) {
        self.run(
            "rm -f /run/porthole.toml
             killall sleep surveillance 2>/dev/null
             kill $(cat /run/*porthole.pid 2>/dev/null) 2>/dev/null
             while pidof porthole >/dev/null; do usleep 10000; done
             rm -f /run/*porthole.*
             echo none >/sys/class/leds/ACT/trigger
             uvc-camera tell /run/isochronous reset && uvc-camera tell /run/bulk reset || exit 1
             if [ -e /run/vivid-changed ]; then
                 rmmod vivid && insmod /modules/vivid.ko n_devs=1 node_types=0x1 && rm /run/vivid-changed || exit 1
             fi
             cd /sys/bus/platform/drivers/vivid; [ -e vivid.0 ] || echo vivid.0 >bind",
        );
        until("vivid has a node and no other camera has", || {
            let nodes = self.run("ls -d /dev/video* | wc -l");
            (nodes.trim() == "1" && self.vivid().is_some()).then_some(())
        });
    }

    /// Seconds of the guest's clock, which is also that of frames.
    pub fn uptime(&self) -> f64 {
        let uptime = self.run("cat /proc/uptime");
        uptime.split_whitespace().next().unwrap().parse().unwrap()
    }

    /// Starts the service afresh with these cameras: TOML beginning with `[[camera]]`.
    #[track_caller]
    pub fn serve(&self, cameras: &str) -> Service<'_> {
        self.serve_on("auto", cameras)
    }

    /// As [`serve`](Self::serve), on a board that this machine is not.
    #[track_caller]
    pub fn serve_on(&self, board: &str, rest: &str) -> Service<'_> {
        let before = self.run("cat /run/porthole.pid 2>/dev/null || true");
        self.configure("/run/porthole.new", board, 8080, rest);
        self.run(&format!(
            "mv /run/porthole.new /run/porthole.toml\n{}",
            if before.is_empty() { String::new() } else { format!("kill {before}") }
        ));
        let pid = self.until_served("porthole", &before);
        Service { guest: self, name: "porthole", pid, address: self.machine.service }
    }

    /// Starts a service that nobody starts again, and nobody cleans up after, as `user`. On a Raspberry Pi's board, and
    /// alone: the LEDs are its own.
    #[track_caller]
    pub fn by_hand(&self, user: &str, rest: &str) -> Service<'_> {
        self.configure("/run/lone-porthole.toml", "rpi-4b", 8081, rest);
        self.run(&format!(
            "rm -f /run/lone-porthole.exits; : >/run/lone-porthole.pid; chmod 666 /run/lone-porthole.pid
             ( su -s /bin/sh {user} -c \
             'echo $$ >/run/lone-porthole.pid; exec porthole --config /run/lone-porthole.toml'
             echo $? >/run/lone-porthole.exits ) >/run/lone-porthole.log 2>&1 &"
        ));
        let pid = self.until_served("lone-porthole", "");
        Service { guest: self, name: "lone-porthole", pid, address: self.machine.other }
    }

    fn configure(&self, file: &str, board: &str, port: u16, rest: &str) {
        self.run(&format!(
            "cat >{file} <<'END'\nboard = \"{board}\"\n[server]\nlisten = \"0.0.0.0:{port}\"\n\
             state_dir = \"/run\"\n[auth]\nmode = \"none\"\n{rest}\nEND"
        ));
    }

    /// Its process, once it serves and is not the one before.
    #[track_caller]
    fn until_served(&self, name: &str, before: &str) -> u32 {
        let look = format!("cat /run/{name}.pid && grep -q '^porthole: open' /run/{name}.log");
        let pid = until("the service serves", || {
            let (code, pid) = self.answer(&look, DEADLINE)?;
            (code == 0 && pid != before).then_some(pid)
        });
        pid.trim().parse().unwrap()
    }

    /// Loads vivid with these parameters instead. [`reset`](Self::reset) loads it as it was. Returns its node.
    #[track_caller]
    pub fn load_vivid(&self, parameters: &str) -> String {
        self.run(&format!(
            "touch /run/vivid-changed; rmmod vivid && insmod /modules/vivid.ko n_devs=1 node_types=0x1 {parameters}"
        ));
        until("vivid has a node", || self.vivid())
    }

    /// The node of the camera that vivid invents, which is there or not.
    pub fn vivid(&self) -> Option<String> {
        self.node("vivid", "")
    }

    /// The capture node of the camera called `name`, plugged into port `port` of the virtual host controller if it is
    /// a USB camera.
    fn node(&self, name: &str, port: &str) -> Option<String> {
        self.nodes(name, port, 0)
    }

    fn nodes(&self, name: &str, port: &str, index: u32) -> Option<String> {
        let list = "cd /sys/class/video4linux 2>/dev/null && for node in *; do [ -e $node/name ] && echo \
                    \"$node $(cat $node/index) $(cat $node/device/../devpath 2>/dev/null || echo -) \
                    $(cat $node/name)\"; done; true";
        let list = self.run(list);
        list.lines().find_map(|line| {
            let mut words = line.splitn(4, ' ');
            let (node, its_index, its_port, its_name) =
                (words.next()?, words.next()?, words.next()?, words.next()?);
            let matches = its_index == index.to_string() && its_name.contains(name);
            (matches && (port.is_empty() || its_port == port)).then(|| format!("/dev/{node}"))
        })
    }

    pub fn isochronous(&self) -> UsbCamera<'_> {
        UsbCamera { guest: self, name: "isochronous", port: "1" }
    }

    pub fn bulk(&self) -> UsbCamera<'_> {
        UsbCamera { guest: self, name: "bulk", port: "2" }
    }

    /// For whoever looks into a failure.
    pub fn account(&self) -> String {
        self.run("tail -n 30 /run/*.log /run/*porthole.toml /run/*porthole.exits; dmesg | tail -n 20; true")
    }

    /// Lines of the kernel's log that tell of a fault of its own.
    pub fn kernel_faults(&self) -> String {
        self.run("dmesg | grep -B 6 -A 12 -E 'BUG|WARNING|Oops|hung task|Call trace|vhci.*error' || true")
    }
}

/// The service inside, as it was started last.
pub struct Service<'a> {
    guest: &'a Guest,
    name: &'static str,
    pub pid: u32,
    pub address: SocketAddr,
}

impl Service<'_> {
    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.guest.run(&format!("cat /run/{}.log", self.name))
    }

    /// Waits for its end; the exit status.
    #[track_caller]
    pub fn ended(&self) -> i32 {
        let gone = format!("[ ! -e /proc/{} ] && tail -n 1 /run/{}.exits", self.pid, self.name);
        until("the service has ended", || {
            let (code, status) = self.guest.outcome(&gone);
            (code == 0).then(|| status.trim().parse().ok()).flatten()
        })
    }

    /// The first camera's part of `/state`.
    #[track_caller]
    pub fn camera(&self) -> Value {
        self.cameras()[0].clone()
    }

    #[track_caller]
    pub fn cameras(&self) -> Value {
        self.state()["cameras"].clone()
    }

    /// `/state`.
    #[track_caller]
    pub fn state(&self) -> Value {
        serde_json::from_slice(&http::get(self.address, "/state").body).unwrap()
    }

    /// Waits until the first camera is in `state`, and returns its part of `/state`.
    #[track_caller]
    pub fn until_camera_is(&self, state: &str) -> Value {
        let mut last = Value::Null;
        let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            until(&format!("the camera is {state}"), || {
                last = self.camera();
                (last["state"] == state).then_some(())
            });
        }));
        assert!(found.is_ok(), "it is {last}, log:\n{}", self.log());
        last
    }

    #[track_caller]
    pub fn viewer(&self) -> Viewer {
        Viewer::of(self, "/ws")
    }

    /// How many of its descriptors are video devices.
    pub fn video_descriptors(&self) -> usize {
        let links = format!("ls -l /proc/{}/fd 2>/dev/null | grep -c ' /dev/video' || true", self.pid);
        self.guest.run(&links).trim().parse().unwrap()
    }

    /// Waits until it has closed every device.
    #[track_caller]
    pub fn until_closed(&self) {
        until("every device is closed", || (self.video_descriptors() == 0).then_some(()));
    }

    /// What it takes of the system.
    pub fn footprint(&self) -> Footprint {
        Footprint::of(self.guest, &self.pid.to_string())
    }
}

/// What a process takes of the system.
#[derive(Clone, Copy, Debug)]
pub struct Footprint {
    pub descriptors: u64,
    pub threads: u64,
    /// Heap, stacks, rings. The kernel counts pages of a camera's buffers too, as soon as they are touched: how many that are
    /// depends on the sizes of the last pictures.
    pub own_kib: u64,
    /// Buffers of cameras that it has mapped.
    pub camera_mappings: u64,
}

impl Footprint {
    fn of(guest: &Guest, pid: &str) -> Self {
        let words = guest.run(&format!(
            "ls /proc/{pid}/fd | wc -l; awk '/^RssAnon:|^Threads:/ {{ print $2 }}' /proc/{pid}/status; \
             grep -c /dev/video /proc/{pid}/maps || true"
        ));
        let mut numbers = words.split_whitespace().map(|word| word.parse().unwrap());
        let mut next = || numbers.next().unwrap();
        // In the order of the kernel's file.
        let (descriptors, own_kib, threads, camera_mappings) = (next(), next(), next(), next());
        Self { descriptors, threads, own_kib, camera_mappings }
    }
}

/// A camera at the virtual host controller.
#[derive(Clone, Copy)]
pub struct UsbCamera<'a> {
    guest: &'a Guest,
    name: &'static str,
    /// Its port as the kernel counts, from 1.
    port: &'static str,
}

impl UsbCamera<'_> {
    /// Says something to its remote control; see `tests/support/uvc-camera/remote.rs`.
    #[track_caller]
    pub fn tell(&self, command: &str) -> String {
        self.guest.run(&format!("uvc-camera tell /run/{} {command}", self.name))
    }

    /// Plugs it in, and waits until the driver has made a node of it. Returns that.
    #[track_caller]
    pub fn plug(&self) -> String {
        self.tell("plug");
        self.node()
    }

    /// Its capture node, waited for.
    #[track_caller]
    pub fn node(&self) -> String {
        until("there is a node", || self.guest.node("Test Camera", self.port))
    }

    /// Its metadata node.
    #[track_caller]
    pub fn metadata_node(&self) -> String {
        until("there is a metadata node", || self.guest.nodes("Test Camera", self.port, 1))
    }

    /// Pulls it out, and waits until its node is gone.
    #[track_caller]
    pub fn unplug(&self) {
        self.tell("unplug");
        until("the node is gone", || self.guest.node("Test Camera", self.port).is_none().then_some(()));
    }

    /// What it says of itself.
    #[track_caller]
    pub fn status(&self) -> Status {
        let status = self.tell("status");
        let pairs = status.lines().filter_map(|line| line.split_once(' '));
        Status(pairs.map(|(key, value)| (key.to_owned(), value.parse().unwrap())).collect())
    }

    /// When it was plugged in, by the clock that frames go by.
    #[track_caller]
    pub fn plugged_at_us(&self) -> u64 {
        self.status().get("plugged_at_ns") as u64 / 1000
    }

    pub fn footprint(&self) -> Footprint {
        let pid = self.guest.run(&format!("cat /run/{}.pid", self.name));
        Footprint::of(self.guest, pid.trim())
    }
}

/// A camera's own account.
#[derive(Clone, Debug)]
pub struct Status(HashMap<String, i64>);

impl Status {
    #[track_caller]
    pub fn get(&self, key: &str) -> i64 {
        *self.0.get(key).unwrap_or_else(|| panic!("no {key} in {:?}", self.0))
    }
}
