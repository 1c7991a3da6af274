//! When this machine stood still. A virtual one does, for tens of milliseconds, while its host is busy with others;
//! whatever is measured meanwhile is late by as much, whoever made it.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

use super::{StopWhenDropped, now};

/// Time between two looks at the clock.
const LOOK: Duration = Duration::from_millis(2);
/// A look that is no later than this is in time, in microseconds.
const LATE_US: u64 = 3_000;

/// From when to when a processor did nothing, in microseconds of [`now`]'s clock.
pub struct Stalls(Vec<(u64, u64)>);

impl Stalls {
    /// Watches all processors, with this thread's priority, while `work` is done.
    pub fn during<T>(work: impl FnOnce() -> T) -> (T, Self) {
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let (over, processors) = (&over, std::thread::available_parallelism().map_or(1, usize::from));
            let watches: Vec<_> = (0..processors).map(|cpu| scope.spawn(move || watch(cpu, over))).collect();
            let done = {
                let _over = StopWhenDropped(over);
                work()
            };
            (done, Self(watches.into_iter().flat_map(|watch| watch.join().unwrap()).collect()))
        })
    }

    /// How long processors stood still between these two moments, one after the other: where a packet waits for one, the
    /// program that it is for may have waited for another.
    pub fn within(&self, from: u64, to: u64) -> u64 {
        self.0.iter().map(|(begin, end)| to.min(*end).saturating_sub(from.max(*begin))).sum()
    }
}

fn watch(cpu: usize, over: &AtomicBool) -> Vec<(u64, u64)> {
    // SAFETY: a set of bits, all of them clear, which the calls below fill in and read.
    let mut only: libc::cpu_set_t = unsafe { std::mem::zeroed() };
    // SAFETY: takes a number, and a set that outlives the call.
    unsafe { libc::CPU_SET(cpu, &mut only) };
    // SAFETY: the same; 0 stands for this thread. Where this processor is not ours, any other does.
    unsafe { libc::sched_setaffinity(0, size_of_val(&only), &raw const only) };
    let (mut stalls, mut last) = (Vec::new(), now());
    while !over.load(Relaxed) {
        std::thread::sleep(LOOK);
        let (due, at) = (last + LOOK.as_micros() as u64, now());
        if at > due + LATE_US {
            stalls.push((due, at));
        }
        last = at;
    }
    stalls
}
