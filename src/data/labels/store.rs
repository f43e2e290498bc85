//! The files of a set: items and label files, read with patience and written so that a kill costs nothing that was said.
//! Deliberately not here: what is asked next (`session`) and what the lines mean.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use fs4::FileExt;

use super::{Item, Label, check_name, item_fault};
use crate::data::{DataError, visible};

/// The end of a label file's name.
pub const LABELS: &str = ".labels.jsonl";
/// A longer line is no item and no label.
const LONGEST_LINE: u64 = 16 << 20;
/// Guidelines are a page or two.
const LONGEST_PAGE: u64 = 1 << 20;
/// Sets that are listed, and faults that are told one by one.
const LISTED: usize = 500;
const TOLD: usize = 20;

/// The directory of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct SetDir {
    pub name: String,
    pub path: PathBuf,
}

/// What reading a file found beside its lines.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// Lines that could not be used, and why; the first ones.
    pub lines: Vec<(u64, String)>,
    pub count: u64,
    /// A last line that was never finished.
    pub torn: bool,
}

impl Faults {
    fn add(&mut self, line: u64, why: String) {
        self.count += 1;
        if self.lines.len() < TOLD {
            self.lines.push((line, why));
        }
    }

    /// In one line; none where nothing is wrong.
    pub fn told(&self, file: &str) -> Option<String> {
        let mut parts = Vec::new();
        if let Some((line, why)) = self.lines.first() {
            let more = if self.count > 1 { format!(" (and {} more lines)", self.count - 1) } else { String::new() };
            parts.push(format!("line {line} is left out: {why}{more}"));
        }
        if self.torn {
            parts.push("the last line was not finished when the program ended, and is dropped; what it said is asked again".into());
        }
        (!parts.is_empty()).then(|| format!("{}: {}", visible(file), parts.join("; ")))
    }
}

impl SetDir {
    /// The directory that a set has or would have.
    pub fn new(project: &Path, name: &str) -> Result<Self, DataError> {
        check_name("set", name).map_err(DataError::Other)?;
        Ok(Self { name: name.into(), path: project.join("labels").join(name) })
    }

    /// A set that is there.
    pub fn open(project: &Path, name: &str) -> Result<Self, DataError> {
        let set = Self::new(project, name)?;
        if set.path.is_dir() {
            return Ok(set);
        }
        let known = list(project);
        let known = if known.is_empty() { "this project has none yet".into() } else { format!("sets here: {}", known.join(", ")) };
        Err(DataError::file(
            &set.path,
            format!("there is no set of this name ({known})"),
            format!("make one: weightroom labels draw {name} --prompts FILE --model M, or weightroom labels import {name} FILE"),
        ))
    }

    pub fn make(&self) -> Result<(), DataError> {
        fs::create_dir_all(&self.path).map_err(|e| DataError::io(&self.path, &e))
    }

    pub fn items_path(&self) -> PathBuf {
        self.path.join("items.jsonl")
    }

    pub fn labels_path(&self, annotator: &str) -> PathBuf {
        self.path.join(format!("{annotator}{LABELS}"))
    }

