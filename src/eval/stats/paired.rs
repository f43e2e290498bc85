//! Two models on the same items: whether their difference is more than chance, and the least that could be seen.
//! Deliberately not here: how items are matched (`compare`).

use serde::{Deserialize, Serialize};

use super::{LEVEL, POWER, RESAMPLES, mean, normal_quantile, quantile};
use crate::rng::Stream;

/// The comparison of B with A: differences are B − A.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Paired {
    pub n: usize,
    pub difference: f64,
    /// Of the difference, by the paired bootstrap (over clusters where items come in clusters).
    pub low: f64,
    pub high: f64,
    pub p: f64,
    /// `mcnemar` (exact) where both scores are right or wrong and items stand alone, else `bootstrap`.
    pub test: String,
    /// Items on which A is better, and B.
    pub a_better: usize,
    pub b_better: usize,
    /// The smallest true difference that this many items show in 8 of 10 cases, at the discordance that was found.
    pub detectable: f64,
}

/// Compares scores of the same items. Clusters, where given, are resampled whole.
pub fn paired(a: &[f64], b: &[f64], clusters: Option<&[&str]>, seed: u64) -> Option<Paired> {
    if a.len() != b.len() || a.is_empty() {
        return None;
    }
    let differences: Vec<f64> = b.iter().zip(a).map(|(b, a)| b - a).collect();
    let a_better = differences.iter().filter(|d| **d < 0.0).count();
    let b_better = differences.iter().filter(|d| **d > 0.0).count();
    let binary = a.iter().chain(b).all(|v| *v == 0.0 || *v == 1.0);
    let (low, high, by_draws) = resampled(&differences, clusters, seed);
    let exact = binary && clusters.is_none();
    let detectable = if binary { detectable_binary(a.len(), a_better + b_better) } else { detectable_mean(&differences) };
    Some(Paired {
        n: a.len(),
        difference: mean(&differences),
        low,
        high,
        p: if exact { mcnemar_exact(a_better, b_better) } else { by_draws },
        test: if exact { "mcnemar" } else { "bootstrap" }.into(),
        a_better,
        b_better,
        detectable,
    })
}

/// McNemar's exact test: the two-sided binomial chance of so unequal a division of the discordant items
/// (statsmodels `mcnemar(table, exact=True)`).
pub fn mcnemar_exact(b: usize, c: usize) -> f64 {
    let n = b + c;
    if n == 0 {
        return 1.0;
    }
    // Sums of ln C(n, i) − n ln 2, from the likeliest term on, so that thousands of items do not underflow.
    let mut term = -(n as f64) * std::f64::consts::LN_2;
    let mut logs = vec![term];
    for i in 0..b.min(c) {
        term += ((n - i) as f64 / (i + 1) as f64).ln();
        logs.push(term);
    }
    let most = logs.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let tail = most.exp() * logs.iter().map(|l| (l - most).exp()).sum::<f64>();
    (2.0 * tail).min(1.0)
}

/// The smallest difference of two shares that McNemar's test sees with the power [`POWER`], where `discordant` of `n`
/// items differ: d with z₁√ψ + z₂√(ψ − d²) = d√n (Connor 1987). The discordance is at least what the difference itself needs.
pub fn detectable_binary(n: usize, discordant: usize) -> f64 {
    if n == 0 {
        return 1.0;
    }
    let (z1, z2) = (normal_quantile(0.5 + LEVEL / 2.0), normal_quantile(POWER));
    let found = discordant as f64 / n as f64;
    let need = |d: f64| {
        let psi = found.max(d);
        z1 * psi.sqrt() + z2 * (psi - d * d).max(0.0).sqrt() - d * (n as f64).sqrt()
    };
    let (mut low, mut high) = (0.0, 1.0);
    if need(high) > 0.0 {
        return 1.0;
    }
    for _ in 0..60 {
        let middle = (low + high) / 2.0;
        if need(middle) > 0.0 { low = middle } else { high = middle }
    }
    high
}

/// The same for a mean difference: (z₁ + z₂) s / √n.
pub fn detectable_mean(differences: &[f64]) -> f64 {
    if differences.len() < 2 {
        return f64::INFINITY;
    }
    let m = mean(differences);
    let n = differences.len() as f64;
    let variance = differences.iter().map(|d| (d - m).powi(2)).sum::<f64>() / (n - 1.0);
    (normal_quantile(0.5 + LEVEL / 2.0) + normal_quantile(POWER)) * (variance / n).sqrt()
}

