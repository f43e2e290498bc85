//! What a recipe would need before it is started: parameters, memory, time.
//! Deliberately not here: any promise; the time is a guess from one measured matrix product.

use std::fmt;
use std::io::Read;
use std::path::Path;
use std::time::Instant;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use super::catalog;
use crate::data::source;
use crate::data::tokenizer::Tokenizer;
use crate::model::config::Config;
use crate::recipe::Recipe;

/// Share of a large matrix product's speed that a whole training step reaches at a large width.
const EFFICIENCY: f64 = 0.55;
/// Below a few hundred numbers a token, the time goes into memory rather than into products.
const WIDTH_AT_HALF: f64 = 160.0;
/// Of a text, so much is read to count its characters.
const SAMPLED: u64 = 4 << 20;

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    pub parameters: u64,
    pub memory_bytes: u64,
    /// Tokens that one step trains on.
    pub tokens_per_step: u64,
    pub steps: u64,
    pub tokens_per_s: f64,
    pub seconds: f64,
    /// Tokens that the tokenizer would have (counted or guessed).
    pub vocab: usize,
}

impl fmt::Display for Estimate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let megabytes = self.memory_bytes as f64 / 1e6;
        let parameters = self.parameters as f64 / 1e6;
        write!(f, "{parameters:.2} M parameters, about {megabytes:.0} MB, {} steps in about {:.0} s", self.steps, self.seconds)
    }
}

/// Estimates, and remembers how fast this machine was found to be.
#[derive(Default)]
pub struct Estimator {
    flops_per_s: Option<f64>,
}

impl Estimator {
    /// What the recipe would need; its relative paths start at `base`.
    pub fn estimate(&mut self, recipe: &str, base: &Path) -> Result<Estimate, String> {
        let knobs = catalog::objective_knobs(recipe)?;
        let recipe = Recipe::parse(recipe, "recipe", knobs).map_err(|e| e.to_string())?;
        let (vocab, bytes, bytes_per_token) = text_facts(&recipe, base);
        let config = match &recipe.model.init {
            Some(init) => {
                let dir = super::models::resolve(base, init).map_err(|f| f.cause)?;
                crate::model::hf::load_config(&dir).map_err(|e| e.to_string())?
            }
            None => Config::from_recipe(&recipe.model, vocab, None).map_err(|e| e.to_string())?,
        };
        let optim = &recipe.optim;
        let tokens_per_step = (optim.batch * optim.accumulate * config.context) as u64;
        let steps = optim.epochs.map_or(optim.steps as u64, |epochs| {
            let tokens = bytes as f64 / bytes_per_token * (1.0 - recipe.data.val_fraction);
            ((tokens * epochs / tokens_per_step as f64).ceil() as u64).max(1)
        });
        let share = EFFICIENCY * config.width as f64 / (config.width as f64 + WIDTH_AT_HALF);
        let tokens_per_s = self.flops_per_s()? * share / config.flops_per_token();
        Ok(Estimate {
            parameters: config.parameters(),
            memory_bytes: config.training_bytes(optim.batch),
            tokens_per_step,
            steps,
            tokens_per_s,
            seconds: steps as f64 * tokens_per_step as f64 / tokens_per_s,
            vocab,
        })
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
            let start = Instant::now();
            for _ in 0..8 {
                a.matmul(&a)?;
            }
            Ok(8.0 * 2.0 * (n as f64).powi(3) / start.elapsed().as_secs_f64().max(1e-9))
        };
        let found = product().map_err(|e| e.to_string())?;
        self.flops_per_s = Some(found);
        Ok(found)
    }
}

/// Vocabulary, bytes of text, and bytes a token: counted where that is quick, else guessed.
fn text_facts(recipe: &Recipe, base: &Path) -> (usize, u64, f64) {
    let sources = source::expand(&recipe.data.train, &recipe.data.field, base).unwrap_or_default();
    let paths: Vec<&Path> = sources.iter().filter_map(|s| s.path.as_deref()).collect();
    let bytes = paths.iter().filter_map(|p| std::fs::metadata(p).ok()).map(|m| m.len()).sum();
    let t = &recipe.tokenizer;
    if let Some(path) = &t.path {
        let vocab = Tokenizer::load(&base.join(path)).map_or(32_000, |t| t.vocab_size());
        return (vocab, bytes, 4.0);
    }
    match t.kind.as_str() {
        "bpe" => (t.vocab, bytes, 1.0 + (t.vocab as f64 / 256.0).log2().clamp(0.0, 8.0) * 0.45),
        "byte" => (257, bytes, 1.0),
        _ => (characters(&paths), bytes, 1.0),
    }
}

/// Distinct characters in the beginnings of the files; about a hundred where nothing can be read.
fn characters(paths: &[&Path]) -> usize {
    let mut seen = std::collections::HashSet::new();
    for path in paths {
        let mut start = Vec::new();
        if let Ok(file) = std::fs::File::open(path) {
            let _ = file.take(SAMPLED).read_to_end(&mut start);
        }
        seen.extend(String::from_utf8_lossy(&start).chars());
    }
    if seen.is_empty() { 96 } else { seen.len() }
}
