//! New tokenizers: `char`, `byte` and `bpe`, as the text of a `tokenizer.json`.
//! Deliberately not here: the use of a tokenizer, and of one that exists already (`tokenizer`); how pairs are learned (`bpe`).

use super::bpe::{self, Learned, Symbol};
use super::encoding::{self, ANY_CHARACTER, Plan};
use super::source::{self, Part, Source};
use super::{DataError, decoding, patterns, thousands, visible};
use crate::recipe::TokenizerSection;
use crate::report::{Level, Monitor, Report};
use rayon::prelude::*;
use serde_json::{Map, Value, json};
use std::borrow::Cow;
use std::collections::HashMap;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizedString, PreTokenizer, PreTokenizerWrapper};

/// The kinds of new tokenizers, for messages and help.
pub const KINDS: [&str; 3] = ["char", "byte", "bpe"];
/// The largest vocabulary that is trained; larger ones gain nothing and take hours.
pub const MAX_BPE_VOCAB: usize = 1 << 20;
/// A pair that occurs once makes a token that nothing else uses.
const MIN_PAIR_COUNT: u64 = 2;
/// What the library counts words of at once.
const PIECE_BYTES: usize = 64 << 10;

/// The longest runs of blanks that get tokens; longer ones are put together of these.
pub const MAX_BLANK_RUNS: usize = 64;

/// What tokenizer is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// `char` (the characters of the text), `byte` (256 bytes) or `bpe` (learned pieces).
    pub kind: &'a str,
    /// Tokens of a `bpe`, at most.
    pub vocab: usize,
    /// Tokens of their own that divide the text.
    pub special: &'a [&'a str],
    /// How a `bpe` cuts words, by a name of `patterns`.
    pub pattern: &'a str,
    /// A `bpe` never joins digits.
    pub split_digits: bool,
    /// A `bpe` has tokens for runs of blanks of 2 to this many, as code is indented with.
    pub blank_runs: usize,
    /// A `bpe` of characters, with bytes for those that are rare, instead of one of bytes.
    pub byte_fallback: bool,
}

