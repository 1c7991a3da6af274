//! The resources that this process uses, as the kernel counts them (proc(5)).
#![forbid(unsafe_code)]

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Ticks a second of the times in /proc (USER_HZ). The same on every architecture that this runs on.
const TICKS: f64 = 100.0;

/// Resources of this process. `None` where they cannot be read.
#[derive(Debug, Default)]
pub(super) struct ProcessStats {
    /// Bytes of resident memory.
    pub(super) resident: Option<u64>,
    /// Bytes of address space.
    pub(super) virtual_memory: Option<u64>,
    pub(super) threads: Option<u64>,
    pub(super) open_fds: Option<u64>,
    pub(super) max_fds: Option<u64>,
    /// Seconds of processor time, in user mode and in the kernel.
    pub(super) cpu_s: Option<f64>,
    /// Start time in seconds since the Unix epoch. As right as the machine's clock.
    pub(super) started_s: Option<f64>,
}

impl ProcessStats {
    pub(super) fn now() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (status, limits, stat) =
            (read("/proc/self/status"), read("/proc/self/limits"), read("/proc/self/stat"));
        let kilobytes = |key| word_after(&status, key).map(|kb: u64| kb * 1024);
        // The program's name, in parentheses, may hold anything. The word behind it is the third field.
        let stat: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |nth: usize| stat.get(nth - 3).and_then(|word| word.parse::<f64>().ok());
        Self {
            resident: kilobytes("VmRSS:"),
            virtual_memory: kilobytes("VmSize:"),
            threads: word_after(&status, "Threads:"),
            // Without the descriptor that reads the directory.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|all| (all.count() as u64).saturating_sub(1)),
            max_fds: word_after(&limits, "Max open files"),
            cpu_s: ticks(14).zip(ticks(15)).map(|(program, kernel)| (program + kernel) / TICKS),
            started_s: boot_time().zip(ticks(22)).map(|(booted, ticks)| booted + ticks / TICKS),
        }
    }
}

/// The boot time in seconds since the Unix epoch, rounded down so that it is always the same. /proc/stat has it as btime,
/// but a service with `ProcSubset=pid` (systemd.exec(5)) cannot read that.
fn boot_time() -> Option<f64> {
    let read = |clock| clock_gettime(clock).ok().map(|time| Duration::from(time).as_secs_f64());
    Some((read(ClockId::CLOCK_REALTIME)? - read(ClockId::CLOCK_BOOTTIME)?).floor())
}

/// The word after `key` in the line that begins with it.
fn word_after<T: std::str::FromStr>(text: &str, key: &str) -> Option<T> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn all_fields_can_be_read() {
        let process = ProcessStats::now();
        assert!(process.resident > Some(100_000) && process.virtual_memory > process.resident, "{process:?}");
        assert!(process.threads >= Some(1) && process.open_fds >= Some(3), "{process:?}");
        assert!(process.max_fds > process.open_fds && process.cpu_s >= Some(0.0), "{process:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - process.started_s.unwrap();
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
    }
}
