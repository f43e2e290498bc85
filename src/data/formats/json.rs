//! JSON files: the elements of an array, an array inside of an object, or values one after another; found without
//! reading any of them.
//! Deliberately not here: one row a line (`jsonl`), which is found faster.

use super::{Format, Layout, Parsed, RowFault, Rows, Span, Splitter, byte_order_mark, field_documents, row_cut, row_text};
use crate::data::value;

pub const FORMAT: Format = Format {
    name: "json",
    extensions: &["json"],
    documents: |bytes, range, source, _| field_documents(&ROWS, bytes, range, source),
    cut: |bytes, _, share| Ok(row_cut(&ROWS, bytes, share)),
    rows: ROWS,
    written_out: None,
};

const ROWS: Rows = Rows { layout, splitter: |layout, line| Box::new(Split::new(layout.elements, !layout.remark.is_empty(), line)), parse };

pub(super) fn parse(bytes: &[u8], _: &Layout) -> Result<Parsed, RowFault> {
    value::parse(row_text(bytes)?)
}

/// Arrays of these names are a conversation or the like: the object around them is the row.
const OF_A_ROW: &[&str] = &[
    "messages",
    "conversations",
    "conversation",
    "chosen",
    "rejected",
    "prompt",
    "completion",
    "turns",
    "tools",
    "input",
    "chosen_messages",
    "rejected_messages",
    "history",
    "functions",
];

fn layout(prefix: &[u8], _: bool) -> Layout {
    let start = byte_order_mark(prefix);
    let mut layout = Layout::rows_of(start, "row");
    let open = start + prefix[start..].iter().take_while(|b| b.is_ascii_whitespace()).count();
    let inside = |layout: &mut Layout, first: usize| {
        (layout.elements, layout.first) = (true, first as u64);
        layout.line = 1 + memchr::memchr_iter(b'\n', &prefix[..first.min(prefix.len())]).count() as u64;
    };
    match prefix.get(open) {
        Some(b'[') => inside(&mut layout, open + 1),
        Some(b'{') => {
            if let Some((name, first)) = array_within(prefix, open) {
                inside(&mut layout, first);
                layout.remark = format!("rows are the elements of “{}”", crate::data::visible(&name));
            }
        }
        _ => {}
    }
    layout
}

/// The only array of objects in the object that begins at `open`: its key, and where its first element may begin.
fn array_within(bytes: &[u8], open: usize) -> Option<(String, usize)> {
    let (mut depth, mut at) = (0, open);
    let (mut key, mut found) = (None, None);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let end = string_end(bytes, at)?;
                if depth == 1 {
                    key = std::str::from_utf8(&bytes[at + 1..end]).ok();
                }
                at = end;
            }
            b'[' if depth == 1 => {
                let first = at + 1;
                let object = bytes[first..].iter().find(|b| !b.is_ascii_whitespace()) == Some(&b'{');
                match key {
                    Some(key) if object && !OF_A_ROW.contains(&key) => {
                        if found.is_some() {
                            return None;
                        }
                        found = Some((key.to_owned(), first));
                    }
                    _ => {}
                }
                depth += 1;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    // Another value behind it makes the object a row.
                    let more = bytes[at + 1..].iter().any(|b| !b.is_ascii_whitespace());
                    return found.filter(|_| !more);
                }
            }
            _ => {}
        }
        at += 1;
    }
    found
}

fn string_end(bytes: &[u8], quote: usize) -> Option<usize> {
    let mut at = quote + 1;
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        if bytes[at] == b'"' {
            return Some(at);
        }
        at += 2;
    }
}

struct Split {
    elements: bool,
    /// The array is a part of an object, whose other parts are no rows.
    wrapped: bool,
    ended: bool,
    /// The line of what follows the end, where something does.
    behind: Option<u64>,
    depth: u64,
    in_string: bool,
    escaped: bool,
    /// A number or a word, which ends where something else begins.
    scalar: bool,
    start: Option<(u64, u64)>,
    line: u64,
}

impl Split {
    fn new(elements: bool, wrapped: bool, line: u64) -> Self {
        Self { elements, wrapped, ended: false, behind: None, depth: 0, in_string: false, escaped: false, scalar: false, start: None, line }
    }

    fn end(&mut self, end: u64, row: &mut dyn FnMut(Span)) {
        if let Some((start, line)) = self.start.take() {
            row(Span { start, end, line });
        }
        self.scalar = false;
    }

