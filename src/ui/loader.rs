//! The loader's thread: files and counts on behalf of the screen, so that the thread that draws never waits.
//! Deliberately not here: state; an answer is folded by the world.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};

use super::desk::Desk;
use super::examiner::Examiner;
use super::shelf::Tokenizers;
use super::sitting;
use super::widgets::grouped;
use super::world::{Away, Ended, Estimate, Load, Loaded, RecipeText, Run};
use crate::data::sample;
use crate::engine::{Estimator, show};
use crate::report::Report;
use crate::run::directory::{self, RunDir, RunState, Summary};
use crate::run::read;
use crate::run::series::SeriesDir;
use crate::text::visible;

/// A recipe is a page of text; anything much larger is another file.
const RECIPE_BYTES: u64 = 1 << 20;
/// Where conversations are saved, how many are listed, and the largest that is opened.
const CHATS: &str = "chats";
const CHATS_LISTED: usize = 1000;
const CHAT_BYTES: u64 = 64 << 20;
/// Notes and the like that are read of one run.
const WORDS: usize = 5_000;

/// The asking end. The thread ends when this is dropped.
pub struct Loader {
    requests: Sender<Load>,
    desk: Desk,
    sitting: sitting::Desk,
}

impl Loader {
    /// Starts the thread; every answer goes through `answer`, which returns whether anybody still listens.
    pub fn spawn(project: PathBuf, answer: impl Fn(Loaded) -> bool + Clone + Send + 'static) -> std::io::Result<Self> {
        let (requests, asked) = channel::<Load>();
        let told = answer.clone();
        let desk = Desk::spawn(project.clone(), move |data| told(Loaded::Data(data)))?;
        let told = answer.clone();
        let sitting = sitting::Desk::spawn(project.clone(), move |labels| told(Loaded::Labels(labels)))?;
        std::thread::Builder::new().name("loader".into()).spawn(move || {
            let mut worker = Worker::new(project);
            while let Ok(load) = asked.recv() {
                let mut listens = true;
                worker.execute(load, &mut |loaded| listens &= answer(loaded));
                if !listens {
                    return;
                }
            }
        })?;
        Ok(Self { requests, desk, sitting })
    }

    /// Never waits.
    pub fn ask(&self, load: Load) {
        // Data files have a thread of their own: a look through a large one is long.
        if let Load::Data(ask) = load {
            return self.desk.ask(ask);
        }
        // So have labels: a decision is kept before anything else is read.
        if let Load::Labels(ask) = load {
            return self.sitting.ask(ask);
        }
        // The thread is gone only after the screen stopped listening, and then nobody misses the answer.
        let _ = self.requests.send(load);
    }
}

/// Does the work, one request after the other.
pub struct Worker {
    project: PathBuf,
    estimator: Estimator,
    tokenizers: Tokenizers,
    examiner: Examiner,
}

impl Worker {
    pub fn new(project: PathBuf) -> Self {
        Self { project, estimator: Estimator::default(), tokenizers: Tokenizers::default(), examiner: Examiner::default() }
    }

    /// Answers a request, in several parts where the first can be shown long before the last.
    pub fn execute(&mut self, load: Load, answer: &mut dyn FnMut(Loaded)) {
        match load {
            Load::Runs => answer(Loaded::Runs(directory::list(&self.project).iter().map(listed).collect())),
            Load::Run(name) => {
                if let Err(why) = open_run(&self.project, &name, answer) {
                    answer(Loaded::Failed { what: Load::Run(name), why });
                }
            }
            Load::Estimate { ticket, recipe, base } => {
                let result = self.estimator.estimate(&recipe, &base).map(|e| Estimate {
                    parameters: e.parameters,
                    memory_bytes: e.memory_bytes,
                    seconds: Some(e.seconds),
                    notes: estimate_notes(&e),
                });
                answer(Loaded::Estimate { ticket, result });
            }
            Load::Recipe { ticket, path } => answer(Loaded::Recipe { ticket, result: read_recipe(&self.project, &path) }),
            Load::Tokenizers => answer(Loaded::Tokenizers(Tokenizers::list(&self.project))),
            Load::Tokenizer { name, again } => {
                if again {
                    self.tokenizers.forget(&name);
                }
                let result = self.tokenizers.open(&self.project, &name);
                answer(Loaded::Tokenizer { name, result });
            }
            Load::Cut { ticket, name, text } => {
                answer(Loaded::Cut { ticket, result: self.tokenizers.cut(&self.project, &name, &text) });
            }
            Load::Models => answer(Loaded::Models(show::list(&self.project))),
            Load::Model(name) => {
                let shown = show::show(&self.project, &name).map(Arc::new);
                let said = |f: crate::engine::jobs::Fault| if f.hint.is_empty() { f.cause } else { format!("{}; {}", f.cause, f.hint) };
                answer(Loaded::Model { name, result: shown.map_err(said) });
            }
            Load::Away => {
                if let Some(away) = away(&self.project) {
                    answer(Loaded::Away(away));
                }
            }
            Load::Told => crate::run::away::forget(&self.project),
            Load::Write { path, text } => answer(write(&self.project, path, &text)),
            Load::Append { path, line } => answer(append(&self.project, path, &line)),
            Load::Chats => answer(Loaded::Chats(chats(&self.project))),
            Load::Chat { ticket, path } => answer(Loaded::Chat { ticket, result: read_text(&self.project.join(path), CHAT_BYTES) }),
            Load::Evals(ask) => answer(Loaded::Evals(self.examiner.answer(&self.project, ask))),
            // Of threads of their own; see `Loader::ask`.
            Load::Data(_) | Load::Labels(_) => {}
        }
    }
}

