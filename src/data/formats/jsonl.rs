//! JSON Lines: one object a line, whose text field is a document.
//! Deliberately not here: chats and other shapes of rows; they have readers of their own.

use super::{Document, Documents, Format, Layout, Rows, Span, Splitter, byte_order_mark, utf8};
use crate::data::bytes::line_of;
use crate::data::source::Source;
use crate::data::{DataError, visible};
use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use std::borrow::Cow;
use std::ops::Range;

pub const FORMAT: Format = Format {
    name: "jsonl",
    extensions: &["jsonl", "ndjson", "jsonlines"],
    documents,
    cut,
    rows: Rows {
        layout: |prefix, _| Layout::rows_of(byte_order_mark(prefix), "row"),
        splitter: |layout, line| Box::new(Lines::new(layout.first, line)),
        parse: super::json::parse,
    },
    written_out: None,
};

/// Lines that are not blank, as rows.
pub(super) struct Lines {
    start: u64,
    line: u64,
    blank: bool,
}

impl Lines {
    pub(super) fn new(start: u64, line: u64) -> Self {
        Self { start, line, blank: true }
    }
}

impl Splitter for Lines {
    fn feed(&mut self, chunk: &[u8], at: u64, row: &mut dyn FnMut(Span)) {
        let mut from = 0;
        for n in memchr::memchr_iter(b'\n', chunk) {
            let end = at + n as u64;
            if !self.blank || !chunk[from..n].trim_ascii_start().is_empty() {
                row(Span { start: self.start, end, line: self.line });
            }
            (self.start, self.line, self.blank) = (end + 1, self.line + 1, true);
            from = n + 1;
        }
        self.blank &= chunk[from..].trim_ascii_start().is_empty();
    }

    fn finish(&mut self, at: u64, row: &mut dyn FnMut(Span)) -> Option<String> {
        if !self.blank {
            row(Span { start: self.start, end: at, line: self.line });
        }
        None
    }
}

fn documents<'a>(bytes: &'a [u8], range: Range<usize>, source: &'a Source, _: Option<&'a str>) -> Result<Documents<'a>, DataError> {
    let first = line_of(bytes, range.start);
    Ok(Box::new(
        lines(bytes, range)
            .enumerate()
            .filter_map(move |(i, line)| (!bytes[line.clone()].trim_ascii().is_empty()).then(|| row(bytes, line, first + i, source))),
    ))
}

/// The byte ranges of the lines, without their line feeds.
fn lines(bytes: &[u8], range: Range<usize>) -> impl Iterator<Item = Range<usize>> + '_ {
    let mut start = range.start.max(byte_order_mark(bytes)).min(range.end);
    std::iter::from_fn(move || {
        (start < range.end).then(|| {
            let end = memchr::memchr(b'\n', &bytes[start..range.end]).map_or(range.end, |n| start + n);
            let line = start..end;
            start = end + 1;
            line
        })
    })
}

/// The last rows validate; at least one row trains.
fn cut(bytes: &[u8], _: &Source, train_share: f64) -> Result<usize, DataError> {
    let rows = || lines(bytes, 0..bytes.len()).filter(|line| !bytes[line.clone()].trim_ascii().is_empty());
    let count = rows().count();
    let keep = ((count as f64 * train_share) as usize).max(1);
    Ok(rows().nth(keep).map_or(bytes.len(), |line| line.start))
}

fn row<'a>(bytes: &'a [u8], line: Range<usize>, number: usize, source: &Source) -> Result<Document<'a>, DataError> {
    let at = |what: String, remedy: String| DataError::file(&source.name, format!("line {number}: {what}"), remedy);
    let text = utf8(bytes, line, source)?;
    let mut reader = serde_json::Deserializer::from_str(text);
    let found = reader.deserialize_any(Row { field: &source.field }).and_then(|found| reader.end().map(|()| found));
    match found {
        Ok(Found::Text(text)) => Ok(Document { text: Cow::Owned(text), line: number }),
        Ok(Found::Other(kind)) => Err(at(
            format!("the field “{}” is {kind}, not a string", visible(&source.field)),
            "set data.field to one that holds text".into(),
        )),
        Ok(Found::Missing(names)) if names.is_empty() => {
            Err(at(format!("the row has no field “{}” and no other", visible(&source.field)), "drop the line".into()))
        }
        Ok(Found::Missing(names)) => Err(at(
            format!("no field “{}”", visible(&source.field)),
            format!("the row has {}: set data.field to one of them, or mend the line", names.join(", ")),
        )),
        Ok(Found::NoObject(kind)) => Err(at(format!("the row is {kind}, not an object"), "write each row as {\"text\": …}".into())),
        // serde_json's own place says line 1 of the row; only the column means something here.
        Err(e) => {
            let message = e.to_string();
            let cause = message.split(" at line ").next().unwrap_or_default().to_owned();
            Err(at(format!("not JSON at column {}: {}", e.column(), visible(&cause)), "mend or drop the line".into()))
        }
    }
}

