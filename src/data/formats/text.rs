//! Plain text: a whole file is one document, unless the literal end-of-text token divides it.
//! Deliberately not here: any change of the text; line ends and blanks stay as they are.

use super::jsonl::Lines;
use super::{Document, Documents, Format, Layout, Parsed, RowFault, Rows, Span, Splitter, byte_order_mark, row_text, utf8};
use crate::data::DataError;
use crate::data::bytes::line_of;
use crate::data::source::Source;
use std::borrow::Cow;
use std::ops::Range;

pub const FORMAT: Format =
    Format { name: "text", extensions: &["txt", "text", "md"], documents, cut, rows: Rows { layout, splitter, parse }, written_out: None };

/// The literal token that divides documents in most plain texts.
const MARK: &[u8] = b"<|endoftext|>";

/// To look at, a text is cut finer than to train on: at its end-of-text tokens, else at blank lines, else at lines.
fn layout(prefix: &[u8], _: bool) -> Layout {
    let start = byte_order_mark(prefix);
    let text = &prefix[start..];
    let unit = if memchr::memmem::find(text, MARK).is_some() {
        "document"
    } else if memchr::memmem::find(text, b"\n\n").is_some() || memchr::memmem::find(text, b"\n\r\n").is_some() {
        "paragraph"
    } else {
        "line"
    };
    Layout::rows_of(start, unit)
}

fn splitter(layout: &Layout, line: u64) -> Box<dyn Splitter> {
    match layout.unit {
        "document" => Box::new(Marked { start: layout.first, line, here: line, blank: true, tail: Vec::new() }),
        "paragraph" => Box::new(Paragraphs { lines: Lines::new(layout.first, line), open: None, next: line }),
        _ => Box::new(Lines::new(layout.first, line)),
    }
}

fn parse(bytes: &[u8], _: &Layout) -> Result<Parsed, RowFault> {
    let text = row_text(bytes)?;
    let text = text.strip_suffix('\r').unwrap_or(text);
    Ok(Parsed { value: serde_json::Value::String(text.to_owned()), oddity: None })
}

/// Lines that follow each other without a blank one between them.
struct Paragraphs {
    lines: Lines,
    open: Option<Span>,
    /// The line after the open paragraph.
    next: u64,
}

impl Paragraphs {
    fn take(open: &mut Option<Span>, next: &mut u64, line: Span, row: &mut dyn FnMut(Span)) {
        match open {
            Some(paragraph) if *next == line.line => paragraph.end = line.end,
            _ => {
                if let Some(paragraph) = open.replace(line) {
                    row(paragraph);
                }
            }
        }
        *next = line.line + 1;
    }
}

impl Splitter for Paragraphs {
    fn feed(&mut self, chunk: &[u8], at: u64, row: &mut dyn FnMut(Span)) {
        let Self { lines, open, next } = self;
        lines.feed(chunk, at, &mut |line| Self::take(open, next, line, row));
    }

    fn finish(&mut self, at: u64, row: &mut dyn FnMut(Span)) -> Option<String> {
        let Self { lines, open, next } = self;
        lines.finish(at, &mut |line| Self::take(open, next, line, row));
        if let Some(paragraph) = open.take() {
            row(paragraph);
        }
        None
    }
}

/// Texts between end-of-text tokens.
struct Marked {
    start: u64,
    line: u64,
    /// The line that has been come to.
    here: u64,
    blank: bool,
    /// The end of what was fed, where a token may have begun.
    tail: Vec<u8>,
}

impl Splitter for Marked {
    fn feed(&mut self, chunk: &[u8], at: u64, row: &mut dyn FnMut(Span)) {
        let before = self.tail.len();
        let mut joined = std::mem::take(&mut self.tail);
        joined.extend_from_slice(chunk);
        let base = at - before as u64;
        let mut from = 0;
        let place = |n: usize| base + n as u64;
        for n in memchr::memmem::find_iter(&joined, MARK) {
            let part = &joined[from..n];
            self.blank &= part.trim_ascii_start().is_empty();
            self.here += memchr::memchr_iter(b'\n', part).count() as u64;
            if !self.blank {
                row(Span { start: self.start, end: place(n), line: self.line });
            }
            from = n + MARK.len();
            (self.start, self.line, self.blank) = (place(from), self.here, true);
        }
        // What may be the beginning of a token waits for the rest; everything before it is counted now.
        let keep = joined.len().saturating_sub(MARK.len() - 1).max(from);
        self.blank &= joined[from..keep].trim_ascii_start().is_empty();
        self.here += memchr::memchr_iter(b'\n', &joined[from..keep]).count() as u64;
        self.tail = joined.split_off(keep);
    }

    fn finish(&mut self, at: u64, row: &mut dyn FnMut(Span)) -> Option<String> {
        self.blank &= self.tail.trim_ascii_start().is_empty();
        if !self.blank {
            row(Span { start: self.start, end: at, line: self.line });
        }
        None
    }
}

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

    #[test]
    fn rows_are_documents_paragraphs_or_lines() {
        let rows = |content: &str| {
            let (layout, found) = super::super::spans(&FORMAT.rows, content.as_bytes());
            let rows: Vec<(u64, String)> = found.iter().map(|s| (s.line, content[s.start as usize..s.end as usize].to_owned())).collect();
            // Byte by byte the same rows are found.
            let mut split = splitter(&layout, layout.line);
            let mut again = Vec::new();
            let first = layout.first as usize;
            content.as_bytes().iter().enumerate().skip(first).for_each(|(i, b)| split.feed(&[*b], i as u64, &mut |s| again.push(s)));
            split.finish(content.len() as u64, &mut |s| again.push(s));
            assert_eq!(again, found, "{content:?}");
            (layout.unit, rows)
        };
        let list = |items: &[(u64, &str)]| items.iter().map(|(l, t)| (*l, (*t).to_owned())).collect::<Vec<_>>();
        assert_eq!(rows("a\n\nb"), ("paragraph", list(&[(1, "a"), (3, "b")])));
        assert_eq!(rows("\u{feff}a\nb\n\n \n\nc\n"), ("paragraph", list(&[(1, "a\nb"), (6, "c")])));
        assert_eq!(rows("a\nb\n"), ("line", list(&[(1, "a"), (2, "b")])));
        assert_eq!(rows("a\n\n<|endoftext|>\n<|endoftext|>\nb<|endoftext|>"), ("document", list(&[(1, "a\n\n"), (4, "\nb")])));
        assert_eq!(rows(""), ("line", Vec::new()));
    }
}
