//! The desk: a thread that holds the data files which the Data pane looks at, reads the rows that are visible, and looks
//! further through the files while nobody asks. A long look is done in slices, so that a question is answered soon.
//! Deliberately not here: the facts about a whole file (a job of the engine), and any drawing.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};

use serde_json::Value;

use crate::data::DataError;
use crate::data::filter::Filter;
use crate::data::formats;
use crate::data::mask::{Mask, Setting};
use crate::data::sample;
use crate::data::shape::{self, Example, Mapping, recognise};
use crate::data::source::{self, Source};
use crate::data::table::{Row, Set};
use crate::data::template::{Moment, Template};
use crate::data::tokenizer::Tokenizer;
use crate::recipe::Recipe;
use crate::rng::Stream;
use crate::run::directory::{self, RunDir};

/// What the pane wants to know.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// The data files of the project.
    List,
    Open(Vec<String>),
    /// Rows of the list, by their places in the view.
    Window {
        from: u64,
        count: u64,
    },
    /// One row in full, by its place in the view.
    Record(u64),
    View(View),
    /// What the rows are, as a person writes it; the recognised shape where that is none.
    Shape(Option<String>),
    /// The tokens that training sees of a row, by the recipe of this run.
    Mask {
        row: u64,
        run: Option<String>,
    },
    Close,
}

/// Which rows are listed, and in what order.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum View {
    #[default]
    All,
    Filter(String),
    Longest,
    Shortest,
    Sample {
        seed: u64,
    },
}

/// What the desk says; each replaces what it said before of the same kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Files(Vec<(String, u64)>),
    State(Box<State>),
    Window(Vec<Listed>),
    Record(Box<Record>),
    Mask { row: u64, mask: Result<Box<Mask>, String> },
    Failed(String),
    Closed,
}

/// What is open.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    pub entries: Vec<String>,
    pub files: Vec<Opened>,
    pub rows: u64,
    pub complete: bool,
    /// Bytes looked through, of how many where that is known.
    pub progress: (u64, Option<u64>),
    pub mapping: Option<Mapping>,
    /// Who says so: empty where it was recognised.
    pub mapping_from: String,
    pub view: View,
    /// Rows in the view so far, and whether that is all.
    pub listed: u64,
    pub settled: bool,
    /// What went wrong since.
    pub trouble: Option<String>,
    /// Counts opened sets and changes of the view: what was read of an earlier one is of no use.
    pub turn: u64,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Opened {
    pub name: String,
    pub format: String,
    pub unit: String,
    pub remark: String,
    pub rows: u64,
    pub fault: Option<String>,
}

/// A row in the list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Listed {
    /// Its place in the view.
    pub at: u64,
    pub row: u64,
    pub line: u64,
    pub bytes: u64,
    /// The beginning of its text; foreign.
    pub text: String,
    /// Why it does not fit.
    pub fault: Option<String>,
}

/// A row in full.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Record {
    pub at: u64,
    pub row: u64,
    pub file: String,
    pub line: u64,
    pub bytes: u64,
    /// As it stands, the beginning where it is long; foreign.
    pub raw: String,
    pub json: String,
    pub example: Option<Example>,
    pub fault: Option<String>,
    pub oddity: Option<String>,
}

/// The asking end. The thread ends when this is dropped.
pub struct Desk {
    asks: Sender<Ask>,
}

impl Desk {
    pub fn spawn(project: PathBuf, answer: impl Fn(Answer) -> bool + Send + 'static) -> std::io::Result<Self> {
        let (asks, asked) = channel();
        std::thread::Builder::new().name("desk".into()).spawn(move || serve(Worker::new(project), &asked, &answer))?;
        Ok(Self { asks })
    }

    /// Never waits.
    pub fn ask(&self, ask: Ask) {
        // The thread is gone only after the screen stopped listening, and then nobody misses the answer.
        let _ = self.asks.send(ask);
    }
}

