//! Statistics of evaluations: intervals of one score, tests of two models on the same items, groups of many.
//! Deliberately not here: what a score means (`tasks`), and randomness of its own: a bootstrap draws from a stream by seed.

mod interval;
mod many;
mod paired;

pub use interval::{Interval, clustered, ratio_bootstrap, wilson};
pub use many::{Ranked, groups, holm};
pub use paired::{Paired, detectable_binary, detectable_mean, mcnemar_exact, paired};

use statrs::distribution::{ContinuousCDF, Normal};

/// The confidence of every interval that is shown.
pub const LEVEL: f64 = 0.95;
/// The chance of seeing a difference that is there, for which the smallest detectable one is given.
pub const POWER: f64 = 0.8;
/// Resamples of a bootstrap.
pub const RESAMPLES: usize = 2000;

/// The standard normal quantile; 0 for a probability that is none.
pub fn normal_quantile(p: f64) -> f64 {
    if !(p > 0.0 && p < 1.0) {
        return 0.0;
    }
    Normal::new(0.0, 1.0).map_or(0.0, |normal| normal.inverse_cdf(p))
}

/// The value at share `p` of sorted values, with linear interpolation (numpy's `percentile`).
pub fn quantile(sorted: &[f64], p: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return f64::NAN };
    let place = p.clamp(0.0, 1.0) * last as f64;
    let low = place.floor() as usize;
    let rest = place - low as f64;
    sorted[low] + rest * (sorted[(low + 1).min(last)] - sorted[low])
}

pub fn mean(values: &[f64]) -> f64 {
    if values.is_empty() { f64::NAN } else { values.iter().sum::<f64>() / values.len() as f64 }
}

/// The chance that at least one of `k` samples is right, where `right` of `n` were: 1 − C(n−c, k) / C(n, k), unbiased
/// (Chen et al. 2021, “Evaluating Large Language Models Trained on Code”). With fewer than `k` samples, of all of them.
pub fn pass_at_k(n: usize, right: usize, k: usize) -> f64 {
    let k = k.clamp(1, n.max(1));
    if n == 0 || right == 0 {
        return 0.0;
    }
    if n - right.min(n) < k {
        return 1.0;
    }
    1.0 - ((n - right + 1)..=n).map(|i| 1.0 - k as f64 / i as f64).product::<f64>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-6, "{a} is not {b}");
    }

    // Values by scipy.stats.norm.ppf and numpy.percentile.
    #[test]
    fn quantiles_are_those_of_scipy_and_numpy() {
        near(normal_quantile(0.975), 1.959963984540054);
        near(normal_quantile(0.8), 0.8416212335729143);
        near(normal_quantile(0.0005), -3.2905267314918945);
        near(quantile(&[1.0, 2.0, 4.0, 8.0], 0.3), 1.9);
        assert!(quantile(&[], 0.5).is_nan());
    }

    // By the definition, with scipy.special.comb: 1 - comb(n - c, k) / comb(n, k).
    #[test]
    fn pass_at_k_is_the_unbiased_estimator() {
        near(pass_at_k(10, 3, 1), 0.3);
        near(pass_at_k(10, 3, 5), 0.9166666666666667);
        near(pass_at_k(200, 7, 10), 0.3055988116177335);
        near(pass_at_k(5, 5, 3), 1.0);
        near(pass_at_k(5, 0, 3), 0.0);
        near(pass_at_k(3, 1, 100), 1.0);
        near(pass_at_k(0, 0, 1), 0.0);
    }
}
