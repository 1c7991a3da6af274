//! A machine that does not exist, for the process this library is LD_PRELOADed into: LEDs in a folder of a test's
//! choice, and a clock on the wall that jumps when a test says so.
//!
//! | variable | is |
//! |---|---|
//! | `FAKESYS_LEDS` | what `/sys/class/leds` is instead |
//! | `FAKESYS_CLOCK` | a file of eight bytes: by how many seconds CLOCK_REALTIME is off, as a native i64 |
//! | `FAKESYS_STUCK` | a file with one folder or file in each line, on a disk that hangs: `open` and `stat` wait there until the line is gone. The same for host names, for which `getaddrinfo` waits. A file beside it, named with `.reached`, is there once one waits |
//!
//! All other clocks run as they do.
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char, c_int, c_uint};
use std::os::unix::fs::FileExt;
use std::sync::OnceLock;
use std::time::Duration;

use interpose::interpose;

/// Where this path leads instead, if it does.
fn led(path: *const c_char) -> Option<CString> {
    const CLASS: &[u8] = b"/sys/class/leds";
    if path.is_null() {
        return None;
    }
    // SAFETY: the program passes a C string.
    let path = unsafe { CStr::from_ptr(path) }.to_bytes();
    let inside = path.strip_prefix(CLASS)?;
    let mut instead = std::env::var("FAKESYS_LEDS").ok()?.into_bytes();
    instead.extend_from_slice(inside);
    CString::new(instead).ok()
}

fn wrong_by() -> i64 {
    static CLOCK: OnceLock<Option<std::fs::File>> = OnceLock::new();
    let clock = CLOCK.get_or_init(|| std::fs::File::open(std::env::var_os("FAKESYS_CLOCK")?).ok());
    let mut bytes = [0; 8];
    match clock {
        Some(file) if file.read_exact_at(&mut bytes, 0).is_ok() => i64::from_ne_bytes(bytes),
        _ => 0,
    }
}

/// Waits for as long as the disk that holds `path` hangs, or the name server of that name.
fn wait_while_stuck(path: *const c_char) {
    thread_local!(static IS_READING_LIST: Cell<bool> = const { Cell::new(false) });
    if path.is_null() || IS_READING_LIST.replace(true) {
        return;
    }
    // SAFETY: the program passes a C string.
    let path = unsafe { CStr::from_ptr(path) }.to_string_lossy();
    if let Some(list) = std::env::var_os("FAKESYS_STUCK") {
        let is_stuck = || {
            let list = std::fs::read_to_string(&list).unwrap_or_default();
            list.lines().any(|prefix| !prefix.is_empty() && path.starts_with(prefix))
        };
        if is_stuck() {
            let mut reached = list.clone();
            reached.push(".reached");
            let _ = std::fs::write(reached, "");
        }
        while is_stuck() {
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    IS_READING_LIST.set(false);
}

interpose! {
    fn [open open64](path: *const c_char, flags: c_int, mode: c_uint) -> c_int = |real| {
        wait_while_stuck(path);
        let instead = led(path);
        real(instead.as_ref().map_or(path, |path| path.as_ptr()), flags, mode)
    }

    fn [stat stat64](path: *const c_char, out: *mut libc::stat) -> c_int = |real| {
        wait_while_stuck(path);
        let instead = led(path);
        real(instead.as_ref().map_or(path, |path| path.as_ptr()), out)
    }

    fn [statx](
        at: c_int, path: *const c_char, flags: c_int, mask: c_uint, out: *mut libc::statx
    ) -> c_int = |real| {
        wait_while_stuck(path);
        let instead = led(path);
        real(at, instead.as_ref().map_or(path, |path| path.as_ptr()), flags, mask, out)
    }

    fn [getaddrinfo](
        host: *const c_char, port: *const c_char, hints: *const libc::addrinfo, out: *mut *mut libc::addrinfo
    ) -> c_int = |real| {
        wait_while_stuck(host);
        real(host, port, hints, out)
    }

    fn [clock_gettime](clock: libc::clockid_t, out: *mut libc::timespec) -> c_int = |real| {
        let result = real(clock, out);
        if result == 0 && matches!(clock, libc::CLOCK_REALTIME | libc::CLOCK_REALTIME_COARSE) {
            // SAFETY: the program passes room for the struct, which has just been filled in.
            unsafe { (*out).tv_sec += wrong_by() };
        }
        result
    }
}
