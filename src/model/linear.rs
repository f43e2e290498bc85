//! A linear layer: every weight product of the decoder goes through here.
//! Deliberately not here: the head's product with the loss, which never holds all logits (`ops`).

use super::ops::{self, Graph};
use candle_core::{Result, Tensor};

/// A weight with its bias, in the layout in which the family stores it.
#[derive(Clone, Debug)]
pub struct Linear {
    /// (out, in), or (in, out) where `transposed`.
    pub weight: Tensor,
    pub bias: Option<Tensor>,
    /// transformers' `Conv1D`, which gpt2 uses.
    pub transposed: bool,
}

impl Linear {
    /// (…, in) → (…, out).
    pub fn forward(&self, graph: &Graph, x: &Tensor) -> Result<Tensor> {
        ops::linear(graph, x, &self.weight, self.bias.as_ref(), self.transposed, None)
    }
    /// As `forward`, added to `residual` (…, out).
    pub fn forward_onto(&self, graph: &Graph, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        ops::linear(graph, x, &self.weight, self.bias.as_ref(), self.transposed, Some(residual))
    }
    /// The same numbers without a graph.
    pub fn detached(&self) -> Self {
        Self { weight: self.weight.detach(), bias: self.bias.as_ref().map(Tensor::detach), transposed: self.transposed }
    }
}
