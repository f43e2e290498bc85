//! The `score` job: how well a model has learned the built-in sample.
//! Deliberately not here: what is asked of it (`data::sample::score`).

use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{Cx, Done, Fault, JobKind, Lane, params};
use crate::data::sample::score::{Sample, Subject, score};
use crate::data::tokenizer::Tokenizer;
use crate::engine::device;
use crate::engine::models::Loaded;
use crate::report::{Monitor, Report, Silent};
use crate::sample::generate::{generate, next_probabilities};
use crate::spec::{GenerateSpec, Sampler};

pub const JOB: JobKind =
    JobKind { name: "score", help: "Scores a model by the built-in sample.", lane: Lane::Main, pausable: false, check, run };

/// Parameters of the job.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ScoreSpec {
    pub model: String,
    pub samples: usize,
    pub tokens: usize,
    pub temperature: f64,
}

impl ScoreSpec {
    /// What is wrong with settings that no model can be asked with, by the options that gave them.
    pub fn problem(&self) -> Option<String> {
        let counts = [("samples", self.samples), ("tokens", self.tokens)];
        let count = counts.iter().find(|(_, n)| !(1..=10_000).contains(n));
        let temperature = || format!("--temperature {} is out of range; it is 0 to 100", self.temperature);
        (count.map(|(name, n)| format!("--{name} {n} is out of range; it is 1 to 10000")))
            .or_else(|| (!(0.0..=100.0).contains(&self.temperature)).then(temperature))
    }
}

fn check(value: &Value, _: &Path) -> Result<String, String> {
    let spec: ScoreSpec = params(value)?;
    spec.problem().map_or(Ok(()), Err)?;
    Ok(format!("score {}", crate::text::visible(&spec.model, false)))
}

fn run(cx: &Cx) -> Result<Done, Fault> {
    let spec: ScoreSpec = cx.params()?;
    let model = cx.models.get(cx.project, &spec.model, &device::choose(None)?)?;
    let mut subject = Measured { model, monitor: cx.monitor, done: 0, total: spec.samples as u64 };
    let score = match score(&mut subject, spec.samples, spec.tokens, spec.temperature, None) {
        Err(_) if cx.monitor.stopped() => return Ok(Done::new(true, "stopped")),
        other => other.map_err(|cause| Fault::new(super::one_line(&cause), ""))?,
    };
    let facts = json!({
        "samples": score.samples, "parsed": score.parsed, "new": score.new, "passed": score.passed(), "seats": score.seats,
        "seats_right": score.seats_right(), "francisco": score.francisco, "queen": score.queen, "failures": score.failures,
    });
    if let Value::Object(facts) = facts {
        cx.monitor.report(Report::Facts(facts.into_iter().collect()));
    }
    Ok(Done::new(false, score.to_string()))
}

/// A loaded model as the score meets it.
struct Measured<'a> {
    model: Arc<Loaded>,
    monitor: &'a dyn Monitor,
    done: u64,
    total: u64,
}

impl Measured<'_> {
    fn tokenizer(&self) -> &Tokenizer {
        &self.model.tokenizer
    }
}

impl Subject for Measured<'_> {
    fn sample(&mut self, seed: u64, tokens: usize, temperature: f64) -> Result<Sample, String> {
        if self.monitor.stopped() {
            return Err("stopped".into());
        }
        // An empty prompt is the beginning of a document.
        let sampler = Sampler { temperature: temperature as f32, seed, ..Sampler::default() };
        let spec = GenerateSpec { max_tokens: tokens, sampler, ..GenerateSpec::default() };
        let made = generate(&self.model.decoder, self.tokenizer(), &spec, &Silent).map_err(|e| e.to_string())?;
        self.done += 1;
        let (done, total) = (self.done, Some(self.total));
        self.monitor.report(Report::Progress { what: "score".into(), done, total, unit: "texts".into() });
        Ok(Sample { text: made.text, ended: made.ended == "end" })
    }

    fn next(&mut self, prompt: &str, count: usize) -> Result<Vec<(String, f64)>, String> {
        let probabilities = next_probabilities(&self.model.decoder, self.tokenizer(), prompt).map_err(|e| e.to_string())?;
        let mut order: Vec<usize> = (0..probabilities.len()).collect();
        order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
        let text = |id: usize| String::from_utf8_lossy(&self.tokenizer().token_bytes(id as u32)).into_owned();
        Ok(order.into_iter().take(count).map(|id| (text(id), f64::from(probabilities[id]))).collect())
    }

    fn log_probability(&mut self, prompt: &str, continuation: &str) -> Result<f64, String> {
        let ids = |text: &str| self.tokenizer().encode(text, true).map_err(|e| e.to_string());
        let (before, all) = (ids(prompt)?, ids(&format!("{prompt}{continuation}"))?);
        if !all.starts_with(&before) {
            return Err(format!("the tokenizer cuts {prompt:?} otherwise when {continuation:?} follows"));
        }
        // Token by token, so that what the model is asked is exactly what it is asked when it generates.
        let mut text = prompt.to_string();
        let mut sum = 0.0;
        for id in &all[before.len()..] {
            let probabilities = next_probabilities(&self.model.decoder, self.tokenizer(), &text).map_err(|e| e.to_string())?;
            sum += f64::from(probabilities.get(*id as usize).copied().unwrap_or(0.0)).max(1e-300).ln();
            text.push_str(&String::from_utf8_lossy(&self.tokenizer().token_bytes(*id)));
        }
        Ok(sum)
    }

    fn embedding(&mut self, word: &str) -> Option<Vec<f32>> {
        let ids = self.tokenizer().encode(&format!(" {word}"), false).ok()?;
        let [id] = ids[..] else { return None };
        self.model.decoder.vector_of(id).ok()
    }
}
