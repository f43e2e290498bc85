//! Floor 2: runs on disk: directories, event logs, series, checkpoints.
//! Deliberately not here: what a training step is; a run directory only keeps what the loop hands it.

mod append;
pub mod away;
pub mod checkpoint;
pub mod directory;
mod files;
pub mod log;
pub mod read;
pub mod series;

use std::path::{Path, PathBuf};

/// What can be wrong with a run on disk; each message names the thing, the place and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{}: {what}; {remedy}", shown(path))]
    File { path: PathBuf, what: String, remedy: String },
    /// There is room for nothing more; what was being written can be tried again.
    #[error("{}: the disk is full; free some space, then resume the run", shown(path))]
    Full { path: PathBuf },
    #[error("{0}")]
    Other(String),
    #[error(transparent)]
    Model(#[from] crate::model::ModelError),
    #[error(transparent)]
    Data(#[from] crate::data::DataError),
}

impl RunError {
    /// An error of the operating system at `path`, with the remedy that fits its kind.
    pub fn io(path: &Path, error: &std::io::Error) -> Self {
        use std::io::ErrorKind;
        if crate::report::is_full(error) {
            return Self::Full { path: path.into() };
        }
        let remedy = match error.kind() {
            ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => "make the directory writable, or work in another one (-C DIR)",
            ErrorKind::NotFound => "check the path",
            _ => "check the disk and the path",
        };
        Self::File { path: path.into(), what: error.to_string(), remedy: remedy.into() }
    }

    /// Whether it would work if there were room on the disk.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Full { .. } | Self::Model(crate::model::ModelError::Full { .. }))
    }

    fn file(path: &Path, what: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::File { path: path.into(), what: what.into(), remedy: remedy.into() }
    }
}

/// What a person is told while a run waits for room on the disk.
pub fn full_disk(dir: &Path) -> String {
    format!("{FULL} ({}); it goes on by itself when there is room", shown(dir))
}

/// Whether a run is paused for want of room, by what it was told with.
pub fn says_full(why: &str) -> bool {
    why.starts_with(FULL)
}

const FULL: &str = "the disk is full";

/// A path may hold anything; it reaches terminals.
fn shown(path: &Path) -> String {
    crate::text::visible(&path.display().to_string(), false).into_owned()
}
