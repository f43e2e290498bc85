//! Draws the recipe form: fields by section, the help of the focused one, what the run would need.
//! Deliberately not here: what keys do (`form`).

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use super::form::{Form, Row, Source};
use crate::recipe::{KNOBS, Range};
use crate::text::visible;
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets;

/// Columns of a field's name.
const NAME: u16 = 16;

/// A line of the form: a heading, or a row by its index.
enum Entry {
    Heading(&'static str),
    Row(usize, Row),
}

impl Form {
    pub(super) fn draw(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let title = match &self.fork {
            Some(run) => format!("fork of {}", visible(run, false)),
            None => "new run".into(),
        };
        let beside = area.width >= 92;
        let (fields, side) = if beside {
            let [a, b] = Layout::horizontal([Constraint::Fill(3), Constraint::Fill(2)]).areas(area);
            (a, b)
        } else {
            let [a, b] = Layout::vertical([Constraint::Fill(1), Constraint::Length(9)]).areas(area);
            (a, b)
        };
        let block = widgets::panel(&title, true, theme).title_bottom(self.verdict(theme).right_aligned());
        let inner = block.inner(fields);
        frame.render_widget(block, fields);
        self.draw_fields(frame, inner, theme);
        let block = widgets::panel(if beside { "what it means" } else { "" }, false, theme);
        let inner = block.inner(side);
        frame.render_widget(block, side);
        let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        frame.render_widget(Paragraph::new(self.side(inner.width as usize, beside, theme)), inner);
    }

    fn verdict(&self, theme: &Theme) -> Line<'static> {
        let wrong = self.mistakes.iter().flatten().count() + usize::from(self.trouble.is_some());
        match wrong {
            0 => Line::styled(" ✓ Enter starts it ", theme.good),
            1 => Line::styled(" ✗ 1 mistake: Enter goes to it ", theme.error),
            n => Line::styled(format!(" ✗ {n} mistakes: Enter goes to the first "), theme.error),
        }
    }

    fn entries(&self) -> Vec<Entry> {
        let mut out = vec![Entry::Heading("run")];
        let mut before = "";
        for (index, row) in self.rows().into_iter().enumerate() {
            if let Row::Knob(i) = row
                && KNOBS[i].section() != before
            {
                before = KNOBS[i].section();
                out.push(Entry::Heading(before));
            }
            out.push(Entry::Row(index, row));
        }
        out
    }

    fn draw_fields(&self, frame: &mut Frame, area: Rect, theme: &Theme) {
        let entries = self.entries();
        let at = entries.iter().position(|e| matches!(e, Entry::Row(i, _) if *i == self.at)).unwrap_or(0);
        let from = widgets::window(at, entries.len(), area.height as usize);
        for (line, entry) in entries.iter().skip(from).take(area.height as usize).enumerate() {
            let area = Rect { y: area.y + line as u16, height: 1, ..area };
            match entry {
                Entry::Heading(name) => frame.render_widget(Line::styled(format!(" {name}"), theme.accent), area),
                Entry::Row(index, row) => self.draw_row(frame, area, *row, *index == self.at, theme),
            }
        }
    }

