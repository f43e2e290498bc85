//! stub
use super::RunError;
use std::path::Path;

/// One value of a metric. 16 bytes on disk: u64 step, f64 value, little-endian.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Point {
    pub step: u64,
    pub value: f64,
}

/// A run's series, mapped: opening costs nothing however long they are.
pub struct SeriesDir {
    _private: (),
}

impl SeriesDir {
    /// Maps `run/series/*`; rebuilds from `events.jsonl` what is missing or short.
    pub fn open(run: &Path) -> Result<Self, RunError> {
        let _ = run;
        todo!()
    }
    pub fn names(&self) -> Vec<String> {
        todo!()
    }
    pub fn get(&self, name: &str) -> Option<&[Point]> {
        let _ = name;
        todo!()
    }
}
