//! Keys and values of the tokens so far, so that generation computes each token once.
//! Deliberately not here: a graph; a cache is for generation and holds plain numbers.

use super::ModelError;
use candle_core::{Result as CandleResult, Tensor};

/// Keys and values of the tokens so far, one pair a layer. Batch rows advance together.
#[derive(Default)]
pub struct Cache {
    layers: Vec<Option<Pair>>,
    len: usize,
}

/// (batch, capacity, kv_heads · head_dim) each; the first `Cache::len` places hold something.
struct Pair {
    keys: Tensor,
    values: Tensor,
}

/// Room that is made at a time, in tokens.
const GROWTH: usize = 128;

impl Cache {
    pub fn new() -> Self {
        Self::default()
    }
    /// Tokens held.
    pub fn len(&self) -> usize {
        self.len
    }
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }
    /// Keeps the first `len` tokens.
    pub fn truncate(&mut self, len: usize) -> Result<(), ModelError> {
        if len > self.len {
            let text = format!("the cache holds {} tokens and was asked to keep {len}; keep at most what it holds", self.len);
            return Err(ModelError::Config(text));
        }
        self.len = len;
        Ok(())
    }

    /// Adds a layer's keys and values of new tokens and returns those of all tokens: views (batch, len + new, width).
    pub(super) fn extend(&mut self, layer: usize, keys: &Tensor, values: &Tensor) -> CandleResult<(Tensor, Tensor)> {
        if self.layers.len() <= layer {
            self.layers.resize_with(layer + 1, || None);
        }
        let (batch, new, width) = keys.dims3()?;
        let total = self.len + new;
        let old = self.layers[layer].take();
        let pair = match old {
            Some(pair) if pair.keys.dim(0)? != batch => {
                candle_core::bail!("the cache holds {} sequences and got {batch}; use one cache a batch", pair.keys.dim(0)?)
            }
            Some(pair) if pair.keys.dim(1)? >= total => pair,
            old => {
                let capacity = (total + total / 2).next_multiple_of(GROWTH);
                let room = || Tensor::zeros((batch, capacity, width), keys.dtype(), keys.device());
                let pair = Pair { keys: room()?, values: room()? };
                if let Some(old) = old.filter(|_| self.len > 0) {
                    pair.keys.slice_set(&old.keys.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
                    pair.values.slice_set(&old.values.narrow(1, 0, self.len)?.contiguous()?, 1, 0)?;
                }
                pair
            }
        };
        pair.keys.slice_set(&keys.detach().contiguous()?, 1, self.len)?;
        pair.values.slice_set(&values.detach().contiguous()?, 1, self.len)?;
        let views = (pair.keys.narrow(1, 0, total)?, pair.values.narrow(1, 0, total)?);
        self.layers[layer] = Some(pair);
        Ok(views)
    }

    /// All layers have taken `new` tokens.
    pub(super) fn advance(&mut self, new: usize) {
        self.len += new;
    }
}
