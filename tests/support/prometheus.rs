//! A strict reader of the Prometheus text format 0.0.4: whatever its specification forbids is a panic.
//! <https://prometheus.io/docs/instrumenting/exposition_formats/>

use std::collections::{BTreeMap, BTreeSet};

/// Label names and values.
pub type Labels = BTreeMap<String, String>;

/// All samples, by name and labels, and the type of each family.
#[derive(Debug, Default)]
pub struct Exposition {
    pub types: BTreeMap<String, String>,
    samples: BTreeMap<(String, Labels), f64>,
}

impl Exposition {
    /// Reads a whole page.
    #[track_caller]
    pub fn parse(text: &str) -> Self {
        Self::try_parse(text).unwrap_or_else(|(line, why)| {
            panic!("line {line}: {why}: {:?}", text.lines().nth(line - 1).unwrap_or_default())
        })
    }

    /// The same, or the number of the line that is wrong and why.
    pub fn try_parse(text: &str) -> Result<Self, (usize, String)> {
        let mut reader = Reader::default();
        let lines = text.lines().count();
        if !text.ends_with('\n') {
            return Err((lines, "the last line does not end".into()));
        }
        for (index, line) in text.lines().enumerate() {
            reader.line(line).map_err(|why| (index + 1, why))?;
        }
        reader.end_family().map_err(|why| (lines, why))?;
        Ok(reader.done)
    }

    /// The value of one sample.
    #[track_caller]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.find(name, labels).unwrap_or_else(|| panic!("no {name}{labels:?}"))
    }

    /// The value of one sample, if it is there.
    pub fn find(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let labels = labels.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect();
        self.samples.get(&(name.to_owned(), labels)).copied()
    }

    /// All samples of this name.
    pub fn all(&self, name: &str) -> Vec<(&Labels, f64)> {
        let samples = self.samples.iter().filter(|((n, _), _)| n == name);
        samples.map(|((_, labels), value)| (labels, *value)).collect()
    }
}

#[derive(Default)]
struct Reader {
    done: Exposition,
    family: String,
    has_help: bool,
    has_samples: bool,
    seen: BTreeSet<String>,
}

impl Reader {
    fn line(&mut self, line: &str) -> Result<(), String> {
        if line.is_empty() {
            return Ok(());
        }
        let Some(comment) = line.strip_prefix('#') else { return self.sample(line) };
        let comment = comment.trim_start_matches([' ', '\t']);
        if let Some(rest) = comment.strip_prefix("HELP ") {
            let (name, help) = rest.split_once(' ').ok_or("HELP without a text")?;
            if help.replace("\\\\", "").replace("\\n", "").contains('\\') {
                return Err("an escape in HELP that is none".into());
            }
            self.begin_family(name)?;
            self.has_help = true;
        } else if let Some(rest) = comment.strip_prefix("TYPE ") {
            let (name, kind) = rest.split_once(' ').ok_or("TYPE without a type")?;
            if name != self.family {
                self.begin_family(name)?;
            }
            if self.has_samples || self.done.types.contains_key(name) {
                return Err("TYPE after a sample, or twice".into());
            }
            if !["counter", "gauge", "histogram", "summary", "untyped"].contains(&kind) {
                return Err(format!("type {kind:?}"));
            }
            if kind == "counter" && !name.ends_with("_total") {
                return Err("a counter that does not end in _total".into());
            }
            self.done.types.insert(name.to_owned(), kind.to_owned());
        }
        Ok(())
    }

    fn begin_family(&mut self, name: &str) -> Result<(), String> {
        self.end_family()?;
        if !is_name(name, true) || !self.seen.insert(name.to_owned()) {
            return Err(format!("{name:?} is no name, or comes a second time"));
        }
        (self.family, self.has_help, self.has_samples) = (name.to_owned(), false, false);
        Ok(())
    }

