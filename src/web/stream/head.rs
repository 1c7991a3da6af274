//! The head of an answer that is a stream. It is written by hand, as the connection is taken over.
#![forbid(unsafe_code)]

/// The head up to its content type, and from there to the header lines that depend on the request. The connection ends with the
/// stream.
const HEAD: [&str; 2] = [
    "HTTP/1.1 200 OK\r\nContent-Type: ",
    "\r\nCache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nConnection: close\r\n",
];

/// The parts of a head with these header lines, without the empty line that ends it.
pub(super) fn stream_head<'a>(content_type: &'a str, header_lines: &'a str) -> [&'a str; 4] {
    [HEAD[0], content_type, HEAD[1], header_lines]
}
