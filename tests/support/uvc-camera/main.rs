//! A USB camera in user space, for tests of the real uvcvideo driver.
//!
//! It is plugged into the kernel's virtual host controller (vhci-hcd), which speaks to it over a socket as to a
//! device on another machine; uvcvideo binds to it as to any webcam, with a capture and a metadata node. It sends
//! MJPEG, isochronous or bulk, and does on command what cameras do at the worst moment.
//!
//! | file | what |
//! |---|---|
//! | `usb.rs`, `uvc.rs` | numbers and structures of the two specifications |
//! | `descriptors.rs` | what the camera says it is |
//! | `controls.rs` | its settings |
//! | `device.rs` | answers control transfers |
//! | `stream.rs` | frames into payloads, in their time |
//! | `picture.rs` | the frames and their faults |
//! | `usbip.rs`, `vhci.rs` | how the kernel talks to it |
//! | `plug.rs` | its threads while it is plugged in |
//! | `remote.rs` | the commands, and the answers |
//!
//! Not here: uncompressed formats, stamps in payload headers, status interrupts, still pictures, suspend.
#![allow(missing_docs, reason = "a program")]
#![deny(clippy::unwrap_used)]

mod controls;
mod descriptors;
mod device;
mod picture;
mod plug;
mod remote;
mod stream;
mod usb;
mod usbip;
mod uvc;
mod vhci;

use std::path::Path;
use std::process::ExitCode;

use device::Device;
use plug::Camera;
use remote::Remote;
use stream::Transport;

const USAGE: &str = "usage: uvc-camera serve SOCKET PORT isochronous|bulk
       uvc-camera tell SOCKET COMMAND [N]
serve: is a camera for port PORT of vhci-hcd, not plugged in at first, and takes commands at SOCKET.
tell: plug, unplug, stall, resume, truncate, corrupt, flag, refuse, reset, status";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match words[..] {
        ["serve", socket, port, transport] => serve(socket, port, transport),
        ["tell", socket, ref command @ ..] if !command.is_empty() => {
            remote::tell(Path::new(socket), &command.join(" ")).map(|answer| print!("{answer}"))
        }
        _ => Err(USAGE.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("uvc-camera: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(socket: &str, port: &str, transport: &str) -> Result<(), String> {
    let port: u32 = port.parse().map_err(|_| format!("{port:?} is no port"))?;
    let transport = match transport {
        "isochronous" => Transport::Isochronous,
        "bulk" => Transport::Bulk,
        other => return Err(format!("{other:?} is neither isochronous nor bulk")),
    };
    let camera = Camera::new(port, Device::new(transport, format!("TEST{port:04}")));
    Remote::new(camera).serve(Path::new(socket)).map_err(|error| format!("{socket}: {error}"))
}
