//! What came of an evaluation: of an item, of a task, of a model. Plain data, as the files hold it.
//! Deliberately not here: files (`store`), and text for people (`render`).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::stats::{self, Interval};
use super::task::Prepared;
use super::tasks::{How, Measure, TaskKind};

/// Version of the files.
pub const SCHEMA: u32 = 1;
/// Grows when a change of this program grades or asks otherwise, so that older results are not taken for new ones.
pub const GRADING: u32 = 1;

/// How an item stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    #[default]
    Graded,
    /// Nothing could be read out of the answer: it scores 0, and is counted apart from wrong answers.
    Unparsed,
    /// It does not fit into the model's context, or its answer did not: not graded.
    TooLong,
    /// It could not be asked or graded: not graded.
    Failed,
}

impl Status {
    /// Whether it counts in the score.
    pub fn counts(self) -> bool {
        matches!(self, Self::Graded | Self::Unparsed)
    }
}

/// One line of `items.jsonl`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ItemResult {
    pub task: String,
    pub id: String,
    /// Of model, task, item and sampler: with the same key the result is the same.
    pub key: String,
    /// The hash of the item's content.
    pub item: String,
    pub place: String,
    pub status: Status,
    /// The measure that is the task's score.
    pub score: Option<f64>,
    pub measures: BTreeMap<String, f64>,
    pub prompt: String,
    pub outputs: Vec<Output>,
    pub expected: String,
    /// What was read out of the answer.
    pub extracted: Option<String>,
    pub reason: String,
    /// Scores of the samples, where there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
}

/// A text that was generated, or one whose likelihood was asked for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Output {
    pub text: String,
    /// Exact ids, their texts as people read them, ln p of each under the model's own distribution.
    pub ids: Vec<u32>,
    pub tokens: Vec<String>,
    pub log_probs: Vec<f32>,
    /// Why generation ended; empty of a likelihood.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub ended: String,
    /// Whether it is a right choice.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub right: bool,
}

/// A figure with where the true one lies.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    pub value: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

/// What came of one task.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TaskReport {
    pub name: String,
    pub about: String,
    pub kind: String,
    pub hash: String,
    /// The measure that is the score.
    pub metric: String,
    pub higher_is_better: bool,
    /// None while no item is graded.
    pub score: Option<f64>,
    pub interval: Option<Interval>,
    /// Half of the interval that is to be expected when all items are done.
    pub expected_half_width: Option<f64>,
    /// The smallest difference to another model that this many items show in 8 of 10 cases, where one in five items differs.
    pub detectable: Option<f64>,
    /// Items that count, of how many.
    pub n: usize,
    pub total: usize,
    pub unparsed: usize,
    pub too_long: usize,
    pub failed: usize,
    /// Items taken over from earlier evaluations.
    pub cached: usize,
    pub measures: BTreeMap<String, Figure>,
    /// Of the items that were asked now.
    pub seconds: f64,
    pub items_per_s: f64,
    /// Tokens of answers, generated or weighed.
    pub tokens: u64,
    pub shots: usize,
    pub chat: bool,
    pub samples: usize,
    pub seed: u64,
    pub judge: String,
    pub notes: Vec<String>,
    /// Whether all items are done.
    pub complete: bool,
}

/// `report.json`: one model on several tasks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Report {
    pub schema: u32,
    pub program: String,
    pub model: String,
    /// Of the weights, so that a rewritten file is another model.
    pub model_hash: String,
    pub device: String,
    pub parameters: Option<u64>,
    pub bytes: Option<u64>,
    pub context: Option<usize>,
    pub started_ms: u64,
    pub finished_ms: Option<u64>,
    pub seconds: f64,
    pub complete: bool,
    pub tasks: Vec<TaskReport>,
    /// Of the recipe that the model came from, where it is a run.
    pub recipe_hash: Option<String>,
    /// The command line that gives the same.
    pub again: String,
}

