//! Porthole: a camera service for single-board computers. The newest frame, to everyone, now.
//!
//! The command is in `src/main.rs`; everything it does is here.
pub mod board;
pub mod camera;
pub mod config;
pub mod frame;
pub mod jpeg;
pub mod ring;
pub mod service;
pub mod status;
pub mod web;
