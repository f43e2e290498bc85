//! Sets of labels as the screen knows them: which there are, what is asked now, and what was decided last.
//! Deliberately not here: how they are read (`ui::sitting`) and what is drawn of them.

use crate::data::labels::session::{Decision, Progress, Settings, Showing};
use crate::data::labels::stats::Summary;

/// What the Rank pane wants of the thread that holds a set.
#[derive(Clone, Debug, PartialEq)]
pub enum Ask {
    /// The sets of the project.
    Sets,
    /// Opens a set for an annotator.
    Open {
        set: String,
        annotator: String,
        adjudicates: bool,
    },
    /// A decision about what the answer of this turn asked.
    Decide {
        turn: u64,
        decision: Box<Decision>,
    },
    Undo {
        at_ms: u64,
    },
    Redo {
        at_ms: u64,
    },
    Previous,
    Forward,
    /// Whether more items have come.
    Look,
    /// All figures of a set.
    Summary {
        set: String,
    },
    Close,
}

impl Ask {
    /// Whether it writes.
    pub fn changes(&self) -> bool {
        matches!(self, Self::Open { .. } | Self::Decide { .. } | Self::Undo { .. } | Self::Redo { .. })
    }
}

#[derive(Clone, Debug, PartialEq)]
pub enum Answer {
    Sets {
        sets: Vec<SetLine>,
        /// Who sits here, by the system's account; may not be a name that labels can have.
        user: String,
    },
    Now(Box<Now>),
    Summary(Box<Summary>),
    Failed(String),
    Closed,
}

/// A set in the list.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SetLine {
    pub name: String,
    pub items: usize,
    /// Everybody with the decisions that stand, and whether it is a judging model.
    pub annotators: Vec<(String, usize, bool)>,
    pub guidelines: bool,
}

impl SetLine {
    /// Decisions of people.
    pub fn labels(&self) -> usize {
        self.annotators.iter().filter(|(.., ai)| !ai).map(|(_, n, _)| n).sum()
    }
}

/// What is asked now, and how things stand.
#[derive(Clone, Debug, PartialEq)]
pub struct Now {
    /// Counts answers: a decision names the one that it is about.
    pub turn: u64,
    pub set: String,
    pub annotator: String,
    pub adjudicates: bool,
    /// None where nothing is left to ask.
    pub showing: Option<Showing>,
    pub progress: Progress,
    pub last: Option<Last>,
    pub guidelines: String,
    pub settings: Settings,
    /// What the files, or the last ask, found worth telling.
    pub told: Vec<String>,
    pub sitting: Sitting,
}

/// The last decision that stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Last {
    pub number: usize,
    /// `3>1>4>2`
    pub order: String,
    /// The models by places on the screen: told only now.
    pub models: Vec<String>,
    pub rushed: bool,
}

/// This sitting, and the one before it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sitting {
    pub began_ms: u64,
    /// Decisions of this sitting, those taken back among them, and how many were.
    pub made: usize,
    pub undone: usize,
    pub median_ms: Option<f64>,
    /// When the sitting before ended, and its decisions.
    pub before: Option<(u64, usize)>,
}

/// All that was answered.
#[derive(Default)]
pub struct Labels {
    /// None until the project was looked through.
    pub sets: Option<Vec<SetLine>>,
    pub user: String,
    pub now: Option<Box<Now>>,
    pub summary: Option<Box<Summary>>,
    /// Grows with every answer.
    pub answers: u64,
    /// Why the last ask could not be answered, and which answer that was.
    pub failed: Option<(u64, String)>,
}

impl Labels {
    pub(super) fn fold(&mut self, answer: Answer) {
        self.answers += 1;
        match answer {
            Answer::Sets { sets, user } => (self.sets, self.user) = (Some(sets), user),
            Answer::Now(now) => self.now = Some(now),
            Answer::Summary(summary) => self.summary = Some(summary),
            Answer::Failed(why) => self.failed = Some((self.answers, why)),
            Answer::Closed => (self.now, self.summary) = (None, None),
        }
    }
}
