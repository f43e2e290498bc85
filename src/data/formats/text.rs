//! Plain text: a whole file is one document, unless the literal end-of-text token divides it.
//! Deliberately not here: any change of the text; line ends and blanks stay as they are.

use super::{Document, Documents, Format, byte_order_mark, utf8};
use crate::data::DataError;
use crate::data::bytes::line_of;
use crate::data::source::Source;
use std::borrow::Cow;
use std::ops::Range;

pub const FORMAT: Format = Format { name: "text", extensions: &["txt", "text", "md"], documents, cut };

fn documents<'a>(
    bytes: &'a [u8],
    range: Range<usize>,
    source: &'a Source,
    end_of_text: Option<&'a str>,
) -> Result<Documents<'a>, DataError> {
    let start = range.start.max(byte_order_mark(bytes)).min(range.end);
    let text = utf8(bytes, start..range.end, source)?;
    let Some(mark) = end_of_text.filter(|mark| !mark.is_empty() && text.contains(mark)) else {
        let line = line_of(bytes, start);
        let document = Document { text: Cow::Borrowed(text), line };
        return Ok(Box::new((!text.is_empty()).then_some(Ok(document)).into_iter()));
    };
    let mut line = line_of(bytes, start);
    Ok(Box::new(text.split(mark).filter_map(move |part| {
        let here = line;
        line += memchr::memchr_iter(b'\n', part.as_bytes()).count();
        // Between two marks there is often nothing but a line feed: that is no document.
        (!part.trim().is_empty()).then_some(Ok(Document { text: Cow::Borrowed(part), line: here }))
    })))
}

/// The first `floor(characters · share)` characters train, as nanoGPT divides its text.
fn cut(bytes: &[u8], source: &Source, train_share: f64) -> Result<usize, DataError> {
    let start = byte_order_mark(bytes);
    let text = utf8(bytes, start..bytes.len(), source)?;
    let characters = text.chars().count();
    let keep = (characters as f64 * train_share) as usize;
    if keep >= characters {
        return Ok(bytes.len());
    }
    if characters == text.len() {
        return Ok(start + keep);
    }
    Ok(start + text.char_indices().nth(keep).map_or(text.len(), |(at, _)| at))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(content: &'static str, range: Range<usize>, mark: Option<&str>) -> Vec<(String, usize)> {
        let source = Source::builtin("x.txt", "x.txt", content);
        let documents = documents(content.as_bytes(), range, &source, mark).unwrap();
        documents.map(|d| d.unwrap()).map(|d| (d.text.into_owned(), d.line)).collect()
    }

    #[test]
    fn a_text_is_one_document_and_keeps_every_character() {
        let text = "a\r\nb\t\u{1b}[0m\0\n";
        assert_eq!(parts(text, 0..text.len(), Some("<|end|>")), [(text.to_owned(), 1)]);
        assert_eq!(parts("\u{feff}x", 0..4, None), [("x".to_owned(), 1)]);
    }

    #[test]
    fn the_literal_mark_divides_and_nothing_between_marks_is_no_document() {
        let text = "one\n<|end|>\ntwo\n<|end|>\n";
        assert_eq!(parts(text, 0..text.len(), Some("<|end|>")), [("one\n".to_owned(), 1), ("\ntwo\n".to_owned(), 2)]);
    }

    #[test]
    fn the_cut_is_between_characters() {
        let source = Source::builtin("x.txt", "x.txt", "");
        assert_eq!(cut("äöüß漢字".as_bytes(), &source, 0.5).unwrap(), 6);
        assert_eq!(cut(&[b'x'; 1115394], &source, 1.0 - 0.1).unwrap(), 1_003_854);
        assert_eq!(cut("\u{feff}abcd".as_bytes(), &source, 0.5).unwrap(), 5);
        assert_eq!(cut(b"abc", &source, 1.0).unwrap(), 3);
    }
}
