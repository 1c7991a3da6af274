//! Runs futures on a capture thread: all that waits for the network there ends at a deadline, and when the thread is woken.
//!
//! The runtime has no thread of its own, and no tasks. A future that must survive a wake is kept by the caller.
#![forbid(unsafe_code)]

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};

use crate::camera::wake::Waker;
use crate::frame::Timestamp;

/// Threads that resolve names, which nothing can cancel. A second one is for a name that takes longer than the wait for it.
const RESOLVER_THREADS: usize = 2;
/// A thread that resolved a name ends after this time.
const RESOLVER_KEEP_ALIVE: Duration = Duration::from_secs(1);

/// How a future ended.
#[derive(Debug)]
pub(super) enum RunEnd<T> {
    /// With its result.
    Done(T),
    /// The thread was woken, and the future was dropped.
    Woken,
    /// The deadline was reached, and the future was dropped.
    TimedOut,
}

/// The runtime of a source, on its capture thread.
#[derive(Debug)]
pub(super) struct RemoteRuntime {
    waker: Arc<Waker>,
    /// `None` while it is dropped.
    runtime: Option<Runtime>,
}

impl RemoteRuntime {
    pub(super) fn new(waker: Arc<Waker>) -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(RESOLVER_THREADS)
            .thread_keep_alive(RESOLVER_KEEP_ALIVE)
            .thread_name("resolver")
            .build()?;
        Ok(Self { waker, runtime: Some(runtime) })
    }

    /// Runs `future` until it is done, the thread is woken, or `deadline` is reached. One run takes all calls of
    /// [`Waker::wake`] before its end.
    pub(super) fn run<T>(&self, deadline: Timestamp, future: impl Future<Output = T>) -> RunEnd<T> {
        let Some(runtime) = &self.runtime else { return RunEnd::TimedOut };
        runtime.block_on(async {
            let left = deadline.since(Timestamp::now());
            tokio::select! {
                biased;
                () = self.waker.woken() => RunEnd::Woken,
                done = future => RunEnd::Done(done),
                () = tokio::time::sleep(left) => RunEnd::TimedOut,
            }
        })
    }

    /// Runs `future` to its end, also when the thread is woken; `None` if the thread must end. The future has a deadline of its own.
    pub(super) fn run_to_end<T>(&self, future: impl Future<Output = T>) -> Option<T> {
        let mut future = pin!(future);
        loop {
            match self.run(Timestamp(u64::MAX), future.as_mut()) {
                RunEnd::Done(done) => return Some(done),
                RunEnd::Woken if self.waker.is_stopped() => return None,
                RunEnd::Woken | RunEnd::TimedOut => {}
            }
        }
    }
}

impl Drop for RemoteRuntime {
    fn drop(&mut self) {
        // Without waiting for a name that is being resolved.
        self.runtime.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_ends_with_its_future_a_wake_or_its_deadline() {
        let waker = Arc::new(Waker::new().unwrap());
        let runtime = RemoteRuntime::new(Arc::clone(&waker)).unwrap();
        let minute = || Timestamp::now().after(Duration::from_secs(60));
        assert!(matches!(runtime.run(minute(), async { 3 }), RunEnd::Done(3)));
        let soon = Timestamp::now().after(Duration::from_millis(10));
        assert!(matches!(runtime.run(soon, std::future::pending::<()>()), RunEnd::TimedOut));
        assert!(Timestamp::now() >= soon);
        for _ in 0..3 {
            std::thread::scope(|scope| {
                scope.spawn(|| waker.wake());
                assert!(matches!(runtime.run(minute(), std::future::pending::<()>()), RunEnd::Woken));
            });
        }
        let now = Timestamp::now();
        assert!(
            matches!(runtime.run(now, std::future::pending::<()>()), RunEnd::TimedOut),
            "the wake was taken"
        );
    }

    #[test]
    fn a_wake_that_the_thread_took_elsewhere_ends_no_run() {
        let waker = Arc::new(Waker::new().unwrap());
        let runtime = RemoteRuntime::new(Arc::clone(&waker)).unwrap();
        waker.wake();
        waker.wait(&[], None);
        let soon = Timestamp::now().after(Duration::from_millis(10));
        assert!(matches!(runtime.run(soon, std::future::pending::<()>()), RunEnd::TimedOut));
    }

    #[test]
    fn a_kept_future_survives_a_wake_and_one_to_the_end_survives_all_but_a_stop() {
        let waker = Arc::new(Waker::new().unwrap());
        let runtime = RemoteRuntime::new(Arc::clone(&waker)).unwrap();
        let mut kept = Box::pin(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            7
        });
        waker.wake();
        let minute = Timestamp::now().after(Duration::from_secs(60));
        assert!(matches!(runtime.run(minute, kept.as_mut()), RunEnd::Woken));
        assert!(matches!(runtime.run(minute, kept), RunEnd::Done(7)));
        waker.wake();
        let short = tokio::time::Duration::from_millis(5);
        assert_eq!(runtime.run_to_end(async { tokio::time::sleep(short).await }), Some(()));
        waker.stop();
        assert_eq!(runtime.run_to_end(std::future::pending::<()>()), None);
    }
}