impl<'a> Wish<'a> {
    /// Of a kind and a size, and else as usual.
    pub fn new(kind: &'a str, vocab: usize, special: &'a [&'a str]) -> Self {
        Self { kind, vocab, special, pattern: "gpt2", split_digits: false, blank_runs: 0, byte_fallback: false }
    }

    /// What a recipe asks for.
    pub fn of(section: &'a TokenizerSection, special: &'a [&'a str]) -> Self {
        Self {
            kind: &section.kind,
            vocab: section.vocab,
            special,
            pattern: &section.pattern,
            split_digits: section.split_digits,
            blank_runs: section.blank_runs,
            byte_fallback: section.byte_fallback,
        }
    }

    /// What of it cannot be had, whatever the text is.
    pub fn problem(&self) -> Option<String> {
        let usual = Self::new(self.kind, self.vocab, self.special);
        let options = |w: &Self| (w.pattern.to_owned(), w.split_digits, w.blank_runs, w.byte_fallback);
        if self.kind != "bpe" {
            return (options(self) != options(&usual)).then(|| {
                format!(
                    "pattern, split_digits, blank_runs and byte_fallback are of a bpe, and this is a {} tokenizer; leave them out",
                    visible(self.kind)
                )
            });
        }
        if patterns::find(self.pattern).is_none() {
            return Some(format!("the pattern “{}” is unknown; write one of {}", visible(self.pattern), patterns::NAMES.join(", ")));
        }
        if self.blank_runs == 1 || self.blank_runs > MAX_BLANK_RUNS {
            return Some(format!(
                "blank_runs = {} is out of range; it is the longest run of blanks with a token, 2 to {MAX_BLANK_RUNS}, or 0",
                self.blank_runs
            ));
        }
        let least = 256 + self.special.len() + self.blank_runs.saturating_sub(1);
        if !(least..=MAX_BPE_VOCAB).contains(&self.vocab) {
            let why = match (self.special.is_empty(), self.blank_runs) {
                (true, 0) => "256 bytes",
                (false, 0) => "256 bytes and the special tokens",
                _ => "256 bytes, the special tokens and the runs of blanks",
            };
            return Some(format!(
                "tokenizer.vocab = {} is out of range; a bpe vocabulary has {least} ({why}) to {MAX_BPE_VOCAB} tokens",
                self.vocab
            ));
        }
        None
    }
}

/// The `tokenizer.json` of a new tokenizer.
pub fn train(wish: &Wish, sources: &[Source], monitor: &dyn Monitor) -> Result<String, DataError> {
    let Wish { kind, special, .. } = *wish;
    for (i, name) in special.iter().enumerate() {
        if name.chars().count() < 2 || special[..i].contains(name) {
            let name = visible(name);
            return Err(DataError::Other(format!(
                "the special token “{name}” needs a name of its own of at least two characters; write it like <|endoftext|>"
            )));
        }
    }
    let known = KINDS.contains(&kind);
    wish.problem().filter(|_| known).map_or(Ok(()), |what| Err(DataError::Other(what)))?;
    let value = match kind {
        "char" => char_json(&characters(special, sources, monitor)?, special),
        "byte" => byte_json(special),
        "bpe" => return bpe(wish, sources, monitor),
        other => {
            let distance = |k: &&&str| strsim::damerau_levenshtein(k, other);
            let nearest = KINDS.iter().min_by_key(distance).filter(|k| distance(k) <= 2);
            let hint = nearest.map(|k| format!("did you mean {k}? ")).unwrap_or_default();
            return Err(DataError::Other(format!(
                "tokenizer kind “{}” is unknown; {hint}write one of {}",
                visible(other),
                KINDS.join(", ")
            )));
        }
    };
    serde_json::to_string_pretty(&value).map_err(|e| DataError::Other(format!("the tokenizer has no JSON form: {e}; report this")))
}

/// All characters of the text, in order of their code points.
fn characters(special: &[&str], sources: &[Source], monitor: &dyn Monitor) -> Result<Vec<char>, DataError> {
    let mut seen = vec![false; 0x11_0000];
    let marks = Marks { special, blank_runs: 0 };
    with_texts(sources, &marks, monitor, "reading characters", |texts| {
        for text in texts {
            text.chars().for_each(|c| seen[c as usize] = true);
        }
    })?;
    let found: Vec<char> = (0..0x11_0000u32).filter(|c| seen[*c as usize]).filter_map(char::from_u32).collect();
    if found.is_empty() {
        return Err(DataError::Other("a char tokenizer needs a text to take its characters from; name files to train on".into()));
    }
    Ok(found)
}

fn char_json(characters: &[char], special: &[&str]) -> Value {
    let vocab = characters.iter().map(char::to_string).chain(special.iter().map(|s| (*s).to_owned()));
    let vocab: Map<String, Value> = vocab.enumerate().map(|(id, token)| (token, json!(id))).collect();
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added(special, characters.len()),
        "normalizer": null,
        "pre_tokenizer": { "type": "Split", "pattern": { "Regex": ANY_CHARACTER }, "behavior": "Isolated", "invert": false },
        "post_processor": null,
        "decoder": { "type": "Fuse" },
        // The unknown token is none of the vocabulary, so that an unknown character is an error in Python too.
        "model": { "type": "WordLevel", "vocab": vocab, "unk_token": "<unk>" },
    })
}

fn byte_json(special: &[&str]) -> Value {
    let vocab = (0..=255u8).map(|b| decoding::char_of(b).to_string()).chain(special.iter().map(|s| (*s).to_owned()));
    let vocab: Map<String, Value> = vocab.enumerate().map(|(id, token)| (token, json!(id))).collect();
    let bytes = json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false });
    json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added(special, 256),
        "normalizer": null, "pre_tokenizer": bytes, "post_processor": null, "decoder": bytes,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": false, "ignore_merges": false, "vocab": vocab, "merges": [],
        },
    })
}

fn added(special: &[&str], first: usize) -> Vec<Value> {
    special.iter().enumerate().map(|(i, content)| added_token(first + i, content, true)).collect()
}

fn added_token(id: usize, content: &str, special: bool) -> Value {
    json!({ "id": id, "content": content, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false, "special": special })
}

