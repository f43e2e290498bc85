//! How a generated text is scored: one file and one line in `SCORERS` a rule.
//! Deliberately not here: what was asked, and several samples (`tasks::generate`).

mod json;
mod lists;
pub mod numbers;
pub mod rules;
mod sentences;
mod texts;

use super::item::Item;
use super::task::Task;

/// A rule that scores a text.
#[derive(Debug)]
pub struct Scorer {
    pub name: &'static str,
    pub help: &'static str,
    pub check: fn(&Task) -> Result<(), String>,
    pub score: fn(&Task, &Item, &str) -> Verdict,
}

/// Every rule.
pub const SCORERS: &[Scorer] =
    &[texts::EXACT, texts::CONTAINS, texts::REGEX, numbers::NUMBER, texts::LETTER, json::JSON, texts::EDIT, lists::LIST, texts::COLOUR];

/// The rule of this name.
pub fn named(name: &str) -> Result<&'static Scorer, String> {
    SCORERS.iter().find(|s| s.name == name).ok_or_else(|| {
        let names = SCORERS.iter().map(|s| s.name).collect::<Vec<_>>().join(", ");
        format!("score = “{}” is no rule; it is one of {names}", super::shown(name))
    })
}

/// What a rule says of one text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Verdict {
    /// 0 to 1.
    pub score: f64,
    /// What was read out of the text, in a form in which equal answers are equal; none where nothing could be.
    pub extracted: Option<String>,
    pub reason: String,
    /// Why the rule itself cannot be used.
    pub fault: Option<String>,
}

impl Verdict {
    pub fn of(score: f64, extracted: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { score, extracted: Some(extracted.into()), reason: reason.into(), fault: None }
    }
    pub fn right(right: bool, extracted: impl Into<String>) -> Self {
        Self::of(f64::from(right), extracted, if right { "right" } else { "wrong" })
    }
    /// Nothing could be read out of the text.
    pub fn unparsed(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }
    pub fn failed(fault: impl Into<String>) -> Self {
        Self { fault: Some(fault.into()), ..Self::default() }
    }
}

pub(super) fn needs_target(task: &Task) -> Result<(), String> {
    if task.target.is_empty() { Err(format!("score = “{}” needs a target", task.score)) } else { Ok(()) }
}

/// The part of a text that `extract` asks for: the first group of a match, or all of it. Without `extract`, the text.
pub(super) fn extracted<'a>(task: &Task, text: &'a str) -> Result<Option<&'a str>, String> {
    if task.extract.is_empty() {
        return Ok(Some(text));
    }
    let regex = regex(&task.extract)?;
    let part = |c: regex::Captures<'a>| (1..c.len()).find_map(|i| c.get(i)).or(c.get(0)).map(|m| m.as_str());
    Ok(if task.extract_last { regex.captures_iter(text).last().and_then(part) } else { regex.captures(text).and_then(part) })
}

/// An expression of a task, bounded.
pub(super) fn regex(pattern: &str) -> Result<regex::Regex, String> {
    regex::RegexBuilder::new(pattern).size_limit(4 << 20).build().map_err(|e| {
        let line = e.to_string();
        format!("“{}” is no expression: {}", super::shown(pattern), super::shown(line.lines().last().unwrap_or_default()))
    })
}
