//! A run as the screen knows it, live or from disk: what its reports add up to.
//! Deliberately not here: jobs, tickets and the order of events (`reduce`).

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;

use super::{Ended, LogLine, Progress, Series};
use crate::report::{Event, JobId, JobState, Level, Metric, Report, Values};
use crate::run::series::{Point, SeriesDir};

/// How many (time, step) pairs the pace is taken from, at most one a second.
const PACE: usize = 20;

/// A run as the screen knows it, live or from disk.
#[derive(Default)]
pub struct Run {
    pub name: String,
    /// Its job in the engine at hand; stays after the end.
    pub job: Option<JobId>,
    pub step: u64,
    pub steps: Option<u64>,
    pub recipe: String,
    pub metrics: BTreeMap<String, Metric>,
    pub series: BTreeMap<String, Series>,
    /// (step, prompt, text), oldest first.
    pub samples: Vec<(u64, String, String)>,
    pub notes: Vec<LogLine>,
    pub ended: Option<Ended>,
    /// Of its job, where it has one.
    pub state: Option<JobState>,
    /// The lowest validation loss, with its step.
    pub best: Option<(u64, f64)>,
    /// (step, directory), oldest first.
    pub checkpoints: Vec<(u64, PathBuf)>,
    pub facts: BTreeMap<String, serde_json::Value>,
    pub progress: Option<Progress>,
    /// Whether all of it is here: seen from its first event, or read from disk.
    pub opened: bool,
    /// Whether events were missed: reading it from disk again brings them.
    pub stale: bool,
    /// Whether another process is at work on it.
    pub elsewhere: bool,
    /// When the first and the newest event were made.
    pub since_ms: u64,
    pub at_ms: u64,
    /// Of the newest event folded.
    pub seq: Option<u64>,
    resumed: Option<(u64, u64)>,
    pace: VecDeque<(u64, u64)>,
}

/// How a run stands, in the order in which a list shows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Status {
    Running,
    Paused,
    Waiting,
    /// Another process is at work on it.
    Elsewhere,
    /// It ended without a word: killed, or the power went. Can be resumed.
    Interrupted,
    /// A person ended it early and it was saved. Can be resumed.
    Stopped,
    Finished,
    Failed,
}

impl Run {
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// Whether a job of the engine at hand is at work on it.
    pub fn is_live(&self) -> bool {
        self.job.is_some() && self.ended.is_none()
    }

    pub fn status(&self) -> Status {
        match (&self.ended, self.job, self.state) {
            (Some(Ended::Finished { stopped: true, .. }), ..) => Status::Stopped,
            (Some(Ended::Finished { .. }), ..) => Status::Finished,
            (Some(Ended::Failed { .. }), ..) => Status::Failed,
            (None, Some(_), Some(JobState::Paused)) => Status::Paused,
            (None, Some(_), Some(JobState::Waiting)) => Status::Waiting,
            (None, Some(_), _) => Status::Running,
            (None, None, _) if self.elsewhere => Status::Elsewhere,
            (None, None, _) => Status::Interrupted,
        }
    }

    /// Whether there is a model that one can talk to: weights in training, or saved ones (which every end but a fault makes).
    pub fn has_weights(&self) -> bool {
        let alive = self.is_live() || matches!(self.ended, Some(Ended::Finished { .. }));
        (alive && self.step > 0) || !self.checkpoints.is_empty()
    }

    /// Whether it ended by a loss or a gradient that was no number: what it saved before that is on the way there.
    pub fn diverged(&self) -> bool {
        let Some(Ended::Failed { cause, .. }) = &self.ended else { return false };
        let cause = cause.to_lowercase();
        ["nan", "not finite", "infinit"].iter().any(|sign| cause.contains(sign))
    }

    /// Whether it is worth showing to somebody who chose nothing.
    pub fn is_usable(&self) -> bool {
        self.has_weights() && !self.diverged()
    }

    /// The newest value of a metric.
    pub fn last(&self, metric: &str) -> Option<f64> {
        self.series.get(metric)?.last().map(|p| p.value)
    }

