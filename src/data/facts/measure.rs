//! Takes the facts: reads all rows once, piece by piece and on every core, then compares those that may be near
//! duplicates. Of each row some eighty bytes are kept; nothing else grows with the data.
//! Deliberately not here: what is found in one row (`row`).

use super::characters::{Characters, scripts};
use super::overlap::Evaluation;
use super::row::{Counted, Gauge, Measured, Reading, Verdict};
use super::similar::{self, BANDS, Bands, Groups, THRESHOLD};
use super::words::jaccard;
use super::{Duplicates, EXAMPLES, Extreme, Facts, FileFacts, Found, LISTED, Lengths, Overlap, Place, SCHEMA};
use crate::data::formats::Span;
use crate::data::shape::{self, Mapping, recognise};
use crate::data::source::Source;
use crate::data::table::{LONGEST_ROW, Set};
use crate::data::tokenizer::Tokenizer;
use crate::data::{DataError, thousands};
use crate::report::{Monitor, Report};
use rayon::prelude::*;
use std::collections::HashMap;
use std::path::Path;
use std::time::Instant;

/// What is asked for beside the usual.
#[derive(Default)]
pub struct Options<'o> {
    /// Instead of the shape that is recognised.
    pub mapping: Option<Mapping>,
    pub tokenizer: Option<(&'o Tokenizer, String)>,
    pub context: Option<u64>,
    pub evaluation: Option<&'o Evaluation>,
}

/// Bytes that are read at a time.
const PIECE: u64 = 8 << 20;
/// Rows that one thread measures at a time.
const ROWS_EACH: usize = 64;
/// Bytes in which phrases are counted: more would say the same.
const PHRASE_BYTES: u64 = 32 << 20;
/// Rows whose shingles are held at once while pairs are compared.
const COMPARED_AT_ONCE: usize = 20_000;

/// Which rows a cleaning leaves out: what cannot be told from a row by itself.
#[derive(Debug, Default)]
pub struct Detail {
    /// By row: whether an earlier one is the same.
    pub again: Vec<bool>,
    /// Rows that resemble an earlier one, in order, with that one.
    pub near: Vec<(u32, u32)>,
}

/// Reads everything and says what there is. Where it is stopped, the facts of what was read.
pub fn measure(sources: &[Source], options: &Options, scratch: &Path, monitor: &dyn Monitor) -> Result<Facts, DataError> {
    detailed(sources, options, scratch, monitor).map(|(facts, _)| facts)
}

/// The same, with the rows that come twice.
pub fn detailed(sources: &[Source], options: &Options, scratch: &Path, monitor: &dyn Monitor) -> Result<(Facts, Detail), DataError> {
    let began = Instant::now();
    let mut set = Set::open(sources, scratch)?;
    let readings: Vec<Reading> =
        set.tables.iter().map(|t| Reading { parse: t.source.format.rows.parse, layout: t.layout.clone() }).collect();
    let total: u64 = sources.iter().filter_map(|s| std::fs::metadata(s.path.as_ref()?).ok()).map(|m| m.len()).sum();
    let mut gauge: Option<Gauge> = None;
    let mut taking = Taking::new(set.tables.len(), options);
    let (mut spans, mut buffer) = (Vec::new(), Vec::new());
    let mut done = false;
    while !done {
        if monitor.stopped() {
            taking.facts.stopped = true;
            break;
        }
        spans.clear();
        done = set.advance(PIECE, &mut |file, row, span| spans.push((file, row, span)))?;
        for piece in pieces(&spans) {
            let (file, _, first) = piece[0];
            let last = piece[piece.len() - 1].2;
            let table = &set.tables[file];
            let long = |span: &Span| span.bytes() > LONGEST_ROW;
            if long(&first) {
                let why = table.row(0, first)?.parsed.err().map(|f| f.what).unwrap_or_default();
                taking.facts.bytes += first.bytes();
                taking.too_long(piece[0], why);
                continue;
            }
            table.stretch(first.start, last.end, &mut buffer)?;
            let gauge = match &mut gauge {
                Some(gauge) => gauge,
                None => {
                    let mapping = options.mapping.clone().map_or_else(|| guess(piece, &buffer, &readings, sources), Ok)?;
                    taking.facts.shape = Some(mapping.clone());
                    gauge.insert(Gauge {
                        mapping,
                        tokenizer: options.tokenizer.as_ref().map(|(t, _)| *t),
                        evaluation: options.evaluation,
                        counter: Default::default(),
                        phrases_of: (total / PHRASE_BYTES).max(1),
                    })
                }
            };
            let raw = |span: &Span| &buffer[(span.start - first.start) as usize..(span.end - first.start) as usize];
            let measured: Vec<(Vec<Measured>, Counted)> = piece
                .par_chunks(ROWS_EACH)
                .map(|rows| {
                    let mut counted = Counted::default();
                    let rows = rows.iter().map(|(file, row, span)| gauge.row(raw(span), *row, &readings[*file], &mut counted)).collect();
                    (rows, counted)
                })
                .collect();
            let mut places = piece.iter();
            for (rows, counted) in measured {
                for (row, place) in rows.into_iter().zip(places.by_ref()) {
                    taking.take(row, *place);
                }
                taking.lines.merge(counted.lines);
                taking.phrases.merge(counted.phrases);
            }
        }
        let (at, of) = set.progress();
        monitor.report(Report::Progress { what: "reading".into(), done: at, total: of, unit: "bytes".into() });
    }
    if let (Some(gauge), false) = (&gauge, taking.facts.stopped) {
        taking.facts.phrases_of = gauge.phrases_of;
        taking.compare(&set, gauge, &readings, monitor)?;
    }
    let detail = std::mem::take(&mut taking.detail);
    let mut facts = taking.finish(&set);
    facts.seconds = began.elapsed().as_secs_f64();
    Ok((facts, detail))
}

