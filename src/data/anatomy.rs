//! A tokenizer taken apart for people: what kind it is, what its tokens are, and how its words were put together, merge
//! by merge. Deliberately not here: how it does on a text (`inspect`), and any drawing.

use super::patterns;
use super::tokenizer::Tokenizer;
use serde::Serialize;
use serde_json::Value;
use std::collections::HashMap;
use tokenizers::{OffsetReferential, OffsetType, PreTokenizer};

/// What a tokenizer is, in words and figures.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Anatomy {
    /// The format of its file.
    pub format: String,
    /// `byte-level BPE`, `unigram`, …
    pub kind: String,
    /// How words are cut before anything else.
    pub words: String,
    /// What is done to a text first; empty for nothing.
    pub normalizer: String,
    pub vocab: usize,
    pub merges: usize,
    /// Tokens that mark something and are no text: id, name.
    pub special: Vec<(u32, String)>,
    /// Other tokens that are found by their names before words are cut.
    pub added: Vec<(u32, String)>,
    /// The longest tokens: id, bytes.
    pub longest: Vec<(u32, usize)>,
    /// How many bytes tokens have: the n-th figure counts those of n + 1 bytes, the last one all longer ones.
    pub lengths: Vec<usize>,
    /// What had to be taken for granted when the file was read.
    pub notes: Vec<String>,
}

/// How many of the longest tokens are named.
const LONGEST: usize = 32;
/// Lengths that are told apart.
const LENGTHS: usize = 16;

/// A tokenizer with what is needed to explain it.
pub struct Explained {
    pub tokenizer: Tokenizer,
    pub anatomy: Anatomy,
    /// The bytes of each token, by id; none for ids that no token has.
    bytes: Vec<Box<[u8]>>,
    merges: Merges,
}

/// Merges by what they join: the place in the order, and what comes of it.
#[derive(Default)]
struct Merges {
    of: HashMap<(u32, u32), (u32, u32)>,
    /// A word that is a token as it stands needs no merge.
    whole_words: bool,
    /// Log-probabilities of pieces, of a unigram model.
    scores: Vec<f64>,
}

/// A token of a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Piece {
    pub id: u32,
    #[serde(skip)]
    pub bytes: Vec<u8>,
    pub special: bool,
}

/// How one word became its tokens.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Word {
    /// What it is made of to begin with, and what it is in the end.
    pub start: Vec<u32>,
    pub end: Vec<u32>,
    pub steps: Vec<Step>,
    /// The pieces' log-probabilities, of a unigram model; empty for others.
    pub scores: Vec<f64>,
    /// Why there are no steps, where there are none.
    pub why: &'static str,
}

/// Two neighbours become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// The place of the left one among the tokens before this step.
    pub at: usize,
    pub left: u32,
    pub right: u32,
    pub into: u32,
    /// The merge's number in the order in which it was learned, from 1.
    pub rank: u32,
}

impl Explained {
    pub fn new(tokenizer: Tokenizer) -> Self {
        // A tokenizer was made from this text, so it is JSON.
        let json: Value = serde_json::from_str(tokenizer.json()).unwrap_or_default();
        let bytes: Vec<Box<[u8]>> = (0..tokenizer.vocab_size() as u32).map(|id| tokenizer.token_bytes(id).into()).collect();
        Self { anatomy: anatomy(&tokenizer, &json, &bytes), merges: Merges::read(&tokenizer, &json["model"]), bytes, tokenizer }
    }

    /// The bytes that a token adds to a text; empty for an id that no token has.
    pub fn bytes(&self, id: u32) -> &[u8] {
        self.bytes.get(id as usize).map_or(&[], |b| b)
    }

