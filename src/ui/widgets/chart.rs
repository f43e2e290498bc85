//! A chart of series with any number of points: every column shows the least and the greatest value in it, so that
//! a spike never vanishes. Deliberately not here: which run is shown and what keys do (`panes::train`).

pub mod dots;
pub mod scale;
pub mod smooth;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

use crate::ui::theme::Theme;
use crate::ui::world::Series;
use dots::{Dots, Meet};
pub use scale::Axis;
pub use smooth::Smooth;

/// One series as a line.
pub struct Line<'a> {
    pub series: &'a Series,
    /// The same, smoothed; drawn strong over a faint raw line.
    pub smooth: Option<&'a Series>,
    pub style: Style,
    pub faint: Style,
    /// Lines are told apart without colour by their dashes: 0 is solid.
    pub dash: usize,
}

/// A chart to draw: x counts steps.
pub struct Chart<'a> {
    /// Drawn in this order reversed: the first is on top.
    pub lines: &'a [Line<'a>],
    /// Single values, drawn as ◆, with the style of each series.
    pub marks: &'a [(&'a Series, Style)],
    pub x: Axis,
    pub y: Axis,
    pub cursor: Option<u64>,
    /// Whether to label the axes; without, the area is all plot.
    pub axes: bool,
    pub theme: &'a Theme,
}

/// Columns that the labels of the vertical axis take, with the axis itself.
const GUTTER: u16 = 7;

/// The part of `area` that the lines are drawn in.
pub fn plot_area(area: Rect, axes: bool) -> Rect {
    if !axes || area.width < GUTTER + 4 || area.height < 4 {
        return area;
    }
    Rect { x: area.x + GUTTER, y: area.y, width: area.width - GUTTER, height: area.height - 2 }
}

/// The step in the middle of a column of cells of a plot.
pub fn step_at(plot: Rect, x: Axis, column: u16) -> u64 {
    let unit = (f64::from(column.saturating_sub(plot.x)) + 0.5) / f64::from(plot.width.max(1));
    x.value(unit.clamp(0.0, 1.0)).round().max(0.0) as u64
}

/// The least and greatest values of a series within steps; `None` where there is no finite one.
pub fn extent(series: &Series, from: f64, to: f64, log: bool) -> Option<(f64, f64)> {
    let range = series.index_of(from.max(0.0).ceil() as u64)..series.index_of((to.max(0.0).floor() as u64).saturating_add(1));
    let sum = series.summary(range);
    let min = if log { sum.min_positive } else { sum.min };
    (sum.has_finite() && min <= sum.max).then_some((min, sum.max))
}

