//! A linear layer: every weight product of the decoder goes through here, with the adapter that lies on it.
//! Deliberately not here: the head's product with the loss, which never holds all logits (`ops`).

use super::ops::{self, Graph};
use super::weight::{self, Factor, Weight};
use candle_core::{Result, Tensor};

/// A weight with its bias, in the layout in which the family stores it.
#[derive(Clone, Debug)]
pub struct Linear {
    /// (out, in), or (in, out) where `transposed`.
    weight: Weight,
    bias: Option<Tensor>,
    /// transformers' `Conv1D`, which gpt2 uses. Packed weights are never stored so.
    transposed: bool,
    adapter: Option<Low>,
}

/// A change of low rank that is added to a weight: x · Wᵀ + scale · (x · Aᵀ) · Bᵀ (Hu et al. 2021, LoRA).
#[derive(Clone, Debug)]
pub struct Low {
    /// (rank, in).
    pub a: Tensor,
    /// (out, rank).
    pub b: Tensor,
    pub scale: f64,
}

impl Linear {
    pub fn new(weight: Weight, bias: Option<Tensor>, transposed: bool) -> Self {
        Self { weight, bias, transposed, adapter: None }
    }
    /// Inputs and outputs.
    pub fn sizes(&self) -> Result<(usize, usize)> {
        let (a, b) = self.weight.dims()?;
        Ok(if self.transposed && self.weight.as_tensor().is_some() { (a, b) } else { (b, a) })
    }
    pub fn weight(&self) -> &Weight {
        &self.weight
    }
    /// Lays an adapter on the weight, or takes it off.
    pub fn set_adapter(&mut self, adapter: Option<Low>) {
        self.adapter = adapter;
    }

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
        let y = only.pop().ok_or_else(|| candle_core::Error::Msg("a product gave nothing".into()))?;
        self.adapted(graph, x, y)
    }
    /// As `forward` of several layers on the same x.
    pub fn forward_all<const N: usize>(layers: [&Linear; N], graph: &Graph, x: &Tensor) -> Result<[Tensor; N]> {
        let all = weight::products(graph, x, &layers.map(Linear::factor))?;
        let all = layers.iter().zip(all).map(|(layer, y)| layer.adapted(graph, x, y)).collect::<Result<Vec<_>>>()?;
        all.try_into().map_err(|_| candle_core::Error::Msg("a product gave nothing".into()))
    }
    fn factor(&self) -> Factor<'_> {
        Factor { weight: &self.weight, bias: self.bias.as_ref(), transposed: self.transposed, residual: None }
    }
    /// y with what the adapter adds to it.
    fn adapted(&self, graph: &Graph, x: &Tensor, y: Tensor) -> Result<Tensor> {
        let Some(Low { a, b, scale }) = &self.adapter else { return Ok(y) };
        let narrow = ops::affine(graph, &ops::linear(graph, x, a, None, false, None)?, *scale, 0.0)?;
        ops::linear(graph, &narrow, b, None, false, Some(&y))
    }

    /// W + scale · B · A of the adapter, in the layout of the weight; none without an adapter.
    pub fn merged(&self) -> Result<Option<Tensor>> {
        let Some(Low { a, b, scale }) = &self.adapter else { return Ok(None) };
        let Some(weight) = self.weight.as_tensor() else {
            candle_core::bail!("an adapter cannot be merged into quantised weights; keep it apart, or open the model's safetensors")
        };
        let change = (b.matmul(a)? * *scale)?;
        let change = if self.transposed { change.t()?.contiguous()? } else { change };
        Ok(Some((weight.detach() + change)?))
    }

    /// The same numbers without a graph.
    pub fn detached(&self) -> Self {
        let adapter = self.adapter.as_ref().map(|low| Low { a: low.a.detach(), b: low.b.detach(), scale: low.scale });
        Self { weight: self.weight.detached(), bias: self.bias.as_ref().map(Tensor::detach), transposed: self.transposed, adapter }
    }
    /// All that it computes with.
    pub fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        let adapter = self.adapter.iter().flat_map(|low| [&low.a, &low.b]);
        self.weight.as_tensor().into_iter().chain(&self.bias).chain(adapter)
    }
}
