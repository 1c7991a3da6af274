//! Text from any editor of any PC, and the same text without its secrets.
#![forbid(unsafe_code)]

use std::ops::Range;
use std::path::Path;

use porthole::document::line_of;

use super::error::SettingsError;

/// The text of a file. Notepad begins it with a byte order mark, and writes UTF-16 when told to write "Unicode".
pub(super) fn decode(path: &Path, bytes: &[u8]) -> Result<String, SettingsError> {
    let no_text = |line| SettingsError::NoText { path: path.into(), line };
    if let Some(utf16) = bytes.strip_prefix(&[0xff, 0xfe]) {
        let units = utf16.chunks(2).map(|pair| u16::from_le_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        let decoded: Result<String, _> = char::decode_utf16(units).collect();
        return decoded.map_err(|_| no_text(1));
    }
    let bytes = bytes.strip_prefix("\u{feff}".as_bytes()).unwrap_or(bytes);
    let text = str::from_utf8(bytes)
        .map_err(|error| no_text(line_of(&String::from_utf8_lossy(bytes), error.valid_up_to())))?;
    Ok(text.to_owned())
}

/// The lines of the value at `span`, without the end of the last; `None` if they hold more than the value, its key and a
/// comment, so that they cannot be removed.
pub(super) fn own_lines(text: &str, span: &Range<usize>) -> Option<Range<usize>> {
    let start = text[..span.start].rfind('\n').map_or(0, |at| at + 1);
    let end = text[span.end..].find(['\r', '\n']).map_or(text.len(), |at| span.end + at);
    let (before, after) = (text[start..span.start].trim(), text[span.end..end].trim());
    let is_alone = before.ends_with('=') && !before.contains(['{', ',', '"', '\'']);
    (is_alone && (after.is_empty() || after.starts_with('#'))).then_some(start..end)
}

/// The text with a comment in the place of each of these secrets: their keys, and the spans of their values.
pub(super) fn without(text: &str, secrets: &[(&'static str, Range<usize>)]) -> String {
    let mut lines: Vec<_> =
        secrets.iter().filter_map(|(key, span)| Some((*key, own_lines(text, span)?))).collect();
    lines.sort_by_key(|(_, lines)| lines.start);
    let (mut clean, mut from) = (String::with_capacity(text.len()), 0);
    for (key, lines) in lines {
        let before = &text[from..lines.start];
        let note = "has been applied and taken out of this file; write it again to change it";
        clean += &format!("{before}# {key} = \"...\"   # {note}");
        from = lines.end;
    }
    clean.push_str(&text[from..]);
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<String, String> {
        decode(Path::new("f"), bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn what_notepad_writes_is_read() {
        assert_eq!(read(b"\xef\xbb\xbfa\r\n").unwrap(), "a\r\n");
        assert_eq!(read(b"\xff\xfea\0\xfc\0\n\0").unwrap(), "a\u{fc}\n");
        assert_eq!(read("gr\u{fc}n".as_bytes()).unwrap(), "gr\u{fc}n");
        assert_eq!(read(b"").unwrap(), "");
    }

    #[test]
    fn what_is_no_text_is_told_with_its_line() {
        assert_eq!(read(b"a\nb\xfc").unwrap_err(), "f:2: is no UTF-8: save the file as UTF-8");
        assert_eq!(read(b"\xff\xfe\0\xd8").unwrap_err(), "f:1: is no UTF-8: save the file as UTF-8");
    }

    #[test]
    fn a_secret_is_taken_out_with_its_line_and_what_is_said_there() {
        let text = "a = 1\r\n  key = \"se\r\ncret\"  # it is secret\r\nb = 2";
        let at = |value: &str| text.find(value).map(|start| start..start + value.len()).unwrap();
        let clean = without(text, &[("key", at("\"se\r\ncret\""))]);
        assert_eq!(
            clean,
            "a = 1\r\n# key = \"...\"   # has been applied and taken out of this file; write it again to change it\r\nb = 2"
        );
        assert_eq!(own_lines(text, &at("2")), Some(text.len() - 5..text.len()));
    }

    #[test]
    fn a_line_that_holds_more_is_not_one_to_take_out() {
        for text in ["w = { a = 1, p = X }", "w = { p = X }", "p = [X]", "p = X y", "'=' = X"] {
            let start = text.find('X').unwrap();
            assert_eq!(own_lines(text, &(start..start + 1)), None, "{text}");
        }
    }
}