    /// The ids that tokens have.
    pub fn ids(&self) -> impl Iterator<Item = u32> + '_ {
        (0..self.bytes.len() as u32).filter(|id| !self.bytes[*id as usize].is_empty())
    }

    /// The tokens of a text; what was wrong, in one line, where it cannot be encoded.
    pub fn pieces(&self, text: &str) -> Result<Vec<Piece>, String> {
        let t = &self.tokenizer;
        let ids = t.encode(text, false).map_err(|e| e.to_string())?;
        Ok(ids.into_iter().map(|id| Piece { id, bytes: t.token_bytes(id), special: t.is_special(id) }).collect())
    }

    /// How each word of a text became its tokens.
    pub fn words(&self, text: &str) -> Result<Vec<Word>, String> {
        let library = self.tokenizer.library();
        let fault = |e: tokenizers::Error| super::visible(&e.to_string()).into_owned();
        let mut cut = library.get_added_vocabulary().extract_and_normalize(library.get_normalizer(), text);
        if let Some(pre) = library.get_pre_tokenizer() {
            pre.pre_tokenize(&mut cut).map_err(fault)?;
        }
        let mut out = Vec::new();
        for (word, _, tokens) in cut.get_splits(OffsetReferential::Normalized, OffsetType::None) {
            out.push(match tokens {
                Some(tokens) => {
                    let ids: Vec<u32> = tokens.iter().map(|t| t.id).collect();
                    Word { start: ids.clone(), end: ids, why: "a token by its name; nothing is merged", ..Word::default() }
                }
                None => self.word(word)?,
            });
        }
        Ok(out)
    }

    /// One word, spelled as the vocabulary spells it.
    fn word(&self, word: &str) -> Result<Word, String> {
        use tokenizers::Model;
        let model = self.tokenizer.library().get_model();
        let tokens = model.tokenize(word).map_err(|e| super::visible(&e.to_string()).into_owned())?;
        let end: Vec<u32> = tokens.iter().map(|t| t.id).collect();
        if !self.merges.scores.is_empty() {
            let scores = end.iter().map(|id| self.merges.scores.get(*id as usize).copied().unwrap_or(0.0)).collect();
            let why = "a unigram model merges nothing: of all ways to cut the word, this one is the most probable";
            return Ok(Word { start: end.clone(), end, scores, why, ..Word::default() });
        }
        if self.merges.of.is_empty() {
            return Ok(Word { start: end.clone(), end, why: "this tokenizer has no merges", ..Word::default() });
        }
        if self.merges.whole_words && end.len() == 1 && word.chars().count() > 1 && self.tokenizer.token_id(word) == Some(end[0]) {
            let (start, steps) = self.merge(word, &end);
            let why = if steps.is_empty() { "the word is a token as it stands, which is looked up first" } else { "" };
            return Ok(Word { start, end, steps, why, ..Word::default() });
        }
        let (start, steps) = self.merge(word, &end);
        let why = if steps.is_empty() { "no two of these are ever joined" } else { "" };
        Ok(Word { start, end, steps, why, ..Word::default() })
    }

    /// Merges as the model does, the earliest learned first, of equals the leftmost. No steps where that does not lead to
    /// the tokens that the model gives (none is known).
    fn merge(&self, word: &str, end: &[u32]) -> (Vec<u32>, Vec<Step>) {
        let start = self.first(word);
        let (mut tokens, mut steps) = (start.clone(), Vec::new());
        // Words of people are short; one without end would take the square of its length.
        if tokens.len() > LONGEST_WORD {
            return (end.to_vec(), Vec::new());
        }
        loop {
            let found = tokens.windows(2).enumerate().filter_map(|(at, w)| self.merges.of.get(&(w[0], w[1])).map(|m| (m.0, at, m.1)));
            let Some((rank, at, into)) = found.min() else { break };
            steps.push(Step { at, left: tokens[at], right: tokens[at + 1], into, rank: rank + 1 });
            tokens[at] = into;
            tokens.remove(at + 1);
        }
        if tokens == end { (start, steps) } else { (end.to_vec(), Vec::new()) }
    }

    /// The characters of a word as tokens, or their bytes.
    fn first(&self, word: &str) -> Vec<u32> {
        let t = &self.tokenizer;
        let mut out = Vec::new();
        for c in word.chars() {
            let mut buffer = [0; 4];
            let text = c.encode_utf8(&mut buffer);
            match t.token_id(text) {
                Some(id) => out.push(id),
                None => out.extend(text.bytes().filter_map(|b| t.token_id(&format!("<0x{b:02X}>")))),
            }
        }
        out
    }
}

/// In characters; a word of more is shown without its steps.
const LONGEST_WORD: usize = 256;

impl Merges {
    fn read(tokenizer: &Tokenizer, model: &Value) -> Self {
        let mut of = HashMap::new();
        for (rank, merge) in model["merges"].as_array().into_iter().flatten().enumerate() {
            let pair = match merge {
                Value::String(both) => both.split_once(' '),
                other => other[0].as_str().zip(other[1].as_str()),
            };
            let ids =
                pair.and_then(|(l, r)| Some((tokenizer.token_id(l)?, tokenizer.token_id(r)?, tokenizer.token_id(&format!("{l}{r}"))?)));
            if let Some((left, right, into)) = ids {
                of.entry((left, right)).or_insert((rank as u32, into));
            }
        }
        let scores = if model["type"] == "Unigram" {
            model["vocab"].as_array().into_iter().flatten().map(|p| p[1].as_f64().unwrap_or(0.0)).collect()
        } else {
            Vec::new()
        };
        Self { of, whole_words: model["ignore_merges"] == Value::Bool(true), scores }
    }
}

