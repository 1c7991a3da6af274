//! Tells clients that were rejected at a connection limit why, in a short HTTP answer.
#![forbid(unsafe_code)]

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

use super::connection_limiter::ConnectionRejected;
use super::transport::Transport;

/// Most clients that are answered at a time. Further ones are closed without an answer.
const MAX_ANSWERING: usize = 32;
/// Time for one answer, TLS handshake included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(1);

/// Answers rejected clients. Its reference count is one more than the number that are being answered.
#[derive(Debug, Default)]
pub(crate) struct Rejector(Arc<()>);

impl Rejector {
    /// The task that answers one client once `open` has set up its transport; `None` when too many are being answered.
    pub(crate) fn answer<F: Future<Output = io::Result<Transport>>>(
        &self,
        open: F,
        why: ConnectionRejected,
    ) -> Option<impl Future<Output = ()> + use<F>> {
        let slot = Arc::clone(&self.0);
        if Arc::strong_count(&slot) > MAX_ANSWERING + 1 {
            return None;
        }
        let why = format!("{why}\n");
        let answer = format!(
            "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
             Retry-After: 5\r\nConnection: close\r\n\r\n{why}",
            why.len()
        );
        let send = async move {
            let mut transport = open.await?;
            transport.write_all(answer.as_bytes()).await?;
            transport.shutdown().await?;
            // The request has to be read, or closing the socket would discard the answer (RFC 1122, section 4.2.2.13).
            let mut request = [0; 1024];
            while transport.read(&mut request).await? > 0 {}
            Ok::<_, io::Error>(())
        };
        Some(async move {
            // A client that does not read its answer in time goes without.
            let _ = timeout(ANSWER_TIMEOUT, send).await;
            drop(slot);
        })
    }
}
