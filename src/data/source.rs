//! stub: text sources

use super::DataError;
use crate::recipe::DataSection;
use std::path::{Path, PathBuf};

/// A file (or built-in text) that documents are read from, opened and checked.
#[derive(Clone, Debug)]
pub struct Source {
    /// For messages and caches: the path, or `sample:stories`.
    pub name: String,
    pub path: Option<PathBuf>,
    pub field: String,
}

/// Expands files and globs; an entry that matches nothing is an error that names it.
pub fn expand(entries: &[String], field: &str, base: &Path) -> Result<Vec<Source>, DataError> {
    let _ = (entries, field, base);
    todo!()
}

/// The training and validation sources of a recipe.
pub fn of_recipe(data: &DataSection, base: &Path) -> Result<(Vec<Source>, Vec<Source>), DataError> {
    let _ = (data, base);
    todo!()
}
