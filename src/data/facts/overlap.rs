//! What evaluation texts hold, so that it is found where it must not stand: runs of 13 words, and whole texts.
//! Deliberately not here: which rows of the training data are looked at (`measure`).

use super::words::{self, RUN, Word};
use crate::data::DataError;
use crate::data::shape::{self, recognise};
use crate::data::source::Source;
use crate::data::table::Set;
use crate::report::Monitor;
use std::collections::HashMap;
use std::path::Path;

/// Shorter texts are the same by chance: answers such as `yes` or `12`.
const SHORTEST: usize = 6;

/// The runs and the texts of evaluation files, by hash.
#[derive(Default)]
pub struct Evaluation {
    /// The first evaluation row that holds it.
    runs: HashMap<u64, u32>,
    whole: HashMap<u64, u32>,
    pub rows: u64,
    pub names: Vec<String>,
}

impl Evaluation {
    /// Reads evaluation files; rows that cannot be read are passed over.
    pub fn read(sources: &[Source], scratch: &Path, monitor: &dyn Monitor) -> Result<Self, DataError> {
        let mut evaluation = Self { names: sources.iter().map(|s| s.name.clone()).collect(), ..Self::default() };
        let mut found = Vec::new();
        for source in sources {
            let mut set = Set::open(std::slice::from_ref(source), scratch)?;
            while !set.advance(8 << 20, &mut |_, _, _| {})? {
                if monitor.stopped() {
                    return Err(DataError::Stopped);
                }
            }
            let first: Vec<_> = set.read(0, 100)?.into_iter().filter_map(|(_, row)| row.parsed.ok()).map(|p| p.value).collect();
            let beside = source.path.as_ref().and_then(|p| shape::beside(p));
            let mapping = beside.map_or_else(|| recognise(&first.iter().collect::<Vec<_>>()), |entry| entry.mapping);
            for from in (0..set.rows()).step_by(1000) {
                for (_, row) in set.read(from, 1000)? {
                    let Some(example) = row.parsed.ok().and_then(|p| mapping.example(&p.value).ok()) else { continue };
                    let number = evaluation.rows as u32;
                    evaluation.rows += 1;
                    for text in example.texts() {
                        words::words(text, &mut found);
                        evaluation.add(&found, number);
                    }
                }
            }
        }
        Ok(evaluation)
    }

    fn add(&mut self, words: &[Word], row: u32) {
        if words.len() >= SHORTEST {
            self.whole.entry(words::run(words)).or_insert(row);
        }
        for run in words.windows(RUN) {
            self.runs.entry(words::run(run)).or_insert(row);
        }
    }

    /// The evaluation row that a text has something of, and whether all of the text is the same.
    pub fn meets(&self, words: &[Word]) -> Option<(u32, bool)> {
        if words.len() >= SHORTEST
            && let Some(row) = self.whole.get(&words::run(words))
        {
            return Some((*row, true));
        }
        words.windows(RUN).find_map(|run| self.runs.get(&words::run(run))).map(|row| (*row, false))
    }
}
