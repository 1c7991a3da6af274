//! Endpoints that answer with data or change something: state, metrics, health, controls, login; and the answers to
//! requests that were denied.
#![forbid(unsafe_code)]

mod auth_error;
pub(super) mod controls;
pub(super) mod denied;
pub(super) mod health;
pub(super) mod login;
pub(super) mod metrics;
pub(super) mod state;
