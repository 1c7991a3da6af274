//! The libc calls on paths, and the listings of `/dev`, `/dev/v4l/by-id` and `/dev/v4l/by-path`.
//!
//! A fake camera's node hides a real file of the same name, and these listings show no real camera: what a
//! program finds does not depend on the machine. `/sys` is left alone.
use std::ffi::{CStr, CString, c_char, c_int, c_uint, c_void};
use std::ptr;
use std::sync::{Arc, Mutex};

use crate::descriptors::{Handle, camera};
use crate::device::Device;
use crate::{devices, locked};
use interpose::{answer, interpose};

const V4L_MAJOR: u32 = 81;

enum Node {
    Camera(&'static Device),
    Link(&'static Device),
    Directory,
}

/// What is fake at this path, links not followed.
fn node(at: c_int, path: *const c_char) -> Option<Node> {
    if devices().is_empty() || path.is_null() {
        return None;
    }
    // SAFETY: the program passes a C string.
    let path = unsafe { CStr::from_ptr(path) }.to_str().ok()?;
    let path = match path.starts_with('/') {
        true => path.trim_end_matches('/').to_owned(),
        false => locked(&LISTINGS).iter().find(|listing| listing.fd == at)?.path.clone() + "/" + path,
    };
    let inside = format!("{path}/");
    devices().iter().filter(|device| device.is_plugged()).find_map(|device| {
        if device.path() == path {
            Some(Node::Camera(device))
        } else if device.spec.links.contains(&path) {
            Some(Node::Link(device))
        } else if path.starts_with("/dev/v4l") {
            device.spec.links.iter().any(|link| link.starts_with(&inside)).then_some(Node::Directory)
        } else {
            None
        }
    })
}

/// The camera at this path or that this path links to.
pub(crate) fn device(at: c_int, path: *const c_char) -> Option<&'static Device> {
    match node(at, path)? {
        Node::Camera(device) | Node::Link(device) => Some(device),
        Node::Directory => None,
    }
}

/// Like [`node`], but an empty path means the descriptor itself, if that is a camera.
fn node_at(at: c_int, path: *const c_char) -> Option<Node> {
    // SAFETY: the program passes null or a C string.
    let unnamed = unsafe { path.as_ref() } == Some(&0);
    let own = |handle: Arc<Handle>| handle.device();
    match unnamed {
        true => camera(at).map(own).filter(|device| !device.spec.hides_node).map(Node::Camera),
        false => node(at, path),
    }
}

/// Type, permissions and minor number.
fn attributes(node: &Node, follow: bool) -> (u32, u32) {
    match node {
        Node::Link(_) if !follow => (libc::S_IFLNK | 0o777, 0),
        Node::Camera(device) | Node::Link(device) => (libc::S_IFCHR | 0o660, device.minor()),
        Node::Directory => (libc::S_IFDIR | 0o755, 0),
    }
}

fn stat_of(node: Option<Node>, follow: bool, out: *mut libc::stat) -> Option<c_int> {
    let (mode, minor) = attributes(&node?, follow);
    // SAFETY: the program passes room for the struct; it is plain data, for which zero is a value.
    unsafe {
        out.write_bytes(0, 1);
        ((*out).st_mode, (*out).st_nlink, (*out).st_rdev) = (mode, 1, libc::makedev(V4L_MAJOR, minor));
    }
    Some(0)
}

fn statx_of(node: Option<Node>, follow: bool, out: *mut libc::statx) -> Option<c_int> {
    let (mode, minor) = attributes(&node?, follow);
    // SAFETY: the program passes room for the struct; it is plain data, for which zero is a value.
    unsafe {
        out.write_bytes(0, 1);
        ((*out).stx_mask, (*out).stx_mode, (*out).stx_nlink) = (libc::STATX_BASIC_STATS, mode as u16, 1);
        ((*out).stx_rdev_major, (*out).stx_rdev_minor) = (V4L_MAJOR, minor);
    }
    Some(0)
}

interpose! {
    fn [stat stat64](path: *const c_char, out: *mut libc::stat) -> c_int = |real| {
        stat_of(node(libc::AT_FDCWD, path), true, out).unwrap_or_else(|| real(path, out))
    }

    fn [lstat lstat64](path: *const c_char, out: *mut libc::stat) -> c_int = |real| {
        stat_of(node(libc::AT_FDCWD, path), false, out).unwrap_or_else(|| real(path, out))
    }

    fn [fstat fstat64](fd: c_int, out: *mut libc::stat) -> c_int = |real| {
        stat_of(node_at(fd, c"".as_ptr()), true, out).unwrap_or_else(|| real(fd, out))
    }

    fn [fstatat fstatat64](
        at: c_int, path: *const c_char, out: *mut libc::stat, flags: c_int
    ) -> c_int = |real| {
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        stat_of(node_at(at, path), follow, out).unwrap_or_else(|| real(at, path, out, flags))
    }

    fn [statx](
        at: c_int, path: *const c_char, flags: c_int, mask: c_uint, out: *mut libc::statx
    ) -> c_int = |real| {
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW == 0;
        statx_of(node_at(at, path), follow, out).unwrap_or_else(|| real(at, path, flags, mask, out))
    }

    fn [access](path: *const c_char, mode: c_int) -> c_int = |real| {
        device(libc::AT_FDCWD, path).map_or_else(|| real(path, mode), |_| 0)
    }

    fn [realpath](path: *const c_char, out: *mut c_char) -> *mut c_char = |real| {
        let Some(device) = device(libc::AT_FDCWD, path) else { return real(path, out) };
        let target = CString::new(device.path()).unwrap_or_default();
        let target = target.as_ptr();
        // SAFETY: copies a C string to a new allocation or to where the program has room for any path.
        unsafe { if out.is_null() { libc::strdup(target) } else { libc::strcpy(out, target) } }
    }

    fn [readlink](path: *const c_char, out: *mut c_char, size: usize) -> isize = |real| {
        match node(libc::AT_FDCWD, path) {
            Some(Node::Link(device)) => {
                let target = device.path().replace("/dev/", "../../");
                let length = target.len().min(size);
                // SAFETY: the program passes room for `size` bytes.
                unsafe { target.as_ptr().cast::<c_char>().copy_to_nonoverlapping(out, length) };
                length as isize
            }
            Some(_) => answer(Err(libc::EINVAL)) as isize,
            None => real(path, out, size),
        }
    }
}

/// A directory being read that shows fake entries after the real ones.
struct Listing {
    /// The C library's stream, as an address, and its descriptor.
    stream: usize,
    fd: c_int,
    path: String,
    /// Names and types not yet shown.
    fake: Vec<(String, u8)>,
    entry: Box<libc::dirent64>,
}

static LISTINGS: Mutex<Vec<Listing>> = Mutex::new(Vec::new());

impl Listing {
    /// Real cameras in `/dev`, and all that is real in the other directories.
    fn hides(&self, entry: &libc::dirent64) -> bool {
        // SAFETY: the kernel ends names with a zero.
        let name = unsafe { CStr::from_ptr(entry.d_name.as_ptr()) };
        self.path != "/dev" || name.to_bytes().starts_with(b"video")
    }

