//! The text format of Prometheus, version 0.0.4: families of samples, each family with its help and type before it.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write};

use crate::status::Histogram;

/// What the format calls itself.
pub(in crate::web) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of figure a family holds.
#[derive(Clone, Copy, Debug)]
pub(in crate::web) enum Kind {
    /// It only grows, from 0 when the service starts.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How often something took how long.
    Histogram,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Labels of a sample: names of letters, and values of anything.
pub(in crate::web) type Labels<'a> = &'a [(&'a str, &'a str)];

/// A text that grows by families.
#[derive(Debug, Default)]
pub(in crate::web) struct Exposition(String);

impl Exposition {
    /// Begins a family. Its samples must follow before the next family begins.
    pub(in crate::web) fn family<'a>(&'a mut self, kind: Kind, name: &'a str, help: &str) -> Family<'a> {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.name());
        Family { text: &mut self.0, name }
    }

    pub(in crate::web) fn into_text(self) -> String {
        self.0
    }
}

/// A family whose samples are being written.
#[derive(Debug)]
pub(in crate::web) struct Family<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl Family<'_> {
    /// One sample of a counter or gauge.
    pub(in crate::web) fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.line("", labels, None, value)
    }

    /// All samples of a histogram, in seconds.
    pub(in crate::web) fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        // Before the buckets: what is recorded meanwhile is then missing in the sum, and not counted without it.
        let sum = histogram.sum_s();
        let mut count = 0;
        for (bound, below) in histogram.octaves() {
            let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".into() };
            self.line("_bucket", labels, Some(&bound), below);
            count = below;
        }
        self.line("_sum", labels, None, sum).line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: Labels<'_>, le: Option<&str>, value: impl Display) -> &mut Self {
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let all = labels.iter().copied().chain(le.map(|le| ("le", le)));
        for (index, (name, value)) in all.enumerate() {
            self.text.push(if index == 0 { '{' } else { ',' });
            let _ = write!(self.text, "{name}=\"{}\"", escaped(value));
        }
        let end = if labels.is_empty() && le.is_none() { "" } else { "}" };
        let _ = writeln!(self.text, "{end} {value}");
        self
    }
}

/// A label's value as it must be written.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn samples_follow_their_help_and_type() {
        let mut out = Exposition::default();
        out.family(Kind::Gauge, "a", "How much.").sample(&[], 1.5).sample(&[("x", "\"\\\n")], 2);
        let expected = "# HELP a How much.\n# TYPE a gauge\na 1.5\na{x=\"\\\"\\\\\\n\"} 2\n";
        assert_eq!(out.into_text(), expected);
    }

    #[test]
    fn a_histogram_ends_with_all_sum_and_count() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(3));
        let mut out = Exposition::default();
        out.family(Kind::Histogram, "h_seconds", "How long.").histogram(&[("x", "y")], &histogram);
        let text = out.into_text();
        assert!(text.contains("h_seconds_bucket{x=\"y\",le=\"0.002048\"} 0\n"), "{text}");
        assert!(text.contains("h_seconds_bucket{x=\"y\",le=\"0.004096\"} 1\n"), "{text}");
        let end = "h_seconds_bucket{x=\"y\",le=\"+Inf\"} 1\n\
                   h_seconds_sum{x=\"y\"} 0.003\nh_seconds_count{x=\"y\"} 1\n";
        assert!(text.ends_with(end), "{text}");
    }
}
