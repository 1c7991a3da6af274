//! The process title: the command line as other users of this machine see it in `/proc/PID/cmdline` and in `ps`.
#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

use porthole::camera::secret_ranges;

/// Places of `arg_start` and `arg_end` in `/proc/self/stat`, counted after the name of the program, which may hold spaces:
/// fields 48 and 49 of proc_pid_stat(5), which counts from 1 and has two fields up to that name.
const ARGUMENTS: [usize; 2] = [48 - 3, 49 - 3];

/// Overwrites the passwords of URLs in the command line. Nothing may read the arguments after this.
///
/// The kernel shows the memory that it put the arguments into when it started the program. A process may write to its own
/// memory through `/proc/self/mem`.
pub(crate) fn hide_passwords() -> io::Result<()> {
    let shown = fs::read("/proc/self/cmdline")?;
    // One by one: a URL ends with its argument.
    let secrets: Vec<_> = arguments(&shown)
        .flat_map(|(start, argument)| {
            secret_ranges(argument).into_iter().map(move |range| start + range.start..start + range.end)
        })
        .collect();
    if secrets.is_empty() {
        return Ok(());
    }
    let stat = fs::read_to_string("/proc/self/stat")?;
    let (_, fields) = stat.rsplit_once(')').unwrap_or_default();
    let fields: Vec<u64> = fields.split_whitespace().map(|field| field.parse().unwrap_or(0)).collect();
    let [start, end] = ARGUMENTS.map(|index| fields.get(index).copied().unwrap_or(0));
    if start == 0 || end.saturating_sub(start) < shown.len() as u64 {
        return Err(io::Error::other("the kernel does not say where the arguments are"));
    }
    let memory = OpenOptions::new().write(true).open("/proc/self/mem")?;
    secrets
        .into_iter()
        .try_for_each(|secret| memory.write_all_at(&vec![b'*'; secret.len()], start + secret.start as u64))
}

/// The arguments and where they begin.
fn arguments(shown: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let mut start = 0;
    shown.split(|byte| *byte == 0).map(move |argument| {
        let begins = start;
        start += argument.len() + 1;
        (begins, argument)
    })
}
