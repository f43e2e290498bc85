//! All points of one metric, with an index by which any range of them is summed up without reading them all.
//! Deliberately not here: scales, colours and columns of a chart (`widgets::chart`).

use std::ops::Range;
use std::sync::Arc;

use crate::run::series::{Point, SeriesDir};

/// Points per entry of the index: a million points make four thousand entries.
const BLOCK: usize = 256;

/// All points of a metric: what was on disk when the run was opened (mapped), then what came since. Steps rise
/// strictly; a point that would break this is a repetition and is left out.
#[derive(Clone, Default)]
pub struct Series {
    pub mapped: Option<Arc<SeriesDir>>,
    /// Points that came as events after the mapped ones.
    pub live: Vec<Point>,
    name: String,
    /// How many of the mapped points still count; a resume drops the later ones.
    mapped_len: usize,
    blocks: Vec<Summary>,
    identity: Arc<u8>,
}

/// What a range of points comes to.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The first and last finite values; not a number where there is none.
    pub first: f64,
    pub last: f64,
    /// Over finite values; `min > max` where there is none.
    pub min: f64,
    pub max: f64,
    /// The smallest value above zero, for a logarithmic axis; infinite where there is none.
    pub min_positive: f64,
    /// How many values are not finite.
    pub broken: u32,
    pub count: u32,
}

impl Default for Summary {
    fn default() -> Self {
        Self {
            first: f64::NAN,
            last: f64::NAN,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            min_positive: f64::INFINITY,
            broken: 0,
            count: 0,
        }
    }
}

impl Summary {
    pub fn add(&mut self, value: f64) {
        self.count += 1;
        if !value.is_finite() {
            self.broken += 1;
            return;
        }
        if self.first.is_nan() {
            self.first = value;
        }
        self.last = value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        if value > 0.0 {
            self.min_positive = self.min_positive.min(value);
        }
    }

    /// This range followed by `next`.
    pub fn join(&mut self, next: &Self) {
        if self.first.is_nan() {
            self.first = next.first;
        }
        if !next.last.is_nan() {
            self.last = next.last;
        }
        self.min = self.min.min(next.min);
        self.max = self.max.max(next.max);
        self.min_positive = self.min_positive.min(next.min_positive);
        self.broken += next.broken;
        self.count += next.count;
    }

    pub fn has_finite(&self) -> bool {
        self.min <= self.max
    }
}

impl Series {
    pub fn named(name: &str) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// A metric of a run on disk. Reads every point once, so this belongs on the loader's thread.
    pub fn mapped(name: &str, dir: Arc<SeriesDir>) -> Self {
        let points = dir.get(name).unwrap_or_default();
        let blocks = points.chunks(BLOCK).map(|chunk| sum(chunk.iter())).collect();
        Self { name: name.into(), mapped_len: points.len(), blocks, mapped: Some(dir), ..Self::default() }
    }

