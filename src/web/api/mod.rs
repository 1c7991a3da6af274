//! Endpoints that answer with data or change something: state, metrics, health, controls, login; and the answers to
//! requests that were denied.
#![forbid(unsafe_code)]

mod body;
pub(super) mod controls;
mod exposition;
pub(super) mod login;
pub(super) mod metrics;
mod process;
pub(super) mod state;
