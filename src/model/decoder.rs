//! stub
use super::ModelError;
use super::config::Config;
use super::params::Param;
use crate::rng::Stream;
use candle_core::{DType, Device, Tensor, backprop::GradStore};

/// The configurable decoder.
pub struct Decoder {
    config: Config,
}

/// Keys and values of the tokens so far, one pair a layer. Batch rows advance together.
#[derive(Default)]
pub struct Cache {
    _private: (),
}

impl Cache {
    pub fn new() -> Self {
        Self::default()
    }
    /// Tokens held.
    pub fn len(&self) -> usize {
        todo!()
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
    /// Keeps the first `len` tokens.
    pub fn truncate(&mut self, len: usize) -> Result<(), ModelError> {
        let _ = len;
        todo!()
    }
}

/// Everything about one forward pass that is not weights. `Pass::default()` is a plain full forward.
#[derive(Default)]
pub struct Pass<'a> {
    pub cache: Option<&'a mut Cache>,
    /// Where dropout masks come from; none drops nothing.
    pub dropout: Option<&'a mut Stream>,
}

impl Decoder {
    /// New weights from the seed, each drawn from a stream of its own name (normal, `init_std`; residual
    /// projections scaled by 1/sqrt(2 * layers); norms 1, biases 0).
    pub fn new(config: Config, seed: u64, dtype: DType, device: &Device) -> Result<Self, ModelError> {
        let _ = (config, seed, dtype, device);
        todo!()
    }
    pub fn config(&self) -> &Config {
        &self.config
    }
    pub fn device(&self) -> &Device {
        todo!()
    }
    /// All parameters, always in the same order. A tied head stands once, as the embedding.
    pub fn params(&self) -> &[Param] {
        todo!()
    }
    /// `ids`: (batch, time) u32. Returns (batch, time, width), after the final norm.
    pub fn hidden(&self, ids: &Tensor, pass: &mut Pass) -> Result<Tensor, ModelError> {
        let _ = (ids, pass);
        todo!()
    }
    /// (…, width) → (…, vocab).
    pub fn logits(&self, hidden: &Tensor) -> Result<Tensor, ModelError> {
        let _ = hidden;
        todo!()
    }
    /// Σ weight · −log p(target) over all places: a scalar. hidden (batch, time, width), targets (batch, time)
    /// u32, weights (batch, time) f32. Divide by the step's sum of weights for the mean.
    pub fn loss_sum(&self, hidden: &Tensor, targets: &Tensor, weights: &Tensor) -> Result<Tensor, ModelError> {
        let _ = (hidden, targets, weights);
        todo!()
    }
    /// The same weights without a graph: for generation and evaluation. Shares storage, so it sees in-place updates.
    pub fn detached(&self) -> Decoder {
        todo!()
    }
}

/// The one caller of `Tensor::backward`.
pub fn backward(loss: &Tensor) -> Result<GradStore, ModelError> {
    let _ = loss;
    todo!()
}
