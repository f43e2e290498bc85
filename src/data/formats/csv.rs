//! Tables as text, by RFC 4180: commas, semicolons or tabs, quoted fields that may hold line feeds, with or without a header.
//! Deliberately not here: types; every field is a string.

use super::{Format, Layout, Parsed, RowFault, Rows, Span, Splitter, byte_order_mark, field_documents, row_cut, row_text};
use serde_json::{Map, Value};

pub const FORMAT: Format = Format {
    name: "csv",
    extensions: &["csv", "tsv"],
    documents: |bytes, range, source, _| field_documents(&ROWS, bytes, range, source),
    cut: |bytes, _, share| Ok(row_cut(&ROWS, bytes, share)),
    rows: ROWS,
    written_out: None,
};

const ROWS: Rows = Rows { layout, splitter: |layout, line| Box::new(Split::new(layout.delimiter, layout.first, line)), parse };

/// The delimiter that the first row has most of; the header, where the first row reads like one.
fn layout(prefix: &[u8], _: bool) -> Layout {
    let start = byte_order_mark(prefix);
    let mut layout = Layout::rows_of(start, "row");
    let first_line = prefix[start..].split(|b| *b == b'\n').next().unwrap_or_default();
    let count = |d: u8| unquoted(first_line, d);
    layout.delimiter = [b',', b'\t', b';'].into_iter().rev().max_by_key(|d| count(*d)).unwrap_or(b',');
    let mut first = None;
    let mut take = |span: Span| _ = first.get_or_insert(span);
    let mut split = Split::new(layout.delimiter, start as u64, 1);
    split.feed(&prefix[start..], start as u64, &mut take);
    split.finish(prefix.len() as u64, &mut take);
    let Some(span) = first else { return layout };
    let cells = fields(&String::from_utf8_lossy(&prefix[span.start as usize..span.end as usize]), layout.delimiter);
    if is_header(&cells) {
        layout.columns = cells;
        layout.first = span.end;
        layout.line = span.line + memchr::memchr_iter(b'\n', &prefix[span.start as usize..span.end as usize]).count() as u64;
    } else {
        layout.columns = (1..=cells.len()).map(|i| format!("column {i}")).collect();
        layout.remark = "no header line: the columns are numbered".into();
    }
    layout
}

fn unquoted(line: &[u8], wanted: u8) -> usize {
    let mut inside = false;
    line.iter()
        .filter(|b| {
            inside ^= **b == b'"';
            **b == wanted && !inside
        })
        .count()
}

/// Whether cells name columns: short, different from each other, neither numbers nor sentences.
fn is_header(cells: &[String]) -> bool {
    let name = |c: &String| {
        let c = c.trim();
        let sentence = c.chars().any(|c| matches!(c, '.' | '?' | '!' | ':' | '\n')) || c.split_whitespace().count() > 4;
        !c.is_empty() && c.chars().count() <= 40 && !sentence && c.parse::<f64>().is_err()
    };
    let different: std::collections::BTreeSet<&String> = cells.iter().collect();
    !cells.is_empty() && different.len() == cells.len() && cells.iter().all(name)
}

/// The fields of one row.
fn fields(row: &str, delimiter: u8) -> Vec<String> {
    let row = row.strip_suffix('\n').unwrap_or(row);
    let row = row.strip_suffix('\r').unwrap_or(row);
    let bytes = row.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    loop {
        let mut field = String::new();
        if bytes.get(at) == Some(&b'"') {
            at += 1;
            loop {
                let end = memchr::memchr(b'"', &bytes[at..]).map_or(bytes.len(), |n| at + n);
                field.push_str(&row[at..end]);
                at = (end + 1).min(bytes.len());
                if end < bytes.len() && bytes.get(at) == Some(&b'"') {
                    field.push('"');
                    at += 1;
                } else {
                    break;
                }
            }
        }
        let end = memchr::memchr(delimiter, &bytes[at..]).map_or(bytes.len(), |n| at + n);
        field.push_str(&row[at..end]);
        out.push(field);
        if end >= bytes.len() {
            return out;
        }
        at = end + 1;
    }
}

fn parse(bytes: &[u8], layout: &Layout) -> Result<Parsed, RowFault> {
    let cells = fields(row_text(bytes)?, layout.delimiter);
    let (has, wants) = (cells.len(), layout.columns.len());
    if has != wants {
        let open = bytes.iter().filter(|b| **b == b'"').count() % 2 == 1;
        let quote = if open { "; a quote in it is never closed" } else { "" };
        return Err(RowFault::new(format!("{has} fields where the table has {wants} columns{quote}")));
    }
    let map: Map<String, Value> = layout.columns.iter().cloned().zip(cells.into_iter().map(Value::String)).collect();
    let oddity = (map.len() < wants).then(|| "two columns have one name: the last one counts".to_owned());
    Ok(Parsed { value: Value::Object(map), oddity })
}

