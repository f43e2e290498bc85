//! stub
use crate::data::tokenizer::Tokenizer;
use crate::model::ModelError;
use crate::model::decoder::Decoder;
use crate::report::Monitor;
use crate::spec::GenerateSpec;

/// What was generated.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    pub ids: Vec<u32>,
    pub text: String,
    /// `end`, `length`, `stop`, `stopped`.
    pub ended: String,
    pub prompt_tokens: usize,
    pub first_token_ms: f64,
    pub tokens_per_s: f64,
}

/// Generates with a key/value cache, reporting each token to `monitor`, until the end-of-text token, a stop text,
/// `max_tokens` or `monitor.stopped()`. A text longer than the context slides its window.
pub fn generate(decoder: &Decoder, tokenizer: &Tokenizer, spec: &GenerateSpec, monitor: &dyn Monitor) -> Result<Generated, ModelError> {
    let _ = (decoder, tokenizer, spec, monitor);
    todo!()
}