    /// Time to the last step at the pace of the last seconds; none while it cannot be told.
    pub fn eta_ms(&self) -> Option<u64> {
        let (first, last) = (self.pace.front()?, self.pace.back()?);
        let (ms, steps) = (last.0.checked_sub(first.0)?, last.1.checked_sub(first.1)?);
        if steps == 0 || ms == 0 || !self.is_live() {
            return None;
        }
        let left = self.steps?.saturating_sub(self.step);
        Some((left as f64 * ms as f64 / steps as f64) as u64)
    }

    /// The directory of the newest checkpoint.
    pub fn newest_checkpoint(&self) -> Option<&(u64, PathBuf)> {
        self.checkpoints.last()
    }

    /// Folds one report; `event.seq` was found to be in order.
    pub fn fold(&mut self, event: &Event) {
        self.at_ms = event.at_ms;
        self.seq = Some(event.seq);
        if self.since_ms == 0 {
            self.since_ms = event.at_ms;
        }
        match &event.report {
            Report::Started { .. } => self.begin(event),
            Report::Resumed { step } => self.resume(event.seq, *step),
            Report::State { state, .. } => {
                self.state = Some(*state);
                // Neither a pause nor what was logged just before its end belongs to the pace.
                self.pace.clear();
            }
            Report::Progress { what, done, total, unit } => {
                if what == "train" || unit.starts_with("step") {
                    self.steps = total.or(self.steps);
                    self.step = *done;
                }
                self.progress = Some(Progress { what: what.clone(), done: *done, total: *total, unit: unit.clone() });
            }
            Report::Metric(metric) => {
                self.metrics.insert(metric.name.clone(), metric.clone());
            }
            Report::Values(values) => self.values(values, event.at_ms),
            Report::Sample { step, prompt, text } => self.samples.push((*step, prompt.clone(), text.clone())),
            Report::Note { level, text } => self.note(event, *level, text.clone()),
            Report::Artifact { kind, path, step } => {
                if kind.contains("checkpoint") {
                    let step = step.unwrap_or(self.step);
                    self.checkpoints.retain(|(s, p)| *s != step && p != path);
                    self.checkpoints.push((step, path.clone()));
                }
            }
            Report::Facts(facts) => {
                self.facts.extend(facts.iter().map(|(k, v)| (k.clone(), v.clone())));
                if let Some(steps) = facts.get("steps").and_then(serde_json::Value::as_u64) {
                    self.steps = Some(steps);
                }
            }
            Report::Finished { stopped, summary, .. } => self.ended = Some(Ended::Finished { stopped: *stopped, summary: summary.clone() }),
            Report::Failed { cause, hint, .. } => {
                self.note(event, Level::Error, cause.clone());
                self.ended = Some(Ended::Failed { cause: cause.clone(), hint: hint.clone() });
            }
            Report::Token(_) | Report::Distribution(_) | Report::Unknown(_) => {}
        }
    }

    fn begin(&mut self, event: &Event) {
        if event.seq == 0 {
            // A run of this name begins: what was known of an earlier one is of no use.
            let (name, job, recipe) = (std::mem::take(&mut self.name), self.job, std::mem::take(&mut self.recipe));
            *self = Self { name, job, recipe, opened: true, since_ms: event.at_ms, at_ms: event.at_ms, seq: Some(0), ..Self::default() };
        }
        self.ended = None;
        self.elsewhere = false;
        self.state = Some(JobState::Running);
        self.pace.clear();
    }

    fn resume(&mut self, seq: u64, step: u64) {
        self.resumed = Some((seq, step));
        self.ended = None;
        self.step = step;
        self.pace.clear();
        self.drop_after(step);
    }

    /// Drops what was logged for later steps.
    fn drop_after(&mut self, step: u64) {
        for series in self.series.values_mut() {
            series.truncate_after(step);
        }
        self.samples.retain(|(s, ..)| *s <= step);
        self.checkpoints.retain(|(s, _)| *s <= step);
        self.best = self.series.get("val/loss").and_then(lowest);
    }