/// Where the reader is in a row.
#[derive(Clone, Copy, PartialEq)]
enum State {
    FieldStart,
    Plain,
    Quoted,
    /// After a quote in a quoted field: its end, or the first half of an escaped one.
    Quote,
}

struct Split {
    delimiter: u8,
    state: State,
    start: u64,
    line: u64,
    here: u64,
    blank: bool,
}

impl Split {
    fn new(delimiter: u8, start: u64, line: u64) -> Self {
        Self { delimiter, state: State::FieldStart, start, line, here: line, blank: true }
    }
}

impl Splitter for Split {
    fn feed(&mut self, chunk: &[u8], at: u64, row: &mut dyn FnMut(Span)) {
        let mut i = 0;
        while i < chunk.len() {
            let rest = &chunk[i..];
            if self.state == State::Quoted {
                let n = memchr::memchr(b'"', rest).unwrap_or(rest.len());
                self.here += memchr::memchr_iter(b'\n', &rest[..n]).count() as u64;
                self.blank = false;
                i += n;
                if i < chunk.len() {
                    self.state = State::Quote;
                    i += 1;
                }
                continue;
            }
            match rest[0] {
                b'"' if matches!(self.state, State::FieldStart | State::Quote) => {
                    (self.state, self.blank) = (State::Quoted, false);
                    i += 1;
                }
                b'\n' => {
                    let end = at + i as u64 + 1;
                    if !self.blank {
                        row(Span { start: self.start, end, line: self.line });
                    }
                    self.here += 1;
                    (self.state, self.start, self.line, self.blank) = (State::FieldStart, end, self.here, true);
                    i += 1;
                }
                b if b == self.delimiter => {
                    (self.state, self.blank) = (State::FieldStart, false);
                    i += 1;
                }
                b => {
                    self.blank &= b.is_ascii_whitespace();
                    self.state = State::Plain;
                    let n = memchr::memchr2(self.delimiter, b'\n', rest).unwrap_or(rest.len()).max(1);
                    self.blank &= rest[..n].trim_ascii().is_empty();
                    i += n;
                }
            }
        }
    }

    fn finish(&mut self, at: u64, row: &mut dyn FnMut(Span)) -> Option<String> {
        if !self.blank && at > self.start {
            row(Span { start: self.start, end: at, line: self.line });
        }
        (self.state == State::Quoted).then(|| format!("a quote in the row of line {} is never closed", self.line))
    }
}

#[cfg(test)]
mod tests {
    use super::super::spans;
    use super::*;

    fn read(content: &str) -> (Layout, Vec<(u64, Result<Value, String>)>) {
        let (layout, found) = spans(&ROWS, content.as_bytes());
        let rows = found.iter().map(|s| {
            let row = parse(&content.as_bytes()[s.start as usize..s.end as usize], &layout);
            (s.line, row.map(|p| p.value).map_err(|f| f.what))
        });
        let rows = rows.collect();
        (layout, rows)
    }

    #[test]
    fn quotes_line_feeds_and_headers() {
        let (layout, rows) = read("\u{feff}id,text\r\n1,\"a, \"\"b\"\"\nc\"\r\n\r\n2,5\" disk\n3,x,y\n");
        assert_eq!(layout.columns, ["id", "text"]);
        assert_eq!(rows[0], (2, Ok(serde_json::json!({"id": "1", "text": "a, \"b\"\nc"}))));
        assert_eq!(rows[1], (5, Ok(serde_json::json!({"id": "2", "text": "5\" disk"}))));
        assert_eq!(rows[2], (6, Err("3 fields where the table has 2 columns".into())));
        assert_eq!(rows.len(), 3);
    }

    #[test]
    fn a_table_without_a_header_has_numbered_columns() {
        let (layout, rows) = read("What is it?,0,1,A\n\"Who, then?\",2,3,B");
        assert_eq!(layout.columns.len(), 4);
        assert_eq!(rows[1].1.as_ref().unwrap()["column 1"], "Who, then?");
        let (layout, rows) = read("a\tb\n1,2\t3\n");
        assert_eq!((layout.delimiter, rows[0].1.as_ref().unwrap()["a"].as_str()), (b'\t', Some("1,2")));
    }

    #[test]
    fn an_open_quote_is_told() {
        let (layout, found) = spans(&ROWS, b"a,b\n1,\"x\ny\nz");
        assert_eq!(found.len(), 1);
        assert!(parse(b"1,\"x\ny\nz", &layout).is_ok());
        let mut split = Split::new(b',', 0, 1);
        split.feed(b"1,\"x\ny", 0, &mut |_| {});
        assert!(split.finish(6, &mut |_| {}).unwrap().contains("line 1 is never closed"));
    }
}