fn bpe(wish: &Wish, sources: &[Source], monitor: &dyn Monitor) -> Result<String, DataError> {
    let fault =
        |e: &dyn std::fmt::Display| DataError::Other(format!("training the tokenizer failed: {}; check the text", visible(&e.to_string())));
    let pattern = patterns::find(wish.pattern).map_or("", |p| p.regex);
    let cut = if wish.byte_fallback {
        patterns::characters(pattern, wish.split_digits)
    } else {
        patterns::byte_level(pattern, wish.split_digits, false)
    };
    let words: PreTokenizerWrapper = serde_json::from_value(cut.clone()).map_err(|e| fault(&e))?;
    let runs: Vec<String> = (2..=wish.blank_runs).map(|n| " ".repeat(n)).collect();
    let marks = Marks { special: wish.special, blank_runs: wish.blank_runs };
    let counts = with_texts(sources, &marks, monitor, "counting words", |texts| count_words(texts, &words))?.map_err(|e| fault(&e))?;
    let own = wish.special.len() + runs.len();
    let alphabet = if wish.byte_fallback { fallback_alphabet(&counts, wish.vocab - own) } else { byte_alphabet() };
    let learned = merge(alphabet, counts, wish, own, monitor)?;
    let reached = learned.symbols.len() + own;
    if reached < wish.vocab {
        let (reached, asked) = (thousands(reached as u64), thousands(wish.vocab as u64));
        monitor.report(Report::note(
            Level::Warning,
            format!("the tokenizer has {reached} tokens, not {asked}: no further pair of this text occurs twice"),
        ));
    }
    let names = wish.special.iter().map(|s| (*s).to_owned()).chain(runs);
    let added: Vec<Value> = names.clone().enumerate().map(|(id, name)| added_token(id, &name, id < wish.special.len())).collect();
    let vocab = names.chain(learned.symbols.iter().map(|s| s.text.clone()));
    let vocab: Map<String, Value> = vocab.enumerate().map(|(id, token)| (token, json!(id))).collect();
    let text = |id: u32| learned.symbols[id as usize].text.clone();
    let merges: Vec<[String; 2]> = learned.merges.iter().map(|m| [text(m.left), text(m.right)]).collect();
    let decoder = if wish.byte_fallback {
        json!({ "type": "Sequence", "decoders": [{ "type": "ByteFallback" }, { "type": "Fuse" }] })
    } else {
        json!({ "type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true })
    };
    let value = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": added,
        "normalizer": null, "pre_tokenizer": cut, "post_processor": null, "decoder": decoder,
        "model": {
            "type": "BPE", "dropout": null, "unk_token": null, "continuing_subword_prefix": null, "end_of_word_suffix": null,
            "fuse_unk": false, "byte_fallback": wish.byte_fallback, "ignore_merges": false, "vocab": vocab, "merges": merges,
        },
    });
    serde_json::to_string_pretty(&value).map_err(|e| fault(&e))
}

/// The merges of these words, told as they come: how many, and the newest.
fn merge(alphabet: Alphabet, counts: HashMap<String, u64>, wish: &Wish, own: usize, monitor: &dyn Monitor) -> Result<Learned, DataError> {
    let size = wish.vocab - own;
    let total = (size - alphabet.symbols.len().min(size)) as u64;
    let step = (total / 200).max(1);
    let mut words: Vec<bpe::Word> = counts.into_iter().map(|(word, n)| (alphabet.ids(&word), n)).filter(|(w, _)| w.len() > 1).collect();
    // Hash maps have no order, and training shall do the same things each time.
    words.sort_unstable();
    monitor.report(progress("merging pairs", 0, Some(total), "merges"));
    let learned = bpe::learn(alphabet.symbols, words, size, MIN_PAIR_COUNT, |learned| {
        let done = learned.merges.len() as u64;
        if done.is_multiple_of(step) {
            monitor.report(progress("merging pairs", done, Some(total), "merges"));
            monitor.report(Report::Facts([("newest".to_owned(), newest(learned))].into()));
        }
        !monitor.stopped()
    });
    if monitor.stopped() { Err(DataError::Stopped) } else { Ok(learned) }
}

/// The last merges for people: `[" t", "he", " the", 1234]`, the newest first.
fn newest(learned: &Learned) -> Value {
    let show = |id: u32| String::from_utf8_lossy(&learned.symbols[id as usize].bytes).into_owned();
    let list = learned.merges.iter().rev().take(NEWEST).map(|m| json!([show(m.left), show(m.right), m.count]));
    Value::Array(list.collect())
}

/// How many of the newest merges are told.
const NEWEST: usize = 12;

