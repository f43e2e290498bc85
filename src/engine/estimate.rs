//! What a recipe would need before it is started: parameters, memory, steps, time. The recipe form and
//! `train --dry-run` both ask here. Deliberately not here: any promise; the time is a formula, scaled by one measured
//! product of matrices.

mod corpus;
mod evaluation;

use std::fmt;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use self::corpus::Corpus;
use self::evaluation::Evaluations;
use super::catalog;
use crate::model::config::Config;
use crate::model::memory::{self, Training};
use crate::recipe::Recipe;
use crate::train::lanes;

/// The program itself with its threads, its tokenizer and its tokens.
const PROGRAM_BYTES: u64 = 40 << 20;
/// What the process holds for each byte in use: the allocator keeps some of what was given back.
const ALLOCATED: f64 = 1.15;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub parameters: u64,
    /// Of the whole process, at its peak.
    pub memory_bytes: u64,
    /// What programs can still have of the machine's memory; none where it does not say.
    pub free_bytes: Option<u64>,
    /// Tokens of the training text; none where no text is named.
    pub train_tokens: Option<u64>,
    /// Tokens that one step trains on.
    pub tokens_per_step: u64,
    pub steps: u64,
    /// While it trains.
    pub tokens_per_s: f64,
    /// Of the whole run, its evaluations among it.
    pub seconds: f64,
    pub evaluations: u64,
    /// What the evaluations take of the time: validation and samples.
    pub eval_seconds: f64,
    /// Tokens that the tokenizer would have (counted or guessed).
    pub vocab: usize,
}

impl Estimate {
    /// How long the evaluations take, in words, where that is a large part of the run; none where it is not.
    pub fn evaluating(&self) -> Option<String> {
        (self.eval_seconds >= LARGE_PART * self.seconds).then(|| duration(self.eval_seconds))
    }

    /// What speaks against starting, in a sentence; none where nothing does.
    pub fn warning(&self) -> Option<String> {
        let free = self.free_bytes.filter(|free| self.memory_bytes > *free)?;
        Some(format!(
            "it needs about {} of memory and {} are free: lower optim.batch, model.context or model.width, or close other programs",
            bytes(self.memory_bytes),
            bytes(free)
        ))
    }
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.steps == 1 { "" } else { "s" };
        write!(
            f,
            "{} parameters, about {} of memory, {} step{plural} of {} tokens in about {}",
            grouped(self.parameters),
            bytes(self.memory_bytes),
            grouped(self.steps),
            grouped(self.tokens_per_step),
            duration(self.seconds)
        )?;
        match self.evaluating() {
            Some(time) => write!(f, ", of which evaluations take {time}"),
            None => Ok(()),
        }
    }
}

/// Estimates, and remembers how fast this machine was found to be and what the last text came to.
#[derive(Default)]
pub struct Estimator {
    flops_per_s: Option<f64>,
    corpus: Option<(String, Corpus)>,
}

impl Estimator {
    /// What the recipe would need; its relative paths start at `base`.
    pub fn estimate(&mut self, recipe: &str, base: &Path) -> Result<Estimate, String> {
        let knobs = catalog::objective_knobs(recipe)?;
        let recipe = Recipe::parse(recipe, "recipe", knobs).map_err(|e| e.to_string())?;
        let init = match &recipe.model.init {
            Some(init) => Some(super::models::resolve(base, init).map_err(|f| f.cause)?),
            None => None,
        };
        let corpus = self.corpus(&recipe, base, init.as_deref())?;
        let mut config = match &init {
            Some(dir) => crate::model::hf::load_config(dir).map_err(|e| e.to_string())?,
            None => Config::from_recipe(&recipe.model, corpus.vocab, None).map_err(|e| e.to_string())?,
        };
        config.dropout = recipe.model.dropout;
        let optim = &recipe.optim;
        let (context, short) = (config.context as u64, corpus.tokens.filter(|tokens| corpus.whole && *tokens <= config.context as u64));
        if let Some(tokens) = short {
            return Err(format!(
                "the training text's {} tokens are fewer than one window of {} (model.context and one); add text or lower model.context",
                grouped(tokens),
                grouped(context + 1)
            ));
        }
        let micro = (optim.batch as u64).saturating_mul(context);
        let tokens_per_step = micro.saturating_mul(optim.accumulate as u64);
        let steps = optim.epochs.map_or(optim.steps as u64, |epochs| {
            ((corpus.tokens.unwrap_or(0) as f64 * epochs / tokens_per_step as f64).ceil() as u64).max(1)
        });
        let moments = match optim.kind.as_str() {
            "adamw" => 2,
            _ => u64::from(optim.momentum > 0.0),
        };
        let micro_flops = config.flops_per_token() * (optim.batch * config.context) as f64;
        let lanes = lanes::count(lanes::threads(), optim.batch, micro_flops) as u64;
        let training =
            Training { batch: optim.batch, accumulates: optim.accumulate > 1, moments, recompute: recipe.model.recompute, lanes };
        let flops = self.flops_per_s()?;
        let a_step = cost(&config, micro, optim.accumulate, recipe.model.recompute) / flops;
        let evaluations = Evaluations::of(&recipe, &config, steps, corpus.val_tokens);
        let eval_seconds = evaluations.cost(&config) / flops;
        Ok(Estimate {
            parameters: config.parameters(),
            memory_bytes: ((config.training_bytes(training) as f64 * ALLOCATED) as u64).saturating_add(PROGRAM_BYTES),
            free_bytes: memory::available(),
            train_tokens: corpus.tokens,
            tokens_per_step,
            steps,
            tokens_per_s: tokens_per_step as f64 / a_step,
            seconds: steps as f64 * a_step + eval_seconds,
            evaluations: evaluations.times,
            eval_seconds,
            vocab: corpus.vocab,
        })
    }