    pub fn len(&self) -> usize {
        self.mapped_len + self.live.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The mapped points that count, and the live ones after them.
    pub fn parts(&self) -> (&[Point], &[Point]) {
        let mapped = self.mapped.as_ref().and_then(|dir| dir.get(&self.name)).unwrap_or_default();
        (&mapped[..self.mapped_len.min(mapped.len())], &self.live)
    }

    pub fn get(&self, index: usize) -> Option<Point> {
        let (mapped, live) = self.parts();
        mapped.get(index).or_else(|| live.get(index.checked_sub(mapped.len())?)).copied()
    }

    pub fn first(&self) -> Option<Point> {
        self.get(0)
    }

    pub fn last(&self) -> Option<Point> {
        self.get(self.len().checked_sub(1)?)
    }

    /// The value at exactly this step.
    pub fn at(&self, step: u64) -> Option<f64> {
        self.get(self.index_of(step)).filter(|p| p.step == step).map(|p| p.value)
    }

    /// The index of the first point at or after `step`.
    pub fn index_of(&self, step: u64) -> usize {
        let (mapped, live) = self.parts();
        let within = mapped.partition_point(|p| p.step < step);
        if within < mapped.len() { within } else { within + live.partition_point(|p| p.step < step) }
    }

    /// The same object as long as nothing but appending happened; a cache compares it by pointer.
    pub fn identity(&self) -> &Arc<u8> {
        &self.identity
    }

    /// Appends, unless the step was there already. Returns whether it did.
    pub fn push(&mut self, point: Point) -> bool {
        if self.last().is_some_and(|last| last.step >= point.step) {
            return false;
        }
        if self.len().is_multiple_of(BLOCK) {
            self.blocks.push(Summary::default());
        }
        self.live.push(point);
        if let Some(block) = self.blocks.last_mut() {
            block.add(point.value);
        }
        true
    }

    /// Drops what comes after `step`: a resumed run goes on from there.
    pub fn truncate_after(&mut self, step: u64) {
        let keep = self.index_of(step.saturating_add(1));
        if keep == self.len() {
            return;
        }
        let mapped = self.parts().0.len();
        self.live.truncate(keep.saturating_sub(mapped));
        self.mapped_len = mapped.min(keep);
        self.identity = Arc::new(0);
        self.blocks.truncate(keep / BLOCK);
        if !keep.is_multiple_of(BLOCK) {
            let partial = self.scan(keep - keep % BLOCK..keep);
            self.blocks.push(partial);
        }
    }

    /// What the points of an index range come to; costs a few hundred reads, however long the range is.
    pub fn summary(&self, range: Range<usize>) -> Summary {
        let range = range.start..range.end.min(self.len());
        if range.is_empty() {
            return Summary::default();
        }
        let (first, last) = (range.start.div_ceil(BLOCK), range.end / BLOCK);
        if first >= last {
            return self.scan(range);
        }
        let mut out = self.scan(range.start..first * BLOCK);
        for block in &self.blocks[first..last] {
            out.join(block);
        }
        out.join(&self.scan(last * BLOCK..range.end));
        out
    }

    fn scan(&self, range: Range<usize>) -> Summary {
        let (mapped, live) = self.parts();
        let cut = mapped.len();
        let old = &mapped[range.start.min(cut)..range.end.min(cut)];
        let new = &live[range.start.saturating_sub(cut)..range.end.saturating_sub(cut)];
        sum(old.iter().chain(new))
    }
}

fn sum<'a>(points: impl Iterator<Item = &'a Point>) -> Summary {
    let mut out = Summary::default();
    for point in points {
        out.add(point.value);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn series(values: &[f64]) -> Series {
        let mut out = Series::named("x");
        for (i, value) in values.iter().enumerate() {
            assert!(out.push(Point { step: i as u64 * 3, value: *value }));
        }
        out
    }

    #[test]
    fn a_repeated_step_is_left_out() {
        let mut s = series(&[1.0, 2.0]);
        assert!(!s.push(Point { step: 3, value: 9.0 }));
        assert!(!s.push(Point { step: 1, value: 9.0 }));
        assert_eq!(s.len(), 2);
        assert_eq!(s.at(3), Some(2.0));
        assert_eq!(s.at(2), None);
    }

    #[test]
    fn truncating_makes_a_cache_start_over_and_appending_does_not() {
        let mut s = series(&[1.0; 600]);
        let before = s.identity().clone();
        s.push(Point { step: 5000, value: 0.0 });
        assert!(Arc::ptr_eq(&before, s.identity()));
        s.truncate_after(1000);
        assert!(!Arc::ptr_eq(&before, s.identity()));
        assert_eq!(s.last().unwrap().step, 999);
    }

    proptest! {
        #[test]
        fn a_summary_equals_reading_all(values in prop::collection::vec(prop_oneof![9 => -1e3..1e3f64, 1 => Just(f64::NAN)], 1..1500),
                                        a in 0usize..1500, b in 0usize..1500, cut in 0u64..6000) {
            let mut s = series(&values);
            s.truncate_after(cut);
            s.push(Point { step: 10_000, value: 7.5 });
            let all: Vec<f64> = (0..s.len()).map(|i| s.get(i).unwrap().value).collect();
            let range = a.min(b).min(all.len())..a.max(b).min(all.len());
            let mut plain = Summary::default();
            for v in &all[range.clone()] { plain.add(*v); }
            let quick = s.summary(range);
            prop_assert_eq!(format!("{plain:?}"), format!("{quick:?}"));
        }
    }
}
