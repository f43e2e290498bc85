//! What is wrong with a text that is not TOML, and where: the parser's own words, except for what stands twice, of which
//! it says neither the name nor the first place. Deliberately not here: keys that this program does not know (`parse`).

use std::ops::Range;

use toml_edit::{Document, Item, Key, Table, TableLike};

/// The first fault of a text that is not TOML.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// Counted from 1; none where the parser gives no place.
    pub line: Option<usize>,
    /// The table or key that stands twice, with its section; empty for any other fault.
    pub key: String,
    /// What is wrong and what would be right, in one line.
    pub message: String,
}

impl Fault {
    /// From the place and the words of the TOML parser's error.
    pub fn of(text: &str, span: Option<Range<usize>>, message: &str) -> Self {
        let at = span.map(|s| s.start);
        let line = at.map(|at| line_of(text, at));
        if message.starts_with("duplicate key")
            && let Some(fault) = at.and_then(|at| twice(text, at))
        {
            return fault;
        }
        Self { line, key: String::new(), message: format!("not TOML: {}", message.trim_end().replace('\n', ", ")) }
    }

    /// From an error of the parser that keeps a document's form.
    pub fn of_edit(text: &str, error: &toml_edit::TomlError) -> Self {
        Self::of(text, error.span(), error.message())
    }

    /// `7: optim.lr: is set twice …`, for a place that is written `file:7: …`.
    pub fn placed(&self) -> String {
        let line = self.line.unwrap_or(1);
        if self.key.is_empty() { format!("{line}: {}", self.message) } else { format!("{line}: {}: {}", self.key, self.message) }
    }
}

/// The line of an offset, counted from 1.
pub fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes()[..offset.min(text.len())].iter().filter(|&&b| b == b'\n').count() + 1
}

/// A table or key that stands twice, the second time at `at`. What is before that line was read without fault.
fn twice(text: &str, at: usize) -> Option<Fault> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |n| n + 1);
    let (before, line) = (&text[..start], text[start..].lines().next()?.trim_start());
    let known = Document::parse(before).ok()?;
    let (header, name) = match line.strip_prefix('[') {
        Some(rest) => (true, rest.trim_start_matches('[').split(']').next()?),
        None => (false, line.split('=').next()?),
    };
    let section = if header { None } else { before.lines().rev().find_map(|l| l.trim_start().strip_prefix('[')?.split(']').next()) };
    let path: Vec<Key> = section.into_iter().chain([name]).map(|part| Key::parse(part.trim()).ok()).collect::<Option<Vec<_>>>()?.concat();
    let key = path.iter().map(Key::get).collect::<Vec<_>>().join(".");
    // `a = {b = 1, b = 2}`: both stand in the line that was not read.
    let first = first_line(before, known.as_table(), &path);
    let seen = first.map_or(String::new(), |line| format!(", the first time in line {line}"));
    let message = match header {
        true => format!("the section begins twice{seen}; put all of its keys below one [{key}]"),
        false if first.is_some() => format!("is set twice{seen}; keep one of the two"),
        false => "holds one name twice; keep one of the two".into(),
    };
    Some(Fault { line: Some(line_of(text, at)), key, message })
}

/// The line in which a path begins; where it has no place of its own, that of what it begins with.
fn first_line(text: &str, root: &Table, path: &[Key]) -> Option<usize> {
    let mut table: &dyn TableLike = root;
    let mut found = None;
    for (depth, part) in path.iter().enumerate() {
        let (key, item) = table.get_key_value(part.get())?;
        let span = item.as_table().and_then(Table::span).or(key.span()).or(item.span());
        found = span.map(|s| line_of(text, s.start)).or(found);
        match item.as_table_like() {
            Some(inner) => table = inner,
            None if depth + 1 == path.len() || !matches!(item, Item::None) => break,
            None => return None,
        }
    }
    found
}
