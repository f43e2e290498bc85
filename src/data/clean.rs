//! A clean copy of data: rows that break a rule are left out, texts are put in order, and all of it is told, rule by rule
//! with examples. The source is read and never written; the same source and rules make the same file.
//! Deliberately not here: what makes a row a duplicate or a part of an evaluation (`facts`).

use super::facts::{self, Evaluation, Found, Place, private};
use super::shape::{self, Example, Mapping, order_fault, recognise};
use super::source::Source;
use super::table::{Row, Set};
use super::tokenizer::Tokenizer;
use super::{DataError, thousands};
use crate::report::{Monitor, Report};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::io::{BufWriter, Write};
use std::path::Path;

/// What a rule that drops rows is called, and what it does.
pub struct Rule {
    pub name: &'static str,
    pub help: &'static str,
}

/// The rules that drop rows, in the order in which they are asked: a row counts for the first that drops it.
pub const RULES: &[Rule] = &[
    Rule { name: "broken", help: "rows that cannot be read" },
    Rule { name: "unfit", help: "rows of another shape than most" },
    Rule { name: "empty", help: "rows without any text" },
    Rule { name: "roles", help: "conversations with a wrong order of roles or an empty turn" },
    Rule { name: "secrets", help: "rows with keys that look like secrets" },
    Rule { name: "contaminated", help: "rows with 13 words or a whole text of an evaluation file" },
    Rule { name: "duplicates", help: "rows whose text stands in an earlier row" },
    Rule { name: "near-duplicates", help: "rows that resemble an earlier row" },
];

/// The rules that are meant where nobody names any.
pub const USUAL: &[&str] = &["broken", "empty", "duplicates"];

/// What is done.
#[derive(Default)]
pub struct Rules<'r> {
    /// Names of `RULES`.
    pub drop: Vec<String>,
    pub min: Option<u64>,
    pub max: Option<u64>,
    pub normalise: bool,
    pub redact: bool,
    pub mapping: Option<Mapping>,
    pub tokenizer: Option<(&'r Tokenizer, String)>,
    pub evaluation: Option<&'r Evaluation>,
}

/// What became of the rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Cleaned {
    pub rows: u64,
    pub written: u64,
    pub bytes: u64,
    /// By rule, those that dropped something.
    pub dropped: Vec<(String, Found)>,
    pub normalised: u64,
    pub redacted: u64,
}

impl Rules<'_> {
    fn drops(&self, rule: &str) -> bool {
        self.drop.iter().any(|name| name == rule)
    }

    /// What is wrong with the rules, if anything.
    pub fn problem(drop: &[String], against: bool) -> Option<String> {
        let names = || RULES.iter().map(|r| r.name).collect::<Vec<_>>().join(", ");
        if let Some(unknown) = drop.iter().find(|name| RULES.iter().all(|r| r.name != name.as_str())) {
            return Some(format!("“{}” is no rule; there are {}", super::visible(unknown), names()));
        }
        let contaminated = drop.iter().any(|name| name == "contaminated");
        (contaminated && !against)
            .then(|| "the rule “contaminated” needs evaluation files to compare with: name them with --against".into())
    }
}

/// Rows that are read at a time.
const ROWS_AT_ONCE: u64 = 1000;

