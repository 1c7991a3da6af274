//! A disk that does not do what it should, for the process this library is LD_PRELOADed into. It concerns what lies below
//! a path, so that a test's own files and the program's are told apart.
//!
//! | variable | what happens |
//! |---|---|
//! | `FAKEDISK_FAIL` | `full:PATH`: nothing can be written; `read-only:PATH`: nothing can be changed; `broken:PATH`: nothing can be synced; `stuck:PATH`: a write takes for ever |
//! | `FAKEDISK_CUT` | `N:PATH`: at the Nth change the power is cut, in the middle of it if it is a write; the process ends with 99 |
//! | `FAKEDISK_LIE` | `PATH`: every read gives back one bit that was not written |
use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use interpose::{answer, ensure, interpose};

/// What a change is to the disk.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Of names: made, renamed, removed.
    Name,
    /// Of what is in a file.
    Content,
    /// It shall last.
    Sync,
}

/// A variable's `WHAT:PATH`.
struct Order {
    what: String,
    below: Vec<u8>,
}

impl Order {
    fn of(variable: &str) -> Option<Self> {
        let value = std::env::var(variable).ok()?;
        let (what, below) = value.split_once(':').unwrap_or(("", &value));
        Some(Self { what: what.to_owned(), below: below.as_bytes().to_vec() })
    }

    fn concerns(&self, path: &[u8]) -> bool {
        path.starts_with(&self.below)
    }
}

struct Orders {
    fail: Option<Order>,
    cut: Option<Order>,
    lie: Option<Order>,
}

fn orders() -> &'static Orders {
    static ORDERS: OnceLock<Orders> = OnceLock::new();
    ORDERS.get_or_init(|| Orders {
        fail: Order::of("FAKEDISK_FAIL"),
        cut: Order::of("FAKEDISK_CUT"),
        lie: Order::of("FAKEDISK_LIE"),
    })
}

/// Whether the power is cut at this change.
fn is_cut(path: &[u8]) -> bool {
    static CHANGES: AtomicU32 = AtomicU32::new(0);
    let Some(cut) = orders().cut.as_ref().filter(|cut| cut.concerns(path)) else { return false };
    Some(CHANGES.fetch_add(1, Relaxed) + 1) == cut.what.parse().ok()
}

fn end() -> ! {
    // SAFETY: ends the process and nothing else.
    unsafe { libc::_exit(99) }
}

/// What a change below `path` comes to, before it is made.
fn change(kind: Kind, path: &[u8]) -> Result<(), c_int> {
    if kind != Kind::Content && is_cut(path) {
        end();
    }
    let Some(fail) = orders().fail.as_ref().filter(|fail| fail.concerns(path)) else { return Ok(()) };
    match (fail.what.as_str(), kind) {
        ("full", kind) => ensure(kind != Kind::Content, libc::ENOSPC),
        ("read-only", _) => Err(libc::EROFS),
        ("stuck", Kind::Content) => loop {
            // SAFETY: waits for a signal, and has no arguments.
            unsafe { libc::pause() };
        },
        ("stuck", _) => Ok(()),
        ("broken", kind) => ensure(kind != Kind::Sync, libc::EIO),
        (other, _) => panic!("FAKEDISK_FAIL={other}"),
    }
}

fn bytes<'a>(path: *const c_char) -> &'a [u8] {
    // SAFETY: the program passes a C string, which is not looked at for longer than its call takes.
    unsafe { CStr::from_ptr(path) }.to_bytes()
}

/// The path of an open file.
fn opened(fd: c_int) -> Vec<u8> {
    let path = std::fs::read_link(format!("/proc/self/fd/{fd}")).unwrap_or_default();
    path.as_os_str().as_bytes().to_vec()
}

interpose! {
    fn [open open64](path: *const c_char, flags: c_int, mode: c_uint) -> c_int = |real| {
        let writes = flags & libc::O_ACCMODE != libc::O_RDONLY;
        let changes = flags & (libc::O_CREAT | libc::O_TRUNC) != 0;
        match change(Kind::Name, if changes { bytes(path) } else { b"" }) {
            Err(error) => answer(Err(error)),
            Ok(()) if writes => {
                // On a file system that is read-only nothing is opened to be written.
                let fail = orders().fail.as_ref().filter(|fail| fail.concerns(bytes(path)));
                match fail {
                    Some(fail) if fail.what == "read-only" => answer(Err(libc::EROFS)),
                    _ => real(path, flags, mode),
                }
            }
            Ok(()) => real(path, flags, mode),
        }
    }

    fn [write](fd: c_int, from: *const c_void, count: usize) -> isize = |real| {
        let path = opened(fd);
        if is_cut(&path) {
            real(fd, from, count / 2);
            end();
        }
        match change(Kind::Content, &path) {
            Err(error) => answer(Err(error)) as isize,
            Ok(()) => real(fd, from, count),
        }
    }

    fn [read](fd: c_int, to: *mut c_void, count: usize) -> isize = |real| {
        let read = real(fd, to, count);
        if read > 0 && orders().lie.as_ref().is_some_and(|lie| lie.concerns(&opened(fd))) {
            // SAFETY: the program passes room for what has just been read, which is at least this byte.
            unsafe { *to.cast::<u8>() ^= 1 };
        }
        read
    }

    fn [rename](from: *const c_char, to: *const c_char) -> c_int = |real| {
        change(Kind::Name, bytes(to)).map_or_else(|error| answer(Err(error)), |()| real(from, to))
    }

    fn [unlink](path: *const c_char) -> c_int = |real| {
        // What is not there is no change.
        let is_there = std::fs::symlink_metadata(std::ffi::OsStr::from_bytes(bytes(path))).is_ok();
        let changed = if is_there { change(Kind::Name, bytes(path)) } else { Ok(()) };
        changed.map_or_else(|error| answer(Err(error)), |()| real(path))
    }

    fn [mkdir](path: *const c_char, mode: c_uint) -> c_int = |real| {
        let is_there = std::fs::symlink_metadata(std::ffi::OsStr::from_bytes(bytes(path))).is_ok();
        let changed = if is_there { Ok(()) } else { change(Kind::Name, bytes(path)) };
        changed.map_or_else(|error| answer(Err(error)), |()| real(path, mode))
    }

    fn [fsync fdatasync](fd: c_int) -> c_int = |real| {
        change(Kind::Sync, &opened(fd)).map_or_else(|error| answer(Err(error)), |()| real(fd))
    }
}
