//! What is in a project, for screens that know no floor below the engine: runs, their series, samples and events.
//! Deliberately not here: their files' formats (`run`).

pub use crate::run::directory::{RunDir, RunState, Summary, list, names, summary};
pub use crate::run::read::{Sample, events_from, samples, words};
pub use crate::run::series::{Point, SeriesDir};
