//! What every answer is made with.
#![forbid(unsafe_code)]

pub(super) mod redirect;
