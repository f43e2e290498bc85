//! What stands beside the list: the row as text, as JSON, as a chat; and which page is shown.
//! Deliberately not here: the pages of tokens (`mask`) and of facts (`facts`).

use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::style::Style;
use ratatui::text::{Line, Span};

use super::{Data, Side};
use crate::data::shape::{Example, Turn};
use crate::text::visible;
use crate::ui::desk::{Record, State};
use crate::ui::pane::Context;
use crate::ui::theme::Theme;
use crate::ui::widgets;

/// Lines of a page at most: what is longer is told at its end.
pub(super) const LINES: usize = 20_000;

/// Whether a row has turns or parts to show one below the other.
pub(super) fn is_chat(example: &Example) -> bool {
    !matches!(example, Example::Text(_) | Example::Tokens(_))
}

impl Data {
    pub(super) fn draw_side(&self, frame: &mut Frame, area: Rect, state: &State, cx: &Context) {
        let theme = cx.theme;
        let record = cx.world.data.record.as_deref().filter(|r| r.at == self.selected);
        let name = match self.side {
            Side::Text => "text",
            Side::Json => "JSON",
            Side::Chat => "chat",
            Side::Mask => "tokens and their loss",
            Side::Facts => "facts",
        };
        let title = match (self.side, record) {
            (Side::Facts, _) => "facts".to_owned(),
            (_, Some(r)) => {
                format!("{name} · row {} · line {} · {}", widgets::grouped(r.row + 1), widgets::grouped(r.line), widgets::bytes(r.bytes))
            }
            (_, None) => name.to_owned(),
        };
        let block = widgets::panel(&title, self.in_side, theme);
        let inner = block.inner(area);
        frame.render_widget(block, area);
        let inner = Rect { x: inner.x + 1, width: inner.width.saturating_sub(2), ..inner };
        let width = usize::from(inner.width);
        let lines = match (self.side, record) {
            (Side::Facts, _) => return self.draw_facts(frame, inner, cx),
            (_, None) if state.listed == 0 => Vec::new(),
            (_, None) => vec![Line::styled("reading …", theme.dim)],
            (Side::Mask, Some(record)) => self.mask_lines(record.row, width, cx),
            (side, Some(record)) => {
                let mut lines = remarks(record, width, theme);
                lines.extend(match (side, &record.example) {
                    (Side::Json, _) if !record.json.is_empty() => json(&record.json, width, theme),
                    (Side::Chat, Some(example)) if is_chat(example) => chat(example, width, theme),
                    (_, Some(example)) => text(&example.text(), width, theme.text),
                    (_, None) => text(&record.raw, width, theme.text),
                });
                lines
            }
        };
        let height = usize::from(inner.height);
        let first = self.scroll.min(lines.len().saturating_sub(height));
        let more = lines.len() > first + height;
        for (line, y) in lines.into_iter().skip(first).zip(inner.y..inner.bottom()) {
            frame.render_widget(line, Rect { y, height: 1, ..inner });
        }
        if more {
            let place = Rect { x: inner.right(), y: inner.bottom() - 1, width: 1, height: 1 };
            frame.render_widget(Span::styled("▾", theme.dim), place);
        }
    }
}

fn remarks(record: &Record, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for (what, style) in [(&record.fault, theme.error), (&record.oddity, theme.warning)] {
        if let Some(what) = what {
            let mark = if style == theme.error { "✗" } else { "!" };
            lines.extend(text(&format!("{mark} {what}"), width, style));
        }
    }
    if !lines.is_empty() {
        lines.push(Line::default());
    }
    lines
}

pub(super) fn text(content: &str, width: usize, style: Style) -> Vec<Line<'static>> {
    // A long text is wrapped as far as somebody may scroll.
    let end = content.char_indices().nth(LINES * 40).map_or(content.len(), |(at, _)| at);
    let mut lines: Vec<Line> =
        widgets::wrap(&visible(&content[..end], true), width).into_iter().take(LINES).map(|l| Line::styled(l, style)).collect();
    if end < content.len() || lines.len() == LINES {
        lines.push(Line::raw("… the rest is not shown"));
    }
    lines
}

