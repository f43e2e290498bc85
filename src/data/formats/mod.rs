//! File formats that documents are read from: one file and one line in `FORMATS` each.
//! Deliberately not here: which files to read (`source`) and how documents become tokens (`stream`).

pub mod jsonl;
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
}

/// All formats; the first that knows the extension reads the file, and the last reads every other file.
pub const FORMATS: &[Format] = &[jsonl::FORMAT, text::FORMAT];

/// The format of a file by its extension; whatever is unknown is plain text.
pub fn of_name(name: &str) -> &'static Format {
    let extension = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default();
    FORMATS.iter().find(|f| f.extensions.contains(&extension.as_str())).unwrap_or(&text::FORMAT)
}

/// Whether a file that a directory was searched for is meant: only known extensions are.
pub fn known(name: &str) -> bool {
    let extension = name.rsplit_once('.').map(|(_, e)| e.to_ascii_lowercase()).unwrap_or_default();
    FORMATS.iter().any(|f| f.extensions.contains(&extension.as_str()))
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
