//! The resources that this process uses, as the kernel counts them.
#![forbid(unsafe_code)]

use std::fs;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

/// Ticks a second of the times in /proc (USER_HZ). The same on every architecture that this runs on.
const TICKS: f64 = 100.0;

/// Time for the kernel to give the figures of the process, and for the requests before. Without them the answer has all the rest.
/// Shorter than any scraper waits.
const PROCESS_TIMEOUT: Duration = Duration::from_secs(2);
/// One request at a time reads them, so that a kernel that does not give them holds one thread.
static PROCESS_TURN: Mutex<()> = Mutex::const_new(());

/// For each resource its name, help, and value; `None` where it cannot be read.
pub(super) type ProcessFigures = [(&'static str, &'static str, Option<f64>); 7];

/// The figures of the process; `None` if the kernel does not give them in time. It takes locks of the process for these files,
/// and may be slow to.
pub(super) async fn process_figures_in_time() -> Option<ProcessFigures> {
    let read = async {
        let turn = PROCESS_TURN.lock().await;
        let reading = spawn_blocking(move || {
            let _turn = turn;
            process_figures()
        });
        reading.await.ok()
    };
    timeout(PROCESS_TIMEOUT, read).await.ok().flatten()
}

/// The figures as the kernel counts them (proc(5)), under the names that all exporters use. Blocks.
fn process_figures() -> ProcessFigures {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let (status, limits, stat) =
        (read("/proc/self/status"), read("/proc/self/limits"), read("/proc/self/stat"));
    let bytes = |key| number_after(&status, key).map(|kib| kib * 1024.0);
    // The program's name, in parentheses, may hold anything. The word behind it is the third field.
    let stat: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let seconds = |nth: usize| stat.get(nth - 3)?.parse::<f64>().ok().map(|ticks| ticks / TICKS);
    let cpu_s = seconds(14).zip(seconds(15)).map(|(program, kernel)| program + kernel);
    // Without the descriptor that reads the directory.
    let open_fds = fs::read_dir("/proc/self/fd").ok().map(|all| all.count().saturating_sub(1) as f64);
    let started_s = boot_time().zip(seconds(22)).map(|(booted, since)| booted + since);
    [
        ("process_cpu_seconds_total", "Processor time taken.", cpu_s),
        ("process_resident_memory_bytes", "Memory in use.", bytes("VmRSS:")),
        ("process_virtual_memory_bytes", "Address space.", bytes("VmSize:")),
        ("process_threads", "Threads.", number_after(&status, "Threads:")),
        ("process_open_fds", "Open descriptors.", open_fds),
        ("process_max_fds", "Most descriptors there may be.", number_after(&limits, "Max open files")),
        ("process_start_time_seconds", "Start, in the Unix epoch.", started_s),
    ]
}

/// The boot time in seconds since the Unix epoch, rounded down so that it is always the same. /proc/stat has it as btime,
/// but a service with `ProcSubset=pid` (systemd.exec(5)) cannot read that.
fn boot_time() -> Option<f64> {
    let read = |clock| clock_gettime(clock).ok().map(|time| Duration::from(time).as_secs_f64());
    Some((read(ClockId::CLOCK_REALTIME)? - read(ClockId::CLOCK_BOOTTIME)?).floor())
}

/// The number after `key` in the line that begins with it.
fn number_after(text: &str, key: &str) -> Option<f64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(key))?;
    rest.split_whitespace().next()?.parse::<u64>().ok().map(|number| number as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::{SystemTime, UNIX_EPOCH};

    #[test]
    fn all_figures_can_be_read() {
        let figures = process_figures();
        let [cpu_s, resident, virtual_memory, threads, open_fds, max_fds, started_s] =
            figures.map(|(name, _, value)| value.unwrap_or_else(|| panic!("{name} cannot be read")));
        assert!(resident > 100_000.0 && virtual_memory > resident, "{figures:?}");
        assert!(threads >= 1.0 && open_fds >= 3.0, "{figures:?}");
        assert!(max_fds > open_fds && cpu_s >= 0.0, "{figures:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64();
        let age = now - started_s;
        assert!((-2.0..3600.0).contains(&age), "started {age} s ago");
    }
}
