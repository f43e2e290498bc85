//! Where text comes from: files, directories, globs and built-in samples, each checked before anything reads it.
//! Deliberately not here: how a kind of file is read (`formats`) and what becomes of the text (`stream`).

use super::bytes::Bytes;
use super::formats::{self, Document, Format};
use super::{DataError, sample, unpack, visible};
use crate::recipe::DataSection;
use crate::repos;
use std::collections::BTreeSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The prefix of a text that is built into the program: `sample:stories`.
pub const BUILTIN: &str = "sample:";

/// A file (or built-in text) that documents are read from.
#[derive(Clone)]
pub struct Source {
    /// For messages: the path, or `sample:stories`.
    pub name: String,
    pub path: Option<PathBuf>,
    /// The field of a row that holds the text.
    pub field: String,
    pub format: &'static Format,
    /// The text itself where no file holds it.
    pub content: Option<&'static str>,
}

impl std::fmt::Debug for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "Source({} as {})", self.name, self.format.name)
    }
}

impl Source {
    pub fn file(path: &Path, field: &str) -> Self {
        let name = path.to_string_lossy().into_owned();
        let format = formats::of_name(&name);
        Self { name, path: Some(path.to_owned()), field: field.into(), format, content: None }
    }

    /// A text that is part of the program, of the format that a file of the name `file` would have.
    pub fn builtin(name: &str, file: &str, content: &'static str) -> Self {
        Self { name: name.into(), path: None, field: "text".into(), format: formats::of_name(file), content: Some(content) }
    }

    /// The content. An empty source is an error, and so is one of blanks alone.
    pub fn open(&self) -> Result<Bytes, DataError> {
        let bytes = match (&self.path, self.content) {
            (Some(path), _) if unpack::is_needed(path, self.format) => unpack::whole(path, self.format, &std::env::temp_dir())?,
            (Some(path), _) => Bytes::open(path)?,
            (None, Some(content)) => Bytes::Static(content.as_bytes()),
            (None, None) => return Err(DataError::file(&self.name, "has no content", "name a file")),
        };
        if bytes.is_empty() {
            return Err(DataError::file(&self.name, "is empty", "name a file that holds text"));
        }
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(DataError::file(&self.name, "holds nothing but blanks and line ends", "name a file that holds text"));
        }
        Ok(bytes)
    }
}

/// The part of a source that one split reads.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Part {
    Whole,
    /// What is left of the validation part; the number is the share that validates.
    Train(f64),
    /// The last share.
    Val(f64),
}

impl Part {
    /// The byte range of this part.
    pub fn range(self, bytes: &[u8], source: &Source) -> Result<Range<usize>, DataError> {
        Ok(match self {
            Self::Whole => 0..bytes.len(),
            Self::Train(share) => 0..(source.format.cut)(bytes, source, 1.0 - share)?,
            Self::Val(share) => (source.format.cut)(bytes, source, 1.0 - share)?..bytes.len(),
        })
    }
}

/// All documents of a part, in order, with the literal `end_of_text` dividing plain texts.
pub fn documents<'a>(
    bytes: &'a [u8],
    part: Part,
    source: &'a Source,
    end_of_text: Option<&'a str>,
) -> Result<impl Iterator<Item = Result<Document<'a>, DataError>> + Send + 'a, DataError> {
    let range = part.range(bytes, source)?;
    (source.format.documents)(bytes, range, source, end_of_text)
}

/// Expands files, directories, globs and `sample:NAME`. What an entry matches is sorted; a file that several
/// entries match is read once, where it came first. An entry that matches nothing is an error that names it.
pub fn expand(entries: &[String], field: &str, base: &Path) -> Result<Vec<Source>, DataError> {
    let mut seen = BTreeSet::new();
    let mut sources = Vec::new();
    for entry in entries {
        if let Some(name) = entry.strip_prefix(BUILTIN) {
            if seen.insert(PathBuf::from(entry)) {
                sources.push(Source { field: field.into(), ..builtin(entry, name)? });
            }
            continue;
        }
        for path in matches(entry, base)? {
            // The same file under two names is one file.
            if seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
                sources.push(Source::file(&path, field));
            }
        }
    }
    Ok(sources)
}

