//! What a training step optimises: the trait, and the list of all objectives. A new one is a file here and a line in
//! `OBJECTIVES`. Deliberately not here: accumulation, clipping, schedule, evaluation's times and checkpoints; the
//! loop owns them, once, for all.

pub mod pretrain;

use candle_core::Tensor;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::drive::{self, Outcome, TrainError, Trainer};
use super::measure::Phases;
use crate::data::stream::Splits;
use crate::data::tokenizer::Tokenizer;
use crate::model::decoder::{Decoder, Pass};
use crate::recipe::{Knob, Recipe};
use crate::report::Monitor;
use crate::run::checkpoint::State;

/// An algorithm and nothing else.
pub trait Objective: Sized + Sync {
    const NAME: &'static str;
    const HELP: &'static str;
    /// The recipe's keys that only this objective has: `objective.…`.
    const KNOBS: &'static [Knob];
    /// What one micro-batch is made of; saved with a checkpoint while it was collected and not yet trained on.
    type Batch: Serialize + DeserializeOwned + Send;

    /// Anew, or with the state that an exact resume restores.
    fn new(cx: &Context, saved: Option<serde_json::Value>) -> Result<Self, TrainError>;

    /// What comes next: the outer list is optimizer steps, the inner one the micro-batches of a step. It may sample.
    /// A batch carries its step's denominator, so that unequal micro-batches weigh as in one large batch.
    fn collect(&mut self, cx: &Context) -> Result<Vec<Vec<Self::Batch>>, TrainError>;

    /// Cuts a micro-batch into at most `n` parts of about equal work, whose losses add up to its own: threads do them at
    /// the same time. A batch that cannot be cut is one part.
    fn parts(&self, batch: &Self::Batch, n: usize) -> Vec<Self::Batch>;

    /// This micro-batch's share of the step's loss, already divided: the loop only sums. `phases.mark` tells apart
    /// what the anatomy of a step shows.
    fn loss(&self, decoder: &Decoder, batch: &Self::Batch, pass: &mut Pass, phases: &mut Phases) -> Result<Share, TrainError>;

    /// A token of a batch that can be followed through a step; none where there is nothing of the kind.
    fn example(&self, _batch: &Self::Batch) -> Option<Example> {
        None
    }

    /// Told after every update.
    fn stepped(&mut self, _stats: &StepStats) -> Flow {
        Flow::Continue
    }

    /// Measures on the validation split; none where a person asked for the end meanwhile, or there is no such split.
    fn evaluate(&self, cx: &Context, extent: Extent) -> Result<Option<Metrics>, TrainError>;

    /// What an exact resume must restore.
    fn state(&self) -> Result<serde_json::Value, TrainError>;
}

/// What an objective works with. Its decoder has no graph and sees every update.
pub struct Context<'a> {
    pub recipe: &'a Recipe,
    pub decoder: &'a Decoder,
    pub tokenizer: &'a Tokenizer,
    pub splits: &'a Splits,
    pub monitor: &'a dyn Monitor,
}

/// One micro-batch's part of a step.
pub struct Share {
    /// A scalar with its graph.
    pub loss: Tensor,
    /// Tokens that went through the model.
    pub tokens: u64,
}

/// A token that a step trains on, with the tokens before it.
pub struct Example {
    /// Not empty.
    pub ids: Vec<u32>,
    pub target: u32,
}

/// What a step was like, for objectives that adapt.
#[derive(Clone, Copy, Debug)]
pub struct StepStats {
    pub step: u64,
    pub loss: f64,
    pub grad_norm: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    Continue,
    /// The objective has nothing left to learn from: the run ends as finished.
    Finish,
}

/// How much of the validation split is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// This many batches, the same ones each time.
    Batches(usize),
    Whole,
}

/// Named values, such as `val/loss`.
pub type Metrics = Vec<(String, f64)>;

/// An objective as the list holds it.
pub struct Entry {
    pub name: &'static str,
    pub help: &'static str,
    pub knobs: &'static [Knob],
    pub(super) run: fn(&mut Trainer, Option<&State>) -> Result<Outcome, TrainError>,
}

impl Entry {
    const fn of<O: Objective>() -> Self {
        Self { name: O::NAME, help: O::HELP, knobs: O::KNOBS, run: drive::run::<O> }
    }
}

/// All objectives.
pub const OBJECTIVES: &[Entry] = &[Entry::of::<pretrain::Pretrain>()];

/// The objective of this name; the error lists the valid ones.
pub fn find(name: &str) -> Result<&'static Entry, TrainError> {
    OBJECTIVES.iter().find(|e| e.name == name).ok_or_else(|| {
        let names: Vec<&str> = OBJECTIVES.iter().map(|e| e.name).collect();
        TrainError::Other(format!("objective.kind: {:?} is not one of {}", crate::text::visible(name, false), names.join(", ")))
    })
}
