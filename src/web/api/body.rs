//! The body of a request, read within limits.
#![forbid(unsafe_code)]

use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Body, Bytes, Incoming};
use tokio::time::timeout;

/// Time for a client to send the body of a request.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);

/// The body of a request, of at most `limit` bytes; or why there is none.
pub(super) async fn read_body(body: Incoming, limit: usize) -> Result<Bytes, String> {
    // Not waited for.
    if body.size_hint().lower() > limit as u64 {
        return Err(format!("the body cannot be read: it is larger than {limit} bytes; send less"));
    }
    let body = timeout(BODY_TIMEOUT, Limited::new(body, limit).collect()).await;
    let body = body.map_err(|_| format!("the body did not arrive within {} s", BODY_TIMEOUT.as_secs()))?;
    Ok(body.map_err(|error| format!("the body cannot be read: {error}"))?.to_bytes())
}
