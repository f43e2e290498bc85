//! The kinds of tasks: what each asks of a model and how it grades the answers. A new kind is one file and one line in `TASKS`.
//! Deliberately not here: asking (`run`), and how a generated text is scored (`scoring`).

mod choice;
mod cloze;
mod command;
mod generate;
mod ifeval;
mod letter;
mod pairwise;
mod perplexity;
mod rubric;

use std::collections::BTreeMap;

use super::EvalError;
use super::ask::Ask;
use super::item::Item;
use super::task::{Prepared, Task};
use crate::report::Monitor;
use crate::sample::generator::{AskFault, Completion, Generator, Score};

/// A kind of task.
#[derive(Debug)]
pub struct TaskKind {
    pub name: &'static str,
    pub help: &'static str,
    /// What it measures; the first is the score where the task names none.
    pub measures: &'static [Measure],
    /// What is wrong with a task of this kind.
    pub check: fn(&Task) -> Result<(), String>,
    pub ask: fn(&Prepared, &Item, &dyn Generator) -> Result<Ask, AskFault>,
    /// Grades several items at once: a judge answers many as quickly as one.
    pub grade: fn(&Prepared, &[(&Item, Answers)], &Help) -> Vec<Graded>,
}

/// Every kind.
pub const TASKS: &[TaskKind] =
    &[generate::KIND, choice::KIND, letter::KIND, cloze::KIND, perplexity::KIND, ifeval::KIND, rubric::KIND, pairwise::KIND, command::KIND];

/// The kind of this name.
pub fn named(name: &str) -> Result<&'static TaskKind, EvalError> {
    TASKS.iter().find(|k| k.name == name).ok_or_else(|| {
        let names = TASKS.iter().map(|k| k.name).collect::<Vec<_>>().join(", ");
        EvalError::task(name, "no such kind of task", &format!("it is one of {names}"))
    })
}

/// A figure that a kind of task measures.
#[derive(Debug)]
pub struct Measure {
    pub name: &'static str,
    pub help: &'static str,
    pub higher_is_better: bool,
    pub how: How,
}

/// How the figure of a task follows from those of its items.
#[derive(Debug)]
pub enum How {
    Mean,
    /// `shown(Σ over / Σ under)` of two measures of items.
    Ratio {
        over: &'static str,
        under: &'static str,
        shown: fn(f64) -> f64,
    },
}

pub(super) const fn mean(name: &'static str, help: &'static str) -> Measure {
    Measure { name, help, higher_is_better: true, how: How::Mean }
}

/// What a model answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Answers {
    Scores(Vec<Score>),
    /// One a sample, in order.
    Texts(Vec<Completion>),
}

impl Answers {
    pub fn scores(&self) -> &[Score] {
        match self {
            Self::Scores(scores) => scores,
            Self::Texts(_) => &[],
        }
    }
    pub fn texts(&self) -> &[Completion] {
        match self {
            Self::Texts(texts) => texts,
            Self::Scores(_) => &[],
        }
    }
}

/// What a grader may use besides the answers.
pub struct Help<'a> {
    pub monitor: &'a dyn Monitor,
    /// The model that judges, where the task names one.
    pub judge: Option<&'a dyn Generator>,
    /// Where relative paths of commands start.
    pub dir: &'a std::path::Path,
}

/// How an item's answers did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Graded {
    /// None: it could not be graded, and `reason` says why.
    pub measures: Option<BTreeMap<String, f64>>,
    /// What was read out of the answer; none where nothing could be. A majority of samples has its own.
    pub extracted: Option<String>,
    /// Whether nothing could be read out of the answer, which is not the same as a wrong one.
    pub unparsed: bool,
    pub reason: String,
    /// Of each sample, where there are several.
    pub samples: Vec<f64>,
}

impl Graded {
    pub fn of<const N: usize>(measures: [(&str, f64); N]) -> Self {
        Self { measures: Some(measures.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()), ..Self::default() }
    }
    /// It cannot be graded.
    pub fn failed(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), ..Self::default() }
    }
}

/// Grades one after the other.
pub(super) fn each(items: &[(&Item, Answers)], grade: impl Fn(&Item, &Answers) -> Graded) -> Vec<Graded> {
    items.iter().map(|(item, answers)| grade(item, answers)).collect()
}

/// A continuation as the task puts it behind a context: its delimiter between, except within a chat.
pub(super) fn continuation(prepared: &Prepared, text: &str) -> String {
    if prepared.task.chat { text.to_owned() } else { format!("{}{text}", prepared.task.delimiter) }
}

/// The likelihood of a text as the answer to an item.
pub(super) fn likelihood(
    prepared: &Prepared,
    item: &Item,
    model: &dyn Generator,
    question: &dyn Fn(&Item) -> String,
    answer: &dyn Fn(&Item) -> String,
    text: &str,
) -> Result<crate::sample::generator::Question, AskFault> {
    let text = continuation(prepared, text);
    if prepared.task.chat || !item.messages.is_empty() {
        super::ask::likelihood_in_chat(model, &super::ask::conversation(prepared, item, question, answer), &text)
    } else {
        super::ask::likelihood(model, &super::ask::context(prepared, item, question, answer), &text)
    }
}

/// The right answer of an example, as it is shown.
pub(super) fn first_target(item: &Item) -> String {
    item.targets.first().cloned().unwrap_or_default()
}
