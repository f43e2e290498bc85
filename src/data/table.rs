//! Rows of files at random: a file is looked through once for where rows begin, of which every so-and-so-many-th place is
//! kept, and a row is read when somebody wants to see it.
//! Deliberately not here: threads; whoever holds a table decides when it looks further.
//!
//! Files are read and not mapped: another program may cut off a file that is open, which would kill who has mapped it,
//! and read pages count for nobody's memory either.

use super::formats::{Layout, PREFIX_BYTES, Parsed, RowFault, Span, Splitter};
use super::source::Source;
use super::unpack::{self, Spill};
use super::{DataError, shown, thousands};
use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};

/// A place is kept for each so many rows, and for each so many bytes where rows are long.
const ROWS_APART: u64 = 64;
const BYTES_APART: u64 = 1 << 20;
/// A longer row is not parsed: nothing that trains has rows like that, and reading it would take as much memory.
pub const LONGEST_ROW: u64 = 64 << 20;
const CHUNK_BYTES: usize = 1 << 20;
/// Rows within so many bytes are read at once.
const AT_ONCE: u64 = 1 << 20;

/// A row as it stands in its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// From 0, within everything that was opened.
    pub number: u64,
    pub span: Span,
    /// The beginning of its bytes where it is too long to parse, else nothing: the value says it all.
    pub parsed: Result<Parsed, RowFault>,
    /// Its bytes as they stand in the file (of a packed or Parquet file: as they were written out), cut where long.
    pub raw: Vec<u8>,
}

/// One file.
pub struct Table {
    pub source: Source,
    pub layout: Layout,
    input: Input,
    splitter: Box<dyn Splitter>,
    marks: Vec<Mark>,
    rows: u64,
    /// How far it was looked through.
    at: u64,
    done: bool,
    /// What is wrong with the file as a whole; its rows up to there are good.
    fault: Option<String>,
    last_mark: u64,
}

#[derive(Clone, Copy)]
struct Mark {
    row: u64,
    start: u64,
    line: u64,
}

enum Input {
    Static(&'static [u8]),
    File { path: PathBuf, stamp: Stamp },
    Unpacked { spill: Spill, more: Option<Receiver<Result<(), DataError>>>, path: PathBuf, stamp: Stamp },
}

/// By what a file is known to be the one that was opened.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: u64,
    inode: u64,
    modified: (i64, i64),
}

impl Stamp {
    fn of(meta: &std::fs::Metadata) -> Self {
        Self { len: meta.len(), inode: meta.ino(), modified: (meta.mtime(), meta.mtime_nsec()) }
    }
}

impl Table {
    /// Opens a file; what has to be unpacked goes to `scratch`. Nothing is looked through yet beyond the beginning.
    pub fn open(source: &Source, scratch: &Path) -> Result<Self, DataError> {
        let input = match (&source.path, source.content) {
            (Some(path), _) => Input::open(path, source, scratch)?,
            (None, Some(content)) => Input::Static(content.as_bytes()),
            (None, None) => return Err(DataError::file(&source.name, "has no content", "name a file")),
        };
        let mut prefix = vec![0; PREFIX_BYTES];
        let (n, whole) = input.beginning(&mut prefix)?;
        if let ([0xff, 0xfe, ..] | [0xfe, 0xff, ..], None) = (&prefix[..n], source.format.written_out) {
            return Err(DataError::file(&source.name, "looks like UTF-16", "convert it with `iconv -f UTF-16 -t UTF-8`"));
        }
        let layout = (source.format.rows.layout)(&prefix[..n], whole);
        let splitter = (source.format.rows.splitter)(&layout, layout.line);
        let at = layout.first;
        Ok(Self { source: source.clone(), layout, input, splitter, marks: Vec::new(), rows: 0, at, done: false, fault: None, last_mark: 0 })
    }

