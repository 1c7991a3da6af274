//! Viewers that cost as little as they can: what comes is counted and forgotten.

use std::io::Read;
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Reads and forgets, on a thread of its own, for as long as it lives.
pub struct Readers {
    counts: Arc<Vec<AtomicU64>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Readers {
    /// Starts to read.
    pub fn start(streams: Vec<TcpStream>) -> Self {
        let counts: Arc<Vec<_>> = Arc::new(streams.iter().map(|_| Default::default()).collect());
        let over = Arc::<AtomicBool>::default();
        let (theirs, ended) = (counts.clone(), over.clone());
        let thread = std::thread::spawn(move || read_all(streams, &theirs, &ended));
        Self { counts, over, thread: Some(thread) }
    }

    /// Bytes that all have had.
    pub fn bytes(&self) -> u64 {
        self.counts.iter().map(|count| count.load(Relaxed)).sum()
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn read_all(mut streams: Vec<TcpStream>, counts: &[AtomicU64], over: &AtomicBool) {
    let mut buffer = vec![0; 256 * 1024];
    while !over.load(Relaxed) {
        let ready: Vec<bool> = {
            let mut waits: Vec<PollFd<'_>> =
                streams.iter().map(|stream| PollFd::new(stream.as_fd(), PollFlags::POLLIN)).collect();
            poll(&mut waits, PollTimeout::from(50u16)).unwrap();
            waits.iter().map(|wait| wait.any().unwrap_or(false)).collect()
        };
        for (index, _) in ready.iter().enumerate().filter(|(_, ready)| **ready) {
            let n = streams[index].read(&mut buffer).unwrap_or(0);
            counts[index].fetch_add(n as u64, Relaxed);
        }
    }
}
