//! Orders with ties: pairs out of tiers and tiers out of pairs, ranks, and several people's orders made one.
//! Deliberately not here: files and people.

use std::collections::{BTreeMap, BTreeSet};

use super::Tiers;

/// Tiers without empty ones, and without an id a second time.
pub fn tidy(tiers: &Tiers) -> Tiers {
    let mut seen = BTreeSet::new();
    let keep = |tier: &Vec<String>| tier.iter().filter(|id| seen.insert((*id).clone())).cloned().collect::<Vec<_>>();
    tiers.iter().map(keep).collect::<Vec<_>>().into_iter().filter(|t| !t.is_empty()).collect()
}

/// All pairs across tiers as (better, worse, tiers between them); those of one tier are left out.
pub fn pairs(tiers: &Tiers) -> Vec<(&str, &str, usize)> {
    let mut out = Vec::new();
    for (i, upper) in tiers.iter().enumerate() {
        for (j, lower) in tiers.iter().enumerate().skip(i + 1) {
            out.extend(upper.iter().flat_map(|a| lower.iter().map(move |b| (a.as_str(), b.as_str(), j - i))));
        }
    }
    out
}

/// The tier of each id, from 0.
pub fn places(tiers: &Tiers) -> BTreeMap<&str, usize> {
    tiers.iter().enumerate().flat_map(|(place, tier)| tier.iter().map(move |id| (id.as_str(), place))).collect()
}

/// The rank of each id from 1, those of one tier sharing the mean of their places.
pub fn ranks(tiers: &Tiers) -> BTreeMap<&str, f64> {
    let mut out = BTreeMap::new();
    let mut before = 0;
    for tier in tiers {
        let mean = before as f64 + (tier.len() as f64 + 1.0) / 2.0;
        out.extend(tier.iter().map(|id| (id.as_str(), mean)));
        before += tier.len();
    }
    out
}

/// −1 where `a` is better, 1 where `b` is, 0 for a tie; none where one of them was not ranked.
pub fn compare(places: &BTreeMap<&str, usize>, a: &str, b: &str) -> Option<i8> {
    Some(match places.get(a)?.cmp(places.get(b)?) {
        std::cmp::Ordering::Less => -1,
        std::cmp::Ordering::Equal => 0,
        std::cmp::Ordering::Greater => 1,
    })
}

/// The order of which these (better, worse) are all pairs across tiers; none where there is no such order: pairs that
/// contradict each other, or that say nothing of a pair which the others imply.
pub fn of_pairs(pairs: &[(usize, usize)], count: usize) -> Option<Vec<Vec<usize>>> {
    let mut beats = vec![BTreeSet::new(); count];
    for &(a, b) in pairs {
        if a == b || a >= count || b >= count || beats[b].contains(&a) {
            return None;
        }
        beats[a].insert(b);
    }
    // In an order with ties, what beats the same is of one tier, and each tier beats exactly all that is below.
    let mut tiers: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (id, beaten) in beats.iter().enumerate() {
        tiers.entry(count - beaten.len()).or_default().push(id);
    }
    let tiers: Vec<Vec<usize>> = tiers.into_values().collect();
    let mut below: BTreeSet<usize> = BTreeSet::new();
    for tier in tiers.iter().rev() {
        if tier.iter().any(|id| beats[*id] != below) {
            return None;
        }
        below.extend(tier);
    }
    Some(tiers)
}

/// One order of several: by the mean of the ranks that each gave, those with the same mean tied. Ids that not everybody
/// ranked are left out.
pub fn consensus(orders: &[&Tiers]) -> Tiers {
    let Some(first) = orders.first() else { return Vec::new() };
    let all: Vec<BTreeMap<&str, f64>> = orders.iter().map(|t| ranks(t)).collect();
    let mut means: Vec<(f64, &String)> = Vec::new();
    for id in first.iter().flatten() {
        let of: Option<Vec<f64>> = all.iter().map(|ranks| ranks.get(id.as_str()).copied()).collect();
        means.extend(of.map(|of| (of.iter().sum::<f64>() / of.len() as f64, id)));
    }
    means.sort_by(|a, b| a.0.total_cmp(&b.0));
    let mut out: Vec<(f64, Vec<String>)> = Vec::new();
    for (mean, id) in means {
        match out.last_mut() {
            Some((last, tier)) if (*last - mean).abs() < 1e-9 => tier.push(id.clone()),
            _ => out.push((mean, vec![id.clone()])),
        }
    }
    out.into_iter().map(|(_, tier)| tier).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tiers(text: &str) -> Tiers {
        text.split('>').map(|t| t.split('=').map(String::from).collect()).collect()
    }

    #[test]
    fn pairs_leave_ties_out_and_count_the_tiers_between() {
        assert_eq!(pairs(&tiers("a>b=c>d")), [("a", "b", 1), ("a", "c", 1), ("a", "d", 2), ("b", "d", 1), ("c", "d", 1)]);
        assert!(pairs(&tiers("a=b")).is_empty());
        assert_eq!(ranks(&tiers("a>b=c>d")), [("a", 1.0), ("b", 2.5), ("c", 2.5), ("d", 4.0)].into());
        assert_eq!(tidy(&vec![vec!["a".into()], vec![], vec!["a".into(), "b".into()]]), tiers("a>b"));
    }

    #[test]
    fn pairs_that_are_no_order_are_told() {
        assert_eq!(of_pairs(&[(0, 1), (1, 2), (0, 2)], 3), Some(vec![vec![0], vec![1], vec![2]]));
        assert_eq!(of_pairs(&[(0, 1), (0, 2)], 3), Some(vec![vec![0], vec![1, 2]]));
        assert_eq!(of_pairs(&[(0, 1), (1, 2), (2, 0)], 3), None, "a circle");
        assert_eq!(of_pairs(&[(0, 1), (2, 3)], 4), None, "two pairs that have nothing to do with each other");
        assert_eq!(of_pairs(&[(0, 1), (1, 0)], 2), None);
        assert_eq!(of_pairs(&[(0, 1), (1, 2)], 3), None, "what follows is not said");
    }

    #[test]
    fn people_who_disagree_meet_in_the_middle() {
        assert_eq!(consensus(&[&tiers("a>b>c"), &tiers("b>a>c")]), tiers("a=b>c"));
        assert_eq!(consensus(&[&tiers("a>b>c"), &tiers("a>c")]), tiers("a>c"));
        assert_eq!(consensus(&[]), Vec::<Vec<String>>::new());
    }

    proptest! {
        #[test]
        fn tiers_come_back_from_their_pairs(places in proptest::collection::vec(0usize..5, 2..9)) {
            let mut sorted: Vec<usize> = places.clone();
            sorted.sort_unstable();
            sorted.dedup();
            let tiers: Vec<Vec<usize>> = sorted.iter().map(|p| (0..places.len()).filter(|i| places[*i] == *p).collect()).collect();
            let mut pairs = Vec::new();
            for i in 0..places.len() {
                for j in 0..places.len() {
                    if places[i] < places[j] { pairs.push((i, j)); }
                }
            }
            prop_assert_eq!(of_pairs(&pairs, places.len()), Some(tiers));
        }
    }
}