    /// The guidelines' text; empty where there are none.
    pub fn page(&self, name: &str) -> Result<String, DataError> {
        let path = self.path.join(name);
        let mut text = String::new();
        match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(text),
            Err(e) => return Err(DataError::io(&path, &e)),
            Ok(file) => file.take(LONGEST_PAGE).read_to_string(&mut text).map_err(|e| DataError::io(&path, &e))?,
        };
        Ok(text)
    }

    /// Everybody who has a label file here, sorted.
    pub fn annotators(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.path).into_iter().flatten().flatten();
        let name = |e: fs::DirEntry| Some(e.file_name().to_str()?.strip_suffix(LABELS)?.to_owned());
        let mut names: Vec<String> = entries.filter_map(name).filter(|n| check_name("annotator", n).is_ok()).collect();
        names.sort();
        names
    }

    /// All items in order. Two items of one id are refused: labels could not tell them apart.
    pub fn items(&self) -> Result<(Vec<Item>, Faults), DataError> {
        let mut reader = ItemReader::new(self.clone());
        let mut items = Vec::new();
        reader.more(&mut items)?;
        Ok((items, reader.faults))
    }

    /// The lines of one annotator's file as they stand, superseded ones too.
    pub fn lines(&self, annotator: &str) -> Result<(Vec<Label>, Faults), DataError> {
        check_name("annotator", annotator).map_err(DataError::Other)?;
        read_labels(&self.labels_path(annotator))
    }

    /// Everybody's lines.
    pub fn all_lines(&self) -> Result<(BTreeMap<String, Vec<Label>>, Vec<String>), DataError> {
        let (mut all, mut said) = (BTreeMap::new(), Vec::new());
        for name in self.annotators() {
            let (labels, faults) = self.lines(&name)?;
            said.extend(faults.told(&format!("{name}{LABELS}")));
            all.insert(name, labels);
        }
        Ok((all, said))
    }

    /// Adds items whose ids are new; how many were, and how many were there already.
    pub fn add(&self, items: &[Item]) -> Result<(usize, usize), DataError> {
        self.make()?;
        let path = self.items_path();
        let file = Appending::open(&path, "another program is adding items to this set")?;
        let known: BTreeSet<String> = self.items()?.0.into_iter().map(|i| i.id).collect();
        let mut fresh = BTreeSet::new();
        let new: Vec<&Item> = items.iter().filter(|i| !known.contains(&i.id) && fresh.insert(i.id.clone())).collect();
        let mut file = file;
        file.lines(&new)?;
        Ok((new.len(), items.len() - new.len()))
    }
}

/// The sets of a project, sorted.
pub fn list(project: &Path) -> Vec<String> {
    let entries = fs::read_dir(project.join("labels")).into_iter().flatten().flatten();
    let mut names: Vec<String> = entries
        .filter(|e| e.path().is_dir())
        .filter_map(|e| e.file_name().to_str().map(str::to_owned))
        .filter(|n| check_name("set", n).is_ok())
        .take(LISTED)
        .collect();
    names.sort();
    names
}

/// Reads items while somebody may be adding more.
pub struct ItemReader {
    set: SetDir,
    at: u64,
    line: u64,
    seen: HashMap<String, u64>,
    pub faults: Faults,
}

impl ItemReader {
    pub fn new(set: SetDir) -> Self {
        Self { set, at: 0, line: 0, seen: HashMap::new(), faults: Faults::default() }
    }

    /// Appends what was added since the last call.
    pub fn more(&mut self, items: &mut Vec<Item>) -> Result<(), DataError> {
        let path = self.set.items_path();
        let file = match File::open(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            other => other.map_err(|e| DataError::io(&path, &e))?,
        };
        let length = file.metadata().map_err(|e| DataError::io(&path, &e))?.len();
        if length <= self.at {
            return Ok(());
        }
        let mut lines = Lines::from(file, self.at).map_err(|e| DataError::io(&path, &e))?;
        while let Some(line) = lines.next().map_err(|e| DataError::io(&path, &e))? {
            if !line.whole {
                // Somebody is writing it, or was killed while writing; the next look sees.
                break;
            }
            self.at += line.bytes;
            self.line += 1;
            let Some(text) = line.text(&mut self.faults, self.line) else { continue };
            let item: Item = match serde_json::from_str(text) {
                Ok(item) => item,
                Err(e) => {
                    self.faults.add(self.line, format!("it is no item: {}", visible(&e.to_string())));
                    continue;
                }
            };
            if let Some(first) = self.seen.insert(item.id.clone(), self.line) {
                let what = format!("line {} has the id “{}” that line {first} has too", self.line, visible(&item.id));
                return Err(DataError::file(&path, what, "give each item an id of its own"));
            }
            match item_fault(&item) {
                Some(why) => self.faults.add(self.line, why),
                None => items.push(item),
            }
        }
        Ok(())
    }
}

