//! The charts of the Train pane: the big one, the four small ones, and the reading under the cursor.
//! Deliberately not here: how a line is drawn (`widgets::chart`).

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use unicode_width::UnicodeWidthStr;

use super::{Part, Train, words};
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets::chart::{self, Axis, Chart};
use crate::ui::widgets::{self, number};
use crate::ui::world::{Ended, Run, Series, Status};

/// A cursor key moves by about one column of a usual chart.
pub(super) const CURSOR_COLUMNS: u16 = 90;

/// The small charts: metric, title.
const SMALL: [(&str, &str); 4] = [("lr", "lr"), ("grad_norm", "grad norm"), ("tokens_per_s", "tokens/s"), ("memory_mb", "memory")];

pub(super) fn series_style(theme: &Theme, index: usize) -> Style {
    if theme.series.is_empty() { theme.text } else { theme.series[index % theme.series.len()] }
}

/// The dash of a legend, by which lines are told apart without colour.
const DASHES: [&str; 4] = ["━━", "╍╍", "┅┅", "┉┉"];

/// A value with its unit as a title shows it.
fn figure(metric: &str, value: f64) -> String {
    match metric {
        "memory_mb" => widgets::bytes((value.max(0.0) * 1e6) as u64),
        "train/loss" | "val/loss" => number::loss(value),
        _ => number::short(value),
    }
}

/// The newest value of a small chart's metric; beside a GPU's memory, how busy and how warm it is.
fn latest(run: &Run, metric: &str) -> Option<String> {
    let mut text = figure(metric, run.last(metric)?);
    if metric == "memory_mb" {
        text.extend(run.last("gpu/busy_percent").map(|busy| format!(" {busy:.0}%")));
        text.extend(run.last("gpu/temperature_c").map(|warm| format!(" {warm:.0}°C")));
    }
    Some(text)
}

/// Under what a smoothed copy is kept: each amount of smoothing by itself, so that going through them costs once.
fn smooth_key(run: &Run, metric: &str, window: Option<u32>) -> (String, Option<u32>) {
    (format!("{}\n{metric}\n{}", run.name, window.unwrap_or(0)), window)
}

/// What the cursor reads of a run: the step and the exact values there.
pub(super) fn reading(run: &Run, step: u64, metric: &str) -> String {
    let mut out = format!("step {}", widgets::grouped(step));
    let mut say = |name: &str, value: Option<f64>| {
        if let Some(value) = value {
            out.push_str(&format!("  {name} {}", exact(value)));
        }
    };
    let at = |name: &str| run.series.get(name).and_then(|s| s.at(step));
    say(metric, at(metric));
    for name in ["val/loss", "lr", "grad_norm"] {
        if name != metric {
            say(name, at(name));
        }
    }
    out
}

/// Enough digits to tell neighbours apart.
fn exact(value: f64) -> String {
    if !value.is_finite() || (value != 0.0 && value.abs() < 1e-3) || value.abs() >= 1e6 {
        number::short(value)
    } else {
        format!("{value:.4}")
    }
}