    /// The text is read anew where what reads it, or its length, has changed.
    fn corpus(&mut self, recipe: &Recipe, base: &Path, init: Option<&Path>) -> Result<Corpus, String> {
        let lengths: Vec<_> = (recipe.data.train.iter().chain(&recipe.data.val))
            .map(|entry| std::fs::metadata(base.join(entry)).map(|m| (m.len(), m.modified().ok())).ok())
            .collect();
        let key = format!("{:?} {:?} {base:?} {init:?} {lengths:?}", recipe.data, recipe.tokenizer);
        match &self.corpus {
            Some((known, corpus)) if *known == key => Ok(*corpus),
            _ => {
                let corpus = Corpus::read(recipe, base, init).map_err(|e| e.to_string())?;
                self.corpus = Some((key, corpus));
                Ok(corpus)
            }
        }
    }

    /// Floating-point operations a second in a matrix product of a training's size; measured once, in some 30 ms.
    pub fn flops_per_s(&mut self) -> Result<f64, String> {
        if let Some(found) = self.flops_per_s {
            return Ok(found);
        }
        let n = 512;
        let product = || -> candle_core::Result<f64> {
            let a = Tensor::ones((n, n), DType::F32, &Device::Cpu)?;
            a.matmul(&a)?;
            // The fastest of several: what else the machine does just now says nothing of a run that takes minutes.
            let mut fastest = f64::INFINITY;
            for _ in 0..12 {
                let start = Instant::now();
                a.matmul(&a)?;
                fastest = fastest.min(start.elapsed().as_secs_f64());
            }
            Ok(2.0 * (n as f64).powi(3) / fastest.max(1e-9))
        };
        let found = product().map_err(|e| e.to_string())?;
        self.flops_per_s = Some(found);
        Ok(found)
    }
}

/// Evaluations that take this share of the time are spoken of.
const LARGE_PART: f64 = 0.2;

/// What a step of `accumulate` micro-batches of `micro` tokens costs, in operations of a large product of matrices.
fn cost(config: &Config, micro: u64, accumulate: usize, recompute: bool) -> f64 {
    // One forward pass more: a third of forward and backward.
    let passes = if recompute { 4.0 / 3.0 } else { 1.0 };
    let products = config.flops_per_token() / EFFICIENCY * passes;
    let moved = config.kept_per_token(false) as f64 * A_NUMBER * passes;
    let micro = micro as f64 * (products + moved) + config.layers as f64 * A_LAYER;
    micro * accumulate as f64 + config.parameters() as f64 * A_WEIGHT
}

/// The share of a large product's speed that a step's products reach: they are smaller.
const EFFICIENCY: f64 = 0.85;
/// What it costs to make, read and differentiate one kept number, in operations of a large product.
const A_NUMBER: f64 = 120.0;
/// What a layer costs whatever its size: starting some forty operations on all threads.
const A_LAYER: f64 = 2e7;
/// What an optimizer's update of a weight costs, with its part of the gradient's norm.
const A_WEIGHT: f64 = 300.0;

fn grouped(n: u64) -> String {
    crate::data::thousands(n)
}

/// `412 MB`, by powers of 1000.
fn bytes(n: u64) -> String {
    let n = n as f64;
    if n < 1e9 { format!("{:.0} MB", (n / 1e6).max(1.0)) } else { format!("{:.1} GB", n / 1e9) }
}

/// `45 s`, `3 m 20 s`, `2 h 05 m`, `3 d 04 h`.
fn duration(seconds: f64) -> String {
    let s = seconds.max(1.0).round() as u64;
    match s {
        0..60 => format!("{s} s"),
        60..3_600 => format!("{} m {:02} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {:02} m", s / 3_600, s / 60 % 60),
        _ => format!("{} d {:02} h", s / 86_400, s / 3_600 % 24),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_read_well_and_little_memory_is_told() {
        let mut estimate = Estimate {
            parameters: 1_000_000,
            memory_bytes: 412_000_000,
            free_bytes: Some(8_000_000_000),
            train_tokens: Some(5),
            tokens_per_step: 1024,
            steps: 1,
            tokens_per_s: 5.12,
            seconds: 200.0,
            evaluations: 2,
            eval_seconds: 30.0,
            vocab: 65,
        };
        assert_eq!(estimate.to_string(), "1,000,000 parameters, about 412 MB of memory, 1 step of 1,024 tokens in about 3 m 20 s");
        assert_eq!(estimate.warning(), None);
        (estimate.memory_bytes, estimate.seconds) = (9_400_000_000, 7_500.0);
        assert!(estimate.to_string().ends_with("2 h 05 m"), "{estimate}");
        estimate.eval_seconds = 2_400.0;
        assert!(estimate.to_string().ends_with("in about 2 h 05 m, of which evaluations take 40 m 00 s"), "{estimate}");
        assert!(estimate.warning().unwrap().starts_with("it needs about 9.4 GB of memory and 8.0 GB are free"));
    }
}
