//! Run directories: names, making, opening, the lock of the one process that writes, and the list of all runs.
//! Deliberately not here: the content of logs (`log`, `series`, `read`) and checkpoints (`checkpoint`).

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

use fs4::FileExt;
use serde::{Deserialize, Serialize};

use super::checkpoint::{self, Checkpoint};
use super::series::SeriesDir;
use super::{RunError, read, shown};
use crate::repos::{self, Cache, Repo};

/// Longest name of a run; file systems allow 255 bytes, and screens far less.
const MAX_NAME: usize = 64;
/// How long a trainer waits for a lock: somebody who lists the runs holds it for an instant.
const LOCK_PATIENCE: Duration = Duration::from_millis(400);

/// The directory of one run.
#[derive(Clone, Debug, PartialEq)]
pub struct RunDir {
    pub name: String,
    pub path: PathBuf,
}

impl RunDir {
    /// Makes `project/runs/<name>` with its recipe and takes its lock. An explicit name that is taken is an error;
    /// where none is given, one is made from `hint`, with a number behind it when that is taken. The directory
    /// appears in one piece: there is no moment at which a run lacks its recipe.
    pub fn create(project: &Path, wanted: Option<&str>, hint: &str, recipe: &str) -> Result<(Self, Lock), RunError> {
        if let Some(name) = wanted {
            check_name(name)?;
        }
        let runs = project.join("runs");
        fs::create_dir_all(&runs).map_err(|e| RunError::io(&runs, &e))?;
        sweep(&runs);
        let staging = free_path(&runs.join(format!(".new-{}", std::process::id())));
        let made = Self::stage(&staging, recipe).and_then(|lock| {
            let name = Self::settle(&runs, &staging, wanted, hint)?;
            let run = Self { path: runs.join(&name), name };
            lock.name_holder(&run)?;
            Ok((run, lock))
        });
        made.map_err(|error| {
            let _ = fs::remove_dir_all(&staging);
            if !error.is_full() {
                return error;
            }
            let path = runs.join(safe_name(wanted.unwrap_or(hint)));
            RunError::file(&path, "the disk is full", "free some space and start again")
        })
    }

    /// Fills a directory that no list shows yet.
    fn stage(staging: &Path, recipe: &str) -> Result<Lock, RunError> {
        fs::create_dir(staging).map_err(|e| RunError::io(staging, &e))?;
        let lock = Lock::take(&staging.join("lock")).map_err(|e| e.into_error("new", staging))?;
        super::files::replace(&staging.join("recipe.toml"), recipe.as_bytes())?;
        for part in ["checkpoints", "series"] {
            fs::create_dir(staging.join(part)).map_err(|e| RunError::io(staging, &e))?;
        }
        Ok(lock)
    }

    /// Gives the staged directory its name: a rename onto a directory that holds anything fails, so that two
    /// processes never share one.
    fn settle(runs: &Path, staging: &Path, wanted: Option<&str>, hint: &str) -> Result<String, RunError> {
        let base = safe_name(wanted.unwrap_or(hint));
        for n in 1..10_000 {
            let name = if n == 1 { base.clone() } else { format!("{base}-{n}") };
            let path = runs.join(&name);
            if !path.exists() {
                match fs::rename(staging, &path) {
                    Ok(()) => {
                        super::files::sync_dir(runs).map_err(|e| RunError::io(runs, &e))?;
                        return Ok(name);
                    }
                    Err(e) if !matches!(e.kind(), ErrorKind::AlreadyExists | ErrorKind::DirectoryNotEmpty) => {
                        return Err(RunError::io(&path, &e));
                    }
                    Err(_) => {}
                }
            }
            if wanted.is_some() {
                return Err(taken(&path, &base));
            }
        }
        Err(RunError::file(runs, format!("no free name like {base}"), "choose one with --name"))
    }

    /// A run that exists, by its name in the project.
    pub fn open(project: &Path, name: &str) -> Result<Self, RunError> {
        let known = || {
            let mut names: Vec<String> = names(project);
            names.truncate(8);
            if names.is_empty() {
                return "this project has no runs yet".into();
            }
            let near = near_name(project, name).map(|near| format!("did you mean {near}? ")).unwrap_or_default();
            format!("{near}runs here: {}", names.join(", "))
        };
        check_name(name)?;
        let path = project.join("runs").join(name);
        if !path.join("recipe.toml").is_file() {
            return Err(RunError::file(&path, format!("there is no run named {name}"), known()));
        }
        Ok(Self { name: name.into(), path })
    }