impl Train {
    pub(super) fn draw_chart(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let runs = self.shown(cx.world);
        let metric = self.view.metric().to_string();
        let name = if metric == "train/loss" { "loss" } else { &metric };
        let name = visible(name, false).into_owned();
        let mut block = widgets::panel(&name, self.focus == Part::Chart, theme).title(self.legend(&runs, theme).right_aligned());
        if let Some(line) = self.bottom_title(&runs, &metric, usize::from(area.width), theme) {
            block = block.title_bottom(line);
        }
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let inner = words::draw_banner(self.run(cx.world), frame, inner, theme);
        if inner.height < 2 || inner.width < 8 {
            return;
        }
        let x = self.view.axis(&runs);
        let parts: Vec<(&Run, &Series)> = runs.iter().filter_map(|run| Some((*run, run.series.get(&metric)?))).collect();
        if parts.iter().all(|(_, series)| series.is_empty()) {
            let text = self.waiting_text(cx);
            let line = Line::styled(text, theme.dim).centered();
            return frame.render_widget(line, Rect { y: inner.y + inner.height / 2, height: 1, ..inner });
        }
        let mut memory = self.memory.borrow_mut();
        let vals: Vec<(&Series, Style)> =
            runs.iter().filter(|_| metric == "train/loss").filter_map(|run| Some((run.series.get("val/loss")?, theme.mark))).collect();
        let all = parts.iter().map(|(_, s)| *s).chain(vals.iter().map(|(s, _)| *s));
        let extent = all.filter_map(|s| chart::extent(s, x.lo, x.hi, self.view.log_y)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let rows = (inner.height as usize / 3).clamp(2, 8);
        let y = memory.axis(&metric, extent, self.view.log_y, rows);
        let keys: Vec<(String, Option<u32>)> =
            parts.iter().map(|(run, series)| smooth_key(run, &metric, self.view.window(run, series))).collect();
        for ((_, series), (key, window)) in parts.iter().zip(&keys) {
            if let Some(window) = window {
                memory.smoothed(key, series, *window);
            }
        }
        let memory = &*memory;
        let lines: Vec<chart::Line> = parts
            .iter()
            .zip(&keys)
            .enumerate()
            .map(|(i, ((_, series), (key, window)))| chart::Line {
                series,
                smooth: window.and(memory.smooth.get(key)).map(|s| &s.series),
                style: series_style(theme, i),
                faint: theme.faint,
                dash: i,
            })
            .collect();
        Chart { lines: &lines, marks: &vals, x, y, cursor: self.view.cursor, axes: true, theme }.draw(inner, frame.buffer_mut());
    }

    fn waiting_text(&self, cx: &Context) -> String {
        let Some(run) = self.run(cx.world) else { return "no run is selected".into() };
        if !run.opened {
            return format!("reading {} …", visible(&run.name, false));
        }
        match &run.progress {
            Some(progress) if progress.what != "train" => {
                format!("{} {} {}", visible(&progress.what, false), widgets::grouped(progress.done), visible(&progress.unit, false))
            }
            _ if run.status() == Status::Waiting => "it waits: the device is busy with another run".into(),
            _ if run.is_live() => "the first step is on its way …".into(),
            _ => "it has no values of this metric".into(),
        }
    }

    fn legend(&self, runs: &[&Run], theme: &Theme) -> Line<'static> {
        let mut spans = Vec::new();
        if runs.len() > 1 {
            for (i, run) in runs.iter().enumerate() {
                spans.push(Span::styled(format!(" {} ", DASHES[i % DASHES.len()]), series_style(theme, i)));
                spans.push(Span::styled(
                    widgets::fit(&visible(&run.name, false), 14).into_owned(),
                    if i == 0 { theme.title } else { theme.dim },
                ));
            }
            spans.push(Span::raw(" "));
        } else {
            let window = runs.first().and_then(|run| self.view.window(run, run.series.get(self.view.metric())?));
            spans.push(Span::styled(" raw", if window.is_some() { theme.faint } else { series_style(theme, 0) }));
            if let Some(window) = window {
                spans.push(Span::styled(format!(" · smoothed over {window}"), series_style(theme, 0)));
            }
            if self.view.metric() == "train/loss" {
                spans.push(Span::styled(" · val ◆", theme.mark));
            }
            spans.push(Span::raw(" "));
        }
        for (on, text) in [(self.view.log_y, "log "), (self.view.log_x, "log steps "), (self.view.span.is_some(), "zoomed ")] {
            if on {
                spans.push(Span::styled(text, theme.accent));
            }
        }
        Line::from(spans)
    }

