//! Text of others, made fit for a terminal and for a log.
//!
//! Devices, peers, files and child processes name themselves and report errors. A control character in such a text moves the
//! cursor of a terminal or forges a line of a log, and a bidirectional override reverses what follows. All output that a person reads
//! as plain text goes through this file: the log, the listings, text answers. JSON has an escaping of its own.
#![forbid(unsafe_code)]

use std::borrow::Cow;

/// `text` with each control character as its escape sequence in Rust: `\u{1b}`, `\r`. Use it for a text that is one line at most.
pub fn escape(text: &str) -> Cow<'_, str> {
    escape_where(text, is_unfit)
}

/// The same for a text of several lines: the ends of lines stay.
pub fn escape_lines(text: &str) -> Cow<'_, str> {
    escape_where(text, |c| c != '\n' && is_unfit(c))
}

fn escape_where(text: &str, is_escaped: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.chars().any(&is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut shown = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        match is_escaped(c) {
            true => shown.extend(c.escape_default()),
            false => shown.push(c),
        }
    }
    Cow::Owned(shown)
}

/// Whether a character does more than to stand in its place: C0, DEL and C1; the separators of lines and paragraphs; the
/// controls of direction (Unicode Standard Annex #9, section 2).
fn is_unfit(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{2028}' | '\u{2029}'
            | '\u{061c}' | '\u{200e}' | '\u{200f}'
            | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_moves_a_cursor_or_turns_text_around_is_left() {
        let all: String = (0..=0x10ffff).filter_map(char::from_u32).collect();
        let (one, lines) = (escape(&all), escape_lines(&all));
        for shown in [&one, &lines] {
            let moving = |c: &char| (*c as u32) < 32 || (0x7f..0xa0).contains(&(*c as u32));
            let left: Vec<char> = shown.chars().filter(|c| moving(c) || is_unfit(*c)).collect();
            assert!(left.iter().all(|c| *c == '\n') && left.len() <= 1, "{left:?}");
        }
        assert!(!one.contains('\n') && lines.contains('\n'));
        assert_eq!(
            escape("\x1b[2J\r\n\t\u{9b}1m\u{202e}\u{2028}\x7f"),
            r"\u{1b}[2J\r\n\t\u{9b}1m\u{202e}\u{2028}\u{7f}"
        );
    }

    #[test]
    fn other_text_is_not_copied() {
        for text in ["", "Logitech C920 – Größe 1", "カメラ", r"C:\path \u{1b}", "e\u{301}"] {
            assert!(matches!(escape(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }
}