    fn values(&mut self, values: &Values, at_ms: u64) {
        self.step = self.step.max(values.step);
        for (name, value) in &values.values {
            if !self.series.contains_key(name) {
                self.series.insert(name.clone(), Series::named(name));
            }
            let Some(series) = self.series.get_mut(name) else { continue };
            if series.push(Point { step: values.step, value: *value })
                && name == "val/loss"
                && value.is_finite()
                && self.best.is_none_or(|(_, best)| *value < best)
            {
                self.best = Some((values.step, *value));
            }
        }
        if self.pace.back().is_none_or(|(at, _)| at_ms >= at + 1000) {
            self.pace.push_back((at_ms, self.step));
            if self.pace.len() > PACE {
                self.pace.pop_front();
            }
        }
    }

    fn note(&mut self, event: &Event, level: Level, text: String) {
        self.notes.push(LogLine { at_ms: event.at_ms, job: Some(event.job), level, text });
    }

    /// Puts the mapped series of the run's directory in place of what is known up to their ends.
    pub fn attach(&mut self, dir: &Arc<SeriesDir>) {
        for name in dir.names() {
            let mut series = Series::mapped(&name, dir.clone());
            let Some(last) = series.last() else { continue };
            self.step = self.step.max(last.step);
            if let Some(live) = self.series.get(&name) {
                let (old, new) = live.parts();
                for point in old.iter().chain(new).filter(|p| p.step > last.step) {
                    series.push(*point);
                }
            }
            self.series.insert(name, series);
        }
        self.best = self.series.get("val/loss").and_then(lowest);
    }

    /// Takes over what was read from disk, and keeps what came as events since.
    pub(super) fn merge(&mut self, mut disk: Self) {
        if !self.is_live() {
            disk.job = self.job;
            disk.state = self.state;
            *self = disk;
            return;
        }
        // Read before the run went back to an earlier step, the files say things of later ones that are void.
        if let Some((_, step)) = self.resumed.filter(|(seq, _)| disk.seq.is_none_or(|read| *seq > read)) {
            disk.drop_after(step);
        }
        for (name, mut series) in std::mem::take(&mut disk.series) {
            if let Some(known) = self.series.get(&name) {
                let from = series.last().map_or(0, |p| p.step + 1);
                let (old, new) = known.parts();
                for point in old.iter().chain(new).filter(|p| p.step >= from) {
                    series.push(*point);
                }
            }
            self.series.insert(name, series);
        }
        let known = std::mem::take(&mut self.samples);
        self.samples = disk.samples;
        let new: Vec<_> = known.into_iter().filter(|s| !self.samples.contains(s)).collect();
        self.samples.extend(new);
        let known = std::mem::take(&mut self.notes);
        self.notes = disk.notes;
        let new: Vec<_> = known.into_iter().filter(|n| !self.notes.iter().any(|d| d.at_ms == n.at_ms && d.text == n.text)).collect();
        self.notes.extend(new);
        if !disk.recipe.is_empty() {
            self.recipe = disk.recipe;
        }
        for (name, metric) in disk.metrics {
            self.metrics.entry(name).or_insert(metric);
        }
        for (key, value) in disk.facts {
            self.facts.entry(key).or_insert(value);
        }
        self.steps = self.steps.or(disk.steps);
        for checkpoint in disk.checkpoints {
            if !self.checkpoints.iter().any(|(s, _)| *s == checkpoint.0) {
                self.checkpoints.push(checkpoint);
            }
        }
        self.checkpoints.sort();
        self.best = self.series.get("val/loss").and_then(lowest);
        self.opened = true;
        self.stale = false;
    }
}

/// The lowest finite value, the earliest where there are several.
fn lowest(series: &Series) -> Option<(u64, f64)> {
    let (mapped, live) = series.parts();
    let finite = mapped.iter().chain(live).filter(|p| p.value.is_finite());
    finite.min_by(|a, b| a.value.total_cmp(&b.value)).map(|p| (p.step, p.value))
}
