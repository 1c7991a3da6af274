//! The log: one line per message on standard error, with the journal's priorities if the journal reads it.
//!
//! Repeated messages are limited, to spare SD cards and readers: after a few lines, a message is written less and less often,
//! each time with the number of repetitions since. Messages of the levels `debug` and `trace` are not limited. What is logged
//! does not belong here.
//!
//! env_logger parses the filter and writes the lines. It has no priorities for the journal, and no limit on repeated
//! messages.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io::{self, Write};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use log::{Level, LevelFilter};

use crate::escape::escape;
use crate::sync::lock;

/// Lines of one message before repeats are suppressed.
const UNLIMITED: u32 = 5;
/// Repeats are suppressed for this long at first. The time doubles with every line.
const FIRST_PAUSE: Duration = Duration::from_secs(60);
/// Repeats are suppressed for this long at most: a lasting fault makes one line per hour.
const LONGEST_PAUSE: Duration = Duration::from_secs(3600);
/// Different messages that are remembered. Beyond that the oldest is forgotten, and may be written in full again.
const MAX_MESSAGES: usize = 64;

/// Starts to log messages of `level` and more serious ones. `level` overrides `PORTHOLE_LOG` in the environment.
pub fn start(level: Option<LevelFilter>) {
    let mut logger = env_logger::Builder::new();
    logger.filter_level(LevelFilter::Info).parse_env("PORTHOLE_LOG");
    if let Some(level) = level {
        logger.filter_level(level);
    }
    let for_journal = is_journal(std::env::var_os("JOURNAL_STREAM").as_deref());
    let (started, repeats) = (Instant::now(), Mutex::<RepeatLimiter>::default());
    logger.format(move |out, record| {
        let (level, text) = (record.level(), record.args().to_string());
        if level > Level::Info {
            return writeln!(out, "{}", line(level, &text, for_journal));
        }
        let lines = lock(&repeats).lines(level, text, started.elapsed());
        lines.iter().try_for_each(|(level, text)| writeln!(out, "{}", line(*level, text, for_journal)))
    });
    // Fails only if there is a logger.
    let _ = logger.try_init();
}

/// A message as a line. For the journal it begins with the priority, which the journal removes (sd-daemon(3)).
fn line(level: Level, text: &str, for_journal: bool) -> String {
    let priority = match level {
        Level::Error => 3,
        Level::Warn => 4,
        Level::Info => 6,
        Level::Debug | Level::Trace => 7,
    };
    // A message is one line, whatever it contains, and moves no cursor.
    let text = text.trim_end().replace('\n', "; ");
    let text = escape(&text);
    match for_journal {
        true => format!("<{priority}>{text}"),
        false => format!("porthole: {}: {text}", level.as_str().to_lowercase()),
    }
}

/// Whether standard error is the journal's stream `journal`, given as device and inode (systemd.exec(5)). The variable may also be
/// inherited from a parent with another standard error.
fn is_journal(journal: Option<&OsStr>) -> bool {
    let Ok(stat) = nix::sys::stat::fstat(io::stderr()) else { return false };
    let own = format!("{}:{}", stat.st_dev, stat.st_ino);
    journal.is_some_and(|journal| journal == own.as_str())
}

/// Limits repeated messages.
#[derive(Debug, Default)]
struct RepeatLimiter {
    messages: Vec<RepeatedMessage>,
}

/// A message that may repeat. Its numbers may differ.
#[derive(Debug)]
struct RepeatedMessage {
    level: Level,
    /// The text with `#` for each number.
    pattern: String,
    /// The last text.
    text: String,
    written: u32,
    suppressed: u32,
    pause: Duration,
    /// When a suppressed message may be written.
    next: Duration,
    /// When the message was last logged.
    last: Duration,
}

impl RepeatLimiter {
    /// Adds a message at `now`; returns the lines to write.
    fn lines(&mut self, level: Level, text: String, now: Duration) -> Vec<(Level, String)> {
        let pattern = pattern(&text);
        let mut lines = Vec::new();
        // Other messages that were suppressed and are due.
        for message in self.messages.iter_mut().filter(|message| message.pattern != pattern) {
            lines.extend(message.due(now));
        }
        // A message that has not been logged for long enough is a new one.
        self.messages.retain(|message| message.suppressed > 0 || now < message.last + message.pause * 2);
        let known = self.messages.iter().position(|known| known.pattern == pattern && known.level == level);
        let index = known.unwrap_or_else(|| {
            if self.messages.len() == MAX_MESSAGES {
                self.messages.remove(0);
            }
            self.messages.push(RepeatedMessage::new(level, pattern, now));
            self.messages.len() - 1
        });
        let message = &mut self.messages[index];
        (message.last, message.text) = (now, text.clone());
        if message.written < UNLIMITED {
            message.written += 1;
            message.next = now + message.pause;
            lines.push((level, text));
        } else {
            message.suppressed += 1;
            lines.extend(message.due(now));
        }
        lines
    }
}

