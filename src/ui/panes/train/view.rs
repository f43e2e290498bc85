//! How the charts are looked at: zoom, logarithms, smoothing, cursor; and what drawing remembers between frames.
//! Deliberately not here: drawing.

use std::collections::BTreeMap;

use crate::ui::widgets::chart::{Axis, Smooth, scale};
use crate::ui::world::{Run, Series};

/// Points that a smoothed line averages over, as a share of the steps shown: none, little, some, much.
const SMOOTHING: [f64; 4] = [0.0, 0.01, 0.03, 0.1];

#[derive(Clone, Debug)]
pub(super) struct View {
    /// Steps shown, where a person chose them.
    pub span: Option<(f64, f64)>,
    pub log_x: bool,
    pub log_y: bool,
    pub smoothing: usize,
    /// A step to read exactly.
    pub cursor: Option<u64>,
    /// The metric of the big chart; empty means the loss.
    pub metric: String,
}

impl Default for View {
    fn default() -> Self {
        Self { span: None, log_x: false, log_y: false, smoothing: 1, cursor: None, metric: String::new() }
    }
}

/// What drawing remembers, so that the picture holds still while points come in.
#[derive(Default)]
pub(super) struct Memory {
    /// Vertical axes, by chart.
    pub axes: BTreeMap<String, Axis>,
    /// Smoothed copies, by run, metric and window.
    pub smooth: BTreeMap<String, Smooth>,
}

impl View {
    pub fn metric(&self) -> &str {
        if self.metric.is_empty() { "train/loss" } else { &self.metric }
    }

    /// Back to the whole run; what the eye was set to (logarithms, smoothing) stays.
    pub fn reset(&mut self) {
        self.span = None;
        self.cursor = None;
    }

    /// All steps of these runs, with a right end that moves in strides.
    pub fn whole(&self, runs: &[&Run]) -> Axis {
        let end = runs.iter().map(|run| right_end(run)).max().unwrap_or(10);
        if self.log_x { Axis { lo: 1.0, hi: end.max(2) as f64, log: true } } else { Axis { lo: 0.0, hi: end as f64, log: false } }
    }

    /// The steps shown.
    pub fn axis(&self, runs: &[&Run]) -> Axis {
        let whole = self.whole(runs);
        match self.span {
            Some((lo, hi)) => Axis { lo: lo.max(whole.lo), hi: hi.min(whole.hi).max(lo.max(whole.lo) + 1.0), log: whole.log },
            None => whole,
        }
    }

    /// Shows `factor` times as many steps around the cursor, or around `at` (0 left, 1 right).
    pub fn zoom(&mut self, runs: &[&Run], factor: f64, at: Option<f64>) {
        let (whole, axis) = (self.whole(runs), self.axis(runs));
        let at = at.or_else(|| self.cursor.map(|c| axis.unit(c as f64))).filter(|u| (0.0..=1.0).contains(u)).unwrap_or(0.5);
        let part = axis.part(at - at * factor, at + (1.0 - at) * factor);
        let narrow = part.hi - part.lo < 4.0;
        if factor < 1.0 && narrow {
            return;
        }
        let covers = part.lo <= whole.lo && part.hi >= whole.hi;
        self.span = (!covers).then(|| (part.lo.max(whole.lo), part.hi.min(whole.hi)));
    }

    /// Moves what is shown by a share of its width.
    pub fn pan(&mut self, runs: &[&Run], share: f64) {
        let (whole, axis) = (self.whole(runs), self.axis(runs));
        if self.span.is_none() {
            return;
        }
        let (low, high) = (-axis_room(&axis, whole.lo), axis_room_right(&axis, whole.hi));
        let part = axis.part(share.clamp(low, high), 1.0 + share.clamp(low, high));
        self.span = Some((part.lo, part.hi));
    }

    /// Moves the cursor to the next point of `series` that lies at least a column further, or to its ends.
    pub fn move_cursor(&mut self, series: &Series, axis: Axis, columns: u16, forward: bool) {
        let (Some(first), Some(last)) = (series.first(), series.last()) else { return };
        let from = match self.cursor {
            Some(step) => step,
            None if forward => return self.cursor = Some(last.step),
            None => return self.cursor = Some(last.step.min(axis.hi as u64)),
        };
        let column = 1.0 / f64::from(columns.max(1));
        let target = axis.value((axis.unit(from as f64) + if forward { column } else { -column }).clamp(-0.5, 1.5));
        let index = if forward {
            series.index_of((target.ceil() as u64).max(from + 1))
        } else {
            series.index_of((target.floor().max(0.0) as u64).min(from.saturating_sub(1)).saturating_add(1)).saturating_sub(1)
        };
        let step = series.get(index).map_or(if forward { last.step } else { first.step }, |p| p.step);
        self.cursor = Some(step);
        // A cursor that leaves the picture takes it along.
        if let Some((lo, hi)) = self.span {
            let width = hi - lo;
            let at = step as f64;
            if at < lo {
                self.span = Some((at, at + width));
            } else if at > hi {
                self.span = Some((at - width, at));
            }
        }
    }

    pub fn next_smoothing(&mut self) {
        self.smoothing = (self.smoothing + 1) % SMOOTHING.len();
    }

    /// How many points a smoothed line of this run averages over; none for no smoothing.
    pub fn window(&self, run: &Run, series: &Series) -> Option<u32> {
        let share = SMOOTHING[self.smoothing % SMOOTHING.len()];
        // Taken from the stride of the axis and not from the step, so that the line is not made anew each step.
        let window = (right_end(run) as f64 * share).min(series.len() as f64 * 2.0 * share + 2.0);
        let window = window.max(1.0).log2().floor().exp2();
        (share > 0.0 && window >= 2.0).then_some(window as u32)
    }
}

fn right_end(run: &Run) -> u64 {
    let last = run.series.get("train/loss").and_then(Series::last).map_or(run.step, |p| p.step);
    scale::right_end(last, if run.is_live() { run.steps } else { Some(last) })
}

/// How far an axis can be moved to the left, in its own widths.
fn axis_room(axis: &Axis, lo: f64) -> f64 {
    axis.unit(lo).min(0.0).abs()
}

fn axis_room_right(axis: &Axis, hi: f64) -> f64 {
    (axis.unit(hi) - 1.0).max(0.0)
}

impl Memory {
    /// The smoothed copy of a series, brought up to date.
    pub fn smoothed(&mut self, key: &str, series: &Series, window: u32) {
        match self.smooth.get_mut(key) {
            Some(known) if known.belongs_to(series, window) => known.read_on(series),
            _ => {
                // A few runs are looked at at a time; what was looked at before goes.
                if self.smooth.len() >= 48 {
                    self.smooth.clear();
                }
                self.smooth.insert(key.into(), Smooth::new(series, window));
            }
        }
    }

    /// The vertical axis of a chart, held still as long as the values fit.
    pub fn axis(&mut self, chart: &str, extent: Option<(f64, f64)>, log: bool, count: usize) -> Axis {
        let (min, max) = extent.unwrap_or((f64::INFINITY, f64::NEG_INFINITY));
        let axis = scale::hold(self.axes.get(chart).copied(), min, max, log, count);
        self.axes.insert(chart.into(), axis);
        axis
    }
}
