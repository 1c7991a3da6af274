//! The log: one line for each event on standard error, with the journal's priorities where the journal reads it.
//!
//! It spares SD cards and readers: the same event again and again is written a few times, then less and less often, each
//! time with how often it has happened since. `debug` and `trace` are asked for, and are written as they come. Who logs
//! what is not known here.
#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Metadata, Record};

/// How often an event is written before repeats are held back.
const FREE: u32 = 5;
/// Repeats are held back at first for so long...
const FIRST_REST: Duration = Duration::from_secs(60);
/// ...then for twice as long each time, up to this.
const LONGEST_REST: Duration = Duration::from_secs(3600);
/// Different events that are kept in mind.
const EVENTS: usize = 64;

/// Starts to log what is at least as serious as `level`, which counts more than the environment's `PORTHOLE_LOG`.
pub fn start(level: Option<LevelFilter>) {
    let mut filter = env_logger::Builder::new();
    filter.filter_level(LevelFilter::Info).parse_env("PORTHOLE_LOG");
    if let Some(level) = level {
        filter.filter_level(level);
    }
    let filter = filter.build();
    log::set_max_level(filter.filter());
    let logger = Logger {
        filter,
        for_journal: is_journal(std::env::var_os("JOURNAL_STREAM").as_deref()),
        started: Instant::now(),
        repeats: Mutex::default(),
    };
    // Fails only if there is a logger already.
    let _ = log::set_boxed_logger(Box::new(logger));
}

/// Whether standard error is the stream that `announced` speaks of, as device and inode (systemd.exec(5)). Set and not
/// the same, it was meant for somebody this was started by.
fn is_journal(announced: Option<&OsStr>) -> bool {
    let Ok(stat) = nix::sys::stat::fstat(io::stderr()) else { return false };
    let own = format!("{}:{}", stat.st_dev, stat.st_ino);
    announced.is_some_and(|announced| announced == own.as_str())
}

struct Logger {
    filter: env_logger::Logger,
    for_journal: bool,
    started: Instant,
    repeats: Mutex<Repeats>,
}

impl Log for Logger {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        self.filter.enabled(metadata)
    }

    fn log(&self, record: &Record<'_>) {
        if !self.filter.matches(record) {
            return;
        }
        let (level, text) = (record.level(), record.args().to_string());
        if level > Level::Info {
            return self.write(level, &text);
        }
        let lines = {
            let mut repeats = self.repeats.lock().unwrap_or_else(PoisonError::into_inner);
            repeats.admit(level, text, self.started.elapsed())
        };
        lines.iter().for_each(|(level, line)| self.write(*level, line));
    }

    fn flush(&self) {}
}

impl Logger {
    /// One line. In the journal it begins with its priority, which the journal takes off again (sd-daemon(3)).
    fn write(&self, level: Level, text: &str) {
        let priority = match level {
            Level::Error => 3,
            Level::Warn => 4,
            Level::Info => 6,
            Level::Debug | Level::Trace => 7,
        };
        // An event is one line, whatever is in it.
        let text = text.trim_end().replace('\n', "; ");
        let line = match self.for_journal {
            true => format!("<{priority}>{text}\n"),
            false => format!("porthole: {}: {text}\n", level.as_str().to_lowercase()),
        };
        // There is nowhere to say that this failed.
        let _ = io::stderr().write_all(line.as_bytes());
    }
}

/// Which events came lately, and how often.
#[derive(Debug, Default)]
struct Repeats {
    events: Vec<Event>,
}

/// An event: a text whose figures may differ from time to time.
#[derive(Debug)]
struct Event {
    level: Level,
    shape: String,
    /// The text that was held back last.
    text: String,
    written: u32,
    held_back: u32,
    rest: Duration,
    /// When it may be written again.
    next: Duration,
    last: Duration,
}

