//! Lists in the right order.
//! Deliberately not here: sets; a list whose order does not matter is several targets of `contains`.

use super::{Scorer, Verdict, extracted, needs_target};
use crate::eval::item::Item;
use crate::eval::task::Task;

pub const LIST: Scorer = Scorer {
    name: "list",
    help: "the share of the target's elements that stand in its order (longest common subsequence, by the longer list)",
    check: needs_target,
    score,
};

/// Longer lists are no answers.
const MOST: usize = 2000;

fn score(task: &Task, item: &Item, text: &str) -> Verdict {
    let part = match extracted(task, text) {
        Ok(Some(part)) => part,
        Ok(None) => return Verdict::unparsed("the expression finds nothing"),
        Err(why) => return Verdict::failed(why),
    };
    let found = elements(part, task.ignore_case);
    if found.is_empty() {
        return Verdict::unparsed("no list in the answer");
    }
    // Several targets are the elements themselves.
    let wanted: Vec<String> = match item.targets.as_slice() {
        [one] => elements(one, task.ignore_case),
        many => many.iter().flat_map(|t| elements(&t.replace(',', " "), task.ignore_case).into_iter().take(1)).collect(),
    };
    let common = common(&found, &wanted);
    let share = common as f64 / found.len().max(wanted.len()).max(1) as f64;
    Verdict::of(share, found.join(", "), format!("{common} of {} in order", wanted.len()))
}

/// One a line, or divided by commas or semicolons, else by blanks; numbers and dashes before them go.
fn elements(text: &str, ignore_case: bool) -> Vec<String> {
    let text = text.trim().trim_matches(|c| matches!(c, '[' | ']' | '.'));
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    let parts: Vec<&str> = if lines.len() > 1 {
        lines
    } else if text.contains([',', ';']) {
        text.split([',', ';']).collect()
    } else {
        text.split_whitespace().collect()
    };
    let clean = |part: &&str| {
        let part = part.trim().trim_start_matches(['-', '*', '•']).trim_start();
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        let part = if rest.len() < part.len() && rest.starts_with(['.', ')']) { &rest[1..] } else { part };
        let part = part.trim().trim_matches(['"', '\'', '`']).trim();
        if ignore_case { part.to_lowercase() } else { part.to_owned() }
    };
    parts.iter().take(MOST).map(clean).filter(|p| !p.is_empty()).collect()
}

/// The length of the longest common subsequence.
fn common(a: &[String], b: &[String]) -> usize {
    let mut row = vec![0usize; b.len() + 1];
    for x in a {
        let mut diagonal = 0;
        for (j, y) in b.iter().enumerate() {
            let above = row[j + 1];
            row[j + 1] = if x == y { diagonal + 1 } else { above.max(row[j]) };
            diagonal = above;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_decides() {
        let item = Item { targets: vec!["ant bee cat dog".into()], ..Item::default() };
        let of = |text: &str| score(&Task::default(), &item, text);
        assert_eq!(of("ant, bee, cat, dog").score, 1.0);
        assert_eq!(of("1. ant\n2. bee\n3) cat\n- dog").score, 1.0);
        assert_eq!(of("[\"ant\", \"cat\", \"bee\", \"dog\"]").score, 0.75);
        assert_eq!(of("ant bee cat dog eel fox gnu hen").score, 0.5);
        assert!(of("  ").extracted.is_none());
    }
}
