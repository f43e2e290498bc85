//! Checks text against the sample's grammars: rows of JSONL, or paragraphs of plain text.
//! Deliberately not here: how text is recognised (`recognise`).

use super::grammar::{Grammar, GrammarError, ends_sentence};
use super::recognise::{Recognised, Start, recognise};
use super::{World, judge};
use crate::text::visible;
use std::fmt;

/// What a check found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    pub documents: usize,
    /// Documents that are complete derivations.
    pub whole: usize,
    /// Documents that are the beginning of a derivation and no more.
    pub begun: usize,
    pub failures: Vec<Failure>,
}

/// A document that the grammars do not derive.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// Counted from 1: the row, or the paragraph.
    pub document: usize,
    /// Bytes that parse.
    pub at: usize,
    /// The text around that place, `⟂` where the parse ends, made safe to show.
    pub excerpt: String,
}

impl Report {
    /// Every document is a derivation or the beginning of one.
    pub fn passed(&self) -> bool {
        self.documents > 0 && self.failures.is_empty()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} documents: {} parse whole, {} as far as they go, {} do not",
            self.documents,
            self.whole,
            self.begun,
            self.failures.len()
        )?;
        for failure in self.failures.iter().take(5) {
            write!(f, "\ndocument {}, byte {}: {}", failure.document, failure.at, failure.excerpt)?;
        }
        Ok(())
    }
}

/// Checks every row of JSON lines (`text`, `messages`, `prompt` with `completion` or `chosen`), or every paragraph of plain text.
pub fn check(text: &str) -> Result<Report, GrammarError> {
    let world = World::new()?;
    let mut report = Report::default();
    if text.trim_start().starts_with('{') {
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            match serde_json::from_str(line) {
                Ok(row) => report.add(row_text(&row).map(|(kind, text)| (world.recognise(kind, &text), text)), line),
                Err(_) => report.add(None, line),
            }
        }
    } else {
        for part in text.split("<|endoftext|>").flat_map(|part| part.split("\n\n")).map(str::trim).filter(|part| !part.is_empty()) {
            report.add(Some((world.recognise(Kind::Story, part), part.to_string())), part);
        }
    }
    Ok(report)
}

impl Report {
    fn add(&mut self, found: Option<(Recognised, String)>, raw: &str) {
        self.documents += 1;
        let (found, text) = found.unwrap_or((Recognised { whole: false, prefix: false, reached: 0 }, raw.to_string()));
        if found.whole {
            self.whole += 1;
        } else if found.prefix {
            self.begun += 1;
        } else {
            self.failures.push(Failure { document: self.documents, at: found.reached, excerpt: excerpt(&text, found.reached) });
        }
    }
}

/// What a text claims to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A story of either domain, from its beginning.
    Story,
    /// Sentences of either domain, as when a prompt is continued.
    Sentences,
    Dialogue,
    Question,
    Asked,
}

impl World {
    /// How far `text` goes as what it claims to be, with the grammar that takes it farthest.
    pub fn recognise(&self, kind: Kind, text: &str) -> Recognised {
        let rule = |grammar: &Grammar, name: &str| {
            grammar
                .rule(name)
                .map_or(Recognised { whole: false, prefix: false, reached: 0 }, |rule| recognise(grammar, Start::Rule(rule), text))
        };
        let better = |a: Recognised, b: Recognised| if (b.whole, b.prefix, b.reached) > (a.whole, a.prefix, a.reached) { b } else { a };
        match kind {
            Kind::Story => better(rule(&self.home, "Story"), rule(&self.sea, "Story")),
            Kind::Sentences => better(recognise(&self.home, Start::AnySentence, text), recognise(&self.sea, Start::AnySentence, text)),
            Kind::Dialogue => rule(&self.talk, "Dialogue"),
            Kind::Question => rule(&self.talk, "Question"),
            Kind::Asked => rule(&self.talk, "Asked"),
        }
    }
}

fn row_text(row: &serde_json::Value) -> Option<(Kind, String)> {
    let field = |name: &str| row.get(name).and_then(serde_json::Value::as_str);
    if let Some(messages) = row.get("messages").and_then(serde_json::Value::as_array) {
        let turns =
            messages.iter().map(|message| Some(format!("{}: {}\n", message.get("role")?.as_str()?, message.get("content")?.as_str()?)));
        return Some((Kind::Dialogue, turns.collect::<Option<String>>()?));
    }
    if let Some(prompt) = field("prompt") {
        if let Some(completion) = field("completion") {
            return Some((Kind::Question, format!("{prompt}\t{completion}")));
        }
        let (chosen, rejected) = (field("chosen")?, field("rejected")?);
        // A pair is right when the grammar gives its chosen response, and the judge tells the two apart.
        let told_apart = judge(prompt, chosen).passed() && !judge(prompt, rejected).passed();
        return told_apart.then(|| (Kind::Asked, format!("{prompt}\t{chosen}")));
    }
    field("text").map(|text| (Kind::Story, text.to_string()))
}

/// Some sixty bytes around `at`, cut at characters.
fn excerpt(text: &str, at: usize) -> String {
    let floor = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let at = floor(at.min(text.len()));
    let (from, to) = (floor(at.saturating_sub(40)), floor((at + 20).min(text.len())));
    visible(&format!("{}⟂{}", &text[from..at], &text[at..to]), false).into_owned()
}

/// Whether a text that was cut anywhere ends with a whole sentence.
pub fn is_finished(text: &str) -> bool {
    ends_sentence(text.trim_end())
}