/// How rows are written.
#[derive(Clone, Copy, PartialEq)]
enum Output {
    Lines,
    /// Plain text, with this between rows.
    Text(&'static str),
}

/// Writes the clean copy to `out`, which must not exist. None where it was stopped: then nothing is written.
pub fn clean(sources: &[Source], rules: &Rules, out: &Path, scratch: &Path, monitor: &dyn Monitor) -> Result<Option<Cleaned>, DataError> {
    refuse_existing(out)?;
    let mut set = Set::open(sources, scratch)?;
    let output = output(out, &set)?;
    let mapping = match &rules.mapping {
        Some(mapping) => mapping.clone(),
        None => guess(sources, &mut Set::open(&sources[..1.min(sources.len())], scratch)?)?,
    };
    // Rows that come twice are known only when all have been seen.
    let detail = if rules.drops("duplicates") || rules.drops("near-duplicates") {
        let options = facts::Options { mapping: Some(mapping.clone()), ..Default::default() };
        let (facts, detail) = facts::detailed(sources, &options, scratch, monitor)?;
        if facts.stopped {
            return Ok(None);
        }
        detail
    } else {
        facts::Detail::default()
    };
    let dir = out.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let file = tempfile::Builder::new().prefix(".weightroom-clean").tempfile_in(dir).map_err(|e| DataError::io(out, &e))?;
    let mut writer = BufWriter::with_capacity(1 << 20, file);
    let mut cleaning = Cleaning { rules, mapping: &mapping, detail: &detail, near: 0, done: Cleaned::default(), output };
    let (mut passed, mut over) = (0, false);
    while !over {
        if monitor.stopped() {
            return Ok(None);
        }
        over = set.advance(4 << 20, &mut |_, _, _| {})?;
        while passed < set.rows() {
            for (file, row) in set.read(passed, ROWS_AT_ONCE)? {
                passed += 1;
                cleaning.row(&set, file, row, &mut writer).map_err(|e| match e {
                    Trouble::Data(e) => e,
                    Trouble::Disk(e) => DataError::io(out, &e),
                })?;
            }
        }
        let (done, total) = set.progress();
        monitor.report(Report::Progress { what: "writing".into(), done, total, unit: "bytes".into() });
    }
    if let (Some(fault), false) = (set.faults().first(), rules.drops("broken")) {
        return Err(DataError::Other(format!("{fault}; mend the file, or drop what is broken with --drop broken")));
    }
    let io = |e: std::io::Error| DataError::io(out, &e);
    let file = writer.into_inner().map_err(|e| io(e.into_error()))?;
    file.as_file().sync_all().map_err(io)?;
    let done = cleaning.done;
    // Another may have made the file meanwhile: it is not lost either.
    file.persist_noclobber(out).map_err(|e| if e.error.kind() == std::io::ErrorKind::AlreadyExists { exists(out) } else { io(e.error) })?;
    Ok(Some(done))
}

fn refuse_existing(out: &Path) -> Result<(), DataError> {
    if out.symlink_metadata().is_ok() { Err(exists(out)) } else { Ok(()) }
}

fn exists(out: &Path) -> DataError {
    DataError::file(out, "exists already, and nothing is overwritten", "name another file")
}

/// The kind of file by its name; plain text only of what is plain text.
fn output(out: &Path, set: &Set) -> Result<Output, DataError> {
    let extension = out.extension().map(|e| e.to_string_lossy().to_ascii_lowercase()).unwrap_or_default();
    let text = set.tables.iter().all(|t| t.source.format.name == "text");
    let unit = set.tables.first().map_or("row", |t| t.layout.unit);
    match extension.as_str() {
        "jsonl" | "ndjson" => Ok(Output::Lines),
        "txt" | "md" | "text" if text => Ok(Output::Text(match unit {
            "document" => "\n<|endoftext|>\n",
            "paragraph" => "\n\n",
            _ => "\n",
        })),
        "txt" | "md" | "text" => Err(DataError::file(out, "rows with fields are no plain text", "name a .jsonl file")),
        _ => Err(DataError::file(out, "is not a kind of file that is written here", "name a .jsonl file, or .txt for plain text")),
    }
}

fn guess(sources: &[Source], set: &mut Set) -> Result<Mapping, DataError> {
    if let Some(entry) = sources.first().and_then(|s| shape::beside(s.path.as_ref()?)) {
        return Ok(entry.mapping);
    }
    while set.rows() < 200 && !set.advance(1 << 20, &mut |_, _, _| {})? {}
    let rows: Vec<Value> = set.read(0, 200)?.into_iter().filter_map(|(_, row)| row.parsed.ok()).map(|p| p.value).collect();
    Ok(recognise(&rows.iter().collect::<Vec<_>>()))
}

enum Trouble {
    Data(DataError),
    Disk(std::io::Error),
}

struct Cleaning<'c> {
    rules: &'c Rules<'c>,
    mapping: &'c Mapping,
    detail: &'c facts::Detail,
    /// How many of the near duplicates were passed.
    near: usize,
    done: Cleaned,
    output: Output,
}