fn anatomy(tokenizer: &Tokenizer, json: &Value, bytes: &[Box<[u8]>]) -> Anatomy {
    let model = &json["model"];
    let steps = |value: &Value, key: &str| -> Vec<Value> {
        match value[key].as_array() {
            Some(list) => list.clone(),
            None if value.is_null() => Vec::new(),
            None => vec![value.clone()],
        }
    };
    let pre = steps(&json["pre_tokenizer"], "pretokenizers");
    let normal = steps(&json["normalizer"], "normalizers");
    let (mut special, mut added) = (Vec::new(), Vec::new());
    for token in json["added_tokens"].as_array().into_iter().flatten() {
        if let (Some(id), Some(name)) = (token["id"].as_u64(), token["content"].as_str()) {
            let list = if token["special"] == Value::Bool(true) { &mut special } else { &mut added };
            list.push((id as u32, name.to_owned()));
        }
    }
    let mut longest: Vec<(u32, usize)> = Vec::new();
    let mut lengths = vec![0; LENGTHS];
    for (id, bytes) in bytes.iter().map(|b| b.len()).enumerate() {
        let id = id as u32;
        if bytes > 0 && !tokenizer.is_special(id) {
            lengths[bytes.min(LENGTHS) - 1] += 1;
            longest.push((id, bytes));
        }
    }
    longest.sort_by_key(|(id, bytes)| (std::cmp::Reverse(*bytes), *id));
    longest.truncate(LONGEST);
    Anatomy {
        format: tokenizer.origin().format.to_owned(),
        kind: kind(model, &pre),
        words: words(&pre),
        normalizer: normal.iter().map(normalizer).collect::<Vec<_>>().join(", "),
        vocab: tokenizer.vocab_size(),
        merges: model["merges"].as_array().map_or(0, Vec::len),
        special,
        added,
        longest,
        lengths,
        notes: tokenizer.origin().notes.clone(),
    }
}

fn kind(model: &Value, pre: &[Value]) -> String {
    let bytes = pre.iter().any(|p| p["type"] == "ByteLevel");
    let fallback = if model["byte_fallback"] == Value::Bool(true) { ", bytes for the rest" } else { "" };
    match model["type"].as_str().unwrap_or_default() {
        "BPE" if bytes && model["merges"].as_array().is_none_or(Vec::is_empty) => "bytes".into(),
        "BPE" if bytes => "byte-level BPE".into(),
        "BPE" => format!("BPE of characters{fallback}"),
        "Unigram" => format!("unigram{fallback}"),
        "WordLevel" if pre.iter().any(|p| p["pattern"]["Regex"] == super::encoding::ANY_CHARACTER) => "characters".into(),
        other => other.to_owned(),
    }
}

fn words(pre: &[Value]) -> String {
    let step = |p: &Value| match p["type"].as_str().unwrap_or_default() {
        "ByteLevel" if p["use_regex"] == Value::Bool(false) => None,
        "ByteLevel" => Some("as gpt2 cuts".to_owned()),
        "Split" => p["pattern"]["Regex"].as_str().map(|regex| match patterns::name_of(regex) {
            Some(name) => format!("as {name} cuts"),
            None if regex == super::encoding::ANY_CHARACTER => "every character by itself".into(),
            None => format!("by the expression {regex}"),
        }),
        "Digits" if p["individual_digits"] == Value::Bool(true) => Some("every digit by itself".into()),
        other => Some(other.to_owned()),
    };
    let steps: Vec<String> = pre.iter().filter_map(step).collect();
    if steps.is_empty() { "not cut: tokens may reach over words".into() } else { steps.join(", ") }
}

fn normalizer(step: &Value) -> String {
    match step["type"].as_str().unwrap_or_default() {
        "Prepend" => format!("“{}” before the text", step["prepend"].as_str().unwrap_or_default()),
        "Replace" => {
            let what = step["pattern"]["String"].as_str().or_else(|| step["pattern"]["Regex"].as_str()).unwrap_or_default();
            format!("“{what}” becomes “{}”", step["content"].as_str().unwrap_or_default())
        }
        "Precompiled" => "SentencePiece's table of characters".into(),
        "Strip" => "blanks at the ends dropped".into(),
        other => other.to_owned(),
    }
}