fn serve(mut worker: Worker, asked: &Receiver<Ask>, answer: &dyn Fn(Answer) -> bool) {
    let mut listens = true;
    while listens {
        let ask = if worker.is_busy() {
            match asked.try_recv() {
                Ok(ask) => Some(ask),
                Err(TryRecvError::Empty) => None,
                Err(TryRecvError::Disconnected) => return,
            }
        } else {
            match asked.recv() {
                Ok(ask) => Some(ask),
                Err(_) => return,
            }
        };
        let mut tell = |a: Answer| listens &= answer(a);
        match ask {
            Some(ask) => worker.ask(ask, &mut tell),
            None => worker.slice(&mut tell),
        }
    }
}

/// Bytes that are looked through between two looks at the questions.
const SLICE: u64 = 8 << 20;
/// Rows that a filter looks at between two looks at the questions.
const FILTERED: u64 = 2_000;
/// A longer row is listed by its beginning, unparsed.
const LISTED_BYTES: u64 = 64 << 10;
/// Characters of a row that a list may show.
const PREVIEW: usize = 300;
/// Of a record as it stands, at most so much is shown.
const RAW_BYTES: usize = 256 << 10;
/// Rows of a random sample.
pub const SAMPLE: usize = 200;
/// Files of a project that are offered, and how deep below it.
const OFFERED: usize = 500;
const DEPTH: usize = 5;
/// Rows that the shape is recognised by.
const RECOGNISED: u64 = 200;
/// While a file is looked through, the screen hears of it at each so-and-so-many-th slice.
const TOLD: u64 = 4;

/// Does the work; tests drive it without a thread.
pub struct Worker {
    project: PathBuf,
    set: Option<Set>,
    state: State,
    /// Bytes of each row, cut to 32 bits: what sorting needs.
    lengths: Vec<u32>,
    /// The rows of the view in its order, where it is not all of them.
    order: Option<Vec<u32>>,
    filter: Option<Filtering>,
    slices: u64,
}

struct Filtering {
    filter: Filter,
    next: u64,
}

impl Worker {
    pub fn new(project: PathBuf) -> Self {
        Self { project, set: None, state: State::default(), lengths: Vec::new(), order: None, filter: None, slices: 0 }
    }

    /// Whether there is something to do while nobody asks.
    pub fn is_busy(&self) -> bool {
        self.set.is_some() && self.state.trouble.is_none() && (!self.state.complete || !self.state.settled)
    }

    pub fn ask(&mut self, ask: Ask, tell: &mut dyn FnMut(Answer)) {
        let done = match ask {
            Ask::List => {
                tell(Answer::Files(offered(&self.project)));
                Ok(())
            }
            Ask::Open(entries) => self.open(entries, tell),
            Ask::Window { from, count } => self.window(from, count).map(|rows| tell(Answer::Window(rows))),
            Ask::Record(at) => self.record(at).map(|record| {
                if let Some(record) = record {
                    tell(Answer::Record(Box::new(record)));
                }
            }),
            Ask::View(view) => self.view(view, tell),
            Ask::Shape(text) => self.shape(text.as_deref(), tell),
            Ask::Mask { row, run } => {
                let mask = self.mask(row, run.as_deref()).map(Box::new);
                tell(Answer::Mask { row, mask });
                Ok(())
            }
            Ask::Close => {
                *self =
                    Self { state: State { turn: self.state.turn + 1, ..State::default() }, ..Self::new(std::mem::take(&mut self.project)) };
                tell(Answer::Closed);
                Ok(())
            }
        };
        if let Err(why) = done {
            tell(Answer::Failed(why));
        }
    }

    fn open(&mut self, entries: Vec<String>, tell: &mut dyn FnMut(Answer)) -> Result<(), String> {
        let fail = |e: DataError| e.to_string();
        let sources = source::expand(&entries, "text", &self.project).map_err(fail)?;
        let set = Set::open(&sources, &self.project.join(".weightroom")).map_err(fail)?;
        let turn = self.state.turn + 1;
        *self = Self { state: State { entries, turn, settled: true, ..State::default() }, ..Self::new(std::mem::take(&mut self.project)) };
        self.set = Some(set);
        self.look(1 << 20);
        self.recognise(&sources)?;
        self.tell_state(tell);
        Ok(())
    }

