//! Two evaluations on the same items: differences with their intervals, what flipped, what became worse beyond chance.
//! Deliberately not here: the tests (`stats`), and text for people (`render`).

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};

use super::report::{ItemResult, TaskReport};
use super::stats::{Paired, Ranked, groups, holm, paired};
use super::store::Whole;

/// A difference is more than chance below this, after Holm's correction over all that was compared.
pub const ALPHA: f64 = 0.05;

/// Two models on one task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Compared {
    pub task: String,
    pub metric: String,
    pub higher_is_better: bool,
    /// Over the items that both have.
    pub a: f64,
    pub b: f64,
    pub paired: Paired,
    /// Corrected for the number of tasks.
    pub p_corrected: f64,
    /// B is worse, or better, beyond chance.
    pub worse: bool,
    pub better: bool,
    /// Items whose score differs, those that B lost first.
    pub flipped: Vec<Flip>,
    /// Items that only one of them has, or whose content differs.
    pub unmatched: usize,
    pub note: String,
}

/// An item on which two models differ.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Flip {
    pub id: String,
    pub a: f64,
    pub b: f64,
}

/// `eval compare`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    pub a: String,
    pub b: String,
    pub tasks: Vec<Compared>,
    /// Tasks that only one has, and why others were not compared.
    pub left_out: Vec<String>,
}

impl Comparison {
    pub fn regressed(&self) -> bool {
        self.tasks.iter().any(|t| t.worse)
    }
}

/// Compares B with A.
pub fn compare(a: &Whole, b: &Whole) -> Comparison {
    let mut out = Comparison { a: a.name.clone(), b: b.name.clone(), ..Comparison::default() };
    for of_a in &a.report.tasks {
        let Some(of_b) = b.report.tasks.iter().find(|t| t.name == of_a.name) else {
            out.left_out.push(format!("{}: only in {}", of_a.name, a.name));
            continue;
        };
        match task(a, b, of_a, of_b) {
            Ok(found) => out.tasks.push(found),
            Err(why) => out.left_out.push(format!("{}: {why}", of_a.name)),
        }
    }
    let only_b = b.report.tasks.iter().filter(|t| !a.report.tasks.iter().any(|o| o.name == t.name));
    out.left_out.extend(only_b.map(|t| format!("{}: only in {}", t.name, b.name)));
    let corrected = holm(&out.tasks.iter().map(|t| t.paired.p).collect::<Vec<_>>());
    for (task, p) in out.tasks.iter_mut().zip(corrected) {
        task.p_corrected = p;
        let lost = if task.higher_is_better { task.paired.difference < 0.0 } else { task.paired.difference > 0.0 };
        (task.worse, task.better) = (p < ALPHA && lost, p < ALPHA && !lost);
    }
    out
}

/// The scores by which items are compared: those by hand take the place of the program's here where both have the item.
fn scores<'a>(whole: &'a Whole, task: &str) -> HashMap<&'a str, (&'a ItemResult, f64)> {
    let items = whole.items.iter().filter(|i| i.task == task && i.status.counts());
    items.filter_map(|i| Some((i.id.as_str(), (i, i.score?)))).collect()
}

fn task(a: &Whole, b: &Whole, of_a: &TaskReport, of_b: &TaskReport) -> Result<Compared, String> {
    if of_a.metric != of_b.metric {
        return Err(format!("measured by {} and by {}", of_a.metric, of_b.metric));
    }
    let (in_a, in_b) = (scores(a, &of_a.name), scores(b, &of_a.name));
    let mut both: Vec<(&str, f64, f64, Option<&str>)> = in_a
        .iter()
        .filter_map(|(id, (item, score))| {
            let (other, there) = in_b.get(id)?;
            (other.item == item.item).then_some((*id, *score, *there, item.cluster.as_deref()))
        })
        .collect();
    // A map has no order, and a bootstrap draws by place.
    both.sort_by(|x, y| x.0.cmp(y.0));
    let values = |of: fn(&(&str, f64, f64, Option<&str>)) -> f64| both.iter().map(of).collect::<Vec<f64>>();
    let (of_a_scores, of_b_scores) = (values(|x| x.1), values(|x| x.2));
    let clusters: Vec<&str> = both.iter().filter_map(|x| x.3).collect();
    let clusters = (clusters.len() == both.len()).then_some(clusters.as_slice());
    let found = paired(&of_a_scores, &of_b_scores, clusters, of_a.seed).ok_or("no item is in both")?;
    let mut flipped: Vec<Flip> = both.iter().filter(|x| x.1 != x.2).map(|x| Flip { id: x.0.into(), a: x.1, b: x.2 }).collect();
    let sign = if of_a.higher_is_better { 1.0 } else { -1.0 };
    flipped.sort_by(|x, y| (sign * (x.b - x.a)).total_cmp(&(sign * (y.b - y.a))).then_with(|| x.id.cmp(&y.id)));
    let mut note = String::new();
    if of_a.hash != of_b.hash {
        note = "the task was asked otherwise in the two: differences may be of the asking".into();
    } else if of_a.metric == "bits_per_byte" {
        note = "the difference is of means over texts".into();
    }
    Ok(Compared {
        task: of_a.name.clone(),
        metric: of_a.metric.clone(),
        higher_is_better: of_a.higher_is_better,
        a: super::stats::mean(&of_a_scores),
        b: super::stats::mean(&of_b_scores),
        unmatched: in_a.len() + in_b.len() - 2 * both.len(),
        paired: found,
        p_corrected: 1.0,
        worse: false,
        better: false,
        flipped,
        note,
    })
}