/// Runs of rows that stand in one file and are read at once: rows too long to read stand alone.
fn pieces(spans: &[(usize, u64, Span)]) -> Vec<&[(usize, u64, Span)]> {
    let mut out = Vec::new();
    let mut from = 0;
    for i in 1..=spans.len() {
        let ends = i == spans.len() || {
            let (a, b) = (&spans[i - 1], &spans[i]);
            a.0 != b.0 || a.2.bytes() > LONGEST_ROW || b.2.bytes() > LONGEST_ROW || b.2.end - spans[from].2.start > LONGEST_ROW + PIECE
        };
        if ends {
            out.push(&spans[from..i]);
            from = i;
        }
    }
    out
}

/// The shape by the list beside the file, else by the first rows.
fn guess(piece: &[(usize, u64, Span)], buffer: &[u8], readings: &[Reading], sources: &[Source]) -> Result<Mapping, DataError> {
    if let Some(entry) = sources.first().and_then(|s| shape::beside(s.path.as_ref()?)) {
        return Ok(entry.mapping);
    }
    let first = piece[0].2.start;
    let values: Vec<_> = piece
        .iter()
        .take(200)
        .filter_map(|(file, _, span)| {
            let raw = &buffer[(span.start - first) as usize..(span.end - first) as usize];
            (readings[*file].parse)(raw, &readings[*file].layout).ok().map(|p| p.value)
        })
        .collect();
    Ok(recognise(&values.iter().collect::<Vec<_>>()))
}

/// What comes together while rows are read.
struct Taking<'o> {
    facts: Facts,
    options: &'o Options<'o>,
    lengths: Vec<u32>,
    hashes: Vec<u64>,
    /// Of the rows that have any, with their rows.
    bands: Vec<Bands>,
    banded: Vec<u32>,
    lines: super::frequent::Frequent,
    phrases: super::frequent::Frequent,
    scripts: Vec<u64>,
    touched: std::collections::BTreeSet<u32>,
    files: Vec<u64>,
    file_bytes: Vec<u64>,
    detail: Detail,
}

impl<'o> Taking<'o> {
    fn new(files: usize, options: &'o Options<'o>) -> Self {
        let facts = Facts {
            schema: SCHEMA,
            tokens: options.tokenizer.as_ref().map(|_| 0),
            tokenizer: options.tokenizer.as_ref().map(|(_, name)| name.clone()),
            overlap: options.evaluation.map(|e| Overlap { against: e.names.clone(), evaluation_rows: e.rows, ..Overlap::default() }),
            duplicates: Duplicates { threshold: THRESHOLD, ..Duplicates::default() },
            ..Facts::default()
        };
        Self {
            facts,
            options,
            lengths: Vec::new(),
            hashes: Vec::new(),
            bands: Vec::new(),
            banded: Vec::new(),
            lines: Default::default(),
            phrases: Default::default(),
            scripts: vec![0; scripts().len()],
            touched: Default::default(),
            files: vec![0; files],
            file_bytes: vec![0; files],
            detail: Detail::default(),
        }
    }

