//! The items of one task as they are listed: flipped ones first, by the filter. Deliberately not here: one item in full (`item`).

use super::Eval;
use super::filter::{About, fits};
use crate::eval::report::{ItemResult, Status};
use crate::eval::store::Whole;
use crate::ui::world::evals::Opened;

/// An item in the list.
pub struct Listed<'a> {
    pub item: &'a ItemResult,
    pub base: Option<&'a ItemResult>,
    pub hand: Option<f64>,
    pub tags: Vec<String>,
}

impl Listed<'_> {
    pub fn flipped(&self) -> bool {
        matches!((self.base.and_then(|b| b.score), self.item.score), (Some(b), Some(s)) if b != s)
    }
    /// How it stands, in a mark that reads without colour.
    pub fn mark(&self, higher_is_better: bool) -> &'static str {
        match (self.item.status, self.item.score) {
            (Status::Unparsed, _) => "?",
            (Status::TooLong, _) => "…",
            (Status::Failed, _) => "!",
            (_, Some(_)) if !higher_is_better => "·",
            (_, Some(s)) if s >= 1.0 => "✓",
            (_, Some(s)) if s > 0.0 => "◐",
            _ => "✗",
        }
    }
}

/// By hand: the newest word of each item, and its tags.
pub fn by_hand(whole: &Whole, task: &str, id: &str) -> (Option<f64>, Vec<String>) {
    let own = whole.corrections.iter().rev().filter(|c| c.task == task && c.id == id);
    let (mut score, mut tags, mut first) = (None, Vec::new(), true);
    for correction in own {
        if std::mem::take(&mut first) {
            (score, tags) = (correction.score, correction.tags.clone());
        }
    }
    (score, tags)
}

impl Eval {
    /// What is listed of the opened evaluation.
    pub(super) fn listed<'a>(&self, opened: &'a Opened, task: &str) -> Vec<Listed<'a>> {
        let higher = opened.whole.report.tasks.iter().find(|t| t.name == task).is_none_or(|t| t.higher_is_better);
        let base: std::collections::HashMap<&str, &ItemResult> =
            opened.base.iter().flat_map(|w| &w.items).filter(|i| i.task == task).map(|i| (i.id.as_str(), i)).collect();
        let mut out: Vec<Listed> = opened
            .whole
            .items
            .iter()
            .filter(|i| i.task == task)
            .map(|item| {
                let (hand, mut tags) = by_hand(&opened.whole, task, &item.id);
                tags.extend(item.tags.iter().cloned());
                let base = base.get(item.id.as_str()).copied().filter(|b| b.item == item.item);
                Listed { item, base, hand, tags }
            })
            .filter(|l| fits(&self.filter, l.item, &About { base: l.base.and_then(|b| b.score), hand: l.hand, tags: &l.tags }, higher))
            .collect();
        // Those that were lost first, then those that were won, then the rest in its order.
        let sign = if higher { 1.0 } else { -1.0 };
        let key = |l: &Listed| match (l.flipped(), l.base.and_then(|b| b.score), l.item.score) {
            (true, Some(b), Some(s)) => (0, sign * (s - b)),
            _ => (1, 0.0),
        };
        out.sort_by(|a, b| key(a).0.cmp(&key(b).0).then(key(a).1.total_cmp(&key(b).1)));
        out
    }
}