    /// One byte outside of strings.
    fn step(&mut self, byte: u8, here: u64, row: &mut dyn FnMut(Span)) {
        let outside = self.depth == 0;
        if self.ended {
            // What follows is no row: a reader that begins at a row could not tell that the array has ended.
            if !byte.is_ascii_whitespace() && !self.wrapped {
                self.behind.get_or_insert(self.line);
            }
            self.line += u64::from(byte == b'\n');
            return;
        }
        if self.scalar && outside && (byte.is_ascii_whitespace() || (self.elements && matches!(byte, b',' | b']'))) {
            self.end(here, row);
        }
        match byte {
            b'\n' => self.line += 1,
            _ if byte.is_ascii_whitespace() => {}
            b',' if outside && self.elements && self.start.is_none() => {}
            b']' if outside && self.elements => self.ended = true,
            _ => {
                if outside && self.start.is_none() {
                    self.start = Some((here, self.line));
                    self.scalar = !matches!(byte, b'{' | b'[' | b'"');
                }
                match byte {
                    b'"' => self.in_string = true,
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' if self.depth > 0 => {
                        self.depth -= 1;
                        if self.depth == 0 && !self.scalar {
                            self.end(here + 1, row);
                        }
                    }
                    _ => {}
                }
            }
        }
    }
}

impl Splitter for Split {
    fn feed(&mut self, chunk: &[u8], at: u64, row: &mut dyn FnMut(Span)) {
        let mut i = 0;
        while i < chunk.len() {
            if self.escaped {
                self.escaped = false;
                i += 1;
            } else if self.in_string {
                let n = memchr::memchr3(b'"', b'\\', b'\n', &chunk[i..]);
                let Some(n) = n else { return };
                i += n;
                match chunk[i] {
                    b'"' => {
                        self.in_string = false;
                        if self.depth == 0 && !self.scalar {
                            self.end(at + i as u64 + 1, row);
                        }
                    }
                    b'\\' => self.escaped = true,
                    _ => self.line += 1,
                }
                i += 1;
            } else {
                self.step(chunk[i], at + i as u64, row);
                i += 1;
            }
        }
    }

    fn finish(&mut self, at: u64, row: &mut dyn FnMut(Span)) -> Option<String> {
        let open = self.start.map(|(_, line)| line).filter(|_| !self.scalar);
        self.end(at, row);
        match (open, self.elements && !self.ended) {
            (Some(line), _) => Some(format!("the file ends within the value that begins on line {line}")),
            (None, true) => Some("the array is never closed: the file may be cut off".into()),
            _ => self.behind.map(|line| format!("text follows the end of the array on line {line}; it is not read")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::spans;
    use super::*;

    fn rows(content: &str) -> (String, Vec<(u64, String)>) {
        let (layout, found) = spans(&ROWS, content.as_bytes());
        (layout.remark, found.iter().map(|s| (s.line, content[s.start as usize..s.end as usize].to_owned())).collect())
    }

    #[test]
    fn elements_of_arrays_values_and_wrapped_arrays_are_rows() {
        let list = |items: &[(u64, &str)]| items.iter().map(|(l, t)| (*l, (*t).to_owned())).collect::<Vec<_>>();
        assert_eq!(
            rows("\u{feff}[ {\"a\": \"]}\\\"\"},\n 12 ,null,\"x,\"\n, [1, {}]]\n").1,
            list(&[(1, "{\"a\": \"]}\\\"\"}"), (2, "12"), (2, "null"), (2, "\"x,\""), (3, "[1, {}]")])
        );
        assert_eq!(rows("{\"a\":1}\n{\"b\":[2]} 3").1, list(&[(1, "{\"a\":1}"), (2, "{\"b\":[2]}"), (2, "3")]));
        let (remark, found) = rows("{\"canary\": \"x\",\n \"examples\": [{\"input\": 1},\n{\"input\": 2}], \"n\": [1]}");
        assert_eq!((remark.as_str(), found.len(), found[1].0), ("rows are the elements of “examples”", 2, 3));
        assert_eq!(rows("{\"conversations\": [{\"from\": \"a\"}]}").1.len(), 1);
        assert_eq!(rows("{\"a\": [{}], \"b\": [{}]}").1.len(), 1);
        assert_eq!(rows("[]").1.len(), 0);
    }

    #[test]
    fn what_is_cut_off_is_told_and_what_follows_is_a_row() {
        let end = |content: &[u8]| {
            let layout = layout(content, true);
            let mut split = Split::new(layout.elements, false, 1);
            let mut count = 0;
            split.feed(&content[layout.first as usize..], layout.first, &mut |_| count += 1);
            (split.finish(content.len() as u64, &mut |_| count += 1), count)
        };
        assert!(end(b"[{\"a\":1},\n{\"a\":").0.unwrap().contains("begins on line 2"));
        assert!(end(b"[{\"a\":1},").0.unwrap().contains("never closed"));
        assert_eq!(end(b"[1]\n x"), (Some("text follows the end of the array on line 2; it is not read".into()), 1));
        assert_eq!(end(b"[1]\n"), (None, 1));
        // One byte at a time finds the same.
        let content = b"[{\"a\": \"x\\\"]\"}, 7, [[]]]";
        let (_, whole) = spans(&ROWS, content);
        let mut split = Split::new(true, false, 1);
        let mut found = Vec::new();
        content.iter().enumerate().skip(1).for_each(|(i, b)| split.feed(&[*b], i as u64, &mut |s| found.push(s)));
        assert_eq!(found, whole);
    }
}