fn read_labels(path: &Path) -> Result<(Vec<Label>, Faults), DataError> {
    let (mut out, mut faults): (Vec<Label>, Faults) = Default::default();
    let file = match File::open(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok((out, faults)),
        other => other.map_err(|e| DataError::io(path, &e))?,
    };
    let mut lines = Lines::from(file, 0).map_err(|e| DataError::io(path, &e))?;
    let mut seen: HashMap<String, usize> = HashMap::new();
    let mut number = 0;
    while let Some(line) = lines.next().map_err(|e| DataError::io(path, &e))? {
        number += 1;
        if !line.whole {
            // Nobody was told that it is kept; even where it can be read, what follows it could not.
            faults.torn = true;
            break;
        }
        let Some(text) = line.text(&mut faults, number) else { continue };
        match serde_json::from_str::<Label>(text) {
            Err(e) => faults.add(number, format!("it is no label: {}", visible(&e.to_string()))),
            Ok(label) => match seen.get(&label.id) {
                // The same line twice says nothing new; two decisions of one id do.
                Some(at) if out[*at] == label => faults.add(number, format!("it repeats “{}”", visible(&label.id))),
                Some(_) => {
                    let what = format!("line {number} has the id “{}” of another decision", visible(&label.id));
                    return Err(DataError::file(path, what, "two files were mixed: weightroom labels merge keeps them apart"));
                }
                None => {
                    seen.insert(label.id.clone(), out.len());
                    out.push(label);
                }
            },
        }
    }
    Ok((out, faults))
}

/// Labels of a file that is not of a set (somebody sent it).
pub fn labels_of_file(path: &Path) -> Result<(Vec<Label>, Faults), DataError> {
    if !path.is_file() {
        return Err(DataError::file(path, "no such file", "check the path"));
    }
    read_labels(path)
}

struct Lines {
    reader: BufReader<File>,
    buffer: Vec<u8>,
}

struct Line<'a> {
    bytes: u64,
    content: &'a [u8],
    /// Whether it has its end.
    whole: bool,
}

impl Lines {
    fn from(mut file: File, at: u64) -> std::io::Result<Self> {
        file.seek(SeekFrom::Start(at))?;
        Ok(Self { reader: BufReader::with_capacity(1 << 16, file), buffer: Vec::new() })
    }

    fn next(&mut self) -> std::io::Result<Option<Line<'_>>> {
        self.buffer.clear();
        let mut bytes = (&mut self.reader).take(LONGEST_LINE).read_until(b'\n', &mut self.buffer)? as u64;
        if bytes == 0 {
            return Ok(None);
        }
        let mut whole = self.buffer.last() == Some(&b'\n');
        if !whole && bytes == LONGEST_LINE {
            // Too long to be kept: its end is looked for, and its content forgotten.
            self.buffer.clear();
            while !whole {
                let chunk = self.reader.fill_buf()?;
                if chunk.is_empty() {
                    break;
                }
                let end = memchr::memchr(b'\n', chunk);
                let used = end.map_or(chunk.len(), |e| e + 1);
                whole = end.is_some();
                bytes += used as u64;
                self.reader.consume(used);
            }
        }
        Ok(Some(Line { bytes, content: &self.buffer, whole }))
    }
}

impl Line<'_> {
    /// Its text; blank lines are nothing, and what is no text is a fault.
    fn text(&self, faults: &mut Faults, number: u64) -> Option<&str> {
        if self.bytes > LONGEST_LINE {
            faults.add(number, format!("it is longer than {} MB", LONGEST_LINE >> 20));
            return None;
        }
        match std::str::from_utf8(self.content) {
            Ok(text) => Some(text.trim()).filter(|t| !t.is_empty()),
            Err(_) => {
                faults.add(number, "it is not UTF-8".into());
                None
            }
        }
    }
}

/// A file of lines that this process alone appends to.
struct Appending {
    path: PathBuf,
    file: File,
    torn: bool,
}

/// How often a lock is looked at before it counts as another's.
const LOOKS: u32 = 20;

impl Appending {
    /// `busy` says who else may hold it.
    fn open(path: &Path, busy: &str) -> Result<Self, DataError> {
        let fail = |e: std::io::Error| DataError::io(path, &e);
        let is_new = !path.exists();
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path).map_err(fail)?;
        // A process that is just being started holds what its parent had open for a moment: a lock that was let go may
        // still look taken.
        let free = (0..LOOKS).any(|look| {
            std::thread::sleep(Duration::from_millis(if look == 0 { 0 } else { 20 }));
            FileExt::try_lock(&file).is_ok()
        });
        if !free {
            return Err(DataError::file(path, busy, "wait until it is done, or choose another name"));
        }
        if is_new && let Some(dir) = path.parent() {
            // The name of a new file must be on the disk too, before what is in it can be promised.
            File::open(dir).and_then(|d| d.sync_all()).map_err(fail)?;
        }
        let torn = cut_torn(&mut file).map_err(fail)?;
        Ok(Self { path: path.into(), file, torn })
    }

    /// Appends and waits until it is on the disk. What could only be written in part is taken back.
    fn lines<T: serde::Serialize>(&mut self, lines: &[T]) -> Result<(), DataError> {
        let fail = |e: std::io::Error| DataError::io(&self.path, &e);
        let before = self.file.metadata().map_err(fail)?.len();
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, line).map_err(|e| DataError::Other(format!("a line cannot be written as JSON: {e}")))?;
            bytes.push(b'\n');
        }
        if bytes.is_empty() {
            return Ok(());
        }
        let written = self.file.write_all(&bytes).and_then(|()| self.file.sync_data());
        written.map_err(|e| {
            // Where even this fails, the next opening finds the torn line.
            let _ = self.file.set_len(before);
            DataError::io(&self.path, &e)
        })
    }
}