    /// Takes the lock that one process at a time may hold; kernels give it back when a process dies.
    pub fn lock(&self) -> Result<Lock, RunError> {
        let lock = Lock::take(&self.path.join("lock")).map_err(|e| e.into_error(&self.name, &self.path))?;
        lock.name_holder(self)?;
        Ok(lock)
    }

    /// Whether a process is at work on this run.
    pub fn is_locked(&self) -> bool {
        let Ok(file) = File::open(self.path.join("lock")) else { return false };
        // A shared lock asks without keeping others out for longer than the call.
        match file.try_lock_shared() {
            Ok(()) => {
                let _ = FileExt::unlock(&file);
                false
            }
            Err(_) => true,
        }
    }

    /// The recipe's text, with every default written out.
    pub fn recipe(&self) -> Result<String, RunError> {
        let path = self.path.join("recipe.toml");
        fs::read_to_string(&path).map_err(|e| RunError::io(&path, &e))
    }

    /// Whole-looking checkpoints, oldest first.
    pub fn checkpoints(&self) -> Vec<Checkpoint> {
        checkpoint::list(&self.path)
    }
}

/// The right to write a run; ends when dropped, and with its process however that ends.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

/// Who holds a lock, for the message to the one who is refused.
#[derive(Serialize, Deserialize)]
struct Holder {
    pid: u32,
    run: String,
}

enum Refusal {
    Held(Option<Holder>),
    Io(std::io::Error),
}

impl Refusal {
    fn into_error(self, run: &str, path: &Path) -> RunError {
        match self {
            Self::Held(holder) => {
                let by = holder.map_or("another process".into(), |h| format!("process {}", h.pid));
                RunError::file(path, format!("run {run} is being written by {by}"), "stop it first, or start a run of another name")
            }
            Self::Io(error) => RunError::io(&path.join("lock"), &error),
        }
    }
}

impl Lock {
    fn take(path: &Path) -> Result<Self, Refusal> {
        let mut file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).map_err(Refusal::Io)?;
        let start = Instant::now();
        loop {
            match FileExt::try_lock(&file) {
                Ok(()) => return Ok(Self { file }),
                Err(fs4::TryLockError::WouldBlock) if start.elapsed() < LOCK_PATIENCE => std::thread::sleep(Duration::from_millis(20)),
                Err(fs4::TryLockError::WouldBlock) => {
                    let mut text = String::new();
                    let _ = Read::by_ref(&mut file).take(4096).read_to_string(&mut text);
                    return Err(Refusal::Held(serde_json::from_str(&text).ok()));
                }
                Err(fs4::TryLockError::Error(error)) => return Err(Refusal::Io(error)),
            }
        }
    }

    /// Writes who holds it, for others to read.
    fn name_holder(&self, run: &RunDir) -> Result<(), RunError> {
        let holder = Holder { pid: std::process::id(), run: run.name.clone() };
        let text = serde_json::to_string(&holder).unwrap_or_default();
        let mut file = &self.file;
        let mut write = || -> std::io::Result<()> {
            file.set_len(0)?;
            file.rewind()?;
            file.write_all(text.as_bytes())
        };
        write().map_err(|e| RunError::io(&run.path.join("lock"), &e))
    }
}

/// Refuses a name that a run of the project has already.
pub fn check_free(project: &Path, name: &str) -> Result<(), RunError> {
    check_name(name)?;
    let path = project.join("runs").join(name);
    if path.exists() { Err(taken(&path, name)) } else { Ok(()) }
}

fn taken(path: &Path, name: &str) -> RunError {
    RunError::file(path, format!("a run named {name} exists"), format!("resume it (--resume {name}) or choose another --name"))
}

/// Refuses a name that could leave the directory, hide, or upset a shell.
pub fn check_name(name: &str) -> Result<(), RunError> {
    let fits = !name.is_empty()
        && name.len() <= MAX_NAME
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
        && !name.starts_with(['.', '-']);
    if fits {
        return Ok(());
    }
    let shown: String = crate::text::visible(name, false).chars().take(MAX_NAME + 8).collect();
    Err(RunError::Other(format!(
        "run name {shown:?}: letters, digits, '-', '_' and '.' only, at most {MAX_NAME}, not beginning with '.' or '-'; give another"
    )))
}

/// The nearest name that `check_name` accepts.
pub fn safe_name(hint: &str) -> String {
    let mut out = String::new();
    for c in hint.chars() {
        let c = if c.is_ascii_alphanumeric() || matches!(c, '_' | '.') { c } else { '-' };
        if !(c == '-' && out.ends_with('-')) {
            out.push(c);
        }
    }
    let trimmed: String = out.trim_matches(['-', '.']).chars().take(MAX_NAME - 6).collect();
    if trimmed.is_empty() { "run".into() } else { trimmed }
}

