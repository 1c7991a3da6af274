//! A Raspberry Pi, emulated: what its firmware would do, its power switch, its serial console, and its pins.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::board::{Board, RASPBERRY_PI_3B};
use crate::card::{Card, bytes};
use crate::lan::Lan;

/// Emulated in any case: a test must not depend on what this host can do. In one thread, a boot takes half the work of the
/// host that it takes in four (12.7 s instead of 25 s of a processor), and is as fast.
const EMULATED: [&str; 4] = ["-accel", "tcg,thread=single", "-no-reboot", "-nodefaults"];
/// Programs and libraries at the same addresses in all processes: QEMU before 8 translates them anew for each address, which
/// is half of what it has to translate while Debian 13 starts.
const ADDRESSES: &str = "norandmaps";
/// What QEMU's monitor says when it is done.
const PROMPT: &[u8] = b"(qemu) ";
/// Begin and end of an answer: `guest/remote`.
const STX: u8 = 2;
const EOT: u8 = 4;
/// Generous: an emulated processor is slow, and this machine may be slow and busy.
pub const DEADLINE: Duration = Duration::from_secs(600);

/// What a board is switched on with, beside its card.
pub struct With<'a> {
    /// What is brought along into the system.
    pub overlay: Option<&'a Path>,
    pub board: &'static Board,
    /// The QEMU that emulates it.
    pub qemu: &'a str,
    /// Instead of the board's own device tree: that of another board tells of what is wired to the same pins there.
    pub tree: Option<&'a str>,
    /// More for the kernel's command line.
    pub kernel: &'a str,
    /// What its Ethernet is plugged into.
    pub lan: Option<&'a Lan>,
}

impl Default for With<'_> {
    fn default() -> Self {
        let qemu = "qemu-system-aarch64";
        Self { overlay: None, board: &RASPBERRY_PI_3B, qemu, tree: None, kernel: "", lan: None }
    }
}

/// A board that is switched on. Switched off when dropped.
pub struct Pi {
    qemu: Child,
    monitor: UnixStream,
    console: UnixStream,
    /// What the console has said and nobody has taken yet.
    heard: Vec<u8>,
    log: PathBuf,
    since: Instant,
    board: &'static Board,
}

impl Pi {
    /// Switches it on with this card in it.
    pub fn on(card: &Card, with: &With) -> Self {
        let board = with.board;
        let [kernel, initrd, tree, cmdline] =
            ["vmlinuz", "initrd", with.tree.unwrap_or(board.tree), "cmdline.txt"].map(|name| card.take(name));
        change(&tree, board.changes);
        if let Some(overlay) = with.overlay {
            append(&initrd, overlay);
        }
        let folder = card.folder();
        let (monitor, console, log) = (folder.path("monitor"), folder.path("console"), folder.path("log"));
        let mut command = with.lan.map_or_else(|| Command::new(with.qemu), |lan| lan.command(with.qemu));
        command.args(["-machine", board.machine]).args(EMULATED).args(["-display", "none"]);
        if with.lan.is_some() {
            command.args(Lan::ADAPTER);
        }
        for (option, file) in [("-kernel", kernel), ("-initrd", initrd), ("-dtb", tree)] {
            command.arg(option).arg(file);
        }
        command
            .args([
                "-append",
                &format!(
                    "{} {ADDRESSES} {} {}",
                    fs::read_to_string(cmdline).unwrap().trim(),
                    board.kernel,
                    with.kernel
                ),
            ])
            .args(["-drive", &format!("file={},if=sd,format=raw", card.path.display())])
            .args(["-monitor", &format!("unix:{},server=on,wait=off", monitor.display())])
            .args([
                "-chardev",
                &format!(
                    "socket,id=console,path={},server=on,wait=off,logfile={}",
                    console.display(),
                    log.display()
                ),
            ])
            .stdin(Stdio::null());
        for port in 0..2 {
            command.args(["-serial", if port == board.console { "chardev:console" } else { "null" }]);
        }
        // SAFETY: one system call between fork and exec. It ties the machine's life to this thread, the main one.
        unsafe { command.pre_exec(drop_with_parent) };
        let since = Instant::now();
        let mut qemu = command.spawn().expect("qemu-system-aarch64");
        let mut connect = |path: &Path| {
            wait("QEMU listens", DEADLINE, || {
                assert_eq!(qemu.try_wait().unwrap(), None, "QEMU ended at once");
                UnixStream::connect(path).ok()
            })
        };
        let (monitor, console) = (connect(&monitor), connect(&console));
        let mut this = Self { qemu, monitor, console, heard: Vec::new(), log, since, board };
        this.answer_of_monitor();
        this
    }

    /// Switches it on and waits until the system in it can be talked to.
    pub fn boot(card: &Card, with: &With) -> Self {
        let mut this = Self::on(card, with);
        assert_eq!(this.answer(), (0, "ready".to_owned()));
        this
    }

    /// Cuts the power. What was written is what is on the card.
    pub fn cut(self) {}

    /// Waits until it switches itself off, as it would to start anew.
    #[track_caller]
    pub fn ended(&mut self) -> ExitStatus {
        // Nobody else empties what QEMU has to say.
        wait("it ends", DEADLINE, || {
            self.hear(Duration::from_millis(20));
            self.qemu.try_wait().unwrap()
        })
    }

    /// Restarts it in an orderly way; it is off then.
    #[track_caller]
    pub fn restart(mut self) {
        self.send("sync; systemctl reboot; sleep 600");
        self.ended();
    }

    /// Runs a script in it: the exit status of its last command, and its output.
    #[track_caller]
    pub fn outcome(&mut self, script: &str) -> (i32, String) {
        self.send(script);
        self.answer()
    }

