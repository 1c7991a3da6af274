//! The kernel's virtual host controller: where a device is plugged in that is a socket.
//!
//! drivers/usb/usbip/vhci_sysfs.c: `attach` takes "port socket device speed", `status` lists the ports.
use std::fs;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

const CONTROLLER: &str = "/sys/devices/platform/vhci_hcd.0";
/// `USB_SPEED_HIGH` of linux/usb/ch9.h.
const HIGH_SPEED: u32 = 3;
/// Bus and device number where the device is said to come from; shown to nobody.
const DEVICE_ID: u32 = 0x1_0002;
/// `VDEV_ST_NULL`: nothing is plugged in.
const FREE: &str = "004";
/// The kernel takes a device down in threads of its own, after everybody who uses it has let go.
const DEADLINE: Duration = Duration::from_secs(20);
/// There is nothing to wait on but the file itself.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Plugs the device at the other end of `socket` into `port`.
pub(crate) fn attach(port: u32, socket: &UnixStream) -> io::Result<()> {
    until_free(port)?;
    let line = format!("{port} {} {DEVICE_ID} {HIGH_SPEED}", socket.as_raw_fd());
    fs::write(format!("{CONTROLLER}/attach"), line)
}

/// Waits until nothing is plugged into `port`.
pub(crate) fn until_free(port: u32) -> io::Result<()> {
    let give_up = Instant::now() + DEADLINE;
    while !is_free(port)? {
        if Instant::now() > give_up {
            return Err(io::Error::other(format!("port {port} was not free within {DEADLINE:?}")));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    Ok(())
}

/// Lines of `status` are "hub port state speed ...", the first one a heading.
fn is_free(port: u32) -> io::Result<bool> {
    let status = fs::read_to_string(format!("{CONTROLLER}/status"))?;
    let mut ports = status.lines().map(|line| line.split_whitespace().skip(1));
    let state = ports.find_map(|mut words| {
        let number: u32 = words.next()?.parse().ok()?;
        (number == port).then(|| words.next())?
    });
    state.map(|state| state == FREE).ok_or_else(|| io::Error::other(format!("there is no port {port}")))
}
