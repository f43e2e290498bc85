//! Figures about labels: how fast, how consistent with oneself and with others, how biased, and which model wins.
//! Deliberately not here: statistics of evaluations, which are of another floor.

pub mod alpha;
pub mod bootstrap;
pub mod bradley_terry;
pub mod kappa;
mod summary;
pub mod words;

use serde::Serialize;

pub use summary::{Between, Disagreement, ModelRate, Person, Summary, summarise};

/// A figure with its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Figure {
    pub value: f64,
    pub low: f64,
    pub high: f64,
    /// How many comparisons it is of.
    pub n: u64,
}

impl Figure {
    /// A share with Wilson's score interval (Wilson 1927): right at 0 and 1 and for few.
    pub fn share(hits: f64, n: u64) -> Option<Self> {
        if n == 0 {
            return None;
        }
        let (count, z) = (n as f64, 1.959_963_984_540_054);
        let value = hits / count;
        let (z2, spread) = (z * z, z * (value * (1.0 - value) / count + z * z / (4.0 * count * count)).sqrt());
        let (middle, scale) = (value + z2 / (2.0 * count), 1.0 + z2 / count);
        Some(Self { value, low: ((middle - spread) / scale).max(0.0), high: ((middle + spread) / scale).min(1.0), n })
    }
}

/// The middle of values, the mean of the middle two where they are even; none of none.
pub fn median(values: &mut [f64]) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    match n {
        0 => None,
        _ if n % 2 == 1 => Some(values[n / 2]),
        _ => Some((values[n / 2 - 1] + values[n / 2]) / 2.0),
    }
}
