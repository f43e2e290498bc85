//! Tokenizers as the screen knows them: which there are, those that are open, and how they cut a text.
//! Deliberately not here: how they are read (`ui::shelf`) and what is drawn of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::data::anatomy::{Explained, Piece, Word};

/// A tokenizer that could be opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Listed {
    /// What opens it: a path in the project, or `builtin:NAME`.
    pub name: String,
    /// What a person reads: where it comes from, in a word or two.
    pub what: String,
}

/// A text as one tokenizer cuts it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cut {
    pub pieces: Vec<Piece>,
    /// How each word was put together, of the beginning of the text.
    pub words: Vec<Word>,
    /// Of the text.
    pub bytes: usize,
}

#[derive(Default)]
pub struct Shelf {
    /// None until the project was looked through.
    pub listed: Option<Vec<Listed>>,
    pub open: BTreeMap<String, Result<Arc<Explained>, String>>,
    pub cuts: BTreeMap<u64, Result<Cut, String>>,
}

/// Answers that may still be on a screen.
const KEPT_CUTS: usize = 8;
/// Tokenizers that are held open; a large vocabulary takes some hundred megabytes.
pub const KEPT_OPEN: usize = 4;

impl Shelf {
    pub fn opened(&mut self, name: String, result: Result<Arc<Explained>, String>) {
        if self.open.len() >= KEPT_OPEN && !self.open.contains_key(&name) {
            self.open.pop_first();
        }
        self.open.insert(name, result);
    }

    pub fn cut(&mut self, ticket: u64, result: Result<Cut, String>) {
        self.cuts.insert(ticket, result);
        while self.cuts.len() > KEPT_CUTS {
            self.cuts.pop_first();
        }
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Explained>> {
        self.open.get(name)?.as_ref().ok()
    }
}