/// The training and validation sources of a recipe. No validation source means: the end of the training text.
pub fn of_recipe(data: &DataSection, base: &Path) -> Result<(Vec<Source>, Vec<Source>), DataError> {
    if data.train.is_empty() {
        return Err(DataError::Other(
            "data.train names nothing to train on; give it files, globs or sample:NAME, for example --set data.train=input.txt".into(),
        ));
    }
    Ok((expand(&data.train, &data.field, base)?, expand(&data.val, &data.field, base)?))
}

fn builtin(entry: &str, name: &str) -> Result<Source, DataError> {
    match (sample::text(name), sample::file(name)) {
        (Some(content), Some(file)) => Ok(Source::builtin(entry, file, content)),
        _ => {
            let names: Vec<&str> = sample::names().collect();
            Err(DataError::file(entry, "no built-in text has this name", format!("name one of {}", names.join(", "))))
        }
    }
}

fn matches(entry: &str, base: &Path) -> Result<Vec<PathBuf>, DataError> {
    if entry.starts_with(repos::PREFIX) {
        let path =
            repos::dataset_path(entry, &repos::Cache::from_env()).map_err(|why| DataError::Other(format!("{}: {why}", visible(entry))))?;
        return matches(&path.to_string_lossy(), base);
    }
    let path = base.join(entry);
    // A file whose name has brackets or stars is a file first, and a pattern only where no such file is.
    if path.is_dir() {
        return directory(&path);
    }
    if path.symlink_metadata().is_ok() {
        return Ok(vec![path]);
    }
    if entry.contains(['*', '?', '[']) {
        return globbed(entry, base);
    }
    let near = near(&path);
    let remedy = match &near {
        Some(name) => format!("did you mean “{}”?", visible(name)),
        None if Path::new(entry).is_relative() => format!("relative paths start at {}", start(base)),
        None => "check the path".into(),
    };
    Err(DataError::file(path, "no such file", remedy))
}

/// Where relative paths start, as a person knows it.
fn start(base: &Path) -> String {
    let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    super::shown(&base.canonicalize().unwrap_or_else(|_| base.to_owned()))
}

fn globbed(entry: &str, base: &Path) -> Result<Vec<PathBuf>, DataError> {
    let pattern = if Path::new(entry).is_absolute() || base.as_os_str().is_empty() {
        entry.to_owned()
    } else {
        // Brackets in the directory's own name are no part of the pattern.
        format!("{}/{entry}", glob::Pattern::escape(&base.to_string_lossy()))
    };
    let options = glob::MatchOptions { case_sensitive: true, require_literal_separator: true, require_literal_leading_dot: true };
    let walk = glob::glob_with(&pattern, options)
        .map_err(|e| DataError::file(entry, format!("not a pattern: {} at character {}", e.msg, e.pos), "write it like data/*.txt"))?;
    let mut found = Vec::new();
    for path in walk {
        let path = path.map_err(|e| DataError::io(e.path(), e.error()))?;
        if path.is_file() {
            found.push(path);
        }
    }
    if found.is_empty() {
        let from = if Path::new(entry).is_relative() { format!("relative patterns start at {}; ", start(base)) } else { String::new() };
        return Err(DataError::file(entry, "matches no file", format!("{from}try the pattern with `ls`")));
    }
    found.sort();
    Ok(found)
}

