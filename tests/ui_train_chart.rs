//! The chart: a spike is seen at every size and zoom, in braille and in ASCII. Not here: speed (`benches/chart.rs`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)] // A test fails by panicking.

use proptest::prelude::*;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use weightroom::run::series::Point;
use weightroom::ui::theme::Theme;
use weightroom::ui::widgets::chart::{Axis, Chart, Line, Smooth, plot_area, scale, step_at};
use weightroom::ui::world::Series;

fn series(values: impl IntoIterator<Item = f64>) -> Series {
    let mut out = Series::named("x");
    for (i, value) in values.into_iter().enumerate() {
        out.push(Point { step: i as u64, value });
    }
    out
}

struct Drawn {
    buffer: Buffer,
    plot: Rect,
}

impl Drawn {
    fn new(series: &Series, smooth: Option<&Series>, x: Axis, y: Axis, size: (u16, u16), ascii: bool) -> Self {
        let area = Rect::new(0, 0, size.0, size.1);
        let mut buffer = Buffer::empty(area);
        let theme = Theme { ascii, ..Theme::plain() };
        let lines = [Line { series, smooth, style: Style::new(), faint: theme.faint, dash: 0 }];
        Chart { lines: &lines, marks: &[], x, y, cursor: None, axes: true, theme: &theme }.draw(area, &mut buffer);
        Self { buffer, plot: plot_area(area, true) }
    }

    fn glyph(&self, column: u16, row: u16) -> &str {
        self.buffer[(self.plot.x + column, self.plot.y + row)].symbol()
    }
}

/// The last column that begins at or before a step: dividing the other way round may round to the neighbour.
fn column_of(x: Axis, step: usize, width: u16) -> u16 {
    (0..width).rev().find(|c| x.value(f64::from(*c) / f64::from(width)) <= step as f64).unwrap_or(0)
}

proptest! {
    #[test]
    fn a_spike_is_seen_at_every_size_and_zoom(
        len in 2usize..5000, at in 0.0..1.0f64, from in 0.0..1.0f64, to in 0.0..1.0f64,
        width in 12u16..220, height in 5u16..60, ascii: bool, window in proptest::option::of(2u32..200),
    ) {
        let spike = (at * (len - 1) as f64) as usize;
        let values = series((0..len).map(|i| if i == spike { 10.0 } else { 1.0 + (i % 7) as f64 * 0.1 }));
        // Any part of the axis that holds the spike.
        let lo = spike as f64 * from;
        let hi = (spike as f64 + (len - spike) as f64 * to).max(lo + 1.0);
        let x = Axis { lo, hi, log: false };
        let y = Axis { lo: 0.0, hi: 10.0, log: false };
        let smooth = window.map(|w| Smooth::new(&values, w));
        let drawn = Drawn::new(&values, smooth.as_ref().map(|s| &s.series), x, y, (width, height), ascii);
        let column = column_of(x, spike, drawn.plot.width);
        prop_assert_ne!(drawn.glyph(column, 0), " ", "column {} of {}", column, drawn.plot.width);
    }

    #[test]
    fn a_value_that_is_not_finite_is_marked(len in 2usize..3000, at in 0.0..1.0f64, width in 12u16..200, ascii: bool) {
        let bad = (at * (len - 1) as f64) as usize;
        let values = series((0..len).map(|i| if i == bad { f64::NAN } else { 1.0 }));
        let x = Axis { lo: 0.0, hi: len as f64, log: false };
        let drawn = Drawn::new(&values, None, x, Axis { lo: 0.0, hi: 2.0, log: false }, (width, 12), ascii);
        let column = column_of(x, bad, drawn.plot.width);
        prop_assert_eq!(drawn.glyph(column, 0), if ascii { "x" } else { "✗" });
    }

    #[test]
    fn no_numbers_and_no_size_make_it_panic(
        values in prop::collection::vec(prop_oneof![any::<f64>(), Just(f64::INFINITY), Just(0.0)], 0..200),
        steps in prop::collection::vec(any::<u64>(), 0..200),
        width in 0u16..80, height in 0u16..30, log_x: bool, log_y: bool, ascii: bool,
    ) {
        let mut out = Series::named("x");
        for (step, value) in steps.iter().zip(values) {
            out.push(Point { step: *step, value });
        }
        let sum = out.summary(0..out.len());
        let y = scale::around(if log_y { sum.min_positive } else { sum.min }, sum.max, log_y, 5);
        let end = scale::right_end(out.last().map_or(0, |p| p.step), None) as f64;
        let x = Axis { lo: if log_x { 1.0 } else { 0.0 }, hi: end, log: log_x };
        Drawn::new(&out, None, x, y, (width, height), ascii);
    }
}

#[test]
fn a_column_of_the_plot_reads_the_step_drawn_in_it() {
    let area = Rect::new(0, 0, 107, 20);
    let plot = plot_area(area, true);
    assert_eq!((plot.x, plot.width, plot.height), (7, 100, 18));
    let x = Axis { lo: 0.0, hi: 1000.0, log: false };
    assert_eq!([7, 57, 106].map(|column| step_at(plot, x, column)), [5, 505, 995]);
}

#[test]
fn what_is_drawn_stays_where_it_is_while_points_come_in() {
    let draw = |len: usize| {
        let values = series((0..len).map(|i| 4.0 / (1.0 + i as f64 / 50.0) + 0.1 * (i as f64 * 1.7).sin()));
        let x = Axis { lo: 0.0, hi: scale::right_end(len as u64, Some(2000)) as f64, log: false };
        Drawn::new(&values, None, x, Axis { lo: 0.0, hi: 4.5, log: false }, (100, 20), false).buffer
    };
    let (before, after) = (draw(1010), draw(1015));
    let changed = before.content().iter().zip(after.content()).filter(|(a, b)| a != b).count();
    assert!(changed <= 3, "five new points changed {changed} cells");
}

#[test]
fn the_last_step_of_the_axis_is_labelled() {
    let values = series((0..2000).map(|i| 4.0 / (1.0 + i as f64 / 50.0)));
    for (width, last, expected) in [(60, 2000.0, "step 2k"), (100, 2000.0, "step 2k"), (200, 2000.0, "step 2k"), (100, 500.0, "step 500")] {
        let x = Axis { lo: 0.0, hi: last, log: false };
        let drawn = Drawn::new(&values, None, x, Axis { lo: 0.0, hi: 4.5, log: false }, (width, 20), false);
        let labels: String = (0..width).map(|x| drawn.buffer[(x, 19)].symbol()).collect();
        assert!(labels.trim_end().ends_with(expected) && labels.trim_start().starts_with('0'), "{labels}");
        // Every label has a blank around it: none runs into another.
        assert!(labels.matches("step").count() == 1, "{labels}");
    }
}
