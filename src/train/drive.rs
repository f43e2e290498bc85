//! stub
use crate::recipe::Recipe;
use crate::report::Monitor;
use candle_core::Device;
use std::path::PathBuf;

pub struct Request {
    /// The directory that `runs/` and the token cache are made in.
    pub project: PathBuf,
    /// Where the recipe's relative paths start.
    pub base: PathBuf,
    pub recipe: Recipe,
    pub name: Option<String>,
    pub device: Device,
}

pub struct Outcome {
    pub run: String,
    pub dir: PathBuf,
    pub step: u64,
    pub stopped: bool,
    pub val_loss: Option<f64>,
}

#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    #[error("{0}")]
    Other(String),
    /// A loss or gradient that is not finite.
    #[error("{what} at step {step}: {value}; last good checkpoint: {last_good}; usual causes: {causes}")]
    NotFinite { what: String, step: u64, value: String, last_good: String, causes: String },
    #[error(transparent)]
    Run(#[from] crate::run::RunError),
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
}

/// Trains a new run from its recipe to the end, or to a stop.
pub fn train(request: Request, monitor: &dyn Monitor) -> Result<Outcome, TrainError> {
    let _ = (request, monitor);
    todo!()
}

/// Goes on with a run from its newest checkpoint that is whole.
pub fn resume(project: &std::path::Path, run: &str, device: Device, monitor: &dyn Monitor) -> Result<Outcome, TrainError> {
    let _ = (project, run, device, monitor);
    todo!()
}
