//! H.264 for viewers: what a viewer must be told of the stream, and the streams over HTTP.
//!
//! From the top down: `http` | `tracker`.
#![forbid(unsafe_code)]

pub(super) mod http;
mod tracker;

pub(super) use tracker::VideoTracker;