    /// Rows that were found so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Whether the file was looked through to its end.
    pub fn is_done(&self) -> bool {
        self.done
    }

    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Bytes that were looked through, and how many there are where that is known: of content that is unpacked it
    /// is known at its end.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.at, self.input.len(self.done))
    }

    /// Looks through about `budget` more bytes and hands on what rows there are; whether the end was reached.
    pub fn advance(&mut self, budget: u64, each: &mut dyn FnMut(u64, Span)) -> Result<bool, DataError> {
        let until = self.at.saturating_add(budget);
        let mut buffer = vec![0; CHUNK_BYTES.min(budget.max(1) as usize)];
        while !self.done && self.at < until {
            let n = match self.input.next(self.at, &mut buffer) {
                Ok(n) => n,
                // What came before is good, and the end is where it is.
                Err(e) if matches!(self.input, Input::Unpacked { .. }) => {
                    self.fault = Some(e.to_string());
                    0
                }
                Err(e) => return Err(e),
            };
            let Self { splitter, marks, rows, last_mark, .. } = self;
            let mut take = |span: Span| {
                if marks.is_empty() || *rows - *last_mark >= ROWS_APART || span.start - marks.last().map_or(0, |m| m.start) >= BYTES_APART {
                    marks.push(Mark { row: *rows, start: span.start, line: span.line });
                    *last_mark = *rows;
                }
                each(*rows, span);
                *rows += 1;
            };
            if n == 0 {
                let end = splitter.finish(self.at, &mut take);
                self.fault = self.fault.take().or_else(|| end.map(|what| format!("{}: {what}", shown(Path::new(&self.source.name)))));
                self.done = true;
            } else {
                splitter.feed(&buffer[..n], self.at, &mut take);
                self.at += n as u64;
            }
        }
        Ok(self.done)
    }

    /// Where rows `from..from + count` stand, as far as they were found.
    pub fn spans(&self, from: u64, count: u64) -> Result<Vec<Span>, DataError> {
        let until = from.saturating_add(count).min(self.rows);
        if from >= until {
            return Ok(Vec::new());
        }
        let index = self.marks.partition_point(|m| m.row <= from).saturating_sub(1);
        let mark = self.marks[index];
        let layout = Layout { first: mark.start, ..self.layout.clone() };
        let mut splitter = (self.source.format.rows.splitter)(&layout, mark.line);
        let (mut found, mut row, mut at) = (Vec::new(), mark.row, mark.start);
        let mut buffer = vec![0; CHUNK_BYTES / 4];
        while row < until {
            let mut take = |span: Span| {
                if (from..until).contains(&row) {
                    found.push(span);
                }
                row += 1;
            };
            let n = self.input.read(at, &mut buffer)?.min((self.at - at) as usize);
            if n == 0 {
                splitter.finish(at, &mut take);
                break;
            }
            splitter.feed(&buffer[..n], at, &mut take);
            at += n as u64;
        }
        Ok(found)
    }

    /// Rows `from..from + count`, as far as they were found.
    pub fn read(&self, from: u64, count: u64) -> Result<Vec<Row>, DataError> {
        let spans = self.spans(from, count)?;
        let mut rows = Vec::with_capacity(spans.len());
        let (mut buffer, mut at) = (Vec::new(), 0);
        while let Some(first) = spans.get(at) {
            // Rows that stand beside each other are read at once.
            let near = spans[at..].iter().take_while(|s| s.end - first.start <= AT_ONCE).count();
            if near < 2 {
                rows.push(self.row(from + at as u64, *first)?);
                at += 1;
                continue;
            }
            self.stretch(first.start, spans[at + near - 1].end, &mut buffer)?;
            for span in &spans[at..at + near] {
                let raw = buffer[(span.start - first.start) as usize..(span.end - first.start) as usize].to_vec();
                rows.push(Row { number: from + rows.len() as u64, span: *span, parsed: self.parse(&raw), raw });
            }
            at += near;
        }
        Ok(rows)
    }

    /// The row that stands there.
    pub fn row(&self, number: u64, span: Span) -> Result<Row, DataError> {
        if span.bytes() > LONGEST_ROW {
            let mut raw = vec![0; 4096];
            let n = self.input.read(span.start, &mut raw)?;
            raw.truncate(n);
            let what = format!("{} bytes are too long a row to read; the longest is {}", thousands(span.bytes()), thousands(LONGEST_ROW));
            return Ok(Row { number, span, parsed: Err(RowFault::new(what)), raw });
        }
        let raw = self.bytes(span)?;
        let parsed = (self.source.format.rows.parse)(&raw, &self.layout);
        Ok(Row { number, span, parsed, raw })
    }

    /// A row's bytes, which must not be longer than [`LONGEST_ROW`].
    pub fn bytes(&self, span: Span) -> Result<Vec<u8>, DataError> {
        let mut raw = vec![0; span.bytes().min(LONGEST_ROW) as usize];
        let n = self.input.read(span.start, &mut raw)?;
        if n < raw.len() {
            return Err(changed(&self.source.name));
        }
        Ok(raw)
    }

    /// Reads a stretch of the content into `out`, which is made as long as it is.
    pub fn stretch(&self, start: u64, end: u64, out: &mut Vec<u8>) -> Result<(), DataError> {
        out.resize((end - start) as usize, 0);
        if self.input.read(start, out)? < out.len() { Err(changed(&self.source.name)) } else { Ok(()) }
    }

    /// What a row's bytes say.
    pub fn parse(&self, raw: &[u8]) -> Result<Parsed, RowFault> {
        (self.source.format.rows.parse)(raw, &self.layout)
    }
}

