//! The Data pane's frame: the list of files or rows, the line that is typed, and where the side stands.
//! Deliberately not here: what the side shows (`side`, `facts`, `mask`).

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::text::{Line, Span};

use super::{Data, Typing};
use crate::text::visible;
use crate::ui::desk::{State, View};
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets;

/// Narrower than this one part is shown at a time.
const BOTH: u16 = 100;

/// Rows of the list in a panel of this many lines: the last says what is listed.
pub(super) fn rows_shown(height: usize) -> usize {
    height.saturating_sub(1)
}

impl Data {
    /// Where the list and the side stand.
    pub(super) fn places(&self, area: Rect) -> (Rect, Rect) {
        let none = Rect { height: 0, ..area };
        if self.zoomed || area.width < BOTH {
            return if self.in_side { (none, area) } else { (area, none) };
        }
        let [list, side] = Layout::horizontal([Constraint::Percentage(46), Constraint::Fill(1)]).areas(area);
        (list, side)
    }

    pub(super) fn draw_all(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let typed = u16::from(self.typing.is_some());
        let body = Rect { height: area.height.saturating_sub(typed), ..area };
        match self.state(cx.world) {
            None => self.draw_files(frame, body, cx),
            Some(state) => {
                let (list, side) = self.places(body);
                if list.height > 2 {
                    self.draw_rows(frame, list, state, cx);
                }
                if side.height > 2 {
                    self.draw_side(frame, side, state, cx);
                }
            }
        }
        if let Some((typing, field)) = &self.typing {
            let line = Rect { y: body.bottom(), height: 1, ..area };
            let (label, help) = match typing {
                Typing::Filter => (" filter: ", crate::data::filter::HELP),
                Typing::Open => (" open: ", "a file, a directory, a pattern such as data/*.jsonl, or sample:NAME"),
                Typing::Row => (" row: ", "its number, from 1"),
                Typing::Shape => (" shape: ", "SHAPE part=field …; nothing recognises it anew"),
            };
            widgets::blank(frame, line, cx.theme);
            frame.render_widget(Span::styled(label, cx.theme.key), line);
            let place = Rect { x: line.x + label.len() as u16, width: line.width.saturating_sub(label.len() as u16 + 1), ..line };
            if field.text().is_empty() {
                let room = Rect { x: place.x + 1, width: place.width.saturating_sub(1), ..place };
                frame.render_widget(Span::styled(widgets::fit(help, usize::from(room.width)).into_owned(), cx.theme.dim), room);
            }
            field.draw(frame, place, cx.theme.text, true);
        }
        if let Some(form) = &self.form {
            form.draw(frame, area, cx.theme);
        }
    }

    fn draw_files(&self, frame: &mut Frame, area: Rect, cx: &Context) {
        let theme = cx.theme;
        let block = widgets::panel("Data files of this project", true, theme);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let Some(files) = &cx.world.data.files else {
            frame.render_widget(Span::styled(" looking for data files …", theme.dim), Rect { height: 1.min(inner.height), ..inner });
            return;
        };
        let first = widgets::window(self.picked, files.len(), usize::from(inner.height));
        let width = usize::from(inner.width).saturating_sub(14);
        for (i, (y, (name, bytes))) in (inner.y..inner.bottom()).zip(files.iter().skip(first)).enumerate() {
            let chosen = first + i == self.picked;
            let line = Line::from(vec![
                Span::styled(if chosen { "▸ " } else { "  " }, theme.accent),
                Span::styled(widgets::pad(&visible(name, false), width), theme.text),
                Span::styled(format!("{:>9}", widgets::bytes(*bytes)), theme.dim),
            ]);
            let place = Rect { y, height: 1, ..inner };
            frame.render_widget(line, place);
            if chosen {
                frame.buffer_mut().set_style(place, theme.selected);
            }
        }
    }