/// How a task stands after these results.
pub fn summarise(prepared: &Prepared, results: &[ItemResult], cached: usize, seconds: f64) -> TaskReport {
    let task = &prepared.task;
    let main = main_measure(prepared.kind, &task.metric);
    let counting: Vec<&ItemResult> = results.iter().filter(|r| r.status.counts()).collect();
    let count = |status: Status| results.iter().filter(|r| r.status == status).count();
    let measures: BTreeMap<String, Figure> =
        prepared.kind.measures.iter().filter_map(|m| Some((m.name.to_owned(), figure(m, &counting, task.seed)?))).collect();
    let main_figure = measures.get(main.name).cloned();
    let total = prepared.items.len();
    let (score, interval) = main_figure.map_or((None, None), |f| (Some(f.value), f.interval));
    let binary = matches!(main.how, How::Mean) && counting.iter().all(|r| matches!(r.score, Some(s) if s == 0.0 || s == 1.0));
    let expected = interval.as_ref().map(|i| match (score, i.method.as_str()) {
        (Some(p), "wilson") => stats::wilson(p * total as f64, total).half_width(),
        _ => i.half_width() * (counting.len() as f64 / total.max(1) as f64).sqrt(),
    });
    let asked = results.len().saturating_sub(cached);
    TaskReport {
        name: task.name.clone(),
        about: task.about.clone(),
        kind: task.kind.clone(),
        hash: prepared.hash.clone(),
        metric: main.name.into(),
        higher_is_better: main.higher_is_better,
        score,
        interval,
        expected_half_width: expected,
        detectable: (binary && !counting.is_empty()).then(|| stats::detectable_binary(counting.len(), counting.len().div_ceil(5))),
        n: counting.len(),
        total,
        unparsed: count(Status::Unparsed),
        too_long: count(Status::TooLong),
        failed: count(Status::Failed),
        cached,
        measures,
        seconds,
        items_per_s: if seconds > 0.0 { asked as f64 / seconds } else { 0.0 },
        tokens: results.iter().flat_map(|r| &r.outputs).map(|o| o.log_probs.len() as u64).sum(),
        shots: task.shots,
        chat: task.chat,
        samples: task.samples,
        seed: task.seed,
        judge: task.judge.clone(),
        notes: prepared.notes.clone(),
        complete: results.len() >= total,
    }
}

/// The measure that is a task's score.
pub fn main_measure(kind: &'static TaskKind, metric: &str) -> &'static Measure {
    kind.measures.iter().find(|m| m.name == metric).unwrap_or(&kind.measures[0])
}

fn figure(measure: &Measure, results: &[&ItemResult], seed: u64) -> Option<Figure> {
    match measure.how {
        How::Mean => {
            let found: Vec<(&ItemResult, f64)> = results.iter().filter_map(|r| Some((*r, *r.measures.get(measure.name)?))).collect();
            let values: Vec<f64> = found.iter().map(|(_, v)| *v).collect();
            if values.is_empty() {
                return None;
            }
            Some(Figure { value: stats::mean(&values), interval: mean_interval(&values, &found, seed) })
        }
        How::Ratio { over, under, shown } => {
            let pair = |r: &&ItemResult| Some((*r.measures.get(over)?, *r.measures.get(under)?));
            let pairs: Vec<(f64, f64)> = results.iter().filter_map(pair).collect();
            let (a, b) = pairs.iter().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
            if pairs.is_empty() || b == 0.0 {
                return None;
            }
            Some(Figure { value: shown(a / b), interval: stats::ratio_bootstrap(&pairs, seed, shown) })
        }
    }
}

/// Clusters where items have them, Wilson's where each is right or wrong, else the bootstrap.
fn mean_interval(values: &[f64], found: &[(&ItemResult, f64)], seed: u64) -> Option<Interval> {
    let clusters: Vec<&str> = found.iter().filter_map(|(r, _)| r.cluster.as_deref()).collect();
    if clusters.len() == values.len() {
        return stats::clustered(values, &clusters);
    }
    if values.iter().all(|v| *v == 0.0 || *v == 1.0) {
        return Some(stats::wilson(values.iter().sum(), values.len()));
    }
    let pairs: Vec<(f64, f64)> = values.iter().map(|v| (*v, 1.0)).collect();
    stats::ratio_bootstrap(&pairs, seed, |v| v)
}
