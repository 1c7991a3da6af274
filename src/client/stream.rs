//! A connection to another machine, with or without TLS, and how all that has come is read from it.
#![forbid(unsafe_code)]

use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection, with or without TLS.
pub(crate) type RemoteStream = Box<dyn ByteStream>;

/// What every kind of connection can do.
pub(crate) trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// What reading a connection came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Arrival {
    /// All that had come was read. Otherwise there was no more room.
    pub(crate) is_all: bool,
    /// The peer sends no more.
    pub(crate) has_ended: bool,
}

/// Reads once into the room that it is given.
pub(crate) type ReadInto<'a> = dyn FnMut(&mut [u8]) -> io::Result<usize> + 'a;

/// Reads all bytes that have come; pending if there are none. `fill` gives the room for them, and returns what reading did.
pub(crate) fn poll_arrival(
    stream: &mut RemoteStream,
    context: &mut Context<'_>,
    mut fill: impl FnMut(&mut ReadInto<'_>) -> io::Result<usize>,
) -> Poll<io::Result<Arrival>> {
    let mut has_read = false;
    loop {
        let mut is_full = false;
        let read = fill(&mut |room| {
            is_full = room.is_empty();
            if is_full { Err(ErrorKind::WouldBlock.into()) } else { read_now(stream, context, room) }
        });
        match read {
            Ok(0) => return Poll::Ready(Ok(Arrival { is_all: true, has_ended: true })),
            Ok(_) => has_read = true,
            Err(error) if error.kind() == ErrorKind::WouldBlock && !has_read && !is_full => {
                return Poll::Pending;
            }
            // What came before an error is used. The next read fails again.
            Err(_) if has_read || is_full => {
                return Poll::Ready(Ok(Arrival { is_all: !is_full, has_ended: false }));
            }
            Err(error) => return Poll::Ready(Err(error)),
        }
    }
}

/// Reads once without waiting.
fn read_now(stream: &mut RemoteStream, context: &mut Context<'_>, room: &mut [u8]) -> io::Result<usize> {
    let mut buffer = ReadBuf::new(room);
    match Pin::new(stream).poll_read(context, &mut buffer) {
        Poll::Ready(read) => read.map(|()| buffer.filled().len()),
        Poll::Pending => Err(ErrorKind::WouldBlock.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncWriteExt;

    use super::*;

    #[test]
    fn all_that_has_come_is_read_at_once_up_to_the_end() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (mut far, near) = tokio::io::duplex(64);
            let mut near: RemoteStream = Box::new(near);
            let mut got = Vec::new();
            // At most five bytes at a time, and twelve in all.
            let mut read = async || {
                poll_fn(|context| {
                    poll_arrival(&mut near, context, |read| {
                        let room = &mut [0; 5][..5.min(12 - got.len())];
                        let n = read(room)?;
                        got.extend_from_slice(&room[..n]);
                        Ok(n)
                    })
                })
                .await
            };
            far.write_all(b"12345678").await.unwrap();
            assert_eq!(read().await.unwrap(), Arrival { is_all: true, has_ended: false });
            far.write_all(b"9abcdefg").await.unwrap();
            assert_eq!(read().await.unwrap(), Arrival { is_all: false, has_ended: false });
            assert_eq!(got, b"123456789abc");
            got.clear();
            drop(far);
            let mut read = async || {
                poll_fn(|context| {
                    poll_arrival(&mut near, context, |read| {
                        let mut room = [0; 5];
                        let n = read(&mut room)?;
                        got.extend_from_slice(&room[..n]);
                        Ok(n)
                    })
                })
                .await
            };
            assert_eq!(read().await.unwrap(), Arrival { is_all: true, has_ended: true });
            assert_eq!(got, b"defg");
        });
    }
}
