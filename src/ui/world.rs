//! What the screen knows: one reducer folds events into it. No I/O; panes only read it.

use std::collections::BTreeMap;

use crate::report::{Event, JobId, JobState, Metric};
use crate::run::series::Point;
use crate::spec::JobSpec;

/// Work for the loader thread, which alone touches files on behalf of the screen.
#[derive(Clone, Debug, PartialEq)]
pub enum Load {
    /// The list of runs in the project.
    Runs,
    /// A run's recipe, series, samples and checkpoints.
    Run(String),
    /// Parameters, memory and time that a recipe would need.
    Estimate { ticket: u64, recipe: String, base: std::path::PathBuf },
    /// Write text to a file of the project (a transcript, a recipe).
    Write { path: std::path::PathBuf, text: String },
}

#[derive(Default)]
pub struct World {
    pub project: std::path::PathBuf,
    pub device: String,
    pub threads: usize,
    pub jobs: BTreeMap<JobId, Job>,
    /// Tickets that were answered.
    pub tickets: BTreeMap<u64, JobId>,
    pub refused: BTreeMap<u64, String>,
    pub runs: BTreeMap<String, Run>,
    pub log: Vec<LogLine>,
}

pub struct Job {
    pub id: JobId,
    pub kind: String,
    pub title: String,
    pub run: Option<String>,
    pub state: JobState,
    pub ended: Option<Ended>,
    pub events: u64,
    /// Reports of a job that is not a run (tokens of a generation), in order.
    pub reports: Vec<Event>,
    pub spec: Option<JobSpec>,
}

#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    Finished { stopped: bool, summary: String },
    Failed { cause: String, hint: String },
}

/// A run as the screen knows it, live or from disk.
#[derive(Default)]
pub struct Run {
    pub name: String,
    pub job: Option<JobId>,
    pub step: u64,
    pub steps: Option<u64>,
    pub recipe: String,
    pub metrics: BTreeMap<String, Metric>,
    pub series: BTreeMap<String, Series>,
    pub samples: Vec<(u64, String, String)>,
    pub notes: Vec<LogLine>,
    pub ended: Option<Ended>,
}

/// All points of a metric: what was on disk when the run was opened (mapped), then what came since.
#[derive(Default)]
pub struct Series {
    pub mapped: Option<std::sync::Arc<crate::run::series::SeriesDir>>,
    pub live: Vec<Point>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct LogLine {
    pub at_ms: u64,
    pub job: Option<JobId>,
    pub level: crate::report::Level,
    pub text: String,
}