    /// Runs a script in it; its output.
    ///
    /// # Panics
    /// When its last command fails.
    #[track_caller]
    pub fn run(&mut self, script: &str) -> String {
        let (code, output) = self.outcome(script);
        assert_eq!(code, 0, "{script:?}: {output}\n{}", self.log());
        output
    }

    /// Runs a script in it again and again until it succeeds; its output then.
    #[track_caller]
    pub fn until(&mut self, what: &str, script: &str) -> String {
        let give_up = Instant::now() + DEADLINE;
        loop {
            let (code, output) = self.outcome(script);
            if code == 0 {
                return output;
            }
            assert!(
                Instant::now() < give_up,
                "not within {DEADLINE:?}: {what}: {output}\n{}",
                self.journal()
            );
            sleep(Duration::from_millis(200));
        }
    }

    /// Starts a script that says something, line by line.
    pub fn send(&mut self, script: &str) {
        self.console.write_all(format!("{script}\n.\n").as_bytes()).unwrap();
    }

    /// Reads on until `end` is seen, and takes all up to there.
    #[track_caller]
    fn read_until(&mut self, what: &str, end: u8) -> Vec<u8> {
        let give_up = Instant::now() + DEADLINE;
        loop {
            if let Some(at) = self.heard.iter().position(|&byte| byte == end) {
                return self.heard.drain(..=at).collect();
            }
            assert_eq!(self.qemu.try_wait().unwrap(), None, "it has ended: {what}\n{}", self.log());
            assert!(Instant::now() < give_up, "not within {DEADLINE:?}: {what}\n{}", self.log());
            self.hear(Duration::from_secs(1));
        }
    }

    /// Takes what the console has to say by then.
    fn hear(&mut self, patience: Duration) {
        self.console.set_read_timeout(Some(patience)).unwrap();
        let mut chunk = [0; 4096];
        if let Ok(n) = self.console.read(&mut chunk) {
            self.heard.extend_from_slice(&chunk[..n]);
            if n == 0 {
                sleep(patience);
            }
        }
    }

    #[track_caller]
    fn answer(&mut self) -> (i32, String) {
        self.read_until("an answer begins", STX);
        let output = self.read_until("an answer ends", EOT);
        let code = self.read_until("an exit status", b'\n');
        let code = String::from_utf8_lossy(&code).trim().parse().expect("an exit status");
        (code, String::from_utf8_lossy(&output[..output.len() - 1]).into_owned())
    }

    /// The lines that a running script has said by now, and those of the next while.
    pub fn lines_for(&mut self, time: Duration) -> Vec<String> {
        let end = Instant::now() + time;
        while let Some(left) = end.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            self.hear(left);
        }
        let whole = self.heard.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let text: Vec<u8> = self.heard.drain(..whole).collect();
        String::from_utf8_lossy(&text)
            .lines()
            .map(|line| line.trim_start_matches('\u{2}').trim().to_owned())
            .collect()
    }

    /// Waits for the next line of a running script.
    #[track_caller]
    pub fn line(&mut self) -> String {
        let line = self.read_until("a line", b'\n');
        String::from_utf8_lossy(&line).trim_start_matches('\u{2}').trim().to_owned()
    }

    /// What the console has said since it was switched on.
    pub fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(&self.log).unwrap_or_default()).into_owned()
    }

    /// For whoever looks into a failure.
    pub fn journal(&mut self) -> String {
        self.outcome("journalctl -b --no-pager | tail -n 60; ls -l /run/porthole-appliance /boot").1
    }

    /// How long it has been on.
    pub fn age(&self) -> Duration {
        self.since.elapsed()
    }

    /// Whether a GPIO line is high, as somebody with a voltmeter would see it.
    #[track_caller]
    pub fn is_high(&mut self, line: u32) -> bool {
        let register = self.board.levels + line / 32 * 4;
        writeln!(self.monitor, "xp /1wx {register:#x}").unwrap();
        let answer = self.answer_of_monitor();
        let levels = answer.lines().find_map(|line| line.split_once(": 0x"));
        let levels = levels.and_then(|(_, hex)| u32::from_str_radix(hex.trim(), 16).ok());
        levels.unwrap_or_else(|| panic!("no levels in {answer:?}")) >> (line % 32) & 1 != 0
    }

    #[track_caller]
    fn answer_of_monitor(&mut self) -> String {
        self.monitor.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut bytes = Vec::new();
        while !bytes.ends_with(PROMPT) {
            let mut chunk = [0; 4096];
            let n = self.monitor.read(&mut chunk).expect("an answer of QEMU's monitor");
            assert!(n > 0, "QEMU has ended:\n{}", self.log());
            bytes.extend_from_slice(&chunk[..n]);
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Pi {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// Changes a device tree.
fn change(tree: &Path, changes: &[&[&str]]) {
    for change in changes {
        let words = change.iter().map(|word| if *word == "TREE" { tree.as_os_str() } else { word.as_ref() });
        let status = Command::new("fdtput").args(words).status().expect("fdtput");
        assert!(status.success(), "fdtput {change:?}");
    }
}

/// Puts another archive behind the initramfs. An archive that is not compressed begins at a multiple of four.
fn append(initrd: &Path, archive: &Path) {
    let mut file = OpenOptions::new().append(true).open(initrd).unwrap();
    let length = file.metadata().unwrap().len();
    file.write_all(&vec![0; (length.next_multiple_of(4) - length) as usize]).unwrap();
    file.write_all(&bytes(archive)).unwrap();
}

/// Looks until `condition` gives something.
#[track_caller]
pub fn wait<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + patience;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < give_up, "not within {patience:?}: {what}");
        sleep(Duration::from_millis(20));
    }
}

fn drop_with_parent() -> std::io::Result<()> {
    // SAFETY: takes a number, touches no memory.
    match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()),
    }
}