    /// The shape that the list beside the file says, or that the first rows have.
    fn recognise(&mut self, sources: &[Source]) -> Result<(), String> {
        if let Some(entry) = sources.first().and_then(|s| shape::beside(s.path.as_ref()?)) {
            (self.state.mapping, self.state.mapping_from) = (Some(entry.mapping), format!("dataset_info.json: {}", entry.name));
            return Ok(());
        }
        let Some(set) = &self.set else { return Ok(()) };
        let rows = set.read(0, RECOGNISED).map_err(|e| e.to_string())?;
        let values: Vec<Value> = rows.into_iter().filter_map(|(_, row)| row.parsed.ok()).map(|p| p.value).collect();
        (self.state.mapping, self.state.mapping_from) = (Some(recognise(&values.iter().collect::<Vec<_>>())), String::new());
        Ok(())
    }

    /// Looks further through the files.
    fn look(&mut self, budget: u64) {
        let Some(set) = &mut self.set else { return };
        let lengths = &mut self.lengths;
        match set.advance(budget, &mut |_, _, span| lengths.push(span.bytes().min(u64::from(u32::MAX)) as u32)) {
            Ok(done) => self.state.complete = done,
            Err(e) => self.state.trouble = Some(e.to_string()),
        }
        self.refresh_state();
    }

    fn refresh_state(&mut self) {
        let Some(set) = &self.set else { return };
        let state = &mut self.state;
        state.files = (set.tables.iter())
            .map(|t| Opened {
                name: t.source.name.clone(),
                format: t.source.format.name.into(),
                unit: t.layout.unit.into(),
                remark: t.layout.remark.clone(),
                rows: t.rows(),
                fault: t.fault().map(str::to_owned),
            })
            .collect();
        (state.rows, state.progress) = (set.rows(), set.progress());
        state.listed = self.order.as_ref().map_or(state.rows, |order| order.len() as u64);
    }

    fn tell_state(&mut self, tell: &mut dyn FnMut(Answer)) {
        self.refresh_state();
        tell(Answer::State(Box::new(self.state.clone())));
    }

    /// One piece of what there is to do while nobody asks.
    pub fn slice(&mut self, tell: &mut dyn FnMut(Answer)) {
        self.slices += 1;
        if !self.state.complete {
            self.look(SLICE);
            if self.state.complete && !self.state.settled && self.filter.is_none() {
                self.settle();
            }
        } else if self.filter.is_some() {
            self.filter_on();
        } else {
            self.settle();
        }
        if self.slices.is_multiple_of(TOLD) || !self.is_busy() {
            self.tell_state(tell);
        }
    }

    fn view(&mut self, view: View, tell: &mut dyn FnMut(Answer)) -> Result<(), String> {
        let filter = match &view {
            View::Filter(text) => Some(Filter::parse(text)?).filter(|f| !f.is_empty()),
            _ => None,
        };
        let all = view == View::All || (matches!(view, View::Filter(_)) && filter.is_none());
        self.state.turn += 1;
        self.state.settled = all;
        self.state.view = if all { View::All } else { view };
        self.order = if all { None } else { Some(Vec::new()) };
        self.filter = filter.map(|filter| Filtering { filter, next: 0 });
        // Short ones are there at once.
        if self.state.complete {
            self.slice(&mut |_| {});
        }
        self.tell_state(tell);
        Ok(())
    }

    /// Orders all rows, which are known now.
    fn settle(&mut self) {
        let rows = self.lengths.len() as u32;
        let by_length = |longest: bool| {
            let mut order: Vec<u32> = (0..rows).collect();
            let key = |row: &u32| self.lengths[*row as usize];
            if longest {
                order.sort_by_key(|row| (std::cmp::Reverse(key(row)), *row));
            } else {
                order.sort_by_key(|row| (key(row), *row));
            }
            order
        };
        match self.state.view {
            View::Longest => self.order = Some(by_length(true)),
            View::Shortest => self.order = Some(by_length(false)),
            View::Sample { seed } => self.order = Some(drawn(rows, seed)),
            _ => {}
        }
        self.state.settled = true;
    }