impl RepeatedMessage {
    fn new(level: Level, pattern: String, now: Duration) -> Self {
        let (text, written, suppressed, pause) = (String::new(), 0, 0, FIRST_PAUSE);
        Self { level, pattern, text, written, suppressed, pause, next: now, last: now }
    }

    /// The line for suppressed messages, if it is due.
    fn due(&mut self, now: Duration) -> Option<(Level, String)> {
        if self.suppressed == 0 || now < self.next {
            return None;
        }
        let times = std::mem::take(&mut self.suppressed);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        self.next = now + self.pause;
        let times = if times == 1 { "once".into() } else { format!("{times} times") };
        Some((self.level, format!("{} ({times} since the last such line)", self.text)))
    }
}

/// The text with `#` for each number.
fn pattern(text: &str) -> String {
    let mut pattern = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if pattern.ends_with('#') => {}
            true => pattern.push('#'),
            false => pattern.push(c),
        }
    }
    pattern
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(limiter: &mut RepeatLimiter, text: &str, seconds: u64) -> Vec<String> {
        let lines = limiter.lines(Level::Warn, text.into(), Duration::from_secs(seconds));
        lines.into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn after_a_few_lines_repeats_are_counted() {
        let mut limiter = RepeatLimiter::default();
        for n in 0..u64::from(UNLIMITED) {
            assert_eq!(lines(&mut limiter, &format!("lost after {n} s"), n), [format!("lost after {n} s")]);
        }
        for n in 5..60 {
            assert_eq!(lines(&mut limiter, &format!("lost after {n} s"), n), [""; 0]);
        }
        let line = "lost after 70 s (56 times since the last such line)";
        assert_eq!(lines(&mut limiter, "lost after 70 s", 70), [line]);
        assert_eq!(lines(&mut limiter, "lost after 71 s", 71), [""; 0]);
        // Another message flushes what was suppressed.
        let flushed = lines(&mut limiter, "opened", 1000);
        assert_eq!(flushed, ["lost after 71 s (once since the last such line)", "opened"]);
        assert_eq!(
            lines(&mut limiter, "lost after 9 s", 20_000),
            ["lost after 9 s"],
            "long enough ago to be a new message"
        );
    }

    #[test]
    fn a_day_with_a_loose_plug_is_a_page_of_log() {
        let mut limiter = RepeatLimiter::default();
        let lines: usize = (0..86_400)
            .map(|second| {
                [
                    "camera front: lost: unplugged",
                    "camera front: opened /dev/video0",
                    "camera front: live again",
                ]
                .map(|text| lines(&mut limiter, text, second).len())
                .iter()
                .sum::<usize>()
            })
            .sum();
        assert!((40..150).contains(&lines), "{lines} lines");
    }

    #[test]
    fn the_number_of_remembered_messages_is_limited() {
        let mut limiter = RepeatLimiter::default();
        for n in 0..10_000u32 {
            let name: String = n.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
            assert_eq!(lines(&mut limiter, &name, 0).len(), 1);
        }
        assert_eq!(limiter.messages.len(), MAX_MESSAGES);
    }

    #[test]
    fn a_message_is_one_line_without_control_characters() {
        let text = "opened A\x1b[2J\rB\u{202e}\n\u{85}C\n";
        let expected = r"opened A\u{1b}[2J\rB\u{202e}; \u{85}C";
        assert_eq!(line(Level::Info, text, false), format!("porthole: info: {expected}"));
        assert_eq!(line(Level::Debug, text, true), format!("<7>{expected}"));
    }

    #[test]
    fn the_journal_is_recognised_by_its_inode() {
        let stat = nix::sys::stat::fstat(io::stderr()).unwrap();
        let own = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_journal(Some(OsStr::new(&own))));
        assert!(!is_journal(Some(OsStr::new("0:0"))) && !is_journal(None));
    }
}
