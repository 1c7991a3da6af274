//! Socket activation: listening sockets that a service manager has opened, as sd_listen_fds(3) describes. They are
//! descriptors from 3 on, `LISTEN_FDS` of them, if `LISTEN_PID` names this process. Their names are not used.
#![allow(unsafe_code)]

use std::env;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::{SockRef, Type};

use super::address::ListenAddress;

/// The first descriptor that is passed (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;
/// Most descriptors that are accepted: more sockets than a camera service needs.
const MAX_SOCKETS: RawFd = 16;

/// A descriptor of the service manager cannot be served on.
#[derive(Debug, thiserror::Error)]
pub enum SocketActivationError {
    /// The number of descriptors is not valid.
    #[error(
        "LISTEN_FDS = {0:?}: must be a number up to {MAX_SOCKETS}; the service manager sets it for a socket unit"
    )]
    Number(String),
    /// A descriptor is not a listening stream socket.
    #[error(
        "descriptor {descriptor} of the service manager is {what}: \
         a socket unit must have ListenStream= with an address or a path, and no Accept=yes"
    )]
    Descriptor {
        /// Its number.
        descriptor: RawFd,
        /// What it is instead.
        what: String,
    },
}

/// The addresses of all sockets that the service manager passed to this process; none without socket activation.
///
/// # Errors
/// [`SocketActivationError`] when one of them is not a listening stream socket.
pub fn activated_sockets() -> Result<Vec<ListenAddress>, SocketActivationError> {
    // Any other number belongs to a parent process that did not clean its environment.
    if env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(vec![]);
    }
    let text = env::var("LISTEN_FDS").unwrap_or_default();
    let number = text.parse().ok().filter(|number| (0..=MAX_SOCKETS).contains(number));
    let number: RawFd = number.ok_or(SocketActivationError::Number(text))?;
    (FIRST..FIRST + number).map(address).collect()
}

fn address(descriptor: RawFd) -> Result<ListenAddress, SocketActivationError> {
    let wrong = |what: &str| SocketActivationError::Descriptor { descriptor, what: what.into() };
    // SAFETY: used within this function alone, which does not close it. If it is not open, the first system call on it
    // fails.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let socket = SockRef::from(&borrowed);
    let kind = socket.r#type().map_err(|cause| wrong(&format!("not a socket ({cause})")))?;
    if kind != Type::STREAM || !socket.is_listener().unwrap_or(false) {
        return Err(wrong("not a listening stream socket"));
    }
    let local = socket.local_addr().map_err(|cause| wrong(&format!("without an address ({cause})")))?;
    let at = match (local.as_socket(), local.as_pathname()) {
        (Some(address), _) => ListenAddress::Tcp(address),
        (None, Some(path)) => ListenAddress::Unix(path.into()),
        (None, None) => return Err(wrong("a socket of another family")),
    };
    Ok(ListenAddress::Activated { descriptor, at: Box::new(at) })
}

/// Takes ownership of a descriptor that [`activated_sockets`] returned. Call it once for each: the socket is closed when
/// the result is dropped.
pub(super) fn take(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the service manager opened it for this process, as `activated_sockets` verified, and nothing else here
    // owns it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