/// What words are made of before anything is merged.
struct Alphabet {
    symbols: Vec<Symbol>,
    of: HashMap<char, u32>,
    /// The first of the 256 symbols for the bytes of other characters, where there are such.
    bytes: Option<u32>,
}

impl Alphabet {
    fn ids(&self, word: &str) -> Vec<u32> {
        let mut ids = Vec::with_capacity(word.len());
        for c in word.chars() {
            match (self.of.get(&c), self.bytes) {
                (Some(id), _) => ids.push(*id),
                (None, Some(first)) => ids.extend(c.encode_utf8(&mut [0; 4]).bytes().map(|b| first + u32::from(b))),
                (None, None) => {}
            }
        }
        ids
    }
}

/// The 256 bytes, in the order of the characters that stand for them.
fn byte_alphabet() -> Alphabet {
    let mut pairs: Vec<(char, u8)> = (0..=255).map(|b| (decoding::char_of(b), b)).collect();
    pairs.sort_unstable();
    let symbols = pairs.iter().map(|(c, b)| Symbol { text: c.to_string(), bytes: [*b].into() }).collect();
    Alphabet { symbols, of: pairs.iter().zip(0..).map(|((c, _), id)| (*c, id)).collect(), bytes: None }
}

/// The 256 bytes by the names that SentencePiece gives them, and the characters that make up nearly all of the text, though
/// no more than half of the room that is left.
fn fallback_alphabet(words: &HashMap<String, u64>, room: usize) -> Alphabet {
    let mut seen: HashMap<char, u64> = HashMap::new();
    for (word, n) in words {
        word.chars().for_each(|c| *seen.entry(c).or_insert(0) += n);
    }
    let all: u64 = seen.values().sum();
    let mut characters: Vec<(char, u64)> = seen.into_iter().collect();
    characters.sort_unstable_by_key(|(c, n)| (std::cmp::Reverse(*n), *c));
    let mut covered = 0u64;
    let enough = (all as f64 * COVERAGE).ceil() as u64;
    let kept = characters.into_iter().take_while(|(_, n)| {
        covered += n;
        covered - n < enough
    });
    let mut kept: Vec<char> = kept.map(|(c, _)| c).take(room.saturating_sub(256).div_ceil(2)).collect();
    kept.sort_unstable();
    let mut symbols: Vec<Symbol> = (0..=255u8).map(|b| Symbol { text: format!("<0x{b:02X}>"), bytes: [b].into() }).collect();
    symbols.extend(kept.iter().map(|c| Symbol { text: c.to_string(), bytes: c.to_string().into_bytes().into() }));
    Alphabet { symbols, of: kept.into_iter().zip(256..).collect(), bytes: Some(0) }
}

/// The share of a text's characters that get tokens of their own beside bytes; SentencePiece's usual one.
const COVERAGE: f64 = 0.9995;

/// How often each word stands in the texts; many texts are cut at once.
fn count_words(
    texts: &mut (dyn Iterator<Item = Cow<'_, str>> + Send),
    words: &PreTokenizerWrapper,
) -> tokenizers::Result<HashMap<String, u64>> {
    let mut counts: HashMap<String, u64> = HashMap::new();
    loop {
        let batch: Vec<Cow<str>> = texts.take(BATCH).collect();
        if batch.is_empty() {
            return Ok(counts);
        }
        let cut = batch.par_iter().map(|text| {
            let mut counts: HashMap<String, u64> = HashMap::new();
            cut_words(words, text, &mut |word| match counts.get_mut(word) {
                Some(n) => *n += 1,
                None => drop(counts.insert(word.to_owned(), 1)),
            })
            .map(|()| counts)
        });
        for part in cut.collect::<Vec<_>>() {
            for (word, n) in part? {
                *counts.entry(word).or_insert(0) += n;
            }
        }
    }
}

/// Pieces of text that are cut at once.
const BATCH: usize = 64;

/// The words of a text. A word without end (a line of dashes, Base64) is counted in parts: a merge takes time by a
/// word's length, and what such words teach is of no use.
fn cut_words(words: &PreTokenizerWrapper, text: &str, each: &mut impl FnMut(&str)) -> tokenizers::Result<()> {
    let mut cut = PreTokenizedString::from(text);
    words.pre_tokenize(&mut cut)?;
    for (word, _, _) in cut.get_splits(OffsetReferential::Original, OffsetType::None) {
        if word.len() <= LONGEST_WORD {
            each(word);
            continue;
        }
        let letters: Vec<char> = word.chars().collect();
        letters.chunks(LONGEST_WORD).for_each(|part| each(&part.iter().collect::<String>()));
    }
    Ok(())
}

/// In characters of the alphabet.
const LONGEST_WORD: usize = 256;

/// What divides the text that is learned from.
struct Marks<'a> {
    special: &'a [&'a str],
    /// Runs of two blanks and more are tokens, where this is not 0.
    blank_runs: usize,
}

