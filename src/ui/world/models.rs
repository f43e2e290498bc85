//! Models as the screen knows them: which there are, and those that were looked at.
//! Deliberately not here: how they are looked at (`engine::show`) and what is drawn of them.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::show::{Listed, Shown};

/// Models that are kept after they were looked at.
const KEPT: usize = 6;

#[derive(Default)]
pub struct Gallery {
    /// None until the project was looked through.
    pub listed: Option<Vec<Listed>>,
    pub open: BTreeMap<String, Result<Arc<Shown>, String>>,
    /// Grows with every list that came.
    pub lists: u64,
}

impl Gallery {
    pub fn list(&mut self, listed: Vec<Listed>) {
        self.listed = Some(listed);
        self.lists += 1;
    }

    pub fn opened(&mut self, name: String, result: Result<Arc<Shown>, String>) {
        if self.open.len() >= KEPT && !self.open.contains_key(&name) {
            self.open.pop_first();
        }
        self.open.insert(name, result);
    }

    pub fn get(&self, name: &str) -> Option<&Arc<Shown>> {
        self.open.get(name)?.as_ref().ok()
    }
}
