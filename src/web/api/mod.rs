//! Endpoints that answer with data: state, metrics, controls, login.
#![forbid(unsafe_code)]

pub(super) mod controls;
pub(super) mod login;
pub(super) mod metrics;
pub(super) mod state;