    /// What the cursor reads; without one, where the run stands.
    fn bottom_title(&self, runs: &[&Run], metric: &str, width: usize, theme: &Theme) -> Option<Line<'static>> {
        let run = runs.first()?;
        let Some(step) = self.view.cursor else {
            return Some(Line::styled(format!(" {} ", standing(run, width.saturating_sub(4))), theme.dim).right_aligned());
        };
        let mut spans = vec![Span::styled(format!(" {} ", reading(run, step, metric)), theme.accent)];
        for (i, other) in runs.iter().enumerate().skip(1) {
            if let Some(value) = other.series.get(metric).and_then(|s| s.at(step)) {
                spans.push(Span::styled(format!(" {} {} ", visible(&other.name, false), exact(value)), series_style(theme, i)));
            }
        }
        Some(Line::from(spans))
    }

    pub(super) fn draw_small_charts(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let runs = self.shown(cx.world);
        let x = self.view.axis(&runs);
        let cells = Layout::horizontal([Constraint::Fill(1); 4]).split(area);
        for ((metric, title), cell) in SMALL.iter().zip(cells.iter()) {
            let value = runs.first().and_then(|run| latest(run, metric));
            let block = widgets::panel(title, false, theme)
                .title(Line::styled(value.map_or_else(String::new, |v| format!(" {v} ")), theme.text).right_aligned());
            let inner = block.inner(*cell);
            frame.render_widget(block, *cell);
            self.draw_small_chart(frame, inner, metric, x, &runs, theme);
        }
    }

    fn draw_small_chart(&self, frame: &mut Frame, area: Rect, metric: &str, x: Axis, runs: &[&Run], theme: &Theme) {
        let parts: Vec<(&Run, &Series)> = runs.iter().filter_map(|run| Some((*run, run.series.get(metric)?))).collect();
        let extent = parts.iter().filter_map(|(_, s)| chart::extent(s, x.lo, x.hi, false)).reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
        let Some((min, max)) = extent else { return };
        // A rate and an amount are read against nothing; others fill their room.
        let from_zero = matches!(metric, "tokens_per_s" | "memory_mb" | "lr");
        let mut memory = self.memory.borrow_mut();
        let y = memory.axis(&format!("small {metric}"), Some((if from_zero { 0.0 } else { min }, max)), false, 3);
        // What is set by the schedule or hardly moves has nothing to smooth.
        let noisy = matches!(metric, "grad_norm" | "tokens_per_s");
        let window = |run: &Run, series: &Series| self.view.window(run, series).filter(|_| noisy);
        let keys: Vec<(String, Option<u32>)> = parts.iter().map(|(run, series)| smooth_key(run, metric, window(run, series))).collect();
        for ((_, series), (key, window)) in parts.iter().zip(&keys) {
            if let Some(window) = window {
                memory.smoothed(key, series, *window);
            }
        }
        let memory = &*memory;
        let lines: Vec<chart::Line> = parts
            .iter()
            .zip(&keys)
            .enumerate()
            .map(|(i, ((_, series), (key, window)))| chart::Line {
                series,
                smooth: window.and(memory.smooth.get(key)).map(|s| &s.series),
                style: series_style(theme, i),
                faint: theme.faint,
                dash: 0,
            })
            .collect();
        Chart { lines: &lines, marks: &[], x, y, cursor: None, axes: false, theme }.draw(area, frame.buffer_mut());
    }

    /// The small charts folded to one line of figures.
    pub(super) fn draw_figures(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let Some(run) = self.run(cx.world) else { return };
        let mut spans = vec![Span::raw(" ")];
        for (metric, title) in SMALL {
            if let Some(value) = latest(run, metric) {
                spans.push(Span::styled(format!("{title} "), theme.dim));
                spans.push(Span::styled(format!("{value}   "), theme.text));
            }
        }
        frame.render_widget(Line::from(spans), area);
    }
}

/// Where a run stands: `step 412/2,000 · epoch 2.4/5 · best 1.874 at 400 · eta 1m12s`. Where that is too wide the epoch is
/// left out first, then the best, since the rest says what can be done.
pub(super) fn standing(run: &Run, width: usize) -> String {
    let step = match run.steps {
        Some(steps) => format!("step {}/{}", widgets::grouped(run.step), widgets::grouped(steps)),
        None => format!("step {}", widgets::grouped(run.step)),
    };
    let epoch = run.last("epoch").filter(|e| e.is_finite()).map(|epoch| match run.steps.filter(|_| run.step > 0) {
        Some(steps) => format!("epoch {epoch:.1}/{:.1}", epoch * steps as f64 / run.step as f64),
        None => format!("epoch {epoch:.1}"),
    });
    let best = run.best.map(|(step, best)| format!("best val {} at {}", number::loss(best), widgets::grouped(step)));
    let how = match (&run.ended, run.eta_ms()) {
        (Some(Ended::Finished { stopped: true, .. }), _) => Some("stopped".to_string()),
        (Some(Ended::Finished { .. }), _) => Some("finished".to_string()),
        (_, Some(ms)) => Some(format!("eta {}", widgets::duration(coarse(ms)))),
        _ => match run.status() {
            Status::Paused => Some("paused: . does one step, p goes on".to_string()),
            Status::Waiting => Some("waits for the device".to_string()),
            Status::Interrupted => Some("interrupted: r resumes".to_string()),
            Status::Elsewhere => Some("another process is at work on it".to_string()),
            _ => None,
        },
    };
    let joined = |parts: [&Option<String>; 2]| {
        let all = std::iter::once(&step).chain(parts.into_iter().flatten()).chain(&how);
        all.map(String::as_str).collect::<Vec<_>>().join(" · ")
    };
    let tries = [joined([&epoch, &best]), joined([&None, &best]), joined([&None, &None])];
    tries.iter().find(|line| line.width() <= width).unwrap_or(&tries[2]).clone()
}

/// Rounded so that it changes every few seconds and not with each frame.
fn coarse(ms: u64) -> u64 {
    match ms {
        0..20_000 => ms,
        20_000..120_000 => ms / 5_000 * 5_000,
        _ => ms / 15_000 * 15_000,
    }
}