impl Chart<'_> {
    pub fn draw(&self, area: Rect, buf: &mut Buffer) {
        let plot = plot_area(area, self.axes);
        if plot.is_empty() {
            return;
        }
        if plot != area {
            self.draw_axes(area, plot, buf);
        }
        let mut dots = Dots::new(plot, self.theme.ascii);
        let mut styles = vec![Style::new(); self.lines.len() * 2];
        let mut broken = Vec::new();
        // All raw lines lie below all smoothed ones, and the first line above the others.
        for (i, line) in self.lines.iter().enumerate().rev() {
            let strong = line.smooth.is_none();
            (styles[2 * i], styles[2 * i + 1]) = (if strong { line.style } else { line.faint }, line.style);
            self.trace(line.series, &mut dots, 0, Some(&mut broken));
            dots.finish(2 * i as u8, Meet::Join);
        }
        for (i, line) in self.lines.iter().enumerate().rev() {
            if let Some(smooth) = line.smooth {
                self.trace(smooth, &mut dots, line.dash, None);
                dots.finish(2 * i as u8 + 1, Meet::Cover);
            }
        }
        dots.draw(buf, &styles);
        for (series, style) in self.marks {
            self.draw_marks(series, *style, plot, buf);
        }
        let glyph = if self.theme.ascii { 'x' } else { '✗' };
        for x in broken {
            put(buf, plot.x + (x / dots.columns()) as u16, plot.y, glyph, self.theme.error);
        }
        if let Some(step) = self.cursor {
            self.draw_cursor(step, &dots, plot, buf);
        }
    }

    /// Row of dots of a value, from the top; somewhat outside where the value is.
    fn row(&self, value: f64, height: usize) -> i32 {
        let unit = self.y.unit(value).clamp(-0.1, 1.1);
        ((1.0 - unit) * (height as f64 - 1.0)).round() as i32
    }

    /// Draws a series column by column: from the least to the greatest value in it, joined to its neighbours.
    fn trace(&self, series: &Series, dots: &mut Dots, dash: usize, mut broken: Option<&mut Vec<usize>>) {
        let (width, height) = (dots.width(), dots.height());
        let edge = |x: usize| self.x.value(x as f64 / width as f64);
        let shown = |x: usize| dash == 0 || !(x / (1 + dash)).is_multiple_of(2);
        let start = series.index_of(edge(0).max(0.0).ceil() as u64);
        let mut before: Option<(i32, i32)> = self.neighbour(series, start.checked_sub(1), 0.0, width, height);
        let mut index = start;
        for x in 0..width {
            // The last column holds its right edge too.
            let right = edge(x + 1).max(0.0);
            let end = if x + 1 == width {
                series.index_of((right.floor() as u64).saturating_add(1))
            } else {
                series.index_of(right.ceil() as u64)
            };
            if end <= index {
                continue;
            }
            let sum = series.summary(index..end);
            index = end;
            if sum.broken > 0
                && let Some(list) = broken.as_deref_mut()
            {
                list.push(x);
            }
            if !sum.has_finite() {
                before = None;
                continue;
            }
            let (first, last) = (self.row(sum.first, height), self.row(sum.last, height));
            if let Some((from, y)) = before
                && shown(x)
            {
                dots.line((from, y), (x as i32, first));
            }
            if shown(x) {
                dots.column(x as i32, self.row(sum.min, height), self.row(sum.max, height));
            }
            before = Some((x as i32, last));
        }
        // A line that goes on beyond the right end is drawn up to it.
        if let (Some((from, y)), Some((to, end))) = (before, self.neighbour(series, Some(index), 1.0, width, height)) {
            dots.line((from, y), (to, end));
        }
    }

    /// Where the line between the points around an end of the axis (0 left, 1 right) crosses it.
    fn neighbour(&self, series: &Series, index: Option<usize>, end: f64, width: usize, height: usize) -> Option<(i32, i32)> {
        let outside = series.get(index?)?;
        let inside = if end == 0.0 { series.get(index? + 1)? } else { series.get(index?.checked_sub(1)?)? };
        let (a, b) = (self.x.unit(outside.step as f64), self.x.unit(inside.step as f64));
        if a == b || !(outside.value.is_finite() && inside.value.is_finite()) {
            return None;
        }
        let share = ((end - a) / (b - a)).clamp(0.0, 1.0);
        let value = outside.value + (inside.value - outside.value) * share;
        Some((if end == 0.0 { 0 } else { width as i32 - 1 }, self.row(value, height)))
    }

    fn draw_marks(&self, series: &Series, style: Style, plot: Rect, buf: &mut Buffer) {
        let glyph = if self.theme.ascii { 'o' } else { '◆' };
        let edge = |x: u16| self.x.value(f64::from(x) / f64::from(plot.width)).max(0.0);
        let mut index = series.index_of(edge(0).ceil() as u64);
        for x in 0..plot.width {
            let right = edge(x + 1);
            let end = if x + 1 == plot.width {
                series.index_of((right.floor() as u64).saturating_add(1))
            } else {
                series.index_of(right.ceil() as u64)
            };
            if end <= index {
                continue;
            }
            let sum = series.summary(index..end);
            index = end;
            for value in [sum.min, sum.last] {
                let row = self.row(value, plot.height as usize);
                if value.is_finite() && (0..i32::from(plot.height)).contains(&row) {
                    put(buf, plot.x + x, plot.y + row as u16, glyph, style);
                }
            }
        }
    }

    fn draw_cursor(&self, step: u64, dots: &Dots, plot: Rect, buf: &mut Buffer) {
        let unit = self.x.unit(step as f64);
        if !(0.0..=1.0).contains(&unit) {
            return;
        }
        let column = ((unit * f64::from(plot.width)) as u16).min(plot.width - 1);
        for row in 0..plot.height {
            if dots.filled(column, row) {
                if let Some(cell) = buf.cell_mut((plot.x + column, plot.y + row)) {
                    cell.set_style(Style::new().add_modifier(Modifier::REVERSED));
                }
            } else {
                put(buf, plot.x + column, plot.y + row, if self.theme.ascii { '|' } else { '│' }, self.theme.accent);
            }
        }
    }

    fn draw_axes(&self, area: Rect, plot: Rect, buf: &mut Buffer) {
        let (vertical, tick, corner, flat, down) =
            if self.theme.ascii { ('|', '+', '+', '-', '+') } else { ('│', '┤', '└', '─', '┬') };
        let spine = plot.x - 1;
        for y in plot.y..plot.bottom() {
            put(buf, spine, y, vertical, self.theme.dim);
        }
        let ticks = self.y.ticks((plot.height as usize / 3).clamp(2, 8));
        let digits = decimals(&ticks);
        let mut free = i32::from(plot.bottom());
        for value in ticks {
            let row = i32::from(plot.y) + self.row(value, plot.height as usize);
            if row < i32::from(plot.y) || row >= free {
                continue;
            }
            free = row;
            put(buf, spine, row as u16, tick, self.theme.dim);
            let label = label(value, digits);
            let width = label.chars().count().min(GUTTER as usize - 2);
            buf.set_stringn(spine - 1 - width as u16 + 1, row as u16, &label, width, self.theme.dim);
        }
        let base = plot.bottom();
        put(buf, spine, base, corner, self.theme.dim);
        for x in plot.x..plot.right() {
            put(buf, x, base, flat, self.theme.dim);
        }
        let ticks: Vec<(u16, String)> = self
            .x
            .ticks((plot.width as usize / 12).clamp(2, 10))
            .into_iter()
            .filter(|value| (0.0..=1.0).contains(&self.x.unit(*value)) && value.fract() == 0.0)
            .map(|value| {
                let x = plot.x + ((self.x.unit(value) * f64::from(plot.width)) as u16).min(plot.width - 1);
                (x, super::number::step(value as u64))
            })
            .collect();
        // The last one says what is counted, stands within the chart where its middle would not, and goes before others.
        let mut end = area.right() + 1;
        for (i, (x, text)) in ticks.iter().enumerate().rev() {
            put(buf, *x, base, down, self.theme.dim);
            let text = if i + 1 == ticks.len() { format!("step {text}") } else { text.clone() };
            let width = text.len() as u16;
            let from = x.saturating_sub(width / 2).max(area.x).min(area.right().saturating_sub(width));
            if from + width < end {
                buf.set_string(from, base + 1, &text, self.theme.dim);
                end = from;
            }
        }
    }
}

/// How many decimals tell neighbouring labels apart.
fn decimals(ticks: &[f64]) -> usize {
    let step = ticks.windows(2).map(|w| w[1] - w[0]).fold(f64::INFINITY, f64::min);
    if step.is_finite() && step > 0.0 {
        (0..6).find(|d| (step * 10f64.powi(*d)).fract().min(1.0 - (step * 10f64.powi(*d)).fract()) < 1e-6).unwrap_or(3) as usize
    } else {
        2
    }
}

fn label(value: f64, digits: usize) -> String {
    let size = value.abs();
    if size >= 1e4 || (size > 0.0 && size < 1e-3) { format!("{value:.0e}") } else { format!("{value:.digits$}") }
}

fn put(buf: &mut Buffer, x: u16, y: u16, glyph: char, style: Style) {
    if let Some(cell) = buf.cell_mut((x, y)) {
        cell.set_char(glyph).set_style(style);
    }
}