    fn too_long(&mut self, (file, row, span): (usize, u64, Span), why: String) {
        self.facts.rows += 1;
        self.files[file] += 1;
        self.file_bytes[file] += span.bytes();
        self.lengths.push(u32::MAX);
        self.hashes.push(0);
        self.facts.broken.add(|| Place { row, file, line: span.line, why });
    }

    fn take(&mut self, measured: Measured, (file, row, span): (usize, u64, Span)) {
        let facts = &mut self.facts;
        let place = |why: &str| Place { row, file, line: span.line, why: why.to_owned() };
        facts.rows += 1;
        facts.bytes += span.bytes();
        self.files[file] += 1;
        self.file_bytes[file] += span.bytes();
        let characters: &Characters = &measured.characters;
        facts.characters += characters.all;
        facts.words += measured.words;
        if let (Some(all), Some(tokens)) = (facts.tokens.as_mut(), measured.tokens) {
            *all += tokens;
        }
        let good = measured.verdict == Verdict::Good;
        let length = if self.options.tokenizer.is_some() { measured.tokens.unwrap_or(0) } else { characters.all };
        self.lengths.push(if good { length.min(u64::from(u32::MAX - 1)) as u32 } else { u32::MAX });
        self.hashes.push(measured.hash);
        if let Some(bands) = measured.bands {
            self.bands.push(bands);
            self.banded.push(row as u32);
        }
        characters.scripts.iter().zip(&mut self.scripts).for_each(|(n, all)| *all += n);
        match &measured.verdict {
            Verdict::Good => {}
            Verdict::Broken(fault) => {
                if fault.not_utf8 {
                    facts.not_utf8.add(|| place(&fault.what));
                }
                facts.broken.add(|| place(&fault.what));
            }
            Verdict::Unfit(why) => facts.unfit.add(|| place(why)),
        }
        if measured.is_empty() {
            facts.empty.add(|| place("no text"));
        }
        let note = |found: &mut Found, what: Option<&str>| {
            if let Some(what) = what {
                found.add(|| place(what));
            }
        };
        let count = |n: u64| (n > 0).then(|| format!("{n} of them"));
        note(&mut facts.odd, measured.oddity.as_deref());
        note(&mut facts.role_order, measured.order.as_deref());
        note(&mut facts.emails, measured.email.as_deref());
        note(&mut facts.secrets, measured.secret.as_deref());
        note(&mut facts.control, count(characters.control).as_deref());
        note(&mut facts.unseen, count(characters.unseen).as_deref());
        note(&mut facts.lost, count(characters.lost).as_deref());
        if let (Some((at, exact)), Some(overlap)) = (measured.in_evaluation, facts.overlap.as_mut()) {
            self.touched.insert(at);
            let found = if exact { &mut overlap.exact } else { &mut overlap.runs };
            found.add(|| place(&format!("evaluation row {}", at + 1)));
        }
    }