    fn filter_on(&mut self) {
        let (Some(set), Some(filtering), Some(order)) = (&self.set, &mut self.filter, &mut self.order) else {
            self.state.settled = true;
            return;
        };
        let mapping = self.state.mapping.clone().unwrap_or_else(|| Mapping::of("other"));
        match set.read(filtering.next, FILTERED) {
            Ok(rows) => {
                let found = rows.iter().filter(|(_, row)| filtering.filter.matches(row, &mapping)).map(|(_, row)| row.number as u32);
                order.extend(found);
                filtering.next += FILTERED;
                if filtering.next >= set.rows() {
                    (self.filter, self.state.settled) = (None, true);
                }
            }
            Err(e) => self.state.trouble = Some(e.to_string()),
        }
    }

    fn shape(&mut self, text: Option<&str>, tell: &mut dyn FnMut(Answer)) -> Result<(), String> {
        match text {
            Some(text) => (self.state.mapping, self.state.mapping_from) = (Some(Mapping::parse(text)?), "by hand".into()),
            None => {
                let sources: Vec<Source> = self.set.iter().flat_map(|s| &s.tables).map(|t| t.source.clone()).collect();
                self.recognise(&sources)?;
            }
        }
        self.state.turn += 1;
        self.tell_state(tell);
        Ok(())
    }

    fn row_at(&self, at: u64) -> Option<u64> {
        match &self.order {
            Some(order) => order.get(at as usize).map(|row| u64::from(*row)),
            None => (at < self.state.rows).then_some(at),
        }
    }

    fn window(&self, from: u64, count: u64) -> Result<Vec<Listed>, String> {
        let Some(set) = &self.set else { return Ok(Vec::new()) };
        let mut out = Vec::new();
        for at in from..from.saturating_add(count.min(1000)) {
            let Some(row) = self.row_at(at) else { break };
            let Some((file, local)) = set.locate(row) else { break };
            let table = &set.tables[file];
            let fail = |e: DataError| e.to_string();
            let Some(span) = table.spans(local, 1).map_err(fail)?.into_iter().next() else { break };
            let (mut text, mut fault) = (String::new(), None);
            if span.bytes() <= LISTED_BYTES {
                let row = table.row(row, span).map_err(fail)?;
                (text, fault) = self.preview(&row);
            } else {
                let mut head = Vec::new();
                table.stretch(span.start, span.start + 4096, &mut head).map_err(fail)?;
                text.push_str(&String::from_utf8_lossy(&head));
            }
            let text: String = text.trim_start().chars().take(PREVIEW).collect();
            out.push(Listed { at, row, line: span.line, bytes: span.bytes(), text, fault });
        }
        Ok(out)
    }

    /// What a list shows of a row: the beginning of its text, and why it does not fit.
    fn preview(&self, row: &Row) -> (String, Option<String>) {
        let raw = || String::from_utf8_lossy(&row.raw).chars().take(PREVIEW).collect::<String>();
        match &row.parsed {
            Err(fault) => (raw(), Some(fault.what.clone())),
            Ok(parsed) => match self.state.mapping.as_ref().map(|m| m.example(&parsed.value)) {
                Some(Ok(Example::Tokens(ids))) => (format!("{ids:?}"), None),
                Some(Ok(example)) => {
                    (example.texts().iter().map(|t| t.trim()).filter(|t| !t.is_empty()).collect::<Vec<_>>().join(" · "), None)
                }
                Some(Err(why)) => (raw(), Some(why)),
                None => (raw(), None),
            },
        }
    }