    fn draw_rows(&self, frame: &mut Frame, area: Rect, state: &State, cx: &Context) {
        let theme = cx.theme;
        let title = title(state, usize::from(area.width).saturating_sub(6));
        let block = widgets::panel(&title, !self.in_side, theme);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let height = rows_shown(usize::from(inner.height));
        let first = widgets::window(self.selected as usize, state.listed as usize, height) as u64;
        let digits = state.rows.to_string().len().max(4);
        let wide = usize::from(inner.width).saturating_sub(digits + 11);
        if state.listed == 0 {
            let text = if state.settled && state.complete { " no row" } else { " looking …" };
            frame.render_widget(Span::styled(text, theme.dim), Rect { height: 1.min(inner.height), ..inner });
        }
        let until = (first + height as u64).min(state.listed);
        for (at, y) in (first..until).zip(inner.y..) {
            let chosen = at == self.selected;
            let row = cx.world.data.window.iter().find(|row| row.at == at);
            let mark = Span::styled(if chosen { "▸" } else { " " }, theme.accent);
            let line = match row {
                None => Line::from(vec![mark, Span::styled(" …", theme.dim)]),
                Some(row) => Line::from(vec![
                    mark,
                    // A blank in the colour of errors would be a bar where there is no colour.
                    if row.fault.is_some() { Span::styled("✗", theme.error) } else { Span::styled(" ", theme.text) },
                    Span::styled(format!("{:>digits$} ", row.row + 1), theme.dim),
                    Span::styled(format!("{:>6} ", widgets::bytes(row.bytes)), theme.dim),
                    Span::styled(widgets::fit(&visible(&row.text, false), wide).into_owned(), theme.text),
                ]),
            };
            let place = Rect { y, height: 1, ..inner };
            frame.render_widget(line, place);
            if chosen {
                frame.buffer_mut().set_style(place, theme.selected);
            }
        }
        let foot = Rect { y: inner.bottom().saturating_sub(1), height: 1, ..inner };
        frame.render_widget(standing(state, usize::from(inner.width), theme), foot);
    }
}

/// `chats.jsonl · 1,319 rows · question/answer`.
fn title(state: &State, width: usize) -> String {
    let name = state.entries.first().map(|e| e.rsplit('/').find(|part| !part.is_empty()).unwrap_or(e)).unwrap_or_default();
    let more = if state.files.len() > 1 { format!(" ({} files)", state.files.len()) } else { String::new() };
    let unit = state.files.first().map_or("row", |f| f.unit.as_str());
    let shape = state.mapping.as_ref().map(|m| if m.variant.is_empty() { m.shape.clone() } else { format!("{}, {}", m.shape, m.variant) });
    let plural = if state.rows == 1 { "" } else { "s" };
    let tail = format!("{more} · {} {unit}{plural} · {}", widgets::grouped(state.rows), shape.unwrap_or_default());
    let room = width.saturating_sub(tail.chars().count()).max(8);
    widgets::fit(&format!("{}{tail}", widgets::fit(&visible(name, false), room)), width).into_owned()
}

/// What is listed, and what is being done.
fn standing(state: &State, width: usize, theme: &Theme) -> Line<'static> {
    let listed = widgets::grouped(state.listed);
    let mut text = match &state.view {
        View::All => String::new(),
        View::Filter(text) => format!("{listed} with {}", visible(text, false)),
        View::Longest => "longest first".into(),
        View::Shortest => "shortest first".into(),
        View::Sample { seed } => format!("{listed} at random, seed {seed}"),
    };
    let mut add = |part: String| {
        if !text.is_empty() {
            text.push_str(" · ");
        }
        text.push_str(&part);
    };
    if !state.complete {
        add(match state.progress {
            (done, Some(total)) if total > 0 => format!("looking through the file: {:.0} %", done as f64 * 100.0 / total as f64),
            (done, _) => format!("unpacking: {}", widgets::bytes(done)),
        });
    } else if !state.settled {
        add("looking …".into());
    }
    let remarks = state.files.iter().map(|f| f.remark.as_str()).find(|r| !r.is_empty());
    if let (Some(remark), true) = (remarks, state.complete) {
        add(remark.to_owned());
    }
    if !state.mapping_from.is_empty() && state.complete {
        add(format!("shape by {}", state.mapping_from.trim_start_matches("by ")));
    }
    let trouble = state.trouble.as_ref().or_else(|| state.files.iter().find_map(|f| f.fault.as_ref()));
    let (text, style) = match trouble {
        Some(trouble) => (format!(" ✗ {}", visible(trouble, false)), theme.error),
        None => (format!(" {text}"), theme.dim),
    };
    Line::from(Span::styled(widgets::fit(&visible(&text, false), width).into_owned(), style))
}
