//! One token through one step, for a person who takes steps one at a time: what the model gave it before, what one
//! weight was told, and what both are afterwards. Deliberately not here: when a step is single (`drive`); nothing of
//! this runs while training goes on, and nothing of it touches a stream of random numbers or a weight.

use candle_core::{DType, Tensor};

use super::objective::Example;
use crate::data::tokenizer::Tokenizer;
use crate::model::decoder::Decoder;
use crate::model::params::Kind;
use crate::report::{Followed, Report};
use crate::sample::probabilities_after;

/// Tokens before the followed one that are told.
const TOLD: usize = 12;

/// What is known before the update.
pub(super) struct Following {
    ids: Vec<u32>,
    target: u32,
    /// (parameter, row, column) of the weight that is followed.
    place: (usize, usize, usize),
    told: Followed,
}

impl Following {
    /// Looks at the step that is about to be taken; none where there is no such token, or no weight of its own.
    pub fn begin(decoder: &Decoder, tokenizer: &Tokenizer, example: Example, grads: &[Tensor]) -> Option<Self> {
        let Example { ids, target } = example;
        let chances = probabilities_after(decoder, &ids).ok()?;
        let (guess, _) = chances.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
        let probability = f64::from(*chances.get(target as usize)?);
        // The row of the output matrix that speaks for this token, and in it the weight that is blamed the most.
        let params = decoder.params();
        let param = params.iter().position(|p| p.name.ends_with("lm_head.weight"));
        let param = param.or_else(|| params.iter().position(|p| p.kind == Kind::Embedding))?;
        let blame: Vec<f64> = numbers(&grads.get(param)?.get(target as usize).ok()?)?;
        let (column, gradient) = blame.into_iter().enumerate().max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()))?;
        let place = (param, target as usize, column);
        let text = |ids: &[u32]| tokenizer.decode(ids, false);
        let told = Followed {
            before: text(&ids[ids.len().saturating_sub(TOLD)..]),
            target: text(&[target]),
            guess: text(&[guess as u32]),
            guess_probability: f64::from(chances[guess]),
            probability,
            loss: -probability.ln(),
            weight: format!("{}[{target}, {column}]", short(&params[param].name)),
            gradient,
            value: weight(decoder, place)?,
            ..Followed::default()
        };
        Some(Self { ids, target, place, told })
    }

    /// What the update made of it, as a report.
    pub fn end(self, decoder: &Decoder, step: u64, lr: f64, scale: f64) -> Option<Report> {
        let mut told = self.told;
        let chances = probabilities_after(decoder, &self.ids).ok()?;
        told.step = step;
        told.probability_after = f64::from(*chances.get(self.target as usize)?);
        told.value_after = weight(decoder, self.place)?;
        (told.lr, told.clip) = (lr, scale);
        let value = serde_json::to_value(told).ok()?;
        Some(Report::Facts([(Followed::FACT.to_string(), value)].into()))
    }
}

/// A parameter's name without what all of them have.
fn short(name: &str) -> &str {
    let name = ["model.", "transformer."].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    name.strip_suffix(".weight").unwrap_or(name)
}

fn weight(decoder: &Decoder, (param, row, column): (usize, usize, usize)) -> Option<f64> {
    let row = decoder.params().get(param)?.var.as_tensor().get(row).ok()?;
    numbers(&row)?.get(column).copied()
}

fn numbers(tensor: &Tensor) -> Option<Vec<f64>> {
    tensor.to_dtype(DType::F64).ok()?.to_vec1().ok()
}