/// What the runs did since the last person left.
fn away(project: &Path) -> Option<Away> {
    let left = crate::run::away::read(project)?;
    let line = |(name, then): (&String, &u64)| {
        let run = RunDir::open(project, name).ok()?;
        let now = directory::summary(&run);
        let words = read::words(&run.path, WORDS).unwrap_or_default();
        let notes = words.iter().filter(|e| e.at_ms > left.since_ms && matches!(e.report, Report::Note { .. })).count();
        let mut parts = vec![format!("{} steps {} → {}", visible(name, false), grouped(*then), grouped(now.step))];
        parts.extend(now.best.map(|(_, best)| format!("best {best:.2}")));
        parts.extend((notes > 0).then(|| format!("{notes} note{}", if notes == 1 { "" } else { "s" })));
        parts.extend(match now.state {
            RunState::Running => None,
            RunState::Paused => Some("paused".to_string()),
            RunState::Finished => Some("finished".to_string()),
            RunState::Stopped => Some("stopped".to_string()),
            RunState::Failed => Some(format!("failed: {}", visible(&now.cause.unwrap_or_default(), false))),
            RunState::Interrupted => Some("broke off; r in Train goes on".to_string()),
        });
        Some(parts.join(", "))
    };
    Some(Away { since_ms: left.since_ms, lines: left.runs.iter().filter_map(line).collect() })
}

/// What is worth knowing beside an estimate's figures; what speaks against a start comes first.
fn estimate_notes(e: &crate::engine::Estimate) -> Vec<String> {
    let grouped = crate::ui::widgets::grouped;
    let mut notes = Vec::from_iter(e.warning());
    notes.push(format!(
        "{} steps of {} tokens at some {} tokens/s",
        grouped(e.steps),
        grouped(e.tokens_per_step),
        grouped(e.tokens_per_s as u64)
    ));
    notes.extend(
        e.evaluating().map(|time| format!("evaluations take {time} of the time: eval.every and eval.batches set how often and how much")),
    );
    notes.extend(e.train_tokens.map(|n| format!("a text of about {} tokens", grouped(n))));
    notes.push(format!("a vocabulary of {} tokens", grouped(e.vocab as u64)));
    notes.push("The time is a guess from one measured product of matrices.".into());
    notes
}

/// A run as far as a list shows it.
fn listed(summary: &Summary) -> Run {
    let mut run = Run::named(&summary.name);
    run.step = summary.step;
    run.steps = summary.steps;
    run.best = summary.best;
    (run.since_ms, run.at_ms) = (summary.created_ms, summary.updated_ms);
    run.checkpoints.clone_from(&summary.checkpoints);
    match summary.state {
        RunState::Running | RunState::Paused => run.elsewhere = true,
        RunState::Interrupted => {}
        RunState::Finished => run.ended = Some(Ended::Finished { stopped: false, summary: String::new() }),
        RunState::Stopped => run.ended = Some(Ended::Finished { stopped: true, summary: String::new() }),
        RunState::Failed => run.ended = Some(Ended::Failed { cause: summary.cause.clone().unwrap_or_default(), hint: String::new() }),
    }
    run
}

