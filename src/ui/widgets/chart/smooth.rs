//! A smoothed copy of a series, kept up to date as points are appended.
//! Deliberately not here: the choice of how much to smooth.

use std::sync::Arc;

use crate::run::series::Point;
use crate::ui::world::Series;

/// How many smoothed values a window keeps: between them the line hardly moves, and a million would be slow to keep.
const KEPT_OF_WINDOW: u32 = 64;

/// Values that are taken in at once. Each average waits for the one before it; by fours that is a fourth of the waiting.
const GROUP: usize = 4;

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
    /// Values that do not make a group yet.
    pending: [f64; GROUP],
    waiting: usize,
}

impl Smooth {
    pub fn new(source: &Series, window: u32) -> Self {
        let mut out = Self {
            window,
            series: Series::named("smooth"),
            identity: source.identity().clone(),
            sum: 0.0,
            weight: 0.0,
            read: 0,
            seen: 0,
            pending: [0.0; GROUP],
            waiting: 0,
        };
        out.read_on(source);
        out
    }

    /// Whether this was made of `source` with this window, however much shorter it was then.
    pub fn belongs_to(&self, source: &Series, window: u32) -> bool {
        self.window == window && Arc::ptr_eq(&self.identity, source.identity()) && self.read <= source.len()
    }

    /// Takes in what was appended to `source`. A value that is not finite leaves a hole.
    pub fn read_on(&mut self, source: &Series) {
        let (mapped, live) = source.parts();
        let old = &mapped[self.read.min(mapped.len())..];
        let new = &live[self.read.saturating_sub(mapped.len()).min(live.len())..];
        let stride = (self.window / KEPT_OF_WINDOW).max(1);
        self.series.live.reserve((old.len() + new.len()) / stride as usize);
        for part in [old, new] {
            if (stride as usize).is_multiple_of(GROUP) {
                self.read_groups(part, stride);
            } else {
                self.read_singly(part, stride);
            }
        }
        self.read = source.len();
    }

    /// What a value before this one still weighs.
    fn keep(&self) -> f64 {
        1.0 - 2.0 / (f64::from(self.window) + 1.0)
    }

    fn read_singly(&mut self, points: &[Point], stride: u32) {
        let keep = self.keep();
        let (mut sum, mut weight, mut seen) = (self.sum, self.weight, self.seen);
        for point in points.iter().filter(|point| point.value.is_finite()) {
            sum = keep * sum + (1.0 - keep) * point.value;
            weight = keep * weight + (1.0 - keep);
            seen += 1;
            if seen >= stride {
                seen = 0;
                self.series.push(Point { step: point.step, value: sum / weight });
            }
        }
        (self.sum, self.weight, self.seen) = (sum, weight, seen);
    }

    /// The same sum, by groups that begin and end at the same values however the points come in.
    fn read_groups(&mut self, points: &[Point], stride: u32) {
        let keep = self.keep();
        let all = keep.powi(GROUP as i32);
        let share: [f64; GROUP] = std::array::from_fn(|i| (1.0 - keep) * keep.powi((GROUP - 1 - i) as i32));
        let (mut sum, mut weight, mut seen) = (self.sum, self.weight, self.seen);
        let (mut pending, mut waiting) = (self.pending, self.waiting);
        let mut rest = points;
        while !rest.is_empty() {
            // Most groups lie in one piece and are whole numbers of points; the others are gathered value by value.
            let step = match rest {
                [a, b, c, d, after @ ..] if waiting == 0 && (a.value + b.value + c.value + d.value).is_finite() => {
                    pending = [a.value, b.value, c.value, d.value];
                    rest = after;
                    d.step
                }
                [point, after @ ..] => {
                    rest = after;
                    if !point.value.is_finite() {
                        continue;
                    }
                    pending[waiting] = point.value;
                    waiting += 1;
                    if waiting < GROUP {
                        continue;
                    }
                    waiting = 0;
                    point.step
                }
                [] => break,
            };
            let news = (share[0] * pending[0] + share[1] * pending[1]) + (share[2] * pending[2] + share[3] * pending[3]);
            sum = all * sum + news;
            weight = all * weight + (1.0 - all);
            seen += GROUP as u32;
            if seen >= stride {
                seen = 0;
                self.series.push(Point { step, value: sum / weight });
            }
        }
        (self.sum, self.weight, self.seen) = (sum, weight, seen);
        (self.pending, self.waiting) = (pending, waiting);
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

    #[test]
    fn groups_come_out_the_same_however_the_points_come_in_and_near_the_plain_average() {
        let value = |step: u64| if step % 97 == 5 { f64::NAN } else { (step as f64 * 0.7).sin() + step as f64 * 1e-3 };
        for window in [256, 1024, 8192] {
            let mut source = Series::named("x");
            let mut grown = Smooth::new(&source, window);
            let (mut sum, mut weight) = (0.0, 0.0);
            let keep = 1.0 - 2.0 / (f64::from(window) + 1.0);
            let mut plain = std::collections::BTreeMap::new();
            for step in 0..20_000u64 {
                source.push(Point { step, value: value(step) });
                if value(step).is_finite() {
                    sum = keep * sum + (1.0 - keep) * value(step);
                    weight = keep * weight + (1.0 - keep);
                    plain.insert(step, sum / weight);
                }
                if step % 7 == 0 {
                    grown.read_on(&source);
                }
            }
            grown.read_on(&source);
            let whole = Smooth::new(&source, window);
            assert_eq!(grown.series.live, whole.series.live, "window {window}");
            assert!(whole.series.len() > 20_000 / window as usize);
            for point in &whole.series.live {
                assert!((point.value - plain[&point.step]).abs() < 1e-9, "window {window}, step {}", point.step);
            }
        }
    }
}
