//! Axes: from values to places, with round ends that hold still while data comes in.
//! Deliberately not here: pixels and text.

/// A range of values along one direction of a chart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Axis {
    pub lo: f64,
    pub hi: f64,
    pub log: bool,
}

impl Axis {
    /// Where a value lies: 0 at `lo`, 1 at `hi`, beyond where it is beyond. A logarithmic axis has no place for
    /// zero and below: they lie under its lower end.
    pub fn unit(&self, value: f64) -> f64 {
        if !self.log {
            return (value - self.lo) / (self.hi - self.lo);
        }
        if value <= 0.0 {
            return -0.05;
        }
        (value / self.lo).ln() / (self.hi / self.lo).ln()
    }

    /// The value at a place: the inverse of [`Axis::unit`].
    pub fn value(&self, unit: f64) -> f64 {
        if self.log { self.lo * (self.hi / self.lo).powf(unit) } else { self.lo + unit * (self.hi - self.lo) }
    }

    /// The part of this axis between two places.
    pub fn part(&self, from: f64, to: f64) -> Self {
        Self { lo: self.value(from), hi: self.value(to), log: self.log }
    }

    /// Round values to label, at most `count` or so.
    pub fn ticks(&self, count: usize) -> Vec<f64> {
        let count = count.max(2);
        if self.log && self.hi / self.lo >= 4.0 {
            return self.log_ticks(count);
        }
        let step = nice_step((self.hi - self.lo) / count as f64);
        let first = (self.lo / step - 1e-9).ceil();
        (0..=2 * count).map(|i| (first + i as f64) * step).take_while(|v| *v <= self.hi + step * 1e-9).collect()
    }

    fn log_ticks(&self, count: usize) -> Vec<f64> {
        let (lo, hi) = (self.lo.log10().floor() as i32, self.hi.log10().ceil() as i32);
        let within = |v: &f64| *v >= self.lo * (1.0 - 1e-9) && *v <= self.hi * (1.0 + 1e-9);
        for mantissas in [&[1.0, 2.0, 3.0, 5.0][..], &[1.0, 2.0, 5.0], &[1.0, 3.0], &[1.0]] {
            let ticks: Vec<f64> = (lo..=hi).flat_map(|e| mantissas.iter().map(move |m| m * 10f64.powi(e))).filter(|v| within(v)).collect();
            if ticks.len() <= count + 1 {
                return ticks;
            }
        }
        let decades = (hi - lo).max(1) as usize;
        let every = decades.div_ceil(count).max(1);
        (lo..=hi).step_by(every).map(|e| 10f64.powi(e)).filter(|v| within(v)).collect()
    }
}

