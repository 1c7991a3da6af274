//! What a front end says of itself at `CAMERA/watch`: its name, and for how many seconds it wants live frames.
#![forbid(unsafe_code)]

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Most bytes of the message. All valid ones are shorter.
const MOST_BYTES: usize = 1024;
/// Longest name of a front end, in bytes.
pub(crate) const LONGEST_NAME: usize = 128;
/// Longest time. A front end that is gone keeps the camera open for no longer.
pub(crate) const LONGEST_WATCH: Duration = Duration::from_secs(300);

/// A message at `watch`.
#[derive(Clone, Debug, PartialEq)]
pub struct WatchRequest {
    /// The name of the front end, which no other one has.
    pub viewer: String,
    /// From now on. Zero ends it at once.
    pub time: Duration,
    /// The time there in microseconds, if it compares the clocks: it wants to know the time here.
    pub sent_at: Option<u64>,
}

/// The answer to a front end that compares the clocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClockAnswer {
    /// What it sent.
    pub(crate) t: u64,
    /// The time here, in microseconds.
    pub(crate) now: u64,
}

impl ClockAnswer {
    /// Reads a message; `None` if it is no answer.
    pub(crate) fn parse(payload: &[u8]) -> Option<Self> {
        serde_json::from_slice(payload).ok().filter(|_| payload.len() <= MOST_BYTES)
    }

    /// The message.
    pub(crate) fn to_payload(self) -> Vec<u8> {
        // A struct of numbers always serializes.
        serde_json::to_vec(&self).unwrap_or_default()
    }
}

#[derive(Serialize, Deserialize)]
struct WatchJson<'a> {
    viewer: std::borrow::Cow<'a, str>,
    seconds: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    t: Option<u64>,
}

impl WatchRequest {
    /// Reads a message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(payload: &[u8]) -> Result<Self, String> {
        const FORM: &str = r#"must be JSON like {"viewer": "NAME", "seconds": 10}"#;
        if payload.len() > MOST_BYTES {
            return Err(format!("{FORM}, of at most {MOST_BYTES} bytes"));
        }
        let WatchJson { viewer, seconds, t } = serde_json::from_slice(payload).map_err(|_| FORM)?;
        if viewer.is_empty() || viewer.len() > LONGEST_NAME || viewer.chars().any(char::is_control) {
            return Err(format!(
                "viewer must be 1 to {LONGEST_NAME} bytes of text without control characters"
            ));
        }
        let time = Duration::try_from_secs_f64(seconds).ok().filter(|time| *time <= LONGEST_WATCH);
        let time = time.ok_or_else(|| format!("seconds must be 0 to {}", LONGEST_WATCH.as_secs()))?;
        Ok(Self { viewer: viewer.into_owned(), time, sent_at: t })
    }

    /// The message.
    pub fn to_payload(&self) -> Vec<u8> {
        let json = WatchJson {
            viewer: self.viewer.as_str().into(),
            seconds: self.time.as_secs_f64(),
            t: self.sent_at,
        };
        // A struct of text and a number always serializes.
        serde_json::to_vec(&json).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_as_it_is_written() {
        let request =
            WatchRequest {
                viewer: "front \"1\" ü".into(), time: Duration::from_millis(2500), sent_at: None
            };
        assert!(!String::from_utf8(request.to_payload()).unwrap().contains("\"t\""));
        assert_eq!(WatchRequest::parse(&request.to_payload()), Ok(request.clone()));
        let request = WatchRequest { sent_at: Some(u64::MAX), ..request };
        assert_eq!(WatchRequest::parse(&request.to_payload()), Ok(request));
        let answer = ClockAnswer { t: 7, now: u64::MAX };
        assert_eq!(ClockAnswer::parse(&answer.to_payload()), Some(answer));
        assert_eq!(ClockAnswer::parse(br#"{"t":1}"#), None);
        let parsed = WatchRequest::parse(br#"{"viewer":"a","seconds":10,"later":[1]}"#).unwrap();
        assert_eq!((parsed.viewer.as_str(), parsed.time.as_secs()), ("a", 10));
    }

    #[test]
    fn what_is_out_of_bounds_is_told() {
        let long = format!(r#"{{"viewer":"{}","seconds":1}}"#, "x".repeat(LONGEST_NAME + 1));
        for (payload, why) in [
            (&b""[..], "must be JSON"),
            (b"10", "must be JSON"),
            (br#"{"viewer":"a"}"#, "must be JSON"),
            (br#"{"viewer":"a","seconds":"1"}"#, "must be JSON"),
            (br#"{"viewer":"","seconds":1}"#, "viewer must be"),
            (br#"{"viewer":"a\n","seconds":1}"#, "viewer must be"),
            (br#"{"viewer":"a","seconds":-1}"#, "seconds must be"),
            (br#"{"viewer":"a","seconds":301}"#, "seconds must be"),
            (br#"{"viewer":"a","seconds":1e999}"#, "must be JSON"),
            (long.as_bytes(), "viewer must be"),
            (&[b' '; MOST_BYTES + 1], "at most"),
        ] {
            let error = WatchRequest::parse(payload).unwrap_err();
            assert!(error.contains(why), "{}: {error}", String::from_utf8_lossy(payload));
        }
    }
}
