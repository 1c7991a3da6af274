//! The Autobahn TestSuite, which knows RFC 6455 better than anybody: against the program's own framing, behind which an
//! echo stands, and against the real `/ws`.
//!
//! `scripts/autobahn` brings the suite and calls this; on its own it does nothing. What is expected of each case is in
//! `expected.toml`, with the reason wherever that is not the suite's OK.
#![allow(clippy::unwrap_used, missing_docs, unreachable_pub)]

mod web;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::path::Path;
use std::process::{Command, ExitCode};

use porthole::document::{self, DeValue, DocumentError, FromToml, TableReader};
use serde::Deserialize;
use serde_json::json;
use support::{Porthole, Scratch, source_tree};

/// What the echo takes: as much as the largest message of the suite.
const ECHO_LIMIT: usize = 16 << 20;

/// What is expected of one server.
struct Expected {
    /// Patterns of cases that are run.
    run: Vec<String>,
    /// How many those are.
    cases: i64,
    /// Those that are not.
    left_out: Vec<LeftOut>,
    /// All that is not OK.
    differs: Vec<Differs>,
}

impl FromToml for Expected {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let mut table = TableReader::new(value, span)?;
        let expected = Self {
            run: table.key("run")?,
            cases: table.key("cases")?,
            left_out: table.key("left_out")?,
            differs: table.key("differs")?,
        };
        table.finish()?;
        Ok(expected)
    }
}

/// Cases that are not run.
struct LeftOut {
    /// Patterns of them.
    cases: Vec<String>,
    /// Why.
    why: String,
}

impl FromToml for LeftOut {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let mut table = TableReader::new(value, span)?;
        let left_out = Self { cases: table.key("cases")?, why: table.key("why")? };
        table.finish()?;
        Ok(left_out)
    }
}

/// Cases that are not expected to be OK in every way.
struct Differs {
    /// Patterns of them.
    cases: Vec<String>,
    /// The suite's word for what was said; OK where the file has none.
    behavior: String,
    /// Its word for how the connection ended; OK where the file has none.
    close: String,
    /// The close code they are answered with.
    code: i64,
    /// Why.
    why: String,
}

impl FromToml for Differs {
    fn from_toml(value: DeValue<'_>, span: Range<usize>) -> Result<Self, DocumentError> {
        let mut table = TableReader::new(value, span)?;
        let differs = Self {
            cases: table.key("cases")?,
            behavior: table.key::<Option<_>>("behavior")?.unwrap_or("OK".into()),
            close: table.key::<Option<_>>("close")?.unwrap_or("OK".into()),
            code: table.key("code")?,
            why: table.key("why")?,
        };
        table.finish()?;
        Ok(differs)
    }
}

/// The suite's verdict on one case.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Verdict {
    behavior: String,
    behavior_close: String,
    remote_close_code: Option<i64>,
    /// How long it took, in milliseconds.
    duration: u32,
}

fn main() -> ExitCode {
    let Some(suite) = std::env::var_os("PORTHOLE_WSTEST") else {
        println!("skipped: scripts/autobahn runs these tests, and brings what they need");
        return ExitCode::SUCCESS;
    };
    let path = source_tree().join("tests/autobahn/expected.toml");
    let expected: BTreeMap<String, Expected> =
        document::parse(&std::fs::read_to_string(path).unwrap()).unwrap();
    // No camera: the service has nothing to say of its own accord, and what it says is an answer.
    let service = Porthole::start(&["--source", "/dev/none", "--linger", "0"]);
    let servers = [("echo", web::echo(ECHO_LIMIT)), ("service", service.address)];
    assert!(expected.keys().eq(["echo", "service"]), "expected.toml is about the echo and the service");
    let mut differences = 0;
    for (name, address) in servers {
        differences += compare(name, &expected[name], &judge(Path::new(&suite), address, &expected[name]));
    }
    match differences {
        0 => ExitCode::SUCCESS,
        n => {
            println!("{n} differences from tests/autobahn/expected.toml");
            ExitCode::FAILURE
        }
    }
}

/// Has the suite run its cases against a server.
fn judge(suite: &Path, server: SocketAddr, expected: &Expected) -> BTreeMap<String, Verdict> {
    let scratch = Scratch::new();
    let left_out: Vec<&String> = expected.left_out.iter().flat_map(|left_out| &left_out.cases).collect();
    let spec = json!({
        "outdir": scratch.path("reports"),
        "servers": [{ "agent": "it", "url": format!("ws://{server}/ws") }],
        "cases": expected.run,
        "exclude-cases": left_out,
        "exclude-agent-cases": {},
    });
    let spec = scratch.file("spec.json", spec.to_string());
    let run = Command::new(suite).args(["--mode", "fuzzingclient", "--spec"]).arg(spec).output().unwrap();
    let said = String::from_utf8_lossy(&run.stdout).into_owned() + &String::from_utf8_lossy(&run.stderr);
    assert!(run.status.success(), "the suite did not run: {said}");
    let index = std::fs::read_to_string(scratch.path("reports/index.json"))
        .unwrap_or_else(|error| panic!("the suite left no report ({error}): {said}"));
    let mut index: BTreeMap<String, BTreeMap<String, Verdict>> = serde_json::from_str(&index).unwrap();
    index.remove("it").unwrap_or_default()
}

/// Prints what is not as expected, and how many that are.
fn compare(name: &str, expected: &Expected, verdicts: &BTreeMap<String, Verdict>) -> usize {
    let mut differences: Vec<String> = Vec::new();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for (case, verdict) in verdicts {
        let Verdict { behavior, behavior_close, remote_close_code, .. } = verdict;
        *counts.entry(format!("{behavior}, closed {behavior_close}")).or_default() += 1;
        let differs = expected.differs.iter().find(|differs| differs.cases.iter().any(|p| matches(p, case)));
        let as_expected = match differs {
            Some(differs) => {
                (behavior, behavior_close, *remote_close_code)
                    == (&differs.behavior, &differs.close, Some(differs.code))
            }
            None => matches!(
                (behavior.as_str(), behavior_close.as_str()),
                ("OK", "OK") | ("INFORMATIONAL", "INFORMATIONAL")
            ),
        };
        if !as_expected {
            let why = differs.map_or("OK is expected", |differs| &differs.why);
            differences.push(format!("{case}: {verdict:?}, where {why}"));
        }
    }
    println!("{name}: {} cases: {counts:?}", verdicts.len());
    // The suite has deadlines of its own, which a machine can be too slow for.
    if let Some((case, slowest)) = verdicts.iter().max_by_key(|(_, verdict)| verdict.duration) {
        println!("{name}: {case} took longest, {} ms", slowest.duration);
    }
    for LeftOut { cases, why } in &expected.left_out {
        println!("{name}: left out {}: {why}", cases.join(", "));
    }
    if verdicts.len() as i64 != expected.cases {
        differences.push(format!("{} cases were run, not {}", verdicts.len(), expected.cases));
    }
    let patterns = expected.differs.iter().flat_map(|differs| &differs.cases);
    for pattern in patterns.filter(|pattern| !verdicts.keys().any(|case| matches(pattern, case))) {
        differences.push(format!("{pattern} is listed, and no case that was run"));
    }
    differences.iter().for_each(|difference| println!("{name}: {difference}"));
    differences.len()
}

/// Whether a case is meant, by its number or all that begin alike: `7.9.*`.
fn matches(pattern: &str, case: &str) -> bool {
    pattern.strip_suffix('*').map_or(pattern == case, |prefix| case.starts_with(prefix))
}
