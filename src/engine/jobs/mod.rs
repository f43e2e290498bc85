//! The jobs that the engine can do: one file and one line of `JOBS` each.
//! Deliberately not here: when and on which thread a job runs (`hub`, `worker`).

mod bench;
mod bench_decode;
mod clean;
mod count;
mod draw;
mod estimate;
mod eval;
mod export;
mod generate;
mod inspect;
mod judge;
#[cfg(feature = "hub")]
mod pull;
mod score;
mod serve;
mod tokenizer;
mod train;
mod weigh;

use std::collections::BTreeMap;
use std::path::Path;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::EngineError;
use super::models::Models;
use crate::report::Monitor;

/// Every job. A new one is a file beside these and a line here.
pub const JOBS: &[JobKind] = &[
    train::JOB,
    generate::JOB,
    tokenizer::JOB,
    count::JOB,
    estimate::JOB,
    score::JOB,
    bench::JOB,
    bench_decode::JOB,
    inspect::JOB,
    clean::JOB,
    export::JOB,
    serve::JOB,
    weigh::JOB,
    #[cfg(feature = "hub")]
    pull::JOB,
    eval::JOB,
    draw::JOB,
    draw::REMOTE,
    judge::JOB,
    judge::REMOTE,
];

pub use bench::BenchSpec;
pub use bench_decode::BenchDecodeSpec;
pub use clean::problem as clean_problem;
pub use eval::{ASKS as EVAL_ASKS, problem as eval_problem};
pub use export::{FORMATS as EXPORT_FORMATS, problem as export_problem};
pub use inspect::problem as inspect_problem;
#[cfg(feature = "hub")]
pub use pull::problem as pull_problem;
pub use score::ScoreSpec;
pub use tokenizer::problem as tokenizer_problem;
pub use weigh::TENSOR as WEIGHED;

/// A kind of job.
#[derive(Debug)]
pub struct JobKind {
    pub name: &'static str,
    pub help: &'static str,
    pub lane: Lane,
    /// Whether it has safepoints, where it can be paused.
    pub pausable: bool,
    /// Checks the parameters before anything is done; gives the job's title, or why it is refused.
    pub check: fn(&Value, &Path) -> Result<String, String>,
    pub run: fn(&Cx) -> Result<Done, Fault>,
}

/// Where a job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lane {
    /// Needs the device for itself.
    Main,
    /// Asks a model: of the training that holds the device, or of its own beside it.
    Model,
    /// Never needs the device.
    Light,
}

/// What a job sees.
pub struct Cx<'a> {
    pub project: &'a Path,
    pub params: &'a Value,
    pub monitor: &'a dyn Monitor,
    pub models: &'a Models,
    /// Whether another job holds the device: this one computes on the CPU.
    pub beside: bool,
}

impl Cx<'_> {
    /// The parameters as the job's own type; `check` has seen them already.
    pub fn params<T: DeserializeOwned>(&self) -> Result<T, Fault> {
        params(self.params).map_err(|cause| Fault::new(cause, "look at the job's parameters"))
    }
}

/// How a job ended well.
#[derive(Debug, Default)]
pub struct Done {
    /// Whether a person ended it early.
    pub stopped: bool,
    pub summary: String,
    /// What came of it, for programs; empty where its facts say it already.
    pub result: BTreeMap<String, Value>,
}

impl Done {
    pub fn new(stopped: bool, summary: impl Into<String>) -> Self {
        Self { stopped, summary: summary.into(), result: BTreeMap::new() }
    }
    pub fn with(self, result: BTreeMap<String, Value>) -> Self {
        Self { result, ..self }
    }
}

/// Why a job failed: one line that names the thing and the place, and what usually helps (may be empty where the
/// cause says it already).
#[derive(Debug)]
pub struct Fault {
    pub cause: String,
    pub hint: String,
}

impl Fault {
    pub fn new(cause: String, hint: impl Into<String>) -> Self {
        Self { cause, hint: hint.into() }
    }
}

macro_rules! fault_from {
    ($($error:ty),*) => {$(
        impl From<$error> for Fault {
            fn from(error: $error) -> Self {
                Self { cause: one_line(&error.to_string()), hint: String::new() }
            }
        }
    )*};
}
fault_from!(EngineError, crate::model::ModelError, crate::data::DataError, crate::run::RunError, crate::eval::EvalError);

/// Errors of libraries bring backtraces along, and sometimes all that they were given; the beginning of the first line
/// is for people.
pub(super) fn one_line(text: &str) -> String {
    const LONGEST: usize = 1000;
    let line = crate::text::visible(text.lines().find(|l| !l.trim().is_empty()).unwrap_or_default(), false).into_owned();
    match line.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}

fn params<T: DeserializeOwned>(value: &Value) -> Result<T, String> {
    serde_json::from_value(value.clone()).map_err(|e| format!("parameters that this job does not understand: {e}"))
}
