//! Intervals by resampling (Efron 1979): whole items are drawn again, since what is said of one item hangs together.
//! Deliberately not here: the figures themselves.

use super::Figure;
use crate::rng::Stream;

/// Drawings. The ends of a 95 % interval then rest on 25 values each.
pub const ROUNDS: usize = 1_000;

/// A figure over `groups` things with its percentile interval. `of` takes the places of the groups that were drawn, some
/// several times; where it has no value for a drawing, that one is left out. `n` is what the figure is of.
pub fn figure(groups: usize, n: u64, seed: u64, of: impl Fn(&[usize]) -> Option<f64>) -> Option<Figure> {
    let all: Vec<usize> = (0..groups).collect();
    let value = of(&all)?;
    let mut stream = Stream::new(seed, "bootstrap");
    let mut drawn = vec![0; groups];
    let mut values = Vec::with_capacity(ROUNDS);
    for _ in 0..ROUNDS {
        drawn.iter_mut().for_each(|d| *d = stream.below(groups as u64) as usize);
        values.extend(of(&drawn));
    }
    values.sort_by(f64::total_cmp);
    Some(Figure { value, low: quantile(&values, 0.025).unwrap_or(value), high: quantile(&values, 0.975).unwrap_or(value), n })
}

/// A quantile of sorted values, between two of them in proportion (as numpy does by default).
pub fn quantile(sorted: &[f64], q: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = q * last as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    Some(sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_lie_between_values() {
        assert_eq!(quantile(&[1.0, 2.0, 4.0], 0.75), Some(3.0));
        assert_eq!(quantile(&[7.0], 0.025), Some(7.0));
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn the_interval_of_a_mean_is_about_two_standard_errors_wide() {
        let mut stream = Stream::new(5, "values");
        let values: Vec<f64> = (0..400).map(|_| stream.normal()).collect();
        let mean = |drawn: &[usize]| Some(drawn.iter().map(|i| values[*i]).sum::<f64>() / drawn.len() as f64);
        let found = figure(values.len(), 400, 1, mean).unwrap();
        // 2 × 1.96 × 1/√400 = 0.196, and a bootstrap of 1,000 is right to a few per cent.
        assert!((found.high - found.low - 0.196).abs() < 0.03, "{found:?}");
        assert!(found.low < found.value && found.value < found.high);
        assert_eq!(figure(values.len(), 400, 1, mean), Some(found), "the same seed, the same interval");
        assert_eq!(figure(0, 0, 1, |_| None), None);
    }
}
