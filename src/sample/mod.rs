//! Floor 2: generation: sampling, key/value cache, streaming.

pub mod generate;
pub mod sampler;