    /// Exact and near duplicates. Exact ones are of no interest to the near ones: the first of them stands for all.
    fn compare(&mut self, set: &Set, gauge: &Gauge, readings: &[Reading], monitor: &dyn Monitor) -> Result<(), DataError> {
        let mut order: Vec<(u64, u32)> = self.hashes.iter().enumerate().filter(|(_, h)| **h != 0).map(|(i, h)| (*h, i as u32)).collect();
        order.par_sort_unstable();
        let mut again = vec![false; self.hashes.len()];
        let mut first_of = HashMap::new();
        for same in order.chunk_by(|a, b| a.0 == b.0) {
            for (_, row) in &same[1..] {
                again[*row as usize] = true;
                // Only the first few are named.
                if first_of.len() < 100_000 {
                    first_of.insert(*row, same[0].1);
                }
            }
        }
        drop(order);
        let exact = &mut self.facts.duplicates.exact;
        for (row, _) in again.iter().enumerate().filter(|(_, again)| **again) {
            exact.rows += 1;
            if exact.examples.len() < EXAMPLES {
                let why = first_of.get(&(row as u32)).map_or_else(String::new, |first| format!("the same as row {}", first + 1));
                exact.examples.push(Place { row: row as u64, why, ..Place::default() });
            }
        }
        self.detail.again = again;
        let again = &self.detail.again;
        let members: Vec<u32> = (0..self.bands.len() as u32).filter(|i| !again[self.banded[*i as usize] as usize]).collect();
        let mut groups = Groups::new(self.bands.len());
        let mut near: HashMap<u32, (u32, f64)> = HashMap::new();
        for band in 0..BANDS {
            if monitor.stopped() {
                self.facts.stopped = true;
                return Ok(());
            }
            let what = "comparing".to_owned();
            monitor.report(Report::Progress { what, done: band as u64, total: Some(BANDS as u64), unit: "of 12 bands".into() });
            let pairs = similar::pairs(&self.bands, band, &members, &mut groups);
            for (a, b, share) in self.verified(&pairs, set, gauge, readings)? {
                groups.join(a, b);
                let (a, b) = (self.banded[a as usize], self.banded[b as usize]);
                near.entry(b).or_insert((a, share));
                let pairs = &mut self.facts.duplicates.pairs;
                if pairs.len() < PAIRS {
                    pairs.push((u64::from(a), u64::from(b), share));
                }
            }
        }
        let duplicates = &mut self.facts.duplicates;
        duplicates.compared = true;
        let mut heads = std::collections::BTreeSet::new();
        for member in &members {
            let head = groups.of(*member);
            if head == *member {
                continue;
            }
            heads.insert(head);
            let row = self.banded[*member as usize];
            duplicates.near.rows += 1;
            self.detail.near.push((row, near.get(&row).map_or(self.banded[head as usize], |(other, _)| *other)));
            if duplicates.near.examples.len() < EXAMPLES {
                let (other, share) = near.get(&row).copied().unwrap_or((self.banded[head as usize], THRESHOLD));
                let why = format!("{:.0} % of row {}", share * 100.0, other + 1);
                duplicates.near.examples.push(Place { row: u64::from(row), why, ..Place::default() });
            }
        }
        duplicates.near_groups = heads.len() as u64;
        Ok(())
    }

    /// The pairs whose shingles are really so alike, by reading their rows again.
    fn verified(&self, pairs: &[(u32, u32)], set: &Set, gauge: &Gauge, readings: &[Reading]) -> Result<Vec<(u32, u32, f64)>, DataError> {
        let mut out = Vec::new();
        let mut from = 0;
        while from < pairs.len() {
            let mut wanted = std::collections::BTreeSet::new();
            let mut to = from;
            while to < pairs.len() && wanted.len() < COMPARED_AT_ONCE {
                wanted.extend([pairs[to].0, pairs[to].1]);
                to += 1;
            }
            let wanted: Vec<u32> = wanted.into_iter().collect();
            let mut sets: HashMap<u32, Vec<u64>> = HashMap::with_capacity(wanted.len());
            // Rows are found one after another by one thread; what is in them is taken apart by all.
            for part in wanted.chunks(512) {
                let mut raws = Vec::with_capacity(part.len());
                for member in part {
                    let Some((file, local)) = set.locate(u64::from(self.banded[*member as usize])) else { continue };
                    let table = &set.tables[file];
                    if let Some(span) = table.spans(local, 1)?.first() {
                        raws.push((*member, file, table.bytes(*span)?));
                    }
                }
                let found: Vec<_> = raws.par_iter().map(|(member, file, raw)| (*member, gauge.shingles(raw, &readings[*file]))).collect();
                sets.extend(found);
            }
            let block = &pairs[from..to];
            let shares: Vec<f64> =
                block.par_iter().map(|(a, b)| sets.get(a).zip(sets.get(b)).map_or(0.0, |(a, b)| jaccard(a, b))).collect();
            out.extend(block.iter().zip(shares).filter(|(_, share)| *share >= THRESHOLD).map(|((a, b), share)| (*a, *b, share)));
            from = to;
        }
        Ok(out)
    }

