//! Intervals of one score: of a share, of a mean over clusters, of a ratio of sums.
//! Deliberately not here: comparisons (`paired`, `many`).

use serde::{Deserialize, Serialize};

use super::{LEVEL, RESAMPLES, mean, normal_quantile, quantile};
use crate::rng::Stream;

/// Where the true score lies with the confidence [`LEVEL`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
    /// `wilson`, `clustered`, `bootstrap`.
    pub method: String,
}

impl Interval {
    fn new(low: f64, high: f64, method: &str) -> Self {
        Self { low, high, method: method.into() }
    }
    pub fn half_width(&self) -> f64 {
        (self.high - self.low) / 2.0
    }
}

/// Wilson's score interval of a share (statsmodels `proportion_confint(method="wilson")`). `right` need not be whole.
pub fn wilson(right: f64, n: usize) -> Interval {
    if n == 0 {
        return Interval::new(0.0, 1.0, "wilson");
    }
    let (n, z) = (n as f64, normal_quantile(0.5 + LEVEL / 2.0));
    let p = right / n;
    let scale = 1.0 + z * z / n;
    let middle = (p + z * z / (2.0 * n)) / scale;
    let half = z * (p * (1.0 - p) / n + z * z / (4.0 * n * n)).sqrt() / scale;
    Interval::new((middle - half).max(0.0), (middle + half).min(1.0), "wilson")
}

/// The interval of a mean whose values come in clusters (questions about one text): the cluster-robust standard error
/// with the small-sample factor G / (G − 1), as statsmodels' `OLS(...).fit(cov_type="cluster")` has it for a constant.
/// `None` where there are fewer than two clusters.
pub fn clustered(values: &[f64], clusters: &[&str]) -> Option<Interval> {
    let m = mean(values);
    let mut sums = std::collections::BTreeMap::<&str, f64>::new();
    values.iter().zip(clusters).for_each(|(v, c)| *sums.entry(c).or_default() += v - m);
    let groups = sums.len();
    if groups < 2 || values.len() != clusters.len() {
        return None;
    }
    let factor = groups as f64 / (groups as f64 - 1.0);
    let error = (factor * sums.values().map(|s| s * s).sum::<f64>()).sqrt() / values.len() as f64;
    let half = normal_quantile(0.5 + LEVEL / 2.0) * error;
    Some(Interval::new(m - half, m + half, "clustered"))
}

/// The percentile bootstrap of `shown(Σ numerator / Σ denominator)`, over items. A mean has the denominator 1.
pub fn ratio_bootstrap(pairs: &[(f64, f64)], seed: u64, shown: impl Fn(f64) -> f64) -> Option<Interval> {
    if pairs.len() < 2 {
        return None;
    }
    let mut stream = Stream::new(seed, "eval/bootstrap");
    let mut drawn: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let (mut a, mut b) = (0.0, 0.0);
            for _ in 0..pairs.len() {
                let (x, y) = pairs[stream.below(pairs.len() as u64) as usize];
                (a, b) = (a + x, b + y);
            }
            shown(a / b)
        })
        .filter(|v| !v.is_nan())
        .collect();
    drawn.sort_by(f64::total_cmp);
    let tail = (1.0 - LEVEL) / 2.0;
    (!drawn.is_empty()).then(|| Interval::new(quantile(&drawn, tail), quantile(&drawn, 1.0 - tail), "bootstrap"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn near(interval: &Interval, low: f64, high: f64, within: f64) {
        assert!((interval.low - low).abs() < within && (interval.high - high).abs() < within, "{interval:?} is not {low} to {high}");
    }

    // statsmodels.stats.proportion.proportion_confint(c, n, method="wilson").
    #[test]
    fn wilsons_interval_is_that_of_statsmodels() {
        near(&wilson(10.0, 60), WILSON_10_60.0, WILSON_10_60.1, 1e-9);
        near(&wilson(0.0, 25), WILSON_0_25.0, WILSON_0_25.1, 1e-9);
        near(&wilson(221.0, 250), WILSON_221_250.0, WILSON_221_250.1, 1e-9);
        near(&wilson(0.0, 0), 0.0, 1.0, 1e-12);
    }
    const WILSON_10_60: (f64, f64) = (0.09313176979191451, 0.2803161316361454);
    const WILSON_0_25: (f64, f64) = (0.0, 0.13319225093904855);
    const WILSON_221_250: (f64, f64) = (0.8383692329120547, 0.9180083930754439);

    // statsmodels OLS(y, ones).fit(cov_type="cluster", cov_kwds={"groups": g}).conf_int().
    #[test]
    fn the_clustered_interval_is_that_of_statsmodels() {
        let values = [1.0, 0.0, 1.0, 1.0, 0.0, 0.5, 1.0, 0.0, 0.0, 1.0, 1.0, 1.0];
        let groups = ["a", "a", "a", "b", "b", "b", "c", "c", "d", "d", "d", "e"];
        let found = clustered(&values, &groups).unwrap();
        near(&found, CLUSTERED.0, CLUSTERED.1, 1e-7);
        assert!(clustered(&values, &["a"; 12]).is_none());
    }
    const CLUSTERED: (f64, f64) = (0.51317537, 0.73682463);

    // scipy.stats.bootstrap((x,), numpy.mean, method="percentile", n_resamples=200000): random, so only near.
    #[test]
    fn the_bootstrap_is_near_that_of_scipy() {
        let pairs: Vec<(f64, f64)> = (0..50).map(|i| (f64::from(i * i % 17) / 4.0, 1.0)).collect();
        near(&ratio_bootstrap(&pairs, 1, |v| v).unwrap(), BOOTSTRAP.0, BOOTSTRAP.1, 0.05);
        assert_eq!(ratio_bootstrap(&pairs, 1, |v| v), ratio_bootstrap(&pairs, 1, |v| v));
        assert!(ratio_bootstrap(&pairs[..1], 1, |v| v).is_none());
    }
    const BOOTSTRAP: (f64, f64) = (1.645, 2.43);
}
