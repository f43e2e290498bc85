//! Floor 1: text sources, tokenizers, token streams and batches. No candle, and nothing of the model.

pub mod batch;
pub mod sample;
pub mod source;
pub mod stream;
pub mod tokenizer;

use std::path::PathBuf;

/// What can be wrong with data; each message names the thing, the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{path}: {what}; {remedy}")]
    File { path: PathBuf, what: String, remedy: String },
    #[error("{0}")]
    Other(String),
}
