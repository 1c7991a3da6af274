//! What this process takes of the machine, as the kernel counts it (proc(5)).
#![forbid(unsafe_code)]

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// Ticks a second of the times in /proc, the same on every architecture this runs on (USER_HZ).
const TICKS: f64 = 100.0;

/// Figures of this process. `None` where the kernel does not tell.
#[derive(Debug, Default)]
pub(in crate::web) struct Process {
    /// Bytes of memory in use.
    pub(in crate::web) resident: Option<u64>,
    /// Bytes of address space.
    pub(in crate::web) virtual_memory: Option<u64>,
    pub(in crate::web) threads: Option<u64>,
    pub(in crate::web) open_fds: Option<u64>,
    pub(in crate::web) max_fds: Option<u64>,
    /// Seconds of processor time, in the program and in the kernel on its behalf.
    pub(in crate::web) cpu_s: Option<f64>,
    /// Seconds of the Unix epoch; right as soon as the machine's clock is.
    pub(in crate::web) started_s: Option<f64>,
}

impl Process {
    pub(in crate::web) fn now() -> Self {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let (status, limits, stat) =
            (read("/proc/self/status"), read("/proc/self/limits"), read("/proc/self/stat"));
        let kilobytes = |key| word_after(&status, key).map(|kb: u64| kb * 1024);
        // Behind the program's name, which may hold anything; the first word there is the third of all.
        let stat: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |nth: usize| stat.get(nth - 3).and_then(|word| word.parse::<f64>().ok());
        Self {
            resident: kilobytes("VmRSS:"),
            virtual_memory: kilobytes("VmSize:"),
            threads: word_after(&status, "Threads:"),
            // The one that reads the folder is not counted.
            open_fds: fs::read_dir("/proc/self/fd").ok().map(|all| (all.count() as u64).saturating_sub(1)),
            max_fds: word_after(&limits, "Max open files"),
            cpu_s: ticks(14).zip(ticks(15)).map(|(program, kernel)| (program + kernel) / TICKS),
            started_s: booted().zip(ticks(22)).map(|(booted, ticks)| booted + ticks / TICKS),
        }
    }
}

/// When the machine was started, in whole seconds of the Unix epoch, so that it is the same whenever one asks. It is
/// btime of /proc/stat, which a service cannot read whose /proc shows processes only (`ProcSubset=pid` of
/// systemd.exec(5)).
fn booted() -> Option<f64> {
    let read = |clock| clock_gettime(clock).ok().map(|time| Duration::from(time).as_secs_f64());
    Some((read(ClockId::CLOCK_REALTIME)? - read(ClockId::CLOCK_BOOTTIME)?).floor())
}

/// The word behind `key` in the line that begins with it.
fn word_after<T: std::str::FromStr>(text: &str, key: &str) -> Option<T> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;

    #[test]
    fn the_kernel_tells_all_of_it() {
        let process = Process::now();
        assert!(process.resident > Some(100_000) && process.virtual_memory > process.resident, "{process:?}");
        assert!(process.threads >= Some(1) && process.open_fds >= Some(3), "{process:?}");
        assert!(process.max_fds > process.open_fds && process.cpu_s >= Some(0.0), "{process:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - process.started_s.unwrap();
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
    }
}