/// Cuts off a last line that has no end; whether there was one.
fn cut_torn(file: &mut File) -> std::io::Result<bool> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut buffer = vec![0; 1 << 16];
    while end > 0 {
        let from = end.saturating_sub(buffer.len() as u64);
        file.seek(SeekFrom::Start(from))?;
        let chunk = &mut buffer[..(end - from) as usize];
        file.read_exact(chunk)?;
        if let Some(at) = memchr::memrchr(b'\n', chunk) {
            end = from + at as u64 + 1;
            break;
        }
        end = from;
    }
    if end < length {
        file.set_len(end)?;
        file.sync_data()?;
    }
    Ok(end < length)
}

/// The label file of one annotator, held by this process alone.
pub struct Writer {
    out: Appending,
    annotator: String,
    next: u64,
}

impl Writer {
    /// Opens an annotator's file and gives what is in it. A torn last line is cut off, and the faults say so.
    pub fn open(set: &SetDir, annotator: &str) -> Result<(Self, Vec<Label>, Faults), DataError> {
        check_name("annotator", annotator).map_err(DataError::Other)?;
        set.make()?;
        let path = set.labels_path(annotator);
        let out = Appending::open(&path, &format!("{annotator} is ranking this set in another window"))?;
        let (labels, mut faults) = read_labels(&path)?;
        faults.torn |= out.torn;
        let number = |l: &Label| l.id.rsplit('-').next().and_then(|n| n.parse::<u64>().ok());
        let next = labels.iter().filter_map(number).max().unwrap_or(0) + 1;
        Ok((Self { out, annotator: annotator.into(), next }, labels, faults))
    }

    /// Gives the decisions their ids and brings them to the disk; only then are they made.
    pub fn write(&mut self, mut labels: Vec<Label>) -> Result<Vec<Label>, DataError> {
        for (label, number) in labels.iter_mut().zip(self.next..) {
            label.schema = super::SCHEMA;
            label.annotator.clone_from(&self.annotator);
            label.id = format!("{}-{number:06}", self.annotator);
        }
        self.out.lines(&labels)?;
        self.next += labels.len() as u64;
        Ok(labels)
    }

    /// Takes lines of another file over as they are.
    pub fn copy(&mut self, labels: &[Label]) -> Result<(), DataError> {
        self.out.lines(labels)
    }
}

