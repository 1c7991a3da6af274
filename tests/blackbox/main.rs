//! The real program, from outside, as its users meet it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod appliance;
mod auth;
mod auth_login;
mod auth_origin;
mod clients;
mod configuration;
mod controls;
mod delivery;
mod documentation;
mod flash;
mod lifecycle;
mod limits;
mod logs;
mod manual;
mod metrics;
mod packaged;
mod page;
mod page_controls;
mod page_cost;
mod page_grid;
mod page_keep;
mod page_look;
mod page_states;
mod releases;
mod remote;
mod rpicam;
mod remote_tcp;
mod settings;
mod sockets;
mod sources;
mod stills;
mod tls;
mod v4l2;
mod v4l2_drivers;
mod v4l2_inputs;
