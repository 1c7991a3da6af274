//! The parts that every answer is made of: bodies, status codes, caching, redirects, security and CORS headers.
//!
//! What an answer says is decided by the endpoints.
#![forbid(unsafe_code)]

pub(super) mod answer;
pub(super) mod headers;
pub(super) mod redirect;