/// The smallest of 1, 2, 2.5, 5 times a power of ten that is no smaller than `raw`.
fn nice_step(raw: f64) -> f64 {
    if !(raw.is_finite() && raw > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(raw.log10().floor());
    let step = [1.0, 2.0, 2.5, 5.0].into_iter().find(|m| m * power >= raw * (1.0 - 1e-9)).unwrap_or(10.0);
    step * power
}

/// A vertical axis with round ends around values from `min` to `max`.
pub fn around(min: f64, max: f64, log: bool, count: usize) -> Axis {
    let (mut min, mut max) = if min <= max { (min, max) } else { (0.0, 1.0) };
    if log && max > 0.0 {
        min = if min > 0.0 { min } else { max * 1e-3 };
        if max / min < 1.02 {
            (min, max) = (min * 0.9, max * 1.1);
        }
        // Within a small ratio the two axes hardly differ, and the ends of a plain one lie closer.
        let plain = around(min, max, false, count);
        if max / min < 4.0 && plain.lo > 0.0 {
            return Axis { log: true, ..plain };
        }
        return Axis { lo: round_log(min, false), hi: round_log(max, true), log: true };
    }
    if max - min <= (max.abs() + min.abs()) * 1e-9 {
        let pad = if max == 0.0 { 1.0 } else { max.abs() * 0.5 };
        (min, max) = (min - pad, max + pad);
        if max > 0.0 && min < 0.0 && min.abs() < max {
            min = 0.0;
        }
    }
    let step = nice_step((max - min) / count.max(2) as f64);
    let lo = (min / step + 1e-9).floor() * step;
    let hi = (max / step - 1e-9).ceil() * step;
    Axis { lo, hi: if hi > lo { hi } else { lo + step }, log: false }
}

fn round_log(value: f64, up: bool) -> f64 {
    let power = 10f64.powf(value.log10().floor());
    let mantissas = [1.0, 1.2, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0];
    let m = value / power;
    let found = if up {
        mantissas.into_iter().find(|c| *c >= m * (1.0 - 1e-9)).unwrap_or(10.0)
    } else {
        mantissas.into_iter().rev().find(|c| *c <= m * (1.0 + 1e-9)).unwrap_or(1.0)
    };
    found * power
}

/// The axis to draw now: the one drawn before, as long as the values fit into it and fill a fair part of it, so
/// that what is drawn already stays where it is.
pub fn hold(before: Option<Axis>, min: f64, max: f64, log: bool, count: usize) -> Axis {
    let fresh = around(min, max, log, count);
    let Some(old) = before.filter(|old| old.log == fresh.log) else { return fresh };
    let fits = min >= old.lo && max <= old.hi || min > max;
    let span = |axis: &Axis| if axis.log { (axis.hi / axis.lo).ln() } else { axis.hi - axis.lo };
    if fits && span(&old) <= 1.8 * span(&fresh) { old } else { fresh }
}

/// The right end of an axis of steps: grows in strides, so that a live run does not shift its own history with
/// every step; no further than the last step where that is known.
pub fn right_end(step: u64, total: Option<u64>) -> u64 {
    let step = step.max(1);
    let mut power = 10u64;
    while power.saturating_mul(10) <= step {
        power = power.saturating_mul(10);
    }
    let end =
        [10u64, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100].into_iter().map(|m| m.saturating_mul(power / 10).max(10)).find(|e| *e >= step);
    let end = end.unwrap_or(step);
    total.filter(|t| *t >= step).map_or(end, |t| end.min(t))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ends_are_round_and_ticks_are_few() {
        let axis = around(1.83, 4.2, false, 5);
        assert_eq!((axis.lo, axis.hi), (1.5, 4.5));
        assert_eq!(axis.ticks(6), [1.5, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5]);
        let log = around(0.003, 7.0, true, 5);
        assert_eq!((log.lo, log.hi), (0.003, 8.0));
        assert_eq!(log.ticks(5), [0.01, 0.1, 1.0].to_vec().into_iter().collect::<Vec<_>>());
    }

    #[test]
    fn an_axis_holds_still_while_it_fits() {
        let first = hold(None, 2.0, 4.2, false, 5);
        assert_eq!(hold(Some(first), 1.99f64.max(first.lo), 4.2, false, 5), first);
        assert_ne!(hold(Some(first), 2.0, 9.0, false, 5), first);
        assert_ne!(hold(Some(first), 2.0, 2.1, false, 5), first);
    }

    #[test]
    fn the_right_end_moves_in_strides_and_stops_at_the_last_step() {
        assert_eq!([1, 10, 11, 412, 1999, 2000].map(|s| right_end(s, Some(2000))), [10, 10, 12, 500, 2000, 2000]);
        let ends: std::collections::BTreeSet<u64> = (1..100_000).map(|s| right_end(s, None)).collect();
        assert!(ends.len() < 50);
    }

    proptest! {
        #[test]
        fn every_value_lies_on_its_axis(a in -1e6..1e6f64, b in -1e6..1e6f64, log: bool, count in 2usize..12) {
            let (min, max) = (a.min(b), a.max(b));
            let axis = around(min, max, log, count);
            prop_assert!(axis.lo < axis.hi && axis.lo.is_finite() && axis.hi.is_finite());
            if !axis.log {
                prop_assert!(axis.unit(min) >= -1e-9 && axis.unit(max) <= 1.0 + 1e-9);
            }
            let v = axis.value(axis.unit(axis.lo + (axis.hi - axis.lo) * 0.3));
            prop_assert!((v - (axis.lo + (axis.hi - axis.lo) * 0.3)).abs() <= 1e-6 * (axis.hi - axis.lo));
            prop_assert!(axis.ticks(count).len() <= 2 * count + 12);
        }
        #[test]
        fn the_right_end_is_never_before_the_step(step: u64, total in proptest::option::of(0u64..1 << 40)) {
            prop_assert!(right_end(step, total) >= step.max(1) || step > u64::MAX / 20);
        }
    }
}
