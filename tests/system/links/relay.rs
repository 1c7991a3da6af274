//! A cable that takes time and loses some of what it carries, as the kernel's netem does where a kernel has it: packets go from one TUN
//! device to another through a thread.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::network::come_first;

/// Of so many packets one is lost, where some are.
const LOST_ONE_OF: u64 = 100;
/// The largest packet, as the devices' MTU.
const MTU: usize = 1500;
/// Time between two looks whether it is over.
const LOOK: Duration = Duration::from_millis(50);

/// Passes packets on for as long as it lives.
pub struct Relay {
    over: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Relay {
    /// From the first end to the second they take this time, and some get lost; the other way they go at once.
    pub fn start(ends: [File; 2], delay: Duration, loss: bool) -> Self {
        let over = Arc::<AtomicBool>::default();
        let [near, far] = ends;
        let start = |from: &File, to: &File, delay, loss| {
            let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
            let over = Arc::clone(&over);
            std::thread::spawn(move || pass(from, to, delay, loss, &over))
        };
        let threads = vec![start(&near, &far, delay, loss), start(&far, &near, Duration::ZERO, false)];
        Self { over, threads }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

fn pass(mut from: File, mut to: File, delay: Duration, loss: bool, over: &AtomicBool) {
    come_first();
    let mut travelling: VecDeque<(Instant, Vec<u8>)> = VecDeque::new();
    // Numbers that look random and are the same each time.
    let mut random = 1u64;
    let mut is_lost = || {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        loss && (random >> 33).is_multiple_of(LOST_ONE_OF)
    };
    while !over.load(Relaxed) {
        let due = travelling.front().map_or(LOOK, |(due, _)| due.saturating_duration_since(Instant::now()));
        wait(&from, due.min(LOOK));
        let mut packet = [0; MTU];
        loop {
            match from.read(&mut packet) {
                Ok(bytes) if !is_lost() => {
                    travelling.push_back((Instant::now() + delay, packet[..bytes].to_vec()));
                }
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => panic!("a cable: {error}"),
            }
        }
        while travelling.front().is_some_and(|(due, _)| *due <= Instant::now()) {
            // What its far end cannot take is lost too.
            let _ = travelling.pop_front().map(|(_, packet)| to.write(&packet));
        }
    }
}

/// Waits until there is a packet, for so long at most.
fn wait(file: &File, time: Duration) {
    let mut watched = libc::pollfd { fd: file.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let time = libc::timespec { tv_sec: 0, tv_nsec: time.subsec_nanos().into() };
    // SAFETY: one entry, which outlives the call, and no set of signals.
    unsafe { libc::ppoll(&raw mut watched, 1, &raw const time, std::ptr::null()) };
}