/// Reads a run: its curves and samples at once, then its notes, for which the whole log has to be looked through.
fn open_run(project: &Path, name: &str, answer: &mut dyn FnMut(Loaded)) -> Result<(), String> {
    let dir = RunDir::open(project, name).map_err(|e| e.to_string())?;
    // The number of the last event is read before the series: what came between is kept by those who saw it come.
    let seq = read::tail(&dir.path.join("events.jsonl")).last().map(|e| e.seq);
    let series = Arc::new(SeriesDir::open(&dir.path).map_err(|e| e.to_string())?);
    let summary = directory::summary(&dir);
    let recipe = dir.recipe().map_err(|e| e.to_string())?;
    let samples: Vec<_> = read::samples(&dir.path).map_err(|e| e.to_string())?.into_iter().map(|s| (s.step, s.prompt, s.text)).collect();
    let complete = |mut run: Run| {
        run.recipe.clone_from(&recipe);
        run.samples.clone_from(&samples);
        run.checkpoints.clone_from(&summary.checkpoints);
        run.step = summary.step;
        run.attach(&series);
        run.steps = run.steps.or(summary.steps);
        run.seq = seq;
        run.opened = true;
        Loaded::Run(Box::new(run))
    };
    answer(complete(listed(&summary)));
    let mut run = Run::named(name);
    for event in read::words(&dir.path, WORDS).map_err(|e| e.to_string())? {
        run.fold(&event);
    }
    run.elsewhere = matches!(summary.state, RunState::Running | RunState::Paused);
    if run.ended.is_none() {
        run.ended = listed(&summary).ended;
    }
    (run.since_ms, run.at_ms) = (summary.created_ms, summary.updated_ms);
    answer(complete(run));
    Ok(())
}

/// Saved conversations, the newest first.
fn chats(project: &Path) -> Vec<(PathBuf, u64)> {
    let entries = std::fs::read_dir(project.join(CHATS)).into_iter().flatten().flatten();
    let mut found: Vec<_> = entries
        .filter_map(|entry| {
            let path = Path::new(CHATS).join(entry.file_name());
            let meta = entry.metadata().ok().filter(|m| m.is_file() && path.extension().is_some_and(|e| e == "jsonl"))?;
            Some((meta.modified().ok(), path, meta.len()))
        })
        .take(CHATS_LISTED)
        .collect();
    found.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| b.1.cmp(&a.1)));
    found.into_iter().map(|(_, path, bytes)| (path, bytes)).collect()
}

/// A text file of at most so many bytes.
fn read_text(path: &Path, most: u64) -> Result<String, String> {
    let fail = |why: String| format!("{}: {why}", visible(&path.to_string_lossy(), false));
    let file = std::fs::File::open(path).map_err(|e| fail(e.to_string()))?;
    let mut text = String::new();
    file.take(most + 1).read_to_string(&mut text).map_err(|e| fail(e.to_string()))?;
    if text.len() as u64 > most { Err(fail("it is far too large".into())) } else { Ok(text) }
}

/// Puts a line behind what a file holds, synced, so that whoever reads on finds whole lines.
fn append(project: &Path, path: PathBuf, line: &str) -> Loaded {
    let full = project.join(&path);
    let done = full.parent().map_or(Ok(()), std::fs::create_dir_all).and_then(|()| {
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(&full)?;
        file.write_all(format!("{line}\n").as_bytes())?;
        file.sync_data()
    });
    match done {
        Ok(()) => Loaded::Wrote(path),
        Err(error) => {
            let why = format!("{}: could not be written: {error}; check the directory and the disk", full.display());
            Loaded::Failed { what: Load::Append { path, line: String::new() }, why }
        }
    }
}

fn read_recipe(project: &Path, path: &Path) -> Result<RecipeText, String> {
    if let Some(name) = path.to_str().and_then(|p| p.strip_prefix("sample:")) {
        let names = || sample::recipes().collect::<Vec<_>>().join(", ");
        let text = sample::recipe(name).ok_or_else(|| format!("sample:{name}: no such built-in recipe; there are {}", names()))?;
        return Ok(RecipeText { text: text.into(), base: project.into() });
    }
    let full = project.join(path);
    let fail = |why: String| format!("{}: {why}; name a recipe file (TOML)", crate::text::visible(&full.to_string_lossy(), false));
    let file = std::fs::File::open(&full).map_err(|e| fail(e.to_string()))?;
    let mut text = String::new();
    file.take(RECIPE_BYTES + 1).read_to_string(&mut text).map_err(|e| fail(e.to_string()))?;
    if text.len() as u64 > RECIPE_BYTES {
        return Err(fail("it is far too large for a recipe".into()));
    }
    let base = full.parent().map_or_else(|| project.to_path_buf(), Path::to_path_buf);
    Ok(RecipeText { text, base })
}

fn write(project: &Path, path: PathBuf, text: &str) -> Loaded {
    let full = project.join(&path);
    let done = match full.parent() {
        Some(parent) => std::fs::create_dir_all(parent).and_then(|()| std::fs::write(&full, text)),
        None => std::fs::write(&full, text),
    };
    match done {
        Ok(()) => Loaded::Wrote(path),
        Err(error) => {
            let why = format!("{}: could not be written: {error}; choose another place or free the disk", full.display());
            Loaded::Failed { what: Load::Write { path, text: String::new() }, why }
        }
    }
}