    fn draw_row(&self, frame: &mut Frame, area: Rect, row: Row, focused: bool, theme: &Theme) {
        let name = match row {
            Row::Source => "start from",
            Row::Path => "file",
            Row::Name => "name",
            Row::Weights => "weights",
            Row::Knob(i) => KNOBS[i].key(),
        };
        let wrong = matches!(row, Row::Knob(i) if self.mistakes[i].is_some());
        let pointer = if focused { "▸ " } else { "  " };
        let mark = if wrong { "✗ " } else { "  " };
        let style = if focused { theme.title } else { theme.dim };
        let head = Line::from(vec![
            Span::styled(pointer, theme.accent),
            Span::styled(mark, theme.error),
            Span::styled(widgets::pad(name, NAME as usize), style),
        ]);
        frame.render_widget(head, area);
        let x = area.x + NAME + 4;
        let field = Rect { x, width: area.right().saturating_sub(x + 1), ..area };
        let style = if wrong { theme.error } else { theme.text };
        let choice =
            |text: String| Line::from(vec![Span::styled("‹ ", theme.dim), Span::styled(text, style), Span::styled(" ›", theme.dim)]);
        match row {
            Row::Source => frame.render_widget(choice(self.source_name()), field),
            Row::Weights => {
                let run = self.fork.as_deref().unwrap_or_default();
                let text = if self.go_on { format!("those of {}", visible(run, false)) } else { "new ones".into() };
                frame.render_widget(choice(text), field);
            }
            Row::Path => self.path.draw(frame, field, style, focused),
            Row::Name if self.name.text().is_empty() && !focused => {
                frame.render_widget(Span::styled("made from the recipe", theme.dim), field)
            }
            Row::Name => self.name.draw(frame, field, style, focused),
            Row::Knob(i) => {
                let input = &self.inputs[i];
                if focused && matches!(KNOBS[i].range, Range::Choice(_) | Range::Bool) {
                    frame.render_widget(choice(if input.text().is_empty() { "absent".into() } else { input.text().into() }), field);
                } else if input.text().is_empty() && !focused {
                    frame.render_widget(Span::styled(if KNOBS[i].optional() { "absent" } else { "" }, theme.dim), field);
                } else {
                    input.draw(frame, field, style, focused);
                }
            }
        }
    }

    fn source_name(&self) -> String {
        match self.sources.get(self.source).map(|(s, _)| s) {
            Some(Source::Built(name)) => format!("the built-in recipe {name}"),
            Some(Source::Run(name)) => format!("the recipe of {}", visible(name, false)),
            Some(Source::File) | None => "a recipe file".into(),
        }
    }

    fn side(&self, width: usize, beside: bool, theme: &Theme) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        let mut say = |text: &str, style| lines.extend(widgets::wrap(text, width).into_iter().map(|line| Line::styled(line, style)));
        if let Some(why) = self.refused.as_ref().or(self.trouble.as_ref()) {
            say(&visible(why, false), theme.error);
        }
        let help = match self.row() {
            Row::Source => "Where the fields below come from: ← and → choose.",
            Row::Path => "The path of a recipe (TOML), from the project's directory. Leaving the field reads it.",
            Row::Name => "The run's directory under runs/. Left empty, a name is made.",
            Row::Weights => "New weights, or those that the run ended with: ← and → choose.",
            Row::Knob(i) => KNOBS[i].help,
        };
        if let Row::Knob(i) = self.row() {
            say(KNOBS[i].name, theme.title);
        }
        say(help, theme.text);
        if let Row::Knob(i) = self.row() {
            if let Some(mistake) = &self.mistakes[i] {
                say(&visible(mistake, false), theme.error);
            } else {
                let default = if KNOBS[i].optional() { "may be absent".into() } else { format!("default {}", KNOBS[i].default) };
                say(&format!("{} · {default}", KNOBS[i].range), theme.dim);
            }
        }
        if beside {
            lines.push(Line::default());
            lines.push(Line::styled("it would need", theme.title));
        }
        lines.extend(self.needs(width, theme));
        lines
    }

    fn needs(&self, width: usize, theme: &Theme) -> Vec<Line<'static>> {
        if !self.is_good() {
            return vec![Line::styled("an estimate comes when the mistakes are gone", theme.dim)];
        }
        match &self.estimate {
            None => vec![Line::styled("counting …", theme.dim)],
            Some(Err(why)) => widgets::wrap(&visible(why, false), width).into_iter().map(|line| Line::styled(line, theme.error)).collect(),
            Some(Ok(estimate)) => {
                let figures = [
                    ("parameters", widgets::grouped(estimate.parameters)),
                    ("memory", format!("about {}", widgets::bytes(estimate.memory_bytes))),
                    ("time", estimate.seconds.map_or("unknown".into(), |s| format!("about {}", widgets::duration((s * 1000.0) as u64)))),
                ];
                let mut lines: Vec<Line> = figures
                    .into_iter()
                    .map(|(name, figure)| {
                        Line::from(vec![Span::styled(widgets::pad(name, 12), theme.dim), Span::styled(figure, theme.text)])
                    })
                    .collect();
                for note in &estimate.notes {
                    lines.extend(widgets::wrap(note, width).into_iter().map(|line| Line::styled(line, theme.dim)));
                }
                lines
            }
        }
    }
}