impl Cleaning<'_> {
    fn row(&mut self, set: &Set, file: usize, read: Row, out: &mut impl Write) -> Result<(), Trouble> {
        let table = &set.tables[file];
        let Row { number: row, span, parsed, raw } = read;
        self.done.rows += 1;
        let place = |why: String| Place { row, file, line: span.line, why };
        let value = match parsed {
            Ok(parsed) => parsed.value,
            Err(fault) if self.rules.drops("broken") => return self.drop("broken", place(fault.what)),
            Err(fault) => {
                let what = format!("line {}: {}", span.line, fault.what);
                return Err(Trouble::Data(DataError::file(&table.source.name, what, "mend the row, or drop such rows with --drop broken")));
            }
        };
        if let Some((rule, why)) = self.broken_rule(&value, row) {
            return self.drop(rule, place(why));
        }
        let mut cleaned = value.clone();
        if self.rules.normalise && edit(&mut cleaned, &normalised) {
            self.done.normalised += 1;
        }
        if self.rules.redact && edit(&mut cleaned, &redacted) {
            self.done.redacted += 1;
        }
        // What was not touched stays as it was written, where a line of it is a line.
        let as_it_was = cleaned == value && table.source.format.name == "jsonl";
        self.write(&cleaned, as_it_was.then_some(raw.trim_ascii()), out).map_err(Trouble::Disk)
    }

    fn drop(&mut self, rule: &str, place: Place) -> Result<(), Trouble> {
        let known = self.done.dropped.iter().position(|(name, _)| name == rule);
        let at = known.unwrap_or_else(|| {
            self.done.dropped.push((rule.to_owned(), Found::default()));
            self.done.dropped.len() - 1
        });
        self.done.dropped[at].1.add(|| place);
        Ok(())
    }

    /// The first rule that a row breaks, and how.
    fn broken_rule(&mut self, value: &Value, row: u64) -> Option<(&'static str, String)> {
        let rules = self.rules;
        // Passed in any case, so that the place stays right.
        let near = self.detail.near.get(self.near).filter(|(at, _)| u64::from(*at) == row).map(|(_, other)| *other);
        self.near += usize::from(near.is_some());
        let example = match self.mapping.example(value) {
            Ok(example) => Some(example),
            Err(why) if rules.drops("unfit") => return Some(("unfit", why)),
            Err(_) => None,
        };
        if let Some(broken) = example.as_ref().and_then(|example| self.example_rule(example)) {
            return Some(broken);
        }
        if rules.drops("duplicates") && self.detail.again.get(row as usize) == Some(&true) {
            return Some(("duplicates", "its text stands in an earlier row".into()));
        }
        near.filter(|_| rules.drops("near-duplicates")).map(|other| ("near-duplicates", format!("it resembles row {}", other + 1)))
    }

    fn example_rule(&self, example: &Example) -> Option<(&'static str, String)> {
        let rules = self.rules;
        let texts = example.texts();
        let tokens = matches!(example, Example::Tokens(ids) if !ids.is_empty());
        if rules.drops("empty") && !tokens && texts.iter().all(|t| t.trim().is_empty()) {
            return Some(("empty", "no text".into()));
        }
        if let (true, Example::Chat(turns)) = (rules.drops("roles"), example)
            && let Some(why) = order_fault(turns)
        {
            return Some(("roles", why));
        }
        if rules.drops("secrets")
            && let Some(found) = texts.iter().flat_map(|t| private::find(t)).find(|p| !p.is_email())
        {
            return Some(("secrets", found.kind.into()));
        }
        if let Some(evaluation) = rules.evaluation.filter(|_| rules.drops("contaminated")) {
            let mut words = Vec::new();
            for text in &texts {
                facts::words::words(text, &mut words);
                if let Some((at, whole)) = evaluation.meets(&words) {
                    let what = if whole { "a text" } else { "13 words" };
                    return Some(("contaminated", format!("{what} of evaluation row {}", at + 1)));
                }
            }
        }
        if rules.min.is_some() || rules.max.is_some() {
            let (length, unit) = match (&rules.tokenizer, example) {
                (_, Example::Tokens(ids)) => (ids.len() as u64, "tokens"),
                (Some((t, _)), _) => (texts.iter().map(|text| t.encode_text(text).map_or(0, |ids| ids.len() as u64)).sum(), "tokens"),
                (None, _) => (texts.iter().map(|text| text.chars().count() as u64).sum(), "characters"),
            };
            if rules.min.is_some_and(|min| length < min) {
                return Some(("too short", format!("{} {unit}", thousands(length))));
            }
            if rules.max.is_some_and(|max| length > max) {
                return Some(("too long", format!("{} {unit}", thousands(length))));
            }
        }
        None
    }

    fn write(&mut self, value: &Value, raw: Option<&[u8]>, out: &mut impl Write) -> std::io::Result<()> {
        let mut line = Vec::new();
        match (self.output, value) {
            (Output::Lines, _) => {
                match (raw, value) {
                    (Some(raw), _) => line.extend_from_slice(raw),
                    (None, Value::String(text)) => serde_json::to_writer(&mut line, &serde_json::json!({ "text": text }))?,
                    (None, value) => serde_json::to_writer(&mut line, value)?,
                }
                line.push(b'\n');
            }
            (Output::Text(between), value) => {
                if self.done.written > 0 {
                    line.extend_from_slice(between.as_bytes());
                }
                line.extend_from_slice(value.as_str().unwrap_or_default().trim_matches(['\n', '\r']).as_bytes());
            }
        }
        self.done.written += 1;
        self.done.bytes += line.len() as u64;
        out.write_all(&line)
    }
}

