//! The loader's evaluations: finds them in a project, reads them in full, and sets them against each other.
//! Deliberately not here: statistics (`eval`), and any state of the screen.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use super::world::evals::{Answer, Ask, Compared, Opened};
use crate::eval::compare::{compare, rank};
use crate::eval::store::{self, EVALS, EvalDir, Whole};
use crate::eval::task;

/// Evaluations in full that are kept, and the most that are set against each other at once.
const KEPT: usize = 24;
pub const COMPARED: usize = 12;

#[derive(Default)]
pub struct Examiner {
    /// With the time at which its report was written; the newest last.
    kept: Vec<(String, Option<SystemTime>, Arc<Whole>)>,
}

impl Examiner {
    pub fn answer(&mut self, project: &Path, ask: Ask) -> Answer {
        match ask {
            Ask::List => Answer::List { evals: store::list(project), tasks: task::listed(project) },
            Ask::Compare { names, base } => Answer::Compared(Box::new(self.compared(project, names, base))),
            Ask::Open { name, base } => match self.whole(project, &name) {
                Ok(whole) => {
                    let base = base.filter(|b| *b != name).and_then(|b| self.whole(project, &b).ok());
                    Answer::Opened(Box::new(Opened { whole, base }))
                }
                Err(why) => Answer::Failed(why),
            },
            Ask::Correct { name, correction } => match EvalDir::new(project.join(EVALS).join(&name)).correct(&correction) {
                Ok(()) => {
                    self.kept.retain(|(known, ..)| *known != name);
                    Answer::Corrected { name, correction }
                }
                Err(error) => Answer::Failed(error.to_string()),
            },
            Ask::Add { path, lines, what } => {
                let full = project.join(&path);
                let added = lines.iter().try_for_each(|line| {
                    let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
                    store::append(&full, &value)
                });
                added.map_or_else(|e| Answer::Failed(e.to_string()), |()| Answer::Added { path, what })
            }
        }
    }

    fn whole(&mut self, project: &Path, name: &str) -> Result<Arc<Whole>, String> {
        let dir = EvalDir::new(project.join(EVALS).join(name));
        let written = std::fs::metadata(dir.path.join("report.json")).and_then(|m| m.modified()).ok();
        if let Some((.., whole)) = self.kept.iter().find(|(known, at, _)| known == name && *at == written) {
            return Ok(whole.clone());
        }
        let whole = Arc::new(dir.whole().map_err(|e| e.to_string())?);
        self.kept.retain(|(known, ..)| known != name);
        if self.kept.len() >= KEPT {
            self.kept.remove(0);
        }
        self.kept.push((name.to_owned(), written, whole.clone()));
        Ok(whole)
    }

    fn compared(&mut self, project: &Path, names: Vec<String>, base: Option<String>) -> Compared {
        let wholes: Vec<Arc<Whole>> = names.iter().take(COMPARED).filter_map(|name| self.whole(project, name).ok()).collect();
        let mut out = Compared { names, base: base.clone(), ..Compared::default() };
        if let Some(base) = base.and_then(|name| self.whole(project, &name).ok()) {
            for whole in wholes.iter().filter(|w| w.name != base.name) {
                out.against.insert(whole.name.clone(), compare(&base, whole));
            }
        }
        for (at, whole) in wholes.iter().enumerate() {
            // They come the newest first.
            let before =
                wholes[at + 1..].iter().find(|w| w.report.model == whole.report.model && w.report.model_hash != whole.report.model_hash);
            if let Some(before) = before {
                out.before.insert(whole.name.clone(), compare(before, whole));
            }
        }
        let mut tasks: Vec<&str> = wholes.iter().flat_map(|w| &w.report.tasks).map(|t| t.name.as_str()).collect();
        tasks.sort_unstable();
        tasks.dedup();
        let all: Vec<&Whole> = wholes.iter().map(Arc::as_ref).collect();
        out.ranks = tasks.into_iter().filter_map(|task| Some((task.to_owned(), rank(&all, task)?))).collect();
        out
    }
}