/// Removes what a process left that was killed while it made a run.
fn sweep(runs: &Path) {
    let Ok(entries) = fs::read_dir(runs) else { return };
    for path in entries.flatten().filter(|e| e.file_name().to_string_lossy().starts_with(".new-")).map(|e| e.path()) {
        let age = fs::metadata(&path).and_then(|m| m.modified()).ok().and_then(|t| t.elapsed().ok());
        let run = RunDir { name: String::new(), path };
        // A fresh one may belong to a process that has not taken its lock yet.
        if age.is_some_and(|a| a > Duration::from_secs(60)) && !run.is_locked() {
            let _ = fs::remove_dir_all(&run.path);
        }
    }
}

fn free_path(base: &Path) -> PathBuf {
    let mut path = base.to_path_buf();
    let mut n = 0u32;
    while path.exists() {
        n += 1;
        path = base.with_file_name(format!("{}-{n}", base.file_name().unwrap_or_default().to_string_lossy()));
    }
    path
}

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunState {
    /// A process is at work on it.
    Running,
    Paused,
    Finished,
    /// A person ended it early and it was saved; can be resumed.
    Stopped,
    Failed,
    /// It ended without a word (killed, or the power went); can be resumed.
    Interrupted,
}

/// What a list shows of a run; read from the heads and tails of its files.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Summary {
    pub name: String,
    pub path: PathBuf,
    pub recipe: PathBuf,
    pub state: RunState,
    pub step: u64,
    pub steps: Option<u64>,
    pub train_loss: Option<f64>,
    pub val_loss: Option<f64>,
    /// The newest validation loss with what it is of: the whole split at the end of a run, a part of it before.
    pub val: Option<read::Validation>,
    /// Step and value of the lowest validation loss.
    pub best: Option<(u64, f64)>,
    /// Milliseconds since the Unix epoch.
    pub created_ms: u64,
    pub updated_ms: u64,
    /// (step, directory), oldest first.
    pub checkpoints: Vec<(u64, PathBuf)>,
    /// Why it failed.
    pub cause: Option<String>,
}

/// Names of the project's runs, in order.
pub fn names(project: &Path) -> Vec<String> {
    let Ok(entries) = fs::read_dir(project.join("runs")) else { return Vec::new() };
    let mut names: Vec<String> = entries
        .flatten()
        .filter(|e| e.path().join("recipe.toml").is_file())
        .filter_map(|e| e.file_name().into_string().ok())
        .filter(|n| check_name(n).is_ok())
        .collect();
    names.sort();
    names
}

/// The run whose name is so much like `wanted` that it may have been meant.
pub fn near_name(project: &Path, wanted: &str) -> Option<String> {
    let likeness = |name: &String| strsim::jaro_winkler(name, wanted);
    names(project).into_iter().max_by(|a, b| likeness(a).total_cmp(&likeness(b))).filter(|name| likeness(name) > 0.8)
}

/// All runs of a project, newest first. A run that cannot be read is left out of nothing: it is listed as it is.
pub fn list(project: &Path) -> Vec<Summary> {
    let mut all: Vec<Summary> =
        names(project).into_iter().filter_map(|n| RunDir::open(project, &n).ok()).map(|run| summary(&run)).collect();
    all.sort_by(|a, b| b.created_ms.cmp(&a.created_ms).then_with(|| a.name.cmp(&b.name)));
    all
}

/// A run's summary, at a cost that does not grow with its length.
pub fn summary(run: &RunDir) -> Summary {
    let log = run.path.join("events.jsonl");
    let (head, tail) = (read::head(&log), read::tail(&log));
    let mut out = Summary {
        name: run.name.clone(),
        path: run.path.clone(),
        recipe: run.path.join("recipe.toml"),
        state: RunState::Interrupted,
        step: 0,
        steps: read::steps_of(&head).or_else(|| read::steps_of(&tail)),
        train_loss: None,
        val_loss: None,
        val: None,
        best: None,
        created_ms: head.first().map_or_else(|| modified_ms(&run.path.join("recipe.toml")), |e| e.at_ms),
        updated_ms: tail.last().map_or_else(|| modified_ms(&run.path.join("recipe.toml")), |e| e.at_ms),
        checkpoints: run.checkpoints().into_iter().map(|c| (c.step, c.path)).collect(),
        cause: None,
    };
    let end = read::Ending::of(&tail);
    out.step = end.step;
    out.train_loss = end.train_loss;
    out.cause = end.cause;
    out.state = if run.is_locked() {
        if end.paused { RunState::Paused } else { RunState::Running }
    } else {
        end.state.unwrap_or(RunState::Interrupted)
    };
    if let Ok(series) = SeriesDir::glance(&run.path) {
        let val = series.get("val/loss").unwrap_or_default();
        out.val_loss = val.last().map(|p| p.value);
        let all = || run.recipe().is_ok_and(|text| toml::from_str::<crate::recipe::Recipe>(&text).is_ok_and(|r| r.eval.batches == 0));
        out.val = read::Validation::latest(&series, !val.is_empty() && all());
        out.best = val.iter().filter(|p| p.value.is_finite()).min_by(|a, b| a.value.total_cmp(&b.value)).map(|p| (p.step, p.value));
        if out.step == 0 {
            out.step = series.get("train/loss").and_then(|s| s.last()).map_or(0, |p| p.step);
        }
    }
    out
}

