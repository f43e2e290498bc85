//! Floor 2: generation: sampling, key/value cache, streaming. Nothing of training, and no threads or screens.

mod clock;
pub mod eliza;
pub mod endpoint;
pub mod generate;
pub mod generator;
pub mod sampler;
mod session;
mod stops;
pub mod stream;
mod weigh;

pub use session::probabilities_after;

use crate::model::ModelError;

/// Why no token could be drawn.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum SampleError {
    #[error("the model gives token {id} the logit {value}: its weights are not usable; take an earlier checkpoint")]
    NotFinite { id: usize, value: f32 },
    #[error("the model gives no token a probability: its weights are not usable; take an earlier checkpoint")]
    Impossible,
    #[error("{0}")]
    Setting(String),
}

impl From<SampleError> for ModelError {
    fn from(error: SampleError) -> Self {
        Self::Config(error.to_string())
    }
}
