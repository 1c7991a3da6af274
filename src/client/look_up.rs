//! Looks the addresses of a name up, on a thread that nothing can cancel.
//!
//! Of one name only so many lookups are under way at a time. The next one waits and is not queued, so that a name server that
//! never answers costs neither threads nor memory, and what is asked for on its return is not behind all that was given up.
//! Another name never waits.
#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::{Arc, Mutex};
use std::vec;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;

use crate::sync::lock;

/// Lookups of one name at a time. The second one is for a lookup that takes longer than the wait for it.
const MAX_LOOKUPS: usize = 2;

/// A permit for each lookup, by name. There are no more names than the configuration has.
static PERMITS: Mutex<BTreeMap<String, Arc<Semaphore>>> = Mutex::new(BTreeMap::new());

/// The addresses of `host`, which may be an address itself. Has no timeout of its own.
pub(super) async fn look_up(host: &str, port: u16) -> io::Result<vec::IntoIter<SocketAddr>> {
    if let Ok(ip) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(ip, port)].into_iter());
    }
    let name = host.to_owned();
    in_turn(host, move || (name.as_str(), port).to_socket_addrs()).await
}

/// Runs `lookup` of `host` once fewer than [`MAX_LOOKUPS`] are under way.
async fn in_turn<T: Send + 'static>(
    host: &str,
    lookup: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    let permits = Arc::clone(
        lock(&PERMITS).entry(host.to_owned()).or_insert_with(|| Arc::new(Semaphore::new(MAX_LOOKUPS))),
    );
    let permit = permits.acquire_owned().await.map_err(io::Error::other)?;
    let looked_up = spawn_blocking(move || {
        let _permit = permit;
        lookup()
    });
    looked_up.await.map_err(io::Error::other)?
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[test]
    fn what_is_given_up_while_lookups_hang_is_not_looked_up_later() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (looked_up, ends) = (Arc::new(AtomicUsize::new(0)), Arc::new(Barrier::new(MAX_LOOKUPS + 1)));
            for attempt in 0..20 {
                let (looked_up, ends) = (Arc::clone(&looked_up), Arc::clone(&ends));
                let lookup = in_turn("hangs.invalid", move || {
                    looked_up.fetch_add(1, SeqCst);
                    ends.wait();
                    Ok(())
                });
                let given_up = timeout(Duration::from_millis(5), lookup).await;
                assert!(given_up.is_err(), "{attempt}: {given_up:?}");
            }
            assert_eq!(in_turn("other.invalid", || Ok(7)).await.unwrap(), 7, "another name waited");
            let released = spawn_blocking(move || ends.wait());
            assert_eq!(in_turn("hangs.invalid", || Ok(8)).await.unwrap(), 8);
            released.await.unwrap();
            assert_eq!(looked_up.load(SeqCst), MAX_LOOKUPS);
        });
    }
}