    fn next_fake(&mut self) -> *mut libc::dirent64 {
        let Some((name, kind)) = self.fake.pop() else { return ptr::null_mut() };
        for (to, from) in self.entry.d_name.iter_mut().zip(name.bytes().chain([0])) {
            *to = from as c_char;
        }
        self.entry.d_type = kind;
        &raw mut *self.entry
    }
}

/// The fake entries of a directory; none if we have nothing to do with it.
fn fake_entries(directory: &str) -> Option<Vec<(String, u8)>> {
    let mut entries = Vec::new();
    for device in devices().iter().filter(|device| device.is_plugged()) {
        let links = device.spec.links.iter().map(|link| (link.clone(), libc::DT_LNK));
        for (path, kind) in links.chain([(device.path(), libc::DT_CHR)]) {
            let name = path.strip_prefix(directory).and_then(|rest| rest.strip_prefix('/'));
            entries.extend(name.filter(|name| !name.contains('/')).map(|name| (name.to_owned(), kind)));
        }
    }
    let ours = !devices().is_empty() && directory == "/dev" || !entries.is_empty();
    ours.then_some(entries)
}

interpose! {
    fn [opendir](path: *const c_char) -> *mut c_void = |real| {
        // SAFETY: the program passes a C string.
        let name = unsafe { CStr::from_ptr(path) }.to_string_lossy().trim_end_matches('/').to_owned();
        let Some(fake) = fake_entries(&name) else { return real(path) };
        // A directory of the other names need not exist: any will do, since its entries are hidden.
        let stream = real(if name == "/dev" { path } else { c"/".as_ptr() });
        if !stream.is_null() {
            // SAFETY: a directory stream just opened, and a struct for which zero is a value.
            let (fd, entry) = unsafe { (libc::dirfd(stream.cast()), Box::new(std::mem::zeroed())) };
            locked(&LISTINGS).push(Listing { stream: stream as usize, fd, path: name, fake, entry });
        }
        stream
    }

    fn [readdir readdir64](stream: *mut c_void) -> *mut libc::dirent64 = |real| {
        let mut listings = locked(&LISTINGS);
        let listing = listings.iter_mut().find(|listing| listing.stream == stream as usize);
        let Some(listing) = listing else { return real(stream) };
        loop {
            let entry = real(stream);
            // SAFETY: null or an entry that is valid until the next call.
            match unsafe { entry.as_ref() } {
                None => return listing.next_fake(),
                Some(found) if !listing.hides(found) => return entry,
                Some(_) => {}
            }
        }
    }

    fn [closedir](stream: *mut c_void) -> c_int = |real| {
        locked(&LISTINGS).retain(|listing| listing.stream != stream as usize);
        real(stream)
    }
}
