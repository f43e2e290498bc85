//! What the evaluations of a run come to: how many there are, what they read of the validation text, and what they write.
//! They dominate short runs. Deliberately not here: evaluating (`train::evaluate`), whose habits these are.

use super::{A_LAYER, A_NUMBER, EFFICIENCY};
use crate::model::config::Config;
use crate::recipe::Recipe;
use crate::train::objective::pretrain::eval_batch;

/// The share of a step's work with a token that its forward pass is.
const FORWARD: f64 = 1.0 / 3.0;
/// What a weight costs where one token is written at a time, in operations of a large product: it is read from memory
/// for that token alone.
const A_READ: f64 = 25.0;
/// The share of a layer's own cost in a step that it has where one token is written: less is shared out to threads.
const A_LAYER_READ: f64 = 0.05;

/// All evaluations of a run together.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Evaluations {
    pub times: u64,
    /// Tokens of the validation text that are read, the last time of all of it included.
    pub read: u64,
    /// Forward passes in which they are read.
    pub passes: u64,
    /// Tokens of the samples.
    pub written: u64,
}

impl Evaluations {
    /// Of a run of so many steps, with a validation text of so many tokens.
    pub fn of(recipe: &Recipe, config: &Config, steps: u64, val_tokens: u64) -> Self {
        let (eval, batch) = (&recipe.eval, recipe.optim.batch);
        let context = config.context as u64;
        // Before the first step, at every multiple, and at the end.
        let every = eval.every as u64;
        let times = steps.checked_div(every).map_or(1, |times| 1 + times + u64::from(!steps.is_multiple_of(every)));
        let part = (eval.batches as u64).saturating_mul(batch as u64).saturating_mul(context);
        let read = match eval.batches {
            0 => times.saturating_mul(val_tokens),
            // The last one reads all of it beside its part.
            _ => times.saturating_mul(part).saturating_add(val_tokens),
        };
        let a_pass = (eval_batch(batch, config.context) as u64).saturating_mul(context).max(1);
        let written = times.saturating_mul(eval.prompts.len() as u64).saturating_mul(eval.sample_tokens as u64);
        Self { times, read, passes: read.div_ceil(a_pass), written }
    }

    /// What they cost, in operations of a large product of matrices.
    pub fn cost(&self, config: &Config) -> f64 {
        let a_token = config.flops_per_token() / EFFICIENCY + config.kept_per_token(false) as f64 * A_NUMBER;
        let layers = config.layers as f64 * A_LAYER;
        let reading = FORWARD * (self.read as f64 * a_token + self.passes as f64 * layers);
        reading + self.written as f64 * (config.parameters() as f64 * A_READ + layers * A_LAYER_READ)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(toml: &str, steps: u64, val: u64) -> Evaluations {
        let recipe = Recipe::parse(toml, "recipe", &[]).unwrap();
        Evaluations::of(&recipe, &Config::from_recipe(&recipe.model, 65, None).unwrap(), steps, val)
    }

    #[test]
    fn they_are_counted_as_a_training_does_them() {
        let eval =
            |keys: &str| format!("[model]\ncontext = 64\n[optim]\nbatch = 4\n[eval]\nprompts = [\"a\", \"b\"]\nsample_tokens = 10\n{keys}");
        // At 0, 10 and 20, which is the end; 3 batches of 4 windows of 64 each, then all of 5,000; 32 windows a pass.
        let found = of(&eval("every = 10\nbatches = 3\n"), 20, 5_000);
        assert_eq!(found, Evaluations { times: 3, read: 3 * 768 + 5_000, passes: 4, written: 60 });
        // The end is no multiple.
        assert_eq!(of(&eval("every = 10\nbatches = 3\n"), 21, 5_000).times, 4);
        assert_eq!(of(&eval("every = 0\nbatches = 3\n"), 21, 5_000).read, 768 + 5_000);
        // All of the text each time.
        assert_eq!(of(&eval("every = 10\nbatches = 0\n"), 20, 5_000).read, 3 * 5_000);
        let none = "[eval]\nevery = 0\nbatches = 0\nsample_tokens = 0\n";
        assert_eq!((of(none, 20, 0).read, of(none, 20, 0).written), (0, 0));
    }
}