fn changed(name: &str) -> DataError {
    DataError::file(name, "changed while it was open", "open it again")
}

impl Input {
    fn open(path: &Path, source: &Source, scratch: &Path) -> Result<Self, DataError> {
        let io = |e: std::io::Error| DataError::io(path, &e);
        let meta = std::fs::metadata(path).map_err(io)?;
        if meta.is_dir() {
            return Err(DataError::file(path, "is a directory", "name a file in it"));
        }
        if !meta.is_file() {
            return Err(DataError::file(path, "is not a regular file", "copy its content into a file first"));
        }
        File::open(path).map_err(io)?;
        let (path, stamp) = (path.to_owned(), Stamp::of(&meta));
        if !unpack::is_needed(&path, source.format) {
            return Ok(Self::File { path, stamp });
        }
        let spill = Spill::new(scratch);
        let (told, more) = sync_channel(8);
        let (to, from, scratch, format) = (spill.clone(), path.clone(), scratch.to_owned(), source.format);
        let work = move || {
            let outcome = unpack::unpack(&from, format, &scratch, &mut |bytes| {
                to.push(bytes).map_err(|e| DataError::io(&from, &e))?;
                // Nobody is there any more where the table is gone.
                Ok(told.send(Ok(())).is_ok())
            });
            if let Err(e) = outcome {
                let _ = told.send(Err(e));
            }
        };
        std::thread::Builder::new().name("weightroom-unpack".into()).spawn(work).map_err(io)?;
        Ok(Self::Unpacked { spill, more: Some(more), path, stamp })
    }

    /// How long the content is; of what is unpacked, once that is over.
    fn len(&self, done: bool) -> Option<u64> {
        match self {
            Self::Static(bytes) => Some(bytes.len() as u64),
            Self::File { stamp, .. } => Some(stamp.len),
            Self::Unpacked { spill, .. } => done.then(|| spill.len()),
        }
    }

    /// The first bytes, and whether they are all.
    fn beginning(&self, out: &mut [u8]) -> Result<(usize, bool), DataError> {
        let Self::Unpacked { spill, more: Some(more), .. } = self else {
            let n = self.read(0, out)?;
            return Ok((n, n < out.len() || self.len(true) == Some(n as u64)));
        };
        let mut fault = None;
        let mut ended = false;
        while (spill.len() as usize) < out.len() && !ended && fault.is_none() {
            match more.recv() {
                Ok(Ok(())) => {}
                Ok(Err(e)) => fault = Some(e),
                Err(_) => ended = true,
            }
        }
        if let Some(e) = fault {
            // With nothing to show there is only the fault to tell; with some rows it is told again at their end.
            if spill.is_empty() {
                return Err(e);
            }
            return Ok((self.read(0, out)?, false));
        }
        Ok((self.read(0, out)?, ended))
    }

    /// Reads on at `at`, waiting for what is still unpacked; 0 at the end.
    fn next(&mut self, at: u64, out: &mut [u8]) -> Result<usize, DataError> {
        if let Self::Unpacked { spill, more, path, stamp } = self {
            while spill.len() <= at {
                match more.as_ref().map(Receiver::recv) {
                    Some(Ok(Ok(()))) => {}
                    Some(Ok(Err(e))) => {
                        *more = None;
                        return Err(e);
                    }
                    Some(Err(_)) | None => {
                        let whole = more.take().is_none() || std::fs::metadata(&*path).is_ok_and(|m| Stamp::of(&m) == *stamp);
                        return if whole { Ok(0) } else { Err(changed(&path.to_string_lossy())) };
                    }
                }
            }
        }
        self.read(at, out)
    }

