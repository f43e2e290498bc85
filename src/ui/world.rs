//! What the screen knows: one reducer folds events into it, so that a live run, a finished one, a run on another
//! terminal and a test all look the same to a pane. Deliberately not here: files and clocks; both are handed in.

pub mod evals;
pub mod labels;
pub mod models;
mod reduce;
pub mod run;
pub mod series;
pub mod tokens;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;

use super::desk::{self, Listed, Record};
use crate::data::mask::Mask;
use crate::report::{Event, JobId, JobState, Level};
use crate::spec::{JobSpec, TrainSpec};

pub use run::{Run, Status};
pub use series::{Series, Summary};

/// Work for the loader thread, which alone touches files on behalf of the screen.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// The list of runs in the project.
    Runs,
    /// A run's recipe, series, samples and checkpoints.
    Run(String),
    /// Parameters, memory and time that a recipe would need.
    Estimate { ticket: u64, recipe: String, base: PathBuf },
    /// The text of a recipe file (or `sample:NAME`, one that is built into the program).
    Recipe { ticket: u64, path: PathBuf },
    /// What happened while nobody watched.
    Away,
    /// The person has seen what happened meanwhile.
    Told,
    /// The tokenizers of the project.
    Tokenizers,
    /// A tokenizer, read again where `again`.
    Tokenizer { name: String, again: bool },
    /// The models of the project and of the shared cache.
    Models,
    /// What one model is.
    Model(String),
    /// A text as a tokenizer cuts it.
    Cut { ticket: u64, name: String, text: String },
    /// Write text to a file of the project (a transcript, a recipe).
    Write { path: PathBuf, text: String },
    /// Put a line at the end of a file of the project, which is made where it is missing.
    Append { path: PathBuf, line: String },
    /// The conversations that were saved.
    Chats,
    /// The text of a saved conversation.
    Chat { ticket: u64, path: PathBuf },
    /// What the Data pane asks of the desk.
    Data(desk::Ask),
    /// What the Eval pane asks of evaluations.
    Evals(evals::Ask),
    /// What the Rank pane asks of the thread that holds a set.
    Labels(labels::Ask),
}

/// What the loader answers; [`World::loaded`] folds it.
pub enum Loaded {
    /// All runs of the project, each as far as the list needs it.
    Runs(Vec<Run>),
    /// One run in full.
    Run(Box<Run>),
    Estimate {
        ticket: u64,
        result: Result<Estimate, String>,
    },
    Recipe {
        ticket: u64,
        result: Result<RecipeText, String>,
    },
    Away(Away),
    Tokenizers(Vec<tokens::Listed>),
    Tokenizer {
        name: String,
        result: Result<std::sync::Arc<crate::data::anatomy::Explained>, String>,
    },
    Cut {
        ticket: u64,
        result: Result<tokens::Cut, String>,
    },
    Models(Vec<crate::engine::show::Listed>),
    Model {
        name: String,
        result: Result<std::sync::Arc<crate::engine::show::Shown>, String>,
    },
    Wrote(PathBuf),
    /// Files and their sizes, the newest first.
    Chats(Vec<(PathBuf, u64)>),
    Chat {
        ticket: u64,
        result: Result<String, String>,
    },
    Data(desk::Answer),
    Evals(evals::Answer),
    Labels(labels::Answer),
    /// A request that could not be met, in one line that names the thing and the remedy.
    Failed {
        what: Load,
        why: String,
    },
}

/// What happened while nobody watched: when the last person left, and a line for each run that moved since.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Away {
    pub since_ms: u64,
    pub lines: Vec<String>,
}

/// What a recipe would need.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimate {
    pub parameters: u64,
    pub memory_bytes: u64,
    /// Of the whole run; none where it cannot be told.
    pub seconds: Option<f64>,
    /// How sure this is, and what else is worth knowing.
    pub notes: Vec<String>,
}

/// A recipe's text, and where its relative paths start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecipeText {
    pub text: String,
    pub base: PathBuf,
}

#[derive(Default)]
pub struct World {
    pub project: PathBuf,
    pub device: String,
    pub threads: usize,
    /// Of the engine; empty until it said hello.
    pub version: String,
    /// Whether an engine is at the other end.
    pub connected: bool,
    /// Whether jobs go on when this screen goes.
    pub outlives: bool,
    pub jobs: BTreeMap<JobId, Job>,
    /// Tickets that were answered.
    pub tickets: BTreeMap<u64, JobId>,
    pub refused: BTreeMap<u64, String>,
    /// What this screen asked for, until the engine answered: a job that waits says nothing of itself yet.
    pub asked: BTreeMap<u64, JobSpec>,
    pub runs: BTreeMap<String, Run>,
    /// Whether the list of runs on disk was read at least once.
    pub runs_loaded: bool,
    pub estimates: BTreeMap<u64, Result<Estimate, String>>,
    pub recipes: BTreeMap<u64, Result<RecipeText, String>>,
    pub shelf: tokens::Shelf,
    /// Saved conversations; none until they were looked for.
    pub chats: Option<Vec<(PathBuf, u64)>>,
    /// The newest saved conversation that was asked for.
    pub chat: Option<(u64, Result<String, String>)>,
    pub models: models::Gallery,
    pub log: Vec<LogLine>,
    /// The data files that are looked at.
    pub data: Desktop,
    pub evals: evals::Evals,
    /// Sets of labels, and the one that is ranked.
    pub labels: labels::Labels,
    /// Grows with every change; a screen that has drawn this revision need not draw it again.
    pub revision: u64,
    tickets_given: Cell<u64>,
}