fn modified_ms(path: &Path) -> u64 {
    let time = fs::metadata(path).and_then(|m| m.modified()).ok();
    time.and_then(|t| t.duration_since(UNIX_EPOCH).ok()).map_or(0, |d| d.as_millis() as u64)
}

/// The directory of a model: a run (its newest whole checkpoint), or a path to a checkpoint or model directory,
/// relative to `base`.
pub fn model_dir(project: &Path, base: &Path, model: &str) -> Result<PathBuf, RunError> {
    if check_name(model).is_ok()
        && let Ok(run) = RunDir::open(project, model)
    {
        return match checkpoint::newest_whole(&run.path)? {
            (Some(found), _) => Ok(found.path),
            (None, _) => Err(RunError::file(&run.path, "the run has no checkpoint yet", "wait for its first one, or press c in Train")),
        };
    }
    let path = base.join(model);
    if path.join("recipe.toml").is_file()
        && let (Some(found), _) = checkpoint::newest_whole(&path)?
    {
        return Ok(found.path);
    }
    let gguf = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
    if path.join("config.json").is_file() || path.join("adapter_config.json").is_file() || (path.is_file() && gguf) {
        return Ok(path);
    }
    if let Some(found) = pulled(model, &path)? {
        return Ok(found);
    }
    let what = if path.exists() { "no config.json in it" } else { "no such run or directory" };
    Err(RunError::File {
        path: PathBuf::from(shown(Path::new(model))),
        what: what.into(),
        remedy: match near_name(project, model) {
            Some(near) => format!("did you mean the run {near}? name a run of this project, a checkpoint directory or a model directory"),
            None => "name a run of this project, a checkpoint directory or a model directory".into(),
        },
    })
}

/// What was pulled from a hub under this name: its directory, or its one GGUF file. A name that looks like a repository's
/// and was not pulled says how to get it: nothing is ever fetched unasked.
fn pulled(model: &str, path: &Path) -> Result<Option<PathBuf>, RunError> {
    // One GGUF file of several in a repository: org/name/file.gguf.
    let parts: Vec<&str> = model.splitn(3, '/').collect();
    if let [org, name, file] = parts[..]
        && file.ends_with(".gguf")
        && repos::is_path(file)
        && let Ok(repo) = Repo::parse(&format!("{org}/{name}"))
    {
        return Ok(Cache::from_env().snapshot(&repo).map(|dir| dir.join(file)).filter(|file| file.is_file()));
    }
    let Some(repo) = Repo::parse(model).ok().filter(|repo| repo.kind == repos::Kind::Model && !path.exists()) else { return Ok(None) };
    let Some(dir) = Cache::from_env().snapshot(&repo) else {
        let looks = repo.id.contains('/') && !model.starts_with("runs/") && !model.starts_with("models/");
        return match looks {
            true => Err(RunError::Other(format!(
                "{repo} is no run, no directory and not among the pulled models; weightroom pull {repo} fetches it"
            ))),
            false => Ok(None),
        };
    };
    if dir.join("config.json").is_file() {
        return Ok(Some(dir));
    }
    let entries = fs::read_dir(&dir).map_err(|e| RunError::io(&dir, &e))?.flatten().map(|e| e.path());
    let mut files: Vec<PathBuf> = entries.filter(|p| p.extension().is_some_and(|e| e == "gguf")).collect();
    match (files.pop(), files.is_empty()) {
        (Some(file), true) => Ok(Some(file)),
        (Some(_), false) => Err(RunError::file(
            &dir,
            format!("{repo} was pulled with several GGUF files"),
            format!("name one of them, as in {repo}/FILE.gguf"),
        )),
        (None, _) => Err(RunError::file(
            &dir,
            format!("{repo} was pulled without a config.json"),
            format!("weightroom pull {repo} fetches what is missing"),
        )),
    }
}
