//! A connection to another machine, with or without TLS.
#![forbid(unsafe_code)]

use tokio::io::{AsyncRead, AsyncWrite};

/// A connection, with or without TLS.
pub(super) type RemoteStream = Box<dyn ByteStream>;

/// What every kind of connection can do.
pub(super) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}
