//! What the tests share: where the reference artefacts are. Not here: anything about one subject.
#![allow(dead_code)]

use std::path::PathBuf;

/// A file or directory of the shared assets. None, with a note, where they are missing; a failure where `CI` is set.
pub fn asset(path: &str) -> Option<PathBuf> {
    let full = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/assets")).join(path);
    if full.exists() {
        return Some(full);
    }
    assert!(std::env::var_os("CI").is_none(), "the test asset {path} is missing");
    println!("skipped: the test asset {path} is missing");
    None
}