/// What a token is written in: a script by its first letter, else what it is made of.
pub fn script(bytes: &[u8]) -> &'static str {
    let Ok(text) = std::str::from_utf8(bytes) else { return "bytes" };
    match text.chars().find(|c| c.is_alphabetic()).map(u32::from) {
        Some(0x0000..=0x024f | 0x1e00..=0x1eff) => "Latin",
        Some(0x0370..=0x03ff | 0x1f00..=0x1fff) => "Greek",
        Some(0x0400..=0x052f) => "Cyrillic",
        Some(0x0530..=0x058f) => "Armenian",
        Some(0x0590..=0x05ff) => "Hebrew",
        Some(0x0600..=0x077f | 0xfb50..=0xfdff | 0xfe70..=0xfeff) => "Arabic",
        Some(0x0900..=0x097f) => "Devanagari",
        Some(0x0980..=0x0dff) => "Indic",
        Some(0x0e00..=0x0e7f) => "Thai",
        Some(0x10a0..=0x10ff) => "Georgian",
        Some(0x1100..=0x11ff | 0xac00..=0xd7af | 0x3130..=0x318f) => "Hangul",
        Some(0x3040..=0x30ff | 0x31f0..=0x31ff) => "Kana",
        Some(0x2e80..=0x2fdf | 0x3400..=0x4dbf | 0x4e00..=0x9fff | 0xf900..=0xfaff | 0x2_0000..=0x3_ffff) => "Han",
        Some(_) => "other",
        None if text.chars().all(char::is_whitespace) => "blanks",
        None if text.chars().any(char::is_numeric) => "digits",
        None if text.is_ascii() => "signs",
        None => "symbols",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::fresh::Wish;
    use crate::data::source::Source;
    use crate::report::Silent;

    const TEXT: &str = "the cat sat on the mat, the dog on the log; the cat the cat the cat 123 123 naïve naïve";

    fn explained(wish: &Wish) -> Explained {
        Explained::new(Tokenizer::make(wish, &[Source::builtin("x", "x.txt", TEXT)], &Silent).unwrap())
    }

    #[test]
    fn steps_lead_from_bytes_to_the_tokens_of_the_text() {
        for wish in [Wish::new("bpe", 290, &["<|end|>"]), Wish { byte_fallback: true, ..Wish::new("bpe", 320, &["<|end|>"]) }] {
            let explained = explained(&wish);
            let text = " the cat<|end|> naïve 漢 that";
            let words = explained.words(text).unwrap();
            let ids: Vec<u32> = words.iter().flat_map(|w| w.end.clone()).collect();
            assert_eq!(ids, explained.tokenizer.encode(text, false).unwrap());
            for word in &words {
                let mut tokens = word.start.clone();
                for step in &word.steps {
                    assert_eq!((tokens[step.at], tokens[step.at + 1]), (step.left, step.right));
                    tokens.splice(step.at..step.at + 2, [step.into]);
                }
                assert_eq!(tokens, word.end);
                assert!(!word.steps.is_empty() || !word.why.is_empty());
            }
            assert!(words[0].steps.len() >= 2 && words.iter().any(|w| w.why.starts_with("a token by its name")));
        }
    }

    #[test]
    fn a_tokenizer_is_described() {
        let plain = explained(&Wish { split_digits: true, ..Wish::new("bpe", 290, &["<|end|>"]) }).anatomy;
        assert_eq!((plain.kind.as_str(), plain.words.as_str()), ("byte-level BPE", "every digit by itself, as gpt2 cuts"));
        assert_eq!((plain.vocab, plain.special.clone(), plain.merges), (plain.merges + 257, vec![(0, "<|end|>".into())], plain.merges));
        assert!(plain.merges > 10 && plain.longest[0].1 >= 4 && plain.lengths[0] == 256);
        let byte = Explained::new(Tokenizer::train("byte", 0, None, &[], &Silent).unwrap()).anatomy;
        assert_eq!((byte.kind.as_str(), byte.words.as_str()), ("bytes", "not cut: tokens may reach over words"));
        let characters = explained(&Wish { byte_fallback: true, ..Wish::new("bpe", 320, &[]) }).anatomy;
        assert_eq!(characters.kind, "BPE of characters, bytes for the rest");
    }
}