/// What the desk has said of the data files that are open.
#[derive(Default)]
pub struct Desktop {
    /// Data files of the project and their sizes; none until they were looked for.
    pub files: Option<Vec<(String, u64)>>,
    /// None while nothing is open.
    pub state: Option<desk::State>,
    pub window: Vec<Listed>,
    pub record: Option<Box<Record>>,
    pub mask: Option<(u64, Result<Box<Mask>, String>)>,
    /// Grows with every answer.
    pub answers: u64,
    /// Why the last question could not be answered, and which answer that was.
    pub failed: Option<(u64, String)>,
}

impl Desktop {
    pub(super) fn fold(&mut self, answer: desk::Answer) {
        self.answers += 1;
        match answer {
            desk::Answer::Files(files) => self.files = Some(files),
            desk::Answer::State(state) => {
                // What was read of another view is of no use in this one.
                if self.state.as_ref().is_none_or(|before| before.turn != state.turn) {
                    (self.window, self.record, self.mask) = (Vec::new(), None, None);
                }
                self.state = Some(*state);
            }
            desk::Answer::Window(rows) => self.window = rows,
            desk::Answer::Record(record) => self.record = Some(record),
            desk::Answer::Mask { row, mask } => self.mask = Some((row, mask)),
            desk::Answer::Failed(why) => self.failed = Some((self.answers, why)),
            desk::Answer::Closed => *self = Self { files: self.files.take(), answers: self.answers, ..Self::default() },
        }
    }
}

pub struct Job {
    pub id: JobId,
    pub kind: String,
    pub title: String,
    pub run: Option<String>,
    pub state: JobState,
    /// Why it is in this state, where the engine said so.
    pub why: String,
    pub ended: Option<Ended>,
    /// How many events were folded.
    pub events: u64,
    /// Events that never came, by their numbers.
    pub missed: u64,
    pub progress: Option<Progress>,
    pub facts: BTreeMap<String, serde_json::Value>,
    /// Reports of a job that is not a run (tokens of a generation), in order.
    pub reports: Vec<Event>,
    pub spec: Option<JobSpec>,
    /// When the first and the newest event were made.
    pub since_ms: u64,
    pub at_ms: u64,
    seq: Option<u64>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    pub what: String,
    pub done: u64,
    pub total: Option<u64>,
    pub unit: String,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    Finished { stopped: bool, summary: String },
    Failed { cause: String, hint: String },
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub at_ms: u64,
    pub job: Option<JobId>,
    pub level: Level,
    pub text: String,
}

pub use crate::text::told_of;

impl World {
    pub fn new(project: PathBuf) -> Self {
        Self { project, ..Self::default() }
    }

    /// A number for a job that is about to be asked for, never given twice by this world.
    pub fn ticket(&self) -> u64 {
        let next = self.tickets_given.get() + 1;
        self.tickets_given.set(next);
        next
    }

    /// The job that holds the device now, or the newest that waits for it.
    pub fn running(&self) -> Option<&Job> {
        let open = || self.jobs.values().filter(|j| j.ended.is_none());
        open().find(|j| j.run.is_some()).or_else(|| open().next_back())
    }

    /// The run that a job trains, if it has begun, and the step it is at.
    pub fn reached(&self, job: &Job) -> (Option<String>, u64) {
        let step = job.run.as_ref().and_then(|run| self.runs.get(run)).map_or(0, |run| run.step);
        (job.run.clone(), step)
    }

    /// The run that trains now.
    pub fn live_run(&self) -> Option<&Run> {
        self.running().and_then(|job| self.runs.get(job.run.as_ref()?))
    }

    /// The run that is shown and talked to when nobody chose one: the one in training once it has learnt something, else
    /// the newest with a model that did not break, else whatever is newest.
    pub fn favourite(&self) -> Option<&Run> {
        let newest = |fits: fn(&Run) -> bool| self.runs.values().filter(|run| fits(run)).max_by_key(|run| run.at_ms);
        self.live_run()
            .filter(|run| run.is_usable())
            .or_else(|| newest(Run::is_usable))
            .or_else(|| self.live_run())
            .or_else(|| newest(|_| true))
    }

    /// Runs that were asked for and wait for the device, in the order in which they were asked for.
    pub fn waiting_runs(&self) -> Vec<&Run> {
        let mut runs: Vec<&Run> = self.runs.values().filter(|run| run.status() == Status::Waiting).collect();
        runs.sort_by_key(|run| run.job);
        runs
    }

    /// The job of a run, while it has one in this engine.
    pub fn job_of(&self, run: &str) -> Option<&Job> {
        self.jobs.get(&self.runs.get(run)?.job?)
    }
}

impl Job {
    /// The run that it trains, as far as it can be known: while a job waits, only who asked for it knows the name.
    pub fn run_name(&self) -> Option<String> {
        let asked = || {
            let spec: TrainSpec =
                self.spec.as_ref().filter(|s| s.kind == "train").and_then(|s| serde_json::from_value(s.params.clone()).ok())?;
            spec.resume.or(spec.name)
        };
        self.run.clone().or_else(asked)
    }

    fn new(id: JobId) -> Self {
        Self {
            id,
            kind: String::new(),
            title: String::new(),
            run: None,
            state: JobState::Waiting,
            why: String::new(),
            ended: None,
            events: 0,
            missed: 0,
            progress: None,
            facts: BTreeMap::new(),
            reports: Vec::new(),
            spec: None,
            since_ms: 0,
            at_ms: 0,
            seq: None,
        }
    }
}