    /// As much as there is at `at`, up to all of `out`.
    fn read(&self, at: u64, out: &mut [u8]) -> Result<usize, DataError> {
        match self {
            Self::Static(bytes) => {
                let part = bytes.get(at as usize..).unwrap_or_default();
                let n = part.len().min(out.len());
                out[..n].copy_from_slice(&part[..n]);
                Ok(n)
            }
            Self::Unpacked { spill, path, .. } => {
                let n = (spill.len().saturating_sub(at)).min(out.len() as u64) as usize;
                spill.read(at, &mut out[..n]).map_err(|e| DataError::io(path, &e))?;
                Ok(n)
            }
            Self::File { path, stamp } => {
                let io = |e: std::io::Error| DataError::io(path, &e);
                // Opened anew each time: any number of files may be looked at, and one that was replaced is noticed.
                let file = File::open(path).map_err(io)?;
                if Stamp::of(&file.metadata().map_err(io)?) != *stamp {
                    return Err(changed(&path.to_string_lossy()));
                }
                let mut n = 0;
                while n < out.len() {
                    match file.read_at(&mut out[n..], at + n as u64) {
                        Ok(0) => break,
                        Ok(more) => n += more,
                        Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
                        Err(e) => return Err(io(e)),
                    }
                }
                if n < out.len() && at + (n as u64) < stamp.len { Err(changed(&path.to_string_lossy())) } else { Ok(n) }
            }
        }
    }
}

/// Several files as one table, their rows one after another.
pub struct Set {
    pub tables: Vec<Table>,
    /// The file that is looked through now.
    current: usize,
}

impl Set {
    /// Opens all of them: the first that cannot be opened is the error.
    pub fn open(sources: &[Source], scratch: &Path) -> Result<Self, DataError> {
        let tables = sources.iter().map(|s| Table::open(s, scratch)).collect::<Result<Vec<_>, _>>()?;
        Ok(Self { tables, current: 0 })
    }

    pub fn rows(&self) -> u64 {
        self.tables.iter().map(Table::rows).sum()
    }

    pub fn is_done(&self) -> bool {
        self.tables.iter().all(Table::is_done)
    }

    /// Faults of whole files.
    pub fn faults(&self) -> Vec<String> {
        self.tables.iter().filter_map(|t| t.fault().map(str::to_owned)).collect()
    }

    /// Bytes looked through, of how many where that is known.
    pub fn progress(&self) -> (u64, Option<u64>) {
        let parts: Vec<_> = self.tables.iter().map(Table::progress).collect();
        (parts.iter().map(|p| p.0).sum(), parts.iter().map(|p| p.1).sum())
    }

    /// Looks through about `budget` more bytes, of the first file that is not through; whether all are. Rows are
    /// handed on with their file's place and their number.
    pub fn advance(&mut self, budget: u64, each: &mut dyn FnMut(usize, u64, Span)) -> Result<bool, DataError> {
        let before: u64 = self.tables[..self.current.min(self.tables.len())].iter().map(Table::rows).sum();
        let current = self.current;
        let Some(table) = self.tables.get_mut(current) else { return Ok(true) };
        if table.advance(budget, &mut |row, span| each(current, before + row, span))? {
            self.current += 1;
        }
        Ok(self.current >= self.tables.len())
    }

    /// The file of a row, and its number there.
    pub fn locate(&self, row: u64) -> Option<(usize, u64)> {
        let mut before = 0;
        for (index, table) in self.tables.iter().enumerate() {
            if row < before + table.rows() {
                return Some((index, row - before));
            }
            before += table.rows();
        }
        None
    }

    /// The row of a file's place and its number there.
    pub fn number(&self, table: usize, row: u64) -> u64 {
        self.tables[..table].iter().map(Table::rows).sum::<u64>() + row
    }

    /// Rows `from..from + count`, as far as they were found.
    pub fn read(&self, from: u64, count: u64) -> Result<Vec<(usize, Row)>, DataError> {
        let (mut out, mut at) = (Vec::new(), from);
        let until = from.saturating_add(count).min(self.rows());
        while at < until {
            let Some((index, local)) = self.locate(at) else { break };
            let rows = self.tables[index].read(local, until - at)?;
            if rows.is_empty() {
                break;
            }
            let base = at - local;
            at += rows.len() as u64;
            out.extend(rows.into_iter().map(|row| (index, Row { number: base + row.number, ..row })));
        }
        Ok(out)
    }
}
