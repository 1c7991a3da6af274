//! Sockets that a service manager has opened and hands over, as sd_listen_fds(3) describes: descriptors from 3 on,
//! as many as `LISTEN_FDS` says, if `LISTEN_PID` names this process. Their names are of no interest here.
#![allow(unsafe_code)]

use std::env;
use std::os::fd::{BorrowedFd, FromRawFd, OwnedFd, RawFd};

use socket2::{SockRef, Type};

use crate::web::server::listener::Address;

/// The first descriptor that is handed over (SD_LISTEN_FDS_START).
const FIRST: RawFd = 3;
/// More than anybody has sockets for one camera service.
const MOST: RawFd = 16;

/// What is handed over is nothing that can be served on.
#[derive(Debug, thiserror::Error)]
pub enum HandedError {
    /// The number of descriptors.
    #[error(
        "LISTEN_FDS = {0:?}: must be a number up to {MOST}; the service manager sets it, by a socket unit"
    )]
    Number(String),
    /// One of them.
    #[error(
        "descriptor {descriptor} of the service manager is {what}: \
         a socket unit must have ListenStream= with an address or a path, and no Accept=yes"
    )]
    Descriptor {
        /// Its number.
        descriptor: RawFd,
        /// What it is.
        what: String,
    },
}

/// Where the service manager listens for this process; nothing if it does not.
///
/// # Errors
/// [`HandedError`] when what it hands over is no listening stream socket.
pub fn handed_over() -> Result<Vec<Address>, HandedError> {
    // Meant for somebody else: a parent that was started so, and did not clean its environment.
    if env::var("LISTEN_PID").ok().and_then(|pid| pid.parse().ok()) != Some(std::process::id()) {
        return Ok(vec![]);
    }
    let text = env::var("LISTEN_FDS").unwrap_or_default();
    let number = text.parse().ok().filter(|number| (0..=MOST).contains(number));
    let number: RawFd = number.ok_or(HandedError::Number(text))?;
    (FIRST..FIRST + number).map(address).collect()
}

fn address(descriptor: RawFd) -> Result<Address, HandedError> {
    let wrong = |what: &str| HandedError::Descriptor { descriptor, what: what.into() };
    // SAFETY: used within this function alone, where nobody closes it. That it is not open is found out by the first
    // question to the kernel.
    let borrowed = unsafe { BorrowedFd::borrow_raw(descriptor) };
    let socket = SockRef::from(&borrowed);
    let kind = socket.r#type().map_err(|cause| wrong(&format!("no socket ({cause})")))?;
    if kind != Type::STREAM || !socket.is_listener().unwrap_or(false) {
        return Err(wrong("no listening stream socket"));
    }
    let local = socket.local_addr().map_err(|cause| wrong(&format!("without address ({cause})")))?;
    let at = match (local.as_socket(), local.as_pathname()) {
        (Some(address), _) => Address::Tcp(address),
        (None, Some(path)) => Address::Unix(path.into()),
        (None, None) => return Err(wrong("a socket of another family")),
    };
    Ok(Address::Handed { descriptor, at: Box::new(at) })
}

/// Takes over a descriptor of [`handed_over`]. Once for each: the socket is closed with what is returned.
pub(in crate::web) fn take(descriptor: RawFd) -> OwnedFd {
    // SAFETY: the service manager opened it for this process, as was found out before, and nobody else here takes it.
    unsafe { OwnedFd::from_raw_fd(descriptor) }
}
