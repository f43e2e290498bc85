//! `tokenizer inspect`: what a tokenizer is, how it does on files, how the words of a text were put together, and two
//! tokenizers beside each other. Deliberately not here: the figures themselves (`data::anatomy`, `data::inspect`).

use std::path::Path;

use serde_json::{Value, json};

use super::tokenizer::load;
use super::{Failure, out};
use crate::data::anatomy::{Anatomy, Explained, Piece, Word};
use crate::data::inspect::{self, Inspection};
use crate::data::source::{self, Source};
use crate::report::Silent;
use crate::text::{token, visible};

/// What is asked.
pub struct Question<'a> {
    pub tokenizer: &'a str,
    pub with: Option<&'a str>,
    pub files: Vec<String>,
    pub text: Option<&'a str>,
    pub json: bool,
}

/// How many tokens a list shows.
const LISTED: usize = 10;
/// How many special tokens are named; Llama-3 has 256.
const SPECIAL: usize = 12;

/// What was found out about one tokenizer.
struct Answer {
    name: String,
    explained: Explained,
    on_files: Option<(Inspection, Vec<u64>)>,
    text_bytes: usize,
    pieces: Option<Vec<Piece>>,
    words: Vec<Word>,
}

pub fn run(project: &Path, question: &Question) -> Result<(), Failure> {
    let sources = source::expand(&question.files, "text", Path::new("")).map_err(Failure::failed)?;
    let first = ask(project, question.tokenizer, question, &sources)?;
    let second = question.with.map(|name| ask(project, name, question, &sources)).transpose()?;
    if question.json {
        let value = match &second {
            None => first.json(),
            Some(second) => json!({ "tokenizers": [first.json(), second.json()] }),
        };
        return Ok(out::json(&value)?);
    }
    let mut lines = first.lines();
    if let Some(second) = second {
        lines.push(String::new());
        lines.extend(second.lines());
        lines.push(String::new());
        lines.extend(compared(&first, &second));
    }
    Ok(out::line(lines.join("\n"))?)
}

fn ask(project: &Path, name: &str, question: &Question, sources: &[Source]) -> Result<Answer, Failure> {
    let explained = Explained::new(load(project, name)?);
    let count = || inspect::count(&explained.tokenizer, sources, &Silent).map_err(Failure::failed);
    let on_files = if sources.is_empty() { None } else { Some(count()?) };
    let pieces = question.text.map(|text| explained.pieces(text)).transpose().map_err(Failure::Failed)?;
    let words = question.text.map(|text| explained.words(text)).transpose().map_err(Failure::Failed)?.unwrap_or_default();
    let text_bytes = question.text.map_or(0, str::len);
    Ok(Answer { text_bytes, name: visible(name, false).into_owned(), explained, on_files, pieces, words })
}

impl Answer {
    fn bytes(&self, id: u32) -> Vec<u8> {
        self.explained.tokenizer.token_bytes(id)
    }

    fn show(&self, id: u32) -> String {
        token(&self.bytes(id))
    }

    fn lossy(&self, id: u32) -> String {
        String::from_utf8_lossy(&self.bytes(id)).into_owned()
    }

    /// Ids that stand nowhere in the files, special tokens aside.
    fn never(&self, counts: &[u64]) -> Vec<u32> {
        let t = &self.explained.tokenizer;
        (0..counts.len() as u32).filter(|id| counts[*id as usize] == 0 && t.token(*id).is_some() && !t.is_special(*id)).collect()
    }

    fn lines(&self) -> Vec<String> {
        let a = &self.explained.anatomy;
        let mut lines = vec![format!("{:<15}{}", "tokenizer", self.name)];
        let mut say = |what: &str, value: String| lines.push(format!("{what:<15}{value}"));
        say("kind", format!("{}, read from {}", a.kind, a.format));
        say("vocabulary", format!("{} tokens{}", out::grouped(a.vocab as u64), merges(a)));
        say("words", visible(&a.words, false).into_owned());
        if !a.normalizer.is_empty() {
            say("first", visible(&a.normalizer, false).into_owned());
        }
        for (what, list) in [("special", &a.special), ("added", &a.added)] {
            let named: Vec<String> = list.iter().take(SPECIAL).map(|(id, name)| format!("{} {id}", token(name.as_bytes()))).collect();
            let more = if list.len() > SPECIAL { format!("  and {} more", list.len() - SPECIAL) } else { String::new() };
            if !list.is_empty() {
                say(what, format!("{}{more}", named.join("  ")));
            }
        }
        let longest: Vec<String> = a.longest.iter().take(LISTED).map(|(id, n)| format!("{} {n}", short(&self.show(*id)))).collect();
        say("longest", format!("{} bytes", longest.join("  ")));
        a.notes.iter().for_each(|note| say("note", visible(note, false).into_owned()));
        if let Some((found, counts)) = &self.on_files {
            self.files(found, counts, &mut say);
        }
        if let Some(pieces) = &self.pieces {
            say("text", format!("{} tokens, {:.3} bytes a token", pieces.len(), self.text_bytes as f64 / pieces.len().max(1) as f64));
            say("tokens", pieces.iter().map(|p| token(&p.bytes)).collect::<Vec<_>>().join("│"));
            say("ids", pieces.iter().map(|p| p.id.to_string()).collect::<Vec<_>>().join(" "));
            self.words.iter().for_each(|word| lines.extend(self.word(word)));
        }
        lines
    }

