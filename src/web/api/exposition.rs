//! The text exposition format of Prometheus, version 0.0.4.
//!
//! Written by hand, as it is short. The `prometheus` and `prometheus-client` crates are built around metrics that they own.
//! These are read from the status, the ring and the viewers when they are asked for.
#![forbid(unsafe_code)]

use std::fmt::{Display, Write};

use crate::status::Histogram;

/// The content type of the format.
pub(super) const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Labels of a sample. Names consist of letters; values are escaped.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text, which grows by families.
#[derive(Debug, Default)]
pub(super) struct Exposition(String);

impl Exposition {
    /// Begins a family: a counter if its name ends with `_total`, as the naming conventions of Prometheus have it, otherwise
    /// a gauge. Its samples must come before the next family.
    pub(super) fn family<'a>(&'a mut self, name: &'a str, help: &str) -> MetricFamily<'a> {
        self.begin(if name.ends_with("_total") { "counter" } else { "gauge" }, name, help)
    }

    /// Begins a family of histograms.
    pub(super) fn histogram_family<'a>(&'a mut self, name: &'a str, help: &str) -> MetricFamily<'a> {
        self.begin("histogram", name, help)
    }

    fn begin<'a>(&'a mut self, kind: &str, name: &'a str, help: &str) -> MetricFamily<'a> {
        // Writing to a String cannot fail.
        let _ = write!(self.0, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        MetricFamily { text: &mut self.0, name }
    }

    pub(super) fn into_text(self) -> String {
        self.0
    }
}

/// The family that samples are added to.
#[derive(Debug)]
pub(super) struct MetricFamily<'a> {
    text: &'a mut String,
    name: &'a str,
}

impl MetricFamily<'_> {
    /// One sample of a counter or gauge.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: impl Display) -> &mut Self {
        self.line("", labels, None, value)
    }

    /// All samples of a histogram, in seconds.
    pub(super) fn histogram(&mut self, labels: Labels<'_>, histogram: &Histogram) {
        // Read before the buckets: what is recorded meanwhile is then missing from the sum, and never from the count.
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

/// Escapes the value of a label.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn samples_follow_help_and_type() {
        let mut out = Exposition::default();
        out.family("a", "How much.").sample(&[], 1.5).sample(&[("x", "\"\\\n")], 2);
        let expected = "# HELP a How much.\n# TYPE a gauge\na 1.5\na{x=\"\\\"\\\\\\n\"} 2\n";
        assert_eq!(out.into_text(), expected);
        let mut out = Exposition::default();
        out.family("a_total", "How many.").sample(&[], 3);
        assert_eq!(out.into_text(), "# HELP a_total How many.\n# TYPE a_total counter\na_total 3\n");
    }

    #[test]
    fn a_histogram_ends_with_its_total_sum_and_count() {
        let histogram = Histogram::default();
        histogram.record(Duration::from_millis(3));
        let mut out = Exposition::default();
        out.histogram_family("h_seconds", "How long.").histogram(&[("x", "y")], &histogram);
        let text = out.into_text();
        assert!(text.contains("h_seconds_bucket{x=\"y\",le=\"0.002048\"} 0\n"), "{text}");
        assert!(text.contains("h_seconds_bucket{x=\"y\",le=\"0.004096\"} 1\n"), "{text}");
        let end = "h_seconds_bucket{x=\"y\",le=\"+Inf\"} 1\n\
                   h_seconds_sum{x=\"y\"} 0.003\nh_seconds_count{x=\"y\"} 1\n";
        assert!(text.ends_with(end), "{text}");
    }
}
