//! Floor 1: text sources, rows and what they mean, tokenizers, token streams and batches.
//! Deliberately not here: candle, and anything of the model.

pub mod anatomy;
pub mod batch;
pub mod bpe;
pub mod bytes;
pub mod cache;
pub mod clean;
pub mod decoding;
pub mod encoding;
pub mod facts;
pub mod fast;
pub mod filter;
pub mod formats;
pub mod fresh;
pub mod handover;
pub mod inspect;
pub mod labels;
pub mod loaders;
pub mod mask;
pub mod patterns;
pub mod sample;
pub mod shape;
pub mod source;
pub mod stream;
pub mod table;
pub mod template;
pub mod tokenizer;
pub mod unpack;
pub mod value;

use std::borrow::Cow;
use std::path::{Path, PathBuf};

/// What can be wrong with data; each message names the thing, the place and the remedy, in one line.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    #[error("{}: {what}; {remedy}", shown(.path))]
    File { path: PathBuf, what: String, remedy: String },
    #[error("{0}")]
    Other(String),
    /// Somebody asked the job to stop while it read, trained a tokenizer or tokenized.
    #[error("stopped")]
    Stopped,
}

impl DataError {
    pub fn file(path: impl Into<PathBuf>, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::File { path: path.into(), what: what.into(), remedy: remedy.into() }
    }

    /// A failed read or write, in words that say what to do about it.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        let (what, remedy) = match error.kind() {
            Kind::NotFound => ("no such file".to_owned(), "check the path"),
            Kind::PermissionDenied => ("permission denied".to_owned(), "check who may read and write it"),
            Kind::IsADirectory => ("is a directory".to_owned(), "name a file in it"),
            Kind::StorageFull | Kind::QuotaExceeded => ("the disk is full".to_owned(), "free some space and start again"),
            Kind::ReadOnlyFilesystem => ("the file system is read-only".to_owned(), "choose a directory that can be written"),
            _ => (error.to_string(), "check the file and its disk"),
        };
        Self::file(path, what, remedy)
    }
}

/// A path as it may be shown: a file name is foreign text too.
pub fn shown(path: &Path) -> String {
    visible(&path.to_string_lossy()).into_owned()
}

pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    crate::text::visible(text, false)
}

/// A number with its thousands set apart: `1,003,854`.
pub(crate) fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}