    fn files(&self, found: &Inspection, counts: &[u64], say: &mut impl FnMut(&str, String)) {
        let never = self.never(counts);
        let used = out::grouped(found.used);
        say("files", format!("{} bytes, {} tokens, {used} of the vocabulary used", out::grouped(found.bytes), out::grouped(found.tokens)));
        say("bytes a token", format!("{:.3}", found.bytes_per_token()));
        let same = if found.round_trip { "the text comes back as it was" } else { "the text does not come back as it was" };
        say("round trip", same.into());
        let common = found.frequent.iter().take(LISTED).map(|(id, n)| format!("{} {}", self.show(*id), out::grouped(*n)));
        say("most common", common.collect::<Vec<_>>().join("  "));
        let longest = found.longest.iter().take(LISTED).map(|(id, _)| short(&self.show(*id)));
        say("longest here", longest.collect::<Vec<_>>().join("  "));
        let named = never.iter().take(LISTED).map(|id| short(&self.show(*id))).collect::<Vec<_>>().join("  ");
        say(
            "never used",
            format!("{}{}", out::grouped(never.len() as u64), if never.is_empty() { String::new() } else { format!(": {named} …") }),
        );
    }

    /// How one word was put together.
    fn word(&self, word: &Word) -> Vec<String> {
        let row = |ids: &[u32]| ids.iter().map(|id| self.show(*id)).collect::<Vec<_>>().join("│");
        let whole = word.end.iter().map(|id| self.show(*id)).collect::<String>();
        let mut lines = vec![String::new(), format!("word {whole}")];
        if !word.scores.is_empty() {
            let scored = word.end.iter().zip(&word.scores).map(|(id, score)| format!("{} {score:.2}", self.show(*id)));
            lines.push(format!("  {}   log-probabilities; {}", scored.collect::<Vec<_>>().join("  "), word.why));
            return lines;
        }
        let mut tokens = word.start.clone();
        lines.push(format!("  {:<24} {}", if word.steps.is_empty() { word.why } else { "" }, row(&tokens)));
        for step in &word.steps {
            tokens.splice(step.at..step.at + 2, [step.into]);
            let joined = format!("{} + {}", self.show(step.left), self.show(step.right));
            lines.push(format!("  {joined:<16} #{:<6} {}", step.rank, row(&tokens)));
        }
        lines
    }

    fn json(&self) -> Value {
        let a = &self.explained.anatomy;
        let named = |list: &[(u32, String)]| list.iter().map(|(id, name)| json!({ "id": id, "text": name })).collect::<Vec<_>>();
        let mut value = json!({
            "tokenizer": self.name, "format": a.format, "kind": a.kind, "vocab": a.vocab, "merges": a.merges, "words": a.words,
            "normalizer": a.normalizer, "special": named(&a.special), "added": named(&a.added), "notes": a.notes,
            "longest": a.longest.iter().map(|(id, n)| json!({ "id": id, "text": self.lossy(*id), "bytes": n })).collect::<Vec<_>>(),
        });
        if let Some((found, counts)) = &self.on_files {
            let common: Vec<_> = found.frequent.iter().map(|(id, n)| json!({ "id": id, "text": self.lossy(*id), "count": n })).collect();
            let longest: Vec<_> = found.longest.iter().map(|(id, _)| json!({ "id": id, "text": self.lossy(*id) })).collect();
            let more = json!({
                "bytes": found.bytes, "tokens": found.tokens, "bytes_per_token": found.bytes_per_token(), "used": found.used,
                "never_used": found.unused, "round_trip": found.round_trip, "common": common, "longest_used": longest,
                "never_used_ids": self.never(counts),
            });
            extend(&mut value, more);
        }
        if let Some(pieces) = &self.pieces {
            let tokens: Vec<_> =
                pieces.iter().map(|p| json!({ "id": p.id, "text": String::from_utf8_lossy(&p.bytes), "bytes": p.bytes })).collect();
            extend(&mut value, json!({ "text": tokens, "steps": self.words }));
        }
        value
    }
}

fn merges(a: &Anatomy) -> String {
    if a.merges == 0 { String::new() } else { format!(", {} merges", out::grouped(a.merges as u64)) }
}

/// A long token's beginning.
fn short(text: &str) -> String {
    const LONGEST: usize = 24;
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn extend(value: &mut Value, more: Value) {
    if let (Some(map), Value::Object(more)) = (value.as_object_mut(), more) {
        map.extend(more);
    }
}

/// Which of the two does with fewer tokens.
fn compared(first: &Answer, second: &Answer) -> Vec<String> {
    let mut lines = Vec::new();
    let mut say = |what: &str, (a, b): (u64, u64)| {
        let share = 100.0 * (b as f64 / a.max(1) as f64 - 1.0);
        lines.push(format!(
            "{what}: {} has {} tokens, {} has {} ({share:+.1} %)",
            first.name,
            out::grouped(a),
            second.name,
            out::grouped(b)
        ));
    };
    if let (Some((a, _)), Some((b, _))) = (&first.on_files, &second.on_files) {
        say("files", (a.tokens, b.tokens));
    }
    if let (Some(a), Some(b)) = (&first.pieces, &second.pieces) {
        say("text", (a.len() as u64, b.len() as u64));
    }
    let (a, b) = (&first.explained.tokenizer, &second.explained.tokenizer);
    let shared = (0..a.vocab_size() as u32).filter_map(|id| a.token(id)).filter(|token| b.token_id(token).is_some()).count();
    lines.push(format!("both vocabularies have {} tokens in common, by their spelling", out::grouped(shared as u64)));
    lines
}
