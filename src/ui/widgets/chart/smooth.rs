//! A smoothed copy of a series, kept up to date as points are appended.
//! Deliberately not here: the choice of how much to smooth.

use std::sync::Arc;

use crate::run::series::Point;
use crate::ui::world::Series;

/// How many smoothed values a window keeps: between them the line hardly moves, and a million would be slow to keep.
const KEPT_OF_WINDOW: u32 = 64;

/// An exponential moving average without the pull towards zero of its first values (as Adam corrects its moments:
/// Kingma and Ba 2015, section 3). Computed on every point, before any decimation, and kept often enough for the eye.
pub struct Smooth {
    /// Points that weigh about as much as a plain average over so many would.
    pub window: u32,
    pub series: Series,
    identity: Arc<u8>,
    sum: f64,
    weight: f64,
    read: usize,
    /// Finite values since the last one that was kept.
    seen: u32,
}

impl Smooth {
    pub fn new(source: &Series, window: u32) -> Self {
        let mut out =
            Self { window, series: Series::named("smooth"), identity: source.identity().clone(), sum: 0.0, weight: 0.0, read: 0, seen: 0 };
        out.read_on(source);
        out
    }

    /// Whether this was made of `source` with this window, however much shorter it was then.
    pub fn belongs_to(&self, source: &Series, window: u32) -> bool {
        self.window == window && Arc::ptr_eq(&self.identity, source.identity()) && self.read <= source.len()
    }

    /// Takes in what was appended to `source`. A value that is not finite leaves a hole.
    pub fn read_on(&mut self, source: &Series) {
        let keep = 1.0 - 2.0 / (f64::from(self.window) + 1.0);
        let (mapped, live) = source.parts();
        let old = &mapped[self.read.min(mapped.len())..];
        let new = &live[self.read.saturating_sub(mapped.len()).min(live.len())..];
        let stride = (self.window / KEPT_OF_WINDOW).max(1);
        self.series.live.reserve((old.len() + new.len()) / stride as usize);
        // The averages stay in registers, and the loop within each part: a million points are read in a frame.
        let (mut sum, mut weight, mut seen) = (self.sum, self.weight, self.seen);
        old.iter().chain(new).filter(|point| point.value.is_finite()).for_each(|point| {
            sum = keep * sum + (1.0 - keep) * point.value;
            weight = keep * weight + (1.0 - keep);
            seen += 1;
            if seen >= stride {
                seen = 0;
                self.series.push(Point { step: point.step, value: sum / weight });
            }
        });
        (self.sum, self.weight, self.seen) = (sum, weight, seen);
        self.read = source.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_on_equals_reading_at_once_and_a_constant_stays() {
        let mut source = Series::named("x");
        let mut grown = Smooth::new(&source, 10);
        for step in 0..500u64 {
            source.push(Point { step, value: if step == 77 { f64::NAN } else { (step as f64).sin() + 3.0 } });
            if step % 7 == 0 {
                grown.read_on(&source);
            }
        }
        grown.read_on(&source);
        let whole = Smooth::new(&source, 10);
        assert_eq!(grown.series.live, whole.series.live);
        assert_eq!(whole.series.at(77), None);
        assert_eq!(whole.series.first().unwrap().value, 3.0);
        assert!(whole.belongs_to(&source, 10) && !whole.belongs_to(&source, 11));
        source.truncate_after(100);
        assert!(!whole.belongs_to(&source, 10));
    }
}
