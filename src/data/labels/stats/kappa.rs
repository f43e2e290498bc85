//! Cohen's kappa (Cohen 1960, weighted 1968): agreement of two raters beyond what their habits alone would give.
//! Deliberately not here: what is rated.

/// How much a disagreement counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weights {
    /// All alike.
    None,
    /// By the categories between.
    Linear,
    Quadratic,
}

/// The kappa of pairs of categories (below `categories`) that two raters gave the same things; none where it is not defined:
/// nothing was rated by both, or both only ever used one and the same category.
pub fn kappa(rated: &[(usize, usize)], categories: usize, weights: Weights) -> Option<f64> {
    let mut table = vec![vec![0.0; categories]; categories];
    for &(a, b) in rated {
        *table.get_mut(a)?.get_mut(b)? += 1.0;
    }
    let n = rated.len() as f64;
    let rows: Vec<f64> = table.iter().map(|row| row.iter().sum()).collect();
    let columns: Vec<f64> = (0..categories).map(|c| table.iter().map(|row| row[c]).sum()).collect();
    let weight = |i: usize, j: usize| match weights {
        Weights::None => f64::from(i != j),
        Weights::Linear => i.abs_diff(j) as f64,
        Weights::Quadratic => (i.abs_diff(j) as f64).powi(2),
    };
    let (mut seen, mut expected) = (0.0, 0.0);
    for (i, row) in table.iter().enumerate() {
        for (j, count) in row.iter().enumerate() {
            seen += weight(i, j) * count;
            expected += weight(i, j) * rows[i] * columns[j] / n;
        }
    }
    (expected > 0.0).then(|| 1.0 - seen / expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Against `sklearn.metrics.cohen_kappa_score(a, b, labels=[0, 1, 2], weights=…)` of scikit-learn 1.9.1.
    #[test]
    fn it_equals_scikit_learn() {
        let a = [0, 1, 2, 1, 0, 2, 2, 1, 0, 0, 1, 2, 0, 2, 1, 1, 0, 2, 2, 0];
        let b = [0, 1, 1, 1, 0, 2, 0, 1, 0, 1, 1, 2, 2, 2, 1, 0, 0, 2, 1, 0];
        let rated: Vec<(usize, usize)> = a.into_iter().zip(b).collect();
        for (weights, want) in KAPPAS {
            let got = kappa(&rated, 3, *weights).unwrap();
            assert!((got - want).abs() < 1e-9, "{weights:?}: {got}");
        }
        assert_eq!(kappa(&[], 3, Weights::None), None);
        assert_eq!(kappa(&[(1, 1), (1, 1)], 3, Weights::None), None);
        assert_eq!(kappa(&[(3, 0)], 3, Weights::None), None);
    }

    const KAPPAS: &[(Weights, f64)] = &[
        (Weights::None, 0.552_238_805_970_149_2),
        (Weights::Linear, 0.545_454_545_454_545_4),
        (Weights::Quadratic, 0.538_461_538_461_538_4),
    ];
}
