//! Many models on one task: tests corrected for their number, and ranks only where models can be told apart.
//! Deliberately not here: the tests themselves (`paired`).

/// Holm's correction: adjusted p-values in the order they were given (statsmodels `multipletests(method="holm")`).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|a, b| p[*a].total_cmp(&p[*b]));
    let mut out = vec![0.0; p.len()];
    let mut least: f64 = 0.0;
    for (rank, at) in order.into_iter().enumerate() {
        least = least.max(((p.len() - rank) as f64 * p[at]).min(1.0));
        out[at] = least;
    }
    out
}

/// Where a model may stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ranked {
    /// From 1; as many models are better beyond chance, and all but as many worse.
    pub best: usize,
    pub worst: usize,
    /// Models that share a letter cannot be told apart (a compact letter display: Piepho 2004).
    pub letters: String,
}

/// Ranks of models by their scores (higher is better) and by which pairs differ beyond chance.
pub fn groups(scores: &[f64], differs: &dyn Fn(usize, usize) -> bool) -> Vec<Ranked> {
    let n = scores.len();
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
    // One group of all; each pair that differs divides the groups that hold both; groups inside others go.
    let mut sets: Vec<Vec<usize>> = vec![order.clone()];
    for i in 0..n {
        for j in i + 1..n {
            if !differs(order[i], order[j]) {
                continue;
            }
            let (split, mut kept): (Vec<_>, Vec<_>) = sets.into_iter().partition(|s| s.contains(&order[i]) && s.contains(&order[j]));
            for set in split {
                for without in [order[j], order[i]] {
                    let part: Vec<usize> = set.iter().copied().filter(|m| *m != without).collect();
                    if !kept.iter().any(|k| part.iter().all(|m| k.contains(m))) {
                        kept.retain(|k| !k.iter().all(|m| part.contains(m)));
                        kept.push(part);
                    }
                }
            }
            sets = kept;
        }
    }
    let place = |m: &usize| order.iter().position(|o| o == m).unwrap_or(n);
    sets.sort_by_key(|set| set.iter().map(place).min());
    let letter = |at: usize| char::from_u32('a' as u32 + (at % 26) as u32).unwrap_or('?');
    (0..n)
        .map(|m| {
            let worse = (0..n).filter(|o| *o != m && scores[*o] < scores[m] && differs(m, *o)).count();
            let better = (0..n).filter(|o| *o != m && scores[*o] > scores[m] && differs(m, *o)).count();
            let letters = sets.iter().enumerate().filter(|(_, s)| s.contains(&m)).map(|(at, _)| letter(at)).collect();
            Ranked { best: better + 1, worst: n - worse, letters }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    // statsmodels.stats.multitest.multipletests([0.01, 0.04, 0.03, 0.005, 0.5], method="holm")[1].
    #[test]
    fn holms_correction_is_that_of_statsmodels() {
        let found = holm(&[0.01, 0.04, 0.03, 0.005, 0.5]);
        let expected = [0.04, 0.09, 0.09, 0.025, 0.5];
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12), "{found:?}");
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn models_are_ranked_only_as_far_as_they_differ() {
        let scores = [0.5, 0.9, 0.7, 0.6];
        let differs = |a: usize, b: usize| f64::abs(scores[a] - scores[b]) > 0.15;
        let found = groups(&scores, &differs);
        let ranks: Vec<_> = found.iter().map(|r| (r.best, r.worst, r.letters.as_str())).collect();
        assert_eq!(ranks, [(3, 4, "c"), (1, 1, "a"), (2, 3, "b"), (2, 4, "bc")]);
        let same = groups(&[0.5, 0.5], &|_, _| false);
        assert!(same.iter().all(|r| (r.best, r.worst, r.letters.as_str()) == (1, 2, "a")), "{same:?}");
    }
}