/// Percentile interval of the mean difference, and the two-sided share of draws on the other side of zero.
fn resampled(differences: &[f64], clusters: Option<&[&str]>, seed: u64) -> (f64, f64, f64) {
    let mut groups: Vec<(f64, f64)> = Vec::new();
    match clusters {
        Some(clusters) => {
            let mut sums = std::collections::BTreeMap::<&str, (f64, f64)>::new();
            for (d, c) in differences.iter().zip(clusters) {
                let sum = sums.entry(c).or_default();
                *sum = (sum.0 + d, sum.1 + 1.0);
            }
            groups.extend(sums.into_values());
        }
        None => groups.extend(differences.iter().map(|d| (*d, 1.0))),
    }
    let mut stream = Stream::new(seed, "eval/paired");
    let mut drawn: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let (mut sum, mut n) = (0.0, 0.0);
            for _ in 0..groups.len() {
                let (d, c) = groups[stream.below(groups.len() as u64) as usize];
                (sum, n) = (sum + d, n + c);
            }
            sum / n
        })
        .collect();
    drawn.sort_by(f64::total_cmp);
    let share = |on: fn(&f64) -> bool| (drawn.iter().filter(|d| on(d)).count() + 1) as f64 / (drawn.len() + 1) as f64;
    let p = (2.0 * share(|d| *d <= 0.0).min(share(|d| *d >= 0.0))).min(1.0);
    let tail = (1.0 - LEVEL) / 2.0;
    (quantile(&drawn, tail), quantile(&drawn, 1.0 - tail), p)
}

#[cfg(test)]
mod tests {
    use super::*;

    // statsmodels.stats.contingency_tables.mcnemar([[0, b], [c, 0]], exact=True).pvalue.
    #[test]
    fn mcnemars_test_is_that_of_statsmodels() {
        for (b, c, p) in MCNEMAR {
            let found = mcnemar_exact(b, c);
            assert!((found - p).abs() < 1e-9 || (found / p - 1.0).abs() < 1e-6, "{b}, {c}: {found} is not {p}");
        }
    }
    const MCNEMAR: [(usize, usize, f64); 7] = [
        (0, 0, 1.0),
        (1, 20, 2.09808349609375e-05),
        (12, 12, 1.0),
        (0, 5, 0.0625),
        (30, 52, 0.0198269158458416),
        (700, 900, 6.319484959450105e-07),
        (3000, 3200, 0.011488253770871584),
    ];

    #[test]
    fn two_models_are_compared_on_the_same_items() {
        let a: Vec<f64> = (0..100).map(|i| f64::from(i % 2)).collect();
        let mut b = a.clone();
        (0..20).for_each(|i| b[i * 2] = 1.0);
        b[99] = 0.0;
        let found = paired(&a, &b, None, 7).unwrap();
        assert_eq!((found.n, found.a_better, found.b_better, found.test.as_str()), (100, 1, 20, "mcnemar"));
        assert!((found.difference - 0.19).abs() < 1e-12 && found.low > 0.05 && found.high < 0.3 && found.p < 1e-4, "{found:?}");
        let same = paired(&a, &a, None, 7).unwrap();
        assert!(same.difference == 0.0 && same.p == 1.0 && same.low == 0.0 && same.high == 0.0);
        // Ten copies of ten items are no hundred items.
        let clusters: Vec<String> = (0..100).map(|i| (i % 10).to_string()).collect();
        let clusters: Vec<&str> = clusters.iter().map(String::as_str).collect();
        let of_clusters = paired(&a, &b, Some(&clusters), 7).unwrap();
        assert_eq!(of_clusters.test, "bootstrap");
        assert!(paired(&[], &[], None, 1).is_none() && paired(&a, &b[1..], None, 1).is_none());
    }

    #[test]
    fn fewer_items_see_less() {
        let d = detectable_binary(400, 80);
        // Put back into the formula it gives the power that was asked for.
        let (z1, z2) = (normal_quantile(0.975), normal_quantile(0.8));
        assert!((z1 * 0.2f64.sqrt() + z2 * (0.2 - d * d).sqrt() - d * 20.0).abs() < 1e-9, "{d}");
        assert!(detectable_binary(100, 20) > d && detectable_binary(3, 0) == 1.0);
        assert!(detectable_mean(&[0.1, -0.1, 0.2]) > detectable_mean(&[0.1, -0.1, 0.2].repeat(4)));
    }
}