/// Hands the text of all sources to `consume`, in pieces that no special token stands in. A fault of a source and
/// a stop end the texts early, and are the result whatever `consume` made of them.
fn with_texts<R>(
    sources: &[Source],
    marks: &Marks,
    monitor: &dyn Monitor,
    what: &str,
    consume: impl FnOnce(&mut (dyn Iterator<Item = Cow<'_, str>> + Send)) -> R,
) -> Result<R, DataError> {
    let opened = sources.iter().map(Source::open).collect::<Result<Vec<_>, _>>()?;
    let total: u64 = opened.iter().map(|bytes| bytes.len() as u64).sum();
    let (mut done, mut told) = (0, 0);
    let mut fault = None;
    let mut texts = opened
        .iter()
        .zip(sources)
        .flat_map(|(bytes, source)| match source::documents(bytes, Part::Whole, source, None) {
            Ok(documents) => Box::new(documents) as super::formats::Documents,
            Err(e) => Box::new(std::iter::once(Err(e))),
        })
        .flat_map(|document| match document {
            Ok(document) => slices(document.text, marks).into_iter().map(Ok).collect::<Vec<Result<_, DataError>>>(),
            Err(e) => vec![Err(e)],
        })
        .map_while(|text| {
            let text = if monitor.stopped() { Err(DataError::Stopped) } else { text };
            done += text.as_ref().map_or(0, |t| t.len() as u64);
            if done - told >= REPORT_EVERY_BYTES {
                told = done;
                monitor.report(progress(what, done, Some(total), "bytes"));
            }
            text.map_err(|e| fault = Some(e)).ok()
        });
    let result = consume(&mut texts);
    drop(texts);
    match fault {
        Some(e) => Err(e),
        None if monitor.stopped() => Err(DataError::Stopped),
        None => Ok(result),
    }
}

const REPORT_EVERY_BYTES: u64 = 1 << 20;

fn progress(what: &str, done: u64, total: Option<u64>, unit: &str) -> Report {
    Report::Progress { what: what.into(), done, total, unit: unit.into() }
}

fn slices<'a>(text: Cow<'a, str>, marks: &Marks) -> Vec<Cow<'a, str>> {
    fn cut<'t>(text: &'t str, marks: &Marks) -> Vec<&'t str> {
        let mut parts = vec![text];
        for mark in marks.special {
            parts = parts.into_iter().flat_map(|part| part.split(mark)).collect();
        }
        if marks.blank_runs > 0 {
            parts = parts.into_iter().flat_map(|part| between_runs(part, marks.blank_runs)).collect();
        }
        parts.into_iter().flat_map(|part| encoding::pieces(part, &Plan::Lines, PIECE_BYTES)).collect()
    }
    match text {
        Cow::Borrowed(text) => cut(text, marks).into_iter().map(Cow::Borrowed).collect(),
        Cow::Owned(text) => cut(&text, marks).into_iter().map(|part| Cow::Owned(part.to_owned())).collect(),
    }
}

/// What stands between runs of blanks that are tokens. One blank that the tokens leave of a run goes with what follows.
fn between_runs(text: &str, longest: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    let mut at = 0;
    while let Some(run) = text[at..].find("  ").map(|n| at + n) {
        let len = text[run..].bytes().take_while(|b| *b == b' ').count();
        let over = usize::from(len % longest == 1);
        parts.push(&text[from..run]);
        (from, at) = (run + len - over, run + len);
    }
    parts.push(&text[from..]);
    parts.retain(|part| !part.is_empty());
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_of_blanks_are_no_text_to_learn_from() {
        assert_eq!(between_runs("a b  c    d", 4), ["a b", "c", "d"]);
        assert_eq!(between_runs("     x", 4), [" x"]);
        assert_eq!(between_runs("      x  ", 4), ["x"]);
        assert!(between_runs("  ", 2).is_empty());
    }
}
