//! What the screen knows of evaluations, and what it asks the loader about them.
//! Deliberately not here: reading and comparing them (`ui::examiner`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use crate::eval::compare::Comparison;
use crate::eval::report::Report;
use crate::eval::stats::Ranked;
use crate::eval::store::{Correction, Whole};

/// Questions to the loader.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// All evaluations of the project, and the tasks that have names.
    List,
    /// These, the newest first, against one of them.
    Compare { names: Vec<String>, base: Option<String> },
    /// One in full, beside another.
    Open { name: String, base: Option<String> },
    /// A judgement by hand.
    Correct { name: String, correction: Correction },
    /// Lines of JSON at the end of a file of the project.
    Add { path: PathBuf, lines: Vec<String>, what: String },
}

/// What the loader says.
#[derive(Clone, Debug)]
pub enum Answer {
    List { evals: Vec<(String, Report)>, tasks: Vec<(String, String)> },
    Compared(Box<Compared>),
    Opened(Box<Opened>),
    Corrected { name: String, correction: Correction },
    Added { path: PathBuf, what: String },
    Failed(String),
}

/// How evaluations stand to each other.
#[derive(Clone, Debug, Default)]
pub struct Compared {
    pub names: Vec<String>,
    pub base: Option<String>,
    /// Each against the base.
    pub against: BTreeMap<String, Comparison>,
    /// Each against the one of the same model before it, where there is one.
    pub before: BTreeMap<String, Comparison>,
    /// By task, then by evaluation.
    pub ranks: BTreeMap<String, BTreeMap<String, Ranked>>,
}

/// An evaluation in full, and the one that it is compared with.
#[derive(Clone, Debug)]
pub struct Opened {
    pub whole: Arc<Whole>,
    pub base: Option<Arc<Whole>>,
}

/// All of it.
#[derive(Default)]
pub struct Evals {
    /// None until they were looked for.
    pub listed: Option<Vec<(String, Report)>>,
    pub tasks: Vec<(String, String)>,
    pub compared: Option<Compared>,
    pub opened: Option<Opened>,
    /// Grows with every answer.
    pub answers: u64,
    /// The last word to the person, and which answer that was.
    pub said: Option<(u64, String)>,
}

impl Evals {
    pub(super) fn fold(&mut self, answer: Answer) {
        self.answers += 1;
        match answer {
            Answer::List { evals, tasks } => (self.listed, self.tasks) = (Some(evals), tasks),
            Answer::Compared(compared) => self.compared = Some(*compared),
            Answer::Opened(opened) => self.opened = Some(*opened),
            Answer::Corrected { name, correction } => {
                if let Some(opened) = self.opened.as_mut().filter(|o| o.whole.name == name) {
                    Arc::make_mut(&mut opened.whole).corrections.push(correction);
                }
            }
            Answer::Added { path, what } => self.said = Some((self.answers, format!("{what} → {}", path.display()))),
            Answer::Failed(why) => {
                self.listed.get_or_insert_default();
                self.said = Some((self.answers, why));
            }
        }
    }

    /// The newest evaluation of a model with a score.
    pub fn newest_of(&self, model: &str) -> Option<&(String, Report)> {
        self.listed.iter().flatten().find(|(_, r)| r.model == model && r.tasks.iter().any(|t| t.score.is_some()))
    }
}
