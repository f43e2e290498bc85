//! All rows of a task's data, from files of any format that is read, with their places.
//! Deliberately not here: what the rows mean (`item`, `known`).

use std::path::Path;

use serde_json::Value;

use super::EvalError;
use crate::data::source::{self, Source};
use crate::data::table::Table;

/// A benchmark has thousands of rows; what has more is a training set.
pub const MOST_ROWS: u64 = 1_000_000;
/// Rows are read this many at a time.
const AT_ONCE: u64 = 256;
const LOOK: u64 = 16 << 20;

/// A row and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub value: Value,
    /// `mmlu.csv line 3`.
    pub place: String,
    /// The file's name without its directory.
    pub file: String,
    /// From 0, within the file.
    pub number: u64,
}

/// Reads every row of files, directories, globs and `sample:NAME`, relative to `base`, at most `limit` of them. A row that
/// cannot be read is an error: a score over the rest would be another one.
pub fn read(entries: &[String], base: &Path, scratch: &Path, limit: Option<usize>) -> Result<Vec<Row>, EvalError> {
    let mut out = Vec::new();
    for source in source::expand(entries, "text", base)? {
        read_one(&source, scratch, limit, &mut out)?;
        if limit.is_some_and(|limit| out.len() >= limit) {
            break;
        }
    }
    Ok(out)
}

fn read_one(source: &Source, scratch: &Path, limit: Option<usize>, out: &mut Vec<Row>) -> Result<(), EvalError> {
    let name = crate::data::visible(&source.name).into_owned();
    let file = name.rsplit('/').next().unwrap_or(&name).to_owned();
    let mut table = Table::open(source, scratch)?;
    while !table.advance(LOOK, &mut |_, _| ())? {
        if table.rows() > MOST_ROWS {
            return Err(EvalError::task(&name, format!("has more than {MOST_ROWS} rows"), "name an evaluation set, or set limit"));
        }
    }
    if let Some(fault) = table.fault() {
        return Err(EvalError::task(&name, fault, "mend the file, for example with `weightroom data clean`"));
    }
    let mut from = 0;
    while from < table.rows() && limit.is_none_or(|limit| out.len() < limit) {
        for row in table.read(from, AT_ONCE)? {
            let place = format!("{file} line {}", row.span.line);
            let value = row
                .parsed
                .map_err(|fault| EvalError::task(&name, format!("line {}: {}", row.span.line, fault.what), "mend or drop the row"))?
                .value;
            out.push(Row { value, place, file: file.clone(), number: row.number });
        }
        from += AT_ONCE;
    }
    if let Some(limit) = limit {
        out.truncate(limit);
    }
    Ok(())
}
