//! Porthole: a camera service for single-board computers. The newest frame, to everyone, now.
pub mod camera;
pub mod frame;
pub mod jpeg;
pub mod ring;
pub mod status;
