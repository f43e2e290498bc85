//! Krippendorff's alpha (Krippendorff 2011, "Computing Krippendorff's Alpha-Reliability"): agreement of any number of raters
//! who need not have rated everything.
//! Deliberately not here: what is rated.

/// What the values mean, and so how far apart two of them are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// Names: equal or not.
    Nominal,
    /// Ranks: by how many values lie between.
    Ordinal,
    /// Measures: by the square of the difference.
    Interval,
}

/// The alpha of units, each with the values that raters gave it; units with fewer than two say nothing. None where it is not
/// defined: no two values of a unit, or all values the same.
pub fn alpha(units: &[&[f64]], level: Level) -> Option<f64> {
    let mut domain: Vec<f64> = units.iter().filter(|u| u.len() > 1).flat_map(|u| u.iter().copied()).collect();
    domain.sort_by(f64::total_cmp);
    domain.dedup();
    let index = |value: f64| domain.partition_point(|v| *v < value);
    let size = domain.len();
    let mut coincidences = vec![0.0; size * size];
    for unit in units.iter().filter(|u| u.len() > 1) {
        let share = 1.0 / (unit.len() as f64 - 1.0);
        for (i, a) in unit.iter().enumerate() {
            for (j, b) in unit.iter().enumerate() {
                if i != j {
                    coincidences[index(*a) * size + index(*b)] += share;
                }
            }
        }
    }
    let totals: Vec<f64> = (0..size).map(|c| coincidences[c * size..(c + 1) * size].iter().sum()).collect();
    let n: f64 = totals.iter().sum();
    let apart = |c: usize, k: usize| match level {
        Level::Nominal => f64::from(c != k),
        Level::Interval => (domain[c] - domain[k]).powi(2),
        Level::Ordinal => {
            let (low, high) = (c.min(k), c.max(k));
            (totals[low..=high].iter().sum::<f64>() - (totals[c] + totals[k]) / 2.0).powi(2)
        }
    };
    let (mut seen, mut expected) = (0.0, 0.0);
    for c in 0..size {
        for k in 0..size {
            let distance = apart(c, k);
            seen += coincidences[c * size + k] * distance;
            expected += totals[c] * totals[k] * distance;
        }
    }
    (expected > 0.0).then(|| 1.0 - seen * (n - 1.0) / expected)
}

#[cfg(test)]
mod tests {
    use super::*;

    const X: f64 = f64::NAN;
    /// Four raters of twelve units, with what they left out: the example of Krippendorff's paper.
    const TABLE: [[f64; 12]; 4] = [
        [1., 2., 3., 3., 2., 1., 4., 1., 2., X, X, X],
        [1., 2., 3., 3., 2., 2., 4., 1., 2., 5., X, 3.],
        [X, 3., 3., 3., 2., 3., 4., 2., 2., 5., 1., X],
        [1., 2., 3., 3., 2., 4., 4., 1., 2., 5., 1., X],
    ];
    /// Mean ranks of responses with ties, by three people.
    const RANKS: [[f64; 8]; 3] = [[1., 2., 3., 4., 1.5, 1.5, 3., 4.], [2., 1., 3., 4., 1., 2.5, 2.5, 4.], [1., 3., 2., 4., X, X, X, X]];

    fn of<const N: usize>(table: &[[f64; N]], level: Level) -> f64 {
        let units: Vec<Vec<f64>> = (0..N).map(|u| table.iter().map(|r| r[u]).filter(|v| !v.is_nan()).collect()).collect();
        alpha(&units.iter().map(Vec::as_slice).collect::<Vec<_>>(), level).unwrap()
    }

    /// Against `krippendorff.alpha(reliability_data, level_of_measurement=…)` of krippendorff 0.9.0.
    #[test]
    fn it_equals_the_python_library() {
        for (level, paper, ranks) in ALPHAS {
            assert!((of(&TABLE, *level) - paper).abs() < 1e-9, "{level:?}: {}", of(&TABLE, *level));
            assert!((of(&RANKS, *level) - ranks).abs() < 1e-9, "{level:?}: {}", of(&RANKS, *level));
        }
        assert_eq!(alpha(&[&[1.0], &[2.0]], Level::Nominal), None);
        assert_eq!(alpha(&[&[1.0, 1.0]], Level::Ordinal), None);
    }

    const ALPHAS: &[(Level, f64, f64)] = &[
        (Level::Nominal, 0.743_421_052_631_579, 0.242_331_288_343_558_22),
        (Level::Ordinal, 0.815_387_503_754_881_4, 0.712_558_411_214_953_2),
        (Level::Interval, 0.849_107_142_857_142_8, 0.742_708_333_333_333_3),
    ];
}
