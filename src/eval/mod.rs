//! Floor 3: evaluation: tasks, what is asked of a model, scores, statistics, reports.
//! Deliberately not here: which model a name means, threads and screens; a model is met as a `Generator` alone.
//!
//! | file | what |
//! |---|---|
//! | `task`, `rows`, `template`, `known`, `harness` | what a task is; its rows; recognised data; plain lm-evaluation-harness YAML |
//! | `tasks/` | the kinds of tasks: what they ask, how answers are graded |
//! | `scoring/` | how a generated text is scored; numbers, rules of IFEval |
//! | `run`, `ask` | runs a task on a model, item by item, from where it was left |
//! | `stats/`, `report`, `compare` | intervals and tests; what came of it, as JSON, Markdown and JUnit XML |

pub mod ask;
pub mod command;
pub mod compare;
pub mod harness;
pub mod item;
pub mod known;
pub mod render;
pub mod report;
pub mod rows;
pub mod run;
pub mod scoring;
pub mod stats;
pub mod store;
pub mod task;
pub mod tasks;
pub mod template;

/// Why an evaluation cannot be: one line that names the thing, the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum EvalError {
    #[error("{0}")]
    Task(String),
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    #[error(transparent)]
    Run(#[from] crate::run::RunError),
    /// The model cannot answer at all.
    #[error("{0}")]
    Model(String),
    /// A person ended it; what it had is kept.
    #[error("stopped")]
    Stopped,
}

impl EvalError {
    /// A fault of a task: `tasks/x.toml: what; remedy`.
    pub fn task(place: &str, what: impl std::fmt::Display, remedy: &str) -> Self {
        Self::Task(format!("{}: {what}; {remedy}", shown(place)))
    }
}

/// Foreign text for a message, in one line and not too long.
pub(crate) fn shown(text: &str) -> String {
    const LONGEST: usize = 300;
    let text = crate::text::visible(text, false);
    match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.into_owned(),
    }
}
