//! Where the trainings of a project stood when the last person left: kept for the one who comes back.
//! Deliberately not here: what happened since; the runs' own logs tell it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::RunError;

/// A note of this kind is some hundred bytes; a larger file is not ours.
const MAX_BYTES: u64 = 1 << 20;

/// When the last person left, and the step that every run in training had reached.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Away {
    /// Milliseconds since the Unix epoch.
    pub since_ms: u64,
    pub runs: BTreeMap<String, u64>,
}

fn path_of(project: &Path) -> PathBuf {
    project.join(".weightroom").join("away.json")
}

/// Keeps where `runs` stand now. What an older note says still counts: one that was told is not there any more, and who
/// came meanwhile and went before it was told (a line that broke) has heard nothing.
pub fn leave(project: &Path, runs: BTreeMap<String, u64>) -> Result<(), RunError> {
    if runs.is_empty() {
        return Ok(());
    }
    let now = || SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
    let mut note = read(project).unwrap_or_else(|| Away { since_ms: now(), runs: BTreeMap::new() });
    for (run, step) in runs {
        note.runs.entry(run).or_insert(step);
    }
    let text = serde_json::to_vec(&note).map_err(|e| RunError::Other(e.to_string()))?;
    super::files::replace(&path_of(project), &text)
}

/// Reads the note. It stays until `forget`.
pub fn read(project: &Path) -> Option<Away> {
    let path = path_of(project);
    if fs::metadata(&path).ok()?.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// The note has been told.
pub fn forget(project: &Path) {
    let _ = fs::remove_file(path_of(project));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_is_kept_read_and_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(".weightroom")).unwrap();
        assert_eq!(read(dir.path()), None);
        leave(dir.path(), [("demo".to_string(), 412)].into()).unwrap();
        let note = read(dir.path()).unwrap();
        assert_eq!(note.runs["demo"], 412);
        assert!(note.since_ms > 1_700_000_000_000);
        forget(dir.path());
        assert_eq!(read(dir.path()), None);
        leave(dir.path(), BTreeMap::new()).unwrap();
        assert_eq!(read(dir.path()), None, "nobody missed anything");
        leave(dir.path(), [("demo".to_string(), 412)].into()).unwrap();
        let first = read(dir.path()).unwrap();
        // Somebody came and went before it was told: it says what it said, and of what began meanwhile.
        leave(dir.path(), [("demo".to_string(), 900), ("more".to_string(), 3)].into()).unwrap();
        leave(dir.path(), BTreeMap::new()).unwrap();
        let note = read(dir.path()).unwrap();
        assert_eq!((note.since_ms, &note.runs), (first.since_ms, &[("demo".to_string(), 412), ("more".to_string(), 3)].into()));
        fs::write(path_of(dir.path()), "{").unwrap();
        assert_eq!(read(dir.path()), None);
    }
}