    /// Checks what can be checked only of a whole family.
    fn end_family(&self) -> Result<(), String> {
        if self.done.types.get(&self.family).is_none_or(|kind| kind != "histogram") {
            return Ok(());
        }
        let name = |suffix: &str| format!("{}{suffix}", self.family);
        let mut buckets: BTreeMap<Labels, Vec<(f64, f64)>> = BTreeMap::new();
        for (labels, below) in self.done.all(&name("_bucket")) {
            let mut labels = labels.clone();
            let le = number(&labels.remove("le").ok_or("a bucket without le")?)?;
            buckets.entry(labels).or_default().push((le, below));
        }
        if self.done.all(&name("_sum")).len() != buckets.len() {
            return Err("a histogram without a sum".into());
        }
        for (labels, mut buckets) in buckets {
            buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
            if !buckets.is_sorted_by(|a, b| a.1 <= b.1) {
                return Err(format!("{labels:?}: buckets that do not add up: {buckets:?}"));
            }
            let get = |suffix| self.done.samples.get(&(name(suffix), labels.clone())).copied();
            let last = buckets.last().copied().unwrap_or_default();
            if last.0 != f64::INFINITY || Some(last.1) != get("_count") || get("_sum").is_none() {
                return Err(format!("{labels:?}: +Inf is {last:?} and the count {:?}", get("_count")));
            }
        }
        Ok(())
    }

    fn sample(&mut self, line: &str) -> Result<(), String> {
        let end = line.find(['{', ' ']).ok_or("a sample without a value")?;
        let (name, mut rest) = line.split_at(end);
        let histogram = self.done.types.get(&self.family).is_some_and(|kind| kind == "histogram");
        let own = match name.strip_prefix(self.family.as_str()) {
            Some("_bucket" | "_sum" | "_count") => histogram,
            Some("") => !histogram,
            _ => false,
        };
        if !own || !is_name(name, true) || !self.has_help || !self.done.types.contains_key(&self.family) {
            return Err(format!("{name} stands outside its family or before its HELP and TYPE"));
        }
        let mut labels = Labels::new();
        if let Some(inside) = rest.strip_prefix('{') {
            rest = read_labels(inside, &mut labels)?;
        }
        let mut words = rest.split_whitespace();
        let value = number(words.next().ok_or("no value")?)?;
        if let Some(time) = words.next() {
            time.parse::<i64>().map_err(|_| "a timestamp that is no number")?;
        }
        if words.next().is_some() {
            return Err("something behind the value".into());
        }
        if self.done.types[&self.family] == "counter" && !(value >= 0.0 && value.is_finite()) {
            return Err("a counter below zero".into());
        }
        self.has_samples = true;
        match self.done.samples.insert((name.to_owned(), labels), value) {
            Some(_) => Err("the same sample twice".into()),
            None => Ok(()),
        }
    }
}

/// Reads labels up to the brace, and returns what is behind it.
fn read_labels<'a>(mut rest: &'a str, labels: &mut Labels) -> Result<&'a str, String> {
    loop {
        if let Some(rest) = rest.strip_prefix('}') {
            return Ok(rest);
        }
        let (name, after) = rest.split_once("=\"").ok_or("a label without a quoted value")?;
        if !is_name(name, false) {
            return Err(format!("label name {name:?}"));
        }
        let (mut value, mut chars) = (String::new(), after.char_indices());
        let end = loop {
            match chars.next() {
                None => return Err("a value without its closing quote".into()),
                Some((at, '"')) => break at,
                Some((_, '\\')) => value.push(match chars.next() {
                    Some((_, 'n')) => '\n',
                    Some((_, c @ ('\\' | '"'))) => c,
                    other => return Err(format!("escape {other:?}")),
                }),
                Some((_, c)) => value.push(c),
            }
        };
        if labels.insert(name.to_owned(), value).is_some() {
            return Err(format!("label {name} twice"));
        }
        rest = &after[end + 1..];
        rest = match rest.strip_prefix(',') {
            Some(more) => more,
            None if rest.starts_with('}') => rest,
            None => return Err("something between labels".into()),
        };
    }
}

fn number(text: &str) -> Result<f64, String> {
    match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        "NaN" => Ok(f64::NAN),
        _ => {
            let plain = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
            text.parse().ok().filter(|_| plain).ok_or_else(|| format!("{text:?} is no number"))
        }
    }
}

fn is_name(text: &str, colons: bool) -> bool {
    let letter = |b: u8| b.is_ascii_alphabetic() || b == b'_' || (colons && b == b':');
    !text.is_empty() && text.bytes().enumerate().all(|(at, b)| letter(b) || (at > 0 && b.is_ascii_digit()))
}