impl Repeats {
    /// Takes in an event at `now`, and gives the lines to write.
    fn admit(&mut self, level: Level, text: String, now: Duration) -> Vec<(Level, String)> {
        let shape = shape(&text);
        let mut lines = Vec::new();
        // What was held back and has not happened since is not lost.
        for event in self.events.iter_mut().filter(|event| event.shape != shape) {
            lines.extend(event.due(now));
        }
        // An event that has stayed away for long enough is a new one.
        self.events.retain(|event| event.held_back > 0 || now < event.last + event.rest * 2);
        let known = self.events.iter_mut().find(|event| event.shape == shape && event.level == level);
        match known {
            Some(event) => {
                (event.last, event.text) = (now, text.clone());
                if event.written < FREE {
                    event.written += 1;
                    event.next = now + event.rest;
                    lines.push((level, text));
                } else {
                    event.held_back += 1;
                    lines.extend(event.due(now));
                }
            }
            None => {
                if self.events.len() == EVENTS {
                    self.events.remove(0);
                }
                let (written, held_back, rest) = (1, 0, FIRST_REST);
                let next = now + rest;
                let event =
                    Event { level, shape, text: text.clone(), written, held_back, rest, next, last: now };
                self.events.push(event);
                lines.push((level, text));
            }
        }
        lines
    }
}

impl Event {
    /// The line for what was held back, if it is time for one.
    fn due(&mut self, now: Duration) -> Option<(Level, String)> {
        if self.held_back == 0 || now < self.next {
            return None;
        }
        let times = std::mem::take(&mut self.held_back);
        self.rest = (self.rest * 2).min(LONGEST_REST);
        self.next = now + self.rest;
        let times = if times == 1 { "once".into() } else { format!("{times} times") };
        Some((self.level, format!("{} ({times} since the last such line)", self.text)))
    }
}

/// The text without its figures.
fn shape(text: &str) -> String {
    let mut shape = String::with_capacity(text.len());
    for c in text.chars() {
        match c.is_ascii_digit() {
            true if shape.ends_with('#') => {}
            true => shape.push('#'),
            false => shape.push(c),
        }
    }
    shape
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(repeats: &mut Repeats, text: &str, seconds: u64) -> Vec<String> {
        let lines = repeats.admit(Level::Warn, text.into(), Duration::from_secs(seconds));
        lines.into_iter().map(|(_, line)| line).collect()
    }

    #[test]
    fn a_few_are_written_and_then_their_number() {
        let mut repeats = Repeats::default();
        for n in 0..u64::from(FREE) {
            assert_eq!(admit(&mut repeats, &format!("lost after {n} s"), n), [format!("lost after {n} s")]);
        }
        for n in 5..60 {
            assert_eq!(admit(&mut repeats, &format!("lost after {n} s"), n), [""; 0]);
        }
        let line = "lost after 70 s (56 times since the last such line)";
        assert_eq!(admit(&mut repeats, "lost after 70 s", 70), [line]);
        assert_eq!(admit(&mut repeats, "lost after 71 s", 71), [""; 0]);
        // Another event brings what would otherwise be never said.
        let lines = admit(&mut repeats, "opened", 1000);
        assert_eq!(lines, ["lost after 71 s (once since the last such line)", "opened"]);
        assert_eq!(admit(&mut repeats, "lost after 9 s", 20_000), ["lost after 9 s"], "a new event by now");
    }

    #[test]
    fn a_day_of_a_loose_plug_is_a_page_of_log() {
        let mut repeats = Repeats::default();
        let lines: usize = (0..86_400)
            .map(|second| {
                [
                    "camera front: lost: unplugged",
                    "camera front: opened /dev/video0",
                    "camera front: live again",
                ]
                .map(|text| admit(&mut repeats, text, second).len())
                .iter()
                .sum::<usize>()
            })
            .sum();
        assert!((40..150).contains(&lines), "{lines} lines");
    }

    #[test]
    fn what_is_kept_in_mind_has_an_end() {
        let mut repeats = Repeats::default();
        for n in 0..10_000u32 {
            let name: String = n.to_string().bytes().map(|digit| char::from(digit + 49)).collect();
            assert_eq!(admit(&mut repeats, &name, 0).len(), 1);
        }
        assert_eq!(repeats.events.len(), EVENTS);
    }

    #[test]
    fn the_journal_is_told_by_its_inode() {
        let stat = nix::sys::stat::fstat(io::stderr()).unwrap();
        let own = format!("{}:{}", stat.st_dev, stat.st_ino);
        assert!(is_journal(Some(OsStr::new(&own))));
        assert!(!is_journal(Some(OsStr::new("0:0"))) && !is_journal(None));
    }
}
