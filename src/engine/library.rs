//! What is in a project: the runs, for screens and messages. Deliberately not here: their files' formats (`run`).

use std::path::Path;

/// The names of a project's runs, in order.
pub fn names(project: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(project.join("runs")).into_iter().flatten().flatten();
    let mut names: Vec<String> =
        entries.filter(|e| e.path().join("recipe.toml").is_file()).filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}
