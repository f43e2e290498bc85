//! The loader's tokenizers: looks for them in a project, opens them, and cuts texts with them.
//! Deliberately not here: what a tokenizer file looks like (`data::loaders`), and any state of the screen.

use std::path::Path;
use std::sync::Arc;

use super::world::tokens::{Cut, KEPT_OPEN, Listed};
use crate::data::anatomy::Explained;
use crate::data::tokenizer::{BUILTIN, named};

/// Of a text, so much is shown merge by merge.
const EXPLAINED_BYTES: usize = 2_000;
/// Entries of a directory that are looked at, and tokenizers that are listed.
const LOOKED_AT: usize = 2_000;

#[derive(Default)]
pub struct Tokenizers {
    /// The newest last.
    open: Vec<(String, Arc<Explained>)>,
}

impl Tokenizers {
    /// What there is: the project's tokenizers, those of its runs and models, and the built-in ones.
    pub fn list(project: &Path) -> Vec<Listed> {
        let mut found = Vec::new();
        let mut add = |name: String, what: &str| found.push(Listed { name, what: what.into() });
        for (dir, what) in [("tokenizers", "tokenizer"), ("models", "model"), ("runs", "run"), ("", "file")] {
            let mut entries: Vec<String> = std::fs::read_dir(project.join(dir))
                .map(|list| list.take(LOOKED_AT).flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect())
                .unwrap_or_default();
            entries.sort();
            for entry in entries.into_iter().filter(|e| !e.starts_with('.')) {
                let name = if dir.is_empty() { entry } else { format!("{dir}/{entry}") };
                let path = project.join(&name);
                if dir.is_empty() {
                    if path.is_file() && is_file(&name) {
                        add(name, what);
                    }
                } else if path.is_dir() {
                    if let Some(file) = FILES.iter().find(|file| path.join(file).is_file()) {
                        add(format!("{name}/{file}"), what);
                    }
                } else if is_file(&name) || (dir == "tokenizers" && name.ends_with(".json")) {
                    add(name, what);
                }
            }
        }
        add(format!("{BUILTIN}sample"), "built in");
        add(format!("{BUILTIN}bytes"), "built in");
        found
    }

    pub fn open(&mut self, project: &Path, name: &str) -> Result<Arc<Explained>, String> {
        if let Some(at) = self.open.iter().position(|(known, _)| known == name) {
            return Ok(self.open[at].1.clone());
        }
        let explained = Arc::new(Explained::new(named(project, name).map_err(|e| e.to_string())?));
        if self.open.len() >= KEPT_OPEN {
            self.open.remove(0);
        }
        self.open.push((name.to_owned(), explained.clone()));
        Ok(explained)
    }

    /// Forgets a file that was written anew.
    pub fn forget(&mut self, name: &str) {
        self.open.retain(|(known, _)| known != name);
    }

    pub fn cut(&mut self, project: &Path, name: &str, text: &str) -> Result<Cut, String> {
        let explained = self.open(project, name)?;
        let pieces = explained.pieces(text)?;
        let mut end = text.len().min(EXPLAINED_BYTES);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        Ok(Cut { pieces, words: explained.words(&text[..end])?, bytes: text.len() })
    }
}

/// Names of tokenizers in a directory of their own.
const FILES: [&str; 3] = ["tokenizer.json", "tokenizer.model", "vocab.json"];

fn is_file(name: &str) -> bool {
    let file = name.rsplit('/').next().unwrap_or(name);
    file == "vocab.json" || file.ends_with("tokenizer.json") || [".tiktoken", ".model", ".gguf"].iter().any(|end| file.ends_with(end))
}
