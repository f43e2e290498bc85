//! File formats that rows and documents are read from: one file and one line in `FORMATS` each.
//! Deliberately not here: which files to read (`source`), packed files (`unpack`), random access to rows (`table`) and
//! how documents become tokens (`stream`).

pub mod csv;
pub mod json;
pub mod jsonl;
pub mod parquet;
pub mod text;

use super::DataError;
use super::source::Source;
use std::borrow::Cow;
use std::ops::Range;

/// A document's text and the line (from 1) that it begins at.
pub struct Document<'a> {
    pub text: Cow<'a, str>,
    pub line: usize,
}

pub type Documents<'a> = Box<dyn Iterator<Item = Result<Document<'a>, DataError>> + Send + 'a>;

/// How a kind of file is read. A format never sees more than the bytes and the source's name and field.
pub struct Format {
    pub name: &'static str,
    /// Without the dot, in lower case.
    pub extensions: &'static [&'static str],
    /// The documents that begin in a range of the content. The range ends and begins where `cut` said, or is whole.
    /// Texts that hold several documents are divided at the literal end-of-text token, if there is one.
    pub documents: for<'a> fn(&'a [u8], Range<usize>, &'a Source, Option<&'a str>) -> Result<Documents<'a>, DataError>,
    /// The byte at which the validation part begins, when this share of the source (0 to 1) trains.
    pub cut: fn(&[u8], &Source, f64) -> Result<usize, DataError>,
    /// Rows, as the Data pane and the statistics see them.
    pub rows: Rows,
    /// A format that is no text is written out as one that is: rows of JSON, one a line.
    pub written_out: Option<parquet::WriteOut>,
}

/// How rows are found in the bytes, and read.
pub struct Rows {
    /// What the beginning of the content (at most [`PREFIX_BYTES`], and whether that is all of it) says about the rest.
    pub layout: fn(&[u8], bool) -> Layout,
    /// Finds rows from a place that begins one, which is on this line.
    pub splitter: fn(&Layout, u64) -> Box<dyn Splitter>,
    pub parse: fn(&[u8], &Layout) -> Result<Parsed, RowFault>,
}

/// How much of a file's beginning decides how it is laid out.
pub const PREFIX_BYTES: usize = 256 << 10;

/// What holds for all rows of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    /// Where the first row may begin.
    pub first: u64,
    /// The line of `first`, from 1.
    pub line: u64,
    /// What a row is: `row`, `paragraph`, `document`, `line`.
    pub unit: &'static str,
    /// Of a table with columns; made up where the file names none.
    pub columns: Vec<String>,
    pub delimiter: u8,
    /// JSON: the elements of an array, rather than values one after another.
    pub elements: bool,
    /// What a person should know: `no header line`, `rows are the field “examples”`.
    pub remark: String,
}

impl Layout {
    pub fn rows_of(first: usize, unit: &'static str) -> Self {
        Self { first: first as u64, line: 1, unit, columns: Vec::new(), delimiter: b',', elements: false, remark: String::new() }
    }
}

/// Where a row stands in the content, and the line (from 1) that it begins at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub start: u64,
    pub end: u64,
    pub line: u64,
}

impl Span {
    pub fn bytes(&self) -> u64 {
        self.end - self.start
    }
}

/// Finds rows in bytes that come piece by piece; it keeps a few numbers and never the bytes.
pub trait Splitter: Send {
    /// Looks through `chunk`, whose first byte stands at `at` in the content and follows what was fed before.
    fn feed(&mut self, chunk: &[u8], at: u64, row: &mut dyn FnMut(Span));
    /// The content ends at `at`; what is wrong with its end, if anything.
    fn finish(&mut self, at: u64, row: &mut dyn FnMut(Span)) -> Option<String>;
}

/// A row as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    pub value: serde_json::Value,
    /// What is odd about it and does not keep it from being read: a key that comes twice.
    pub oddity: Option<String>,
}

/// Why a row cannot be read, in a few words without its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowFault {
    pub what: String,
    /// Whether the bytes are no UTF-8.
    pub not_utf8: bool,
}

impl RowFault {
    pub fn new(what: impl Into<String>) -> Self {
        Self { what: what.into(), not_utf8: false }
    }
}

/// All formats; the first that knows the extension reads the file, and the last reads every other file.
pub const FORMATS: &[Format] = &[jsonl::FORMAT, json::FORMAT, csv::FORMAT, parquet::FORMAT, text::FORMAT];

/// The format of a file by its extension, under that of a packed file (`.gz`, `.zst`); whatever is unknown is plain text.
pub fn of_name(name: &str) -> &'static Format {
    let extension = extension(name);
    FORMATS.iter().find(|f| f.extensions.contains(&extension.as_str())).unwrap_or(&text::FORMAT)
}

/// Whether a file that a directory was searched for is meant: only known extensions are.
pub fn known(name: &str) -> bool {
    let extension = extension(name);
    FORMATS.iter().any(|f| f.extensions.contains(&extension.as_str()))
}