/// Changes every text in a value; whether any changed.
fn edit(value: &mut Value, change: &dyn Fn(&str) -> Option<String>) -> bool {
    match value {
        Value::String(text) => match change(text) {
            Some(new) => {
                *text = new;
                true
            }
            None => false,
        },
        Value::Array(items) => items.iter_mut().fold(false, |any, item| edit(item, change) | any),
        Value::Object(map) => map.values_mut().fold(false, |any, item| edit(item, change) | any),
        _ => false,
    }
}

/// One kind of line end, no blanks at the ends of lines, nothing that is not seen. None where it is so already.
fn normalised(text: &str) -> Option<String> {
    let text_of = |text: &str| -> String {
        let clean: String = text
            .replace("\r\n", "\n")
            .replace('\r', "\n")
            .chars()
            .filter(|c| !facts::characters::is_control(*c) && !facts::characters::is_unseen(*c))
            .collect();
        clean.split('\n').map(|line| line.trim_end_matches([' ', '\t', '\u{a0}'])).collect::<Vec<_>>().join("\n")
    };
    let new = text_of(text);
    (new != text).then_some(new)
}

/// Marks in the place of private things. None where there are none.
fn redacted(text: &str) -> Option<String> {
    let found = private::find(text);
    if found.is_empty() {
        return None;
    }
    let (mut out, mut from) = (String::with_capacity(text.len()), 0);
    for private in found {
        out.push_str(&text[from..private.at.start]);
        out.push_str(if private.is_email() { "<email>" } else { "<secret>" });
        from = private.at.end;
    }
    out.push_str(&text[from..]);
    Some(out)
}

impl std::fmt::Display for Cleaned {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "{} of {} rows written", thousands(self.written), thousands(self.rows))?;
        for (rule, found) in &self.dropped {
            write!(f, ", {} {rule}", thousands(found.rows))?;
        }
        if self.normalised > 0 {
            write!(f, "; {} put in order", thousands(self.normalised))?;
        }
        if self.redacted > 0 {
            write!(f, "; {} with marks in the place of private things", thousands(self.redacted))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_put_in_order_and_redacted() {
        assert_eq!(normalised("a \r\nb\u{200b}\t\rc\0"), Some("a\nb\nc".into()));
        assert_eq!(normalised("a\n\tb\n"), None);
        assert_eq!(redacted("mail a@b.org or c@d.net."), Some("mail <email> or <email>.".into()));
        assert_eq!(redacted("nothing @ all"), None);
    }
}