    fn finish(self, set: &Set) -> Facts {
        let mut facts = self.facts;
        facts.files = (set.tables.iter().zip(&self.files).zip(&self.file_bytes))
            .map(|((table, rows), bytes)| FileFacts {
                name: table.source.name.clone(),
                format: table.source.format.name.into(),
                rows: *rows,
                bytes: *bytes,
                unit: table.layout.unit.into(),
                remark: table.layout.remark.clone(),
                fault: table.fault().map(str::to_owned),
            })
            .collect();
        let place = |row: u64, why: String| -> Place {
            let found = set.locate(row);
            let line = found.and_then(|(file, local)| set.tables[file].spans(local, 1).ok()?.first().map(|s| s.line));
            Place { row, file: found.map_or(0, |f| f.0), line: line.unwrap_or(0), why }
        };
        for found in [&mut facts.duplicates.exact, &mut facts.duplicates.near] {
            for example in &mut found.examples {
                *example = place(example.row, std::mem::take(&mut example.why));
            }
        }
        let extreme = |(length, row): &(u32, u32)| Extreme { place: place(u64::from(*row), String::new()), length: u64::from(*length) };
        let mut by_length: Vec<(u32, u32)> =
            (0u32..).zip(&self.lengths).filter(|(_, l)| **l != u32::MAX).map(|(row, l)| (*l, row)).collect();
        by_length.par_sort_unstable();
        facts.shortest = by_length.iter().filter(|(l, _)| *l > 0).take(LISTED).map(extreme).collect();
        let mut longest: Vec<_> = by_length.iter().rev().take(LISTED).copied().collect();
        longest.sort_by_key(|(l, row)| (std::cmp::Reverse(*l), *row));
        facts.longest = longest.iter().map(extreme).collect();
        facts.lengths = lengths(&by_length, self.options);
        facts.scripts =
            scripts().into_iter().zip(&self.scripts).skip(1).filter(|(_, n)| **n > 0).map(|(name, n)| (name.to_owned(), *n)).collect();
        facts.scripts.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(&b.0)));
        facts.frequent_lines = self.lines.top(LISTED);
        facts.frequent_phrases = self.phrases.top(LISTED);
        if let Some(overlap) = &mut facts.overlap {
            overlap.touched = self.touched.len() as u64;
        }
        facts
    }
}

/// Pairs that are told at most.
const PAIRS: usize = 100_000;

fn lengths(sorted: &[(u32, u32)], options: &Options) -> Lengths {
    let unit = if options.tokenizer.is_some() { "tokens" } else { "characters" };
    let mut out = Lengths { unit: unit.into(), context: options.context.filter(|_| options.tokenizer.is_some()), ..Lengths::default() };
    let Some((most, _)) = sorted.last() else { return out };
    let sum: u64 = sorted.iter().map(|(l, _)| u64::from(*l)).sum();
    out.mean = sum as f64 / sorted.len() as f64;
    let at = |percent: f64| u64::from(sorted[((percent / 100.0 * (sorted.len() - 1) as f64).round() as usize).min(sorted.len() - 1)].0);
    out.percentiles = [0.0, 1.0, 5.0, 25.0, 50.0, 75.0, 95.0, 99.0, 100.0].map(|p| (p, at(p))).into();
    // Powers of two, in halves: lengths of texts are spread over orders of magnitude.
    let mut edges = vec![0u64, 1];
    while edges[edges.len() - 1] <= u64::from(*most) {
        let last = edges[edges.len() - 1];
        edges.push(if last.is_power_of_two() && last > 1 { last * 3 / 2 } else { (last + 1).next_power_of_two() });
    }
    out.histogram = edges
        .windows(2)
        .map(|e| {
            let until = |edge: u64| sorted.partition_point(|(l, _)| u64::from(*l) < edge) as u64;
            (e[0], until(e[1]) - until(e[0]))
        })
        .collect();
    if let Some(context) = out.context {
        let over = sorted.partition_point(|(l, _)| u64::from(*l) <= context);
        out.cut_rows = (sorted.len() - over) as u64;
        out.cut = sorted[over..].iter().map(|(l, _)| u64::from(*l) - context).sum();
    }
    out
}

/// One line about the facts.
impl std::fmt::Display for Facts {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let bad: u64 = self.broken.rows + self.unfit.rows;
        let twice = self.duplicates.exact.rows + self.duplicates.near.rows;
        write!(f, "{} rows, {} of them unusable, {} duplicates", thousands(self.rows), thousands(bad), thousands(twice))?;
        if self.stopped { f.write_str("; stopped before the end") } else { Ok(()) }
    }
}
