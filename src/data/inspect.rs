//! Figures about a tokenizer on a text: bytes a token, what of its vocabulary is used, its longest tokens.
//! Deliberately not here: any drawing of them, and the making of token streams for training (`stream`).

use super::DataError;
use super::formats::Document;
use super::source::{self, Part, Source};
use super::tokenizer::Tokenizer;
use crate::report::{Monitor, Report};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

/// How a tokenizer does on a text. Bytes and characters are the text's own.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Inspection {
    pub documents: u64,
    pub bytes: u64,
    pub characters: u64,
    pub tokens: u64,
    /// The number of ids in the vocabulary.
    pub vocab: u64,
    /// Different ids that stand in the text.
    pub used: u64,
    /// Whether decoding gives the text back as it was.
    pub round_trip: bool,
    /// Ids that stand nowhere in the text; special tokens are not counted, since texts rarely hold them.
    pub unused: u64,
    /// The most frequent tokens, most frequent first: id, how often.
    pub frequent: Vec<(u32, u64)>,
    /// The longest tokens that the text uses, longest first: id, bytes.
    pub longest: Vec<(u32, u64)>,
}

impl Inspection {
    /// UTF-8 bytes of text for each token; 0 for no text.
    pub fn bytes_per_token(&self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.bytes as f64 / self.tokens as f64 }
    }

    /// The share of the vocabulary that the text never uses, 0 to 1.
    pub fn unused_share(&self) -> f64 {
        if self.vocab == 0 { 0.0 } else { self.unused as f64 / self.vocab as f64 }
    }
}

/// How many tokens each list of an inspection holds.
const LISTED: usize = 20;
/// How much of a text is tokenized at a time.
const PIECE_BYTES: usize = 64 << 10;

/// Tokenizes the whole text of `sources` and counts. Stops between batches of documents.
pub fn inspect(tokenizer: &Tokenizer, sources: &[Source], monitor: &dyn Monitor) -> Result<Inspection, DataError> {
    count(tokenizer, sources, monitor).map(|(found, _)| found)
}

/// As [`inspect`], with how often each id stands in the text.
pub fn count(tokenizer: &Tokenizer, sources: &[Source], monitor: &dyn Monitor) -> Result<(Inspection, Vec<u64>), DataError> {
    let mut counts = vec![0u64; tokenizer.vocab_size()];
    let mut found = Inspection { vocab: tokenizer.vocab_size() as u64, round_trip: true, ..Inspection::default() };
    let mark = tokenizer.end_of_text(None).and_then(|id| tokenizer.token(id));
    for source in sources {
        let bytes = source.open()?;
        let total = bytes.len() as u64;
        let before = found.bytes;
        let mut documents = source::documents(&bytes, Part::Whole, source, mark.as_deref())?;
        loop {
            let batch = documents.by_ref().take(BATCH).collect::<Result<Vec<Document>, _>>()?;
            if batch.is_empty() {
                break;
            }
            let pieces: Vec<(usize, &str)> = batch
                .iter()
                .flat_map(|document| tokenizer.pieces(&document.text, PIECE_BYTES).map(move |piece| (document.line, piece)))
                .collect();
            for pieces in pieces.chunks(PIECES) {
                let encoded = pieces.par_iter().map(|(line, piece)| {
                    let ids = tokenizer
                        .encode_text(piece)
                        .map_err(|f| DataError::file(&source.name, format!("line {line}: {}", f.what), f.remedy))?;
                    let same = tokenizer.decode(&ids, false) == *piece;
                    Ok((ids, same))
                });
                for result in encoded.collect::<Vec<Result<_, DataError>>>() {
                    let (ids, same) = result?;
                    found.tokens += ids.len() as u64;
                    found.round_trip &= same;
                    ids.iter().for_each(|id| counts[*id as usize] += 1);
                }
                if monitor.stopped() {
                    return Err(DataError::Stopped);
                }
            }
            for document in &batch {
                found.documents += 1;
                found.bytes += document.text.len() as u64;
                found.characters += document.text.chars().count() as u64;
            }
            let done = (found.bytes - before).min(total);
            monitor.report(Report::Progress { what: "counting tokens".into(), done, total: Some(total), unit: "bytes".into() });
        }
    }
    let used = || counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(id, count)| (id as u32, *count));
    let id_exists = |id: &u32| tokenizer.token(*id).is_some() && !tokenizer.is_special(*id);
    found.unused = (0..counts.len() as u32).filter(|id| counts[*id as usize] == 0).filter(id_exists).count() as u64;
    found.used = used().count() as u64;
    found.frequent = largest(used());
    found.longest = largest(used().map(|(id, _)| (id, tokenizer.token_bytes(id).len() as u64)));
    Ok((found, counts))
}

/// Documents that are read at once, and pieces of them that are encoded at once.
const BATCH: usize = 1024;
const PIECES: usize = 512;

/// The largest values first, equal ones by id.
fn largest(items: impl Iterator<Item = (u32, u64)>) -> Vec<(u32, u64)> {
    let mut all: Vec<_> = items.collect();
    all.sort_by_key(|(id, value)| (std::cmp::Reverse(*value), *id));
    all.truncate(LISTED);
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Silent;

    #[test]
    fn every_token_is_counted() {
        let byte = Tokenizer::train("byte", 0, Some("<|endoftext|>"), &[], &Silent).unwrap();
        let source = Source::builtin("x", "x.txt", "aab<|endoftext|>é");
        let found = inspect(&byte, &[source], &Silent).unwrap();
        assert_eq!((found.documents, found.bytes, found.characters, found.tokens), (2, 5, 4, 5));
        assert_eq!((found.vocab, found.unused), (257, 256 - 4));
        assert_eq!((found.used, found.round_trip, found.frequent[0]), (4, true, (97, 2)));
        assert_eq!((found.longest.len(), found.bytes_per_token()), (4, 1.0));
        assert!((found.unused_share() - 252.0 / 257.0).abs() < 1e-12);
    }
}