enum Found {
    Text(String),
    /// The field is there, and is something else.
    Other(&'static str),
    /// The fields that are there instead, quoted.
    Missing(Vec<String>),
    NoObject(&'static str),
}

/// Reads one field of an object and passes over the others without building them.
struct Row<'f> {
    field: &'f str,
}

/// How many field names an error lists.
const NAMES_SHOWN: usize = 12;

impl<'de> Visitor<'de> for Row<'_> {
    type Value = Found;
    fn expecting(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        f.write_str("an object")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Found, A::Error> {
        let mut found = None;
        let mut names = Vec::new();
        while let Some(key) = map.next_key::<Cow<'_, str>>()? {
            if key == self.field {
                found = Some(match map.next_value::<serde_json::Value>()? {
                    serde_json::Value::String(text) => Found::Text(text),
                    other => Found::Other(kind(&other)),
                });
                continue;
            }
            map.next_value::<IgnoredAny>()?;
            if names.len() < NAMES_SHOWN {
                let short: String = key.chars().take(40).collect();
                names.push(format!("“{}”", visible(&short)));
            }
        }
        Ok(found.unwrap_or(Found::Missing(names)))
    }
    fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Found, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Found::NoObject("an array"))
    }
    fn visit_str<E>(self, _: &str) -> Result<Found, E> {
        Ok(Found::NoObject("a string"))
    }
    fn visit_u64<E>(self, _: u64) -> Result<Found, E> {
        Ok(Found::NoObject("a number"))
    }
    fn visit_i64<E>(self, _: i64) -> Result<Found, E> {
        Ok(Found::NoObject("a number"))
    }
    fn visit_f64<E>(self, _: f64) -> Result<Found, E> {
        Ok(Found::NoObject("a number"))
    }
    fn visit_bool<E>(self, _: bool) -> Result<Found, E> {
        Ok(Found::NoObject("true or false"))
    }
    fn visit_unit<E>(self) -> Result<Found, E> {
        Ok(Found::NoObject("null"))
    }
}

pub(super) fn kind(value: &serde_json::Value) -> &'static str {
    match value {
        serde_json::Value::Null => "null",
        serde_json::Value::Bool(_) => "true or false",
        serde_json::Value::Number(_) => "a number",
        serde_json::Value::String(_) => "a string",
        serde_json::Value::Array(_) => "an array",
        serde_json::Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(content: &'static str) -> Vec<Result<(String, usize), String>> {
        let source = Source::builtin("x.jsonl", "x.jsonl", content);
        documents(content.as_bytes(), 0..content.len(), &source, None)
            .unwrap()
            .map(|d| d.map(|d| (d.text.into_owned(), d.line)).map_err(|e| e.to_string()))
            .collect()
    }

    #[test]
    fn rows_are_documents_and_blank_lines_are_passed_over() {
        let rows = read("\u{feff}{\"id\":1,\"text\":\"a\\n\\u001bb\"}\r\n\n  \n{\"text\":\"c\",\"more\":{\"x\":[1]}}");
        assert_eq!(rows, [Ok(("a\n\u{1b}b".into(), 1)), Ok(("c".into(), 4))]);
    }

    #[test]
    fn every_fault_names_its_line() {
        let rows =
            read("{\"text\":\"ok\"}\n{\"prompt\":1,\"a\\u001b\":2}\n{\"text\":3}\n[1,2]\n{\"text\":\"x\"\nnull\n{}\n{\"text\":\"x\"} y\n");
        let errors: Vec<String> = rows.into_iter().filter_map(Result::err).collect();
        assert_eq!(errors.len(), 7, "{errors:#?}");
        assert!(errors[0].contains("x.jsonl: line 2: no field “text”; the row has “prompt”, “a␛”: set data.field"), "{}", errors[0]);
        assert!(errors[1].contains("line 3: the field “text” is a number"), "{}", errors[1]);
        assert!(errors[2].contains("line 4: the row is an array"), "{}", errors[2]);
        assert!(errors[3].contains("line 5: not JSON at column"), "{}", errors[3]);
        assert!(errors[4].contains("line 6: the row is null"), "{}", errors[4]);
        assert!(errors[5].contains("line 7: the row has no field"), "{}", errors[5]);
        assert!(errors[6].contains("line 8: not JSON at column"), "{}", errors[6]);
        assert!(errors.iter().all(|e| !e.contains('\n')));
    }

    #[test]
    fn the_cut_is_at_the_beginning_of_a_row() {
        let content = "{\"text\":\"a\"}\n\n{\"text\":\"b\"}\n{\"text\":\"c\"}\n{\"text\":\"d\"}\n";
        let source = Source::builtin("x.jsonl", "x.jsonl", content);
        let at = cut(content.as_bytes(), &source, 0.75).unwrap();
        assert!(content[at..].starts_with("{\"text\":\"d\"}"));
        let tail: Vec<_> = documents(content.as_bytes(), at..content.len(), &source, None).unwrap().collect();
        assert_eq!(tail[0].as_ref().unwrap().line, 5);
        assert_eq!(cut(b"{\"text\":\"a\"}\n", &source, 0.1).unwrap(), 13);
    }
}