/// The decisions that stand: none that another supersedes, and no undo. In the order in which they were made.
pub fn standing(lines: &[Label]) -> Vec<&Label> {
    let over: BTreeSet<&str> = lines.iter().filter_map(|l| l.supersedes.as_deref()).collect();
    lines.iter().filter(|l| !over.contains(l.id.as_str()) && l.status != super::Status::Undone).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::labels::{Response, Status};

    fn item(id: &str) -> Item {
        let response = |id: &str| Response { id: id.into(), content: format!("text of {id}"), ..Response::default() };
        Item { id: id.into(), responses: vec![response("r1"), response("r2")], ..Item::default() }
    }

    fn decision(item: &str) -> Label {
        Label { item: item.into(), tiers: vec![vec!["r2".into()], vec!["r1".into()]], ..Label::default() }
    }

    #[test]
    fn what_was_written_is_read_and_a_torn_line_is_dropped_and_said() {
        let dir = tempfile::tempdir().unwrap();
        let set = SetDir::new(dir.path(), "s").unwrap();
        let (mut writer, old, _) = Writer::open(&set, "ana").unwrap();
        assert!(old.is_empty());
        let made = writer.write(vec![decision("a"), decision("b")]).unwrap();
        assert_eq!(made[1].id, "ana-000002");
        let busy = Writer::open(&set, "ana").map(drop).unwrap_err().to_string();
        assert!(busy.contains("ana is ranking this set in another window"), "{busy}");
        Writer::open(&set, "ben").unwrap();
        drop(writer);
        let path = set.labels_path("ana");
        let whole = fs::read(&path).unwrap();
        // A kill at any byte costs no line that was whole before.
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).unwrap();
            let lines = whole[..cut].iter().filter(|b| **b == b'\n').count();
            let (read, faults) = set.lines("ana").unwrap();
            assert_eq!((read.len(), faults.torn), (lines, cut > 0 && whole[cut - 1] != b'\n'));
            let (mut writer, kept, faults) = Writer::open(&set, "ana").unwrap();
            assert_eq!((kept.len(), faults.told("f").is_some()), (lines, faults.torn));
            writer.write(vec![decision("c")]).unwrap();
            drop(writer);
            let (after, faults) = set.lines("ana").unwrap();
            assert_eq!((after.len(), faults), (lines + 1, Faults::default()));
        }
    }

    #[test]
    fn twice_the_same_id_is_refused_with_its_lines() {
        let dir = tempfile::tempdir().unwrap();
        let set = SetDir::new(dir.path(), "s").unwrap();
        assert_eq!(set.add(&[item("a"), item("b"), item("a")]).unwrap(), (2, 1));
        assert_eq!(set.add(&[item("b"), item("c")]).unwrap(), (1, 1));
        let line = serde_json::to_string(&item("a")).unwrap();
        let mut file = OpenOptions::new().append(true).open(set.items_path()).unwrap();
        writeln!(file, "not json\n{line}").unwrap();
        let error = set.items().unwrap_err().to_string();
        assert!(error.contains("line 5 has the id “a” that line 1 has too"), "{error}");
        let (mut writer, ..) = Writer::open(&set, "ana").unwrap();
        writer.copy(&[Label { id: "x".into(), ..decision("a") }, Label { id: "x".into(), ..decision("a") }]).unwrap();
        let (labels, faults) = set.lines("ana").unwrap();
        assert_eq!((labels.len(), faults.count), (1, 1));
        writer.copy(&[Label { id: "x".into(), ..decision("b") }]).unwrap();
        assert!(set.lines("ana").unwrap_err().to_string().contains("line 3 has the id “x” of another decision"));
    }

    #[test]
    fn items_come_while_somebody_adds_them_and_bad_ones_are_counted() {
        let dir = tempfile::tempdir().unwrap();
        let set = SetDir::new(dir.path(), "s").unwrap();
        set.add(&[item("a")]).unwrap();
        let mut reader = ItemReader::new(set.clone());
        let mut items = Vec::new();
        reader.more(&mut items).unwrap();
        let mut equal = item("e");
        equal.responses[1].content = equal.responses[0].content.clone();
        set.add(&[equal, item("b")]).unwrap();
        let mut file = OpenOptions::new().append(true).open(set.items_path()).unwrap();
        file.write_all(&serde_json::to_vec(&item("c")).unwrap()).unwrap();
        reader.more(&mut items).unwrap();
        assert_eq!(items.iter().map(|i| i.id.as_str()).collect::<Vec<_>>(), ["a", "b"], "the last line has no end yet");
        file.write_all(b"\n").unwrap();
        reader.more(&mut items).unwrap();
        assert_eq!(items.len(), 3);
        assert_eq!(reader.faults.lines, [(2, "all responses are equal".to_string())]);
    }

    #[test]
    fn undone_and_superseded_decisions_do_not_stand() {
        let label = |id: &str, supersedes: Option<&str>, status| Label {
            id: id.into(),
            supersedes: supersedes.map(Into::into),
            status,
            ..decision("a")
        };
        let lines = [
            label("1", None, Status::Ranked),
            label("2", None, Status::Ranked),
            label("3", Some("2"), Status::Undone),
            label("4", Some("3"), Status::Skipped),
        ];
        assert_eq!(standing(&lines).iter().map(|l| l.id.as_str()).collect::<Vec<_>>(), ["1", "4"]);
        assert_eq!(standing(&lines[..3]).len(), 1);
    }
}
