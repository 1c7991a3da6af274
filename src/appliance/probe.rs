//! Asks the running service for a picture, and checks that the right program gives it.
#![forbid(unsafe_code)]

use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

/// Longest time for a picture: the camera is opened for it.
const TIMEOUT: Duration = Duration::from_secs(20);
/// More bytes than any picture has.
const MOST_BYTES: u64 = 64 << 20;
const END_OF_HEAD: &[u8] = b"\r\n\r\n";

/// Whether the service at `socket` is `program` and gives a picture.
///
/// # Errors
/// Why there is none.
pub(crate) fn picture(socket: &Path, program: &Path) -> Result<(), String> {
    let place = socket.display();
    let stream = UnixStream::connect(socket).map_err(|cause| format!("{place}: {cause}"))?;
    is_served_by(&stream, program)?;
    let answer = request(stream).map_err(|cause| format!("{place}: {cause}"))?;
    let end = answer.windows(END_OF_HEAD.len()).position(|bytes| bytes == END_OF_HEAD);
    let (head, body) = answer.split_at(end.map_or(answer.len(), |end| end + END_OF_HEAD.len()));
    let head = String::from_utf8_lossy(head);
    let status = head.split(' ').nth(1).unwrap_or("nothing");
    if status != "200" {
        let why: String = String::from_utf8_lossy(body).chars().take(200).collect();
        return Err(format!("the request for a picture is answered {status}: {}", why.trim()));
    }
    match body.starts_with(&[0xff, 0xd8]) && body.ends_with(&[0xff, 0xd9]) {
        true => Ok(()),
        false => Err(format!(
            "the answer to the request for a picture is {} bytes that are not a JPEG",
            body.len()
        )),
    }
}

/// Checks that the process behind `stream` runs `program`. The one before it runs until the service is restarted.
fn is_served_by(stream: &UnixStream, program: &Path) -> Result<(), String> {
    let peer = getsockopt(stream, PeerCredentials)
        .map_err(|errno| format!("the serving process is unknown: {errno}"))?;
    let exe = format!("/proc/{}/exe", peer.pid());
    let file = |path: &Path| fs::metadata(path).map(|file| (file.dev(), file.ino()));
    match (file(Path::new(&exe)), file(program)) {
        (Ok(runs), Ok(wanted)) if runs == wanted => Ok(()),
        (Err(cause), _) => Err(format!("{exe}: {cause}")),
        _ => {
            let runs = fs::read_link(&exe).unwrap_or_default();
            Err(format!("{} serves, not {}: restart porthole", runs.display(), program.display()))
        }
    }
}

/// Sends the request, and reads the answer to its end.
fn request(mut stream: UnixStream) -> io::Result<Vec<u8>> {
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(b"GET /snapshot HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
    let (give_up, mut answer, mut part) = (Instant::now() + TIMEOUT, Vec::new(), [0; 16 * 1024]);
    loop {
        let left = give_up.saturating_duration_since(Instant::now());
        if left.is_zero() || answer.len() as u64 > MOST_BYTES {
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
