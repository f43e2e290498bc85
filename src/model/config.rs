//! stub
use super::ModelError;
use crate::recipe::ModelSection;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    Llama,
    Qwen3,
    Gpt2,
}

/// The shape of a decoder, independent of the family's names for it.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub family: Family,
    pub vocab: usize,
    pub width: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub head_dim: usize,
    pub ffn: usize,
    pub context: usize,
    pub tied: bool,
    pub norm_eps: f64,
    pub rope_theta: f64,
    /// While training alone; not a property of a saved model.
    pub dropout: f64,
    pub init_std: f64,
    pub bos: Option<u32>,
    pub eos: Option<u32>,
}

impl Config {
    /// Checks that heads divide the width, and the like; the message names the key.
    pub fn from_recipe(section: &ModelSection, vocab: usize, eos: Option<u32>) -> Result<Self, ModelError> {
        let _ = (section, vocab, eos);
        todo!()
    }
    /// How many parameters a decoder of this shape has.
    pub fn parameters(&self) -> u64 {
        todo!()
    }
    /// Bytes of a training step at its peak: weights, gradients, moments and activations.
    pub fn training_bytes(&self, batch: usize) -> u64 {
        let _ = batch;
        todo!()
    }
    /// Floating-point operations of one training step (forward and backward) a token.
    pub fn flops_per_token(&self) -> f64 {
        todo!()
    }
}
