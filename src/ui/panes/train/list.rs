//! The list of runs: marks, figures, order; folded to one line on a small screen.
//! Deliberately not here: opening them.

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::{Part, Sort, Train};
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets::{self, number};
use crate::ui::world::{Run, Status, World};

/// The mark of a run, with its style.
pub(super) fn mark(run: &Run, theme: &Theme) -> (&'static str, Style) {
    match run.status() {
        Status::Running => ("●", theme.good),
        Status::Paused => ("‖", theme.warning),
        Status::Waiting => ("○", theme.dim),
        Status::Elsewhere => ("◌", theme.accent),
        Status::Interrupted => ("◐", theme.warning),
        Status::Stopped => ("■", theme.dim),
        Status::Finished => ("✓", theme.good),
        Status::Failed => ("✗", theme.error),
    }
}

/// The main figure of a run in few characters: where it stands, what it reached, or why it failed.
pub(super) fn figure(run: &Run) -> String {
    match run.status() {
        Status::Failed => run.ended_briefly(),
        Status::Waiting => "waits".into(),
        Status::Finished => run.best.map_or_else(|| number::step(run.step), |(_, best)| number::loss(best)),
        _ => match run.steps {
            Some(steps) => format!("{}/{}", number::step(run.step), number::step(steps)),
            None => number::step(run.step),
        },
    }
}

impl Run {
    /// Why it failed in a word or two.
    fn ended_briefly(&self) -> String {
        let Some(crate::ui::world::Ended::Failed { cause, .. }) = &self.ended else { return String::new() };
        let lower = cause.to_lowercase();
        for (sign, word) in [("nan", "NaN"), ("inf", "Inf"), ("no space", "disk full"), ("memory", "memory"), ("panic", "panic")] {
            if lower.contains(sign) {
                return word.into();
            }
        }
        visible(cause.split([':', ';']).next().unwrap_or_default(), false).into_owned()
    }
}

impl Train {
    /// The runs that pass the filter, in the chosen order.
    pub(super) fn listed<'a>(&self, world: &'a World) -> Vec<&'a Run> {
        let wanted = self.filter.text().to_lowercase();
        let mut runs: Vec<&Run> = world.runs.values().filter(|run| run.name.to_lowercase().contains(&wanted)).collect();
        let best = |run: &Run| run.best.map_or(f64::INFINITY, |(_, value)| value);
        match self.sort {
            Sort::Newest => runs.sort_by_key(|run| (!run.is_live(), std::cmp::Reverse(run.since_ms))),
            Sort::Best => runs.sort_by(|a, b| best(a).total_cmp(&best(b))),
            Sort::Name => {}
            Sort::Status => runs.sort_by_key(|run| run.status()),
        }
        runs
    }

    pub(super) fn draw_list(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let focused = self.focus == Part::Runs;
        let order = match self.sort {
            Sort::Newest => "",
            Sort::Best => " best ",
            Sort::Name => " name ",
            Sort::Status => " status ",
        };
        let block = widgets::panel("Runs", focused, theme).title(Line::styled(order, theme.dim).right_aligned());
        let inner = block.inner(area);
        frame.render_widget(block, area);
        if inner.is_empty() {
            return;
        }
        let mut rows = inner;
        if self.filtering || !self.filter.text().is_empty() {
            rows = Rect { height: inner.height - 1, ..inner };
            let line = Rect { y: inner.bottom() - 1, height: 1, ..inner };
            frame.render_widget(Span::styled("/", theme.key), line);
            let field = Rect { x: line.x + 1, width: line.width.saturating_sub(1), ..line };
            self.filter.draw(frame, field, theme.text, self.filtering);
        }
        let runs = self.listed(cx.world);
        let at = runs.iter().position(|run| Some(&run.name) == self.selected.as_ref()).unwrap_or(0);
        let from = widgets::window(at, runs.len(), rows.height as usize);
        let width = rows.width as usize;
        for (row, (index, run)) in runs.iter().enumerate().skip(from).take(rows.height as usize).enumerate() {
            let line = Rect { y: rows.y + row as u16, height: 1, ..rows };
            frame.render_widget(self.row(run, index == at, width, theme), line);
            if index == at && self.selected.is_some() {
                frame.buffer_mut().set_style(line, theme.selected);
            }
        }
    }

    fn row(&self, run: &Run, selected: bool, width: usize, theme: &Theme) -> Line<'static> {
        let (mark, style) = mark(run, theme);
        let under = self.overlaid.iter().position(|name| *name == run.name);
        let pointer = if selected { "▸" } else { " " };
        let figure = figure(run);
        let figure = widgets::fit(&figure, width.saturating_sub(8).min(11)).into_owned();
        let figure_width = unicode_width::UnicodeWidthStr::width(figure.as_str());
        let name = widgets::pad(&visible(&run.name, false), width.saturating_sub(figure_width + 6));
        let overlay = if under.is_some() { "≈" } else { " " };
        Line::from(vec![
            Span::styled(pointer, theme.accent),
            Span::styled(overlay, under.map_or(theme.dim, |i| super::charts::series_style(theme, i + 1))),
            Span::styled(name, if selected { theme.title } else { theme.text }),
            Span::styled(format!(" {mark} "), style),
            Span::styled(figure, if matches!(run.status(), Status::Failed) { theme.error } else { theme.dim }),
        ])
    }

    /// The list folded to one line: ` ▸ demo ● 412/2k   1 of 3`.
    pub(super) fn draw_run_line(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let runs = self.listed(cx.world);
        let Some(run) = self.run(cx.world) else { return };
        let at = runs.iter().position(|r| r.name == run.name).map_or(0, |i| i + 1);
        let (mark, style) = mark(run, theme);
        let name = visible(&run.name, false);
        let tabs = if self.panel_alone { self.tab.title() } else { "chart" };
        let waiting = match cx.world.waiting_runs().as_slice() {
            [one] if one.name != run.name => format!(" · {} waits", widgets::fit(&visible(&one.name, false), 16)),
            _ => String::new(),
        };
        let line = Line::from(vec![
            Span::styled(" ▸ ", theme.accent),
            Span::styled(widgets::fit(&name, 28).into_owned(), theme.title),
            Span::styled(format!(" {mark} "), style),
            Span::styled(figure(run), theme.text),
            Span::styled(format!("   run {at} of {}{waiting}   ", runs.len()), theme.dim),
            Span::styled("v ", theme.key),
            Span::styled(tabs, theme.accent),
        ]);
        frame.render_widget(line, area);
    }

    /// What an empty project shows: what to do.
    pub(super) fn draw_empty(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let block = widgets::panel("Train", true, theme);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let text = if cx.world.runs_loaded { "No runs yet." } else { "Reading the runs …" };
        let lines = vec![
            Line::styled(text, theme.title).centered(),
            Line::default(),
            Line::from(vec![
                Span::styled("n", theme.key),
                Span::styled("  a recipe to start from: the built-in sample, or a file of your own", theme.text),
            ])
            .centered(),
            Line::from(vec![Span::styled("?", theme.key), Span::styled("  what training is, in plain words", theme.text)]).centered(),
        ];
        let top = inner.height.saturating_sub(4) / 3;
        frame.render_widget(Paragraph::new(lines), Rect { y: inner.y + top, height: inner.height - top, ..inner });
    }
}
