//! The configuration: any text is refused with the place, or becomes settings that say the same when they are written
//! down and read again.

use std::path::Path;

use porthole::config::{Config, Flags, ReportLine, resolve};

/// The text of a file.
pub fn run(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let path = Path::new("/fuzz.toml");
    let flags = Flags::default();
    match resolve(&flags, path, text) {
        Err(error) => {
            let error = error.to_string();
            assert!(!error.trim().is_empty());
            // "/fuzz.toml:LINE: ..."
            if let Some(rest) = error.strip_prefix("/fuzz.toml:") {
                let line = rest.split([':', ' ']).next().and_then(|line| line.parse::<usize>().ok());
                let lines = text.bytes().filter(|&b| b == b'\n').count() + 1;
                assert!(line.is_some_and(|line| (1..=lines).contains(&line)), "{error}");
            }
        }
        Ok(config) => {
            let written: String = config.report.iter().map(|line| format!("{line}\n")).collect();
            let again = resolve(&flags, path, &written)
                .unwrap_or_else(|error| panic!("refused what it wrote itself: {error}\n{written}"));
            assert_eq!(said(&again), said(&config), "written down as\n{written}");
        }
    }
}

/// Every value that is in force.
fn said(config: &Config) -> Vec<(&str, &str)> {
    config
        .report
        .iter()
        .filter_map(|line| match line {
            ReportLine::Section(header) => Some((*header, "")),
            ReportLine::Value { key, value, .. } => Some((key.as_str(), value.as_str())),
            ReportLine::Comment(..) => None,
        })
        .collect()
}
