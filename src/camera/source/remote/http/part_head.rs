//! What stands between pictures: header lines, as far as they matter, boundaries, and what data is by its first bytes.
#![forbid(unsafe_code)]

/// Most bytes of a content type that are kept for a message.
const MAX_TYPE_BYTES: usize = 60;

/// The header of a part of a stream, or of a whole answer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartHead {
    /// `Content-Length`.
    pub(super) length: Option<u64>,
    /// `Content-Type`, without parameters.
    pub(super) content_type: Option<String>,
    /// It has a header line.
    pub(super) has_lines: bool,
    /// The empty line behind it has come.
    pub(super) is_complete: bool,
}

impl PartHead {
    /// Reads a line without its end. Lines that are not header lines are passed over: servers write many things there.
    pub(super) fn read_line(&mut self, line: &[u8]) {
        let Some(colon) = memchr::memchr(b':', line) else { return };
        let (name, value) = (line[..colon].trim_ascii(), line[colon + 1..].trim_ascii());
        if name.is_empty() || !name.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'-') {
            return;
        }
        self.has_lines = true;
        if name.eq_ignore_ascii_case(b"content-length") {
            self.length = str::from_utf8(value).ok().and_then(|value| value.parse().ok());
        } else if name.eq_ignore_ascii_case(b"content-type") {
            self.content_type = Some(type_name(value));
        }
    }

    /// Whether its type says that no JPEG follows.
    pub(super) fn is_other(&self) -> bool {
        // Some servers name no type, or one that means nothing.
        let is_picture = |name: &str| {
            ["image/jpeg", "image/jpg", "image/pjpeg", "application/octet-stream", ""].contains(&name)
        };
        self.content_type.as_deref().is_some_and(|name| !is_picture(name))
    }
}

/// A content type in lower case, without parameters and strange characters.
pub(super) fn type_name(value: &[u8]) -> String {
    let name = value.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    let name =
        name.iter().take(MAX_TYPE_BYTES).map(|byte| if byte.is_ascii_graphic() { *byte } else { b'?' });
    name.map(|byte| char::from(byte.to_ascii_lowercase())).collect()
}

/// Describes content that is no picture, by its first bytes and the type that the server gave it.
pub(super) fn what_came(content_type: Option<&str>, begin: &[u8]) -> String {
    let text = begin.trim_ascii_start();
    let starts = |magic: &[u8]| begin.starts_with(magic);
    let is_html = [&b"<!doctype html"[..], b"<html", b"<head", b"<body"]
        .iter()
        .any(|tag| text.len() >= tag.len() && text[..tag.len()].eq_ignore_ascii_case(tag));
    let kind = match () {
        () if begin.is_empty() => "nothing",
        () if is_html => "an HTML page",
        () if starts(b"\x89PNG") => "a PNG picture",
        () if starts(b"GIF8") => "a GIF picture",
        () if starts(b"RIFF") => "a WebP picture or another RIFF file",
        () if starts(b"FLV") || begin.get(4..8) == Some(b"ftyp") => "a video file",
        () if starts(&[0, 0, 0, 1]) || starts(&[0, 0, 1]) => "a video stream such as H.264",
        () if text.first().is_some_and(|byte| b"<".contains(byte)) => "a page or an XML document",
        () if text.first().is_some_and(|byte| b"{[".contains(byte)) => "JSON",
        () if begin.iter().take(32).all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace()) => {
            "text"
        }
        () => "data that is no JPEG",
    };
    match content_type {
        Some(name) if !name.is_empty() => format!("{kind} ({name})"),
        _ => kind.to_owned(),
    }
}

/// The boundary of a `Content-Type`, without quotes and leading dashes; `None` if there is none.
pub(super) fn boundary(content_type: &str) -> Option<&str> {
    let parameters = content_type.split(';').skip(1);
    let value = parameters.filter_map(|parameter| parameter.split_once('=')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("boundary").then(|| value.trim().trim_matches('"'))
    })?;
    Some(value.trim_start_matches('-')).filter(|value| !value.is_empty())
}

/// Whether `rest` begins with a boundary or is the end; `None` if that cannot be told yet.
pub(super) fn is_boundary_next(rest: &[u8], boundary: Option<&[u8]>, is_ended: bool) -> Option<bool> {
    let line = rest.trim_ascii_start();
    if is_ended && line.is_empty() {
        return Some(true);
    }
    let dashes = line.iter().take_while(|byte| **byte == b'-').count();
    let has_line_end = line.len() < rest.len();
    let may_go_on = match boundary {
        Some(boundary) if line[dashes..].starts_with(boundary) => return Some(true),
        Some(boundary) => boundary.starts_with(&line[dashes..]),
        None if has_line_end && dashes >= 2 => return Some(true),
        None => line.is_empty() || (has_line_end && dashes == line.len()),
    };
    if may_go_on && !is_ended { None } else { Some(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_lines_are_read_in_any_case_and_others_are_passed_over() {
        let mut head = PartHead::default();
        for line in ["--x", "http://a b: c", "CONTENT-length :  12 ", "content-type: Image/JPEG; q=1", ": x"]
        {
            head.read_line(line.as_bytes());
        }
        let expected = PartHead {
            length: Some(12),
            content_type: Some("image/jpeg".into()),
            has_lines: true,
            is_complete: false,
        };
        assert_eq!(head, expected);
        assert!(!head.is_other());
        head.read_line(b"Content-Length: -5");
        head.read_line(b"Content-Type: text/\x1b[31mplain");
        assert_eq!((head.length, head.content_type.as_deref()), (None, Some("text/?[31mplain")));
        assert!(head.is_other());
    }

    #[test]
    fn boundaries_are_found_with_and_without_quotes_and_dashes() {
        for (content_type, expected) in [
            ("multipart/x-mixed-replace;boundary=frame", Some("frame")),
            ("multipart/x-mixed-replace; Boundary=\"--frame\"", Some("frame")),
            ("multipart/x-mixed-replace; x=1; boundary= --frame ", Some("frame")),
            ("multipart/x-mixed-replace", None),
            ("multipart/x-mixed-replace; boundary=\"\"", None),
        ] {
            assert_eq!(boundary(content_type), expected, "{content_type}");
        }
    }

    #[test]
    fn what_came_is_named_by_its_content_and_its_type() {
        for (name, begin, words) in [
            (Some("text/html"), &b"\r\n<!DOCTYPE HTML>"[..], "an HTML page (text/html)"),
            (Some("text/plain"), b"hello", "text (text/plain)"),
            (Some("image/png"), b"\x89PNG\r\n", "a PNG picture (image/png)"),
            (None, b"", "nothing"),
            (None, b"\x00\x01\x02", "data that is no JPEG"),
        ] {
            assert_eq!(what_came(name, begin), words);
        }
    }
}