/// Ranks of several evaluations on one task, where they can be told apart. None where fewer than two have it.
pub fn rank(wholes: &[&Whole], task_name: &str) -> Option<BTreeMap<String, Ranked>> {
    let having: Vec<(&Whole, &TaskReport)> =
        wholes.iter().filter_map(|w| Some((*w, w.report.tasks.iter().find(|t| t.name == task_name && t.score.is_some())?))).collect();
    if having.len() < 2 {
        return None;
    }
    let mut pairs = Vec::new();
    for i in 0..having.len() {
        for j in i + 1..having.len() {
            let p = task(having[i].0, having[j].0, having[i].1, having[j].1).map_or(1.0, |c| c.paired.p);
            pairs.push((i, j, p));
        }
    }
    let corrected = holm(&pairs.iter().map(|x| x.2).collect::<Vec<_>>());
    let differs = |i: usize, j: usize| pairs.iter().zip(&corrected).any(|(x, p)| (x.0, x.1) == (i.min(j), i.max(j)) && *p < ALPHA);
    let sign = if having[0].1.higher_is_better { 1.0 } else { -1.0 };
    let scores: Vec<f64> = having.iter().map(|(_, t)| sign * t.score.unwrap_or(0.0)).collect();
    Some(having.iter().zip(groups(&scores, &differs)).map(|((w, _), ranked)| (w.name.clone(), ranked)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::eval::report::{Report, Status};

    fn whole(name: &str, right: impl Fn(usize) -> bool) -> Whole {
        let item = |i: usize| ItemResult {
            task: "t".into(),
            id: i.to_string(),
            item: format!("h{i}"),
            score: Some(f64::from(right(i))),
            status: if i == 99 { Status::TooLong } else { Status::Graded },
            ..ItemResult::default()
        };
        let items: Vec<ItemResult> = (0..100).map(item).collect();
        let score = items.iter().filter_map(|i| i.score).sum::<f64>() / 100.0;
        let task =
            TaskReport { name: "t".into(), metric: "acc".into(), higher_is_better: true, score: Some(score), ..TaskReport::default() };
        Whole { name: name.into(), report: Report { tasks: vec![task], ..Report::default() }, items, corrections: Vec::new() }
    }

    #[test]
    fn a_regression_is_one_beyond_chance() {
        let (a, b, c) = (whole("a", |i| i % 10 != 0), whole("b", |i| i % 10 > 2), whole("c", |i| i % 10 != 0 && i != 5));
        let found = compare(&a, &b);
        assert!(found.regressed() && found.tasks[0].worse && found.tasks[0].paired.n == 99, "{found:?}");
        assert_eq!(found.tasks[0].flipped.len(), 20);
        assert!(!compare(&a, &c).regressed() && compare(&b, &a).tasks[0].better && !compare(&b, &a).regressed());
        let ranks = rank(&[&a, &b, &c], "t").unwrap();
        assert_eq!((ranks["a"].best, ranks["a"].worst, ranks["b"].best), (1, 2, 3));
        assert!(rank(&[&a], "t").is_none());
    }

    #[test]
    fn items_are_the_same_by_content_and_not_by_name() {
        let (a, mut b) = (whole("a", |_| true), whole("b", |_| true));
        b.items.iter_mut().for_each(|i| i.item = "other".into());
        let found = compare(&a, &b);
        assert!(found.tasks.is_empty() && found.left_out[0].contains("no item is in both"), "{found:?}");
    }
}