/// Keys stand out from values.
fn json(content: &str, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    for line in content.lines().take(LINES) {
        let body = line.trim_start();
        let key = body.strip_prefix('"').and_then(|rest| rest.find("\": ")).map(|end| line.len() - body.len() + end + 2);
        let shown = visible(line, true).into_owned();
        let indent = line.len() - body.len();
        let mut first = true;
        for part in wrap_hard(&shown, width, indent.min(width / 2)) {
            lines.push(match key.filter(|at| first && *at <= part.len() && part.is_char_boundary(*at)) {
                Some(at) => {
                    Line::from(vec![Span::styled(part[..at].to_owned(), theme.key), Span::styled(part[at..].to_owned(), theme.text)])
                }
                None => Line::styled(part, theme.text),
            });
            first = false;
        }
    }
    lines
}

/// Breaks a line at the width, and indents what goes on.
fn wrap_hard(text: &str, width: usize, indent: usize) -> Vec<String> {
    use unicode_width::UnicodeWidthChar;
    let (mut out, mut line, mut used) = (Vec::new(), String::new(), 0);
    for c in text.chars() {
        let w = c.width().unwrap_or(0);
        if used + w > width.max(8) {
            out.push(std::mem::replace(&mut line, " ".repeat(indent)));
            used = indent;
        }
        line.push(c);
        used += w;
    }
    out.push(line);
    out
}

/// Turns and parts, one below the other, each with who says it.
fn chat(example: &Example, width: usize, theme: &Theme) -> Vec<Line<'static>> {
    let mut lines = Vec::new();
    let mut part = |who: &str, mark: &str, style: Style, content: &str| {
        lines.push(Line::styled(format!("{mark} {}", visible(who, false)), style));
        for line in text(content, width.saturating_sub(2), theme.text) {
            let mut spans = vec![Span::styled("│ ", style)];
            spans.extend(line.spans.into_iter().map(|s| s.style(theme.text)));
            lines.push(Line::from(spans));
        }
        lines.push(Line::default());
    };
    let style = |role: &str| match role {
        "assistant" => (theme.accent, "◂"),
        "user" => (theme.title, "▸"),
        _ => (theme.dim, "·"),
    };
    let mut turns = |before: &str, list: &[Turn]| {
        for turn in list {
            let (style, mark) = style(&turn.role);
            let weight = turn.weight.map_or(String::new(), |w| format!(" · weight {w}"));
            part(&format!("{before}{}{weight}", turn.role), mark, style, &turn.content);
        }
    };
    match example {
        Example::Chat(list) => turns("", list),
        Example::Preference { prompt, chosen, rejected } => {
            turns("", prompt);
            turns("✓ chosen: ", chosen);
            turns("✗ rejected: ", rejected);
        }
        Example::Judged { prompt, answer, good } => {
            turns("", prompt);
            turns(if *good { "✓ good: " } else { "✗ bad: " }, answer);
        }
        Example::Pair { prompt, completion } => {
            part("prompt", "▸", theme.title, prompt);
            part("completion", "◂", theme.accent, completion);
        }
        Example::Ranking { prompt, answers } => {
            part("prompt", "▸", theme.title, prompt);
            for (i, (answer, score)) in answers.iter().enumerate() {
                let score = score.map_or(String::new(), |s| format!(" · {s}"));
                part(&format!("answer {}{score}", i + 1), "◂", theme.accent, answer);
            }
        }
        Example::Question { question, choices, answer } => {
            part("question", "▸", theme.title, question);
            for (choice, letter) in choices.iter().zip('A'..) {
                part(&letter.to_string(), "·", theme.dim, choice);
            }
            part("answer", "◂", theme.accent, answer);
        }
        Example::Text(_) | Example::Tokens(_) => {}
    }
    lines
}