fn extension(name: &str) -> String {
    let name = super::unpack::Packing::of_name(name).map_or(name, |p| &name[..name.len() - p.extension().len() - 1]);
    name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default()
}

/// The length of a byte order mark at the beginning: it tells an encoding and is no part of the text.
pub(crate) fn byte_order_mark(bytes: &[u8]) -> usize {
    if bytes.starts_with(b"\xef\xbb\xbf") { 3 } else { 0 }
}

/// `bytes[range]` as text; the error gives the offset in the file, the line and the byte.
pub(crate) fn utf8<'a>(bytes: &'a [u8], range: Range<usize>, source: &Source) -> Result<&'a str, DataError> {
    let (start, part) = (range.start, &bytes[range]);
    std::str::from_utf8(part).map_err(|e| {
        let offset = start + e.valid_up_to();
        let line = super::bytes::line_of(bytes, offset);
        let byte = bytes.get(offset).copied().unwrap_or_default();
        let looks = match bytes {
            [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => "it looks like UTF-16: convert it with `iconv -f UTF-16 -t UTF-8`",
            _ if bytes[..bytes.len().min(4096)].contains(&0) => "it looks like a binary file: name a text file",
            _ => "convert it, for example with `iconv -f LATIN1 -t UTF-8`",
        };
        DataError::file(&source.name, format!("not UTF-8 at byte {offset} (line {line}): byte 0x{byte:02x}"), looks)
    })
}

/// A row's bytes as text.
pub(crate) fn row_text(bytes: &[u8]) -> Result<&str, RowFault> {
    std::str::from_utf8(bytes).map_err(|e| {
        let byte = bytes.get(e.valid_up_to()).copied().unwrap_or_default();
        RowFault { what: format!("not UTF-8 at byte {} of the row (0x{byte:02x})", e.valid_up_to()), not_utf8: true }
    })
}

/// All rows of content that lies in memory whole.
pub(crate) fn spans(rows: &Rows, bytes: &[u8]) -> (Layout, Vec<Span>) {
    let prefix = bytes.len().min(PREFIX_BYTES);
    let layout = (rows.layout)(&bytes[..prefix], prefix == bytes.len());
    let mut splitter = (rows.splitter)(&layout, layout.line);
    let mut found = Vec::new();
    let first = (layout.first as usize).min(bytes.len());
    splitter.feed(&bytes[first..], first as u64, &mut |span| found.push(span));
    splitter.finish(bytes.len() as u64, &mut |span| found.push(span));
    (layout, found)
}

/// Documents of a format whose rows have fields: the source's text field of each row.
fn field_documents<'a>(rows: &'static Rows, bytes: &'a [u8], range: Range<usize>, source: &'a Source) -> Result<Documents<'a>, DataError> {
    let (layout, found) = spans(rows, bytes);
    let inside = move |span: &Span| (range.start as u64..range.end as u64).contains(&span.start);
    Ok(Box::new(found.into_iter().filter(inside).map(move |span| {
        let at = |what: String, remedy: String| DataError::file(&source.name, format!("line {}: {what}", span.line), remedy);
        let parsed = (rows.parse)(&bytes[span.start as usize..span.end as usize], &layout)
            .map_err(|fault| at(fault.what, "mend or drop the row, for example with `weightroom data clean`".into()))?;
        let text = field_text(parsed.value, &source.field).map_err(|(what, remedy)| at(what, remedy))?;
        Ok(Document { text: Cow::Owned(text), line: span.line as usize })
    })))
}

/// The text of a row's field; else what is wrong, and the remedy.
pub(crate) fn field_text(value: serde_json::Value, field: &str) -> Result<String, (String, String)> {
    use serde_json::Value;
    let shown = super::visible(field);
    match value {
        Value::Object(mut map) => match map.remove(field) {
            Some(Value::String(text)) => Ok(text),
            Some(other) => Err((
                format!("the field “{shown}” is {}, not a string", jsonl::kind(&other)),
                "set data.field to one that holds text".into(),
            )),
            None => {
                let names: Vec<String> = map.keys().take(12).map(|k| format!("“{}”", super::visible(k))).collect();
                let remedy = format!("the row has {}: set data.field to one of them, or mend the row", names.join(", "));
                Err((format!("no field “{shown}”"), remedy))
            }
        },
        Value::String(text) => Ok(text),
        other => Err((format!("the row is {}, not an object", jsonl::kind(&other)), "write each row as {\"text\": …}".into())),
    }
}

/// Where the validation part of a format with rows begins: the last rows validate, and at least one row trains.
fn row_cut(rows: &Rows, bytes: &[u8], train_share: f64) -> usize {
    let (_, found) = spans(rows, bytes);
    let keep = ((found.len() as f64 * train_share) as usize).max(1);
    found.get(keep).map_or(bytes.len(), |span| span.start as usize)
}
