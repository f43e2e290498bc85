//! Floor 2: runs on disk: directories, event logs, series, checkpoints.

pub mod checkpoint;
pub mod directory;
pub mod log;
pub mod series;

use std::path::PathBuf;

#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{path}: {what}; {remedy}")]
    File { path: PathBuf, what: String, remedy: String },
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
}
