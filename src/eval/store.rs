//! An evaluation on disk: `evals/NAME/` with `report.json`, `items.jsonl`, `corrections.jsonl`, `report.md`, `junit.xml`.
//! Deliberately not here: what the files say (`report`, `render`).

use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::EvalError;
use super::report::{ItemResult, Report};
use crate::run::RunError;

/// Where a project keeps its evaluations.
pub const EVALS: &str = "evals";
const REPORT: &str = "report.json";
const ITEMS: &str = "items.jsonl";
const CORRECTIONS: &str = "corrections.jsonl";
/// Evaluations of a project that are looked at, the newest first.
const MOST: usize = 500;
/// A file that is longer than this is none of ours.
const REPORT_BYTES: u64 = 16 << 20;
const LINE_BYTES: usize = 64 << 20;

/// A judgement by hand: it stands beside the program's, never in its place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Correction {
    pub task: String,
    pub id: String,
    /// The score by hand; none takes an earlier one back.
    pub score: Option<f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    pub by: String,
    pub at_ms: u64,
}

/// An evaluation's directory.
#[derive(Clone, Debug, PartialEq)]
pub struct EvalDir {
    pub path: PathBuf,
}

/// All that one holds.
#[derive(Clone, Debug, Default)]
pub struct Whole {
    pub name: String,
    pub report: Report,
    pub items: Vec<ItemResult>,
    pub corrections: Vec<Correction>,
}

impl EvalDir {
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    pub fn report(&self) -> Result<Report, EvalError> {
        let path = self.path.join(REPORT);
        let size = fs::metadata(&path).map_err(|e| self.missing(&e))?.len();
        if size > REPORT_BYTES {
            return Err(EvalError::task(&path.to_string_lossy(), "is far too large for a report", "name an evaluation's directory"));
        }
        let bytes = fs::read(&path).map_err(|e| self.missing(&e))?;
        let report: Report = serde_json::from_slice(&bytes)
            .map_err(|e| EvalError::task(&path.to_string_lossy(), format!("is no report: {e}"), "run the evaluation again"))?;
        if report.schema > super::report::SCHEMA {
            return Err(EvalError::task(&path.to_string_lossy(), "was written by a later version", "update this program"));
        }
        Ok(report)
    }

    fn missing(&self, error: &std::io::Error) -> EvalError {
        let remedy = "name a directory that `weightroom eval` wrote, such as evals/NAME";
        EvalError::task(&self.path.to_string_lossy(), format!("no evaluation is there ({error})"), remedy)
    }

    pub fn write_report(&self, report: &Report) -> Result<(), RunError> {
        self.replace(REPORT, &serde_json::to_vec_pretty(report).unwrap_or_default())
    }

    /// Writes one of the evaluation's files beside and renames it.
    pub fn replace(&self, name: &str, bytes: &[u8]) -> Result<(), RunError> {
        let path = self.path.join(name);
        let beside = self.path.join(format!(".{name}.new"));
        let written = (|| {
            let mut file = File::create(&beside)?;
            file.write_all(bytes)?;
            file.sync_all()?;
            fs::rename(&beside, &path)
        })();
        written.map_err(|e| {
            let _ = fs::remove_file(&beside);
            RunError::io(&path, &e)
        })
    }

    /// Results so far. A torn last line and lines that cannot be read are left out: their items are asked again.
    pub fn items(&self) -> Vec<ItemResult> {
        lines(&self.path.join(ITEMS))
    }

    pub fn corrections(&self) -> Vec<Correction> {
        lines(&self.path.join(CORRECTIONS))
    }

    pub fn correct(&self, correction: &Correction) -> Result<(), RunError> {
        append(&self.path.join(CORRECTIONS), correction)
    }

    /// The file that results are added to as they come.
    pub fn open_items(&self) -> Result<Items, RunError> {
        let path = self.path.join(ITEMS);
        // What was added after a torn line would be lost with it.
        heal(&path).map_err(|e| RunError::io(&path, &e))?;
        let file = OpenOptions::new().create(true).append(true).open(&path).map_err(|e| RunError::io(&path, &e))?;
        Ok(Items { path, file })
    }

    /// All results, in order, in the place of those that were added as they came.
    pub fn write_items(&self, items: &[ItemResult]) -> Result<(), RunError> {
        let mut out = Vec::new();
        for item in items {
            serde_json::to_writer(&mut out, item).map_err(|e| RunError::io(&self.path, &e.into()))?;
            out.push(b'\n');
        }
        self.replace(ITEMS, &out)
    }

