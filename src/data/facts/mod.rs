//! Facts about a data set: how much there is, what is wrong with it, what comes twice, what of an evaluation stands in it.
//! `measure` takes them; this page says what they are, as plain data that travels to a screen.
//! Deliberately not here: any drawing of them.

pub mod characters;
mod frequent;
mod measure;
mod overlap;
pub mod private;
mod row;
mod similar;
pub mod words;

pub use measure::{Detail, Options, detailed, measure};
pub use overlap::Evaluation;
pub use similar::THRESHOLD;

use super::shape::Mapping;
use serde::{Deserialize, Serialize};

/// The version of this structure, in its JSON.
pub const SCHEMA: u32 = 1;
/// Rows that are shown of each finding.
pub const EXAMPLES: usize = 20;
/// Rows that are listed as the longest and the shortest, and lines and phrases as the most frequent.
pub const LISTED: usize = 10;

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Facts {
    pub schema: u32,
    pub files: Vec<FileFacts>,
    pub shape: Option<Mapping>,
    /// Rows that fit the shape are `rows` less `broken` and `unfit`.
    pub rows: u64,
    /// Of the rows as they stand in their files, unpacked.
    pub bytes: u64,
    pub characters: u64,
    pub words: u64,
    pub tokens: Option<u64>,
    pub tokenizer: Option<String>,
    pub lengths: Lengths,
    /// Rows that cannot be read at all.
    pub broken: Found,
    /// Rows that read, and are not of the shape.
    pub unfit: Found,
    pub empty: Found,
    pub not_utf8: Found,
    /// Keys that come twice and the like.
    pub odd: Found,
    pub control: Found,
    pub unseen: Found,
    pub lost: Found,
    pub role_order: Found,
    pub emails: Found,
    pub secrets: Found,
    /// Characters of letters by script, most first.
    pub scripts: Vec<(String, u64)>,
    pub frequent_lines: Vec<(String, u64)>,
    pub frequent_phrases: Vec<(String, u64)>,
    /// Phrases were counted in every so-and-so-many-th row.
    pub phrases_of: u64,
    pub longest: Vec<Extreme>,
    pub shortest: Vec<Extreme>,
    pub duplicates: Duplicates,
    pub overlap: Option<Overlap>,
    pub seconds: f64,
    /// Somebody stopped it: what stands here is of the rows that were read.
    pub stopped: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FileFacts {
    pub name: String,
    pub format: String,
    pub rows: u64,
    pub bytes: u64,
    /// What a row is: `row`, `paragraph`, `document`, `line`.
    pub unit: String,
    pub remark: String,
    /// What is wrong with the file as a whole.
    pub fault: Option<String>,
}

/// Rows with something about them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Found {
    pub rows: u64,
    /// The first of them.
    pub examples: Vec<Place>,
}

impl Found {
    pub fn add(&mut self, place: impl FnOnce() -> Place) {
        self.rows += 1;
        if self.examples.len() < EXAMPLES {
            self.examples.push(place());
        }
    }
}

/// A row, and why it is named.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Place {
    /// From 0, over all files.
    pub row: u64,
    /// The place in `files`.
    pub file: usize,
    /// From 1; of a Parquet file, its row.
    pub line: u64,
    pub why: String,
}

/// How long rows are.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Lengths {
    /// `tokens` where a tokenizer was named, else `characters`.
    pub unit: String,
    pub mean: f64,
    /// Percentile and length.
    pub percentiles: Vec<(f64, u64)>,
    /// From this length on, to the next one's, so many rows.
    pub histogram: Vec<(u64, u64)>,
    pub context: Option<u64>,
    /// Rows that are longer than the context and the token that follows it, and what they lose.
    pub cut_rows: u64,
    pub cut: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Extreme {
    pub place: Place,
    pub length: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Duplicates {
    /// Rows whose text stands in an earlier row to the last byte.
    pub exact: Found,
    /// Rows that resemble an earlier one without being it.
    pub near: Found,
    /// Sets of rows that resemble each other.
    pub near_groups: u64,
    /// From this share of common runs of three words on (Jaccard).
    pub threshold: f64,
    /// Pairs, and how much they resemble each other.
    pub pairs: Vec<(u64, u64, f64)>,
    /// Whether the rows were compared at all: not where somebody stopped it.
    pub compared: bool,
}

/// What of the evaluation's texts stands in the data.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Overlap {
    pub against: Vec<String>,
    pub evaluation_rows: u64,
    /// Evaluation rows that the data holds some of.
    pub touched: u64,
    /// Rows with a part that is the same, word by word, as a part of an evaluation row.
    pub exact: Found,
    /// Rows with 13 words in a row that an evaluation row has too.
    pub runs: Found,
}

impl Facts {
    /// Rows that training would learn from as they are.
    pub fn good(&self) -> u64 {
        self.rows.saturating_sub(self.broken.rows + self.unfit.rows)
    }

    /// Every kind of finding with its name and what it means, the gravest first.
    pub fn findings(&self) -> Vec<(&'static str, &Found)> {
        let mut all = vec![
            ("broken rows", &self.broken),
            ("rows of another shape", &self.unfit),
            ("not UTF-8", &self.not_utf8),
            ("empty rows", &self.empty),
            ("wrong order of roles", &self.role_order),
            ("exact duplicates", &self.duplicates.exact),
            ("near duplicates", &self.duplicates.near),
        ];
        if let Some(overlap) = &self.overlap {
            all.push(("in the evaluation, word by word", &overlap.exact));
            all.push(("in the evaluation, 13 words", &overlap.runs));
        }
        all.extend([
            ("keys that look like secrets", &self.secrets),
            ("e-mail addresses", &self.emails),
            ("keys that come twice", &self.odd),
            ("control characters", &self.control),
            ("unseen characters", &self.unseen),
            ("lost characters (U+FFFD)", &self.lost),
        ]);
        all
    }
}
