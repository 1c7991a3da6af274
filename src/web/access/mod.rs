//! Access control: host names, origins of pages, credentials, and the check that puts them together.
//!
//! Everything here decides and answers nothing: [`check::AccessCheck`] returns its decision, and the endpoints make an
//! answer of it.
#![forbid(unsafe_code)]

pub(super) mod authentication;
pub(super) mod check;
pub(super) mod client;
pub(super) mod host;
mod login_throttle;
pub(super) mod origin;
pub(super) mod password;
pub(super) mod secrets;