    fn record(&self, at: u64) -> Result<Option<Record>, String> {
        let (Some(set), Some(row)) = (&self.set, self.row_at(at)) else { return Ok(None) };
        let Some((file, row)) = set.read(row, 1).map_err(|e| e.to_string())?.into_iter().next() else { return Ok(None) };
        let raw = String::from_utf8_lossy(&row.raw[..row.raw.len().min(RAW_BYTES)]).into_owned();
        let (_, fault) = self.preview(&row);
        let mut record = Record {
            at,
            row: row.number,
            file: set.tables[file].source.name.clone(),
            line: row.span.line,
            bytes: row.span.bytes(),
            raw,
            fault,
            ..Record::default()
        };
        if let Ok(parsed) = row.parsed {
            record.json = serde_json::to_string_pretty(&parsed.value).unwrap_or_default().chars().take(RAW_BYTES).collect();
            record.example = self.state.mapping.as_ref().and_then(|m| m.example(&parsed.value).ok());
            record.oddity = parsed.oddity;
        }
        Ok(Some(record))
    }

    /// The tokens of a row by a run's recipe; by bytes and a short context where there is no run.
    fn mask(&self, row: u64, run: Option<&str>) -> Result<Mask, String> {
        let (Some(set), Some(mapping)) = (&self.set, &self.state.mapping) else { return Err("nothing is open".into()) };
        let fail = |e: DataError| e.to_string();
        let (tokenizer, end, context, template) = match run {
            Some(name) => of_run(&self.project, name)?,
            None => {
                let tokenizer = Tokenizer::train("byte", 0, Some("<|endoftext|>"), &[], &crate::report::Silent).map_err(fail)?;
                let (end, template) = (tokenizer.end_of_text(None), Template::of(&tokenizer));
                (tokenizer, end, 64, template)
            }
        };
        let first = set.read(row, 1).map_err(fail)?.into_iter().next().ok_or("there is no such row")?.1;
        let parsed = first.parsed.map_err(|fault| format!("the row cannot be read: {}", fault.what))?;
        let example = mapping.example(&parsed.value).map_err(|why| format!("the row is not of the shape: {why}"))?;
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_secs() as i64);
        let now = Moment::utc(seconds);
        let mut following = (row + 1..).map_while(|n| set.read(n, 1).ok()?.into_iter().next()).filter_map(|(_, r)| {
            let value = r.parsed.ok()?.value;
            mapping.example(&value).ok().map(|e| e.text())
        });
        Setting { tokenizer: &tokenizer, end, context, template: &template, now }.mask(&example, row, &mut following).map_err(fail)
    }
}

/// What a run trains with: its tokenizer, the end of its documents, its context, and the template of its conversations.
fn of_run(project: &Path, name: &str) -> Result<(Tokenizer, Option<u32>, usize, Template), String> {
    let dir = RunDir::open(project, name).map_err(|e| e.to_string())?;
    let recipe = dir.recipe().map_err(|e| e.to_string())?;
    let recipe = Recipe::parse(&recipe, "recipe.toml", &[]).map_err(|e| e.to_string())?;
    let tokenizer = Tokenizer::load(&dir.path.join("tokenizer.json")).map_err(|e| e.to_string())?;
    let end = tokenizer.end_of_text(recipe.tokenizer.end_of_text.as_deref());
    // A checkpoint has the template that generation uses, and so has the model that the run began with.
    let models = [Some(name), recipe.model.init.as_deref()].into_iter().flatten();
    let dirs = models.filter_map(|model| directory::model_dir(project, project, model).ok());
    let template = dirs.filter_map(|dir| Template::own(&Tokenizer::load(&dir.join("tokenizer.json")).ok()?)).next();
    let template = template.unwrap_or_else(|| Template::of(&tokenizer));
    Ok((tokenizer, end, recipe.model.context, template))
}

/// Different rows at random, in the order in which they were drawn.
fn drawn(rows: u32, seed: u64) -> Vec<u32> {
    let mut random = Stream::new(seed, "sample of rows");
    let wanted = SAMPLE.min(rows as usize);
    let mut seen = BTreeSet::new();
    let mut out = Vec::with_capacity(wanted);
    while out.len() < wanted {
        let row = random.below(u64::from(rows)) as u32;
        if seen.insert(row) {
            out.push(row);
        }
    }
    out
}