/// Every file of a known kind below a directory; hidden ones are passed over, links to directories not followed.
fn directory(path: &Path) -> Result<Vec<PathBuf>, DataError> {
    let mut found = Vec::new();
    let mut waiting = vec![path.to_owned()];
    while let Some(dir) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).map_err(|e| DataError::io(&dir, &e))? {
            let entry = entry.map_err(|e| DataError::io(&dir, &e))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let kind = entry.file_type().map_err(|e| DataError::io(&entry.path(), &e))?;
            if name.starts_with('.') {
                continue;
            }
            if kind.is_dir() {
                waiting.push(entry.path());
            } else if formats::known(&name) {
                found.push(entry.path());
            }
        }
    }
    if found.is_empty() {
        let known = formats::FORMATS.iter().flat_map(|f| f.extensions).map(|e| format!(".{e}")).collect::<Vec<_>>().join(", ");
        return Err(DataError::file(path, "the directory holds no text", format!("files of these kinds are read: {known}")));
    }
    found.sort();
    Ok(found)
}

/// A file beside the missing one whose name is nearly the same.
fn near(path: &Path) -> Option<String> {
    let wanted = path.file_name()?.to_string_lossy().into_owned();
    let names = std::fs::read_dir(path.parent()?).ok()?.take(2000).flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let best = names.map(|name| (strsim::jaro_winkler(&wanted, &name), name)).max_by(|a, b| a.0.total_cmp(&b.0))?;
    (best.0 > 0.85).then_some(best.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(sources: &[Source]) -> Vec<String> {
        sources.iter().map(|s| s.path.as_ref().unwrap().file_name().unwrap().to_string_lossy().into_owned()).collect()
    }

    fn entries(list: &[&str]) -> Vec<String> {
        list.iter().map(|s| (*s).to_owned()).collect()
    }

    #[test]
    fn globs_are_sorted_and_files_are_read_once() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.txt", "a.txt", "c.jsonl", ".hidden.txt", "x[1].txt", "skip.bin"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        let all = expand(&entries(&["x[1].txt", "*.txt", "a.txt", "./b.txt", "*.jsonl"]), "text", dir.path()).unwrap();
        assert_eq!(names(&all), ["x[1].txt", "a.txt", "b.txt", "c.jsonl"]);
        assert_eq!(all[3].format.name, "jsonl");
        let all = expand(&entries(&["."]), "text", dir.path()).unwrap();
        assert_eq!(names(&all), ["a.txt", "b.txt", "c.jsonl", "x[1].txt"]);
    }

    #[test]
    fn a_directory_with_brackets_in_its_name_can_be_searched() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().join("set [1]");
        std::fs::create_dir(&base).unwrap();
        std::fs::write(base.join("a.txt"), "x").unwrap();
        assert_eq!(names(&expand(&entries(&["*.txt"]), "text", &base).unwrap()), ["a.txt"]);
    }

    #[test]
    fn what_matches_nothing_is_named_with_a_remedy() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("shakespeare.txt"), "x").unwrap();
        let error = |entry: &str| expand(&entries(&[entry]), "text", dir.path()).unwrap_err().to_string();
        assert!(error("shakespere.txt").contains("shakespere.txt: no such file; did you mean “shakespeare.txt”?"));
        assert!(error("other").contains("relative paths start at"), "{}", error("other"));
        assert!(error("*.jsonl").contains("*.jsonl: matches no file; relative patterns start at /"));
        let absolute = dir.path().join("*.jsonl").to_string_lossy().into_owned();
        assert!(error(&absolute).ends_with("*.jsonl: matches no file; try the pattern with `ls`"), "{}", error(&absolute));
        assert!(error("a[").contains("not a pattern"), "{}", error("a["));
        assert!(error("sample:nothing").contains("no built-in text"));
        std::fs::create_dir(dir.path().join("empty")).unwrap();
        assert!(error("empty").contains("the directory holds no text"));
        assert!(of_recipe(&DataSection::default(), dir.path()).unwrap_err().to_string().contains("data.train names nothing"));
    }

    #[test]
    fn nothing_to_read_is_an_error() {
        let dir = tempfile::tempdir().unwrap();
        for (content, what) in [("", "is empty"), (" \n\t\r\n", "nothing but blanks")] {
            let path = dir.path().join("a.txt");
            std::fs::write(&path, content).unwrap();
            let error = Source::file(&path, "text").open().err().unwrap().to_string();
            assert!(error.contains("a.txt: ") && error.contains(what), "{error}");
        }
    }
}
