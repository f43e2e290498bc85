//! stub: tokenizers

use super::DataError;
use super::source::Source;
use crate::report::Monitor;
use std::path::Path;

/// A tokenizer in the format of the tokenizers library, whatever made it.
#[derive(Clone)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
}

impl Tokenizer {
    pub fn load(path: &Path) -> Result<Self, DataError> {
        let _ = path;
        todo!()
    }
    /// `kind` is `char`, `byte` or `bpe`. Progress goes to `monitor`.
    pub fn train(
        kind: &str,
        vocab: usize,
        end_of_text: Option<&str>,
        sources: &[Source],
        monitor: &dyn Monitor,
    ) -> Result<Self, DataError> {
        let _ = (kind, vocab, end_of_text, sources, monitor);
        todo!()
    }
    /// Writes `tokenizer.json`, beside and renamed.
    pub fn save(&self, path: &Path) -> Result<(), DataError> {
        let _ = path;
        todo!()
    }
    pub fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, DataError> {
        let _ = (text, special, &self.inner);
        todo!()
    }
    pub fn decode(&self, ids: &[u32], skip_special: bool) -> String {
        let _ = (ids, skip_special);
        todo!()
    }
    /// The raw bytes that a token adds to the text; never shown without `text::visible`.
    pub fn token_bytes(&self, id: u32) -> Vec<u8> {
        let _ = id;
        todo!()
    }
    /// The number of ids, added and special tokens included.
    pub fn vocab_size(&self) -> usize {
        todo!()
    }
    pub fn token_id(&self, token: &str) -> Option<u32> {
        let _ = token;
        todo!()
    }
    /// The token that ends a document, if the vocabulary has one: `name`, or one of the usual names.
    pub fn end_of_text(&self, name: Option<&str>) -> Option<u32> {
        let _ = name;
        todo!()
    }
    /// `tokenizer.json` as text, as it is copied into checkpoints.
    pub fn json(&self) -> &str {
        todo!()
    }
    /// SHA-256 of the JSON, in hexadecimal.
    pub fn hash(&self) -> String {
        todo!()
    }
}