/// Data files of the project with their sizes, and the texts that are built in.
fn offered(project: &Path) -> Vec<(String, u64)> {
    let mut found = Vec::new();
    let mut waiting = vec![(project.to_owned(), 0)];
    while let Some((dir, depth)) = waiting.pop() {
        for entry in std::fs::read_dir(&dir).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            let Ok(kind) = entry.file_type() else { continue };
            let own = depth == 0 && matches!(name.as_str(), "runs" | "tokenizers" | "models" | "target" | "node_modules");
            if name.starts_with('.') || own || found.len() >= OFFERED {
                continue;
            }
            if kind.is_dir() && depth < DEPTH {
                waiting.push((entry.path(), depth + 1));
            } else if formats::known(&name) && (kind.is_file() || kind.is_symlink() && entry.path().is_file()) {
                let path = entry.path();
                let path = path.strip_prefix(project).unwrap_or(&path).to_string_lossy().into_owned();
                let bytes = std::fs::metadata(entry.path()).map_or(0, |m| m.len());
                found.push((path, bytes));
            }
        }
    }
    found.sort();
    found.extend(sample::names().map(|name| (format!("{}{name}", source::BUILTIN), sample::text(name).map_or(0, |t| t.len() as u64))));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_list_their_rows() {
        let dir = tempfile::tempdir().unwrap();
        let text: String = (0..500).map(|i| format!("{{\"id\": {i}, \"text\": \"{}\"}}\n", "x".repeat(i % 37))).collect();
        std::fs::write(dir.path().join("a.jsonl"), text).unwrap();
        let mut worker = Worker::new(dir.path().into());
        let mut states = Vec::new();
        let mut ask = |worker: &mut Worker, ask: Ask| {
            let mut last = None;
            let mut keep = |a: Answer| match a {
                Answer::State(s) => states.push(*s),
                other => last = Some(other),
            };
            worker.ask(ask, &mut keep);
            while worker.is_busy() {
                worker.slice(&mut keep);
            }
            (states.last().cloned(), last)
        };
        let rows = |answer: Option<Answer>| match answer {
            Some(Answer::Window(rows)) => rows.iter().map(|r| r.row).collect::<Vec<_>>(),
            other => panic!("{other:?}"),
        };
        assert!(
            matches!(ask(&mut worker, Ask::List).1, Some(Answer::Files(files)) if files[0].0 == "a.jsonl" && files.last().unwrap().0.starts_with("sample:"))
        );
        let state = ask(&mut worker, Ask::Open(vec!["a.jsonl".into()])).0.unwrap();
        assert_eq!((state.rows, state.complete, state.mapping.unwrap().shape.as_str()), (500, true, "text"));
        assert_eq!(rows(ask(&mut worker, Ask::Window { from: 498, count: 9 }).1), [498, 499]);
        ask(&mut worker, Ask::View(View::Longest));
        assert_eq!(rows(ask(&mut worker, Ask::Window { from: 0, count: 2 }).1), [110, 147]);
        let state = ask(&mut worker, Ask::View(View::Filter("id<10 id>7".into()))).0.unwrap();
        assert_eq!((state.listed, state.settled), (2, true));
        assert_eq!(rows(ask(&mut worker, Ask::Window { from: 0, count: 5 }).1), [8, 9]);
        let (_, record) = ask(&mut worker, Ask::Record(1));
        assert!(matches!(record, Some(Answer::Record(r)) if r.row == 9 && r.line == 10 && r.example.is_some()));
        ask(&mut worker, Ask::View(View::Sample { seed: 4 }));
        let sample = rows(ask(&mut worker, Ask::Window { from: 0, count: 500 }).1);
        assert_eq!((sample.len(), sample.iter().collect::<BTreeSet<_>>().len()), (SAMPLE, SAMPLE));
        assert_eq!(drawn(500, 4)[..5], sample[..5].iter().map(|r| *r as u32).collect::<Vec<_>>());
        assert!(matches!(ask(&mut worker, Ask::Shape(Some("chat".into()))).1, Some(Answer::Failed(why)) if why.contains("is no shape")));
        assert!(
            matches!(ask(&mut worker, Ask::Mask { row: 1, run: None }).1, Some(Answer::Mask { mask: Ok(m), .. }) if m.tokens.len() == 65)
        );
    }
}
