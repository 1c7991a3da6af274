//! The real program, from outside, as its users meet it.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

#[cfg(feature = "mqtt")]
mod announced;
mod appliance;
mod auth;
mod auth_login;
mod auth_origin;
mod clients;
mod closing;
#[cfg(feature = "mqtt")]
mod cluster;
mod configuration;
mod controls;
mod delivery;
mod documentation;
mod flash;
mod h264;
mod h264_delivery;
mod h264_faults;
mod h264_readers;
mod h264_second_node;
mod h264_sources;
mod lifecycle;
mod limits;
mod logs;
mod manual;
mod metrics;
#[cfg(feature = "mqtt")]
mod mqtt;
#[cfg(feature = "mqtt")]
mod mqtt_access;
#[cfg(feature = "mqtt")]
mod mqtt_announce;
#[cfg(feature = "mqtt")]
mod mqtt_faults;
mod packaged;
mod page;
mod page_choice;
mod page_controls;
mod page_cost;
mod page_engines;
mod page_grid;
mod page_keep;
mod page_look;
mod page_places;
mod page_states;
mod page_video;
#[cfg(feature = "mqtt")]
mod published;
mod releases;
mod remote;
mod remote_tcp;
mod remote_ws;
mod rpicam;
mod settings;
mod sockets;
mod sources;
mod stills;
mod systems;
mod tls;
mod v4l2;
mod v4l2_drivers;
mod v4l2_h264;
mod v4l2_inputs;
mod video_viewers;
