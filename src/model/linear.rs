//! A linear layer: every weight product of the decoder goes through here.
//! Deliberately not here: the head's product with the loss, which never holds all logits (`ops`).

use super::ops::Graph;
use super::weight::{self, Factor, Weight};
use candle_core::{Result, Tensor};

/// A weight with its bias, in the layout in which the family stores it.
#[derive(Clone, Debug)]
pub struct Linear {
    /// (out, in), or (in, out) where `transposed`.
    pub weight: Weight,
    pub bias: Option<Tensor>,
    /// transformers' `Conv1D`, which gpt2 uses. Packed weights are never stored so.
    pub transposed: bool,
}

impl Linear {
    /// (…, in) → (…, out).
    pub fn forward(&self, graph: &Graph, x: &Tensor) -> Result<Tensor> {
        self.product(graph, x, None)
    }
    /// As `forward`, added to `residual` (…, out).
    pub fn forward_onto(&self, graph: &Graph, x: &Tensor, residual: &Tensor) -> Result<Tensor> {
        self.product(graph, x, Some(residual))
    }
    fn product(&self, graph: &Graph, x: &Tensor, residual: Option<&Tensor>) -> Result<Tensor> {
        let mut only = weight::products(graph, x, &[Factor { residual, ..self.factor() }])?;
        only.pop().ok_or_else(|| candle_core::Error::Msg("a product gave nothing".into()))
    }
    /// As `forward` of several layers on the same x.
    pub fn forward_all<const N: usize>(layers: [&Linear; N], graph: &Graph, x: &Tensor) -> Result<[Tensor; N]> {
        let all = weight::products(graph, x, &layers.map(Linear::factor))?;
        all.try_into().map_err(|_| candle_core::Error::Msg("a product gave nothing".into()))
    }
    fn factor(&self) -> Factor<'_> {
        Factor { weight: &self.weight, bias: self.bias.as_ref(), transposed: self.transposed, residual: None }
    }
    /// The same numbers without a graph.
    pub fn detached(&self) -> Self {
        Self { weight: self.weight.detached(), bias: self.bias.as_ref().map(Tensor::detach), transposed: self.transposed }
    }
}
