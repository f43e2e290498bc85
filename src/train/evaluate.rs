//! Evaluation between steps: validation loss, sample text, and answers to those who ask the model while it trains.
//! Deliberately not here: when it happens (`drive`) and what is measured (the objective).

use super::drive::{TrainError, Trainer};
use super::objective::{Context, Extent, Metrics, Objective};
use crate::report::{JobId, Level, Monitor, Report, Signal, Sink, Values};
use crate::run::checkpoint::Best;
use crate::run::read::Validation;
use crate::sample::generate::generate;
use crate::spec::{GenerateSpec, Sampler};

impl Trainer<'_> {
    /// Samples, then validation loss at the step that the model is at. Returns whether this is the best so far; none
    /// where a person asked for the end meanwhile.
    pub(super) fn evaluate<O: Objective>(&mut self, objective: &O, last: bool) -> Result<Option<bool>, TrainError> {
        self.log.flush()?;
        let batches = self.recipe.eval.batches;
        let extent = if batches == 0 { Extent::Whole } else { Extent::Batches(batches) };
        let decoder = self.decoder.detached();
        self.samples(&decoder);
        let cx =
            Context { recipe: &self.recipe, decoder: &decoder, tokenizer: &self.tokenizer, splits: &self.splits, monitor: self.monitor };
        let Some(mut metrics) = objective.evaluate(&cx, extent)? else {
            return Ok((!self.monitor.stopped()).then_some(false));
        };
        let val = value(&metrics, "val/loss");
        let mut whole = if extent == Extent::Whole { val } else { None };
        if last && whole.is_none() {
            let Some(found) = objective.evaluate(&cx, Extent::Whole)? else { return Ok(None) };
            whole = value(&found, "val/loss");
            metrics.extend(whole.map(|v| ("val/loss_whole".to_string(), v)));
        }
        self.report(Report::Values(Values { step: self.step, values: metrics }));
        self.val = whole.or(val).map(|loss| Validation { loss, step: self.step, whole: whole.is_some() });
        let better = val.is_some_and(|v| v.is_finite() && self.best.is_none_or(|b| v < b.val_loss));
        if better {
            self.best = val.map(|val_loss| Best { step: self.step, val_loss });
        }
        self.log.flush()?;
        Ok(Some(better))
    }

    /// Text as the model writes it now. The seed is the run's and the step's, so that nothing else is disturbed.
    fn samples(&mut self, decoder: &crate::model::decoder::Decoder) {
        if self.recipe.eval.sample_tokens == 0 {
            return;
        }
        for (i, prompt) in self.recipe.eval.prompts.iter().enumerate() {
            let spec = GenerateSpec {
                prompt: prompt.clone(),
                max_tokens: self.recipe.eval.sample_tokens,
                sampler: Sampler {
                    temperature: self.recipe.eval.temperature as f32,
                    seed: self.recipe.seed ^ (self.step << 8) ^ i as u64,
                    ..Sampler::default()
                },
                ..GenerateSpec::default()
            };
            if self.monitor.stopped() {
                return;
            }
            match generate(decoder, &self.tokenizer, &spec, &Quiet(self.monitor)) {
                Ok(text) => self.report(Report::Sample { step: self.step, prompt: prompt.clone(), text: text.text }),
                // A prompt that cannot be continued is no reason to lose the training.
                Err(error) => self.report(Report::note(Level::Warning, format!("no sample at step {}: {error}", self.step))),
            }
        }
    }

    /// Answers a generation with the weights as they are now; its reports and its stop are its own.
    pub(super) fn serve(&self, job: JobId, spec: &GenerateSpec) {
        let child = self.monitor.child(job);
        let end = match generate(&self.decoder.detached(), &self.tokenizer, spec, child.as_ref()) {
            Ok(done) => Report::Finished {
                stopped: done.ended == "stopped",
                summary: format!("{} tokens at step {}", done.ids.len(), self.step),
                result: done.result(),
            },
            Err(error) => Report::Failed { cause: error.to_string(), hint: "the training goes on".into(), log: None },
        };
        child.report(end);
    }
}

fn value(metrics: &Metrics, name: &str) -> Option<f64> {
    metrics.iter().find(|(n, _)| n == name).map(|(_, v)| *v)
}

/// Hears whether to stop and says nothing: the tokens of a sample are not events of the run.
struct Quiet<'a>(&'a dyn Monitor);

impl Monitor for Quiet<'_> {
    fn report(&self, _: Report) {}
    fn stopped(&self) -> bool {
        self.0.stopped()
    }
    fn safepoint(&self) -> Signal {
        Signal::Continue
    }
    fn wait(&self) -> Signal {
        Signal::Continue
    }
    fn child(&self, job: JobId) -> Box<dyn Monitor> {
        self.0.child(job)
    }
    fn attach(&self, _: Box<dyn Sink>) {}
}
