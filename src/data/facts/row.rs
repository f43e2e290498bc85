//! What is found in one row by itself.
//! Deliberately not here: what only shows beside other rows (`measure`).

use super::characters::{Characters, Counter};
use super::frequent::Frequent;
use super::overlap::Evaluation;
use super::private;
use super::similar::{self, Bands};
use super::words::{self, Word};
use crate::data::formats::{Layout, Parsed, RowFault};
use crate::data::shape::{Example, Mapping, order_fault};
use crate::data::tokenizer::Tokenizer;

/// Whether a row can be used.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    Good,
    /// It cannot be read.
    Broken(RowFault),
    /// It is not of the shape.
    Unfit(String),
}

/// A row as measured.
#[derive(Clone, Debug)]
pub struct Measured {
    pub verdict: Verdict,
    pub oddity: Option<String>,
    pub characters: Characters,
    pub words: u64,
    pub tokens: Option<u64>,
    /// Of the text as it is; 0 for an empty one.
    pub hash: u64,
    pub bands: Option<Bands>,
    pub order: Option<String>,
    pub email: Option<String>,
    pub secret: Option<String>,
    /// Of an evaluation: the row, and whether a whole part is the same.
    pub in_evaluation: Option<(u32, bool)>,
}

impl Measured {
    fn without(verdict: Verdict) -> Self {
        Self {
            verdict,
            oddity: None,
            characters: Characters::default(),
            words: 0,
            tokens: None,
            hash: 0,
            bands: None,
            order: None,
            email: None,
            secret: None,
            in_evaluation: None,
        }
    }

    pub fn is_empty(&self) -> bool {
        self.verdict == Verdict::Good && self.hash == 0
    }
}

/// What all rows are measured by.
pub struct Gauge<'g> {
    pub mapping: Mapping,
    pub tokenizer: Option<&'g Tokenizer>,
    pub evaluation: Option<&'g Evaluation>,
    pub counter: Counter,
    /// Phrases are counted in every so-and-so-many-th row.
    pub phrases_of: u64,
}

/// How a table reads its rows: without the table, which one thread holds.
#[derive(Clone)]
pub struct Reading {
    pub parse: fn(&[u8], &Layout) -> Result<Parsed, RowFault>,
    pub layout: Layout,
}

/// What a thread counts beside the rows themselves.
#[derive(Default)]
pub struct Counted {
    pub lines: Frequent,
    pub phrases: Frequent,
}

/// Words of a phrase.
const PHRASE: usize = 4;

/// The parts of a row's text that its sameness is decided by: a conversation's roles are some of it.
pub fn parts(example: &Example) -> Vec<&str> {
    example.texts()
}

impl Gauge<'_> {
    pub fn row(&self, raw: &[u8], number: u64, reading: &Reading, counted: &mut Counted) -> Measured {
        let parsed = match (reading.parse)(raw, &reading.layout) {
            Ok(parsed) => parsed,
            Err(fault) => return Measured::without(Verdict::Broken(fault)),
        };
        let example = match self.mapping.example(&parsed.value) {
            Ok(example) => example,
            Err(why) => return Measured { oddity: parsed.oddity, ..Measured::without(Verdict::Unfit(why)) },
        };
        let mut row = Measured { oddity: parsed.oddity, ..Measured::without(Verdict::Good) };
        let texts = parts(&example);
        row.tokens = self.tokenizer.map(|t| texts.iter().map(|text| t.encode_text(text).map_or(0, |ids| ids.len() as u64)).sum());
        if let Example::Tokens(ids) = &example {
            row.tokens = Some(ids.len() as u64);
            row.hash = if ids.is_empty() { 0 } else { words::exact(std::iter::once(format!("{ids:?}").as_str())) };
        }
        if texts.iter().any(|text| !text.trim().is_empty()) {
            row.hash = words::exact(texts.iter().copied()).max(1);
        }
        row.order = match &example {
            Example::Chat(turns) => order_fault(turns),
            Example::Preference { prompt, chosen, rejected } => [chosen, rejected]
                .into_iter()
                .find_map(|side| order_fault(&[prompt.as_slice(), side].concat()).filter(|_| !prompt.is_empty())),
            _ => None,
        };
        let mut all: Vec<Word> = Vec::new();
        let mut found: Vec<Word> = Vec::new();
        for text in &texts {
            self.counter.count(text, &mut row.characters);
            words::words(text, &mut found);
            self.phrases(text, &found, number, counted);
            for private in private::find(text) {
                let of = if private.is_email() { &mut row.email } else { &mut row.secret };
                of.get_or_insert_with(|| private.kind.to_owned());
            }
            if let Some(evaluation) = self.evaluation {
                row.in_evaluation = match (row.in_evaluation, evaluation.meets(&found)) {
                    (Some((at, exact)), Some((_, other))) => Some((at, exact || other)),
                    (before, now) => before.or(now),
                };
            }
            all.extend_from_slice(&found);
        }
        row.words = all.len() as u64;
        if !all.is_empty() {
            row.bands = similar::bands(words::runs(&all, words::SHINGLE));
        }
        row
    }

    fn phrases(&self, text: &str, found: &[Word], number: u64, counted: &mut Counted) {
        for line in text.lines().map(str::trim).filter(|line| line.len() > 2) {
            counted.lines.add(words::exact(std::iter::once(line)), 1, || line.to_owned());
        }
        if number.is_multiple_of(self.phrases_of.max(1)) {
            for phrase in found.windows(PHRASE) {
                let at = phrase[0].start as usize..phrase[PHRASE - 1].end as usize;
                counted.phrases.add(words::run(phrase), 1, || text[at].split_whitespace().collect::<Vec<_>>().join(" "));
            }
        }
    }

    /// The shingles of a row's text, as they are compared exactly.
    pub fn shingles(&self, raw: &[u8], reading: &Reading) -> Vec<u64> {
        let Ok(parsed) = (reading.parse)(raw, &reading.layout) else { return Vec::new() };
        let Ok(example) = self.mapping.example(&parsed.value) else { return Vec::new() };
        let (mut all, mut found) = (Vec::new(), Vec::new());
        for text in parts(&example) {
            words::words(text, &mut found);
            all.extend_from_slice(&found);
        }
        if all.is_empty() { Vec::new() } else { words::shingles(&all) }
    }
}
