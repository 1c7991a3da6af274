//! A picture of the running service, asked for as anybody would, and whether it is the right program that gave it.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Longest that a picture may take: the camera is opened for it.
const PATIENCE: Duration = Duration::from_secs(20);
/// No picture is as large.
const MOST: u64 = 64 << 20;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Whether the service at `socket` is `program` and gives a picture.
///
/// # Errors
/// What is in the way.
pub(super) fn picture(socket: &Path, program: &Path) -> Result<(), String> {
    let place = socket.display();
    let stream = UnixStream::connect(socket).map_err(|cause| format!("{place}: {cause}"))?;
    is_served_by(&stream, program)?;
    let answer = ask(stream).map_err(|cause| format!("{place}: {cause}"))?;
    let end = answer.windows(END_OF_HEAD.len()).position(|bytes| bytes == END_OF_HEAD);
    let (head, body) = answer.split_at(end.map_or(answer.len(), |end| end + END_OF_HEAD.len()));
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).unwrap_or("nothing");
    if status != "200" {
        let why: String = String::from_utf8_lossy(body).chars().take(200).collect();
        return Err(format!("asked for a picture, it answers {status}: {}", why.trim()));
    }
    match body.starts_with(&[0xff, 0xd8]) && body.ends_with(&[0xff, 0xd9]) {
        true => Ok(()),
        false => Err(format!("asked for a picture, it gives {} bytes that are none", body.len())),
    }
}

/// Whether the process behind `stream` runs `program`, and not the one before it, which may go on until it is restarted.
fn is_served_by(stream: &UnixStream, program: &Path) -> Result<(), String> {
    let peer =
        getsockopt(stream, PeerCredentials).map_err(|errno| format!("who serves is not known: {errno}"))?;
    let exe = format!("/proc/{}/exe", peer.pid());
    let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    match (file(Path::new(&exe)), file(program)) {
        (Ok(runs), Ok(wanted)) if runs == wanted => Ok(()),
        (Err(cause), _) => Err(format!("{exe}: {cause}")),
        _ => {
            let runs = fs::read_link(&exe).unwrap_or_default();
            Err(format!("what serves is {}, not {}: restart porthole", runs.display(), program.display()))
        }
    }
}

/// The answer, to its end.
fn ask(mut stream: UnixStream) -> io::Result<Vec<u8>> {
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(b"GET /snapshot HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let (give_up, mut answer, mut part) = (Instant::now() + PATIENCE, Vec::new(), [0; 16 * 1024]);
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() as u64 > MOST {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part) {
            Ok(0) => return Ok(answer),
            Ok(read) => answer.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
