//! Floor 1: the decoder, its fused ops, its parameters and its files. Nothing of data, training or screens.

pub mod accelerator;
pub mod anatomy;
pub mod arch;
mod block;
mod cache;
pub mod config;
pub mod decoder;
pub mod family;
pub mod gguf;
pub mod hf;
pub mod linear;
pub mod memory;
pub mod ops;
pub mod params;
pub mod positions;
pub mod weight;

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    #[error("{path}: {what}; {remedy}")]
    File { path: PathBuf, what: String, remedy: String },
    #[error("{path}: the disk is full; free some space")]
    Full { path: PathBuf },
    #[error("{0}")]
    Config(String),
    #[error(transparent)]
    Candle(#[from] candle_core::Error),
}

impl ModelError {
    /// A parameter that a loss does not reach.
    pub fn no_gradient(name: &str) -> Self {
        Self::Config(format!("{name} got no gradient: an operation of the model has no backward"))
    }
}
