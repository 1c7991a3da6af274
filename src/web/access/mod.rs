//! Who may do what: host names, origins, credentials.
#![forbid(unsafe_code)]

pub(super) mod authentication;
pub(super) mod check;
pub(super) mod client;
mod login_throttle;
pub(super) mod origin;
pub(super) mod password;
mod session;
pub(super) mod token;