    pub fn whole(&self) -> Result<Whole, EvalError> {
        let name = self.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        Ok(Whole { name, report: self.report()?, items: self.items(), corrections: self.corrections() })
    }
}

/// Results that are added one by one.
pub struct Items {
    path: PathBuf,
    file: File,
}

impl Items {
    pub fn push(&mut self, item: &ItemResult) -> Result<(), RunError> {
        let mut line = serde_json::to_vec(item).unwrap_or_default();
        line.push(b'\n');
        self.file.write_all(&line).map_err(|e| RunError::io(&self.path, &e))
    }
}

/// Adds one line to a file of JSON lines, and waits until it is on the disk.
pub fn append(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let written = (|| {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        heal(path)?;
        let mut line = serde_json::to_vec(value)?;
        line.push(b'\n');
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        file.write_all(&line)?;
        file.sync_all()
    })();
    written.map_err(|e: std::io::Error| RunError::io(path, &e))
}

/// Ends a last line that a kill tore, so that the next one stands alone.
fn heal(path: &Path) -> std::io::Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let Ok(mut file) = OpenOptions::new().read(true).append(true).open(path) else { return Ok(()) };
    if file.metadata()?.len() == 0 {
        return Ok(());
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    if last != [b'\n'] { file.write_all(b"\n") } else { Ok(()) }
}

fn lines<T: serde::de::DeserializeOwned>(path: &Path) -> Vec<T> {
    let Ok(file) = File::open(path) else { return Vec::new() };
    let mut reader = BufReader::new(file);
    let mut out = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        match reader.read_until(b'\n', &mut line) {
            Ok(0) | Err(_) => return out,
            Ok(n) if n > LINE_BYTES => {}
            Ok(_) => out.extend(serde_json::from_slice(&line)),
        }
    }
}

/// All evaluations of a project, the newest first.
pub fn list(project: &Path) -> Vec<(String, Report)> {
    let Ok(entries) = fs::read_dir(project.join(EVALS)) else { return Vec::new() };
    let names = entries.take(10_000).flatten().map(|e| e.file_name().to_string_lossy().into_owned());
    let mut found: Vec<(String, Report)> =
        names.filter_map(|name| Some((name.clone(), EvalDir::new(project.join(EVALS).join(&name)).report().ok()?))).collect();
    found.sort_by(|a, b| b.1.started_ms.cmp(&a.1.started_ms).then_with(|| a.0.cmp(&b.0)));
    found.truncate(MOST);
    found
}

/// What earlier evaluations of a model know, by key: those of the project, and those of the directory that is written to.
pub fn earlier(project: &Path, model_hash: &str, out: &Path) -> HashMap<String, ItemResult> {
    let mut dirs: Vec<PathBuf> =
        list(project).into_iter().filter(|(_, r)| r.model_hash == model_hash).map(|(name, _)| project.join(EVALS).join(name)).collect();
    // The directory itself may lie elsewhere.
    if EvalDir::new(out).report().is_ok_and(|r| r.model_hash == model_hash) {
        dirs.insert(0, out.to_owned());
    }
    let mut found = HashMap::new();
    for dir in dirs {
        for item in EvalDir::new(dir).items().into_iter().filter(|i| i.status != super::report::Status::Failed && !i.key.is_empty()) {
            found.entry(item.key.clone()).or_insert(item);
        }
    }
    found
}

/// Commands that a person has allowed in this project, by their hashes.
pub fn allowed(project: &Path) -> Vec<String> {
    fs::read_to_string(project.join(ALLOWED))
        .map(|t| t.lines().map(|l| l.split(' ').next().unwrap_or_default().to_owned()).collect())
        .unwrap_or_default()
}

/// Keeps that a person allowed a command.
pub fn allow(project: &Path, hash: &str, command: &[String]) -> Result<(), RunError> {
    let path = project.join(ALLOWED);
    let written = (|| {
        if let Some(dir) = path.parent() {
            fs::create_dir_all(dir)?;
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        writeln!(file, "{hash} {}", super::shown(&command.join(" ")))
    })();
    written.map_err(|e: std::io::Error| RunError::io(&path, &e))
}

const ALLOWED: &str = ".weightroom/allowed-commands";

/// What identifies a command that may be run.
pub fn command_hash(command: &[String], dir: &Path) -> String {
    super::item::short_hash(&serde_json::to_vec(&(command, dir.to_string_lossy())).unwrap_or_default())
}
